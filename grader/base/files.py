"""How a file that others wrote is read, and how any is written. Imports nothing that is slow to import."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

from grader.base.errors import HouseError
from grader.base.text import plain

LARGEST_FILE = 1 << 20
"""In bytes, of a learner's file."""


@lru_cache(maxsize=8)
def digest(text: str) -> str:
    """The hash that a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_file(path: Path, largest: int = LARGEST_FILE, links: bool = False) -> bytes:
    """The bytes of a regular file of at most `largest` bytes; nothing waits. Raises OSError.

    links: whether to follow one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW * (not links) | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink() and not links:
            raise OSError(errno.ELOOP, "it is a link, and links are not followed") from None
        raise error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if facts.st_size > largest:
            raise OSError(errno.EFBIG, f"it has {facts.st_size:,} bytes, more than {largest:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, as the end of a sentence."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(getattr(error, "strerror", None) or error)


def replace_file(path: Path, data: bytes, mode: int | None = None, if_still: Callable[[], bool] = lambda: True) -> bool:
    """Write beside a file and move into its place, so that nobody sees half of it: whether it was. Raises OSError.

    mode: of the new file. if_still: asked last; where it says no, the file stays as it is.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if not if_still():
            return False
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # moved away, or never there
            beside.unlink()
    return True


def write_file(path: Path, text: str) -> None:
    """Write a text at once, or into what is no regular file, as /dev/stdout. Raises HouseError."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(text, encoding="utf-8")
        else:
            replace_file(path, text.encode())
    except OSError as error:
        raise HouseError(f"{plain(str(path))} cannot be written: {error.strerror}.") from None
