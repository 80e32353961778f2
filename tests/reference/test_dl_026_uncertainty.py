"""dl_026's solution against torch, scipy, scikit-learn, mapie, torchmetrics, and the figures of its statement."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution

TASK = 8
"""Classes of the statement's task."""


@pytest.fixture(scope="module")
def kata():
    return solution("dl_026_uncertainty")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def labels_of(logits, seed=0):
    return torch.multinomial(logits.softmax(dim=1), 1, generator=seeded(seed))[:, 0]


# --- calibration ------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("bins", [1, 5, 15, 40])
def test_calibration_error_is_torchmetrics(kata, bins):
    from torchmetrics.functional.classification import multiclass_calibration_error

    p = (2 * drawn(233, 5)).softmax(dim=1)
    labels = labels_of(p.log() / 2)
    want = multiclass_calibration_error(p, labels, num_classes=5, n_bins=bins).item()
    assert kata.calibration_error(p, labels, bins) == pytest.approx(want, abs=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("true", [0.1, 0.9, 8.0, 40.0])
def test_temperature_is_scipys_minimum(kata, true):
    from scipy import optimize

    calm = 1.3 * drawn(400, 6)
    labels = labels_of(calm)
    logits = calm * true
    found = optimize.minimize_scalar(
        lambda t: F.cross_entropy(logits / math.exp(t), labels).item(),
        bounds=(math.log(0.01), math.log(100)),
        options={"xatol": 1e-9},
    )
    assert kata.fit_temperature(logits, labels) == pytest.approx(math.exp(found.x), rel=1e-5)


def test_lbfgs_with_a_small_rate_stops_too_early(kata):
    """What many tutorials do: rate 0.01, 50 steps, on logits that are eight times too large."""
    calm = 1.2 * drawn(500, 6)
    labels = labels_of(calm, seed=1)
    t = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([t], lr=0.01, max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(8 * calm / t, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert t.item() < 2
    assert 7 < kata.fit_temperature(8 * calm, labels) < 9


# --- samples, members, variance heads ---------------------------------------------------------------------------------


def test_mc_dropout_has_the_moments_of_bernoulli(kata):
    """A linear readout of dropped numbers: mean as without dropout, variance r / (1 - r) · Σ (w x)²."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.3), nn.Linear(5, 1)).double().eval()
    x = drawn(3, 5)
    out = kata.mc_dropout(model, x, 20_000)[..., 0]
    with torch.no_grad():
        plain = model(x)[:, 0]
        spread = 0.3 / 0.7 * (model[1].weight * x).square().sum(dim=1)
    torch.testing.assert_close(out.mean(dim=0), plain, atol=0.03, rtol=0)
    torch.testing.assert_close(out.var(dim=0), spread, atol=0, rtol=0.05)


def test_mixture_is_torchs(kata):
    means, variances = drawn(7, 4), drawn(7, 4, seed=1).exp()
    members = torch.distributions.Normal(means.T, variances.T.sqrt())
    weights = torch.distributions.Categorical(torch.ones(4, 7, dtype=torch.float64))
    want = torch.distributions.MixtureSameFamily(weights, members)
    got = kata.mixture(means, variances)
    torch.testing.assert_close(got["mean"], want.mean)
    torch.testing.assert_close(got["aleatoric"] + got["epistemic"], want.variance)


@pytest.mark.reference
def test_entropies_are_scipys(kata):
    from scipy import stats

    p = (2 * drawn(6, 11, 4)).softmax(dim=-1)
    got = kata.decompose(p)
    total = stats.entropy(p.mean(dim=0).numpy(), axis=-1)
    noise = stats.entropy(p.numpy(), axis=-1).mean(axis=0)
    apart = stats.entropy(p.numpy(), p.mean(dim=0, keepdim=True).numpy(), axis=-1).mean(axis=0)
    for name, want in (("total", total), ("aleatoric", noise), ("epistemic", apart)):
        np.testing.assert_allclose(got[name].numpy(), want, rtol=1e-9)


def test_plain_loss_is_torchs(kata):
    mean, s, target = drawn(5, 3), drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    want = F.gaussian_nll_loss(mean, target, s.exp())
    torch.testing.assert_close(kata.heteroscedastic_loss(mean, s, target), want)


# --- variational layers -----------------------------------------------------------------------------------------------


def linear_model(noise=0.7, prior=1.3):
    """Data with one more input that is 1, and the precision of the posterior of Bayesian linear regression."""
    x = torch.cat([drawn(9, 3), torch.ones(9, 1, dtype=torch.float64)], dim=1)
    y = drawn(9, seed=1)
    return x, y, x.T @ x / noise**2 + torch.eye(4, dtype=torch.float64) / prior**2, noise, prior


def expected_loss(x, y, mean, variance, noise, prior):
    """The negative ELBO of a Gaussian with independent weights, in closed form."""
    nll = ((y - x @ mean) ** 2 + x**2 @ variance).sum() / (2 * noise**2)
    return nll + 0.5 * ((variance + mean**2) / prior**2 - (variance / prior**2).log()).sum()


@pytest.mark.reference
def test_the_best_mean_field_has_the_precisions_of_the_posterior():
    """Its means are the posterior's, which are ridge regression's; its variances are 1 / Λ_jj, not (Λ⁻¹)_jj."""
    from sklearn.linear_model import Ridge

    x, y, precision, noise, prior = linear_model()
    mean = torch.linalg.solve(precision, x.T @ y / noise**2)
    ridge = Ridge(alpha=noise**2 / prior**2, fit_intercept=False, tol=1e-12).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(mean.numpy(), ridge.coef_, rtol=1e-9)

    def slopes(variance):
        leaves = [mean.clone().requires_grad_(), variance.clone().requires_grad_()]
        grads = torch.autograd.grad(expected_loss(x, y, *leaves, noise, prior), leaves)
        return max(g.abs().max().item() for g in grads)

    assert slopes(1 / precision.diagonal()) < 1e-6
    assert slopes(torch.linalg.inv(precision).diagonal()) > 1e-2
    assert (1 / precision.diagonal() < torch.linalg.inv(precision).diagonal()).all()


def test_training_a_layer_finds_the_best_mean_field(kata):
    x, y, precision, noise, prior = linear_model()
    torch.manual_seed(0)
    layer, generator = kata.BayesLinear(3, 1, prior).double(), seeded()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for step in range(1_500):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 1_500)
        residual = y.repeat(50) - layer(x[:, :3].repeat(50, 1), generator=generator)[:, 0]
        loss = kata.negative_elbo(residual.square() / (2 * noise**2), layer.kl(), 9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mean = torch.linalg.solve(precision, x.T @ y / noise**2)
    got = torch.cat([layer.weight_mean[0], layer.bias_mean]).detach()
    spread = F.softplus(torch.cat([layer.weight_rho[0], layer.bias_rho])).detach()
    torch.testing.assert_close(got, mean, atol=0.02, rtol=0)
    torch.testing.assert_close(spread, precision.diagonal().rsqrt(), atol=0, rtol=0.03)


# --- conformal prediction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [9, 19, 100, 1_000])
def test_threshold_is_numpys_quantile_without_interpolation(kata, n):
    scores = drawn(n)
    for alpha in (0.13, 0.31, 0.77):
        level = math.ceil((n + 1) * (1 - alpha)) / n
        if level <= 1:
            want = np.quantile(scores.numpy(), level - 0.5 / n, method="inverted_cdf")
            assert kata.threshold(scores, alpha) == want


@pytest.mark.reference
def test_coverage_given_the_calibration_is_beta(kata):
    """Of uniform scores the threshold is the coverage: Beta(n + 1 - l, l), and between .88 and .92 at n = 1000."""
    from scipy import stats

    law = stats.beta(1001 - 100, 100)
    assert law.std() == pytest.approx(0.0095, abs=5e-5)
    assert law.cdf(0.92) - law.cdf(0.88) == pytest.approx(0.966, abs=5e-4)
    small = stats.beta(101 - 10, 10)
    assert small.cdf(0.92) - small.cdf(0.88) == pytest.approx(0.496, abs=5e-4)
    uniform = torch.rand(2_000, 1_000, generator=seeded(), dtype=torch.float64)
    seen = [kata.threshold(row, 0.1) for row in uniform]
    assert stats.kstest(seen, law.cdf).pvalue > 1e-4


@pytest.fixture(scope="module")
def told():
    """A scikit-learn classifier whose inputs are the probabilities."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Told(ClassifierMixin, BaseEstimator):
        def fit(self, x, y=None):
            self.classes_, self.n_features_in_, self.is_fitted_ = np.arange(x.shape[1]), x.shape[1], True
            return self

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    return Told


def held_out():
    p = (2 * drawn(233, 5)).softmax(dim=1)
    return p[:103], labels_of(p.log() / 2)[:103], p[103:]


@pytest.mark.reference
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_sets_are_mapies(kata, told, alpha):
    """LAC; and APS, whose u is 1 - u here, with the last class taken in whole (u = 0 for new examples)."""
    from mapie.classification import SplitConformalClassifier

    held, labels, new = held_out()
    for name, given in (("lac", None), ("aps", {"include_last_label": True})):
        theirs = SplitConformalClassifier(
            told().fit(held.numpy()), confidence_level=1 - alpha, conformity_score=name, prefit=True, random_state=3
        )
        theirs.conformalize(held.numpy(), labels.numpy())
        want = torch.from_numpy(theirs.predict_set(new.numpy(), given)[1][:, :, 0].astype(bool))
        if name == "lac":
            got = kata.split_conformal(held, labels, new, alpha)
        else:
            u = 1 - torch.from_numpy(np.random.RandomState(3).uniform(size=len(held)))
            got = kata.adaptive_sets(held, labels, new, alpha, u, torch.zeros(len(new), dtype=torch.float64))
        assert torch.equal(got, want), name


@pytest.mark.reference
def test_intervals_are_mapies(kata):
    from mapie.regression import ConformalizedQuantileRegressor
    from sklearn.base import BaseEstimator, RegressorMixin

    class Column(RegressorMixin, BaseEstimator):
        def __init__(self, column=0):
            self.column = column

        def fit(self, x, y=None):
            self.n_features_in_, self.is_fitted_ = x.shape[1], True
            return self

        def predict(self, x):
            return x[:, self.column]

    x, y = drawn(200, 3).sort(dim=1).values, 2 * drawn(200, seed=1)
    columns = [Column(k).fit(x.numpy()) for k in (0, 2, 1)]
    theirs = ConformalizedQuantileRegressor(columns, confidence_level=0.9, prefit=True)
    theirs.conformalize(x[:103].numpy(), y[:103].numpy())
    want = theirs.predict_interval(x[103:].numpy(), symmetric_correction=True)[1][..., 0]
    low, high = kata.conformal_quantiles(x[:103, 0], x[:103, 2], y[:103], x[103:, 0], x[103:, 2], 0.1)
    np.testing.assert_allclose(torch.stack([low, high], dim=1).numpy(), want, rtol=1e-12)


# --- strangeness ------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_scores_are_scikit_learns_and_scipys(kata):
    from scipy import special
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    labels = torch.arange(60) % 4
    train = drawn(60, 3) @ drawn(3, 3, seed=1) + 3 * drawn(4, 3, seed=2)[labels]
    features, logits = 4 * drawn(9, 3, seed=3), 3 * drawn(9, 4, seed=4)
    fit = LinearDiscriminantAnalysis(store_covariance=True, solver="lsqr").fit(train.numpy(), labels.numpy())
    away = features.numpy()[:, None] - fit.means_
    want = np.einsum("nci,ij,ncj->nc", away, np.linalg.inv(fit.covariance_), away).min(axis=1)
    got = kata.ood_scores(logits, features, train, labels, 1.7)
    np.testing.assert_allclose(got["mahalanobis"].numpy(), want, rtol=1e-8)
    np.testing.assert_allclose(got["energy"].numpy(), -1.7 * special.logsumexp(logits.numpy() / 1.7, axis=1))
    np.testing.assert_allclose(got["msp"].numpy(), 1 - special.softmax(logits.numpy(), axis=1).max(axis=1))


@pytest.mark.reference
@pytest.mark.parametrize("digits", [0, 8])
def test_rates_are_scikit_learns(kata, digits):
    """Inside is the positive class of the FPR: scores are turned, so that larger means inside."""
    from sklearn.metrics import roc_auc_score, roc_curve

    inside, outside = drawn(97).round(decimals=digits), (1 + 1.3 * drawn(51, seed=1)).round(decimals=digits)
    truth, scores = np.repeat([0, 1], [97, 51]), torch.cat([inside, outside]).numpy()
    got = kata.detection_rates(inside, outside)
    assert got["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    assert got["fpr95"] == pytest.approx(fpr[tpr >= 0.95][0], abs=1e-12)


# --- the statement ----------------------------------------------------------------------------------------------------


def task(n, sharp, seed):
    """What a network says of n points of the statement's task, and their labels."""
    x = torch.rand(n, generator=seeded(seed), dtype=torch.float64) * (TASK - 1)
    logits = -((x[:, None] - torch.arange(TASK)) ** 2) / (torch.exp(0.4 * x[:, None]) / 3)
    return (sharp * logits).softmax(dim=1), labels_of(logits, seed + 1)


@pytest.mark.parametrize(
    ("sharp", "own", "split", "adaptive"),
    [
        (0.3, (1.00, 4.9), (0.89, 2.6), (0.91, 2.8)),
        (1.0, (0.96, 3.1), (0.89, 2.5), (0.90, 2.8)),
        (3.0, (0.80, 2.1), (0.89, 2.5), (0.90, 2.9)),
        (10.0, (0.64, 1.4), (0.89, 2.6), (0.90, 3.0)),
    ],
)
def test_the_table_of_the_statement(kata, sharp, own, split, adaptive):
    (held, labels), (new, truth) = task(1_000, sharp, 20), task(4_000, sharp, 22)
    ordered, classes = new.sort(dim=1, descending=True)
    taken = torch.zeros_like(new, dtype=torch.bool).scatter(1, classes, ordered.cumsum(dim=1) - ordered < 0.9)
    rows = [
        (taken, own),
        (kata.split_conformal(held, labels, new, 0.1), split),
        (kata.adaptive_sets(held, labels, new, 0.1), adaptive),
    ]
    for sets, (covered, size) in rows:
        assert sets.gather(1, truth[:, None]).double().mean().item() == pytest.approx(covered, abs=0.0051)
        assert sets.sum(dim=1).double().mean().item() == pytest.approx(size, abs=0.051)


@pytest.mark.parametrize(("n", "rank", "plain"), [(8, 1.0, 0.811), (11, 0.917, 0.833), (100, 0.901, 0.892)])
def test_the_coverage_of_ranks_in_the_statement(kata, n, rank, plain):
    """The k-th smallest of n uniform numbers covers k / (n + 1): the threshold, and what interpolation makes of it."""
    grid = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)  # the expected order statistics
    assert min(kata.threshold(grid, 0.1), 1.0) == pytest.approx(rank, abs=5e-4)
    assert grid.quantile(0.9).item() == pytest.approx(plain, abs=5e-4)
