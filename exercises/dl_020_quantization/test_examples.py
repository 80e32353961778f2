"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import pytest
import quantization as kata
import torch


def test_scale_and_zero_point():
    # -1 to 4.1: 5.1 / 255 = 0.02, and -1 is 50 steps below 0, so 0 has the code -128 + 50
    scale, zero = kata.affine_qparams(torch.tensor([-1.0, 0.5, 4.1]))
    assert scale.item() == pytest.approx(0.02)
    assert zero.item() == -78


def test_a_range_has_zero_in_it():
    scale, zero = kata.affine_qparams(torch.tensor([3.0, 5.1]))
    assert scale.item() == pytest.approx(0.02)
    assert zero.item() == -128


def test_codes_and_back():
    scale, zero = torch.tensor([0.5]), torch.tensor([-78])
    codes = kata.quantize(torch.tensor([0.0, 1.1, 1e6]), scale, zero)
    assert codes.tolist() == [-78, -76, 127]
    assert kata.dequantize(codes, scale, zero).tolist() == [0.0, 1.0, 102.5]


def test_a_group_of_each_row():
    scale, _ = kata.affine_qparams(torch.tensor([[1.0, -7.0, 14.0, 0.0]]), bits=4, symmetric=True, group=2)
    assert scale.tolist() == [[1.0, 2.0]]


def test_ranges():
    for method, want in (("minmax", (0.0, 6.0)), ("moving", (0.0, 4.0))):
        calibrator = kata.Calibrator(method, rate=0.5)
        calibrator.observe(torch.tensor([1.0, 2.0]))
        calibrator.observe(torch.tensor([3.0, 6.0]))
        assert calibrator.range() == want


def test_fake_quantize_passes_gradients_inside():
    fake = kata.FakeQuantize(bits=4)
    fake(torch.tensor([-8.0, 7.0]))  # s = 1, z = 0
    x = torch.tensor([-8.6, -8.4, 2.3, 99.0], requires_grad=True)
    out = fake.eval()(x)
    out.sum().backward()
    assert out.tolist() == [-8.0, -8.0, 2.0, 7.0]
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_gradient_of_a_step():
    step = torch.tensor(1.0, requires_grad=True)
    kata.learned_step(torch.tensor([2.3]), step, bits=4).backward()  # (2 - 2.3) / √(1 · 7)
    assert step.grad.item() == pytest.approx(-0.3 / 7**0.5)


def test_folded_layer():
    one = torch.ones(1)  # w 3, gamma 8, beta 7, mean 5, deviation 2
    w, b, _, _ = kata.fold_batch_norm(torch.tensor([[3.0]]), 8 * one, 7 * one, 5 * one, 4 * one, eps=0.0)
    assert (w.item(), b.item()) == (12.0, -13.0)


def test_integers_all_the_way():
    m, shift = kata.fixed_point(torch.tensor([0.25], dtype=torch.float64))
    assert (m.item(), shift.item()) == (2**30, 32)
    x, w = torch.tensor([[10, 20]], dtype=torch.uint8), torch.tensor([[3, -1]], dtype=torch.int8)
    zero = torch.zeros(1, dtype=torch.int32)
    # (10 - 8)·3 - (20 - 8)·1 + 5 = -1, a quarter of it is -0.25, which rounds to 0
    assert kata.integer_linear(x, w, zero + 5, 8, zero, m, shift, 100).tolist() == [[100]]


def test_one_outlier_column():
    x, w = torch.tensor([[1.27, 100.0, 0.634]]), torch.tensor([[1.27, 0.3, 1.0]])
    # codes 127 and 63 times 127 and 100, both scales 0.01; the 100 stays as it is
    assert kata.outlier_matmul(x, w).item() == pytest.approx((127 * 127 + 63 * 100) * 1e-4 + 30, rel=1e-5)


def test_smoothing_of_two_columns():
    x, w = torch.tensor([[16.0, -1.0], [2.0, 0.5]]), torch.tensor([[4.0, 4.0]])
    assert kata.smooth_scales(x, w).tolist() == pytest.approx([2.0, 0.5])


def test_plain_rounding_is_among_awqs_twenty():
    x, w = torch.ones(3, 4), torch.eye(4)
    assert kata.awq_scales(x, w).tolist() == pytest.approx([1.0] * 4)  # mean |x| is 1, so every exponent gives 1


def test_gptq_makes_up_for_an_error():
    w, x = torch.tensor([[0.4, 0.4]], dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    scale, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int32)
    assert kata.gptq(w, x, scale, zero).tolist() == [[0, 1]]


def test_nf4():
    levels = kata.normal_float()
    assert (levels[0].item(), levels[7].item(), levels[15].item()) == (-1.0, 0.0, 1.0)
    codes, _, _, mean = kata.nf4_quantize(torch.tensor([2.0, -2.0]))
    assert codes.tolist() == [15 * 16 + 0]
    assert mean.item() == 2.0
    back = kata.nf4_dequantize(*kata.nf4_quantize(torch.tensor([2.0, -2.0])), shape=(2,))
    assert back.tolist() == [2.0, -2.0]
