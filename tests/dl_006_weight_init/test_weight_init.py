"""Hidden checks of dl_006. Oracles: counted products, closed forms of Gaussian integrals, exact laws of random numbers.

Randomness: a right answer fails one statement about a law with a probability below `RARE` = 5e-9, by the bound that is
named where it is made; all of them together with one below 1e-6. Each goes with a size that shows the mistakes listed.
"""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import Wrong, agree, at_most, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import DTYPES, of_type
from grader.checks.randomness import hold_generator, hold_rate
from grader.checks.repeats import hold_draws_fresh, hold_draws_unlike, hold_fresh, hold_unlike

from . import drivers

RARE = 5e-9
LAWS = ("normal", "uniform", "truncated")
LAGS = (1, 2, 3, 4, 7)  # how far apart two draws from one generator are that are looked at jointly
CUT = 0.87962566103423978  # the deviation of a standard normal number that lies within 2


def seed_from(draw):
    return draw.random.randrange(2**40)


# --- fans -------------------------------------------------------------------------------------------------------------

CONVOLVE = {
    False: {3: F.conv1d, 4: F.conv2d, 5: F.conv3d},
    True: {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d},
}


def counted_fans(shape, groups=1, transposed=False):
    """Products counted: the output of ones, and its gradient, in the middle of an image."""
    w = torch.ones(shape)
    if len(shape) == 2:
        convolve, inputs = F.linear, shape[1]
    else:
        convolve = lambda x, w: CONVOLVE[transposed][len(shape)](x, w, groups=groups)
        inputs = shape[0] if transposed else shape[1] * groups
    x = torch.ones(1, inputs, *(4 * k for k in shape[2:]), requires_grad=True)
    out = convolve(x, w)
    (grad,) = torch.autograd.grad(out.sum(), x)
    return int(out.max()), int(grad.max())


def fan_mistakes(rows):
    def each(change):
        return [change(tuple(shape), *rest) for shape, *rest in rows]

    def plain(shape, groups=1, transposed=False):
        area = math.prod(shape[2:])
        return shape[1] * area, shape[0] * area

    right = [counted_fans(*row) for row in rows]
    known = {
        "(fan_out, fan_in)": [fan[::-1] for fan in right],
        "fans without the kernel's area": each(lambda s, g=1, t=False: (s[0] // g, s[1]) if t else (s[1], s[0] // g)),
        "a formula that knows no groups and no transposed layers (torch's)": each(plain),
        "both axes divided by the groups": each(
            lambda s, g=1, t=False: tuple(
                size // g * math.prod(s[2:]) for size in ((s[0], s[1]) if t else (s[1], s[0]))
            )
        ),
        "the kernel's area in fan_in alone": [
            (fan[0], fan[1] // math.prod(row[0][2:])) for fan, row in zip(right, rows, strict=True)
        ],
    }
    return {name: value for name, value in known.items() if value != right}


@part("fans")
def test_fans_of_linear_layers(attempt):
    """A linear layer's weight (o, i) has fan_in i and fan_out o."""
    rows = [((5, 3),), ((2, 7),), ((1, 11),), ((13, 1),), ((50257, 1600),)]
    want = [(3, 5), (7, 2), (11, 1), (1, 13), (1600, 50257)]
    known = {"(fan_out, fan_in)": [fan[::-1] for fan in want]}
    agree(attempt.each("fans", rows), want, of="fans of (5, 3), (2, 7), (1, 11), (13, 1), (50257, 1600)", known=known)


@part("fans")
def test_fans_of_convolutions(attempt):
    """An output of a convolution adds up i · area products, and an input stands in o · area of them."""
    rows = [((32, 16, 3, 3),), ((5, 2, 3),), ((3, 7, 2, 5),), ((2, 3, 2, 1, 5),), ((4, 1, 1, 1),)]
    want = [counted_fans(*row) for row in rows]
    assert want[0] == (144, 288), "the count gives the number of the statement"
    of = "fans of (32, 16, 3, 3), (5, 2, 3), (3, 7, 2, 5), (2, 3, 2, 1, 5), (4, 1, 1, 1)"
    agree(attempt.each("fans", rows), want, of=of, known=fan_mistakes(rows))


@part("fans")
def test_fans_with_groups(attempt):
    """The second axis is stored divided by the groups, the first is not: both fans are those of one group."""
    rows = [((32, 4, 3, 3), 4), ((6, 5, 2), 3), ((10, 3, 3, 2), 2), ((7, 1, 3, 3), 7), ((15, 2, 2, 1, 3), 5)]
    want = [counted_fans(*row) for row in rows]
    assert want[0] == (36, 72), "the count gives the number of the statement"
    of = "fans of (32, 4, 3, 3), 4 groups; (6, 5, 2), 3; (10, 3, 3, 2), 2; (7, 1, 3, 3), 7; (15, 2, 2, 1, 3), 5"
    agree(attempt.each("fans", rows), want, of=of, known=fan_mistakes(rows))


@part("fans")
def test_fans_of_transposed_convolutions(attempt):
    """A transposed convolution's weight is (i, o / groups, k...)."""
    rows = [((16, 32, 2, 2), 1, True), ((6, 5, 3), 3, True), ((10, 3, 3, 2), 5, True), ((4, 7, 1, 2, 3), 2, True)]
    want = [counted_fans(*row) for row in rows]
    assert want[0] == (64, 128), "the count gives the number of the statement"
    of = "fans of transposed (16, 32, 2, 2); (6, 5, 3), 3 groups; (10, 3, 3, 2), 5; (4, 7, 1, 2, 3), 2"
    agree(attempt.each("fans", rows), want, of=of, known=fan_mistakes(rows))
    agree(attempt.fans((9, 2, 3), transposed=True), (27, 6), of="fans of (9, 2, 3), transposed=True")
    agree(attempt.fans([9, 2, 3], groups=3), (6, 9), of="fans of [9, 2, 3], groups=3")


@part("fans")
@pytest.mark.parametrize(
    "row", [((5,), 1), ((), 1), ((4, 3, 3), 3), ((4, 3), 8), ((4, 3), 0), ((4, 2, 3), -2)], ids=str
)
def test_fans_refuse(attempt, row):
    """Fewer than two axes, and groups that are not positive or do not divide the first axis, are a ValueError."""
    with refusal(ValueError, of=f"fans{row}"):
        attempt.fans(*row)
    with refusal(ValueError, of=f"fans{row}, transposed"):
        attempt.fans(*row, transposed=True)


# --- distinct_units ---------------------------------------------------------------------------------------------------


def trained(w_in, b, w_out, x, y, steps=50):
    """A tanh network after some steps of gradient descent, in float64."""
    leaves = [t.clone().requires_grad_() for t in (w_in, b, w_out)]
    for _ in range(steps):
        w, bias, out = leaves
        loss = ((torch.tanh(x @ w.T + bias) @ out.T - y) ** 2).mean()
        grads = torch.autograd.grad(loss, leaves)
        leaves = [(leaf - 0.1 * g).detach().requires_grad_() for leaf, g in zip(leaves, grads, strict=True)]
    return [leaf.detach() for leaf in leaves]


def groups_of(w_in, b, w_out, tolerance):
    """How many units differ by more than the tolerance."""
    units = torch.cat([w_in, b[:, None], w_out.T], dim=1)
    found = []
    for unit in units:
        if all((unit - other).abs().max() > tolerance for other in found):
            found.append(unit)
    return len(found)


def network(draw, h, i, o, kinds, *, by="all"):
    """Weights of h units of which those of one kind are equal in what `by` names, and random in the rest."""
    kind = torch.tensor([kinds[n % len(kinds)] for n in range(h)])[draw.permutation(h)]
    tables = draw.normal(max(kinds) + 1, i), draw.normal(max(kinds) + 1), draw.normal(max(kinds) + 1, o)
    free = draw.normal(h, i), draw.normal(h), draw.normal(h, o)
    names = ("w_in", "b", "w_out")
    w_in, b, w_out = (
        table[kind] if by == "all" or name in by else own for name, table, own in zip(names, tables, free, strict=True)
    )
    return w_in, b, w_out.T


@part("distinct_units")
def test_constant_weights_are_one_unit(attempt):
    """Weights that are all 0, or all 0.3, make any number of units one."""
    for value in (0.0, 0.3):
        weights = torch.full((7, 3), value), torch.full((7,), value), torch.full((2, 7), value)
        of = f"distinct_units where all weights of 7 units are {value}"
        agree(attempt.distinct_units(*weights), 1, of=of, known={"all units counted": 7})


@part("distinct_units")
def test_units_that_agree_in_part_differ(attempt, draw):
    """A unit is its row of w_in, its bias and its column of w_out: equal ones agree in all three."""
    for by, known in [
        (("w_in", "b"), {"counting by what comes in alone": 2, "counting rows of w_out": 3}),
        (("w_in", "w_out"), {"counting without the biases": 2, "counting rows of w_out": 3}),
        (("b", "w_out"), {"counting by what goes out alone": 2, "counting rows of w_out": 3}),
    ]:
        weights = network(draw, 6, 5, 3, [0, 1], by=by)
        of = f"distinct_units of 6 units, of two kinds in {' and '.join(by)}, all different in the rest"
        agree(attempt.distinct_units(*weights), 6, of=of, known=known)


@part("distinct_units")
def test_every_number_of_a_unit_counts(attempt, draw):
    """One number that has another sign makes a unit another, whichever of w_in, b and w_out it is."""
    i, o = 37, 21
    weights = network(draw, 5, i, o, [0])
    rows = []
    for which, place in [(0, (2, k)) for k in range(i)] + [(1, (2,))] + [(2, (k, 2)) for k in range(o)]:
        rows.append([weight.clone() for weight in weights])
        rows[-1][which][place] *= -1
    of = f"distinct_units of 5 units, equal but for one sign: of w_in[2, 0] to [2, {i - 1}], b[2], w_out[0, 2] to "
    agree(attempt.each("distinct_units", rows), [2] * len(rows), of=f"{of}[{o - 1}, 2]")
    agree(attempt.distinct_units(*network(draw, 1, 2, 3, [0])), 1, of="distinct_units of one unit")


@part("distinct_units")
def test_equal_parts_combine(attempt, draw):
    """Two kinds of rows, of biases and of columns make up to eight kinds of units."""
    which = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (0, 0, 1), (1, 0, 0)]
    tables = draw.normal(2, 3), draw.normal(2), draw.normal(2, 4)
    kinds = torch.tensor(which)[draw.permutation(7)].T
    w_in, b, w_out = (table[kind] for table, kind in zip(tables, kinds, strict=True))
    known = {"the most of the three counts": 2, "all units counted": 7, "a product of the three counts": 8}
    of = "distinct_units of 7 units of 5 kinds, made of two rows, two biases and two columns"
    agree(attempt.distinct_units(w_in, b, w_out.T), 5, of=of, known=known)


@part("distinct_units")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kinds", [[0, 1, 2, 2, 2, 3], [0], [0, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6]], ids=str)
def test_equal_units_stay_equal_in_training(attempt, draw, kinds, dtype):
    """As many units as are different before training are different after 50 steps of it."""
    w_in, b, w_out = network(draw, 13, 4, 3, kinds)
    after = trained(w_in, b, w_out, draw.normal(20, 4), draw.normal(20, 3))
    want = groups_of(*after, 1e-9)
    assert want == len(set(kinds)), "the oracle: equal units stayed equal"
    weights = [t.to(of_type(dtype)) for t in (w_in, b, w_out)]
    of = f"distinct_units of 13 units of {len(set(kinds))} kinds, {dtype}"
    agree(attempt.distinct_units(*weights), want, of=of)


@part("distinct_units")
def test_one_random_layer_breaks_the_symmetry(attempt, draw):
    """Zeros in one layer and random numbers in the other: the units differ, as they do after 50 steps."""
    for w_in, w_out in [
        (torch.zeros(7, 4).double(), draw.normal(3, 7)),
        (draw.normal(7, 4), torch.zeros(3, 7).double()),
    ]:
        b = torch.zeros(7, dtype=torch.float64)
        after = trained(w_in, b, w_out, draw.normal(20, 4), draw.normal(20, 3))
        assert groups_of(*after, 1e-6) == 7, "the oracle: units that differed in one layer differ in both"
        shown = "w_in" if not w_in.any() else "w_out"
        agree(attempt.distinct_units(w_in, b, w_out), 7, of=f"distinct_units of 7 units where {shown} is 0")


@part("distinct_units")
def test_numbers_are_compared_exactly(attempt, draw):
    """A difference in the last bit counts; that of 0.0 and -0.0 does not."""
    for dtype in DTYPES:
        w_in, b, w_out = (t.to(of_type(dtype)) for t in network(draw, 5, 3, 2, [0]))
        near = w_in.clone()
        near[2, 1] = torch.nextafter(near[2, 1], torch.tensor(9.0, dtype=near.dtype))
        of = f"distinct_units of 5 units, one off by the last bit, {dtype}"
        agree(attempt.distinct_units(near, b, w_out), 2, of=of)
    zeros = torch.zeros(5, 3), torch.zeros(5), torch.zeros(2, 5)
    tiny = torch.tensor([0, 0, 1e-30, 0, 0])
    agree(attempt.distinct_units(zeros[0], tiny, zeros[2]), 2, of="distinct_units of 5 units of zeros and one 1e-30")
    for one in zeros:
        one.view(-1)[1] = -0.0
    agree(attempt.distinct_units(*zeros), 1, of="distinct_units of 5 units of zeros, some of them -0.0")
    turned = torch.tensor([[1.0, 2], [2, 1], [1, 2]]), torch.zeros(3), torch.tensor([[3.0, 3, 4], [4, 4, 3]])
    agree(attempt.distinct_units(*turned), 3, of="distinct_units of 3 units of equal numbers in other places")


@part("distinct_units")
def test_many_units_need_no_matrix_of_pairs(attempt, draw):
    """20,000 units are counted without looking at each pair."""
    kinds = list(range(6_007))
    weights = network(draw, 20_000, 3, 2, kinds)
    got, cost = attempt.cost("distinct_units", *weights)
    agree(got, 6_007, of="distinct_units of 20,000 units of 6,007 kinds")
    at_most(
        cost.largest,
        20_000 * 100,
        of="elements of the largest tensor of distinct_units of 20,000 units",
        known={"a matrix of pairs": 20_000**2},
    )


# --- laws -------------------------------------------------------------------------------------------------------------


def law_of(distribution, std):
    """(largest value, distribution function) of the law with this deviation."""
    if distribution == "normal":
        return math.inf, lambda x: torch.special.ndtr(x / std)
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        return bound, lambda x: ((x + bound) / (2 * bound)).clamp(0, 1)
    s, low = std / CUT, 0.022750131948179207  # the normal distribution function at -2
    return 2 * s, lambda x: ((torch.special.ndtr(x / s) - low) / (1 - 2 * low)).clamp(0, 1)


def cut_of(distribution, std, p=0.001):
    """What |x| passes with probability p."""
    within = 1 - p
    if distribution == "uniform":
        return within * math.sqrt(3) * std
    normal = distribution == "normal"
    share = torch.tensor(within if normal else within * math.erf(math.sqrt(2)), dtype=torch.float64)
    return math.sqrt(2) * torch.erfinv(share).item() * std / (1 if normal else CUT)


def known_scale(got, want, known):
    """A sentence that names the one known mistake of this scale, where there is just one."""
    alike = [name for name, value in (known or {}).items() if abs(got / value - 1) < 0.01 < abs(want / value - 1)]
    return f"\n  This is what {alike[0]} gives." if len(alike) == 1 else ""


def hold_law(sample, std, distribution, of, known=None):
    """Hold finite numbers, deviation, range, mean and distribution function of independent numbers.

    Deviation: Laurent and Massart's bound for sums of squares of normal numbers; for the other laws, whose squares vary
    less, Bernstein's is smaller. Mean: Hoeffding's for the widest of the laws, which ends at 2.3 deviations.
    Distribution function: Massart's. Numbers far out: Chernoff's, with an alarm of 1e-7 / 20.
    """
    x = sample.flatten().double()
    n, rare = x.numel(), math.log(2 / RARE)
    assert torch.isfinite(x).all(), f"{of}: not all numbers are finite: some were not written, or are no numbers"
    got = x.square().mean().sqrt().item()
    slack = 2 * math.sqrt(rare / n) + 2 * rare / n
    if abs((got / std) ** 2 - 1) > slack:
        raise Wrong(
            f"{of}: expected the deviation {std:.4g}, got {got:.4g}, of {n:,} numbers{known_scale(got, std, known)}"
        )
    bound, cdf = law_of(distribution, std)
    # 5e-5 more, since 0.8796 for 0.87962566, and 1.7321 for √3, change nothing that counts.
    largest = x.abs().max().item()
    assert largest <= bound * (1 + 5e-5), f"{of}: expected no number beyond {bound:.4g}, got {largest:.4g}"
    tails = (x.abs() > cut_of(distribution, std)).sum().item()
    hold_rate(tails, n, 0.001, f"{of}: numbers beyond {cut_of(distribution, std):.4g}", looks=20)
    mean = x.mean().item()
    assert abs(mean) <= 2.3 * std * math.sqrt(2 * rare / n), f"{of}: expected the mean 0, got {mean:.3g}"
    x = x.sort().values
    at, steps = cdf(x), torch.arange(n + 1, dtype=torch.float64) / n
    off = torch.maximum(steps[1:] - at, at - steps[:-1])
    if off.max() > math.sqrt(rare / (2 * n)):
        worst = int(off.argmax())
        raise Wrong(
            f"{of}: not the distribution '{distribution}': up to {x[worst]:.3g} lie {100 * worst / n:.1f} % of {n:,} "
            f"numbers, expected {100 * at[worst]:.1f} %"
        )


def hold_joint(draws, middle, of):
    """Hold that six numbers are independent, by twelve questions of each draw: is it positive, is it large?

    draws: (trials, 6); middle: the median of |x|. All 4,095 products of answers (as 1 and -1) have mean 0 if and only
    if the answers are independent coins: Hoeffding's bound for each, the union bound for all.
    """
    bits = torch.cat([draws > 0, draws.abs() > middle], dim=1)
    trials, count = bits.shape
    cells = (bits.long() << torch.arange(count)).sum(dim=1)
    sums = torch.bincount(cells, minlength=2**count).double()
    for axis in range(count):  # the Walsh-Hadamard transform: the sum of each product of answers
        pairs = sums.view(-1, 2, 2**axis)
        sums = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], dim=1).flatten()
    off = sums[1:].abs() / trials
    if off.max() > math.sqrt(2 * math.log(2 * 2**count / RARE) / trials):
        which = int(off.argmax()) + 1
        chosen = [axis for axis in range(count) if which >> axis & 1]
        asked = [f"number {axis % 6} is {'positive' if axis < 6 else 'large'}" for axis in chosen]
        if len(chosen) == 1:
            share = bits[:, chosen[0]].double().mean().item()
            raise Wrong(f"{of}: {asked[0]} in {100 * share:.1f} % of {trials:,} draws, expected 50.0 %")
        even = (bits[:, chosen].sum(dim=1) % 2 == 0).double().mean().item()
        raise Wrong(
            f"{of}: numbers of one weight are not independent. Whether {' and whether '.join(asked)} hangs together: "
            f"an even number of these holds in {100 * even:.1f} % of {trials:,} draws, expected 50.0 %"
        )


