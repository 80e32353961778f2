"""Questions on normalisation whose numbers change: `grader drill --topic normalization.batch`."""

from math import sqrt

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="normalization.batch", level=1, source="Ioffe 2015, section 3.1", readme="dl_009/2", seed="001/18")
def running_statistic(draw):
    r, b, m = draw(0.0, 2.0, 5.0), draw(1.0, 4.0, 6.0, 9.0), draw(0.1, 0.01, 0.2, 0.3)
    return Number(
        ask=f"torch's BatchNorm, momentum {m:g}: the running mean is {r:g}, the mean of this batch {b:g}. What is the "
        f"running "
        "mean after the step?",
        given=dict(r=r, b=b, m=m),
        answer=(1 - m) * r + m * b,
        within=0.001,
        traps={"momentum on the old one": m * r + (1 - m) * b, "the batch alone": b, "added up": r + m * b},
        hints=("In torch, momentum weighs what is new.", "(1 - m) · r + m · b"),
        why="Other frameworks and the optimizers weigh the old value by their momentum; torch's norm weighs the new "
        "one.",
    )


@running_statistic.second
def _(r, b, m):
    return r + m * (b - r)


@question(topic="normalization.batch", level=1, source="Ioffe 2015, algorithm 2", readme="dl_009/2", seed="001/18")
def output_in_evaluation(draw):
    x, mu, v = draw(5.0, 6.0, 8.0), draw(1.0, 2.0), draw(4.0, 9.0, 16.0)
    g, b = draw(1.5, 2.0, 0.5), draw(0.5, 1.0)
    return Number(
        ask=f"BatchNorm in evaluation: running mean {mu:g}, running variance {v:g}, weight {g:g}, bias {b:g}, eps 0. "
        f"What becomes of an entry {x:g}?",
        given=dict(x=x, mu=mu, v=v, g=g, b=b),
        answer=g * (x - mu) / sqrt(v) + b,
        within=0.001,
        traps={
            "divided by the variance": g * (x - mu) / v + b,
            "weight and bias forgotten": (x - mu) / sqrt(v),
            "not centred": g * x / sqrt(v) + b,
        },
        hints=("Centre, divide by the deviation, scale, shift.", "g · (x - mu) / sqrt(v) + b"),
        why="In evaluation every number is a constant, so the layer is an affine map and the batch plays no part.",
    )


@output_in_evaluation.second
def _(x, mu, v, g, b):
    slope = g * v**-0.5
    return x * slope + (b - mu * slope)


@question(topic="normalization.batch", level=2, source="Ioffe 2015, section 3.1", readme="dl_009/3")
def biased_and_unbiased(draw):
    n, v, m = draw(2, 4, 5, 8, 10), draw(2.0, 3.0, 6.0), draw(0.1, 0.5)
    return Number(
        ask=f"torch's BatchNorm in training: a channel with {n} values, whose mean squared distance from their mean "
        f"is {v:g}. "
        f"The running variance is 1, momentum {m:g}. What is it after the step?",
        given=dict(n=n, v=v, m=m),
        answer=(1 - m) + m * v * n / (n - 1),
        within=0.001,
        traps={
            "biased in the statistics": (1 - m) + m * v,
            "momentum on the old one": m + (1 - m) * v * n / (n - 1),
            "divided by n + 1": (1 - m) + m * v * n / (n + 1),
        },
        hints=(
            "The batch is divided by the biased one; the statistics keep the other.",
            "(1 - m) + m · v · n / (n - 1)",
        ),
        why="The batch is normalised by what it is. The statistics estimate the variance of all data, which a "
        "sample's own "
        "mean makes look smaller.",
    )


@biased_and_unbiased.second
def _(n, v, m):
    import numpy as np

    x = np.arange(n, dtype=float)
    x = (x - x.mean()) * np.sqrt(v / x.var())
    return float((1 - m) * 1 + m * x.var(ddof=1))


