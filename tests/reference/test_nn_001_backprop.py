"""nn_001's solution against HIPS autograd, torch, micrograd and its README, and the numbers of CS231n's notes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("nn_001_backprop")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def torch_gradients(function, arrays, upstream=None):
    """The value of a function, and torch's gradients of sum(value · upstream) by each array."""
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    out = function(*leaves)
    total = out.sum() if upstream is None else (out * torch.tensor(upstream)).sum()
    return out.detach().numpy(), [grad.numpy() for grad in torch.autograd.grad(total, leaves)]


# --- by hand ----------------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky": F.leaky_relu,
    "silu": F.silu,
    "softmax": lambda z: torch.softmax(z, dim=-1),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_are_torchs(kata, kind):
    z, dout = 3 * drawn(5, 7), drawn(5, 7, seed=1)
    z[0, :2] = 0.0, -0.0
    _, [want] = torch_gradients(ACTIVATIONS[kind], [z], dout)
    np.testing.assert_allclose(kata.activation_backward(kind, z, dout), want, rtol=1e-12, atol=1e-15)


def test_the_jacobian_of_a_softmax_over_20_000_entries_takes_3_2_gb():
    assert 20_000**2 * np.dtype(np.float64).itemsize == pytest.approx(3.2e9)


@pytest.mark.parametrize("before", [(5,), (2, 3), ()])
def test_linear_is_torchs(kata, before):
    x, w, dout = drawn(*before, 4), drawn(4, 3, seed=1), drawn(*before, 3, seed=2)
    _, want = torch_gradients(lambda x, w, b: F.linear(x, w.T, b), [x, w, np.zeros(3)], dout)
    for got, wanted in zip(kata.linear_backward(x, w, dout), want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_dropout_backward_is_torchs_with_the_same_mask(kata):
    x = drawn(20, 30)
    out, mask = kata.dropout(x, 0.3, np.random.default_rng(0))
    _, [want] = torch_gradients(lambda x: torch.where(torch.tensor(mask > 0), x / 0.7, 0.0), [x], x)
    np.testing.assert_allclose(kata.dropout_backward(x, mask), want)
    np.testing.assert_allclose(out, x * (mask > 0) / 0.7)


def mlp(x, y):
    return lambda w1, b1, w2, b2: F.cross_entropy(torch.relu(torch.tensor(x) @ w1 + b1) @ w2 + b2, torch.tensor(y))


def test_mlp_gradients_are_torchs(kata):
    params = {"w1": drawn(4, 6), "b1": drawn(6, seed=1), "w2": drawn(6, 3, seed=2), "b2": drawn(3, seed=3)}
    x, y = drawn(9, 4, seed=4), np.random.default_rng(5).integers(0, 3, 9)
    want, wanted = torch_gradients(mlp(x, y), list(params.values()))
    loss, grads = kata.mlp_gradients(params, x, y)
    assert loss == pytest.approx(float(want), rel=1e-12)
    for got, one in zip(grads.values(), wanted, strict=True):
        np.testing.assert_allclose(got, one, rtol=1e-10, atol=1e-14)


def test_numeric_gradient_checks_mlp_gradients(kata):
    params = {"w1": drawn(4, 6), "b1": drawn(6, seed=1), "w2": drawn(6, 3, seed=2), "b2": drawn(3, seed=3)}
    x, y = drawn(9, 4, seed=4), np.random.default_rng(5).integers(0, 3, 9)
    _, grads = kata.mlp_gradients(params, x, y)
    for name, value in params.items():
        got = kata.numeric_gradient(lambda v, name=name: kata.mlp_gradients({**params, name: v}, x, y)[0], value)
        np.testing.assert_allclose(got, grads[name], atol=1e-9)


def test_the_errors_of_differences_that_the_statement_shows(kata):
    """The figure: the largest error of the gradient of Σ 1/(1 + x²) at (0.5, 1, 2), one side and both."""
    x = np.array([0.5, 1.0, 2.0])

    def f(x):
        return float((1 / (1 + x**2)).sum())

    right = -2 * x / (1 + x**2) ** 2
    for h, one, both in [
        (2**-4, 1.6e-2, 2.4e-3),
        (2**-10, 2.4e-4, 5.9e-7),
        (2**-18, 9.5e-7, 1.4e-11),
        (2**-30, 1.5e-7, 1e-7),
    ]:
        forward = np.array([(f(x + h * e) - f(x)) / h for e in np.eye(3)])
        assert one / 3 < np.abs(forward - right).max() < 3 * one
        assert both / 3 < np.abs(kata.numeric_gradient(f, x, h) - right).max() < 3 * both


# --- the engine for numbers -------------------------------------------------------------------------------------------


def readme(value):
    """The expression of micrograd's README."""
    a, b = value(-4.0), value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    return g.data, a.grad, b.grad


def test_value_gives_the_numbers_of_micrograds_readme(kata):
    assert [round(one, 4) for one in readme(kata.Value)] == [24.7041, 138.8338, 645.5773]


@pytest.mark.reference
def test_value_is_micrograds(kata):
    from micrograd.engine import Value

    assert readme(kata.Value) == pytest.approx(readme(Value), rel=1e-12)


@pytest.mark.reference
def test_what_micrograd_does_otherwise(kata):
    """Its second backward adds 24 to 12, and a chain of 1,500 is too deep for it."""
    from micrograd.engine import Value

    def twice(value):
        x, y = value(2.0), value(3.0)
        out = x * x * y
        out.backward()
        first = x.grad
        out.backward()
        return first, x.grad

    assert twice(Value) == (12.0, 36.0)
    assert twice(kata.Value) == (12.0, 24.0)

    def chain(value):
        first = out = value(1.0)
        for _ in range(1500):
            out = out + 1.0
        out.backward()
        return first.grad

    assert chain(kata.Value) == 1.0
    with pytest.raises(RecursionError):
        chain(Value)


def test_value_gives_the_numbers_of_cs231n(kata):
    """f = (x + y)·z at (-2, 5, -4), and the neuron 1/(1 + exp(-(w0·x0 + w1·x1 + w2))), to two decimals, as printed."""
    x, y, z = kata.Value(-2.0), kata.Value(5.0), kata.Value(-4.0)
    ((x + y) * z).backward()
    assert (x.grad, y.grad, z.grad) == (-4.0, -4.0, 3.0)

    w0, x0, w1, x1, w2 = (kata.Value(one) for one in (2.0, -1.0, -3.0, -2.0, -3.0))
    out = 1 / (1 + (-(w0 * x0 + w1 * x1 + w2)).exp())
    out.backward()
    assert round(out.data, 2) == 0.73
    assert [round(one.grad, 2) for one in (w0, x0, w1, x1, w2)] == [-0.20, 0.39, -0.39, -0.59, 0.20]


# --- the engine for arrays --------------------------------------------------------------------------------------------


def test_tensor_is_torchs(kata):
    """A lookup, a product, broadcasting, a softmax, powers, relu, reshape and a logarithm in one graph."""
    indices = np.array([3, 0, 3, 1])
    table, w, scale = drawn(6, 5), drawn(5, 5, seed=1), np.abs(drawn(5, seed=2)) + 0.5

    def ours():
        t, m, s = kata.Tensor(table), kata.Tensor(w), kata.Tensor(scale)
        x = t.take(indices)
        h = (x @ m * s).tanh()
        top = h.max(axis=1, keepdims=True)
        e = (h - top).exp()
        p = e / e.sum(axis=1, keepdims=True)
        out = ((p**2 + s**p) * x).relu().reshape(2, -1).sum(axis=-1).log().sum()
        out.backward()
        return out.data, [t.grad, m.grad, s.grad]

    def torchs(t, m, s):
        x = t.index_select(0, torch.tensor(indices))
        h = torch.tanh(x @ m * s)
        e = torch.exp(h - h.amax(1, keepdim=True))
        p = e / e.sum(1, keepdim=True)
        return torch.relu((p**2 + s**p) * x).reshape(2, -1).sum(-1).log().sum()

    want, wanted = torch_gradients(torchs, [table, w, scale])
    got, grads = ours()
    np.testing.assert_allclose(got, want, rtol=1e-12)
    for mine, theirs in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize(
    "f",
    [
        lambda np, a, b: np.sum(np.tanh(np.dot(a, b))),
        lambda np, a, b: np.sum(np.exp(a) / b[:, 0]),
        lambda np, a, b: np.sum(np.log(a * a + 1.0) ** 1.5) + np.sum(b**3),
        lambda np, a, b: np.sum(np.max(a, axis=1)) * np.sum(b),
    ],
    ids=["dot", "broadcast", "powers", "max"],
)
def test_tensor_is_hips_autograds(kata, f):
    import autograd.numpy as hips
    from autograd import grad

    a, b = drawn(4, 3), drawn(3, 5, seed=1)
    b[:, 0] = np.abs(b[:, 0]) + 0.5
    x, y = kata.Tensor(a), kata.Tensor(b)

    class Own:
        """Tensor under numpy's names."""

        sum = staticmethod(lambda t: t.sum())
        exp = staticmethod(lambda t: t.exp())
        log = staticmethod(lambda t: t.log())
        tanh = staticmethod(lambda t: t.tanh())
        dot = staticmethod(lambda s, t: s @ t)
        max = staticmethod(lambda t, axis: t.max(axis=axis))

    kata.Tensor.__getitem__ = lambda self, key: self.take(np.array(key[1]), axis=1)  # b[:, 0]
    try:
        f(Own, x, y).backward()
    finally:
        del kata.Tensor.__getitem__
    np.testing.assert_allclose(x.grad, grad(lambda one: f(hips, one, b))(a), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(y.grad, grad(lambda one: f(hips, a, one))(b), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3), (1, 1), (), (2, 3)])
