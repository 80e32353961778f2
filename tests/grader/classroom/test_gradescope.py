"""The Gradescope autograder, run in a folder laid out as Gradescope's /autograder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shared import PATIENCE

from conftest import HERE, ID, environment
from grader.bank.catalog import House
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.classroom.gradescope import place_of, write_autograder

BANK = House(HERE / "house")
EXERCISE = BANK.exercises[ID]


@pytest.fixture(scope="module")
def autograder(tmp_path_factory):
    root = tmp_path_factory.mktemp("autograder")
    write_autograder(root / "source", BANK, EXERCISE)
    shutil.copy(root / "source" / "run_autograder", root)  # as Gradescope does
    (root / "source" / ".venv").symlink_to(sys.prefix)  # in place of setup.sh, which needs a network
    return root


def judged(root, name, text):
    for folder in ("submission", "results"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir()
    path = root / "submission" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = subprocess.run(
        [str(root / "run_autograder")], cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**environment(PYTHONPATH=str(root / "source"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((root / "results" / "results.json").read_text())


def test_a_right_answer_has_all_points(autograder):
    said = judged(autograder, "running_mean.py", read_source(EXERCISE.solution))
    assert said["score"] == 100
    assert [test["score"] for test in said["tests"]] == [30, 70]
    assert said["extra_data"]["isolation"] in ("full", "landlock", "process")


def test_a_wrong_one_reads_why(autograder):
    text = read_source(EXERCISE.solution).replace("* len(x) / self.count", "/ 2")
    said = judged(autograder, "running_mean.py", text)
    assert said["score"] == 30
    assert "expected" in said["tests"][1]["output"]


def test_a_file_of_another_name_is_no_crash(autograder):
    said = judged(autograder, "homework.py", "x = 1")
    assert said["score"] == 0
    assert "there is homework.py" in said["tests"][0]["output"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["homework/running_mean.py", "__MACOSX/homework/._running_mean.py"], "homework"),
        ([f"exercises/{ID}/running_mean.py", f"stubs/{ID}/running_mean.py", "README.md"], f"exercises/{ID}"),
        ([f"mine/{ID}.ipynb"], "mine"),
        (["running_mean.py", "old/running_mean.py"], "."),
        (["a/running_mean.py", "b/running_mean.py"], "."),
        (["a/b/c/d/e/f/g/running_mean.py"], "."),
        ([], "."),
    ],
)
def test_where_a_submission_lies(tmp_path, names, found):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    wanted = {"running_mean.py", "running_mean.ipynb", f"{ID}.ipynb"}
    assert place_of(wanted, tmp_path) == tmp_path / found


def test_a_submission_in_a_folder_of_its_own(autograder):
    assert judged(autograder, "my homework/running_mean.py", read_source(EXERCISE.solution))["score"] == 100


def test_scripts_are_sound_and_name_no_registry(autograder):
    for name in ("setup.sh", "run_autograder"):
        path = autograder / "source" / name
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
        assert path.stat().st_mode & 0o111 == 0o111
        assert "://" not in path.read_text()


def test_only_this_exercise_is_in_it(autograder):
    for tree in ("exercises", "solutions", "tests"):
        assert [path.name for path in (autograder / "source" / tree).iterdir() if path.is_dir()] == [ID]


def test_the_command_wants_an_exercise_and_a_folder_of_its_own(home, tmp_path):
    done = home.grader("export", "gradescope-autograder", str(tmp_path / "out"))
    assert (done.code, done.err) == (
        2,
        "grader: Name the exercise that it is to grade: --exercise ID. Or the quiz: --quiz COURSE/source/QUIZ.\n",
    )
    done = home.grader("export", "gradescope-autograder", str(tmp_path / "out"), "--exercise", "901")
    assert done.code == 0, done.said
    assert (tmp_path / "out" / "run_autograder").is_file()
    (Path(tmp_path) / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(HouseError, match="no autograder"):
        write_autograder(tmp_path / "mine", BANK, EXERCISE)