@question(topic="normalization.batch", level=2, source="Ioffe 2015, section 3", readme=("dl_009/2", "dl_009/4"))
def what_does_not_reach_the_input(draw):
    case = draw("constant", "the output itself", "the input's square", "twice the output")
    nothing, something = "0 everywhere", "not 0"
    return Choice(
        ask=f"One channel of BatchNorm in training, weight 1, eps 0. The gradient that comes from above is, over the "
        f"batch: "
        f"{case if case != 'constant' else 'the same number for every value'}. What is the gradient of the input?",
        given=dict(case=case),
        answer=something if "square" in case else nothing,
        traps={
            "what the layer removes": nothing if "square" in case else something,
            "passed on": "the same, divided by the deviation",
        },
        hints=("Which changes of the input leave the output as it is?", "shift and scale of the channel"),
        why="Shifting or scaling the channel changes nothing, so gradients along ones and along the output never "
        "arrive.",
    )


@what_does_not_reach_the_input.second
def _(case):
    import numpy as np

    x = np.array([1.0, 2.0, 4.0, 9.0, 7.5])

    def norm(x):
        return (x - x.mean()) / x.std()

    dout = {"constant": np.full(5, 3.0), "the output itself": norm(x), "the input's square": x * x}.get(
        case, 2 * norm(x)
    )
    dx = [((norm(x + 1e-5 * step) - norm(x - 1e-5 * step)) @ dout) / 2e-5 for step in np.eye(5)]
    return "0 everywhere" if np.abs(dx).max() < 1e-6 else "not 0"


@question(topic="normalization.layer", level=1, source="Ba 2016, section 3", readme="dl_009/1", seed="001/19")
def number_of_means(draw):
    n, T, d = draw(8, 16, 32, 64), draw(128, 256, 512, 1024), draw(768, 1024)
    return Number(
        ask=f"LayerNorm over the features of {n} sequences of {T} tokens of width {d}. How many means are taken?",
        given=dict(n=n, T=T, d=d),
        answer=n * T,
        unit="means",
        traps={"one a feature": d, "one a sequence": n, "one a value": n * T * d},
        hints=("One for each vector that is normalised; which vectors?", "n · T"),
        why="Each token is normalised by itself: nothing depends on the batch, on its length, or on padding.",
    )


@number_of_means.second
def _(n, T, d):
    import numpy as np

    return np.broadcast_to(0.0, (n, T, d)).max(-1).size


@question(topic="normalization.layer", level=2, source="Ba 2016, section 3", readme="dl_009/1")
def what_depends_on_whom(draw):
    norm = draw("BatchNorm in training", "BatchNorm in evaluation", "LayerNorm", "GroupNorm", "InstanceNorm")
    batch, own, channel = "all samples of the batch", "no other value", "values of the same sample alone"
    right = {"BatchNorm in training": batch, "BatchNorm in evaluation": own}.get(norm, channel)
    wrong = [one for one in (batch, own, channel) if one != right]
    return Choice(
        ask=f"{norm}, an input of samples × channels × places. On which other values of the input does one output "
        f"depend?",
        given=dict(norm=norm),
        answer=right,
        traps={"axes confused": wrong[0], "training and evaluation": wrong[1]},
        hints=("Over which axes are the mean and the variance taken, and when?", "batch, or sample, or constants"),
        why="Only BatchNorm in training mixes samples. A transformer takes a norm that works on one token, at any "
        "batch "
        "size.",
    )


@what_depends_on_whom.second
def _(norm):
    import numpy as np

    x = np.random.default_rng(1).normal(size=(3, 4, 5))

    def out(x):
        if norm == "BatchNorm in evaluation":
            return (x - 0.1) / 1.2
        shaped = x.reshape(3, 2, 2, 5) if norm == "GroupNorm" else x
        axes = {"BatchNorm in training": (0, 2), "LayerNorm": (1, 2), "GroupNorm": (2, 3), "InstanceNorm": (2,)}[norm]
        shaped = (shaped - shaped.mean(axes, keepdims=True)) / shaped.std(axes, keepdims=True)
        return shaped.reshape(x.shape)

    touched = set()
    for place in np.ndindex(*x.shape):
        moved = x.copy()
        moved[place] += 1e-3
        if place != (0, 0, 0) and abs(out(moved) - out(x))[0, 0, 0] > 1e-9:
            touched.add(place[0])
    if not touched:
        return "no other value"
    return "all samples of the batch" if len(touched) == 3 else "values of the same sample alone"


