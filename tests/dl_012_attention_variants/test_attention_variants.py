"""The hidden checks of dl_012_attention_variants."""

import math
from functools import partial
from itertools import product

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import compositions, each_dtype, of_type

from . import drivers

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
MODES = ["as given", "no_grad", "gradients"]
EVERY_MODE = pytest.mark.parametrize("mode", MODES)
NO_SCALE = "attention without the 1/sqrt(d) scale"


def aligned(t, s):
    """(t, s): which keys a query sees when the t queries are the last t of s positions."""
    return torch.arange(s) <= torch.arange(t)[:, None] + (s - t)


def attention(q, k, v, seen=None, *, scale=None, change=lambda scores: scores):
    """Dense attention; seen (..., t, s) says which keys a query sees. Zeros for those that see none."""
    scores = change(torch.einsum("bhid,bhjd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale))
    if seen is not None:
        scores = torch.where(seen, scores, -math.inf)
    return torch.einsum("bhij,bhje->bhie", torch.softmax(scores, -1).nan_to_num(), v)


def log_sum_exp(q, k, seen=None, scale=None):
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if seen is not None:
        scores = torch.where(seen, scores, -math.inf)
    return scores.logsumexp(-1)


def gradients(function, inputs, upstream):
    """The oracle's function(*inputs), and the gradients of sum(function(*inputs) * upstream)."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    return out.detach(), list(torch.autograd.grad((out * upstream).sum(), leaves))


def strided(draw, b, h, n, d, dtype=torch.float64):
    """(b, h, n, d) as a model has it after a split into heads: not contiguous."""
    return draw.normal(b, n, h, d, dtype=dtype).transpose(1, 2)


# --------------------------------------------------------------------------------------------------- cross_attention


def cross(x, memory, wq, wk, wv, wo, heads, seen=None, *, scale=None, per_head=True):
    """Head after head. per_head=False: the rows of a head lie apart, every heads-th one."""
    outs = []
    for i in range(heads):
        rows = [
            slice(i * (len(w) // heads), (i + 1) * (len(w) // heads)) if per_head else slice(i, None, heads)
            for w in (wq, wk, wv)
        ]
        q, k, v = (y @ w[at].T for y, w, at in zip((x, memory, memory), (wq, wk, wv), rows, strict=True))
        outs.append(attention(q[:, None], k[:, None], v[:, None], seen, scale=scale)[:, 0])
    return torch.cat(outs, -1) @ wo.T


def cross_inputs(draw, b=3, t=4, s=6, c=7, m=11, heads=2, d=5, e=8, o=13, dtype=torch.float64):
    shapes = (b, t, c), (b, s, m), (heads * d, c), (heads * d, m), (heads * e, m), (o, heads * e)
    return [draw.normal(*shape, dtype=dtype) for shape in shapes]


def visible(padding):
    return ~padding[:, None, None]


@part("cross_attention")
@each_dtype
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_each_head_reads_the_memory(attempt, draw, dtype, heads):
    """Every head attends from x to memory with its own rows of the weights, whatever the lengths and widths."""
    inputs = cross_inputs(draw, heads=heads, dtype=of_type(dtype))
    known = {
        NO_SCALE: lambda: cross(*inputs, heads, scale=1.0),
        "a scale of the width of all heads, not of one," if heads > 1 else NO_SCALE: lambda: cross(
            *inputs, heads, scale=(5 * heads) ** -0.5
        ),
        "heads whose rows of the weights lie apart": lambda: cross(*inputs, heads, per_head=False),
        "one head as wide as all": lambda: cross(*inputs, 1),
        "the mean of the values": lambda: cross(*inputs, heads, scale=0.0),
    }
    of = f"cross_attention, b=3 t=4 s=6, x 7 wide, memory 11 wide, heads={heads} d=5 e=8 o=13"
    agree(attempt.cross_attention(*inputs, heads), cross(*inputs, heads), axes="b t o", of=of, known=known)


@part("cross_attention")
@each_dtype
def test_padding_is_not_seen(attempt, draw, dtype):
    """A padded key has no weight, also beside scores of any size; an unpadded one has, wherever it stands."""
    inputs = cross_inputs(draw, dtype=of_type(dtype))
    padding = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]]).bool()
    want = cross(*inputs, 2, visible(padding))
    known = {
        "attention that ignores the padding": lambda: cross(*inputs, 2),
        "a mask that is True where a key is seen": lambda: cross(*inputs, 2, visible(~padding)),
        "padding that has a score of 0, or a value of 0, but a weight": lambda: cross(
            inputs[0], inputs[1].masked_fill(padding[..., None], 0), *inputs[2:], 2
        ),
    }
    of = f"cross_attention with padding {padding.int().tolist()}"
    agree(attempt.cross_attention(*inputs, 2, padding), want, axes="b t o", of=of, known=known)
    agree(attempt.cross_attention(*inputs, 2, padding=~padding)[1], cross(*inputs, 2, visible(~padding))[1], of=of)
    inputs[0], inputs[2], inputs[3] = inputs[0].abs(), inputs[2].abs(), -inputs[3].abs()
    inputs[1] = inputs[1].abs() * 1e12  # all scores are far below 0: what is hidden must lie below them
    got, want = attempt.cross_attention(*inputs, 2, padding), cross(*inputs, 2, visible(padding))
    agree(got, want, axes="b t o", of=f"{of}, scores near -10^13")


@part("cross_attention")
def test_padding_may_hold_anything(attempt, draw):
    """NaN and infinity in padded memory reach nothing, and memory that is all padding gives zeros."""
    x, memory, *weights = cross_inputs(draw)
    padding = torch.tensor([[0, 0, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0]]).bool()
    want = cross(x, memory, *weights, 2, visible(padding))
    junks = 3.0, math.nan, math.inf, -math.inf
    rows = [(x, memory.masked_fill(padding[..., None], junk), *weights, 2, padding) for junk in junks]
    for junk, got in zip(junks, attempt.each("cross_attention", rows), strict=True):
        of = f"cross_attention with padding {padding.int().tolist()} that holds {junk}"
        agree(got, want, axes="b t o", of=of)


@part("cross_attention")
def test_no_query_and_no_memory(attempt, draw):
    """Without queries the result is empty; without memory it is zeros; strides do not matter."""
    for t, s in ((0, 6), (4, 0)):
        inputs = cross_inputs(draw, t=t, s=s)
        want = torch.zeros(3, t, 13, dtype=torch.float64)
        agree(attempt.cross_attention(*inputs, 2), want, axes="b t o", of=f"cross_attention with t={t} s={s}")
    inputs = [draw.normal(*reversed(x.shape)).permute(*reversed(range(x.dim()))) for x in cross_inputs(draw)]
    of = "cross_attention of transposed inputs and weights"
    agree(attempt.cross_attention(*inputs, 2), cross(*inputs, 2), axes="b t o", of=of)


@part("cross_attention")
def test_cross_gradients(attempt, draw):
    """Gradients flow to x, memory and all weights; that of padding is zero, also for NaN in it."""
    inputs = cross_inputs(draw)
    padding = torch.tensor([[0, 0, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    g = draw.normal(3, 4, 13)
    want_out, want = gradients(lambda *leaves: cross(*leaves, 2, visible(padding)), inputs, g)
    dirty = [inputs[0], inputs[1].masked_fill(padding[..., None], math.nan), *inputs[2:]]
    for how, given in (("", inputs), (", the padding NaN", dirty)):
        out, got = attempt.gradients("cross_attention", *given, 2, padding, upstream=g)
        agree(out, want_out, axes="b t o", of=f"output, padding {padding.int().tolist()}{how}")
        names = ("x", "memory", "wq", "wk", "wv", "wo")
        for name, grad, wanted in zip(names, got[:6], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name}, padding {padding.int().tolist()}{how}")


@part("cross_attention")
def test_other_tokens_of_that_size(attempt, reference, draw):
    """Each call attends with its own tokens and weights, whatever came before in the same sizes."""
    asked = [(*cross_inputs(draw), 2) for _ in range(2)]
    hold_again(attempt, reference, "cross_attention", *asked, of="cross_attention of x (3, 4, 7)", views=False)


# ------------------------------------------------------------------------------------------ sliding_window_attention


def band(n, left, right, tokens=()):
    """(n, n): key j is seen if left >= i - j >= -right, or if i or j is one of the global tokens."""
    gap = torch.arange(n)[:, None] - torch.arange(n)
    near = (gap <= left) & (gap >= -right)
    for token in tokens:
        near[token], near[:, token] = True, True
    return near


def window_mistakes(q, k, v, window, causal):
    n, at = q.shape[2], partial(attention, q, k, v)
    near = band(n, window - 1, 0) if causal else band(n, window, window)
    mistakes = {NO_SCALE: lambda: at(near, scale=1.0), "full attention": lambda: at()}
    others = {
        "a causal window of one key more, i - j <= window,": (window, 0),
        "a causal window of one key less": (window - 2, 0),
        "a window without a causal mask": (window - 1, n),
        "causal attention without a window": (n, 0),
        "a symmetric window |i - j| < window": (window - 1, window - 1),
        "a symmetric window |i - j| <= window": (window, window),
        "a symmetric window that counts both sides, |i - j| <= window // 2,": (window // 2, window // 2),
        "a symmetric window twice as wide": (2 * window, 2 * window),
        "a causal window": (window - 1, 0),
        "a window that looks ahead only": (0, window - 1),
    }
    for name, (left, right) in others.items():
        if not torch.equal(band(n, left, right), near):
            mistakes[name] = lambda left=left, right=right: at(band(n, left, right))
    return mistakes


@part("sliding_window_attention")
def test_every_causal_window(attempt, draw):
    """In a causal window of w, query i sees keys i - w + 1 .. i: w of them, itself among them, for every w."""
    q, k, v = draw.normal(2, 3, 11, 5), draw.normal(2, 3, 11, 5), draw.normal(2, 3, 11, 4)
    windows = (3, 1, 2, 4, 5, 7, 10, 11, 12)  # at the first one every known mistake shows, and no two are the same
    found = attempt.each("sliding_window_attention", [(q, k, v, window) for window in windows])
    for window, got in zip(windows, found, strict=True):
        want, known = attention(q, k, v, band(11, window - 1, 0)), window_mistakes(q, k, v, window, True)
        agree(got, want, axes="b h n e", of=f"causal window of {window}, n=11, b=2 h=3 d=5 e=4", known=known)


@part("sliding_window_attention")
def test_every_symmetric_window(attempt, draw):
    """In a symmetric window of w, query i sees keys i - w .. i + w, as many as there are, for every w."""
    q, k, v = draw.normal(2, 3, 11, 5), draw.normal(2, 3, 11, 5), draw.normal(2, 3, 11, 4)
    windows = (3, 0, 1, 2, 4, 5, 6, 10, 11, 12)  # as above
    found = attempt.each("sliding_window_attention", [(q, k, v, window) for window in windows], causal=False)
    for window, got in zip(windows, found, strict=True):
        want, known = attention(q, k, v, band(11, window, window)), window_mistakes(q, k, v, window, False)
        agree(got, want, axes="b h n e", of=f"symmetric window of {window}, n=11, b=2 h=3 d=5 e=4", known=known)


@part("sliding_window_attention")
@CAUSAL
def test_no_score_of_a_window_lies_below_what_is_hidden(attempt, draw, causal):
    """However low the scores are, a key outside of the window has weight 0: a score of -1e9 would not hide it."""
    q, v, window = torch.full((2, 3, 11, 5), 1e5, dtype=torch.float64), draw.normal(2, 3, 11, 4), 3
    got = attempt.sliding_window_attention(q, -q, v, window, causal=causal)
    want = attention(q, -q, v, band(11, window - 1, 0) if causal else band(11, window, window))
    of = f"window of {window}, causal={causal}, n=11, all scores near -10^10"
    agree(got, want, axes="b h n e", of=of, tol=1e-3)  # it may be put together by log-sum-exps, multiples of 2e-6 there


@part("sliding_window_attention")
@each_dtype
@CAUSAL
def test_long_sequences(attempt, draw, dtype, causal):
    """Many windows long, one token long, with strides and scores in the hundreds, the result is that of a mask."""
    dtype = of_type(dtype)
    sizes = (29, 4, 1.0), (31, 5, 12.0), (23, 11, 1.0), (1, 1, 1.0), (1, 3, 1.0)
    rows = [(*(size * strided(draw, 2, 3, n, width, dtype) for width in (5, 5, 7)), w) for n, w, size in sizes]
    found = attempt.each("sliding_window_attention", rows, causal=causal)
    for (q, k, v, window), got in zip(rows, found, strict=True):
        n = q.shape[2]
        seen = band(n, window - 1, 0) if causal else band(n, window, window)
        of = f"window of {window}, causal={causal}, n={n}, d=5 e=7"
        agree(got, attention(q, k, v, seen), axes="b h n e", of=of, known=window_mistakes(q, k, v, window, causal))


@part("sliding_window_attention")
@each_dtype
def test_global_tokens_see_and_are_seen(attempt, draw, dtype):
    """A global token sees every token and is seen by every one, once each, wherever it stands and in any order."""
    n, d = 13, 5
    q, k, v = (draw.normal(2, 3, n, width, dtype=of_type(dtype)) for width in (d, d, 4))
    some = draw.permutation(n)[:3].tolist()
    cases = (2, [0]), (1, [12]), (2, [7, 0, 6]), (0, [5, 3]), (1, some), (3, []), (1, list(range(n)))
    rows = [(q, k, v, window, torch.tensor(tokens, dtype=torch.int64)) for window, tokens in cases]
    for (window, tokens), got in zip(cases, attempt.each(drivers.with_global_tokens, rows), strict=True):
        near = band(n, window, window)
        one_way = near.clone()
        one_way[:, tokens] = True
        twice = [torch.cat([x, x[:, :, tokens]], 2) for x in (k, v)]
        full = band(n, window, window, tokens)
        known = {
            "a window without global tokens": lambda near=near: attention(q, k, v, near),
            "global tokens that are seen but do not see": lambda one_way=one_way: attention(q, k, v, one_way),
            "global tokens that see but are not seen": lambda one_way=one_way: attention(q, k, v, one_way.T),
            "global tokens that count twice inside the window": lambda full=full, near=near, twice=twice, at=tokens: (
                attention(q, *twice, torch.cat([near | full.T & full, torch.ones(n, len(at)).bool()], 1))
            ),
        }
        of = f"symmetric window of {window}, global tokens {tokens}, n={n}"
        agree(got, attention(q, k, v, full), axes="b h n e", of=of, known=known)


@part("sliding_window_attention")
def test_windows_that_cannot_be_are_refused(attempt, draw):
    """A window that holds not even the token itself, and global tokens in causal attention, raise ValueError."""
    q = draw.normal(2, 3, 7, 5)
    for window, causal in ((0, True), (-1, True), (-1, False), (-3, False)):
        with refusal(ValueError, of=f"a window of {window}, causal={causal}"):
            attempt.sliding_window_attention(q, q, q, window, causal=causal)
    with refusal(ValueError, of="global_tokens with causal=True"):
        attempt.sliding_window_attention(q, q, q, 2, global_tokens=torch.tensor([0]))


@part("sliding_window_attention")
@pytest.mark.parametrize("tokens", [None, [4, 0]], ids=["causal", "global"])
def test_window_gradients(attempt, draw, tokens):
    """Gradients flow to q, k and v, through the window and through global tokens."""
    inputs, g = [draw.normal(2, 3, 11, width) for width in (5, 5, 4)], draw.normal(2, 3, 11, 4)
    seen = band(11, 1, 0) if tokens is None else band(11, 2, 2, tokens)
    want_out, want = gradients(lambda *leaves: attention(*leaves, seen), inputs, g)
    options = {} if tokens is None else {"causal": False, "global_tokens": torch.tensor(tokens)}
    out, got = attempt.gradients("sliding_window_attention", *inputs, 2, upstream=g, **options)
    agree(out, want_out, axes="b h n e", of=f"output, window of 2, global tokens {tokens}")
    for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
        agree(grad, wanted, axes="b h n d", of=f"gradient of {name}, window of 2, global tokens {tokens}")


@part("sliding_window_attention")
@EVERY_MODE
@pytest.mark.parametrize("tokens", [None, [], [211, 7]], ids=["causal", "symmetric", "global"])
def test_a_window_costs_its_pairs(attempt, draw, tokens, mode):
    """Cost is linear in n: FLOPs follow the pairs that are seen, and nothing of n × n is ever made."""
    b, h, n, d, e, window = 1, 1, 250, 3, 5, 8  # one head: a mask is as large as its scores
    q, k, v = (draw.normal(b, h, n, width) for width in (d, d, e))
    causal = tokens is None
    m = window if causal else 2 * window + 1
    pairs = n * (m + 2 * len(tokens or []))
    options = {} if causal else {"causal": False, "global_tokens": torch.tensor(tokens, dtype=torch.int64)}
    name = "sliding_window_attention"
    out, cost = attempt.cost(drivers.measured, name, [q, k, v, window], options, mode)
    seen = band(n, window - 1, 0) if causal else band(n, window, window, tokens)
    of = f"window of {window}, causal={causal}, global tokens {tokens}, n={n}, {mode}"
    agree(out, attention(q, k, v, seen), axes="b h n e", of=of)
    in_torch(cost, of=of)
    known = {"full attention": 2 * b * h * n * n * (d + e), "its causal half": b * h * n * n * (d + e)}
    at_most(cost.flops, 3 * 2 * b * h * pairs * (d + e), of=f"FLOPs, {of}", known=known)
    known = {"an n × n square, of scores or a mask,": n * n}
    at_most(cost.largest, 1.5 * b * h * pairs * max(d, e), of=f"largest tensor, in elements, {of}", known=known)
    limit = b * h * 12 * pairs * (d + e)  # room for a copy of a key and a value for each pair
    known = {"all n × n pairs, taken without a matrix product,": 13 * b * h * n * n}
    at_most(cost.work, limit, of=f"all elements written, FLOPs included, {of}", known=known)


@part("sliding_window_attention")
@pytest.mark.parametrize("tokens", [None, [], [211, 7]], ids=["causal", "symmetric", "global"])
def test_the_backward_pass_of_a_window_is_linear_too(attempt, draw, tokens):
    """The backward pass takes at most twice the FLOPs that the forward pass may, and nothing of n × n is made in it."""
    n, d, e, window = 250, 3, 5, 8
    inputs, g = [draw.normal(1, 1, n, width) for width in (d, d, e)], draw.normal(1, 1, n, e)
    causal = tokens is None
    pairs = n * ((window if causal else 2 * window + 1) + 2 * len(tokens or []))
    options = {} if causal else {"causal": False, "global_tokens": torch.tensor(tokens, dtype=torch.int64)}
    seen = band(n, window - 1, 0) if causal else band(n, window, window, tokens)
    name = "sliding_window_attention"
    got, cost = attempt.cost(drivers.measured_backward, name, [*inputs, window], options, g)
    of = f"backward pass, window of {window}, causal={causal}, global tokens {tokens}, n={n}"
    agree(list(got), gradients(partial(attention, seen=seen), inputs, g)[1], of=f"gradients, {of}")
    in_torch(cost, of=of)
    known = {"full attention": 4 * n * n * (d + e)}
    at_most(cost.flops, 2 * 3 * 2 * pairs * (d + e), of=f"FLOPs, {of}", known=known)
    known = {"an n × n square, of scores or a mask,": n * n}
    at_most(cost.largest, 1.5 * pairs * max(d, e), of=f"largest tensor, in elements, {of}", known=known)


@part("sliding_window_attention")
@EVERY_MODE
@pytest.mark.parametrize("tokens", [None, [31, 7]], ids=["causal", "global"])
def test_twice_the_tokens_take_twice_the_work(attempt, draw, tokens, mode):
    """Masks, copies and whatever else is made grow with n as the pairs do, not with n²."""
    options = {} if tokens is None else {"causal": False, "global_tokens": torch.tensor(tokens)}
    seen = partial(band, left=2, right=0) if tokens is None else partial(band, left=3, right=3, tokens=tokens)
    work, of = [], f"window of 3, causal={tokens is None}, global tokens {tokens}, {mode}"
    for n in (50, 100):
        q, k, v = (draw.normal(1, 2, n, width) for width in (3, 3, 5))
        out, cost = attempt.cost(drivers.measured, "sliding_window_attention", [q, k, v, 3], options, mode)
        in_torch(cost, of=f"{of}, n={n}")
        agree(out, attention(q, k, v, seen(n)), axes="b h n e", of=f"{of}, n={n}")
        work.append(cost.work)
    known = {"work that grows with n²": 4 * work[0]}
    at_most(work[1], 2.2 * work[0], of=f"work at n=100, where n=50 takes {work[0]:,}, {of}", known=known)


@part("sliding_window_attention")
@pytest.mark.parametrize("causal", [True, False])
def test_another_sequence_of_that_size(attempt, reference, draw, causal):
    """Each call attends to its own keys, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 7, 5), draw.normal(2, 3, 7, 5), draw.normal(2, 3, 7, 4), 2) for _ in range(2)]
    of = f"sliding_window_attention of q (2, 3, 7, 5), window 2, causal={causal}"
    hold_again(attempt, reference, "sliding_window_attention", *asked, of=of, views=False, causal=causal)


