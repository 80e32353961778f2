"""What is forbidden of every operation: to be one of torch's at all, or to be recorded by autograd.

Both are seen by a mode below autograd, at each operation that the thread runs, whatever name led to it. Without a
record of operations no entry of autograd's has a gradient to give.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from grader.answering.alone import Alone
from grader.answering.tensors import tensors

TORCH = "torch"
"""The name that forbids all operations of torch's, in a part that is written in numpy."""
AUTOGRAD = re.compile(r"torch\.(autograd|func)\.(?!vmap\b).+|torch\.Tensor\.backward")
"""The names that forbid autograd: one of them forbids each way to it."""


class Lean(TorchDispatchMode):
    """A mode of torch's without what its wrapper would import: a compiler, 1 s."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's switch to leave `__torch_dispatch__` unwrapped."""
        return False


class _Any(Lean):
    def __init__(self, refuse: Callable[[str], None]) -> None:
        super().__init__()
        self.refuse = refuse

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.refuse(f"this part is written without torch, and {func} was called")
        return func(*args, **(kwargs or {}))


class _Recorded(_Any):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_grad_enabled() and any(one.requires_grad for one in tensors((args, kwargs or {}))):
            self.refuse(f"this part computes its gradients itself, and autograd was recording at {func}")
        return func(*args, **(kwargs or {}))


@contextmanager
def looked_at(names: Sequence[str], refuse: Callable[[str], None]) -> Iterator[None]:
    """Call `refuse`, which raises, with a sentence, at an operation that one of `names` forbids."""
    kinds = [_Any] if TORCH in names else []
    kinds += [_Recorded] if any(map(AUTOGRAD.fullmatch, names)) else []
    with ExitStack() as stack:
        if kinds:
            stack.enter_context(Alone("while its calls were watched"))  # a mode is each thread's own
        for kind in kinds:
            stack.enter_context(kind(refuse))
        yield
