"""What a learner sees and keeps of `pytest exercises/...`: results shown in our own words, and recorded."""

from __future__ import annotations

import linecache
import sys
import warnings
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from grader import __version__
from grader.bank.catalog import EXERCISE_ID, Exercise, House, read_exercise
from grader.base.text import plain, plain_lines
from grader.judging.collect import TREES
from grader.judging.verdict_of import Seen, seen_of
from grader.learner.desk import record
from grader.learner.examples import count_passed, said_of
from grader.records.progress import ProgressError
from grader.verdicts.raised import name_of, said_by
from grader.verdicts.result import Result, assemble
from grader.verdicts.verdict import Verdict
from grader.views.render import result_lines


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grader")
    group.addoption("--no-progress", action="store_true", help="do not write this run to .grader/progress.sqlite")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "grader-reporter")


class Reporter:
    """Gathers the checks of a session into results; shows and records them where the session is not a worker's."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.seen: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        self.notes: list[str] = []
        self.untouched: list[str] = []
        self.examples: dict[Path, dict[str, bool]] = defaultdict(dict)
        """File of visible examples to each of them, and whether it passed."""
        self.gained: dict[str, tuple[str, ...]] = {}
        """Exercise id to the parts that this run is first to earn."""

    def pytest_runtest_logreport(self, report: Any) -> None:
        seen = seen_of(report)
        file, _, name = report.nodeid.partition("::")
        if Path(file).name == "test_examples.py" and (report.when == "call" or report.failed):
            own, name = self.examples[self.config.rootpath / file], name.partition("[")[0]
            own[name] = report.passed and own.get(name, True)
        if seen:
            self.seen[seen.tree, seen.exercise].append(seen)
            if seen.check.verdict is Verdict.NOT_STARTED:
                self.untouched.append(report.nodeid)

    def results(self, tree: str) -> dict[str, Result]:
        """Exercise id to result, of what ran from one tree."""
        return {id: self._result(seen) for (its_tree, id), seen in self.seen.items() if its_tree == tree}

    def _result(self, seen: list[Seen]) -> Result:
        exercise = read_exercise(Path(seen[0].root), seen[0].exercise)
        return assemble(
            exercise,
            [one.check for one in seen],
            {one.check.part: one.planned for one in seen},
            seed=self.config.getoption("--grader-seed"),
            isolation="practice",
            source=seen[-1].source,
            versions={"grader": __version__, "torch": version("torch")},
        )

    @pytest.hookimpl(tryfirst=True)  # before pytest writes down what `--lf` runs again
    def pytest_sessionfinish(self) -> None:
        self._forget_what_was_not_started()
        if self.worker or self.config.getoption("--no-progress"):
            return
        for id, result in self.results("exercises").items():
            root = Path(self.seen["exercises", id][0].root)
            try:
                self.gained[id] = record(House(root), read_exercise(root, id), result, door="pytest")
            except ProgressError as error:
                self.notes.append(str(error))

        for exercise, house, passed in self._of_a_student_edition():
            try:
                count_passed(house, exercise, passed)
            except ProgressError as error:
                self.notes.append(str(error))

    def _of_a_student_edition(self) -> Iterator[tuple[Exercise, House, list[str]]]:
        """Each exercise whose examples ran where there are no hidden checks, and the examples that passed."""
        for file, ran in self.examples.items():
            house = House(file.parents[2])
            if EXERCISE_ID.fullmatch(file.parent.name) and not house.is_whole:
                yield (
                    read_exercise(house.root, file.parent.name),
                    house,
                    [name for name, passed in ran.items() if passed],
                )

    def _forget_what_was_not_started(self) -> None:
        """Let `--lf` leave alone what nobody has written yet."""
        last = self.config.pluginmanager.get_plugin("lfplugin")
        if last is not None:
            for id in self.untouched:
                last.lastfailed.pop(id, None)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for tree in TREES:
            for id, result in self.results(tree).items():
                exercise = read_exercise(Path(self.seen[tree, id][0].root), id)
                terminalreporter.write_line("")
                gained = self.gained.get(id, ()) if tree == "exercises" else ()
                columns = terminalreporter._tw.fullwidth  # what pytest's own lines keep to
                shown = result_lines(exercise, result, tree=tree, gained=gained, encoding=_encoding(), columns=columns)
                for line in shown:
                    terminalreporter.write_line(line.text, **line.markup)
        for exercise, house, _ in self._of_a_student_edition():
            with suppress(ProgressError):  # said below
                terminalreporter.write_line(f"{said_of(house, exercise)}. More checks run when your work is graded.")
        for note in dict.fromkeys(self.notes):
            terminalreporter.write_line(plain_lines(note), yellow=True)


# ---- what pytest itself shows of a learner's code


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    return _made_plain(report) if _is_of_exercise(item) else report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    return _made_plain(report) if _is_of_exercise(collector) else report


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Leave nothing in a warning that commands the terminal: pytest prints text, category and line as they are."""
    message, file = warning_message.message, str(warning_message.filename)
    line = warning_message.line or linecache.getline(file, warning_message.lineno)
    warning_message.message = plain_lines(said_by(message) if isinstance(message, Warning) else message)
    warning_message.filename, warning_message.line = plain(file), plain(line.strip())
    if not name_of(warning_message.category).isprintable():
        warning_message.category = UserWarning


def _is_of_exercise(node: pytest.Item | pytest.Collector) -> bool:
    return EXERCISE_ID.fullmatch(node.path.parent.name) is not None


def _made_plain(report: Any) -> Any:
    """A report whose texts hold no command to a terminal: what was printed, and what went wrong."""
    report.sections = [(name, plain_lines(text)) for name, text in report.sections]
    if isinstance(report.longrepr, tuple):  # of what is skipped
        file, line, why = report.longrepr
        report.longrepr = (file, line, plain(why))
    elif report.longrepr is not None:
        said = report.longreprtext
        if plain_lines(said) != said:
            report.longrepr = plain_lines(said)
    return report


def _encoding() -> str:
    return getattr(sys.__stdout__, "encoding", None) or "ascii"
