"""What was handed in for a quiz, to one text that defines `answer`. Runs nothing."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from grader.bank.layout import QUIZ, Cell
from grader.bank.source import survey
from grader.base.files import LARGEST_FILE, read_file
from grader.base.text import plain
from grader.submissions import bounded
from grader.submissions.find import Submission
from grader.submissions.notebook import (
    LARGEST_NOTEBOOK,
    NotebookError,
    cells_of_notebook,
    source_of_notebook,
    text_of_cell,
)
from grader.submissions.script import ScriptError, text_of_script

_ANSWER = "answer"
_NAMED = re.compile(r'^quiz = "([\w-]+)"$', re.MULTILINE)
_ANSWERS = re.compile(r"^answer\b", re.MULTILINE)


class HandedQuiz(msgspec.Struct, frozen=True):
    """What one student handed in: the text of a notebook or of a script, or the folder that holds it."""

    student: str
    quiz: str
    ids: tuple[str, ...]
    """The questions."""
    notebook: str = ""
    place: Path | None = None


def quiz_named(setup: str) -> str:
    """The quiz that the setup cell of a notebook names, or nothing."""
    named = _NAMED.search(setup)
    return named[1] if named else ""


def is_of_quiz(cells: Sequence[Any], quiz: str) -> bool:
    """Whether cells are of the notebook of a quiz: one of them says so."""
    return any(quiz_named(text_of_cell(cell)) == quiz for cell in cells)


def answer_cell(ids: Sequence[str]) -> str:
    """The cell in which the answers are written, as it is handed out."""
    return "\n".join(["answer = {", *(f'    "{id}": "",' for id in ids), "}"])


def read_quizzes(handed: Sequence[HandedQuiz]) -> list[Submission]:
    """Each submission, read within limits of time and memory; what goes wrong is its own problem, in a sentence."""
    return list(bounded.each(_read, handed, Submission, _unread))


def _unread(one: HandedQuiz, said: str) -> Submission:
    return Submission(one.student, one.quiz, "", f"what was handed in {said}")


def _read(one: HandedQuiz) -> Submission:
    try:
        text = _text_in(one, one.place) if one.place else _text_of(one, one.notebook)
        survey(text)
    except (NotebookError, ScriptError) as error:
        return _unread(one, plain(str(error)))
    except UnicodeDecodeError:
        return _unread(one, "is not UTF-8 text")
    except OSError as error:
        return _unread(one, f"cannot be read: {error.strerror or error}")
    except MemoryError:
        return _unread(one, f"cannot be read with {bounded.MEMORY_MB:,} MB of memory")
    except Exception as error:  # a reader's own mistake costs one submission, and is said
        return _unread(one, plain(f"cannot be read: {type(error).__name__}: {error}"[:500]))
    return Submission(one.student, one.quiz, text)


def _text_in(one: HandedQuiz, place: Path) -> str:
    """The text in a folder: of the script, or of the one notebook, whatever its name is."""
    if (place / f"{QUIZ}.py").exists():
        return text_of_script(read_file(place / f"{QUIZ}.py", LARGEST_FILE), {_ANSWER})
    names = sorted(path.name for path in place.iterdir() if path.suffix == ".ipynb" and path.name[0] != ".")
    name = f"{QUIZ}.ipynb" if f"{QUIZ}.ipynb" in names else names[0] if len(names) == 1 else ""
    if not name:
        raise NotebookError(f"has neither {QUIZ}.ipynb nor {QUIZ}.py in it")
    return _text_of(one, read_file(place / name, LARGEST_NOTEBOOK).decode("utf-8-sig"))


def _text_of(one: HandedQuiz, notebook: str) -> str:
    """The cell with the answers, and what it needs of the others."""
    cells, stub = cells_of_notebook(notebook), answer_cell(one.ids)
    # What was handed out comes first: some leave it as it is, and write `answer["..."] = 5` into a cell of their own.
    layout = (Cell("handed out", (), stub), Cell(_ANSWER, (_ANSWER,), stub))
    chosen = _chosen(cells, stub)
    marked = [
        {**cell, "metadata": {"nbgrader": {"grade_id": _ANSWER if number == chosen else ""}}}
        for number, cell in enumerate(cells)
    ]
    return source_of_notebook(json.dumps({"cells": marked}), QUIZ, LARGEST_FILE, layout)


def _chosen(cells: Sequence[Any], stub: str) -> int:
    """The cell with the answers: the last that sets `answer` and is not as it was handed out. -1 where there is none.

    It carries no mark of nbgrader's, which would empty a cell that students write in.
    """
    found = -1
    for number, cell in enumerate(cells):
        text = text_of_cell(cell)
        if cell.get("cell_type") == "code" and _ANSWERS.search(text) and text.strip() != stub.strip():
            found = number
    return found
