"""What `time_series.py` makes, as pictures: run beside it, from own inputs. `grader picture 27` prints them."""

import math

import torch
from torch import nn

PAST, AHEAD, YEAR = 24, 12, 12


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _sold(sizes, seed):
    """Counts of three years with a yearly wave, (b, 36), one row for each size, and covariates (b, 36, 2)."""
    angle = 2 * math.pi * torch.arange(PAST + AHEAD) / YEAR
    mean = sizes[:, None] * torch.exp(0.7 * angle.sin())
    rate = torch._standard_gamma(torch.full_like(mean, 8.0), generator=_seeded(seed)) / 8 * mean
    waves = torch.stack([angle.sin(), angle.cos()], dim=1)
    return torch.poisson(rate, generator=_seeded(seed + 1)), waves.expand(len(sizes), -1, -1)


def _train(model, counts, waves, steps):
    """Adam in a few lines: torch's own takes a second to load."""
    parameters = list(model.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, steps + 1):
        grads = torch.autograd.grad(model.loss(counts[:, :PAST], counts[:, PAST:], waves), parameters)
        with torch.no_grad():
            for p, g, m, v in zip(parameters, grads, first, second, strict=True):
                m.lerp_(g, 0.1)
                v.lerp_(g.square(), 0.01)
                p -= 0.05 * m / (1 - 0.9**step) / ((v / (1 - 0.99**step)).sqrt() + 1e-8)


def forecast_with_its_quantiles(module):
    """A small DeepAR after 60 steps of training: a series that it has not seen, and the quantiles of its paths."""
    counts, waves = _sold(torch.linspace(4.0, 60.0, 24), 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = module.DeepAR(covariates=2, hidden=8)
    _train(model, counts, waves, steps=60)
    new, waves = _sold(torch.tensor([30.0]), 2)
    paths = module.sample_paths(model, new[:, :PAST], waves, 400, generator=_seeded(3))[:, 0]
    gap = [None] * PAST
    told = {f"{level:.0%} of the paths": [*gap, *paths.quantile(level, dim=0).tolist()] for level in (0.1, 0.5, 0.9)}
    seen = {"seen": [*new[0, :PAST].tolist(), *[None] * AHEAD], "what came": [*gap, *new[0, PAST:].tolist()]}
    return {"x": list(range(-PAST, AHEAD)), "series": seen | told}


def trend_and_waves(module):
    """A line that bends, with a wave on it: values with a gap, and what the fit says of them and of what follows."""
    times = torch.arange(60, dtype=torch.float64)
    noise = torch.randn(60, generator=_seeded(4), dtype=torch.float64)
    values = 10 + 0.5 * times - 0.8 * (times - 30).clamp(min=0) + 3 * (2 * math.pi * times / 12).sin() + noise
    values[18:25] = math.nan
    at = torch.arange(84, dtype=torch.float64)
    trend, season = module.trend_and_season(times, values, at, torch.tensor([30.0]).double(), [(12.0, 2)])
    shown = [None if math.isnan(v) else v for v in values.tolist()]
    return {"x": at, "series": {"seen": [*shown, *[None] * 24], "trend": trend, "trend and season": trend + season}}


def room_for_bursts(module):
    """The probability of each count at the mean 10, for three shapes."""
    counts = torch.arange(41, dtype=torch.float64)
    series = {}
    for alpha in (1e-4, 0.2, 1.0):
        law = module.negative_binomial(counts, torch.full_like(counts, 10.0), torch.full_like(counts, alpha)).exp()
        series[f"alpha {alpha:g}"] = law
    return {"x": counts, "series": series}


def where_each_level_leans(module):
    """The pinball loss of each constant, for targets 1 ... 99 and three levels."""
    target, at = torch.arange(1.0, 100.0), torch.arange(0.0, 101.0, 2)
    series = {}
    for level in (0.1, 0.5, 0.9):
        losses = [module.pinball_loss(target, torch.full((99, 1), float(q)), torch.tensor([level])) for q in at]
        series[f"level {level:g}"] = [float(loss) for loss in losses]
    return {"x": at, "series": series}


def what_each_step_reads(module):
    """Mean weights of an attention whose queries and keys are the phase of a wave with six steps."""
    angle = 2 * math.pi * torch.arange(24) / 6
    x = torch.stack([angle.sin(), angle.cos()], dim=1)[None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer = module.InterpretableAttention(features=2, heads=1)
    with torch.no_grad():
        for one in (layer.query, layer.key):
            nn.init.eye_(one.weight).mul_(2)
        _, weights = layer(x)
    return weights[0].round(decimals=3)


def naive_or_not(module):
    """The MASE of simple forecasters at four origins, for series with a season and a trend."""
    times = torch.arange(48)
    noise = torch.randn(5, 48, generator=_seeded(6))
    series = 20 + 0.2 * times + 6 * (2 * math.pi * times / 12).sin() + noise

    def mean(past, horizon):
        return past.mean(dim=1, keepdim=True).expand(-1, horizon)

    def last(past, horizon):
        return past[:, -1:].expand(-1, horizon)

    def year_and_trend(past, horizon):
        grown = past[:, -YEAR:].mean(dim=1, keepdim=True) - past[:, -2 * YEAR : -YEAR].mean(dim=1, keepdim=True)
        return past[:, -YEAR:][:, :horizon] + grown

    tried = {"the mean": mean, "the last value": last, "a year ago, and the growth": year_and_trend}
    _, scores = module.choose_forecaster(series, tried, [26, 30, 33, 36], 12, YEAR)
    return scores
