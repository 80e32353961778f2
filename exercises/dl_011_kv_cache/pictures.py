"""What `kv_cache.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 11` prints them."""

import torch


def bytes_per_token(module):
    """KiB that one token costs, by what is kept, in a model of 32 layers and 32 heads of 128."""
    sizes = {"heads": 32, "head_dim": 128, "kv_heads": 8, "latent_dim": 512, "rope_dim": 64}
    names = {"mha": "a pair a head", "gqa": "8 pairs", "mqa": "1 pair", "mla": "a latent"}
    return {name: module.kv_cache_bytes(kind, 1, 32, **sizes) / 1024 for kind, name in names.items()}


def cache_places(module):
    """Three sequences of one batch: prompts of unequal length, one more token, and a sequence that left."""
    cache = module.KVCache(3, 1, 8, 1)
    token = torch.arange(4.0).reshape(1, 1, 4, 1).expand(3, 1, 4, 1)
    cache.append(token, token, torch.tensor([4, 2, 3]))
    cache.reset([1])
    more = torch.stack([cache.lengths, cache.lengths + 1], 1).float()[:, None, :, None]
    cache.append(more, more, torch.tensor([1, 2, 2]))
    held = cache.k[:, 0, :, 0].tolist()
    cells = [
        [f"{name}{int(held[i][j])}" if j < length else "" for j in range(8)]
        for i, (name, length) in enumerate(zip("abc", cache.lengths.tolist(), strict=True))
    ]
    return {"cells": cells, "rows": ["a", "b, new", "c"]}


def attention_map(module):
    """What each of 4 new tokens gives to each key behind 3 cached ones: with one-hot values that is the output."""
    cache = module.KVCache(1, 1, 8, 7)
    q, k = torch.randn(2, 1, 1, 7, 7, generator=torch.Generator().manual_seed(4))
    v = torch.eye(7)[None, None]
    module.prefill(q[:, :, :3], k[:, :, :3], v[:, :, :3], cache)
    return module.prefill(q[:, :, 3:], k[:, :, 3:], v[:, :, 3:], cache)[0, 0]


def rounding_error(module):
    """The mean error of int8 keys of which channel 3 has ten times the size of the others."""
    keys = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    keys[:, 3] *= 10
    errors = {}
    for per in ("token", "channel"):
        error = (module.dequantize_kv(*module.quantize_kv(keys, per)) - keys).abs().mean(0)
        errors[f"a scale a {per}"] = error
    return {"x": list(range(8)), "series": errors}


def kept_positions(module):
    """Which of 16 positions each policy keeps when 6 fit; position 5 gets most attention."""
    scores = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    scores[:, 5] += 3
    seen = torch.ones(16, 16, dtype=torch.bool).tril()
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    kept = {
        "window": module.evict("window", weights, 6),
        "sinks": module.evict("sinks", weights, 6, sinks=2),
        "heavy": module.evict("heavy", weights, 6, recent=2),
    }
    cells = [[str(j) if j in positions.tolist() else "" for j in range(16)] for positions in kept.values()]
    return {"cells": cells, "rows": list(kept)}


def block_pool(module):
    """The pool after a prompt of 6 tokens, its fork, and one more token of each; a third sequence beside them."""
    cache = module.PagedKVCache(blocks=6, block_size=4, kv_heads=1, head_dim=1)
    token = torch.arange(6.0).reshape(6, 1, 1)
    a = cache.create()
    cache.append(a, token, token)
    b = cache.fork(a)
    cache.append(b, token[:1] + 6, token[:1] + 6)
    cache.append(a, token[:1] + 6, token[:1] + 6)
    c = cache.create()
    cache.append(c, token[:3], token[:3])
    cells = [[""] * 4 for _ in range(6)]
    for block in range(6):
        owners = [(name, seq) for name, seq in (("a", a), ("b", b), ("c", c)) if block in cache.table(seq)]
        for name, seq in owners[:1]:
            start = 4 * cache.table(seq).index(block)
            held = cache.gather(seq)[0][start : start + 4].flatten().tolist()
            names = "".join(name for name, _ in owners)
            cells[block][: len(held)] = [f"{names}{int(one)}" for one in held]
    return {"cells": cells}
