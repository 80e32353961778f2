"""What `dim_reduction.py` makes, as pictures: run beside it, from inputs of their own. `grader picture` prints them."""

import numpy as np


def _groups(sizes, d=10, far=4.0, seed=3):
    """Points of several groups, normal around random centres, and the group of each."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return far * rng.normal(size=(len(sizes), d))[which] + rng.normal(size=(len(which), d)), which


def an_embedding_unfolds(module):
    """t-SNE of five groups at six times, side by side."""
    x, which = _groups([12] * 5)
    panels = []
    for k, steps in enumerate((0, 60, 100, 130, 200, 500)):
        y = module.tsne(x, 8.0, steps)
        panels.append(y / np.abs(y).max() + [2.4 * (k % 3), -2.4 * (k // 3)])
    return {"points": np.concatenate(panels), "groups": [f"group {one + 1}" for one in which] * len(panels)}


def neighbours_of_a_point(module):
    """p(j|i) of one point at six perplexities, its neighbours sorted."""
    x, _ = _groups([40], seed=1)
    square = np.array([[((a - b) ** 2).sum() for b in x] for a in x])
    rows = []
    for perplexity in (1.5, 3, 5, 10, 20, 35):
        row = np.sort(module.conditional_probabilities(square, perplexity)[0])[::-1]
        rows.append(row[:30] / row[0])
    return {"values": np.array(rows), "rows": ["1.5", "3", "5", "10", "20", "35"]}


def union_of_views(module):
    """UMAP's graph of 30 points, the last ten of them ten times as far apart."""
    x, which = _groups([10, 10, 10], d=4, far=6.0)
    x[which == 2] = x[which == 2].mean(axis=0) + 10 * (x[which == 2] - x[which == 2].mean(axis=0))
    return module.fuzzy_graph(np.sqrt([[((a - b) ** 2).sum() for b in x] for a in x]), 6)


def curves_of_min_dist(module):
    """1 / (1 + a r^2b) for four values of min_dist."""
    r = np.linspace(0, 3, 61)
    series = {}
    for min_dist in (0.01, 0.1, 0.5, 0.9):
        a, b = module.curve_parameters(min_dist)
        series[f"min_dist {min_dist}"] = 1 / (1 + a * r ** (2 * b))
    return {"x": r, "series": series}


def shares_of_variance(module):
    """What each of ten components holds of the variance of five groups."""
    x, _ = _groups([12] * 5)
    return {str(k + 1): float(share) for k, share in enumerate(module.pca(x, 10)["shares"])}
