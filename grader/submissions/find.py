"""Find submissions in a folder, and read each.

Layout: `submitted/<student>/<exercise id>/<file>`, nbgrader's own; the file is a script or a notebook.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import EXERCISE_ID, Exercise, House
from grader.bank.layout import QUIZ, layout_of
from grader.bank.source import survey
from grader.base.errors import HouseError
from grader.base.files import LARGEST_FILE, digest, read_file
from grader.base.text import nearest, plain
from grader.submissions import bounded
from grader.submissions.notebook import LARGEST_NOTEBOOK, NotebookError, cells_of_notebook, is_of, source_of_notebook
from grader.submissions.script import ScriptError, text_of_script

_SUFFIXES = (".py", ".ipynb")
_OF_TOOLS = {
    ".cache", ".config", ".fseventsd", ".git", ".github", ".grader", ".hg", ".idea", ".ipynb_checkpoints", ".jupyter",
    ".local", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".snapshot", ".Spotlight-V100", ".svn", ".Trashes",
    ".venv", ".vscode",
}  # fmt: skip
"""Folders that no person made: they are passed over in silence."""
_BESIDE = ("._", ".~", ".#", ".Trash-")
"""How the names begin that macOS, Jupyter, Emacs and Linux desktops give to what is no submission."""

_MOST_NAMED = 5
_MOST_LOOKED_AT = 10
"""Notebooks of other names in one folder."""


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


class Handed(msgspec.Struct, frozen=True):
    """Where something was handed in: a folder, or the text of a notebook or of a script itself."""

    student: str
    exercise: Exercise
    place: Path | None = None
    notebook: str = ""
    script: str | None = None


class Found(msgspec.Struct):
    """What lies in a folder of submissions."""

    submissions: list[Submission]
    refused: list[str]
    """A sentence for each folder whose name is no student or no exercise."""
    folder: Path | None = None
    """Where they lie."""
    quizzes: dict[str, int] = {}
    """The name of each quiz that lies there, to how many students handed it in: other commands grade them."""


def find_submissions(house: House, folder: Path, only: Sequence[str] = ()) -> Found:
    """Every submission below `folder`, in order. only: ids of exercises. Follows no link below `folder`."""
    if not folder.is_dir():
        raise HouseError(f"{folder} is no folder. Submissions lie in submitted/<student>/<exercise id>/.")
    found, handed = Found([], [], folder), []
    for student in _folders(folder, "", found):
        try:
            student.name.encode()
        except UnicodeEncodeError:
            found.refused.append(f"the name of the folder {plain(student.name)} is not UTF-8.")
            continue
        for place in _folders(student, f"{student.name}/", found):
            exercise = house.exercises.get(place.name)
            if exercise is None and _is_quiz(place):
                found.quizzes[place.name] = found.quizzes.get(place.name, 0) + 1
            elif exercise is None:
                known = nearest(place.name, house.exercises)
                found.refused.append(f"{student.name}/{place.name}: there is no exercise '{place.name}'.{known}")
            elif not only or exercise.id in only:
                handed.append(Handed(student.name, exercise, place))
    found.submissions += read_all(handed)
    return found


def _is_quiz(place: Path) -> bool:
    """Whether a quiz was handed in there: by the name of its file, or by what a notebook of another name says."""
    if EXERCISE_ID.fullmatch(place.name):
        return False  # no quiz has such a name, so it is that of an exercise with a mistake in it
    if any((place / f"{QUIZ}{suffix}").exists() for suffix in _SUFFIXES):
        return True
    says = json.dumps(f'quiz = "{place.name}"')[1:-1].encode()
    return any(says in _data(place / name) for name in _names(place, ".ipynb")[:_MOST_LOOKED_AT])


def _data(path: Path) -> bytes:
    try:
        return read_file(path, LARGEST_NOTEBOOK)
    except OSError:
        return b""


def _folders(folder: Path, shown: str, found: Found) -> list[Path]:
    """The folders in a folder. What may be somebody's work and cannot be taken is refused by name."""
    folders = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name in _OF_TOOLS or path.name.startswith(_BESIDE):
                continue
            if path.is_symlink():
                found.refused.append(f"{shown}{path.name} is a link, and links are not followed.")
            elif path.is_dir() and path.name.startswith("."):
                found.refused.append(
                    f"{shown}{path.name} begins with a dot, as what tools make: rename it, if it is a student's."
                )
            elif path.is_dir():
                folders.append(path)
            elif path.suffix in _SUFFIXES:
                found.refused.append(f"{shown}{path.name} does not lie in submitted/<student>/<exercise id>/.")
    except OSError as error:
        found.refused.append(f"{shown or folder} cannot be read: {error.strerror}.")
    return folders


def read_submission(student: str, exercise: Exercise, place: Path) -> Submission:
    """The file that lies in a folder, or why it cannot be judged. A script counts before a notebook."""
    return read_all([Handed(student, exercise, place)])[0]


def read_text(exercise: Exercise, text: str) -> Submission:
    """A text as if it lay in the learner's own file. It takes neither checks nor solution, as in a student edition."""
    return _each([Handed("", exercise, script=text)])[0]


