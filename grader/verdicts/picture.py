"""A picture as data: what the learner's own code makes, or where its answer differs. `views.picture` draws it.

The data comes from code that nobody trusts, so each value here holds its own limits when it is read: sizes, finite
numbers, the length of labels. A number that is NaN, infinite or absurdly large stands as None.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import pairwise
from typing import Annotated

import msgspec

LARGEST = {"cells": 4096, "points": 2000, "spans": 500, "bars": 64, "series": 8}
"""What a picture may hold. What is larger is binned when it is read (`checks.picture`), and the picture says so."""
LARGEST_NUMBER = 1e100

Number = float | None
Label = Annotated[str, msgspec.Meta(max_length=40)]
Sentence = Annotated[str, msgspec.Meta(max_length=600)]
Place = Annotated[int, msgspec.Meta(ge=0, lt=LARGEST["cells"])]
Index = Annotated[int, msgspec.Meta(ge=0, lt=64)]


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of the six kinds."""


class Mark(_Data, frozen=True):
    """A cell that stands out. words: what is to be said of it, or nothing."""

    row: Place
    column: Place
    words: Sentence = ""


class Heat(_Data, frozen=True, tag="heat"):
    """Values in rows and columns: attention, routing, where an answer differs."""

    values: tuple[tuple[Number, ...], ...]
    rows: tuple[Label, ...] = ()
    """A label for each row; without them rows are counted from 0. So are columns."""
    columns: tuple[Label, ...] = ()
    marks: Annotated[tuple[Mark, ...], msgspec.Meta(max_length=64)] = ()
    row_pieces: tuple[float, ...] = ()
    """The lengths of the pieces that the rows were made of, in cells; drawn as brackets. So for columns."""
    column_pieces: tuple[float, ...] = ()
    highest: Number = None
    """The value of the strongest colour, where it is not the largest that is there."""
    scale: Sentence = ""
    """What the values mean, where they are levels and no measured numbers."""

    def __post_init__(self) -> None:
        rows, columns = _rectangle(self.values)
        _numbers(value for row in self.values for value in row)
        _numbers([*self.row_pieces, *self.column_pieces])
        _fits(self.rows or range(rows), rows, "row labels")
        _fits(self.columns or range(columns), columns, "column labels")
        for pieces, size in ((self.row_pieces, rows), (self.column_pieces, columns)):
            if len(pieces) > size or any(not length or length <= 0 for length in pieces):
                raise ValueError("the pieces of an axis are as many as its cells at most, each longer than 0")
        for mark in self.marks:
            if mark.row >= rows or mark.column >= columns:
                raise ValueError(f"a mark lies at row {mark.row}, column {mark.column}, outside the values")


class Grid(_Data, frozen=True, tag="grid"):
    """Rows of labels: pages, blocks, who owns what. An empty label is an empty cell."""

    cells: tuple[tuple[Label, ...], ...]
    rows: tuple[Label, ...] = ()
    columns: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        rows, columns = _rectangle(self.cells)
        _fits(self.rows or range(rows), rows, "row labels")
        _fits(self.columns or range(columns), columns, "column labels")


class Lines(_Data, frozen=True, tag="lines"):
    """Named series over x. A None in a series is a gap."""

    x: tuple[float, ...]
    series: dict[Label, tuple[Number, ...]]
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        _count(self.series, "series", "series", least=1)
        _count(self.x, "points", "values of x", least=1)
        _numbers([*self.x, *(value for values in self.series.values() for value in values)])
        for name, values in self.series.items():
            _fits(values, len(self.x), f"values in the series '{name}'")


class Span(_Data, frozen=True):
    """One piece of work. lane: the index of its lane."""

    lane: Index
    start: float
    length: float
    label: Label = ""


class Gantt(_Data, frozen=True, tag="gantt"):
    """Who does what when: a lane for each worker, a span for each piece of work."""

    lanes: Annotated[tuple[Label, ...], msgspec.Meta(min_length=1, max_length=64)]
    spans: tuple[Span, ...]

    def __post_init__(self) -> None:
        _count(self.spans, "spans", "spans")
        for span in self.spans:
            _numbers([span.start, span.length])
            if span.lane >= len(self.lanes) or span.length <= 0:
                raise ValueError("each span lies in one of the lanes and is longer than 0")


