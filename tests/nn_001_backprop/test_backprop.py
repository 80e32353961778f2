"""Hidden checks of nn_001: the oracle is the complex step, f(x + iε).imag / ε, which is exact and takes no graph."""

import math

import numpy as np
import pytest
import torch

from grader.checks import agree, agree_one_of, at_most, part, refusal
from grader.checks.again import hold_again
from grader.checks.numeric import STEP, numbers, slope, turned
from grader.checks.randomness import hold_generator, hold_independent, hold_rate
from grader.checks.repeats import hold_unrepeated

from . import drivers

EXACT = 1e-12
"""Of few operations: what is computed is right to 1e-15, what differences give to 1e-11."""


# --- numeric_gradient -------------------------------------------------------------------------------------------------


def cubic(draw, shape):
    """x, and what makes a function of it whose central differences are known exactly."""
    rng = numbers(draw)
    n = math.prod(shape)
    return turned(rng.normal(size=shape)), rng.normal(size=shape), rng.normal(size=(n, n))


def central(x, cubes, pairs, h):
    return cubes * (3 * x**2 + h**2) + ((pairs + pairs.T) @ x.reshape(-1)).reshape(x.shape)


def numeric_mistakes(x, cubes, pairs, h):
    own = np.diagonal(pairs).reshape(x.shape)
    right = central(x, cubes, pairs, h)
    return {
        "forward differences, (f(x + h) - f(x)) / h": right + cubes * 3 * x * h + own * h,
        "backward differences, (f(x) - f(x - h)) / h": right - cubes * 3 * x * h - own * h,
        "a difference over 2h that is divided by h": 2 * right,
        "another h than the one given": central(x, cubes, pairs, 1e-5),
    }


@part("numeric_gradient")
def test_numeric_gradient_by_hand(attempt):
    """x0³ + x0·x1 at (2, 10) with h = 1/2 has central differences 12.25 + 10 and 2."""
    x, cubes, pairs = np.array([2.0, 10.0]), np.array([1.0, 0.0]), np.array([[0.0, 1.0], [0.0, 0.0]])
    got = attempt.run(drivers.numeric, x, cubes, pairs, {"h": 0.5})
    known = numeric_mistakes(x, cubes, pairs, 0.5)
    of = "numeric_gradient of x0³ + x0·x1 at (2, 10), h = 0.5"
    agree(got["grad"], np.array([22.25, 2.0]), axes="k", of=of, known=known)


@part("numeric_gradient")
@pytest.mark.parametrize("shape", [(5,), (2, 3), (3, 1, 2), (), (0,), (2, 0, 3)], ids=str)
def test_numeric_gradient_of_any_shape(attempt, draw, shape):
    """Differences are central, entry by entry, and f is given arrays of the shape of x."""
    x, cubes, pairs = cubic(draw, shape)
    h = draw.random.uniform(0.2, 0.4)
    got = attempt.run(drivers.numeric, x, cubes, pairs, {"h": h})
    of = f"numeric_gradient of a cubic function at x of shape {shape}, h = {h:.2f}"
    assert not got["strange"], f"{of}: f was called with an array of shape {tuple(got['strange'][0])}"
    known = numeric_mistakes(x, cubes, pairs, h) if x.size > 1 else None
    agree(got["grad"], central(x, cubes, pairs, h), of=of, known=known)


@part("numeric_gradient")
def test_numeric_gradient_by_default(attempt):
    """Without h it is 1e-5: the gradient of x³ at 0 comes out as h². A smaller h is taken as it is."""
    x, cubes, pairs = np.zeros(3), np.array([1.0, -2.0, 5.0]), np.zeros((3, 3))
    for h, options in ((1e-5, {}), (1e-8, {"h": 1e-8})):
        of = f"numeric_gradient of x0³ - 2·x1³ + 5·x2³ at 0, {f'h = {h:g}' if options else 'h not given'}"
        agree(attempt.run(drivers.numeric, x, cubes, pairs, options)["grad"], cubes * h**2, axes="k", of=of)


@part("numeric_gradient")
def test_numeric_gradient_twice(attempt, draw):
    """h is the same wherever x lies, and a gradient stays what it is when another is computed."""
    (near, cubes, pairs), h = cubic(draw, (2, 3)), 0.5
    cases = [(x, cubes, pairs, {"h": h}) for x in (near, 1000 * near)]
    found = attempt.run(drivers.numerics, cases)
    for x, got, said in zip((near, 1000 * near), found, ("", " times 1,000"), strict=True):
        of = f"numeric_gradient of a cubic function at x{said}, h = {h}, the first of two calls and the second"
        agree(got, central(x, cubes, pairs, h), of=of)


@part("numeric_gradient")
@pytest.mark.parametrize("shape", [(7, 11), ()], ids=str)
def test_numeric_gradient_calls(attempt, draw, shape):
    """f is called at most twice for each entry."""
    x, cubes, pairs = cubic(draw, shape)
    got = attempt.run(drivers.numeric, x, cubes, pairs, {"h": 0.1})
    agree(got["grad"], central(x, cubes, pairs, 0.1), of=f"numeric_gradient at x of shape {shape}, h = 0.1")
    at_most(
        got["calls"], 2 * x.size, of=f"calls of f for x of shape {shape}", known={"f(x) again each time": 3 * x.size}
    )


@part("numeric_gradient")
def test_numeric_gradient_elsewhere(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(*cubic(draw, (2, 3)), {"h": 0.3}) for _ in range(2)]
    of = "numeric_gradient at x of shape (2, 3)"
    hold_again(attempt, reference, drivers.numeric_alone, *asked, of=of, views=False)


# --- activation_backward ----------------------------------------------------------------------------------------------


def softmax(z, axis=-1):
    p = np.exp(z - z.real.max(axis=axis, keepdims=True))
    return p / p.sum(axis=axis, keepdims=True)


ACTIVATIONS = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "softmax": softmax,
}


def activation_mistakes(kind, z, dout):
    act = ACTIVATIONS[kind]
    out, right = act(z), slope(lambda one: (act(one) * dout).sum(), z)
    s = 1 / (1 + np.exp(-z))
    found = {"the activation in place of its derivative": out * dout}
    if kind != "softmax":
        found["the derivative alone, without dout"] = slope(lambda one: act(one).sum(), z)
    if kind in ("sigmoid", "tanh"):
        taken = {"sigmoid": lambda a: a * (1 - a), "tanh": lambda a: 1 - a**2}[kind]
        found["the derivative's formula with z where the output belongs"] = dout * taken(z)
    if kind == "leaky":
        found["relu, without the slope"] = np.where(z > 0, dout, 0)
        found["dout times the output"] = np.where(z > 0, dout, 0.01 * dout * z)
    if kind == "silu":
        found["σ(z) alone: the path through σ is missing"] = dout * s
        found["z·σ(1 - σ) alone: the path through z is missing"] = dout * z * s * (1 - s)
    if kind == "softmax":
        found["the diagonal p(1 - p) alone"] = dout * out * (1 - out)
        found["the sum over the first axis"] = out * (dout - (out * dout).sum(axis=0, keepdims=True))
        found["the sum over all axes"] = out * (dout - (out * dout).sum())
        found["dout's mean in place of its mean under p"] = out * (dout - dout.mean(axis=-1, keepdims=True))
    return {name: value for name, value in found.items() if not np.allclose(value, right)}


@part("activation_backward")
def test_activations_by_hand(attempt):
    """At z = ln 3 the sigmoid is 3/4: its gradient is dout · 3/16."""
    z, dout = np.array([math.log(3), -math.log(3)]), np.array([16.0, 32.0])
    want = {
        "sigmoid": np.array([3.0, 6.0]),
        "tanh": np.array([0.36 * 16, 0.36 * 32]),
        "relu": np.array([16.0, 0.0]),
        "leaky": np.array([16.0, 0.32]),
        "silu": np.array([12 + 3 * math.log(3), 8 - 6 * math.log(3)]),
        "softmax": np.array([0.09 * -16, 0.09 * 16]),
    }
    for kind, value in want.items():
        of = f"activation_backward of {kind} at z = (ln 3, -ln 3), dout = (16, 32)"
        known = activation_mistakes(kind, z, dout)
        agree(attempt.activation_backward(kind, z, dout), value, axes="d", of=of, known=known)


@part("activation_backward")
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_of_any_shape(attempt, draw, kind):
    """The gradient by z is that of sum(activation · dout): vectors, matrices, more axes, no rows at all."""
    rng = numbers(draw)
    shapes = [
        (3, 5),
        (7,),
        (2, 3, 4),
        (1, 2),
        (2, 1, 2, 3),
        (0, 4),
        (7,),
    ]  # (7,) comes twice: no answer is that of an earlier call
    cases = [(kind, turned(rng.normal(size=s, scale=2.0)), turned(rng.normal(size=s))) for s in shapes]
    found = attempt.run(drivers.in_turn, "activation_backward", cases)
    for shape, (_, z, dout), got in zip(shapes, cases, found, strict=True):
        want = slope(lambda one, dout=dout: (ACTIVATIONS[kind](one) * dout).sum(), z)
        known = activation_mistakes(kind, z, dout) if shape == (3, 5) else None
        agree(got, want, of=f"activation_backward of {kind}, z of shape {shape}", tol=EXACT, known=known)


@part("activation_backward")
@pytest.mark.parametrize(("kind", "share"), [("relu", 0.0), ("leaky", 0.01)])
def test_activations_at_zero(attempt, kind, share):
    """At 0 the derivative of relu is 0, that of leaky its slope."""
    z, dout = np.array([0.0, -0.0, 1e-12]), np.array([2.0, 5.0, 7.0])
    of = f"activation_backward of {kind} at z = (0, -0, 1e-12), dout = (2, 5, 7)"
    known = {"the derivative 1 at 0": dout, "the derivative 1/2 at 0": np.array([1.0, 2.5, 7.0])}
    agree(
        attempt.activation_backward(kind, z, dout), np.array([2 * share, 5 * share, 7.0]), axes="d", of=of, known=known
    )


