// Three-way merges of random texts: nothing that one side changed alone is lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import { build } from "esbuild";

const built = await build({ entryPoints: ["src/merge3.ts"], bundle: true, format: "esm", write: false, logLevel: "silent" });
const { merge3, between } = await import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].contents).toString("base64")}`);

/** Numbers in [0, n), the same in each run. */
function dice(seed) {
  let state = seed;
  return (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
}

const text = (roll, lines) => Array.from({ length: lines }, () => "abcdefgh"[roll(8)] + roll(4)).join("\n");

/** Some lines changed, removed, put in. */
function edited(roll, before, mark) {
  const out = [];
  for (const [i, line] of before.split("\n").entries()) {
    const kind = roll(12);
    if (kind === 0) out.push(`${mark}${i}`);
    else if (kind === 1) out.push(line, `${mark}${i}`);
    else if (kind !== 2) out.push(line);
  }
  return out.join("\n");
}

test("one side alone changed: its text", () => {
  for (let seed = 1; seed < 500; seed += 1) {
    const roll = dice(seed);
    const base = text(roll, roll(30));
    const mine = edited(roll, base, "M");
    assert.deepEqual(merge3(base, mine, base), { text: mine, conflicts: 0 });
    assert.deepEqual(merge3(base, base, mine), { text: mine, conflicts: 0 });
    assert.deepEqual(merge3(base, mine, mine), { text: mine, conflicts: 0 });
  }
});

test("both changed: every line that is new on my side stays, and every one of theirs outside of conflicts", () => {
  let without = 0;
  for (let seed = 1; seed < 2000; seed += 1) {
    const roll = dice(seed);
    const base = text(roll, roll(30));
    const [mine, theirs] = [edited(roll, base, "M"), edited(roll, base, "T")];
    const merged = merge3(base, mine, theirs);
    const fresh = (side, mark) => side.split("\n").filter((line) => line.startsWith(mark));
    assert.deepEqual(fresh(merged.text, "M"), fresh(mine, "M"), `seed ${seed}`);
    if (merged.conflicts) continue;
    without += 1;
    assert.deepEqual(fresh(merged.text, "T"), fresh(theirs, "T"), `seed ${seed}`);
  }
  assert.ok(without > 300);
});

test("one line changed in two ways is one conflict, and mine stands there", () => {
  assert.deepEqual(merge3("a\nb\nc", "a\nM\nc", "a\nT\nc"), { text: "a\nM\nc", conflicts: 1 });
  assert.deepEqual(merge3("a\nb\nc", "M\nb\nc", "a\nb\nT"), { text: "M\nb\nT", conflicts: 0 });
});

test("the least change makes the other text", () => {
  for (let seed = 1; seed < 500; seed += 1) {
    const roll = dice(seed);
    const from = text(roll, roll(12));
    const to = edited(roll, from, "M");
    const { from: start, to: end, insert } = between(from, to);
    assert.equal(from.slice(0, start) + insert + from.slice(end), to);
  }
});
