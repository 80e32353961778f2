"""nn_003's solution against torch's RNN, LSTM and GRU with copied weights, and the figures of its statement."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("nn_003_rnn_lstm")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array):
    return torch.tensor(array, requires_grad=True)


def torchs(kind, d, u, seed=0, **options):
    """A layer of torch's in float64 with random weights."""
    layer = kind(d, u, batch_first=True, **options).double()
    with torch.no_grad():
        for k, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.tensor(0.7 * drawn(*parameter.shape, seed=seed + k)))
    return layer


def weights_of(layer, suffix="l0"):
    """wx, wh and both biases of a layer, as they multiply from the right."""
    named = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    return {
        "wx": named[f"weight_ih_{suffix}"].T,
        "wh": named[f"weight_hh_{suffix}"].T,
        "bx": named[f"bias_ih_{suffix}"],
        "bh": named[f"bias_hh_{suffix}"],
    }


def one_bias(weights):
    return {"wx": weights["wx"], "wh": weights["wh"], "b": weights["bx"] + weights["bh"]}


def hold_gradients(got, layer, **inputs):
    """The gradients of the weights that torch put into its layer, and those of the inputs."""
    for name, value in inputs.items():
        np.testing.assert_allclose(got[name], value.grad[0] if value.dim() > got[name].ndim else value.grad, atol=1e-11)
    torchs_own = {"wx": "weight_ih_l0", "wh": "weight_hh_l0", "b": "bias_ih_l0", "bx": "bias_ih_l0", "bh": "bias_hh_l0"}
    for name, parameter in torchs_own.items():
        if name in got:
            grad = getattr(layer, parameter).grad.numpy()
            np.testing.assert_allclose(got[name], grad.T if grad.ndim == 2 else grad, atol=1e-11)


N, T, D, U = 3, 11, 5, 4


def test_rnn_is_torchs_forward_and_back(kata):
    layer = torchs(nn.RNN, D, U)
    x, h0 = tensor(drawn(N, T, D, seed=5)), tensor(drawn(1, N, U, seed=6))
    dh = drawn(N, T, U, seed=7)
    out, _ = layer(x, h0)
    (out * torch.tensor(dh)).sum().backward()
    given = {"x": x.detach().numpy(), "h0": h0.detach().numpy()[0], **one_bias(weights_of(layer))}
    h = kata.rnn_forward(**given)
    np.testing.assert_allclose(h, out.detach().numpy(), atol=1e-13)
    hold_gradients(kata.rnn_backward({**given, "h": h}, dh), layer, x=x, h0=h0)


@pytest.mark.parametrize("window", [1, 3, 4, 11, 20])
def test_truncated_is_torch_with_a_state_detached_between_pieces(kata, window):
    layer = torchs(nn.RNN, D, U)
    x, h0 = tensor(drawn(N, T, D, seed=5)), tensor(drawn(1, N, U, seed=6))
    dh = drawn(N, T, U, seed=7)
    state, out, total = h0, [], 0.0
    for begin in range(0, T, window):
        piece, state = layer(x[:, begin : begin + window], state)
        total = total + (piece * torch.tensor(dh[:, begin : begin + window])).sum()
        out.append(piece.detach())
        state = state.detach()
    total.backward()
    given = {"x": x.detach().numpy(), "h0": h0.detach().numpy()[0], **one_bias(weights_of(layer))}
    cache = {**given, "h": torch.cat(out, dim=1).numpy()}
    hold_gradients(kata.rnn_backward(cache, dh, window), layer, x=x, h0=h0)


