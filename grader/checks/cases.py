"""What the checks of several exercises share: ways to cut, dtypes by name. Their oracles stay apart on purpose."""

import pytest
import torch

DTYPES = ("float64", "float32")
"""What most checks run with; by name, since no torch operation runs while checks are collected."""
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
"""Above a check: it runs once for each of them, as its argument `dtype`."""


def compositions(n: int) -> list[list[int]]:
    """All ways to cut n into pieces, the fewest pieces first: 2 ** (n - 1) of them, and one for n = 0."""
    if n == 0:
        return [[]]
    return sorted(([first, *rest] for first in range(1, n + 1) for rest in compositions(n - first)), key=len)


def of_type(name: str) -> torch.dtype:
    """The dtype of a name, as `float32`."""
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype), name
    return found
