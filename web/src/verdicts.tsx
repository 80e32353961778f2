// The right side of a kata: how each part stands, the failure that matters, what was earned.
import { useLayoutEffect, useState } from "preact/hooks";
import type { CheckResult, Gained } from "./wire";
import { Heat } from "./heat";
import { fails, firstFailure, type PartView, passes, tally } from "./judged";
import { Markup } from "./markup";
import { to } from "./router";
import type { Session } from "./session";
import { plural, sign, toneOf } from "./words";

const PRINTED_LINES = 8;

export function Verdicts({ session, show }: { session: Session; show: (part: string) => void }) {
  const { judged, trouble, gained, kata } = session;
  const first = judged.parts.find(fails)?.name;
  const untouched = judged.parts.every(
    ({ standing, hash }) => standing === "unknown" || (standing === "not started" && session.isCurrent(hash)),
  );
  const begin = kata.parts.find((part) => !part.earned) ?? kata.parts[0];
  return (
    <section class="verdicts" aria-label="Verdicts">
      <RunState session={session} />
      {trouble && <p class="trouble" role="status">{trouble}</p>}
      {gained.length > 0 && <News session={session} brief={first !== undefined} />}
      {kata.edition === "student" && (
        <p class="begin">
          Student edition: Run tries the visible examples. More checks run when your work is graded, and only they give
          points.
        </p>
      )}
      {untouched && !judged.run && kata.edition === "whole" && (
        <p class="begin">
          Nothing is written yet. Begin with <b>{begin?.name}</b>: fill it in and press Run. Every part that
          passes all its checks is yours.
        </p>
      )}
      <ol class="parts">
        {judged.parts.map((part) => (
          <PartRow key={part.name} part={part} session={session} opens={part.name === first} show={show} />
        ))}
      </ol>
    </section>
  );
}

function RunState({ session }: { session: Session }) {
  const { judged: { run }, kata, asked } = session;
  if (run)
    return (
      <div class="run-state">
        <progress value={run.total ? run.done : undefined} max={run.total || undefined} aria-label={`${session.noun}s that have ended`} />
        <span>{run.total ? `${run.done} of ${run.total}` : "begins"}</span>
        <button type="button" onClick={() => void session.stop()}>Stop</button>
      </div>
    );
  if (asked) return <p class="run-state" role="status">Saving…</p>;
  if (session.stopped) return <p class="run-state" role="status">Stopped: that run counts for nothing.</p>;
  if (kata.seat === "warming") return <p class="run-state quiet">The {session.noun}s warm up. You can write, and run: it waits for them.</p>;
  return null;
}

interface RowProps {
  part: PartView;
  session: Session;
  opens: boolean;
  show: (part: string) => void;
}

function PartRow({ part, session, opens, show }: RowProps) {
  const facts = session.part(part.name);
  const [open, setOpen] = useState(opens);
  useLayoutEffect(() => setOpen(opens), [opens, part.hash]);
  const failing = fails(part);
  const stale = part.hash !== "" || part.standing !== "unknown" ? !session.isCurrent(part.hash) : false;
  const tone = toneOf(part.standing);
  const label = labelOf(part, !!facts?.earned);
  return (
    <li class={`part ${tone}${stale ? " stale" : ""}${session.cursor === part.name ? " here" : ""}`} data-part={part.name}>
      <div class="row">
        <span class="sign" aria-hidden="true">{sign(part.standing)}</span>
        <button type="button" class="name" onClick={() => show(part.name)} title="Go to it in the file"><Name of={part.name} /></button>
        <span class="points">{facts?.earned ? <b title="earned">{part.points}</b> : part.points}<span class="unseen"> points{facts?.earned ? ", earned" : ""}</span></span>
        <span class="standing">{[label, failing && tally(part, session.noun)].filter(Boolean).join(", ")}{stale && <em> · of an older text</em>}</span>
        {(failing || part.checks.length > 0) && (
          <button type="button" class="fold" aria-expanded={open} onClick={() => setOpen(!open)}>
            <span aria-hidden="true">{open ? "▾" : "▸"}</span><span class="unseen">{session.noun}s of {part.name}</span>
          </button>
        )}
      </div>
      {open && <Details part={part} session={session} />}
    </li>
  );
}

/** A name in code, which breaks between its words where it is too long for a line. */
function Name({ of }: { of: string }) {
  return <>{of.split(/(?<=_)|(?<=[a-z])(?=[A-Z])/).map((word, i) => [i > 0 && <wbr />, word])}</>;
}

