"""A course with the real nbgrader, from `grader course` to feedback: commands run once, looked at from all sides."""

import contextlib
import copy
import csv
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import from_dict
from shared import PATIENCE
from test_attacks import ATTACKS, deserved

from conftest import HERE, ID, environment
from grader.bank.catalog import House
from grader.bank.source import read_source, stub
from grader.base.text import plain
from grader.engine import cage

RIGHT = read_source(HERE / "house" / "solutions" / ID / "running_mean.py")
WRONG = "/ 2  # of any two batches"
EVERY = bool(os.environ.get("GRADER_EVERY_MUTANT"))
FEW_ATTACKS = {
    "answers_frames",
    "exit_os_exit_in_import",
    "files_results_overwritten",
    "files_links_to_others",
    "forging_stdout",
    "forging_reply_before_question",
    "lying_own_eq",
    "overfitting_visible_example",
    "state_patched_torch",
    "tampering_gc_functions",
    "tampering_builtins_len",
}


RENAMED = ["running_mean (1).ipynb", "Running_Mean.ipynb", "my homework.ipynb", f"{ID}.ipynb"]
ODD_NAMES = ["<img src=x>", 'a";b', "back\\slash", os.fsdecode(b"k\xff")]
"""Of folders of students: markup in a page of formgrader, or no text."""
OTHER_FILES = (
    "page.html", "PAGE.HTM", "picture.svg", "more/page.xhtml", "more/nbgrader_config.py", "data.csv", "helper.py",
    "notes.docx", "noend",
)  # fmt: skip


def marks(cell):
    return cell["metadata"].get("nbgrader", {})


def cell_of(notebook, id):
    return next(cell for cell in notebook["cells"] if marks(cell).get("grade_id") == id)


def own(source, kind="code"):
    more = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "id": f"own-{abs(hash(source)) % 10**8}", "metadata": {}, "source": source, **more}


