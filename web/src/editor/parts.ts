// The parts of a kata in its file: a mark in the gutter at each, which says how it stands and runs it.
import { type EditorState, type Extension, RangeSet, StateEffect, StateField } from "@codemirror/state";
import { EditorView, gutter, GutterMarker } from "@codemirror/view";
import type { Kata } from "../wire";
import { definitions } from "../text";
import { mod, sign, toneOf } from "../words";

export interface Mark {
  part: string;
  standing: string;
  /** It speaks of an older text. */
  stale: boolean;
}

/** How each part stands; definitions point to parts by name. */
export const setMarks = StateEffect.define<ReadonlyMap<string, Mark>>();

class Play extends GutterMarker {
  constructor(private readonly mark: Mark) {
    super();
  }

  override eq(other: Play): boolean {
    const { part, standing, stale } = this.mark;
    return part === other.mark.part && standing === other.mark.standing && stale === other.mark.stale;
  }

  override toDOM(): HTMLElement {
    const { part, standing, stale } = this.mark;
    const button = document.createElement("button");
    button.className = `play ${toneOf(standing)}${stale ? " stale" : ""}`;
    button.type = "button";
    button.tabIndex = -1; // the keyboard has a key of its own for it
    button.dataset.part = part;
    button.title = `Run ${part} alone (${mod}-Shift-Enter). ${standing === "unknown" ? "not judged yet" : standing}`;
    const seen = document.createElement("span");
    seen.textContent = toneOf(standing) === "quiet" ? "▶" : sign(standing);
    button.append(seen);
    return button;
  }
}

interface Marked {
  names: ReadonlyMap<string, Mark>;
  set: RangeSet<GutterMarker>;
}

function rangesOf(state: EditorState, names: ReadonlyMap<string, Mark>): RangeSet<GutterMarker> {
  const found = definitions(state.doc.toString()).flatMap(({ name, line }) => {
    const mark = names.get(name);
    return mark ? [new Play(mark).range(state.doc.line(line).from)] : [];
  });
  return RangeSet.of(found);
}

const marked = StateField.define<Marked>({
  create: () => ({ names: new Map(), set: RangeSet.empty }),
  update(value, tr) {
    const effect = tr.effects.find((one) => one.is(setMarks));
    if (!effect && !tr.docChanged) return value;
    const names = effect ? (effect.value as ReadonlyMap<string, Mark>) : value.names;
    return { names, set: rangesOf(tr.state, names) };
  },
});

/** The gutter. run: what a press on the mark of a part does. */
export function partGutter(run: (part: string) => void): Extension {
  const press = (_view: EditorView, _line: unknown, event: Event) => {
    const part = (event.target as HTMLElement).closest<HTMLElement>("[data-part]")?.dataset.part;
    if (part) run(part);
    return !!part;
  };
  return [
    marked,
    gutter({ class: "cm-parts", markers: (view) => view.state.field(marked).set, domEventHandlers: { click: press } }),
  ];
}

/** The part whose definition holds the cursor; empty where none does. */
export function partAt(state: EditorState, kata: Kata): string {
  const here = state.doc.lineAt(state.selection.main.head).number;
  const before = definitions(state.doc.toString()).filter(({ line }) => line <= here);
  const name = before.at(-1)?.name;
  return kata.parts.find((part) => name !== undefined && part.defines.includes(name))?.name ?? "";
}

/** Where a part begins; null where its definition is gone. */
export function startOf(state: EditorState, kata: Kata, part: string): number | null {
  const defines = kata.parts.find((one) => one.name === part)?.defines ?? [];
  const found = definitions(state.doc.toString()).find(({ name }) => defines.includes(name));
  return found ? state.doc.line(found.line).from : null;
}
