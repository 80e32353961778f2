"""Hidden checks of dl_026. Oracles: sums by hand, closed forms, exact coverage by leaving each example out in turn.

Where sets are compared, probabilities are multiples of 1/4096 and u of 1/64: their sums are exact in float32, so that
no rounding decides what is in a set. Randomness: a right answer fails one statement with a probability below 1e-6.
"""

import math
import statistics

import pytest
import torch

from grader.checks import Wrong, agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, hold_turns, spaced
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import hold_generator, hold_independent, hold_rate
from grader.checks.repeats import hold_unrepeated

from . import drivers

UNIT = 4096


def seed_from(draw):
    return draw.random.randrange(2**40)


def wide(values):
    """A float64 tensor of them."""
    return torch.tensor(values, dtype=torch.float64)


def dyadic(draw, c):
    """c different probabilities, all of them multiples of 1/4096."""
    while True:
        cuts = sorted(draw.random.sample(range(1, UNIT), c - 1))
        gaps = [b - a for a, b in zip([0, *cuts], [*cuts, UNIT], strict=True)]
        if len(set(gaps)) == c:
            return [gap / UNIT for gap in gaps]


# --- calibration_error ------------------------------------------------------------------------------------------------


def binned(confidences, right, bins, belongs=None, claim=None, weigh=None, total=sum):
    """The error by loops; belongs, claim and weigh say what a mistake does otherwise."""
    belongs = belongs or (lambda p: math.ceil(p * bins) - 1)
    n, gaps = len(right), []
    for b in range(bins):
        inside = [i for i, p in enumerate(confidences) if belongs(p) == b]
        if inside:
            said = sum(confidences[i] for i in inside) / len(inside) if claim is None else claim(b)
            weight = len(inside) / n if weigh is None else weigh
            gaps.append(weight * abs(sum(right[i] for i in inside) / len(inside) - said))
    return float(total(gaps))


def calibration_mistakes(probabilities, labels, bins):
    confidences, predicted = ([f(row) for row in probabilities] for f in (max, lambda row: row.index(max(row))))
    right = [one == label for one, label in zip(predicted, labels, strict=True)]
    gap = [r - p for r, p in zip(right, confidences, strict=True)]
    of_label = [row[label] for row, label in zip(probabilities, labels, strict=True)]
    known = {
        "bins closed on the left": binned(confidences, right, bins, lambda p: min(int(p * bins), bins - 1)),
        "the centre of a bin for its mean confidence": binned(
            confidences, right, bins, claim=lambda b: (b + 0.5) / bins
        ),
        "the upper end of a bin for its mean confidence": binned(
            confidences, right, bins, claim=lambda b: (b + 1) / bins
        ),
        "a plain sum over bins": binned(confidences, right, bins, weigh=1.0),
        "a mean over all bins": binned(confidences, right, bins, weigh=1 / bins),
        "the largest gap": binned(confidences, right, bins, weigh=1.0, total=max),
        "a single bin": abs(sum(gap)) / len(gap),
        "a bin for each example": sum(map(abs, gap)) / len(gap),
        "the label's probability for the confidence": binned(of_label, right, bins),
        "signed gaps added up": sum(gap) / len(gap),
    }
    return binned(confidences, right, bins), known


@part("calibration_error")
def test_three_examples_by_hand(attempt):
    """Two of confidence 0.9 with one right, and one of 0.6 that is right: 2/3 · 0.4 + 1/3 · 0.4."""
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    agree(attempt.calibration_error(p, torch.tensor([0, 1, 1]), bins=10), 0.4, of="calibration_error, three examples")


@part("calibration_error")
@each_dtype
@pytest.mark.parametrize(("n", "c", "bins"), [(97, 3, 5), (41, 2, 11), (200, 7, 15), (5, 4, 1), (60, 5, 40)])
def test_bins_weighed_by_their_examples(attempt, draw, n, c, bins, dtype):
    """Each bin adds its share of the examples times the gap of its accuracy and its mean confidence."""
    logits = draw.normal(n, c, scale=2.0)
    labels = torch.where(draw.uniform(n) < 0.6, logits.argmax(dim=1), draw.integers(0, c, n))
    probabilities = logits.softmax(dim=1).to(of_type(dtype))
    want, known = calibration_mistakes(probabilities.double().tolist(), labels.tolist(), bins)
    known = {name: value for name, value in known.items() if abs(value - want) > 1e-6}
    got = attempt.calibration_error(probabilities, labels, bins)
    agree(got, want, tol=1e-5, of=f"calibration_error of {n} examples, {c} classes, {bins} bins, {dtype}", known=known)


@part("calibration_error")
@each_dtype
def test_an_edge_belongs_to_the_bin_on_its_left(attempt, draw, dtype):
    """A confidence of b/B is in bin b: bins are closed on the right."""
    for bins, c in ((4, 5), (8, 3)):
        edges = [b / bins for b in range(math.ceil(bins / c) + 1, bins + 1)]
        confidences = [p for edge in edges for p in (edge, edge - 1 / 64)] + [edges[0]]
        rows = [[p, *[(1 - p) / (c - 1)] * (c - 1)] for p in confidences]
        labels = [0 if i % 3 else 1 for i in range(len(rows))]
        want, known = calibration_mistakes(rows, labels, bins)
        known = {name: known[name] for name in ("bins closed on the left",)}
        got = attempt.calibration_error(torch.tensor(rows, dtype=of_type(dtype)), torch.tensor(labels), bins)
        agree(got, want, tol=1e-5, of=f"calibration_error, confidences on the edges of {bins} bins", known=known)


@part("calibration_error")
def test_confidences_are_compared_in_float64(attempt):
    """The float32 next to 0.6 is above 0.6, so it is in the seventh bin of ten; that next to 0.7 is in the seventh."""
    confidences = [0.3, 0.4, 0.6, 0.7, 0.8, 0.25, 0.35, 0.55, 0.65, 0.75]
    p = torch.tensor([[p, *[(1 - p) / 4] * 4] for p in confidences])
    labels = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
    want, _ = calibration_mistakes(p.double().tolist(), labels, 10)
    of = "calibration_error of float32 confidences 0.3, 0.4, 0.6 ... that lie beside the edges of 10 bins"
    agree(attempt.calibration_error(p, torch.tensor(labels), 10), want, tol=1e-5, of=of)


@part("calibration_error")
def test_fifteen_bins_by_default(attempt, draw):
    """Without `bins` there are 15."""
    logits = draw.normal(300, 2, scale=1.5)
    labels, p = draw.integers(0, 2, 300), logits.softmax(dim=1)
    want, _ = calibration_mistakes(p.tolist(), labels.tolist(), 15)
    agree(attempt.calibration_error(p, labels), want, tol=1e-6, of="calibration_error of 300 examples, bins not given")


@part("calibration_error")
def test_calibration_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(23, 5).softmax(dim=1), draw.integers(0, 5, 23), 7) for _ in range(2)]
    hold_again(attempt, reference, "calibration_error", *asked, of="calibration_error of (23, 5), 7 bins")


# --- fit_temperature --------------------------------------------------------------------------------------------------


def best_temperature(logits, labels):
    """Where autograd's slope of the loss by log T changes its sign, within the range."""
    low, high = math.log(0.01), math.log(100)
    for _ in range(60):
        middle = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        loss = -(logits.double() / middle.exp()).log_softmax(dim=1).gather(1, labels[:, None]).mean()
        (slope,) = torch.autograd.grad(loss, middle)
        low, high = (middle.item(), high) if slope < 0 else (low, middle.item())
    return math.exp(low)


@part("fit_temperature")
def test_two_classes_in_closed_form(attempt):
    """Where k of n labels are the likelier class of margin a, T is a / log(k / (n - k))."""
    for margin, k, n in ((6.0, 3, 4), (0.7, 5, 7), (40.0, 9, 11)):
        logits = torch.tensor([[0.3, 0.3 + margin]], dtype=torch.float64).expand(n, 2)
        labels = torch.tensor([1] * k + [0] * (n - k))
        want = margin / math.log(k / (n - k))
        known = {"1 / T": 1 / want, "log T": math.log(want), "no fit": 1.0}
        known = {name: value for name, value in known.items() if abs(value / want - 1) > 0.01}
        of = f"fit_temperature, margin {margin}, {k} of {n} right"
        agree(attempt.fit_temperature(logits, labels), want, tol=1e-4, of=of, known=known)


@part("fit_temperature")
@each_dtype
@pytest.mark.parametrize("true", [0.05, 0.6, 1.0, 7.9, 60.0])
def test_temperature_zeroes_the_slope_of_the_loss(attempt, draw, true, dtype):
    """Labels drawn at a temperature: what comes back is where the slope of the loss is 0."""
    for n, c in ((83, 5), (300, 2)):
        calm = draw.normal(n, c, scale=1.5)
        labels = torch.multinomial(calm.softmax(dim=1), 1, generator=draw.generator)[:, 0]
        logits = (calm * true).to(of_type(dtype))
        want = best_temperature(logits, labels)
        of = f"fit_temperature of {n} examples, {c} classes, drawn at temperature {true}, {dtype}"
        agree(attempt.fit_temperature(logits, labels), want, tol=1e-4, of=of, known={"1 / T": 1 / want})


@part("fit_temperature")
@each_dtype
def test_temperature_of_large_logits(attempt, draw, dtype):
    """A number in the thousands added to all logits of an example changes nothing, and overflows nothing."""
    calm = draw.normal(101, 4, scale=2.0)
    labels = torch.multinomial(calm.softmax(dim=1), 1, generator=draw.generator)[:, 0]
    for scale, shift in ((30, 4096.0), (30, -8192.0), (0.05 if dtype == "float64" else 30, 8192.0)):
        logits = (scale * calm + shift).to(of_type(dtype))
        want = best_temperature(logits, labels)
        of = f"fit_temperature of logits near {shift:g}, {dtype}"
        agree(attempt.fit_temperature(logits, labels), want, tol=1e-4, of=of)


