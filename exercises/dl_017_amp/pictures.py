"""What `amp.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 17` prints them."""

import math

import torch

_FORMATS = {"float16": (5, 10, True), "bfloat16": (8, 7, True), "e4m3": (4, 3, False), "e5m2": (5, 2, True)}


def relative_gap(module):
    """The distance to the next number, as a share of the number, over 80 powers of two."""
    powers = list(range(-40, 41))
    series = {}
    for name, (exponent, mantissa, infinity) in _FORMATS.items():
        told = module.float_format(exponent, mantissa, infinity=infinity)
        series[name] = [
            max(told["eps"], told["smallest_subnormal"] / 2.0**power)
            if told["smallest_subnormal"] <= 2.0**power <= told["max"]
            else None
            for power in powers
        ]
    return {"x": [2.0**power for power in powers], "series": series}


def staircase(module):
    """Numbers from 1 to 1.04 rounded to bfloat16: to the nearest, and by chance (here the mean of 64 draws)."""
    x = torch.linspace(1, 1.04, 65)
    noise = torch.randint(0, 65536, (64, 65), generator=torch.Generator().manual_seed(0)).int()
    by_chance = module.round_to_bfloat16(x.repeat(64, 1), noise).double().mean(0)
    return {"x": x, "series": {"nearest": module.round_to_bfloat16(x), "by chance": by_chance}}


def underflow_by_scale(module):
    """The share of gradients of very unlike sizes that become 0 in float16, for growing loss scales."""
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(4096, generator=generator) * 2.0**-22 * torch.rand(4096, generator=generator)]
    powers = list(range(0, 25, 2))
    lost = [module.underflow_fraction(gradients, torch.float16, 2.0**power) for power in powers]
    return {"x": [2.0**power for power in powers], "series": {"lost": lost}}


def bytes_by_recipe(module):
    """GB that training a model of 1 billion parameters with 8 billion activations holds."""
    recipes = ("float32", "autocast", "master", "bfloat16")
    return {name: module.training_bytes(10**9, 8 * 10**9, name) / 1e9 for name in recipes}


def scale_over_time(module):
    """The loss scale over 160 iterations in which gradients overflow above 2^14, later above 2^11."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.0)
    scaler = module.DynamicGradScaler(init_scale=2.0**18, growth_interval=12)
    scales, limits = [], []
    for step in range(160):
        limit = 2.0**14 if step < 80 else 2.0**11
        scales.append(scaler.get_scale())
        limits.append(limit)
        parameter.grad = torch.full((1,), math.inf if scales[-1] > limit else 1.0)
        scaler.step(optimizer)
        scaler.update()
    return {"x": list(range(160)), "series": {"scale": scales, "overflows above": limits}}


def tiny_updates(module):
    """A weight that 400 updates of 2^-10 move, in bfloat16 and with a float32 master."""
    plain = torch.nn.Linear(1, 1, bias=False)
    kept = torch.nn.Linear(1, 1, bias=False)
    for model in (plain, kept):
        torch.nn.init.ones_(model.weight)
    plain.to(torch.bfloat16)
    alone = torch.optim.SGD(plain.parameters(), 2.0**-10)
    master = module.MasterWeightOptimizer(kept, lambda weights: torch.optim.SGD(weights, 2.0**-10))
    series = {"bfloat16 alone": [], "with a master": []}
    for _ in range(400):
        for model, optimizer, seen in zip((plain, kept), (alone, master), series.values(), strict=True):
            model.weight.grad = torch.full_like(model.weight, -1.0)
            optimizer.step()
            seen.append(model.weight.item())
    return {"x": list(range(1, 401)), "series": series}
