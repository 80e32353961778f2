"""Hidden checks of nn_003: the oracle is the complex step, f(x + iε).imag / ε, which is exact and takes no graph."""

import math

import numpy as np
import pytest
import torch

from grader.checks import agree, part, refusal
from grader.checks.numeric import STEP, numbers, slope, turned
from grader.checks.randomness import hold_generator, hold_independent, hold_rate
from grader.checks.repeats import hold_unrepeated

from . import drivers

EXACT = 1e-12
"""Of few operations: what is computed is right to 1e-15, what differences give to 1e-11."""
SIZES = [(2, 5, 3, 4), (1, 1, 2, 3), (11, 3, 1, 2), (2, 4, 3, 3), (2, 7, 5, 1), (2, 0, 3, 2), (0, 3, 2, 3)]
"""n, t, d, u."""
LOSSES = {"every step": 1e6, "the last step": 1e-9, "the last cell state": 1.0}
"""What the gradients of a loss are multiplied with: none is too large or too small to be handed on."""


def drawn(rng, *shape, scale=1.0):
    return turned(rng.normal(size=shape, scale=scale))


def sized(sizes):
    return "n={}, t={}, d={}, u={}".format(*sizes)


def sigmoid(z):
    """The sigmoid, also of complex numbers and far out."""
    small = np.exp(np.where(z.real > 0, -z, z))
    return np.where(z.real > 0, 1.0, small) / (1 + small)


def slopes(loss, given):
    """The gradient of loss(given), a real number, by each array of the dict."""
    return {name: slope(lambda one, name=name: loss({**given, name: one}), value) for name, value in given.items()}


def hold_along(loss, given, grads, rng, of):
    """Hold all gradients at once, by their product with a random direction."""
    ways = {name: rng.normal(size=value.shape) for name, value in given.items()}
    for name, value in given.items():
        agree(np.shape(grads[name]), value.shape, of=f"the shape of the gradient by {name}, {of}")
    want = float(loss({name: value + 1j * STEP * ways[name] for name, value in given.items()}).imag / STEP)
    terms = {name: float((grads[name] * way).sum()) for name, way in ways.items()}
    got, size = sum(terms.values()), max(map(abs, terms.values()))
    said = f"the gradients along a random direction of {', '.join(given)}, {of}"
    assert math.isfinite(got), f"{said}: expected {want:g}, got {got}"
    agree(got, want, of=said, tol=1e-8 * max(1.0, min(1e3, size / max(abs(want), 1e-300))))


def hold_kept(attempt, reference, name, calls, of):
    """Hold that results stay what they were, share no memory with what was given, and follow what is given alone."""
    got = attempt.run(drivers.kept, name, calls)
    first, second = calls[:2]
    mixed = [(*first[:k], *second[k:]) for k in reversed(range(len(first)))]
    want = reference.each(name, [*calls, *mixed])
    n = len(calls)
    agree(got["results"], want[:n], of=f"{of}: the results of {n} calls, looked at after the last", tol=EXACT)
    assert not got["shared"], f"{of}: a result shares memory with an argument; results are new arrays"
    said = f"{of}: called again, each time after the caller has put new values into one argument more, in place"
    agree(got["mixed"], want[n:], of=said, tol=EXACT)


def equal(a, b):
    """Whether two results, dicts, tuples, arrays or numbers, are the same but for rounding."""
    if isinstance(b, dict):
        return all(equal(a[name], b[name]) for name in b)
    if isinstance(b, tuple):
        return all(map(equal, a, b))
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=1e-12)


def differing(found, right):
    """The known mistakes that give something else than what is right."""
    return {name: value for name, value in found.items() if not equal(value, right)}


def told_apart(found, right):
    """Those of them that give something else than each of the others: for inputs so small that some coincide."""
    found = differing(found, right)
    return {
        name: value
        for name, value in found.items()
        if not any(equal(value, other) for also, other in found.items() if also != name)
    }


# --- rnn_forward ------------------------------------------------------------------------------------------------------


def rnn_weights(rng, d, u, scale=1.0):
    return {"wx": drawn(rng, d, u, scale=scale), "wh": drawn(rng, u, u, scale=scale), "b": drawn(rng, u)}


def rnn_given(draw, n, t, d, u):
    """x, h0 and the weights of a network."""
    rng = numbers(draw)
    return {"x": drawn(rng, n, t, d), "h0": drawn(rng, n, u, scale=0.5), **rnn_weights(rng, d, u, 0.7)}


def rnn_states(given, window=None):
    """All states (n, t, u); with a window the state between two pieces is a constant: its imaginary part is dropped."""
    state, wh = given["h0"], given["wh"]
    inputs = given["x"] @ given["wx"] + given["b"]
    h = np.empty(inputs.shape, dtype=np.result_type(inputs, state, wh))
    for s in range(inputs.shape[1]):
        if window and s and s % window == 0:
            state = state.real
        state = np.tanh(inputs[:, s] + state @ wh)
        h[:, s] = state
    return h


def rnn_mistakes(given):
    x, h0, wx, wh, b = given.values()
    right = rnn_states(given)
    zero = np.zeros(h0.shape)
    before = np.concatenate([h0[:, None], right], axis=1)[:, :-1]
    found = {
        "a state that begins at 0, not at h0": rnn_states({**given, "h0": zero}),
        "no bias": rnn_states({**given, "b": np.zeros(b.shape)}),
        "the sums, without tanh on what is returned": x @ wx + before @ wh + b,
        "the states before each step": before,
        "h0 in each step, not the state before it": np.tanh(x @ wx + (h0 @ wh)[:, None] + b),
        "the last state alone": right[:, -1] if right.shape[1] else right,
        "the axes of n and t exchanged": right.swapaxes(0, 1),
        "wh transposed": rnn_states({**given, "wh": wh.T}),
        "steps from the last to the first": np.flip(rnn_states({**given, "x": x[:, ::-1]}), axis=1).copy(),
    }
    if wh.shape[0] == wx.shape[0]:
        found["wx transposed"] = rnn_states({**given, "wx": wx.T})
        found["wx and wh exchanged"] = rnn_states({**given, "wx": wh, "wh": wx})
    return differing(found, right)


def hold_rnn(attempt, given, of, known=None):
    agree(attempt.rnn_forward(*given.values()), rnn_states(given), axes="n t u", of=f"rnn_forward of {of}", known=known)


@part("rnn_forward")
def test_rnn_by_hand(attempt):
    """With wx = 1, wh = 1/2, x = (ln 2, ln 3 - 0.3), h0 = 0 the states are 0.6 and 0.8."""
    x = np.array([[[math.log(2)], [math.log(3) - 0.3]]])
    given = {"x": x, "h0": np.zeros((1, 1)), "wx": np.ones((1, 1)), "wh": np.full((1, 1), 0.5), "b": np.zeros(1)}
    want = np.array([[[0.6], [0.8]]])
    of = "rnn_forward of x = (ln 2, ln 3 - 0.3), wx = 1, wh = 0.5, b = 0, h0 = 0"
    agree(attempt.rnn_forward(*given.values()), want, axes="n t u", of=of)


@part("rnn_forward")
@pytest.mark.parametrize("sizes", SIZES, ids=sized)
def test_rnn_of_any_size(attempt, draw, sizes):
    """Each state is tanh(x·wx + h·wh + b), with the state before it, from h0 on."""
    given = rnn_given(draw, *sizes)
    known = rnn_mistakes(given) if sizes in ((2, 5, 3, 4), (2, 4, 3, 3)) else None
    hold_rnn(attempt, given, f"{sized(sizes)}", known)


@part("rnn_forward")
def test_rnn_of_many_steps(attempt, draw):
    """5,000 steps are no problem, and sums of thousands neither."""
    given = rnn_given(draw, 2, 5000, 3, 4)
    given["x"] = given["x"] * np.where(np.arange(5000)[:, None] % 7 == 3, 1e4, [1e4, 1.0, 1.0])
    given["wx"] = given["wx"] * np.array([[1e-4], [1.0], [1.0]])
    given |= {"wh": given["wh"] * 0.3, "h0": given["h0"] * 10}
    hold_rnn(attempt, given, "n=2, t=5000, d=3, u=4")


@part("rnn_forward")
def test_rnn_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    calls = [tuple(rnn_given(draw, *sizes).values()) for sizes in ((2, 5, 3, 4), (2, 5, 3, 4))]
    hold_kept(attempt, reference, "rnn_forward", calls, "rnn_forward, n=2, t=5, d=3, u=4")


# --- rnn_backward -----------------------------------------------------------------------------------------------------


def rnn_slopes(given, dh, window=None):
    return slopes(lambda moved: (rnn_states(moved, window) * dh).sum(), given)


