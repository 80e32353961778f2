"""What is read of a submission, and the seed that it is judged with. Imports nothing that is slow to import."""

import errno
import hashlib
import os
import secrets
import stat
from functools import lru_cache
from pathlib import Path

LARGEST_FILE = 1 << 20
"""In bytes, of a learner's file."""


@lru_cache(maxsize=8)
def digest(text: str) -> str:
    """The hash that a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def derive(seed: int, name: str) -> int:
    """A seed for one check, or one submission: unlike its neighbours', and the same whether or not they ran."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6], "big")


def new_seed() -> int:
    """A seed that no learner can know."""
    return secrets.randbits(31)


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
