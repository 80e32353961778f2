"""The pytest plugin: a learner's file collects the hidden checks of its exercise, and its report is ours.

`exercises/dl_011_kv_cache/kv_cache.py` is a collector whose tests come from `tests/dl_011_kv_cache/test_kv_cache.py`;
so is `solutions/dl_011_kv_cache/kv_cache.py`. Nothing here imports torch before such a file is collected.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Generator, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from grader.build import stub_of
from grader.catalog import EXERCISE_ID, Exercise, HouseError, read_exercise
from grader.result import CheckResult, Result, Verdict, assemble
from grader.submitted import derive, digest

if TYPE_CHECKING:
    from grader.engine.channel import Caged
    from grader.fault import Unusable
    from grader.misread import Heard
    from grader.practice import Practice

_JUDGED = pytest.StashKey[tuple[Verdict, str]]()
_HEARD: pytest.StashKey[Heard] = pytest.StashKey()
TREES = ("exercises", "solutions")
_LETTERS = {
    Verdict.PASSED: ".",
    Verdict.WRONG: "x",
    Verdict.ERROR: "e",
    Verdict.NOT_STARTED: "o",
    Verdict.WAITING: "w",
    Verdict.FORBIDDEN: "f",
    Verdict.TIMEOUT: "t",
    Verdict.MEMORY: "m",
}


class Seen(msgspec.Struct, frozen=True):
    """What one check's report carries home, also from a worker of pytest-xdist."""

    tree: str
    exercise: str
    root: str
    source: str
    planned: list[str]
    check: CheckResult


class ExerciseFile(pytest.Module):
    """The collector of one attempt, or of one solution."""

    exercise: Exercise
    tree: str
    channel: Practice | Caged
    reference: Practice
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
        if not (root / "tests" / folder.name / f"test_{stem}.py").is_file():
            return None
        try:
            exercise = read_exercise(root, folder.name)
        except HouseError as error:
            raise pytest.UsageError(str(error)) from None
        found: ExerciseFile = cls.from_parent(parent, path=root / tree / folder.name / f"{stem}.py")
        found.exercise, found.tree = exercise, tree
        return found

    def _getobj(self) -> Any:
        from grader.load import importing, load_checks, needed_ahead

        with importing():
            checks, self.drivers = load_checks(self.exercise.checks)
            # Here, and not in each fork of this process.
            for module in ("grader.attempt", "grader.draw", *needed_ahead(self.exercise)):
                importlib.import_module(module)
        try:
            self.stub = stub_of(self.exercise)
        except HouseError as error:
            raise self.CollectError(str(error)) from None
        self.reference = self.in_process(path=self.exercise.solution, tree="reference")
        self.use(self.in_process())
        return checks

    def use(self, channel: Practice | Caged) -> None:
        """Judge what answers on this channel."""
        self.channel = channel
        self.hung: set[str] = set()

    def in_process(self, text: str | None = None, *, path: Path | None = None, tree: str = "") -> Practice:
        """The file as it lies there, or `text` in its place, run in this process."""
        from grader.practice import Practice

        return Practice(path or self.path, self.drivers, f"{tree or self.tree}.{self.exercise.id}", text)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        items = [item for item in super().collect() if isinstance(item, pytest.Item)]
        self.planned = {part.name: [] for part in self.exercise.parts}
        for item in items:
            self.planned[self._part_of(item)].append(item.name)
            item.extra_keyword_matches.add(self._part_of(item))  # `-k prefill` runs a part
            item.add_marker(pytest.mark.timeout(self.exercise.limits.check_seconds, method="signal"))
            _say_briefly(item)
        return items

    def _part_of(self, item: pytest.Item) -> str:
        marker = item.get_closest_marker("part")
        if marker is None:
            raise self.CollectError(f"{self.exercise.checks}: {item.name} belongs to no part: add @part(name)")
        try:
            return self.exercise.part(marker.args[0]).name
        except HouseError as error:
            raise self.CollectError(f"{self.exercise.checks}: {item.name}: {error}") from None

    def not_begun(self, item: pytest.Item) -> Unusable | None:
        """What a check says whose part stands as in the stub."""
        return self.channel.judge.not_begun(self.exercise.part(_part(item)), self.stub)

    def source_hash(self) -> str:
        return digest(self.channel.judge.text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grader")
    group.addoption("--grader-seed", type=int, default=0, help="seed of the checks' random inputs (default 0)")
    group.addoption("--no-progress", action="store_true", help="do not write this run to .grader/progress.sqlite")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "part(name): the part of the exercise that a check belongs to")
    config.pluginmanager.register(Reporter(config), "grader-reporter")
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


