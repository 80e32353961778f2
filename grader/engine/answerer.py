"""The answering process of the engine: `python -m grader.engine.answerer LEVEL MODULE... --hide PATH...`.

Started once for a batch, it imports torch and the modules that it is told, encloses itself without the paths to hide,
and then forks an answerer for every question that comes in on its control socket. It knows no check, no reference and
no submission but the one that each fork is sent. A fork has a keeper outside the cage, which holds the limits that the
kernel does not, and ends everything inside when the asker goes away.

    asker ── control: two sockets ──► warm process ── fork ── keeper ── fork ── init (pid 1) ── fork ── answerer
      └────────── status: level, output, how it ended ◄─────────┘                                          │
      └────────── data: the file, then requests and replies ◄──────────────────────────────────────────────┘
"""

import contextlib
import faulthandler
import fcntl
import gc
import importlib
import io
import marshal
import os
import select
import signal
import socket
import sys
import time
import traceback
from itertools import pairwise
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

import msgspec

from grader.answering.module import importing
from grader.base import fair, linux
from grader.base.text import plain_lines
from grader.engine import cage, held, share
from grader.engine.cgroup import Group
from grader.engine.disk import Disk
from grader.engine.messages import CONTROL_FD, HIDE, Ended, Entered, Hello, Job
from grader.engine.view import View
from grader.verdicts.bounds import LONGEST_PRINTED

with importing():
    from grader.answering import wire

_NEEDED = (
    "torch", "torch.distributed", "torch.utils.checkpoint",
    "grader.answering.answer", "grader.answering.forbidden", "grader.answering.runner", "grader.cost", "grader.hooks",
    "grader.ranks",
)  # fmt: skip
"""Imported ahead, since an answerer cannot read the grader's files. None of them runs a torch operation."""
_TICK_SECONDS = 0.05
_IN = "in"
_ASIDE = 100
"""Descriptors from here on are out of the way."""
_KEPT_OUTPUT = 8000
"""Bytes that are kept of what was printed last: enough for a traceback."""


