"""Hidden checks of dl_009: oracles are torch's own norms and their autograd in float64, and the pooled values."""

import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, part, refusal
from grader.checks.again import hold_again

from . import drivers

DTYPES = ["float64", "float32"]


def of_type(name):
    return getattr(torch, name)


def turned(x):
    """All axes in the other order: not contiguous."""
    return x.permute(tuple(range(x.dim()))[::-1])


def hold_rounded_once(got, exact, of):
    """Hold that float16 values are rounded at the end, and not before. exact: the same in float64.

    Who rounds x̂ too, or a weight, misses the nearest float16 of about a third of the values; who computes in float32
    of about one in a hundred.
    """
    others = (got != exact.half()).double().mean().item()
    at_most(others, 0.05, of=f"share of values that are not the nearest float16, in {of}")


def vectors(draw, shape, dtype="float64"):
    """x of this shape, not contiguous, with a mean and a scale of its own; weight and bias of its last axis."""
    kind = of_type(dtype)
    x = turned(draw.normal(*shape[::-1], scale=2.0)) + 1.5
    return x.to(kind), draw.normal(shape[-1], dtype=kind), draw.normal(shape[-1], dtype=kind)


def channels(draw, shape, dtype="float64"):
    """x of this shape, not contiguous, each channel with its own mean and scale; weight and bias of axis 1."""
    kind, c = of_type(dtype), shape[1]
    view = [1, c] + [1] * (len(shape) - 2)
    x = turned(draw.normal(*shape[::-1]))
    x = x * draw.uniform(c, low=0.5, high=3.0).view(view) + draw.normal(c, scale=2.0).view(view)
    return x.to(kind), draw.normal(c, dtype=kind), draw.normal(c, dtype=kind)


def by_hand(x, mean, var, weight, bias, eps, *, root="inside"):
    return (x - mean) / ((var + eps).sqrt() if root == "inside" else var.sqrt() + eps) * weight + bias


