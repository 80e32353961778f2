"""dl_007's solution against torch.optim.lr_scheduler, transformers, cs336's numbers, and the figures of the papers."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from grader.answering.module import solution
from grader.bank.catalog import find_house


@pytest.fixture(scope="module")
def kata():
    return solution("dl_007_lr_schedules")


def optimizer(rate=1.0, **options):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, **options)


def walked(make, steps, key="lr"):
    """What a scheduler writes at steps 0, ..., steps - 1."""
    opt = optimizer(momentum=0.9)
    scheduler, told = make(opt), []
    for _ in range(steps):
        told.append(opt.param_groups[0][key])
        opt.step()
        scheduler.step()
    return told


def test_warmup_is_linear_lr(kata):
    want = walked(lambda opt: lr_scheduler.LinearLR(opt, 0.2, 1.0, 7), 12)
    assert [kata.warmup(step, 7, 0.2) for step in range(12)] == pytest.approx(want)


@pytest.mark.parametrize(
    ("make", "kind", "options"),
    [
        (lambda opt: lr_scheduler.StepLR(opt, 4, 0.3), "step", {"period": 4, "gamma": 0.3}),
        (
            lambda opt: lr_scheduler.MultiStepLR(opt, [9, 3, 9], 0.3),
            "multistep",
            {"milestones": [9, 3, 9], "gamma": 0.3},
        ),
        (lambda opt: lr_scheduler.ExponentialLR(opt, 0.9), "exponential", {"gamma": 0.9}),
        (lambda opt: lr_scheduler.LinearLR(opt, 1.0, 0.25, 11), "linear", {"n": 11, "floor": 0.25}),
    ],
)
def test_decay_is_torchs(kata, make, kind, options):
    assert [kata.decay(step, kind, **options) for step in range(20)] == pytest.approx(walked(make, 20))


def test_cosine_is_torchs_until_its_end(kata):
    """With a warm-up by SequentialLR; after the end torch's goes up again, and is back at the peak one length later."""

    def make(opt):
        first = lr_scheduler.LinearLR(opt, 1e-12, 1.0, 6)
        return lr_scheduler.SequentialLR(opt, [first, lr_scheduler.CosineAnnealingLR(opt, 15, 0.1)], [6])

    want = walked(make, 40)
    got = [kata.cosine(step, 21, 6, 0.1) for step in range(40)]
    assert got[:22] == pytest.approx(want[:22], abs=1e-9)
    assert got[22:] == [0.1] * 18
    assert want[22] > 0.1
    assert want[36] == pytest.approx(1.0)


def test_restarts_are_torchs(kata):
    """Stepped one by one torch keeps ints; asked for step 847 of period 7, ×3 it takes a logarithm, and misses."""
    for period, mult in ((5, 1), (2, 2), (7, 3)):
        want = walked(lambda opt, p=period, m=mult: lr_scheduler.CosineAnnealingWarmRestarts(opt, p, m, 0.1), 900)
        assert [kata.cosine_restarts(step, period, mult, 0.1) for step in range(900)] == pytest.approx(want)
    opt = optimizer()
    lr_scheduler.CosineAnnealingWarmRestarts(opt, 7, 3).step(847)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.0)
    assert kata.cosine_restarts(847, 7, 3) == 1.0
    assert 7 * (3**5 - 1) // 2 == 847  # the fifth restart
    assert math.log(243, 3) < 5


@pytest.mark.parametrize(("n", "rise"), [(10, 0.3), (37, 0.3), (40, 0.25), (23, 0.61)])
def test_one_cycle_is_torchs(kata, n, rise):
    for i, key in enumerate(("lr", "momentum")):
        opt = optimizer(momentum=0.9)
        scheduler, want = lr_scheduler.OneCycleLR(opt, 1.0, total_steps=n, pct_start=rise), []
        for step in range(n):
            want.append(opt.param_groups[0][key])
            if step < n - 1:
                opt.step()
                scheduler.step()
        assert [kata.one_cycle(step, n, rise)[i] for step in range(n)] == pytest.approx(want)
    assert kata.one_cycle(n, n, rise) == (1 / 25 / 1e4, 0.95)  # where torch's raises


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_is_torchs(kata, mode):
    draws = torch.Generator().manual_seed(0)
    for patience, cooldown, min_delta in ((0, 0, 0.0), (2, 0, 0.5), (1, 3, 0.25), (3, 2, 1.0), (10, 0, 0.0)):
        opt = optimizer()
        theirs = lr_scheduler.ReduceLROnPlateau(
            opt, mode, 0.5, patience, min_delta, "abs", cooldown, min_lr=1e-3, eps=0.0
        )
        mine = kata.Plateau(0.5, patience, min_delta, cooldown, 1e-3, mode)
        for metric in (torch.randint(0, 40, (200,), generator=draws) / 4).tolist() + [math.nan] * 15:
            theirs.step(metric)
            assert mine.step(metric) == pytest.approx(opt.param_groups[0]["lr"])


