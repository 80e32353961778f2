"""nn_002 · CNN from scratch: convolution and its gradients, receptive fields, pooling, the way up, and what it costs.

Notation
    n  images in a batch          c, o  channels that come in and go out          h, w  rows and columns of an image
    kh, kw  size of a kernel      oh, ow  rows and columns of an output           a, b  a place in the kernel
    dout  the gradient of the loss by an output

Convolution is, as in every library, the *correlation*: the kernel is not flipped. Padding is with zeros, as many before
as after. Where a window no longer fits, it ends: pixels that are left over on the right or below are in no output, and
their gradient is 0.

    out[n, o, i, j] = bias[o] + Σ_c,a,b  w[o, c, a, b] · padded[n, c, i·stride + a·dilation, j·stride + b·dilation]

Rules for all functions: numpy alone; nothing of torch's, of scipy's or of autograd's may run in any part, whichever way
it is called. Arrays are float64, need not be contiguous, and are left alone, as are the results of earlier calls;
results are float64. `kernel`, `stride`, `padding`, `dilation` of images are pairs (rows, columns). No size is 0. What
is held "at once" is the most that is alive at any moment.

Further reading: LeCun et al. 1998; Dumoulin and Visin 2016 (the arithmetic of convolutions, in pictures); Araujo,
Norris and Sim 2019 (receptive fields); Chellapilla et al. 2006 (one product of matrices); CS231n's notes.
"""

from collections.abc import Sequence

import numpy as np


