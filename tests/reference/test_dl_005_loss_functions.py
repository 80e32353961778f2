"""dl_005_loss_functions against torch, transformers' CLIP, pytorch-metric-learning, and figures of papers."""

import math

import pytest
import torch
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_005_loss_functions")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def same(ours, theirs, *inputs):
    """Values and gradients of two losses of the same inputs."""
    leaves = [[x.clone().requires_grad_() for x in inputs] for _ in range(2)]
    got, want = ours(*leaves[0]), theirs(*leaves[1])
    torch.testing.assert_close(got, want)
    got.backward()
    want.backward()
    for x, y in zip(*leaves, strict=True):
        torch.testing.assert_close(x.grad, y.grad)


def randn(*shape):
    return torch.randn(*shape).double()


# ------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 3.0, 1.0]).double()])
def test_binary_cross_entropy_is_torchs(kata, weight):
    y = torch.rand(7, 3).double()

    def ours(z):
        return kata.binary_cross_entropy(z, y, weight)

    same(ours, lambda z: F.binary_cross_entropy_with_logits(z, y, pos_weight=weight), 5 * randn(7, 3))


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 3.0, 1.0, 0.0]).double()])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy_is_torchs(kata, weight, ignore):
    y = torch.randint(4, (11,))
    y[3] = ignore

    def ours(z):
        return kata.cross_entropy(z, y, weight, ignore)

    same(ours, lambda z: F.cross_entropy(z, y, weight=weight, ignore_index=ignore), 5 * randn(11, 4))


def test_torch_gives_nan_where_nothing_counts(kata):
    z, y = randn(3, 4), torch.full((3,), -100)
    assert math.isnan(F.cross_entropy(z, y))
    assert kata.cross_entropy(z, y) == 0


def test_saturation_gradients_are_autograds(kata):
    z, y = randn(13).requires_grad_(), torch.rand(13).double()
    squared = torch.autograd.grad(((z.sigmoid() - y) ** 2 / 2).sum(), z)[0]
    entropy = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, y, reduction="sum"), z)[0]
    torch.testing.assert_close(kata.saturation_gradients(z.detach(), y), (squared, entropy))


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_regression_losses_are_torchs(kata, delta):
    y = randn(5, 3)
    pairs = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": lambda p, y: F.huber_loss(p, y, delta=delta),
    }
    for kind, theirs in pairs.items():

        def ours(p, kind=kind):
            return kata.regression_loss(kind, p, y, delta=delta)

        same(ours, lambda p, theirs=theirs: theirs(p, y), randn(5, 3))

    def ours(p, v):
        return kata.regression_loss("gaussian", p, y, log_variance=v)

    same(ours, lambda p, v: F.gaussian_nll_loss(p, y, v.exp()), randn(5, 3), randn(5, 3))


def test_the_best_constant_is_the_quantile(kata):
    """Koenker and Bassett: the pinball loss is least at the quantile, for a sample of 1,000."""
    sample = randn(1000).exp()
    grid = torch.linspace(0.01, 6, 600).double()
    for quantile in (0.1, 0.5, 0.9):
        losses = [kata.regression_loss("quantile", x.expand(1000), sample, quantile=quantile) for x in grid]
        best = grid[torch.stack(losses).argmin()]
        assert best.item() == pytest.approx(sample.quantile(quantile).item(), abs=0.02)


def test_figures_of_focal_loss(kata):
    """Lin et al., section 3.2: gamma 2 makes p_t = 0.9 a hundredth, and p_t = 0.968 about a thousandth."""
    y = torch.ones(1).double()
    for p, share in ((0.9, 100), (0.968, 1000)):
        z = torch.tensor([math.log(p / (1 - p))]).double()
        assert (kata.focal_loss(z, y, 0.0) / kata.focal_loss(z, y)).item() == pytest.approx(share, rel=0.03)


def test_focal_loss_of_the_formula(kata):
    y = (torch.rand(9, 4) < 0.3).double()

    def formula(z):
        p = z.sigmoid()
        pt, at = torch.where(y == 1, p, 1 - p), 0.25 * y + 0.75 * (1 - y)
        return -(at * (1 - pt) ** 2 * pt.log()).mean()

    same(lambda z: kata.focal_loss(z, y, 2.0, 0.25), formula, randn(9, 4))


def test_triplets_are_torchs(kata):
    """torch adds 1e-6 to each difference; eps=0 takes that away."""
    inputs = [randn(11, 5) for _ in range(3)]

    def theirs(a, p, n):
        return F.triplet_margin_loss(a, p, n, margin=0.7, eps=0.0)

    same(lambda a, p, n: kata.triplet_loss(a, p, n, 0.7, squared=False), theirs, *inputs)

    def square(a, b):
        return (a - b).square().sum(1)

    def theirs(a, p, n):
        return F.triplet_margin_with_distance_loss(a, p, n, distance_function=square, margin=0.7)

    same(lambda a, p, n: kata.triplet_loss(a, p, n, 0.7), theirs, *inputs)


