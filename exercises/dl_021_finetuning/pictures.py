"""What `finetuning.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 21` prints them."""

import torch
from torch import nn
from torch.nn import functional as F


def _generator():
    return torch.Generator().manual_seed(0)


def _task(first, generator, n=60):
    """Inputs that are large in ten of 20 features, and labels that a random plane there gives."""
    x = 0.1 * torch.randn(n, 20, generator=generator)
    x[:, first : first + 10] *= 10
    plane = torch.zeros(20)
    plane[first : first + 10] = torch.randn(10, generator=generator)
    return x, (x @ plane > 0).long()


def _train(model, x, y, steps, extra, look):
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.5), []
    for _ in range(steps):
        seen.append(look())
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) + extra()).backward()
        optimizer.step()
    return seen


def loss_of_the_old_task(module):
    """The old task's loss while the new one is learnt: without a penalty, with L2-SP, with EWC."""
    generator = _generator()
    (x, y), (new_x, new_y) = _task(0, generator), _task(5, generator)
    start = nn.Linear(20, 2, bias=False)
    nn.init.zeros_(start.weight)
    _train(start, x, y, 40, lambda: 0.0, lambda: None)
    fisher, anchor = module.fisher_diagonal(start, x), {"weight": start.weight.detach().clone()}
    series = {}
    for name, strength, weights in (("no penalty", 0.0, None), ("L2-SP", 0.1, None), ("EWC", 10.0, fisher)):
        model = nn.Linear(20, 2, bias=False)
        model.load_state_dict(start.state_dict())

        def penalty(model=model, strength=strength, weights=weights):
            return module.fisher_penalty(model, anchor, strength, weights)

        def look(model=model):
            return F.cross_entropy(model(x), y).item()

        series[name] = _train(model, new_x, new_y, 60, penalty, look)
    return {"x": list(range(60)), "series": series}


def error_by_rank(module):
    """How far a LoRA of each rank comes with a change of rank 4, step by step."""
    generator = _generator()
    change = torch.randn(16, 4, generator=generator) @ torch.randn(4, 16, generator=generator) / 4
    x = torch.randn(64, 16, generator=generator)
    series = {}
    for rank in (1, 2, 4, 8):
        base = nn.Linear(16, 16, bias=False)
        nn.init.zeros_(base.weight)
        layer = module.LoRALinear(base, rank, float(rank), generator=_generator())
        optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.06)
        errors = []
        for _ in range(100):
            optimizer.zero_grad()
            error = (layer(x) - x @ change.T).square().mean()
            error.backward()
            optimizer.step()
            errors.append(error.item())
        series[f"rank {rank}"] = errors
    return {"x": list(range(100)), "series": series}


def rate_of_each_layer(module):
    """The learning rate of four layers over 80 steps, of which a layer more is trained every 20."""
    layers = ["embedding", "layer 1", "layer 2", "head"]
    rates = module.layer_rates(1.0, 4)
    schedule = module.unfreezing_schedule(layers, 80, every=20)
    series = {}
    for layer, rate in zip(layers, rates, strict=True):
        series[layer] = [
            module.slanted_triangle(step, 80, rate) if layer in schedule[step] else None for step in range(80)
        ]
    return {"x": list(range(80)), "series": series}


def share_of_the_prefix(module):
    """The share of a prefix in the attention of each query of a causal sequence, all scores being 0."""
    series = {}
    zeros = torch.zeros(1, 1, 32, 4)
    for p in (1, 4, 16):
        prefix = torch.zeros(1, p, 4)
        series[f"prefix of {p}"] = module.prefix_attention(zeros, zeros, zeros, prefix, prefix)[1].flatten()
    return {"x": list(range(32)), "series": series}
