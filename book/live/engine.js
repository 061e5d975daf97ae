/*! Contains @litertjs/core, Copyright Google LLC, Apache License 2.0 */
// A worker that runs the network, so that the page stays quick while it computes.
//
// It is told { base, files: [{ name, bytes, hash }, ...], shape } and answers { loaded, total } while
// it downloads, then { ready: true }. Then, for each { id, input }, it answers { id, outputs }, or
// { id, error }.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

// LiteRT reports each step on the console, as an error. What goes wrong is thrown, and gets to the page.
console.error = console.warn = () => {};

const CACHE = "alexnet-book";
let model, shape;

/** Download a file, or take it from the browser's cache of an earlier visit. */
async function fetched(url, report) {
  const cache = await self.caches?.open(CACHE).catch(() => null); // absent in private windows
  const kept = await cache?.match(url);
  const response = kept ?? (await fetch(url));
  if (!response.ok) throw new Error(`${url}: the server answers ${response.status}`);
  const chunks = [];
  let length = 0;
  for (let reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    report((length += value.length));
  }
  const blob = new Blob(chunks);
  if (cache && !kept) await cache.put(url, new Response(blob)).catch(() => {}); // it may be full
  return blob;
}

/** Unpack what gzip has packed; a server may have done that already. */
async function unpacked(blob) {
  const head = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const packed = head[0] === 0x1f && head[1] === 0x8b;
  const stream = packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Forget what an earlier edition of the book has left in the cache. */
async function forget(urls) {
  const cache = await self.caches?.open(CACHE).catch(() => null);
  for (const request of (await cache?.keys()) ?? [])
    if (!urls.includes(request.url)) await cache.delete(request);
}

async function load({ base, files, shape: given }) {
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const loaded = files.map(() => 0);
  const urls = files.map(({ name, hash }) => new URL(`${name}?${hash}`, base).href);
  const [runtime, network] = await Promise.all(
    urls.map(async (url, i) => {
      const report = (bytes) => {
        loaded[i] = bytes;
        postMessage({ loaded: loaded.reduce((a, b) => a + b), total });
      };
      return unpacked(await fetched(url, report));
    }),
  );
  forget(urls);
  self.Module = { wasmBinary: runtime }; // else its script would fetch the file once more
  await loadLiteRt(new URL("runtime.js", base).href);
  model = await loadAndCompile(network, { accelerator: "wasm" });
  shape = given;
}

async function run(input) {
  const tensor = new Tensor(input, shape);
  let results = {};
  try {
    results = await model.run([tensor]);
    // LiteRT has an order of its own for outputs: here the smaller, the probabilities, comes first.
    return results
      .map((result) => result.toTypedArray().slice())
      .sort((a, b) => a.length - b.length);
  } finally {
    // LiteRT's memory is not the browser's to collect.
    for (const used of [tensor, ...Object.values(results)]) used.delete();
  }
}

self.onmessage = async ({ data }) => {
  try {
    if (data.files) {
      await load(data);
      postMessage({ ready: true });
    } else {
      const outputs = await run(data.input);
      postMessage({ id: data.id, outputs }, outputs.map((output) => output.buffer));
    }
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
};
