"""dl_027's solution against torch, scipy, scikit-learn, properscoring, transformers, and its statement's figures."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_027_time_series")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


# --- windows, scores, choice ------------------------------------------------------------------------------------------


def test_windows_are_numpys(kata):
    series = drawn(31, 2)
    got = kata.make_windows(series, 5, 3, 1, 20)
    views = np.lib.stride_tricks.sliding_window_view(series.numpy(), 8, axis=0).swapaxes(1, 2)
    np.testing.assert_array_equal(torch.cat(got["train"], dim=1).numpy(), views[: 20 - 8 + 1])
    np.testing.assert_array_equal(torch.cat(got["test"], dim=1).numpy(), views[20 - 5 :])


@pytest.mark.reference
def test_pinball_loss_is_scikit_learns(kata):
    from sklearn.metrics import mean_pinball_loss

    target, quantiles = drawn(97), drawn(97, 3, seed=1)
    levels = torch.tensor([0.05, 0.5, 0.8], dtype=torch.float64)
    want = np.mean([mean_pinball_loss(target, q, alpha=a) for q, a in zip(quantiles.T, levels.tolist(), strict=True)])
    assert kata.pinball_loss(target, quantiles, levels).item() == pytest.approx(want, rel=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize("m", [1, 2, 50])
def test_crps_is_properscorings(kata, m):
    import properscoring

    target, samples = drawn(40), drawn(m, 40, seed=1)
    want = properscoring.crps_ensemble(target.numpy(), samples.T.numpy()).mean()
    assert kata.crps(target, samples).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.reference
def test_crps_of_a_normal_law_in_the_statement(kata):
    """0.2337 for the outcome 0; m samples say 0.5642/m too much on average, the fair score does not."""
    import properscoring

    exact = properscoring.crps_gaussian(0.0, mu=0.0, sig=1.0)
    assert exact == pytest.approx(0.2337, abs=5e-5)
    assert exact == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi))
    for m, said in ((5, 0.3465), (20, 0.2619), (100, 0.2393)):
        assert exact + 1 / math.sqrt(math.pi) / m == pytest.approx(said, abs=5e-5)
        samples, zeros = drawn(m, 100_000 // m, seed=m), torch.zeros(100_000 // m, dtype=torch.float64)
        error = 5 * 0.6 / math.sqrt(100_000 // m)  # five standard errors: the score of one set varies by less than 0.6
        assert kata.crps(zeros, samples).item() == pytest.approx(said, abs=error)
        assert kata.crps(zeros, samples, fair=True).item() == pytest.approx(exact, abs=error)


def test_crps_is_twice_the_mean_pinball_loss(kata):
    target, samples = drawn(7), drawn(11, 7, seed=1)
    levels = (torch.arange(11 * 200, dtype=torch.float64) + 0.5) / (11 * 200)
    quantiles = samples.quantile(levels, dim=0, interpolation="lower")
    steps = samples.sort(dim=0).values[(levels * 11).long()]  # the law that gives each sample the weight 1/11
    assert quantiles.shape == steps.shape
    twice = 2 * kata.pinball_loss(target, steps.T, levels)
    torch.testing.assert_close(twice, kata.crps(target, samples), atol=1e-6, rtol=0)


@pytest.mark.reference
def test_rolling_origins_are_scikit_learns(kata):
    from sklearn.metrics import mean_absolute_error
    from sklearn.model_selection import TimeSeriesSplit

    series = drawn(1, 30).cumsum(dim=1)
    folds = list(TimeSeriesSplit(n_splits=4, test_size=5).split(series[0]))
    origins, values = [int(test[0]) for _, test in folds], series[0].numpy()
    want = []
    for past, future in folds:
        unit = mean_absolute_error(values[past][1:], values[past][:-1])
        want.append(mean_absolute_error(values[future], np.full(5, values[past].mean())) / unit)
    mean = {"mean": lambda past, h: past.mean(dim=1, keepdim=True).expand(-1, h)}
    _, scores = kata.choose_forecaster(series, mean, origins, 5)
    assert scores["mean"] == pytest.approx(np.mean(want))


# --- trend and season -------------------------------------------------------------------------------------------------


def test_hinges_are_prophets_trend(kata):
    """Prophet's (k + a(t)·δ) t + (m + a(t)·γ) with γ = -s δ is a sum of hinges."""
    times, points = torch.arange(20.0).double(), torch.tensor([4.5, 11.0]).double()
    k, m, delta = 0.7, -2.0, torch.tensor([0.3, -1.1]).double()
    after = (times[:, None] >= points).double()
    want = (k + after @ delta) * times + (m + after @ (-points * delta))
    got = kata.design_matrix(times, points, []) @ torch.tensor([m, k, *delta]).double()
    torch.testing.assert_close(got, want)


@pytest.mark.reference
def test_fit_is_scikit_learns(kata):
    from sklearn.linear_model import LinearRegression

    times, values = torch.arange(50.0).double(), drawn(50)
    points, seasons = torch.tensor([20.0]).double(), [(7.0, 2)]
    fit = LinearRegression(fit_intercept=False).fit(kata.design_matrix(times, points, seasons), values)
    new = torch.arange(50.0, 60.0).double()
    trend, season = kata.trend_and_season(times, values, new, points, seasons)
    want = fit.predict(kata.design_matrix(new, points, seasons))
    np.testing.assert_allclose((trend + season).numpy(), want, rtol=1e-8)


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 5.0])
def test_likelihood_is_scipys(kata, alpha):
    """scipy's n is 1/α and its p is 1 / (1 + αμ); mean μ, variance μ + αμ²."""
    from scipy import stats

    z, mu = np.arange(40.0), np.linspace(0.3, 20, 40)
    law = stats.nbinom(1 / alpha, 1 / (1 + alpha * mu))
    got = kata.negative_binomial(torch.from_numpy(z), torch.from_numpy(mu), torch.full((40,), alpha).double())
    np.testing.assert_allclose(got.numpy(), law.logpmf(z), rtol=1e-7)
    np.testing.assert_allclose(law.mean(), mu)
    np.testing.assert_allclose(law.var(), mu + alpha * mu**2)