def rnn_sweep(given, dh, window=None, mistake=None):
    """The gradients by one sweep, with a mistake in it: what the known ones are made of."""
    x, h0, wx, wh, _ = given.values()
    h = rnn_states(given)
    t = h.shape[1]
    before = np.concatenate([h0[:, None], h], axis=1)[:, :-1]
    carry = np.zeros(h0.shape)
    dz = np.zeros(h.shape)
    by_wh = before
    for s in reversed(range(t)):
        came = dh[:, s] + carry
        if mistake == "last" and s < t - 1:
            came = carry
        if mistake == "own":
            came = dh[:, s]
        slope = {"linear": 1.0, "before": 1 - before[:, s] ** 2}.get(mistake, 1 - h[:, s] ** 2)
        dz[:, s] = came * slope
        carry = {"state": came @ wh.T, "transposed": dz[:, s] @ wh}.get(mistake, dz[:, s] @ wh.T)
        edge = (
            {"from the end": (t - s) % window, "late": (s + 1) % window, "early": (s - 1) % window}.get(
                mistake, s % window
            )
            if window
            else 1
        )
        if edge == 0 and s:
            carry = np.zeros(h0.shape)
    if mistake == "after":
        by_wh = h
    if mistake == "zero":
        by_wh = np.where((np.arange(t) % (window or t) == 0)[:, None], 0.0, before)
    counts = (t if mistake == "mean" else 1) * (len(x) if mistake == "batch" else 1)
    found = {
        "x": dz @ wx.T,
        "h0": np.zeros(h0.shape) if mistake == "no h0" else carry,
        "wx": np.einsum("ntd,ntu->du", x, dz) / counts,
        "wh": np.einsum("ntv,ntu->vu", by_wh, dz) / counts,
        "b": dz.sum(axis=(0, 1)) / counts,
    }
    if mistake == "last step":
        found |= {"wx": x[:, 0].T @ dz[:, 0], "wh": before[:, 0].T @ dz[:, 0], "b": dz[:, 0].sum(axis=0)}
    return found


RNN_MISTAKES = {
    "the loss of the last step alone": "last",
    "each step by itself: nothing comes from the step behind": "own",
    "tanh without its derivative": "linear",
    "tanh' at the state before the step": "before",
    "the carry before tanh's derivative is taken": "state",
    "wh where its transpose belongs": "transposed",
    "the states behind the steps in the gradient by wh": "after",
    "the mean over the steps": "mean",
    "the mean over the batch": "batch",
    "no gradient by h0": "no h0",
    "the weights' gradients of one step alone": "last step",
}
WINDOW_MISTAKES = {
    "pieces counted from the end": "from the end",
    "pieces that begin one step early": "late",
    "pieces that begin one step late": "early",
    "no gradient by wh at the first step of a piece": "zero",
}


def sliding(given, dh, window):
    """Each loss goes back `window` states, whatever piece it is in."""
    t = dh.shape[1]
    total = None
    for s in range(t):
        first = max(0, s - window + 1)
        h = rnn_states(given)
        start = given["h0"] if first == 0 else h[:, first - 1]
        piece = {**given, "x": given["x"][:, first : s + 1], "h0": start}
        own = np.zeros((*piece["x"].shape[:2], dh.shape[2]))
        own[:, -1] = dh[:, s]
        grads = rnn_sweep(piece, own)
        x = np.zeros(given["x"].shape)
        x[:, first : s + 1] = grads["x"]
        grads |= {"x": x, "h0": grads["h0"] if first == 0 else np.zeros(given["h0"].shape)}
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
    return total


def rnn_known(given, dh, window=None):
    right = rnn_sweep(given, dh, window)
    found = {name: rnn_sweep(given, dh, window, mistake) for name, mistake in RNN_MISTAKES.items()}
    if window:
        found |= {name: rnn_sweep(given, dh, window, mistake) for name, mistake in WINDOW_MISTAKES.items()}
        found["not truncated"] = rnn_sweep(given, dh)
        found["a window that slides: each loss goes back so many states"] = sliding(given, dh, window)
    return differing(found, right)


def rnn_cache(given):
    return {**given, "h": turned(rnn_states(given))}


@part("rnn_backward")
def test_rnn_backward_by_hand(attempt):
    """Of h = (0.6, 0.8) with a loss on the second: dz = (0.1152, 0.36), and all gradients follow."""
    x = np.array([[[math.log(2)], [math.log(3) - 0.3]]])
    given = {"x": x, "h0": np.zeros((1, 1)), "wx": np.ones((1, 1)), "wh": np.full((1, 1), 0.5), "b": np.zeros(1)}
    dh = np.array([[[0.0], [1.0]]])
    of = "rnn_backward of x = (ln 2, ln 3 - 0.3), wx = 1, wh = 0.5, a loss on the last of two states"
    want = {"x": np.array([[[0.1152], [0.36]]]), "h0": np.array([[0.0576]])}
    want["wx"] = np.array([[0.1152 * math.log(2) + 0.36 * (math.log(3) - 0.3)]])
    want |= {"wh": np.array([[0.216]]), "b": np.array([0.4752])}
    agree(attempt.rnn_backward(rnn_cache(given), dh), want, of=of, known=rnn_known(given, dh))


@part("rnn_backward")
@pytest.mark.parametrize("sizes", SIZES, ids=sized)
@pytest.mark.parametrize("on", ["every step", "the last step"])
def test_rnn_backward(attempt, draw, sizes, on):
    """The gradients are those of sum(h · dh), with a loss on every step or on the last alone."""
    given = rnn_given(draw, *sizes)
    dh = loss_on(draw, on, sizes) * LOSSES[on]
    known = rnn_known(given, dh) if sizes in ((2, 5, 3, 4), (2, 4, 3, 3)) else None
    of = f"rnn_backward, {sized(sizes)}, a loss on {on}"
    got = attempt.rnn_backward(rnn_cache(given), dh)
    agree(got, rnn_slopes(given, dh), axes="n t d", of=of, tol=EXACT, known=known)


def loss_on(draw, on, sizes):
    """dh (n, t, u), whose steps but the last are 0 if the loss is on the last alone."""
    n, t, _, u = sizes
    dh = drawn(numbers(draw), n, t, u)
    if on == "the last step":
        dh[:, : t - 1] = 0
    return dh


@part("rnn_backward")
@pytest.mark.parametrize("window", [4, 1, 2, 3, 7, 9, 10, 11, 100])
def test_truncated(attempt, draw, window):
    """No gradient passes from a piece of `window` steps to the one before; pieces are counted from the first step."""
    sizes = (2, 10, 3, 3)
    given = rnn_given(draw, *sizes)
    dh = loss_on(draw, "every step", sizes)
    of = f"rnn_backward, {sized(sizes)}, window={window}"
    known = rnn_known(given, dh, window) if window == 4 else None
    got = attempt.rnn_backward(rnn_cache(given), dh, window)
    agree(got, rnn_slopes(given, dh, window), axes="n t d", of=of, tol=EXACT, known=known)


@part("rnn_backward")
def test_truncated_without_steps(attempt, draw):
    """Without steps, or without sequences, nothing has a gradient, with a window too."""
    for sizes in ((2, 0, 3, 2), (0, 5, 3, 2)):
        given = rnn_given(draw, *sizes)
        want = {name: np.zeros(value.shape) for name, value in given.items()}
        n, t, _, u = sizes
        got = attempt.rnn_backward(rnn_cache(given), np.zeros((n, t, u)), 2)
        agree(got, want, of=f"rnn_backward, {sized(sizes)}, window=2")


@part("rnn_backward")
@pytest.mark.parametrize("window", [0, -1])
def test_truncated_refuses(attempt, draw, window):
    """A window has at least one step."""
    for t in (3, 0):
        given = rnn_given(draw, 2, t, 2, 2)
        with refusal(ValueError, of=f"rnn_backward with window={window}, t={t}"):
            attempt.rnn_backward(rnn_cache(given), np.ones((2, t, 2)), window)


def lasting(draw, t, d, u, n=3):
    """A network through which gradients pass unchanged: wh turns, and the states stay small."""
    rng = numbers(draw)
    turn, _ = np.linalg.qr(rng.normal(size=(u, u)))
    given = {"x": drawn(rng, n, t, d, scale=1e-4), "h0": drawn(rng, n, u, scale=1e-3), "wx": drawn(rng, d, u)}
    return {**given, "wh": turned(turn), "b": np.zeros(u)}


@part("rnn_backward")
@pytest.mark.parametrize(("window", "on"), [(None, "every step"), (None, "the last step"), (1700, "every step")])
def test_rnn_backward_through_5000_steps(attempt, draw, window, on):
    """One sweep back is enough for 5,000 losses: a sweep for each takes 12.5 million steps. Nothing is cut off."""
    sizes = _, t, d, u = 3, 5000, 5, 101
    given = lasting(draw, t, d, u)
    dh = loss_on(draw, on, sizes)
    cache = rnn_cache(given)
    grads = attempt.rnn_backward(cache, dh) if window is None else attempt.rnn_backward(cache, dh, window)
    of = f"rnn_backward, {sized(sizes)}, window={window}, a loss on {on}"
    hold_along(lambda moved: (rnn_states(moved, window) * dh).sum(), given, grads, numbers(draw), of)


@part("rnn_backward")
def test_rnn_backward_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    calls = []
    for t in (5, 5, 0):
        given, dh = rnn_given(draw, 2, t, 3, 4), loss_on(draw, "every step", (2, t, 3, 4))
        calls.append((rnn_cache(given), dh))
    hold_kept(attempt, reference, "rnn_backward", calls, "rnn_backward, n=2, d=3, u=4, t=5, 5 and 0")


# --- lstm_step --------------------------------------------------------------------------------------------------------


def lstm_weights(rng, d, u, forget=0.0):
    b = drawn(rng, 4 * u)
    b[u : 2 * u] += forget
    return {"wx": drawn(rng, d, 4 * u, scale=0.7), "wh": drawn(rng, u, 4 * u, scale=0.7), "b": b}


def blocks(z, u):
    """The blocks of u columns."""
    return [z[..., k : k + u] for k in range(0, z.shape[-1], u)]


