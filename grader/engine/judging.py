"""Who asks `server` for results, from a process that runs neither torch nor checks: nbgrader's, or Dask's worker."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from grader.engine.server import Answer, Asked, Batch, Judged, Key, keys_of
from grader.verdicts.result import Result

_KEPT = 2000
"""Bytes of what the process printed last."""
_LAST_WORDS_SECONDS = 5.0
"""For what it printed to come, once it has ended: a process of its own may still hold the pipe."""


class ServerError(Exception):
    """The judging process has ended; the message is what it printed last."""


class RefusedError(ServerError):
    """The judging process cannot judge this here; the message says why. No submission is to blame."""


class Judges(Protocol):
    """Who judges for somebody that asks for one result after the other; the methods as of `Judging`."""

    def announce(self, batch: Batch) -> None: ...

    def result(self, batch: Batch, one: Asked) -> Result: ...

    def forget(self, batch: Batch | None = None) -> None: ...

    @property
    def has_ended(self) -> bool: ...

    def close(self) -> None: ...


class Judging:
    """The asking end of a process of its own. Several threads may ask at a time.

    Results are kept: a submission that was announced is judged once. root: the house. level: the least isolation. jobs:
    submissions at a time. hidden: what no cage may read, besides the house. module: what runs in the place of `server`,
    and its arguments.
    """

    def __init__(
        self, root: Path, level: str, jobs: int, hidden: Sequence[Path] = (), module: Sequence[str] = ()
    ) -> None:
        server = ("grader.engine.server", str(root), level, str(jobs), *map(str, hidden))
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(module or server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            start_new_session=True,
        )
        self._answers: dict[Key, Result | str] = {}
        """A result, or why there is none."""
        self._asked: set[Key] = set()
        self._printed = b""
        self._is_over = False
        self._changed = threading.Condition()
        self._to_say: queue.Queue[bytes] = queue.Queue()
        self._listener = threading.Thread(target=self._hear, daemon=True)
        self._listener.start()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def announce(self, batch: Batch) -> None:
        """Begin to judge these; `result` waits for one of them."""
        with self._changed:
            new = [one for one in batch.asked if batch.key(one) not in self._asked]
            self._asked |= {batch.key(one) for one in new}
        if new:
            self._to_say.put(msgspec.json.encode(msgspec.structs.replace(batch, asked=new)) + b"\n")

    def result(self, batch: Batch, one: Asked) -> Result:
        """The result of one of a batch. Raises ServerError."""
        key = batch.key(one)
        self.announce(batch)
        with self._changed:
            self._changed.wait_for(lambda: key in self._answers or self._is_over)
            answer = self._answers.get(key)
        if isinstance(answer, Result):
            return answer
        if answer is not None:
            raise RefusedError(answer)
        raise self._ended()

    def forget(self, batch: Batch | None = None) -> None:
        """Keep the results of these no longer; of all where none are named."""
        with self._changed:
            for key in keys_of(batch) if batch else list(self._asked):
                self._asked.discard(key)
                self._answers.pop(key, None)

    @property
    def has_ended(self) -> bool:
        return self._is_over or self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._to_say.put(b"")
        if self._process.stdin:
            with contextlib.suppress(OSError):  # what it had not read yet
                self._process.stdin.close()

    def _write(self) -> None:
        """Sent in a thread: a class is more than a pipe holds, and the process reads only when it has the checks."""
        assert self._process.stdin
        with contextlib.suppress(OSError, ValueError):  # it has ended, which `result` sees, or is closed
            while data := self._to_say.get():
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        try:
            with self._process.stdout as lines:
                for line in lines:
                    if line.endswith(b"\n"):  # not cut short by its end
                        self._take(msgspec.json.decode(line, type=Answer))
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _take(self, answer: Answer) -> None:
        said = answer.result if isinstance(answer, Judged) else answer.why
        with self._changed:
            self._answers |= {key: said for key in answer.keys if key in self._asked}
            self._changed.notify_all()

    def _hear(self) -> None:
        assert self._process.stderr
        with self._process.stderr as pipe:
            while piece := os.read(pipe.fileno(), 1 << 16):
                self._printed = (self._printed + piece)[-_KEPT:]

    def _ended(self) -> ServerError:
        self._listener.join(_LAST_WORDS_SECONDS)
        said = self._printed.decode(errors="replace").strip()
        return ServerError(said or f"the judging process ended with {self._process.wait()}")
