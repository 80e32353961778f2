"""Wrong answers: those an author wrote down in `mutants.toml`, and those that cosmic-ray's operators make."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from grader.catalog import Facts, HouseError, nearest, read_toml
from grader.source import definitions, holder, read_source, regions, replace_definition


class Edit(Facts, frozen=True):
    """One change to the solution: a text that it holds once, or a whole definition."""

    find: str | None = None
    put: str | None = None
    part: str | None = None
    code: str | None = None


class Change(Facts, frozen=True, kw_only=True):
    """The solution with an edit, or with several."""

    name: str
    why: str = ""
    find: str | None = None
    put: str | None = None
    part: str | None = None
    code: str | None = None
    edits: tuple[Edit, ...] = ()


class Mutant(Change, frozen=True, kw_only=True):
    """A wrong answer, and the check that must fail on it."""

    caught_by: str


class Right(Change, frozen=True, kw_only=True):
    """A right answer that is written differently from the solution."""


class Equivalent(Facts, frozen=True):
    """A generated mutant that computes the same as the solution."""

    before: str
    after: str
    why: str


class MutantFile(Facts, frozen=True):
    mutant: tuple[Mutant, ...] = ()
    right: tuple[Right, ...] = ()
    equivalent: tuple[Equivalent, ...] = ()


class Generated(msgspec.Struct, frozen=True):
    """One change that an operator of cosmic-ray makes to one line of a solution."""

    text: str
    line: int
    before: str
    after: str
    part: str

    def is_(self, known: Equivalent) -> bool:
        return _bare(known.before) == _bare(self.before) and _bare(known.after) == _bare(self.after)


def read_mutants(path: Path) -> MutantFile:
    return read_toml(path, MutantFile)


def apply(solution: str, change: Change, where: Path) -> str:
    """The solution with one entry of `mutants.toml` applied; raises HouseError if it does not fit."""
    text = solution
    edits = change.edits or (Edit(change.find, change.put, change.part, change.code),)
    for edit in edits:
        if edit.find is not None and edit.put is not None and edit.part is None:
            count = text.count(edit.find)
            if count != 1:
                raise HouseError(f"{where}: '{change.name}': the solution holds {edit.find!r} {count} times, not once.")
            text = text.replace(edit.find, edit.put)
        elif edit.part is not None and edit.code is not None and edit.find is None:
            known = definitions(text)
            if edit.part not in known:
                raise HouseError(
                    f"{where}: '{change.name}': the solution defines no '{edit.part}'.{nearest(edit.part, known)}"
                )
            text = replace_definition(text, edit.part, edit.code)
        else:
            raise HouseError(f"{where}: '{change.name}' needs `find` and `put`, or `part` and `code`, or `edits`.")
    if not _compiles(text):  # any check catches what does not even load
        raise HouseError(f"{where}: '{change.name}' is not valid Python once it is applied.")
    return text


# cosmic-ray replaces each operator by every other one. Shifts and bit operators die of a TypeError on floats and only
# flatter the score; `is` for `==` asks about Python's cache of small integers.
_BINARY = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Add", "Div", "FloorDiv"),
    "Div": ("Mul", "FloorDiv", "Add"),
    "FloorDiv": ("Mul", "Div", "Mod"),
    "Mod": ("Mul", "FloorDiv", "Add"),
    "Pow": ("Mul", "Add", "Div"),
    "BitAnd": ("BitOr", "BitXor"),
    "BitOr": ("BitAnd", "BitXor"),
    "BitXor": ("BitAnd", "BitOr"),
    "LShift": ("RShift", "Mul"),
    "RShift": ("LShift", "FloorDiv"),
}
_LEFT_OUT = ("ReplaceBinaryOperator", "VariableReplacer", "VariableInserter", "RemoveDecorator")


def generate(solution: Path) -> Iterator[Generated]:
    """Every mutant of the marked regions of a solution, in the order of its lines; equal ones once."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = read_source(solution)
    tree, marked, lines = get_ast(text), regions(text), text.splitlines()
    places = []
    for name in _operators():
        operator = get_operator(name)()
        count = 0
        for node in ast_nodes(tree):
            for start, _ in operator.mutation_positions(node):
                if any(begin < start[0] < end for begin, end in marked):
                    places.append((start[0], name, count))
                count += 1
    seen = set()
    for line, name, occurrence in sorted(places):
        mutated = mutate_code(text, get_operator(name)(), occurrence)
        if mutated is None or mutated in seen or not _compiles(mutated):
            continue
        seen.add(mutated)
        changed = mutated.splitlines()
        # An operator may join or split lines: show all from the first to the last one that differ.
        first = next(i for i, (a, b) in enumerate(zip(lines, changed, strict=False)) if a != b)
        rest = next(i for i, (a, b) in enumerate(zip(lines[::-1], changed[::-1], strict=False)) if a != b)
        before = "\n".join(lines[first : len(lines) - rest]).strip()
        after = "\n".join(changed[first : len(changed) - rest]).strip()
        yield Generated(mutated, line, before, after, holder(text, line).split(".")[0])


def _operators() -> list[str]:
    from cosmic_ray.plugins import operator_names

    chosen = [name for name in operator_names() if not any(left in name for left in _LEFT_OUT) and not _mixes(name)]
    return chosen + [f"core/ReplaceBinaryOperator_{old}_{new}" for old, news in _BINARY.items() for new in news]


def _mixes(name: str) -> bool:
    """Whether an operator turns equality or order into identity, or the other way."""
    found = re.fullmatch(r"core/ReplaceComparisonOperator_(\w+)_(\w+)", name)
    return found is not None and (found[1] in ("Is", "IsNot")) != (found[2] in ("Is", "IsNot"))


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _bare(text: str) -> str:
    return "".join(text.split())
