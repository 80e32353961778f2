"""Judge many variants of one exercise's file: each runs in a fork of the process that holds the checks.

That process runs no torch operation, since one that did may deadlock its forks.
"""

import contextlib
import os
import random
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from _pytest.runner import runtestprotocol  # one check, without the reports of pytest's loop, which nobody reads

from grader.answering.channel import Channel
from grader.bank.standins import StandIns
from grader.base import fair
from grader.base.child import begin_child, write_all
from grader.judging.collected import Collected
from grader.judging.verdict_of import seen_of, unrun
from grader.verdicts.doubt import Doubt
from grader.verdicts.result import CheckResult
from grader.verdicts.verdict import Verdict

_MEMORY = 8 << 30
_LAST = b"last: "
_LOST = b"lost: "
_LONGEST_LINE = 256 << 10
_LONGEST_REPORT = 16 << 20
"""Bytes of one check, and of all that a process may report: what is said of an attempt is cut long before."""
_LOOK_SECONDS = 0.1
"""Between looks at what has been reported: to be woken by each check of each process costs more than the looks."""
_MOST_REFUSED = 600
"""How often a process that the machine refuses is asked for again, before the submission is given up."""


class Variant(msgspec.Struct, frozen=True):
    """A text to judge in place of the learner's file, and how."""

    name: str
    text: str
    seed: int = 0
    order: str = "file"
    """`file`, `reversed` or `shuffled`."""
    first: tuple[str, ...] = ()
    """Names of parts, or of checks, that come before all others, in this order."""
    only: tuple[str, ...] = ()
    """Names of the parts, or ids of the checks, to run; empty for all."""
    stop_early: bool = False
    """End at the first check that does not pass: enough to know that a wrong answer is caught."""
    check_seconds: float | None = None
    channel: Callable[[], Channel] | None = None
    """Makes what answers for it; None to run it in the fork itself."""
    follow: Callable[[StandIns], Channel] | None = None
    """Makes the same with the reference's predecessors, for checks that fail beside one of these."""


class Said(msgspec.Struct, frozen=True):
    """What a process says when it has judged a variant."""

    isolation: str = ""
    means: dict[str, str] = {}
    """What the share of the machine rested on."""
    doubts: dict[str, Doubt] = {}
    """Parts for whose verdict the machine may be to blame."""


class Outcome(msgspec.Struct, frozen=True):
    variant: Variant
    checks: list[CheckResult]
    died: str = ""
    """How the process ended, if not by itself."""
    running: str = ""
    """The check that it died in."""
    timed_out: bool = False
    starved: bool = False
    """Whether its time was over since others had the processors."""
    said: Said = Said()

    @property
    def passed(self) -> bool:
        return not self.died and all(check.verdict is Verdict.PASSED for check in self.checks)


