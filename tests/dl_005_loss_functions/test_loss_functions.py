"""The hidden checks of dl_005_loss_functions."""

import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again

from . import drivers

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
FAR = [1e4, -1e4, 500.0, -500.0, 30.0, -30.0, 0.0]
NAN = math.nan


def of_type(name):
    return getattr(torch, name)


def strided(draw, *shape, dtype=torch.float64, scale=1.0):
    """A tensor of that shape whose axes lie in memory in the reverse order."""
    return draw.normal(*reversed(shape), dtype=dtype, scale=scale).permute(tuple(reversed(range(len(shape)))))


def gradients(function, inputs, upstream):
    """function(*inputs), and the gradients of upstream times it."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    return out.detach(), list(torch.autograd.grad((out * upstream).sum(), leaves))


def hold_gradients(attempt, target, oracle, inputs, rest, names, of, **options):
    """Hold value and gradients of a loss against the oracle's, for an upstream gradient that is not 1."""
    upstream = torch.tensor(-1.7, dtype=inputs[0].dtype)
    want_out, want = gradients(oracle, inputs, upstream)
    out, got = attempt.gradients(target, *inputs, *rest, upstream=upstream, **options)
    agree(out, want_out, of=of)
    for name, grad, wanted in zip(names, got[: len(names)], want, strict=True):
        agree(grad, wanted, of=f"gradient for {name} of {of}, times -1.7")


def hold_finite(grad, of):
    assert grad is not None, f"{of}: there is none"
    assert torch.isfinite(grad).all(), f"{of}: {int((~torch.isfinite(grad)).sum())} of its entries are NaN or Inf"


def hold_nothing_left(attempt, function, *args, of, grad=True, **options):
    """Hold that no tensor and no graph of a call is left when its result is gone, and give what it returned."""
    said, left, nodes = attempt.run(drivers.left_behind, function, args, options, grad)
    assert not left, f"{of}: {left} tensors are still alive when the result and its gradients are gone"
    assert not nodes, f"{of}: a graph with {nodes} saved tensors is still alive"
    return said


# ----------------------------------------------------------------------------------------------- binary_cross_entropy


def bce(logits, targets, pos_weight=None):
    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight)


def bce_mistakes(z, y, w=None):
    plain = lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none")
    one = torch.ones(()).to(z) if w is None else w
    known = {
        "the sum, not the mean,": plain(z, y).sum(),
        "targets exchanged, 1 - y for y,": bce(z, 1 - y, w),
        "the positive term alone": (one * y * F.softplus(-z)).mean(),
        "log base 2": bce(z, y, w) / math.log(2),
        "a sigmoid applied twice": bce(z.sigmoid(), y, w),
        "squared error": (z.sigmoid() - y).square().mean(),
    }
    if z.dim() > 1:
        known["the sum over the last axis, averaged over the rest,"] = plain(z, y).sum(-1).mean()
    if w is not None:
        known |= {
            "no pos_weight": bce(z, y),
            "pos_weight on the negatives": bce(-z, 1 - y, w),
            "pos_weight on both terms": (w * plain(z, y)).mean(),
            "division by the sum of weights": bce(z, y, w) / (w * y + 1 - y).mean(),
        }
    return {name: value for name, value in known.items() if abs(value - bce(z, y, w)) > 1e-6}


@part("binary_cross_entropy")
@DTYPES
def test_yes_and_no(attempt, draw, dtype):
    """The mean over all entries of -y log σ(z) - (1 - y) log(1 - σ(z)), for any shape, and soft targets too."""
    kind = of_type(dtype)
    for shape in ((7,), (5, 3), (2, 3, 4), (1,), ()):
        z = strided(draw, *shape, dtype=kind, scale=2.0)
        for y in ((draw.uniform(*shape) < 0.4).to(kind), draw.uniform(*shape, dtype=kind)):
            got = attempt.binary_cross_entropy(z, y)
            of = f"binary_cross_entropy of logits {shape} in {dtype}"
            agree(got, bce(z, y), of=of, known=bce_mistakes(z, y))


@part("binary_cross_entropy")
@DTYPES
def test_positives_may_weigh_more(attempt, draw, dtype):
    """pos_weight multiplies the positive term, broadcast to the logits; the mean stays one over the entries."""
    kind = of_type(dtype)
    z, y = draw.normal(5, 3, dtype=kind), draw.uniform(5, 3, dtype=kind)
    for shape in ((3,), (), (5, 3), (5, 1)):
        w = draw.uniform(*shape, low=0.2, high=4.0, dtype=kind)
        got = attempt.binary_cross_entropy(z, y, w)
        of = f"binary_cross_entropy of logits (5, 3), pos_weight {shape}"
        agree(got, bce(z, y, w), of=of, known=bce_mistakes(z, y, w))


@part("binary_cross_entropy")
@DTYPES
def test_logits_of_any_size(attempt, draw, dtype):
    """Logits of ±10,000 give the finite loss that they should, right and wrong ones, and finite gradients."""
    kind = of_type(dtype)
    z, three = torch.tensor(FAR, dtype=kind), torch.tensor(3.0, dtype=kind)
    for y in (torch.zeros_like(z), torch.ones_like(z), draw.uniform(7, dtype=kind)):
        for entry in range(7):
            at = slice(entry, entry + 1)
            got = attempt.binary_cross_entropy(z[at], y[at])
            agree(
                got + 1,
                bce(z[at], y[at]) + 1,
                of=f"1 + binary_cross_entropy of the logit {FAR[entry]:g}, target {y[entry]:.2f}",
            )
        oracle, of = lambda z, y=y: bce(z, y, three), f"binary_cross_entropy of logits {FAR}"
        hold_gradients(attempt, "binary_cross_entropy", oracle, [z], (y, three), ["logits"], of)


@part("binary_cross_entropy")
def test_other_targets_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7), draw.uniform(7)) for _ in range(2)]
    hold_again(attempt, reference, "binary_cross_entropy", *asked, of="binary_cross_entropy of 7 logits", views=False)


@part("binary_cross_entropy")
def test_yes_and_no_leave_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    z, y, w = draw.normal(5, 3), draw.uniform(5, 3), draw.uniform(3, low=0.2, high=4.0)
    of = "binary_cross_entropy of logits (5, 3), with weights"
    agree(hold_nothing_left(attempt, "binary_cross_entropy", z, y, w, of=of), bce(z, y, w), of=of)


# ------------------------------------------------------------------------------------------------------ cross_entropy


def ce(logits, targets, weight=None, ignore=-100):
    """Row after row, with what a row that counts adds."""
    total, loss = 0.0, 0.0 * logits.sum()
    for z, y in zip(logits, targets.tolist(), strict=True):
        if y != ignore:
            w = 1.0 if weight is None else float(weight[y])
            total, loss = total + w, loss + w * (torch.logsumexp(z, 0) - z[y])
    return loss / (total or 1.0)


def ce_mistakes(z, y, weight=None, ignore=-100):
    counts = y != ignore
    c = z.shape[1]
    safe = y.masked_fill(~counts, 0)
    losses = F.cross_entropy(z, safe, reduction="none") * counts
    w = torch.ones(c).to(z) if weight is None else weight
    weighted = losses * w[safe]
    known = {
        "the sum over the examples": weighted.sum(),
        "a mean over n, not over the sum of weights,": weighted.mean(),
        "a softmax applied twice": ce(z.softmax(1), y, weight, ignore),
        "no weights": ce(z, y, None, ignore),
        "a softmax over the batch": -(z.log_softmax(0).gather(1, safe[:, None])[:, 0] * counts * w[safe]).sum()
        / (counts * w[safe]).sum().clamp(min=1e-9),
        "log base 2": ce(z, y, weight, ignore) / math.log(2),
        "minus the logit of the class": -(z.gather(1, safe[:, None])[:, 0] * counts * w[safe]).sum()
        / (counts * w[safe]).sum().clamp(min=1e-9),
    }
    if not counts.all():
        over = counts.sum().clamp(min=1)
        known["a mean over those that count, not over the sum of their weights,"] = weighted.sum() / over
    if 0 <= ignore < c and not counts.all():
        known["targets that are ignore_index, counted,"] = ce(z, y, weight, -100)
    return {name: value for name, value in known.items() if abs(value - ce(z, y, weight, ignore)) > 1e-6}


@part("cross_entropy")
@DTYPES
def test_one_class_of_many(attempt, draw, dtype):
    """The mean over the examples of -log softmax(logits) at the target."""
    kind = of_type(dtype)
    for n, c in ((7, 5), (1, 3), (4, 11), (6, 2)):
        z, y = strided(draw, n, c, dtype=kind, scale=2.0), draw.integers(0, c, n)
        of = f"cross_entropy of logits ({n}, {c}), targets {y.tolist()}"
        agree(attempt.cross_entropy(z, y), ce(z, y), of=of, known=ce_mistakes(z, y))


