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
