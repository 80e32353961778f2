"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import backprop as kata
import numpy as np
import pytest


def test_numeric_gradient():
    # x³ at 2 with h = 1/2: (2.5³ - 1.5³) / 1 = 15.625 - 3.375
    got = kata.numeric_gradient(lambda x: float(x[0] ** 3), np.array([2.0]), h=0.5)
    assert got.tolist() == [12.25]


def test_activation_backward():
    z, dout = np.array([-2.0, 0.0, 2.0]), np.array([100.0, 100.0, 5.0])
    assert kata.activation_backward("relu", z, dout).tolist() == [0.0, 0.0, 5.0]
    # σ(ln 3) = 3/4, and 3/4 · 1/4 = 3/16
    assert kata.activation_backward("sigmoid", np.log([3.0]), np.array([16.0])) == pytest.approx([3.0])
    # p = (1/2, 1/2): 1/2 · (1 - 1/2), 1/2 · (0 - 1/2)
    assert kata.activation_backward("softmax", np.zeros(2), np.array([1.0, 0.0])) == pytest.approx([0.25, -0.25])


def test_linear_backward():
    dx, dw, db = kata.linear_backward(np.array([[2.0, 3.0]]), np.array([[4.0], [5.0]]), np.array([[10.0]]))
    assert (dx.tolist(), dw.tolist(), db.tolist()) == ([[40.0, 50.0]], [[20.0], [30.0]], [10.0])


def test_dropout():
    x = np.full((10, 10), 5.0)
    out, mask = kata.dropout(x, 0.75, np.random.default_rng(0))
    assert set(mask.ravel().tolist()) == {0.0, 4.0}
    assert np.array_equal(out, 5 * mask)
    assert np.array_equal(kata.dropout(x, 0.75, None, training=False)[0], x)
    assert kata.dropout_backward(np.array([1.0, 2.0]), np.array([0.0, 4.0])).tolist() == [0.0, 8.0]


def test_mlp_gradients():
    # both hidden units are off, so the logits are b2, and p = (1/4, 3/4); the right class is 1
    params = {"w1": np.eye(2), "b1": np.zeros(2), "w2": np.eye(2), "b2": np.array([0.0, np.log(3)])}
    loss, grads = kata.mlp_gradients(params, np.array([[-1.0, 0.0]]), np.array([1]))
    assert loss == pytest.approx(np.log(4 / 3))
    assert grads["b2"] == pytest.approx([0.25, -0.25])
    assert not grads["w1"].any()


def test_value():
    x, y, z = kata.Value(-2.0), kata.Value(5.0), kata.Value(-4.0)
    ((x + y) * z).backward()
    assert (x.grad, y.grad, z.grad) == (-4.0, -4.0, 3.0)


def test_value_of_micrograds_readme():
    a, b = kata.Value(-4.0), kata.Value(2.0)
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
    assert (round(g.data, 4), round(a.grad, 4), round(b.grad, 4)) == (24.7041, 138.8338, 645.5773)


def test_unbroadcast():
    grad = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert kata.unbroadcast(grad, (2,)).tolist() == [4.0, 6.0]
    assert kata.unbroadcast(grad, (2, 1)).tolist() == [[3.0], [7.0]]


def test_tensor():
    w, x = kata.Tensor([[1.0], [2.0]]), kata.Tensor([10.0, 20.0, 30.0])
    (w * x).sum().backward()
    assert w.grad.tolist() == [[60.0], [60.0]]  # the sum of x
    assert x.grad.tolist() == [3.0, 3.0, 3.0]  # the sum of w


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_jacobian(mode):
    got = kata.jacobian(lambda x: [x[0] * x[1], x[0].exp()], [0.0, 3.0], mode)
    assert got.tolist() == [[3.0, 0.0], [1.0, 0.0]]
