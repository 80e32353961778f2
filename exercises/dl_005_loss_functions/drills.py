"""Questions on losses whose numbers change: `grader drill --topic loss.cross_entropy`."""

from math import exp, log

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="loss.cross_entropy", level=2, source="Goodfellow 2016, section 6.2", readme="dl_005/1", seed="001/7")
def gradients_at_a_mistake(draw):
    z = draw(-3, -4, -5, -6, -7, -8)
    return Number(
        ask=f"A sigmoid's logit is {z}, the label 1. By what factor is the gradient of cross-entropy by the logit "
        f"larger than "
        "that of ½ (p - 1)²?",
        given=dict(z=z),
        answer=2 + exp(z) + exp(-z),
        unit="x",
        traps={
            "a factor of the root": exp(-z / 2),
            "one over the square of p": (1 + exp(-z)) ** 2,
            "no difference": 1.0,
        },
        hints=("The squared error has the sigmoid's derivative p (1 - p) as a factor too.", "1 / (p · (1 - p))"),
        why="Where the model is surely wrong the sigmoid is flat, and squared error has almost no gradient. "
        "Cross-entropy's "
        "logarithm takes that factor away.",
    )


@gradients_at_a_mistake.second
def _(z):
    import numpy as np

    def p(z):
        return 1 / (1 + np.exp(-z))

    def slope(loss):
        return (loss(z + 1e-4) - loss(z - 1e-4)) / 2e-4

    return float(slope(lambda z: -np.log(p(z))) / slope(lambda z: 0.5 * (p(z) - 1) ** 2))


@question(topic="loss.cross_entropy", level=1, source="torch, cross_entropy", readme="dl_005/2")
def weighted_mean(draw):
    w, e = draw.sample([1.0, 2.0, 5.0, 4.0], 3), draw.sample([0.1, 0.5, 1.2, 2.0], 3)
    return Number(
        ask=f"torch's cross_entropy with class weights. Three samples have losses {e[0]:g}, {e[1]:g}, {e[2]:g}, "
        f"before weights, and "
        f"the weights {w[0]:g}, {w[1]:g}, {w[2]:g} of their classes. What is the mean that is returned?",
        given=dict(w=w, e=e),
        answer=(w[0] * e[0] + w[1] * e[1] + w[2] * e[2]) / (w[0] + w[1] + w[2]),
        within=0.001,
        traps={
            "divided by the number": (w[0] * e[0] + w[1] * e[1] + w[2] * e[2]) / 3,
            "weights forgotten": sum(e) / 3,
            "a sum": w[0] * e[0] + w[1] * e[1] + w[2] * e[2],
        },
        hints=("A weighted mean divides by the sum of the weights.", "(w0 · e0 + w1 · e1 + w2 · e2) / (w0 + w1 + w2)"),
        why="Divided by the number instead, the size of the loss would depend on which classes are in the batch.",
    )


@weighted_mean.second
def _(w, e):
    import numpy as np

    return float(np.average(e, weights=w))


@question(topic="loss.cross_entropy", level=2, source="Goodfellow 2016, section 4.1", readme="dl_005/2")
def stable_cross_entropy(draw):
    lines = [
        ("    top = min(z)", "    top = max(z)", "the largest goes out"),
        ("    return log(total) - z[y]", "    return top + log(total) - z[y]", "the largest comes back"),
        (
            "    total = sum(exp(one) for one in z)",
            "    total = sum(exp(one - top) for one in z)",
            "no exponent above 0",
        ),
    ]
    wrong, mended, _name = draw(*lines)
    gap = draw(800, 900, 1000)
    code = f"""
from math import exp, log
def loss(z, y):
    top = max(z)
    total = sum(exp(one - top) for one in z)
    return top + log(total) - z[y]
print(round(loss([{gap}.0, 0.0, {gap}.0], 1), 3), round(loss([1.0, 2.0], 1), 3))
"""
    return Bug(
        ask="Cross-entropy of logits and a label, for logits of any size: two finite numbers should be printed. Which "
        "line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{round(gap + log(2), 3)} {round(log(1 + exp(-1)), 3)}",
        traps={name: line for _wrong, line, name in lines if line != mended},
        hints=("The largest logit is taken away before exp and added after log.", "top + log Σ e^(z - top) - z[y]"),
        why="Without the largest logit taken away, exp overflows; with the smallest, too. Forget to add it, and the "
        "loss is off.",
    )


