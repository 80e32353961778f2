"""One judgement of one text, by a process of its own: nothing that the text does reaches this one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from grader.bank.catalog import Exercise, House
from grader.base.errors import RunError
from grader.learner.seat import Ended, Fault, Run, Said, Seat
from grader.verdicts.result import Result


def judge_once(house: House, exercise: Exercise, text: str, parts: Sequence[str] = ()) -> Result:
    """Judge a text in the cage; in a student edition its visible examples. parts: those to judge; empty for all.

    Raises RunError, with what went wrong, where the grader could not judge.
    """
    return asyncio.run(judged(house, exercise, text, parts))


class Judge(Protocol):
    """What is needed of a seat."""

    def ask(self, run: Run) -> None: ...
    def said(self) -> AsyncIterator[Said]: ...
    async def close(self) -> None: ...


async def judged(
    house: House,
    exercise: Exercise,
    text: str,
    parts: Sequence[str],
    opens: Callable[[House, Exercise], Awaitable[Judge]] = Seat.open,
) -> Result:
    """The same, where others go on meanwhile. opens: opens a seat."""
    seat, run = await opens(house, exercise), Run(1, text, only=tuple(parts))
    try:
        seat.ask(run)
        async for said in seat.said():
            if isinstance(said, Ended):
                return said.result
            if isinstance(said, Fault):
                raise RunError(said.why)
    finally:
        await seat.close()
    raise RunError("the process that judges has ended")