def one_lstm_step(x, h, c, weights, order="ifgo"):
    """h, c and the gates i f g o; `order` says how the blocks lie."""
    u = h.shape[-1]
    z = dict(zip(order, blocks(x @ weights["wx"] + h @ weights["wh"] + weights["b"], u), strict=True))
    i, f, g, o = sigmoid(z["i"]), sigmoid(z["f"]), np.tanh(z["g"]), sigmoid(z["o"])
    c = f * c + i * g
    return o * np.tanh(c), c, np.concatenate([i, f, g, o], axis=-1)


def step_mistakes(x, h, c, weights):
    right = one_lstm_step(x, h, c, weights)
    new_h, new_c, gates = right
    i, f, g, o = blocks(gates, h.shape[1])

    def with_cell(cell):
        return o * np.tanh(cell), cell, gates

    z_g = blocks(x @ weights["wx"] + h @ weights["wh"] + weights["b"], h.shape[1])[2]
    squashed = f * c + i * sigmoid(z_g)
    plain = {**weights, "b": np.zeros(weights["b"].shape)}
    found = {
        "the gates in the order f i g o": one_lstm_step(x, h, c, weights, "figo"),
        "the gates in the order i f o g": one_lstm_step(x, h, c, weights, "ifog"),
        "the gates in the order i g f o": one_lstm_step(x, h, c, weights, "igfo"),
        "no bias": one_lstm_step(x, h, c, plain),
        "h·wh left out": one_lstm_step(x, np.zeros(h.shape), c, weights),
        "h without tanh of the cell state": (o * new_c, new_c, gates),
        "h of the old cell state": (o * np.tanh(c), new_c, gates),
        "h without the output gate": (np.tanh(new_c), new_c, gates),
        "i and f exchanged in the cell state": with_cell(i * c + f * g),
        "1 - i in the place of f": with_cell((1 - i) * c + i * g),
        "1 - f in the place of i": with_cell(f * c + (1 - f) * g),
        "the sigmoid for g": (o * np.tanh(squashed), squashed, np.concatenate([i, f, sigmoid(z_g), o], axis=1)),
        "h in the place of c": with_cell(f * h + i * g),
        "a cell state squashed by tanh": (o * np.tanh(new_c), np.tanh(new_c), gates),
        "c and h exchanged": (new_c, new_h, gates),
        "gates before sigmoid and tanh": (
            new_h, new_c, x @ weights["wx"] + h @ weights["wh"] + weights["b"],
        ),
    }  # fmt: skip
    return differing(found, right)


