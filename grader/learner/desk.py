"""What a learner's commands do, without the talk: what is next, hints, the reference, the stub again, what is kept."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from grader.bank.catalog import Exercise, House, Part
from grader.bank.derived import stub_of
from grader.bank.source import BEGIN, END, LARGEST_SOURCE, definition, definitions, read_source, replace_definition
from grader.bank.tracks import needs, study_order
from grader.base.errors import HouseError
from grader.base.files import read_file, write_file
from grader.learner.examples import done_parts
from grader.records.progress import Progress, ProgressError, source_of
from grader.verdicts.result import Result
from grader.verdicts.verdict import QUIET, Verdict

Earned = Mapping[str, set[str]]
"""Exercise id to the names of the parts that are earned."""


class Hint(msgspec.Struct, frozen=True):
    """One of the hints for a part."""

    part: str
    number: int
    """From 1."""
    of: int
    text: str


class Next(msgspec.Struct, frozen=True):
    """What to do next."""

    exercise: Exercise
    part: Part
    begun: bool
    """Whether anything of the exercise was tried before."""
    said: str
    """How its last run ended: `wrong, 4 of 8 checks pass`; empty where it was not run."""


def following(house: House, earned: Earned, worked_on: Mapping[str, str]) -> Next | None:
    """The first part not earned of what was worked on last; else of the first exercise along the tracks.

    worked_on: exercise to the time of its last attempt.
    """
    latest = sorted(worked_on, key=lambda id: worked_on[id], reverse=True)
    begun = [house.exercises[id] for id in latest if id in house.exercises]
    fresh = [one for one in study_order(house) if one not in begun]
    for exercise in (*begun, *fresh):
        part = next((one for one in exercise.parts if one.name not in earned.get(exercise.id, set())), None)
        if part:
            return Next(exercise, part, exercise in begun, _last_said(house, exercise, part))
    return None


def _last_said(house: House, exercise: Exercise, part: Part) -> str:
    try:
        result = Progress(house.root).last_result(exercise.id)
    except ProgressError:  # said where what is earned was asked for
        return ""
    told = next((one for one in result.parts if one.name == part.name), None) if result else None
    if told is None or told.verdict is Verdict.NOT_RUN:
        return ""
    return str(told.verdict) if told.verdict in QUIET else told.said


def next_hint(house: House, exercise: Exercise, name: str | None) -> Hint:
    """The hint after the last one seen; it counts as seen. name: of the part; None for the first one not earned."""
    progress = Progress(house.root)
    known = done_parts(house).get(exercise.id, set())
    open_parts = [one for one in exercise.parts if one.name not in known]
    if not name and not open_parts:
        done = "You have earned every part" if house.is_whole else "The examples pass of every part"
        raise HouseError(f"{done} of {exercise.id}. Name a part to see its hints all the same.")
    part = exercise.part(name) if name else open_parts[0]
    if not part.hints:
        raise HouseError(f"{exercise.id} has no hints for {part.name}.")
    seen = progress.events(exercise.id, "hint", part.name)
    step = min(seen, len(part.hints) - 1)
    if seen < len(part.hints):
        progress.note(exercise.id, "hint", part=part.name)
    return Hint(part.name, step + 1, len(part.hints), part.hints[step])


def not_earned(house: House, exercise: Exercise, name: str | None) -> list[str]:
    """Of a part, or of all parts, those that are not earned."""
    earned = Progress(house.root).earned().get(exercise.id, set())
    chosen = [exercise.part(name)] if name else list(exercise.parts)
    return [part.name for part in chosen if part.name not in earned]


def give_up(house: House, exercise: Exercise, names: list[str]) -> None:
    """Keep that the reference of these parts was looked at before they were earned."""
    for name in names:
        Progress(house.root).note(exercise.id, "give up", part=name)


def reference_text(exercise: Exercise, name: str | None) -> str:
    """The solution without its markers; or what belongs to one part of it."""
    text = read_source(exercise.solution)
    if name:
        spans, lines = definitions(text), text.splitlines()
        own = [spans[one] for one in exercise.part(name).names]
        text = "\n\n\n".join("\n".join(lines[first - 1 : last]) for first, last in own)
    return "\n".join(line for line in text.splitlines() if line.strip() not in (BEGIN, END))


def is_stub(exercise: Exercise) -> bool:
    """Whether the learner's file stands as it was handed out."""
    try:
        return read_file(exercise.attempt, LARGEST_SOURCE, links=True) == stub_of(exercise).encode()
    except OSError:
        return False


