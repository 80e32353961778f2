"""Copies of functions, heard as they are made: Python audits each way to make a function of code that is there already.

Held are a function made of another's code object, a function that is given another's code, and text that is compiled
and run again, as `exec(inspect.getsource(f))` and `importlib.reload` do. A copy whose text was edited before it runs is
a text of its own, which nobody can tell from an answer.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from grader.answering.alone import TORCH

_SHORTEST = 80
"""Bytes of code. A shorter function is a line or two, and another may be just so."""
_listeners: list[Callable[[CodeType], None]] = []
_is_laid = False


class Prints:
    """Tells functions, by what they were said to be, in what is made of their code or their text."""

    def __init__(self, functions: dict[FunctionType, str]) -> None:
        self._names: dict[CodeType, str] = {}
        self._alike: dict[Any, list[CodeType]] = {}
        for function, name in functions.items():
            for code in _codes(function.__code__):
                self._names[code] = name
                for key in _keys(code):
                    self._alike.setdefault(key, []).append(code)

    def found(self, made: CodeType) -> set[CodeType]:
        """The code of these functions of which `made`, or a function in it, is a copy."""
        return {
            one for inner in _codes(made) for key in _keys(inner) for one in self._alike.get(key, ()) if _is(inner, one)
        }

    def name(self, codes: Iterable[CodeType]) -> str | None:
        """What a function with one of these codes was said to be."""
        return next((self._names[code] for code in codes if code in self._names), None)


def _codes(code: CodeType) -> Iterator[CodeType]:
    if len(code.co_code) >= _SHORTEST:
        yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _keys(code: CodeType) -> tuple[Any, Any]:
    """What a copy has in common: the instructions, or the names where another `__future__` makes others of its text."""
    return code.co_code, (code.co_name, code.co_varnames, code.co_cellvars, code.co_freevars)


def _is(made: CodeType, code: CodeType) -> bool:
    """Whether code that has a key in common is a copy. Another file of torch's may hold the like."""
    is_other = made.co_filename != code.co_filename and made.co_filename.startswith(TORCH)
    return not is_other and set(code.co_names) <= set(made.co_names)


@contextmanager
def heard(tell: Callable[[CodeType], None]) -> Iterator[None]:
    """Call `tell` with all code that is about to become a function or to run as text inside, in any thread."""
    global _is_laid
    if not _is_laid:
        _is_laid = True
        sys.addaudithook(_hear)  # for good: Python has no way to take one off
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)


def _hear(event: str, args: Any) -> None:
    if _listeners and event in _MADE:
        code = args[_MADE[event]]
        for tell in list(_listeners) if isinstance(code, CodeType) else ():
            tell(code)


_MADE = {"exec": 0, "function.__new__": 0, "object.__setattr__": 2}
"""Python's audit events to the place of the code among what they tell."""
