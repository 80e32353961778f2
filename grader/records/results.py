"""`results.jsonl`: one line a result; of a student and an exercise the newest line counts."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from grader.base.errors import HouseError
from grader.verdicts.result import SCHEMA, CheckResult, Result
from grader.verdicts.verdict import Verdict

_LONGEST_BRIEF = 300

Kept = dict[tuple[str, str], Result]
"""(student, exercise) to the result that counts."""


def read_results(path: Path, keep: Callable[[Result], Result] = lambda result: result) -> tuple[Kept, int]:
    """The results of a file, and the length in bytes of its whole lines: what follows was cut short by a crash.

    keep: what to keep of each. Raises HouseError with the number of the line that is no result, and FileNotFoundError.
    """
    kept: Kept = {}
    whole = 0
    for line, result in whole_lines(path):
        whole += len(line)
        kept[result.student, result.exercise] = keep(result)
    return kept, whole


def whole_lines(path: Path) -> Iterator[tuple[bytes, Result]]:
    """Each line of a file and its result, one after the other: a class may have filled a great deal of it.

    Raises as `read_results`.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield line, _read(path, number, line)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HouseError(f"{path} cannot be read: {error.strerror}.") from None


def _read(path: Path, number: int, line: bytes) -> Result:
    """The result on a line."""
    try:
        result = msgspec.json.decode(line, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HouseError(f"{path}, line {number} is no result of this grader: {error}. Take that line out.") from None
    if result.schema > SCHEMA:
        raise HouseError(f"{path}, line {number} was written by a newer grader (schema {result.schema}): update.")
    return _of_now(result)


def brief(result: Result) -> Result:
    """What a batch needs of a result that is on the disk: its points, verdicts and the first sentence of each part.

    A result may have 256 KB, and a thousand of them are held.
    """
    parts = []
    for part in result.parts:
        first = part.first_failure
        checks = [CheckResult(first.id, first.part, first.verdict, of_file=first.of_file)] if first else []
        parts.append(replace(part, message=part.message[:_LONGEST_BRIEF], checks=checks))
    return replace(result, parts=parts)


def _of_now(result: Result) -> Result:
    """A result of schema 1, in which that the file itself could not be used stood in equal messages alone."""
    messages = {part.message for part in result.parts if part.verdict is Verdict.ERROR}
    broken = len(messages) == 1 and all(part.verdict is Verdict.ERROR for part in result.parts)
    if result.schema != 1 or not broken or len(result.parts) < 2:
        return result
    parts = [replace(part, checks=[replace(check, of_file=True) for check in part.checks]) for part in result.parts]
    return replace(result, parts=parts)


def in_order(kept: Kept) -> list[Result]:
    """The results by student, then by exercise."""
    return [kept[key] for key in sorted(kept)]


class Results:
    """`results.jsonl` of an out folder: appended durably, read back to resume.

    It holds in memory what a batch needs of each result: not the single checks, which are on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HouseError(f"{folder} cannot be a folder for results: {error.strerror}.") from None
        self._kept, self._whole = self._read()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other run write here meanwhile. Raises HouseError, which says who does."""
        try:
            file = self.path.with_name(".lock").open("a+")
        except OSError:  # then nobody can write here; `add` says so
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                by = file.readline().strip()
                raise HouseError(
                    f"Another run writes to {self.path.parent}{f' ({by})' if by else ''}: wait until it has ended, or "
                    "choose another folder with --out."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            self._kept, self._whole = self._read()  # what a run that has just ended wrote
            yield

    def latest(self) -> list[Result]:
        """The result that counts, of each student and exercise."""
        return in_order(self._kept)

    def add(self, result: Result) -> None:
        """Keep a result. It is on the disk when this returns."""
        self.add_lines([(msgspec.json.encode(result) + b"\n", result)])

    def add_lines(self, lines: Iterable[tuple[bytes, Result]]) -> None:
        """Keep results that are lines already. All are on the disk when this returns."""
        try:
            with self.path.open("ab") as file:
                if self._whole is not None:  # a line cut short by a crash; its submission is judged again
                    file.truncate(self._whole)
                for line, result in lines:
                    file.write(line)
                    self._kept[result.student, result.exercise] = brief(result)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HouseError(
                f"{self.path} cannot be written: {error.strerror}. What it holds is kept; run it again to go on."
            ) from None
        self._whole = None

    def of(self, student: str, exercise: str) -> Result | None:
        """The result that counts, of one submission."""
        return self._kept.get((student, exercise))

    def _read(self) -> tuple[Kept, int | None]:
        """What is there, and the length of its whole lines."""
        try:
            return read_results(self.path, brief)
        except FileNotFoundError:
            return {}, None


def results_of(folder: Path, keep: Callable[[Result], Result] = lambda result: result) -> list[Result]:
    """The results that count, of a folder that `grader grade` wrote. Changes nothing there. Raises HouseError.

    keep: what to keep of each.
    """
    path = folder / "results.jsonl"
    try:
        kept, _ = read_results(path, keep)
    except FileNotFoundError:
        raise HouseError(f"{path} is missing. `grader grade SUBMITTED --out {folder}` writes it.") from None
    if not kept:
        raise HouseError(f"{path} holds no result.")
    return in_order(kept)
