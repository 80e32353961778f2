"""Runs beside the learner's code: products that count what is asked of them."""

import numpy as np


def products(module, x, mean, start, steps):
    """`power_pca` of points x, how many columns its two products were given, and how many are an identity's."""
    columns = {"times": 0, "transposed": 0, "unit": 0}

    def noted(which, v):
        if np.ndim(v) != 2:
            raise ValueError(f"a product with an array of {np.ndim(v)} axes was asked for; v is (d, c), u is (n, c)")
        columns[which] += v.shape[1]
        columns["unit"] += int((np.count_nonzero(v, axis=0) == 1).sum())

    def times(v):
        noted("times", v)
        return x @ v

    def transposed_times(u):
        noted("transposed", u)
        return x.T @ u

    components, variances = module.power_pca(times, transposed_times, mean, start, steps)
    return {"components": components, "variances": variances, **columns}


def variances_in_turn(module, start, steps, *, turns):
    """The variances that `power_pca` gives for the points of each turn, read when all is done."""
    told = []
    for (x,) in turns:
        products = (lambda v, x=x: x @ v), (lambda u, x=x: x.T @ u)
        told.append(module.power_pca(*products, x.mean(axis=0), start, steps)[1])
    return told


def in_turn(module, name, *rest, turns):
    """What does not hang on signs, of each turn: variances, or the squares of distances; read when all is done."""
    told = [getattr(module, name)(x, *rest) for (x,) in turns]
    if name == "tsne":
        return [((y[:, None] - y) ** 2).sum(axis=-1) for y in told]
    return [{key: one[key] for key in ("mean", "variances", "shares")} for one in told]
