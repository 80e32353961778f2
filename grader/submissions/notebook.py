"""The JSON text of a notebook, to the learner's source text. Runs nothing, and believes nothing that it reads.

Of a notebook of `grader course`, the answers count, and the definitions in cells of the student's own; the given code
is the exercise's, whatever the notebook says. Of another that nbgrader made, the solution cells count and the locked
cells that are not graded (imports, given code); of any other, every code cell does. Commands of IPython become `pass`,
each on its own line, so that the lines of an error are those of the cell. A cell `%%writefile <stem>.py` is the source,
by itself.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from grader.bank.layout import PART, SETUP, Cell
from grader.bank.pieces import MISSING, piece, place, placed, refusing
from grader.submissions.ipython import file_written, plain_python
from grader.submissions.statements import counted, defined, needed, without

LARGEST_NOTEBOOK = 20 << 20
"""In bytes; most of it are pictures that the cells have drawn."""
_MOST_CELLS = 10_000
_MOST_BRACKETS = 1_000_000
"""The object that `json` makes of a bracket takes up to 60 times its memory."""


class NotebookError(Exception):
    """Why there is no source in a notebook. The message goes on where the file's name stopped: "is not JSON: ..."."""


def source_of_notebook(text: str, stem: str, largest: int, layout: Sequence[Cell] = ()) -> str:
    """The Python source that a notebook holds, at most `largest` bytes of it. stem: the learner's file is `<stem>.py`.

    layout: the cells of the exercise's stub, by which a notebook of `grader course` is put together again.
    Raises NotebookError, and nothing else, whatever the text is.
    """
    cells = cells_of_notebook(text)
    if any(grade_id_of(cell) == one.id for cell in cells for one in layout if one.is_answer):
        joined = _put_together(cells, layout)
    else:
        chosen = [(number, source) for number, source in _chosen(cells) if source.strip()]
        if not chosen:
            raise NotebookError("has no code in it that counts: no solution cell, or none at all")
        pieces = file_written(chosen, stem) or [(number, plain_python(source)) for number, source in chosen]
        joined = "\n".join(piece(f"cell {number}", source) for number, source in pieces)
    try:
        size = len(joined.encode())
    except UnicodeEncodeError:
        raise NotebookError("holds half a character (a lone surrogate) in its code") from None
    if size > largest:
        raise NotebookError(f"holds {size:,} bytes of code, more than {largest:,}")
    return joined


def _put_together(cells: list[Any], layout: Sequence[Cell]) -> str:
    """The learner's file from a notebook of `grader course`, its cells in the order of the layout.

    Of two cells with one name the last counts, as nbgrader has it. A cell of the student's own stands before the answer
    that follows it; what it defines does not take the place of what an answer defines.
    """
    answers: dict[str, str] = {}
    own: dict[str, list[str]] = {}
    waiting: list[str] = []
    by_id = {cell.id: cell for cell in layout}
    for number, cell in enumerate(cells, 1):
        if cell.get("cell_type") != "code":
            continue
        id, source = grade_id_of(cell), piece(f"cell {number}", plain_python(source_of_cell(cell, number)))
        if id in by_id and by_id[id].is_answer:
            answers[id] = source
            own.setdefault(id, []).extend(waiting)
            waiting = []
        elif _nbgrader(cell) is None or not _is_ours(id, by_id):
            waiting.append(source)
    names = {name for cell in layout for name in cell.names}
    helpers = {id: [text for text in map(_readable, texts) if text] for id, texts in {**own, "": waiting}.items()}
    elsewhere = {name for some in helpers.values() for text in some for name in defined(text)}
    written = {
        id: _broken(source, by_id[id]) or source
        for id, source in answers.items()
        if not (elsewhere.issuperset(by_id[id].names) and _is_untouched(source, by_id[id]))
    }
    texts = [*written.values(), *(text for some in helpers.values() for text in some)]
    counts = needed(texts, names)
    taken = set().union(*map(defined, written.values()))
    out: list[str] = []
    for cell in layout:
        out += [counted(_without(text, taken), counts) for text in helpers.get(cell.id, ())]
        if not cell.is_answer:
            out.append(piece("given code", cell.text.strip("\n")))
        elif cell.id in written:
            out.append(counted(written[cell.id], counts))
        elif not elsewhere.issuperset(cell.names):
            out.append(piece(MISSING, cell.text.strip("\n")))
    out += [counted(_without(text, taken), counts) for text in helpers[""]]
    return "\n\n".join(out)


def _is_untouched(source: str, cell: Cell) -> bool:
    """Whether an answer is still the stub; its first line, which names its cell, does not count."""
    return source.partition("\n")[2].strip() == cell.text.strip()


def _is_ours(id: str, by_id: dict[str, Cell]) -> bool:
    return id in by_id or id == SETUP or id.startswith(PART)


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


def source_of_cell(cell: Any, number: int) -> str:
    """The text of a cell: a string, or a list of them. Line ends become \\n, as Python reads them.

    number: as a reader counts the cells, for the message of a NotebookError.
    """
    source = cell.get("source", "")
    pieces = source if isinstance(source, list) else [source]
    if not all(isinstance(piece, str) for piece in pieces):
        raise NotebookError(f"is no notebook: the source of its cell {number} is no text")
    return "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")


# ---- IPython
