"""The hidden checks of dl_001_attention_mechanism."""

import math

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again

from . import drivers

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
GRAD = pytest.mark.parametrize("grad", [False, True], ids=["without gradients", "with gradients"])
NO_SCALE = "scores without the 1/sqrt(d) scale"
NAN = math.nan


def of_type(name):
    return getattr(torch, name)


def shares(scores, seen=None):
    """The softmax over the last axis, one row at a time, of the scores that are seen; zeros where none is."""
    seen = torch.ones_like(scores, dtype=torch.bool) if seen is None else seen.broadcast_to(scores.shape)
    return torch.where(seen, scores, -math.inf).softmax(-1).nan_to_num().where(seen, 0.0)


def attend(q, k, v, seen=None, scale=None):
    """Dense attention: (output, weights)."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    weights = shares(torch.einsum("...id,...jd->...ij", q, k) * scale, seen)
    return torch.einsum("...ij,...je->...ie", weights, v), weights


def gradients(function, inputs, upstreams):
    """function(*inputs), a tuple, and the gradients of the sum of its entries times `upstreams`."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    total = sum((x * g).sum() for x, g in zip(out, upstreams, strict=True))
    return tuple(x.detach() for x in out), list(torch.autograd.grad(total, leaves))


def strided(draw, *shape, dtype=torch.float64):
    """A tensor of that shape whose last two axes are exchanged in memory."""
    return draw.normal(*shape[:-2], shape[-1], shape[-2], dtype=dtype).mT


def inputs_of(draw, *lead, t=5, s=7, d=3, e=4, dtype=torch.float64, scale=1.0):
    return [draw.normal(*lead, n, width, dtype=dtype, scale=scale) for n, width in ((t, d), (s, d), (s, e))]


def holes(draw, *shape):
    """A random mask in which the first query sees nothing, and no key is hidden from all."""
    mask = draw.uniform(*shape) < 0.6
    mask[..., 0, :], mask[..., 1, :] = False, True
    return mask


def hold_nothing_left(left, nodes, of):
    assert not left, f"{of}: {left} tensors are still alive when the caller has let the results go"
    assert not nodes, f"{of}: a graph with {nodes} saved tensors is still alive when the caller has let the results go"


# ----------------------------------------------------------------------------------------------------------- softmax


def softmax_mistakes(x, dim):
    e = x.exp()
    return {
        "e^x that is not divided by its sum": e,
        "a sum over all entries, not along dim,": e / e.sum(),
        "x divided by its sum": lambda: x / x.sum(dim, keepdim=True),
        "the log of the softmax": lambda: x.log_softmax(dim),
        "a sigmoid": x.sigmoid(),
        "the softmax of -x": lambda: (-x).softmax(dim),
        "powers of 2 in place of e": lambda: 2**x / (2**x).sum(dim, keepdim=True),
    } | {f"the softmax along axis {other}": x.softmax(other) for other in range(x.dim()) if other != dim % x.dim()}


@part("softmax")
@DTYPES
def test_entries_along_dim_sum_to_one(attempt, draw, dtype):
    """Along any axis, counted from either end, weights are e^x over their sum."""
    x = draw.normal(5, 2, 7, dtype=of_type(dtype), scale=2.0)
    dims = range(-3, 3)
    for dim, got in zip(dims, attempt.each("softmax", [(x, dim) for dim in dims]), strict=True):
        agree(got, x.softmax(dim), axes="i j k", of=f"softmax of (5, 2, 7), dim={dim}", known=softmax_mistakes(x, dim))


@part("softmax")
@DTYPES
def test_shapes_and_strides(attempt, draw, dtype):
    """One entry, one axis, four axes, exchanged axes: the shape stays."""
    kind = of_type(dtype)
    xs = [
        (draw.normal(1, dtype=kind), 0),
        (draw.normal(13, dtype=kind), -1),
        (draw.normal(2, 3, 1, 5, dtype=kind), 2),
        (strided(draw, 3, 11, 4, dtype=kind), 1),
        (draw.normal(1, 7, dtype=kind).expand(3, 7), 1),
        (draw.normal(0, 5, dtype=kind), 1),
        (draw.normal(3, 0, 2, dtype=kind), -1),
    ]
    for (x, dim), got in zip(xs, attempt.each("softmax", xs), strict=True):
        agree(got, x.softmax(dim), of=f"softmax of {tuple(x.shape)}, dim={dim}")


@part("softmax")
@DTYPES
def test_entries_of_any_size(attempt, draw, dtype):
    """Entries near ±10,000, alone or beside others, neither overflow nor vanish, in one slice or in all."""
    far = torch.tensor([1e4, -1e4, 500.0, -500.0, 0.0, 80.0], dtype=of_type(dtype))
    x = draw.normal(6, 5, dtype=of_type(dtype)) + far[:, None]
    x[4, 2], x[4, 3], x[5, 0] = 1e4, -1e4, -200.0
    for y, dim in ((x, 1), (x.T, 0)):
        got, want = attempt.softmax(y, dim), y.softmax(dim)
        known = {"no largest entry taken away, which overflows": lambda y=y, dim=dim: y.exp() / y.exp().sum(dim, True)}
        agree(
            got, want, of=f"softmax of rows near {far.tolist()}", tol=2e-3 if dtype == "float32" else None, known=known
        )


@part("softmax")
@DTYPES
def test_hidden_entries_have_no_weight(attempt, draw, dtype):
    """An entry of -inf has weight 0; where all are -inf, all weights are 0, whatever stands beside."""
    x = draw.normal(6, 4, dtype=of_type(dtype))
    x[0], x[1, 1:], x[2, 0], x[3, 3], x[5] = -math.inf, -math.inf, -math.inf, -math.inf, -math.inf
    want = x.softmax(1).nan_to_num()
    for y, dim in ((x, 1), (x.T, 0), (x, -1)):
        got = attempt.softmax(y, dim)
        agree(got, want if dim else want.T, of=f"softmax, dim={dim}, of slices with -inf, two of them whole")


@part("softmax")
def test_softmax_gradients(attempt, draw):
    """Gradients flow to x, stay finite for entries of any size, and are 0 where all entries are -inf."""
    x, g = draw.normal(5, 4, 3), draw.normal(5, 4, 3)
    x[1] += 1e4
    x[2, :, 0], x[3, 1, 1], x[4] = -math.inf, -math.inf, 2.0  # a slice, an entry, equal entries
    for dim in (1, -2):
        y = x.softmax(dim).nan_to_num()
        want = y * (g - (y * g).sum(dim, keepdim=True))
        out, grads = attempt.gradients("softmax", x, dim, upstream=g)
        agree(out, y, axes="i j k", of=f"softmax of (5, 4, 3), dim={dim}")
        agree(grads[0], want, axes="i j k", of=f"gradient of softmax for x, dim={dim}")


def hold_keeps_nothing(attempt, name, want, *args, grad=True):
    """Of a call nothing is left once its results are gone. want: the results, a tuple."""
    said, left, nodes = attempt.run(drivers.left_by_function, name, *args, grad=grad)
    agree(tuple(said), want, of=f"what {name} returned")
    hold_nothing_left(left, nodes, name)


@part("softmax")
def test_softmax_keeps_nothing(attempt, draw):
    """When the result is gone, no tensor and no graph of the call is left."""
    x = draw.normal(3, 5)
    hold_keeps_nothing(attempt, "softmax", (x.softmax(1),), x, 1)


@part("softmax")
def test_other_scores_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(5, 2, 7), -1) for _ in range(2)]
    hold_again(attempt, reference, "softmax", *asked, of="softmax of (5, 2, 7)", views=False)


# -------------------------------------------------------------------------------------- scaled_dot_product_attention


def attention_mistakes(q, k, v, seen=None):
    d, e = q.shape[-1], v.shape[-1]
    weights = attend(q, k, v, seen)[1]

    def by(weights):
        return weights @ v, weights

    raw = torch.einsum("...id,...jd->...ij", q, k) * d**-0.5
    known = {
        NO_SCALE: lambda: attend(q, k, v, seen, 1.0),
        "a scale of sqrt(d), not 1/sqrt(d),": lambda: attend(q, k, v, seen, d**0.5),
        "a scale of 1/d": lambda: attend(q, k, v, seen, 1 / d),
        "a scale from the width of the values": lambda: attend(q, k, v, seen, e**-0.5),
        "a scale from the number of keys": lambda: attend(q, k, v, seen, k.shape[-2] ** -0.5),
        "a softmax over the queries": lambda: by(raw.softmax(-2)),
        "scores without a softmax": lambda: by(raw),
        "the mean of the values": lambda: by(weights.mean(-1, keepdim=True).expand_as(weights)),
    }
    if seen is not None:
        hidden = ~seen.broadcast_to(raw.shape)
        known |= {
            "attention that ignores the mask": lambda: attend(q, k, v),
            "a mask that is True where a key is hidden": lambda: attend(q, k, v, ~seen),
            "a mask after the softmax": lambda: by(raw.softmax(-1).masked_fill(hidden, 0)),
            "scores of 0 where the mask hides": lambda: by(raw.masked_fill(hidden, 0).softmax(-1)),
        }
    return known


@part("scaled_dot_product_attention")
@DTYPES
def test_values_weighted_by_a_softmax(attempt, draw, dtype):
    """The output is the mean of the values by the softmax over the keys of q·k / sqrt(d), whatever the sizes."""
    kind = of_type(dtype)
    rows = [
        inputs_of(draw, 2, 3, dtype=kind),
        inputs_of(draw, 2, 3, t=11, s=2, d=5, e=1, dtype=kind),
        inputs_of(draw, t=3, s=4, d=2, e=7, dtype=kind),
        inputs_of(draw, 3, t=1, s=13, d=1, e=2, dtype=kind),
        inputs_of(draw, 2, 1, 3, t=4, s=1, d=3, e=5, dtype=kind),
    ]
    for (q, k, v), got in zip(rows, attempt.each("scaled_dot_product_attention", rows), strict=True):
        of = f"(output, weights) for q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        agree(got, attend(q, k, v), of=of, known=attention_mistakes(q, k, v))