@part("cross_entropy")
@DTYPES
def test_a_weighted_mean(attempt, draw, dtype):
    """With class weights the loss is the weighted mean: divided by the sum of the weights of the targets."""
    kind = of_type(dtype)
    for n, c in ((8, 5), (3, 4), (1, 2)):
        z, y = draw.normal(n, c, dtype=kind), draw.integers(0, c, n)
        weight = draw.uniform(c, low=0.1, high=5.0, dtype=kind) / (1 if n > 1 else 100)
        of = f"cross_entropy of logits ({n}, {c}) with class weights, targets {y.tolist()}"
        agree(attempt.cross_entropy(z, y, weight), ce(z, y, weight), of=of, known=ce_mistakes(z, y, weight))
        tiny = 1e-12 * weight
        agree(attempt.cross_entropy(z, y, tiny), ce(z, y, tiny), of=f"{of}, the weights about 1e-12")


@part("cross_entropy")
@DTYPES
def test_ignored_targets(attempt, draw, dtype):
    """Targets that are ignore_index count nowhere, whatever number it is, with weights and without."""
    kind = of_type(dtype)
    z, weight = draw.normal(9, 4, dtype=kind), draw.uniform(4, low=0.1, high=5.0, dtype=kind)
    for ignore in (-100, 2, 0, -1, 255):
        y = draw.integers(0, 4, 9)
        y[[1, 4, 8]] = ignore
        y[3] = 3
        for w in (None, weight):
            options = {} if ignore == -100 else {"ignore_index": ignore}
            got = attempt.cross_entropy(z, y, w, **options)
            of = f"cross_entropy, targets {y.tolist()}, ignore_index={ignore}, {'no ' if w is None else ''}weights"
            agree(got, ce(z, y, w, ignore), of=of, known=ce_mistakes(z, y, w, ignore))


@part("cross_entropy")
@DTYPES
def test_nothing_counts(attempt, draw, dtype):
    """Where no target counts, or all weights that count are 0, loss and gradients are 0; with one class, too."""
    kind = of_type(dtype)
    z = draw.normal(3, 4, dtype=kind)
    none, weight = torch.tensor([-100, -100, -100]), torch.tensor([0.0, 2.0, 0.0, 1.0], dtype=kind)
    one, zero = draw.normal(3, 1, dtype=kind), torch.zeros((), dtype=kind)
    cases = [
        ("all targets ignored", z, none, None),
        ("all targets ignored, with weights", z, none, weight),
        ("targets of weight 0 alone", z, torch.tensor([0, 2, -100]), weight),
        ("one class", one, torch.tensor([0, 0, 0]), None),
        ("one class, and a target ignored", one, torch.tensor([0, -100, 0]), None),
    ]
    for name, logits, y, w in cases:
        out, grads = attempt.gradients("cross_entropy", logits, y, w, upstream=torch.tensor(1.0, dtype=kind))
        agree(out, zero, of=f"cross_entropy of {name}")
        got = torch.zeros_like(logits) if grads[0] is None else grads[0]
        agree(got, torch.zeros_like(logits), of=f"gradient of cross_entropy of {name}")


@part("cross_entropy")
@DTYPES
def test_class_logits_of_any_size(attempt, draw, dtype):
    """Logits of ±10,000 give the finite loss that they should."""
    kind = of_type(dtype)
    z = draw.normal(7, 5, dtype=kind) + torch.tensor(FAR, dtype=kind)[:, None]
    z[2, 1], z[3, 4], z[6, 0], z[6, 1] = 1e4, -1e4, 1e4, -1e4
    for targets in ([0, 1, 1, 2, 3, 4, 1], [4, 0, 2, 4, 0, 1, 0]):
        for i, y in enumerate(targets):
            got = attempt.cross_entropy(z[i : i + 1], torch.tensor([y]))
            want = ce(z[i : i + 1], torch.tensor([y]))
            # Near 10,000 a logit in float32 is a multiple of 0.001.
            tol = 5e-3 if dtype == "float32" and want > 1e-2 else None
            shown = ", ".join(f"{v:.6g}" for v in z[i].tolist())
            agree(got + 1, want + 1, of=f"1 + cross_entropy of logits ({shown}), target {y}", tol=tol)


@part("cross_entropy")
def test_class_gradients(attempt, draw):
    """Gradients of the logits are weight · (softmax - onehot) over the sum of weights, 0 where ignored."""
    z, y = draw.normal(7, 5), torch.tensor([3, 0, -100, 4, 3, -100, 1])
    z[0, 1], z[1] = 1e4, z[1] - 1e4
    weight = draw.uniform(5, low=0.1, high=4.0)
    of = f"cross_entropy, targets {y.tolist()}, logits up to ±10,000"
    for w in (None, weight):
        what = f"{of}, {'no ' if w is None else ''}weights"
        hold_gradients(attempt, "cross_entropy", lambda z, w=w: ce(z, y, w), [z], (y, w), ["logits"], what)


@part("cross_entropy")
def test_other_logits_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 5), draw.integers(0, 5, 7)) for _ in range(2)]
    hold_again(attempt, reference, "cross_entropy", *asked, of="cross_entropy of (7, 5)", views=False)


@part("cross_entropy")
def test_classes_leave_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    z, y, w = draw.normal(7, 5), torch.tensor([3, 0, -100, 4, 3, -100, 1]), draw.uniform(5, low=0.1, high=4.0)
    of = "cross_entropy of logits (7, 5), with weights"
    agree(hold_nothing_left(attempt, "cross_entropy", z, y, w, of=of), ce(z, y, w), of=of)


# ----------------------------------------------------------------------------------------------- saturation_gradients


def saturated(z, y):
    """In exact enough numbers: e^-|z| carries what a sigmoid loses."""
    e = torch.exp(-z.double().abs())
    high, low = 1 / (1 + e), e / (1 + e)
    yes, no = torch.where(z >= 0, high, low), torch.where(z >= 0, low, high)
    entropy = (1 - y.double()) * yes - y.double() * no
    return entropy * yes * no, entropy


@part("saturation_gradients")
@DTYPES
def test_both_gradients(attempt, draw, dtype):
    """The gradient of (σ - y)²/2 is (σ - y)·σ·(1 - σ), that of cross-entropy σ - y, entry by entry."""
    kind = of_type(dtype)
    for shape in ((7,), (5, 3), (1,), ()):
        z, y = strided(draw, *shape, dtype=kind, scale=2.0), draw.uniform(*shape, dtype=kind)
        squared, entropy = (x.to(kind) for x in saturated(z, y))
        known = {
            "the gradient of (σ - y)², without the 1/2": (2 * squared, entropy),
            "gradients for y, or with the sign of y - σ": (-squared, -entropy),
            "σ - y for both": (entropy, entropy),
            "the two in the other order": (entropy, squared),
            "means over the entries": (squared / z.numel(), entropy / z.numel()),
        }
        if z.numel() == 1:
            del known["means over the entries"]
        got = attempt.saturation_gradients(z, y)
        agree(tuple(got), (squared, entropy), of=f"saturation_gradients of z {shape}", known=known)


@part("saturation_gradients")
@DTYPES
def test_small_gradients_are_exact(attempt, dtype):
    """Each entry is right to its last digits, also where σ(z) rounds to 1 or the gradient is tiny."""
    kind = of_type(dtype)
    sizes = [17.0, 20.0, 30.0, *([40.0, 50.0, 300.0] if dtype == "float64" else [])]
    z = torch.tensor([s * size for size in sizes for s in (1, -1)], dtype=kind)
    for target in (0.0, 1.0, 0.5):
        y = torch.full_like(z, target)
        got, want = attempt.saturation_gradients(z, y), saturated(z, y)
        for name, one, exact in zip(("squared error", "cross-entropy"), got, want, strict=True):
            agree(list(one.shape), list(z.shape), of=f"shape of the gradient of {name}")
            for i, value in enumerate(z.tolist()):
                of = f"gradient of {name} at z = {value:g}, y = {target:g}"
                agree(one[i].item(), exact[i].item(), of=of, tol=1e-9 if dtype == "float64" else 1e-4)


@part("saturation_gradients")
def test_other_slopes_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7), draw.uniform(7)) for _ in range(2)]
    hold_again(attempt, reference, "saturation_gradients", *asked, of="saturation_gradients of 7 logits", views=False)


@part("saturation_gradients")
def test_gradients_leave_nothing_behind(attempt, draw):
    """When both gradients are gone, no tensor of the call is left."""
    z, y = draw.normal(5, 3), draw.uniform(5, 3)
    of = "saturation_gradients of z (5, 3)"
    agree(tuple(hold_nothing_left(attempt, "saturation_gradients", z, y, of=of, grad=False)), saturated(z, y), of=of)


# ---------------------------------------------------------------------------------------------------- regression_loss

KINDS = ("mse", "mae", "huber", "quantile", "gaussian")


def regression(kind, prediction, target, log_variance=None, *, delta=1.0, quantile=0.5):
    if kind == "mse":
        return F.mse_loss(prediction, target)
    if kind == "mae":
        return F.l1_loss(prediction, target)
    if kind == "huber":
        return F.huber_loss(prediction, target, delta=delta)
    if kind == "gaussian":
        return F.gaussian_nll_loss(prediction, target, log_variance.exp(), eps=1e-300)
    r = target - prediction
    return (r.abs() / 2 + (quantile - 0.5) * r).mean()