@part("fit_temperature")
def test_temperature_stays_in_its_range(attempt, draw):
    """If the loss falls up to an end of [0.01, 100], T is that end."""
    n, c = 23, 3
    labels = draw.integers(0, c, n)
    logits = draw.uniform(n, c, high=0.05)
    for sign, want, what in ((1, 0.01, "right"), (-1, 100.0, "wrong")):
        sure = logits.scatter(1, labels[:, None], sign * 0.1)
        agree(attempt.fit_temperature(sure, labels), want, tol=1e-4, of=f"fit_temperature, every example {what}")
    bold = 500 * draw.normal(n, c)
    of = "fit_temperature, the least likely class is the label"
    agree(attempt.fit_temperature(bold, bold.argmin(dim=1)), 100.0, tol=1e-4, of=of)


@part("fit_temperature")
def test_the_temperature_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    logits = [3 * draw.normal(97, 5) for _ in range(2)]
    laws = [(one / t).softmax(dim=1).cumsum(dim=1) for one, t in zip(logits, (1.0, 3.0), strict=True)]
    labels = [(law[:, :-1] < draw.uniform(97, 1)).sum(dim=1) for law in laws]
    asked = list(zip(logits, labels, strict=True))
    hold_again(attempt, reference, "fit_temperature", *asked, of="fit_temperature of (97, 5)", tol=2e-4, no_grad=False)


# --- mc_dropout -------------------------------------------------------------------------------------------------------


def shape_for(kind):
    return {"plain": (2, 41), "1d": (2, 41, 3), "2d": (2, 41, 2, 3), "3d": (2, 41, 2, 1, 3), "alpha": (2, 41)}.get(
        kind, (2, 41, 3)
    )


@part("mc_dropout")
@pytest.mark.parametrize("kind", list(drivers.DROPOUTS))
def test_passes_differ(attempt, draw, kind):
    """Every kind of dropout is on: no two passes are equal, nor two calls, from train mode or eval."""
    shape = shape_for(kind)
    x = draw.normal(*shape)
    for mode in (False, True):
        seed = seed_from(draw)
        got, again = attempt.each(drivers.passes_of, [(x, 3, 0.5, kind, seed, mode)] * 2)
        of = f"mc_dropout of {drivers.DROPOUTS[kind].__name__}(0.5) in {'train' if mode else 'eval'} mode, x {shape}"
        for name in ("first", "second"):
            agree(torch.zeros_like(got[name]), torch.zeros((3, *shape), dtype=x.dtype), of=f"{of}, its form")
        six = [*got["first"], *got["second"]]
        for i in range(6):
            for j in range(i):
                same = "the passes of one call" if i // 3 == j // 3 else "two calls, one after the other,"
                assert not torch.equal(six[i], six[j]), f"{of}: {same} are equal: masks are drawn anew each time"
        assert got["recorded"] is False, f"{of}: the result is part of a graph; nothing is to be recorded"
        for name in ("first", "second"):
            agree(again[name], got[name], of=f"{of}, once more after torch.manual_seed of the same seed")


@part("mc_dropout")
def test_masks_are_independent(attempt, draw):
    """Each number, of each example, in each pass, is dropped independently with the module's own rate."""
    trials, rate = 800, 0.3
    x = draw.uniform(2, 3, low=1, high=2)
    out = attempt.run(drivers.many_passes, x, 3, rate, trials, seed_from(draw))
    of = f"mc_dropout of Dropout({rate}), x (2, 3), 3 passes, {trials:,} calls"
    agree(torch.zeros_like(out), torch.zeros(trials, 3, 2, 3, dtype=x.dtype), of=f"{of}, its form")
    kept = out != 0
    agree(out, kept * (x / (1 - rate)), axes="trial pass n k", of=f"{of}, what was kept")
    hold_independent(~kept.flatten(1), rate, of, name=lambda i: f"pass {i // 6}, example {i // 3 % 2}, number {i % 3}")
    x = draw.uniform(151, 41, low=1, high=2)
    out = attempt.run(drivers.many_passes, x, 11, rate, 2, seed_from(draw))
    of = f"mc_dropout of Dropout({rate}), x (151, 41), 11 passes, 2 calls, what is dropped"
    agree(torch.zeros_like(out), torch.zeros(2, 11, 151, 41, dtype=x.dtype), of=f"{of}, its form")
    hold_unrepeated((out == 0).flatten(0, 2), rate, of)


def network_of(draw, dtype):
    w = draw.normal(5, 3, dtype=dtype)
    statistics = [(draw.normal(5, dtype=dtype), draw.uniform(5, low=0.5, high=2.0, dtype=dtype)) for _ in range(2)]
    return w, statistics


def through(x, state):
    w, norms = state
    out = x @ w.T
    for mean, variance in norms:
        out = (out - mean) / (variance + 1e-5).sqrt()
    return out


@part("mc_dropout")
@each_dtype
@pytest.mark.parametrize("n", [1, 7])
def test_batch_norm_stays_in_eval_mode(attempt, draw, n, dtype):
    """BatchNorm uses its running statistics, whatever mode it comes in, also on a batch of 1, and leaves them alone."""
    state = network_of(draw, of_type(dtype))
    count = attempt.run(drivers.modules_of_network, state)
    x = draw.normal(n, 3, dtype=of_type(dtype))
    for modes, passes in (([True] * count, 2), ([False] * count, 1)):
        got = attempt.run(drivers.passes_of_network, x, passes, 0.0, state, modes, seed_from(draw))
        of = f"mc_dropout of Linear, BatchNorm, Dropout(0), ..., all in {'train' if modes[0] else 'eval'} mode, n {n}"
        want = through(x, state).expand(passes, n, 5)
        agree(got["out"], want, axes="pass n k", of=of)
        assert got["changed"] == [], f"{of} changed {', '.join(got['changed'])}"


@part("mc_dropout")
def test_modes_come_back(attempt, draw):
    """Afterwards each module is in the mode in which it came, with its rate, and nothing has changed."""
    state = network_of(draw, torch.float64)
    count = attempt.run(drivers.modules_of_network, state)
    x = draw.normal(5, 3)
    for _ in range(6):
        modes = [draw.random.random() < 0.5 for _ in range(count)]
        got = attempt.run(drivers.passes_of_network, x, 3, 0.4, state, modes, seed_from(draw))
        of = f"mc_dropout of a network of {count} modules in mixed modes"
        agree(got["modes"], modes, of=f"{of}: whether each is in training mode afterwards")
        agree(got["rates"], [0.4, 0.4], of=f"{of}: the dropout rates afterwards")
        assert got["changed"] == [], f"{of} changed {', '.join(got['changed'])}"
        assert not got["gradients"], f"{of} left gradients at the parameters"
        assert got["asks"], f"{of} left parameters that ask for no gradient any more"
        assert not got["recorded"], f"{of}: the result is part of a graph; nothing is to be recorded"
        plain = through(x, state)
        kept = got["out"] != 0
        assert not kept.all(), f"{of}: no dropout was at work"
        assert kept.any(), f"{of}: all was dropped"
        scale = (got["out"][0] - got["out"][1]).abs().max()
        assert scale > 1e-6, f"{of}: two passes are equal"
        assert got["out"].shape == (3, *plain.shape), (
            f"{of}: expected the shape (3, 5, 5), got {tuple(got['out'].shape)}"
        )


@part("mc_dropout")
def test_modes_come_back_after_an_error(attempt, draw):
    """If the model raises the modes come back, too, and the error goes on."""
    x = draw.normal(4, 3)
    for first in (False, True):
        modes = [first, *([first, not first] * 2)]
        got = attempt.run(drivers.modes_after_failure, x, modes)
        of = "mc_dropout of a model that raises"
        agree(got["raised"], "the model broke", of=f"{of}: the error")
        agree(got["modes"], modes, of=f"{of}: whether each module is in training mode afterwards")


@part("mc_dropout")
@pytest.mark.parametrize(("passes", "rate"), [(0, 0.5), (-2, 0.5), (3, None)], ids=str)
def test_mc_dropout_refuses(attempt, passes, rate):
    """Fewer passes than one, and a model without dropout, are a ValueError."""
    model = "without dropout" if rate is None else "with dropout"
    with refusal(ValueError, of=f"mc_dropout of a model {model}, {passes} passes"):
        attempt.run(drivers.passes_refused, passes, rate)


@part("mc_dropout")
def test_passes_of_another_batch(attempt, reference, draw):
    """Each call takes its own x, whatever came before in the same sizes and however it lies in memory."""
    asked = [(draw.normal(5, 7), 3) for _ in range(2)]
    hold_again(
        attempt,
        reference,
        drivers.passes_at_rate_0,
        *asked,
        of="mc_dropout of x (5, 7), 3 passes, rate 0",
        no_grad=True,
    )


@part("mc_dropout")
def test_dropout_in_place(attempt, draw):
    """A model that begins with a dropout in place leaves x as it is, and each pass has a mask of its own."""
    x = draw.uniform(7, 23, low=1.0, high=2.0)
    got = attempt.run(drivers.passes_in_place, x, 5, seed_from(draw))
    of = "mc_dropout of a model that begins with nn.Dropout(0.5, inplace=True), x (7, 23), 5 passes"
    assert got["left"], f"{of}: x is not what it was"
    kept = got["out"] != 0
    agree(got["out"], kept * (2 * x).square(), axes="m n d", of=f"{of}: 0, or (2 x)²")
    hold_independent(kept.flatten(1).T, 0.5, f"{of}: what is kept", name=lambda i: f"pass {i + 1}")


# --- decompose --------------------------------------------------------------------------------------------------------


@part("decompose")
def test_two_gaussians_by_hand(attempt):
    """Means 1 and 3, variances 4 and 6: mean 2, noise 5, disagreement 1."""
    got = attempt.mixture(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]))
    want = {name: torch.tensor(value) for name, value in (("mean", 2.0), ("aleatoric", 5.0), ("epistemic", 1.0))}
    agree(got, want, of="mixture of means (1, 3), variances (4, 6)")


