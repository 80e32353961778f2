"""Numbers drawn from a seed: the same on every Python and on every machine."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """What a question draws its numbers from. Each draw is one digest of the seed and its place."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, *options: T) -> T:
        """One of the options."""
        return options[self._below(len(options))]

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self._below(high - low + 1)

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in a random order."""
        left = list(options)
        return [left.pop(self._below(len(left))) for _ in options]

    def sample(self, options: Sequence[T], n: int) -> list[T]:
        """n of the options, no two from the same place."""
        return self.shuffled(options)[:n]

    def _below(self, n: int) -> int:
        self._count += 1
        digest = hashlib.sha256(f"{self._seed}:{self._count}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % n
