"""Judges submissions for as long as somebody asks: `python -m grader.engine.server ROOT LEVEL JOBS HIDDEN...`.

Who asks must not run torch or hold the checks: nbgrader's own process, or a worker of a cluster. This process reads
batches from stdin, one JSON line each, and writes each result to stdout as it comes. One serves all exercises of a
house: it collects the checks of each once. It ends when the other side does, whatever it is at. HIDDEN: what no cage
may read, besides the house.

`Judging` is the other side.
"""

import contextlib
import os
import platform
import select
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from grader.bank.catalog import House
from grader.base.child import write_all
from grader.base.errors import HouseError, RunError
from grader.base.files import digest
from grader.engine.resume import versions
from grader.submissions.find import Handed, Submission, read_all
from grader.verdicts.result import Result
from grader.verdicts.versions import difference

if TYPE_CHECKING:
    from grader.bank.catalog import Exercise
    from grader.engine.batch import Asker, Engine

_IDLE_SECONDS = 120.0
"""After which it ends by itself: who asks may live for days without a question, and checks may change meanwhile."""

Key = tuple[str, str, str]
"""An exercise, a student, and the hash of what was handed in."""


class Asked(msgspec.Struct, frozen=True):
    """One submission to judge. text, problem: of a `Submission`. notebook: in their place, the text of one.

    The cells of a notebook may hold anything: it is put together where it is judged.
    """

    student: str
    seed: int
    text: str = ""
    problem: str = ""
    notebook: str | None = None


class Batch(msgspec.Struct, frozen=True):
    """Submissions to one exercise. wanted: what `all_versions` says where they were handed in; empty for anything."""

    exercise: str
    asked: list[Asked]
    wanted: dict[str, str] = {}

    def key(self, one: Asked) -> Key:
        """What the answer to one of them is known by."""
        given = f"{one.problem}\n{one.text}" if one.notebook is None else one.notebook
        return self.exercise, one.student, digest(given)