@part("lstm_step")
def test_lstm_step_by_hand(attempt):
    """With i = 0.75, f = 0.25, g = 0.6, o = 0.8 a cell state of 2 becomes 0.95, and h = 0.8 · tanh(0.95)."""
    weights = {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    given = np.ones((1, 1)), np.zeros((1, 1)), np.array([[2.0]]), weights
    want = np.array([[0.8 * math.tanh(0.95)]]), np.array([[0.95]]), np.array([[0.75, 0.25, 0.6, 0.8]])
    of = "lstm_step from c = 2 with i = 0.75, f = 0.25, g = 0.6, o = 0.8"
    known = step_mistakes(*given)
    known.pop("h·wh left out", None)
    hold_step(attempt.lstm_step(*given), want, of, known)


def hold_step(got, want, of, known=None):
    assert isinstance(got, tuple | list), f"{of} returned no (h, c, gates)"
    agree(tuple(got), want, axes="n u", of=f"{of}: (h, c, gates)", tol=EXACT, known=known)


@part("lstm_step")
@pytest.mark.parametrize("sizes", [(3, 2, 4), (1, 5, 3), (2, 3, 3), (5, 1, 1), (0, 3, 2)], ids=str)
def test_lstm_step_of_any_size(attempt, draw, sizes):
    """The four blocks i f g o make c = f·c + i·g and h = o·tanh(c)."""
    n, d, u = sizes
    rng = numbers(draw)
    given = drawn(rng, n, d), drawn(rng, n, u), drawn(rng, n, u), lstm_weights(rng, d, u)
    known = step_mistakes(*given) if sizes == (3, 2, 4) else None
    hold_step(attempt.lstm_step(*given), one_lstm_step(*given), f"lstm_step, n={n}, d={d}, u={u}", known)


@part("lstm_step")
@pytest.mark.parametrize("size", [1e3, 1e5])
def test_lstm_step_far_out(attempt, draw, size):
    """Where the sums are of thousands, gates are 0 or 1 and g is -1 or 1: nothing is NaN. x, h, c may be large, too."""
    n, d, u = 4, 3, 5
    rng = numbers(draw)
    x, h, c = drawn(rng, n, d), drawn(rng, n, u), drawn(rng, n, u)
    weights = lstm_weights(rng, d, u)
    large = size * x, size * h, size * c, {**weights, "wx": weights["wx"] / size, "wh": weights["wh"] / size}
    of = f"lstm_step, n={n}, d={d}, u={u}, x, h and c of ±{size:g}, wx and wh of 1/{size:g}"
    hold_step(attempt.lstm_step(*large), one_lstm_step(*large), of)
    weights["b"] = turned(size * rng.choice([-1.0, 1.0], size=4 * u))
    of = f"lstm_step, n={n}, d={d}, u={u}, biases of ±{size:g}"
    hold_step(attempt.lstm_step(x, h, c, weights), one_lstm_step(x, h, c, weights), of)


@part("lstm_step")
def test_lstm_along_a_sequence(attempt, draw):
    """Carried from step to step, the two states are those of an LSTM, and nothing that was returned changes."""
    n, d, u, t = 2, 3, 4, 6
    rng = numbers(draw)
    x, h, c, weights = drawn(rng, n, t, d), drawn(rng, n, u), drawn(rng, n, u), lstm_weights(rng, d, u)
    steps = [x[:, s] for s in range(t)]
    got = attempt.run(drivers.carried, "lstm_step", steps, (h, c), weights)
    for s, (step, found) in enumerate(zip(steps, got, strict=True)):
        want = h, c, _ = one_lstm_step(step, h, c, weights)
        hold_step(found, want, f"lstm_step, step {s} of {t}, n={n}, d={d}, u={u}, its results carried along and kept")


@part("lstm_step")
def test_lstm_step_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    rng = numbers(draw)
    calls = [(drawn(rng, 2, 3), drawn(rng, 2, 4), drawn(rng, 2, 4), lstm_weights(rng, 3, 4)) for _ in range(2)]
    hold_kept(attempt, reference, "lstm_step", calls, "lstm_step, n=2, d=3, u=4")


# --- lstm_backward ----------------------------------------------------------------------------------------------------


def lstm_given(draw, n, t, d, u, forget=0.0):
    """x, h0, c0 and the weights of an LSTM."""
    rng = numbers(draw)
    states = {"x": drawn(rng, n, t, d), "h0": drawn(rng, n, u, scale=0.5), "c0": drawn(rng, n, u)}
    return {**states, **lstm_weights(rng, d, u, forget)}


def lstm_states(given):
    """h, c (n, t, u) and gates (n, t, 4u)."""
    x, h, c = given["x"], given["h0"], given["c0"]
    n, t, _ = x.shape
    u = h.shape[1]
    kind = np.result_type(*given.values())
    found = [np.empty((n, t, k * u), dtype=kind) for k in (1, 1, 4)]
    for s in range(t):
        made = one_lstm_step(x[:, s], h, c, given)
        h, c, _ = made
        for kept, one in zip(found, made, strict=True):
            kept[:, s] = one
    return found


def lstm_cache(given):
    h, c, gates = (turned(one) for one in lstm_states(given))
    weights = {name: given[name] for name in ("wx", "wh", "b")}
    begin = {name: given[name] for name in ("x", "h0", "c0")}
    return {**begin, "weights": weights, "h": h, "c": c, "gates": gates}


def lstm_loss(dh, dc=None):
    def loss(given):
        h, c, _ = lstm_states(given)
        last = c[:, -1] if c.shape[1] else given["c0"]
        return (h * dh).sum() + (0.0 if dc is None else (last * dc).sum())

    return loss


def lstm_sweep(given, dh, dc=None, mistake=None):
    """The gradients by one sweep, with a mistake in it: what the known ones are made of."""
    h, c, gates = lstm_states(given)
    t, u = h.shape[1:]
    h_before = np.concatenate([given["h0"][:, None], h], axis=1)[:, :-1]
    c_before = np.concatenate([given["c0"][:, None], c], axis=1)[:, :-1]
    carry, dcell = np.zeros(given["h0"].shape), np.zeros(given["c0"].shape) if dc is None else dc
    if mistake == "no dc":
        dcell = np.zeros(given["c0"].shape)
    dz = np.zeros(gates.shape)
    for s in reversed(range(t)):
        i, f, g, o = blocks(gates[:, s], u)
        shown = np.tanh(c[:, s])
        dstate = dh[:, s] + (0 if mistake == "own" else carry)
        if mistake == "last" and s < t - 1:
            dstate = carry
        through = {"no tanh": o, "no o": 1 - shown**2, "old": o * (1 - np.tanh(c_before[:, s]) ** 2)}.get(
            mistake, o * (1 - shown**2)
        )
        came = dcell
        dcell = dcell if mistake == "no path" else dcell + dstate * through
        if mistake == "forgotten":
            dcell = dstate * through
        of_f = c[:, s] if mistake == "new cell" else c_before[:, s]
        parts = [
            dcell * g * i * (1 - i),
            dcell * of_f * f * (1 - f),
            dcell * i * (1 - g**2),
            dstate * shown * o * (1 - o),
        ]
        if mistake == "sigmoid g":
            parts[2] = dcell * i * g * (1 - g)
        if mistake == "c for o":
            parts[3] = dcell * shown * o * (1 - o)
        if mistake == "late":
            parts[:3] = [came * g * i * (1 - i), came * of_f * f * (1 - f), came * i * (1 - g**2)]
        if mistake == "order":
            parts = [parts[1], parts[0], parts[2], parts[3]]
        if mistake == "slopes":
            parts = [dcell * g, dcell * of_f, dcell * i, dstate * shown]
        if mistake == "fixed o":
            parts[3] = np.zeros(dstate.shape)
        dz[:, s] = np.concatenate(parts, axis=1)
        carry = dz[:, s] @ given["wh"].T
        if mistake == "gates":
            carry = np.zeros(carry.shape)
        dcell = dcell * (1.0 if mistake == "no f" else i if mistake == "i for f" else f)
        if mistake == "cut":
            dcell = np.zeros(dcell.shape)
    return {
        "x": dz @ given["wx"].T,
        "h0": carry,
        "c0": dcell,
        "wx": np.einsum("ntd,ntu->du", given["x"], dz),
        "wh": np.einsum("ntv,ntu->vu", h if mistake == "after" else h_before, dz),
        "b": dz.sum(axis=(0, 1)),
    }


LSTM_MISTAKES = {
    "the loss of the last step alone": "last",
    "nothing comes through h from the step behind": "own",
    "the gradient by c without what comes through h": "no path",
    "the gradient by c without what comes from the next cell state": "forgotten",
    "dc left out": "no dc",
    "h = o·c: tanh without its derivative": "no tanh",
    "the output gate left out on the way to c": "no o",
    "tanh' at the cell state before the step": "old",
    "the gradient by f with the new cell state": "new cell",
    "the derivative of a sigmoid for g": "sigmoid g",
    "i, f and g before the way through h is added": "late",
    "the blocks in the order f i g o": "order",
    "gates without their derivatives": "slopes",
    "no gradient through o": "fixed o",
    "the gradient by c, not by h, for o": "c for o",
    "gates taken as constants between the steps": "gates",
    "the carried gradient by c without f": "no f",
    "the carried gradient by c times i": "i for f",
    "no gradient from cell state to cell state": "cut",
    "the states behind the steps in the gradient by wh": "after",
}


def lstm_known(given, dh, dc):
    right = lstm_sweep(given, dh, dc)
    return differing({name: lstm_sweep(given, dh, dc, mistake) for name, mistake in LSTM_MISTAKES.items()}, right)


@part("lstm_backward")
def test_lstm_backward_by_hand(attempt):
    """One step from c0 = 2 with i = 0.75, f = 0.25, g = 0.6, o = 0.8: 0.8 · (1 - tanh²(0.95)) reaches c."""
    given = {"x": np.ones((1, 1, 1)), "h0": np.zeros((1, 1)), "c0": np.array([[2.0]])}
    given |= {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    shown = math.tanh(0.95)
    cell = 0.8 * (1 - shown**2)
    dz = np.array([cell * 0.6 * 0.1875, cell * 2 * 0.1875, cell * 0.75 * 0.64, shown * 0.16])
    want = {"x": np.zeros((1, 1, 1)), "h0": np.array([[dz.sum()]]), "c0": np.array([[cell / 4]])}
    want |= {"wx": dz[None], "wh": np.zeros((1, 4)), "b": dz}
    of = "lstm_backward of one step from c0 = 2 with i = 0.75, f = 0.25, g = 0.6, o = 0.8, dh = 1"
    dh = np.ones((1, 1, 1))
    known = {name: lstm_sweep(given, dh, None, mistake) for name, mistake in LSTM_MISTAKES.items()}
    agree(attempt.lstm_backward(lstm_cache(given), dh), want, of=of, known=told_apart(known, want))


@part("lstm_backward")
@pytest.mark.parametrize("on", ["every step", "the last step", "the last cell state"])
def test_lstm_backward(attempt, draw, on):
    """The gradients are those of sum(h · dh) + sum(last c · dc)."""
    for sizes in SIZES:
        n, t, _, u = sizes
        given = lstm_given(draw, *sizes)
        dh = np.zeros((n, t, u)) if on == "the last cell state" else loss_on(draw, on, sizes)
        dh = dh * LOSSES[on]
        dc = None if on == "the last step" else drawn(numbers(draw), n, u) * LOSSES[on]
        known = lstm_known(given, dh, dc) if sizes == (2, 5, 3, 4) else None
        also = " and on the last cell state" if on == "every step" else ""
        of = f"lstm_backward, {sized(sizes)}, a loss on {on}{also}"
        cache = lstm_cache(given)
        got = attempt.lstm_backward(cache, dh) if dc is None else attempt.lstm_backward(cache, dh, dc)
        agree(got, slopes(lstm_loss(dh, dc), given), axes="n t d", of=of, tol=EXACT, known=known)


@part("lstm_backward")
def test_lstm_backward_of_gates_that_are_shut(attempt, draw):
    """Gates of exactly 0 and 1, and g of exactly ±1, have finite gradients."""
    sizes = n, _, _, u = 2, 4, 3, 5
    given = lstm_given(draw, *sizes)
    given["b"] = turned(1e3 * numbers(draw).choice([-1.0, 1.0], size=4 * u))
    dh, dc = loss_on(draw, "every step", sizes), drawn(numbers(draw), n, u)
    want = lstm_sweep(given, dh, dc)
    agree(attempt.lstm_backward(lstm_cache(given), dh, dc), want, of=f"lstm_backward, {sized(sizes)}, biases of ±1000")


@part("lstm_backward")
@pytest.mark.parametrize("on", ["every step", "the last step"])
def test_lstm_backward_through_5000_steps(attempt, draw, on):
    """One sweep back is enough for 5,000 losses; forget gates near 1 carry gradients all the way."""
    sizes = n, _, _, u = 3, 5000, 5, 37
    given = lstm_given(draw, *sizes, forget=9.0)
    given |= {"x": given["x"] * 0.1, "wx": given["wx"] * 0.1, "wh": given["wh"] * 0.03}
    dh, dc = loss_on(draw, on, sizes), drawn(numbers(draw), n, u)
    of = f"lstm_backward, {sized(sizes)}, a loss on {on} and on the last cell state"
    grads = attempt.lstm_backward(lstm_cache(given), dh, dc)
    hold_along(lstm_loss(dh, dc), given, grads, numbers(draw), of)


@part("lstm_backward")
def test_lstm_backward_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    calls = []
    for t in (5, 5, 0):
        given, dh = lstm_given(draw, 2, t, 3, 4), loss_on(draw, "every step", (2, t, 3, 4))
        calls.append((lstm_cache(given), dh, drawn(numbers(draw), 2, 4)))
    hold_kept(attempt, reference, "lstm_backward", calls, "lstm_backward, n=2, d=3, u=4, t=5, 5 and 0")


# --- cell_jacobian ----------------------------------------------------------------------------------------------------


def jacobians(given):
    """direct and whole, by the complex step."""
    weights = {name: given[name] for name in ("wx", "wh", "b")}
    u = len(given["c0"])
    # u sequences at once, each with another entry of c0 moved
    h, c = np.tile(given["h0"], (u, 1)), given["c0"] + 1j * STEP * np.eye(u)
    direct = np.ones(u)
    for entry in given["x"]:
        h, c, gates = one_lstm_step(entry, h, c, weights)
        direct = direct * blocks(gates, u)[1][0].real
    return np.diag(direct), c.imag.T / STEP


def jacobian_given(draw, t, d, u, forget=0.0):
    given = lstm_given(draw, 1, t, d, u, forget)
    return {**given, "x": given["x"][0], "h0": given["h0"][0], "c0": given["c0"][0]}


def jacobian_asked(attempt, given):
    weights = {name: given[name] for name in ("wx", "wh", "b")}
    return attempt.cell_jacobian(weights, given["x"], given["h0"], given["c0"])


def jacobian_mistakes(given):
    direct, whole = jacobians(given)
    u = len(given["c0"])
    moved = {**given, "x": given["x"][:-1]}
    weights = {name: given[name] for name in ("wx", "wh", "b")}
    h, c = np.tile(given["h0"], (u, 1)) + 1j * STEP * np.eye(u), given["c0"] + 0j
    for entry in given["x"]:
        h, c, _ = one_lstm_step(entry, h, c, weights)
    cells = given["c0"] + 1j * STEP * np.eye(u)
    states = np.tile(given["h0"], (u, 1)).astype(complex)
    for entry in given["x"]:
        states, cells, _ = one_lstm_step(entry, states, cells, weights)
    return {
        "the product of the forget gates for both": (direct, direct),
        "whole transposed": (direct, whole.T),
        "the diagonal of whole for direct": (np.diag(np.diag(whole)), whole),
        "whole for both": (whole, whole),
        "direct and whole exchanged": (whole, direct),
        "one step too few": jacobians(moved),
        "the gradient by h0": (direct, c.imag.T / STEP),
        "the gradient of the last h": (direct, states.imag.T / STEP),
        "the diagonal of whole alone": (direct, np.diag(np.diag(whole))),
    }


def hold_jacobian(got, want, of, known=None):
    assert isinstance(got, tuple | list), f"{of} returned no (direct, whole)"
    agree(tuple(got), want, axes="a b", of=f"{of}: (direct, whole)", tol=EXACT, known=known)


@part("cell_jacobian")
def test_cell_jacobian_by_hand(attempt):
    """Two steps of one unit with wh = 1 and no input: f = 1/2, then sigmoid(tanh(1/2) / 2)."""
    weights = {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.zeros(4)}
    h = math.tanh(0.5) / 2
    f = 1 / (1 + math.exp(-h))
    slope = 0.5 * (1 - math.tanh(0.5) ** 2) * 0.5  # of h behind the first step by c0
    whole = f * 0.5 + (0.5 * f * (1 - f) + math.tanh(h) * f * (1 - f) + f * (1 - math.tanh(h) ** 2)) * slope
    got = attempt.cell_jacobian(weights, np.zeros((2, 1)), np.zeros(1), np.ones(1))
    want = np.array([[f / 2]]), np.array([[whole]])
    known = {"the product of the forget gates for both": (want[0], want[0])}
    hold_jacobian(got, want, "cell_jacobian of two steps, d=1, u=1, wh = 1, x = 0, c0 = 1", known)


@part("cell_jacobian")
@pytest.mark.parametrize("sizes", [(5, 3, 4), (2, 1, 3), (1, 2, 5), (7, 3, 3), (4, 2, 1)], ids=str)
def test_cell_jacobian(attempt, draw, sizes):
    """direct is the product of the forget gates; whole has what comes through h and the gates as well."""
    t, d, u = sizes
    given = jacobian_given(draw, *sizes)
    known = jacobian_mistakes(given) if sizes == (5, 3, 4) else None
    hold_jacobian(jacobian_asked(attempt, given), jacobians(given), f"cell_jacobian, t={t}, d={d}, u={u}", known)


@part("cell_jacobian")
def test_cell_jacobian_without_steps(attempt, draw):
    """Without steps both are the identity."""
    given = jacobian_given(draw, 0, 2, 3)
    hold_jacobian(jacobian_asked(attempt, given), (np.eye(3), np.eye(3)), "cell_jacobian, t=0, d=2, u=3")


@part("cell_jacobian")
@pytest.mark.parametrize("forget", [-1.0, 5.0])
def test_cell_jacobian_of_many_steps(attempt, draw, forget):
    """After 97 steps it may be tiny, and is as precise as before: differences are not."""
    given = jacobian_given(draw, 97, 3, 5, forget)
    of = f"cell_jacobian, t=97, d=3, u=5, forget biases near {forget:g}"
    hold_jacobian(jacobian_asked(attempt, given), jacobians(given), of)


@part("cell_jacobian")
def test_cell_jacobian_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    calls = []
    for _ in range(2):
        given = jacobian_given(draw, 5, 3, 4)
        weights = {name: given[name] for name in ("wx", "wh", "b")}
        calls.append((weights, given["x"], given["h0"], given["c0"]))
    hold_kept(attempt, reference, "cell_jacobian", calls, "cell_jacobian, t=5, d=3, u=4")


# --- gru_step ---------------------------------------------------------------------------------------------------------

RESETS = ["after", "before"]


def gru_weights(rng, d, u):
    biases = {"bx": drawn(rng, 3 * u), "bh": drawn(rng, 3 * u)}
    return {"wx": drawn(rng, d, 3 * u, scale=0.7), "wh": drawn(rng, u, 3 * u, scale=0.7), **biases}


def one_gru_step(x, h, weights, reset, order="rzn", mistake=None):
    """h and the gates r z n; `order` says how the blocks lie."""
    u = h.shape[-1]
    inputs = dict(zip(order, blocks(x @ weights["wx"] + weights["bx"], u), strict=True))
    wh = dict(zip(order, blocks(weights["wh"], u), strict=True))
    bh = dict(zip(order, blocks(weights["bh"], u), strict=True))
    r = sigmoid(inputs["r"] + h @ wh["r"] + bh["r"])
    z = sigmoid(inputs["z"] + h @ wh["z"] + bh["z"])
    if mistake == "bias":
        n = np.tanh(inputs["n"] + r * (h @ wh["n"]) + bh["n"])
    elif reset == "after":
        n = np.tanh(inputs["n"] + r * (h @ wh["n"] + bh["n"]))
    else:
        n = np.tanh(inputs["n"] + (r * h) @ wh["n"] + bh["n"])
    if mistake == "no reset":
        n = np.tanh(inputs["n"] + h @ wh["n"] + bh["n"])
    if mistake == "all":
        n = np.tanh(r * (inputs["n"] + h @ wh["n"] + bh["n"]))
    state = {"turned": z * n + (1 - z) * h, "no keep": z * n, "reset state": (1 - z) * n + z * r * h}.get(
        mistake, (1 - z) * n + z * h
    )
    return state, np.concatenate([r, z, n], axis=-1)


def gru_mistakes(x, h, weights, reset):
    right = one_gru_step(x, h, weights, reset)
    other = "before" if reset == "after" else "after"
    zeros = {name: np.zeros(weights[name].shape) for name in ("bx", "bh")}
    found = {
        f"reset {other}": one_gru_step(x, h, weights, other),
        "z and 1 - z exchanged": one_gru_step(x, h, weights, reset, mistake="turned"),
        "the gates in the order z r n": one_gru_step(x, h, weights, reset, "zrn"),
        "no reset gate": one_gru_step(x, h, weights, reset, mistake="no reset"),
        "a reset gate on the input as well": one_gru_step(x, h, weights, reset, mistake="all"),
        "the old state through the reset gate": one_gru_step(x, h, weights, reset, mistake="reset state"),
        "no old state": one_gru_step(x, h, weights, reset, mistake="no keep"),
        "bx left out": one_gru_step(x, h, {**weights, "bx": zeros["bx"]}, reset),
        "bh left out": one_gru_step(x, h, {**weights, "bh": zeros["bh"]}, reset),
        "n in the place of h": (blocks(right[1], h.shape[1])[2], right[1]),
    }
    if reset == "after":
        found["bh_n outside of the reset"] = one_gru_step(x, h, weights, reset, mistake="bias")
    return found


def hold_gru(got, want, of, known=None):
    assert isinstance(got, tuple | list), f"{of} returned no (h, gates)"
    agree(tuple(got), want, axes="n u", of=f"{of}: (h, gates)", tol=EXACT, known=known)


@part("gru_step")
def test_gru_step_by_hand(attempt):
    """From h = 1 with r = 1/2, z = 1/4, wh_n = 2 and bh_n = 1: n = tanh(1.5) after the product, tanh(2) before it."""
    weights = {"wx": np.zeros((1, 3)), "wh": np.array([[0.0, 0.0, 2.0]]), "bx": np.array([0.0, -math.log(3), 0.0])}
    weights["bh"] = np.array([0.0, 0.0, 1.0])
    for reset, n in (("after", math.tanh(1.5)), ("before", math.tanh(2.0))):
        of = f"gru_step from h = 1 with r = 0.5, z = 0.25, wh_n = 2, bh_n = 1, reset {reset}"
        want = np.array([[0.75 * n + 0.25]]), np.array([[0.5, 0.25, n]])
        given = np.zeros((1, 1)), np.ones((1, 1)), weights
        known = gru_mistakes(*given, reset)
        if reset == "after":  # of one unit these give the same
            known["reset before, or bh_n outside of the reset"] = known.pop("reset before")
            del known["bh_n outside of the reset"]
        hold_gru(attempt.gru_step(*given, reset), want, of, told_apart(known, want))


@part("gru_step")
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("sizes", [(3, 2, 4), (1, 5, 3), (2, 3, 3), (5, 1, 1), (0, 3, 2)], ids=str)
def test_gru_step_of_any_size(attempt, draw, sizes, reset):
    """The blocks r z n make n of the reset state, and h = (1 - z)·n + z·h."""
    n, d, u = sizes
    rng = numbers(draw)
    given = drawn(rng, n, d), drawn(rng, n, u), gru_weights(rng, d, u)
    known = gru_mistakes(*given, reset) if sizes == (3, 2, 4) else None
    of = f"gru_step, n={n}, d={d}, u={u}, reset {reset}"
    hold_gru(attempt.gru_step(*given, reset), one_gru_step(*given, reset), of, known)


@part("gru_step")
def test_gru_step_by_default(attempt, draw):
    """If nothing is said, the reset acts after the product, as in torch."""
    rng = numbers(draw)
    given = drawn(rng, 2, 3), drawn(rng, 2, 5), gru_weights(rng, 3, 5)
    known = {"reset before": one_gru_step(*given, "before")}
    hold_gru(attempt.gru_step(*given), one_gru_step(*given, "after"), "gru_step, n=2, d=3, u=5", known)


@part("gru_step")
@pytest.mark.parametrize("reset", RESETS)
def test_gru_step_far_out(attempt, draw, reset):
    """Where the sums are of thousands, gates are 0 or 1: nothing is NaN. x and h may be large, too."""
    n, d, u = 4, 3, 5
    rng = numbers(draw)
    x, h, weights = drawn(rng, n, d), drawn(rng, n, u), gru_weights(rng, d, u)
    large = 1e3 * x, 1e3 * h, {**weights, "wx": weights["wx"] / 1e3, "wh": weights["wh"] / 1e3}
    of = f"gru_step, n={n}, d={d}, u={u}, reset {reset}, x and h of ±1000, wx and wh of 1/1000"
    hold_gru(attempt.gru_step(*large, reset), one_gru_step(*large, reset), of)
    weights["bx"] = turned(1e3 * rng.choice([-1.0, 1.0], size=3 * u))
    of = f"gru_step, n={n}, d={d}, u={u}, reset {reset}, biases of ±1000"
    hold_gru(attempt.gru_step(x, h, weights, reset), one_gru_step(x, h, weights, reset), of)


@part("gru_step")
@pytest.mark.parametrize("reset", RESETS)
def test_gru_along_a_sequence(attempt, draw, reset):
    """Carried from step to step, the state is that of a GRU, and nothing that was returned changes."""
    n, d, u, t = 2, 3, 4, 6
    rng = numbers(draw)
    steps, h, weights = [drawn(rng, n, d) for _ in range(t)], drawn(rng, n, u), gru_weights(rng, d, u)
    got = attempt.run(drivers.carried, "gru_step", steps, (h,), weights, reset)
    for s, (step, found) in enumerate(zip(steps, got, strict=True)):
        want = h, _ = one_gru_step(step, h, weights, reset)
        of = f"gru_step, step {s} of {t}, n={n}, d={d}, u={u}, reset {reset}, its results carried along and kept"
        hold_gru(found, want, of)


@part("gru_step")
def test_gru_step_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    rng = numbers(draw)
    calls = [(drawn(rng, 2, 3), drawn(rng, 2, 4), gru_weights(rng, 3, 4), reset) for reset in [*RESETS, *RESETS]]
    hold_kept(attempt, reference, "gru_step", calls, "gru_step, n=2, d=3, u=4")


@part("gru_step")
def test_gru_reset_that_there_is_not(attempt, draw):
    """Another reset is a ValueError."""
    rng = numbers(draw)
    given = drawn(rng, 2, 3), drawn(rng, 2, 5), gru_weights(rng, 3, 5)
    for reset in ("between", "", "beforehand", "After"):
        with refusal(ValueError, of=f"gru_step with reset={reset!r}"):
            attempt.gru_step(*given, reset)


# --- gru_backward -----------------------------------------------------------------------------------------------------


def gru_given(draw, n, t, d, u):
    rng = numbers(draw)
    return {"x": drawn(rng, n, t, d), "h0": drawn(rng, n, u), **gru_weights(rng, d, u)}


def gru_states(given, reset):
    """h (n, t, u) and gates (n, t, 3u)."""
    x, h = given["x"], given["h0"]
    n, t, _ = x.shape
    kind = np.result_type(*given.values())
    found = [np.empty((n, t, k * h.shape[1]), dtype=kind) for k in (1, 3)]
    for s in range(t):
        h, gates = one_gru_step(x[:, s], h, given, reset)
        found[0][:, s], found[1][:, s] = h, gates
    return found


def gru_cache(given, reset):
    h, gates = (turned(one) for one in gru_states(given, reset))
    weights = {name: given[name] for name in ("wx", "wh", "bx", "bh")}
    return {"x": given["x"], "h0": given["h0"], "weights": weights, "reset": reset, "h": h, "gates": gates}


def gru_slopes(given, dh, reset):
    return slopes(lambda moved: (gru_states(moved, reset)[0] * dh).sum(), given)


def gru_sweep(given, dh, reset, mistake=None):
    """The gradients by one sweep, with a mistake in it: what the known ones are made of."""
    h, gates = gru_states(given, reset)
    t, u = h.shape[1:]
    before = np.concatenate([given["h0"][:, None], h], axis=1)[:, :-1]
    _, _, new = blocks(given["wh"], u)
    carry = np.zeros(given["h0"].shape)
    by_inputs, by_state = np.zeros(gates.shape), np.zeros(gates.shape)
    multiplied = np.array(before)
    for s in reversed(range(t)):
        r, z, n = blocks(gates[:, s], u)
        old = before[:, s]
        dstate = dh[:, s] + (0 if mistake == "own" else carry)
        if mistake == "last" and s < t - 1:
            dstate = carry
        keep = {"turned": 1 - z}.get(mistake, z)
        dn = dstate * (1 - keep) * (1 - n**2)
        dz = dstate * (n - old if mistake == "sign" else old - n) * z * (1 - z)
        behind = old @ new + (0 if mistake == "bias" else given["bh"][2 * u :])
        if reset == "after":
            product = dn * (1 if mistake == "no r" else r)
            dr = dn * behind
            through = product @ new.T
        else:
            product = dn
            reached = dn @ new.T
            dr = reached * old
            through = reached * (1 if mistake == "no r" else r)
            multiplied[:, s] = old if mistake == "wh" else r * old
        dr = dr * r * (1 - r)
        if mistake == "fixed r":
            dr = np.zeros(dr.shape)
        by_inputs[:, s] = np.concatenate([dr, dz, dn], axis=1)
        by_state[:, s] = np.concatenate([dr, dz, product], axis=1)
        carry = {"no keep": 0, "turned": dstate * (1 - z)}.get(mistake, dstate * z)
        carry = carry + by_state[:, s, : 2 * u] @ given["wh"][:, : 2 * u].T + through
        if mistake == "gates":
            carry = dstate * z
    wh = [np.einsum("ntv,ntu->vu", a, b) for a, b in
          zip([before, before, multiplied], blocks(by_state, u), strict=True)]  # fmt: skip
    return {
        "x": by_inputs @ given["wx"].T,
        "h0": carry,
        "wx": np.einsum("ntd,ntu->du", given["x"], by_inputs),
        "wh": np.concatenate(wh, axis=1),
        "bx": (by_state if mistake == "one bias" else by_inputs).sum(axis=(0, 1)),
        "bh": (by_inputs if mistake == "two" else by_state).sum(axis=(0, 1)),
    }


GRU_MISTAKES = {
    "the loss of the last step alone": "last",
    "nothing comes from the step behind": "own",
    "z and 1 - z exchanged": "turned",
    "the gradient through z with the sign turned": "sign",
    "r missing on the way back through n": "no r",
    "no gradient through r": "fixed r",
    "no straight way from state to state": "no keep",
    "gates taken as constants between the steps": "gates",
}
GRU_ALONE = {
    "after": {
        "bh_n missing in the gradient through r": "bias",
        "the gradient by bh for bx": "one bias",
        "the gradient by bx for bh": "two",
    },
    "before": {"the state in the place of r ⊙ h in the gradient by wh": "wh"},
}


def gru_known(given, dh, reset):
    mistakes = {**GRU_MISTAKES, **GRU_ALONE[reset]}
    found = {name: gru_sweep(given, dh, reset, mistake) for name, mistake in mistakes.items()}
    return differing(found, gru_sweep(given, dh, reset))


@part("gru_backward")
def test_gru_backward_by_hand(attempt):
    """One step from h0 = 1 with r = 1/2, z = 1/4, wh_n = 2, bh_n = 1 and dh = 1."""
    given = {"x": np.ones((1, 1, 1)), "h0": np.ones((1, 1)), "wx": np.zeros((1, 3))}
    given |= {
        "wh": np.array([[0.0, 0.0, 2.0]]),
        "bx": np.array([0.0, -math.log(3), 0.0]),
        "bh": np.array([0.0, 0.0, 1.0]),
    }
    for reset in RESETS:
        n = math.tanh(1.5 if reset == "after" else 2.0)
        dn, dz = 0.75 * (1 - n**2), (1 - n) * 0.1875
        dr = dn * (3 if reset == "after" else 2) * 0.25
        product = dn / 2 if reset == "after" else dn
        want = {"x": np.zeros((1, 1, 1)), "h0": np.array([[0.25 + dn]])}  # z, and wh_n · r · dn = dn
        want |= {"wx": np.array([[dr, dz, dn]]), "wh": np.array([[dr, dz, dn / 2]])}
        want |= {"bx": np.array([dr, dz, dn]), "bh": np.array([dr, dz, product])}
        of = f"gru_backward of one step from h0 = 1 with r = 0.5, z = 0.25, wh_n = 2, bh_n = 1, dh = 1, reset {reset}"
        dh = np.ones((1, 1, 1))
        mistakes = {**GRU_MISTAKES, **GRU_ALONE[reset]}
        known = {name: gru_sweep(given, dh, reset, mistake) for name, mistake in mistakes.items()}
        agree(attempt.gru_backward(gru_cache(given, reset), dh), want, of=of, known=told_apart(known, want))


@part("gru_backward")
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("on", ["every step", "the last step"])
def test_gru_backward(attempt, draw, on, reset):
    """The gradients are those of sum(h · dh), whichever of the two GRUs it is."""
    for sizes in SIZES:
        given = gru_given(draw, *sizes)
        dh = loss_on(draw, on, sizes) * LOSSES[on]
        known = gru_known(given, dh, reset) if sizes == (2, 5, 3, 4) else None
        of = f"gru_backward, {sized(sizes)}, reset {reset}, a loss on {on}"
        got = attempt.gru_backward(gru_cache(given, reset), dh)
        agree(got, gru_slopes(given, dh, reset), axes="n t d", of=of, tol=EXACT, known=known)


@part("gru_backward")
@pytest.mark.parametrize("reset", RESETS)
def test_gru_backward_of_gates_that_are_shut(attempt, draw, reset):
    """Gates of exactly 0 and 1 have finite gradients."""
    sizes = _, _, _, u = 2, 4, 3, 5
    given = gru_given(draw, *sizes)
    given["bx"] = turned(1e3 * numbers(draw).choice([-1.0, 1.0], size=3 * u))
    dh = loss_on(draw, "every step", sizes)
    of = f"gru_backward, {sized(sizes)}, reset {reset}, biases of ±1000"
    agree(attempt.gru_backward(gru_cache(given, reset), dh), gru_sweep(given, dh, reset), of=of)


@part("gru_backward")
@pytest.mark.parametrize(("reset", "on"), [("after", "every step"), ("before", "the last step")])
def test_gru_backward_through_5000_steps(attempt, draw, reset, on):
    """One sweep back is enough for 5,000 losses; z near 1 carries gradients all the way."""
    sizes = _, _, _, u = 3, 5000, 5, 37
    given = gru_given(draw, *sizes)
    given |= {"x": given["x"] * 0.1, "wx": given["wx"] * 0.1, "wh": given["wh"] * 0.03}
    given["bx"][u : 2 * u] += 9.0
    dh = loss_on(draw, on, sizes)
    of = f"gru_backward, {sized(sizes)}, reset {reset}, a loss on {on}"
    grads = attempt.gru_backward(gru_cache(given, reset), dh)
    hold_along(lambda moved: (gru_states(moved, reset)[0] * dh).sum(), given, grads, numbers(draw), of)


@part("gru_backward")
def test_gru_backward_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    calls = []
    for t, reset in ((5, "after"), (5, "after"), (0, "before")):
        given, dh = gru_given(draw, 2, t, 3, 4), loss_on(draw, "every step", (2, t, 3, 4))
        calls.append((gru_cache(given, reset), dh))
    hold_kept(attempt, reference, "gru_backward", calls, "gru_backward, n=2, d=3, u=4, t=5, 5 and 0")


# --- run_padded -------------------------------------------------------------------------------------------------------


def run_alone(x, weights):
    """h (t, u) of one sequence without padding, from states of 0."""
    u = len(weights["wh"])
    h, c, rows = np.zeros((1, u)), np.zeros((1, u)), []
    for entry in x:
        h, c, _ = one_lstm_step(entry[None], h, c, weights)
        rows.append(h[0])
    return np.array(rows).reshape(-1, u)


def run_each(x, lengths, weights, reverse=None):
    """(out, last), sequence by sequence."""
    n, t, _ = x.shape
    u = len(weights["wh"])
    ways = [weights] if reverse is None else [weights, reverse]
    out, last = np.zeros((n, t, u * len(ways))), np.zeros((n, u * len(ways)))
    for k, length in enumerate(lengths):
        for way, given in enumerate(ways):
            own = slice(way * u, (way + 1) * u)
            entries = x[k, :length][:: -1 if way else 1]
            states = run_alone(entries, given)
            out[k, :length, own] = states[:: -1 if way else 1]
            if length:
                last[k, own] = states[-1]
    return out, last


def padded(rng, n, t, d, lengths, padding, scale=1.0):
    x = rng.normal(size=(n, t, d)) * scale
    for k, length in enumerate(lengths):
        x[k, length:] = padding
    return turned(x)


def padded_mistakes(x, lengths, weights, reverse):
    u = len(weights["wh"])
    n, t, _ = x.shape
    right, last = run_each(x, lengths, weights, reverse)
    full = np.full(n, t)
    there = (np.arange(t) < lengths[:, None])[:, :, None]
    through, behind = run_each(x, full, weights, reverse)
    found = {
        "states that go on through the padding": (through, behind),
        "the state behind step t, in the padding": (right, right[:, -1]),
        "out of the padding set to 0, but the state behind step t": (through * there, behind),
    }
    if reverse is not None:
        flipped, _ = run_each(x[:, ::-1], full, reverse)
        from_end = np.concatenate([right[:, :, :u], flipped[:, ::-1] * there], axis=2)
        found["the second LSTM from step t on, through the padding"] = (
            from_end, np.concatenate([last[:, :u], from_end[:, 0, u:]], axis=1),
        )  # fmt: skip
        turned_out = np.array(right)
        for k, length in enumerate(lengths):
            turned_out[k, :length, u:] = right[k, :length, u:][::-1]
        found["the second LSTM's states in the order in which it read"] = (turned_out, last)
        end = (
            np.take_along_axis(right, np.maximum(lengths - 1, 0)[:, None, None], axis=1)[:, 0] * (lengths > 0)[:, None]
        )
        found["the second LSTM's state at the last entry, not at the first"] = (right, end)
        found["both LSTMs from left to right"] = tuple(
            np.concatenate([a, b], axis=-1)
            for a, b in zip(run_each(x, lengths, weights), run_each(x, lengths, reverse), strict=True)
        )
        found["the first LSTM's weights in both directions"] = run_each(x, lengths, weights, weights)
        found["the two directions added"] = (right[:, :, :u] + right[:, :, u:], last[:, :u] + last[:, u:])
    return found


def hold_padded(got, want, of, known=None):
    assert isinstance(got, tuple | list), f"{of} returned no (out, last)"
    agree(tuple(got), want, axes="n t u", of=f"{of}: (out, last)", tol=EXACT, known=known)


LENGTHS = [
    (6, [4, 6, 1, 0, 3]),
    (5, [5, 5, 5]),
    (7, [2, 3, 3]),
    (3, [0, 0]),
    (1, [1, 0]),
    (0, [0, 0]),
    (4, []),
]
"""t, and the lengths: all, none, fewer than t; none at all."""


@part("run_padded")
def test_run_padded_by_hand(attempt):
    """Constant gates i = 0.75, f = 0.25, g = 0.6, o = 0.8: c = 0.45, then 0.5625; the third step is padding."""
    weights = {"wx": np.zeros((1, 4)), "wh": np.zeros((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    x = np.array([[[5.0], [5.0], [np.nan]]])
    first, second = 0.8 * math.tanh(0.45), 0.8 * math.tanh(0.5625)
    want = np.array([[[first], [second], [0.0]]]), np.array([[second]])
    third = 0.8 * math.tanh(0.590625)
    known = {"states that go on through the padding": (np.array([[[first], [second], [third]]]), np.array([[third]]))}
    of = "run_padded of one sequence of 2 in 3 steps, with constant gates"
    hold_padded(attempt.run_padded(x, np.array([2], dtype=np.int32), weights), want, of, known)


@part("run_padded")
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("t_and_lengths", LENGTHS, ids=str)
def test_run_padded(attempt, draw, t_and_lengths, directions):
    """Each sequence gets what it gets alone, without padding; in the padding out is 0."""
    t, lengths = t_and_lengths
    lengths = np.array(lengths, dtype=np.int64)
    rng = numbers(draw)
    n, d, u = len(lengths), 3, 4
    x = padded(rng, n, t, d, lengths, 7.0)
    weights, reverse = lstm_weights(rng, d, u), lstm_weights(rng, d, u) if directions == 2 else None
    of = f"run_padded, n={n}, t={t}, d={d}, u={u}, lengths {lengths.tolist()}, {directions} direction(s)"
    known = padded_mistakes(x, lengths, weights, reverse) if t == 6 else None
    ways = (weights,) if reverse is None else (weights, reverse)
    hold_padded(attempt.run_padded(x, lengths, *ways), run_each(x, lengths, *ways), of, known)


@part("run_padded")
@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e308])
def test_run_padded_with_anything_in_the_padding(attempt, draw, padding):
    """Padding may be NaN, infinite or huge: it changes nothing. What is read may be large, or NaN, too."""
    lengths = np.array([3, 7, 0, 5])
    rng = numbers(draw)
    x = padded(rng, 4, 7, 2, lengths, padding, [1e3, 1.0])
    x[1, 4, 1] = np.nan
    weights, reverse = lstm_weights(rng, 2, 3), lstm_weights(rng, 2, 3)
    for way in (weights, reverse):
        way["wx"] = way["wx"] / [[1e3], [1.0]]
    of = f"run_padded, n=4, t=7, d=2, u=3, lengths {lengths.tolist()}, padding of {padding:g}"
    hold_padded(attempt.run_padded(x, lengths, weights, reverse), run_each(x, lengths, weights, reverse), of)


@part("run_padded")
def test_run_padded_gives_new_arrays(attempt, reference, draw):
    """Results are new arrays, share no memory with arguments, and follow them if the caller changes them in place."""
    rng = numbers(draw)
    calls = [
        (drawn(rng, 2, 5, 3), np.array([5, 3]), *(lstm_weights(rng, 3, 4) for _ in range(ways)))
        for ways in (1, 1, 2, 2)
    ]
    hold_kept(attempt, reference, "run_padded", calls, "run_padded, n=2, t=5, d=3, u=4")


@part("run_padded")
def test_run_padded_refuses(attempt, draw):
    """A length lies in 0 ... t."""
    rng = numbers(draw)
    weights, reverse = lstm_weights(rng, 2, 3), lstm_weights(rng, 2, 3)
    for t, lengths in ((4, [2, 5, 3]), (4, [3, -1, 2]), (4, [1, 9, 0]), (4, [4, -7, 1]), (0, [0, 1, 0])):
        x, of = rng.normal(size=(3, t, 2)), f"run_padded of {t} steps with lengths {lengths}"
        with refusal(ValueError, of=of):
            attempt.run_padded(x, np.array(lengths), weights)
        with refusal(ValueError, of=f"{of}, two directions"):
            attempt.run_padded(x, np.array(lengths), weights, reverse)


# --- variational_dropout ----------------------------------------------------------------------------------------------


@part("variational_dropout")
@pytest.mark.parametrize("p", [0.0, 0.25, 0.75])
def test_dropout_has_one_mask_for_all_steps(attempt, draw, p):
    """mask (n, 1, d) has 0 or 1/(1 - p), and out is x times it at every step."""
    n, t, d = 23, 7, 31
    x = drawn(numbers(draw), n, t, d)
    x[0] = 0.0
    of = f"variational_dropout of x (n={n}, t={t}, d={d}), p = {p}"
    got = attempt.run(drivers.dropped, x, p, draw.random.getrandbits(32))
    assert isinstance(got, tuple | list), f"{of} returned no (out, mask)"
    out, mask = got
    assert isinstance(mask, np.ndarray), f"{of}: the mask is {type(mask).__name__}, not an array"
    agree(mask.shape, (n, 1, d), of=f"the shape of the mask, {of}")
    kept = mask != 0
    known = {"1 where an entry is kept (not scaled)": kept * 1.0, "1 - p where it is kept": kept * (1 - p)}
    known |= {"1/p where it is kept": kept / p} if p else {}
    agree(mask, kept / (1 - p), axes="n t d", of=f"the mask of {of}", known=known if p else None)
    agree(out, x * mask, axes="n t d", of=f"out of {of}")


@part("variational_dropout")
@pytest.mark.parametrize(("p", "n", "d", "calls"), [(0.3, 3, 4, 4000), (0.75, 5000, 10, 1), (0.0013, 5000, 10, 1)])
def test_dropout_drops_independently(attempt, draw, p, n, d, calls):
    """Each feature of each sequence is dropped by itself with probability p, in one call and over many."""
    got = attempt.run(drivers.masks, (n, 2, d), p, draw.random.getrandbits(32), calls)
    of = f"variational_dropout of x (n={n}, t=2, d={d}) with p = {p}, {calls} calls"
    agree(got.shape, (calls, n, 1, d), of=f"the shapes of the masks, {of}")
    dropped = got.reshape(calls if calls > 1 else n, -1) == 0
    hold_independent(torch.from_numpy(dropped), p, f"{of}: dropped", lambda k: f"entry {k}")
    hold_rate(int(dropped.sum()), dropped.size, p, f"{of}: dropped")
    rare, many = 0.00005, 299_999  # of chance in 10,000 levels nothing that is dropped is left, or twice as much
    got = attempt.run(drivers.masks, (many, 1, 10), rare, draw.random.getrandbits(32), 1)
    hold_rate(int((got == 0).sum()), got.size, rare, f"variational_dropout of x ({many}, 1, 10), p = {rare:g}: dropped")


@part("variational_dropout")
def test_dropout_draws_from_its_generator(attempt, draw):
    """All random numbers come from rng, which is used up: not copied, not seeded anew, nothing global."""
    n, d = 300, 101
    x, seed, of = np.ones((n, 2, d)), draw.random.getrandbits(32), f"variational_dropout of x ({n}, 2, {d})"
    first = hold_generator(attempt, drivers.mask, x, 0.5, seed=seed, of=f"the mask of {of}", parameter="rng")
    used = attempt.run(drivers.idle, x, 0.5, seed)
    assert used is False, f"{of} with training=False drew from rng: there is nothing to draw"
    agree(first.shape, (n, 1, d), of=f"the shape of the mask, {of}")
    hold_unrepeated(torch.from_numpy(first[:, 0] == 0), 0.5, f"{of}: dropped")


@part("variational_dropout")
@pytest.mark.parametrize("p", [0.0, 0.6])
def test_dropout_in_evaluation(attempt, draw, p):
    """In evaluation x comes back, the mask is 1 everywhere, and no generator is needed."""
    x = drawn(numbers(draw), 3, 4, 5)
    got = attempt.run(drivers.dropped, x, p, None, training=False)
    of = f"variational_dropout of x (3, 4, 5) with p = {p}, training=False, rng=None"
    assert isinstance(got, tuple | list), f"{of} returned no (out, mask)"
    out, mask = got
    agree(out, x, axes="n t d", of=f"out of {of}", known={"x · (1 - p)": x * (1 - p)} if p else None)
    agree(mask, np.ones((3, 1, 5)), axes="n t d", of=f"the mask of {of}")


@part("variational_dropout")
def test_dropout_gives_new_arrays(attempt, draw):
    """Results are new arrays, in evaluation too: x, and what later calls return, stay what they are."""
    got = attempt.run(drivers.untouched, drawn(numbers(draw), 3, 4, 5), 0.0, draw.random.getrandbits(32))
    for when in ("training", "evaluation"):
        of = f"variational_dropout with p = 0, in {when}"
        assert not got[when]["shared"], f"{of}: x and a result share memory; return a new array"
        said = "a result changed with the results of another call; return new arrays"
        assert not got[when]["changed"], f"{of}: {said}"


@part("variational_dropout")
@pytest.mark.parametrize("shape", [(3, 0, 2), (0, 4, 2), (1, 1, 1)], ids=str)
def test_dropout_of_any_size(attempt, draw, shape):
    """Without steps or sequences there is a mask as well, of shape (n, 1, d)."""
    x = drawn(numbers(draw), *shape)
    out, mask = attempt.run(drivers.dropped, x, 0.5, draw.random.getrandbits(32))
    of = f"variational_dropout of x {shape}, p = 0.5"
    agree(np.shape(mask), (shape[0], 1, shape[2]), of=f"the shape of the mask, {of}")
    agree(out, x * mask, axes="n t d", of=f"out of {of}")


@part("variational_dropout")
@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, -1e-12, math.nan])
def test_dropout_refuses(attempt, p):
    """p is a probability below 1, however near."""
    x, near = np.ones((2, 3, 4)), 1 - 1e-9
    out, mask = attempt.run(drivers.dropped, x, near, 1)
    agree(out, x * (mask != 0) / (1 - near), axes="n t d", of="out of variational_dropout of ones with p = 1 - 1e-9")
    for training in (True, False):
        with refusal(ValueError, of=f"variational_dropout with p = {p}, training={training}"):
            attempt.run(drivers.dropped, np.ones((2, 3, 4)), p, 1, training=training)


# --- recurrent_parameter_count ----------------------------------------------------------------------------------------

BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}


