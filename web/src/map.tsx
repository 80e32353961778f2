// The map: what interviews ask, topic by topic, what is earned of it, and what is next.
import { useEffect, useState } from "preact/hooks";
import type { HouseMap, MapTopic, RoleRow, Tile } from "./wire";
import { desk } from "./desk";
import { to } from "./router";
import { useStore } from "./store";
import { plural } from "./words";

const STATES: Record<MapTopic["state"], { sign: string; said: string }> = {
  earned: { sign: "■", said: "earned" },
  tried: { sign: "◧", said: "tried" },
  open: { sign: "□", said: "open" },
  coming: { sign: "◌", said: "planned: no part yet" },
  gap: { sign: "╳", said: "gap: no part yet" },
  elsewhere: { sign: "·", said: "elsewhere: another collection has it" },
};

export function MapScreen() {
  const { map, trouble } = useStore(desk);
  useEffect(() => void desk.loadMap(), []);
  if (!map) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  return <Overview map={map} />;
}

function Overview({ map }: { map: HouseMap }) {
  const [role, setRole] = useState(() => map.roles.at(-1)?.id ?? "");
  const mine = map.sections.flatMap(({ tiles }) => tiles).find(({ topics }) => topics.some(({ parts }) => parts.some(({ exercise, part }) => exercise === map.next?.exercise && part === map.next?.part)));
  const [chosen, setChosen] = useState(mine?.number ?? "");
  return (
    <>
      <h1 class="unseen">Map</h1>
      <NextCard map={map} />
      <Roles roles={map.roles} chosen={role} choose={setRole} />
      <Key />
      <div class="atlas">
        {map.sections.map((section) => (
          <section key={section.id} aria-label={section.title}>
            <h2>{section.title}</h2>
            <ul class="tiles">
              {section.tiles.map((tile) => (
                <TileRow key={tile.number} tile={tile} role={role} open={tile.number === chosen} choose={() => setChosen(tile.number)} />
              ))}
            </ul>
          </section>
        ))}
      </div>
    </>
  );
}

function NextCard({ map }: { map: HouseMap }) {
  const { next } = map;
  if (!next) return <section class="next done" aria-label="Next"><p><b>All is earned.</b> {map.points} points, every part of the collection.</p></section>;
  return (
    <section class="next" aria-label="Next">
      <div>
        <p class="kicker">{map.first_visit ? "Begin here" : "Next"}</p>
        <p class="what"><b>{next.part}</b> · {next.title} · {next.minutes} min · {next.points} points{next.said && <span class="said"> · last: {next.said}</span>}</p>
        {map.first_visit && <p class="first">Each part is a function or a class to write into a file of yours; checks say what holds and where it breaks.</p>}
        {map.edition === "student" && <p class="first">The student edition: the visible examples run here.</p>}
      </div>
      <a class="button main" href={to.kata(next.exercise, next.part)}>{next.begun ? "Go on" : "Begin"}</a>
    </section>
  );
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

function Roles({ roles, chosen, choose }: { roles: RoleRow[]; chosen: string; choose: (role: string) => void }) {
  return (
    <fieldset class="roles">
      <legend>Asked of</legend>
      {roles.map(({ id, title, earned, collection }) => (
        <label key={id}>
          <input type="radio" name="role" value={id} checked={id === chosen} onChange={() => choose(id)} />
          <span>{title}</span>
          <span class="share" title={`${percent(earned)} earned of what is asked; this collection offers ${percent(collection)}`}>
            <meter min={0} max={1} value={earned} aria-label={`Earned of what a ${title} is asked`} /> {percent(earned)}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function Key() {
  return (
    <p class="key">
      {Object.entries(STATES).map(([state, { sign, said }]) => (
        <span key={state}><i class={`topic ${state}`} aria-hidden="true">{sign}</i> {said}</span>
      ))}
      <span>bar: how often the role is asked</span>
    </p>
  );
}

const OFTEN = ["never", "rarely", "often", "almost always"];

function TileRow({ tile, role, open, choose }: { tile: Tile; role: string; open: boolean; choose: () => void }) {
  const weight = tile.weights[role] ?? 0;
  const earned = tile.topics.filter(({ state }) => state === "earned").length;
  return (
    <li class={`tile${open ? " open" : ""}`}>
      <button type="button" aria-expanded={open} onClick={choose}>
        <span class="number">{tile.number}</span>
        <span class="title">{tile.title}</span>
        <span class="squares" aria-hidden="true">
          {tile.topics.map((topic) => <i key={topic.id} class={`topic ${topic.state}`} title={`${topic.title}: ${STATES[topic.state].said}`}>{STATES[topic.state].sign}</i>)}
        </span>
        <span class="unseen">, {earned} of {plural(tile.topics.length, "topic")} earned, asked {OFTEN[weight]}</span>
        <span class={`weight w${weight}`} aria-hidden="true" title={`asked ${OFTEN[weight]}`} />
      </button>
      {open && <Panel tile={tile} />}
    </li>
  );
}

function Panel({ tile }: { tile: Tile }) {
  const first = tile.topics.flatMap(({ parts }) => parts).find(({ earned }) => !earned) ?? tile.topics.flatMap(({ parts }) => parts)[0];
  return (
    <aside class="panel" aria-label={tile.title}>
      <h3>{tile.title}</h3>
      <p class="facts">{[tile.difficulty, tile.points ? `${tile.points_earned} of ${tile.points} points` : ""].filter(Boolean).join(" · ")}</p>
      <ul>
        {tile.topics.map((topic) => (
          <li key={topic.id}>
            <i class={`topic ${topic.state}`} aria-hidden="true">{STATES[topic.state].sign}</i>
            <span class="name">{topic.title}<span class="unseen">: {STATES[topic.state].said}</span></span>
            <span class="where">
              {topic.parts.map(({ exercise, part, minutes }) => <a key={exercise + part} href={to.kata(exercise, part)}>{part} <small>{minutes}'</small></a>)}
              {!topic.parts.length && <small>{STATES[topic.state].said}</small>}
            </span>
          </li>
        ))}
      </ul>
      {first && (
        <p>
          <a class="button" href={to.kata(first.exercise, first.part)}>Open</a>
          {first.after.length > 0 && <span class="quiet"> builds on {first.after.join(", ")}</span>}
        </p>
      )}
    </aside>
  );
}
