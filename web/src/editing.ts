// A text under edit and the file on disk, which is the truth. Nothing that was typed is ever lost: it is on disk, in the
// history, in the editor, or a draft in this browser.
import type { DiskFile } from "./wire";
import { GONE } from "./wire";
import { api, ConflictError, OfflineError, why } from "./api";
import { dropDraft, forget, keepDraft, mayOrphan, ORPHAN_MS, orphans } from "./drafts";
import { between, merge3 } from "./merge3";
import { LineEnds } from "./text";
import { Store } from "./store";

const AUTOSAVE_MS = 400;
const DRAFT_MS = 120;
const RENEW_MS = 2000;
const RETRY_MS = 2000;
const TEXTS = 60;
const LOOKS = 5;

/** Where the text is edited. */
export interface Port {
  text(): string;
  /** Change it so that it can be undone in one step. */
  change(change: { from: number; to: number; insert: string }): void;
}

/** A sentence about what just happened to the text, and perhaps a way back. */
export interface Notice {
  said: string;
  undo: string | null;
}

export type SaveState = "saved" | "typing" | "saving" | "offline" | "refused" | "asks" | "lost";

export class Editing extends Store {
  /** What the disk held when page and disk last agreed. */
  base: { text: string; hash: string };
  /** Another text on disk, while this one has changes of its own. */
  conflict: DiskFile | null = null;
  /** The file is gone or cannot be read. */
  lost: DiskFile | null = null;
  /** After a merge in which both had changed one place: what the disk holds, until the learner has chosen. */
  merging: string | null = null;
  notice: Notice | null = null;
  /** Why a save was refused. */
  refusal = "";
  offline = false;
  /** Called when a text came to the disk by itself, without a run that was asked for. */
  autosaved: () => void = () => {};

  private readonly ends = new LineEnds();
  private readonly texts = new Map<string, string>();
  private saving: Promise<void> | null = null;
  private overrules = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private draftTimer: ReturnType<typeof setTimeout> | undefined;
  private draftLook: ReturnType<typeof setTimeout> | undefined;
  private readonly renewing: ReturnType<typeof setInterval>;

  constructor(
    readonly id: string,
    file: DiskFile,
    private readonly port: Port,
  ) {
    super();
    this.base = { text: this.ends.fromDisk(file.text), hash: file.hash };
    this.agree(this.base.text, file.hash);
    if (file.state !== "there") this.lost = file;
    this.renewing = setInterval(() => this.dirty && this.keep(), RENEW_MS);
  }

  end(): void {
    clearInterval(this.renewing);
    clearTimeout(this.draftLook);
    clearTimeout(this.timer);
  }

  get dirty(): boolean {
    return this.port.text() !== this.base.text;
  }

  get state(): SaveState {
    if (this.lost) return "lost";
    if (this.conflict || this.merging !== null) return "asks";
    if (!this.dirty) return "saved";
    if (this.offline) return "offline";
    if (this.refusal) return "refused";
    return this.saving ? "saving" : "typing";
  }

  /** Whether the disk is not to be written until the learner has decided something. */
  private get blocked(): boolean {
    return !!(this.conflict || this.lost || this.merging !== null);
  }

  /** Whether this is the text that had this hash on disk. */
  is(hash: string): boolean {
    return this.texts.get(hash) === this.port.text();
  }

  textOf(hash: string): string | undefined {
    return this.texts.get(hash);
  }

  /** A draft that an earlier page left behind comes back, onto what the disk holds now. */
  async takeDrafts(): Promise<void> {
    if (mayOrphan(this.id)) this.draftLook = setTimeout(() => void this.takeDrafts(), ORPHAN_MS + 500);
    const [newest, ...older] = orphans(this.id).filter((draft) => {
      if (draft.text !== this.base.text) return true;
      forget(draft);
      return false;
    });
    for (const draft of older) await api.keep(this.id, this.ends.toDisk(draft.text)).then(() => forget(draft), () => {});
    if (!newest || this.dirty || this.lost) return;
    const { text: before, hash } = this.base;
    this.port.change(between(before, newest.text));
    if (newest.base.hash !== hash) {
      this.base = newest.base;
      this.arrived({ state: "there", text: this.ends.toDisk(before), hash, stub: false, why: "" });
    } else {
      this.notice = { said: "What you had typed and was not saved is back.", undo: before };
      this.typed();
    }
    this.keep();
    forget(newest);
    this.changed();
  }

