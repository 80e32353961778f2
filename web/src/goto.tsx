// Go to: a part, an exercise or a screen, by a few letters of its name.
import { useMemo, useState } from "preact/hooks";
import { desk } from "./desk";
import { Dialog } from "./dialog";
import { go, to } from "./router";

interface Place {
  name: string;
  beside: string;
  address: string;
}

const SHOWN = 12;

function places(): Place[] {
  const found: Place[] = [
    { name: "Map", beside: "screen", address: to.map() },
    { name: "Report", beside: "screen", address: to.report() },
    ...(desk.map?.drills ? [{ name: "Drill", beside: "screen", address: to.drill() }, { name: "Interview", beside: "screen", address: to.interview() }] : []),
  ];
  for (const one of desk.map?.exercises ?? []) {
    found.push({ name: one.title, beside: one.id, address: to.kata(one.id) });
    for (const part of one.parts) found.push({ name: part, beside: one.title, address: to.kata(one.id, part) });
  }
  return found;
}

/** Those that hold all words, the ones that begin with them first. */
function matching(all: Place[], typed: string): Place[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const score = ({ name }: Place) => (name.toLowerCase().startsWith(words[0] ?? "") ? 0 : 1);
  const fits = ({ name, beside }: Place) => words.every((word) => `${name} ${beside}`.toLowerCase().includes(word));
  return all.filter(fits).sort((a, b) => score(a) - score(b)).slice(0, SHOWN);
}

export function GoTo({ close }: { close: () => void }) {
  const all = useMemo(places, []);
  const [typed, setTyped] = useState("");
  const [chosen, setChosen] = useState(0);
  const found = matching(all, typed);
  const leave = (place: Place | undefined) => {
    if (!place) return;
    close();
    go(place.address);
  };
  const pressed = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setChosen((chosen + step + found.length) % Math.max(found.length, 1));
    else if (event.key === "Enter") leave(found[chosen]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog label="Go to" close={close} class="goto">
      <input
        type="text" role="combobox" aria-expanded="true" aria-controls="places" aria-label="Go to an exercise or a part"
        aria-activedescendant={found[chosen] ? `place-${chosen}` : undefined} placeholder="An exercise, a part, a screen"
        autoFocus autocomplete="off" spellcheck={false} value={typed} onKeyDown={pressed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setChosen(0);
        }}
      />
      <ul id="places" role="listbox" aria-label="Places">
        {found.map((place, i) => (
          <li key={place.address} id={`place-${i}`} role="option" aria-selected={i === chosen} onClick={() => leave(place)}>
            <b>{place.name}</b> <span>{place.beside}</span>
          </li>
        ))}
      </ul>
      {!found.length && <p class="quiet">Nothing has that name.</p>}
    </Dialog>
  );
}
