// Requests to the server that serves this page. All addresses are relative, so that any prefix will do.
import type {
  Attempts,
  AttemptText,
  DiskFile,
  DrillNext,
  DrillTurn,
  DrillWish,
  HintGiven,
  HouseMap,
  InterviewAnswer,
  InterviewDesk,
  InterviewReport,
  InterviewWish,
  Kata,
  Kept,
  ReadBack,
  Refused,
  Report,
  RunAsked,
  RunTaken,
  Save,
  Saved,
  Solution,
  Try,
} from "./wire";
import { Store } from "./store";

/** The server did not do it, and says why. */
export class RefusedError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The disk holds another text than the one that was named. */
export class ConflictError extends Error {
  constructor(readonly disk: DiskFile) {
    super("The file on disk holds another text.");
  }
}

/** No answer came: the server or the way to it is gone. */
export class OfflineError extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/** The token, from the address that the server printed. Tabs of one origin tell each other of a new one. */
class Token extends Store {
  private readonly channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("dl-kata token") : null;
  value = "";
  /** The server refused it: it was started anew. */
  refused = false;

  constructor() {
    super();
    this.channel?.addEventListener("message", (event) => {
      if (typeof event.data === "string" && event.data !== this.value) this.set(event.data);
    });
  }

  /** Take the token out of the address, and name there the screen that is meant. */
  begin(): void {
    const given = new URLSearchParams(location.hash.slice(1));
    const token = given.get("token");
    if (token) {
      history.replaceState(null, "", `${location.pathname}${location.search}#${given.get("to") ?? "/"}`);
      this.set(token);
      this.channel?.postMessage(token);
    } else {
      this.value = sessionStorage.getItem("token") ?? "";
    }
  }

  private set(value: string): void {
    this.value = value;
    this.refused = false;
    sessionStorage.setItem("token", value);
    this.changed();
  }

  refuse(): void {
    if (this.refused) return;
    this.refused = true;
    this.changed();
  }
}

export const token = new Token();

export function headers(more: Record<string, string> = {}): Record<string, string> {
  return { Authorization: `Bearer ${token.value}`, ...more };
}

async function ask(path: string, init: RequestInit & { headers?: Record<string, string> } = {}): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(`api/${path}`, { cache: "no-store", ...init, headers: headers(init.headers) });
  } catch {
    throw new OfflineError();
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && body === null) throw new OfflineError(); // it went in the middle of its answer
  if (response.ok) return body;
  if (response.status === 401) token.refuse();
  if (response.status === 409 && body && typeof body === "object" && "hash" in body)
    throw new ConflictError(body as DiskFile);
  if (response.status >= 502 && response.status <= 504) throw new OfflineError(); // a proxy without its server
  const said = (body as Refused | null)?.error;
  throw new RefusedError(response.status, said || `The server answered with status ${response.status}.`);
}

function send(method: string, path: string, body: unknown, more: RequestInit = {}, extra: Record<string, string> = {}) {
  const sent = { "Content-Type": "application/json", ...extra };
  return ask(path, { method, body: JSON.stringify(body), ...more, headers: sent });
}

const at = (id: string, rest = "") => `kata/${encodeURIComponent(id)}${rest}`;
const drillAt = (turn: string, rest = "") => `drill/${encodeURIComponent(turn)}${rest}`;

export const api = {
  map: () => ask("map") as Promise<HouseMap>,
  report: () => ask("report") as Promise<Report>,
  kata: (id: string) => ask(at(id)) as Promise<Kata>,
  file: (id: string) => ask(at(id, "/file")) as Promise<DiskFile>,
  save: (id: string, began: string, save: Save) =>
    send("PUT", at(id, "/file"), save, { keepalive: !!save.leaving && save.text.length < 60_000 }, {
      "If-Match": began,
    }) as Promise<Saved>,
  keep: (id: string, text: string) => send("POST", at(id, "/keep"), { text }) as Promise<Kept>,
  run: (id: string, asked: RunAsked) => send("POST", at(id, "/run"), asked) as Promise<RunTaken>,
  try: (id: string, tried: Try) => send("POST", at(id, "/try"), tried) as Promise<RunTaken>,
  stop: (run: number) => send("DELETE", `run/${run}`, {}),
  hint: (id: string, part: string) => send("POST", at(id, "/hint"), { part }) as Promise<HintGiven>,
  giveUp: (id: string, part: string) => send("POST", at(id, "/give-up"), { part }),
  reset: (id: string, part: string) => send("POST", at(id, "/reset"), { part }) as Promise<DiskFile>,
  attempts: (id: string) => ask(at(id, "/attempts")) as Promise<Attempts>,
  attempt: (id: string, number: number) => ask(at(id, `/attempts/${number}`)) as Promise<AttemptText>,
  solution: (id: string, part: string) =>
    ask(at(id, `/solution${part ? `?part=${encodeURIComponent(part)}` : ""}`)) as Promise<Solution>,
  interview: {
    desk: () => ask("interview") as Promise<InterviewDesk>,
    begin: (wish: InterviewWish) => send("POST", "interview", wish) as Promise<InterviewDesk>,
    answer: (answer: InterviewAnswer) => send("POST", "interview/answer", answer) as Promise<InterviewDesk>,
    step: (step: "next" | "coding" | "hand-in" | "end") => send("POST", `interview/${step}`, {}) as Promise<InterviewDesk>,
    report: (number: string) => ask(`interview/${encodeURIComponent(number)}`) as Promise<InterviewReport>,
  },
  drill: (wish: DrillWish) => send("POST", "drill", wish) as Promise<DrillNext>,
  drillTurn: (turn: string) => ask(drillAt(turn)) as Promise<DrillTurn>,
  drillRead: (turn: string, typed: string) => send("POST", drillAt(turn, "/read"), { typed }) as Promise<ReadBack>,
  drillHint: (turn: string) => send("POST", drillAt(turn, "/hint"), {}) as Promise<DrillTurn>,
  drillAnswer: (turn: string, typed: string) => send("POST", drillAt(turn, "/answer"), { typed }) as Promise<DrillTurn>,
};

/** Whether an answer was not taken and may be given again: it cannot be read, or the server is away. */
export const asksAgain = (error: unknown) =>
  error instanceof OfflineError || (error instanceof RefusedError && error.status === 422);

/** What to say of a failed request. */
export function why(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
