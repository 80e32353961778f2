"""Questions on uncertainty whose numbers change: `grader drill --topic uncertainty.conformal`."""

from math import ceil, exp, log

from grader.drills import Bug, Choice, Number, Predict, question


@question(
    topic="uncertainty.calibration", level=1, source="Guo 2017, section 2", readme="dl_026/1", seed=("001/6", "002/7")
)
def expected_calibration_error(draw):
    n = [draw(10, 20, 50, 100) for _ in range(3)]
    acc = [draw(50, 60, 70, 80, 90) for _ in range(3)]
    conf = [draw(55, 65, 75, 85, 95) for _ in range(3)]
    bins = "; ".join(f"{a} examples, {b} % right, confidence {c} %" for a, b, c in zip(n, acc, conf, strict=True))
    total = sum(n)
    gaps = [b - c for b, c in zip(acc, conf, strict=True)]
    return Number(
        ask=f"Three bins: {bins}. What is the expected calibration error?",
        given=dict(n=n, acc=acc, conf=conf),
        answer=sum(a * abs(b - c) for a, b, c in zip(n, acc, conf, strict=True)) / total,
        unit="%",
        traps={
            "bins weigh alike": sum(map(abs, gaps)) / 3,
            "gaps cancel": abs(sum(a * g for a, g in zip(n, gaps, strict=True))) / total,
            "the largest gap": float(max(map(abs, gaps))),
        },
        hints=("Weigh the size of each gap by the bin's share of examples.", "Σ n / Σ n · |acc - conf|"),
        why="It looks at the predicted class alone, depends on the bins, and does not reward being sharp. Read it "
        "beside accuracy and the log loss.",
    )


@expected_calibration_error.second
def _(n, acc, conf):
    import numpy as np

    gap = np.concatenate([np.full(a, abs(b - c) * 1.0) for a, b, c in zip(n, acc, conf, strict=True)])
    return float(gap.mean())


@question(topic="uncertainty.calibration", level=2, source="Guo 2017, section 2", readme="dl_026/1", seed="002/7")
def model_of_the_lowest_error(draw):
    base, acc, by = draw(60, 70, 80), draw(90, 92, 95), draw("calibration error", "accuracy", "log loss")
    over = draw(99.0, 99.5)
    rate = f"says {base} % for the class that is right in {base} % of cases"
    sharp = f"is right in {acc} %, and always {over:g} % sure"
    poor = f"is right in {base - 5} %, and always {over:g} % sure"
    about = {"knows nothing": rate, "too sure": sharp, "worse in all": poor}
    names = {"calibration error": "lowest", "accuracy": "highest", "log loss": "lowest"}
    right = rate if by == "calibration error" else sharp
    if by == "log loss":
        right = min((rate, sharp), key=lambda one: _loss(base, base) if one == rate else _loss(acc, over))
    return Choice(
        ask=f"Two classes. Which of these models has the {names[by]} {by}?",
        given=dict(base=base, acc=acc, over=over, by=by),
        answer=right,
        traps={name: one for name, one in about.items() if one != right},
        hints=("Work it out for each: how often right, how sure, what does a miss cost?",
               "|right - sure|; right; -right · ln sure - (1 - right) · ln(1 - sure)"),
        why="A base rate is calibrated and useless. The error does not show how much a model knows, so read it "
        "beside a proper score.",
    )  # fmt: skip


def _loss(right, sure):
    return -(right * log(sure / 100) + (100 - right) * log(1 - sure / 100))


@model_of_the_lowest_error.second
def _(base, acc, over, by):
    import numpy as np

    models = {
        f"says {base} % for the class that is right in {base} % of cases": (base, base),
        f"is right in {acc} %, and always {over:g} % sure": (acc, over),
        f"is right in {base - 5} %, and always {over:g} % sure": (base - 5, over),
    }

    def badness(name):
        right, sure = models[name]
        hit = np.arange(100) < right
        given = np.where(hit, sure, 100 - sure) / 100
        return {"calibration error": abs(hit.mean() - sure / 100), "accuracy": -hit.mean(),
                "log loss": -np.log(given).mean()}[by]  # fmt: skip

    return min(models, key=badness)


@question(topic="uncertainty.calibration", level=1, source="Guo 2017, section 4.2", readme="dl_026/2")
def confidence_at_a_temperature(draw):
    z, T = draw(1.0, 1.5, 2.0, 3.0, 4.0), draw(1.25, 1.5, 2.0, 2.5, 4.0)
    return Number(
        ask=f"Two classes, the first logit leads by {z:g}. What is its probability at temperature {T:g}?",
        given=dict(z=z, T=T),
        answer=1 / (1 + exp(-z / T)),
        traps={
            "multiplied": 1 / (1 + exp(-z * T)),
            "no temperature": 1 / (1 + exp(-z)),
            "probability divided": 1 / (1 + exp(-z)) / T,
        },
        hints=("The lead is divided by T, then the sigmoid.", "1 / (1 + e^(-z/T))"),
        why="The order of classes stays, so accuracy does. The temperature is fitted on held-out data by the log loss, "
        "which is convex in its inverse.",
    )


