"""Judge your own attempts from a program, and follow the progress."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from types import MappingProxyType

from grader.bank.catalog import Exercise, House
from grader.engine.batch import Engine, OnCheck, Wish
from grader.submissions.find import read_submission
from grader.verdicts.result import Result

Tick = Callable[[Exercise, int, int], None]
"""Called with an exercise, its checks that are done, and all of them."""


def graded(
    house: House,
    exercises: Sequence[Exercise],
    keep: Callable[[Exercise, Result], None],
    *,
    parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    seed: int = 0,
    tick: Tick = lambda exercise, done, total: None,
) -> None:
    """Judge your own attempts in the engine, like those of a class. Records nothing. Raises RunError.

    parts: of an exercise, by its id, those to judge; all where none is named. keep: gets each result as it comes. tick:
    follows the progress.
    """
    with Engine(exercises) as engine:
        for exercise in exercises:
            own = read_submission("", exercise, exercise.attempt.parent)
            engine.judge(
                house,
                exercise,
                [own],
                seed_of=lambda _: seed,
                jobs=1,
                keep=partial(keep, exercise),
                on_check=_counting(partial(tick, exercise)),
                wish=Wish(only=parts.get(exercise.id, ())),
            )


def _counting(follow: Callable[[int, int], None]) -> OnCheck:
    done = count(1)
    return lambda check, total: follow(next(done), total)
