"""How a submission's file is read, and its seed. Imports nothing that is slow to import."""

import contextlib
import errno
import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from grader.base.errors import HouseError
from grader.base.text import plain

LARGEST_FILE = 1 << 20
"""In bytes, of a learner's file."""


@lru_cache(maxsize=8)
def digest(text: str) -> str:
    """The hash that a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_file(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file of at most `largest` bytes; no link is followed, nothing waits. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
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


def write_file(path: Path, text: str) -> None:
    """Written beside and moved into place, so that a reader never sees half of it. Raises HouseError."""
    partial = path.parent / f".{path.name}.part"
    in_place = path.is_symlink() or (path.exists() and not path.is_file())  # /dev/stdout is not to be replaced
    try:
        (path if in_place else partial).write_text(text, encoding="utf-8")
        if not in_place:
            partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that may not be written has no such file
            if not in_place:
                partial.unlink(missing_ok=True)
        raise HouseError(f"{plain(str(path))} cannot be written: {error.strerror}.") from None
