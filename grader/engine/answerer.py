"""The answering process of the engine: `python -m grader.engine.answerer LEVEL [MODULE...]`, started once for a batch.

It imports torch and the modules that it is told, encloses itself, and then forks an answerer for every question that
comes in on its control socket. It knows no check, no reference and no submission but the one that each fork is sent. A
fork has a keeper outside the cage, which holds the limits that the kernel does not, and ends everything inside when the
asker goes away.

    asker ── control: two sockets ──► warm process ── fork ── keeper ── fork ── init (pid 1) ── fork ── answerer
      └────────── status: level, output, how it ended ◄─────────┘                                          │
      └────────── data: the file, then requests and replies ◄──────────────────────────────────────────────┘
"""

import contextlib
import faulthandler
import gc
import importlib
import marshal
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import msgspec

from grader.answering.module import importing
from grader.base import linux
from grader.engine import cage
from grader.engine.messages import CONTROL_FD, Ended, Hello, Job

with importing():
    from grader.answering import wire

_NEEDED = (
    "torch", "torch.distributed", "torch.utils.checkpoint",
    "grader.answering.answer", "grader.answering.forbidden", "grader.answering.runner", "grader.cost", "grader.hooks",
    "grader.ranks",
)  # fmt: skip
"""What every answerer needs: later the grader's own files are out of reach. None runs a torch operation."""
_TICK_SECONDS = 0.05
_KEPT_OUTPUT = 8000
"""Bytes of what was printed last: as long as what tells where code stood."""


