"""What the processes of one cage hold, as its keeper sees it from outside: processes, memory, lost time."""

import contextlib
import mmap
import os
import struct
import time
from pathlib import Path

from grader.base import fair
from grader.engine.cgroup import Group

_LEDGER = struct.Struct("dI")
_EXACT_SECONDS = 0.25
"""Between two exact looks at memory: each walks through the page tables."""
_FEW_FILES, _FILE_KIB = 64, 208
"""More open files than honest code has, and what the kernel holds for a socket at most."""
_SIZES = (b"RssAnon:", b"RssShmem:", b"VmPTE:", b"VmSwap:", b"HugetlbPages:")
_SHARES = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:", b"Private_Hugetlb:", b"Shared_Hugetlb:")


class Held:
    """What everything below `init` holds. init: the first process of the cage. own_mb: what each has from the start.
    group: the cage's control group, if it has one.

    processes: with threads, now. most_processes: at any look. memory_mb: now. pids: now.
    """

    def __init__(self, init: int, own_mb: int, cores: int, group: Group | None = None) -> None:
        self.processes = self.most_processes = self.memory_mb = 0
        self.pids: list[int] = []
        self.waits = fair.Waits(cores)
        self._init, self._own_mb = init, own_mb
        self._exact_at = 0.0
        self._group = group

    def look(self, limit_mb: int) -> None:
        """Look at everything once. limit_mb: of memory; what may be above it is looked at more exactly."""
        processes = _below(self._init)
        self.pids = list(processes)
        threads = [thread for its in processes.values() for thread in its]
        self.processes = len(threads) - 1  # `init` is ours
        self.most_processes = max(self.most_processes, self.processes)
        self.waits.look(threads)
        if self._group:
            self.memory_mb = self._group.held_mb()
            return
        self.memory_mb = sum(max(0, _written_mb(its) - self._own_mb) for its in processes.values())
        if self.memory_mb > limit_mb:
            self.memory_mb = self._shared_out(processes, limit_mb)

    def _shared_out(self, processes: dict[int, list[int]], limit_mb: int) -> int:
        """The same with each page counted once, though several processes have it from one another."""
        if time.monotonic() - self._exact_at < _EXACT_SECONDS:
            return limit_mb
        held = sum(_proportional_mb(its, self._own_mb) for its in processes.values()) - self._own_mb
        if held <= limit_mb:
            self._exact_at = time.monotonic()
        return held


def _below(init: int) -> dict[int, list[int]]:
    """The processes from `init` down, each with its threads."""
    found: dict[int, list[int]] = {}
    waiting = [init]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        threads = fair.threads_of([pid])
        if threads:
            found[pid] = sorted(threads)
        for thread in threads:  # a child is listed under the thread that forked it
            with contextlib.suppress(OSError, ValueError):
                waiting += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _written_mb(threads: list[int]) -> int:
    """Memory of one process that no file holds, in RAM or swapped out, the page tables for it, and buffers."""
    return (_sum(threads, "status", _SIZES) + _buffers_kib(threads)) >> 10


def _buffers_kib(threads: list[int]) -> int:
    """What the kernel may hold for the many files that a process has open: each may be a socket that is full.

    How many there are is the size of a folder, from Linux 6.2 on.
    """
    for thread in threads:
        with contextlib.suppress(OSError):
            if files := os.stat(f"/proc/{thread}/fd").st_size:
                return max(0, files - _FEW_FILES) * _FILE_KIB
    return 0


def _proportional_mb(threads: list[int], own_mb: int) -> int:
    """The same without what others hold as well. A process that lets nobody look into it is charged in full."""
    kib = _sum(threads, "smaps_rollup", _SHARES)
    if not kib:
        return max(0, _written_mb(threads) - own_mb)
    return (kib + _sum(threads, "status", (b"VmPTE:",)) + _buffers_kib(threads)) >> 10


def _sum(threads: list[int], file: str, names: tuple[bytes, ...]) -> int:
    """Kibibytes in lines that begin so. A thread that has ended shows no memory, the first one too: another does.

    In bytes: the name of a process stands there too, and that need be no text.
    """
    for thread in threads:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{thread}/{file}").read_bytes().split(b"\n")
            kib = [int(line.split()[1]) for line in lines if line.startswith(names)]
            if kib:
                return sum(kib)
    return 0


def written_mb(pid: int) -> int:
    """Memory of a process, in MiB; 0 where nobody knows."""
    return _written_mb(fair.threads_of([pid]))


class Ledger:
    """What a keeper has found, for its asker to read at any time. The file is shared, and never in the cage's reach."""

    def __init__(self, file: int) -> None:
        os.ftruncate(file, _LEDGER.size)
        self._memory = mmap.mmap(file, _LEDGER.size)

    def write(self, held: Held) -> None:
        _LEDGER.pack_into(self._memory, 0, held.waits.lost, held.most_processes)

    def lost(self) -> float:
        """Seconds that others took."""
        return float(_LEDGER.unpack_from(self._memory)[0])

    def most_processes(self) -> int:
        return int(_LEDGER.unpack_from(self._memory)[1])


def new_ledger_file() -> int:
    """A file in memory, or -1 where there is none of the kind."""
    make = getattr(os, "memfd_create", None)  # Linux only
    return make("ledger") if make else -1
