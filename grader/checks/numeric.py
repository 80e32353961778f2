"""What checks of parts that are written in numpy share: random arrays, their layout in memory, exact gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

from grader.checks.draw import Draw

STEP = 1e-30
"""Of complex steps: far below rounding, since nothing is subtracted."""


def numbers(draw: Draw) -> np.random.Generator:
    """numpy's generator of this check."""
    return np.random.default_rng(draw.random.getrandbits(64))


def turned(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same entries, the axes in memory in the other order."""
    return np.asfortranarray(x)


def slope(f: Callable[[np.ndarray[Any, Any]], Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The gradient of a real function of an array by complex steps: exact to rounding. f: for complex arrays, too.

    Source: Squire and Trapp 1998.
    """
    found = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[place] += 1j * STEP
        found[place] = f(moved).imag / STEP
    return found
