"""Hidden checks of dl_023: oracles are loops over points, eigenvalues, bisection in Python's floats, complex steps."""

import math

import numpy as np
import pytest

from grader.checks import agree, at_most, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.numeric import numbers, slope, turned

from . import drivers


def groups(rng, count, each, d, far=5.0):
    """Points in groups: normal around centres that are `far` times as wide, every two at least 7 apart."""
    while True:
        centres = far * rng.normal(size=(count, d))
        if all(np.linalg.norm(a - b) > 7 for i, a in enumerate(centres) for b in centres[:i]):
            return turned(np.repeat(centres, each, axis=0) + rng.normal(size=(count * each, d)))


def squares(x):
    """Squared distances, of complex numbers too."""
    return ((x[:, None] - x[None]) ** 2).sum(axis=2)


def like(got, want):
    """Rows of `got` with the signs of those of `want`; as it is where the shapes differ."""
    if np.shape(got) != np.shape(want):
        return got
    return got * np.where((got * want).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


# --- pca --------------------------------------------------------------------------------------------------------------


def spread_points(rng, n, d, scales):
    """Points with these standard deviations along random directions, and a mean far from 0."""
    basis, _ = np.linalg.qr(rng.normal(size=(d, len(scales))))
    u, _ = np.linalg.qr(np.c_[np.ones(n), rng.normal(size=(n, len(scales)))])
    s = np.asarray(scales) * math.sqrt(n - 1)
    return turned((u[:, 1:] * s) @ basis.T + 3 * rng.normal(size=d)), basis.T


@part("pca")
def test_pca_by_hand(attempt):
    """Of (0, 0), (2, 2), (4, 4) the direction is (1, 1)/√2, the variance 8, and it is all there is."""
    got = attempt.pca(np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]]), 1)
    of = "pca of (0, 0), (2, 2), (4, 4), k=1"
    known = {
        "divided by n": np.array([16 / 3]),
        "not centred": np.array([20.0]),
        "not squared": np.array([math.sqrt(8)]),
    }
    agree(got["variances"], np.array([8.0]), of=f"the variances, {of}", known=known)
    agree(got["mean"], np.array([2.0, 2.0]), of=f"the mean, {of}")
    agree(np.abs(got["components"]), np.full((1, 2), math.sqrt(0.5)), of=f"the components without signs, {of}")
    agree(got["shares"], np.ones(1), of=f"the shares, {of}")
    agree(np.abs(got["scores"]), np.sqrt([[8.0], [0.0], [8.0]]), of=f"the scores without signs, {of}")


@part("pca")
@pytest.mark.parametrize(("n", "d", "k"), [(23, 5, 3), (7, 11, 4), (6, 6, 5), (2, 3, 1), (19, 1, 1)])
def test_pca_of_any_size(attempt, draw, n, d, k):
    """Mean, components, variances, shares and scores are those of the points, with more points or more features."""
    rank = min(n - 1, d)
    scales = 4.0 * 0.7 ** np.arange(rank)
    rng = numbers(draw)
    of = f"pca, n={n}, d={d}, k={k}"
    x, _ = spread_points(rng, n, d, scales)  # other points of the same size leave no trace
    agree(attempt.pca(x, k)["mean"], x.mean(axis=0), of=f"the mean of other points, {of}")
    x, basis = spread_points(rng, n, d, scales)
    got = attempt.pca(x, k)
    agree(got["mean"], x.mean(axis=0), of=f"the mean, {of}")
    known = {
        "divided by n": scales[:k] ** 2 * (n - 1) / n,
        "the smallest first": scales[::-1][:k] ** 2 + 0.0,
        "not centred": (np.linalg.svd(x, compute_uv=False) ** 2 / (n - 1))[:k],
        "standard deviations": scales[:k],
        "sums of squares": scales[:k] ** 2 * (n - 1),
    }
    known = known if (n, d) == (23, 5) else None
    agree(got["variances"], scales[:k] ** 2, of=f"the variances, {of}", tol=1e-8, known=known)
    agree(got["shares"], (scales**2 / (scales**2).sum())[:k], of=f"the shares of the variance of all features, {of}")
    agree(like(got["components"], basis[:k]), basis[:k], axes="k d", of=f"the components up to sign, {of}", tol=1e-7)
    want = (x - x.mean(axis=0)) @ np.asarray(got["components"]).T
    agree(got["scores"], want, axes="n k", of=f"the scores, with the signs of the components, {of}", tol=1e-8)


@part("pca")
def test_pca_keeps_small_variances(attempt, draw):
    """A variance that is 1e-14 of the largest is right to six digits."""
    scales = np.array([10.0, 1e-3, 1e-6])
    rng = numbers(draw)
    turn, _ = np.linalg.qr(np.c_[np.ones(16), rng.normal(size=(16, 3))])
    x = turned(turn[:, 1:] * scales * math.sqrt(15) @ np.linalg.qr(rng.normal(size=(3, 3)))[0])
    got = attempt.pca(x, 3)["variances"]
    agree(got / scales**2, np.ones(3), of="variances of 100, 1e-6 and 1e-12, divided by these", tol=1e-6)


@part("pca")
def test_pca_of_few_directions(attempt, draw):
    """Points that fill two of five directions have four orthonormal components as well, two of variance 0."""
    n, k = 11, 4
    x, basis = spread_points(numbers(draw), n, 5, [3.0, 2.0])
    got, of = attempt.pca(x, k), f"pca of points in a plane, n={n}, d=5, k={k}"
    components = np.asarray(got["components"])
    agree(components @ components.T, np.eye(k), axes="k k", of=f"products of the components, {of}")
    agree(like(components[:2], basis), basis, axes="k d", of=f"the first two components up to sign, {of}", tol=1e-7)
    agree(got["variances"], np.array([9.0, 4.0, 0.0, 0.0]), of=f"the variances, {of}", tol=1e-8)
    want = (x - x.mean(axis=0)) @ components.T
    agree(got["scores"], want, axes="n k", of=f"the scores, with the signs of the components, {of}", tol=1e-8)


@part("pca")
@pytest.mark.parametrize(("n", "d", "k"), [(5, 3, 0), (5, 3, 4), (4, 7, 4), (5, 3, -1), (1, 3, 1)])
def test_pca_refuses(attempt, n, d, k):
    """k is 1 to min(n - 1, d): n points less their mean have n - 1 directions."""
    with refusal(ValueError, of=f"pca, n={n}, d={d}, k={k}"):
        attempt.pca(np.arange(n * d, dtype=float).reshape(n, d) ** 2, k)


