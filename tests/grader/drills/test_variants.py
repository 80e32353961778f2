"""Variants: the same seed gives the same one, and an unfair one is drawn anew."""

import json
import subprocess
import sys

import pytest

from grader.bank.catalog import find_house
from grader.base.errors import HouseError
from grader.drills import Choice, Number, question
from grader.drills.draw import Draw
from grader.drills.heads import heads, heads_of
from grader.drills.load import all_questions, questions_of
from grader.drills.question import variant


def number(make, **more):
    return question(topic="kv.memory", level=1, source="Nobody 2026", **more)(make)


def doubled(draw):
    n = draw.between(3, 60)
    return Number(ask=f"Twice {n}?", answer=2 * n, traps={"half": n / 2}, hints=("", ""), why="")


def test_the_same_seed_draws_the_same_everywhere():
    draw = Draw("pinned")
    drawn = [draw("a", "b", "c"), draw.between(0, 10**6), draw.shuffled(range(5)), draw.sample("xyz", 2)]
    assert drawn == ["a", 581905, [0, 4, 3, 2, 1], ["x", "z"]]


def test_a_seed_gives_one_variant_and_others_give_others():
    card = number(doubled)
    assert variant(card, 7) == variant(card, 7)
    assert len({variant(card, seed).asked.answer for seed in range(60)}) > 30


def test_another_revision_draws_anew():
    one, other = number(doubled), number(doubled, revision=2)
    assert [variant(one, s).asked.answer for s in range(9)] != [variant(other, s).asked.answer for s in range(9)]


def test_a_variant_whose_trap_equals_the_answer_is_drawn_anew():
    def power(draw):
        n = draw(2, 3)
        return Number(ask="?", answer=n * n, traps={"doubled": 2 * n}, hints=("", ""), why="")

    assert {variant(number(power), seed).asked.answer for seed in range(50)} == {9}


def test_a_variant_that_stays_unfair_says_why():
    def same(draw):
        return Number(ask="?", answer=4, traps={"doubled": 4}, hints=("", ""), why="")

    def told(draw):
        return Number(ask="What is 4,096?", answer=4096, traps={"half": 2048}, hints=("", ""), why="")

    assert variant(number(same), 0).fault == "'doubled' equals the answer: 4"
    assert variant(number(told), 0).fault == "the answer, 4,096, stands in the question"


def test_choices_stand_in_an_order_of_their_own():
    def choice(draw):
        return Choice(ask="?", answer="right", traps={"a": "one", "b": "two"}, hints=("", ""), why="")

    orders = {variant(number(choice), seed).options for seed in range(100)}
    assert len(orders) == 6


def test_a_question_that_fails_is_named():
    with pytest.raises(HouseError, match=r"the question \.fails cannot be asked with seed 3: ZeroDivisionError"):
        variant(number(fails), 3)


def fails(draw):
    return 1 / 0


def test_a_question_is_drawn_without_numpy_torch_and_click():
    script = (
        "import sys, json; from grader.bank.catalog import find_house; from grader.drills.load import all_questions;"
        "from grader.drills.question import variant; from grader.drills.judge import judged;"
        "[variant(one, 1) for one in all_questions(find_house()).values()];"
        "print(json.dumps([name for name in ('numpy', 'torch', 'click', 'pytest') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_heads_are_those_of_the_questions():
    house = find_house()
    loaded = [(one.id, one.topic, one.level, one.revision) for one in all_questions(house).values()]
    assert [(one.id, one.topic, one.level, one.revision) for one in heads(house).values()] == loaded
    assert len(loaded) > 20


def test_heads_of_every_way_to_write_a_decorator(home):
    home.exercise.drills.write_text(WRITTEN)
    found = heads_of(home.exercise.drills)
    assert [(one.id, one.topic, one.level, one.revision) for one in found] == [
        ("dl_901.one", "mean.batch", 2, 1), ("dl_901.two", "mean.running", 3, 4),
    ]  # fmt: skip
    assert [one.id for one in questions_of(home.exercise)] == [one.id for one in found]


WRITTEN = """
from grader.drills import Number, question


@question(topic="mean.batch", source="Somebody (level=3), 2026", level=2)
def one(draw):
    return Number(ask="?", answer=5, traps={}, hints=("", ""), why="")


@one.second
def _():
    return 5


@question(
    topic="mean.running",
    level=3,
    source="Nobody 2026",
    readme=("dl_901/1", "dl_901/2"),
    revision=4,
)
def two(draw):
    return Number(ask="?", answer=5, traps={}, hints=("", ""), why="")
"""


def test_a_file_that_was_just_edited_is_read_anew(home):
    path = home.exercise.drills
    for level in (1, 2, 3):  # of one size, in one second
        path.write_text(EDITED.replace("LEVEL", str(level)))
        assert [one.level for one in questions_of(home.exercise)] == [level]


EDITED = """
from grader.drills import Number, question


@question(topic="mean.batch", level=LEVEL, source="Nobody 2026")
def one(draw):
    return Number(ask="?", answer=5, traps={}, hints=("", ""), why="")
"""
