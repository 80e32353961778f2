"""Hooks that an attempt has left: for drivers of parts that promise to leave no trace."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as of_all_modules


def hooks(*roots: nn.Module | torch.Tensor) -> int:
    """How many hooks hang on these modules and tensors: on their modules, parameters and buffers, on what collects a
    parameter's gradient, and on all modules of this process. Compare the number before a call with that after it.
    """
    tables = [table for name, table in vars(of_all_modules).items() if name.startswith("_global_")]
    for root in roots:
        for module in root.modules() if isinstance(root, nn.Module) else []:
            tables += [table for name, table in vars(module).items() if name.endswith("_hooks")]
        for tensor in _tensors(root):
            tables += [tensor._backward_hooks, getattr(tensor, "_post_accumulate_grad_hooks", None)]
            tables += _of_node(tensor)
    return sum(len(table) for table in tables if isinstance(table, dict))


def _tensors(root: nn.Module | torch.Tensor) -> Iterator[torch.Tensor]:
    if isinstance(root, torch.Tensor):
        yield root
    else:
        yield from root.parameters()
        yield from root.buffers()


def _of_node(tensor: torch.Tensor) -> Iterator[dict[int, Any]]:
    """The tables of the node that collects a tensor's gradient. Only a handle on a new hook leads to them."""
    if tensor.requires_grad:
        node = torch.autograd.graph.get_gradient_edge(tensor).node
        for register in (node.register_hook, node.register_prehook):
            handle = register(lambda *gradients: None)
            table = handle.hooks_dict_ref()
            handle.remove()
            if table is not None:
                yield dict(table)
