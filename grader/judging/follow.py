"""Follow-through: a check that fails where a predecessor failed too runs once more, with the reference's predecessor.

It runs in a process of its own when graded, and what it says is seen by nobody: whether it passes is all that counts.
"""

import contextlib
import io
import threading

import pytest

from grader.answering.channel import Channel
from grader.bank.standins import standins_for
from grader.judging.clock import clock
from grader.judging.collect import ExerciseFile, part_of
from grader.judging.fixtures import seed_of
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

_SETTLED = (Verdict.PASSED, Verdict.NOT_STARTED, Verdict.GRADER_ERROR)


def follow(file: ExerciseFile, item: pytest.Item, told: Told) -> tuple[str, ...]:
    """The predecessors with whose reference this check passes; none where there is nothing to follow, or it fails."""
    part = file.exercise.part(part_of(item))
    if told.verdict is not Verdict.PASSED:
        file.failed.add(part.name)
    wrong = tuple(name for name in file.exercise.before(part) if name in file.failed)
    if not wrong or told.of_file or told.verdict in _SETTLED or part.name in file.lost or not file.follows:
        return ()
    if isinstance(item, pytest.Function) and threading.current_thread() is threading.main_thread():
        channel = file.follower(standins_for(file.exercise, part, wrong))
        if _passes(file, item, channel):
            return wrong
    file.lost.add(part.name)
    return ()


def _passes(file: ExerciseFile, item: pytest.Function, channel: Channel) -> bool:
    from grader.answering.runner import steady
    from grader.checks.attempt import Attempt
    from grader.checks.draw import Draw

    seed = seed_of(item, "attempt")
    channel.begin(file.exercise.part(part_of(item)), seed)
    file.reference.begin(None, seed)
    # The values of `parametrize` are no arguments yet where a check was not run, as an earlier one of its part hung.
    given = {**(item.callspec.params if hasattr(item, "callspec") else {}), **item.funcargs}
    given |= {"attempt": Attempt(channel.ask), "draw": Draw(seed_of(item))}
    given["reference"] = Attempt(file.reference.ask)
    unheard = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(unheard),
            contextlib.redirect_stderr(unheard),
            steady(),
            clock(file.exercise.limits.check_seconds),
            channel.clock(),
        ):
            item.obj(**{name: given[name] for name in item._fixtureinfo.argnames})
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
    return True
