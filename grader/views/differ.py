"""Where an answer differs, as a heat map: what a check found, along the check's own axes."""

from collections.abc import Sequence
from itertools import combinations, product

from grader.verdicts.finding import Finding
from grader.verdicts.picture import Heat, Mark, Picture, bin_of

_HIGHEST = 9
_LONGEST = 40
_WORDS = 600


def where_it_differs(finding: Finding | None, axes: tuple[str, str] | None = None) -> Picture | None:
    """The map of a finding, or None where it has none: what is no tensor, a scalar, or a map that does not fit.

    axes: those for rows and columns; by default the two along which the wrong places vary most. Over all others the
    worst counts.
    """
    if finding is None or not finding.levels or not _is_whole(finding):
        return None
    names, cells = finding.axes, finding.cells
    if axes and (axes[0] == axes[1] or not set(axes) <= set(names)):
        return None
    pair = (names.index(axes[0]), names.index(axes[1])) if axes else _telling(finding.levels, cells)
    rows, columns = pair if len(cells) > 1 else (-1, 0)
    values = _worst_over_others(finding.levels, cells, rows, columns)
    place = [bin_of(*one) for one in zip(finding.worst, finding.shape, cells, strict=True)]
    said = f"worst: {_named(names, finding.worst)}: expected {finding.expected}, got {finding.got}"
    mark = Mark(place[rows] if rows >= 0 else 0, place[columns], said[:_WORDS])
    heat = Heat(
        values,
        _labels(finding, rows), _labels(finding, columns), (mark,),
        row_pieces=_pieces(finding, rows), column_pieces=_pieces(finding, columns), highest=float(_HIGHEST),
        scale="0 is right; each step from 1 to 9 is ten times as far off",
    )  # fmt: skip
    shown = tuple((names[i] if i >= 0 else "")[:_LONGEST] for i in (rows, columns))
    return Picture("Where values differ", (shown[0], shown[1]), heat, words=_words(finding, rows, columns, said))


def _is_whole(finding: Finding) -> bool:
    """Whether the fields fit together: a result may have been written by another version, or by hand."""
    size = 1
    for count in finding.cells:
        size *= count
    same = len(finding.axes) == len(finding.shape) == len(finding.cells) == len(finding.worst) > 0
    return (
        same
        and size == len(finding.levels)
        and finding.levels.isdecimal()
        and all(0 < bins <= axis for bins, axis in zip(finding.cells, finding.shape, strict=True))
        and all(0 <= at < axis for at, axis in zip(finding.worst, finding.shape, strict=True))
    )


def _telling(levels: str, cells: Sequence[int]) -> tuple[int, int]:
    """The two axes whose wrong places vary most: those that explain most of what is wrong where.

    For each pair the variance of how much of the others is wrong; of equal pairs the last, as rows and columns lie.
    Axes of one cell say nothing, and count where there are no others. The page chooses by the same rule.
    """
    best, found = -1.0, (0, min(1, len(cells) - 1))
    long = [axis for axis, count in enumerate(cells) if count > 1]
    for pair in combinations(long if len(long) > 1 else range(len(cells)), 2):
        counts = [0.0] * (cells[pair[0]] * cells[pair[1]])
        for at, level in zip(product(*map(range, cells)), levels, strict=True):
            counts[at[pair[0]] * cells[pair[1]] + at[pair[1]]] += level != "0"
        others = len(levels) / len(counts)
        average = sum(counts) / len(counts)
        spread = sum((count - average) ** 2 for count in counts) / len(counts) / others**2
        if spread > best - 1e-12:
            best, found = max(spread, best), pair
    return found


def _worst_over_others(levels: str, cells: Sequence[int], rows: int, columns: int) -> tuple[tuple[float, ...], ...]:
    high = cells[rows] if rows >= 0 else 1
    values = [[0.0] * cells[columns] for _ in range(high)]
    for at, level in zip(product(*map(range, cells)), levels, strict=True):
        row = at[rows] if rows >= 0 else 0
        values[row][at[columns]] = max(values[row][at[columns]], float(level))
    return tuple(map(tuple, values))


def _labels(finding: Finding, axis: int) -> tuple[str, ...]:
    """For each cell the index that it begins with; nothing where these are the cells' own numbers."""
    if axis < 0 or finding.cells[axis] == finding.shape[axis]:
        return ()
    size, bins = finding.shape[axis], finding.cells[axis]
    return tuple(str(i * size // bins) for i in range(bins))


def _pieces(finding: Finding, axis: int) -> tuple[float, ...]:
    given = finding.along.get(finding.axes[axis], ()) if axis >= 0 else ()
    pieces = [piece for piece in given if piece > 0]  # a call may add nothing
    if sum(pieces) != finding.shape[axis] or sum(given) != sum(pieces) or len(pieces) > finding.cells[axis]:
        return ()
    return tuple(piece * finding.cells[axis] / finding.shape[axis] for piece in pieces)


def _named(names: Sequence[str], place: Sequence[int]) -> str:
    return ", ".join(f"{name} {at}" for name, at in zip(names, place, strict=True))


def _words(finding: Finding, rows: int, columns: int, worst: str) -> str:
    shown = [i for i in (rows, columns) if i >= 0]
    over = " by ".join(f"{finding.axes[i]} ({finding.shape[i]:,})" for i in shown)
    others = [name for i, name in enumerate(finding.axes) if i not in shown]
    rest = f", the worst over {' and '.join(others)}" if others else ""
    said = f"Heat map of where values differ, {over}{rest}: {finding.wrong:,} of {finding.total:,} are wrong; {worst}."
    return said[:_WORDS]
