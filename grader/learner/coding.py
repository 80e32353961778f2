"""Which part is written in an interview, and how it stands in the learner's own file."""

from collections.abc import Mapping
from random import Random

from grader.bank.catalog import Exercise, House, Part
from grader.bank.derived import stub_of
from grader.bank.source import STUB, definition, definitions, lines_of, read_source
from grader.base.errors import HouseError
from grader.learner.interview import drawn

_UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What reading a learner's file as Python may raise; a ValueError also where it is not UTF-8."""


def part_for(
    house: House, weights: Mapping[str, float], earned: Mapping[str, set[str]], seconds: float, seed: int
) -> tuple[Exercise, Part] | None:
    """The part to write: it is meant to take no longer than that, and what it builds on stands in the learner's file.

    It is drawn by the weights of its topics, of those that are not earned; where there is none, of those that are.
    weights: of topics, for the role and by weakness; a topic that the role is not asked about is missing.
    """
    fitting: dict[tuple[str, str], float] = {}
    for exercise in house.exercises.values():
        for part in exercise.parts:
            own = [weights[topic] for topic in part.topics if topic in weights]
            if own and part.minutes * 60 <= seconds:
                fitting[exercise.id, part.name] = sum(own) / len(own)
    order = drawn(fitting, Random(f"{seed}:part"))
    for id, name in sorted(order, key=lambda one: one[1] in earned.get(one[0], set())):
        exercise = house.exercises[id]
        if is_ready(exercise, exercise.part(name)):
            return exercise, exercise.part(name)
    return None


def is_ready(exercise: Exercise, part: Part) -> bool:
    """Whether all that a part builds on is written in the learner's file, and that file can be read."""
    try:
        text = read_source(exercise.attempt)
        there = definitions(text)
    except FileNotFoundError:  # it begins as the stub, in which nothing is written
        return not part.after
    except _UNREADABLE:
        return False
    needed = [name for before in exercise.before(part) for name in exercise.part(before).names]
    return all(name in there and not _stub_line(definition(text, name)) for name in needed)


def put_to_work(exercise: Exercise) -> None:
    """Write the stub where the learner's file is missing. What is there stays as it is. Raises HouseError."""
    try:
        with exercise.attempt.open("x", encoding="utf-8") as file:
            file.write(stub_of(exercise))
    except FileExistsError:
        return
    except OSError as error:
        raise HouseError(f"{exercise.attempt} cannot be written: {error.strerror}.") from None


def place_of(exercise: Exercise, part: Part) -> int:
    """The line at which a part is to be begun in the learner's file: of its stub, else of its head; 0 if unknown."""
    try:
        text = read_source(exercise.attempt)
        first = definitions(text)[part.names[0]][0]
        return first + max(_stub_line(definition(text, part.names[0])) - 1, 0)
    except (*_UNREADABLE, KeyError):
        return 0


def _stub_line(code: str) -> int:
    """The first line that raises as a stub does, from 1; 0 if there is none."""
    return next((number for number, line in enumerate(lines_of(code), 1) if line.strip() == STUB), 0)
