// One kata that is open: its facts, its text, what was judged of it, and the editor that shows it.
import { type EditorState, type TransactionSpec } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import type { AnyEvent, CheckResult, Gained, Kata, KataPart, NextPart, PictureEvent, TriedEvent } from "./wire";
import { api, ConflictError, why } from "./api";
import { Editing } from "./editing";
import { interviewing } from "./interviewing";
import { Judged } from "./judged";
import { options } from "./options";
import { firstState, fromOutside, goTo, partAt, placesOf, showJudged } from "./editor/editor";
import { between } from "./merge3";
import { LineEnds, lineIn } from "./text";
import { Store } from "./store";
import { speak } from "./words";

export class Session extends Store {
  kata: Kata;
  readonly editing: Editing;
  judged: Judged;
  /** The part at the cursor. */
  cursor = "";
  /** A run was asked for, and has not begun. */
  asked = false;
  /** Parts that were earned since the page was opened, the newest run's. */
  gained: Gained[] = [];
  next: NextPart | null = null;
  /** Why the newest run told nothing: a fault of the grader, or a refusal. */
  trouble = "";
  /** What code makes, as it was drawn last, by part and title. */
  pictures = new Map<string, PictureEvent>();
  /** What came of the lines that were tried last. */
  tried: TriedEvent | null = null;
  /** The newest run was stopped. */
  stopped = false;
  view: EditorView | null = null;
  private state: EditorState;
  private n: number;
  private markedCurrent = "";

  constructor(kata: Kata) {
    super();
    this.kata = kata;
    this.n = kata.n;
    this.judged = new Judged(kata);
    this.state = firstState(new LineEnds().fromDisk(kata.file.text), this);
    this.editing = new Editing(kata.id, kata.file, this);
    this.editing.autosaved = () => options.asITyped && void this.run();
    this.editing.subscribe(() => this.changed());
    this.cursor = partAt(this.state, this.kata);
    this.mark();
    void this.editing.takeDrafts();
  }

  close(): void {
    this.editing.leave();
    this.editing.end();
  }

  /** What a check is called that a learner can see, as in a student edition. */
  get noun(): string {
    return this.kata.edition === "whole" ? "check" : "example";
  }

  // ---- the text: `Port` of editing

  text(): string {
    return this.current.doc.toString();
  }

  change(change: { from: number; to: number; insert: string }): void {
    if (change.from !== change.to || change.insert) this.dispatch(fromOutside(change));
    this.mark();
  }

  get current(): EditorState {
    return this.view?.state ?? this.state;
  }

  dispatch(spec: TransactionSpec): void {
    if (this.view) this.view.dispatch(spec);
    else this.state = this.state.update(spec).state;
  }

  /** An editor shows the text from now on. */
  show(view: EditorView): void {
    this.view = view;
  }

  /** Its editor is taken away: the text, the cursor and what can be undone stay. */
  hide(view: EditorView, keepState: boolean): void {
    if (this.view !== view) return;
    const text = view.state.doc.toString();
    this.view = null;
    if (keepState) this.state = view.state;
    else this.change(between(this.text(), text));
  }

  /** The editor's text or cursor changed. byLearner: not because of what is on disk. */
  edited(textChanged: boolean, byLearner: boolean): void {
    if (textChanged && byLearner) {
      if (this.editing.merging === null) this.editing.closeNotice(); // its Undo would take this back too
      this.editing.typed();
    }
    if (textChanged) this.markStale();
    const cursor = partAt(this.current, this.kata);
    if (cursor !== this.cursor || textChanged) {
      this.cursor = cursor;
      this.changed();
    }
  }

  // ---- runs

  part(name: string): KataPart | undefined {
    return this.kata.parts.find((one) => one.name === name);
  }

  /** Whether what is shown of a part speaks of this very text. */
  isCurrent(hash: string): boolean {
    return hash !== "" && this.editing.is(hash);
  }

  /** Save and judge. part: that one first, or it alone. */
  async run(part = this.cursor, only = false): Promise<void> {
    if (interviewing.holds(this.kata.id)) return void (await this.editing.save()); // its verdict comes at the end
    this.asked = true;
    this.trouble = "";
    this.stopped = false;
    this.changed();
    try {
      if (!(await this.editing.save())) {
        this.trouble = this.editing.refusal || "Nothing runs until the text is on disk.";
        return;
      }
      await api.run(this.kata.id, { hash: this.editing.base.hash, part, only });
    } catch (error) {
      if (error instanceof ConflictError) this.editing.arrived(error.disk);
      else this.trouble = why(error);
    } finally {
      this.asked = false;
      this.changed();
    }
  }

  /** Run a few lines below the file, as it is on disk. It is no attempt. */
  async try(lines: string): Promise<void> {
    this.trouble = "";
    this.stopped = false;
    try {
      if (await this.editing.save()) await api.try(this.kata.id, { lines, hash: this.editing.base.hash });
    } catch (error) {
      if (error instanceof ConflictError) this.editing.arrived(error.disk);
      else this.trouble = why(error);
    }
    this.changed();
  }

  async stop(): Promise<void> {
    const { run } = this.judged;
    if (run) await api.stop(run.number).catch(() => {});
  }

