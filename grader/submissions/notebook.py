"""The JSON text of a notebook, to the learner's source text. Runs nothing, and believes nothing that it reads.

With the layout of an exercise, the answers count, the definitions in cells of the student's own, and what these need;
the given code is the exercise's, whatever the notebook says. A cell `%%writefile <stem>.py` is the source by itself,
where no answer is written. Commands of IPython become `pass`, each on its own line, so that the lines of an error are
those of the cell. Every door puts an attempt together here.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from grader.bank.layout import Cell, exercise_named, kinds_of
from grader.bank.pieces import MISSING, piece, place, placed, refusing
from grader.submissions.ipython import file_written, plain_python
from grader.submissions.statements import counted, defined, needed, without, without_trials

LARGEST_NOTEBOOK = 20 << 20
"""In bytes; most of it are pictures that the cells have drawn."""
_NO_CODE = "has no code in it that counts: no solution cell, or none at all"
_MOST_CELLS = 10_000
_MOST_BRACKETS = 1_000_000
"""The object that `json` makes of a bracket takes up to 60 times its memory."""


class NotebookError(Exception):
    """Why there is no source in a notebook. The message goes on where the file's name stopped: "is not JSON: ..."."""


def source_of_notebook(text: str, stem: str, largest: int, layout: Sequence[Cell] = ()) -> str:
    """The Python source that a notebook holds, at most `largest` bytes of it. stem: the learner's file is `<stem>.py`.

    layout: the cells of the exercise's stub, by which the learner's file is put together again.
    Raises NotebookError, and nothing else, whatever the text is.
    """
    cells = cells_of_notebook(text)
    if layout:
        known = _known(cells, kinds_of(layout))
        if not any(source.strip() for _, _, source in known):
            raise NotebookError(_NO_CODE)
        _need_small(sum(len(source) for _, _, source in known), largest)
        joined = _put_together(known, layout, stem)
    else:
        chosen = [(number, source) for number, source in _chosen(cells) if source.strip()]
        if not chosen:
            raise NotebookError(_NO_CODE)
        pieces = file_written(chosen, stem) or [(number, plain_python(source)) for number, source in chosen]
        joined = _joined(pieces)
    _need_small(len(joined.encode()), largest)
    return joined


def is_of(cells: Sequence[Any], id: str, answers: Set[str]) -> bool:
    """Whether cells are of a notebook that `grader course` made for an exercise: they say so, or have its names.

    answers: the names of its cells for answers.
    """
    named = {exercise_named(text_of_cell(cell)) for cell in cells} - {""}
    return id in named or (not named and any(grade_id_of(cell) in answers for cell in cells))


def _need_small(size: int, largest: int) -> None:
    """Looked at before anything is parsed."""
    if size > largest:
        raise NotebookError(f"holds {size:,} bytes of code, more than {largest:,}")


def _joined(pieces: Iterable[tuple[int, str]]) -> str:
    return "\n".join(piece(f"cell {number}", source) for number, source in pieces)


