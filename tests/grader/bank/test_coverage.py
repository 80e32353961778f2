"""The numbers here are worked out by hand from tests/grader/house/exercises/coverage.toml."""

import msgspec
import pytest

from grader.bank.coverage import coverage_table

ID = "dl_901_running_mean"


def table(home, *parts):
    return coverage_table(home.house, {ID: set(parts)})


def roles(table):
    return {role.id: (role.collection, role.earned) for role in table.roles}


def test_nothing_earned(home):
    made = table(home)
    assert (made.topics, made.topics_covered, made.topics_earned) == (6, 2, 0)
    assert (made.points, made.points_earned) == (100, 0)
    assert (made.exercises, made.exercises_earned, made.exercises_planned) == (1, 0, 2)
    # ml: weights 2 + 1 + 3 + 2; both topics of the first are covered. llm: 1 + 0 + 1 + 3.
    assert roles(made) == {"ml": (2 / 8, 0.0), "llm": (1 / 5, 0.0)}


def test_one_part_earned(home):
    made = table(home, "batch_mean")
    assert (made.topics_earned, made.points_earned, made.exercises_earned) == (1, 30, 0)
    assert roles(made) == {"ml": (0.25, 0.125), "llm": (0.2, 0.1)}  # one of the two topics
    row = made.items[0]
    assert (row.parts_earned, row.parts, row.points_earned, row.points) == (1, 2, 30, 100)
    assert [(topic.parts, topic.earned) for topic in row.topics] == [
        ([f"{ID}.batch_mean"], True),
        ([f"{ID}.RunningMean"], False),
    ]


def test_all_earned(home):
    made = table(home, "batch_mean", "RunningMean")
    assert (made.topics_earned, made.points_earned, made.exercises_earned) == (2, 100, 1)
    assert roles(made) == {"ml": (0.25, 0.25), "llm": (0.2, 0.2)}


def test_each_row_says_where_it_stands(home):
    rows = {row.number: row for row in table(home).items}
    assert {number: row.status for number, row in rows.items()} == {
        "1": "here", "2": "coming", "3": "gap", "c1": "elsewhere",
    }  # fmt: skip
    assert (rows["1"].priority, rows["1"].difficulty, rows["1"].exercises) == (1, "easy", [ID])
    assert (rows["2"].priority, rows["2"].difficulty, rows["2"].exercises) == (2, "hard", ["dl_902_variance"])
    assert (rows["3"].priority, rows["3"].exercises, rows["3"].points) == (None, [], 0)
    assert (rows["c1"].seed_task, rows["c1"].section) == ("dl_001", "covered")


def test_a_topic_that_two_parts_cover_is_earned_by_either_and_its_points_count_once(home):
    home.edit(f"exercises/{ID}/exercise.toml", ('topics = ["mean.running"]', 'topics = ["mean.running", "mean.batch"]'))
    made = table(home, "RunningMean")
    assert made.items[0].topics[0].earned
    assert (made.items[0].points, made.items[0].points_earned, made.topics_earned) == (100, 70, 2)


def test_a_topic_that_no_part_names_any_more_becomes_a_gap(home):
    home.edit(f"exercises/{ID}/exercise.toml", ('topics = ["mean.running"]', "topics = []"))
    made = table(home)
    assert made.items[0].topics[1].parts == []
    assert roles(made)["ml"][0] == pytest.approx(1 / 8)


def test_earned_parts_that_are_no_more_count_nothing(home):
    made = coverage_table(home.house, {ID: {"gone"}, "dl_700_gone": {"f"}})
    assert (made.points_earned, made.topics_earned) == (0, 0)


def test_the_table_is_plain_data(home):
    assert msgspec.to_builtins(table(home))["items"][0]["topics"][0]["id"] == "mean.batch"


def test_drills_cover_a_topic_that_has_no_part(home):
    drills = {"mean.batch": (2, "fading"), "order.median": (3, "drilled"), "order.quantile": (2, "")}
    made = coverage_table(home.house, {}, drills)
    by = {topic.id: topic for row in made.items for topic in row.topics}
    assert (by["mean.batch"].drills, by["mean.batch"].drilled, by["mean.batch"].earned) == (2, "fading", False)
    assert [by[id].earned for id in ("order.median", "order.quantile", "count.rows")] == [True, False, False]
    assert (made.topics_covered, made.topics_earned, made.topics_drilled) == (4, 1, 2)
    row = next(row for row in made.items if row.number == "3")
    assert (row.status, row.with_drills, row.drilled, row.fading) == ("here", 2, 1, 0)
    assert roles(made)["ml"][0] == (2 + 3) / 8
