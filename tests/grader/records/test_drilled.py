"""Answers to drills in the progress file: only appended; what is made of them can be lost, and is made again."""

import sqlite3
from datetime import date

import pytest

from grader.drills import Number, question
from grader.drills.schedule import Answer
from grader.records.drilled import Drilled
from grader.records.progress import Progress, ProgressError

TODAY = date(2026, 5, 4)


def card(name, topic="t"):
    one = question(topic=topic, level=1, source="s")(
        lambda draw: Number(ask="?", answer=5, traps={}, hints="ab", why="")
    )
    one.name, one.exercise = name, "dl_901"
    return one


CARDS = {one.id: one for one in (card("a"), card("b", "u"))}


def answer(name, at="2026-05-04T09:00:00.000+00:00", verdict="right"):
    return Answer(f"dl_901.{name}", 1, 7, at, "5", verdict, "keys only", 1, 12.5)


@pytest.fixture
def drilled(tmp_path):
    return Drilled(tmp_path)


def run(drilled, *statements):
    with sqlite3.connect(drilled.path) as db:
        return [db.execute(statement).fetchall() for statement in statements]


def test_nothing_is_there_before_the_first_answer(drilled):
    assert drilled.answers() == []
    assert drilled.past(CARDS, TODAY).cards == {}
    assert not drilled.path.exists()


def test_answers_come_back_as_they_were_kept(drilled):
    given = [answer("a"), answer("b", verdict="wrong"), answer("a", "2026-05-05T09:00:00.000+00:00")]
    for one in given:
        drilled.answer(one)
    assert drilled.answers() == given
    assert drilled.answers("dl_901.b") == given[1:2]


def test_where_one_stands(drilled):
    drilled.answer(answer("a", "2026-05-03T23:59:59.999+00:00"))
    drilled.answer(answer("a"))
    drilled.answer(answer("b", verdict="wrong"))
    past = drilled.past(CARDS, TODAY)
    assert set(past.cards) == set(CARDS)
    assert (past.answered_today, past.new_today, past.last_topic) == (2, 1, "u")
    assert (past.cards["dl_901.b"].due - TODAY).days == 1


def test_cards_follow_later_answers(drilled):
    drilled.answer(answer("a"))
    first = drilled.past(CARDS, TODAY).cards["dl_901.a"]
    drilled.answer(answer("a", "2026-05-06T09:00:00.000+00:00"))
    assert drilled.past(CARDS, TODAY).cards["dl_901.a"].due > first.due


@pytest.mark.parametrize(
    "damage",
    [
        "delete from drill_card",
        "drop table drill_card",
        "update drill_card set due = 'soon'",
        "update drill_card set stability = 'x'",
        "update drill_card set answer = 99, last_review = ''",
    ],
)
def test_damaged_cards_are_made_again(drilled, damage):
    drilled.answer(answer("a"))
    before = drilled.past(CARDS, TODAY)
    run(drilled, damage)
    assert drilled.past(CARDS, TODAY) == before
    assert drilled.answers() == [answer("a")]


def test_an_older_file_keeps_all_it_has_and_older_graders_read_the_new_one(tmp_path):
    progress = Progress(tmp_path)
    progress.note("dl_901_running_mean", "hint", part="RunningMean")
    Drilled(tmp_path).answer(answer("a"))
    assert progress.events("dl_901_running_mean", "hint", "RunningMean") == 1
    assert run(progress, "pragma user_version") == [[(1,)]]


def test_a_damaged_file_is_left_as_it_is(drilled):
    drilled.answer(answer("a"))
    data = b"no database at all" * 400
    drilled.path.write_bytes(data)
    for use in (lambda: drilled.answer(answer("b")), drilled.answers, lambda: drilled.past(CARDS)):
        with pytest.raises(ProgressError, match="damaged"):
            use()
    assert drilled.path.read_bytes() == data


def test_answers_to_what_is_no_longer_asked_stay(drilled):
    drilled.answer(answer("gone"))
    assert drilled.past(CARDS, TODAY).last_topic == ""
    assert drilled.answers() == [answer("gone")]