@part("decompose")
@each_dtype
@pytest.mark.parametrize("shape", [(5, 3), (2, 7), (1, 4), (7, 2, 3)], ids=str)
def test_variance_of_a_mixture(attempt, draw, shape, dtype):
    """The mean of the variances is noise, the variance of the means, divided by m, is disagreement."""
    means, variances = draw.normal(*shape, dtype=of_type(dtype)), draw.uniform(*shape, low=0.2, dtype=of_type(dtype))
    columns = means.double().flatten(1).T.tolist()
    spread = torch.tensor([statistics.pvariance(column) for column in columns], dtype=of_type(dtype)).view(shape[1:])
    centre = torch.tensor([statistics.fmean(column) for column in columns], dtype=of_type(dtype)).view(shape[1:])
    noise = [statistics.fmean(column) for column in variances.double().flatten(1).T.tolist()]
    want = {
        "mean": centre,
        "aleatoric": torch.tensor(noise, dtype=of_type(dtype)).view(shape[1:]),
        "epistemic": spread,
    }
    known = {}
    if shape[0] > 1:
        known = {
            "a variance of the means divided by m - 1": want | {"epistemic": spread * shape[0] / (shape[0] - 1)},
            "the deviation for the variance": want | {"epistemic": spread.sqrt()},
            "noise and disagreement exchanged": want | {"aleatoric": spread, "epistemic": want["aleatoric"]},
            "the total for the disagreement": want | {"epistemic": spread + want["aleatoric"]},
        }
    agree(attempt.mixture(means, variances), want, of=f"mixture of {shape}, {dtype}", known=known)


@part("decompose")
def test_large_means_that_are_close(attempt, draw):
    """Means near 10⁶ that differ by tenths: their spread is not lost."""
    near = draw.normal(5, 11, scale=0.1)
    offset = near - near.mean(dim=0)
    want = offset.square().mean(dim=0)
    got = attempt.mixture(near + 1e6, torch.ones_like(near))
    known = {"E[μ²] - E[μ]²": ((near + 1e6) ** 2).mean(dim=0) - (near + 1e6).mean(dim=0) ** 2}
    agree(got["epistemic"], want, tol=1e-6, of="mixture of means near 1e6 that differ by 0.1, epistemic", known=known)


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def decomposed(p):
    """total, aleatoric, epistemic by loops; the last as a mean divergence from the mean."""
    m, n, c = p.shape
    rows = {"total": [], "aleatoric": [], "epistemic": []}
    for i in range(n):
        members = p[:, i].double().tolist()
        mean = [sum(one[k] for one in members) / m for k in range(c)]
        rows["total"].append(entropy(mean))
        rows["aleatoric"].append(sum(map(entropy, members)) / m)
        apart = [x * math.log(x / q) for one in members for x, q in zip(one, mean, strict=True) if x > 0]
        rows["epistemic"].append(sum(apart) / m)
    return {name: torch.tensor(values, dtype=p.dtype) for name, values in rows.items()}


@part("decompose")
def test_certain_members_that_disagree(attempt):
    """(1, 0) and (0, 1): all of log 2 is disagreement. (0.5, 0.5) twice: all of it is noise."""
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]], dtype=torch.float64)
    one = math.log(2)
    rows = {"total": [one, one], "aleatoric": [0.0, one], "epistemic": [one, 0.0]}
    want = {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}
    agree(attempt.decompose(p), want, of="decompose of ((1, 0), (.5, .5)) and ((0, 1), (.5, .5))")


@part("decompose")
@each_dtype
@pytest.mark.parametrize(("m", "n", "c"), [(5, 7, 3), (2, 11, 4), (1, 3, 5), (13, 2, 2)])
def test_entropy_is_noise_and_disagreement(attempt, draw, m, n, c, dtype):
    """Entropy of the mean, mean of the entropies, and the mean divergence from the mean between them."""
    logits = draw.normal(m, n, c, scale=2.0)
    p = logits.softmax(dim=-1).to(of_type(dtype))
    want, geometric = decomposed(p), decomposed(logits.mean(dim=0, keepdim=True).softmax(dim=-1).to(p.dtype))["total"]
    known = {
        "a mean of the logits": want | {"total": geometric, "epistemic": (geometric - want["aleatoric"]).clamp(min=0)},
        "entropies in bits": {name: value / math.log(2) for name, value in want.items()},
        "noise and disagreement exchanged": want | {"aleatoric": want["epistemic"], "epistemic": want["aleatoric"]},
    }
    got, of = attempt.decompose(p), f"decompose of {m} members, {n} examples, {c} classes, {dtype}"
    if m == 1:  # the right value is 0, to which no error is small
        agree(got["epistemic"] + 1, want["epistemic"] + 1, of=f"{of}, 1 + epistemic")
        got, known = got | {"epistemic": want["epistemic"]}, {}
    agree(got, want, of=of, known=known)


@part("decompose")
@each_dtype
def test_members_that_agree(attempt, draw, dtype):
    """Where all members say the same the disagreement is 0, and not a little less."""
    p = draw.normal(1, 300, 7, scale=3.0).softmax(dim=-1).to(of_type(dtype))
    for m in (2, 3, 7):
        got = attempt.decompose(p.expand(m, 300, 7))["epistemic"]
        agree(
            got.double() + 1, torch.ones(300, dtype=torch.float64), tol=1e-5, of=f"1 + epistemic of {m} equal members"
        )
        assert (got >= 0).all(), f"decompose of {m} equal members, {dtype}: epistemic is {got.min():.2g}, below 0"


@part("decompose")
@each_dtype
def test_probabilities_of_zero(attempt, draw, dtype):
    """0 · log 0 is 0: classes that a member, or all of them, rule out give no NaN."""
    p = draw.normal(3, 5, 4).softmax(dim=-1)
    p[0, :, 2], p[:, 1, 3], p[1, 2, :3] = 0, 0, 0
    p = (p / p.sum(dim=-1, keepdim=True)).to(of_type(dtype))
    agree(attempt.decompose(p), decomposed(p), of=f"decompose of probabilities with zeros, {dtype}")


