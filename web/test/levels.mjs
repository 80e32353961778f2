// The two axes of a map are chosen as grader/views/differ.py chooses them: tests/grader/views reads the same cases.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { build } from "esbuild";

const built = await build({ entryPoints: ["src/levels.ts"], bundle: true, format: "esm", write: false, logLevel: "silent" });
const { bestPlane } = await import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].contents).toString("base64")}`);

for (const { said, cells, levels, plane } of JSON.parse(readFileSync("test/planes.json", "utf8"))) {
  test(said, () => {
    const { down, across } = bestPlane({ axes: cells.map(String), shape: cells, cells, levels });
    assert.deepEqual([down, across], plane);
  });
}
