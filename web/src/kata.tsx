// One kata: statement, editor, verdicts.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { EditorView } from "@codemirror/view";
import { Aside } from "./aside";
import { Bars, JudgedState, SaveState } from "./bars";
import { desk } from "./desk";
import { interviewing } from "./interviewing";
import { goTo, keepVim, openEditor, showMerge, startOf } from "./editor/editor";
import { fails } from "./judged";
import { options } from "./options";
import { to } from "./router";
import type { Session } from "./session";
import { useStore } from "./store";
import { Try } from "./try";
import { Verdicts } from "./verdicts";
import { mod } from "./words";

type Pane = "text" | "code" | "verdicts";

export function KataScreen({ id, part }: { id: string; part: string }) {
  useStore(desk);
  useLayoutEffect(() => void desk.open(id), [id]);
  const { session, trouble } = desk;
  if (session?.kata.id !== id) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  return <Kata session={session} part={part} />;
}

function Kata({ session, part }: { session: Session; part: string }) {
  useStore(session);
  const held = useStore(interviewing).holds(session.kata.id);
  const [pane, setPane] = useState<Pane>("code");
  const show = (name: string) => {
    setPane("code");
    const at = startOf(session.current, session.kata, name);
    if (at !== null && session.view) goTo(session.view, at);
  };
  useKeys(session);
  useLayoutEffect(() => {
    if (part) show(part);
  }, [part]);
  const failing = session.judged.parts.filter(fails).length;
  const tab = (name: Pane, label: string) => (
    <button type="button" role="tab" aria-selected={pane === name} aria-controls={`pane-${name}`} onClick={() => setPane(name)}>{label}</button>
  );
  return (
    <>
      <Toolbar session={session} held={held} />
      <div class="tabs" role="tablist" aria-label="Panes">
        {tab("text", "Text")}
        {tab("code", "Code")}
        {!held && tab("verdicts", failing ? `Verdicts ${failing}` : "Verdicts")}
      </div>
      <div class={`panes show-${pane}`}>
        <div class="pane pane-text" id="pane-text"><Aside session={session} held={held} /></div>
        <div class="pane pane-code" id="pane-code">
          <Bars session={session} />
          <Editor session={session} />
          <Try session={session} />
          <Foot session={session} />
        </div>
        <div class="pane pane-verdicts" id="pane-verdicts" tabIndex={-1}>{held ? <p class="empty">An interview goes on: no hints, and the verdict comes at its end.</p> : <Verdicts session={session} show={show} />}</div>
      </div>
      <Printout session={session} />
    </>
  );
}

/** held: by an interview, in which nothing is judged or told. */
function Toolbar({ session, held }: { session: Session; held: boolean }) {
  const { kata, judged } = session;
  const part = session.part(session.cursor) ?? kata.parts.find(({ earned }) => !earned);
  const hints = part && part.hints > 0 && part.hints_seen.length < part.hints ? part : null;
  return (
    <div class="toolbar">
      <h1>{kata.title}</h1>
      {kata.edition === "whole" && <span class="points"><b>{kata.points_earned}</b>/{kata.points}</span>}
      <SaveState session={session} />
      <span class="spacer" />
      {held ? null : judged.run ? (
        <button type="button" class="main" onClick={() => void session.stop()} title={`Stop (${mod}-.)`}>■ Stop</button>
      ) : (
        <button type="button" class="main" onClick={() => void session.run()} disabled={session.asked} title={`Save and run (${mod}-Enter)`}>▶ Run</button>
      )}
      {!held && <a class="button" href={to.compare(kata.id)}>Compare</a>}
      {!held && <button type="button" id="hint" disabled={!hints} onClick={() => hints && void session.askHint(hints.name)} title={part ? `A hint for ${part.name} (h)` : ""}>
        Hint{part && part.hints > 0 ? ` ${Math.min(part.hints_seen.length + 1, part.hints)}/${part.hints}` : ""}
      </button>}
      <Reset session={session} part={part?.name ?? ""} />
    </div>
  );
}

function Reset({ session, part }: { session: Session; part: string }) {
  const [open, setOpen] = useState(false);
  const reset = (name: string) => {
    setOpen(false);
    void session.reset(name);
  };
  if (!open) return <button type="button" class="quiet" onClick={() => setOpen(true)}>Reset…</button>;
  return (
    <span class="asks" role="group" aria-label="Reset">
      Your text is kept.{" "}
      {part && <button type="button" onClick={() => reset(part)}>Stub of {part}</button>}{" "}
      <button type="button" onClick={() => reset("")}>Stub of the file</button>{" "}
      <button type="button" class="quiet" onClick={() => setOpen(false)}>Not now</button>
    </span>
  );
}

function Editor({ session }: { session: Session }) {
  const here = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  useStore(options);
  useLayoutEffect(() => {
    const opened = openEditor(session, here.current!);
    view.current = opened;
    const asked = () => void session.run();
    opened.dom.addEventListener("save-asked", asked);
    return () => {
      session.hide(opened, true);
      opened.destroy();
    };
  }, [session]);
  useLayoutEffect(() => {
    if (view.current) void keepVim(view.current);
  }, [options.vim]);
  const { merging } = session.editing;
  useLayoutEffect(() => {
    if (view.current) showMerge(view.current, merging);
  }, [merging]);
  return <div class="editor" ref={here} />;
}

function Foot({ session }: { session: Session }) {
  return (
    <p class="foot">
      <code title={session.kata.path}>{session.kata.file_name}</code>
      <span>{session.cursor}</span>
      <span class="spacer" />
      <JudgedState session={session} />
      <kbd>{mod}-Enter</kbd>
    </p>
  );
}

function useKeys(session: Session): void {
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (document.querySelector("dialog[open]")) return;
      if (event.target instanceof HTMLElement && event.target.closest(".try")) return; // its keys are its own
      const with_ = event.ctrlKey || event.metaKey;
      const key = event.key.toLowerCase();
      if (event.key === "F8") session.goToPlace(event.shiftKey ? -1 : 1);
      else if (with_ && event.key === "Enter" && event.shiftKey) void session.run(session.cursor, session.cursor !== "");
      else if (with_ && event.key === "Enter") void session.run();
      else if (with_ && key === "s" && !event.shiftKey && !event.altKey) void session.run();
      else if (with_ && event.key === ".") void session.stop();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    addEventListener("keydown", pressed, { capture: true });
    return () => removeEventListener("keydown", pressed, { capture: true });
  }, [session]);
}

/** The whole file with its lines numbered: an editor draws only what is seen. For the printer. */
function Printout({ session }: { session: Session }) {
  const [prints, setPrints] = useState(false);
  useLayoutEffect(() => {
    const before = () => setPrints(true);
    const after = () => setPrints(false);
    const media = matchMedia("print");
    const changed = () => setPrints(media.matches);
    addEventListener("beforeprint", before);
    addEventListener("afterprint", after);
    media.addEventListener("change", changed);
    return () => {
      removeEventListener("beforeprint", before);
      removeEventListener("afterprint", after);
      media.removeEventListener("change", changed);
    };
  }, []);
  if (!prints) return null;
  return (
    <section class="printout" aria-label="Code">
      <h2>{session.kata.path}</h2>
      <ol>{session.text().split("\n").map((line, i) => <li key={i}>{line || " "}</li>)}</ol>
    </section>
  );
}