class Points(_Data, frozen=True, tag="points"):
    """Places in a plane, each in a group or in none."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    groups: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        _count(self.x, "points", "points")
        _fits(self.y, len(self.x), "values of y")
        _fits(self.groups or self.x, len(self.x), "groups")
        _numbers([*self.x, *self.y])


class Bars(_Data, frozen=True, tag="bars"):
    """A value for each name."""

    names: tuple[Label, ...]
    values: tuple[Number, ...]
    log: bool = False

    def __post_init__(self) -> None:
        _count(self.values, "bars", "bars", least=1)
        _fits(self.names, len(self.values), "names")
        _numbers(self.values)


Data = Heat | Grid | Lines | Gantt | Points | Bars


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture with its words."""

    title: Label
    axes: tuple[Label, Label]
    """Rows and columns of `heat` and `grid`; x and y; lanes and time; names and values."""
    data: Data
    caption: Sentence = ""
    note: Sentence = ""
    """What was binned or left out."""
    words: Sentence = ""
    """The text for those who do not see it, where the rule of its kind does not say enough."""


class Made(msgspec.Struct, frozen=True):
    """What became of a declared picture."""

    part: str
    driver: str
    picture: Picture | None = None
    problem: str = ""
    """Why there is none, in the words that a check would use; the first line says it."""
    seconds: float = 0.0
    """What the driver took, answer included."""


def sound(value: object) -> Number:
    """A number that can be drawn, else None: for NaN, infinities, what is no number, and what is absurdly large."""
    if isinstance(value, bool | int | float) and abs(value) <= LARGEST_NUMBER:  # false for NaN
        return float(value) + 0.0  # without the sign of a zero
    return None


def mean(values: Sequence[float]) -> float:
    """The average of some numbers."""
    return math.fsum(values) / len(values)


def bins(size: int, most: int) -> list[int]:
    """Where each of at most `most` bins of nearly equal length begins, and the end."""
    count = min(size, most)
    return [i * size // count for i in range(count + 1)] if count else [0]


def bin_of(at: int, size: int, count: int) -> int:
    """In which of `count` bins, as `bins` makes them, an index lies."""
    return ((at + 1) * count - 1) // size


def coarser(
    values: Sequence[Sequence[Number]],
    rows: int,
    columns: int,
    join: Callable[[Sequence[float]], float] = mean,
) -> list[list[Number]]:
    """The values in at most so many rows and columns. join: what becomes of those that share a bin.

    A bin that holds nothing but None is None.
    """
    high, wide = bins(len(values), rows), bins(len(values[0]) if values else 0, columns)
    out: list[list[Number]] = []
    for top, bottom in pairwise(high):
        row: list[Number] = []
        for left, right in pairwise(wide):
            inside = [v for line in values[top:bottom] for v in line[left:right] if v is not None]
            row.append(join(inside) if inside else None)
        out.append(row)
    return out


def _rectangle(rows: Sequence[Sequence[object]]) -> tuple[int, int]:
    """The number of rows and columns."""
    columns = len(rows[0]) if rows else 0
    if not columns or any(len(row) != columns for row in rows):
        raise ValueError("it takes one row or more, each with as many values as the others, and at least one")
    _count(range(len(rows) * columns), "cells", "cells")
    return len(rows), columns


def _numbers(values: Iterable[Number]) -> None:
    for value in values:
        if value is not None and not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"{value} is no number that can be drawn")


def _count(found: Sized, of: str, what: str, least: int = 0) -> None:
    if not least <= len(found) <= LARGEST[of]:
        raise ValueError(f"{len(found):,} {what}; from {least} to {LARGEST[of]:,} can be drawn")


def _fits(labels: Sized, size: int, what: str) -> None:
    if len(labels) != size:
        raise ValueError(f"{len(labels):,} {what} for {size:,}")
