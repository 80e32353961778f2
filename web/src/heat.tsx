// Where values differ, along the check's own axes: a table of cells that the arrows walk.
import { useMemo, useRef, useState } from "preact/hooks";
import type { Finding } from "./wire";
import { axesOf, bestPlane, cellOf, levelsOn, nameOf, type Plane, rangeOf } from "./levels";

const range = ([from, to]: [number, number]) => (from === to ? String(from) : `${from}–${to}`);

function meaning(level: number): string {
  if (!level) return "right";
  return level === 9 ? "off by 10⁹ tolerances or more, or not a number" : `off by up to ${level === 1 ? "ten" : `10^${level}`} tolerances`;
}

/** The same in words, for those who do not see it. */
function words(finding: Finding, rows: number[][]): string {
  const wrongRows = rows.flatMap((row, i) => (row.some(Boolean) ? [i] : []));
  const all = rows.length;
  const where = wrongRows.length === all ? "in every row" : `in rows ${wrongRows.join(", ")} of ${all}`;
  const worst = finding.worst.map((at, axis) => `${nameOf(finding, axis)} ${at}`).join(", ");
  return `Map of where values differ: ${finding.wrong} of ${finding.total}, ${where}; worst at ${worst}.`;
}

export function Heat({ finding }: { finding: Finding }) {
  const [plane, setPlane] = useState<Plane>(() => bestPlane(finding));
  const rows = useMemo(() => levelsOn(finding, plane), [finding, plane]);
  const { down, across } = plane;
  const many = axesOf(finding).length > 2;
  const binned = finding.cells.some((cells, axis) => cells !== finding.shape[axis]);
  const others = axesOf(finding).filter((axis) => axis !== down && axis !== across);
  return (
    <figure class="heat" aria-label={words(finding, rows)}>
      <div class="scroll" tabIndex={-1}>
        <Cells finding={finding} plane={plane} rows={rows} />
      </div>
      <figcaption>
        {down !== null && <Axis label="down" finding={finding} chosen={down} other={across} many={many} set={(axis) => setPlane({ down: axis, across })} />}
        {across !== null && <Axis label="across" finding={finding} chosen={across} other={down} many={many} set={(axis) => setPlane({ down, across: axis })} />}
        {others.length > 0 && <span>worst over {others.map((axis) => nameOf(finding, axis)).join(", ")}</span>}
        {binned && <span>some cells hold several values: the worst of them</span>}
        <Legend />
      </figcaption>
    </figure>
  );
}

interface AxisProps {
  label: string;
  finding: Finding;
  chosen: number;
  other: number | null;
  many: boolean;
  set: (axis: number) => void;
}

function Axis({ label, finding, chosen, other, many, set }: AxisProps) {
  if (!many) return <span>{label} <b>{nameOf(finding, chosen)}</b></span>;
  return (
    <label>
      {label}{" "}
      <select value={String(chosen)} onChange={(event) => set(Number(event.currentTarget.value))}>
        {axesOf(finding).filter((axis) => axis !== other).map((axis) => (
          <option key={axis} value={String(axis)}>{nameOf(finding, axis)}</option>
        ))}
      </select>
    </label>
  );
}

function Legend() {
  return (
    <span class="legend" aria-hidden="true">
      <i class="cell l0" /> right <i class="cell l1" /><i class="cell l3" /><i class="cell l5" /><i class="cell l7" /><i class="cell l9" /> worse
    </span>
  );
}

interface CellsProps {
  finding: Finding;
  plane: Plane;
  rows: number[][];
}

