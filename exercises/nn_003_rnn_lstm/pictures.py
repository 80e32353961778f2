"""What `rnn_lstm.py` makes, as pictures: run beside it, from inputs of their own. `grader picture` prints them."""

import numpy as np


def gates_over_time(module):
    """An LSTM of one unit, set by hand to remember: what comes in, its gates and its states, step by step."""
    write, value, read = np.zeros(28), np.zeros(28), np.zeros(28)
    write[[2, 14]], value[[2, 14]] = 1.0, (0.9, -0.7)
    value[[5, 6, 9, 18, 21, 22]] = 0.8, -0.9, 0.6, 0.9, -0.6, 0.8  # nobody says that these are to be kept
    read[[7, 8, 11, 20, 21, 25]] = 1.0
    weights = {
        "wx": np.array([[14.0, -14.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 14.0]]),
        "wh": np.zeros((1, 4)),
        "b": np.array([-7.0, 7.0, 0.0, -7.0]),
    }
    h, c, steps = np.zeros((1, 1)), np.zeros((1, 1)), []
    for x in np.stack([write, value, read], axis=1):
        h, c, gates = module.lstm_step(x[None], h, c, weights)
        steps.append([*x, *gates[0], c[0, 0], h[0, 0]])
    rows = ["write!", "value", "read!", "i", "f", "g", "o", "c", "h"]
    return {"values": np.array(steps).T, "rows": rows, "columns": [str(s) for s in range(28)]}


def gradients_by_window(module):
    """How large a gradient each input gets from the last state: how many powers of ten above 1e-6, for each window."""
    rng = np.random.default_rng(0)
    d, u, t = 8, 16, 37
    given = {"x": rng.normal(size=(1, t, d)), "h0": np.zeros((1, u)), "wx": 0.3 * rng.normal(size=(d, u)) / np.sqrt(d)}
    given |= {"wh": 1.1 * rng.normal(size=(u, u)) / np.sqrt(u), "b": np.zeros(u)}
    cache = {**given, "h": module.rnn_forward(*given.values())}
    dh = np.zeros((1, t, u))
    dh[:, -1] = 1
    rows = []
    for window in (None, 24, 15, 8, 1):
        size = np.linalg.norm(module.rnn_backward(cache, dh, window)["x"][0], axis=1)
        rows.append(np.log10(np.maximum(size, 1e-6)) + 6)
    return {"values": np.array(rows), "rows": ["none", "24", "15", "8", "1"]}


def what_a_cell_keeps(module):
    """The root mean square of the singular values of ∂c_t/∂c_0, direct and whole, for three forget biases."""
    d, u = 16, 32
    x = [1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35, 40]
    inputs = np.random.default_rng(1).normal(size=(x[-1], d))
    series = {}
    for bias in (0, 1, 3):
        rng = np.random.default_rng(0)
        weights = {"wx": 0.5 * rng.normal(size=(d, 4 * u)) / np.sqrt(d), "b": np.zeros(4 * u)}
        weights["wh"] = 0.5 * rng.normal(size=(u, 4 * u)) / np.sqrt(u)
        weights["b"][u : 2 * u] = bias
        both = [module.cell_jacobian(weights, inputs[:t], np.zeros(u), np.zeros(u)) for t in x]
        for name, which in (("gates alone", 0), ("whole", 1)):
            series[f"bias {bias}, {name}"] = [float(np.sqrt((one[which] ** 2).sum() / u)) for one in both]
    return {"x": x, "series": series}


def states_of_unlike_lengths(module):
    """How large the state of an LSTM is at each step of six sequences in one batch."""
    rng = np.random.default_rng(0)
    d, u = 4, 8
    lengths = np.array([20, 14, 9, 5, 2, 0])
    x = rng.normal(size=(6, 20, d))
    for k, length in enumerate(lengths):
        x[k, length:] = np.nan
    weights = {"wx": rng.normal(size=(d, 4 * u)), "wh": rng.normal(size=(u, 4 * u)), "b": np.zeros(4 * u)}
    out, _ = module.run_padded(x, lengths, weights)
    return {"values": np.linalg.norm(out, axis=2), "rows": [str(one) for one in lengths]}


def one_mask(module):
    """What variational dropout makes of ones, along the steps of one sequence."""
    out, _ = module.variational_dropout(np.ones((1, 12, 24)), 0.5, np.random.default_rng(0))
    return out[0]
