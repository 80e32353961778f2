"""Wrong answers: those an author wrote down in `mutants.toml`, and those that cosmic-ray's operators make."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from grader.bank.catalog import Facts, read_toml
from grader.bank.source import definition, definitions, replace_definition
from grader.base.errors import HouseError
from grader.base.text import nearest

T = TypeVar("T")


class Edit(Facts, frozen=True):
    """One change to the solution: a text that it, or one definition of it, holds once; or a whole definition."""

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


class Allowed(Facts, frozen=True):
    """A twin of a part, or a stale function, that the checks let pass, since nothing is promised against it."""

    twin: str
    part: str
    reason: str


class MutantFile(Facts, frozen=True):
    mutant: tuple[Mutant, ...] = ()
    right: tuple[Right, ...] = ()
    equivalent: tuple[Equivalent, ...] = ()
    allowed: tuple[Allowed, ...] = ()


def read_mutants(path: Path) -> MutantFile:
    return read_toml(path, MutantFile)


def apply(solution: str, change: Change, where: Path) -> str:
    """The solution with one entry of `mutants.toml` applied; raises HouseError if it does not fit."""
    text = solution
    edits = change.edits or (Edit(change.find, change.put, change.part, change.code),)
    for edit in edits:
        text = _edited(text, edit, f"{where}: '{change.name}'")
    if not compiles(text):  # any check catches what does not even load
        raise HouseError(f"{where}: '{change.name}' is not valid Python once it is applied.")
    return text


def _edited(text: str, edit: Edit, whose: str) -> str:
    """A text with one edit done. Raises HouseError where it does not fit."""
    match edit:
        case Edit(find=str(find), put=str(put), part=None, code=None):
            return _put(text, find, put, f"{whose}: the solution holds")
        case Edit(find=str(find), put=str(put), part=str(part), code=None):
            own = definition(text, _known(text, part, whose))
            return text.replace(own, _put(own, find, put, f"{whose}: '{part}' holds"), 1)
        case Edit(find=None, put=None, part=str(part), code=str(code)):
            return replace_definition(text, _known(text, part, whose), code)
    raise HouseError(f"{whose} needs `find` and `put`, with a `part` or without; or `part` and `code`; or `edits`.")


def _put(text: str, find: str, put: str, holds: str) -> str:
    count = text.count(find)
    if count != 1:
        raise HouseError(f"{holds} {find!r} {count} times, not once.")
    return text.replace(find, put)


def _known(text: str, part: str, whose: str) -> str:
    known = definitions(text)
    if part not in known:
        raise HouseError(f"{whose}: the solution defines no '{part}'.{nearest(part, known)}")
    return part


def compiles(text: str) -> bool:
    """Whether a text is valid Python."""
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def bare(text: str) -> str:
    """A text without its spaces and line ends."""
    return "".join(text.split())


def spread(things: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` of them, the same each time, from all over; None for all."""
    most = len(things) if limit is None else min(limit, len(things))
    return [things[i * len(things) // most] for i in range(most)]