def conv_output_size(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """How many places a kernel finds along an axis of n pixels.

        span = dilation · (kernel - 1) + 1             from the kernel's first tap to its last
        size = ⌊(n + 2·padding - span) / stride⌋ + 1

    padding: zeros on *each* side. Returns an int.

    Raises ValueError if the span is longer than the padded axis: no place at all.

    Forbidden: torch, scipy, autograd.

    >>> conv_output_size(7, 3), conv_output_size(224, 7, stride=2, padding=3), conv_output_size(7, 3, dilation=2)
    (5, 112, 3)
    """
    raise NotImplementedError  # TODO: your code


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """The zeros (before, after) with which an output at stride 1 is as long as the input.

    Together they are span - 1. Where that is odd, the one more stands *after*, as in torch and TensorFlow: a kernel
    of 4 gives (1, 2).

    Forbidden: torch, scipy, autograd.

    >>> same_padding(3), same_padding(3, dilation=2), same_padding(4)
    ((1, 1), (2, 2), (1, 2))
    """
    raise NotImplementedError  # TODO: your code


def receptive_field(layers: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, float]:
    """What one output of stacked layers sees of their input, along one axis: (size, jump, first centre).

        size      pixels from the first to the last that an output can depend on, these two included; padding and
                  borders do not shorten it
        jump      how far the fields of two neighbouring outputs lie apart, in pixels
        centre    the middle of the field of output 0, where pixel 0 has its middle at 0: may be negative or a half

    layers: (kernel, stride, padding, dilation) of each convolution or pooling, the input's first. No layers at all give
    (1, 1, 0.0). Returns an int, an int and a float.

    A layer's step counts in its *own* input, whose pixels already lie `jump` apart in the image. Three 3×3 layers see
    7 pixels; with stride 2 in the second, 9. Fields of 2⁴⁰ pixels are no problem: pixels are never listed.

    Source: Araujo, Norris and Sim 2019.

    Forbidden: torch, scipy, autograd.

    >>> receptive_field([(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 1, 1)])
    (9, 2, 0.0)
    >>> receptive_field([(2, 2, 0, 1), (3, 1, 0, 2)])  # a pooling, then a dilated layer: 2 + 4·2
    (10, 2, 4.5)
    """
    raise NotImplementedError  # TODO: your code


def im2col(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """Every window of an image as a column: x (n, c, h, w) becomes (n, c·kh·kw, oh·ow).

        row     (c, a, b), the last the fastest: which channel, and which tap of the kernel
        column  (i, j), the last the fastest: which window
        entry   padded[n, c, i·stride + a·dilation, j·stride + b·dilation]

    A pixel stands in as many columns as windows hold it. Raises ValueError if the kernel does not fit.

    Forbidden: torch, scipy, autograd.

    >>> x = np.arange(6.0).reshape(1, 1, 2, 3)
    >>> im2col(x, (2, 2))
    array([[[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]]])
    """
    raise NotImplementedError  # TODO: your code


def col2im(
    cols: np.ndarray,
    shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """The way back: each entry of the columns is *added* to the pixel that it came from. Returns `shape` (n, c, h, w).

    It is im2col's adjoint, not its inverse: Σ im2col(x)·cols = Σ x·col2im(cols) for every x and cols. A pixel that
    stands in four windows gets the sum of four entries, one in no window 0, and what came from the padding is dropped.

    cols: (n, c·kh·kw, oh·ow), as im2col of that shape gives it.

    Forbidden: torch, scipy, autograd.

    >>> col2im(np.ones((1, 4, 2)), (1, 1, 2, 3), (2, 2))  # the columns in the middle stand in both windows
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]])
    """
    raise NotImplementedError  # TODO: your code


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """The convolution of x (n, c, h, w) with w (o, c/groups, kh, kw): returns (n, o, oh, ow).

    b: (o,), or None for none. groups divides c and o: the first o/groups outputs see the first c/groups channels, and
    so on. With groups = c each channel is convolved by itself (depthwise).

    Cost: products of matrices; 151 million multiply-adds (x of 2 × 2 × 126 × 130, 256 kernels of 3 × 3) are done within
    a second or two, which a step of Python for each of 8.4 million output entries is not. At once at most 4 times the
    bytes of the columns and the output together (with a stride, of those of stride 1): groups never become one dense
    kernel of zeros, (o, c, kh, kw). All of this with and without b, and with any stride, padding, dilation and groups.

    Raises ValueError if the kernel does not fit.

    Forbidden: torch, scipy, autograd.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.array([[[[1.0, 0.0], [0.0, 10.0]]]]), np.array([100.0]))  # 100 + 1·0 + 10·4, ...
    array([[[[140., 151.],
             [173., 184.]]]])
    """
    raise NotImplementedError  # TODO: your code


def conv2d_backward(
    x: np.ndarray,
    w: np.ndarray,
    dout: np.ndarray,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients (dx, dw, db) of conv2d, in the shapes of x, w and (o,). dout: (n, o, oh, ow).

        out = w · cols + b         dw = dout · colsᵀ, summed over n        dcols = wᵀ · dout, and back through col2im
                                   db = dout, summed over n, i, j

    The kernel serves every window, so dw is a sum over all; a pixel stands in many windows, so dx is one too.

    Cost: as conv2d's, with two products in place of one, and at once at most twice the bytes of the columns of x and of
    dout together (kh·kw numbers for each entry of either; with a stride, of the dout of stride 1).

    Forbidden: torch, scipy, autograd.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> dx, dw, db = conv2d_backward(x, np.array([[[[1.0, 0.0], [0.0, 10.0]]]]), np.ones((1, 1, 2, 2)))
    >>> dx[0, 0].tolist(), dw[0, 0].tolist(), db.tolist()  # dw: 0 + 1 + 3 + 4, ...
    ([[1.0, 1.0, 0.0], [1.0, 11.0, 10.0], [0.0, 10.0, 10.0]], [[8.0, 12.0], [20.0, 24.0]], [4.0])
    """
    raise NotImplementedError  # TODO: your code


def pool2d(
    kind: str, x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """The maximum or the average of each window of each channel: x (n, c, h, w) gives (n, c, oh, ow).

        max        padding takes no part: where all pixels of a window are negative, so is their maximum
        average    padding counts as zeros, and the divisor is always kh·kw (torch's count_include_pad=True)

    padding is at most half the kernel, so that each window holds a pixel. Raises ValueError for another kind than "max"
    and "average".

    Forbidden: torch, scipy, autograd.

    >>> x = np.array([[[[-4.0, -2.0], [-8.0, -6.0]]]])
    >>> pool2d("max", x, (2, 2), (2, 2), (1, 1)).tolist(), pool2d("average", x, (2, 2), (2, 2), (1, 1)).tolist()
    ([[[[-4.0, -2.0], [-8.0, -6.0]]]], [[[[-1.0, -0.5], [-2.0, -1.5]]]])
    """
    raise NotImplementedError  # TODO: your code


def pool2d_backward(
    kind: str,
    x: np.ndarray,
    dout: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """The gradient of pool2d by x, in its shape, given dout (n, c, oh, ow).

        max        dout goes to the pixel that was the largest of the window
        average    each place of the window gets dout / (kh·kw); what falls on padding is lost

    A pixel in several windows gets the sum. Where k pixels are equally large, dout goes to the first, row by row, or
    1/k of it to each: both pass. Raises ValueError for another kind than "max" and "average".

    Forbidden: torch, scipy, autograd.

    >>> x = np.array([[[[1.0, 5.0, 2.0]]]])
    >>> pool2d_backward("max", x, np.array([[[[10.0, 1.0]]]]), (1, 2), (1, 1)).tolist()
    [[[[0.0, 11.0, 0.0]]]]
    """
    raise NotImplementedError  # TODO: your code


def conv_transpose2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    output_padding: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """The adjoint of a convolution, which makes images larger: x (n, c, h, w) and w (c, o, kh, kw) give (n, o, oh, ow).

        oh = (h - 1)·stride - 2·padding + kh + output_padding          ow likewise

    Each pixel of x puts down its value times the kernel, `stride` apart; where prints overlap they add up; `padding`
    is then cut off on each side. For every x and u: Σ x · conv2d(u, w) = Σ conv_transpose2d(x, w) · u, with the same
    stride and padding.

    Several sizes lead to one at stride 2 (7 and 8 both give 4 with kernel 3, padding 1), so output_padding, smaller
    than stride, says which to go back to: rows below and columns to the right that are kept rather than cut off, or
    where no print reaches, hold b alone. b: (o,), or None for none.

    Forbidden: torch, scipy, autograd.

    >>> x = np.array([[[[1.0, 10.0]]]])
    >>> conv_transpose2d(x, np.array([[[[1.0, 2.0, 3.0]]]]), stride=(1, 2)).tolist()  # 3·1 + 1·10 in the middle
    [[[[1.0, 2.0, 13.0, 20.0, 30.0]]]]
    """
    raise NotImplementedError  # TODO: your code


def conv_cost(
    c: int, o: int, kernel: tuple[int, int], output: tuple[int, int], groups: int = 1, bias: bool = True
) -> tuple[int, int]:
    """The parameters of a convolution, and its multiply-adds for one image: two ints.

    output: (oh, ow). Each output entry takes c/groups · kh·kw multiply-adds; adding the bias counts as none. groups
    divides c and o.

    Forbidden: torch, scipy, autograd.

    >>> conv_cost(3, 64, (3, 3), (224, 224))  # VGG-16's first layer: 64·27 + 64, and 64·27·224²
    (1792, 86704128)
    """
    raise NotImplementedError  # TODO: your code


def separable_cost(
    c: int, o: int, kernel: tuple[int, int], output: tuple[int, int], bias: bool = True
) -> tuple[int, int]:
    """The same for a depthwise separable convolution: each channel by itself with `kernel`, c to c, then 1×1, c to o.

    Both layers have a bias, or none has. Compared with the whole convolution the multiply-adds are 1/o + 1/(kh·kw).

    Source: Howard et al. 2017 (MobileNets).

    Forbidden: torch, scipy, autograd.

    >>> separable_cost(32, 64, (3, 3), (112, 112), bias=False)  # 9·32 + 32·64 weights, for 18,432
    (2336, 29302784)
    """
    raise NotImplementedError  # TODO: your code


def linear_as_conv(w: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The kernels with which conv2d computes a linear layer on flattened images, y = x.reshape(n, -1) · w.

    w: (c·h·w, o), rows in the order (c, h, w) in which an image of `shape` (c, h, w) is flattened. Returns
    (o, c, h, w). On larger images the same kernels give a map: the layer at every place at once (fully convolutional).

    Forbidden: torch, scipy, autograd.

    >>> linear_as_conv(np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]]), (1, 2, 2)).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]]
    """
    raise NotImplementedError  # TODO: your code
