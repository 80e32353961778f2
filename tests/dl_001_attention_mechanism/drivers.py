"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import gc
import weakref

import torch

_NAMES = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")


def _layer(module, heads, weights):
    """The learner's layer with these weights, copied into its own parameters."""
    layer = module.MultiHeadAttention(weights[0].shape[1], heads).to(weights[0].dtype)
    layer.load_state_dict(dict(zip(_NAMES, weights, strict=True)))
    return layer


def shapes(module, width, heads):
    """Name and shape of each parameter."""
    return {name: list(p.shape) for name, p in module.MultiHeadAttention(width, heads).named_parameters()}


def heads_refused(module, width, heads):
    module.MultiHeadAttention(width, heads)


def multi_head(module, x, heads, *weights, memory=None, mask=None):
    """Output and weights of a layer. Parameters come as arguments, so that a gradient can be asked for."""
    layer = _layer(module, heads, [w.detach() for w in weights])
    parameters = dict(zip(_NAMES, weights, strict=True))
    options = {} if mask is None else {"mask": mask}
    options |= {} if memory is None else {"memory": memory}
    return torch.func.functional_call(layer, parameters, (x,), options)


def memory_gradients(module, x, memory, heads, *weights, mask):
    """As multi_head, with memory among the arguments for which a gradient is asked."""
    return multi_head(module, x, heads, *weights, memory=memory, mask=mask)


def several(module, rows, heads, weights):
    """One layer, in evaluation, called with each (x, memory, mask) in turn, and the first once more."""
    layer = _layer(module, heads, weights).eval()
    with torch.no_grad():
        return [tuple(layer(*row)) for row in [*rows, rows[0]]]


def multi_head_cost(module, x, memory, heads, weights, grad, *, meter):
    layer = _layer(module, heads, weights)
    with torch.set_grad_enabled(grad), meter:
        return layer(x, memory)


def multi_head_backward_cost(module, x, memory, heads, weights, upstream, *, meter):
    layer = _layer(module, heads, weights)
    leaves = [x.requires_grad_(), memory.requires_grad_()]
    total = (layer(*leaves)[0] * upstream).sum()
    parameters = dict(layer.named_parameters())
    with meter:
        return torch.autograd.grad(total, [*leaves, *(parameters[name] for name in _NAMES)])


def attend_cost(module, q, k, v, mask, grad, *, meter):
    leaves = [x.requires_grad_(grad) for x in (q, k, v)]
    with meter:
        return module.scaled_dot_product_attention(*leaves, mask)


def attend_backward_cost(module, q, k, v, mask, upstream, *, meter):
    leaves = [x.requires_grad_() for x in (q, k, v)]
    total = (module.scaled_dot_product_attention(*leaves, mask)[0] * upstream).sum()
    with meter:
        return torch.autograd.grad(total, leaves)


def with_grad_cost(module, function, *args, meter):
    """A function whose floating-point arguments all ask for a gradient."""
    args = [x.requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in args]
    with meter:
        return getattr(module, function)(*args)


class _Packed:
    """Stands in a graph for a tensor that it saved: it lives as long as the graph does."""

    def __init__(self, tensor):
        self.tensor = tensor


def _left(call):
    """What a call returned, and how many tensors and saved tensors are still there when its results are gone."""
    packed = []

    def pack(tensor):
        packed.append(weakref.ref(one := _Packed(tensor.detach())))
        return one

    start = _tensors()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
        results = call()
    said = [x.detach().clone() for x in results]
    del results
    left = _tensors() - start - len(said)
    return said, left, sum(ref() is not None for ref in packed)


def _tensors():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def left_by_function(module, function, *args, grad):
    args = [x.requires_grad_(grad) if torch.is_tensor(x) and x.is_floating_point() else x for x in args]

    def call():
        results = getattr(module, function)(*args)
        return (results,) if torch.is_tensor(results) else results

    return _left(call)


def left_by_layer(module, x, memory, heads, weights):
    layer = _layer(module, heads, weights)
    return _left(lambda: layer(x, memory))
