"""What graders of version 0.1 handed out works with this one: notebooks, configurations, editions, results.

All in handed_out/ was made on the commit before the rooms, from the tests' own house.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from shared import PATIENCE

from conftest import HERE, ID, environment

OLD = HERE / "handed_out"


def run(*args, cwd, code=0, **more):
    done = subprocess.run(
        [sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more),
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def answered(home):
    """The released notebook, its answers those of the solution."""
    from grader.bank.layout import cells_of

    notebook = json.loads((OLD / "running_mean.ipynb").read_text())
    right = {cell.id: cell.text for cell in cells_of(home.solution, home.exercise.parts) if cell.is_answer}
    for cell in notebook["cells"]:
        id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if id in right:
            cell["source"] = right.pop(id)
    assert not right, "the released notebook lacks an answer"
    return notebook


@pytest.fixture
def course(home):
    """A course with the configuration that was written then, and the assignment as it was released."""
    folder = home.root / "course"
    home.grader("course", str(folder))
    config = (OLD / "nbgrader_config.py").read_text().replace("/tmp/old/house", str(home.root))
    (folder / "nbgrader_config.py").write_text(config)
    run("nbgrader", "generate_assignment", ID, cwd=folder)
    shutil.copy(OLD / "running_mean.ipynb", folder / "release" / ID)
    return folder


def test_a_notebook_and_a_configuration_of_then_are_graded(home, course):
    submitted = course / "submitted" / "ann" / ID
    submitted.mkdir(parents=True)
    (submitted / "running_mean.ipynb").write_text(json.dumps(answered(home)))
    run("nbgrader", "autograde", ID, cwd=course)
    run("nbgrader", "export", "--to", "grades.csv", cwd=course)
    head, row = (course / "grades.csv").read_text().splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["raw_score"] == "100.0"
    run("nbgrader", "generate_feedback", ID, cwd=course)


def test_the_check_of_a_notebook_of_then_runs_the_examples(home, tmp_path):
    cells = [cell["source"] for cell in answered(home)["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join("".join(source) for source in cells))
    done = home.cold(str(script))
    assert done.code == 0, done.said
    assert "batch_mean: 1 of 1 examples pass" in done.out


@pytest.fixture(params=["its own", "today's"])
def edition(request, tmp_path):
    """A student edition of then, run by the grader that it brought along, or by today's that is installed."""
    with tarfile.open(OLD / "student.tar.xz") as archive:
        # An attribute, since Python before 3.11.4, Debian 12's among them, knows no argument for it.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    folder = tmp_path / "student"
    own = {"PYTHONPATH": str(folder)} if request.param == "its own" else {}
    if not own:
        shutil.rmtree(folder / "grader")
    return folder, own


def test_a_student_edition_of_then_works(edition):
    folder, own = edition
    said = run("pytest", "exercises/dl_901_running_mean", cwd=folder, code=1, **own)
    assert ("NotImplementedError" if own else "to write: batch_mean") in said  # since then, in the learner's words
    assert "hint 1 of 3" in run("grader", "hint", "901", cwd=folder, **own)
    assert "is the stub already" in run("grader", "reset", "901", cwd=folder, **own)
    assert ID in run("grader", "list", cwd=folder, **own)
    if own:
        assert "student edition" in run("grader", "check", "901", cwd=folder, code=2, **own)
    else:  # since then, its check runs the visible examples
        said = run("grader", "check", "901", cwd=folder, code=1, **own)
        assert "only they give points" in said


def test_results_of_then_are_exported_and_count(home, tmp_path):
    shutil.copy(OLD / "results.jsonl", tmp_path)
    done = home.grader("export", "csv", str(tmp_path), "-o", str(tmp_path / "marks.csv"))
    assert done.code == 0, done.said
    rows = (tmp_path / "marks.csv").read_text().splitlines()
    assert [row.split(",")[:6] for row in rows[1:]] == [
        ["ann", ID, "batch_mean", "30", "30", "passed"],
        ["ann", ID, "RunningMean", "70", "70", "passed"],
        ["bob", ID, "batch_mean", "30", "0", "wrong"],
        ["bob", ID, "RunningMean", "70", "0", "waiting"],
    ]


def test_progress_of_then_stays_earned(home):
    folder = home.root / ".grader"
    folder.mkdir()
    shutil.copy(OLD / "progress.sqlite", folder)
    assert json.loads(home.grader("list", "--json").out)[0]["earned"] == 100
    assert "100/100" in home.grader("history", "901").out


@pytest.mark.parametrize("command", ["new", "build", "audit"])
def test_the_old_words_of_authors_do_the_same_and_say_the_new_ones(home, command):
    args = {"new": ["dl_999_x"], "build": ["--check"], "audit": ["901", "--mutants", "none"]}[command]
    done = home.grader(command, *args)
    assert done.code == 0, done.said
    assert f"`grader {command}` is now `grader dev {command}`" in done.err
    assert command not in home.grader("--help").out.split()
