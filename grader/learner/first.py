"""What to judge first for somebody who waits: what they work on, then what failed, then the rest."""

from collections.abc import Collection, Sequence

from grader.bank.catalog import Exercise
from grader.bank.source import definition


def first_parts(exercise: Exercise, at: Sequence[str], failed: Collection[str]) -> tuple[str, ...]:
    """Names of parts in the order to judge them, before all that are not named.

    at: the parts that are worked on. failed: those that failed last. What a part builds on comes before it where that
    failed, since a part is judged beside the reference's only once its predecessor has failed.
    """
    order: dict[str, None] = {}
    for name in (*at, *(part.name for part in exercise.parts if part.name in failed)):
        for before in exercise.before(exercise.part(name)):
            if before in failed:
                order[before] = None
        order[name] = None
    return tuple(order)


def changed_parts(exercise: Exercise, before: str, text: str) -> list[str]:
    """The parts whose code differs between two texts; none where one of them is not valid Python."""
    try:
        return [
            part.name for part in exercise.parts if any(_code(before, name) != _code(text, name) for name in part.names)
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _code(text: str, name: str) -> str:
    try:
        return definition(text, name)
    except KeyError:
        return ""