class Judged(msgspec.Struct, frozen=True, tag=True):
    """The result of what was asked, known by its keys: one source text may have come in several notebooks."""

    keys: list[Key]
    result: Result


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Why these cannot be judged here; no submission is to blame."""

    keys: list[Key]
    why: str


Answer = Judged | Refused


def all_versions(exercise: "Exercise") -> dict[str, str]:
    """What two machines must have in common, so that their results are those of one."""
    return {**versions(exercise), "python": ".".join(platform.python_version_tuple()[:2])}


class Questions:
    """The batches that come in."""

    def __init__(self, descriptor: int) -> None:
        self._from = descriptor
        self._come: deque[Batch] = deque()
        self._begun: list[bytes] = []
        self._poll = select.poll()
        self._poll.register(descriptor, 0)

    def next(self) -> Batch | None:
        """The next one; None where the other side has closed, or has said nothing for too long."""
        while not self._come:
            if not self._read(_IDLE_SECONDS):
                return None
        return self._come.popleft()

    def more(self, like: Batch) -> Batch | None:
        """The next one, if it is there already, and of the same exercise."""
        if not self._come:
            self._read(0)
        if self._come and (self._come[0].exercise, self._come[0].wanted) == (like.exercise, like.wanted):
            return self._come.popleft()
        return None

    def are_over(self) -> bool:
        """Whether nobody is there any more who could hear an answer."""
        return bool(self._poll.poll(0))  # it reports nothing but that the other side has closed

    def _read(self, seconds: float) -> bool:
        """Take what is there, or comes within these seconds; whether anything did."""
        if not select.select([self._from], [], [], seconds)[0]:
            return False
        piece = os.read(self._from, 1 << 20)
        *whole, last = piece.split(b"\n")
        for line in whole:
            self._come.append(msgspec.json.decode(b"".join([*self._begun, line]), type=Batch))
            self._begun = []
        self._begun.append(last)
        return bool(piece)


class _Server:
    """Judges what is asked."""

    def __init__(self, house: House, engine: "Engine", jobs: int, say: Callable[[Answer], None]) -> None:
        self._house, self._engine, self._jobs, self._say = house, engine, jobs, say
        self._askers: dict[str, Asker] = {}

    def serve(self, questions: Questions) -> None:
        """Answer until the questions are over."""
        from grader.engine.batch import Wish

        wish = Wish(is_cancelled=questions.are_over)
        while batch := questions.next():
            try:
                asker = self._asker(batch)
            except (RunError, HouseError) as error:
                self._say(Refused(keys_of(batch), str(error)))
                continue
            work = _Work(asker, self._say)
            asker.judge(
                work.read(batch),
                seed_of=work.seed,
                jobs=self._jobs,
                keep=work.keep,
                wish=wish,
                more=lambda like=batch, work=work: work.read(questions.more(like)),  # type: ignore[misc]  # of this turn
            )

    def _asker(self, batch: Batch) -> "Asker":
        """Who judges a batch. Raises RunError or HouseError where it cannot be judged as it is wanted."""
        if batch.exercise not in self._house.exercises:
            raise HouseError(f"there is no exercise '{batch.exercise}' in {self._house.root}")
        found = all_versions(self._house.exercises[batch.exercise])
        if batch.wanted and batch.wanted != found:
            name, here, there = difference(found, batch.wanted)
            raise HouseError(f"'{name}' is {here} here, and {there} where the submissions were handed in")
        asker = self._askers.get(batch.exercise)
        if asker is None or any(found[name] != version for name, version in asker.versions.items()):
            house = House(self._house.root)  # read anew: its files may have changed
            try:
                asker = self._askers[batch.exercise] = self._engine.asker(house, house.exercises[batch.exercise])
            except RunError as error:
                raise RunError(f"the checks could not run; what went wrong:\n{error}") from None
        return asker


class _Work:
    """Submissions that are being judged, and who waits for each."""

    def __init__(self, asker: "Asker", say: Callable[[Answer], None]) -> None:
        self._asker, self._say = asker, say
        self._keys: dict[tuple[str, str], list[Key]] = {}
        self._seeds: dict[tuple[str, str], int] = {}

    def read(self, batch: Batch | None) -> list[Submission]:
        """Put each notebook together; one that cannot be read has a result too, which says so."""
        if batch is None:
            return []
        exercise, new = self._asker.exercise, []
        handed = [
            Handed(one.student, exercise, notebook=one.notebook) for one in batch.asked if one.notebook is not None
        ]
        notebooks = iter(read_all(handed) if handed else [])
        for one in batch.asked:
            there = one.notebook is None
            submission = Submission(one.student, exercise.id, one.text, one.problem) if there else next(notebooks)
            place = submission.student, submission.source
            if place not in self._keys:
                new.append(submission)
            self._keys.setdefault(place, []).append(batch.key(one))
            self._seeds[place] = one.seed
        return new

    def seed(self, submission: Submission) -> int:
        return self._seeds[submission.student, submission.source]

    def keep(self, result: Result) -> None:
        """Say a result. Where the answering process has ended, it says nothing about the submission: this ends too."""
        if result.grader_failed and not self._asker.engine.warm.is_alive:
            sys.exit("the answering process has ended")
        self._say(Judged(self._keys.pop((result.student, result.source), []), result))


def keys_of(batch: Batch) -> list[Key]:
    return [batch.key(one) for one in batch.asked]


def open_ends() -> tuple[Questions, Callable[[Answer], None]]:
    """The questions that come in on stdin, and what writes an answer to stdout; to nothing else, from now on."""
    questions, answers = Questions(os.dup(0)), os.dup(1)  # pytest takes stdin for itself
    os.dup2(2, 1)  # what anything prints is no result

    def say(answer: Answer) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is there any more, which the next look sees
            write_all(answers, msgspec.json.encode(answer) + b"\n")

    return questions, say


def refuse_all(questions: Questions, say: Callable[[Answer], None], why: str) -> None:
    """Say why nothing can be judged here, for as long as somebody asks."""
    while batch := questions.next():
        say(Refused(keys_of(batch), why))


def main() -> None:
    """Serve until stdin closes, or until no question has come for too long."""
    from grader.engine.batch import Engine
    from grader.engine.cage import Level

    root, level, jobs, *hidden = sys.argv[1:]
    house = House(Path(root))
    questions, say = open_ends()
    try:
        with Engine(house.exercises.values(), Level(level), map(Path, hidden)) as engine:
            _Server(house, engine, int(jobs), say).serve(questions)
    except HouseError as error:  # the machine isolates less than is wanted
        refuse_all(questions, say, str(error))


if __name__ == "__main__":
    main()
