"""Pictures for a terminal: 80 columns or fewer, without colour, in ASCII where the encoding has no more."""

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from grader.base.text import plain
from grader.verdicts.picture import Bars, Gantt, Grid, Heat, Lines, Number, Picture, Points, bin_of, bins, coarser
from grader.views.columns import WIDTH, width_for
from grader.views.signs import speaks
from grader.views.words import NOTHING, alt, label, number

_INDENT = "  "
_LONGEST_LABEL = 20
_MOST_ROWS = 32
_SHADES = "·░▒▓█"
_BELOW = "-="
"""For half of the largest negative value, and for more."""
_HEIGHTS = "▁▂▃▄▅▆▇█"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PLANE = (40, 12)
_ASCII = str.maketrans(
    {
        "·": ".", "░": ":", "▒": "+", "▓": "*", "█": "#", "▁": "_", "▂": ",", "▃": "-", "▄": "~", "▅": "+", "▆": "=",
        "▇": "*", "→": ">", "↓": "v", "↑": "^", "└": "`", "┘": "'", "─": "-", "│": "|", "…": ".", "×": "x", "▢": "o",
    }
)  # fmt: skip


def text_lines(picture: Picture, encoding: str = "utf-8", columns: int = WIDTH) -> list[str]:
    """A picture as lines: its title, the picture, what its signs mean, its caption, and its words.

    columns: of the terminal. A picture takes 40 to 80 of them.
    """
    width = width_for(columns)
    shown = [*_KINDS[type(picture.data)](picture.data, *picture.axes, width - 2 * len(_INDENT))]
    lines = [picture.title, "", *(_INDENT + line for line in shown), ""]
    for said in (picture.caption, alt(picture)):
        lines += textwrap.wrap(said, width, initial_indent=_INDENT, subsequent_indent=_INDENT) if said else []
    lines = [plain(line).rstrip()[:width] for line in lines]
    return lines if speaks(_SHADES + _HEIGHTS + "→↓└┘─│…×", encoding) else [_in_ascii(line) for line in lines]


def _in_ascii(line: str) -> str:
    """Signs become others; letters that are not there become question marks."""
    return line.translate(_ASCII).encode("ascii", "replace").decode()


