"""Are results that are kept by size refused? Each function in turn keeps its own so.

One of the same sizes, dtypes and plain values as before gives its first result again, or writes the new one over it.
Both give what the solution gives until a check calls twice with other numbers of the same sizes
(`grader.checks.again`). Nothing else is changed: the function runs each time, so that random numbers are drawn, objects
change and gradients pass as they should.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from grader.answering.cost import is_measured
from grader.answering.data import identical
from grader.audit.bench import Bench, Section
from grader.audit.mutants import MutantFile, spread
from grader.audit.spoiled import functions, put_around
from grader.bank.derived import stub_of
from grader.bank.source import definition
from grader.judging.pool import Variant

_EACH = 10
"""Of so many wrong answers that are tried, one is stale."""
KINDS = {
    "first result": "gives its first result again where other numbers of the same sizes come",
    "one buffer": "writes its results for the same sizes into one buffer, so that the earlier ones change",
}


class Stale(msgspec.Struct, frozen=True):
    """A function that keeps results by the sizes of what comes."""

    kind: str
    part: str
    function: str


def stale(bench: Bench, known: MutantFile, wrong: int | None) -> Section:
    """Each function in turn, or a share of them. wrong: how many wrong answers are tried; None for all."""
    stub = stub_of(bench.exercise)
    made = [
        Stale(kind, part, function)
        for kind in KINDS
        for part, function in functions(bench.solution, list(bench.exercise.parts))
        if definition(bench.solution, function) != definition(stub, function)  # else it is given
    ]
    chosen = spread(made, None if wrong is None else max(1, wrong // _EACH))
    allowed = {(one.twin, one.part) for one in known.allowed if one.twin in KINDS}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        variants = {
            Variant(str(i), _text(bench.solution, one, Path(folder, str(i))), only=(one.part,), stop_early=True): one
            for i, one in enumerate(chosen)
        }
        outcomes = bench.judge(list(variants))
        for variant, one in variants.items():
            passes = outcomes[variant.name].passed and Path(folder, variant.name).exists()
            is_allowed = (one.kind, one.function) in allowed
            if passes and not is_allowed:
                found.append(f"'{one.function}' {KINDS[one.kind]}, and no check of '{one.part}' fails.")
            if is_allowed and not passes:
                found.append(f"[[allowed]] twin = '{one.kind}' of '{one.function}' is refused: remove it.")
    unknown = allowed - {(one.kind, one.function) for one in made}
    found += [f"[[allowed]] twin = '{kind}': there is no function '{name}'." for kind, name in sorted(unknown)]
    return found, f"{len(chosen)} functions that keep results by size, each refused"


def _text(solution: str, one: Stale, mark: Path) -> str:
    return (
        f"{solution}\n\nfrom grader.audit.stale import keep\n\nkeep(globals(), {one.function!r}, {one.kind!r}, "
        f"{str(mark)!r})\n"
    )


def keep(module: dict[str, Any], name: str, kind: str, mark: str) -> None:
    """Let a function of the solution, whose names `module` holds, keep results by size; once it does, the file exists.

    Of a method each object keeps its own. While a cost is measured nothing is kept: it stays the solution's.
    """
    is_method = "." in name
    kept_of: dict[int, tuple[weakref.ref[Any], dict[str, Any]]] = {}

    def around(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        owner, came = args[0] if is_method else function, (args[is_method:], kwargs)
        given = [leaf for _, leaf in _leaves(came)]
        if is_measured() or not (is_method or any(map(_has_numbers, given))):
            return value
        if id(owner) not in kept_of or kept_of[id(owner)][0]() is not owner:
            kept_of[id(owner)] = weakref.ref(owner), {}
        kept, sizes = kept_of[id(owner)][1], str([(path, _size(leaf)) for path, leaf in _leaves(came)])

        def change(path: str, new: Any) -> Any:
            if not _is_data(new) or any(new is leaf for leaf in given):
                return new
            if kind == "one buffer" and not isinstance(new, torch.Tensor | np.ndarray):
                return new
            Path(mark).touch()
            with torch.no_grad():
                return _WAYS[kind](kept, f"{sizes} {path}", new)

        return _changed(value, change)

    put_around(module, name, around)


def _first_result(kept: dict[str, Any], key: str, new: Any) -> Any:
    first = kept.setdefault(key, _copy(new))
    return new if identical(first, new) else _in_place_of(new, _copy(first))


def _one_buffer(kept: dict[str, Any], key: str, new: Any) -> Any:
    buffer = kept.setdefault(f"{key} {_size(new)}", _copy(new))
    buffer[...] = new.detach() if isinstance(new, torch.Tensor) else new
    return _in_place_of(new, buffer)


_WAYS = {"first result": _first_result, "one buffer": _one_buffer}


def _in_place_of(new: Any, numbers: Any) -> Any:
    """Numbers in the memory where they lie, with the graph of a new result if they have its size."""
    if not isinstance(new, torch.Tensor) or not new.requires_grad or _size(new) != _size(numbers):
        return numbers
    with torch.enable_grad():
        out = new.clone()
    out.data = numbers
    return out


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    return value.copy() if isinstance(value, np.ndarray) else value


def _changed(value: Any, change: Callable[[str, Any], Any], path: str = "") -> Any:
    """Lists, tuples and dicts of other leaves."""
    if isinstance(value, list | tuple):
        items = [_changed(one, change, f"{path}[{i}]") for i, one in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return type(value)((key, _changed(one, change, f"{path}[{key!r}]")) for key, one in value.items())
    return change(path, value)


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """What lists, tuples and dicts hold, each with its path."""
    found: list[tuple[str, Any]] = []
    _changed(value, lambda path, leaf: found.append((path, leaf)))
    return iter(found)


def _is_data(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)
        return type(value) is torch.Tensor and not is_wrapped and value.layout is torch.strided and not value.is_meta
    return isinstance(value, np.ndarray | bool | int | float | complex | str | np.generic)


def _has_numbers(value: Any) -> bool:
    """Whether a value holds more than its size, or its type, tells."""
    return not isinstance(value, bool | int | float | complex | str | bytes | np.generic | torch.dtype | None)


def _size(value: Any) -> str:
    """All that is told of an argument: a plain value, sizes and dtypes, or the type of any other object."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__} {[_size(one) for one in value.state_dict().values()]}"
    return getattr(value, "__qualname__", type(value).__name__) if _has_numbers(value) else repr(value)
