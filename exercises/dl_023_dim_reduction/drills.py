"""Questions on dimensionality reduction whose numbers change: `grader drill --topic reduction.tsne`."""

from math import ceil, exp, log, sqrt

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="reduction.pca", level=1, source="Jolliffe 2002, section 3.5", readme="dl_023/1")
def share_that_is_explained(draw):
    a, b, c = sorted(draw.sample(range(1, 13), 3), reverse=True)
    return Number(
        ask=f"Centred points have the singular values {a}, {b} and {c}. How many percent of the variance does the "
        "first component explain?",
        given=dict(a=a, b=b, c=c),
        answer=100 * a**2 / (a**2 + b**2 + c**2),
        unit="%",
        traps={
            "not squared": 100 * a / (a + b + c),
            "first two": 100 * (a**2 + b**2) / (a**2 + b**2 + c**2),
            "beside the others": 100 * a**2 / (b**2 + c**2),
        },
        within=0.005,
        hints=("A variance is a singular value squared, over n - 1.", "100 · a^2 / (a^2 + b^2 + c^2)"),
        why="Singular values are lengths, variances their squares; n - 1 cancels in a share. Without centring the "
        "first component would point at the mean.",
    )


@share_that_is_explained.second
def _(a, b, c):
    import numpy as np

    points = np.diag([float(a), float(b), float(c)])
    values = np.linalg.eigvalsh(points.T @ points)
    return float(100 * values[-1] / np.trace(points @ points))


@question(topic="reduction.pca", level=2, source="Golub 2013, section 2.4", readme="dl_023/1")
def variances_that_are_found(draw):
    k = draw(6, 9, 12, 20, 24, 28, 36, 40)
    both, svd, none = "the covariance's eigenvalues, and the SVD", "only the SVD of the points", "neither of them"
    right = both if k < 16 else svd if k < 32 else none
    return Choice(
        ask=f"float64. The smallest variance is 10^(-{k}) of the largest. Which way still finds it?",
        given=dict(k=k),
        answer=right,
        traps={
            name: one
            for name, one in {
                "both ways alike": both,
                "the wrong precision": svd,
                "squares forgotten": none,
            }.items()
            if one != right
        },
        hints=(
            "Numbers are precise to 10^(-16) of the largest. Is that a variance here, or its root?",
            "covariance to 10^(-16), SVD to 10^(-32) of the largest variance",
        ),
        why="To form the covariance squares everything, and small squares drown in the rounding of large ones. The "
        "SVD sees the roots, so twice as many digits.",
    )


@variances_that_are_found.second
def _(k):
    import numpy as np

    def seen(value):
        return 1.0 + value != 1.0

    variance = np.float64(10.0) ** -k
    if seen(variance):
        return "the covariance's eigenvalues, and the SVD"
    return "only the SVD of the points" if seen(np.sqrt(variance)) else "neither of them"


@question(topic="reduction.pca", level=2, source="Halko 2011, section 4.5", readme="dl_023/2")
def steps_of_the_power_method(draw):
    s1, s2 = draw(10, 12, 15, 20), draw(5, 6, 8, 9)
    m = draw(2, 3, 4, 6)
    return Number(
        ask=f"The largest singular values of the centred points are {s1} and {s2}. The power method multiplies with "
        f"CᵀC in each step. After how many steps is the second direction's part, equal at the start, at most "
        f"10^(-{m}) of the first's?",
        given=dict(s1=s1, s2=s2, m=m),
        answer=ceil(m * log(10) / (2 * log(s1 / s2))),
        unit="steps",
        traps={
            "not squared": ceil(m * log(10) / log(s1 / s2)),
            "squared twice": ceil(m * log(10) / (4 * log(s1 / s2))),
            "rounded down": int(m * log(10) / (2 * log(s1 / s2))),
        },
        hints=("Each step multiplies the part by (s2/s1)^2.", "⌈m · ln(10) / (2 · ln(s1 / s2))⌉"),
        why="CᵀC multiplies each direction by its singular value squared, so the gap between neighbours decides. The "
        "last components wanted converge slowly: take a few more.",
    )


@steps_of_the_power_method.second
def _(s1, s2, m):
    first, second, steps = 1, 1, 0
    while second * 10**m > first:
        first, second, steps = first * s1 * s1, second * s2 * s2, steps + 1
    return steps


