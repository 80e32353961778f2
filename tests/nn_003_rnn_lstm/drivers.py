"""Runs beside the learner's code: what is kept over several calls, and generators of numpy's, which are no data."""

import copy

import numpy as np


def _arrays(value):
    """All arrays in dicts, lists and tuples."""
    if isinstance(value, np.ndarray):
        return [value]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [one for entry in entries for one in _arrays(entry)]


def _overwritten(old, new):
    """The value of `new`, in the arrays and dicts of `old`."""
    if isinstance(old, dict):
        for name, value in new.items():
            old[name] = _overwritten(old[name], value)
        return old
    if isinstance(old, np.ndarray):
        old[...] = new
        return old
    return new


def kept(module, name, calls):
    """The results of several calls, looked at after the last, and whether one shares memory with what was given.

    mixed: the first call again, after each of its arguments, from the last on, got the values of the second in place.
    """
    results, mixed, shared = [], [], False
    for given in calls:
        results.append(getattr(module, name)(*given))
        own = _arrays(results[-1])
        shared = shared or any(np.may_share_memory(a, b) for a in own for b in _arrays(list(given)))
    given = list(copy.deepcopy(calls[0]))
    getattr(module, name)(*given)
    for k in reversed(range(len(given))):
        given[k] = _overwritten(given[k], calls[1][k])
        mixed.append(getattr(module, name)(*given))
    return {"results": results, "shared": bool(shared), "mixed": mixed}


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
    """Whether results share memory with x, or change with those of another call: while training and in evaluation."""
    found = {}
    for name, training in (("training", True), ("evaluation", False)):
        first, second = (
            module.variational_dropout(x, p, np.random.default_rng(seed), training=training) for _ in range(2)
        )
        shared = any(np.may_share_memory(one, x) for one in (*first, *second))
        before = [one.copy() for one in second]
        for one in first:
            if one.flags.writeable:
                one += 1000
        changed = any(not np.array_equal(a, b) for a, b in zip(second, before, strict=True))
        third = module.variational_dropout(x, p, np.random.default_rng(seed), training=training)
        changed = changed or any(not np.array_equal(a, b) for a, b in zip(third, before, strict=True))
        found[name] = {"shared": bool(shared), "changed": bool(changed)}
    return found


def masks(module, shape, p, seed, calls):
    """The masks of so many calls with one generator, stacked."""
    rng = np.random.default_rng(seed)
    x = np.random.default_rng([seed, 1]).normal(size=shape)
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