def torch_gradients(function, leaves, upstream):
    """The gradients of sum(function(*leaves) · upstream)."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    total = (function(*leaves) * upstream).sum()
    return list(torch.autograd.grad(total, leaves))


# --- layer_norm -------------------------------------------------------------------------------------------------------


def layer_mistakes(x, weight, bias, eps):
    mean, var = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
    d = x.shape[-1]
    found = {
        "eps outside of the root": lambda: by_hand(x, mean, var, weight, bias, eps, root="outside"),
        "the unbiased variance": lambda: by_hand(x, mean, var * d / (d - 1), weight, bias, eps),
        "RMSNorm, whose mean stays in": lambda: by_hand(x, 0, (x**2).mean(dim=-1, keepdim=True), weight, bias, eps),
        "no weight and no bias": lambda: by_hand(x, mean, var, 1, 0, eps),
        "no bias": lambda: by_hand(x, mean, var, weight, 0, eps),
        "the variance without its root": lambda: (x - mean) / (var + eps) * weight + bias,
        "no eps": lambda: by_hand(x, mean, var, weight, bias, 0.0),
        "the weight put on before the mean is taken": lambda: F.layer_norm(x * weight, (d,), None, bias, eps),
    }
    if x.dim() > 1:
        first, spread = x.mean(dim=0, keepdim=True), x.var(dim=0, keepdim=True, unbiased=False)
        found["statistics over the first axis (BatchNorm)"] = lambda: by_hand(x, first, spread, weight, bias, eps)
        whole, all_var = x.mean(), x.var(unbiased=False)
        found["statistics over all axes"] = lambda: by_hand(x, whole, all_var, weight, bias, eps)
    return found


@part("layer_norm")
def test_layer_norm_by_hand(attempt):
    """[1, 3] with eps 3 is [-1/2, 1/2]; weight and bias come afterwards."""
    x = torch.tensor([[1.0, 3.0], [8.0, 2.0]], dtype=torch.float64)
    weight, bias = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.tensor([10.0, 20.0], dtype=torch.float64)
    want = torch.tensor([[9.0, 19.5], [10 + 6 / math.sqrt(12), 20 + 3 / math.sqrt(12)]], dtype=torch.float64)
    known = layer_mistakes(x, weight, bias, 3.0)
    of = "layer_norm of [[1, 3], [8, 2]], weight [2, -1], bias [10, 20], eps 3"
    agree(attempt.layer_norm(x, weight, bias, 3.0), want, axes="n d", of=of, known=known)


@part("layer_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7), (2, 1, 3, 4), (11,), (1, 6)], ids=str)
def test_layer_norm_of_any_shape(attempt, draw, shape, dtype):
    """Statistics go over the last axis alone, biased, eps inside of the root: vectors, matrices, more axes."""
    x, weight, bias = vectors(draw, shape, dtype)
    eps = draw.random.uniform(0.3, 1.0)
    want = F.layer_norm(x.double(), shape[-1:], weight.double(), bias.double(), eps).to(x.dtype)
    known = layer_mistakes(x, weight, bias, eps) if len(shape) > 1 and shape[0] > 1 else None
    of = f"layer_norm of x {shape} in {dtype}, eps {eps:.2f}"
    agree(attempt.layer_norm(x, weight, bias, eps), want, of=of, known=known)


@part("layer_norm")
def test_layer_norm_by_default(attempt, draw):
    """Without eps it is 1e-5."""
    x, weight, bias = vectors(draw, (3, 5))
    x = x * 0.01
    of = "layer_norm of x (3, 5) with deviation 0.02, eps not given"
    agree(attempt.layer_norm(x, weight, bias), F.layer_norm(x, (5,), weight, bias, 1e-5), axes="n d", of=of)


@part("layer_norm")
def test_layer_norm_of_equal_values(attempt, draw):
    """A vector of equal values, and one of one value, become the bias."""
    for d in (1, 4):
        weight, bias = draw.normal(d), draw.normal(d)
        x = draw.normal(3, 1).expand(3, d).clone()
        of = f"layer_norm of x (3, {d}) whose rows are constant"
        agree(attempt.layer_norm(x, weight, bias), bias.expand(3, d), axes="n d", of=of)


@part("layer_norm")
@pytest.mark.parametrize("offset", [1e4, -3e4])
def test_layer_norm_beside_a_large_mean(attempt, draw, offset):
    """In float32 a mean of 10,000 does not eat up a deviation of 1."""
    x = draw.normal(5, 101, dtype=torch.float32) + offset
    ones, zeros = torch.ones(101), torch.zeros(101)
    wide = x.double()
    squares = (x**2).mean(dim=-1, keepdim=True) - x.mean(dim=-1, keepdim=True) ** 2
    agree(
        attempt.layer_norm(x, ones, zeros),
        F.layer_norm(wide, (101,)).float(),
        axes="n d",
        of=f"layer_norm of float32 values around {offset:g} with deviation 1",
        tol=5e-3,
        known={"E[x²] - E[x]²": lambda: (x - x.mean(dim=-1, keepdim=True)) / (squares + 1e-5).sqrt()},
    )


@part("layer_norm")
def test_layer_norm_in_half_precision(attempt, draw):
    """float16 is widened before anything is squared or summed, and the result is float16."""
    x = draw.normal(3, 300, scale=400.0, dtype=torch.float16) + 500
    weight, bias = draw.normal(300, dtype=torch.float16), draw.normal(300, dtype=torch.float16)
    want = F.layer_norm(x.double(), (300,), weight.double(), bias.double())
    of = "layer_norm of float16 values around 500 with deviation 400 (their squares are Inf)"
    got = attempt.layer_norm(x, weight, bias)
    agree(got, want.half(), axes="n d", of=of, tol=5e-3)
    hold_rounded_once(got, want, of)


@part("layer_norm")
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_layer_norm_with_hardly_an_eps(attempt, draw, eps):
    """eps is what is given, also 0, or less than any default."""
    x, weight, bias = vectors(draw, (3, 5))
    x, of = x * 1e-5, f"layer_norm of x (3, 5) with deviation 2e-5, eps {eps:g}"
    agree(attempt.layer_norm(x, weight, bias, eps), F.layer_norm(x, (5,), weight, bias, eps), axes="n d", of=of)


@part("layer_norm")
def test_layer_norm_gradients(attempt, draw):
    """Gradients flow to x, weight and bias, through the mean and the variance."""
    x, weight, bias = vectors(draw, (3, 5))
    g = draw.normal(3, 5)
    out, got = attempt.gradients("layer_norm", x, weight, bias, upstream=g)
    agree(out, F.layer_norm(x, (5,), weight, bias), axes="n d", of="layer_norm of x (3, 5) where gradients are needed")
    want = torch_gradients(lambda a, b, c: F.layer_norm(a, (5,), b, c), [x, weight, bias], g)
    for name, mine, yours in zip(("x", "weight", "bias"), got, want, strict=False):
        agree(mine, yours, of=f"the gradient of {name} through layer_norm of x (3, 5)")


@part("layer_norm")
def test_other_tokens_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(3, 5), draw.normal(5), draw.normal(5), 0.1) for _ in range(2)]
    hold_again(attempt, reference, "layer_norm", *asked, of="layer_norm of (3, 5)", views=False)


# --- rms_norm ---------------------------------------------------------------------------------------------------------


def rms(x, scale, eps):
    return x / ((x**2).mean(dim=-1, keepdim=True) + eps).sqrt() * scale


def rms_mistakes(x, weight, eps, offset):
    scale = 1 + weight if offset else weight
    return {
        "LayerNorm: the mean taken off": lambda: F.layer_norm(x, x.shape[-1:], scale, None, eps),
        "a sum of squares, not their mean": lambda: x / ((x**2).sum(dim=-1, keepdim=True) + eps).sqrt() * scale,
        "eps outside of the root": lambda: x / ((x**2).mean(dim=-1, keepdim=True).sqrt() + eps) * scale,
        "the weight with 1 added" if not offset else "the weight without the 1": lambda: rms(
            x, weight if offset else 1 + weight, eps
        ),
        "the mean of |x| in place of the root": lambda: x / (x.abs().mean(dim=-1, keepdim=True) + eps) * scale,
        "the deviation in place of the root mean square": lambda: (
            x / (x.var(dim=-1, keepdim=True, unbiased=False) + eps).sqrt() * scale
        ),
        "statistics over all axes": lambda: x / ((x**2).mean() + eps).sqrt() * scale,
    }


@part("rms_norm")
@pytest.mark.parametrize("offset", [False, True])
def test_rms_norm_by_hand(attempt, offset):
    """[1, 7] with eps 0 is [0.2, 1.4] times the weight, or times 1 + weight."""
    x = torch.tensor([[1.0, 7.0], [-6.0, 8.0]], dtype=torch.float64)
    weight = torch.tensor([2.0, -3.0], dtype=torch.float64)
    scale = weight + 1 if offset else weight
    want = torch.tensor([[0.2, 1.4], [-6 / math.sqrt(50), 8 / math.sqrt(50)]], dtype=torch.float64) * scale
    of = f"rms_norm of [[1, 7], [-6, 8]], weight [2, -3], eps 0, unit_offset={offset}"
    known = rms_mistakes(x, weight, 0.0, offset)
    known.pop("eps outside of the root")
    agree(attempt.rms_norm(x, weight, 0.0, offset), want, axes="n d", of=of, known=known)


@part("rms_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7), (2, 1, 3, 4), (11,), (4, 1)], ids=str)
def test_rms_norm_of_any_shape(attempt, draw, shape, offset, dtype):
    """The mean of squares goes over the last axis alone, eps inside of the root; no mean is taken off."""
    x, weight, _ = vectors(draw, shape, dtype)
    eps = draw.random.uniform(0.3, 1.0)
    want = rms(x.double(), weight.double() + offset, eps).to(x.dtype)
    known = rms_mistakes(x, weight, eps, offset) if shape[0] > 1 and shape[-1] > 1 else None
    of = f"rms_norm of x {shape} in {dtype}, eps {eps:.2f}, unit_offset={offset}"
    agree(attempt.rms_norm(x, weight, eps, unit_offset=offset), want, of=of, known=known)


@part("rms_norm")
def test_rms_norm_by_default(attempt, draw):
    """Without options eps is 1e-6 and the weight is the scale; a zero vector stays zero."""
    x, weight, _ = vectors(draw, (3, 5))
    x = 0.003 * x
    x[1] = 0
    of = "rms_norm of x (3, 5) with deviation 0.006 and a row of zeros, no options"
    agree(attempt.rms_norm(x, weight), rms(x, weight, 1e-6), axes="n d", of=of)


@part("rms_norm")
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_rms_norm_with_hardly_an_eps(attempt, draw, eps):
    """eps is what is given, also 0, or less than any default."""
    x, weight, _ = vectors(draw, (3, 5))
    x, of = x * 1e-5, f"rms_norm of x (3, 5) of about 2e-5, eps {eps:g}"
    agree(attempt.rms_norm(x, weight, eps), rms(x, weight, eps), axes="n d", of=of)


@part("rms_norm")
@pytest.mark.parametrize("offset", [False, True])
def test_rms_norm_in_half_precision(attempt, draw, offset):
    """float16 is widened before it is squared, and the result is float16."""
    x = draw.normal(3, 300, scale=500.0, dtype=torch.float16)
    weight = draw.normal(300, dtype=torch.float16)
    want = rms(x.double(), weight.double() + offset, 1e-6).half()
    of = f"rms_norm of float16 values with deviation 500 (their squares are Inf), unit_offset={offset}"
    # Rounded once or twice: Llama's own code rounds before the weight.
    agree(attempt.rms_norm(x, weight, unit_offset=offset), want, axes="n d", of=of, tol=5e-3)


@part("rms_norm")
@pytest.mark.parametrize("offset", [False, True])
def test_rms_norm_gradients(attempt, draw, offset):
    """Gradients flow to x and weight, through the mean of squares."""
    x, weight, _ = vectors(draw, (3, 5))
    g = draw.normal(3, 5)
    out, got = attempt.gradients("rms_norm", x, weight, 0.1, offset, upstream=g)
    agree(out, rms(x, weight + offset, 0.1), axes="n d", of="rms_norm of x (3, 5) where gradients are needed")
    want = torch_gradients(lambda a, b: rms(a, b + offset, 0.1), [x, weight], g)
    for name, mine, yours in zip(("x", "weight"), got, want, strict=False):
        agree(mine, yours, of=f"the gradient of {name} through rms_norm of x (3, 5), unit_offset={offset}")


@part("rms_norm")
def test_other_tokens_of_that_size_by_their_mean_square(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(3, 5), draw.normal(5)) for _ in range(2)]
    hold_again(attempt, reference, "rms_norm", *asked, of="rms_norm of (3, 5)", views=False)


# --- batch_norm -------------------------------------------------------------------------------------------------------

SHAPES = [(5, 3), (4, 3, 7), (2, 5, 3, 4), (7, 1), (1, 3, 5), (2, 3, 2, 3, 2)]


def axes_of(x):
    return [axis for axis in range(x.dim()) if axis != 1]


def spread(c_values, x):
    return c_values.view([1, -1] + [1] * (x.dim() - 2))


def trained(x, weight, bias, running, momentum, eps):
    """What torch gives, in float64: (out, running mean, running variance)."""
    mean, var = running[0].double().clone(), running[1].double().clone()
    out = F.batch_norm(x.double(), mean, var, weight.double(), bias.double(), True, momentum, eps)
    return out, mean, var


def batch_mistakes(x, weight, bias, running, eps):
    w, b = spread(weight, x), spread(bias, x)
    mean, var = x.mean(dim=axes_of(x), keepdim=True), x.var(dim=axes_of(x), keepdim=True, unbiased=False)
    k = x.numel() // x.shape[1]
    return {
        "the running statistics in training": lambda: by_hand(
            x, spread(running[0], x), spread(running[1], x), w, b, eps
        ),
        "the unbiased variance": lambda: by_hand(x, mean, var * k / (k - 1), w, b, eps),
        "eps outside of the root": lambda: by_hand(x, mean, var, w, b, eps, root="outside"),
        "statistics over the first axis alone": lambda: by_hand(
            x, x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False), w, b, eps
        ),
        "statistics of each example (LayerNorm)": lambda: F.group_norm(x, 1, weight, bias, eps),
        "statistics of each channel in each example (InstanceNorm)": lambda: F.group_norm(
            x, x.shape[1], weight, bias, eps
        ),
        "one mean and variance for all channels": lambda: by_hand(x, x.mean(), x.var(unbiased=False), w, b, eps),
        "no weight and no bias": lambda: by_hand(x, mean, var, 1, 0, eps),
    }


def told_apart(known, want):
    """The mistakes whose value differs from what is right."""
    made = {name: value() for name, value in known.items()}
    return {name: value for name, value in made.items() if not torch.allclose(value, want.to(value.dtype), rtol=1e-4)}


@part("batch_norm")
def test_batch_norm_by_hand(attempt):
    """Values 1 and 3, eps 3: -1/2 and 1/2; with momentum 0.5 the statistics 0 and 1 become 1 and 1.5."""
    x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    got = attempt.batch_norm(x, 2 * one, 10 * one, zero, one, True, 0.5, 3.0)
    assert len(got) == 3, f"batch_norm returned {len(got)} values, not (out, running mean, running variance)"
    of = "batch_norm of [[1], [3]], weight 2, bias 10, running statistics 0 and 1, momentum 0.5, eps 3"
    agree(got[0], torch.tensor([[9.0], [11.0]], dtype=torch.float64), axes="n c", of=of)
    agree(got[1], one, axes="c", of=f"the running mean after {of}")
    known = {"the biased variance": torch.tensor([1.0]), "the variance of the batch alone": torch.tensor([2.0])}
    agree(got[2], 1.5 * one, axes="c", of=f"the running variance after {of}", known=known)


@part("batch_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_training(attempt, draw, shape, dtype):
    """A channel is normalised by its mean and biased variance over the batch and all positions."""
    x, weight, bias = channels(draw, shape, dtype)
    running = draw.normal(shape[1], dtype=x.dtype), draw.uniform(shape[1], low=0.5, high=2.0, dtype=x.dtype)
    eps = draw.random.uniform(0.3, 1.0)
    want = trained(x, weight, bias, running, 0.1, eps)[0].to(x.dtype)
    got = attempt.batch_norm(x, weight, bias, *running, True, 0.1, eps)
    many = shape[0] > 1 and shape[1] > 1
    known = told_apart(batch_mistakes(x, weight, bias, running, eps), want) if many and len(shape) < 5 else None
    agree(got[0], want, of=f"batch_norm of x {shape} in training, {dtype}, eps {eps:.2f}", known=known)


@part("batch_norm")
@pytest.mark.parametrize("momentum", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_running_statistics_move(attempt, draw, shape, momentum):
    """momentum weighs the new value; the running variance takes the unbiased one, k / (k - 1) times as large."""
    x, weight, bias = channels(draw, shape)
    running = draw.normal(shape[1]), draw.uniform(shape[1], low=0.5, high=2.0)
    _, mean, var = trained(x, weight, bias, running, momentum, 1e-5)
    out, got_mean, got_var = attempt.batch_norm(x, weight, bias, *running, True, momentum)
    agree(out, trained(x, weight, bias, running, momentum, 1e-5)[0], of=f"batch_norm of x {shape} in training")
    new = x.mean(dim=axes_of(x)), x.var(dim=axes_of(x), unbiased=True)
    biased = x.var(dim=axes_of(x), unbiased=False)
    mixed = lambda new, old, m: m * new + (1 - m) * old
    inner = momentum not in (0.0, 1.0)
    agree(
        got_mean,
        mean,
        axes="c",
        of=f"the running mean after x {shape}, momentum {momentum}",
        known={"momentum as the weight of the old value": mixed(new[0], running[0], 1 - momentum)} if inner else None,
    )
    known = {
        "momentum as the weight of the old value": mixed(new[1], running[1], 1 - momentum),
        "the biased variance": mixed(biased, running[1], momentum),
        "running deviations, not variances": mixed(new[1].sqrt(), running[1], momentum),
    }
    of = f"the running variance after x {shape}, momentum {momentum}"
    agree(got_var, var, axes="c", of=of, known=known if inner else None)


@part("batch_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 4), (1, 3, 1, 1)], ids=str)
def test_batch_norm_in_evaluation(attempt, draw, shape, dtype):
    """The running statistics normalise, one example alone too, and are returned as they are."""
    x, weight, bias = channels(draw, shape, dtype)
    running = draw.normal(shape[1], dtype=x.dtype), draw.uniform(shape[1], low=0.5, high=2.0, dtype=x.dtype)
    eps = draw.random.uniform(0.3, 1.0)
    got = attempt.batch_norm(x, weight, bias, *running, False, 0.3, eps)
    want = F.batch_norm(x.double(), *(r.double() for r in running), weight.double(), bias.double(), False, 0.3, eps)
    w, b, mean, var = (spread(t, x) for t in (weight, bias, *running))
    k = x.numel() // shape[1]
    known = {"eps outside of the root": lambda: by_hand(x, mean, var, w, b, eps, root="outside")}
    if k > 1:
        known["the statistics of the batch"] = lambda: trained(x, weight, bias, running, 0.3, eps)[0]
        known["a running variance that is corrected once more"] = lambda: by_hand(x, mean, var * k / (k - 1), w, b, eps)
    agree(got[0], want.to(x.dtype), of=f"batch_norm of x {shape} in evaluation, {dtype}", known=known)
    agree(list(got[1:]), list(running), of=f"the running statistics after x {shape} in evaluation")


@part("batch_norm")
def test_batch_norm_over_a_run(attempt, draw):
    """Five batches of unlike sizes, then evaluation: by default momentum is 0.1 and eps 1e-5."""
    xs = [0.01 * channels(draw, (n, 3, 2))[0] for n in (4, 7, 2, 5, 3)]
    weight, bias = draw.normal(3), draw.normal(3)
    running = [torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
    told = attempt.run(drivers.batches, xs, weight, bias, running)
    state = running
    for i, x in enumerate(xs):
        out, *state = trained(x, weight, bias, state, 0.1, 1e-5)
        want = [out, *state]
        agree(told[i], want, of=f"batch {i + 1} of 5: [out, running mean, running variance], no options given")
    got = attempt.batch_norm(xs[0], weight, bias, *state, training=False)
    want = F.batch_norm(xs[0], *state, weight, bias, False)
    agree(got[0], want, of="evaluation with the running statistics of five batches")


@part("batch_norm")
@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 1), (1, 2, 1, 1)], ids=str)
def test_batch_norm_refuses_one_value(attempt, draw, shape):
    """In training one value a channel is a ValueError; two are enough."""
    x, weight, bias = channels(draw, shape)
    running = draw.normal(shape[1]), draw.uniform(shape[1], low=0.5, high=2.0)
    with refusal(ValueError, of=f"batch_norm of x {shape} in training"):
        attempt.batch_norm(x, weight, bias, *running)
    two = torch.cat([x, x + 1])
    got = attempt.batch_norm(two, weight, bias, *running)
    agree(
        got[0], trained(two, weight, bias, running, 0.1, 1e-5)[0], of=f"batch_norm of x {tuple(two.shape)} in training"
    )


@part("batch_norm")
def test_batch_norm_beside_a_large_mean(attempt, draw):
    """In float32 a mean of 10,000 does not eat up a deviation of 1, in the output and in the running variance."""
    x = draw.normal(50, 3, 4, dtype=torch.float32) + torch.tensor([1e4, -3e4, 0.0])[:, None]
    ones, zeros = torch.ones(3), torch.zeros(3)
    got = attempt.batch_norm(x, ones, zeros, zeros, ones, True, 1.0)
    want = trained(x, ones, zeros, (zeros, ones), 1.0, 1e-5)
    mean, squares = x.mean(dim=(0, 2)), (x**2).mean(dim=(0, 2))
    known = {"E[x²] - E[x]²": lambda: (x - spread(mean, x)) / spread(squares - mean**2 + 1e-5, x).sqrt()}
    of = "batch_norm of float32 values around 1e4, -3e4 and 0 with deviation 1"
    agree(got[0], want[0].float(), axes="n c l", of=of, tol=5e-3, known=known)
    agree(got[2], want[2].float(), axes="c", of=f"the running variance after {of}, momentum 1", tol=5e-3)


@part("batch_norm")
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_half_precision(attempt, draw, training):
    """float16 is widened before it is squared or summed; statistics keep their own dtype."""
    x = draw.normal(60, 3, 5, scale=300.0, dtype=torch.float16) + 400
    weight, bias = draw.normal(3, dtype=torch.float16), draw.normal(3, dtype=torch.float16)
    running = draw.normal(3, dtype=torch.float32), draw.uniform(3, low=8e4, high=1e5, dtype=torch.float32)
    got = attempt.batch_norm(x, weight, bias, *running, training)
    of = f"batch_norm of float16 values around 400 with deviation 300, training={training}"
    if training:
        want = trained(x, weight, bias, running, 0.1, 1e-5)
    else:
        wide = [t.double() for t in (*running, weight, bias)]
        want = F.batch_norm(x.double(), *wide, False), *running
    agree(got[0], want[0].half(), axes="n c l", of=of, tol=5e-3)
    hold_rounded_once(got[0], want[0], of)
    agree(list(got[1:]), [w.float() for w in want[1:]], of=f"the float32 running statistics after {of}", tol=1e-3)


@part("batch_norm")
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_gradients(attempt, draw, training):
    """In training gradients also flow through the batch's mean and variance; the running statistics carry no graph."""
    x, weight, bias = channels(draw, (4, 3, 5))
    running = [draw.normal(3), draw.uniform(3, low=0.5, high=2.0)]
    g = draw.normal(4, 3, 5)
    upstream = [g, draw.normal(3), draw.normal(3)]
    out, got = attempt.gradients(
        drivers.batch, x, weight, bias, upstream=upstream, running=running, training=training, eps=0.1
    )

    def theirs(x, weight, bias):
        return F.batch_norm(x, running[0].clone(), running[1].clone(), weight, bias, training, 0.1, 0.1)

    agree(out[0], theirs(x, weight, bias), axes="n c l", of="batch_norm of x (4, 3, 5) where gradients are needed")
    constant = g * spread(weight / (x.var(dim=(0, 2), unbiased=False) + 0.1).sqrt(), x)
    want = torch_gradients(theirs, [x, weight, bias], g)
    known = {"a batch's mean and variance that are constants (detached)": constant} if training else None
    how = f"batch_norm of x (4, 3, 5), training={training}"
    agree(got[0], want[0], axes="n c l", of=f"the gradient of x through {how}", known=known)
    agree(got[1:3], want[1:], of=f"the gradients of weight and bias through {how}")
    if training:
        told = attempt.run(drivers.running_graphs, x, weight, bias, running)
        agree(told["out"], trained(x, weight, bias, running, 0.1, 1e-5)[0], of="batch_norm where gradients are needed")
        assert told["graphs"] == [False, False], "running statistics that carry the graph of their batch keep it alive"


