// Builds the page: node build.mjs [FOLDER]. The same sources give the same bytes, wherever the checkout lies.
import { mkdir, readdir, readFile, rm, writeFile, copyFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../grader/serve/static"));

/** The packages whose text is in the bundle, by the folder that esbuild read. */
function packagesOf(inputs) {
  const found = Object.keys(inputs).map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]);
  return [...new Set(found.filter(Boolean))].sort();
}

/** Name, version and licence of each package in the bundle, with the licence's whole text. */
async function thirdParty(names) {
  const texts = [];
  for (const name of names) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((one) => /^licen[sc]e/i.test(one));
    const text = file ? (await readFile(join(folder, file), "utf8")).trim() : `Licence: ${license}`;
    texts.push(`${name} ${version} (${license})\n\n${text}\n`);
  }
  return `The practice page is built from these packages.\n\n${texts.join(`\n${"-".repeat(78)}\n\n`)}`;
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx", page: "src/page.css" },
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  legalComments: "none",
  metafile: true,
  chunkNames: "[name]-[hash]",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  target: ["chrome123", "firefox120", "safari17.5"],
});
await copyFile(join(here, "src/index.html"), join(out, "index.html"));
await writeFile(join(out, "THIRD_PARTY.txt"), await thirdParty(packagesOf(metafile.inputs)));
for (const [path, { bytes }] of Object.entries(metafile.outputs)) console.log(`${String(bytes).padStart(8)}  ${path}`);
