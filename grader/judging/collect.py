"""A learner's file collects the hidden checks of its exercise.

`exercises/dl_011_kv_cache/kv_cache.py` is a collector whose tests come from `tests/dl_011_kv_cache/test_kv_cache.py`;
so is `solutions/dl_011_kv_cache/kv_cache.py`. Nothing here imports torch before such a file is collected.
"""

from __future__ import annotations

import importlib
import linecache
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from grader.bank.catalog import EXERCISE_ID, Exercise, label_of, read_exercise
from grader.bank.derived import stub_of
from grader.bank.places import bank_of, is_practice_folder
from grader.bank.source import definitions, read_source
from grader.base.errors import HouseError
from grader.base.files import digest
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from grader.answering.channel import Channel
    from grader.answering.runner import Runner
    from grader.bank.standins import StandIns
    from grader.verdicts.doubt import Doubt

JUDGED = pytest.StashKey[Told]()
"""Of a check that has run: what its learner is told."""
TREES = ("exercises", "solutions")
_VS_CODE = "vscode_pytest"
"""The plugin with which VS Code's test view runs pytest."""
_PYCHARM = ("teamcity.pytest_plugin", "pytest-teamcity")
"""The plugin of PyCharm's test view, as PyCharm brings it and as pip installs it. It speaks where `_SPEAKS` is set."""
_SPEAKS = "TEAMCITY_VERSION"


class ExerciseFile(pytest.Module):
    """The collector of one attempt, or of one solution."""

    exercise: Exercise
    tree: str
    channel: Channel
    reference: Runner
    stub: str
    planned: dict[str, list[str]]

    @classmethod
    def around(cls, path: Path, parent: Any) -> ExerciseFile | None:
        """The collector for a learner's file, a solution or a test module of an exercise; None for any other file."""
        folder = path.parent
        if not EXERCISE_ID.fullmatch(folder.name) or folder.parent.name not in (*TREES, "tests"):
            return None
        root, stem = folder.parent.parent, folder.name.split("_", 2)[2]
        tree = folder.parent.name if folder.parent.name in TREES else "exercises"
        if path.name != (f"{stem}.py" if folder.parent.name in TREES else f"test_{stem}.py"):
            return None
        try:
            if not (bank_of(root) / "tests" / folder.name / f"test_{stem}.py").is_file():
                return None
            exercise = read_exercise(root, folder.name)
        except HouseError as error:
            raise pytest.UsageError(str(error)) from None
        found: ExerciseFile = cls.from_parent(parent, path=root / tree / folder.name / f"{stem}.py")
        found.exercise, found.tree = exercise, tree
        return found

    def _getobj(self) -> Any:
        from grader.answering.module import importing, needed_ahead
        from grader.judging.checks_file import load_checks

        with importing():
            checks, self.drivers = load_checks(self.exercise.checks)
            # Here, and not in each fork of this process.
            for module in ("grader.checks.attempt", "grader.checks.draw", *needed_ahead(self.exercise)):
                importlib.import_module(module)
        try:
            self.stub = stub_of(self.exercise)
        except HouseError as error:
            raise self.CollectError(str(error)) from None
        self.reference = self.in_process(path=self.exercise.solution, tree="reference")
        self.use(self.in_process(), lambda standins: self.in_process(standins=standins))
        return checks

    def use(self, channel: Channel, follow: Callable[[StandIns], Channel] | None = None) -> None:
        """Judge what answers on this channel.

        follow: makes the same with other definitions in the place of its own; None to judge each check once.
        """
        self.channel = channel
        self.hung: set[str] = set()
        self.failed: set[str] = set()
        self.lost: set[str] = set()
        """Parts with a check that fails with the reference's predecessors too."""
        self._follow = follow
        self._followers: dict[StandIns, Channel] = {}

    @property
    def follows(self) -> bool:
        """Whether a check that fails may run once more with the reference's predecessors."""
        return self._follow is not None

    def follower(self, standins: StandIns) -> Channel:
        """The attempt, with these in the place of its own definitions."""
        assert self._follow
        if standins not in self._followers:
            self._followers[standins] = self._follow(standins)
        return self._followers[standins]

    @property
    def doubts(self) -> dict[str, Doubt]:
        """Parts for whose verdict the machine may be to blame, with the reference's predecessors too."""
        channels = (*self._followers.values(), self.channel)
        return {part: one for channel in channels for part, one in channel.doubts.items()}

    def close(self) -> None:
        """End all that answers."""
        for channel in (self.channel, *self._followers.values()):
            channel.close()

    def in_process(
        self,
        text: str | None = None,
        *,
        path: Path | None = None,
        tree: str = "",
        standins: StandIns | None = None,
    ) -> Runner:
        """The file as it lies there, or `text` in its place, run in this process."""
        from grader.answering.runner import Runner

        name = f"{tree or self.tree}.{self.exercise.id}{'.followed' if standins else ''}"
        return Runner(path or self.path, self.drivers, name, text, standins, self.exercise.forbidden)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        items = [item for item in super().collect() if isinstance(item, pytest.Function)]
        lines = _lines_of_parts(self.path, self.exercise)
        groups = PartOfFile.around(self, items, lines) if _has_view(self.config) else []
        items = [check for group in groups for check in group.checks] or items
        self.planned = {part.name: [] for part in self.exercise.parts}
        for item in items:
            self.planned[self._part_of(item)].append(item.name)
            item.extra_keyword_matches.add(self._part_of(item))  # `-k prefill` runs a part
            item.add_marker(pytest.mark.timeout(self.exercise.limits.check_seconds, method="signal"))
            _say_briefly(item)
            _lies_at(item, self.path, lines[self._part_of(item)])
        return groups or items

    def _part_of(self, item: pytest.Item) -> str:
        marker = item.get_closest_marker("part")
        if marker is None:
            raise self.CollectError(f"{self.exercise.checks}: {item.name} belongs to no part: add @part(name)")
        try:
            return self.exercise.part(marker.args[0]).name
        except HouseError as error:
            raise self.CollectError(f"{self.exercise.checks}: {item.name}: {error}") from None

    def not_begun(self, item: pytest.Item) -> Told | None:
        """What a check says whose part stands as in the stub."""
        return self.channel.explainer.not_begun(self.exercise.part(part_of(item)), self.stub)

    def source_hash(self) -> str:
        return digest(self.channel.explainer.text)