class Course:
    def __init__(self, folder: Path) -> None:
        self.house = folder / "house"
        shutil.copytree(HERE / "house", self.house, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        self.folder = self.house / "course"  # below it, so that the kernel finds the bank's examples
        self.run("grader", "course", str(self.folder), "--question-points", "5", cwd=self.house)
        self.nbgrader("generate_assignment", ID)
        self.source = self.read("source")
        self.released = self.read("release")

    def run(self, module, *args, cwd=None, code=0):
        done = subprocess.run(
            [sys.executable, "-m", module, *args], cwd=cwd or self.folder, capture_output=True, text=True,
            timeout=PATIENCE,
            env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def nbgrader(self, *args, code=0):
        return self.run("nbgrader", *args, code=code)

    def read(self, step, student=""):
        return json.loads((self.folder / step / student / ID / "running_mean.ipynb").read_text())

    def right(self):
        notebook = copy.deepcopy(self.released)
        for cell in notebook["cells"]:
            if marks(cell).get("solution") and cell["cell_type"] == "code":
                cell["source"] = text_of(cell_of(self.source, marks(cell)["grade_id"]))
        return notebook

    def hand_in(self, student, notebook, name="running_mean.ipynb"):
        folder = self.folder / "submitted" / student / ID
        folder.mkdir(parents=True, exist_ok=True)
        data = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
        (folder / name).write_bytes(data)

    def scores(self):
        self.nbgrader("export", "--to", "grades.csv")
        with (self.folder / "grades.csv").open() as file:
            return {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader(file)}


def submissions(course):
    """Student to (notebook, points): every way in which a notebook comes back."""
    right = course.right
    yield "right", right(), 100
    yield "untouched", copy.deepcopy(course.released), 0
    notebook = right()
    cell_of(notebook, "answer-RunningMean")["source"] = notebook_wrong(notebook)
    yield "wrong", notebook, 30
    notebook = right()
    notebook["cells"].reverse()
    yield "reordered", notebook, 100
    notebook = right()
    notebook["cells"] = [c for c in notebook["cells"] if marks(c).get("grade_id") not in ("given-1", "part-batch_mean")]
    yield "cells deleted", notebook, 100
    notebook = right()
    notebook["cells"] = [c for c in notebook["cells"] if marks(c).get("grade_id") != "answer-batch_mean"]
    yield "answer deleted", notebook, 70  # the other part is judged with the reference's
    notebook = right()
    notebook["cells"].append(copy.deepcopy(cell_of(notebook, "answer-RunningMean")))
    yield "a cell twice", notebook, 100
    notebook = right()
    cell_of(notebook, "answer-batch_mean")["metadata"]["nbgrader"]["grade_id"] = "my-own-name"
    yield "a cell renamed", notebook, 100
    notebook = right()
    cell_of(notebook, "answer-batch_mean")["metadata"]["nbgrader"] = {"oops": [1]}
    cell_of(notebook, "part-RunningMean")["metadata"]["nbgrader"]["points"] = 10**6
    cell_of(notebook, "part-batch_mean")["source"] = "100.0"
    cell_of(notebook, "given-1")["source"] = "import nothing_of_that_name"
    yield "marks changed", notebook, 100
    notebook = right()
    notebook["cells"].insert(
        4, own("%matplotlib inline\n!ls\nimport math\ndef size(x):\n    return math.floor(len(x))")
    )
    notebook["cells"].insert(5, own("batch_mean(1, 2, 3)\nraise KeyboardInterrupt"))
    answer = cell_of(notebook, "answer-batch_mean")
    answer["source"] = answer["source"].replace("/ len(x)", "/ size(x)") + "\n\nprint(batch_mean(None))"
    yield "helpers", notebook, 100
    notebook = right()
    cell_of(notebook, "answer-RunningMean")["source"] += "\n(("
    yield "not python", notebook, 30
    notebook = right()
    answer = cell_of(notebook, "answer-batch_mean")
    answer["source"] = answer["source"].replace(
        "    ### BEGIN", '    raise RuntimeError("<script>x</script>")\n    ### BEGIN'
    )
    yield "markup", notebook, 70
    notebook = right()
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    notebook["cells"].insert(3, own("import nothing_of_that_name\nnothing_of_that_name.style.use('dark')"))
    yield "metadata stripped", notebook, 100
    for id in ("answer-batch_mean", "answer-RunningMean"):
        notebook = right()
        notebook["cells"].append(copy.deepcopy(cell_of(course.released, id)))
        yield f"stub copied {id}", notebook, 100
        notebook["cells"].append({**copy.deepcopy(cell_of(course.released, id)), "metadata": {}})
        yield f"stub copied twice {id}", notebook, 100
        notebook = right()
        notebook["cells"].insert(0, copy.deepcopy(cell_of(course.released, id)))
        yield f"stub first {id}", notebook, 100
        for kind in ("markdown", "raw", "nonsense"):
            notebook = right()
            cell_of(notebook, id)["cell_type"] = kind
            yield f"{kind} {id}", notebook, 100
        notebook = right()
        cell_of(notebook, id)["source"] = f"%%time\nimport nothing_of_that_name as n\n{text_of(cell_of(notebook, id))}"
        yield f"import in {id}", notebook, 100
    notebook = right()
    cell_of(notebook, "answer-batch_mean")["metadata"]["nbgrader"]["grade_id"] = "part-hack"
    yield "answer named as a part", notebook, 100
    notebook = right()
    for cell in notebook["cells"]:
        cell["cell_type"] = "code"
    cell_of(notebook, "question")["source"] = "def batch_mean(x):\n    return x"
    yield "text turned to code", notebook, 100
    notebook = copy.deepcopy(course.released)
    notebook["cells"].append(own(f"%%writefile running_mean.py\nimport nothing_of_that_name\n{RIGHT}"))
    yield "a file written", notebook, 100
    notebook = right()
    answers = [cell_of(notebook, f"answer-{part}") for part in ("batch_mean", "RunningMean")]
    answers[0]["source"] = "\n\n".join(map(text_of, answers))
    answers[1]["source"] = cell_of(course.released, "answer-RunningMean")["source"]
    yield "both in one cell", notebook, 100
    for student, name in (("long 1", "x"), ("long 2", "value")):
        notebook = right()
        lines = [f"    {name} = {name} * {number} + {number % 9}" for number in range(80)]
        notebook["cells"].insert(3, own(f"def size({name}):\n" + "\n".join(lines) + f"\n    return len({name})"))
        cell_of(notebook, "answer-batch_mean")["source"] += "\n\n\nUNUSED = size\n"
        yield student, notebook, 100
    notebook = right()
    notebook["cells"].append(own("x = {" + ",".join(str(k * (2**61 - 1)) for k in range(1, 40_000)) + "}"))
    yield "slow to read", notebook, 0
    yield "half characters", half(right()), 100
    yield "half a problem", copy.deepcopy(course.released) | {"metadata": {"grader": {"problem": "\ud800"}}}, 0
    yield "no json", b'{"cells": [', 0
    yield "a list", b"[]", 0
    yield "no text", b"\xff\xfe\x00", 0
    yield "odd cells", {"cells": [{"cell_type": 3}, {"source": {}}], "metadata": [], "nbformat": 4}, 0


def text_of(cell):
    return "".join(cell["source"])


def half(notebook):
    """With lone surrogates wherever a notebook has text, but in the answers."""
    lone = "\ud800 \udfff"
    for cell in notebook["cells"]:
        cell["id"] += lone
        cell["metadata"][lone] = {lone: [lone]}
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": lone, "text": [lone]}]
        else:
            cell["attachments"] = {lone: {lone: lone, "image/png": lone}, "a.png": {"image/png": lone}}
            cell["source"] = [*cell["source"], f"{lone} ![x](attachment:{lone})"]
    cell_of(notebook, "part-batch_mean")["metadata"]["nbgrader"] |= {"grade_id": lone, "points": lone, lone: lone}
    notebook["cells"] += [own(f"# {lone}"), own(lone, "markdown"), own(lone, "raw"), own(lone, lone)]
    notebook["metadata"] |= {lone: lone, "title": lone, "grader": {"problem": [lone]}, "widgets": {lone: lone}}
    return notebook


def notebook_wrong(notebook):
    source = cell_of(notebook, "answer-RunningMean")["source"]
    assert "* len(x) / self.count" in source
    return source.replace("* len(x) / self.count", WRONG)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course whose submissions are all graded, once."""
    course = Course(tmp_path_factory.mktemp("course"))
    course.points = {}
    for student, notebook, points in submissions(course):
        course.hand_in(student, notebook)
        course.points[student] = points
    for number, name in enumerate(RENAMED):
        course.hand_in(f"renamed {number}", course.right(), name)
        course.points[f"renamed {number}"] = 100
    for name in ODD_NAMES:
        course.hand_in(name, course.released)
    for name in OTHER_FILES:
        path = course.folder / "submitted" / "right" / ID / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("<script>x</script>")
    course.said = course.nbgrader("autograde", ID)
    for student in ("wrong", "markup"):  # those whose pages are looked at
        course.nbgrader("generate_feedback", ID, "--student", student)
    return course


def test_the_source_validates(course):
    assert "Success! Your notebook passes all the tests." in course.nbgrader(
        "validate", f"source/{ID}/running_mean.ipynb"
    )


def test_a_release_is_the_stub_and_nothing_that_tells(course):
    text = json.dumps(course.released)
    released = stub(RIGHT)
    answers = ["".join(cell["source"]) for cell in course.released["cells"] if marks(cell).get("solution")]
    assert [answer.strip() for answer in answers[:-1]] == [
        released[released.index("def batch_mean") : released.index("class RunningMean")].strip(),
        released[released.index("class RunningMean") :].strip(),
    ]
    for told in ("BEGIN SOLUTION", "self.count / ", "test_running_mean", "drivers", "the mean of nothing"):
        assert told not in text
    assert sorted(path.name for path in (course.folder / "release" / ID).iterdir()) == ["running_mean.ipynb"]


def test_every_submission_ends_in_its_score(course):
    assert course.scores() == course.points


def test_every_door_gives_the_same_score(course):
    """`grader grade` on the very files that nbgrader graded."""
    course.run("grader", "grade", "course/submitted", "--out", "results", cwd=course.house, code=2)  # a name of bytes
    lines = [json.loads(line) for line in (course.house / "results" / "results.jsonl").read_text().splitlines()]
    assert {line["student"]: line["score"] for line in lines if line["student"] in course.points} == course.points


@pytest.mark.parametrize("student", ["no json", "a list", "no text", "slow to read"])
def test_what_cannot_be_read_waits_for_a_person(course, student):
    """In formgrader, with the reason as its comment; in the log, as a warning."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.folder}/gradebook.db") as book:
        assert book.find_submission(ID, student).needs_manual_grade
        for part in ("batch_mean", "RunningMean"):
            assert book.find_grade(f"part-{part}", "running_mean", ID, student).needs_manual_grade
            said = book.find_comment(f"answer-{part}", "running_mean", ID, student).auto_comment
            assert said.startswith(("The notebook that was handed in is ", "the notebook cannot be read within "))
        assert not book.find_submission(ID, "untouched").needs_manual_grade
        assert book.find_comment("answer-batch_mean", "running_mean", ID, "wrong").auto_comment is None
    assert f"Needs your eyes: {student}/{ID}: " in course.said


def test_a_renamed_notebook_is_named_in_the_log(course):
    for number, name in enumerate(RENAMED):
        assert f"renamed {number}/{ID} has no running_mean.ipynb; {name} counts, by its cells." in course.said


def test_a_folder_whose_name_is_no_plain_text_is_left_out_and_named(course):
    for name in ODD_NAMES:
        assert f"Not graded: {course.folder}/submitted/{plain(name)}/{ID}." in course.said
        assert not (course.folder / "autograded" / name).exists()
    assert not set(ODD_NAMES) & set(course.scores())


def test_other_files_of_a_submission_are_text_in_the_copy(course):
    """formgrader serves them from the address where the scores are."""
    folder = course.folder / "autograded" / "right" / ID
    copied = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert copied == [
        "PAGE.HTM.txt", "data.csv", "helper.py", "more/nbgrader_config.py.txt", "more/page.xhtml.txt", "noend",
        "notes.docx", "page.html.txt", "picture.svg.txt", "running_mean.ipynb",
        "submission_secret.txt", "timestamp.txt",
    ]  # fmt: skip
    assert "A browser or nbgrader might run page.html: its copy ends in .txt now." in course.said
    assert (course.folder / "submitted" / "right" / ID / "page.html").exists()


def test_the_course_s_own_text_stays_as_it_is(course):
    """The statement and the hints hold markup of ours, which a teacher can open and read."""
    texts = [cell["source"] for cell in course.released["cells"] if cell["cell_type"] == "markdown"]
    assert any("<details>" in "".join(text) for text in texts)
    for student in ("right", "reordered", "untouched"):
        graded = [cell["source"] for cell in course.read("autograded", student)["cells"]]
        assert [text for text in texts if text not in graded] == []


def test_each_ran_in_a_cage(course):
    warned = "weaker than full" in course.said
    assert warned == (cage.best_level() is not cage.Level.FULL)


def test_messages_are_those_of_the_checks(course):
    (output, score) = cell_of(course.read("autograded", "wrong"), "part-RunningMean")["outputs"]
    text = "".join(output["text"])
    assert text.startswith("RunningMean: wrong, 0 of 70 points\n")
    assert "expected" in text
    assert score["data"]["text/plain"] in ("0.0", ["0.0"])
    said = cell_of(course.read("autograded", "not python"), "part-RunningMean")["outputs"][0]["text"]
    assert "is not valid Python" in "".join(said)
    said = cell_of(course.read("autograded", "no json"), "part-RunningMean")["outputs"][0]["text"]
    assert "is not JSON" in "".join(said)


def test_feedback_shows_messages_and_no_markup_of_a_student(course):
    def page(student):
        return (course.folder / "feedback" / student / ID / "running_mean.html").read_text()

    assert "RunningMean: wrong, 0 of 70 points" in page("wrong")
    assert "<script>x</script>" not in page("markup")
    assert "&lt;script&gt;x&lt;/script&gt;" in page("markup")


def test_hidden_checks_are_nowhere(course):
    secret = (course.house / "tests" / ID / "test_running_mean.py").read_text()
    lines = [line.strip() for line in secret.splitlines() if len(line.strip()) > 30]
    assert lines
    for path in course.folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            assert not [line for line in lines if line in text and not line.startswith('"""')], path


def test_a_free_text_cell_waits_for_a_person(course):
    """Untouched it has no points; answered it needs a manual grade, which a later autograde leaves alone."""
    from nbgrader.api import Gradebook

    notebook = course.right()
    cell_of(notebook, "question")["source"] = "Because of the mean of means."
    course.hand_in("essay", notebook)
    course.nbgrader("autograde", ID, "--student", "essay")
    database = f"sqlite:///{course.folder}/gradebook.db"
    with Gradebook(database) as book:
        grade = book.find_grade("question", "running_mean", ID, "essay")
        assert grade.needs_manual_grade
        grade.manual_score = 4
        part = book.find_grade("part-batch_mean", "running_mean", ID, "essay")
        part.extra_credit = 2
        book.db.commit()
    course.nbgrader("autograde", ID, "--student", "essay", "--force")
    with Gradebook(database) as book:
        assert book.find_submission(ID, "essay").score == 106
        assert not book.find_grade("question", "running_mean", ID, "wrong").needs_manual_grade


def test_a_resubmission_is_graded_again(course):
    course.hand_in("late", course.released)
    course.nbgrader("autograde", ID, "--student", "late")
    assert course.scores()["late"] == 0
    course.hand_in("late", course.right())
    course.nbgrader("autograde", ID, "--student", "late", "--force")
    assert course.scores()["late"] == 100


def test_a_teachers_own_points_count(course, tmp_path):
    """Points may be changed in the source notebook; a part gives all of them, or none."""
    other = Course(tmp_path)
    notebook = copy.deepcopy(other.source)
    cell_of(notebook, "part-batch_mean")["metadata"]["nbgrader"]["points"] = 7
    (other.folder / "source" / ID / "running_mean.ipynb").write_text(json.dumps(notebook))
    other.nbgrader("generate_assignment", ID, "--force")
    other.hand_in("right", other.right())
    other.nbgrader("autograde", ID)
    assert other.scores() == {"right": 77}
    graded = other.read("autograded", "right")
    assert "batch_mean: passed, 7 of 7 points" in json.dumps(cell_of(graded, "part-batch_mean")["outputs"])


def test_an_assignment_has_any_name_and_nothing_is_executed_where_the_house_has_moved(tmp_path):
    other = Course(tmp_path)
    (other.folder / "source" / ID).rename(other.folder / "source" / "week1")
    other.nbgrader("generate_assignment", "week1")
    notebook, trace = other.right(), tmp_path / "executed"
    notebook["cells"].append(own(f"open({str(trace)!r}, 'w').close()\nimport nothing_of_that_name"))
    folder = other.folder / "submitted" / "ann" / "week1"
    folder.mkdir(parents=True)
    (folder / "running_mean.ipynb").write_text(json.dumps(notebook))
    other.nbgrader("autograde", "week1")
    assert other.scores()["ann"] == 100
    other.run("grader", "class", "report", str(other.folder), "-o", "report.html", cwd=other.house)
    assert "ann" in (other.house / "report.html").read_text()
    config = other.folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace(str(other.house), "/moved"))
    said = other.nbgrader("autograde", "week1", "--force", code=1)
    assert "let c.GradeParts.house in nbgrader_config.py name the folder of the katas" in said
    assert other.scores()["ann"] == 100
    assert not trace.exists()