def counted(cell, d, u, layers=1, bidirectional=False, biases=2):
    """Shape by shape."""
    total, inputs = 0, d
    for _ in range(layers):
        for _ in range(1 + bidirectional):
            shapes = [(inputs, BLOCKS[cell] * u), (u, BLOCKS[cell] * u), *[(BLOCKS[cell] * u,)] * biases]
            total += sum(math.prod(shape) for shape in shapes)
        inputs = u * (1 + bidirectional)
    return total


@part("recurrent_parameter_count")
def test_count_of_published_sizes(attempt):
    """LSTM(10, 20) has 2,560 parameters, GRU(10, 20) 1,920, RNN(10, 20) 640, with two biases as in torch."""
    for cell, want in (("lstm", 2560), ("gru", 1920), ("rnn", 640)):
        known = {"one bias": counted(cell, 10, 20, biases=1), "no biases": counted(cell, 10, 20, biases=0)}
        got = attempt.recurrent_parameter_count(cell, 10, 20)
        agree(got, want, of=f"recurrent_parameter_count({cell!r}, 10, 20)", known=known)


@part("recurrent_parameter_count")
@pytest.mark.parametrize("cell", BLOCKS)
def test_count_of_layers_and_directions(attempt, cell):
    """Layers above the first read the states of all directions; each direction has its own parameters."""
    cases = [
        (d, u, layers, bidirectional, biases)
        for d, u in ((3, 5), (70001, 65537), (1, 1))
        for layers in (1, 2, 7)
        for bidirectional in (False, True)
        for biases in (0, 1, 2)
    ]
    got = attempt.each("recurrent_parameter_count", [(cell, *case) for case in cases])
    for case, one in zip(cases, got, strict=True):
        d, u, layers, bidirectional, biases = case
        named = f"layers={layers}, bidirectional={bidirectional}, biases={biases}"
        of = f"recurrent_parameter_count({cell!r}, {d}, {u}, {named})"
        one_way = counted(cell, d, u, layers, False, biases)
        known = {
            "layers that all read d inputs": layers * counted(cell, d, u, 1, bidirectional, biases),
            "upper layers that read u, not both directions": 2 * one_way,
            "one direction": one_way,
        }
        want = counted(cell, *case)
        agree(one, want, of=of, known=told_apart(known, want))


@part("recurrent_parameter_count")
def test_count_by_name(attempt):
    """layers, bidirectional and biases may be named; if not, there is one layer, one direction and two biases."""
    want = counted("gru", 6, 11, 3, True, 1)
    got = attempt.recurrent_parameter_count("gru", 6, 11, biases=1, bidirectional=True, layers=3)
    agree(got, want, of="recurrent_parameter_count('gru', 6, 11, layers=3, bidirectional=True, biases=1)")
    agree(attempt.recurrent_parameter_count("lstm", 6, 11), 836, of="recurrent_parameter_count('lstm', 6, 11)")


@part("recurrent_parameter_count")
def test_count_of_a_cell_that_there_is_not(attempt):
    """Another cell is a ValueError."""
    for cell in ("transformer", "LSTM", "lstm ", "lstmp", "relu", "gr", ""):
        with refusal(ValueError, of=f"recurrent_parameter_count({cell!r}, 3, 4)"):
            attempt.recurrent_parameter_count(cell, 3, 4)
