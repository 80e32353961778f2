"""What is wrong with one variant of a drill: how it is written, how it is read, and what its code prints."""

import contextlib
import io
import math
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from grader.audit.claims import wrong_claims
from grader.audit.mutated import TooLong, within
from grader.drills.judge import judged
from grader.drills.kinds import GAP, Blank, Bug, Choice, Kind, Number, OfCode, Order, Predict
from grader.drills.question import Variant
from grader.drills.same import points, same_output
from grader.drills.units import unit_of, written
from grader.drills.value import Unread, value_of

WORDS, _LINES, _COLUMNS, _OPTION = 60, 12, 80, 76
SECONDS = 1.0


def amiss(one: Variant) -> Iterator[str]:
    """What is wrong with a variant as it is shown."""
    asked = one.asked
    if one.fault:
        yield f"{one.fault}, after redrawing."
    if not asked.traps:
        yield "it has no trap: name at least one wrong answer."
    if len(asked.hints) != 2 or not all(asked.hints):
        yield "it has no two hints: the parts, then the formula."
    for name, text in (("ask", asked.ask), ("why", asked.why)):
        if not 1 <= len(text.split()) <= WORDS:
            yield f"`{name}` has {len(text.split())} words; 1 to {WORDS}."
    lines = asked.lines if isinstance(asked, OfCode) else [""]
    if len(lines) > _LINES or max(map(len, lines)) > _COLUMNS:
        yield f"the code has {len(lines)} lines of up to {max(map(len, lines))} columns; {_LINES} of {_COLUMNS}."
    if isinstance(asked, Predict) and len(asked.answer.strip().split("\n")) > _LINES:
        yield f"more than {_LINES} lines are printed."
    for text in (asked.why, *asked.hints, str(asked.answer)):
        yield from (f"a wrong claim; right is: {right}." for right in wrong_claims(text))
    yield from _OF_KIND[type(asked)](one, asked)


def _number(one: Variant, asked: Number) -> Iterator[str]:
    try:
        unit_of(asked.unit)
    except KeyError:
        yield f"there is no unit '{asked.unit}'."
        return
    values = [asked.answer, *asked.traps.values()]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        yield f"the answer and the traps are to be finite ints and floats, not {values}."
        return
    exactly = repr(asked.answer)
    for typed in (exactly, f"2 * {exactly} / 2", _with_unit(asked)):
        try:
            right = judged(one, typed).right
        except Unread as error:
            yield f"the answer, typed as `{typed}`, is not read: {error}"
        else:
            if not right:
                yield f"the answer, typed as `{typed}`, is not taken as right."


def _with_unit(asked: Number) -> str:
    return f"{asked.answer!r} {asked.unit}" if isinstance(asked.answer, float) else written(asked.answer, asked.unit)


def _choice(one: Variant, asked: Choice) -> Iterator[str]:
    if not 3 <= len(one.options) <= 5:
        yield f"it has {len(one.options)} choices; 3 to 5."
    yield from _options(one)


def _order(one: Variant, asked: Order) -> Iterator[str]:
    if not 3 <= len(set(asked.answer)) == len(asked.answer) <= 6:
        yield f"it has {len(asked.answer)} things to order; 3 to 6 different ones."
    for name, trap in asked.traps.items():
        if sorted(trap) != sorted(asked.answer):
            yield f"'{name}' is no order of the same things."
    yield from _options(one)


def _options(one: Variant) -> Iterator[str]:
    for option in one.options:
        if len(option) > _OPTION:
            yield f"'{textwrap.shorten(option, 40)}' has {len(option)} characters; at most {_OPTION}."


def _blank(one: Variant, asked: Blank) -> Iterator[str]:
    if asked.code.count(GAP) != 1:
        yield f"its code has {asked.code.count(GAP)} gaps {GAP}; one."
    if not asked.prints:
        try:
            for point in points(tuple(asked.given)):
                value_of(asked.answer, point)
        except Unread as error:
            yield f"its answer is no arithmetic of `given` ({error}): give `prints`, and the audit runs it."


def _predict(one: Variant, asked: Predict) -> Iterator[str]:
    return iter(())


def _bug(one: Variant, asked: Bug) -> Iterator[str]:
    lines = asked.lines
    for line in (asked.answer, *asked.traps.values()):
        if lines.count(line) != 1:
            yield f"its code has the line `{line.strip()}` {lines.count(line)} times, with that indentation; once."


_OF_KIND: dict[type[Kind], Any] = {
    Number: _number, Choice: _choice, Order: _order, Blank: _blank, Predict: _predict, Bug: _bug,
}  # fmt: skip


def runs(asked: Predict | Bug | Blank) -> Iterator[str]:
    """What the code prints, as it is shown or filled, against what is said of it."""
    if isinstance(asked, Predict):
        right, wrong = {asked.code: asked.answer}, []
    elif isinstance(asked, Bug):
        mended = [asked.mended if line == asked.answer else line for line in asked.code.split("\n")]
        right, wrong = {"\n".join(mended): asked.prints}, [asked.code]
    else:
        right = {asked.code.replace(GAP, text): asked.prints for text in (asked.answer, *asked.also)}
        wrong = [asked.code.replace(GAP, text) for text in asked.traps.values()]
    prints = next(iter(right.values()))
    for code, wanted in right.items():
        if not same_output(printed(code), wanted):
            yield f"the code prints {printed(code)!r}, not {wanted!r}."
    for code in wrong:
        if same_output(printed(code), prints):
            yield f"what should be wrong prints {prints!r} too."


@lru_cache(maxsize=4096)
def printed(code: str) -> str:
    """What a piece of code prints; how it fails, if it does."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), within(SECONDS):
            exec(compile(code, "<drill>", "exec"), {"__name__": "drill"})
    except (Exception, TooLong) as error:
        return f"{out.getvalue()}{type(error).__name__}: {error}"
    return out.getvalue()