@part("pca")
def test_pca_of_other_points_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    turns = (rng.normal(size=(9, 4)),), (rng.normal(size=(9, 4)),)
    hold_turns(attempt, reference, drivers.in_turn, "pca", 3, turns=turns, of="pca of (9, 4)", tol=1e-4)


# --- power_pca --------------------------------------------------------------------------------------------------------


def subspace(x, start, steps):
    """Subspace iteration with all of C in sight: the components within the space of (CᵀC)^steps · start."""
    c = x - x.mean(axis=0)
    q = start
    for _ in range(steps):
        q = c.T @ (c @ np.linalg.qr(q)[0])
    q, _ = np.linalg.qr(q)
    _, s, vt = np.linalg.svd(c @ q, full_matrices=False)
    return vt @ q.T, s**2 / (len(x) - 1)


@part("power_pca")
@pytest.mark.parametrize(
    ("n", "d", "k", "steps"), [(29, 7, 3, 1), (29, 7, 3, 0), (13, 17, 2, 2), (23, 5, 2, 3), (9, 4, 4, 1)]
)
def test_power_pca_step_by_step(attempt, draw, n, d, k, steps):
    """After each number of steps, converged or not: the best directions within the space that is reached."""
    rng = numbers(draw)
    of = f"power_pca, n={n}, d={d}, k={k}, steps={steps}"
    x, start = rng.normal(size=(n, d)), rng.normal(size=(d, k))  # other points of the same size leave no trace
    got = attempt.run(drivers.products, x, x.mean(axis=0), start, steps)["variances"]
    agree(got, subspace(x, start, steps)[1], of=f"the variances of other points, {of}", tol=1e-7)
    x = turned(rng.normal(size=(n, d)) * (1 + np.arange(d)) + 5 * rng.normal(size=d))
    start = turned(rng.normal(size=(d, k)))
    got = attempt.run(drivers.products, x, x.mean(axis=0), start, steps)
    components, variances = subspace(x, start, steps)
    known = {
        "not centred": subspace_like(x, start, steps),
        "divided by n": variances * (n - 1) / n,
        "one step too many": subspace(x, start, steps + 1)[1],
        "the smallest first": variances[::-1].copy(),
    }
    known = known if (k, steps) == (3, 1) else None
    agree(got["variances"], variances, of=f"the variances, {of}", tol=1e-7, known=known)
    want = like(components, got["components"])
    agree(got["components"], want, axes="k d", of=f"the components up to sign, {of}", tol=1e-5)
    at_most(got["times"], (steps + 1) * k, of=f"columns given to times, {of}")
    at_most(got["transposed"], steps * k, of=f"columns given to transposed_times, {of}")
    at_most(got["unit"], 0, of=f"columns of an identity given to the products, so that X is made, {of}")


def subspace_like(x, start, steps):
    """The variances that come of points that are not centred."""
    return subspace(np.concatenate([x, -x]), start, steps)[1] * (2 * len(x) - 1) / (len(x) - 1) / 2


@part("power_pca")
def test_power_pca_converges(attempt, draw):
    """After 40 steps all components are there, the first 30 times the third; few columns are asked for."""
    n, d, k, steps = 131, 211, 3, 40  # both sizes above the columns that are allowed: no identity fits
    scales = [30.0, 5.0, 1.0, 0.3, 0.1]
    rng = numbers(draw)
    x, basis = spread_points(rng, n, d, scales)
    got = attempt.run(drivers.products, x, x.mean(axis=0), rng.normal(size=(d, k)), steps)
    of = f"power_pca, n={n}, d={d}, k={k}, steps={steps}"
    agree(got["variances"], np.square(scales[:3]), of=f"the variances, {of}", tol=1e-8)
    agree(like(got["components"], basis[:k]), basis[:k], axes="k d", of=f"the components up to sign, {of}", tol=1e-7)
    at_most(got["times"], (steps + 1) * k, of=f"columns given to times, {of}", known={"all features at once": d})
    of = f"columns given to transposed_times, {of}"
    at_most(got["transposed"], steps * k, of=of, known={"all points at once": n})


@part("power_pca")
def test_power_pca_of_other_points_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    turns = (rng.normal(size=(9, 4)),), (rng.normal(size=(9, 4)),)
    given = rng.normal(size=(4, 2)), 2
    of = "the variances of power_pca, n=9, d=4, k=2, steps=2"
    hold_turns(attempt, reference, drivers.variances_in_turn, *given, turns=turns, of=of, tol=1e-7)


# --- conditional_probabilities ----------------------------------------------------------------------------------------


def row_of(square, i, beta):
    """p(j|i) with a given β, in Python's floats."""
    others = [float(square[i, j]) for j in range(len(square)) if j != i]
    weights = [math.exp(-beta * (one - min(others))) for one in others]
    p = [one / sum(weights) for one in weights]
    return np.array([*p[:i], 0.0, *p[i:]])


def entropy_of(p):
    return -sum(one * math.log(one) for one in p.tolist() if one > 0)


def rows_of(square, perplexity):
    """All rows, each by bisection of log β."""
    rows = []
    for i in range(len(square)):
        others = np.delete(square[i], i)
        near = others[others > others.min()]
        middle = -math.log((near.min() if len(near) else 1.0) - others.min())
        low, high = middle - 30, middle + 30
        for _ in range(60):
            beta = math.exp((low + high) / 2)
            wide = entropy_of(row_of(square, i, beta)) > math.log(perplexity)
            low, high = ((low + high) / 2, high) if wide else (low, (low + high) / 2)
        rows.append(row_of(square, i, beta))
    return np.array(rows)


@part("conditional_probabilities")
def test_conditional_by_hand(attempt):
    """d² = 1 and 1 + log 4: at β = 1 the nearer is four times as likely; the perplexity is e^H in nats."""
    far = 1 + math.log(4)
    square = np.array([[0, 1, far], [1, 0, far], [far, far, 0]])
    perplexity = math.exp(0.8 * math.log(1.25) + 0.2 * math.log(5))
    got = attempt.conditional_probabilities(square, perplexity)
    of = f"conditional_probabilities of d² = 1 and 1 + log 4, perplexity={perplexity:.4f}"
    agree(np.asarray(got)[:2], np.array([[0, 0.8, 0.2], [0.8, 0, 0.2]]), axes="i j", of=of, tol=1e-3)