# ------------------------------------------------------------------------------------------------------------- merge


def summary(scores, v, seen=None):
    """Softmax-weighted mean of values v (..., s, e) and log-sum-exp, over the keys that are seen."""
    if seen is not None:
        scores = torch.where(seen, scores, -math.inf)
    return torch.einsum("...ts,...se->...te", torch.softmax(scores, -1).nan_to_num(), v), scores.logsumexp(-1)


@part("merge")
@each_dtype
def test_any_two_halves_make_the_whole(attempt, draw, dtype):
    """Attention to any subset of four keys, merged with that to the others, is attention to all four."""
    dtype = of_type(dtype)
    scores, v = draw.normal(3, 1, 5, 4, scale=2.0, dtype=dtype), draw.normal(3, 1, 4, 7, dtype=dtype)
    mine = (torch.arange(16)[:, None, None] >> torch.arange(4)) % 2 == 1  # (16, 1, 4): each subset once
    a, b = summary(scores, v, mine), summary(scores, v, ~mine)
    out, lse = summary(scores.expand(3, 16, 5, 4), v.expand(3, 16, 4, 7))
    got = attempt.merge(*a, *b)
    known = {
        "the plain mean of both": lambda: ((a[0] + b[0]) / 2, lse),
        "the sum of both": lambda: (a[0] + b[0], lse),
        "weights that are exchanged": lambda: (
            (b[1] - lse).exp()[..., None] * a[0] + (a[1] - lse).exp()[..., None] * b[0],
            lse,
        ),
        "the sum of both log-sum-exps": lambda: (out, a[1] + b[1]),
        "the larger log-sum-exp": lambda: (out, torch.maximum(a[1], b[1])),
    }
    agree(got, (out, lse), of="four keys split in all 16 ways, out (3, 16, 5, 7)", known=known)


