"""What the asker, the warm process and a keeper say to each other. Plain data; needs no torch."""

import msgspec

from grader.bank.standins import StandIns
from grader.engine import cage

CONTROL_FD = 3
"""Where the warm process finds its control socket."""
HIDE = "--hide"
"""What stands between the modules that it imports and the paths that no cage may read."""
START_SECONDS = 120.0
"""After which a process that does not say its first word counts as lost."""


class Job(msgspec.Struct, frozen=True):
    """What the warm process is asked to fork an answerer for."""

    limits: cage.Limits
    cores: list[int] = []
    """The processors that it may use; empty for all."""
    forbidden: list[list[str]] = []
    """Sets of names that will be watched for. They are looked up once, before the fork."""


class Entered(msgspec.Struct, frozen=True):
    """What the keeper says first, once the cage is closed around the answerer; nothing of the learner's ran before."""

    level: cage.Level
    means: dict[str, str] = {}
    """What the cage's share of the machine rests on."""
    failed: str = ""
    """Why there is no answerer; the grader's or the machine's fault."""


class Hello(msgspec.Struct, frozen=True):
    """The first frame that an answerer is sent: the learner's file, and the drivers that run beside it."""

    file_name: str
    text: str
    drivers: bytes
    """Code, as `marshal` writes it: of the asker, which is trusted, and of the same Python."""
    standins: StandIns | None = None
    forbidden: list[str] = []
    """What any part forbids: copies of it are looked for while the file loads."""


class Ended(msgspec.Struct, frozen=True):
    """What the keeper reports last. It comes from the grader, not from the learner's code."""

    how: str
    """`exit`, `signal`, `memory`, `processes`, `output`, `disk`, `cpu` or `asker`."""
    number: int
    """The exit code, the signal, or the limit that was passed."""
    printed: str