@part("conditional_probabilities")
@pytest.mark.parametrize(
    "case",
    [
        "in general",
        "tiny",
        "huge",
        "a point far away",
        "points on one another",
        "narrow",
        "wide",
        "tiny and narrow",
        "huge and wide",
    ],
)
def test_conditional_probabilities(attempt, draw, case):
    """Each row is a softmax of -β d² over all others, with the perplexity asked for, to 1e-4."""
    rng = numbers(draw)
    n = 13
    x, perplexity = rng.normal(size=(n, 3)), {"narrow": 1.2, "wide": 10.5}.get(case.split()[-1], 4.3)
    if case == "a point far away":
        x[5] += 300
    if case == "points on one another":
        x[3] = x[7] = x[2]
    square = turned(squares(x) * {"tiny": 1e-6, "huge": 1e6}.get(case.split()[0], 1.0))
    got = np.asarray(attempt.conditional_probabilities(square, perplexity))
    of = f"conditional_probabilities, n={n}, perplexity={perplexity}, {case}"
    want = rows_of(square, perplexity)
    sigma = np.array([row_of(square, i, 2.0) for i in range(n)])
    known = {
        "perplexity is H itself": lambda: rows_of(square, math.exp(perplexity)) if math.exp(perplexity) < n else sigma,
        "2^H with H in nats": lambda: rows_of(square, math.exp(math.log2(perplexity))),
        "the distance, not squared": lambda: rows_of(np.sqrt(square), perplexity),
        "the symmetric mean": lambda: (want + want.T) / 2,
    }
    agree(got, want, axes="i j", of=of, tol=3e-4, known=known if case == "in general" else None)
    found = np.exp([entropy_of(one) for one in got])
    agree(found, np.full(n, perplexity), axes="i", of=f"the perplexity of each row, {of}", tol=1e-4 / perplexity)
    agree(got.sum(axis=1), np.ones(n), axes="i", of=f"the sum of each row, {of}")


@part("conditional_probabilities")
def test_joint_probabilities(attempt, draw):
    """P is the mean of both views, divided by n: symmetric, and all of it sums to 1."""
    square = turned(squares(numbers(draw).normal(size=(11, 4))))
    p = rows_of(square, 3.7)
    known = {
        "not symmetrised": p / len(p),
        "the sum of both, which sums to 2n": p + p.T,
        "divided by 2, which sums to n": (p + p.T) / 2,
        "divided by n, which sums to 2": (p + p.T) / len(p),
    }
    got = attempt.joint_probabilities(square, 3.7)
    agree(got, (p + p.T) / 22, axes="i j", of="joint_probabilities, n=11, perplexity=3.7", tol=3e-4, known=known)
    agree(float(np.sum(got)), 1.0, of="the sum of joint_probabilities")
    agree(got, np.asarray(got).T.copy(), axes="i j", of="joint_probabilities, transposed")


@part("conditional_probabilities")
@pytest.mark.parametrize("perplexity", [1.0, 0.5, 4.0, 7.0])
def test_perplexity_refused(attempt, perplexity):
    """The perplexity of 5 points lies between 1 and 4."""
    square = squares(np.arange(5.0)[:, None] ** 2)
    for name in ("conditional_probabilities", "joint_probabilities"):
        with refusal(ValueError, of=f"{name} of 5 points, perplexity={perplexity}"):
            getattr(attempt, name)(square, perplexity)


@part("conditional_probabilities")
def test_probabilities_of_other_points(attempt, reference, draw):
    """Each call takes its own distances, whatever came before in the same sizes."""
    rng = numbers(draw)
    asked = [(squares(rng.normal(size=(13, 3))), 4.0) for _ in range(2)]
    for name in ("conditional_probabilities", "joint_probabilities"):
        hold_again(attempt, reference, name, *asked, of=f"{name} of 13 points, perplexity 4", tol=1e-3)


# --- tsne_gradient ----------------------------------------------------------------------------------------------------


def joint(rng, n, holes=False):
    """A symmetric P that sums to 1, some pairs of it 0."""
    p = rng.random((n, n)) ** 3
    if holes:
        p[rng.random((n, n)) < 0.6] = 0
        p[0, 1] = 1.0
    p = p + p.T
    np.fill_diagonal(p, 0)
    return p / p.sum()


def student(p, y):
    """KL(P‖Q), of complex plots too."""
    w = 1 / (1 + squares(y))
    np.fill_diagonal(w, 0)
    return sum(p[i, j] * np.log(p[i, j] * w.sum() / w[i, j]) for i, j in zip(*np.nonzero(p), strict=True))


def gradient_with(p, y, *, factor=4.0, tail=True, gauss=False, diagonal=False, sign=1.0):
    """The gradient, with a mistake in it."""
    w = np.exp(-squares(y)) if gauss else 1 / (1 + squares(y))
    if not diagonal:
        np.fill_diagonal(w, 0)
    pull = factor * sign * (p - w / w.sum()) * (w if tail and not gauss else 1.0)
    return (pull[:, :, None] * (y[:, None] - y[None])).sum(axis=1)


@part("tsne_gradient")
def test_gradient_by_hand(attempt):
    """Points at 0, 1, 3: w = 1/2, 1/10, 1/5, and q half of 5/8, 1/8, 1/4."""
    p, y = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]]) / 8, np.array([[0.0], [1.0], [3.0]])
    loss, gradient = attempt.tsne_gradient(p, y)
    of = "tsne_gradient of three points at 0, 1, 3"
    agree(loss, 0.5 * math.log(0.8) + 0.25 * math.log(2), of=f"the loss, {of}")
    agree(gradient, np.array([[0.05], [-0.125], [0.075]]), axes="n m", of=f"the gradient, {of}")


@part("tsne_gradient")
@pytest.mark.parametrize(
    ("n", "m", "scale", "kind"),
    [(7, 2, 1, ""), (5, 3, 30, ""), (6, 1, 1e-4, ""), (8, 2, 1, "holes"), (7, 2, 1, "coincide"), (7, 2, 1, "far")],
)
def test_gradient(attempt, draw, n, m, scale, kind):
    """The loss is KL(P‖Q) with Student's t over all pairs, and the gradient is its own."""
    rng = numbers(draw)
    p, y = turned(joint(rng, n, kind == "holes")), turned(scale * rng.normal(size=(n, m)))
    if kind == "coincide":
        y[3] = y[5]
    if kind == "far":
        y[2] += 1e7  # its q are about 1e-15
    loss, gradient = attempt.tsne_gradient(p, y)
    of = f"tsne_gradient, n={n}, m={m}, a plot of scale {scale} {kind}".strip()
    agree(loss, float(student(p, y)), of=f"the loss, {of}", tol=1e-9)
    known = {
        "without the factor 4": lambda: gradient_with(p, y, factor=1.0),
        "the factor 2": lambda: gradient_with(p, y, factor=2.0),
        "without w": lambda: gradient_with(p, y, tail=False),
        "a Gaussian q": lambda: gradient_with(p, y, gauss=True),
        "the diagonal counted in q": lambda: gradient_with(p, y, diagonal=True),
        "the wrong sign": lambda: gradient_with(p, y, sign=-1.0),
    }
    known = known if (kind, m, scale) == ("", 2, 1) else None
    agree(gradient, slope(lambda z: student(p, z), y), axes="n m", of=f"the gradient, {of}", tol=1e-8, known=known)


