// The interview: what is on its clock, and what has ended. Its verdicts come from the server at the end, not before.
import type { InterviewDesk, InterviewNow, ReadBack } from "./wire";
import { api, asksAgain, RefusedError, why } from "./api";
import { go, router, to } from "./router";
import { Store } from "./store";
import { speak } from "./words";

const NOTHING: ReadBack = { said: "", problem: "" };
/** Seconds left at which that is said. */
const REMINDERS = { question: [10], coding: [600, 300, 60] };

class Interviewing extends Store {
  desk: InterviewDesk | null = null;
  typed = "";
  /** Nothing is read back: the clock runs. */
  readonly back = NOTHING;
  /** Why the answer was not taken: the question stays, and so does its clock. */
  refusal = "";
  trouble = "";
  /** Those that broke off with their process, and were ended since this page was opened. */
  broken: number[] = [];
  /** What is in the editor goes to the disk; whether it is there. */
  save: () => Promise<boolean> = async () => true;
  /** What was earned may have changed. */
  ended: () => void = () => undefined;
  /** When the time of what is on the clock is over, by `performance.now`. */
  private ends = 0;
  private timers: number[] = [];
  private line = Promise.resolve();

  get now(): InterviewNow | null {
    return this.desk?.now ?? null;
  }

  /** Seconds left. */
  get left(): number {
    return Math.max(0, (this.ends - performance.now()) / 1000);
  }

  /** Whether a part of this exercise is on the clock: nothing of it is judged, and no hint is given. */
  holds(id: string): boolean {
    const { now } = this;
    return (now?.step === "coding" || now?.step === "judging") && now.exercise === id;
  }

  type(typed: string): void {
    this.typed = typed;
    this.refusal = "";
    this.changed();
  }

  /** Ask how it stands. The learner did nothing: what was said of their last act stays. */
  load = () =>
    this.after(async () => {
      try {
        const desk = await api.interview.desk();
        if (!this.desk) this.trouble = "";
        this.took(desk);
      } catch (error) {
        if (!this.desk) this.trouble = why(error);
      }
    });
  begin = (role: string, minutes: number) => this.doing(() => api.interview.begin({ role, minutes }));
  next = () => this.doing(() => api.interview.step("next"));
  beginPart = () => this.doing(() => api.interview.step("coding"));
  end = () => this.doing(() => api.interview.step("end"));
  answer = () => this.about((place) => api.interview.answer({ place, typed: this.typed }));
  pass = () => this.about((place) => api.interview.answer({ place, passes: true }));
  handIn = () =>
    this.doing(async () => {
      if (!(await this.save()) && this.left > 0) throw new Error("Your text is not on disk yet, and the disk is judged.");
      return api.interview.step("hand-in");
    });

  /** About the question that is shown now, whatever is on the clock once it is said. */
  private about(what: (place: number) => Promise<InterviewDesk>): Promise<void> {
    const { now } = this;
    return now?.step === "question" ? this.doing(() => what(now.place)) : this.line;
  }

  /** Do what the learner asked for. */
  private doing(what: () => Promise<InterviewDesk>): Promise<void> {
    return this.after(async () => {
      this.trouble = this.refusal = "";
      try {
        this.took(await what());
      } catch (error) {
        await this.failed(error);
      }
    });
  }

  /** One thing after the other. */
  private after(what: () => Promise<void>): Promise<void> {
    this.line = this.line.then(what).then(() => this.changed());
    return this.line;
  }

  private async failed(error: unknown): Promise<void> {
    if (error instanceof RefusedError && error.status === 409) {
      try {
        this.took(await api.interview.desk()); // it has gone on, in another tab or by its clock
      } catch (later) {
        this.trouble = why(later);
      }
      return;
    }
    if (this.now && asksAgain(error)) this.refusal = why(error);
    else this.trouble = why(error);
    speak(why(error));
  }

  private took(desk: InterviewDesk): void {
    const before = this.now;
    this.desk = desk;
    const { now } = this;
    this.broken = [...new Set([...this.broken, ...desk.broken])];
    if (before && !now) this.ended();
    if (before?.place !== now?.place || before?.step !== now?.step) this.typed = this.refusal = this.trouble = "";
    this.wind(now);
    const { screen } = router;
    const looks = screen.name === "interview" || (screen.name === "kata" && screen.id === before?.exercise);
    if (before && !now && looks) {
      speak("The interview has ended. Here is its report.");
      go(to.interview(before.number));
    } else if (now?.step === "coding" && before?.step !== "coding" && screen.name === "interview") {
      go(to.kata(now.exercise, now.part));
    }
  }

  /** Wind the clock: what is said before its end, and what is done at its end. */
  private wind(now: InterviewNow | null): void {
    this.timers.forEach(clearTimeout);
    this.timers = [];
    if (now?.step !== "question" && now?.step !== "coding") return;
    const { step, left } = now;
    this.ends = performance.now() + left * 1000;
    const at = (seconds: number, what: () => void) => {
      this.timers.push(window.setTimeout(what, Math.max(0, (left - seconds) * 1000)));
    };
    at(0, () => void (step === "question" ? this.pass() : this.handIn()));
    for (const seconds of REMINDERS[step].filter((one) => one < left))
      at(seconds, () => speak(seconds < 60 ? `${seconds} seconds are left.` : seconds === 60 ? "One minute is left." : `${seconds / 60} minutes are left.`));
  }
}

export const interviewing = new Interviewing();
