"""From how a check ended to its verdict: what the report of a check carries home."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from grader.judging.collect import JUDGED, ExerciseFile, part_of
from grader.judging.fixtures import CALLED, HEARD, seed_of
from grader.judging.follow import follow
from grader.verdicts.bounds import cut_printed, cut_told
from grader.verdicts.raised import timeout_seconds
from grader.verdicts.result import CheckResult
from grader.verdicts.told import Told
from grader.verdicts.verdict import QUIET, Verdict

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
    """What the report of one check carries to the main process, also from a worker of pytest-xdist."""

    tree: str
    exercise: str
    root: str
    source: str
    planned: list[str]
    check: CheckResult


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    file = item.getparent(ExerciseFile)
    if file is None or call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return (yield)
    told = _told(file, item, call)
    shown = item.stash.get(CALLED, None)
    if shown:
        from grader.judging.called import explained  # torch comes with it

        told = explained(told, shown)
    if HEARD in item.stash:
        del item.stash[HEARD]  # it holds an answer
    told = cut_told(told)
    item.stash[JUDGED] = told
    report = yield
    report.outcome = "passed" if told.verdict is Verdict.PASSED else "failed"
    if hasattr(report, "wasxfail"):
        del report.wasxfail  # pytest would not count it as failed: nobody's code may call pytest.xfail its way out
    if told.verdict not in (Verdict.PASSED, Verdict.GRADER_ERROR):
        report.longrepr = told.message  # of what is skipped pytest makes no text
        report.when = "call"  # the check failed, not what stands around it: that is an error to editors and to CI
    if told.verdict is Verdict.TIMEOUT:
        file.hung.add(part_of(item))
    followed = follow(file, item, told)
    printed = cut_printed(file.channel.printed + report.capstdout)
    check = _check(item, told, followed=followed, seconds=round(call.duration, 3), printed=printed)
    seen = Seen(
        file.tree, file.exercise.id, str(file.exercise.root), file.source_hash(), file.planned[check.part], check
    )
    report.user_properties.append(("grader", msgspec.to_builtins(seen)))
    return report


def _check(item: pytest.Item, told: Told, **more: Any) -> CheckResult:
    doc = (getattr(getattr(item, "obj", None), "__doc__", "") or "").strip().splitlines()
    return CheckResult.of(item.name, part_of(item), told, property=doc[0] if doc else "", **more)


def unrun(item: pytest.Item) -> CheckResult | None:
    """The result of a check that need not run to be known: its part stands as in the stub. None for any other."""
    file = item.getparent(ExerciseFile)
    known = file.not_begun(item) if file else None
    if not file or not known:
        return None
    file.failed.add(part_of(item))
    return _check(item, known)


def _told(file: ExerciseFile, item: pytest.Item, call: pytest.CallInfo[Any]) -> Told:
    if call.excinfo is None:
        return Told(Verdict.PASSED)
    error, part = call.excinfo.value, file.exercise.part(part_of(item))
    if error is file.channel.raised:
        return file.channel.explainer.learner(error, part)
    if part.name in file.hung:
        return Told(Verdict.TIMEOUT, str(error))
    limit = timeout_seconds(error)
    if limit is not None and HEARD in item.stash and item.stash[HEARD].kept:
        said = f"the check was not over after {limit:g} s: what the code returned takes too long to look at"
        return Told(Verdict.TIMEOUT, said)
    if isinstance(error, AssertionError):
        return Told(Verdict.WRONG, str(error), getattr(error, "finding", None))
    misread = _misread(file, item, error)
    if misread:
        return misread
    said = f"the check itself failed, not the attempt: {type(error).__name__}: {error}"
    return Told(Verdict.GRADER_ERROR, said)


def _misread(file: ExerciseFile, item: pytest.Item, error: BaseException) -> Told | None:
    """What to say of an answer that a check could not read; None where the check itself is at fault."""
    if HEARD not in item.stash or not isinstance(item, pytest.Function) or not isinstance(error, Exception):
        return None
    from grader.answering.runner import steady
    from grader.checks.attempt import Ask, Attempt
    from grader.checks.draw import Draw
    from grader.judging.misread import misread

    function = item  # of the type that was asked for above, also inside

    def check(ask: Ask) -> None:
        file.reference.begin(None, seed_of(item, "attempt"))
        given = {**function.funcargs, "attempt": Attempt(ask), "draw": Draw(seed_of(item))}
        with steady():
            function.obj(**{name: given[name] for name in function._fixtureinfo.argnames})

    return misread(item.stash[HEARD], file.reference.ask, check, error)


def seen_of(report: Any) -> Seen | None:
    """What a report of one of our checks carries; None for any other."""
    for name, value in getattr(report, "user_properties", ()):
        if name == "grader":
            return msgspec.convert(value, Seen)
    return None


def pytest_report_teststatus(report: Any) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
    seen = seen_of(report)
    if seen is None or seen.check.verdict in (Verdict.PASSED, Verdict.GRADER_ERROR):
        return None
    verdict = seen.check.verdict
    # pytest has a section and a summary of its own for the category "error".
    category = "with an error" if verdict is Verdict.ERROR else str(verdict)
    word = str(verdict).upper()
    return category, _LETTERS.get(verdict, "?"), (word, {"light": True}) if verdict in QUIET else word
