"""Runs beside the learner's code: goes back through a stack of layers."""

import numpy as np


def gradient_of_one_output(module, sizes, layers, place):
    """The gradient of one output of stacked convolutions by their input, all weights 1.

    sizes: (h, w) of the input, and of what each layer gives. layers: (kernel, stride, padding, dilation), pairs.
    """
    grad = np.zeros((1, 1, *sizes[-1]))
    grad[0, 0, place[0], place[1]] = 1.0
    for (h, w), (kernel, stride, padding, dilation) in zip(sizes[-2::-1], layers[::-1], strict=True):
        image, weights = np.zeros((1, 1, h, w)), np.ones((1, 1, *kernel))
        grad, _, _ = module.conv2d_backward(image, weights, grad, stride, padding, dilation)
    return grad