@part("tsne_gradient")
def test_gradient_of_another_plot_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    affinities = [one + one.T for one in (np.triu(rng.uniform(size=(7, 7)), 1) for _ in range(2))]
    asked = [(one / one.sum(), rng.normal(size=(7, 2))) for one in affinities]
    hold_again(attempt, reference, "tsne_gradient", *asked, of="tsne_gradient of 7 points", views=False)


# --- tsne -------------------------------------------------------------------------------------------------------------


def unfold(x, perplexity, steps, *, more=12.0, momentum=0.5):
    """The first steps as they are written down, with loops in the place of what the exercise asks for elsewhere."""
    c = x - x.mean(axis=0)
    _, vectors = np.linalg.eigh(c.T @ c)
    scores = c @ vectors[:, [-1, -2]]
    y = scores * (1e-4 / np.sqrt((scores[:, 0] ** 2).mean()))
    p = rows_of(squares(x), perplexity)
    p = (p + p.T) / (2 * len(p))
    velocity = np.zeros(y.shape)
    for _ in range(steps):
        velocity = momentum * velocity - 10 * gradient_with(more * p, y)
        y = y + velocity
    return y


@part("tsne")
@pytest.mark.parametrize(
    ("n", "d", "perplexity", "steps"),
    [(9, 4, 2.5, 0), (9, 4, 2.5, 1), (9, 4, 2.5, 3), (11, 2, 3.5, 0), (11, 2, 3.5, 2), (3, 2, 1.5, 1)],
)
def test_first_steps(attempt, draw, n, d, perplexity, steps):
    """The start is that of PCA, and each step as it is pinned: 12·P, and momentum 0.5."""
    rng = numbers(draw)
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    x = turned((rng.normal(size=(n, d)) * [4.0, 2.0, 0.5, 0.3][:d]) @ basis)
    got = attempt.tsne(x, perplexity, steps)
    of = f"tsne, n={n}, d={d}, perplexity={perplexity}, steps={steps}"
    want = unfold(x, perplexity, steps)
    known = {
        "no early exaggeration": unfold(x, perplexity, steps, more=1.0),
        "momentum 0.8 from the start": unfold(x, perplexity, steps, momentum=0.8),
        "no momentum": unfold(x, perplexity, steps, momentum=0.0),
    }
    agree(
        like(got.T, want.T).T,
        want,
        axes="n m",
        of=f"the plot, up to the sign of each column, {of}",
        tol=2e-3,
        known=known if steps == 3 else None,
    )


@part("tsne")
@pytest.mark.parametrize("step", [99, 100, 231, "far on"])
def test_a_later_step(attempt, draw, step):
    """The last of 100 steps with 12·P and momentum 0.5, and steps with P and 0.8: each follows from the two before."""
    rng = numbers(draw)
    n, perplexity = 23, 5.0
    # far on the steps are short, and a P that meets the perplexity to 1e-4 alone is seen in them
    step, tol = (draw.random.randint(530, 650), 5e-2) if step == "far on" else (step, 2e-3)
    x = turned(rng.normal(size=(n, 4)) * [4.0, 2.0, 0.5, 0.3])
    before, now, after = map(np.asarray, attempt.each("tsne", [(x, perplexity, step + k) for k in (-1, 0, 1)]))
    p = rows_of(squares(x), perplexity)
    p = (p + p.T) / (2 * n)

    def moved(momentum, more):
        return momentum * (now - before) - 10 * gradient_with(more * p, now)

    want = moved(0.5, 12) if step < 100 else moved(0.8, 1)
    of = f"what step {step}, counted from 0, adds to the plot, tsne, n={n}, d=4, perplexity={perplexity}"
    other = {"12·P and momentum 0.5": moved(0.5, 12), "12·P, 0.8": moved(0.8, 12)}
    agree(after - now, want, axes="n m", of=of, tol=tol, known=other if step == 231 else None)


@part("tsne")
@pytest.mark.parametrize(("count", "each", "d", "perplexity"), [(4, 9, 7, 6.0)])
def test_plot_beats_pca(attempt, draw, count, each, d, perplexity):
    """After 500 steps the KL is under half of that of the plot of PCA, at the scale that is best for it."""
    x = groups(numbers(draw), count, each, d)
    p = rows_of(squares(x), perplexity)
    p = (p + p.T) / (2 * len(p))
    c = x - x.mean(axis=0)
    scores = c @ np.linalg.eigh(c.T @ c)[1][:, [-1, -2]]
    best = min(fast(p, scores * scale / scores.std()) for scale in np.geomspace(0.01, 100, 41))
    y = attempt.tsne(x, perplexity, 500)
    agree(np.shape(y), (count * each, 2), of="the shape of the plot")
    of = f"KL of a plot of {count} groups in {d} dimensions, perplexity={perplexity}, as a share of what PCA reaches"
    at_most(fast(p, np.asarray(y)) / best, 0.5, of=of, known={"a plot of PCA": 1.0})


def fast(p, y):
    """KL(P‖Q) of a plot."""
    w = 1 / (1 + squares(y))
    np.fill_diagonal(w, 0)
    return float(
        (p * np.log(np.where(p > 0, p, 1) * w.sum() / np.where(w > 0, w, 1), where=p > 0, out=np.zeros(p.shape))).sum()
    )


@part("tsne")
@pytest.mark.parametrize("perplexity", [0.5, 1.0, 4.0, 5.0])
@pytest.mark.parametrize("steps", [0, 3])
def test_tsne_refuses(attempt, draw, perplexity, steps):
    """A perplexity that the probabilities refuse is refused, whatever the number of steps."""
    with refusal(ValueError, of=f"tsne of 5 points, perplexity={perplexity}, steps={steps}"):
        attempt.tsne(numbers(draw).normal(size=(5, 3)), perplexity, steps)


@part("tsne")
def test_tsne_of_other_points_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    turns = (rng.normal(size=(9, 4)),), (rng.normal(size=(9, 4)),)
    hold_turns(attempt, reference, drivers.in_turn, "tsne", 2.5, 5, turns=turns, of="tsne of (9, 4)", tol=1e-4)


