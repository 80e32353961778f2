"""nn_003 · RNN, LSTM, GRU: forward, back through time, why an LSTM remembers, and sequences of unlike lengths.

Notation
    n  sequences in a batch      t  steps      d  features of an input      u  units: entries of a state
    h  the state      c  the cell state of an LSTM      dh, dc  gradients of the loss by them
    σ  the sigmoid      ⊙  entry by entry      x·w  a product of matrices

A recurrent network is one layer used t times, on the input of each step and on its own state of the step before. The
way back is that of a network of t layers that share their weights: the gradients of all steps *add up*.

Rules for all functions: numpy alone. Arrays are float64 (integers where that is said), need not be contiguous, and are
left alone; results are float64, and new: they share no memory with what was given, and later calls leave them alone.
n and t may be 0 wherever they occur, d and u are 1 or more. x is (n, t, d), so step s of all sequences is x[:, s].

torch has all of this ready, and autograd its derivatives: neither may be called in any part, whichever way.

Weights are dicts of arrays, and multiply from the right: x·wx + h·wh + b. The gates of an LSTM lie side by side in the
order i f g o, those of a GRU in the order r z n, as in torch: columns 0 ... u - 1 belong to the first gate.

    LSTM    wx (d, 4u)    wh (u, 4u)    b (4u,)
    GRU     wx (d, 3u)    wh (u, 3u)    bx (3u,)    bh (3u,)

Gradients come as a dict, each under the name of what it is the gradient by, and of that shape.

Further reading: Hochreiter and Schmidhuber 1997 (LSTM); Gers et al. 2000 (the forget gate); Cho et al. 2014 (GRU);
Werbos 1990 (backpropagation through time); Pascanu et al. 2013; Jozefowicz et al. 2015; Gal and Ghahramani 2016.
"""

from typing import Any

