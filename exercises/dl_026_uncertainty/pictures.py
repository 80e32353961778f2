"""What `uncertainty.py` makes, as pictures: run beside it, from own inputs. `grader picture 26` prints them."""

import torch

CLASSES = 8


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _seen(x, sharp=1.0):
    """Logits of points on a line: class k is a bump around k, wider for larger x; sharp > 1 is overconfident."""
    width = torch.exp(0.4 * x[:, None]) / 6
    return (-sharp * (x[:, None] - torch.arange(CLASSES)) ** 2 / (2 * width)).double()


def _drawn(n, seed):
    """Points, the logits of an overconfident network, and labels of the true law."""
    x = torch.rand(n, generator=_seeded(seed), dtype=torch.float64) * (CLASSES - 1)
    labels = torch.multinomial(_seen(x).softmax(dim=1), 1, generator=_seeded(seed + 1))[:, 0]
    return _seen(x, sharp=3.0), labels


def prediction_sets(module):
    """Probabilities of examples from easy to hard, and which classes are in the set."""
    logits, labels = _drawn(500, 0)
    x = torch.tensor([0.1, 0.4, 1.1, 1.6, 2.4, 3.1, 3.7, 4.4, 5.2, 6.1])
    p = _seen(x, sharp=3.0).softmax(dim=1)
    sets = module.adaptive_sets(logits.softmax(dim=1), labels, p, 0.1)
    return {
        "values": p.round(decimals=3),
        "rows": [f"x = {v:.3g}" for v in x.tolist()],
        "columns": [str(k) for k in range(CLASSES)],
        "marks": sets.nonzero().tolist(),
    }


def reliability(module):
    """The share that is right by confidence, before and after the temperature is fitted."""
    logits, labels = _drawn(4_000, 2)
    fitted = module.fit_temperature(*_drawn(1_000, 4))
    middles, series = [(b + 0.5) / 10 for b in range(10)], {}
    for name, t in (("as it is", 1.0), (f"at temperature {fitted:.2f}", fitted)):
        confidence, predicted = (logits / t).softmax(dim=1).max(dim=1)
        right, bins = (predicted == labels).double(), (confidence * 10).long().clamp(max=9)
        counts = [int((bins == b).sum()) for b in range(10)]
        series[name] = [right[bins == b].mean().item() if counts[b] >= 20 else None for b in range(10)]
    return {"x": middles, "series": series | {"calibrated": middles}}


def noise_and_ignorance(module):
    """Both kinds of deviation of an ensemble of cubics that have seen x in [-1, 1] alone."""
    generator = _seeded(6)
    x = torch.rand(60, generator=generator, dtype=torch.float64) * 2 - 1
    y = torch.sin(2 * x) + 0.2 * torch.randn(60, generator=generator, dtype=torch.float64)
    at = torch.linspace(-2, 2, 81, dtype=torch.float64)
    means, variances = [], []
    for _ in range(10):
        some = torch.randint(60, (60,), generator=generator)
        weights = torch.linalg.lstsq(torch.vander(x[some], 4), y[some, None]).solution
        residual = (y[some] - (torch.vander(x[some], 4) @ weights)[:, 0]).square().mean()
        means.append((torch.vander(at, 4) @ weights)[:, 0])
        variances.append(residual.expand(len(at)))
    told = module.mixture(torch.stack(means), torch.stack(variances))
    return {"x": at, "series": {name: told[name].sqrt() for name in ("aleatoric", "epistemic")}}


def intervals(module):
    """A network's 10 % and 90 % quantiles that are too narrow, and what conformal calibration makes of them."""
    generator = _seeded(7)
    x = torch.rand(200, generator=generator, dtype=torch.float64)
    y = (0.2 + x) * torch.randn(200, generator=generator, dtype=torch.float64)
    at = torch.linspace(0, 1, 41, dtype=torch.float64)

    def width(x):
        return 0.6 * (0.2 + x)

    low, high = module.conformal_quantiles(-width(x), width(x), y, -width(at), width(at), 0.2)
    series = {"low": -width(at), "high": width(at), "low, conformal": low, "high, conformal": high}
    return {"x": at, "series": series}


def risk_by_coverage(module):
    """The error rate among the surest examples, by the share that is answered."""
    logits, labels = _drawn(2_000, 8)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    confidence = confidence + 1e-9 * torch.rand(2_000, generator=_seeded(9), dtype=torch.float64)
    risk = module.risk_coverage(confidence, predicted == labels)
    at = torch.arange(100, 2_001, 50)
    return {"x": at / 2_000, "series": {"by confidence": risk[at - 1], "at random": risk[-1].expand(len(at))}}
