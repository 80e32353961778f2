// The server's events: a stream by fetch, and a long poll where something on the way holds streams back.
import type { AnyEvent, Events } from "./wire";
import { headers, token } from "./api";
import { Store } from "./store";

const NO_HELLO_MS = 3000;
const RETRY_MS = [300, 700, 1500, 3000, 5000];

export type Line = "connecting" | "live" | "offline" | "locked";

/** Follows the events while the tab is seen: a browser gives a site six connections, over all its tabs. */
export class Stream extends Store {
  line: Line = "connecting";
  /** The newest event that is known here; -1 before anything is. */
  private n = -1;
  /** What the request that goes on asked to hear after. */
  private asked = -1;
  private start = "";
  private failures = 0;
  private polls = false;
  private current: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly heard: (event: AnyEvent) => void,
    private readonly begunAnew: () => void,
  ) {
    super();
  }

  begin(): void {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.retryNow()));
    addEventListener("online", () => this.retryNow());
    token.subscribe(() => (token.refused ? this.lock() : this.retryNow()));
    void this.follow();
  }

  /** Go on at once, without waiting for the next try. */
  retryNow(): void {
    clearTimeout(this.timer);
    if (!this.current && !document.hidden && !token.refused) void this.follow();
  }

  private pause(): void {
    clearTimeout(this.timer);
    this.current?.abort();
    this.current = null;
  }

  private lock(): void {
    this.pause();
    this.say("locked");
  }

  private say(line: Line): void {
    if (line === this.line) return;
    this.line = line;
    this.changed();
  }

  private async follow(): Promise<void> {
    const control = new AbortController();
    this.current = control;
    try {
      if (this.polls) await this.poll(control.signal);
      else await this.stream(control);
      this.failed(control); // a stream that ended was cut
    } catch {
      this.failed(control);
    }
  }

  private failed(control: AbortController): void {
    if (this.current !== control) return; // paused, or followed by another
    this.current = null;
    if (document.hidden || token.refused) return;
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]!;
    if (this.failures > 1) this.say("offline");
    this.timer = setTimeout(() => this.retryNow(), wait);
  }

  private async stream(control: AbortController): Promise<void> {
    let silent = false;
    const hello = setTimeout(() => {
      silent = true;
      control.abort();
    }, NO_HELLO_MS);
    try {
      const response = await this.open("text/event-stream", control.signal);
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(hello);
        const lines = (rest + value).split("\n");
        rest = lines.pop()!;
        for (const line of lines) if (line.startsWith("data:")) this.take(JSON.parse(line.slice(5)) as AnyEvent);
      }
    } catch (error) {
      if (!silent || this.current !== control) throw error;
      this.polls = true; // a proxy holds the stream back
      this.current = null;
      return this.follow();
    } finally {
      clearTimeout(hello);
    }
  }

  private async poll(signal: AbortSignal): Promise<void> {
    for (;;) {
      const response = await this.open("application/json", signal);
      const { n, start, events } = (await response.json()) as Events;
      this.greet(start, n);
      for (const event of events) this.take(event);
      this.n = Math.max(this.n, n);
    }
  }

  private async open(accept: string, signal: AbortSignal): Promise<Response> {
    this.asked = this.n;
    const after = this.n < 0 ? "" : `?after=${this.n}`;
    const response = await fetch(`api/events${after}`, { headers: headers({ Accept: accept }), cache: "no-store", signal });
    if (response.status === 401) token.refuse();
    if (!response.ok) throw new Error(String(response.status));
    return response;
  }

  /** The page was told all up to event n by other means. */
  since(n: number): void {
    if (this.n < 0) this.n = n;
  }

  private greet(start: string, n: number): void {
    const anew = this.start !== "" && this.start !== start;
    const missed = this.asked < 0 && this.n >= 0 && n > this.n; // between what was told and this answer
    if (this.n < 0 || anew || missed) this.n = n;
    this.asked = this.n;
    this.start = start;
    const back = this.line === "offline" || this.line === "locked";
    this.failures = 0;
    this.say("live");
    if (anew || back || missed) this.begunAnew();
  }

  private take(event: AnyEvent): void {
    if (event.kind === "hello") return this.greet(event.start, event.n);
    if (event.kind === "resync") {
      this.n = event.n;
      return this.begunAnew();
    }
    if (event.n <= this.n) return;
    this.n = event.n;
    this.heard(event);
  }
}
