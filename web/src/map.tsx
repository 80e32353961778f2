// The map: what interviews ask, topic by topic, what is earned of it, and what is next.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import type { HouseMap, MapTopic, Tile } from "./wire";
import { desk } from "./desk";
import { to } from "./router";
import { isEarned, Square, type State, STATES } from "./square";
import { useNarrow, useStore } from "./store";
import { plural } from "./words";

export function MapScreen() {
  const { map, trouble } = useStore(desk);
  useLayoutEffect(() => void desk.loadMap(), []);
  if (!map) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  return <Overview map={map} />;
}

function Overview({ map }: { map: HouseMap }) {
  const [role, setRole] = useState(() => map.roles.at(-1)?.id ?? "");
  const narrow = useNarrow();
  const tiles = map.sections.flatMap((section) => section.tiles);
  const [chosen, setChosen] = useState(() => tileOfNext(map)?.number ?? "");
  const open = tiles.find(({ number }) => number === chosen);
  return (
    <>
      <h1 class="unseen">Map</h1>
      <NextCard map={map} />
      <DrillCard map={map} />
      <Roles map={map} chosen={role} choose={setRole} />
      <Path map={map} role={role} />
      <Key tiles={tiles} />
      <div class="atlas">
        <div class="sections">
          {map.sections.map((section) => (
            <section key={section.id} aria-label={section.title}>
              <h2>{section.title}</h2>
              <ul class="tiles">
                {section.tiles.map((tile) => (
                  <TileRow key={tile.number} tile={tile} role={role} open={tile === open} choose={() => setChosen(tile.number === chosen && narrow ? "" : tile.number)}>
                    {narrow && <Panel tile={tile} edition={map.edition} />}
                  </TileRow>
                ))}
              </ul>
            </section>
          ))}
        </div>
        {!narrow && open && <Panel tile={open} edition={map.edition} />}
      </div>
    </>
  );
}

/** The tile of what is next. */
function tileOfNext({ sections, next }: HouseMap): Tile | undefined {
  const holds = ({ parts }: MapTopic) => parts.some(({ exercise, part }) => exercise === next?.exercise && part === next.part);
  return sections.flatMap(({ tiles }) => tiles).find(({ topics }) => topics.some(holds));
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
        {map.edition === "student" && <p class="first">The student edition: only visible examples are here, and a part whose examples pass counts as tried. Points come from hidden checks, which run where your work is graded.</p>}
      </div>
      <a class="button main" href={to.kata(next.exercise, next.part)}>{next.begun ? "Go on" : "Begin"}</a>
    </section>
  );
}