# --- fuzzy_graph ------------------------------------------------------------------------------------------------------


def views(distances, k, *, rho=True, target=None, itself=True):
    """a_ij, each row by bisection of log σ, with mistakes."""
    n = len(distances)
    a = np.zeros((n, n))
    for i in range(n):
        near = sorted((j for j in range(n) if j != i), key=lambda j: distances[i, j])[: k - 1 if itself else k]
        nearest = min(distances[i, j] for j in near if distances[i, j] > 0) if rho else 0.0
        beyond = [max(0.0, float(distances[i, j] - nearest)) for j in near]
        middle = math.log(max(max(beyond), 1e-300))
        low, high = middle - 40, middle + 40
        for _ in range(70):
            sigma = math.exp((low + high) / 2)
            many = sum(math.exp(-one / sigma) for one in beyond) > (target or math.log2(k))
            low, high = (low, (low + high) / 2) if many else ((low + high) / 2, high)
        a[i, near] = [math.exp(-one / sigma) for one in beyond]
    return a


def union(a):
    return a + a.T - a * a.T


@part("fuzzy_graph")
def test_graph_by_hand(attempt):
    """Points at 0, 1, 3 with k = 3: each sees weights 1 and log2 3 - 1 = 0.585, the far pair on both sides."""
    distances = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    far = 2 * (math.log2(3) - 1) - (math.log2(3) - 1) ** 2
    want = np.array([[0, 1, far], [1, 0, 1], [far, 1, 0]])
    agree(attempt.fuzzy_graph(distances, 3), want, axes="i j", of="fuzzy_graph of points at 0, 1, 3, k=3", tol=1e-4)


@part("fuzzy_graph")
@pytest.mark.parametrize(
    ("n", "k", "scale", "kind"),
    [
        (13, 5, 1, ""),
        (11, 2, 1, ""),
        (7, 7, 1, ""),
        (13, 6, 1e-6, ""),
        (13, 6, 1e6, ""),
        (13, 6, 1, "a point far away"),
        (13, 13, 1, "two points on one another"),
        (13, 4, 1, "three points on one another, far away"),
    ],
)
def test_graph(attempt, draw, n, k, scale, kind):
    """k - 1 neighbours of each point, whose weights sum to log2 k, the nearest 1; then the union of both views."""
    x = numbers(draw).normal(size=(n, 3))
    if kind == "a point far away":
        x[4] += 200
    if kind == "two points on one another":
        x[3] = x[8]
    if kind == "three points on one another, far away":
        x[3] = x[8] = x[5] = x[5] + 50  # their three weights are 1, whatever σ is, and no other point is near
    distances = turned(scale * np.sqrt(squares(x)))
    a = views(distances, k)
    known = {
        "ρ = 0": lambda: union(views(distances, k, rho=False)),
        "the union without the product": a + a.T,
        "the mean of both views": (a + a.T) / 2,
        "the intersection": a * a.T,
        "the larger of both views": np.maximum(a, a.T),
        "one view alone": a,
        "k others": lambda: union(views(distances, k, itself=False)),
        "log k, natural": lambda: union(views(distances, k, target=math.log(k))),
        "log2 of k - 1": lambda: union(views(distances, k, target=math.log2(k - 1))),
    }
    of = f"fuzzy_graph, n={n}, k={k}, scale {scale} {kind}".strip()
    agree(
        attempt.fuzzy_graph(distances, k),
        union(a),
        axes="i j",
        of=of,
        tol=2.2e-5,  # sums that are met to 1e-5, in both views
        known=known if (n, k) == (13, 5) else None,
    )


@part("fuzzy_graph")
@pytest.mark.parametrize("k", [1, 0, 6])
def test_graph_refuses(attempt, k):
    """k counts the point itself, and is 2 to n."""
    with refusal(ValueError, of=f"fuzzy_graph of 5 points, k={k}"):
        attempt.fuzzy_graph(np.sqrt(squares(np.arange(5.0)[:, None] ** 2)), k)


@part("fuzzy_graph")
def test_graph_of_other_points(attempt, reference, draw):
    """Each call takes its own distances, whatever came before in the same sizes."""
    rng = numbers(draw)
    asked = [(np.sqrt(squares(rng.normal(size=(13, 3)))), 5) for _ in range(2)]
    hold_again(attempt, reference, "fuzzy_graph", *asked, of="fuzzy_graph of 13 points, k=5", tol=1e-3)


# --- umap_loss --------------------------------------------------------------------------------------------------------


def best_curve(min_dist):
    """a and b by a search that narrows around the best of a grid."""
    r = np.linspace(0, 3, 300)
    want = np.where(r < min_dist, 1.0, np.exp(-(r - min_dist)))
    a, b, wide = 1.0, 1.0, 1.0
    for _ in range(45):
        grid = np.linspace(-wide, wide, 7)
        tried = [(a * math.exp(p), b * math.exp(q)) for p in grid for q in grid]
        a, b = min(tried, key=lambda one: ((1 / (1 + one[0] * r ** (2 * one[1])) - want) ** 2).sum())
        wide *= 0.7
    return a, b


@part("umap_loss")
def test_curve(attempt, draw):
    """a and b are the least squares fit to 1 before min_dist and exp(min_dist - r) behind it, at 300 distances."""
    for min_dist in (0.1, 0.8 * draw.random.random() + 0.15, 0.01, 0.95):
        a, b = attempt.curve_parameters(min_dist)
        of = f"a and b of min_dist={min_dist:.3f}"
        agree([a, b], list(best_curve(min_dist)), of=of, tol=3e-4)


def cross_entropy(graph, y, a, b, negatives=None, without=()):
    """The loss, pair by pair, one of them left out where that is asked for; of complex plots too."""

    def both(i, j):
        if i in without and j in without:
            return 0, 0
        square = ((y[i] - y[j]) ** 2).sum()
        v = 1 / (1 + a * square**b) if square != 0 else 1.0
        return -np.log(v), -np.log(1 - v + 1e-4)

    n, total = len(y), 0.0
    for i in range(n):
        for j in range(n):
            if i != j and negatives is None:
                pull, push = both(i, j)
                total = total + (graph[i, j] * pull + (1 - graph[i, j]) * push) / 2
            elif i != j:
                total = total + graph[i, j] * both(i, j)[0] / 2
        for j in [] if negatives is None else negatives[i].tolist():
            total = total + (graph[i].sum() * both(i, j)[1] / 2 if i != j else 0)
    return total


def weights_of(rng, n):
    graph = rng.random((n, n)) * (rng.random((n, n)) < 0.7)
    graph = np.triu(graph, 1)
    return turned(graph + graph.T)


