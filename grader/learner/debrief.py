"""What stands at the end of an interview beside its verdicts: where to read on, and what was not asked."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from msgspec.structs import replace

from grader.bank.catalog import Exercise, House
from grader.bank.questions import read_questions
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.drills.heads import heads
from grader.drills.load import question_of
from grader.learner.interview import not_asked, to_read_on
from grader.records.interviews import End, Interview, Interviews, Reading
from grader.verdicts.verdict import Verdict
from grader.views.interview_page import page

MOST_READ = 3
_TRIPS, _ANSWERS = "Where people trip", "Questions this answers"
"""Of headings of a statement, how they begin."""


def debriefed(house: House, interview: Interview, how: End) -> Interview:
    """The interview, ended."""
    items = {one.item for one in interview.asked}
    left = not_asked(house.coverage, interview.role, items)
    return replace(interview, ended=how, reading=_three(house, interview), not_asked=left)


def reported(house: House, number: int) -> Interview | None:
    """The interview of that number, for its report; None where there is none. Raises HouseError, ProgressError."""
    kept = Interviews(house.root).interviews()
    if number not in kept:
        return None
    one = kept[number]
    if one is None:
        raise HouseError(f"Interview {number} was kept by a newer grader: update this one.")
    if not one.ended:
        raise HouseError(f"Interview {number} goes on. Its report comes at its end.")
    return one


def write_page(house: House, number: int, interview: Interview) -> Path:
    """Write the report as a page to keep; where it lies. Raises HouseError."""
    path = house.root / ".grader" / "interviews" / f"{number}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HouseError(f"{path.parent} cannot be made: {error.strerror}.") from None
    write_file(path, page(house, number, interview))
    return path


def _three(house: House, interview: Interview) -> tuple[Reading, ...]:
    """Where to read: the part and what was not known, each statement once before any again; then what was not asked."""
    missed = list(_missed(house, interview))
    first = {one.path: one for one in reversed(missed)}
    missed.sort(key=lambda one: first[one.path] is not one)
    found: dict[str, Reading] = {}
    for one in chain(missed, _rest(house, interview)):
        found.setdefault(one.about, one)
        if len(found) == MOST_READ:
            break
    return tuple(found.values())


def _missed(house: House, interview: Interview) -> Iterator[Reading]:
    """The most urgent first."""
    coding = interview.coding
    if coding and coding.verdict != Verdict.PASSED and coding.exercise in house.exercises:
        yield _reading(house, house.exercises[coding.exercise], coding.part, _TRIPS)
    weights = {item.number: item.weights[interview.role] for item in house.coverage.asked_of(interview.role)}
    questions = {one.shown.topic: one.shown.id for one in interview.asked if not one.right}
    for topic in to_read_on(interview, weights):
        yield from _of_question(house, topic, questions[topic])


def _rest(house: House, interview: Interview) -> Iterator[Reading]:
    asked = {one.shown.topic for one in interview.asked}
    weights = house.coverage.topic_weights(interview.role)
    try:
        there = heads(house)
    except HouseError:  # said where drills are asked; the report comes all the same
        return
    left = [one for one in there.values() if one.topic in weights and one.topic not in asked]
    for one in sorted(left, key=lambda one: -weights[one.topic]):
        yield from _of_question(house, one.topic, one.id)


def _of_question(house: House, topic: str, id: str) -> Iterator[Reading]:
    """Where the statement of its exercise answers the question, or warns of what it is about."""
    try:
        question = question_of(house, id)
        exercise = house.find(question.exercise)
        own = [
            int(place) for label, _, place in (one.partition("/") for one in question.readme) if label == exercise.label
        ]
        asks = read_questions(exercise)[own[0] - 1] if own else None
    except (HouseError, IndexError, ValueError):
        return
    title = house.coverage.topics[topic].title if topic in house.coverage.topics else topic
    yield _reading(house, exercise, title, _ANSWERS if asks else _TRIPS, asks.asks if asks else "", question.source)


def _reading(house: House, exercise: Exercise, about: str, section: str, asks: str = "", source: str = "") -> Reading:
    path = exercise.own_statement.relative_to(house.root).as_posix()
    return Reading(about, path, _heading(exercise, section), asks, source)


def _heading(exercise: Exercise, begins: str) -> str:
    """The heading of a statement that begins so; else its first one, or ""."""
    try:
        text = read_source(exercise.statement)
    except (OSError, UnicodeDecodeError):
        return ""
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    return next((one for one in headings if one.startswith(begins)), next(iter(headings), ""))
