"""Hidden checks of dl_019. A right answer fails a statement about a distribution with probability below ALARM = 1e-7.

`grader.checks.randomness` has the bounds for counts; Hoeffding proved them for means of numbers in [0, 1], too. For
distribution functions it is Dvoretzky-Kiefer-Wolfowitz-Massart's. No check makes more than five statements.
"""

import bisect
import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import Wrong, agree, at_most, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import DTYPES, of_type
from grader.checks.randomness import ALARM, hold_generator, hold_independent, hold_permutations, hold_rate, improbable
from grader.checks.repeats import hold_unrepeated
from grader.checks.shuffles import hold_large_shuffles

from . import drivers

NAN = math.nan


def seed_from(draw):
    return draw.random.randrange(2**40)


def hold_mean(sample, mean, of):
    """Hold that the mean of a sample of numbers in [0, 1] is about `mean`."""
    assert not improbable(sum(sample), len(sample), mean), (
        f"{of}: expected {mean:.3g}, got {sum(sample) / len(sample):.3g}, the mean of {len(sample):,} draws"
    )


def hold_beta(lams, alpha, of):
    """Hold that λ is Beta(alpha, alpha): its distribution function, its mean, and how far it lies from 1/2."""
    hold_distribution(lams, beta_cdf(alpha), of)
    hold_mean(lams, 0.5, f"{of}: its mean")
    hold_mean([(2 * lam - 1) ** 2 for lam in lams], 1 / (2 * alpha + 1), f"{of}: the mean of (2·λ - 1)²")


def hold_distribution(sample, cdf, of):
    """Hold that a sample has the distribution function cdf (which may jump)."""
    sample, n = sorted(float(s) for s in sample), len(sample)
    assert n, f"{of}: no draw in which it can be seen: nothing is ever mixed"
    bound = math.sqrt(math.log(2 / ALARM) / (2 * n))
    for i, s in enumerate(sample):
        at, below = cdf(s + 1e-9), cdf(s - 1e-9)
        if (i + 1) / n - at > bound or below - i / n > bound:
            share = (i + 1) / n if (i + 1) / n - at > bound else i / n
            expected = at if (i + 1) / n - at > bound else below
            raise Wrong(f"{of}: up to {s:.4g} lie {100 * share:.1f} % of {n:,} draws, expected {100 * expected:.1f} %")


def beta_cdf(alpha):
    """The distribution function of Beta(alpha, alpha): the density's series, integrated, and mirrored at 1/2."""
    terms, factor = [], math.gamma(2 * alpha) / math.gamma(alpha) ** 2
    for k in range(32):
        terms.append(factor / (alpha + k))
        factor *= (k + 1 - alpha) / (k + 1)

    def series(t):
        total = 0.0
        for term in reversed(terms):
            total = total * t + term
        return total * t**alpha

    def cdf(t):
        t = min(max(t, 0.0), 1.0)
        return series(t) if t <= 0.5 else 1 - series(1 - t)

    return cdf


def hold_own(attempt, of, function, *data, seed, **options):
    """Hold that all randomness comes from the generator."""
    hold_generator(attempt, drivers.drawn, function, *data, seed=seed, of=of, **options)


def gradient_of(attempt, function, x, *data, upstream, seed):
    """(result, the gradient for x) of a random function."""
    out, grads = attempt.gradients(drivers.one, function, x, *data, upstream=upstream, seed=seed)
    return out, grads[1]


def mixing(weights, of):
    """(λ, partner) of W = λ·I + (1 - λ)·P, P a permutation; λ is None where every example is its own partner."""
    n = len(weights)
    off = weights - torch.diag(weights.diagonal())
    partner = torch.where(off.max(dim=1).values > 0, off.argmax(dim=1), torch.arange(n))
    moved = [i for i in range(n) if partner[i] != i]
    lam = float(weights[moved[0], moved[0]]) if moved else None
    assert sorted(partner.tolist()) == list(range(n)), (
        f"{of}: partners are {partner.tolist()}: no permutation of the batch"
    )
    eye = torch.eye(n, dtype=weights.dtype)
    want = eye if lam is None else lam * eye + (1 - lam) * eye[partner]
    agree(weights, want, axes="i j", of=f"{of}, the weight of example j in result i")
    return lam, partner


# --- drop_path --------------------------------------------------------------------------------------------------------


@part("drop_path")
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@pytest.mark.parametrize("shape", [(11,), (13, 3), (17, 2, 5), (7, 3, 2, 5, 2)], ids=str)
def test_branch_is_dropped_or_scaled_as_a_whole(attempt, draw, shape, dtype):
    """Each example is either all 0 or all divided by 1 - p."""
    p = draw.random.uniform(0.3, 0.7)
    x = draw.normal(*shape[::-1], dtype=of_type(dtype)).permute(*range(len(shape))[::-1])  # not contiguous
    got = attempt.run(drivers.one, "drop_path", x, p, seed=seed_from(draw))
    assert isinstance(got, torch.Tensor), f"drop_path returned a {type(got).__name__}, not a tensor"
    agree(list(got.shape), list(shape), of=f"the shape of what drop_path makes of x of shape {shape}")
    kept = (got.reshape(len(x), -1) != 0).any(dim=1).view(-1, *[1] * (len(shape) - 1))
    agree(
        got,
        x * kept / (1 - p),
        of=f"drop_path of x {shape} with p = {p:.3f}, where examples {kept.flatten().nonzero().flatten().tolist()} "
        "have an entry that is not 0",
        known={
            "not dividing by 1 - p": x * kept,
            "dividing by p": x * kept / p,
            "scaling by 1 - p": x * kept * (1 - p),
        },
    )


@part("drop_path")
@pytest.mark.parametrize("p", [0.15, 0.6])
def test_branches_are_dropped_independently(attempt, draw, p):
    """Each example is dropped with probability p, independently of every other example of its batch."""
    n = draw.pick((8, 10, 12))
    got = attempt.run(drivers.several, "drop_path", torch.ones(n, 1), p, seed=seed_from(draw), count=2000)
    agree(list(got.shape), [2000, n, 1], of=f"the shape of 2,000 results of drop_path of x ({n}, 1)")
    of = f"examples of a batch of {n} dropped at p = {p}"
    hold_independent(got.flatten(1) == 0, p, of, lambda i: f"example {i}")


@part("drop_path")
@pytest.mark.parametrize("under", ["with gradients", "under no_grad"])
def test_no_coin_comes_again(attempt, draw, under):
    """In a large batch each example has a coin of its own, with gradients on or off."""
    n, p = 40_009, 0.35
    driver = drivers.one_under_no_grad if under == "under no_grad" else drivers.one
    got = attempt.run(driver, "drop_path", torch.ones(n, 1), p, seed=seed_from(draw))
    dropped = got.flatten() == 0
    of = f"examples of a batch of {n:,} dropped at p = {p}, {under}"
    hold_rate(int(dropped.sum()), n, p, of)
    hold_unrepeated(dropped, p, of)


