// What the page has open: the map, one kata, and the line to the server.
import type { AnyEvent, HouseMap } from "./wire";
import { api, token, why } from "./api";
import { Stream } from "./events";
import { interviewing } from "./interviewing";
import { Session } from "./session";
import { Store } from "./store";

class Desk extends Store {
  map: HouseMap | null = null;
  session: Session | null = null;
  /** The kata that was asked for last, until it is here or cannot be. */
  private opening = "";
  /** Why the map or the kata is not here. */
  trouble = "";
  readonly stream = new Stream((event) => this.heard(event), () => void this.reload());

  begin(): void {
    this.stream.subscribe(() => this.changed());
    token.subscribe(() => this.changed());
    this.stream.begin();
    void this.loadMap();
    interviewing.save = async () => this.session?.editing.save() ?? true;
    interviewing.ended = () => void Promise.all([this.loadMap(), this.session?.reload()]);
    void interviewing.load();
    addEventListener("pagehide", () => this.session?.editing.leave());
    document.addEventListener("visibilitychange", () => document.hidden && void this.session?.editing.save());
  }

  async loadMap(): Promise<void> {
    try {
      this.map = await api.map();
      this.trouble = "";
    } catch (error) {
      this.trouble = why(error);
    }
    this.changed();
  }

  /** Open a kata, and close the one that was open. Of several that were asked for, the last one opens. */
  async open(id: string): Promise<void> {
    if (id === (this.opening || this.session?.kata.id)) return;
    this.opening = id;
    const old = this.session;
    this.session = null;
    if (old) {
      await old.editing.save();
      old.close();
    }
    try {
      const kata = await api.kata(id);
      if (this.opening !== id) return;
      this.session = new Session(kata);
      this.stream.since(kata.n);
      this.trouble = "";
    } catch (error) {
      if (this.opening !== id) return;
      this.trouble = why(error);
    }
    this.opening = "";
    this.changed();
  }

  private heard(event: AnyEvent): void {
    this.session?.heard(event);
    if (event.kind === "end") void this.loadMap();
    if (event.kind === "interview") void interviewing.load();
  }

  private async reload(): Promise<void> {
    await Promise.all([this.loadMap(), this.session?.reload(), interviewing.load()]);
  }
}

export const desk = new Desk();