@part("merge")
def test_nothing_merged_with_nothing(attempt, draw):
    """Queries that saw no key on either side have zeros and -inf, and their neighbours are not touched."""
    scores, v = draw.normal(5, 6), draw.normal(6, 7)
    rows = torch.tensor([[0, 0], [1, 0], [0, 1], [0, 0], [1, 1]]).bool()
    a = summary(scores[:, :4], v[:4], rows[:, :1])
    b = summary(scores[:, 4:], v[4:], rows[:, 1:])
    want = summary(scores, v, rows.repeat_interleave(torch.tensor([4, 2]), 1))
    for names, got in zip(("a, b", "b, a"), attempt.each("merge", [(*a, *b), (*b, *a)]), strict=True):
        agree(got, want, of=f"merge({names}) of rows that saw {rows.int().tolist()} of the two sides")


@part("merge")
@each_dtype
def test_merging_large_scores(attempt, draw, dtype):
    """Scores of any size neither overflow nor vanish, near each other or far apart."""
    dtype = of_type(dtype)
    out_a, out_b = draw.normal(9, 5, dtype=dtype), draw.normal(9, 5, dtype=dtype)
    a = torch.tensor([1e4, -1e4, 1e4, -1e4, 500.0, -500.0, 0.0, 90.0, -90.0], dtype=dtype)
    b = a + torch.tensor([0.5, -1.5, -2e4, 2e4, 2.0, -0.25, 3.0, -1.0, 1.0], dtype=dtype)
    share = torch.sigmoid(a.double() - b.double())[:, None]
    want = (share * out_a + (1 - share) * out_b).to(dtype), torch.logaddexp(a, b)
    got = attempt.merge(out_a, a, out_b, b)
    of = f"log-sum-exps {a.tolist()} and {b.tolist()}"
    # Near 10,000 a log-sum-exp in float32 is a multiple of 0.001.
    agree(got[0], want[0], of=f"out of {of}", tol=5e-3 if dtype == torch.float32 else None)
    for i in range(9):
        agree(got[1][i], want[1][i], of=f"lse of {a[i].item()} and {b[i].item()}")


