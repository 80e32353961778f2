"""Runs: the newest wins, each verdict is told as its check ends, and a run that was cancelled is no attempt."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError
from grader.learner.examples import count_passed, passed_names
from grader.learner.first import first_parts
from grader.learner.seat import Cancelled, Checked, Drawn, Ended, Fault, Pictured, Ready, Run, Said, Seat, TriedLines
from grader.records.progress import Progress, ProgressError
from grader.serve import shown
from grader.serve.events import EventLog
from grader.serve.wire import (
    CancelledEvent,
    CheckEvent,
    DiskFile,
    EndEvent,
    FaultEvent,
    PictureEvent,
    RunEvent,
    SeatEvent,
    SeatState,
    TriedEvent,
)
from grader.verdicts.result import Result

MOST_SEATS = 2
IDLE_SECONDS = 15 * 60.0
_ENDED = "The process that judges has ended."


class OpenSeat(Protocol):
    """What runs need of a seat."""

    def ask(self, run: Run) -> None: ...
    def stop(self) -> None: ...
    def said(self) -> AsyncIterator[Said]: ...
    async def close(self) -> None: ...


class _Going:
    """A run that was taken in hand and has not ended."""

    def __init__(self, run: Run, hash: str) -> None:
        self.run = run
        self.hash = hash
        self.done = 0


class _Sitting:
    """An exercise that has a seat, or waits for one to open."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self.judge: OpenSeat | None = None
        self.state: SeatState = "warming"
        self.total = 0
        self.going: _Going | None = None
        self.ended = 0
        """The run that ended last, as long as no newer one goes on: its pictures are welcome."""
        self.used = 0.0
        self.task: asyncio.Task[None] | None = None


