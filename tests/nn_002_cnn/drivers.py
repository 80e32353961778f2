"""Runs beside the learner's code: goes back through a stack of layers, and draws what is too large to be sent."""

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


def in_turn(module, name, cases):
    """What a function gives for each of these, seen once all calls are over."""
    return [getattr(module, name)(*one) for one in cases]


def _drawn(seed, shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def large_conv2d(module, seed, shapes, how, every, *, meter):
    """`conv2d`, measured, with a bias if one is drawn: the shape of the output, and some of its channels.

    how: stride, padding, dilation and groups.
    """
    arrays = _drawn(seed, shapes)
    with meter:
        out = module.conv2d(arrays["x"], arrays["w"], arrays.get("b"), *how)
    return list(out.shape), out[:, ::every]


def large_conv2d_backward(module, seed, shapes, how, *, meter):
    """`conv2d_backward`, measured; the channels of dout come as often as w asks for. how: as above."""
    arrays = _drawn(seed, shapes)
    dout = np.repeat(arrays["dout"], len(arrays["w"]) // arrays["dout"].shape[1], axis=1)
    with meter:
        return module.conv2d_backward(arrays["x"], arrays["w"], dout, *how)