@part("batch_norm")
def test_another_batch_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (draw.normal(5, 3), draw.normal(3), draw.normal(3), draw.normal(3), draw.uniform(3, low=0.1)) for _ in range(2)
    ]
    hold_again(attempt, reference, "batch_norm", *asked, of="batch_norm of (5, 3)", views=False)


# --- batch_norm_backward ----------------------------------------------------------------------------------------------


def hold_gradients(got, want, of, mistakes, dtype, tol=None):
    """Hold (dx, dweight, dbias). mistakes: name to dx."""
    for i, name in enumerate(("dx", "dweight", "dbias")):
        expected = want[i].to(of_type(dtype))
        agree(got[i], expected, of=f"{name} of {of}", known=told_apart(mistakes, expected) if i == 0 else None, tol=tol)


@part("batch_norm_backward")
def test_batch_norm_backward_by_hand(attempt):
    """Two values are -1 and 1, whatever they were: dx is 0. Three values are worked out by hand."""
    kind = torch.float64
    one = torch.ones(1, dtype=kind)
    x, dout = torch.tensor([[1.0], [3.0]], dtype=kind), torch.tensor([[1.0], [0.0]], dtype=kind)
    got = attempt.batch_norm_backward(dout, x, one, 2 * one, one, 0.0)
    of = "batch_norm_backward of x [1, 3], dout [1, 0], mean 2, var 1, eps 0"
    agree(got[0], torch.zeros(2, 1, dtype=kind), axes="n c", of=f"dx of {of}", known={"dout alone, scaled": dout})
    x, dout = torch.tensor([[0.0], [1.0], [2.0]], dtype=kind), torch.tensor([[1.0], [0.0], [0.0]], dtype=kind)
    got = attempt.batch_norm_backward(dout, x, 3 * one, one, one * 2 / 3, 1 / 3)
    of = "batch_norm_backward of x [0, 1, 2], dout [1, 0, 0], weight 3, mean 1, var 2/3, eps 1/3"
    agree(list(got), [torch.tensor([[1.0], [-1.0], [0.0]], dtype=kind), -one, one], of=of)