@question(topic="loss.focal", level=1, source="Lin 2017, section 3.2", readme="dl_005/4", seed="001/8")
def easy_example(draw):
    p, g = draw(0.6, 0.7, 0.8, 0.9, 0.95), draw(1, 2, 3)
    return Number(
        ask=f"The right class has probability {p:g}. By what factor is cross-entropy larger than focal loss with γ = "
        f"{g} and no "
        "α?",
        given=dict(p=p, g=g),
        answer=(1 - p) ** -g,
        unit="x",
        traps={"p for 1 - p": p**-g, "γ as a factor": 1 / ((g + 1) * (1 - p)), "no difference": 1.0},
        hints=("Focal loss is cross-entropy times (1 - p)^γ.", "1 / (1 - p)^g"),
        why="Easy examples are many: each counts less, so that the few hard ones are not drowned.",
    )


@easy_example.second
def _(p, g):
    focal = -log(p)
    for _power in range(g):
        focal *= 1 - p
    return -log(p) / focal


@question(topic="loss.focal", level=2, source="Lin 2017, section 3", readme="dl_005/4", seed="001/8")
def what_weighs_most(draw):
    easy, hard = draw(0.9, 0.95), draw(0.1, 0.2)
    n, g = draw(10, 50, 100, 1000), draw(0, 2, 5)
    names = {"the easy ones together": n * (1 - easy) ** g * -log(easy), "the hard one": (1 - hard) ** g * -log(hard)}
    right = max(names, key=lambda name: names[name])
    other = min(names, key=lambda name: names[name])
    return Choice(
        ask=f"{n} examples whose right class has probability {easy:g}, and one with {hard:g}. Focal loss with γ = "
        f"{g}. What "
        "contributes more to the sum?",
        given=dict(n=n, easy=easy, hard=hard, g=g),
        answer=right,
        traps={"(1 - p)^γ left out of the count": other, "equal by design": "both alike"},
        hints=("Weigh -log p with (1 - p)^γ, and multiply by how many there are.", "n · (1-p)^γ · -log p"),
        why="At γ = 0 many easy examples outweigh a hard one. A large γ turns that round, and makes label noise loud.",
    )


@what_weighs_most.second
def _(n, easy, hard, g):
    import numpy as np

    p = np.array([easy] * n + [hard])
    loss = (1 - p) ** g * -np.log(p)
    return "the easy ones together" if loss[:-1].sum() > loss[-1] else "the hard one"


@question(topic="loss.metric", level=1, source="Schroff 2015, section 3.1", readme="dl_005/5", seed="001/9")
def triplet(draw):
    a, m = draw.between(3, 14), draw(2.5, 4.5, 6.5)
    n = max(1, a + draw.between(-5, int(m)))
    return Number(
        ask=f"A triplet: squared distances {a} to the positive and {n} to the negative, margin {m:g}. Its loss?",
        given=dict(a=a, n=n, m=m),
        answer=max(0, a - n + m),
        traps={"positive and negative swapped": max(0, n - a + m), "margin forgotten": max(0, a - n)},
        hints=("The negative should be farther than the positive by the margin.", "max(0, a - n + m)"),
        why="A triplet that holds the margin has no gradient. Most do after a while, hence mining.",
    )


@triplet.second
def _(a, n, m):
    return ((a - n + m) + abs(a - n + m)) / 2


@question(topic="loss.metric", level=2, source="Schroff 2015, section 3.2", readme="dl_005/5", seed="001/9")
def kind_of_negative(draw):
    a, m = draw(1.0, 1.5, 2.0), draw(0.5, 1.0)
    kind = draw("hard", "semi-hard", "easy")
    n = {"hard": a - 0.25, "semi-hard": a + m / 2, "easy": a + m + 0.5}[kind]
    kinds = {"hard": "hard", "semi-hard": "semi-hard", "easy": "easy: no loss"}
    return Choice(
        ask=f"Distance {a:g} to the positive, {n:g} to a negative, margin {m:g}. What kind of negative is it?",
        given=dict(a=a, n=n, m=m),
        answer=kinds[kind],
        traps={
            {"hard": "nearer than the positive", "semi-hard": "within the margin", "easy": "beyond it"}[name]: text
            for name, text in kinds.items()
            if name != kind
        },
        hints=("Is it nearer than the positive, within the margin, or beyond it?", "n < a, a < n < a + m, n > a + m"),
        why="The hardest negatives are often mislabelled, and can pull everything into one point. Semi-hard ones "
        "still teach.",
    )


