"""Pictures in words: numbers as people read them, the text for those who do not see a picture, its table of numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from grader.verdicts.picture import Bars, Gantt, Grid, Heat, Lines, Number, Picture, Points

_LARGEST_WHOLE = 1e6
NOTHING = 1e-6
"""Of the largest value: less than this is zero."""
_MOST_NAMED = 6


class Table(msgspec.Struct, frozen=True):
    """The numbers of a picture."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def number(value: Number, digits: int = 3) -> str:
    """A number with three digits, a whole one with all; `none` for one that cannot be drawn."""
    if value is None:
        return "none"
    if value == int(value) and abs(value) < _LARGEST_WHOLE:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def label(labels: Sequence[str], index: int) -> str:
    """The label of a row or column; without labels its number."""
    return labels[index] if labels else str(index)


def counted(count: int, noun: str) -> str:
    """`1 query`, `4 queries`."""
    return f"{count:,} {noun if count == 1 or not noun else plural(noun)}".strip()


def plural(noun: str) -> str:
    """The plural of an axis's name; a single letter stays, and so does what is no word or two."""
    if len(noun) < 2 or not noun.replace(" ", "", 1).isalpha():
        return noun
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def alt(picture: Picture) -> str:
    """What a picture shows, in one or two sentences, by the rule of its kind."""
    said = picture.words or _ALT[type(picture.data)](picture.data, *picture.axes)
    return f"{said} {picture.note}".strip()


def table(picture: Picture) -> Table:
    """The numbers of a picture as rows of text."""
    return _TABLE[type(picture.data)](picture.data, *picture.axes)


def _heat(data: Heat, row: str, column: str) -> str:
    held = [(value, i, j) for i, line in enumerate(data.values) for j, value in enumerate(line) if value is not None]
    said = f"Heat map, {counted(len(data.values), row)} by {counted(len(data.values[0]), column)}"
    if not held:
        return f"{said}, none of them a number."
    low, high = min(held)[0], max(held)[0]
    if number(low) == number(high):
        return f"{said}, all {number(low)}."
    largest = max(held, key=lambda one: (one[0], -one[1], -one[2]))
    at = f"{row} {label(data.rows, largest[1])}, {column} {label(data.columns, largest[2])}"
    shape = _shape(data, max(abs(low), abs(high)))
    return f"{said}, {number(low)} to {number(high)}, largest at {at}{shape and f'; {shape}'}."


def _shape(data: Heat, largest: float) -> str:
    """On which side of the diagonal, from the lower right corner, nothing but zeros lies."""
    high, wide = len(data.values), len(data.values[0])
    if min(high, wide) < 2 or high > wide:
        return ""
    offset = wide - high
    full = [
        (i, j)
        for i, line in enumerate(data.values)
        for j, value in enumerate(line)
        if value is None or abs(value) > NOTHING * largest
    ]
    right, left = all(j <= i + offset for i, j in full), all(j >= i + offset for i, j in full)
    if right and left:
        return "zero off the diagonal"
    return "zero right of the diagonal" if right else "zero left of the diagonal" if left else ""


def family(label: str) -> str:
    """`F` of `F3`: what differs in the number at its end alone belongs together."""
    return label.rstrip("0123456789") or label


def _grid(data: Grid, row: str, column: str) -> str:
    cells = [cell for line in data.cells for cell in line]
    counts = Counter(family(cell) for cell in cells if cell)
    said = f"Grid, {counted(len(data.cells), row)} by {counted(len(data.cells[0]), column)}"
    if len(counts) > _MOST_NAMED:
        filled = [f"{label(data.rows, i)} {sum(map(bool, line)):,}" for i, line in enumerate(data.cells)]
        more = " and so on" if len(filled) > _MOST_NAMED else ""
        return f"{said}, {sum(counts.values()):,} of {len(cells):,} filled: {', '.join(filled[:_MOST_NAMED])}{more}."
    named = ", ".join(f"{name} {times:,}" for name, times in counts.most_common())
    empty = cells.count("")
    return f"{said}: {named or 'no label'}{f', empty {empty:,}' if empty else ''}."


def _lines(data: Lines, x: str, y: str) -> str:
    said = f"Line chart, {y} over {x} {number(min(data.x))} to {number(max(data.x))}: "
    return said + "; ".join(_line(name, data.x, values, x) for name, values in data.series.items()) + "."


