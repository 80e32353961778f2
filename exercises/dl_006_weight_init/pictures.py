"""What `weight_init.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 6` prints them."""

import math

import torch
from torch import nn

DEPTH, WIDTH = 30, 128


def _empty():
    return torch.empty(WIDTH, WIDTH, dtype=torch.float64)


def _sizes(f, make):
    """The root mean square behind each of 30 layers."""
    x = torch.randn(WIDTH, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    sizes = []
    for _ in range(DEPTH):
        x = f(make(generator) @ x)
        sizes.append(x.square().mean().sqrt().item())
    return sizes


def signal_by_depth(module):
    """How large a signal is behind each of 30 ReLU layers, for four ways to begin."""
    series = {
        "std 0.05": _sizes(torch.relu, lambda g: module.fill_(_empty(), 0.05, generator=g)),
        "Xavier": _sizes(torch.relu, lambda g: module.xavier_(_empty(), generator=g)),
        "He": _sizes(torch.relu, lambda g: module.he_(_empty(), generator=g)),
        "He, times 1.2": _sizes(torch.relu, lambda g: 1.2 * module.he_(_empty(), generator=g)),
    }
    return {"x": list(range(1, DEPTH + 1)), "series": series}


def singular_values(module):
    """The singular values of a product of 1, 4 and 16 weights: normal ones of variance 1 / fan_in, and orthogonal."""
    series = {}
    for depth in (1, 4, 16):
        generator, product = torch.Generator().manual_seed(2), torch.eye(WIDTH, dtype=torch.float64)
        for _ in range(depth):
            w = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
            product = w / math.sqrt(WIDTH) @ product
        series[f"normal, {depth}"] = torch.linalg.svdvals(product).clamp(min=1e-6)
    generator, product = torch.Generator().manual_seed(2), torch.eye(WIDTH, dtype=torch.float64)
    for _ in range(16):
        product = module.orthogonal_(_empty(), generator=generator) @ product
    series["orthogonal, 16"] = torch.linalg.svdvals(product)
    return {"x": list(range(1, WIDTH + 1)), "series": series}


def order_and_chaos(module):
    """χ of tanh and of erf, by the variance of the weights."""
    x = [0.5 + 0.25 * i for i in range(13)]
    series = {}
    for name, f in (("tanh", torch.tanh), ("erf", torch.erf)):
        series[name] = [module.variance_map(sw2, 0.05, f)[1] for sw2 in x]
    series["the edge"] = [1.0 for _ in x]
    return {"x": x, "series": series}


def variance_behind_each_layer(module):
    """The variance of each layer's sums before and after LSUV; weights of sizes that nobody chose."""
    generator = torch.Generator().manual_seed(3)
    layers, names = [], []
    for n, scale in enumerate((0.3, 4.0, 0.1, 2.0, 0.5)):
        layer = nn.Linear(32, 32)
        with torch.no_grad():
            layer.weight.copy_(scale * torch.randn(32, 32, generator=generator))
        layers += [layer, nn.ReLU()]
        names.append(n + 1)
    x = torch.randn(200, 32, generator=generator)
    series = {}
    for when in ("before", "after"):
        if when == "after":
            module.lsuv_(layers, x)
        h, series[when] = x, []
        with torch.no_grad():
            for layer in layers:
                h = layer(h)
                if isinstance(layer, nn.Linear):
                    series[when].append(h.var().item())
    return {"x": names, "series": series}