@confidence_at_a_temperature.second
def _(z, T):
    import numpy as np

    logits = np.array([z, 0.0]) / T
    return float(np.exp(logits[0] - np.logaddexp.reduce(logits)))


@question(topic="uncertainty.calibration", level=2, source="Guo 2017, section 4.2", readme="dl_026/2")
def what_a_temperature_moves(draw):
    what, T = (
        draw("the accuracy", "the mean confidence in the predicted class", "the mean entropy"),
        draw(0.5, 0.8, 1.5, 2.5),
    )
    up, down, stays = "it rises", "it falls", "it stays"
    right = stays if what == "the accuracy" else up if (T > 1) == (what == "the mean entropy") else down
    names = {"taken for sharper": up, "taken for softer": down, "taken for the order": stays}
    if what == "the mean entropy":
        names = {"taken for softer": up, "taken for sharper": down, "taken for the order": stays}
    return Choice(
        ask=f"All logits are divided by {T:g}. What becomes of {what}?",
        given=dict(what=what, T=T),
        answer=right,
        traps={name: one for name, one in names.items() if one != right},
        hints=("Do the differences of logits grow or shrink, and does their order change?", "softmax(z / T)"),
        why="A positive factor keeps the order within each example, and moves how sure the model is. Between examples "
        "even the order of confidences may change.",
    )


@what_a_temperature_moves.second
def _(what, T):
    import numpy as np

    z = np.random.default_rng(1).normal(size=(200, 4)) * 2

    def measure(t):
        p = np.exp(z / t) / np.exp(z / t).sum(1, keepdims=True)
        if "accuracy" in what:
            return np.mean(p.argmax(1) == 0)
        return np.mean(p.max(1)) if "confidence" in what else np.mean(-(p * np.log(p)).sum(1))

    change = measure(T) - measure(1.0)
    return "it stays" if change == 0 else "it rises" if change > 0 else "it falls"


@question(
    topic="uncertainty.mc_dropout",
    level=2,
    source="Gal 2016; Houlsby 2011, section 2",
    readme="dl_026/4",
    seed=("001/4", "002/5"),
)
def disagreement_of_two_passes(draw):
    a, b = draw(0.7, 0.8, 0.9, 0.95), draw(0.05, 0.1, 0.2, 0.3)
    return Number(
        ask=f"Two passes of MC dropout give class 1 of two the probabilities {a:g} and {b:g}. What is the mutual "
        "information, the part that is ignorance, in nats?",
        given=dict(a=a, b=b),
        answer=_entropy((a + b) / 2) - (_entropy(a) + _entropy(b)) / 2,
        traps={
            "all of it": _entropy((a + b) / 2),
            "the noise": (_entropy(a) + _entropy(b)) / 2,
            "in bits": (_entropy((a + b) / 2) - (_entropy(a) + _entropy(b)) / 2) / log(2),
        },
        hints=("Entropy of the mean, less the mean of the entropies.", "H((a + b)/2) - (H(a) + H(b))/2"),
        why="What each pass is unsure of by itself is noise. What only the mean is unsure of is disagreement, and more "
        "data would lower it.",
    )


def _entropy(p):
    return -p * log(p) - (1 - p) * log(1 - p)


@disagreement_of_two_passes.second
def _(a, b):
    import numpy as np

    p = np.array([[a, 1 - a], [b, 1 - b]])
    return float((p * np.log(p / p.mean(0))).sum(1).mean())  # the mean divergence from the mean


@question(
    topic="uncertainty.mc_dropout",
    level=1,
    source="Gal 2016, section 4; PyTorch, Module.train",
    readme="dl_026/3",
    seed="002/5",
)
def passes_in_a_mode(draw):
    mode, B = draw("model.train()", "model.eval()", "model.eval(), then its dropout modules .train()"), draw(4, 8, 16)
    effects = {
        "model.train()": "they differ, and depend on the other examples",
        "model.eval()": "all passes are equal",
        "model.eval(), then its dropout modules .train()": "they differ, each example by itself",
    }
    return Choice(
        ask=f"A network with dropout and BatchNorm, a batch of {B}, many passes after {mode}. What are an example's "
        "passes like?",
        given=dict(mode=mode, B=B),
        answer=effects[mode],
        traps={f"that is {other}": text for other, text in effects.items() if other != mode},
        hints=("Which modules draw, and which take statistics of the batch?", "dropout: training; BatchNorm: eval"),
        why="In training mode BatchNorm also moves its statistics, and fails on a batch of one. Afterwards each module "
        "gets its own mode back.",
    )


