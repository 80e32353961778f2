"""A function called once more: what it gives depends on what it is given now, and not on how that lies in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from grader.checks.attempt import Attempt
from grader.checks.numeric import turned
from grader.checks.vocabulary import agree


def hold_again(
    attempt: Attempt,
    reference: Attempt,
    target: str | Callable[..., Any],
    first: tuple[Any, ...],
    second: tuple[Any, ...],
    *,
    of: str,
    views: bool = True,
    no_grad: bool | None = None,
    tol: float | None = None,
    **kwargs: Any,
) -> None:
    """Hold that a second call, with other numbers of the same sizes, gives its own result, and the first call's stays.

    Who keeps results by the sizes of what came, or a buffer for each size, passes checks in which no size comes twice.
    A third call, with the numbers of the second, is for two buffers that are written in turn. A last one is made under
    torch.no_grad, where nothing is recorded and other code may run.
    target: a public name, or a driver. Choose inputs whose results differ. views: the second numbers come the third
    time in tensors that are not contiguous. no_grad: whether the last call is made; False where an answer may use
    autograd for its work. By default a driver says itself whether gradients are asked.
    """
    no_grad = isinstance(target, str) if no_grad is None else no_grad
    rows = [first, second, spaced(second) if views else second, second][: 4 if no_grad else 3]
    got = attempt.each(target, rows, no_grad=no_grad, **kwargs)
    want = reference.each(target, rows[:2], **kwargs)
    _hold_both(got, want, of, tol)
    hows = "of inputs that are not contiguous" if views else "called once more", "under torch.no_grad"
    for value, how in zip(got[2:], hows, strict=False):
        agree(value, want[1], of=f"{of}, {how}", tol=tol)


def hold_turns(
    attempt: Attempt,
    reference: Attempt,
    driver: Callable[..., Any],
    *args: Any,
    turns: tuple[tuple[Any, ...], tuple[Any, ...]],
    of: str,
    no_grad: bool = True,
    tol: float | None = None,
    **kwargs: Any,
) -> None:
    """Hold the same of one object that is called twice: the driver gives what it returned to each of `turns`."""
    rows = [args, args][: 2 if no_grad else 1]
    want = reference.run(driver, *args, turns=turns, **kwargs)
    got = attempt.each(driver, rows, no_grad=no_grad, turns=turns, **kwargs)
    for said, how in zip(got, ("", ", under torch.no_grad"), strict=False):
        _hold_both(said, want, f"{of}{how}", tol)


def _hold_both(got: list[Any], want: list[Any], of: str, tol: float | None) -> None:
    first, second = want
    known = {"the result of the call after it": second}
    agree(got[0], first, of=f"{of}, looked at after another call", tol=tol, known=known)
    known = {"the result of the call before": first}
    agree(got[1], second, of=f"{of}, called again with other numbers of the same sizes", tol=tol, known=known)


def spaced(value: Any) -> Any:
    """The same data; tensors and arrays have other strides, where they have two entries or more."""
    if isinstance(value, torch.Tensor):
        if value.dim() > 1 and min(value.shape[-2:]) > 1:
            return value.mT.contiguous().mT
        return torch.stack([value, value], dim=-1)[..., 0]
    if isinstance(value, np.ndarray):
        return turned(value) if value.ndim > 1 else np.repeat(value, 2)[::2]
    if isinstance(value, list | tuple):
        return type(value)(spaced(one) for one in value)
    if isinstance(value, dict):
        return {key: spaced(one) for key, one in value.items()}
    return value