class Runs:
    """All runs of one server. Two exercises at most have a seat; one that nobody used for a quarter of an hour goes.

    open: opens a seat. now: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        house: House,
        log: EventLog,
        open: Callable[[House, Exercise], Awaitable[OpenSeat]] = Seat.open,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._house = house
        self._log = log
        self._open = open
        self._now = now
        self._numbers = itertools.count(1)
        self._sittings: dict[str, _Sitting] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def warm(self, exercise: Exercise) -> SeatState:
        """Have a seat for this exercise, or begin to open one."""
        sitting = self._sittings.get(exercise.id) or self._sit(exercise)
        sitting.used = self._now()
        return sitting.state

    def running(self, exercise: Exercise) -> int | None:
        """The number of the run that goes on."""
        sitting = self._sittings.get(exercise.id)
        return sitting.going.run.number if sitting and sitting.going else None

    def start(self, exercise: Exercise, disk: DiskFile, part: str = "", only: bool = False) -> int:
        """Judge a text, the part first and then what failed last: the run's number. One that goes on is cancelled."""
        at = [part] if part else []
        first = first_parts(exercise, at, self._failed_last(exercise))
        run = Run(next(self._numbers), disk.text, first=first, only=tuple(at) if only else (), draws=True)
        return self._take(exercise, run, disk, part)

    def try_lines(self, exercise: Exercise, disk: DiskFile, lines: str) -> int:
        """Run lines below a text: the run's number. One that goes on is cancelled."""
        return self._take(exercise, Run(next(self._numbers), disk.text, lines=lines), disk, "")

    def _take(self, exercise: Exercise, run: Run, disk: DiskFile, part: str) -> int:
        self.warm(exercise)
        sitting = self._sittings[exercise.id]
        self._cancel(sitting)
        sitting.going, sitting.ended = _Going(run, disk.hash), 0
        total = 0 if run.only or run.lines else sitting.total
        self._log.say(RunEvent, id=exercise.id, run=run.number, hash=disk.hash, total=total, first=part)
        if sitting.judge:
            sitting.judge.ask(run)
        return run.number

    def stop(self, number: int) -> bool:
        """Cancel a run; whether it went on."""
        for sitting in self._sittings.values():
            if sitting.going and sitting.going.run.number == number:
                self._cancel(sitting)
                if sitting.judge:
                    sitting.judge.stop()
                return True
        return False

    def dismiss_idle(self) -> None:
        """Send away the seats that nobody used for long."""
        for sitting in list(self._sittings.values()):
            if not sitting.going and self._now() - sitting.used > IDLE_SECONDS:
                self._dismiss(sitting)

    async def close(self) -> None:
        """Send all away, and wait until they are gone."""
        for sitting in list(self._sittings.values()):
            self._dismiss(sitting)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _sit(self, exercise: Exercise) -> _Sitting:
        while len(self._sittings) >= MOST_SEATS:
            self._dismiss(min(self._sittings.values(), key=lambda one: (one.going is not None, one.used)))
        sitting = self._sittings[exercise.id] = _Sitting(exercise)
        self._log.say(SeatEvent, id=exercise.id, seat="warming")
        sitting.task = asyncio.create_task(self._keep(sitting))
        return sitting

    def _dismiss(self, sitting: _Sitting) -> None:
        self._cancel(sitting)
        self._gone(sitting, "cold", "")
        if sitting.task:
            self._leaving.add(sitting.task)
            sitting.task.add_done_callback(self._leaving.discard)
            sitting.task.cancel()

    def _gone(self, sitting: _Sitting, state: SeatState, why: str) -> None:
        if self._sittings.get(sitting.exercise.id) is sitting:
            del self._sittings[sitting.exercise.id]
            self._log.say(SeatEvent, id=sitting.exercise.id, seat=state, why=why)

    def _cancel(self, sitting: _Sitting) -> None:
        if sitting.going:
            self._log.say(CancelledEvent, id=sitting.exercise.id, run=sitting.going.run.number)
            sitting.going = None

    async def _keep(self, sitting: _Sitting) -> None:
        """Open the seat and hear what it says, until it is sent away or ends."""
        try:
            sitting.judge = judge = await self._open(self._house, sitting.exercise)
            if sitting.going:
                judge.ask(sitting.going.run)
            why = _ENDED
            async for said in judge.said():
                why = said.why if isinstance(said, Fault) else why
                self._hear(sitting, said)
            self._failed(sitting, why)
        except (OSError, HouseError) as error:
            self._failed(sitting, str(error))
        finally:
            if sitting.judge:
                with suppress(OSError):
                    await sitting.judge.close()

    def _hear(self, sitting: _Sitting, said: Said) -> None:
        id, going = sitting.exercise.id, sitting.going
        if isinstance(said, Ready):
            sitting.state, sitting.total = "ready", said.total
            self._log.say(SeatEvent, id=id, seat="ready")
        elif isinstance(said, Pictured):
            if said.run == sitting.ended:
                self._pictured(sitting, said)
        elif isinstance(said, Drawn) or going is None or said.run != going.run.number:
            return  # of a run that was cancelled, or of none: a seat that could not even start ends, and that is told
        elif isinstance(said, Checked):
            going.done += 1
            self._log.say(CheckEvent, id=id, run=said.run, done=going.done, total=said.total, check=said.check)
        elif isinstance(said, Ended):
            self._ended(sitting, going, said.result)
        elif isinstance(said, TriedLines):
            sitting.going, tried = None, said.tried
            self._log.say(
                TriedEvent, id=id, run=said.run, printed=tried.printed, shown=tried.shown, problem=tried.problem
            )
        elif isinstance(said, Cancelled):
            self._cancel(sitting)
        else:
            sitting.going = None
            self._log.say(FaultEvent, id=id, run=said.run, why=said.why)

    def _ended(self, sitting: _Sitting, going: _Going, result: Result) -> None:
        sitting.going, sitting.ended, sitting.used = None, going.run.number, self._now()
        exercise, warning = sitting.exercise, ""
        gained: tuple[str, ...] = ()
        try:
            if self._house.is_whole:
                gained = Progress(self._house.root).record(result, going.run.text, door="page")
            else:
                count_passed(self._house, exercise, passed_names(result))
        except ProgressError as error:
            warning = str(error)
        self._log.say(
            EndEvent, id=exercise.id, run=going.run.number, hash=going.hash, result=result,
            gained=shown.gained(exercise, gained), next=shown.next_part(self._house), warning=warning,
        )  # fmt: skip

    def _pictured(self, sitting: _Sitting, said: Pictured) -> None:
        self._log.say(
            PictureEvent, id=sitting.exercise.id, run=said.run, part=said.part, title=said.title, caption=said.caption,
            own=shown.drawing(said.own), reference=shown.drawing(said.reference) if said.reference else None,
        )  # fmt: skip

    def _failed(self, sitting: _Sitting, why: str) -> None:
        """The seat is of no use any more. That is charged to nobody; the next run opens another."""
        why = why.strip() or _ENDED
        going, sitting.going = sitting.going, None
        if going:
            self._log.say(FaultEvent, id=sitting.exercise.id, run=going.run.number, why=why)
        self._gone(sitting, "failed", why)

    def _failed_last(self, exercise: Exercise) -> set[str]:
        try:
            last = Progress(self._house.root).last_result(exercise.id)
        except ProgressError:  # said where what is earned is shown
            return set()
        return {part.name for part in last.parts if part.fails} if last else set()
