"""Write a quiz into the folder of a course, and bring it up to date when students join."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from grader.bank.catalog import EXERCISE_ID, House
from grader.bank.layout import QUIZ
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import plain
from grader.classroom.course import Written, configuration, write_texts
from grader.classroom.notebook import as_text
from grader.classroom.quiz import QUESTIONS, HandedOut, handed_out, new_secret, read_handed_out
from grader.classroom.quiz_notebook import quiz_notebook


def write_quiz(
    course: Path, house: House, name: str, ids: Sequence[str], students: Sequence[str], overwrite: bool
) -> tuple[list[Written], int]:
    """Write the notebook of a quiz, and what each student is asked. Raises HouseError where that cannot be.

    Who was asked before is asked the same, be it somebody who is not among `students` any more: how many these are
    comes back, too. What would ask anything else is refused, unless `overwrite`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name) or EXERCISE_ID.fullmatch(name):
        raise HouseError(f"'{plain(name)}' cannot be the name of a quiz. Use letters, digits, '-' and '_', as week_3.")
    folder = course / "source" / name
    notebooks = [path.stem for path in folder.glob("*.ipynb")]
    if notebooks and QUIZ not in notebooks:
        raise HouseError(f"{plain(str(folder))} is an assignment already, and no quiz. Give the quiz another --name.")
    try:
        secret = new_secret(course)
    except OSError as error:
        raise HouseError(f"{plain(str(course))} cannot be written: {error.strerror}.") from None
    now = handed_out(house, name, ids, students, secret)
    before = _read_before(folder, overwrite)
    if before and (other := _other(before, now)):
        if not overwrite:
            raise HouseError(
                f"The quiz '{name}' is there already, and asks {other}. Give this one another --name; or, if nobody "
                "has begun, write it anew with --overwrite."
            )
    elif before:
        now = replace(now, students=before.students | now.students)
    notebook = as_text(quiz_notebook(name, ids, QUESTIONS))
    texts = {**configuration(course, house.bank), f"source/{name}/{QUIZ}.ipynb": notebook}
    done = write_texts(course, texts, overwrite)
    write_file(folder / QUESTIONS, msgspec.json.encode(now).decode())
    return done, len(now.students) - len(students)


def _read_before(folder: Path, overwrite: bool) -> HandedOut | None:
    """What was handed out so far, if anything was. A damaged file is as none with `overwrite`, else a HouseError."""
    try:
        return read_handed_out(folder) if (folder / QUESTIONS).exists() else None
    except HouseError:
        if overwrite:
            return None
        raise


def _other(before: HandedOut, now: HandedOut) -> str:
    """What else was asked before, or nothing."""
    if before.questions != now.questions:
        return f"other drills, or in another order: {' '.join(before.questions)}"
    for key in before.students.keys() & now.students.keys():
        for id, old, new in zip(now.questions, before.students[key], now.students[key], strict=True):
            if old != new:
                return f"something else for {id}"
    return ""
