"""A quiz through the real nbgrader, and as Gradescope runs it."""

import csv
import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from quiz_world import IDS, course_in, house_with_drills, notebook
from shared import PATIENCE

from conftest import environment
from grader.classroom.gradescope_quiz import write_quiz_autograder
from grader.classroom.quiz import SECRET, read_secret
from grader.classroom.report import write_report
from grader.drills.own import own_variant

QUIZ = "week_1"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return house_with_drills(tmp_path_factory.mktemp("doors") / "house")


@pytest.fixture(scope="module")
def quiz(house):
    course = house.root.parent / "course"
    course.mkdir()
    (course / SECRET).write_text("5a" * 32)  # with another one, ann's numbers may be near enough to bob's
    return course_in(course, house, ["ann", "bob", "cem@uni.edu"])


def answers(house, quiz, student):
    """The numbers of a student, right."""
    secret = read_secret(quiz.parents[1])
    return {id: own_variant(house, secret, student, id).asked.answer for id in (IDS[0], IDS[1])}


def nbgrader(course, *args):
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *args], cwd=course, capture_output=True, text=True, timeout=PATIENCE,
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def outputs(course, student):
    """What each graded cell shows, and its score."""
    cells = json.loads((course / "autograded" / student / QUIZ / "quiz.ipynb").read_text())["cells"]
    graded = [cell["outputs"] for cell in cells if cell["metadata"].get("nbgrader", {}).get("grade")]
    return [("".join(said["text"]), "".join(score["data"]["text/plain"])) for said, score in graded]


def test_a_quiz_through_nbgrader(house, quiz):
    course = quiz.parents[1]
    code, said = nbgrader(course, "generate_assignment", QUIZ)
    assert code == 0, said
    release = course / "release" / QUIZ
    assert {path.name for path in release.iterdir()} == {"quiz.ipynb", "questions.json"}
    right = f"answer = {answers(house, quiz, 'ann')!r}"
    handed_in = [("ann", "quiz.ipynb"), ("bob", "quiz (1).ipynb"), ("bobby", "quiz.ipynb")]
    for student, name in handed_in:
        folder = course / "submitted" / student / QUIZ
        folder.mkdir(parents=True)
        (folder / name).write_text(notebook(release, right))
    code, said = nbgrader(course, "autograde", QUIZ, "--create")
    assert code == 0, said
    assert "'bobby' is not on the roster" in said
    assert "quiz (1).ipynb counts, by its cells" in said
    assert [score for _, score in outputs(course, "ann")] == ["1.0", "1.0", *["0.0"] * 5]
    for student in ("bob", "bobby"):
        assert [score for _, score in outputs(course, student)] == ["0.0"] * 7
    assert "values of 2 B: how much?" in outputs(course, "bob")[0][0]
    shown = (course / "autograded" / "bob" / QUIZ / "quiz.ipynb").read_text()  # of which feedback is made
    assert "is not right." in shown
    assert read_secret(course) not in shown
    assert f"{answers(house, quiz, 'bob')[IDS[0]]}" not in shown
    the_report_of_the_class(house, course)
    secret = course / SECRET
    kept = secret.read_text()
    secret.unlink()
    try:
        code, said = nbgrader(course, "autograde", QUIZ, "--force", "--student", "ann")
        assert code != 0
        assert "is missing or damaged" in said
        assert not (course / "autograded" / "ann" / QUIZ / "quiz.ipynb").exists()  # nor was a cell executed
    finally:
        secret.write_text(kept)


def the_report_of_the_class(house, course):
    """A quiz stands in it beside exercises: points, mistakes, topics, and who needs a person."""
    page = course / "report.html"
    assert write_report(house, course, page) == 3
    said = html.unescape(page.read_text())
    assert "3 students, 0 exercises, 1 quiz." in said
    assert "2 of 7" in said.split('<h2 id="points">')[1]
    rows = {(row["student"], row["part"]): row for row in csv.DictReader((course / "report.csv").open())}
    assert {row["exercise"] for row in rows.values()} == {QUIZ}
    assert {part for _, part in rows} == {*IDS}
    assert [rows["ann", id]["verdict"] for id in IDS[:3]] == ["passed", "passed", "not started"]
    assert rows["bob", IDS[0]]["verdict"] == "wrong"
    parts, _, topics = said.partition('<h2 id="parts">')[2].partition("<h2>Topics</h2>")
    assert f'<td>{QUIZ}</td><th scope="row">{IDS[0]}</th>\n<td class="n">1 of 3 (33 %)</td>' in parts
    assert 'aria-label="earned"' in topics
    assert "bobby" in said.split("Needs your eyes")[1].split('<h2 id="points">')[0]