@passes_in_a_mode.second
def _(mode, B):
    import numpy as np

    def run(x, seed):
        drops = "train" in mode
        mask = np.random.default_rng(seed).random(x.shape[1]) < 0.5 if drops else np.full(x.shape[1], 0.5)
        h = x * mask
        return h - h.mean(0) if mode == "model.train()" else h - 0.3

    x = np.random.default_rng(9).normal(size=(B, 40))
    other = x.copy()
    other[1:] += 1
    if np.array_equal(run(x, 0), run(x, 1)):
        return "all passes are equal"
    alone = np.array_equal(run(x, 0)[0], run(other, 0)[0])
    return "they differ, each example by itself" if alone else "they differ, and depend on the other examples"


@question(topic="uncertainty.mc_dropout", level=2, source="Gal 2016, section 4", readme="dl_026/3")
def mean_over_passes(draw):
    p, q = draw.between(70, 95) / 100, draw.between(5, 40) / 100
    passes, first = draw(10, 20, 50), draw.between(2, 9)
    return Number(
        ask=f"{first} of {passes} passes give a class {p:g}, the others {q:g}. What does MC dropout predict for it?",
        given=dict(p=p, q=q, passes=passes, first=first),
        answer=(first * p + (passes - first) * q) / passes,
        traps={"of the two values": (p + q) / 2, "the vote": first / passes, "the last pass": q},
        hints=("Average probabilities, each pass counts once.", "(first · p + (passes - first) · q) / passes"),
        why="Passes are samples of the prediction: the mean is what is said, the spread is how ignorant the model "
        "is. With a fixed rate it does not shrink with more data.",
    )


@mean_over_passes.second
def _(p, q, passes, first):
    import numpy as np

    return float(np.where(np.arange(passes) < first, p, q).mean())


@question(
    topic="uncertainty.ensembles",
    level=2,
    source="Lakshminarayanan 2017, section 2.4",
    readme="dl_026/4",
    seed=("001/2", "002/4"),
)
def variance_of_a_mixture(draw):
    m = draw.sample(range(1, 13), 3)
    v = [draw(0.5, 1.0, 2.0, 3.0, 4.0) for _ in range(3)]
    mean = sum(m) / 3
    return Number(
        ask=f"Three networks predict means {m[0]}, {m[1]}, {m[2]} and variances {v[0]:g}, {v[1]:g}, {v[2]:g}. What "
        "is the variance of their equal mixture?",
        given=dict(m=m, v=v),
        answer=sum(v) / 3 + sum((one - mean) ** 2 for one in m) / 3,
        traps={
            "noise alone": sum(v) / 3,
            "ignorance alone": sum((one - mean) ** 2 for one in m) / 3,
            "divided by 2": sum(v) / 3 + sum((one - mean) ** 2 for one in m) / 2,
        },
        hints=("The mean of the variances, and the variance of the means.", "Σ v / 3 + Σ (m - mean)^2 / 3"),
        why="What the members report is noise, which stays; how far they are apart is ignorance, which more data "
        "lower. Members that are wrong together show none.",
    )


@variance_of_a_mixture.second
def _(m, v):
    import numpy as np

    second_moment = np.mean(np.array(v) + np.array(m, float) ** 2)
    return float(second_moment - np.mean(m) ** 2)


@question(
    topic="uncertainty.ensembles", level=1, source="Depeweg 2018, section 3", readme="dl_026/4", seed=("001/2", "002/4")
)
def noise_or_ignorance(draw):
    case, n = draw("half", "fair", "mixed"), draw(4, 6, 10)
    members = {
        "half": f"{n // 2} are certain of class A and {n // 2} are certain of class B",
        "fair": f"all {n} say 50 % for A and 50 % for B",
        "mixed": f"{n // 2} say 90 % for A, and {n // 2} say 90 % for B",
    }
    texts = {"half": "ignorance alone", "fair": "noise alone", "mixed": "some of both"}
    return Choice(
        ask=f"An ensemble: {members[case]}. The mean is 50 % each. What is it that the mean is unsure of?",
        given=dict(case=case, n=n),
        answer=texts[case],
        traps={f"if {members[other].split(',')[0]}": text for other, text in texts.items() if other != case},
        hints=("Is each member unsure, or are they unlike each other?", "H(mean) = mean of H + mutual information"),
        why="The mean prediction is the same in all of these. Only the members tell whether more data would help.",
    )


