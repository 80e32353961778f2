"""Runs beside the learner's code: makes weights, layers and activations from data, and returns data."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def _weight(shape, dtype):
    return torch.full(tuple(shape), math.nan, dtype=getattr(torch, dtype))


def filled(module, name, shape, *data, generator, dtype="float64", **options):
    """A weight of NaN once a function that ends in _ has written into it."""
    w = _weight(shape, dtype)
    getattr(module, name)(w, *data, generator=generator, **options)
    return w


def drawn(module, name, shape, *data, seed, dtype="float64", **options):
    """The same from a generator of this seed."""
    return filled(module, name, shape, *data, generator=torch.Generator().manual_seed(seed), dtype=dtype, **options)


def many(module, name, shape, *data, seed, count, **options):
    """`count` weights, stacked, one generator for all."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([filled(module, name, shape, *data, generator=generator, **options) for _ in range(count)])


def inside(module, name, shape, *data, seed, **options):
    """A Parameter that is a turned view into a larger memory of ones: what is written where, and what came back."""
    memory = torch.ones(*(size + 2 for size in shape[::-1]))
    view = memory[tuple(slice(1, -1) for _ in shape)].permute(*range(len(shape))[::-1])
    w = nn.Parameter(view)
    generator = torch.Generator().manual_seed(seed)
    returned = getattr(module, name)(w, *data, generator=generator, **options)
    claims = {
        "returns w": returned is w,
        "is still a leaf that asks for gradients": bool(w.is_leaf and w.requires_grad and w.grad_fn is None),
    }
    return {"w": w.detach().clone(), "memory": memory, "claims": claims}


def _shifted_square(z, c):
    return (z + c) ** 2


FUNCTIONS = {
    "linear": lambda z, c: c * z,
    "relu": lambda z, c: F.relu(z),
    "leaky": lambda z, c: F.leaky_relu(z, c),
    "relu of z -": lambda z, c: F.relu(z - c),
    "abs of z -": lambda z, c: (z - c).abs(),
    "clamp to": lambda z, c: z.clamp(-c, c),
    "tanh": lambda z, c: torch.tanh(z),
    "gelu": lambda z, c: F.gelu(z),
    "silu": lambda z, c: F.silu(z),
    "sin of z times": lambda z, c: torch.sin(c * z),
    "cos of z times": lambda z, c: torch.cos(c * z),
    "erf": lambda z, c: torch.erf(z),
    "erf plus": lambda z, c: torch.erf(z) + c,
    "square of z +": _shifted_square,
    "fourth power": lambda z, c: z**4,
    "step": lambda z, c: (z > 0).to(z.dtype),
    "zero": lambda z, c: 0 * z,
}
"""Elementwise functions with one number each, by name: none of them has a table."""


def _function(kind, c):
    return lambda z: FUNCTIONS[kind](z, c)


def mean_of(module, kind, c, *data):
    """`gaussian_mean` of a function, its variance where one is given."""
    return module.gaussian_mean(_function(kind, c), *data)


def gain_of(module, kind, c):
    """`activation_gain` of a function."""
    return module.activation_gain(_function(kind, c))


def settled(module, sw2, sb2, kind, c):
    """`variance_map` with a function."""
    return module.variance_map(sw2, sb2, _function(kind, c))


PLAIN = {"relu": nn.ReLU, "tanh": nn.Tanh, "flatten": nn.Flatten}


def _layer(kind, *tensors):
    if kind in PLAIN:
        return PLAIN[kind]()
    if kind == "block":
        return nn.Sequential(_layer("linear", *tensors, None), nn.Tanh())
    w, b = tensors
    if kind == "linear":
        layer = nn.Linear(w.shape[1], w.shape[0], bias=b is not None, dtype=w.dtype)
    elif kind == "norm":
        layer = nn.LayerNorm(len(w), dtype=w.dtype)
    else:
        make = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[w.dim()]
        layer = make(w.shape[1], w.shape[0], tuple(w.shape[2:]), bias=b is not None, dtype=w.dtype)
    with torch.no_grad():
        layer.weight.copy_(w)
        if b is not None:
            layer.bias.copy_(b)
    return layer


def scaled(module, specs, x):
    """`lsuv_` on layers of this kind, weight and bias: the new (weight, bias) of each, and what it left behind."""
    layers = [_layer(*spec) for spec in specs]
    before = [list(layer.parameters()) for layer in layers]
    modes = [index % 2 == 0 for index in range(len(layers))]
    for layer, mode in zip(layers, modes, strict=True):
        layer.train(mode)
    returned = module.lsuv_(layers, x)
    after = [list(layer.parameters()) for layer in layers]
    same = all(a is b for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))
    every = [p for old in before for p in old]
    return {
        "parameters": [[p.detach().clone() for p in new] for new in after],
        "claims": {
            "keeps the parameters": same,
            "keeps the mode of each layer": [layer.training for layer in layers] == modes,
            "returns nothing": returned is None,
            "leaves no gradient": all(p.grad is None for p in every),
            "records nothing": all(p.is_leaf and p.requires_grad for p in every),
        },
    }
