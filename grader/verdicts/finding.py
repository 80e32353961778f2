"""What a check found, as data: what a picture, a report or a program needs, so that none reads sentences."""

from typing import Literal

import msgspec

Kind = Literal["values", "shape", "dtype", "form", "cost", "refusal", "unread"]
LARGEST_MAP = 4096
"""Cells of the largest map of where values differ."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer is wrong. Fields that a kind does not have keep their defaults."""

    kind: Kind
    """`values` differ; another `shape` or `dtype`; another `form`, as a list for a tensor; a `cost` over its limit; a
    `refusal` that did not come; an answer that the check could not read (`unread`).
    """
    of: str = ""
    """What was computed, with its sizes."""
    entry: str = ""
    """Where in a list or dict of values, as `['a'][1]`; empty for the whole."""
    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    """Of the expected value."""
    wrong: int = 0
    """How many elements differ."""
    total: int = 0
    worst: tuple[int, ...] = ()
    """The index of the element that is furthest off, one number an axis."""
    expected: str = ""
    """There, as the message prints it; for a cost the limit."""
    got: str = ""
    along: dict[str, tuple[int, ...]] = {}
    """Axis to the lengths of the pieces that it was built from."""
    levels: str = ""
    """A digit for each cell of a map of the elements, last axis fastest: 0 right, else the power of ten by which the
    error exceeds what is allowed, from 1 to 9; 9 also for NaN and infinity. Of cells that share a bin the worst.
    """
    cells: tuple[int, ...] = ()
    """The sizes of that map, one an axis; their product is at most `LARGEST_MAP`."""
    mistake: str = ""
    """The known mistake that gives exactly this."""