@noise_or_ignorance.second
def _(case, n):
    import numpy as np

    high = {"half": 1.0, "fair": 0.5, "mixed": 0.9}[case]
    a = np.where(np.arange(n) < n // 2, high, 1 - high)
    p = np.clip(np.stack([a, 1 - a], 1), 1e-12, 1)
    noise = -(p * np.log(p)).sum(1).mean()
    whole = -(p.mean(0) * np.log(p.mean(0))).sum()
    if noise < 1e-6:
        return "ignorance alone"
    return "noise alone" if whole - noise < 1e-6 else "some of both"


@question(
    topic="uncertainty.ensembles", level=2, source="Ovadia 2019, section 4", readme="dl_026/5", seed=("001/5", "002/6")
)
def price_of_an_ensemble(draw):
    M, T, X, N = draw(3, 5, 10), draw(20, 30, 50), draw(50, 100, 300), draw(1, 2, 4, 10, 40)
    return Number(
        ask=f"A training costs as much as {X} million forward passes; {N} million predictions are made. {M} "
        f"networks, or one with {T} passes of MC dropout: what is the cost of the first over that of the second?",
        given=dict(M=M, T=T, X=X, N=N),
        answer=M * (X + N) / (X + T * N),
        unit="x",
        traps={"training alone": float(M), "predictions alone": M / T, "one training": (X + M * N) / (X + T * N)},
        hints=(
            "Each member is trained and asked once; dropout trains once and asks T times.",
            "M · (X + N) / (X + T · N)",
        ),
        why="Ensembles pay in training, dropout in use. Members reach unlike minima, so they usually are better "
        "calibrated, above all under a shift.",
    )


@price_of_an_ensemble.second
def _(M, T, X, N):
    ensemble = sum(X + N for _member in range(M))
    dropout = X + sum(N for _pass in range(T))
    return ensemble / dropout


@question(topic="uncertainty.heteroscedastic", level=1, source="Nix 1994; Kendall 2017, section 2.2", readme="dl_026/6")
def loss_of_a_variance(draw):
    r, v = draw(0.5, 1.5, 2.0, 3.0, 4.0), draw(0.25, 0.5, 2.0, 4.0, 9.0)
    return Number(
        ask=f"A network is off by {r:g} and predicts a variance of {v:g}. What is the Gaussian negative "
        "log-likelihood, without its constant?",
        given=dict(r=r, v=v),
        answer=(r**2 / v + log(v)) / 2,
        traps={
            "logarithm of the deviation": (r**2 / v + log(v) / 2) / 2,
            "no logarithm": r**2 / v / 2,
            "squared error": r**2 / 2,
            "the half forgotten": r**2 / v + log(v),
        },
        hints=("Error over variance, and a price for a large variance.", "(r^2 / v + ln v) / 2"),
        why="The logarithm keeps the variance from growing for ever. Predict the logarithm itself, and no clamp is "
        "needed.",
    )


@loss_of_a_variance.second
def _(r, v):
    import numpy as np

    density = np.exp(-(r**2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    return float(-np.log(density) - np.log(2 * np.pi) / 2)


@question(topic="uncertainty.heteroscedastic", level=2, source="Seitzer 2022, section 4", readme="dl_026/6")
def gradient_by_the_mean(draw):
    r, s, beta = draw(1, 2, 3, 5), draw(0.5, 2.0, 3.0, 4.0), draw(0.25, 0.5, 0.75)
    return Number(
        ask=f"beta-NLL: the loss of an example times sigma^(2·beta), without gradient. The mean is {r} too high, "
        f"sigma is {s:g}, beta {beta:g}. What is the gradient by the mean?",
        given=dict(r=r, s=s, beta=beta),
        answer=r * s ** (2 * beta - 2),
        traps={
            "beta = 0, the likelihood": r / s**2,
            "beta = 1, squared error": float(r),
            "variance for sigma": r * s ** (4 * beta - 4),
        },
        hints=("The likelihood's gradient is r / s^2; then the weight.", "r · s^(2·beta - 2)"),
        why="Under the likelihood an example with a large variance hardly teaches the mean, so a bad fit stays bad. "
        "The weight gives some of it back.",
    )


@gradient_by_the_mean.second
def _(r, s, beta):
    weight, h = s ** (2 * beta), 1e-3

    def loss(mean):
        return weight * (mean**2 / s**2 + 2 * log(s)) / 2

    return (loss(r + h) - loss(r - h)) / (2 * h)


@question(topic="uncertainty.heteroscedastic", level=2, source="Seitzer 2022, section 4", readme="dl_026/6")
def factor_of_a_large_sigma(draw):
    beta, f = draw(0, 0.5, 1), draw(3, 4, 5)
    texts = {0: f"{f * f} times smaller", 0.5: f"{f} times smaller", 1: "as large as before"}
    return Choice(
        ask=f"beta-NLL with beta = {beta:g}; the predicted sigma of an example is made {f} times larger, its error "
        "stays. The gradient by the mean is",
        given=dict(beta=beta, f=f),
        answer=texts[beta],
        traps={f"with beta = {other:g}": text for other, text in texts.items() if other != beta},
        hints=("Which power of sigma stands before the error?", "error · sigma^(2·beta - 2)"),
        why="That is how a network hides a bad fit behind a large variance. Squared error does not let it, and "
        "learns no variance; between them lies a good middle.",
    )


@factor_of_a_large_sigma.second
def _(beta, f):
    def gradient(sigma):
        likelihood = 0.7 / (sigma * sigma)
        return likelihood * (sigma * sigma) ** beta

    ratio = round(gradient(1.3) / gradient(1.3 * f), 6)
    return "as large as before" if ratio == 1 else f"{ratio:g} times smaller"


@question(
    topic="uncertainty.variational", level=2, source="Blundell 2015, section 3.2", readme="dl_026/7", seed="001/3"
)
def divergence_from_a_prior(draw):
    m, s = draw(0.25, 0.5, 1.0, 1.5, 2.0), draw(0.1, 0.3, 0.5, 2.0, 3.0)
    return Number(
        ask=f"A weight's posterior is a Gaussian of mean {m:g} and deviation {s:g}, the prior has mean 0 and "
        "deviation 1. What is KL(posterior || prior) in nats?",
        given=dict(m=m, s=s),
        answer=(s**2 + m**2 - 1 - 2 * log(s)) / 2,
        traps={
            "logarithm once": (s**2 + m**2 - 1 - log(s)) / 2,
            "the other way": ((1 + m**2) / s**2 - 1 + 2 * log(s)) / 2,
            "the half forgotten": s**2 + m**2 - 1 - 2 * log(s),
        },
        hints=(
            "Square of the deviation, square of the mean, and the logarithm of the variance.",
            "(s^2 + m^2 - 1 - 2·ln s) / 2",
        ),
        why="It comes once for the whole data set. The expectation is under the posterior, so it forbids weights where "
        "the prior has none.",
    )


@divergence_from_a_prior.second
def _(m, s):
    import numpy as np

    z = np.linspace(-14, 14, 200001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    log_ratio = -(z**2) / 2 - np.log(s) + (m + s * z) ** 2 / 2
    return float((density * log_ratio).sum() * (z[1] - z[0]))


@question(
    topic="uncertainty.variational", level=2, source="Blundell 2015, section 3.4", readme="dl_026/7", seed="001/3"
)
def share_of_the_divergence(draw):
    N, B, kind = draw(1000, 5000, 60000), draw(50, 100, 200), draw("mean", "sum")
    kl = draw.between(200, 900) * 10
    return Number(
        ask=f"Bayes by Backprop: {N} examples, batches of {B}, KL of all weights {kl} nats. The batch's loss is the "
        f"{kind} of its negative log-likelihoods. What is added to it for the KL?",
        given=dict(N=N, B=B, kind=kind, kl=kl),
        answer=kl / N if kind == "mean" else kl * B / N,
        traps={
            "as for the other loss": kl * B / N if kind == "mean" else kl / N,
            "all of it": float(kl),
            "per example of the batch": kl / B,
        },
        hints=(
            "Over an epoch the KL comes once, beside the sum of all N examples.",
            "kl / N for a mean, kl · B / N for a sum",
        ),
        why="In full in each batch it pulls all weights to the prior, and the model learns nothing.",
    )


@share_of_the_divergence.second
def _(N, B, kind, kl):
    batches = [range(start, start + B) for start in range(0, N, B)]
    share = kl / len(batches)  # of one batch, beside the sum of its losses
    return share if kind == "sum" else share / len(batches[0])


@question(
    topic="uncertainty.variational",
    level=2,
    source="Kingma 2015, section 2.2; Blundell 2015",
    readme="dl_026/7",
    seed="001/1",
)
def line_of_local_noise(draw):
    x, mu = draw.sample(range(2, 7), 2), draw.sample(range(-3, 4), 2)
    sigma, z = draw([0.5, 1.5], [1.5, 2.0], [0.5, 3.0]), draw(-1.5, 0.5, 2.0)
    wrong, mended = draw(
        ("    var = sum(a * s**2 for a, s in zip(x, sigma))", "    var = sum(a**2 * s**2 for a, s in zip(x, sigma))"),
        ("    return mean + var * z", "    return mean + var**0.5 * z"),
        ("    var = sum(a * s for a, s in zip(x, sigma)) ** 2", "    var = sum(a**2 * s**2 for a, s in zip(x, sigma))"),
    )
    code = f"""
def local(x, mu, sigma, z):
    mean = sum(a * m for a, m in zip(x, mu))
    var = sum(a**2 * s**2 for a, s in zip(x, sigma))
    return mean + var**0.5 * z
out = local({x}, {mu}, {sigma}, {z})
print(round(out, 3))
"""
    right = sum(a * m for a, m in zip(x, mu, strict=True))
    right += sum(a**2 * s**2 for a, s in zip(x, sigma, strict=True)) ** 0.5 * z
    return Bug(
        ask="Weights are independent Gaussians (mu, sigma). Local reparameterisation draws their sum with x from "
        "one z. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(right, 3)),
        traps={
            "the mean is linear": "    mean = sum(a * m for a, m in zip(x, mu))",
            "only rounded": "print(round(out, 3))",
        },
        hints=("What is the variance of a sum of independent terms?", "mean + sqrt(Σ x^2 · sigma^2) · z"),
        why="A sum of Gaussians is one, so each example gets noise of its own for two products. Gradients vary less "
        "than with weights drawn once for the batch.",
    )


@question(
    topic="uncertainty.conformal", level=1, source="Angelopoulos 2021, section 1", readme="dl_026/8", seed="002/8"
)
def rank_of_the_threshold(draw):
    n, a = draw(19, 24, 50, 99, 100, 150, 200, 250, 500, 1000), draw(5, 10, 15, 20)
    return Number(
        ask=f"Split conformal prediction with {n} held-out scores should miss at most {a} %. They are "
        "sorted, the smallest first. Which one is the threshold, counted from 1?",
        given=dict(n=n, a=a),
        answer=ceil((n + 1) * (100 - a) / 100),
        unit="",
        traps={
            "quantile of n, rounded down": n * (100 - a) // 100,
            "from the other end": ceil((n + 1) * a / 100),
        },
        hints=("Among n + 1 exchangeable scores, the new one's place is uniform.", "⌈(n + 1) · (100 - a) / 100⌉"),
        why="One more than the scores that are there, since the new one takes part. Rounded down, or as a plain "
        "quantile, it covers too little.",
    )


@rank_of_the_threshold.second
def _(n, a):
    # The new score is equally likely at each of n + 1 places; it is covered at the places up to the rank.
    return next(rank for rank in range(n + 2) if 100 * rank >= (n + 1) * (100 - a))


@question(
    topic="uncertainty.conformal", level=2, source="Angelopoulos 2021, section 1", readme="dl_026/9", seed="002/8"
)
def examples_that_are_needed(draw):
    a = draw.between(2, 30)
    return Number(
        ask=f"Split conformal prediction should miss at most {a} %. How many held-out examples are needed at least, "
        "so that the threshold is finite?",
        given=dict(a=a),
        answer=ceil(100 / a) - 1,
        unit="examples",
        traps={"n in place of n + 1": ceil(100 / a), "miss and cover swapped": ceil(100 / (100 - a)) - 1},
        hints=("The rank must not exceed the number of scores.", "⌈100 / a⌉ - 1"),
        why="With fewer, sets hold all classes. That is the honest answer; code that clips the level breaks the "
        "promise silently.",
    )


@examples_that_are_needed.second
def _(a):
    n = 1
    while 100 * n < (n + 1) * (100 - a):  # the largest score covers n of n + 1 places
        n += 1
    return n


@question(
    topic="uncertainty.conformal", level=2, source="Angelopoulos 2021, section 1", readme="dl_026/8", seed="002/8"
)
def classes_of_a_set(draw):
    odds = [draw.between(37, 41), draw.between(26, 30), draw.between(15, 19), draw.between(8, 11)]
    p, inside = draw.shuffled(odds), draw(2, 3)
    bar, last = 102 - odds[inside - 1], 102 - odds[inside]
    held = sorted([*draw.sample(range(5, 58), 7), bar, last])

    def chosen(bar):
        return str([c for c in range(4) if 100 - p[c] <= bar])

    return Predict(
        ask="Nine held-out scores 100 - p (in %), and the probabilities of a new example. 80 % are to be covered. "
        "What is printed?",
        code=f"""
from math import ceil
held = {held}
p = {p}
rank = ceil((len(held) + 1) * 0.8)
bar = sorted(held)[rank - 1]
print([c for c in range(4) if 100 - p[c] <= bar])
""",
        answer=chosen(bar),
        traps={
            "the best class alone": str([p.index(max(p))]),
            "the largest score": chosen(held[-1]),
        },
        hints=("rank is 8. Which classes have a score up to the eighth?", "100 - p <= bar"),
        why="One bar for all examples, so a set may be empty, or hold more than one class. It holds the label as "
        "often as promised, on average, if examples are exchangeable.",
    )


@question(topic="uncertainty.conformal", level=2, source="Romano 2020, APS, section 2", readme="dl_026/10")
def size_of_an_adaptive_set(draw):
    p = sorted(draw.shuffled([draw.between(30, 45), draw.between(20, 29), draw.between(8, 15), draw.between(5, 7)]))[
        ::-1
    ]
    p.append(100 - sum(p))
    bar = draw(50, 60, 75, 80, 90, 95)
    return Predict(
        ask="Probabilities of five classes in %. The score of a class is its own probability and all larger ones, "
        f"added up. An adaptive set holds the classes with a score of at most {bar}. Which scores are in?",
        code=f"""
p, passed, kept = {p}, 0, []
for one in sorted(p, reverse=True):
    passed += one
    if passed <= {bar}:
        kept.append(passed)
print(kept)
""",
        answer=str([one for one in _passed(p) if one <= bar]),
        traps={
            "the one that crosses, too": str(_passed(p)[: sum(one <= bar for one in _passed(p)) + 1]),
            "own class left out": str([one for one in [0, *_passed(p)[:-1]] if one <= bar]),
            "single probabilities": str([one for one in p if 100 - one <= bar]),
        },
        hints=("Add from the largest on.", "the sums up to bar"),
        why="A spread-out prediction gets a large set and a sharp one a small set, so coverage is more even over "
        "inputs than with one bar on 1 - p.",
    )


def _passed(p):
    ordered = sorted(p, reverse=True)
    return [sum(ordered[: c + 1]) for c in range(len(p))]


@question(
    topic="uncertainty.conformal", level=1, source="Angelopoulos 2021; Ovadia 2019", readme="dl_026/8", seed="002/11"
)
def method_for_a_wish(draw):
    wish, n = draw("coverage", "ignorance", "confidence"), draw(500, 1000, 5000)
    wishes = {
        "coverage": "sets that hold the label in 90 % of cases, for whatever law the data have",
        "ignorance": "to tell what more training data would mend from what is noise",
        "confidence": "confidences that match how often it is right, with no prediction changed",
    }
    methods = {
        "coverage": "split conformal prediction",
        "ignorance": "some more networks of other seeds",
        "confidence": "a temperature",
    }
    return Choice(
        ask=f"There is one trained classifier and {n} held-out examples. You want {wishes[wish]}. What do you add?",
        given=dict(wish=wish, n=n),
        answer=methods[wish],
        traps={f"that is for {other}": text for other, text in methods.items() if other != wish},
        hints=("What does each change: sets, members, or logits?", "rank of scores; spread of members; logits / T"),
        why="Each answers another question: a promise on sets, where the doubt comes from, or honest numbers. They "
        "can be combined.",
    )


@method_for_a_wish.second
def _(wish, n):
    promises = {  # keeps predictions, has a guarantee for finite samples, splits the doubt
        "a temperature": (True, False, False),
        "split conformal prediction": (True, True, False),
        "some more networks of other seeds": (False, False, True),
    }
    if wish == "coverage":
        return next(name for name, (_, sure, _) in promises.items() if sure)
    if wish == "ignorance":
        return next(name for name, (_, _, splits) in promises.items() if splits)
    return next(name for name, (keeps, sure, _) in promises.items() if keeps and not sure)


@question(topic="uncertainty.conformal_regression", level=1, source="Romano 2019, CQR, section 4", readme="dl_026/11")
def width_of_an_interval(draw):
    low, width, q = draw.between(20, 90) / 10, draw.between(20, 80) / 10, draw(-0.6, -0.3, 0.2, 0.4, 0.7, 1.1)
    high = round(low + width, 1)
    return Number(
        ask=f"Quantile heads say {low:g} and {high:g}. The conformal threshold of max(low - y, y - high) is {q:g}. "
        "How wide is the interval that is given?",
        given=dict(low=low, high=high, q=q),
        answer=high - low + 2 * q,
        traps={"one side": high - low + q, "not mended": high - low, "the sign": high - low - 2 * q},
        hints=("Both ends move by q, outward if it is positive.", "high - low + 2 · q"),
        why="The heads give the shape, the threshold mends the coverage in both directions: a negative one makes "
        "intervals narrower.",
    )


@width_of_an_interval.second
def _(low, high, q):
    ends = low - q, high + q
    return ends[1] - ends[0]


@question(topic="uncertainty.conformal_regression", level=2, source="Romano 2019, CQR, section 4", readme="dl_026/11")
def scores_of_an_interval(draw):
    low, high = draw.between(10, 20), draw.between(26, 40)
    ys = draw.shuffled([low - draw.between(1, 8), draw.between(low + 1, (low + high) // 2), high + draw.between(1, 8)])
    right = [max(low - y, y - high) for y in ys]
    return Predict(
        ask=f"Conformal scores for the interval from {low} to {high}, three targets. What is printed?",
        code=f"""
for y in {ys}:
    print(max({low} - y, y - {high}))
""",
        answer="\n".join(map(str, right)),
        traps={
            "nothing inside": "\n".join(str(max(one, 0)) for one in right),
            "from the middle": "\n".join(str(abs(y - (low + high) / 2)) for y in ys),
            "the sign": "\n".join(str(-one) for one in right),
        },
        hints=("How far is a target outside? What if it is inside?", "max(low - y, y - high)"),
        why="Inside it is negative, so that intervals which are too wide get narrower, too. An interval of a mean, "
        "give or take one number, has one width everywhere.",
    )


@question(topic="uncertainty.ood", level=1, source="Liu 2020, section 3", readme="dl_026/12", seed="002/9")
def energy_of_an_input(draw):
    z = [draw.between(-10, 50) / 10 for _ in range(3)]
    total = sum(map(exp, z))
    return Number(
        ask=f"Logits {z[0]:g}, {z[1]:g}, {z[2]:g}. What is the energy at temperature 1?",
        given=dict(z=z),
        answer=-log(exp(z[0]) + exp(z[1]) + exp(z[2])),
        traps={
            "the sign": log(total),
            "the largest logit": -max(z),
            "1 - largest probability": 1 - exp(max(z)) / total,
        },
        hints=("A smooth maximum of the logits, with a minus.", "-ln(e^z0 + e^z1 + e^z2)"),
        why="It keeps the size of the logits, which softmax throws away. Unlike inputs tend to have small logits, so a "
        "high energy.",
    )


@energy_of_an_input.second
def _(z):
    import numpy as np

    return -float(np.logaddexp.reduce(np.array(z)))


@question(topic="uncertainty.ood", level=2, source="Liu 2020, section 3", readme="dl_026/12", seed="002/9")
def constant_on_all_logits(draw):
    score, c = draw("1 - largest probability", "energy", "largest logit"), draw(2, 3, 5, 10)
    effects = {"1 - largest probability": "it stays", "energy": f"it falls by {c}", "largest logit": f"it grows by {c}"}
    return Choice(
        ask=f"{c} is added to all logits of an input. What becomes of this score: {score}?",
        given=dict(score=score, c=c),
        answer=effects[score],
        traps={f"of the {other}": text for other, text in effects.items() if other != score},
        hints=("Which of them does softmax see?", "p does not change; -ln Σ e^(z + c)"),
        why="Softmax sees differences alone. What it throws away, the size of all logits, may be what tells unlike "
        "inputs apart.",
    )


@constant_on_all_logits.second
def _(score, c):
    import numpy as np

    def value(z):
        if score == "energy":
            return -np.logaddexp.reduce(z)
        return z.max() if score == "largest logit" else 1 - np.exp(z.max()) / np.exp(z).sum()

    z = np.array([0.3, 1.2, -0.4])
    change = round(float(value(z + c) - value(z)), 6)
    return "it stays" if change == 0 else f"it {'grows' if change > 0 else 'falls'} by {abs(change):g}"


@question(topic="uncertainty.ood", level=2, source="Hendrycks 2017, section 2", readme="dl_026/12")
def area_under_the_curve(draw):
    numbers = draw.sample(range(10, 99), 7)
    inside, outside = numbers[:4], numbers[4:]
    wins = sum(o > i for o in outside for i in inside)
    return Number(
        ask=f"Scores of inside examples: {inside}; of outside ones: {outside}. Outside should score higher. What is "
        "the AUROC?",
        given=dict(inside=inside, outside=outside),
        answer=sum(o > i for o in outside for i in inside) / 12,
        traps={
            "turned round": 1 - wins / 12,
            "above all inside": sum(o > max(inside) for o in outside) / 3,
            "above the mean": sum(o > sum(inside) / 4 for o in outside) / 3,
        },
        hints=("Of all pairs, how many are in the right order?", "pairs with outside > inside / (4 · 3)"),
        why="It is the probability that an outside example scores higher. How many slip through at a usable "
        "threshold is another number: report both.",
    )


@area_under_the_curve.second
def _(inside, outside):
    import numpy as np

    ranks = np.argsort(np.argsort(inside + outside)) + 1
    return float((ranks[4:].sum() - 3 * 4 / 2) / (3 * 4))  # by the sum of ranks


@question(topic="uncertainty.selective", level=1, source="Geifman 2017, section 2", readme="dl_026/13", seed="002/10")
def risk_of_the_surest(draw):
    n, k = draw.between(8, 12), draw(3, 4, 5, 6)
    wrong = sorted(draw.sample(range(1, n + 1), 3))
    within = sum(place <= k for place in wrong)
    return Number(
        ask=f"{n} examples by falling confidence; those at places {wrong[0]}, {wrong[1]} and {wrong[2]} are wrong. "
        f"What is the risk if the {k} surest are answered?",
        given=dict(n=n, k=k, wrong=wrong),
        answer=100 * sum(place <= k for place in wrong) / k,
        unit="%",
        traps={"of all": 300 / n, "over all": 100 * within / n, "of the refused": 100 * (3 - within) / (n - k)},
        hints=("Wrong ones among those that are answered, over these.", "100 · wrong places up to k / k"),
        why="A useful confidence makes the risk fall as fewer are answered. Only the order matters, not whether the "
        "confidences are calibrated.",
    )


@risk_of_the_surest.second
def _(n, k, wrong):
    import numpy as np

    miss = np.isin(np.arange(1, n + 1), wrong)
    return float(100 * np.cumsum(miss)[k - 1] / np.arange(1, n + 1)[k - 1])


@question(topic="uncertainty.selective", level=2, source="Geifman 2017, section 3", readme="dl_026/13", seed="002/10")
def answered_below_a_risk(draw):
    miss = [0, *[draw(0, 0, 1) for _ in range(7)]]
    bar = draw(0.15, 0.2, 0.25, 0.3)
    risks = [sum(miss[:k]) / k for k in range(1, 9)]
    fit = [k for k in range(1, 9) if risks[k - 1] <= bar]
    return Predict(
        ask="Examples by falling confidence, 1 is a miss. What is printed: with which numbers of answers is the risk "
        "borne?",
        code=f"""
miss = {miss}
counts = range(1, len(miss) + 1)
print([k for k in counts if sum(miss[:k]) / k <= {bar}])
""",
        answer=str(fit),
        traps={
            "up to the first that is not": str([k for k in fit if all(one in fit for one in range(1, k))]),
            "over all examples": str([k for k in range(1, 9) if sum(miss[:k]) / 8 <= bar]),
            "single misses": str([k for k in range(1, 9) if miss[k - 1] <= bar]),
        },
        hints=("Risk of the k surest: misses among them, over k.", "sum(miss[:k]) / k <= bar"),
        why="The risk does not fall evenly: take the largest count, with a bound for chance, and hand the rest to a "
        "person.",
    )
