"""Which operators a forbidden name stands for, and traps in the dispatcher's own table.

Whatever name, wrapper, mode, thread, jit or C entry reaches an operator, the dispatcher looks up its kernel. A trap is
a kernel that raises, laid over torch's own as long as calls are watched: other operators pay nothing for it.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist  # registers its operators
from torch.library import Library

from grader.answering.operations import AUTOGRAD, Lean
from grader.answering.tensors import tensors

_ATTENTION = r"aten::\w*attention\w*|aten::_transformer_encoder_layer_fwd"
_FAMILIES = {
    "torch.nn.functional.scaled_dot_product_attention": _ATTENTION,
    "torch.nn.functional.multi_head_attention_forward": r"aten::_\w+_multi_head_attention|aten::_transformer_\w+_fwd",
    "torch.nn.functional.cross_entropy": r"aten::cross_entropy_loss",
    "torch.nn.MultiheadAttention": r"aten::_\w+_multi_head_attention|aten::_transformer_\w+_fwd",
    "torch.amp.GradScaler": r"aten::_amp_\w+",
    "torch.fake_quantize_per_tensor_affine": r"aten::_?fake_quantize_per_tensor_affine\w*",
    "torch.fake_quantize_per_channel_affine": r"aten::fake_quantize_per_channel_affine\w*",
    "torch._fake_quantize_learnable_per_tensor_affine": r"aten::_fake_quantize_learnable_per_\w+",
    "torch.fused_moving_avg_obs_fake_quant": r"aten::_?fused_moving_avg_obs_f\w+",
    "torch.distributed.all_reduce": r"c10d::allreduce_|_c10d_functional::all_reduce_?",
    "torch.distributed.all_reduce_coalesced": r"c10d::allreduce_coalesced_|_c10d_functional::all_reduce_coalesced_?",
    "torch.distributed.reduce": r"c10d::reduce_",
    "torch.distributed.reduce_scatter": r"c10d::reduce_scatter_",
    "torch.distributed.reduce_scatter_tensor": r"\w*c10d\w*::_?reduce_scatter_(base|tensor)\w*",
    "torch.distributed.all_gather": r"c10d::allgather_(coalesced_)?",
    "torch.distributed.all_gather_into_tensor": r"\w*c10d\w*::(_allgather_base_|all_?gather_into_tensor\w*)",
    "torch.distributed.gather": r"c10d::gather_",
    "torch.distributed.scatter": r"c10d::scatter_",
    "torch.distributed.broadcast": r"(_c10d_functional|c10d)::broadcast_?",
    "torch.distributed.all_to_all": r"c10d::alltoall_",
    "torch.distributed.all_to_all_single": r"\w*c10d\w*::(alltoall_base_|all_to_all_single)",
}
"""A name that can be forbidden to its operators, where they bear other names. Theirs alone: no honest call runs one."""
_DERIVATIVES = r"aten::\w*(backward|_jvp)\w*|aten::_make_dual\w*"
"""The operators that give derivatives, or begin to: nothing but autograd runs them."""
AUTOCAST = "AutocastCPU"
"""The dispatch key of what runs under autocast: the operator itself is free."""
_AUTOCAST = {"torch.autocast", "torch.amp.autocast", "torch.set_autocast_enabled"}
"""What turns autocast on: each operator's kernel for autocast is a trap."""
_CASTS = {"torch.Tensor.bfloat16": torch.bfloat16, "torch.Tensor.half": torch.float16}
"""A cast to the dtype that it gives: many operators can do it."""
_HOW = {
    "safe", "masked", "sparse", "csr", "nested", "native", "special", "fused", "cudnn", "mkldnn", "miopen", "legit",
    "interface", "impl", "index", "functional", "differentiable", "forward", "no", "training", "with", "update",
    "stats",
}  # fmt: skip
"""Words in the names of operators that say how one does its work, or of which pieces."""
_KEYS = re.compile(
    r"(Composite\w+|FuncTorch\w+|(?:Quantized|Mkldnn|Sparse|SparseCsr|NestedTensor)?CPU)(?:\[alias\])?: "
)
"""The dispatch keys, among those that have a kernel of their own, that a call on this machine can end at."""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The qualified names of all operators, with their overloads: `aten::mean.dim`."""
    return tuple(sorted(torch._C._dispatch_get_all_op_names()))


@lru_cache(maxsize=64)
def kernels(name: str) -> tuple[tuple[str, str], ...]:
    """What runs where `name` is called: (operator, dispatch key). Empty for what is no operator of torch's."""
    if name in _AUTOCAST:
        cast = [op for op in names() if op.startswith("aten::") and _has(op, AUTOCAST)]
        return tuple((op, AUTOCAST) for op in cast)
    base = name.rsplit(".", 1)[-1]
    of_torch = re.fullmatch(r"torch(\.Tensor|\.nn\.functional|\.special|\.linalg|\.fft)?", name.rpartition(".")[0])
    if AUTOGRAD.fullmatch(name):
        return tuple((op, key) for op in names() if re.fullmatch(_DERIVATIVES, _base(op)) for key in _own_keys(op))
    if name in _FAMILIES:
        found = [op for op in names() if re.fullmatch(_FAMILIES[name], _base(op))]
    else:
        found = [op for op in names() if of_torch and op.startswith("aten::") and _words(_base(op)[6:]) == _words(base)]
    return tuple((op, key) for op in found for key in _own_keys(op))