@part("activation_backward")
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_activations_far_out(attempt, size):
    """At |z| of thousands nothing overflows: each derivative is what it tends to."""
    z, dout = np.array([[size, -size, size]]), np.array([[3.0, 5.0, 7.0]])
    want = {
        "sigmoid": [0, 0, 0],
        "tanh": [0, 0, 0],
        "relu": [3, 0, 7],
        "leaky": [3, 0.05, 7],
        "silu": [3, 0, 7],
        "softmax": [-1, 0, 1],
    }
    for kind, value in want.items():
        of = f"activation_backward of {kind} at z = ({size:g}, -{size:g}, {size:g}), dout = (3, 5, 7)"
        agree(attempt.activation_backward(kind, z, dout), np.array([value], dtype=float), axes="n d", of=of)
    z, dout = np.array([[size, size], [-size, -size], [0.0, 0.0]]), np.array([[4.0, 8.0]] * 3)
    of = f"activation_backward of softmax at rows of {size:g}, of -{size:g} and of 0, dout = (4, 8) each"
    agree(attempt.activation_backward("softmax", z, dout), np.array([[-1.0, 1.0]] * 3), axes="n d", of=of)


@part("activation_backward")
def test_softmax_without_its_jacobian(attempt, draw):
    """The Jacobian's rows of d = 600,000 would take minutes: a few arrays of d entries do."""
    rng, d = numbers(draw), 600_000
    z, dout = rng.normal(size=d, scale=2.0), rng.normal(size=d)
    got, cost = attempt.cost("activation_backward", "softmax", z, dout)
    p = softmax(z)
    of = f"activation_backward of softmax, z of {d:,} entries"
    agree(got, p * (dout - p @ dout), axes="d", of=of)
    at_most(cost.peak, 12 * 8 * d, of=f"bytes at once, {of}", known={"the Jacobian": 8 * d**2})


@part("activation_backward")
def test_activations_without_a_matrix(attempt, draw):
    """No activation needs a (d, d) matrix, be it of one vector or of each row: a few arrays of the size of z do."""
    rng, shape = numbers(draw), (3, 2, 1009)
    z, dout = rng.normal(size=shape, scale=2.0), rng.normal(size=shape)
    for kind, act in ACTIVATIONS.items():
        got, cost = attempt.cost("activation_backward", kind, z, dout)
        of = f"activation_backward of {kind}, z of shape {shape}"
        if kind == "softmax":
            p = softmax(z)
            want = p * (dout - (p * dout).sum(axis=-1, keepdims=True))
        else:
            want = dout * act(z + 1j * STEP).imag / STEP
        agree(got, want, of=of)
        at_most(cost.peak, 12 * 8 * z.size, of=f"bytes at once, {of}", known={"a (d, d) matrix": 8 * shape[-1] ** 2})


@part("activation_backward")
def test_activation_that_there_is_not(attempt):
    """Another kind is a ValueError."""
    for kind in ("softplus", "gelu", "tanhshrink", "relu6", "leaky_relu", "sig", "Tanh", ""):
        with refusal(ValueError, of=f"activation_backward of {kind!r}"):
            attempt.activation_backward(kind, np.ones(3), np.ones(3))


# --- linear_backward --------------------------------------------------------------------------------------------------

LETTERS = ("x", "w", "b")


def linear_mistakes(x, w, dout):
    rows, upstream = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
    dx, dw, db = dout @ w.T, rows.T @ upstream, upstream.sum(axis=0)
    n = len(rows)
    found = {
        "the mean over the examples in dw and db": (dx, dw / n, db / n),
        "the mean over the examples in db": (dx, dw, db / n),
        "db of the last example alone": (dx, dw, upstream[-1]),
        "dw of the last example alone": (dx, np.outer(rows[-1], upstream[-1]), db),
    }
    if w.shape[0] == w.shape[1]:
        found["w where its transpose belongs"] = (dout @ w, dw, db)
        found["dw transposed"] = (dx, dw.T, db)
    return found


def hold_linear(got, want, of, known=None):
    assert isinstance(got, tuple | list), f"{of} returned no (dx, dw, db)"
    agree(tuple(got), want, of=f"{of}: (dx, dw, db)", tol=EXACT, known=known)


@part("linear_backward")
def test_linear_by_hand(attempt):
    """x = (2, 3), w = (4, 5): with dout = 10, dx = (40, 50), dw = (20, 30), db = 10."""
    x, w, dout = np.array([[2.0, 3.0]]), np.array([[4.0], [5.0]]), np.array([[10.0]])
    want = np.array([[40.0, 50.0]]), np.array([[20.0], [30.0]]), np.array([10.0])
    hold_linear(attempt.linear_backward(x, w, dout), want, "linear_backward of x (1, 2), w (2, 1)")


@part("linear_backward")
@pytest.mark.parametrize(
    ("before", "i", "o"),
    [
        ((5,), 3, 2),
        ((7,), 3, 3),
        ((2, 3), 4, 5),
        ((), 3, 2),
        ((2, 1, 3), 1, 4),
        ((2, 1, 2, 2), 3, 2),
        ((0,), 3, 2),
        ((2, 0), 2, 5),
    ],
    ids=str,
)
def test_linear_of_any_shape(attempt, draw, before, i, o):
    """dx, dw and db are the gradients of sum((x·w + b) · dout), summed over everything before the last axis."""
    rng, cases, wants = numbers(draw), [], []
    for _ in range(2):
        x, w = turned(rng.normal(size=(*before, i))), turned(rng.normal(size=(i, o)))
        dout = turned(rng.normal(size=(*before, o)))
        cases.append((x, w, dout))
        by_x = slope(lambda one, w=w, dout=dout: ((one @ w) * dout).sum(), x)
        by_w = slope(lambda one, x=x, dout=dout: ((x @ one) * dout).sum(), w)
        wants.append((by_x, by_w, dout.reshape(-1, o).sum(axis=0)))
    known = linear_mistakes(*cases[0]) if before == (7,) else None
    of = f"linear_backward of x {(*before, i)}, w {(i, o)}"
    first, second = attempt.run(drivers.in_turn, "linear_backward", cases)
    hold_linear(first, wants[0], of, known)
    hold_linear(second, wants[1], f"{of}, other numbers than in the call before")


# --- dropout ----------------------------------------------------------------------------------------------------------


@part("dropout")
@pytest.mark.parametrize("p", [0.0, 0.25, 0.75])
def test_dropout_scales_what_it_keeps(attempt, draw, p):
    """While training each entry of mask is 0 or 1/(1 - p), and out is x · mask."""
    x = turned(numbers(draw).normal(size=(40, 25)))
    x[:7] = 0.0  # a mask is no property of out: where x is 0, out does not tell it
    out, mask = attempt.run(drivers.dropped, x, p, draw.random.getrandbits(32))
    of = f"dropout of x (40, 25), of which seven rows are 0, p = {p}"
    assert isinstance(mask, np.ndarray), f"{of}: the mask is {type(mask).__name__}, not an array"
    agree(mask.shape, x.shape, of=f"the shape of the mask, {of}")
    kept = mask != 0
    assert p == 0 or kept[:7].any(), f"{of}: where x is 0 the mask is 0 everywhere"
    known = {"1 where an entry is kept (not scaled)": kept * 1.0, "1 - p where it is kept": kept * (1 - p)}
    known |= {"1/p where it is kept": kept / p} if p else {}
    agree(mask, kept / (1 - p), axes="n d", of=f"the mask of {of}", known=known if p else None)
    agree(out, x * mask, axes="n d", of=f"out of {of}")
    if p == 0:
        agree(out, x, axes="n d", of=f"out of {of}")


@part("dropout")
@pytest.mark.parametrize(("p", "shape", "calls"), [(0.3, (3, 4), 4000), (0.75, (3000, 2, 5, 2), 1)])
def test_dropout_drops_independently(attempt, draw, p, shape, calls):
    """Each entry is dropped by itself with probability p, in one call and over many."""
    got = attempt.run(drivers.masks, shape, p, draw.random.getrandbits(32), calls)
    of = f"dropout of x {shape} with p = {p}, {calls} calls"
    agree(got.shape, (calls, *shape), of=f"the shapes of the masks, {of}")
    dropped = got.reshape(calls if calls > 1 else shape[0], -1) == 0
    hold_independent(torch.from_numpy(dropped), p, f"{of}: dropped", lambda k: f"entry {k}")
    hold_rate(int(dropped.sum()), dropped.size, p, f"{of}: dropped")
    rare, many = 0.00005, 2_999_999  # of chance in 10,000 levels nothing that is dropped is left, or twice as much
    got = attempt.run(drivers.masks, (many,), rare, draw.random.getrandbits(32), 1)
    hold_rate(int((got == 0).sum()), many, rare, f"dropout of x ({many},) with p = {rare:g}: dropped")


@part("dropout")
@pytest.mark.parametrize(("p", "shape"), [(0.3, (2053, 97)), (0.5, (70_001,)), (0.7, (3, 5, 9001))], ids=str)
def test_dropout_repeats_nothing(attempt, draw, p, shape):
    """Each entry of a large batch is drawn by itself: no row comes again, and no stretch of entries."""
    got = attempt.run(drivers.masks, shape, p, draw.random.getrandbits(32), 1)
    of = f"dropout of x {shape} with p = {p}"
    agree(got.shape, (1, *shape), of=f"the shape of the mask, {of}")
    hold_unrepeated(torch.from_numpy(got[0] == 0), p, f"the mask of {of}")


@part("dropout")
def test_dropout_draws_from_its_generator(attempt, draw):
    """All random numbers come from rng, which is used up: not copied, not seeded anew, nothing global."""
    x, seed, of = np.ones((17, 23)), draw.random.getrandbits(32), "dropout of x (17, 23)"
    hold_generator(attempt, drivers.mask, x, 0.5, seed=seed, of=f"the mask of {of}", parameter="rng")
    used = attempt.run(drivers.idle, x, 0.5, seed)
    assert used is False, f"{of} with training=False drew from rng: there is nothing to draw"


