"""The notebook of a quiz: what is asked, a cell for the answers, and a graded cell a question."""

from collections.abc import Sequence

from nbformat import NotebookNode, v4

from grader.bank.layout import PART, SETUP
from grader.classroom.notebook import called, code_cell, markdown_cell
from grader.submissions.quiz import answer_cell

_ABOUT = """# Quiz: {quiz}

Each of you is asked for numbers of your own. What is right for your neighbour is wrong for you.

1. Run the next cell.
2. Write your name into the cell below it, as your course knows you, and run it: it prints your questions.
3. Write your answers into the cell that begins with `answer`.
"""

_HOW = """## Your answers

| asked for | write |
| --- | --- |
| a number | `"512 KiB"`, `"2*32*128"`, `"1/3"` or `524288`; without a unit it is in the one that is asked for |
| a choice or a line of code | its number: `2` |
| an order | all numbers: `[3, 1, 2]` |
| a gap, or what is printed | the text: `"n - 1"` |

You may compute an answer in Python, with numpy or torch. Decimals have a point: `1.5`. Leave `""` where you have none.

The cells below show what you answer, and, if the student edition of the katas is installed, how a number will be read.
"""

_SETUP = '''# Run this cell first: it brings `questions` and `check`. It is not graded.
quiz = "{quiz}"


def questions(name):
    """Print what the student of that name is asked."""
    import hashlib
    import json
    import unicodedata
    from pathlib import Path

    file = Path("{questions}")
    if not file.exists():
        print("The file {questions} was handed out with this notebook: put it beside it, and run this again.")
        return
    known = unicodedata.normalize("NFC", name.strip()).casefold()
    key = hashlib.sha256(known.encode("utf-8", "replace")).hexdigest()[:32]
    asked = json.loads(file.read_text(encoding="utf-8"))
    if key not in asked["students"]:
        print(f"Nobody is called '{{name}}' here. Write the name that your course knows you by; else ask your teacher.")
        return
    for id, text in zip(asked["questions"], asked["students"][key]):
        print(f"{{id}}\\n{{text}}\\n")


def check(question):
    """Show the answer to a question; and, where the student edition is installed, how a number will be read."""
    import os

    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        raise RuntimeError("this notebook is graded by grader.classroom: see docs/classroom.md")
    answers = globals().get("answer")
    given = answers.get(question) if isinstance(answers, dict) else None
    if given is None or str(given).strip() == "":
        print(f"{{question}}: no answer yet")
        return
    try:
        from grader.lab import read_as
    except ImportError:  # the student edition is not installed, or an older one
        print(f"{{question}}: you answer {{given!r}}")
    else:
        print(f"{{question}}: you answer {{given!r}}. {{read_as(question, given)}}".strip())
'''


def quiz_notebook(quiz: str, ids: Sequence[str], questions: str, points: float = 1.0) -> NotebookNode:
    """A quiz as nbformat 4.5. questions: the file beside it. points: of each question."""
    setup = _SETUP.format(quiz=quiz, questions=questions)
    cells = [
        markdown_cell("about", _ABOUT.format(quiz=quiz)),
        code_cell(SETUP, setup.rstrip("\n")),
        _own("name", 'questions("")  # your name between the quotes'),
        markdown_cell("how", _HOW),
        _own("answer", answer_cell(ids)),
    ]
    cells += [code_cell(f"{PART}{id.replace('.', '-')}", called(id), points=points) for id in ids]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook: NotebookNode = v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)
    return notebook


def _own(id: str, source: str) -> NotebookNode:
    """A cell that students write in. It has no marks of nbgrader's, which would take out its text."""
    cell: NotebookNode = v4.new_code_cell(source, id=id)
    return cell
