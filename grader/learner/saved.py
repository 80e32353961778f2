"""Notices that a file was saved, by looking: events of file systems do not arrive everywhere (WSL, NFS)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from grader.base.files import read_file

_LOOK_SECONDS = 0.02
"""Between looks."""
_SETTLE_SECONDS = 0.01
"""From a change to the next look. A file that takes longer to write is judged twice, and the newer text counts."""


GONE = "is gone"

_COARSE_NS = 2_000_000_000
"""The coarsest clock of a file system."""


class FileText(msgspec.Struct, frozen=True):
    """What lies in a file now."""

    text: str
    problem: str = ""
    """Why there is no text: `is gone`, `is not UTF-8 text`."""


class Look:
    """Looks at one file again and again: has it another text than the one that was read last?"""

    def __init__(self) -> None:
        self._seen: tuple[int, ...] = ()
        self._is_read = False
        self.is_changing = False
        """Whether the last look saw something else than the one before it: the next may find it whole."""

    def is_new(self, path: Path) -> bool:
        """Whether to read it: it was written, replaced or removed, and two looks agree, so that none is half-written.

        Soon after a write the answer stays yes: a coarse clock may call two texts of one length the same.
        """
        now = _facts(path)
        before, is_read = self._seen, self._is_read
        self.is_changing = before != now
        self._seen, self._is_read = now, is_read and before == now
        if self.is_changing or is_read:
            return False
        self._is_read = time.time_ns() - now[0] > _COARSE_NS
        return True


async def saves(path: Path) -> AsyncIterator[FileText]:
    """What lies in a file: now, and whenever another text does. The same text comes once."""
    look, told = Look(), None
    while True:
        if look.is_new(path) and (found := read_saved(path)) != told:
            told = found
            yield found
        await asyncio.sleep(_SETTLE_SECONDS if look.is_changing else _LOOK_SECONDS)


def read_saved(path: Path) -> FileText:
    """What lies in a file, or why it cannot be read."""
    try:
        return FileText(read_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        return FileText("", GONE)
    except UnicodeDecodeError:
        return FileText("", "is not UTF-8 text")
    except OSError as error:
        return FileText("", f"cannot be read: {error.strerror or error}")


def _facts(path: Path) -> tuple[int, ...]:
    """What changes when a file is written, replaced, removed, or becomes a link; the time first."""
    try:
        facts = path.lstat()
    except OSError:
        return (0,)
    return (facts.st_mtime_ns, facts.st_size, facts.st_ino, facts.st_mode)