def _need_attempt(folder: Path) -> None:
    """Say so where the file of an exercise is gone: pytest would find nothing to collect, and not say why."""
    if not EXERCISE_ID.fullmatch(folder.name) or folder.parent.name != "exercises" or not folder.is_dir():
        return
    _, number, stem = folder.name.split("_", 2)
    checks = folder.parents[1] / "tests" / folder.name / f"test_{stem}.py"
    if checks.is_file() and not (folder / f"{stem}.py").is_file():
        raise pytest.UsageError(f"{folder / stem}.py is missing: `grader reset {int(number)}` writes it again.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the visible examples alone where the hidden checks say the same and more, unless they are asked for."""
    if collection_path.name != "test_examples.py" or not EXERCISE_ID.fullmatch(collection_path.parent.name):
        return None
    named = {(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args}
    checks = collection_path.parents[2] / "tests" / collection_path.parent.name
    return True if checks.is_dir() and collection_path.resolve() not in named else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".py" or parent.session.isinitpath(file_path):
        return None  # a file named on the command line reaches pytest_pycollect_makemodule
    return ExerciseFile.around(file_path, parent) if file_path.parent.parent.name in TREES else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    return ExerciseFile.around(module_path, parent)


@pytest.fixture
def attempt(request: pytest.FixtureRequest) -> Any:
    """The code under test."""
    return _given(request, "attempt")


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> Any:
    """The same interface on the solution."""
    return _given(request, "reference")


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> Any:
    """Random inputs, seeded by the run's seed and the check's name."""
    return _given(request, "draw")


def _given(request: pytest.FixtureRequest, name: str) -> Any:
    """For a fixture that builds on one of ours: what `pytest_runtest_setup` has given to the check."""
    given = request.node.funcargs
    if name not in given:
        raise pytest.UsageError(f"{request.node.nodeid}: only checks of an exercise have an attempt")
    return given[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a check what it asks for: pytest's own search for it is a quarter of what surrounds a check."""
    file = item.getparent(ExerciseFile)
    if not file or not isinstance(item, pytest.Function):
        return
    if _part(item) in file.hung:
        pytest.fail("not run: an earlier check of this part ran into the time limit", pytrace=False)
    from grader.attempt import Attempt
    from grader.draw import Draw
    from grader.misread import Heard

    if "attempt" in item.fixturenames:
        file.channel.begin(file.exercise.part(_part(item)), _seed(item, "attempt"))
        item.stash[_HEARD] = Heard(file.channel.ask)
        item.funcargs["attempt"] = Attempt(item.stash[_HEARD])
    if "reference" in item.fixturenames:
        file.reference.begin(None, _seed(item, "attempt"))
        item.funcargs["reference"] = Attempt(file.reference.ask)
    if "draw" in item.fixturenames:
        item.funcargs["draw"] = Draw(_seed(item))
    if "request" in item.fixturenames:
        item.funcargs["request"] = item._request  # what pytest would give, by making a fixture for it each time


def _seed(item: pytest.Item, whose: str = "") -> int:
    """The seed of a check's `draw`; or another, which that foretells nobody."""
    seed = derive(item.config.getoption("--grader-seed"), item.name)
    return derive(seed, whose) if whose else seed


@pytest.hookimpl(wrapper=True, trylast=True)  # within pytest-timeout's, which has set its clock by then
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run no check of a part that stands as in the stub: an exercise has a hundred, and some fork ranks."""
    file = item.getparent(ExerciseFile)
    if not file:
        return (yield)
    raised = file.not_begun(item)
    if raised:
        file.channel.raised = raised
        raise raised
    from grader.practice import steady

    with steady(), file.channel.clock():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    file = item.getparent(ExerciseFile)
    if file is None or call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return (yield)
    verdict, message = _verdict(file, item, call)
    if _HEARD in item.stash:
        del item.stash[_HEARD]  # it holds an answer
    message = message.encode("utf-8", "backslashreplace").decode()  # an exception may say what no file can hold
    item.stash[_JUDGED] = verdict, message
    report = yield
    report.outcome = "passed" if verdict is Verdict.PASSED else "failed"
    if hasattr(report, "wasxfail"):
        del report.wasxfail  # pytest would not count it as failed: nobody's code may call pytest.xfail its way out
    if verdict is Verdict.TIMEOUT:
        file.hung.add(_part(item))
    check = _check(item, verdict, message, seconds=round(call.duration, 3), printed=report.capstdout[-2000:])
    seen = Seen(
        file.tree, file.exercise.id, str(file.exercise.root), file.source_hash(), file.planned[check.part], check
    )
    report.user_properties.append(("grader", msgspec.to_builtins(seen)))
    return report


def _check(item: pytest.Item, verdict: Verdict, message: str, **said: Any) -> CheckResult:
    doc = (getattr(getattr(item, "obj", None), "__doc__", "") or "").strip().splitlines()
    return CheckResult(item.name, _part(item), verdict, message, property=doc[0] if doc else "", **said)


def unrun(item: pytest.Item) -> CheckResult | None:
    """The result of a check that need not run to be known: its part stands as in the stub. None for any other."""
    file = item.getparent(ExerciseFile)
    known = file.not_begun(item) if file else None
    return _check(item, known.verdict, known.message) if known else None


def _say_briefly(item: pytest.Item) -> None:
    """Let a failure read as its message; only a check's own fault is worth a traceback, and the time to format one."""
    in_full = item.repr_failure

    def repr_failure(excinfo: Any, style: Any = None) -> Any:
        verdict, message = item.stash[_JUDGED]
        return in_full(excinfo) if verdict is Verdict.GRADER_ERROR else message

    item.repr_failure = repr_failure  # type: ignore[method-assign]  # pytest makes these items, not a class of ours


def _verdict(file: ExerciseFile, item: pytest.Item, call: pytest.CallInfo[Any]) -> tuple[Verdict, str]:
    if call.excinfo is None:
        return Verdict.PASSED, ""
    error, part = call.excinfo.value, file.exercise.part(_part(item))
    if error is file.channel.raised:
        return file.channel.judge.learner(error, part)
    if part.name in file.hung:
        return Verdict.TIMEOUT, str(error)
    if isinstance(error, AssertionError):
        return Verdict.WRONG, str(error)
    said = _misread(file, item, error)
    if said:
        return Verdict.WRONG, said
    return Verdict.GRADER_ERROR, f"the check itself failed, not the attempt: {type(error).__name__}: {error}"


def _misread(file: ExerciseFile, item: pytest.Item, error: BaseException) -> str:
    """What to say of an answer that a check could not read; "" where the check itself is at fault."""
    if _HEARD not in item.stash or not isinstance(item, pytest.Function) or not isinstance(error, Exception):
        return ""
    from grader.attempt import Ask, Attempt
    from grader.draw import Draw
    from grader.misread import misread
    from grader.practice import steady

    function = item  # of the type that was asked for above, also inside

    def check(ask: Ask) -> None:
        file.reference.begin(None, _seed(item, "attempt"))
        given = {**function.funcargs, "attempt": Attempt(ask), "draw": Draw(_seed(item))}
        with steady():
            function.obj(**{name: given[name] for name in function._fixtureinfo.argnames})

    return misread(item.stash[_HEARD], file.reference.ask, check, error)


def _part(item: pytest.Item) -> str:
    marker = item.get_closest_marker("part")
    return str(marker.args[0]) if marker else ""


def seen_of(report: Any) -> Seen | None:
    """What a report of one of our checks carries; None for any other."""
    for name, value in getattr(report, "user_properties", ()):
        if name == "grader":
            return msgspec.convert(value, Seen)
    return None


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    seen = seen_of(report)
    if seen is None or seen.check.verdict in (Verdict.PASSED, Verdict.GRADER_ERROR):
        return None
    verdict = seen.check.verdict
    # pytest has a section and a summary of its own for the category "error".
    category = "with an error" if verdict is Verdict.ERROR else str(verdict)
    return category, _LETTERS.get(verdict, "?"), str(verdict).upper()


class Reporter:
    """Gathers the checks of a session into results; shows and records them where the session is not a worker's."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.seen: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        self.notes: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        seen = seen_of(report)
        if seen:
            self.seen[seen.tree, seen.exercise].append(seen)

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
            versions={"grader": version("dl-kata"), "torch": version("torch")},
        )

    def pytest_sessionfinish(self) -> None:
        if self.worker or self.config.getoption("--no-progress"):
            return
        from grader.progress import Progress, ProgressError, source_of

        for id, result in self.results("exercises").items():
            root = Path(self.seen["exercises", id][0].root)
            try:
                Progress(root).record(result, source_of(read_exercise(root, id).attempt, result.source), door="pytest")
            except ProgressError as error:
                self.notes.append(str(error))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from grader.render import result_lines

        for tree in TREES:
            for id, result in self.results(tree).items():
                exercise = read_exercise(Path(self.seen[tree, id][0].root), id)
                terminalreporter.write_line("")
                for line in result_lines(exercise, result, tree=tree, encoding=_encoding()):
                    terminalreporter.write_line(line.text, **line.markup)
        for note in dict.fromkeys(self.notes):
            terminalreporter.write_line(note, yellow=True)


def _encoding() -> str:
    import sys

    return getattr(sys.__stdout__, "encoding", None) or "ascii"
