"""What a student's kernel shows: `check` on the names that a notebook has defined."""

import os
import sys

import pytest

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.classroom.lab import NotYet, examples_of, exercise

EXERCISE = House(HERE / "house").exercises[ID]


@pytest.fixture
def at_bank(monkeypatch):
    monkeypatch.chdir(HERE / "house")


def test_examples_pass_on_the_notebooks_names(at_bank, capsys):
    exercise(ID, {"batch_mean": lambda x: x.sum(0) / len(x)})("batch_mean")
    assert capsys.readouterr().out.splitlines() == [
        "batch_mean: 1 of 1 examples pass", "  ✓ two rows", "More checks run when it is graded.",
    ]  # fmt: skip


def test_a_failure_says_what_pytest_says_and_the_next_run_sees_the_new_code(at_bank, capsys):
    names = {"batch_mean": lambda x: x.sum(0)}
    check = exercise(ID, names)
    with pytest.raises(NotYet) as caught:
        check("batch_mean")
    assert caught.value._render_traceback_() == str(caught.value).splitlines()
    assert str(caught.value).splitlines()[:2] == ["batch_mean: 0 of 1 examples pass", "  ✗ two rows"]
    assert "assert [4.0] == [2.0]" in str(caught.value)
    names["batch_mean"] = lambda x: x.sum(0) / len(x)
    check("batch_mean")
    assert "1 of 1 examples pass" in capsys.readouterr().out
    assert "running_mean" not in sys.modules


def test_a_stub_is_not_written_yet(at_bank):
    def stub(x):
        raise NotImplementedError

    with pytest.raises(NotYet, match="✗ two rows\n      not written yet"):
        exercise(ID, {"batch_mean": stub})("batch_mean")


def test_a_cell_that_has_not_run_is_named(at_bank):
    with pytest.raises(NotYet, match="batch_mean: run the cell that defines batch_mean, then this one again"):
        exercise(ID, {})("batch_mean")


def test_a_part_without_examples_says_so(at_bank, capsys):
    exercise(ID, {"RunningMean": object})("RunningMean")
    assert capsys.readouterr().out == "RunningMean: it has no example to run here.\n"


def test_an_unknown_part_names_the_nearest(at_bank):
    with pytest.raises(HouseError, match="Did you mean 'RunningMean'"):
        exercise(ID, {})("RuningMean")


def test_examples_never_stand_for_a_grade(at_bank, monkeypatch):
    """nbgrader's own Execute would give a cell that does not fail all its points."""
    monkeypatch.setitem(os.environ, "NBGRADER_EXECUTION", "autograde")
    with pytest.raises(RuntimeError, match=r"docs/classroom\.md"):
        exercise(ID, {"batch_mean": lambda x: x.sum(0) / len(x)})("batch_mean")


def test_an_example_belongs_to_the_last_part_that_it_uses():
    text = "def tool(x):\n    return RunningMean(x)\n"
    text += "def test_a():\n    m.batch_mean(1)\ndef test_b():\n    batch_mean(tool(1))\n"
    first, second = EXERCISE.parts
    assert examples_of(text, EXERCISE, first) == ["test_a"]
    assert examples_of(text, EXERCISE, second) == ["test_b"]