import numpy as np


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), for entries of any size. Given.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0]))
    array([0.5, 0. , 1. ])
    """
    small = np.exp(-np.abs(z))  # at most 1, whatever z is
    return np.where(z >= 0, 1.0, small) / (1 + small)


def rnn_forward(x: np.ndarray, h0: np.ndarray, wx: np.ndarray, wh: np.ndarray, b: np.ndarray) -> np.ndarray:
    """All states of a simple recurrent network (Elman's).

        h_s = tanh(x_s·wx + h_(s-1)·wh + b)          the state before the first step is h0

    x: (n, t, d); h0: (n, u); wx: (d, u); wh: (u, u); b: (u,). Returns h (n, t, u), where h[:, s] is the state behind
    step s. h0 is not among them. Forbidden: torch, autograd.

    tanh(ln 2) = 0.6, and tanh(ln 3) = 0.8:

    >>> x = np.array([[[np.log(2)], [np.log(3) - 0.3]]])  # 0.3 = 0.6 · wh
    >>> rnn_forward(x, np.zeros((1, 1)), np.array([[1.0]]), np.array([[0.5]]), np.zeros(1))
    array([[[0.6],
            [0.8]]])
    """
    ### BEGIN SOLUTION
    n, t, _ = x.shape
    inputs, state, h = x @ wx + b, h0, np.empty((n, t, len(wh)))
    for s in range(t):
        state = np.tanh(inputs[:, s] + state @ wh)
        h[:, s] = state
    return h
    ### END SOLUTION


def rnn_backward(cache: dict[str, np.ndarray], dh: np.ndarray, window: int | None = None) -> dict[str, np.ndarray]:
    """Backpropagation through time: the gradients by x, h0, wx, wh and b.

    cache has x, h0, wx, wh, b as given to `rnn_forward`, and h as it returned them. dh: (n, t, u): dh[:, s] is the
    gradient of the loss by h[:, s] as far as the loss looks at that state itself. A state has a second way to the loss,
    through the state after it: the two gradients add up. A loss on the last state alone has dh = 0 elsewhere.

    window: truncated backpropagation. The steps are cut into pieces of `window` steps, counted from the first (the last
    piece may be shorter). The state that a piece begins with is taken as a constant, like an input: no gradient passes
    from a piece to the one before. So h0 gets a gradient from the first piece alone, and wh still gets one at the first
    step of each piece. None: not truncated.

    Cost: one sweep from the end to the start, however many steps have a loss; t may be 5,000.
    Raises ValueError for a window below 1. Forbidden: torch, autograd.

    Of the example above, where only the last state counts, 1 - 0.8² = 0.36 and 0.36 · 0.5 · (1 - 0.6²) = 0.1152:

    >>> x = np.array([[[np.log(2)], [np.log(3) - 0.3]]])
    >>> cache = {"x": x, "h0": np.zeros((1, 1)), "wx": np.array([[1.0]]), "wh": np.array([[0.5]]), "b": np.zeros(1)}
    >>> cache["h"] = np.array([[[0.6], [0.8]]])
    >>> dh = np.array([[[0.0], [1.0]]])
    >>> [rnn_backward(cache, dh, window)["x"].round(9).ravel().tolist() for window in (None, 1)]
    [[0.1152, 0.36], [0.0, 0.36]]
    """
    ### BEGIN SOLUTION
    x, h0, wx, wh, h = (cache[name] for name in ("x", "h0", "wx", "wh", "h"))
    if window is not None and window < 1:
        raise ValueError(f"a window has one step or more: {window}")
    dz, carry = np.empty(h.shape), np.zeros(h0.shape)
    for s in reversed(range(h.shape[1])):
        dz[:, s] = (dh[:, s] + carry) * (1 - h[:, s] ** 2)
        carry = dz[:, s] @ wh.T
        if window and s and s % window == 0:
            carry = np.zeros(h0.shape)
    before = np.concatenate([h0[:, None], h], axis=1)[:, :-1]
    return {
        "x": dz @ wx.T,
        "h0": carry,
        "wx": np.einsum("ntd,ntu->du", x, dz),
        "wh": np.einsum("ntv,ntu->vu", before, dz),
        "b": dz.sum(axis=(0, 1)),
    }
    ### END SOLUTION


def lstm_step(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of an LSTM: returns (h, c, gates), the states behind it and the gates that it used.

        z = x·wx + h·wh + b      four blocks of u columns      i = σ(z_i)    f = σ(z_f)    g = tanh(z_g)    o = σ(z_o)

        c_new = f ⊙ c + i ⊙ g              keep f of what was there, write i of what is new
        h_new = o ⊙ tanh(c_new)            show o of it

    x: (n, d); h, c: (n, u); weights: above. gates: (n, 4u), i f g o side by side. Entries of z may be ±1,000 and more:
    nothing becomes NaN. Forbidden: torch, autograd.

    With i = 0.75, f = 0.25, g = 0.6, o = 0.8, whatever x and h are, c = 2 becomes 0.25 · 2 + 0.75 · 0.6 = 0.95:

    >>> weights = {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    >>> h, c, gates = lstm_step(np.ones((1, 1)), np.zeros((1, 1)), np.array([[2.0]]), weights)
    >>> gates.round(9), c.round(9), h.round(4)  # 0.8 · tanh(0.95)
    (array([[0.75, 0.25, 0.6 , 0.8 ]]), array([[0.95]]), array([[0.5918]]))
    """
    ### BEGIN SOLUTION
    z = x @ weights["wx"] + h @ weights["wh"] + weights["b"]
    i, f, g, o = np.split(z, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    return o * np.tanh(c), c, np.concatenate([i, f, g, o], axis=1)
    ### END SOLUTION


def lstm_forward(x: np.ndarray, h0: np.ndarray, c0: np.ndarray, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """An LSTM along x (n, t, d): your `lstm_step`, t times. Given.

    Returns all that the way back needs, a dict: x, h0, c0 and weights as they came, and behind each step h and c
    (n, t, u) and gates (n, t, 4u), in the order i f g o.
    """
    n, t, _ = x.shape
    h, c, gates = (np.empty((n, t, k * h0.shape[1])) for k in (1, 1, 4))
    state, cell = h0, c0
    for s in range(t):
        state, cell, gates[:, s] = lstm_step(x[:, s], state, cell, weights)
        h[:, s], c[:, s] = state, cell
    return {"x": x, "h0": h0, "c0": c0, "weights": weights, "h": h, "c": c, "gates": gates}


def lstm_backward(cache: dict[str, Any], dh: np.ndarray, dc: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Backpropagation through all steps of an LSTM: the gradients by x, h0, c0, wx, wh and b.

    cache: what `lstm_forward` returns, as described there. dh: (n, t, u), the gradient of the loss by each h as far as
    the loss looks at that state itself. dc: (n, u), the gradient by the last cell state; None if the loss does not look
    at it. (With t = 0 the last cell state is c0.)

    A cell state has two ways to the loss: on to the next cell state, times f, and out through h = o ⊙ tanh(c). A state
    h has these: the loss itself, and all four gates of the next step.

    Cost: one sweep from the end to the start; t may be 5,000. Gates of exactly 0 or 1 are no problem.
    Forbidden: torch, autograd.

    One step with the gates of the example above, c0 = 2 and dh = 1: 0.8 · (1 - tanh²(0.95)) = 0.3622 reaches the cell
    state, and a quarter of it c0.

    >>> weights = {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    >>> cache = {"x": np.ones((1, 1, 1)), "h0": np.zeros((1, 1)), "c0": np.array([[2.0]]), "weights": weights}
    >>> cache |= {"gates": np.array([[[0.75, 0.25, 0.6, 0.8]]]), "c": np.array([[[0.95]]])}
    >>> cache["h"] = 0.8 * np.tanh(cache["c"])
    >>> grads = lstm_backward(cache, np.ones((1, 1, 1)))
    >>> grads["c0"].round(4), grads["b"].round(4)
    (array([[0.0905]]), array([0.0407, 0.1358, 0.1738, 0.1184]))
    """
    ### BEGIN SOLUTION
    wx, wh, h, c = cache["weights"]["wx"], cache["weights"]["wh"], cache["h"], cache["c"]
    h_before = np.concatenate([cache["h0"][:, None], h], axis=1)[:, :-1]
    c_before = np.concatenate([cache["c0"][:, None], c], axis=1)[:, :-1]
    i, f, g, o = np.split(cache["gates"], 4, axis=2)
    shown = np.tanh(c)
    out = o * (1 - shown**2)
    # what each block of z changes: i, f and g the cell state, o the state
    slopes = [g * i * (1 - i), c_before * f * (1 - f), i * (1 - g**2), shown * o * (1 - o)]
    dz, carry = np.empty(cache["gates"].shape), np.zeros(cache["h0"].shape)
    dcell = np.zeros(carry.shape) if dc is None else dc
    for s in reversed(range(h.shape[1])):
        dstate = dh[:, s] + carry
        dcell = dcell + dstate * out[:, s]
        by = (dcell, dcell, dcell, dstate)
        dz[:, s] = np.concatenate([d * slope[:, s] for d, slope in zip(by, slopes, strict=True)], axis=1)
        carry, dcell = dz[:, s] @ wh.T, dcell * f[:, s]
    return {
        "x": dz @ wx.T,
        "h0": carry,
        "c0": np.array(dcell),
        "wx": np.einsum("ntd,ntu->du", cache["x"], dz),
        "wh": np.einsum("ntv,ntu->vu", h_before, dz),
        "b": dz.sum(axis=(0, 1)),
    }
    ### END SOLUTION


def cell_jacobian(
    weights: dict[str, np.ndarray], x: np.ndarray, h0: np.ndarray, c0: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the last cell state of an LSTM depends on the first: (direct, whole), both (u, u).

        whole[a, b]   ∂c_t[a] / ∂c0[b], through everything that lies between; h0 and x are fixed
        direct        what is left of it if gates are taken as constants: diag(f_1 ⊙ f_2 ⊙ ... ⊙ f_t)

    direct is what is meant by "the gradient of an LSTM is the product of its forget gates". But from the second step on
    the gates see h, and h depends on c: the whole Jacobian is not diagonal.

    One sequence, no batch: x: (t, d); h0, c0: (u,). With t = 0 both are the identity; with t = 1 they are equal.
    Precise to rounding: no differences. Forbidden: torch, autograd.

    >>> weights = {"wx": np.zeros((1, 4)), "wh": np.ones((1, 4)), "b": np.zeros(4)}
    >>> direct, whole = cell_jacobian(weights, np.zeros((2, 1)), np.zeros(1), np.ones(1))
    >>> direct.round(4), whole.round(4)
    (array([[0.2788]]), array([[0.418]]))
    """
    ### BEGIN SOLUTION
    u = len(c0)
    h, c = h0[None], c0[None]
    direct, whole, state = np.ones((u, 1)), np.eye(u), np.zeros((u, u))  # state: ∂h / ∂c0
    for entry in x:
        before = c.T
        h, c, gates = lstm_step(entry[None], h, c, weights)
        i, f, g, o = gates.reshape(4, u, 1)  # columns: each multiplies the rows of a Jacobian
        di, df, dg, do = (weights["wh"].T @ state).reshape(4, u, u)
        direct = direct * f
        whole = f * whole + g * i * (1 - i) * di + before * f * (1 - f) * df + i * (1 - g**2) * dg
        shown = np.tanh(c.T)
        state = shown * o * (1 - o) * do + o * (1 - shown**2) * whole
    return np.diag(direct[:, 0]), whole
    ### END SOLUTION


def gru_step(
    x: np.ndarray, h: np.ndarray, weights: dict[str, np.ndarray], reset: str = "after"
) -> tuple[np.ndarray, np.ndarray]:
    """One step of a GRU: returns (h, gates), the state behind it and the gates r z n that it used, (n, 3u).

        r = σ(x·wx_r + bx_r + h·wh_r + bh_r)        z = σ(x·wx_z + bx_z + h·wh_z + bh_z)

        reset "after"     n = tanh(x·wx_n + bx_n + r ⊙ (h·wh_n + bh_n))         torch, cuDNN, Keras
        reset "before"    n = tanh(x·wx_n + bx_n + (r ⊙ h)·wh_n + bh_n)         Cho et al. 2014

        h_new = (1 - z) ⊙ n + z ⊙ h                                              z keeps

    x: (n, d); h: (n, u); weights: above; wx_r is its block of columns. The two differ in where r acts: on the product,
    its bias included, or on the state. Entries of the sums may be ±1,000 and more: nothing becomes NaN.

    Raises ValueError for another reset. Forbidden: torch, autograd.

    r = 0.5, z = 0.25 and wh_n = 2: from h = 1, with bh_n = 1, n = tanh(0.5 · 3) after and tanh(0.5 · 2 + 1) before.

    >>> weights = {"wx": np.zeros((1, 3)), "wh": np.array([[0.0, 0.0, 2.0]]), "bx": np.array([0.0, -np.log(3), 0.0])}
    >>> weights["bh"] = np.array([0.0, 0.0, 1.0])
    >>> for reset in ("after", "before"):
    ...     h, gates = gru_step(np.zeros((1, 1)), np.ones((1, 1)), weights, reset)
    ...     print(h.round(4), gates.round(4))
    [[0.9289]] [[0.5    0.25   0.9051]]
    [[0.973]] [[0.5   0.25  0.964]]
    """
    ### BEGIN SOLUTION
    u = h.shape[1]
    wh, bh = weights["wh"], weights["bh"]
    inputs = x @ weights["wx"] + weights["bx"]
    both = sigmoid(inputs[:, : 2 * u] + h @ wh[:, : 2 * u] + bh[: 2 * u])
    r, z = both[:, :u], both[:, u:]
    if reset == "after":
        n = np.tanh(inputs[:, 2 * u :] + r * (h @ wh[:, 2 * u :] + bh[2 * u :]))
    elif reset == "before":
        n = np.tanh(inputs[:, 2 * u :] + (r * h) @ wh[:, 2 * u :] + bh[2 * u :])
    else:
        raise ValueError(f"reset is 'after' or 'before', not {reset!r}")
    return (1 - z) * n + z * h, np.concatenate([r, z, n], axis=1)
    ### END SOLUTION


def gru_forward(x: np.ndarray, h0: np.ndarray, weights: dict[str, np.ndarray], reset: str = "after") -> dict[str, Any]:
    """A GRU along x (n, t, d): your `gru_step`, t times. Given.

    Returns all that the way back needs, a dict: x, h0, weights and reset as they came, and behind each step h (n, t, u)
    and gates (n, t, 3u), in the order r z n.
    """
    n, t, _ = x.shape
    h, gates = (np.empty((n, t, k * h0.shape[1])) for k in (1, 3))
    state = h0
    for s in range(t):
        state, gates[:, s] = gru_step(x[:, s], state, weights, reset)
        h[:, s] = state
    return {"x": x, "h0": h0, "weights": weights, "reset": reset, "h": h, "gates": gates}


def gru_backward(cache: dict[str, Any], dh: np.ndarray) -> dict[str, np.ndarray]:
    """Backpropagation through all steps of a GRU: the gradients by x, h0, wx, wh, bx and bh.

    cache: what `gru_forward` returns, as described there; its reset says which of the two GRUs it is. dh: (n, t, u),
    the gradient of the loss by each h as far as the loss looks at that state itself.

    A state has these ways on: straight to the next state, times z, and through r, z and n of the next step. bx and bh
    get the same gradient but where reset stands between them: in the block of n, if it is "after".

    Cost: one sweep from the end to the start; t may be 5,000. Forbidden: torch, autograd.

    One step with the gates of the example above and dh = 1: 0.75 · (1 - 0.9051²) = 0.1355 reaches the sum in n.

    >>> weights = {"wx": np.zeros((1, 3)), "wh": np.array([[0.0, 0.0, 2.0]]), "bx": np.array([0.0, -np.log(3), 0.0])}
    >>> weights["bh"] = np.array([0.0, 0.0, 1.0])
    >>> cache = {"x": np.zeros((1, 1, 1)), "h0": np.ones((1, 1)), "weights": weights, "reset": "after"}
    >>> cache["gates"] = np.array([[[0.5, 0.25, np.tanh(1.5)]]])
    >>> cache["h"] = 0.75 * cache["gates"][:, :, 2:] + 0.25
    >>> grads = gru_backward(cache, np.ones((1, 1, 1)))
    >>> grads["bx"].round(4), grads["bh"].round(4), grads["h0"].round(4)
    (array([0.1016, 0.0178, 0.1355]), array([0.1016, 0.0178, 0.0678]), array([[0.3855]]))
    """
    ### BEGIN SOLUTION
    weights, h, after = cache["weights"], cache["h"], cache["reset"] == "after"
    u = h.shape[2]
    before = np.concatenate([cache["h0"][:, None], h], axis=1)[:, :-1]
    r, z, n = np.split(cache["gates"], 3, axis=2)
    gate_rows, new_rows = weights["wh"][:, : 2 * u].T, weights["wh"][:, 2 * u :].T
    behind = before @ new_rows.T + weights["bh"][2 * u :]  # what r multiplies, if it acts after the product
    by_inputs, by_state = np.empty(cache["gates"].shape), np.empty(cache["gates"].shape)
    carry = np.zeros(cache["h0"].shape)
    for s in reversed(range(h.shape[1])):
        dstate = dh[:, s] + carry
        dn = dstate * (1 - z[:, s]) * (1 - n[:, s] ** 2)
        dz = dstate * (before[:, s] - n[:, s]) * z[:, s] * (1 - z[:, s])
        product = dn * r[:, s] if after else dn  # the gradient by the product with wh_n
        reached = product @ new_rows  # the gradient by what wh_n multiplies
        dr = (dn * behind[:, s] if after else reached * before[:, s]) * r[:, s] * (1 - r[:, s])
        by_inputs[:, s] = np.concatenate([dr, dz, dn], axis=1)
        by_state[:, s] = np.concatenate([dr, dz, product], axis=1)
        carry = dstate * z[:, s] + by_state[:, s, : 2 * u] @ gate_rows + (reached if after else reached * r[:, s])
    multiplied = before if after else r * before
    return {
        "x": by_inputs @ weights["wx"].T,
        "h0": carry,
        "wx": np.einsum("ntd,ntu->du", cache["x"], by_inputs),
        "wh": np.concatenate(
            [
                np.einsum("ntv,ntu->vu", before, by_state[:, :, : 2 * u]),
                np.einsum("ntv,ntu->vu", multiplied, by_state[:, :, 2 * u :]),
            ],
            axis=1,
        ),
        "bx": by_inputs.sum(axis=(0, 1)),
        "bh": by_state.sum(axis=(0, 1)),
    }
    ### END SOLUTION


def run_padded(
    x: np.ndarray,
    lengths: np.ndarray,
    weights: dict[str, np.ndarray],
    reverse: dict[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """An LSTM over sequences of unlike lengths: returns (out, last).

    x: (n, t, d); lengths: (n,), integers in 0 ... t, in any order. Sequence k is x[k, :lengths[k]]; what lies behind it
    is padding, may be anything, also NaN, and changes nothing; NaN before it is read like any number. All states begin
    at 0.

        out     (n, t, u)     the state behind each entry; 0 in the padding
        last    (n, u)        the state behind the last entry of each sequence; 0 where a length is 0

    reverse: the weights of a second LSTM that reads each sequence from its own last entry to its first. Then out is
    (n, t, 2u): at each entry the state of the first, and beside it that of the second once it has read that entry. last
    is (n, 2u): each LSTM's state behind the last entry that it reads, which is entry 0 for the second.

    Raises ValueError for a length below 0 or above t. Forbidden: torch, autograd.

    >>> weights = {"wx": np.zeros((1, 4)), "wh": np.zeros((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}
    >>> out, last = run_padded(np.array([[[5.0], [5.0], [np.nan]]]), np.array([2]), weights)
    >>> out.round(4).ravel(), last.round(4)  # c = 0.45, then 0.25 · 0.45 + 0.45
    (array([0.3375, 0.4079, 0.    ]), array([[0.4079]]))
    """
    ### BEGIN SOLUTION
    n, t, _ = x.shape
    if np.any(lengths < 0) or np.any(lengths > t):
        raise ValueError(f"a length lies in 0 ... {t}: {lengths}")
    u = len(weights["wh"])
    steps = np.arange(t)
    there = steps < lengths[:, None]  # (n, t)
    out, h, c = np.zeros((n, t, u)), np.zeros((n, u)), np.zeros((n, u))
    for s in steps:
        h_new, c_new, _ = lstm_step(x[:, s], h, c, weights)
        held = there[:, s, None]
        h, c = np.where(held, h_new, h), np.where(held, c_new, c)
        out[:, s] = np.where(held, h, 0.0)
    if reverse is None:
        return out, h
    # entry s of a sequence turned around is entry lengths - 1 - s of it; padding stays where it is
    turned = np.where(there, lengths[:, None] - 1 - steps, steps)
    each = np.arange(n)[:, None]
    back, first = run_padded(x[each, turned], lengths, reverse)
    return np.concatenate([out, back[each, turned]], axis=2), np.concatenate([h, first], axis=1)
    ### END SOLUTION


def variational_dropout(
    x: np.ndarray, p: float, rng: np.random.Generator, training: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Dropout with one mask for all steps of a sequence: returns (out, mask) with out = x · mask.

        training      each entry of mask by itself: 0 with probability p, else 1/(1 - p)
        evaluation    mask is 1 everywhere, and rng is not used (it may be None)

    x: (n, t, d). mask: (n, 1, d): each sequence and each feature has its own, every step the same. All random numbers
    come from rng, which is used up as you draw: neither copied nor seeded anew, and the global state of np.random is
    left alone.

    Raises ValueError unless 0 <= p < 1. Forbidden: torch, autograd.

    Source: Gal and Ghahramani 2016, scaled while training.

    >>> out, mask = variational_dropout(np.full((2, 5, 3), 5.0), 0.75, np.random.default_rng(0))
    >>> mask.shape, bool(np.all(out == 5 * mask)), sorted(set(mask.ravel().tolist()))
    ((2, 1, 3), True, [0.0, 4.0])
    """
    ### BEGIN SOLUTION
    if not 0 <= p < 1:
        raise ValueError(f"a probability of dropping lies in [0, 1): {p}")
    shape = (len(x), 1, x.shape[2])
    mask = (rng.random(shape) >= p) / (1 - p) if training else np.ones(shape)
    return x * mask, mask
    ### END SOLUTION


def recurrent_parameter_count(
    cell: str, d: int, u: int, layers: int = 1, bidirectional: bool = False, biases: int = 2
) -> int:
    """The number of parameters of a recurrent network.

    cell: "rnn", "lstm" or "gru", of 1, 4 and 3 blocks. A block has a weight for each input and for each unit, and
    `biases` biases, for each of its units: torch and cuDNN have 2 (one beside wx, one beside wh), papers 1. All layers
    have u units. A layer reads the states of the layer below it, of both directions if there are two; each direction
    has parameters of its own.

    Raises ValueError for another cell. Forbidden: torch, autograd.

    >>> recurrent_parameter_count("lstm", 10, 20), recurrent_parameter_count("gru", 10, 20)
    (2560, 1920)
    """
    ### BEGIN SOLUTION
    blocks = {"rnn": 1, "lstm": 4, "gru": 3}
    if cell not in blocks:
        raise ValueError(f"no cell is called {cell!r}")
    directions = 2 if bidirectional else 1
    inputs = [d] + [directions * u] * (layers - 1)
    return sum(directions * blocks[cell] * u * (size + u + biases) for size in inputs)
    ### END SOLUTION
