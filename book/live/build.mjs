// Bundles the live parts of the pages: node book/live/build.mjs FOLDER.
//
// Classic scripts, not modules: a browser refuses modules to a page that was opened from a file, and
// all parts but the network itself work there too.

import { copyFile, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2];
const parts = ["try", "engine", "lrn", "receptive", "bytes", "matrix", "port"];

await build({
  entryPoints: [...parts.map((part) => join(here, `${part}.js`)), join(here, "live.css")],
  outdir: folder,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "linked", // licences of what is bundled, beside it
});

// The runtime's variant without relaxed SIMD runs in every browser; the others save nothing here.
const runtime = join(here, "..", "..", "node_modules", "@litertjs", "core", "wasm");
const name = "litert_wasm_compat_internal";
const script = await readFile(join(runtime, `${name}.js`), "utf8");
const { code } = await transform(script, { minifyWhitespace: true, minifySyntax: true });
await writeFile(join(folder, "runtime.js"), code);
// Compressed here, because not every server compresses; the page decompresses it.
const wasm = await readFile(join(runtime, `${name}.wasm`));
await writeFile(join(folder, "runtime.bin"), gzipSync(wasm, { level: 9 }));