def main() -> None:
    """Serve until the control socket closes."""
    level = cage.Level(sys.argv[1])
    ahead, hidden = sys.argv[2 : (split := sys.argv.index(HIDE))], sys.argv[split + 1 :]
    control = socket.socket(fileno=CONTROL_FD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's to handle
    own = share.prepare(level is cage.Level.FULL)  # before this process is large, and costly to fork
    with importing():
        for module in (*_NEEDED, *ahead):
            importlib.import_module(module)
        importlib.import_module("torch.overrides").get_testing_overrides()  # kept from now on: the watch looks into it
    grants = cage.enclose(level, View.without(hidden))
    _make_forks_cheap()
    try:
        control.send(b"ready")
    except BrokenPipeError:
        return  # the batch was ended before it began
    slot = 0
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 3)
        except ConnectionResetError:
            return  # it has closed its end without having read what this one sent
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return
        job = msgspec.json.decode(message, type=Job)
        with importing():
            sys.modules["grader.answering.forbidden"].get_ready(*job.forbidden)
        slot += 1
        with contextlib.suppress(OSError):  # the machine refuses a process: the asker sees its sockets close
            if os.fork() == 0:
                control.close()
                _keep(job, _Place(level, own, slot, grants), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _make_forks_cheap() -> None:
    """Let forks share the memory of this process as long as possible."""
    gc.freeze()  # a fork's collector need not look at, and so copy, what it has from here
    if sys.platform == "linux":
        linux.use_huge_pages()


class _Place(msgspec.Struct, frozen=True):
    """Where an answerer lives."""

    level: cage.Level
    share: share.Share
    slot: int
    """A number that no other living answerer of this grader has."""
    grants: cage.Grants


def _keep(job: Job, place: _Place, data: int, status_end: int, ledger: int = -1) -> NoReturn:
    """The keeper: it stands outside the cage, runs no code of the learner's, and outlives the answerer."""
    folder, group, init = "", None, 0
    try:
        os.setpgid(0, 0)
        status = socket.socket(fileno=status_end)
        output, write_end = os.pipe()
        cage.separate(place.level)
        inside, outside = os.pipe()
        group = share.group_for(place.share, f"dl-kata-{os.getpid()}", job.limits.memory_mb)
        init = os.fork()
        if init == 0:
            if group:
                os.write(group.entrance, b"0")
                os.close(group.entrance)
            for descriptor in (output, inside, *([ledger] if ledger >= 0 else [])):
                os.close(descriptor)
            status.close()
            _init(job, place, socket.socket(fileno=data), write_end, outside)
        for descriptor in (data, write_end, outside):
            os.close(descriptor)
        with os.fdopen(inside, "rb") as told:
            folder = told.readline().decode().strip()
            said = told.readline().decode(errors="replace").strip()
        cores = job.cores or fair.processors()
        failed = "" if said == _IN else said or "its process ended as it began"
        with contextlib.suppress(OSError):  # the asker is gone already: the watch sees that too, and ends everything
            wire.send(status, msgspec.json.encode(Entered(place.level, place.share.means(len(cores)), failed)))
        if not failed:
            ended = _Watch(job, place, folder, init, ledger, group).until_it_ends(output, status)
            with contextlib.suppress(OSError):
                wire.send(status, msgspec.json.encode(ended))
    except BaseException:
        traceback.print_exc()  # the grader's own fault, for an author to see
        if init:
            _kill(init)  # nobody would hold its limits
    finally:
        if group:
            group.remove()
        cage.remove(place.level, folder)
        os._exit(0)


class _Watch:
    """Waits for an answerer to end, or ends it: too much output, memory, processes, files, or nobody left who asks."""

    def __init__(self, job: Job, place: _Place, folder: str, init: int, ledger: int, group: Group | None) -> None:
        self._limits, self._init, self._group = job.limits, init, group
        self._most_processes = 0 if place.share.counted or group else share.PROCESSES
        on_linux = sys.platform == "linux"
        own_mb = held.written_mb(os.getpid()) if on_linux else 0
        self._held = held.Held(init, own_mb, len(job.cores or fair.processors()), group) if on_linux else None
        self._disk = Disk(folder, cage.TMP_BYTES) if place.level is cage.Level.LANDLOCK else None
        self._ledger = held.Ledger(ledger) if ledger >= 0 else None
        self._looked = 0.0

    def until_it_ends(self, output: int, status: socket.socket) -> Ended:
        handle = os.pidfd_open(self._init) if hasattr(os, "pidfd_open") else -1
        printed, total, how = bytearray(), 0, ""
        waited = [output, status.fileno(), *([handle] if handle >= 0 else [])]
        while True:
            ready, _, _ = select.select(waited, [], [], _TICK_SECONDS)
            if output in ready:
                piece = os.read(output, 1 << 16)
                total += len(piece)
                printed = (printed + piece)[-_KEPT_OUTPUT:]
                if not piece:
                    waited.remove(output)
            gone = status.fileno() in ready  # it never speaks on this socket: it has closed it
            how = "output" if total > self._limits.output_bytes else self._passed(gone)
            if gone or how:
                how = how or "asker"  # what was passed before the asker lost its patience is what is told
                _kill(self._init)
            done, code = os.waitpid(self._init, 0 if how else os.WNOHANG)
            if done:
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._init, signal.SIGKILL)  # where no pid namespace ended with it: what was left running
        return self._told(how, code, printed.decode(errors="replace"))

    def _passed(self, at_once: bool) -> str:
        """Which limit is passed. at_once: look now, not only once a tick."""
        now = time.monotonic()
        if self._held is None or (not at_once and now < self._looked + _TICK_SECONDS):
            return ""
        self._looked = now
        self._held.look(self._limits.memory_mb)
        if self._ledger:
            self._ledger.write(self._held)
        if self._held.memory_mb > self._limits.memory_mb:
            return "memory"
        if self._held.processes > self._most_processes > 0:
            return "processes"
        return "disk" if self._disk and self._disk.is_over(self._held.pids) else ""

    def _told(self, how: str, code: int, text: str) -> Ended:
        numbers = {
            "output": self._limits.output_bytes, "memory": self._limits.memory_mb, "processes": share.PROCESSES,
            "disk": cage.TMP_BYTES,
        }  # fmt: skip
        if how:
            return Ended(how, numbers.get(how, 0), text)
        ended = os.waitstatus_to_exitcode(code)
        if ended >= 128 or ended < 0:
            number = ended - 128 if ended >= 128 else -ended
            if number == signal.SIGKILL and self._group and self._group.ran_out_of_memory():
                return Ended("memory", numbers["memory"], text)
            return Ended("cpu" if number == signal.SIGXCPU else "signal", number, text)
        return Ended("exit", ended, text)