def test_contrastive_loss_by_torchs_hinge(kata):
    """torch's hinge embedding loss of distances is d where y = 1 and max(0, m - d) where y = -1."""
    a, b, alike = randn(11, 3), randn(11, 3), torch.arange(11) % 3 == 0
    hinge = F.hinge_embedding_loss((a - b).norm(dim=1), 2.0 * alike - 1, margin=2.5, reduction="none")
    torch.testing.assert_close(kata.contrastive_loss(a, b, alike, 2.5), hinge.square().mean() / 2)


def test_batch_hard_is_the_hardest_of_all_triplets(kata):
    x, labels = randn(12, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 3, 3, 2])
    worst = []
    for a in range(12):
        losses = [
            F.triplet_margin_loss(x[a], x[p], x[n], margin=0.5, eps=0.0)
            for p in range(12)
            for n in range(12)
            if p != a and labels[p] == labels[a] != labels[n]
        ]
        worst.append(max(losses))
    torch.testing.assert_close(kata.batch_hard_triplet(x, labels, 0.5), torch.stack(worst).mean())


def test_divergence_is_torchs(kata):
    def theirs(m, v, pm, pv):
        def normal(mean, log_variance):
            return torch.distributions.Normal(mean, (log_variance / 2).exp())

        return torch.distributions.kl_divergence(normal(m, v), normal(pm, pv)).sum()

    same(lambda *given: kata.gaussian_kl(*given).sum(), theirs, *(randn(5, 3) for _ in range(4)))


def test_the_bound_is_below_the_evidence(kata):
    """A decoder whose logits do not depend on the latent: with the prior as posterior the bound is log p(x) itself."""
    x, logits = (torch.rand(6, 9) < 0.5).double(), randn(1, 9).expand(6, 9)
    evidence = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(1).mean()
    zero = torch.zeros(6, 2).double()
    torch.testing.assert_close(kata.elbo(x, logits, zero, zero), evidence)
    assert kata.elbo(x, logits, randn(6, 2), randn(6, 2)) < evidence


@pytest.mark.parametrize("chunk", [1, 4, 13, 20])
def test_chunks_are_torchs_cross_entropy(kata, chunk):
    y = torch.randint(17, (13,))

    def theirs(h, w):
        return F.cross_entropy(h @ w.T, y)

    same(lambda h, w: kata.chunked_cross_entropy(h, w, y, chunk), theirs, randn(13, 5), randn(17, 5))


# ------------------------------------------------------------------------------------------------------- transformers


@pytest.mark.reference
def test_info_nce_is_clips(kata):
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    def theirs(a, b, t):
        a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
        return image_text_contrastive_loss(b @ a.T / t)

    same(kata.info_nce, theirs, randn(7, 5), randn(7, 5), torch.tensor(0.3).double())


@pytest.mark.reference
def test_batch_hard_is_the_miner_of_pytorch_metric_learning(kata):
    """A batch with labels that have one row only, whose anchors lack a positive, and one in which none has any."""
    from pytorch_metric_learning import distances, losses, miners, reducers

    distance = distances.LpDistance(normalize_embeddings=False)
    mine = miners.BatchHardMiner(distance=distance)
    loss = losses.TripletMarginLoss(margin=0.5, distance=distance, reducer=reducers.MeanReducer())
    for labels in (torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 3, 4, 2]), torch.arange(12)):

        def ours(x, labels=labels):
            return kata.batch_hard_triplet(x, labels, 0.5)

        same(ours, lambda x, labels=labels: loss(x, labels, mine(x, labels)), randn(12, 3))


@pytest.mark.reference
def test_contrastive_loss_is_half_the_square_of_pytorch_metric_learnings(kata):
    """Its terms of a pair are not squared. Here each pair has a batch of its own, and the terms come one by one."""
    from pytorch_metric_learning import distances, losses, reducers

    distance = distances.LpDistance(normalize_embeddings=False)
    loss = losses.ContrastiveLoss(neg_margin=2.5, distance=distance, reducer=reducers.MeanReducer())
    alike = torch.arange(11) % 3 == 0

    def theirs(a, b):
        pairs = zip(torch.stack([a, b], dim=1), alike, strict=True)
        terms = [loss(pair, torch.tensor([0, 0 if same else 1])) for pair, same in pairs]
        return torch.stack(terms).square().mean() / 2

    same(lambda a, b: kata.contrastive_loss(a, b, alike, 2.5), theirs, randn(11, 3), randn(11, 3))


def test_the_correction_tells_in_one_direction(kata):
    """In the softmax over i of z[i, j] - log_q[j] the correction is a constant."""
    a, b, log_q = randn(6, 4), randn(6, 4), randn(6) - 3
    z = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.5
    own = torch.arange(6)
    want = (F.cross_entropy(z - log_q, own) + F.cross_entropy(z.T, own)) / 2
    torch.testing.assert_close(kata.info_nce(a, b, 0.5, log_q), want)
