// What is known of each part, from events as they arrive. A part that did not run keeps what was known of it.
import type { CheckResult, Kata, PartResult, Result, RunEvent, Verdict } from "./wire";

export type Standing = Verdict | "running" | "unknown";

export interface PartView {
  name: string;
  points: number;
  standing: Standing;
  message: string;
  checks: CheckResult[];
  /** How many checks it has; 0 while that is not known. */
  planned: number;
  /** Of the text that was judged; empty where nothing was. */
  hash: string;
}

export interface Run {
  number: number;
  hash: string;
  done: number;
  total: number;
  first: string;
}

export const passes = (check: CheckResult) => check.verdict === "passed" || check.followed.length > 0;
export const firstFailure = (part: PartView) => part.checks.find((check) => !passes(check));

/** Neither right nor wrong: nothing to show in red. */
export const QUIET: ReadonlySet<Standing> = new Set<Standing>(["not started", "waiting", "not run", "unknown", "running"]);
export const fails = (part: PartView) => part.standing !== "passed" && !QUIET.has(part.standing);

/** `4 of 8 checks pass`; nothing where no check looked at a file that cannot be used. noun: what a check is called. */
export function tally(part: PartView, noun: string): string {
  if (firstFailure(part)?.of_file) return "";
  const right = part.checks.filter(passes).length;
  const all = part.checks.length;
  return `${right} of ${all} ${noun}s pass${all < part.planned ? `, of ${part.planned} in all` : ""}`;
}

export class Judged {
  parts: PartView[];
  run: Run | null = null;
  /** The hash of the text of the last run that ended. */
  hash = "";
  private before: PartView[] | null = null;

  constructor(kata: Kata) {
    this.parts = kata.parts.map(({ name, points }) => ({
      name, points, standing: "unknown", message: "", checks: [], planned: 0, hash: "",
    }));
    if (kata.last) this.take(kata.last, kata.last.source);
    if (kata.running !== null) this.run = { number: kata.running, hash: "", done: 0, total: 0, first: "" };
  }

  /** How many checks stand behind what is shown. */
  get checks(): number {
    return this.parts.reduce((sum, part) => sum + part.checks.length, 0);
  }

  part(name: string): PartView | undefined {
    return this.parts.find((one) => one.name === name);
  }

  begin({ run, hash, total, first }: RunEvent): void {
    this.restore();
    this.before = this.parts;
    this.run = { number: run, hash, done: 0, total, first };
  }

  check(check: CheckResult, done: number, total: number): void {
    const { run } = this;
    if (!run) return;
    run.done = done;
    run.total = total;
    this.parts = this.parts.map((part) => (part.name === check.part ? withCheck(part, check, run, this.before) : part));
  }

  end(result: Result, hash: string): void {
    this.run = null;
    this.parts = this.before ?? this.parts;
    this.before = null;
    this.take(result, hash);
  }

  /** The run did not end: what was known before is what is known. */
  restore(): void {
    this.run = null;
    this.parts = this.before ?? this.parts;
    this.before = null;
  }

  private take(result: Result, hash: string): void {
    this.hash = hash;
    const told = new Map(result.parts.map((part) => [part.name, part]));
    this.parts = this.parts.map((part) => {
      const now = told.get(part.name);
      return now && now.verdict !== "not run" ? viewOf(part, now, hash) : part;
    });
  }
}

function viewOf(part: PartView, now: PartResult, hash: string): PartView {
  const { verdict, message, checks, planned } = now;
  return { ...part, standing: verdict, message, checks, planned, hash };
}

/** The part with one more check of a run that goes on; the first one takes the place of what an older run found. */
function withCheck(part: PartView, check: CheckResult, run: Run, before: PartView[] | null): PartView {
  const old = before?.find((one) => one.name === part.name);
  const checks = part === old || part.hash !== run.hash || part.standing === "unknown" ? [check] : [...part.checks, check];
  const failed = checks.find((one) => !passes(one));
  const planned = part.planned;
  const standing = failed?.verdict ?? (planned && checks.length >= planned ? "passed" : "running");
  return { ...part, standing, message: "", checks, planned, hash: run.hash };
}