@question(topic="normalization.rms", level=1, source="Zhang 2019, section 4", readme="dl_009/6", seed="001/20")
def entry_of_rms(draw):
    x = draw.sample(range(1, 13), 4)
    mean = sum(x) / 4
    return Number(
        ask=f"RMSNorm of ({', '.join(map(str, x))}), weight 1, eps 0. What is the first entry?",
        given=dict(x=x),
        answer=x[0] / sqrt(sum(one * one for one in x) / 4),
        traps={
            "centred, as LayerNorm": (x[0] - mean) / sqrt(sum((one - mean) ** 2 for one in x) / 4),
            "the sum for the mean": x[0] / sqrt(sum(one * one for one in x)),
            "divided by the mean": x[0] / mean,
        },
        hints=("Divide by the root of the mean square.", "x[0] / sqrt(mean of x²)"),
        why="No mean is taken away. On a vector whose mean is 0, it is LayerNorm.",
    )


@entry_of_rms.second
def _(x):
    import numpy as np

    return float(x[0] * np.sqrt(4) / np.linalg.norm(np.array(x, float)))


@question(topic="normalization.rms", level=2, source="Zhang 2019, section 4", readme="dl_009/6")
def which_are_the_same(draw):
    scale, shift = draw(2, 3, 5), draw(1, 2, 4)
    norm, change = draw("RMSNorm", "RMSNorm", "LayerNorm"), draw("multiplied by", "raised by", "raised by")
    same = norm == "LayerNorm" or change == "multiplied by"
    by = scale if change == "multiplied by" else shift
    return Choice(
        ask=f"Every entry of a vector is {change} {by}. eps 0. What becomes of its {norm}?",
        given=dict(norm=norm, change=change, by=by),
        answer="the same as before" if same else "another vector",
        traps={
            "which one centres": "another vector" if same else "the same as before",
            "not normalised": f"{change} {by}",
        },
        hints=(
            "What does each divide by, and what does it take away first?",
            "x / rms(x) against (x - mean) / deviation",
        ),
        why="Both forget the size of a vector. Only LayerNorm forgets a number that is added to all of it.",
    )


@which_are_the_same.second
def _(norm, change, by):
    import numpy as np

    def out(x):
        x = x - x.mean() if norm == "LayerNorm" else x
        return x / np.sqrt((x * x).mean())

    x = np.array([1.0, -2.0, 4.0, 0.5])
    moved = out(x * by if change == "multiplied by" else x + by)
    return "the same as before" if np.allclose(moved, out(x)) else "another vector"


@question(topic="normalization.group", level=1, source="Wu 2018, section 3", readme="dl_009/5")
def values_of_a_group(draw):
    c, G, h, n = draw(32, 64, 128, 256), draw(8, 16, 32), draw(7, 14, 28), draw(2, 4)
    return Number(
        ask=f"GroupNorm with {G} groups on {n} samples of {c} channels and {h} × {h} places. Over how many values is "
        f"a mean "
        "taken?",
        given=dict(c=c, G=G, h=h, n=n),
        answer=c // G * h * h,
        unit="values",
        traps={
            "groups for channels of a group": G * h * h,
            "all channels": c * h * h,
            "the batch too": n * c // G * h * h,
        },
        hints=("Channels of one group, all places, one sample.", "c / G · h · h"),
        why="One group is LayerNorm over channels and places; a group for each channel is InstanceNorm.",
    )


@values_of_a_group.second
def _(c, G, h, n):
    import numpy as np

    groups = np.broadcast_to(0.0, (n, c, h, h)).reshape(n, G, -1, h, h)
    return groups[0, 0].size


@question(topic="normalization.group", level=2, source="Wu 2018, section 3", readme="dl_009/5")
def groups_of_channels(draw):
    c, G = draw((4, 2), (6, 2), (6, 3), (8, 4))
    x = draw.sample(range(1, 30), c)
    k = c // G
    means = [sum(x[i * k : (i + 1) * k]) / k for i in range(G)]
    strided = [sum(x[i::G]) / k for i in range(G)]
    return Predict(
        ask="The channels of one place, and the means of their groups. What is printed?",
        code=f"""
import numpy as np
channels = np.array({x})
print(channels.reshape({G}, -1).mean(1).round(2).tolist())
""",
        answer=str([round(one, 2) for one in means]),
        traps={
            "every nth channel": str([round(one, 2) for one in strided]),
            "one mean for all": str([round(sum(x) / c, 2)]),
        },
        hints=("Channels that stand beside each other make a group.", "the mean of c / G neighbours"),
        why="Groups are blocks of neighbouring channels, as the reshape makes them.",
    )


