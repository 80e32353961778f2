// Written by `grader dev build` from grader/serve/wire.py. Do not edit.

/** The hash of a file that is not there. */
export const GONE = "gone";

export type Verdict =
  | "passed"
  | "wrong"
  | "error"
  | "not started"
  | "waiting"
  | "forbidden"
  | "timeout"
  | "memory"
  | "crashed"
  | "output limit"
  | "grader error"
  | "not run";

/** Why something was not done: a sentence for a person. */
export interface Refused {
  error: string;
}

/** It was done, and there is nothing to say about it. */
export interface Done {
}

/** `GET map`. */
export interface HouseMap {
  edition: "whole" | "student";
  /** Whether nothing was ever judged here. */
  first_visit: boolean;
  points: number;
  points_earned: number;
  /** None where all is earned. */
  next: NextPart | null;
  roles: RoleRow[];
  sections: MapSection[];
  exercises: ExerciseCard[];
  /** How many there are. */
  drills: number;
  /** How many of those answered before are due. */
  drills_due: number;
  /** How many that were never asked are for today. */
  drills_new: number;
  /** One with the id of a role is the order for who prepares for it. */
  tracks: Track[];
  /** Why progress is not shown, where its file cannot be read. */
  warning: string;
}

/** What to do next. */
export interface NextPart {
  exercise: string;
  title: string;
  part: string;
  minutes: number;
  points: number;
  /** Whether anything of the exercise was tried before. */
  begun: boolean;
  /** How its last run ended: `wrong, 4 of 8 checks pass`; empty where it was not run. */
  said: string;
}

export interface RoleRow {
  id: string;
  title: string;
  /** Share of what the role is asked about, by weight, that some part covers. */
  collection: number;
  /** Share that the learner has earned. */
  earned: number;
}

export interface MapSection {
  id: string;
  title: string;
  tiles: Tile[];
}

/** An item of the coverage table: what an interview asks about. */
export interface Tile {
  number: string;
  title: string;
  difficulty: string | null;
  /** Role to how often it is asked: 0 never, 1 rarely, 2 often, 3 almost always. */
  weights: Record<string, number>;
  topics: MapTopic[];
  points_earned: number;
  points: number;
}

/** A square of a tile. */
export interface MapTopic {
  id: string;
  title: string;
  state: "earned" | "tried" | "open" | "drilled" | "fading" | "drills" | "coming" | "gap" | "elsewhere";
  parts: TopicPart[];
  /** How many drills ask about it. */
  drills: number;
  /** `drilled`, `fading`, or neither. */
  drilled: "" | "drilled" | "fading";
}

/** A part that covers a topic. */
export interface TopicPart {
  exercise: string;
  /** Of the exercise. */
  title: string;
  part: string;
  minutes: number;
  points: number;
  earned: boolean;
  /** The parts that it builds on. */
  after: string[];
}

/** An exercise in a list, such as Go to. */
export interface ExerciseCard {
  id: string;
  number: string;
  title: string;
  summary: string;
  difficulty: string | null;
  minutes: number;
  points: number;
  points_earned: number;
  parts: string[];
  /** Titles of the exercises that it builds on. */
  needs: string[];
}

/** An order to study in. */
export interface Track {
  id: string;
  title: string;
  exercises: string[];
}

/** `GET kata/ID`. To open a kata begins to warm what judges it. */
export interface Kata {
  id: string;
  number: string;
  title: string;
  summary: string;
  edition: "whole" | "student";
  /** `kv_cache.py`. */
  file_name: string;
  /** From the house: `exercises/dl_011_kv_cache/kv_cache.py`. */
  path: string;
  /**
   * HTML that this server made of the README, without its first heading. Pictures are `data:`; links are `https:`,
   * `#/kata/ID` or `#s-HEADING`.
   */
  statement: string;
  /** The text of `test_examples.py`, the visible examples: in a student edition all that there is to run. */
  examples: string;
  file: DiskFile;
  points: number;
  points_earned: number;
  parts: KataPart[];
  /** The last attempt, also one of `grader check`; the hash of what it judged is its `source`. */
  last: Result | null;
  attempts: number;
  seat: "cold" | "warming" | "ready" | "failed";
  /** The run that goes on, or None. */
  running: number | null;
  /** The number of the newest event that is told here already: follow `events?after=n`. */
  n: number;
  /** Why progress is not shown, where its file cannot be read. */
  warning: string;
}