@part("drop_path")
@pytest.mark.parametrize("p", [0.15, 0.6])
def test_branch_is_dropped_with_probability_p(attempt, draw, p):
    """An example is dropped with probability p, whatever happens to the others of its batch."""
    n = 20_000
    got = attempt.run(drivers.one, "drop_path", torch.ones(n, 1), p, seed=seed_from(draw))
    dropped = got.flatten() == 0
    hold_rate(int(dropped.sum()), n, p, f"examples dropped by drop_path with p = {p}")
    for distance in (1, n // 2):
        pairs = (dropped & dropped.roll(distance)).view(-1, 2 * distance)[:, distance:].flatten()
        hold_rate(
            int(pairs.sum()),
            len(pairs),
            p * p,
            f"pairs of examples, {distance} apart, that are both dropped at p = {p}",
        )


@part("drop_path")
def test_branch_has_a_coin_for_each_example(attempt, draw):
    """In a batch of three, each of the eight outcomes has its probability: no number is fixed, no example is safe."""
    p, count = 0.4, 1000
    got = attempt.run(drivers.several, "drop_path", torch.ones(3, 1), p, seed=seed_from(draw), count=count)
    outcomes = [tuple(row) for row in (got == 0).flatten(1).tolist()]
    for outcome in itertools.product((False, True), repeat=3):
        gone = sum(outcome)
        what = f"drop_path of 3 examples with p = {p} drops {[i for i in range(3) if outcome[i]]} and no others"
        hold_rate(outcomes.count(outcome), count, p**gone * (1 - p) ** (3 - gone), what, looks=8)


RARE = pytest.mark.parametrize("p", [0.001, 0.999], ids=str)
"""Chances that a coin of few bits, a bound on p, or a batch that is never empty gets wrong."""


@part("drop_path")
@RARE
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rare_examples_of_a_large_batch(attempt, draw, dtype, p):
    """Of a million examples one in a thousand is dropped, or kept, each with a coin of its own, whatever x's dtype."""
    trials, n = 18_869, 53
    got = attempt.run(
        drivers.one, "drop_path", torch.ones(trials * n, 1, dtype=of_type(dtype)), p, seed=seed_from(draw)
    )
    dropped = got == 0
    of = f"examples of a batch of {trials * n:,} in {dtype} dropped at p = {p}"
    hold_rate(int(dropped.sum()), trials * n, p, of)
    hold_independent(dropped.view(trials, n), p, of, lambda i: f"example {i} of each {n}")
    agree(got, (~dropped / (1 - p)).to(got.dtype), of=f"drop_path of {trials * n:,} ones in {dtype}, p = {p}")


@part("drop_path")
@RARE
def test_rare_examples_of_a_small_batch(attempt, draw, p):
    """A batch may be kept, or dropped, as a whole: no example is saved or taken to avoid it."""
    n = draw.pick((13, 19, 29))
    got = attempt.run(drivers.several, "drop_path", torch.ones(n, 1), p, seed=seed_from(draw), count=1000)
    hold_independent(
        (got == 0).flatten(1), p, f"examples of a batch of {n} dropped at p = {p}", lambda i: f"example {i}"
    )


@part("drop_path")
@pytest.mark.parametrize("options", [{"training": False}, {}], ids=["eval", "p=0"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_branch_is_whole_in_evaluation_and_at_zero(attempt, draw, options, dtype):
    """With training=False, or p = 0, the result equals x."""
    x = draw.normal(29, 3, dtype=of_type(dtype))
    p = 0.7 if options else 0.0
    got = attempt.run(drivers.one, "drop_path", x, p, seed=seed_from(draw), **options)
    agree(got, x, axes="n d", of=f"drop_path with p = {p}, {options or 'training'}")


@part("drop_path")
def test_branch_passes_gradients_where_kept(attempt, draw):
    """Gradients reach the examples that were kept, divided by 1 - p, and no others."""
    x, upstream, p = draw.normal(23, 4), draw.normal(23, 4), 0.4
    out, gradient = gradient_of(attempt, "drop_path", x, p, upstream=upstream, seed=seed_from(draw))
    kept = (out != 0).any(dim=1, keepdim=True)
    agree(out, x * kept / (1 - p), axes="n d", of="drop_path of x (23, 4)")
    agree(gradient, upstream * kept / (1 - p), axes="n d", of="the gradient that drop_path passes to x")


@part("drop_path")
@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, NAN], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_branch_refuses_what_is_no_probability(attempt, draw, p, training):
    """p below 0, 1 or above, or NaN is a ValueError."""
    with refusal(ValueError, of=f"drop_path with p = {p}, training={training}"):
        attempt.run(drivers.one, "drop_path", draw.normal(3, 2), p, seed=1, training=training)


@part("drop_path")
def test_branch_draws_from_the_generator(attempt, draw):
    """All randomness of drop_path comes from its generator."""
    hold_own(attempt, "drop_path", "drop_path", draw.normal(101, 2), 0.5, seed=seed_from(draw))


def schedule(rate, depth, rule, progress=1.0):
    shares = {
        "constant": [1.0] * depth,
        "linear": [block / depth for block in range(1, depth + 1)],
        "linspace": torch.linspace(0, 1, depth, dtype=torch.float64).tolist(),
    }[rule]
    return [rate * progress * share for share in shares]


@part("drop_path")
@pytest.mark.parametrize("rule", ["constant", "linear", "linspace"])
@pytest.mark.parametrize("depth", [7, 2, 1, 0])
def test_schedule_by_depth(attempt, draw, rule, depth):
    """Each rule gives its rates, one plain float a block."""
    rate = draw.random.uniform(0.1, 0.9)
    got, types = attempt.run(drivers.rates, rate, depth, rule)
    agree(
        got,
        schedule(rate, depth, rule),
        of=f"drop_path_schedule({rate:.3f}, {depth}, '{rule}')",
        known={f"the rule '{other}'": schedule(rate, depth, other) for other in ("constant", "linear", "linspace")}
        | {"rates that fall with depth": schedule(rate, depth, rule)[::-1]},
    )
    assert all(name == "float" for name in types), f"rates are {types}, not plain floats"


@part("drop_path")
@pytest.mark.parametrize("progress", [0.0, 0.37, 1.0])
def test_schedule_in_time(attempt, draw, progress):
    """All rates grow with the share of training that is done; by default they are full and linear."""
    rates = (0.0, 1.0, draw.random.uniform(0.1, 0.9))
    rows = [(rate, 5, rule) for rate in rates for rule in ("constant", "linear", "linspace")]
    got = attempt.each("drop_path_schedule", rows, progress=progress)
    for row, found in zip(rows, got, strict=True):
        of = "drop_path_schedule({:.3f}, {}, '{}', progress={})".format(*row, progress)
        agree(found, schedule(*row, progress), of=of)
    agree(attempt.drop_path_schedule(0.3, 3), schedule(0.3, 3, "linear"), of="drop_path_schedule(0.3, 3)")


@part("drop_path")
@pytest.mark.parametrize(
    "call",
    [
        (0.1, 3, "Linear"),
        (0.1, 3, "cosine"),
        (0.1, 3, "warmup"),
        (-0.1, 3),
        (1.1, 3),
        (NAN, 3),
        (0.1, 3, "linear", -0.1),
        (0.1, 3, "constant", 1.1),
        (0.1, 3, "linear", NAN),
        (0.1, 0, "cosine"),
        (1.1, 0),
    ],
    ids=str,
)
def test_schedule_refuses(attempt, call):
    """An unknown rule, or a rate or a progress outside [0, 1], is a ValueError."""
    with refusal(ValueError, of=f"drop_path_schedule{call}"):
        attempt.drop_path_schedule(*call)


# --- mixup ------------------------------------------------------------------------------------------------------------


@part("mixup")
@pytest.mark.parametrize("dtype", DTYPES)
def test_mixup_blends_examples_and_targets_alike(attempt, draw, dtype):
    """One λ and one permutation blend the whole batch, inputs and targets alike; each keeps its dtype."""
    n = 7
    kind, other = of_type(dtype), of_type("float32" if dtype == "float64" else "float64")
    x = torch.cat([torch.eye(n, dtype=kind), draw.normal(4, n, dtype=kind).T], dim=1)
    y = draw.uniform(n, 3, low=0.1).softmax(dim=1).to(other)
    results = attempt.run(drivers.several, "mixup", x, y, 1.0, seed=seed_from(draw), count=3)
    agree([list(r.shape) for r in results], [[3, *x.shape], [3, *y.shape]], of="shapes of 3 results of mixup")
    for mixed_x, mixed_y in zip(*results, strict=True):
        weights = mixed_x[:, :n]
        lam, partner = mixing(weights, f"mixup of 7 examples in {dtype}")
        agree(mixed_x, weights @ x, axes="n d", of=f"mixup's inputs, where λ = {lam} and partners {partner.tolist()}")
        agree(
            mixed_y,
            weights.to(other) @ y,
            axes="n c",
            tol=1e-4,
            of=f"mixup's targets, where the inputs were mixed with λ = {lam} and partners {partner.tolist()}",
            known={
                "targets that were not mixed": y,
                "λ and 1 - λ exchanged": lambda w=weights, q=partner: y + y[q] - w.to(other) @ y,
            },
        )


@part("mixup")
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_mixup_of_images(attempt, draw, dtype):
    """Images are blended whole, in their dtype: every pixel with the λ and the partner that the label says."""
    x, y = draw.normal(5, 3, 2, 11, dtype=of_type(dtype)), torch.eye(5, dtype=torch.float64)
    mixed_x, mixed_y = attempt.run(drivers.one, "mixup", x, y, 2.0, seed=seed_from(draw))
    mixing(mixed_y, "mixup of 5 images")
    want = torch.einsum("ij,jchw->ichw", mixed_y, x.double()).to(x.dtype)
    agree(mixed_x, want, axes="n c h w", of=f"5 images in {dtype}, mixed as their labels say")


@part("mixup")
@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_mixup_lambda_is_beta(attempt, draw, alpha):
    """λ has the distribution Beta(alpha, alpha), and every permutation is equally likely."""
    count, eye = 1000, torch.eye(4, dtype=torch.float64)
    _, weights = attempt.run(drivers.several, "mixup", eye, eye, alpha, seed=seed_from(draw), count=count)
    lams, counts = _lams_and_partners(weights)
    hold_permutations({(0, 1, 2, 3): 0} | counts, 4, count, "mixup's partners")
    hold_beta(lams, alpha, f"λ of mixup with alpha = {alpha}")


def _partners(weights):
    """Whose label each example got a share of, by labels of one class for each example."""
    own = torch.arange(weights.shape[1])
    off = weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))
    return torch.where(off.max(dim=2).values > 0, off.argmax(dim=2), own)


@part("mixup")
def test_mixup_partners_of_a_large_batch(attempt, draw):
    """In a batch of 1,009 the permutation is random too, each time anew."""
    eye = torch.eye(1009)
    _, weights = attempt.run(drivers.several, "mixup", eye[:, :1], eye, 400.0, seed=seed_from(draw), count=4)
    hold_large_shuffles(_partners(weights), "mixup's partners in a batch of 1,009")


def _lams_and_partners(weights):
    """λ where it can be seen, and how often each order of the partners came."""
    own = torch.arange(weights.shape[1])
    diagonal = weights.diagonal(dim1=1, dim2=2)
    partners = _partners(weights)
    moved = partners != own
    first = moved.int().argmax(dim=1)
    lams = diagonal[torch.arange(len(weights)), first][moved.any(dim=1)]
    counts = {}
    for order in map(tuple, partners.tolist()):
        counts[order] = counts.get(order, 0) + 1
    return lams.tolist(), counts


@part("mixup")
def test_mixup_with_alpha_zero_changes_nothing(attempt, draw):
    """alpha = 0 leaves inputs and targets as they are."""
    x, y = draw.normal(5, 3), draw.uniform(5, 2).softmax(dim=1)
    got = attempt.run(drivers.one, "mixup", x, y, 0.0, seed=seed_from(draw))
    agree(got, (x, y), of="mixup of 5 examples with alpha = 0")


@part("mixup")
@pytest.mark.parametrize("alpha", [-0.5, NAN], ids=str)
def test_mixup_refuses_a_negative_alpha(attempt, draw, alpha):
    """A negative or NaN alpha is a ValueError."""
    with refusal(ValueError, of=f"mixup with alpha = {alpha}"):
        attempt.run(drivers.one, "mixup", draw.normal(3, 2), torch.eye(3), alpha, seed=1)


@part("mixup")
def test_mixup_draws_from_the_generator(attempt, draw):
    """All randomness of mixup comes from its generator."""
    x = draw.normal(31, 2)
    hold_own(attempt, "mixup", "mixup", x, x, 1.0, seed=seed_from(draw))


# --- cutmix -----------------------------------------------------------------------------------------------------------