def backward_mistakes(dout, x, weight, mean, var, eps):
    axes, k = axes_of(x), x.numel() // x.shape[1]
    root = (spread(var, x) + eps).sqrt()
    normal, scale = (x - spread(mean, x)) / root, spread(weight, x) / root
    average = lambda t: t.mean(dim=axes, keepdim=True)
    return {
        "constant statistics: dout · weight / root alone": lambda: scale * dout,
        "no path through the variance": lambda: scale * (dout - average(dout)),
        "no path through the mean": lambda: scale * (dout - normal * average(dout * normal)),
        "sums in place of means": lambda: scale * (dout - k * average(dout) - normal * k * average(dout * normal)),
        "no weight": lambda: (dout - average(dout) - normal * average(dout * normal)) / root,
        "a weight that divides the saved deviation twice": lambda: (
            scale / root * (dout - average(dout) - normal * average(dout * normal))
        ),
        "an x that was not normalised": lambda: scale * (dout - average(dout) - x * average(dout * x)),
    }


@part("batch_norm_backward")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_backward_in_training(attempt, draw, shape, dtype):
    """dx is what autograd finds through the batch's mean and variance; dweight and dbias are sums over the batch."""
    x, weight, _ = channels(draw, shape, dtype)
    dout = turned(draw.normal(*shape[::-1], dtype=x.dtype))
    eps = draw.random.uniform(0.1, 0.5)
    mean, var = x.double().mean(dim=axes_of(x)), x.double().var(dim=axes_of(x), unbiased=False)
    saved = mean.to(x.dtype), var.to(x.dtype)
    got = attempt.batch_norm_backward(dout, x, weight, *saved, eps)
    theirs = lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, True, 0.1, eps)
    wide = [t.double() for t in (x, weight, weight)]
    of = f"batch_norm_backward of x {shape}, {dtype}, eps {eps:.2f}"
    mistakes = backward_mistakes(dout, x, weight, *saved, eps)
    hold_gradients(got, torch_gradients(theirs, wide, dout.double()), of, mistakes if shape[1] > 1 else {}, dtype)


@part("batch_norm_backward")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3, 4), (1, 3)], ids=str)
def test_batch_norm_backward_in_evaluation(attempt, draw, shape, dtype):
    """In evaluation the statistics are constants, and not those of x."""
    x, weight, _ = channels(draw, shape, dtype)
    dout = draw.normal(*shape, dtype=x.dtype)
    saved = draw.normal(shape[1], dtype=x.dtype), draw.uniform(shape[1], low=0.5, high=2.0, dtype=x.dtype)
    eps = draw.random.uniform(0.1, 0.5)
    got = attempt.batch_norm_backward(dout, x, weight, *saved, eps, training=False)
    wide = [t.double() for t in saved]
    theirs = lambda x, weight, bias: F.batch_norm(x, *wide, weight, bias, False, 0.1, eps)
    want = torch_gradients(theirs, [t.double() for t in (x, weight, weight)], dout.double())
    mistakes = backward_mistakes(dout, x, weight, *saved, eps)
    right = "constant statistics: dout · weight / root alone"
    known = {
        "the formula of training": lambda: (
            mistakes["no path through the mean"]() + mistakes["no path through the variance"]() - mistakes[right]()
        )
    }
    hold_gradients(got, want, f"batch_norm_backward of x {shape} in evaluation, {dtype}", known, dtype)


@part("batch_norm_backward")
def test_batch_norm_backward_by_default(attempt, draw):
    """Without options eps is 1e-5 and it is training."""
    x, weight, _ = channels(draw, (5, 3))
    x, dout = 0.01 * x, draw.normal(5, 3)
    got = attempt.batch_norm_backward(dout, x, weight, x.mean(dim=0), x.var(dim=0, unbiased=False))
    want = torch_gradients(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, weight, weight], dout)
    hold_gradients(got, want, "batch_norm_backward of x (5, 3), no options", {}, "float64")


@part("batch_norm")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_batch_norm_with_hardly_an_eps(attempt, draw, eps, training):
    """eps is what is given, also 0, or less than any default."""
    x, weight, bias = channels(draw, (4, 3, 2))
    x, running = x * 1e-5, (draw.normal(3, scale=1e-5), draw.uniform(3, low=1e-10, high=4e-10))
    own = eps or 1e-40  # torch refuses 0 in training
    want = F.batch_norm(x, *(t.clone() for t in running), weight, bias, training, eps=own)
    of = f"batch_norm of x (4, 3, 2) with deviation 1e-5, eps {eps:g}, training={training}"
    agree(attempt.batch_norm(x, weight, bias, *running, training, eps=eps)[0], want, axes="n c l", of=of)


@part("batch_norm_backward")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_batch_norm_backward_with_hardly_an_eps(attempt, draw, eps, training):
    """eps is what is given, also 0, or less than any default."""
    x, weight, bias = channels(draw, (4, 3, 2))
    x, dout = x * 1e-5, draw.normal(4, 3, 2)
    mean, var = x.mean(dim=(0, 2)), x.var(dim=(0, 2), unbiased=False)
    given = (None, None, True) if training else (mean, var, False)

    def theirs(x, weight, bias):
        mean, var, training = given
        return F.batch_norm(x, mean, var, weight, bias, training, eps=eps or 1e-40)  # torch refuses 0

    of = f"batch_norm_backward of x (4, 3, 2) with deviation 1e-5, eps {eps:g}, training={training}"
    got = attempt.batch_norm_backward(dout, x, weight, mean, var, eps, training)
    want = torch_gradients(theirs, [x, weight, bias], dout)
    agree(tuple(got), tuple(want), of=f"(dx, dweight, dbias) of {of}", tol=1e-6)