def read_all(handed: Sequence[Handed]) -> list[Submission]:
    """Each submission, read within limits of time and memory; whatever goes wrong is its own problem, in a sentence.

    Raises HouseError where files of an exercise are missing, for which no submission is to blame.
    """
    for exercise in {one.exercise.id: one.exercise for one in handed}.values():
        exercise.need_files()
    return _each(handed)


def _each(handed: Sequence[Handed]) -> list[Submission]:
    return list(bounded.each(_read, handed, Submission, _unread))


def _unread(one: Handed, said: str) -> Submission:
    name = "what was handed in" if one.place else "the notebook"
    return Submission(one.student, one.exercise.id, "", f"{name} {said}")


def _read(one: Handed) -> Submission:
    """Read one, in a process of its own."""
    try:
        if one.script is not None:
            text, note = _script(one.exercise, one.script.encode()), ""
        elif one.place is None:
            text, note = source_of_notebook(one.notebook, one.exercise.stem, LARGEST_FILE, layout_of(one.exercise)), ""
        else:
            text, note = _file_of(one.exercise, one.place)
        survey(text)
    except _Unreadable as error:
        return Submission(one.student, one.exercise.id, "", plain(str(error)), error.note)
    except NotebookError as error:
        return Submission(one.student, one.exercise.id, "", plain(f"the notebook {error}"))
    except (ScriptError, UnicodeDecodeError) as error:
        said = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        return Submission(one.student, one.exercise.id, "", plain(f"{one.exercise.stem}.py {said}"))
    except MemoryError:
        return _unread(one, f"cannot be read with {bounded.MEMORY_MB:,} MB of memory")
    except Exception as error:  # a reader's own mistake costs one submission, and is said
        return _unread(one, plain(f"cannot be read: {type(error).__name__}: {error}"[:500]))
    return Submission(one.student, one.exercise.id, text, note=note)


class _Unreadable(Exception):
    """Why the file of a submission cannot be judged. note: what was left out beside it."""

    def __init__(self, said: str, note: str = "") -> None:
        super().__init__(said)
        self.note = note


def _file_of(exercise: Exercise, place: Path) -> tuple[str, str]:
    """The text that counts of what lies in a folder, and what a teacher should know of it."""
    names = [f"{exercise.stem}.py", f"{exercise.id}.ipynb", f"{exercise.stem}.ipynb"]
    there = [name for name in names if os.path.lexists(place / name)]
    if not there:
        renamed = _renamed(exercise, place)
        if len(renamed) != 1:
            more = f"; {' and '.join(map(plain, renamed))} are of this exercise: keep one" if renamed else ""
            said = f"neither {names[0]} nor {names[1]} was handed in{more or _others(place)}"
            raise _Unreadable(said)
        note = f"{plain(renamed[0])} counts, by its cells: its name should be {names[1]}"
        return _text_of(exercise, place, renamed[0], note), note
    name, *passed_over = there
    note = f"{name} counts, and {' and '.join(passed_over)} beside it does not" if passed_over else ""
    return _text_of(exercise, place, name, note), note


def _text_of(exercise: Exercise, place: Path, name: str, note: str) -> str:
    """The learner's file as one text."""
    is_notebook = name.endswith(".ipynb")
    try:
        data = read_file(place / name, LARGEST_NOTEBOOK if is_notebook else LARGEST_FILE)
        if is_notebook:
            return source_of_notebook(data.decode("utf-8-sig"), exercise.stem, LARGEST_FILE, layout_of(exercise))
        return _script(exercise, data)
    except UnicodeDecodeError:
        said = "is not UTF-8 text"
    except (NotebookError, ScriptError) as error:
        said = str(error)
    except OSError as error:
        said = f"cannot be read: {error.strerror or error}"
    raise _Unreadable(f"{name} {said}", note)


def _script(exercise: Exercise, data: bytes) -> str:
    return text_of_script(data, {name for part in exercise.parts for name in part.names})


def _renamed(exercise: Exercise, place: Path) -> list[str]:
    """The notebooks of other names whose cells say that they are of this exercise: `kv_cache (1).ipynb`."""
    found = []
    answers = {cell.id for cell in layout_of(exercise) if cell.is_answer}
    for name in _names(place, ".ipynb")[:_MOST_LOOKED_AT]:
        try:
            text = read_file(place / name, LARGEST_NOTEBOOK).decode("utf-8-sig")
            if is_of(cells_of_notebook(text), exercise.id, answers):
                found.append(name)
        except (OSError, UnicodeDecodeError, NotebookError):
            continue
    return found


def _names(place: Path, *suffixes: str) -> list[str]:
    try:
        return sorted(p.name for p in place.iterdir() if p.suffix in suffixes and not p.name.startswith("."))
    except OSError:
        return []


def _others(place: Path) -> str:
    """The names of the files that are there instead."""
    names = _names(place, *_SUFFIXES)
    more = " and more" if len(names) > _MOST_NAMED else ""
    return f"; there is {', '.join(map(plain, names[:_MOST_NAMED]))}{more}" if names else ""