@question(topic="reduction.pca", level=2, source="Halko 2011, section 4.5", readme="dl_023/2")
def line_of_sparse_centring(draw):
    a, b, c, d = draw.sample(range(1, 9), 4)
    X = [[a, b], [a + 2 * c, b + 2 * d]]
    v, u = [draw(1, 2), draw(3, 4)], [draw(1, 2), draw(4, 5)]
    mean = [a + c, b + d]
    forth = [sum((row[j] - mean[j]) * v[j] for j in range(2)) for row in X]
    back = [sum((X[i][j] - mean[j]) * u[i] for i in range(2)) for j in range(2)]
    lines = [
        ("    return X @ v - mean", "    return X @ v - mean @ v", "one number for all points"),
        ("    return X.T @ u - mean", "    return X.T @ u - mean * u.sum()", "a multiple of the mean"),
        ("mean = X.sum(axis=0)", "mean = X.mean(axis=0)", "a mean of each feature"),
    ]
    wrong, mended, _name = draw(*lines)
    code = f"""
import numpy as np
X = np.array({X})
mean = X.mean(axis=0)
def times(v):
    return X @ v - mean @ v
def transposed_times(u):
    return X.T @ u - mean * u.sum()
v, u = np.array({v}), np.array({u})
print(times(v).tolist(), transposed_times(u).tolist())
"""
    return Bug(
        ask="X is sparse and may not be centred itself; the products should be those of the centred matrix, a row for "
        "each point. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{[float(one) for one in forth]} {[float(one) for one in back]}",
        traps={name: line for _wrong, line, name in lines if line != mended},
        hints=(
            "C is X less a row of means in each row. What is C·v, and Cᵀ·u?",
            "X v - 1 (mean · v), Xᵀ u - mean · Σ u",
        ),
        why="Centring would fill the zeros of a sparse matrix. Inside the product it costs one number, or one "
        "multiple of the mean.",
    )


@question(topic="reduction.tsne", level=1, source="van der Maaten 2008, section 2", readme="dl_023/3", seed="002/12")
def perplexity_of_a_row(draw):
    x = [draw.between(1, 9) for _ in range(3)]
    p = [round(one / sum(x), 2) for one in x]
    p[2] = round(1 - p[0] - p[1], 2)
    H = -sum(one * log(one) for one in p)
    return Number(
        ask=f"A point sees its three neighbours with the probabilities {p[0]}, {p[1]} and {p[2]}. The perplexity of "
        "this row?",
        given=dict(p=p),
        answer=exp(-p[0] * log(p[0]) - p[1] * log(p[1]) - p[2] * log(p[2])),
        traps={"the entropy": H, "base 2 with nats": 2**H, "inverse of the largest": 1 / max(p)},
        within=0.005,
        hints=("The entropy of the row, as an exponent.", "exp(-p0·ln(p0) - p1·ln(p1) - p2·ln(p2))"),
        why="It is the effective number of neighbours: three equal ones give 3. With bits and powers of 2 it is the "
        "same number. t-SNE finds a width for each point so that it is met.",
    )


@perplexity_of_a_row.second
def _(p):
    from math import prod

    return 1 / prod(one**one for one in p)


@question(topic="reduction.tsne", level=1, source="van der Maaten 2008, section 3.3", readme="dl_023/4", seed="002/12")
def weights_of_two_pairs(draw):
    a, b = draw(0.5, 1.0, 1.5, 2.0), draw(2.5, 3.0, 4.0, 5.0, 6.0)
    return Number(
        ask=f"In a t-SNE plot one pair is {a:g} apart, another {b:g}. By which factor is the far pair's q smaller?",
        given=dict(a=a, b=b),
        answer=(1 + b**2) / (1 + a**2),
        unit="x",
        traps={
            "a Gaussian": exp(b**2 - a**2),
            "distance not squared": (1 + b) / (1 + a),
            "the 1 forgotten": (b / a) ** 2,
        },
        within=0.005,
        hints=("Student's t of one degree of freedom.", "(1 + b^2) / (1 + a^2)"),
        why="The heavy tail lets moderate distances of many dimensions become large ones in two, at the same q. With "
        "a Gaussian they would be crushed together.",
    )


@weights_of_two_pairs.second
def _(a, b):
    import numpy as np

    w = 1 / np.square(np.hypot([a, b], 1.0))
    q = w / w.sum()
    return float(q[0] / q[1])