@part("batch_norm_backward")
def test_batch_norm_backward_beside_a_large_mean(attempt, draw):
    """In float32 a mean of 10,000 does not eat up a deviation of 1."""
    x, dout = draw.normal(60, 3, dtype=torch.float32) + 1e4, draw.normal(60, 3, dtype=torch.float32)
    weight, wide = draw.normal(3, dtype=torch.float32), x.double()
    mean, var = wide.mean(dim=0).float(), wide.var(dim=0, unbiased=False).float()
    normal = (x - mean).double() / (var.double() + 1e-5).sqrt()
    of = "dweight of batch_norm_backward, of float32 values around 1e4 with deviation 1"
    got = attempt.batch_norm_backward(dout, x, weight, mean, var, training=False)
    agree(got[1], (dout.double() * normal).sum(dim=0).float(), axes="c", of=of, tol=1e-4)


@part("batch_norm_backward")
def test_batch_norm_backward_is_written_out(attempt, draw):
    """A channel of 40,000 values takes fixed passes, and none of torch's own backward operators."""
    x, weight, _ = channels(draw, (200, 2, 10, 20))
    dout = draw.normal(200, 2, 10, 20)
    saved = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    got, cost = attempt.cost("batch_norm_backward", dout, x, weight, *saved)
    want = torch_gradients(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, weight, weight], dout)
    hold_gradients(got, want, "batch_norm_backward of x (200, 2, 10, 20)", {}, "float64")
    hold_written_out(cost, x)


@part("batch_norm_backward")
def test_other_gradients_of_a_batch_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (draw.normal(5, 3), draw.normal(5, 3), draw.normal(3), draw.normal(3), draw.uniform(3, low=0.1), 0.1, False)
        for _ in range(2)
    ]
    hold_again(
        attempt,
        reference,
        "batch_norm_backward",
        *asked,
        of="batch_norm_backward of (5, 3), in evaluation",
        views=False,
    )


def hold_written_out(cost, x):
    found = [name for name in cost.calls if "norm_backward" in name]
    assert not found, f"{', '.join(found)} is what this part is there to write"
    of = f"largest tensor, in elements, for an x of {x.numel():,}: fixed passes need none so large"
    at_most(cost.largest, 2 * x.numel(), of=of)


# --- layer_norm_backward ----------------------------------------------------------------------------------------------


def layer_backward_mistakes(dout, x, weight, eps):
    root = (x.var(dim=-1, keepdim=True, unbiased=False) + eps).sqrt()
    normal = (x - x.mean(dim=-1, keepdim=True)) / root
    average = lambda t: t.mean(dim=-1, keepdim=True)
    h = dout * weight
    return {
        "the weight put on after the means, as in BatchNorm": lambda: (
            weight * (dout - average(dout) - normal * average(dout * normal)) / root
        ),
        "constant statistics: dout · weight / root alone": lambda: h / root,
        "no path through the variance": lambda: (h - average(h)) / root,
        "no path through the mean": lambda: (h - normal * average(h * normal)) / root,
        "no weight": lambda: (dout - average(dout) - normal * average(dout * normal)) / root,
        "RMSNorm's gradient": lambda: (
            h / average(x**2).add(eps).sqrt() - x * average(h * x) / average(x**2).add(eps).sqrt() ** 3
        ),
    }


@part("layer_norm_backward")
def test_layer_norm_backward_by_hand(attempt):
    """x = [0, 1, 2], eps 1/3, dout = [1, 0, 0], weight [3, 5, 7]: h is [3, 0, 0], dx is [1, -1, 0]."""
    kind = torch.float64
    x, dout = torch.tensor([[0.0, 1.0, 2.0]], dtype=kind), torch.tensor([[1.0, 0.0, 0.0]], dtype=kind)
    weight = torch.tensor([3.0, 5.0, 7.0], dtype=kind)
    got = attempt.layer_norm_backward(dout, x, weight, 1 / 3)
    want = [[[1.0, -1.0, 0.0]], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    mistakes = layer_backward_mistakes(dout, x, weight, 1 / 3)
    of = "layer_norm_backward of x [0, 1, 2], dout [1, 0, 0], weight [3, 5, 7], eps 1/3"
    hold_gradients(got, [torch.tensor(w, dtype=kind) for w in want], of, mistakes, "float64")


@part("layer_norm_backward")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 5), (3, 7, 11), (2, 2, 3, 5), (13,), (1, 6)], ids=str)
def test_layer_norm_backward_of_any_shape(attempt, draw, shape, dtype):
    """dx is what autograd finds; dweight and dbias are sums over all axes but the last."""
    x, weight, _ = vectors(draw, shape, dtype)
    dout = turned(draw.normal(*shape[::-1], dtype=x.dtype))
    eps = draw.random.uniform(0.1, 0.5)
    got = attempt.layer_norm_backward(dout, x, weight, eps)
    theirs = lambda x, weight, bias: F.layer_norm(x, shape[-1:], weight, bias, eps)
    want = torch_gradients(theirs, [t.double() for t in (x, weight, weight)], dout.double())
    of = f"layer_norm_backward of x {shape}, {dtype}, eps {eps:.2f}"
    hold_gradients(got, want, of, layer_backward_mistakes(dout, x, weight, eps), dtype)


@part("layer_norm_backward")
def test_layer_norm_backward_by_default(attempt, draw):
    """Without eps it is 1e-5; a vector of equal values gives finite gradients."""
    x, weight, _ = vectors(draw, (4, 5))
    x, dout = 0.01 * x, draw.normal(4, 5)
    x[2] = 3.0
    want = torch_gradients(lambda x, w, b: F.layer_norm(x, (5,), w, b), [x, weight, weight], dout)
    of = "layer_norm_backward of x (4, 5) with a constant row, eps not given"
    hold_gradients(attempt.layer_norm_backward(dout, x, weight), want, of, {}, "float64")


@part("layer_norm_backward")
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_layer_norm_backward_with_hardly_an_eps(attempt, draw, eps):
    """eps is what is given, also 0, or less than any default."""
    x, weight, bias = vectors(draw, (4, 5))
    x, dout = x * 1e-5, draw.normal(4, 5)
    want = torch_gradients(lambda *leaves: F.layer_norm(leaves[0], (5,), *leaves[1:], eps), [x, weight, bias], dout)
    of = f"layer_norm_backward of x (4, 5) with deviation 2e-5, eps {eps:g}"
    agree(tuple(attempt.layer_norm_backward(dout, x, weight, eps)), tuple(want), of=f"(dx, dweight, dbias) of {of}")


@part("layer_norm_backward")
def test_layer_norm_backward_beside_a_large_mean(attempt, draw):
    """In float32 a mean of 10,000 does not eat up a deviation of 1."""
    x, weight = draw.normal(5, 101, dtype=torch.float32) + 1e4, draw.normal(101, dtype=torch.float32)
    dout = draw.normal(5, 101, dtype=torch.float32)
    theirs = lambda x, weight, bias: F.layer_norm(x, (101,), weight, bias)
    want = torch_gradients(theirs, [t.double() for t in (x, weight, weight)], dout.double())
    of = "layer_norm_backward of float32 values around 1e4 with deviation 1"
    hold_gradients(attempt.layer_norm_backward(dout, x, weight), want, of, {}, "float32", tol=5e-3)


@part("layer_norm_backward")
def test_layer_norm_backward_is_written_out(attempt, draw):
    """Vectors of 20,000 features take fixed passes, and none of torch's own backward operators."""
    x, weight, _ = vectors(draw, (3, 20_000))
    dout = draw.normal(3, 20_000)
    got, cost = attempt.cost("layer_norm_backward", dout, x, weight)
    want = torch_gradients(lambda x, w, b: F.layer_norm(x, (20_000,), w, b), [x, weight, weight], dout)
    hold_gradients(got, want, "layer_norm_backward of x (3, 20,000)", {}, "float64")
    hold_written_out(cost, x)


@part("layer_norm_backward")
def test_other_gradients_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(4, 5), draw.normal(4, 5), draw.normal(5), 0.1) for _ in range(2)]
    hold_again(attempt, reference, "layer_norm_backward", *asked, of="layer_norm_backward of (4, 5)", views=False)


# --- group_norm -------------------------------------------------------------------------------------------------------