@part("scaled_dot_product_attention")
def test_a_given_scale(attempt, draw):
    """A scale that is given takes the place of 1/sqrt(d), also 0 and a negative one; strides do not matter."""
    q, k, v = (strided(draw, 2, 3, *shape) for shape in ((5, 4), (7, 4), (7, 3)))
    scales = (0.3, 1.0, -0.7, 0.0)  # at 1 the first known mistake is the second
    found = attempt.each("scaled_dot_product_attention", [(q, k, v, None, scale) for scale in scales])
    for scale, got in zip(scales, found, strict=True):
        known = {"the given scale times 1/sqrt(d)": attend(q, k, v, None, scale / 2)} if scale else {}
        known |= {"the default scale": attend(q, k, v)}
        agree(got, attend(q, k, v, None, scale), of=f"(output, weights) with scale={scale}", known=known)
    mask = holes(draw, 5, 7)
    got = attempt.scaled_dot_product_attention(q, k, v, mask, 0.9)
    agree(got, attend(q, k, v, mask, 0.9), of="(output, weights) with scale=0.9 and a mask")


@part("scaled_dot_product_attention")
@DTYPES
def test_true_means_may_attend(attempt, draw, dtype):
    """What the mask hides has weight 0 and leaves its share to the others; a mask of fewer axes holds for all."""
    kind = of_type(dtype)
    q, k, v = inputs_of(draw, 2, 3, dtype=kind)
    for shape in ((2, 3, 5, 7), (5, 7), (2, 1, 5, 7), (2, 1, 1, 7), (3, 5, 7), (1, 7)):
        mask = draw.uniform(*shape) < 0.6
        mask[..., 0], mask[..., -1] = True, False
        got = attempt.scaled_dot_product_attention(q, k, v, mask)
        known = attention_mistakes(q, k, v, mask)
        agree(got, attend(q, k, v, mask), of=f"(output, weights) with a mask {tuple(shape)}", known=known)
    q, k, v = inputs_of(draw, dtype=kind)
    mask = draw.uniform(5, 7) < 0.6
    mask[:, 2], mask[0, 3] = True, False
    got = attempt.scaled_dot_product_attention(q, k, v, mask=mask)
    agree(got, attend(q, k, v, mask), of="(output, weights) of q (5, 3) with a mask (5, 7)")


@part("scaled_dot_product_attention")
@DTYPES
def test_queries_that_see_nothing(attempt, draw, dtype):
    """A query that may see nothing has zeros as weights and as output, and its neighbours are not touched."""
    q, k, v = inputs_of(draw, 2, 3, dtype=of_type(dtype))
    for shape in ((2, 3, 5, 7), (5, 7), (2, 1, 5, 7), (2, 3, 5, 1)):
        mask = holes(draw, *shape)
        want = attend(q, k, v, mask)
        got = attempt.scaled_dot_product_attention(q, k, v, mask)
        uniform = torch.where(mask.any(-1, keepdim=True), want[1], 1 / 7)
        known = {"the mean of all values, for a query that sees none": (uniform @ v, uniform)}
        agree(got, want, of=f"(output, weights) with a mask {shape} whose first query sees nothing", known=known)
    nothing = torch.zeros(5, 7, dtype=torch.bool)
    got = attempt.scaled_dot_product_attention(q, k, v, nothing)
    agree(got, attend(q, k, v, nothing), of="(output, weights) with a mask that hides everything")


@part("scaled_dot_product_attention")
@DTYPES
@pytest.mark.parametrize("size", [1e2, 1e10, "the largest"], ids=str)
def test_scores_of_any_size(attempt, draw, size, dtype):
    """Large scores do not overflow, and one that is seen, however far below, beats one that is hidden."""
    if size == "the largest":
        size = 1e36 if dtype == "float32" else 1e300
    q, k, v = (x.abs() + 0.1 for x in inputs_of(draw, 2, 3, dtype=of_type(dtype)))
    mask = holes(draw, 2, 3, 5, 7)
    q[:, :, 2], k[:, :, 4] = 0.0, 0.0  # the scores of one query, and of one key, are all 0
    if size < 1e4:  # two keys that share alike; further out a log-sum-exp in float32 does not tell one from two
        k[:, :, 5] = k[:, :, 6]
    for sign in (1, -1):
        of = f"(output, weights) of scores up to {sign * size:g} in size"
        want = attend(size * q, sign * k, v, mask)
        got = attempt.scaled_dot_product_attention(size * q, sign * k, v, mask)
        agree(got, want, of=of, tol=5e-3 if dtype == "float32" else 1e-6)


@part("scaled_dot_product_attention")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(attempt, draw, dtype):
    """In half precision masks hide and empty rows are zeros, too, and the results are in half precision."""
    q, k, v = inputs_of(draw, 2, 3)
    mask = holes(draw, 2, 1, 5, 7)
    want = tuple(x.to(of_type(dtype)) for x in attend(q, k, v, mask))
    got = attempt.scaled_dot_product_attention(*(x.to(of_type(dtype)) for x in (q, k, v)), mask)
    agree(got, want, of=f"(output, weights) in {dtype}, the first query of the mask sees nothing", tol=4e-2)


@part("scaled_dot_product_attention")
def test_nobody_sees_the_padding(attempt, draw):
    """NaN or infinity in a key, or its value, that no query sees changes no output, and weighs nothing."""
    q, k, v = inputs_of(draw, 2, 3)
    some = holes(draw, 2, 3, 5, 7)
    some[0, :, :, 4:], some[1, 0, :, 0] = False, False  # of all heads; of one
    columns = torch.tensor([[1, 1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0, 0]]).bool()[:, None, None]
    for mask in (some, columns, torch.zeros(5, 7, dtype=torch.bool), columns[:1, 0, 0][None]):
        unseen = ~mask.broadcast_to(2, 3, 5, 7).any(2)[..., None]
        for junk in (NAN, math.inf, -math.inf, 1e30):
            given = q, k.masked_fill(unseen, junk), v.masked_fill(unseen, junk)
            got = attempt.scaled_dot_product_attention(*given, mask)
            agree(got, attend(q, k, v, mask), of=f"(output, weights), {junk} in keys and values that no query sees")


@part("scaled_dot_product_attention")
def test_the_future_changes_nothing(attempt, draw):
    """With a causal mask, outputs up to a token are the same whatever comes after it."""
    q, k, v = inputs_of(draw, 2, 3, t=6, s=6)
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    want = attend(q, k, v, mask)
    rows = []
    for at in range(1, 6):
        later = [torch.cat([x[:, :, :at], draw.normal(*x[:, :, at:].shape, scale=9.0)], 2) for x in (q, k, v)]
        rows.append((*later, mask))
    for at, got in zip(range(1, 6), attempt.each("scaled_dot_product_attention", rows), strict=True):
        agree(got[0][:, :, :at], want[0][:, :, :at], axes="b h t e", of=f"output of tokens before {at}, another future")


@part("scaled_dot_product_attention")
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_attention_gradients(attempt, draw, masked):
    """Gradients flow to q, k and v through the output and the weights; what is hidden, or sees nothing, gets none."""
    inputs = inputs_of(draw, 2, 3)
    mask = holes(draw, 2, 3, 5, 7) if masked else None
    unseen = None
    if masked:
        mask[0, :, :, 5:] = False
        unseen = ~mask.any(2)[..., None]
    g = draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 7)
    want_out, want = gradients(lambda *x: attend(*x, mask), inputs, g)
    dirty = [inputs[0], *(x.masked_fill(unseen, NAN) for x in inputs[1:])] if masked else inputs
    for how, given in (("", inputs), (", NaN where no query sees", dirty)):
        out, got = attempt.gradients("scaled_dot_product_attention", *given, mask, upstream=g)
        agree(out, want_out, of=f"(output, weights), {'mask' if masked else 'no mask'}{how}")
        for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name}, {'mask' if masked else 'no mask'}{how}")


@part("scaled_dot_product_attention")
@pytest.mark.parametrize(
    ("dtype", "tol"), [("float64", 1e-8), ("float32", 1e-4), ("float16", 4e-2), ("bfloat16", 2e-1)]
)
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_gradients_in_each_dtype(attempt, draw, dtype, tol, scale):
    """Gradients flow to q, k and v in each dtype, with the default scale or a given one."""
    inputs = inputs_of(draw, 2, 3, scale=0.7)
    mask, g = holes(draw, 5, 7), (draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 7))
    inputs, g = ([x.to(of_type(dtype)) for x in one] for one in (inputs, g))
    exact = [[x.double() for x in one] for one in (inputs, g)]
    want_out, want = gradients(lambda *x: attend(*x, mask, scale), *exact)
    out, got = attempt.gradients("scaled_dot_product_attention", *inputs, mask, scale, upstream=tuple(g))
    want_out = tuple(x.to(of_type(dtype)) for x in want_out)
    agree(out, want_out, of=f"(output, weights) in {dtype}, scale={scale}", tol=tol)
    for name, grad, wanted in zip("qkv", got[:3], want, strict=True):
        agree(grad, wanted.to(of_type(dtype)), of=f"gradient of {name} in {dtype}, scale={scale}", tol=tol)