@question(topic="reduction.tsne", level=2, source="van der Maaten 2008, section 3.1", readme="dl_023/4")
def joint_of_a_pair(draw):
    n, a, b = draw(10, 20, 50, 100), draw(0.3, 0.4, 0.5), draw(0.01, 0.02, 0.06, 0.1)
    return Number(
        ask=f"{n} points. Point i takes j for its neighbour with probability {a}, j takes i with {b}. t-SNE's p of "
        "the pair (i, j)?",
        given=dict(n=n, a=a, b=b),
        answer=(a + b) / (2 * n),
        traps={"their product": a * b / n, "not over n": (a + b) / 2, "the larger": a / n},
        within=0.005,
        hints=("The mean of both views; all pairs together make 1.", "(a + b) / (2 · n)"),
        why="Each point keeps at least half of its row, so one far away still pulls at something and has a place. And "
        "the gradient becomes simple.",
    )


@joint_of_a_pair.second
def _(n, a, b):
    import numpy as np

    view = np.zeros((n, n))
    view[0, 1], view[1, 0] = a, b
    view[0, 2], view[1, 2] = 1 - a, 1 - b
    view[np.arange(2, n), (np.arange(2, n) + 1) % 2] = 1.0
    joint = view + view.T
    return float(joint[0, 1] / joint.sum())


@question(topic="reduction.tsne", level=2, source="van der Maaten 2008, section 3.4", readme="dl_023/5")
def pull_while_exaggerated(draw):
    q = draw(12, 24, 60, 120) / 10000
    share = draw(0.02, 0.05, 0.2, 0.5, 0.7, 1.5, 3.0)
    p = round(q * share, 7)
    always, early, never = "in both phases", "only while P is multiplied by 12", "in neither phase"
    right = always if share > 1 else early if share > 1 / 12 else never
    return Choice(
        ask=f"A pair has p = {p:.3g} of the data and q = {q:.3g} in the plot. When do the two attract one another in "
        "t-SNE with early exaggeration?",
        given=dict(p=p, q=q),
        answer=right,
        traps={
            name: one
            for name, one in {
                "exaggeration read as weight": always,
                "the factor forgotten": early,
                "the sign": never,
            }.items()
            if one != right
        },
        hints=("The force has the sign of what P asks for less what the plot has.", "12·p - q, then p - q"),
        why="While P is multiplied, far more pairs attract, so groups find one another in a plot that is still small. "
        "Then P is restored and groups spread.",
    )


@pull_while_exaggerated.second
def _(p, q):
    import numpy as np

    y = np.array([0.0, 1.0])
    forces = [4 * (factor * p - q) * 0.5 * (y[1] - y[0]) for factor in (12, 1)]  # on the first, towards the second
    pulls = sum(force > 0 for force in forces)
    return ["in neither phase", "only while P is multiplied by 12", "in both phases"][pulls]


@question(topic="reduction.umap", level=1, source="McInnes 2018, section 3.1", readme="dl_023/6", seed="002/13")
def union_of_two_views(draw):
    a, b = draw.between(1, 19) / 20, draw.between(1, 19) / 20
    return Number(
        ask=f"UMAP: i's weight to j is {a:g}, j's weight to i is {b:g}. The weight of their edge?",
        given=dict(a=a, b=b),
        answer=a + b - a * b,
        traps={"the larger": max(a, b), "the mean, as t-SNE": (a + b) / 2, "the product": a * b},
        within=0.005,
        hints=('"i says so, or j does", as if both were independent.', "a + b - a · b"),
        why="The fuzzy union asks that one of them says so. An edge that both see is stronger than each view, and one "
        "that a single point sees keeps its weight.",
    )


@union_of_two_views.second
def _(a, b):
    neither = (1 - a) * (1 - b)
    return 1 - neither


@question(topic="reduction.umap", level=2, source="McInnes 2018, section 3.1", readme="dl_023/6", seed="002/13")
def weight_of_a_neighbour(draw):
    rho, s = draw(0.4, 0.5, 0.8, 1.0), draw(0.5, 1.5, 2.0, 2.5)
    d = rho + draw(0.3, 0.6, 1.0, 1.5, 2.4)
    return Number(
        ask=f"UMAP: a neighbour is {d:g} away, the nearest one {rho:g}; σ is {s:g}. The neighbour's weight, as this "
        "point sees it?",
        given=dict(rho=rho, s=s, d=round(d, 2)),
        answer=exp((rho - d) / s),
        traps={
            "the nearest not taken off": exp(-d / s),
            "a Gaussian": exp(-(((d - rho) / s) ** 2)),
            "relative to the nearest": exp(-d / rho / s),
        },
        within=0.005,
        hints=("Distances count from the nearest neighbour on.", "exp(-(d - rho) / s)"),
        why="The nearest neighbour has weight 1 whatever its distance, so each point is joined to somebody. The "
        "widths make weights sum to log2 of k, so dense and sparse regions look alike.",
    )