@part("umap_loss")
def test_loss_by_hand(attempt):
    """Two points 1 apart, a = b = 1, w = 3/4: v = 1/2; but for ε the loss is log 2, and the force 3/4 - 1/4."""
    graph, y = np.array([[0, 0.75], [0.75, 0]]), np.array([[0.0], [1.0]])
    loss, gradient = attempt.umap_loss(graph, y, 1.0, 1.0)
    of = "umap_loss of two points 1 apart, w=3/4, a=b=1"
    agree(loss, 0.75 * math.log(2) - 0.25 * math.log(0.5001), of=f"the loss, {of}")
    force = 2 * (0.75 * 0.5 - 0.25 * 0.25 / 0.5001)
    agree(gradient, np.array([[-force], [force]]), axes="n m", of=f"the gradient, {of}")


@part("umap_loss")
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize(("n", "m", "a", "b"), [(7, 2, 1.5769, 0.8951), (5, 3, 0.7, 1.4), (6, 1, 2.0, 0.4)])
def test_loss(attempt, draw, n, m, a, b, sampled):
    """Attraction and repulsion of all pairs, or repulsion of the sampled ones; the gradient is that of the loss."""
    rng = numbers(draw)
    graph, y = weights_of(rng, n), turned(rng.normal(size=(n, m)))
    negatives = rng.integers(0, n, size=(n, 4)) if sampled else None
    if sampled:
        negatives[0] = [0, 1, 1, 2]  # itself, and one that comes twice
        negatives[1, 0] = 0  # a pair that both have drawn
        negatives = turned(negatives)
    of = f"umap_loss, n={n}, m={m}, a={a}, b={b}, {'4 negatives a point' if sampled else 'all pairs'}"
    other, plot = weights_of(rng, n), rng.normal(size=(n, m))  # another plot of the same size leaves no trace
    loss, _ = attempt.umap_loss(other, plot, a, b, negatives)
    agree(loss, float(cross_entropy(other, plot, a, b, negatives)), of=f"the loss of another plot, {of}", tol=1e-9)
    loss, gradient = attempt.umap_loss(graph, y, a, b, negatives) if sampled else attempt.umap_loss(graph, y, a, b)
    agree(loss, float(cross_entropy(graph, y, a, b, negatives)), of=f"the loss, {of}", tol=1e-9)
    want = slope(lambda z: cross_entropy(graph, z, a, b, negatives), y)
    agree(gradient, want, axes="n m", of=f"the gradient, {of}", tol=1e-8)


@part("umap_loss")
@pytest.mark.parametrize("b", [0.9, 0.3])
def test_loss_where_points_coincide(attempt, draw, b):
    """Two points on one another: -log ε of repulsion, and no direction, so nothing in the gradient."""
    rng = numbers(draw)
    n, a = 5, 1.6
    graph, y = weights_of(rng, n), rng.normal(size=(n, 2))
    y[3] = y[1]
    graph[1, 3] = graph[3, 1] = 0.3
    negatives = np.array([[1, 3], [3, 0], [4, 4], [1, 1], [0, 2]])
    for drawn in (None, negatives):
        loss, gradient = attempt.umap_loss(graph, y, a, b, drawn)
        kind = "all pairs" if drawn is None else "2 negatives a point"
        of = f"umap_loss of 5 points, two on one another, b={b}, {kind}"
        agree(loss, float(cross_entropy(graph, y, a, b, drawn)), of=f"the loss, {of}", tol=1e-9)
        want = slope(lambda z, drawn=drawn: cross_entropy(graph, z, a, b, drawn, (1, 3)), y)
        agree(gradient, want, axes="n m", of=f"the gradient, {of}", tol=1e-8)


@part("umap_loss")
def test_loss_where_points_are_close(attempt, draw):
    """Two points 3e-7 apart do not coincide: where b is below ½, theirs is the largest force."""
    rng = numbers(draw)
    n, a, b = 5, 1.6, 0.4
    graph, y = weights_of(rng, n), rng.normal(size=(n, 2))
    y[3] = y[1] + 3e-7 * np.array([0.6, 0.8])
    graph[1, 3] = graph[3, 1] = 0.3
    negatives = np.array([[1, 3], [3, 0], [4, 4], [1, 1], [0, 2]])
    for drawn in (None, negatives):
        loss, gradient = attempt.umap_loss(graph, y, a, b, drawn)
        of = f"umap_loss of 5 points, two 3e-7 apart, b={b}, {'all pairs' if drawn is None else '2 negatives a point'}"
        agree(loss, float(cross_entropy(graph, y, a, b, drawn)), of=f"the loss, {of}", tol=1e-9)
        want = slope(lambda z, drawn=drawn: cross_entropy(graph, z, a, b, drawn), y)
        agree(gradient, want, axes="n m", of=f"the gradient, {of}", tol=1e-6)


@part("umap_loss")
def test_loss_of_another_plot_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    graphs = [one + one.T for one in (np.triu(rng.uniform(size=(7, 7)), 1) for _ in range(2))]
    asked = [(one, rng.normal(size=(7, 2)), 1.5769, 0.8951) for one in graphs]
    hold_again(attempt, reference, "umap_loss", *asked, of="umap_loss of 7 points", views=False, tol=1e-7)


# --- autoencoder_losses -----------------------------------------------------------------------------------------------


def reconstruction(x, w, v, keep):
    c = x - x.mean(axis=0)
    return (((keep * c) @ w @ v - c) ** 2).sum() / (len(x) - 1)


@part("autoencoder_losses")
@pytest.mark.parametrize(("n", "d", "k"), [(7, 5, 3), (2, 3, 1), (5, 2, 4)])
def test_autoencoder(attempt, draw, n, d, k):
    """Both losses compare with the clean points, divided by n - 1; the gradients are theirs."""
    rng = numbers(draw)
    x, w, v = (turned(rng.normal(size=shape)) for shape in ((n, d), (d, k), (k, d)))
    x += 4
    keep = turned((rng.random((n, d)) < 0.6).astype(float))
    keep[0, 0], keep[1, 0] = 0.0, 1.0
    other, _, _ = attempt.autoencoder_losses(x**2, w, v, keep)["plain"]  # other points leave no trace
    agree(other, float(reconstruction(x**2, w, v, 1)), of=f"the plain loss of other points, n={n}, d={d}, k={k}")
    got = attempt.autoencoder_losses(x, w, v, keep)
    c = x - x.mean(axis=0)
    mistakes = {
        "compared with the corrupted points": (((keep * c) @ w @ v - keep * c) ** 2).sum() / (n - 1),
        "only the entries that were kept": (keep * ((keep * c) @ w @ v - c) ** 2).sum() / (n - 1),
        "corrupted before the mean is taken off": ((((keep * x) - x.mean(axis=0)) @ w @ v - c) ** 2).sum() / (n - 1),
        "divided by n": reconstruction(x, w, v, keep) * (n - 1) / n,
    }
    for name, seen in (("plain", np.ones((n, d))), ("denoising", keep)):
        loss, dw, dv = got[name]
        of = f"{name}, n={n}, d={d}, k={k}"
        known = mistakes if name == "denoising" and n == 7 else None
        agree(loss, float(reconstruction(x, w, v, seen)), of=f"the loss, {of}", known=known)
        agree(dw, slope(lambda z, s=seen: reconstruction(x, z, v, s), w), axes="d k", of=f"dw, {of}", tol=1e-9)
        agree(dv, slope(lambda z, s=seen: reconstruction(x, w, z, s), v), axes="k d", of=f"dv, {of}", tol=1e-9)


