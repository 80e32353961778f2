"""A learner's file and a marked solution as text: definitions, regions, stubs. Runs nothing."""

import ast
import io
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from grader.base.files import read_file

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
STUB = "raise NotImplementedError  # TODO: your code"


LARGEST_SOURCE = 64 << 20
"""In bytes: far more than is graded, and no more than is kept of what somebody wrote."""


class MarkerError(Exception):
    """Solution markers that do not pair up; the message names the line."""


def read_source(path: Path) -> str:
    """The text of a file, its line ends as they are; raises UnicodeDecodeError like Python, and OSError."""
    return read_file(path, LARGEST_SOURCE, links=True).decode("utf-8-sig")


def lines_of(text: str) -> list[str]:
    """The lines of a text, with their ends, as Python counts them; `str.splitlines` splits at form feeds and more."""
    return io.StringIO(text, newline="").readlines()


@lru_cache(maxsize=2)
def line_of(text: str) -> Callable[[int], str]:
    """Gives a line of a text by its number, from 1; "" where there is none. Made for many questions about one text."""
    lines = lines_of(text)
    return lambda number: lines[number - 1] if 0 < number <= len(lines) else ""


@lru_cache(maxsize=2)
def stub_lines(text: str) -> list[int]:
    """The numbers of the lines that raise as a stub does. Asked for every check of a part that has not been begun."""
    return [number for number, line in enumerate(lines_of(text), 1) if line.strip() == STUB]


def regions(text: str) -> list[tuple[int, int]]:
    """The marked regions, as (line of BEGIN, line of END), counted from 1."""
    found: list[tuple[int, int]] = []
    begin = 0
    for number, line in enumerate(lines_of(text), 1):
        mark = line.strip()
        if mark == BEGIN:
            if begin:
                raise MarkerError(f"line {number}: a second '{BEGIN}' before the '{END}' of line {begin}")
            begin = number
        elif mark == END:
            if not begin:
                raise MarkerError(f"line {number}: '{END}' without a '{BEGIN}'")
            found.append((begin, number))
            begin = 0
    if begin:
        raise MarkerError(f"line {begin}: '{BEGIN}' without an '{END}'")
    return found


def stub(text: str) -> str:
    """The learner's file: each marked region replaced by one line that raises, at the region's indentation."""
    lines = lines_of(text)
    for begin, end in reversed(regions(text)):
        marker = lines[begin - 1]
        indent = marker[: len(marker) - len(marker.lstrip())]
        lines[begin - 1 : end] = [f"{indent}{STUB}\n"]
    return "".join(lines)


@lru_cache(maxsize=4)
def definitions(text: str) -> Mapping[str, tuple[int, int]]:
    """Every top-level function and class, and every method as `Class.method`, to its (first, last) line."""
    found: dict[str, tuple[int, int]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = _span(node)
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                        found[f"{node.name}.{inner.name}"] = _span(inner)
    return MappingProxyType(found)


@lru_cache(maxsize=32)
def untouched(text: str, stub: str, names: tuple[str, ...]) -> bool:
    """Whether the definitions `names` stand in `text` as in `stub`, and what runs at import is the stub's too.

    That could bind a name anew, or patch a class.
    """
    if STUB not in text:
        return False  # as of most that are graded, and known without reading them as Python
    try:
        return _run_at_import(text) == _run_at_import(stub) and all(
            name in definitions(text) and _text_of(text, name) == _text_of(stub, name) for name in names
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # not Python; of a null byte; nested too deep
        return False


def survey(text: str) -> None:
    """Read a stranger's text once in every way in which it is read later, so that a limit of time can hold it."""
    try:
        definitions(text)
        untouched(text, text, ())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # who reads it later meets and says these
        return


def holder(text: str, line: int) -> str:
    """The innermost definition that holds a line: `KVCache.append`, or "" at module level."""
    spans = [(last - first, name) for name, (first, last) in definitions(text).items() if first <= line <= last]
    return min(spans)[1] if spans else ""


def definition(text: str, name: str) -> str:
    """The lines of the definition `name`, decorators with it. Raises KeyError if there is none."""
    first, last = definitions(text)[name]
    return "".join(lines_of(text)[first - 1 : last])


def replace_definition(text: str, name: str, code: str) -> str:
    """`text` with the definition `name` replaced by `code`, indented to its place. Raises KeyError if there is none."""
    first, last = definitions(text)[name]
    lines = lines_of(text)
    head = lines[first - 1]
    indent = head[: len(head) - len(head.lstrip())]
    body = textwrap.indent(textwrap.dedent(code).strip("\n"), indent)
    lines[first - 1 : last] = [body + "\n"]
    return "".join(lines)


def _text_of(text: str, name: str) -> list[str]:
    first, last = definitions(text)[name]
    return [line.rstrip("\r\n") for line in lines_of(text)[first - 1 : last]]


@lru_cache(maxsize=4)
def _run_at_import(text: str) -> list[str]:
    """What importing a text does besides making plain functions and classes."""
    return [ast.dump(node) for node in _executed(ast.parse(text).body)]


def _executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list
            heads = [node.args, *([node.returns] if node.returns else [])]
            calls = ast.Call | ast.NamedExpr
            yield from (inner for head in heads for inner in ast.walk(head) if isinstance(inner, calls))
        elif isinstance(node, ast.ClassDef):
            yield from (*node.bases, *node.keywords, *node.decorator_list)
            yield from _executed(node.body)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # but for a docstring
            yield node


def statement_lines(node: ast.stmt) -> range:
    """The lines of a statement, from 1, those of its decorators with them."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    return range(first, (node.end_lineno or node.lineno) + 1)


def _span(node: ast.stmt) -> tuple[int, int]:
    lines = statement_lines(node)
    return lines.start, lines.stop - 1