@part("decompose")
def test_another_ensemble_of_that_size(attempt, reference, draw):
    """Each call takes its own members, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(4, 3, 5), draw.uniform(4, 3, 5, low=0.1)) for _ in range(2)]
    hold_again(attempt, reference, "mixture", *asked, of="mixture of means and variances (4, 3, 5)")
    asked = [(draw.normal(4, 3, 5).softmax(dim=2),) for _ in range(2)]
    hold_again(attempt, reference, "decompose", *asked, of="decompose of probabilities (4, 3, 5)")


# --- heteroscedastic_loss ---------------------------------------------------------------------------------------------


def loss_by_hand(mean, s, target, beta):
    """The loss, and its gradients by formula."""
    r, n = target - mean, mean.numel()
    weight = (beta * s).exp()
    return {
        "loss": (weight * (s + r**2 * (-s).exp())).sum() / (2 * n),
        "mean": -weight * r * (-s).exp() / n,
        "log_variance": weight * (1 - r**2 * (-s).exp()) / (2 * n),
    }


@part("heteroscedastic_loss")
def test_one_number_by_hand(attempt):
    """mean 1, target 3, s = log 2: ½ · (log 2 + 2), and with β = 1 twice that."""
    mean, s, target = (torch.tensor([v], dtype=torch.float64) for v in (1.0, math.log(2), 3.0))
    for beta, want in (((), 0.5 * math.log(2) + 1), ((0.0,), 0.5 * math.log(2) + 1), ((1.0,), math.log(2) + 2)):
        got = attempt.heteroscedastic_loss(mean, s, target, *beta)
        known = {
            "the ½ left out": 2 * want,
            "with ½ log 2π": want + 0.5 * math.log(2 * math.pi),
            "s taken for log σ": 0.5 * (2 * math.log(2) + 4 / 4),
            "s taken for σ²": 0.5 * (math.log(math.log(2)) + 4 / math.log(2)),
        }
        known = {name: torch.tensor(value, dtype=torch.float64) for name, value in known.items()}
        of = f"heteroscedastic_loss(1, log 2, 3{''.join(f', beta={b:g}' for b in beta)})"
        agree(got, torch.tensor(want, dtype=torch.float64), of=of, known=known)


@part("heteroscedastic_loss")
@each_dtype
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(7,), (5, 3)], ids=str)
def test_loss_and_gradients(attempt, draw, shape, beta, dtype):
    """A mean over all entries; the weight e^{βs} is a number for the gradients."""
    mean, s, target = (draw.normal(*shape, dtype=of_type(dtype)) for _ in range(3))
    want = loss_by_hand(mean, s, target, beta)
    r = target - mean
    through_weight = beta * (beta * s).exp() * (s + r**2 * (-s).exp()) / (2 * mean.numel())
    known = {
        "a sum over the entries": {name: value * mean.numel() for name, value in want.items()},
        "a weight through which gradients flow": want | {"log_variance": want["log_variance"] + through_weight},
        "no weight": loss_by_hand(mean, s, target, 0.0),
        "a weight of σ^(4β)": loss_by_hand(mean, s, target, 2 * beta),
    }
    if beta == 0:
        known = {"a sum over the entries": known["a sum over the entries"]}
    got = attempt.run(drivers.loss_gradients, mean, s, target, (beta,))
    agree(got, want, of=f"heteroscedastic_loss of {shape}, beta {beta}, {dtype}, and its gradients", known=known)


@part("heteroscedastic_loss")
@each_dtype
def test_extreme_variances(attempt, draw, dtype):
    """s = ±40 is no overflow and no clamp: a certain network that is right has a loss of s/2."""
    mean = draw.normal(2, 3, dtype=of_type(dtype))
    for s, beta in ((40.0, 0.0), (-40.0, 0.0), (40.0, 1.0), (-40.0, 1.0)):
        for off in (0.0, 2.0):
            logs = torch.full((2, 3), s, dtype=of_type(dtype))
            want = loss_by_hand(mean.double(), logs.double(), mean.double() + off, beta)
            got = attempt.run(drivers.loss_gradients, mean.round(), logs, mean.round() + off, (beta,))
            want = {name: value.to(of_type(dtype)) for name, value in want.items()}
            of = f"heteroscedastic_loss with s = {s:g}, beta {beta:g} and an error of {off:g}, {dtype}"
            agree(got["loss"], want["loss"], of=of)
            agree(got["log_variance"], want["log_variance"], of=f"{of}, gradient by s")


@part("heteroscedastic_loss")
def test_the_loss_of_another_batch(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(5, 7), draw.normal(5, 7), draw.normal(5, 7), 0.5) for _ in range(2)]
    of = "heteroscedastic_loss of (5, 7), beta 0.5"
    hold_again(attempt, reference, "heteroscedastic_loss", *asked, of=of)
    mean, s, target, beta = asked[0]
    got = attempt.heteroscedastic_loss(mean, spaced(s), target, beta)
    agree(got, reference.heteroscedastic_loss(*asked[0]), of=f"{of}, log_variance not contiguous")


# --- BayesLinear ------------------------------------------------------------------------------------------------------


def softplus(rho):
    return torch.log1p(rho.exp())


def parameters_of(draw, i, o, dtype=torch.float64):
    """weight_mean, weight_rho, bias_mean, bias_rho; deviations from 0.1 to 2."""
    return [
        draw.normal(o, i, dtype=dtype),
        draw.uniform(o, i, low=-2.0, high=1.8, dtype=dtype),
        draw.normal(o, dtype=dtype),
        draw.uniform(o, low=-2.0, high=1.8, dtype=dtype),
    ]


def law_of(parameters, x):
    """Mean and deviation of each entry of the output."""
    w, w_rho, b, b_rho = parameters
    return x @ w.T + b, (x**2 @ (softplus(w_rho) ** 2).T + softplus(b_rho) ** 2).sqrt()


@part("BayesLinear")
@each_dtype
def test_certain_weights_give_a_linear_layer(attempt, draw, dtype):
    """With ρ = -12 the layer is the linear one of the means, to 1e-3, and what is left has its deviation."""
    w, _, b, _ = parameters_of(draw, 3, 5, of_type(dtype))
    parameters = [w, torch.full_like(w, -12), b, torch.full_like(b, -12)]
    x = draw.normal(7, 3, dtype=of_type(dtype))
    got = attempt.run(drivers.sampled_from, parameters, x, seed_from(draw), 1)[0]
    known = {"the means without the bias": x @ w.T}
    of = f"BayesLinear(3, 5), ρ = -12, x (7, 3), {dtype}"
    agree(got, x @ w.T + b, axes="n o", tol=1e-3, of=of, known=known)
    if dtype == "float64":  # 35 normal numbers: a right answer leaves these bounds with a probability below 1e-7
        mean, std = law_of(parameters, x)
        ratio = ((got - mean) / std).square().mean().sqrt().item()
        assert 0.4 < ratio < 1.9, f"{of}: noise is {ratio:.2g} times as large as the weights' law gives"


@part("BayesLinear")
def test_noise_has_the_law_of_the_weights(attempt, draw):
    """Each output is normal, with the mean and the variance that the weights' law gives for its x."""
    calls, parameters = 4_000, parameters_of(draw, 3, 2)
    x = draw.normal(4, 3)
    x[1] = x[0]
    out = attempt.run(drivers.sampled_from, parameters, x, seed_from(draw), calls)
    of = f"BayesLinear(3, 2), x (4, 3), {calls:,} calls"
    agree(torch.zeros_like(out), torch.zeros(calls, 4, 2, dtype=torch.float64), of=f"{of}, form and dtype")
    mean, std = law_of(parameters, x)
    z = (out - mean) / std
    assert torch.isfinite(z).all(), f"{of}: not all numbers are finite"
    widest = z.abs().max().item()  # 32,000 normal numbers are all within 3 with a probability of e^-86
    assert widest > 3, f"{of}: no output is further than {widest:.2g} deviations from its mean; normal noise goes on"
    rare = math.log(2 * 8 / 1e-7)
    off = z.mean(dim=0).abs().max().item()
    assert off <= math.sqrt(2 * rare / calls), f"{of}: the mean of an output is off by {off:.2g} of its deviations"
    ratio = z.square().mean(dim=0)
    worst = ratio.log().abs().flatten().argmax()
    got = ratio.flatten()[worst].sqrt().item()
    slack = 2 * math.sqrt(rare / calls) + 2 * rare / calls
    if abs(got**2 - 1) > slack:
        n, o = divmod(int(worst), 2)
        want = std[n, o].item()
        raise Wrong(f"{of}: expected the deviation {want:.4g} in row {n}, unit {o}, got {got * want:.4g}")
    for at in (-1.5, -0.5, 0.7, 2.0):
        below = 0.5 * (1 + math.erf(at / math.sqrt(2)))
        hold_rate(float((z < at).sum()), z.numel(), below, f"{of}: outputs below mean + {at} deviations", looks=4)


@part("BayesLinear")
def test_each_example_has_noise_of_its_own(attempt, draw):
    """Two equal rows of x, two units and two calls get independent noise, also in eval mode and without gradients."""
    calls, parameters = 4_000, parameters_of(draw, 2, 2)
    x = draw.normal(3, 2)
    x[1] = x[0]
    out = attempt.run(drivers.sampled_from, parameters, x, seed_from(draw), calls, training=False)
    of = f"BayesLinear(2, 2) in eval mode, x (3, 2) with two equal rows, {calls:,} calls"
    agree(torch.zeros_like(out), torch.zeros(calls, 3, 2, dtype=torch.float64), of=f"{of}, form and dtype")
    mean, std = law_of(parameters, x)
    z = ((out - mean) / std).flatten(1)
    z = torch.cat([z[0::2], z[1::2]], dim=1)

    def name(i):
        return f"call {i // 6 + 1}, row {i % 6 // 2}, unit {i % 2}"

    hold_independent(z > 0, 0.5, f"{of}, whether noise is positive", name=name)
    hold_independent(z.abs() > 0.6744897501960817, 0.5, f"{of}, whether noise is large", name=name)
    parameters, x = parameters_of(draw, 2, 23), draw.normal(331, 2)
    out = attempt.run(drivers.sampled_from, parameters, x, seed_from(draw), 3)
    of = "BayesLinear(2, 23), x (331, 2), 3 calls, whether noise is positive"
    agree(torch.zeros_like(out), torch.zeros(3, 331, 23, dtype=torch.float64), of=f"{of}, form and dtype")
    hold_unrepeated((out > law_of(parameters, x)[0]).flatten(0, 1), 0.5, of)


@part("BayesLinear")
def test_noise_comes_from_the_generator(attempt, draw):
    """All numbers come from the generator, which moves on."""
    parameters = parameters_of(draw, 3, 7)
    x = draw.normal(5, 3)
    hold_generator(attempt, drivers.sampled, parameters, x, seed=seed_from(draw), of="BayesLinear(3, 7)")
    first, again = attempt.run(drivers.sampled_again, parameters, x, seed_from(draw))
    agree(again, first, axes="n o", of="BayesLinear(3, 7), a later call with a generator of that seed")


@part("BayesLinear")
@each_dtype
def test_gradients_of_the_reparameterised_sums(attempt, draw, dtype):
    """Mean and deviation of each sum get their gradients, at the noise that was drawn."""
    parameters = parameters_of(draw, 3, 5, of_type(dtype))
    x, upstream = draw.normal(7, 3, dtype=of_type(dtype)), draw.normal(7, 5, dtype=of_type(dtype))
    got = attempt.run(drivers.slopes_and_noise, parameters, x, upstream, seed_from(draw))
    of = f"BayesLinear(3, 5) of x (7, 3), {dtype}"
    agree(torch.zeros_like(got["out"]), torch.zeros(7, 5, dtype=of_type(dtype)), of=f"{of}, form and dtype")
    leaves = [value.clone().requires_grad_() for value in (*parameters, x)]
    mean, std = law_of(leaves[:4], leaves[4])
    z = ((got["out"] - mean) / std).detach()
    grads = torch.autograd.grad(((mean + std * z) * upstream).sum(), leaves)
    for name, want in zip((*drivers.NAMES, "x"), grads, strict=True):
        agree(got[name], want, tol=1e-3 if dtype == "float32" else 1e-8, of=f"{of}, gradient by {name}")


@part("BayesLinear")
@pytest.mark.parametrize("gradients", [False, True])
def test_no_weights_for_each_example(attempt, draw, gradients):
    """Sums are drawn, not weights: nothing has n·i·o elements, and the number of operators does not grow."""
    for n, i, o in ((211, 60, 47), (31, 150, 90)):
        parameters, x = parameters_of(draw, i, o), draw.normal(n, i)
        of = f"BayesLinear({i}, {o}) of x ({n}, {i}){', with its backward pass' if gradients else ''}"
        more = {"upstream": draw.normal(n, o)} if gradients else {}
        got, cost = attempt.cost(drivers.forward_cost, parameters, x, seed_from(draw), **more)
        out = got[0] if gradients else got
        mean, std = law_of(parameters, x)
        agree(torch.zeros_like(out), torch.zeros(n, o, dtype=torch.float64), of=f"{of}, form and dtype")
        assert ((out - mean) / std).square().mean() < 1.5, f"{of}: the outputs do not have the law of the weights"
        in_torch(cost, of=of)
        limit = 2 * (n * i + i * o + n * o)
        known = {"weights for each example": n * i * o}
        at_most(cost.largest, limit, of=f"elements of the largest tensor of {of}", known=known)
        at_most(sum(cost.calls.values()), 200 if gradients else 60, of=f"operators of {of}")


