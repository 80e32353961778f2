"""What `lr_schedules.py` makes, as pictures: run beside it, from inputs of their own. `grader picture dl_007`."""

import contextlib
import math

STEPS = list(range(61))


def ways_down(module):
    """The four kinds of decay over 60 steps."""
    kinds = {
        "step": {"gamma": 0.5, "period": 15},
        "multistep": {"gamma": 0.3, "milestones": [30, 50]},
        "exponential": {"gamma": 0.5, "period": 15},
        "linear": {"n": 60, "floor": 0.1},
    }
    series = {kind: [module.decay(step, kind, **options) for step in STEPS] for kind, options in kinds.items()}
    return {"x": STEPS, "series": series}


def cosines(module):
    """Half a cosine over 50 steps, asked for 60: with a warm-up, with a floor, with neither."""
    ways = {"plain": {}, "w 10": {"w": 10}, "w 10, floor 0.2": {"w": 10, "floor": 0.2}}
    return {
        "x": STEPS,
        "series": {name: [module.cosine(step, 50, **way) for step in STEPS] for name, way in ways.items()},
    }


def restarts(module):
    """Cosines that begin anew: cycles of 10 steps each, and cycles that double from 8."""
    series = {
        "equal": [module.cosine_restarts(step, 10) for step in STEPS],
        "each twice as long": [module.cosine_restarts(step, 8, mult=2) for step in STEPS],
    }
    return {"x": STEPS, "series": series}


def climb_and_descent(module):
    """One cycle of 60 steps: the factor, and the momentum that does the opposite."""
    factors, momenta = zip(*(module.one_cycle(step, 60) for step in STEPS), strict=True)
    return {"x": STEPS, "series": {"factor": factors, "momentum": momenta}}


def one_run_and_three_ends(module):
    """A stable run that has no end, and decays from it that end after 30, 45 and 60 steps."""
    series = {"no end": [module.wsd(step, 5) for step in STEPS]}
    for n, kind in ((30, "linear"), (45, "cosine"), (60, "1-sqrt")):
        branch = [module.wsd(step, 5, n, 12, kind) if n - 12 <= step <= n else None for step in STEPS]
        series[f"{kind}, to {n}"] = branch
    return {"x": STEPS, "series": series}


def loss_in_a_noisy_valley(module):
    """The expected loss with curvatures 1 and 1/100 and noise of variance 1, at rate 1/2 times the factor.

    An error e with curvature c becomes (1 - rate·c)·e - rate·noise: the mean of its square is a recursion, and exact.
    """
    n, w = 1000, 50
    schedules = {
        "wsd": lambda step: module.wsd(step, w, n, 100),
        "constant": lambda step: 1.0,
        "cosine": lambda step: module.cosine(step, n),
        "inverse_sqrt": lambda step: module.inverse_sqrt(step, w),
    }
    series = {}
    for name, schedule in schedules.items():
        with contextlib.nullcontext() if name == "wsd" else contextlib.suppress(NotImplementedError):
            squares, losses = {1.0: 1.0, 0.01: 100.0}, []
            for step in range(n):
                if step % 20 == 0:
                    losses.append(sum(c * square for c, square in squares.items()) / 2)
                rate = schedule(step) / 2
                squares = {c: (1 - rate * c) ** 2 * square + rate**2 for c, square in squares.items()}
            losses.append(sum(c * square for c, square in squares.items()) / 2)
            series[name] = losses
    return {"x": list(range(0, n + 1, 20)), "series": series}


def factor_of_a_plateau(module):
    """A metric that falls in three stretches, and the factor that falls when it stands still."""
    metrics = [2.0 ** -(t // 20) * (1 + math.exp(-(t % 20) / 2)) for t in range(57)]
    plateau = module.Plateau(drop=0.5, patience=5, min_delta=0.02, cooldown=3)
    return {"x": list(range(57)), "series": {"metric": metrics, "factor": [plateau.step(one) for one in metrics]}}
