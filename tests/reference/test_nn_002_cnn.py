"""nn_002's solution against torch and scipy, and published receptive fields and parameter counts."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("nn_002_cnn")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def same(got, want, **how):
    want = want.detach().numpy() if isinstance(want, torch.Tensor) else want
    np.testing.assert_allclose(got, want, **{"rtol": 1e-11, "atol": 1e-12, **how})


GEOMETRIES = [
    # kernel, stride, padding, dilation
    ((2, 3), (2, 1), (0, 0), (1, 1)),
    ((3, 2), (2, 3), (1, 2), (2, 1)),
    ((1, 1), (3, 2), (0, 0), (1, 1)),
    ((4, 3), (1, 1), (3, 1), (2, 3)),
    ((3, 3), (4, 5), (0, 1), (1, 1)),
]

# --- convolution ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_columns_are_torchs(kata, kernel, stride, padding, dilation):
    x = drawn(2, 3, 11, 8)
    how = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    cols = kata.im2col(x, kernel, stride, padding, dilation)
    same(cols, F.unfold(torch.tensor(x), **how))
    upstream = drawn(*cols.shape, seed=1)
    want = F.fold(torch.tensor(upstream), (11, 8), **how)
    same(kata.col2im(upstream, x.shape, kernel, stride, padding, dilation), want)
    assert (cols * upstream).sum() == pytest.approx((x * want.numpy()).sum())


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_and_its_gradients_are_torchs(kata, kernel, stride, padding, dilation, groups):
    x, w, b = drawn(2, 4, 11, 8), drawn(6, 4 // groups, *kernel, seed=1), drawn(6, seed=2)
    leaves = [torch.tensor(one, requires_grad=True) for one in (x, w, b)]
    want = F.conv2d(*leaves, stride, padding, dilation, groups)
    same(kata.conv2d(x, w, b, stride, padding, dilation, groups), want)
    dout = drawn(*want.shape, seed=3)
    grads = torch.autograd.grad((want * torch.tensor(dout)).sum(), leaves)
    for got, grad in zip(kata.conv2d_backward(x, w, dout, stride, padding, dilation, groups), grads, strict=True):
        same(got, grad)


@pytest.mark.reference
def test_convolution_is_scipys_correlation(kata):
    from scipy.signal import convolve2d, correlate2d

    x, w = drawn(7, 9), drawn(3, 2, seed=1)
    got = kata.conv2d(x[None, None], w[None, None])[0, 0]
    same(got, correlate2d(x, w, mode="valid"))
    same(got, convolve2d(x, w[::-1, ::-1], mode="valid"))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch says that it copies the input
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_is_torchs(kata, kernel, dilation):
    x, w = drawn(1, 1, 13), drawn(1, 1, kernel, seed=1)
    want = F.conv1d(torch.tensor(x), torch.tensor(w), padding="same", dilation=dilation)
    padded = np.pad(x[:, :, None], ((0, 0), (0, 0), (0, 0), kata.same_padding(kernel, dilation)))
    same(kata.conv2d(padded, w[:, :, None], None, (1, 1), (0, 0), (1, dilation))[:, :, 0], want)


def test_output_size_is_torchs(kata):
    for n in range(1, 12):
        for kernel, stride, padding, dilation in [(3, 2, 1, 1), (2, 3, 0, 2), (5, 1, 2, 1), (4, 2, 3, 3)]:
            layer = torch.nn.Conv1d(1, 1, kernel, stride, padding, dilation)
            if n + 2 * padding > dilation * (kernel - 1):
                assert (
                    kata.conv_output_size(n, kernel, stride, padding, dilation) == layer(torch.ones(1, 1, n)).shape[2]
                )
            else:
                with pytest.raises(ValueError, match="does not fit"):
                    kata.conv_output_size(n, kernel, stride, padding, dilation)


# --- pooling and the way up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 3), (1, 1)), ((4, 3), (3, 2), (2, 1))],
)
@pytest.mark.parametrize("whole", [False, True])
def test_pooling_is_torchs(kata, kind, kernel, stride, padding, whole):
    x = drawn(2, 3, 9, 8).round() if whole else drawn(2, 3, 9, 8) - 2.0
    leaf = torch.tensor(x, requires_grad=True)
    pool = {"max": F.max_pool2d, "average": F.avg_pool2d}[kind]
    want = pool(leaf, kernel, stride, padding)
    same(kata.pool2d(kind, x, kernel, stride, padding), want)
    dout = drawn(*want.shape, seed=1)
    [grad] = torch.autograd.grad((want * torch.tensor(dout)).sum(), [leaf])
    same(kata.pool2d_backward(kind, x, dout, kernel, stride, padding), grad)


@pytest.mark.parametrize("kernel", [(3, 2), (4, 5)])
@pytest.mark.parametrize(
    ("stride", "padding", "output_padding"),
    [((1, 1), (0, 0), (0, 0)), ((2, 3), (1, 0), (1, 2)), ((3, 2), (0, 1), (2, 0))],
)
def test_transposed_convolution_is_torchs(kata, kernel, stride, padding, output_padding):
    x, w, b = drawn(2, 3, 5, 4), drawn(3, 4, *kernel, seed=1), drawn(4, seed=2)
    want = F.conv_transpose2d(*(torch.tensor(one) for one in (x, w, b)), stride, padding, output_padding)
    same(kata.conv_transpose2d(x, w, b, stride, padding, output_padding), want)


def test_a_linear_layer_is_torchs_convolution(kata):
    x, w = drawn(2, 3, 4, 5), drawn(60, 7, seed=1)
    got = F.conv2d(torch.tensor(x), torch.tensor(kata.linear_as_conv(w, (3, 4, 5))))
    same(got.numpy()[:, :, 0, 0], x.reshape(2, -1) @ w)


# --- receptive fields: Araujo, Norris and Sim 2019 --------------------------------------------------------------------


def conv(kernel, stride=1, padding=None, dilation=1):
    return kernel, stride, (kernel - 1) // 2 if padding is None else padding, dilation


def resnet(*blocks, early=True):
    """Bottlenecks. early: the stride is in the first 1×1 layer, as in the paper; else in the 3×3, as in torchvision."""
    layers = [conv(7, 2), conv(3, 2)]
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers += [conv(1, stride if early else 1), conv(3, 1 if early else stride), conv(1)]
    return layers


ALEXNET = [conv(11, 4, 0), conv(3, 2, 0), conv(5), conv(3, 2, 0), conv(3), conv(3), conv(3), conv(3, 2, 0)]
VGG16 = [layer for n in (2, 2, 3, 3, 3) for layer in [*[conv(3)] * n, conv(2, 2, 0)]]
STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
MOBILENET = [conv(3, 2), *(layer for stride in STRIDES for layer in (conv(3, stride), conv(1)))]


@pytest.mark.parametrize(
    ("layers", "size"),
    [
        pytest.param(ALEXNET, 195, id="AlexNet"),
        pytest.param(VGG16, 212, id="VGG-16"),
        pytest.param(MOBILENET, 315, id="MobileNet"),
        pytest.param(resnet(3, 4, 6, 3), 483, id="ResNet-50"),
        pytest.param(resnet(3, 4, 23, 3), 1027, id="ResNet-101"),
        pytest.param(resnet(3, 4, 6, 3, early=False), 427, id="ResNet-50 of torchvision"),
        pytest.param([conv(3)] * 3, 7, id="three layers"),
        pytest.param([conv(3), conv(3, 2), conv(3)], 9, id="three layers, stride 2 in the second"),
    ],
)
def test_published_receptive_fields(kata, layers, size):
    assert kata.receptive_field(layers)[0] == size


def test_the_receptive_field_is_where_torchs_gradient_is(kata):
    layers = [(3, 2, 1, 1), (2, 1, 0, 3), (5, 3, 2, 1)]
    size, jump, centre = kata.receptive_field(layers)
    x = torch.zeros(1, 1, 200, dtype=torch.float64, requires_grad=True)
    out = x
    for kernel, stride, padding, dilation in layers:
        weights = torch.ones(1, 1, kernel, dtype=torch.float64)
        out = F.conv1d(out, weights, None, stride, padding, dilation)
    place = out.shape[2] // 2
    [grad] = torch.autograd.grad(out[0, 0, place], [x])
    pixels = grad[0, 0].nonzero().flatten().tolist()
    assert (pixels[-1] - pixels[0] + 1, (pixels[0] + pixels[-1]) / 2) == (size, centre + jump * place)


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_parameters_of_lenet_5_and_vgg_16(kata):
    lenet = [(1, 6, (5, 5)), (6, 16, (5, 5)), (16, 120, (5, 5)), (120, 84, (1, 1)), (84, 10, (1, 1))]
    assert sum(kata.conv_cost(*layer, (1, 1))[0] for layer in lenet) == 61_706
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    sizes = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    layers = [
        kata.conv_cost(c, o, (3, 3), (size, size)) for c, o, size in zip(widths[:-1], widths[1:], sizes, strict=True)
    ]
    head = [
        kata.conv_cost(c, o, kernel, (1, 1))
        for c, o, kernel in [(512, 4096, (7, 7)), (4096, 4096, (1, 1)), (4096, 1000, (1, 1))]
    ]
    assert sum(parameters for parameters, _ in layers + head) == 138_357_544
    assert sum(adds for _, adds in layers + head) == 15_470_264_320
    assert sum(parameters for parameters, _ in head) == 123_642_856


def test_parameters_of_resnet_50(kata):
    def cost(c, o, kernel):
        return kata.conv_cost(c, o, (kernel, kernel), (1, 1), bias=False)[0] + 2 * o  # and its batch norm

    total, c = cost(3, 64, 7), 64
    for width, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            total += cost(c, width, 1) + cost(width, width, 3) + cost(width, 4 * width, 1)
            total += cost(c, 4 * width, 1) if block == 0 else 0
            c = 4 * width
    assert total + kata.conv_cost(2048, 1000, (1, 1), (1, 1))[0] == 25_557_032


def test_parameters_of_mobilenet(kata):
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    total = kata.conv_cost(3, 32, (3, 3), (1, 1), bias=False)[0] + 2 * 32
    for c, o in itertools.pairwise(widths):
        total += kata.separable_cost(c, o, (3, 3), (1, 1), bias=False)[0] + 2 * (c + o)
    assert total + kata.conv_cost(1024, 1000, (1, 1), (1, 1))[0] == 4_231_976


@pytest.mark.parametrize("groups", [1, 4])
def test_costs_are_torchs(kata, groups):
    from torch.utils.flop_counter import FlopCounterMode

    layer = torch.nn.Conv2d(8, 12, (3, 2), groups=groups)
    with FlopCounterMode(display=False) as counter:
        out = layer(torch.ones(1, 8, 9, 7))
    parameters, adds = kata.conv_cost(8, 12, (3, 2), tuple(out.shape[2:]), groups)
    assert parameters == sum(one.numel() for one in layer.parameters())
    assert 2 * adds == counter.get_total_flops()


def test_separable_costs_what_the_formula_says(kata):
    whole, separable = (cost(32, 64, (3, 3), (112, 112), bias=False) for cost in (kata.conv_cost, kata.separable_cost))
    assert separable[1] / whole[1] == pytest.approx(1 / 64 + 1 / 9)
