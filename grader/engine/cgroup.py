"""A control group (cgroup v2) for each cage, where the machine lets this user make some: the kernel then counts its
processes and memory, and shares the processors out between cages, whatever their users.
"""

import contextlib
import errno
import os
import time
from pathlib import Path

_NEEDED = {"memory", "pids"}
_LOOKS, _LOOK_SECONDS = 200, 0.01
_SPARE_MB = 256
"""Beyond the limit that the keeper holds: what ends a cage that fills its memory between two of its looks."""


class Group:
    """One cage's. folder: descriptor of the group that it lies in. Raises OSError where it cannot be had."""

    def __init__(self, folder: int, name: str, memory_mb: int, processes: int) -> None:
        self._folder, self._name = folder, name
        os.mkdir(name, 0o755, dir_fd=folder)
        try:
            self._write("pids.max", str(processes))
            self._write("memory.max", str((memory_mb + _SPARE_MB) << 20))
            for file, text in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):  # no swap here, or an older kernel
                    self._write(file, text)
            self.entrance = os.open(f"{name}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            self.remove()
            raise

    def held_mb(self) -> int:
        """Memory that is held, in MiB; what only keeps files at hand is not."""
        sizes = _numbers(self._read("memory.stat"))
        files = sizes.get("file", 0) - sizes.get("shmem", 0)
        return max(0, int(self._read("memory.current")) - files) >> 20

    def processes(self) -> int:
        return int(self._read("pids.current"))

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has ended a process here for want of memory."""
        with contextlib.suppress(OSError):
            return _numbers(self._read("memory.events")).get("oom_kill", 0) > 0
        return False

    def remove(self) -> None:
        """End all that is in it, and take it away."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", "1")
        for _ in range(_LOOKS):  # who was killed is there until the kernel has taken it apart
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(self._name, dir_fd=self._folder)
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        time.sleep(_LOOK_SECONDS)
                        continue
            return

    def _read(self, file: str) -> str:
        descriptor = os.open(f"{self._name}/{file}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        with os.fdopen(descriptor) as opened:
            return opened.read()

    def _write(self, file: str, text: str) -> None:
        descriptor = os.open(f"{self._name}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def folder_for_cages() -> int:
    """A descriptor of the group in which each cage may have one, tried; -1 where there is none."""
    for path in _candidates():
        with contextlib.suppress(OSError, ValueError):
            if not set((path / "cgroup.subtree_control").read_text().split()) >= _NEEDED:
                continue
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _try(Group(folder, f"dl-kata-{os.getpid()}-tried", 64, 8))
                return folder
            except OSError:
                os.close(folder)
    return -1


def _try(group: Group) -> None:
    """Whether a process may enter a group and is counted there, tried in a child. Raises OSError."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.write(group.entrance, b"0")
            code = 0 if group.processes() == 1 and group.held_mb() < 64 else 1
        os._exit(code)
    failed = os.waitpid(pid, 0)[1]
    os.close(group.entrance)
    group.remove()
    if failed:
        raise OSError("a group of its own cannot be entered")


def _candidates() -> list[Path]:
    """The group beside this process's own, then the one below it, as folders; none where there is no cgroup v2."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, kind = line.partition(" - ")
            root, at = fields.split()[3:5]
            if kind.split()[0] == "cgroup2" and Path(own).is_relative_to(root):
                folder = Path(at) / Path(own).relative_to(root)
                return [folder.parent, folder] if own != root else [folder]
    return []
