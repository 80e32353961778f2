"""`grader course`: what it writes, and what it leaves alone. nbgrader itself is tried in test_nbgrader.py."""

import json
import sys

import pytest

from conftest import HERE, ID
from grader.bank.catalog import House, find_house
from grader.bank.layout import layout_of
from grader.bank.source import read_source, stub
from grader.base.errors import HouseError
from grader.classroom.course import write_course
from grader.classroom.notebook import as_text, source_notebook
from grader.submissions.notebook import source_of_notebook

HOUSE = find_house()
BANK = House(HERE / "house")
EXERCISE = BANK.exercises[ID]
NOTEBOOK = f"source/{ID}/running_mean.ipynb"


def write(folder, **options):
    done = write_course(folder, BANK.root, [EXERCISE], **{"question_points": 0.0, "overwrite": False, **options})
    return {one.path: one.done for one in done}


def marks(cell):
    return cell["metadata"].get("nbgrader", {})


@pytest.mark.parametrize("id", list(HOUSE.exercises))
def test_a_notebook_holds_the_solution_and_gives_it_back(id):
    exercise = HOUSE.exercises[id]
    notebook = source_notebook(exercise)
    got = source_of_notebook(as_text(notebook), exercise.stem, 1 << 20, layout_of(exercise))
    code = [line for line in got.splitlines() if line.strip() and not line.startswith(("# cell ", "# given code"))]
    assert code == [line for line in read_source(exercise.solution).splitlines() if line.strip()]


@pytest.mark.parametrize("id", list(HOUSE.exercises))
def test_no_cell_asks_for_a_file_that_a_course_does_not_hand_out(id):
    cells = source_notebook(HOUSE.exercises[id])["cells"]
    assert not [cell for cell in cells if "figure.svg" in cell["source"]]


@pytest.mark.parametrize("id", list(HOUSE.exercises))
def test_each_part_has_its_points_and_its_call(id):
    exercise = HOUSE.exercises[id]
    graded = [cell for cell in source_notebook(exercise, 5.0)["cells"] if marks(cell).get("grade")]
    assert [(cell["source"], marks(cell)["points"]) for cell in graded[:-1]] == [
        (f'check("{part.name}")', part.points) for part in exercise.parts
    ]
    assert graded[-1]["cell_type"] == "markdown"
    assert marks(graded[-1])["points"] == 5.0


@pytest.mark.parametrize("id", list(HOUSE.exercises))
def test_ids_are_valid_and_unique(id):
    cells = source_notebook(HOUSE.exercises[id])["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(one) <= 64 and all(c.isalnum() or c in "-_" for c in one) for one in ids)
    names = [marks(cell)["grade_id"] for cell in cells if marks(cell)]
    assert len(set(names)) == len(names)


def test_no_check_is_in_a_notebook():
    for exercise in HOUSE.exercises.values():
        text = as_text(source_notebook(exercise))
        for line in exercise.checks.read_text(encoding="utf-8").splitlines():
            if line.startswith("def test_"):
                assert line.partition("(")[0].removeprefix("def ") not in text


def test_what_is_up_to_date_stays_and_what_is_old_is_renewed(tmp_path):
    assert set(write(tmp_path).values()) == {"new"}
    assert set(write(tmp_path).values()) == {"up to date"}
    assert write(tmp_path, question_points=3.0)[NOTEBOOK] == "updated"
    graded = json.loads((tmp_path / NOTEBOOK).read_text())["cells"][-1]
    assert marks(graded)["points"] == 3.0
    assert write(tmp_path, question_points=None)[NOTEBOOK] == "up to date"


def test_a_teachers_change_is_kept_until_they_say_otherwise(tmp_path):
    write(tmp_path)
    (tmp_path / NOTEBOOK).write_text("mine")
    assert write(tmp_path)[NOTEBOOK] == "kept"
    assert (tmp_path / NOTEBOOK).read_text() == "mine"
    assert write(tmp_path, overwrite=True)[NOTEBOOK] == "replaced"
    assert (tmp_path / "replaced" / NOTEBOOK).read_text() == "mine"
    (tmp_path / NOTEBOOK).write_text("mine again")
    write(tmp_path, overwrite=True)
    assert (tmp_path / "replaced" / NOTEBOOK).read_text() == "mine"
    assert (tmp_path / "replaced" / NOTEBOOK).with_suffix(".2.ipynb").read_text() == "mine again"
    assert {path.name for path in (tmp_path / "source" / ID).iterdir()} == {"running_mean.ipynb"}  # all is released


def test_without_a_record_a_file_counts_as_the_teachers(tmp_path):
    write(tmp_path)
    (tmp_path / ".grader-course.json").write_text("{")
    assert set(write(tmp_path).values()) == {"up to date"}
    (tmp_path / ".grader-course.json").unlink()
    assert write(tmp_path, question_points=3.0)[NOTEBOOK] == "kept"


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "source").write_text("")
    with pytest.raises(HouseError, match="cannot be written"):
        write(tmp_path)


def test_the_command_says_what_it_did_and_what_comes_next(home, tmp_path):
    home.grader("course", str(tmp_path / "course"))
    done = home.grader("course", str(tmp_path / "course"), "--only", "901")
    assert done.code == 0
    assert [line.split()[:3] for line in done.out.splitlines()[:2]] == [["up", "to", "date"]] * 2
    assert done.out.splitlines()[-1].split() == ["nbgrader", "generate_assignment", ID]


def test_a_released_answer_is_the_stub():
    """What nbgrader makes of a marked cell, given the configuration's stub, is what `exercises/` holds."""
    for exercise in HOUSE.exercises.values():
        cells = {cell.id: cell.text for cell in layout_of(exercise)}
        for cell in source_notebook(exercise)["cells"]:
            if marks(cell).get("solution") and cell["cell_type"] == "code":
                assert stub(cell["source"] + "\n").strip("\n") == cells[marks(cell)["grade_id"]].strip("\n")


def test_without_our_package_a_notebook_says_what_to_do(monkeypatch, capsys):
    setup = next(cell for cell in source_notebook(EXERCISE)["cells"] if marks(cell).get("grade_id") == "setup")
    names = {}
    monkeypatch.setitem(sys.modules, "grader", None)  # importing it is a ModuleNotFoundError now
    monkeypatch.setitem(sys.modules, "grader.lab", None)
    exec(setup["source"], names)
    names["check"]("batch_mean")
    assert "pip install dl-kata-student/" in capsys.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(RuntimeError, match=r"docs/classroom\.md"):  # stock Execute would give full marks otherwise
        names["check"]("batch_mean")