def _cut(text: str, most: int = _LONGEST_LABEL) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _heat(data: Heat, row: str, column: str, room: int) -> list[str]:
    high, wide = len(data.values), len(data.values[0])
    labels = [_cut(label(data.rows, i)) for i in range(high)]
    margin = max(map(len, [*labels, _cut(row)])) + 1
    each = 2 if wide <= (room - margin) // 2 else 1
    rows, columns = min(high, _MOST_ROWS), min(wide, (room - margin) // each)
    values = coarser(data.values, rows, columns, max if data.scale else _strongest)
    largest = data.highest or max((abs(v) for line in values for v in line if v is not None), default=0.0) or 1.0
    marked = {(bin_of(m.row, high, rows), bin_of(m.column, wide, columns)) for m in data.marks}
    starts = bins(high, rows)
    lines = [f"{_cut(row):>{margin - 1}} {_cut(column, 40)} →"] if row or column else []
    lines.append(" " * margin + _header([label(data.columns, j) for j in bins(wide, columns)[:-1]], each, room))
    for i, line in enumerate(values):
        cells = "".join((_shade(v, largest) + ("o" if (i, j) in marked else " "))[:each] for j, v in enumerate(line))
        lines.append(f"{labels[starts[i]]:>{margin - 1}} {cells}{_piece_of(data.row_pieces, starts, i)}")
    if data.column_pieces:
        scale = columns * each / wide
        lines.append(" " * margin + "".join(_bracket(round(piece * scale)) for piece in data.column_pieces))
    return [*lines, *_shades_key(data, largest, each, room, rows < high or columns < wide)]


def _strongest(values: Sequence[float]) -> float:
    """The value furthest from zero: what is small and alone is not lost among its neighbours."""
    return max(values, key=abs)


def _shade(value: Number, largest: float) -> str:
    if value is None:
        return "×"
    if abs(value) <= NOTHING * largest:
        return _SHADES[0]
    if value < 0:
        return _BELOW[min(1, int(-2 * value / largest))]
    return _SHADES[min(len(_SHADES) - 1, math.ceil(value / largest * (len(_SHADES) - 1) - 1e-6))]


def _header(labels: Sequence[str], each: int, room: int) -> str:
    """The labels over the columns, as many as fit."""
    widest = max(map(len, labels))
    step = max(1, -(-(widest + 1) // each)) if widest > each - 1 else 1
    out = ""
    for j in range(0, len(labels), step):
        out += " " * (j * each - len(out)) + labels[j]
    return _cut(out, room)


def _piece_of(pieces: Sequence[float], starts: Sequence[int], i: int) -> str:
    """A bracket beside the rows of one piece."""
    if not pieces:
        return ""
    ends, total = [], 0.0
    for piece in pieces:
        total += piece
        ends.append(total)
    return " ┘" if any(starts[i] < end <= starts[i + 1] for end in ends) else " │"


def _bracket(length: int) -> str:
    return "" if length < 1 else "│" if length == 1 else f"└{'─' * (length - 2)}┘"


def _shades_key(data: Heat, largest: float, each: int, room: int, is_binned: bool) -> list[str]:
    held = [value for line in data.values for value in line if value is not None]
    said = [data.scale] if data.scale else [f"{_SHADES[0]} 0", f"{_SHADES[1:]} up to {number(largest)}"]
    if not data.scale and min(held, default=0.0) < 0:
        said.append(f"{_BELOW} below 0, = less than {number(-largest / 2)}")
    if data.scale:
        said.insert(0, _SHADES)
    if len(held) < len(data.values) * len(data.values[0]):
        said.append("× no number")
    if data.marks and each == 2:
        said.append("o marked")
    if is_binned:
        said.append("the strongest of each few")
    lines = textwrap.wrap("   ".join(said), room)
    for mark in data.marks:
        lines += textwrap.wrap(f"o {mark.words}", room) if mark.words else []
    return lines


def _grid(data: Grid, row: str, column: str, room: int) -> list[str]:
    high, wide = len(data.cells), len(data.cells[0])
    labels = [_cut(label(data.rows, i)) for i in range(high)]
    margin = max(map(len, [*labels, _cut(row)])) + 1
    free = room - margin
    heads = [label(data.columns, j) for j in range(wide)]
    widest = max(len(one) for line in data.cells for one in line)
    lines = [f"{_cut(row):>{margin - 1}} {_cut(column, 40)} →"] if row or column else []
    shown = [list(line) for line in data.cells]
    key: list[str] = []
    each = max(widest, *map(len, heads)) + 1 if max(widest, *map(len, heads)) <= 8 else widest + 1
    if each * wide > free:
        names = list(dict.fromkeys(one for line in data.cells for one in line if one))
        letters = {name: _LETTERS[i % len(_LETTERS)] for i, name in enumerate(names)}
        shown = [[letters.get(one, "") for one in line] for line in data.cells]
        key = textwrap.wrap("  ".join(f"{letters[one]} {_cut(one)}" for one in names[: len(_LETTERS)]), room)
        each = 2 if 2 * wide <= free else 1
    kept = min(wide, free // each)
    lines.append(" " * margin + _header(heads[:kept], each, room))
    for i, line in enumerate(shown[: 2 * _MOST_ROWS]):
        lines.append(f"{labels[i]:>{margin - 1}} " + "".join(f"{one or '·':<{each}}"[:each] for one in line[:kept]))
    if kept < wide or len(shown) > 2 * _MOST_ROWS:
        key.append(f"Of {high:,} by {wide:,} cells the first are shown.")
    return [*lines, *key[:8]]


def _lines(data: Lines, x: str, y: str, room: int) -> list[str]:
    names = [_cut(name) for name in data.series]
    margin = max(map(len, names)) + 1
    columns = min(len(data.x), room - margin)
    held = [v for values in data.series.values() for v in values if v is not None and not (data.log_y and v <= 0)]
    low, high = (min(held), max(held)) if held else (0.0, 1.0)
    lines = [f"{y} from {number(low)} to {number(high)}{', by powers of ten' if data.log_y else ''}"]
    for name, values in zip(names, data.series.values(), strict=True):
        (row,) = coarser([values], 1, columns)
        lines.append(f"{name:>{margin - 1}} {''.join(_height(v, low, high, data.log_y) for v in row)}")
    lines.append(" " * margin + _axis(data.x[0], x, data.x[-1], columns))
    return [_cut(line, room) for line in lines]


def _axis(begin: float, name: str, end: float, size: int) -> str:
    """The line below a picture: where it begins, along what it runs, where it ends."""
    first, last = number(begin), number(end)
    return f"{first} {f'{_cut(name, 40)} →':^{max(size - len(first) - len(last) - 2, 1)}} {last}"


def _height(value: Number, low: float, high: float, log: bool) -> str:
    if value is None:
        return "×"
    if log:
        if value <= 0:
            return " "
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    share = (value - low) / (high - low) if high > low else 0.5
    return _HEIGHTS[min(len(_HEIGHTS) - 1, max(0, round(share * (len(_HEIGHTS) - 1))))]


def _gantt(data: Gantt, lane: str, time: str, room: int) -> list[str]:
    margin = max(len(_cut(one)) for one in data.lanes) + 1
    begin = min((span.start for span in data.spans), default=0.0)
    end = max((span.start + span.length for span in data.spans), default=1.0)
    tick = min((span.length for span in data.spans), default=1.0)
    ticks = (end - begin) / tick
    widest = max((len(span.label) for span in data.spans), default=1)
    free = room - margin
    each = next((n for n in (widest + 1, widest, 1) if ticks * n <= free), free / ticks)
    size = min(free, max(1, round(ticks * each)))
    rows = [["·"] * size for _ in data.lanes]
    for span in sorted(data.spans, key=lambda one: one.start):
        first = round((span.start - begin) / tick * each)
        last = min(size, max(first + 1, round((span.start + span.length - begin) / tick * each)))
        said = span.label or "█"
        word = said if len(said) <= last - first else said[:1]
        for i in range(first, last):
            rows[span.lane][i] = word[i - first] if i - first < len(word) else ("─" if last - first > 3 else " ")
    lines = [f"{_cut(name):>{margin - 1}} {''.join(row)}" for name, row in zip(data.lanes, rows, strict=True)]
    lines.append(" " * margin + _axis(begin, time, end, size))
    return [_cut(line, room) for line in lines]


def _points(data: Points, x: str, y: str, room: int) -> list[str]:
    axis = f" {_cut(x, room // 2)} →"
    wide, high = min(_PLANE[0], room - 1 - len(axis)), _PLANE[1]
    plane = [[" "] * wide for _ in range(high)]
    groups = list(dict.fromkeys(data.groups)) or [""]
    letters = {group: _LETTERS[i % len(_LETTERS)] if data.groups else "o" for i, group in enumerate(groups)}
    for i, (at, over) in enumerate(zip(data.x, data.y, strict=True)):
        column, row = _share(at, data.x, wide), high - 1 - _share(over, data.y, high)
        letter = letters[data.groups[i] if data.groups else ""]
        plane[row][column] = letter if plane[row][column] in (" ", letter) else "*"
    lines = [f"{y} ↑", *(f"│{''.join(line)}" for line in plane), f"└{'─' * wide}{axis}"]
    if data.groups:
        key = "  ".join(f"{letter} {_cut(group)}" for group, letter in list(letters.items())[:20])
        lines += textwrap.wrap(f"{key}  * several groups", room)
    return lines


def _share(value: float, values: Sequence[float], size: int) -> int:
    low, high = min(values), max(values)
    return min(size - 1, int((value - low) / (high - low) * size)) if high > low else size // 2


def _bars(data: Bars, name: str, value: str, room: int) -> list[str]:
    names = [_cut(one, 20) for one in data.names]
    margin = max(map(len, names)) + 1
    told = [number(one) for one in data.values]
    longest = min(50, room - margin - max(map(len, told)) - 2)
    held = [one for one in data.values if one is not None]
    below = data.log and [one for one in held if one > 0]
    floor = math.floor(math.log10(min(below))) - 0.3 if below else 0.0
    lengths = [_length(one, floor) if below else abs(one or 0.0) for one in data.values]
    largest = max(lengths) or 1.0
    lines = [f"{_cut(value, 60)}{', by powers of ten' if below else ''}"]
    for one, shown, length, of in zip(names, told, lengths, data.values, strict=True):
        bar = ("█" if (of or 0.0) >= 0 else "▒") * round(length / largest * longest)
        lines.append(f"{one:>{margin - 1}} {bar} {shown}" if bar else f"{one:>{margin - 1}} {shown}")
    if any(one < 0 for one in held):
        lines.append("▒ below 0")
    return lines


def _length(value: Number, floor: float) -> float:
    """How many powers of ten a value lies above the floor."""
    return math.log10(value) - floor if value is not None and value > 0 else 0.0


_KINDS: dict[type, Callable[[Any, str, str, int], list[str]]] = {
    Heat: _heat, Grid: _grid, Lines: _lines, Gantt: _gantt, Points: _points, Bars: _bars,
}  # fmt: skip
