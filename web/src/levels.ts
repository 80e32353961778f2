// The map of where values differ, as two of its axes show it.
import type { Finding } from "./wire";

export interface Plane {
  /** Axes of the map: which is drawn down, which across; null where the value has fewer. */
  down: number | null;
  across: number | null;
}

/** The map's axes, without those of one cell, since they say nothing. */
export const axesOf = ({ cells }: Finding) => cells.flatMap((count, axis) => (count > 1 ? [axis] : []));

export const nameOf = ({ axes }: Finding, axis: number) => axes[axis] || `axis ${axis}`;

function strides(cells: number[]): number[] {
  const out = cells.map(() => 1);
  for (let axis = cells.length - 2; axis >= 0; axis -= 1) out[axis] = out[axis + 1]! * cells[axis + 1]!;
  return out;
}

/** How unevenly the wrong cells lie over a pair of axes: 0 where each cell of the plane has as many. */
function uneven({ cells, levels }: Finding, down: number, across: number): number {
  const step = strides(cells);
  const counts = new Array<number>(cells[down]! * cells[across]!).fill(0);
  for (let i = 0; i < levels.length; i += 1) {
    const at = (axis: number) => Math.floor(i / step[axis]!) % cells[axis]!;
    if (levels[i] !== "0") counts[at(down) * cells[across]! + at(across)]! += 1;
  }
  const others = levels.length / counts.length;
  const mean = counts.reduce((sum, one) => sum + one, 0) / counts.length;
  return counts.reduce((sum, one) => sum + ((one - mean) / others) ** 2, 0) / counts.length;
}

/** The two axes along which the wrong places vary most, by the rule of grader/views/differ.py; of equals the last. */
export function bestPlane(finding: Finding): Plane {
  const long = axesOf(finding);
  if (long.length < 2) return { down: null, across: long[0] ?? (finding.cells.length ? finding.cells.length - 1 : null) };
  let best = -1;
  let plane: Plane = { down: long[0]!, across: long[1]! };
  for (const [i, down] of long.entries()) {
    for (const across of long.slice(i + 1)) {
      const by = uneven(finding, down, across);
      if (by > best - 1e-12) plane = { down, across };
      best = Math.max(by, best);
    }
  }
  return plane;
}

/** The levels on the plane, row by row: the other axes by their maximum. */
export function levelsOn({ cells, levels }: Finding, { down, across }: Plane): number[][] {
  const rows = down === null ? 1 : cells[down]!;
  const columns = across === null ? 1 : cells[across]!;
  const out = Array.from({ length: rows }, () => new Array<number>(columns).fill(0));
  const step = strides(cells);
  for (let i = 0; i < levels.length; i += 1) {
    const row = down === null ? 0 : Math.floor(i / step[down]!) % rows;
    const column = across === null ? 0 : Math.floor(i / step[across]!) % columns;
    out[row]![column] = Math.max(out[row]![column]!, Number(levels[i]));
  }
  return out;
}

/** Of an axis with `size` values in `bins` cells: the values that a cell holds. */
export function rangeOf(finding: Finding, axis: number | null, cell: number): [number, number] {
  if (axis === null) return [0, 0];
  const size = finding.shape[axis]!;
  const bins = finding.cells[axis]!;
  return [Math.floor((cell * size) / bins), Math.max(Math.floor(((cell + 1) * size) / bins) - 1, 0)];
}

/** The cell that holds a value. */
export function cellOf(finding: Finding, axis: number | null, value: number): number {
  if (axis === null) return 0;
  const bins = finding.cells[axis]!;
  for (let cell = 0; cell < bins; cell += 1) if (value <= rangeOf(finding, axis, cell)[1]) return cell;
  return bins - 1;
}
