"""What a learner did, in `.grader/progress.sqlite`: every judged attempt with its source, hints, resets.

Nothing is computed ahead: what is earned is read from the attempts, so a part once earned stays earned.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from grader.bank.source import read_source
from grader.base.files import digest
from grader.base.now import now
from grader.verdicts.result import Result
from grader.verdicts.verdict import Verdict

VERSION = 1
APPLICATION = 0x6B617461  # "kata": tells our file from any other SQLite file
_WAIT_SECONDS = 10.0
EXAMPLES = "examples"
"""The event that the examples of a part passed, where there are no hidden checks."""

_SCHEMA = """
create table attempts (
    id integer primary key, at text not null, exercise text not null, revision integer not null, door text not null,
    score integer not null, max_score integer not null, source text not null, result blob not null);
create table parts (
    attempt integer not null references attempts, exercise text not null, part text not null,
    earned integer not null, verdict text not null);
create table sources (hash text primary key, text text not null);
create table events (at text not null, exercise text not null, part text not null, kind text not null,
    source text not null);
create index parts_by_exercise on parts (exercise, earned);
"""


class ProgressError(Exception):
    """The progress file cannot be used. why: a sentence without its first words, which depend on what was wanted."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Progress not recorded: {why}")
        self.why = why


class Kept(msgspec.Struct, frozen=True):
    """One attempt as `grader history` lists it."""

    number: int
    at: str
    door: str
    score: int
    max_score: int
    source: str
    earned: tuple[str, ...]