  /** The learner changed the text. */
  typed(): void {
    clearTimeout(this.timer);
    clearTimeout(this.draftTimer);
    if (!this.dirty && !this.blocked) dropDraft(this.id);
    else this.draftTimer = setTimeout(() => this.keep(), DRAFT_MS);
    if (this.dirty) this.timer = setTimeout(() => void this.autosave(), AUTOSAVE_MS);
    this.changed();
  }

  private async autosave(): Promise<void> {
    if (this.blocked || !this.dirty) return;
    await this.save();
    if (!this.dirty) this.autosaved();
  }

  private keep(left = false): void {
    if (this.dirty || this.blocked) keepDraft(this.id, this.port.text(), this.base, left);
  }

  /** Bring the text to the disk. True if the disk holds it now. */
  async save(): Promise<boolean> {
    clearTimeout(this.timer);
    while (this.saving) await this.saving;
    while (this.dirty && !this.blocked) {
      const before = this.base.hash;
      this.saving = this.saveOnce().finally(() => (this.saving = null));
      this.changed();
      await this.saving;
      if (this.base.hash === before) break; // it was not written
    }
    this.changed();
    return !this.dirty && !this.blocked;
  }

  private async saveOnce(): Promise<void> {
    const text = this.port.text();
    const began = this.base.hash;
    try {
      const { hash } = await api.save(this.id, began, { text: this.ends.toDisk(text), overrules: this.overrules });
      this.overrules = false;
      this.offline = false;
      this.refusal = "";
      this.agree(text, hash);
    } catch (error) {
      if (error instanceof ConflictError) return this.arrived(error.disk);
      this.keep();
      this.offline = error instanceof OfflineError;
      this.refusal = this.offline ? "" : why(error);
      this.timer = setTimeout(() => void this.autosave(), RETRY_MS);
    }
  }

  /** Page and disk hold one text. */
  private agree(text: string, hash: string): void {
    this.base = { text, hash };
    this.texts.delete(hash);
    this.texts.set(hash, text);
    if (this.texts.size > TEXTS) this.texts.delete(this.texts.keys().next().value!);
    if (!this.dirty) {
      clearTimeout(this.draftTimer);
      dropDraft(this.id);
    }
  }

  /** The server says that the disk holds another text. */
  async noticed(hash: string): Promise<void> {
    for (let looks = 0; looks < LOOKS; looks += 1) {
      while (this.saving) await this.saving;
      if (hash === this.base.hash && !this.conflict && !this.lost) return;
      const before = this.base.hash;
      try {
        const disk = await api.file(this.id);
        if (!this.saving && this.base.hash === before) return this.arrived(disk);
        hash = disk.hash; // a save came between: what was read may be older than it
      } catch {
        return; // the next event, or the next save, tells it again
      }
    }
  }

  /** This is on disk now. A text without changes of its own follows; another one asks. */
  arrived(disk: DiskFile): void {
    if (disk.state !== "there") {
      this.lost = disk;
      this.conflict = null;
      this.keep();
    } else {
      this.lost = null;
      this.meet(disk);
    }
    this.changed();
    if (this.dirty && !this.blocked) this.typed();
  }

  private meet(disk: DiskFile): void {
    const text = this.ends.fromDisk(disk.text);
    const mine = this.port.text();
    this.conflict = null;
    if (text === mine) return this.agree(text, disk.hash);
    if (disk.hash === this.base.hash) return;
    if (this.merging !== null || mine !== this.base.text) {
      this.merging = null;
      this.conflict = disk;
      this.keep();
      return;
    }
    this.agree(text, disk.hash); // first, so that the change is none of the learner's
    this.port.change(between(mine, text));
    this.notice = { said: "Changed on disk.", undo: mine };
  }