def _kill(init: int) -> None:
    """Kill everything inside: with its pid namespace, or where there is none with its process group."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(init, signal.SIGKILL)


def _init(job: Job, place: _Place, data: socket.socket, write_end: int, outside: int) -> NoReturn:
    """The first process in the cage: waits for the answerer, passes on how it ended, and takes all others with it."""
    code = 1
    try:
        os.setsid()  # a process group and a scheduling group of the cage's own
        if sys.platform == "linux":
            linux.adopt_orphans()
            os.sched_setaffinity(0, job.cores or fair.processors())
        folder = cage.furnish(place.level)
        os.write(outside, folder.encode() + b"\n")
        ours, theirs = socket.socketpair()
        answerer = os.fork()
        if answerer == 0:
            ours.close()
            _answer(job, place, folder, (data.detach(), write_end, outside, theirs.detach()))
        data.close()
        theirs.close()
        for descriptor in (write_end, outside):
            os.close(descriptor)
        if sys.platform == "linux":
            signal.signal(signal.SIGTERM, _end_all)  # the answerer, forked before, has no part in it
            linux.die_with_parent(signal.SIGTERM)
        share.admit(place.share, place.slot, answerer, ours)
        ours.close()
        if sys.platform == "linux":
            linux.set_dumpable(False)
        while True:
            pid, status = os.wait()
            if pid == answerer:
                code = os.waitstatus_to_exitcode(status)
                code = 128 - code if code < 0 else code
                break
    except BaseException as error:
        with contextlib.suppress(OSError):  # nobody reads it any more
            os.write(outside, _reason(error))
    finally:
        os._exit(code)


def _end_all(number: int, frame: FrameType | None) -> NoReturn:
    """What `_init` does when its keeper is killed: nobody would hold the limits any more, nor end what runs."""
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGKILL)  # with this process, but in a pid namespace of its own, which ends with it
    os._exit(1)


def _answer(job: Job, place: _Place, folder: str, held_open: tuple[int, int, int, int]) -> NoReturn:
    """The answerer itself. After `cage.enter` no other process trusts anything that it says."""
    code, entered = 1, False
    # Out of the way of the numbers that they are to have.
    data_end, write_end, outside, link_end = (fcntl.fcntl(one, fcntl.F_DUPFD, _ASIDE) for one in held_open)
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((null, 0), (write_end, 1), (write_end, 2), (data_end, 3)):
            os.dup2(descriptor, number)
        kept = sorted((3, outside, link_end, 1 << 12))
        for before, after in pairwise(kept):
            os.closerange(before + 1, after)
        data, link = socket.socket(fileno=3), socket.socket(fileno=link_end)
        sys.stdout = Heard(os.fdopen(1, "wb", closefd=False), errors="replace", line_buffering=True)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
        cage.enter(place.level, job.limits, folder, place.share, place.slot, link, place.grants)
        link.close()
        import torch

        torch.set_num_threads(1)
        os.write(outside, _IN.encode() + b"\n")
        os.close(outside)
        entered = True
        serve(data)
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            if not entered:
                os.write(outside, _reason(error))
            print(f"answerer: {type(error).__name__}: {error}", file=sys.__stderr__)
    finally:
        os._exit(code)


class Heard(io.TextIOWrapper):
    """Where the code prints to: what was written last is kept for who asked, and all goes on to the keeper."""

    kept = ""

    def write(self, text: str) -> int:
        self.kept = (self.kept + text)[-LONGEST_PRINTED:]
        return super().write(text)

    def taken(self) -> str:
        """What was written since it was taken last, as plain text: no other can be sent in all cases."""
        text, self.kept = self.kept, ""
        return plain_lines(text)


def _reason(error: BaseException) -> bytes:
    """One line, which the keeper hands on."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return said[:500].encode(errors="replace") + b"\n"


def serve(data: socket.socket) -> None:
    """Answer requests about one file until the asker closes the socket."""
    import torch

    from grader.answering.request import Request
    from grader.answering.runner import Runner, Steady
    from grader.verdicts.raised import described

    steady = Steady()
    faulthandler.register(signal.SIGALRM, file=2, all_threads=False)  # says where code stands, in C too
    seed = torch.default_generator.manual_seed  # held before the learner's code may replace it
    body = wire.receive(data)
    if body is None:
        return
    hello = msgspec.convert(wire.unpack(body), Hello)
    path, heard = Path("/attempt", hello.file_name), sys.stdout
    runner = Runner(path, _drivers(hello), "attempt", hello.text, hello.standins, hello.forbidden)
    while (body := wire.receive(data)) is not None:
        request = wire.unpack(body, strides=True)
        number, check = request.pop("number", 0), request.pop("check", None)
        try:
            if check:  # the first question of one
                with contextlib.suppress(Exception):
                    runner.raised = None  # with all that its frames hold
                    runner.forbidden = check["forbidden"]
                    steady.restore()
                    seed(check["seed"])
                    # Again and again: the clock of a check waits where the machine is busy.
                    signal.setitimer(signal.ITIMER_REAL, check["seconds"], check["seconds"])
            reply = {"value": runner.ask(Request(**request))}
        except BaseException as error:
            reply = {"raised": msgspec.to_builtins(described(error, path))}
        if isinstance(heard, Heard) and heard.kept:
            reply["printed"] = heard.taken()
        try:
            packed = wire.pack({"number": number, **reply})
        except wire.Malformed as error:
            packed = wire.pack({"number": number, "malformed": str(error)})
        wire.send(data, packed)


def _drivers(hello: Hello) -> ModuleType:
    """The drivers, as a module that no file holds."""
    module = ModuleType("drivers")
    exec(marshal.loads(hello.drivers), module.__dict__)
    return module


if __name__ == "__main__":
    main()
