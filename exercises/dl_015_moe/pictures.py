"""What `moe.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 15` prints them."""

import torch


def _logits(tokens, experts, seed=0, tilt=0.0):
    """Raw scores; tilt: how much more each expert is liked than the next one."""
    noise = torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))
    return noise - tilt * torch.arange(experts)


def routing(module):
    """The weights of the 2 experts that each of 24 tokens chose."""
    weights, experts = module.top_k_router(_logits(24, 8), 2)
    return torch.zeros(24, 8).scatter(1, experts, weights)


def buffers(module):
    """Which token lies in which place: 12 tokens with 2 choices each, 4 places an expert."""
    logits = _logits(12, 6, tilt=0.3)
    experts = logits.topk(2).indices
    _, slots = module.dispatch(torch.zeros(12, 1), experts, 6, 4)
    cells = [[""] * 4 for _ in range(6)]
    for token in range(12):
        for choice in range(2):
            if slots[token, choice] >= 0:
                cells[int(experts[token, choice])][int(slots[token, choice])] = f"{'ab'[choice]}{token}"
    return {"cells": cells}


def tokens_per_expert(module):
    """How many of 96 choices fell on each expert, of scores that like the first ones more."""
    _, experts = module.top_k_router(_logits(48, 8, tilt=0.4), 2)
    load = experts.flatten().bincount(minlength=8)
    return {f"expert {i}": int(count) for i, count in enumerate(load)}


def load_under_bias(module):
    """The share of the choices that falls on each expert, step by step, while the bias is corrected."""
    bias, shares = torch.zeros(8), []
    for step in range(48):
        logits = _logits(512, 8, seed=step, tilt=0.15)
        _, experts = module.bias_balanced_router(logits, bias, 2)
        shares.append(experts.flatten().bincount(minlength=8) / experts.numel())
        bias = module.update_bias(bias, experts, 0.01)
    return torch.stack(shares).T


def balanced_plan(module):
    """What Sinkhorn's plan gives to each expert, of scores that like the first ones more."""
    return module.sinkhorn(_logits(16, 4, seed=2, tilt=1.0), 30)


def certainty(module):
    """The entropy of the load, and of a token's own choice, as the scores grow."""
    scales = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
    load, token = [], []
    for scale in scales:
        logits = scale * _logits(256, 8, tilt=0.1)
        report = module.collapse_report(logits, logits.topk(2).indices)
        load.append(report["entropy"])
        token.append(report["token_entropy"])
    return {"x": scales, "series": {"of the load": load, "of a token": token}}
