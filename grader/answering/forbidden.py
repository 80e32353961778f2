"""Forbidden calls, caught when they run: an alias does not hide one, and a comment that names one does not count.

What is forbidden is an operator: traps in the dispatcher (`operators`) catch it by whatever way it is reached. A
function in Python, with its inner entries (`inner`), has its code taken out while calls are watched, and copies of it
are heard as they are made (`copies`). What is left is written in C: a mode of torch's sees its own, Python's profiler
the rest. Autograd, and torch as a whole, are seen at each operation (`operations`).
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from types import CodeType, FrameType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, get_testing_overrides

from grader.answering.alone import Alone
from grader.answering.copies import Prints, heard
from grader.answering.inner import functions_of, of_package
from grader.answering.operations import AUTOGRAD, looked_at
from grader.answering.operators import AUTOCAST, backend_calls, kernels, trapped
from grader.answering.packages import hidden
from grader.answering.restated import texts_of
from grader.verdicts.fault import Forbidden

_SCAN = "torch._higher_order_ops.associative_scan"
_FLEX = "torch._higher_order_ops.flex_attention"
_TWINS = {
    "torch": ("torch._ops.OpOverload.redispatch",),
    "torch.nn.functional.scaled_dot_product_attention": (
        "torch.nn.attention.flex_attention.flex_attention",
        f"{_FLEX}.math_attention",
        f"{_FLEX}.sdpa_dense",
        f"{_FLEX}.FlexAttentionHOP.__call__",
    ),
    f"{_SCAN}.associative_scan": (f"{_SCAN}.generic_associative_scan", f"{_SCAN}.AssociativeScanOp.__call__"),
    "torch.autocast": ("torch.set_autocast_enabled", "torch.set_autocast_cpu_enabled"),
    "torch.set_autocast_enabled": ("torch.set_autocast_cpu_enabled",),
    "torch.nn.parallel.DistributedDataParallel": (
        "torch._C._distributed_c10d.Reducer.prepare_for_backward.__func__",
        "torch._C._distributed_c10d.Reducer.prepare_for_forward.__func__",
    ),
}
"""What else does the work of a forbidden name, in Python or in C, without an operator."""
_DIFFERENTIATE = (
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.autograd.graph._engine_run_backward",
    "torch.autograd.forward_ad.make_dual",
    "torch._functorch.eager_transforms.grad_increment_nesting",
    "torch._functorch.eager_transforms.enter_jvp_nesting",
    "torch._C._ImperativeEngine.run_backward",
    "torch._C._functorch._grad_increment_nesting",
    "torch._C._functorch._jvp_increment_nesting",
    "torch._C._enter_dual_level",
    f"{_FLEX}.sdpa_dense_backward",
    f"{_FLEX}.FlexAttentionBackwardHOP.__call__",
)
"""What each way through autograd passes, where its name may not be called."""


def _twins(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each name, with its twins. The first of autograd's names has those of them all."""
    first = next(filter(AUTOGRAD.fullmatch, names), "")
    for name in names:
        yield name, _DIFFERENTIATE if name == first else _TWINS.get(name, ())


def resolve(name: str) -> Any:
    """The object that a dotted name means; raises AttributeError or ModuleNotFoundError."""
    pieces = name.split(".")
    if len(pieces) == 1:
        return importlib.import_module(name)
    for split in range(len(pieces) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(pieces[:split]))
        except ModuleNotFoundError:
            continue
        for piece in pieces[split:]:
            found = getattr(found, piece)
        return found
    raise ModuleNotFoundError(name)


def watchable(name: str) -> None:
    """Raise AttributeError or ModuleNotFoundError for a name that means nothing, TypeError for one nobody can watch."""
    resolve(name)
    _watched((name,))


def _is_watchable(name: str) -> bool:
    """False for a name that means nothing: it spoils the questions of its part, not the whole file."""
    try:
        _found(name)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


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
        self.by_object: dict[Any, str] = {}
        self.methods: dict[Any, str] = {}
        targets = {
            name: [one for one in map(_found, (name, *twins)) if one is not None] for name, twins in _twins(names)
        }
        operators = {op: name for name in reversed(names) for op, key in kernels(name) if key != AUTOCAST}
        self.functions = texts_of(operators) | functions_of(targets)
        """Those in Python: their code is taken out."""
        self.prints = Prints(self.functions)
        modules = {name: [one for one in found if isinstance(one, ModuleType)] for name, found in targets.items()}
        self.packages = [name for name, found in modules.items() if found and torch not in found]
        """Those whose functions in C are taken out, too."""
        for name, found in targets.items():
            for target in found:
                self._add(target, name)
            self.by_object |= dict.fromkeys(backend_calls(name), name)
        self.profiled = any(one not in self.by_torch for one in [*self.by_object, *self.methods])
        """Whether the profiler has to run throughout: for what no mode sees."""

    def _add(self, target: Any, name: str) -> None:
        if isinstance(target, type):
            if not functions_of({name: [target]}):
                raise TypeError(f"{name} is a class written in C, whose calls cannot be seen: it cannot be forbidden")
            return
        if isinstance(target, ModuleType):
            if target.__name__ != name.partition(".")[0]:
                raise TypeError(f"{name} is a module: only a whole package can be forbidden")
            if target is not torch:  # whose operations are seen
                self.functions |= dict.fromkeys(of_package(name), name)
            return
        if target in get_testing_overrides():
            self.by_torch[target] = name
        while hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        if isinstance(target, MethodDescriptorType):
            self.methods[target] = name
        elif not isinstance(target, FunctionType):
            self.by_object[target] = name

    def compiled(self) -> str | None:
        """The forbidden function that torch.jit has compiled: nothing sees its calls."""
        known: Any = torch.jit._state._try_get_jit_cached_function
        return next((name for function, name in self.functions.items() if known(function)), None)

    def called(self, arg: Any) -> str | None:
        """The name of the forbidden call that a call of this is, which is written in C."""
        for method, name in self.methods.items():
            if arg.__name__ == method.__name__ and isinstance(arg.__self__, method.__objclass__):
                return name
        return self.by_object.get(arg)


