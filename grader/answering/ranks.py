"""Real ranks for drivers: processes of one gloo group, each a fork of the one that runs the learner's code.

They meet through a file and talk over the loopback, so no port is fixed. A rank that raises, dies or does not end is an
exception in the driver that asked, within seconds, and no rank outlives the call.
"""

import contextlib
import faulthandler
import os
import select
import signal
import socket
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import msgspec

from grader.answering import wire
from grader.answering.alone import forking
from grader.answering.data import plain
from grader.base import fair
from grader.verdicts.fault import NoLoopback
from grader.verdicts.raised import Raised, describe, revive

_LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
_LOOK_SECONDS = 0.1
_ENDING_LOOKS, _ENDING_SECONDS = 50, 0.01
_OTHERS_SECONDS = 0.2
"""How long to wait, once a rank has failed, for others that fail too: the lowest of them is the one to tell of."""


def on_ranks(module: ModuleType, count: int, work: Callable[[int], Any], seconds: float = 8.0) -> list[Any]:
    """`work(rank)` in each of `count` processes that form the default group; what they return, as data, by rank.

    module: the learner's. Each rank starts with a copy of this process as it is, random state included, and one thread.
    Raises what a rank raised ("rank 1 of 3: ..."), ChildProcessError where one died, TimeoutError where one had not
    ended after `seconds`, in which the time that other programs took does not count; NoLoopback where the machine's
    isolation leaves no network of its own.
    """
    _need_loopback()
    running: dict[int, tuple[int, socket.socket]] = {}
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        try:
            for rank in range(count):
                ours, theirs = socket.socketpair()
                with forking():
                    pid = os.fork()
                if pid == 0:
                    ours.close()
                    _rank(theirs, Path(folder, "store"), rank, count, work, Path(module.__file__ or ""))
                theirs.close()
                running[rank] = pid, ours
            return _gather(running, count, seconds)
        finally:
            for _, ours in running.values():
                ours.close()
            pids = [pid for pid, _ in running.values() if pid]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in pids:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _gather(running: dict[int, tuple[int, socket.socket]], count: int, seconds: float) -> list[Any]:
    """Wait for each rank's reply; raises for the lowest rank that failed."""
    waiting = {ours: rank for rank, (_, ours) in running.items()}
    values: dict[int, Any] = {}
    failed: dict[int, BaseException] = {}
    waits, began, left = fair.Waits(), time.monotonic(), seconds
    while waiting and left > 0:
        ready, _, _ = select.select(list(waiting), [], [], min(left, _LOOK_SECONDS))
        lost = waits.look(fair.threads_of(pid for pid, _ in running.values()))
        for ours in ready:
            rank = waiting.pop(ours)
            said = _reply(ours)
            if said is None:
                failed[rank] = ChildProcessError(f"rank {rank} of {count} {_end_of(running, rank)}")
            elif "value" in said:
                values[rank] = said["value"]
            else:
                raised = msgspec.convert(said["raised"], Raised)
                failed[rank] = revive(msgspec.structs.replace(raised, said=f"rank {rank} of {count}: {raised.said}"))
        passed = time.monotonic() - began
        left = seconds + lost - passed  # the clock of the check is there for ranks that others keep from running at all
        if failed:
            seconds = min(seconds, passed - lost + _OTHERS_SECONDS)
    fair.add_loss(waits.lost)
    dead = {rank: error for rank, error in failed.items() if isinstance(error, ChildProcessError)}
    if failed:
        raise min((dead or failed).items())[1]  # what the others say after a death is that they lost a peer
    if waiting:
        late = ", ".join(str(rank) for rank in sorted(waiting.values()))
        raise TimeoutError(
            f"rank {late} of {count} had not ended after {seconds:g} s: does each take part in every exchange, and has "
            "each receive its send?"
        )
    return [values[rank] for rank in range(count)]


def _end_of(running: dict[int, tuple[int, socket.socket]], rank: int) -> str:
    """How a rank ended that has closed its socket without a reply. It is collected with that."""
    pid, ours = running[rank]
    with contextlib.suppress(ChildProcessError):
        for _ in range(_ENDING_LOOKS):  # its socket closes a moment before it is gone; or it has closed it, and lives
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                running[rank] = 0, ours
                code = os.waitstatus_to_exitcode(status)
                return "ended without a result" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
            time.sleep(_ENDING_SECONDS)
    return "ended without a result"


def _reply(ours: socket.socket) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, wire.Malformed):
        body = wire.receive(ours)
        if body is not None:
            said = wire.unpack(body)
            return said if isinstance(said, dict) else None
    return None


def _rank(
    theirs: socket.socket, store: Path, rank: int, count: int, work: Callable[[int], Any], path: Path
) -> NoReturn:
    """What runs in one rank; never returns."""
    try:
        faulthandler.disable()  # pytest's: gloo aborts in C where a peer goes away, which is not worth a page of frames
        if sys.platform == "linux":
            from grader.base.linux import die_with_parent

            die_with_parent(signal.SIGKILL)
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)  # before any operation: a pool of threads does not survive a fork
        # Meters trace Python's memory. To begin or end that changes Python's allocators, under the hands of gloo's
        # threads: it begins before they do, and does not end.
        tracemalloc.start()
        os.environ["GLOO_SOCKET_IFNAME"] = _LOOPBACK
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
        dist.barrier()  # so that no rank leaves while another still connects
        try:
            reply = {"value": plain(work(rank))}
        except BaseException as error:
            reply = {"raised": msgspec.to_builtins(describe(error, path))}
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        wire.send(theirs, wire.pack(reply))
        while True:  # until all are ended at once: a peer may still read what this one sent
            signal.pause()
    finally:
        os._exit(0)


def _need_loopback() -> None:
    try:
        socket.socket().close()
    except PermissionError:
        raise NoLoopback("ranks talk over the loopback") from None
