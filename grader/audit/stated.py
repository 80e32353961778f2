"""Is nothing checked that is not said? What the checks of a part ask for must stand in its stub.

Said by the stub is what the docstring of the file says, and the text of the part's own definitions.
"""

import ast
import re
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from grader.answering.request import Request
from grader.answering.runner import Runner
from grader.audit.bench import Bench, Section
from grader.bank.catalog import Exercise, Part
from grader.bank.derived import stub_of
from grader.bank.source import definition, definitions
from grader.judging.pool import Variant
from grader.verdicts.verdict import Verdict

_ASKED: dict[str, tuple[Callable[[Any], bool], re.Pattern[str], str]] = {
    "empty": (
        lambda value: isinstance(value, torch.Tensor) and value.numel() == 0,
        re.compile(r"\bempty\b|\b(be|is|are|of) 0\b|>?= 0\b|[Ww]ithout|\b[Nn]o(ne)? |\b0 (elements|tokens)"),
        "tensors without elements: say there that a size may be 0, or do not ask",
    ),
    "half": (
        lambda value: isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16),
        re.compile(r"dtype|float16|bfloat16|half"),
        "float16 or bfloat16: say there which dtype results have, or do not ask",
    ),
    "double": (
        lambda value: isinstance(value, torch.Tensor) and value.dtype == torch.float64,
        re.compile(r"dtype|float32|float64|double"),
        "float64: say there which dtype results have, or do not ask",
    ),
}


_COUNTED = re.compile(r"at most [^.]*\boperators\b", re.IGNORECASE)


def forbidden(exercise: Exercise) -> list[str]:
    """A sentence for each forbidden name that the stub of its part does not give."""
    stub = stub_of(exercise)
    return [
        f"the stub of '{part.name}' does not say that {name} is forbidden: name it in the docstring."
        for part in exercise.parts
        for name in part.forbidden
        if name.rpartition(".")[2] not in _own(stub, part)
    ]


def stated(bench: Bench) -> Section:
    """Forbidden names stand in the stub; empty tensors and dtypes are asked for only where it speaks of them."""
    stub = stub_of(bench.exercise)
    file = bench.collected.file

    def variant(name: str) -> Variant:
        """The checks of the parts whose stub does not speak of it, so that what they ask for is seen."""
        asks, says, _ = _ASKED[name]
        silent = [part.name for part in bench.exercise.parts if not says.search(_said(stub, part))]
        return Variant(
            name,
            bench.solution,
            channel=lambda: Asked(file.in_process(bench.solution), asks),
            only=tuple(silent),
        )

    found = [*forbidden(bench.exercise), *_costs(bench, stub)]
    for name, outcome in bench.judge([one for name in _ASKED if (one := variant(name)).only]).items():
        what = _ASKED[name][2]
        for part in bench.exercise.parts:
            asking = [c.id for c in outcome.checks if c.part == part.name and c.verdict is not Verdict.PASSED]
            if asking:
                found.append(f"the stub of '{part.name}' does not speak of what {asking[0]} asks for, {what}.")
    return found, "what checks ask for stands in the stub"


def _costs(bench: Bench, stub: str) -> Iterator[str]:
    """A sentence for each part whose stub does not say that its work stays in torch, or what an operator is."""
    for part in bench.exercise.parts:
        said, ids = _said(stub, part), bench.collected.planned[part.name]
        held = [item.name for item in bench.collected.items if item.name in ids and _uses(item.obj, "in_torch")]
        if held and not re.search(r"\bin torch\b", said):
            yield f"the stub of '{part.name}' does not say that its work stays in torch, as {held[0]} holds."
        if _COUNTED.search(_own(stub, part)) and "views" not in said:
            yield f"the stub of '{part.name}' counts operators: say there, or on top, that views are counted too."


def _uses(function: FunctionType, name: str) -> bool:
    """Whether a check uses a name, itself or through helpers in its file."""
    found, waiting = set[str](), [function]
    while waiting:
        one = waiting.pop()
        new = _names(one.__code__) - found
        found |= new
        helpers = [one.__globals__.get(name) for name in new]
        waiting += [h for h in helpers if isinstance(h, FunctionType) and h.__globals__ is one.__globals__]
    return name in found


def _names(code: CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inner)


def _said(stub: str, part: Part) -> str:
    return f"{ast.get_docstring(ast.parse(stub)) or ''}\n{_own(stub, part)}"


def _own(stub: str, part: Part) -> str:
    known = definitions(stub)
    return "\n".join(definition(stub, name) for name in part.names if name in known)


class Asked:
    """Stands where a `Runner` stands, and fails a check that asks for something of a kind."""

    def __init__(self, inner: Runner, asks: Callable[[Any], bool]) -> None:
        self._inner = inner
        self._asks = asks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def ask(self, request: Request) -> Any:
        """The answer; an AssertionError where the question is of the kind."""
        assert not any(map(self._asks, _leaves((request.args, request.kwargs)))), "this is asked for"
        return self._inner.ask(request)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, torch.Tensor | np.ndarray):
        yield value