@part("dropout")
@pytest.mark.parametrize("p", [0.0, 0.6])
def test_dropout_in_evaluation(attempt, draw, p):
    """In evaluation x comes back, the mask is 1 everywhere, and no generator is needed."""
    x = numbers(draw).normal(size=(3, 5))
    x[0, :2] = 0.0
    out, mask = attempt.run(drivers.dropped, x, p, None, training=False)
    of = f"dropout of x (3, 5) with p = {p}, training=False, rng=None"
    agree(out, x, axes="n d", of=f"out of {of}", known={"x · (1 - p)": x * (1 - p)} if p else None)
    agree(mask, np.ones((3, 5)), axes="n d", of=f"the mask of {of}")


@part("dropout")
@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, -1e-12, math.nan])
def test_dropout_refuses(attempt, p):
    """p is a probability below 1, however near."""
    x, near = np.ones(4), 1 - 1e-9
    out, mask = attempt.run(drivers.dropped, x, near, 1)
    agree(out, (mask != 0) / (1 - near), axes="d", of="out of dropout of x (4,) with p = 1 - 1e-9")
    for training in (True, False):
        with refusal(ValueError, of=f"dropout with p = {p}, training={training}"):
            attempt.run(drivers.dropped, np.ones(4), p, 1, training=training)


@part("dropout")
def test_dropout_backward(attempt, draw):
    """The gradient passes through the mask of the forward pass, whatever is in it."""
    rng = numbers(draw)
    cases = []
    for shape in ((3, 5), (7,), (7,), (2, 1, 3)):
        dout, mask = rng.normal(size=shape), rng.choice([0.0, 4.0, 1.25], size=shape)
        mask.flat[:3] = 0.0, 4.0, 1.25
        cases.append((dout, mask))
    for (dout, mask), got in zip(cases, attempt.run(drivers.in_turn, "dropout_backward", cases), strict=True):
        known = {
            "dout where it is kept, not scaled": dout * (mask > 0),
            "the scale twice": dout * mask**2,
            "dout": dout,
            "the mask": mask,
        }
        agree(got, dout * mask, of=f"dropout_backward of dout {dout.shape} and a mask of 0, 4 and 1.25", known=known)