/** A learner's file as it is on disk. */
export interface DiskFile {
  /** `unreadable`: not UTF-8, a link, too large, not a file; `why` says so. */
  state: "there" | "gone" | "unreadable";
  /** Empty unless it is there. Line ends are as on disk. */
  text: string;
  /** SHA-256 of the text in UTF-8, in hexadecimal; one that no text has where it is unreadable; `gone`. */
  hash: string;
  /** Whether it is as it was handed out. */
  stub: boolean;
  why: string;
}

/** A part of a kata, with what the learner may see of it. */
export interface KataPart {
  name: string;
  /** The definitions in the file that belong to it: `KVCache`, or `save` and `load`. */
  defines: string[];
  points: number;
  minutes: number;
  after: string[];
  /** Signature and docstring, as plain text, from the file as it was handed out. */
  contract: string;
  earned: boolean;
  /** Whether the reference was looked at before the part was earned. */
  gave_up: boolean;
  /** How many there are. */
  hints: number;
  hints_seen: string[];
  questions: AskedInInterviews[];
  /** Why the reference does it its way: HTML; empty until it is earned or given up. */
  why: string;
}

/** A question of an interview. Markdown made HTML; the answer is empty until the part is earned or given up. */
export interface AskedInInterviews {
  asks: string;
  answer: string;
}

/** One attempt at one exercise, judged. */
export interface Result {
  exercise: string;
  revision: number;
  score: number;
  max_score: number;
  parts: PartResult[];
  seed: number;
  isolation: string;
  seconds: number;
  /** SHA-256 of the text that was judged. */
  source: string;
  student: string;
  versions: Record<string, string>;
  /** What kept the attempt's share of the machine apart: its processes, memory and processors. */
  means: Record<string, string>;
  schema: number;
}

export interface PartResult {
  name: string;
  points: number;
  earned: number;
  verdict: Verdict;
  message: string;
  checks: CheckResult[];
  /** How many checks it has; they may not all have run. */
  planned: number;
}

export interface CheckResult {
  /** The test's name with its parameters, as pytest takes it after `::`. */
  id: string;
  part: string;
  verdict: Verdict;
  message: string;
  /** The sentence that the check holds. */
  property: string;
  seconds: number;
  /** What the learner's code printed meanwhile. */
  printed: string;
  finding: Finding | null;
  lines: SourceLine[];
  place: SourceLine | null;
  /** These as in `Told`. */
  of_file: boolean;
  /** Parts on which it builds and that failed: with the reference in their place it passes. */
  followed: string[];
}

/** Where an answer is wrong. Fields that a kind does not have keep their defaults. */
export interface Finding {
  /**
   * `values` differ; another `shape` or `dtype`; another `form`, as a list for a tensor; a `cost` over its limit; a
   * `refusal` that did not come; an answer that the check could not read (`unread`).
   */
  kind: "values" | "shape" | "dtype" | "form" | "cost" | "refusal" | "unread";
  /** What was computed, with its sizes. */
  of: string;
  /** Where in a list or dict of values, as `['a'][1]`; empty for the whole. */
  entry: string;
  axes: string[];
  /** Of the expected value. */
  shape: number[];
  /** How many elements differ. */
  wrong: number;
  total: number;
  /** The index of the element that is furthest off, one number an axis. */
  worst: number[];
  /** There, as the message prints it; for a cost the limit. */
  expected: string;
  got: string;
  /** Axis to the lengths of the pieces that it was built from. */
  along: Record<string, number[]>;
  /**
   * A digit for each cell of a map of the elements, last axis fastest: 0 right, else the power of ten by which the
   * error exceeds what is allowed, from 1 to 9; 9 also for NaN and infinity. Of cells that share a bin the worst.
   */
  levels: string;
  /** The sizes of that map, one an axis; their product is at most `LARGEST_MAP`. */
  cells: number[];
  /** The known mistake that gives exactly this. */
  mistake: string;
}