def box_of(height, width, k, cy, cx):
    """Rows and columns of the box with r = k/16, by counting: every comparison is between whole numbers."""
    half_h, half_w = height * k // 16 // 2, width * k // 16 // 2
    rows = [i for i in range(height) if cy - half_h <= i < cy + half_h]
    columns = [j for j in range(width) if cx - half_w <= j < cx + half_w]
    return rows, columns


@part("cutmix")
@pytest.mark.parametrize("size", [(5, 7), (11, 4), (2, 13)], ids=str)
def test_box_for_every_centre(attempt, size):
    """For every centre and many λ the box is clipped to the image, and λ' is the share of pixels outside it."""
    height, width = size
    steps = [k for k in range(17) if k in (0, 16) or (height * k % 16 and width * k % 16)]  # no rounding decides
    found, left = attempt.run(drivers.boxes, height, width, [1 - (k / 16) ** 2 for k in steps])
    cases = [(k, cy, cx) for k in steps for cy in range(height) for cx in range(width)]
    wants, wants_left = [], []
    for got, (k, cy, cx) in zip(found, cases, strict=True):
        rows, columns = box_of(height, width, k, cy, cx)
        empty = not (rows and columns)
        wants.append(got if empty else [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
        wants_left.append(1 - len(rows) * len(columns) / (height * width))
        if empty:
            top, bottom, before, after = got
            assert bottom <= top or after <= before, (
                f"cutmix_box({height}, {width}, {1 - (k / 16) ** 2:.4g}, {cy}, {cx}): the box is {got}, should be empty"
            )
    named = "cutmix_box for λ = 1 - (k/16)² in a {}x{} image, cases (k, cy, cx) in order".format(*size)
    for got, want, case in zip(found, wants, cases, strict=True):
        agree(got, want, of=f"(top, bottom, left, right) of {named}: {case}")
    agree(
        torch.tensor(left, dtype=torch.float64),
        torch.tensor(wants_left, dtype=torch.float64),
        axes="i",
        of=f"λ' of {named}",
        known={
            "the λ asked for, before clipping": lambda: torch.tensor([1 - (k / 16) ** 2 for k, _, _ in cases]).double(),
            "the share inside the box": lambda: 1 - torch.tensor(wants_left).double(),
        },
    )


@part("cutmix")
def test_box_is_plain_numbers(attempt):
    """The box is four ints, λ' a float: the worked example of the docstring."""
    box, left = attempt.cutmix_box(7, 11, 0.75, 0, 5)
    agree((tuple(box), left), ((0, 1, 3, 7), 73 / 77), of="cutmix_box(7, 11, 0.75, 0, 5)")


@part("cutmix")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cutmix_labels_are_the_area(attempt, draw, dtype):
    """Every image gets the same box of its partner's pixels, all channels; labels are mixed by the pasted area."""
    n, height, width = 5, 7, 11
    x = draw.normal(n, 3, width, height, dtype=of_type(dtype)).transpose(2, 3)
    other = of_type("float32" if dtype == "float64" else "float64")
    targets = torch.cat([torch.eye(n, dtype=other), draw.uniform(n, 2, dtype=other)], dim=1)
    results = attempt.run(drivers.several, "cutmix", x, targets, 1.0, seed=seed_from(draw), count=25)
    agree([list(r.shape) for r in results], [[25, *x.shape], [25, *targets.shape]], of="shapes of 25 results of cutmix")
    for mixed, labels in zip(*results, strict=True):
        weights = labels[:, :n]
        lam, partner = mixing(weights, "cutmix of 5 images, by the labels")
        agree(labels, weights @ targets, axes="n c", of="cutmix's targets, all mixed by one λ and one permutation")
        if lam is None:
            agree(mixed, x, axes="n c h w", of="cutmix, where every image is its own partner (or the box is empty)")
            continue
        i = next(i for i in range(n) if partner[i] != i)
        inside = mixed[i, 0] != x[i, 0]
        rows, columns = inside.any(dim=1), inside.any(dim=0)
        assert bool((inside == rows[:, None] & columns).all() and _run(rows) and _run(columns)), (
            f"cutmix of 5 images (7 x 11): the pixels of image {i} that changed are no box:\n"
            + "\n".join("".join(".#"[int(v)] for v in row) for row in inside)
        )
        agree(
            mixed,
            torch.where(inside, x[partner], x),
            axes="n c h w",
            of=f"cutmix of 5 images (7 x 11) with partners {partner.tolist()} and a box of {int(inside.sum())} pixels",
            known={
                "blending, as mixup does": lambda x=x, q=partner, a=lam: a * x + (1 - a) * x[q],
                "pixels of the reversed batch": lambda x=x, m=inside: torch.where(m, x.flip(0), x),
            },
        )
        agree(
            1 - lam,
            int(inside.sum()) / (height * width),
            tol=1e-5,
            of=f"the weight of the partner's label, where {int(inside.sum())} of 77 pixels were pasted",
        )


def _run(flags):
    """Whether the indices that are set follow one another."""
    held = flags.nonzero().flatten().tolist()
    return held == list(range(held[0], held[-1] + 1)) if held else True


def box_law(height, width, alpha):
    """The law of the box: {(rows, columns) as half-open ranges: probability}, by the sides' steps and all centres."""
    cdf = beta_cdf(alpha)
    steps = sorted({0.0, 1.0, *(2 * j / s for s in (height, width) for j in range(1, s // 2 + 1))})
    law = {}
    for low, high in itertools.pairwise(steps):
        middle = (low + high) / 2  # r = sqrt(1 - λ), and 1 - λ has the distribution of λ
        half_h, half_w = int(height * middle) // 2, int(width * middle) // 2
        chance = (cdf(high**2) - cdf(low**2)) / (height * width)
        for cy in range(height):
            for cx in range(width):
                box = (max(cy - half_h, 0), min(cy + half_h, height), max(cx - half_w, 0), min(cx + half_w, width))
                law[box] = law.get(box, 0.0) + chance
    return law


def area_cdf(law, pixels):
    areas = sorted(((b - a) * (d - c) / pixels, chance) for (a, b, c, d), chance in law.items())
    sums = [0.0, *itertools.accumulate(chance for _, chance in areas)]
    return lambda t: sums[bisect.bisect_right(areas, (t, math.inf))]


@part("cutmix")
@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_cutmix_boxes_follow_their_law(attempt, draw, alpha):
    """λ is Beta(alpha, alpha), the centre uniform over all pixels, each permutation equally likely."""
    height, width, count = 5, 8, 2000
    x = (1 + torch.arange(4.0)).view(4, 1, 1, 1).expand(4, 1, height, width).double()
    eye = torch.eye(4, dtype=torch.float64)
    images, weights = attempt.run(drivers.several, "cutmix", x, eye, alpha, seed=seed_from(draw), count=count)
    moved = (images != x).flatten(2).any(dim=2)
    law = box_law(height, width, alpha)
    visible = sum(chance for (a, b, c, d), chance in law.items() if b > a and d > c)
    lams, counts = _lams_and_partners(weights)
    hold_rate(int(moved.any(dim=1).sum()), count, visible * 23 / 24, f"cutmix changes an image at alpha = {alpha}")
    counts.pop((0, 1, 2, 3), None)  # nobody moves, or the box is empty
    hold_permutations(counts, 4, count, f"cutmix's partners at alpha = {alpha}", share=visible)
    seen = area_cdf({box: p / visible for box, p in law.items() if box[1] > box[0] and box[3] > box[2]}, height * width)
    hold_distribution([1 - lam for lam in lams], seen, f"pasted share 1 - λ' at alpha = {alpha}, where it is not 0")
    first = moved.int().argmax(dim=1)
    inside = (images != x)[torch.arange(count), first, 0][moved.any(dim=1)]
    for i in range(height):
        for j in range(width):
            chance = sum(p for (a, b, c, d), p in law.items() if a <= i < b and c <= j < d) / visible
            what = f"pixel ({i}, {j}) of a 5 x 8 image is in cutmix's box at alpha = {alpha}"
            hold_rate(int(inside[:, i, j].sum()), len(inside), chance, what, looks=height * width)


@part("cutmix")
def test_cutmix_partners_of_a_large_batch(attempt, draw):
    """In a batch of 1,009 the permutation is random too, each time anew."""
    eye, x = torch.eye(1009), torch.zeros(1009, 1, 5, 7)
    _, weights = attempt.run(drivers.several, "cutmix", x, eye, 400.0, seed=seed_from(draw), count=4)
    hold_large_shuffles(_partners(weights), "cutmix's partners in a batch of 1,009")


@part("cutmix")
def test_cutmix_centres_of_a_large_image(attempt, draw):
    """In an image of 37 x 53 the centre is uniform too: its row says nothing of its column."""
    height, width, count = 37, 53, 900
    x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, height, width)
    options = {"seed": seed_from(draw), "count": count}
    images, _ = attempt.run(drivers.several, "cutmix", x, torch.eye(3), 1e7, **options)  # λ is 1/2: half sides 13, 18
    inside = (images != x).flatten(1, 2).any(dim=1)
    centres = []
    for side, half in ((2, 13), (1, 18)):
        line = inside.any(dim=side)[inside.flatten(1).any(dim=1)].int()
        first, last = line.argmax(dim=1), line.shape[1] - line.flip(1).argmax(dim=1)
        centres.append(torch.where(first > 0, first + half, last - half))
    (cy, cx), trials = centres, len(centres[0])
    hold_rate(trials, count, 5 / 6, "cutmix changes an image of three")
    for rows, upper in (("upper", cy < 18), ("odd", cy % 2 == 1)):
        for columns, left in (("left", cx < 26), ("odd", cx % 2 == 1)):
            what = f"the centre of cutmix's box lies in {rows} rows and {columns} columns of a 37 x 53 image"
            hold_rate(int((upper & left).sum()), trials, 18 / 37 * 26 / 53, what)


@part("cutmix")
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_cutmix_with_alpha_zero_changes_nothing(attempt, draw, dtype):
    """alpha = 0 leaves images and targets as they are, dtypes too."""
    x, y = draw.normal(5, 2, 3, 4, dtype=of_type(dtype)), draw.uniform(5, 3).softmax(dim=1)
    got = attempt.run(drivers.one, "cutmix", x, y, 0.0, seed=seed_from(draw))
    agree(got, (x, y), of="cutmix of 5 images with alpha = 0")


@part("cutmix")
@pytest.mark.parametrize("alpha", [-0.5, NAN], ids=str)
def test_cutmix_refuses_a_negative_alpha(attempt, draw, alpha):
    """A negative or NaN alpha is a ValueError."""
    with refusal(ValueError, of=f"cutmix with alpha = {alpha}"):
        attempt.run(drivers.one, "cutmix", draw.normal(3, 1, 5, 4), torch.eye(3), alpha, seed=1)


@part("cutmix")
def test_cutmix_draws_from_the_generator(attempt, draw):
    """All randomness of cutmix comes from its generator."""
    x = draw.normal(31, 1, 8, 6)
    hold_own(attempt, "cutmix", "cutmix", x, torch.eye(31), 8.0, seed=seed_from(draw))  # hardly ever an empty box


# --- label_smoothing_loss ---------------------------------------------------------------------------------------------


def smoothed_loss(logits, y, epsilon, share=None):
    """The loss example by example. share: what each wrong class gets (epsilon / c by default)."""
    losses = []
    for row, target in zip(logits, y, strict=True):
        q = (
            (1 - epsilon) * target + epsilon / len(row)
            if share is None
            else target * (1 - epsilon) + share * (1 - target)
        )
        losses.append(-(q * (row - row.logsumexp(dim=0))).sum())
    return torch.stack(losses)


@part("label_smoothing_loss")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", ["numbers", "soft", "soft, another dtype"])
def test_smoothing_gives_every_class_its_share(attempt, draw, targets, dtype):
    """Targets are (1 - epsilon)·y + epsilon/c, for class numbers and soft ones; a mean over n, typed as the logits."""
    n, c, epsilon = 11, 5, draw.random.uniform(0.1, 0.4)
    logits = draw.normal(c, n, scale=3.0, dtype=of_type(dtype)).T
    numbers = draw.integers(0, c, n)
    onehot = F.one_hot(numbers, c).to(of_type(dtype))
    kind = of_type(dtype if "another" not in targets else "float32" if dtype == "float64" else "float64")
    soft = draw.normal(n, c, scale=2.0).softmax(dim=1).to(kind)
    y = onehot if targets == "numbers" else soft.to(of_type(dtype))
    agree(
        attempt.label_smoothing_loss(logits, numbers if targets == "numbers" else soft, epsilon),
        smoothed_loss(logits, y, epsilon).mean(),
        of=f"label_smoothing_loss of logits (11, 5) with {targets} as targets and epsilon {epsilon:.3f} in {dtype}",
        known={
            "epsilon / (c - 1) to the wrong classes": lambda: smoothed_loss(
                logits, y, epsilon, epsilon / (c - 1)
            ).mean(),
            "targets that are not smoothed": lambda: smoothed_loss(logits, y, 0.0).mean(),
            "the sum over the batch": lambda: smoothed_loss(logits, y, epsilon).sum(),
            "a mean over classes, too": lambda: smoothed_loss(logits, y, epsilon).mean() / c,
            "nothing taken from the right class": lambda: smoothed_loss(logits, y + epsilon / c, 0.0).mean(),
        },
    )


@part("label_smoothing_loss")
def test_smoothing_default_is_a_tenth(attempt, draw):
    """Without an epsilon it is 0.1; epsilon 0 is plain cross-entropy and 1 forgets the targets."""
    logits, numbers = draw.normal(3, 4), draw.integers(0, 4, 3)
    y = F.one_hot(numbers, 4).double()
    rows = [(logits, numbers), (logits, numbers, 0.0), (logits, numbers, 1.0)]
    got = attempt.each("label_smoothing_loss", rows)
    for loss, epsilon, said in zip(
        got, (0.1, 0.0, 1.0), ("the default epsilon", "epsilon 0.0", "epsilon 1.0"), strict=True
    ):
        agree(loss, smoothed_loss(logits, y, epsilon).mean(), of=f"label_smoothing_loss with {said}")


@part("label_smoothing_loss")
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
def test_smoothing_survives_large_logits(attempt, dtype):
    """Logits of 10,000 give a finite loss, in their dtype."""
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 5e3], [1.0, 3.0, 2.0]], dtype=of_type(dtype))
    agree(
        attempt.label_smoothing_loss(logits, torch.tensor([1, 1, 1]), 0.3),
        smoothed_loss(logits.double(), F.one_hot(torch.tensor([1, 1, 1]), 3).double(), 0.3).mean().to(logits.dtype),
        of="label_smoothing_loss of logits up to 10,000",
    )


@part("label_smoothing_loss")
def test_smoothing_has_gradients(attempt, draw):
    """Gradients of the loss reach the logits, and soft targets."""
    logits, y, epsilon = draw.normal(7, 3), draw.normal(7, 3).softmax(dim=1), 0.2
    q = (1 - epsilon) * y + epsilon / 3
    loss, grads = attempt.gradients(
        "label_smoothing_loss", logits, y, epsilon, upstream=torch.tensor(1.7, dtype=torch.float64)
    )
    agree(loss, smoothed_loss(logits, y, epsilon).mean(), of="label_smoothing_loss of soft targets (7, 3)")
    agree(grads[0], 1.7 * (logits.softmax(dim=1) - q) / 7, axes="n c", of="the gradient of the loss for the logits")
    want = -1.7 * (1 - epsilon) * logits.log_softmax(dim=1) / 7
    agree(grads[1], want, axes="n c", of="the gradient of the loss for soft targets")


@part("label_smoothing_loss")
@pytest.mark.parametrize("epsilon", [-0.01, 1.01, NAN], ids=str)
def test_smoothing_refuses(attempt, draw, epsilon):
    """An epsilon outside [0, 1] is a ValueError."""
    with refusal(ValueError, of=f"label_smoothing_loss with epsilon {epsilon}"):
        attempt.label_smoothing_loss(draw.normal(2, 3), torch.tensor([0, 2]), epsilon)


@part("label_smoothing_loss")
def test_other_labels_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(11, 5), draw.integers(0, 5, 11), 0.15) for _ in range(2)]
    hold_again(attempt, reference, "label_smoothing_loss", *asked, of="label_smoothing_loss of (11, 5)", views=False)