@part("autoencoder_losses")
def test_autoencoder_at_pca(attempt, draw):
    """At PCA's components the plain loss is the variance that is left out, and its gradient is 0."""
    x, basis = spread_points(numbers(draw), 17, 6, [5.0, 3.0, 2.0, 1.0, 0.5])
    w = turned(basis[:2].T)
    loss, dw, dv = attempt.autoencoder_losses(x, w, w.T, np.ones(x.shape))["plain"]
    agree(loss, 4 + 1 + 0.25, of="the plain loss at two components of variances 25, 9, 4, 1, 1/4", tol=1e-9)
    for name, gradient, shape in (("dw", dw, (6, 2)), ("dv", dv, (2, 6))):
        agree(gradient + 1, np.ones(shape), of=f"{name} there, plus 1", tol=1e-8)


@part("autoencoder_losses")
@pytest.mark.parametrize(("n", "k"), [(5, 3), (1, 2)])
def test_vae_kl(attempt, draw, n, k):
    """½ (mu² + e^log_var - 1 - log_var), the sum over the code, the mean over the points; and its gradients."""
    rng = numbers(draw)
    mu, log_var = (turned(rng.normal(size=(n, k))) for _ in range(2))
    log_var[0, :2] = -9.0, 7.0

    def kl(m, s):
        return (m**2 + np.exp(s) - 1 - s).sum() / (2 * n)

    known = {
        "the sum over the points": kl(mu, log_var) * n,
        "the mean over the code, too": kl(mu, log_var) / k,
        "without ½": 2 * kl(mu, log_var),
        "log_var read as log σ": kl(mu, 2 * log_var),
    }
    got, by_mu, by_log_var = attempt.vae_kl(mu, log_var)
    of = f"n={n}, k={k}"
    agree(got, float(kl(mu, log_var)), of=f"vae_kl, {of}", known=known if n == 5 else None)
    agree(by_mu, slope(lambda z: kl(z, log_var), mu), axes="n k", of=f"the gradient by mu, {of}")
    agree(by_log_var, slope(lambda z: kl(mu, z), log_var), axes="n k", of=f"the gradient by log_var, {of}")
    again, _, _ = attempt.vae_kl(np.zeros((n, k)), np.zeros((n, k)))
    agree(again, 0.0, of=f"vae_kl of the prior itself, {of}")


@part("autoencoder_losses")
def test_losses_of_other_points_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    sizes = (7, 5), (5, 3), (3, 5)
    asked = [(*(rng.normal(size=size) for size in sizes), rng.integers(0, 2, (7, 5)).astype(float)) for _ in range(2)]
    hold_again(attempt, reference, "autoencoder_losses", *asked, of="autoencoder_losses of (7, 5)", views=False)
    asked = [(rng.normal(size=(5, 3)), rng.normal(size=(5, 3))) for _ in range(2)]
    hold_again(attempt, reference, "vae_kl", *asked, of="vae_kl of (5, 3)", views=False)


# --- embedding_report -------------------------------------------------------------------------------------------------


def ranked(points):
    """rank[i][j] of j by its distance from i; the nearest other has 1."""
    square = squares(points)
    found = np.zeros(square.shape, dtype=int)
    for i in range(len(points)):
        for place, j in enumerate(sorted((j for j in range(len(points)) if j != i), key=lambda j: square[i, j])):
            found[i, j] = place + 1
    return found


def intrusion(true, shown, k):
    n = len(true)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and shown[i, j] <= k < true[i, j]]
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * sum(true[i, j] - k for i, j in pairs)


def spearman(x, y):
    """The correlation of ranks; equal distances share the mean of theirs."""
    ranks = []
    for points in (x, y):
        values = squares(points)[np.triu_indices(len(points), 1)]
        ranks.append([(values < one).sum() + (values == one).sum() / 2 for one in values])
    return float(np.corrcoef(ranks)[0, 1])


def procrustes(one, other):
    """1 - (Σ singular values)², these as roots of the eigenvalues of MᵀM."""
    one, other = (shape - shape.mean(axis=0) for shape in (one, other))
    m = one.T @ other / np.sqrt((one**2).sum() * (other**2).sum())
    return 1 - np.sqrt(np.linalg.eigvalsh(m.T @ m).clip(0)).sum() ** 2


@part("embedding_report")
def test_report_by_hand(attempt):
    """0 1 3 7 drawn at 1 0 3 7, k = 1: one wrong neighbour of rank 2, so 1 - 2/16."""
    x, plot = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[1.0], [0.0], [3.0], [7.0]])
    got = attempt.embedding_report(x, plot[None], 1)
    of = "0 1 3 7 drawn at 1 0 3 7, k=1"
    agree(got["trustworthiness"], np.array([0.875]), of=f"the trustworthiness, {of}")
    agree(got["continuity"], np.array([0.875]), of=f"the continuity, {of}")
    agree(got["spread"], 0.0, of=f"the spread of one plot, {of}")


