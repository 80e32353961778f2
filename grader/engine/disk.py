"""What a cage has on a disk that is everybody's, as its keeper sees it: at level landlock no file system is its own.

A file counts as long as it takes room: by its name, and without one as long as it is open or mapped.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator

FILES = 4096
"""Files and folders."""
_BLOCK = 512
_REST, _LONGEST_REST = 20, 2.0
"""A look is followed by so many times the processor time that it took, and no more seconds: many processes have long
lists of what they map, and what a keeper takes it takes from others.
"""
_MOST_MAPS = 300_000
"""Entries of these lists, of all processes together: twice what as many processes with torch have as a cage may hold.
More would keep the keeper from looking.
"""
_GONE = b" (deleted)"


class Disk:
    """What lies in a folder, or has lain there and is still held. most: bytes."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = folder, most
        self._next_look = 0.0

    def is_over(self, pids: Iterable[int]) -> bool:
        """Whether there is more than may be; False where it is too soon to look. pids: the processes of the cage."""
        if time.monotonic() < self._next_look:
            return False
        began = time.process_time()
        over = self._has_more(list(pids))
        self._next_look = time.monotonic() + min(_REST * (time.process_time() - began), _LONGEST_REST)
        return over

    def _has_more(self, pids: list[int]) -> bool:
        folder, mapped = self._folder.encode(), set()
        for number, line in enumerate(_maps(pids)):
            if number == _MOST_MAPS:
                return True
            if line.rstrip().endswith(_GONE) and folder in line:  # has lain there, and has no name any more
                mapped.add(int(line.split(None, 5)[4]))
        sizes: dict[int, int] = {}
        try:
            for facts in (*_lying(self._folder, FILES + 1), *(one for pid in pids for one in _open(pid))):
                sizes[facts.st_ino] = facts.st_blocks * _BLOCK
        except OSError:
            return True  # what cannot be looked into may hold anything
        # Of what is mapped alone nobody says how large it is.
        held = sum(sizes.values()) + len(mapped - sizes.keys()) * self._most // 8
        return held > self._most or len(sizes) > FILES


def _lying(folder: str, most: int) -> Iterator[os.stat_result]:
    """The first so many below a folder. Raises OSError where some of it cannot be looked into."""
    waiting = [folder]
    while waiting:
        # Gone, or another thing by now: its owner goes on while this looks.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    yield entry.stat(follow_symlinks=False)
                    most -= 1
                if not most:
                    return
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _open(pid: int) -> Iterator[os.stat_result]:
    """The files without a name that a process has open."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                facts = entry.stat()
                if stat.S_ISREG(facts.st_mode) and not facts.st_nlink:
                    yield facts


def _maps(pids: Iterable[int]) -> Iterator[bytes]:
    """What processes map, a line each."""
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            yield from file