@question(topic="normalization.sync", level=2, source="Chan 1979", readme="dl_009/5")
def variance_of_two_halves(draw):
    a, b, u, v = draw(1.0, 2.0, 3.0), draw(5.0, 6.0, 9.0), draw(1.0, 2.0), draw(3.0, 4.0)
    n, m = draw(2, 4, 6), draw(4, 8, 12)
    mean = (n * a + m * b) / (n + m)
    return Number(
        ask=f"A GPU has {n} values of mean {a:g} and variance {u:g}, another {m} values of mean {b:g} and variance "
        f"{v:g} (biased ones). What is the variance of all together?",
        given=dict(n=n, m=m, a=a, b=b, u=u, v=v),
        answer=(n * (u + a * a) + m * (v + b * b)) / (n + m) - mean * mean,
        within=0.002,
        traps={
            "mean of the variances": (n * u + m * v) / (n + m),
            "sizes forgotten": (u + v) / 2 + ((a - b) / 2) ** 2,
            "unbiased": (n * (u + a * a) + m * (v + b * b) - (n + m) * mean * mean) / (n + m - 1),
        },
        hints=(
            "Mean squares add up, weighted by their numbers; then take the square of the mean away.",
            "E[x²] - E[x]²",
        ),
        why="What lies between the means is variance, too. Each GPU sends its number, its mean and its mean square.",
    )


