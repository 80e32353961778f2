"""dl_023 · Dimensionality reduction: PCA, t-SNE, UMAP, autoencoders, and what a plot of them does and does not show.

Notation
    n  points      d  features of a point      k  components, or neighbours      m  dimensions of a plot, mostly 2
    x  (n, d), the points      y  (n, m), the same points in a plot      d²  squared Euclidean distances, (n, n)
    C  the centred points, x minus its mean      log  the natural logarithm, except log2

Rules for all functions: numpy alone. Arrays are float64 (integers and bools where that is said), need not be
contiguous, and are left alone; results are float64 arrays and Python's floats. Where squared distances are asked for,
they are symmetric, with zeros on the diagonal.

torch has the products and autograd the derivatives ready: neither may be called in any part.

Further reading: Halko et al. 2011 (subspace iteration); van der Maaten and Hinton 2008 (t-SNE); Kobak and Berens 2019
(how to use it); McInnes et al. 2018 (UMAP); Damrich and Hamprecht 2021 (what UMAP's sampling optimises); Baldi and
Hornik 1989 (linear autoencoders); Vincent et al. 2008 (denoising); Kingma and Welling 2013 (VAE); Venna and Kaski 2001
(trustworthiness).
"""

from collections.abc import Callable

import numpy as np


def squared_distances(x: np.ndarray) -> np.ndarray:
    """The squared distance of each pair of points (n, d): (n, n), symmetric, with zeros on the diagonal. Given.

    >>> squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]))
    array([[ 0., 25.],
           [25.,  0.]])
    """
    square = np.zeros((len(x), len(x)))
    for feature in x.T:
        square += np.subtract.outer(feature, feature) ** 2
    return square


