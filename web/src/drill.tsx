// The drill: one question after the other, its numbers new each time, and what was found about the answer.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { DrillNext, DrillTurn, HouseMap, Tile } from "./wire";
import { Asked, Coded, Field, fieldOf, keysOf, LettersAreText } from "./answering";
import { desk } from "./desk";
import { drilling, type Which } from "./drilling";
import { options } from "./options";
import { to } from "./router";
import { useStore } from "./store";

export function DrillScreen({ topic }: { topic: string }) {
  const { turn, nothing, trouble } = useStore(drilling);
  const { map } = useStore(desk);
  useLayoutEffect(() => void drilling.open(topic), [topic]);
  return (
    <>
      <h1>Drill</h1>
      {map && map.drills > 0 && <Choices map={map} />}
      {turn && <Question key={turn.turn} turn={turn} map={map} />}
      {nothing && <Nothing nothing={nothing} map={map} />}
      {trouble && <Trouble said={trouble} />}
      {!turn && !nothing && !trouble && <p class="empty" role="status">Opening…</p>}
      {drilling.answered > 0 && <p class="tally">{drilling.right} of {drilling.answered} right in this sitting.</p>}
    </>
  );
}

function Trouble({ said }: { said: string }) {
  return (
    <div class="empty">
      <p>{said}</p>
      <p><button type="button" onClick={() => void drilling.next()}>Try again</button></p>
    </div>
  );
}

// ---- which questions

function Choices({ map }: { map: HouseMap }) {
  const { topic, role, which } = drilling.wanted;
  return (
    <form class="wanted" aria-label="Questions to ask" onSubmit={(event) => event.preventDefault()}>
      <label>
        Topic{" "}
        <select value={topic} onChange={(event) => void drilling.want({ topic: event.currentTarget.value })}>
          <option value="">any</option>
          {map.sections.flatMap(({ tiles }) => tiles).map((tile) => <TopicGroup key={tile.number} tile={tile} />)}
        </select>
      </label>
      <label>
        Asked of{" "}
        <select value={role} onChange={(event) => void drilling.want({ role: event.currentTarget.value })}>
          <option value="">anybody</option>
          {map.roles.map(({ id, title }) => <option key={id} value={id}>{title}</option>)}
        </select>
      </label>
      <label>
        Which{" "}
        <select value={which} onChange={(event) => void drilling.want({ which: event.currentTarget.value as Which })}>
          <option value="">what is due, and new ones</option>
          <option value="due">only what I answered before</option>
          <option value="all">also what is not due yet</option>
        </select>
      </label>
    </form>
  );
}

function TopicGroup({ tile }: { tile: Tile }) {
  const topics = tile.topics.filter(({ drills }) => drills);
  const firsts = new Set(tile.topics.map(({ id }) => id.split(".")[0]!));
  if (!topics.length) return null;
  return (
    <optgroup label={tile.title}>
      {topics.length > 1 && firsts.size === 1 && <option value={[...firsts][0]}>{tile.title}: all</option>}
      {topics.map(({ id, title, drills }) => <option key={id} value={id}>{title} ({drills})</option>)}
    </optgroup>
  );
}

// ---- a question

function Question({ turn, map }: { turn: DrillTurn; map: HouseMap | null }) {
  const { asked, verdict } = turn;
  const card = useRef<HTMLElement>(null);
  const next = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => { // as the question appears, so that the first key is the answer's
    if (verdict) next.current?.focus();
    else fieldOf(card.current)?.focus();
  }, [verdict]);
  return (
    <article class="drill" data-kind={asked.kind} data-turn={turn.turn} ref={card} tabIndex={-1} aria-labelledby="ask" onKeyDown={keysOf(card, next)}>
      <header>
        <span>{topicTitle(map, asked.topic)}</span>
        <span class="spacer" />
        <span class="quiet">{turn.place} of {turn.of} · <Exercise map={map} label={asked.exercise} /></span>
      </header>
      <Asked asked={asked} />
      <form onSubmit={(event) => { event.preventDefault(); void drilling.answer(); }}>
        <Field asked={asked} to={drilling} given={verdict ? verdict.typed : null} />
        {!verdict && <Buttons turn={turn} />}
      </form>
      {turn.hints.length > 0 && <ol class="drill-hints" aria-label="Hints">{turn.hints.map((hint, i) => <li key={i}><Coded text={hint} /></li>)}</ol>}
      {verdict && (
        <Verdict turn={turn}>
          <button type="button" class="main" ref={next} onClick={() => void drilling.goOn()}>Next <kbd>Enter</kbd></button>
        </Verdict>
      )}
    </article>
  );
}

function topicTitle(map: HouseMap | null, id: string): string {
  const topics = map?.sections.flatMap(({ tiles }) => tiles).flatMap(({ topics }) => topics) ?? [];
  return topics.find((topic) => topic.id === id)?.title ?? id;
}

/** The exercise of a question. label: as `dl_011`. */
function Exercise({ map, label }: { map: HouseMap | null; label: string }) {
  const found = map?.exercises.find(({ id }) => id.startsWith(`${label}_`));
  return found ? <a href={to.kata(found.id)}>{found.title}</a> : <>{label}</>;
}

function Buttons({ turn }: { turn: DrillTurn }) {
  const left = 2 - turn.hints.length;
  return (
    <p class="buttons">
      <button type="submit" class="main">Answer <kbd>Enter</kbd></button>
      {left > 0 && <button type="button" id="hint" onClick={() => void drilling.hint()}>Hint {3 - left} of 2 {options.letters && <kbd>h</kbd>}</button>}
      <button type="button" id="skip" onClick={() => void drilling.skip()}>Skip {options.letters && <kbd>s</kbd>}</button>
      <LettersAreText asked={turn.asked} />
    </p>
  );
}

// ---- what was found

function Verdict({ turn, children }: { turn: DrillTurn; children: ComponentChildren }) {
  const { found, told, again, warning } = turn.verdict!;
  const several = told.answer.includes("\n");
  return (
    <section class={`drill-verdict ${told.right ? "passed" : "failed"}`} aria-label="Verdict">
      <p class="found"><span aria-hidden="true">{told.right ? "✓" : "✗"}</span> {found}</p>
      {several ? <pre class="drill-code" tabIndex={0} aria-label="The answer">{told.answer}</pre> : <p class="answer">{told.answer}{told.worked && <span class="worked"> = {told.worked}</span>}</p>}
      <p class="because"><Coded text={told.why} /></p>
      <p class="quiet">{[told.source, again].filter(Boolean).join(" · ")}</p>
      {warning && <p class="trouble">{warning}</p>}
      <p class="buttons">{children}</p>
    </section>
  );
}

// ---- no question

function Nothing({ nothing, map }: { nothing: DrillNext; map: HouseMap | null }) {
  const { lacks, topic } = nothing;
  const all = drilling.wanted.which === "all";
  return (
    <div class="empty" role="group" aria-label="No question">
      <p>{nothing.why}</p>
      <p class="buttons">
        {lacks === "held" && <button type="button" onClick={() => void drilling.want({ topic })}>More of {topicTitle(map, topic)} all the same</button>}
        {lacks === "skipped" && <button type="button" onClick={() => void drilling.restart()}>Ask what I skipped</button>}
        {lacks === "none" && !all && <button type="button" onClick={() => void drilling.want({ which: "all" })}>Ask what is not due yet</button>}
        {lacks === "none" && all && <button type="button" onClick={() => void drilling.restart()}>Ask them again</button>}{" "}
        <a class="button" href={to.map()}>To the map</a>
      </p>
    </div>
  );
}