@part("dropout")
def test_dropout_backward_of_other_gradients(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    asked = [(rng.normal(size=(3, 5)), rng.uniform(size=(3, 5))) for _ in range(2)]
    hold_again(attempt, reference, "dropout_backward", *asked, of="dropout_backward of (3, 5)", views=False)


# --- mlp_gradients ----------------------------------------------------------------------------------------------------


def mlp_loss(params, x, y):
    a = x @ params["w1"] + params["b1"]
    z = np.where(a.real > 0, a, 0) @ params["w2"] + params["b2"]
    z = z - z.real.max(axis=1, keepdims=True)
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean()


def mlp_slopes(params, x, y):
    return {
        name: slope(lambda one, name=name: mlp_loss({**params, name: one}, x, y), value)
        for name, value in params.items()
    }


def network(draw, n, i, h, o, scale=1.0):
    rng = numbers(draw)
    shapes = {"w1": (i, h), "b1": (h,), "w2": (h, o), "b2": (o,)}
    params = {name: turned(scale * rng.normal(size=shape)) for name, shape in shapes.items()}
    return params, turned(rng.normal(size=(n, i))), rng.integers(0, o, size=n)


def mlp_mistakes(params, x, y):
    """The gradients with one slip each."""
    n = len(x)
    a = x @ params["w1"] + params["b1"]
    r = np.maximum(a, 0)
    p = softmax(r @ params["w2"] + params["b2"])
    hot = np.eye(p.shape[1])[y]

    def back(dz, gate=a > 0, through=lambda dr, gate: dr * gate):
        da = through(dz @ params["w2"].T, gate)
        return {"w1": x.T @ da, "b1": da.sum(axis=0), "w2": r.T @ dz, "b2": dz.sum(axis=0)}

    right = back((p - hot) / n)
    return {
        "the sum over the examples, without the mean": back(p - hot),
        "the mean over examples and classes": back((p - hot) / p.size),
        "relu's gate left out": back((p - hot) / n, gate=1.0),
        "the softmax without the 1 of the right class": back(p / n),
        "the sign of all": back((hot - p) / n),
        "the derivative of softmax taken once more": back(p * (p - hot) * (1 - p) / n),
        "biases by the mean of their gradients": {**right, "b1": right["b1"] / n, "b2": right["b2"] / n},
        "da where dz belongs in w2": {**right, "w2": np.maximum(r, 1).T @ ((p - hot) / n)},
    }


def hold_mlp(got, want, of, known=None):
    loss, grads = got
    agree(
        loss,
        float(want[0]),
        of=f"the loss of {of}",
        known={"the sum over the examples": known["sum"]} if known else None,
    )
    agree(grads, want[1], of=f"the gradients of {of}", known=known["grads"] if known else None)


@part("mlp_gradients")
def test_mlp_by_hand(attempt):
    """Where the hidden units are off the logits are b2: p = (1/4, 3/4), and only b2 gets a gradient."""
    params = {"w1": np.eye(2), "b1": np.zeros(2), "w2": np.eye(2), "b2": np.array([0.0, math.log(3)])}
    zeros = np.zeros((2, 2))
    want = {"w1": zeros, "b1": np.zeros(2), "w2": zeros, "b2": np.array([0.25, -0.25])}
    got = attempt.mlp_gradients(params, np.array([[-1.0, 0.0]]), np.array([1]))
    hold_mlp(got, (math.log(4 / 3), want), "a network whose hidden units are at -1 and exactly 0 (relu'(0) = 0)")


@part("mlp_gradients")
@pytest.mark.parametrize("sizes", [(5, 3, 4, 2), (1, 2, 7, 3), (7, 5, 3, 11), (4, 1, 2, 1), (3, 2, 1, 5)], ids=str)
def test_mlp_gradients(attempt, draw, sizes):
    """Loss and gradients are those of the mean cross-entropy of a batch."""
    cases = [network(draw, *sizes) for _ in range(2)]
    of = "a network with n={}, i={}, h={}, o={}".format(*sizes)
    found = attempt.run(drivers.in_turn, "mlp_gradients", cases)
    for case, got, other in zip(cases, found, ("", ", other numbers than in the call before"), strict=True):
        loss, known = mlp_loss(*case), None
        if sizes == (5, 3, 4, 2) and not other:
            known = {"sum": loss * sizes[0], "grads": mlp_mistakes(*case)}
        hold_mlp(got, (loss, mlp_slopes(*case)), of + other, known)


@part("mlp_gradients")
def test_mlp_with_large_logits(attempt, draw):
    """Logits of thousands overflow nothing: loss and gradients stay right."""
    params, x, y = network(draw, 6, 3, 5, 4, scale=60.0)
    want = mlp_loss(params, x, y), mlp_slopes(params, x, y)
    hold_mlp(attempt.mlp_gradients(params, x, y), want, "a network with logits of thousands, n=6, i=3, h=5, o=4")


@part("mlp_gradients")
def test_mlp_of_many_parameters(attempt, draw):
    """64,503 parameters at n = 300: one pass back, where differences take 64,503 passes forward."""
    sizes = n, i, h, o = 300, 203, 300, 11
    params, x, y = network(draw, *sizes, scale=0.1)
    loss, grads = attempt.mlp_gradients(params, x, y)
    of = f"a network with n={n}, i={i}, h={h}, o={o}"
    agree(loss, float(mlp_loss(params, x, y)), of=f"the loss of {of}")
    rng = numbers(draw)
    for name, value in params.items():
        way = rng.normal(size=value.shape)
        moved = {**params, name: value + 1j * STEP * way}
        agree(np.shape(grads[name]), value.shape, of=f"the shape of the gradient by {name} of {of}")
        along = float(mlp_loss(moved, x, y).imag / STEP)
        agree(
            float((grads[name] * way).sum()),
            along,
            of=f"the gradient by {name} along a random direction, {of}",
            tol=1e-7,
        )


# --- programs: the same steps for an engine and for the oracle --------------------------------------------------------


def power(a, b):
    """a ** b and what it does to a small imaginary part, where a may be 0 or below if b is constant."""
    a, b = np.asarray(a), np.asarray(b)
    out = a.real**b.real
    with np.errstate(all="ignore"):
        by_a = np.where(b.real == 0, 0.0, b.real * a.real ** np.where(b.real == 0, 1.0, b.real - 1))
        by_b = np.where(np.broadcast_to(b.imag, out.shape) == 0, 0.0, out * np.log(np.abs(a.real)))
    return out + 1j * (by_a * a.imag + by_b * b.imag)


def largest(x, axis=None, keepdims=False):
    """max; of equally large ones the first."""
    flat = x.reshape(-1) if axis is None else x
    at = np.expand_dims(flat.real.argmax(axis=0 if axis is None else axis), 0 if axis is None else axis)
    found = np.take_along_axis(flat, at, axis=0 if axis is None else axis)
    if axis is None:
        return found.reshape((1,) * x.ndim if keepdims else ())
    return found if keepdims else found.squeeze(axis)


FUNCTIONS = {
    "neg": lambda a: -a,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": power,
    "@": lambda a, b: a @ b,
    "+=": lambda a, b: a + b,
    "*=": lambda a, b: a * b,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "relu": lambda a: np.where(a.real > 0, a, 0),
    "sum": np.sum,
    "reshape": lambda a, *shape: a.reshape(shape),
    "take": lambda a, indices, axis=0: np.take(a, indices, axis=axis),
    "max": largest,
}


def step(name, *operands, arguments=(), **options):
    """A step of a program; constants stand in a list."""
    return (name, list(operands), list(arguments), options)


def evaluated(leaves, program, nudge=None):
    """The value of each node; nudge: (node, place) whose entry gets a small imaginary part."""
    nodes = []
    for i, made in enumerate([*leaves, *program]):
        if i >= len(leaves):
            name, operands, arguments, options = made
            given = [nodes[one] if isinstance(one, int) else np.asarray(one[0]) for one in operands]
            made = FUNCTIONS[name](*given, *arguments, **options)
        node = np.array(made, dtype=complex)
        if nudge and nudge[0] == i:
            node[nudge[1]] += 1j * STEP
        nodes.append(node)
    return nodes


def slopes(leaves, program, root=-1, upstream=1.0):
    """The gradient of sum(root · upstream) by every node."""
    nodes = evaluated(leaves, program)
    root %= len(nodes)
    found = []
    for i, node in enumerate(nodes):
        grad = np.zeros(node.shape)
        for place in np.ndindex(node.shape) if i <= root else ():
            grad[place] = (evaluated(leaves, program, (i, place))[root] * upstream).imag.sum() / STEP
        found.append(grad)
    return found


def listed(nodes):
    return [float(np.real(node)) for node in nodes]


def local_slopes(leaves, program):
    """For each node that a step makes: pairs (number of an operand, the derivative by it), all else held."""
    nodes = evaluated(leaves, program)
    found = {}
    for i, (name, operands, _, _) in enumerate(program, len(leaves)):
        given = [nodes[one] if isinstance(one, int) else np.asarray(one[0]) for one in operands]
        found[i] = []
        for k, one in enumerate(operands):
            if isinstance(one, int):
                moved = [value + (1j * STEP if j == k else 0) for j, value in enumerate(given)]
                found[i].append((one, float(FUNCTIONS[name](*moved).imag / STEP)))
    return found


def mistaken(leaves, program, how):
    """The gradients of all nodes by a backward pass with a slip."""
    local, last = local_slopes(leaves, program), len(leaves) + len(program) - 1
    grads = [0.0] * (last + 1)
    grads[last] = 1.0
    order = list(range(last, -1, -1))
    if how == "preorder":
        order, seen, path = [], set(), [last]
        while path:
            one = path.pop()
            if one not in seen:
                seen.add(one)
                order.append(one)
                path += [parent for parent, _ in reversed(local.get(one, []))]
    for i in order:
        for parent, by in local.get(i, []):
            grads[parent] = by * grads[i] + (0.0 if how == "assign" else grads[parent])
    return grads


def graph_mistakes(leaves, program):
    right = listed(slopes(leaves, program))
    found = {
        "the last path alone, with = for +=,": mistaken(leaves, program, "assign"),
        "a node that hands on its gradient before it is complete": mistaken(leaves, program, "preorder"),
    }
    made = {name: np.array(grads[: len(leaves)]) for name, grads in found.items()}
    return {name: grads for name, grads in made.items() if not np.allclose(grads, right[: len(leaves)])}


def shown(leaves):
    return "(" + ", ".join(f"{leaf:g}" for leaf in leaves) + ")"


def hold_graph(attempt, leaves, program, of, known=None, tol=None):
    """Hold the values of all nodes, and their gradients after one backward of the last."""
    got = attempt.run(drivers.values, leaves, program)
    agree(np.array(got["data"]), np.array(listed(evaluated(leaves, program))), axes="node", of=f"the values of {of}")
    count, want, found = len(leaves), np.array(listed(slopes(leaves, program))), np.array(got["grads"][0])
    of_leaves = f"the gradients of the leaves of {of}, leaves {shown(leaves)}"
    agree(found[:count], want[:count], axes="leaf", of=of_leaves, tol=tol, known=known)
    agree(found[count:], want[count:], axes="node", of=f"the gradients of the other nodes of {of}", tol=tol)


def random_graph(draw, leaves, steps):
    """A program whose values stay between -6 and 6; nodes are used again and again."""
    program, pick = [], draw.random
    while len(program) < steps:
        last = len(leaves) + len(program) - 1
        a, b = (
            pick.randint(max(0, last - 5), last) if pick.random() < 0.7 else pick.randint(0, last) for _ in range(2)
        )
        constant = [round(pick.uniform(-2, 2), 2)]
        one = pick.choice(
            [
                step("+", a, b),
                step("-", a, b),
                step("*", a, b),
                step("/", a, b),
                step("**", a, b),
                step("+", a, constant),
                step("-", constant, a),
                step("*", constant, a),
                step("/", constant, a),
                step("**", a, [pick.choice([2, 3, -1, 0.5, 2.0])]),
                step("**", [1.5], a),
                step("neg", a),
                step("exp", a),
                step("log", a),
                step("tanh", a),
                step("relu", a),
            ]
        )
        values = [float(node.real) for node in evaluated(leaves, program)]
        base = values[a] if isinstance(one[1][0], int) else 1.5
        exponent = one[1][1] if one[0] == "**" else None
        if one[0] == "log" and base < 0.2:
            continue
        if one[0] == "/" and abs(values[one[1][1]]) < 0.3:
            continue
        if one[0] == "**" and (base < 0.2 if isinstance(exponent, int) or exponent[0] in (0.5, -1) else base == 0):
            continue
        made = float(evaluated(leaves, [*program, one])[-1].real)
        if abs(made) <= 6:
            program.append(one)
    return program


def joined_graph(draw):
    """Leaves and a program all of whose nodes have a part in the last, and whose gradients do not cancel."""
    while True:
        leaves = [draw.random.uniform(0.4, 2.0) for _ in range(3)]
        program = random_graph(draw, leaves, 25)
        last = len(leaves) + len(program) - 1
        used = {one for _, operands, _, _ in program for one in operands if isinstance(one, int)}
        for one in set(range(last)) - used:
            program += [step("tanh", one), step("+", last, last + 1)]
            last += 2
        if max(np.abs(listed(slopes(leaves, program)[:3]))) > 0.01:
            return leaves, program


# --- Value ------------------------------------------------------------------------------------------------------------

X, Y, Z = 0, 1, 2


@part("Value")
def test_value_computes(attempt):
    """Operations of Values and numbers, on either side, give new Values and change none."""
    leaves = [3.0, -2.0]
    program = [
        step("+", X, Y), step("-", X, Y), step("*", X, Y), step("/", X, Y), step("neg", X), step("**", X, [2]),
        step("+", X, [1]), step("+", [1], X), step("-", X, [1]), step("-", [1], X), step("*", X, [4]),
        step("*", [4], X),
        step("/", X, [4]), step("/", [4], X), step("**", [2], X), step("**", X, Y), step("exp", Y), step("log", X),
        step("tanh", Y), step("relu", X), step("relu", Y), step("+=", X, [1]), step("*=", X, Y),
        step("+", X, [0]), step("+", [0], X), step("*", X, [1]), step("/", X, [1]), step("**", X, [1]),
    ]  # fmt: skip
    got = attempt.run(drivers.untouched, leaves, program)
    names = ["x", "y", *(f"step {i}" for i in range(len(program)))]
    asked = [
        f"{name}{tuple('xy'[o] if isinstance(o, int) else o[0] for o in operands)}" for name, operands, _, _ in program
    ]
    names[2:] = asked
    want = dict(zip(names, listed(evaluated(leaves, program)), strict=True))
    agree(dict(zip(names, got["data"], strict=True)), want, of="operations at x = 3, y = -2")
    for name, kind, new, grad in zip(names, got["kind"], got["new"], got["grads"], strict=True):
        assert kind, f"{name} is not a Value"
        assert new, f"{name} gave back one of the Values that it was made of, not a new one"
        agree(grad, 0.0, of=f"grad of {name} before any backward")


@part("Value")
def test_value_by_hand(attempt):
    """(x + y)·z at (-2, 5, -4) has the gradients -4, -4, 3."""
    leaves, program = [-2.0, 5.0, -4.0], [step("+", X, Y), step("*", 3, Z)]
    got = attempt.run(drivers.values, leaves, program)
    agree(got["data"], [-2.0, 5.0, -4.0, 3.0, -12.0], of="x, y, z, x + y and (x + y)·z")
    agree(got["grads"][0], [-4.0, -4.0, 3.0, -4.0, 1.0], of="the gradients of (x + y)·z by x, y, z, x + y and itself")


SINGLE = {
    "x + y": [step("+", X, Y)],
    "x - y": [step("-", X, Y)],
    "x · y": [step("*", X, Y)],
    "x / y": [step("/", X, Y)],
    "x ** y": [step("**", X, Y)],
    "-x": [step("neg", X)],
    "x - 2": [step("-", X, [2])],
    "2 - x": [step("-", [2], X)],
    "3 · x": [step("*", [3], X)],
    "x / 4": [step("/", X, [4])],
    "4 / x": [step("/", [4], X)],
    "x ** 3": [step("**", X, [3])],
    "x ** -1.5": [step("**", X, [-1.5])],
    "2 ** x": [step("**", [2], X)],
    "exp(x)": [step("exp", X)],
    "log(x)": [step("log", X)],
    "tanh(x)": [step("tanh", X)],
    "relu(x)": [step("relu", X)],
    "relu(-x)": [step("neg", X), step("relu", 2)],
}


def moved_by_one(one):
    """A step where there is a third leaf: nodes that steps make come one later."""
    name, operands, arguments, options = one
    later = [o + 1 if isinstance(o, int) and o > 1 else o for o in operands]
    return name, later, arguments, options


@part("Value")
@pytest.mark.parametrize("name", SINGLE)
def test_value_operations(attempt, draw, name):
    """Each operation passes the gradient on by its derivative, also times what comes from above."""
    for x, y in ((1.75, 0.6), (draw.random.uniform(0.3, 2.5), draw.random.uniform(0.3, 2.5))):
        hold_graph(attempt, [x, y], SINGLE[name], name, tol=EXACT)
        moved = [moved_by_one(one) for one in SINGLE[name]]
        last = 2 + len(moved)
        hold_graph(attempt, [x, y, -1.25], [*moved, step("*", last, Z)], f"({name}) · z", tol=EXACT)


FORKS = {
    "x + x": [step("+", X, X)],
    "x · x": [step("*", X, X)],
    "x ** x": [step("**", X, X)],
    "x - x": [step("-", X, X)],
    "x·x + x": [step("*", X, X), step("+", 2, X)],
    "u·(u + y), u = x·y": [step("*", X, Y), step("+", 2, Y), step("*", 2, 3)],
    "u·x + v, u = x·y, v = x·y": [step("*", X, Y), step("*", X, Y), step("*", 2, X), step("+", 4, 3)],
    "a·b, a = exp(y), b = a·x": [step("exp", Y), step("*", 2, X), step("*", 2, 3)],
    "u + tanh(u·v), u = x·y, v = u + x": [
        step("*", X, Y), step("+", 2, X), step("*", 2, 3), step("tanh", 4), step("+", 2, 5),
    ],
}  # fmt: skip


@part("Value")
@pytest.mark.parametrize("name", FORKS)
def test_value_adds_at_forks(attempt, name):
    """Where a Value is used more than once, its gradients add up, and only the whole sum is handed on."""
    for leaves in ([1.5, 0.4], [0.7, 0.7]):
        known = graph_mistakes(leaves, FORKS[name]) if leaves[0] != leaves[1] else None
        hold_graph(attempt, leaves, FORKS[name], name, known)


@part("Value")
@pytest.mark.parametrize("x", [-3.0, 0.0])
def test_value_powers_of_any_base(attempt, x):
    """A constant exponent takes bases of 0 and below; x ** 0 has derivative 0."""
    exponents = [0, 0.0, 1, 2, 2.0, 3] + ([-1, -2] if x else [])
    want = [exponent * x ** (exponent - 1) if exponent else 0.0 for exponent in exponents]
    rows = [([x], [step("**", X, [exponent])]) for exponent in exponents]
    for exponent, slope_, got in zip(exponents, want, attempt.each(drivers.values, rows), strict=True):
        agree(got["data"][1], x**exponent, of=f"{x:g} ** {exponent}")
        agree(got["grads"][0][0], float(slope_), of=f"the derivative of x ** {exponent} at {x:g}")


AT_ZERO = ("x + y", "x - y", "x · y", "x ** y")


@part("Value")
def test_value_at_zero(attempt):
    """A Value that is 0 is no constant: x + 0, x · 0 and x ** 0 have derivatives by it, too."""
    for name in AT_ZERO:
        hold_graph(attempt, [1.75, 0.0], SINGLE[name], f"{name} at y = 0", tol=EXACT)


FAR_OUT = {
    ("exp", 30.0): (math.exp(30), math.exp(30)),
    ("exp", -30.0): (math.exp(-30), math.exp(-30)),
    ("log", 1e-9): (math.log(1e-9), 1e9),
}
"""What a function and its derivative are where a bound on exp, or a small number under a logarithm, would show."""


@part("Value")
def test_value_far_out(attempt):
    """exp and log of what is large or small are what Python's are."""
    rows = [([x], [step(name, X)]) for name, x in FAR_OUT]
    for ((name, x), want), got in zip(FAR_OUT.items(), attempt.each(drivers.values, rows), strict=True):
        made = got["data"][1], got["grads"][0][0]
        agree(made, want, of=f"{name}({x:g}) and its derivative")


@part("Value")
def test_value_relu_at_zero(attempt):
    """The derivative of relu at 0 is 0, and above 0 it is 1, however near."""
    tiny = attempt.run(drivers.values, [1e-12], [step("relu", X)])
    agree((tiny["data"], tiny["grads"][0]), ([1e-12, 1e-12], [1.0, 1.0]), of="relu(x) and its gradient at x = 1e-12")
    got = attempt.run(drivers.values, [0.0, 5.0], [step("relu", X), step("+", 2, Y)])
    agree(
        got["grads"][0],
        [0.0, 1.0, 1.0, 1.0],
        of="the gradients of relu(x) + y at x = 0",
        known={"the derivative 1 at 0": [1.0, 1.0, 1.0, 1.0]},
    )


@part("Value")
@pytest.mark.parametrize("count", range(3))
def test_value_random_graphs(attempt, draw, count):
    """Graphs of 25 operations, whose Values are used again and again."""
    leaves, program = joined_graph(draw)
    hold_graph(attempt, leaves, program, f"a graph of {len(program)} operations")


@part("Value")
def test_value_micrograd_example(attempt):
    """The example of micrograd's README: 24.7041, with gradients 138.8338 and 645.5773."""
    a, b = 0, 1
    program = [
        step("+", a, b), step("*", a, b), step("**", b, [3]), step("+", 3, 4),  # 2: c, 5: d
        step("+", 2, [1]), step("+=", 2, 6), step("+", [1], 7), step("neg", a),
        step("+", 8, 9), step("+=", 7, 10),  # 11: c
        step("*", 5, [2]), step("+", b, a), step("relu", 13), step("+", 12, 14), step("+=", 5, 15),  # 16: d
        step("*", [3], 16), step("-", b, a), step("relu", 18), step("+", 17, 19), step("+=", 16, 20),  # 21: d
        step("-", 11, 21), step("**", 22, [2]), step("/", 23, [2.0]), step("/", [10.0], 23), step("+=", 24, 25),
    ]  # fmt: skip
    got = attempt.run(drivers.values, [-4.0, 2.0], program)
    agree(round(got["data"][-1], 4), 24.7041, of="g of micrograd's README, to four decimals")
    agree(
        [round(one, 4) for one in got["grads"][0][:2]],
        [138.8338, 645.5773],
        of="its gradients by a and b, to four decimals",
    )


@part("Value")
def test_value_backward_again(attempt):
    """A second backward adds exactly the same to the leaves once more; in between nothing adds up."""
    leaves, program = [2.0, 3.0], [step("*", X, Y), step("*", 2, X), step("*", 3, [1.0])]
    got = attempt.run(drivers.values, leaves, program, roots=(-1, -1, -1))
    first = [12.0, 4.0, 2.0, 1.0, 1.0]
    for times, grads in enumerate(got["grads"], 1):
        want = [times * 12.0, times * 4.0, *first[2:]]
        known = {}
        if times == 2:
            known["gradients of inner nodes that are kept from the first time"] = [36.0, 12.0]
            known["leaves that begin at 0 again"] = [12.0, 4.0]
        of = f"x·x·y at (2, 3) after {times} backward"
        agree(grads[:2], want[:2], of=f"the gradients of the leaves of {of}", known=known)
        agree(grads[2:], want[2:], of=f"the gradients of the other nodes of {of}")


@part("Value")
def test_value_two_roots(attempt, draw):
    """backward of two Values that share a part adds both to the leaves, and the shared part has that of the last."""
    leaves = [draw.random.uniform(0.5, 2) for _ in range(2)]
    program = [step("*", X, Y), step("*", 2, X), step("exp", 2)]  # 2: u = x·y, 3: u·x, 4: exp(u)
    got = attempt.run(drivers.values, leaves, program, roots=(3, 4, 2, 0))
    x, y = leaves
    u = x * y
    by_root = [
        ([2 * x * y, x * x], [x, 1.0, 0.0]),
        ([y * math.exp(u), x * math.exp(u)], [math.exp(u), 1.0, 1.0]),
        ([y, x], [1.0, 1.0, 1.0]),
        ([1.0, 0.0], [1.0, 1.0, 1.0]),
    ]
    total = np.zeros(2)
    for (leaf, inner), root, grads in zip(by_root, ("u·x", "exp(u)", "u", "x itself"), got["grads"], strict=True):
        total += leaf
        of = f"after backward of {root}, u = x·y"
        agree(grads[:2], total.tolist(), of=f"the gradients of x and y {of}")
        agree(grads[2:], inner, of=f"the gradients of u, u·x and exp(u) {of}")


CLOSED = {
    "x ** 0": [step("**", X, [0])],
    "x · 0": [step("*", X, [0])],
    "relu(x - 5)": [step("-", X, [5]), step("relu", 1)],
}
"""What has the derivative 0 by x = 2, and yet was made by an operation."""


@part("Value")
@pytest.mark.parametrize("name", CLOSED)
def test_value_that_passes_nothing_on(attempt, name):
    """What an operation made is no leaf, though its derivative is 0: nothing adds up in its grad."""
    got = attempt.run(drivers.values, [2.0], CLOSED[name], roots=(-1, -1))
    for times, grads in enumerate(got["grads"], 1):
        agree((grads[0], grads[-1]), (0.0, 1.0), of=f"the gradients of x and of {name} at x = 2 after {times} backward")


@part("Value")
def test_value_adds_to_what_is_there(attempt):
    """A leaf's gradient is added to what its grad was, whoever put it there; that of x·x is what it was made of."""
    got = attempt.run(drivers.given_grads, 3.0)
    of = "x.grad and (x·x).grad, x = 3: after backward of x·x, both grads set to 100 before, and once more so"
    agree(got, [(106.0, 1.0), (106.0, 1.0), (112.0, 1.0)], of=of)


@part("Value")
def test_value_leaves_set_to_zero(attempt, draw):
    """A loop of gradient descent that sets grad to 0 and moves data goes where it should."""
    leaves = [draw.random.uniform(0.5, 1.5) for _ in range(3)]
    program = [
        step("*", X, Y),
        step("-", 3, [0.2]),
        step("**", 4, [2]),
        step("-", Z, X),
        step("**", 6, [2]),
        step("+", 5, 7),
    ]
    now, want = list(leaves), []
    for _ in range(5):
        now = [a - 0.1 * float(g) for a, g in zip(now, slopes(now, program), strict=False)]
        want.append(now)
    got = attempt.run(drivers.descended, leaves, program, 0.1, 5)
    agree(got, want, of=f"(x·y - 0.2)² + (z - x)² from {shown(leaves)}, five steps of rate 0.1")


@part("Value")
def test_value_of_many_paths(attempt):
    """60 doublings make 2⁶⁰ paths: each Value is visited once."""
    got = attempt.run(drivers.doubled, 1.5, 60, 10_000)
    agree(got["data"], 1.5 * 2.0**60, of="1.5 doubled 60 times by x + x")
    agree(got["grad"], 2.0**60, of="its derivative")
    of = "lines that backward runs: its graph has 61 Values, and 10,000 others were made before"
    at_most(got["lines"], 10_000, of=of)


@part("Value")
@pytest.mark.parametrize(("kind", "steps"), [("chain", 50_000), ("ladder", 5_000), ("leaves", 30_000)])
def test_value_long_graphs(attempt, kind, steps):
    """Long graphs end: a chain of 50,000, a ladder of forks, a sum of 30,000 leaves."""
    got = attempt.run(drivers.chained, 2.0, steps, kind)
    data = {"chain": 2.0 + steps, "ladder": 2.0, "leaves": 2.0 * (steps + 1)}[kind]
    agree(got["data"], data, of=f"a graph ({kind}) of {steps:,} steps")
    agree(got["grads"], [1.0, 1.0], of=f"the derivatives by its first and its last leaf ({kind}, {steps:,} steps)")


# --- unbroadcast ------------------------------------------------------------------------------------------------------

CAST = [
    ((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), (1, 3)), ((2, 3), (1, 1)), ((2, 3), ()), ((2, 3), (1,)),
    ((2, 3), (2, 3)), ((4, 2, 3, 5), (2, 1, 5)), ((4, 2, 3, 5), (3, 1)), ((4, 2, 3), (4, 1, 1)),
    ((2, 3, 2, 4), (4,)), ((2, 3, 2, 4), ()),
    ((4, 1, 3), (1, 3)), ((), ()), ((5, 1), (1,)), ((0, 3), (3,)), ((0, 3), (1, 3)), ((2, 0), (2, 1)),
    ((0, 3), (0, 1)), ((2, 0), (0,)),
]  # fmt: skip


def gathered(grad, shape):
    """Each entry of the small array is told where it is used, and collects."""
    owner = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), grad.shape)
    return (
        np.bincount(owner.reshape(-1), weights=grad.reshape(-1), minlength=math.prod(shape))
        .astype(float)
        .reshape(shape)
    )