def pca(x: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The k directions along which the points vary most.

    Returns a dict:
        mean         (d,), of the points
        components   (k, d), orthonormal rows: the largest variance first; the sign of each row is free
        variances    (k,), of the points along each component, divided by n - 1
        shares       (k,), the same as shares of the variance of all d features together
        scores       (n, k), the centred points along the components

    d may be larger than n, and n larger than d. Small variances are precise, too: one that is 1e-14 of the largest is
    right to six digits. (The singular values of C give that; the eigenvalues of CᵀC do not.)

    Raises ValueError unless 1 <= k <= min(n - 1, d). Forbidden: torch, autograd.

    Of (0, 0), (2, 2), (4, 4) the one direction is (1, 1)/√2; along it the points lie at -√8, 0, √8: 16 / (3 - 1) = 8.

    >>> found = pca(np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]]), 1)
    >>> found["variances"].round(9), found["shares"].round(9), abs(found["scores"]).round(4).ravel()
    (array([8.]), array([1.]), array([2.8284, 0.    , 2.8284]))
    """
    raise NotImplementedError  # TODO: your code


def power_pca(
    times: Callable[[np.ndarray], np.ndarray],
    transposed_times: Callable[[np.ndarray], np.ndarray],
    mean: np.ndarray,
    start: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """PCA of points that you cannot see, by subspace iteration: (components (k, d), variances (k,)).

    The points may be sparse, or too many for the memory. All that you have is products with them, and their mean:
        times(v)                 X·v,  (d, c) to (n, c)         X is *not* centred
        transposed_times(u)      Xᵀ·u, (n, c) to (d, c)
        mean                     (d,), of the points

    From start (d, k), of full rank, `steps` times: Q becomes an orthonormal basis of CᵀC·Q. The components are then the
    best k directions *within* the space of Q (Rayleigh and Ritz: the right singular vectors of C·Q, turned back into d
    features), the largest variance first, the sign of each free; variances are those of the points along them, divided
    by n - 1. With steps = 0 they are the best directions within the space of start.

    Keep Q orthonormal in each step: else all columns become the first component.

    Cost: times is called with at most (steps + 1)·k columns in all, transposed_times with at most steps·k. X and C are
    never made. Forbidden: torch, autograd.

    >>> x = np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
    >>> found = power_pca(lambda v: x @ v, lambda u: x.T @ u, x.mean(axis=0), np.array([[1.0], [0.0]]), 1)
    >>> abs(found[0]).round(4), found[1].round(9)
    (array([[0.7071, 0.7071]]), array([8.]))
    """
    raise NotImplementedError  # TODO: your code


def conditional_probabilities(square: np.ndarray, perplexity: float) -> np.ndarray:
    """How likely point i takes point j for its neighbour: p(j|i), an (n, n) array whose rows sum to 1.

        p(j|i) = exp(-β_i d²_ij) / Σ_(l ≠ i) exp(-β_i d²_il)        p(i|i) = 0        β_i = 1 / (2 σ_i²)

    β_i is found for each point, by bisection, so that the perplexity e^H of row i is the one asked for; H is the
    entropy -Σ p log p of the row. A row with perplexity 5 has about 5 neighbours. (2^H, H in bits, is the same.)

    square: (n, n), squared distances, of any scale: 1e-6 or 1e6. The perplexity of each row is met to 1e-4, also in the
    row of a point far away from all others, where each exp(-β d²) would be 0, and where some points lie on one another.
    Where that many nearest neighbours are equally near that no β gives so small a perplexity, the row is free.

    Raises ValueError unless 1 < perplexity < n - 1. Forbidden: torch, autograd.

    Distances² 1 and 1 + log 4 with β = 1: the nearer is four times as likely, and the perplexity
    e^(0.8 log 1.25 + 0.2 log 5) = 1.6494.

    >>> far = 1 + np.log(4)
    >>> conditional_probabilities(np.array([[0, 1, far], [1, 0, far], [far, far, 0]]), 1.64938489)[0].round(6)
    array([0. , 0.8, 0.2])
    """
    raise NotImplementedError  # TODO: your code


def joint_probabilities(square: np.ndarray, perplexity: float) -> np.ndarray:
    """P of t-SNE: (p(j|i) + p(i|j)) / 2n. Symmetric, sums to 1 over all pairs. Each row sums to 1/2n or more.

    Part of `conditional_probabilities`, with which it shares arguments, errors and what is forbidden.

    >>> joint_probabilities(np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]]), 1.5).sum().round(9)
    np.float64(1.0)
    """
    raise NotImplementedError  # TODO: your code


def tsne_gradient(p: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of t-SNE and its gradient by the plot: (KL(P‖Q), (n, m)).

        w_ij = 1 / (1 + |y_i - y_j|²)        q_ij = w_ij / Σ_(k ≠ l) w_kl         Student's t, of one degree of freedom

        KL = Σ p_ij log(p_ij / q_ij)         a pair with p = 0 adds 0; pairs of a point with itself do not count

        ∂KL/∂y_i = 4 Σ_j (p_ij - q_ij) w_ij (y_i - y_j)

    p: (n, n), symmetric, zeros on the diagonal, sums to 1; y: (n, m), with m of any size. Points may coincide in y.
    Forbidden: torch, autograd.

    Three points at 0, 1, 3: w is 1/2, 1/5, 1/10, and q half of 5/8, 1/4, 1/8.

    >>> p = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]]) / 8
    >>> loss, gradient = tsne_gradient(p, np.array([[0.0], [1.0], [3.0]]))
    >>> round(loss, 6), gradient.round(6).ravel()  # the first: 4 · (1/32 - 3/160)
    (0.061715, array([ 0.05 , -0.125,  0.075]))
    """
    raise NotImplementedError  # TODO: your code


def tsne(x: np.ndarray, perplexity: float, steps: int) -> np.ndarray:
    """t-SNE: a plot (n, 2) whose neighbours are those of the points x (n, d).

    start       the first two scores of PCA, both times the factor that gives the first a standard deviation of 1e-4
                (np.std, over n)
    P           of the squared distances of x, with this perplexity
    each step   velocity ← momentum · velocity - 10 · gradient,  y ← y + velocity;  the velocity begins at 0

                first 100 steps: early exaggeration, the gradient of `tsne_gradient` with 12·P for P, and momentum 0.5
                all later steps: P itself, and momentum 0.8

    The gradient is that of the formula, with p_ij replaced by 12 p_ij; what it begins from is yours to reuse.
    With steps = 0 the result is the start. Which way round it comes, and mirrored or not, is as free as the signs of
    PCA. After 500 steps, KL(P‖Q) is under half of what the plot of PCA has, at whatever scale that is
    drawn, for 36 to 60 points in groups.

    n >= 3, d >= 2. Raises ValueError for a perplexity that the probabilities refuse.
    Forbidden: torch, autograd.

    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]])
    >>> tsne(x, 1.5, 0).std(axis=0).round(7)
    array([1.00e-04, 1.11e-05])
    """
    raise NotImplementedError  # TODO: your code