function labelOf({ standing, checks }: PartView, earned: boolean): string {
  if (standing === "unknown") return earned ? "earned before" : "not judged";
  return standing === "running" ? `${checks.filter(passes).length} pass so far` : standing;
}

function Details({ part, session }: { part: PartView; session: Session }) {
  const first = firstFailure(part);
  const others = part.checks.filter((check) => check !== first);
  return (
    <div class="details">
      {first ? <Failure check={first} session={session} /> : part.message && <pre class="message">{part.message}</pre>}
      {others.map((check) => <FoldedCheck key={check.id} check={check} session={session} />)}
    </div>
  );
}

function FoldedCheck({ check, session }: { check: CheckResult; session: Session }) {
  const [open, setOpen] = useState(false); // what is folded is not drawn: there may be hundreds of maps
  const right = passes(check);
  const said = check.property || check.id;
  if (right && !check.printed) return <p class="check right"><span aria-hidden="true">✓</span> {said}<span class="unseen"> passed</span></p>;
  return (
    <details class={`check ${right ? "right" : "wrong"}`} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary><span aria-hidden="true">{right ? "✓" : sign(check.verdict)}</span> {said}<span class="unseen"> {check.verdict}</span></summary>
      {open && (right ? <Printed text={check.printed} /> : <Failure check={check} session={session} brief />)}
    </details>
  );
}

function Failure({ check, session, brief }: { check: CheckResult; session: Session; brief?: boolean }) {
  const { finding } = check;
  const line = check.lines.filter(({ line }) => line > 0).at(-1);
  return (
    <div class="failure">
      {!brief && check.property && <p class="property">{check.property}</p>}
      {check.message && <pre class="message">{check.message}</pre>}
      {line && (
        <p class="at">
          at <button type="button" class="link" onClick={() => session.goToLine(check, line.line)}>{line.file}, line {line.line}</button>
        </p>
      )}
      {finding?.kind === "values" && finding.levels.length > 1 && <Heat finding={finding} />}
      <Printed text={check.printed} />
      {!brief && <p class="id">{check.id}</p>}
    </div>
  );
}

function Printed({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  if (!text) return null;
  const lines = text.replace(/\n$/, "").split("\n");
  const shown = all ? lines : lines.slice(0, PRINTED_LINES);
  return (
    <details class="printed">
      <summary>printed {plural(lines.length, "line")}</summary>
      <pre>{shown.join("\n")}</pre>
      {lines.length > shown.length && <button type="button" onClick={() => setAll(true)}>all {lines.length} lines</button>}
    </details>
  );
}

const FEW = 3;

/** What was just earned; of several the first lies open. brief: something fails, which is to be in sight. */
function News({ session, brief }: { session: Session; brief: boolean }) {
  const { gained } = session;
  const cards = gained.map((one, i) => <Earned key={one.part} gained={one} session={session} open={!brief && i === 0} />);
  const points = gained.reduce((sum, one) => sum + one.points, 0);
  return (
    <>
      {brief && gained.length > FEW ? (
        <details class="all-won">
          <summary><b>+{points}</b> in {plural(gained.length, "part")}</summary>
          {cards}
        </details>
      ) : cards}
      <NextUp session={session} />
    </>
  );
}

/** One part that was just earned. */
function Earned({ gained, session, open }: { gained: Gained; session: Session; open: boolean }) {
  return (
    <article class="won" aria-label={`Earned: ${gained.part}`}>
      <details open={open}>
        <summary><h3><span class="plus">+{gained.points}</span> {gained.part}</h3></summary>
        {gained.why && <Markup class="why" html={gained.why} />}
        <Questions questions={gained.questions} />
        <p><a href={to.compare(session.kata.id, gained.part)}>Compare with the reference</a></p>
      </details>
    </article>
  );
}

export function Questions({ questions }: { questions: Gained["questions"] }) {
  if (!questions.length) return null;
  return (
    <div class="questions">
      <h4>Asked in interviews</h4>
      {questions.map((one, i) =>
        one.answer ? (
          <details key={i}>
            <summary><Markup html={one.asks} /></summary>
            <Markup class="answer" html={one.answer} />
          </details>
        ) : (
          <Markup key={i} class="asked" html={one.asks} />
        ),
      )}
    </div>
  );
}

function NextUp({ session }: { session: Session }) {
  const { next, kata } = session;
  if (!next) return <p class="next-up">Everything is earned: there is no part left.</p>;
  const elsewhere = next.exercise !== kata.id;
  return (
    <p class="next-up">
      Next: <a href={to.kata(next.exercise, next.part)}>{next.part}</a>
      {elsewhere ? ` of ${next.title}` : ""}, {next.points} points, about {next.minutes} min.
    </p>
  );
}