@part("BayesLinear")
@each_dtype
@pytest.mark.parametrize("prior_std", [1.0, 0.3, 2.5])
def test_kl_of_gaussians(attempt, draw, prior_std, dtype):
    """The divergence is torch's own, added up over weights and biases, with its gradients."""
    parameters = parameters_of(draw, 3, 5, of_type(dtype))
    parameters[1][0], parameters[3][:2] = -12, 6
    leaves = [value.double().requires_grad_() for value in parameters]
    terms = []
    for mean, rho in (leaves[:2], leaves[2:]):
        own = torch.distributions.Normal(mean, softplus(rho))
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.full_like(mean, prior_std))
        terms.append(torch.distributions.kl_divergence(own, prior).sum())
    grads = torch.autograd.grad(sum(terms), leaves)
    want = (terms[0] + terms[1]).detach()
    entropy = sum((softplus(rho).log() + 0.5 * math.log(2 * math.pi * math.e)).sum() for rho in leaves[1::2]).detach()
    known = {
        "without the biases": terms[0].detach(),
        "a mean for the sum": want / sum(value.numel() for value in parameters[::2]),
        "the entropy forgotten": want + entropy,
    }
    got = attempt.run(drivers.divergence, parameters, prior_std)
    of = f"kl of BayesLinear(3, 5, prior_std={prior_std}), {dtype}"
    agree(got["names"], sorted(drivers.NAMES), of="the names of the parameters")
    known = {name: value.to(of_type(dtype)) for name, value in known.items()}
    agree(got["kl"], want.to(of_type(dtype)), of=of, known=known)
    for name, grad in zip(drivers.NAMES, grads, strict=True):
        agree(got[name], grad.to(of_type(dtype)), of=f"{of}, gradient by {name}")


@part("BayesLinear")
@each_dtype
def test_kl_is_shared_by_all_examples(attempt, draw, dtype):
    """Mean of the batch plus KL / N: batches of any sizes, each counted by its size, give the loss of all data."""
    nll, kl = draw.normal(13, dtype=of_type(dtype)), draw.uniform(1, low=4, high=9, dtype=of_type(dtype))[0]
    total = 0.0
    for size, batch in zip((4, 7, 2), nll.split([4, 7, 2]), strict=True):
        want = batch.mean() + kl / 13
        known = {
            "the whole KL in each batch": batch.mean() + kl,
            "the KL divided by the batch": batch.mean() + kl / size,
            "a sum over the batch": batch.sum() + kl / 13,
            "the batch's share of the KL, not divided": batch.mean() + kl * size / 13,
            "the sum of the batch and its share of the KL": batch.sum() + kl * size / 13,
        }
        got = attempt.negative_elbo(batch, kl, 13)
        agree(got, want, of=f"negative_elbo of a batch of {size} of 13 examples, {dtype}", known=known)
        total = total + size * got
    agree(total, nll.sum() + kl, of=f"negative_elbo of batches of 4, 7 and 2, each times its size, {dtype}")
    (_, grads) = attempt.gradients("negative_elbo", nll, kl, 13, upstream=torch.ones((), dtype=of_type(dtype)))
    agree(grads[0], torch.full_like(nll, 1 / 13), of="negative_elbo, gradient by nll")
    agree(grads[1], torch.full_like(kl, 1 / 13), of="negative_elbo, gradient by kl")


@part("BayesLinear")
def test_the_best_mean_field_of_a_linear_model(attempt, draw):
    """For Bayesian linear regression the best independent Gaussians have the posterior's mean and its precisions.

    There the gradient of the loss is 0 on average: 200 blocks of 100 draws, each mean within 6 of its standard errors.
    A right answer fails with a probability below 1e-6.
    """
    n, i, o, noise, prior, blocks, repeats = 6, 2, 2, 0.7, 1.3, 200, 100
    x, y = draw.normal(n, i), draw.normal(n, o)
    with_one = torch.cat([x, torch.ones(n, 1, dtype=x.dtype)], dim=1)
    precision = with_one.T @ with_one / noise**2 + torch.eye(i + 1, dtype=x.dtype) / prior**2
    mean = torch.linalg.solve(precision, with_one.T @ y / noise**2).T
    rho = precision.diagonal().rsqrt().expm1().log().expand(o, i + 1)
    parameters = [mean[:, :i], rho[:, :i], mean[:, i], rho[:, i]]
    got = attempt.run(drivers.elbo_gradients, parameters, x, y, noise, prior, (blocks, n, repeats), seed_from(draw))
    of = "the gradient at the best mean field of Bayesian linear regression"
    count = 2 * o * (i + 1)
    agree(torch.zeros_like(got), torch.zeros(blocks, count, dtype=torch.float64), of=f"{of}, {blocks} blocks")
    error = got.std(dim=0) / math.sqrt(blocks)
    off = (got.mean(dim=0).abs() / error).tolist()
    names = [name for name, value in zip(drivers.NAMES, parameters, strict=True) for _ in range(value.numel())]
    for name, value in zip(names, off, strict=True):
        assert value < 6, f"{of}: that of {name} is {value:.1f} standard errors away from 0, over 20,000 draws"


@part("BayesLinear")
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_other_inputs_of_that_size(attempt, draw, training):
    """A layer that is all but sure gives x · weight_meanᵀ + bias_mean, also for an x that is not contiguous."""
    mean, rho, bias, rhos = parameters_of(draw, 3, 4)
    parameters = [mean, 0 * rho - 12, bias, 0 * rhos - 12]
    for n in range(3):
        x = draw.normal(5, 3)
        got = attempt.run(drivers.sampled_from, parameters, spaced(x) if n else x, seed_from(draw), 1, training)
        of = f"BayesLinear(3, 4) of ρ -12, x (5, 3), {'not contiguous' if n else 'contiguous'}"
        agree(got[0], x @ mean.T + bias, axes="n o", of=of, tol=1e-3)


@part("BayesLinear")
def test_other_parameters_and_losses_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    turns = tuple(tuple(draw.normal(*size) for size in ((5, 3), (5, 3), (5,), (5,))) for _ in range(2))
    hold_turns(attempt, reference, drivers.divergence_in_turn, 0.7, turns=turns, of="kl of BayesLinear(3, 5)")
    asked = [(draw.uniform(7), draw.uniform(), 13) for _ in range(2)]
    hold_again(attempt, reference, "negative_elbo", *asked, of="negative_elbo of 7 examples", views=False)


# --- split_conformal --------------------------------------------------------------------------------------------------


def two_sets(draw, h, n, c):
    """Held-out probabilities, their labels, and new probabilities."""
    return draw.normal(h, c).softmax(dim=1), draw.integers(0, c, h), draw.normal(n, c).softmax(dim=1)


LEVELS = [(10, 0.13), (25, 0.1), (13, 0.3), (11, 0.5), (7, 0.1), (17, 0.77)]
"""n + 1 examples and α: (n + 1)(1 - α) is no whole number."""
SETS = [(19, 7, 5, 0.12), (6, 11, 3, 0.4), (29, 13, 4, 0.94), (5, 4, 4, 0.1), (0, 3, 2, 0.3)]
"""Held-out and new examples, classes, α: large sets, small and empty ones, and too few examples for any but all."""


def rank(n, alpha):
    """Which of n sorted scores is the threshold, from 1 on."""
    return math.ceil((n + 1) * (1 - alpha))


def limit_of(scores, alpha):
    k = rank(len(scores), alpha)
    return sorted(scores)[k - 1] if k <= len(scores) else math.inf


@part("split_conformal")
@each_dtype
@pytest.mark.parametrize("alpha", [0.05, 0.13, 0.2, 0.52, 0.93])
def test_threshold_is_a_rank(attempt, draw, alpha, dtype):
    """The threshold is the ⌈(n+1)(1-α)⌉-th smallest score, one of the scores, and infinite where there are too few."""
    for n in (28, 10, 7, 1, 2):
        scores = draw.normal(n, dtype=of_type(dtype))
        ordered = sorted(scores.tolist())
        want = limit_of(scores.tolist(), alpha)
        level = scores.double().quantile(1 - alpha, interpolation="linear").item()
        known = {
            "the k-th largest": ordered[max(-rank(n, alpha), -n)],
            "a rank rounded down": ordered[max(math.floor((n + 1) * (1 - alpha)), 1) - 1],
            "a rank of n(1-α)": ordered[max(math.ceil(n * (1 - alpha)), 1) - 1],
            "an interpolated quantile": level,
            "the largest score for infinity": ordered[-1],
        }
        values = [want, *known.values()]
        known = {name: value for name, value in known.items() if values.count(value) == 1}
        of = f"threshold of {n} scores, alpha {alpha}, {dtype}"
        agree(attempt.threshold(scores, alpha), float(want), tol=1e-12, of=of, known=known)


@part("split_conformal")
def test_threshold_of_equal_and_no_scores(attempt, draw):
    """Equal scores count each, and of no scores the threshold is infinite."""
    agree(attempt.threshold(torch.zeros(0), 0.1), math.inf, of="threshold of no scores")
    scores = torch.tensor([2.0, 1.0, 2.0, 2.0, 1.0, 3.0, 2.0], dtype=torch.float64)
    for alpha in (0.3, 0.55, 0.8):
        of = f"threshold of (2, 1, 2, 2, 1, 3, 2), alpha {alpha}"
        agree(attempt.threshold(scores, alpha), limit_of(scores.tolist(), alpha), of=of)


@part("split_conformal")
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5])
def test_alpha_out_of_range(attempt, draw, alpha):
    """An α that is not between 0 and 1 is a ValueError."""
    p = torch.tensor([dyadic(draw, 3) for _ in range(5)])
    with refusal(ValueError, of=f"threshold of no scores with alpha {alpha}"):
        attempt.threshold(torch.zeros(0), alpha)
    with refusal(ValueError, of=f"threshold with alpha {alpha}"):
        attempt.threshold(torch.arange(4.0), alpha)
    with refusal(ValueError, of=f"split_conformal with alpha {alpha}"):
        attempt.split_conformal(p, torch.tensor([0, 1, 2, 0, 1]), p, alpha)


def examples(draw, n, c, score):
    """n examples of c classes, and labels, whose scores are all different; score(row, label, i)."""
    rows, labels, seen = [], [], set()
    while len(rows) < n:
        row, label = dyadic(draw, c), draw.random.randrange(c)
        one = score(row, label, len(rows))
        if one not in seen:
            rows.append(row)
            labels.append(label)
            seen.add(one)
    return rows, labels


def plain_score(row, label, i=0):
    return 1 - row[label]


