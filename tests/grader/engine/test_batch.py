"""A folder of submissions: what is found, what is read, what is kept, and what an interruption costs."""

import contextlib
import csv
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from shared import PATIENCE

from conftest import ID, Done, environment
from grader.base.errors import HouseError
from grader.base.files import digest, read_file, write_file
from grader.classroom.notebook import as_text, source_notebook
from grader.engine import cage, resume
from grader.records.results import Results
from grader.submissions.find import Submission, find_submissions, read_submission
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict

PROCESS, LANDLOCK, FULL = cage.Level.PROCESS, cage.Level.LANDLOCK, cage.Level.FULL


def place_of(home, student="ann", exercise=ID) -> Path:
    place = home.root / "submitted" / student / exercise
    place.mkdir(parents=True, exist_ok=True)
    return place


def hand_in(home, student, text, name="running_mean.py", exercise=ID):
    path = place_of(home, student, exercise) / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def notebook(*cells, **marks):
    metadata = {"nbgrader": marks} if marks else {}
    return json.dumps({"cells": [{"cell_type": "code", "source": cell, "metadata": metadata} for cell in cells]})


def found(home, *only):
    return find_submissions(home.house, home.root / "submitted", only)


def read(home, student="ann"):
    return read_submission(student, home.exercise, place_of(home, student))


# ---- what is found


def test_submissions_are_found_in_order(home):
    for student in ("bob", "ann", "Zoë"):
        hand_in(home, student, f"# {student}")
    got = found(home)
    assert got.refused == []
    assert [(one.student, one.exercise, one.text, one.problem) for one in got.submissions] == [
        (student, ID, f"# {student}", "") for student in ("Zoë", "ann", "bob")
    ]


def test_only_some_exercises(home):
    hand_in(home, "ann", "a = 1")
    assert [one.exercise for one in found(home, ID).submissions] == [ID]
    assert found(home, "dl_902_other").submissions == []


def test_what_tools_make_and_other_files_are_passed_over(home):
    hand_in(home, "ann", "a = 1")
    for student in (".git", ".vscode", ".Trash-1000"):
        hand_in(home, student, "a = 1")
    hand_in(home, "ann", "a = 1", exercise=".ipynb_checkpoints")
    for name in ("grades.csv", ".DS_Store", "._running_mean.py", f"ann/.~{ID}.ipynb"):
        (home.root / "submitted" / name).touch()
    got = found(home)
    assert (len(got.submissions), got.refused) == (1, [])


def test_a_hidden_name_that_no_tool_gives_is_refused_by_name(home):
    """It may be somebody's work, which would count nothing in silence."""
    hand_in(home, ".ann", "a = 1")
    hand_in(home, "bob", "a = 1", exercise=f".{ID}")
    (home.root / "submitted/bob/.running_mean.py").touch()
    (home.root / "submitted/.eve").symlink_to(home.root)
    got = found(home)
    assert got.submissions == []
    assert got.refused == [
        ".ann begins with a dot, as what tools make: rename it, if it is a student's.",
        ".eve is a link, and links are not followed.",
        f"bob/.{ID} begins with a dot, as what tools make: rename it, if it is a student's.",
        "bob/.running_mean.py does not lie in submitted/<student>/<exercise id>/.",
    ]


def test_an_unknown_exercise_is_refused_by_name(home):
    hand_in(home, "ann", "a = 1", exercise="dl_901_runing_mean")
    hand_in(home, "ann", "a = 1", "quiz.py", exercise="dl_901_mean")
    hand_in(home, "bob", "a = 1")
    got = found(home)
    assert [one.student for one in got.submissions] == ["bob"]
    assert got.refused == [
        f"ann/dl_901_mean: there is no exercise 'dl_901_mean'. Did you mean '{ID}'?",
        f"ann/dl_901_runing_mean: there is no exercise 'dl_901_runing_mean'. Did you mean '{ID}'?",
    ]