def regression_mistakes(kind, p, t, v=None, *, delta=1.0, quantile=0.5):
    r = t - p
    want = regression(kind, p, t, v, delta=delta, quantile=quantile)
    r, size = t - p, (t - p).abs()
    known = {"the sum over the entries, not their mean,": want * r.numel()}
    if kind == "mse":
        known |= {"half of r²": want / 2, "the root of the mean": want.sqrt()}
    if kind == "mae":
        known |= {"the mean of r without its sign taken": r.mean()}
    if kind == "huber":
        near = size <= delta
        known |= {
            "smooth L1, which is Huber's loss over delta,": want / delta,
            "delta · |r| far out, without - delta²/2": torch.where(near, size**2 / 2, delta * size).mean(),
            "r² near 0, without the 1/2": torch.where(near, size**2, delta * (size - delta / 2)).mean(),
            "the default delta": regression(kind, p, t),
        }
    if kind == "quantile":
        known |= {
            "the quantile's sides exchanged": regression(kind, p, t, quantile=1 - quantile),
            "the mean absolute error": size.mean(),
            "the default quantile": regression(kind, p, t),
        }
    if kind == "gaussian":
        known |= {
            "log_variance taken as the variance": (v.abs().log() + r.square() / v).mean() / 2,
            "log_variance taken as the log of the deviation": (2 * v + r.square() * (-2 * v).exp()).mean() / 2,
            "log(2π)/2 added": want + math.log(2 * math.pi) / 2,
            "no 1/2": 2 * want,
            "the error alone, without log_variance": (r.square() * (-v).exp()).mean() / 2,
        }
    return {name: value for name, value in known.items() if not abs(value - want) <= 1e-6}


@part("regression_loss")
@DTYPES
@pytest.mark.parametrize("kind", KINDS)
def test_five_ways_to_measure_an_error(attempt, draw, dtype, kind):
    """Each kind is the mean over all entries of its formula, for any shape, at the default and other parameters."""
    of_kind = of_type(dtype)
    rows, wants, names, knowns = [], [], [], []
    for shape in ((11,), (5, 3), (2, 3, 4)):
        p, t = strided(draw, *shape, dtype=of_kind, scale=1.5), draw.normal(*shape, dtype=of_kind)
        v = draw.normal(*shape, dtype=of_kind) if kind == "gaussian" else None
        for options in ({}, {"delta": 0.4}, {"delta": 2.5, "quantile": 0.85}, {"quantile": 0.1}):
            rows.append((kind, p, t, v, options))
            wants.append(regression(kind, p, t, v, **options))
            knowns.append(regression_mistakes(kind, p, t, v, **options))
            names.append(f'regression_loss("{kind}") of {shape}, {options or "default parameters"}, in {dtype}')
    found = attempt.each(drivers.regression, rows)
    for got, want, known, of in zip(found, wants, knowns, names, strict=True):
        agree(got, want, of=of, known=known)


@part("regression_loss")
@pytest.mark.parametrize("kind", KINDS)
def test_regression_gradients(attempt, draw, kind):
    """Gradients flow to the prediction, and to log_variance; large errors and exact hits are finite."""
    p, t = draw.normal(11, scale=2.0), draw.normal(11)
    p[0], p[1], p[2] = t[0] + 1e4, t[1] - 1e4, t[2]
    p, t, v = (p, t, draw.normal(11)) if kind == "gaussian" else (p, t, None)
    if kind == "quantile":
        p[2] += 0.5  # at a hit any number between its two slopes is a gradient
    options = {"delta": 0.7, "quantile": 0.8}
    upstream = torch.tensor(-1.7).double()
    leaves = [p] if v is None else [p, v]
    want_out, want = gradients(lambda p, v=None: regression(kind, p, t, v, **options), leaves, upstream)
    out, got = attempt.gradients(drivers.regression, kind, p, t, v, options, upstream=upstream)
    agree(out, want_out, of=f'regression_loss("{kind}") of 11 entries, errors up to 10,000')
    agree(got[1], want[0], axes="n", of=f'gradient for the prediction of "{kind}", errors up to 10,000, times -1.7')
    if v is not None:
        agree(got[3], want[1], axes="n", of=f'gradient for log_variance of "{kind}", times -1.7')


@part("regression_loss")
@DTYPES
@pytest.mark.parametrize("size", [-60.0, -25.0, -8.0, 8.0, 25.0, 60.0], ids=str)
def test_variances_of_any_size(attempt, draw, dtype, size):
    """A log_variance from -60 to 60 counts as it is, with errors of that size: no bound, and no eps."""
    kind = of_type(dtype)
    t, v = torch.zeros(9, dtype=kind), size + draw.normal(9, dtype=kind)
    p = draw.normal(9, dtype=kind) * (v / 2).exp()
    upstream = torch.tensor(1.0, dtype=kind)
    oracle = lambda p, v: (v + (p / (v / 2).exp()).square()).mean() / 2
    want_out, want = gradients(oracle, [p.double(), v.double()], upstream.double())
    out, got = attempt.gradients(drivers.regression, "gaussian", p, t, v, {}, upstream=upstream)
    of = f'regression_loss("gaussian") of 9 entries, log_variance about {size:g}, in {dtype}'
    agree(out, want_out.to(kind), of=of)
    agree(got[1], want[0].to(kind), axes="n", of=f"gradient for the prediction of {of}")
    agree(got[3], want[1].to(kind), axes="n", of=f"gradient for log_variance of {of}")


@part("regression_loss")
@pytest.mark.parametrize("kind", KINDS)
def test_errors_leave_nothing_behind(attempt, draw, kind):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    p, t, v = draw.normal(5, 3), draw.normal(5, 3), draw.normal(5, 3) if kind == "gaussian" else None
    of = f'regression_loss("{kind}") of (5, 3)'
    said = hold_nothing_left(attempt, "regression_loss", kind, p, t, of=of, log_variance=v)
    agree(said, regression(kind, p, t, v), of=of)


@part("regression_loss")
@pytest.mark.parametrize(("kind", "quantile"), [("mse", 0.5), ("mae", 0.5), ("quantile", 0.9), ("quantile", 0.25)])
def test_what_a_loss_predicts(attempt, draw, kind, quantile):
    """One number for a whole sample: squared error finds its mean, absolute error its median, pinball its quantile."""
    sample = draw.normal(101).exp()  # skewed: mean and median differ
    rates = [2 * 0.97**i for i in range(300)] if kind != "mse" else [0.3] * 60
    start, options = torch.tensor(0.5).double(), {"quantile": quantile}
    got = attempt.run(drivers.descend, kind, sample, start, options, rates)
    if kind == "mse":
        agree(got, sample.mean(), of="where descent on mse ends, for 101 numbers", tol=1e-6)
        return
    ordered, rank = sample.sort().values, round(quantile * 101)
    low, high = ordered[max(rank - 3, 0)].item(), ordered[min(rank + 2, 100)].item()
    assert low <= float(got) <= high, (
        f"descent on {kind}, quantile {quantile}, ends at {float(got):.4f}, for 101 numbers whose quantile lies in "
        f"{low:.4f} to {high:.4f}"
    )


@part("regression_loss")
def test_regression_refuses(attempt, draw):
    """Another kind, shapes that differ, no log_variance, and for any kind a delta or quantile that cannot be, raise."""
    x, y = draw.normal(5), draw.normal(5)
    for kind in ("rmse", "", "MSE", "normal"):
        for given in ({}, {"log_variance": y}):
            with refusal(ValueError, of=f'regression_loss("{kind}"), given {list(given) or "nothing else"}'):
                attempt.regression_loss(kind, x, y, **given)
    for kind in KINDS[:4]:
        for a, b in ((x[:, None], y), (x, y[:, None]), (x, y[:1]), (x[:4], y)):
            with refusal(ValueError, of=f'"{kind}" of a prediction {tuple(a.shape)} for a target {tuple(b.shape)}'):
                attempt.regression_loss(kind, a, b)
    for kind in KINDS:  # also where the parameter is of another kind
        given = {"log_variance": y} if kind == "gaussian" else {}
        for name, value in [("delta", 0.0), ("delta", -1.0), *[("quantile", q) for q in (0.0, 1.0, -0.1, 1.5)]]:
            with refusal(ValueError, of=f'"{kind}" with {name}={value}'):
                attempt.regression_loss(kind, x, y, **given, **{name: value})
    for v in (y[:, None], y[:1], y[:4], y[0]):
        with refusal(ValueError, of=f'"gaussian" of a log_variance {tuple(v.shape)} for a target {tuple(y.shape)}'):
            attempt.regression_loss("gaussian", x, y, log_variance=v)
    with refusal(ValueError, of='"gaussian" without a log_variance'):
        attempt.regression_loss("gaussian", x, y)


@part("regression_loss")
def test_other_errors_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [("mse", draw.normal(11), draw.normal(11)) for _ in range(2)]
    hold_again(attempt, reference, "regression_loss", *asked, of="regression_loss of 11 numbers, mse", views=False)


# --------------------------------------------------------------------------------------------------------- focal_loss


def focal(z, y, gamma=2.0, alpha=None, *, power=None):
    """From cross-entropy and p_t, in float64."""
    z, y = z.double(), y.double()
    e = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    wrong = torch.where(y == 1, torch.sigmoid(-z), torch.sigmoid(z))
    losses = (gamma * wrong.log()).exp() * e if gamma else e
    if alpha is not None:
        losses = losses * (alpha * y + (1 - alpha) * (1 - y))
    return losses.mean()