@kind_of_negative.second
def _(a, n, m):
    loss = max(0.0, a - n + m)
    return "easy: no loss" if loss == 0 else "hard" if loss > m else "semi-hard"


@question(topic="loss.contrastive_batch", level=1, source="van den Oord 2018, section 2.3", readme="dl_005/6")
def loss_by_chance(draw):
    N, views = draw(64, 256, 1024, 4096, 32768), draw(1, 2)
    n = N if views == 1 else 2 * N - 1
    how = (
        "each query against the keys of all samples"
        if views == 1
        else "each view against all other views of the batch, as in SimCLR"
    )
    return Number(
        ask=f"InfoNCE, a batch of {N} samples, {how}. All similarities are equal. What is the loss?",
        given=dict(n=n),
        answer=log(n),
        within=0.001,
        traps={"two classes": log(2), "binary logarithm": log(n) / log(2), "the square root": log(n) / 2},
        hints=("A softmax over how many candidates?", "ln n"),
        why="It is a classification of as many classes as there are candidates. A larger batch starts higher, and can "
        "tell more.",
    )


@loss_by_chance.second
def _(n):
    import numpy as np

    return float(-np.log(np.exp(0.3) / np.exp(np.full(n, 0.3)).sum()))


@question(topic="loss.contrastive_batch", level=2, source="Yi 2019, section 3", readme="dl_005/7")
def sampling_correction(draw):
    q, s, t = draw(0.001, 0.004, 0.01, 0.05), draw(1.0, 2.0, 3.0), draw(0.5, 1.0)
    return Number(
        ask=f"Two towers with negatives from the batch. An item is in a batch with probability {q:g}; its logit is "
        f"{s:g}. Which "
        "logit enters the softmax after the correction for sampling?",
        given=dict(s=s, q=q, t=t),
        answer=s - log(q),
        within=0.002,
        traps={"the sign": s + log(q), "no logarithm": s - q, "no correction": s},
        hints=("A popular item is a negative too often; the softmax should weigh each once.", "s - ln(q)"),
        why="The softmax then estimates the one over all items. Without it the popular ones are pushed down.",
    )


@sampling_correction.second
def _(s, q, t):
    return log(exp(s) / q)


@question(topic="loss.kl_elbo", level=2, source="Kingma 2013, appendix B", readme="dl_005/9")
def kl_of_gaussians(draw):
    m, s = draw(0.5, 1.0, 2.0), draw(0.3, 0.5, 2.0)
    return Number(
        ask=f"KL(q ‖ p) for q = N({m:g}, {s:g}²) and p = N(0, 1), in nats?",
        given=dict(m=m, s=s),
        answer=0.5 * (s * s + m * m - 1) - log(s),
        traps={
            "log of σ halved": 0.5 * (s * s + m * m - 1 - log(s)),
            "reversed": 0.5 * ((1 + m * m) / s**2 - 1) + log(s),
            "mean alone": 0.5 * m * m,
        },
        hints=(
            "Second moment of q, less one, less the logarithm of its variance; half of it.",
            "½ · (s² + m² - 1) - ln(s)",
        ),
        why="It is 0 for the prior alone. The logarithm keeps σ from going to 0, and it is one of the variance.",
    )


@kl_of_gaussians.second
def _(m, s):
    import numpy as np

    x = np.linspace(m - 12 * s, m + 12 * s, 200_001)
    q = np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    ratio = -0.5 * ((x - m) / s) ** 2 - np.log(s) + 0.5 * x * x
    return float((q * ratio).sum() * (x[1] - x[0]))