def test_scheduler_drives_torchs_optimizer(kata):
    """With real groups, as torch's LambdaLR; and an optimizer that loads its state gets other dicts."""

    def made():
        a, b = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
        return torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 2.0}], lr=1.0, momentum=0.9)

    def rates(opt):
        return [group["lr"] for group in opt.param_groups]

    schedule = torch.rand(20, generator=torch.Generator().manual_seed(0)).tolist().__getitem__
    mine, theirs = made(), made()
    scheduler, lambda_lr = kata.Scheduler(mine, schedule), lr_scheduler.LambdaLR(theirs, schedule)
    for _ in range(7):
        theirs.step()
        scheduler.step()
        lambda_lr.step()
        assert rates(mine) == pytest.approx(rates(theirs))
    fresh = made()
    resumed = kata.Scheduler(fresh, schedule)
    held = fresh.param_groups[0]
    fresh.load_state_dict(mine.state_dict())
    assert fresh.param_groups[0] is not held  # loading puts other dicts there
    resumed.load_state_dict(scheduler.state_dict())
    for _ in range(7):
        scheduler.step()
        resumed.step()
        assert rates(fresh) == rates(mine)


def lambdas(name, steps, *args, **options):
    import transformers.optimization

    return walked(lambda opt: getattr(transformers.optimization, name)(opt, *args, **options), steps)


@pytest.mark.reference
def test_transformers_schedules_are_these(kata):
    steps = range(40)
    want = lambdas("get_constant_schedule_with_warmup", 40, 7)
    assert [kata.warmup(step, 7) for step in steps] == pytest.approx(want)
    want = lambdas("get_cosine_schedule_with_warmup", 40, 7, 31)
    assert [kata.cosine(step, 31, 7) for step in range(32)] == pytest.approx(want[:32])
    assert want[39] > 0.2  # it rises again, as torch's does
    want = lambdas("get_cosine_with_min_lr_schedule_with_warmup", 32, 7, 31, min_lr_rate=0.1)
    assert [kata.cosine(step, 31, 7, 0.1) for step in range(32)] == pytest.approx(want)
    for timescale in (None, 23):
        want = lambdas("get_inverse_sqrt_schedule", 40, 7, timescale)
        assert [kata.inverse_sqrt(step, 7, timescale) for step in steps] == pytest.approx(want)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["linear", "cosine", "1-sqrt"])
def test_wsd_is_transformers(kata, kind):
    want = lambdas("get_wsd_schedule", 40, 5, 11, 31, decay_type=kind)
    assert [kata.wsd(step, 5, 31, 11, kind) for step in range(40)] == pytest.approx(want)
    want = lambdas("get_wsd_schedule", 40, 5, 11, 31, decay_type=kind, min_lr_ratio=0.2)
    got = [kata.wsd(step, 5, 31, 11, kind, 0.2) for step in range(40)]
    assert got[5:] == pytest.approx(want[5:])  # their warm-up begins at the floor


def test_cosine_is_that_of_cs336(kata):
    """The 25 numbers of test_get_lr_cosine_schedule in Stanford's assignment 1 (from step 7 on; before: step / 7)."""
    want = [step / 7 for step in range(7)] + [1.0, 0.9887175604818206, 0.9554359905560885, 0.9018241671106134]
    want += [0.8305704108364301, 0.7452476826029011, 0.6501344202803414, 0.55, 0.44986557971965857]
    want += [0.3547523173970989, 0.26942958916356996, 0.19817583288938662, 0.14456400944391146, 0.11128243951817937]
    want += [0.1] * 4
    assert len(want) == 25
    assert [kata.cosine(step, 21, 7, 0.1) for step in range(25)] == pytest.approx(want, rel=1e-12)


def test_the_transformers_peak(kata):
    d, w = 512, 4000
    rates = {t: kata.inverse_sqrt(t, w) / math.sqrt(d * w) for t in (1, 100, 3999, 4000, 4001, 100_000)}
    for t, rate in rates.items():
        assert rate == pytest.approx(d**-0.5 * min(t**-0.5, t * w**-1.5))
    assert max(rates.values()) == rates[4000] == pytest.approx(6.99e-4, rel=1e-3)
    assert w / 100_000 == 0.04  # the share of the base model's steps


