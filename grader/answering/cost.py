"""What a computation costs, counted, never timed: operations, elements, bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

# Operator to a function of its arguments that counts its operations.
_FLOPS: dict[Any, Any] = dict(flop_registry)
# Matrix-vector products, which torch's registry leaves out.
_VECTOR_FLOPS: dict[Any, Any] = {
    aten.mv: lambda a, x: 2 * a.numel(),
    aten.addmv: lambda y, a, x, **_: 2 * a.numel(),
    aten.dot: lambda a, x: 2 * a.numel(),
    aten.vdot: lambda a, x: 2 * a.numel(),
    aten.addr: lambda y, a, x, **_: 2 * a.numel() * x.numel(),
}
# Operators that write to some places of their first argument, to a function that counts the elements there.
_WRITTEN: dict[Any, Any] = {
    aten.index_put_: lambda x, indices, *_, **__: aten.index(x, indices).numel(),
    aten.scatter_: lambda x, dim, index, *_, **__: index.numel(),
    aten.scatter_add_: lambda x, dim, index, *_, **__: index.numel(),
    aten.scatter_reduce_: lambda x, dim, index, *_, **__: index.numel(),
    aten.index_add_: lambda x, dim, index, source, **_: source.numel(),
    aten.index_copy_: lambda x, dim, index, source: source.numel(),
    aten.index_fill_: lambda x, dim, index, value: index.numel() * x.numel() // max(1, x.shape[dim]),
}


class Cost(msgspec.Struct):
    """What ran inside one measured region."""

    flops: int = 0
    """Matrix products and convolutions, 2 per multiply-add."""
    work: int = 0
    """`flops`, plus one for each element that any other operation writes."""
    largest: int = 0
    """Elements of the largest tensor that was made."""
    peak: int = 0
    """Most bytes alive at once, of tensors made inside."""
    saved: int = 0
    """Bytes kept for the backward pass, each storage once."""
    calls: dict[str, int] = {}
    """Operator name (`mm`, `exp`, ...) to the times it ran."""
    sent: dict[str, int] = {}
    """Operator of torch.distributed (`send`, `allreduce_`, ...) to the bytes that this rank handed to it."""


class Meter:
    """Context manager that adds what runs inside it to `cost`; it may be entered more than once."""

    def __init__(self) -> None:
        self.cost = Cost()
        self._calls: Counter[str] = Counter()
        self._saved: dict[int, StorageWeakRef] = {}

    def __enter__(self) -> "Meter":
        self._stack = ExitStack()
        self._stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor))
        self._stack.enter_context(_Counter(self.cost, self._calls))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        self.cost.calls = dict(self._calls)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = StorageWeakRef(tensor.untyped_storage())
        known = self._saved.get(storage.cdata)
        if known is None or known.expired():
            self._saved[storage.cdata] = storage
            self.cost.saved += tensor.untyped_storage().nbytes()
        return tensor.detach()  # itself would be a cycle where an operation saves its own result


class _Counter(TorchDispatchMode):
    def __init__(self, cost: Cost, calls: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self.cost = cost
        self.calls = calls
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes = 0  # of `made`, some of which may have gone since

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's switch to leave `__torch_dispatch__` unwrapped: its wrapper would import a compiler, 1 s."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        self.calls[packet.__name__] += 1
        if func.namespace == "c10d":
            self._send(func, args)
        if packet in _FLOPS:
            flops = _FLOPS[packet](*args, **kwargs, out_val=out)
        elif packet in _VECTOR_FLOPS:
            flops = _VECTOR_FLOPS[packet](*args, **kwargs)
        else:
            flops = 0
        self.cost.flops += flops
        self.cost.work += flops
        for tensor in _tensors((out,)):
            new = self._note(tensor, given)
            if not flops and (new or func._schema.is_mutable):
                written = _WRITTEN.get(packet)
                self.cost.work += written(*args, **kwargs) if written else tensor.numel()
        if self._bytes > self.cost.peak:
            self._weigh()
        return out

    def _send(self, func: Any, args: Any) -> None:
        """Add what a collective or a send takes from this rank: its first argument, or the one after its output."""
        name = func._overloadpacket.__name__
        if name.startswith("recv") or (name == "broadcast_" and not _is_root(*args[1:3])):
            return
        given = args[1] if func._schema.arguments[0].name.startswith("output") else args[0]
        size = sum(t.numel() * t.element_size() for t in _tensors((given,)))
        if size:
            self.cost.sent[name] = self.cost.sent.get(name, 0) + size

    def _note(self, tensor: torch.Tensor, given: set[int]) -> bool:
        """Remember a storage that this operation made; False for a view or an argument."""
        storage = tensor.untyped_storage()
        if storage._cdata in given:
            return False
        size = storage.nbytes()
        _, known = self.made.get(storage._cdata, (None, 0))  # an operation may give two views of what it made
        self.made[storage._cdata] = (StorageWeakRef(storage), size)
        self._bytes += size - known
        self.cost.largest = max(self.cost.largest, size // tensor.element_size())
        return True

    def _weigh(self) -> None:
        """Leave out what has gone; what is left may be more than ever before."""
        self.made = {key: entry for key, entry in self.made.items() if not entry[0].expired()}
        self._bytes = sum(size for _, size in self.made.values())
        self.cost.peak = max(self.cost.peak, self._bytes)


def _is_root(group: Any, root: int) -> bool:
    """Whether this rank is the one of a group that a broadcast takes from."""
    return bool(torch.distributed.ProcessGroup.unbox(group).rank() == root)


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among an operator's arguments or results, and in lists and dicts of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())