def _known(cells: Sequence[Any], kinds: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """Of each cell that is code its number as a reader counts it, the course's name for it or nothing, and its text.

    Students break, copy and rename cells, and change their kind. Of several cells with one name the last keeps it, as
    nbgrader has it, and it is code or text as the course made it; the others are the student's own.
    """
    last = {grade_id_of(cell): number for number, cell in enumerate(cells, 1)}
    found = []
    for number, cell in enumerate(cells, 1):
        id = grade_id_of(cell)
        if id not in kinds or last[id] != number:
            id = ""
        if (kinds[id] if id else cell.get("cell_type")) == "code":
            found.append((number, id, text_of_cell(cell)))
    return found


def _put_together(cells: list[tuple[int, str, str]], layout: Sequence[Cell], stem: str) -> str:
    """The learner's file from a notebook, its cells in the order of the layout.

    The given code is the exercise's, whatever the notebook says. A cell of the student's own stands before the next
    answer that has been begun; what it defines does not take the place of what an answer defines.
    """
    by_id = {cell.id: cell for cell in layout if cell.is_answer}
    names = {name for cell in layout for name in cell.names}
    begun, own = _sorted(cells, by_id)
    written = {id: _broken(source, by_id[id]) or source for id, source in begun.items()}
    taken = set().union(*map(defined, written.values()))
    pieces = file_written([(number, text) for number, _, text in cells], stem)
    if pieces and not taken & names:
        return without_trials(_joined(pieces), names)
    there = taken.union(*(defined(text) for texts in own.values() for text in texts))
    numbers = {id: f"cell {number}" for number, id, _ in cells}
    for id, cell in by_id.items():
        if id not in begun and not there.issuperset(cell.names):
            written[id] = piece(numbers.get(id, MISSING), cell.text.strip("\n"))
            taken.update(cell.names)
    counts = needed([*written.values(), *(text for texts in own.values() for text in texts)], names)
    out: list[str] = []
    for cell in layout:
        out += [counted(_without(text, taken), counts) for text in own.get(cell.id, ())]
        if not cell.is_answer:
            out.append(piece("given code", cell.text.strip("\n")))
        elif cell.id in written:
            out.append(counted(written[cell.id], counts))
    out += [counted(_without(text, taken), counts) for text in own.get("", ())]
    return "\n\n".join(out)


def _sorted(
    cells: list[tuple[int, str, str]], by_id: Mapping[str, Cell]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The answers that have been begun; and the cells of the student's own that are Python, each under the answer that
    follows it, the last ones under "".
    """
    stubs = {cell.text.strip() for cell in by_id.values()}
    begun: dict[str, str] = {}
    own: dict[str, list[str]] = {}
    waiting: list[str] = []
    for number, id, text in cells:
        source = piece(f"cell {number}", plain_python(text))
        if text.strip() in stubs or exercise_named(text):
            continue  # a stub, also a copy of one, says nothing; nor does the cell that brings `check`
        if id in by_id:
            begun[id], own[id], waiting = source, waiting, []
        elif not id:
            waiting += filter(None, [_readable(source)])
    return begun, {**own, "": waiting}


def _readable(source: str) -> str:
    """A cell that the student added, or "" if it is not Python."""
    return "" if _error_in(source) else source


def _broken(source: str, cell: Cell) -> str:
    """Takes the place of an answer that is not Python, and says so when it is called; other answers still count."""
    error = _error_in(source)
    if error is None:
        return ""
    line = getattr(error, "lineno", None) or 0
    said = placed(str(getattr(error, "msg", None) or error), source, "")
    said = f"{place(source, '', line)} is not valid Python: {said or type(error).__name__}"
    return source.splitlines()[0] + "".join(f"\n{refusing(name, said)}" for name in cell.names)


def _error_in(source: str) -> Exception | None:
    """Why a cell is no Python. Some of it only the compiler knows, such as a `break` outside a loop."""
    try:
        needed([counted(source, set())], set())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for the student to read, not for who grades
            compile(source, "cell", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error
    return None


def _without(text: str, names: set[str]) -> str:
    """A text without the definitions of these names, its lines where they were."""
    return without(text, lambda node: getattr(node, "name", "") in names)


def grade_id_of(cell: Any) -> str:
    """The name that nbgrader knows a cell by, or nothing."""
    id = (_nbgrader(cell) or {}).get("grade_id")
    return id if isinstance(id, str) else ""


def cells_of_notebook(text: str) -> list[Any]:
    """The cells of a notebook, each a dict of whatever. Raises NotebookError."""
    if len(text) > LARGEST_NOTEBOOK:
        raise NotebookError(f"has {len(text):,} characters, more than {LARGEST_NOTEBOOK:,}")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise NotebookError(f"has more than {_MOST_BRACKETS:,} brackets")
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise NotebookError("is nested too deeply") from None
    except ValueError as error:  # not only JSONDecodeError: a number of 5,000 digits is a plain ValueError
        raise NotebookError(f"is not JSON, as a notebook is: {error}") from None
    if not isinstance(notebook, dict):
        raise NotebookError("is no notebook: its JSON is not an object")
    if "worksheets" in notebook:
        raise NotebookError("is a notebook of an old format: open it in Jupyter, and save it again")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise NotebookError("is no notebook: it has no list of cells")
    if len(cells) > _MOST_CELLS:
        raise NotebookError(f"has {len(cells):,} cells, more than {_MOST_CELLS:,}")
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict):
            raise NotebookError(f"is no notebook: its cell {number} is not an object")
    return cells


def _chosen(cells: list[Any]) -> Iterator[tuple[int, str]]:
    """The cells that make up the source, each with its number as a reader counts it, from 1."""
    of_nbgrader = any(_nbgrader(cell) is not None for cell in cells)
    for number, cell in enumerate(cells, 1):
        if cell.get("cell_type") != "code":
            continue
        if of_nbgrader:
            marks = _nbgrader(cell) or {}
            if marks.get("grade") is True or True not in (marks.get("solution"), marks.get("locked")):
                continue
        yield number, source_of_cell(cell, number)


def _nbgrader(cell: Any) -> dict[str, Any] | None:
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return marks if isinstance(marks, dict) else None


def text_of_cell(cell: Any) -> str:
    """The text of a cell; nothing where it has none that can be read."""
    try:
        return source_of_cell(cell, 0)
    except NotebookError:
        return ""


def source_of_cell(cell: Any, number: int) -> str:
    """The text of a cell: a string, or a list of them. Line ends become \\n, as Python reads them; half a character
    (a lone surrogate), which no file can hold, becomes a question mark.

    number: as a reader counts the cells, for the message of a NotebookError.
    """
    source = cell.get("source", "")
    pieces = source if isinstance(source, list) else [source]
    if not all(isinstance(piece, str) for piece in pieces):
        raise NotebookError(f"is no notebook: the source of its cell {number} is no text")
    text = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace").decode()