def test_shares_of_warmup():
    """BERT 10,000 of 1 M steps, Llama 3 8,000 of 1.2 M, GPT-3 375 M of 300 B tokens."""
    shares = [10_000 / 1e6, 8_000 / 1.2e6, 375e6 / 300e9]
    assert [round(100 * share, 3) for share in shares] == [1.0, 0.667, 0.125]


def test_linear_rule_of_goyal(kata):
    assert kata.batch_scaling(0.1, 1, 256, 8192)[0] == pytest.approx(3.2)


@pytest.mark.reference
def test_adams_root_is_noisy_at_first():
    """99 % quantiles of 1 / √v̂ for Gaussian gradients: exactly after one step, near enough after 50 (β₂ = 0.999)."""
    from scipy.stats import chi2

    assert 1 / math.sqrt(chi2.ppf(0.01, 1)) == pytest.approx(79.8, abs=0.1)
    assert 1 / math.sqrt(chi2.ppf(0.01, 50) / 50) == pytest.approx(1.30, abs=0.01)
    g = torch.randn(50, 100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = 0.999 ** torch.arange(49, -1, -1, dtype=torch.float64)
    v = (weights[:, None] * g**2).sum(0) / weights.sum()
    assert v.rsqrt().quantile(0.99).item() == pytest.approx(1.30, abs=0.02)


def test_first_step_of_adam_is_the_rate():
    for size in (1e-4, 1.0, 1e6):
        p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        p.grad = torch.full((1,), size, dtype=torch.float64)
        torch.optim.Adam([p], lr=0.01, eps=1e-30).step()
        assert p.item() == pytest.approx(-0.01)


def test_what_a_schedule_is_for(kata):
    """The table of the statement: expected loss with curvatures 1 and 1/100, rate 1/2, noise of variance 1."""

    def losses(factor):
        errors, told = {1.0: 1.0, 0.01: 100.0}, {}
        for step in range(1000):
            rate = 0.5 * factor(step)
            errors = {c: (1 - rate * c) ** 2 * e + rate**2 for c, e in errors.items()}
            told[step + 1] = sum(c * e / 2 for c, e in errors.items())
        return " ".join(f"{told[step]:.2g}" for step in (100, 500, 900, 1000))

    assert losses(lambda step: 1.0) == "0.43 0.29 0.29 0.29"
    assert losses(lambda step: kata.cosine(step, 1000)) == "0.42 0.17 0.064 0.062"
    assert losses(lambda step: kata.decay(step, "linear", n=1000)) == "0.41 0.16 0.068 0.057"
    assert losses(lambda step: kata.inverse_sqrt(step, 50)) == "0.41 0.14 0.086 0.079"
    assert losses(lambda step: kata.wsd(step, 50, 1000, 100)) == "0.46 0.3 0.29 0.12"


def test_a_cosine_that_is_cut_or_too_long(kata):
    """The numbers of the questions: 0.21 at 70 % of the way; torch's back at 0.5 at 150 %."""
    assert kata.cosine(70_000, 100_000) == pytest.approx(0.21, abs=0.005)
    assert walked(lambda opt: lr_scheduler.CosineAnnealingLR(opt, 10), 16)[15] == pytest.approx(0.5)


def test_the_figure_of_the_statement(kata):
    """Each row of eight heights is what the solution gives at steps 0 to 59."""
    rows = {
        "warmup": lambda s: kata.warmup(s, 12),
        "decay": lambda s: kata.decay(s, "step", gamma=0.5, period=12),
        "cosine": lambda s: kata.cosine(s, 54, 6, 0.1),
        "cosine_restarts": lambda s: kata.cosine_restarts(s, 8, 2),
        "inverse_sqrt": lambda s: kata.inverse_sqrt(s, 6),
        "one_cycle": lambda s: kata.one_cycle(s, 54)[0],
        "its momentum": lambda s: 10 * (kata.one_cycle(s, 54)[1] - 0.85),
        "wsd": lambda s: kata.wsd(s, 6, 54, 14),
    }
    page = (find_house().root / "exercises/dl_007_lr_schedules/README.md").read_text(encoding="utf-8")
    drawn = [line.strip() for line in page.splitlines() if "▁" in line]
    assert len(drawn) == len(rows)
    for (name, factor), line in zip(rows.items(), drawn, strict=True):
        heights = "".join("▁▂▃▄▅▆▇█"[min(7, int(7.999 * factor(step)))] for step in range(60))
        assert line.startswith(name)
        assert line.endswith(heights)
