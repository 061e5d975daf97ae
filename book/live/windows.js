/**
 * Which units of each earlier layer one unit reads, along one axis.
 *
 * @param layers { kernel, stride, pad, side } each, in order.
 * @param size of the input.
 * @param last number of the unit's layer, from 1; 0 is the input.
 * @param unit its index along the axis.
 * @returns for the input and each layer up to `last`: `whole`, the first and the last index of the
 *     window as if there were no border, and `real`, that part of it that exists.
 */
export function windows(layers, size, last, unit) {
  const found = [];
  let [whole, real] = [[unit, unit], [unit, unit]];
  for (let i = last; i >= 0; i--) {
    const side = i ? layers[i - 1].side : size;
    real = [Math.max(real[0], 0), Math.min(real[1], side - 1)];
    found.unshift({ whole, real });
    if (!i) break;
    const { kernel, stride, pad } = layers[i - 1];
    const before = ([from, to]) => [from * stride - pad, to * stride - pad + kernel - 1];
    [whole, real] = [before(whole), before(real)];
  }
  return found;
}
