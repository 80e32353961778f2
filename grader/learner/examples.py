"""What a student edition can count: it has no hidden checks, so a part counts there once its visible examples pass."""

from collections.abc import Collection, Mapping

from grader.bank.catalog import Exercise, House
from grader.bank.examples import examples_of
from grader.records.progress import EXAMPLES, Progress


def counted(house: House) -> Mapping[str, set[str]]:
    """Exercise id to the parts that count: those earned; in a student edition those whose examples passed.

    Raises ProgressError.
    """
    progress = Progress(house.root)
    return progress.earned() if house.is_whole else progress.with_examples()


def count_passed(house: House, exercise: Exercise, passed: Collection[str]) -> None:
    """Keep which parts have all their examples among those that passed. Raises ProgressError."""
    text = exercise.attempt.with_name("test_examples.py").read_text(encoding="utf-8")
    known = counted(house).get(exercise.id, set())
    for part in exercise.parts:
        own = examples_of(text, exercise, part)
        if own and set(own) <= set(passed) and part.name not in known:
            Progress(house.root).note(exercise.id, EXAMPLES, part=part.name)


def said_of(house: House, exercise: Exercise) -> str:
    """How many parts of an exercise count in a student edition, in a line. Raises ProgressError."""
    passed = len(counted(house).get(exercise.id, set()))
    return f"{exercise.id} · {exercise.title}: the examples of {passed} of {len(exercise.parts)} parts pass"
