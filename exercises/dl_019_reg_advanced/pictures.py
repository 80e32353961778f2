"""What `reg_advanced.py` makes, as pictures: run beside it, from inputs of their own.

`grader picture 19` prints them.
"""

import torch


def dropped_branches(module):
    """Which of 32 examples go through the branch of each of 12 blocks, and by how much it is scaled."""
    generator = torch.Generator().manual_seed(0)
    rates = module.drop_path_schedule(0.5, 12)
    return torch.stack([module.drop_path(torch.ones(32), rate, generator=generator) for rate in rates])


def pasted_box(module):
    """Whose pixels 4 pictures of 10 by 10 are made of, side by side, after cutmix."""
    pictures = torch.arange(1.0, 5.0).reshape(4, 1, 1, 1).expand(4, 1, 10, 10).contiguous()
    mixed, _ = module.cutmix(pictures, torch.eye(4), 1.0, torch.Generator().manual_seed(7))
    cells = mixed[:, 0].permute(1, 0, 2).reshape(10, 40)
    return {"cells": [["abcd"[int(one) - 1] for one in row] for row in cells.tolist()]}


def shares_of_mixup(module):
    """How often each share of itself an example keeps, over 2,000 batches, for three alphas."""
    series = {}
    for alpha in (0.2, 1.0, 5.0):
        generator = torch.Generator().manual_seed(0)
        x, y = torch.tensor([[0.0], [1.0]]), torch.eye(2)
        kept = []
        while len(kept) < 400:
            mixed, _ = module.mixup(x, y, alpha, generator)
            if mixed[0, 0] > 0:  # its partner was the other one
                kept.append(1 - mixed[0, 0])
        series[f"alpha {alpha:g}"] = torch.histc(torch.stack(kept), 10, 0, 1) / len(kept)
    return {"x": [0.05 + 0.1 * i for i in range(10)], "series": series}


def smoothed_loss(module):
    """The loss of one example as the right logit grows, with and without smoothing."""
    margin = torch.linspace(-2, 10, 61)
    series = {}
    for epsilon in (0.0, 0.1, 0.3):
        losses = [
            module.label_smoothing_loss(torch.tensor([[one, 0.0, 0.0, 0.0]]), torch.tensor([0]), epsilon)
            for one in margin.tolist()
        ]
        series[f"epsilon {epsilon:g}"] = torch.stack(losses)
    return {"x": margin, "series": series}


def block_mask(module):
    """One channel of 24 by 24 after drop_block with blocks of 5: zeros in squares, the rest a little larger."""
    return module.drop_block(torch.ones(1, 1, 24, 24), 0.2, 5, generator=torch.Generator().manual_seed(1))[0, 0]


def averaged_weight(module):
    """A noisy weight that learns, and its average with and without warm-up."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    averages = {"warm-up": module.ModelEMA(model, 0.98), "without": module.ModelEMA(model, 0.98, warmup=False)}
    series = {"weight": [], **{name: [] for name in averages}}
    for step in range(150):
        with torch.no_grad():
            noise = 0.3 * torch.randn((), generator=generator)
            model.weight.fill_(1 - 0.97**step + noise)
        series["weight"].append(model.weight.item())
        for name, average in averages.items():
            average.update(model)
            series[name].append(average.module.weight.item())
    return {"x": list(range(150)), "series": series}


def pull_of_valleys(module):
    """How far one step goes from each weight, on a loss with a narrow valley at 0 and a wide one at 3."""

    def loss(w):
        return -torch.exp(-((w / 0.2) ** 2)) - torch.exp(-(((w - 3) / 1.2) ** 2))

    places = torch.linspace(-1, 5, 81)
    series = {}
    for name, rho in (("plain", 0.0), ("SAM", 0.5)):
        series[name] = []
        for place in places:
            weight = torch.nn.Parameter(place.clone())
            module.sam_step(lambda weight=weight: loss(weight), torch.optim.SGD([weight], 1.0), rho)
            series[name].append(weight.item() - place.item())
    return {"x": places, "series": series}