def middle_of(distribution, std):
    """The median of |x|."""
    return {"normal": 0.6744897501960817, "uniform": math.sqrt(3) / 2, "truncated": 0.6396623 / CUT}[distribution] * std


def hold_draws(draws, std, distribution, of, known=None):
    """Hold the law of small weights (trials, ...) of at least six numbers: each, within one, from one to the next."""
    hold_law(draws, std, distribution, of, known)
    numbers = draws.flatten(1)
    middle = middle_of(distribution, std)
    hold_joint(numbers[:, [0, 1, 2, -3, -2, -1]], middle, of)
    for lag in LAGS:
        one, other = (numbers[rows][:, [0, 1, -1]] for rows in apart(len(numbers), lag))
        hold_joint(torch.cat([one, other], dim=1), middle, f"{of}, a draw and the one {lag} after it")
    hold_draws_unlike(numbers / std, middle / std, of)


def apart(count, lag):
    """Pairs of draws so far apart, each draw in one pair at most: the numbers of the first ones, of the second ones."""
    first = torch.arange(count - lag)
    first = first[first // lag % 2 == 0]
    return first, first + lag


def hold_defaults(attempt, name, seed, **options):
    """Hold that these are the defaults of a function that fills: the same numbers come without them."""
    got = attempt.run(drivers.drawn, name, (3, 7), seed=seed)
    want = attempt.run(drivers.drawn, name, (3, 7), seed=seed, **options)
    said = ", ".join(f"{option}={value!r}" for option, value in options.items())
    agree(got, want, of=f"{name} of w (3, 7) without options, beside {name} with {said} from an equal generator")


# --- xavier_ ----------------------------------------------------------------------------------------------------------


def fill_mistakes(std, distribution):
    if distribution == "uniform":
        return {
            "the deviation taken for the bound": std / math.sqrt(3),
            "a bound of √12 times the deviation": 2 * std,
            "the variance taken for the deviation": std**2,
        }
    if distribution == "truncated":
        return {
            "a cut at ±2 std without the division by 0.8796": std * CUT,
            "a multiplication by 0.8796 twice": std * CUT**2,
            "the variance taken for the deviation": std**2,
            "numbers moved to the edge": std * 0.9602,
        }
    return {"the variance taken for the deviation": std**2, "the root of the deviation": math.sqrt(std)}


@part("xavier_")
@pytest.mark.parametrize("distribution", LAWS)
def test_fill_has_the_deviation_asked_for(attempt, draw, distribution):
    """100,000 numbers have mean 0, the deviation and the distribution function that were asked for."""
    for std in (0.3, 2.5):
        w = attempt.run(drivers.drawn, "fill_", (400, 251), std, distribution, seed=seed_from(draw))
        of = f"fill_ of w (400, 251), std {std}, '{distribution}'"
        hold_law(w, std, distribution, of, fill_mistakes(std, distribution))
        hold_unlike(w / std, of)
        hold_fresh(w, of)


@part("xavier_")
@pytest.mark.parametrize("distribution", LAWS)
def test_fill_gives_rare_numbers_too(attempt, draw, distribution):
    """Of 401,000 numbers as many lie far out as should, near the edge where there is one, and none comes often."""
    w = attempt.run(drivers.drawn, "fill_", (1000, 401), 1e-5, distribution, seed=seed_from(draw))
    of = f"fill_ of w (1000, 401), std 1e-5, '{distribution}'"
    hold_law(w, 1e-5, distribution, of, fill_mistakes(1e-5, distribution))
    far = cut_of(distribution, 1e-5, 5.5e-5)
    hold_rate(int((w.abs() > far).sum()), w.numel(), 5.5e-5, f"{of}: numbers beyond {far:.6g}", looks=20)
    values, times = w.unique(return_counts=True)
    # Of 2^24 values, which is what float32 has between 0 and 1, none comes eight times: below 1e-10.
    often = values[times.argmax()].item()
    assert len(values) > 0.9 * w.numel(), f"{of}: only {len(values):,} numbers are different"
    assert times.max() < 8, f"{of}: {often:.6g} comes {int(times.max())} times: numbers are moved or put there"


@part("xavier_")
@pytest.mark.parametrize("distribution", LAWS)
def test_numbers_of_one_weight_are_independent(attempt, draw, distribution):
    """Within one small weight, and from one to the next, numbers are independent, jointly."""
    w = attempt.run(drivers.many, "fill_", (2, 3), 0.7, distribution, seed=seed_from(draw), count=5_000)
    hold_draws(w, 0.7, distribution, f"fill_ of w (2, 3), std 0.7, '{distribution}'")


@part("xavier_")
def test_fill_is_normal_by_default(attempt, draw):
    """Without a distribution it is the normal one."""
    w = attempt.run(drivers.drawn, "fill_", (100, 301), 0.5, seed=seed_from(draw))
    hold_law(w, 0.5, "normal", "fill_ of w (100, 301), std 0.5, no distribution given")


def hold_inside(attempt, name, shape, *data, seed, dense=True):
    """Hold that what was written stands in w's own memory, a turned view, and nowhere else; returns w."""
    kinds = ("tensor", "frozen Parameter", "Parameter")
    plain, frozen, w = (_held_inside(attempt, name, shape, *data, seed=seed, dense=dense, kind=kind) for kind in kinds)
    for kind, got in (("Parameter", w), ("frozen Parameter", frozen)):
        agree(got, plain, of=f"{name} of a {kind} {shape}, from a generator of the same seed as of a plain tensor")
    return w


def _held_inside(attempt, name, shape, *data, seed, dense, kind):
    got = attempt.run(drivers.inside, name, shape, *data, seed=seed, kind=kind)
    of = f"{name} of a {kind} {shape} that is a view into a larger memory"
    view = got["memory"][tuple(slice(1, -1) for _ in shape)].permute(*range(len(shape))[::-1])
    agree(view, got["w"], of=f"{of}: what its memory holds", dtype=False)
    assert got["w"].shape == torch.Size(shape), f"{of} has the shape {tuple(got['w'].shape)} afterwards"
    assert not (dense and (got["w"] == 1).any()), f"{of}: not all numbers were written"
    border = got["memory"].clone()
    border[tuple(slice(1, -1) for _ in shape)] = 1
    agree(border, torch.ones_like(border), of=f"{of}: the memory around it")
    for claim, held in got["claims"].items():
        assert held, f"{of}: it {claim}, by the contract, and did not"
    return got["w"]


@part("xavier_")
@pytest.mark.parametrize("distribution", LAWS)
def test_fill_writes_into_its_argument(attempt, draw, distribution):
    """w is written where it is, also as a Parameter and as a view; float32 stays float32; w itself is returned."""
    w = hold_inside(attempt, "fill_", (17, 23), 0.5, distribution, seed=seed_from(draw))
    assert w.dtype == torch.float32, f"fill_ of a float32 w, '{distribution}', left {w.dtype}"
    hold_law(w, 0.5, distribution, f"fill_ of a float32 w (17, 23), std 0.5, '{distribution}'")


@part("xavier_")
@pytest.mark.parametrize("distribution", LAWS)
def test_fill_draws_from_the_generator(attempt, draw, distribution):
    """All randomness comes from the generator given, also that of a second try for what lies too far out."""
    for shape in ((3, 7), (97, 103)):
        of = f"fill_ of w {shape}, '{distribution}'"
        hold_generator(attempt, drivers.filled, "fill_", shape, 1.0, distribution, seed=seed_from(draw), of=of)


@part("xavier_")
@pytest.mark.parametrize("name", ["gaussian", "truncated_normal", "zipf", "Uniform", "uniform ", "n", ""])
def test_fill_refuses_other_distributions(attempt, name):
    """A distribution of another name is a ValueError."""
    with refusal(ValueError, of=f"fill_ with the distribution '{name}'"):
        attempt.run(drivers.drawn, "fill_", (3, 5), 1.0, name, seed=1)


def xavier_std(shape, gain=1.0):
    return gain * math.sqrt(2 / sum(counted_fans(shape)))


def xavier_mistakes(shape, gain, distribution):
    fan_in, fan_out = counted_fans(shape)
    std = xavier_std(shape, gain)
    found = {
        "gain · √(2 / fan_in), He's formula": gain * math.sqrt(2 / fan_in),
        "gain / √fan_in (LeCun)": gain / math.sqrt(fan_in),
        "gain / √fan_out": gain / math.sqrt(fan_out),
        "gain · √(1 / (fan_in + fan_out))": std / math.sqrt(2),
        "gain · √(6 / (fan_in + fan_out)) as the deviation": std * math.sqrt(3),
        "fans without the kernel's area": gain * math.sqrt(2 / sum(shape[:2])),
        "no gain": std / gain,
        "the gain squared": std * gain,
        "the gain inside of the root": std / math.sqrt(gain),
    }
    return found | {name: value for name, value in fill_mistakes(std, distribution).items() if "variance" not in name}


@part("xavier_")
@pytest.mark.parametrize(
    ("shape", "gain", "distribution"),
    [((2, 5), 1.7, "uniform"), ((3, 2, 2), 0.6, "normal"), ((2, 1, 1, 2, 3), 2.3, "truncated")],
    ids=str,
)
def test_xavier_balances_both_fans(attempt, draw, shape, gain, distribution):
    """The deviation is gain · √(2 / (fan_in + fan_out)), kernels included, in each distribution."""
    w = attempt.run(drivers.many, "xavier_", shape, gain, distribution, seed=seed_from(draw), count=5_000)
    of = f"xavier_ of w {shape}, gain {gain}, '{distribution}'"
    hold_draws(w, xavier_std(shape, gain), distribution, of, xavier_mistakes(shape, gain, distribution))


@part("xavier_")
def test_xavier_by_default(attempt, draw):
    """Without options it is uniform, with gain 1: within √(6 / (fan_in + fan_out))."""
    w = attempt.run(drivers.drawn, "xavier_", (20_001, 5), seed=seed_from(draw))
    hold_law(w, xavier_std((20_001, 5)), "uniform", "xavier_ of w (20001, 5), no options")
    hold_defaults(attempt, "xavier_", seed_from(draw), gain=1.0, distribution="uniform")


@part("xavier_")
def test_xavier_writes_and_draws_as_promised(attempt, draw):
    """It writes into w, returns w, draws from the generator; a vector and another name are a ValueError."""
    hold_inside(attempt, "xavier_", (5, 3, 7), seed=seed_from(draw))
    hold_generator(attempt, drivers.filled, "xavier_", (3, 7), seed=seed_from(draw), of="xavier_ of w (3, 7)")
    for shape in ((5,), ()):
        with refusal(ValueError, of=f"xavier_ of w {shape}"):
            attempt.run(drivers.drawn, "xavier_", shape, seed=1)
    with refusal(ValueError, of="xavier_ with the distribution 'gaussian'"):
        attempt.run(drivers.drawn, "xavier_", (3, 5), 1.0, "gaussian", seed=1)


# --- he_ --------------------------------------------------------------------------------------------------------------


def he_std(shape, slope=0.0, mode="fan_in"):
    fan = counted_fans(shape)[mode == "fan_out"]
    return math.sqrt(2 / ((1 + slope**2) * fan))


def he_mistakes(shape, slope, mode, distribution):
    fan_in, fan_out = counted_fans(shape)
    std = he_std(shape, slope, mode)
    fan, other = (fan_in, fan_out) if mode == "fan_in" else (fan_out, fan_in)
    area = math.prod(shape[2:])
    found = {
        "the other fan": std * math.sqrt(fan / other),
        "the mean of both fans": std * math.sqrt(2 * fan / (fan_in + fan_out)),
        "1 for the 2 that makes up for ReLU": std / math.sqrt(2),
        "2 / fan as the deviation, without its root": 2 / fan,
    }
    if area > 1:
        found["a fan without the kernel's area"] = std * math.sqrt(area)
    if slope:
        found |= {
            "ReLU's formula, whatever the slope": std * math.sqrt(1 + slope**2),
            "1 + slope for 1 + slope²": std * math.sqrt((1 + slope**2) / (1 + slope)),
            "(1 + slope²) as a factor": std * (1 + slope**2),
        }
    return found | {name: value for name, value in fill_mistakes(std, distribution).items() if "variance" not in name}


@part("he_")
@pytest.mark.parametrize(
    ("shape", "slope", "mode", "distribution"),
    [
        ((17_000, 3, 2), 0.0, "fan_in", "normal"),
        ((8_500, 3, 2, 2), -0.7, "fan_in", "uniform"),
        ((3, 3_400, 2, 1, 5), 1.4, "fan_out", "truncated"),
        ((5, 20_001), 0.0, "fan_out", "normal"),
    ],
    ids=str,
)
def test_he_makes_up_for_what_relu_takes(attempt, draw, shape, slope, mode, distribution):
    """The deviation is √(2 / (1 + slope²)) / √fan, for the fan that mode names, kernels included."""
    w = attempt.run(drivers.drawn, "he_", shape, slope, mode, distribution, seed=seed_from(draw))
    of = f"he_ of w {shape}, slope {slope}, {mode}, '{distribution}'"
    hold_law(w, he_std(shape, slope, mode), distribution, of, he_mistakes(shape, slope, mode, distribution))
    hold_unlike(w / he_std(shape, slope, mode), of)
    hold_fresh(w, of)


@part("he_")
def test_he_draws_are_independent(attempt, draw):
    """Without options: slope 0, fan_in, normal; independent within a weight and from one to the next."""
    w = attempt.run(drivers.many, "he_", (2, 5), seed=seed_from(draw), count=5_000)
    known = he_mistakes((2, 5), 0.0, "fan_in", "normal")
    hold_draws(w, he_std((2, 5)), "normal", "he_ of w (2, 5), no options", known)
    hold_defaults(attempt, "he_", seed_from(draw), slope=0.0, mode="fan_in", distribution="normal")


@part("he_")
def test_he_keeps_the_signal_through_30_layers(attempt, draw):
    """30 ReLU layers of 256 units keep the mean square of a signal within a factor of 1,000.

    Given the signal, each layer multiplies its mean square by the mean of 256 independent numbers of mean 1 and
    variance 5, so the logarithm of the whole deviates by 0.77: 6.9 comes with a probability below 1e-15.
    """
    layers = attempt.run(drivers.many, "he_", (256, 256), seed=seed_from(draw), count=30, dtype="float32")
    x = draw.normal(256)
    start = x.square().mean()
    for w in layers.double():
        x = F.relu(w @ x)
    ratio = (x.square().mean() / start * 2).item()
    assert 1e-3 < ratio < 1e3, (
        f"30 ReLU layers of 256 units, weights from he_: the mean square of the signal is {ratio:.1e} times what it was"
    )


@part("he_")
def test_he_writes_and_draws_as_promised(attempt, draw):
    """It writes into w, returns w, draws from the generator."""
    hold_inside(attempt, "he_", (5, 3, 7), 0.2, seed=seed_from(draw))
    for distribution in LAWS:
        of = f"he_ of w (3, 7), '{distribution}'"
        hold_generator(
            attempt, drivers.filled, "he_", (3, 7), 0.1, "fan_out", distribution, seed=seed_from(draw), of=of
        )


@part("he_")
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5,), {}),
        ((), {}),
        ((3, 5), {"mode": "fan_avg"}),
        ((3, 5), {"mode": "out"}),
        ((3, 5), {"mode": "FAN_IN"}),
        ((3, 5), {"mode": "in", "slope": 0.2}),
        ((3, 5), {"distribution": "gaussian"}),
    ],
    ids=str,
)
def test_he_refuses(attempt, shape, options):
    """A vector, another mode and another distribution are a ValueError."""
    with refusal(ValueError, of=f"he_ of w {shape}, {options}"):
        attempt.run(drivers.drawn, "he_", shape, seed=1, **options)


