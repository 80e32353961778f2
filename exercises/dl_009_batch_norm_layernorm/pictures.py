"""What `batch_norm_layernorm.py` makes, as pictures: run beside it, on its own inputs. `grader picture dl_009`."""

import contextlib

import torch


def _normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _ones(d):
    return torch.ones(d, dtype=torch.float64)


def _zeros(d):
    return torch.zeros(d, dtype=torch.float64)


def statistics_of_tokens(module):
    """Mean and deviation of 24 tokens of 16 features, before the norm and after it."""
    x = _normal(24, 16, seed=0) * torch.linspace(0.3, 3, 24)[:, None] + 4 * torch.linspace(-1, 1, 24).sin()[:, None]
    series = {}
    for when, values in (("before", x), ("after", module.layer_norm(x, _ones(16), _zeros(16)))):
        series[f"mean {when}"] = values.mean(-1).round(decimals=9)
        series[f"deviation {when}"] = values.std(-1, correction=0)
    return {"x": list(range(24)), "series": series}


def what_an_offset_does(module):
    """One feature of 8, where a number is added to all of them: RMSNorm, and LayerNorm where it is there."""
    offsets = torch.linspace(-10, 10, 41, dtype=torch.float64)
    x = _normal(8, seed=3) + offsets[:, None]
    series = {"rms_norm": module.rms_norm(x, _ones(8))[:, 0]}
    with contextlib.suppress(NotImplementedError):
        series["layer_norm"] = module.layer_norm(x, _ones(8), _zeros(8))[:, 0]
    return {"x": offsets, "series": series}


def running_statistics(module):
    """The mean of batches of 8 values around 3, and the running means of two momenta, which begin at 0."""
    batches = _normal(80, 8, seed=0) + 3
    series = {"of the batch": batches.mean(1)}
    for momentum in (0.1, 0.02):
        mean, var, means = _zeros(1), _ones(1), []
        for batch in batches:
            _, mean, var = module.batch_norm(batch[:, None], _ones(1), _zeros(1), mean, var, momentum=momentum)
            means.append(mean.item())
        series[f"momentum {momentum:g}"] = means
    return {"x": list(range(1, 81)), "series": series}


def gradients_in_a_batch(module):
    """The derivative of each output of a batch of 8, one channel, by each input."""
    x = _normal(8, 1, seed=1)
    mean, var = x.mean(0), x.var(0, correction=0)
    rows = [
        module.batch_norm_backward(unit[:, None], x, _ones(1), mean, var)[0][:, 0]
        for unit in torch.eye(8, dtype=torch.float64)
    ]
    return torch.stack(rows)


def who_shares_a_mean(module):
    """Which of the values of 4 examples, 6 channels, 2 places shape the marked output of each norm."""

    def group(groups):
        return lambda x: module.group_norm(x, groups, _ones(6), _zeros(6))

    norms = {"1 group": group(1), "2 groups": group(2), "6 groups": group(6)}
    with contextlib.suppress(NotImplementedError):
        module.batch_norm(torch.zeros(2, 1), torch.ones(1), torch.zeros(1), torch.zeros(1), torch.ones(1))
        norms["batch"] = lambda x: module.batch_norm(x, _ones(6), _zeros(6), _zeros(6), _ones(6))[0]
    values, rows, marks = [], [], []
    for name, norm in norms.items():
        x = _normal(4, 6, 2, seed=2).requires_grad_()
        norm(x)[1, 2, 0].backward()
        marks.append([len(values) + 1, 4])
        values += (x.grad.reshape(4, 12).abs() > 1e-9).double().tolist()
        rows += [f"{name}, n{i}" for i in range(4)]
    return {"values": values, "rows": rows, "columns": [f"c{c}" for c in range(6) for _ in range(2)], "marks": marks}


def variance_on_devices(module):
    """The variance that each of 8 devices sees in its 2 examples, their mean, and that of all 16."""
    x = _normal(8, 2, 1, seed=4)
    means, variances = x.mean(1), x.var(1, correction=0)
    bars = {f"device {i}": variances[i].item() for i in range(8)}
    return {
        **bars,
        "their mean": variances.mean().item(),
        "merged": module.merge_moments([2] * 8, means, variances)[2].item(),
    }


def length_of_a_weight(module):
    """The length of v over 30 steps towards a weight, with gradients that carry noise, at three rates."""
    target, noise, series = _normal(1, 16, seed=5) / 4, _normal(30, 1, 16, seed=7) / 2, {}
    for rate in (0.03, 0.1, 0.3):
        v, g, lengths = _normal(1, 16, seed=6) / 4, _ones(1), []
        for extra in noise:
            lengths.append(v.norm().item())
            dv, dg = module.weight_norm_backward(module.weight_norm(v, g) - target + extra, v, g)
            v, g = v - rate * dv, g - rate * dg
        series[f"rate {rate:g}"] = lengths
    return {"x": list(range(30)), "series": series}