def main() -> None:
    """Serve until the control socket closes."""
    level = cage.Level(sys.argv[1])
    control = socket.socket(fileno=CONTROL_FD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's to handle
    with importing():
        for module in (*_NEEDED, *sys.argv[2:]):
            importlib.import_module(module)
        importlib.import_module("torch.overrides").get_testing_overrides()  # kept from now on: the watch looks into it
    cage.enclose(level)
    _make_forks_cheap()
    try:
        control.send(b"ready")
    except BrokenPipeError:
        return  # the batch was ended before it began
    slot = 0
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        except ConnectionResetError:
            return  # it has closed its end without having read what this one sent
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return
        job = msgspec.json.decode(message, type=Job)
        slot = slot % 50_000 + 1
        if os.fork() == 0:
            control.close()
            _keep(job, level, slot, socket.socket(fileno=descriptors[0]), socket.socket(fileno=descriptors[1]))
        for descriptor in descriptors:
            os.close(descriptor)


def _make_forks_cheap() -> None:
    """Let forks share what is here for as long as they can."""
    gc.freeze()  # a fork's collector need not look at, and so copy, what it has from here
    if sys.platform == "linux":
        linux.use_huge_pages()


def _keep(job: Job, level: cage.Level, slot: int, data: socket.socket, status: socket.socket) -> NoReturn:
    """The keeper: not in the cage, runs nothing of the learner's, and outlives the answerer."""
    folder = ""
    try:
        os.setpgid(0, 0)
        output, write_end = os.pipe()
        cage.separate(level)
        inside, outside = os.pipe()
        init = os.fork()
        if init == 0:
            os.close(output)
            os.close(inside)
            status.close()
            _init(job, level, slot, data, write_end, outside)
        os.close(write_end)
        os.close(outside)
        data.close()
        folder = os.read(inside, 4096).decode()
        with contextlib.suppress(OSError):  # the asker is gone already: the watch sees that too, and ends everything
            wire.send(status, msgspec.json.encode(str(level)))
        ended = _watch(job.limits, init, output, status)
        with contextlib.suppress(OSError):
            wire.send(status, msgspec.json.encode(ended))
    except BaseException:
        traceback.print_exc()  # the grader's own fault, for an author to see
    finally:
        cage.remove(level, folder)
        os._exit(0)


def _watch(limits: cage.Limits, init: int, output: int, status: socket.socket) -> Ended:
    """Wait for the answerer to end, or end it: too much output or memory, or nobody left who asks."""
    handle = os.pidfd_open(init) if hasattr(os, "pidfd_open") else -1
    own = _written_mb("self") if sys.platform == "linux" else 0
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
        if status.fileno() in ready:
            how = "asker"  # it never speaks on this socket: it has closed it
        elif total > limits.output_bytes:
            how = "output"
        elif _resident_mb(init, own) > limits.memory_mb:
            how = "memory"
        if how:
            _kill(init)
        done, code = os.waitpid(init, 0 if how else os.WNOHANG)
        if done:
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(init, signal.SIGKILL)  # where no pid namespace ended with it: what the attempt left running
    text = printed.decode(errors="replace")
    if how:
        return Ended(how, {"output": limits.output_bytes, "memory": limits.memory_mb}.get(how, 0), text)
    ended = os.waitstatus_to_exitcode(code)
    if ended >= 128 or ended < 0:
        number = ended - 128 if ended >= 128 else -ended
        return Ended("cpu" if number == signal.SIGXCPU else "signal", number, text)
    return Ended("exit", ended, text)


def _kill(init: int) -> None:
    """Kill everything inside: with its pid namespace, or where there is none with its process group."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(init, signal.SIGKILL)


def _resident_mb(init: int, own: int) -> int:
    """Resident memory, in MiB, of everything below `init`, each without the `own` that it has from the warm process."""
    total, waiting = 0, [init]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{pid}/task"):  # a child is listed under the thread that forked it
                waiting += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
            total += max(0, _written_mb(pid) - own)
    return total


def _written_mb(pid: int | str) -> int:
    """Resident memory of one process that no file holds, and the page tables for it."""
    for thread in sorted(os.listdir(f"/proc/{pid}/task")):  # a thread that has ended shows no memory, the first one too
        lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
        kib = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:", "VmPTE:"))]
        if kib:
            return sum(kib) >> 10
    return 0


def _init(job: Job, level: cage.Level, slot: int, data: socket.socket, write_end: int, outside: int) -> NoReturn:
    """The first process in the cage: waits for the answerer, passes on how it ended, and takes all others with it."""
    code = 1
    try:
        os.setpgid(0, 0)  # or a signal to the whole group would reach the keeper, also from a pid namespace
        if sys.platform == "linux":
            linux.adopt_orphans()  # in a pid namespace it does so anyway; elsewhere they would be somebody else's
        folder = cage.furnish(level)
        os.write(outside, folder.encode())
        os.close(outside)
        answerer = os.fork()
        if answerer == 0:
            _answer(job, level, slot, data, write_end, folder)
        data.close()
        os.close(write_end)
        if sys.platform == "linux":
            linux.set_dumpable(False)
        while True:
            pid, status = os.wait()
            if pid == answerer:
                code = os.waitstatus_to_exitcode(status)
                code = 128 - code if code < 0 else code
                break
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _answer(job: Job, level: cage.Level, slot: int, data: socket.socket, write_end: int, folder: str) -> NoReturn:
    """The answerer itself. From `cage.enter` on nothing here can be trusted by anyone else."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        kept = data.fileno()
        os.dup2(kept, 3)
        os.closerange(4, 1 << 12)
        data.detach()
        data = socket.socket(fileno=3)
        sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
        cage.enter(level, job.limits, folder, slot)
        import torch

        torch.set_num_threads(1)
        serve(data)
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            print(f"answerer: {type(error).__name__}: {error}", file=sys.__stderr__)
    finally:
        os._exit(code)


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
    path = Path("/attempt", hello.file_name)
    runner = Runner(path, _drivers(hello), "attempt", hello.text, hello.standins)
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
                    signal.setitimer(signal.ITIMER_REAL, check["seconds"])
            reply = {"value": runner.ask(Request(**request))}
        except BaseException as error:
            reply = {"raised": msgspec.to_builtins(described(error, path))}
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
