"""An exercise as a notebook for nbgrader: the statement, one solution cell an answer, one graded cell a part.

A graded cell holds a call, not the checks. In the student's kernel it runs the visible examples; `nbgrader autograde`
does not run it at all, and `preprocessor.GradeParts` writes its score.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import nbformat
from msgspec.structs import replace
from nbformat import NotebookNode, v4

from grader.bank.catalog import Exercise, Part
from grader.bank.derived import stub_of
from grader.bank.layout import PART, QUESTION, SETUP, cells_of
from grader.bank.source import read_source
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import NOT_BEGUN, Verdict

_SETUP = '''# Run this cell first: it brings the `check` that stands below each part. It is not graded.
try:
    from grader.lab import exercise

    check = exercise("{id}", globals())
except ModuleNotFoundError:
    import os

    def check(part):
        """Stands in where the package with the examples is not installed."""
        if os.environ.get("NBGRADER_EXECUTION") == "autograde":
            raise RuntimeError("this notebook is graded by grader.classroom: see docs/classroom.md")
        print(f"{{part}}: the examples are not installed here. You can write your answer and hand it in all the same.")
        print("To see examples pass, install the folder that your teacher gave you: pip install dl-kata-student/")
'''

_CALLED = re.compile(r'check\("([\w.]+)"\)', re.ASCII)

_QUESTION = """## In your own words

Choose one of the interview questions above and answer it in a few sentences of your own, as you would at a whiteboard,
before you open the answer that stands there. A person reads the cell below."""
_ANSWER = "YOUR ANSWER HERE"  # what nbgrader puts there itself


def source_notebook(exercise: Exercise, question_points: float = 0.0) -> NotebookNode:
    """The teacher's notebook, solutions in it, as nbformat 4.5. question_points: of the free-text cell."""
    return _notebook(exercise, read_source(exercise.solution), question_points)


def _notebook(exercise: Exercise, source: str, question_points: float = 0.0) -> NotebookNode:
    """source: the marked solution, or the stub."""
    cells = [markdown_cell("statement", _statement(exercise)), _locked(SETUP, _SETUP.format(id=exercise.id))]
    answers = cells_of(source, exercise.parts)
    last = {
        part.name: [c.id for c in answers if part.name == _part_of(c.names, exercise)][-1] for part in exercise.parts
    }
    begun: set[str] = set()
    for cell in answers:
        text = cell.text.strip("\n")
        if not cell.is_answer:
            cells.append(_locked(cell.id, text))
            continue
        name = _part_of(cell.names, exercise)
        part = exercise.part(name)
        if name not in begun:
            begun.add(name)
            cells.append(markdown_cell(f"about-{name}", _about(part)))
        cells.append(code_cell(cell.id, text, solution=True))
        if cell.id == last[name]:
            cells.append(code_cell(f"{PART}{name}", called(name), points=part.points))
    cells += [markdown_cell("about-question", _QUESTION), _question(question_points)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook: NotebookNode = v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)
    return notebook


_PRACTICE = """# Run this cell first: it brings the `check` that stands below each part.
from grader.lab import practice

check = practice("{id}", globals())
"""


def practice_notebook(exercise: Exercise) -> NotebookNode:
    """The notebook of one who practises: the same cells, stubs in them, and checks that run in full.

    In a student edition `check` runs the visible examples.
    """
    notebook = _notebook(exercise, stub_of(exercise))
    left_out = {_cell_id(id) for id in ("about-question", QUESTION)}
    notebook.cells = [cell for cell in notebook.cells if cell.id not in left_out]
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.source = _PRACTICE.format(id=exercise.id).rstrip("\n") if cell.id == SETUP else cell.source
    return notebook


def called(name: str) -> str:
    """The text of the graded cell of a part, or of a question of a quiz."""
    return f'check("{name}")'


def part_named(id: str, source: str) -> str:
    """The part, or the question of a quiz, that a graded cell stands for; nothing for a cell that is none of ours."""
    found = _CALLED.fullmatch(source.strip())
    return found[1] if found and id == f"{PART}{found[1].replace('.', '-')}" else ""


