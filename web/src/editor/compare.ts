// Two texts beside each other; on a narrow page one below the other.
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, lineNumbers } from "@codemirror/view";
import type { Session } from "../session";
import { choice, common, tells, writing } from "./editor";

export interface Sides {
  /** What is compared with. */
  text: string;
  /** Its name. */
  label: string;
  /** The learner's own text if it is not the whole file, which is then not changed here. */
  own: string | null;
}

const fixed: Extension = [common, lineNumbers(), EditorState.readOnly.of(true), EditorView.editable.of(false)];
const named = (label: string) => EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" });
const collapseUnchanged = { margin: 3, minSize: 6 };

/** Show both; the returned function takes them away. The file can be written in, as in its editor. */
export function openCompare(session: Session, sides: Sides, parent: HTMLElement, narrow: boolean): () => void {
  const { text, label, own } = sides;
  const file = own === null ? [writing, tells(session), named(session.kata.file_name)] : [fixed, named("Your text")];
  const doc = own ?? session.text();
  const [view, destroy] = narrow
    ? unified(doc, [file, unifiedMergeView({ original: text, collapseUnchanged, mergeControls: own === null && choice(["take", "keep"]) })], parent)
    : beside(text, doc, [fixed, named(label)], file, own === null, parent);
  if (own === null) session.show(view);
  return () => {
    session.hide(view, false);
    destroy();
  };
}

function unified(doc: string, extensions: Extension, parent: HTMLElement): [EditorView, () => void] {
  const view = new EditorView({ doc, extensions, parent });
  return [view, () => view.destroy()];
}

function beside(
  text: string, doc: string, left: Extension, right: Extension, takes: boolean, parent: HTMLElement,
): [EditorView, () => void] {
  const view = new MergeView({
    a: { doc: text, extensions: left },
    b: { doc, extensions: right },
    parent,
    collapseUnchanged,
    ...(takes ? { revertControls: "a-to-b" as const, renderRevertControl: take } : {}),
  });
  return [view.b, () => view.destroy()];
}

function take(): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "take";
  button.textContent = "take →";
  button.title = "Take these lines into the file";
  button.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") button.dispatchEvent(new MouseEvent("mousedown", { bubbles: true }));
  });
  return button;
}
