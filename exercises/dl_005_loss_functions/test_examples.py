"""A few examples, worked by hand: run them with `pytest exercises/dl_005_loss_functions/test_examples.py`."""

import math

import pytest
import torch
from loss_functions import (
    batch_hard_triplet,
    binary_cross_entropy,
    chunked_cross_entropy,
    contrastive_loss,
    cross_entropy,
    elbo,
    focal_loss,
    gaussian_kl,
    info_nce,
    regression_loss,
    saturation_gradients,
    triplet_loss,
)

LOG2, LOG3 = math.log(2), math.log(3)


def test_binary_cross_entropy():
    # σ(log 3) = 3/4: a positive pays -log(3/4), a negative -log(1/4).
    z = torch.tensor([LOG3, LOG3])
    y = torch.tensor([1.0, 0.0])
    assert binary_cross_entropy(z, y).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    weighted = binary_cross_entropy(z, y, torch.tensor(5.0)).item()
    assert weighted == pytest.approx((5 * math.log(4 / 3) + math.log(4)) / 2)
    assert binary_cross_entropy(torch.tensor([-1e4]), torch.tensor([1.0])).item() == pytest.approx(1e4)


def test_cross_entropy_divides_by_the_weights():
    # Probabilities 1/4 and 3/4; classes 0 and 1 have the weights 3 and 1.
    z, weight = torch.tensor([[0.0, LOG3], [0.0, LOG3]]), torch.tensor([3.0, 1.0])
    loss = cross_entropy(z, torch.tensor([0, 1]), weight)
    assert loss.item() == pytest.approx((3 * math.log(4) + math.log(4 / 3)) / 4)
    assert cross_entropy(z, torch.tensor([0, -100])).item() == pytest.approx(math.log(4))
    assert cross_entropy(z, torch.tensor([-100, -100])).item() == 0.0


def test_a_confident_mistake():
    # σ(log 3) = 3/4, y = 0: 3/4 · 3/4 · 1/4 and 3/4.
    squared, entropy = saturation_gradients(torch.tensor([LOG3, 20.0]), torch.tensor([0.0, 0.0]))
    assert (squared[0].item(), entropy[0].item()) == pytest.approx((9 / 64, 3 / 4))
    assert (squared[1].item(), entropy[1].item()) == pytest.approx((math.exp(-20), 1.0))


def test_five_losses_of_an_error_of_three():
    zero, three = torch.zeros(2), torch.tensor([3.0, -3.0])
    assert regression_loss("mse", zero, three).item() == pytest.approx(9.0)
    assert regression_loss("mae", zero, three).item() == pytest.approx(3.0)
    assert regression_loss("huber", zero, three, delta=1.0).item() == pytest.approx(2.5)
    assert regression_loss("huber", zero, three, delta=2.0).item() == pytest.approx(4.0)
    assert regression_loss("quantile", zero, three, quantile=0.9).item() == pytest.approx((2.7 + 0.3) / 2)
    four = torch.full((2,), math.log(4))
    loss = regression_loss("gaussian", zero, three, log_variance=four)
    assert loss.item() == pytest.approx((math.log(4) + 9 / 4) / 2)
    with pytest.raises(ValueError):
        regression_loss("mse", torch.zeros(2, 1), three)


def test_focal_loss():
    # p_t = 3/4 for the positive, 1/4 for the negative.
    z, y = torch.tensor([LOG3, LOG3]), torch.tensor([1.0, 0.0])
    easy, hard = math.log(4 / 3) / 16, math.log(4) * 9 / 16
    assert focal_loss(z, y).item() == pytest.approx((easy + hard) / 2)
    assert focal_loss(z, y, alpha=0.25).item() == pytest.approx((0.25 * easy + 0.75 * hard) / 2)


def test_pairs_and_triplets():
    a, b = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]])  # a distance of 5
    assert contrastive_loss(a, b, torch.tensor([True, False]), margin=7.0).item() == pytest.approx((12.5 + 2.0) / 2)
    anchor, near, far = torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert triplet_loss(anchor, near, far, 4.0).item() == pytest.approx(1 - 4 + 4)
    assert triplet_loss(anchor, near, far, 4.0, squared=False).item() == pytest.approx(1 - 2 + 4)
    assert triplet_loss(anchor, near, far, 1.0).item() == 0.0


def test_the_hardest_triplets():
    x, labels = torch.tensor([[0.0], [1.0], [3.0], [10.0]]), torch.tensor([7, 7, 7, 5])
    # Farthest positives 3, 2, 3; nearest negatives 10, 9, 7; the last row has no positive.
    assert batch_hard_triplet(x, labels, 5.0).item() == pytest.approx((0 + 0 + 1) / 3)


def test_info_nce():
    # Cosines 1 and 0 at temperature 1 / log 3: everybody finds itself with 3/4.
    a = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    assert info_nce(a, a, 1 / LOG3).item() == pytest.approx(math.log(4 / 3))
    # The second item is three times as popular. Row 0 sees 3 : 1/3, row 1 sees 1 : 1; columns see nothing of it.
    log_q = torch.tensor([0.0, LOG3])
    want = ((math.log(10 / 9) + LOG2) / 2 + math.log(4 / 3)) / 2
    assert info_nce(a, a, 1 / LOG3, log_q).item() == pytest.approx(want)


def test_divergence_and_bound():
    zero, four = torch.zeros(1, 2), torch.full((1, 2), math.log(4))
    # (log 4 + 1/4 - 1)/2 and, the other way, (-log 4 + 4 - 1)/2, for each of two entries.
    assert gaussian_kl(zero, zero, zero, four).item() == pytest.approx(math.log(4) + 1 / 4 - 1)
    assert gaussian_kl(zero, four, zero, zero).item() == pytest.approx(-math.log(4) + 4 - 1)
    x, logits = torch.tensor([[1.0, 0.0, 1.0]]), torch.zeros(1, 3)
    assert elbo(x, logits, zero, four, beta=2.0).item() == pytest.approx(-3 * LOG2 - 2 * (3 - math.log(4)))


def test_a_vocabulary_in_chunks():
    hidden, weight = torch.tensor([[1.0], [1.0], [0.0]]), torch.tensor([[0.0], [LOG3]])
    # Probabilities 1/4 : 3/4 twice, 1/2 : 1/2 once.
    targets, want = torch.tensor([1, 0, 1]), (math.log(4 / 3) + math.log(4) + LOG2) / 3
    for chunk in (1, 2, 3, 10):
        assert chunked_cross_entropy(hidden, weight, targets, chunk).item() == pytest.approx(want)