@variance_of_two_halves.second
def _(n, m, a, b, u, v):
    import numpy as np

    one = np.array([a - sqrt(u), a + sqrt(u)] * (n // 2))
    other = np.array([b - sqrt(v), b + sqrt(v)] * (m // 2))
    return float(np.concatenate([one, other]).var())


@question(topic="normalization.sync", level=1, source="torch, SyncBatchNorm", readme="dl_009/5")
def values_sent(draw):
    c, r, b, h = draw(32, 64, 96, 128, 256, 384, 512, 1024), draw(2, 4, 8), draw(2, 4, 8), draw(7, 14)
    return Number(
        ask=f"Synchronised BatchNorm on {r} GPUs: {b} samples of {c} channels and {h} × {h} places each. Each GPU "
        f"sends what "
        "is needed for a common mean and variance: how many numbers in a forward pass, with the number of its values?",
        given=dict(c=c, r=r, b=b, h=h),
        answer=2 * c + 1,
        unit="numbers",
        traps={"all activations": b * c * h * h, "the mean alone": c + 1, "a count for each channel": 3 * c},
        hints=("What has to be known of each channel, and what of all?", "2 · c + 1"),
        why="Sums and sums of squares of each channel are enough: batch and places are added up before anything is "
        "sent.",
    )


@values_sent.second
def _(c, r, b, h):
    message = [("mean", channel) for channel in range(c)] + [("mean square", channel) for channel in range(c)]
    return len([*message, "count"])


@question(topic="normalization.folding", level=1, source="Jacob 2018, section 3.2", readme="dl_009/7")
def folded_bias(draw):
    b, mu, v, g, beta = draw(0.0, 1.0), draw(2.0, 3.0), draw(4.0, 0.25, 16.0), draw(1.5, 3.0), draw(0.5, 2.0)
    return Number(
        ask=f"A convolution with bias {b:g} before BatchNorm in evaluation: mean {mu:g}, variance {v:g}, weight "
        f"{g:g}, bias {beta:g}, eps 0. What is the bias of the folded convolution?",
        given=dict(b=b, mu=mu, v=v, g=g, beta=beta),
        answer=(b - mu) * g / sqrt(v) + beta,
        within=0.001,
        traps={
            "not scaled": b - mu + beta,
            "divided by the variance": (b - mu) * g / v + beta,
            "mean forgotten": b * g / sqrt(v) + beta,
        },
        hints=(
            "Put the convolution's output into the norm, and collect what does not depend on the input.",
            "(b - mu) · g / sqrt(v) + beta",
        ),
        why="Two affine maps after each other are one. In training the statistics move with the batch, and nothing "
        "folds.",
    )


@folded_bias.second
def _(b, mu, v, g, beta):
    import numpy as np

    x, w = np.array([0.0, 1.0, 2.0]), 0.7
    out = g * ((w * x + b) - mu) / np.sqrt(v) + beta
    return float(np.polyfit(x, out, 1)[1])


@question(topic="normalization.folding", level=2, source="Jacob 2018, section 3.2", readme="dl_009/7")
def axis_of_the_scale(draw):
    o, i = draw.sample((2, 3, 4), 2)
    wrong, mended = draw(
        ("    scale = g / v", "    scale = g / v ** 0.5"),
        (
            "    return w * scale[None, :1], scale * (b - mu) + beta",
            "    return w * scale[:, None], scale * (b - mu) + beta",
        ),
        (
            "    return w * scale[:, None], scale * b - mu + beta",
            "    return w * scale[:, None], scale * (b - mu) + beta",
        ),
    )
    code = f"""
import numpy as np
def fold(w, b, g, beta, mu, v):
    scale = g / v ** 0.5
    return w * scale[:, None], scale * (b - mu) + beta
draw = np.random.default_rng({10 * o + i})
w, x = draw.normal(size=({o}, {i})), draw.normal(size={i})
b, g, beta, mu, v = draw.uniform(1, 2, size=(5, {o}))
out = g * (w @ x + b - mu) / np.sqrt(v) + beta
w2, b2 = fold(w, b, g, beta, mu, v)
print(np.allclose(w2 @ x + b2, out))
"""
    return Bug(
        ask="A linear layer and a BatchNorm in evaluation become one layer; True should be printed. Which line is "
        "wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints="True",
        traps={
            "the norm itself is right": "out = g * (w @ x + b - mu) / np.sqrt(v) + beta",
            "so is the layer": f"w, x = draw.normal(size=({o}, {i})), draw.normal(size={i})",
        },
        hints=(
            "Each row of w makes one output channel: which axis does its scale belong to?",
            "g / √v, rows, scale · (b - mu)",
        ),
        why="A scale belongs to an output channel, which is a row of the weight, and it scales the bias less the mean "
        "too.",
    )


@question(topic="normalization.weight_norm", level=1, source="Salimans 2016, section 2")
def normed_weight(draw):
    a, b = draw((3.0, 4.0), (5.0, 12.0), (8.0, 6.0), (8.0, 15.0))
    g = draw(1.0, 2.0, 5.0)
    return Number(
        ask=f"Weight norm: v = ({a:g}, {b:g}), g = {g:g}. What is the first entry of the weight?",
        given=dict(a=a, b=b, g=g),
        answer=g * a / sqrt(a * a + b * b),
        within=0.001,
        traps={
            "not normalised": g * a,
            "divided by the sum": g * a / (a + b),
            "root mean square": g * a / sqrt((a * a + b * b) / 2),
        },
        hints=("The direction of v, with length g.", "g · a / sqrt(a² + b²)"),
        why="Length and direction are learned apart. It needs no statistics, so training and evaluation are alike.",
    )


@normed_weight.second
def _(a, b, g):
    import cmath

    return g * cmath.exp(1j * cmath.phase(complex(a, b))).real


@question(topic="normalization.weight_norm", level=2, source="Salimans 2016, section 2.1")
def longest_gradient(draw):
    lengths = draw.sample((1, 2, 4, 5, 8, 10), 3)
    names = [f"v of length {one}" for one in lengths]
    order = [name for _, name in sorted(zip(lengths, names, strict=True), reverse=True)]
    return Order(
        ask="Weight norm with the same g, the same direction of v and the same gradient by the weight. Whose v gets "
        "the shortest gradient? Shortest first.",
        given=dict(lengths=lengths),
        answer=order,
        traps={"longest first": order[::-1]},
        hints=("How far does the direction turn when v moves by a small step?", "gradient by v ∝ g / length of v"),
        why="The longer v is, the less a step turns it. Steps are at right angles to v, so it only grows: a learning "
        "rate that falls by itself.",
    )


@longest_gradient.second
def _(lengths):
    import numpy as np

    def gradient(length):
        v, dw = length * np.array([0.6, 0.8]), np.array([1.0, 0.3])
        return np.linalg.norm((dw - v * (v @ dw) / (v @ v)) / np.linalg.norm(v))

    return [f"v of length {one}" for one in sorted(lengths, key=gradient)]
