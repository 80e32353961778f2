"""What `optimizers.py` makes, as pictures: run beside it, on its own inputs. `grader picture dl_004` prints them."""

import contextlib
import math

import torch


def _descent(make, curvatures, start, steps, degrees=0.0):
    """The places of a walk through ½·pᵀHp, and its losses. make: an optimizer, from a list of one parameter."""
    turn = math.radians(degrees)
    axes = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    h = axes @ torch.diag(torch.tensor(curvatures, dtype=torch.float64)) @ axes.T
    p = axes @ torch.tensor(start, dtype=torch.float64)
    optimizer, places, losses = make([p]), [], []
    for _ in range(steps):
        places.append(p.tolist())
        losses.append((p @ h @ p).item() / 2)
        p.grad = h @ p
        optimizer.step()
    return places, losses


def descent_with_momentum(module):
    """The loss of 60 steps in a valley with curvatures 1 and 100: three ways of SGD, each at a rate that suits it."""
    ways = {
        "plain": {"lr": 2 / 101},
        "momentum 0.67": {"lr": 0.033, "momentum": 0.67},
        "Nesterov 0.82": {"lr": 0.01, "momentum": 0.82, "nesterov": True},
    }
    series = {
        name: _descent(lambda p, way=way: module.SGD(p, **way), [1.0, 100.0], [1.0, 1.0], 60)[1]
        for name, way in ways.items()
    }
    return {"x": list(range(60)), "series": series}


def factor_by_condition(module):
    """By how much an error shrinks in a step, at best, with eigenvalues 1 to κ: with momentum, and without."""
    conditions = [10 ** (k / 8) for k in range(1, 30)]
    tuned = [module.momentum_tuning([1.0, condition])[2] for condition in conditions]
    plain = [(condition - 1) / (condition + 1) for condition in conditions]
    return {"x": conditions, "series": {"without momentum": plain, "with momentum": tuned}}


def size_of_a_step(module):
    """How far an entry moves in each of 60 steps with gradient 1, at rate 1."""
    series = {}
    for name, make in {
        "Adagrad": lambda p: module.Adagrad(p, lr=1.0),
        "RMSprop, alpha 0.9": lambda p: module.RMSprop(p, lr=1.0, alpha=0.9),
    }.items():
        p = torch.zeros(1, dtype=torch.float64)
        optimizer, series[name] = make([p]), []
        for _ in range(60):
            before = p.item()
            p.grad = torch.ones(1, dtype=torch.float64)
            optimizer.step()
            series[name].append(before - p.item())
    return {"x": list(range(1, 61)), "series": series}


def paths_on_a_ravine(module):
    """Where 24 steps lead in a valley of curvatures 1 and 25: Adam from the right, from the left SGD, if it is there.

    The two sides are alike, and so no path lies over the other.
    """
    right, _ = _descent(lambda p: module.Adam(p, lr=0.3), [1.0, 25.0], [4.0, 1.0], 24)
    left = []
    with contextlib.suppress(NotImplementedError):
        left, _ = _descent(lambda p: module.SGD(p, lr=0.074), [1.0, 25.0], [-4.0, 1.0], 24)
    return {"points": left + right, "groups": ["SGD"] * len(left) + ["Adam"] * len(right)}


def adam_in_a_turned_valley(module):
    """The loss of 100 steps of Adam with curvatures 1 and 100, along the axes and turned."""
    series = {
        f"turned by {degrees}°": _descent(
            lambda p: module.Adam(p, lr=0.1), [1.0, 100.0], [1.0, 1.0], 100, degrees=degrees
        )[1]
        for degrees in (0, 10, 45)
    }
    return {"x": list(range(100)), "series": series}


def decay_beside_gradients(module):
    """A weight under decay, with gradients that change their sign: AdamW, and Adam with the decay in its gradient."""
    series = {}
    for name, make, in_gradient in (
        ("AdamW", lambda p: module.AdamW(p, lr=0.01, weight_decay=1.0), 0.0),
        ("L2", lambda p: module.Adam(p, lr=0.01), 1.0),
    ):
        for size in (0.1, 10.0):
            p = torch.ones(1, dtype=torch.float64)
            optimizer, held = make([p]), []
            for step in range(150):
                held.append(p.item())
                p.grad = size * (-1) ** step + in_gradient * p
                optimizer.step()
            series[f"{name}, ±{size:g}"] = held
    return {"x": list(range(150)), "series": series}


def singular_values(module):
    """What the iteration makes of each singular value after 1, 3 and 5 steps."""
    s = torch.logspace(-3, 0, 121, dtype=torch.float64)
    s = s / s.norm()
    series = {
        f"{steps} step{'s' if steps > 1 else ''}": module.newton_schulz(s.diag(), steps).diag() for steps in (1, 3, 5)
    }
    return {"x": s, "series": series}