def fuzzy_graph(distances: np.ndarray, k: int) -> np.ndarray:
    """UMAP's graph of neighbours: (n, n), symmetric, weights from 0 to 1, zeros on the diagonal.

    k counts the point itself: point i has the k - 1 nearest others for its neighbours, and to each of them

        a_ij = exp(-max(0, d_ij - ρ_i) / σ_i)

    ρ_i is the distance to the nearest other point that does not lie on i (a distance above 0), so that at least one
    neighbour has weight 1. σ_i is found by bisection so that the k - 1 weights sum to log2 k, to 1e-5. All other a_ij
    are 0. Where no σ meets it (too many neighbours no farther than ρ), σ_i is free.

    a is not symmetric. The union of both views, "i says so, or j does", is a + aᵀ - a ⊙ aᵀ: this is returned.

    distances: (n, n), not squared, symmetric, zeros on the diagonal, of any scale; no ties decide who is a neighbour.
    A point has a neighbour at a distance above 0.

    Raises ValueError unless 2 <= k <= n. Forbidden: torch, autograd.

    Points at 0, 1, 3 with k = 3: the weights of each sum to log2 3 = 1.585, so they are 1 and 0.585. The two inner
    distances are 1 in both views; 3, from 0 to 3, is the far one of both: 0.585 + 0.585 - 0.585².

    >>> fuzzy_graph(np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]]), 3).round(3)
    array([[0.   , 1.   , 0.828],
           [1.   , 0.   , 1.   ],
           [0.828, 1.   , 0.   ]])
    """
    raise NotImplementedError  # TODO: your code


def curve_parameters(min_dist: float) -> tuple[float, float]:
    """a and b of UMAP's curve v = 1 / (1 + a r^(2b)), the closeness of two points at distance r in the plot.

    They are the least squares fit, to 1e-4, to what min_dist asks for, at 300 distances from 0 to 3,
    np.linspace(0, 3, 300):

        1 where r < min_dist,        exp(-(r - min_dist)) elsewhere

    0 < min_dist < 1; a and b are positive. Part of `umap_loss`. Forbidden: torch, autograd.

    >>> [round(value, 3) for value in curve_parameters(0.1)]
    [1.577, 0.895]
    """
    raise NotImplementedError  # TODO: your code


