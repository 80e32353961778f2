"""Interviews in the progress file. Each is written down when it begins and after each answer: a crash loses none."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from grader.base.errors import HouseError
from grader.drills.schedule import Answer
from grader.drills.shown import Shown, Told
from grader.records.drilled import Drilled, insert

End = Literal["", "finished", "left", "broken off"]
"""How an interview ended; "" while it goes on."""
Outcome = Literal["right", "wrong", "passed", "late"]
"""What became of a question. Of the last two nothing was handed in: the learner passed, or the time was over."""


CODING_MINUTES = 20
"""Of one part, at most."""


class Asked(msgspec.Struct, frozen=True):
    """A question that was asked, and what became of it."""

    shown: Shown
    told: Told
    item: str
    """The number of its row of the coverage table."""
    level: int
    typed: str
    outcome: Outcome
    seconds: float

    @property
    def right(self) -> bool:
        return self.outcome == "right"


class Coding(msgspec.Struct, frozen=True):
    """The part of an exercise that is written in an interview."""

    exercise: str
    part: str
    minutes: int
    """What it is meant to take."""
    allowed: float
    """Seconds on the clock."""
    was_earned: bool = False
    """Before it began."""
    line: int = 0
    """At which it is to be begun; 0 if unknown."""
    seconds: float = 0.0
    """That were used."""
    is_handed_in: bool = False
    verdict: str = ""
    """A verdict's word; "" where it was not judged."""
    tally: str = ""
    """`4 of 10 checks pass`."""
    property: str = ""
    """Of the first check that failed, the sentence that it holds; and what was found."""
    message: str = ""
    problem: str = ""
    """Why it was not judged."""


class Reading(msgspec.Struct, frozen=True):
    """Where to read about what was not known."""

    about: str
    """A topic, or a part."""
    path: str
    """Of the statement, from the root of the house."""
    section: str
    asks: str = ""
    """The question of that section that is meant, or ""."""
    source: str = ""
    """Author, year and section."""

    @property
    def place(self) -> str:
        """`exercises/dl_011_kv_cache/README.md: Where people trip`."""
        return f"{self.path}: {self.section}" if self.section else self.path


class Interview(msgspec.Struct, frozen=True):
    """An interview so far, and once it has ended its report."""

    role: str
    minutes: int
    begun: str
    """UTC, ISO 8601."""
    seed: int
    """Of all that is drawn."""
    asked: tuple[Asked, ...] = ()
    coding: Coding | None = None
    no_coding: str = ""
    """Why there is no part to write."""
    ended: End = ""
    reading: tuple[Reading, ...] = ()
    not_asked: tuple[str, ...] = ()
    """Titles of the rows of the coverage table that the role is asked about and that no question came from."""

    @property
    def right(self) -> int:
        return sum(one.right for one in self.asked)

    @property
    def for_questions(self) -> float:
        """Seconds: half of it."""
        return self.minutes * 30.0

    @property
    def for_coding(self) -> float:
        """Seconds for one part: the other half, as far as that is not too long."""
        return min(self.minutes * 30.0, CODING_MINUTES * 60.0)

    @property
    def by_item(self) -> dict[str, tuple[int, int]]:
        """Each row that a question came from, to how many were right, and how many were asked; in their order."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.asked:
            right, of = found.get(one.item, (0, 0))
            found[one.item] = right + one.right, of + 1
        return found


_TABLE = (
    "create table if not exists interview (id integer primary key, role text not null, begun text not null,"
    " minutes integer not null, report text not null)"
)


class Interviews(Drilled):
    """The interviews of a progress file, by their numbers, from 1. Raises ProgressError as `Drilled`."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other interview go on meanwhile. The end of the process ends it too. Raises HouseError."""
        lock = self.path.with_name("interview.lock")
        try:
            lock.parent.mkdir(exist_ok=True)
            file = lock.open("a+")
        except OSError as error:
            raise HouseError(f"{lock} cannot be written: {error.strerror}.") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise HouseError("An interview goes on in another window: end it there first.") from None
            yield

    def begin(self, interview: Interview) -> int:
        """Write down that one has begun; its number."""
        row = interview.role, interview.begun, interview.minutes, _text(interview)
        with self._tables() as db:
            query = "insert into interview (role, begun, minutes, report) values (?, ?, ?, ?)"
            return int(db.execute(query, row).lastrowid or 0)

    def keep(self, number: int, interview: Interview, answer: Answer | None = None) -> None:
        """Write down how far one is, and the answer that brought it there: both, or neither."""
        with self._tables() as db:
            if answer:
                insert(db, answer)
            db.execute("update interview set report = ? where id = ?", (_text(interview), number))

    def interviews(self) -> dict[int, Interview | None]:
        """All of them, oldest first; None for one that this grader cannot read."""
        if not self.path.exists():
            return {}
        with self._tables() as db:
            return {number: _read(text) for number, text in db.execute("select id, report from interview order by id")}

    @contextmanager
    def _tables(self) -> Iterator[sqlite3.Connection]:
        with super()._tables() as db:
            db.execute(_TABLE)
            yield db


def _text(interview: Interview) -> str:
    return msgspec.json.encode(interview).decode()


def _read(text: object) -> Interview | None:
    try:
        return msgspec.json.decode(str(text), type=Interview)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