def test_unbroadcast_is_torchs_sum_to_size(kata, shape):
    grad = drawn(4, 2, 3)
    np.testing.assert_allclose(kata.unbroadcast(grad, shape), torch.tensor(grad).sum_to_size(shape).numpy())


# --- both modes -------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_jacobian_is_hips_autograds(kata, mode):
    import autograd.numpy as hips
    from autograd import jacobian

    x = [0.7, 1.3, 0.4]
    ours = kata.jacobian(lambda x: [x[0] * x[1].tanh(), x[2] ** x[0] / x[1], (x[0] + x[2]).log(), x[1].exp()], x, mode)
    theirs = jacobian(
        lambda x: hips.array([x[0] * hips.tanh(x[1]), x[2] ** x[0] / x[1], hips.log(x[0] + x[2]), hips.exp(x[1])])
    )(np.array(x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_forward_mode_is_torchs_jvp(kata):
    from torch.func import jvp

    a, b, da, db = 0.7, 1.3, -2.0, 0.5
    x, y = kata.Dual(a, da), kata.Dual(b, db)
    got = (x * y).tanh() + x**y
    value, tangent = jvp(
        lambda x, y: torch.tanh(x * y) + x**y,
        tuple(torch.tensor(one, dtype=torch.float64) for one in (a, b)),
        tuple(torch.tensor(one, dtype=torch.float64) for one in (da, db)),
    )
    assert math.isclose(got.value, float(value), rel_tol=1e-12)
    assert math.isclose(got.tangent, float(tangent), rel_tol=1e-12)
