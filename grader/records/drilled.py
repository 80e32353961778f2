"""What was answered in drills, in the same progress file: answers are only appended, cards are made of them."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date

from grader.base import now
from grader.drills.choose import Past
from grader.drills.heads import Listed
from grader.drills.schedule import Answer, Card, card_of
from grader.records.progress import Progress

_TABLES = (
    "create table if not exists drill_answer (id integer primary key, question text not null,"
    " revision integer not null, seed integer not null, at text not null, typed text not null, verdict text not null,"
    " trap text not null, hints integer not null, seconds real not null, interview integer)",
    "create index if not exists drill_answer_by_question on drill_answer (question)",
    "create table if not exists drill_card (question text primary key, revision integer not null,"
    " stability real not null, difficulty real not null, due text not null, last_review text not null,"
    " answer integer not null)",
)
"""Added to a file that an older grader wrote; nothing else in it changes, and that grader still reads it.

`drill_card.answer` is the last answer that the card was made of: a card that lacks newer ones is made again.
"""
_COLUMNS = "question, revision, seed, at, typed, verdict, trap, hints, seconds, interview"


class Drilled(Progress):
    """The drills of a progress file. Every method raises ProgressError where the file cannot be used."""

    def answer(self, answer: Answer) -> None:
        """Keep one answer."""
        with self._tables() as db:
            insert(db, answer)

    def answers(self, question: str | None = None) -> list[Answer]:
        """All answers, or those to one question, oldest first."""
        if not self.path.exists():
            return []
        with self._tables() as db:
            return _answers(db, question)

    def past(self, questions: Mapping[str, Listed], today: date | None = None) -> Past:
        """What decides about the next questions. questions: those there are, by id."""
        today = today or now.today()
        if not self.path.exists():
            return Past(today)
        with self._tables() as db:
            try:
                cards = _cards(db, questions)
            except (TypeError, ValueError):  # they are made of the answers, so nothing is lost with them
                db.execute("delete from drill_card")
                cards = _cards(db, questions)
            (answered,) = db.execute("select count(*) from drill_answer where at >= ?", (f"{today}",)).fetchone()
            first = "select count(*) from (select min(at) as at from drill_answer group by question) where at >= ?"
            (new,) = db.execute(first, (f"{today}",)).fetchone()
            last = db.execute("select question from drill_answer order by id desc limit 1").fetchone()
        topic = questions[last[0]].topic if last and last[0] in questions else ""
        return Past(today, {card.question: card for card in cards}, answered, new, topic)

    @contextmanager
    def _tables(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            for statement in _TABLES:
                db.execute(statement)
            yield db


def insert(db: sqlite3.Connection, answer: Answer) -> None:
    """Keep an answer in a transaction that has begun."""
    row = tuple(getattr(answer, name) for name in answer.__struct_fields__)
    db.execute(f"insert into drill_answer ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _answers(db: sqlite3.Connection, question: str | None) -> list[Answer]:
    query = f"select {_COLUMNS} from drill_answer where ? is null or question = ? order by id"
    return [Answer(*row) for row in db.execute(query, (question, question))]


def _cards(db: sqlite3.Connection, questions: Mapping[str, Listed]) -> list[Card]:
    _refresh(db, questions)
    rows = db.execute("select question, revision, stability, difficulty, due, last_review from drill_card")
    return [
        Card(question, revision, float(stability), float(difficulty), date.fromisoformat(due), date.fromisoformat(last))
        for question, revision, stability, difficulty, due, last in rows
    ]


def _refresh(db: sqlite3.Connection, questions: Mapping[str, Listed]) -> None:
    """Make the cards anew that lack an answer."""
    stale = db.execute(
        "select question, max(drill_answer.id) from drill_answer group by question except"
        " select question, answer from drill_card"
    ).fetchall()
    for question, newest in stale:
        card = card_of(_answers(db, question), questions[question].level if question in questions else 1)
        if card is not None:
            row = card.question, card.revision, card.stability, card.difficulty, f"{card.due}", f"{card.last_review}"
            db.execute("insert or replace into drill_card values (?, ?, ?, ?, ?, ?, ?)", (*row, newest))