def group_mistakes(x, groups, weight, bias, eps):
    n, c = x.shape[:2]
    w, b = spread(weight, x), spread(bias, x)
    strided = x.reshape(n, c // groups, groups, -1)
    mean, var = strided.mean(dim=(1, 3), keepdim=True), strided.var(dim=(1, 3), keepdim=True, unbiased=False)
    whole = x.reshape(n, groups, -1)
    k = whole.shape[-1]
    return {
        "groups of channels that are `groups` apart": lambda: (
            ((strided - mean) / (var + eps).sqrt()).reshape(x.shape) * w + b
        ),
        "groups of that many channels": lambda: F.group_norm(x, c // groups, weight, bias, eps),
        "one mean for all channels (LayerNorm)": lambda: F.group_norm(x, 1, weight, bias, eps),
        "a mean for each channel (InstanceNorm)": lambda: F.group_norm(x, c, weight, bias, eps),
        "the unbiased variance": lambda: (
            by_hand(
                whole,
                whole.mean(-1, keepdim=True),
                whole.var(-1, keepdim=True, unbiased=False) * k / (k - 1),
                1,
                0,
                eps,
            ).view(x.shape)
            * w
            + b
        ),
        "statistics over the batch as well": lambda: (
            by_hand(
                whole, whole.mean((0, 2), keepdim=True), whole.var((0, 2), keepdim=True, unbiased=False), 1, 0, eps
            ).view(x.shape)
            * w
            + b
        ),
        "no weight and no bias": lambda: F.group_norm(x, groups, eps=eps),
    }


@part("group_norm")
def test_group_norm_by_hand(attempt):
    """[1, 3, 5, 5] in two groups, eps 3: [-1/2, 1/2, 0, 0]; weight and bias belong to channels."""
    x = torch.tensor([[1.0, 3.0, 5.0, 5.0]], dtype=torch.float64)
    weight, bias = torch.tensor([2.0, 4.0, 6.0, 8.0]).double(), torch.tensor([0.0, 10.0, 20.0, 30.0]).double()
    want = torch.tensor([[-1.0, 12.0, 20.0, 30.0]], dtype=torch.float64)
    of = "group_norm of [[1, 3, 5, 5]], 2 groups, weight [2, 4, 6, 8], bias [0, 10, 20, 30], eps 3"
    agree(attempt.group_norm(x, 2, weight, bias, 3.0), want, axes="n c", of=of)


@part("group_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((2, 6, 5), 2),
        ((3, 6, 2, 5), 3),
        ((2, 12, 3), 3),
        ((4, 6), 2),
        ((2, 5, 7), 1),
        ((3, 4, 2, 3), 4),
        ((1, 6, 2, 2, 3), 2),
    ],
    ids=str,
)
def test_group_norm_of_any_shape(attempt, draw, shape, groups, dtype):
    """An example's neighbouring channels share a mean and a biased variance; one group, and c groups, are cases."""
    x, weight, bias = channels(draw, shape, dtype)
    eps = draw.random.uniform(0.3, 1.0)
    want = F.group_norm(x.double(), groups, weight.double(), bias.double(), eps).to(x.dtype)
    known = told_apart(group_mistakes(x, groups, weight, bias, eps), want)
    of = f"group_norm of x {shape} in {groups} groups, {dtype}, eps {eps:.2f}"
    agree(attempt.group_norm(x, groups, weight, bias, eps), want, of=of, known=known)


@part("group_norm")
def test_group_norm_by_default(attempt, draw):
    """Without eps it is 1e-5; a group of one value becomes the bias."""
    x, weight, bias = channels(draw, (3, 6, 4))
    x = 0.01 * x
    want = F.group_norm(x, 3, weight, bias, 1e-5)
    agree(attempt.group_norm(x, 3, weight, bias), want, of="group_norm of x (3, 6, 4) in 3 groups, eps not given")
    x = draw.normal(3, 6)
    of = "group_norm of x (3, 6) in 6 groups"
    agree(attempt.group_norm(x, 6, weight, bias), bias.expand(3, 6), axes="n c", of=of)


@part("group_norm")
@pytest.mark.parametrize("groups", [0, 4, 7, -2])
def test_group_norm_refuses(attempt, draw, groups):
    """A number of groups that does not divide the channels, or is not positive, is a ValueError."""
    x, weight, bias = channels(draw, (2, 6, 5))
    with refusal(ValueError, of=f"group_norm of 6 channels in {groups} groups"):
        attempt.group_norm(x, groups, weight, bias)


@part("group_norm")
def test_group_norm_in_float32_and_half(attempt, draw):
    """A mean of 10,000 does not eat up a deviation of 1, and float16 is widened before it is squared."""
    weight, bias = draw.normal(6), draw.normal(6)
    x = draw.normal(2, 6, 40, dtype=torch.float32) + 1e4
    want = F.group_norm(x.double(), 2, weight, bias).float()
    of = "group_norm of float32 values around 1e4 with deviation 1"
    agree(attempt.group_norm(x, 2, weight.float(), bias.float()), want, axes="n c l", of=of, tol=5e-3)
    x = draw.normal(2, 6, 100, scale=300.0, dtype=torch.float16) + 400
    weight, bias = weight.half(), bias.half()
    want = F.group_norm(x.double(), 2, weight.double(), bias.double())
    of = "group_norm of float16 values around 400 with deviation 300"
    got = attempt.group_norm(x, 2, weight, bias)
    agree(got, want.half(), axes="n c l", of=of, tol=5e-3)
    hold_rounded_once(got, want, of)


@part("group_norm")
@pytest.mark.parametrize("eps", [0.0, 1e-12])
def test_group_norm_with_hardly_an_eps(attempt, draw, eps):
    """eps is what is given, also 0, or less than any default."""
    x, weight, bias = channels(draw, (2, 6, 4))
    x, of = x * 1e-5, f"group_norm of x (2, 6, 4) with deviation 2e-5, eps {eps:g}"
    agree(attempt.group_norm(x, 2, weight, bias, eps), F.group_norm(x, 2, weight, bias, eps), axes="n c l", of=of)


@part("group_norm")
def test_group_norm_gradients(attempt, draw):
    """Gradients flow to x, weight and bias, through the mean and the variance."""
    x, weight, bias = channels(draw, (3, 6, 5))
    g = draw.normal(3, 6, 5)
    out, got = attempt.gradients("group_norm", x, 2, weight, bias, upstream=g)
    agree(out, F.group_norm(x, 2, weight, bias), of="group_norm of x (3, 6, 5) where gradients are needed")
    want = torch_gradients(lambda x, w, b: F.group_norm(x, 2, w, b), [x, weight, bias], g)
    for i, name in ((0, "x"), (2, "weight"), (3, "bias")):
        agree(got[i], want[i and i - 1], of=f"the gradient of {name} through group_norm of x (3, 6, 5)")


@part("group_norm")
def test_other_groups_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 6, 5), 2, draw.normal(6), draw.normal(6), 0.3) for _ in range(2)]
    hold_again(attempt, reference, "group_norm", *asked, of="group_norm of (2, 6, 5)", views=False)


# --- merge_moments ----------------------------------------------------------------------------------------------------


def moments(shares):
    """(counts, means, variances) of a list of (k, c) values, and those of all of them together."""
    wide = [share.double() for share in shares]
    pooled = torch.cat(wide)
    told = [len(s) for s in shares], torch.stack([s.mean(0) for s in wide]), torch.stack([biased(s) for s in wide])
    return told, (len(pooled), pooled.mean(0), biased(pooled))


def biased(values):
    return (values - values.mean(0)).square().mean(0)


@part("merge_moments")
def test_merge_by_hand(attempt):
    """[1, 3] and [5]: count 3, mean 3, variance 8/3."""
    means, variances = torch.tensor([[2.0], [5.0]]).double(), torch.tensor([[1.0], [0.0]]).double()
    got = attempt.merge_moments([2, 1], means, variances)
    want = (3, torch.tensor([3.0]).double(), torch.tensor([8 / 3], dtype=torch.float64))
    of = "merge_moments of (2 values, mean 2, variance 1) and (1 value, mean 5, variance 0)"
    one = lambda *found: (3, *(torch.tensor([x], dtype=torch.float64) for x in found))
    known = {
        "means that are not weighted": one(3.5, 0.5),
        "variances without the means' own": one(3.0, 2 / 3),
        "an unbiased variance": one(3.0, 4.0),
    }
    agree(got, want, axes="c", of=of, known=known)