def focal_mistakes(z, y, gamma, alpha):
    e = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    p = (-e).exp()
    a = 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
    want = focal(z, y, gamma, alpha)
    known = {
        "p_t^gamma for (1 - p_t)^gamma": (a * p**gamma * e).mean(),
        "binary cross-entropy": e.mean(),
        "p for p_t, σ(z) in negatives too,": (a * (1 - z.sigmoid()) ** gamma * e).mean(),
        "gamma times (1 - p_t)": (a * gamma * (1 - p) * e).mean(),
        "the sum over the entries": want * z.numel(),
        "division by the number of positives": want * z.numel() / y.sum().clamp(min=1),
    }
    if alpha is not None:
        known |= {
            "alpha on the negatives": focal(z, y, gamma, 1 - alpha),
            "no alpha": focal(z, y, gamma),
            "alpha on both": alpha * focal(z, y, gamma),
            "alpha on the positives, and 1 on the negatives,": ((alpha * y + 1 - y) * (1 - p) ** gamma * e).mean(),
        }
    return {name: value.to(z.dtype) for name, value in known.items() if abs(value - want) > 1e-6}


@part("focal_loss")
@DTYPES
def test_easy_examples_count_less(attempt, draw, dtype):
    """The mean over all entries of -alpha_t (1 - p_t)^gamma log p_t, at the default and other gammas and alphas."""
    kind = of_type(dtype)
    for shape in ((11,), (5, 3), (2, 3, 4), ()):
        z, y = strided(draw, *shape, dtype=kind, scale=2.0), (draw.uniform(*shape) < 0.4).to(kind)
        y.view(-1)[0] = 1.0
        for options in (
            {},
            {"gamma": 1.0},
            {"gamma": 3.5, "alpha": 0.25},
            {"alpha": 0.7},
            {"gamma": 0.5, "alpha": 0.0},
            {"alpha": 1.0},
        ):
            got = attempt.focal_loss(z, y, **options)
            want = focal(z, y, **options).to(kind)
            known = focal_mistakes(z, y, options.get("gamma", 2.0), options.get("alpha"))
            agree(got, want, of=f"focal_loss of logits {shape}, {options or 'default parameters'}", known=known)


@part("focal_loss")
@DTYPES
def test_gamma_of_zero_is_cross_entropy(attempt, draw, dtype):
    """With gamma 0 it is binary cross-entropy, weighted by alpha; a batch without positives is one like any other."""
    kind = of_type(dtype)
    z, y = draw.normal(7, 3, dtype=kind), (draw.uniform(7, 3) < 0.5).to(kind)
    agree(attempt.focal_loss(z, y, gamma=0.0), bce(z, y), of="focal_loss with gamma = 0")
    for name, some in (("no positive", torch.zeros_like(y)), ("no negative", torch.ones_like(y))):
        for options in ({"gamma": 2.0}, {"gamma": 0.0, "alpha": 0.25}):
            got, want = attempt.focal_loss(z, some, **options), focal(z, some, **options).to(kind)
            agree(got, want, of=f"focal_loss of a batch with {name}, {options}")


@part("focal_loss")
@DTYPES
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0], ids=str)
def test_focal_logits_of_any_size(attempt, draw, gamma, dtype):
    """Logits of ±10,000, right or wrong, have finite losses and gradients, for whole gammas and others."""
    kind = of_type(dtype)
    z = torch.tensor(FAR, dtype=kind)
    for y in (torch.zeros_like(z), torch.ones_like(z)):
        upstream = torch.tensor(1.0, dtype=kind)
        out, grads = attempt.gradients("focal_loss", z, y, gamma, upstream=upstream)
        size = z.double().where(z.abs() <= 500, z.sign().double() * 500).requires_grad_()
        beyond = (z.abs() > 500) & ((z > 0) != (y == 1))  # there the loss is |z|, and its slope that of 500
        want = focal(size, y, gamma)
        (slope,) = torch.autograd.grad(want, size)
        want = want.detach() + (beyond * (z.double().abs() - 500)).sum() / 7
        agree(out, want.to(kind), of=f"focal_loss of logits {FAR}, targets {y[0]:g}, gamma = {gamma}")
        agree(grads[0], slope.to(kind), axes="n", of=f"gradient of focal_loss at logits {FAR}, targets {y[0]:g}")


@part("focal_loss")
def test_focal_gradients(attempt, draw):
    """Gradients flow through both factors, the weight (1 - p_t)^gamma too."""
    z, y = draw.normal(5, 3), (draw.uniform(5, 3) < 0.5).double()
    for gamma, alpha in ((2.0, None), (1.5, 0.25)):
        of = f"focal_loss of logits (5, 3), gamma = {gamma}, alpha = {alpha}"
        oracle = lambda z, gamma=gamma, alpha=alpha: focal(z, y, gamma, alpha)
        hold_gradients(attempt, "focal_loss", oracle, [z], (y, gamma, alpha), ["logits"], of)


@part("focal_loss")
def test_other_examples_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(11), draw.integers(0, 2, 11).double()) for _ in range(2)]
    hold_again(attempt, reference, "focal_loss", *asked, of="focal_loss of 11 logits", views=False)


@part("focal_loss")
def test_focal_leaves_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    z, y = draw.normal(5, 3), (draw.uniform(5, 3) < 0.5).double()
    of = "focal_loss of logits (5, 3)"
    agree(hold_nothing_left(attempt, "focal_loss", z, y, 1.5, 0.25, of=of), focal(z, y, 1.5, 0.25), of=of)


# --------------------------------------------------------------------------------------------------- contrastive_loss


def contrastive(a, b, same, margin=1.0):
    """Pair after pair; a distance of 0 has the gradient 0."""
    total = 0.0
    for x, y, alike in zip(a, b, same.tolist(), strict=True):
        square = (x - y).square().sum()
        if alike:
            total = total + square / 2
        elif square < margin**2:
            total = total + (margin - (square.sqrt() if square > 0 else square)) ** 2 / 2
    return total / len(a) + 0.0 * (a.sum() + b.sum())


def contrastive_mistakes(a, b, same, margin):
    d = (a - b).norm(dim=1)
    want = contrastive(a, b, same, margin)
    known = {
        "(m - d²) for (m - d)², as in Caffe's first,": torch.where(same, d**2, (margin - d**2).relu()).mean() / 2,
        "no 1/2": 2 * want,
        "d for d² and m - d for (m - d)²": torch.where(same, d, (margin - d).relu()).mean(),
        "similar and dissimilar exchanged": contrastive(a, b, ~same, margin),
        "dissimilar pairs pushed beyond the margin": torch.where(same, d, margin - d).square().mean() / 2,
        "the sum over the pairs": want * len(a),
        "a mean over the features": torch.where(same, d**2 / a.shape[1], (margin - d).relu() ** 2).mean() / 2,
        "similar pairs alone": torch.where(same, d**2, 0.0).mean() / 2,
        "torch's eps of 1e-6 in each difference": _with_eps(a, b, same, margin),
    }
    return {name: value for name, value in known.items() if abs(value - want) > 1e-8}


def _with_eps(a, b, same, margin):
    d = F.pairwise_distance(a, b)
    return torch.where(same, d, (margin - d).relu()).square().mean() / 2


def pairs_of(draw, n, d, dtype=torch.float64):
    """Pairs at distances from 0.2 to 2, in a given order of sizes but random directions; every other one similar."""
    a, way = draw.normal(n, d, dtype=dtype), draw.normal(n, d, dtype=dtype)
    sizes = torch.linspace(0.2, 2.0, n, dtype=dtype)[:, None]
    return a, a + sizes * way / way.norm(dim=1, keepdim=True), torch.arange(n) % 2 == 0


@part("contrastive_loss")
@DTYPES
def test_pairs_are_pulled_and_pushed(attempt, draw, dtype):
    """Similar pairs pay d²/2, dissimilar ones (m - d)²/2 as long as they are nearer than the margin."""
    kind = of_type(dtype)
    cases = [
        (11, 3, {}),
        (8, 5, {"margin": 1.7}),
        (4, 1, {"margin": 0.5}),
        (1, 2, {}),
        (2, 7, {}),
        (5, 3, {"margin": 0.0}),
    ]
    for n, d, options in cases:
        a, b, same = pairs_of(draw, n, d, kind)
        want = contrastive(a, b, same, **options)
        of = f"contrastive_loss of {n} pairs of width {d}, {options or 'default margin'}"
        known = contrastive_mistakes(a, b, same, options.get("margin", 1.0))
        agree(attempt.contrastive_loss(a, b, same, **options), want, of=of, known=known)
        got = attempt.contrastive_loss(a, b, ~same, **options)
        agree(got, contrastive(a, b, ~same, **options), of=f"{of}, every other pair similar")


@part("contrastive_loss")
def test_pairs_at_distance_zero(attempt, draw):
    """Equal pairs have a finite gradient, similar or not, and the loss is exact: m²/2 or 0."""
    a, b, same = pairs_of(draw, 6, 3)
    b[1], b[2] = a[1], a[2]
    want_out, want = gradients(lambda a, b: contrastive(a, b, same), [a, b], torch.tensor(2.0).double())
    out, got = attempt.gradients("contrastive_loss", a, b, same, upstream=torch.tensor(2.0).double())
    agree(out, want_out, of="contrastive_loss, two of six pairs equal")
    for name, grad, wanted in zip(("a", "b"), got[:2], want, strict=True):
        hold_finite(grad, f"gradient for {name} at distance 0")
        others = [0, 3, 4, 5]
        agree(grad[others], wanted[others], axes="n d", of=f"gradient for {name}, of the pairs that are not equal")
        agree(grad[2], torch.zeros(3).double(), axes="d", of=f"gradient for {name}, of a similar pair at distance 0")


