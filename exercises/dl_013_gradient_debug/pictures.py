"""What `gradient_debug.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 13` prints
them.
"""

import torch
from torch import nn


def clipped_gradients(module):
    """Where gradients of a ring end that are clipped to norm 1, or each entry to 1."""
    angle = torch.arange(40) * (2 * torch.pi / 40)
    raw = torch.stack([2.2 * angle.cos(), 1.4 * angle.sin()], 1)
    by_norm, by_value = raw.clone(), raw.clone()
    for row in by_norm:
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = row  # clipped in place
        module.clip_by_norm([parameter], 1.0)
    for row in by_value:
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = row
        module.clip_by_value([parameter], 1.0)
    groups = [name for name in ("as it was", "by norm", "by value") for _ in angle]
    return {"points": torch.cat([raw, by_norm, by_value]), "groups": groups}


def gradient_by_step(module):
    """The gradient's norm in each layer, as the monitor keeps it, over 24 steps of training."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(16, 16), nn.Tanh())), nn.Linear(16, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    x = torch.randn(32, 16, generator=generator)
    y = x[:, :1].sign()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = []
    with module.GradientMonitor(model) as monitor:
        for _ in range(24):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            seen.append([stats["norm"] for name, stats in monitor.stats.items() if name.endswith("weight")])
            optimizer.step()
        names = [name for name in monitor.stats if name.endswith("weight")]
    return {"values": torch.tensor(seen).T.flip(0), "rows": names[::-1]}


def saturation_by_depth(module):
    """The share of tanh outputs that let next to no gradient through, for three sizes of the initial weights."""
    series = {}
    for gain in (1.0, 2.0, 4.0):
        generator = torch.Generator().manual_seed(0)
        layers = []
        for _ in range(10):
            linear = nn.Linear(64, 64, bias=False)
            nn.init.normal_(linear.weight, std=gain / 8, generator=generator)
            layers += [linear, nn.Tanh()]
        report = module.activation_report(nn.Sequential(*layers), torch.randn(64, 64, generator=generator))
        series[f"gain {gain:g}"] = [report[str(2 * i + 1)]["saturated"] for i in range(10)]
    return {"x": list(range(1, 11)), "series": series}


def gradient_flow(module):
    """How much gradient arrives at each depth of 20 layers, relative to the output."""
    series = {}
    cases = {
        "sigmoid, Xavier": ("sigmoid", "xavier", {}),
        "relu, Xavier": ("relu", "xavier", {}),
        "relu, He": ("relu", "he", {}),
        "small, residual": ("relu", "small", {"residual": True}),
    }
    for name, (activation, scheme, options) in cases.items():
        weights = module.initial_weights(20, 64, scheme, torch.Generator().manual_seed(0)).double()
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        flow = module.gradient_flow(x, weights, activation, **options)
        series[name] = flow / flow[-1]
    return {"x": list(range(21)), "series": series}