def test_lstm_is_torchs_forward_and_back(kata):
    layer = torchs(nn.LSTM, D, U)
    x, h0, c0 = tensor(drawn(N, T, D, seed=5)), tensor(drawn(1, N, U, seed=6)), tensor(drawn(1, N, U, seed=8))
    dh, dc = drawn(N, T, U, seed=7), drawn(N, U, seed=9)
    out, (_, c) = layer(x, (h0, c0))
    ((out * torch.tensor(dh)).sum() + (c[0] * torch.tensor(dc)).sum()).backward()
    begin = [one.detach().numpy() for one in (x, h0[0], c0[0])]
    cache = kata.lstm_forward(*begin, one_bias(weights_of(layer)))
    np.testing.assert_allclose(cache["h"], out.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(cache["c"][:, -1], c[0].detach().numpy(), atol=1e-13)
    hold_gradients(kata.lstm_backward(cache, dh, dc), layer, x=x, h0=h0, c0=c0)


def test_gru_is_torchs_forward_and_back(kata):
    layer = torchs(nn.GRU, D, U)
    x, h0 = tensor(drawn(N, T, D, seed=5)), tensor(drawn(1, N, U, seed=6))
    dh = drawn(N, T, U, seed=7)
    out, _ = layer(x, h0)
    (out * torch.tensor(dh)).sum().backward()
    cache = kata.gru_forward(x.detach().numpy(), h0.detach().numpy()[0], weights_of(layer))
    np.testing.assert_allclose(cache["h"], out.detach().numpy(), atol=1e-13)
    hold_gradients(kata.gru_backward(cache, dh), layer, x=x, h0=h0)


def chos(x, h, wx, wh, bx, bh):
    """The GRU of Cho et al. 2014, equations 5 to 8, with torch: the reset before the product."""
    u = h.shape[-1]
    for step in x.unbind(1):
        inputs, products = step @ wx + bx, h @ wh[:, : 2 * u] + bh[: 2 * u]
        r, z = torch.sigmoid(inputs[:, : 2 * u] + products).split(u, dim=1)
        n = torch.tanh(inputs[:, 2 * u :] + (r * h) @ wh[:, 2 * u :] + bh[2 * u :])
        h = z * h + (1 - z) * n
        yield h


def test_gru_before_is_chos_with_torchs_autograd(kata):
    given = {
        "x": drawn(N, T, D),
        "h0": drawn(N, U, seed=1),
        "wx": drawn(D, 3 * U, seed=2),
        "wh": drawn(U, 3 * U, seed=3),
    }
    given |= {"bx": drawn(3 * U, seed=4), "bh": drawn(3 * U, seed=5)}
    leaves, dh = [tensor(value) for value in given.values()], drawn(N, T, U, seed=6)
    h = torch.stack(list(chos(*leaves)), dim=1)
    (h * torch.tensor(dh)).sum().backward()
    cache = kata.gru_forward(
        given["x"], given["h0"], {name: given[name] for name in ("wx", "wh", "bx", "bh")}, "before"
    )
    np.testing.assert_allclose(cache["h"], h.detach().numpy(), atol=1e-13)
    got = kata.gru_backward(cache, dh)
    for name, leaf in zip(given, leaves, strict=True):
        np.testing.assert_allclose(got[name], leaf.grad.numpy(), atol=1e-11)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_run_padded_is_a_packed_sequence_of_torchs(kata, bidirectional):
    """Outputs and last states; torch has no sequences of length 0."""
    layer = torchs(nn.LSTM, D, U, bidirectional=bidirectional)
    x, lengths = drawn(N, T, D), np.array([4, 11, 1])
    with torch.no_grad():
        packed = pack_padded_sequence(torch.tensor(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        out, (h, _) = layer(packed)
        out, _ = pad_packed_sequence(out, batch_first=True)
    for k, length in enumerate(lengths):
        x[k, length:] = math.nan
    ways = [one_bias(weights_of(layer, suffix)) for suffix in ("l0", "l0_reverse")[: 1 + bidirectional]]
    got, last = kata.run_padded(x, lengths, *ways)
    np.testing.assert_allclose(got, out.numpy(), atol=1e-13)
    np.testing.assert_allclose(last, torch.cat(list(h), dim=1).numpy(), atol=1e-13)


def test_cell_jacobian_is_torchs(kata):
    layer = torchs(nn.LSTM, D, U)
    x, h0, c0 = drawn(7, D), drawn(U, seed=1), drawn(U, seed=2)

    def end(c):
        return layer(torch.tensor(x[None]), (torch.tensor(h0[None, None]), c[None, None]))[1][1][0, 0]

    _, whole = kata.cell_jacobian(one_bias(weights_of(layer)), x, h0, c0)
    want = torch.autograd.functional.jacobian(end, torch.tensor(c0))
    np.testing.assert_allclose(whole, want.numpy(), atol=1e-12)


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_parameters_are_as_many_as_torchs(kata, cell, kind, layers, bidirectional):
    for bias in (True, False):
        layer = kind(10, 20, num_layers=layers, bidirectional=bidirectional, bias=bias)
        want = sum(parameter.numel() for parameter in layer.parameters())
        assert kata.recurrent_parameter_count(cell, 10, 20, layers, bidirectional, 2 * bias) == want


# --- figures of the statement -----------------------------------------------------------------------------------------


def test_what_20_steps_keep_by_the_forget_bias():
    """Jozefowicz et al. 2015: with a bias of 0 the forget gate is 1/2."""
    at_0, at_1 = 1 / 2, 1 / (1 + math.exp(-1))
    assert at_0**20 == pytest.approx(1e-6, rel=0.05)
    assert at_1**20 == pytest.approx(2e-3, rel=0.06)


@pytest.mark.parametrize(
    ("bias", "direct", "whole"),
    [
        (0, [0.52, 0.041, 0.0012, 1e-6, 7e-16], [0.52, 0.049, 0.0026, 2e-5, 3e-12]),
        (1, [0.72, 0.21, 0.039, 0.0016, 8e-8], [0.72, 0.23, 0.062, 0.0076, 1e-5]),
        (3, [0.94, 0.77, 0.57, 0.34, 0.069], [0.94, 0.81, 0.76, 0.90, 0.97]),
    ],
)
def test_what_a_cell_keeps_as_the_statement_shows(kata, bias, direct, whole):
    d, u = 16, 32
    for t, *want in zip((1, 5, 10, 20, 50), direct, whole, strict=True):
        rng = np.random.default_rng(0)
        weights = {"wx": 0.5 * rng.normal(size=(d, 4 * u)) / np.sqrt(d), "b": np.zeros(4 * u)}
        weights["wh"] = 0.5 * rng.normal(size=(u, 4 * u)) / np.sqrt(u)
        weights["b"][u : 2 * u] = bias
        both = kata.cell_jacobian(weights, rng.normal(size=(t, d)), np.zeros(u), np.zeros(u))
        assert [np.sqrt((one**2).sum() / u) for one in both] == pytest.approx(want, rel=0.35)


def test_where_the_reset_acts_changes_a_state_by_15_percent(kata):
    """At torch's initial weights: uniform within 1/√u; 64 units, 50 steps."""
    d, u, ratios = 32, 64, []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shapes = {"wx": (d, 3 * u), "wh": (u, 3 * u), "bx": (3 * u,), "bh": (3 * u,)}
        weights = {name: rng.uniform(-1, 1, shape) / np.sqrt(u) for name, shape in shapes.items()}
        x, h0 = rng.normal(size=(8, 50, d)), np.zeros((8, u))
        after, before = (kata.gru_forward(x, h0, weights, reset)["h"] for reset in ("after", "before"))
        ratios.append(np.sqrt(((after - before) ** 2).mean() / (after**2).mean()))
    assert np.mean(ratios) == pytest.approx(0.15, abs=0.01)


def test_a_recurrence_below_1_loses_all_and_above_1_may_explode(kata):
    """Pascanu et al. 2013: a largest singular value below 1 is enough to vanish."""
    u, t = 16, 60
    turn, _ = np.linalg.qr(drawn(u, u))
    left = {}
    for size in (0.8, 1.0, 1.25):
        cache = {
            "x": np.zeros((1, t, 1)),
            "h0": np.zeros((1, u)),
            "wx": np.zeros((1, u)),
            "wh": size * turn,
            "b": np.zeros(u),
        }
        dh = np.zeros((1, t, u))
        dh[:, -1] = 1 / np.sqrt(u)
        left[size] = np.linalg.norm(kata.rnn_backward({**cache, "h": np.zeros((1, t, u))}, dh)["h0"])
    assert left == pytest.approx({0.8: 0.8**t, 1.0: 1.0, 1.25: 1.25**t})
