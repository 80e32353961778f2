"""Memory that neither torch nor numpy allocates: buffers of Python's that enter torch, and maps of pages."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch

HearTensor = Callable[[torch.Tensor], None]
"""Gets a tensor that lies over a buffer."""
HearMap = Callable[[int], None]
"""Gets the bytes of a new map of pages."""

_WAYS: list[tuple[Any, tuple[str, ...]]] = [
    (torch, ("frombuffer", "from_numpy", "as_tensor", "asarray", "from_dlpack")),
    (torch.utils.dlpack, ("from_dlpack",)),
]
_open: list[tuple[HearTensor, HearMap]] = []
_is_laid = False


def lay() -> None:
    """Call before the code of an attempt is loaded: from now on the ways in can be heard, by whatever name."""
    global _is_laid
    if not _is_laid:
        _is_laid = True
        for owner, names in _WAYS:
            for name in names:
                setattr(owner, name, _heard(getattr(owner, name)))
        sys.addaudithook(_hear_maps)


@contextmanager
def heard(hear: HearTensor, hear_map: HearMap) -> Iterator[None]:
    """Tell of what enters torch, and of what is mapped, inside."""
    _open.append((hear, hear_map))
    try:
        yield
    finally:
        _open.pop()


def _hear_maps(event: str, args: tuple[Any, ...]) -> None:
    if event == "mmap.__new__" and _open:
        _open[-1][1](args[1])  # fileno, length, access, offset


def _heard(way: Any) -> Any:
    @wraps(way)
    def into(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor: torch.Tensor = way(*args, **kwargs)
        if _open and _is_a_buffer(args[0] if args else next(iter(kwargs.values()))):
            _open[-1][0](tensor)
        return tensor

    return into


def _is_a_buffer(value: Any) -> bool:
    """Whether the memory of a value is neither torch's nor of numpy's allocator."""
    while isinstance(value, np.ndarray | memoryview):
        value = value.base if isinstance(value, np.ndarray) else value.obj
    return value is not None and not isinstance(value, torch.Tensor)