@part("scaled_dot_product_attention")
@GRAD
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_attention_costs_two_products(attempt, draw, grad, masked):
    """Two matrix products, nothing larger than the scores or what is given: no pair of tokens is spread out over d."""
    b, h, t, s, d, e = 2, 3, 37, 59, 11, 7
    q, k, v = inputs_of(draw, b, h, t=t, s=s, d=d, e=e)
    mask = holes(draw, b, 1, t, s) if masked else None
    got, cost = attempt.cost(drivers.attend_cost, q, k, v, mask, grad)
    of = f"b=2 h=3 t=37 s=59 d=11 e=7, {'with' if grad else 'without'} gradients"
    agree(got, attend(q, k, v, mask), of=f"(output, weights), {of}")
    in_torch(cost, of=of, values=b * h * t + 64)
    flops = 2 * b * h * t * s * (d + e)
    at_most(
        cost.flops, 1.1 * flops, of=f"FLOPs, {of}", known={"taking the scores twice": flops + 2 * b * h * t * s * d}
    )
    known = {"a product for each pair and feature": b * h * t * s * d}
    at_most(cost.largest, b * h * t * s, of=f"largest tensor, in elements, {of}", known=known)


@part("scaled_dot_product_attention")
def test_attention_backward_costs_four_products(attempt, draw):
    """The backward pass takes at most 2.1 times the FLOPs of the two products, and nothing larger than the scores."""
    b, h, t, s, d, e = 2, 3, 37, 59, 11, 7
    q, k, v = inputs_of(draw, b, h, t=t, s=s, d=d, e=e)
    mask, g = holes(draw, b, 1, t, s), draw.normal(b, h, t, e)
    _, want = gradients(lambda *x: attend(*x, mask)[:1], (q, k, v), [g])
    got, cost = attempt.cost(drivers.attend_backward_cost, q, k, v, mask, g)
    of = "b=2 h=3 t=37 s=59 d=11 e=7"
    agree(list(got), want, of=f"gradients of q, k, v, {of}")
    in_torch(cost, of=f"the backward pass, {of}", values=b * h * t + 64)
    at_most(cost.flops, 2.1 * 2 * b * h * t * s * (d + e), of=f"FLOPs of the backward pass, {of}")
    at_most(cost.largest, b * h * t * s, of=f"largest tensor of the backward pass, in elements, {of}")


@part("scaled_dot_product_attention")
def test_attention_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left."""
    q, k, v = inputs_of(draw, 2, 3)
    mask = holes(draw, 5, 7)
    hold_keeps_nothing(attempt, "scaled_dot_product_attention", attend(q, k, v, mask), q, k, v, mask)


@part("scaled_dot_product_attention")
def test_other_tokens_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 5, 3), draw.normal(2, 3, 7, 3), draw.normal(2, 3, 7, 4)) for _ in range(2)]
    hold_again(
        attempt,
        reference,
        "scaled_dot_product_attention",
        *asked,
        of="scaled_dot_product_attention of q (2, 3, 5, 3)",
        views=False,
    )


# ---------------------------------------------------------------------------------------------------- attention_mask


def mask_oracle(lengths, t, s, causal):
    return torch.tensor(
        [[[[j < n and (not causal or j <= s - t + i) for j in range(s)] for i in range(t)]] for n in lengths]
    )


def mask_mistakes(lengths, t, s, causal):
    want = mask_oracle(lengths, t, s, causal)
    real = torch.arange(s) < torch.tensor(lengths)[:, None, None, None]
    known = {
        "the opposite: True where a key is hidden": ~want,
        "one key more than there are": lambda: mask_oracle([n + 1 for n in lengths], t, s, causal),
        "the lengths alone": real.expand_as(want),
        "a causal mask alone": lambda: mask_oracle([s] * len(lengths), t, s, True),
        "queries of padding that see nothing": lambda: (
            want & (torch.arange(s - t, s)[:, None] < torch.tensor(lengths)[:, None, None, None])
        ),
    }
    if causal:
        top = torch.ones(t, s, dtype=torch.bool)
        known |= {
            "a causal mask in which query i stands at position i": real & top.tril(),
            "a causal mask that hides the token itself": real & top.tril(s - t - 1),
            "a causal mask that shows one token of the future": real & top.tril(s - t + 1),
            "a mask that shows the future alone": real & top.triu(s - t),
        }
    made = {name: value() if callable(value) else value for name, value in known.items()}
    alike = lambda value: sum(torch.equal(value, other) for other in [*made.values(), want])
    return {name: value for name, value in made.items() if alike(value) == 1}  # only what can be told apart is named


@part("attention_mask")
def test_padding_is_hidden(attempt):
    """Without causal, every query sees the first lengths[i] keys of its sequence, as in a batch of four."""
    lengths = [5, 0, 2, 7]
    got = attempt.attention_mask(torch.tensor(lengths), 3, 7)
    known = mask_mistakes(lengths, 3, 7, False)
    agree(got, mask_oracle(lengths, 3, 7, False), axes="b h t s", of=f"lengths {lengths}, t=3 s=7", known=known)


@part("attention_mask")
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_every_small_mask(attempt, causal):
    """For every t and s up to five and every length, a key is seen if it is real and, causal, not behind the query."""
    sizes = [(t, s) for t in range(1, 6) for s in range(1, 6)]
    lengths = [list(range(s + 1)) for _, s in sizes]
    rows = [(torch.tensor(n), t, s, causal) for n, (t, s) in zip(lengths, sizes, strict=True)]
    for n, (t, s), got in zip(lengths, sizes, attempt.each("attention_mask", rows), strict=True):
        of = f"lengths {n}, t={t} s={s}, causal={causal}"
        agree(got, mask_oracle(n, t, s, causal), axes="b h t s", of=of, known=mask_mistakes(n, t, s, causal))


@part("attention_mask")
def test_a_large_causal_mask(attempt, draw):
    """Any number of sequences, of any lengths, one among them."""
    for b, t, s in ((13, 17, 29), (1, 23, 11)):
        lengths = draw.integers(0, s + 1, b)
        got = attempt.attention_mask(lengths, t=t, s=s, causal=True)
        of = f"lengths {lengths.tolist()}, t={t} s={s}, causal"
        want = mask_oracle(lengths.tolist(), t, s, True)
        agree(got, want, axes="b h t s", of=of, known=mask_mistakes(lengths.tolist(), t, s, True))


@part("attention_mask")
def test_lengths_that_cannot_be_are_refused(attempt):
    """A length below 0, or above s, raises ValueError, wherever it stands."""
    for lengths in ([3, 5], [6, 1], [-1, 2], [0, 2, -3]):
        with refusal(ValueError, of=f"lengths {lengths} of 4 keys"):
            attempt.attention_mask(torch.tensor(lengths), 3, 4)


@part("attention_mask")
def test_other_lengths_of_that_many(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.permutation(8)[:4], 3, 7) for _ in range(2)]
    hold_again(attempt, reference, "attention_mask", *asked, of="attention_mask of 4 lengths", views=False)


# ------------------------------------------------------------------------------------------------- MultiHeadAttention


def layer_weights(draw, c, dtype=torch.float64):
    shapes = (3 * c, c), (3 * c,), (c, c), (c,)
    return [draw.normal(*shape, dtype=dtype, scale=0.6) for shape in shapes]


def layer_oracle(x, memory, heads, weights, seen=None, *, scale=None, rows=None, merge=None, order=(0, 1, 2)):
    """Head after head. rows: the features of head i; merge: what joins the heads; order: of q, k, v in in_proj."""
    w, bias, w_out, b_out = weights
    c = w.shape[1]
    d = c // heads
    b, t, s = len(x), x.shape[1], memory.shape[1]
    rows = rows or (lambda i: slice(i * d, (i + 1) * d))
    outs, kept = [], []
    seen = None if seen is None else seen.broadcast_to(b, heads, t, s)
    for i in range(heads):
        parts = [
            y @ w[n * c : (n + 1) * c][rows(i)].T + bias[n * c : (n + 1) * c][rows(i)]
            for n, y in zip(order, (x, memory, memory), strict=True)
        ]
        out, p = attend(*parts, None if seen is None else seen[:, i], scale)
        outs.append(out)
        kept.append(p)
    joined = torch.cat(outs, -1) if merge is None else merge(torch.stack(outs, 1))
    return joined @ w_out.T + b_out, torch.stack(kept, 1)


def layer_mistakes(x, memory, heads, weights, seen=None):
    c = x.shape[2]
    by = lambda **how: lambda: layer_oracle(x, memory, heads, weights, seen, **how)
    known = {
        NO_SCALE: by(scale=1.0),
        "keys and values exchanged": by(order=(0, 2, 1)),
        "queries and keys exchanged": by(order=(1, 0, 2)),
        "no bias in the projections": lambda: layer_oracle(
            x, memory, heads, [weights[0], 0 * weights[1], *weights[2:]], seen
        ),
        "no bias in out_proj": lambda: layer_oracle(x, memory, heads, [*weights[:3], 0 * weights[3]], seen),
        "no out_proj": lambda: layer_oracle(x, memory, heads, [*weights[:2], torch.eye(c).to(x), 0 * weights[3]], seen),
        "weights applied as x @ weight, without .T, in out_proj": lambda: layer_oracle(
            x, memory, heads, [*weights[:2], weights[2].T, weights[3]], seen
        ),
    }
    if memory is not x:
        known["self-attention, memory unused,"] = lambda: layer_oracle(x, x, heads, weights)
    if 1 < heads < c:
        known |= {
            "a scale of the width of the model": by(scale=c**-0.5),
            "heads whose features lie apart, every h-th one,": by(rows=lambda i: slice(i, None, heads)),
            "heads joined by a view, without moving them behind the tokens,": by(
                merge=lambda z: z.reshape(len(x), -1, c)
            ),
            "heads joined feature by feature": by(merge=lambda z: z.permute(0, 2, 3, 1).flatten(2)),
            "the mean of the heads": by(merge=lambda z: z.mean(1).repeat(1, 1, heads)),
        }
    if seen is not None:
        known["attention that ignores the mask"] = lambda: layer_oracle(x, memory, heads, weights)
        known["a mask that is True where a key is hidden"] = lambda: layer_oracle(x, memory, heads, weights, ~seen)
    return known


@part("MultiHeadAttention")
def test_parameters_are_torchs(attempt):
    """in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias, in the shapes of torch's layer, and no other."""
    for c, heads in ((6, 2), (5, 1), (7, 7)):
        want = {
            "in_proj_weight": [3 * c, c],
            "in_proj_bias": [3 * c],
            "out_proj.weight": [c, c],
            "out_proj.bias": [c],
        }
        agree(attempt.run(drivers.shapes, c, heads), want, of=f"parameters of MultiHeadAttention({c}, {heads})")