def triplets(anchor, positive, negative, margin=0.2, squared=True):
    near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    if not squared:
        near, far = near.sqrt(), far.sqrt()
    return (near - far + margin).clamp(min=0).mean()


@part("contrastive_loss")
@DTYPES
def test_triplets_keep_their_margin(attempt, draw, dtype):
    """max(0, D(a, p) - D(a, n) + m), mean over all triplets, D the squared distance or, if asked, the distance."""
    kind = of_type(dtype)
    cases = [(13, 3, {}), (7, 2, {"margin": 1.0}), (5, 4, {"margin": 0.5, "squared": False}), (1, 3, {})]
    for n, d, options in (*cases, (6, 3, {"margin": 0.0})):
        a, p, q = (draw.normal(n, d, dtype=kind) for _ in range(3))
        q[0] = p[0] = a[0] + 1.0  # one triplet that pays the margin itself
        if n > 1:
            q[-1] = a[-1] + 9.0  # and one that pays nothing
        margin, squared = options.get("margin", 0.2), options.get("squared", True)
        near, far = (a - p).norm(dim=1), (a - q).norm(dim=1)
        want = triplets(a, p, q, margin, squared)
        losses = (near**2 - far**2 if squared else near - far) + margin
        known = {
            "distances that are not squared" if squared else "squared distances": triplets(
                a, p, q, margin, not squared
            ),
            "positive and negative exchanged": triplets(a, q, p, margin, squared),
            "no max(0, ...)": losses.mean(),
            "a mean over the triplets that pay": losses.relu().sum() / (losses > 0).sum(),
            "the sum over the triplets": want * n,
            "no margin": triplets(a, p, q, 0.0, squared),
            "the margin taken away": triplets(a, p, q, -margin, squared),
        }
        known = {name: value for name, value in known.items() if abs(value - want) > 1e-6}
        got = attempt.triplet_loss(a, p, q, **options)
        agree(
            got, want, of=f"triplet_loss of {n} triplets of width {d}, {options or 'default parameters'}", known=known
        )


@part("contrastive_loss")
@pytest.mark.parametrize("squared", [True, False])
def test_triplet_gradients(attempt, draw, squared):
    """Gradients flow to all three, and are finite where two of them are equal."""
    a, p, q = (draw.normal(7, 3) for _ in range(3))
    of = f"triplet_loss of 7 triplets, margin 1.5, squared={squared}"
    oracle = lambda a, p, q: triplets(a, p, q, 1.5, squared)
    hold_gradients(attempt, "triplet_loss", oracle, [a, p, q], (1.5, squared), ["anchor", "positive", "negative"], of)
    p[0], q[1] = a[0], a[1]
    q[0] = a[0] + 0.1
    upstream = torch.tensor(1.0).double()
    out, got = attempt.gradients("triplet_loss", a, p, q, 1.5, squared, upstream=upstream)
    agree(out, triplets(a, p, q, 1.5, squared), of=f"{of}, two of them with a distance of 0")
    for name, grad in zip(("anchor", "positive", "negative"), got[:3], strict=True):
        hold_finite(grad, f"gradient for {name} at distance 0")
    _, want = gradients(lambda a, p, q: triplets(a, p, q, 1.5, squared), [x[2:] for x in (a, p, q)], upstream)
    for name, grad, wanted in zip(("anchor", "positive", "negative"), got[:3], want, strict=True):
        agree(grad[2:], wanted * 5 / 7, axes="n d", of=f"gradient for {name} of {of}, of the triplets without a 0")


@part("contrastive_loss")
def test_other_embeddings_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(11, 3), draw.normal(11, 3), draw.uniform(11) < 0.5) for _ in range(2)]
    hold_again(attempt, reference, "contrastive_loss", *asked, of="contrastive_loss of 11 pairs", views=False)
    asked = [(draw.normal(13, 3), draw.normal(13, 3), draw.normal(13, 3)) for _ in range(2)]
    hold_again(attempt, reference, "triplet_loss", *asked, of="triplet_loss of 13 triplets", views=False)


@part("contrastive_loss")
def test_pairs_and_triplets_leave_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    a, b, same = pairs_of(draw, 6, 3)
    of = "contrastive_loss of 6 pairs"
    agree(hold_nothing_left(attempt, "contrastive_loss", a, b, same, of=of), contrastive(a, b, same), of=of)
    c, of = draw.normal(6, 3), "triplet_loss of 6 triplets"
    agree(hold_nothing_left(attempt, "triplet_loss", a, b, c, 1.5, of=of), triplets(a, b, c, 1.5), of=of)


# ------------------------------------------------------------------------------------------------- batch_hard_triplet


def batch_hard(x, labels, margin=0.2, *, far=max, near=min, squared=False):
    """Anchor after anchor. far, near: which positive and which negative."""
    losses, classes = [], labels.tolist()
    for i, row in enumerate(x):
        to = [(row - other).square().sum() for other in x]
        to = to if squared else [d.sqrt() if d > 0 else 0 * d for d in to]
        positives = [d for j, d in enumerate(to) if classes[j] == classes[i] and j != i]
        negatives = [d for j, d in enumerate(to) if classes[j] != classes[i]]
        if positives and negatives:
            losses.append((far(positives) - near(negatives) + margin).clamp(min=0))
    return torch.stack(losses) if losses else 0 * x.sum()[None]


def hard_mistakes(x, labels, margin):
    whole = batch_hard(x, labels, margin)
    want = whole.mean()
    mean = lambda values: sum(values) / len(values)
    made = {
        "the nearest positive": batch_hard(x, labels, margin, far=min).mean(),
        "the farthest negative": batch_hard(x, labels, margin, near=max).mean(),
        "the mean positive and the mean negative": batch_hard(x, labels, margin, far=mean, near=mean).mean(),
        "squared distances": batch_hard(x, labels, margin, squared=True).mean(),
        "a mean over all n anchors, those without a triplet too,": whole.sum() / len(x),
        "a mean over the anchors that pay": whole.sum() / (whole > 0).sum().clamp(min=1),
        "the sum over the anchors": whole.sum(),
    }
    return {name: value for name, value in made.items() if abs(value - want) > 1e-6}


@part("batch_hard_triplet")
@DTYPES
def test_the_hardest_of_each_anchor(attempt, draw, dtype):
    """For each anchor the farthest positive and the nearest negative; anchors that lack one are left out."""
    kind = of_type(dtype)
    cases = [
        ([0, 1, 0, 2, 1, 0, 7, 2, 0], 3, {}),
        ([2**40 + 1, 2**40 + 1, 2**40, 2**40], 2, {"margin": 0.7}),
        ([4, 1, 4, 1, 1, 9, 4, 1, 8, 8, 4], 5, {"margin": 0.0}),
        ([1, 2, 1], 4, {"margin": 3.0}),
        ([-1, 6, -1, 6, 6], 1, {"margin": 1.0}),
    ]
    rows = []
    for labels, d, options in cases:
        rows.append((draw.normal(len(labels), d, dtype=kind), torch.tensor(labels), options.get("margin", 0.2)))
    for (x, labels, margin), (_, _, options) in zip(rows, cases, strict=True):
        got = attempt.batch_hard_triplet(x, labels, **options)
        of = f"batch_hard_triplet, labels {labels.tolist()}, margin {margin}"
        agree(got, batch_hard(x, labels, margin).mean(), of=of, known=hard_mistakes(x, labels, margin))


@part("batch_hard_triplet")
@DTYPES
def test_no_anchor_has_both(attempt, draw, dtype):
    """One class, or no class twice, or one row: loss and gradients are 0."""
    kind = of_type(dtype)
    for labels, size in (([3, 3, 3, 3], 1.0), ([1, 2, 3, 4], 1.0), ([6], 1.0), ([1, 2], 0.0), ([3, 3, 3], 1e12)):
        x, upstream = size * draw.normal(len(labels), 3, dtype=kind), torch.tensor(1.0, dtype=kind)
        out, grads = attempt.gradients("batch_hard_triplet", x, torch.tensor(labels), upstream=upstream)
        agree(out, torch.zeros((), dtype=kind), of=f"batch_hard_triplet, labels {labels}")
        got = torch.zeros_like(x) if grads[0] is None else grads[0]
        agree(got, torch.zeros_like(x), axes="n d", of=f"gradient of batch_hard_triplet, labels {labels}")


@part("batch_hard_triplet")
def test_hard_gradients(attempt, draw):
    """Gradients reach anchor, hardest positive and hardest negative, and nobody else; strides do not matter."""
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 7, 2, 0])
    x = strided(draw, 9, 3)
    of = f"batch_hard_triplet, labels {labels.tolist()}, margin 0.6"
    oracle = lambda x: batch_hard(x, labels, 0.6).mean()
    hold_gradients(attempt, "batch_hard_triplet", oracle, [x], (labels, 0.6), ["embeddings"], of)


