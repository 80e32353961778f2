"""Calls that would be the answer, caught as they execute: no alias hides one, and a comment offends nobody."""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType, FunctionType, MethodDescriptorType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, get_testing_overrides

from grader.verdicts.fault import Forbidden


def resolve(name: str) -> Any:
    """The object that a dotted name means; raises AttributeError or ModuleNotFoundError."""
    pieces = name.split(".")
    for split in range(len(pieces) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(pieces[:split]))
        except ModuleNotFoundError:
            continue
        for piece in pieces[split:]:
            found = getattr(found, piece)
        return found
    raise ModuleNotFoundError(name)


def _found(name: str) -> Any:
    """The object, or None where its package is not installed: then nobody can call it."""
    try:
        return resolve(name)
    except ModuleNotFoundError:
        if importlib.util.find_spec(name.split(".")[0]) is None:
            return None
        raise


class _Watched:
    """What to look for. A torch function mode sees most calls of torch; Python's profiler sees the rest, at a price."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by_torch: dict[Any, str] = {}
        self.by_code: dict[Any, str] = {}
        self.by_object: dict[Any, str] = {}
        self.by_method: dict[str, tuple[type, str]] = {}
        self.profiled = False
        """Whether the profiler has to run throughout: for what no mode sees."""
        for name in names:
            target = _found(name)
            if target in get_testing_overrides():
                self._add_torch(target, name)
            elif target is not None:
                self.profiled = True
            if target is not None:
                self._add_python(target, name)

    def _add_torch(self, target: Any, name: str) -> None:
        packet = getattr(torch.ops.aten, target.__name__, None)  # the same, past the Python of torch
        overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet else []
        self.by_torch |= dict.fromkeys([target, *filter(None, [packet]), *overloads], name)

    def _add_python(self, target: Any, name: str) -> None:
        while hasattr(target, "__wrapped__"):
            target = target.__wrapped__  # a decorator's own code is shared by all that it decorates
        if isinstance(target, FunctionType):
            self.by_code[target.__code__] = name
        elif isinstance(target, type):
            made = target.__init__  # type: ignore[misc]  # of the class itself, not of an instance
            if not isinstance(made, FunctionType):
                raise TypeError(f"{name} is a class written in C, whose calls cannot be seen: it cannot be forbidden")
            self.by_code[made.__code__] = name
        elif isinstance(target, MethodDescriptorType):
            self.by_method[target.__name__] = (target.__objclass__, name)
        else:
            self.by_object[target] = name

    def called(self, frame: FrameType, event: str, arg: Any) -> str | None:
        """The name of the forbidden call that an event of the profiler is."""
        if event == "call":
            return self.by_code.get(frame.f_code)
        if event != "c_call":
            return None
        if self.by_method:
            owner, method = self.by_method.get(arg.__name__, (None, None))
            if owner and isinstance(arg.__self__, owner):
                return method
        return self.by_object.get(arg)


_watched = lru_cache(maxsize=8)(_Watched)


_CALLS_BACK = {torch.Tensor.apply_, torch.Tensor.map_, torch.Tensor.map2_}
"""What runs Python from C. Like a function of torch in Python it does so with the mode off, as backward passes do."""


class _Mode(TorchFunctionMode):
    """Shows `offend` the name of each call of torch that is looked for, also those from C, by a partial or a map."""

    def __init__(self, names: dict[Any, str], offend: Callable[[str], None], profile: Any) -> None:
        super().__init__()
        self.names = names
        self.offend = offend
        self.profile = profile

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.names:
            self.offend(self.names[func])
        if type(func) is not FunctionType and func not in _CALLS_BACK:
            return func(*args, **kwargs) if kwargs else func(*args)
        before = _profiler()
        sys.setprofile(self.profile)  # torch has taken the mode off: what is called inside is seen by the profiler
        try:
            return func(*args, **(kwargs or {}))
        finally:
            sys.setprofile(before)


@contextmanager
def _on(mode: _Mode) -> Iterator[None]:
    """With a mode on. A clock may ring inside a call of torch, where the mode is off, or where it is on twice."""
    depth = torch._C._len_torch_function_stack()
    mode.__enter__()  # type: ignore[no-untyped-call]  # torch's
    try:
        yield
    finally:
        while torch._C._len_torch_function_stack() > depth:
            torch._C._pop_torch_function_stack()


def _profiler() -> Any:
    """The profile function that is on and can be put back: cProfile's own cannot."""
    before = sys.getprofile()
    return before if callable(before) else None


@contextmanager
def watched(names: Sequence[str]) -> Iterator[list[Forbidden]]:
    """Raise Forbidden as soon as one of `names` is called inside, by whomever and under whatever name.

    Gives the list of what was raised so far: code that swallows the exception has offended all the same.
    """
    offences: list[Forbidden] = []
    if not names:
        yield offences
        return
    sought = _watched(tuple(names))
    is_open = True

    def raised(said: str) -> Forbidden:
        offences.append(Forbidden(said))
        return offences[-1]

    def offend(name: str) -> None:
        if is_open:  # a thread that goes on keeps its mode
            raise raised(f"{name} is what this part is there to write: call something simpler")

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "return" or event == "c_return":
            return  # half of all events
        name = sought.called(frame, event, arg)
        if name:
            offend(name)
        if arg is sys.setprofile and event == "c_call" and frame.f_code.co_filename != __file__:
            raise raised("sys.setprofile would take away the watch over this part's forbidden calls")

    def begin_thread(frame: FrameType, event: str, arg: Any) -> None:
        """A thread's first event: modes and profilers are each thread's own."""
        _Mode(sought.by_torch, offend, profile).__enter__()  # type: ignore[no-untyped-call]  # torch's
        sys.setprofile(profile if sought.profiled else None)

    before = _profiler()
    with _on(_Mode(sought.by_torch, offend, profile)):
        threading.setprofile(begin_thread)
        if sought.profiled:
            sys.setprofile(profile)
        try:
            yield offences
        finally:
            is_open = False
            if sought.profiled:
                sys.setprofile(before)
            threading.setprofile(before)
