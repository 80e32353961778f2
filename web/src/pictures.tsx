// Pictures of what code makes: the learner's own, and beside it the reference's once the part is earned.
import type { Drawing } from "./wire";
import { Markup } from "./markup";
import type { Session } from "./session";

export function Pictures({ part, session }: { part: string; session: Session }) {
  const mine = [...session.pictures.values()].filter((one) => one.part === part);
  if (!mine.length) return null;
  return (
    <section class="pictures" aria-label={`Pictures of ${part}`}>
      {mine.map(({ title, caption, own, reference }) => (
        <article key={title}>
          <h3 class="unseen">{title}</h3>
          <div class="pair">
            <Drawn drawing={own} whose={reference ? "Yours" : ""} />
            {reference && <Drawn drawing={reference} whose="The reference's" />}
          </div>
          <p class="caption">{caption}</p>
        </article>
      ))}
    </section>
  );
}

function Drawn({ drawing, whose }: { drawing: Drawing; whose: string }) {
  const { svg, words, head, rows, problem } = drawing;
  return (
    <figure>
      {whose && <figcaption>{whose}</figcaption>}
      {problem ? <pre class="problem">{problem}</pre> : <Markup html={svg} />}
      {rows.length > 0 && (
        <details>
          <summary>In words and numbers</summary>
          <p>{words}</p>
          <Numbers head={head} rows={rows} />
        </details>
      )}
    </figure>
  );
}

const STEPS: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A table whose cells the arrows walk. */
function Numbers({ head, rows }: { head: string[]; rows: string[][] }) {
  const walk = (event: KeyboardEvent) => {
    const step = STEPS[event.key];
    const cell = (event.target as HTMLElement).closest<HTMLElement>("[data-at]");
    if (!step || !cell) return;
    const [row, column] = cell.dataset.at!.split(",").map(Number) as [number, number];
    const next = cell.closest("table")!.querySelector<HTMLElement>(`[data-at="${row + step[0]},${column + step[1]}"]`);
    event.preventDefault();
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };
  return (
    <div class="scroll">
      <table role="grid" aria-label="The numbers; arrows walk the cells" onKeyDown={walk}>
        <thead role="rowgroup">
          <tr role="row">{head.map((one, i) => <th key={i} scope="col" role="columnheader">{one}</th>)}</tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row, i) => (
            <tr key={i} role="row">
              {row.map((value, j) => <td key={j} role="gridcell" data-at={`${i},${j}`} tabIndex={i || j ? -1 : 0}>{value}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
