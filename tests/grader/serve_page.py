"""What tests of the practice page share: a seat that says what a test tells it to, and results of few words."""

import asyncio

from grader.base.files import digest
from grader.learner.seat import Ended
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict

TOKEN = "the-token-of-this-test"
PORT = 8765
HOME = f"http://127.0.0.1:{PORT}"
ID = "dl_901_running_mean"


class FakeSeat:
    """Says what a test gives it; keeps what it was asked."""

    def __init__(self, exercise):
        self.exercise = exercise
        self.asked, self.stops, self.closed = [], 0, False
        self.words = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def ask(self, run):
        self.asked.append(run)

    def stop(self):
        self.stops += 1

    async def said(self):
        while (said := await self.words.get()) is not None:
            yield said

    async def close(self):
        self.closed = True

    def say(self, said):
        """From any thread; None ends it."""
        self._loop.call_soon_threadsafe(self.words.put_nowait, said)


class Seats(list):
    """Opens fake seats, and remembers them."""

    async def open(self, house, exercise):
        self.append(FakeSeat(exercise))
        return self[-1]


def result_of(exercise, run, verdicts):
    """A result in which each part has one check, of the given verdict."""
    checks = [
        CheckResult(f"test_{name}", name, Verdict(verdict), f"{name} is {verdict}")
        for name, verdict in verdicts.items()
    ]
    planned = {name: [f"test_{name}"] for name in verdicts}
    return assemble(exercise, checks, planned, seed=0, isolation="full", source=digest(run.text))


def ended(exercise, run, **verdicts):
    return Ended(run.number, result_of(exercise, run, verdicts))


def state_of(home):
    """All that the server may write of a house, by path."""
    files = [path for path in home.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(home.root).as_posix(): path.read_bytes() for path in files}
