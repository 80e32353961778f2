"""The Interview screen: one interview at a time, whose clock and answers stay here until its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError, RunError
from grader.learner.debrief import reported, write_page
from grader.learner.interview import LONGEST, SHORTEST
from grader.learner.interviewing import GRACE, Sitting, ended_before
from grader.learner.once import Judge, judged
from grader.records.interviews import End, Interview, Interviews
from grader.records.progress import ProgressError
from grader.serve import wire
from grader.serve.events import EventLog
from grader.views.interview import ENDS, coding_said, coding_title, role_title, rules
from grader.views.interview_page import body

_LENGTHS = (20, 30, 45, 60, 90)
"""Minutes that the page offers."""


class NotNow(Exception):
    """Something else is on the clock than what was asked about."""


class InterviewHost:
    """The one interview that may go on in a server, and those that have ended.

    opens: opens a seat that judges. clock: seconds that only grow. pause: waits that many of them.
    """

    def __init__(
        self,
        house: House,
        log: EventLog,
        opens: Callable[[House, Exercise], Awaitable[Judge]],
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._house, self._log, self._opens, self._clock, self._pause = house, log, opens, clock, pause
        self._sitting: Sitting | None = None
        self._step: wire.InterviewStep = "question"
        self._said = ""
        self._unkept: list[str] = []
        self._task: asyncio.Task[None] | None = None

    # ---- what is asked

    def desk(self) -> wire.InterviewDesk:
        """How the one that goes on stands, and what has ended."""
        broken, kept, warning = dict[int, Interview](), dict[int, Interview | None](), ""
        try:
            broken = {} if self._sitting else ended_before(self._house)
            kept = Interviews(self._house.root).interviews()
        except ProgressError as error:
            warning = f"Interviews not shown: {error.why}"
        return wire.InterviewDesk(
            now=self._now(),
            kept=tuple(self._line(number, one) for number, one in reversed(kept.items()) if one is None or one.ended),
            lengths=tuple(
                wire.InterviewLength(minutes=one, rules=rules(Interview("", one, "", 0))) for one in _LENGTHS
            ),
            broken=tuple(broken),
            warning=warning,
        )

    def holds(self, exercise: Exercise) -> bool:
        """Whether a part of this exercise is on the clock: nothing of it is judged or told meanwhile."""
        on = self._sitting and self._step in ("coding", "judging") and self._sitting.interview.coding
        return bool(on and on.exercise == exercise.id)

    def report(self, number: int) -> wire.InterviewReport | None:
        """The report of one that has ended; None where there is none of that number. Raises HouseError."""
        one = reported(self._house, number)
        if one is None:
            return None
        path = self._written(number, one)
        return wire.InterviewReport(number=number, html=body(self._house, number, one), path=path)

    # ---- what is done

    def begin(self, role: str, minutes: int) -> wire.InterviewDesk:
        """Begin one, and put its first question on the clock. Raises HouseError, ProgressError, NotNow."""
        if self._sitting:
            raise NotNow("An interview goes on. End it first.")
        if not SHORTEST <= minutes <= LONGEST:
            raise HouseError(f"An interview has {SHORTEST} to {LONGEST} minutes.")
        self._unkept = []
        sitting = Sitting(self._house, role, minutes, self._unkept.append, clock=self._clock)
        sitting.begin()
        self._sitting = sitting
        return self._next()

    def next(self) -> wire.InterviewDesk:
        """The next question, after one whose time was over. Raises NotNow."""
        self._at("waiting")
        return self._next()

    def answer(self, place: int, typed: str | None) -> wire.InterviewDesk:
        """Take an answer; None passes the question over, or is said when its time is over. Raises NotNow, Unread."""
        sitting = self._at("question")
        if place != len(sitting.interview.asked) + 1:
            raise NotNow("Another question is on the clock.")
        sitting.take(typed)
        if sitting.interview.asked[-1].outcome != "late":
            return self._next()
        return self._step_to("waiting", "The time of this question is over.")

    def coding(self) -> wire.InterviewDesk:
        """Put the part on the clock; the end where there is none. Raises NotNow."""
        sitting = self._at("between")
        if sitting.begin_coding() is None:
            return self._finish("finished")
        self._task = asyncio.create_task(self._hand_in_at_the_end(sitting))
        return self._step_to("coding")

    def hand_in(self) -> wire.InterviewDesk:
        """Judge the part as its file is on the disk; the end comes once that is done. Raises NotNow."""
        sitting = self._at("coding")
        self._cancel()
        text = sitting.hand_in()
        if text is None:
            return self._finish("finished")
        self._task = asyncio.create_task(self._judge(sitting, text))
        return self._step_to("judging")

    def end(self) -> wire.InterviewDesk:
        """Leave it: that is its end. Raises NotNow."""
        sitting = self._at("question", "waiting", "between", "coding", "judging")
        if self._step == "judging":
            sitting.not_judged("You left while it was judged.")
        return self._finish("left")

    async def close(self) -> None:
        """The server ends, and with it what goes on."""
        if self._sitting:
            self._finish("broken off")

    # ---- inside

    def _at(self, *steps: wire.InterviewStep) -> Sitting:
        if self._sitting is None:
            raise NotNow("No interview goes on.")
        if self._step not in steps:
            raise NotNow("The interview has gone on since.")
        return self._sitting

    def _next(self) -> wire.InterviewDesk:
        assert self._sitting, "no interview goes on"
        return self._step_to("question" if self._sitting.ask() else "between")

    def _step_to(self, step: wire.InterviewStep, said: str = "") -> wire.InterviewDesk:
        self._step, self._said = step, said
        self._log.say(wire.InterviewEvent)
        return self.desk()

    def _finish(self, how: End) -> wire.InterviewDesk:
        self._cancel()
        sitting, self._sitting = self._sitting, None
        assert sitting, "no interview goes on"
        ended = sitting.end(how)
        self._written(sitting.number, ended)
        self._log.say(wire.InterviewEvent)
        return self.desk()

    def _written(self, number: int, ended: Interview) -> str:
        """Where its report lies as a file, from the house; empty where it cannot be written."""
        with suppress(HouseError):
            return write_page(self._house, number, ended).relative_to(self._house.root).as_posix()
        return ""

    def _cancel(self) -> None:
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None

    async def _hand_in_at_the_end(self, sitting: Sitting) -> None:
        """The page hands in when the time is over; where nobody looks at it, this does."""
        while sitting.left > -GRACE:
            await self._pause(sitting.left + GRACE)
        if self._sitting is sitting and self._step == "coding":
            self.hand_in()

    async def _judge(self, sitting: Sitting, text: str) -> None:
        try:
            result = await judged(self._house, sitting.exercise, text, sitting.to_judge, self._opens)
        except (RunError, HouseError, OSError) as error:
            sitting.grader_failed(str(error))
        else:
            sitting.take_result(result, text)
        if self._sitting is sitting:
            self._finish("finished")

    def _now(self) -> wire.InterviewNow | None:
        sitting = self._sitting
        if sitting is None:
            return None
        interview, coding = sitting.interview, sitting.interview.coding
        is_timed = self._step in ("question", "coding")
        return wire.InterviewNow(
            number=sitting.number,
            role=role_title(self._house, interview),
            minutes=interview.minutes,
            step=self._step,
            place=len(interview.asked) + (self._step == "question"),
            asked=sitting.ask() if self._step == "question" else None,
            exercise=coding.exercise if coding else "",
            part=coding.part if coding else "",
            title=coding_title(self._house, coding) if coding else "",
            was_earned=coding.was_earned if coding else False,
            seconds=sitting.seconds if is_timed else 0.0,
            left=sitting.left if is_timed else 0.0,
            said=self._said,
            warning=" ".join(dict.fromkeys(self._unkept)),
        )

    def _line(self, number: int, one: Interview | None) -> wire.InterviewLine:
        if one is None:
            return wire.InterviewLine(
                number=number,
                role="",
                begun="",
                minutes=0,
                ended="was kept by a newer grader",
                right=0,
                asked=0,
                part="",
            )
        coding = one.coding
        return wire.InterviewLine(
            number=number,
            role=role_title(self._house, one),
            begun=one.begun,
            minutes=one.minutes,
            ended=ENDS[one.ended],
            right=one.right,
            asked=len(one.asked),
            part=f"{coding.part}: {coding_said(coding)}" if coding else "",
        )
