"""Write a quiz into the folder of a course, and bring it up to date when students join."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import EXERCISE_ID, House
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import plain
from grader.classroom.course import Written, configuration, write_texts
from grader.classroom.notebook import as_text
from grader.classroom.quiz import QUESTIONS, HandedOut, handed_out, new_secret, read_handed_out
from grader.classroom.quiz_notebook import quiz_notebook
from grader.submissions.quiz import STEM


def write_quiz(
    course: Path, house: House, name: str, ids: Sequence[str], students: Sequence[str], overwrite: bool
) -> list[Written]:
    """Write the notebook of a quiz, and what each student is asked. Raises HouseError where that cannot be.

    Who was asked before is asked the same: what would ask anything else is refused, unless `overwrite`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or EXERCISE_ID.fullmatch(name):
        raise HouseError(f"'{plain(name)}' cannot be the name of a quiz. Use letters, digits, '-' and '_', as week_3.")
    folder = course / "source" / name
    try:
        secret = new_secret(course)
    except OSError as error:
        raise HouseError(f"{plain(str(course))} cannot be written: {error.strerror}.") from None
    now = handed_out(house, name, ids, students, secret)
    if (folder / QUESTIONS).exists() and not overwrite:
        _need_same(read_handed_out(folder), now)
    notebook = as_text(quiz_notebook(name, ids, QUESTIONS))
    texts = {**configuration(course, house.root), f"source/{name}/{STEM}.ipynb": notebook}
    done = write_texts(course, texts, overwrite)
    write_file(folder / QUESTIONS, msgspec.json.encode(now).decode())
    return done


def _need_same(before: HandedOut, now: HandedOut) -> None:
    """Raises HouseError where a student is asked something else than before."""
    for key, texts in before.students.items():
        old = dict(zip(before.questions, texts, strict=True))
        new = dict(zip(now.questions, now.students.get(key, ()), strict=False))
        changed = [id for id in before.questions if key in now.students and old[id] != new.get(id)]
        if changed:
            raise HouseError(
                f"The quiz '{now.quiz}' is there already, and asks something else for {changed[0]}. Give this one "
                "another --name; or, if nobody has begun, write it anew with --overwrite."
            )
