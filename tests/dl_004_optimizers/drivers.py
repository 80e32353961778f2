"""Runs beside the learner's code: makes parameters and optimizers from data, takes steps, and returns data."""

import builtins
import gc
import sys
import types

import numpy as np
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def _parameters(values):
    """Every other one a plain tensor, as in the docstrings: what has a gradient is moved, whoever computed it."""
    return [value.clone() if i % 2 else nn.Parameter(value.clone()) for i, value in enumerate(values)]


def _optimizer(module, name, parameters, groups):
    """groups: for each a pair (numbers of its parameters, its options); one without numbers takes a bare iterator."""
    if groups[0][0] is None:
        return getattr(module, name)(iter(parameters), **groups[0][1])
    given = [{"params": [parameters[i] for i in numbers], **options} for numbers, options in groups]
    return getattr(module, name)(given)


def _step(optimizer, parameters, gradients, changes):
    """One step with copies of these gradients, after the groups' options were changed."""
    for group, change in zip(optimizer.param_groups, changes, strict=True):
        group.update(change)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = None if gradient is None else gradient.clone()
    optimizer.step()


def _seen(parameters):
    return [p.detach().clone() for p in parameters]


def train(module, name, values, groups, script):
    """Every parameter after each step. script: pairs (gradients, changed options of each group)."""
    parameters = _parameters(values)
    optimizer = _optimizer(module, name, parameters, groups)
    trace = []
    for gradients, changes in script:
        _step(optimizer, parameters, gradients, changes)
        trace.append(_seen(parameters))
    return trace


def handle(module, name, values, groups, script):
    """What a run does beside moving values, where gradients are written into the same memory again and again."""
    parameters = _parameters(values)
    objects, memory, asked = list(parameters), [p.detach() for p in parameters], [p.requires_grad for p in parameters]
    optimizer = _optimizer(module, name, parameters, groups)
    reused = [torch.zeros_like(value) for value in values]
    trace, written, replaced = [], [], []
    for gradients, changes in script:
        for group, change in zip(optimizer.param_groups, changes, strict=True):
            group.update(change)
        for p, gradient, buffer in zip(parameters, gradients, reused, strict=True):
            p.grad = None if gradient is None else buffer.copy_(gradient)
        optimizer.step()
        for i, (p, gradient, buffer) in enumerate(zip(parameters, gradients, reused, strict=True)):
            if gradient is not None and not torch.equal(buffer, gradient):
                written.append(i)
            if p.grad is not (None if gradient is None else buffer):
                replaced.append(i)
            buffer.fill_(1e3)
        trace.append([view.clone() for view in memory])  # through the memory that there was at first
    held = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        "trace": trace,
        "written": sorted(set(written)),
        "replaced": sorted(set(replaced)),
        "same_objects": all(any(p is q for q in held) for p in objects) and len(held) == len(objects),
        "same_memory": all(p.data_ptr() == view.data_ptr() for p, view in zip(objects, memory, strict=True)),
        "requires_grad": all(p.is_leaf for p in objects) and [p.requires_grad for p in objects] == asked,
        "grad_mode": torch.is_grad_enabled(),
        "without_state": [i for i, p in enumerate(objects) if not optimizer.state[p]],
    }


def resume(module, name, values, groups, script, cut):
    """Every parameter after the steps behind `cut`, in a new optimizer that loads the state of the old one.

    The old one goes on with other gradients meanwhile, and the state is copied as a file would copy it.
    """
    old = _parameters(values)
    first = _optimizer(module, name, old, groups)
    for gradients, changes in script[:cut]:
        _step(first, old, gradients, changes)
    saved = first.state_dict()
    new = _parameters([p.detach() for p in old])
    second = _optimizer(module, name, new, groups)
    second.load_state_dict(saved)
    trace = []
    for gradients, changes in script[cut:]:
        _step(first, old, [None if g is None else 1 - 3 * g for g in gradients], changes)
        _step(second, new, gradients, changes)
        trace.append(_seen(new))
    return trace


class _Made(TorchDispatchMode):
    """Remembers every storage that an operator returns, weakly, with its size and address."""

    def __init__(self):
        super().__init__()
        self.storages = {}

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # torch's wrapper would import a compiler

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes(), storage.data_ptr()
        return out


def _python_tensors():
    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


def _beside_torch(module, roots):
    """Bytes of Python's and numpy's objects that can be reached from roots, or from what the module defines."""
    seen, waiting, size = {id(vars(builtins))}, [vars(module), *roots], 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, types.ModuleType | types.FrameType):
            continue
        seen.add(id(thing))
        if isinstance(thing, type) and thing.__module__ != module.__name__:
            continue
        if isinstance(thing, types.FunctionType) and thing.__globals__ is not vars(module):
            continue
        if isinstance(thing, np.ndarray):
            size += thing.nbytes
        elif not isinstance(thing, torch.Tensor):
            size += sys.getsizeof(thing)
        waiting += gc.get_referents(thing)
    return size


def held(module, name, value, options, gradients):
    """Bytes that steps leave behind: of tensors, in a graph or in Python, and of Python and numpy beside them."""
    [parameter] = _parameters([value])
    optimizer = _optimizer(module, name, [parameter], [(None, options)])
    known = {t.untyped_storage().data_ptr() for t in _python_tensors()}
    before = _beside_torch(module, [optimizer, parameter])
    with _Made() as made:
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
    parameter.grad = None
    sizes = {}
    for tensor in _python_tensors():
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage._cdata] = storage.nbytes()
    for key, (weak, size, address) in made.storages.items():
        if not weak.expired() and address not in known:
            sizes[key] = size
    beside = _beside_torch(module, [optimizer, parameter]) - before
    return {"tensors": sum(sizes.values()), "beside": beside, "value": parameter.detach()}


def refused(module, name, values, options):
    """The names of the classes of the exception that making an optimizer raises, or an empty list."""
    try:
        getattr(module, name)(_parameters(values), **options)
    except NotImplementedError:
        raise
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__]
    return []


def types_of_tuning(module, spectra):
    """The types of the entries of `momentum_tuning` of each spectrum."""
    return [[type(value).__name__ for value in module.momentum_tuning(spectrum)] for spectrum in spectra]


def orthogonal(module, g, steps, grad):
    """`newton_schulz` of a g that requires gradients or not."""
    return module.newton_schulz(g.clone().requires_grad_(grad), steps)