@pytest.mark.skipif(cage.best_level() is cage.Level.PROCESS, reason="this machine hides nothing")
def test_nobody_reads_what_others_handed_in_where_a_cage_may_read(tmp_path, in_view):
    """A course and an exchange that lie below the environment."""
    here = Course(tmp_path)
    here.folder = Path(shutil.move(here.folder, in_view / "course"))
    here.hand_in("bob", here.right())
    exchange = in_view / "exchange"
    paths = [here.folder / "submitted" / "bob" / ID / "running_mean.ipynb", exchange / "inbound" / "bob.ipynb"]
    paths[1].parent.mkdir(parents=True)
    shutil.copy(*paths)
    with (here.folder / "nbgrader_config.py").open("a") as config:
        config.write(f"\nc.Exchange.root = {str(exchange)!r}\n")
    notebook = here.right()
    cell_of(notebook, "answer-batch_mean")["source"] += "".join(
        f"\ntry:\n    open({str(path)!r})\nexcept OSError:\n    pass\nelse:\n    batch_mean = None\n" for path in paths
    )
    here.hand_in("ann", notebook)
    here.nbgrader("autograde", ID, "--student", "ann")
    assert here.scores()["ann"] == 100, here.read("autograded", "ann")


def test_a_report_of_the_class(course):
    """Students by topic, and where each part fails; nothing that a student wrote is markup or a formula in it."""
    course.hand_in("=1+1", course.released)
    course.nbgrader("autograde", ID, "--student", "=1+1")
    (course.folder / "autograded" / "=1+1").rename(course.folder / "autograded" / "=1+1<img src=x>")
    with contextlib.closing(sqlite3.connect(course.folder / "gradebook.db")) as book, book:
        book.execute("update student set id = '=1+1<img src=x>' where id = '=1+1'")
        book.execute("update submitted_assignment set student_id = '=1+1<img src=x>' where student_id = '=1+1'")
    course.run("grader", "class", "report", str(course.folder), "-o", "report.html", cwd=course.house)
    page = (course.house / "report.html").read_text()
    with (course.house / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    of = {(row["student"], row["part"]): row for row in rows}
    assert of["wrong", "batch_mean"]["verdict"] == "passed"
    assert of["wrong", "RunningMean"]["verdict"] == "wrong"
    assert of["wrong", "RunningMean"]["mistake"]
    assert of["no json", "batch_mean"]["verdict"] == "error"
    right = of["right", "batch_mean"]
    assert (right["isolation"], int(right["seed"]) >= 0) == (cage.best_level(), True)
    assert re.fullmatch(r"checks \w{16}, code \w{16}, grader \S+, torch \S+", right["versions"])
    assert "'=1+1<img src=x>" in {row["student"] for row in rows}
    assert "<img" not in page
    assert "&lt;img" in page
    assert "://" not in page  # it loads nothing
    earned = sum(float(row["earned"]) >= float(row["points"]) for row in rows if row["part"] == "batch_mean")
    assert f"{earned} of {len({row['student'] for row in rows})} (" in page


def test_a_report_names_what_needs_eyes(course):
    """What could not be read is no mistake of the class, and who handed in the same is said."""
    (course.folder / "submitted" / "lost" / ID).mkdir(parents=True, exist_ok=True)
    course.run("grader", "class", "report", str(course.folder), "-o", "report.html", cwd=course.house)
    page = html.unescape((course.house / "report.html").read_text())
    eyes, rest = page.split("<h2>Needs your eyes</h2>")[1].split('<h2 id="points">')
    assert f"no json, {ID}: The notebook that was handed in is not JSON" in eyes
    assert f"slow to read, {ID}: the notebook cannot be read within 5 s" in eyes
    assert f"renamed 1, {ID}: Running_Mean.ipynb counts as running_mean.ipynb." in eyes
    assert f"lost, {ID}: handed in, but not graded." in eyes
    same = [line for line in eyes.splitlines() if "letter for letter" in line]
    assert any("renamed 2" in line and "right" in line for line in same)
    assert [line for line in eyes.splitlines() if "look at long 1 and long 2 together." in line]
    assert eyes.count("together.") == 1
    assert "untouched" not in eyes
    assert "is not JSON" not in rest
    assert "cannot be read" not in rest


def test_a_report_reads_the_gradebook_that_the_course_names(course, tmp_path):
    config, moved = course.folder / "nbgrader_config.py", tmp_path / "elsewhere.db"
    kept = config.read_text()
    (course.folder / "gradebook.db").rename(moved)
    try:
        config.write_text(kept + f'c.CourseDirectory.db_url = "sqlite:///{moved}"\n')
        said = course.run("grader", "class", "report", str(course.folder), "-o", "report.html", cwd=course.house)
        assert " students in report.html" in said
        config.write_text("1 +\n")
        said = course.run("grader", "class", "report", str(course.folder), cwd=course.house, code=2)
        assert "nbgrader_config.py cannot be read: SyntaxError" in said
    finally:
        config.write_text(kept)
        moved.rename(course.folder / "gradebook.db")


def test_a_report_needs_a_gradebook(course, tmp_path):
    said = course.run("grader", "class", "report", str(tmp_path), cwd=course.house, code=2)
    assert "has no gradebook.db: run nbgrader autograde there first." in said
    (tmp_path / "gradebook.db").write_text("this is no database, but long enough to look like a file of some kind" * 20)
    said = course.run("grader", "class", "report", str(tmp_path), cwd=course.house, code=2)
    assert "cannot be read" in said
    assert "Traceback" not in said


def test_attacks_gain_nothing_through_this_door(course):
    """Hostile notebooks beside an honest one: nobody's points, files or grades are touched."""
    from notebooks import written

    exercise = House(course.house).exercises[ID]
    chosen = [path for path in ATTACKS if EVERY or path.stem in FEW_ATTACKS]
    assert EVERY or len(chosen) == len(FEW_ATTACKS)
    before = course.scores()
    kept = {path: path.read_bytes() for path in (course.folder / "autograded").rglob("*.ipynb")}
    for path in chosen:
        course.hand_in(f"attack {path.stem}", written(course.released, exercise, path.read_text()))
    course.hand_in("zoe", course.right())  # graded last
    course.nbgrader("autograde", ID)
    after = course.scores()
    assert {student: after[student] for student in before} == before
    assert after["zoe"] == 100
    for path in chosen:
        assert after[f"attack {path.stem}"] <= deserved(path), path.stem
    assert {path: path.read_bytes() for path in kept} == kept
    assert not [path for path in course.house.rglob("*") if "attack" in path.name and "attack " not in str(path)]


def test_late_work_is_penalised_as_nbgrader_is_told(course):
    from nbgrader.api import Gradebook

    config = course.folder / "nbgrader_config.py"
    kept = config.read_text()
    config.write_text(kept + 'c.LateSubmissionPlugin.penalty_method = "zero"\n')
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db") as book:
        book.update_or_create_assignment(ID, duedate="2026-01-01 12:00:00 UTC")
    try:
        course.hand_in("tardy", course.right())
        (course.folder / "submitted" / "tardy" / ID / "timestamp.txt").write_text("2026-01-01 13:00:00 UTC")
        course.nbgrader("autograde", ID, "--student", "tardy")
        with Gradebook(f"sqlite:///{course.folder}/gradebook.db") as book:
            submission = book.find_submission(ID, "tardy")
            assert (submission.score, submission.notebooks[0].late_submission_penalty) == (100, 100)
        course.run("grader", "class", "report", str(course.folder), "-o", "late.html", cwd=course.house)
        page = (course.house / "late.html").read_text()
        row = page.split('<th scope="row">tardy</th>')[1].split("</tr>")[0]
        assert "0 of 100<br><small>100 off, late</small>" in row
    finally:
        config.write_text(kept)
        with Gradebook(f"sqlite:///{course.folder}/gradebook.db") as book:
            book.update_or_create_assignment(ID, duedate=None)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """What nbgrader tells its steps of a notebook of two graded cells, a and b, that one student handed in."""
    from nbgrader.api import Gradebook

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # it calls alembic by its name
    facts = {"notebook": "n", "assignment": "a", "student": "s", "db_url": f"sqlite:///{tmp_path}/small.db"}
    with Gradebook(facts["db_url"]) as book:
        book.add_assignment("a")
        book.add_notebook("n", "a")
        for name, points in (("a", 2), ("b", 2), ("question", 0)):
            book.add_grade_cell(name, "n", "a", max_score=points, cell_type="code")
            book.add_source_cell(name, "n", "a", cell_type="code", locked=True)
        book.add_solution_cell("question", "n", "a")
        book.add_student("s")
        book.add_submission("a", "s")
    return {"nbgrader": facts}


def test_the_marks_of_other_notebooks_are_checked(small):
    from nbformat import from_dict
    from nbgrader.nbgraderformat import ValidationError

    from grader.classroom.preprocessor import CheckOthers, SanitizeOthers

    marks = {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False, "grade_id": "a"}
    cell = {"cell_type": "code", "source": "", "metadata": {"nbgrader": marks}, "outputs": []}
    notebook = from_dict({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    for step, error in ((CheckOthers(), ValidationError), (SanitizeOthers(), KeyError)):  # it has no points
        assert step.preprocess(notebook, {**small, "grader": True})[0] is notebook
        with pytest.raises(error):
            step.preprocess(notebook, small)


def graded_cells(*cells):
    """A notebook of graded cells: id, points, and what nbgrader reads the score from; None for a person's."""
    made = []
    for name, points, score in cells:
        by_hand = score is None
        marks = {"grade": True, "solution": by_hand, "locked": True, "task": False, "grade_id": name, "points": points}
        output = {"output_type": "execute_result", "data": {"text/plain": str(score)}, "metadata": {}}
        cell = {"source": "mine", "metadata": {"nbgrader": marks}}
        made.append(
            {**cell, "cell_type": "markdown"} if by_hand else {**cell, "cell_type": "code", "outputs": [output]}
        )
    return from_dict({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_a_question_without_points_waits_for_nobody(small):
    from nbgrader.api import Gradebook

    from grader.classroom.preprocessor import SaveAtOnce

    def waits(points):
        notebook = graded_cells(("question", points, None))
        SaveAtOnce().preprocess(notebook, {**small, "grader": True})
        with Gradebook(small["nbgrader"]["db_url"]) as book:
            return book.find_grade("question", "n", "a", "s").needs_manual_grade

    assert not waits(0)
    with Gradebook(small["nbgrader"]["db_url"]) as book:
        book.find_graded_cell("question", "n", "a").max_score = 5
        book.db.commit()
    assert waits(5)


def test_feedback_of_what_was_put_there_by_hand_is_released(course, tmp_path):
    """nbgrader's own step reads two files that only `nbgrader collect` writes."""
    assert not (course.folder / "submitted" / "wrong" / ID / "timestamp.txt").exists()
    graded = course.folder / "autograded" / "wrong" / ID
    assert re.fullmatch(r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC", (graded / "timestamp.txt").read_text())
    secrets = {path.read_text() for path in course.folder.glob(f"autograded/*/{ID}/submission_secret.txt")}
    assert len(secrets) == len(list((course.folder / "autograded").iterdir())) > 2
    course.nbgrader("release_feedback", ID, f"--Exchange.root={tmp_path}", "--Exchange.assignment_dir=.")
    assert len(list(tmp_path.rglob("*.html"))) >= 2


def test_scores_are_saved_at_once_or_not_at_all(small):
    from nbgrader.api import Gradebook, MissingEntry

    from grader.classroom.preprocessor import SaveAtOnce

    def saved():
        with Gradebook(small["nbgrader"]["db_url"]) as book:
            return [book.find_grade(name, "n", "a", "s").auto_score for name in ("a", "b")]

    SaveAtOnce().preprocess(graded_cells(("a", 2, 1.5), ("b", 2, 2.0)), small)
    assert saved() == [1.5, 2.0]
    with pytest.raises(MissingEntry):
        SaveAtOnce().preprocess(graded_cells(("a", 2, 0.5), ("c", 2, 1.0)), small)
    assert saved() == [1.5, 2.0]
