"""What `cnn.py` makes, as pictures: run beside it, from inputs of their own. `grader picture nn_002` prints them."""

import numpy as np


def field_by_depth(module):
    """The receptive field of 1 to 12 layers of 3 taps: plain, with strides, and with dilations."""
    ways = {
        "plain": [(3, 1, 1, 1)] * 12,
        "stride 2 in each third": [(3, 2 if i % 3 == 2 else 1, 1, 1) for i in range(12)],
        "dilation 1, 2, 4, ...": [(3, 1, 2**i, 2**i) for i in range(12)],
    }
    x = list(range(1, 13))
    return {
        "x": x,
        "series": {name: [module.receptive_field(layers[:n])[0] for n in x] for name, layers in ways.items()},
    }


def pixels_of_each_window(module):
    """The columns of a 4×4 image, whose pixels bear their numbers, for a 3×3 kernel."""
    cols = module.im2col(np.arange(16.0).reshape(1, 1, 4, 4), (3, 3))[0]
    rows = [f"tap {a}, {b}" for a in range(3) for b in range(3)]
    columns = [f"{i}, {j}" for i in range(2) for j in range(2)]
    return {"cells": [[f"{entry:.0f}" for entry in row] for row in cols], "rows": rows, "columns": columns}


def edges_of_a_disc(module):
    """A disc of 30 × 30 pixels, convolved with Sobel's kernel for brightness that grows to the right."""
    y, x = np.mgrid[:30, :30] - 14.5
    disc = 1 / (1 + np.exp(y**2 / 8 + x**2 / 8 - 12))
    kernel = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return module.conv2d(disc[None, None], kernel[None, None])[0, 0]


def what_one_output_sees(module):
    """The gradient of one output by 25 × 25 pixels, behind four 3×3 layers of equal weights, stride 2 in the second."""
    strides, sizes = (1, 2, 1, 1), [25, 25, 13, 13, 13]
    grad, weights = np.zeros((1, 1, 13, 13)), np.full((1, 1, 3, 3), 1 / 9)
    grad[0, 0, 6, 6] = 1.0
    for stride, size in zip(strides[::-1], sizes[-2::-1], strict=True):
        grad, _, _ = module.conv2d_backward(np.zeros((1, 1, size, size)), weights, grad, (stride, stride), (1, 1))
    return grad[0, 0]


def checkerboard(module):
    """A transposed convolution of a plain image, kernel 3 and stride 2, all weights 1: how many prints meet."""
    return module.conv_transpose2d(np.ones((1, 1, 7, 9)), np.ones((1, 1, 3, 3)), None, (2, 2))[0, 0]
