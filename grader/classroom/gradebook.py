"""What the gradebook of an nbgrader course says of a class: through nbgrader's own API, by hand and late ones too."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grader.bank.catalog import Exercise, House
from grader.bank.layout import PART, SETUP, exercise_named
from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.classroom.alike import told
from grader.classroom.marks import Graded, Marks, said_versions
from grader.classroom.notebook import Shown, read_shown
from grader.submissions.find import Handed, read_all
from grader.submissions.notebook import LARGEST_NOTEBOOK, NotebookError, cells_of_notebook, grade_id_of


def read_course(house: House, course: Path) -> Marks:
    """Every part that the gradebook of a course has a score for. Raises HouseError."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import DatabaseError

    url = _db_url(course)
    graded, handed, penalties = list[Graded](), list[Handed](), dict[tuple[str, str], float]()
    try:
        with Gradebook(url) as book:
            for assignment in book.assignments:
                exercise = _exercise(house, assignment)
                if exercise is None:
                    continue
                for submission in assignment.submissions:
                    graded += _read_submission(course, exercise, submission)
                    handed += _handed(course, exercise, submission)
                    if submission.late_submission_penalty:
                        penalties[submission.student.id, exercise.id] = submission.late_submission_penalty
    except DatabaseError as error:
        raise HouseError(f"{_place(url)} cannot be read: {error.__cause__ or error}.") from None
    if not graded:
        raise HouseError(f"{course} has no graded submission of these exercises: run nbgrader autograde there first.")
    graded.sort(key=lambda one: (one.exercise, one.student))
    eyes = _needs_eyes(course, graded) + told(house, read_all(handed))
    return Marks(course.resolve().name, "nbgrader's gradebook", graded, eyes, penalties)


def _db_url(course: Path) -> str:
    """Where the gradebook of a course is, as its `nbgrader_config.py` says; else `gradebook.db` there."""
    from traitlets.config.loader import ConfigFileNotFound, PyFileConfigLoader

    config: Any = {}
    try:
        config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    except ConfigFileNotFound:
        pass
    except Exception as error:
        raise HouseError(f"{course / 'nbgrader_config.py'} cannot be read: {type(error).__name__}: {error}") from None
    database = course / "gradebook.db"
    url = str(config.get("CourseDirectory", {}).get("db_url", f"sqlite:///{database.resolve()}"))
    if url == f"sqlite:///{database.resolve()}" and not database.is_file():
        raise HouseError(
            f"{course} has no gradebook.db: run nbgrader autograde there first. It has no results.jsonl either, which "
            "`grader grade` writes."
        )
    return url


def _place(url: str) -> str:
    """A database as it may be shown: without its password."""
    from sqlalchemy.engine import make_url

    return str(make_url(url).database) if url.startswith("sqlite") else make_url(url).render_as_string()


def _exercise(house: House, assignment: Any) -> Exercise | None:
    """The exercise that an assignment is of, whatever it is called, as the setup cell of its notebook says."""
    cells = [cell for notebook in assignment.notebooks for cell in notebook.source_cells]
    named = (exercise_named(cell.source) for cell in cells if cell.name == SETUP)
    return next((house.exercises[id] for id in named if id in house.exercises), None)


def _read_submission(course: Path, exercise: Exercise, submission: Any) -> list[Graded]:
    found = []
    student = submission.student.id
    for notebook in submission.notebooks:
        said = _said(_autograded(course, submission, notebook))
        for grade in notebook.grades:
            name = grade.cell.name.removeprefix(PART)
            if grade.cell.name == name or all(part.name != name for part in exercise.parts):
                continue
            score = grade.manual_score if grade.manual_score is not None else grade.auto_score or 0.0
            told = said.get(name, Shown())
            one = Graded(
                student, exercise.id, name, score + (grade.extra_credit or 0.0), grade.max_score, told.verdict,
                told.mistake, told.problem, told.source, told.seed, told.isolation, said_versions(told.versions),
            )  # fmt: skip
            found.append(one)
    return found


def _handed(course: Path, exercise: Exercise, submission: Any) -> list[Handed]:
    """The notebook that was graded, to be compared with the others'."""
    found = []
    for notebook in submission.notebooks:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = read_file(_autograded(course, submission, notebook), LARGEST_NOTEBOOK).decode()
            found.append(Handed(submission.student.id, exercise, notebook=text))
    return found


def _autograded(course: Path, submission: Any, notebook: Any) -> Path:
    return Path(course, "autograded", submission.student.id, submission.assignment.name, f"{notebook.name}.ipynb")


def _said(path: Path) -> dict[str, Shown]:
    """Part to what its cell shows."""
    try:
        cells = cells_of_notebook(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotebookError):
        return {}
    return {grade_id_of(cell).removeprefix(PART): read_shown(cell) for cell in cells if grade_id_of(cell)}


def _needs_eyes(course: Path, graded: Sequence[Graded]) -> list[str]:
    """What a person should look at: sentences about what could not be read, was not graded, or is the same twice."""
    unread = {(one.student, one.exercise): one.problem for one in graded if one.problem}
    out = [f"{student}, {id}: {problem}" for (student, id), problem in unread.items()]
    same: dict[tuple[str, str], list[str]] = {}
    for one in graded:
        if one.source and one.student not in same.setdefault((one.exercise, one.source), []):
            same[one.exercise, one.source].append(one.student)
    out += [f"{id}: {' and '.join(students)} handed in the same, letter for letter."
            for (id, _), students in same.items() if len(students) > 1]  # fmt: skip
    return out + _not_graded(course)


def _not_graded(course: Path) -> list[str]:
    """What was handed in under another name, or was not graded, as the folders of the course show."""
    out = []
    for folder in sorted(course.glob("submitted/*/*")):
        student, assignment = folder.parent.name, folder.name
        graded = {path.name for path in (course / "autograded" / student / assignment).glob("*.ipynb")}
        handed = {path.name for path in folder.glob("*.ipynb")}
        known = {path.name for path in (course / "source" / assignment).glob("*.ipynb")}
        if not folder.is_dir() or not known:
            continue
        if not graded:
            out.append(f"{student}, {assignment}: handed in, but not graded. The log of nbgrader autograde says why.")
        elif not graded & handed:
            out.append(f"{student}, {assignment}: {' and '.join(sorted(handed))} counts as {' and '.join(graded)}.")
    return out