  /** Load from disk: what was typed goes into the history. */
  async loadDisk(): Promise<void> {
    const disk = this.conflict;
    if (!disk) return;
    const mine = this.port.text();
    await api.keep(this.id, this.ends.toDisk(mine));
    this.take(disk, mine, this.ends.fromDisk(disk.text), "Your text is kept in the history.");
  }

  /** Keep mine: what is on disk goes into the history. */
  async keepMine(): Promise<void> {
    const disk = this.conflict;
    if (!disk) return;
    this.conflict = null;
    this.base = { text: this.ends.fromDisk(disk.text), hash: disk.hash };
    this.overrules = true;
    if (await this.save()) this.notice = { said: "The text that was on disk is kept in the history.", undo: null };
    this.changed();
  }

  /** Merge: the changes of both; where both changed one place, the learner chooses. */
  async merge(): Promise<void> {
    const disk = this.conflict;
    if (!disk) return;
    const mine = this.port.text();
    const theirs = this.ends.fromDisk(disk.text);
    const { text, conflicts } = merge3(this.base.text, mine, theirs);
    await api.keep(this.id, this.ends.toDisk(mine));
    if (conflicts) this.merging = theirs;
    this.overrules = true;
    const both = conflicts === 1 ? "One place was" : `${conflicts} places were`;
    const said = conflicts ? `${both} changed by both: choose, then Done.` : "Merged: the changes of both are here.";
    this.take(disk, mine, text, said);
    if (!conflicts) await this.save();
  }

  /** The learner has chosen at each place of a merge. */
  async merged(): Promise<void> {
    this.merging = null;
    this.notice = null;
    await this.save();
  }

  private take(disk: DiskFile, mine: string, text: string, said: string): void {
    this.conflict = null;
    this.agree(this.ends.fromDisk(disk.text), disk.hash);
    this.port.change(between(mine, text));
    this.notice = { said, undo: mine };
    if (!this.dirty) dropDraft(this.id);
    this.changed();
  }

  /** Write the file again that is gone. */
  async writeAgain(): Promise<void> {
    const { hash } = await api.save(this.id, this.lost?.hash ?? GONE, { text: this.ends.toDisk(this.port.text()) });
    this.lost = null;
    this.agree(this.port.text(), hash);
    this.changed();
  }

  /** The stub again, of the file or of one part. What was there is kept in the history. */
  async reset(part: string): Promise<void> {
    if (this.lost) {
      if (this.port.text()) await api.keep(this.id, this.ends.toDisk(this.port.text()));
    } else if (!(await this.save())) return;
    const disk = await api.reset(this.id, part);
    this.lost = null;
    const mine = this.port.text();
    this.agree(this.ends.fromDisk(disk.text), disk.hash);
    this.port.change(between(mine, this.base.text));
    this.notice = { said: "The stub is back; your text is kept in the history.", undo: mine };
    this.changed();
  }

  undoNotice(): void {
    const back = this.notice?.undo;
    this.notice = null;
    if (back !== null && back !== undefined) {
      this.port.change(between(this.port.text(), back));
      this.typed();
    }
    this.changed();
  }

  closeNotice(): void {
    if (!this.notice) return;
    this.notice = null;
    this.changed();
  }

  /** Try at once what waited for the server. */
  async back(): Promise<void> {
    this.offline = false;
    await this.save();
  }

  /** The page goes: what is not on disk yet is sent without waiting for an answer, and kept as a draft. */
  leave(): void {
    if (!this.dirty && !this.blocked) return;
    this.keep(true);
    if (this.blocked) return;
    const text = this.ends.toDisk(this.port.text());
    void api.save(this.id, this.base.hash, { text, leaving: true }).catch(() => {});
  }
}
