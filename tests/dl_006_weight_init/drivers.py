"""Runs beside the learner's code: makes weights, layers and activations from data, and returns data."""

import math
from functools import partial

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


def inside(module, name, shape, *data, seed, kind, **options):
    """A turned view into a larger memory of ones, of some kind: what is written where, and what came back."""
    memory = torch.ones(*(size + 2 for size in shape[::-1]))
    view = memory[tuple(slice(1, -1) for _ in shape)].permute(*range(len(shape))[::-1])
    w = view if kind == "tensor" else nn.Parameter(view, requires_grad=kind == "Parameter")
    generator = torch.Generator().manual_seed(seed)
    returned = getattr(module, name)(w, *data, generator=generator, **options)
    claims = {
        "returns w": returned is w,
        "leaves alone whether w asks for gradients": w.requires_grad is (kind == "Parameter"),
        "records nothing": bool(w.is_leaf and w.grad_fn is None),
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
    "flat square": lambda z, c: z * z / (1 + z * z),
    "fourth power": lambda z, c: z**4,
    "step": lambda z, c: torch.where(z == 0, c, (z > 0).to(z.dtype)),
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


def gain_of_torchs(module, kind):
    """`activation_gain` of torch's own function, which an answer may know by its name."""
    return module.activation_gain({"tanh": torch.tanh, "gelu": F.gelu, "silu": nn.SiLU()}[kind])


def means_of_one(module, variances):
    """`gaussian_mean` of one g = x² with several variances: the means, what g was given, and whether none was drawn."""
    given = set()

    def square(x):
        given.add(str(x.dtype))
        return x * x

    torch.rand(1)  # who seeds torch with what it was seeded with is seen, too
    before = torch.get_rng_state()
    means = [module.gaussian_mean(square, variance) for variance in variances]
    return {"means": means, "given": sorted(given), "still": bool(torch.equal(torch.get_rng_state(), before))}


def settled(module, sw2, sb2, kind, c):
    """`variance_map` with a function."""
    return module.variance_map(sw2, sb2, _function(kind, c))


PLAIN = {"relu": nn.ReLU, "relu in place": partial(nn.ReLU, inplace=True), "tanh": nn.Tanh, "flatten": nn.Flatten}


def _layer(kind, *tensors):
    if kind in PLAIN:
        return PLAIN[kind]()
    if kind == "block":
        return nn.Sequential(_layer("linear", *tensors, None), nn.Tanh())
    w, b = tensors
    if kind == "linear":
        layer = nn.Linear(w.shape[1], w.shape[0], bias=b is not None, dtype=w.dtype)
    elif kind in ("batch norm", "batch norm in eval"):
        layer = nn.BatchNorm1d(len(w), dtype=w.dtype)
    elif kind == "norm":
        layer = nn.LayerNorm(len(w), dtype=w.dtype)
    else:
        plain, turned = {
            3: (nn.Conv1d, nn.ConvTranspose1d),
            4: (nn.Conv2d, nn.ConvTranspose2d),
            5: (nn.Conv3d, nn.ConvTranspose3d),
        }[w.dim()]
        o, i = w.shape[:2]
        make, i, o = (turned, o, i) if kind == "turned" else (plain, i, o)
        padded = {"padding": 1, "stride": 2, "groups": 2} if kind == "padded conv" else {}
        layer = make(i * padded.get("groups", 1), o, tuple(w.shape[2:]), bias=b is not None, dtype=w.dtype, **padded)
    with torch.no_grad():
        layer.weight.copy_(w)
        if b is not None:
            layer.bias.copy_(b)
    return layer


def _held(layer):
    """The names of all that a layer holds, and how many hooks."""
    hooks = sum(len(value) for name, value in vars(layer).items() if name.endswith("_hooks"))
    return sorted(vars(layer)), hooks


def scaled(module, specs, x):
    """`lsuv_` on layers of this kind, weight and bias: the new (weight, bias) of each, and what it left behind.

    Every second layer is in training mode, from the first on; the second of each three has frozen parameters.
    """
    layers = tuple(_layer(*spec) for spec in specs)
    before = [list(layer.parameters()) for layer in layers]
    modes = [index % 2 == 0 for index in range(len(layers))]
    for layer, mode in zip(layers, modes, strict=True):
        layer.train(mode)
    every = [p for old in before for p in old]
    for layer in layers[1::3]:
        layer.requires_grad_(False)
    asked = [p.requires_grad for p in every]
    held = [_held(layer) for layer in layers]
    returned = module.lsuv_(layers, x)
    after = [list(layer.parameters()) for layer in layers]
    same = all(a is b for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))
    return {
        "parameters": [[p.detach().clone() for p in new] for new in after],
        "claims": {
            "keeps the parameters": same,
            "keeps the mode of each layer": [layer.training for layer in layers] == modes,
            "returns nothing": returned is None,
            "leaves no gradient": all(p.grad is None for p in every),
            "records nothing": all(p.is_leaf for p in every),
            "leaves frozen parameters frozen, and the others not": [p.requires_grad for p in every] == asked,
            "leaves no hook and nothing else in the layers": [_held(layer) for layer in layers] == held,
            "leaves gradients switched on": torch.is_grad_enabled(),
        },
    }