# --- drop_block -------------------------------------------------------------------------------------------------------


def blocks(dropped, b):
    """The union of all b x b squares that are wholly dropped: (..., h, w) bool to the same."""
    whole = dropped.unfold(-2, b, 1).unfold(-2, b, 1).all(dim=-1).all(dim=-1)
    union = torch.zeros_like(dropped)
    for i in range(b):
        for j in range(b):
            union[..., i : i + whole.shape[-2], j : j + whole.shape[-1]] |= whole
    return union


def picture(dropped):
    return "\n".join("    " + "".join(".#"[int(v)] for v in row) for row in dropped)


@part("drop_block")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "size", [(5, 7, 3), (7, 4, 2), (9, 4, 4), (6, 5, 1), (3, 8, 3), (9, 10, 6), (11, 7, 5), (6, 6, 6)], ids=str
)
def test_whole_blocks_are_dropped(attempt, draw, size, dtype):
    """What is 0 is a union of whole b x b blocks inside the map, odd b or even; the rest is scaled by one number."""
    h, w, b = size
    x = draw.normal(11, 3, w, h, dtype=of_type(dtype)).transpose(2, 3)
    got = attempt.run(drivers.one, "drop_block", x, 0.35, b, seed=seed_from(draw))
    agree(list(got.shape), list(x.shape), of=f"the shape of what drop_block makes of {tuple(x.shape)} with b = {b}")
    dropped = got == 0
    stray = (dropped & ~blocks(dropped, b)).flatten(2).any(dim=2).nonzero().tolist()
    if stray:
        i, j = stray[0]
        raise Wrong(
            f"drop_block of maps {h} x {w} with b = {b}: what is dropped (#) is no union of {b} x {b} blocks inside "
            f"the map, in example {i}, channel {j}:\n{picture(dropped[i, j])}"
        )
    kept = ~dropped
    share = kept.sum().item() / kept.numel()
    agree(
        got,
        x * kept / share,
        axes="n c h w",
        of=f"drop_block of maps {h} x {w} with b = {b}, of which {100 * share:.1f} % is kept",
        known={
            "not renormalising": x * kept,
            "dividing by 1 - p": x * kept / (1 - 0.35),
            "renormalising each example": lambda: x * kept / kept.double().mean(dim=(1, 2, 3), keepdim=True),
            "renormalising each map": lambda: (x * kept / kept.double().mean(dim=(2, 3), keepdim=True)).nan_to_num(0.0),
            "multiplying by the share kept": x * kept * share,
        },
    )


def corners_over(h, w, b):
    """How many corners reach each pixel: (h, w)."""
    count = torch.zeros(h, w, dtype=torch.int64)
    for i in range(h - b + 1):
        for j in range(w - b + 1):
            count[i : i + b, j : j + b] += 1
    return count


@part("drop_block")
@pytest.mark.parametrize("examples", [4, 6])
def test_blocks_fall_independently(attempt, draw, examples):
    """What is dropped in one map says nothing about another: every pair of examples and channels is looked at."""
    p, channels = draw.random.uniform(0.3, 0.5), 2
    gamma = p / 4 * 20 / 12
    x = torch.ones(examples, channels, 4, 5)
    got = attempt.run(drivers.several, "drop_block", x, p, 2, seed=seed_from(draw), count=1500)
    agree(list(got.shape), [1500, *x.shape], of=f"the shape of 1,500 results of drop_block of x {tuple(x.shape)}")
    hold_independent(
        (got[..., 1, 2] == 0).flatten(1),
        1 - (1 - gamma) ** 4,
        f"maps of {examples} examples, 4 x 5, whose pixel (1, 2) drop_block drops, with b = 2, p = {p:.3f}",
        lambda i: f"example {i // channels}, channel {i % channels}",
    )