def reset(house: House, exercise: Exercise) -> bool:
    """Put the stub back; whether there was an attempt to keep. Where it cannot be kept, nothing is overwritten."""
    fresh, there = stub_of(exercise), os.path.lexists(exercise.attempt)  # a link that leads nowhere is there
    if there:
        keep_attempt(house, exercise, "reset")
    exercise.attempt.parent.mkdir(exist_ok=True)  # a new exercise that `grader update` has not brought yet
    write_file(exercise.attempt, fresh)
    return there


def reset_part(house: House, exercise: Exercise, part: Part) -> None:
    """Put the stub of one part back; the rest of the attempt stays, and all of it is kept. Raises HouseError."""
    keep_attempt(house, exercise, "reset")
    text, stub = read_source(exercise.attempt), stub_of(exercise)
    try:
        for name in part.names:
            text = replace_definition(text, name, definition(stub, name))
    except (SyntaxError, KeyError, ValueError, RecursionError, MemoryError):
        shown = exercise.attempt.relative_to(house.root)
        raise HouseError(
            f"{part.name} cannot be found in {shown}, which is not valid Python or lacks it. The whole file: "
            f"grader reset {exercise.number}"
        ) from None
    write_file(exercise.attempt, text)


def keep_attempt(house: House, exercise: Exercise, why: str) -> None:
    """Keep a copy of a learner's file before it is overwritten. Raises HouseError: then nothing may be overwritten."""
    shown = exercise.attempt.relative_to(house.root)
    try:
        text = read_source(exercise.attempt)
    except UnicodeDecodeError:
        raise HouseError(f"{shown} is not UTF-8 text, and cannot be kept: move it away first.") from None
    except OSError as error:
        why_not = "is a folder" if exercise.attempt.is_dir() else f"cannot be read ({error.strerror or error})"
        raise HouseError(f"{shown} {why_not}, and cannot be kept: move it away first.") from None
    try:
        Progress(house.root).note(exercise.id, why, text=text)
    except ProgressError as error:
        raise HouseError(f"{shown} was left as it is, since it cannot be kept. {error}") from None


def record(house: House, exercise: Exercise, result: Result, door: str, text: str | None = None) -> tuple[str, ...]:
    """Keep a result with the text that was judged; the parts that it is first to earn. Raises ProgressError.

    text: what was judged; without it the learner's file, if that still is what was judged.
    """
    kept = source_of(exercise.attempt, result.source) if text is None else text
    return Progress(house.root).record(result, kept, door=door)


def attempt_text(house: House, exercise: Exercise, number: int) -> str:
    """The learner's file as it was at an attempt, counted from 1. Raises HouseError."""
    progress = Progress(house.root)
    kept = progress.history(exercise.id)
    if not kept:
        raise HouseError(f"{exercise.id} has no attempt yet.")
    if not 1 <= number <= len(kept):
        raise HouseError(f"{exercise.id} has attempts 1 to {len(kept)}; there is no {number}.")
    text = progress.source(kept[number - 1].source)
    if text is None:
        raise HouseError(f"the source of attempt {number} was not kept: it is no UTF-8 text, or changed meanwhile.")
    return text


def listed(house: House, exercise: Exercise, earned: Earned) -> dict[str, Any]:
    """An exercise as `grader list --json` prints it."""
    task = house.task(exercise)
    mine = earned.get(exercise.id, set())
    return {
        "id": exercise.id,
        "title": exercise.title,
        "summary": exercise.summary,
        "priority": task.priority if task else None,
        "difficulty": task.difficulty if task else None,
        "minutes": exercise.minutes,
        "needs": [one.id for one in needs(house, exercise)],
        "points": exercise.points,
        "earned": sum(part.points for part in exercise.parts if part.name in mine),
        "parts": [{"name": p.name, "points": p.points, "earned": p.name in mine} for p in exercise.parts],
    }
