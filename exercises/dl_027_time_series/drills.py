"""Questions on forecasts whose numbers change: `grader drill --topic series.scores`."""

from itertools import pairwise
from math import exp, sqrt

from grader.drills import Blank, Choice, Number, Order, Predict, question


@question(topic="series.windows", level=1, source="Hyndman 2021, section 5.10", readme="dl_027/1")
def windows_of_a_series(draw):
    T, c, h, s = draw.between(90, 400), draw(24, 30, 48), draw(6, 7, 12), draw(2, 3, 5, 7)
    return Number(
        ask=f"A series of {T} steps, windows of {c} steps of past and {h} of future, a new one every {s} steps from "
        "the first on. How many whole windows?",
        given=dict(T=T, c=c, h=h, s=s),
        answer=(T - c - h) // s + 1,
        unit="windows",
        traps={"the last forgotten": (T - c - h) // s, "future not kept": (T - c) // s + 1, "no overlap": T // (c + h)},
        hints=("The last one begins at T - c - h at the latest.", "⌊(T - c - h) / s⌋ + 1"),
        why="Neighbours share nearly all their steps. A random split of them puts the same values into training and "
        "test.",
    )


@windows_of_a_series.second
def _(T, c, h, s):
    return sum(1 for start in range(0, T, s) if start + c + h <= T)


@question(topic="series.windows", level=2, source="Tashman 2000, section 3", readme="dl_027/1")
def windows_before_a_cut(draw):
    c, h, s = draw(4, 5, 6), draw(2, 3, 4), draw(2, 3)
    cut = draw.between(16, 24)
    starts = range(0, 30 - c - h + 1, s)
    train, test = [i for i in starts if i + c + h <= cut], [i for i in starts if i + c >= cut]
    return Predict(
        ask=f"30 steps, {c} of past and {h} of future, the cut is before step {cut}. Which windows, by their first "
        "step, are for training and which for the test?",
        code=f"""
starts = range(0, 30 - {c + h} + 1, {s})
print([i for i in starts if i + {c} + {h} <= {cut}])
print([i for i in starts if i + {c} >= {cut}])
""",
        answer=f"{train}\n{test}",
        traps={
            "the past alone before the cut": f"{[i for i in starts if i + c <= cut]}\n{test}",
            "nothing of the past in the test": f"{train}\n{[i for i in starts if i >= cut]}",
            "none left between": f"{train}\n{[i for i in starts if i not in train]}",
        },
        hints=(
            "A training window ends, with its future, before the cut. What of a test window may reach back?",
            "end <= cut; first future step >= cut",
        ),
        why="The past of a test window is known by then. Windows whose future lies across the cut belong to neither.",
    )


@question(topic="series.windows", level=2, source="Kaufman 2012, Leakage in data mining", readme="dl_027/1")
def where_the_future_leaks(draw):
    case, n = draw("split", "scale", "clean"), draw(200, 365, 500)
    texts = {
        "split": "windows of training share steps with those of the test",
        "scale": "inputs of training know the level of the test period",
        "clean": "nothing leaks",
    }
    how = {
        "split": "overlapping windows are shuffled and split at random, each scaled by its own past",
        "scale": "windows are split by a cut, and scaled by mean and deviation of the whole series",
        "clean": "windows are split by a cut, and scaled by their own past; a test window's past reaches over the cut",
    }
    return Choice(
        ask=f"A series of {n} steps: {how[case]}. What leaks?",
        given=dict(case=case, n=n),
        answer=texts[case],
        traps={
            f"that is the fault of a {other}" if other != "clean" else "all is well": text
            for other, text in texts.items()
            if other != case
        },
        hints=("Which numbers of training would change if the test period were another?", "values, scales, or none"),
        why="Ask what changes in training if the future were another. All that does has leaked. What is past at the "
        "time of a forecast is fair.",
    )


@where_the_future_leaks.second
def _(case, n):
    import numpy as np

    cut = n // 2
    windows = np.arange(n - 5)
    train = windows[::2] if case == "split" else windows[windows + 6 <= cut]
    test = np.setdiff1d(windows, train) if case == "split" else windows[windows + 5 >= cut]

    def inputs(future):
        series = np.r_[np.sin(np.arange(cut)), np.full(n - cut, future)]
        mean = series.mean() if case == "scale" else 0.0
        return np.array([series[i : i + 5] - mean for i in train if i + 5 <= cut])

    targets = [set(range(i, i + 6)) for i in train], [i + 5 for i in test]  # all steps, and first future steps
    if any(step in seen for step in targets[1] for seen in targets[0]):
        return "windows of training share steps with those of the test"
    same = np.array_equal(inputs(0.0), inputs(9.0))
    return "nothing leaks" if same else "inputs of training know the level of the test period"


@question(topic="series.scores", level=1, source="Hyndman 2006, section 3", readme="dl_027/2")
def scaled_error(draw):
    y = draw.sample(range(1, 31), 5)
    e = draw(1.0, 2.0, 3.0, 4.5)
    step = sum(abs(b - a) for a, b in pairwise(y)) / 4
    return Number(
        ask=f"The past is {y}. Forecasts of what followed are off by {e:g} on average, in absolute value. What is "
        "the MASE?",
        given=dict(y=y, e=e),
        answer=e / ((abs(y[1] - y[0]) + abs(y[2] - y[1]) + abs(y[3] - y[2]) + abs(y[4] - y[3])) / 4),
        traps={
            "over all steps": e / (step * 4 / 5),
            "by the level": e / (sum(y) / 5),
            "first to last": e / abs(y[4] - y[0]),
        },
        hints=("What does repeating the last value cost in the past, on average?", "e / (Σ |y_t - y_(t-1)| / 4)"),
        why="It has no unit and is defined for zeros; one means as good as repeating the last value was. It is not "
        "defined for a past that never changes.",
    )


@scaled_error.second
def _(y, e):
    import numpy as np

    return float(e / np.abs(np.diff(y)).mean())


@question(topic="series.scores", level=2, source="Kolassa 2020; Hyndman 2006, section 2", readme="dl_027/2")
def forecast_that_a_score_likes(draw):
    score = draw("squared error", "absolute error", "percentage error")
    a, b, c = draw((2, 6, 13), (3, 7, 17), (2, 8, 20), (3, 8, 19), (4, 10, 22))
    texts = {"squared error": "their mean", "absolute error": "the middle one", "percentage error": "the lowest"}
    name = "MAPE" if score == "percentage error" else f"mean {score}"
    return Choice(
        ask=f"Demand is {a}, {b} or {c} with equal odds. Which single forecast has the smallest {name}?",
        given=dict(score=score, a=a, b=b, c=c),
        answer=texts[score],
        traps={f"by {other}": text for other, text in texts.items() if other != score},
        hints=(
            "Which errors weigh most, those at large or at small targets? Try them.",
            "(y - f)^2, |y - f|, |y - f| / y",
        ),
        why="A percentage punishes errors at small targets most, so low forecasts win. Squares ask for the mean, "
        "absolute errors for the median.",
    )


@forecast_that_a_score_likes.second
def _(score, a, b, c):
    def cost(f):
        of = {"squared error": lambda y: (y - f) ** 2, "absolute error": lambda y: abs(y - f)}
        return sum(of.get(score, lambda y: abs(y - f) / y)(y) for y in (a, b, c))

    best = min((i / 30 for i in range(30 * (c + 1))), key=cost)
    return {a: "the lowest", b: "the middle one"}.get(best, "their mean")


@question(topic="series.scores", level=1, source="Koenker 1978; Gneiting 2007, section 6", readme="dl_027/3")
def pinball_of_a_quantile(draw):
    q, y, f = draw(0.1, 0.2, 0.8, 0.9, 0.95), draw.between(5, 30), draw.between(5, 30)
    return Number(
        ask=f"The {q:g}-quantile is forecast as {f}, and {y} comes. What is the pinball loss?",
        given=dict(q=q, y=y, f=f),
        answer=q * (y - f) if y > f else (1 - q) * (f - y),
        traps={
            "sides swapped": (1 - q) * (y - f) if y > f else q * (f - y),
            "absolute error": float(abs(y - f)),
            "half of it": abs(y - f) / 2,
        },
        hints=("A target above costs q a unit, one below 1 - q.", "q · (y - f) or (1 - q) · (f - y)"),
        why="Its mean is smallest where the wanted share of targets lies below. Twice its integral over all levels "
        "is the CRPS.",
    )


@pinball_of_a_quantile.second
def _(q, y, f):
    return max(q * (y - f), (q - 1) * (y - f))


@question(topic="series.scores", level=2, source="Gneiting 2007, section 4.2", readme=("dl_027/3", "dl_027/4"))
def crps_of_samples(draw):
    x, y = sorted(draw.sample(range(1, 20), 3)), draw.between(1, 20)
    near, apart = sum(abs(a - y) for a in x) / 3, sum(abs(a - b) for a in x for b in x)
    return Number(
        ask=f"Three samples of a forecast: {x[0]}, {x[1]}, {x[2]}; {y} comes. What is the CRPS of the samples' own "
        "law, with equal weights?",
        given=dict(x=x, y=y),
        answer=sum(abs(a - y) for a in x) / 3 - sum(abs(a - b) for a in x for b in x) / 18,
        traps={
            "absolute error alone": near,
            "the half forgotten": near - apart / 9,
            "the fair version": near - apart / 12,
        },
        hints=(
            "Mean distance to the target, less half the mean distance of two samples.",
            "Σ |x - y| / 3 - Σ Σ |x - x'| / (2 · 3 · 3)",
        ),
        why="Of few samples it is too large on average; divided by m(m - 1) it is fair. Models with unlike numbers of "
        "samples are not comparable otherwise.",
    )


@crps_of_samples.second
def _(x, y):
    import numpy as np

    grid = np.arange(0, 22) + 0.5  # between whole numbers the two step functions do not change
    below = (np.array(x)[:, None] <= grid).mean(0)
    return float(((below - (y <= grid)) ** 2).sum())


@question(topic="series.scores", level=2, source="Gneiting 2007, section 4.2", readme="dl_027/4")
def excess_of_few_samples(draw):
    m, d = draw(5, 10, 20, 25, 50, 100), draw(0.5, 1.13, 2.0, 3.0, 8.0)
    return Number(
        ask=f"Two samples of a forecast are {d:g} apart on average. By how much is the CRPS of {m} samples, as an "
        "empirical law, too large on average?",
        given=dict(m=m, d=d),
        answer=d / (2 * m),
        traps={"the half forgotten": d / m, "one less": d / (2 * m - 2), "by the root": d / (2 * m**0.5)},
        hints=("Of m² pairs m are a sample with itself, at distance 0.", "d / (2 · m)"),
        why="The mean distance comes out too small by a share, and half of it is taken off. The fair version "
        "divides by the pairs of unlike samples.",
    )


@excess_of_few_samples.second
def _(m, d):
    pairs = [0.0 if i == j else d for i in range(m) for j in range(m)]
    return d / 2 - sum(pairs) / len(pairs) / 2


@question(topic="series.baselines", level=1, source="Taylor 2018, Prophet, section 3.1", readme="dl_027/5")
def trend_behind_a_changepoint(draw):
    k, m, change = draw(0.5, 1.5, 2.0, 3.0), draw.between(5, 40), draw(-2.5, -1.0, 0.75, 1.25)
    s = draw.between(10, 40)
    t = s + draw.between(5, 30)
    return Number(
        ask=f"Prophet's trend: {m} at time 0, slope {k:g}, and at time {s} the slope changes by {change:g}. What is "
        f"the trend at time {t}?",
        given=dict(k=k, m=m, change=change, s=s, t=t),
        answer=m + k * t + change * (t - s),
        traps={
            "a jump": m + (k + change) * t,
            "no change": m + k * t,
            "the new slope is the change": m + k * s + change * (t - s),
        },
        hints=("The change works from s on, and the line does not jump.", "m + k · t + change · (t - s)"),
        why="A hinge for each changepoint keeps the trend in one piece. Beyond the data the last slope goes on for "
        "ever.",
    )


@trend_behind_a_changepoint.second
def _(k, m, change, s, t):
    level = float(m)
    for step in range(t):
        level += k + (change if step >= s else 0)
    return level


@question(topic="series.baselines", level=1, source="Taylor 2018, Prophet, section 3.2", readme="dl_027/5")
def columns_of_the_parts(draw):
    year, week, cuts, days = draw(8, 10, 12), draw(2, 3), draw(15, 20, 25), draw.between(4, 12)
    return Number(
        ask=f"Prophet as a linear model: level, slope, {cuts} changes of slope, yearly season with {year} waves, "
        f"weekly with {week}, and {days} holidays. How many columns?",
        given=dict(year=year, week=week, cuts=cuts, days=days),
        answer=2 + cuts + 2 * (year + week) + days,
        unit="columns",
        traps={
            "sines alone": 2 + cuts + year + week + days,
            "no level and slope": cuts + 2 * (year + week) + days,
            "a column for each weekday": 2 + cuts + 2 * year + 7 + days,
        },
        hints=("Each wave has a sine and a cosine.", "2 + cuts + 2 · (year + week) + days"),
        why="With priors on changes and waves it is fitted by MAP, without them it is least squares. Yesterday's "
        "value is no column: it has no autoregression.",
    )


@columns_of_the_parts.second
def _(year, week, cuts, days):
    names = ["level", "slope"] + [f"hinge {i}" for i in range(cuts)] + [f"day {i}" for i in range(days)]
    for season, waves in (("year", year), ("week", week)):
        names += [f"{wave} {i} of a {season}" for i in range(waves) for wave in ("sine", "cosine")]
    return len(set(names))


@question(topic="series.baselines", level=1, source="Hyndman 2021, section 5.2", readme="dl_027/5")
def seasonal_naive(draw):
    m, n = draw(3, 4), draw(5, 6)
    past = [draw.between(1, 50) for _ in range(2 * m + 1)]
    right = [past[h % m - m] for h in range(n)]
    return Predict(
        ask=f"A seasonal naive forecast, season {m}, {n} steps ahead. What is printed?",
        code=f"""
past = {past}
print([past[-{m}:][h % {m}] for h in range({n})])
""",
        answer=str(right),
        traps={
            "the last value": str([past[-1]] * n),
            "the first season": str([past[h % m] for h in range(n)]),
            "backwards": str([past[-1 - h % m] for h in range(n)]),
        },
        hints=("The last season is repeated.", "last[h mod season]"),
        why="The forecast to beat, together with the plain naive one. A model that does not is no model.",
    )


@question(topic="series.likelihood", level=1, source="Salinas 2017, DeepAR, section 3.1", readme="dl_027/6")
def variance_of_counts(draw):
    m, a = draw(2.0, 3.0, 4.0, 5.0, 8.0, 10.0), draw(0.1, 0.2, 0.25, 0.5, 2.0)
    return Number(
        ask=f"A negative binomial with mean {m:g} and shape alpha = {a:g}. What is its variance?",
        given=dict(m=m, a=a),
        answer=m + a * m**2,
        traps={"a Poisson law": m, "not squared": m + a * m, "the Gamma part alone": a * m**2},
        hints=("The variance of a Poisson law, and of its rate.", "m + a · m^2"),
        why="It is a Poisson law whose rate is drawn from a Gamma law, so it always varies more than its mean, as "
        "demand does.",
    )


@variance_of_counts.second
def _(m, a):
    import numpy as np

    r = 1 / a
    k = np.arange(20_000)
    steps = np.log(r + k[:-1]) - np.log(k[1:]) + np.log(m / (r + m))  # log p(k+1) - log p(k)
    logs = np.concatenate([[0.0], np.cumsum(steps)]) + r * np.log(r / (r + m))
    p = np.exp(logs)
    return float(p @ (k - p @ k) ** 2)


@question(topic="series.likelihood", level=2, source="Salinas 2017, DeepAR, section 3.1", readme="dl_027/6")
def rate_of_a_draw(draw):
    mu, alpha = draw("mu", "m", "mean"), draw("alpha", "a", "spread")
    part = draw("scale", "shape")
    m, a = draw(2.5, 4.0, 7.5), draw(0.2, 0.4, 1.25)
    gap, known = (f"{alpha} * {mu}", f"1 / {alpha}") if part == "scale" else (f"1 / {alpha}", f"{alpha} * {mu}")
    call = f"gamma({known}, ____)" if part == "scale" else f"gamma(____, {known})"
    swapped = {f"1 / {alpha}": "for the other", mu: "the mean itself", f"{mu} / {alpha}": "divided"}
    if part == "shape":
        swapped = {f"{alpha} * {mu}": "for the other", alpha: "upside down", f"{mu} / {alpha}": "divided"}
    return Blank(
        ask=f"A count whose mean is `{mu}` and whose variance is `{mu} + {alpha} · {mu}²`: first its rate is drawn, by "
        f"gamma(shape, scale). Which {part}?",
        code=f"def count({mu}, {alpha}):\n    rate = {call}\n    return poisson(rate)",
        given={mu: m, alpha: a} if part == "scale" else {alpha: a, mu: m},
        answer=gap,
        traps={name: text for text, name in swapped.items()},
        hints=(
            "Shape times scale is the mean; shape times scale squared is the variance of the rate.",
            "shape 1/a, scale a · m",
        ),
        why="A rate of that mean, with a spread that gives the extra variance; the Poisson law adds its own.",
    )


@rate_of_a_draw.second
def _(**given):
    scaled = next(iter(given)) in ("mu", "m", "mean")
    m, a = given.values() if scaled else reversed(given.values())
    extra = (m + a * m * m) - m  # variance of the rate = shape · scale², mean = shape · scale
    scale = extra / m
    return scale if scaled else m / scale


@question(topic="series.likelihood", level=1, source="Salinas 2017, DeepAR, section 3.1", readme="dl_027/6")
def law_for_counts(draw):
    m = draw.between(3, 12)
    kind = draw("calm", "poisson", "bursts")
    v = {"calm": round(m * draw(0.3, 0.5), 1), "poisson": float(m), "bursts": round(m * draw(2.5, 4, 8), 1)}[kind]
    texts = {"calm": "neither of them", "poisson": "a Poisson law", "bursts": "a negative binomial law"}
    return Choice(
        ask=f"Daily sales have mean {m} and variance {v:g}, with no trend. Which law has both, exactly and with finite "
        "parameters: a Poisson law or a negative binomial one with alpha > 0?",
        given=dict(m=m, v=v),
        answer=texts[kind],
        traps={
            f"if it had {other}": text
            for other, text in (
                ("less variance", texts["calm"]),
                ("equal variance", texts["poisson"]),
                ("more variance", texts["bursts"]),
            )
            if text != texts[kind]
        },
        hints=("Compare mean and variance.", "Poisson: v = m; negative binomial: v = m + a · m^2, a > 0"),
        why="The one has a variance equal to its mean, the other always a larger one. What varies less needs another "
        "law.",
    )


@law_for_counts.second
def _(m, v):
    alpha = (v - m) / m**2
    if alpha == 0:
        return "a Poisson law"
    return "a negative binomial law" if alpha > 0 else "neither of them"


@question(topic="series.deepar", level=1, source="Salinas 2017, section 3.3", readme="dl_027/8", seed="002/1")
def forecast_that_is_unscaled(draw):
    z = [draw.between(2, 60) for _ in range(3)]
    y = draw(0.4, 0.5, 0.8, 1.2, 2.0)
    return Number(
        ask=f"DeepAR: the conditioning range holds {z[0]}, {z[1]}, {z[2]}; the network gives a mean of {y:g} for "
        "the scaled series, whose scale is 1 + the mean of the range. What is the mean of the forecast?",
        given=dict(z=z, y=y),
        answer=y * (1 + sum(z) / 3),
        traps={"the 1 forgotten": y * sum(z) / 3, "not unscaled": y, "scaled once more": y / (1 + sum(z) / 3)},
        hints=("Inputs were divided by the scale, so outputs are multiplied.", "y · (1 + Σ z / 3)"),
        why="Sizes of series differ by powers of ten. The scale comes from the conditioning range alone: of the whole "
        "window, it would tell what is to come.",
    )


@forecast_that_is_unscaled.second
def _(z, y):
    import numpy as np

    scale = np.append(z, [1, 1, 1]).sum() / 3
    return float(scale * y)


@question(topic="series.deepar", level=1, source="Salinas 2017, section 3", readme="dl_027/7", seed="002/1")
def inputs_of_the_steps(draw):
    z, mode = draw.sample(range(10, 60), 4), draw("training", "use")
    draws = draw.sample(range(60, 90), 2)
    train, use = [z[1], z[2]], [z[1], draws[0]]
    return Predict(
        ask=f"DeepAR in {mode}, two steps ahead; `draws` are samples of its laws. Which values does it read? What is "
        "printed?",
        code=f"""
past, future, draws = {z[:2]}, {z[2:]}, {draws}
mode, last = "{mode}", past[-1]
for step in range(2):
    print(last)
    last = future[step] if mode == "training" else draws[step]
""",
        answer="\n".join(map(str, train if mode == "training" else use)),
        traps={
            "of the other mode": "\n".join(map(str, use if mode == "training" else train)),
            "its own step": "\n".join(map(str, z[2:] if mode == "training" else draws)),
            "the last known one always": f"{z[1]}\n{z[1]}",
        },
        hints=("Each step reads the value before it. Is that known?", "training: the true one; use: the draw"),
        why="In training all steps run in one pass, since their inputs are known. In use a draw stands for what is not "
        "known yet, many times over.",
    )


@question(topic="series.deepar", level=2, source="PyTorch, NaN and autograd; Salinas 2017", readme="dl_027/9")
def loss_with_a_gap(draw):
    z = [draw.between(2, 9) for _ in range(3)]
    how, place = draw("seen * (z - 1) ** 2", "(z - 1) ** 2 if seen else 0"), draw(0, 1, 2)
    total = float(sum((v - 1) ** 2 for i, v in enumerate(z) if i != place))
    nan = "(" not in how.split("*")[0]
    listed = ", ".join("float('nan')" if i == place else str(float(v)) for i, v in enumerate(z))
    zero = total + 1
    return Predict(
        ask="A target is missing. What is printed?",
        code=f"""
loss = 0.0
for z in [{listed}]:
    seen = z == z
    loss += {how}
print(loss)
""",
        answer="nan" if nan else str(total),
        traps={
            ("the mask takes NaN away" if nan else "NaN gets through"): str(total) if nan else "nan",
            "a zero for the gap": str(zero),
            "mean of the seen": str(total / 2),
        },
        hints=("Is NaN equal to itself, and what is 0 times NaN?", "seen terms alone; 0 · NaN = NaN"),
        why="Select, or fill the gap before the likelihood and multiply by zero after. The derivative at NaN is "
        "NaN, and zero times it stays NaN.",
    )


@question(topic="series.deepar", level=2, source="Salinas 2017, section 3; Box 2015", readme="dl_027/10")
def spread_that_means_hide(draw):
    f, h = draw(0.5, 0.7, 0.8, 0.9, 0.95), draw(5, 8, 10, 15, 20)
    return Number(
        ask=f"An AR(1) with coefficient {f:g}. What is the standard deviation of the value {h} steps ahead, over "
        "that of one step ahead? (Paths that feed back the mean would show that of one step.)",
        given=dict(f=f, h=h),
        answer=sqrt((1 - f ** (2 * h)) / (1 - f**2)),
        unit="x",
        traps={
            "the variance": (1 - f ** (2 * h)) / (1 - f**2),
            "a random walk": sqrt(h),
            "the mean fed back": 1.0,
            "for ever": (1 - f**h) / (1 - f),
        },
        hints=("Each shock is passed on, weaker by f at every step; variances add.", "sqrt((1 - f^(2·h)) / (1 - f^2))"),
        why="Draws that are fed back carry the uncertainty on. Feeding back means gives intervals that are far too "
        "narrow at later steps.",
    )


@spread_that_means_hide.second
def _(f, h):
    variance = 0.0
    for _step in range(h):
        variance = f * f * variance + 1
    return variance**0.5


@question(topic="series.deepar", level=2, source="Salinas 2017, section 4", readme="dl_027/10")
def quantile_of_a_sum(draw):
    H, q = draw(4, 7, 9, 14, 16, 28), draw(5, 10, 20)
    mean = draw(20, 50, 100)
    return Number(
        ask=f"{H} independent days of Gaussian demand, mean {mean} each; a day's 90 % quantile lies {q} above its "
        "mean. What is the 90 % quantile of their sum?",
        given=dict(H=H, q=q, mean=mean),
        answer=H * mean + q * sqrt(H),
        within=0.002,
        traps={
            "sum of the quantiles": float(H * (mean + q)),
            "the sum's mean": float(H * mean),
            "of one day": H * mean + q + 0.0,
        },
        hints=("Means add up, and so do variances, not deviations.", "H · mean + q · sqrt(H)"),
        why="A sum of quantiles is no quantile of the sum. Paths give it whatever the steps have to do with each "
        "other.",
    )


@quantile_of_a_sum.second
def _(H, q, mean):
    import numpy as np

    unit = np.full(H, q / 1.2815515655446004)  # deviation of a day
    return float(np.full(H, mean).sum() + 1.2815515655446004 * np.linalg.norm(unit))


@question(topic="series.deepar", level=2, source="Bengio 2015; Salinas 2017, section 3", readme="dl_027/11")
def law_of_the_paths(draw):
    case, h = draw("draws", "means", "wrong"), draw(10, 15, 20)
    how = {
        "draws": "draws are fed back, and its law of one step is right",
        "means": "means are fed back, and its law of one step is right",
        "wrong": "draws are fed back, and its law of one step has a mean a little too high",
    }
    texts = {
        "draws": "the true law",
        "means": "a law that is too narrow",
        "wrong": "a law whose mean is off by more than at the first step",
    }
    return Choice(
        ask=f"An autoregressive forecaster: {how[case]}. What is the law of its values {h} steps ahead, for an "
        "AR(1) with 0.9?",
        given=dict(case=case, h=h),
        answer=texts[case],
        traps={f"if {how[other]}": text for other, text in texts.items() if other != case},
        hints=(
            "Follow mean and variance from step to step.",
            "mean: 0.9 · mean + error; variance: 0.81 · variance + 1",
        ),
        why="Reading its own draws is no fault if one-step laws are right: ancestral sampling then is exact. Where "
        "they are wrong, errors are read again.",
    )


@law_of_the_paths.second
def _(case, h):
    mean, variance, true = 0.0, 0.0, 0.0
    for _step in range(h):
        mean = 0.9 * mean + (0.1 if case == "wrong" else 0)
        variance = (0 if case == "means" else 0.81 * variance) + 1
        true = 0.81 * true + 1
    if abs(mean) > 0.1:
        return "a law whose mean is off by more than at the first step"
    return "the true law" if abs(variance - true) < 1e-9 else "a law that is too narrow"


@question(topic="series.tft", level=2, source="Lim 2019, TFT, section 4.4", readme="dl_027/14", seed=("002/2", "002/3"))
def weights_of_shared_values(draw):
    d, h = draw(64, 128, 160, 240, 320), draw(4, 8)
    return Number(
        ask=f"TFT's interpretable attention: width {d}, {h} heads of width {d // h} with queries and keys of their "
        f"own, one value projection to {d // h} for all, and a product from {d // h} back to {d}. How many weights, "
        "without biases?",
        given=dict(d=d, h=h),
        answer=2 * d * d + 2 * d * (d // h),
        unit="weights",
        traps={
            "usual attention": 4 * d * d,
            "the way back as wide": 3 * d * d + d * (d // h),
            "values for each head": 3 * d * d,
        },
        hints=(
            "Queries and keys: d · d each. Values and the way back: one head's width.",
            "2 · d · d + 2 · d · (d / h)",
        ),
        why="With one value projection the output is linear in the mean of the heads' weights, so that mean says "
        "how much each step counted.",
    )


@weights_of_shared_values.second
def _(d, h):
    import numpy as np

    heads = [np.zeros((2, d, d // h)) for _head in range(h)]
    return sum(head.size for head in heads) + np.zeros((d, d // h)).size + np.zeros((d // h, d)).size


@question(topic="series.tft", level=1, source="Lim 2019, TFT, section 4.4", readme="dl_027/14", seed="002/3")
def output_of_shared_values(draw):
    a, b = draw(0.1, 0.2, 0.3, 0.4), draw(0.5, 0.7, 0.8, 0.9)
    v, w = draw.between(1, 9), draw.between(10, 30)
    return Number(
        ask=f"Two heads put weights {a:g} and {b:g} on the first of two steps, the rest on the second. They share "
        f"values, here {v} and {w}. What does TFT's attention give, before its last product?",
        given=dict(a=a, b=b, v=v, w=w),
        answer=(a + b) / 2 * v + (1 - (a + b) / 2) * w,
        traps={
            "the heads added up": (a + b) * v + (2 - a - b) * w,
            "first head": a * v + (1 - a) * w,
            "plain mean": (v + w) / 2,
        },
        hints=("Average the heads' weights, then weigh the values.", "(a + b)/2 · v + (1 - (a + b)/2) · w"),
        why="One matrix of weights is what was really used. Where each head has values of its own, the mean of the "
        "weights is no part of the computation.",
    )


@output_of_shared_values.second
def _(a, b, v, w):
    import numpy as np

    heads = np.array([[a, 1 - a], [b, 1 - b]]) @ np.array([v, w])
    return float(heads.mean())


@question(topic="series.tft", level=1, source="Lim 2019, TFT, section 4.1", readme="dl_027/12", seed="002/2")
def residual_of_a_gate(draw):
    x, v, g = draw(-2, 1, 3, 5), draw(-4, -2, 2, 4, 6), draw(-3.0, -1.0, 0.5, 2.0)
    return Number(
        ask=f"A gated residual network: its input is {x}, behind the layers the value is {v} and the gate's logit "
        f"{g:g}. What goes into the layer norm?",
        given=dict(x=x, v=v, g=g),
        answer=x + v / (1 + exp(-g)),
        traps={"input gated, too": (x + v) / (1 + exp(-g)), "no gate": float(x + v), "no skip": v / (1 + exp(-g))},
        hints=("The gate scales the value, and the input is added.", "x + v · 1 / (1 + e^(-g))"),
        why="With a closed gate the input goes on as it is, so a part that the data do not need switches itself off.",
    )


@residual_of_a_gate.second
def _(x, v, g):
    import numpy as np

    return float(x + v * np.exp(-np.logaddexp(0, -g)))


@question(topic="series.tft", level=2, source="Lim 2019, TFT, section 4.1", readme="dl_027/12", seed="002/2")
def steps_of_a_gated_block(draw):
    d, c = draw(16, 32, 64, 160), draw(8, 12)
    steps = [
        f"linear layer on the {d} inputs, and on a context of {c}, added",
        "ELU",
        f"linear layer from {d} to {d}",
        f"linear layer to {2 * d}, one half times the sigmoid of the other",
        "the input is added",
        "layer norm",
    ]
    return Order(
        ask="A gated residual network of the TFT. In which order?",
        given=dict(d=d, c=c),
        answer=steps,
        traps={
            "normalised first": [steps[5], *steps[:5]],
            "context after the ELU": [steps[1], steps[0], *steps[2:]],
            "gated first": [steps[3], *steps[:3], *steps[4:]],
        },
        hints=(
            "The context comes before the only nonlinearity, the gate after both layers.",
            "context, ELU, linear, gate, skip, norm",
        ),
        why="The context, such as the shop, changes how a step is read. The gate decides how much of it all is added.",
    )


@steps_of_a_gated_block.second
def _(d, c):
    reads = {  # what each step needs, and what it makes
        "layer norm": ("sum", "output"),
        f"linear layer from {d} to {d}": ("activated", "mixed"),
        "the input is added": ("gated", "sum"),
        f"linear layer to {2 * d}, one half times the sigmoid of the other": ("mixed", "gated"),
        "ELU": ("context in", "activated"),
        f"linear layer on the {d} inputs, and on a context of {c}, added": ("input", "context in"),
    }
    order, have = [], "input"
    while have != "output":
        order.append(next(step for step, (need, _) in reads.items() if need == have))
        have = reads[order[-1]][1]
    return order


@question(topic="series.tft", level=2, source="Lim 2019, TFT, section 4.2", readme="dl_027/13", seed="002/2")
def weight_of_a_variable(draw):
    a, b = draw(-1.0, 0.5, 1.0, 2.0), draw(-0.5, 0.25, 1.5, 3.0)
    c = draw(-1.5, 0.75, 2.5)
    return Number(
        ask=f"Variable selection: scores {a:g} and {b:g} for two variables that are there, {c:g} for one that is "
        "absent. What weight does the first get?",
        given=dict(a=a, b=b, c=c),
        answer=exp(a) / (exp(a) + exp(b)),
        traps={
            "the absent one counted": exp(a) / (exp(a) + exp(b) + exp(c)),
            "no exponential": abs(a) / (abs(a) + abs(b)),
            "its score set to 0": exp(a) / (exp(a) + exp(b) + 1),
        },
        hints=("A softmax over the variables that are there.", "e^a / (e^a + e^b)"),
        why="An absent variable is masked in its score and its input. Weights are read as importances with care: "
        "correlated variables share them arbitrarily.",
    )


@weight_of_a_variable.second
def _(a, b, c):
    import numpy as np

    scores = np.where([True, True, False], [a, b, c], -np.inf)
    return float(np.exp(scores - np.logaddexp.reduce(scores))[0])


@question(topic="series.tft", level=2, source="Lim 2019, TFT, section 4.2", readme="dl_027/13", seed="002/2")
def output_of_a_selection(draw):
    pairs = draw.shuffled([(0.2, draw.between(55, 65)), (0.3, draw.between(45, 54)), (0.5, draw.between(10, 26))])
    weights, values = [w for w, _ in pairs], [v for _, v in pairs]
    shares = [round(w * v, 1) for w, v in zip(weights, values, strict=True)]
    most = shares.index(max(shares))
    return Predict(
        ask="Weights of a variable selection, and the transformed variables, one number each. Whose part of the "
        "output is largest? What is printed?",
        code=f"""
weights, values = {weights}, {values}
shares = [round(w * v, 1) for w, v in zip(weights, values)]
print(shares.index(max(shares)), shares)
""",
        answer=f"{most} {shares}",
        traps={
            "by the weight": f"{weights.index(0.5)} {shares}",
            "by the value": f"{values.index(max(values))} {shares}",
            "the mean of the values": f"{values.index(max(values))} {[round(v / 3, 1) for v in values]}",
        },
        hints=("A share is a weight times a value.", "weights[i] · values[i]"),
        why="A small weight on a large value counts, too. So weights alone are not how much a variable mattered.",
    )


@question(topic="series.choice", level=1, source="Taylor 2018; Salinas 2017; Lim 2019", readme="dl_027/15")
def forecaster_for_a_task(draw):
    task, n = draw("parts", "counts", "horizons"), draw(3000, 8000, 20000)
    tasks = {
        "parts": "One daily series with two clear seasons, gaps and holidays; people want to see each part as a curve",
        "counts": f"{n} short series of sales with many zeros; sample paths of whole numbers are needed",
        "horizons": f"{n} series, many covariates, static ones and some known ahead; quantiles of each day of a "
        "month, and what mattered",
    }
    models = {"parts": "Prophet", "counts": "DeepAR", "horizons": "TFT"}
    return Choice(
        ask=f"{tasks[task]}. Which one is made for it, apart from a naive forecast?",
        given=dict(task=task, n=n),
        answer=models[task],
        traps={f"that is for {other}": model for other, model in models.items() if other != task},
        hints=(
            "One series or many, paths or quantiles, and what is to be read off?",
            "additive parts; a law and draws; selection and attention",
        ),
        why="What there is decides first: number of series, covariates, paths. Then rolling origins decide, and the "
        "simple one stays unless another is better.",
    )


@forecaster_for_a_task.second
def _(task, n):
    has = {
        "TFT": {"many series", "covariates", "quantiles", "importances"},
        "Prophet": {"one series", "seasons", "gaps", "curves"},
        "DeepAR": {"many series", "counts", "paths", "covariates"},
    }
    wants = {
        "parts": {"one series", "seasons", "curves", "gaps"},
        "counts": {"many series", "counts", "paths"},
        "horizons": {"many series", "covariates", "quantiles", "importances"},
    }[task]
    return max(has, key=lambda model: len(has[model] & wants))


@question(topic="series.choice", level=2, source="Tashman 2000; Hyndman 2006", readme="dl_027/15")
def skill_over_origins(draw):
    naive = [draw.between(4, 40) for _ in range(3)]
    model = [round(one * draw(0.4, 0.5, 0.6, 0.8, 0.9), 1) for one in naive]
    ratios = [m / n for m, n in zip(model, naive, strict=True)]
    return Number(
        ask=f"Absolute errors over three rolling origins: the naive forecast has {naive} in sum, the model {model}. "
        "By what share of the naive error, all origins together, is the model better?",
        given=dict(naive=naive, model=model),
        answer=100 * (1 - sum(model) / sum(naive)),
        unit="%",
        within=0.005,
        traps={
            "mean of the ratios": 100 * (1 - sum(ratios) / 3),
            "what is left": 100 * sum(model) / sum(naive),
            "last origin alone": 100 * (1 - ratios[2]),
        },
        hints=("Add up each one's errors first.", "100 · (1 - Σ model / Σ naive)"),
        why="One origin is one draw. Sums keep an origin where little happened from deciding; a share of the naive "
        "error can be compared between series.",
    )


@skill_over_origins.second
def _(naive, model):
    import numpy as np

    saved = np.array(naive) - np.array(model)
    return float(saved.sum() / np.sum(naive) * 100)


@question(topic="series.choice", level=2, source="Tashman 2000, section 3", readme="dl_027/15")
def origins_of_a_trial(draw):
    T, first, h, s = draw(36, 48, 60, 72), draw(20, 24, 28), draw(3, 4, 6), draw(3, 4, 5)
    right = list(range(first, T - h + 1, s))
    return Predict(
        ask=f"Rolling origins over {T} steps: at least {first} of past, {h} ahead, every {s} steps. How many, and "
        "which is the last?",
        code=f"""
origins = range({first}, {T} - {h} + 1, {s})
print(len(origins), origins[-1])
""",
        answer=_summary(right),
        traps={
            "no room for the future": _summary(range(first, T + 1, s)),
            "no overlap": _summary(range(first, T - h + 1, h)),
            "from 0": _summary(range(0, T - h + 1, s)),
        },
        hints=("The last origin must leave the horizon.", "first, first + s, ... up to T - h"),
        why="At each origin a model sees its past alone, and is fitted anew. Several origins tell more than one cut.",
    )


def _summary(origins):
    return f"{len(origins)} {origins[-1]}"
