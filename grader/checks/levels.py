"""A map of where a tensor is wrong: how far off each element is, binned to a size that can be kept and drawn."""

import numpy as np
import torch

from grader.verdicts.finding import LARGEST_MAP

_HIGHEST = 9


def levels_of(error: torch.Tensor, wrong: torch.Tensor, allowed: float) -> tuple[str, tuple[int, ...]]:
    """The digits of `Finding.levels`, and the sizes of their map.

    error: absolute, NaN where it is not finite. wrong: which elements are. allowed: the error that still passes.
    """
    ratio = np.nan_to_num(error.numpy() / max(allowed, 1e-300), nan=np.inf, posinf=np.inf)
    powers = np.ceil(np.log10(np.maximum(ratio, 1.0), where=np.isfinite(ratio), out=np.full(ratio.shape, np.inf)))
    levels = np.where(wrong.numpy(), np.clip(powers, 1, _HIGHEST), 0).astype(np.uint8)
    cells = _cells(levels.shape)
    for axis, (size, bins) in enumerate(zip(levels.shape, cells, strict=True)):
        if bins < size:
            starts = [i * size // bins for i in range(bins)]
            levels = np.maximum.reduceat(levels, starts, axis=axis)
    return "".join(map(str, levels.ravel().tolist())), cells


def _cells(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many bins each axis gets: the longest ones are halved until all is small enough."""
    cells = list(shape)
    while int(np.prod(cells, dtype=object)) > LARGEST_MAP:
        longest = cells.index(max(cells))
        cells[longest] = (cells[longest] + 1) // 2
    return tuple(cells)