@part("MultiHeadAttention")
@DTYPES
@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_each_head_attends_in_its_slice(attempt, draw, dtype, heads):
    """Each head attends in its own slice of the features; the joined heads go through out_proj; weights by head."""
    weights = layer_weights(draw, 6, of_type(dtype))
    x = draw.normal(2, 5, 6, dtype=of_type(dtype))
    got = attempt.run(drivers.multi_head, x, heads, *weights)
    of = f"(output, weights) of x (2, 5, 6), {heads} heads"
    want = layer_oracle(x, x, heads, weights)
    known = layer_mistakes(x, x, heads, weights)
    averaged = want[0], want[1].mean(1)
    known["the mean of the heads' weights, not those of each,"] = averaged
    agree(got, want, of=of, known=known)


@part("MultiHeadAttention")
@DTYPES
@pytest.mark.parametrize("heads", [2, 4])
def test_keys_and_values_come_from_memory(attempt, draw, dtype, heads):
    """With a memory of another length, queries come from x, keys and values from memory; strides do not matter."""
    kind = of_type(dtype)
    weights = layer_weights(draw, 8, kind)
    for t, s in ((3, 7), (11, 2), (1, 5)):
        x, memory = draw.normal(2, t, 8, dtype=kind), strided(draw, 2, s, 8, dtype=kind)
        got = attempt.run(drivers.multi_head, x, heads, *weights, memory=memory)
        of = f"(output, weights) of x (2, {t}, 8), memory (2, {s}, 8), {heads} heads"
        known = layer_mistakes(x, memory, heads, weights)
        agree(got, layer_oracle(x, memory, heads, weights), of=of, known=known)


@part("MultiHeadAttention")
@pytest.mark.parametrize("shape", [(5, 7), (2, 1, 5, 7), (2, 3, 5, 7), (3, 1, 7), (2, 1, 1, 7)], ids=str)
def test_heads_obey_the_mask(attempt, draw, shape):
    """A mask for all heads or for each; a query that may see nothing gets out_proj.bias."""
    weights = layer_weights(draw, 6)
    x, memory = draw.normal(2, 5, 6), draw.normal(2, 7, 6)
    mask = draw.uniform(*shape) < 0.6
    mask[..., 2] = True
    if shape[-2] > 1:
        mask[..., 1, :] = False
    got = attempt.run(drivers.multi_head, x, 3, *weights, memory=memory, mask=mask)
    known = layer_mistakes(x, memory, 3, weights, mask)
    want = layer_oracle(x, memory, 3, weights, mask)
    agree(got, want, of=f"(output, weights) of x (2, 5, 6), memory (2, 7, 6), 3 heads, a mask {shape}", known=known)


@part("MultiHeadAttention")
def test_attention_does_not_know_the_order(attempt, draw):
    """Tokens in another order give the same outputs in that order: positions have to come from somewhere else."""
    weights, x, order = layer_weights(draw, 6), draw.normal(2, 7, 6), draw.permutation(7)
    plain, turned = (attempt.run(drivers.multi_head, y, 2, *weights) for y in (x, x[:, order]))
    want = layer_oracle(x, x, 2, weights)
    agree(plain, want, of="(output, weights) of x (2, 7, 6), 2 heads")
    want = want[0][:, order], want[1][:, :, order][:, :, :, order]
    agree(turned, want, of=f"(output, weights) of the same tokens in the order {order.tolist()}")


@part("MultiHeadAttention")
def test_a_layer_may_be_called_again(attempt, draw):
    """Calls of other sizes, with and without a mask, leave no trace in the next one."""
    weights = layer_weights(draw, 6)
    rows = []
    for b, t, s in ((2, 5, 7), (3, 4, 2), (1, 7, 5), (2, 5, 7)):
        rows.append((draw.normal(b, t, 6), draw.normal(b, s, 6), holes(draw, b, 1, t, s)))
        rows.append((draw.normal(b, t, 6), None, None))
    found = attempt.run(drivers.several, rows, 2, weights)
    for i, ((x, memory, mask), got) in enumerate(zip([*rows, rows[0]], found, strict=True)):
        want = layer_oracle(x, x if memory is None else memory, 2, weights, mask)
        agree(tuple(got), want, of=f"(output, weights) of call {i + 1} of one layer, x {tuple(x.shape)}")