@part("batch_hard_triplet")
def test_equal_rows(attempt, draw):
    """Equal rows have distance 0, as hardest positive, as hardest negative, and finite gradients."""
    x, labels = draw.normal(7, 3), torch.tensor([0, 0, 0, 1, 1, 2, 2])
    x[1], x[2] = x[0], x[0]  # a class in one point: three distances of 0 that are added
    x[5] = x[3]  # two classes in one point: two that are taken away
    want = batch_hard(x, labels, 9.0).mean()  # a margin that every anchor pays
    out, grads = attempt.gradients("batch_hard_triplet", x, labels, 9.0, upstream=torch.tensor(1.0).double())
    agree(out, want, of="batch_hard_triplet with equal rows, of one class and of two", tol=1e-6)
    hold_finite(grads[0], "gradient for equal rows")
    far = 1e3 * x + 5e3
    got = attempt.batch_hard_triplet(far, labels, 9e3)
    agree(got, batch_hard(far, labels, 9e3).mean(), of="batch_hard_triplet of rows far from 0, some equal", tol=1e-5)
    x = draw.normal(7, 3)
    got, want = attempt.batch_hard_triplet(1e12 * x, labels, 1e13), 1e12 * batch_hard(x, labels, 10.0).mean()
    agree(got, want, of="batch_hard_triplet of distances of 1e12", tol=1e-6)


@part("batch_hard_triplet")
def test_batch_hard_leaves_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    x, labels = draw.normal(7, 3), torch.tensor([0, 0, 0, 1, 1, 2, 2])
    of = "batch_hard_triplet of 7 rows"
    said = hold_nothing_left(attempt, "batch_hard_triplet", x, labels, 0.6, of=of)
    agree(said, batch_hard(x, labels, 0.6).mean(), of=of)


@part("batch_hard_triplet")
def test_another_batch_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(9, 3), torch.arange(9)[draw.permutation(9)] // 3) for _ in range(2)]
    hold_again(attempt, reference, "batch_hard_triplet", *asked, of="batch_hard_triplet of (9, 3)", views=False)


# ----------------------------------------------------------------------------------------------------------- info_nce


def nce(a, b, temperature=0.07, log_q=None, *, cosine=True, ways=(0, 1), correct=True):
    """Row after row, then column after column."""
    a, b = ((x / x.norm(dim=1, keepdim=True)) if cosine else x for x in (a, b))
    z = torch.stack([torch.stack([(x * y).sum() / temperature for y in b]) for x in a])
    if log_q is not None and correct:
        z = z - log_q
    index = range(len(a))
    terms = [
        sum(torch.logsumexp(z[i], 0) - z[i, i] for i in index) / len(a),
        sum(torch.logsumexp(z[:, i], 0) - z[i, i] for i in index) / len(a),
    ]
    return sum(terms[way] for way in ways) / len(ways)


def nce_mistakes(a, b, t, log_q=None):
    want = nce(a, b, t, log_q)
    z = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t
    z = z if log_q is None else z - log_q
    off = z.masked_fill(torch.eye(len(a), dtype=torch.bool), -math.inf)
    known = {
        "no normalisation": nce(a, b, t, log_q, cosine=False),
        "a temperature that multiplies": nce(a, b, 1 / t, log_q),
        "the first term alone, a to b,": nce(a, b, t, log_q, ways=(0,)),
        "the second term alone, b to a,": nce(a, b, t, log_q, ways=(1,)),
        "the sum of both terms, not their mean": 2 * want,
        "the own row left out of the softmax's sum": (
            (torch.logsumexp(off, 1) - z.diagonal()).mean() + (torch.logsumexp(off, 0) - z.diagonal()).mean()
        )
        / 2,
        "the diagonal as a negative": -((1 - z.softmax(1).diagonal()).log()).mean(),
    }
    if log_q is not None:
        own = torch.diag(log_q)
        raw = z + log_q
        known |= {
            "no correction": nce(a, b, t),
            "log_q added": nce(a, b, t, -log_q),
            "log_q along the wrong axis": nce(a, b, t, log_q[:, None]),
            "log_q divided by the temperature": nce(a, b, t, log_q / t),
            "q itself for its log": nce(a, b, t, log_q.exp()),
            "a correction of the negatives alone": -((z + own).log_softmax(1) + raw.log_softmax(0)).diagonal().mean()
            / 2,
        }
    return {name: value for name, value in known.items() if not abs(value - want) <= 1e-6}


@part("info_nce")
@DTYPES
def test_each_finds_its_own(attempt, draw, dtype):
    """Cross-entropy of cosines over temperature, from a to b and from b to a, averaged; 0.07 by default."""
    kind = of_type(dtype)
    for n, d, t in ((5, 3, None), (7, 4, 0.5), (2, 6, 1.3), (1, 2, None), (11, 2, 0.2)):
        a, b = strided(draw, n, d, dtype=kind, scale=2.0), draw.normal(n, d, dtype=kind)
        options = {} if t is None else {"temperature": t}
        known = nce_mistakes(a, b, t or 0.07)
        of = f"info_nce of {n} pairs of width {d}, {options or 'default temperature'}"
        agree(attempt.info_nce(a, b, **options), nce(a, b, **options), of=of, known=known)
        of = f"{of}, the rows of a about 1e-3, those of b about 1e3"
        agree(attempt.info_nce(1e-3 * a, 1e3 * b, **options), nce(a, b, **options), of=of)


@part("info_nce")
@DTYPES
def test_popular_items_are_corrected(attempt, draw, dtype):
    """log_q[j] is taken from the logit of b[j], for every i, its own too, behind the temperature."""
    kind = of_type(dtype)
    for n, d, t in ((6, 3, 0.5), (3, 5, 1.0)):
        a, b = draw.normal(n, d, dtype=kind), draw.normal(n, d, dtype=kind)
        log_q = draw.uniform(n, low=-6.0, high=-0.5, dtype=kind)
        of = f"info_nce of {n} pairs with log_q, temperature {t}"
        got = attempt.info_nce(a, b, t, log_q)
        agree(got, nce(a, b, t, log_q), of=of, known=nce_mistakes(a, b, t, log_q))


@part("info_nce")
def test_nce_gradients(attempt, draw):
    """Gradients flow to a, b, and a temperature that is a tensor: no side is detached."""
    a, b, t = draw.normal(5, 3), draw.normal(5, 3), torch.tensor(0.4).double()
    log_q = draw.uniform(5, low=-3.0, high=-0.5)
    for given in (None, log_q):
        of = f"info_nce of 5 pairs, temperature 0.4 as a tensor, {'no ' if given is None else ''}log_q"
        oracle = lambda a, b, t, given=given: nce(a, b, t, given)
        hold_gradients(attempt, drivers.learned_temperature, oracle, [a, b, t], (given,), ["a", "b", "temperature"], of)


@part("info_nce")
def test_nce_leaves_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    a, b, t, log_q = draw.normal(5, 3), draw.normal(5, 3), torch.tensor(0.4).double(), draw.uniform(5, low=-3, high=-1)
    of = "info_nce of 5 pairs with log_q"
    agree(hold_nothing_left(attempt, "info_nce", a, b, t, log_q, of=of), nce(a, b, t, log_q), of=of)


@part("info_nce")
def test_the_correction_learns_nothing(attempt, draw):
    """log_q gets no gradient: it is a fact about the batch, not a bias to be learnt."""
    a, b, t = draw.normal(5, 3), draw.normal(5, 3), torch.tensor(0.4).double()
    log_q, upstream = draw.uniform(5, low=-3.0, high=-0.5), torch.tensor(1.0).double()
    out, got = attempt.gradients(drivers.learned_temperature, a, b, t, log_q, upstream=upstream)
    agree(out, nce(a, b, t, log_q), of="info_nce of 5 pairs with log_q")
    none = torch.zeros_like(log_q)
    agree(none if got[3] is None else got[3], none, axes="n", of="gradient of info_nce for log_q")


@part("info_nce")
@DTYPES
def test_cold_softmax(attempt, draw, dtype):
    """At a temperature of 0.0001, logits of ±10,000, loss and gradients are finite."""
    kind = of_type(dtype)
    a = draw.normal(6, 3, dtype=kind)
    b = a.roll(1, 0) + 0.1 * draw.normal(6, 3, dtype=kind)  # everybody finds somebody else's
    upstream = torch.tensor(1.0, dtype=kind)
    want_out, want = gradients(lambda a, b: nce(a, b, 1e-4), [a.double(), b.double()], upstream.double())
    out, got = attempt.gradients("info_nce", a, b, 1e-4, upstream=upstream)
    agree(out, want_out.to(kind), of="info_nce at temperature 0.0001", tol=1e-2 if dtype == "float32" else None)
    for name, grad, wanted in zip("ab", got[:2], want, strict=True):
        if dtype == "float64":
            agree(grad, wanted, of=f"gradient for {name} at temperature 0.0001", tol=1e-6)
        hold_finite(grad, f"gradient for {name} at temperature 0.0001")


@part("info_nce")
def test_other_pairs_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(5, 3), draw.normal(5, 3)) for _ in range(2)]
    hold_again(attempt, reference, "info_nce", *asked, of="info_nce of (5, 3)", views=False)