def judge(
    collected: Collected,
    variants: Sequence[Variant],
    *,
    jobs: int,
    deadline: float,
    on_check: Callable[[CheckResult], None] = lambda check: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    look: float = _LOOK_SECONDS,
    more: Callable[[], Sequence[Variant]] = tuple,
) -> Iterator[Outcome]:
    """Run each variant in a process of its own, `jobs` at a time; yields as they end.

    deadline: seconds for one, which others did not take. on_check: gets each check as it reports. is_cancelled: asked
    each time that there may be something new; what runs then is ended, and yields nothing. look: seconds between looks
    at what has been reported; short where somebody waits for the first check. more: asked where a process could begin
    and none waits, for what has come in meanwhile.
    """
    waiting = list(reversed(variants))
    running: dict[int, _Child] = {}
    free, refused = list(range(jobs)), 0
    with selectors.DefaultSelector() as selector:
        try:
            while (waiting or running) and not is_cancelled():
                if free and not waiting:
                    waiting.extend(reversed(more()))
                while waiting and free:
                    try:
                        child = _Child(collected, waiting[-1], deadline, free[0], fair.processors_of(free[0], jobs))
                    except OSError as error:  # the machine refuses a process, or descriptors
                        refused += 1
                        if refused > _MOST_REFUSED and not running:
                            refused = 0
                            yield Outcome(waiting.pop(), [], died=f"no process could be started: {error.strerror}")
                        break
                    refused = 0
                    waiting.pop()
                    free.remove(child.slot)
                    running[child.alive] = child
                    selector.register(child.alive, selectors.EVENT_READ)
                if not running:
                    time.sleep(_LOOK_SECONDS)
                ended = {key.fd for key, _ in selector.select(look)} if running else set()
                for alive, child in list(running.items()):
                    for check in child.read():
                        on_check(check)
                    if alive in ended:
                        selector.unregister(alive)
                        del running[alive]
                        free.append(child.slot)
                        yield child.outcome()
                    elif child.is_late():
                        child.kill()  # its pipes close, and it is collected above
        finally:
            for child in running.values():
                child.kill()
                child.outcome()


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Around a fork: Python ignores an exception, KeyboardInterrupt too, that is raised in a hook of `os.fork`."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Child:
    """A fork that judges one variant and writes its checks to a pipe."""

    def __init__(
        self, collected: Collected, variant: Variant, deadline: float, slot: int, processors: list[int]
    ) -> None:
        self.collected = collected
        self.variant = variant
        self.slot = slot
        self.deadline = deadline
        self.killed = self.starved = False
        self._began = time.monotonic()
        self._lost = 0.0
        self._is_too_long = False
        self._reported = 0
        self._checks: list[CheckResult] = []
        self._said: Said | None = None  # as long as it has not ended by itself
        self._cut = b""  # of a line whose end has not come: where the process ends there, it does not count
        self.pipe, write = os.pipe()
        self.alive, held = os.pipe()  # says nothing, and closes when the child has ended
        try:
            with _ctrl_c_waits():
                self.pid = os.fork()
        except OSError:
            for descriptor in (self.pipe, write, self.alive, held):
                os.close(descriptor)
            raise
        if self.pid == 0:
            os.close(self.pipe)
            os.close(self.alive)
            _child(collected, variant, write, processors)
        os.close(write)
        os.close(held)
        os.set_blocking(self.pipe, False)

    def read(self) -> list[CheckResult]:
        """Take what is there: the checks that have been reported with it."""
        data = bytearray()
        with contextlib.suppress(BlockingIOError):
            while len(data) < _LONGEST_REPORT and (piece := os.read(self.pipe, 1 << 16)):
                data += piece
        *whole, self._cut = (self._cut + data).split(b"\n")
        self._reported += len(data)
        if self._reported > _LONGEST_REPORT or any(len(line) > _LONGEST_LINE for line in (*whole, self._cut)):
            self._is_too_long, self._cut, whole = True, b"", []
            self.kill()
        checks = []
        for line in whole:
            if line.startswith(_LOST):
                self._lost = float(line.removeprefix(_LOST))
            elif line.startswith(_LAST):
                self._said = msgspec.json.decode(line.removeprefix(_LAST), type=Said)
            else:
                checks.append(msgspec.json.decode(line, type=CheckResult))
        self._checks += checks
        return checks

    def is_late(self) -> bool:
        """Whether its time is over, without what it said that others took; at `fair.MOST` times that, in any case."""
        passed = time.monotonic() - self._began
        self.starved = passed - self._lost < self.deadline
        return not self.starved or passed > fair.MOST * self.deadline

    def kill(self) -> None:
        self.killed = True
        for kill in (os.kill, os.killpg):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def outcome(self) -> Outcome:
        os.close(self.pipe)
        os.close(self.alive)
        _, status = os.waitpid(self.pid, 0)
        checks = self._checks
        if self._said:
            return Outcome(self.variant, checks, said=self._said)
        ended = f"no end within {self.deadline:g} s" if self.killed else f"the asker ended with status {status}"
        if self._is_too_long:
            ended = "the asker reported more than it may"
        left = [item.name for item in _ordered(self.collected, self.variant)][len(checks) :]
        return Outcome(
            self.variant,
            checks,
            died=ended,
            running=left[0] if left else "",
            timed_out=self.killed and not self._is_too_long,
            starved=self.starved and not self._is_too_long,
        )


def _child(collected: Collected, variant: Variant, write: int, processors: list[int]) -> None:
    """What runs in the fork; never returns. processors: those of its job, also for what it has judged."""
    code = 1
    try:
        os.setpgid(0, 0)
        begin_child()
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            os.sched_setaffinity(0, processors)
        import torch

        torch.set_num_threads(1)
        said = _run(
            collected,
            variant,
            lambda check: write_all(write, msgspec.json.encode(check) + b"\n"),
            lambda seconds: write_all(write, _LOST + b"%.3f\n" % seconds),
        )
        write_all(write, _LAST + msgspec.json.encode(said) + b"\n")
        code = 0
    finally:
        os._exit(code)


def _run(
    collected: Collected,
    variant: Variant,
    say: Callable[[CheckResult], None],
    lost: Callable[[float], None] = lambda seconds: None,
) -> Said:
    """Run the checks on a variant. say: gets each check's result. lost: gets the seconds that others took, so far."""
    file, items = collected.file, _ordered(collected, variant)
    channel: Channel = variant.channel() if variant.channel else file.in_process(variant.text)
    channel.on_loss = lost
    file.use(channel, variant.follow)
    file.config.option.grader_seed = variant.seed
    seconds = variant.check_seconds or file.exercise.limits.check_seconds
    # Around the call alone: what sets it around setup too belongs to pytest's loop.
    clock = pytest.mark.timeout(seconds, method="signal", func_only=True)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.add_marker(clock, append=False)
        check = _judged(item, following)
        say(check)
        if variant.stop_early and check.verdict is not Verdict.PASSED:
            break
    file.close()
    return Said(channel.isolation, channel.means, file.doubts)


def _judged(item: pytest.Item, following: pytest.Item | None) -> CheckResult:
    """The result of one check. following: the next one, for which pytest leaves what both need as it is."""
    known = unrun(item)
    if known:
        return known
    (seen,) = filter(None, map(seen_of, runtestprotocol(item, log=False, nextitem=following)))
    return seen.check


def _ordered(collected: Collected, variant: Variant) -> list[pytest.Function]:
    items = list(collected.items)
    if variant.order == "reversed":
        items.reverse()
    elif variant.order == "shuffled":
        random.Random(variant.seed).shuffle(items)
    part = {id: part for part, ids in collected.planned.items() for id in ids}
    if variant.only:
        items = [item for item in items if part[item.name] in variant.only or item.name in variant.only]
    rank = {name: i for i, name in enumerate(variant.first)}
    last = len(rank)
    items.sort(key=lambda item: min(rank.get(part[item.name], last), rank.get(item.name.split("[")[0], last)))
    return items