@part("merge")
def test_other_halves_of_that_size(attempt, reference, draw):
    """Each call merges what it gets, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 5, 3), draw.normal(2, 5), draw.normal(2, 5, 3), draw.normal(2, 5)) for _ in range(2)]
    hold_again(attempt, reference, "merge", *asked, of="merge of out (2, 5, 3)", views=False)


# ---------------------------------------------------------------------------------------------------- online_softmax


def softmax_mistakes(scores, v, sizes):
    parts = list(zip(scores.split(sizes, -1), v.split(sizes, -2), strict=True))
    outs = [summary(*one)[0] for one in parts]
    _, lse = summary(scores, v)
    return {
        "the mean of the pieces' own results": lambda: (sum(outs) / len(outs), lse),
        "the last piece alone": lambda: summary(*parts[-1]),
        "the first piece alone": lambda: summary(*parts[0]),
        "sums that are not rescaled when a larger score arrives": lambda: _not_rescaled(parts),
        "the sum of weights instead of its log": lambda: (summary(scores, v)[0], lse.exp()),
        "the log of the sum of e^(score - largest)": lambda: (summary(scores, v)[0], lse - scores.amax(-1)),
        "a result that is not divided by the sum of weights": lambda: (
            summary(scores, v)[0] * (lse - scores.amax(-1)).exp()[..., None],
            lse,
        ),
    }


def _not_rescaled(parts):
    top, total, out = -math.inf, 0, 0
    for scores, v in parts:
        top = torch.maximum(scores.amax(-1, keepdim=True), torch.as_tensor(top, dtype=scores.dtype))
        total, out = total + (scores - top).exp().sum(-1, keepdim=True), out + (scores - top).exp() @ v
    return out / total, (top + total.log()).squeeze(-1)


@part("online_softmax")
def test_any_cut_gives_one_softmax(attempt, draw):
    """However six keys are cut into pieces, each of them read once, the result is one softmax over all six."""
    scores, v = draw.normal(2, 5, 6, scale=3.0), draw.normal(2, 6, 7)
    cuts = compositions(6)
    found = attempt.each(drivers.softmax_in_pieces, [(scores, v, sizes) for sizes in cuts])
    for sizes, got in zip(cuts, found, strict=True):
        known = softmax_mistakes(scores, v, sizes)
        agree(got, summary(scores, v), of=f"pieces of {sizes} keys, scores (2, 5, 6), values (2, 6, 7)", known=known)


@part("online_softmax")
@each_dtype
def test_leading_axes_and_lists(attempt, draw, dtype):
    """Any number of leading axes, pieces from a list or a generator, float32 and float64."""
    shapes, sizes = [((*lead, 5, 11), (*lead, 11, 4)) for lead in ((), (3,), (2, 3))], [2, 1, 5, 3]
    rows = [(*(draw.normal(*shape, dtype=of_type(dtype)) for shape in pair), sizes) for pair in shapes]
    for driver, kind in ((drivers.softmax_in_pieces, "a generator"), (drivers.softmax_of_a_list, "a list")):
        for (scores, v, _), got in zip(rows, attempt.each(driver, rows), strict=True):
            of = f"pieces of {sizes} keys from {kind}, scores {tuple(scores.shape)}, {dtype}"
            agree(got, summary(scores, v), of=of)


@part("online_softmax")
@each_dtype
def test_hidden_keys(attempt, draw, dtype):
    """Keys of score -inf have no weight: first piece, last piece, or all, which gives zeros and -inf."""
    dtype = of_type(dtype)
    scores, v = draw.normal(7, 6, dtype=dtype), draw.normal(6, 5, dtype=dtype)
    rows = [[0] * 6, [0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0] * 5 + [1], [1, 0, 1, 0, 1, 0]]
    hidden = torch.tensor([*rows, [1] * 6]) == 0
    scores = scores.masked_fill(hidden, -math.inf)
    cuts, want = ([6], [2, 2, 2], [1] * 6, [4, 2]), summary(scores, v)
    found = attempt.each(drivers.softmax_in_pieces, [(scores, v, sizes) for sizes in cuts])
    for sizes, got in zip(cuts, found, strict=True):
        agree(got, want, of=f"pieces of {sizes} keys, seen {(~hidden).int().tolist()}")


@part("online_softmax")
@each_dtype
def test_large_scores_in_any_order(attempt, draw, dtype):
    """Scores of ±10,000 that rise, fall or jump from piece to piece neither overflow nor vanish."""
    dtype = of_type(dtype)
    rise = torch.linspace(-1e4, 1e4, 6, dtype=dtype)
    far = torch.stack([rise, rise.flip(0), rise[[3, 0, 5, 1, 4, 2]], 0 * rise - 1e4, 0 * rise + 1e4, rise / 1e3])
    scores, v = far + draw.normal(6, 6, dtype=dtype), draw.normal(6, 5, dtype=dtype)
    cuts, want = ([1] * 6, [2, 3, 1]), summary(scores, v)
    found = attempt.each(drivers.softmax_in_pieces, [(scores, v, sizes) for sizes in cuts])
    for sizes, (out, lse) in zip(cuts, found, strict=True):
        # A result may be kept with its log-sum-exp, which near 10,000 in float32 is a multiple of 0.001.
        tol = 5e-3 if dtype == torch.float32 else None
        agree(out, want[0], of=f"out of pieces of {sizes} keys, scores up to ±10,000", tol=tol)
        agree(lse, want[1], of=f"lse of pieces of {sizes} keys, scores up to ±10,000")


@part("online_softmax")
@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("count", [24, 150])
def test_pieces_are_not_kept(attempt, draw, count, mode):
    """However many pieces come, eight of them take all the memory there is, and none is left afterwards."""
    t, size, e = 4, 32, 5
    scores, v = draw.normal(t, size * count), draw.normal(size * count, e)
    got, cost = attempt.cost(drivers.softmax_keeps, scores, v, [size] * count, mode)
    agree(got, summary(scores, v), of=f"{count} pieces of {size} keys, {mode}")
    piece = 8 * (t + e) * size
    known = {"all scores": 8 * t * size * count, "all pieces": count * piece}
    of = f"over {count} pieces of {piece} bytes, {mode}"
    at_most(cost.peak, 8 * piece, of=f"most bytes alive at once {of}", known=known)
    at_most(cost.kept, 0, of=f"bytes that stay alive beside out and lse, {of}")


@part("online_softmax")
def test_other_pieces_of_that_size(attempt, reference, draw):
    """Each call takes its own pieces, whatever came before in the same sizes."""
    asked = [([(draw.normal(2, 5, s), draw.normal(2, s, 3)) for s in (4, 2, 4)],) for _ in range(2)]
    hold_again(
        attempt, reference, "online_softmax", *asked, of="online_softmax of 3 pieces (2, 5, 4 or 2)", views=False
    )


# ------------------------------------------------------------------------------------------- flash_attention_forward


def tiled(draw, b, h, t, s, d, e, dtype=torch.float64, scale=1.0):
    return [draw.normal(*shape, dtype=dtype, scale=scale) for shape in ((b, h, t, d), (b, h, s, d), (b, h, s, e))]


def flash_mistakes(q, k, v, causal):
    t, s = q.shape[2], k.shape[2]
    seen = aligned(t, s) if causal else None
    mistakes = {NO_SCALE: lambda: attention(q, k, v, seen, scale=1.0)}
    if causal:
        top_left = torch.ones(t, s).tril().bool()
        mistakes["attention without a causal mask"] = lambda: attention(q, k, v)
        mistakes["a causal mask that also hides the token itself"] = lambda: attention(
            q, k, v, torch.ones(t, s).tril(s - t - 1).bool()
        )
        if t != s:
            mistakes["a causal mask aligned to the top left, query i seeing keys 0 .. i,"] = lambda: attention(
                q, k, v, top_left
            )
    return mistakes


@part("flash_attention_forward")
def test_every_tiling_of_five_keys(attempt, draw):
    """Whatever the two block sizes, the tiles give one softmax, and its log-sum-exp."""
    q, k, v = tiled(draw, 2, 3, 4, 5, 7, 6)
    want = attention(q, k, v), log_sum_exp(q, k)
    known = {name: (lambda out=out: (out(), want[1])) for name, out in flash_mistakes(q, k, v, False).items()}
    known["no scale"] = lambda: (attention(q, k, v, scale=1.0), log_sum_exp(q, k, scale=1.0))
    known["log-sum-exp in base 2"] = (want[0], want[1] / math.log(2))
    tilings = list(product((4, 1, 3, 64), (5, 1, 2, 3, 64)))
    found = attempt.each(drivers.flash_forward, [(q, k, v, *blocks) for blocks in tilings])
    for (block_q, block_k), got in zip(tilings, found, strict=True):
        of = f"out and lse in tiles of {block_q} x {block_k}, b=2 h=3 t=4 s=5 d=7 e=6"
        agree(got, want, of=of, known=known)


@part("flash_attention_forward")
@pytest.mark.parametrize("s", [5, 2, 1, 0])
def test_causal_tiles_are_aligned_at_the_end(attempt, draw, s):
    """With causal=True the queries are the last t of s positions; rows that see nothing are zeros, their lse -inf."""
    inputs, tilings = [tiled(draw, 2, 3, t, s, 7, 6) for t in (5, 3, 8, 1, 0)], ((2, 3), (3, 1), (64, 64))
    rows = [(*x, True, *blocks) for x in inputs for blocks in tilings]
    found = iter(attempt.each("flash_attention_forward", rows))
    for q, k, v in inputs:
        t = q.shape[2]
        want = attention(q, k, v, aligned(t, s)), log_sum_exp(q, k, aligned(t, s))
        for blocks in tilings:
            out, lse = next(found)
            of = f"causal, t={t} s={s}, tiles of {blocks[0]} x {blocks[1]}"
            agree(out, want[0], axes="b h t e", of=of, known=flash_mistakes(q, k, v, True))
            agree(lse, want[1], axes="b h t", of=f"lse, {of}")


@part("flash_attention_forward")
def test_no_score_of_a_tile_lies_below_what_is_hidden(attempt, draw):
    """However low the scores are, a key of the future has weight 0: a score of -1e9 would not hide it."""
    q, v = torch.full((2, 3, 5, 7), 1e5, dtype=torch.float64), draw.normal(2, 3, 5, 6)
    got, _ = attempt.flash_attention_forward(q, -q, v, True, 2, 3)
    of = "out, causal, t=5 s=5, tiles of 2 x 3, all scores near -10^10"
    # A result may be kept with its log-sum-exp, which there is a multiple of 4e-6.
    agree(got, attention(q, -q, v, aligned(5, 5)), axes="b h t e", of=of, tol=1e-3)


@part("flash_attention_forward")
def test_no_keys(attempt, draw):
    """Without keys, or without queries, and without a mask: zeros and -inf, or nothing."""
    for t, s in ((3, 0), (0, 3)):
        q, k, v = tiled(draw, 2, 3, t, s, 7, 6)
        want = torch.zeros(2, 3, t, 6).double(), torch.full((2, 3, t), -math.inf).double()
        agree(attempt.flash_attention_forward(q, k, v, False, 2, 2), want, of=f"t={t} s={s}, tiles of 2 x 2")


@part("flash_attention_forward")
@each_dtype
@CAUSAL
def test_large_tiled_attention(attempt, draw, dtype, causal):
    """Many tiles, transposed inputs and scores in the hundreds, in the default block sizes and others."""
    seen, rows = aligned(97, 131) if causal else None, []
    for far, blocks in ((0.0, ()), (30.0, (32, 48)), (-30.0, (50, 23))):
        q, k, v = (strided(draw, 2, 3, n, width, of_type(dtype)) for n, width in ((97, 5), (131, 5), (131, 4)))
        q[..., 0], k[..., 0] = abs(far), far  # adds far * |far| / sqrt(5) to every score
        rows.append((q, k, v, causal, *blocks))
    for (q, k, v, _, *blocks), (out, lse) in zip(rows, attempt.each("flash_attention_forward", rows), strict=True):
        tiles, far = tuple(blocks) or "the default size", k[0, 0, 0, 0].item()
        of = f"t=97 s=131, causal={causal}, tiles of {tiles}, scores near {far * abs(far):.0f}"
        agree(out, attention(q, k, v, seen), axes="b h t e", of=of)
        agree(lse, log_sum_exp(q, k, seen), axes="b h t", of=f"lse, {of}")


def tile_pairs(t, s, causal, block_q, block_k):
    """Pairs in the tiles of which some pair is seen."""
    pairs = 0
    for i in range(0, t, block_q):
        end = min(i + block_q, t)
        for j in range(0, max(end + s - t, 0) if causal else s, block_k):
            pairs += (end - i) * (min(j + block_k, s) - j)
    return pairs


# The first has twice as many tiles as may exist at once, the last has rows of 34. The others have few, so that one tile
# too many shows, also where queries end with a block of keys. A tile is about as large as an input: both limits bind.
TILINGS = pytest.mark.parametrize(
    ("t", "s", "blocks", "causal"),
    [
        (300, 127, (24, 64), False),
        (59, 59, (12, 24), True),
        (35, 59, (12, 24), True),
        (59, 35, (12, 24), True),
        (61, 541, (64, 16), False),
    ],
    ids=["full", "t=s", "t<s", "t>s", "long rows"],
)


def check_memory(cost, sizes, blocks, of):
    b, h, t, s, d, e = sizes
    inputs, tile = b * h * (t + s) * (d + e), b * h * blocks[0] * blocks[1]
    limit = max(b * h * max(t, s) * max(d, e), tile)
    known = {
        "a square of scores": b * h * t * s,
        "a square mask": t * s,
        "a block of rows over all keys": b * h * blocks[0] * s,
        "a block of keys under all queries": b * h * blocks[1] * t,
    }
    at_most(cost.largest, limit, of=f"largest tensor made, in elements, {of}", known=known)
    limit = 8 * (2 * inputs + 12 * tile)
    known = {"keeping all tiles of scores": 8 * b * h * t * s}
    at_most(cost.peak, limit, of=f"most bytes alive at once, {of}", known=known)


@part("flash_attention_forward")
@pytest.mark.parametrize("mode", MODES[:2])
@TILINGS
def test_only_tiles_exist(attempt, draw, t, s, blocks, causal, mode):
    """Nothing larger than a tile or an input is made, tiles are not kept, and those that no query sees are skipped."""
    b, h, d, e = 1, 2, 3, 5
    sizes = b, h, t, s, d, e
    q, k, v = tiled(draw, *sizes)
    given = [q, k, v, causal, *blocks]
    (out, _), cost = attempt.cost(drivers.measured, "flash_attention_forward", given, {}, mode)
    of = f"t={t} s={s} d=3 e=5, causal={causal}, tiles of {blocks[0]} x {blocks[1]}, {mode}"
    agree(out, attention(q, k, v, aligned(t, s) if causal else None), axes="b h t e", of=of)
    check_memory(cost, sizes, blocks, of)
    at_most(cost.kept, 0, of=f"bytes that stay alive beside out and lse, {of}")
    in_torch(cost, of=of)
    check_flops(cost, sizes, blocks, causal, of)


@part("flash_attention_forward")
@pytest.mark.parametrize("mode", MODES[:2])
@CAUSAL
def test_blocks_of_64_are_tiles_too(attempt, draw, causal, mode):
    """The same with the default blocks, of one head, in float32, and with d = e."""
    t, s = 163, 131
    sizes = 1, 1, t, s, 5, 5
    q, k, v = tiled(draw, *sizes, torch.float32)
    (out, _), cost = attempt.cost(drivers.measured, "flash_attention_forward", [q, k, v, causal], {}, mode)
    of = f"t={t} s={s} d=e=5, b=h=1, float32, causal={causal}, blocks by default, {mode}"
    agree(out, attention(q, k, v, aligned(t, s) if causal else None), axes="b h t e", of=of)
    check_memory(cost, sizes, (64, 64), of)
    at_most(cost.kept, 0, of=f"bytes that stay alive beside out and lse, {of}")
    in_torch(cost, of=of)
    check_flops(cost, sizes, (64, 64), causal, of)


@part("flash_attention_forward")
@pytest.mark.parametrize("causal", [True, False])
def test_other_tiles_of_that_size(attempt, reference, draw, causal):
    """Each call attends to its own keys, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 5, 4), draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7, 6), causal, 2, 3) for _ in "12"]
    of = f"flash_attention_forward of q (2, 3, 5, 4), 7 keys, causal={causal}"
    hold_again(attempt, reference, "flash_attention_forward", *asked, of=of, views=False)


