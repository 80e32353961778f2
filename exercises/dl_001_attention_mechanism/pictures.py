"""What `attention_mechanism.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 1`."""

import torch

TEXT = "abcabcab"


def _normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention_with_and_without_scale(module):
    """The weights of one query over 24 keys of width 32, the largest first: with the scale 1/√d, and without."""
    q, k = _normal(1, 32, seed=0), _normal(24, 32, seed=1)
    series = {}
    for name, scale in (("with 1/√d", None), ("without", 1.0)):
        weights = module.scaled_dot_product_attention(q, k, k, scale=scale)[1]
        series[name] = weights[0].sort(descending=True).values
    return {"x": list(range(1, 25)), "series": series}


def what_queries_may_see(module):
    """Causal masks of 4 queries and 6 places, for a sequence of 6 keys and for one of 4."""
    mask = module.attention_mask(torch.tensor([6, 4]), 4, 6, causal=True)
    cells = [["sees" if seen else "" for seen in row] for sequence in mask[:, 0].tolist() for row in sequence]
    return {"cells": cells, "rows": [f"{length} keys, q{i}" for length in (6, 4) for i in range(4)]}


def two_heads(module):
    """The weights of two heads over "abcabcab", causal: one looks for the place before, one for the same letter."""
    places, letters = torch.eye(8), torch.eye(3)[[ord(letter) - ord("a") for letter in TEXT]]
    x = torch.cat([places, letters, torch.zeros(8, 5)], dim=1)
    attention = module.MultiHeadAttention(16, 2)
    weight = torch.zeros(3, 16, 16)
    weight[0, :8, :8] = 12 * torch.eye(8).roll(-1, 0)  # the query of place i is the key of place i - 1
    weight[0, 0] = 0  # before the first place there is none
    weight[0, 8:, 8:] = 12 * torch.eye(8)
    weight[1] = weight[2] = torch.eye(16)
    attention.load_state_dict(
        {
            "in_proj_weight": weight.reshape(48, 16),
            "in_proj_bias": torch.zeros(48),
            "out_proj.weight": torch.eye(16),
            "out_proj.bias": torch.zeros(16),
        }
    )
    weights = attention(x[None], mask=torch.ones(8, 8).tril().bool())[1][0].detach()
    rows = [f"{name}, {letter}" for name in ("before", "same") for letter in TEXT]
    return {"values": weights.reshape(16, 8), "rows": rows, "columns": list(TEXT)}


def slope_by_width(module):
    """Whether a softmax over 64 keys can still learn: its slope, by the width of a head."""
    widths = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    series = {"with 1/√d": [], "without": []}
    for d in widths:
        q, k = _normal(64, d, seed=d), _normal(64, d, seed=d + 1)
        series["with 1/√d"].append(module.saturation(q, k, d**-0.5)[2].item())
        series["without"].append(module.saturation(q, k, 1.0)[2].item())
    return {"x": widths, "series": series}


def weight_beside_a_sink(module):
    """What a head gives to all its keys together, by its sink, where all scores are 0."""
    sinks = torch.linspace(-4, 8, 49, dtype=torch.float64)
    q, series = torch.zeros(1, 49, 1, 4, dtype=torch.float64), {}
    for s in (1, 8, 64):
        k = torch.zeros(1, 49, s, 4, dtype=torch.float64)
        series[f"{s} key{'s' if s > 1 else ''}"] = module.sink_attention(q, k, k, sinks)[1].sum(-1).flatten()
    return {"x": sinks, "series": series}
