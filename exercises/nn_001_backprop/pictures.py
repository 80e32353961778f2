"""What `backprop.py` makes, as pictures: run beside it, on inputs of their own. `grader picture nn_001` prints them."""

import math

import numpy as np


def error_over_step(module):
    """The largest error of the gradient of Σ 1 / (1 + x²), by h: with one side, and with both.

    Sums, products and quotients of powers of two: every machine rounds them alike, and so draws the same picture.
    """

    def f(x):
        return float((1 / (1 + x * x)).sum())

    x = np.array([0.5, 1.0, 2.0])
    true = -2 * x / ((1 + x * x) * (1 + x * x))
    steps = [2.0**-k for k in range(40, 0, -1)]
    both = [np.abs(module.numeric_gradient(f, x, h) - true).max() for h in steps]
    units = np.eye(3)
    one = [
        max(abs((f(x + h * unit) - f(x)) / h - slope) for unit, slope in zip(units, true, strict=True)) for h in steps
    ]
    return {"x": steps, "series": {"one side": one, "both sides": both}}


def slopes_of_activations(module):
    """What each activation multiplies a gradient with, by its input."""
    z = np.linspace(-4, 4, 65)
    kinds = ("sigmoid", "tanh", "relu", "silu")
    return {"x": z, "series": {kind: module.activation_backward(kind, z, np.ones_like(z)) for kind in kinds}}


def learned_plane(module):
    """The probability of class 1 over a plane, after 300 steps on points of which two opposite quarters are class 1."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (80, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    sizes = {"w1": (2, 12), "b1": (12,), "w2": (12, 2), "b2": (2,)}
    params = {name: rng.normal(0, 0.7, size) for name, size in sizes.items()}
    for _ in range(300):
        _, grads = module.mlp_gradients(params, x, y)
        params = {name: value - grads[name] for name, value in params.items()}
    across = np.linspace(-1, 1, 20)
    plane = np.stack(np.meshgrid(across, across[::-1]), axis=-1)
    z = np.maximum(plane @ params["w1"] + params["b1"], 0) @ params["w2"] + params["b2"]
    shown = [f"{value:.1f}" for value in across]
    return {"values": 1 / (1 + np.exp(z[..., 0] - z[..., 1])), "rows": shown[::-1], "columns": shown}


def graph_of_a_neuron(module):
    """All nodes of tanh(x1·w1 + x2·w2 + b), with their values and their gradients."""
    x1, w1, x2, w2 = (module.Value(value) for value in (2.0, -3.0, 0.0, 1.0))
    b = module.Value(6 + math.atanh(math.sqrt(0.5)))
    p1, p2 = x1 * w1, x2 * w2
    total = p1 + p2
    n = total + b
    out = n.tanh()
    out.backward()
    nodes = {
        "x1": (x1, "input"), "w1": (w1, "input"), "x2": (x2, "input"), "w2": (w2, "input"), "b": (b, "input"),
        "p1": (p1, "x1 · w1"), "p2": (p2, "x2 · w2"), "s": (total, "p1 + p2"), "n": (n, "s + b"),
        "out": (out, "tanh of n"),
    }  # fmt: skip
    cells = [[made, f"{node.data:.3g}", f"{node.grad:.3g}"] for node, made in nodes.values()]
    return {"cells": cells, "rows": list(nodes), "columns": ["made of", "value", "gradient"]}


def embedding_gradient(module):
    """The gradient of an embedding of 6 words, of which a text reads word 2 three times, words 0 and 5 once."""
    table, text = module.Tensor(np.zeros((6, 4))), np.array([2, 0, 2, 5, 2])
    table.take(text).backward(np.tile([1.0, -1.0, 0.5, 0.25], (5, 1)))
    return table.grad


def jacobian_of_softmax(module):
    """All derivatives of a softmax of five numbers, one forward pass for each column."""

    def softmax(z):
        powers = [one.exp() for one in z]
        total = powers[0] + powers[1] + powers[2] + powers[3] + powers[4]
        return [one / total for one in powers]

    return module.jacobian(softmax, [2.0, 1.0, 0.5, 0.0, -1.0], "forward")