def check_flops(cost, sizes, blocks, causal, of):
    b, h, t, s, d, e = sizes
    limit = 2.02 * b * h * (d + e) * tile_pairs(t, s, causal, *blocks)
    at_most(cost.flops, limit, of=f"FLOPs, {of}", known={"all tiles, seen or not": 2 * b * h * (d + e) * t * s})


# ---------------------------------------------------------------------------------------------------- FlashAttention


@part("FlashAttention")
@each_dtype
@CAUSAL
def test_apply_is_the_forward_pass(attempt, draw, dtype, causal):
    """FlashAttention.apply returns the output of flash_attention_forward."""
    inputs = [tiled(draw, 2, 3, t, s, 5, 4, of_type(dtype)) for t, s in ((7, 7), (5, 11), (11, 5))]
    found = attempt.each(drivers.flash_both, [(*x, causal, 4, 3) for x in inputs])
    for (q, k, v), got in zip(inputs, found, strict=True):
        t, s = q.shape[2], k.shape[2]
        want = attention(q, k, v, aligned(t, s) if causal else None)
        for name, out in zip(("FlashAttention.apply", "flash_attention_forward"), got, strict=True):
            of = f"{name}, t={t} s={s}, causal={causal}, tiles of 4 x 3"
            agree(out, want, axes="b h t e", of=of, known=flash_mistakes(q, k, v, causal))


def flash_gradients(inputs, causal, g, turned=lambda out: out):
    seen = aligned(inputs[0].shape[2], inputs[1].shape[2]) if causal else None
    return gradients(lambda *leaves: turned(attention(*leaves, seen)), inputs, g)


def agree_gradients(got, want, inputs, causal, g, of):
    seen = aligned(inputs[0].shape[2], inputs[1].shape[2]) if causal else None
    d = inputs[0].shape[3]
    for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
        known = {
            "a gradient of scores without the 1/sqrt(d) scale": wanted * d**0.5,
            "a gradient of scores with the scale twice": wanted * d**-0.5,
            "the gradient without the term delta": lambda name=name: _without_delta(inputs, seen, g)[name],
        }
        shown = g.dim() == 4 and wanted.any() and name != "v"  # v knows no scale and no delta
        axes = "b h s e" if name == "v" else "b h s d" if name == "k" else "b h t d"
        agree(grad, wanted, axes=axes, of=f"gradient of {name}, {of}", known=known if shown else None)


def _without_delta(inputs, seen, g):
    q, k, v = inputs
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    p = torch.softmax(scores if seen is None else torch.where(seen, scores, -math.inf), -1).nan_to_num()
    ds = p * (g @ v.mT) * q.shape[-1] ** -0.5
    return {"q": ds @ k, "k": ds.mT @ q, "v": p.mT @ g}


@part("FlashAttention")
@each_dtype
@CAUSAL
def test_backward_is_that_of_attention(attempt, draw, dtype, causal):
    """The gradients of q, k and v are those of plain attention, for every tiling, also where a query sees no key."""
    dtype, tilings, cases = of_type(dtype), ((8, 8), (2, 2), (1, 3), (3, 2)), []
    for t, s in ((5, 5), (3, 7), (7, 3)):
        cases.append((tiled(draw, 2, 3, t, s, 5, 4, dtype), draw.normal(2, 3, t, 4, dtype=dtype)))
    rows = [(*inputs, g, causal, *blocks) for inputs, g in cases for blocks in tilings]
    found = iter(attempt.each(drivers.flash_gradients, rows))
    for inputs, g in cases:
        _, want = flash_gradients(inputs, causal, g)
        for blocks in tilings:
            of = f"t={inputs[0].shape[2]} s={inputs[1].shape[2]}, causal={causal}, tiles of {blocks[0]} x {blocks[1]}"
            agree_gradients(next(found), want, inputs, causal, g, of)