def get_ready(*sets: Sequence[str]) -> None:
    """Look up what watches over these sets of names need, so that the forks of this process need not."""
    for names in sets:
        with suppress(Exception):  # a name that means nothing spoils the questions of its part: they say so
            _watched(tuple(names))  # may import what it looks into
            _watched(tuple(names))


@lru_cache(maxsize=128)
def _kept(names: tuple[str, ...], modules: int) -> _Watched:
    return _Watched(names)


@lru_cache(maxsize=8)
def _count(packages: frozenset[str], modules: int) -> int:
    """How many modules of these packages there are."""
    return sum(name.partition(".")[0] in packages for name in list(sys.modules))


def _watched(names: tuple[str, ...]) -> _Watched:
    """What to look for, anew where modules of the same packages were imported since: these may bring more of it."""
    packages = frozenset(name.partition(".")[0] for name in names)
    return _kept(names, _count(packages, len(sys.modules)))


_HOLE = "what to call"


def _hole(*args: Any, **kwargs: Any) -> None:
    """The code of a function that has been taken out, with a hole for what it calls."""
    what: Any = "what to call"
    what()


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
        with _profiling(self.profile):  # torch has taken the mode off: the profiler sees what is called inside
            return func(*args, **(kwargs or {}))


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


@contextmanager
def _profiling(profile: Any) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before if callable(before) else None)  # cProfile's own cannot be put back


@contextmanager
def _taken_out(functions: Mapping[FunctionType, str], offend: Callable[[str], None]) -> Iterator[None]:
    """Give functions another code, which calls `offend`: whoever holds one under whatever name calls this."""
    own = {function: function.__code__ for function in functions}
    try:
        for function, name in functions.items():
            says = [partial(offend, name) if const == _HOLE else const for const in _hole.__code__.co_consts]
            function.__code__ = _hole.__code__.replace(
                co_consts=tuple(says), co_name=function.__name__, co_freevars=function.__code__.co_freevars
            )
        yield
    finally:
        for function, code in own.items():
            function.__code__ = code


@contextmanager
def loading(names: Sequence[str], own: Collection[str]) -> Iterator[set[Any]]:
    """Gives the prints of the copies that are made inside, while files are loaded, of functions of `names`.

    own: the names of these files, each of which runs once: its text may be anything.
    """
    copied: set[Any] = set()
    left = set(own)
    sought = _watched(tuple(filter(_is_watchable, names))) if names else None

    def tell(code: CodeType) -> None:
        if code.co_filename in left:
            left.remove(code.co_filename)
        elif sought:
            copied.update(sought.prints.found(code))

    with heard(tell) if names else nullcontext():
        yield copied


@contextmanager
def watched(names: Sequence[str], copied: Collection[Any] = ()) -> Iterator[list[Forbidden]]:
    """Raise Forbidden as soon as one of `names` is called inside, by whomever and under whatever name.

    copied: what `loading` gave. A copy of a function of `names` that was made then is an offence of its own.

    Gives the list of what was raised so far: code that swallows the exception has offended all the same.
    """
    offences: list[Forbidden] = []
    if not names:
        yield offences
        return
    sought = _watched(tuple(names))

    def refuse(said: str) -> None:
        raise raised(said)

    def raised(said: str) -> Forbidden:
        offences.append(Forbidden(said))
        return offences[-1]

    def offend(name: str) -> None:
        refuse(f"{name} is what this part is there to write: call something simpler")

    def tell(code: CodeType) -> None:
        _refuse_copy(sought.prints.name(sought.prints.found(code)), refuse)

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event != "c_call":  # most are calls of Python and returns, at each of which this runs
            return
        name = sought.called(arg)
        if name:
            offend(name)
        if arg is sys.setprofile and frame.f_code.co_filename != __file__:
            refuse("sys.setprofile would take away the watch over this part's forbidden calls")

    _refuse_copy(sought.prints.name(copied), refuse)
    with ExitStack() as stack:
        stack.enter_context(trapped(names, offend))
        stack.enter_context(_taken_out(sought.functions, offend))
        stack.enter_context(hidden(sought.packages, offend))
        stack.enter_context(heard(tell))
        stack.enter_context(looked_at(names, refuse))
        stack.enter_context(_on(_Mode(sought.by_torch, offend, profile)))
        if sought.profiled:
            stack.enter_context(Alone("while its calls were watched"))  # a profiler is each thread's own
            stack.enter_context(_profiling(profile))
        yield offences
        compiled = sought.compiled()
        if compiled and not offences:
            raise raised(f"{compiled} was compiled by torch.jit: it is what this part is there to write")


def _refuse_copy(name: str | None, refuse: Callable[[str], None]) -> None:
    if name:
        refuse(f"a copy of {name} was made, which is what this part is there to write: call something simpler")