def _line(name: str, x: Sequence[float], values: Sequence[Number], axis: str) -> str:
    held = [(value, at) for at, value in zip(x, values, strict=True) if value is not None]
    if not held:
        return f"{name} has no value"
    first, last = held[0][0], held[-1][0]
    said = f"{name} from {number(first)} to {number(last)}"
    for what, (value, at) in (("largest", max(held)), ("smallest", min(held))):
        if number(value) not in (number(first), number(last)):
            said += f", {what} {number(value)} at {axis} {number(at)}"
    return said


def _gantt(data: Gantt, lane: str, time: str) -> str:
    if not data.spans:
        return f"Gantt chart, {counted(len(data.lanes), lane)}, no span."
    begin = min(span.start for span in data.spans)
    end = max(span.start + span.length for span in data.spans)
    said = f"Gantt chart, {counted(len(data.lanes), lane)}, {counted(len(data.spans), 'span')}"
    busy = [sum(span.length for span in data.spans if span.lane == i) for i in range(len(data.lanes))]
    share = f"busy {min(busy) / (end - begin):.0%} to {max(busy) / (end - begin):.0%} of it"
    if number(min(busy)) == number(max(busy)):
        share = f"each busy {busy[0] / (end - begin):.0%} of it"
    return f"{said}, {time} {number(begin)} to {number(end)}, {share}."


def _points(data: Points, x: str, y: str) -> str:
    if not data.x:
        return "Scatter plot without points."
    groups = Counter(data.groups)
    named = ", ".join(f"{name or 'no name'} {count:,}" for name, count in groups.most_common(_MOST_NAMED))
    said = f"Scatter plot, {counted(len(data.x), 'point')}"
    inside = f" in {counted(len(groups), 'group')} ({named})" if groups else ""
    ranges = [f"{axis} {number(min(v))} to {number(max(v))}" for axis, v in ((x, data.x), (y, data.y))]
    return f"{said}{inside}, {', '.join(ranges)}."


def _bars(data: Bars, name: str, value: str) -> str:
    held = [(one, -i) for i, one in enumerate(data.values) if one is not None]
    said = f"Bar chart, {counted(len(data.values), name)}"
    if not held:
        return f"{said}, none with a number."
    (low, _), (high, at) = min(held), max(held)
    if number(low) == number(high):
        return f"{said}, {value} all {number(low)}."
    return f"{said}, {value} {number(low)} to {number(high)}, largest {data.names[-at]}."


_ALT: dict[type, Callable[[Any, str, str], str]] = {
    Heat: _heat, Grid: _grid, Lines: _lines, Gantt: _gantt, Points: _points, Bars: _bars,
}  # fmt: skip


def _rows(cells: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str], row: str, column: str) -> Table:
    head = (f"{row} \\ {column}", *(label(columns, j) for j in range(len(cells[0]))))
    return Table(head, [(label(rows, i), *line) for i, line in enumerate(cells)])


def _heat_table(data: Heat, row: str, column: str) -> Table:
    return _rows([[*map(number, line)] for line in data.values], data.rows, data.columns, row, column)


def _grid_table(data: Grid, row: str, column: str) -> Table:
    return _rows(data.cells, data.rows, data.columns, row, column)


def _lines_table(data: Lines, x: str, y: str) -> Table:
    columns = [data.x, *data.series.values()]
    return Table((x, *data.series), [tuple(map(number, line)) for line in zip(*columns, strict=True)])


def _gantt_table(data: Gantt, lane: str, time: str) -> Table:
    spans = sorted(data.spans, key=lambda span: (span.lane, span.start))
    rows = [(data.lanes[s.lane], s.label, number(s.start), number(s.start + s.length)) for s in spans]
    return Table((lane, "work", f"{time}, from", "to"), rows)


def _points_table(data: Points, x: str, y: str) -> Table:
    pairs = [(number(a), number(b)) for a, b in zip(data.x, data.y, strict=True)]
    if not data.groups:
        return Table((x, y), pairs)
    return Table((x, y, "group"), [(*pair, group) for pair, group in zip(pairs, data.groups, strict=True)])


def _bars_table(data: Bars, name: str, value: str) -> Table:
    return Table((name, value), list(zip(data.names, map(number, data.values), strict=True)))


_TABLE: dict[type, Callable[[Any, str, str], Table]] = {
    Heat: _heat_table, Grid: _grid_table, Lines: _lines_table, Gantt: _gantt_table, Points: _points_table,
    Bars: _bars_table,
}  # fmt: skip