@part("merge_moments")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 5), (1, 1), (4, 1, 7, 2), (6,), (2, 2, 2), (1,)], ids=str)
def test_merge_is_the_whole_batch(attempt, draw, sizes, dtype):
    """Merged moments are those of all values together, however unlike the shares are."""
    shares = [draw.normal(k, 5, scale=draw.random.uniform(0.5, 3.0)) + draw.normal(5, scale=2.0) for k in sizes]
    (counts, means, variances), want = moments(shares)
    kind = of_type(dtype)
    got = attempt.merge_moments(counts, means.to(kind), variances.to(kind))
    k = torch.tensor(counts).double()[:, None]
    mean = (k * means).sum(0) / k.sum()
    known = {
        "means and variances averaged without weights": (want[0], means.mean(0), variances.mean(0)),
        "variances without the means' own": (want[0], mean, (k * variances).sum(0) / k.sum()),
        "the means' own variance without weights": (
            want[0], mean, (k * variances).sum(0) / k.sum() + (means - mean).square().mean(0)
        ),
        "an unbiased variance": (want[0], mean, want[2] * want[0] / (want[0] - 1)),
    }  # fmt: skip
    known = {n: v for n, v in known.items() if not all(map(torch.allclose, v[1:], want[1:]))}
    of = f"merge_moments of shares with {list(sizes)} values, 5 channels, {dtype}"
    agree(got, (want[0], want[1].to(kind), want[2].to(kind)), axes="c", of=of, known=known)


@part("merge_moments")
def test_merge_in_any_order_and_tree(attempt, draw):
    """Merging what was merged gives the same, in whatever order."""
    shares = [draw.normal(k, 3) + 3 * i for i, k in enumerate((2, 5, 1, 4))]
    _, want = moments(shares)
    pairs = []
    for order in ((3, 1), (0, 2)):
        (counts, means, variances), whole = moments([shares[i] for i in order])
        got = attempt.merge_moments(counts, means, variances)
        agree(got, whole, axes="c", of=f"merge_moments of shares with {counts} values, 3 channels")
        pairs.append(got)
    got = attempt.merge_moments(
        [pair[0] for pair in pairs], torch.stack([p[1] for p in pairs]), torch.stack([p[2] for p in pairs])
    )
    agree(got, want, axes="c", of="merge_moments of what two calls of merge_moments gave")


@part("merge_moments")
def test_merge_beside_a_large_mean(attempt, draw):
    """In float32 means of 10,000 do not eat up variances of 1."""
    shares = [draw.normal(k, 3) + 1e4 for k in (40, 70, 11)]
    (counts, means, variances), want = moments(shares)
    got = attempt.merge_moments(counts, means.float(), variances.float())
    of = "merge_moments of float32 moments of values around 1e4 with deviation 1"
    agree(got[0], want[0], of=f"the count of {of}")
    agree(got[1], want[1].float(), axes="c", of=f"the mean of {of}")
    agree(got[2], want[2].float(), axes="c", of=f"the variance of {of}", tol=5e-3)


@part("merge_moments")
@pytest.mark.parametrize("rest", [0.0, math.nan, math.inf], ids=str)
def test_merge_leaves_out_empty_shares(attempt, draw, rest):
    """A share with count 0 counts for nothing, whatever stands in its row."""
    (counts, means, variances), want = moments([draw.normal(4, 3), draw.normal(2, 3) + 1])
    empty = torch.full((1, 3), rest, dtype=torch.float64)
    means, variances = torch.cat([means[:1], empty, means[1:]]), torch.cat([variances[:1], empty, variances[1:]])
    got = attempt.merge_moments([counts[0], 0, counts[1]], means, variances)
    agree(got, want, axes="c", of=f"merge_moments of shares with 4, 0 and 2 values, {rest} in the row of the empty one")


@part("merge_moments")
@pytest.mark.parametrize("counts", [[], [0], [0, 0]], ids=str)
def test_merge_refuses_nothing_at_all(attempt, counts):
    """No share, or only empty ones, is a ValueError."""
    rows = torch.zeros(len(counts), 3)
    with refusal(ValueError, of=f"merge_moments with counts {counts}"):
        attempt.merge_moments(counts, rows, rows)


@part("merge_moments")
def test_merge_counts_beyond_32_bits(attempt, draw):
    """A count is a Python integer, of any size."""
    counts, means, variances = [2**31, 2**33], draw.normal(2, 3), draw.uniform(2, 3)
    mean = (means[0] + 4 * means[1]) / 5
    spread = variances + (means - mean).square()
    want = (5 * 2**31, mean, (spread[0] + 4 * spread[1]) / 5)
    agree(tuple(attempt.merge_moments(counts, means, variances)), want, of="merge_moments of 2^31 and 2^33 values")


@part("merge_moments")
def test_other_shares_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [([3, 5], draw.normal(2, 5), draw.uniform(2, 5)) for _ in range(2)]
    hold_again(attempt, reference, "merge_moments", *asked, of="merge_moments of 2 shares, 5 channels", views=False)


# --- fold_batch_norm --------------------------------------------------------------------------------------------------


def folding(draw, shape, dtype="float64", with_bias=True):
    kind, o = of_type(dtype), shape[0]
    w = turned(draw.normal(*shape[::-1], dtype=kind))
    b = draw.normal(o, dtype=kind) if with_bias else None
    norm = draw.normal(o, dtype=kind), draw.normal(o, dtype=kind), draw.normal(o, dtype=kind)
    return w, b, (*norm, draw.uniform(o, low=0.2, high=3.0, dtype=kind))


@part("fold_batch_norm")
def test_fold_by_hand(attempt):
    """w = 3, b = 1, statistics 5 and 4, weight 8, bias 7, eps 0: 12 and -9; without b, -13."""
    value = lambda x: torch.tensor([x], dtype=torch.float64)
    norm = value(8.0), value(7.0), value(5.0), value(4.0)
    of = "fold_batch_norm of w 3, b {}, weight 8, bias 7, running mean 5, running variance 4, eps 0"
    got = attempt.fold_batch_norm(value(3.0)[None], value(1.0), *norm, 0.0)
    agree(got, (value(12.0)[None], value(-9.0)), of=of.format(1), known={
        "a bias of the layer that is not scaled": (value(12.0)[None], value(7.0 + 1 - 20)),
        "the variance without its root": (value(6.0)[None], value(7.0 - 8)),
        "a running mean that is not taken off": (value(12.0)[None], value(11.0)),
    })  # fmt: skip
    got = attempt.fold_batch_norm(value(3.0)[None], None, *norm, 0.0)
    agree(got, (value(12.0)[None], value(-13.0)), of=of.format(None))


@part("fold_batch_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (4, 2, 3, 5), (3, 3)], ids=str)
def test_folded_layer_does_both(attempt, draw, shape, with_bias, dtype):
    """For every input the folded layer gives what the layer and its BatchNorm give in evaluation."""
    w, b, norm = folding(draw, shape, dtype, with_bias)
    eps = draw.random.uniform(0.1, 0.5)
    got = attempt.fold_batch_norm(w, b, *norm, eps)
    assert len(got) == 2, f"fold_batch_norm returned {len(got)} values, not (w, b)"
    agree(list(got[0].shape), list(shape), of=f"the shape of w' from w {shape}")
    agree(
        got[1].dtype == w.dtype and got[0].dtype == w.dtype, True, of=f"whether w' and b' have the dtype {dtype} of w"
    )
    layer = [F.linear, F.conv1d, F.conv2d][len(shape) - 2]
    x = draw.normal(2, *shape[1:]) if len(shape) == 2 else draw.normal(2, shape[1], *[s + 3 for s in shape[2:]])
    wide = [t.double() for t in norm]
    want = F.batch_norm(
        layer(x, w.double(), None if b is None else b.double()), wide[2], wide[3], *wide[:2], False, 0, eps
    )
    result = layer(x, got[0].double(), got[1].double())
    of = f"the folded layer on random inputs, w {shape}, {'b' if with_bias else 'no b'}, {dtype}, eps {eps:.2f}"
    agree(result, want, of=of, tol=1e-9 if dtype == "float64" else 1e-4)


@part("fold_batch_norm")
def test_fold_by_default(attempt, draw):
    """Without eps it is 1e-5."""
    w, b, (weight, bias, mean, var) = folding(draw, (4, 3))
    var = 1e-5 * var
    scale = weight / (var + 1e-5).sqrt()
    want = (w * scale[:, None], (b - mean) * scale + bias)
    of = "fold_batch_norm of w (4, 3), running variances about 1e-5, eps not given"
    agree(attempt.fold_batch_norm(w, b, weight, bias, mean, var), want, of=of)


@part("fold_batch_norm")
def test_other_layers_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (draw.normal(4, 3), draw.normal(4), draw.normal(4), draw.normal(4), draw.normal(4), draw.uniform(4, low=0.1))
        for _ in range(2)
    ]
    hold_again(attempt, reference, "fold_batch_norm", *asked, of="fold_batch_norm of w (4, 3)", views=False)


# --- layer_to_rms -----------------------------------------------------------------------------------------------------


def chain(draw, i, d, o, dtype="float64"):
    kind = of_type(dtype)
    shapes = ((d, i), (d,), (d,), (d,), (o, d), (o,))
    return [turned(draw.normal(*shape[::-1], dtype=kind)) for shape in shapes]