@part("unbroadcast")
def test_unbroadcast_by_hand(attempt):
    """[[1, 2], [3, 4]] sums to [4, 6] for (2,), and to [[3], [7]] for (2, 1)."""
    grad = np.array([[1.0, 2.0], [3.0, 4.0]])
    for shape, want, wrong in (((2,), [4.0, 6.0], [3.0, 7.0]), ((2, 1), [[3.0], [7.0]], [[4.0], [6.0]])):
        known = {"the sum over the other axis": np.array(wrong), "the mean": np.array(want) / 2}
        agree(
            attempt.run(drivers.unbroadcast, grad, shape),
            np.array(want),
            of=f"unbroadcast of [[1, 2], [3, 4]] to {shape}",
            known=known,
        )


@part("unbroadcast")
@pytest.mark.parametrize(("big", "small"), CAST, ids=str)
def test_unbroadcast_of_any_shape(attempt, draw, big, small):
    """Axes put in front and axes stretched from 1 are summed over; the shape is exactly the one asked for."""
    grads = [turned(numbers(draw).normal(size=big)) for _ in range(2)] if big else [numbers(draw).normal(size=big)]
    found = attempt.each(drivers.unbroadcast, [(grad, small) for grad in grads])
    for grad, got in zip(grads, found, strict=True):
        agree(got, gathered(grad, small), of=f"unbroadcast of a gradient {big} to {small}")


