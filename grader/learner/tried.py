"""The visible examples of a student edition, run on one text: in a fork each time, so that a hang costs one example.

Nothing is caged, as under `pytest`: it is the learner's own machine. No points come of it; they are the hidden checks'.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from grader.answering.module import load_source
from grader.bank.catalog import Exercise
from grader.bank.derived import stub_of
from grader.bank.examples import examples_of
from grader.bank.source import read_source
from grader.base.child import begin_child, write_all
from grader.base.errors import HouseError
from grader.base.files import digest
from grader.learner.examples import run_examples
from grader.verdicts.explain import Explainer
from grader.verdicts.raised import described
from grader.verdicts.result import CheckResult, Result, assemble
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

_LOOK_SECONDS = 0.02
_IDLE = 30
"""Times the limit of a check after which an example is ended that waits and uses no processor."""
Examples = list[tuple[str, str]]
"""Pairs of a part and the name of an example."""
Planned = Mapping[str, list[str]]
"""Part to the names of its examples."""


def examples_by_part(exercise: Exercise) -> dict[str, list[str]]:
    """The examples of each part. Raises HouseError where they cannot be read."""
    path = _examples(exercise)
    try:
        text = read_source(path)
        return {part.name: examples_of(text, exercise, part) for part in exercise.parts}
    except (OSError, SyntaxError, ValueError) as error:
        raise HouseError(f"the examples cannot be read: {path}: {error}") from None


def try_examples(
    exercise: Exercise,
    text: str,
    planned: Planned,
    *,
    on_check: Callable[[CheckResult], None] = lambda check: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Result | None:
    """What the examples say of a text, in the order of `planned`; None where it was cancelled.

    No part of the result earns anything. Import torch and pytest before, and run no torch operation: this forks.
    """
    left = [(part, name) for part, names in planned.items() for name in names]
    checks: list[CheckResult] = []
    while left:
        heard: list[CheckResult] = []
        for check in _of_a_fork(exercise, text, left, is_cancelled):
            heard.append(check)
            on_check(check)
        if is_cancelled():
            return None
        checks, left = checks + heard, left[len(heard) :]
    result = assemble(exercise, checks, planned, seed=0, isolation="examples", source=digest(text))
    return replace(result, score=0, parts=[_without_points(part, planned) for part in result.parts])


def _without_points(part: Any, planned: Planned) -> Any:
    message = part.message if planned.get(part.name) else "no visible example"
    return replace(part, earned=0, message=message)


def _examples(exercise: Exercise) -> Path:
    return exercise.examples


def _of_a_fork(
    exercise: Exercise, text: str, left: Examples, is_cancelled: Callable[[], bool]
) -> Iterator[CheckResult]:
    """What a fork says of these examples, until it ends; of one that ends it, how. One at least."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(exercise, text, left, write)
    os.close(write)
    loaded, count = False, 0
    try:
        with closing(_lines(pid, read, _IDLE * exercise.limits.check_seconds, is_cancelled)) as lines:
            for line in lines:
                loaded = True
                if line:
                    yield msgspec.json.decode(line, type=CheckResult)
                    count += 1
    finally:
        os.close(read)
        _, status = os.waitpid(pid, 0)
    if count < len(left) and not is_cancelled():
        ended = replace(_ended(status, exercise.limits.check_seconds), of_file=not loaded)
        for part, name in left[count : count + 1] if loaded else left:
            yield CheckResult.of(name, part, ended, property=_sentence(name))


def _lines(pid: int, read: int, seconds: float, is_cancelled: Callable[[], bool]) -> Generator[bytes, None, None]:
    """The lines of a fork, until it ends; where none came for so long, or it is cancelled, it is ended."""
    data, ends, is_over = b"", time.monotonic() + seconds, False
    try:
        while not is_cancelled() and time.monotonic() < ends:
            if not select.select([read], [], [], _LOOK_SECONDS)[0]:
                continue
            piece = os.read(read, 1 << 16)
            if not piece:
                is_over = True
                return
            *lines, data = (data + piece).split(b"\n")
            yield from lines
            ends = time.monotonic() + seconds
    finally:
        if not is_over:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _ended(status: int, seconds: float) -> Told:
    """What to say of the example at which a fork ended."""
    by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if by in (signal.SIGPROF, signal.SIGKILL):
        return Told(Verdict.TIMEOUT, f"still running after {seconds:g} s")
    how = f"was ended by {signal.Signals(by).name}" if by else f"ended with code {os.waitstatus_to_exitcode(status)}"
    return Told(Verdict.CRASHED, f"the process {how}")


def _child(exercise: Exercise, text: str, left: Examples, write: int) -> NoReturn:
    try:
        begin_child()
        import torch

        torch.set_num_threads(1)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        for line in _told(exercise, text, left):
            write_all(write, line + b"\n")
    finally:
        os._exit(0)


def _clock(exercise: Exercise) -> None:
    """Begin the time of an example: processor time of this process, which a busy machine does not use up."""
    signal.setitimer(signal.ITIMER_PROF, exercise.limits.check_seconds)


def _told(exercise: Exercise, text: str, left: Examples) -> Iterator[bytes]:
    """An empty line once the file is loaded, then each example as a check, run in this process."""
    explainer, stub = Explainer(exercise.attempt, text), stub_of(exercise)
    _clock(exercise)
    try:
        module = load_source(text, exercise.attempt, exercise.stem)
    except BaseException as error:  # whatever the learner's file raises is what it is told of
        unusable = explainer.loading(error).told
        for part, name in left:
            yield msgspec.json.encode(CheckResult.of(name, part, unusable, property=_sentence(name)))
        return
    yield b""
    for part, name in left:
        _clock(exercise)
        begun = explainer.not_begun(exercise.part(part), stub)
        told, printed = (begun, "") if begun else _told_of(exercise, module, part, name, explainer)
        yield msgspec.json.encode(CheckResult.of(name, part, told, property=_sentence(name), printed=printed))


def _told_of(exercise: Exercise, module: ModuleType, part: str, name: str, explainer: Explainer) -> tuple[Told, str]:
    """What became of one example, and what it printed."""
    cases = run_examples(_examples(exercise), [name], module)
    ran = next((one for one in cases if one.problem), cases[0])
    if not ran.problem:
        return Told(Verdict.PASSED), ran.printed
    if ran.error is not None and (described(ran.error, exercise.attempt).lines or not _is_claim(ran.error)):
        return explainer.learner(ran.error, exercise.part(part)), ran.printed
    return Told(Verdict.WRONG, ran.problem), ran.printed


def _is_claim(error: BaseException) -> bool:
    """Whether an example says itself that something does not hold."""
    import pytest

    return isinstance(error, AssertionError | pytest.fail.Exception)


def _sentence(name: str) -> str:
    """`test_two_rows` as one reads it."""
    return name.removeprefix("test_").replace("_", " ").capitalize() + "."


def in_order(planned: Planned, first: Iterable[str], only: Iterable[str]) -> dict[str, list[str]]:
    """The examples to run: those of `only`, where it names any, the parts of `first` before the others."""
    chosen = set(only) or set(planned)
    names = [*dict.fromkeys([*first, *planned])]
    return {name: planned[name] for name in names if name in chosen and name in planned}
