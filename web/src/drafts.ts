// What was typed and is not on disk yet, kept in this browser until it is.

export interface Draft {
  key: string;
  text: string;
  /** What it began from. */
  base: { text: string; hash: string };
  /** Milliseconds since 1970; 0 once its page was left. */
  at: number;
}

const PREFIX = "dl-kata draft ";

/** Each page that is open is an editor of its own, also where a browser copied its tab. */
const page = Math.random().toString(36).slice(2);
/** A draft that nobody has renewed for so long belongs to no open page. */
export const ORPHAN_MS = 5000;

const keyOf = (id: string) => `${PREFIX}${id} ${page}`;

/** Keep a draft. left: nobody looks after it from now on. False where the browser refuses: it is full, or in private mode. */
export function keepDraft(id: string, text: string, base: Draft["base"], left = false): boolean {
  try {
    localStorage.setItem(keyOf(id), JSON.stringify({ text, base, at: left ? 0 : Date.now() }));
    return true;
  } catch {
    return false;
  }
}

export function dropDraft(id: string): void {
  localStorage.removeItem(keyOf(id));
}

export function forget(draft: Draft): void {
  localStorage.removeItem(draft.key);
}

/** The drafts of an exercise that no open page looks after, the newest first. */
export function orphans(id: string): Draft[] {
  return draftsOf(id).filter((draft) => draft.key !== keyOf(id) && Date.now() - draft.at > ORPHAN_MS);
}

/** Whether there are drafts of pages that may be open: in a while it is known. */
export function mayOrphan(id: string): boolean {
  return draftsOf(id).some((draft) => draft.key !== keyOf(id) && Date.now() - draft.at <= ORPHAN_MS);
}

function draftsOf(id: string): Draft[] {
  const found: Draft[] = [];
  for (let i = 0; i < localStorage.length; i += 1) {
    const key = localStorage.key(i)!;
    if (!key.startsWith(`${PREFIX}${id} `)) continue;
    try {
      found.push({ ...(JSON.parse(localStorage.getItem(key)!) as Omit<Draft, "key">), key });
    } catch {
      continue; // not ours
    }
  }
  return found.sort((a, b) => b.at - a.at);
}
