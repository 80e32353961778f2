"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import dim_reduction as kata
import numpy as np
import pytest

LINE = np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])


def test_pca():
    # along (1, 1)/√2 the points lie at -√8, 0, √8, and (8 + 0 + 8) / (3 - 1) = 8
    found = kata.pca(LINE, 1)
    assert found["variances"] == pytest.approx([8.0])
    assert found["shares"] == pytest.approx([1.0])
    assert abs(found["components"]).ravel() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_power_pca():
    start = np.array([[1.0], [0.0]])
    components, variances = kata.power_pca(lambda v: LINE @ v, lambda u: LINE.T @ u, LINE.mean(axis=0), start, 1)
    assert variances == pytest.approx([8.0])
    assert abs(components).ravel() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_conditional_probabilities():
    # at β = 1 the neighbour at d² = 1 is four times as likely as the one at 1 + log 4
    far = 1 + np.log(4)
    square = np.array([[0, 1, far], [1, 0, far], [far, far, 0]])
    perplexity = np.exp(0.8 * np.log(1.25) + 0.2 * np.log(5))
    assert kata.conditional_probabilities(square, perplexity)[0] == pytest.approx([0, 0.8, 0.2], abs=1e-3)


def test_tsne_gradient():
    # at 0, 1, 3 w is 1/2, 1/10, 1/5, and q half of 5/8, 1/8, 1/4
    p = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]]) / 8
    loss, gradient = kata.tsne_gradient(p, np.array([[0.0], [1.0], [3.0]]))
    assert loss == pytest.approx(0.5 * np.log(0.8) + 0.25 * np.log(2))
    assert gradient.ravel() == pytest.approx([0.05, -0.125, 0.075])


def test_tsne():
    y = kata.tsne(np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]]), 1.5, 0)
    assert y.std(axis=0) == pytest.approx([1e-4, 1e-4 / 9])


def test_fuzzy_graph():
    # of points at 0, 1, 3 with k = 3 each sees weights 1 and log2 3 - 1
    far = np.log2(3) - 1
    graph = kata.fuzzy_graph(np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]]), 3)
    assert graph[0] == pytest.approx([0, 1, 2 * far - far**2], abs=1e-4)


def test_umap_loss():
    assert kata.curve_parameters(0.1) == pytest.approx((1.5769, 0.8951), abs=1e-3)
    loss, gradient = kata.umap_loss(np.array([[0, 0.75], [0.75, 0]]), np.array([[0.0], [1.0]]), 1.0, 1.0)
    assert loss == pytest.approx(np.log(2), abs=1e-3)
    assert gradient.ravel() == pytest.approx([-1 + 0.5, 1 - 0.5], abs=1e-3)


def test_autoencoder_losses():
    x, keep = np.array([[1.0], [-1.0]]), np.array([[0.0], [1.0]])
    losses = kata.autoencoder_losses(x, np.array([[0.5]]), np.array([[1.0]]), keep)
    assert losses["plain"][0] == pytest.approx(0.25 + 0.25)
    assert losses["denoising"][0] == pytest.approx(1 + 0.25)
    assert kata.vae_kl(np.array([[2.0]]), np.array([[0.0]]))[0] == pytest.approx(2.0)


def test_embedding_report():
    x, plot = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[1.0], [0.0], [3.0], [7.0]])
    report = kata.embedding_report(x, plot[None], 1)
    # in the plot 3 has 0 for its nearest, which has rank 2
    assert report["trustworthiness"] == pytest.approx([1 - 2 / 16])
    assert report["spread"] == pytest.approx(0.0)


def test_pool_embeddings():
    tokens = np.array([[[3.0, 4.0], [3.0, -4.0], [np.nan, np.nan]]])
    mask = np.array([[True, True, False]])
    assert kata.pool_embeddings(tokens, mask, "mean").ravel() == pytest.approx([1.0, 0.0])
    assert kata.pool_embeddings(tokens, mask, "cls").ravel() == pytest.approx([0.6, 0.8])
