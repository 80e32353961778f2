"""A learner's file cut into cells: code that is given, and one answer after the other. Runs nothing.

The cells of a text, joined, are the text. A notebook is made of them, and its answers are put back in their places.
"""

import ast
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from grader.bank.catalog import Exercise, Part
from grader.bank.source import lines_of, read_source, regions, stub

SETUP = "setup"
"""The name of a notebook's cell that brings `check`, and says which exercise it is of."""
ANSWER = "answer-"
PART = "part-"
"""The name of a part's graded cell begins with this."""
QUESTION = "question"
"""The name of the free-text cell."""
QUIZ = "quiz"
"""The notebook of a quiz is `quiz.ipynb`; a script may take its place, `quiz.py`."""


class Cell(msgspec.Struct, frozen=True):
    """Lines of a file that stand together."""

    id: str
    """`given-1`, `answer-KVCache`: kept once published, since notebooks that are out refer to it."""
    names: tuple[str, ...]
    """The names that it defines for its part; empty for given code."""
    text: str

    @property
    def is_answer(self) -> bool:
        return bool(self.names)


def cells_of(text: str, parts: Sequence[Part]) -> list[Cell]:
    """A marked solution in cells: what belongs to a part is an answer, and so is a helper with a marked region of its
    own, which goes with the part that follows; all else is given.
    """
    owner = {name: part.name for part in parts for name in part.names}
    marked = regions(text)
    blocks: list[tuple[str, int, tuple[str, ...]]] = []  # part, last line, names: from the last to the first
    below = ""
    for node in reversed(ast.parse(text).body):
        inside = [end for begin, end in marked if node.lineno <= begin <= (node.end_lineno or 0) + 1]
        name = getattr(node, "name", "")
        part = owner.get(name) or (below if inside else "")
        below = owner.get(name, below)
        last = max([node.end_lineno or node.lineno, *inside])
        names: tuple[str, ...] = (name,) if name in owner else ()
        if blocks and blocks[-1][0] == part:
            blocks[-1] = (part, blocks[-1][1], names + blocks[-1][2])
        else:
            blocks.append((part, last, names))
    lines, cells, first, seen = lines_of(text), [], 0, dict[str, int]()
    for number, (part, last, names) in enumerate(reversed(blocks), 1):
        end = len(lines) if number == len(blocks) else last
        kind = f"{ANSWER}{part}" if part else "given"
        seen[kind] = seen.get(kind, 0) + 1
        id = kind if part and seen[kind] == 1 else f"{kind}-{seen[kind]}"
        cells.append(Cell(id, names, "".join(lines[first:end])))
        first = end
    return cells


def exercise_named(setup: str) -> str:
    """The id of the exercise that a setup cell names, or nothing. An assignment may have any name."""
    named = re.search(r'check = exercise\("(\w+)", globals\(\)\)', setup)
    return named[1] if named else ""


def kinds_of(layout: Sequence[Cell]) -> dict[str, str]:
    """The names that nbgrader knows the cells of an exercise's notebook by, each to `code` or `markdown`."""
    parts = [cell.id.removeprefix(ANSWER) for cell in layout if cell.is_answer]
    codes = [SETUP, *(cell.id for cell in layout), *(f"{PART}{part}" for part in parts)]
    return {QUESTION: "markdown"} | dict.fromkeys(codes, "code")


def layout_of(exercise: Exercise) -> tuple[Cell, ...]:
    """The cells of an exercise's stub."""
    source = exercise.solution if exercise.solution.is_file() else exercise.released_stub
    return _layout(read_source(source), exercise.parts)


@lru_cache(maxsize=32)  # a class hands in all exercises, one student after the other
def _layout(solution: str, parts: Sequence[Part]) -> tuple[Cell, ...]:
    return tuple(msgspec.structs.replace(cell, text=stub(cell.text)) for cell in cells_of(solution, parts))