# --- Tensor -----------------------------------------------------------------------------------------------------------


def drawn(draw, *shapes, low=0.3, high=2.0):
    """Arrays above 0, not contiguous."""
    rng = numbers(draw)
    return [turned(rng.uniform(low, high, size=shape)) for shape in shapes]


def real(nodes):
    return [np.array(node.real) for node in nodes]


def hold_tensors(attempt, draw, leaves, program, of, known=None):
    """Hold the values and gradients of all nodes, the last of which is given a random gradient from above."""
    nodes = evaluated(leaves, program)
    upstream = numbers(draw).normal(size=nodes[-1].shape)
    upstream = turned(upstream) if upstream.ndim else upstream
    got = attempt.run(drivers.tensors, leaves, program, upstream)
    agree(got["data"][len(leaves) :], real(nodes)[len(leaves) :], of=f"the values of {of}")
    want = slopes(leaves, program, upstream=upstream)
    for i, grad in enumerate(want[: len(leaves)]):
        agree(
            got["grads"][0][i],
            grad,
            of=f"the gradient by leaf {i} {leaves[i].shape} of {of}",
            tol=1e-8,
            known=(known or {}).get(i),
        )
    agree(got["grads"][0][len(leaves) :], want[len(leaves) :], of=f"the gradients of the other nodes of {of}")


@part("Tensor")
def test_tensor_by_hand(attempt):
    """w (2, 1) times x (3,) is (2, 3): the gradients of the sum are those of the sums of x and of w."""
    leaves = [np.array([[1.0], [2.0]]), np.array([10.0, 20.0, 30.0])]
    got = attempt.run(drivers.tensors, leaves, [step("*", X, Y), step("sum", 2)])
    agree(got["data"][2], np.array([[10.0, 20.0, 30.0], [20.0, 40.0, 60.0]]), of="w (2, 1) · x (3,)")
    agree(got["data"][3], np.array(180.0), of="its sum")
    agree(got["grads"][0][0], np.array([[60.0], [60.0]]), axes="n d", of="the gradient of sum(w · x) by w (2, 1)")
    agree(got["grads"][0][1], np.array([3.0, 3.0, 3.0]), axes="d", of="the gradient of sum(w · x) by x (3,)")


PAIRS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((), (2, 3)), ((2, 1, 3), (4, 1)), ((1,), (5,))]


@part("Tensor")
@pytest.mark.parametrize("name", ["+", "-", "*", "/", "**"])
def test_tensor_broadcasts(attempt, draw, name):
    """Two Tensors of unlike shapes: each gradient has the shape of its Tensor."""
    for a, b in PAIRS:
        leaves = drawn(draw, a, b)
        hold_tensors(attempt, draw, leaves, [step(name, X, Y)], f"a {name} b, a {a}, b {b}")
        hold_tensors(attempt, draw, leaves, [step(name, Y, X)], f"b {name} a, a {a}, b {b}")


@part("Tensor")
def test_tensor_and_constants(attempt, draw):
    """Numbers and arrays stand on either side; the result is a Tensor."""
    [x, row] = drawn(draw, (2, 3), (3,))
    [column] = drawn(draw, (4, 1, 1))
    names = ("+", "-", "*", "/", "**")
    program = [step(name, X, [constant]) for name in names for constant in (2, 1.5, row, column)]
    program += [step(name, [constant], X) for name in names for constant in (2, 1.5, row, column)]
    for one in program:
        name, operands, _, _ = one
        shapes = [
            "x (2, 3)" if isinstance(o, int) else f"an array {np.shape(o[0])}" if np.ndim(o[0]) else f"{o[0]}"
            for o in operands
        ]
        hold_tensors(attempt, draw, [x], [one], f" {name} ".join(shapes))
    program += [step("+", X, [0]), step("+", [0], X), step("*", X, [1]), step("/", X, [1]), step("**", X, [1])]
    program += [step("relu", X), step("reshape", X, arguments=(2, 3))]
    got = attempt.run(drivers.fresh_tensors, [x], program)
    assert all(got["kind"]), "an operation of a Tensor and a number or an array gave something that is no Tensor"
    for (name, operands, _, _), new in zip(program, got["new"][1:], strict=True):
        assert new, f"{name} of x and {operands} gave back x, not a new Tensor"


@part("Tensor")
def test_tensor_functions(attempt, draw):
    """exp, log, tanh, relu and powers, entry by entry; relu'(0) = 0, and x ** 0 has derivative 0."""
    leaves = drawn(draw, (3, 4))
    for name in ("exp", "log", "tanh"):
        hold_tensors(attempt, draw, leaves, [step(name, X)], f"{name} of x (3, 4)")
    leaves = [turned(numbers(draw).normal(size=(3, 4)))]
    leaves[0][0, :3] = 0.0, -0.0, 1e-12
    for one in (step("relu", X), step("neg", X), *(step("**", X, [exponent]) for exponent in (0, 1, 2, 3.0))):
        hold_tensors(
            attempt, draw, leaves, [one], f"{one[0]}{one[1][1:] or ''} of x (3, 4), of which two entries are 0"
        )
    exponents = np.array([0.0, 0.0, 3.0, 2.0])
    of = f"x ** {exponents.tolist()}, x (3, 4), of which two entries are 0"
    hold_tensors(attempt, draw, leaves, [step("**", X, [exponents])], of)
    of = "a ** b, a (3, 4), b (4,), of which one entry is 0"
    hold_tensors(attempt, draw, [*drawn(draw, (3, 4)), np.array([0.0, 1.0, 2.0, 0.5])], [step("**", X, Y)], of)
    rows = [([np.array([x])], [step(name, X)]) for name, x in FAR_OUT]
    for ((name, x), want), got in zip(FAR_OUT.items(), attempt.each(drivers.tensors, rows), strict=True):
        made = float(got["data"][1][0]), float(got["grads"][0][0][0])
        agree(made, want, of=f"{name} of a Tensor that holds {x:g}, and its derivative")


@part("Tensor")
@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3), (3, 5)), ((1, 4), (4, 1)), ((3, 3), (3, 3)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 1, 3, 3), (2, 1, 1, 3, 2))],
    ids=str,
)
def test_tensor_matmul(attempt, draw, a, b):
    """Products of matrices, and of stacks of as many."""
    leaves = drawn(draw, a, b, low=-1.0)
    hold_tensors(attempt, draw, leaves, [step("@", X, Y)], f"a @ b, a {a}, b {b}")


@part("Tensor")
@pytest.mark.parametrize("name", ["sum", "max"])
def test_tensor_reductions(attempt, draw, name):
    """sum and max over all entries or along one axis, which may be negative, with and without keepdims."""
    leaves = drawn(draw, (2, 3, 4), low=-2.0)
    for axis in (None, 0, 1, 2, -1, -2, -3):
        for options in ({"axis": axis}, {"axis": axis, "keepdims": True}):
            said = ", ".join(f"{key}={value}" for key, value in options.items())
            hold_tensors(attempt, draw, leaves, [step(name, X, **options)], f"{name}({said}) of x (2, 3, 4)")
    hold_tensors(attempt, draw, leaves, [step(name, X)], f"{name}() of x (2, 3, 4)")
    hold_tensors(
        attempt, draw, drawn(draw, (3, 3)), [step(name, X, axis=1), step("*", 1, X)], f"x · {name}(axis=1) of x (3, 3)"
    )


