"""What a learner sees of a question, and of the verdict. Nothing before the answer tells it."""

import json
from contextlib import suppress

import msgspec
import pytest

from grader.bank.catalog import find_house
from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question
from grader.drills.judge import Judged
from grader.drills.load import all_questions
from grader.drills.question import variant
from grader.drills.shown import read_back, shown, told
from grader.drills.value import Unread, value_of

REST = {"why": "So."}


def asked(kind):
    one = question(topic="t", level=1, source="s")(lambda draw: kind)
    one.exercise = "dl_901"
    return variant(one, 0)


BYTES = asked(
    Number(ask="?", given={"V": 1048576, "x": 0.25}, answer=262144.0, unit="B", traps={"no": 1.0},
        hints=("a", "V · x + V_0"), **REST)
)  # fmt: skip
COUNT = asked(Number(ask="?", answer=5, unit="tokens", traps={"no": 1}, hints=("a", "n"), **REST))
CHOICE = asked(Choice(ask="?", answer="this", traps={"a": "that", "b": "neither"}, hints=("a", "b"), **REST))
ORDER = asked(Order(ask="?", answer=["a", "b", "c"], traps={"no": ["c", "b", "a"]}, hints=("a", "b"), **REST))
GAP = asked(Blank(ask="?", code="x[____]", answer="n - 1", given={"n": 3}, traps={"no": "n"}, hints=("a", "b"), **REST))
CODE = asked(Predict(ask="?", code="\nprint(1)\n", answer="1\n", traps={"no": "2"}, hints=("a", "b"), **REST))
LINE = asked(
    Bug(ask="?", code="a = 1\n  b = 3", answer="  b = 3", mended="  b = 2", prints="2", traps={"no": "a = 1"},
        hints=("a", "b"), **REST)
)  # fmt: skip


def test_what_is_to_be_typed_is_said():
    notes = [shown(one).note for one in (BYTES, COUNT, CHOICE, ORDER, GAP, CODE, LINE)]
    assert notes == [
        "to 1 %, in B", "exact, in tokens", "the number of a choice", "all numbers, in your order",
        "what stands in the gap", "the output, on one line", "the number of the line",
    ]  # fmt: skip
    assert shown(CODE).code == ("print(1)",)
    assert set(shown(CHOICE).options) == {"this", "that", "neither"}


@pytest.mark.parametrize(
    ("one", "answer"),
    [
        (BYTES, "262,100 B"), (COUNT, "5 tokens"), (GAP, "n - 1"), (CODE, "1"), (LINE, "line 2, b = 2"),
        (CHOICE, f"{CHOICE.options.index('this') + 1}: this"),
        (ORDER, f"{' '.join(str(ORDER.options.index(item) + 1) for item in 'abc')}: a; b; c"),
    ],
)  # fmt: skip
def test_the_right_answer_in_full(one, answer):
    assert told(one, Judged(False, "no")).answer == answer


def test_the_formula_with_the_numbers_put_in():
    assert told(BYTES, Judged(True)).worked == "1048576 · 0.25 + V_0"
    assert told(COUNT, Judged(True)).worked == ""


def test_no_answer_is_in_what_is_shown():
    for card in all_questions(find_house()).values():
        one = variant(card, 5)
        said = json.dumps(msgspec.to_builtins(shown(one)), ensure_ascii=False)
        assert one.asked.why not in said
        assert one.asked.hints[1] not in said


def test_a_formula_with_the_numbers_put_in_gives_the_answer():
    for card in all_questions(find_house()).values():
        for seed in range(6):
            one = variant(card, seed)
            worked = told(one, Judged(True)).worked
            with suppress(Unread):  # words and sums are for people
                given = value_of(worked)
                assert given == pytest.approx(one.asked.answer, rel=1e-2), (card.id, worked, one.asked.answer)


def test_of_two_formulas_none_is_put_in():
    def worked(formula):
        given = {"a": 2, "b": -3}
        one = asked(Number(ask="?", answer=6.0, given=given, traps={"no": 5.0}, hints=("a", formula), **REST))
        return told(one, Judged(True)).worked

    assert worked("a · b, or a + b") == ""
    assert worked("a · b²") == "2 · (-3)²"


@pytest.mark.parametrize(("typed", "said"), [("12.5", "12.5 %"), ("1/8", "0.125 % or 12.5 %"), ("12.5 %", "12.5 %")])
def test_what_may_be_a_share_is_read_back_both_ways_in_which_it_counts(typed, said):
    share = asked(Number(ask="?", answer=12.5, unit="%", traps={"no": 50.0}, hints=("a", "b"), **REST))
    assert read_back(share, typed) == said
