"""What is asked now: due before new, 30 a day, never two of a topic in a row."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from grader.drills import Number, question
from grader.drills.choose import A_DAY, Past, choose
from grader.drills.schedule import Answer, Card, card_of, recall

TODAY = date(2026, 5, 4)


def cards(**topics):
    """Questions, so many of each topic."""

    def make(draw):
        return Number(ask="?", answer=5, traps={"b": 3}, hints=("a", "b"), why="")

    made = []
    for topic, count in topics.items():
        for number in range(count):
            one = question(topic=topic, level=1, source="s")(make)
            one.name = f"{topic}{number}"
            made.append(one)
    return made


def kept(one, days, revision=1):
    return Card(one.id, revision, 5.0, 5.0, TODAY + timedelta(days=days), TODAY - timedelta(days=9))


def past(*known, **more):
    return Past(TODAY, {card.question: card for card in known}, **more)


def names(chosen):
    return [one.name for one in chosen.queue]


def test_due_ones_come_first_the_longest_overdue_before_the_others():
    a, b, c, d = cards(a=1, b=1, c=1, d=1)
    chosen = choose([a, b, c, d], past(kept(b, 0), kept(c, -3), kept(d, 1)))
    assert names(chosen) == ["c0", "b0", "a0"]
    assert (chosen.due, chosen.new, chosen.to_ask) == (2, 1, 3)


def test_all_asks_what_is_not_due_too_and_due_nothing_new():
    a, b, c = cards(a=1, b=1, c=1)
    known = past(kept(b, 0), kept(c, 5))
    assert names(choose([a, b, c], known, all_=True)) == ["b0", "a0", "c0"]
    assert names(choose([a, b, c], known, new=0)) == ["b0"]


def test_a_changed_answer_is_due_now():
    (a,) = cards(a=1)
    a.revision = 2
    assert names(choose([a], past(kept(a, 90)), new=0)) == ["a0"]


def test_eight_new_ones_a_day_and_thirty_answers():
    many = cards(**{f"t{i}": 1 for i in range(50)})
    assert len(choose(many, past()).queue) == 8
    assert len(choose(many, past(new_today=6)).queue) == 2
    known = past(*(kept(one, 0) for one in many))
    assert len(choose(many, known).queue) == A_DAY
    later = past(*(kept(one, 0) for one in many), answered_today=A_DAY - 4)
    assert len(choose(many, later).queue) == 4
    assert choose(many, later).to_ask == 50


@pytest.mark.parametrize("last", ["", "a", "b"])
def test_never_two_of_a_topic_in_a_row(last):
    chosen = choose(cards(a=5, b=3, c=2), past(last_topic=last), new=None)
    topics = [last, *(one.topic for one in chosen.queue)]
    assert all(one != other for one, other in pairwise(topics))
    assert len(chosen.queue) == 10


def test_what_would_follow_its_own_topic_is_left():
    chosen = choose(cards(a=4, b=1), past(), new=None)
    assert names(chosen) == ["a0", "b0", "a1"]
    assert chosen.to_ask - len(chosen.queue) == 2


def test_one_topic_alone_is_asked_whole():
    assert len(choose(cards(a=4), past(last_topic="a")).queue) == 4


def answer(day, verdict="right", hints=0, seconds=20.0, revision=1, hour=9):
    at = f"{TODAY + timedelta(days=day)}T{hour:02}:00:00.000+00:00"
    return Answer("q", revision, 1, at, "5", verdict, "", hints, seconds)


def test_intervals_grow_while_it_is_known():
    answers, intervals, day = [], [], 0
    for _ in range(5):
        answers.append(answer(day))
        card = card_of(answers)
        intervals.append((card.due - TODAY).days - day)
        day += intervals[-1]
    assert intervals == [2, 11, 46, 163, 180]
    answers.append(answer(day, "wrong"))
    assert (card_of(answers).due - TODAY).days - day == 6
    assert (card_of([answer(0, "wrong")]).due - TODAY).days == 1


def test_a_hint_and_a_long_time_bring_it_back_sooner():
    good = card_of([answer(0), answer(2)]).due
    assert card_of([answer(0), answer(2, hints=1)]).due < good
    assert card_of([answer(0), answer(2, seconds=200)]).due < good
    assert card_of([answer(0), answer(2, seconds=200)], level=3).due == good


def test_a_second_try_on_one_day_is_no_review():
    assert card_of([answer(0, "wrong"), answer(0, hour=10)]) == card_of([answer(0, "wrong")])


def test_answers_to_an_earlier_revision_do_not_count():
    assert card_of([answer(0), answer(2), answer(9, revision=2)]) == card_of([answer(9, revision=2)])


def test_recall_fades():
    card = Card("q", 1, 46.0, 5.0, TODAY, TODAY)
    assert recall(card, TODAY) == 1
    assert round(recall(card, TODAY + timedelta(days=90)), 2) == 0.85
    assert 0.78 < recall(card, TODAY + timedelta(days=180)) < 0.79
