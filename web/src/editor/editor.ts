// The editor of a kata's file.
import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab, isolateHistory } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, foldKeymap, indentOnInput, indentUnit } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { unifiedMergeView } from "@codemirror/merge";
import { search, searchKeymap } from "@codemirror/search";
import { Annotation, Compartment, EditorState, type Extension, type TransactionSpec } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { fails, firstFailure } from "../judged";
import { options } from "../options";
import type { Session } from "../session";
import { lineIn } from "../text";
import { look } from "./look";
import { type Mark, partAt, partGutter, setMarks, startOf } from "./parts";

export { partAt, startOf };

/** On a change that the learner did not make: it came from the disk, or from a button of the page. */
const outside = Annotation.define<boolean>();
const vimKeys = new Compartment();
const merge = new Compartment();

/** A change from outside: the cursor stays, and one undo takes it back. */
export function fromOutside(changes: { from: number; to: number; insert: string }): TransactionSpec {
  return { changes, annotations: [outside.of(true), isolateHistory.of("full")] };
}

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";

/** What every editor of the page has. */
export const common: Extension = [
  EditorView.cspNonce.of(nonce),
  EditorState.lineSeparator.of("\n"), // so that a lone CR of the file stays what it is
  EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, "\n")),
  highlightSpecialChars(),
  drawSelection(),
  indentUnit.of("    "),
  EditorState.tabSize.of(4),
  python(),
  look,
];

/** What an editor has in which one writes. */
export const writing: Extension = [
  common,
  lineNumbers(),
  history(),
  indentOnInput(),
  bracketMatching(),
  closeBrackets(),
  highlightActiveLine(),
  highlightActiveLineGutter(),
  search({ top: false }),
  keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, indentWithTab]),
];

/** Tells the session what the learner does. */
export function tells(session: Session): Extension {
  return EditorView.updateListener.of((update) => {
    if (!update.docChanged && !update.selectionSet) return;
    const byLearner = !update.transactions.some((tr) => tr.annotation(outside));
    session.edited(update.docChanged, byLearner);
  });
}

export function firstState(doc: string, session: Session): EditorState {
  return EditorState.create({
    doc,
    extensions: [
      vimKeys.of([]),
      writing,
      partGutter((part) => void session.run(part, true)),
      lintGutter(),
      EditorView.contentAttributes.of({ "aria-label": `Code: ${session.kata.file_name}` }),
      EditorView.domEventHandlers({ blur: () => void session.editing.save() }),
      merge.of([]),
      tells(session),
    ],
  });
}

/** An editor that takes the session's state, and gives it back when it is closed. */
export function openEditor(session: Session, parent: HTMLElement): EditorView {
  const view = new EditorView({ state: session.current, parent });
  session.show(view);
  void keepVim(view);
  return view;
}

/** Vim's keys as the options say; their code is fetched when they are first wanted. */
export async function keepVim(view: EditorView): Promise<void> {
  const extension = options.vim ? (await import("./vim")).vimMode() : [];
  view.dispatch({ effects: vimKeys.reconfigure(extension) });
}

// ---- what was judged, as marks

/** A transaction that shows how the parts stand, and the lines of tracebacks. */
export function showJudged(state: EditorState, session: Session): TransactionSpec {
  const marks = new Map<string, Mark>();
  for (const part of session.kata.parts) {
    const view = session.judged.part(part.name);
    const standing = view?.standing ?? "unknown";
    const stale = !!view?.hash && !session.isCurrent(view.hash);
    for (const name of part.defines) marks.set(name, { part: part.name, standing, stale });
  }
  const lint = setDiagnostics(state, diagnosticsOf(state, session));
  return { ...lint, effects: [setMarks.of(marks), ...[lint.effects ?? []].flat()] };
}

function diagnosticsOf(state: EditorState, session: Session): Diagnostic[] {
  const found = new Map<number, Diagnostic>();
  const now = state.doc.toString();
  for (const part of session.judged.parts.filter(fails)) {
    const judged = session.editing?.textOf(part.hash);
    const failure = firstFailure(part);
    if (!failure || judged === undefined) continue;
    const lines = failure.lines.filter(({ line, file }) => line > 0 && file === session.kata.file_name);
    lines.forEach(({ line }, i) => {
      const at = lineIn(judged, now, line);
      if (at === null) return;
      const last = i === lines.length - 1;
      if (found.has(at) && !last) return;
      const whole = state.doc.lineAt(at);
      const from = at + (/^\s*/.exec(whole.text)?.[0].length ?? 0);
      const said = failure.message.split("\n")[0]!;
      const message = last ? `${part.name}: ${said}` : `${part.name} went through here`;
      found.set(at, { from, to: Math.max(whole.to, from), severity: last ? "error" : "hint", message });
    });
  }
  return [...found.values()].sort((a, b) => a.from - b.from);
}

/** The places to go to: the last line of each traceback, else where the failing part begins. */
export function placesOf(state: EditorState, session: Session): { at: number; part: string }[] {
  const now = state.doc.toString();
  const places = session.judged.parts.filter(fails).flatMap((part) => {
    const failure = firstFailure(part);
    const judged = session.editing.textOf(part.hash);
    const line = failure?.lines.filter((one) => one.line > 0 && one.file === session.kata.file_name).at(-1);
    const found = line && judged !== undefined ? lineIn(judged, now, line.line) : null;
    const at = found ?? startOf(state, session.kata, part.name);
    return at === null ? [] : [{ at, part: part.name }];
  });
  return places.sort((a, b) => a.at - b.at);
}

/** Put the cursor there, and show it. */
export function goTo(view: EditorView, at: number): void {
  const line = view.state.doc.lineAt(at);
  const indent = /^\s*/.exec(line.text)?.[0].length ?? 0;
  view.dispatch({
    selection: { anchor: line.from + indent },
    effects: EditorView.scrollIntoView(line.from, { y: "start", yMargin: 80 }),
  });
  view.focus();
}

/** While a merge asks: above each place that differs the text of the disk, with a choice. Null: no more. */
export function showMerge(view: EditorView, disk: string | null): void {
  const shown = disk === null ? [] : unifiedMergeView({ original: disk, mergeControls: choice(["Take the disk's", "Keep mine"]), gutter: true });
  view.dispatch({ effects: merge.reconfigure(shown) });
}

/** The two buttons at a place that differs, by their words: for the other text, and for this one. */
export function choice([theirs, mine]: [string, string]) {
  return (type: "accept" | "reject", action: (event: MouseEvent) => void): HTMLElement => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "take";
    button.textContent = type === "accept" ? mine : theirs;
    button.addEventListener("mousedown", action);
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") button.dispatchEvent(new MouseEvent("mousedown", { bubbles: true }));
    });
    return button;
  };
}