/** A line of the learner's file. */
export interface SourceLine {
  /** As the learner knows it: `kv_cache.py`, or `cell 3` of a notebook. */
  file: string;
  /** In that file or cell, from 1; 0 where it is not known. */
  line: number;
  /** The innermost definition that holds it, as `KVCache.append`; empty at module level. */
  function: string;
  text: string;
}

/** `PUT kata/ID/file`, with the header `If-Match: HASH` of the text that it began from. */
export interface Save {
  text: string;
  /** Keep mine: the text on disk goes into the history before it is written over. */
  overrules?: boolean;
  /** Nobody will read the answer (`pagehide`): where it cannot be written, it goes into the history. */
  leaving?: boolean;
}

/** The text is on disk. */
export interface Saved {
  hash: string;
  /** Of the `file` event that says so. */
  n: number;
}

/** `POST kata/ID/keep`: a text that is about to go, such as the draft of somebody who loads what is on disk. */
export interface Keep {
  text: string;
}

/** It stands in the history. */
export interface Kept {
  number: number;
}

/** `POST kata/ID/run`: judge what is on disk. The newest run wins: it cancels one that goes on. */
export interface RunAsked {
  /** Of the text that is meant; where the disk holds another: 409. Empty: whatever is there. */
  hash?: string;
  /** The part at the cursor: it is judged first. */
  part?: string;
  /** Judge that part alone. */
  only?: boolean;
}

/** `POST kata/ID/try`: run a few lines below what is on disk, in the cage. It is a run too: the newest wins. */
export interface Try {
  lines: string;
  /** As in `RunAsked`. */
  hash?: string;
}

/** A run was taken in hand; what comes of it are events. */
export interface RunTaken {
  run: number;
  hash: string;
}

export interface PartNamed {
  part: string;
}

/** The next hint for a part; after the last one the last again. */
export interface HintGiven {
  part: string;
  /** From 1. */
  number: number;
  of: number;
  text: string;
}

/** `POST kata/ID/reset`: the stub again. What was there is kept in the history. */
export interface Reset {
  /** Empty: the whole file. */
  part?: string;
}

export interface Attempts {
  attempts: Attempt[];
}

/** One line of the history, oldest first. */
export interface Attempt {
  /** From 1. */
  number: number;
  /** ISO 8601, UTC. */
  at: string;
  /** What judged it: `page`, `watch`, `check`, `pytest`, `notebook`; or why it was kept: `reset`, `kept`. */
  door: string;
  score: number;
  /** Points of the parts that ran; 0 for a text that was kept and not judged. */
  max_score: number;
  hash: string;
  earned: string[];
}

export interface AttemptText {
  number: number;
  text: string;
}

/** The reference, of one part or of all. */
export interface Solution {
  part: string;
  text: string;
}

/** `POST drill`: the next question of a sitting. */
export interface DrillWish {
  /** An id, or the beginning of several: `kv`. Empty: any. */
  topic?: string;
  /** Only what this role is asked, the weightiest first. */
  role?: string;
  /** Only what was answered before and is due. */
  due?: boolean;
  /** Also what is not due yet. */
  all?: boolean;
  /** The ids of those that this sitting asked already, answered or skipped, in their order. */
  but?: string[];
}

/** An answer, whole or begun. */
export interface Typed {
  typed: string;
}

/** What was typed, as it is understood; whether it is right is not said. */
export interface ReadBack {
  /** `524,288 B`; empty where there is nothing to say. */
  said: string;
  /** Why it cannot be read, as a sentence, or empty. */
  problem: string;
}

/** A question that is open. */
export interface DrillTurn {
  /** Its name, in addresses. */
  turn: string;
  /** In the sitting, from 1. */
  place: number;
  /** How many there are to ask, with those that this sitting asked already. */
  of: number;
  asked: Shown;
  /** Those that were asked for, of two. */
  hints: string[];
  /** None until it is answered. */
  verdict: DrillVerdict | null;
}

/** A question before it is answered: nothing here tells the answer. */
export interface Shown {
  id: string;
  seed: number;
  topic: string;
  /** Its label, as `dl_011`. */
  exercise: string;
  kind: string;
  ask: string;
  /** What is to be typed: `exact, in B`. */
  note: string;
  code: string[];
  options: string[];
}

