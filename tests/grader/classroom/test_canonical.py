"""What nbgrader's door makes of a notebook before it is read gives the same text as the notebook itself."""

import copy
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.bank.layout import kinds_of, layout_of
from grader.bank.source import stub
from grader.classroom.canonical import Expected, canonical
from grader.classroom.notebook import source_notebook
from grader.submissions.notebook import NotebookError, source_of_notebook

EXERCISE = House(HERE / "house").exercises[ID]
LAYOUT = layout_of(EXERCISE)
SOLVED = source_notebook(EXERCISE)["cells"]
RELEASED = [{**cell, "source": stub(cell["source"])} for cell in copy.deepcopy(SOLVED)]


def marks(cell):
    return cell["metadata"].get("nbgrader", {})


EXPECTED = [
    Expected(marks(cell)["grade_id"], cell["cell_type"], cell["source"], marks(cell))
    for cell in RELEASED
    if marks(cell)
]


def own(source, kind="code"):
    return {"cell_type": kind, "metadata": {}, "source": source}


def put_together(cells):
    """The text, each line known by its cell aside; "" where there is no code at all."""
    try:
        text = source_of_notebook(json.dumps({"cells": cells}), EXERCISE.stem, 1 << 20, LAYOUT)
    except NotebookError:
        cells = [cell for cell in RELEASED if marks(cell)]
        text = source_of_notebook(json.dumps({"cells": cells}), EXERCISE.stem, 1 << 20, LAYOUT)
    text = re.sub(r"cell \d+|given code|a cell that is missing", "cell", text)
    return [line for line in text.splitlines() if line.strip()]


def assert_same(cells):
    seen = canonical(json.dumps({"cells": cells}), EXPECTED, {})["cells"]
    assert put_together(seen) == put_together(cells)
    again = canonical(json.dumps({"cells": seen}), EXPECTED, {})["cells"]
    assert put_together(again) == put_together(cells)


def test_the_names_of_all_cells_are_known():
    """Those that a notebook gets, and those by which it is read, are written in two modules."""
    kinds = kinds_of(LAYOUT)
    for cell in SOLVED:
        if marks(cell):
            assert kinds[marks(cell)["grade_id"]] == cell["cell_type"]
    assert kinds.keys() == {one.id for one in EXPECTED}


sources = st.sampled_from(
    [cell["source"] for cell in SOLVED if cell["cell_type"] == "code"]
    + [cell["source"] for cell in RELEASED if cell["cell_type"] == "code"]
    + ["", "import os", "def helper(x):\n    return x", "x = batch_mean(1)", "((", "assert 0", "\ud800", "%time",
       "def batch_mean(x):\n    return x", "class RunningMean:\n    break", "%matplotlib inline\n!ls", "a = 1; b = 2"]
)  # fmt: skip
ids = st.sampled_from([*kinds_of(LAYOUT), "part-hack", "answer-other", "given-9", "mine", None, 3])
kinds = st.sampled_from(["code", "markdown", "raw", "nonsense", None])
flags = st.booleans()


@st.composite
def strange_cell(draw):
    id = draw(ids)
    named = {"nbgrader": {"grade_id": id, "solution": draw(flags), "locked": draw(flags)}} if id is not None else {}
    return {"cell_type": draw(kinds), "metadata": named, "source": draw(sources)}


@st.composite
def notebooks(draw):
    cells = copy.deepcopy(draw(st.sampled_from([SOLVED, RELEASED])))
    for _ in range(draw(st.integers(0, 6))):
        if not cells:
            break
        at = draw(st.integers(0, len(cells) - 1))
        match draw(st.sampled_from(["drop", "copy", "kind", "strip", "text", "add", "move", "name"])):
            case "drop":
                del cells[at]
            case "copy":
                cells.insert(draw(st.integers(0, len(cells))), copy.deepcopy(cells[at]))
            case "kind":
                cells[at]["cell_type"] = draw(kinds)
            case "strip":
                cells[at]["metadata"] = {}
            case "text":
                cells[at]["source"] = draw(sources)
            case "add":
                cells.insert(at, draw(strange_cell()))
            case "move":
                cells.append(cells.pop(at))
            case "name":
                cells[at]["metadata"] = {"nbgrader": {"grade_id": draw(ids)}}
    return cells


@settings(max_examples=300)
@given(notebooks())
def test_both_doors_read_the_same_text(cells):
    assert_same(cells)


@pytest.mark.parametrize("keep", ["all", "none", "answers"])
def test_without_marks_both_doors_read_the_same_text(keep):
    cells = copy.deepcopy(SOLVED)
    for cell in cells:
        if keep == "none" or (keep == "answers" and not marks(cell).get("solution")):
            cell["metadata"] = {}
    assert_same(cells)
    assert "self.count" in "\n".join(put_together(cells))
