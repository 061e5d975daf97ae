// Pictures become what the network takes, as `preprocess_input` in alexnet_lib does it: BGR, stretched
// to a square, ImageNet's mean subtracted. Resizing follows OpenCV, whose INTER_AREA and INTER_LINEAR
// the library uses, because a browser's own resizing gives other pixels.

/** For each output of an axis: which inputs it reads, and their weights. */
export function weightsOfArea(inputs, outputs) {
  const scale = inputs / outputs;
  return Array.from({ length: outputs }, (_, i) => {
    const [from, to] = [i * scale, Math.min((i + 1) * scale, inputs)];
    const first = Math.floor(from + 1e-9);
    const last = Math.min(Math.ceil(to - 1e-9), inputs);
    const shares = [];
    for (let j = first; j < last; j++)
      shares.push((Math.min(to, j + 1) - Math.max(from, j)) / (to - from));
    return { first, shares };
  });
}

function weightsOfTwo(inputs, outputs, place) {
  return Array.from({ length: outputs }, (_, i) => {
    let [first, share] = place(i);
    if (first < 0) [first, share] = [0, 0];
    if (first >= inputs - 1) [first, share] = [inputs - 1, 0];
    return { first, shares: share ? [1 - share, share] : [1] };
  });
}

/** Linear interpolation between the centres of pixels. */
export function weightsOfLinear(inputs, outputs) {
  const scale = inputs / outputs;
  return weightsOfTwo(inputs, outputs, (i) => {
    const x = (i + 0.5) * scale - 0.5;
    return [Math.floor(x), x - Math.floor(x)];
  });
}

/** What OpenCV does for INTER_AREA where one side shrinks and the other grows. */
export function weightsOfMixed(inputs, outputs) {
  const scale = inputs / outputs;
  return weightsOfTwo(inputs, outputs, (i) => {
    const first = Math.floor(i * scale);
    const share = i + 1 - (first + 1) / scale;
    return [first, share <= 0 ? 0 : share - Math.floor(share)];
  });
}

/**
 * Resize RGBA pixels as `resize_image(..., "stretch")` does. They are asked for in strips, so that a
 * picture of 40 megapixels needs no second copy.
 *
 * @param width, height of the source.
 * @param strip (top, rows) => Uint8ClampedArray of rows * width * 4.
 * @returns Uint8ClampedArray (size, size, 3), RGB.
 */
export function resize(width, height, strip, size) {
  const [small, narrow] = [height > size, width > size];
  let weights = weightsOfLinear;
  if (small || narrow) weights = height >= size && width >= size ? weightsOfArea : weightsOfMixed;
  const [columns, rows] = [weights(width, size), weights(height, size)];
  const result = new Uint8ClampedArray(size * size * 3);
  const sums = new Float64Array(size * 3);
  const line = new Float64Array(size * 3);
  let pixels, top = 0, held = 0, known = -1;

  // One row of the source, resized along x.
  const shrink = (y) => {
    if (y === known) return;
    if (y < top || y >= top + held) {
      [top, held] = [y, Math.min(256, height - y)];
      pixels = strip(top, held);
    }
    const start = (y - top) * width * 4;
    for (let x = 0; x < size; x++) {
      const { first, shares } = columns[x];
      let r = 0, g = 0, b = 0;
      for (let i = 0, at = start + first * 4; i < shares.length; i++, at += 4) {
        r += shares[i] * pixels[at];
        g += shares[i] * pixels[at + 1];
        b += shares[i] * pixels[at + 2];
      }
      line[x * 3] = r;
      line[x * 3 + 1] = g;
      line[x * 3 + 2] = b;
    }
    known = y;
  };

  for (let y = 0; y < size; y++) {
    sums.fill(0);
    const { first, shares } = rows[y];
    for (let i = 0; i < shares.length; i++) {
      shrink(first + i);
      for (let j = 0; j < sums.length; j++) sums[j] += shares[i] * line[j];
    }
    result.set(sums, y * size * 3); // rounds half to even, as OpenCV does
  }
  return result;
}

/** RGB pixels become BGR float32 with the mean, also BGR, subtracted. */
export function subtractMean(rgb, mean) {
  const x = new Float32Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3)
    for (let c = 0; c < 3; c++) x[i + c] = Math.fround(rgb[i + 2 - c] - mean[c]);
  return x;
}

/**
 * Views number 0 to 7 of a square, in the order of the library's `eight_views`: unchanged, flipped
 * up-down, left-right, both ways, then the same with rows and columns exchanged.
 */
export function view(pixels, size, number, channels = 3) {
  const result = new pixels.constructor(pixels.length);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      let [row, column] = [number & 1 ? size - 1 - y : y, number & 2 ? size - 1 - x : x];
      if (number & 4) [row, column] = [column, row];
      for (let c = 0; c < channels; c++)
        result[(y * size + x) * channels + c] = pixels[(row * size + column) * channels + c];
    }
  return result;
}
