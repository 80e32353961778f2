"""Hidden checks of nn_002: the oracle walks over windows and taps one by one, and asks of each whether it is inside."""

import math

import numpy as np
import pytest

from grader.checks import agree, agree_one_of, at_most, part, refusal
from grader.checks.again import hold_again
from grader.checks.numeric import numbers, turned

from . import drivers

EXACT = 1e-12
"""Of sums of a few dozen products: these are right to 1e-14."""

GEOMETRIES = {
    # (h, w), kernel, stride, padding, dilation
    "plain": ((5, 7), (2, 3), (1, 1), (0, 0), (1, 1)),
    "one tap": ((5, 7), (1, 1), (1, 1), (0, 0), (1, 1)),
    "one tap, stride 2": ((5, 8), (1, 1), (2, 3), (0, 0), (1, 1)),
    "stride (2, 1)": ((6, 5), (2, 3), (2, 1), (0, 0), (1, 1)),
    "pixels left over": ((8, 9), (3, 2), (3, 4), (0, 0), (1, 1)),
    "stride above the kernel": ((9, 8), (1, 2), (4, 3), (0, 0), (1, 1)),
    "padding (1, 2)": ((5, 4), (3, 2), (1, 1), (1, 2), (1, 1)),
    "padding above the kernel": ((3, 4), (2, 1), (1, 1), (3, 2), (1, 1)),
    "dilation (2, 3)": ((7, 8), (3, 2), (1, 1), (0, 0), (2, 3)),
    "a kernel larger than the image": ((2, 3), (4, 5), (1, 1), (1, 3), (1, 1)),
    "all of it": ((7, 9), (3, 2), (2, 3), (2, 1), (2, 1)),
    "the other way round": ((9, 7), (2, 3), (3, 2), (1, 2), (1, 2)),
}


CHANNELS = {name: [(2, 3, 4), (6, 2, 5), (1, 5, 2)][i % 3] for i, name in enumerate(GEOMETRIES)}
"""n, c and o, for each of the geometries."""


def flipped(w):
    """The last two axes the other way round: what a true convolution does to its kernel."""
    return w[:, :, ::-1, ::-1].copy()


def said(geometry):
    return "kernel {}, stride {}, padding {}, dilation {}".format(*geometry)


# --- the oracle -------------------------------------------------------------------------------------------------------


def places(n, kernel, stride, padding, dilation):
    """For each window of an axis the pixels under its taps; some may lie outside."""
    last = n + padding - dilation * (kernel - 1)
    return [[start + tap * dilation for tap in range(kernel)] for start in range(-padding, last, stride)]


def taps(size, geometry):
    """(window, tap, pixel) for each tap that is on a pixel."""
    down, right = (places(*one) for one in zip(size, *geometry, strict=True))
    for i, rows in enumerate(down):
        for j, columns in enumerate(right):
            for a, y in enumerate(rows):
                for b, x in enumerate(columns):
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        yield (i, j), (a, b), (y, x)


def output_size(size, geometry):
    return tuple(len(places(*one)) for one in zip(size, *geometry, strict=True))


def windows(x, geometry, fill=0.0):
    """(n, c, kh, kw, oh, ow)"""
    size = x.shape[2:]
    found = np.full((*x.shape[:2], *geometry[0], *output_size(size, geometry)), fill)
    for (i, j), (a, b), (y, z) in taps(size, geometry):
        found[:, :, a, b, i, j] = x[:, :, y, z]
    return found


def convolved(x, w, b, geometry, groups=1):
    found = windows(x, geometry)
    inputs, outputs = np.split(found, groups, axis=1), np.split(w, groups)
    pieces = [np.einsum("ncabij,ocab->noij", *one) for one in zip(inputs, outputs, strict=True)]
    return np.concatenate(pieces, axis=1) + (0.0 if b is None else b[:, None, None])


def convolution_gradients(x, w, dout, geometry, groups=1):
    """Convolution is linear: the gradient by an entry is what the unit image, or unit kernel, of that entry gives."""
    units = np.eye(x[0].size).reshape(-1, *x.shape[1:])
    dx = np.einsum("koij,noij->nk", convolved(units, w, None, geometry, groups), dout).reshape(x.shape)
    dw = np.empty(w.shape)
    for place in np.ndindex(w.shape):
        unit = np.zeros(w.shape)
        unit[place] = 1.0
        dw[place] = (convolved(x, unit, None, geometry, groups) * dout).sum()
    return dx, dw, dout.sum(axis=(0, 2, 3))


# --- conv_output_size -------------------------------------------------------------------------------------------------


