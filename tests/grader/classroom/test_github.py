"""The workflow for GitHub Classroom, run by its steps, on students' repositories made from the student edition."""

import csv
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from shared import PATIENCE

from conftest import HERE, ID, environment
from grader.classroom.release import write_release

WORKFLOW = yaml.safe_load((HERE.parents[1] / "docs/examples/github-classroom.yml").read_text())
STEPS = {step["name"]: step["run"] for step in WORKFLOW["jobs"]["grade"]["steps"] if "name" in step}
SUM = ("* len(x) / self.count", "/ 2")


@pytest.fixture
def teachers(home, tmp_path):
    """The teacher's repository, programs that play GitHub's part, and where each student's attempt lies."""
    clones, programs = tmp_path / "clones" / "week-1-submissions", tmp_path / "programs"
    for student in ("ann", "bob", "cyd"):
        write_release(clones / f"week-1-{student}", home.house, [home.exercise])
    programs.mkdir()
    gh = f'#!/bin/sh\n[ "$2" != clone ] || cp -R {clones.parent} repos\n'
    for name, text in (("gh", gh), ("grader", f'#!/bin/sh\nexec {sys.executable} -m grader "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def step(name):
        """Run a step as GitHub does: bash that stops at the first error."""
        given = environment(ASSIGNMENT="7", EXERCISE=ID)
        given["PATH"] = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", STEPS[name]], cwd=home.root, env=given, text=True,
            capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def attempt(student):
        return clones / f"week-1-{student}" / "exercises" / ID / "running_mean.py"

    return home, step, attempt


def test_repositories_of_the_student_edition_are_graded(teachers):
    home, step, attempt = teachers
    attempt("ann").write_text(home.solution)
    attempt("bob").write_text(home.solution.replace(*SUM))
    shutil.rmtree(attempt("cyd").parent)  # a student may delete anything
    step("Fetch every student's repository")
    said = step("Grade")
    assert "week-1-cyd" in said
    step("Write tables")
    with (home.root / "results/summary.csv").open() as file:
        assert {row["student"]: int(row["score"]) for row in csv.DictReader(file)} == {
            "week-1-ann": 100, "week-1-bob": 30, "week-1-cyd": 0,
        }  # fmt: skip
    written = {path.name for path in (home.root / "results").iterdir()}
    assert written >= {"grades.csv", "report.xml", "report.html"}

    shutil.rmtree(home.root / "repos")
    attempt("bob").write_text(home.solution)
    step("Fetch every student's repository")
    assert "3 submissions, 2 of them graded already" in step("Grade")