@part("FlashAttention")
@CAUSAL
def test_backward_of_large_scores_and_strides(attempt, draw, causal):
    """Transposed inputs, a gradient with strides of 0, scores in the hundreds, and two calls in one graph."""
    q, k, v = (strided(draw, 2, 3, n, width) for n, width in ((29, 5), (37, 5), (37, 4)))
    g = draw.normal(4, 3, 2)
    for far in (0.0, 30.0, -30.0):
        q[..., 0], k[..., 0] = abs(far), far
        of = f"t=29 s=37, causal={causal}, tiles of 12 x 16, of out.permute(3, 2, 1, 0).sum(1), scores near {far}²"
        want_out, want = flash_gradients((q, k, v), causal, g, lambda out: out.permute(3, 2, 1, 0).sum(1))
        out, got = attempt.gradients(drivers.flash_last_value, q, k, v, causal, 12, 16, upstream=g)
        agree(out, want_out, axes="e t b", of=f"output, {of}")
        agree_gradients(got, want, (q, k, v), causal, g, of)
    for t, s in ((0, 3), (3, 0)):
        inputs, g = tiled(draw, 2, 3, t, s, 5, 4), draw.normal(2, 3, t, 4)
        want_out, want = flash_gradients(inputs, causal, g)
        out, got = attempt.gradients(drivers.flash, *inputs, causal, 2, 2, upstream=g)
        of = f"t={t} s={s}, causal={causal}, tiles of 2 x 2"
        agree(out, want_out, axes="b h t e", of=f"output, {of}")
        agree_gradients(got, want, inputs, causal, g, of)
    inputs, g = tiled(draw, 2, 3, 7, 7, 5, 4), draw.normal(2, 2, 3, 7, 4)
    masks = (aligned(7, 7), None) if causal else (None, aligned(7, 7))
    want_out, want = gradients(
        lambda q, k, v: torch.stack([attention(q, k, v, masks[0]), attention(k, q, 2 * v, masks[1])]), inputs, g
    )
    out, got = attempt.gradients(drivers.flash_twice, *inputs, causal, 2, 3, upstream=list(g))
    agree(out, want_out.unbind(), axes="b h t e", of="outputs of two calls of FlashAttention in one graph")
    agree(got[:3], want, of="gradients of q, k, v through two calls of FlashAttention in one graph")
    _, every = gradients(lambda q, k, v: attention(q, k, v, masks[0]), inputs, g[0])
    for asks, name in enumerate("qkv"):
        out, got = attempt.gradients(drivers.flash_of_frozen, *inputs, causal, 2, 3, asks, upstream=g[0])
        agree(out, want_out[0], axes="b h t e", of=f"output where only {name} asks for a gradient")
        want = [one if i == asks else None for i, one in enumerate(every)]
        agree(got[:3], want, of=f"gradients where only {name} asks for one")


@part("FlashAttention")
@TILINGS
def test_scores_are_not_saved(attempt, draw, t, s, blocks, causal):
    """Between forward and backward only q, k, v, out and lse are kept; the forward pass makes tiles only."""
    b, h, d, e = 1, 2, 3, 5
    sizes = b, h, t, s, d, e
    q, k, v = tiled(draw, *sizes)
    (out, kept), cost = attempt.cost(drivers.flash_forward_cost, q, k, v, causal, *blocks)
    of = f"FlashAttention forward, t={t} s={s} d=3 e=5, causal={causal}, tiles of {blocks[0]} x {blocks[1]}"
    agree(out, attention(q, k, v, aligned(t, s) if causal else None), axes="b h t e", of=of)
    needed = 8 * b * h * (t * d + s * d + s * e + t * e + t)
    known = {"keeping the weights of all pairs too": needed + 8 * b * h * t * s}
    at_most(cost.saved, needed, of=f"bytes saved for backward, {of}", known=known)
    at_most(kept, needed, of=f"bytes that ctx holds, in attributes too, {of}", known=known)
    at_most(cost.kept, 0, of=f"bytes that stay alive beside out and what is saved for backward, {of}")
    in_torch(cost, of=of)
    check_memory(cost, sizes, blocks, of)


@part("FlashAttention")
@EVERY_MODE
@TILINGS
def test_apply_costs_what_the_forward_pass_may(attempt, draw, t, s, blocks, causal, mode):
    """With and without gradients the same limits hold, and once out has lost its graph nothing else stays alive."""
    b, h, d, e = 1, 2, 3, 5
    sizes = b, h, t, s, d, e
    q, k, v = tiled(draw, *sizes)
    out, cost = attempt.cost(drivers.flash_in_mode, q, k, v, causal, *blocks, mode)
    of = f"FlashAttention, t={t} s={s} d=3 e=5, causal={causal}, tiles of {blocks[0]} x {blocks[1]}, {mode}"
    agree(out, attention(q, k, v, aligned(t, s) if causal else None), axes="b h t e", of=of)
    check_memory(cost, sizes, blocks, of)
    check_flops(cost, sizes, blocks, causal, of)
    in_torch(cost, of=of)
    at_most(cost.kept, 0, of=f"bytes that stay alive after out's graph is gone, {of}")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd that stay alive after out's graph is gone, {of}")


@part("FlashAttention")
@TILINGS
def test_backward_recomputes_tiles(attempt, draw, t, s, blocks, causal):
    """The backward pass makes tiles only, does five products for each, and skips those that no query sees."""
    b, h, d, e = 1, 2, 3, 5
    sizes = b, h, t, s, d, e
    check_backward_tiles(attempt, sizes, tiled(draw, *sizes), draw.normal(b, h, t, e), blocks, causal)


@part("FlashAttention")
@CAUSAL
def test_backward_of_one_head_recomputes_tiles(attempt, draw, causal):
    """The same of one head, in float32, with blocks of 64, d = e, and an upstream gradient that is expanded."""
    b, h, t, _, _, e = sizes = 1, 1, 163, 131, 5, 5
    g = draw.normal(b, h, 1, e, dtype=torch.float32).expand(b, h, t, e)
    check_backward_tiles(attempt, sizes, tiled(draw, *sizes, torch.float32), g, (64, 64), causal)


def check_backward_tiles(attempt, sizes, inputs, g, blocks, causal):
    b, h, t, s, d, e = sizes
    got, cost = attempt.cost(drivers.flash_backward_cost, *inputs, g, causal, *blocks)
    of = f"FlashAttention backward, t={t} s={s} d={d} e={e}, causal={causal}, tiles of {blocks[0]} x {blocks[1]}"
    _, want = gradients(partial(attention, seen=aligned(t, s) if causal else None), inputs, g)
    agree(list(got), want, of=f"gradients, {of}")
    check_memory(cost, sizes, blocks, of)
    in_torch(cost, of=of)
    at_most(cost.kept, 0, of=f"bytes that stay alive beside the gradients, {of}")
    product = 2 * b * h * tile_pairs(t, s, causal, *blocks)
    known = {
        "all tiles, seen or not,": 2 * b * h * t * s * (3 * d + 2 * e),
        "running the forward pass again": product * (4 * d + 3 * e),
    }
    delta = 2 * b * h * t * e  # it may be taken as a product of matrices
    at_most(cost.flops, 1.01 * product * (3 * d + 2 * e) + delta, of=f"FLOPs, {of}", known=known)


# -------------------------------------------------------------------------------------------------- linear_attention


def feature(x):
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def kernel_attention(q, k, v, causal, phi=feature, normalise=True, scale=1.0):
    """By the t × s matrix of φ(q)·φ(k), as the part must not."""
    weights = torch.einsum("bhid,bhjd->bhij", phi(q * scale), phi(k))
    if causal:
        weights = weights.tril()
    if normalise:
        weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("bhij,bhje->bhie", weights, v)


def linear_mistakes(q, k, v, causal):
    at = partial(kernel_attention, q, k, v, causal)
    return {
        "softmax attention": lambda: attention(q, k, v, aligned(q.shape[2], k.shape[2]) if causal else None),
        "φ without the + 1, elu alone,": lambda: at(phi=torch.nn.functional.elu),
        "φ(x) = relu(x) + 1": lambda: at(phi=lambda x: x.relu() + 1),
        "φ(x) = exp(x)": lambda: at(phi=torch.exp),
        "a sum that is not divided by φ(q) · Σ φ(k)": lambda: at(normalise=False),
        "scaled queries": lambda: at(scale=q.shape[-1] ** -0.5),
        "a 1e-6 added to the denominator": lambda: _with_eps(q, k, v, causal),
        "the other of causal=True and False": lambda: kernel_attention(q, k, v, not causal),
    }


def _with_eps(q, k, v, causal, eps=1e-6):
    weights = torch.einsum("bhid,bhjd->bhij", feature(q), feature(k))
    weights = weights.tril() if causal else weights
    return torch.einsum("bhij,bhje->bhie", weights / (weights.sum(-1, keepdim=True) + eps), v)


