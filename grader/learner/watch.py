"""Watching an exercise: its file is judged each time that it is saved, what was changed first."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import msgspec

from grader.bank.catalog import Exercise, House
from grader.learner import desk
from grader.learner.examples import count_passed, done_parts, passed_names
from grader.learner.first import changed_parts, first_parts
from grader.learner.saved import GONE, FileText, saves
from grader.learner.seat import Cancelled, Fault, Ready, Run, Said, Seat
from grader.records.progress import Progress, ProgressError
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import Verdict


class Key(msgspec.Struct, frozen=True):
    """A key that was pressed, by its name; empty where the terminal has another size."""

    name: str


class Watch:
    """One exercise, its seat, and what happens to them, in order. Use it in `async with`."""

    def __init__(self, house: House, exercise: Exercise) -> None:
        self.house, self.exercise = house, exercise
        self.events: asyncio.Queue[FileText | Said | Key] = asyncio.Queue()
        self.parts: dict[str, PartResult] = {}
        """As each was judged last."""
        self.problem = ""
        """Why there is no text to judge."""
        self.run: Run | None = None
        """The run that goes on."""
        self.text = ""
        """What lies in the file."""
        self._judged = ""
        self._number = 0
        self._ended = False
        self._wanted = asyncio.Event()

    async def __aenter__(self) -> "Watch":
        self._seat = await Seat.open(self.house, self.exercise)
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._listen())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._seat.close()

    async def _look(self) -> None:
        async for saved in saves(self.exercise.attempt):
            self.events.put_nowait(saved)

    async def _listen(self) -> None:
        while True:
            async for said in self._seat.said():
                self._ended = isinstance(said, Fault) and not said.run
                self.events.put_nowait(said)
            await self._seat.close()
            await self._wanted.wait()
            self._wanted.clear()
            self._seat, self._ended = await Seat.open(self.house, self.exercise), False
            if self.run:
                self._seat.ask(self.run)

    @property
    def earned(self) -> frozenset[str]:
        """The parts that any attempt earned, in a student edition those whose examples passed; of a progress file that
        cannot be read, those that pass now.
        """
        with suppress(ProgressError):
            return frozenset(done_parts(self.house).get(self.exercise.id, ()))
        return frozenset(name for name, part in self.parts.items() if part.verdict is Verdict.PASSED)

    def take(self, saved: FileText) -> None:
        """A new text lies in the file: judge it. Whatever ran was of an older one."""
        self.text = saved.text
        self.problem = f"{self.exercise.attempt.name} {saved.problem}" if saved.problem else ""
        if saved.problem == GONE:
            self.problem += f": `grader reset {self.exercise.number}` writes it again"
        self.ask()

    def ask(self, at: Sequence[str] = (), only: tuple[str, ...] = ()) -> None:
        """Judge the text as it is. at: parts that are worked on, beside those that were changed. only: parts to run."""
        self.stop()
        if self.problem:
            return
        failed = {name for name, part in self.parts.items() if part.fails}
        changed = changed_parts(self.exercise, self._judged, self.text)
        self._number += 1
        self.run = Run(self._number, self.text, first=first_parts(self.exercise, [*at, *changed], failed), only=only)
        if self._ended:  # by its own fault; a new one is as warm in a second
            self._wanted.set()
        else:
            self._seat.ask(self.run)

    def stop(self) -> None:
        """End the run that goes on; what was judged before stands."""
        if self.run and not self._ended:
            self._seat.stop()
        self.run = None

    def concerns(self, said: Said) -> bool:
        """Whether something is said of the run that goes on, or of the seat; not of a run that was ended."""
        if isinstance(said, Ready) or (isinstance(said, Fault) and not said.run):
            return True
        return self.run is not None and said.run == self.run.number and not isinstance(said, Cancelled)

    def keep(self, result: Result) -> tuple[str, ...]:
        """Take over the result of the run; it is recorded. The parts that it is first to earn. Raises ProgressError.

        Of a student edition the parts whose examples passed are kept, and nothing is earned.
        """
        assert self.run is not None
        self._judged, whole, self.run = self.run.text, not self.run.only, None
        self.parts |= {part.name: part for part in result.parts if part.checks or whole}
        if not self.house.is_whole:
            count_passed(self.house, self.exercise, passed_names(result))
            return ()
        if not self._is_news(result):
            return ()
        return desk.record(self.house, self.exercise, result, door="watch", text=self._judged)

    def _is_news(self, result: Result) -> bool:
        """Whether it differs from the last attempt: a watch that begins again judges what was judged before."""
        kept = Progress(self.house.root).history(self.exercise.id)
        passed = {part.name for part in result.parts if part.verdict is Verdict.PASSED}
        return not kept or kept[-1].source != result.source or not passed <= set(kept[-1].earned)
