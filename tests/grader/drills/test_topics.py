"""Drilled: each question right on two days, the last time without a hint; fading: too much would be forgotten."""

from datetime import date, timedelta

from grader.drills import Number, question
from grader.drills.schedule import Answer, card_of
from grader.drills.topics import drilled_topics

TODAY = date(2026, 5, 4)


def card(name, topic="t"):
    asked = Number(ask="?", answer=5, traps={}, hints=("", ""), why="")
    one = question(topic=topic, level=1, source="s")(lambda draw: asked)
    one.name, one.exercise = name, "dl_901"
    return one


A, B, ALONE = card("a"), card("b"), card("alone", "u")


def answers(one, *verdicts, hints=0):
    """One answer a day, the first today."""
    return [
        Answer(one.id, 1, 1, f"{TODAY + timedelta(days=day)}T09:00:00.000+00:00", "5", verdict, "", hints, 9.0)
        for day, verdict in enumerate(verdicts)
    ]


def mark(*given, later=0, topic="t"):
    kept = sorted((one for some in given for one in some), key=lambda one: one.at)
    by = {one.question: [other for other in kept if other.question == one.question] for one in kept}
    cards = {id: card_of(some) for id, some in by.items()}
    found = drilled_topics([A, B, ALONE], kept, cards, TODAY + timedelta(days=later))
    return found[topic].mark


RIGHT, WRONG = "right", "wrong"


def test_every_question_on_two_days():
    assert mark(answers(A, RIGHT, RIGHT), answers(B, RIGHT, RIGHT)) == "drilled"
    assert mark(answers(A, RIGHT, RIGHT), answers(B, RIGHT)) == ""
    assert mark(answers(A, RIGHT, RIGHT)) == ""
    assert mark(answers(A, RIGHT, WRONG, RIGHT), answers(B, RIGHT, RIGHT)) == ""


def test_an_only_question_on_three():
    assert mark(answers(ALONE, RIGHT, RIGHT), topic="u") == ""
    assert mark(answers(ALONE, RIGHT, RIGHT, RIGHT), topic="u") == "drilled"


def test_not_twice_on_a_day_and_not_with_a_hint():
    assert mark(answers(A, RIGHT, RIGHT), answers(B, RIGHT), answers(B, RIGHT)) == ""
    assert mark(answers(A, RIGHT, RIGHT), answers(B, RIGHT, RIGHT, hints=1)) == ""


def test_it_fades_and_is_never_taken_away():
    done = answers(A, RIGHT, RIGHT), answers(B, RIGHT, RIGHT)
    assert mark(*done, later=400) == "fading"
    assert mark(answers(A, RIGHT, RIGHT, WRONG), done[1], later=2) == "drilled"


def test_how_many_questions_a_topic_has():
    found = drilled_topics([A, B, ALONE], [], {}, TODAY)
    assert {topic: one.questions for topic, one in found.items()} == {"t": 2, "u": 1}
