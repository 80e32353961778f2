"""What came of a few lines that somebody tried out below their file."""

import msgspec


class Tried(msgspec.Struct, frozen=True):
    printed: str = ""
    shown: tuple[str, ...] = ()
    """The values of the lines that are expressions, as Python shows them."""
    problem: str = ""
    """What went wrong, and where; the lines before it stand."""
