"""One judgement of one text, by a process of its own: nothing that the text does reaches this one."""

import asyncio
from collections.abc import Sequence

from grader.bank.catalog import Exercise, House
from grader.base.errors import RunError
from grader.learner.seat import Ended, Fault, Run, Seat
from grader.verdicts.result import Result


def judge_once(house: House, exercise: Exercise, text: str, parts: Sequence[str] = ()) -> Result:
    """Judge a text in the cage; in a student edition its visible examples. parts: those to judge; empty for all.

    Raises RunError, with what went wrong, where the grader could not judge.
    """
    return asyncio.run(_judged(house, exercise, Run(1, text, only=tuple(parts))))


async def _judged(house: House, exercise: Exercise, run: Run) -> Result:
    seat = await Seat.open(house, exercise)
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