# --- activation_gain --------------------------------------------------------------------------------------------------


def density(c):
    return math.exp(-c * c / 2) / math.sqrt(2 * math.pi)


def below(c):
    return (1 + math.erf(c / math.sqrt(2))) / 2


def mean_relu(c, v):
    """E relu(x - c), x ~ N(0, v)."""
    s = math.sqrt(v)
    return s * density(c / s) - c * below(-c / s)


SMOOTH = [
    ("square of z +", 0.7, lambda v: v + 0.49),
    ("cos of z times", 1.3, lambda v: math.exp(-1.69 * v / 2)),
    ("fourth power", 0.0, lambda v: 3 * v * v),
    ("erf plus", 0.4, lambda v: 0.4),
]
KINKED = [
    ("relu", 0.0, lambda v: mean_relu(0.0, v)),
    ("relu of z -", 0.37, lambda v: mean_relu(0.37, v)),
    ("abs of z -", 2.0, lambda v: mean_relu(-2.0, v) + mean_relu(2.0, v)),
    ("abs of z -", -0.81, lambda v: mean_relu(-0.81, v) + mean_relu(0.81, v)),
    ("leaky", 0.2, lambda v: 0.8 * mean_relu(0.0, v)),
]


def hold_means(attempt, cases, variances, tol):
    rows = [(kind, c, v) for kind, c, _ in cases for v in variances]
    want = [mean(v) for _, _, mean in cases for v in variances]
    got = attempt.each(drivers.mean_of, rows)
    wrong = {
        "the variance taken for the deviation": lambda c, mean, v: mean(v * v),
        "the variance left out": lambda c, mean, v: mean(1.0),
        "density left out of its division by √(2π)": lambda c, mean, v: mean(v) * math.sqrt(2 * math.pi),
    }
    for i, (kind, c, v) in enumerate(rows):
        mean = next(mean for name, at, mean in cases if (name, at) == (kind, c))
        known = {
            name: (lambda change=change, c=c, mean=mean, v=v: change(c, mean, v)) for name, change in wrong.items()
        }
        known = known if v != 1 and kind != "erf plus" else None
        agree(got[i], want[i], of=f"gaussian_mean of {kind} {c:g}, variance {v:g}", tol=tol, known=known)


