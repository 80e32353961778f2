// Compare the file with an attempt, or a part of it with the reference; take lines over.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Attempt } from "./wire";
import { api, why } from "./api";
import { Bars, SaveState } from "./bars";
import { desk } from "./desk";
import { openCompare, type Sides } from "./editor/compare";
import { to } from "./router";
import type { Session } from "./session";
import { useNarrow, useStore } from "./store";
import { textOfDefinitions } from "./text";
import { at } from "./words";

/** An attempt by its number, or the reference of a part by its name. */
type Choice = { attempt: number } | { part: string };

export function CompareScreen({ id, part }: { id: string; part: string }) {
  useStore(desk);
  useLayoutEffect(() => void desk.open(id), [id]);
  const { session, trouble } = desk;
  if (session?.kata.id !== id) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  return <Compare session={session} part={part} />;
}

function Compare({ session, part }: { session: Session; part: string }) {
  useStore(session);
  const narrow = useNarrow();
  const [attempts, setAttempts] = useState<Attempt[] | null>(null);
  const [choice, setChoice] = useState<Choice | null>(part ? { part } : null);
  const [sides, setSides] = useState<Sides | null>(null);
  const [trouble, setTrouble] = useState("");
  const { kata } = session;
  useLayoutEffect(() => {
    api.attempts(kata.id).then(({ attempts: all }) => {
      setAttempts(all);
      const newest = all.findLast(({ hash }) => hash !== session.editing.base.hash) ?? all.at(-1);
      if (newest) setChoice((chosen) => chosen ?? { attempt: newest.number });
    }, (error) => setTrouble(why(error)));
  }, [kata.id, kata.attempts]);
  useLayoutEffect(() => {
    if (!choice) return;
    let wanted = true; // until another one is chosen: answers may come in any order
    setTrouble("");
    sidesOf(session, choice).then((sides) => wanted && setSides(sides), (error) => {
      if (!wanted) return;
      setSides(null);
      setTrouble(why(error));
    });
    return () => void (wanted = false);
  }, [choice]);
  return (
    <>
      <div class="toolbar">
        <h1>Compare: {kata.title}</h1>
        <SaveState session={session} />
        <span class="spacer" />
        <a class="button" href={to.kata(kata.id, "part" in (choice ?? {}) ? (choice as { part: string }).part : "")}>Back to the code</a>
      </div>
      <div class="comparison">
        <List session={session} attempts={attempts ?? []} choice={choice} choose={setChoice} narrow={narrow} />
        <div class="sides">
          <Bars session={session} />
          {trouble && <p class="trouble" role="status">{trouble}</p>}
          {attempts && !attempts.length && !sides && !trouble && (
            <p class="empty">No attempt yet. After each run that judges a new text, it stands here, and you can take lines of it back.</p>
          )}
          {sides && <Texts key={JSON.stringify([choice, narrow])} session={session} sides={sides} narrow={narrow} />}
        </div>
      </div>
    </>
  );
}

async function sidesOf(session: Session, choice: Choice): Promise<Sides> {
  const { kata } = session;
  if ("attempt" in choice) {
    const { text } = await api.attempt(kata.id, choice.attempt);
    return { text: text.replaceAll("\r\n", "\n"), label: `Attempt ${choice.attempt}`, own: null };
  }
  const { text } = await api.solution(kata.id, choice.part);
  const own = textOfDefinitions(session.text(), session.part(choice.part)?.defines ?? []);
  return { text: text.trimEnd(), label: `The reference of ${choice.part}`, own };
}

interface ListProps {
  session: Session;
  attempts: Attempt[];
  choice: Choice | null;
  choose: (choice: Choice) => void;
  narrow: boolean;
}

/** Points that each attempt was the first to earn, by its number. */
function firstEarned(session: Session, attempts: Attempt[]): Map<number, number> {
  const before = new Set<string>();
  return new Map(
    attempts.map(({ number, earned }) => {
      const fresh = earned.filter((part) => !before.has(part));
      for (const part of fresh) before.add(part);
      return [number, fresh.reduce((sum, part) => sum + (session.part(part)?.points ?? 0), 0)];
    }),
  );
}

/** Points of an attempt, or why a text was kept. */
function scored(attempt: Attempt): string {
  return attempt.max_score ? `${attempt.score} of ${attempt.max_score}` : attempt.door;
}

function List({ session, attempts, choice, choose, narrow }: ListProps) {
  const open = session.kata.edition === "whole" ? session.kata.parts.filter(({ earned, gave_up }) => earned || gave_up) : [];
  const newest = [...attempts].reverse();
  const gained = firstEarned(session, attempts);
  const isAttempt = (number: number) => !!choice && "attempt" in choice && choice.attempt === number;
  const isPart = (name: string) => !!choice && "part" in choice && choice.part === name;
  if (narrow)
    return (
      <label class="pick">
        Compare with{" "}
        <select
          value={!choice ? "" : "attempt" in choice ? `attempt ${choice.attempt}` : `part ${choice.part}`}
          onChange={(event) => {
            const [kind, name] = event.currentTarget.value.split(" ") as [string, string];
            choose(kind === "attempt" ? { attempt: Number(name) } : { part: name });
          }}
        >
          {!choice && <option value="">…</option>}
          {newest.map((one) => <option key={one.number} value={`attempt ${one.number}`}>#{one.number} · {scored(one)} · {at(one.at)}</option>)}
          {open.map(({ name }) => <option key={name} value={`part ${name}`}>reference: {name}</option>)}
        </select>
      </label>
    );
  return (
    <nav class="attempts" aria-label="Attempts">
      <h2>Attempts</h2>
      {!newest.length && <p class="quiet">None yet.</p>}
      <ol reversed>
        {newest.map((one) => (
          <li key={one.number}>
            <button type="button" aria-pressed={isAttempt(one.number)} onClick={() => choose({ attempt: one.number })}>
              <b>#{one.number}</b> {scored(one)}
              {!!gained.get(one.number) && <span class="plus"> +{gained.get(one.number)}</span>}
              <small>{at(one.at)}{one.hash === session.editing.base.hash ? " · this text" : ""}</small>
            </button>
          </li>
        ))}
      </ol>
      {open.length > 0 && <h2>The reference</h2>}
      <ul>
        {open.map(({ name }) => (
          <li key={name}><button type="button" aria-pressed={isPart(name)} onClick={() => choose({ part: name })}><code>{name}</code></button></li>
        ))}
      </ul>
    </nav>
  );
}

function Texts({ session, sides, narrow }: { session: Session; sides: Sides; narrow: boolean }) {
  const here = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => openCompare(session, sides, here.current!, narrow), [sides]);
  const same = sides.text === (sides.own ?? session.text());
  return (
    <>
      {same && <p class="same">No difference: both are the same text.</p>}
      <p class="labels"><span>{sides.label}</span><span>{sides.own === null ? `${session.kata.file_name}: you can write here` : "your text"}</span></p>
      <div class="texts" ref={here} />
    </>
  );
}
