"""One submission has one score, whichever door it comes through: a script or a notebook to `grader grade`, or nbgrader.

That practice under pytest says the same is test_modes.py. GRADER_EVERY_MUTANT=1 takes all exercises and more answers.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from notebooks import written
from shared import PATIENCE

from conftest import environment
from grader.audit.mutants import apply, read_mutants
from grader.bank.catalog import find_house
from grader.bank.layout import cells_of
from grader.bank.source import read_source, stub

HOUSE = find_house()
EVERY = bool(os.environ.get("GRADER_EVERY_MUTANT"))
IDS = list(HOUSE.exercises) if EVERY else ["dl_013_gradient_debug"]
WRONG = 12 if EVERY else 4


def answers(exercise):
    """Student to text: right, untouched, half done, and wrong in known ways."""
    solution = read_source(exercise.solution)
    file = exercise.checks.parent / "mutants.toml"
    known = read_mutants(file)
    yield "right", solution
    yield "stub", stub(solution)
    half = cells_of(solution, exercise.parts)
    yield "half", "".join(cell.text if i % 2 else stub(cell.text) for i, cell in enumerate(half))
    step = max(1, len(known.mutant) // WRONG)
    for number, mutant in enumerate(known.mutant[::step][:WRONG]):
        yield f"wrong{number}", apply(solution, mutant, file)
    for number, right in enumerate(known.right[:2]):
        yield f"other{number}", apply(solution, right, file)


def run(*args, cwd):
    done = subprocess.run(
        [sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def graded(folder, submitted):
    run("grader", "grade", str(submitted), "--out", str(folder), "--seed", "7", cwd=HOUSE.root)
    lines = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {line["student"]: {part["name"]: part["earned"] for part in line["parts"]} for line in lines}


@pytest.mark.parametrize("id", IDS)
def test_every_door_gives_the_same_score(id, tmp_path):
    exercise = HOUSE.exercises[id]
    texts = dict(answers(exercise))
    course = tmp_path / "course"
    run("grader", "course", str(course), "--only", id, cwd=HOUSE.root)
    with (course / "nbgrader_config.py").open("a") as config:
        config.write("c.GradeParts.seed = 7\n")  # a wrong answer may be lucky: the same luck for all
    run("nbgrader", "generate_assignment", id, cwd=course)
    released = json.loads((course / "release" / id / f"{exercise.stem}.ipynb").read_text())
    for student, text in texts.items():
        script, notebook = tmp_path / "scripts" / student / id, course / "submitted" / student / id
        script.mkdir(parents=True)
        notebook.mkdir(parents=True)
        (script / f"{exercise.stem}.py").write_text(text)
        (notebook / f"{exercise.stem}.ipynb").write_text(json.dumps(written(released, exercise, text)))
    run("nbgrader", "autograde", id, cwd=course)
    run("nbgrader", "export", "--to", "grades.csv", cwd=course)
    with (course / "grades.csv").open() as file:
        by_nbgrader = {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader(file)}
    scripts = graded(tmp_path / "a", tmp_path / "scripts")
    notebooks = graded(tmp_path / "b", course / "submitted")
    assert notebooks == scripts
    assert by_nbgrader == {student: sum(parts.values()) for student, parts in scripts.items()}
    assert by_nbgrader["right"] == 100
    assert by_nbgrader["stub"] == 0
    assert 0 < by_nbgrader["half"] < 100