def left_out(rows, labels, j, dtype, u=None):
    """What a call gets where example j is the new one: held_out, labels, probabilities, and u where there is one."""
    keep = [i for i in range(len(rows)) if i != j]
    held = torch.tensor([rows[i] for i in keep], dtype=of_type(dtype))
    parts = [held, torch.tensor([labels[i] for i in keep]), torch.tensor([rows[j]], dtype=of_type(dtype))]
    if u is None:
        return parts, ()
    return parts, (torch.tensor([u[i] for i in keep], dtype=of_type(dtype)), torch.tensor([u[j]], dtype=of_type(dtype)))


def hold_coverage(covered, count, alpha, of):
    want = math.ceil(count * (1 - alpha))
    assert covered == want, (
        f"{of}: of {count} examples, each the new one in turn, {covered} are covered; it is exactly "
        f"ceil({count} · {1 - alpha:g}) = {want} for the rank of the statement"
    )


@part("split_conformal")
@each_dtype
@pytest.mark.parametrize(("h", "n", "c", "alpha"), SETS)
def test_sets_are_what_does_not_exceed_the_threshold(attempt, draw, h, n, c, alpha, dtype):
    """A class is in the set if 1 - p does not exceed the threshold: too few examples give all classes."""
    rows, labels = examples(draw, h, c, plain_score)
    new = [dyadic(draw, c) for _ in range(n)]
    scores = [plain_score(row, label) for row, label in zip(rows, labels, strict=True)]
    limit = limit_of(scores, alpha)
    if limit in scores:
        new[1] = rows[scores.index(limit)]  # a class that stands exactly at the threshold
    held = torch.tensor(rows, dtype=of_type(dtype)).view(h, c)
    got = attempt.split_conformal(
        held, torch.tensor(labels, dtype=torch.int64), torch.tensor(new, dtype=of_type(dtype)), alpha
    )
    want = torch.tensor([[1 - p <= limit for p in row] for row in new])
    known = {"all classes in every set": torch.ones_like(want)} if not want.all() else None
    of = f"split_conformal of {n} examples, {c} classes, {h} held out, alpha {alpha}, {dtype}"
    agree(got, want, axes="n c", of=of, known=known)


@part("split_conformal")
def test_the_class_at_the_threshold_is_in(attempt):
    """A score that equals the threshold does not exceed it."""
    held = torch.tensor([[0.875, 0.125], [0.75, 0.25], [0.375, 0.625]], dtype=torch.float64)
    new = torch.tensor([[0.375, 0.625], [0.25, 0.75]], dtype=torch.float64)
    got = attempt.split_conformal(held, torch.tensor([0, 0, 0]), new, 0.3)
    agree(got, torch.tensor([[True, True], [False, True]]), of="split_conformal at a threshold of 0.625 = 1 - 0.375")


@part("split_conformal")
@pytest.mark.parametrize(("count", "alpha"), LEVELS)
def test_exact_coverage(attempt, draw, count, alpha):
    """Of any n + 1 examples, each the new one in turn, exactly ⌈(n+1)(1-α)⌉ have their label in the set."""
    rows, labels = examples(draw, count, 5, plain_score)
    asked = []
    for j in range(count):
        parts, _ = left_out(rows, labels, j, "float64")
        asked.append((*parts, alpha))
    got = attempt.each("split_conformal", asked)
    of = f"split_conformal, {count - 1} held out, alpha {alpha}"
    covered, size, expected = 0, 0, 0
    for j, sets in zip(range(count), got, strict=True):
        agree(torch.zeros_like(sets), torch.zeros(1, 5, dtype=torch.bool), of=f"{of}, the form of a set")
        covered += bool(sets[0, labels[j]])
        size += int(sets.sum())
        limit = limit_of([plain_score(rows[i], labels[i]) for i in range(count) if i != j], alpha)
        expected += sum(1 - p <= limit for p in rows[j])
    hold_coverage(covered, count, alpha, of)
    assert size == expected, f"{of}: the {count} sets hold {size} classes, expected {expected}"


@part("split_conformal")
def test_sets_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(11), 0.3) for _ in range(2)]
    hold_again(attempt, reference, "threshold", *asked, of="threshold of 11 scores")
    asked = [(*two_sets(draw, 11, 7, 5), 0.3) for _ in range(2)]
    hold_again(attempt, reference, "split_conformal", *asked, of="split_conformal, 11 held out, 7 new, 5 classes")


@part("split_conformal")
def test_infinite_scores_count(attempt):
    """A score may be infinite: it is the largest, and counts."""
    scores = torch.tensor([1.0, math.inf, 3.0, 2.0, math.inf])
    for alpha, want in ((0.55, 3.0), (0.3, math.inf), (0.75, 2.0)):
        agree(attempt.threshold(scores, alpha), want, of=f"threshold of 1, inf, 3, 2, inf with alpha {alpha}")


# --- adaptive_sets ----------------------------------------------------------------------------------------------------


def mass(row, label, u=1.0):
    return sum(p for p in row if p > row[label]) + u * row[label]


@part("adaptive_sets")
def test_mass_passed_by_hand(attempt):
    """(0.2, 0.5, 0.3): 1, 0.5, 0.8; with u = 0.5: 0.9, 0.25, 0.65."""
    p = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    known = {"the mass from the least likely class on": torch.tensor([[0.2, 1.0, 0.5]], dtype=torch.float64)}
    known["scores in the order of likelihood"] = torch.tensor([[0.5, 0.8, 1.0]], dtype=torch.float64)
    known["the class itself left out"] = torch.tensor([[0.8, 0.0, 0.5]], dtype=torch.float64)
    want = torch.tensor([[1.0, 0.5, 0.8]], dtype=torch.float64)
    agree(attempt.adaptive_scores(p), want, of="adaptive_scores of (0.2, 0.5, 0.3)", known=known)
    known = {"1 - u for u, with another u": want}
    want = torch.tensor([[0.9, 0.25, 0.65]], dtype=torch.float64)
    got = attempt.adaptive_scores(p, torch.tensor([0.5], dtype=torch.float64))
    agree(got, want, of="adaptive_scores of (0.2, 0.5, 0.3), u = 0.5", known=known)


@part("adaptive_sets")
@each_dtype
@pytest.mark.parametrize(("n", "c"), [(7, 5), (3, 11), (4, 1), (1, 2)])
def test_mass_passed_on_the_way_down(attempt, draw, n, c, dtype):
    """A class's score is all probability above it, and u of its own."""
    p = draw.normal(n, c, scale=2.0).softmax(dim=1).to(of_type(dtype))
    rows = p.double().tolist()
    for u in (None, draw.uniform(n, dtype=of_type(dtype)), torch.zeros(n, dtype=of_type(dtype))):
        each = [1.0] * n if u is None else u.double().tolist()
        want = wide([[mass(row, k, one) for k in range(c)] for row, one in zip(rows, each, strict=True)])
        other = [[mass(row, k, 1 - one) for k in range(c)] for row, one in zip(rows, each, strict=True)]
        known = {"1 - u for u": torch.tensor(other, dtype=p.dtype)}
        of = f"adaptive_scores of ({n}, {c}), u {'None' if u is None else 'given'}, {dtype}"
        got = attempt.adaptive_scores(p) if u is None else attempt.adaptive_scores(p, u)
        agree(got, want.to(p.dtype), axes="n c", of=of, known=known)


@part("adaptive_sets")
def test_no_pairs_of_classes(attempt, draw):
    """A vocabulary of 1,000 classes needs no tensor of classes by classes."""
    p = draw.normal(3, 1_000).softmax(dim=1)
    got, cost = attempt.cost("adaptive_scores", p)
    ordered, order = p.sort(dim=1, descending=True)
    want = torch.zeros_like(p).scatter(1, order, ordered.cumsum(dim=1))
    agree(got, want, axes="n c", of="adaptive_scores of (3, 1000)")
    of = "elements of the largest tensor of adaptive_scores of (3, 1000)"
    at_most(cost.largest, 50 * 3 * 1_000, of=of, known={"pairs of classes": 3 * 1_000**2})


def adaptive_score(u):
    return lambda row, label, i: mass(row, label, u[i])


def draw_u(draw, n, random):
    return [draw.random.randrange(65) / 64 if random else 1.0 for _ in range(n)]


@part("adaptive_sets")
@each_dtype
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize(("h", "n", "c", "alpha"), SETS)
def test_adaptive_sets_by_the_threshold(attempt, draw, h, n, c, alpha, random, dtype):
    """A class is in the set if its adaptive score does not exceed the threshold of the held-out labels' scores."""
    held_u, u = draw_u(draw, h, random), draw_u(draw, n, random)
    rows, labels = examples(draw, h, c, adaptive_score(held_u))
    new = [dyadic(draw, c) for _ in range(n)]
    scores = [mass(row, label, one) for row, label, one in zip(rows, labels, held_u, strict=True)]
    limit = limit_of(scores, alpha)
    if limit in scores:  # a class that stands exactly at the threshold
        new[1], u[1] = rows[scores.index(limit)], held_u[scores.index(limit)]
    want = torch.tensor([[mass(row, k, one) <= limit for k in range(c)] for row, one in zip(new, u, strict=True)])
    held = torch.tensor(rows, dtype=of_type(dtype)).view(h, c)
    given = (torch.tensor(held_u, dtype=of_type(dtype)), torch.tensor(u, dtype=of_type(dtype))) if random else ()
    got = attempt.adaptive_sets(
        held, torch.tensor(labels, dtype=torch.int64), torch.tensor(new, dtype=of_type(dtype)), alpha, *given
    )
    plain = limit_of([plain_score(row, label) for row, label in zip(rows, labels, strict=True)], alpha)
    known = {
        "all classes in every set": torch.ones_like(want),
        "sets of 1 - p": torch.tensor([[1 - p <= plain for p in row] for row in new]),
    }
    known = {name: value for name, value in known.items() if not torch.equal(value, want)}
    of = f"adaptive_sets of {n} examples, {c} classes, {h} held out, alpha {alpha}, u {'given' if random else 'None'}"
    agree(got, want, axes="n c", of=f"{of}, {dtype}", known=known if len(known) == 2 and h > 5 else None)


