"""Torch's own texts of its operators in simpler ones (`torch._refs`, `torch._decomp`): they go with the operator."""

import re
from collections.abc import Iterator, Mapping
from types import FunctionType

import torch
import torch._decomp
import torch._refs

from grader.answering.inner import unwrapped

_REFERENCES = (torch._refs, torch._refs.nn.functional, torch._refs.special, torch._refs.linalg, torch._refs.fft)


def texts_of(operators: Mapping[str, str]) -> dict[FunctionType, str]:
    """The functions in Python that restate operators, each with the name that forbids it.

    operators: the qualified name of an operator (`aten::mean.dim`) to the name that forbids it.
    """
    found: dict[FunctionType, str] = {}
    for function, operator in _texts(operators):
        if isinstance(function, FunctionType):
            found.setdefault(function, operators[operator])
    return found


def _texts(operators: Mapping[str, str]) -> Iterator[tuple[object, str]]:
    tables = torch._decomp.global_decomposition_table
    for operation, text in {**tables["post_autograd"], **tables["pre_autograd"]}.items():
        if operation.name() in operators:
            yield unwrapped(text), operation.name()
    for operator in operators:
        base = re.sub(r"^aten::(_safe_|special_|_)?|_?(\..*)?$", "", operator)
        for module in _REFERENCES:
            yield unwrapped(getattr(module, base, None)), operator