@part("activation_gain")
def test_gaussian_mean_of_smooth_functions(attempt):
    """E g(x) for x ~ N(0, variance), against closed forms: squares, cosines, fourth powers."""
    hold_means(attempt, SMOOTH, (1.7, 0.3, 1.0), 1e-6)


@part("activation_gain")
def test_gaussian_mean_of_kinks(attempt):
    """A kink anywhere costs no precision: ReLU, shifted and leaky ReLU, |x - c|."""
    hold_means(attempt, KINKED, (1.7, 0.3, 1.0), 1e-6)


@part("activation_gain")
def test_gaussian_mean_of_small_and_large_variances(attempt):
    """The grid follows the variance, from 1e-8 to 1e6, which is how far `variance_map` goes; nothing is cut off."""
    cases = [SMOOTH[2], KINKED[0], KINKED[-1], ("square of z +", 0.0, lambda v: v)]
    hold_means(attempt, cases, (1e-8, 7e3, 1e6), 1e-6)


@part("activation_gain")
def test_gaussian_mean_asks_its_function_anew(attempt):
    """One g, two variances: it is given float64 numbers each time, and no random ones are drawn."""
    got = attempt.run(drivers.means_of_one, [2.0, 0.5])
    agree(got["means"], [2.0, 0.5], of="gaussian_mean of one and the same g(x) = x², variances 2 and 0.5", tol=1e-6)
    assert got["given"] == ["torch.float64"], f"gaussian_mean gave g {' and '.join(got['given'])}, not float64 alone"
    assert got["still"], "gaussian_mean drew random numbers, or seeded them: it is an integral"


@part("activation_gain")
def test_gaussian_mean_of_a_jump_at_zero(attempt):
    """A jump at 0, as that of ReLU's derivative, costs at most 1e-4, and a variance of 0 gives g(0)."""
    for v in (1.0, 2.5):
        for at in (0.0, 100.0):
            got = attempt.run(drivers.mean_of, "step", at, v)
            agree(got, 0.5, of=f"gaussian_mean of a step from 0 to 1 that gives {at:g} at 0, variance {v}", tol=1e-4)
    got = attempt.run(drivers.mean_of, "cos of z times", 2.0, 0.0)
    agree(got, 1.0, of="gaussian_mean of cos(2x), variance 0", tol=1e-6)
    got = attempt.run(drivers.mean_of, "square of z +", 1.5)
    agree(got, 3.25, of="gaussian_mean of (x + 1.5)², no variance given", tol=1e-6)


def squares(kind, c):
    """(E f², E f, E |f|, E f'²) of a standard normal number, in closed form."""
    p, d = below(-c), density(c)
    sine = math.exp(-c * c / 2)
    clipped = 2 * (0.5 - p) - 2 * c * d
    return {
        "relu": (0.5, density(0), density(0), 0.5),
        "leaky": ((1 + c * c) / 2, (1 - c) * density(0), (1 + c) * density(0), (1 + c * c) / 2),
        "relu of z -": ((1 + c * c) * p - c * d, d - c * p, d - c * p, p),
        "abs of z -": (1 + c * c, 2 * d + c * (1 - 2 * p), 2 * d + c * (1 - 2 * p), 1.0),
        "clamp to": (clipped + 2 * c * c * p, 0.0, 2 * (density(0) - d) + 2 * c * p, 1 - 2 * p),
        "sin of z times": ((1 - sine**4) / 2, 0.0, None, c * c * (1 + sine**4) / 2),
        "erf": (2 / math.pi * math.asin(2 / 3), 0.0, None, 4 / math.pi / math.sqrt(5)),
        "erf plus": (2 / math.pi * math.asin(2 / 3) + c * c, c, None, 4 / math.pi / math.sqrt(5)),
    }[kind]


@part("activation_gain")
def test_gain_of_relu_and_its_kind(attempt):
    """√2 for ReLU, √(2 / (1 + slope²)) for a leaky one, and what a shift makes of them."""
    cases = [("relu of z -", 0.43), ("relu", 0.0), ("leaky", 0.3), ("abs of z -", 0.6), ("relu of z -", -1.1)]
    hold_gains(attempt, cases)


@part("activation_gain")
def test_gain_of_functions_that_saturate(attempt):
    """erf, clamped lines, sines: no table has them all."""
    cases = [("erf plus", 0.35), ("erf", 0.0), ("clamp to", 0.9), ("sin of z times", 1.4), ("clamp to", 0.2)]
    hold_gains(attempt, cases)


def hold_gains(attempt, cases):
    got = attempt.each(drivers.gain_of, cases)
    for value, (kind, c) in zip(got, cases, strict=True):
        square, mean, size, slope = squares(kind, c)
        known = {
            "1 / E f(z)², without the root": 1 / square,
            "the root of E f(z)², not 1 over it": math.sqrt(square),
            "the variance of f(z): its mean taken off": 1 / math.sqrt(square - mean**2),
            "1 / √E f'(z)²": 1 / math.sqrt(slope),
            "1 / E |f(z)|": 1 / size if size else None,
        }
        known = {name: wrong for name, wrong in known.items() if wrong and abs(wrong * math.sqrt(square) - 1) > 1e-4}
        agree(value, square**-0.5, of=f"activation_gain of {kind} {c:g}", tol=1e-6, known=known)


@part("activation_gain")
def test_published_gains(attempt):
    """tanh 1.5925, GELU 1.5335, SiLU 1.6765: to four digits as published, and to more than that by quadrature."""
    z = torch.linspace(-12, 12, 60_001, dtype=torch.float64)[1:] - 2e-4
    weights = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * 4e-4
    for kind, published in (("tanh", 1.5925), ("gelu", 1.5335), ("silu", 1.6765)):
        want = float((drivers.FUNCTIONS[kind](z, 0.0) ** 2 * weights).sum()) ** -0.5
        assert abs(want - published) < 6e-5, "the oracle gives what is published"
        known = {"torch's 5/3": 5 / 3} if kind == "tanh" else None
        got = attempt.run(drivers.gain_of, kind, 0.0)
        agree(got, want, of=f"activation_gain of {kind}", tol=1e-6, known=known)
        got = attempt.run(drivers.gain_of_torchs, kind)
        agree(got, want, of=f"activation_gain of torch's own {kind}", tol=1e-6, known=known)
    for size in (1e-7, 1e-30):
        got = attempt.run(drivers.gain_of, "linear", size)
        agree(got, 1 / size, of=f"activation_gain of f(z) = {size:g} · z", tol=1e-6)


