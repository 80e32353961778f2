"""dl_019's solution against torch's losses and averages, transformers' Swin, scipy's Beta, figures of the papers."""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution

ALARM = 1e-6


@pytest.fixture(scope="module")
def kata():
    return solution("dl_019_reg_advanced")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_label_smoothing_is_torchs(kata, epsilon, dtype):
    logits = 5 * torch.randn(13, 7, generator=seeded(), dtype=dtype)
    numbers = torch.randint(7, (13,), generator=seeded(1))
    soft = torch.randn(13, 7, generator=seeded(2), dtype=dtype).softmax(dim=1)
    for targets in (numbers, soft):
        got = kata.label_smoothing_loss(logits, targets, epsilon)
        torch.testing.assert_close(got, F.cross_entropy(logits, targets, label_smoothing=epsilon))


def test_stochastic_depth_of_the_paper(kata):
    """Huang et al. 2016, section 3: 54 blocks that end at 1/2 have an expected depth of (3·54 - 1)/4, about 40."""
    rates = kata.drop_path_schedule(0.5, 54)
    assert sum(1 - p for p in rates) == pytest.approx((3 * 54 - 1) / 4)


@pytest.mark.reference
def test_linspace_rates_are_swins(kata):
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(embed_dim=12, depths=[2, 2, 3], num_heads=[1, 2, 3], drop_path_rate=0.3, image_size=32)
    config.window_size = 2
    model = SwinModel(config)
    blocks = [block for layer in model.encoder.layers for block in layer.blocks]
    theirs = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert kata.drop_path_schedule(0.3, 7, "linspace") == pytest.approx(theirs, abs=1e-6)


@pytest.mark.reference
def test_drop_path_has_the_law_of_transformers(kata):
    from transformers.models.swin.modeling_swin import SwinDropPath

    x, p = torch.randn(20_000, 3, generator=seeded()), 0.3
    torch.manual_seed(0)
    theirs, ours = SwinDropPath(p)(x), kata.drop_path(x, p, generator=seeded())
    for out in (theirs, ours):
        kept = (out != 0).any(dim=1, keepdim=True)
        torch.testing.assert_close(out, x * kept / (1 - p))
        assert stats.binomtest(int(kept.sum()), len(x), 1 - p).pvalue > ALARM


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 5.0])
def test_lambda_is_scipys_beta(kata, alpha):
    generator, eye = seeded(), torch.eye(7, dtype=torch.float64)
    lams = []
    for _ in range(3000):
        _, y = kata.mixup(eye, eye, alpha, generator)
        moved = [i for i in range(7) if y[i, i] != 1]
        lams += [y[moved[0], moved[0]].item()] if moved else []
    assert stats.kstest(lams, stats.beta(alpha, alpha).cdf).pvalue > ALARM