@part("Tensor")
def test_tensor_max_of_equal_entries(attempt):
    """Of equally large entries the first has the gradient, or each has its share: 6 comes from above, 6 arrives."""
    x = np.array([[2.0, 5.0, 5.0], [7.0, 7.0, 7.0], [1.0, 0.0, -1.0]])
    upstream = np.array([6.0, 12.0, 3.0])
    small = attempt.run(drivers.tensors, [1e-12 * x[:1, :2]], [step("max", X)])["grads"][0][0]
    agree(small, np.array([[0.0, 1.0]]), axes="n d", of="the gradient of max of [[2e-12, 5e-12]], which are not equal")
    got = attempt.run(drivers.tensors, [x], [step("max", X, axis=1)], upstream)
    wants = {
        "all to the first": np.array([[0.0, 6.0, 0.0], [12.0, 0.0, 0.0], [3.0, 0.0, 0.0]]),
        "equal shares": np.array([[0.0, 3.0, 3.0], [4.0, 4.0, 4.0], [3.0, 0.0, 0.0]]),
    }
    known = {"the whole gradient to each": np.array([[0.0, 6.0, 6.0], [12.0, 12.0, 12.0], [3.0, 0.0, 0.0]])}
    of = "the gradient of max(axis=1) of [[2, 5, 5], [7, 7, 7], [1, 0, -1]] for (6, 12, 3)"
    agree_one_of(got["grads"][0][0], wants, axes="n d", of=of, known=known)
    first, shared, each = np.zeros((3, 3)), (x == 7) * 2.0, (x == 7) * 6.0
    first[1, 0] = 6.0
    for turn, axis, keepdims in ((x, None, False), (x, None, True), (x.T, 0, True), (x.reshape(1, 9), -1, False)):
        got = attempt.run(
            drivers.tensors,
            [turn],
            [step("max", X, axis=axis, keepdims=keepdims), step("max", 1), step("*", 2, [6.0])],
        )
        of = f"the gradient of 6 · the largest entry, 7, which comes three times: max(axis={axis}, keepdims={keepdims})"
        back = got["grads"][0][0].reshape(3, 3)
        wants = {"all to the first": first, "equal shares": shared}
        agree_one_of(back.T if axis == 0 else back, wants, of=of, known={"the whole gradient to each": each})


@part("Tensor")
def test_tensor_reshape(attempt, draw):
    """The gradient goes back into the old shape, entry by entry."""
    leaves = drawn(draw, (2, 3, 2))
    for shape in ((3, 4), (12,), (-1, 6), (2, -1), (2, 3, 2, 1)):
        hold_tensors(
            attempt,
            draw,
            leaves,
            [step("reshape", X, arguments=shape), step("tanh", 1)],
            f"tanh(x.reshape{shape}), x (2, 3, 2)",
        )


@part("Tensor")
def test_tensor_take(attempt, draw):
    """Entries along an axis at given indices; an index that comes several times collects all its gradients."""
    leaves = drawn(draw, (4, 3, 5))
    known = {}
    for axis in range(-3, 3):
        size = leaves[0].shape[axis]
        for indices in (np.array([1, 0, 1, 1]), np.array([[size - 1, 0], [0, 0], [-1, 2]]), np.array(2)):
            of = f"x.take({indices.tolist()}, axis={axis}), x (4, 3, 5)"
            hold_tensors(attempt, draw, leaves, [step("take", X, arguments=(indices,), axis=axis)], of, known)
    table, upstream = np.arange(6.0).reshape(3, 2), np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    got = attempt.run(drivers.tensors, [table], [step("take", X, arguments=(np.array([2, 0, 2]),))], upstream)
    want = np.array([[10.0, 20.0], [0.0, 0.0], [101.0, 202.0]])
    once = np.array([[10.0, 20.0], [0.0, 0.0], [100.0, 200.0]])
    known = {"the last gradient of an index alone (total[indices] += g)": once}
    agree(got["grads"][0][0], want, axes="v d", of="the gradient of a table (3, 2) at indices 2, 0, 2", known=known)


@part("Tensor")
def test_tensor_adds_at_forks(attempt, draw):
    """Where a Tensor is used more than once, its gradients add up."""
    for name in ("x + x", "x · x", "x ** x", "x·x + x", "u·(u + y), u = x·y", "u + tanh(u·v), u = x·y, v = u + x"):
        hold_tensors(attempt, draw, drawn(draw, (2, 3), (3,)), FORKS[name], f"{name}, x (2, 3), y (3,)")
    hold_tensors(attempt, draw, drawn(draw, (3, 3)), [step("@", X, X)], "x @ x, x (3, 3)")


@part("Tensor")
def test_tensor_grads_share_nothing(attempt, draw):
    """a + b passes the same gradient to both: to add to one of them must not change the other."""
    leaves = drawn(draw, (2, 3), (2, 3))
    made = [step("+", X, Y), step("+", 2, Y), step("reshape", 3, arguments=(3, 2))]
    cases = {
        "(a + b + b).reshape(3, 2) + 0": ([*made, step("+", 4, [0.0])], (3, 2)),
        "(a + b + b).reshape(3, 2).sum(0)": ([*made, step("sum", 4, axis=0)], (2,)),
        "(a + b + b).reshape(3, 2).sum()": ([*made, step("sum", 4)], ()),
        "a": ([], (2, 3)),
    }
    for name, (program, shape) in cases.items():
        upstream = np.asarray(numbers(draw).normal(size=shape))
        given = leaves if program else leaves[:1]
        want = slopes(given, program, upstream=upstream)
        rows = [[*(grad for j, grad in enumerate(want) if j != i), upstream] for i in range(len(want))]
        of = f"{name}: for each node the other grads, and the one given to backward, once 1,000 is added to its own"
        agree(attempt.run(drivers.shared_grads, given, program, upstream), rows, of=of)
    got = attempt.run(drivers.shared_before_and_beside, leaves)
    of = "the grads of a, b, a + b, and of the sums of a and of b, once 1,000 is added in place to each before"
    agree(got["before"], [np.full(one.shape, 1000.0) for one in (*leaves, leaves[0])], of=f"{of}: no backward yet")
    agree(got["roots"], [np.array(1001.0)] * 2, of=f"{of}: of the sums, of which backward was called")


@part("Tensor")
def test_tensor_backward_again(attempt, draw):
    """Leaves add up over calls and roots; what an operation made has the gradient of the last call."""
    leaves = drawn(draw, (2, 3), (3,))
    program = [step("*", X, Y), step("*", 2, X), step("sum", 3), step("exp", 2), step("sum", 5)]
    first, other = slopes(leaves, program, root=4), slopes(leaves, program, root=6)
    got = attempt.run(drivers.tensors, leaves, program, roots=(4, 4, 6))
    sums = [first[:2], [2 * g for g in first[:2]], [2 * a + b for a, b in zip(first[:2], other[:2], strict=True)]]
    for want, inner, grads, said in zip(
        sums, (first, first, other), got["grads"], ("once", "twice", "and of another root"), strict=True
    ):
        agree(grads[:2], want, of=f"the gradients of the leaves after backward {said}")
        agree(grads[2], inner[2], of=f"the gradient of x·y, which two roots share, after backward {said}")
    untouched = attempt.run(drivers.fresh_tensors, leaves, program)
    agree(
        untouched["grads"],
        [np.zeros(node.shape) for node in evaluated(leaves, program)],
        of="grads before any backward",
    )
    agree(untouched["data"][:2], leaves, of="data of the leaves")


@part("Tensor")
def test_tensor_backward_of_many_entries(attempt):
    """Without a gradient from above backward takes one entry alone, in whatever shape."""
    got = attempt.run(drivers.tensors, [np.array([[3.0]])], [step("*", X, X)])
    agree(got["grads"][0][0], np.array([[6.0]]), axes="n d", of="the gradient of x·x for x of shape (1, 1)")
    for shape in ((2,), (1, 3), (2, 1)):
        with refusal(ValueError, of=f"backward of a Tensor of shape {shape} without a gradient"):
            attempt.run(drivers.refused_backward, np.ones(shape))


@part("Tensor")
def test_tensor_adds_to_what_is_there(attempt):
    """A leaf's gradient is added to what its grad was, whoever put it there; also where the leaf itself is the root."""
    got = attempt.run(drivers.continued, np.array([[3.0]]), np.array([[100.0]]))
    of = "x.grad, x = 3: after backward of x·x, of x itself once grad is set to 100, and of x·x again"
    agree(got, [np.array([[6.0]]), np.array([[101.0]]), np.array([[107.0]])], of=of)


@part("Tensor")
@pytest.mark.parametrize("name", CLOSED)
def test_tensor_that_passes_nothing_on(attempt, name):
    """What an operation made is no leaf, though its derivative is 0: nothing adds up in its grad."""
    got = attempt.run(drivers.tensors, [np.array([[2.0]])], CLOSED[name], roots=(-1, -1))
    for times, grads in enumerate(got["grads"], 1):
        of = f"the gradients of x and of {name} at x = [[2]] after {times} backward"
        agree([grads[0], grads[-1]], [np.array([[0.0]]), np.array([[1.0]])], of=of)


@part("Tensor")
def test_tensor_network(attempt, draw):
    """A network of two layers with softmax and cross-entropy, written with Tensors, has its gradients."""
    params, x, y = network(draw, 5, 3, 4, 2)
    hot = np.eye(2)[y]
    leaves = [*params.values(), x]
    program = [
        step("@", 4, 0), step("+", 5, 1), step("relu", 6), step("@", 7, 2), step("+", 8, 3),  # 9: z
        step("max", 9, axis=1, keepdims=True), step("-", 9, 10), step("exp", 11),
        step("sum", 12, axis=1, keepdims=True), step("log", 13), step("-", 11, 14),  # 15: log p
        step("*", 15, [-hot / 5]), step("sum", 16),
    ]  # fmt: skip
    got = attempt.run(drivers.tensors, leaves, program)
    of = "a network written with Tensors, n=5, i=3, h=4, o=2"
    agree(got["data"][-1], np.array(mlp_loss(params, x, y)), of=f"the loss of {of}")
    agree(got["grads"][0][:4], list(mlp_slopes(params, x, y).values()), of=f"the gradients of {of}")


