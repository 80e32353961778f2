"""What a learner is told of how a check ended: the verdict, a text for people, and the same as fields for programs."""

import msgspec

from grader.verdicts.finding import Finding
from grader.verdicts.verdict import Verdict


class SourceLine(msgspec.Struct, frozen=True):
    """A line of the learner's file."""

    file: str
    """As the learner knows it: `kv_cache.py`, or `cell 3` of a notebook."""
    line: int
    """In that file or cell, from 1; 0 where it is not known."""
    function: str = ""
    """The innermost definition that holds it, as `KVCache.append`; empty at module level."""
    text: str = ""

    @property
    def at(self) -> str:
        """`kv_cache.py:12`, or `cell 3, line 4`."""
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}" if self.file.endswith(".py") else f"{self.file}, line {self.line}"


class Told(msgspec.Struct, frozen=True):
    """A verdict with its reasons."""

    verdict: Verdict
    message: str = ""
    finding: Finding | None = None
    """What differs, where a check compared something."""
    lines: tuple[SourceLine, ...] = ()
    """The learner's lines that an exception went through, outermost first."""
    place: SourceLine | None = None
    """Where to write, or what is waited for."""
    of_file: bool = False
    """Whether the file itself cannot be used, so that every check says the same."""