# -------------------------------------------------------------------------------------------------------- gaussian_kl


def kl(mean, log_variance, prior_mean, prior_log_variance):
    """torch's own, of normal distributions."""
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    p = torch.distributions.Normal(prior_mean, (prior_log_variance / 2).exp())
    return torch.distributions.kl_divergence(q, p).sum(1)


def kl_mistakes(m, v, pm, pv):
    want = kl(m, v, pm, pv)
    r, gap = v - pv, (m - pm).square()
    known = {
        "KL(p ‖ q)": kl(pm, pv, m, v),
        "a prior of mean 0 and variance 1, whatever is given,": kl(m, v, 0 * pm, 0 * pv),
        "the mean over d, not the sum,": want / m.shape[1],
        "no 1/2": 2 * want,
        "log_variance taken as the log of the deviation": kl(m, 2 * v, pm, 2 * pv),
        "the gap divided by q's variance": (r.exp() - r + gap * (-v).exp() - 1).sum(1) / 2,
        "no -1 for each entry": want + m.shape[1] / 2,
        "the sign of the other direction": -want,
        "a log-ratio of the wrong sign": (r.exp() + r + gap * (-pv).exp() - 1).sum(1) / 2,
    }
    return {name: value for name, value in known.items() if (value - want).abs().max() > 1e-6}


def gaussians(draw, n, d, dtype=torch.float64):
    return [draw.normal(n, d, dtype=dtype) for _ in range(4)]


@part("gaussian_kl")
@DTYPES
def test_divergence_of_gaussians(attempt, draw, dtype):
    """KL(q ‖ p) of each row, summed over its entries, for means and variances of q and p."""
    for n, d in ((5, 3), (1, 7), (4, 1)):
        given = gaussians(draw, n, d, of_type(dtype))
        known = kl_mistakes(*given)
        agree(attempt.gaussian_kl(*given), kl(*given), axes="n", of=f"gaussian_kl of ({n}, {d})", known=known)


@part("gaussian_kl")
@DTYPES
def test_divergence_from_itself(attempt, draw, dtype):
    """It is 0 from a distribution to itself, and finite for variances from e^-60 to e^60."""
    kind = of_type(dtype)
    mean, log_variance = draw.normal(5, 3, dtype=kind), draw.normal(5, 3, dtype=kind)
    got = attempt.gaussian_kl(mean, log_variance, mean, log_variance)
    agree(got + 1, torch.ones(5, dtype=kind), axes="n", of="1 + gaussian_kl of a distribution from itself")
    low = torch.tensor([[-60.0], [60.0], [-60.0], [0.0]], dtype=kind)
    prior = torch.tensor([[-60.0], [60.0], [0.0], [60.0]], dtype=kind)
    means = draw.normal(4, 1, dtype=kind) * (low / 2).exp()
    got = attempt.gaussian_kl(means, low, 0 * means, prior)
    of = "gaussian_kl of log-variances -60, 60, -60, 0 from -60, 60, 0, 60"
    agree(got, kl(*(x.double() for x in (means, low, 0 * means, prior))).to(kind), axes="n", of=of)


@part("gaussian_kl")
def test_divergence_gradients(attempt, draw):
    """Gradients flow to all four."""
    given, g = [strided(draw, 5, 3) for _ in range(4)], draw.normal(5)
    want_out, want = gradients(kl, given, g)
    out, got = attempt.gradients("gaussian_kl", *given, upstream=g)
    agree(out, want_out, axes="n", of="gaussian_kl of (5, 3)")
    names = ("mean", "log_variance", "prior_mean", "prior_log_variance")
    for name, grad, wanted in zip(names, got[:4], want, strict=True):
        agree(grad, wanted, axes="n d", of=f"gradient of gaussian_kl for {name}")


@part("gaussian_kl")
def test_divergences_leave_nothing_behind(attempt, draw):
    """When results and gradients are gone, no tensor and no graph of the call is left."""
    given, of = gaussians(draw, 5, 3), "gaussian_kl of (5, 3)"
    agree(hold_nothing_left(attempt, "gaussian_kl", *given, of=of), kl(*given), axes="n", of=of)
    x, logits, mean, log_variance = draw.uniform(5, 7), draw.normal(5, 7), *given[:2]
    said, of = hold_nothing_left(attempt, "elbo", x, logits, mean, log_variance, 2.5, of="elbo"), "elbo of x (5, 7)"
    agree(said, bound(x, logits, mean, log_variance, 2.5), of=of)


def bound(x, logits, mean, log_variance, beta=1.0):
    fit = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    return (fit - beta * kl(mean, log_variance, 0 * mean, 0 * mean)).mean()


def bound_mistakes(x, logits, mean, log_variance, beta):
    pixels, n = x[0].numel(), len(x)
    fit = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    divergence = kl(mean, log_variance, 0 * mean, 0 * mean)
    want = bound(x, logits, mean, log_variance, beta)
    known = {
        "the loss, with the sign turned,": -want,
        "pixels averaged, not summed,": (fit / pixels - beta * divergence).mean(),
        "latents averaged, not summed,": (fit - beta * divergence / mean.shape[1]).mean(),
        "the divergence added": (fit + beta * divergence).mean(),
        "no beta": (fit - divergence).mean(),
        "beta on the fit": (beta * fit - divergence).mean(),
        "no divergence": fit.mean(),
        "the divergence alone": -beta * divergence.mean(),
        "the sum over the examples": want * n,
        "squared error for the pixels": (-(logits.sigmoid() - x).square().flatten(1).sum(1) - beta * divergence).mean(),
        "KL(prior ‖ q)": (fit - beta * kl(0 * mean, 0 * mean, mean, log_variance)).mean(),
    }
    return {name: value for name, value in known.items() if abs(value - want) > 1e-6}


@part("gaussian_kl")
@DTYPES
def test_bound_of_an_autoencoder(attempt, draw, dtype):
    """Fit summed over the pixels minus beta times the divergence summed over the latents, averaged over n."""
    kind = of_type(dtype)
    for shape, d, beta in (
        ((5, 7), 3, None),
        ((2, 1, 4, 3), 5, 4.0),
        ((3, 2, 5), 2, 0.5),
        ((1, 3), 1, None),
        ((4, 3), 2, 0.0),
    ):
        x, logits = draw.uniform(*shape, dtype=kind), strided(draw, *shape, dtype=kind)
        mean, log_variance = draw.normal(shape[0], d, dtype=kind), draw.normal(shape[0], d, dtype=kind)
        options = {} if beta is None else {"beta": beta}
        got, want = (
            attempt.elbo(x, logits, mean, log_variance, **options),
            bound(x, logits, mean, log_variance, **options),
        )
        known = bound_mistakes(x, logits, mean, log_variance, 1.0 if beta is None else beta)
        agree(got, want, of=f"elbo of x {shape}, latents of width {d}, {options or 'default beta'}", known=known)


@part("gaussian_kl")
def test_bound_gradients(attempt, draw):
    """Gradients flow to logits, mean and log_variance; logits of ±10,000 are finite."""
    x, logits = (draw.uniform(4, 7) < 0.5).double(), draw.normal(4, 7)
    logits[1] = torch.tensor(FAR).double()
    mean, log_variance, upstream = draw.normal(4, 3), draw.normal(4, 3), torch.tensor(-1.7).double()
    leaves = [logits, mean, log_variance]
    want_out, want = gradients(lambda z, m, v: bound(x, z, m, v, 2.5), leaves, upstream)
    out, got = attempt.gradients("elbo", x, *leaves, 2.5, upstream=upstream)
    agree(out, want_out, of="elbo of x (4, 7), logits up to ±10,000, beta 2.5")
    for name, grad, wanted in zip(("logits", "mean", "log_variance"), got[1:4], want, strict=True):
        agree(grad, wanted, of=f"gradient of elbo for {name}, times -1.7")


@part("gaussian_kl")
def test_other_laws_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(*(draw.normal(5, 3) for _ in "1234"),) for _ in range(2)]
    hold_again(attempt, reference, "gaussian_kl", *asked, of="gaussian_kl of (5, 3)", views=False)
    asked = [(draw.uniform(5, 7), draw.normal(5, 7), draw.normal(5, 3), draw.normal(5, 3)) for _ in range(2)]
    hold_again(attempt, reference, "elbo", *asked, of="elbo of x (5, 7)", views=False)


# ---------------------------------------------------------------------------------------------- chunked_cross_entropy


def whole(hidden, weight, targets):
    return F.cross_entropy(hidden @ weight.T, targets)


def vocabulary(draw, n, v, d, dtype=torch.float64):
    return draw.normal(n, d, dtype=dtype), draw.normal(v, d, dtype=dtype), draw.integers(0, v, n)


