"""A tiny house of one exercise, and the means to run commands in it as a user does, quickly."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import settings
from shared import PATIENCE

from grader.bank.catalog import Exercise, House
from grader.bank.derived import build
from grader.bank.source import read_source
from grader.records.progress import Progress

HERE = Path(__file__).parent
ID = "dl_901_running_mean"

collect_ignore = ["house"]  # a house of its own, graded by the tests

# The same examples in every run: a suite that fails now and then teaches nobody.
settings.register_profile("grader", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("grader")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Warm:
    """The process of warm.py, begun when first needed."""

    @cached_property
    def _process(self):
        return subprocess.Popen(
            [sys.executable, str(HERE / "warm.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip

    def run(self, module, args, cwd, env, folder, seconds):
        out, err = folder / "out", folder / "err"
        job = {"module": module, "args": args, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
        print(json.dumps({**job, "seconds": seconds}), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        assert code != -9, f"{module} {args} did not end within {seconds} s:\n{out.read_text()[-2000:]}"
        return Done(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))

    def end(self):
        if "_process" in self.__dict__:
            self._process.stdin.close()
            self._process.wait(timeout=PATIENCE)


def environment(**more):
    """What a command of a test sees: no terminal's width, no colour, nothing of the pytest around it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    # As the project's own pyproject.toml: plugins of other packages cost start-up time and do nothing here.
    addopts = "-p no:anyio -p no:hypothesispytest -p no:typeguard -p no:benchmark"
    here = {"PYTHONPATH": str(HERE.parents[1])}  # the grader of this checkout, whatever else is installed
    return {**kept, **here, "PYTHONIOENCODING": "utf-8", "PYTEST_ADDOPTS": addopts, **more}


class Home:
    """A house on disk, with a learner's file in it."""

    def __init__(self, root: Path, warm: Warm) -> None:
        self.root = root
        self._warm = warm

    @property
    def house(self) -> House:
        """Read afresh, so that a test may change a file at any time."""
        return House(self.root)

    @property
    def exercise(self) -> Exercise:
        return self.house.exercises[ID]

    @property
    def progress(self) -> Progress:
        return Progress(self.root)

    @property
    def attempt(self) -> Path:
        return self.root / "exercises" / ID / "running_mean.py"

    @property
    def checks(self) -> Path:
        return self.root / "tests" / ID / "test_running_mean.py"

    @property
    def solution(self) -> str:
        return read_source(self.root / "solutions" / ID / "running_mean.py")

    def solve(self, *edits: tuple[str, str]) -> None:
        """Hand in the solution, with each (find, put) done once."""
        text = self.solution
        for find, put in edits:
            assert text.count(find) == 1, f"the solution holds {find!r} {text.count(find)} times"
            text = text.replace(find, put)
        self.attempt.write_text(text, encoding="utf-8")

    def edit(self, name: str, *edits: tuple[str, str]) -> None:
        """Change a file of the house, given by its path from the root."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        for find, put in edits:
            assert text.count(find) == 1, f"{name} holds {find!r} {text.count(find)} times"
            text = text.replace(find, put)
        path.write_text(text, encoding="utf-8")

    def declare_picture(self, drivers: str = "", **facts: object) -> None:
        """Declare a picture of `batch_mean`, or of what `facts` say. drivers: the text of `pictures.py`."""
        declared = {
            "part": "batch_mean", "kind": "heat", "axes": ["batch", "feature"], "driver": "means",
            "caption": "One row a batch.",
        } | facts  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in declared.items()]
        path = self.attempt.with_name("exercise.toml")
        path.write_text(path.read_text() + "\n[[picture]]\n" + "".join(lines))
        if drivers:
            self.attempt.with_name("pictures.py").write_text(drivers)

    def check(self, code: str) -> None:
        """Add a check to the exercise."""
        self.checks.write_text(self.checks.read_text() + "\n\n" + code)

    def pytest(self, *args: str, cwd: str = ".", seconds: float = PATIENCE, **env: str) -> Done:
        """`pytest ARGS` in a fork of a process that has torch imported."""
        return self._run("pytest", args, cwd, seconds, env)

    def grader(self, *args: str, cwd: str = ".", seconds: float = PATIENCE, **env: str) -> Done:
        return self._run("grader", args, cwd, seconds, env)

    def script(self, code: str, seconds: float = PATIENCE) -> Done:
        """Python code, in a fork of a process that has imported torch and run none of it."""
        (self.root / "probe.py").write_text(code)
        return self._run("probe", (), ".", seconds, {})

    def _run(self, module, args, cwd, seconds, env):
        folder = self.root.parent / "said"
        folder.mkdir(exist_ok=True)
        return self._warm.run(module, args, self.root / cwd, environment(**env), folder, seconds)

    def cold(self, *args: str, seconds: float = PATIENCE, **env: str) -> Done:
        """`python ARGS` in a process of its own, as slow as it is for a user."""
        done = subprocess.run(
            [sys.executable, *args], cwd=self.root, env=environment(**env), capture_output=True, timeout=seconds
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.fixture(scope="session")
def warm():
    warm = Warm()
    yield warm
    warm.end()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The bank with everything that `grader dev build` writes."""
    root = tmp_path_factory.mktemp("built") / "house"
    shutil.copytree(HERE / "house", root, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in build(House(root)):
        file.path.write_text(file.text, encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def homes(built, warm, tmp_path_factory):
    """Makes a fresh house at each call; for fixtures that several tests look at, and none changes."""

    def make() -> Home:
        root = tmp_path_factory.mktemp("home") / "house"
        shutil.copytree(built, root)
        return Home(root, warm)

    return make


@pytest.fixture
def home(homes) -> Home:
    """A house of the test's own; the learner's file is the untouched stub."""
    return homes()


@pytest.fixture
def in_view():
    """A folder that a cage may read: as below /usr, or below the environment, where somebody may keep a course."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="in-view-", dir=sys.prefix))
    except OSError:
        pytest.skip("this environment is closed")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cli(home, monkeypatch):
    """`grader ARGS` in this process, for the commands that need neither torch nor pytest."""
    from click.testing import CliRunner

    from grader.cli.main import main

    def run(*args: str) -> Done:
        monkeypatch.chdir(home.root)
        result = CliRunner().invoke(main, args, catch_exceptions=False)
        return Done(result.exit_code, result.stdout, result.stderr)

    return run