@pytest.fixture(scope="module")
def autograder(house, quiz, tmp_path_factory):
    root = tmp_path_factory.mktemp("autograder")
    assert write_quiz_autograder(root / "source", house, quiz) == QUIZ
    shutil.copy(root / "source" / "run_autograder", root)  # as Gradescope does
    (root / "source" / ".venv").symlink_to(sys.prefix)  # in place of setup.sh, which needs a network
    return root


def judged(root, users, files):
    for folder in ("submission", "results"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir()
    for name, text in files.items():
        path = root / "submission" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "submission_metadata.json").write_text(json.dumps({"users": users}))
    done = subprocess.run(
        [str(root / "run_autograder")], cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**environment(PYTHONPATH=str(root / "source"))},
    )  # fmt: skip
    results = root / "results" / "results.json"
    return done, json.loads(results.read_text()) if results.exists() else None


def test_a_quiz_on_gradescope(house, quiz, autograder):
    right = f"answer = {answers(house, quiz, 'cem@uni.edu')!r}"
    cem = {"email": "Cem@uni.edu", "sid": 7, "name": "Cem"}
    _, said = judged(autograder, [cem], {"mine/quiz.ipynb": notebook(quiz, right)})
    assert [test["score"] for test in said["tests"]] == [1, 1, 0, 0, 0, 0, 0]
    assert "No answer.\n  The last of" in said["tests"][2]["output"]  # who hands in nothing reads what is asked
    _, said = judged(autograder, [{"email": "x@y", "sid": "ann"}], {"quiz.py": right})
    assert said["score"] == 0  # ann, by her number: these are Cem's answers
    assert "is not right" in said["tests"][0]["output"]
    _, said = judged(autograder, [cem, {"email": "ann"}], {"quiz.py": right})
    assert said["score"] == 0
    assert "hand in alone" in said["tests"][0]["output"]
    _, said = judged(autograder, [{"email": "eve@uni.edu"}], {"quiz.py": right})
    assert "'eve@uni.edu' is not on the roster" in said["tests"][0]["output"]
    _, said = judged(autograder, [cem], {"homework.txt": right})
    assert "has neither quiz.ipynb nor quiz.py in it" in said["tests"][0]["output"]


def test_nothing_is_judged_where_nobody_knows_who_it_is(autograder):
    for users in ([], [{"name": "Ann"}], [5]):
        done, said = judged(autograder, users, {"quiz.py": "answer = {}"})
        assert (done.returncode, said) == (1, None)
        assert "does not say who handed in" in done.stderr


def test_what_is_uploaded_holds_the_drills_of_the_quiz_alone(autograder):
    source = autograder / "source"
    assert [path.name for path in source.glob("exercises/*/*")] == ["drills.py"]
    assert not (source / "solutions").exists()
    assert (source / "course" / SECRET).is_file()


def test_the_command_builds_it(house, quiz, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from grader.cli.main import main

    monkeypatch.chdir(house.root)

    def export(*args):
        return CliRunner().invoke(main, ["export", "gradescope-autograder", str(tmp_path / "out"), *map(str, args)])

    done = export("--quiz", quiz)
    assert done.exit_code == 0, done.output
    assert f"grades {QUIZ} on Gradescope. It holds the secret of your course: keep it to yourself." in done.output
    assert export("--exercise", "901").exit_code == 0
    assert not list((tmp_path / "out").glob(f"**/{SECRET}")), "nor does the secret stay, where another one is built"
    assert list((tmp_path / "out").glob("solutions/*/*.py"))
    assert export("--quiz", quiz).exit_code == 0
    assert not (tmp_path / "out" / "solutions").exists()
    done = export("--quiz", quiz, "--exercise", "901")
    assert done.exit_code == 2
    for nowhere in (tmp_path, "/"):
        done = export("--quiz", nowhere)
        assert done.exit_code == 2
        assert "questions.json cannot be read: No such file or directory." in done.output
