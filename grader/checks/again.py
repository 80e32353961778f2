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
    tol: float | None = None,
    **kwargs: Any,
) -> None:
    """Hold that a second call, with other numbers of the same sizes, gives its own result, and the first call's stays.

    Who keeps results by the sizes of what came, or a buffer for each size, passes checks in which no size comes twice.
    A third call, with the numbers of the second, is for two buffers that are written in turn.
    target: a public name, or a driver. Choose inputs whose results differ. views: the second numbers come the last time
    in tensors that are not contiguous.
    """
    rows = [first, second, spaced(second) if views else second]
    got = attempt.each(target, rows, **kwargs)
    want = reference.each(target, rows[:2], **kwargs)
    _hold_both(got, want, of, tol)
    how = "of inputs that are not contiguous" if views else "called once more"
    agree(got[2], want[1], of=f"{of}, {how}", tol=tol)


def hold_turns(
    attempt: Attempt,
    reference: Attempt,
    driver: Callable[..., Any],
    *args: Any,
    turns: tuple[tuple[Any, ...], tuple[Any, ...]],
    of: str,
    tol: float | None = None,
    **kwargs: Any,
) -> None:
    """Hold the same of one object that is called twice: the driver gives what it returned to each of `turns`."""
    got, want = (one.run(driver, *args, turns=turns, **kwargs) for one in (attempt, reference))
    _hold_both(got, want, of, tol)


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
