// A sitting of drills: what is asked, typed and answered. It outlives its screen, and a reload of the page.
import type { DrillNext, DrillTurn, DrillWish, ReadBack } from "./wire";
import { api, asksAgain, RefusedError, why } from "./api";
import { desk } from "./desk";
import { Store } from "./store";
import { speak } from "./words";

export type Which = "" | "due" | "all";

/** Which questions are wanted. */
export interface Wanted {
  topic: string;
  role: string;
  /** `due`: only what was answered before; `all`: also what is not due yet. */
  which: Which;
}

/** What a reload is not to lose. */
interface Kept {
  wanted: Wanted;
  but: string[];
  right: number;
  answered: number;
  turn: string;
  typed: string;
}

const KEY = "dl-kata drill";
const UNREAD: ReadBack = { said: "", problem: "" };

class Drilling extends Store {
  wanted: Wanted = { topic: "", role: "", which: "" };
  turn: DrillTurn | null = null;
  /** Why there is no question. */
  nothing: DrillNext | null = null;
  typed = "";
  /** How what is typed is understood so far. */
  back: ReadBack = UNREAD;
  /** Why the answer cannot be judged: it is asked again. */
  refusal = "";
  /** Why there is not even a question. */
  trouble = "";
  right = 0;
  answered = 0;
  /** The ids of those that were asked in this sitting. */
  private but: string[] = [];
  private line = Promise.resolve();
  private reading = false;

  /** Show the question that is open, the one from before a reload, or the next. topic: as the address names it. */
  async open(topic: string): Promise<void> {
    if (topic && topic !== this.wanted.topic) return this.want({ topic });
    if (this.turn) return;
    const kept = this.nothing ? null : read();
    if (!kept || (topic && topic !== kept.wanted.topic)) return this.next();
    const { wanted, but, right, answered } = kept;
    Object.assign(this, { wanted, but, right, answered });
    await this.doing(async () => {
      if (kept.turn) this.show(await api.drillTurn(kept.turn), kept.typed);
    });
    if (!this.turn) await this.next();
  }

  /** Begin a sitting with other questions. */
  async want(change: Partial<Wanted>): Promise<void> {
    this.wanted = { ...this.wanted, ...change };
    await this.restart();
  }

  async restart(): Promise<void> {
    Object.assign(this, { but: [], right: 0, answered: 0 });
    await this.next();
  }

  next(): Promise<void> {
    return this.doing(() => this.ask());
  }

  /** The next question after one that was answered. */
  goOn(): Promise<void> {
    return this.about((turn) => (turn.verdict ? this.ask() : undefined));
  }

  skip(): Promise<void> {
    return this.about((turn) => {
      if (turn.verdict) return;
      this.note(turn);
      return this.ask();
    });
  }

  hint(): Promise<void> {
    return this.about(async ({ turn, verdict }) => {
      if (verdict) return;
      this.turn = await api.drillHint(turn);
      speak(`Hint ${this.turn.hints.length}: ${this.turn.hints.at(-1)}`);
    });
  }

  type(typed: string): void {
    this.typed = typed;
    this.refusal = "";
    if (!typed.trim()) this.back = UNREAD;
    this.changed();
    this.keep();
    void this.readBack();
  }

  answer(): Promise<void> {
    return this.about(async ({ turn, verdict }) => {
      if (verdict) return;
      const told = await api.drillAnswer(turn, this.typed);
      this.turn = told;
      this.note(told);
      this.answered += 1;
      if (told.verdict!.told.right) this.right += 1;
      speak(spoken(told));
      void desk.loadMap();
    });
  }

  private async ask(): Promise<void> {
    const { topic, role, which } = this.wanted;
    const wish: DrillWish = { topic, role, due: which === "due", all: which === "all", but: this.but };
    const given = await api.drill(wish);
    this.nothing = given.turn ? null : given;
    this.show(given.turn);
    if (given.why) speak(given.why);
  }

  /** Do it with the question that is shown now; not at all, where another is shown once it is its turn. */
  private about(what: (turn: DrillTurn) => Promise<void> | undefined): Promise<void> {
    const name = this.turn?.turn;
    return this.doing(async () => {
      if (this.turn?.turn === name && this.turn) await what(this.turn);
    });
  }

  /** One thing after the other. */
  private doing(what: () => Promise<void>): Promise<void> {
    this.line = this.line.then(() => this.tried(what));
    return this.line;
  }

  private async tried(what: () => Promise<void>): Promise<void> {
    this.refusal = this.trouble = "";
    let gone = false;
    try {
      await what();
    } catch (error) {
      gone = error instanceof RefusedError && error.status === 404;
      if (!gone) this.failed(error);
    }
    if (gone) await this.lost();
    this.keep();
    this.changed();
  }

  /** The server was started anew since the question was asked. */
  private async lost(): Promise<void> {
    this.turn = null;
    await this.ask().catch((error) => this.failed(error));
    if (this.turn) this.refusal = "The server was started anew, and the question before is gone. Here is another.";
  }

  private failed(error: unknown): void {
    if (this.turn && asksAgain(error)) this.refusal = why(error);
    else Object.assign(this, { turn: null, nothing: null, trouble: why(error) });
    speak(why(error));
  }

  private show(turn: DrillTurn | null, typed = ""): void {
    Object.assign(this, { turn, typed, back: UNREAD });
    void this.readBack();
  }

  private note({ asked }: DrillTurn): void {
    if (!this.but.includes(asked.id)) this.but.push(asked.id);
  }

  /** Ask how the newest text is understood; one request at a time. */
  private async readBack(): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    try {
      for (let typed = ""; typed !== this.typed; ) {
        typed = this.typed;
        const { turn } = this;
        if (!turn || turn.verdict || !typed.trim()) continue;
        const back = await api.drillRead(turn.turn, typed);
        if (this.turn === turn && this.typed === typed) this.back = back;
      }
    } catch {
      this.back = UNREAD; // whether the answer can be read is said once it is given
    }
    this.reading = false;
    this.changed();
  }

  private keep(): void {
    const { wanted, but, right, answered, typed } = this;
    const kept: Kept = { wanted, but, right, answered, typed, turn: this.turn?.turn ?? "" };
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  }
}

function read(): Kept | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Kept | null;
  } catch {
    return null;
  }
}

/** A verdict for those who listen to the page. */
function spoken({ verdict }: DrillTurn): string {
  const { found, told, again } = verdict!;
  const said = told.right ? "Right." : found === "wrong" ? "Wrong." : `Wrong: ${found}.`;
  return [said, `The answer: ${told.answer}${told.worked && ` = ${told.worked}`}.`, told.why, again].filter(Boolean).join(" ");
}

export const drilling = new Drilling();
