"""A forbidden package's functions in C are taken away while calls are watched.

Python's profiler sees some of them, at a price that a loop of small calls cannot pay, and never a ufunc, or what Cython
and f2py make. So each name of a module that holds one (also a name in the learner's file) holds a refusal in its place.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any

_NOT_TAKEN = (type, FunctionType, ModuleType, MethodDescriptorType)
"""What is watched in another way, or is no call."""


@contextmanager
def hidden(packages: Sequence[str], offend: Callable[[str], None]) -> Iterator[None]:
    """With a refusal in the place of each of the packages' functions in C."""
    functions = {id(one): package for package in packages for one in _in_c(package)}
    spaces = list(_spaces()) if functions else []
    held = [(space, name, one) for space in spaces for name, one in space.items() if id(one) in functions]
    refusals = {package: _refusal(package, offend) for package in packages}
    try:
        for space, name, one in held:
            space[name] = refusals[functions[id(one)]]
        yield
    finally:
        for space, name, one in held:
            if any(space.get(name) is refusal for refusal in refusals.values()):  # unless it was given another value
                space[name] = one


def _spaces() -> Iterator[dict[str, Any]]:
    """The names of each module: those that Python lists, though they be frozen, and those that nothing lists."""
    modules = {id(one): one for one in [*sys.modules.values(), *gc.get_objects()] if type(one) is ModuleType}
    return map(vars, modules.values())


def _in_c(package: str) -> Iterator[Any]:
    """Of modules in C; what these have from numpy, or from Python itself, stays there."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and isinstance(module, ModuleType) and not _is_python(module):
            held = [one for one in vars(module).values() if callable(one) and not isinstance(one, _NOT_TAKEN)]
            yield from (one for one in held if not isinstance(one, BuiltinFunctionType) or _is_of(one, package))


def _is_of(function: BuiltinFunctionType, package: str) -> bool:
    home = function.__module__ or getattr(function.__self__, "__name__", "")
    return home.partition(".")[0] == package


def _is_python(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", None) or ".py").endswith((".py", ".pyc"))


def _refusal(package: str, offend: Callable[[str], None]) -> Callable[..., None]:
    def refused(*args: Any, **kwargs: Any) -> None:
        offend(package)

    return refused
