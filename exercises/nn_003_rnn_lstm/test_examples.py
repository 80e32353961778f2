"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import numpy as np
import pytest
import rnn_lstm as kata

# an LSTM of one unit whose gates are always i = 0.75, f = 0.25, g = 0.6, o = 0.8
CONSTANT = {"wx": np.zeros((1, 4)), "wh": np.zeros((1, 4)), "b": np.log([3, 1 / 3, 2, 4])}


def test_rnn_forward():
    # tanh(ln 2) = 0.6, and tanh(ln 3 - 0.3 + 0.6 · 0.5) = tanh(ln 3) = 0.8
    x = np.array([[[np.log(2)], [np.log(3) - 0.3]]])
    h = kata.rnn_forward(x, np.zeros((1, 1)), np.array([[1.0]]), np.array([[0.5]]), np.zeros(1))
    assert h.ravel() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(("window", "want"), [(None, [0.1152, 0.36]), (2, [0.1152, 0.36]), (1, [0.0, 0.36])])
def test_rnn_backward(window, want):
    # the last state alone counts: 1 - 0.8² = 0.36, and 0.36 · 0.5 · (1 - 0.6²) = 0.1152
    x = np.array([[[np.log(2)], [np.log(3) - 0.3]]])
    cache = {"x": x, "h0": np.zeros((1, 1)), "wx": np.array([[1.0]]), "wh": np.array([[0.5]]), "b": np.zeros(1)}
    cache["h"] = np.array([[[0.6], [0.8]]])
    grads = kata.rnn_backward(cache, np.array([[[0.0], [1.0]]]), window)
    assert grads["x"].ravel() == pytest.approx(want)
    assert grads["wh"].ravel() == pytest.approx([0.6 * 0.36])


def test_lstm_step():
    h, c, gates = kata.lstm_step(np.ones((1, 1)), np.zeros((1, 1)), np.array([[2.0]]), CONSTANT)
    assert gates.ravel() == pytest.approx([0.75, 0.25, 0.6, 0.8])
    assert c.item() == pytest.approx(0.25 * 2 + 0.75 * 0.6)
    assert h.item() == pytest.approx(0.8 * np.tanh(0.95))


def test_lstm_backward():
    c = np.array([[[0.95]]])
    cache = {"x": np.ones((1, 1, 1)), "h0": np.zeros((1, 1)), "c0": np.array([[2.0]]), "weights": CONSTANT}
    cache |= {"gates": np.array([[[0.75, 0.25, 0.6, 0.8]]]), "c": c, "h": 0.8 * np.tanh(c)}
    cell = 0.8 * (1 - np.tanh(0.95) ** 2)
    grads = kata.lstm_backward(cache, np.ones((1, 1, 1)))
    assert grads["c0"].ravel() == pytest.approx([0.25 * cell])
    # i: g · σ'; f: the old cell state · σ'; g: i · tanh'; o: tanh(c) · σ'
    want = [cell * 0.6 * 0.1875, cell * 2 * 0.1875, cell * 0.75 * 0.64, np.tanh(0.95) * 0.16]
    assert grads["b"] == pytest.approx(want)


def test_cell_jacobian():
    x = np.zeros((3, 1))
    direct, whole = kata.cell_jacobian(CONSTANT, x, np.zeros(1), np.ones(1))
    # these gates do not see h (wh = 0), so that the product of the forget gates is all
    assert direct.ravel() == pytest.approx([0.25**3])
    assert whole.ravel() == pytest.approx([0.25**3])


@pytest.mark.parametrize(("reset", "n"), [("after", np.tanh(0.5 * (2 + 1))), ("before", np.tanh(0.5 * 2 + 1))])
def test_gru_step(reset, n):
    weights = {"wx": np.zeros((1, 3)), "wh": np.array([[0.0, 0.0, 2.0]]), "bx": np.array([0.0, -np.log(3), 0.0])}
    weights["bh"] = np.array([0.0, 0.0, 1.0])
    h, gates = kata.gru_step(np.zeros((1, 1)), np.ones((1, 1)), weights, reset)
    assert gates.ravel() == pytest.approx([0.5, 0.25, n])
    assert h.item() == pytest.approx(0.75 * n + 0.25)


def test_gru_backward():
    weights = {"wx": np.zeros((1, 3)), "wh": np.array([[0.0, 0.0, 2.0]]), "bx": np.array([0.0, -np.log(3), 0.0])}
    weights["bh"] = np.array([0.0, 0.0, 1.0])
    n = np.tanh(1.5)
    cache = {"x": np.zeros((1, 1, 1)), "h0": np.ones((1, 1)), "weights": weights, "reset": "after"}
    cache |= {"gates": np.array([[[0.5, 0.25, n]]]), "h": np.array([[[0.75 * n + 0.25]]])}
    grads = kata.gru_backward(cache, np.ones((1, 1, 1)))
    dn = 0.75 * (1 - n**2)
    assert grads["bx"] == pytest.approx([dn * 3 * 0.25, (1 - n) * 0.1875, dn])
    assert grads["bh"] == pytest.approx([dn * 3 * 0.25, (1 - n) * 0.1875, 0.5 * dn])


def test_run_padded():
    out, last = kata.run_padded(np.array([[[5.0], [5.0], [np.nan]]]), np.array([2]), CONSTANT)
    first, second = 0.8 * np.tanh(0.45), 0.8 * np.tanh(0.25 * 0.45 + 0.45)
    assert out.ravel() == pytest.approx([first, second, 0.0])
    assert last.ravel() == pytest.approx([second])


def test_variational_dropout():
    x = np.full((4, 5, 6), 5.0)
    out, mask = kata.variational_dropout(x, 0.75, np.random.default_rng(0))
    assert mask.shape == (4, 1, 6)
    assert set(mask.ravel().tolist()) == {0.0, 4.0}
    assert np.array_equal(out, 5 * np.repeat(mask, 5, axis=1))
    assert np.array_equal(kata.variational_dropout(x, 0.75, None, training=False)[0], x)


def test_recurrent_parameter_count():
    # 4 · 20 · (10 + 20 + 2), and three quarters of it
    assert kata.recurrent_parameter_count("lstm", 10, 20) == 2560
    assert kata.recurrent_parameter_count("gru", 10, 20) == 1920