@part("drop_block")
@pytest.mark.parametrize("under", ["with gradients", "under no_grad"])
def test_no_block_comes_again(attempt, draw, under):
    """In a large batch every channel of every example has blocks of its own, and one number scales all that is kept."""
    p, shape = 0.35, (47, 29, 6, 5)
    driver = drivers.one_under_no_grad if under == "under no_grad" else drivers.one
    got = attempt.run(driver, "drop_block", torch.ones(*shape, dtype=torch.float64), p, 1, seed=seed_from(draw))
    dropped = got == 0
    of = f"entries of {' x '.join(map(str, shape))} dropped at p = {p}, b = 1, {under}"
    hold_rate(int(dropped.sum()), dropped.numel(), p, of)
    hold_unrepeated(dropped.flatten(), p, of)
    kept = dropped.numel() / int((~dropped).sum())
    agree(got, (~dropped).double() * kept, axes="n c h w", of=f"what drop_block gives of ones, {under}")


@part("drop_block")
@pytest.mark.parametrize(
    "size", [(5, 8, 3), (7, 4, 2), (4, 5, 1), (8, 8, 4), (7, 10, 5), (9, 6, 6), (6, 6, 6)], ids=str
)
def test_blocks_come_with_probability_gamma(attempt, draw, size):
    """Each pixel is dropped with 1 - (1 - gamma)^(corners that reach it), in each channel on its own."""
    h, w, b = size
    p = draw.random.uniform(0.2, 0.5)
    gamma = p / b**2 * h * w / ((h - b + 1) * (w - b + 1))
    got = attempt.run(drivers.one, "drop_block", torch.ones(500, 16, h, w), p, b, seed=seed_from(draw))
    dropped = got == 0
    counts, over = dropped.sum(dim=(0, 1)), corners_over(h, w, b)
    for i in range(h):
        for j in range(w):
            chance = 1 - (1 - gamma) ** int(over[i, j])
            what = (
                f"drop_block of maps {h} x {w} with b = {b}, p = {p:.3f}, gamma = {gamma:.4f}: pixel ({i}, {j}), "
                f"reached by {over[i, j]} corners, is dropped"
            )
            hold_rate(int(counts[i, j]), 8000, chance, what, looks=h * w)
    centre = dropped[:, :, h // 2, w // 2]
    chance = (1 - (1 - gamma) ** int(over[h // 2, w // 2])) ** 2
    pairs = {
        "two channels of an example": centre[:, ::2] & centre[:, 1::2],
        "one channel of two examples": centre[::2] & centre[1::2],
    }
    for name, both in pairs.items():
        hold_rate(int(both.sum()), 4000, chance, f"drop_block drops the middle of {name} at once")
    if (h - b + 1, w - b + 1) != (1, 1):
        ends = dropped[:, :, 0, 0] & dropped[:, :, -1, -1]  # no corner reaches both
        hold_rate(int(ends.sum()), 8000, gamma**2, "drop_block drops two opposite ends of a map at once")


@part("drop_block")
@RARE
@pytest.mark.parametrize(
    ("size", "dtype"),
    [((5, 10, 1), "float32"), ((5, 10, 1), "float16"), ((4, 5, 2), "float16"), ((4, 4, 4), "float32")],
    ids=str,
)
def test_rare_blocks_of_a_large_batch(attempt, draw, size, dtype, p):
    """At p = 0.001 corners are as rare as gamma says, at 0.999 as frequent, and all maps have their own."""
    h, w, b = size
    gamma = p / b**2 * h * w / ((h - b + 1) * (w - b + 1))
    n, c = (20_011, 1) if b == 1 else (1_201, 50)  # of b = 1 each pixel has a coin
    x = torch.ones(n, c, h, w, dtype=of_type(dtype))
    got = attempt.run(drivers.one, "drop_block", x, p, b, seed=seed_from(draw))
    dropped = got == 0
    coins = dropped.view(n, -1) if b == 1 else dropped[..., 0, 0]  # a corner of the map, which one block reaches
    of = f"{coins.numel():,} corners of maps {h} x {w} in {dtype} taken for a block, b = {b}, p = {p}"
    hold_rate(int(coins.sum()), coins.numel(), gamma, of)
    hold_independent(coins, gamma, of, lambda i: f"pixel {i} of a map" if b == 1 else f"channel {i}")
    kept = ~dropped
    want = (kept.double() * (kept.numel() / kept.sum().item())).to(got.dtype)
    agree(got, want, of=f"drop_block of ones {tuple(x.shape)} in {dtype}, b = {b}, p = {p}")


@part("drop_block")
@RARE
def test_rare_blocks_of_a_small_batch(attempt, draw, p):
    """All maps of a batch may be kept, or dropped: no block is taken or left out to avoid it."""
    x = torch.ones(5, 4, 2, 2)
    got = attempt.run(drivers.several, "drop_block", x, p, 2, seed=seed_from(draw), count=1000)
    gone = (got == 0).flatten(3).all(dim=3).flatten(1)
    hold_independent(gone, p, f"maps 2 x 2 of (5, 4) dropped with b = 2, p = {p}", lambda i: f"map {i}")


@part("drop_block")
@pytest.mark.parametrize("options", [{"training": False}, {}], ids=["eval", "p=0"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_stay_in_evaluation_and_at_zero(attempt, draw, options, dtype):
    """With training=False, or p = 0, the result equals x."""
    x = draw.normal(7, 3, 5, 4, dtype=of_type(dtype))
    p = 0.7 if options else 0.0
    got = attempt.run(drivers.one, "drop_block", x, p, 2, seed=seed_from(draw), **options)
    agree(got, x, axes="n c h w", of=f"drop_block with p = {p}, {options or 'training'}")


@part("drop_block")
def test_nothing_kept_is_zero(attempt, draw):
    """Where the whole tensor is dropped the result is 0, not NaN."""
    x = draw.normal(1, 1, 3, 3)
    got = attempt.run(drivers.several, "drop_block", x, 0.8, 3, seed=seed_from(draw), count=100)
    gone = (got == 0).flatten(1).all(dim=1).view(-1, 1, 1, 1, 1)
    agree(
        got,
        torch.where(gone, torch.zeros_like(x), x),
        of="100 times drop_block of one 3 x 3 map with b = 3, p = 0.8: it is dropped as a whole, or kept as it is",
    )
    hold_rate(int(gone.sum()), 100, 0.8, "drop_block drops a 3 x 3 map with b = 3, p = 0.8")
    x = draw.normal(1, 1, 1, 2)
    got = attempt.run(drivers.several, "drop_block", x, 0.5, 1, seed=seed_from(draw), count=60)
    kept = got != 0
    factor = 2 / kept.sum(dim=-1, keepdim=True).clamp(min=1).double()
    agree(
        got,
        x.expand(60, *x.shape) * kept * factor,
        of="60 times drop_block of one 1 x 2 map with b = 1: neither, one (doubled) or both kept",
    )


@part("drop_block")
def test_zeros_of_x_are_kept_entries(attempt, draw):
    """After a ReLU half of x is 0: those entries count as kept, unless a block covers them."""
    x = draw.normal(7, 5, 3, 3).relu()
    x[:, :, 1, 2] += 0.1  # no map is all 0
    got = attempt.run(drivers.one, "drop_block", x, 0.4, 3, seed=seed_from(draw))
    kept = (got != 0).flatten(2).any(dim=2)[:, :, None, None].expand_as(x)  # a block is a whole map
    share, seen = kept.double().mean(), (x * kept != 0).double().mean()
    agree(
        got,
        x * kept / share,
        axes="n c h w",
        of=f"drop_block of 35 maps 3 x 3, half of their entries 0, with b = 3; {100 * share:.1f} % is kept",
        known={"counting the zeros of x as dropped": x * kept / seen},
    )


@part("drop_block")
def test_blocks_are_counted_exactly_in_half_precision(attempt, draw):
    """In float16 more entries than float16 can count are renormalised by the right number."""
    x = torch.ones(2, 1, 200, 301, dtype=torch.float16)
    got = attempt.run(drivers.one, "drop_block", x, 0.3, 3, seed=seed_from(draw))
    kept = got != 0
    agree(got, (kept / kept.double().mean()).half(), axes="n c h w", of="drop_block of 120,400 float16 ones")


@part("drop_block")
def test_blocks_pass_gradients_where_kept(attempt, draw):
    """Gradients reach what was kept, with the factor of the values, and nothing else."""
    x, upstream = draw.normal(5, 3, 4, 7), draw.normal(5, 3, 4, 7)
    out, gradient = gradient_of(attempt, "drop_block", x, 0.4, 2, upstream=upstream, seed=seed_from(draw))
    kept = out != 0
    factor = kept.numel() / kept.sum().item()
    agree(out, x * kept * factor, axes="n c h w", of="drop_block of x (5, 3, 4, 7)")
    agree(
        gradient,
        upstream * kept * factor,
        axes="n c h w",
        of="the gradient that drop_block passes to x",
    )


@part("drop_block")
@pytest.mark.parametrize(
    "case", [(-0.1, 2), (1.0, 2), (1.5, 2), (NAN, 2), (0.1, 0), (0.1, -1), (0.1, 4), (0.0, 4)], ids=str
)
@pytest.mark.parametrize("training", [True, False])
def test_blocks_refuse(attempt, draw, case, training):
    """A p outside [0, 1), or a block that does not fit into the map, is a ValueError."""
    shapes = [(2, 1, 3, 5), (2, 1, 5, 3)]
    for shape in shapes if case[1] > 3 else shapes[:1]:
        with refusal(ValueError, of=f"drop_block of {shape} with (p, block_size) = {case}, training={training}"):
            attempt.run(drivers.one, "drop_block", draw.normal(*shape), *case, seed=1, training=training)


@part("drop_block")
def test_blocks_draw_from_the_generator(attempt, draw):
    """All randomness of drop_block comes from its generator."""
    hold_own(attempt, "drop_block", "drop_block", draw.normal(17, 5, 6, 5), 0.4, 2, seed=seed_from(draw))


# --- MixPipeline ------------------------------------------------------------------------------------------------------


def kinds_of(images, x):
    """For each result (k, n, c, h, w): whether it is x, else whether all pixels are somebody's own."""
    same = ((images - x).abs() < 1e-9).flatten(1).all(dim=1)
    own = ((images[:, :, None] - x).abs() < 1e-9).any(dim=2).flatten(1).all(dim=1)
    return same, own & ~same, ~own


@part("MixPipeline")
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
def test_pipeline_smooths_labels(attempt, draw, dtype):
    """Without mixing x stays, and y is (1 - epsilon)·onehot + epsilon/c in the dtype of x; epsilon 0.1 by default."""
    x, labels = draw.normal(3, 2, 5, 4, dtype=of_type(dtype)), torch.tensor([6, 0, 3])
    unmixed = [{"prob": 0.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}]
    options = [chosen | mixes for chosen in ({}, {"epsilon": 0.3}, {"epsilon": 0.0}) for mixes in unmixed]
    data = {"seed": seed_from(draw), "options": [{"num_classes": 7} | chosen for chosen in options]}
    for chosen, got in zip(options, attempt.run(drivers.choices, "MixPipeline", x, labels, **data), strict=True):
        epsilon = chosen.get("epsilon", 0.1)
        want = (1 - epsilon) * F.one_hot(labels, 7).to(x.dtype) + epsilon / 7
        agree(got, (x, want), of=f"MixPipeline(7, {chosen}) of labels [6, 0, 3] in {dtype}")


@part("MixPipeline")
@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_pipeline_mixes_images_and_labels_alike(attempt, draw, way):
    """Smoothed labels are mixed as the images were: blended by λ, or cut by the pasted area."""
    n, c, epsilon, off = 5, 7, 0.2, {"mixup": "cutmix_alpha", "cutmix": "mixup_alpha"}[way]
    x, labels = draw.normal(n, 3, 4, 9), draw.permutation(c)[:n]
    images, targets = attempt.run(
        drivers.several, "MixPipeline", x, labels, seed=seed_from(draw), count=20,
        num_classes=c, epsilon=epsilon, switch_prob=0.5, **{off: 0.0},
    )  # fmt: skip
    agree([list(r.shape) for r in (images, targets)], [[20, *x.shape], [20, n, c]], of="shapes of 20 mixed batches")
    for mixed, y in zip(images, targets, strict=True):
        weights = ((y - epsilon / c) / (1 - epsilon))[:, labels]
        rest = [k for k in range(c) if k not in labels.tolist()]
        agree(
            y[:, rest],
            torch.full((n, 2), epsilon / c, dtype=torch.float64),
            of=f"weights of classes that are not there, {way}",
        )
        lam, partner = mixing(weights.where(weights.abs() > 1e-12, 0.0), f"labels of MixPipeline with {off} = 0")
        if way == "mixup" or lam is None:
            want = torch.einsum("ij,jchw->ichw", weights, x)
            agree(mixed, want, of=f"images of MixPipeline with {off} = 0, blended as the labels say")
        else:
            inside = (mixed != x).any(dim=1, keepdim=True)
            agree(mixed, torch.where(inside, x[partner], x), of=f"images of MixPipeline with {off} = 0: own or pasted")
            i = next(i for i in range(n) if partner[i] != i)
            agree(1 - lam, inside[i].double().mean().item(), tol=1e-6, of="the partner's weight and the pasted share")


@part("MixPipeline")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prob": 0.4, "switch_prob": 0.45},
        {"prob": 0.3, "switch_prob": 1.0},
        {"prob": 0.7, "switch_prob": 0.0},
        {"prob": 0.7, "cutmix_alpha": 0.0, "switch_prob": 0.6},
        {"prob": 0.7, "mixup_alpha": 0.0, "switch_prob": 0.3},
        {"prob": 0.001},
        {"prob": 0.999, "switch_prob": 0.001},
        {"switch_prob": 0.999},
    ],
    ids=str,
)
def test_pipeline_switches(attempt, draw, options):
    """A batch is mixed with probability prob, then cut with probability switch_prob, else blended: never both."""
    n, (height, width) = 7, (5, 8)
    count = 3000 if {0.001, 0.999} & set(options.values()) else 320
    chosen = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "prob": 1.0, "switch_prob": 0.5} | options
    x = (1 + torch.arange(float(n))).square().view(n, 1, 1, 1).expand(n, 1, height, width).double()
    images, _ = attempt.run(
        drivers.several, "MixPipeline", x, torch.arange(n), seed=seed_from(draw), count=count,
        num_classes=n, **options,
    )  # fmt: skip
    same, cut, blended = (int(kind.sum()) for kind in kinds_of(images, x))
    switch = (
        chosen["switch_prob"] if chosen["mixup_alpha"] and chosen["cutmix_alpha"] else float(chosen["cutmix_alpha"] > 0)
    )
    visible = sum(p for (a, b, c, d), p in box_law(height, width, 1.0).items() if b > a and d > c)
    moved = 1 - 1 / math.factorial(n)  # not every example its own partner
    cuts = chosen["prob"] * switch * visible * moved
    blends = chosen["prob"] * (1 - switch) * moved
    shown = f"MixPipeline({n}, {', '.join(f'{k}={v}' for k, v in options.items())})"
    hold_rate(cut, count, cuts, f"{shown} pastes a box")
    hold_rate(blended, count, blends, f"{shown} blends")
    hold_rate(same, count, 1 - cuts - blends, f"{shown} changes nothing (one of {n}! permutations moves nobody)")


@part("MixPipeline")
def test_pipeline_uses_each_alpha(attempt, draw):
    """mixup gets mixup_alpha, cutmix gets cutmix_alpha."""
    height, width = 5, 8
    x = (1 + torch.arange(3.0)).square().view(3, 1, 1, 1).expand(3, 1, height, width).double()
    images, weights = attempt.run(
        drivers.several, "MixPipeline", x, torch.arange(3), seed=seed_from(draw), count=800,
        num_classes=3, mixup_alpha=4.0, cutmix_alpha=0.25, epsilon=0.0,
    )  # fmt: skip
    _, cut, blended = kinds_of(images, x)
    lams, _ = _lams_and_partners(weights[blended])
    hold_beta(lams, 4.0, "λ of MixPipeline's mixup, mixup_alpha = 4, cutmix_alpha = 0.25")
    law = {box: p for box, p in box_law(height, width, 0.25).items() if box[1] > box[0] and box[3] > box[2]}
    total = sum(law.values())
    lams, _ = _lams_and_partners(weights[cut])
    hold_distribution(
        [1 - lam for lam in lams],
        area_cdf({box: p / total for box, p in law.items()}, height * width),
        "pasted share of MixPipeline's cutmix, mixup_alpha = 4, cutmix_alpha = 0.25",
    )


@part("MixPipeline")
def test_pipeline_draws_from_the_generator(attempt, draw):
    """All randomness of MixPipeline comes from its generator."""
    x, labels = draw.normal(31, 1, 8, 6), torch.arange(31)
    ways = [{}, {"switch_prob": 0.0}, {"switch_prob": 1.0}, {"mixup_alpha": 0.0}, {"cutmix_alpha": 0.0}]
    for way in ways:
        options = {"num_classes": 31, "cutmix_alpha": 8.0} | way  # of 8: hardly ever an empty box
        of = f"MixPipeline({', '.join(f'{k}={v}' for k, v in options.items())})"
        hold_own(attempt, of, "MixPipeline", x, labels, seed=seed_from(draw), **options)


@part("MixPipeline")
def test_one_pipeline_that_is_called_twice(attempt, reference, draw):
    """One pipeline that is called twice gives each time what its inputs of that time give."""
    turns = tuple((draw.normal(3, 2, 5, 4), draw.permutation(7)[:3]) for _ in range(2))
    hold_turns(attempt, reference, drivers.smoothed_in_turn, turns=turns, of="MixPipeline(7, prob=0) of (3, 2, 5, 4)")


# --- ModelEMA ---------------------------------------------------------------------------------------------------------


def model_values(draw, dtype="float64", steps=4):
    kind = of_type(dtype)
    return [
        {
            "weight": draw.normal(3, 5, dtype=kind),
            "bias": draw.normal(3, dtype=kind),
            "mean": draw.normal(2, 7, dtype=kind),
            "count": draw.integers(0, 1000, 2),
            "inner.hidden": draw.normal(5, dtype=kind),
        }
        for _ in range(steps)
    ]


def averaged(values, decay, warmup, start=0):
    """What an average holds at first and after each update."""
    held = [values[0]]
    for t, new in enumerate(values[1:], start):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        held.append({k: v if k == "count" else d * held[-1][k] + (1 - d) * v for k, v in new.items()})
    return held


@part("ModelEMA")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"decay": 0.15}, {"decay": 0.3, "warmup": False}, {"warmup": False}], ids=str)
def test_average_of_weights_and_buffers(attempt, draw, options, dtype):
    """After each update parameters and floating buffers are averaged, counters copied; decay 0.9999, with warm-up."""
    values = model_values(draw, dtype)
    got = attempt.run(drivers.average, values, **options)
    settings = {"decay": 0.9999, "warmup": True} | options
    want = averaged(values, **settings)
    for t, (held, expected) in enumerate(zip(got["held"], want, strict=True)):
        for name, tensor in expected.items():
            agree(
                held[name],
                tensor,
                of=f"'{name}' of ModelEMA({options}).module after {t} updates",
                known={
                    "no update of it at all": values[0][name],
                    "the model's latest value, not averaged": values[t][name],
                    "a warm-up that starts one step later": lambda name=name, t=t: averaged(
                        values, **settings, start=1
                    )[t][name],
                    "no warm-up": lambda name=name, t=t: averaged(values, settings["decay"], False)[t][name],
                    "decay and 1 - decay exchanged": lambda name=name, t=t: averaged(
                        values, 1 - settings["decay"], False
                    )[t][name],
                }
                if t
                else {},
            )
    agree(got["updates"], [0, 1, 2, 3], of="ema.updates at first and after each of 3 updates")


