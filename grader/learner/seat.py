"""A seat: the process that judges one exercise for somebody who waits, warm from one run to the next.

What keeps a seat (`grader watch`, the practice page) imports no torch and no pytest, and does not fork.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import IO

import msgspec

from grader.bank.catalog import Exercise, House
from grader.verdicts.bounds import LARGEST_RESULT
from grader.verdicts.picture import Made
from grader.verdicts.result import CheckResult, Result
from grader.verdicts.trial import Tried


class Run(msgspec.Struct, frozen=True):
    """One text to judge. The newest wins: asking for it ends the run before it."""

    number: int
    """Says which run an answer belongs to."""
    text: str
    seed: int = 0
    first: tuple[str, ...] = ()
    """Parts to judge before the others, in this order."""
    only: tuple[str, ...] = ()
    """Parts to judge; empty for all."""
    draws: bool = False
    """Whether to make the pictures of the text too, after the end."""
    lines: str = ""
    """Lines to run below the text, in the place of all checks."""


class Ready(msgspec.Struct, frozen=True, tag="ready", tag_field="kind"):
    """The checks are collected, and the engine is warm."""

    total: int
    """Checks of the exercise."""


class Checked(msgspec.Struct, frozen=True, tag="check", tag_field="kind"):
    run: int
    total: int
    """Checks of this run."""
    check: CheckResult


class Ended(msgspec.Struct, frozen=True, tag="end", tag_field="kind"):
    run: int
    result: Result


class Pictured(msgspec.Struct, frozen=True, tag="picture", tag_field="kind"):
    """A picture of a text that was judged: after the end of its run, until something newer is asked for."""

    run: int
    part: str
    title: str
    caption: str
    own: Made
    reference: Made | None
    """Once the part is earned."""


class Drawn(msgspec.Struct, frozen=True, tag="drawn", tag_field="kind"):
    """No more pictures come of a run that asked for them."""

    run: int


class TriedLines(msgspec.Struct, frozen=True, tag="tried", tag_field="kind"):
    """What came of the lines of a run that has some."""

    run: int
    tried: Tried


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled", tag_field="kind"):
    """A newer run, or a stop, came before the end. It is no attempt."""

    run: int


class Fault(msgspec.Struct, frozen=True, tag="fault", tag_field="kind"):
    """The grader could not judge. That costs the learner nothing."""

    run: int
    """0 where the seat itself has ended, or could not begin: its last word."""
    why: str


Said = Ready | Checked | Ended | Pictured | Drawn | TriedLines | Cancelled | Fault


def seat_command(house: House, exercise: Exercise) -> list[str]:
    """What a seat runs. It takes runs from stdin and says what it has to say on stdout, each a line of JSON."""
    judge = "grader.learner.judge" if house.is_whole else "grader.learner.judge_examples"
    return [sys.executable, "-P", "-m", judge, str(house.root), exercise.id]


class Seat:
    """`python -m grader.learner.judge` for one exercise. It ends with the process that keeps it.

    A second one for the same exercise is a second engine: keep few.
    """

    def __init__(self, process: asyncio.subprocess.Process, printed: IO[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self._printed = printed

    @classmethod
    async def open(cls, house: House, exercise: Exercise) -> "Seat":
        """Start it. It may be asked at once: what it is asked waits until it is warm."""
        printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the seat
        process = await asyncio.create_subprocess_exec(
            *seat_command(house, exercise),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=printed,
            limit=2 * LARGEST_RESULT,
            start_new_session=True,  # Ctrl-C is for who keeps it
        )
        return cls(process, printed)

    def ask(self, run: Run) -> None:
        """Judge a text; what runs is cancelled. A seat that has ended says so in `said`."""
        self._send(run)

    def stop(self) -> None:
        """Cancel what runs, if anything does."""
        self._send(None)

    async def said(self) -> AsyncIterator[Said]:
        """What it says, as it comes, until it is closed. If it ends by itself, its last word is a Fault of run 0."""
        assert self._process.stdout is not None
        could_start = True
        while line := await self._process.stdout.readline():
            said = msgspec.json.decode(line, type=Said)
            could_start = not isinstance(said, Fault) or said.run > 0
            yield said
        code = await self._process.wait()
        if could_start and not self._printed.closed:
            self._printed.seek(0)
            last = self._printed.read()[-2000:].decode(errors="replace").strip()
            yield Fault(0, last or f"the process that judges ended with code {code}")

    async def close(self) -> None:
        """End it, and all that it runs."""
        self._printed.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _send(self, run: Run | None) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(msgspec.json.encode(run) + b"\n")
