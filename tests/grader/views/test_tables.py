"""The tables of the real bank in a narrow terminal: folded, and nothing of a number or a name is cut off."""

import pytest

from grader.bank.catalog import find_house
from grader.bank.coverage import coverage_table
from grader.records.progress import Kept
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import Verdict
from grader.views import tables


@pytest.fixture(scope="module")
def house():
    return find_house()


@pytest.fixture
def narrow(monkeypatch, capsys):
    """What a printer prints in a terminal of 60 columns, as lines."""

    def lines(show, *args, columns=60):
        monkeypatch.setattr(tables, "terminal_columns", lambda: columns)
        show(*args)
        return capsys.readouterr().out.splitlines()

    return lines


def assert_whole(lines, words, columns=60):
    text = "\n".join(lines)
    assert "…" not in text
    assert [line for line in lines if len(line.rstrip()) > columns] == []
    assert [word for word in words if word not in text] == []


def test_the_exercises(house, narrow):
    numbers = [f"{one.number}  " for one in house.exercises.values() if not one.shared]
    lines = narrow(tables.print_exercises, house, {})
    assert_whole(lines, ["Minutes", "0/100", *house.exercises])
    assert [number for number in numbers if not any(line.startswith(number) for line in lines)] == []


def test_the_parts_of_an_exercise_and_which_are_earned(house, narrow):
    for exercise in house.exercises.values():
        first = exercise.parts[0].name
        lines = narrow(tables.print_parts, house, exercise, {first})
        assert_whole(lines, ["Points", *[part.name for part in exercise.parts if len(part.name) <= 28]])
        assert [line.split()[1] for line in lines if line.startswith("earned")] == [first[:28]]


def test_topics_and_coverage(house, narrow):
    table = coverage_table(house, {"dl_011_kv_cache": {"kv_cache_bytes"}})
    assert_whole(narrow(tables.print_topics, house, table), ["kv.memory", "earned"])
    assert_whole(narrow(tables.print_coverage, house, table), ["Backpropagation", "earned"])


def test_a_class_and_a_history(house, narrow):
    exercise = house.exercises["dl_011_kv_cache"]
    part = PartResult("kv_cache_bytes", 100, 100, Verdict.PASSED, "", [], 1)
    result = Result("dl_011_kv_cache", 1, 100, 100, [part], 0, "full", 1.0, student="Maximiliane von Hohenstein")
    lines = narrow(tables.print_class, [result])
    assert_whole(lines, ["100/100"])
    kept = Kept(number=12, at="2026-11-30T18:34:45+00:00", door="pytest", score=0, max_score=100, earned=[], source="")
    lines = narrow(tables.print_history, exercise, [kept])
    assert_whole(lines, ["12", "0/100", "pytest"])
    assert len(lines) == 3  # a day and its time on one line


def test_a_very_narrow_terminal_still_tells_all(house, narrow):
    lines = narrow(tables.print_parts, house, house.exercises["dl_011_kv_cache"], {"prefill"}, columns=40)
    assert_whole(lines[1:], ["earned  prefill", "Points"], columns=40)