@part("ModelEMA")
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_average_at_the_ends(attempt, draw, decay):
    """decay 0 is the latest model, decay 1 with warm-up follows the warm-up alone."""
    values = model_values(draw, steps=6)
    got = attempt.run(drivers.average, values, decay=decay)
    agree(got["held"][-1], averaged(values, decay, True)[-1], of=f"ModelEMA(decay={decay}).module after 5 updates")


@part("ModelEMA")
@pytest.mark.parametrize("training", [True, False])
def test_average_is_a_thing_of_its_own(attempt, draw, training):
    """module is in eval mode, needs no gradient, shares no tensor and is updated in place; the model stays as it is."""
    values = model_values(draw)
    got = attempt.run(drivers.average, values, training=training)
    assert not got["shared"], "module shares a tensor with the model: what the optimizer does to one happens to both"
    assert not any(got["modes"]), "module, or a part of it, is in training mode"
    assert all(mode is training for mode in got["model_modes"]), (
        f"the model was in mode training={training}, and is not now"
    )
    assert not any(got["requires_grad"]), "a parameter of module requires a gradient, or carries a graph"
    agree(got["model_requires_grad"], [True, False], of="requires_grad of the model's weight and of its frozen bias")
    assert got["left_alone"], "update changed the model"
    assert got["gradient_kept"], "ModelEMA, or its update, changed the gradient of the model's weight"
    of = f"the counter of module, updated by a model in mode training={training}"
    agree(got["held"][-1]["count"], values[-1]["count"], of=of)
    assert got["in_place"], "update put other tensors into module instead of writing into those that were there"


