"""What a student edition can count: it has no hidden checks, so a part counts there once its visible examples pass."""

import contextlib
import io
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from grader.bank.catalog import Exercise, House
from grader.bank.examples import examples_of
from grader.bank.source import read_source
from grader.records.progress import EXAMPLES, Progress
from grader.verdicts.result import Result


@dataclass(frozen=True)
class Ran:
    """An example that has run."""

    name: str
    problem: str = ""
    """What is wrong, as pytest says it; empty where it passed."""
    printed: str = ""
    error: BaseException | None = None


def run_examples(path: Path, names: Sequence[str], module: ModuleType) -> list[Ran]:
    """Run examples of a file in this process. module: what they import under its name, such as a notebook's names."""
    import pytest

    found: list[Ran] = []
    errors: dict[str, BaseException] = {}

    class Listener:
        def pytest_exception_interact(self, node: Any, call: Any) -> None:
            errors[node.nodeid] = call.excinfo.value

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.failed:
                name, said = report.nodeid.split("::")[-1], _said(report) if report.failed else ""
                found.append(Ran(name, said, report.capstdout, errors.get(report.nodeid)))

    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-oaddopts=", "-c", os.devnull]
    options.append("--noconftest")  # it brings a collector that loads the learner's file in the place of `module`
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            chosen = [f"{path}::{name}" for name in names]
            pytest.main([*options, f"--rootdir={path.parent}", *chosen], plugins=[Listener()])
    finally:
        for name, loaded in list(sys.modules.items()):  # the examples hold what they imported
            if loaded is module or getattr(loaded, "__file__", None) == str(path):
                del sys.modules[name]
        if before is not None:
            sys.modules[module.__name__] = before
    return found or [Ran(path.name, printed.getvalue().strip())]


def _said(report: Any) -> str:
    """The lines that say what went wrong, without those of the code around it."""
    lines = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
    if lines == ["NotImplementedError"]:
        return "not written yet"
    return "\n".join(lines) or str(report.longreprtext)


def done_parts(house: House) -> Mapping[str, set[str]]:
    """Exercise id to the parts that count: those earned; in a student edition those whose examples passed.

    Raises ProgressError.
    """
    progress = Progress(house.root)
    return progress.earned() if house.is_whole else progress.with_examples()


def count_passed(house: House, exercise: Exercise, passed: Collection[str]) -> None:
    """Keep which parts have all their examples among those that passed. Raises ProgressError."""
    text = read_source(exercise.examples)
    known = done_parts(house).get(exercise.id, set())
    for part in exercise.parts:
        own = examples_of(text, exercise, part)
        if own and set(own) <= set(passed) and part.name not in known:
            Progress(house.root).note(exercise.id, EXAMPLES, part=part.name)


def passed_names(result: Result) -> list[str]:
    """The names of the examples that passed, of a result of theirs."""
    return [check.id for part in result.parts for check in part.checks if check.passed]


def said_of(house: House, exercise: Exercise) -> str:
    """How many parts of an exercise count in a student edition, in a line. Raises ProgressError."""
    passed = len(done_parts(house).get(exercise.id, set()))
    return f"{exercise.id} · {exercise.title}: the examples of {passed} of {len(exercise.parts)} parts pass"
