"""A forbidden package's functions in C: Python's profiler sees those that it calls built-in, the others are taken away.

A ufunc, or what Cython and f2py make, runs unseen. So while calls are watched, each name of a module that holds one of
the package's (also a name in the learner's file) holds a refusal in its place.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any

_SEEN = (type, FunctionType, ModuleType, BuiltinFunctionType, MethodDescriptorType)
"""What is watched in another way, or is no call."""


def package_of(called: Any, packages: Sequence[str]) -> str | None:
    """The package among these that a function in C, as the profiler names it, belongs to."""
    owner = called.__self__
    if not isinstance(owner, ModuleType | type):
        owner = type(owner)
    homes = (getattr(called, "__module__", None), owner.__name__ if isinstance(owner, ModuleType) else owner.__module__)
    return next((one.partition(".")[0] for one in homes if isinstance(one, str) and _is_in(one, packages)), None)


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return module.partition(".")[0] in packages


@contextmanager
def hidden(packages: Sequence[str], offend: Callable[[str], None]) -> Iterator[None]:
    """With a refusal in the place of each of the packages' functions that the profiler does not see."""
    unseen = {id(one): package for package in packages for one in _unseen(package)}
    spaces = [vars(one) for one in gc.get_objects() if type(one) is ModuleType] if unseen else []
    held = [(space, name, one) for space in spaces for name, one in space.items() if id(one) in unseen]
    refusals = {package: _refusal(package, offend) for package in packages}
    try:
        for space, name, one in held:
            space[name] = refusals[unseen[id(one)]]
        yield
    finally:
        for space, name, one in held:
            if any(space.get(name) is refusal for refusal in refusals.values()):  # unless it was given another value
                space[name] = one


def _unseen(package: str) -> Iterator[Any]:
    """Of modules in C, so that what a module in Python has from numpy stays numpy's."""
    for name, module in list(sys.modules.items()):
        if _is_in(name, (package,)) and isinstance(module, ModuleType) and not _is_python(module):
            yield from (one for one in vars(module).values() if callable(one) and not isinstance(one, _SEEN))


def _is_python(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", None) or ".py").endswith((".py", ".pyc"))


def _refusal(package: str, offend: Callable[[str], None]) -> Callable[..., None]:
    def refused(*args: Any, **kwargs: Any) -> None:
        offend(package)

    return refused