@part("ModelEMA")
@pytest.mark.parametrize("grad", [False, True], ids=["no gradients", "gradients"])
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_updates_leave_nothing_alive(attempt, draw, training, grad):
    """After seven updates no graph, no history and no second copy of the weights is alive beside module."""
    values = {"weight": draw.normal(29, 31), "bias": draw.normal(7), "mean": draw.normal(29, 31)}
    values |= {"count": torch.tensor(3), "inner.hidden": draw.normal(5)}
    got, cost = attempt.cost(drivers.average_keeps, values, training, grad, 7)
    agree(got, {"updates": 7, "weight": values["weight"]}, of="updates and weight after 7 updates with the same weight")
    of = "that 7 updates leave alive, beside module"
    at_most(cost.kept, 128, of=f"bytes {of}", known={"one more copy of the weight": 8 * 29 * 31})
    at_most(cost.kept_nodes, 0, of=f"nodes of graphs {of}")


@part("ModelEMA")
@pytest.mark.parametrize("decay", [-0.1, 1.1, NAN], ids=str)
def test_average_refuses(attempt, draw, decay):
    """A decay outside [0, 1] is a ValueError."""
    with refusal(ValueError, of=f"ModelEMA with decay {decay}"):
        attempt.run(drivers.average, model_values(draw, steps=1), decay=decay)


# --- r_drop_loss ------------------------------------------------------------------------------------------------------


def r_drop_terms(first, second, targets):
    """(cross-entropies summed, KL(P1 ‖ P2), KL(P2 ‖ P1)), each a mean over n."""
    p, q = first.double().log_softmax(dim=1), second.double().log_softmax(dim=1)
    nll = F.cross_entropy(first.double(), targets) + F.cross_entropy(second.double(), targets)
    kl = F.kl_div(q, p, reduction="batchmean", log_target=True)
    return nll, kl, F.kl_div(p, q, reduction="batchmean", log_target=True)


@part("r_drop_loss")
@pytest.mark.parametrize("dtype", DTYPES)
def test_r_drop_is_the_papers_loss(attempt, draw, dtype):
    """The loss is both cross-entropies plus alpha times half of both divergences."""
    kind = of_type(dtype)
    first, second = draw.normal(11, 5, dtype=kind), draw.normal(5, 11, scale=2.0, dtype=kind).T
    targets = draw.integers(0, 5, 11)
    for alpha in (0.0, draw.random.uniform(1.0, 5.0)):
        nll, ab, ba = r_drop_terms(first, second, targets)
        want = {
            "": nll + alpha / 2 * (ab + ba),
            "the mean of the two cross-entropies": nll / 2 + alpha / 2 * (ab + ba),
            "the divergences without the 1/2": nll + alpha * (ab + ba),
            "KL(P1 ‖ P2) alone": nll + alpha * ab,
            "KL(P2 ‖ P1) alone": nll + alpha * ba,
            "half of one divergence": nll + alpha / 2 * ab,
            "a mean over classes in the divergences": nll + alpha / 2 * (ab + ba) / 5,
            "one cross-entropy": F.cross_entropy(first.double(), targets) + alpha / 2 * (ab + ba),
        }
        agree(
            attempt.r_drop_loss(first, second, targets, alpha),
            want.pop("").to(kind),
            of=f"r_drop_loss of logits (11, 5) with alpha = {alpha:.3f} in {dtype}",
            known={name: value.to(kind) for name, value in want.items()},
        )


@part("r_drop_loss")
def test_r_drop_has_gradients_through_both_passes(attempt, draw):
    """Gradients flow through both passes, inside the divergences too."""
    first, second, targets = draw.normal(7, 3), draw.normal(7, 3), draw.integers(0, 3, 7)
    leaves = [first.clone().requires_grad_(), second.clone().requires_grad_()]
    nll, ab, ba = r_drop_terms(*leaves, targets)
    loss = nll + 1.5 * (ab + ba)
    want = torch.autograd.grad(1.3 * loss, leaves)
    got, grads = attempt.gradients(
        "r_drop_loss", first, second, targets, 3.0, upstream=torch.tensor(1.3, dtype=torch.float64)
    )
    agree(got, loss.detach(), of="r_drop_loss of logits (7, 3) with alpha = 3")
    for name, got, expected in zip(("first", "second"), grads[:2], want, strict=True):
        agree(got, expected, axes="n c", of=f"the gradient of r_drop_loss for the {name} logits")


@part("r_drop_loss")
@pytest.mark.parametrize("dtype", DTYPES)
def test_r_drop_survives_large_logits(attempt, dtype):
    """Logits of 10,000 give a finite loss."""
    kind = of_type(dtype)
    first = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1.0, 2.0]], dtype=kind)
    second = torch.tensor([[0.0, 1e4, 0.0], [2.0, 1.0, 0.0]], dtype=kind)
    targets = torch.tensor([2, 0])
    nll, ab, ba = r_drop_terms(first, second, targets)
    got = attempt.r_drop_loss(first, second, targets, 2.0)
    agree(got, (nll + ab + ba).to(kind), of="r_drop_loss of logits up to 10,000")


@part("r_drop_loss")
def test_other_passes_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(11, 5), draw.normal(11, 5), draw.integers(0, 5, 11), 1.7) for _ in range(2)]
    hold_again(attempt, reference, "r_drop_loss", *asked, of="r_drop_loss of (11, 5)", views=False)


# --- sam_step ---------------------------------------------------------------------------------------------------------


def sam_oracle(weights, slopes, rates, rho=0.05, steps=1, momentum=0.0):
    """Weights at each closure call, weights and losses after each step, of sum(slope · sin(w))."""
    seen, losses = [], []
    weights = [w.double() for w in weights]
    velocity = [torch.zeros_like(w) for w in weights]
    for _ in range(steps):
        gradients = [None if s is None else s.double() * w.cos() for w, s in zip(weights, slopes, strict=True)]
        norm = torch.cat([g.flatten() for g in gradients if g is not None]).square().sum().sqrt()
        moved = [w if g is None else w + rho * g / (norm + 1e-12) for w, g in zip(weights, gradients, strict=True)]
        losses.append(sum((s.double() * w.sin()).sum() for w, s in zip(weights, slopes, strict=True) if s is not None))
        seen += [weights, moved]
        for i, slope in enumerate(slopes):
            if slope is not None:
                velocity[i] = momentum * velocity[i] + slope.double() * moved[i].cos()
        weights = [w - rate * v for w, v, rate in zip(weights, velocity, rates, strict=True)]
    return seen, weights, losses


def to(dtype, tensors):
    return [t.to(dtype) for t in tensors]


def sam_problem(draw, dtype=torch.float64):
    weights = [draw.normal(3, 5, dtype=dtype), draw.normal(7, dtype=dtype), draw.normal(2, dtype=dtype)]
    slopes = [draw.normal(3, 5, dtype=dtype), draw.normal(7, scale=3.0, dtype=dtype), None]
    return weights, slopes, [0.3, 0.07, 0.5]