@part("activation_gain")
def test_nothing_that_comes_through_has_no_gain(attempt):
    """A function that is 0 everywhere is a ValueError."""
    with refusal(ValueError, of="activation_gain of f(z) = 0"):
        attempt.run(drivers.gain_of, "zero", 0.0)


# --- orthogonal_ ------------------------------------------------------------------------------------------------------


def eye(n, dtype=torch.float64):
    return torch.eye(n, dtype=dtype)


@part("orthogonal_")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3), (11, 2, 2), (1, 6), (6, 1), (1, 1), (96, 64), (64, 7, 3, 3)], ids=str
)
def test_rows_or_columns_are_orthonormal(attempt, draw, shape, dtype):
    """The shorter side is orthonormal, times gain; a kernel's axes are flattened."""
    gain = draw.random.uniform(0.5, 2.0)
    w = attempt.run(drivers.drawn, "orthogonal_", shape, gain, seed=seed_from(draw), dtype=dtype)
    rows = w.double().flatten(1)
    assert tuple(w.shape) == shape, f"orthogonal_ of w {shape} left the shape {tuple(w.shape)}"
    product = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    n = len(product)
    known = {"no gain": eye(n), "the gain's root": gain * eye(n), "the gain squared": gain**4 * eye(n)}
    side = "rows" if rows.shape[0] <= rows.shape[1] else "columns"
    of = f"products of the {side} of orthogonal_, w {shape}, gain {gain:.2f}, {dtype}"
    agree(product, gain**2 * eye(n), axes="r r", of=of, known=known, tol=1e-9 if dtype == "float64" else 1e-5)
    largest = rows.abs().max().item() / gain
    long = max(rows.shape)  # of so many numbers one is above 0.8 with a probability below 6144 · 2 · 0.36^47
    assert long < 96 or largest < 0.8, (
        f"orthogonal_ of w {shape}: a number of size {largest:.2f}, times gain, is no chance"
    )


def hold_uniform(values, of, looks, cdf=lambda x: (x + 1) / 2):
    """Hold that numbers are uniform on [-1, 1], or follow cdf (Massart's bound, shared by so many looks)."""
    x = values.sort().values
    n = len(x)
    at, steps = cdf(x), torch.arange(n + 1, dtype=torch.float64) / n
    off = torch.maximum(steps[1:] - at, at - steps[:-1])
    if off.max() > math.sqrt(math.log(2 * looks / RARE) / (2 * n)):
        worst = int(off.argmax())
        raise Wrong(
            f"{of}: up to {x[worst]:.2f} in {100 * worst / n:.1f} % of {n:,} draws, expected {100 * at[worst]:.1f} %: "
            "not all orthogonal matrices are equally likely"
        )


def hold_share(events, of, looks):
    """Hold that an event happens in half of the draws (Hoeffding's bound)."""
    share, n = events.double().mean().item(), len(events)
    assert abs(share - 0.5) <= math.sqrt(math.log(2 * looks / RARE) / (2 * n)), (
        f"{of} in {100 * share:.1f} % of {n:,} draws, expected 50.0 %"
    )


def unit(draw, n):
    v = draw.normal(n)
    return v / v.norm()


def hold_no_corners(q, of):
    """Hold that no direction is preferred: Σ x⁴ of a uniform unit vector of three numbers is 3/5 on average.

    The sum lies in [1/3, 1]: Hoeffding's bound, for three columns and three rows.
    """
    slack = 2 / 3 * math.sqrt(math.log(2 * 6 / RARE) / (2 * len(q)))
    for name, axis in (("column", 1), ("row", 2)):
        for n, mean in enumerate(q.pow(4).sum(dim=axis).mean(dim=0).tolist()):
            assert abs(mean - 0.6) <= slack, (
                f"{of}: {name} {n} prefers {'axes' if mean > 0.6 else 'corners'} to other directions: Σ x⁴ is "
                f"{mean:.3f} on average, expected 0.600"
            )


def hold_rotations(turns, of):
    """Hold that rotations of space are uniform, by their angle θ: P(θ <= t) = (t - sin t) / π."""
    angles = ((turns.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2).clamp(-1, 1).arccos()
    hold_uniform(2 * (angles - angles.sin()) / math.pi - 1, f"the angle of {of}", 1)


@part("orthogonal_")
def test_square_matrices_are_haars(attempt, draw):
    """All orthogonal 3 x 3 matrices are equally likely: signs, determinant, entries in any basis, angles."""
    q = attempt.run(drivers.many, "orthogonal_", (3, 3), seed=seed_from(draw), count=4_000)
    agree(q @ q.mT, eye(3).expand(4_000, 3, 3), of="w · wᵀ of 4,000 draws of orthogonal_, w (3, 3)")
    for i, j in itertools.product(range(3), repeat=2):
        hold_share(q[:, i, j] > 0, f"orthogonal_ of w (3, 3): w[{i}, {j}] is positive", 10)
    determinants = torch.linalg.det(q)
    hold_share(determinants > 0, "orthogonal_ of w (3, 3): the determinant is 1, not -1,", 10)
    for i, j in itertools.product(range(3), repeat=2):
        hold_uniform(q[:, i, j], f"orthogonal_ of w (3, 3): w[{i}, {j}], uniform in three dimensions", 12)
    for _ in range(3):
        u, v = unit(draw, 3), unit(draw, 3)
        hold_uniform(torch.einsum("i,nij,j->n", u, q, v), "orthogonal_ of w (3, 3): uᵀ·w·v for unit vectors", 12)
    hold_no_corners(q, "orthogonal_ of w (3, 3)")
    hold_rotations(q * determinants[:, None, None], "the rotation det(w) · w, w (3, 3) from orthogonal_")
    hold_draws_fresh(q, "orthogonal_ of w (3, 3)")
    for lag in LAGS:
        one, other = (q[rows] for rows in apart(len(q), lag))
        between = one @ other.mT
        turned = torch.linalg.det(between)
        said = f"what leads from one draw of orthogonal_ to the one {lag} after it"
        hold_rotations(between * turned[:, None, None], said)


@part("orthogonal_")
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 1, 3)], ids=str)
def test_frames_are_haars(attempt, draw, shape):
    """Where one side is longer, the orthonormal vectors of the shorter are uniform, each and together."""
    w = attempt.run(drivers.many, "orthogonal_", shape, seed=seed_from(draw), count=2_500)
    frames = w.flatten(2)
    frames = frames if shape[0] == 2 else frames.mT
    of = f"orthogonal_ of w {shape}"
    agree(frames @ frames.mT, eye(2).expand(2_500, 2, 2), of=f"products of the short side, 2,500 draws of {of}")
    for i, j in itertools.product(range(2), range(3)):
        hold_share(frames[:, i, j] > 0, f"{of}: number {j} of vector {i} is positive", 6)
    for _ in range(3):
        u, v = unit(draw, 2), unit(draw, 3)
        hold_uniform(torch.einsum("i,nij,j->n", u, frames, v), f"{of}: uᵀ·w·v for unit vectors", 3)
    hold_draws_fresh(w, of)
    third = torch.linalg.cross(frames[:, 0], frames[:, 1])
    hold_rotations(torch.cat([frames, third[:, None]], dim=1), f"the frame that {of} begins, and its cross product")


@part("orthogonal_")
@pytest.mark.parametrize("shape", [(5, 5), (2, 5), (5, 3, 1)], ids=str)
def test_larger_matrices_are_haars(attempt, draw, shape):
    """In five dimensions, too: signs, and entries in any basis, whose density is 3/4 · (1 - x²)."""
    w = attempt.run(drivers.many, "orthogonal_", shape, seed=seed_from(draw), count=1_500).flatten(2)
    frames = w if w.shape[2] == 5 else w.mT
    short, of = frames.shape[1], f"orthogonal_ of w {shape}"
    hold_draws_fresh(w, of)
    agree(frames @ frames.mT, eye(short).expand(1_500, short, short), of=f"products of the short side, {of}")
    for i, j in itertools.product(range(short), range(5)):
        hold_share(frames[:, i, j] > 0, f"{of}: number {j} of vector {i} is positive", 5 * short)
    for _ in range(4):
        u, v = unit(draw, short), unit(draw, 5)
        inner = torch.einsum("i,nij,j->n", u, frames, v)
        hold_uniform(inner, f"{of}: uᵀ·w·v for unit vectors", 4, cdf=lambda x: (2 + 3 * x - x**3) / 4)


@part("orthogonal_")
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (4, 2, 1)], ids=str)
def test_float32_matrices_have_all_signs(attempt, draw, shape):
    """A float32 w is as uniform as a float64 one: each number is positive in half of the draws."""
    w = attempt.run(drivers.many, "orthogonal_", shape, seed=seed_from(draw), count=300, dtype="float32").flatten(2)
    places = list(itertools.product(*map(range, w.shape[1:])))
    for i, j in places:
        of = f"orthogonal_ of a float32 w {shape}: number {j} of row {i} is positive"
        hold_share(w[:, i, j] > 0, of, len(places))


@part("orthogonal_")
@pytest.mark.parametrize("shape", [(31, 31), (17, 40), (40, 17)], ids=str)
def test_matrices_of_many_rows_are_haars(attempt, draw, shape):
    """In 31 and 40 dimensions, too: signs, size and fourth power of entries in any basis, and from draw to draw."""
    count = 400
    w = attempt.run(drivers.many, "orthogonal_", shape, seed=seed_from(draw), count=count)
    rows, columns = shape
    short, long, of = min(shape), max(shape), f"orthogonal_ of w {shape}"
    product = w @ w.mT if rows == short else w.mT @ w
    agree(product, eye(short).expand(count, short, short), of=f"products of the short side, {count} draws of {of}")
    hold_draws_fresh(w, of)
    looks = 4 * short + 20
    for i in range(short):
        for j in (i, (i + 1) % short):
            hold_share(w[:, i, j] > 0, f"{of}: w[{i}, {j}] is positive", looks)
        hold_entry(w[:, i, i], long, f"{of}: w[{i}, {i}]", looks)
    for _ in range(10):
        u, v = unit(draw, rows), unit(draw, columns)
        inner = torch.einsum("i,nij,j->n", u, w, v) if short == long else None
        if inner is not None:
            hold_entry(inner, long, f"{of}: uᵀ·w·v for unit vectors", looks)
        k = draw.random.randrange(short)
        given = torch.einsum("nj,j->n", w[:, k] if rows == short else w[:, :, k], unit(draw, long))
        hold_entry(given, long, f"{of}: one of its orthonormal vectors, times a unit vector,", looks)
    for lag in LAGS:
        one, other = (w[each] for each in apart(count, lag))
        inner = math.sqrt(long) * torch.einsum("nij,nij->n", one, other) / math.sqrt(short)
        hold_share(inner > 0, f"{of}: a draw and the one {lag} after it lie on one side", looks)
        assert inner.abs().max() < 10, f"{of}: a draw and one {lag} after it are alike"


