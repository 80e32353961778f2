"""What a seat runs: it collects the checks of one exercise once, and judges one text after another.

Runs come as lines of JSON on stdin, `null` for a stop; what it has to say goes to stdout the same way.
"""

import multiprocessing
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from grader.bank.catalog import Exercise, House
from grader.base.child import begin_child, write_all
from grader.base.errors import HouseError, RunError
from grader.base.files import digest
from grader.learner.seat import Cancelled, Checked, Drawn, Ended, Fault, Pictured, Ready, Run, Said, TriedLines
from grader.records.progress import Progress, ProgressError
from grader.submissions.find import Submission, read_text
from grader.verdicts.result import Result
from grader.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from grader.engine.batch import Asker, Engine

_LOOK_SECONDS = 0.005
"""Somebody waits for the first check."""


class RunQueue:
    """The runs that are asked for, newest first of all: an older one that waits is never judged."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = [b""]
        self._ended = False

    def __iter__(self) -> Iterator[Run]:
        while not self._ended or len(self._lines) > 1:
            if len(self._lines) == 1:
                self._read()
                continue
            *_, newest, cut = self._lines
            self._lines = [cut]
            if run := msgspec.json.decode(newest, type=Run | None):
                yield run

    def is_newer(self) -> bool:
        """Whether anything came since: a run, a stop, or the end of who asks."""
        if not self._ended and select.select([self._descriptor], [], [], 0)[0]:
            self._read()
        return self._ended or len(self._lines) > 1

    def _read(self) -> None:
        data = os.read(self._descriptor, 1 << 20)
        self._ended = not data
        self._lines[-1:] = (self._lines[-1] + data).split(b"\n")


class Reader:
    """Reads texts in a process that is small, since torch is not in it: each text needs a fork, and waits for it."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        fork = multiprocessing.get_context("fork")  # the others begin Python anew
        self._asked, theirs = fork.Pipe()
        fork.Process(target=self._serve, args=(theirs,), daemon=True).start()
        theirs.close()

    def read(self, text: str) -> Submission:
        """A text as the engine takes it."""
        with suppress(EOFError, OSError):  # something has ended it
            self._asked.send(text)
            read: Submission = self._asked.recv()
            return read
        return read_text(self._exercise, text)

    def _serve(self, theirs: Connection) -> None:
        begin_child()
        self._asked.close()
        with suppress(EOFError):
            while True:
                theirs.send(read_text(self._exercise, theirs.recv()))


def main() -> None:
    """Judge what is asked for on stdin, until it closes."""
    root, id = sys.argv[1:]
    asked, say = RunQueue(os.dup(0)), spoken()  # pytest takes stdin for itself
    try:
        house = House(Path(root))
        exercise = house.exercises[id]
        reader = Reader(exercise)
        from grader.engine.batch import Engine  # brings pytest, which neither the reader nor the keeper of a seat needs

        with Engine([exercise]) as engine:
            asker = engine.asker(house, exercise)
            say(Ready(asker.count()))
            for run in asked:
                if run.lines:
                    try_below(engine, exercise, run, asked, say)
                else:
                    _judge(asker, run, reader, asked, say)
    except (RunError, HouseError) as error:
        say(Fault(0, str(error)))
        sys.exit(1)
    except BrokenPipeError:  # nobody listens any more
        sys.exit(1)


def spoken() -> Callable[[Said], None]:
    """What says a thing on stdout. What anything else prints there from now on is no answer, and goes to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return lambda said: write_all(answers, msgspec.json.encode(said) + b"\n")


def try_below(engine: "Engine", exercise: Exercise, run: Run, asked: RunQueue, say: Callable[[Said], None]) -> None:
    """Run a few lines below one text."""
    from grader.engine.trial import try_lines

    try:
        tried = try_lines(engine, exercise, run.text, run.lines, asked.is_newer)
    except RunError as error:
        say(Fault(run.number, str(error)))
        return
    say(TriedLines(run.number, tried) if tried else Cancelled(run.number))


def _judge(asker: "Asker", run: Run, reader: Reader, asked: RunQueue, say: Callable[[Said], None]) -> None:
    """Judge one text; a result, or that something newer came before it, or what kept the grader from judging."""
    from grader.engine.batch import Wish

    results: list[Result] = []
    wish = Wish(run.first, run.only, asked.is_newer, _LOOK_SECONDS)
    try:
        asker.judge(
            [reader.read(run.text)],
            seed_of=lambda _: run.seed,
            jobs=1,
            keep=results.append,
            on_check=lambda check, total: say(Checked(run.number, total, check)),
            wish=wish,
        )
    except (RunError, HouseError, OSError) as error:
        say(Fault(run.number, str(error)))
        return
    if not results:
        say(Cancelled(run.number))
        return
    # The hash of what was asked: reading may have taken something away, as a mark at the beginning.
    say(Ended(run.number, replace(results[0], source=digest(run.text))))
    if run.draws:
        draw(asker.engine, asker.exercise, run, results[0], asked, say)


def draw(
    engine: "Engine", exercise: Exercise, run: Run, result: Result, asked: RunQueue, say: Callable[[Said], None]
) -> None:
    """Say the pictures of what was judged, those of the parts that come first first; none of what is not begun."""
    with suppress(RunError, HouseError, OSError):  # the verdicts stand; `grader picture` says what is wrong
        for said in _pictures(engine, exercise, run, result, asked):
            say(said)
    say(Drawn(run.number))


def _pictures(engine: "Engine", exercise: Exercise, run: Run, result: Result, asked: RunQueue) -> Iterator[Pictured]:
    from grader.learner.gallery import gallery

    begun = [part.name for part in result.parts if part.verdict not in (Verdict.NOT_STARTED, Verdict.NOT_RUN)]
    earned = {part.name for part in result.parts if part.earned}
    with suppress(ProgressError):
        earned |= Progress(exercise.root).earned().get(exercise.id, set())
    chosen = sorted((one for one in exercise.pictures if one.part in begun), key=lambda one: one.part not in run.first)
    text = read_text(exercise, run.text).text
    for hung in gallery(engine, exercise, text, chosen, earned, asked.is_newer):
        if not asked.is_newer():
            one = hung.declared
            yield Pictured(run.number, one.part, one.title, one.caption, hung.own, hung.reference)


if __name__ == "__main__":
    main()
