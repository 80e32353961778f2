// A topic as a square: how it stands.
import type { MapTopic } from "./wire";

export type State = MapTopic["state"];

export const STATES: Record<State, string> = {
  earned: "earned",
  tried: "tried",
  open: "open",
  drilled: "drilled: no part, its drills stay known",
  fading: "fading: drilled, and forgotten since",
  drills: "drills alone: no part",
  coming: "planned: no part yet",
  gap: "gap: no part yet",
  elsewhere: "elsewhere: another collection has it",
};

/** What counts as earned: a part, or where there is none, the drills. */
export const isEarned = ({ state }: MapTopic) => state === "earned" || state === "drilled" || state === "fading";

/** How each state is drawn, in a square of 14: by its shape, since colour alone says nothing to many. */
const DRAWN: Record<State, string> = {
  earned: "M1 1h12v12H1z",
  tried: "M1 1h12v12H1z M2.5 2.5v9h9v-9z",
  open: "M1 1h12v12H1z M2.5 2.5v9h9v-9z",
  drilled: "M7 1l6 6-6 6-6-6z",
  fading: "M7 1l6 6-6 6-6-6z M7 3v8l4-4z",
  drills: "M7 1l6 6-6 6-6-6z M7 3 3 7l4 4 4-4z",
  coming: "M1 1h3v1.5h-1.5v1.5H1z M10 1h3v3h-1.5v-1.5H10z M1 10h1.5v1.5h1.5v1.5H1z M11.5 10h1.5v3h-3v-1.5h1.5z",
  gap: "M3 2 7 6l4-4 1 1-4 4 4 4-1 1-4-4-4 4-1-1 4-4-4-4z",
  elsewhere: "M5.5 5.5h3v3h-3z",
};

export function Square({ state, title }: { state: State; title?: string }) {
  return (
    <svg class={`topic ${state}`} viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">
      {title && <title>{title}</title>}
      <path d={DRAWN[state]} fill-rule="evenodd" />
      {state === "tried" && <path d="M1 1h6v12H1z" />}
    </svg>
  );
}
