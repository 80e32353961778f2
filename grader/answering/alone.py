"""Only the thread that was asked works while a cost is measured, or calls are watched that only Python can see.

What counts and what watches there belongs to a thread and a process. Another thread of the attempt's that lives
meanwhile, and a thread or a process that is started meanwhile, are a fault with a sentence. Threads that torch has in C
run no Python of the attempt's, and `on_ranks` may fork: each rank counts for itself.
"""

import _thread
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils import _python_dispatch

from grader.verdicts.fault import Elsewhere

_STARTS = {
    "_thread.start_joinable_thread": "a thread was started",  # Python 3.13's
    "os.fork": "a process was started",
    "os.forkpty": "a process was started",
    "os.posix_spawn": "a process was started",
    "os.system": "a process was started",
    "subprocess.Popen": "a process was started",
}
"""Python's audit events to what has happened."""
_home: set[int] = set()
"""The threads that were there before any code of an attempt's ran: of pytest, of an editor, of a kernel."""
_open: list["Alone"] = []
_is_heard = False


def at_home() -> None:
    """Call before the code of an attempt is loaded: the threads that are there now are not its own."""
    global _is_heard
    _home.update(sys._current_frames())
    if not _is_heard:
        _is_heard = True
        sys.addaudithook(_hear)  # for good: Python has no way to take one off
        for blinders, torch_may in ((_BLINDERS, False), (_TORCHS_TOO, True)):
            for owner, name in blinders:
                setattr(owner, name, _seeing(owner, name, torch_may))
        _thread.start_new_thread = _thread.start_new = threading._start_new_thread = _start_thread  # type: ignore[attr-defined]


def _hear(event: str, args: Any) -> None:
    if _open and event in _STARTS:
        raise _open[-1].found(_STARTS[event])


_BLINDERS = [
    (torch._C, "_DisableTorchDispatch"),
    (torch._C, "_pop_torch_dispatch_stack"),
    (torch._C, "_dispatch_tls_set_dispatch_key_excluded"),
    (_python_dispatch, "_disable_current_modes"),
]
"""What takes torch's modes off, by which operators are counted. Torch itself holds the names of these that it needs."""
_TORCHS_TOO = [
    (_python_dispatch, "_pop_mode_temporarily"),
    (_python_dispatch, "_pop_mode"),
    (torch._C, "_ExcludeDispatchKeyGuard"),
]
"""The same, which torch calls by these names: its own calls go through."""
TORCH = f"{Path(torch.__file__).parent}{os.sep}"
"""What the name of each of torch's files begins with."""


def _seeing(owner: Any, name: str, torch_may: bool) -> Any:
    blinder = getattr(owner, name)

    def refused_while_open(*args: Any) -> Any:
        if _open and not (torch_may and sys._getframe(1).f_code.co_filename.startswith(TORCH)):
            raise _open[-1].found(f"{name} was called")
        return blinder(*args)

    return refused_while_open


_started = _thread.start_new_thread


def _start_thread(*args: Any) -> Any:
    """Python's own, which Python 3.11 does not audit."""
    if _open:
        raise _open[-1].found("a thread was started")
    return _started(*args)


@contextmanager
def forking() -> Iterator[None]:
    """Around a fork that counts and watches for itself."""
    kept, _open[:] = _open[:], []
    try:
        yield
    finally:
        _open[:] = kept


class Alone:
    """Context manager that raises Elsewhere where other threads or processes of the attempt's could work inside it.

    reason: why it matters, as in "while its cost was measured". Code that swallows the exception gets it at the end.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._found: list[Elsewhere] = []

    def __enter__(self) -> "Alone":
        self._look()
        _open.append(self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if self in _open:
            _open.remove(self)
        if error is None:
            self._look()
        if self._found:
            raise self._found[0] from error

    def found(self, what: str) -> Elsewhere:
        self._found.append(
            Elsewhere(f"this part's work runs in the open, in the thread that was asked: {what} {self.reason}")
        )
        return self._found[-1]

    def _look(self) -> None:
        for other in sys._current_frames().keys() - _home - {threading.get_ident()}:
            known = threading._active.get(other)  # type: ignore[attr-defined]  # `enumerate` takes a lock
            raise self.found(f"thread '{known.name}' was alive" if known else "another thread was alive")
