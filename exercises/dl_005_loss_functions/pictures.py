"""What `loss_functions.py` makes, as pictures: run beside it, on its own inputs. `grader picture dl_005`."""

import math

import torch

REGRESSION = {
    "mse": {},
    "mae": {},
    "huber": {},
    "quantile": {"quantile": 0.9},
}


def _line(begin, end, count):
    return torch.linspace(begin, end, count, dtype=torch.float64)


def gradient_of_classes(module):
    """The gradient of cross-entropy by its logits: four examples of three classes, the last with a target to ignore."""
    z = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    module.cross_entropy(z, torch.tensor([0, 1, 2, -100])).backward()
    rows = ["sure, right", "sure, wrong", "unsure", "ignored"]
    return {"values": z.grad, "rows": rows, "columns": ["0", "1", "2"]}


def gradients_of_a_logit(module):
    """What a logit is told by squared error and by cross-entropy, where the target is 1."""
    z = _line(-8, 8, 65)
    squared, entropy = module.saturation_gradients(z, torch.ones_like(z))
    return {"x": z, "series": {"squared error": squared, "cross-entropy": entropy}}


def loss_of_an_error(module):
    """Four losses by the error target - prediction; the quantile is 0.9."""
    r, zero = torch.arange(-30, 31, dtype=torch.float64) / 10, torch.zeros(1, dtype=torch.float64)
    series = {
        kind: [module.regression_loss(kind, zero, one.view(1), **options).item() for one in r]
        for kind, options in REGRESSION.items()
    }
    return {"x": r, "series": series}


def pull_of_an_error(module):
    """How hard each loss pulls at the prediction, by the error: minus its gradient."""
    r, series = torch.arange(-29.5, 30, dtype=torch.float64) / 10, {}
    for kind, options in REGRESSION.items():
        prediction = torch.zeros(60, dtype=torch.float64, requires_grad=True)
        module.regression_loss(kind, prediction, r, **options).backward()
        series[kind] = -60 * prediction.grad
    return {"x": r, "series": series}


def loss_of_what_is_easy(module):
    """Focal loss by the probability of the right class, for four values of gamma."""
    p = _line(0.02, 0.98, 49)
    series = {}
    for gamma in (0.0, 0.5, 2.0, 5.0):
        losses = [
            module.focal_loss(z.view(1), torch.ones(1, dtype=torch.float64), gamma).item() for z in torch.logit(p)
        ]
        series[f"gamma {gamma:g}"] = losses
    return {"x": p, "series": series}


def loss_of_a_pair(module):
    """The contrastive loss of one pair by its distance, with margin 1."""
    distances, a = _line(0, 1.5, 61), torch.zeros(1, 1, dtype=torch.float64)
    series = {
        name: [module.contrastive_loss(a, d.view(1, 1), torch.tensor([same])).item() for d in distances]
        for name, same in (("similar", True), ("different", False))
    }
    return {"x": distances, "series": series}


def loss_by_batch(module):
    """The loss of pairs that are equal, by how many there are, for three temperatures; and what guessing costs."""
    sizes = [2**k for k in range(1, 10)]
    x = torch.randn(512, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    series = {"guessing": [math.log(n) for n in sizes]}
    for temperature in (1.0, 0.2, 0.07):
        losses = [module.info_nce(x[:n], x[:n], temperature).item() for n in sizes]
        series[f"temperature {temperature:g}"] = losses
    return {"x": sizes, "series": series}


def both_divergences(module):
    """KL(q ‖ p) and KL(p ‖ q), where p is a standard Gaussian and q has the same mean, by the deviation of q."""
    deviations = torch.logspace(-0.7, 0.7, 57, dtype=torch.float64)[:, None]
    zero, log_variance = torch.zeros_like(deviations), 2 * deviations.log()
    series = {
        "KL(q ‖ p)": module.gaussian_kl(zero, log_variance, zero, zero),
        "KL(p ‖ q)": module.gaussian_kl(zero, zero, zero, log_variance),
    }
    return {"x": deviations.flatten(), "series": series}
