"""Seconds that count. A limit in seconds leaves out the time that other programs took of the processors.

The kernel says of each thread for how long it ran and for how long it waited for a processor (/proc/PID/schedstat).
Code that sleeps waits for none: its time counts. Code that is kept from the processors by its own threads has used
them, and its time counts too. Where the kernel does not say it (macOS, some containers) every second counts.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

MOST = 10
"""A limit ends at this many times its seconds, whoever had the processors."""
_WINDOW_SECONDS = 0.25
"""The kernel adds a wait when it is over: in shorter times it would be seen too late."""
_HARDLY = 1_000_000
"""Nanoseconds: who has not run for longer between two looks has waited."""


class Starved(BaseException):
    """The machine was too busy to give the code its time: nothing is known about the attempt."""


class Waits:
    """How much time some processes lost to others.

    cores: how many processors these may use. lost: seconds in which they wanted to run and others did, so far.
    """

    def __init__(self, cores: int | None = None) -> None:
        self.lost = 0.0
        self._cores = cores or len(processors())
        self._seen: dict[int, tuple[int, int]] = {}
        self._at = self._looked = time.monotonic()
        self._ran = self._waited = 0

    def look(self, threads: Iterable[int]) -> float:
        """Look at these threads, and at no other; returns `lost`. What began since the last look counts in full.

        The kernel adds a wait when it is over. One that is not, of a thread that may end before anybody looks again, is
        seen by this: the thread has not run since the last look, and is not asleep.
        """
        now = time.monotonic()
        since = int((now - self._looked) * 1e9)
        seen: dict[int, tuple[int, int]] = {}
        for thread in threads:
            ran, waited = _of_thread(thread)
            ran_before, waited_before = self._seen.get(thread, (0, 0))
            if ran - ran_before < _HARDLY and waited <= waited_before and _is_runnable(thread):
                waited = waited_before + since
            seen[thread] = ran, max(waited, waited_before)
            self._ran += max(0, ran - ran_before)
            self._waited += max(0, waited - waited_before)
        self._seen, self._looked = seen, now
        if now - self._at >= _WINDOW_SECONDS:
            self.lost += _lost(self._ran / 1e9, self._waited / 1e9, now - self._at, self._cores)
            self._at, self._ran, self._waited = now, 0, 0
        return self.lost


def _lost(ran: float, waited: float, seconds: float, cores: int) -> float:
    """What others took, in seconds: the part of the processors that was wanted and not had."""
    wanted, had = min(cores, (ran + waited) / seconds), ran / seconds
    return seconds * min(1.0, max(0.0, wanted - had) / max(1.0, wanted))


def _of_thread(thread: int) -> tuple[int, int]:
    """Nanoseconds that a thread ran, and that it waited to run; zeros where nobody knows."""
    with suppress(OSError, ValueError), open(f"/proc/{thread}/schedstat", "rb") as file:  # noqa: PTH123 - many times a second
        ran, waited, _ = file.read().split()
        return int(ran), int(waited)
    return 0, 0


def _is_runnable(thread: int) -> bool:
    with suppress(OSError, IndexError), open(f"/proc/{thread}/stat", "rb") as file:  # noqa: PTH123 - the same
        return file.read().rpartition(b")")[2].split()[0] == b"R"
    return False


def threads_of(pids: Iterable[int]) -> list[int]:
    """The threads of processes."""
    threads: list[int] = []
    for pid in pids:
        with suppress(OSError):
            threads += map(int, os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - many times a second
    return threads


def own_wait() -> float:
    """Seconds for which the first thread of this process has waited for a processor, so far."""
    return _of_thread(os.getpid())[1] / 1e9


def pressure() -> float:
    """Percent of the last seconds in which somebody on this machine waited for a processor; 0 where nobody knows.

    It sees what `Waits` may not: processes that began, waited and ended between two looks. It does not say who waited.
    """
    with suppress(OSError, ValueError, IndexError), open("/proc/pressure/cpu", encoding="ascii") as file:  # noqa: PTH123 - as above
        return float(file.readline().split()[1].removeprefix("avg10="))
    return 0.0


_of_children = 0.0


def add_loss(seconds: float) -> None:
    """Note what children of this process have lost while it waited for them."""
    global _of_children
    _of_children += seconds


def own_loss() -> float:
    """Seconds that others took of the processors from this process, and from children of which it took note."""
    return own_wait() + _of_children


def processors() -> list[int]:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def processors_of(slot: int, jobs: int) -> list[int]:
    """The processors that one of so many jobs at a time has for itself; with more jobs than processors they share."""
    every = processors()
    return every[slot % jobs :: jobs] or [every[slot % len(every)]]


@contextmanager
def check_clock(lost: Callable[[], float], starved: Callable[[], BaseException] | None = None) -> Iterator[None]:
    """Let the clock of a check, which somebody has set, leave out what `lost` grows by meanwhile.

    Once it has rung it rings every second until the check is over: Python drops what a clock raises inside a
    destructor, and torch has some. starved: what to raise where the clock has waited for `MOST` times its seconds.
    """
    limit, _ = signal.getitimer(signal.ITIMER_REAL)
    if not limit:
        yield
        return
    ring, began, before = signal.getsignal(signal.SIGALRM), time.monotonic(), lost()

    def rung(number: int, frame: Any) -> None:
        passed = time.monotonic() - began
        owed = limit - passed + lost() - before
        if owed > 0.01 and passed < MOST * limit:
            signal.setitimer(signal.ITIMER_REAL, max(owed, _WINDOW_SECONDS), 1.0)
        elif owed > 0.01 and starved:
            raise starved()
        elif callable(ring):
            ring(number, frame)

    signal.signal(signal.SIGALRM, rung)
    signal.setitimer(signal.ITIMER_REAL, limit, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(0.0, began + limit - time.monotonic()))  # as it was; 0 stops it
        signal.signal(signal.SIGALRM, ring)