def test_a_quiz_is_known_by_its_file_or_by_what_it_says(home):
    hand_in(home, "ann", "{}", "quiz.ipynb", exercise="week_3")
    hand_in(home, "bob", "answer = {}", "quiz.py", exercise="week_3")
    setup = 'from grader.lab import quiz_check\nquiz = "week_3"\n'
    hand_in(home, "cyd", notebook(setup), "quiz (1).ipynb", exercise="week_3")
    hand_in(home, "dan", notebook(setup), "quiz (1).ipynb", exercise="week_33")
    os.mkfifo(place_of(home, "eve", "week_3") / "quiz (1).ipynb")
    got = found(home)
    assert got.quizzes == {"week_3": 3}
    assert got.refused == [
        "dan/week_33: there is no exercise 'week_33'.",
        "eve/week_3: there is no exercise 'week_3'.",
    ]


@pytest.mark.parametrize("where", ["running_mean.py", "ann/dl_901_running_mean.ipynb"])
def test_a_file_in_the_wrong_folder_is_refused_by_name(home, where):
    place_of(home)
    (home.root / "submitted" / where).touch()
    assert found(home).refused == [f"{where} does not lie in submitted/<student>/<exercise id>/."]


@pytest.mark.parametrize("link", ["eve", f"eve/{ID}"])
def test_a_linked_folder_is_not_followed(home, link):
    """Eve hands in a link to Ann's folder."""
    hand_in(home, "ann", "a = 1")
    path = home.root / "submitted" / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(place_of(home) if "/" in link else place_of(home).parent)
    got = found(home)
    assert [one.student for one in got.submissions] == ["ann"]
    assert got.refused == [f"{link} is a link, and links are not followed."]


def test_a_name_that_is_no_text_is_refused(home):
    hand_in(home, "ann", "a = 1")
    os.mkdir(os.fsencode(home.root) + b"/submitted/\xff")  # noqa: PTH102  # a name of bytes, which Path does not take
    got = found(home)
    assert [one.student for one in got.submissions] == ["ann"]
    assert len(got.refused) == 1
    assert "is not UTF-8" in got.refused[0]


def test_no_folder_of_submissions(home):
    with pytest.raises(HouseError, match="submitted is no folder"):
        found(home)


# ---- what is read


def test_a_script_is_read_as_it_is(home):
    hand_in(home, "ann", b"\xef\xbb\xbfa = '\xc3\xa4'\r\n")
    assert read(home) == Submission("ann", ID, "a = 'ä'\r\n")


@pytest.mark.parametrize("name", [f"{ID}.ipynb", "running_mean.ipynb"])
def test_a_notebook_is_read_as_its_source(home, name):
    hand_in(home, "ann", notebook("def helper(x):\n    return x", "%time helper(1)", solution=True), name)
    got = read(home)
    assert (got.problem, got.note) == ("", "")
    assert got.text.startswith("# given code\n")
    assert "# cell 1\ndef helper(x):\n    return x\n" in got.text
    assert "%time" not in got.text


def test_a_script_counts_before_a_notebook_and_that_is_said(home):
    hand_in(home, "ann", "a = 1")
    hand_in(home, "ann", notebook("b = 2"), f"{ID}.ipynb")
    got = read(home)
    assert (got.text, got.note) == ("a = 1", f"running_mean.py counts, and {ID}.ipynb beside it does not")


def test_nbgraders_name_of_a_notebook_counts_first(home):
    hand_in(home, "ann", notebook("def a(): pass"), f"{ID}.ipynb")
    hand_in(home, "ann", notebook("def b(): pass"), "running_mean.ipynb")
    got = read(home)
    assert "def a()" in got.text
    assert "def b()" not in got.text
    assert got.note == f"{ID}.ipynb counts, and running_mean.ipynb beside it does not"


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has 108 bytes at most
        one.bind(path.name)
        os.chdir(here)


