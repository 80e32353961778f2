"""dl_020's solution against torch's fake quantisation, observers and quantised layer, scipy, and published figures."""

import math

import pytest
import torch
from torch.nn import functional as F

from grader.answering.module import solution

NAME = "dl_020_quantization"


@pytest.fixture(scope="module")
def kata():
    return solution(NAME)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rounded(kata, w, bits=8, **options):
    """w as its codes say."""
    symmetric = options.get("symmetric", False)
    scale, zero = kata.affine_qparams(w, bits, **options)
    return kata.dequantize(kata.quantize(w, scale, zero, bits, symmetric), scale, zero)


# --- torch's observers and fake quantisation


@pytest.mark.parametrize("shift", [0.0, 4.0, -4.0])
@pytest.mark.parametrize("symmetric", [False, True])
def test_scales_are_those_of_torchs_observer(kata, symmetric, shift):
    from torch.ao.quantization.observer import PerChannelMinMaxObserver

    x = drawn(5, 17) + shift
    scheme = torch.per_channel_symmetric if symmetric else torch.per_channel_affine
    low = -127 if symmetric else -128
    observer = PerChannelMinMaxObserver(0, dtype=torch.qint8, qscheme=scheme, quant_min=low, quant_max=127)
    observer(x)
    scale, zero = observer.calculate_qparams()
    got, shifts = kata.affine_qparams(x, symmetric=symmetric, axis=0)
    torch.testing.assert_close(got.flatten(), scale)
    assert shifts.flatten().tolist() == zero.tolist()


@pytest.mark.parametrize("axis", [0, 1])
def test_codes_are_torchs(kata, axis):
    x = drawn(7, 13)
    scale, zero = kata.affine_qparams(x, axis=axis)
    want = torch.fake_quantize_per_channel_affine(x, scale.flatten(), zero.flatten(), axis, -128, 127)
    torch.testing.assert_close(rounded(kata, x, axis=axis), want)
    codes = torch.quantize_per_channel(x, scale.flatten(), zero.flatten(), axis, torch.qint8).int_repr()
    assert torch.equal(kata.quantize(x, scale, zero), codes)


def test_moving_average_is_torchs(kata):
    from torch.ao.quantization.observer import MinMaxObserver, MovingAverageMinMaxObserver

    for method, observer in (
        ("moving", MovingAverageMinMaxObserver(averaging_constant=0.1, dtype=torch.qint8)),
        ("minmax", MinMaxObserver(dtype=torch.qint8)),
    ):
        calibrator = kata.Calibrator(method)
        for seed in range(5):
            x = drawn(31, seed=seed) * (seed + 1) + 1
            observer(x)
            calibrator.observe(x)
        scale, zero = observer.calculate_qparams()
        assert calibrator.qparams()[0].item() == pytest.approx(scale.item(), rel=1e-5)
        assert calibrator.qparams()[1].item() == zero.item()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_fake_quantize_and_its_gradient_are_torchs(kata, bits):
    low, high = kata.code_range(bits)
    fake = kata.FakeQuantize(bits)
    fake(drawn(101))
    fake.eval()
    scale, zero = kata.affine_qparams(torch.stack([drawn(101).min(), drawn(101).max()]), bits)
    x = (3 * drawn(1001, seed=1)).requires_grad_()
    want = torch.fake_quantize_per_tensor_affine(x, scale.item(), zero.item(), low, high)
    got = fake(x)
    torch.testing.assert_close(got, want)
    (mine,), (theirs,) = torch.autograd.grad(got.sum(), x), torch.autograd.grad(want.sum(), x)
    torch.testing.assert_close(mine, theirs)


def test_minus_8_4_steps_pass_in_torch_too():
    x = torch.tensor([-8.4, -8.6, 7.4, 7.6], requires_grad=True)
    torch.fake_quantize_per_tensor_affine(x, 1.0, 0, -8, 7).sum().backward()
    assert x.grad.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_learned_step_is_torchs(kata, bits, unsigned):
    low, high = (0, 2**bits - 1) if unsigned else kata.code_range(bits)
    x, upstream = drawn(7, 11), drawn(7, 11, seed=1)
    found = []
    for mine in (True, False):
        leaf, step = x.clone().requires_grad_(), torch.tensor([0.13 * 4 ** (4 / bits)], requires_grad=True)
        if mine:
            out = kata.learned_step(leaf, step[0], bits, unsigned)
        else:
            factor, zero = (x.numel() * high) ** -0.5, torch.zeros(1)
            out = torch._fake_quantize_learnable_per_tensor_affine(leaf, step, zero, low, high, factor)
        found.append([out.detach(), *torch.autograd.grad((out * upstream).sum(), (leaf, step))])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