/** What was found about an answer, and what only then may be known. */
export interface DrillVerdict {
  typed: string;
  /** `right`, `wrong`, or the mistake that gives this answer. */
  found: string;
  told: Told;
  /** `again tomorrow`; empty where that is not known. */
  again: string;
  /** Why it could not be kept, or empty. */
  warning: string;
}

/** What is said once it was answered. */
export interface Told {
  right: boolean;
  /** The mistake that gives what was typed, or "". */
  trap: string;
  /** The right answer, in full; of several lines where it has several. */
  answer: string;
  /** Its formula with the numbers put in, or "". */
  worked: string;
  why: string;
  source: string;
}

/** The next question, or why there is none. */
export interface DrillNext {
  turn: DrillTurn | null;
  /**
   * Empty where there is one. `enough`: for today; `held`: the topic that is left was asked last; `skipped`: all that
   * is left; `none`: nothing is due.
   */
  lacks: "" | "enough" | "held" | "skipped" | "none";
  /** The same as a sentence. */
  why: string;
  /** The topic that is `held`. */
  topic: string;
}

/** `POST interview`: begin one. */
export interface InterviewWish {
  role: string;
  minutes?: number;
}

/** An answer to the question on the clock. Nothing is said of it before the end. */
export interface InterviewAnswer {
  /** Of that question, from 1: an answer to another one is refused. */
  place: number;
  typed?: string;
  /** There is no answer: the learner passes it over, or its time is over. */
  passes?: boolean;
}

/** `GET interview`. */
export interface InterviewDesk {
  now: InterviewNow | null;
  /** Those that have ended, the newest first. */
  kept: InterviewLine[];
  /** What may be chosen. */
  lengths: InterviewLength[];
  /** Those that broke off with their process, and were ended just now. */
  broken: number[];
  /** Why those that have ended are not shown, or empty. */
  warning: string;
}

/** An interview that goes on. */
export interface InterviewNow {
  number: number;
  /** Its title. */
  role: string;
  minutes: number;
  step: "question" | "waiting" | "between" | "coding" | "judging";
  /** Of the question on the clock, or how many were asked. */
  place: number;
  /** The question on the clock. */
  asked: Shown | null;
  /** Of the part on the clock, its id; empty before. */
  exercise: string;
  part: string;
  /** `prefill of dl_011 · KV cache`. */
  title: string;
  /** Whether it was earned before. */
  was_earned: boolean;
  /** What is on the clock had in all. */
  seconds: number;
  left: number;
  /** What happened, as a sentence, or empty. */
  said: string;
  /** Why something could not be kept, or empty. */
  warning: string;
}

/** An interview that has ended, as a line of a list. */
export interface InterviewLine {
  number: number;
  /** Its title. */
  role: string;
  /** ISO 8601, UTC; empty where it cannot be read. */
  begun: string;
  minutes: number;
  /** `finished`, `left before its end`; why it cannot be read. */
  ended: string;
  right: number;
  asked: number;
  /** `prefill: wrong, 4 of 8 checks pass`; empty where there was none. */
  part: string;
}

export interface InterviewLength {
  minutes: number;
  /** How one of that length goes, in a few sentences. */
  rules: string;
}

/** `GET interview/N`. */
export interface InterviewReport {
  number: number;
  /** Its first heading is the title. */
  html: string;
  /** Where it lies as a file to keep, from the house; empty where that could not be written. */
  path: string;
}

/** `GET report`. */
export interface Report {
  roles: RoleRow[];
  sections: MapSection[];
  /** Those that were begun. */
  exercises: ExerciseReport[];
  /** The commonest first. */
  mistakes: Mistake[];
  warning: string;
}

export interface ExerciseReport {
  id: string;
  title: string;
  points: number;
  points_earned: number;
  line: PointsAt[];
  attempts: number;
  /** How many hints were looked at. */
  hints: number;
  gave_up: string[];
}

/** How many points were earned of an exercise since this moment. */
export interface PointsAt {
  at: string;
  points: number;
}

