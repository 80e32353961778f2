// The map of where values differ, as two of its axes show it.
import type { Finding } from "./wire";

export interface Plane {
  /** Axes of the map: which is drawn down, which across; null where the value has fewer. */
  down: number | null;
  across: number | null;
}

/** The map's axes, without those of one cell, since they say nothing. */
export const axesOf = ({ cells }: Finding) => cells.map((_, axis) => axis);

export const nameOf = ({ axes }: Finding, axis: number) => axes[axis] || `axis ${axis}`;

function strides(cells: number[]): number[] {
  const out = cells.map(() => 1);
  for (let axis = cells.length - 2; axis >= 0; axis -= 1) out[axis] = out[axis + 1]! * cells[axis + 1]!;
  return out;
}

/** How unevenly the wrong cells lie along an axis: 0 where each index has as many. */
function uneven({ cells, levels }: Finding, axis: number): number {
  const step = strides(cells)[axis]!;
  const counts = new Array<number>(cells[axis]!).fill(0);
  for (let i = 0; i < levels.length; i += 1) if (levels[i] !== "0") counts[Math.floor(i / step) % cells[axis]!]! += 1;
  const per = levels.length / cells[axis]!;
  const mean = counts.reduce((sum, one) => sum + one, 0) / counts.length;
  return counts.reduce((sum, one) => sum + ((one - mean) / per) ** 2, 0) / counts.length;
}

/** The two axes along which the wrong places vary most; of equals the last ones. */
export function bestPlane(finding: Finding): Plane {
  const long = axesOf(finding).filter((axis) => finding.cells[axis]! > 1);
  const ranked = long.map((axis) => ({ axis, by: uneven(finding, axis) })).sort((a, b) => b.by - a.by || b.axis - a.axis);
  const [down, across] = ranked.slice(0, 2).map(({ axis }) => axis).sort((a, b) => a - b);
  if (across !== undefined) return { down: down!, across };
  return { down: null, across: down ?? (finding.cells.length ? finding.cells.length - 1 : null) };
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
