"""Notices that a file was saved, by looking: events of file systems do not arrive everywhere (WSL, NFS)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from grader.base.files import read_file

_LOOK_SECONDS = 0.03
"""Between looks. An editor that takes longer to write a file is judged twice, and the newer text counts."""


class Saved(msgspec.Struct, frozen=True):
    """What lies in a file now."""

    text: str
    problem: str = ""
    """Why there is no text: `is gone`, `is not UTF-8 text`."""


async def saves(path: Path) -> AsyncIterator[Saved]:
    """What lies in a file: now, and whenever it has changed and two looks agree. The same text comes once."""
    seen: tuple[int, ...] | None = None
    told: Saved | None = None
    is_new = True
    while True:
        now = _facts(path)
        if now != seen:
            seen, is_new = now, True
        elif is_new:
            is_new = False
            found = read_saved(path)
            if found != told:
                told = found
                yield found
        await asyncio.sleep(_LOOK_SECONDS)


def read_saved(path: Path) -> Saved:
    """What lies in a file, or why it cannot be read."""
    try:
        return Saved(read_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        return Saved("", "is gone")
    except UnicodeDecodeError:
        return Saved("", "is not UTF-8 text")
    except OSError as error:
        return Saved("", f"cannot be read: {error.strerror or error}")


def _facts(path: Path) -> tuple[int, ...]:
    try:
        facts = path.lstat()
    except OSError:
        return ()
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size)