def make_sparse(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


def make_link(target):
    return lambda path: path.symlink_to(target)


NEITHER = f"neither running_mean.py nor {ID}.ipynb was handed in"
UNREADABLE = [
    ("py", lambda path: None, NEITHER),
    ("py", lambda path: path.write_bytes(b"a = '\xff'"), "{} is not UTF-8 text"),
    ("py", lambda path: path.mkdir(), "{} cannot be read: it is not a regular file"),
    ("py", make_fifo, "{} cannot be read: it is not a regular file"),
    ("py", make_socket, "{} cannot be read: No such device or address"),
    ("py", make_sparse, "{} cannot be read: it has 1,073,741,824 bytes, more than 1,048,576"),
    ("py", make_link("/etc/passwd"), "{} cannot be read: it is a link, and links are not followed"),
    ("py", make_link("running_mean.py"), "{} cannot be read: it is a link, and links are not followed"),
    ("py", make_link("nowhere"), "{} cannot be read: it is a link, and links are not followed"),
    ("py", make_link("/dev/zero"), "{} cannot be read: it is a link, and links are not followed"),
    ("ipynb", lambda path: path.write_bytes(b"\xff{}"), "{} is not UTF-8 text"),
    ("ipynb", lambda path: path.write_bytes(b""), "{} is not JSON, as a notebook is: Expecting value"),
    ("ipynb", lambda path: path.write_text('{"cells": []}'), "{} has no code in it that counts"),
    ("ipynb", make_sparse, "{} cannot be read: it has 1,073,741,824 bytes, more than 20,971,520"),
    ("ipynb", make_fifo, "{} cannot be read: it is not a regular file"),
    ("ipynb", make_link("/etc/passwd"), "{} cannot be read: it is a link, and links are not followed"),
]


@pytest.mark.parametrize(("kind", "make", "says"), UNREADABLE)
def test_what_cannot_be_read_is_a_sentence(home, kind, make, says):
    path = place_of(home) / {"py": "running_mean.py", "ipynb": f"{ID}.ipynb"}[kind]
    make(path)
    got = read(home)
    assert got.text == ""
    assert got.problem.startswith(says.format(path.name))


def test_a_file_of_another_name_is_named(home):
    for name in ("Running_Mean.py", "x.ipynb", "y.txt"):
        hand_in(home, "ann", "a = 1", name)
    assert read(home).problem == f"{NEITHER}; there is Running_Mean.py, x.ipynb"


def test_ten_thousand_files_of_other_names_are_not_all_named(home):
    for i in range(50):
        hand_in(home, "ann", "", f"file_{i:02}.py")
    assert read(home).problem == f"{NEITHER}; there is " + ", ".join(f"file_0{i}.py" for i in range(5)) + " and more"


def test_read_file_takes_what_fits_and_no_more(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_file(path, 10) == b"x" * 10
    with pytest.raises(OSError, match="it has 10 bytes, more than 9"):
        read_file(path, 9)


def test_read_file_leaves_no_descriptor_open(tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    for make in (make_fifo, make_sparse, lambda path: path.mkdir()):
        make(tmp_path / str(id(make)))
        with pytest.raises(OSError, match=r"it is|it has"):
            read_file(tmp_path / str(id(make)))
    assert set(Path("/proc/self/fd").iterdir()) == before


# ---- what is kept


def judged(home, submission, seed=7, isolation="full", verdict=Verdict.PASSED):
    """A result of a submission, as the engine makes it."""
    exercise = home.exercise
    checks = [CheckResult(part.name, part.name, verdict) for part in exercise.parts]
    result = assemble(
        exercise, checks, {part.name: [part.name] for part in exercise.parts}, seed=seed, isolation=isolation,
        source=submission.source, versions=resume.versions(exercise),
    )  # fmt: skip
    return msgspec.structs.replace(result, student=submission.student)


ANN = Submission("ann", ID, "a = 1")


def holds(home, submission=ANN, require=PROCESS, seed=None):
    kept = Results(home.root / "results").of(submission.student, submission.exercise)
    return resume.holds(kept, submission, home.exercise, require, seed)


def keep(home, *results):
    kept = Results(home.root / "results")
    for result in results:
        kept.add(result)
    return home.root / "results" / "results.jsonl"


def test_what_was_judged_is_held(home):
    assert not holds(home)
    keep(home, judged(home, ANN))
    assert holds(home)
    assert holds(home, require=FULL)


@pytest.mark.parametrize(
    "other",
    [Submission("bob", ID, "a = 1"), Submission("ann", ID, "a = 2"), Submission("ann", "dl_902_other", "a = 1"),
     Submission("ann", ID, "", "running_mean.py is not UTF-8 text")],
    ids=["student", "source", "exercise", "problem"],
)  # fmt: skip
def test_another_submission_is_not_held(home, other):
    keep(home, judged(home, ANN))
    assert not holds(home, other)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        (f"tests/{ID}/test_running_mean.py", ("n=0 d=3", "n = 0 d=3")),
        (f"tests/{ID}/drivers.py", ("Runs beside", "It runs beside")),
        (f"exercises/{ID}/exercise.toml", ("check_seconds = 2", "check_seconds = 3")),
        (f"solutions/{ID}/running_mean.py", ("the mean of nothing", "the mean of none")),
    ],
)
def test_after_a_change_of_the_checks_it_is_judged_again(home, name, edit):
    keep(home, judged(home, ANN))
    assert holds(home)
    home.edit(name, edit)
    assert not holds(home)


@pytest.mark.parametrize("name", ["grader", "code", "torch"])
def test_after_a_change_of_versions_it_is_judged_again(home, name):
    one = judged(home, ANN)
    keep(home, msgspec.structs.replace(one, versions={**one.versions, name: "0.0.0"}))
    assert not holds(home)


def test_after_a_change_of_the_graders_own_code_it_is_judged_again(home, monkeypatch, tmp_path):
    """Of any module: a tolerance in compare.py, a sentence in explain.py, a file that is new."""
    keep(home, judged(home, ANN))
    package = tmp_path / "grader"
    shutil.copytree(Path(resume.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(resume, "__file__", str(package / "engine" / "resume.py"))
    for change in ("", "checks/compare.py", "verdicts/explain.py", "judging/new.py"):
        if change:
            (package / change).open("a").write("\n# mended\n")
        resume.grader_code.cache_clear()
        assert holds(home) == (not change), change
        keep(home, judged(home, ANN))
    resume.grader_code.cache_clear()


def test_a_seed_given_again_is_held_and_another_is_not(home):
    keep(home, judged(home, ANN, seed=resume.submission_seed(5, ANN)))
    assert [holds(home, seed=seed) for seed in (5, 6, None)] == [True, False, True]


def test_seeds_differ_between_submissions():
    names = [("ann", ID), ("bob", ID), ("ann", "dl_902_other")]
    seeds = [resume.submission_seed(5, Submission(student, exercise, "")) for student, exercise in names]
    assert len(set(seeds)) == 3
    assert seeds[0] == resume.submission_seed(5, Submission("ann", ID, "another text"))
    assert all(0 <= seed < 1 << 31 for seed in seeds)


@pytest.mark.parametrize(
    ("isolation", "held"),
    [("full", [True, True, True]), ("landlock", [True, True, False]), ("process", [True, False, False]),
     ("bogus", [False, False, False])],
)  # fmt: skip
def test_a_weaker_cage_is_not_held_where_a_better_one_is_required(home, isolation, held):
    keep(home, judged(home, ANN, isolation=isolation))
    assert [holds(home, require=level) for level in (PROCESS, LANDLOCK, FULL)] == held


def test_a_failure_of_the_grader_is_not_held(home):
    keep(home, judged(home, ANN, verdict=Verdict.GRADER_ERROR))
    assert not holds(home)


def test_the_newest_line_counts(home):
    path = keep(home, judged(home, ANN, verdict=Verdict.WRONG), judged(home, ANN))
    assert len(path.read_bytes().splitlines()) == 2
    assert [result.score for result in Results(path.parent).latest()] == [100]


@pytest.mark.parametrize("cut", [1, 100, -1])
def test_a_line_that_was_cut_short_is_dropped(home, cut):
    bob = Submission("bob", ID, "b = 2")
    path = keep(home, judged(home, ANN), judged(home, bob))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:cut])
    assert holds(home)
    assert not holds(home, bob)
    keep(home, judged(home, bob))
    assert path.read_bytes() == first + second
    assert holds(home, bob)


def test_two_runs_do_not_write_to_one_folder(home):
    folder = home.root / "results"
    with Results(folder).alone(), pytest.raises(HouseError, match=r"Another run writes to .*results \(process \d+ on "):
        Results(folder).alone().__enter__()
    with Results(folder).alone():  # it has ended: the file stays, and locks nobody out
        assert (folder / ".lock").exists()


def test_a_run_sees_what_the_one_before_it_has_written(home):
    late = Results(home.root / "results")
    keep(home, judged(home, ANN))
    with late.alone():
        assert late.latest()


def test_a_second_run_says_who_is_at_work(home):
    hand_in(home, "ann", home.solution)
    with Results(home.root / "results").alone():
        done = home.grader("grade", "submitted", "--out", "results")
    assert done.code == 2
    assert f"Another run writes to results (process {os.getpid()} on " in done.err


def test_damage_in_the_middle_is_said_and_left(home):
    path = keep(home, judged(home, ANN), judged(home, ANN))
    data = path.read_bytes().replace(b"{", b"(", 1)
    path.write_bytes(data)
    with pytest.raises(HouseError, match=r"results\.jsonl, line 1 is no result of this grader"):
        Results(path.parent)
    assert path.read_bytes() == data


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(HouseError, match="results cannot be a folder for results: File exists"):
        Results(tmp_path / "results")


def test_a_full_disk_keeps_what_was_graded(home):
    path = keep(home, judged(home, ANN))
    kept = Results(path.parent)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, hard))  # as a disk with room for 50 bytes
    try:
        with pytest.raises(HouseError, match=r"results\.jsonl cannot be written: File too large.*run it again"):
            kept.add(judged(home, Submission("bob", ID, "")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [result.student for result in Results(path.parent).latest()] == ["ann"]


# ---- grader grade, whole

SUM = ("return x.sum(0) / len(x)", "return x.sum(0)")


def lines(home):
    path = home.root / "results" / "results.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_a_class(home):
    wrong = home.solution.replace(*SUM)
    parts = home.solution.split("class RunningMean")
    hand_in(home, "ann", home.solution)
    hand_in(home, "bob", wrong)
    cells = (parts[0], "!pip install x", "class RunningMean" + parts[1])
    hand_in(home, "note", notebook(*cells, solution=True), f"{ID}.ipynb")
    hand_in(home, "note_wrong", notebook(*wrong.split("\n\n\n")), "running_mean.ipynb")
    hand_in(home, "broken", "{", f"{ID}.ipynb")
    hand_in(home, "both", home.solution)
    hand_in(home, "both", "{", f"{ID}.ipynb")
    place_of(home, "\x1b[31m[red]=x")
    (place_of(home, "link") / "running_mean.py").symlink_to(home.root / "solutions" / ID / "running_mean.py")
    hand_in(home, "typo", "", exercise="dl_901_mean")
    done = home.grader("grade", "submitted", "--out", "results", "--seed", "3", "--jobs", "2")
    assert done.code == 2, done.said
    scores = {line["student"]: line["score"] for line in lines(home)}
    assert scores == {
        "ann": 100, "bob": 70, "note": 100, "note_wrong": 70, "broken": 0, "both": 100, "\x1b[31m[red]=x": 0, "link": 0,
    }  # fmt: skip
    said = {line["student"]: line["parts"][0]["message"] for line in lines(home)}
    assert said["link"] == "running_mean.py cannot be read: it is a link, and links are not followed"
    assert said["broken"].startswith(f"{ID}.ipynb is not JSON")
    assert "This is what a sum gives" in said["note_wrong"]
    source = {line["student"]: line["source"] for line in lines(home)}
    assert source["note"] == digest(read(home, "note").text)
    assert f"both/{ID}: running_mean.py counts" in done.err
    assert "typo/dl_901_mean: there is no exercise" in done.err
    assert "\x1b" not in done.said
    assert "\\x1b[31m[red]=x" in done.out
    table = list(csv.DictReader((home.root / "results" / "summary.csv").open()))
    assert {row["student"]: int(row["score"]) for row in table} == {
        student.replace("\x1b", "\\x1b"): score for student, score in scores.items()
    }
    assert all(line["isolation"] == str(cage.best_level()) for line in lines(home))


def released(home):
    """The exercise's notebook as `grader course` makes it, its answers written."""
    return as_text(source_notebook(home.exercise))


def test_what_needs_eyes_is_said_at_the_end(home):
    """Each file has its result whatever its name is, and no 0 is silent."""
    for student in ("ann", "bob", "cyd"):
        hand_in(home, student, home.solution + "# mine\n" * (student == "cyd"))
    for student in ("stub1", "stub2"):
        hand_in(home, student, home.attempt.read_text())
    hand_in(home, "bytes", "a = 1", os.fsdecode(b"k\xff.py"))
    hand_in(home, "late", released(home), "running_mean (1).ipynb")
    hand_in(home, "two", released(home), "a.ipynb")
    hand_in(home, "two", released(home), "b.ipynb")
    hand_in(home, "typo", "", exercise="dl_901_mean")
    (home.root / "submitted" / os.fsdecode(b"\xfe") / ID).mkdir(parents=True)
    done = home.grader("grade", "submitted", "--out", "results")
    assert done.code == 2
    scores = {line["student"]: line["score"] for line in lines(home)}
    assert scores == {
        "ann": 100, "bob": 100, "cyd": 100, "stub1": 0, "stub2": 0, "bytes": 0, "late": 100, "two": 0,
    }  # fmt: skip
    said = done.err[done.err.index("need your eyes:") :]
    assert f"bytes/{ID}: {NEITHER}; there is k\\udcff.py." in said
    assert f"late/{ID}: running_mean (1).ipynb counts, by its cells: its name should be {ID}.ipynb." in said
    assert f"two/{ID}: {NEITHER}; a.ipynb and b.ipynb are of this exercise: keep one." in said
    assert f"ann and bob handed in the same for {ID}, letter for letter." in said
    assert "typo/dl_901_mean: there is no exercise 'dl_901_mean'." in said
    assert "the name of the folder \\udcfe is not UTF-8. It is left out." in said
    assert "stub1" not in said
    again = home.grader("grade", "submitted", "--out", "results")
    assert "8 submissions, 8 of them graded already" in again.out
    assert again.err[again.err.index("need your eyes:") :] == said
    merged = home.grader("merge", "results", "--out", "all")
    assert f"two/{ID}: {NEITHER}; a.ipynb and b.ipynb are of this exercise: keep one." in merged.err
    assert "What the class knows: grader class report all" in merged.out


def test_quizzes_are_left_out_in_a_sentence_and_need_nobodys_eyes(home):
    hand_in(home, "ann", "def f(:")
    for student in ("ann", "bob"):
        hand_in(home, student, "{}", "quiz.ipynb", exercise="week_3")
    done = home.grader("grade", "submitted", "--out", "results")
    assert done.code == 0
    assert "The quiz week_3 of 2 students is left out: nbgrader or Gradescope grades it." in done.out
    assert "quiz" not in done.err
    (place_of(home) / "running_mean.py").unlink()
    place_of(home).rmdir()
    done = home.grader("grade", "submitted", "--out", "results")
    assert done.code == 2
    assert "The quiz week_3 of 2 students" in done.out
    assert "holds no submission" in done.err


def test_a_merge_that_is_refused_makes_nothing(home):
    (home.root / "out.1").mkdir()
    done = home.grader("merge", "out.1", "--out", "all")
    assert done.code == 2
    assert "results.jsonl is missing" in done.err
    assert not (home.root / "all").exists()


def test_a_disk_that_may_not_be_written_is_a_sentence(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    for name in ("open", "write_text", "unlink"):
        monkeypatch.setattr(Path, name, refused)
    with pytest.raises(HouseError, match=r"summary\.csv cannot be written: Read-only file system"):
        write_file(tmp_path / "summary.csv", "")


def test_what_has_changed_is_graded_again_and_nothing_else(home):
    for student in ("ann", "bob"):
        hand_in(home, student, home.solution)
    args = ["grade", "submitted", "--out", "results"]
    assert home.grader(*args).code == 0
    hand_in(home, "bob", home.solution.replace(*SUM))
    hand_in(home, "cyd", home.solution)
    done = home.grader(*args)
    assert (done.code, "3 submissions, 1 of them graded already" in done.out) == (0, True)
    assert [line["student"] for line in lines(home)][:2] in (["ann", "bob"], ["bob", "ann"])
    assert {(line["student"], line["score"]) for line in lines(home)[2:]} == {("bob", 70), ("cyd", 100)}
    assert len(lines(home)) == 4


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nowhere", "--out", "results"], "nowhere is no folder"),
        (["submitted", "--out", "submitted/file"], "cannot be a folder for results"),
        (["submitted", "--out", "results", "--only", "dl_999"], "There is no exercise 'dl_999'"),
        (["submitted", "--out", "results", "--require", "moon"], "'moon' is not one of"),
    ],
)
def test_wrong_usage(home, args, says):
    place_of(home)
    (home.root / "submitted" / "file").touch()
    done = home.grader("grade", *args)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


# ---- interruptions


@contextlib.contextmanager
def grading(home):
    """`grader grade` in a process and a session of its own, as under a terminal; its error output goes to a file."""
    command = [sys.executable, "-m", "grader", "grade", "submitted", "--out", "results", "--jobs", "1"]
    with (home.root / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=home.root, env=environment(), stdout=said, stderr=said, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def await_result(home, process):
    """Until the first result is on the disk."""
    ends = time.monotonic() + PATIENCE
    while not lines(home):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            pytest.fail(f"it ended by itself:\n{(home.root / 'said').read_text()}")
        assert time.monotonic() < ends


def below(pid):
    """Every process below one, as descriptors that become readable when it ends."""
    waiting, handles = [pid], []
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
            waiting += [int(child) for child in children]
            handles += [os.pidfd_open(int(child)) for child in children]
    return handles


def still_there(handles, seconds=PATIENCE):
    """How many of these processes have not ended after so many seconds at most."""
    ends = time.monotonic() + seconds
    left = list(handles)
    while left and time.monotonic() < ends:
        ended = select.select(left, [], [], ends - time.monotonic())[0]
        left = [handle for handle in left if handle not in ended]
    for handle in handles:
        os.close(handle)
    return len(left)


@pytest.fixture
def slow_class(home):
    """One that is graded at once, one that takes until its limits, and one more."""
    hand_in(home, "a", home.solution)
    hand_in(home, "b", home.solution.replace(SUM[0], "while True: pass"))
    hand_in(home, "c", home.solution)
    home.edit(f"exercises/{ID}/exercise.toml", ("check_seconds = 2", "check_seconds = 4"))
    return home


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interruption_loses_nothing(slow_class, end):
    home = slow_class
    with grading(home) as process:
        await_result(home, process)
        handles = below(process.pid)
        os.killpg(process.pid, end)
        code = process.wait(PATIENCE)
    assert len(handles) >= 2, "the warm process and an asker"
    assert still_there(handles) == 0
    said = (home.root / "said").read_text()
    assert "Traceback" not in said
    if end == signal.SIGINT:
        assert (code, "Interrupted. What was graded is kept" in said) == (130, True)
    kept = lines(home)
    assert kept, "what was on the disk"

    hand_in(home, "b", home.solution)
    done = home.grader("grade", "submitted", "--out", "results", "--jobs", "1")
    assert done.code == 0, done.said
    still = [line for line in kept if line["student"] != "b"]  # on a busy machine, b may have come first
    assert f"3 submissions, {len(still)} of them graded already" in done.out
    assert lines(home)[: len(kept)] == kept
    scores = {line["student"]: line["score"] for line in lines(home)}
    assert scores == {"a": 100, "b": 100, "c": 100}

    again: Done = home.grader("grade", "submitted", "--out", "results")
    assert (again.code, len(lines(home))) == (0, 3)
    assert "3 submissions, 3 of them graded already" in again.out
    assert "Isolation:" not in again.out, "no engine is started for nothing"


def test_ctrl_c_while_the_checks_are_collected(home):
    hand_in(home, "ann", home.solution)
    text = home.checks.read_text()
    home.checks.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n" + text)
    with grading(home) as process:
        assert process.wait(PATIENCE) == 130
    assert "Interrupted. What was graded is kept" in (home.root / "said").read_text()
    assert lines(home) == []


def test_checks_that_cannot_be_collected_are_the_graders_fault(home):
    hand_in(home, "ann", home.solution)
    home.checks.write_text("import no_such_module\n")
    done = home.grader("grade", "submitted", "--out", "results")
    assert done.code == 1
    assert "the checks could not run" in done.err
    assert "no_such_module" in done.err
    assert lines(home) == []


@pytest.mark.parametrize("name", [f"tests/{ID}", f"tests/{ID}/test_running_mean.py", f"solutions/{ID}"])
@pytest.mark.parametrize("args", [["grade", "submitted", "--out", "results"], ["check", "901"]])
def test_an_exercise_whose_files_are_missing_is_a_sentence(home, name, args):
    hand_in(home, "ann", home.solution)
    gone = home.root / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    done = home.grader(*args)
    assert done.code in (2, 3)
    assert "Traceback" not in done.said
    assert "is missing" in done.err
    assert lines(home) == []


def test_a_folder_without_a_submission_is_refused_and_the_right_one_named(home):
    hand_in(home, "ann", home.solution)
    (home.root / "week1").mkdir()
    (home.root / "submitted").rename(home.root / "week1/submitted")
    done = home.grader("grade", "week1", "--out", "results")
    assert done.code == 2
    assert "holds no submission: submitted/<student>/<exercise id>/<file>. Did you mean week1/submitted?" in done.err


def test_what_was_withdrawn_still_counts_and_is_named(home):
    path = hand_in(home, "ann", home.solution)
    hand_in(home, "bob", "def f(:")
    done = home.grader("grade", "submitted", "--out", "results")
    assert "running_mean.py:1 is not" in done.out  # what every part is an error for, in the table
    path.unlink()
    path.parent.rmdir()
    done = home.grader("grade", "submitted", "--out", "results")
    assert f"ann/{ID} is not there any more. Its result stands, and counts." in done.err
    assert "1 submission, 1 of them graded already." in done.out


def test_what_another_run_graded_into_the_folder_is_still_there(home):
    """A share of the batch, then the submissions of another week."""
    students = ("ann", "bob", "cyd", "dan")
    for student in students:
        hand_in(home, student, "def f(:")
    shared = ["grade", "submitted", "--out", "results", "--seed", "7"]
    for share, says in (([], "4 submissions"), (["--shard", "1/2"], "submission")):
        done = home.grader(*shared, *share)
        assert (done.code, says in done.out, "not there any more" in done.err) == (0, True, False), done.said
        assert len(lines(home)) == len(students)
    assert "4 submissions" not in done.out, "the share leaves some out"
    place = home.root / "week 2" / "eve" / ID
    place.mkdir(parents=True)
    (place / "running_mean.py").write_text("def f(:")
    done = home.grader("grade", "week 2", "--out", "results")
    assert "not there any more" not in done.err
    shutil.rmtree(home.root / "submitted" / "bob")
    done = home.grader("grade", "week 2", "--out", "results")
    assert done.err.count("not there any more") == 1
    assert f"bob/{ID} is not there any more. Its result stands, and counts." in done.err


DYING = """
import json, os, signal, sys
from pathlib import Path
from grader.bank.catalog import House
from grader.engine.batch import Engine
from grader.submissions.find import Submission

house = House(Path(sys.argv[1]))
exercise = house.exercises[sys.argv[2]]
kept = []
with Engine([exercise]) as engine:
    def keep(result):
        kept.append(sorted({part.verdict for part in result.parts}))
        os.kill(engine.warm.pid, signal.SIGKILL)
    same = [Submission(str(i), exercise.id, exercise.solution.read_text()) for i in range(3)]
    engine.judge(house, exercise, same, seed_of=lambda _: 7, jobs=1, keep=keep)
print(json.dumps(kept))
"""


def test_the_end_of_the_answering_process_is_charged_to_nobody(home):
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(home.root), ID], capture_output=True, text=True, timeout=PATIENCE, check=True,
        env=environment(),
    )  # fmt: skip
    assert json.loads(done.stdout) == [["passed"], ["grader error"], ["grader error"]]


