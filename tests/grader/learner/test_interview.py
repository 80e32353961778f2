"""How an interview goes, without a file or a clock."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.bank.catalog import Coverage, Item, Role, Topic
from grader.drills.heads import Head
from grader.drills.shown import Shown, Told
from grader.learner.interview import (
    candidates,
    drawn,
    level_of,
    likelihoods,
    next_candidate,
    not_asked,
    to_read_on,
)
from grader.records.interviews import Asked, Interview

COVERAGE = Coverage(
    role=(Role("ml", "ML engineer"), Role("llm", "LLM engineer")),
    task=(),
    item=(
        Item("1", "Averages", "critical", {"ml": 2, "llm": 1}, (Topic("mean", "Mean"), Topic("median", "Median"))),
        Item("2", "Spread", "medium", {"ml": 1, "llm": 0}, (Topic("variance", "Variance"),)),
        Item("3", "Order", "new", {"ml": 3, "llm": 3}, (Topic("quantile", "Quantiles"), Topic("rank", "Ranks"))),
    ),
)
QUESTIONS = [
    Head(f"dl_901.{topic}_{level}{copy}", topic, level, 1)
    for topic in ("mean", "median", "variance", "quantile", "rank")
    for level in (1, 2, 3)
    for copy in "ab"
]


def pool(role="ml", **recalls):
    return candidates(COVERAGE, role, QUESTIONS, {f"dl_901.{name}": chance for name, chance in recalls.items()})


def asked(right, topic="mean", item="1", id="", level=1):
    shown = Shown(id or f"dl_901.{topic}_{level}a", 1, topic, "dl_901", "number", "?", "exact")
    told = Told(right, "", "5", "", "So.", "Nobody 2026")
    return Asked(shown, told, item, level, "5", "right" if right else "wrong", 3.0)


def interview(*answers, minutes=45, seed=0, role="ml"):
    return Interview(role, minutes, "2026-01-01T00:00:00+00:00", seed, tuple(answers))


def whole(is_right, minutes=45, seed=0, questions=None):
    """An interview whose questions are over."""
    now, questions = interview(minutes=minutes, seed=seed), questions or pool()
    while found := next_candidate(now, questions):
        one = found.listed
        now = interview(
            *now.asked, asked(is_right(len(now.asked)), one.topic, found.item, one.id, one.level), minutes=minutes,
            seed=seed,
        )  # fmt: skip
    return now


@pytest.mark.parametrize(
    ("answers", "level"),
    [
        ("", 1), ("r", 1), ("rr", 2), ("rrr", 2), ("rrrr", 3), ("rrrrrr", 3), ("ww", 1), ("rrw", 2), ("rrww", 1),
        ("rrwrw", 2), ("rwr", 1), ("rrrrww", 2), ("rrrrwrwr", 3), ("wwrr", 2),
    ],
)  # fmt: skip
def test_two_right_raise_the_level_and_two_wrong_lower_it(answers, level):
    assert level_of(asked(one == "r") for one in answers) == level


@pytest.mark.parametrize(("minutes", "questions", "coding"), [(45, 1350, 1200), (20, 600, 600), (120, 3600, 1200)])
def test_half_the_time_is_for_questions_and_at_most_twenty_minutes_for_a_part(minutes, questions, coding):
    one = interview(minutes=minutes)
    assert (one.for_questions, one.for_coding) == (questions, coding)


def test_the_questions_have_the_time_of_their_levels():
    assert len(whole(lambda _: False, minutes=20).asked) == 6  # of 90 s in 10 minutes
    right = whole(lambda _: True, minutes=20)
    assert [one.level for one in right.asked] == [1, 1, 2, 2, 3]  # 4 x 90 s, and 180 s
    longer = whole(lambda _: True, minutes=21)  # 90 s are left: not enough for another one of level 3
    assert [one.level for one in longer.asked] == [1, 1, 2, 2, 3, 2]


@given(st.integers(0, 500), st.lists(st.booleans(), min_size=31, max_size=31), st.sampled_from([10, 20, 45]))
def test_no_question_twice_and_no_topic_again_before_all_were_asked(seed, rights, minutes):
    topics = [one.shown.topic for one in whole(lambda i: rights[i], minutes, seed).asked]
    assert len(set(topics[:5])) == len(topics[:5])
    assert all(one != other for one, other in pairwise(topics))
    ids = [one.shown.id for one in whole(lambda i: rights[i], minutes, seed).asked]
    assert len(set(ids)) == len(ids)


def test_all_questions_may_be_asked_out():
    few = [one for one in pool() if one.listed.topic == "mean"]
    assert len(whole(lambda _: False, questions=few).asked) == 6


def test_a_role_is_asked_only_what_it_is_asked_about():
    assert {one.listed.topic for one in pool("llm")} == {"mean", "median", "quantile", "rank"}


def test_topics_weigh_what_the_role_asks_and_what_is_not_known():
    known = {f"quantile_{level}{copy}": 1.0 for level in (1, 2, 3) for copy in "ab"}
    weights = likelihoods(pool(**known, mean_1a=0.6))
    want = {"mean": 2 * 1.0, "median": 2 * 1.1, "variance": 1.1, "quantile": 3 * 0.1, "rank": 3 * 1.1}
    assert weights == pytest.approx(want)


def test_topics_are_drawn_by_their_weights():
    known = {f"{topic}_{level}{copy}": 1.0 for topic in ("mean", "rank") for level in (1, 2, 3) for copy in "ab"}
    first = Counter(next_candidate(interview(seed=seed), pool(**known)).listed.topic for seed in range(2000))
    whole_weight = 2 * 0.1 + 2 * 1.1 + 1.1 + 3 * 1.1 + 3 * 0.1
    for topic, weight in {"mean": 0.2, "median": 2.2, "variance": 1.1, "quantile": 3.3, "rank": 0.3}.items():
        assert first[topic] / 2000 == pytest.approx(weight / whole_weight, abs=0.03)


def test_what_is_least_known_of_a_topic_is_asked():
    questions = [one for one in pool(mean_1a=0.9) if one.listed.topic == "mean"]
    assert {next_candidate(interview(seed=seed), questions).listed.id for seed in range(20)} == {"dl_901.mean_1b"}


def test_the_same_interview_goes_on_the_same_way():
    assert [whole(bool, seed=5).asked, whole(bool, seed=5).asked].count(whole(bool, seed=5).asked) == 2
    assert whole(bool, seed=5).asked != whole(bool, seed=6).asked


def test_drawing_leaves_out_what_weighs_nothing():
    assert set(drawn({"a": 1.0, "b": 0.0, "c": 1e-9}, Random(0))) == {"a", "c"}


def test_right_of_asked_by_item():
    now = interview(asked(True), asked(False), asked(True, "rank", "3"))
    assert now.by_item == {"1": (1, 2), "3": (1, 1)}
    assert now.right == 2


def test_what_was_not_asked_is_told_weightiest_first():
    assert not_asked(COVERAGE, "ml", {"1"}) == ("Order", "Spread")
    assert not_asked(COVERAGE, "llm", {"3"}) == ("Averages",)


def test_what_to_read_on_is_what_was_missed_by_its_weight():
    now = interview(asked(False), asked(True, "median"), asked(False, "rank", "3"), asked(False))
    assert to_read_on(now, {"1": 2, "3": 3}) == ["rank", "mean"]
