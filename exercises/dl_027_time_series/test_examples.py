"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import pytest
import time_series as kata
import torch

NAN = math.nan


def test_make_windows():
    windows = kata.make_windows(torch.arange(10.0)[:, None], 3, 2, 1, 7)
    assert windows["train"][0][..., 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert windows["train"][1][..., 0].tolist() == [[3, 4], [4, 5], [5, 6]]
    assert windows["test"][1][..., 0].tolist() == [[7, 8], [8, 9]]
    with pytest.raises(ValueError):
        kata.make_windows(torch.arange(10.0)[:, None], 3, 2, 1, 2)


def test_forecast_scores():
    past, future = torch.tensor([[1.0, 2.0, 4.0, 7.0]]), torch.tensor([[9.0, 14.0]])
    assert kata.mase(past, future, torch.tensor([[10.0, 12.0]])).tolist() == [0.75]
    target = torch.tensor([10.0, NAN])
    assert kata.pinball_loss(target, torch.tensor([[8.0], [0.0]]), torch.tensor([0.9])).item() == pytest.approx(1.8)
    samples = torch.tensor([[1.0], [3.0]])
    assert kata.crps(torch.tensor([2.0]), samples).item() == 0.5
    assert kata.crps(torch.tensor([2.0]), samples, fair=True).item() == 0.0
    paths = torch.tensor([[[8.0, 10.0]], [[12.0, 12.0]]])
    scores = kata.forecast_scores(past, future, paths, torch.tensor([0.0, 1.0]))
    assert scores == pytest.approx({"mase": 1.0, "pinball": 0.5, "crps": 1.75, "coverage": 0.5})


def test_trend_and_season():
    columns = kata.design_matrix(torch.arange(4.0), torch.tensor([1.0]), [(4.0, 1)])
    assert columns[2].tolist() == pytest.approx([1, 2, 1, -1, 0], abs=1e-6)
    values = torch.tensor([1.0, 3.0, NAN, 7.0])
    trend, season = kata.trend_and_season(torch.arange(4.0), values, torch.tensor([5.0]), torch.zeros(0), [])
    assert trend.item() == pytest.approx(11, rel=1e-4)
    assert season.tolist() == [0.0]


def test_negative_binomial():
    z, mean, alpha = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([0.5])
    assert kata.negative_binomial(z, mean, alpha).exp().item() == pytest.approx(0.25)
    counts = kata.draw_counts(torch.full((9,), 3.0), torch.ones(9), generator=torch.Generator().manual_seed(0))
    assert counts.shape == (9,)
    assert torch.equal(counts, counts.round())


def test_deepar():
    model = kata.DeepAR(covariates=2, hidden=4)
    assert model.scale(torch.tensor([[1.0, NAN, 5.0], [NAN, NAN, NAN]])).tolist() == [[4.0], [1.0]]
    past, future, covariates = torch.ones(3, 7), torch.ones(3, 5), torch.zeros(3, 12, 2)
    mean, alpha = model(past, future, covariates)
    assert mean.shape == alpha.shape == (3, 5)
    future[:, 4] = NAN
    model.loss(past, future, covariates).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_sample_paths():
    model, generator = kata.DeepAR(covariates=1, hidden=4), torch.Generator().manual_seed(0)
    paths = kata.sample_paths(model, torch.ones(3, 7), torch.zeros(3, 12, 1), 10, generator=generator)
    assert paths.shape == (10, 3, 5)
    assert torch.equal(paths, paths.round())


def test_gated_residual_network():
    grn = kata.GatedResidualNetwork(3, 4, 3)
    with torch.no_grad():
        grn.gate.bias[3:] = -50.0  # a gate that is closed: what comes in goes on
        grn.gate.weight.zero_()
    x = torch.randn(2, 7, 3)
    torch.testing.assert_close(grn(x), torch.nn.functional.layer_norm(x, (3,)))


def test_variable_selection():
    layer = kata.VariableSelection(variables=3, features=4)
    x, mask = torch.randn(2, 5, 3, 4), torch.tensor([[True, False, True], [True, True, True]])
    out, weights = layer(x, mask=mask)
    assert out.shape == (2, 5, 4)
    assert (weights[0, :, 1] == 0).all()
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 5))


def test_interpretable_attention():
    out, weights = kata.InterpretableAttention(features=6, heads=3)(torch.randn(2, 5, 6))
    assert out.shape == (2, 5, 6)
    assert weights[0, 0].tolist() == [1, 0, 0, 0, 0]
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 5))


def test_choose_forecaster():
    series = torch.tensor([[1.0, 2.0, 4.0, 7.0, 9.0, 14.0]])
    best, scores = kata.choose_forecaster(series, {"ten": lambda past, h: torch.full((1, h), 10.0)}, [4], 2)
    assert best == "ten"
    assert scores == {"seasonal naive": 2.25, "ten": 1.25}
