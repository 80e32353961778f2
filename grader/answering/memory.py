"""The memory of what is made inside a measured region: torch's storages, numpy's arrays, and Python's own values.

Storages are weighed, not tensors: a view keeps all of what it is a view of.
"""

import gc
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from grader.answering.arrays import Ledger
from grader.answering.tensors import tensors

_A_FEW = 64
"""Values that may leave torch before Python's own memory counts."""
_ELEMENT = 8
"""Bytes that an element of an array is taken to have: numpy allocates bytes."""
_LARGE = 1 << 14
"""Bytes of a value in Python that torch's own work does not make."""
_PYTHON_SLACK = 1 << 16
"""Bytes that any code takes: of objects, and of the buffers with which numpy goes through arrays."""
_ENTRY = 300
"""Bytes of what is remembered here of one storage."""
_PYTHON_FLOAT = 32
"""Bytes of a float and its place in a list."""


class Memory:
    """Adds up what is alive; `peak` in bytes and `largest` in elements are the most so far."""

    def __init__(self) -> None:
        self.peak = 0
        self.largest = 0
        self.arrays = Ledger(self._array)
        self.saved: dict[int, StorageWeakRef] = {}
        """Storages kept for the backward pass."""
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes = 0  # of `_made`, some of which may have gone since
        self._buffers: list[int] = []  # those of `_made` that Python may have allocated
        self._held: dict[int, tuple[StorageWeakRef, int]] | None = None
        self._out = 0
        self._mapped = 0
        self._python: _Python | None = None

    def open(self) -> None:
        """Call where a region begins: what is alive now was not made in it."""
        self._held, self._mapped = None, 0
        self._python = _Python()
        if self._out > _A_FEW:
            self._python.begin(self.arrays.bytes)

    def sizes(self, taken: Iterable[torch.Tensor]) -> dict[int, int]:
        """The bytes that each storage has before an operation takes it, by its key."""
        return {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in taken)}

    def held(self, sources: Iterable[Any]) -> dict[int, int]:
        """As `sizes`, of storages over which a tensor is to be laid: what other tensors have of them already.

        `copy.deepcopy` lays one over the storage that it copies; one that Python has made inside is no tensor's yet.
        """
        storages = [source for source in sources if isinstance(source, torch.UntypedStorage)]
        if storages and self._held is None:
            self.weigh()
            self._held = _all_held()
            tracemalloc.reset_peak()  # the list of all objects is not the attempt's
        known = self._held or {}
        found = {storage._cdata: known[storage._cdata] for storage in storages if storage._cdata in known}
        return {key: size for key, (reference, size) in found.items() if not reference.expired()}

    def note(
        self, tensor: torch.Tensor, before: dict[int, int], *, of_array: bool = False, is_laid: bool = False
    ) -> bool:
        """Remember a storage that an operation made or made larger; False for a view or an argument.

        before: `sizes` of what the operation took. of_array: it may lie over what `arrays` or `enter` counts.
        is_laid: over a storage that was given by itself, which torch copies as bytes, whatever it holds.
        """
        storage = tensor.untyped_storage()
        size, had = storage.nbytes(), before.get(storage._cdata)
        element = _ELEMENT if is_laid and tensor.dtype is torch.uint8 else tensor.element_size()
        if is_laid and storage._cdata in self._made:
            self.largest = max(self.largest, size // element)
        if had is not None and size <= self._made.get(storage._cdata, (None, had))[1]:
            return False  # `out=` and `resize_` make an argument larger, and so does Python between two operations
        if of_array and not storage.resizable():
            self.largest = max(self.largest, tensor.numel())
        else:
            self._make(storage, size, element)
        return had is None

    def enter(self, tensor: torch.Tensor) -> None:
        """Remember a tensor over a buffer that neither torch nor numpy has allocated."""
        storage = tensor.untyped_storage()
        if not storage.resizable():  # else torch has copied it
            self._make(storage, storage.nbytes(), tensor.element_size())
            self._buffers.append(storage._cdata)
            self.weigh()

    def _make(self, storage: torch.UntypedStorage, size: int, element: int) -> None:
        _, known = self._made.get(storage._cdata, (None, 0))  # an operation may give two views of what it made
        self._made[storage._cdata] = (StorageWeakRef(storage), size)
        self._bytes += size - known
        self.largest = max(self.largest, size // element)

    def save(self, tensor: torch.Tensor) -> int:
        """The bytes of a storage that is kept for backward; 0 if it is known already."""
        storage = tensor.untyped_storage()
        known = self.saved.get(storage._cdata)
        if known is not None and not known.expired():
            return 0
        self.saved[storage._cdata] = StorageWeakRef(storage)
        return storage.nbytes()

    def left(self, values: int) -> None:
        """So many values have gone on in numpy or in Python."""
        before, self._out = self._out, self._out + values
        if self._python and before <= _A_FEW < self._out:
            self._python.begin(self.arrays.bytes)
            self.weigh()

    def map(self, size: int) -> None:
        """Pages of so many bytes were mapped; until the region ends, since nobody says when they go."""
        self._mapped += size
        self.weigh()

    def weigh(self) -> None:
        """What is alive now may be more than ever before."""
        beside = self._beside()
        if self._bytes + beside > self.peak:
            self._made = {key: entry for key, entry in self._made.items() if not entry[0].expired()}
            self._bytes = sum(size for _, size in self._made.values())
            self.peak = max(self.peak, self._bytes + beside)

    def close(self) -> None:
        """Weigh for the last time."""
        self.weigh()
        if self._python:
            self._python.close()
            self._python = None

    def _array(self, size: int) -> None:
        self.largest = max(self.largest, size // _ELEMENT)
        self.weigh()

    def _beside(self) -> int:
        """Bytes beside torch's."""
        own = self._mapped - sum(self._made[key][1] for key in self._buffers if key in self._made)
        if self._python and self._out > _A_FEW:
            own += self._python.most(self.arrays.bytes) - _ENTRY * len(self._made)
            self.largest = max(self.largest, own // _PYTHON_FLOAT)
        return self.arrays.bytes + max(0, own)

    def kept(self, *owned: Any) -> int:
        """Bytes made inside that are still alive, without what the tensors and arrays in `owned` hold of them.

        Of a storage, that is their elements: a small view of a large one leaves the rest to be counted. Of a graph that
        hangs on them, it is what was saved for backward.
        """
        used: dict[int, int] = {}
        differentiable = False
        for tensor in tensors(owned):
            storage = tensor.untyped_storage()
            used[storage._cdata] = used.get(storage._cdata, 0) + tensor.numel() * tensor.element_size()
            differentiable |= tensor.requires_grad
            if not storage.resizable() and (start := self.arrays.block_of(storage.data_ptr())) is not None:
                used[start] = used.get(start, 0) + tensor.numel() * tensor.element_size()
        for array in _arrays(owned):
            start = self.arrays.block_of(array.__array_interface__["data"][0])
            if start is not None:
                used[start] = used.get(start, 0) + array.nbytes
        total = sum(max(0, size - used.get(start, 0)) for start, size in self.arrays.blocks.items())
        for key, (reference, _) in self._made.items():
            if not reference.expired() and not (differentiable and key in self.saved):
                total += max(0, _size(reference) - used.get(key, 0))
        return total


def _all_held() -> dict[int, tuple[StorageWeakRef, int]]:
    """The storages of all tensors that Python knows, by their keys, each with the bytes to which tensors reach."""
    found: dict[int, tuple[StorageWeakRef, int]] = {}
    for one in gc.get_objects():
        if issubclass(type(one), torch.Tensor):
            with suppress(Exception), torch._C.DisableTorchFunctionSubclass():  # some kinds of tensors have none
                storage = torch.Tensor.untyped_storage(one)
                _, size = found.get(storage._cdata, (None, 0))
                found[storage._cdata] = StorageWeakRef(storage), max(size, _reach(one))
    return found


def _reach(tensor: torch.Tensor) -> int:
    """Bytes of a storage up to the last element of a tensor over it."""
    if not tensor.numel():
        return 0
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset() + last + 1) * tensor.element_size()


class _Python:
    """The memory of Python's own values, from where it is made."""

    open = 0
    """How many there are: a region may lie in another."""

    def __init__(self) -> None:
        self._begins = not tracemalloc.is_tracing()
        if self._begins:
            tracemalloc.start()
        elif not _Python.open:
            tracemalloc.clear_traces()  # tracing goes on, as in a rank: what was made before the region does not count
        _Python.open += 1
        self._before = self._arrays = 0

    def begin(self, arrays: int) -> None:
        """Count from now on, and what is large of what was made before: the rest may be of torch's own work.

        arrays: bytes of numpy's, which are traced too.
        """
        large = sum(trace.size for trace in tracemalloc.take_snapshot().traces if _is_large_of_python(trace))
        self._before = tracemalloc.get_traced_memory()[0] - arrays - large
        self._arrays = arrays
        tracemalloc.reset_peak()

    def most(self, arrays: int) -> int:
        """The most bytes since the last call. arrays: bytes of numpy's now; between calls there are not more."""
        most = tracemalloc.get_traced_memory()[1] - self._before - self._arrays - _PYTHON_SLACK
        self._arrays = arrays
        tracemalloc.reset_peak()
        return max(0, most)

    def close(self) -> None:
        _Python.open -= 1
        if self._begins:
            tracemalloc.stop()


def _is_large_of_python(trace: tracemalloc.Trace) -> bool:
    return trace.size >= _LARGE and trace.domain != np.lib.tracemalloc_domain


class Graph:
    """The nodes of autograd that are made inside; it may be entered more than once.

    most: how many were alive at once. A node says that it is gone by what has been laid into its metadata.
    """

    def __init__(self) -> None:
        self.most = 0
        self._alive = 0
        self._made: list[tuple[int, int]] = []
        self._first = 0

    def __enter__(self) -> None:
        self._first = _next_node()

    def __exit__(self, *error: Any) -> None:
        self._made.append((self._first, _next_node()))

    def note(self, taken: Iterable[torch.Tensor]) -> None:
        """Count the nodes below tensors that an operation takes."""
        waiting: list[Any] = [tensor.grad_fn for tensor in taken if tensor.requires_grad]
        while waiting:
            node = waiting.pop()
            if node is not None and self._first <= node._sequence_nr() < _OF_A_LEAF and self not in node.metadata:
                node.metadata[self] = _Life(self)
                waiting += [before for before, _ in node.next_functions]

    def count(self, change: int) -> None:
        self._alive += change
        self.most = max(self.most, self._alive)

    def kept(self, *owned: Any) -> int:
        """How many are alive, without those that the tensors in `owned` hang on."""
        if all(first == last for first, last in self._made):
            return 0
        theirs = _below(tensor.grad_fn for tensor in tensors(owned))
        held = _below(_ends()).keys() - theirs.keys()
        return sum(first <= node._sequence_nr() < last for node in held for first, last in self._made)


_OF_A_LEAF = 1 << 63
"""All nodes have a smaller number."""


class _Life:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        graph.count(1)

    def __del__(self) -> None:
        self.graph.count(-1)


def _next_node() -> int:
    """The number that the next node will get."""
    return int(torch._C._autograd._get_sequence_nr())


def _ends() -> Iterator[Any]:
    """Every node of autograd that something in Python holds, itself or as a tensor's."""
    for one in gc.get_objects():
        kind = type(one)
        if issubclass(kind, torch.Tensor):
            yield one.grad_fn
        elif issubclass(kind, torch._C._FunctionBase) or (
            kind.__module__ == "builtins" and hasattr(kind, "next_functions")
        ):
            yield one


def _below(ends: Iterator[Any]) -> dict[Any, None]:
    """All nodes of the graphs that end there. As long as they are held, two of them are never one object."""
    found: dict[Any, None] = {}
    waiting = [node for node in ends if node is not None]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += [before for before, _ in node.next_functions if before is not None]
    return found


def _size(reference: StorageWeakRef) -> int:
    """The bytes that a storage has now: some code gives its memory back and keeps the storage."""
    return int(torch.UntypedStorage._new_with_weak_ptr(reference.cdata).nbytes())


def _arrays(values: Any) -> Iterator[np.ndarray[Any, Any]]:
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, list | tuple | dict):
            yield from _arrays(value)