@question(topic="loss.kl_elbo", level=1, source="Bishop 2006, section 10.1", readme="dl_005/8")
def which_kl(draw):
    a, b = draw(0.5, 0.45), draw(0.5, 0.55)
    left, right = round(a / (a + b), 2), round(b / (a + b), 2)
    way = draw("KL(q ‖ p)", "KL(p ‖ q)")
    one, wide = "a narrow q on one mode", "a wide q over both modes"
    return Choice(
        ask=f"p is {left:g} and {right:g} of two narrow modes far apart. Which of two q has the smaller {way}: one "
        f"narrow mode "
        "of them, or one wide bump over both?",
        given=dict(a=left, b=right, way=way),
        answer=one if way == "KL(q ‖ p)" else wide,
        traps={"the directions swapped": wide if way == "KL(q ‖ p)" else one, "symmetric": "both alike"},
        hints=(
            "Where is the logarithm of p, or of q, hugely negative, and who weighs it?",
            "Σ q log(q/p) against Σ p log(p/q)",
        ),
        why="KL(q ‖ p) punishes q where p has nothing: it picks a mode. KL(p ‖ q) punishes q for missing what p has. "
        "The ELBO holds the first.",
    )


@which_kl.second
def _(a, b, way):
    import numpy as np

    x = np.linspace(-10, 10, 4001)

    def bump(mean, deviation):
        return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / deviation

    p, narrow, wide = a * bump(-4, 0.5) + b * bump(4, 0.5), bump(4, 0.5), bump(0, 4.0)
    p, narrow, wide = (one / one.sum() + 1e-300 for one in (p, narrow, wide))

    def kl(one, other):
        return (one * (np.log(one) - np.log(other))).sum()

    found = [kl(q, p) if way == "KL(q ‖ p)" else kl(p, q) for q in (narrow, wide)]
    return "a narrow q on one mode" if found[0] < found[1] else "a wide q over both modes"


@question(topic="loss.large_vocabulary", level=1, source="Wijmans 2024, section 1", readme="dl_005/10")
def bytes_of_logits(draw):
    n, V, b = draw(2048, 4096, 8192, 16384), draw(32_000, 50_257, 128_256, 256_000), draw(2, 4)
    return Number(
        ask=f"{n} tokens, a vocabulary of {V}, logits of {b} B. How many GB are the logits?",
        given=dict(n=n, V=V, b=b),
        answer=n * V * b / 1e9,
        unit="GB",
        traps={"one token": V * b / 1e9, "a byte each": n * V / 1e9, "square of the tokens": n * n * b / 1e9},
        hints=("A number for each token and each word.", "n · V · b / 10⁹"),
        why="Their gradient is as large again. Chunks of tokens, or a kernel that never writes them, avoid both.",
    )


@bytes_of_logits.second
def _(n, V, b):
    import numpy as np

    return np.broadcast_to(np.zeros((), f"f{b}"), (n, V)).nbytes / 1e9


@question(topic="loss.large_vocabulary", level=2, source="Wijmans 2024, section 3", readme="dl_005/10", revision=2)
def way_around_the_logits(draw):
    n, V = draw(4096, 8192, 16384, 32768), draw(32_000, 50_257, 128_256)
    tokens, part = draw(128, 256, 512, 1024), draw(1000, 2000, 4000, 8000)
    rows, columns = (
        f"chunks of {tokens} tokens, all {V:,} logits of each",
        f"all tokens, chunks of {part} logits of each",
    )
    tiles = f"tiles of {tokens // 2} tokens and {2 * part} logits"
    held = {rows: tokens * V, columns: n * part, tiles: tokens * part, "a fused kernel that writes none": 0}
    order = sorted(held, key=lambda name: held[name])
    return Order(
        ask=f"{n:,} tokens, a vocabulary of {V:,}. Logits are thrown away after use. What holds the fewest "
        "at a time? Fewest first.",
        given=dict(n=n, V=V, tokens=tokens, part=part),
        answer=order,
        traps={"most first": order[::-1], "chunks of tokens and of logits swapped": _swapped(order, rows, columns)},
        hints=(
            "How many tokens, times how many logits of each, live at once?",
            "tokens in a chunk · logits in a chunk",
        ),
        why="The loss needs a maximum and a sum for each token, and both can be built up piece by piece. The gradient "
        "computes the logits again.",
    )


def _swapped(order, one, other):
    return [{one: other, other: one}.get(name, name) for name in order]