  heard(event: AnyEvent): void {
    if (!("id" in event) || event.id !== this.kata.id || event.n <= this.n) return;
    this.n = event.n;
    const { judged } = this;
    switch (event.kind) {
      case "file":
        void this.editing.noticed(event.hash);
        return;
      case "seat":
        this.kata = { ...this.kata, seat: event.seat };
        if (event.seat === "failed") this.trouble = event.why;
        break;
      case "run":
        this.asked = this.stopped = false;
        this.trouble = "";
        judged.begin(event);
        break;
      case "check":
        if (judged.run?.number !== event.run) return;
        this.checked(event);
        break;
      case "end":
        this.ended(event);
        break;
      case "picture":
        this.pictures = new Map(this.pictures).set(`${event.part} ${event.title}`, event);
        break;
      case "tried":
        if (judged.run?.number === event.run) judged.restore();
        this.tried = event;
        speak(event.problem || [...event.shown, event.printed].join(" ") || "Done; nothing was shown.");
        break;
      case "cancelled":
        if (judged.run?.number === event.run) {
          judged.restore();
          this.stopped = true;
        }
        break;
      case "fault":
        judged.restore();
        this.trouble = event.why;
        speak(`The grader failed. ${event.why}`);
        break;
    }
    this.mark();
    this.changed();
  }

  private checked({ check, done, total }: Extract<AnyEvent, { kind: "check" }>): void {
    const before = this.judged.part(check.part)?.standing;
    this.judged.check(check, done, total);
    const now = this.judged.part(check.part)!;
    if (check.part === this.cursor && now.standing !== before && now.standing !== "running")
      speak(`${check.part}: ${now.standing}.`);
  }

  private ended({ result, hash, gained, next, warning }: Extract<AnyEvent, { kind: "end" }>): void {
    this.judged.end(result, hash);
    this.gained = gained;
    this.next = next;
    this.trouble = warning;
    const earnedNow = new Map(gained.map((one) => [one.part, one]));
    const points = gained.reduce((sum, one) => sum + one.points, 0);
    const parts = this.kata.parts.map((part) => {
      const now = earnedNow.get(part.name);
      return now ? { ...part, earned: true, why: now.why, questions: now.questions } : part;
    });
    const attempts = this.kata.attempts + (this.kata.edition === "whole" ? 1 : 0);
    this.kata = { ...this.kata, parts, attempts, last: result, points_earned: this.kata.points_earned + points };
    const { points_earned, points: all } = this.kata;
    const more = points ? ` ${points} more points: ${gained.map((one) => one.part).join(", ")}.` : "";
    const failing = this.judged.parts.find((part) => part.standing !== "passed" && part.standing !== "not run");
    const first = failing ? ` ${failing.name}: ${failing.standing}.` : "";
    const passed = result.parts.filter(({ verdict }) => verdict === "passed").length;
    const said = this.kata.edition === "whole" ? `${points_earned} of ${all} points.` : `The examples of ${passed} of ${parts.length} parts pass.`;
    speak(`${said}${more}${first}`);
  }

  /** The server may have changed more than it told: ask for everything again. */
  async reload(): Promise<void> {
    try {
      const kata = await api.kata(this.kata.id);
      this.kata = kata;
      this.n = kata.n;
      this.judged = new Judged(kata);
      await this.editing.noticed(kata.file.hash);
      await this.editing.back();
      this.mark();
    } catch {
      return; // the banner says that the server is away
    } finally {
      this.changed();
    }
  }

  /** Draw the marks again if an edit made what is shown old, or current again. */
  private markStale(): void {
    const current = this.judged.parts.map((part) => this.isCurrent(part.hash)).join();
    if (current === this.markedCurrent) return;
    queueMicrotask(() => this.mark());
  }

  /** Put the marks of what was judged into the editor. */
  private mark(): void {
    this.markedCurrent = this.judged.parts.map((part) => this.isCurrent(part.hash)).join();
    this.dispatch(showJudged(this.current, this));
  }

  /** Go to a line of the text that a check judged. */
  goToLine(check: CheckResult, line: number): void {
    const judged = this.editing.textOf(this.judged.part(check.part)?.hash ?? "");
    const at = judged === undefined ? null : lineIn(judged, this.text(), line);
    const { doc } = this.current;
    if (this.view) goTo(this.view, at ?? doc.line(Math.min(line, doc.lines)).from);
  }

  /** Go to the next place that fails, or the one before. */
  goToPlace(step: 1 | -1): void {
    const places = placesOf(this.current, this);
    if (!this.view || !places.length) return;
    const here = this.current.doc.lineAt(this.current.selection.main.head);
    const next = step === 1 ? places.find(({ at }) => at > here.to) : places.findLast(({ at }) => at < here.from);
    const { at, part } = next ?? places.at(step === 1 ? 0 : -1)!;
    goTo(this.view, at);
    speak(`${part}: ${this.judged.part(part)?.standing ?? ""}`);
  }

  /** The stub again, of the file or of one part. */
  async reset(part: string): Promise<void> {
    try {
      await this.editing.reset(part);
      this.kata = { ...this.kata, attempts: this.kata.attempts + 1 };
    } catch (error) {
      this.trouble = why(error);
    }
    this.changed();
  }

  // ---- hints

  /** The next hint for a part. */
  async askHint(part: string): Promise<void> {
    try {
      const hint = await api.hint(this.kata.id, part);
      this.setPart(part, (one) => ({
        ...one, hints_seen: one.hints_seen.includes(hint.text) ? one.hints_seen : [...one.hints_seen, hint.text],
      }));
      speak(`Hint ${hint.number} of ${hint.of}. ${hint.text}`);
    } catch (error) {
      this.trouble = why(error);
      this.changed();
    }
  }

  async giveUp(part: string): Promise<void> {
    await api.giveUp(this.kata.id, part);
    const kata = await api.kata(this.kata.id); // why and answers are shown from now on
    const fresh = kata.parts.find((one) => one.name === part);
    if (fresh) this.setPart(part, () => fresh);
  }

  private setPart(name: string, to: (part: KataPart) => KataPart): void {
    const parts = this.kata.parts.map((part) => (part.name === name ? to(part) : part));
    this.kata = { ...this.kata, parts };
    this.changed();
  }
}

