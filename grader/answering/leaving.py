"""Values that leave torch: where an attempt goes on with them in numpy, in lists or in memory, torch counts nothing."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

Hear = Callable[[str, int], None]
"""Gets the name of the way out, and how many values took it."""

_WAYS: list[tuple[Any, str, tuple[str, ...]]] = [
    (torch._C.TensorBase, "Tensor.", ("numpy", "tolist", "data_ptr", "apply_", "map_", "map2_")),
    (torch.Tensor, "Tensor.", ("__dlpack__", "__reduce_ex__")),
    (torch._C.StorageBase, "UntypedStorage.", ("data_ptr", "_write_file")),
    (torch.UntypedStorage, "UntypedStorage.", ("__reduce__",)),
    (torch._C, "torch.", ("_to_dlpack", "_to_dlpack_versioned")),
    (torch.utils.dlpack, "torch.utils.dlpack.", ("to_dlpack",)),
    (torch, "torch.", ("to_dlpack",)),
]
_open: list[Hear] = []
_is_laid = False


def lay() -> None:
    """Call before the code of an attempt is loaded: from now on the ways out can be heard, by whatever name."""
    global _is_laid
    if not _is_laid:
        _is_laid = True
        for owner, shown, names in _WAYS:
            for name in names:
                if hasattr(owner, name):
                    _put(owner, name, _heard(getattr(owner, name), f"{shown}{name}"))


def _put(owner: Any, name: str, way: Any) -> None:
    """Put a function in the place of another, also in a type that C made: there its heirs find it, and `super()`."""
    try:
        setattr(owner, name, way)
    except TypeError:
        gc.get_referents(vars(owner))[0][name] = way
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))


@contextmanager
def heard(hear: Hear) -> Iterator[None]:
    """Tell `hear` of what leaves torch inside."""
    _open.append(hear)
    try:
        yield
    finally:
        _open.remove(hear)


def _heard(way: Any, name: str) -> Any:
    @wraps(way)
    def out(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _open:
            return way(self, *args, **kwargs)
        hear = _open[-1]
        hear(name, self.numel() if isinstance(self, torch.Tensor) else self.nbytes())
        _open.append(_nobody)  # one way may lead through another
        try:
            return way(self, *args, **kwargs)
        finally:
            _open.remove(_nobody)

    return out


def _nobody(name: str, values: int) -> None:
    pass
