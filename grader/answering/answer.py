"""The answering side: runs the learner's code on a request and gives back data.

It knows no check, no reference and no expected value: only what it is asked, and the drivers.
"""

import inspect
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from types import ModuleType
from typing import Any

import msgspec
import torch

from grader.answering.calls import recorded
from grader.answering.cost import Meter, Unmetered
from grader.answering.data import copied, identical, plain
from grader.answering.draws import drawn
from grader.answering.request import Request
from grader.verdicts.fault import Changed, Missing


def answer(request: Request, module: ModuleType, drivers: ModuleType | None) -> Any:
    """Do what is asked and return data; what the learner's code raises goes through.

    Raises NotData for a result that is no data, Missing for an undefined name, Changed for a written argument.
    """
    if request.calls:
        asked = msgspec.structs.replace(request, calls=False)
        return recorded(module, lambda: answer(asked, module, drivers))
    function = _function(request, module, drivers)
    args, kwargs = copied(request.args), copied(request.kwargs)
    try:
        result = _KINDS[request.kind](function, request, args, kwargs)
    except AttributeError as error:
        if error.obj is module:
            raise Missing(error.name) from error
        raise
    each = request.kind == "each"
    for given, passed in zip(request.args, args, strict=True) if each else [(request.args, args)]:
        _unchanged(function, given, passed)
    for name, before in request.kwargs.items():
        if not identical(before, kwargs[name]):
            raise Changed(f"argument '{name}'")
    return result


def _call(function: Callable[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return plain(_run(function, args, kwargs))


def _each(function: Callable[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    values = []
    for number, row in enumerate(args, 1):
        with torch.no_grad() if request.no_grad and number == len(args) else nullcontext():
            values.append(_run(function, row, kwargs))
    return [plain(value) for value in values]  # at the end: what a call gave must not change while the next ones run


def _cost(function: Callable[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    meter = Meter()
    if request.upstream is None:
        with nullcontext() if request.driver else torch.no_grad():  # a driver says itself whether gradients are asked
            value = _run(function, args, kwargs, meter)
    else:
        value = _differentiated(function, request, args, kwargs, meter)
    if not meter.has_weighed:
        meter.kept(value)
    return plain(value), msgspec.structs.asdict(meter.cost)


def _gradients(function: Callable[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value, grads = _differentiated(function, request, args, kwargs)
    return plain(value), plain(grads, "the gradients")


def _run(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], meter: Meter | None = None
) -> Any:
    """The value of a call; a driver says itself what is measured of it."""
    if _takes_meter(function):
        return function(*args, **kwargs, meter=meter or Unmetered())
    with meter or nullcontext():
        return function(*args, **kwargs)


def _differentiated(
    function: Callable[..., Any],
    request: Request,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    meter: Meter | None = None,
) -> tuple[Any, list[Any]]:
    """The value of a call, and for each argument the gradient of sum(value * upstream); both are measured."""
    leaves = [i for i, arg in enumerate(args) if isinstance(arg, torch.Tensor) and arg.is_floating_point()]
    for i in leaves:
        args[i].requires_grad_()
    value = _run(function, args, kwargs, meter)
    outputs = [out for out in (value if isinstance(value, list | tuple) else [value]) if isinstance(out, torch.Tensor)]
    upstream = request.upstream if isinstance(request.upstream, list | tuple) else [request.upstream]
    pairs = [(out, g) for out, g in zip(outputs, upstream, strict=False) if out.requires_grad]
    grads: list[Any] = [None] * len(args)
    if pairs and leaves:
        # A scalar, since `grad` imports a symbolic algebra, 0.4 s, to look at the shapes of anything else.
        total = torch.stack([(out * g).sum() for out, g in pairs]).sum()
        with meter or nullcontext():
            found = torch.autograd.grad(total, [args[i] for i in leaves], allow_unused=True)
        for i, grad in zip(leaves, found, strict=True):
            grads[i] = grad
    return value, grads


def _draws(function: Callable[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def call(generator: Any) -> Any:
        return _call(function, request, args, {**kwargs, request.parameter: generator})

    return drawn(call, request.seed, request.parameter)


_KINDS = {"call": _call, "each": _each, "cost": _cost, "gradients": _gradients, "draws": _draws}


def _function(request: Request, module: ModuleType, drivers: ModuleType | None) -> Callable[..., Any]:
    if request.driver:
        driver = getattr(drivers, request.target)
        return _Bound(driver, module)
    try:
        function: Callable[..., Any] = getattr(module, request.target)
    except AttributeError:
        raise Missing(request.target) from None
    return function


class _Bound:
    """A driver with the learner's module as its first argument."""

    def __init__(self, driver: Callable[..., Any], module: ModuleType) -> None:
        self.driver = driver
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.driver(self.module, *args, **kwargs)


def _parameter(function: Callable[..., Any], position: int) -> str:
    """The name of a parameter, in quotes; its number if the function does not give its parameters."""
    asked, position = (function.driver, position + 1) if isinstance(function, _Bound) else (function, position)
    with suppress(TypeError, ValueError, IndexError):
        parameter = list(inspect.signature(asked).parameters.values())[position]
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return f"'{parameter.name}'"
    return str(position if isinstance(function, _Bound) else position + 1)


def _takes_meter(function: Callable[..., Any]) -> bool:
    return isinstance(function, _Bound) and _names_meter(function.driver)


@cache
def _names_meter(driver: Callable[..., Any]) -> bool:
    return "meter" in inspect.signature(driver).parameters


def _unchanged(function: Callable[..., Any], given: tuple[Any, ...], passed: tuple[Any, ...]) -> None:
    for i, (before, after) in enumerate(zip(given, passed, strict=True)):
        if not identical(before, after):
            raise Changed(f"argument {_parameter(function, i)}")
