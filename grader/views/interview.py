"""An interview as text: how it goes, and its report. Sixty columns are enough."""

import textwrap
from collections.abc import Iterator
from datetime import datetime

from grader.bank.catalog import House
from grader.drills.schedule import USUAL_SECONDS
from grader.records.interviews import Asked, Coding, Interview, Outcome
from grader.verdicts.verdict import Verdict
from grader.views.drill import what_was_found
from grader.views.render import Line, mark_of, message_lines, style_of, with_command
from grader.views.wrap import wrapped

ENDS = {
    "": "goes on",
    "finished": "finished",
    "left": "left before its end",
    "broken off": "broken off: its window or server was closed",
}
_UNANSWERED: dict[Outcome, str] = {"passed": "passed over", "late": "out of time"}


def rules(interview: Interview) -> str:
    """How an interview goes, for who is about to begin it."""
    most = int(interview.for_questions // USUAL_SECONDS[1])
    return (
        f"First up to {most} questions, {minutes_said(interview.for_questions)} in all. Then one part of an exercise, "
        f"which you write in your own file, in {minutes_said(interview.for_coding)}. There are no hints. The verdicts "
        "come at the end. Leaving ends it."
    )


def clock(seconds: float) -> str:
    """`7:30` of 450 s."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def minutes_said(seconds: float) -> str:
    """`20 minutes`, or `22:30 minutes`."""
    return f"{f'{seconds / 60:.0f}' if seconds % 60 == 0 else clock(seconds)} minutes"


def begun(interview: Interview) -> str:
    """When it was, in the time of this machine."""
    return datetime.fromisoformat(interview.begun).astimezone().strftime("%Y-%m-%d %H:%M")


def role_title(house: House, interview: Interview) -> str:
    return next((one.title for one in house.coverage.role if one.id == interview.role), interview.role)


def item_title(house: House, number: str) -> str:
    return next((one.title for one in house.coverage.item if one.number == number), number)


def coding_title(house: House, coding: Coding) -> str:
    """`prefill of dl_011 · KV cache`."""
    exercise = house.exercises.get(coding.exercise)
    return f"{coding.part} of {f'{exercise.label} · {exercise.title}' if exercise else coding.exercise}"


def coding_said(coding: Coding) -> str:
    """What became of the part, in a few words."""
    if coding.verdict:
        return f"{coding.verdict}, {coding.tally}" if coding.tally else coding.verdict
    return "not judged" if coding.is_handed_in else "not handed in"


def coding_used(coding: Coding) -> str:
    """The time of the part: `in 12:05 of 20:00`; what was used is not known where it broke off."""
    return f"{f'in {clock(coding.seconds)} of' if coding.seconds else 'with'} {clock(coding.allowed)}"


def questions_said(interview: Interview) -> str:
    """How the questions went, in a sentence or two."""
    if not interview.asked:
        return "No question was answered."
    used = sum(one.seconds for one in interview.asked)
    said = f"{interview.right} of {len(interview.asked)} right, in {clock(used)} of {clock(interview.for_questions)}."
    rest = [
        f"{number} {words}"
        for outcome, words in _UNANSWERED.items()
        if (number := sum(one.outcome == outcome for one in interview.asked))
    ]
    return f"{said} {', '.join(rest)}." if rest else said


def given(one: Asked) -> str:
    """What was answered."""
    return _UNANSWERED.get(one.outcome, one.typed)


def outcome_said(one: Asked) -> str:
    """What became of a question: `right`, the mistake, or that nothing was answered."""
    return _UNANSWERED.get(one.outcome) or what_was_found(one.told)


def right_answer(one: Asked) -> str:
    return one.told.answer + (f" = {one.told.worked}" if one.told.worked else "")


def report_lines(house: House, number: int, interview: Interview, columns: int) -> Iterator[Line]:
    """The report of an interview, which goes by a number."""
    title = f"Interview {number} · {role_title(house, interview)} · {begun(interview)}"
    yield from _prose(title, columns, 0, {"bold": True})
    ended = "" if interview.ended == "finished" else f", {ENDS[interview.ended]}"
    yield from _prose(f"{interview.minutes} minutes{ended}", columns, 0)
    yield from _head("Questions")
    yield from _prose(questions_said(interview), columns)
    for item, (right, of) in interview.by_item.items():
        said = f"{right} of {of}"
        room = columns - 4 - len(said)
        title = item_title(house, item)
        yield Line(f"  {textwrap.shorten(title, room, placeholder=' …'):<{room}}  {said}")
    yield from _wrong_lines(interview, columns)
    yield from _coding_lines(house, interview, columns)
    yield from _reading_lines(interview, columns)
    if interview.not_asked:
        yield from _head("Not asked")
        yield from _prose("; ".join(interview.not_asked), columns)


def _wrong_lines(interview: Interview, columns: int) -> Iterator[Line]:
    """What was not right: first the known mistakes by their names, with why; of the others the right answer."""
    missed = [one for one in interview.asked if not one.right]
    trapped = [one for one in missed if one.told.trap]
    if trapped:
        yield from _head("Traps")
        for one in trapped:
            yield from _prose(f"✗ {one.told.trap}", columns, markup={"red": True})
            yield from _prose(f"{one.shown.topic}: {given(one)}; right is {right_answer(one)}", columns, 4)
            yield from _prose(one.told.why, columns, 4)
    others = [one for one in missed if not one.told.trap]
    if others:
        yield from _head("Not right" if not trapped else "Not right either")
        for one in others:
            yield from _prose(f"{one.shown.topic}: {given(one)}; right is {right_answer(one)}", columns)


def _coding_lines(house: House, interview: Interview, columns: int) -> Iterator[Line]:
    coding = interview.coding
    if coding is None and not interview.no_coding:
        return
    yield from _head("The part")
    if coding is None:
        yield from _prose(interview.no_coding, columns)
        return
    yield from _prose(f"{coding_title(house, coding)}, {coding_used(coding)}", columns)
    yield from _prose(f"{mark_of(coding.verdict)} {coding_said(coding)}", columns, markup=style_of(coding.verdict))
    yield from _prose(coding.property, columns, 4)
    yield from map(Line, message_lines(coding.message, columns, 4))
    yield from _prose(coding.problem, columns, 4)
    exercise = house.exercises.get(coding.exercise)
    if exercise and coding.verdict != Verdict.PASSED:
        again = with_command("again:", f"grader check {exercise.number} {coding.part}", columns, 4)
        yield from (Line(line, {"light": True}) for line in again)


def _reading_lines(interview: Interview, columns: int) -> Iterator[Line]:
    if interview.reading:
        yield from _head("To read")
    for number, one in enumerate(interview.reading, 1):
        yield from map(Line, wrapped(one.about, columns, f"  {number}  ", "     "))
        yield from _prose(one.place, columns, 5)
        yield from _prose(one.asks, columns, 5)
        yield from _prose(one.source, columns, 5)


def _head(title: str) -> Iterator[Line]:
    yield Line("")
    yield Line(title, {"bold": True})


def _prose(text: str, columns: int, indent: int = 2, markup: dict[str, bool] | None = None) -> Iterator[Line]:
    space = " " * indent
    return (Line(line, markup or {}) for line in wrapped(" ".join(text.split()), columns, space, space))
