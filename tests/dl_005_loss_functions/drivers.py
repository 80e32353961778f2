"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import gc
import weakref

import torch


def regression(module, kind, prediction, target, log_variance, options):
    given = {} if log_variance is None else {"log_variance": log_variance}
    return module.regression_loss(kind, prediction, target, **given, **options)


def learned_temperature(module, a, b, temperature, log_q):
    return module.info_nce(a, b, temperature, log_q)


def descend(module, kind, sample, start, options, rates):
    """Where gradient descent on one number ends that is predicted for a whole sample."""
    guess = start.clone().requires_grad_()
    for rate in rates:
        loss = module.regression_loss(kind, guess.expand_as(sample), sample, **options)
        (step,) = torch.autograd.grad(loss, guess)
        guess = (guess - rate * step).detach().requires_grad_()
    return guess


def chunked_cost(module, hidden, weight, targets, chunk, *, meter):
    """Loss and gradients, forward and backward measured together."""
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    with meter:
        loss = module.chunked_cross_entropy(*leaves, targets, chunk)
        grads = torch.autograd.grad(loss, leaves)
    return loss, *grads


def chunked_saved(module, hidden, weight, targets, chunk, *, meter):
    """The loss, and what the forward pass alone costs."""
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    with meter:
        return module.chunked_cross_entropy(*leaves, targets, chunk)


def chunked_of_frozen(module, hidden, weight, targets, chunk):
    """Only hidden asks for a gradient."""
    return module.chunked_cross_entropy(hidden, weight.detach(), targets, chunk)


def chunked_of_frozen_states(module, hidden, weight, targets, chunk):
    """Only weight asks for a gradient."""
    return module.chunked_cross_entropy(hidden.detach(), weight, targets, chunk)


class _Packed:
    """Stands in a graph for a tensor that it saved: it lives as long as the graph does."""

    def __init__(self, tensor):
        self.tensor = tensor


def left_behind(module, function, args, options, grad):
    """What a function returned, and how many tensors and saved tensors are still there when its result is gone.

    grad: whether the tensors among args and options ask for gradients, and a backward pass is made.
    """
    leaves = [x for x in (*args, *options.values()) if torch.is_tensor(x) and x.is_floating_point()]
    for x in leaves:
        x.requires_grad_(grad)
    packed = []

    def pack(tensor):
        packed.append(weakref.ref(one := _Packed(tensor.detach())))
        return one

    start = _tensors()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
        result = getattr(module, function)(*args, **options)
        if grad:
            result.sum().backward()
    said = result.detach().clone() if grad else [one.clone() for one in result]
    for x in leaves:
        x.grad = None
    del result
    left = _tensors() - start - (1 if grad else len(said))
    return said, left, sum(ref() is not None for ref in packed)


def _tensors():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
