// The report: what is earned, by role, by topic, over time; mistakes and hints. To read, and to print.
import { useLayoutEffect, useState } from "preact/hooks";
import type { ExerciseReport, Report } from "./wire";
import { api, why } from "./api";
import { to } from "./router";
import { isEarned, Square, STATES } from "./square";
import { at, plural } from "./words";

const percent = (share: number) => `${Math.round(share * 100)} %`;

export function ReportScreen() {
  const [report, setReport] = useState<Report | null>(null);
  const [trouble, setTrouble] = useState("");
  useLayoutEffect(() => void api.report().then(setReport, (error) => setTrouble(why(error))), []);
  if (!report) return <p class="empty" role="status">{trouble || "Opening…"}</p>;
  const points = report.exercises.reduce((sum, one) => sum + one.points_earned, 0);
  const attempts = report.exercises.reduce((sum, one) => sum + one.attempts, 0);
  return (
    <>
      <h1>Report</h1>
      <p class="lead">
        {plural(points, "point")} in {plural(report.exercises.length, "exercise")}, {plural(attempts, "attempt")}, on {at(new Date().toISOString())}.{" "}
        <span class="screen-only">To keep it, print it, or type <code>grader report</code>: one HTML file.</span>
      </p>
      <Shares report={report} />
      {report.exercises.length ? (
        <>
          <h2>Points over time</h2>
          <Chart exercises={report.exercises} />
          <h2>Exercises</h2>
          <Exercises of={report.exercises} />
        </>
      ) : (
        <p class="empty">No attempt yet. Points over time, a line for each exercise, and your commonest mistakes will stand here.</p>
      )}
      {report.exercises.length > 0 && <Mistakes report={report} />}
      <h2>Topics</h2>
      <Topics report={report} />
    </>
  );
}

function Shares({ report }: { report: Report }) {
  return (
    <div class="shares">
      {report.roles.map(({ id, title, earned, collection }) => (
        <div key={id}>
          <p>Asked of: {title}</p>
          <b>{percent(earned)}</b> earned
          <meter min={0} max={1} value={earned} aria-label={`Earned of what is asked of: ${title}`} />
          <small>This collection offers {percent(collection)} of it.</small>
        </div>
      ))}
    </div>
  );
}

const WIDTH = 860;
const HEIGHT = 260;
const LEFT = 34;
const RIGHT = 190;
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** Points over time as steps, a line an exercise, each named at its end. */
function Chart({ exercises }: { exercises: ExerciseReport[] }) {
  const drawn = exercises.filter(({ line }) => line.length);
  if (!drawn.length) return <p class="quiet">No points yet.</p>;
  const times = drawn.flatMap(({ line }) => line.map((one) => Date.parse(one.at)));
  const first = Math.min(...times);
  const last = Math.max(...times, first + 60_000);
  const x = (time: number) => LEFT + ((time - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const y = (points: number) => HEIGHT - 24 - (points / 100) * (HEIGHT - 40);
  const labels = spread(drawn.map(({ line }) => y(line.at(-1)!.points)));
  const said = drawn.map(({ title, points_earned, points }) => `${title}: ${points_earned} of ${points}`).join("; ");
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Points over time. ${said}.`}>
        {[0, 25, 50, 75, 100].map((points) => (
          <g key={points}>
            <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(points)} y2={y(points)} />
            <text x={LEFT - 6} y={y(points) + 4} text-anchor="end">{points}</text>
          </g>
        ))}
        <text x={LEFT} y={HEIGHT - 4}>{day.format(first)}</text>
        <text x={WIDTH - RIGHT} y={HEIGHT - 4} text-anchor="end">{day.format(last)}</text>
        {drawn.map(({ id, title, line }, i) => (
          <g key={id}>
            <polyline class={`s${i % 6} d${Math.floor(i / 6) % 3}`} points={steps(line.map((one) => [x(Date.parse(one.at)), y(one.points)]), x(last))} />
            <text x={WIDTH - RIGHT + 8} y={labels[i]! + 4}>{title}</text>
          </g>
        ))}
      </svg>
    </figure>
  );
}

function steps(points: [number, number][], end: number): string {
  const out: [number, number][] = [];
  for (const [x, y] of points) {
    if (out.length) out.push([x, out.at(-1)![1]]);
    out.push([x, y]);
  }
  out.push([end, out.at(-1)![1]]);
  return out.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
}

/** Heights of labels that do not lie on each other. */
function spread(heights: number[]): number[] {
  const out = [...heights];
  const order = heights.map((_, i) => i).sort((a, b) => heights[b]! - heights[a]!);
  let above = Infinity;
  for (const i of order) {
    out[i] = Math.min(out[i]!, above);
    above = out[i]! - 15;
  }
  return out;
}

function Exercises({ of }: { of: ExerciseReport[] }) {
  return (
    <div class="table">
      <table>
        <thead>
          <tr><th scope="col">Exercise</th><th scope="col" class="n">Points</th><th scope="col" class="n">Attempts</th><th scope="col" class="n">Hints</th><th scope="col">Reference opened before it was earned</th></tr>
        </thead>
        <tbody>
          {of.map((one) => (
            <tr key={one.id}>
              <th scope="row"><a href={to.kata(one.id)}>{one.title}</a></th>
              <td class="n">{one.points_earned} of {one.points}</td>
              <td class="n">{one.attempts}</td>
              <td class="n">{one.hints}</td>
              <td>{one.gave_up.length ? one.gave_up.map((part) => <code key={part}>{part} </code>) : "no"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Mistakes({ report }: { report: Report }) {
  return (
    <>
      <h2>My commonest mistakes</h2>
      {report.mistakes.length ? (
        <ol class="mistakes">
          {report.mistakes.map((one) => (
            <li key={one.exercise + one.part + one.said}>
              {one.said} <small><a href={to.kata(one.exercise, one.part)}>{one.part}</a> · in {plural(one.times, "attempt")}</small>
            </li>
          ))}
        </ol>
      ) : (
        <p class="quiet">None of the known mistakes was found in your attempts.</p>
      )}
    </>
  );
}

function Topics({ report }: { report: Report }) {
  return (
    <div class="table">
      <table>
        <thead><tr><th scope="col">Item</th><th scope="col">Topics</th><th scope="col" class="n">Earned</th></tr></thead>
        <tbody>
          {report.sections.flatMap(({ tiles }) => tiles).map((tile) => (
            <tr key={tile.number}>
              <th scope="row">{tile.title}</th>
              <td><span class="squares">{tile.topics.map(({ id, title, state }) => <Square key={id} state={state} title={`${title}: ${STATES[state]}`} />)}</span></td>
              <td class="n">{tile.topics.filter(isEarned).length} of {tile.topics.length}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
