"""What stands in for a learner's predecessors: those parts of the reference, and nothing that the judged part is."""

import ast
from collections.abc import Iterable, Mapping, Set

import msgspec

from grader.bank.catalog import Exercise, Part
from grader.bank.source import lines_of, read_source, statement_lines


class StandIns(msgspec.Struct, frozen=True):
    """Definitions of the reference that take the place of a learner's own."""

    text: str
    """The solution, with what these definitions need and no other definition."""
    names: tuple[str, ...]


def standins_for(exercise: Exercise, part: Part, wrong: Iterable[str]) -> StandIns:
    """The reference of the parts `wrong`, on which `part` builds."""
    parts = [exercise.part(name) for name in wrong]
    names = tuple(name for one in parts for name in one.names)
    return StandIns(excerpt(read_source(exercise.solution), set(names), set(part.names)), names)


def excerpt(solution: str, names: Set[str], never: Set[str]) -> str:
    """A solution with the definitions that `names` need, themselves or through others, and without all other ones.

    never: definitions that are left out in any case.
    """
    body = ast.parse(solution).body
    known = {node.name: _reads(node) for node in body if isinstance(node, _DEFINITIONS)}
    left_out = known.keys() - _reached(known, names, never)
    unwanted = [node for node in body if (getattr(node, "name", "") in left_out) or _needs(node, left_out)]
    return _without(solution, unwanted)


def names_read(text: str) -> dict[str, set[str]]:
    """Each top-level function and class to all names that it reads, itself or through others of the text."""
    known = {node.name: _reads(node) for node in ast.parse(text).body if isinstance(node, _DEFINITIONS)}
    return {name: set().union(*(known[one] | {one} for one in _reached(known, {name}, set()))) for name in known}


def without_definitions(text: str, names: Iterable[str]) -> str:
    """A text whose definitions of `names` are empty lines. Raises SyntaxError."""
    return _without(text, [node for node in ast.parse(text).body if getattr(node, "name", "") in set(names)])


_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _reached(known: Mapping[str, set[str]], names: Set[str], never: Set[str]) -> set[str]:
    """The definitions among `known` that `names` lead to, through what each reads."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in known and name not in found | never:
            found.add(name)
            waiting += known[name]
    return found


def _needs(node: ast.stmt, left_out: Set[str]) -> bool:
    """Whether a statement that runs at import reads a definition that is left out."""
    return not isinstance(node, _DEFINITIONS) and bool(_reads(node) & left_out)


def _reads(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _without(text: str, unwanted: Iterable[ast.stmt]) -> str:
    lines = lines_of(text)
    for node in unwanted:
        for number in statement_lines(node):
            lines[number - 1] = "\n"
    return "".join(lines)
