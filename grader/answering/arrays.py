"""The memory of numpy's arrays, block by block: numpy lets its allocator be replaced (NEP 49).

tracemalloc sees it too, and makes all of Python slower; this costs a microsecond an array. An array keeps the allocator
that it was made with, so this one counts what is freed for as long as the process lives.
"""

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_numpy: Any = importlib.import_module(f"numpy.{'_core' if hasattr(np, '_core') else 'core'}._multiarray_umath")

_SET_HANDLER = 304  # the place of PyDataMem_SetHandler in numpy's table of functions, which is part of its ABI
_libc = ctypes.PyDLL(None)
_owners: dict[int, "Ledger"] = {}
_open: list["Ledger"] = []


class Ledger:
    """The blocks that were allocated while it was open, and are not freed.

    on_more: called after each, with its size in bytes; an exception of it is lost.
    """

    def __init__(self, on_more: Callable[[int], None]) -> None:
        self.blocks: dict[int, int] = {}
        """Address to size in bytes."""
        self.bytes = 0
        self.on_more = on_more

    def add(self, address: int, size: int) -> None:
        _owners[address] = self
        self.blocks[address] = size
        self.bytes += size
        self.on_more(size)

    def remove(self, address: int) -> None:
        self.bytes -= self.blocks.pop(address)

    def block_of(self, address: int) -> int | None:
        """Where the block begins that an address lies in."""
        return next((start for start, size in self.blocks.items() if start <= address < start + size), None)


@contextmanager
def counted(ledger: Ledger) -> Iterator[None]:
    """Count in `ledger` what numpy allocates inside, in this thread."""
    before = _set_handler(_ours)
    _open.append(ledger)
    try:
        yield
    finally:
        _open.remove(ledger)
        _set_handler(before)


def _made(address: int | None, size: int) -> int | None:
    if address and _open:
        _open[-1].add(address, size)
    return address


def _gone(address: int | None, owners: dict[int, Ledger] = _owners) -> None:
    owner = owners.pop(address, None) if address else None
    if owner:
        owner.remove(address)  # type: ignore[arg-type]


def _of_libc(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_libc, name)
    function.restype, function.argtypes = result, arguments
    return function


_SIZE, _ADDRESS = ctypes.c_size_t, ctypes.c_void_p
_malloc = _of_libc("malloc", _ADDRESS, _SIZE)
_calloc = _of_libc("calloc", _ADDRESS, _SIZE, _SIZE)
_realloc = _of_libc("realloc", _ADDRESS, _ADDRESS, _SIZE)
_free = _of_libc("free", None, _ADDRESS)


def _reallocate(context: Any, address: int, size: int) -> int | None:
    _gone(address)
    return _made(_realloc(address, size), size)


def _release(context: Any, address: int, size: int, gone: Any = _gone, free: Any = _free) -> None:
    """As an argument each function is still there when Python ends, and frees its last arrays."""
    gone(address)
    free(address)


class _Handler(ctypes.Structure):
    """`PyDataMem_Handler` of numpy's C API."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", _ADDRESS),
        ("malloc", ctypes.PYFUNCTYPE(_ADDRESS, _ADDRESS, _SIZE)),
        ("calloc", ctypes.PYFUNCTYPE(_ADDRESS, _ADDRESS, _SIZE, _SIZE)),
        ("realloc", ctypes.PYFUNCTYPE(_ADDRESS, _ADDRESS, _ADDRESS, _SIZE)),
        ("free", ctypes.PYFUNCTYPE(None, _ADDRESS, _ADDRESS, _SIZE)),
    )


def _handler() -> _Handler:
    kinds: dict[str, Any] = dict(_Handler._fields_[3:])
    return _Handler(
        b"counted",
        1,
        None,
        kinds["malloc"](lambda context, size: _made(_malloc(size), size)),
        kinds["calloc"](lambda context, count, size: _made(_calloc(count, size), count * size)),
        kinds["realloc"](_reallocate),
        kinds["free"](_release),
    )


def _set_handler_of_numpy() -> Callable[[Any], Any]:
    """numpy's function that takes a handler and gives the one before."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = _ADDRESS, (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(pointer(_numpy._ARRAY_API, None), ctypes.POINTER(_ADDRESS))
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)
    return kind(table[_SET_HANDLER] or 0)


def _capsule(handler: _Handler) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (_ADDRESS, ctypes.c_char_p, _ADDRESS)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handler))  # arrays may outlive this module
    return new(ctypes.addressof(handler), _NAME, None)


_NAME = b"mem_handler"  # numpy looks for it
_set_handler = _set_handler_of_numpy()
_ours = _capsule(_handler())