@way_around_the_logits.second
def _(n, V, tokens, part):
    import numpy as np

    logits = np.broadcast_to(np.float32(0), (n, V))
    pieces = {
        "a fused kernel that writes none": logits[:0],
        f"tiles of {tokens // 2} tokens and {2 * part} logits": logits[: tokens // 2, : 2 * part],
        f"chunks of {tokens} tokens, all {V:,} logits of each": logits[:tokens],
        f"all tokens, chunks of {part} logits of each": logits[:, :part],
    }
    return sorted(pieces, key=lambda name: pieces[name].size)


@question(topic="loss.regression", level=1, source="Koenker 1978", readme="dl_005/3")
def best_constant(draw):
    x, far = sorted(draw.sample(range(1, 30), 3)), draw(100, 150, 200)
    error = draw("squared error", "absolute error")
    mean, middle = (sum(x) + far) / 4, (x[1] + x[2]) / 2
    return Number(
        ask=f"Targets {x[0]}, {x[1]}, {x[2]} and {far}. Which constant has the least {error}? If there are several, "
        f"take the "
        "middle of them.",
        given=dict(x=x, far=far, error=error),
        answer={"squared error": mean, "absolute error": middle}[error],
        within=0.001,
        traps={
            "median and mean swapped": {"squared error": middle, "absolute error": mean}[error],
            "the middle of the range": (x[0] + far) / 2,
            "the outlier left out": sum(x) / 3,
        },
        hints=("Set the sum of the derivatives to 0: are they distances or signs?", "the mean, or the middle"),
        why="Squared error predicts a mean, which one outlier moves. Absolute error predicts the median, which it "
        "does not.",
    )


@best_constant.second
def _(x, far, error):
    values, power = [*x, far], 2 if error == "squared error" else 1
    costs = {at / 4: sum(abs(one - at / 4) ** power for one in values) for at in range(4 * far)}
    least = min(costs.values())
    best = [at for at, cost in costs.items() if cost == least]
    return (best[0] + best[-1]) / 2


@question(topic="loss.regression", level=2, source="Koenker 1978", readme="dl_005/3")
def pinball(draw):
    q, y, f = draw("q", "tau", "level"), draw("y", "target", "seen"), draw("f", "guess", "forecast")
    return Blank(
        ask=f"The quantile loss of level `{q}`: what does it cost if `{y}` is below `{f}`?",
        code=f"def loss({y}, {f}, {q}):\n    return {q} * ({y} - {f}) if {y} >= {f} else ____",
        given={q: draw.between(2, 5), y: draw.between(6, 12), f: draw.between(13, 20)},
        answer=f"(1 - {q}) * ({f} - {y})",
        traps={
            "both sides alike": f"{q} * ({f} - {y})",
            "negative": f"(1 - {q}) * ({y} - {f})",
            "not weighted": f"{f} - {y}",
        },
        hints=(
            "Above costs the level, below what is left of one; both are positive.",
            "the rest of the level, times the distance",
        ),
        why="At the level's quantile the costs of both sides balance. Level one half is half of the absolute error.",
    )


@pinball.second
def _(**given):
    q, y, f = given.values()
    below, above = (y < f), (y >= f)
    return (q * above - (1 - q) * below) * (y - f)


@question(topic="loss.regression", level=1, source="Huber 1964", readme="dl_005/3")
def huber(draw):
    d, r = draw(1, 2, 4), draw.sample([1, 2, 3, 6, 8, 10], 2)

    def loss(one):
        return one * one / 2 if one <= d else d * (one - d / 2)

    return Predict(
        ask=f"Huber's loss with δ = {d}. What is printed?",
        code=f"""
def huber(error, delta):
    size = abs(error)
    return size ** 2 / 2 if size <= delta else delta * (size - delta / 2)
print(huber({r[0]}, {d}), huber(-{r[1]}, {d}))
""",
        answer=f"{loss(r[0])} {loss(r[1])}",
        traps={
            "squared everywhere": f"{r[0] ** 2 / 2} {r[1] ** 2 / 2}",
            "the sign kept": f"{loss(r[0])} {-loss(r[1])}",
            "half of δ forgotten": f"{float(d * r[0])} {float(d * r[1])}",
        },
        hints=("Small errors squared, large ones along a line that joins on.", "½ e², or δ · (|e| - ½ δ)"),
        why="The line touches the parabola, so the gradient has no jump. It never exceeds δ.",
    )
