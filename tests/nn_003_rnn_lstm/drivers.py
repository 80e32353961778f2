"""Runs beside the learner's code: what is kept over several calls, and generators of numpy's, which are no data."""

import numpy as np


def _arrays(value):
    """All arrays in dicts, lists and tuples."""
    if isinstance(value, np.ndarray):
        return [value]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [one for entry in entries for one in _arrays(entry)]


def kept(module, name, calls):
    """The results of several calls, looked at after the last, and whether one shares memory with what was given."""
    results, shared = [], False
    for given in calls:
        results.append(getattr(module, name)(*given))
        own = _arrays(results[-1])
        shared = shared or any(np.may_share_memory(a, b) for a in own for b in _arrays(list(given)))
    return {"results": results, "shared": bool(shared)}


def carried(module, name, steps, states, weights, *options):
    """A step again and again, its states carried along: what each gave, looked at after the last."""
    results = []
    for x in steps:
        results.append(getattr(module, name)(x, *states, weights, *options))
        states = results[-1][: len(states)]
    return results


def dropped(module, x, p, seed, **options):
    """`variational_dropout` with a generator of this seed; None for none."""
    return module.variational_dropout(x, p, None if seed is None else np.random.default_rng(seed), **options)


def untouched(module, x, p, seed):
    """Whether x changes with what `variational_dropout` returned, while training and in evaluation."""
    changed = []
    for training in (True, False):
        given = x.copy()
        for result in module.variational_dropout(given, p, np.random.default_rng(seed), training=training):
            if result.flags.writeable:
                result += 1000
        changed.append(not np.array_equal(given, x))
    return {"training": changed[0], "evaluation": changed[1]}


def masks(module, shape, p, seed, calls):
    """The masks of so many calls with one generator, stacked."""
    rng, x = np.random.default_rng(seed), np.ones(shape)
    return np.stack([module.variational_dropout(x, p, rng)[1] for _ in range(calls)])


def mask(module, x, p, rng):
    """The mask of one call."""
    return module.variational_dropout(x, p, rng)[1].copy()


def idle(module, x, p, seed):
    """Whether a call in evaluation changes the state of its generator."""
    rng = np.random.default_rng(seed)
    start = rng.bit_generator.state
    module.variational_dropout(x, p, rng, training=False)
    return bool(rng.bit_generator.state != start)