@weight_of_a_neighbour.second
def _(rho, s, d):
    import numpy as np

    return float(np.exp(rho / s) / np.exp(d / s))


@question(topic="reduction.umap", level=2, source="McInnes 2018, section 3.1", readme="dl_023/6", seed="002/13")
def strongest_edge(draw):
    rho, s = draw.sample([0.5, 1.0, 2.0, 4.0], 3), draw.sample([0.5, 1.0, 2.0, 3.0], 3)
    d = [r + draw(0.5, 1.0, 2.0, 3.0) for r in rho]
    shown = [f"{x:g} away, nearest {r:g}, σ {t:g}" for x, r, t in zip(d, rho, s, strict=True)]
    order = sorted(range(3), key=lambda i: (d[i] - rho[i]) / s[i])
    ratios = {round((d[i] - rho[i]) / s[i], 6) for i in range(3)}
    if len(ratios) < 3:  # a tie has no order: make the second nearer, the third farther
        d = [rho[0] + s[0], rho[1] + s[1] / 2, rho[2] + 2 * s[2]]
        shown = [f"{x:g} away, nearest {r:g}, σ {t:g}" for x, r, t in zip(d, rho, s, strict=True)]
        order = [1, 0, 2]
    return Order(
        ask="Neighbours of three points in UMAP. Which has the largest weight, as its point sees it? Largest first.",
        given=dict(d=d, rho=rho, s=s, shown=shown),
        answer=[shown[i] for i in order],
        traps={
            "by distance alone": [shown[i] for i in sorted(range(3), key=lambda i: d[i])],
            "smallest first": [shown[i] for i in order[::-1]],
        },
        hints=("Count from the nearest on, in units of the point's own width.", "(d - rho) / s, smallest first"),
        why="Each point measures with its own scale. So a far neighbour in a sparse region may be joined more "
        "strongly than a near one in a dense region.",
    )


@strongest_edge.second
def _(d, rho, s, shown):
    import numpy as np

    weights = np.exp(-np.maximum(0, np.subtract(d, rho)) / np.array(s))
    return [shown[i] for i in (-weights).argsort(kind="stable")]


@question(topic="reduction.umap", level=3, source="Damrich 2021, theorem 1", readme="dl_023/7")
def repulsion_of_a_pair(draw):
    n, m = draw(1000, 5000, 20000, 60000), draw(5, 10, 15)
    di, dj, w = draw(3.0, 4.0, 5.0), draw(2.0, 6.0, 8.0), draw(0.0, 0.1, 0.2)
    return Number(
        ask=f"UMAP with {m} negative samples an edge, {n} points, drawn uniformly. Two points have degrees (sums of "
        f"weights) {di:g} and {dj:g}, and their edge weighs {w:g}. The expected weight of their repulsion in what is "
        "really optimised?",
        given=dict(n=n, m=m, di=di, dj=dj),
        answer=(di + dj) * m / (2 * n),
        traps={"as on paper": 1 - w, "each end in full": (di + dj) * m / n, "one sample an edge": (di + dj) / (2 * n)},
        within=0.005,
        hints=(
            "Each edge of a point brings samples, each of which is the other one with chance 1/n.",
            "(di + dj) · m / (2 · n)",
        ),
        why="On paper a pair without an edge repels with weight 1. Sampling makes that far weaker, the more so the "
        "more points there are, and this is what shapes UMAP's plots.",
    )


@repulsion_of_a_pair.second
def _(n, m, di, dj):
    chance = 1 / n
    drawn = [degree * chance for degree in (di, dj) for _sample in range(m)]
    return sum(drawn) / 2


@question(topic="reduction.umap", level=2, source="McInnes 2018, section 3.2", readme="dl_023/7")
def closeness_in_the_plot(draw):
    a, b, r = draw(1.0, 1.5, 2.0), draw(0.8, 0.9, 1.2), draw(0.25, 0.5, 2.0, 3.0)
    return Number(
        ask=f"UMAP's curve with a = {a:g} and b = {b:g}. How close are two points that are {r:g} apart in the plot, "
        "as a number from 0 to 1?",
        given=dict(a=a, b=b, r=r),
        answer=1 / (1 + a * r ** (2 * b)),
        traps={
            "exponent b": 1 / (1 + a * r**b),
            "Student's t": 1 / (1 + r**2),
            "the edge's formula": exp(-r),
        },
        within=0.004,
        hints=("Like Student's t, with two numbers that are fitted to min_dist.", "1 / (1 + a · r^(2 · b))"),
        why="a and b are fitted so that points up to min_dist apart count as together. For a = b = 1 it is t-SNE's "
        "curve.",
    )