def hold_entry(values, n, of, looks):
    """Hold that numbers are entries of a uniform unit vector of n numbers: their sign, and the law of their squares.

    Squares follow the Beta law of 1/2 and (n - 1)/2, here summed on a grid, by Massart's bound.
    """
    hold_share(values > 0, f"{of} is positive", looks)
    angle = (torch.arange(20_001, dtype=torch.float64) / 20_000 - 0.5) * math.pi  # x = sin(angle): density cos^(n-2)
    mass = angle.cos().clamp(min=0) ** (n - 2)
    cdf = mass.cumsum(0) - mass / 2
    place = ((values.clamp(-1, 1).arcsin() / math.pi + 0.5) * 20_000).round().long()
    hold_uniform(2 * (cdf / mass.sum())[place] - 1, of, looks)


@part("orthogonal_")
def test_orthogonal_writes_and_draws_as_promised(attempt, draw):
    """It writes into w with gain 1 by default, returns w, draws from the generator; a vector is a ValueError."""
    w = hold_inside(attempt, "orthogonal_", (3, 2, 5), seed=seed_from(draw)).flatten(1)
    agree(w @ w.T, torch.eye(3), of="w · wᵀ of a float32 Parameter (3, 2, 5), no gain given", tol=1e-5)
    for shape in ((3, 7), (7, 3)):
        of = f"orthogonal_ of w {shape}"
        hold_generator(attempt, drivers.filled, "orthogonal_", shape, seed=seed_from(draw), of=of)
    w = attempt.run(drivers.many, "orthogonal_", (1, 1), seed=seed_from(draw), count=300)
    hold_rate(int((w > 0).sum()), 300, 0.5, "orthogonal_ of w (1, 1): it is positive", looks=20)
    for shape in ((5,), ()):
        with refusal(ValueError, of=f"orthogonal_ of w {shape}"):
            attempt.run(drivers.drawn, "orthogonal_", shape, seed=1)


# --- variance_map -----------------------------------------------------------------------------------------------------


def closed(kind, c):
    """(E f(√q z)², E f'(√q z)²) as functions of q."""
    if kind == "linear":
        return lambda q: c * c * q, lambda q: c * c
    if kind in ("relu", "leaky"):
        half = (1 + c * c) / 2
        return lambda q: half * q, lambda q: half
    if kind == "sin of z times":
        return (
            lambda q: (1 - math.exp(-2 * c * c * q)) / 2,
            lambda q: c * c * (1 + math.exp(-2 * c * c * q)) / 2,
        )
    return (  # erf, or erf plus c
        lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + c * c,
        lambda q: 4 / math.pi / math.sqrt(1 + 4 * q),
    )


def fixed_point(sw2, sb2, square, start=1.0):
    q = start
    for _ in range(5_000):
        q = sw2 * square(q) + sb2
    return q


def map_mistakes(sw2, sb2, kind, c):
    square, slope = closed(kind, c)
    q = fixed_point(sw2, sb2, square)
    known = {
        "χ at q = 1": (q, sw2 * slope(1.0)),
        "χ at q = 0": (q, sw2 * slope(0.0)),
        "χ without sw2": (q, slope(q)),
        "χ with sb2 added": (q, sw2 * slope(q) + sb2),
        "one step of the map alone": (sw2 * square(1.0) + sb2, sw2 * slope(sw2 * square(1.0) + sb2)),
        "no bias": (fixed_point(sw2, 0.0, square), sw2 * slope(fixed_point(sw2, 0.0, square))),
        "q · z for √q · z": (
            fixed_point(sw2, sb2, lambda q: square(q * q)),
            sw2 * slope(fixed_point(sw2, sb2, lambda q: square(q * q)) ** 2),
        ),
        "the mean taken off f": (
            fixed_point(sw2, sb2, lambda q: square(q) - c * c),
            sw2 * slope(fixed_point(sw2, sb2, lambda q: square(q) - c * c)),
        ),
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in known.items()}


def hold_map(attempt, sw2, sb2, kind, c, mistakes=False):
    square, slope = closed(kind, c)
    q = fixed_point(sw2, sb2, square)
    got = attempt.run(drivers.settled, sw2, sb2, kind, c)
    want = torch.tensor([q, sw2 * slope(q)], dtype=torch.float64)
    known = map_mistakes(sw2, sb2, kind, c) if mistakes else None
    of = f"(q, χ) of variance_map({sw2:g}, {sb2:g}), f is {kind} {c:g}"
    agree(torch.tensor(got, dtype=torch.float64), want, of=of, tol=1e-4, known=known)


@part("variance_map")
def test_relu_and_lines_settle_by_hand(attempt):
    """ReLU: q = sb2 / (1 - sw2/2), χ = sw2/2; a line: q = sb2 / (1 - sw2), χ = sw2; z²: from 1, not above."""
    for sw2, sb2, kind, c, want in [
        (1.0, 0.5, "relu", 0.0, (1.0, 0.5)),
        (1.6, 0.3, "relu", 0.0, (1.5, 0.8)),
        (0.5, 0.75, "linear", 1.0, (1.5, 0.5)),
        (0.0, 0.7, "relu", 0.0, (0.7, 0.0)),
        (0.2, 0.1, "square of z +", 0.0, (0.106850, 0.0854801)),
    ]:
        got = attempt.run(drivers.settled, sw2, sb2, kind, c)
        of = f"(q, χ) of variance_map({sw2:g}, {sb2:g}), f is {kind}"
        agree(torch.tensor(got, dtype=torch.float64), torch.tensor(want, dtype=torch.float64), of=of, tol=1e-4)


@part("variance_map")
def test_a_variance_that_settles_slowly(attempt):
    """Near the edge q comes nearer by 4 % in each step, and is waited for."""
    got = attempt.run(drivers.settled, 1.92, 0.2, "relu", 0.0)
    want = torch.tensor([5.0, 0.96], dtype=torch.float64)
    known = {
        "100 steps": torch.tensor([5 - 4 * 0.96**100, 0.96], dtype=torch.float64),
        "200 steps": torch.tensor([5 - 4 * 0.96**200, 0.96], dtype=torch.float64),
    }
    of = "(q, χ) of variance_map(1.92, 0.2), f is relu"
    agree(torch.tensor(got, dtype=torch.float64), want, of=of, tol=1e-4, known=known)


@part("variance_map")
def test_functions_that_saturate_settle(attempt):
    """erf with a mean, erf, sines, leaky ReLU: order, and chaos, against closed forms."""
    hold_map(attempt, 2.1, 0.3, "erf plus", 0.4, mistakes=True)
    for case in [(0.7, 0.2, "erf", 0.0), (4.0, 0.1, "erf", 0.0), (1.9, 0.4, "sin of z times", 0.8)]:
        hold_map(attempt, *case)
    for case in [(1.5, 0.2, "leaky", 0.3), (3.0, 0.0, "sin of z times", 1.1), (0.5, 0.0, "erf", 0.0)]:
        hold_map(attempt, *case)


@part("variance_map")
def test_tanh_at_the_edge_of_chaos(attempt):
    """tanh with sw2 = 1.76 and sb2 = 0.05 has χ = 1.000, as published; below it order, above it chaos."""
    q, chi = attempt.run(drivers.settled, 1.76, 0.05, "tanh", 0.0)
    agree([q, chi], [0.569, 1.0], of="(q, χ) of variance_map(1.76, 0.05), f is tanh", tol=1e-3)
    for sw2, chaos in ((1.3, False), (2.5, True)):
        q, chi = attempt.run(drivers.settled, sw2, 0.05, "tanh", 0.0)
        shown = "above" if chaos else "below"
        assert (chi > 1.05) if chaos else (chi < 0.95), f"χ of tanh with sw2 = {sw2}: expected {shown} 1, got {chi:.3f}"


@part("variance_map")
def test_variance_that_grows_is_refused(attempt):
    """Where the variance grows without end there is no fixed point: a ValueError."""
    past = (0.5, 2e6, "linear", 1.0)  # to 4 million, if nobody stops it at one
    for case in [(3.0, 0.1, "relu", 0.0), (1.5, 0.0, "linear", 1.0), (1.0, 0.3, "linear", 1.4), past]:
        with refusal(ValueError, of=f"variance_map{case}"):
            attempt.run(drivers.settled, *case)
    for sb2 in (2e3, 4.9e5):
        got = attempt.run(drivers.settled, 0.5, sb2, "linear", 1.0)
        want = torch.tensor([2 * sb2, 0.5], dtype=torch.float64)
        of = f"(q, χ) of variance_map(0.5, {sb2:,.0f}) of a line, whose q of {2 * sb2:,.0f} is below a million"
        agree(torch.tensor(got, dtype=torch.float64), want, of=of, tol=1e-4)


@part("variance_map")
def test_the_way_begins_at_1(attempt):
    """f(z) = z² / (1 + z²), sw2 = 5: from 1 to 0.77, but from 0.1, or from where a call ended, to 0."""
    _, got = attempt.each(drivers.settled, [(0.5, 0.0, "erf", 0.0), (5.0, 0.0, "flat square", 0.0)])
    want = torch.tensor([0.770772, 1.146943], dtype=torch.float64)  # by a sum over a grid
    known = {"a start near 0, or where the call before ended": torch.zeros(2, dtype=torch.float64)}
    of = "(q, χ) of variance_map(5, 0), f(z) = z² / (1 + z²)"
    agree(torch.tensor(got, dtype=torch.float64), want, of=of, tol=1e-4, known=known)


@part("variance_map")
def test_another_function(attempt, reference):
    """Each call takes its own function, whatever came before with the same variances."""
    asked = (1.0, 0.5, "relu", 0.0), (1.0, 0.5, "leaky", 0.2)
    hold_again(attempt, reference, drivers.settled, *asked, of="variance_map(1, 0.5)", views=False, tol=1e-4)


# --- lsuv_ ------------------------------------------------------------------------------------------------------------

APPLY = {"relu": F.relu, "relu in place": F.relu, "tanh": torch.tanh, "flatten": lambda x: x.flatten(1)}


def applied(spec, parameters, x):
    """One layer, by torch's functions."""
    kind = spec[0]
    if kind in APPLY:
        return APPLY[kind](x)
    w, b = (*parameters, None)[:2]
    if kind == "linear":
        return F.linear(x, w, b)
    if kind == "block":
        return torch.tanh(x @ w.T)
    if kind == "norm":
        return F.layer_norm(x, (len(w),), w, b)
    if kind in ("batch norm", "batch norm in eval"):
        return F.batch_norm(x, torch.zeros_like(w), torch.ones_like(w), w, b, training=kind == "batch norm")
    if kind == "padded conv":
        return CONVOLVE[False][w.dim()](x, w, b, padding=1, stride=2, groups=2)
    return CONVOLVE[kind == "turned"][w.dim()](x, w, b)