@part("sam_step")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rho", [None, 0.4, 0.0], ids=str)
def test_sam_climbs_then_steps_from_w(attempt, draw, rho, dtype):
    """The second pass runs at w + rho·g/‖g‖, one norm for all; its gradient is applied at w. rho is 0.05 by default."""
    weights, slopes, rates = sam_problem(draw, of_type(dtype))
    stale = [draw.normal(3, 5, dtype=of_type(dtype)), draw.normal(7, dtype=of_type(dtype))]
    options = {} if rho is None else {"rho": rho}
    got = attempt.run(drivers.sam, weights, slopes, rates, stale=stale, **options)
    assert not got["raised"], f"sam_step raised {got['raised'][:1]}"
    seen, after, losses = sam_oracle(weights, slopes, rates, **options)
    agree(len(got["seen"]), 2, of="calls of closure in one sam_step")
    kind, rho = of_type(dtype), 0.05 if rho is None else rho
    gradients = [s * w.cos() for w, s in zip(weights, slopes, strict=True) if s is not None]
    agree(got["seen"][0], to(kind, seen[0]), of="weights at the first call of closure")
    agree(
        got["seen"][1],
        to(kind, seen[1]),
        of=f"weights at the second call of closure, rho = {rho}",
        known={
            "no perturbation": weights,
            "a perturbation downhill": [2 * a - b.to(kind) for a, b in zip(weights, seen[1], strict=True)],
            "a norm for each tensor": [w + rho * g / g.norm() for w, g in zip(weights, gradients, strict=False)]
            + weights[2:],
            "a gradient that is not divided by its norm": [
                w + rho * g for w, g in zip(weights, gradients, strict=False)
            ]
            + weights[2:],
        },
    )
    plain = [w - r * g for w, r, g in zip(weights, rates, gradients, strict=False)] + weights[2:]
    agree(
        got["weights"],
        to(kind, after),
        of=f"weights after sam_step, rho = {rho}",
        known={
            "the step made from the perturbed point": [
                (a + b - c).to(kind) for a, b, c in zip(after, seen[1], weights, strict=True)
            ],
            "the gradient of the first pass": plain,
            "the gradients of both passes, added": [
                (a + b - c).to(kind) for a, b, c in zip(after, plain, weights, strict=True)
            ],
        },
    )
    agree(
        got["losses"],
        to(kind, losses),
        of="the loss that sam_step returns",
        known={
            "the loss at the perturbed point": [
                sum((s * w.sin()).sum() for w, s in zip(seen[1], slopes, strict=True) if s is not None)
            ]
        },
    )
    assert not got["graphs"][0], "the loss that sam_step returns carries a graph: detach it"


@part("sam_step")
def test_sam_makes_one_optimizer_step_a_call(attempt, draw):
    """With momentum, three calls are three steps of the optimizer: its state sees the second gradients only."""
    weights, slopes, rates = sam_problem(draw)
    got = attempt.run(drivers.sam, weights, slopes, rates, steps=3, momentum=0.9, rho=0.2)
    assert not got["raised"], f"sam_step raised {got['raised'][:1]}"
    seen, after, losses = sam_oracle(weights, slopes, rates, rho=0.2, steps=3, momentum=0.9)
    agree(got["seen"], seen, of="weights at the six calls of closure in three calls of sam_step")
    agree(got["weights"], after, of="weights after three calls of sam_step, momentum 0.9, rho = 0.2")
    agree(got["losses"], losses, of="the losses of three calls of sam_step")


@part("sam_step")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sam_leaves_nothing_alive(attempt, draw, momentum):
    """After three calls nothing of the passes is alive but gradients: no graph, no copy of a weight."""
    weights, rates = [draw.normal(41, 5), draw.normal(7)], [0.3, 0.07]
    got, cost = attempt.cost(drivers.sam_keeps, weights, rates, 3, momentum)
    slopes = [torch.ones_like(w) for w in weights]
    _, after, losses = sam_oracle(weights, slopes, rates, steps=3, momentum=momentum)
    agree(got, {"weights": after, "losses": losses}, of="weights and losses of three calls of sam_step on sin")
    of = "that three calls of sam_step leave alive, beside gradients and the optimizer's state"
    at_most(cost.kept, 128, of=f"bytes {of}", known={"a copy of the weights": 8 * 212})
    at_most(cost.kept_nodes, 0, of=f"nodes of graphs {of}")


@part("sam_step")
def test_sam_restores_weights_exactly(attempt, draw):
    """At learning rate 0 every weight is what it was, to the last bit, also where w + e - e would not be."""
    weights = [draw.normal(101, scale=1e-8, dtype=torch.float32), draw.normal(53, dtype=torch.float32)]
    slopes = [draw.normal(101, dtype=torch.float32), draw.normal(53, dtype=torch.float32)]
    got = attempt.run(drivers.sam, weights, slopes, [0.0, 0.0], rho=0.3)
    assert not got["raised"], f"sam_step raised {got['raised'][:1]}"
    agree(len(got["seen"]), 2, of="calls of closure in one sam_step")
    for name, before, after in zip(("about 1e-8", "about 1"), weights, got["weights"], strict=True):
        agree(after, before, axes="i", tol=0.0, of=f"weights of size {name} after sam_step at learning rate 0")


@part("sam_step")
@pytest.mark.parametrize("error", ["Exception", "KeyboardInterrupt"])
def test_sam_restores_weights_when_the_second_pass_fails(attempt, draw, error):
    """If the second closure() raises, the error goes through, the weights are back, and no step is made."""
    weights, slopes, rates = sam_problem(draw)
    got = attempt.run(drivers.sam, weights, slopes, rates, fail=error)
    assert got["raised"][:1] == [f"_Stop{error}"], (
        f"closure raised an error at its second call (a kind of {error}), and sam_step let through: "
        f"{', '.join(got['raised'][:1]) or 'none'}"
    )
    agree(got["weights"], weights, of=f"weights after a sam_step whose second pass raised a kind of {error}")
    agree(len(got["steps"]), 0, of="steps of the optimizer in a sam_step whose second pass raised an error")


@part("sam_step")
def test_sam_at_a_tiny_gradient(attempt, draw):
    """The divisor is ‖g‖ + 1e-12: a gradient of that size moves w by half of rho, a gradient of 0 not at all."""
    direction = draw.normal(13)
    direction /= direction.norm()
    zeros = torch.zeros(13, dtype=torch.float64)
    sizes = (0.0, 1e-12, 4e-12)
    results = attempt.each(drivers.sam, [([zeros], [size * direction], [0.0]) for size in sizes], rho=0.3)
    for size, got in zip(sizes, results, strict=True):
        assert not got["raised"], f"sam_step raised {got['raised'][:1]}"
        agree(len(got["seen"]), 2, of="calls of closure in one sam_step")
        agree(
            got["seen"][1][0],
            direction * 0.3 * size / (size + 1e-12),
            axes="i",
            of=f"weights at the second call of closure: w = 0, a gradient of norm {size:g}, rho = 0.3",
        )


@part("sam_step")
@pytest.mark.parametrize("frozen", [False, True])
def test_sam_leaves_out_what_the_loss_does_not_reach(attempt, draw, frozen):
    """A parameter that the loss does not reach is not moved, not even by weight decay after an older gradient."""
    weights, slopes, rates = sam_problem(draw)
    stale = [draw.normal(*w.shape) for w in weights]
    got = attempt.run(drivers.sam, weights, slopes, rates, rho=0.2, decay=0.5, stale=stale, frozen=frozen)
    assert not got["raised"], f"sam_step raised {got['raised'][:1]}"
    what = (
        f"a parameter that the loss does not reach ({'frozen' if frozen else 'with a gradient from before the call'})"
    )
    agree(got["weights"][2], weights[2], of=f"{what}, after sam_step with weight decay")
    seen, _, _ = sam_oracle(weights, slopes, rates, rho=0.2)
    agree(got["seen"], seen, of="weights at the two calls of closure: g is the loss's, without the optimizer's decay")


@part("sam_step")
@pytest.mark.parametrize("rho", [-0.1, NAN], ids=str)
def test_sam_refuses_a_negative_rho(attempt, draw, rho):
    """A negative or NaN rho is a ValueError, before closure is called."""
    weights, slopes, rates = sam_problem(draw)
    got = attempt.run(drivers.sam, weights, slopes, rates, rho=rho)
    assert "ValueError" in got["raised"], f"sam_step with rho = {rho} did not raise ValueError"
    agree(len(got["seen"]), 0, of=f"calls of closure in a sam_step with rho = {rho}")
    agree(got["weights"], weights, of="weights after a sam_step that was refused")


# --- usable_regularizers ----------------------------------------------------------------------------------------------

FACTS = ("images", "feature maps", "residual", "dropout", "classes", "dense targets", "teacher")


def usable_oracle(facts, budget):
    blend = "images" in facts and "classes" in facts and "dense targets" not in facts
    answers = {
        "drop_path": "residual" in facts,
        "drop_block": "feature maps" in facts,
        "mixup": blend,
        "cutmix": blend,
        "label_smoothing": "classes" in facts and "teacher" not in facts,
        "ema": True,
        "r_drop": "dropout" in facts and "classes" in facts and budget >= 2,
        "sam": budget >= 2,
    }
    return [name for name, fits in answers.items() if fits and budget >= 1]


@part("usable_regularizers")
def test_every_set_of_facts(attempt):
    """For each of the 128 sets of facts, and budgets of 0 to 3 passes, the table's names in the table's order."""
    cases = [([f for i, f in enumerate(FACTS) if code >> i & 1], budget) for code in range(128) for budget in range(4)]
    got = attempt.run(drivers.usable, [(facts, {"budget": budget}) for facts, budget in cases])
    for (facts, budget), names in zip(cases, got, strict=True):
        agree(names, usable_oracle(facts, budget), of=f"usable_regularizers({facts}, budget={budget})")


@part("usable_regularizers")
def test_default_budget_is_one_pass(attempt):
    """Without a budget, what takes two passes is out."""
    [got] = attempt.run(drivers.usable, [(list(FACTS[:5]), {})])
    agree(got, usable_oracle(FACTS[:5], 1), of=f"usable_regularizers({list(FACTS[:5])})")


@part("usable_regularizers")
@pytest.mark.parametrize("facts", [["image"], ["residual", "class"], ["Images"]], ids=str)
def test_unknown_fact_is_refused(attempt, facts):
    """A fact that is not in FACTS is a ValueError."""
    with refusal(ValueError, of=f"usable_regularizers({facts})"):
        attempt.usable_regularizers(facts)