function DrillCard({ map }: { map: HouseMap }) {
  if (!map.drills) return null;
  const { drills_due: due, drills_new: fresh } = map;
  const counts = [due && `${due} due`, fresh && `${fresh} new`].filter(Boolean).join(", ");
  return (
    <section class="next drills" aria-label="Drills">
      <div>
        <p class="kicker">Drill</p>
        <p class="what">
          <b>{counts || "nothing due"}</b> · what interviewers ask, with numbers that change; a minute each
        </p>
      </div>
      <a class="button" href={to.drill()}>Drill</a>
      <a class="button" href={to.interview()}>Interview</a>
    </section>
  );
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

function Roles({ map, chosen, choose }: { map: HouseMap; chosen: string; choose: (role: string) => void }) {
  return (
    <fieldset class="roles">
      <legend>Asked of</legend>
      {map.roles.map(({ id, title, earned, collection }) => (
        <label key={id}>
          <input type="radio" name="role" value={id} checked={id === chosen} onChange={() => choose(id)} />
          <span>{title}</span>
          {map.edition === "whole" && (
            <span class="share" title={`${percent(earned)} earned of what is asked; this collection offers ${percent(collection)}`}>
              <meter min={0} max={1} value={earned} aria-label={`Earned of what is asked of: ${title}`} /> {percent(earned)}
            </span>
          )}
        </label>
      ))}
    </fieldset>
  );
}

/** The order in which the exercises are studied for a role. It locks nothing. */
function Path({ map, role }: { map: HouseMap; role: string }) {
  const track = map.tracks.find(({ id }) => id === role);
  if (!track?.exercises.length) return null;
  const steps = track.exercises.map((id) => map.exercises.find((one) => one.id === id)!);
  const hours = (minutes: number) => Math.max(1, Math.round(minutes / 60));
  return (
    <nav class="path" aria-label={`Order of study: ${track.title}`}>
      <p>An order to study in, about {plural(hours(steps.reduce((sum, { minutes }) => sum + minutes, 0)), "hour")}. Nothing is locked.</p>
      <ol>
        {steps.map(({ id, title, minutes, points, points_earned, needs }) => (
          <li key={id} class={points_earned === points ? "whole" : id === map.next?.exercise ? "here" : ""}>
            <a href={to.kata(id)} title={`About ${plural(hours(minutes), "hour")}${needs.length ? `. Builds on ${needs.join(", ")}` : ""}.`}>{title}</a>
            {points_earned > 0 && <span> {points_earned === points ? "✓" : `${points_earned}/${points}`}<span class="unseen"> points earned</span></span>}
          </li>
        ))}
      </ol>
    </nav>
  );
}

/** The signs that stand on this map. */
function Key({ tiles }: { tiles: Tile[] }) {
  const shown = new Set<State>(["earned", "tried", "open", ...tiles.flatMap(({ topics }) => topics).map(({ state }) => state)]);
  return (
    <p class="key">
      {(Object.keys(STATES) as State[]).filter((state) => shown.has(state)).map((state) => (
        <span key={state}><Square state={state} /> {STATES[state]}</span>
      ))}
      <span>bar: how often the role is asked</span>
    </p>
  );
}

const OFTEN = ["never", "rarely", "often", "almost always"];

interface RowProps {
  tile: Tile;
  role: string;
  open: boolean;
  choose: () => void;
  children: ComponentChildren;
}

function TileRow({ tile, role, open, choose, children }: RowProps) {
  const weight = tile.weights[role] ?? 0;
  const earned = tile.topics.filter(isEarned).length;
  return (
    <li class={`tile${open ? " open" : ""}`}>
      <button type="button" aria-expanded={open} onClick={choose}>
        <span class="number">{tile.number}</span>
        <span class="title">{tile.title}</span>
        <span class="squares" aria-hidden="true">
          {tile.topics.map((topic) => <Square key={topic.id} state={topic.state} title={`${topic.title}: ${STATES[topic.state]}`} />)}
        </span>
        <span class="unseen">, {earned} of {plural(tile.topics.length, "topic")} earned, asked {OFTEN[weight]}</span>
        <span class={`weight w${weight}`} aria-hidden="true" title={`asked ${OFTEN[weight]}`} />
      </button>
      {open && children}
    </li>
  );
}

function DrillsOf({ topic }: { topic: MapTopic }) {
  return (
    <a class="drills" href={to.drill(topic.id)}>
      {plural(topic.drills, "drill")}<span class="unseen"> on {topic.title}</span>
      {topic.drilled && topic.parts.length > 0 && <small> <Square state={topic.drilled} /> {topic.drilled}</small>}
    </a>
  );
}

function Panel({ tile, edition }: { tile: Tile; edition: HouseMap["edition"] }) {
  const first = tile.topics.flatMap(({ parts }) => parts).find(({ earned }) => !earned) ?? tile.topics.flatMap(({ parts }) => parts)[0];
  return (
    <aside class="panel" aria-label={tile.title}>
      <h3>{tile.title}</h3>
      <p class="facts">{[tile.difficulty, tile.points && edition === "whole" ? `${tile.points_earned} of ${tile.points} points` : ""].filter(Boolean).join(" · ")}</p>
      <ul>
        {tile.topics.map((topic) => (
          <li key={topic.id}>
            <Square state={topic.state} />
            <span class="name">{topic.title}<span class="unseen">: {STATES[topic.state]}</span></span>
            <span class="where">
              {topic.parts.map(({ exercise, part, minutes }) => <a key={exercise + part} href={to.kata(exercise, part)}>{part} <small>{minutes}'</small></a>)}
              {!topic.parts.length && !topic.drills && <small>{STATES[topic.state]}</small>}
              {topic.drills > 0 && <DrillsOf topic={topic} />}
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