@closeness_in_the_plot.second
def _(a, b, r):
    far = a * exp(b * log(r * r))
    return 1 - far / (1 + far)


@question(topic="reduction.autoencoders", level=1, source="Baldi 1989, section 2", readme="dl_023/10")
def loss_of_a_linear_code(draw):
    v = sorted((draw.between(1, 40) for _ in range(4)), reverse=True)
    k = draw(1, 2)
    rest = sum(v[k:])
    a, b, c, d = v
    return Number(
        ask=f"The covariance of the data has the eigenvalues {a}, {b}, {c} and {d}. A linear autoencoder with a code "
        f"of {'one number' if k == 1 else 'two numbers'}: its least squared error, summed over features and divided "
        "by n - 1?",
        given=dict(v=v, k=k),
        answer=c + d + b * (2 - k),
        traps={
            "what is kept": sum(v[:k]),
            "the smallest alone": d,
            "everything": rest + sum(v[:k]),
        },
        hints=(
            "It can do no better than PCA with as many components.",
            "the sum of all eigenvalues that the code does not hold",
        ),
        why="At its minimum it spans PCA's space, with any invertible matrix between encoder and decoder. What is "
        "left is the variance of all other directions.",
    )


@loss_of_a_linear_code.second
def _(v, k):
    import numpy as np

    _, singular, axes = np.linalg.svd(np.diag(np.sqrt(np.array(v, float))))
    points = np.diag(singular) @ axes
    back = points @ axes[:k].T @ axes[:k]
    return round(float(((points - back) ** 2).sum()))


@question(topic="reduction.autoencoders", level=1, source="Kingma 2014, VAE, appendix B", readme="dl_023/10")
def price_of_a_code(draw):
    m, s = draw(0.5, 1.0, 1.5, 2.0), draw(0.2, 0.3, 0.5, 2.0)
    return Number(
        ask=f"A VAE encodes an example as a normal with mean {m:g} and standard deviation {s:g}. Its KL to the "
        "standard normal, in nats?",
        given=dict(m=m, s=s),
        answer=(m**2 + s**2 - 1) / 2 - log(s),
        traps={
            "ln σ not doubled": (s**2 + m**2 - 1 - log(s)) / 2,
            "the other direction": ((1 + m**2) / s**2 - 1 + 2 * log(s)) / 2,
            "the mean alone": m**2 / 2,
        },
        within=0.004,
        hints=("Mean, variance, and the logarithm of the variance.", "(m^2 + s^2 - 1 - 2 · ln(s)) / 2"),
        why="It keeps codes near a normal one, so that one can sample from it. If it wins over the reconstruction, "
        "all codes are alike and say nothing.",
    )


