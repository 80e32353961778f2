"""What a check asks for (`attempt`, `reference`, `draw`), and what stands around its call."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from grader.base.seeds import derive
from grader.judging.collect import ExerciseFile, part_of
from grader.verdicts.fault import Unusable
from grader.verdicts.raised import carried

if TYPE_CHECKING:
    from grader.judging.called import Called
    from grader.judging.misread import Heard

CALLED: pytest.StashKey[Called | None] = pytest.StashKey()
"""Of a check that has failed: what the calls of its last questions show."""
HEARD: pytest.StashKey[Heard] = pytest.StashKey()
"""Of a check that is running: its latest question to the attempt, with the answer."""


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
    if part_of(item) in file.hung:
        pytest.fail("not run: an earlier check of this part ran into the time limit", pytrace=False)
    # Torch comes with these: not before a check is about to run.
    from grader.checks.attempt import Attempt
    from grader.checks.draw import Draw
    from grader.judging.misread import Heard

    if "attempt" in item.fixturenames:
        file.channel.begin(file.exercise.part(part_of(item)), seed_of(item, "attempt"))
        item.stash[HEARD] = Heard(file.channel.ask)
        item.funcargs["attempt"] = Attempt(item.stash[HEARD])
    if "reference" in item.fixturenames:
        file.reference.begin(None, seed_of(item, "attempt"))
        item.funcargs["reference"] = Attempt(file.reference.ask)
    if "draw" in item.fixturenames:
        item.funcargs["draw"] = Draw(seed_of(item))
    if "request" in item.fixturenames:
        item.funcargs["request"] = item._request  # what pytest would give, by making a fixture for it each time


def seed_of(item: pytest.Item, whose: str = "") -> int:
    """The seed of a check's `draw`; of the attempt's own random numbers an independent one, which `draw`'s does not
    reveal.
    """
    seed = derive(item.config.getoption("--grader-seed"), item.name)
    return derive(seed, whose) if whose else seed


@pytest.hookimpl(wrapper=True, trylast=True)  # within pytest-timeout's, which has set its clock by then
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run no check of a part that stands as in the stub: an exercise has a hundred, and some fork ranks."""
    file = item.getparent(ExerciseFile)
    if not file:
        return (yield)
    told = file.not_begun(item)
    if told:
        file.channel.raised = Unusable(told)
        raise file.channel.raised
    from grader.answering.runner import steady  # torch comes with it

    begun = time.monotonic()
    with steady(), file.channel.clock():
        try:
            return (yield)
        except Exception as error:
            raised = carried(error)
            if raised and raised.base == "SystemExit":
                raise  # as in practice, where it is no Exception
            left, _ = signal.getitimer(signal.ITIMER_REAL)
            if not left or left > _TWICE * (time.monotonic() - begun):
                item.stash[CALLED] = _called(file, item, error)
            raise


_TWICE = 2.5
"""The attempt and the solution are asked again where the clock leaves time for both, and for some more."""


def _called(file: ExerciseFile, item: pytest.Item, error: Exception) -> Called | None:
    """What the calls of a failed check show. Asked on the check's own clock: what it ends has nothing to say."""
    from grader.judging.called import called

    if HEARD not in item.stash:
        return None
    raised = file.channel.raised
    try:
        file.reference.begin(None, seed_of(item, "attempt"))
        asked, mine = item.stash[HEARD].asked, file.channel.ask
        return called(asked, mine, file.reference.ask, error, raised=error is raised)
    except KeyboardInterrupt:
        raise
    except BaseException:  # the code ended, or the clock rang
        return None
    finally:
        file.channel.raised = raised
