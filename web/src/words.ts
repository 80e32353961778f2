// Small words of the page, and the voice of its live region.
import { Store } from "./store";

class Voice extends Store {
  said = "";

  say(text: string): void {
    this.said = text;
    this.changed();
  }
}

export const voice = new Voice();

/** Say it to those who listen to the page. */
export function speak(text: string): void {
  voice.say(text);
}

export const plural = (n: number, one: string, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

export const mac = /Mac|iP(hone|ad)/.test(navigator.platform);
export const mod = mac ? "⌘" : "Ctrl";

const SIGNS: Record<string, string> = {
  passed: "✓",
  "not started": "·",
  waiting: "·",
  "not run": "·",
  unknown: "·",
  running: "…",
  "grader error": "!",
};

/** ✓, ✗ or ·: a sign beside each verdict, since colour alone says nothing to many. */
export const sign = (standing: string) => SIGNS[standing] ?? "✗";

/** `passed`, `failed`, `quiet` or `running`: how a verdict is drawn. */
export function toneOf(standing: string): "passed" | "failed" | "quiet" | "running" {
  if (standing === "passed") return "passed";
  if (standing === "running") return "running";
  return standing in SIGNS && standing !== "grader error" ? "quiet" : "failed";
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const at = (iso: string) => when.format(new Date(iso));
