"""What was called of the learner's code, with what, and what came back: asked for once a check has failed.

A check knows what its driver returned, not what the learner's functions gave to the driver. So its last question is
asked once more, with every function and method of the module wrapped, and answered with the list of calls.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Annotated, Any

import msgspec
import numpy as np
import torch

from grader.answering.data import copied, identical
from grader.base.text import plain
from grader.verdicts.raised import name_of

_MOST_CALLS = 400
_MOST_ITEMS = 8
_LONGEST = 60
_LONGEST_GIVEN = 400
_LARGEST_LINE = 4000
"""Bytes that a pipe takes in one piece, whoever else writes to it."""
Text = Annotated[str, msgspec.Meta(max_length=2 * _LONGEST_GIVEN)]


class Form(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of what kind a value is, without its contents."""

    kind: Text
    """`None`, `tensor`, `array`, `number`, `tuple`, `list`, `dict`, or the name of its type."""
    dtype: Text = ""
    shape: tuple[int, ...] = ()
    items: tuple["Form", ...] = ()
    """Of a tuple or a list, and of a dict in the order of `keys`; the first few."""
    keys: tuple[Text, ...] = ()
    size: int = 0
    """How many items there are in all."""


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the learner's code from outside of it."""

    name: Text
    """`prefill`, `KVCache.append`, or `KVCache` where one is made."""
    given: Text
    """The arguments, in short."""
    form: Form | None = None
    """Of what came back; None where nothing did, or where an object was made."""
    raised: Text = ""
    """The name of the exception that ended it."""
    wrote: Text = ""
    """The parameter whose argument it changed."""
    rank: int = -1
    """The rank that called; -1 outside of ranks."""


class Recorder:
    """Wraps the functions and methods of a module while it is entered; `calls` are those from outside the module."""

    def __init__(self, module: ModuleType) -> None:
        self.calls: list[Call] = []
        self._module = module
        self._depth = 0
        self._owner = os.getpid()

    def __enter__(self) -> "Recorder":
        self._undo: list[tuple[Any, str, Any]] = []
        self._read, self._write = os.pipe()  # on which ranks, which are forks, tell theirs
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        for name, value in list(vars(self._module).items()):
            if getattr(value, "__module__", None) != self._module.__name__:
                continue
            if isinstance(value, FunctionType):
                self._wrap(self._module, name, value, name)
            elif isinstance(value, type):
                for method, function in list(vars(value).items()):
                    if isinstance(function, FunctionType) and (method[0] != "_" or method in ("__init__", "__call__")):
                        said = name if method == "__init__" else f"{name}.{method}".removesuffix(".__call__")
                        self._wrap(value, method, function, said)
        return self

    def __exit__(self, *error: Any) -> None:
        for owner, name, function in reversed(self._undo):
            setattr(owner, name, function)
        with contextlib.suppress(BlockingIOError, msgspec.DecodeError), os.fdopen(self._read, "rb") as pipe:
            for line in (pipe.read() or b"").splitlines():
                self.calls.append(msgspec.json.decode(line, type=Call))
        os.close(self._write)

    def _wrap(self, owner: Any, name: str, function: FunctionType, said: str) -> None:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if self._depth or len(self.calls) >= _MOST_CALLS:  # of a graph of 50,000 nodes the rest costs time only
                return function(*args, **kwargs)
            self._depth += 1
            try:
                return self._called(function, said, args, kwargs)
            finally:
                self._depth -= 1

        self._undo.append((owner, name, function))
        setattr(owner, name, called)

    def _called(self, function: FunctionType, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = _named(function, args, kwargs, is_method=name != function.__name__)
        before = {key: _copied(value) for key, value in given.items()}
        call = Call(name, ", ".join(f"{key}={short(value)}" for key, value in given.items())[:_LONGEST_GIVEN])
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._keep(msgspec.structs.replace(call, raised=plain(name_of(type(error)))[:_LONGEST]))
            raise
        wrote = next((key for key, value in given.items() if not _same(before[key], value)), "")
        made = function.__name__ == "__init__"
        self._keep(msgspec.structs.replace(call, form=None if made else form(result), wrote=wrote))
        return result

    def _keep(self, call: Call) -> None:
        if os.getpid() == self._owner:
            self.calls += [call] * (len(self.calls) < _MOST_CALLS)
            return
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        line = msgspec.json.encode(msgspec.structs.replace(call, rank=rank)) + b"\n"
        with contextlib.suppress(OSError):
            if len(line) < _LARGEST_LINE:
                os.write(self._write, line)


def recorded(module: ModuleType, ask: Callable[[], Any]) -> list[dict[str, Any]]:
    """The calls of the learner's code that `ask` makes, as data, also where it ends with an exception."""
    with Recorder(module) as recorder, contextlib.suppress(Exception, SystemExit):
        ask()
    return [msgspec.to_builtins(call) for call in recorder.calls]


def form(value: Any, depth: int = 0) -> Form:
    """Of what kind a value is."""
    if value is None:
        return Form("None")
    if isinstance(value, torch.Tensor):
        return Form("tensor", str(value.dtype).removeprefix("torch."), tuple(value.shape))
    if isinstance(value, bool | int | float | complex | np.generic):
        return Form("number")
    if isinstance(value, np.ndarray):
        return Form("array", str(value.dtype), value.shape)
    if isinstance(value, list | tuple) and depth < 4:
        items = tuple(form(item, depth + 1) for item in value[:_MOST_ITEMS])
        return Form("tuple" if isinstance(value, tuple) else "list", items=items, size=len(value))
    if isinstance(value, dict) and depth < 4:
        first = list(value)[:_MOST_ITEMS]
        items = tuple(form(value[key], depth + 1) for key in first)
        return Form("dict", items=items, keys=tuple(repr(key)[:_LONGEST] for key in first), size=len(value))
    return Form(type(value).__name__[:_LONGEST])


def short(value: Any) -> str:
    """A value as a message shows it among the arguments of a call."""
    if isinstance(value, torch.Tensor):
        if 0 < value.numel() <= 4 and value.dim() < 2:
            return str(value.tolist())
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return str(value.tolist()) if 0 < value.size <= 4 and value.ndim < 2 else f"{value.dtype} {value.shape}"
    if isinstance(value, list | tuple):
        inner = ", ".join(short(item) for item in value[:_MOST_ITEMS])
        more = ", ..." if len(value) > _MOST_ITEMS else ""
        return f"[{inner}{more}]" if len(inner) <= 2 * _LONGEST else f"{len(value)} items"
    if isinstance(value, bool | int | float | complex | str | torch.dtype | None):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
    return f"a {type(value).__name__}"


def _named(function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_method: bool) -> dict[str, Any]:
    """The arguments of a call by the names that the learner gave them; of a method without its object."""
    with contextlib.suppress(TypeError, ValueError):
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        return dict(list(bound.items())[1:]) if is_method else dict(bound)
    return {**{str(i): value for i, value in enumerate(args[is_method:], 1)}, **kwargs}


_WITH_CONTENTS = (torch.Tensor, np.ndarray, list, tuple, dict)


def _copied(value: Any) -> Any:
    with contextlib.suppress(Exception):
        return copied(value) if isinstance(value, _WITH_CONTENTS) else None
    return None


def _same(before: Any, after: Any) -> bool:
    """Whether an argument is still what it was, as far as it is data."""
    with contextlib.suppress(Exception):
        return before is None or identical(before, after)
    return True