def scales(spec):
    return spec[0] in ("linear", "conv", "padded conv")


def lsuv_oracle(specs, x, size, *, stale=False, after=False, bias=False):
    """The weight of each layer that is scaled, by a rule for the size of an output; and variants of the algorithm."""
    found, old = [], x
    for n, spec in enumerate(specs):
        given = list(spec[1:])
        if scales(spec):
            w, b = given
            b = b if bias or b is None else torch.zeros_like(b)
            seen = applied(spec, (w, b), old if stale else x)
            if after and n + 1 < len(specs) and specs[n + 1][0] in APPLY:
                seen = applied(specs[n + 1], (), seen)
            old = applied(spec, (w, b), old)
            given = [w / size(seen), b]
            found.append(given[0])
        else:
            old = applied(spec, given, old)
        x = applied(spec, given, x)
    return found


def deviation(y):
    return y.std(unbiased=False)


def lsuv_mistakes(specs, x):
    def of(*args, **options):
        return lambda: lsuv_oracle(specs, x, *args, **options)

    return {
        "deviations that were all measured before anything was scaled": of(deviation, stale=True),
        "the variance, not the deviation, as the divisor": of(lambda y: y.var(unbiased=False)),
        "the mean left in": of(lambda y: y.square().mean().sqrt()),
        "the deviation of each unit, averaged": of(lambda y: y.std(dim=0, unbiased=False).mean()),
        "the deviation behind the activation": of(deviation, after=True),
        "the old biases left in": of(deviation, bias=True),
        "weights as they were": lambda: [spec[1] for spec in specs if scales(spec)],
    }


def dense(draw, kind=torch.float64):
    """Layers 7 -> 5 -> 6 -> 4 with a mean in their sums, and x (400, 7)."""
    specs = [
        ("linear", draw.normal(5, 7, dtype=kind) * 3 + 1, draw.normal(5, dtype=kind) * 4),
        ("tanh",),
        ("linear", draw.normal(6, 5, dtype=kind) * 2e-7 + 3e-7, draw.normal(6, dtype=kind) * 4),
        ("relu",),
        ("linear", draw.normal(4, 6, dtype=kind) * 5 + 2, draw.normal(4, dtype=kind) * 9),
    ]
    return specs, draw.normal(400, 7, dtype=kind) + 1


def hold_scaled(attempt, specs, x, of, mistakes=True):
    """Hold variance 1 behind every layer in turn, weights that are their old ones but for a factor, and the rest."""
    got = attempt.run(drivers.scaled, specs, x)
    parameters = got["parameters"]
    weights = [new[0] for spec, new in zip(specs, parameters, strict=True) if scales(spec)]
    wants = lsuv_oracle(specs, x, deviation)
    known = lsuv_mistakes(specs, x) if mistakes else None
    agree(weights, wants, of=f"the weights after {of}", tol=0.005 + 1 / x.numel(), known=known)
    for n, (spec, new) in enumerate(zip(specs, parameters, strict=True)):
        if scales(spec):
            w, b = spec[1:]
            agree(new[0] / new[0].norm(), w / w.norm(), of=f"the direction of weight {n} after {of}")
            if b is not None:
                agree(new[1], torch.zeros_like(b), of=f"bias {n} after {of}")
        else:
            agree(list(new), list(spec[1:]), of=f"the parameters of layer {n}, {spec[0]}, after {of}")
        x = applied(spec, new, x)
        if scales(spec):
            variance = x.var(unbiased=False).item()
            assert abs(variance - 1) <= 0.01, (
                f"after {of} layer {n} gives variance {variance:.3f}, expected 1 within 1 %"
            )
    for claim, held in got["claims"].items():
        assert held, f"{of}: it {claim}, by the contract, and did not"


@part("lsuv_")
def test_lsuv_by_hand(attempt):
    """One weight of 3 on x = -6, 6 has deviation 18: it becomes 1/6, and the bias 0."""
    w, b = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([5.0], dtype=torch.float64)
    x = torch.tensor([[-6.0], [6.0]], dtype=torch.float64).repeat(100, 1)
    got = attempt.run(drivers.scaled, [("linear", w, b)], x)
    known = {
        "the variance as the divisor": torch.tensor([[1 / 108]], dtype=torch.float64),
        "a deviation with the bias in it": torch.tensor([[3 / math.sqrt(349)]], dtype=torch.float64),
        "the weight as it was": w,
        "the weight times the deviation": 18 * w,
    }
    of = "lsuv_ of one layer, weight 3, bias 5, on x of -6 and 6"
    agree(got["parameters"][0][0], w / 18, of=f"the weight after {of}", tol=0.005, known=known)
    agree(got["parameters"][0][1], torch.zeros(1, dtype=torch.float64), of=f"the bias after {of}")


@part("lsuv_")
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_layer_sees_the_scaled_ones_before_it(attempt, draw, dtype):
    """Three layers with activations: behind each the variance is 1, given the layers before it as they are now."""
    specs, x = dense(draw, of_type(dtype))
    hold_scaled(attempt, specs, x, f"lsuv_ of 7 -> tanh 5 -> ReLU 6 -> 4 on x (400, 7), {dtype}")


@part("lsuv_")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_lsuv_of_convolutions_and_norms(attempt, draw, axes):
    """Convolutions of one to three axes are scaled, over all positions; transposed ones, norms, Sequentials are not."""
    size = [5, 4, 3][:axes]
    kernel = [2, 3, 1][:axes]
    flat = 3 * math.prod(s - k + 1 for s, k in zip(size, kernel, strict=True))
    specs = [
        ("conv", draw.normal(3, 2, *kernel) * 2 + 0.5, draw.normal(3) * 5),
        ("relu",),
        ("turned", draw.normal(3, 3, *[1] * axes), draw.normal(3)),
        ("flatten",),
        ("norm", draw.normal(flat), draw.normal(flat)),
        ("block", draw.normal(flat, flat)),
        ("linear", draw.normal(7, flat) * 0.3, None),
    ]
    of = f"lsuv_ of a convolution with kernel {tuple(kernel)}, ReLU, a transposed one, LayerNorm, a Sequential, linear"
    hold_scaled(attempt, specs, draw.normal(150, 2, *size) + 0.5, of, mistakes=False)
    specs = [("padded conv", draw.normal(6, 2, *kernel), draw.normal(6)), ("tanh",)]
    of = f"lsuv_ of a convolution with kernel {tuple(kernel)}, padding 1, stride 2, 2 groups"
    hold_scaled(attempt, specs, draw.normal(20, 4, *size) + 0.5, of, mistakes=False)


@part("lsuv_")
def test_lsuv_runs_each_layer_in_its_mode(attempt, draw):
    """What stands between is run as it is: a BatchNorm by its batch in training, by what it has stored in eval."""
    specs = [
        ("batch norm", draw.normal(7), draw.normal(7)),
        ("linear", draw.normal(5, 7) * 3, draw.normal(5)),
        ("batch norm", draw.normal(5) * 2, draw.normal(5)),
        ("batch norm in eval", draw.normal(5) * 2, draw.normal(5)),
        ("linear", draw.normal(4, 5) * 2, draw.normal(4)),
    ]
    of = "lsuv_ of BatchNorm, linear, BatchNorm, BatchNorm in eval mode, linear"
    hold_scaled(attempt, specs, draw.normal(200, 7) * 3 + 1, of, mistakes=False)


@part("lsuv_")
def test_lsuv_of_one_example_and_of_small_differences(attempt, draw):
    """One example has a variance over its units; a tiny one, a small one beside the mean, and 1.08 become 1, too."""
    whole = [("linear", draw.normal(150, 7), draw.normal(150)), ("relu",), ("linear", draw.normal(160, 150), None)]
    hold_scaled(attempt, whole, draw.normal(1, 7), "lsuv_ of 7 -> ReLU 150 -> 160 on one example", mistakes=False)
    two = torch.tensor([[-6.0], [6.0]], dtype=torch.float64).repeat(200, 1)
    for weight, x in [(1e-20, two), (2.0, two / 6000 + 100), (1.04 / 6, two)]:
        one = [("linear", torch.tensor([[weight]], dtype=torch.float64), None)]
        of = f"lsuv_ of one layer, weight {weight:.4g}, on many of {x[0].item():.6g} and {x[1].item():.6g}"
        hold_scaled(attempt, one, x, of, mistakes=False)


@part("lsuv_")
def test_lsuv_of_a_deep_network(attempt, draw):
    """Ten layers of up to 64 units, with activations between that write where they read, on sequences, too."""
    widths, specs = [48, 64, 32, 64, 40, 20, 64, 33, 50, 64, 7], []
    for i, o in itertools.pairwise(widths):
        between = ("relu in place",) if o == 64 else ("tanh",)
        specs += [("linear", draw.normal(o, i) * draw.random.uniform(0.05, 3), draw.normal(o)), between]
    for x in (draw.normal(300, 48), draw.normal(30, 5, 48)):
        of = f"lsuv_ of ten layers of up to 64 units on x {tuple(x.shape)}"
        hold_scaled(attempt, specs, x, of, mistakes=False)


@part("lsuv_")
def test_lsuv_refuses_equal_outputs(attempt, draw):
    """A layer whose outputs are all equal is a ValueError: behind a dead ReLU nothing varies."""
    specs, x = dense(draw)
    with refusal(ValueError, of="lsuv_ on x of zeros"):
        attempt.run(drivers.scaled, specs, torch.zeros_like(x))
    dead = [("linear", -draw.normal(5, 7).abs(), None), ("relu",), ("linear", draw.normal(4, 5), draw.normal(4))]
    with refusal(ValueError, of="lsuv_ of a layer behind a ReLU that lets nothing through"):
        attempt.run(drivers.scaled, dead, x.abs())
    alike = [("linear", torch.full((5, 1), 0.3, dtype=torch.float64), None)]
    with refusal(ValueError, of="lsuv_ of a layer that gives 0.21 everywhere"):
        attempt.run(drivers.scaled, alike, torch.full((40, 1), 0.7, dtype=torch.float64))


# --- prior_bias -------------------------------------------------------------------------------------------------------


def floating(bias, of):
    assert bias.dtype in (torch.float32, torch.float64), f"{of}: expected float32 or float64, got {bias.dtype}"
    return bias.double()


def hold_softmax(attempt, counts, of=None):
    of = of or f"prior_bias of counts {counts}"
    bias = floating(attempt.prior_bias(torch.tensor(counts)), of)
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    known = {
        "the shares themselves as bias": shares.softmax(dim=0),
        "a bias of zeros": torch.full_like(shares, 1 / len(counts)),
        "the logarithm of 1 over the shares": (1 / shares) / (1 / shares).sum(),
        "the logarithm of odds, where classes exclude each other": (shares / (1 - shares)).log().softmax(dim=0),
    }
    agree(bias.softmax(dim=0), shares, axes="c", of=f"the softmax of {of}", tol=1e-5, known=known)
    # The softmax of a rare class is 0 to any tolerance: its logarithm is looked at, too.
    agree(bias.log_softmax(dim=0), shares.log(), axes="c", of=f"the logarithm of the softmax of {of}", tol=1e-5)


