// The left side of a kata: the statement, and the part at the cursor with its contract, hints and what was earned.
import { useState } from "preact/hooks";
import type { KataPart } from "./wire";
import { why } from "./api";
import { Coded } from "./answering";
import { Markup } from "./markup";
import { to } from "./router";
import type { Session } from "./session";
import { Pictures } from "./pictures";
import { speak } from "./words";
import { Questions } from "./verdicts";

/** held: by an interview, in which nothing is told. */
export function Aside({ session, held }: { session: Session; held: boolean }) {
  const { kata } = session;
  const part = session.part(session.cursor) ?? kata.parts.find(({ earned }) => !earned) ?? kata.parts[0];
  return (
    <section class="aside" aria-label="Statement">
      {part && <PartCard key={part.name} part={part} session={session} held={held} />}
      {part && !held && <Pictures part={part.name} session={session} />}
      <p class="summary">{kata.summary}</p>
      {kata.edition === "student" && (
        <details class="part-card">
          <summary>The visible examples</summary>
          <pre class="contract" tabIndex={0} aria-label="The visible examples">{kata.examples}</pre>
        </details>
      )}
      <Markup class="statement" html={kata.statement} />
    </section>
  );
}

function PartCard({ part, session, held }: { part: KataPart; session: Session; held: boolean }) {
  return (
    <details class="part-card" open={held || part.hints_seen.length > 0 || part.earned}>
      <summary>
        <b>{part.name}</b>
        <span> {part.points} points · {part.minutes} min{part.earned ? " · earned" : ""}</span>
      </summary>
      {part.after.length > 0 && <p class="after">Builds on {part.after.join(", ")}.</p>}
      <pre class="contract" tabIndex={0} aria-label={`Contract of ${part.name}`}>{part.contract}</pre>
      {!held && (
        <>
          <Hints part={part} session={session} />
          {part.why && <Markup class="why" html={part.why} />}
          <Questions questions={part.questions} />
          <Reference part={part} session={session} />
        </>
      )}
    </details>
  );
}

function Hints({ part, session }: { part: KataPart; session: Session }) {
  if (!part.hints) return null;
  const seen = part.hints_seen.length;
  return (
    <div class="hints">
      {seen > 0 && <ol>{part.hints_seen.map((hint, i) => <li key={i}><Coded text={hint} /></li>)}</ol>}
      {seen < part.hints && (
        <button type="button" onClick={() => void session.askHint(part.name)}>
          Hint {seen + 1} of {part.hints}
        </button>
      )}
    </div>
  );
}

function Reference({ part, session }: { part: KataPart; session: Session }) {
  const [asks, setAsks] = useState(false);
  const [said, setSaid] = useState("");
  if (session.kata.edition === "student") return null;
  if (part.earned || part.gave_up) return <p><a href={to.compare(session.kata.id, part.name)}>Compare with the reference</a></p>;
  if (!asks) return <p><button type="button" class="link" onClick={() => setAsks(true)}>Give up, and see the reference…</button></p>;
  const giveUp = () => session.giveUp(part.name).then(() => speak("The reference is open."), (error) => setSaid(why(error)));
  return (
    <p class="asks" role="group" aria-label="Give up?">
      It is noted that you looked. You can still earn the part.{" "}
      <button type="button" onClick={() => void giveUp()}>Show the reference of {part.name}</button>{" "}
      <button type="button" onClick={() => setAsks(false)}>Not yet</button> {said}
    </p>
  );
}
