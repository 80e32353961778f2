"""What an editor's test view makes of an exercise: groups, lines in the learner's own file, ids that it can run, and
what became of each.

VS Code runs pytest with a plugin of its own, `vscode_pytest`, that builds its tree from the fields that are read here,
and takes the first that it hears of an id. PyCharm's, of TeamCity, reads ids and places.
"""

import json

import pytest

EXERCISE = "exercises/dl_901_running_mean"
FILE = f"{EXERCISE}/running_mean.py"

PLUGIN = """
import inspect, json
import pytest

heard = set()

def absolute(node_id, path):
    return "::".join([str(path), *node_id.split("::")[1:]])

def pytest_collection_finish(session):
    for item in session.items:
        group = None
        if isinstance(item.parent, pytest.Class):
            group = [item.parent.name, inspect.getsourcelines(item.parent.obj)[1]]
        place = [str(item.path), item.location[1] + 1]
        print("SEEN", json.dumps([group, item.name, *place, absolute(item.nodeid, item.path)]))

def hear(id, outcome, text):
    if id not in heard:
        heard.add(id)
        print("HEARD", json.dumps([id, outcome, text]))

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.config.path_of_item = item.path
    return (yield)

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_report_teststatus(report, config):
    if report.when == "call" or (report.when == "setup" and report.skipped):
        hear(absolute(report.nodeid, config.path_of_item), report.outcome, report.longreprtext)
    return (yield)

def pytest_exception_interact(node, call, report):
    hear(absolute(node.nodeid, node.path), "error", report.longreprtext)
"""


def lines(done, mark):
    found = (line.partition(f"{mark} ")[1:] for line in done.out.splitlines())
    return [json.loads(rest) for word, rest in found if word]


def seen(done):
    """(group and its line, name, file, line, id) of each check, as the test view reads them."""
    return lines(done, "SEEN")


def heard(done):
    """Id to outcome and text, as the test view hears them."""
    return {id: (outcome, text) for id, outcome, text in lines(done, "HEARD")}


@pytest.fixture
def view(home):
    def run(*args, plugin="vscode_pytest", **env):
        (home.root / "teamcity").mkdir(exist_ok=True)
        for name in ("vscode_pytest", "teamcity/pytest_plugin", "other"):
            (home.root / f"{name}.py").write_text(PLUGIN)
        return home.pytest(
            "-p", plugin, "-s", *args, PYTHONPATH=f"{home.root}:{__file__.rsplit('/tests/')[0]}", **env
        )  # fmt: skip

    return run


def line_of(home, start):
    return next(i for i, line in enumerate(home.attempt.read_text().splitlines(), 1) if line.startswith(start))


@pytest.mark.parametrize(
    "editor",
    [{"plugin": "vscode_pytest"}, {"plugin": "teamcity.pytest_plugin", "TEAMCITY_VERSION": "LOCAL"}],
    ids=["VS Code", "PyCharm"],
)
def test_the_checks_of_a_part_are_a_group_at_its_line_in_the_learners_file(home, view, editor):
    checks = seen(view("--collect-only", EXERCISE, **editor))
    first, second = line_of(home, "def batch_mean"), line_of(home, "class RunningMean")
    assert [one[0] for one in checks] == 3 * [["batch_mean", first]] + [["RunningMean", second]]
    assert {one[2] for one in checks} == {str(home.attempt)}
    assert [one[3] for one in checks] == 3 * [first] + [second]


def test_the_ids_of_the_view_run(home, view):
    home.solve(("return x.sum(0) / len(x)", "return x.sum(0)"))
    ids = [one[4] for one in seen(view("--collect-only", EXERCISE))]
    assert ids[0] == f"{home.attempt}::batch_mean::test_mean_of_rows[1]"
    alone = view(ids[2])
    assert "1 passed" in alone.out
    group = view(f"{FILE}::batch_mean")
    assert "2 of 3 checks pass" in group.out
    whole = view(*ids)
    assert "70 of 100 points" in whole.out
    assert list(heard(whole)) == ids
    home.attempt.write_text("\n\n" + home.attempt.read_text())
    moved = view(*ids)
    assert {id: outcome for id, (outcome, _) in heard(moved).items()} == {
        id: outcome for id, (outcome, _) in heard(whole).items()
    }


def test_a_file_that_is_not_python_still_has_its_checks(home, view):
    home.attempt.write_text("def batch_mean(:\n")
    assert [one[3] for one in seen(view("--collect-only", EXERCISE))] == [1] * 4
    said = heard(view(EXERCISE))
    assert len(said) == 4
    assert {outcome for outcome, _ in said.values()} == {"failed"}
    assert {text.splitlines()[0] for _, text in said.values()} == {
        "running_mean.py:1 is not valid Python: invalid syntax"
    }


def test_what_a_check_says_is_a_sentence_however_it_ends(home, view):
    """pytest has a tuple for what calls `pytest.skip`, and an error for what ends before the check begins."""
    skips = "    import pytest\n    pytest.skip('later')\n"
    home.attempt.write_text(f"def batch_mean(x):\n{skips}")
    said = list(heard(view(f"{FILE}::batch_mean")).values())
    assert said == 3 * [("failed", f"Skipped: later\n  running_mean.py:3 in batch_mean\n  {skips.splitlines()[1]}")]


def test_a_check_that_did_not_run_since_its_part_hangs_is_no_error(home, view):
    home.edit(f"{EXERCISE}/exercise.toml", ("check_seconds = 2", "check_seconds = 1"))
    home.attempt.write_text("def batch_mean(x):\n    while True: pass\n")
    said = list(heard(view(f"{FILE}::batch_mean")).values())
    assert [outcome for outcome, _ in said] == 3 * ["failed"]
    assert said[0][1].startswith("still running after 1 s")
    assert said[1:] == 2 * [("failed", "not run: an earlier check of this part ran into the time limit")]


def test_a_file_that_is_gone_is_named_with_the_command_that_writes_it(home, view):
    ids = [one[4] for one in seen(view("--collect-only", EXERCISE))]
    home.attempt.unlink()
    assert "running_mean.py is missing: `grader reset dl_901` writes it again." in view(*ids).said


def test_without_a_view_there_are_no_groups_and_the_same_lines(home, view):
    checks = seen(view("--collect-only", EXERCISE, plugin="other", TEAMCITY_VERSION="2026.1"))
    assert [one[0] for one in checks] == [None] * 4
    assert checks[0][3:] == [line_of(home, "def batch_mean"), f"{home.attempt}::test_mean_of_rows[1]"]