class PartOfFile(pytest.Class):
    """The checks of one part, for the test views of editors, which show as groups what is a class to pytest."""

    checks: list[pytest.Function]
    line: int
    """On which the part begins in the learner's file, from 0."""

    @classmethod
    def around(cls, file: ExerciseFile, checks: Iterable[pytest.Function], lines: dict[str, int]) -> list[PartOfFile]:
        """The checks of a file, group by group, in the order of the parts. lines: part to where it begins, from 0."""
        groups: dict[str, PartOfFile] = {}
        for check in checks:
            name = part_of(check)
            if name not in groups:
                groups[name] = cls.from_parent(file, name=name)
                groups[name].checks, groups[name].line = [], lines.get(name, 0)
            groups[name].checks.append(groups[name]._again(check))
        return list(groups.values())

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        return self.checks

    def _again(self, check: pytest.Function) -> pytest.Function:
        """The same check as a child of this group, and so with its id."""
        made: pytest.Function = pytest.Function.from_parent(
            self,
            name=check.name,
            callspec=getattr(check, "callspec", None),
            fixtureinfo=check._fixtureinfo,
            originalname=check.originalname,
        )
        return made

    def _getobj(self) -> Any:
        return _written_at(self.line)  # VS Code asks `inspect` on which line it stands

    def newinstance(self) -> Any:
        return self.parent.obj  # type: ignore[union-attr]  # the file, whose functions the checks are


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grader")
    group.addoption("--grader-seed", type=int, default=0, help="seed of the checks' random inputs (default 0)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "part(name): the part of the exercise that a check belongs to")
    config.args = [_as_attempt(arg, config.invocation_params.dir) for arg in config.args]
    for arg in config.args:
        _need_attempt((config.invocation_params.dir / arg.split("::")[0]).resolve())


def _as_attempt(arg: str, folder: Path) -> str:
    """`tests/dl_011_kv_cache/test_kv_cache.py::x` as `x` of the attempt: the collector is found by that path alone."""
    name, *rest = arg.split("::")
    path = (folder / name).resolve()
    id, stem = path.parent.name, path.stem.removeprefix("test_")
    if path.parent.parent.name != "tests" or not EXERCISE_ID.fullmatch(id) or path.name != f"test_{stem}.py":
        return arg
    attempt = path.parents[2] / "exercises" / id / f"{stem}.py"
    return "::".join([str(attempt), *rest]) if attempt.is_file() else arg


def _need_attempt(named: Path) -> None:
    """Say that the file of an exercise is missing: pytest would find nothing to collect and not say why."""
    folder = named.parent if named.suffix == ".py" and not named.exists() else named
    if not EXERCISE_ID.fullmatch(folder.name) or folder.parent.name != "exercises" or not folder.is_dir():
        return
    stem = folder.name.split("_", 2)[2]
    root = folder.parents[1]
    if is_practice_folder(root) and not (_bank(root) / "exercises" / folder.name).is_dir():
        raise pytest.UsageError(f"{folder.name} is not among the installed exercises: install the release that has it.")
    checks = _bank(root) / "tests" / folder.name / f"test_{stem}.py"
    if checks.is_file() and not (folder / f"{stem}.py").is_file():
        again = f"`grader reset {label_of(folder.name)}` writes it again"
        raise pytest.UsageError(f"{folder / stem}.py is missing: {again}.")


def _bank(root: Path) -> Path:
    try:
        return bank_of(root)
    except HouseError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the visible examples if the hidden checks are there, which say more, unless they are named."""
    if collection_path.name != "test_examples.py" or not EXERCISE_ID.fullmatch(collection_path.parent.name):
        return None
    named = {(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args}
    checks = _bank(collection_path.parents[2]) / "tests" / collection_path.parent.name
    return True if checks.is_dir() and collection_path.resolve() not in named else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".py" or parent.session.isinitpath(file_path):
        return None  # a file named on the command line reaches pytest_pycollect_makemodule
    return ExerciseFile.around(file_path, parent) if file_path.parent.parent.name in TREES else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    return ExerciseFile.around(module_path, parent)


def part_of(item: pytest.Item) -> str:
    """The name of the part that a check belongs to."""
    marker = item.get_closest_marker("part")
    return str(marker.args[0]) if marker else ""


def _has_view(config: pytest.Config) -> bool:
    """Whether the test view of an editor listens, which shows as groups what is a class to pytest."""
    has = config.pluginmanager.hasplugin
    return has(_VS_CODE) or (_SPEAKS in os.environ and any(map(has, _PYCHARM)))


def _lines_of_parts(path: Path, exercise: Exercise) -> dict[str, int]:
    """Part to the line on which it begins in a file, from 0; 0 in what is not Python, or lacks the part."""
    try:
        spans = definitions(read_source(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        spans = {}
    return {part.name: spans.get(part.names[0], (1, 1))[0] - 1 for part in exercise.parts}


def _written_at(line: int) -> FunctionType:
    """A function that does nothing, and of which `inspect.getsourcelines` says that it begins on this line, from 0."""
    file, text = f"<line {line + 1}>", ["\n"] * line + ["def part(): ...\n"]
    linecache.cache[file] = len(text), None, text, file  # as doctest does it for what lies in no file
    return FunctionType((lambda: None).__code__.replace(co_filename=file, co_firstlineno=line + 1), {})


def _lies_at(item: pytest.Item, path: Path, line: int) -> None:
    """Show a check where its part stands in the learner's file: there is what an editor should open."""
    item.reportinfo = lambda: (path, line, item.name)  # type: ignore[method-assign]  # as below


def _say_briefly(item: pytest.Item) -> None:
    """Show a failure as its message; only a check that is at fault itself gets a traceback, which takes time."""
    in_full = item.repr_failure

    def repr_failure(excinfo: Any, style: Any = None) -> Any:
        told = item.stash[JUDGED]
        return in_full(excinfo) if told.verdict is Verdict.GRADER_ERROR else told.message

    item.repr_failure = repr_failure  # type: ignore[method-assign]  # pytest makes these items, not a class of ours
