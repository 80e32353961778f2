"""The interview questions that an exercise answers, with their answers: `exercises/<id>/questions.toml`.

One source for the statement, the terminal, the page and the notebook.
"""

import html
import re

from grader.bank.catalog import Exercise, Facts, read_toml
from grader.base.errors import HouseError
from grader.base.text import nearest


class Question(Facts, frozen=True):
    """A question of an interview. Plain text; backticks around code, `$...$` around a formula."""

    asks: str
    part: str
    """The part whose work answers it."""
    answer: str
    """Two to six sentences."""


class _QuestionsFile(Facts, frozen=True):
    question: tuple[Question, ...] = ()


def read_questions(exercise: Exercise) -> tuple[Question, ...]:
    """The questions in the order of the file, or none where there is no file.

    Raises HouseError that names the file, and the unknown key or part with the nearest one known.
    """
    path = exercise.given / "questions.toml"
    if not path.exists():
        return ()
    questions = read_toml(path, _QuestionsFile).question
    names = [part.name for part in exercise.parts]
    for question in questions:
        if question.part not in names:
            raise HouseError(
                f"{path}: '{question.asks}' is answered by '{question.part}', which is no part."
                f"{nearest(question.part, names)}"
            )
        if not question.answer.strip():
            raise HouseError(f"{path}: '{question.asks}' has no answer.")
    return questions


def folded(questions: tuple[Question, ...]) -> str:
    """The questions for a statement, each with its answer folded below it: Markdown.

    An answer stays one line: a break before `-` or `+` would begin a list.
    """
    return "".join(
        f"\n<details><summary>{_as_html(one.asks)}</summary>\n\n{' '.join(one.answer.split())} (`{one.part}`)\n"
        "</details>\n"
        for one in questions
    )


def _as_html(text: str) -> str:
    return re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(text, quote=False))