/** A known mistake that was found in this learner's attempts. */
export interface Mistake {
  said: string;
  /** In how many attempts. */
  times: number;
  exercise: string;
  part: string;
}

/** The first of each stream, with the number of the newest event so far. */
export interface HelloEvent {
  kind: "hello";
  n: number;
  /** Names this start of the server: where it is another one, what the page knows of runs is void. */
  start: string;
}

/** Events were missed that are no longer kept: ask for map and kata again, and go on after `n`. */
export interface ResyncEvent {
  kind: "resync";
  n: number;
}

/** The file on disk holds another text. */
export interface FileEvent {
  kind: "file";
  n: number;
  id: string;
  hash: string;
  state: "there" | "gone" | "unreadable";
  /** `disk`: not this server. */
  by: "disk" | "page";
}

/** What judges an exercise warms up, is ready, failed, or was sent away since nobody asked. */
export interface SeatEvent {
  kind: "seat";
  n: number;
  id: string;
  seat: "cold" | "warming" | "ready" | "failed";
  why: string;
}

/** A run was taken in hand. */
export interface RunEvent {
  kind: "run";
  n: number;
  id: string;
  run: number;
  hash: string;
  /** How many checks there are; 0 while they are not known yet. */
  total: number;
  /** The part that is judged first; empty where none was named. */
  first: string;
}

/** A check of a run ended. */
export interface CheckEvent {
  kind: "check";
  n: number;
  id: string;
  run: number;
  /** How many have ended, with this one. */
  done: number;
  total: number;
  check: CheckResult;
}

/** A run ended: this is its result, and it is in the history. */
export interface EndEvent {
  kind: "end";
  n: number;
  id: string;
  run: number;
  hash: string;
  result: Result;
  gained: Gained[];
  next: NextPart | null;
  /** Why it could not be kept. */
  warning: string;
}

/** A part that a run is first to earn. */
export interface Gained {
  part: string;
  points: number;
  /** HTML. */
  why: string;
  questions: AskedInInterviews[];
}

/** An interview began, went on or ended: ask for it again. */
export interface InterviewEvent {
  kind: "interview";
  n: number;
}

/** A picture of what a text makes that was judged: it comes after the `end` of the run. One event a picture. */
export interface PictureEvent {
  kind: "picture";
  n: number;
  id: string;
  run: number;
  part: string;
  /** `Attention map`: with the part it names the picture. */
  title: string;
  /** What to see in it. */
  caption: string;
  own: Drawing;
  /** Of the reference, once the part is earned. */
  reference: Drawing | null;
}

/** A picture of what code makes, or why there is none. */
export interface Drawing {
  /**
   * An element of class `picture`, which is styled by `pictures.css` (beside `static/`, without the token). Its name
   * and its words stand in it. Empty where there is none.
   */
  svg: string;
  /** What is to be seen in it, for those who do not see it. */
  words: string;
  /** The same as a table of numbers: its columns. */
  head: string[];
  rows: string[][];
  /** Why there is none; the first line says it. */
  problem: string;
}

/** What came of lines that were tried; with it the run ends. It is no attempt. */
export interface TriedEvent {
  kind: "tried";
  n: number;
  id: string;
  run: number;
  printed: string;
  /** The values of those lines that are expressions, as Python shows them. */
  shown: string[];
  /** What went wrong, and where; empty where nothing did. */
  problem: string;
}

/** A run was stopped, or another one took its place: it is no attempt. */
export interface CancelledEvent {
  kind: "cancelled";
  n: number;
  id: string;
  run: number;
}

/** The grader failed; nothing of it is charged to the learner. */
export interface FaultEvent {
  kind: "fault";
  n: number;
  id: string;
  run: number;
  why: string;
}

/** The answer to a long poll. */
export interface Events {
  /** Ask for what comes after this. */
  n: number;
  /** As in `HelloEvent`. */
  start: string;
  events: AnyEvent[];
}

export type AnyEvent =
  | HelloEvent
  | ResyncEvent
  | FileEvent
  | SeatEvent
  | RunEvent
  | CheckEvent
  | EndEvent
  | InterviewEvent
  | PictureEvent
  | TriedEvent
  | CancelledEvent
  | FaultEvent;
