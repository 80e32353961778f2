"""What an editor's test view makes of an exercise: groups, lines in the learner's own file, and ids that it can run.

VS Code runs pytest with a plugin of its own, `vscode_pytest`, that builds its tree from the fields that are read here.
"""

import json

import pytest

EXERCISE = "exercises/dl_901_running_mean"
FILE = f"{EXERCISE}/running_mean.py"

PLUGIN = """
import inspect, json
import pytest

def pytest_collection_finish(session):
    for item in session.items:
        group = None
        if isinstance(item.parent, pytest.Class):
            group = [item.parent.name, inspect.getsourcelines(item.parent.obj)[1]]
        print("SEEN", json.dumps([group, item.name, str(item.path), item.location[1] + 1, item.nodeid]))
"""


def seen(done):
    """(group and its line, name, file, line, id) of each check, as the test view reads them."""
    return [json.loads(line.partition("SEEN ")[2]) for line in done.out.splitlines() if "SEEN " in line]


@pytest.fixture
def view(home):
    (home.root / "vscode_pytest.py").write_text(PLUGIN)

    def run(*args):
        return home.pytest(
            "-p", "vscode_pytest", "-s", *args, PYTHONPATH=f"{home.root}:{__file__.rsplit('/tests/')[0]}"
        )

    return run


def line_of(home, start):
    return next(i for i, line in enumerate(home.attempt.read_text().splitlines(), 1) if line.startswith(start))


def test_the_checks_of_a_part_are_a_group_at_its_line_in_the_learners_file(home, view):
    checks = seen(view("--collect-only", EXERCISE))
    first, second = line_of(home, "def batch_mean"), line_of(home, "class RunningMean")
    assert [one[0] for one in checks] == 3 * [["batch_mean", first]] + [["RunningMean", second]]
    assert {one[2] for one in checks} == {str(home.attempt)}
    assert [one[3] for one in checks] == 3 * [first] + [second]


def test_the_ids_of_the_view_run(home, view):
    home.solve(("return x.sum(0) / len(x)", "return x.sum(0)"))
    ids = [one[4] for one in seen(view("--collect-only", EXERCISE))]
    assert ids[0] == f"{FILE}::batch_mean::test_mean_of_rows[1]"
    alone = view(ids[2])
    assert "1 passed" in alone.out
    group = view(f"{FILE}::batch_mean")
    assert "2 of 3 checks pass" in group.out
    whole = view(EXERCISE)
    assert "70 of 100 points" in whole.out


def test_a_file_that_is_not_python_still_has_its_checks(home, view):
    home.attempt.write_text("def batch_mean(:\n")
    assert [one[3] for one in seen(view("--collect-only", EXERCISE))] == [1] * 4


def test_without_that_view_there_are_no_groups_and_the_same_lines(home):
    (home.root / "other.py").write_text(PLUGIN)
    done = home.pytest(
        "-p", "other", "-s", "--collect-only", EXERCISE, PYTHONPATH=f"{home.root}:{__file__.rsplit('/tests/')[0]}"
    )
    checks = seen(done)
    assert [one[0] for one in checks] == [None] * 4
    assert checks[0][3:] == [line_of(home, "def batch_mean"), f"{FILE}::test_mean_of_rows[1]"]
