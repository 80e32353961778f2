"""dl_011 · KV cache: decode one token at a time without redoing the past.

Axes
    b  sequences in the batch          h  query heads           d  width of a head
    t  new tokens in this call         g  key/value heads       l  width of MLA's latent
    s  all tokens so far, new ones included                     e  width of MLA's rotary key

The contract, in one line: however a sequence is cut into calls, the outputs are those of one causal pass over it.

    out[i] = sum over j <= i of softmax_j( q[i] · k[j] / sqrt(d) ) v[j]

Everything runs without gradients in mind, except `MultiHeadLatentAttention.forward`. Inputs are never changed. Results
of attention have the dtype of q, k and v, which is one; a cache has its own.
"""

from collections import Counter
from itertools import count

import torch
from torch import Tensor, nn


def kv_cache_bytes(
    kind: str,
    tokens: int,
    layers: int,
    *,
    heads: int = 0,
    head_dim: int = 0,
    kv_heads: int = 0,
    latent_dim: int = 0,
    rope_dim: int = 0,
    dtype: torch.dtype = torch.float16,
) -> int:
    """Bytes that a model keeps to decode on after `tokens` tokens (all sequences together).

    kind: "mha" (a key and a value for each of `heads`), "gqa" (for each of `kv_heads`), "mqa" (one of each, shared by
        all heads), "mla" (one latent of `latent_dim` and one rotary key of `rope_dim`, whatever the number of heads).
    Arguments that a kind does not need are ignored.

    Raises ValueError for another kind, and for "gqa" if `kv_heads` is not a positive divisor of `heads`.

    Llama-2-7B (32 layers, 32 heads of 128, float16) takes 524,288 bytes a token. DeepSeek-V2 keeps (512 + 64) · 60
    values a token (arXiv 2405.04434, table 1).

    >>> kv_cache_bytes("mha", 1, 32, heads=32, head_dim=128)
    524288
    """
    ### BEGIN SOLUTION
    values = {
        "mha": 2 * heads * head_dim,
        "gqa": 2 * kv_heads * head_dim,
        "mqa": 2 * head_dim,
        "mla": latent_dim + rope_dim,
    }
    if kind not in values:
        raise ValueError(f"kind is one of {', '.join(values)}, not {kind!r}")
    if kind == "gqa" and (kv_heads < 1 or heads % kv_heads):
        raise ValueError(f"{kv_heads} key/value heads do not divide {heads} heads")
    return tokens * layers * values[kind] * dtype.itemsize
    ### END SOLUTION