@part("Tensor")
def test_tensor_lookup_without_one_hot(attempt, draw):
    """20,000 lookups in a table of 20,000 rows: a one-hot matrix would take 3.2 GB."""
    rng = numbers(draw)
    v, d = 20_000, 7
    table, indices, upstream = rng.normal(size=(v, d)), rng.integers(0, v, size=v), rng.normal(size=(v, d))
    want = np.stack([np.bincount(indices, weights=upstream[:, k], minlength=v) for k in range(d)], axis=1)
    for axis in (0, 1):
        asked = (table, indices, upstream) if axis == 0 else (table.T, indices.reshape(-1, 5), upstream.T)
        given = asked[2].reshape(*asked[2].shape[:axis], *asked[1].shape, *asked[2].shape[axis + 1 :])
        got, cost = attempt.cost(drivers.looked_up, *asked[:2], given, axis)
        of = f"the lookup of {v:,} indices of shape {asked[1].shape} in a table {asked[0].shape} along axis {axis}"
        agree(got["out"], np.take(asked[0], asked[1], axis=axis), of=of)
        agree(got["grad"], want if axis == 0 else want.T, of=f"the gradient of the table, {of}")
        at_most(cost.peak, 40 * 8 * v * d, of=f"bytes at once, {of}, forward and back", known={"one-hot": 8 * v * v})


@part("Tensor")
def test_tensor_long_graphs(attempt, draw):
    """A chain of 5,000 steps with 60 doublings behind it ends."""
    [x] = drawn(draw, (2,))
    got = attempt.run(drivers.stretched, x, 5_000)
    agree(got["data"], np.array((x.sum() + 10_000) * 2.0**60), of="the sum of a chain of 5,000 steps and 60 doublings")
    agree(got["grad"], np.full(2, 2.0**60), axes="d", of="its gradient by x (2,)")


# --- jacobian ---------------------------------------------------------------------------------------------------------


@part("jacobian")
def test_dual_operations(attempt, draw):
    """Duals carry value and tangent through every operation, with numbers on either side."""
    x, y = draw.random.uniform(0.5, 2), draw.random.uniform(0.5, 2)
    dx, dy = draw.random.uniform(-2, 2), draw.random.uniform(-2, 2)
    program = [one for steps in SINGLE.values() for one in steps[:1]]
    got = attempt.run(drivers.duals, [x, y], [dx, dy], program)
    moved = evaluated([x + 1j * STEP * dx, y + 1j * STEP * dy], program)
    for i, name in enumerate(SINGLE, 2):
        of = f"{name} at x = {x:.2f} + {dx:.2f}ε, y = {y:.2f} + {dy:.2f}ε"
        agree(got["value"][i], float(moved[i].real), of=f"the value of {of}")
        agree(got["tangent"][i], float(moved[i].imag / STEP), of=f"the tangent of {of}", tol=EXACT)


@part("jacobian")
def test_dual_at_the_edges(attempt):
    """Powers of 0 and of numbers below 0 with constant exponents, and relu at 0 and below."""
    cases = [(0.0, 0), (0.0, 1), (0.0, 2), (-3.0, 2), (-3.0, 3), (-3.0, 0), (-2.0, -1)]
    for x, exponent in cases:
        got = attempt.run(drivers.duals, [x], [5.0], [step("**", X, [exponent])])
        want = 5.0 * exponent * x ** (exponent - 1) if exponent else 0.0
        agree((got["value"][1], got["tangent"][1]), (float(x**exponent), float(want)), of=f"({x:g} + 5ε) ** {exponent}")
    for x in (0.0, -1.0):
        got = attempt.run(drivers.duals, [x], [5.0], [step("relu", X)])
        agree((got["value"][1], got["tangent"][1]), (0.0, 0.0), of=f"relu of {x:g} + 5ε")
    by_zero = {"+": (2.0, 8.0), "-": (2.0, 2.0), "*": (0.0, 6.0), "**": (1.0, 3 * math.log(2))}
    got = attempt.run(drivers.duals, [2.0, 0.0], [5.0, 3.0], [step(name, X, Y) for name in by_zero])
    for i, (name, want) in enumerate(by_zero.items(), 2):
        agree((got["value"][i], got["tangent"][i]), want, of=f"(2 + 5ε) {name} (0 + 3ε)")
    rows = [([x], [5.0], [step(name, X)]) for name, x in FAR_OUT]
    for ((name, x), (value, slope_)), got in zip(FAR_OUT.items(), attempt.each(drivers.duals, rows), strict=True):
        agree((got["value"][1], got["tangent"][1]), (value, 5 * slope_), of=f"{name} of {x:g} + 5ε")


@part("jacobian")
def test_dual_records_nothing(attempt):
    """Of a chain of Duals the last is left, once nobody holds the others."""
    got = attempt.run(drivers.left_duals, 300)
    most = max(got, key=got.__getitem__)
    at_most(got[most], 10, of=f"Duals in memory after 300 steps ({most}), of which only the last is held")


MODES = pytest.mark.parametrize("mode", ["forward", "reverse"])


@part("jacobian")
@MODES
def test_jacobian_by_hand(attempt, mode):
    """(x·y, exp(x)) at (0, 3) has the Jacobian [[3, 0], [1, 0]]."""
    got = attempt.run(drivers.derivatives, [0.0, 3.0], [step("*", X, Y), step("exp", X)], [2, 3], mode)
    want = np.array([[3.0, 0.0], [1.0, 0.0]])
    of = f"jacobian of (x·y, exp(x)) at (0, 3), {mode}"
    known = {"its transpose": want.T, "rows that add up": np.array([[3.0, 0.0], [4.0, 0.0]])}
    agree(got["jacobian"], want, axes="m n", of=of, known=known)


@part("jacobian")
@MODES
@pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 2), (1, 4), (4, 1), (1, 1), (3, 7)])
def test_jacobian_in_both_modes(attempt, draw, n, m, mode):
    """Row j, column k is ∂f_j/∂x_k; f is called at most once for each input, or for each output."""
    outputs, want = [n + 11 - k for k in range(m)], np.zeros((m, n))
    while np.abs(want).max() < 0.01:  # a function whose parts cancel leaves rounding errors alone
        x = [draw.random.uniform(0.4, 2) for _ in range(n)]
        program = random_graph(draw, x, 12)
        want = np.array([listed(slopes(x, program, root=one)[:n]) for one in outputs])
    got = attempt.run(drivers.derivatives, x, program, outputs, mode)
    of = f"jacobian of a function of {n} numbers that gives {m}, {mode}"
    agree(got["jacobian"], want, axes="m n", of=of)
    at_most(got["calls"], n if mode == "forward" else m, of=f"calls of f, {of}")
    kind = "Dual" if mode == "forward" else "Value"
    assert got["kinds"] == [kind], f"{of}: f was given {' and '.join(got['kinds'])}, not a list of {kind}s alone"


@part("jacobian")
@MODES
def test_jacobian_of_odd_outputs(attempt, mode):
    """Outputs may be inputs, come twice, or be plain numbers."""
    x, program = [2.0, 3.0, 6.0], [step("*", X, Y)]
    got = attempt.run(drivers.derivatives, tuple(x), program, [3, Z, [6], 3, X, [1.5]], mode)
    want = np.array([[3.0, 2, 0], [0, 0, 1], [0, 0, 0], [3, 2, 0], [1, 0, 0], [0, 0, 0]])
    other = attempt.run(drivers.derivatives, x, program, [Z, 3], mode)["jacobian"]
    of = f"jacobian of f(x, y, z) = (x·y, z, 6, x·y, x, 1.5) at (2, 3, 6), {mode}"
    agree(got["jacobian"], want, axes="m n", of=of)
    agree(other, want[[1, 0]], axes="m n", of=f"jacobian of another function, (z, x·y), at the same place, {mode}")


@part("jacobian")
@pytest.mark.parametrize(("n", "m", "mode"), [(20_000, 1, "reverse"), (1, 20_000, "forward")])
def test_jacobian_of_many(attempt, n, m, mode):
    """A loss of 20,000 numbers takes one pass back, 20,000 outputs of one number one pass forward."""
    got = attempt.run(drivers.long_jacobian, n, m, mode)
    slope_ = 1 - math.tanh(0.5) ** 2
    if m == 1:
        want = slope_ * 0.5 ** np.arange(n - 1, -1, -1, dtype=float)[None, :]
    else:
        want = slope_ * 2 * (1 - 0.5 ** np.arange(1, m + 1, dtype=float))[:, None]
    of = f"jacobian of a function of {n:,} numbers that gives {m:,}, {mode}"
    agree(got["jacobian"], want, axes="m n", of=of, tol=EXACT)
    at_most(got["calls"], 1, of=f"calls of f, {of}")


@part("jacobian")
def test_jacobian_in_no_mode(attempt):
    """Another mode is a ValueError."""
    for mode in ("central", "vector", "Forward", "f", "rev", ""):
        with refusal(ValueError, of=f"jacobian with mode {mode!r}"):
            attempt.run(drivers.refused_mode, mode)


@part("jacobian")
@MODES
def test_jacobian_of_another_function(attempt, reference, draw, mode):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    x = [draw.random.uniform(0.1, 1) for _ in range(2)]
    asked = [(x, [step("*", X, other), step("exp", X)], [2, 3], mode) for other in (Y, X)]
    hold_again(
        attempt,
        reference,
        drivers.jacobian_alone,
        *asked,
        of=f"jacobian of (x·y, exp(x)) and of (x², exp(x)), {mode}",
        views=False,
    )
