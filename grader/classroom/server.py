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
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from grader.bank.catalog import House
from grader.base.files import digest
from grader.submissions.find import Submission
from grader.verdicts.result import Result

_IDLE_SECONDS = 120.0
"""After which it ends by itself: formgrader's own process lives for days, and checks may change meanwhile."""


class Asked(msgspec.Struct, frozen=True):
    """One submission to judge."""

    student: str
    text: str
    seed: int


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
        new = [one for one in asked if (one.student, digest(one.text)) not in self._asked]
        if new:
            self._asked |= {(one.student, digest(one.text)) for one in new}
            self._to_say.put(msgspec.json.encode(new) + b"\n")

    def result(self, one: Asked) -> Result:
        """The result of a submission. Raises ServerError."""
        key = one.student, digest(one.text)
        self.announce([one])
        while key not in self._results:
            line = self._came.get()
            if not line:
                self._came.put(b"")  # for the next who asks
                raise self._ended()
            result = msgspec.json.decode(line, type=Result)
            self._results[result.student, result.source] = result
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
    data = b""
    while select.select([descriptor], [], [], _IDLE_SECONDS)[0] and (piece := os.read(descriptor, 1 << 20)):
        *whole, data = (data + piece).split(b"\n")
        yield from whole


def _seed_of(seeds: Mapping[tuple[str, str], int], one: Submission) -> int:
    return seeds[one.student, one.source]


def main() -> None:
    """Serve until stdin closes, or until no question has come for too long."""
    from grader.base.errors import RunError
    from grader.engine.batch import Engine
    from grader.engine.cage import Level

    root, id, level, jobs = sys.argv[1:]
    house = House(Path(root))
    exercise = house.exercises[id]
    questions, answers = os.dup(0), os.dup(1)  # pytest takes stdin for itself
    os.dup2(2, 1)  # what anything prints is no result

    def say(result: Result) -> None:
        data = memoryview(msgspec.json.encode(result) + b"\n")
        while data:
            data = data[os.write(answers, data) :]

    try:
        with Engine([exercise], Level(level)) as engine:
            asker = engine.asker(house, exercise)
            for line in _lines(questions):
                asked = msgspec.json.decode(line, type=list[Asked])
                seeds = {(one.student, digest(one.text)): one.seed for one in asked}
                asker.judge(
                    [Submission(one.student, id, one.text) for one in asked],
                    seed_of=partial(_seed_of, seeds),
                    jobs=int(jobs),
                    keep=say,
                )
    except RunError as error:
        sys.exit(f"the checks could not run; what went wrong:\n{error}")


if __name__ == "__main__":
    main()