function Cells({ finding, plane, rows }: CellsProps) {
  const { down, across } = plane;
  const worst: [number, number] = [
    cellOf(finding, down, down === null ? 0 : (finding.worst[down] ?? 0)),
    cellOf(finding, across, across === null ? 0 : (finding.worst[across] ?? 0)),
  ];
  const [at, setAt] = useState(worst);
  const table = useRef<HTMLTableElement>(null);
  const columns = rows[0]!.length;
  const here: [number, number] = [Math.min(at[0], rows.length - 1), Math.min(at[1], columns - 1)];
  const walk = (event: KeyboardEvent) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const next: [number, number] = [
      Math.min(Math.max(here[0] + step[0]!, 0), rows.length - 1),
      Math.min(Math.max(here[1] + step[1]!, 0), columns - 1),
    ];
    setAt(next);
    table.current?.querySelector<HTMLElement>(`[data-at="${next.join()}"]`)?.focus();
  };
  const label = (row: number, column: number, level: number) => {
    const places = [
      down === null ? "" : `${nameOf(finding, down)} ${range(rangeOf(finding, down, row))}`,
      across === null ? "" : `${nameOf(finding, across)} ${range(rangeOf(finding, across, column))}`,
    ].filter(Boolean);
    const most = row === worst[0] && column === worst[1] ? `; the worst: expected ${finding.expected}, got ${finding.got}` : "";
    return `${places.join(", ")}: ${meaning(level)}${most}`;
  };
  const size = columns > 40 || rows.length > 40 ? "small" : columns > 20 || rows.length > 20 ? "middle" : "large";
  return (
    <table class={`cells ${size}`} role="grid" ref={table} onKeyDown={walk} aria-label="Where values differ; arrows walk the cells">
      <thead role="rowgroup">
        {across !== null && <Pieces finding={finding} axis={across} lead={down === null ? 0 : 2} />}
        <tr role="row">
          {down !== null && <td class="corner" colSpan={2} role="presentation" />}
          {rows[0]!.map((_, column) => (
            <th key={column} scope="col" role="columnheader" aria-label={across === null ? "value" : `${nameOf(finding, across)} ${range(rangeOf(finding, across, column))}`}>
              {tick(finding, across, column, columns, LETTER)}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, i) => (
          <tr key={i} role="row">
            {down !== null && <PieceBeside finding={finding} axis={down} row={i} />}
            {down !== null && (
              <th scope="row" role="rowheader" aria-label={`${nameOf(finding, down)} ${range(rangeOf(finding, down, i))}`}>
                {tick(finding, down, i, rows.length, WORD)}
              </th>
            )}
            {row.map((level, j) => (
              <td
                key={j} role="gridcell" class={`cell l${level}${i === worst[0] && j === worst[1] ? " worst" : ""}`}
                data-at={`${i},${j}`} tabIndex={i === here[0] && j === here[1] ? 0 : -1}
                data-level={level || ""} aria-label={label(i, j, level)} title={label(i, j, level)} onFocus={() => setAt([i, j])}
              />
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The number at a row or column, where there is room for it. */
const LETTER = 1; // what has room beside "=0" above a cell
const WORD = 20;

/** The number at a cell; at the first one with the axis's name, if that has room. */
function tick(finding: Finding, axis: number | null, cell: number, cells: number, room: number): string {
  if (axis === null) return "";
  const every = cells > 40 ? 16 : cells > 20 ? 4 : 1;
  if (cell % every) return "";
  const number = rangeOf(finding, axis, cell)[0];
  const name = nameOf(finding, axis);
  return cell === 0 && name.length <= room ? `${name}=${number}` : String(number);
}

/** The pieces that an axis was built from, if each begins at a cell. */
function piecesOf(finding: Finding, axis: number): number[] | null {
  const pieces = finding.along[nameOf(finding, axis)];
  const whole = finding.cells[axis] === finding.shape[axis];
  return pieces && whole && pieces.reduce((sum, one) => sum + one, 0) === finding.shape[axis] ? pieces.filter(Boolean) : null;
}

function Pieces({ finding, axis, lead }: { finding: Finding; axis: number; lead: number }) {
  const pieces = piecesOf(finding, axis);
  if (!pieces) return null;
  return (
    <tr class="pieces" role="presentation">
      {lead > 0 && <td colSpan={lead} role="presentation" />}
      {pieces.map((length, i) => <td key={i} colSpan={length} role="presentation" title={`built as one piece of ${length}`}>{length}</td>)}
    </tr>
  );
}

function PieceBeside({ finding, axis, row }: { finding: Finding; axis: number; row: number }) {
  const pieces = piecesOf(finding, axis);
  if (!pieces) return <td class="bare" role="presentation" />;
  let start = 0;
  for (const length of pieces) {
    if (row === start) return <td class="piece" rowSpan={length} role="presentation" title={`built as one piece of ${length}`}>{length}</td>;
    start += length;
  }
  return null;
}
