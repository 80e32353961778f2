"""Judge one's own attempts from a program, and follow how far it is."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from grader.catalog import Exercise, House
from grader.result import Result

Tick = Callable[[int, int], None]
"""Called with the checks done, and all of them."""


class RunError(Exception):
    """pytest itself could not do its work; the message is all that it printed. An author's problem, not a learner's."""


def graded(
    house: House,
    exercises: Sequence[Exercise],
    keep: Callable[[Exercise, Result], None],
    *,
    seed: int = 0,
    tick: Callable[[Exercise], Tick | None] = lambda exercise: None,
) -> None:
    """Judge one's own attempts in the engine, as strangers' are. Records nothing. Raises RunError.

    keep: gets each result as it comes. tick: gives what follows an exercise's progress.
    """
    from grader.engine.batch import Engine, read_submission

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
                tick=_counting(tick(exercise)),
            )


def _counting(follow: Tick | None) -> Callable[[int], None]:
    done = count(1)
    return lambda total: follow(next(done), total) if follow else None


def progress_line(label: str) -> Tick | None:
    """A tick that keeps one line on stderr current; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        return None

    def tick(done: int, total: int) -> None:
        end = "\r\x1b[K" if done == total else ""
        sys.stderr.write(f"\r\x1b[K{label}  {done} of {total} checks{end}")
        sys.stderr.flush()

    return tick
