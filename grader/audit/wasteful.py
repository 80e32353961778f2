"""What a twin does beside the work of a part: the same values, and more paid for them than the part promises.

It runs where the solution runs, wrapped around the public definitions of one part.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import torch

_TIMES = 2
"""How often what a check allows is taken beside the work."""
_FEW = 1 << 13
"""Elements, values or operations that are more than any slack, where the solution takes none."""

_hoard: list[list[Any]] = []


class Given(msgspec.Struct, frozen=True):
    """What a call works on."""

    values: list[Any]
    """The tensors and arrays that it is given, or those that its object holds where it is given none."""
    differentiable: bool
    """Whether autograd is on, and one of the tensors that come or are held requires a gradient."""


_SIDE = 128
"""Of the largest matrix that is multiplied for nothing."""

Call = Callable[[], Any]
Around = Callable[[Call, Given], Any]
"""Makes the call, and does something beside it."""


class Most(msgspec.Struct, frozen=True):
    """What one check allows, of each thing that it looks at."""

    flops: int = 0
    work: int = 0
    calls: int = 0
    largest: int = 0
    peak: int = 0


def current_check() -> str:
    """The id of the check that runs, as pytest tells it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0].partition("::")[2]


def wrap(module: dict[str, Any], names: list[str], around: Around) -> None:
    """Put `around(call, given)` in the place of each call that enters a part from without.

    names: the functions and classes of the part; of a class its public methods are wrapped.
    """
    inside: list[None] = []

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if inside:
                return function(*args, **kwargs)
            inside.append(None)
            try:
                return around(lambda: function(*args, **kwargs), _given(args, kwargs))
            finally:
                inside.pop()

        return entered

    for name in names:
        one = module[name]
        if not isinstance(one, type):
            module[name] = wrapped(one)
            continue
        for key, value in list(vars(one).items()):
            if isinstance(value, staticmethod | classmethod):
                setattr(one, key, type(value)(wrapped(value.__func__)))
            elif callable(value) and not isinstance(value, type) and (key == "__call__" or not key.startswith("_")):
                setattr(one, key, wrapped(value))


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Given:
    held = [leaf for arg in args for leaf in _held(arg)]
    came = list(_leaves((args, kwargs)))
    leaves = [one for one in (*came, *held) if isinstance(one, torch.Tensor)]
    return Given(came or held, torch.is_grad_enabled() and any(one.requires_grad for one in leaves))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor | np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))


def _held(owner: Any) -> Iterator[Any]:
    """The tensors that an object holds, as its own or as its modules'."""
    if isinstance(owner, torch.nn.Module):
        yield from (*owner.parameters(), *owner.buffers())
        return
    for value in getattr(owner, "__dict__", {}).values():
        yield from _held(value) if isinstance(value, torch.nn.Module) else _leaves(value)


def thread() -> Around:
    """The work runs in a thread that is started in the call."""

    def around(call: Call, given: Given) -> Any:
        grad, out, raised = torch.is_grad_enabled(), list[Any](), list[BaseException]()

        def work() -> None:
            try:
                with torch.set_grad_enabled(grad):
                    out.append(call())
            except BaseException as error:
                raised.append(error)

        one = threading.Thread(target=work)
        one.start()
        one.join()
        if raised:
            raise raised[0]
        return out[0]

    return around


def noting(note: Callable[[bool], None]) -> Around:
    """Nothing is done but to tell `note` whether a call is differentiable."""

    def around(call: Call, given: Given) -> Any:
        note(given.differentiable)
        return call()

    return around


def hoarder() -> Around:
    """A copy of what comes in stays alive, under a name that no check knows."""

    def around(call: Call, given: Given) -> Any:
        _hoard.append([one.detach().clone() if isinstance(one, torch.Tensor) else one.copy() for one in given.values])
        return call()

    return around


def spender(spend: str, when: str, most: dict[str, Most]) -> Around:
    """More is spent beside the work. spend: on what, of `_SPENT`. when: `with` or `without` gradients, or `always`.

    most: what a check allows, by its id.
    """

    def around(call: Call, given: Given) -> Any:
        spent = None
        if when == "always" or given.differentiable == (when == "with"):
            with torch.no_grad():
                spent = _SPENT[spend](most.get(current_check(), Most()), given)
        value = call()
        del spent
        return value

    return around


def _work(most: Most, given: Given) -> None:
    side = max(8, min(_SIDE, int(most.largest**0.5))) if most.largest else _SIDE
    one, two = torch.ones(side, side), torch.ones(side, side)
    if most.flops or not (most.work or most.calls):
        for _ in range(1 + _TIMES * max(most.flops, _FEW) // (2 * side**3)):
            torch.mm(one, one, out=two)
        return
    for _ in range(_TIMES * max(most.calls, most.work // side**2) + 1):
        two.fill_(1.0)


def _memory(most: Most, given: Given) -> Any:
    return torch.empty(_elements(most), dtype=torch.float64)


def _numpy_memory(most: Most, given: Given) -> Any:
    return np.empty(_elements(most))


def _elements(most: Most) -> int:
    return _TIMES * max(most.peak // 8, most.largest, _FEW)


def _numpy_work(most: Most, given: Given) -> None:
    """Each tensor goes to numpy again and again, without a copy: what is done with it there is counted nowhere."""
    for one in given.values:
        if isinstance(one, torch.Tensor) and one.numel() and one.dtype is not torch.bfloat16:  # numpy has none
            leaving = one.detach()
            for _ in range(_TIMES + _FEW // one.numel()):
                leaving.numpy()


_SPENT: dict[str, Callable[[Most, Given], Any]] = {
    "work": _work,
    "memory": _memory,
    "numpy work": _numpy_work,
    "numpy memory": _numpy_memory,
}