@part("MultiHeadAttention")
def test_padded_memory_may_hold_anything(attempt, draw):
    """NaN in memory that no query of any head sees reaches no output and no gradient, those of weights included."""
    weights = layer_weights(draw, 6)
    x, memory = draw.normal(2, 5, 6), draw.normal(2, 7, 6)
    mask = draw.uniform(2, 3, 5, 7) < 0.6
    mask[0, :, :, 4:], mask[1, :, :, 0], mask[1, 1, :, 3] = False, False, False
    mask[0, 0, 0, 0], mask[1, 0, 2, 3] = True, True
    for shown in (mask, mask[:, :1]):
        unseen = ~shown.expand(2, 3, 5, 7).any(2).any(1)[..., None]
        g = draw.normal(2, 5, 6), draw.normal(2, 3, 5, 7)
        function = lambda x, memory, *w, shown=shown: layer_oracle(x, memory, 3, w, shown)
        want_out, want = gradients(function, [x, memory, *weights], g)
        for how, given in (("", memory), (", NaN where no query sees", memory.masked_fill(unseen, NAN))):
            out, got = attempt.gradients(drivers.memory_gradients, x, given, 3, *weights, mask=shown, upstream=g)
            agree(out, want_out, of=f"(output, weights), a mask {tuple(shown.shape)}{how}")
            names = ("x", "memory", "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
            for name, grad, wanted in zip(names, [*got[:2], *got[3:7]], want, strict=True):
                agree(grad, wanted, of=f"gradient of {name}, a mask {tuple(shown.shape)}{how}")


@part("MultiHeadAttention")
def test_padding_of_self_attention(attempt, draw):
    """In self-attention what a padded token holds, NaN too, changes no other token; its own output is its query's."""
    weights, x = layer_weights(draw, 6), draw.normal(2, 5, 6)
    mask = (torch.arange(5) < torch.tensor([3, 5])[:, None])[:, None, None]
    want = layer_oracle(x, x, 3, weights, mask)
    of = "(output, weights) of x (2, 5, 6), whose first sequence has three tokens and two of padding"
    agree(attempt.run(drivers.multi_head, x, 3, *weights, mask=mask), want, of=of)
    x[0, 3:] = NAN
    out, shown = attempt.run(drivers.multi_head, x, 3, *weights, mask=mask)
    agree(out[0, :3], want[0][0, :3], axes="t c", of="output of the three tokens before padding of NaN")
    agree(shown[0, :, :3], want[1][0, :, :3], axes="h t s", of="weights of the three tokens before padding of NaN")
    agree(out[1], want[0][1], axes="t c", of="output of the sequence beside it")


@part("MultiHeadAttention")
def test_gradients_through_memory(attempt, draw):
    """Without a mask gradients flow to x, to memory and to all parameters, through the output and the weights."""
    weights, x, memory = layer_weights(draw, 6), draw.normal(2, 5, 6), draw.normal(2, 7, 6)
    g = draw.normal(2, 5, 6), draw.normal(2, 3, 5, 7)
    want_out, want = gradients(lambda x, memory, *w: layer_oracle(x, memory, 3, w), [x, memory, *weights], g)
    out, got = attempt.gradients(drivers.memory_gradients, x, memory, 3, *weights, mask=None, upstream=g)
    agree(out, want_out, of="(output, weights) of x (2, 5, 6), memory (2, 7, 6), 3 heads")
    names = ("x", "memory", "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    for name, grad, wanted in zip(names, [*got[:2], *got[3:7]], want, strict=True):
        agree(grad, wanted, of=f"gradient of {name}, no mask")


@part("MultiHeadAttention")
def test_self_attention_gradients(attempt, draw):
    """Gradients flow to x and to all parameters, through the output and through the weights."""
    weights, x = layer_weights(draw, 6), draw.normal(2, 5, 6)
    for g in (
        (draw.normal(2, 5, 6), torch.zeros(2, 2, 5, 5).double()),
        (draw.normal(2, 5, 6), draw.normal(2, 2, 5, 5)),
    ):
        want_out, want = gradients(lambda x, *w: layer_oracle(x, x, 2, w), [x, *weights], g)
        out, got = attempt.gradients(drivers.multi_head, x, 2, *weights, upstream=g)
        agree(out, want_out, of="(output, weights) of x (2, 5, 6), 2 heads")
        names = ("x", "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        through = "the output and the weights" if g[1].any() else "the output"
        for name, grad, wanted in zip(names, [got[0], *got[2:]], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name} through {through}")


def layer_flops(b, t, s, c):
    return 2 * b * (2 * t * c * c + 2 * s * c * c + 2 * t * s * c)


@part("MultiHeadAttention")
@GRAD
@pytest.mark.parametrize("heads", [2, 6])
def test_projections_serve_all_heads(attempt, draw, heads, grad):
    """Queries, keys and values are projected once for all heads: more heads cost no more."""
    b, t, s, c = 2, 13, 229, 12
    weights, x, memory = layer_weights(draw, c), draw.normal(b, t, c), draw.normal(b, s, c)
    got, cost = attempt.cost(drivers.multi_head_cost, x, memory, heads, weights, grad)
    of = f"b=2 t=13 s=229 c=12, {heads} heads, {'with' if grad else 'without'} gradients"
    agree(tuple(got), layer_oracle(x, memory, heads, weights), of=f"(output, weights), {of}")
    in_torch(cost, of=of, values=b * heads * t + 64)
    known = {
        "projecting to the whole width for each head": layer_flops(b, t, s, c)
        + (heads - 1) * 2 * b * (t + 2 * s) * c * c
    }
    at_most(cost.flops, 1.05 * layer_flops(b, t, s, c), of=f"FLOPs, {of}", known=known)
    limit = max(3 * b * max(t, s) * c, b * heads * t * s, 3 * c * c)
    at_most(cost.largest, limit, of=f"largest tensor, in elements, {of}")


@part("MultiHeadAttention")
def test_layer_backward_costs_twice_the_forward(attempt, draw):
    """The backward pass takes at most 2.1 times the FLOPs of the forward pass, and nothing larger."""
    b, t, s, c, heads = 2, 13, 29, 12, 3
    weights, x, memory, g = layer_weights(draw, c), draw.normal(b, t, c), draw.normal(b, s, c), draw.normal(b, t, c)
    function = lambda x, memory, *w: layer_oracle(x, memory, heads, w)[:1]
    _, want = gradients(function, [x, memory, *weights], [g])
    got, cost = attempt.cost(drivers.multi_head_backward_cost, x, memory, heads, weights, g)
    of = "b=2 t=13 s=29 c=12, 3 heads"
    agree(list(got), want, of=f"gradients of x, memory and the parameters, {of}")
    in_torch(cost, of=f"the backward pass, {of}", values=b * heads * t + 64)
    at_most(cost.flops, 2.1 * layer_flops(b, t, s, c), of=f"FLOPs of the backward pass, {of}")
    limit = max(3 * b * max(t, s) * c, b * heads * t * s, 3 * c * c)
    at_most(cost.largest, limit, of=f"largest tensor of the backward pass, in elements, {of}")


@part("MultiHeadAttention")
def test_a_layer_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left, in the layer or elsewhere."""
    weights, x, memory = layer_weights(draw, 6), draw.normal(2, 5, 6), draw.normal(2, 7, 6)
    said, left, nodes = attempt.run(drivers.left_by_layer, x, memory, 2, weights)
    agree(tuple(said), layer_oracle(x, memory, 2, weights), of="(output, weights)")
    hold_nothing_left(left, nodes, "MultiHeadAttention")


@part("MultiHeadAttention")
def test_heads_that_do_not_divide_are_refused(attempt):
    """A number of heads that is not positive, or does not divide the width, raises ValueError."""
    for width, heads in ((6, 4), (6, 0), (6, -2), (5, 7)):
        with refusal(ValueError, of=f"MultiHeadAttention({width}, {heads})"):
            attempt.run(drivers.heads_refused, width, heads)


# ------------------------------------------------------------------------------------------------- attention_backward


def backward_oracle(q, k, v, mask, dout):
    (_, weights), grads = gradients(lambda *x: attend(*x, mask), (q, k, v), (dout, torch.zeros(())))
    return weights, tuple(grads)


def backward_mistakes(q, k, v, weights, dout):
    scale, dp = q.shape[-1] ** -0.5, dout @ v.mT
    right = weights * (dp - (weights * dp).sum(-1, keepdim=True))

    def by(ds, dv=None):
        return ds @ k, ds.mT @ q, weights.mT @ dout if dv is None else dv

    return {
        "dS without the scale": lambda: by(right),
        "a softmax whose Jacobian is diag(p) alone, without - p pᵀ,": lambda: by(weights * dp * scale),
        "a softmax whose Jacobian is diag(p (1 - p))": lambda: by(weights * (1 - weights) * dp * scale),
        "the scale applied twice": lambda: by(right * scale**2),
        "a sum over queries where the softmax sums over keys": lambda: by(
            weights * (dp - (weights * dp).sum(-2, keepdim=True)) * scale
        ),
        "the softmax left out of the backward pass": lambda: by(dp * scale),
        "weights that are constants": lambda: by(0 * right),
    }


@part("attention_backward")
@DTYPES
def test_gradients_are_those_of_autograd(attempt, draw, dtype):
    """The three gradients are what autograd gives, whatever the sizes and the number of leading axes."""
    kind = of_type(dtype)
    for lead, (t, s, d, e) in (
        ((2, 3), (5, 7, 3, 4)),
        ((), (4, 2, 5, 1)),
        ((3,), (1, 6, 2, 5)),
        ((2, 1, 2), (3, 1, 4, 2)),
    ):
        q, k, v = inputs_of(draw, *lead, t=t, s=s, d=d, e=e, dtype=kind)
        dout = draw.normal(*lead, t, e, dtype=kind)
        weights, want = backward_oracle(q, k, v, None, dout)
        got = attempt.attention_backward(q, k, v, weights, dout)
        of = f"(dq, dk, dv), q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        known = {} if s == 1 else backward_mistakes(q, k, v, weights, dout)
        agree(tuple(got), want, of=of, known=known)


@part("attention_backward")
@DTYPES
def test_hidden_keys_get_no_gradient(attempt, draw, dtype):
    """Under a mask gradients reach only what is seen; a query that sees nothing gives and gets none."""
    kind = of_type(dtype)
    q, k, v = (strided(draw, 2, 3, *shape, dtype=kind) for shape in ((5, 3), (7, 3), (7, 4)))
    dout = draw.normal(2, 3, 4, 5, dtype=kind).mT
    mask = holes(draw, 2, 3, 5, 7)
    mask[1, 2, :, 5] = False
    weights, want = backward_oracle(q, k, v, mask, dout)
    got = attempt.attention_backward(q, k, v, weights, dout)
    known = backward_mistakes(q, k, v, weights, dout)
    known["weights computed anew, without the mask,"] = lambda: backward_oracle(q, k, v, None, dout)[1]
    agree(tuple(got), want, of="(dq, dk, dv) where a mask hides keys, and all keys from the first query", known=known)


@part("attention_backward")
def test_saturated_weights(attempt, draw):
    """Where one key has all the weight, the scores get no gradient; scores in the thousands are no trouble."""
    q, k, v = inputs_of(draw, 2, 3, scale=40.0)
    dout = draw.normal(2, 3, 5, 4)
    weights, want = backward_oracle(q, k, v, None, dout)
    got = attempt.attention_backward(q, k, v, weights, dout)
    for name, one, wanted in zip(("dq", "dk", "dv"), got, want, strict=True):
        agree(one, wanted, of=f"{name} with scores in the thousands", tol=1e-7)


@part("attention_backward")
def test_four_products_are_enough(attempt, draw):
    """At most 1.1 times the FLOPs of four products, and no tensor larger than the weights."""
    b, h, t, s, d, e = 2, 3, 31, 47, 7, 11
    q, k, v = inputs_of(draw, b, h, t=t, s=s, d=d, e=e)
    dout, mask = draw.normal(b, h, t, e), holes(draw, t, s)
    weights, want = backward_oracle(q, k, v, mask, dout)
    got, cost = attempt.cost("attention_backward", q, k, v, weights, dout)
    of = "b=2 h=3 t=31 s=47 d=7 e=11"
    agree(tuple(got), want, of=f"(dq, dk, dv), {of}")
    in_torch(cost, of=of, values=b * h * t + 64)
    flops = 2 * b * h * t * s * (2 * d + 2 * e)
    known = {
        "a fifth product, the scores once more,": flops + 2 * b * h * t * s * d,
        "a fifth product, the output once more,": flops + 2 * b * h * t * s * e,
    }
    at_most(cost.flops, 1.1 * flops, of=f"FLOPs, {of}", known=known)
    known = {"the softmax's Jacobian, s × s for each query": b * h * t * s * s}
    at_most(cost.largest, b * h * t * s, of=f"largest tensor, in elements, {of}", known=known)


@part("attention_backward")
def test_backward_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor of the call is left."""
    q, k, v = inputs_of(draw, 2)
    dout = draw.normal(2, 5, 4)
    weights, want = backward_oracle(q, k, v, None, dout)
    hold_keeps_nothing(attempt, "attention_backward", want, q, k, v, weights, dout, grad=False)


@part("attention_backward")
def test_other_gradients_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (
            draw.normal(2, 3, 5, 3),
            draw.normal(2, 3, 7, 3),
            draw.normal(2, 3, 7, 4),
            draw.normal(2, 3, 5, 7).softmax(-1),
            draw.normal(2, 3, 5, 4),
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "attention_backward", *asked, of="attention_backward of q (2, 3, 5, 3)", views=False)


# ------------------------------------------------------------------------------------------------- additive_attention


def additive_inputs(draw, b=2, t=3, s=5, m=4, n=7, e=6, a=8, dtype=torch.float64):
    shapes = (b, t, m), (b, s, n), (b, s, e), (a, m), (a, n), (a,)
    return [draw.normal(*shape, dtype=dtype) for shape in shapes]


def additive_oracle(query, keys, values, w_query, w_key, w_score, seen=None, *, act=torch.tanh, scale=1.0):
    """Pair after pair: a network of one hidden layer on a query and a key side by side."""
    network = torch.cat([w_query, w_key], 1)
    rows = []
    for i in range(query.shape[1]):
        pairs = torch.cat([query[:, [i]].expand(-1, keys.shape[1], -1), keys], -1)
        rows.append((act(pairs @ network.T) * w_score).sum(-1))
    weights = shares(torch.stack(rows, 1) * scale, seen)
    return torch.einsum("bts,bse->bte", weights, values), weights


def additive_mistakes(inputs, seen=None):
    query, keys, values, w_query, w_key, w_score = inputs
    by = lambda **how: lambda: additive_oracle(*inputs, seen, **how)
    known = {
        "no tanh": by(act=lambda x: x),
        "a ReLU in place of tanh": by(act=torch.relu),
        "a sigmoid in place of tanh": by(act=torch.sigmoid),
        "a scale of 1/sqrt(a)": by(scale=len(w_score) ** -0.5),
        "scores in which the query cancels, as where tanh is taken of each part alone,": lambda: additive_oracle(
            query, keys, values, 0 * w_query, w_key, w_score, seen
        ),
        "the product of the projections, not their sum,": lambda: _product(inputs, seen),
        "the mean of the values": by(scale=0.0),
    }
    if seen is not None:
        known["attention that ignores the mask"] = lambda: additive_oracle(*inputs)
        known["a mask that is True where a key is hidden"] = lambda: additive_oracle(*inputs, ~seen)
    return known


def _product(inputs, seen):
    query, keys, values, w_query, w_key, w_score = inputs
    weights = shares(((query @ w_query.T)[:, :, None] * (keys @ w_key.T)[:, None]).tanh() @ w_score, seen)
    return weights @ values, weights


@part("additive_attention")
@DTYPES
def test_a_small_network_scores_each_pair(attempt, draw, dtype):
    """The score of a pair is w_score · tanh(w_query q + w_key k), for all widths and lengths."""
    kind = of_type(dtype)
    rows = [
        additive_inputs(draw, dtype=kind),
        additive_inputs(draw, b=1, t=7, s=2, m=1, n=3, e=5, a=11, dtype=kind),
        additive_inputs(draw, b=3, t=1, s=6, m=5, n=2, e=1, a=1, dtype=kind),
    ]
    for inputs, got in zip(rows, attempt.each("additive_attention", rows), strict=True):
        (b, t, m), (_, s, n), (*_, e), a = inputs[0].shape, inputs[1].shape, inputs[2].shape, len(inputs[5])
        of = f"(output, weights), b={b} t={t} s={s} m={m} n={n} e={e} a={a}"
        agree(got, additive_oracle(*inputs), of=of, known=additive_mistakes(inputs))


@part("additive_attention")
@DTYPES
def test_additive_scores_obey_the_mask(attempt, draw, dtype):
    """What the mask hides has weight 0, and a query that may see nothing gets zeros."""
    inputs = additive_inputs(draw, dtype=of_type(dtype))
    for shape in ((2, 3, 5), (3, 5), (2, 1, 5), (1, 5)):
        mask = draw.uniform(*shape) < 0.6
        mask[..., 4], mask[..., 1] = True, False
        if shape[-2] > 1:
            mask[..., 1, :] = False
        want = additive_oracle(*inputs, mask)
        got = attempt.additive_attention(*inputs, mask)
        agree(got, want, of=f"(output, weights) with a mask {shape}", known=additive_mistakes(inputs, mask))
    mask = holes(draw, 2, 3, 5)
    far = [*inputs[:5], 1e4 * inputs[5]]
    got = attempt.additive_attention(*far, mask=mask)
    of = "(output, weights) of scores up to ±10,000 and more, with a mask"
    agree(got, additive_oracle(*far, mask), of=of, tol=3e-2 if dtype == "float32" else 1e-8)
    for sign in (1, -1):
        far = [*(x.abs() + 0.1 for x in inputs[:5]), sign * 1e4 * (inputs[5].abs() + 0.1)]
        got = attempt.additive_attention(*far, mask=mask)
        of = f"(output, weights) of scores {'above 1,000' if sign > 0 else 'below -1,000'}, with a mask"
        agree(got, additive_oracle(*far, mask), of=of, tol=3e-2 if dtype == "float32" else 1e-8)


@part("additive_attention")
def test_additive_gradients(attempt, draw):
    """Gradients flow to all six arguments, through the output and the weights; strides do not matter."""
    inputs = [x.mT.contiguous().mT if x.dim() > 1 else x for x in additive_inputs(draw)]
    g = draw.normal(2, 3, 6), draw.normal(2, 3, 5)
    names = ("query", "keys", "values", "w_query", "w_key", "w_score")
    for mask, how in ((holes(draw, 2, 3, 5), "with a mask"), (None, "no mask")):
        want_out, want = gradients(lambda *x, mask=mask: additive_oracle(*x, mask), inputs, g)
        out, got = attempt.gradients("additive_attention", *inputs, mask, upstream=g)
        agree(out, want_out, of=f"(output, weights), {how}")
        for name, grad, wanted in zip(names, got[:6], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name}, {how}")


@part("additive_attention")
def test_additive_attention_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left."""
    inputs = additive_inputs(draw)
    hold_keeps_nothing(attempt, "additive_attention", additive_oracle(*inputs), *inputs)


@part("additive_attention")
@GRAD
def test_each_token_is_projected_once(attempt, draw, grad):
    """The network's first layer runs once for each query and each key, not once for each pair."""
    b, t, s, m, n, e, a = 2, 17, 23, 19, 29, 5, 7
    inputs = additive_inputs(draw, b, t, s, m, n, e, a)
    how = (drivers.with_grad_cost, "additive_attention") if grad else ("additive_attention",)
    got, cost = attempt.cost(*how, *inputs)
    of = f"b=2 t=17 s=23 m=19 n=29 e=5 a=7, {'with' if grad else 'without'} gradients"
    agree(tuple(got), additive_oracle(*inputs), of=f"(output, weights), {of}")
    in_torch(cost, of=of, values=b * t + 64)
    flops = 2 * b * (t * m * a + s * n * a + t * s * a + t * s * e)
    known = {"the first layer for each pair": 2 * b * t * s * ((m + n) * a + a + e)}
    at_most(cost.flops, 1.1 * flops, of=f"FLOPs, {of}", known=known)


@part("additive_attention")
def test_other_tokens_of_that_size_are_added(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (
            draw.normal(2, 3, 4),
            draw.normal(2, 5, 7),
            draw.normal(2, 5, 6),
            draw.normal(8, 4),
            draw.normal(8, 7),
            draw.normal(8),
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "additive_attention", *asked, of="additive_attention of q (2, 3, 4)", views=False)


# --------------------------------------------------------------------------------------------------------- saturation


def saturation_oracle(q, k, scale, *, spread=None, flat=None):
    scores = torch.einsum("...id,...jd->...ij", q, k).double() * scale
    rows = scores.flatten(0, -2)
    tops, slopes = [], []
    for row in rows:
        p = row.softmax(0)
        tops.append(p.max())
        slopes.append((torch.diag(p) - torch.outer(p, p)).trace())
    mean = rows.mean()
    return (rows - mean).square().mean(), torch.stack(tops).mean(), torch.stack(slopes).mean()


@part("saturation")
@DTYPES
@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
def test_spread_top_and_slope(attempt, draw, dtype, scale):
    """The variance of the scaled scores, the mean largest weight, and the mean trace of the softmax's Jacobian."""
    kind = of_type(dtype)
    for lead, (t, s, d) in (((), (5, 3, 2)), ((2, 3), (4, 7, 5)), ((3,), (1, 11, 4))):
        q, k = draw.normal(*lead, t, d, dtype=kind), draw.normal(*lead, s, d, dtype=kind) + 0.5
        variance, top, slope = saturation_oracle(q, k, scale)
        scores = (q @ k.mT).double() * scale
        weights = scores.softmax(-1)
        p = scores.softmax(-2)
        known = {
            "a variance divided by one less": (scores.var(), top, slope),
            "a variance over the keys of each query, averaged,": (scores.var(-1, correction=0).mean(), top, slope),
            "a deviation, not a variance": (variance.sqrt(), top, slope),
            "the mean square, mean not taken away": (scores.square().mean(), top, slope),
            "the variance of unscaled scores": (variance / scale**2, top, slope),
            "the mean weight": (variance, weights.mean(), slope),
            "the largest weight of all": (variance, weights.max(), slope),
            "the mean of p (1 - p), not its sum over the keys": (variance, top, slope / s),
            "the sum of p²": (variance, top, 1 - slope),
            "a softmax over the queries": (variance, p.amax(-1).mean(), (p * (1 - p)).sum(-1).mean()),
        }
        known = {
            name: value
            for name, value in known.items()
            if any((a - b).abs() > 1e-6 for a, b in zip(value, (variance, top, slope), strict=True))
        }
        got = attempt.saturation(q, k, scale)
        of = f"(variance, top, slope), q {tuple(q.shape)}, k {tuple(k.shape)}, scale={scale}"
        want = tuple(x.to(kind) for x in (variance, top, slope))
        agree(tuple(got), want, of=of, known=known)


@part("saturation")
def test_scales_of_any_sign(attempt, draw):
    """A scale may be negative, or 0: then all keys weigh alike. One score alone has no variance and all the weight."""
    q, k = draw.normal(5, 3), draw.normal(7, 3) + 0.5
    for scale in (-0.5, 0.0):
        got, want = attempt.saturation(q, k, scale), saturation_oracle(q, k, scale)
        agree(tuple(got), want, of=f"(variance, top, slope), q (5, 3), k (7, 3), scale={scale}")
    got = attempt.saturation(q[:1], k[:1], 1.0)
    want = tuple(torch.tensor(x).double() for x in (0.0, 1.0, 0.0))
    agree(tuple(got), want, of="(variance, top, slope) of one query and one key")


@part("saturation")
def test_saturation_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left."""
    q, k = draw.normal(5, 3), draw.normal(7, 3)
    hold_keeps_nothing(attempt, "saturation", saturation_oracle(q, k, 0.5), q, k, 0.5)


@part("saturation")
def test_the_papers_scale(attempt, draw):
    """At d = 512 the scale takes the mean top weight of 64 keys from about 0.93 to about 0.11, the variance to 1."""
    q, k = draw.normal(200, 512), draw.normal(64, 512)
    found = attempt.each("saturation", [(q, k, 1.0), (q, k, 512**-0.5)])
    for scale, got in zip((1.0, 512**-0.5), found, strict=True):
        of = f"(variance, top, slope) of 200 queries and 64 keys, d=512, scale={scale:.4f}"
        agree(tuple(got), saturation_oracle(q, k, scale), of=of, tol=1e-8)


@part("saturation")
def test_scores_with_a_large_mean(attempt, draw):
    """Scores near a million, or far apart, are exact: neither overflow nor cancellation."""
    q, k = torch.cat([draw.normal(7, 3), torch.ones(7, 1).double()], 1), draw.normal(11, 4)
    for mean in (1e6, -1e6):
        k[:, 3] = mean  # adds mean to every score
        got, want = attempt.saturation(q, k, 1.0), saturation_oracle(q, k, 1.0)
        agree(tuple(got), want, of=f"(variance, top, slope) of scores near {mean:g}", tol=1e-7)
    q = 1e4 * draw.normal(5, 2)
    k = draw.normal(7, 2)
    got, want = attempt.saturation(q, k, 1.0), saturation_oracle(q, k, 1.0)
    for name, one, wanted in zip(("variance", "top"), got[:2], want[:2], strict=True):
        agree(one, wanted, of=f"{name} of scores up to ±10,000 and more", tol=1e-6)
    agree(got[2] + 1, want[2] + 1, of="1 + slope of scores up to ±10,000 and more", tol=1e-6)


@part("saturation")
def test_other_logits_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 4, 5), draw.normal(2, 3, 7, 5), 1.0) for _ in range(2)]
    hold_again(attempt, reference, "saturation", *asked, of="saturation of q (2, 3, 4, 5)", views=False, no_grad=False)


# ------------------------------------------------------------------------------------------------- head_contributions


def contributions(weights, v, w_out):
    e = v.shape[-1]
    rows = [(weights[:, i] @ v[:, i]) @ w_out[:, i * e : (i + 1) * e].T for i in range(v.shape[1])]
    return torch.stack(rows, 1)


def contribution_mistakes(weights, v, w_out):
    h, e = v.shape[1], v.shape[-1]
    whole = contributions(weights, v, w_out)
    mixed = weights @ v
    apart = [mixed[:, i] @ w_out[:, i::h].T for i in range(h)]
    return {
        "the whole output, shared equally by the heads,": lambda: whole.mean(1, keepdim=True).expand_as(whole),
        "heads in the reverse order": lambda: contributions(weights, v, w_out.unflatten(1, (h, e)).flip(1).flatten(1)),
        "columns that lie apart, every h-th one,": lambda: torch.stack(apart, 1),
        "the values of each head without the weights": lambda: contributions(
            weights.mean(-1, keepdim=True).expand_as(weights), v, w_out
        ),
        "the whole output for each head": lambda: whole.sum(1, keepdim=True).expand_as(whole),
    }


@part("head_contributions")
@DTYPES
def test_what_each_head_writes(attempt, draw, dtype):
    """Head i gives its mixed values, projected by its own columns of w_out."""
    kind = of_type(dtype)
    sizes = (2, 3, 5, 7, 4, 11), (1, 2, 3, 1, 1, 2), (3, 1, 2, 6, 5, 4), (2, 5, 1, 3, 2, 3), (2, 3, 4, 5, 2, 6)
    for b, h, t, s, e, c in sizes:
        weights = draw.normal(b, h, t, s, dtype=kind).softmax(-1)
        v, w_out = draw.normal(b, h, s, e, dtype=kind), strided(draw, c, h * e, dtype=kind)
        got = attempt.head_contributions(weights, v, w_out)
        of = f"contributions, b={b} h={h} t={t} s={s} e={e} c={c}"
        known = contribution_mistakes(weights, v, w_out) if h > 1 else {}
        agree(got, contributions(weights, v, w_out), axes="b h t c", of=of, known=known)


@part("head_contributions")
def test_contributions_add_up(attempt, draw):
    """Their sum over the heads is the joined heads through w_out; weights need not sum to 1."""
    weights, v, w_out = draw.normal(2, 3, 5, 7), strided(draw, 2, 3, 7, 4), draw.normal(6, 12)
    weights[:, 1] = 0.0
    got = attempt.head_contributions(weights, v, w_out)
    joined = torch.cat([weights[:, i] @ v[:, i] for i in range(3)], -1) @ w_out.T
    agree(got, contributions(weights, v, w_out), axes="b h t c", of="contributions, the second head silent")
    agree(got.sum(1), joined, axes="b t c", of="sum of the contributions over three heads")


@part("head_contributions")
def test_contribution_gradients(attempt, draw):
    """Gradients flow to weights, values and w_out."""
    inputs, g = [draw.normal(2, 3, 5, 7), draw.normal(2, 3, 7, 4), draw.normal(6, 12)], draw.normal(2, 3, 5, 6)
    want_out, want = gradients(lambda *x: (contributions(*x),), inputs, [g])
    out, got = attempt.gradients("head_contributions", *inputs, upstream=g)
    agree(out, want_out[0], axes="b h t c", of="contributions of weights (2, 3, 5, 7)")
    for name, grad, wanted in zip(("weights", "v", "w_out"), got[:3], want, strict=True):
        agree(grad, wanted, of=f"gradient of {name}")


@part("head_contributions")
def test_contributions_keep_nothing(attempt, draw):
    """When the result is gone, no tensor and no graph of the call is left."""
    inputs = draw.normal(2, 3, 5, 7), draw.normal(2, 3, 7, 4), draw.normal(6, 12)
    hold_keeps_nothing(attempt, "head_contributions", (contributions(*inputs),), *inputs)


@part("head_contributions")
@GRAD
def test_each_head_uses_its_own_columns(attempt, draw, grad):
    """A head costs its own columns, not all of w_out: mixing first, then one product with e columns."""
    b, h, t, s, e, c = 2, 5, 13, 29, 4, 31
    weights, v, w_out = draw.normal(b, h, t, s).softmax(-1), draw.normal(b, h, s, e), draw.normal(c, h * e)
    how = (drivers.with_grad_cost, "head_contributions") if grad else ("head_contributions",)
    got, cost = attempt.cost(*how, weights, v, w_out)
    of = f"b=2 h=5 t=13 s=29 e=4 c=31, {'with' if grad else 'without'} gradients"
    agree(got, contributions(weights, v, w_out), axes="b h t c", of=f"contributions, {of}")
    in_torch(cost, of=of)
    known = {
        "all columns for each head, the others zeroed,": 2 * b * h * t * (s * e + h * e * c),
        "projecting every value before it is mixed": 2 * b * h * (s * e * c + t * s * c),
    }
    at_most(cost.flops, 1.1 * 2 * b * h * t * (s * e + e * c), of=f"FLOPs, {of}", known=known)


@part("head_contributions")
def test_other_heads_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 5, 7).softmax(-1), draw.normal(2, 3, 7, 4), draw.normal(11, 12)) for _ in range(2)]
    hold_again(
        attempt, reference, "head_contributions", *asked, of="head_contributions of weights (2, 3, 5, 7)", views=False
    )


# -------------------------------------------------------------------------------------------------- qk_norm_attention


def rms(x, w, eps, *, mean=True):
    size = x.pow(2).mean(-1, keepdim=True) if mean else x.pow(2).sum(-1, keepdim=True)
    return x / torch.sqrt(size + eps) * w


def qk_oracle(q, k, v, wq, wk, seen=None, eps=1e-6, *, norm=rms, scale=None):
    return attend(norm(q, wq, eps), norm(k, wk, eps), v, seen, scale)


def qk_mistakes(q, k, v, wq, wk, seen=None, eps=1e-6):
    def layer(x, w, eps):
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + eps) * w

    by = lambda *w, **how: lambda: qk_oracle(q, k, v, *(w or (wq, wk)), seen, eps, **how)
    return {
        "no norm at all": lambda: attend(q, k, v, seen),
        "a norm without the weights": by(torch.ones_like(wq), torch.ones_like(wk)),
        "a layer norm, with the mean taken away": by(norm=layer),
        "division by the length ‖x‖, not by the root mean square,": by(norm=lambda x, w, e: rms(x, w, e, mean=False)),
        "no 1/sqrt(d) behind the norm": by(scale=1.0),
        "norm of the queries alone": lambda: attend(rms(q, wq, eps), k, v, seen),
        "norm of the keys alone": lambda: attend(q, rms(k, wk, eps), v, seen),
        "a norm over the tokens, not over the features,": by(
            norm=lambda x, w, e: x / torch.sqrt(x.pow(2).mean(-2, keepdim=True) + e) * w
        ),
    }


@part("qk_norm_attention")
@DTYPES
def test_queries_and_keys_are_normed(attempt, draw, dtype):
    """Queries and keys go through an RMS norm with weights of their own, values do not."""
    kind = of_type(dtype)
    for lead in ((2, 3), ()):
        q, k, v = inputs_of(draw, *lead, dtype=kind, scale=2.0)
        wq, wk = draw.normal(3, dtype=kind), draw.normal(3, dtype=kind)
        got = attempt.qk_norm_attention(q, k, v, wq, wk)
        of = f"(output, weights), q {tuple(q.shape)}, k {tuple(k.shape)}"
        agree(got, qk_oracle(q, k, v, wq, wk), of=of, known=qk_mistakes(q, k, v, wq, wk))


@part("qk_norm_attention")
def test_mask_and_eps(attempt, draw):
    """The mask holds, and eps stands under the root: it tells in small queries and keys."""
    q, k, v = (strided(draw, 2, 3, *shape) for shape in ((5, 3), (7, 3), (7, 4)))
    wq, wk, mask = draw.normal(3), draw.normal(3), holes(draw, 2, 1, 5, 7)
    q[:, :, 3], k[:, :, 2] = 1e-3 * q[:, :, 3], 0.0
    for eps in (None, 0.3):
        options = {} if eps is None else {"eps": eps}
        at = 1e-6 if eps is None else eps
        known = qk_mistakes(q, k, v, wq, wk, mask, at)
        known["eps added to the root, not under it,"] = lambda at=at: qk_oracle(
            q, k, v, wq, wk, mask, at, norm=lambda x, w, e: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + e) * w
        )
        got = attempt.qk_norm_attention(q, k, v, wq, wk, mask, **options)
        want = qk_oracle(q, k, v, wq, wk, mask, at)
        agree(
            got, want, of=f"(output, weights) with a mask, eps={at}, one query of size 0.001, a key of 0", known=known
        )


@part("qk_norm_attention")
def test_no_eps(attempt, draw):
    """An eps of 0 is none: then the smallest queries and keys have the weights of their directions."""
    q, k, v = inputs_of(draw, 2, 3)
    wq, wk = draw.normal(3), draw.normal(3)
    got = attempt.qk_norm_attention(1e-6 * q, 1e-5 * k, v, wq, wk, None, 0.0)
    agree(got, qk_oracle(q, k, v, wq, wk, eps=0.0), of="(output, weights), q of size 1e-6, k of size 1e-5, eps=0")


@part("qk_norm_attention")
@DTYPES
def test_scores_stay_bounded(attempt, draw, dtype):
    """However large or unlike queries and keys are, the weights are those of their directions."""
    kind = of_type(dtype)
    q, k, v = inputs_of(draw, 2, 3, dtype=kind)
    wq, wk = draw.normal(3, dtype=kind), draw.normal(3, dtype=kind)
    sizes = 10 ** draw.uniform(2, 3, 7, 1, low=2.0, high=6.0, dtype=kind)
    got = attempt.qk_norm_attention(1e6 * q, sizes * k, v, wq, wk)
    want = qk_oracle(q, k, v, wq, wk, eps=0.0)
    agree(got, want, of="(output, weights), queries of size 1,000,000, keys of sizes 100 to 1,000,000", tol=1e-3)


@part("qk_norm_attention")
def test_qk_norm_gradients(attempt, draw):
    """Gradients flow to q, k, v and both weights."""
    inputs = [*inputs_of(draw, 2, 3), draw.normal(3), draw.normal(3)]
    g = draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 7)
    for mask, how in ((holes(draw, 5, 7), "with a mask"), (None, "no mask")):
        want_out, want = gradients(lambda *x, mask=mask: qk_oracle(*x, mask), inputs, g)
        out, got = attempt.gradients("qk_norm_attention", *inputs, mask, upstream=g)
        agree(out, want_out, of=f"(output, weights), {how}")
        for name, grad, wanted in zip(("q", "k", "v", "q_weight", "k_weight"), got[:5], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name}, {how}")


@part("qk_norm_attention")
def test_qk_norm_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left."""
    inputs = [*inputs_of(draw, 2, 3), draw.normal(3), draw.normal(3)]
    hold_keeps_nothing(attempt, "qk_norm_attention", qk_oracle(*inputs), *inputs)


@part("qk_norm_attention")
def test_other_norms_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (draw.normal(2, 3, 5, 3), draw.normal(2, 3, 7, 3), draw.normal(2, 3, 7, 4), draw.normal(3), draw.uniform(3))
        for _ in range(2)
    ]
    hold_again(attempt, reference, "qk_norm_attention", *asked, of="qk_norm_attention of q (2, 3, 5, 3)", views=False)


# ----------------------------------------------------------------------------------------------------- sink_attention


def sink_oracle(q, k, v, sinks, seen=None, scale=None):
    """One key more, which scores as the sink does and whose value is 0."""
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if seen is not None:
        scores = torch.where(seen, scores, -math.inf)
    largest = torch.maximum(scores.amax(-1), sinks[:, None])
    top, sink = (scores - largest[..., None]).exp(), (sinks[:, None] - largest).exp()
    weights = top / (top.sum(-1) + sink)[..., None]
    return torch.einsum("bhij,bhje->bhie", weights, v), weights


def sink_mistakes(q, k, v, sinks, seen=None):
    return {
        "attention without a sink, or weights divided by their sum again,": lambda: attend(q, k, v, seen),
        "a sink that is scaled by 1/sqrt(d) too": lambda: sink_oracle(q, k, v, sinks * q.shape[-1] ** -0.5, seen),
        "a sink that adds its logit to the sum, not e^sink,": lambda: _plain_sum(q, k, v, sinks, seen),
        "a sink of 0, softmax off by one,": lambda: sink_oracle(q, k, v, 0 * sinks, seen),
        "sinks of other heads, in the reverse order,": lambda: sink_oracle(q, k, v, sinks.flip(0), seen),
        NO_SCALE: lambda: sink_oracle(q, k, v, sinks, seen, 1.0),
    }


def _plain_sum(q, k, v, sinks, seen):
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    e = scores.exp() if seen is None else torch.where(seen, scores.exp(), 0.0)
    weights = e / (e.sum(-1, keepdim=True) + sinks[:, None, None])
    return weights @ v, weights


@part("sink_attention")
@DTYPES
def test_the_sink_takes_its_share(attempt, draw, dtype):
    """The weights are those of a softmax with one logit a head more, whose share is missing from them."""
    kind = of_type(dtype)
    q, k, v = inputs_of(draw, 2, 3, dtype=kind)
    sinks = draw.normal(3, dtype=kind) + 0.5
    got = attempt.sink_attention(q, k, v, sinks)
    known = sink_mistakes(q, k, v, sinks)
    agree(got, sink_oracle(q, k, v, sinks), of="(output, weights), b=2 h=3 t=5 s=7 d=3 e=4", known=known)
    got = attempt.sink_attention(q, k, v, sinks, scale=0.8)
    known = {"the given scale on the sink too": sink_oracle(q, k, v, 0.8 * sinks, None, 0.8)}
    agree(got, sink_oracle(q, k, v, sinks, None, 0.8), of="(output, weights) with scale=0.8", known=known)
    mask = holes(draw, 2, 1, 5, 7)
    for seen, scale in ((None, 0.0), (None, -0.7), (mask, 0.9)):
        got = attempt.sink_attention(q, k, v, sinks, seen, scale)
        of = f"(output, weights) with scale={scale}{'' if seen is None else ' and a mask'}"
        agree(got, sink_oracle(q, k, v, sinks, seen, scale), of=of)


@part("sink_attention")
@DTYPES
def test_the_mask_does_not_hide_the_sink(attempt, draw, dtype):
    """Hidden keys have weight 0, the sink its share; a query that may see nothing gives all to the sink."""
    kind = of_type(dtype)
    q, k, v = (strided(draw, 2, 3, *shape, dtype=kind) for shape in ((5, 3), (7, 3), (7, 4)))
    sinks = draw.normal(3, dtype=kind)
    for shape in ((2, 3, 5, 7), (5, 7), (2, 1, 5, 7)):
        mask = holes(draw, *shape)
        got = attempt.sink_attention(q, k, v, sinks, mask)
        known = sink_mistakes(q, k, v, sinks, mask)
        known["attention that ignores the mask"] = lambda: sink_oracle(q, k, v, sinks)
        known["a mask that is True where a key is hidden"] = lambda mask=mask: sink_oracle(q, k, v, sinks, ~mask)
        want = sink_oracle(q, k, v, sinks, mask)
        agree(got, want, of=f"(output, weights) with a mask {shape} whose first query sees nothing", known=known)


@part("sink_attention")
@DTYPES
def test_sinks_of_any_size(attempt, draw, dtype):
    """Sinks and scores near ±10,000, alike or not, neither overflow nor vanish."""
    kind = of_type(dtype)
    sinks = torch.tensor([1e4, -1e4, 0.0, 0.5, 1e4], dtype=kind)
    q, k, v = inputs_of(draw, 2, 5, d=4, dtype=kind)
    far = torch.tensor([0.0, 0.0, 1e4, -1e4, 1e4], dtype=kind)
    q[..., 0], k[..., 0] = 2.0, far[:, None]  # adds far to every score
    got = attempt.sink_attention(q, k, v, sinks)
    of = f"(output, weights), sinks {sinks.tolist()} and scores near {far.tolist()}"
    agree(got, sink_oracle(q, k, v, sinks), of=of, tol=5e-3 if dtype == "float32" else 1e-8)


@part("sink_attention")
def test_sink_gradients(attempt, draw):
    """Gradients flow to q, k, v and the sinks, also of queries that see nothing."""
    inputs = [*inputs_of(draw, 2, 3), draw.normal(3)]
    g = draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 7)
    for mask, how in ((holes(draw, 2, 1, 5, 7), "with a mask"), (None, "no mask")):
        want_out, want = gradients(lambda *x, mask=mask: sink_oracle(*x, mask), inputs, g)
        out, got = attempt.gradients("sink_attention", *inputs, mask, upstream=g)
        agree(out, want_out, of=f"(output, weights), {how}")
        for name, grad, wanted in zip(("q", "k", "v", "sinks"), got[:4], want, strict=True):
            agree(grad, wanted, of=f"gradient of {name}, {how}")


@part("sink_attention")
def test_sink_attention_keeps_nothing(attempt, draw):
    """When the results are gone, no tensor and no graph of the call is left."""
    inputs = [*inputs_of(draw, 2, 3), draw.normal(3)]
    hold_keeps_nothing(attempt, "sink_attention", sink_oracle(*inputs), *inputs)

    mask, g = holes(draw, 2, 1, 5, 7), (draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 7))
    want_out, want = gradients(lambda *x: sink_oracle(*x, mask), inputs, g)
    out, got = attempt.gradients("sink_attention", *inputs, mask, upstream=g)
    agree(out, want_out, of="(output, weights), with a mask")
    for name, grad, wanted in zip(("q", "k", "v", "sinks"), got[:4], want, strict=True):
        agree(grad, wanted, of=f"gradient of {name}, with a mask")


@part("sink_attention")
def test_other_sinks_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (draw.normal(2, 3, 5, 3), draw.normal(2, 3, 7, 3), draw.normal(2, 3, 7, 4), draw.normal(3)) for _ in range(2)
    ]
    hold_again(attempt, reference, "sink_attention", *asked, of="sink_attention of q (2, 3, 5, 3)", views=False)
