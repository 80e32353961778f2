"""What `attention_variants.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 12` prints
them. With one-hot values the output of attention is the weights themselves.
"""

import torch


def _queries_and_keys(n, d=8, seed=0):
    return torch.randn(2, 1, 1, n, d, generator=torch.Generator().manual_seed(seed))


def padded_memory(module):
    """The weights of 4 tokens over a memory of 7, of which the last 2 are padding."""
    x, memory = torch.randn(4, 7, generator=torch.Generator().manual_seed(2)), torch.eye(7)
    one = torch.eye(7)
    padding = torch.arange(7)[None] >= 5
    return module.cross_attention(x[None], memory[None], 2 * one, 2 * one, one, one, 1, padding)[0]


def window_map(module):
    """Who sees whom with a causal window of 4 keys."""
    q, k = _queries_and_keys(16)
    return module.sliding_window_attention(q, k, torch.eye(16)[None, None], 4)[0, 0]


def global_token_map(module):
    """Who sees whom with 2 keys on each side, and one token that sees all and that all see."""
    q, k = _queries_and_keys(16)
    seen = module.sliding_window_attention(
        q, k, torch.eye(16)[None, None], 2, causal=False, global_tokens=torch.tensor([5])
    )
    return seen[0, 0]


def tiles_of_scores(module):
    """The weights that causal flash attention computes, in tiles of 4 queries by 4 keys that never meet."""
    q, k = _queries_and_keys(12, seed=3)
    return module.flash_attention_forward(q, k, torch.eye(12)[None, None], True, 4, 4)[0][0, 0]


def softmax_or_features(module):
    """The weights of the last query over 16 keys: with e^(q·k) and with a feature map in its place."""
    q, k = _queries_and_keys(16, d=4, seed=1)
    one = torch.eye(16)[None, None]
    sharp = module.flash_attention_forward(q, k, one, True, 8, 8)[0][0, 0, -1]
    flat = module.linear_attention(q, k, one, True)[0, 0, -1]
    return {"x": list(range(16)), "series": {"softmax": sharp, "linear": flat}}


def penalty_by_distance(module):
    """What ALiBi takes from the score of a key that lies so far back, for four heads."""
    bias = module.alibi_bias(4, 1, 32)[:, 0].flip(-1)
    return {"x": list(range(32)), "series": {f"head {i}": row for i, row in enumerate(bias)}}


def capped_scores(module):
    """The score that is left of a raw score, read from the weights of two keys."""
    raw = torch.linspace(-12, 12, 49, dtype=torch.float64)
    q = raw.reshape(1, 1, -1, 1)
    k = torch.tensor([[0.0], [1.0]], dtype=torch.float64)[None, None]
    series = {}
    for cap in (2.0, 5.0, 50.0):
        weights = module.soft_capped_attention(q, k, torch.eye(2, dtype=torch.float64)[None, None], cap, causal=False)
        weights = weights[0, 0]
        series[f"cap {cap:g}"] = (weights[:, 1] / weights[:, 0]).log()
    return {"x": raw, "series": series}
