"""What a learner sees of a question, and of the verdict: one source for the terminal and the page."""

import re
from typing import Any

import msgspec

from grader.drills.judge import Judged, understood
from grader.drills.kinds import EXACT, GAP, Blank, Bug, Kind, Number, OfCode, Order, Predict
from grader.drills.question import Variant
from grader.drills.units import written

_NAME = re.compile(r"[A-Za-z]\w*", re.A)
_OF_SEVERAL = re.compile(r"\bor\b|;")
_NOTES = {
    "choice": "the number of a choice",
    "order": "all numbers, in your order",
    "blank": "what stands in the gap",
    "predict": "the output, on one line",
    "bug": "the number of the line",
}


class Shown(msgspec.Struct, frozen=True):
    """A question before it is answered: nothing here tells the answer."""

    id: str
    seed: int
    topic: str
    exercise: str
    """Its label, as `dl_011`."""
    kind: str
    ask: str
    note: str
    """What is to be typed: `exact, in B`."""
    code: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def listing(self) -> tuple[str, ...]:
        """Its code as text shows it: with numbers, where the answer is the number of a line."""
        if self.kind != "bug":
            return self.code
        return tuple(f"{number:>2}  {line}" for number, line in enumerate(self.code, 1))


class Told(msgspec.Struct, frozen=True):
    """What is said once it was answered."""

    right: bool
    trap: str
    """The mistake that gives what was typed, or ""."""
    answer: str
    """The right answer, in full; of several lines where it has several."""
    worked: str
    """Its formula with the numbers put in, or ""."""
    why: str
    source: str


def shown(one: Variant) -> Shown:
    """A variant as it is asked."""
    card, asked = one.question, one.asked
    code = tuple(asked.lines) if isinstance(asked, OfCode) else ()
    kind = type(asked).kind
    return Shown(card.id, one.seed, card.topic, card.exercise, kind, asked.ask, _note(asked), code, one.options)


def read_back(one: Variant, typed: str) -> str:
    """What an answer that is being typed is understood as: a number in its unit, the line with the gap filled.

    Nothing of the verdict; empty for an output, which is taken as it stands. Raises Unread.
    """
    asked, answer = one.asked, understood(one, typed)
    if isinstance(asked, Number):
        likely = answer if abs(answer[0]) <= 1 else answer[:1]  # nobody means 12.5 as a share
        return " or ".join(written(reading, asked.unit) for reading in likely)
    if isinstance(asked, Blank):
        return asked.line.strip().replace(GAP, answer)
    if isinstance(asked, Order):
        return "; ".join(answer)
    return "" if isinstance(asked, Predict) else str(answer).strip()


def told(one: Variant, judged: Judged) -> Told:
    """A verdict with what belongs to it."""
    asked = one.asked
    return Told(judged.right, judged.trap, _in_full(one, asked.answer), _worked(asked), asked.why, one.question.source)


def mistakes(one: Variant) -> dict[str, str]:
    """Each known mistake by its name, to the answer that it gives."""
    return {name: _in_full(one, wrong) for name, wrong in one.asked.traps.items()}


def _note(asked: Kind) -> str:
    if not isinstance(asked, Number):
        return _NOTES[type(asked).kind]
    how = "exact" if asked.tolerance == EXACT else f"to {100 * asked.tolerance:g} %"
    return f"{how}, in {asked.unit}" if asked.unit and asked.unit != "x" else how


def _in_full(one: Variant, answer: Any) -> str:
    """The right answer, or a wrong one, in the form in which it is typed; with what it stands for."""
    asked = one.asked
    if isinstance(asked, Number):
        return written(answer, asked.unit)
    if isinstance(asked, Order):
        numbers = " ".join(str(one.options.index(item) + 1) for item in answer)
        return f"{numbers}: {'; '.join(answer)}"
    if isinstance(asked, Bug):
        line = asked.lines.index(answer) + 1
        return f"line {line}, {asked.mended.strip()}" if answer == asked.answer else f"line {line}"
    if isinstance(asked, Blank | Predict):
        return str(answer).strip()
    return f"{one.options.index(str(answer)) + 1}: {answer}"


def _worked(asked: Kind) -> str:
    """The formula with the numbers put in, where it has names of what is given."""
    if not isinstance(asked, Number):
        return ""
    given = {name: value for name, value in asked.given.items() if isinstance(value, int | float)}
    formula = asked.hints[1]
    if _OF_SEVERAL.search(formula):  # which one it is, the numbers do not show
        return ""
    worked = _NAME.sub(lambda name: _put_in(given[name[0]]) if name[0] in given else name[0], formula)
    return worked if worked != formula else ""


def _put_in(value: float) -> str:
    number = f"{value}" if isinstance(value, int) else f"{value:g}"
    return f"({number})" if value < 0 else number
