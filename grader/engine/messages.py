"""What the asker, the warm process and a keeper say to each other. Plain data; needs no torch."""

import msgspec

from grader.bank.standins import StandIns
from grader.engine import cage

CONTROL_FD = 3
"""Where the warm process finds its control socket."""


class Job(msgspec.Struct, frozen=True):
    """What the warm process is asked to fork an answerer for."""

    limits: cage.Limits


class Hello(msgspec.Struct, frozen=True):
    """The first frame that an answerer is sent: the learner's file, and the drivers that run beside it."""

    file_name: str
    text: str
    drivers: bytes
    """Code, as `marshal` writes it: of the asker, which is trusted, and of the same Python."""
    standins: StandIns | None = None


class Ended(msgspec.Struct, frozen=True):
    """What the keeper says last. It is the grader's own word, not the learner's."""

    how: str
    """`exit`, `signal`, `memory`, `output`, `cpu` or `asker`."""
    number: int
    """The exit code, the signal, or the limit that was passed."""
    printed: str
