"""What `model_surgery.py` makes, as pictures: run beside it, from own inputs. `grader picture 24` prints them."""

import torch
from torch import nn


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def pruned_channels(module):
    """The weights of the layer behind a pruned convolution, channel by channel, before and after."""
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 6)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=_seeded(parameter.numel()))
        model[0].weight.mul_(torch.rand(12, 1, 1, 1, generator=_seeded(1)) * 2)
    keep = module.strongest_channels(model[0].weight, 5)
    small = module.prune_channels(model, 0, keep)
    norms = model[0].weight.detach().abs().flatten(1).sum(dim=1)
    left = torch.full((12,), 0.0)
    left[keep] = small[0].weight.detach().abs().flatten(1).sum(dim=1)
    rows, columns = ["L1 norm", "after pruning"], [str(k) for k in range(12)]
    marks = [[1, int(k)] for k in keep]
    return {"values": torch.stack([norms, left]).round(decimals=3), "rows": rows, "columns": columns, "marks": marks}


def weights_left(module):
    """The share of weights that is left of a network with three layers, round by round, and of its output layer."""
    shapes = {"first": (30, 784), "second": (100, 30), "output": (10, 100)}
    start = {name: torch.randn(shape, generator=_seeded(2)) for name, shape in shapes.items()}
    rates = {"first": 0.2, "second": 0.2, "output": 0.1}
    series = {"all weights": [1.0], "output layer": [1.0]}
    alive = sum(one.numel() for one in start.values())
    for rounds in range(1, 11):
        _, masks = module.lottery_ticket(start, lambda weights, masks: weights, rounds, rates)
        series["all weights"].append(sum(int(one.sum()) for one in masks.values()) / alive)
        series["output layer"].append(int(masks["output"].sum()) / 1_000)
    return {"x": list(range(11)), "series": series}


def gradient_by_temperature(module):
    """How large the gradient of the response is, with T² and without it, by temperature."""
    student, teacher = (2 * torch.randn(64, 10, generator=_seeded(seed), dtype=torch.float64) for seed in (3, 4))
    features = torch.ones(64, 1, 1, 1, dtype=torch.float64)
    temperatures = [round(10 ** (k / 8), 3) for k in range(17)]
    with_square, without = [], []
    for t in temperatures:
        logits = student.clone().requires_grad_()
        given = {"logits": logits, "features": features}, {"logits": teacher, "features": features}
        loss = module.knowledge_losses(*given, torch.ones(1, 1, dtype=torch.float64), t)["response"]
        (slope,) = torch.autograd.grad(loss, logits)
        with_square.append(slope.norm().item())
        without.append(slope.norm().item() / t**2)
    return {"x": temperatures, "series": {"with T²": with_square, "without": without}}


def regrown(module):
    """The share of connections that is exchanged, and how dense a layer stays while it is."""
    steps, n = 60, 400
    weight = torch.randn(n, generator=_seeded(5))
    mask = torch.arange(n) < n // 5
    first = mask.clone()
    share, same = [], []
    for step in range(steps):
        fraction = module.regrow_fraction(step, steps, 0.3)
        gradient = torch.randn(n, generator=_seeded(6 + step))
        weight, mask = module.regrow(weight, mask, gradient, round(fraction * n / 5))
        weight = weight + 0.1 * torch.randn(n, generator=_seeded(100 + step)) * mask
        share.append(fraction)
        same.append(int((mask & first).sum()) / (n / 5))
    return {"x": list(range(steps)), "series": {"exchanged at this step": share, "left of the first mask": same}}


def merged(module):
    """Two models on a plane, and what lies between them: along the chord and along the arc."""
    a, b = torch.tensor([1.0, 0.2]), torch.tensor([-0.3, 1.3])
    points, groups = [], []
    for k in range(21):
        t = k / 20
        points += [module.slerp({"w": a}, {"w": b}, t)["w"], module.merge_models([{"w": a}, {"w": b}], [1 - t, t])["w"]]
        groups += ["slerp", "mean"]
    return {"points": torch.stack(points), "groups": groups}