def test_likelihood_is_torchs(kata):
    z, mu, alpha = torch.arange(12.0).double(), 3 * torch.ones(12).double(), torch.linspace(0.1, 4, 12).double()
    want = torch.distributions.NegativeBinomial(1 / alpha, logits=(alpha * mu).log()).log_prob(z)
    torch.testing.assert_close(kata.negative_binomial(z, mu, alpha), want)


@pytest.mark.reference
def test_drawn_counts_pass_scipys_test(kata):
    from scipy import stats

    mean, alpha = torch.full((20_000,), 4.0), torch.full((20_000,), 0.7)
    counts = kata.draw_counts(mean, alpha, generator=seeded()).clamp(max=15).long()
    law = stats.nbinom(1 / 0.7, 1 / 3.8).pmf(np.arange(15))
    want = 20_000 * np.array([*law, 1 - law.sum()])
    assert stats.chisquare(torch.bincount(counts, minlength=16).numpy(), want).pvalue > 1e-4


@pytest.mark.reference
def test_transformers_leave_the_shape_unscaled():
    """There a scale multiplies the mean, and 1/α stays: no √ν, as the statement says."""
    from transformers.time_series_utils import NegativeBinomialOutput

    output = NegativeBinomialOutput()
    plain, scaled = (
        output.distribution((torch.tensor([2.0]), torch.tensor([0.4])), scale=scale)  # it adds the scale in place
        for scale in (None, torch.tensor([9.0]))
    )
    torch.testing.assert_close(scaled.mean, 9 * plain.mean)
    torch.testing.assert_close(scaled.total_count, plain.total_count)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_teacher_forcing_is_one_pass_of_torchs_lstm(kata):
    torch.manual_seed(0)
    model = kata.DeepAR(2, 5, layers=2).double()
    past, future, covariates = drawn(3, 6).abs(), drawn(3, 4, seed=1).abs(), drawn(3, 10, 2, seed=2)
    scale = 1 + past.mean(dim=1, keepdim=True)
    read = F.pad(torch.cat([past, future], dim=1), (1, -1)) / scale
    out = model.lstm(torch.cat([read[..., None], covariates], dim=2))[0][:, 6:]
    mean, alpha = model(past, future, covariates)
    torch.testing.assert_close(mean, scale * F.softplus(model.mean_head(out)[..., 0]))
    torch.testing.assert_close(alpha * scale.sqrt(), F.softplus(model.alpha_head(out)[..., 0]))


@pytest.mark.parametrize(("steps", "one", "total"), [(1, 80, 80), (2, 66, 60), (5, 51, 35), (10, 45, 22), (20, 43, 16)])
def test_the_table_of_the_statement(steps, one, total):
    """An AR(1) with 0.9: what an interval covers that takes each step's noise alone for the whole uncertainty."""
    normal = torch.distributions.Normal(0.0, 1.0)
    end = normal.icdf(torch.tensor(0.9)).item()
    spread = math.sqrt(sum(0.81**k for k in range(steps)))
    spread_of_sum = math.sqrt(sum(sum(0.9**j for j in range(k + 1)) ** 2 for k in range(steps)))
    for ratio, said in ((1 / spread, one), (math.sqrt(steps) / spread_of_sum, total)):
        assert 100 * math.erf(end * ratio / math.sqrt(2)) == pytest.approx(said, abs=0.51)


def test_a_gated_step_is_torchs_glu(kata):
    torch.manual_seed(0)
    grn, x, context = kata.GatedResidualNetwork(3, 5, 4, 2).double(), drawn(2, 7, 3), drawn(2, 2, seed=1)
    inner = nn.ELU()(grn.fc1(x) + grn.context(context)[:, None])
    want = grn.norm(grn.skip(x) + nn.GLU(dim=-1)(grn.gate(grn.fc2(inner))))
    torch.testing.assert_close(grn(x, context), want)


def test_one_variable_is_always_chosen(kata):
    torch.manual_seed(0)
    layer, x = kata.VariableSelection(1, 4).double(), drawn(2, 5, 1, 4)
    out, weights = layer(x)
    assert (weights == 1).all()
    torch.testing.assert_close(out, layer.variable_grns[0](x[:, :, 0]))


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_is_torchs_with_tied_values(kata, heads):
    """nn.MultiheadAttention, each of whose heads has the same values and 1/n of the same output layer."""
    torch.manual_seed(0)
    layer, theirs = kata.InterpretableAttention(6, heads).double(), nn.MultiheadAttention(6, heads, batch_first=True)
    theirs, x = theirs.double(), drawn(3, 5, 6)
    with torch.no_grad():
        value = layer.value.weight.repeat(heads, 1)
        theirs.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key.weight, value]))
        theirs.out_proj.weight.copy_(layer.output.weight.repeat(1, heads) / heads)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    want, weights = theirs(x, x, x, attn_mask=later, average_attn_weights=True)
    got, mean = layer(x)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(mean, weights)