def umap_loss(
    graph: np.ndarray, y: np.ndarray, a: float, b: float, negatives: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The loss of a plot under UMAP, and its gradient by y: (loss, (n, m)).

        v_ij = 1 / (1 + a |y_i - y_j|^(2b))              attraction  A_ij = -log v_ij
        ε = 1e-4                                         repulsion   R_ij = -log(1 - v_ij + ε)

    negatives None: the cross-entropy of graph and plot, over all pairs:

        Σ_(i < j) [ w_ij A_ij + (1 - w_ij) R_ij ]

    negatives (n, s), integers: repulsion is sampled. Row i holds s points that were drawn for i; each edge of i brings
    them along, so they count as much as all weights of i together. One that is i itself counts nothing:

        ½ Σ_i [ Σ_j w_ij A_ij  +  (Σ_j w_ij) · Σ_s R(i, negatives[i, s]) ]

    A point may be drawn more than once, and then counts as often. The gradient is that of the loss: a sampled pair
    moves *both* points. Two points that coincide in y have no direction: their pair adds nothing to the gradient.

    graph: (n, n), symmetric, 0 to 1, zeros on the diagonal. b > 0, also below ½. m may be any number.
    Forbidden: torch, autograd.

    Two points 1 apart, a = b = 1, w = ¾: v = ½, and ¾·log 2 + ¼·log 2 (but for ε). A is steeper by r than R:

    >>> loss, gradient = umap_loss(np.array([[0, 0.75], [0.75, 0]]), np.array([[0.0], [1.0]]), 1.0, 1.0)
    >>> round(loss, 3), gradient.round(3).ravel()  # ¾ · 1 - ¼ · 1 = ½, and the points attract one another
    (0.693, array([-0.5,  0.5]))
    """
    raise NotImplementedError  # TODO: your code


def autoencoder_losses(
    x: np.ndarray, w: np.ndarray, v: np.ndarray, keep: np.ndarray
) -> dict[str, tuple[float, np.ndarray, np.ndarray]]:
    """A linear autoencoder, plain and denoising: {"plain": (loss, dw, dv), "denoising": (loss, dw, dv)}.

        plain        code = C·w,            reconstruction = code·v,      loss = Σ (C - reconstruction)² / (n - 1)
        denoising    code = (keep ⊙ C)·w,   reconstruction = code·v,      loss = Σ (C - reconstruction)² / (n - 1)

    C is x minus its mean, which stands for both biases. The denoising one sees entries set to 0 (that is, to the mean)
    where keep is 0, and has to give the clean ones back, the dropped ones too.

    x: (n, d); w: (d, k); v: (k, d); keep: (n, d) of 0 and 1. n >= 2. dw and dv are the gradients of the loss. At the
    components of `pca`, w = vᵀ, the plain loss is the sum of the variances that are left out, and its gradient is 0.
    Forbidden: torch, autograd.

    Points ±1, w = 1/2, v = 1: each is off by 1/2. If the first entry is dropped, it is off by 1.

    >>> half, one = np.array([[0.5]]), np.array([[1.0]])
    >>> losses = autoencoder_losses(np.array([[1.0], [-1.0]]), half, one, np.array([[0.0], [1.0]]))
    >>> losses["plain"], losses["denoising"][0]
    ((0.5, array([[-2.]]), array([[-1.]])), 1.25)
    """
    raise NotImplementedError  # TODO: your code


def vae_kl(mu: np.ndarray, log_var: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The KL term of a VAE and its gradients: (KL, by mu, by log_var).

        KL(N(mu, e^log_var) ‖ N(0, 1)) = ½ (mu² + e^log_var - 1 - log_var)        for each entry of the code

    The sum over the k entries of a code, and the *mean* over the n points. mu, log_var: (n, k), n >= 1.
    Part of `autoencoder_losses`. Forbidden: torch, autograd.

    >>> kl, by_mu, by_log_var = vae_kl(np.array([[2.0]]), np.array([[0.0]]))
    >>> kl, by_mu, by_log_var
    (2.0, array([[2.]]), array([[0.]]))
    """
    raise NotImplementedError  # TODO: your code


def embedding_report(x: np.ndarray, plots: np.ndarray, k: int) -> dict[str, np.ndarray | float]:
    """What plots of the same points are worth: x (n, d), plots (s, n, m), one for each seed. Returns a dict:

        trustworthiness         (s,): are neighbours in the plot neighbours in x?

                 1 - 2 / (n k (2n - 3k - 1)) · Σ_i Σ_j (r(i, j) - k)       over the j that are among the k nearest of i
                                                                           in the plot, but not in x
                 r(i, j): the rank of j by its distance from i in x; the nearest other point has rank 1

        continuity              (s,): are neighbours in x still neighbours? The same with plot and x exchanged
        distance_correlation    (s,): Spearman's: the correlation of the ranks of all n(n - 1)/2 distances; equal ones
                                share the mean of their ranks, as those of points that coincide do
        spread                  how much the plots differ from one another: the mean over all pairs of plots of
                                1 - (Σ singular values of AᵀB)², where A and B are the two plots, centred and divided by
                                their norms (the Procrustes distance: what no turn, mirror, shift or scale removes).
                                0.0 for one plot

    The first two are 1 where all k neighbours agree. The neighbours in x and in a plot have no equal distances. The
    distances of x, and those of each plot, are not all equal.

    Raises ValueError unless 1 <= k < n/2. Forbidden: torch, autograd.

    On a line, 0 1 3 7 drawn at 1 0 3 7. In the plot 3 has 0 for its nearest, which has rank 2: 1 - 2/16 · (2 - 1).

    >>> x, plot = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[1.0], [0.0], [3.0], [7.0]])
    >>> report = embedding_report(x, plot[None], 1)
    >>> [round(float(np.squeeze(report[name])), 4) for name in ("trustworthiness", "continuity", "spread")]
    [0.875, 0.875, 0.0]
    """
    raise NotImplementedError  # TODO: your code


def pool_embeddings(tokens: np.ndarray, mask: np.ndarray, how: str, k: int | None = None) -> np.ndarray:
    """One vector for each text, from the vectors of its tokens, of unit length: (n, d), or (n, k) after PCA.

        how "mean"     the mean of the tokens whose mask is True
        how "cls"      the first token of the text: position 0, whatever the mask says

    then each is divided by its Euclidean norm (one that is 0 stays 0, as that of a text without tokens under "mean");
    then, with k, their first k PCA scores: what t-SNE or UMAP should be given in the place of 768 features.

    tokens: (n, t, d), t >= 1; mask: (n, t) of bools, False where there is padding. Padding may be NaN or infinite.
    Raises ValueError for another how. Forbidden: torch, autograd.

    >>> tokens = np.array([[[3.0, 4.0], [3.0, 0.0], [np.nan, np.nan]]])
    >>> mask = np.array([[True, True, False]])
    >>> pool_embeddings(tokens, mask, "mean").round(4), pool_embeddings(tokens, mask, "cls")
    (array([[0.8321, 0.5547]]), array([[0.6, 0.8]]))
    """
    raise NotImplementedError  # TODO: your code
