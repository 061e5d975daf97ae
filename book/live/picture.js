/*! Contains image-dimensions, Copyright Sindre Sorhus, MIT License */
// Opens what a reader chooses, drops or pastes, or says in a sentence why that is no picture.

import { imageDimensionsFromData } from "image-dimensions";

const HEAD = 2 ** 24; // bytes, before which every file says how large its picture is
const MOST_MEGAPIXELS = 100; // of decoded pixels a browser holds 4 bytes each

/** An error whose message is for the reader. */
export class Refusal extends Error {}

// What files are by their first bytes; a file's name proves nothing.
const KINDS = [
  [/^%PDF/, "a PDF. Save the page as a picture, or take a screenshot of it"],
  [/^....ftyp(heic|heix|hevc|mif1|msf1)/s, "an HEIC picture, which few browsers open. Save it as JPEG or PNG"],
  [/^....ftyp(?!avif|avis)/s, "a video. Take a still of it"],
  [/^\x1aE\xdf\xa3|^RIFF....AVI |^FLV|^\0\0\x01[\xb3\xba]/s, "a video. Take a still of it"],
  [/^(II\*\0|MM\0\*)/, "a TIFF picture, which browsers do not open. Save it as PNG"],
  [/^PK\x03\x04/, "an archive or an office document, not a picture"],
  [/^\s*(<\?xml|<svg)/, "a vector drawing. Save it as PNG"],
];

/**
 * Decode a picture file.
 *
 * @returns ImageBitmap, upright, with its values as they are stored, as `read_image` has them.
 * @throws Refusal
 */
export async function decode(file) {
  const name = file.name || "The picture";
  if (!file.size) throw new Refusal(`${name} is empty.`);
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const start = String.fromCharCode(...head.subarray(0, 64));
  const kind = KINDS.find(([pattern]) => pattern.test(start));
  if (kind) throw new Refusal(`${name} is ${kind[1]}.`);
  // Not by an `img`: Chromium keeps each of them, and its file, for as long as the page is open.
  const size = sizeOf(head);
  if (!size)
    throw new Refusal(`${name} is no picture that this browser can open. JPEG, PNG and WebP work.`);
  const { width, height } = size;
  const megapixels = (width * height) / 1e6;
  if (megapixels > MOST_MEGAPIXELS)
    throw new Refusal(
      `${name} has ${Math.round(megapixels)} megapixels, more than the ${MOST_MEGAPIXELS} that this ` +
        "page opens. Make it smaller, or cut out the part that matters.",
    );
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new Refusal(
      `${name} is damaged, or too large for this browser's memory (${width} × ${height} pixels).`,
    );
  }
}

/** Width and height, as the head of a file has them, before anything is decoded, or undefined. */
function sizeOf(head) {
  const view = new DataView(head.buffer);
  if (view.byteLength > 25 && view.getUint16(0) === 0x424d && view.getUint32(14, true) >= 40) // BMP
    return { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
  return imageDimensionsFromData(head);
}

/** A function that gives rows of a part of a picture, on white, as `resize` asks for them. */
export function strips(bitmap, { left, top, width }) {
  const canvas = new OffscreenCanvas(width, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Refusal("The picture is too wide for this browser.");
  return (first, rows) => {
    if (canvas.height !== rows) canvas.height = rows;
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, left, top + first, width, rows, 0, 0, width, rows);
    return context.getImageData(0, 0, width, rows).data;
  };
}