@part("linear_attention")
@each_dtype
@CAUSAL
def test_the_kernel_replaces_the_softmax(attempt, draw, dtype, causal):
    """The output is the mean of the values weighted by φ(q)·φ(k), over all keys or over those up to the query's own."""
    lengths = ((1, 1), (7, 7)) if causal else ((1, 1), (7, 5), (5, 11), (0, 3))
    inputs = [tiled(draw, 2, 3, t, s, 5, 4, of_type(dtype), scale=1.5) for t, s in lengths]
    found = attempt.each("linear_attention", [(*x, causal) for x in inputs])
    for (q, k, v), got in zip(inputs, found, strict=True):
        of = f"causal={causal}, t={q.shape[2]} s={k.shape[2]}, b=2 h=3 d=5 e=4"
        agree(got, kernel_attention(q, k, v, causal), axes="b h t e", of=of, known=linear_mistakes(q, k, v, causal))
    q, k, v = tiled(draw, 2, 3, 7, 7, 5, 4, of_type(dtype))
    q, k = q - 8, k - 8  # φ is about e^-8: whatever is added to the denominator shows
    if dtype == "float64":
        got, want = attempt.linear_attention(q, k, v, causal), kernel_attention(q, k, v, causal)
        agree(got, want, axes="b h t e", of=f"q and k near -8, causal={causal}, t=s=7, b=2 h=3 d=5 e=4", tol=1e-7)
    q, k, v = (strided(draw, 2, 3, 13, width, of_type(dtype)) for width in (1, 1, 7))
    options = {"causal": True} if causal else {}
    got, want = attempt.linear_attention(q, k, v, **options), kernel_attention(q, k, v, causal)
    agree(got, want, axes="b h t e", of=f"transposed q, k, v, {options or 'causal not given'}, n=13 d=1 e=7")


@part("linear_attention")
def test_causal_needs_as_many_keys_as_queries(attempt, draw):
    """With causal=True another number of keys than of queries raises ValueError."""
    for t, s in ((3, 4), (4, 3)):
        with refusal(ValueError, of=f"causal=True with t={t} s={s}"):
            attempt.linear_attention(*tiled(draw, 2, 3, t, s, 5, 4), causal=True)


@part("linear_attention")
@CAUSAL
def test_linear_gradients(attempt, draw, causal):
    """Gradients flow to q, k and v, and are finite where e^x would not be."""
    inputs, g = tiled(draw, 2, 3, 7, 7, 5, 4), draw.normal(2, 3, 7, 4)
    inputs[0][0, 0, 2, 1] = inputs[1][1, 2, 4, 3] = 1000.0
    want_out, want = gradients(lambda *leaves: kernel_attention(*leaves, causal), inputs, g)
    out, got = attempt.gradients("linear_attention", *inputs, causal, upstream=g)
    agree(out, want_out, axes="b h n e", of=f"output, causal={causal}, n=7 d=5 e=4, a 1000 in q and k")
    for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
        agree(grad, wanted, axes="b h n d", of=f"gradient of {name}, causal={causal}, n=7 d=5 e=4, a 1000 in q and k")


@part("linear_attention")
@EVERY_MODE
@CAUSAL
def test_cost_grows_with_n(attempt, draw, causal, mode):
    """Twice the tokens cost twice the work, and no tensor of n × n is made."""
    work, b, h, d, e = [], 1, 2, 3, 4
    for n in (300, 600):
        q, k, v = tiled(draw, b, h, n, n, d, e, torch.float32)
        out, cost = attempt.cost(drivers.measured, "linear_attention", [q, k, v, causal], {}, mode)
        of = f"causal={causal}, n={n} d=3 e=4, {mode}"
        in_torch(cost, of=of)
        agree(out, kernel_attention(q, k, v, causal), axes="b h n e", of=of)
        known = {"a square of weights": b * h * n * n, "a square mask": n * n}
        at_most(cost.largest, b * h * n * (d + 1) * (e + 1), of=f"largest tensor, in elements, {of}", known=known)
        work.append(cost.work)
    known = {"work that grows with n²": 4 * work[0]}
    of = f"work at n=600, where n=300 takes {work[0]:,}, causal={causal}, {mode}"
    at_most(work[1], 2.2 * work[0], of=of, known=known)


@part("linear_attention")
@CAUSAL
def test_the_backward_pass_grows_with_n(attempt, draw, causal):
    """Twice the tokens cost the backward pass at most twice the FLOPs, and no tensor of n × n is made in it."""
    flops, b, h, d, e = [], 1, 2, 3, 4
    for n in (300, 600):
        inputs, g = tiled(draw, b, h, n, n, d, e), draw.normal(b, h, n, e)
        got, cost = attempt.cost(drivers.measured_backward, "linear_attention", [*inputs, causal], {}, g)
        of = f"backward pass, causal={causal}, n={n} d=3 e=4"
        want = gradients(lambda *leaves: kernel_attention(*leaves, causal), inputs, g)[1]
        agree(list(got), want, of=f"gradients, {of}")
        in_torch(cost, of=of)
        known = {"a square of weights": b * h * n * n, "a square mask": n * n}
        at_most(cost.largest, b * h * n * (d + 1) * (e + 1), of=f"largest tensor, in elements, {of}", known=known)
        flops.append(cost.flops)
    of = f"FLOPs of the backward pass at n=600, where n=300 takes {flops[0]:,}, causal={causal}"
    at_most(flops[1], 2.2 * flops[0], of=of, known={"FLOPs that grow with n²": 4 * flops[0]})


