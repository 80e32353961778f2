"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import pytest
import torch
import weight_init as kata
from torch import nn


def seeded():
    return torch.Generator().manual_seed(0)


def test_fans():
    assert kata.fans((5, 3)) == (3, 5)
    assert kata.fans((32, 16, 3, 3)) == (144, 288)
    assert kata.fans((32, 4, 3, 3), groups=4) == (36, 72)
    assert kata.fans((16, 32, 2, 2), transposed=True) == (64, 128)


def test_distinct_units():
    same, zeros = torch.tensor([[1.0, 2.0]] * 3), torch.zeros(3)
    assert kata.distinct_units(same, zeros, torch.ones(4, 3)) == 1
    assert kata.distinct_units(same, zeros, torch.tensor([[5.0, 5.0, 6.0]])) == 2  # the third goes elsewhere


def test_xavier():
    w = torch.empty(300, 100)
    assert kata.xavier_(w, generator=seeded()) is w
    assert 0.12 < w.abs().max() <= math.sqrt(6 / 400)  # 0.1225
    assert w.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.03)


def test_he():
    w = kata.he_(torch.empty(100, 2, 3, 3), generator=seeded())  # fan_in 18
    assert w.std().item() == pytest.approx(1 / 3, rel=0.1)


def test_gaussian_mean():
    assert kata.gaussian_mean(torch.square, 3.0) == pytest.approx(3.0)
    assert kata.gaussian_mean(torch.relu) == pytest.approx(1 / math.sqrt(2 * math.pi))


def test_activation_gain():
    assert kata.activation_gain(torch.relu) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert kata.activation_gain(torch.tanh) == pytest.approx(1.5925, abs=5e-5)


def test_orthogonal():
    w = kata.orthogonal_(torch.empty(2, 3, dtype=torch.float64), 2.0, generator=seeded())
    assert (w @ w.T).flatten().tolist() == pytest.approx([4.0, 0.0, 0.0, 4.0])


def test_variance_map():
    assert kata.variance_map(1.0, 0.5, torch.relu) == pytest.approx((1.0, 0.5), rel=1e-4)
    assert kata.variance_map(1.76, 0.05, torch.tanh)[1] == pytest.approx(1.0, abs=1e-3)  # the edge of chaos


def test_lsuv():
    layer = nn.Linear(1, 1)
    kata.lsuv_([layer, nn.ReLU()], torch.tensor([[-6.0], [6.0]] * 50))
    assert abs(layer.weight.item()) == pytest.approx(1 / 6, rel=0.01)
    assert layer.bias.item() == 0


def test_prior_bias():
    assert kata.prior_bias(torch.tensor([6, 3, 1])).softmax(dim=0).tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert kata.prior_bias(torch.tensor([1]), total=100).item() == pytest.approx(-4.595, abs=1e-3)


def test_mup_scales():
    scales = kata.mup_scales((2048, 2048), (256, 256), "hidden")
    assert scales["multiplier"] * scales["adam"] == 1 / 8
    assert scales["multiplier"] * scales["std"] == pytest.approx(1 / math.sqrt(8))