class Progress:
    """The progress file of one house. Opened for each use, so that two terminals never wait long for each other."""

    def __init__(self, root: Path) -> None:
        self.path = root / ".grader" / "progress.sqlite"

    def record(self, result: Result, text: str | None, door: str) -> tuple[str, ...]:
        """Keep one judged attempt and, if given, the text that was judged; the parts that it is first to earn."""
        ran = [part for part in result.parts if part.checks]
        if not ran:
            return ()
        with self._open() as db:
            before = "select part from parts where exercise = ? and earned"
            known = {row[0] for row in db.execute(before, (result.exercise,))}
            if text is not None:
                _keep(db, text)
            worth = sum(part.points for part in ran)  # of those that were run, as `-k prefill` runs one
            row = (now(), result.exercise, result.revision, door, result.score, worth, result.source)
            cursor = db.execute(
                "insert into attempts (at, exercise, revision, door, score, max_score, source, result)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, msgspec.json.encode(result)),
            )
            db.executemany(
                "insert into parts values (?, ?, ?, ?, ?)",
                [(cursor.lastrowid, result.exercise, part.name, part.earned > 0, part.verdict) for part in ran],
            )
        return tuple(part.name for part in ran if part.earned and part.name not in known)

    def note(self, exercise: str, kind: str, *, part: str = "", text: str | None = None) -> None:
        """Keep an event (`hint`, `give up`, `reset`, EXAMPLES), with the learner's file if it is about to go."""
        with self._open() as db:
            source = _keep(db, text) if text is not None else ""
            db.execute("insert into events values (?, ?, ?, ?, ?)", (now(), exercise, part, kind, source))

    def earned(self) -> dict[str, set[str]]:
        """Exercise to the parts that any attempt earned."""
        return self._by_exercise("select distinct exercise, part from parts where earned")

    def with_examples(self) -> dict[str, set[str]]:
        """Exercise to the parts whose examples passed, in a student edition."""
        return self._by_exercise("select distinct exercise, part from events where kind = ?", EXAMPLES)

    def _by_exercise(self, query: str, *given: str) -> dict[str, set[str]]:
        """What a query for exercises and parts of them finds."""
        found: dict[str, set[str]] = {}
        if not self.path.exists():
            return found
        with self._open() as db:
            for exercise, part in db.execute(query, given):
                found.setdefault(exercise, set()).add(part)
        return found

    def last_worked_on(self) -> dict[str, str]:
        """Each exercise with any attempt, or with examples that passed, to the time of the last, as ISO 8601."""
        if not self.path.exists():
            return {}
        with self._open() as db:
            worked = "select exercise, at from attempts union all select exercise, at from events where kind = ?"
            return dict(db.execute(f"select exercise, max(at) from ({worked}) group by exercise", (EXAMPLES,)))

    def last_result(self, exercise: str) -> Result | None:
        """The result of the last attempt; None where there is none, or where it was kept by another schema."""
        if not self.path.exists():
            return None
        with self._open() as db:
            query = "select result from attempts where exercise = ? order by id desc limit 1"
            row = db.execute(query, (exercise,)).fetchone()
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(row[0], type=Result) if row else None
        return None

    def history(self, exercise: str) -> list[Kept]:
        """The attempts at an exercise, oldest first, resets among them."""
        if not self.path.exists():
            return []
        with self._open() as db:
            attempts = db.execute(
                "select id, at, door, score, max_score, source, (select group_concat(part) from parts"
                " where attempt = id and earned) from attempts where exercise = ?",
                (exercise,),
            ).fetchall()
            resets = db.execute(
                "select -rowid, at, kind, 0, 0, source, '' from events where exercise = ? and source != ''", (exercise,)
            ).fetchall()
        rows = sorted(attempts + resets, key=lambda row: row[1])
        return [
            Kept(i, at, door, score, top, source, tuple((earned or "").split(",")) if earned else ())
            for i, (_, at, door, score, top, source, earned) in enumerate(rows, 1)
        ]

    def events(self, exercise: str, kind: str, part: str = "") -> int:
        """How often something happened."""
        if not self.path.exists():
            return 0
        with self._open() as db:
            query = "select count(*) from events where exercise = ? and kind = ? and part = ?"
            count: int = db.execute(query, (exercise, kind, part)).fetchone()[0]
            return count

    def noted(self, exercise: str) -> dict[tuple[str, str], int]:
        """How often each kind of event happened to each part: (`hint`, `prefill`) to 2."""
        if not self.path.exists():
            return {}
        with self._open() as db:
            query = "select kind, part, count(*) from events where exercise = ? group by kind, part"
            return {(kind, part): count for kind, part, count in db.execute(query, (exercise,))}

    def tried(self) -> set[tuple[str, str]]:
        """Each exercise and part of it that was judged as more than the stub that it is handed out as."""
        if not self.path.exists():
            return set()
        with self._open() as db:
            query = "select distinct exercise, part from parts where verdict not in (?, ?)"
            return set(db.execute(query, (Verdict.NOT_STARTED, Verdict.NOT_RUN)))

    def results(self, exercise: str) -> list[tuple[str, Result]]:
        """The attempts at an exercise that this schema can read, oldest first, each with its time."""
        if not self.path.exists():
            return []
        with self._open() as db:
            rows = db.execute("select at, result from attempts where exercise = ? order by id", (exercise,)).fetchall()
        read = []
        for at, result in rows:
            with suppress(msgspec.DecodeError):
                read.append((at, msgspec.json.decode(result, type=Result)))
        return read

    def source(self, hash: str) -> str | None:
        """The text that was kept under a hash."""
        if not self.path.exists():
            return None
        with self._open() as db:
            row = db.execute("select text from sources where hash = ?", (hash,)).fetchone()
            return row[0] if row else None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or nothing."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            db = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise ProgressError(f"{self.path} cannot be opened ({error}).") from None
        try:
            db.execute("begin immediate")
            self._prepare(db)
            yield db
            db.execute("commit")
        except sqlite3.DatabaseError as error:
            raise ProgressError(self._why(error)) from None
        finally:
            db.close()

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("pragma user_version").fetchone()[0]
        application = db.execute("pragma application_id").fetchone()[0]
        empty = db.execute("select count(*) from sqlite_master").fetchone()[0] == 0
        if version == VERSION and application == APPLICATION:
            return
        if not empty:
            newer = version > VERSION and application == APPLICATION
            why = "was written by a newer grader: update this one" if newer else "is no progress file of this grader"
            raise ProgressError(f"{self.path} {why}. It was left as it is.")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"pragma application_id = {APPLICATION}")
        db.execute(f"pragma user_version = {VERSION}")

    def _why(self, error: sqlite3.DatabaseError) -> str:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return f"{self.path} is in use by another program. Try again."
        if isinstance(error, sqlite3.OperationalError):
            return f"{self.path} cannot be written ({error})."
        return f"{self.path} is damaged ({error}). It was left as it is; move it away to begin a new one."


def source_of(path: Path, hash: str) -> str | None:
    """The text of a file if it still is what was judged."""
    try:
        text = read_source(path)
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest(text) == hash else None


def _keep(db: sqlite3.Connection, text: str) -> str:
    hash = digest(text)
    db.execute("insert or ignore into sources values (?, ?)", (hash, text))
    return hash
