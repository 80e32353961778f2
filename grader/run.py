"""Run checks from a program: pytest inside this process, its results as data."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from grader.catalog import Exercise, House
from grader.result import Result

Tick = Callable[[int, int], None]
"""Called with the checks done, and all of them."""


class RunError(Exception):
    """pytest itself could not do its work; the message is all that it printed. An author's problem, not a learner's."""


def practice(
    house: House, exercises: Sequence[Exercise], *, tree: str = "exercises", seed: int = 0, tick: Tick | None = None
) -> list[Result]:
    """Judge attempts in this process. Records nothing. Raises RunError if the checks cannot be collected or run."""
    import pytest

    files = [exercise.attempt if tree == "exercises" else exercise.solution for exercise in exercises]
    watcher = _Watcher(tree, tick)
    options = ["--no-progress", f"--grader-seed={seed}", "-p", "no:cacheprovider", f"--rootdir={house.root}"]
    settings = house.root / "pyproject.toml"
    if settings.is_file():
        options += ["-c", str(settings)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = pytest.main([*options, *map(str, files)], plugins=[watcher])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or len(watcher.results) != len(files):
        raise RunError(printed.getvalue())
    return [watcher.results[exercise.id] for exercise in exercises]


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

    with Engine() as engine:
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


class _Watcher:
    def __init__(self, tree: str, tick: Tick | None) -> None:
        self.tree = tree
        self.tick = tick
        self.results: dict[str, Result] = {}
        self._all = 0
        self._done = 0

    def pytest_collection_finish(self, session: Any) -> None:
        self._all = len(session.items)

    def pytest_runtest_logfinish(self) -> None:
        self._done += 1
        if self.tick:
            self.tick(self._done, self._all)

    def pytest_sessionfinish(self, session: Any) -> None:
        self.results = session.config.pluginmanager.getplugin("grader-reporter").results(self.tree)


def progress_line(label: str) -> Tick | None:
    """A tick that keeps one line on stderr current; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        return None

    def tick(done: int, total: int) -> None:
        end = "\r\x1b[K" if done == total else ""
        sys.stderr.write(f"\r\x1b[K{label}  {done} of {total} checks{end}")
        sys.stderr.flush()

    return tick