class KVCache:
    """Keys and values of one attention layer, for a batch of sequences that grow at their own pace.

    k, v: (b, h, capacity, d), allocated once, here. Token j of sequence i lies at k[i, :, j].
    lengths: (b,) int64, how many tokens each sequence holds. What lies behind them is left over: finite, meaningless.
    """

    def __init__(
        self, batch: int, heads: int, capacity: int, head_dim: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.capacity = capacity
        self.k = torch.zeros(batch, heads, capacity, head_dim, dtype=dtype)
        self.v = torch.zeros(batch, heads, capacity, head_dim, dtype=dtype)
        self.lengths = torch.zeros(batch, dtype=torch.int64)

    def append(self, k: Tensor, v: Tensor, counts: Tensor | None = None) -> None:
        """Write new tokens behind the ones that each sequence holds, into the buffers that are there: nothing that is
        cached already is copied. Beside k, v and lengths nothing stays alive, under `torch.no_grad` as without.

        k, v: (b, h, t, d).
        counts: (b,) int64 in 0..t, how many of its t tokens sequence i really adds: the first counts[i], the others
            are padding: they are not written, whatever they hold (also NaN). None: all t.

        Raises ValueError if any sequence would pass the capacity, before anything is written.

        >>> cache = KVCache(batch=2, heads=1, capacity=4, head_dim=1)
        >>> new = torch.tensor([[5.0, 6.0, 7.0], [8.0, 9.0, 0.0]]).reshape(2, 1, 3, 1)
        >>> cache.append(new, new, counts=torch.tensor([3, 2]))
        >>> cache.k[:, 0, :, 0].tolist(), cache.lengths.tolist()
        ([[5.0, 6.0, 7.0, 0.0], [8.0, 9.0, 0.0, 0.0]], [3, 2])
        """
        ### BEGIN SOLUTION
        b, _, t, _ = k.shape
        if counts is None:
            counts = torch.full((b,), t)
        lengths = self.lengths + counts
        if (lengths > self.capacity).any():
            raise ValueError(f"{lengths.tolist()} tokens in a cache of {self.capacity}")
        row, step = (torch.arange(t) < counts[:, None]).nonzero(as_tuple=True)
        slot = self.lengths[row] + step
        self.k[row, :, slot] = k[row, :, step]
        self.v[row, :, slot] = v[row, :, step]
        self.lengths = lengths
        ### END SOLUTION

    def reset(self, rows: list[int] | None = None) -> None:
        """Empty the sequences `rows` (None: all), so that new ones can take their place. No memory is given back.

        >>> cache = KVCache(batch=2, heads=1, capacity=4, head_dim=1)
        >>> cache.append(torch.ones(2, 1, 3, 1), torch.ones(2, 1, 3, 1))
        >>> cache.reset([1]); cache.lengths.tolist()
        [3, 0]
        """
        ### BEGIN SOLUTION
        self.lengths[slice(None) if rows is None else rows] = 0
        ### END SOLUTION


def prefill(q: Tensor, k: Tensor, v: Tensor, cache: KVCache, counts: Tensor | None = None) -> Tensor:
    """Append a chunk of t tokens to every sequence, and attend causally from them.

    q, k, v: (b, h, t, d), t >= 0. Returns (b, h, t, d).
    counts: (b,) as in `KVCache.append`, for prompts of unequal length padded on the right. Rows of the result that
        belong to padding are zero, whatever the padding holds.

    The cache may hold tokens already (a prompt fed in chunks). Token i of the chunk then stands at position
    lengths[b] + i of its sequence, and sees the positions up to and including its own:

        past 3, t = 2       keys 0 1 2 | 3 4
        query 0                  x x x | x .
        query 1                  x x x | x x

    Raises what `KVCache.append` raises, with the cache unchanged.
    Forbidden: torch's `F.scaled_dot_product_attention`.
    Costs 4·b·h·t·s·d FLOPs, s the longest sequence after the call. The capacity costs nothing: no tensor grows with it,
    and none holds s² scores. Nothing stays alive but the result and the cache. So under `torch.no_grad` as without.
    The work stays in torch, that of `KVCache.append` here too: numpy and lists are refused where it is counted.

    >>> cache = KVCache(1, 1, 8, 1)
    >>> q, v = torch.zeros(1, 1, 3, 1), torch.tensor([3.0, 5.0, 10.0]).reshape(1, 1, 3, 1)
    >>> prefill(q, q, v, cache).flatten().tolist()      # equal scores: token i sees the mean of v[0..i]
    [3.0, 4.0, 6.0]
    """
    ### BEGIN SOLUTION
    t, d = q.shape[2:]
    past = cache.lengths.clone()
    cache.append(k, v, counts)
    s = int(cache.lengths.max())
    position = past[:, None, None, None] + torch.arange(t)[:, None]  # (b, 1, t, 1)
    scores = q @ cache.k[:, :, :s].mT * d**-0.5  # (b, h, t, s)
    weights = scores.masked_fill(torch.arange(s) > position, -torch.inf).softmax(-1)
    padding = position >= cache.lengths[:, None, None, None]
    return (weights @ cache.v[:, :, :s]).masked_fill(padding, 0)
    ### END SOLUTION


def decode_step(q: Tensor, k: Tensor, v: Tensor, cache: KVCache, active: Tensor | None = None) -> Tensor:
    """Append one token to every active sequence, and attend from it to all that its own sequence holds.

    q, k, v: (b, h, d). Returns (b, h, d).
    active: (b,) bool, which sequences take part; None: all. The others (finished, or a free place in the batch) append
        nothing, and their rows of the result are zero, whatever their rows of q, k, v hold.

    Raises what `KVCache.append` raises, with the cache unchanged.
    Forbidden: torch's `F.scaled_dot_product_attention`.
    Costs 4·b·h·s·d FLOPs, s the longest sequence after the call: linear in the length. The capacity costs nothing: no
    tensor grows with it. Nothing stays alive but the result and the cache. So under `torch.no_grad` as without.
    The work stays in torch, that of `KVCache.append` here too: numpy and lists are refused where it is counted.

    >>> cache = KVCache(1, 1, 8, 1)
    >>> zero = torch.zeros(1, 1, 1)
    >>> [decode_step(zero, zero, torch.full((1, 1, 1), x), cache).item() for x in (3.0, 5.0, 10.0)]
    [3.0, 4.0, 6.0]
    """
    ### BEGIN SOLUTION
    b, _, d = q.shape
    if active is None:
        active = torch.ones(b, dtype=torch.bool)
    cache.append(k[:, :, None], v[:, :, None], active.long())
    s = int(cache.lengths.max())
    scores = torch.einsum("bhd,bhsd->bhs", q, cache.k[:, :, :s]) * d**-0.5
    behind = torch.arange(s) >= cache.lengths[:, None, None]
    weights = scores.masked_fill(behind, -torch.inf).softmax(-1)
    out = torch.einsum("bhs,bhsd->bhd", weights, cache.v[:, :, :s])
    return out.masked_fill(~active[:, None, None], 0)
    ### END SOLUTION


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of h query heads over g key/value heads, without a repeated copy of them (arXiv 2305.13245).

    q: (b, h, t, d). k, v: (b, g, s, d). Returns (b, h, t, d).
    Query head i reads key/value head i // (h/g): with h = 4, g = 2 heads 0 and 1 share the first one.
    The t queries are the last t of the s positions: query i sees keys 0 .. s - t + i. t and s may be 0.

    Raises ValueError if g does not divide h, or if t > s.
    Forbidden: torch's `F.scaled_dot_product_attention`.
    Makes no tensor larger than the largest of q, k and the scores (b·h·t·s): nothing of b·h·s·d, so no copy
    per query head, under `torch.no_grad` as without. Done in torch, it takes 4·b·h·t·s·d FLOPs.

    >>> q, k = torch.zeros(1, 4, 1, 1), torch.zeros(1, 2, 2, 1)
    >>> v = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).reshape(1, 2, 2, 1)
    >>> grouped_query_attention(q, k, v).flatten().tolist()
    [2.0, 2.0, 20.0, 20.0]
    """
    ### BEGIN SOLUTION
    b, h, t, d = q.shape
    g, s = k.shape[1:3]
    if h % g or t > s:
        raise ValueError(f"{h} heads over {g}, {t} queries over {s} keys")
    # Heads of a group see the same keys, so they are more rows of one product: (b, g, h/g·t, d) @ (b, g, d, s).
    scores = (q.reshape(b, g, h // g * t, d) @ k.mT * d**-0.5).view(b, h, t, s)
    future = torch.arange(s) > torch.arange(s - t, s)[:, None]
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    return (weights.view(b, g, h // g * t, s) @ v).view(b, h, t, d)
    ### END SOLUTION


def quantize_kv(x: Tensor, per: str) -> tuple[Tensor, Tensor]:
    """Symmetric int8: x ≈ codes · scale, with the largest magnitude of a group at ±127.

    x: (..., s, d) keys or values, float32 or float64, s and d at least 1.
    per: "token" (a scale for each token, over its d channels) or "channel" (one for each channel, over the s tokens).
    Returns codes (..., s, d) int8 in -127 .. 127, and scale in x's dtype, (..., s, 1) or (..., 1, d).

        scale = max |x| / 127 over the group          codes = x / scale, rounded to the nearest

    So |x - codes · scale| <= scale / 2. A group of zeros gives zero codes and a finite scale above 0.
    (What happens to groups below 127 · finfo.tiny is yours to choose.)
    Raises ValueError for another `per`. See KIVI, arXiv 2402.02750, section 3: keys per channel, values per token.

    >>> codes, scale = quantize_kv(torch.tensor([[-2.54, 1.0, 0.03]]), per="token")
    >>> codes.tolist(), round(scale.item(), 6)
    ([[-127, 50, 2]], 0.02)
    """
    ### BEGIN SOLUTION
    axes = {"token": -1, "channel": -2}
    if per not in axes:
        raise ValueError(f"per is token or channel, not {per!r}")
    largest = x.abs().amax(axes[per], keepdim=True)
    scale = (largest / 127).clamp(min=torch.finfo(x.dtype).tiny)
    return (x / scale).round().to(torch.int8), scale
    ### END SOLUTION


def dequantize_kv(codes: Tensor, scale: Tensor) -> Tensor:
    """What `quantize_kv` stands for: codes · scale, in the dtype of scale.

    >>> dequantize_kv(torch.tensor([[-127, 50]], dtype=torch.int8), torch.tensor([[0.5]])).tolist()
    [[-63.5, 25.0]]
    """
    ### BEGIN SOLUTION
    return codes * scale
    ### END SOLUTION


def evict(policy: str, weights: Tensor, budget: int, *, sinks: int = 0, recent: int = 0) -> Tensor:
    """Which of the s cached positions to keep when only `budget` fit.

    weights: (..., t, s) attention probabilities of the t queries so far over the s positions; ... is batch, heads, or
        nothing. t and s may be 0.
    Returns (..., min(s, budget)) int64: for each of ..., the kept positions in ascending order.

    policy
        "window"  the newest `budget` positions, whatever the weights.
        "sinks"   the first `sinks` positions and the newest budget - sinks (StreamingLLM, arXiv 2309.17453, 3.2).
        "heavy"   the newest `recent` positions, and of the others the budget - recent that received most attention:
                  weights summed over the queries, largest first (H2O, arXiv 2306.14048, 4). Ties as you like.

    Raises ValueError for another policy, a negative budget, and for sinks ("sinks") or recent ("heavy") over the
    budget; whether the other policies look at them is yours to choose. A budget of 0 keeps nothing.

    >>> weights = torch.tensor([[1.0, 0, 0, 0], [0.3, 0.7, 0, 0], [0.1, 0.7, 0.2, 0], [0.1, 0.6, 0.1, 0.2]])
    >>> evict("window", weights, 2), evict("sinks", weights, 3, sinks=1), evict("heavy", weights, 2, recent=1)
    (tensor([2, 3]), tensor([0, 2, 3]), tensor([1, 3]))
    """
    ### BEGIN SOLUTION
    if max(sinks, recent) > budget:
        raise ValueError(f"{sinks} sinks and {recent} recent positions in a budget of {budget}")
    s = weights.shape[-1]
    position = torch.arange(s)
    if policy == "window":
        rank = position
    elif policy == "sinks":
        rank = position.masked_fill(position < sinks, s)
    elif policy == "heavy":
        rank = weights.sum(-2).masked_fill(position >= s - recent, torch.inf)
    else:
        raise ValueError(f"policy is window, sinks or heavy, not {policy!r}")
    best = rank.expand(*weights.shape[:-2], s).topk(min(s, budget)).indices
    return best.sort().values
    ### END SOLUTION


def rotate(x: Tensor, start: int = 0) -> Tensor:
    """Rotary positions (given). x: (..., t, e), its token i at position start + i. Pairs (0, 1), (2, 3), ... turn by
    position · 10000^(-0/e), position · 10000^(-2/e), ..."""
    t, e = x.shape[-2:]
    frequency = 10000.0 ** (-torch.arange(0, e, 2, dtype=x.dtype) / e)
    angle = torch.arange(start, start + t, dtype=x.dtype)[:, None] * frequency  # (t, e/2)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
    return torch.stack(turned, -1).flatten(-2)


class MultiHeadLatentAttention(nn.Module):
    """Attention that caches one latent and one rotary key a token, for all heads (DeepSeek-V2, arXiv 2405.04434, 2.1).

    With x_j the input of token j, head i, and [ , ] a concatenation (eq. 9-19; the RMSNorm is
    that of section 3.1.2, and queries are uncompressed as in V2-Lite):

        [c_j, r_j] = kv_down(x_j)          c_j <- kv_norm(c_j)         r_j <- rotate(r_j)        cached: [c_j, r_j]
        k_j = [k_up[i] @ c_j, r_j]         v_j = v_up[i] @ c_j
        o_n = sum over j <= n of softmax_j( q_n · k_j / sqrt(head_dim + rope_dim) ) v_j
        result_n = out( o_n of head 0, o_n of head 1, ... )

    `forward` builds k and v. `decode` never does: q · (k_up[i] @ c) = (k_up[i].T @ q) · c, so k_up moves into the
    query, and v_up behind the weighted sum of latents.
    Forbidden: torch's `F.scaled_dot_product_attention`.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, rope_dim: int, latent_dim: int, value_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim, self.rope_dim, self.latent_dim = heads, head_dim, rope_dim, latent_dim
        self.q_proj = nn.Linear(dim, heads * (head_dim + rope_dim), bias=False)
        self.kv_down = nn.Linear(dim, latent_dim + rope_dim, bias=False)  # rows: latent first, then the rotary key
        self.kv_norm = nn.RMSNorm(latent_dim, eps=1e-6)
        self.k_up = nn.Parameter(torch.randn(heads, head_dim, latent_dim) * latent_dim**-0.5)
        self.v_up = nn.Parameter(torch.randn(heads, value_dim, latent_dim) * latent_dim**-0.5)
        self.out = nn.Linear(heads * value_dim, dim, bias=False)

    def queries(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Queries without positions (b, h, t, head_dim), and rotated ones (b, h, t, rope_dim). Given."""
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return q[..., : self.head_dim], rotate(q[..., self.head_dim :], start)

    def compress(self, x: Tensor, start: int = 0) -> Tensor:
        """What the cache holds of tokens x: (b, t, dim), the first at position `start`.

        Returns (b, t, l + e): the latent after its norm, then the rotary key after its rotation.
        """
        ### BEGIN SOLUTION
        latent, key = self.kv_down(x).split([self.latent_dim, self.rope_dim], -1)
        return torch.cat([self.kv_norm(latent), rotate(key, start)], -1)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Causal attention over whole sequences, as in training. x: (b, s, dim) from position 0. Returns (b, s, dim).

        Builds the keys and values of every head once, since for many queries that is the cheaper way:
        2·b·h·s²·(head_dim + e + value_dim) FLOPs beside the projections, not 2·b·h·s²·(2·l + e). So in training and in
        eval, with and without gradients; with the backward pass three times as many. The work stays in torch.
        Gradients flow to x and to all weights.
        """
        ### BEGIN SOLUTION
        s = x.shape[1]
        latent, k_rope = self.compress(x).split([self.latent_dim, self.rope_dim], -1)
        k = torch.einsum("hdl,bsl->bhsd", self.k_up, latent)
        v = torch.einsum("hdl,bsl->bhsd", self.v_up, latent)
        q, q_rope = self.queries(x)
        scores = (q @ k.mT + q_rope @ k_rope[:, None].mT) * (self.head_dim + self.rope_dim) ** -0.5
        future = torch.ones(s, s, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))
        ### END SOLUTION

    def decode(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from t new tokens over the p cached ones and themselves, causally, without building keys or values.

        x: (b, t, dim), at positions p .. p + t - 1.
        cache: (b, p, l + e) from `compress` or an earlier `decode`, p >= 0.
        Returns (b, t, dim) and the new cache (b, p + t, l + e).
        Costs 2·b·h·t·s·(2·l + e) FLOPs beside the projections of the new tokens, s = p + t, and makes no tensor of
        b·h·s·head_dim elements, in training and in eval, under `torch.no_grad` as without. The work stays in torch.
        Once the graph is gone, nothing stays alive but the result and the new cache.

        >>> layer = MultiHeadLatentAttention(dim=6, heads=2, head_dim=3, rope_dim=2, latent_dim=4, value_dim=3)
        >>> x = torch.randn(1, 5, 6)
        >>> out, cache = layer.decode(x[:, 4:], layer.compress(x[:, :4]))
        >>> cache.shape, torch.allclose(out, layer(x)[:, 4:], atol=1e-5)
        (torch.Size([1, 5, 6]), True)
        """
        ### BEGIN SOLUTION
        t, p = x.shape[1], cache.shape[1]
        cache = torch.cat([cache, self.compress(x, p)], 1)
        q, q_rope = self.queries(x, p)
        q = torch.cat([torch.einsum("bhtd,hdl->bhtl", q, self.k_up), q_rope], -1)
        # One key for all heads, so heads are more rows of one product: (b, h·t, l + e) @ (b, l + e, s).
        scores = (q.flatten(1, 2) @ cache.mT).unflatten(1, (self.heads, t)) * (self.head_dim + self.rope_dim) ** -0.5
        future = torch.ones(t, p + t, dtype=torch.bool).triu(1 + p)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        latent = (weights.flatten(1, 2) @ cache[..., : self.latent_dim]).unflatten(1, (self.heads, t))
        return self.out(torch.einsum("bhtl,hdl->bthd", latent, self.v_up).flatten(2)), cache
        ### END SOLUTION


class PagedKVCache:
    """Keys and values in blocks that are handed out as sequences grow, and shared by forks (vLLM, arXiv 2309.06180, 4).

        sequence 0, 6 tokens                   table [2, 0]         block 0   4 5 . .       . = free place
        sequence 1, its fork                   table [2, 0]         block 1   . . . .       block_size 4
        sequence 1, after one more token       table [2, 1]         block 2   0 1 2 3

    k, v: the pool, (blocks, block_size, g, d), allocated once, here; no other keys and values are held.
        Token j of a sequence lies at k[table[j // block_size], j % block_size]; its table holds
        ceil(length / block_size) blocks.
    A block is free when no sequence's table holds it. Which free block is taken next is yours to choose.
    A method given the id of no live sequence (never created, or freed) raises KeyError and changes nothing.
    """

    def __init__(
        self, blocks: int, block_size: int, kv_heads: int, head_dim: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.block_size = block_size
        self.k = torch.zeros(blocks, block_size, kv_heads, head_dim, dtype=dtype)
        self.v = torch.zeros(blocks, block_size, kv_heads, head_dim, dtype=dtype)
        # Beside the pool: whatever bookkeeping you need.
        ### BEGIN SOLUTION
        self.ids = count()
        self.tables: dict[int, list[int]] = {}
        self.lengths: dict[int, int] = {}
        self.idle = list(range(blocks))
        self.owners: Counter[int] = Counter()  # block -> how many tables hold it
        ### END SOLUTION

    def create(self) -> int:
        """Start an empty sequence, which owns no block, and return its id: an int that no live sequence has.

        >>> cache = PagedKVCache(blocks=3, block_size=4, kv_heads=1, head_dim=1)
        >>> a = cache.create(); cache.append(a, torch.ones(6, 1, 1), torch.ones(6, 1, 1)); cache.available()
        1
        >>> b = cache.fork(a); cache.available()                # all blocks shared
        1
        >>> cache.append(b, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)); cache.available()      # its own tail
        0
        >>> cache.table(a)[0] == cache.table(b)[0], cache.table(a)[1] == cache.table(b)[1]
        (True, False)
        """
        ### BEGIN SOLUTION
        seq = next(self.ids)
        self.tables[seq], self.lengths[seq] = [], 0
        return seq
        ### END SOLUTION

    def append(self, seq: int, k: Tensor, v: Tensor) -> None:
        """Write t more tokens of one sequence. k, v: (t, g, d), t >= 0.

        Copy on write: where its last block has free places but is shared, the sequence first gets a copy of that block,
        and the others keep theirs. A block of its own is written in place. Appending no token takes no block.

        Raises ValueError if the new blocks and the copy are more than are free; then nothing has changed.
        """
        ### BEGIN SOLUTION
        table, start = self.tables[seq], self.lengths[seq]
        end = start + len(k)
        split = end > start and start % self.block_size > 0 and self.owners[table[-1]] > 1
        need = -(-end // self.block_size) - len(table) + split
        if need > len(self.idle):
            raise ValueError(f"{need} blocks needed, {len(self.idle)} free")
        new = [self.idle.pop() for _ in range(need)]
        self.owners.update(new)
        if split:
            shared = table.pop()
            self.owners[shared] -= 1
            self.k[new[0]], self.v[new[0]] = self.k[shared], self.v[shared]
        table += new
        place = torch.arange(start, end)
        block = torch.tensor(table, dtype=torch.int64)[place // self.block_size]
        self.k[block, place % self.block_size] = k
        self.v[block, place % self.block_size] = v
        self.lengths[seq] = end
        ### END SOLUTION

    def fork(self, seq: int) -> int:
        """A new sequence with the same tokens; returns its id. Shares every block, copies none."""
        ### BEGIN SOLUTION
        table = self.tables[seq]
        child = self.create()
        self.tables[child], self.lengths[child] = table.copy(), self.lengths[seq]
        self.owners.update(table)
        return child
        ### END SOLUTION

    def free(self, seq: int) -> None:
        """Forget a sequence. Its blocks become free, but for those that others still hold."""
        ### BEGIN SOLUTION
        for block in self.tables.pop(seq):
            self.owners[block] -= 1
            if self.owners[block] == 0:
                self.idle.append(block)
        del self.lengths[seq]
        ### END SOLUTION

    def gather(self, seq: int) -> tuple[Tensor, Tensor]:
        """All keys and values of a sequence in order: two tensors (length, g, d), copies."""
        ### BEGIN SOLUTION
        place = torch.arange(self.lengths[seq])
        block = torch.tensor(self.tables[seq], dtype=torch.int64)[place // self.block_size]
        return self.k[block, place % self.block_size], self.v[block, place % self.block_size]
        ### END SOLUTION

    def table(self, seq: int) -> list[int]:
        """The blocks of a sequence, in order: a new list."""
        ### BEGIN SOLUTION
        return self.tables[seq].copy()
        ### END SOLUTION

    def available(self) -> int:
        """How many blocks are free."""
        ### BEGIN SOLUTION
        return len(self.idle)
        ### END SOLUTION