@price_of_a_code.second
def _(m, s):
    import numpy as np

    z = np.linspace(m - 12 * s, m + 12 * s, 20001)
    density = np.exp(-(((z - m) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
    ratio = z**2 / 2 - ((z - m) / s) ** 2 / 2 - np.log(s)
    return float(np.trapezoid(density * ratio, z))


@question(topic="reduction.autoencoders", level=2, source="Baldi 1989, section 2", readme="dl_023/10")
def two_codes_one_space(draw):
    x, c = [draw.between(2, 9) * 5, draw.between(1, 9) * 5], draw(2.0, 4.0, 0.5)
    w = draw((0.6, 0.8), (0.8, 0.6))
    code = round(x[0] * w[0] + x[1] * w[1], 1)
    back = [round(code * one, 2) for one in w]
    return Predict(
        ask="A point, the direction of PCA, and a linear autoencoder that multiplies its code and divides later. What "
        "is printed?",
        code=f"""
x, w, c = {x}, {list(w)}, {c}
code = sum(c * a * b for a, b in zip(x, w))
back = [round(code * b / c, 2) for b in w]
print(round(code, 1), back)
""",
        answer=f"{round(c * code, 1)} {back}",
        traps={
            "the code of PCA": f"{code} {back}",
            "the result grows as well": f"{round(c * code, 1)} {[round(c * one, 2) for one in back]}",
        },
        hints=("c goes into the code and out of the reconstruction.", "c · (w · x), then (w · x) · w"),
        why="Any invertible matrix may stand between encoder and decoder, so codes are not PCA's scores. Only the "
        "space is the same, and the error.",
    )


@question(topic="reduction.choice", level=1, source="van der Maaten 2014, section 4", readme="dl_023/8", seed="002/14")
def memory_of_exact_pairs(draw):
    n, b = draw(10_000, 20_000, 50_000, 70_000, 100_000, 200_000, 1_000_000), draw(4, 8)
    return Number(
        ask=f"Exact t-SNE keeps P for all pairs of {n:,} points, both ways round, in numbers of {b} B. How many GB?",
        given=dict(n=n, b=b),
        answer=b * n**2 / 1e9,
        unit="GB",
        traps={
            "90 neighbours each": b * n * 90 / 1e9,
            "each pair once": b * n**2 / 2e9,
            "the other precision": (12 - b) * n**2 / 1e9,
        },
        within=0.005,
        hints=("One number for each ordered pair.", "b · n^2 / 10^9"),
        why="Barnes-Hut and UMAP keep only the nearest neighbours, so memory grows as n. The usual libraries do that "
        "unless they are asked for the exact method.",
    )


@memory_of_exact_pairs.second
def _(n, b):
    import numpy as np

    row = np.broadcast_to(np.zeros(1, f"f{b}"), (n,))
    return row.size * row.itemsize * (n / 1e9)


@question(topic="reduction.choice", level=2, source="Kobak 2021", readme="dl_023/8", seed="002/14")
def method_for_a_task(draw):
    task, n = draw("features", "share", "look", "look", "look", "back", "project"), draw(5_000, 50_000)
    told = {
        "features": "30 features for a linear model, in which distances should mean what they meant",
        "share": "the number of directions that hold 95 % of the variance",
        "look": "a picture in which one sees who is near whom, in data that is not flat",
        "back": "a code from which the points can be computed again, with the least squared error",
        "project": "a map that takes new points by one matrix product, the same in each run",
    }[task]
    pca, plot, both = "PCA", "t-SNE or UMAP", "each of the three does it"
    return Choice(
        ask=f"{n:,} points of 500 features. You need {told}. What do you take?",
        given=dict(task=task),
        answer=plot if task == "look" else pca,
        traps={
            "taken for the newest": pca if task == "look" else plot,
            "differences overlooked": both,
        },
        hints=("Is it linear, does it have an inverse, does it keep variance?", "PCA: numbers; t-SNE, UMAP: pictures"),
        why="PCA is linear, the same in each run, and has a share for each direction. t-SNE and UMAP show "
        "neighbourhoods and give up distances between groups.",
    )


@method_for_a_task.second
def _(task):
    methods = {
        "PCA": {"linear", "variance", "inverse", "deterministic"},
        "t-SNE or UMAP": {"neighbourhoods of curved data"},
    }
    needs = {
        "features": {"linear"},
        "share": {"variance"},
        "look": {"neighbourhoods of curved data"},
        "back": {"inverse"},
        "project": {"linear", "deterministic"},
    }[task]
    (fits,) = [name for name, has in methods.items() if needs <= has]
    return fits


@question(topic="reduction.choice", level=3, source="Venna 2001, section 4", readme="dl_023/8")
def trust_in_a_plot(draw):
    n, k = draw(50, 100, 200), draw(5, 7, 10, 15)
    wrong, excess = draw.between(10, 60), draw.between(3, 12)
    return Number(
        ask=f"{n} points, {k} neighbours each. In a plot {wrong} of all neighbours are no neighbours in the data, "
        f"where their ranks are {excess} too large on average. Trustworthiness is 1 - 2/(n k (2n - 3k - 1)) times the "
        "sum of these excesses. By how many percent is it below 1?",
        given=dict(n=n, k=k, wrong=wrong, excess=excess),
        answer=200 * wrong * excess / (n * k * (2 * n - 3 * k - 1)),
        unit="%",
        traps={
            "share of wrong neighbours": 100 * wrong / (n * k),
            "one point's neighbours": 200 * wrong * excess / (k * (2 * n - 3 * k - 1)),
            "excess left out": 200 * wrong / (n * k * (2 * n - 3 * k - 1)),
        },
        hints=(
            "The sum is the number of wrong neighbours, times their mean excess.",
            "200 · wrong · excess / (n · k · (2·n - 3·k - 1))",
        ),
        why="False neighbours count by how far off they really are. It says whether to believe what lies together; "
        "continuity says whether neighbours were torn apart.",
    )


@trust_in_a_plot.second
def _(n, k, wrong, excess):
    from fractions import Fraction

    lost, worst = Fraction(0), Fraction(n * k * (2 * n - 3 * k - 1), 2)
    for _neighbour in range(wrong):
        lost += excess
    return float(100 * lost / worst)


@question(topic="reduction.pitfalls", level=2, source="Beyer 1999, section 3", readme="dl_023/9", seed="002/15")
def distances_of_noise(draw):
    d = draw(2, 5, 10, 20, 50, 128, 300, 768, 1024)
    return Number(
        ask=f"Two independent points with {d} independent standard normal features. The standard deviation of their "
        "squared distance, over its mean?",
        given=dict(d=d),
        answer=sqrt(2 / d),
        traps={"not the root": 2 / d, "of the mean alone": 1 / sqrt(d), "no matter of d": sqrt(2)},
        within=0.004,
        hints=("Each feature adds a square with mean 2 and variance 8.", "√(8 · d) / (2 · d)"),
        why="In many dimensions all pairs of noise are about equally far apart. A method that looks at nearest "
        "neighbours still finds some, and a small perplexity shows them as clumps.",
    )


@distances_of_noise.second
def _(d):
    import numpy as np

    z = np.linspace(-12, 12, 24001)
    density = np.exp(-(z**2) / 4)  # a difference of two standard normals
    density /= density.sum()
    mean = (density * z**2).sum()
    variance = (density * z**4).sum() - mean**2
    return float((d * variance) ** 0.5 / (d * mean))


@question(topic="reduction.pitfalls", level=1, source="Wattenberg 2016", readme="dl_023/9", seed="002/15")
def what_a_plot_says(draw):
    seen, times = draw("width", "gap", "axis", "near"), draw(2, 3, 5)
    told = {
        "width": f"one group is {times} times as wide as another",
        "gap": f"two groups lie {times} times as far apart as two others",
        "axis": f"a group lies {times} times as far to the right as another",
        "near": f"{times} points are the nearest neighbours of a point, at one side of its group",
    }[seen]
    reasons = {
        "width": "nothing: each point's scale was fitted to its own surroundings",
        "gap": "hardly anything: the loss depends little on it, the start much",
        "axis": "nothing: a plot that is turned or mirrored has the same loss",
        "near": "something: the loss is about it; check it in the data",
    }
    others = [reasons[one] for one in reasons if one != seen]
    return Choice(
        ask=f"In a t-SNE plot {told}. What does that say about the data?",
        given=dict(seen=seen),
        answer=reasons[seen],
        traps=dict(
            zip(("another reason", "another part of the loss", "read too much or too little"), others, strict=True)
        ),
        hints=("What does the loss look at, and what leaves it as it is?", "neighbours yes; sizes, gaps, axes no"),
        why="Widths are evened out, far groups hardly pull, and axes mean nothing. Neighbours are what is fitted, and "
        "even these should be checked, with several seeds and perplexities.",
    )


@what_a_plot_says.second
def _(seen):
    import numpy as np

    if seen == "near":
        return "something: the loss is about it; check it in the data"
    y = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 3.0]])

    def q(plot):
        w = 1 / (1 + ((plot[:, None] - plot) ** 2).sum(-1))
        np.fill_diagonal(w, 0)
        return w / w.sum()

    if seen == "axis" and np.allclose(q(y), q(y[:, ::-1] * [1, -1])):
        return "nothing: a plot that is turned or mirrored has the same loss"
    if seen == "gap" and np.abs(q(y) - q(y + np.array([[0, 0], [0, 0], [9.0, 0]]))).max() < 0.02:
        return "hardly anything: the loss depends little on it, the start much"
    return "nothing: each point's scale was fitted to its own surroundings"