@part("adaptive_sets")
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize(("count", "alpha"), LEVELS)
def test_exact_coverage_of_adaptive_sets(attempt, draw, count, alpha, random):
    """Of any n + 1 examples, each the new one in turn, exactly ⌈(n+1)(1-α)⌉ have their label in the set."""
    u = draw_u(draw, count, random)
    if random:
        rows, labels = examples(draw, count, 5, adaptive_score(u))
    else:  # the last class has 1, always: of such labels one at most, so that scores differ
        rows, labels = examples(draw, count, 5, lambda row, label, i: mass(row, label))
    asked = []
    for j in range(count):
        parts, given = left_out(rows, labels, j, "float64", u if random else None)
        asked.append((*parts, alpha, *given))
    got = attempt.each("adaptive_sets", asked)
    of = f"adaptive_sets, {count - 1} held out, alpha {alpha}, u {'given' if random else 'None'}"
    covered, size, expected = 0, 0, 0
    for j, sets in zip(range(count), got, strict=True):
        agree(torch.zeros_like(sets), torch.zeros(1, 5, dtype=torch.bool), of=f"{of}, the form of a set")
        covered += bool(sets[0, labels[j]])
        size += int(sets.sum())
        limit = limit_of([mass(rows[i], labels[i], u[i]) for i in range(count) if i != j], alpha)
        expected += sum(mass(rows[j], k, u[j]) <= limit for k in range(5))
    hold_coverage(covered, count, alpha, of)
    assert size == expected, f"{of}: the {count} sets hold {size} classes, expected {expected}"


@part("adaptive_sets")
def test_adaptive_sets_refuse(attempt, draw):
    """An α that is not between 0 and 1 is a ValueError."""
    p = torch.tensor([dyadic(draw, 3) for _ in range(4)])
    for alpha in (0.0, 1.0, -0.1):
        with refusal(ValueError, of=f"adaptive_sets with alpha {alpha}"):
            attempt.adaptive_sets(p, torch.tensor([0, 1, 2, 0]), p, alpha)


@part("adaptive_sets")
def test_adaptive_sets_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(7, 5).softmax(dim=1), draw.uniform(7)) for _ in range(2)]
    hold_again(attempt, reference, "adaptive_scores", *asked, of="adaptive_scores of (7, 5), with u")
    asked = [(*two_sets(draw, 11, 7, 5), 0.3, draw.uniform(11), draw.uniform(7)) for _ in range(2)]
    hold_again(attempt, reference, "adaptive_sets", *asked, of="adaptive_sets, 11 held out, 7 new, 5 classes, with u")


# --- conformal_quantiles ----------------------------------------------------------------------------------------------


def interval_score(low, high, y):
    return max(low - y, y - high)


@part("conformal_quantiles")
def test_three_intervals_by_hand(attempt):
    """Scores -1, 2, -5 and α = 0.3: q = 2."""
    low, high = torch.zeros(3, dtype=torch.float64), torch.full((3,), 10.0, dtype=torch.float64)
    y, new = torch.tensor([1.0, 12.0, 5.0], dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64)
    want = (torch.tensor([1.0], dtype=torch.float64), torch.tensor([6.0], dtype=torch.float64))
    known = {
        "no change": (new[:1], new[1:]),
        "q added to both ends": (want[0] + 4, want[1]),
        "intervals made narrower": (want[0] + 4, want[1] - 4),
    }
    got = attempt.conformal_quantiles(low, high, y, new[:1], new[1:], 0.3)
    agree(got, want, of="conformal_quantiles of [3, 4], held-out scores -1, 2, -5, alpha 0.3", known=known)


def intervals(draw, n):
    """n rows (low, high, y), multiples of 1/64, whose scores all differ; most targets lie inside."""
    rows, seen = [], set()
    while len(rows) < n:
        low = draw.random.randrange(-400, 400) / 64
        high = low + draw.random.randrange(1, 300) / 64
        y = draw.random.randrange(int(64 * low) - 40, int(64 * high) + 60) / 64
        if interval_score(low, high, y) not in seen:
            seen.add(interval_score(low, high, y))
            rows.append((low, high, y))
    return rows


def conformalised(rows, new, alpha):
    q = limit_of([interval_score(*row) for row in rows], alpha)
    return [low - q for low, *_ in new], [high + q for _, high, *_ in new]


@part("conformal_quantiles")
@each_dtype
@pytest.mark.parametrize(("h", "n", "alpha"), [(19, 7, 0.12), (23, 5, 0.77), (13, 3, 0.97), (5, 4, 0.1), (0, 3, 0.3)])
def test_both_ends_move_by_one_threshold(attempt, draw, h, n, alpha, dtype):
    """[low - q, high + q] with the threshold q of the held-out scores, also a negative or an infinite one."""
    rows, new = intervals(draw, h), intervals(draw, n)
    want = [torch.tensor(end, dtype=of_type(dtype)) for end in conformalised(rows, new, alpha)]
    held = [torch.tensor(column, dtype=of_type(dtype)) for column in zip(*rows, strict=True)] or [
        torch.zeros(0, dtype=of_type(dtype)) for _ in range(3)
    ]
    low, high, _ = (torch.tensor(column, dtype=of_type(dtype)) for column in zip(*new, strict=True))
    got = attempt.conformal_quantiles(*held, low, high, alpha)
    cut = limit_of([max(0, interval_score(*row)) for row in rows], alpha)
    plain = limit_of([abs(y - (a + b) / 2) for a, b, y in rows], alpha)
    ends = (
        limit_of([a - y for a, _, y in rows], alpha),
        limit_of([y - b for _, b, y in rows], alpha),
    )
    known = {
        "scores cut off at 0": [low - cut, high + cut],
        "scores from the middle of the interval": [low - plain, high + plain],
        "a threshold for each end": [low - ends[0], high + ends[1]],
    }
    known = {name: value for name, value in known.items() if not torch.equal(value[0], want[0])} if h > 5 else None
    of = f"conformal_quantiles of {n} intervals, {h} held out, alpha {alpha}, {dtype}"
    agree(got, tuple(want), of=of, known=known)


@part("conformal_quantiles")
@pytest.mark.parametrize(("count", "alpha"), LEVELS)
def test_exact_coverage_of_intervals(attempt, draw, count, alpha):
    """Of any n + 1 examples, each the new one in turn, exactly ⌈(n+1)(1-α)⌉ lie in their interval."""
    rows = intervals(draw, count)
    asked = []
    for j in range(count):
        held = zip(*(row for i, row in enumerate(rows) if i != j), strict=True)
        columns = [torch.tensor(column, dtype=torch.float64) for column in held]
        new = [torch.tensor([value], dtype=torch.float64) for value in rows[j][:2]]
        asked.append((*columns, *new, alpha))
    got = attempt.each("conformal_quantiles", asked)
    of = f"conformal_quantiles, {count - 1} held out, alpha {alpha}"
    covered = 0
    for j, (low, high) in zip(range(count), got, strict=True):
        want = [wide(end) for end in conformalised([r for i, r in enumerate(rows) if i != j], [rows[j]], alpha)]
        agree([low, high], want, of=f"{of}, example {j} the new one")
        covered += low.item() <= rows[j][2] <= high.item()
    hold_coverage(covered, count, alpha, of)


@part("conformal_quantiles")
def test_conformal_quantiles_refuse(attempt):
    """An α that is not between 0 and 1 is a ValueError."""
    x = torch.arange(4.0)
    for alpha in (0.0, 1.0, 1.2):
        with refusal(ValueError, of=f"conformal_quantiles with alpha {alpha}"):
            attempt.conformal_quantiles(x, x + 1, x, x, x + 1, alpha)


@part("conformal_quantiles")
def test_intervals_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    sizes = ((11, -1), (11, 1), (11, 0), (7, -1), (7, 1))
    asked = [(*(draw.normal(n) + shift for n, shift in sizes), 0.3) for _ in range(2)]
    hold_again(attempt, reference, "conformal_quantiles", *asked, of="conformal_quantiles, 11 held out, 7 new")


# --- ood_scores -------------------------------------------------------------------------------------------------------


def mahalanobis(features, train, labels, c, shared=True, divide=None):
    """The distances by an inverse, one example and class at a time."""
    means = [train[labels == k].mean(dim=0) for k in range(c)]
    within = torch.stack([row - means[label] for row, label in zip(train, labels.tolist(), strict=True)])
    if not shared:
        within = train - train.mean(dim=0)
    inverse = torch.linalg.inv(within.T @ within / (divide or len(train)))
    return wide([[((f - mu) @ inverse @ (f - mu)).item() for mu in means] for f in features])


def trained_features(draw, t, c, d):
    """Features of t examples with their labels, classes of unlike size, and a covariance far from the identity."""
    labels = torch.cat([torch.arange(c), draw.integers(0, c, t - c)])[draw.permutation(t)]
    rotation, _ = torch.linalg.qr(draw.normal(d, d))  # and no factor near 0: float32 is to be enough
    mix = torch.linspace(0.5, 2.5, d, dtype=torch.float64)[:, None] * rotation
    return (draw.normal(t, d) + 3 * draw.normal(c, d)[labels]) @ mix, labels


