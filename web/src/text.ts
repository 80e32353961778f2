// The text of a file, in the editor and on disk.
import { between } from "./merge3";

/** Line ends: the editor has LF alone. A file that has CRLF throughout keeps it; one that mixes is left as it is. */
export class LineEnds {
  private crlf = false;

  fromDisk(text: string): string {
    this.crlf = text.includes("\r\n") && !/(^|[^\r])\n/.test(text);
    return this.crlf ? text.replaceAll("\r\n", "\n") : text;
  }

  toDisk(text: string): string {
    return this.crlf ? text.replaceAll("\n", "\r\n") : text;
  }
}

/** Where the start of a line (from 1) of one text lies in another; null where it was changed. */
export function lineIn(judged: string, now: string, line: number): number | null {
  let at = 0;
  for (let i = 1; i < line; i += 1) {
    at = judged.indexOf("\n", at) + 1;
    if (at === 0) return null;
  }
  if (judged === now) return at;
  const change = between(judged, now);
  if (at < change.from) return at;
  return at >= change.to ? at + change.insert.length - (change.to - change.from) : null;
}

const DEFINITION = /^(?:async\s+def|def|class)\s+([A-Za-z_]\w*)/;

/** The definitions at the outermost level: name and number of the line, from 1. */
export function definitions(text: string): { name: string; line: number }[] {
  const found: { name: string; line: number }[] = [];
  text.split("\n").forEach((one, i) => {
    const name = DEFINITION.exec(one)?.[1];
    if (name) found.push({ name, line: i + 1 });
  });
  return found;
}

/** The text of some definitions of a file, each with its decorators, as the reference of a part is given. */
export function textOfDefinitions(text: string, names: readonly string[]): string {
  const lines = text.split("\n");
  const pieces = definitions(text).filter(({ name }) => names.includes(name)).map(({ line }) => {
    let first = line - 1;
    while (first > 0 && lines[first - 1]!.startsWith("@")) first -= 1;
    let last = line;
    while (last < lines.length && (/^[\s)\]}]/.test(lines[last]!) || lines[last] === "")) last += 1;
    return lines.slice(first, last).join("\n").trimEnd();
  });
  return pieces.join("\n\n\n");
}
