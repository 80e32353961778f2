"""dl_023's solution against scikit-learn, scipy and umap-learn, and the published a and b of UMAP."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_023_dim_reduction")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.reference
@pytest.mark.parametrize(("n", "d"), [(31, 6), (8, 20)])
def test_pca_is_scikit_learns(kata, n, d):
    from sklearn.decomposition import PCA

    x = drawn(n, d) + 3
    want, got = PCA(4, svd_solver="full").fit(x), kata.pca(x, 4)
    np.testing.assert_allclose(got["variances"], want.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(got["shares"], want.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(abs(got["components"]), abs(want.components_), atol=1e-10)
    np.testing.assert_allclose(abs(got["scores"]), abs(want.transform(x)), atol=1e-10)


@pytest.mark.reference
def test_power_pca_is_scikit_learns(kata):
    from sklearn.decomposition import PCA

    x = drawn(40, 12) * 0.6 ** np.arange(12) + 2
    got = kata.power_pca(lambda v: x @ v, lambda u: x.T @ u, x.mean(axis=0), drawn(12, 3, seed=1), 60)
    want = PCA(3).fit(x)
    np.testing.assert_allclose(got[1], want.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(abs(got[0]), abs(want.components_), atol=1e-7)


@pytest.mark.reference
def test_probabilities_are_scikit_learns(kata):
    from scipy.spatial.distance import squareform
    from sklearn.manifold import _t_sne, _utils

    square = kata.squared_distances(drawn(40, 5))
    want = _utils._binary_search_perplexity(square.astype(np.float32), 7.0, 0)
    np.testing.assert_allclose(kata.conditional_probabilities(square, 7.0), want, atol=1e-4)
    joint = squareform(_t_sne._joint_probabilities(square, 7.0, 0))
    np.testing.assert_allclose(kata.joint_probabilities(square, 7.0), joint, atol=1e-6)


@pytest.mark.reference
def test_gradient_is_scikit_learns(kata):
    from scipy.spatial.distance import squareform
    from sklearn.manifold import _t_sne

    p, y = kata.joint_probabilities(kata.squared_distances(drawn(20, 5)), 5.0), drawn(20, 2, seed=1)
    loss, gradient = _t_sne._kl_divergence(y.ravel(), squareform(p, checks=False), 1, 20, 2)
    got = kata.tsne_gradient(p, y)
    assert got[0] == pytest.approx(loss, rel=1e-10)
    np.testing.assert_allclose(got[1].ravel(), gradient, atol=1e-12)


@pytest.mark.reference
def test_plot_is_as_good_as_scikit_learns(kata):
    from sklearn.manifold import TSNE

    x = np.repeat(5 * drawn(4, 7), 10, axis=0) + drawn(40, 7, seed=1)
    p = kata.joint_probabilities(kata.squared_distances(x), 6.0)
    want = TSNE(perplexity=6.0, method="exact", init="pca", random_state=0).fit(x).kl_divergence_
    assert kata.tsne_gradient(p, kata.tsne(x, 6.0, 1000))[0] < 1.5 * want


UMAP = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")  # umap-learn says on import that tensorflow is missing
from umap.umap_ import find_ab_params, fuzzy_simplicial_set
asked = json.load(sys.stdin)
graph = fuzzy_simplicial_set(np.array(asked["distances"], np.float32), 9, None, "precomputed")[0].toarray()
curves = [list(find_ab_params(1.0, one)) for one in asked["min_dists"]]
print(json.dumps({"graph": graph.tolist(), "curves": curves}))
"""


@pytest.mark.reference
def test_graph_and_curve_are_umaps(kata):
    if importlib.util.find_spec("umap") is None:
        pytest.skip("umap-learn is in the extra `reference`")
    distances, min_dists = np.sqrt(kata.squared_distances(drawn(50, 4))), [0.1, 0.5, 0.01]
    asked = json.dumps({"distances": distances.tolist(), "min_dists": min_dists})
    # To compile takes 15 s, to run so few points as Python a tenth. A process of its own: whether to compile is read
    # when numba is imported, and other libraries import it.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    umap = subprocess.run(
        [sys.executable, "-c", UMAP], input=asked, env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(umap.stdout.splitlines()[-1])
    np.testing.assert_allclose(kata.fuzzy_graph(distances, 9), said["graph"], atol=2e-4)
    for min_dist, curve in zip(min_dists, said["curves"], strict=True):
        np.testing.assert_allclose(kata.curve_parameters(min_dist), curve, rtol=1e-4)


def test_published_curve(kata):
    assert kata.curve_parameters(0.1) == pytest.approx((1.5769, 0.8951), abs=1e-4)


@pytest.mark.reference
def test_report_is_scikit_learns_and_scipys(kata):
    from scipy.spatial import procrustes
    from scipy.stats import spearmanr
    from sklearn.manifold import trustworthiness

    x, plots = drawn(30, 5), drawn(2, 30, 2, seed=1) + drawn(30, 5)[None, :, :2]
    got, pairs = kata.embedding_report(x, plots, 6), np.triu_indices(30, 1)
    for t, plot in enumerate(plots):
        assert got["trustworthiness"][t] == pytest.approx(trustworthiness(x, plot, n_neighbors=6))
        assert got["continuity"][t] == pytest.approx(trustworthiness(plot, x, n_neighbors=6))
        distances = [kata.squared_distances(points)[pairs] for points in (x, plot)]
        assert got["distance_correlation"][t] == pytest.approx(spearmanr(*distances).statistic)
    assert got["spread"] == pytest.approx(procrustes(*plots)[2])
