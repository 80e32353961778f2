"""Runs beside the learner's code: calls with generators of numpy's, which are no data."""

import numpy as np


def _forgetting(seed):
    """Seed the global state of numpy, which is put back by whoever asked; returns it."""
    np.random.seed(seed)
    return np.random.get_state()


def dropped(module, x, p, seed, **options):
    """`variational_dropout` with a generator of this seed; None for none."""
    return module.variational_dropout(x, p, None if seed is None else np.random.default_rng(seed), **options)


def masks(module, shape, p, seed, calls):
    """The masks of so many calls with one generator, stacked."""
    rng, x = np.random.default_rng(seed), np.ones(shape)
    return np.stack([module.variational_dropout(x, p, rng)[1] for _ in range(calls)])


def drawing(module, x, p, seed):
    """Masks from generators in several states while numpy's global state is another, and what was done to states."""
    kept = np.random.get_state()
    try:
        before = _forgetting(1)
        rng = np.random.default_rng(seed)
        start = rng.bit_generator.state
        first = module.variational_dropout(x, p, rng)[1].copy()
        used = rng.bit_generator.state != start
        moved = any(np.any(a != b) for a, b in zip(before[1:], np.random.get_state()[1:], strict=True))
        again = module.variational_dropout(x, p, rng)[1].copy()
        _forgetting(2)
        equal = module.variational_dropout(x, p, np.random.default_rng(seed))[1].copy()
        advanced = np.random.default_rng(seed)
        advanced.random(3)
        later = module.variational_dropout(x, p, advanced)[1].copy()
        other = module.variational_dropout(x, p, np.random.default_rng(seed + 1))[1].copy()
        idle = np.random.default_rng(seed)
        module.variational_dropout(x, p, idle, training=False)
        idle_used = idle.bit_generator.state != start
    finally:
        np.random.set_state(kept)
    seen = {"first": first, "equal": equal, "again": again, "later": later, "other": other}
    return {**seen, "used": bool(used), "moved": bool(moved), "idle_used": bool(idle_used)}