@part("embedding_report")
@pytest.mark.parametrize(("n", "s", "m", "k"), [(17, 3, 2, 4), (12, 2, 3, 5), (7, 1, 2, 3), (11, 5, 4, 2)])
def test_report(attempt, draw, n, s, m, k):
    """Trustworthiness, continuity, correlation of distances, and the spread of the plots."""
    rng = numbers(draw)
    x = turned(rng.normal(size=(n, 4)))
    plots = turned(np.stack([x[:, :m] + (0.3 + t) * rng.normal(size=(n, m)) for t in range(s)]))
    got, of = attempt.embedding_report(x, plots, k), f"n={n}, {s} plots, m={m}, k={k}"
    high, lows = ranked(x), [ranked(plot) for plot in plots]
    trust = np.array([intrusion(high, low, k) for low in lows])
    kept = np.array([intrusion(low, high, k) for low in lows])
    overlap = np.array([((high <= k) & (low <= k) & (low > 0)).sum() / (n * k) for low in lows])
    known = {"continuity": kept, "the share of neighbours that are kept": overlap} if n == 17 else None
    agree(got["trustworthiness"], trust, of=f"the trustworthiness, {of}", known=known)
    agree(got["continuity"], kept, of=f"the continuity, {of}", known={"trustworthiness": trust} if n == 17 else None)
    want = np.array([spearman(x, plot) for plot in plots])
    agree(got["distance_correlation"], want, of=f"the rank correlation of distances, {of}")
    spread = [procrustes(plots[i], plots[j]) for i in range(s) for j in range(i)]
    agree(got["spread"], float(np.mean(spread or [0.0])), of=f"the spread, {of}", tol=1e-7)


@part("embedding_report")
def test_report_of_turned_plots(attempt, draw):
    """A plot turned, mirrored, shifted and scaled is the same plot: spread 0. Equal distances share ranks."""
    rng = numbers(draw)
    plot = rng.normal(size=(11, 2))
    turn, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    plots = np.stack([plot, 3 * plot @ turn + 7, plot * [1.0, -1.0] - 2])
    x = np.concatenate([plot, plot[:, :1] ** 2], axis=1)
    got = attempt.embedding_report(x, plots, 3)
    agree(got["spread"] + 1, 1.0, of="1 + the spread of a plot, one turned and scaled, and one mirrored", tol=1e-9)
    even = np.array([[0.0], [1.0], [2.0], [3.0]])
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    want = np.array([spearman(even, line)])
    of = "the rank correlation of the distances of 0 1 2 3, three and two of them equal, and of 0 1 3 7"
    got = attempt.embedding_report(even, line[None], 1)["distance_correlation"]
    agree(got, want, of=of)
    got = attempt.embedding_report(line, even[None], 1)["distance_correlation"]
    agree(got, want, of=f"{of}, the equal ones in the plot")


@part("embedding_report")
@pytest.mark.parametrize("k", [0, 3, 4])
def test_report_refuses(attempt, draw, k):
    """k is at least 1 and below n/2."""
    rng = numbers(draw)
    with refusal(ValueError, of=f"embedding_report of 6 points, k={k}"):
        attempt.embedding_report(rng.normal(size=(6, 3)), rng.normal(size=(1, 6, 2)), k)


@part("embedding_report")
def test_report_of_other_plots_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    asked = [(rng.normal(size=(17, 4)), rng.normal(size=(3, 17, 2)), 4) for _ in range(2)]
    hold_again(attempt, reference, "embedding_report", *asked, of="embedding_report of 17 points", views=False)


# --- pool_embeddings --------------------------------------------------------------------------------------------------


@part("pool_embeddings")
@pytest.mark.parametrize("how", ["mean", "cls"])
def test_pool(attempt, draw, how):
    """The mean of real tokens, or the first; unit length; padding is not looked at; no tokens give zeros."""
    rng = numbers(draw)
    tokens = turned(rng.normal(size=(5, 4, 3)) + 1)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)
    if how == "mean":
        tokens[1, 3], tokens[4, 1] = np.nan, np.inf
    else:
        tokens[1, 3], tokens[4, 0] = np.nan, 0.0
    tokens[2] *= 1e-6  # short vectors are of unit length afterwards, too
    other = rng.normal(size=tokens.shape)  # other texts of the same size leave no trace
    norms = np.linalg.norm(attempt.pool_embeddings(other, mask | True, how), axis=1)
    agree(norms, np.ones(5), axes="n", of=f"the norms of other texts, 5 of 4 tokens, how={how!r}")
    got = attempt.pool_embeddings(tokens, mask, how)
    want, raw, every = [], [], []
    for text, real in zip(tokens, mask, strict=True):
        chosen = text[0] if how == "cls" else sum(text[real]) / max(1, real.sum()) + np.zeros(3)
        norm = math.sqrt((chosen**2).sum())
        raw.append(chosen)
        every.append(np.where(np.isfinite(text), text, 0).mean(axis=0))
        want.append(chosen / norm if norm else chosen)
    known = {"not of unit length": np.array(raw), "the mean over padding, too": np.array(every)}
    agree(
        got,
        np.array(want),
        axes="n d",
        of=f"pool_embeddings, 5 texts of 4 tokens, how={how!r}",
        known=known if how == "mean" else None,
    )


@part("pool_embeddings")
@pytest.mark.parametrize("how", ["mean", "cls"])
def test_pool_then_pca(attempt, draw, how):
    """With k the scores of the unit vectors, those of padded and empty texts too; another how is refused."""
    rng = numbers(draw)
    tokens = rng.normal(size=(9, 3, 5)) * [5.0, 3.0, 2.0, 1.0, 0.5] + 2
    mask = np.ones((9, 3), dtype=bool)
    mask[:4, 2] = mask[2, 1] = False
    mask[7] = how == "cls"  # under "mean" a text without tokens: zeros
    pooled = tokens[:, 0] if how == "cls" else (tokens * mask[:, :, None]).sum(axis=1)
    tokens[:4, 2] = np.nan
    norms = np.sqrt((pooled**2).sum(axis=1, keepdims=True))
    unit = pooled / np.where(norms > 0, norms, 1.0)
    c = unit - unit.mean(axis=0)
    want = c @ np.linalg.eigh(c.T @ c)[1][:, [-1, -2]]
    got = np.asarray(attempt.pool_embeddings(tokens, mask, how, 2))
    of = f"pool_embeddings, how={how!r}, k=2, up to the sign of each column"
    agree(like(got.T, want.T).T, want, axes="n k", of=of, tol=1e-6)
    for other in ("max", "average", "median"):
        with refusal(ValueError, of=f"pool_embeddings, how={other!r}"):
            attempt.pool_embeddings(tokens, mask, other)


@part("pool_embeddings")
def test_pool_other_texts(attempt, reference, draw):
    """Each call takes its own texts, whatever came before in the same sizes and however they lie in memory."""
    rng = numbers(draw)
    for how in ("mean", "cls"):
        asked = [(rng.normal(size=(5, 4, 3)), rng.random((5, 4)) < 0.7, how) for _ in range(2)]
        hold_again(attempt, reference, "pool_embeddings", *asked, of=f"pool_embeddings of (5, 4, 3), {how}")
