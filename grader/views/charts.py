"""The six kinds of pictures, each drawn on a canvas."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from grader.verdicts.picture import Bars, Gantt, Grid, Heat, Lines, Number, Picture, Points
from grader.views.svg import HUES, WIDTH, Canvas, coordinate, fitting, width_of
from grader.views.words import NOTHING, family, label, number

_EDGE = 8.0
_LARGEST_CELL = 34.0
_LONGEST_LABEL = 92.0
_STEPS = 20
"""How many strengths of a colour there are."""
_MOST_NUMBERS = 81
"""Cells of a map in which the numbers stand."""


def draw(picture: Picture, canvas: Canvas) -> None:
    """Draw a picture below what the canvas has."""
    canvas.y += 18
    canvas.text(_EDGE, canvas.y, fitting(picture.title, WIDTH - 2 * _EDGE), "head")
    _DRAWN[type(picture.data)](picture, canvas)
    if picture.note:
        canvas.paragraph(picture.note)


class _Cells:
    """Where the cells of a map lie, with the labels of its rows and columns."""

    def __init__(self, picture: Picture, canvas: Canvas, high: int, wide: int, largest: float = _LARGEST_CELL) -> None:
        data: Heat | Grid = picture.data  # type: ignore[assignment]  # of a map
        rows = [label(data.rows, i) for i in range(high)]
        columns = [label(data.columns, j) for j in range(wide)]
        longest = min(_LONGEST_LABEL, max(width_of(one, small=True) for one in rows))
        self.high, self.wide = high, wide
        self.left = _EDGE + longest + 6 + (16 if picture.axes[0] else 0)
        self.width = min(largest, (WIDTH - self.left - 2 * _EDGE) / wide)
        self.height = min(max(self.width, 18.0), 26.0, max(360.0 / high, 2.5))
        self.top = canvas.y + (36 if picture.axes[1] else 20)
        self.gap = 1.0 if min(self.width, self.height) >= 6 else 0.0
        canvas.y = self.top + self.height * high
        self._name(picture, canvas, rows, columns, longest)

    def _name(
        self, picture: Picture, canvas: Canvas, rows: Sequence[str], columns: Sequence[str], longest: float
    ) -> None:
        row, column = picture.axes
        canvas.text(self.left, self.top - 21, fitting(f"{column} →", WIDTH - self.left), "dim small")
        for i in range(0, self.high, max(1, math.ceil(12 / self.height))):
            y = self.top + (i + 0.5) * self.height + 4
            canvas.text(self.left - 5, y, fitting(rows[i], longest + 1, small=True), "dim small", "end")
        step = _step([width_of(one, small=True) + 5 for one in columns], self.width)
        for j in range(0, self.wide, step):
            shown = fitting(columns[j], step * self.width, small=True)
            canvas.text(self.left + (j + 0.5) * self.width, self.top - 5, shown, "dim small", "middle")
        if row:
            middle = self.top + self.high * self.height / 2
            shown = fitting(f"{row} ↓", max(self.high * self.height, 40.0), small=True)
            at = f"rotate(-90 14 {coordinate(middle)})"
            canvas.add("text", shown, x=14, y=middle, klass="dim small", text_anchor="middle", transform=at)

    def box(self, i: int, j: int) -> tuple[float, float, float, float]:
        """x, y, width and height of a cell."""
        x, y = self.left + j * self.width, self.top + i * self.height
        return x, y, self.width - self.gap, self.height - self.gap

    def outline(self, i: int, j: int) -> str:
        """A cell as a piece of a path."""
        x, y, width, height = map(coordinate, self.box(i, j))
        return f"M{x} {y}h{width}v{height}h-{width}z"

    def open(self, canvas: Canvas) -> None:
        """Begin the group of the cells; its data says where each lies, for a page that walks them."""
        canvas.open(
            klass="cells", data_rows=self.high, data_columns=self.wide, data_x=self.left, data_y=self.top,
            data_width=self.width, data_height=self.height,
        )  # fmt: skip


def _step(widths: Sequence[float], cell: float) -> int:
    """Each how many-th label of a row fits: 1, 2, 5, 10, 20, 50 ..."""
    need = max(widths) / cell
    if need <= 1:
        return 1
    power: float = 10 ** math.floor(math.log10(need))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= need * 0.99))


def _heat(picture: Picture, canvas: Canvas) -> None:
    data: Heat = picture.data  # type: ignore[assignment]  # as _DRAWN says; so below
    cells = _Cells(picture, canvas, len(data.values), len(data.values[0]))
    largest = data.highest or max((abs(v) for line in data.values for v in line if v is not None), default=0.0) or 1.0
    paths: dict[tuple[str, int], list[str]] = {}
    for i, line in enumerate(data.values):
        for j, value in enumerate(line):
            paths.setdefault(_strength(value, largest), []).append(cells.outline(i, j))
    cells.open(canvas)
    for (klass, strength), parts in sorted(paths.items()):
        more = {"fill_opacity": strength / _STEPS} if strength else {}
        canvas.path("".join(parts), klass, **more)
    canvas.close()
    _crosses(data, cells, canvas)
    if not data.scale:
        _numbers(data, cells, canvas)
    _brackets(data, cells, canvas)
    for mark in data.marks:
        canvas.rect(*cells.box(mark.row, mark.column), "mark")
    _scale(data, largest, canvas)
    for mark in data.marks:
        if mark.words:
            canvas.paragraph(f"▢ {mark.words}", "small")


def _strength(value: Number, largest: float) -> tuple[str, int]:
    """The class of a cell and how strong its colour is; 0 for a cell of no colour."""
    if value is None:
        return "soft", 0
    steps = min(_STEPS, math.ceil(abs(value) / largest * _STEPS - 1e-6))
    return ("zero", 0) if abs(value) <= NOTHING * largest else ("hot" if value > 0 else "cold", max(steps, 2))


def _crosses(data: Heat, cells: _Cells, canvas: Canvas) -> None:
    """A cross over each cell that holds no number."""
    missing = [(i, j) for i, line in enumerate(data.values) for j, value in enumerate(line) if value is None]
    parts = []
    for i, j in missing:
        x, y, width, height = cells.box(i, j)
        c = coordinate
        parts.append(f"M{c(x)} {c(y)}l{c(width)} {c(height)}M{c(x + width)} {c(y)}l{c(-width)} {c(height)}")
    if parts:
        canvas.path("".join(parts), "none")


def _numbers(data: Heat, cells: _Cells, canvas: Canvas) -> None:
    """The numbers, where there are few and each fits."""
    shown = [[number(value, digits=2) if value is not None else "" for value in line] for line in data.values]
    longest = max((width_of(one, small=True) for line in shown for one in line), default=0.0)
    if cells.high * cells.wide > _MOST_NUMBERS or longest > cells.width - 3 or cells.height < 13:
        return
    for i, line in enumerate(shown):
        for j, one in enumerate(line):
            x, y, width, height = cells.box(i, j)
            canvas.text(x + width / 2, y + height / 2 + 4, one, "small", "middle")


def _brackets(data: Heat, cells: _Cells, canvas: Canvas) -> None:
    """Which pieces the rows and columns were made of."""
    c, parts = coordinate, []
    right, bottom = cells.left + cells.wide * cells.width, cells.top + cells.high * cells.height
    at = cells.top
    for piece in data.row_pieces:
        parts.append(f"M{c(right + 2)} {c(at + 1)}h4v{c(piece * cells.height - 3)}h-4")
        at += piece * cells.height
    at = cells.left
    for piece in data.column_pieces:
        parts.append(f"M{c(at + 1)} {c(bottom + 2)}v4h{c(piece * cells.width - 3)}v-4")
        at += piece * cells.width
    if parts:
        canvas.path("".join(parts), "axis")
    if data.column_pieces:
        canvas.y += 8


def _scale(data: Heat, largest: float, canvas: Canvas) -> None:
    """What the colours mean."""
    held = [value for line in data.values for value in line if value is not None]
    if data.scale:
        canvas.paragraph(data.scale)
        return
    canvas.y += 20
    x = _EDGE
    samples = [-1.0, -0.5] if min(held, default=0.0) < 0 else []
    samples += [0.0, 0.5, 1.0] if max(held, default=0.0) > 0 or not samples else [0.0]
    for sample in samples:
        klass, strength = _strength(sample, 1.0)
        more = {"fill_opacity": strength / _STEPS} if strength else {}
        canvas.rect(x, canvas.y - 10, 12, 12, klass, **more)
        said = number(sample * largest)
        canvas.text(x + 16, canvas.y, said, "dim small")
        x += 28 + width_of(said, small=True)


def _grid(picture: Picture, canvas: Canvas) -> None:
    data: Grid = picture.data  # type: ignore[assignment]
    longest = max(width_of(one, small=True) for line in data.cells for one in line) + 6
    cells = _Cells(picture, canvas, len(data.cells), len(data.cells[0]), min(max(longest, 24.0), 80.0))
    hues = _hues(family(one) for line in data.cells for one in line)
    paths: dict[str, list[str]] = {}
    for i, line in enumerate(data.cells):
        for j, one in enumerate(line):
            paths.setdefault(hues.get(family(one), "soft"), []).append(cells.outline(i, j))
    cells.open(canvas)
    for klass, parts in sorted(paths.items()):
        canvas.path("".join(parts), klass, **({} if klass == "soft" else {"fill_opacity": 0.6}))
    canvas.close()
    if cells.height >= 13:
        for i, line in enumerate(data.cells):
            for j, one in enumerate(line):
                x, y, width, height = cells.box(i, j)
                canvas.text(x + width / 2, y + height / 2 + 4, fitting(one, width, small=True), "small", "middle")
    canvas.y += 4


def _hues(labels: Iterable[str]) -> dict[str, str]:
    """A class for each label, in the order in which they come; an empty one has none."""
    known = [one for one in dict.fromkeys(labels) if one]
    return {one: f"k{i % HUES}" for i, one in enumerate(known)}


class _Plot:
    """An area with an axis to the left and one below, each in a linear or a logarithmic scale."""

    def __init__(
        self, picture: Picture, canvas: Canvas, xs: Sequence[float], ys: Sequence[float],
        log_x: bool = False, log_y: bool = False,
    ) -> None:  # fmt: skip
        self._x, self._y = _Scale(xs, log_x), _Scale(ys, log_y)
        marks = self._y.marks()
        self.left = _EDGE + max((width_of(number(one), small=True) for one in marks), default=0.0) + 8
        self.top, self.width, self.height = canvas.y + 24, WIDTH - self.left - 16, 170.0
        bottom = self.top + self.height
        canvas.text(_EDGE, self.top - 8, fitting(f"{picture.axes[1]} ↑", WIDTH - 20), "dim small")
        for one in marks:
            y = self.at(0.0, one)[1]
            canvas.line(self.left, y, self.left + self.width, y, "rule")
            canvas.text(self.left - 5, y + 4, number(one), "dim small", "end")
        for one in self._x.marks():
            x = self.left + self._x.share(one) * self.width
            canvas.line(x, bottom, x, bottom + 4, "axis")
            canvas.text(x, bottom + 16, number(one), "dim small", "middle")
        canvas.path(f"M{coordinate(self.left)} {coordinate(self.top)}V{coordinate(bottom)}h{self.width:g}", "axis")
        canvas.text(
            self.left + self.width, bottom + 31, fitting(f"{picture.axes[0]} →", self.width), "dim small", "end"
        )
        canvas.y = bottom + 34

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + self._x.share(x) * self.width, self.top + (1 - self._y.share(y)) * self.height


class _Scale:
    """Where between the two ends of an axis a number lies."""

    def __init__(self, values: Sequence[float], log: bool) -> None:
        held = [value for value in values if not log or value > 0]
        self.log = log and bool(held)
        low, high = (min(held), max(held)) if held else (0.0, 1.0)
        if self.log:
            low, high = math.log10(low), math.log10(high)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
        self.low, self.high = low, high

    def share(self, value: float) -> float:
        """From 0 to 1."""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def holds(self, value: Number) -> bool:
        """Whether a value has a place: on a logarithmic axis only what is positive."""
        return value is not None and (not self.log or value > 0)

    def marks(self) -> list[float]:
        """Round numbers along it, three to six."""
        if self.log:
            first, last = math.floor(self.low + 1e-9), math.ceil(self.high - 1e-9)
            step = max(1, math.ceil((last - first) / 5))
            inside = [power for power in range(first, last + 1, step) if self.low - 1e-9 <= power <= self.high + 1e-9]
            if len(inside) > 1:
                return [10.0**power for power in inside]
            finer = [digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 5)]
            return [one for one in finer if self.low - 1e-9 <= math.log10(one) <= self.high + 1e-9]
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step_ = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * 0.999)
        first = math.ceil(self.low / step_ - 1e-9)
        count = math.floor(self.high / step_ + 1e-9) - first + 1
        return [(first + i) * step_ for i in range(min(count, 12))]


_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2", "10 4", "4 2 1 2", "12 3 3 3")


def _lines(picture: Picture, canvas: Canvas) -> None:
    data: Lines = picture.data  # type: ignore[assignment]
    ys = [value for values in data.series.values() for value in values if value is not None]
    plot = _Plot(picture, canvas, data.x, ys, data.log_x, data.log_y)
    held = _Scale(ys, data.log_y).holds
    for i, values in enumerate(data.series.values()):
        parts, pen = [], "M"
        for x, value in zip(data.x, values, strict=True):
            if value is None or not held(value) or (data.log_x and x <= 0):
                pen = "M"
                continue
            px, py = plot.at(x, value)
            parts.append(f"{pen}{coordinate(px)} {coordinate(py)}")
            pen = "L"
        if parts:
            alone = "h0.01" if len(parts) == 1 else ""
            canvas.path("".join(parts) + alone, f"s{i % HUES}", **_dashed(i))
    if len(data.series) > 1 or picture.axes[1] not in data.series:
        _key(canvas, [(name, f"s{i % HUES}", _dashed(i)) for i, name in enumerate(data.series)])


def _dashed(i: int) -> dict[str, float | str]:
    dash = _DASHES[i % len(_DASHES)]
    return {"stroke_width": 2.5, "stroke_linecap": "round", **({"stroke_dasharray": dash} if dash else {})}


def _key(canvas: Canvas, names: Sequence[tuple[str, str, dict[str, float | str]]]) -> None:
    """Which line is whose."""
    x = _EDGE
    canvas.y += 14
    for name, klass, more in names:
        shown = fitting(name, WIDTH - 60, small=True)
        if x > _EDGE and x + 34 + width_of(shown, small=True) > WIDTH - _EDGE:
            x, canvas.y = _EDGE, canvas.y + 16
        c = coordinate
        canvas.path(f"M{c(x)} {c(canvas.y - 4)}h24", klass, **more)
        canvas.text(x + 29, canvas.y, shown, "small")
        x += 42 + width_of(shown, small=True)
    canvas.y += 2


def _gantt(picture: Picture, canvas: Canvas) -> None:
    data: Gantt = picture.data  # type: ignore[assignment]
    longest = min(_LONGEST_LABEL, max(width_of(one, small=True) for one in data.lanes))
    begin = min((span.start for span in data.spans), default=0.0)
    end = max((span.start + span.length for span in data.spans), default=1.0)
    scale = _Scale([begin, end], log=False)
    left, top = _EDGE + longest + 8, canvas.y + 12
    width, height = WIDTH - left - _EDGE, 22.0 if len(data.lanes) <= 16 else 14.0
    bottom = top + height * len(data.lanes)
    for i, lane in enumerate(data.lanes):
        y = top + i * height
        canvas.rect(left, y + 1, width, height - 2, "soft")
        canvas.text(left - 5, y + height / 2 + 4, fitting(lane, longest + 1, small=True), "dim small", "end")
    hues = _hues(family(span.label) for span in data.spans)
    for span in data.spans:
        x, right = (left + scale.share(at) * width for at in (span.start, span.start + span.length))
        y, wide = top + span.lane * height + 1, max(right - x - 0.6, 0.6)
        canvas.rect(x, y, wide, height - 2, hues.get(family(span.label), "soft"), fill_opacity=0.65)
        shown = span.label if width_of(span.label, small=True) <= wide - 2 else _tail(span.label, wide)
        canvas.text(x + wide / 2, y + height / 2 + 3, shown, "small", "middle")
    for mark in scale.marks() if data.spans else []:
        x = left + scale.share(mark) * width
        canvas.line(x, bottom, x, bottom + 4, "axis")
        canvas.text(x, bottom + 16, number(mark), "dim small", "middle")
    canvas.text(WIDTH - _EDGE, bottom + 31, fitting(f"{picture.axes[1]} →", width), "dim small", "end")
    canvas.y = bottom + 34


def _tail(label: str, width: float) -> str:
    """The number of a label, where only that fits."""
    digits = label[len(family(label)) :]
    return digits if digits and width_of(digits, small=True) <= width else ""


_SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z", "m-3-3h6v6h-6z", "m0-4l4 7h-8z", "m0-4l4 4l-4 4l-4-4z", "m0 4l-4-7h8z",
    "m-4-1h3v-3h2v3h3v2h-3v3h-2v-3h-3z", "m-4-2h8v4h-8z", "m-2-4h4v8h-4z",
)  # fmt: skip


def _points(picture: Picture, canvas: Canvas) -> None:
    data: Points = picture.data  # type: ignore[assignment]
    plot = _Plot(picture, canvas, data.x, data.y)
    groups = list(dict.fromkeys(data.groups or [""]))
    parts: dict[str, list[str]] = {group: [] for group in groups}
    for i, (x, y) in enumerate(zip(data.x, data.y, strict=True)):
        px, py = plot.at(x, y)
        group = data.groups[i] if data.groups else ""
        shape = _SHAPES[groups.index(group) % len(_SHAPES)]
        parts[group].append(f"M{coordinate(px)} {coordinate(py)}{shape}")
    for i, group in enumerate(groups):
        if parts[group]:
            canvas.path("".join(parts[group]), f"d{i % HUES}")
    if data.groups:
        x = _EDGE
        canvas.y += 14
        for i, group in enumerate(groups[: 2 * HUES]):
            shown = fitting(group, WIDTH - 60, small=True)
            if x > _EDGE and x + 20 + width_of(shown, small=True) > WIDTH - _EDGE:
                x, canvas.y = _EDGE, canvas.y + 16
            shape = _SHAPES[i % len(_SHAPES)]
            canvas.path(f"M{coordinate(x + 5)} {coordinate(canvas.y - 4)}{shape}", f"d{i % HUES}")
            canvas.text(x + 14, canvas.y, shown, "small")
            x += 26 + width_of(shown, small=True)
        canvas.y += 2


def _bars(picture: Picture, canvas: Canvas) -> None:
    data: Bars = picture.data  # type: ignore[assignment]
    held = [value for value in data.values if value is not None]
    scale = _bar_scale(held, data.log)
    longest = min(_LONGEST_LABEL * 1.3, max(width_of(one, small=True) for one in data.names))
    told = max(width_of(number(value), small=True) for value in data.values)
    left, height = _EDGE + longest + 8, 18.0
    width = WIDTH - left - told - 16
    canvas.text(left, canvas.y + 18, fitting(f"{picture.axes[1]} →", WIDTH - left - 8), "dim small")
    top = canvas.y + 26
    zero = left + scale.share(0.0) * width
    for i, (name, value) in enumerate(zip(data.names, data.values, strict=True)):
        y = top + i * height
        canvas.text(left - 5, y + height / 2 + 4, fitting(name, longest + 1, small=True), "dim small", "end")
        end = left + scale.share(value) * width if value is not None else zero
        canvas.rect(min(zero, end), y + 2, max(abs(end - zero), 0.5), height - 4, "d0" if (value or 0) >= 0 else "d1")
        canvas.text(max(zero, end) + 4, y + height / 2 + 4, number(value), "small")
    canvas.line(zero, top, zero, top + height * len(data.names), "axis")
    canvas.y = top + height * len(data.names) + 2


def _bar_scale(held: Sequence[float], log: bool) -> _Scale:
    """From zero; or on a logarithmic scale from the power of ten below the smallest, which zero then stands for."""
    positive = [value for value in held if value > 0]
    if log and positive:
        return _Scale([10.0 ** (math.floor(math.log10(min(positive))) - 0.3), max(positive)], log=True)
    return _Scale([0.0, *held], log=False)


_DRAWN: dict[type, Callable[[Any, Canvas], None]] = {
    Heat: _heat, Grid: _grid, Lines: _lines, Gantt: _gantt, Points: _points, Bars: _bars,
}  # fmt: skip
