"""A learner's file that is put together from a notebook's cells: each line known by its cell again. Runs nothing.

A piece begins with a comment that names it; a text that begins so is a notebook's.
"""

import re
from functools import lru_cache

from grader.bank.source import lines_of

_REFUSES = "  # what stands here is not valid Python"
MISSING = "a cell that is missing"
_PIECE = re.compile(rf"^# (cell \d+|given code|{MISSING})$", re.MULTILINE)


def piece(what: str, text: str) -> str:
    """A piece of a file that is put together from a notebook: `cell 3`, `given code` or `MISSING`."""
    own = _PIECE.sub(r"#  \1", text)  # a comment like that of a student's own is none
    return f"# {what}\n{own.rstrip()}\n"


def is_of_notebook(text: str) -> bool:
    """Whether a text begins with a `piece`."""
    return bool(_PIECE.match(text))


def place(text: str, name: str, line: int) -> str:
    """Where a line stands, for whoever wrote it: `kv_cache.py:12`, or `cell 3, line 4` of a notebook.

    name: of the file. line: 0 where it is not known.
    """
    file, own = located(text, name, line)
    if not own:
        return file
    return f"{file}:{own}" if file == name else f"{file}, line {own}"


def located(text: str, name: str, line: int) -> tuple[str, int]:
    """The file or cell in which a line stands, and its number there: 0 where that is not known, or says nothing."""
    begin, what = next((one for one in reversed(_pieces(text)) if one[0] <= max(line, 1)), (0, ""))
    if not what:
        return name, line
    return what, 0 if what == MISSING or line <= begin else line - begin


def placed(said: str, text: str, name: str) -> str:
    """Python's own words on a syntax error, with the lines of a notebook in them as the places that they are."""
    return (
        re.sub(r"\bline (\d+)", lambda found: place(text, name, int(found[1])), said) if is_of_notebook(text) else said
    )


@lru_cache(maxsize=2)
def _pieces(text: str) -> list[tuple[int, str]]:
    """The line at which each piece of a notebook's text begins, and what it is."""
    if not is_of_notebook(text):
        return []
    return [(i, found[1]) for i, line in enumerate(lines_of(text), 1) if (found := _PIECE.fullmatch(line.rstrip("\n")))]


def refusing(name: str, said: str) -> str:
    """The text of a function that takes the place of one in a cell that is not Python, and says so when called."""
    body = f"    def __new__(cls, *args, **kwargs):\n        raise SyntaxError({said!r}){_REFUSES}\n"
    return f"class {name}:\n{body}"


def is_refusal(line: str) -> bool:
    """Whether a line is the one of `refusing` that raises."""
    return line.rstrip().endswith(_REFUSES)
