// The interview: begin one, its questions on a clock, the report at its end, and all that were.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { HouseMap, InterviewDesk, InterviewLine, InterviewNow, InterviewReport } from "./wire";
import { api, why } from "./api";
import { Asked, Field, fieldOf, keysOf, LettersAreText } from "./answering";
import { desk } from "./desk";
import { interviewing } from "./interviewing";
import { Markup } from "./markup";
import { options } from "./options";
import { to } from "./router";
import { useStore } from "./store";
import { at } from "./words";

export function InterviewScreen({ number }: { number: string }) {
  const { map } = useStore(desk);
  const { trouble, desk: now } = useStore(interviewing);
  useLayoutEffect(() => void interviewing.load(), []);
  if (number) return <Report key={number} number={number} />;
  if (!now || !map) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  return (
    <>
      <h1>Interview</h1>
      {trouble && <p class="trouble" role="alert">{trouble}</p>}
      {now.now ? <Going now={now.now} /> : <Begin map={map} now={now} />}
    </>
  );
}

// ---- before and after

function Begin({ map, now }: { map: HouseMap; now: InterviewDesk }) {
  const [role, setRole] = useState(map.roles.at(-1)?.id ?? "");
  const [minutes, setMinutes] = useState(45);
  const rules = now.lengths.find((one) => one.minutes === minutes)?.rules;
  return (
    <>
      {interviewing.broken.map((one) => <p key={one} class="trouble" role="status">Interview {one} broke off. Nothing of it is lost: <a href={to.interview(one)}>its report</a>.</p>)}
      <form class="begin-interview" onSubmit={(event) => { event.preventDefault(); void interviewing.begin(role, minutes); }}>
        <fieldset class="roles">
          <legend>As</legend>
          {map.roles.map(({ id, title }) => (
            <label key={id}><input type="radio" name="as" value={id} checked={id === role} onChange={() => setRole(id)} /> {title}</label>
          ))}
        </fieldset>
        <p>
          <label>
            Minutes{" "}
            <select value={minutes} onChange={(event) => setMinutes(Number(event.currentTarget.value))}>
              {now.lengths.map((one) => <option key={one.minutes} value={one.minutes}>{one.minutes}</option>)}
            </select>
          </label>
        </p>
        <p class="rules">{rules}</p>
        <p><button type="submit" class="main">Begin</button> <span class="quiet">Its clock runs from the first question on.</span></p>
      </form>
      <h2>Your interviews</h2>
      {now.warning && <p class="trouble">{now.warning}</p>}
      {now.kept.length ? <History kept={now.kept} /> : !now.warning && <p class="quiet">None yet. Each will stand here with its report.</p>}
    </>
  );
}

