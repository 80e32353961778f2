"""A drill as text: question, hint, verdict. Sixty columns are enough."""

from collections.abc import Iterator

from grader.drills.choose import A_DAY, Chosen, Lack
from grader.drills.shown import Shown, Told
from grader.views.wrap import wrapped

KEYS = "h hint  s skip  q quit"
_WHAT = 24
"""Columns of what was found; the right answer stands behind it."""


def question_lines(asked: Shown, place: int, of: int, columns: int) -> Iterator[str]:
    """A question of a drill. place: of it among the `of` that there are to ask, from 1."""
    return asked_lines(asked, f"{place} of {of} · {asked.exercise}", columns)


def asked_lines(asked: Shown, right: str, columns: int) -> Iterator[str]:
    """A question. right: what stands at the end of its first line."""
    yield f"{asked.topic}{right.rjust(max(columns - len(asked.topic), len(right) + 2))}"
    yield from bare_lines(asked, columns)


def bare_lines(asked: Shown, columns: int) -> Iterator[str]:
    """A question without its head line."""
    last = f"{asked.ask}  ({asked.note})"
    yield from wrapped(last, columns)
    for line in asked.listing:
        yield from _code(line, columns)
    for number, option in enumerate(asked.options, 1):
        yield from wrapped(option, columns, f"  {number}  ", "     ")


def hint_lines(text: str, number: int, columns: int) -> Iterator[str]:
    yield from wrapped(text, columns, f"  hint {number}: ", "          ")


def refusal_lines(why: str, columns: int) -> Iterator[str]:
    """Why an answer cannot be read: it is asked again."""
    yield from wrapped(why, columns)


def verdict_lines(found: Told, days: int | None, columns: int) -> Iterator[str]:
    """Whether it was right, the right answer and its why, and when it comes back."""
    what = f"{'✓' if found.right else '✗'} {what_was_found(found)}"
    answer = found.answer + (f" = {found.worked}" if found.worked else "")
    if "\n" in answer or len(what) > _WHAT or 2 + _WHAT + len(answer) > columns:
        yield from wrapped(what, columns)
        for line in answer.split("\n"):
            yield from wrapped(line, columns, "    ", "    ")
    else:
        yield f"  {what.ljust(_WHAT)}{answer}"
    yield from wrapped(found.why, columns)
    yield from wrapped(" · ".join([found.source, *([again(days)] if days is not None else [])]), columns)


def what_was_found(found: Told) -> str:
    """`right`, `wrong`, or the mistake that gives this answer."""
    return "right" if found.right else found.trap or "wrong"


def counts_said(chosen: Chosen) -> str:
    """How many there are to ask: `3 due, 5 new`."""
    more = [f"{chosen.new} new"] * bool(chosen.new) + [f"{chosen.early} not due yet"] * bool(chosen.early)
    return ", ".join([f"{chosen.due} due", *more])


def why_nothing(chosen: Chosen) -> str:
    """Why nothing is asked now: a sentence."""
    said: dict[Lack, str] = {
        "enough": f"Enough for today: {A_DAY} answers. Left for tomorrow: {chosen.to_ask}.",
        "held": f"Only {chosen.topic} is left, which was asked last.",
        "skipped": f"Nothing else is due: you skipped {chosen.skipped}.",
        "none": "Nothing is due.",
    }
    return said.get(chosen.lacks, "")


def again(days: int) -> str:
    return "again tomorrow" if days <= 1 else f"again in {days} days"


def _code(line: str, columns: int) -> Iterator[str]:
    """A line of code, with what does not fit below it, behind a mark."""
    room = columns - 4
    yield f"    {line[:room]}"
    for at in range(room, len(line), room - 2):
        yield f"    … {line[at : at + room - 2]}"