# --- layers


def test_a_folded_layer_trains_as_batch_norm_does(kata):
    """Twenty steps of gradient descent, folded and not: the same weights and running statistics."""
    found = []
    for folded in (True, False):
        leaves = [drawn(5, 3, dtype=torch.float64), 1 + drawn(5, seed=1, dtype=torch.float64), torch.zeros(5).double()]
        mean, var = torch.zeros(5).double(), torch.ones(5).double()
        for step in range(20):
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            x = drawn(8, 3, seed=step, dtype=torch.float64)
            if folded:
                w, b, mean, var = kata.fold_batch_norm(*leaves, mean, var, x)
                y = x @ w.T + b
            else:
                y = F.batch_norm(x @ leaves[0].T, mean, var, *leaves[1:], training=True)
            grads = torch.autograd.grad((y - x.sum(1, keepdim=True)).square().mean(), leaves)
            leaves = [leaf - 0.1 * grad for leaf, grad in zip(leaves, grads, strict=True)]
        found.append([*leaves, mean, var])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_the_integer_layer_is_torchs_quantised_one(kata):
    """torch's kernel rounds to the even neighbour with a float factor: on numbers without ties the codes are equal."""
    x, w, bias = drawn(6, 31) + 0.5, drawn(5, 31, seed=1), drawn(5, seed=2)
    y = x @ w.T + bias
    qx = torch.quantize_per_tensor(x, 0.02, 120, torch.quint8)
    s_w = (w.abs().amax(1) / 127).double()
    qw = torch.quantize_per_channel(w, s_w, torch.zeros(5, dtype=torch.long), 0, torch.qint8)
    s_y, z_y = float((y.max() - y.min()) / 255), int(-y.min() / (y.max() - y.min()) * 255)
    packed = torch.ops.quantized.linear_prepack(qw, bias)
    want = torch.ops.quantized.linear(qx, packed, s_y, z_y).int_repr()
    m, shift = kata.fixed_point(0.02 * s_w / s_y)
    ints = (bias.double() / (0.02 * s_w)).round().int()
    zero = torch.zeros(5, dtype=torch.int32)
    got = kata.integer_linear(qx.int_repr(), qw.int_repr(), ints, 120, zero, m, shift, z_y)
    assert (got.int() - want.int()).abs().max() <= 1
    assert (got == want).double().mean() > 0.9


def test_two_products_do_not_fit_int16():
    assert torch.iinfo(torch.int16).max < 2 * 255 * 127 == 64_770
    assert 65_793 * 255 * 128 <= torch.iinfo(torch.int32).max < 65_794 * 255 * 128


# --- published and stated figures


def test_the_example_of_smoothquant(kata):
    """Maxima 2, 16, 2, 9 of the inputs and 2, 1, 2, 1 of the weights: s = 1, 4, 1, 3, as in figure 5 of the paper."""
    x = torch.tensor([[1.0, -16.0, 2.0, 6.0], [-2.0, 8.0, -1.0, -9.0]])
    w = torch.tensor([[2.0, 1.0, -2.0], [1.0, -1.0, -1.0], [2.0, -1.0, -2.0], [-1.0, -1.0, 1.0]]).T
    torch.testing.assert_close(kata.smooth_scales(x, w), torch.tensor([1.0, 4.0, 1.0, 3.0]))


