"""Find submissions in a folder, and read each.

Layout: `submitted/<student>/<exercise id>/<file>`, nbgrader's own; the file is a script or a notebook.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import Exercise, House
from grader.bank.layout import layout_of
from grader.base.errors import HouseError
from grader.base.files import LARGEST_FILE, digest, read_file
from grader.base.text import nearest
from grader.submissions.notebook import LARGEST_NOTEBOOK, NotebookError, source_of_notebook

_SUFFIXES = (".py", ".ipynb")

_MOST_NAMED = 5


class Submission(msgspec.Struct, frozen=True):
    """One student's file for one exercise, or why there is none."""

    student: str
    exercise: str
    text: str
    problem: str = ""
    note: str = ""
    """What a teacher should know about what was read."""

    @property
    def source(self) -> str:
        return digest(self.text) if not self.problem else digest(self.problem)


class Found(msgspec.Struct):
    """What lies in a folder of submissions."""

    submissions: list[Submission]
    refused: list[str]
    """A sentence for each folder whose name is no student or no exercise."""


def find_submissions(house: House, folder: Path, only: Sequence[str] = ()) -> Found:
    """Every submission below `folder`, in order. only: ids of exercises. Follows no link below `folder`."""
    if not folder.is_dir():
        raise HouseError(f"{folder} is no folder. Submissions lie in submitted/<student>/<exercise id>/.")
    found = Found([], [])
    for student in _folders(folder, "", found):
        try:
            student.name.encode()
        except UnicodeEncodeError:
            found.refused.append(f"the name of the folder {student.name} is not UTF-8.")
            continue
        for place in _folders(student, f"{student.name}/", found):
            exercise = house.exercises.get(place.name)
            if exercise is None:
                known = nearest(place.name, house.exercises)
                found.refused.append(f"{student.name}/{place.name}: there is no exercise '{place.name}'.{known}")
            elif not only or exercise.id in only:
                found.submissions.append(read_submission(student.name, exercise, place))
    return found


def _folders(folder: Path, shown: str, found: Found) -> list[Path]:
    """The folders in a folder. A link, a folder that cannot be read and a stray submission are refused by name."""
    folders = []
    try:
        for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            if path.is_symlink():
                found.refused.append(f"{shown}{path.name} is a link, and links are not followed.")
            elif path.is_dir():
                folders.append(path)
            elif path.suffix in _SUFFIXES:
                found.refused.append(f"{shown}{path.name} does not lie in submitted/<student>/<exercise id>/.")
    except OSError as error:
        found.refused.append(f"{shown or folder} cannot be read: {error.strerror}.")
    return folders


def read_submission(student: str, exercise: Exercise, place: Path) -> Submission:
    """The file that lies in a folder, or why it cannot be judged. A script counts before a notebook."""
    names = [f"{exercise.stem}.py", f"{exercise.id}.ipynb", f"{exercise.stem}.ipynb"]
    name, *passed_over = [name for name in names if os.path.lexists(place / name)] or names[:1]
    note = f"{name} counts, and {' and '.join(passed_over)} beside it does not" if passed_over else ""
    try:
        data = read_file(place / name, LARGEST_NOTEBOOK if name.endswith(".ipynb") else LARGEST_FILE)
        text = data.decode("utf-8-sig")
        if name.endswith(".ipynb"):
            text = source_of_notebook(text, exercise.stem, LARGEST_FILE, layout_of(exercise))
        return Submission(student, exercise.id, text, note=note)
    except FileNotFoundError:
        problem = f"neither {names[0]} nor {names[1]} was handed in{_others(place)}"
    except UnicodeDecodeError:
        problem = f"{name} is not UTF-8 text"
    except NotebookError as error:
        problem = f"{name} {error}"
    except OSError as error:
        problem = f"{name} cannot be read: {error.strerror or error}"
    return Submission(student, exercise.id, "", problem, note)


def _others(place: Path) -> str:
    """The names of the files that are there instead."""
    try:
        names = sorted(path.name for path in place.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        return f": {error.strerror}"
    more = " and more" if len(names) > _MOST_NAMED else ""
    return f"; there is {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
