"""What may cross between a check and an attempt: data, and nothing else.

Data is None, bool, int, float, str, bytes, torch.dtype, tensors, numpy arrays, and lists, tuples and dicts of these.
"""

from typing import Any

import numpy as np
import torch

from grader.verdicts.fault import NotData

_ATOMS = frozenset({type(None), bool, int, float, str, bytes, torch.dtype})
_DEEPEST = 32

_unwatched = torch._C.DisableTorchFunction
"""Around what we do to one tensor ourselves: torch takes it to no mode, neither the watch for forbidden calls, which
would cost more than the work, nor one that an attempt has left on."""


def plain(value: Any, where: str = "the result", depth: int = 0) -> Any:
    """`value` rebuilt from exact types: tensors detached, on the CPU, contiguous, sharing memory with nobody.

    Raises NotData for an object, a tensor subclass, a sparse tensor or a nesting deeper than 32.
    """
    if depth > _DEEPEST:
        raise NotData(f"{where} is nested more than {_DEEPEST} deep")
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        with _unwatched():
            if value.layout is not torch.strided:
                raise NotData(f"{where} is a tensor of layout {value.layout}; return a dense one")
            return value.detach().to("cpu", copy=True).contiguous()
    if kind is np.ndarray and value.dtype != object:
        return np.array(value, copy=True, order="C")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        items = [
            item if type(item) in _ATOMS else plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)
        ]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        keys = [plain(key, f"a key of {where}", depth + 1) for key in value]
        return dict(zip(keys, (plain(v, f"{where}[{k!r}]", depth + 1) for k, v in value.items()), strict=True))
    raise NotData(f"{where} is {_article(kind.__name__)}; return numbers, tensors, lists or dicts")


def copied(value: Any) -> Any:
    """A deep copy of data that keeps the strides of its tensors, so that a non-contiguous argument stays one."""
    if isinstance(value, torch.Tensor):
        with _unwatched():
            dense = value.detach()
            if dense.is_contiguous() or dense.numel() == 0:
                return dense.clone()
            copy = torch.empty_strided(dense.size(), dense.stride(), dtype=dense.dtype)
            return copy.copy_(dense) if not _overlaps(dense) else dense.clone()
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    if isinstance(value, list | tuple):
        return type(value)([copied(item) for item in value])
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def identical(a: Any, b: Any) -> bool:
    """Whether two pieces of data are the same, NaN counting as equal to itself."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):  # of a parameter the copy is a tensor
        with _unwatched():
            if a.shape != b.shape or a.dtype != b.dtype:
                return False
            return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, dict) and isinstance(b, dict):  # of an ordered one the copy is a plain one
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return bool(a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    return bool(a == b or (a != a and b != b))


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether two elements may share memory (an expanded axis): such strides cannot be written to."""
    return any(step == 0 and size > 1 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
