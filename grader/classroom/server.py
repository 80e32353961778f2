"""Judges submissions to one exercise for as long as somebody asks: `python -m grader.classroom.server ROOT ID LEVEL`.

nbgrader's own process grades one notebook after the other, and must not run torch or hold the checks. This one collects
the checks once. It reads batches from stdin, one JSON line each, and writes each result to stdout as it comes.
"""

import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from grader.bank.catalog import House
from grader.base.child import write_all
from grader.base.errors import HouseError, RunError
from grader.base.files import digest
from grader.submissions.find import Handed, read_all
from grader.verdicts.result import Result

if TYPE_CHECKING:
    from grader.engine.batch import Asker

_IDLE_SECONDS = 120.0
"""After which it ends by itself: formgrader's own process lives for days, and checks may change meanwhile."""


class Asked(msgspec.Struct, frozen=True):
    """One submission to judge. notebook: the text of one, whose cells may hold anything: it is put together there."""

    student: str
    notebook: str
    seed: int

    @property
    def key(self) -> tuple[str, str]:
        return self.student, digest(self.notebook)


class Judged(msgspec.Struct, frozen=True):
    """The result of what was asked, known by its keys: one source text may have come in several notebooks."""

    keys: list[tuple[str, str]]
    result: Result


class ServerError(Exception):
    """The judging process has ended; the message is what it printed last."""


class Judging:
    """The asking end. Results are kept: a submission that was announced is judged once.

    root: the house. level: the least isolation. jobs: submissions at a time.
    """

    def __init__(self, root: Path, id: str, level: str, jobs: int) -> None:
        command = [sys.executable, "-m", "grader.classroom.server", str(root), id, level, str(jobs)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            start_new_session=True,
        )
        self._results: dict[tuple[str, str], Result] = {}
        self._asked: set[tuple[str, str]] = set()
        self._said = ""
        self._came: queue.Queue[bytes] = queue.Queue()
        self._to_say: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    def announce(self, asked: list[Asked]) -> None:
        """Begin to judge these; `result` waits for one of them."""
        new = [one for one in asked if one.key not in self._asked]
        if new:
            self._asked |= {one.key for one in new}
            self._to_say.put(msgspec.json.encode(new) + b"\n")

    def result(self, one: Asked) -> Result:
        """The result of a submission. Raises ServerError."""
        key = one.key
        self.announce([one])
        while key not in self._results:
            line = self._came.get()
            if not line:
                self._came.put(b"")  # for the next who asks
                raise self._ended()
            judged = msgspec.json.decode(line, type=Judged)
            self._results |= dict.fromkeys(judged.keys, judged.result)
        return self._results[key]

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._to_say.put(b"")
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with contextlib.suppress(OSError):  # what it had not read yet
                    pipe.close()

    def _write(self) -> None:
        """Sent in a thread: a class is more than a pipe holds, and the process reads only when it has the checks."""
        assert self._process.stdin
        with contextlib.suppress(OSError, ValueError):  # it has ended, which `result` sees, or is closed
            while data := self._to_say.get():
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._came.put(line)
        self._came.put(b"")

    def _ended(self) -> ServerError:
        assert self._process.stderr
        self._said += self._process.stderr.read().decode(errors="replace").strip()
        return ServerError(self._said[-2000:] or f"the judging process ended with {self._process.wait()}")


def _lines(descriptor: int) -> Iterator[bytes]:
    """The lines that come in, until the other side closes or says nothing for too long."""
    begun: list[bytes] = []
    while select.select([descriptor], [], [], _IDLE_SECONDS)[0] and (piece := os.read(descriptor, 1 << 20)):
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join([*begun, line])
            begun = []
        begun.append(last)


def main() -> None:
    """Serve until stdin closes, or until no question has come for too long."""
    from grader.engine.batch import Engine
    from grader.engine.cage import Level

    root, id, level, jobs = sys.argv[1:]
    house = House(Path(root))
    exercise = house.exercises[id]
    questions, answers = os.dup(0), os.dup(1)  # pytest takes stdin for itself
    os.dup2(2, 1)  # what anything prints is no result

    def say(judged: Judged) -> None:
        write_all(answers, msgspec.json.encode(judged) + b"\n")

    try:
        with Engine([exercise], Level(level)) as engine:
            asker = engine.asker(house, exercise)
            for line in _lines(questions):
                _judge(asker, msgspec.json.decode(line, type=list[Asked]), int(jobs), say)
    except (RunError, HouseError) as error:
        sys.exit(f"the checks could not run; what went wrong:\n{error}")


def _judge(asker: "Asker", asked: list[Asked], jobs: int, say: Callable[[Judged], None]) -> None:
    """Put each notebook together, and judge it; a notebook that cannot be read has a result too, which says so."""
    exercise = asker.exercise
    read = read_all([Handed(one.student, exercise, notebook=one.notebook) for one in asked])
    keys: dict[tuple[str, str], list[tuple[str, str]]] = {}
    seeds = {}
    for one, submission in zip(asked, read, strict=True):
        keys.setdefault((submission.student, submission.source), []).append(one.key)
        seeds[submission.student, submission.source] = one.seed
    distinct = {(one.student, one.source): one for one in read}.values()
    asker.judge(
        list(distinct),
        seed_of=lambda one: seeds[one.student, one.source],
        jobs=jobs,
        keep=lambda result: say(Judged(keys[result.student, result.source], result)),
    )


if __name__ == "__main__":
    main()
