"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import optimizers as kata
import pytest
import torch


def walk(optimizer, p, gradients):
    """p after steps with these gradients."""
    for gradient in gradients:
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
    return p.tolist()


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


def test_sgd():
    p = zeros(1)
    assert walk(kata.SGD([p], lr=0.5), p, [1.0, 2.0]) == pytest.approx([-1.5])
    p = zeros(1)
    optimizer = kata.SGD([p], lr=0.1, momentum=0.9)
    assert walk(optimizer, p, [1.0]) == pytest.approx([-0.1])
    optimizer.param_groups[0]["lr"] = 0.01  # the rate is outside of the buffer, which is 1.9 now
    assert walk(optimizer, p, [1.0]) == pytest.approx([-0.119])


def test_sgd_nesterov():
    p = zeros(1)
    optimizer = kata.SGD([p], lr=1.0, momentum=0.5, nesterov=True)
    assert walk(optimizer, p, [1.0, 1.0]) == pytest.approx([-1.5 - (1 + 0.5 * 1.5)])


def test_momentum_tuning():
    assert kata.momentum_tuning([9.0, 1.0, 4.0]) == pytest.approx((0.25, 0.25, 0.5))


def test_adagrad():
    p = zeros(1)
    assert walk(kata.Adagrad([p], lr=1.0), p, [3.0, 4.0]) == pytest.approx([-1 - 4 / 5])


def test_rmsprop():
    p = zeros(1)
    assert walk(kata.RMSprop([p], lr=1.0, alpha=0.75), p, [8.0]) == pytest.approx([-2.0])


def test_adam():
    p = zeros(1)
    assert walk(kata.Adam([p], lr=0.1), p, [1e-3, 1e-3, 1e-3]) == pytest.approx([-0.3], rel=1e-4)
    p, other = zeros(1), zeros(1)
    optimizer = kata.Adam([p, other], lr=1.0, betas=(0.5, 0.75))
    walk(optimizer, p, [1.0])
    other.grad = torch.ones_like(other)
    walk(optimizer, p, [-2.0])  # m = 0.25 - 1, corrected by 0.75: -1; v = 0.1875 + 1, corrected by 0.4375
    assert p.tolist() == pytest.approx([-1 + 1 / math.sqrt(1.1875 / 0.4375)])
    assert other.tolist() == pytest.approx([-1.0])  # its own first step


def test_adamw():
    p = torch.tensor([2.0], dtype=torch.float64)
    assert walk(kata.AdamW([p], lr=0.1, weight_decay=0.5), p, [1.0] * 3) == pytest.approx([1.4295])


def test_amsgrad():
    p = zeros(1)
    optimizer = kata.AMSGrad([p], lr=1.0, betas=(0.0, 0.5))
    assert walk(optimizer, p, [4.0, 2.0]) == pytest.approx([-1 - 2 / math.sqrt(8 / 0.75)])


def test_lion():
    p = zeros(1)
    optimizer = kata.Lion([p], lr=0.25, betas=(0.5, 0.75))
    assert walk(optimizer, p, [1.0]) == pytest.approx([-0.25])
    assert walk(optimizer, p, [-0.5]) == pytest.approx([0.0])  # the sign of 0.5 · 0.25 - 0.5 · 0.5
    assert walk(optimizer, p, [0.25]) == pytest.approx([-0.25])  # m is 0.0625


def test_newton_schulz():
    got = kata.newton_schulz(torch.diag(torch.tensor([3.0, 4.0])), steps=1)
    assert got.diagonal().tolist() == pytest.approx([3.4445 * s - 4.775 * s**3 + 2.0315 * s**5 for s in (0.6, 0.8)])


def test_muon():
    p = zeros(4, 1)
    optimizer = kata.Muon([p], lr=1.0, weight_decay=0.0)
    p.grad = torch.tensor([[0.0], [3.0], [0.0], [-4.0]], dtype=torch.float64)
    optimizer.step()
    assert p.flatten().tolist() == pytest.approx([0.0, -0.8357, 0.0, 1.1143], abs=1e-4)
    with pytest.raises(ValueError):
        kata.Muon([zeros(3)])


def test_adafactor():
    p = torch.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=torch.float64)
    optimizer = kata.Adafactor([p], lr=0.1)
    p.grad = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    optimizer.step()
    fall = 0.1 * math.sqrt(12.5)
    assert p.flatten().tolist() == pytest.approx([3 - fall, 4 - fall, -fall, 5 - fall])
