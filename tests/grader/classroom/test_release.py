"""`grader release`: what a student gets, and that nothing in it tells."""

import json
import subprocess
import sys
import tomllib

import nbformat
import pexpect
import pyte
import pytest
from click.testing import CliRunner
from nbclient import NotebookClient
from shared import PATIENCE

from conftest import HERE, ID, environment
from grader.bank.catalog import House, find_house
from grader.bank.places import STUDENT
from grader.bank.source import read_source, stub
from grader.base.errors import HouseError
from grader.classroom.release import write_release
from grader.cli.main import main

HOUSE = find_house()
BANK = House(HERE / "house")
EXERCISE = BANK.exercises[ID]


@pytest.fixture
def released(tmp_path):
    folder = tmp_path / "student"
    write_release(folder, BANK, [EXERCISE])
    return folder


def run(folder, *args):
    done = subprocess.run(
        [sys.executable, "-m", *args], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(PYTHONPATH=str(folder)),
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_no_check_and_no_solution_is_in_it(tmp_path):
    write_release(tmp_path / "all", HOUSE, list(HOUSE.exercises.values()))
    files = [path for path in (tmp_path / "all").rglob("*") if path.is_file()]
    assert not [path for path in files if path.name in ("drivers.py", "mutants.toml") or path.is_symlink()]
    text = "\n".join(path.read_text() for path in files if "exercises" in path.parts or "stubs" in path.parts)
    assert "### BEGIN SOLUTION" not in text
    for exercise in HOUSE.exercises.values():
        given = stub(read_source(exercise.solution))
        assert (tmp_path / "all" / "exercises" / exercise.id / f"{exercise.stem}.py").read_text() == given
        drawn = [
            (tmp_path / "all" / "exercises" / exercise.id / name).is_file() for name in ("pictures.py", "figure.svg")
        ]
        assert drawn == [bool(exercise.pictures)] * 2
        drills = tmp_path / "all" / "exercises" / exercise.id / "drills.py"
        assert drills.is_file() is exercise.drills.is_file()
        for line in exercise.checks.read_text().splitlines():
            if line.startswith("def test_"):
                assert f"{line.partition('(')[0]}(attempt" not in text


def test_the_questions_are_handed_out_with_their_answers(released):
    assert (released / "exercises" / ID / "questions.toml").read_bytes() == (
        EXERCISE.attempt.with_name("questions.toml").read_bytes()
    )
    code, said = run(released, "grader", "questions", "901", "batch_mean", "--answers")
    assert code == 0
    assert "Refuse it, or the NaN" in said


def test_a_learners_work_in_the_house_is_not_handed_out(home, tmp_path):
    home.attempt.write_text("the teacher's own attempt")
    done = home.grader("release", str(tmp_path / "out"))
    assert done.code == 0
    assert "raise NotImplementedError" in (tmp_path / "out" / "exercises" / ID / "running_mean.py").read_text()
    assert done.out.splitlines()[-1] == "Students type: pip install out/"


def test_commands_that_need_more_say_so(released):
    assert run(released, "grader", "solution", "901", "--give-up") == (
        2, "grader: This is a student edition, without solutions: ask your teacher.\n",
    )  # fmt: skip


MEAN = "def batch_mean(x):\n    return x.sum(0) / len(x)\n"


def test_check_runs_the_examples_counts_them_and_says_what_it_cannot_know(released):
    attempt = released / "exercises" / ID / "running_mean.py"
    attempt.write_text(MEAN.replace(" / len(x)", ""))
    code, said = run(released, "grader", "check", "901")
    lines = said.splitlines()
    assert code == 1
    assert [" ".join(line.split()) for line in lines[:2]] == [
        "dl_901 · Running mean examples of 0 of 2 parts pass", "✗ batch_mean 30 wrong 0 of 1 examples pass",
    ]  # fmt: skip
    assert "Two rows." in said
    assert f"again: pytest exercises/{ID}/test_examples.py::test_two_rows" in said
    assert "More checks run when your work is graded, and only they give points." in said
    attempt.write_text(MEAN)
    code, said = run(released, "grader", "check", "901", "batch_mean")
    assert (code, "examples of 1 of 2 parts pass" in said) == (0, True), said
    assert "RunningMean" not in said
    code, said = run(released, "grader", "check", "--json")
    (result,) = json.loads(said)
    assert (result["score"], result["isolation"]) == (0, "examples")
    assert [part["earned"] for part in result["parts"]] == [0, 0]
    assert "the visible examples of 1 of 2 parts pass" in run(released, "grader")[1]


def test_an_example_that_hangs_or_ends_the_process_costs_itself(released):
    facts, examples = (released / "exercises" / ID / name for name in ("exercise.toml", "test_examples.py"))
    facts.write_text(facts.read_text().replace("check_seconds = 2", "check_seconds = 1"))
    more = "def test_{0}():\n    running_mean.batch_mean(torch.ones({0}, 1))\n\n\n"
    examples.write_text(examples.read_text() + "\n\n" + "".join(more.format(i) for i in (3, 4, 5)))
    hangs = "    if len(x) == 3:\n        while True: pass\n    if len(x) == 4:\n        import os; os._exit(0)\n"
    (released / "exercises" / ID / "running_mean.py").write_text(MEAN.replace("    return", f"{hangs}    return"))
    _, said = run(released, "grader", "check", "901", "--json")
    part = json.loads(said)[0]["parts"][0]
    assert [(one["id"], one["verdict"]) for one in part["checks"]] == [
        ("test_two_rows", "passed"), ("test_3", "timeout"), ("test_4", "crashed"), ("test_5", "passed"),
    ]  # fmt: skip


def test_watch_runs_the_examples_on_each_save(released):
    """Without a terminal, and on one."""
    (released / "exercises" / ID / "running_mean.py").write_text(MEAN)
    code, said = run(released, "grader", "watch", "901", "--once")
    assert (code, said) == (
        0, f"{ID}  examples of 1 of 2 parts pass. More checks run when it is graded.\n"
    )  # fmt: skip
    shown = pyte.Screen(80, 24)
    stream = pyte.Stream(shown)
    child = pexpect.spawn(
        sys.executable, ["-m", "grader", "watch", "901"], cwd=released, dimensions=(24, 80), encoding="utf-8",
        env=environment(TERM="xterm", PYTHONPATH=str(released)), timeout=PATIENCE,
    )  # fmt: skip
    while not any("more checks when graded" in line for line in shown.display):
        stream.feed(child.read_nonblocking(1 << 16, timeout=PATIENCE))
    assert " ".join(shown.display[0].split()) == "dl_901 · Running mean examples of 1 of 2 parts pass"
    assert "no visible example" in "\n".join(shown.display)
    child.send("q")
    child.expect_exact("Running mean: examples of 1 of 2 parts pass.")
    child.expect(pexpect.EOF)
    child.close()


@pytest.mark.parametrize(
    "command",
    [["course", "c"], ["release", "r"], ["grade", ".", "--out", "o"],
     ["export", "gradescope-autograder", "a", "--exercise", "901"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_teachers_command_says_so(released, command):
    assert run(released, "grader", *command) == (
        2, "grader: This is a student edition, without hidden checks and solutions: a teacher's command.\n",
    )  # fmt: skip


def test_its_screens_count_examples_and_know_no_points(released, monkeypatch):
    def shown(*typed):
        return CliRunner().invoke(main, typed).output

    monkeypatch.chdir(released)
    monkeypatch.setenv("COLUMNS", "80")
    assert shown().splitlines()[:2] == [
        "Student edition: the visible examples of 0 of 2 parts pass.",
        "Points come from hidden checks, which run where your work is graded.",
    ]
    (released / "exercises" / ID / "running_mean.py").write_text("def batch_mean(x):\n    return x.sum(0) / len(x)\n")
    _, said = run(released, "pytest", "-q", f"exercises/{ID}")
    assert "the examples of 1 of 2 parts pass. More checks run when your work is graded." in said
    assert "the visible examples of 1 of 2 parts pass" in shown()
    assert "Continue with RunningMean" in shown()
    assert "RunningMean · hint 1 of" in shown("hint", "901")
    for screen in ("status", "list"):
        assert "to be had when graded" in shown(screen)
        assert "/100" not in shown(screen)
    assert "the examples of 1 of 2 parts pass" in shown("status", "901")
    assert "passed  batch_mean" in shown("status", "901")
    for screen in (("status",), ("status", "901"), ("status", "--topics")):
        assert "earned" not in shown(*screen)
    assert json.loads(shown("list", "--json"))[0]["earned"] == 0
    assert json.loads(shown("status", "--json"))["points_earned"] == 0
    assert "number of rows" in shown("questions", "901", "batch_mean")
    assert shown("history", "901").startswith("Student edition: nothing is judged")
    shown("report", "-o", "mine.html")
    assert "This is a student edition" in (released / "mine.html").read_text()
    said = [shown("hint", "901", "RunningMean") for _ in range(3)][-1]
    assert said.endswith("That was the last.\n")


def test_examples_that_fail_do_not_count(released):
    (released / "exercises" / ID / "running_mean.py").write_text("def batch_mean(x):\n    return x.sum(0)\n")
    code, said = run(released, "pytest", "-q", f"exercises/{ID}")
    assert code == 1
    assert "the examples of 0 of 2 parts pass" in said


def test_a_practice_notebook_runs_the_examples_and_counts_them(released, monkeypatch):
    for name, value in environment(PYTHONPATH=str(released)).items():
        monkeypatch.setenv(name, value)
    facts = released / "exercises" / ID / "exercise.toml"
    drawn = (
        '[[picture]]\npart = "batch_mean"\nkind = "bars"\naxes = ["batch", "mean"]\ndriver = "means"\ncaption = "Ones."'
    )
    facts.write_text(f"{facts.read_text()}\n{drawn}\n")
    means = "def means(module):\n    return {'a': module.batch_mean(torch.ones(3, 1)).item()}\n"
    facts.with_name("pictures.py").write_text(f"import torch\n\n\n{means}")
    code, said = run(released, "grader", "notebook", "901")
    assert (code, said.splitlines()[-1]) == (
        0, "Student edition: check runs the visible examples. Hand in the notebooks of your course.",
    )  # fmt: skip
    folder = released / "exercises" / ID
    notebook = nbformat.read(folder / "running_mean.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells]
    assert 'check("batch_mean")' in sources
    for cell in notebook.cells:
        if cell.source.startswith("def batch_mean"):
            cell.source = "def batch_mean(x):\n    return x.sum(0) / len(x)\n"
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    shown = next(cell.outputs for cell in notebook.cells if cell.source == 'check("batch_mean")')
    assert "".join(one["text"] for one in shown if "text" in one).splitlines() == [
        "batch_mean: 1 of 1 examples pass", "  ✓ two rows", "More checks run when it is graded.", "Means. Ones.",
        "Yours: Bar chart, 1 batch, mean all 1.",
    ]  # fmt: skip
    (picture,) = (one["data"]["image/svg+xml"] for one in shown if "data" in one)
    assert picture.startswith("<svg")
    assert "the visible examples of 1 of 2 parts pass" in run(released, "grader")[1]


def test_examples_run_and_the_stub_comes_back(released):
    attempt = released / "exercises" / ID / "running_mean.py"
    given = attempt.read_text()
    attempt.write_text("def batch_mean(x):\n    return x.sum(0) / len(x)\n")
    code, said = run(released, "pytest", "-q", f"exercises/{ID}")
    assert (code, said.splitlines()[-1].split(" in ")[0]) == (0, "1 passed")
    code, said = run(released, "grader", "reset", "901")
    assert (code, attempt.read_text()) == (0, given)


def test_a_notebook_anywhere_finds_the_installed_examples(released, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / STUDENT).symlink_to(released)  # as its pyproject.toml maps it
    (site / "grader").symlink_to(released / "grader")
    assert tomllib.loads((released / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"] == {
        "grader": "grader", STUDENT: ".",
    }  # fmt: skip
    program = f"from grader.lab import exercise; exercise({ID!r}, {{'batch_mean': lambda x: x.mean(0)}})('batch_mean')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(PYTHONPATH=str(site)),
    )  # fmt: skip
    assert "batch_mean: 1 of 1 examples pass" in done.stdout, done.stderr


def test_it_depends_on_nothing_of_the_cage(released):
    named = " ".join(tomllib.loads((released / "pyproject.toml").read_text())["project"]["dependencies"])
    assert "torch" in named
    assert "landlock" not in named


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(HouseError, match="no student edition"):
        write_release(tmp_path, BANK, [EXERCISE])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_it_may_be_written_again(released):
    assert write_release(released, BANK, [EXERCISE]) > 5


def test_its_page_has_its_files(released):
    """In the folder, and named for who installs it."""
    here, there = HOUSE.root / "grader", released / "grader"
    page = sorted(path.relative_to(here) for path in (here / "serve" / "static").iterdir())
    assert len(page) > 3
    for path in (*page, "classroom/report.html", "py.typed"):
        assert (there / path).read_bytes() == (here / path).read_bytes()
    own = tomllib.loads((released / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert own["grader.serve"] == ["static/*"]
