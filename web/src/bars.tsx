// What the disk and the learner have to agree on, said above the editor.
import { useState } from "preact/hooks";
import { why } from "./api";
import type { Session } from "./session";
import { plural } from "./words";

/** Do it once, and say what went wrong. */
function useDoing(): [string, boolean, (what: () => Promise<void>) => void] {
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const start = (what: () => Promise<void>) => {
    setBusy(true);
    setSaid("");
    what().catch((error) => setSaid(why(error))).finally(() => setBusy(false));
  };
  return [said, busy, start];
}

export function Bars({ session }: { session: Session }) {
  const { editing, kata } = session;
  const [said, busy, start] = useDoing();
  const trouble = said && <span class="said">{said}</span>;
  if (editing.lost)
    return (
      <div class="bar asks" role="alert">
        <span>
          {editing.lost.state === "gone" ? <><b>{kata.path}</b> is gone from the disk.</> : <>{editing.lost.why || `${kata.path} cannot be read.`}</>}
        </span>
        {editing.lost.state === "gone" && session.text() !== "" && (
          <button type="button" disabled={busy} onClick={() => start(() => editing.writeAgain())}>Write what is here</button>
        )}
        <button type="button" disabled={busy} onClick={() => start(() => editing.reset(""))}>Write the stub</button>
        {trouble}
      </div>
    );
  if (editing.conflict)
    return (
      <div class="bar asks" role="alert">
        <span><b>The file changed on disk</b>, and you changed it here. What you do not take is kept in the history.</span>
        <button type="button" disabled={busy} onClick={() => start(() => editing.loadDisk())}>Load from disk</button>
        <button type="button" disabled={busy} onClick={() => start(() => editing.keepMine())}>Keep mine</button>
        <button type="button" disabled={busy} onClick={() => start(() => editing.merge())}>Merge</button>
        {trouble}
      </div>
    );
  if (editing.merging !== null)
    return (
      <div class="bar asks" role="alert">
        <span>{editing.notice?.said} Above each place stands the text of the disk.</span>
        <button type="button" disabled={busy} onClick={() => start(() => editing.merged())}>Done</button>
        {trouble}
      </div>
    );
  if (editing.notice)
    return (
      <div class="bar" role="status">
        <span>{editing.notice.said}</span>
        {editing.notice.undo !== null && <button type="button" onClick={() => editing.undoNotice()}>Undo</button>}
        <button type="button" class="quiet" onClick={() => editing.closeNotice()} aria-label="Close this note">×</button>
      </div>
    );
  if (editing.refusal) return <div class="bar asks" role="alert"><span>Not saved: {editing.refusal}</span></div>;
  return null;
}

const SAVED: Record<string, string> = {
  saved: "saved ✓", typing: "typing", saving: "saving…", offline: "kept in this browser", refused: "not saved",
  asks: "not saved: you choose", lost: "not on disk",
};

export function SaveState({ session }: { session: Session }) {
  const { state } = session.editing;
  return <span class={`save ${state}`}>{SAVED[state]}</span>;
}

/** Which text the verdicts speak of. */
export function JudgedState({ session }: { session: Session }) {
  const { judged } = session;
  if (judged.run) return <span class="judged">judging{judged.run.hash && !session.isCurrent(judged.run.hash) ? " an older text" : ""}</span>;
  if (!judged.checks) return <span class="judged">not judged yet</span>;
  const current = session.isCurrent(judged.hash);
  return (
    <span class={`judged${current ? "" : " stale"}`}>
      judged: {current ? "this text" : <b>an older text</b>} · {plural(judged.checks, session.noun)}
    </span>
  );
}