@question(topic="reduction.pitfalls", level=2, source="van der Maaten 2008, section 2", readme=("dl_023/3", "dl_023/9"))
def dense_and_sparse(draw):
    d, f = sorted(draw.sample(range(2, 12), 3)), draw(2, 3, 5, 10)
    far = [f * one for one in d]
    scaled = [round(one / d[1], 2) for one in d]
    return Predict(
        ask=f"Distances from a point to its neighbours in a dense group, and {f} times as large ones in a sparse "
        "group. Each is divided by a scale of its own, as perplexity does it roughly. What is printed?",
        code=f"""
for d in ({d}, {far}):
    scale = d[1]
    print([round(one / scale, 2) for one in d])
""",
        answer=f"{scaled}\n{scaled}",
        traps={
            "one scale for both": f"{scaled}\n{[round(one / d[1], 2) for one in far]}",
            "not scaled": f"{d}\n{far}",
        },
        hints=("The scale grows as the distances do.", "d / d[1], whatever the factor"),
        why="A width that is fitted to each point makes dense and sparse regions look alike. So the size of a group "
        "in the plot says nothing about its spread.",
    )


@question(topic="reduction.embeddings", level=1, source="Reimers 2019, section 3", readme="dl_023/11", seed="002/16")
def distance_and_cosine(draw):
    c = draw.between(5, 97) / 100
    return Number(
        ask=f"Two embeddings of length 1 have a cosine of {c}. How far are they apart?",
        given=dict(c=c),
        answer=sqrt(2 - 2 * c),
        traps={"squared distance": 2 - 2 * c, "cosine distance": 1 - c, "the half": sqrt((1 - c) / 2)},
        within=0.004,
        hints=("Multiply |a - b|² out.", "√(2 - 2 · c)"),
        why="On the unit sphere Euclidean distance orders pairs exactly as cosine does, so one may divide by the norm "
        "and use any method.",
    )