@part("prior_bias")
def test_softmax_of_the_bias_is_the_share_of_classes(attempt, draw):
    """For classes that exclude each other the softmax of the bias is how frequent they are, up to any shift."""
    hold_softmax(attempt, [6, 3, 1])
    hold_softmax(attempt, [1, 99])
    hold_softmax(attempt, [7])
    hold_softmax(attempt, draw.integers(1, 1000, 11).tolist())
    hold_softmax(attempt, [2**33 + 1, 5, 2**33])
    hold_softmax(attempt, draw.integers(1, 10**6, 1000).tolist(), of="prior_bias of counts of 1,000 classes")


@part("prior_bias")
def test_sigmoid_of_the_bias_is_the_share_of_a_label(attempt, draw):
    """With a total each label is by itself: 1 of 100 asks for -4.595, as in RetinaNet."""
    cases = [([1], 100), ([1, 50, 99], 100), ([20, 70, 10], 100), (draw.integers(1, 1000, 7).tolist(), 1_000)]
    for counts, total in cases:
        of = f"prior_bias of counts {counts}, total {total}"
        bias = floating(attempt.prior_bias(torch.tensor(counts), total=total), of)
        want = [math.log(count / (total - count)) for count in counts]
        known = {
            "the logarithm of the share": [math.log(count / total) for count in counts],
            "the sign turned": [-value for value in want],
            "the logarithm of shares of the sum of counts": [math.log(count / sum(counts)) for count in counts],
            "the share itself": [count / total for count in counts],
        }
        if len(counts) == 1:
            known.pop("the logarithm of shares of the sum of counts")
            assert abs(want[0] + 4.595) < 5e-4, "the oracle gives what is published"
        known = {name: torch.tensor(value, dtype=torch.float64) for name, value in known.items()}
        agree(bias, torch.tensor(want, dtype=torch.float64), axes="c", of=of, tol=1e-5, known=known)


@part("prior_bias")
def test_a_label_of_almost_no_example_and_of_almost_all(attempt):
    """Only a count of 0 or of all has an infinite bias: 1 of 10^8 has -18.42, and all but one 18.42."""
    of = "prior_bias of counts [1, 10^8 - 1], total 10^8"
    bias = floating(attempt.prior_bias(torch.tensor([1, 10**8 - 1]), total=10**8), of)
    known = {"shares in float32, of which the second is 1": torch.tensor([-18.42068074, math.inf]).double()}
    want = torch.tensor([-1, 1], dtype=torch.float64) * math.log(10**8 - 1)
    agree(bias, want, axes="c", of=of, tol=1e-4, known=known)


@part("prior_bias")
def test_first_loss_is_the_entropy_of_the_classes(attempt, draw):
    """A network whose last weights are 0 begins with the entropy of the classes as its loss, and no lower."""
    labels = draw.integers(0, 5, 300) * draw.integers(0, 2, 300)
    counts = torch.bincount(labels, minlength=5)
    bias = floating(attempt.prior_bias(counts), "prior_bias of counts of 300 labels")
    shares = counts.double() / 300
    got = F.cross_entropy(bias.expand(300, 5), labels)
    want = -(shares * shares.log()).sum()
    agree(got, want, of=f"the first loss with prior_bias of {counts.tolist()}", tol=1e-5, known={"log 5": math.log(5)})


@part("prior_bias")
@pytest.mark.parametrize(
    "case", [([3, 0, 2], None), ([3, -1], None), ([0], 5), ([2, -1], 5), ([5], 5), ([2, 7], 5), ([1], 0)], ids=str
)
def test_a_class_that_never_comes_is_refused(attempt, case):
    """A count of 0 or less, or with a total one that is no smaller, asks for an infinite bias: a ValueError."""
    counts, total = case
    with refusal(ValueError, of=f"prior_bias of counts {counts}, total {total}"):
        attempt.prior_bias(torch.tensor(counts), total)


@part("prior_bias")
def test_other_counts_of_that_many(attempt, draw):
    """Each call takes its own numbers, whatever came before in the same sizes, and what it gave stays."""
    first, second = draw.integers(1, 90, 5), draw.integers(1, 90, 5)
    # Not compared with the solution's bias: any number may be added to it, and float32 will do.
    got = attempt.each("prior_bias", [(first,), (second,), (second,)])
    shares = [counts.double() / counts.sum() for counts in (first, second)]
    for bias, want, other, when in [
        (got[0], *shares, "looked at after another call"),
        (got[1], *shares[::-1], "called again with other numbers"),
        (got[2], *shares[::-1], "called once more"),
    ]:
        of = f"the softmax of prior_bias of 5 classes, {when}"
        known = {"the result of the other call": other}
        agree(floating(bias, of).softmax(dim=0), want, axes="c", of=of, tol=1e-5, known=known)


# --- mup_scales -------------------------------------------------------------------------------------------------------

EFFECTS = "(multiplier · std, multiplier · adam, multiplier² · sgd)"


def effects(scales):
    """What all equivalent forms share: the size of the first outputs, of Adam's and of SGD's first changes."""
    m = float(scales["multiplier"])
    return [m * float(scales["std"]), m * float(scales["adam"]), m * m * float(scales["sgd"])]


def hold_mup(attempt, shape, base, role, want, known=None):
    got = attempt.mup_scales(shape, base, role)
    of = f"mup_scales({shape}, {base}, '{role}')"
    assert set(got) == {"multiplier", "std", "adam", "sgd"}, (
        f"{of} returned {got!r}; expected a dict with multiplier, std, adam and sgd"
    )
    assert all(isinstance(value, int | float) and value > 0 for value in got.values()), (
        f"{of} returned {got!r}; expected positive numbers"
    )
    agree(effects(got), [float(v) for v in want], of=f"{EFFECTS} of {of}", known=known)


@part("mup_scales")
def test_hidden_matrices_at_eight_times_the_width(attempt):
    """At 8 times the width a hidden matrix starts smaller by √8 and Adam's rate is an eighth."""
    known = {
        "settings as they were": [1.0, 1.0, 1.0],
        "std / m": [1 / 8, 1 / 8, 1.0],
        "std / √m with Adam's rate as it was": [8**-0.5, 1.0, 1.0],
        "Adam's rate / √m": [8**-0.5, 8**-0.5, 1.0],
        "an SGD rate / m, as for Adam": [8**-0.5, 1 / 8, 1 / 8],
        "the row of output": [1 / 8, 1 / 8, 1 / 8],
        "the row of input": [1.0, 1.0, 8.0],
        "rates times m": [8**-0.5, 8.0, 1.0],
    }
    hold_mup(attempt, (2048, 2048), (256, 256), "hidden", [8**-0.5, 1 / 8, 1.0], known)


@part("mup_scales")
def test_hidden_matrices_whose_sides_grow_apart(attempt):
    """std and Adam's rate follow the inputs, SGD's rate also the outputs; kernels stay out of it."""
    known = {
        "the outputs' growth for the inputs'": [3**-0.5, 1 / 3, 2 / 3],
        "the ratio turned round": [2**-0.5, 1 / 2, 2 / 3],
        "leaving SGD's rate as it was": [2**-0.5, 1 / 2, 1.0],
    }
    hold_mup(attempt, (15, 14), (5, 7), "hidden", [2**-0.5, 1 / 2, 3 / 2], known)
    hold_mup(attempt, (12, 35, 3, 3), (8, 7, 3, 3), "hidden", [5**-0.5, 1 / 5, 1.5 / 5])
    hold_mup(attempt, (5, 21), (20, 7), "hidden", [3**-0.5, 1 / 3, 0.25 / 3])


@part("mup_scales")
def test_layers_at_the_ends_and_biases(attempt):
    """Input weights and biases keep all but SGD's rate; what the output layer gives is divided by the growth."""
    known = {
        "standard settings": [1.0, 1.0, 1.0],
        "the row of hidden": [4**-0.5, 1 / 4, 1 / 4],
        "no division of what it gives": [1.0, 1.0, 4.0],
        "a division by √m": [1 / 2, 1 / 2, 1.0],
        "an SGD rate that the multiplier's square eats up": [1 / 4, 1 / 4, 1 / 16],
    }
    hold_mup(attempt, (11, 28), (11, 7), "output", [1 / 4, 1 / 4, 1 / 4], known)
    known = {"settings as they were": [1.0, 1.0, 1.0], "1/3 for 3": [1.0, 1.0, 1 / 3], "Adam's rate / 3": [1, 1 / 3, 3]}
    hold_mup(attempt, (21, 13), (7, 13), "input", [1.0, 1.0, 3.0], known)
    hold_mup(attempt, (10, 3, 5, 5), (4, 3, 5, 5), "input", [1.0, 1.0, 2.5])
    hold_mup(attempt, [35], [7], "bias", [1.0, 1.0, 5.0])
    hold_mup(attempt, (7, 10, 1, 1), (7, 4, 1, 1), "output", [0.4, 0.4, 0.4])


@part("mup_scales")
def test_the_small_model_keeps_its_settings(attempt):
    """At its own size each role keeps everything, and a narrower model is scaled the other way."""
    for role, shape in (("input", (5, 3)), ("hidden", (5, 7, 3)), ("output", (2, 5)), ("bias", (5,))):
        hold_mup(attempt, shape, shape, role, [1.0, 1.0, 1.0])
    hold_mup(attempt, (3, 2), (12, 8), "hidden", [2.0, 4.0, 1.0])
    hold_mup(attempt, (4, 3), (1, 1), "hidden", [3**-0.5, 1 / 3, 4 / 3])


@part("mup_scales")
@pytest.mark.parametrize(
    "case",
    [
        ((4, 4), (4, 4), "embedding"),
        ((4, 4), (4, 4), "Hidden"),
        ((4,), (4,), "biases"),
        ((8, 8), (4, 4, 3), "hidden"),
        ((8,), (4,), "hidden"),
        ((8,), (4,), "input"),
        ((8, 8), (4, 4), "bias"),
        ((8, 3), (4, 3), "bias"),
        ((8, 6), (4, 3), "input"),
        ((8, 6), (4, 3), "output"),
        ((8, 6, 5), (4, 3, 3), "hidden"),
        ((8, 3, 3, 5), (4, 3, 3, 3), "input"),
        ((8, 3, 5, 3), (4, 3, 3, 3), "input"),
        ((4, 6, 3, 1, 3), (4, 3, 3, 3, 3), "output"),
        ((8, 3), (4, 6), "input"),
        ((8, 8, 3), (4, 4), "hidden"),
        ((), (), "bias"),
    ],
    ids=str,
)
def test_mup_refuses(attempt, case):
    """Another role, shapes that do not fit it, and an axis that differs without growing in it, are a ValueError."""
    with refusal(ValueError, of=f"mup_scales{case}"):
        attempt.mup_scales(*case)
