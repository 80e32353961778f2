"""dl_012 · Attention variants: the same sum over fewer pairs, in another order, or without the pairs.

Axes
    b  sequences in the batch       t  queries                  d  width of a query or key head
    h  heads                        s  keys                     e  width of a value head
    n  tokens, where queries and keys are the same ones

Unless a docstring says otherwise:

    out[i] = sum over the keys j that query i sees of softmax_j( q[i] · k[j] / sqrt(d) ) v[j]

* A query that sees no key gets zeros, never NaN; so do the gradients that pass through it.
* With causal=True the t queries are the last t of the s positions: query i sees keys 0 .. s - t + i. With t > s, the
  first t - s queries see nothing. (So FlashAttention since 2.1; `is_causal` of torch aligns to the top left.)
* Results have the dtype of the inputs (float32 or float64). Inputs may have any strides and are never changed.
* What is held "at once" is the most that is alive at any moment.
* "(differentiable)": gradients flow to every floating-point input.

The parts on softmax attention are to be written without `torch.nn.functional.scaled_dot_product_attention` and
`torch.nn.functional.multi_head_attention_forward`: calling them is refused.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import elu


def cross_attention(
    x: Tensor,
    memory: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    wo: Tensor,
    heads: int,
    padding: Tensor | None = None,
) -> Tensor:
    """Multi-head attention from a decoder's tokens to an encoder's output (arXiv 1706.03762, 3.2.3). (differentiable)

    x: (b, t, c) asks, memory: (b, s, m) answers; lengths and widths differ. t and s may be 0.
    wq: (h·d, c), wk: (h·d, m), wv: (h·e, m), wo: (o, h·e), as `nn.Linear.weight`: q = x @ wq.T. Head i owns rows
        i·d .. (i+1)·d - 1 of wq and wk, rows i·e .. (i+1)·e - 1 of wv, and the same columns of wo.
    padding: (b, s) bool, True where memory is padding. Such a key is not seen, whatever it holds (also NaN), and gets
        gradient 0. None: no padding.
    Returns (b, t, o). A sequence whose memory is all padding gets zeros.
    Forbidden: torch's `F.scaled_dot_product_attention` and `F.multi_head_attention_forward` (`nn.MultiheadAttention`).

    >>> x, memory, one = torch.zeros(1, 1, 2), torch.tensor([[[3.0], [5.0], [100.0]]]), torch.ones(1, 1)
    >>> cross_attention(x, memory, torch.ones(1, 2), one, one, one, 1, torch.tensor([[False, False, True]]))
    tensor([[[4.]]])
    """
    raise NotImplementedError  # TODO: your code


def sliding_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, *, causal: bool = True, global_tokens: Tensor | None = None
) -> Tensor:
    """Attention to near keys only, at a cost that is linear in n. (differentiable)

    q, k: (b, h, n, d), v: (b, h, n, e), n >= 1. Returns (b, h, n, e). Query i sees key j if

        causal (Mistral, arXiv 2310.06825, 2)         0 <= i - j < window       window keys, itself among them
        not causal (Longformer, arXiv 2004.05150)     |i - j| <= window         2·window + 1 keys: window on EACH side

    So with window = 2, query 3 of 6 sees keys 2 3, or 1 2 3 4 5. (Longformer's own w counts both sides: 2·window.)
    global_tokens: (g,) int64, distinct, any order, not causal only: these tokens see all, and all see them. Each pair
        counts once, and the same q, k, v serve both kinds (Longformer projects global ones apart).

    Raises ValueError for window < 1 (causal) or < 0 (not causal), and for global_tokens with causal=True.
    With m = window or 2·window + 1 keys a query, and n much larger: at most 3 times the 2·b·h·n·(m + 2g)·(d + e) FLOPs
    of the pairs, and no tensor of more than 1.5·b·h·n·(m + 2g)·max(d, e) elements: no n × n scores or mask.
    All other work is linear in n too. So with and without gradients; the backward pass takes at most twice those FLOPs,
    and no larger tensor. The work stays in torch: numpy and lists are refused where it is counted.
    Forbidden: torch's `F.scaled_dot_product_attention`.

    >>> q, v = torch.zeros(1, 1, 4, 1), torch.tensor([2.0, 4.0, 6.0, 11.0]).reshape(1, 1, 4, 1)
    >>> sliding_window_attention(q, q, v, 2).flatten().tolist()
    [2.0, 3.0, 5.0, 8.5]
    >>> sliding_window_attention(q, q, v, 1, causal=False).flatten().tolist()
    [3.0, 4.0, 7.0, 8.5]
    """
    raise NotImplementedError  # TODO: your code


def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Join attention to some keys with attention of the same queries to others (as flash decoding and rings do).

    out_a, out_b: (..., e), each the softmax-weighted mean of the values of its own keys.
    lse_a, lse_b: (...), the log-sum-exp of its own scores: -inf, and zeros in out, where a query saw none of them.
    Returns out: (..., e) and lse: (...) over both sets of keys. lse may have any size (±10,000).

        lse = log( e^lse_a + e^lse_b )          out = e^(lse_a - lse) out_a + e^(lse_b - lse) out_b

    >>> out, lse = merge(torch.tensor([[4.0]]), torch.tensor([0.0]), torch.tensor([[8.0]]), torch.tensor([3.0]).log())
    >>> out, lse.exp()                      # one key of weight 1 beside keys of weight 3: (1·4 + 3·8) / 4
    (tensor([[7.]]), tensor([4.]))
    """
    raise NotImplementedError  # TODO: your code


def online_softmax(pieces: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Softmax-weighted mean of values whose scores come in pieces, each seen once (arXiv 1805.02867, algorithm 3).

    pieces: one or more (scores: (..., t, s_i), values: (..., s_i, e)), s_i >= 1. A score of -inf hides its key; other
        scores may have any size (±10,000). Only iterate over it: it may be a generator, and it may reuse its
        memory, so a piece is valid until the next one is asked for. Do not keep the pieces: however many come, all
        that is alive at once takes at most the memory of eight, and after the call only what it returns is.
    Returns out: (..., t, e), and lse: (..., t), the log-sum-exp of all scores. A query that sees nothing in any piece
    has zeros and -inf; one that sees nothing in the first pieces is like any other.

    What is kept between two pieces: the largest score so far, the sum of e^(score - largest), and the sum of
    e^(score - largest) · value. A new largest score rescales both sums.

    >>> pieces = [(torch.tensor([[0.0]]), torch.tensor([[4.0]])), (torch.tensor([[3.0]]).log(), torch.tensor([[8.0]]))]
    >>> out, lse = online_softmax(pieces)
    >>> out, lse.exp()
    (tensor([[7.]]), tensor([4.]))
    """
    raise NotImplementedError  # TODO: your code


def flash_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, block_q: int = 64, block_k: int = 64
) -> tuple[Tensor, Tensor]:
    """Exact attention, tile by tile: scores of at most block_q queries over block_k keys exist at a time
    (arXiv 2205.14135, algorithm 1; rows in the outer loop as in arXiv 2307.08691, algorithm 1).

    q: (b, h, t, d), k: (b, h, s, d), v: (b, h, s, e); t and s need not be multiples of the blocks, and may be 0.
    Returns out: (b, h, t, e), and lse: (b, h, t), the log-sum-exp (base e) of the scaled scores that a query sees.

    Makes no tensor larger than the largest of q, k, v, out and one tile of scores (b·h·block_q·block_k). All that it
    holds at once takes at most twice the memory of q, k, v and out, and twelve tiles; after the call only out and lse
    are alive. Skips the tiles that no query sees: with causal=True and t = s about half the FLOPs. All other tiles take
    2·(d + e) FLOPs a pair. So also under `torch.no_grad`.
    The work stays in torch, that of `online_softmax` here too: numpy and lists are refused where it is counted.
    Forbidden: torch's `F.scaled_dot_product_attention`.

    >>> q, v = torch.zeros(1, 1, 3, 1), torch.tensor([3.0, 5.0, 10.0]).reshape(1, 1, 3, 1)
    >>> out, lse = flash_attention_forward(q, q, v, causal=True, block_q=2, block_k=2)
    >>> out.flatten().tolist(), lse.exp().flatten().round().tolist()
    ([3.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    """
    raise NotImplementedError  # TODO: your code


class FlashAttention(torch.autograd.Function):
    """`flash_attention_forward` with a backward pass that recomputes the scores instead of keeping them.

    FlashAttention.apply(q, k, v, causal, block_q, block_k) returns out: (b, h, t, e) alone. (differentiable, once)
    Forbidden: torch's `F.scaled_dot_product_attention`.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, block_q: int, block_k: int) -> Tensor:
        """As `flash_attention_forward`, under the same limits, with and without gradients. Keeps q, k, v, out and lse
        for backward, and no other tensor, not as an attribute of ctx either. Once out is gone they are gone too.

        >>> q = torch.zeros(1, 1, 3, 1, requires_grad=True)
        >>> v = torch.tensor([3.0, 5.0, 10.0]).reshape(1, 1, 3, 1).requires_grad_()
        >>> FlashAttention.apply(q, q, v, False, 2, 2).sum().backward()
        >>> v.grad.flatten().round().tolist()   # each value has weight 1/3 in each of three rows
        [1.0, 1.0, 1.0]
        """
        raise NotImplementedError  # TODO: your code

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """grad_out: (b, h, t, e), any strides. Returns a gradient for q, k and v, None for the other three.

        Tile by tile (arXiv 2205.14135, algorithm 4, without dropout), S the scaled and masked scores, d· gradients:

            P  = e^(S - lse)                    delta = rowsum(dout * out)
            dV = Pᵀ dout                        dP = dout Vᵀ               dS = P * (dP - delta)
            dQ = dS K / sqrt(d)                 dK = dSᵀ Q / sqrt(d)

        Five products a tile: with t = s and no mask 2·b·h·s²·(3d + 2e) FLOPs; skips the same tiles as the forward pass.
        Memory as in the forward pass: no tensor larger than the largest of q, k, v, out and one tile; all at once at
        most twice q, k, v and out, and twelve tiles; afterwards only the gradients. The work stays in torch.
        """
        raise NotImplementedError  # TODO: your code


def linear_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Attention with φ(q)·φ(k) in place of e^(q·k / sqrt(d)), φ(x) = elu(x) + 1, no scale (arXiv 2006.16236, eq. 5, 7).

    q: (b, h, t, d), k: (b, h, s, d), v: (b, h, s, e), s >= 1, t >= 0. Returns (b, h, t, e). (differentiable)

        out[i] = φ(q[i]) · ( Σ_j φ(k[j]) v[j]ᵀ ) / ( φ(q[i]) · Σ_j φ(k[j]) )        all j, or with causal=True j <= i

    Nothing is added to the denominator. Raises ValueError for causal=True with t != s.
    Work grows linearly in t + s, and no tensor has more than b·h·max(t, s)·(d + 1)·(e + 1) elements: no t × s scores.
    So with and without gradients; FLOPs of the backward pass grow linearly, and none of its tensors is larger.
    The work stays in torch: numpy and lists are refused where it is counted.

    >>> q, v = torch.zeros(1, 1, 2, 1), torch.tensor([4.0, 8.0]).reshape(1, 1, 2, 1)
    >>> k = torch.tensor([0.0, 2.0]).reshape(1, 1, 2, 1)
    >>> linear_attention(q, k, v).flatten().tolist()        # φ(k) is 1 and 3: (1·4 + 3·8) / 4
    [7.0, 7.0]
    """
    raise NotImplementedError  # TODO: your code


def linear_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One token of causal `linear_attention` as a recurrent network (arXiv 2006.16236, eq. 16-20).

    q, k: (b, h, d), v: (b, h, e), of the new token. state: what the last call returned; None: no token yet.
    Returns out: (b, h, e), and the new state, a pair: Σ φ(k[j]) v[j]ᵀ (b, h, d, e) and Σ φ(k[j]) (b, h, d) over all
    tokens so far, however many. The old state is not changed: two continuations may start from it. Nothing else stays
    alive after a step: no token, no copy, and without the outputs no graph.

    >>> zero = torch.zeros(1, 1, 1)
    >>> out, state = linear_attention_step(zero, zero, zero + 4)
    >>> out, state = linear_attention_step(zero, zero + 2, zero + 8, state)
    >>> out.item(), [x.item() for x in state]
    (7.0, [28.0, 4.0])
    """
    raise NotImplementedError  # TODO: your code


def alibi_bias(heads: int, t: int, s: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """What ALiBi adds to the scaled scores instead of positions in the embedding (arXiv 2108.12409, 3), causal mask
    included.

    Returns (h, t, s) in dtype: -slope · distance to the key, and -inf for keys in the future. The t queries are the
    last t of the s positions: query i stands at position s - t + i. t may be 0.

    Slopes of h heads: 2^(-8/h), 2^(-16/h), ..., 2^-8 where h is a power of two. Otherwise, as in the authors' code,
    those of the largest power of two p below h, then the first, third, ... of those of 2p heads, h - p of them:

        h = 4     1/4  1/16  1/64  1/256                     h = 6     1/4  1/16  1/64  1/256  1/2  1/8

    Raises ValueError for heads < 1 and for t > s.

    >>> alibi_bias(2, 2, 3)[0]                      # slopes 1/16 and 1/256
    tensor([[-0.0625, -0.0000,    -inf],
            [-0.1250, -0.0625, -0.0000]])
    """
    raise NotImplementedError  # TODO: your code


def soft_capped_attention(q: Tensor, k: Tensor, v: Tensor, cap: float, causal: bool = True) -> Tensor:
    """Attention whose scores stay within ±cap (Gemma 2 with cap 50, arXiv 2408.00118, 2). (differentiable)

    q: (b, h, t, d), k: (b, h, s, d), v: (b, h, s, e); t and s may be 0. Returns (b, h, t, e).

        score = cap · tanh( q · k / sqrt(d) / cap )

    takes the place of q · k / sqrt(d). What is hidden stays hidden: it gets weight 0, however small the cap. Under
    a cap far above all scores (5,000) nothing overflows and nothing vanishes: what is left is plain attention.
    Raises ValueError for cap <= 0.
    Forbidden: torch's `F.scaled_dot_product_attention`.

    >>> q, k, v = (torch.tensor(x).reshape(1, 1, -1, 1) for x in ([[1.0], [1e4, 0.0], [3.0, 1.0]]))
    >>> weight = (soft_capped_attention(q, k, v, 2.0).item() - 1) / 2       # of the first key
    >>> round(weight, 4)                                                    # e^2 / (e^2 + 1), not 1
    0.8808
    """
    raise NotImplementedError  # TODO: your code
