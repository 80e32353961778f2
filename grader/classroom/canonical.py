"""A submitted notebook as the course made it: its cells known again, or put back. Believes nothing that it reads.

Students break, delete, copy, reorder and rename cells, and nbgrader's own steps stop at some of that. What this gives
holds every cell that the course asks for once, with the course's own marks, and the student's own cells beside them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from grader.submissions.notebook import NotebookError, cells_of_notebook, grade_id_of, source_of_cell

_KINDS = ("code", "markdown", "raw")
_LONGEST_CELL = 1 << 20
_MOST_ATTACHED = 4 << 20


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


def canonical(text: str, expected: Sequence[Expected]) -> dict[str, Any]:
    """The notebook, as nbformat 4.5. Raises NotebookError for a text that is no notebook."""
    return _notebook(_known(cells_of_notebook(text), {one.id: one for one in expected}), expected)


def unreadable(problem: str, expected: Sequence[Expected]) -> dict[str, Any]:
    """What stands for a notebook that cannot be read: nothing answered, and the reason."""
    note = _new("markdown", f"The notebook that was handed in {problem}.", {})
    notebook = _notebook([note], expected)
    notebook["metadata"]["grader"] = {"problem": problem[:500]}
    return notebook


def problem_of(notebook: Mapping[str, Any]) -> str:
    """Why the notebook that was handed in could not be read, or nothing."""
    said = notebook.get("metadata", {}).get("grader", {})
    problem = said.get("problem", "") if isinstance(said, Mapping) else ""
    return problem if isinstance(problem, str) else ""


def _known(cells: Sequence[Any], expected: Mapping[str, Expected]) -> list[dict[str, Any]]:
    """The submitted cells, clean; of several with one id the last keeps it, as nbgrader has it."""
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
            source = one.source if one.locked else source
            out.append(_new(one.kind, source[:_LONGEST_CELL], {"nbgrader": dict(one.marks)}, _attached(cell, one.kind)))
        else:
            kind = kind if kind in _KINDS else "raw"
            out.append(_new(kind, source[:_LONGEST_CELL], {}, _attached(cell, kind)))
    return out


def _notebook(cells: list[dict[str, Any]], expected: Sequence[Expected]) -> dict[str, Any]:
    """With what is missing put back, each behind the cell that it followed."""
    for number, one in enumerate(expected):
        places = {grade_id_of(cell): at for at, cell in enumerate(cells)}
        if one.id not in places:
            before = [places[other.id] for other in expected[:number] if other.id in places]
            at = before[-1] + 1 if before else 0
            cells.insert(at, _new(one.kind, one.source, {"nbgrader": dict(one.marks)}))
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
    source = source.encode("utf-8", "replace").decode()  # half a character cannot be written to a file
    cell: dict[str, Any] = {"cell_type": kind, "id": "", "metadata": metadata, "source": source}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    elif attached:
        cell["attachments"] = attached
    return cell


def _attached(cell: Any, kind: str) -> dict[str, Any]:
    """The pictures in a text cell, where they have the form that nbformat asks for."""
    found = cell.get("attachments")
    if kind == "code" or not isinstance(found, dict) or len(json.dumps(found)) > _MOST_ATTACHED:
        return {}
    return {
        name: bundle
        for name, bundle in found.items()
        if isinstance(bundle, dict) and all(isinstance(data, str) for data in bundle.values())
    }
