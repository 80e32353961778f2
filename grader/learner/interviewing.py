"""One interview, from its beginning to its end: what is on the clock, what was answered. The terminal and the page
talk around it. After each step it stands in the progress file, so that a crash loses nothing.
"""

from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

from msgspec.structs import replace

from grader.bank.catalog import Exercise, House
from grader.bank.source import LARGEST_SOURCE, read_source
from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.base.now import now
from grader.base.seeds import derive, new_seed
from grader.base.text import plain
from grader.drills.judge import Judged, is_name, judged
from grader.drills.load import question_of
from grader.drills.question import Variant, variant
from grader.drills.schedule import USUAL_SECONDS, Answer
from grader.drills.shown import Shown, shown, told
from grader.learner.coding import part_for, place_of, put_to_work
from grader.learner.debrief import debriefed
from grader.learner.desk import record
from grader.learner.examples import count_passed, done_parts, passed_names
from grader.learner.interview import Candidate, next_candidate, outcome_of
from grader.learner.role import pool_of, weights_of
from grader.records.interviews import Asked, Coding, End, Interview, Interviews
from grader.records.progress import ProgressError
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import QUIET, Verdict

GRACE = 2.0
"""Seconds after the end of its time in which an answer still counts: it may have been on its way."""


class Sitting:
    """An interview that goes on. It ends with `end`, or with the process: `ended_before` finds it then."""

    def __init__(
        self,
        house: House,
        role: str,
        minutes: int,
        unkept: Callable[[str], None],
        *,
        clock: Callable[[], float] = monotonic,
        seed: int | None = None,
    ) -> None:
        """Prepare one. unkept: told why where a step could not be kept. clock: seconds that only grow.

        Raises HouseError where the role is not known or there is nothing to ask, ProgressError where nothing can be
        read.
        """
        self.house, self._unkept, self._clock = house, unkept, clock
        self._kept, self._lock = Interviews(house.root), ExitStack()
        self._pool = pool_of(house, role)
        self._weights = weights_of(house, role, self._pool)
        self.interview = Interview(role, minutes, now(), new_seed() if seed is None else seed)
        self.number = 0
        self._on: tuple[Candidate, Variant] | None = None
        self._ends = self._began = 0.0

    def begin(self) -> None:
        """Write down that it has begun. Raises HouseError where another one goes on, ProgressError where it cannot."""
        with ExitStack() as held:
            held.enter_context(self._kept.alone())
            self.number = self._kept.begin(self.interview)
            self._lock = held.pop_all()

    @property
    def coding(self) -> Coding:
        """The part that is written. Only once `begin_coding` gave one."""
        assert self.interview.coding, "no part is written"
        return self.interview.coding

    @property
    def exercise(self) -> Exercise:
        """That of the part."""
        return self.house.exercises[self.coding.exercise]

    @property
    def left(self) -> float:
        """Seconds left on the clock, of the question or the part that is on it."""
        return self._ends - self._clock()

    @property
    def seconds(self) -> float:
        """What the question or the part on the clock has in all."""
        return self._ends - self._began

    def ask(self) -> Shown | None:
        """The question on the clock, the next one where the last was taken; None where the questions are over."""
        while self._on is None:
            found = next_candidate(self.interview, self._pool)
            if found is None:
                return None
            seed = derive(self.interview.seed, f"draw {len(self.interview.asked)}")
            try:
                self._on = found, variant(question_of(self.house, found.listed.id), seed)
            except HouseError as error:  # its author's fault: another one is asked
                self._unkept(str(error))
                self._pool.remove(found)
            else:
                self._start(USUAL_SECONDS[found.listed.level])
        return shown(self._on[1])

    def is_name(self, typed: str) -> bool:
        """Whether a letter that may be a key is an answer to the question on the clock."""
        return self._on is not None and is_name(self._on[1], typed)

    def take(self, typed: str | None) -> None:
        """Take the answer to the question on the clock; None: there is none. Its verdict is said at the end.

        Raises Unread where it cannot be read: the question stays, and so does its clock.
        """
        assert self._on, "no question is on the clock"
        candidate, asked = self._on
        is_late = self.left < -GRACE or (typed is None and self.left <= 0)
        found = None if is_late or typed is None else judged(asked, typed)
        outcome = outcome_of(found.right if found else None, is_late)
        seconds = self._stop()
        answer = Answer(
            question=candidate.listed.id,
            revision=candidate.listed.revision,
            seed=asked.seed,
            at=now(),
            typed=plain(typed.strip()) if found and typed else "",
            verdict="right" if outcome == "right" else "wrong",
            trap=found.trap if found else "",
            hints=0,
            seconds=seconds,
            interview=self.number,
        )
        one = Asked(
            shown=shown(asked),
            told=told(asked, found or Judged(False)),
            item=candidate.item,
            level=candidate.listed.level,
            typed=answer.typed,
            outcome=outcome,
            seconds=seconds,
        )
        self._on = None
        self._keep(replace(self.interview, asked=(*self.interview.asked, one)), answer)

    def begin_coding(self) -> Coding | None:
        """The part of an exercise, whose clock begins here; None where there is none, which `no_coding` explains."""
        if self.interview.coding:
            return self.interview.coding
        try:
            coding = self._chosen()
        except HouseError as error:
            self._keep(replace(self.interview, no_coding=str(error)))
            return None
        self._keep(replace(self.interview, coding=coding))
        self._start(coding.allowed)
        return coding

    def _chosen(self) -> Coding:
        """The part to write, in a file that is there. Raises HouseError where there is none."""
        seconds = self.interview.for_coding
        try:
            earned = done_parts(self.house)
        except ProgressError as error:
            self._unkept(str(error))
            earned = {}
        found = part_for(self.house, self._weights, earned, seconds, self.interview.seed)
        if found is None:
            most = f"{seconds / 60:g} minutes or less"
            raise HouseError(f"No part of {most}, for this role, can be written in your files as they are.")
        exercise, part = found
        put_to_work(exercise)
        was_earned = part.name in earned.get(exercise.id, set())
        return Coding(exercise.id, part.name, part.minutes, seconds, was_earned, place_of(exercise, part))

    def saved(self) -> bytes:
        """The learner's file of the part as it is on the disk; nothing where it cannot be read."""
        try:
            return read_file(self.exercise.attempt, LARGEST_SOURCE, links=True)
        except OSError:
            return b""

    def hand_in(self) -> str | None:
        """Stop the clock of the part: the text to judge, as it is on the disk now; None where it cannot be read."""
        self._coding(seconds=self._stop(), is_handed_in=True)
        try:
            return read_source(self.exercise.attempt)
        except UnicodeDecodeError:
            self.not_judged(f"{self.exercise.attempt.name} is not UTF-8 text.")
        except OSError as error:
            self.not_judged(f"{self.exercise.attempt.name} cannot be read: {error.strerror}.")
        return None

    @property
    def to_judge(self) -> tuple[str, ...]:
        """The part, and before it those that it builds on: where one of them fails, the reference stands in for it."""
        part = self.exercise.part(self.coding.part)
        return (*self.exercise.before(part), part.name)

    def take_result(self, result: Result, text: str) -> None:
        """Take the one verdict on the part. It counts as any other: what it earns is earned. text: that was judged."""
        try:
            if self.house.is_whole:
                record(self.house, self.exercise, result, "interview", text)
            else:
                count_passed(self.house, self.exercise, passed_names(result))
        except ProgressError as error:
            self._unkept(str(error))
        part = next(one for one in result.parts if one.name == self.coding.part)
        if part.verdict in (Verdict.GRADER_ERROR, Verdict.NOT_RUN):
            self.grader_failed(part.message)
            return
        self._coding(**_found(part, self.house.is_whole))

    def grader_failed(self, why: str) -> None:
        """The part has no verdict, and the learner did nothing wrong."""
        self.not_judged(f"The grader could not judge it. This is not your fault; what went wrong: {why}")

    def not_judged(self, why: str) -> None:
        self._coding(problem=why)

    def end(self, how: End) -> Interview:
        """End it, and keep its report. Once it has ended, nothing changes it."""
        if not self.interview.ended:
            if self.interview.coding and not self.coding.is_handed_in:
                self._coding(seconds=self._stop())
            self._keep(debriefed(self.house, self.interview, how))
            self._lock.close()
        return self.interview

    def _start(self, seconds: float) -> None:
        self._began = self._clock()
        self._ends = self._began + seconds

    def _stop(self) -> float:
        """The seconds that were used, at most what there was."""
        return round(min(self._clock(), self._ends) - self._began, 1)

    def _coding(self, **changes: object) -> None:
        self._keep(replace(self.interview, coding=replace(self.coding, **changes)))

    def _keep(self, interview: Interview, answer: Answer | None = None) -> None:
        self.interview = interview
        try:
            self._kept.keep(self.number, interview, answer)
        except ProgressError as error:
            self._unkept(str(error))


def ended_before(house: House) -> dict[int, Interview]:
    """The interviews that broke off with their process, which are ended now, with a report. Raises ProgressError."""
    kept = Interviews(house.root)
    if all(one is None or one.ended for one in kept.interviews().values()):
        return {}
    with ExitStack() as held:
        try:
            held.enter_context(kept.alone())
        except HouseError:  # it goes on, in another window
            return {}
        broken = {number: one for number, one in kept.interviews().items() if one and not one.ended}
        ended = {number: debriefed(house, one, "broken off") for number, one in broken.items()}
        for number, one in ended.items():
            kept.keep(number, one)
    return ended


def _found(part: PartResult, is_whole: bool) -> dict[str, str]:
    """What a report says of a part. In a student edition its visible examples were tried."""
    if part.verdict in QUIET:
        return {"verdict": str(part.verdict), "message": part.message}
    failure, tally = part.first_failure, part.tally
    message = failure.message if failure else part.message
    if not is_whole:
        tally = tally.replace("checks", "examples")
        message = message or "These are its visible examples. More checks run where it is graded."
    about = failure.property if failure and not failure.of_file else ""
    return {"verdict": str(part.verdict), "tally": tally, "property": about, "message": message}
