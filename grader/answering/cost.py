"""What a computation costs, counted, never timed: operations, elements, bytes.

Operations are torch's: what leaves torch (for numpy, for lists) is told by `Cost.left`, and its memory counts all the
same. Work in another thread is refused: see grader/answering/alone.py.
"""

import gc
from collections import Counter
from contextlib import ExitStack, nullcontext
from typing import Any

import msgspec
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.flop_counter import flop_registry

from grader.answering import arrays, entering, leaving
from grader.answering.alone import Alone
from grader.answering.memory import Graph, Memory
from grader.answering.tensors import tensors

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
    """Elements of the largest tensor made. A numpy array has one for 8 bytes; all values in Python count as one."""
    peak: int = 0
    """Most bytes alive at once, of tensors, arrays and Python's own values made inside."""
    saved: int = 0
    """Bytes kept for the backward pass, each storage once."""
    kept: int = 0
    """Bytes of tensors and arrays made inside that stayed alive after it, beside what was returned."""
    kept_nodes: int = 0
    """Nodes of autograd made inside that stayed alive after it, beside those that what was returned hangs on."""
    nodes: int = 0
    """Most nodes of autograd alive at once, of those made inside whose result another operation took."""
    left: dict[str, int] = {}
    """Way out of torch (`Tensor.numpy`, `Tensor.tolist`, `Tensor.item`, ...) to the number of values that took it."""
    calls: dict[str, int] = {}
    """Operator name (`mm`, `exp`, ...) to the times it ran."""
    sent: dict[str, int] = {}
    """Operator of torch.distributed (`send`, `allreduce_`, ...) to the bytes that this rank handed to it."""


class Meter:
    """Context manager that adds what runs inside it to `cost`; it may be entered more than once.

    Raises Elsewhere where other threads of the attempt's live or start meanwhile.
    """

    def __init__(self) -> None:
        self.cost = Cost()
        self.has_weighed = False
        """Whether `kept` has been asked."""
        self._memory = Memory()
        self._graph = Graph()
        self._counts = _Counts()

    def __enter__(self) -> "Meter":
        self._stack = ExitStack()
        self._stack.enter_context(Alone("while its cost was measured"))
        self._stack.callback(self._close)
        self._stack.enter_context(self._graph)
        self._stack.enter_context(arrays.counted(self._memory.arrays))
        self._stack.enter_context(leaving.heard(self._hear))
        self._stack.enter_context(entering.heard(self._memory.enter, self._memory.map))
        self._memory.open()
        self._stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor))
        self._stack.enter_context(_Watch(self.cost, self._memory, self._graph, self._counts, self._hear))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def kept(self, *owned: Any) -> int:
        """Bytes made inside that are alive now, beside what the tensors and arrays in `owned` hold; sets `cost.kept`.

        Call it after the region, with what was returned and what an object is to hold, in lists and dicts as it
        comes. Of a tensor its elements are left out, not the whole of a storage that it keeps alive. Sets
        `cost.kept_nodes` too: nodes of autograd made inside and alive, without those that `owned` hangs on.
        """
        self.has_weighed = True
        for collect in (False, True):
            if collect:
                gc.collect()  # what is left may be garbage in a circle
            self.cost.kept, self.cost.kept_nodes = self._memory.kept(*owned), self._graph.kept(*owned)
            if not self.cost.kept and not self.cost.kept_nodes:
                break
        return self.cost.kept

    def _close(self) -> None:
        self._memory.close()
        self.cost.peak, self.cost.largest, self.cost.nodes = self._memory.peak, self._memory.largest, self._graph.most
        self.cost.calls, self.cost.left = dict(self._counts.calls), dict(self._counts.left)

    def _hear(self, way: str, values: int) -> None:
        self._counts.left[way] += values
        self._memory.left(values)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.cost.saved += self._memory.save(tensor)
        return tensor.detach()  # itself would be a cycle where an operation saves its own result


class Unmetered(nullcontext[None]):
    """Stands where a `Meter` stands for a driver that is asked for its value alone."""

    def kept(self, *owned: Any) -> int:
        return 0


class _Counts:
    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.left = Counter[str]()


def is_measured() -> bool:
    """Whether a cost is being measured in this thread."""
    return any(isinstance(mode, _Watch) for mode in _get_current_dispatch_mode_stack())


class _Watch(TorchDispatchMode):
    """Sees each operator of torch's that runs in this thread."""

    def __init__(self, cost: Cost, memory: Memory, graph: Graph, counts: _Counts, hear: leaving.Hear) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self.cost = cost
        self.memory = memory
        self.graph = graph
        self.calls = counts.calls
        self.hear = hear

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's switch to leave `__torch_dispatch__` unwrapped: its wrapper would import a compiler, 1 s."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        fresh = packet is aten.lift_fresh  # what torch.tensor or torch.from_numpy has just made of values from outside
        taken = list(tensors((args, kwargs)))
        before = {} if fresh else self.memory.sizes(taken)
        laid = self.memory.held(args[1:2]) if packet is aten.set_ else None
        before |= laid or {}
        self.graph.note(taken)
        out = func(*args, **kwargs)
        self.calls[packet.__name__] += 1
        if func.namespace == "c10d":
            self._send(func, args)
        elif packet is aten._local_scalar_dense:
            self.hear("Tensor.item", 1)
        if packet in _FLOPS:
            flops = _FLOPS[packet](*args, **kwargs, out_val=out)
        elif packet in _VECTOR_FLOPS:
            flops = _VECTOR_FLOPS[packet](*args, **kwargs)
        else:
            flops = 0
        self.cost.flops += flops
        self.cost.work += flops
        for tensor in tensors((out,)):
            new = self.memory.note(tensor, before, of_array=fresh, is_laid=laid is not None)
            if not flops and (new or func._schema.is_mutable):
                written = _WRITTEN.get(packet)
                self.cost.work += written(*args, **kwargs) if written else tensor.numel()
        self.memory.weigh()
        return out

    def _send(self, func: Any, args: Any) -> None:
        """Add what a collective or a send takes from this rank: its first argument, or the one after its output."""
        name = func._overloadpacket.__name__
        if name.startswith("recv") or (name == "broadcast_" and not _is_root(*args[1:3])):
            return
        given = args[1] if func._schema.arguments[0].name.startswith("output") else args[0]
        size = sum(t.numel() * t.element_size() for t in tensors((given,)))
        if size:
            self.cost.sent[name] = self.cost.sent.get(name, 0) + size


def _is_root(group: Any, root: int) -> bool:
    """Whether this rank is the one of a group that a broadcast takes from."""
    return bool(torch.distributed.ProcessGroup.unbox(group).rank() == root)