function History({ kept }: { kept: InterviewLine[] }) {
  return (
    <div class="table">
      <table>
        <thead><tr><th scope="col">Interview</th><th scope="col">Begun</th><th scope="col" class="n">Right</th><th scope="col">The part</th><th scope="col">End</th></tr></thead>
        <tbody>
          {kept.map((one) => (
            <tr key={one.number}>
              <th scope="row">{one.begun ? <a href={to.interview(one.number)}>{one.number} · {one.role}, {one.minutes} minutes</a> : one.number}</th>
              <td>{one.begun && at(one.begun)}</td>
              <td class="n">{one.begun && `${one.right} of ${one.asked}`}</td>
              <td>{one.part || "none"}</td>
              <td>{one.ended}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Report({ number }: { number: string }) {
  const [report, setReport] = useState<InterviewReport | null>(null);
  const [trouble, setTrouble] = useState("");
  const here = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => void api.interview.report(number).then(setReport, (error) => setTrouble(why(error))), [number]);
  useLayoutEffect(() => here.current?.focus(), [report]);
  return (
    <>
      {!report && <p class="empty" role="status">{trouble || "Opening…"}</p>}
      {report && <div class="interview-report" ref={here} tabIndex={-1}><Markup html={report.html} /></div>}
      {report?.path && <p class="quiet screen-only">Kept as one file: <code>{report.path}</code></p>}
      <p class="screen-only"><a class="button" href={to.interview()}>All interviews</a></p>
    </>
  );
}

// ---- one that goes on

function Going({ now }: { now: InterviewNow }) {
  return (
    <>
      {now.warning && <p class="trouble" role="status">{now.warning}</p>}
      {now.step === "question" ? <Question key={now.place} now={now} /> : <Pause now={now} />}
    </>
  );
}

function Question({ now }: { now: InterviewNow }) {
  const card = useRef<HTMLElement>(null);
  const asked = now.asked!;
  useLayoutEffect(() => fieldOf(card.current)?.focus(), []); // as the question appears: the first key is the answer's
  return (
    <article class="drill" ref={card} tabIndex={-1} aria-labelledby="ask" data-kind={asked.kind} onKeyDown={keysOf(card)}>
      <header>
        <span>Question {now.place}</span>
        <span class="spacer" />
        <Clock />
      </header>
      <Asked asked={asked} />
      <form onSubmit={(event) => { event.preventDefault(); void interviewing.answer(); }}>
        <Field asked={asked} to={interviewing} given={null} />
        <p class="buttons">
          <button type="submit" class="main">Answer <kbd>Enter</kbd></button>
          <button type="button" id="skip" onClick={() => void interviewing.pass()}>Pass over {options.letters && <kbd>s</kbd>}</button>
          <Leave />
          <LettersAreText asked={asked} />
        </p>
      </form>
    </article>
  );
}

/** Between what is on the clock: it waits for the learner. */
function Pause({ now }: { now: InterviewNow }) {
  const main = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => main.current?.focus(), [now.step]);
  return (
    <article class="drill" aria-label="Interview">
      {now.step === "waiting" && (
        <>
          <p role="status">{now.said}</p>
          <p class="buttons"><button type="button" class="main" ref={main} onClick={() => void interviewing.next()}>Next <kbd>Enter</kbd></button> <Leave /></p>
        </>
      )}
      {now.step === "between" && (
        <>
          <p role="status">Those were the questions. The clock of the part begins when you see it.</p>
          <p class="buttons"><button type="button" class="main" ref={main} onClick={() => void interviewing.beginPart()}>Begin the part <kbd>Enter</kbd></button> <Leave /></p>
        </>
      )}
      {now.step === "coding" && <p>The part is on the clock: <a href={to.kata(now.exercise, now.part)}>{now.title}</a>. <Clock /></p>}
      {now.step === "judging" && <p role="status">Judging {now.title}… <Leave /></p>}
    </article>
  );
}

function Clock() {
  const [, tick] = useState(0);
  useLayoutEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 250);
    return () => clearInterval(timer);
  }, []);
  const whole = Math.ceil(interviewing.left);
  const said = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  return <span class={`clock${whole <= 10 ? " short" : ""}`} role="timer">{said} left</span>;
}

function Leave() {
  const [asks, setAsks] = useState(false);
  if (!asks) return <button type="button" class="quiet" onClick={() => setAsks(true)}>End the interview…</button>;
  return (
    <span class="asks" role="group" aria-label="End the interview?">
      That is its end, with a report.{" "}
      <button type="button" onClick={() => void interviewing.end()}>End it</button>{" "}
      <button type="button" class="quiet" onClick={() => setAsks(false)}>Go on</button>
    </span>
  );
}

/** On the other screens: that an interview goes on, and what is on its clock. */
export function InterviewBar() {
  const { now, trouble, refusal } = useStore(interviewing);
  if (!now) return null;
  const coding = now.step === "coding";
  return (
    <div class="bar interview-bar" role="region" aria-label="Interview">
      <span>
        <b>Interview</b> · {coding ? <>write <b>{now.part}</b>, which is judged once, as it is saved when you hand it in</> : now.step === "judging" ? "judging…" : "it goes on"}
        {coding && now.was_earned && <> · you have earned it before: Reset… gives its stub back</>}
      </span>
      {(coding || now.step === "question") && <Clock />}
      {coding && <button type="button" class="main" onClick={() => void interviewing.handIn()}>Hand in</button>}
      {coding || now.step === "judging" ? <Leave /> : <a class="button" href={to.interview()}>Back to it</a>}
      {(trouble || refusal) && <span class="said">{trouble || refusal}</span>}
    </div>
  );
}