def test_cutmix_box_of_the_authors(kata):
    """The formula of `rand_bbox`, in numpy's clip, over random sizes and centres."""
    import numpy as np

    random = np.random.default_rng(0)
    for _ in range(2000):
        height, width = random.integers(1, 40, 2)
        cy, cx, lam = random.integers(height), random.integers(width), random.random()
        side = np.sqrt(1.0 - lam)
        cut_h, cut_w = int(height * side), int(width * side)
        edges = (
            np.clip([cy - cut_h // 2, cy + cut_h // 2], 0, height),
            np.clip([cx - cut_w // 2, cx + cut_w // 2], 0, width),
        )
        box, left = kata.cutmix_box(int(height), int(width), float(lam), int(cy), int(cx))
        assert box == (*edges[0], *edges[1])
        area = (edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0])
        assert left == pytest.approx(1 - area / (height * width))


def test_cutmix_weighs_its_label_by_the_area_on_average(kata):
    """A large image: the share before clipping is 1/2 on average, and what clipping leaves of it is known.

    A side r < 1 with a uniform centre keeps r - r²/4 of the image on average (each end loses r²/8); r² is uniform.
    """
    side = torch.linspace(0, 1, 100_001, dtype=torch.float64).sqrt()
    want = (side - side**2 / 4).square().mean().item()
    generator, eye = seeded(), torch.eye(2)
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, 1, 200, 300)
    shares = []
    while len(shares) < 1000:
        x, y = kata.cutmix(images, eye, 1.0, generator)
        if x[0].any():  # the partner of image 0 is image 1
            shares.append(y[0, 1].item())
            assert x[0].mean().item() == pytest.approx(shares[-1], abs=1e-5)
    assert sum(shares) / 1000 == pytest.approx(want, abs=0.04)  # a deviation is below 0.3: 4.2 of the mean's


@pytest.mark.parametrize("size", [(5, 7, 3), (7, 4, 2), (14, 14, 7)])
def test_drop_block_is_the_papers_algorithm(kata, size):
    """Equation 1 and algorithm 1 with a transposed convolution: the share dropped, and the sum that is kept."""
    h, w, b = size
    p = 0.1
    gamma = p / b**2 * (h * w) / ((h - b + 1) * (w - b + 1))
    x = torch.ones(400, 20, h, w)
    out = kata.drop_block(x, p, b, generator=seeded())
    assert out.mean().item() == pytest.approx(1.0, abs=1e-4)
    corners = (torch.rand(8000, 1, h - b + 1, w - b + 1, generator=seeded(1)) < gamma).float()
    hit = F.conv_transpose2d(corners, torch.ones(1, 1, b, b)) > 0
    assert hit.shape == (8000, 1, h, w)
    assert (out == 0).float().mean().item() == pytest.approx(hit.float().mean().item(), abs=0.01)
    assert corners.mean().item() * (h - b + 1) * (w - b + 1) * b**2 / (h * w) == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average_is_torchs(kata, decay):
    """`AveragedModel` with buffers, which copies the model at its first update, as ours does when it is made."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 2))
    ours = kata.ModelEMA(model, decay, warmup=False)
    law = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    theirs = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=law, use_buffers=True)
    theirs.update_parameters(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(7, 3, 4, 4)).square().mean().backward()
        optimizer.step()
        ours.update(model)
        theirs.update_parameters(model)
    want = theirs.module.state_dict()
    for name, tensor in ours.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, want[name])
    assert ours.module[1].num_batches_tracked == model[1].num_batches_tracked == 5


def test_r_drop_is_the_papers_code(kata):
    """The doubled batch of the authors' repository, with torch's own functions."""
    first, second = torch.randn(11, 5, generator=seeded()), torch.randn(11, 5, generator=seeded(1))
    targets, alpha = torch.randint(5, (11,), generator=seeded(2)), 4.0
    ce = F.cross_entropy(first, targets) + F.cross_entropy(second, targets)
    p, q = first.softmax(dim=1), second.softmax(dim=1)
    kl = F.kl_div(p.log(), q, reduction="batchmean") + F.kl_div(q.log(), p, reduction="batchmean")
    torch.testing.assert_close(kata.r_drop_loss(first, second, targets, alpha), ce + alpha * kl / 2)


def test_sam_equals_two_gradients_by_hand(kata):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x, y = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    names = [name for name, _ in model.named_parameters()]

    def loss(weights):
        return F.mse_loss(torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,)), y)

    start = [p.detach().clone().requires_grad_() for p in model.parameters()]
    first = torch.autograd.grad(loss(start), start)
    norm = math.sqrt(sum(float(g.square().sum()) for g in first))
    moved = [(w + 0.1 * g / norm).detach().requires_grad_() for w, g in zip(start, first, strict=True)]
    second = torch.autograd.grad(loss(moved), moved)
    kata.sam_step(lambda: F.mse_loss(model(x), y), torch.optim.SGD(model.parameters(), lr=0.3), rho=0.1)
    for p, w, g in zip(model.parameters(), start, second, strict=True):
        torch.testing.assert_close(p.detach(), w.detach() - 0.3 * g)
