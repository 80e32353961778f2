"""The six kinds of questions. An author writes these; `docs/drills.md` has an example of each.

What all have: `ask`, what is asked; `why`, read once it was answered; `hints`, two of them: the parts of the answer,
then its formula; `given`, the drawn values that `second` is called with; `traps`, wrong answers by the name of the
mistake.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec

EXACT = 1e-9
"""The tolerance, relative, of what is to be exact: the rounding of what was typed as a calculation."""
ROUGH = 0.01
GAP = "____"
"""Marks the place in a Blank's code that is asked for."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What every kind has."""

    kind: ClassVar[str] = ""
    ask: str
    why: str
    hints: tuple[str, str]
    given: Mapping[str, Any] = {}


class Number(Asked, frozen=True, kw_only=True):
    """A number, with a unit or without. An answer that is an int is asked for exactly, a float to 1 %."""

    kind: ClassVar[str] = "number"
    answer: float
    traps: Mapping[str, float]
    unit: str = ""
    """One of `grader.drills.units`, or a word for what is counted: `tokens`."""
    within: float | None = None
    """The relative tolerance, where it is not the usual one."""

    @property
    def tolerance(self) -> float:
        if self.within is not None:
            return self.within
        return EXACT if isinstance(self.answer, int) else ROUGH


class Choice(Asked, frozen=True, kw_only=True):
    """One of three to five, shuffled; only where a table or a run decides which is right."""

    kind: ClassVar[str] = "choice"
    answer: str
    traps: Mapping[str, str]


class Order(Asked, frozen=True, kw_only=True):
    """Things to be put in order; they are shown shuffled, with numbers."""

    kind: ClassVar[str] = "order"
    answer: Sequence[str]
    traps: Mapping[str, Sequence[str]]


class OfCode(Asked, frozen=True, kw_only=True):
    """What every kind has that shows code, or a formula."""

    code: str

    @property
    def lines(self) -> list[str]:
        return self.code.strip("\n").split("\n")


class Blank(OfCode, frozen=True, kw_only=True):
    """A gap `____` in code or in a formula.

    Where the answer is arithmetic of the names in `given`, whatever has the same value for all their values is right.
    Else it is compared as text, without regard to spaces and quotes, with `answer` and `also`.
    """

    kind: ClassVar[str] = "blank"
    answer: str
    traps: Mapping[str, str]
    also: Sequence[str] = ()
    prints: str = ""
    """What the code prints once the gap is filled; needed where the answer is no arithmetic, and the audit runs it."""

    @property
    def line(self) -> str:
        """The one with the gap."""
        return next(line for line in self.lines if GAP in line)


class Predict(OfCode, frozen=True, kw_only=True):
    """What a piece of code prints: the audit runs it."""

    kind: ClassVar[str] = "predict"
    answer: str
    traps: Mapping[str, str]


class Bug(OfCode, frozen=True, kw_only=True):
    """The one wrong line of a piece of code. The audit runs it as it is, and with the line mended.

    `ask` says what it should print; the mended code prints `prints`, the code as it is does not.
    """

    kind: ClassVar[str] = "bug"
    answer: str
    """The wrong line, as it stands in the code."""
    mended: str
    prints: str
    traps: Mapping[str, str]
    """Lines that look wrong and are right."""


Kind: TypeAlias = Number | Choice | Order | Blank | Predict | Bug
