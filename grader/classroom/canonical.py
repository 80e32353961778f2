"""A submitted notebook as the course made it: its cells known again, or put back. Believes nothing that it reads.

Students break, delete, copy, reorder and rename cells, and nbgrader's own steps stop at some of that. What this gives
holds every cell that the course asks for once, with the course's own marks, and the student's own cells beside them.
Of the student's it holds text: what a page would take for markup is defused, except where it is the course's own text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from grader.classroom.markup import passive, passive_cell
from grader.submissions.notebook import NotebookError, cells_of_notebook, grade_id_of, source_of_cell

_KINDS = ("code", "markdown", "raw")
_LONGEST_CELL = 1 << 20
Texts = Mapping[str, dict[str, Any]]
"""Texts of cells that the course itself wrote, none of code, to the attachments of each."""


class Expected(msgspec.Struct, frozen=True):
    """A cell that the course asks for, as nbgrader's gradebook has it."""

    id: str
    kind: str
    source: str
    """As released."""
    marks: dict[str, Any]
    """The cell's `nbgrader` metadata."""

    @property
    def locked(self) -> bool:
        return bool(self.marks.get("locked"))


def canonical(text: str, expected: Sequence[Expected], own: Texts) -> dict[str, Any]:
    """The notebook, as nbformat 4.5. Raises NotebookError for a text that is no notebook.

    own: texts of the course, as `texts_of` gives them. They stay as they are.
    """
    own = {one.source: {} for one in expected if one.kind != "code"} | dict(own)
    return _notebook(_known(cells_of_notebook(text), {one.id: one for one in expected}, own), expected, own)


def texts_of(notebook: str) -> Texts:
    """What stands in a notebook of the teacher's beside its code. Raises NotebookError."""
    return {
        source_of_cell(cell, number): cell.get("attachments", {})
        for number, cell in enumerate(cells_of_notebook(notebook), 1)
        if cell.get("cell_type") != "code"
    }


def unreadable(problem: str, expected: Sequence[Expected], own: Texts) -> dict[str, Any]:
    """The notebook that takes the place of one that cannot be read: no answers, and the reason."""
    note = _new("markdown", passive(f"The notebook that was handed in {problem}."), {})
    notebook = _notebook([note], expected, own)
    notebook["metadata"]["grader"] = {"problem": problem[:500]}
    return notebook


def problem_of(notebook: Mapping[str, Any]) -> str:
    """Why the notebook that was handed in could not be read, or nothing."""
    said = notebook.get("metadata", {}).get("grader", {})
    problem = said.get("problem", "") if isinstance(said, Mapping) else ""
    return _whole(problem) if isinstance(problem, str) else ""


def _known(cells: Sequence[Any], expected: Mapping[str, Expected], own: Texts) -> list[dict[str, Any]]:
    """The submitted cells, cleaned; if several have one id, the last keeps it, as in nbgrader."""
    last = {grade_id_of(cell): number for number, cell in enumerate(cells)}
    out = []
    for number, cell in enumerate(cells):
        kind = cell.get("cell_type")
        try:
            source = source_of_cell(cell, number + 1)
        except NotebookError:
            source = ""
        one = expected.get(grade_id_of(cell))
        if one and last[one.id] == number:
            kind, source, marks = one.kind, one.source if one.locked else source, {"nbgrader": dict(one.marks)}
        else:
            kind, marks = kind if kind in _KINDS else "raw", {}
        attached: dict[str, Any] = own.get(source, {})
        if kind != "code" and source not in own:
            source, attached = passive_cell(source[:_LONGEST_CELL], cell.get("attachments"))
        out.append(_new(kind, source[:_LONGEST_CELL], marks, attached))
    return out


def _notebook(cells: list[dict[str, Any]], expected: Sequence[Expected], own: Texts) -> dict[str, Any]:
    """The cells with the missing ones put back, each behind the cell that it followed."""
    for number, one in enumerate(expected):
        places = {grade_id_of(cell): at for at, cell in enumerate(cells)}
        if one.id not in places:
            before = [places[other.id] for other in expected[:number] if other.id in places]
            at = before[-1] + 1 if before else 0
            cells.insert(at, _new(one.kind, one.source, {"nbgrader": dict(one.marks)}, own.get(one.source)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _new(kind: str, source: str, metadata: dict[str, Any], attached: dict[str, Any] | None = None) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": "", "metadata": metadata, "source": _whole(source)}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    elif attached:
        cell["attachments"] = attached
    return cell


def _whole(text: str) -> str:
    """Half a character (a lone surrogate) cannot be written to a file."""
    return text.encode("utf-8", "replace").decode()
