"""Reads text of strangers in a process of its own, which may take so much time and memory and no more.

To parse a text can take hours or end Python, and nothing in the same process can stop that. One process reads a whole
batch, one submission after the other; what ends it costs the submission that it was at, and a new one goes on.
"""

import contextlib
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from grader.base.child import begin_child, write_all
from grader.base.errors import HouseError

SECONDS = 5
"""Of processor time to read one submission: an honest one takes a hundredth."""
_WALL_SECONDS = 120.0
"""For a disk that does not answer."""
MEMORY_MB = 1024
_LARGEST_ANSWER = 16 << 20
_LENGTH = struct.Struct(">I")
_ENDS = (signal.SIGPROF, signal.SIGXCPU)

Given = TypeVar("Given")
Read = TypeVar("Read")


def each(
    work: Callable[[Given], Read], given: Sequence[Given], kind: type[Read], failed: Callable[[Given, str], Read]
) -> Iterator[Read]:
    """`work` of each, in order, done in another process; what it returns is data.

    kind: of what `work` returns. failed: what to return where it came to no end; its sentence goes on after a name:
    "cannot be read within 5 s". Raises HouseError where the machine refuses a process.
    """
    at = 0
    again = False
    while at < len(given):
        child = _Child(work, given[at:])
        try:
            while at < len(given) and (answer := child.answer()) is not None:
                yield msgspec.json.decode(answer, type=kind)
                at, again = at + 1, False
        finally:
            how = child.end()
        if at < len(given):
            if how and not again:  # killed, and not for its time: the machine may be to blame
                again = True
                continue
            yield failed(given[at], how or f"cannot be read within {SECONDS} s")
            at, again = at + 1, False


class _Child:
    """A fork that works through what it was given, and writes each answer to a pipe."""

    def __init__(self, work: Callable[[Given], Read], given: Sequence[Given]) -> None:
        self._is_late = False
        self._pipe, write = os.pipe()
        try:
            self._pid = os.fork()
        except OSError as error:
            os.close(self._pipe)
            os.close(write)
            raise HouseError(f"no process to read submissions could be started: {error.strerror}.") from None
        if self._pid == 0:
            os.close(self._pipe)
            _serve(work, given, write)
        os.close(write)

    def answer(self) -> bytes | None:
        """The next answer; None where the process has ended without one, or takes too long."""
        ends = time.monotonic() + _WALL_SECONDS
        head = self._exactly(_LENGTH.size, ends)
        return head and self._exactly(_LENGTH.unpack(head)[0], ends)

    def _exactly(self, size: int, ends: float) -> bytes | None:
        data = bytearray()
        while len(data) < size <= _LARGEST_ANSWER:
            if not select.select([self._pipe], [], [], max(0.0, ends - time.monotonic()))[0]:
                self._is_late = True
                return None
            piece = os.read(self._pipe, min(size - len(data), 1 << 20))
            if not piece:
                return None
            data += piece
        return bytes(data) if len(data) == size else None

    def end(self) -> str:
        """How it ended, for a sentence; nothing where its time was over."""
        os.close(self._pipe)
        if self._is_late:
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        if self._is_late:
            return f"cannot be read within {_WALL_SECONDS:g} s: the disk does not answer"
        code = os.waitstatus_to_exitcode(status)
        if -code in _ENDS:
            return ""
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"cannot be read: Python ended over it with {name}"


def _serve(work: Callable[[Given], Read], given: Sequence[Given], write: int) -> NoReturn:
    """What runs in the fork."""
    code = 1
    try:
        _enter_limits()
        for one in given:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            answer = msgspec.json.encode(work(one))
            signal.setitimer(signal.ITIMER_PROF, 0)
            write_all(write, _LENGTH.pack(len(answer)) + answer)
        code = 0
    except BrokenPipeError:
        code = 0  # nobody wants to know any more
    finally:
        os._exit(code)


def _enter_limits() -> None:
    begin_child()  # what Python warns of in a stranger's text is nobody's to read
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, whose end closes the pipe
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (there + (MEMORY_MB << 20),) * 2)