@part("ood_scores")
def test_three_scores_by_hand(attempt):
    """Logits (0, 0) with T = 2, feature 7 between classes around 0 and 10."""
    train, labels = torch.tensor([[-1.0], [1.0], [9.0], [11.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    logits, feature = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[7.0]], dtype=torch.float64)
    numbers = {"msp": 0.5, "energy": -2 * math.log(2), "mahalanobis": 9.0}
    want = {name: torch.tensor([value], dtype=torch.float64) for name, value in numbers.items()}
    known = {
        "an energy without its T": want | {"energy": want["energy"] / 2},
        "an energy with its sign turned": want | {"energy": -want["energy"]},
        "an MSP with its sign turned": want | {"msp": want["msp"] - 1},
        "a root of the distance": want | {"mahalanobis": want["mahalanobis"].sqrt()},
        "the largest distance": want | {"mahalanobis": 49 * torch.ones(1, dtype=torch.float64)},
    }
    got = attempt.ood_scores(logits, feature, train, labels, 2.0)
    agree(got, want, of="ood_scores of logits (0, 0), feature 7, T = 2", known=known)


@part("ood_scores")
@each_dtype
@pytest.mark.parametrize(
    ("n", "t", "c", "d", "temperature"), [(7, 29, 3, 4, 1.0), (11, 50, 5, 2, 2.5), (2, 13, 2, 3, 0.4)]
)
def test_scores_grow_with_strangeness(attempt, draw, n, t, c, d, temperature, dtype):
    """MSP, energy and the distance to the nearest class, under one covariance for all."""
    train, labels = trained_features(draw, t, c, d)
    train = train.to(of_type(dtype))
    logits, features = (
        draw.normal(n, c, scale=3.0, dtype=of_type(dtype)),
        draw.normal(n, d, scale=4.0, dtype=of_type(dtype)),
    )
    known_train, z = train.double(), logits.double()
    apart = mahalanobis(features.double(), known_train, labels, c)
    energy = wide([-temperature * math.log(sum(math.exp(v / temperature) for v in row)) for row in z.tolist()])
    peak = wide([max(math.exp(v) for v in row) / sum(math.exp(v) for v in row) for row in z.tolist()])
    want = {"msp": 1 - peak, "energy": energy, "mahalanobis": apart.min(dim=1).values}
    known = {
        "a covariance divided by t - c": want | {"mahalanobis": want["mahalanobis"] * (t - c) / t},
        "a covariance about the mean of all": want
        | {"mahalanobis": mahalanobis(features.double(), known_train, labels, c, shared=False).min(dim=1).values},
        "the largest distance": want | {"mahalanobis": apart.max(dim=1).values},
        "the mean distance": want | {"mahalanobis": apart.mean(dim=1)},
        "an energy with its sign turned": want | {"energy": -energy},
    }
    want, *others = ({key: value.to(of_type(dtype)) for key, value in one.items()} for one in (want, *known.values()))
    got = attempt.ood_scores(logits, features, train, labels, temperature)
    of = f"ood_scores of {n} examples, {t} of {c} classes in training, {d} features, T = {temperature}, {dtype}"
    agree(got, want, tol=1e-3 if dtype == "float32" else 1e-8, of=of, known=dict(zip(known, others, strict=True)))


@part("ood_scores")
def test_distance_knows_no_units(attempt, draw):
    """Another linear map of all features, training ones and new ones, changes no distance."""
    train, labels = trained_features(draw, 41, 3, 4)
    features, logits = draw.normal(6, 4, scale=3.0), draw.normal(6, 3)
    mix = draw.normal(4, 4) + 3 * torch.eye(4, dtype=torch.float64)
    scale = torch.tensor([1e-2, 1.0, 10.0, 1e2], dtype=torch.float64)
    want = mahalanobis(features, train, labels, 3).min(dim=1).values
    got = attempt.ood_scores(logits, features @ mix * scale + 5, train @ mix * scale + 5, labels)
    known = {"a plain distance": torch.cdist(features, torch.stack([train[labels == k].mean(dim=0) for k in range(3)]))}
    known = {"a plain squared distance": known["a plain distance"].square().amin(dim=1)}
    of = "ood_scores of features in other units, mahalanobis"
    agree(got["mahalanobis"], want, tol=1e-6, of=of, known=known)


@part("ood_scores")
@each_dtype
def test_logits_in_the_thousands(attempt, draw, dtype):
    """Large logits overflow nothing; T is 1 if it is not given."""
    train, labels = trained_features(draw, 17, 3, 2)
    z = draw.normal(5, 3, scale=2.0)
    for shift in (3072.0, -2048.0):
        logits = (z + shift).to(of_type(dtype))
        exact = logits.double() - shift
        want = {
            "msp": 1 - exact.exp().amax(dim=1) / exact.exp().sum(dim=1),
            "energy": -(exact.exp().sum(dim=1).log() + shift),
        }
        got = attempt.ood_scores(logits, draw.normal(5, 2, dtype=of_type(dtype)), train.to(of_type(dtype)), labels)
        for name, value in want.items():
            agree(got[name], value.to(of_type(dtype)), of=f"ood_scores of logits near {shift:g}, {name}, {dtype}")


@part("ood_scores")
def test_no_matrix_of_examples(attempt, draw):
    """The scores of 1,500 examples need no tensor of examples by examples."""
    n, t, c, d = 1_500, 401, 3, 5
    train, labels = trained_features(draw, t, c, d)
    features, logits = draw.normal(n, d, scale=3.0), draw.normal(n, c)
    got, cost = attempt.cost("ood_scores", logits, features, train, labels)
    of = f"ood_scores of {n:,} examples, {t} in training"
    want = mahalanobis(features[:40], train, labels, c).min(dim=1).values
    agree(got["mahalanobis"][:40], want, tol=1e-8, of=f"{of}, mahalanobis of the first 40")
    limit = 4 * (n + t) * c * d
    at_most(cost.largest, limit, of=f"elements of the largest tensor of {of}", known={"a matrix of examples": n * n})


def rates(inside, outside):
    inside, outside = sorted(inside.tolist()), outside.tolist()
    wins = sum((a < b) + 0.5 * (a == b) for a in inside for b in outside)
    limit = inside[-(-95 * len(inside) // 100) - 1]
    return {"auroc": wins / len(inside) / len(outside), "fpr95": sum(b <= limit for b in outside) / len(outside)}


@part("ood_scores")
@each_dtype
@pytest.mark.parametrize(("n", "k", "shift"), [(3, 2, 0.5), (47, 31, 0.7), (13, 88, -1.5), (1, 5, 0.0)])
def test_rates_of_a_detector(attempt, draw, n, k, shift, dtype):
    """AUROC is a share of pairs; FPR is that of outside scores which pass where 95 % of the inside ones do."""
    inside, outside = draw.normal(n, dtype=of_type(dtype)), shift + 1.5 * draw.normal(k, dtype=of_type(dtype))
    want = rates(inside, outside)
    turned = rates(outside, inside)
    strict = sum(b <= sorted(inside.tolist())[-1] for b in outside.tolist()) / k
    known = {
        "inside and outside exchanged": turned,
        "an FPR where all inside scores pass": want | {"fpr95": strict},
        "the share of outside scores that are told": want | {"fpr95": 1 - want["fpr95"]},
        "outside as the positive class": want
        | {"fpr95": sum(a >= sorted(outside.tolist())[k - -(-95 * k // 100)] for a in inside.tolist()) / n},
    }
    known = {name: value for name, value in known.items() if value != want} if n == 47 else None
    agree(
        attempt.detection_rates(inside, outside),
        want,
        tol=1e-6,
        of=f"detection_rates of {n} and {k}, {dtype}",
        known=known,
    )


@part("ood_scores")
def test_equal_scores_count_half(attempt, draw):
    """In AUROC a pair of equal scores counts ½; a score at the threshold passes."""
    for n, k in ((23, 17), (9, 40)):
        inside, outside = draw.integers(0, 5, n).double(), draw.integers(2, 7, k).double()
        agree(
            attempt.detection_rates(inside, outside),
            rates(inside, outside),
            of=f"detection_rates of whole numbers, {n}, {k}",
        )
    same = torch.ones(7, dtype=torch.float64)
    agree(attempt.detection_rates(same, same), {"auroc": 0.5, "fpr95": 1.0}, of="detection_rates of equal scores")


@part("ood_scores")
def test_no_matrix_of_pairs(attempt, draw):
    """4,003 and 2,999 scores are compared without a tensor of all pairs."""
    inside, outside = draw.normal(4_003), draw.normal(2_999) + 1
    got, cost = attempt.cost("detection_rates", inside, outside)
    of = "detection_rates of 4,003 and 2,999"
    exact = (inside[:, None] < outside).double().mean().item()
    limit = inside.sort().values[3_802]  # 95 % of 4,003 are 3,802.85: the 3,803rd
    want = {"auroc": exact, "fpr95": (outside <= limit).double().mean().item()}
    agree(got, want, of=of)
    limit = 50 * (4_003 + 2_999)
    at_most(cost.largest, limit, of=f"elements of the largest tensor of {of}", known={"all pairs": 4_003 * 2_999})


@part("ood_scores")
@each_dtype
@pytest.mark.parametrize("n", [1, 3, 37])
def test_risk_by_coverage(attempt, draw, n, dtype):
    """Entry k - 1 is the share of wrong ones among the k most confident."""
    confidence = (draw.permutation(n) + 1).to(of_type(dtype)) / (n + 1)
    correct = draw.uniform(n) < 0.2 + 0.7 * confidence
    order = sorted(range(n), key=lambda i: -confidence[i].item())
    wrong = [not correct[i] for i in order]
    want = torch.tensor([sum(wrong[:k]) / k for k in range(1, n + 1)], dtype=of_type(dtype))
    known = {
        "the accuracy for the risk": 1 - want,
        "the least confident first": torch.tensor([sum(wrong[-k:]) / k for k in range(1, n + 1)], dtype=want.dtype),
        "errors divided by n": torch.tensor([sum(wrong[:k]) / n for k in range(1, n + 1)], dtype=want.dtype),
    }
    known = {name: value for name, value in known.items() if not torch.equal(value, want)} if n == 37 else None
    agree(attempt.risk_coverage(confidence, correct), want, of=f"risk_coverage of {n} examples, {dtype}", known=known)


@part("ood_scores")
def test_scores_of_other_examples(attempt, reference, draw):
    """Each call takes its own examples, whatever came before in the same sizes and however they lie in memory."""
    labels = torch.arange(23) % 4
    asked = [(draw.normal(5, 4), draw.normal(5, 3), draw.normal(23, 3), labels[draw.permutation(23)]) for _ in range(2)]
    hold_again(attempt, reference, "ood_scores", *asked, of="ood_scores of 5 examples, 23 trained on", tol=1e-7)
    asked = [(draw.normal(7), draw.normal(5) - 99), (draw.normal(7), draw.normal(5) + 1)]
    hold_again(attempt, reference, "detection_rates", *asked, of="detection_rates of 7 and 5 scores")
    asked = [(draw.uniform(11), torch.arange(11) % n < 1) for n in (1, 2)]  # all right, every second one right
    hold_again(attempt, reference, "risk_coverage", *asked, of="risk_coverage of 11 examples")
