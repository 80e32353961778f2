"""The functions in Python that do the work of a forbidden name: its own, and its inner entries in the same module.

An inner entry is a private function, or a class, that a forbidden function reaches in its own module while no function
or class that may be called needs it. So `_single_tensor_sgd` goes with `torch.optim.SGD`, `CheckpointFunction` with
`checkpoint`, and `_no_grad_uniform_` stays beside `xavier_uniform_`, since `uniform_` needs it too.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import _lru_cache_wrapper, lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

_DEEPEST = 3
"""How deep functions may lie in a table of a module's: kernels by dispatch key, formulas by type of a distribution."""


def functions_of(targets: Mapping[str, Iterable[Any]]) -> dict[FunctionType, str]:
    """The functions whose calls are calls of a forbidden name, each with that name. targets: its objects by name."""
    nodes = {name: [unwrapped(target) for target in found] for name, found in targets.items()}
    forbidden = [node for found in nodes.values() for node in found]
    doing: dict[FunctionType, str] = {}
    for name, found in nodes.items():
        for node in found:
            for function in _own(node):
                doing.setdefault(function, name)
    for name, found in nodes.items():
        for one in (inner for node in found for inner in _inner(node, forbidden)):
            for function in _methods(one) if isinstance(one, type) else [one]:
                doing.setdefault(function, name)
    return doing


def unwrapped(target: Any) -> Any:
    """What a decorator wraps, to the innermost: a decorator's own code is shared by all that it decorates."""
    while type(target) in (FunctionType, _lru_cache_wrapper) and hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    return target


def of_package(package: str) -> set[FunctionType]:
    """All functions in Python that stand in the texts of a package, of those of its modules that are loaded."""
    found: set[FunctionType] = set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and isinstance(module, ModuleType):
            nodes = [one for one in map(unwrapped, vars(module).values()) if issubclass(type(one), type | FunctionType)]
            methods = [one for node in nodes for one in (_methods(node) if isinstance(node, type) else [node])]
            found.update(one for one in methods if one.__globals__["__name__"].partition(".")[0] == package)
    return found


def _own(node: Any) -> list[FunctionType]:
    """The function itself; of a class what it, its private bases and the subclasses that come with it define."""
    if not isinstance(node, type):
        return [node] if isinstance(node, FunctionType) else []
    bases = [base for base in node.__mro__[1:] if base.__module__ == node.__module__ and base.__name__.startswith("_")]
    found = [one for kind in (node, *bases, *_subclasses(node)) for one in _methods(kind)]
    made: Any = unwrapped(node.__init__)  # type: ignore[misc]  # of the class itself
    return [*found, made] if isinstance(made, FunctionType) and made not in found else found


def _subclasses(kind: type) -> Iterator[type]:
    """Those of the same package: a learner's own is theirs."""
    known: list[type] = type.__subclasses__(kind)
    for one in known:
        if one.__module__.partition(".")[0] == kind.__module__.partition(".")[0]:
            yield one
            yield from _subclasses(one)


def _methods(kind: type) -> list[FunctionType]:
    """The functions that stand in the text of a class, also those of its properties."""
    found: list[Any] = []
    for held in vars(kind).values():
        parts: tuple[Any, ...] = (
            (held.fget, held.fset) if isinstance(held, property) else (getattr(held, "__func__", held),)
        )
        found += [unwrapped(part) for part in parts]
    return [one for one in found if isinstance(one, FunctionType) and one.__qualname__.startswith(kind.__qualname__)]


def _home(node: Any) -> ModuleType | None:
    """The module whose text holds a function or class: `__module__` of some names another."""
    functions = _methods(node) if isinstance(node, type) else [node] if isinstance(node, FunctionType) else []
    return sys.modules.get(functions[0].__globals__["__name__"]) if functions else None


def _inner(node: Any, forbidden: list[Any]) -> list[Any]:
    """The inner entries of a forbidden function or class; a method has none but those of its class."""
    module = _home(node)
    if module is None or "." in node.__qualname__:
        return []
    public = _public(module)
    barred = {id(one) for one in forbidden}
    fronted = _reached([one for one in forbidden if isinstance(one, FunctionType) and _home(one) is module], module)
    behind = {id(one) for one in fronted if isinstance(one, type)}
    free = [one for one in public if id(one) not in barred | behind]
    needed = {id(one) for one in (*_reached(free, module, barred, tables=False), *forbidden)}
    mine = [one for one in _reached([node], module) if id(one) not in needed]
    names = {id(one) for one in public}
    return [one for one in mine if id(one) not in names or id(one) in behind]


def _public(module: ModuleType) -> list[Any]:
    """What a module offers. One without a list of it offers what has no underscore, unless it is private itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [] if "._" in module.__name__ else [name for name in vars(module) if not name.startswith("_")]
    return [one for name in names if _is_of(one := unwrapped(vars(module).get(name)), module)]


def _reached(seeds: Iterable[Any], module: ModuleType, barred: Iterable[int] = (), *, tables: bool = True) -> list[Any]:
    """The functions and classes of a module that the code of seeds reaches there, and the seeds.

    barred: ids of those that it does not go by way of. tables: also what lies in its dicts, lists and objects.
    """
    todo, seen, found = list(seeds), set(barred), []
    while todo:
        node = todo.pop()
        if id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            functions = _methods(node) if isinstance(node, type) else [node]
            names = {name for function in functions for name in _names(function.__code__)} & vars(module).keys()
            todo += [one for name in names for one in _held(vars(module)[name], module, _DEEPEST if tables else 0)]
    return found


@lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in _names(const)]
    return frozenset((*code.co_names, *inner))


def _held(value: Any, module: ModuleType, depth: int) -> Iterator[Any]:
    """A function or class of the module, or those that lie in a table or an object of it."""
    value = unwrapped(value)
    kind = type(value)  # `isinstance` would ask the object, and some of torch's warn
    if _is_of(value, module):
        yield value
    elif depth and issubclass(kind, dict | list | tuple):
        for one in value.values() if issubclass(kind, dict) else value:
            yield from _held(one, module, depth - 1)
    elif depth and kind.__module__.startswith("torch._higher_order_ops"):
        yield from _held(vars(value), module, depth - 1)


def _is_of(value: Any, module: ModuleType) -> bool:
    return issubclass(type(value), type | FunctionType) and _home(value) is module