@part("linear_attention")
@pytest.mark.parametrize("causal", [True, False])
def test_other_sums_of_that_size(attempt, reference, draw, causal):
    """Each call sums over its own keys, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7, 5), causal) for _ in range(2)]
    of = f"linear_attention of q (2, 3, 7, 4), causal={causal}"
    hold_again(attempt, reference, "linear_attention", *asked, of=of, views=False)


# --------------------------------------------------------------------------------------------- linear_attention_step


@part("linear_attention_step")
@each_dtype
@pytest.mark.parametrize("n", [1, 2, 9])
def test_steps_are_the_causal_pass(attempt, draw, dtype, n):
    """Token by token, the outputs are those of causal linear attention, and the state is the two sums."""
    q, k, v = (draw.normal(2, 3, n, width, dtype=of_type(dtype), scale=1.5) for width in (5, 5, 4))
    out, state = attempt.run(drivers.token_by_token, q, k, v)
    of = f"{n} steps, b=2 h=3 d=5 e=4"
    agree(out, kernel_attention(q, k, v, True), axes="b h n e", of=of, known=linear_mistakes(q, k, v, True))
    want = torch.einsum("bhnd,bhne->bhde", feature(k), v), feature(k).sum(2)
    assert len(state) == 2, f"the state after {of} has {len(state)} entries, not 2"
    agree(state[0], want[0], axes="b h d e", of=f"Σ φ(k) vᵀ after {of}")
    agree(state[1], want[1], axes="b h d", of=f"Σ φ(k) after {of}")


@part("linear_attention_step")
def test_two_continuations_of_one_state(attempt, draw):
    """A state is not changed by the step that starts from it, and a state made by hand is as good as any."""
    q, k, v = (draw.normal(2, 3, 6, width) for width in (5, 5, 4))
    once, again = attempt.run(drivers.two_continuations, q, k, v, 2)
    agree(once, kernel_attention(q, k, v, True), axes="b h n e", of="six steps")
    order = [0, 1, 5, 4, 3, 2]
    want = kernel_attention(q[:, :, order], k[:, :, order], v[:, :, order], True)[:, :, 2:]
    agree(again, want, axes="b h n e", of="tokens 5, 4, 3, 2 from the state after two, which was used before")
    state = draw.normal(2, 3, 5, 4), draw.uniform(2, 3, 5, low=1.0, high=2.0)
    q, k, v = (strided(draw, 2, 3, 4, width)[:, :, 1] for width in (5, 5, 4))
    sums = state[0] + torch.einsum("bhd,bhe->bhde", feature(k), v), state[1] + feature(k)
    top = torch.einsum("bhd,bhde->bhe", feature(q), sums[0])
    out, after = attempt.linear_attention_step(q, k, v, state)
    agree(out, top / (feature(q) * sums[1]).sum(-1, keepdim=True), axes="b h e", of="a step from a state made by hand")
    agree(tuple(after), sums, of="the state after a step from a state made by hand")


@part("linear_attention_step")
@EVERY_MODE
def test_steps_leave_two_sums_alive(attempt, draw, mode):
    """After 40 steps the outputs and the two sums are all that is alive."""
    q, k, v = (draw.normal(2, 3, 40, width) for width in (5, 5, 4))
    (out, _), cost = attempt.cost(drivers.step_keeps, q, k, v, mode)
    agree(out, kernel_attention(q, k, v, True), axes="b h n e", of=f"40 steps, {mode}")
    at_most(cost.kept, 0, of=f"bytes that 40 steps leave alive, beside their outputs and the last state, {mode}")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd that 40 steps leave alive without their outputs, {mode}")


# -------------------------------------------------------------------------------------------------------- alibi_bias


def slopes_of(heads):
    """By the definition: powers of two, and every other one of twice as many for the rest."""
    power = 1
    while 2 * power <= heads:
        power *= 2
    full = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    double = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(2 * power)]
    return torch.tensor((full + double[0::2])[:heads], dtype=torch.float64)


def alibi(slopes, t, s, *, shift=None):
    distance = torch.arange(t)[:, None] + (s - t if shift is None else shift) - torch.arange(s)
    return torch.where(distance >= 0, -slopes[:, None, None] * distance, -math.inf)


@part("alibi_bias")
def test_eight_heads_halve_their_slopes(attempt):
    """Eight heads have slopes 1/2, 1/4, ..., 1/256; the bias is -slope · distance, and -inf ahead."""
    slopes = torch.tensor([2.0**-i for i in range(1, 9)])
    want = alibi(slopes, 5, 5)
    known = {
        "a bias that grows with distance": alibi(-slopes, 5, 5),
        "no causal mask, and a bonus for the future": -slopes[:, None, None]
        * (torch.arange(5)[:, None] - torch.arange(5)),
        "no causal mask": -slopes[:, None, None] * (torch.arange(5)[:, None] - torch.arange(5)).abs(),
        "slopes that begin with 1": alibi(2 * slopes, 5, 5),
        "slopes in the reverse order": alibi(slopes.flip(0), 5, 5),
        "a distance that counts from 1": want - slopes[:, None, None],
    }
    agree(attempt.alibi_bias(8, 5, 5), want, axes="h t s", of="alibi_bias(8, 5, 5)", known=known)


@part("alibi_bias")
def test_slopes_of_any_number_of_heads(attempt):
    """Powers of two have a geometric sequence of slopes; other numbers add every other slope of twice as many."""
    counts = 1, 2, 4, 16, 64, 128, 256, 3, 5, 6, 7, 12, 20, 33, 112, 200
    found = attempt.each("alibi_bias", [(heads, 1, 3) for heads in counts], dtype=torch.float64)
    for heads, got in zip(counts, found, strict=True):
        one_formula = torch.tensor([2 ** (-8 * i / heads) for i in range(1, heads + 1)], dtype=torch.float64)
        known = {"2^(-8 i / h) for a number of heads that is no power of two": alibi(one_formula, 1, 3)}
        known = None if heads & (heads - 1) == 0 else known
        agree(got, alibi(slopes_of(heads), 1, 3), axes="h t s", of=f"alibi_bias({heads}, 1, 3, float64)", known=known)


@part("alibi_bias")
@each_dtype
def test_the_queries_are_the_last_positions(attempt, dtype):
    """With t queries over s keys, query i stands at position s - t + i."""
    dtype = of_type(dtype)
    lengths = (3, 7), (7, 7), (1, 7), (0, 7), (0, 0), (2, 3)
    found = attempt.each("alibi_bias", [(6, t, s) for t, s in lengths], dtype=dtype)
    for (t, s), got in zip(lengths, found, strict=True):
        want = alibi(slopes_of(6), t, s).to(dtype)
        known = {"queries at the first positions": alibi(slopes_of(6), t, s, shift=0)} if t < s else None
        agree(got, want, axes="h t s", of=f"alibi_bias(6, {t}, {s}, dtype={dtype})", known=known)


@part("alibi_bias")
def test_no_heads_and_too_many_queries_are_refused(attempt):
    """Fewer than one head, and more queries than keys, raise ValueError."""
    for heads, t, s in ((0, 3, 3), (-2, 3, 3), (4, 4, 3), (4, 1, 0)):
        with refusal(ValueError, of=f"alibi_bias({heads}, {t}, {s})"):
            attempt.alibi_bias(heads, t, s)


# --------------------------------------------------------------------------------------------- soft_capped_attention


def capped(q, k, v, cap, causal, **how):
    seen = aligned(q.shape[2], k.shape[2]) if causal else None
    return attention(q, k, v, seen, change=lambda scores: cap * torch.tanh(scores / cap), **how)


@part("soft_capped_attention")
@each_dtype
@CAUSAL
@pytest.mark.parametrize("cap", [1.5, 50.0, 0.02, 1e-5])
def test_scores_are_bent_before_the_mask(attempt, draw, dtype, causal, cap):
    """The softmax is over cap · tanh(score / cap), and what the mask hides stays hidden, however small the cap."""
    inputs = [tiled(draw, 2, 3, t, s, 5, 4, of_type(dtype), scale=2.0) for t, s in ((7, 7), (3, 11))]
    found = attempt.each("soft_capped_attention", [(*x, cap, causal) for x in inputs])
    for (q, k, v), got in zip(inputs, found, strict=True):
        t, s = q.shape[2], k.shape[2]
        seen = aligned(t, s) if causal else None
        at = partial(attention, q, k, v)
        known = {
            "attention without a cap": lambda at=at, seen=seen: at(seen),
            "attention with scores cut off at ±cap": lambda at=at, seen=seen: at(
                seen, change=lambda x: x.clamp(-cap, cap)
            ),
            "cap · tanh(score), not of score / cap,": lambda at=at, seen=seen: at(
                seen, change=lambda x: cap * x.tanh()
            ),
            "tanh(score / cap) without the factor cap": lambda at=at, seen=seen: at(
                seen, change=lambda x: (x / cap).tanh()
            ),
            NO_SCALE: lambda q=q, k=k, v=v: capped(q, k, v, cap, causal, scale=1.0),
            "a cap on the scores before the 1/sqrt(d) scale": lambda at=at, seen=seen: at(
                seen, scale=1.0, change=lambda x: cap * (x / cap).tanh() * 5**-0.5
            ),
        }
        if causal:
            hide = torch.where(seen, 0.0, -cap)
            known["a mask before the cap, which makes -inf a score of -cap,"] = lambda at=at, seen=seen, hide=hide: at(
                change=lambda x: torch.where(seen, cap * (x / cap).tanh(), hide)
            )
            known["attention without a causal mask"] = lambda q=q, k=k, v=v: capped(q, k, v, cap, False)
        of = f"cap={cap:g}, causal={causal}, t={t} s={s}, b=2 h=3 d=5 e=4"
        agree(got, capped(q, k, v, cap, causal), axes="b h t e", of=of, known=known)


@part("soft_capped_attention")
@each_dtype
def test_a_cap_out_of_reach(attempt, draw, dtype):
    """Under a cap of 5,000, scores near 0 and in the hundreds neither vanish nor overflow."""
    fars, rows = (0.0, 40.0, -40.0), []
    for far in fars:
        q, k, v = tiled(draw, 2, 3, 5, 7, 5, 4, of_type(dtype))
        q[..., 0], k[..., 0] = abs(far), far  # adds far * |far| / sqrt(5) to every score
        rows.append((q, k, v, 5000.0))
    for far, (q, k, v, cap), got in zip(fars, rows, attempt.each("soft_capped_attention", rows), strict=True):
        of = f"cap=5000, causal, t=5 s=7, scores near {far * abs(far) / 5**0.5:.0f}"
        agree(got, capped(q, k, v, cap, True), axes="b h t e", of=of, tol=5e-3 if dtype == "float32" else None)


@part("soft_capped_attention")
def test_queries_without_keys_are_zero(attempt, draw):
    """Causal is the default; queries are the last t of s positions, and those before the first key get zeros."""
    lengths = (7, 3), (1, 5), (3, 0), (0, 3)
    rows = [(*(strided(draw, 2, 3, n, width) for n, width in ((t, 5), (s, 5), (s, 4))), 2.0) for t, s in lengths]
    for causal, options in ((True, {}), (False, {"causal": False})):
        found = attempt.each("soft_capped_attention", rows, **options)
        for (t, s), (q, k, v, cap), got in zip(lengths, rows, found, strict=True):
            of = f"cap=2, t={t} s={s}, transposed q, k, v{'' if causal else ', causal=False'}"
            agree(got, capped(q, k, v, cap, causal), axes="b h t e", of=of)


@part("soft_capped_attention")
@CAUSAL
def test_capped_gradients(attempt, draw, causal):
    """Gradients flow to q, k and v, and are finite where a query sees no key."""
    for t, s in ((4, 7), (7, 4)):
        inputs, g = tiled(draw, 2, 3, t, s, 5, 4), draw.normal(2, 3, t, 4)
        want_out, want = gradients(lambda *leaves: capped(*leaves, 1.5, causal), inputs, g)
        out, got = attempt.gradients("soft_capped_attention", *inputs, 1.5, causal, upstream=g)
        agree(out, want_out, axes="b h t e", of=f"output, cap=1.5, causal={causal}, t={t} s={s}")
        for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
            agree(grad, wanted, axes="b h n d", of=f"gradient of {name}, cap=1.5, causal={causal}, t={t} s={s}")


@part("soft_capped_attention")
def test_caps_that_cannot_be_are_refused(attempt, draw):
    """A cap of 0 or less raises ValueError."""
    q = draw.normal(2, 3, 4, 5)
    for cap in (0.0, -1.0, 0):
        with refusal(ValueError, of=f"cap={cap}"):
            attempt.soft_capped_attention(q, q, q, cap)
    got = attempt.soft_capped_attention(q, q, q, 1)
    agree(got, capped(q, q, q, 1.0, True), axes="b h t e", of="cap=1, an int")
