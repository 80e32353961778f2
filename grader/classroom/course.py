"""Write an nbgrader course, and bring one up to date without losing what a teacher changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from grader.bank.catalog import Exercise
from grader.bank.layout import QUESTION
from grader.base.errors import HouseError
from grader.base.files import digest
from grader.classroom.notebook import as_text, source_notebook
from grader.submissions.notebook import NotebookError, cells_of_notebook, grade_id_of

_RECORD = ".grader-course.json"
"""What was written last: path in the course to the SHA-256 of its text."""
_OLD = "replaced"
"""Where `overwrite` puts what it replaces. Not below source/: nbgrader releases every file that lies there."""

CONFIG = """# Written by `grader course`. Change what you like: it is not written again once you did.
c = get_config()

c.CourseDirectory.course_id = {course!r}

# Stubs in the released notebooks read as they do in the repository.
c.ClearSolutions.code_stub = {{"python": "raise NotImplementedError  # TODO: your code"}}

# Submissions are graded in the engine of dl-kata, not by running their cells. docs/classroom.md says more.
c.Autograde.exporter_class = "grader.classroom.preprocessor.ReadAnything"
c.Autograde.sanitize_preprocessors = ["grader.classroom.preprocessor.SanitizeOthers"]
c.Autograde.autograde_preprocessors = [
    "grader.classroom.preprocessor.GradeParts",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "grader.classroom.preprocessor.SaveAtOnce",
    "nbgrader.preprocessors.AssignLatePenalties",
    "grader.classroom.preprocessor.CheckOthers",
]
c.GradeParts.house = {house!r}
c.GradeParts.require = "process"  # "full" refuses to grade where the machine isolates less: see SECURITY.md
"""


class Written(msgspec.Struct, frozen=True):
    """What became of one file of a course."""

    path: str
    done: Literal["new", "up to date", "updated", "kept", "replaced"]
    """`kept`: a teacher has changed it, and it stays. `replaced`: it was changed, and lies in replaced/ now."""


def write_course(
    folder: Path, root: Path, exercises: Sequence[Exercise], *, question_points: float | None, overwrite: bool
) -> list[Written]:
    """Write nbgrader_config.py and a source notebook an exercise. Raises HouseError where that cannot be.

    question_points: of each free-text question; None for what it has in the notebook that is there.

    A file that differs from what was written last was changed by a teacher. It is left alone, or with `overwrite` moved
    to replaced/ first.
    """
    texts = configuration(folder, root)
    for exercise in exercises:
        path = f"source/{exercise.id}/{exercise.stem}.ipynb"
        points = _question_points(folder / path) if question_points is None else question_points
        texts[path] = as_text(source_notebook(exercise, points))
    return write_texts(folder, texts, overwrite)


def configuration(folder: Path, root: Path) -> dict[str, str]:
    """The file that lets nbgrader grade with the house at `root`, by its path in the course."""
    return {"nbgrader_config.py": CONFIG.format(course=folder.resolve().name, house=str(root.resolve()))}


def write_texts(folder: Path, texts: Mapping[str, str], overwrite: bool) -> list[Written]:
    """Write files of a course, each by its path in it; what a teacher has changed as in `write_course`.

    Raises HouseError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = _read(folder / _RECORD)
        done = [_write(folder, path, text, record, overwrite) for path, text in texts.items()]
        (folder / _RECORD).write_bytes(msgspec.json.encode(record))
    except OSError as error:
        raise HouseError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    return done


def _question_points(notebook: Path) -> float:
    """What the free-text question gives in a notebook that is there, or 0."""
    try:
        cells = cells_of_notebook(notebook.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotebookError):
        return 0.0
    points = next((cell["metadata"]["nbgrader"].get("points") for cell in cells if grade_id_of(cell) == QUESTION), 0.0)
    return float(points) if isinstance(points, int | float) else 0.0


def _write(folder: Path, path: str, text: str, record: dict[str, str], overwrite: bool) -> Written:
    place = folder / path
    there = place.read_text(encoding="utf-8", errors="replace") if place.exists() else None
    if there == text:
        record[path] = digest(text)
        return Written(path, "up to date")
    changed = there is not None and record.get(path) != digest(there)
    if changed and not overwrite:
        return Written(path, "kept")
    if changed:
        old = folder / _OLD / path
        old.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while old.exists():
            number += 1
            old = (folder / _OLD / path).with_suffix(f".{number}{place.suffix}")
        place.rename(old)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    record[path] = digest(text)
    return Written(path, "new" if there is None else "replaced" if changed else "updated")


def _read(path: Path) -> dict[str, str]:
    """The record of what was written. If it cannot be read, it is empty: every file then counts as a teacher's."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
