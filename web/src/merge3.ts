// Two texts that began from one: what each changed, put together.
import { diff } from "@codemirror/merge";

/** Lines [from, to) of the base, and what stands there now. */
interface Hunk {
  from: number;
  to: number;
  lines: string[];
}

export interface Merged {
  text: string;
  /** Places that both changed, each in its own way: there `mine` stands. */
  conflicts: number;
}

const lines = (text: string) => text.split("\n");

/** The changed runs of lines: each line becomes one character for the difference of two strings. */
function hunks(base: string[], other: string[]): Hunk[] {
  const codes = new Map<string, string>();
  const code = (line: string) => {
    // From 0x4E00 on: no surrogates for the 20,000 different lines that a file of katas never has.
    if (!codes.has(line)) codes.set(line, String.fromCharCode(0x4e00 + (codes.size % 20_000)));
    return codes.get(line)!;
  };
  const changes = diff(base.map(code).join(""), other.map(code).join(""));
  return changes.map(({ fromA, toA, fromB, toB }) => ({ from: fromA, to: toA, lines: other.slice(fromB, toB) }));
}

/** Whether two hunks speak of the same place. Two insertions at one place do. */
function meet(a: Hunk, b: Hunk): boolean {
  return a.from < b.to && b.from < a.to ? true : a.from === b.from || (a.to === b.from && a.from === a.to);
}

/** What a side has for lines [from, to) of the base, all its hunks there done. */
function sideOf(base: string[], own: Hunk[], from: number, to: number): string[] {
  const out: string[] = [];
  let at = from;
  for (const hunk of own) {
    out.push(...base.slice(at, hunk.from), ...hunk.lines);
    at = hunk.to;
  }
  return [...out, ...base.slice(at, to)];
}

export function merge3(baseText: string, mineText: string, theirsText: string): Merged {
  const base = lines(baseText);
  const mine = hunks(base, lines(mineText));
  const theirs = hunks(base, lines(theirsText));
  const out: string[] = [];
  let at = 0;
  let conflicts = 0;
  while (mine.length || theirs.length) {
    const ours: Hunk[] = [];
    const their: Hunk[] = [];
    const mineFirst = !theirs.length || (!!mine.length && mine[0]!.from <= theirs[0]!.from);
    const first = (mineFirst ? mine : theirs).shift()!;
    (mineFirst ? ours : their).push(first);
    let { from, to } = first;
    for (let grew = true; grew; ) {
      grew = false;
      for (const [queue, taken] of [[mine, ours], [theirs, their]] as const) {
        if (!queue.length || !meet({ from, to, lines: [] }, queue[0]!)) continue;
        const next = queue.shift()!;
        taken.push(next);
        from = Math.min(from, next.from);
        to = Math.max(to, next.to);
        grew = true;
      }
    }
    const a = sideOf(base, ours, from, to);
    const b = sideOf(base, their, from, to);
    const same = a.join("\n") === b.join("\n");
    if (ours.length && their.length && !same) conflicts += 1;
    out.push(...base.slice(at, from), ...(ours.length ? a : b));
    at = to;
  }
  return { text: [...out, ...base.slice(at)].join("\n"), conflicts };
}

/** The least change that makes `to` of `from`: what lies between their common beginning and end. */
export function between(from: string, to: string): { from: number; to: number; insert: string } {
  let start = 0;
  const most = Math.min(from.length, to.length);
  while (start < most && from[start] === to[start]) start += 1;
  let end = 0;
  while (end < most - start && from[from.length - 1 - end] === to[to.length - 1 - end]) end += 1;
  return { from: start, to: from.length - end, insert: to.slice(start, to.length - end) };
}
