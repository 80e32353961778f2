"""What the gradebook of an nbgrader course says of a class: through nbgrader's own API, by hand and late ones too."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.bank.catalog import Exercise, House
from grader.bank.layout import SETUP, exercise_named
from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.classroom.alike import told
from grader.classroom.marks import Graded, Marks, said_versions
from grader.classroom.notebook import Shown, part_named, read_shown
from grader.submissions.eyes import identical, letter_for_letter
from grader.submissions.find import Handed, read_all
from grader.submissions.notebook import LARGEST_NOTEBOOK, NotebookError, cells_of_notebook, grade_id_of
from grader.submissions.quiz import quiz_named

if TYPE_CHECKING:
    from sqlalchemy import URL


def read_course(house: House, course: Path) -> Marks:
    """Every part that the gradebook of a course has a score for. Raises HouseError."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SQLAlchemyError

    url = _db_url(course)
    graded, handed, penalties = list[Graded](), list[Handed](), dict[tuple[str, str], float]()
    try:
        with Gradebook(url.render_as_string(hide_password=False)) as book:
            for assignment in book.assignments:
                exercise, quiz = _meant(house, assignment)
                if not exercise and not quiz:
                    continue
                id, parts = exercise.id if exercise else quiz, _parts(assignment, exercise)
                for submission in assignment.submissions:
                    graded += _read_submission(course, id, parts, submission)
                    handed += _handed(course, exercise, submission) if exercise else []
                    if submission.late_submission_penalty:
                        penalties[submission.student.id, id] = submission.late_submission_penalty
    except ModuleNotFoundError as error:
        raise HouseError(
            f"{_place(url)} needs the package {error.name}, which is not installed; nbgrader needs it, too. For "
            "PostgreSQL: pip install psycopg2-binary, and let db_url begin with postgresql+psycopg2://."
        ) from None
    except SQLAlchemyError as error:
        said = str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")
        raise HouseError(f"{_place(url)} cannot be read: {said}.") from None
    if not graded:
        raise HouseError(f"{course} has no graded submission of an exercise or a quiz: run nbgrader autograde first.")
    graded.sort(key=lambda one: (one.exercise, one.student))
    eyes = _needs_eyes(course, graded) + told(house, read_all(handed))
    return Marks(course.resolve().name, "nbgrader's gradebook", graded, eyes, penalties)


def _db_url(course: Path) -> "URL":
    """Where the gradebook of a course is, as nbgrader's configuration says; else `gradebook.db` there."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    said = str(_configuration(course).get("CourseDirectory", {}).get("db_url", "")) or "sqlite:///gradebook.db"
    try:
        url = make_url(said)
    except ArgumentError:
        raise HouseError("The db_url in nbgrader_config.py is no address of a database.") from None
    if url.get_backend_name() == "sqlite" and url.database:
        file = course.resolve() / url.database  # nbgrader runs in the folder of the course
        if not file.is_file():
            raise HouseError(
                f"{course} has no {url.database}: run nbgrader autograde there first. It has no results.jsonl either, "
                "which `grader grade` writes."
            )
        url = url.set(database=str(file))
    return url


def _configuration(course: Path) -> Any:
    """What nbgrader is told: by the files of the machine and of the user, and last by the course's own."""
    from jupyter_core.paths import jupyter_config_path
    from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

    found = Config()
    for folder in (*reversed(jupyter_config_path()), str(course)):
        for name, kind in (("nbgrader_config.json", JSONFileConfigLoader), ("nbgrader_config.py", PyFileConfigLoader)):
            try:
                found.merge(kind(name, path=folder).load_config())
            except ConfigFileNotFound:
                continue
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                raise HouseError(f"{Path(folder) / name} cannot be read: {said}") from None
    return found


def _place(url: "URL") -> str:
    """A database as it may be shown: without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string()


def _meant(house: House, assignment: Any) -> tuple[Exercise | None, str]:
    """The exercise or the quiz that an assignment is of, whatever it is called, as the setup cell of its notebook says.

    A quiz is known by the name of its assignment.
    """
    setups = [cell.source for cell in _cells(assignment) if cell.name == SETUP]
    exercise = next((house.exercises[id] for id in map(exercise_named, setups) if id in house.exercises), None)
    return exercise, assignment.name if any(map(quiz_named, setups)) else ""


def _parts(assignment: Any, exercise: Exercise | None) -> dict[str, str]:
    """Of each graded cell of ours, by its name: the part of the exercise, or else the question of a quiz."""
    known = [part.name for part in exercise.parts] if exercise else None
    named = {cell.name: part_named(cell.name, cell.source) for cell in _cells(assignment)}
    return {cell: part for cell, part in named.items() if part and (known is None or part in known)}


def _cells(assignment: Any) -> list[Any]:
    return [cell for notebook in assignment.notebooks for cell in notebook.source_cells]


def _read_submission(course: Path, id: str, parts: dict[str, str], submission: Any) -> list[Graded]:
    found = []
    student = submission.student.id
    for notebook in submission.notebooks:
        said = _said(_autograded(course, submission, notebook))
        for grade in notebook.grades:
            if grade.cell.name not in parts:
                continue
            score = grade.manual_score if grade.manual_score is not None else grade.auto_score or 0.0
            told = said.get(grade.cell.name, Shown())
            one = Graded(
                student, id, parts[grade.cell.name], score + (grade.extra_credit or 0.0), grade.max_score, told.verdict,
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
    """What each graded cell shows, by its name."""
    try:
        cells = cells_of_notebook(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotebookError):
        return {}
    return {grade_id_of(cell): read_shown(cell) for cell in cells if grade_id_of(cell)}


def _needs_eyes(course: Path, graded: Sequence[Graded]) -> list[str]:
    """What a person should look at: sentences about what could not be read, was not graded, or is the same twice."""
    unread = {(one.student, one.exercise): one.problem for one in graded if one.problem}
    out = [f"{student}, {id}: {problem}" for (student, id), problem in unread.items()]
    same = identical((one.exercise, one.source, one.student) for one in graded if one.source)
    out += [letter_for_letter(exercise, names) for exercise, names in same]
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
            out.append(
                f"{student}, {assignment}: {' and '.join(sorted(handed))} counts as {' and '.join(sorted(graded))}."
            )
    return out
