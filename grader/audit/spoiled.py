"""Is each result looked at, and does the message name whose it is? Each function in turn gives back something else.

In place of what it promises it gives None, the first of several values, a list for a tensor, or another dtype. The
checks of its part must fail, with the function's name in the message.
"""

import ast
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from grader.audit.bench import Bench, Section
from grader.audit.mutants import spread
from grader.bank.catalog import Part
from grader.judging.pool import Outcome, Variant

_EACH = 10
"""Of so many wrong answers that are tried, one is spoiled."""
_PATIENCE = 60.0
"""Seconds for a check: whose result it was is asked after the check itself, where there is time left."""


def _half(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype is not torch.float16:
        return value.half()
    return value.astype(np.float16) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


WAYS: dict[str, Callable[[Any], Any]] = {
    "None": lambda value: None,
    "one value": lambda value: value[0] if isinstance(value, tuple) and len(value) > 1 else value,
    "a list": lambda value: list(value) if len(getattr(value, "shape", ())) else value,
    "another dtype": _half,
}


class Spoiled(msgspec.Struct, frozen=True):
    """A function that gives back something else."""

    part: str
    function: str
    way: str


def spoiled(bench: Bench, wrong: int | None) -> Section:
    """Each function in turn, or a share of them. wrong: how many wrong answers are tried; None for all."""
    made = [
        Spoiled(part, function, way)
        for way in WAYS
        for part, function in functions(bench.solution, list(bench.exercise.parts))
    ]
    chosen = spread(made, None if wrong is None else max(1, wrong // _EACH))
    with tempfile.TemporaryDirectory() as folder:
        variants = {
            Variant(
                str(i),
                _text(bench.solution, one, Path(folder, str(i))),
                only=(one.part,),
                stop_early=True,
                check_seconds=_PATIENCE,
            ): one
            for i, one in enumerate(chosen)
        }
        outcomes = bench.judge(list(variants))
        found = [
            said
            for variant, one in variants.items()
            if (said := _amiss(one, outcomes[variant.name], is_other=Path(folder, variant.name).exists()))
        ]
    return found, f"{len(chosen)} functions that give back something else, each named"


def functions(text: str, parts: list[Part]) -> list[tuple[str, str]]:
    """The functions and methods of some parts that give something back, as (part, `KVCache.append`)."""
    return [
        (part.name, name)
        for node in ast.parse(text).body
        for part in parts
        if getattr(node, "name", None) in part.names
        for name in _giving(node)
    ]


def _giving(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef) and _gives_back(node):
        yield node.name
    elif isinstance(node, ast.ClassDef):
        for method in (one for one in node.body if isinstance(one, ast.FunctionDef) and not one.decorator_list):
            if (method.name[0] != "_" or method.name == "__call__") and _gives_back(method):
                yield f"{node.name}.{method.name}"


def _gives_back(function: ast.FunctionDef) -> bool:
    """Whether a function returns a value of its own, not that of a function inside it."""

    def returns(node: ast.AST) -> bool:
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            return False
        return (isinstance(node, ast.Return) and node.value is not None) or any(
            map(returns, ast.iter_child_nodes(node))
        )

    return any(map(returns, function.body))


def _text(solution: str, one: Spoiled, mark: Path) -> str:
    return (
        f"{solution}\n\nfrom grader.audit.spoiled import spoil\n\n"
        f"spoil(globals(), {one.function!r}, {one.way!r}, {str(mark)!r})\n"
    )


def spoil(module: dict[str, Any], name: str, way: str, mark: str) -> None:
    """Let a function of the solution, whose names `module` holds, give back something else; then the file exists."""

    def around(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        other = WAYS[way](value)
        if other is not value:
            Path(mark).touch()
        return other

    put_around(module, name, around)


def put_around(module: dict[str, Any], name: str, around: Callable[..., Any]) -> None:
    """Put `around(function, *args, **kwargs)` in the place of the calls of a function or method."""
    owner, _, own = name.rpartition(".")
    function = vars(module[owner])[own] if owner else module[own]

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return around(function, *args, **kwargs)

    if owner:
        setattr(module[owner], own, called)
    else:
        module[own] = called


def _amiss(one: Spoiled, outcome: Outcome, *, is_other: bool) -> str:
    """What is wrong with the verdict on it, or nothing."""
    here = f"'{one.function}' gives back {one.way}"
    if outcome.passed:
        return f"{here}, and no check of '{one.part}' fails." if is_other else ""
    said = outcome.checks[-1].message if outcome.checks and not outcome.died else outcome.died
    name = one.function.removesuffix(".__call__").rpartition(".")[2]  # a method's own name is enough in its own line
    is_named = name in said or " returned " in said  # also the one that hands on what this one gives back
    if one.way == "None" and not (is_named and "None" in said):
        return f"{here}, and the message does not say so: {said}"
    if one.way == "one value" and not is_named and ".py:" not in said:
        return f"{here}, and the message does not name it: {said}"
    return f"{here}, and the message does not say which function: {said}" if "could not be used" in said else ""