@part("chunked_cross_entropy")
@DTYPES
def test_any_chunk_gives_the_mean(attempt, draw, dtype):
    """Whatever the chunk, the loss is the mean over all tokens, the last chunk being shorter or not."""
    hidden, weight, targets = vocabulary(draw, 11, 7, 3, of_type(dtype))
    want = whole(hidden, weight, targets)
    chunks = (1, 2, 3, 4, 5, 11, 64)
    found = attempt.each("chunked_cross_entropy", [(hidden, weight, targets, chunk) for chunk in chunks])
    for chunk, got in zip(chunks, found, strict=True):
        parts = list(zip(hidden.split(chunk), targets.split(chunk), strict=True))
        kept = 11 // chunk * chunk
        known = {
            "the mean of the chunks' means": sum(whole(h, weight, y) for h, y in parts) / len(parts),
            "the sum over the tokens": 11 * want,
            "the last chunk alone": whole(parts[-1][0], weight, parts[-1][1]),
        }
        if 0 < kept < 11:
            known["the last, shorter chunk left out"] = whole(hidden[:kept], weight, targets[:kept])
            known["the last, shorter chunk left out, divided by all,"] = (
                whole(hidden[:kept], weight, targets[:kept]) * kept / 11
            )
        known = {name: value for name, value in known.items() if abs(value - want) > 1e-6}
        agree(got, want, of=f"chunked_cross_entropy of 11 tokens in chunks of {chunk}, V=7 d=3", known=known)


@part("chunked_cross_entropy")
def test_chunked_gradients(attempt, draw):
    """Gradients flow to hidden and weight from every chunk; strides and a frozen weight do not matter."""
    hidden, weight = strided(draw, 11, 3), strided(draw, 7, 3)
    targets = draw.integers(0, 7, 11)
    for chunk in (1, 4, 11):
        of = f"chunked_cross_entropy of 11 tokens in chunks of {chunk}"
        oracle = lambda h, w: whole(h, w, targets)
        hold_gradients(
            attempt, "chunked_cross_entropy", oracle, [hidden, weight], (targets, chunk), ["hidden", "weight"], of
        )
    upstream = torch.tensor(2.0).double()
    want_out, want = gradients(lambda h: whole(h, weight, targets), [hidden], upstream)
    out, got = attempt.gradients(drivers.chunked_of_frozen, hidden, weight, targets, 4, upstream=upstream)
    agree(out, want_out, of="chunked_cross_entropy with a frozen weight")
    agree(got[0], want[0], axes="n d", of="gradient for hidden with a frozen weight")
    want_out, want = gradients(lambda w: whole(hidden, w, targets), [weight], upstream)
    out, got = attempt.gradients(drivers.chunked_of_frozen_states, hidden, weight, targets, 4, upstream=upstream)
    agree(out, want_out, of="chunked_cross_entropy with frozen hidden states")
    agree(got[1], want[0], axes="V d", of="gradient for weight with frozen hidden states")


@part("chunked_cross_entropy")
@DTYPES
def test_chunked_logits_of_any_size(attempt, draw, dtype):
    """Logits of ±10,000 give a finite loss and finite gradients."""
    kind = of_type(dtype)
    hidden, weight, targets = vocabulary(draw, 7, 5, 3, kind)
    hidden = 1e4 * hidden
    upstream = torch.tensor(1.0, dtype=kind)
    want_out, want = gradients(lambda h, w: whole(h, w, targets), [hidden, weight], upstream)
    out, got = attempt.gradients("chunked_cross_entropy", hidden, weight, targets, 3, upstream=upstream)
    agree(out, want_out, of="chunked_cross_entropy, logits of 10,000 and more")
    for name, grad, wanted in zip(("hidden", "weight"), got[:2], want, strict=True):
        agree(
            grad, wanted, of=f"gradient for {name}, logits of 10,000 and more", tol=1e-2 if dtype == "float32" else 1e-6
        )


SIZES = pytest.mark.parametrize(
    ("n", "v", "d", "chunk"), [(509, 211, 7, 8), (307, 401, 5, 13)], ids=["many chunks", "a large vocabulary"]
)


@part("chunked_cross_entropy")
@SIZES
def test_no_more_than_a_chunk_of_logits(attempt, draw, n, v, d, chunk):
    """Forward and backward, a chunk of logits is all there is at once, and a recomputation all that it costs."""
    hidden, weight, targets = vocabulary(draw, n, v, d)
    got, cost = attempt.cost(drivers.chunked_cost, hidden, weight, targets, chunk)
    of = f"n={n} V={v} d={d}, chunks of {chunk}, forward and backward"
    loss, grads = gradients(lambda h, w: whole(h, w, targets), [hidden, weight], torch.tensor(1.0).double())
    agree(tuple(got), (loss, *grads), of=f"(loss, gradients), {of}")
    in_torch(cost, of=of, values=n + 64)
    known = {"all logits": n * v}
    at_most(cost.largest, max(chunk * v, v * d, n * d), of=f"largest tensor, in elements, {of}", known=known)
    limit = 8 * (6 * chunk * v + 3 * v * d + 2 * n * d + 8 * n)
    at_most(cost.peak, limit, of=f"most bytes alive at once, {of}", known={"all logits once": 8 * n * v})
    known = {"a product more, or the logits three times,": 10 * n * v * d}
    at_most(cost.flops, 8.2 * n * v * d, of=f"FLOPs, {of}", known=known)


@part("chunked_cross_entropy")
@SIZES
def test_nothing_waits_but_what_is_small(attempt, draw, n, v, d, chunk):
    """What waits for the backward pass grows with V·d and n·d, not with n·V."""
    hidden, weight, targets = vocabulary(draw, n, v, d)
    got, cost = attempt.cost(drivers.chunked_saved, hidden, weight, targets, chunk)
    of = f"n={n} V={v} d={d}, chunks of {chunk}"
    agree(got, whole(hidden, weight, targets), of=f"chunked_cross_entropy, {of}")
    limit = 8 * (2 * (v * d + n * d) + 8 * n)
    at_most(cost.saved, limit, of=f"bytes that wait for the backward pass, {of}", known={"all logits": 8 * n * v})
    at_most(cost.largest, max(chunk * v, v * d, n * d), of=f"largest tensor of the forward pass, in elements, {of}")
    limit = 8 * (6 * chunk * v + 3 * v * d + 2 * n * d + 8 * n)
    at_most(cost.peak, limit, of=f"most bytes alive at once in the forward pass, {of}", known={"all logits": 8 * n * v})


@part("chunked_cross_entropy")
@SIZES
def test_without_gradients_one_product(attempt, draw, n, v, d, chunk):
    """Where nobody asks for gradients, the logits are computed once and nothing more."""
    hidden, weight, targets = vocabulary(draw, n, v, d)
    got, cost = attempt.cost("chunked_cross_entropy", hidden, weight, targets, chunk)
    of = f"n={n} V={v} d={d}, chunks of {chunk}, without gradients"
    agree(got, whole(hidden, weight, targets), of=f"chunked_cross_entropy, {of}")
    in_torch(cost, of=of, values=n + 64)
    known = {"gradients that nobody asked for": 6 * n * v * d}
    at_most(cost.flops, 2.1 * n * v * d, of=f"FLOPs, {of}", known=known)
    at_most(
        cost.largest, max(chunk * v, v * d, n * d), of=f"largest tensor, in elements, {of}", known={"all logits": n * v}
    )
    limit = 8 * (6 * chunk * v + 3 * v * d + 2 * n * d + 8 * n)
    at_most(cost.peak, limit, of=f"most bytes alive at once, {of}", known={"all logits": 8 * n * v})


@part("chunked_cross_entropy")
def test_chunks_leave_nothing_behind(attempt, draw):
    """When loss and gradients are gone, no tensor and no graph of the call is left."""
    hidden, weight, targets = vocabulary(draw, 13, 7, 3)
    of = "chunked_cross_entropy of 13 tokens in chunks of 4"
    said = hold_nothing_left(attempt, "chunked_cross_entropy", hidden, weight, targets, 4, of=of)
    agree(said, whole(hidden, weight, targets), of=of)


@part("chunked_cross_entropy")
def test_a_vocabulary_of_65536(attempt, draw):
    """512 tokens over 65,536 words, whose logits and their gradients would be 0.4 GB, fit into the memory limit."""
    n, v, d, kinds, chunk = 512, 65_536, 4, 7, 16
    weight, few = draw.normal(v, d, dtype=torch.float32), draw.normal(kinds, d, dtype=torch.float32)
    which, targets = draw.integers(0, kinds, n), draw.integers(0, v, n)
    hidden = few[which]
    got = attempt.cost(drivers.chunked_cost, hidden, weight, targets, chunk)
    # Of 7 different hidden states the oracle needs 7 rows of logits.
    logits = few.double() @ weight.double().T
    p = logits.softmax(1)
    loss = (logits.logsumexp(1)[which] - logits[which, targets]).mean()
    dhidden = ((p @ weight.double())[which] - weight.double()[targets]) / n
    counts = torch.bincount(which, minlength=kinds)[:, None]
    dweight = (p.T @ (counts * few.double())).index_add(0, targets, -hidden.double()) / n
    (said, *grads), cost = got
    of = "n=512 V=65,536 d=4, chunks of 16"
    agree(said, loss.float(), of=f"chunked_cross_entropy, {of}")
    agree(grads[0], dhidden.float(), axes="n d", of=f"gradient for hidden, {of}", tol=1e-3)
    agree(grads[1], dweight.float(), axes="V d", of=f"gradient for weight, {of}", tol=1e-3)
    limit = 4 * (6 * chunk * v + 3 * v * d + 2 * n * d + 8 * n)
    at_most(cost.peak, limit, of=f"most bytes alive at once, {of}", known={"all logits": 4 * n * v})