def size_mistakes(n, kernel, stride=1, padding=0, dilation=1):
    span = dilation * (kernel - 1) + 1
    room = n + 2 * padding - span
    found = {
        "the + 1 forgotten": room // stride,
        "rounded up": -(-room // stride) + 1,
        "padding on one side alone": (room - padding) // stride + 1,
        "dilation · kernel taken as the span": (n + 2 * padding - dilation * kernel) // stride + 1,
        "dilation forgotten": (n + 2 * padding - kernel) // stride + 1,
    }
    return {name: value for name, value in found.items() if value != room // stride + 1}


@part("conv_output_size")
def test_output_size_by_hand(attempt):
    """7 pixels have 5 places for a kernel of 3, and 3 places at stride 2."""
    for arguments, want in [((7, 3), 5), ((7, 3, 2), 3), ((8, 3, 2), 3), ((7, 3, 2, 1), 4), ((7, 3, 1, 0, 2), 3)]:
        agree(attempt.conv_output_size(*arguments), want, of=f"conv_output_size{arguments}")
    large = 2**24 + 4, 3  # more than a float of 32 bits tells apart
    agree(attempt.conv_output_size(*large), 2**24 + 2, of=f"conv_output_size{large}")


@part("conv_output_size")
def test_output_size_counts_places(attempt, draw):
    """The size is the number of places where the kernel, dilated, is within the padded axis."""
    cases = [
        (n, kernel, stride, padding, dilation)
        for n in (1, 4, 7, 10)
        for kernel in (1, 2, 3, 5)
        for stride in (1, 2, 3, 7)
        for padding in (0, 1, 2)
        for dilation in (1, 2, 3)
        if n + 2 * padding > dilation * (kernel - 1)
    ]
    cases = [(20, 3, 2, 7, 6), *cases, *((n, 7, 2, 3, 1) for n in (224, draw.random.randrange(1000, 5000)))]
    for case, got in zip(cases, attempt.each("conv_output_size", cases), strict=True):
        of = "conv_output_size(n={}, kernel={}, stride={}, padding={}, dilation={})".format(*case)
        agree(got, len(places(*case)), of=of, known=size_mistakes(*case))


@part("conv_output_size")
@pytest.mark.parametrize("case", [(2, 3, 1, 0, 1), (4, 3, 2, 0, 2), (3, 10, 1, 3, 1), (1, 2, 5, 0, 1)], ids=str)
def test_output_size_refuses(attempt, case):
    """A kernel that spans more than the padded axis is a ValueError."""
    with refusal(ValueError, of="conv_output_size(n={}, kernel={}, stride={}, padding={}, dilation={})".format(*case)):
        attempt.conv_output_size(*case)


@part("conv_output_size")
def test_same_padding(attempt):
    """Both sides together are span - 1, and where that is odd the one more stands after."""
    cases = [
        (4, 3),
        (3,),
        (4,),
        (11,),
        (24, 5),
        *((kernel, dilation) for kernel in range(1, 8) for dilation in (1, 2, 3)),
    ]
    for case, got in zip(cases, attempt.each("same_padding", cases), strict=True):
        kernel, dilation = (*case, 1)[:2]
        both = dilation * (kernel - 1)
        known = {
            "the one more before": (both - both // 2, both // 2),
            "half the kernel on each side": (kernel // 2, kernel // 2),
            "dilation forgotten": ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2),
            "the kernel's span in place of span - 1": ((both + 1) // 2, both + 1 - (both + 1) // 2),
        }
        want = both // 2, both - both // 2
        known = {name: value for name, value in known.items() if value != want}
        agree(got, want, of=f"same_padding{case}", known=known)


# --- receptive_field --------------------------------------------------------------------------------------------------


def field(layers, place=0):
    """The first and the last pixel that an output can see: from the last layer down to the input."""
    first = last = place
    for kernel, stride, padding, dilation in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + dilation * (kernel - 1)
    return first, last


def seen(layers):
    (first, last), (after, _) = field(layers), field(layers, 1)
    return last - first + 1, after - first, (first + last) / 2


def field_mistakes(layers):
    def carried(grow, reach=lambda kernel, dilation: dilation * (kernel - 1), early=False, jumps=True):
        size, jump, centre = 1, 1, 0.0
        for kernel, stride, padding, dilation in layers:
            jump *= stride if early else 1
            size += grow(reach(kernel, dilation), jump)
            centre += (reach(kernel, dilation) / 2 - padding) * (jump if jumps else 1)
            jump *= 1 if early else stride
        return size, jump, centre

    right = seen(layers)
    found = {
        "the jump forgotten in the size": carried(lambda reach, jump: reach),
        "the layer's own stride counted for its own kernel": carried(lambda reach, jump: reach * jump, early=True),
        "dilation forgotten": carried(lambda reach, jump: reach * jump, lambda kernel, dilation: kernel - 1),
        "the whole kernel for kernel - 1": carried(lambda reach, jump: reach * jump, lambda kernel, d: d * kernel),
        "the jump forgotten in the centre": carried(lambda reach, jump: reach * jump, jumps=False),
        "the centre as if there were no padding": (*right[:2], carried_centre(layers)),
        "the first pixel of the field in place of its middle": (*right[:2], float(field(layers)[0])),
        "strides added up for the jump": (right[0], 1 + sum(stride - 1 for _, stride, _, _ in layers), right[2]),
    }
    return {name: value for name, value in found.items() if value != right}


def carried_centre(layers):
    return sum(field([(kernel, stride, 0, dilation) for kernel, stride, _, dilation in layers])) / 2


def hold_field(attempt, stacks):
    for layers, got in zip(stacks, attempt.each("receptive_field", [(layers,) for layers in stacks]), strict=True):
        shown = layers if len(layers) < 6 else f"[{layers[0]}, ... {len(layers)} layers]"
        of = f"receptive_field({shown}): (size, jump, centre)"
        agree(got, seen(layers), of=of, known=field_mistakes(layers) if layers else None)


@part("receptive_field")
def test_receptive_field_by_hand(attempt):
    """Three 3×3 layers see 3, 5, 7 pixels; with stride 2 in the second, 3, 5, 9."""
    plain, strided = [(3, 1, 1, 1)] * 3, [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 1, 1)]
    hold_field(attempt, [plain[:1], plain[:2], plain, strided[:2], strided])


@part("receptive_field")
def test_receptive_field_of_no_layer(attempt):
    """Without layers an output is the pixel itself."""
    hold_field(attempt, [[]])


@part("receptive_field")
def test_receptive_field_of_one_layer(attempt):
    """One layer sees its span; padding moves the centre, and even kernels have one between pixels."""
    hold_field(attempt, [[(k, s, p, d)] for k in (1, 2, 3, 5) for s in (1, 2) for p in (0, 1, 3) for d in (1, 2)])


@part("receptive_field")
def test_receptive_field_of_stacks(attempt, draw):
    """Each layer grows in its own input's steps: strides multiply, kernels, dilations and padding add."""
    random = draw.random
    stacks = [
        [(random.randint(1, 5), random.randint(1, 3), random.randint(0, 2), random.randint(1, 3)) for _ in range(n)]
        for n in (2, 2, 3, 3, 4, 5, 6, 7)
    ]
    hold_field(attempt, stacks)


@part("receptive_field")
def test_receptive_field_of_a_deep_network(attempt):
    """VGG-16 sees 212 pixels; 40 layers with dilations 1, 2, 4, ... see 2^40 and more."""
    vgg = [layer for n in (2, 2, 3, 3, 3) for layer in [*[(3, 1, 1, 1)] * n, (2, 2, 0, 1)]]
    hold_field(attempt, [vgg, [(3, 1, 2**i, 2**i) for i in range(40)], [(3, 2, 1, 1), (2, 1, 0, 1)] * 25])


# --- im2col and col2im ------------------------------------------------------------------------------------------------


def image(draw, n, c, size):
    return turned(numbers(draw).normal(size=(n, c, *size)))


def as_columns(found):
    n, c, kh, kw, oh, ow = found.shape
    return found.reshape(n, c * kh * kw, oh * ow)


def swapped(geometry):
    """Rows taken for columns, in all pairs but the kernel."""
    return (geometry[0], *(pair[::-1] for pair in geometry[1:]))


def fits(size, geometry):
    return min(output_size(size, geometry)) > 0


def column_mistakes(x, geometry):
    found = windows(x, geometry)
    n, oh, ow = len(found), *found.shape[4:]
    right = as_columns(found)
    known = {
        "rows in the order (a, b, c)": found.transpose(0, 2, 3, 1, 4, 5).reshape(n, -1, oh * ow),
        "rows in the order (c, b, a)": found.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, oh * ow),
        "columns in the order (j, i)": found.swapaxes(4, 5).reshape(n, -1, oh * ow),
        "the kernel flipped": as_columns(found[:, :, ::-1, ::-1].copy()),
        "a window in each row, not in each column": right.swapaxes(1, 2),
        "the windows reshaped without moving their axes": found.transpose(0, 4, 5, 1, 2, 3).reshape(right.shape),
    }
    for name, other in {
        "stride, padding and dilation with rows and columns exchanged": swapped(geometry),
        "dilation left out": (*geometry[:3], (1, 1)),
        "padding left out": (*geometry[:2], (0, 0), geometry[3]),
        "stride left out": (geometry[0], (1, 1), *geometry[2:]),
    }.items():
        if fits(x.shape[2:], other):
            known[name] = as_columns(windows(x, other))
    return {name: v for name, v in known.items() if v.shape != right.shape or not np.array_equal(v, right)}


@part("im2col")
def test_im2col_by_hand(attempt):
    """A kernel of 2×2 finds two windows in 0 1 2 / 3 4 5: 0 1 3 4 and 1 2 4 5."""
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    want = np.array([[[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]])
    known = {
        "a window in each row, not in each column": want.swapaxes(1, 2),
        "the kernel flipped": want[:, ::-1].copy(),
    }
    agree(
        attempt.im2col(x, (2, 2)), want, axes="n row column", of="im2col of 0 1 2 / 3 4 5, kernel (2, 2)", known=known
    )


@part("im2col")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_im2col_of_any_geometry(attempt, draw, name):
    """Row (c, a, b), column (i, j) is the pixel of channel c under tap (a, b) of window (i, j), or 0 outside."""
    size, *geometry = GEOMETRIES[name]
    x = image(draw, *CHANNELS[name][:2], size)
    of = f"im2col of x {x.shape}, {said(geometry)}"
    want = as_columns(windows(x, geometry))
    agree(attempt.im2col(x, *geometry), want, axes="n row column", of=of, known=column_mistakes(x, geometry))


TOO_LARGE = [((2, 5), (3, 3), (1, 1)), ((5, 2), (3, 3), (1, 1)), ((4, 9), (2, 2), (4, 1)), ((9, 4), (2, 3), (1, 2))]
"""(h, w), kernel and dilation: the last two fit as long as they are not dilated."""


@part("im2col")
def test_im2col_refuses(attempt):
    """A kernel that does not fit, with its dilation, is a ValueError."""
    for size, kernel, dilation in TOO_LARGE:
        with refusal(ValueError, of=f"im2col of x (1, 1, {size[0]}, {size[1]}), kernel {kernel}, dilation {dilation}"):
            attempt.im2col(np.ones((1, 1, *size)), kernel, (1, 1), (0, 0), dilation)


def scattered(cols, size, geometry, add=True):
    """What each pixel gets of the columns: their sum, or the last of them."""
    n, c = cols.shape[:2]
    found = np.zeros((n, c, *size))
    for (i, j), (a, b), (y, z) in taps(size, geometry):
        found[:, :, y, z] = cols[:, :, a, b, i, j] + (found[:, :, y, z] if add else 0.0)
    return found


def back_mistakes(cols, size, geometry):
    n, c, kh, kw, oh, ow = cols.shape
    right = scattered(cols, size, geometry)
    often = scattered(np.ones(cols.shape), size, geometry)
    known = {
        "one entry of each pixel kept, not their sum": scattered(cols, size, geometry, add=False),
        "the mean of a pixel's entries, not their sum": right / np.maximum(often, 1),
        "rows taken in the order (a, b, c)": scattered(
            cols.reshape(n, kh, kw, c, oh, ow).transpose(0, 3, 1, 2, 4, 5), size, geometry
        ),
        "rows taken in the order (c, b, a)": scattered(
            cols.reshape(n, c, kw, kh, oh, ow).swapaxes(2, 3), size, geometry
        ),
        "columns taken in the order (j, i)": scattered(
            cols.reshape(n, c, kh, kw, ow, oh).swapaxes(4, 5), size, geometry
        ),
        "the kernel flipped": scattered(cols[:, :, ::-1, ::-1], size, geometry),
    }
    return {name: v for name, v in known.items() if not np.allclose(v, right)}


@part("col2im")
def test_col2im_by_hand(attempt):
    """Of 2×3 pixels those in the middle stand in both windows of a 2×2 kernel: columns of ones give 1 2 1."""
    got = attempt.col2im(np.ones((1, 4, 2)), (1, 1, 2, 3), (2, 2))
    want = np.array([[[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]])
    known = {"one entry of each pixel kept, not their sum": np.ones((1, 1, 2, 3))}
    agree(got, want, axes="n c h w", of="col2im of ones (1, 4, 2) to (1, 1, 2, 3), kernel (2, 2)", known=known)


@part("col2im")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_col2im_of_any_geometry(attempt, draw, name):
    """Each pixel gets the sum of its entries, one in no window 0, and what came from the padding is dropped."""
    size, *geometry = GEOMETRIES[name]
    n, c, _ = CHANNELS[name]
    cols = numbers(draw).normal(size=(n, c, *geometry[0], *output_size(size, geometry)))
    of = f"col2im to shape {(n, c, *size)}, {said(geometry)}"
    got = attempt.col2im(turned(as_columns(cols)), (n, c, *size), *geometry)
    known = back_mistakes(cols, size, geometry)
    agree(got, scattered(cols, size, geometry), axes="n c h w", of=of, tol=EXACT, known=known)


# --- conv2d and conv2d_backward ---------------------------------------------------------------------------------------

GROUPED = {"one group": (3, 4, 1), "two groups": (4, 6, 2), "depthwise": (3, 3, 3), "depthwise, two each": (3, 6, 3)}


def layer(draw, size, kernel, n, c, o, groups=1):
    rng = numbers(draw)
    x = turned(rng.normal(size=(n, c, *size)))
    return x, turned(rng.normal(size=(o, c // groups, *kernel))), rng.normal(size=o)


def conv_mistakes(x, w, b, geometry, groups=1):
    right = convolved(x, w, b, geometry, groups)
    known = {
        "the kernel flipped": convolved(x, flipped(w), b, geometry, groups),
        "the bias left out": right - b[:, None, None],
        "the outputs (i, j) in the order (j, i)": right.swapaxes(2, 3).reshape(right.shape),
    }
    if groups > 1:
        each = w.shape[0] // groups
        dealt = [o % groups * each + o // groups for o in range(w.shape[0])]
        interleaved = convolved(x, w[np.argsort(dealt)], None, geometry, groups)[:, dealt] + b[:, None, None]
        known["the outputs dealt to the groups in turn"] = interleaved
        channels = np.arange(x.shape[1]).reshape(groups, -1).T.ravel()
        known["the channels dealt to the groups in turn"] = convolved(
            x[:, np.argsort(channels)], w, b, geometry, groups
        )
    for name, other in {
        "stride, padding and dilation with rows and columns exchanged": swapped(geometry),
        "dilation left out": (*geometry[:3], (1, 1)),
        "padding left out": (*geometry[:2], (0, 0), geometry[3]),
        "stride left out": (geometry[0], (1, 1), *geometry[2:]),
    }.items():
        if fits(x.shape[2:], other):
            known[name] = convolved(x, w, b, other, groups)
    known = {name: v for name, v in known.items() if v.shape != right.shape or not np.allclose(v, right)}
    return {name: v for i, (name, v) in enumerate(known.items()) if not _seen_before(v, list(known.values())[:i])}


def _seen_before(value, others):
    return any(value.shape == other.shape and np.allclose(value, other) for other in others)


@part("conv2d")
def test_conv2d_by_hand(attempt):
    """1 at the upper left and 10 at the lower right of a kernel add a pixel and ten times its neighbour; no flip."""
    x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, 10.0]]]])
    want = np.array([[[[40.0, 51.0], [73.0, 84.0]]]])
    of = "conv2d of 0 1 2 / 3 4 5 / 6 7 8 with 1 0 / 0 10"
    known = {"the kernel flipped": np.array([[[[4.0, 15.0], [37.0, 48.0]]]])}
    agree(attempt.conv2d(x, w), want, axes="n o h w", of=f"{of}, no bias", known=known)
    agree(attempt.conv2d(x, w, np.array([100.0])), want + 100, axes="n o h w", of=f"{of}, bias 100")


@part("conv2d")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_conv2d_of_any_geometry(attempt, draw, name):
    """Each output is the sum over channels and taps, plus its bias, for every stride, padding and dilation."""
    size, *geometry = GEOMETRIES[name]
    x, w, b = layer(draw, size, geometry[0], *CHANNELS[name])
    of = f"conv2d of x {x.shape}, w {w.shape}, {said(geometry)}"
    known = conv_mistakes(x, w, b, geometry)
    want = convolved(x, w, b, geometry)
    agree(attempt.conv2d(x, w, b, *geometry[1:]), want, axes="n o h w", of=of, tol=EXACT, known=known)


@part("conv2d")
@pytest.mark.parametrize("name", GROUPED)
def test_conv2d_in_groups(attempt, draw, name):
    """The first outputs see the first channels alone, and so on."""
    c, o, groups = GROUPED[name]
    for size, *geometry in (GEOMETRIES["all of it"], GEOMETRIES["the other way round"]):
        x, w, b = layer(draw, size, geometry[0], 2, c, o, groups)
        of = f"conv2d of x (2, {c}, {size[0]}, {size[1]}), o={o}, groups={groups}, {said(geometry)}"
        known = conv_mistakes(x, w, b, geometry, groups)
        for bias, title in ((b, ""), (None, ", no bias")):
            want = convolved(x, w, bias, geometry, groups)
            got = attempt.conv2d(x, w, bias, *geometry[1:], groups)
            agree(got, want, axes="n o h w", of=of + title, tol=EXACT, known=None if bias is None else known)


@part("conv2d")
def test_conv2d_refuses(attempt):
    """A kernel that does not fit, with its dilation, is a ValueError."""
    for size, kernel, dilation in TOO_LARGE:
        with refusal(ValueError, of=f"conv2d of x (1, 1, {size[0]}, {size[1]}), kernel {kernel}, dilation {dilation}"):
            attempt.conv2d(np.ones((1, 1, *size)), np.ones((1, 1, *kernel)), None, (1, 1), (0, 0), dilation)


ALONE = (1, 1), (1, 1), (1, 1), 1
LARGE = {
    # the arrays; stride, padding, dilation and groups
    "plain": ({"x": (2, 2, 126, 130), "w": (256, 2, 3, 3)}, ALONE),
    "strided": ({"x": (1, 3, 126, 130), "w": (256, 3, 2, 3), "b": (256,)}, ((1, 2), (2, 1), (2, 1), 1)),
    "depthwise": ({"x": (2, 2000, 6, 7), "w": (2000, 1, 3, 3)}, ((1, 1), (1, 1), (1, 1), 2000)),
    "1000 groups": ({"x": (2, 2000, 6, 7), "w": (2000, 2, 3, 3), "b": (2000,)}, ((2, 1), (1, 2), (1, 2), 1000)),
}
LARGE_BACK = {
    "plain": ({"x": (4, 4, 126, 130), "w": (64, 4, 3, 3), "dout": (4, 8, 126, 130)}, ALONE),
    "strided": ({"x": (2, 8, 126, 130), "w": (32, 8, 3, 3), "dout": (2, 32, 126, 65)}, ((1, 2), (2, 1), (2, 1), 1)),
    "depthwise": (
        {"x": (2, 2000, 6, 7), "w": (2000, 1, 3, 3), "dout": (2, 2000, 6, 7)},
        ((1, 1), (1, 1), (1, 1), 2000),
    ),
    "1000 groups": (
        {"x": (2, 2000, 6, 7), "w": (2000, 2, 3, 3), "dout": (2, 2000, 3, 7)},
        ((2, 1), (1, 2), (1, 2), 1000),
    ),
}
"""The first of each is 151 million multiply-adds. The arrays are drawn beside the learner's code, not sent.

A step of Python for each of 8.4 million output entries takes 25 s, one for each of 4.2 million 12 s or more. A dense
kernel of 2000 channels has 288 MB.
"""


def drawn(seed, shapes):
    """As the drivers draw it."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def under_tap(x, tap, how, size):
    """Of padded images the pixels under one tap, in each window: a view. size: of the output."""
    stride, _, dilation, _ = how
    first = [one * step for one, step in zip(tap, dilation, strict=True)]
    rows, columns = (slice(f, f + s * n, s) for f, s, n in zip(first, stride, size, strict=True))
    return x[:, :, rows, columns]


def padded(x, how):
    return np.pad(x, ((0, 0), (0, 0), *((one, one) for one in how[1])))


def tapwise(x, w, b, how):
    """A convolution as one product for each tap of the kernel. how: stride, padding, dilation and groups."""
    n, groups, size = len(x), how[3], output_size(x.shape[2:], (w.shape[2:], *how[:3]))
    wide = padded(x, how)
    out = np.zeros((n, groups, len(w) // groups, math.prod(size)))
    for a, e in np.ndindex(w.shape[2:]):
        piece = under_tap(wide, (a, e), how, size).reshape(n, groups, w.shape[1], -1)
        out += w[:, :, a, e].reshape(groups, -1, w.shape[1]) @ piece
    return out.reshape(n, len(w), *size) + (0.0 if b is None else b[:, None, None])


def tapwise_back(x, w, dout, how):
    """(dx, dw, db), one tap of the kernel after the other."""
    n, groups, size = len(x), how[3], dout.shape[2:]
    wide, dw = padded(x, how), np.empty(w.shape)
    grad, upstream = np.zeros(wide.shape), dout.reshape(n, groups, len(w) // groups, -1)
    for a, e in np.ndindex(w.shape[2:]):
        piece = under_tap(wide, (a, e), how, size).reshape(n, groups, w.shape[1], -1)
        dw[:, :, a, e] = (upstream @ piece.swapaxes(2, 3)).sum(axis=0).reshape(w.shape[:2])
        back = w[:, :, a, e].reshape(groups, -1, w.shape[1]).swapaxes(1, 2) @ upstream
        under_tap(grad, (a, e), how, size)[...] += back.reshape(n, x.shape[1], *size)
    (top, left), (h, width) = how[1], x.shape[2:]
    return grad[:, :, top : top + h, left : left + width], dw, dout.sum(axis=(0, 2, 3))


def columns_of(x, kernel):
    """Bytes of the columns of an image at stride 1, as large as it is."""
    return 8 * math.prod(x) * kernel[0] * kernel[1]


def at_stride_1(shape, how):
    """(n, c, h, w) of an output, as large as stride 1 makes it."""
    return (*shape[:2], *(size * step for size, step in zip(shape[2:], how[0], strict=True)))


@part("conv2d")
@pytest.mark.parametrize("name", LARGE)
def test_conv2d_of_151_million(attempt, draw, name):
    """151 million multiply-adds end well within the limit, in a few times the memory of columns and output."""
    shapes, how = LARGE[name]
    shapes, seed = {one: shape for one, shape in shapes.items() if one != "dout"}, draw.random.getrandbits(32)
    (shape, got), cost = attempt.cost(drivers.large_conv2d, seed, shapes, how, 25)
    of = "conv2d of x {}, w {}, stride {}, padding {}, dilation {}, groups {}".format(shapes["x"], shapes["w"], *how)
    of += ", with a bias" if "b" in shapes else ""
    size = output_size(shapes["x"][2:], (shapes["w"][2:], *how[:3]))
    (n, c), (o, _, *kernel) = shapes["x"][:2], shapes["w"]
    agree(tuple(shape), (n, o, *size), of=f"the shape of {of}")
    arrays = drawn(seed, shapes)
    want = tapwise(arrays["x"], arrays["w"], arrays.get("b"), how)[:, ::25]
    agree(got, want, axes="n o h w", of=f"every 25th channel of {of}", tol=EXACT)
    wide = at_stride_1(shape, how)
    columns, outputs = columns_of((n, c, *wide[2:]), kernel), 8 * math.prod(wide)
    known = {"all products before their sum": o * columns // how[3], "the dense kernel": 8 * o * c * math.prod(kernel)}
    limit = 4 * (columns + outputs)
    known = {name: value for name, value in known.items() if value > limit}
    at_most(cost.peak, limit, of=f"bytes at once, {of}", known=known)


def gradient_mistakes(x, w, dout, geometry, groups=1):
    dx, dw, db = right = convolution_gradients(x, w, dout, geometry, groups)
    n = len(x)
    turned_round = convolution_gradients(x, flipped(w), dout, geometry, groups)
    known = {
        "the kernel flipped in dx": (turned_round[0], dw, db),
        "dw flipped": (dx, flipped(dw), db),
        "the mean over the images in dw and db": (dx, dw / n, db / n),
        "the mean over the images in db": (dx, dw, db / n),
        "db of the last image alone": (dx, dw, dout[-1].sum(axis=(1, 2))),
        "dw of the last image alone": (dx, convolution_gradients(x[-1:], w, dout[-1:], geometry, groups)[1], db),
        "the mean over the outputs in db": (dx, dw, dout.mean(axis=(0, 2, 3))),
    }
    return {
        name: value
        for name, value in known.items()
        if not all(np.allclose(a, b) for a, b in zip(value, right, strict=True))
    }


@part("conv2d_backward")
def test_conv2d_backward_by_hand(attempt):
    """With dout 1 everywhere, dw sums the pixels under each tap, and dx the taps over each pixel."""
    x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, 10.0]]]])
    want = (
        np.array([[[[1.0, 1.0, 0.0], [1.0, 11.0, 10.0], [0.0, 10.0, 10.0]]]]),
        np.array([[[[8.0, 12.0], [20.0, 24.0]]]]),
        np.array([4.0]),
    )
    of = "conv2d_backward of 0 1 2 / 3 4 5 / 6 7 8 with 1 0 / 0 10, dout ones (2, 2): (dx, dw, db)"
    agree(attempt.conv2d_backward(x, w, np.ones((1, 1, 2, 2))), want, of=of)


@part("conv2d_backward")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_conv2d_backward_of_any_geometry(attempt, draw, name):
    """dx, dw and db are the gradients of Σ conv2d(x, w, b)·dout; pixels that are left over get 0."""
    size, *geometry = GEOMETRIES[name]
    x, w, _ = layer(draw, size, geometry[0], *CHANNELS[name])
    dout = turned(numbers(draw).normal(size=(len(x), len(w), *output_size(size, geometry))))
    of = f"conv2d_backward of x {x.shape}, w {w.shape}, {said(geometry)}: (dx, dw, db)"
    want = convolution_gradients(x, w, dout, geometry)
    known = gradient_mistakes(x, w, dout, geometry) if name in ("plain", "all of it") else None
    agree(attempt.conv2d_backward(x, w, dout, *geometry[1:]), want, of=of, tol=EXACT, known=known)


@part("conv2d_backward")
@pytest.mark.parametrize("name", GROUPED)
def test_conv2d_backward_in_groups(attempt, draw, name):
    """Gradients stay within their group."""
    c, o, groups = GROUPED[name]
    for size, *geometry in (GEOMETRIES["the other way round"], GEOMETRIES["all of it"]):
        x, w, _ = layer(draw, size, geometry[0], 2, c, o, groups)
        dout = turned(numbers(draw).normal(size=(2, o, *output_size(size, geometry))))
        of = f"conv2d_backward of x {x.shape}, o={o}, groups={groups}, {said(geometry)}: (dx, dw, db)"
        want = convolution_gradients(x, w, dout, geometry, groups)
        agree(attempt.conv2d_backward(x, w, dout, *geometry[1:], groups), want, of=of, tol=EXACT)


STACKS = {
    "three 3×3 layers": ((13, 15), [((3, 3), (1, 1), (1, 1), (1, 1))] * 3),
    "stride 2 in the second": (
        (17, 20),
        [((3, 3), (1, 1), (1, 1), (1, 1)), ((3, 3), (2, 2), (1, 1), (1, 1)), ((3, 3), (1, 1), (1, 1), (1, 1))],
    ),
    "dilated by rows, strided by columns": (
        (16, 19),
        [((3, 2), (1, 2), (0, 0), (1, 1)), ((3, 3), (1, 1), (2, 1), (2, 1))],
    ),
}


@part("conv2d_backward")
@pytest.mark.parametrize("name", STACKS)
def test_the_gradient_lives_on_the_receptive_field(attempt, name):
    """Back through stacked layers, the gradient of one output is above 0 exactly on its receptive field."""
    size, layers = STACKS[name]
    sizes = [size]
    for one in layers:
        sizes.append(output_size(sizes[-1], one))
    place = sizes[-1][0] // 2, sizes[-1][1] // 2
    got = attempt.run(drivers.gradient_of_one_output, sizes, layers, place)
    axes = [[tuple(pair[axis] for pair in one) for one in layers] for axis in (0, 1)]
    want = np.zeros((1, 1, *size), dtype=bool)
    (top, bottom), (left, right) = (field(axes[axis], place[axis]) for axis in (0, 1))
    want[:, :, max(top, 0) : bottom + 1, max(left, 0) : right + 1] = True
    agree(got.shape, want.shape, of=f"the shape of dx, {name}")
    agree(got > 0, want, axes="n c h w", of=f"where the gradient of output {place} is above 0, {name}")


@part("conv2d_backward")
@pytest.mark.parametrize("name", LARGE_BACK)
def test_conv2d_backward_of_151_million(attempt, draw, name):
    """The gradients of 151 million multiply-adds end well within the limit, in the memory of a few sets of columns."""
    shapes, how = LARGE_BACK[name]
    seed = draw.random.getrandbits(32)
    got, cost = attempt.cost(drivers.large_conv2d_backward, seed, shapes, how)
    x, w, dout = drawn(seed, shapes).values()
    often = len(w) // dout.shape[1]
    dout = np.repeat(dout, often, axis=1)
    of = "conv2d_backward of x {}, w {}, stride {}, padding {}, dilation {}, groups {}".format(x.shape, w.shape, *how)
    agree(got, tapwise_back(x, w, dout, how), of=f"{of}: (dx, dw, db)", tol=1e-11)
    columns = columns_of(x.shape, w.shape[2:])
    limit = 2 * (columns + columns_of(at_stride_1(dout.shape, how), w.shape[2:]))
    products = len(w) // how[3] * columns_of((*x.shape[:2], *dout.shape[2:]), w.shape[2:])
    known = {"all products before their sum": products, "the dense kernel": 8 * len(w) * x.shape[1] * 9}
    at_most(cost.peak, limit, of=f"bytes at once, {of}", known={k: v for k, v in known.items() if v > limit})


# --- what is remembered ----------------------------------------------------------------------------------------------


def hold_each_anew(attempt, name, cases, wants, of):
    """Of several calls, alike in all sizes, each has its own result, and keeps it while the others come."""
    for i, (got, want) in enumerate(zip(attempt.run(drivers.in_turn, name, cases), wants, strict=True)):
        agree(got, want, of=f"call {i + 1} of {len(cases)} with other numbers of the same sizes: {of}", tol=EXACT)


ANEW = (4, 5), (3, 2), (1, 2), (1, 0), (1, 1)


@part("im2col")
def test_im2col_remembers_nothing(attempt, draw):
    """Each call is about the image that it gets, also where an earlier one was as large."""
    size, *geometry = ANEW
    xs = [image(draw, 2, 3, size) for _ in range(3)]
    wants = [as_columns(windows(x, geometry)) for x in xs]
    hold_each_anew(attempt, "im2col", [(x, *geometry) for x in xs], wants, f"im2col, {said(geometry)}")


@part("col2im")
def test_col2im_remembers_nothing(attempt, draw):
    """Each call is about the columns that it gets, also where earlier ones were as large."""
    size, *geometry = ANEW
    shape = 2, 3, *geometry[0], *output_size(size, geometry)
    cols = [numbers(draw).normal(size=shape) for _ in range(3)]
    wants = [scattered(one, size, geometry) for one in cols]
    cases = [(as_columns(one), (2, 3, *size), *geometry) for one in cols]
    hold_each_anew(attempt, "col2im", cases, wants, f"col2im, {said(geometry)}")


@part("conv2d")
def test_conv2d_remembers_nothing(attempt, draw):
    """Each call is about the image, the kernel and the bias that it gets, whichever of the three is another one."""
    size, *geometry = ANEW
    (x, w, b), (y, v, c) = (layer(draw, size, geometry[0], 2, 3, 4) for _ in range(2))
    cases = [(x, w, b), (y, w, b), (y, v, b), (y, v, c)]
    wants = [convolved(*one, geometry) for one in cases]
    hold_each_anew(attempt, "conv2d", [(*one, *geometry[1:]) for one in cases], wants, f"conv2d, {said(geometry)}")


@part("conv2d_backward")
def test_conv2d_backward_remembers_nothing(attempt, draw):
    """Each call is about the image, the kernel and dout that it gets, whichever of the three is another one."""
    size, *geometry = ANEW
    (x, w, _), (y, v, _) = (layer(draw, size, geometry[0], 2, 3, 4) for _ in range(2))
    dout, other = (numbers(draw).normal(size=(2, 4, *output_size(size, geometry))) for _ in range(2))
    cases = [(x, w, dout), (y, w, dout), (y, v, dout), (y, v, other)]
    wants = [convolution_gradients(*one, geometry) for one in cases]
    of = f"conv2d_backward, {said(geometry)}: (dx, dw, db)"
    hold_each_anew(attempt, "conv2d_backward", [(*one, *geometry[1:]) for one in cases], wants, of)


# --- pool2d -----------------------------------------------------------------------------------------------------------

POOLS = {
    # (h, w), kernel, stride, padding
    "2×2": ((4, 6), (2, 2), (2, 2), (0, 0)),
    "2×3, stride (3, 1)": ((8, 5), (2, 3), (3, 1), (0, 0)),
    "windows overlap": ((6, 7), (3, 2), (1, 1), (0, 0)),
    "pixels left over": ((7, 8), (2, 3), (2, 3), (0, 0)),
    "padding (1, 0)": ((5, 6), (2, 3), (2, 2), (1, 0)),
    "padding (1, 2)": ((7, 6), (3, 4), (2, 3), (1, 2)),
    "the whole image": ((3, 5), (3, 5), (1, 1), (0, 0)),
    "the last rows need padding": ((4, 5), (3, 2), (1, 1), (1, 0)),
    "the last columns need padding": ((5, 4), (2, 3), (1, 1), (0, 1)),
}


def pooled(kind, x, kernel, stride, padding, fill=-np.inf, largest=np.max):
    found = windows(x, (kernel, stride, padding, (1, 1)), fill if kind == "max" else 0.0)
    return largest(found, axis=(2, 3)) if kind == "max" else found.mean(axis=(2, 3))


def inside(x, geometry):
    return windows(np.ones(x.shape), (*geometry, (1, 1))).sum(axis=(2, 3))


def pool_mistakes(kind, x, geometry):
    right = pooled(kind, x, *geometry)
    known = {
        "the maximum" if kind == "average" else "the average": pooled({"max": "average"}.get(kind, "max"), x, *geometry)
    }
    taps_of_all = geometry[0][0] * geometry[0][1]
    if kind == "average":
        known["the sum of the window"] = right * taps_of_all
        known["padding left out of the divisor"] = right * taps_of_all / inside(x, geometry)
    else:
        known["zeros as padding"] = pooled(kind, x, *geometry, fill=0.0)
        known["the largest absolute value"] = pooled(kind, np.abs(x), *geometry)
        known["the minimum"] = -pooled(kind, -x, *geometry)
    other = (geometry[0], geometry[1][::-1], geometry[2][::-1])
    if fits(x.shape[2:], (*other, (1, 1))):
        known["stride and padding with rows and columns exchanged"] = pooled(kind, x, *other)
    return {name: v for name, v in known.items() if v.shape != right.shape or not np.allclose(v, right)}


@part("pool2d")
def test_pool2d_by_hand(attempt):
    """Of 1 2 / 3 -4 and so on: the largest of each 2×2 square, and its average."""
    x = np.array([[[[1.0, 2.0, -1.0, -2.0], [3.0, -4.0, -7.0, -6.0]]]])
    for kind, want in (("max", [3.0, -1.0]), ("average", [0.5, -4.0])):
        of = f"pool2d of {kind}, x 1 2 -1 -2 / 3 -4 -7 -6, kernel (2, 2), stride (2, 2)"
        known = pool_mistakes(kind, x, ((2, 2), (2, 2), (0, 0)))
        agree(attempt.pool2d(kind, x, (2, 2), (2, 2)), np.array([[[want]]]), axes="n c h w", of=of, known=known)


@part("pool2d")
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("name", POOLS)
def test_pool2d_of_any_geometry(attempt, draw, kind, name):
    """Each output is the maximum, or the average, of its window in its channel."""
    size, *geometry = POOLS[name]
    x = image(draw, 5, 3, size) - 1.5
    of = f"pool2d of {kind}, x {x.shape}, kernel, stride, padding {tuple(geometry)}"
    known = pool_mistakes(kind, x, geometry)
    want = pooled(kind, x, *geometry)
    agree(attempt.pool2d(kind, x, *geometry), want, axes="n c h w", of=of, tol=EXACT, known=known)


@part("pool2d")
def test_padding_never_is_the_maximum(attempt):
    """Padding takes no part in a maximum, however small the pixels are."""
    one = np.array([[[[-1e300]]]])
    back = attempt.pool2d_backward("max", one, np.array([[[[5.0]]]]), (2, 2), (2, 2), (1, 1))
    of = "pool2d_backward of max, x one pixel of -1e300, kernel (2, 2), stride (2, 2), padding (1, 1), dout 5"
    agree(back, np.array([[[[5.0]]]]), axes="n c h w", of=of)
    for scale in (1.0, 1e12, 1e300):
        x = -scale * np.arange(1.0, 7.0).reshape(1, 1, 2, 3)
        want = -scale * np.array([[[[1.0, 2.0], [4.0, 5.0]]]])
        of = f"pool2d of max, x -1 -2 -3 / -4 -5 -6 times {scale:g}, kernel (2, 2), stride (2, 2), padding (1, 1)"
        known = {"zeros as padding": np.zeros(want.shape)}
        agree(attempt.pool2d("max", x, (2, 2), (2, 2), (1, 1)), want, axes="n c h w", of=of, known=known)
        back = attempt.pool2d_backward("max", x, np.ones((1, 1, 2, 2)), (2, 2), (2, 2), (1, 1))
        gone = np.array([[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]])
        agree(back, gone, axes="n c h w", of=of.replace("pool2d", "pool2d_backward") + ", dout 1")


def pooled_back(kind, x, dout, geometry, share=False):
    full = (*geometry, (1, 1))
    found = windows(x, full, -np.inf)
    if kind == "average":
        weights = np.full(found.shape, 1 / (found.shape[2] * found.shape[3]))
    else:
        weights = (found == found.max(axis=(2, 3), keepdims=True)).astype(float)
        if share:
            weights /= weights.sum(axis=(2, 3), keepdims=True)
        else:
            flat = weights.reshape(*weights.shape[:2], -1, *weights.shape[4:])
            weights = (flat * (np.cumsum(flat, axis=2) == 1)).reshape(weights.shape)
    return scattered(weights * dout[:, :, None, None], x.shape[2:], full)


def pool_back_mistakes(kind, x, dout, geometry):
    right = pooled_back(kind, x, dout, geometry)
    taps_of_all = geometry[0][0] * geometry[0][1]
    full = (*geometry, (1, 1))
    if kind == "average":
        known = {
            "dout to each place, not its share": right * taps_of_all,
            "padding left out of the divisor": pooled_back(kind, x, dout * taps_of_all / inside(x, geometry), geometry),
        }
        weights = np.full((*x.shape[:2], *geometry[0], *dout.shape[2:]), 1 / taps_of_all)
    else:
        known = {"dout to every pixel of the window": pooled_back("average", x, dout * taps_of_all, geometry)}
        found = windows(x, full, -np.inf)
        weights = (found == found.max(axis=(2, 3), keepdims=True)).astype(float)
    known["one window of each pixel kept, not the sum"] = scattered(
        weights * dout[:, :, None, None], x.shape[2:], full, add=False
    )
    return {name: v for name, v in known.items() if not np.allclose(v, right)}


@part("pool2d")
def test_pool2d_backward_by_hand(attempt):
    """A maximum in two windows gets the gradient of both; an average hands a share to each."""
    x, dout = np.array([[[[1.0, 5.0, 2.0]]]]), np.array([[[[10.0, 1.0]]]])
    cases = (("max", 1.0, [0.0, 11.0, 0.0]), ("average", 1.0, [5.0, 5.5, 0.5]), ("max", 1e-12, [0.0, 11.0, 0.0]))
    for kind, scale, want in cases:
        of = f"pool2d_backward of {kind}, x 1 5 2 times {scale:g}, dout 10 1, kernel (1, 2), stride (1, 1)"
        got = attempt.pool2d_backward(kind, scale * x, dout, (1, 2), (1, 1))
        agree(got, np.array([[[want]]]), axes="n c h w", of=of)


@part("pool2d")
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("name", POOLS)
def test_pool2d_backward_of_any_geometry(attempt, draw, kind, name):
    """Each pixel gets the sum over its windows; what falls on padding is lost, and pixels left over get 0."""
    size, *geometry = POOLS[name]
    x = image(draw, 5, 3, size) - 1.5
    dout = turned(numbers(draw).normal(size=pooled(kind, x, *geometry).shape))
    of = f"pool2d_backward of {kind}, x {x.shape}, kernel, stride, padding {tuple(geometry)}"
    known = pool_back_mistakes(kind, x, dout, geometry)
    want = pooled_back(kind, x, dout, geometry)
    agree(attempt.pool2d_backward(kind, x, dout, *geometry), want, axes="n c h w", of=of, tol=EXACT, known=known)


@part("pool2d")
@pytest.mark.parametrize("name", ["2×2", "windows overlap", "padding (1, 2)"])
def test_pool2d_backward_of_equal_pixels(attempt, draw, name):
    """Of equally large pixels the first gets the gradient, or each gets its share: the sum is the same."""
    size, *geometry = POOLS[name]
    rng = numbers(draw)
    x = rng.integers(-3, 0, size=(2, 3, *size)).astype(float)
    dout = rng.normal(size=pooled("max", x, *geometry).shape)
    ways = {
        "all to the first": pooled_back("max", x, dout, geometry),
        "a share to each": pooled_back("max", x, dout, geometry, share=True),
    }
    of = (
        f"pool2d_backward of max, x of integers (2, 3, {size[0]}, {size[1]}), kernel, stride, padding {tuple(geometry)}"
    )
    agree_one_of(attempt.pool2d_backward("max", x, dout, *geometry), ways, axes="n c h w", of=of, tol=EXACT)


@part("pool2d")
def test_pool2d_remembers_nothing(attempt, draw):
    """Each call is about the image, and on the way back about the image and dout, that it gets."""
    size, *geometry = POOLS["padding (1, 2)"]
    xs = [image(draw, 2, 3, size) - 1.5 for _ in range(2)]
    for kind in ("max", "average"):
        wants = [pooled(kind, x, *geometry) for x in xs]
        of = f"{kind}, kernel, stride, padding {tuple(geometry)}"
        hold_each_anew(attempt, "pool2d", [(kind, x, *geometry) for x in xs], wants, f"pool2d of {of}")
        douts = [numbers(draw).normal(size=want.shape) for want in wants]
        back = [pooled_back(kind, x, dout, geometry) for x, dout in zip(xs, douts, strict=True)]
        cases = [(kind, x, dout, *geometry) for x, dout in zip(xs, douts, strict=True)]
        hold_each_anew(attempt, "pool2d_backward", cases, back, f"pool2d_backward of {of}")


@part("pool2d")
def test_pooling_that_there_is_not(attempt):
    """Another kind is a ValueError."""
    x = np.ones((1, 1, 2, 2))
    for kind in ("mean", "maximum", "min", "Max", "avg", "a", ""):
        with refusal(ValueError, of=f"pool2d of {kind!r}"):
            attempt.pool2d(kind, x, (2, 2), (2, 2))
        with refusal(ValueError, of=f"pool2d_backward of {kind!r}"):
            attempt.pool2d_backward(kind, x, np.ones((1, 1, 1, 1)), (2, 2), (2, 2))


# --- conv_transpose2d -------------------------------------------------------------------------------------------------

PRINTS = {
    # (h, w), kernel, stride, padding, output_padding
    "plain": ((3, 4), (2, 3), (1, 1), (0, 0), (0, 0)),
    "stride (2, 3)": ((3, 4), (3, 2), (2, 3), (0, 0), (0, 0)),
    "stride (3, 1), padding (1, 2)": ((4, 5), (3, 4), (3, 1), (1, 2), (0, 0)),
    "output padding, kept": ((3, 4), (4, 3), (2, 3), (1, 1), (1, 0)),
    "output padding beyond the prints": ((4, 3), (2, 3), (3, 2), (0, 0), (1, 1)),
    "all of it": ((5, 3), (3, 5), (2, 4), (1, 2), (1, 3)),
    "a kernel below the stride and the padding": ((2, 3), (1, 2), (3, 4), (1, 2), (2, 1)),
}


def printed(x, w, b, stride, padding, output_padding, add=True):
    """Pixel after pixel puts its value times the kernel down on a canvas; then the canvas is cut."""
    n, _, h, width = x.shape
    _, o, kh, kw = w.shape
    full = (h - 1) * stride[0] + kh + output_padding[0], (width - 1) * stride[1] + kw + output_padding[1]
    canvas = np.zeros((n, o, *full))
    for i in range(h):
        for j in range(width):
            top, left = i * stride[0], j * stride[1]
            mark = np.tensordot(x[:, :, i, j], w, axes=1)
            before = canvas[:, :, top : top + kh, left : left + kw].copy() if add else 0.0
            canvas[:, :, top : top + kh, left : left + kw] = mark + before
    cut = canvas[:, :, padding[0] : full[0] - padding[0], padding[1] : full[1] - padding[1]]
    return cut + (0.0 if b is None else b[:, None, None])


def print_mistakes(x, w, b, stride, padding, output_padding):
    right = printed(x, w, b, stride, padding, output_padding)
    known = {
        "the kernel flipped": printed(x, flipped(w), b, stride, padding, output_padding),
        "prints that replace what lies below": printed(x, w, b, stride, padding, output_padding, add=False),
        "the bias left out": right - b[:, None, None],
        "output_padding left out": printed(x, w, b, stride, padding, (0, 0)),
        "padding left out": printed(x, w, b, stride, (0, 0), output_padding),
        "stride and padding with rows and columns exchanged": printed(
            x, w, b, stride[::-1], padding[::-1], output_padding[::-1]
        ),
    }
    front = np.pad(printed(x, w, b, stride, (0, 0), (0, 0)), [(0, 0), (0, 0), *((one, 0) for one in output_padding)])
    known["output_padding before, not after"] = front[
        :, :, padding[0] : front.shape[2] - padding[0], padding[1] : front.shape[3] - padding[1]
    ]
    if any(output_padding):
        zeros = right.copy()
        whole = printed(x, w, b, stride, padding, (0, 0))
        zeros[:, :, whole.shape[2] :] = 0.0
        zeros[:, :, :, whole.shape[3] :] = 0.0
        known["zeros where output_padding is, whatever prints reach there"] = zeros
    return {name: v for name, v in known.items() if v.shape != right.shape or not np.allclose(v, right)}


@part("conv_transpose2d")
def test_conv_transpose2d_by_hand(attempt):
    """1 and 10, two apart, each times 1 2 3: 1 2 13 20 30, and 2 13 20 with padding 1."""
    x, w = np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 2.0, 3.0]]]])
    for padding, output_padding, want in (
        ((0, 0), (0, 0), [1.0, 2.0, 13.0, 20.0, 30.0]),
        ((0, 1), (0, 0), [2.0, 13.0, 20.0]),
        ((0, 1), (0, 1), [2.0, 13.0, 20.0, 30.0]),
        ((0, 0), (0, 1), [1.0, 2.0, 13.0, 20.0, 30.0, 0.0]),
    ):
        of = f"conv_transpose2d of 1 10 with 1 2 3, stride (1, 2), padding {padding}, output_padding {output_padding}"
        got = attempt.conv_transpose2d(x, w, None, (1, 2), padding, output_padding)
        agree(got, np.array([[[want]]]), axes="n o h w", of=of)


@part("conv_transpose2d")
@pytest.mark.parametrize("name", PRINTS)
def test_conv_transpose2d_of_any_geometry(attempt, draw, name):
    """Prints of the kernel, stride apart, add up; padding is cut off, output_padding kept, the bias is everywhere."""
    size, kernel, stride, padding, output_padding = PRINTS[name]
    rng = numbers(draw)
    x, w, b = rng.normal(size=(5, 3, *size)), rng.normal(size=(3, 4, *kernel)), rng.normal(size=4)
    x, w = turned(x), turned(w)
    how = stride, padding, output_padding
    of = "conv_transpose2d of x (5, 3, {}, {}), kernel {}, stride {}, padding {}, output_padding {}"
    of = of.format(*size, kernel, *how)
    known = print_mistakes(x, w, b, *how)
    agree(
        attempt.conv_transpose2d(x, w, b, *how), printed(x, w, b, *how), axes="n o h w", of=of, tol=EXACT, known=known
    )


@part("conv_transpose2d")
def test_conv_transpose2d_by_default(attempt, draw):
    """What is not given is stride 1, no padding, no output_padding, no bias."""
    rng = numbers(draw)
    x, w = rng.normal(size=(1, 2, 3, 2)), rng.normal(size=(2, 2, 2, 4))
    want = printed(x, w, None, (1, 1), (0, 0), (0, 0))
    of = "conv_transpose2d of x (1, 2, 3, 2) and w (2, 2, 2, 4) alone"
    agree(attempt.conv_transpose2d(x, w), want, axes="n o h w", of=of, tol=EXACT)


@part("conv_transpose2d")
def test_conv_transpose2d_is_the_adjoint(attempt, draw):
    """Σ x · conv2d(u, w) = Σ conv_transpose2d(x, w) · u, also where 7 and 8 pixels lead to 4."""
    rng = numbers(draw)
    for size in ((7, 8), (8, 7)):
        u, w = rng.normal(size=(2, 3, *size)), rng.normal(size=(5, 3, 3, 3))
        small = convolved(u, w, None, ((3, 3), (2, 2), (1, 1), (1, 1)))
        x, extra = rng.normal(size=small.shape), tuple(one - 7 for one in size)
        got = attempt.conv_transpose2d(x, w, None, (2, 2), (1, 1), extra)
        of = f"conv_transpose2d of x (2, 5, 4, 4), kernel (3, 3), stride (2, 2), padding (1, 1), output_padding {extra}"
        agree(got.shape, u.shape, of=f"the shape of {of}")
        agree(float((got * u).sum()), float((small * x).sum()), of=f"Σ · u of {of}", tol=1e-9)


@part("conv_transpose2d")
def test_conv_transpose2d_remembers_nothing(attempt, draw):
    """Each call is about the image, the kernel and the bias that it gets, whichever of the three is another one."""
    rng, how = numbers(draw), ((2, 1), (1, 0), (1, 0))
    shapes = (2, 3, 3, 4), (3, 4, 3, 2), (4,)
    (x, w, b), (y, v, c) = ([rng.normal(size=shape) for shape in shapes] for _ in range(2))
    cases = [(x, w, b), (y, w, b), (y, v, b), (y, v, c)]
    wants = [printed(*one, *how) for one in cases]
    of = "conv_transpose2d, stride {}, padding {}, output_padding {}".format(*how)
    hold_each_anew(attempt, "conv_transpose2d", [(*one, *how) for one in cases], wants, of)


# --- conv_cost --------------------------------------------------------------------------------------------------------


def counted(c, o, kernel, output, groups=1, bias=True):
    """One output channel after the other."""
    weights = sum(c // groups * kernel[0] * kernel[1] for _ in range(o))
    return weights + (o if bias else 0), sum(weights for _ in range(output[0] * output[1]))


def cost_mistakes(c, o, kernel, output, groups=1, bias=True):
    weights, places_of_all = o * c // groups * math.prod(kernel), math.prod(output)
    right = weights + o * bias, weights * places_of_all
    found = {
        "no bias": (weights, right[1]),
        "a bias": (weights + o, right[1]),
        "a bias for each channel that comes in": (weights + c * bias, right[1]),
        "groups left out": (weights * groups + o * bias, weights * groups * places_of_all),
        "groups divided out twice": (weights // groups + o * bias, weights // groups * places_of_all),
        "two operations for each multiply-add": (right[0], 2 * right[1]),
        "the bias among the multiply-adds": (right[0], (weights + o) * places_of_all),
        "the weights used once": (right[0], weights),
        "one side of the kernel": (o * c // groups * kernel[0] + o * bias, o * c // groups * kernel[0] * places_of_all),
    }
    return {name: value for name, value in found.items() if value != right}


COSTS = {
    "VGG-16's first layer": (3, 64, (3, 3), (224, 224)),
    "2×3, no bias": (5, 7, (2, 3), (11, 13), 1, False),
    "two groups": (6, 10, (5, 3), (5, 7), 2),
    "depthwise": (12, 24, (5, 3), (9, 4), 12, True),
    "depthwise, no bias": (32, 32, (3, 3), (112, 112), 32, False),
    "LeNet-5's first linear layer": (16, 120, (5, 5), (1, 1)),
    "VGG-16's first linear layer": (512, 4096, (7, 7), (1, 1)),
    "more than 32 bits hold": (2048, 2048, (3, 3), (512, 512)),
    "more than a float holds": (65_537, 65_535, (3, 3), (1001, 1003)),
}


@part("conv_cost")
@pytest.mark.parametrize("name", COSTS)
def test_conv_cost(attempt, name):
    """Parameters are weights and biases; each weight is one multiply-add at each place of the output."""
    case = COSTS[name]
    want, known = counted(*case), cost_mistakes(*case)
    agree(attempt.conv_cost(*case), want, of=f"conv_cost{case}: (parameters, multiply-adds)", known=known)


@part("conv_cost")
@pytest.mark.parametrize(
    "case",
    [
        (32, 64, (3, 3), (112, 112), False),
        (5, 7, (2, 3), (11, 13)),
        (8, 3, (5, 1), (2, 9), True),
        (65_535, 65_537, (3, 3), (2001, 2003)),
    ],
    ids=str,
)
def test_separable_cost(attempt, case):
    """Depthwise with the kernel, then 1×1: the sums of both layers, each with its own bias."""
    c, o, (kh, kw), (oh, ow), bias = (*case, True)[:5]
    want = c * kh * kw + c * o + bias * (c + o), (c * kh * kw + c * o) * oh * ow
    known = {
        "the whole convolution": (o * c * kh * kw + bias * o, o * c * kh * kw * oh * ow),
        "the depthwise layer alone": (c * kh * kw + bias * c, c * kh * kw * oh * ow),
        "the 1×1 layer alone": (c * o + bias * o, c * o * oh * ow),
        "one bias": (want[0] - bias * c, want[1]),
        "the kernel on o channels": (o * kh * kw + c * o + bias * 2 * o, (o * kh * kw + c * o) * oh * ow),
        "biases though there are none": (want[0] + c + o, want[1]),
    }
    known = {name: value for name, value in known.items() if value != want}
    agree(attempt.separable_cost(*case), want, of=f"separable_cost{case}: (parameters, multiply-adds)", known=known)


# --- linear_as_conv ---------------------------------------------------------------------------------------------------


def kernels(w, shape):
    found = np.empty((w.shape[1], *shape))
    for o in range(w.shape[1]):
        for row, place in enumerate(np.ndindex(shape)):
            found[(o, *place)] = w[row, o]
    return found


@part("linear_as_conv")
def test_linear_as_conv_by_hand(attempt):
    """The column 1 2 3 4 of w becomes the kernel 1 2 / 3 4."""
    w = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]])
    want = np.array([[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]])
    known = {"a reshape without the transpose": w.reshape(2, 1, 2, 2)}
    agree(attempt.linear_as_conv(w, (1, 2, 2)), want, axes="o c h w", of="linear_as_conv of w (4, 2)", known=known)


@part("linear_as_conv")
@pytest.mark.parametrize("shape", [(3, 2, 5), (2, 4, 3), (7, 1, 1), (1, 1, 3)], ids=str)
def test_linear_as_conv_of_any_shape(attempt, draw, shape):
    """The kernel of output o is column o of w, laid over (c, h, w)."""
    rng = numbers(draw)
    rows = math.prod(shape)
    for w in (rng.normal(size=(rows, 4)), turned(rng.normal(size=(rows, 4))), rng.normal(size=(rows, 1))):
        want = kernels(w, shape)
        known = {
            "a reshape without the transpose": w.reshape(want.shape),
            "columns before rows": kernels(w, (shape[0], shape[2], shape[1])).swapaxes(2, 3),
            "channels last": np.moveaxis(kernels(w, (shape[1], shape[2], shape[0])), 3, 1),
        }
        known = {name: v for name, v in known.items() if not np.array_equal(v, want)}
        agree(
            attempt.linear_as_conv(w, shape),
            want,
            axes="o c h w",
            of=f"linear_as_conv of w, shape {shape}",
            known=known,
        )


@part("linear_as_conv")
def test_linear_as_conv_remembers_nothing(attempt, draw):
    """Each call is about the weights that it gets, and its kernels stay while others come."""
    cases = [(numbers(draw).normal(size=(12, 4)), (2, 3, 2)) for _ in range(2)]
    hold_each_anew(attempt, "linear_as_conv", cases, [kernels(*one) for one in cases], "linear_as_conv of w (12, 4)")


@part("linear_as_conv")
def test_linear_as_conv_over_a_larger_image(attempt, draw):
    """On a larger image the kernels give the linear layer of every window."""
    rng = numbers(draw)
    w, x = rng.normal(size=(2 * 3 * 4, 5)), rng.normal(size=(2, 2, 5, 7))
    got = attempt.linear_as_conv(w, (2, 3, 4))
    agree(got.shape, (5, 2, 3, 4), of="the shape of linear_as_conv of w (24, 5), shape (2, 3, 4)")
    found = convolved(x, got, None, ((3, 4), (1, 1), (0, 0), (1, 1)))
    want = np.array([[x[:, :, i : i + 3, j : j + 4].reshape(2, -1) @ w for j in range(4)] for i in range(3)])
    of = "these kernels on x (2, 2, 5, 7), against the layer on each window"
    agree(found, want.transpose(2, 3, 0, 1), axes="n o h w", of=of, tol=EXACT)


@part("linear_as_conv")
def test_linear_as_conv_of_another_layer(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    rng = numbers(draw)
    asked = [(rng.normal(size=(30, 4)), (3, 2, 5)) for _ in range(2)]
    hold_again(attempt, reference, "linear_as_conv", *asked, of="linear_as_conv of w (30, 4)", views=False)