def rms_chain(x, w_in, b_in, weight, w_out, b_out, eps):
    return rms(x @ w_in.T + b_in, weight, eps) @ w_out.T + b_out


def layer_chain(x, w_in, b_in, weight, bias, w_out, b_out, eps):
    return F.layer_norm(x @ w_in.T + b_in, weight.shape, weight, bias, eps) @ w_out.T + b_out


@part("layer_to_rms")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 5, 2), (7, 4, 6), (1, 11, 3), (5, 2, 5)], ids=str)
def test_conversion_is_exact(attempt, draw, sizes, dtype):
    """For every x and eps the RMSNorm between the new layers gives what the LayerNorm between the old ones gave."""
    given = chain(draw, *sizes, dtype)
    got = attempt.layer_to_rms(*given)
    assert len(got) == 5, f"layer_to_rms returned {len(got)} values, not (w_in, b_in, weight, w_out, b_out)"
    for name, new, old in zip(("w_in", "b_in", "weight", "w_out", "b_out"), got, [*given[:3], *given[4:]], strict=True):
        agree(list(new.shape), list(old.shape), of=f"the shape of {name}' for sizes (i, d, o) = {sizes}")
        assert new.dtype == old.dtype, f"{name}' is {new.dtype}, expected {old.dtype}"
    wide, new = [t.double() for t in given], [t.double() for t in got]
    for size, eps in ((1.0, 1e-5), (0.1, 0.7), (30.0, 1e-3)):
        x = draw.normal(13, sizes[0], scale=size) + draw.normal(sizes[0])
        w_in, b_in, weight, bias, w_out, b_out = wide
        centred = w_in - w_in.mean(0), b_in - b_in.mean()
        known = {
            "only the bias moved, the vectors not centred": lambda x=x, eps=eps: rms_chain(
                x, w_in, b_in, weight, w_out, b_out + w_out @ bias, eps  # noqa: B023
            ),
            "the bias of the norm dropped": lambda x=x, eps=eps: rms_chain(x, *centred, weight, w_out, b_out, eps),  # noqa: B023
            "w_in centred along its inputs": lambda x=x, eps=eps: rms_chain(
                x, w_in - w_in.mean(1, keepdim=True), centred[1], weight, w_out, b_out + w_out @ bias, eps  # noqa: B023
            ),
            "a b_in that was not centred": lambda x=x, eps=eps: rms_chain(
                x, centred[0], b_in, weight, w_out, b_out + w_out @ bias, eps  # noqa: B023
            ),
            "the bias added as if it had the weight": lambda x=x, eps=eps: rms_chain(
                x, *centred, weight, w_out, b_out + w_out @ (weight * bias), eps  # noqa: B023
            ),
        }  # fmt: skip
        want = layer_chain(x, *wide, eps)
        of = f"the converted chain on 13 inputs of size {size:g}, (i, d, o) = {sizes}, eps {eps:g}, {dtype}"
        agree(rms_chain(x, *new, eps), want, axes="n o", of=of, tol=1e-9 if dtype == "float64" else 1e-3, known=known)


@part("layer_to_rms")
def test_other_layers_of_that_size_become_their_own(attempt, draw):
    """Each call takes its own layers, whatever comes before and after in the same sizes."""
    sizes = ((5, 3), (5,), (5,), (5,), (2, 5), (2,))
    layers, *others = ([draw.normal(*size) for size in sizes] for _ in range(3))
    x, (w_in, b_in, weight, bias, w_out, b_out) = draw.normal(7, 3), layers
    h = x @ w_in.T + b_in
    h = h - h.mean(-1, keepdim=True)
    want = (h * h.square().mean(-1, keepdim=True).rsqrt() * weight + bias) @ w_out.T + b_out
    got = attempt.run(drivers.through_rms, x, *layers, others=others)
    agree(got, want, axes="n o", of="layers from layer_to_rms, called between others of the same sizes, at eps 0")


# --- weight_norm ------------------------------------------------------------------------------------------------------


@part("weight_norm")
def test_weight_norm_by_hand(attempt):
    """(3, 4) with g 10 is (6, 8)."""
    v, g = torch.tensor([[3.0, 4.0], [0.0, -2.0]]).double(), torch.tensor([10.0, 1.0]).double()
    want = torch.tensor([[6.0, 8.0], [0.0, -1.0]]).double()
    known = {
        "one norm for all rows": v * g[:, None] / v.norm(),
        "norms of the columns": v * g[:, None] / v.norm(dim=0),
        "a division by the squared norm": v * g[:, None] / v.square().sum(1, keepdim=True),
        "directions alone": v / v.norm(dim=1, keepdim=True),
    }
    agree(attempt.weight_norm(v, g), want, axes="o i", of="weight_norm of [[3, 4], [0, -2]] and [10, 1]", known=known)


@part("weight_norm")
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 7), (2, 3, 2, 5), (6, 1)], ids=str)
def test_weight_norm_of_any_shape(attempt, draw, shape, dtype):
    """Each row, with all axes behind the first, gets the length |g| and keeps its direction."""
    size = 300.0 if dtype == "float16" else 2.0
    v = turned(draw.normal(*shape[::-1], scale=size, dtype=of_type(dtype)))
    g = draw.normal(shape[0], dtype=of_type(dtype))
    rows = v.double().flatten(1)
    want = (rows / rows.norm(dim=1, keepdim=True) * g.double()[:, None]).view(shape).to(v.dtype)
    agree(attempt.weight_norm(v, g), want, of=f"weight_norm of v {shape} in {dtype}")


@part("weight_norm")
def test_weight_norm_in_half_precision(attempt, draw):
    """float16 is widened for all that is computed, and rounded at the end."""
    v, g = draw.normal(4, 200, scale=300.0, dtype=torch.float16), draw.normal(4, scale=50.0, dtype=torch.float16)
    rows = v.double()
    got = attempt.weight_norm(v, g)
    want = rows / rows.norm(dim=1, keepdim=True) * g.double()[:, None]
    agree(got, want.half(), axes="o i", of="weight_norm of v (4, 200) in float16", tol=5e-3)
    hold_rounded_once(got, want, "weight_norm of v (4, 200)")


@part("weight_norm")
@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_weight_norm_of_rows_of_any_length(attempt, draw, size):
    """The length of a row is what it is, however short: no eps, and no bound."""
    v, g, dw = draw.normal(5, 3, scale=size), draw.normal(5), draw.normal(5, 3)
    length = v.norm(dim=1, keepdim=True)
    along = (dw * v / length).sum(dim=1, keepdim=True)
    of = f"of v (5, 3) with deviation {size:g}"
    agree(attempt.weight_norm(v, g), g[:, None] * v / length, axes="o i", of=f"weight_norm {of}")
    want = (g[:, None] / length * (dw - along * v / length) * size, along[:, 0])
    dv, dg = attempt.weight_norm_backward(dw, v, g)
    agree((dv * size, dg), want, of=f"(dv times {size:g}, dg) of weight_norm_backward {of}")


@part("weight_norm")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 7), (2, 3, 2, 5), (6, 2)], ids=str)
def test_weight_norm_backward(attempt, draw, shape, dtype):
    """dg is the part of dw along the direction, dv the rest: what autograd finds."""
    kind = of_type(dtype)
    v, g = turned(draw.normal(*shape[::-1], dtype=kind)), draw.normal(shape[0], dtype=kind)
    dw = turned(draw.normal(*shape[::-1], dtype=kind))

    def theirs(v, g):
        rows = v.flatten(1)
        return (g[:, None] * rows / rows.square().sum(1, keepdim=True).sqrt()).view(shape)

    dv, dg = torch_gradients(theirs, [v.double(), g.double()], dw.double())
    length = v.flatten(1).norm(dim=1).view(-1, *[1] * (len(shape) - 1))
    known = {
        "no path through the norm": lambda: dw * g.view(length.shape) / length,
        "a dv along which g was forgotten": lambda: dv / g.view(length.shape),
    }
    got = attempt.weight_norm_backward(dw, v, g)
    of = f"weight_norm_backward of v {shape}, {dtype}"
    agree(got[0], dv.to(kind), of=f"dv of {of}", known=told_apart(known, dv) if shape[1] > 1 else None)
    agree(got[1], dg.to(kind), axes="o", of=f"dg of {of}")


@part("weight_norm")
def test_other_rows_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(5, 3), draw.normal(5)) for _ in range(2)]
    hold_again(attempt, reference, "weight_norm", *asked, of="weight_norm of (5, 3)", views=False)
    asked = [(draw.normal(5, 3), draw.normal(5, 3), draw.normal(5)) for _ in range(2)]
    hold_again(attempt, reference, "weight_norm_backward", *asked, of="weight_norm_backward of (5, 3)", views=False)
