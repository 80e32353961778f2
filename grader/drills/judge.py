"""Whether a typed answer is right, and if not, which known mistake it is."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from grader.drills.kinds import GAP, Blank, Bug, Number, Predict
from grader.drills.question import Variant
from grader.drills.same import close, points, same, same_expression
from grader.drills.units import read, unit_of
from grader.drills.value import LONGEST, Unread, value_of

_LETTERS = "abcdefghijkl"
_RETURN = r"\s*".join("return")


class Judged(msgspec.Struct, frozen=True):
    """What was found about one answer."""

    right: bool
    trap: str = ""
    """The name of the mistake that gives exactly this answer; "" if none does."""


def judged(variant: Variant, typed: str) -> Judged:
    """Judge what was typed. Raises Unread where it cannot be read or measures something else: it is asked again."""
    asked, answer = variant.asked, understood(variant, typed)
    if isinstance(asked, Number):
        return _number(asked, answer)
    if isinstance(asked, Blank):
        return _blank(asked, answer)
    if same(asked, answer, asked.answer):
        return Judged(True)
    return Judged(False, next((name for name, trap in asked.traps.items() if same(asked, answer, trap)), ""))


def understood(variant: Variant, typed: str) -> Any:
    """What was typed, as an answer of this kind: numbers in its unit, a line, a choice, an order, or the text itself.

    It does not depend on which answer is right. Raises Unread where it is none.
    """
    if not typed.strip():
        raise Unread("Write an answer, or skip the question.")
    asked = variant.asked
    if isinstance(asked, Number):
        return _readings(asked, typed)
    if isinstance(asked, Blank):
        return _short(typed)
    if isinstance(asked, Predict):
        return _short(typed, 400)
    if isinstance(asked, Bug):
        return asked.lines[_place(typed, len(asked.lines), "the number of a line")]
    if asked.kind == "choice":
        return variant.options[_place(typed, len(variant.options), "the number of a choice")]
    return [variant.options[place] for place in _places(typed, len(variant.options))]


def _readings(asked: Number, typed: str) -> list[float]:
    """What was typed, in the unit that is asked for. Where that is %, a bare 1/8 may be meant as a share."""
    number = read(typed, asked.unit)
    bare = asked.unit == "%" and number == read(typed)
    return [number, 100 * number] if bare else [number]


def is_name(variant: Variant, typed: str) -> bool:
    """Whether a letter that may be a key, as `q`, is an answer, right or wrong: a name in a gap."""
    asked = variant.asked
    return isinstance(asked, Blank) and typed.strip() in (asked.answer, *asked.traps.values())


def _number(asked: Number, readings: list[float]) -> Judged:
    for typed in readings:
        if close(typed, asked.answer, asked.tolerance):
            return Judged(True)
        for name, trap in asked.traps.items():
            if close(typed, trap, asked.tolerance):
                return Judged(False, name)
    return Judged(False, next(_slips(asked, readings[0]), ""))


def _slips(asked: Number, typed: float) -> Iterator[str]:
    """Mistakes that are made everywhere, by what they make of the answer."""
    answer, measures = asked.answer, unit_of(asked.unit).measures
    if measures in ("B", "B/s", "FLOP/B"):
        yield from (name for name, factor in _BITS if close(typed, answer * factor, asked.tolerance))
    if measures in ("B", "B/s"):
        for prefix, power in (("K", 1), ("M", 2), ("G", 3), ("T", 4)):
            for factor, typed_as, meant in ((1.024**power, "i", ""), (1.024**-power, "", "i")):
                if close(typed, answer * factor, min(asked.tolerance, 0.001)):
                    yield f"{prefix}{typed_as}B for {prefix}{meant}B"
    for power in (1, 2, 3):
        for factor in (1000.0**power, 1000.0**-power):
            if close(typed, answer * factor, asked.tolerance):
                yield f"{'×' if factor > 1 else '÷'} {1000**power:,}"
    if answer and close(typed, 1 / answer, asked.tolerance):
        yield "upside down: 1/x"
    if answer and close(typed, -answer, asked.tolerance):
        yield "the sign"


_BITS = (("bits for bytes", 8), ("bytes for bits", 1 / 8))


def _blank(asked: Blank, typed: str) -> Judged:
    names, typed = tuple(asked.given), _of_the_gap(asked.line, typed)
    if any(same_expression(typed, right, names) for right in (asked.answer, *asked.also)):
        return Judged(True)
    trap = next((name for name, wrong in asked.traps.items() if same_expression(typed, wrong, names)), "")
    if not trap:
        _need_expression(asked, typed)
    return Judged(False, trap)


def _of_the_gap(line: str, typed: str) -> str:
    """What stands in the gap, where somebody typed the whole line, with `return` or without."""
    before, _, after = line.partition(GAP)
    before, after = (r"\s*".join(map(re.escape, "".join(part.split()))) for part in (before, after.partition("#")[0]))
    found = re.fullmatch(f"{before.replace(_RETURN, f'(?:{_RETURN})?')}(.+){after}", typed) if before else None
    return found[1].strip() if found else typed


def _need_expression(asked: Blank, typed: str) -> None:
    """Raises Unread where arithmetic is asked for and something else was typed."""
    point = next(points(tuple(asked.given)))
    try:
        value_of(asked.answer, point)
    except Unread:
        return
    value_of(typed, point)


def _place(typed: str, most: int, what: str) -> int:
    """The place, from 0, that a number or a letter names."""
    word = _short(typed).lower().removeprefix("line ").strip("().")
    place = int(word) - 1 if re.fullmatch(r"[0-9]{1,3}", word) else _LETTERS.find(word) if len(word) == 1 else -1
    if not 0 <= place < most:
        raise Unread(f"Write {what}, from 1 to {most}.")
    return place


def _places(typed: str, n: int) -> list[int]:
    """A whole order, as `3 1 2`, `3,1,2` or `312`."""
    words = re.findall(r"[0-9]" if n < 10 else r"[0-9]+", _short(typed))
    if sorted(words, key=int) != [str(number) for number in range(1, n + 1)]:
        raise Unread(f"Write each number from 1 to {n} once, in your order, as {' '.join(map(str, range(n, 0, -1)))}.")
    return [int(word) - 1 for word in words]


def _short(typed: str, most: int = LONGEST) -> str:
    if len(typed) > most:
        raise Unread(f"This has {len(typed):,} characters; write at most {most}.")
    return typed.strip()
