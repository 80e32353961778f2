"""Inputs for checks, drawn from a seed: the same seed and check always draw the same."""

import random
from collections.abc import Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


class Draw:
    """Random tensors and choices. Shapes are given as separate sizes: `draw.normal(2, 3, 5)`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> torch.Tensor:
        return (scale * torch.randn(shape, generator=self.generator, dtype=torch.float64)).to(dtype)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        unit = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * unit).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """int64 in low, ..., high - 1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def permutation(self, n: int) -> torch.Tensor:
        return torch.randperm(n, generator=self.generator)

    def pick(self, options: Sequence[T]) -> T:
        return self.random.choice(options)