@lru_cache(maxsize=8192)
def _words(name: str) -> tuple[str, ...]:
    """What an operator does, without what says how: `_masked_softmax` is a softmax."""
    return tuple(word for word in name.split("_") if word and word not in _HOW)


def _base(op: str) -> str:
    return op.partition(".")[0]


def backend_calls(name: str) -> Iterator[Any]:
    """The methods of a process group's backend that run a collective past the dispatcher."""
    for op in {op.removeprefix("c10d::").rstrip("_") for op, _ in kernels(name) if op.startswith("c10d::")}:
        for kind in (dist.Backend, torch._C._distributed_c10d.Backend, dist.ProcessGroup):
            method = getattr(kind, op, None)
            if method is not None:
                yield getattr(method, "__func__", method)


def _has(op: str, key: str) -> bool:
    known = torch._C._dispatch_has_kernel(op)  # of some operators of TorchScript the dispatcher knows nothing
    return known and torch._C._dispatch_has_kernel_for_dispatch_key(op, key)


def _own_keys(op: str) -> list[str]:
    if not torch._C._dispatch_has_kernel(op):
        return []
    return [found[1] for line in torch._C._dispatch_dump(op).splitlines() if (found := _KEYS.match(line))]


@contextmanager
def trapped(sought: Sequence[str], offend: Callable[[str], None]) -> Iterator[None]:
    """Call `offend`, which raises, with the name whose operator is about to run, in this process, by whomever."""
    libraries: dict[str, Library] = {}
    laid = set()
    with ExitStack() as stack:
        for name in sought:
            trap = _trap(name, offend)
            for op, key in kernels(name):
                if (op, key) in laid:
                    continue
                laid.add((op, key))
                space, _, base = op.partition("::")
                if space not in libraries:
                    libraries[space] = Library(space, "IMPL")
                    stack.callback(libraries[space]._destroy)
                _lay(libraries[space], base, key, trap)
            if name in _CASTS:
                stack.enter_context(_Casts(_CASTS[name], trap))
        yield


class _Casts(Lean):
    """Springs a trap where an operator makes numbers of one dtype of those of another. Their bits may be seen anew."""

    def __init__(self, dtype: torch.dtype, trap: Callable[..., None]) -> None:
        super().__init__()
        self.dtype = dtype
        self.trap = trap

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(made.dtype == self.dtype for made in tensors((out,))) and func is not torch.ops.aten.view.dtype:
            other = any(one.is_floating_point() and one.dtype != self.dtype for one in tensors((args, kwargs or {})))
            if other or func is torch.ops.aten.lift_fresh.default:  # of what torch.tensor(list) made
                self.trap()
        return out


def _trap(name: str, offend: Callable[[str], None]) -> Callable[..., None]:
    def trap(*args: Any, **kwargs: Any) -> None:
        offend(name)

    return trap


def _lay(library: Library, base: str, key: str, trap: Callable[..., None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel of torch's is overridden, once in a process
        library.impl(base, trap, key, allow_override=True)