class Shown(msgspec.Struct, frozen=True):
    """What a graded cell shows, as data: kept in the metadata of its output, for the report of a class."""

    verdict: str = ""
    mistake: str = ""
    """The known mistake, the property that does not hold, or what was raised; empty where nothing is wrong yet."""
    problem: str = ""
    """Why the whole notebook could not be read."""
    source: str = ""
    """The hash of what was judged; empty where the stub stands as it was."""
    seed: int | None = None
    isolation: str = ""
    versions: dict[str, str] = {}
    """What the judgement depended on: who contests a mark has it repeated."""


_SHOWN = "grader"
_LONGEST_PROBLEM = 300


def shown(part: PartResult | None, result: Result | None, problem: str) -> dict[str, Any]:
    """The metadata of the output that shows a part. part: None for one that no judge has seen; result: as it.

    problem: why the notebook cannot be read.
    """
    verdict = part.verdict if part else Verdict.ERROR if problem else Verdict.NOT_RUN
    told = Shown(str(verdict), problem=problem[:_LONGEST_PROBLEM])
    if part and result:
        told = replace(
            told,
            mistake="" if problem else part.mistake,
            source="" if part.verdict in NOT_BEGUN else result.source,
            seed=result.seed,
            isolation=result.isolation,
            versions=result.versions,
        )
    return {_SHOWN: msgspec.to_builtins(told)}


def read_shown(cell: Mapping[str, Any]) -> Shown:
    """What a graded cell shows; nothing where it was not graded by us."""
    for output in cell.get("outputs", []):
        try:
            return msgspec.convert(output["metadata"][_SHOWN], Shown)
        except (KeyError, TypeError, msgspec.ValidationError):
            continue
    return Shown()


def as_text(notebook: NotebookNode) -> str:
    """A notebook as Jupyter writes it. Raises nbformat's ValidationError for one that is none."""
    nbformat.validate(notebook)
    return f"{v4.writes(notebook)}\n"


def _part_of(names: Iterable[str], exercise: Exercise) -> str:
    return next((part.name for part in exercise.parts for name in names if name in part.names), "")


def _statement(exercise: Exercise) -> str:
    """The README without its marks and its figure, a file that a course does not hand out."""
    text = exercise.statement.read_text(encoding="utf-8")
    text = re.sub(r"<!-- figure -->.*?<!-- /figure -->\n*", "", text, flags=re.DOTALL)
    return re.sub(r"<!--.*?-->\n?", "", text).strip() + "\n"


def _about(part: Part) -> str:
    hints = "".join(
        f"\n<details><summary>Hint {i}</summary>\n\n{hint.strip()}\n</details>\n"
        for i, hint in enumerate(part.hints, 1)
    )
    after = f" · after {', '.join(part.after)}" if part.after else ""
    return f"## {part.name}\n\n{part.points} points · about {part.minutes} minutes{after}\n{hints}"


def _cell_id(id: str) -> str:
    """A name in the letters that nbformat allows for the id of a cell."""
    return re.sub(r"[^a-zA-Z0-9-]", "-", id)[:64]


def markdown_cell(id: str, source: str) -> NotebookNode:
    """A cell of text. id: of nbformat, from which other characters than it allows fall away."""
    cell: NotebookNode = v4.new_markdown_cell(source, id=_cell_id(id))
    return cell


def _marked(cell: NotebookNode, id: str, **marks: Any) -> NotebookNode:
    marks = {"grade": False, "locked": False, "solution": False, "task": False, **marks}
    cell.metadata = NotebookNode(nbgrader={"grade_id": id, "schema_version": 3, **marks})
    return cell


def code_cell(id: str, source: str, *, solution: bool = False, points: float | None = None) -> NotebookNode:
    """A cell that nbgrader knows by its id: graded where it has points, else an answer (`solution`), else locked."""
    cell = v4.new_code_cell(source, id=_cell_id(id))
    if points is None:
        return _marked(cell, id, solution=solution, locked=not solution)
    return _marked(cell, id, grade=True, locked=True, points=points)


def _locked(id: str, source: str) -> NotebookNode:
    return code_cell(id, source.rstrip("\n"))


def _question(points: float) -> NotebookNode:
    return _marked(markdown_cell(QUESTION, _ANSWER), QUESTION, grade=True, solution=True, points=points)
