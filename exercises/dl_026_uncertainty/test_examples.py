"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import pytest
import torch
import uncertainty as kata
from torch import nn


def test_calibration_error():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert kata.calibration_error(p, torch.tensor([0, 1, 1]), bins=10) == pytest.approx(0.4)
    p = torch.tensor([[0.25, 0.25, 0.26, 0.24], [0.5, 0.2, 0.2, 0.1]])  # 0.26 and 0.5 are both in the second of four
    assert kata.calibration_error(p, torch.tensor([2, 1]), bins=4) == pytest.approx(abs(0.5 - 0.38))


def test_fit_temperature():
    logits = torch.tensor([[6.0, 0.0]]).expand(4, 2)
    assert kata.fit_temperature(logits, torch.tensor([0, 0, 1, 0])) == pytest.approx(6 / math.log(3), rel=1e-4)


def test_mc_dropout():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    out = kata.mc_dropout(model, torch.ones(1, 2), passes=200)
    assert out.shape == (200, 1, 3)
    assert len(out.unique(dim=0)) == 8  # three units, on or off
    assert not model[2].training
    with pytest.raises(ValueError):
        kata.mc_dropout(nn.Linear(2, 3), torch.ones(1, 2), passes=2)


def test_decompose():
    got = kata.mixture(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]))
    assert {name: value.item() for name, value in got.items()} == {"mean": 2.0, "aleatoric": 5.0, "epistemic": 1.0}
    got = kata.decompose(torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]))
    assert got["total"].tolist() == pytest.approx([math.log(2), math.log(2)])
    assert got["aleatoric"].tolist() == pytest.approx([0.0, math.log(2)])
    assert got["epistemic"].tolist() == pytest.approx([math.log(2), 0.0], abs=1e-6)


def test_heteroscedastic_loss():
    mean, s, target = torch.tensor([1.0]), torch.tensor([2.0]).log(), torch.tensor([3.0])
    assert kata.heteroscedastic_loss(mean, s, target).item() == pytest.approx(0.5 * (math.log(2) + 4 / 2))
    assert kata.heteroscedastic_loss(mean, s, target, beta=1.0).item() == pytest.approx(math.log(2) + 4 / 2)


def test_bayes_linear():
    layer = kata.BayesLinear(1, 1)
    with torch.no_grad():
        layer.weight_mean.fill_(1.0)
        layer.bias_mean.fill_(1.0)
        layer.weight_rho.fill_(math.log(math.e - 1))  # σ = 1
        layer.bias_rho.fill_(math.log(math.e - 1))
    assert layer.kl().item() == pytest.approx(1.0)  # ½ for each
    out = layer(torch.full((20_000, 1), 2.0), generator=torch.Generator().manual_seed(0))
    assert out.mean().item() == pytest.approx(3.0, abs=0.1)
    assert out.var().item() == pytest.approx(5.0, abs=0.3)  # 2² · 1 + 1
    assert kata.negative_elbo(torch.tensor([1.0, 3.0]), torch.tensor(6.0), examples=12).item() == pytest.approx(2.5)


def test_split_conformal():
    scores = torch.tensor([3.0, 9.0, 1.0, 7.0, 5.0, 10.0, 2.0, 8.0, 4.0, 6.0])
    assert kata.threshold(scores, 0.2) == 9.0
    assert kata.threshold(scores, 0.05) == math.inf
    held_out = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    sets = kata.split_conformal(held_out, torch.tensor([0, 0, 0]), torch.tensor([[0.45, 0.55], [0.95, 0.05]]), 0.3)
    assert sets.tolist() == [[True, True], [True, False]]


def test_adaptive_sets():
    p = torch.tensor([[0.2, 0.5, 0.3]])
    assert kata.adaptive_scores(p)[0].tolist() == pytest.approx([1.0, 0.5, 0.8])
    assert kata.adaptive_scores(p, torch.tensor([0.5]))[0].tolist() == pytest.approx([0.9, 0.25, 0.65])
    sets = kata.adaptive_sets(p.expand(3, 3), torch.tensor([1, 2, 2]), torch.tensor([[0.1, 0.6, 0.3]]), 0.3)
    assert sets.tolist() == [[False, True, False]]


def test_conformal_quantiles():
    low, high = torch.zeros(3), torch.full((3,), 10.0)
    targets = torch.tensor([1.0, 12.0, 5.0])
    got = kata.conformal_quantiles(low, high, targets, torch.tensor([3.0]), torch.tensor([4.0]), 0.3)
    assert [end.item() for end in got] == [1.0, 6.0]


def test_ood_scores():
    train, labels = torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1])
    scores = kata.ood_scores(torch.zeros(1, 2), torch.tensor([[7.0]]), train, labels, temperature=2.0)
    assert scores["msp"].item() == pytest.approx(0.5)
    assert scores["energy"].item() == pytest.approx(-2 * math.log(2))
    assert scores["mahalanobis"].item() == pytest.approx(9.0)
    got = kata.detection_rates(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0]))
    assert got == {"auroc": 0.75, "fpr95": 0.5}
    risk = kata.risk_coverage(torch.tensor([0.9, 0.5, 0.7]), torch.tensor([True, False, True]))
    assert risk.tolist() == pytest.approx([0.0, 0.0, 1 / 3])
