// The network as the page sees it: load it once, then ask it.

const SHAPE = [1, 227, 227, 3];

/**
 * Start the worker.
 *
 * @param data { base, files }, see engine.js.
 * @param progress (loaded, total) in bytes.
 * @returns a function from an input, which it takes away, to a promise of the outputs: probabilities
 *     and relu1.
 */
export function loadNetwork({ base, files }, progress) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("engine.js", base));
    const waiting = new Map();
    let number = 0;

    const ask = (input) =>
      new Promise((resolve, reject) => {
        waiting.set(++number, { resolve, reject });
        worker.postMessage({ id: number, input }, [input.buffer]); // given away, not copied
      });
    worker.onerror = (event) => reject(new Error(event.message || "its script did not load"));
    worker.onmessage = ({ data }) => {
      if (data.total) progress(data.loaded, data.total);
      else if (data.ready) resolve(ask);
      else if (data.id) {
        const { resolve, reject } = waiting.get(data.id);
        waiting.delete(data.id);
        data.error ? reject(new Error(data.error)) : resolve(data.outputs);
      } else reject(new Error(data.error));
    };
    worker.postMessage({ base, files, shape: SHAPE });
  });
}
