"""The checks of an exercise, collected once and held: they can be judged with for as long as the process lives."""

import contextlib
import gc
import io
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError, RunError
from grader.judging.collect import ExerciseFile

_IDLE = ("cacheprovider", "logging", "warnings", "unraisableexception", "threadexception")
"""pytest's own plugins that cost something around every check, and on which no verdict depends."""


class Collected(msgspec.Struct):
    """The checks of an exercise, as the collecting process holds them."""

    file: ExerciseFile
    items: list[pytest.Function]

    @property
    def planned(self) -> dict[str, list[str]]:
        """Part to the ids of its checks."""
        return self.file.planned


def collect_checks(house: House, exercise: Exercise) -> Collected:
    """Let pytest collect the checks of an exercise. Raises RunError with what pytest printed where it cannot."""
    try:
        exercise.need_files()
    except HouseError as error:
        raise RunError(str(error)) from None
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts threads that no fork has
    keeper, printed = _Keeper(), io.StringIO()
    settings = house.bank / "pyproject.toml"
    options = ["-c", str(settings)] if settings.is_file() else []
    options += [f"-pno:{plugin}" for plugin in _IDLE]
    options += ["-ppytest_timeout", "-oaddopts=", "--collect-only", "-qq", "-s", f"--rootdir={house.bank}"]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _no_other_plugins():
        code = pytest.main([*options, str(exercise.solution)], plugins=[keeper])
    if keeper.interrupt:
        raise keeper.interrupt
    if code != pytest.ExitCode.OK:
        raise RunError(printed.getvalue())
    file = keeper.items[0].getparent(ExerciseFile)
    assert file, "pytest collected something else"
    gc.freeze()  # a fork's collector need not look at, and so copy, what is here already
    return Collected(file, keeper.items)


class _Keeper:
    """Keeps what pytest collects."""

    def __init__(self) -> None:
        self.items: list[pytest.Function] = []
        self.interrupt: KeyboardInterrupt | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = [item for item in session.items if isinstance(item, pytest.Function)]
        for item in self.items:
            _ = item.location  # pytest works it out once and keeps it: not in every fork
        session.config.pluginmanager.unregister(name="capturemanager")  # nobody will read what a check prints

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Ctrl-C, which pytest would swallow; and its own `Interrupted`, for a file that it cannot collect."""
        if not isinstance(excinfo.value, pytest.Session.Interrupted):
            self.interrupt = excinfo.value


@contextlib.contextmanager
def _no_other_plugins() -> Iterator[None]:
    """Checks are judged alike wherever they are, whatever other packages bring along for pytest."""
    name = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