def test_a_copy_made_while_the_file_loads_is_heard_whichever_part_forbids_it(home):
    """The file loads for the first check, which is of a part that forbids nothing."""
    facts = home.root / "exercises" / ID / "exercise.toml"
    forbidden = 'forbidden = ["torch.nn.functional.multi_head_attention_forward"]\n'
    text = facts.read_text().replace('forbidden = ["torch.mean", "torch.Tensor.mean"]\n', "")
    facts.write_text(text.replace('after = ["batch_mean"]\n', 'after = ["batch_mean"]\n' + forbidden))
    code = "torch.nn.functional.multi_head_attention_forward.__code__"
    home.attempt.write_text(
        f"{home.solution}\n\nimport types\n\ncopy = types.FunctionType({code}, vars(torch.nn.functional))\n"
    )
    (told,) = json.loads(home.grader("check", "901", "--json").out)
    first, second = told["parts"]
    assert (first["verdict"], second["verdict"]) == ("passed", "forbidden")


FILES = """
import resource
from grader.engine.batch import Engine

resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))
with Engine([]) as engine:
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_an_engine_may_have_as_many_files_on_their_way_as_its_user_lets_it(home):
    """Else cages of the same user, which send each other files, keep it from asking for a cage."""
    assert home.script(FILES).out == "(400, 400)\n"