@pytest.mark.reference
def test_levels_are_scipys_quantiles(kata):
    """As bitsandbytes makes its map: scipy's ppf, offset 0.9677083, one more positive value."""
    import numpy as np
    from scipy.stats import norm

    above = norm.ppf(np.linspace(0.9677083, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(0.9677083, 0.5, 8)[:-1])
    want = np.sort(np.concatenate([above, [0.0], below]))
    np.testing.assert_allclose(kata.normal_float().numpy(), want / want.max(), atol=1e-6)


def test_a_constant_costs_0_127_bits(kata):
    """Table of QLoRA, section 3: 0.5 bits a parameter become 0.127."""
    n = 64 * 256 * 3
    codes, constants, scales, _ = kata.nf4_quantize(drawn(n))
    assert codes.nbytes * 8 / n == 4
    assert (constants.nbytes + scales.nbytes) * 8 / n == pytest.approx(0.127, abs=5e-5)


def percent(back, w):
    return 100 * float((back - w).norm() / w.norm())


def test_errors_of_the_statement(kata):
    w = drawn(512, 512, seed=3)
    rows = {
        ("all", 8): {},
        ("row", 8): {"axis": 0},
        ("group", 8): {"group": 64},
        ("all", 4): {},
        ("row", 4): {"axis": 0},
        ("group", 4): {"group": 64},
        ("symmetric", 4): {"group": 64, "symmetric": True},
    }
    got = {key: percent(rounded(kata, w, key[1], **options), w) for key, options in rows.items()}
    want = [1.1, 0.7, 0.5, 17.9, 11.8, 9.1, 10.8]
    assert list(got.values()) == pytest.approx(want, abs=0.05)
    assert percent(kata.nf4_dequantize(*kata.nf4_quantize(w), w.shape), w) == pytest.approx(9.2, abs=0.05)


def test_one_outlier_column_of_the_statement(kata):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 512, generator=generator, dtype=torch.float64)
    w = torch.randn(256, 512, generator=generator, dtype=torch.float64) / math.sqrt(512)
    x[:, 7] *= 60
    y, other = x @ w.T, x[:, torch.arange(512) != 7] @ w[:, torch.arange(512) != 7].T
    s = kata.smooth_scales(x, w)
    outputs = (
        kata.outlier_matmul(x, w, math.inf),
        kata.outlier_matmul(x / s, w * s, math.inf),
        kata.outlier_matmul(x, w),
    )
    got = [100 * float((one - y).norm() / other.norm()) for one in outputs]
    assert got == pytest.approx([13.7, 2.6, 1.1], abs=0.05)


def test_ranges_of_the_questions(kata):
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[:20] *= 8
    for bits, want in ((4, [43.1, 13.0, 12.1]), (8, [2.5, 5.3, 2.3])):
        got = []
        for method in ("minmax", "percentile", "least squares"):
            calibrator = kata.Calibrator(method, bits)
            calibrator.observe(x)
            scale, zero = calibrator.qparams()
            got.append(percent(kata.dequantize(kata.quantize(x, scale, zero, bits), scale, zero), x))
        assert got == pytest.approx(want, abs=0.06)


def test_gptq_can_lose_against_rounding(kata):
    """It is greedy: so no check asks it to win."""
    lost = 0
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        w = torch.randn(4, 8, generator=generator, dtype=torch.float64)
        x = torch.randn(32, 8, generator=generator, dtype=torch.float64)
        scale, zero = kata.affine_qparams(w, 4, axis=0)
        codes = kata.gptq(w, x, scale, zero), kata.quantize(w, scale, zero, 4)
        mine, plain = (((kata.dequantize(one, scale, zero) - w) @ x.T).norm() for one in codes)
        lost += bool(mine > plain)
    assert lost == 8


@pytest.mark.reference
def test_gptq_is_sequential_least_squares_by_scipy(kata):
    """30 random layers: round a column, solve for the others with scipy's lstsq, go on."""
    import numpy as np
    from scipy.linalg import lstsq

    for seed in range(30):
        w, x = drawn(3, 9, seed=seed, dtype=torch.float64), drawn(14, 9, seed=seed + 100, dtype=torch.float64)
        scale, zero = kata.affine_qparams(w, 3, axis=0)
        penalty = 0.01 * float(x.square().sum(0).mean())
        rows = np.concatenate([x.numpy(), math.sqrt(penalty) * np.eye(9)])
        target = rows @ w.numpy().T
        fixed, present = np.zeros((9, 3)), w.numpy().T.copy()
        codes = torch.zeros(3, 9, dtype=torch.int8)
        for j in range(9):
            codes[:, j : j + 1] = kata.quantize(torch.from_numpy(present[j])[:, None], scale, zero, 3)
            fixed[j] = kata.dequantize(codes[:, j : j + 1], scale, zero)[:, 0]
            if j < 8:
                present[j + 1 :] = lstsq(rows[:, j + 1 :], target - rows[:, : j + 1] @ fixed[: j + 1])[0]
        assert torch.equal(kata.gptq(w, x, scale, zero, 3, block=4), codes)