@distance_and_cosine.second
def _(c):
    import numpy as np

    a, b = np.array([1.0, 0.0]), np.array([c, np.sqrt(1 - c * c)])
    return float(np.linalg.norm(a - b))


@question(topic="reduction.embeddings", level=1, source="Reimers 2019, section 3", readme="dl_023/11", seed="002/16")
def mean_of_real_tokens(draw):
    real, pads = draw(2, 4, 5), draw(2, 3)
    base = [draw.between(1, 12) for _ in range(real - 1)]
    last = draw.between(1, 6) * real - sum(base) % real
    tokens = [*base, last, *[draw(1, 2, 3)] * pads]
    total = sum(tokens[:real])
    return Predict(
        ask="One feature of the tokens of a text, with padding. What is printed?",
        code=f"""
tokens, mask = {tokens}, {[1] * real + [0] * pads}
kept = [t * m for t, m in zip(tokens, mask)]
print(round(sum(kept) / sum(mask), 2))
""",
        answer=str(round(total / real, 2)),
        traps={
            "padding counted": str(round(total / len(tokens), 2)),
            "padding in the sum": str(round(sum(tokens) / len(tokens), 2)),
            "the first token": str(float(tokens[0])),
        },
        hints=("How many tokens are real?", "sum of real tokens / their number"),
        why="With padding in the mean, vectors depend on how long the others in the batch were, and the plot shows "
        "length instead of meaning.",
    )


@question(topic="reduction.embeddings", level=1, source="Reimers 2019, section 3", readme="dl_023/11", seed="002/16")
def order_of_the_pipeline(draw):
    steps = [
        "run the model over the tokens",
        "take the mean over the real tokens",
        "divide each vector by its norm",
        "PCA to about 50 features",
        "t-SNE or UMAP to two",
        "colour the points by known labels",
    ]
    chosen = sorted(draw.sample(range(6), 4))
    answer = [steps[i] for i in chosen]
    k = draw.between(0, 2)
    return Order(
        ask="Some steps on the way to a plot of the meanings of texts. In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={
            "two steps swapped": [*answer[:k], answer[k + 1], answer[k], *answer[k + 2 :]],
            "from the end": answer[::-1],
        },
        hints=(
            "One vector for each text first; labels must not shape the plot.",
            "model, mean, norm, PCA, plot, colours",
        ),
        why="Norms are divided out so that distance orders as cosine does; PCA takes noise and time away. Labels come "
        "last, so that the plot can say something about them.",
    )


@order_of_the_pipeline.second
def _(chosen):
    needs = {
        "colour the points by known labels": "t-SNE or UMAP to two",
        "t-SNE or UMAP to two": "PCA to about 50 features",
        "PCA to about 50 features": "divide each vector by its norm",
        "divide each vector by its norm": "take the mean over the real tokens",
        "take the mean over the real tokens": "run the model over the tokens",
    }
    line = ["colour the points by known labels"]
    while line[-1] in needs:
        line.append(needs[line[-1]])
    return [line[5 - i] for i in chosen]
