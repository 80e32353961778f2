"""dl_004's solution against torch.optim and lion-pytorch, and the examples of the papers."""

import math

import pytest
import torch

from grader.answering.module import solution

SHAPES = [(7, 5), (11,), (2, 3, 4), ()]


@pytest.fixture(scope="module")
def kata():
    return solution("dl_004_optimizers")


def walk(make, shapes=SHAPES, steps=40, dtype=torch.float64):
    """Parameters after steps of an optimizer: two groups, changing rates, gradients that are missing at times."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    optimizer = make([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] *= 0.97
        for i, p in enumerate(parameters):
            gradient = torch.randn(p.shape, generator=generator, dtype=dtype)
            p.grad = None if i == 1 and step % 3 == 1 else gradient
        optimizer.step()
    return [p.detach() for p in parameters]


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("SGD", "SGD", {"weight_decay": 0.1}),
        ("SGD", "SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
        ("SGD", "SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adagrad", "Adagrad", {"eps": 1e-3}),
        ("RMSprop", "RMSprop", {"alpha": 0.9, "eps": 1e-3}),
        ("Adam", "Adam", {}),
        ("Adam", "Adam", {"betas": (0.8, 0.95), "eps": 0.1}),
        ("AdamW", "AdamW", {"weight_decay": 0.3}),
        ("Adafactor", "Adafactor", {"weight_decay": 0.1}),
        ("Adafactor", "Adafactor", {"beta2_decay": -0.5, "eps": (1e-2, 0.5), "d": 1.5}),
    ],
)
def test_runs_are_torchs(kata, name, theirs, options):
    ours = walk(lambda groups: getattr(kata, name)(groups, lr=0.05, **options))
    want = walk(lambda groups: getattr(torch.optim, theirs)(groups, lr=0.05, **options))
    for p, q in zip(ours, want, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.7)])
def test_amsgrad_is_torchs(kata, betas):
    ours = walk(lambda groups: kata.AMSGrad(groups, lr=0.05, betas=betas))
    want = walk(lambda groups: torch.optim.Adam(groups, lr=0.05, betas=betas, amsgrad=True))
    for p, q in zip(ours, want, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_is_torchs_up_to_bfloat16(kata, nesterov):
    shapes = [(7, 5), (4, 9), (6, 6)]
    options = {"lr": 0.02, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    ours = walk(lambda groups: kata.Muon(groups, **options), shapes, 10)
    want = walk(lambda groups: torch.optim.Muon(groups, **options), shapes, 10)
    for p, q in zip(ours, want, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=2e-2)


@pytest.mark.reference
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lion_is_lion_pytorchs(kata, decay):
    from lion_pytorch import Lion

    ours = walk(lambda groups: kata.Lion(groups, lr=0.05, betas=(0.8, 0.95), weight_decay=decay))
    want = walk(lambda groups: Lion(groups, lr=0.05, betas=(0.8, 0.95), weight_decay=decay))
    for p, q in zip(ours, want, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_newton_schulz_lands_near_one(kata):
    """Singular values of 0.01 and more, after the division by the norm, end in [0.68, 1.14]."""
    generator = torch.Generator().manual_seed(0)
    low, high = math.inf, 0.0
    for shape in ((30, 40), (64, 20), (50, 50)):
        g = torch.randn(shape, generator=generator, dtype=torch.float64)
        before = torch.linalg.svdvals(g) / g.norm()
        after = torch.linalg.svdvals(kata.newton_schulz(g))
        assert after.min() > 0.68 or before.min() < 0.01
        high = max(high, float(after.max()))
    scale = torch.logspace(-2, 0, 400, dtype=torch.float64)
    for s in scale:  # a matrix with the singular values s and √(1 - s²)
        after = kata.newton_schulz(torch.diag(torch.stack([s, (1 - s**2).clamp(min=1e-4).sqrt()])))
        low, high = min(low, float(after.diagonal().min())), max(high, float(after.diagonal().max()))
    assert low >= 0.68
    assert high <= 1.14


def test_newton_schulz_is_torchs_up_to_bfloat16(kata):
    from torch.optim._muon import _zeropower_via_newtonschulz

    for shape in ((5, 9), (9, 5)):
        g = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        theirs = _zeropower_via_newtonschulz(g, (3.4445, -4.7750, 2.0315), 5, 1e-7)
        torch.testing.assert_close(kata.newton_schulz(g), theirs.double(), rtol=0, atol=2e-2)


@pytest.mark.parametrize("condition", [4.0, 100.0])
def test_tuned_momentum_reaches_its_factor(kata, condition):
    """Ten times as many steps as √κ, twice: the error falls as the factor says, to a few percent a step."""
    eigenvalues = [1.0, condition]
    lr, momentum, factor = kata.momentum_tuning(eigenvalues)
    p = torch.ones(2, dtype=torch.float64)
    optimizer = kata.SGD([p], lr=lr, momentum=momentum)
    sizes = []
    for _ in range(int(20 * math.sqrt(condition)) + 1):
        p.grad = torch.tensor(eigenvalues, dtype=torch.float64) * p
        optimizer.step()
        sizes.append(p.norm().item())
    half = len(sizes) // 2
    rate = (sizes[-1] / sizes[half - 1]) ** (1 / (len(sizes) - half))
    assert rate == pytest.approx(factor, abs=0.05 * (1 - factor) + 0.02)


def test_l2_in_adam_is_divided_away(kata):
    """From 2 with gradient 1 always, lr 0.1, decay 0.5: AdamW ends at 1.43, torch's Adam with weight_decay at 1.70."""
    ends = []
    for make in (kata.AdamW, torch.optim.Adam):
        p = torch.tensor([2.0], dtype=torch.float64)
        optimizer = make([p], lr=0.1, weight_decay=0.5)
        for _ in range(3):
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends.append(p.item())
    assert ends == pytest.approx([1.43, 1.70], abs=0.005)


def test_the_example_on_which_adam_does_not_converge(kata):
    """Reddi et al. 2018, section 3: gradient 1010 in each 101st step, else -10, on [-1, 1]; the best point is -1.

    Their schedule, 300,000 steps at 0.5/√t, is shortened to a tenth: Adam is at 0.99 by then, AMSGrad on its way.
    """
    ends = []
    for make in (kata.Adam, kata.AMSGrad):
        p = torch.zeros((), dtype=torch.float64)
        optimizer = make([p], lr=0.5, betas=(0.9, 0.99))
        for t in range(1, 30_001):
            p.grad = torch.tensor(1010.0 if t % 101 == 1 else -10.0, dtype=torch.float64)
            optimizer.param_groups[0]["lr"] = 0.5 / math.sqrt(t)
            optimizer.step()
            p.clamp_(-1, 1)
        ends.append(p.item())
    assert ends[0] > 0.98
    assert ends[1] < 0
