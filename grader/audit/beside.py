"""Audits of several exercises side by side: much of one audit is done by one process, whatever it may use."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from grader.audit.report import Report, Say, audit
from grader.bank.catalog import Exercise, House, find_house
from grader.base.bar import Bar
from grader.base.errors import RunError
from grader.base.fair import processors


class _Asked(msgspec.Struct, frozen=True):
    """An audit, to be made by a process of its own."""

    root: str
    exercise: str
    seeds: int
    mutants: int | None
    wrong: int | None
    jobs: int


class _Told(msgspec.Struct, frozen=True):
    """What such a process found, and the lines that say it; or why it could not look."""

    report: Report
    lines: list[str]
    problem: str = ""


def audits(
    house: House,
    exercises: Sequence[Exercise],
    *,
    seeds: int,
    mutants: int | None,
    wrong: int | None = None,
    jobs: int | None = None,
    say: Say = print,
) -> Iterator[Report]:
    """The report of each exercise, in order, each said whole. jobs: processes at a time, in all.

    Raises HouseError, and RunError where the checks of one cannot be collected.
    """
    jobs = jobs or len(processors())
    beside = min(jobs, len(exercises))
    if beside < 2:
        for exercise in exercises:
            yield _audited(house, exercise, _Asked("", exercise.id, seeds, mutants, wrong, jobs), say)
        return
    asked = [_Asked(str(house.root), exercise.id, seeds, mutants, wrong, jobs // beside) for exercise in exercises]
    bar, running = Bar("exercises"), list[subprocess.Popen[bytes]]()
    pool = ThreadPoolExecutor(beside)
    try:
        for done, told in enumerate(pool.map(lambda one: _tell(one, running), asked), 1):
            bar.end()
            for line in told.lines:
                say(line)
            if told.problem:
                raise RunError(told.problem)
            yield told.report
            bar.show(done, len(asked))
    finally:
        bar.end()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()


def _tell(asked: _Asked, running: list[subprocess.Popen[bytes]]) -> _Told:
    command = [sys.executable, "-m", "grader.audit.beside"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        running.append(process)
        said, complaint = process.communicate(msgspec.json.encode(asked))
        running.remove(process)
    os.write(2, complaint)
    if process.returncode:
        raise RunError(f"{asked.exercise} could not be audited: its process ended with code {process.returncode}.")
    return msgspec.json.decode(said, type=_Told)


def _main() -> None:
    """Make the audit that stdin asks for, and tell of it on stdout."""
    tells = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a check prints is no part of it
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=_Asked)
    house, lines = find_house(Path(asked.root)), list[str]()
    try:
        exercise = house.find(asked.exercise)
        told = _Told(_audited(house, exercise, asked, lines.append), lines)
    except RunError as error:
        told = _Told(Report(asked.exercise), lines, str(error))
    with tells:
        tells.write(msgspec.json.encode(told))


def _audited(house: House, exercise: Exercise, asked: _Asked, say: Say) -> Report:
    try:
        return audit(
            house, exercise, seeds=asked.seeds, mutants=asked.mutants, wrong=asked.wrong, jobs=asked.jobs, say=say
        )
    except RunError as error:
        raise RunError(f"the checks of {exercise.id} cannot be collected:\n{error}") from None


if __name__ == "__main__":
    _main()
