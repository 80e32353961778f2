"""Questions on initialisation whose numbers change: `grader drill --topic initialization.variance`."""

from math import log, sqrt

from grader.drills import Blank, Choice, Number, Order, Predict, question


@question(topic="initialization.variance", level=1, source="Glorot 2010, equation 16", readme="dl_006/3", seed="001/17")
def xavier_bound(draw):
    i, o = draw(256, 512, 1024), draw(128, 768, 2048)
    return Number(
        ask=f"Xavier initialisation, uniform, of a layer from {i} to {o} features, gain 1. What is the bound: weights "
        f"lie between "
        "minus and plus what?",
        given=dict(i=i, o=o),
        answer=sqrt(6 / (i + o)),
        traps={"the standard deviation": sqrt(2 / (i + o)), "fan in alone": sqrt(6 / i), "no root": 6 / (i + o)},
        hints=("The variance is 2 / (i + o); a uniform law has a third of its bound's square.", "sqrt(6 / (i + o))"),
        why="It lies between what keeps the forward pass (1/i) and what keeps the backward pass (1/o).",
    )


@xavier_bound.second
def _(i, o):
    variance = 2 / (i + o)
    low, high = 0.0, 1.0
    for _cut in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if middle**2 / 3 < variance else (low, middle)
    return (low + high) / 2


@question(topic="initialization.variance", level=2, source="He 2015, section 2.2", readme="dl_006/2", seed="001/17")
def he_of_a_convolution(draw):
    c, o, k = draw(3, 64, 128, 256), draw(32, 512), draw(3, 5, 7)
    mode = draw("fan_in", "fan_out")
    n = (c if mode == "fan_in" else o) * k * k
    return Number(
        ask=f"He initialisation for ReLU, {mode}, of a convolution with {c} channels in, {o} out, kernel {k} × {k}. "
        f"Which standard "
        "deviation?",
        given=dict(c=c, o=o, k=k, mode=mode),
        answer=sqrt(2 / n),
        traps={
            "the kernel's area forgotten": sqrt(2 / (n / k / k)),
            "the other fan": sqrt(2 / ((o if mode == "fan_in" else c) * k * k)),
            "the factor 2 forgotten": sqrt(1 / n),
        },
        hints=("How many products are added up for one output, or for one gradient?", "sqrt(2 / (channels · k · k))"),
        why="ReLU leaves half of the second moment, so the weights need twice the variance. Either fan will do for "
        "depth: "
        "the two differ by a constant.",
    )


@he_of_a_convolution.second
def _(c, o, k, mode):
    terms = 0
    for _channel in range(c if mode == "fan_in" else o):
        terms += k * k
    share_kept = 0.5
    return (1 / (terms * share_kept)) ** 0.5


@question(topic="initialization.variance", level=2, source="He 2015, section 2.2", readme=("dl_006/2", "dl_006/3"))
def variance_after_layers(draw):
    n, L = draw(256, 512), draw(4, 6, 8, 10)
    kind = draw("Xavier's variance", "He's variance", "the variance 1 / (4 n)")
    factor = {"Xavier's variance": 0.5, "He's variance": 1.0, "the variance 1 / (4 n)": 0.125}[kind]
    return Number(
        ask=f"{L} linear layers of width {n}, each followed by ReLU, weights drawn with {kind}, no biases. By what "
        f"factor does the mean "
        "square of the activations change on average, wide layers assumed?",
        given=dict(n=n, L=L, kind=kind, factor=factor),
        answer=factor**L,
        traps={
            "ReLU forgotten": (2 * factor) ** L,
            "halved twice": (factor / 2) ** L,
            "a factor left out": factor**L * 4,
        },
        hints=("Per layer: width, times the variance, times the half that ReLU leaves.", "factor^L"),
        why="Xavier is made for a unit around 0, and a ReLU halves what it passes. Over many layers that is a power.",
    )


@variance_after_layers.second
def _(n, L, kind, factor):
    variance = {"Xavier's variance": 2 / (n + n), "He's variance": 2 / n, "the variance 1 / (4 n)": 1 / (4 * n)}[kind]
    square = 1.0
    for _layer in range(L):
        before_relu = n * variance * square
        square = before_relu / 2
    return square


@question(topic="initialization.variance", level=3, source="He 2015, section 2.2", readme="dl_006/4")
def gain_of_a_leaky_unit(draw):
    a = draw(0.1, 0.2, 0.25, 0.3, 0.5, 0.75)
    return Number(
        ask=f"Leaky ReLU with slope {a:g} below 0. Which gain (a factor on the standard deviation 1/√n) keeps the "
        f"mean square?",
        given=dict(a=a),
        answer=sqrt(2 / (1 + a * a)),
        within=0.001,
        traps={"of ReLU": sqrt(2), "the slope not squared": sqrt(2 / (1 + a)), "the variance": 2 / (1 + a * a)},
        hints=("Half of the values keep their square, half keep a² of it.", "sqrt(2 / (1 + a²))"),
        why="For any activation: one over the root of the mean square that it makes of a standard normal value.",
    )


@gain_of_a_leaky_unit.second
def _(a):
    import numpy as np

    x = (np.arange(-400_000, 400_000) + 0.5) / 50_000
    weight = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi) / 50_000
    return float((np.where(x > 0, x, a * x) ** 2 * weight).sum() ** -0.5)


@question(
    topic="initialization.symmetry", level=1, source="Goodfellow 2016, section 8.4", readme="dl_006/1", seed="001/16"
)
def units_that_differ(draw):
    m = draw(2, 3, 4, 5, 6, 7)
    groups = [draw.between(2, 4) for _ in range(m)]
    n = sum(groups)
    return Number(
        ask=f"A hidden layer of {n} units, full connections in and out. Its units begin in groups of equal weights "
        f"and biases, the "
        f"groups of {', '.join(map(str, groups))} units. Nothing else is random. How many different units are there "
        f"after "
        "training, at most?",
        given=dict(groups=groups),
        answer=len(groups),
        unit="units",
        traps={"all come apart": n, "all become one": 1, "the largest group": max(groups)},
        hints=("Units with equal weights get equal gradients.", "the number of groups"),
        why="What is equal stays equal. Random weights, or dropout, tell units apart; a constant never does.",
    )


@units_that_differ.second
def _(groups):
    return len({number for number, size in enumerate(groups) for _unit in range(size)})


@question(
    topic="initialization.symmetry", level=2, source="Goodfellow 2016, section 8.4", readme="dl_006/1", seed="001/16"
)
def who_gets_a_gradient(draw):
    act, case = draw("tanh", "ReLU", "sigmoid"), draw("all", "last", "first")
    zeros = {
        "all": "every weight is 0",
        "last": "the last layer's weights are 0, the first ones random",
        "first": "the first layer's weights are 0, the last ones random",
    }[case]
    alone, first = "the output bias alone", "the first layer, and the output bias"
    last, both = "the last layer's weights, and the output bias", "both layers"
    right = {
        "all": last if act == "sigmoid" else alone,
        "last": last,
        "first": {"tanh": first, "ReLU": alone, "sigmoid": both}[act],
    }[case]
    wrong = [text for text in (alone, first, last, both) if text != right]
    return Choice(
        ask=f"Two layers with {act} between them, biases 0; {zeros}. ReLU's derivative at 0 is 0. What gets a "
        f"gradient in the "
        "first step?",
        given=dict(act=act, case=case),
        answer=right,
        traps={"the hidden values": wrong[0], "the weights behind": wrong[1], "the unit's slope": wrong[2]},
        hints=(
            "A weight needs a value before it and a way to the loss behind it.",
            "hidden value ≠ 0, weight behind ≠ 0",
        ),
        why="A weight's gradient is the value before it times what comes back. Either can be 0: zeros in one layer "
        "may be "
        "fine, in both they are not.",
    )


@who_gets_a_gradient.second
def _(act, case):
    import numpy as np

    draw = np.random.default_rng(2)
    w1, w2, x = draw.normal(size=(4, 3)), draw.normal(size=4), draw.normal(size=3)
    w1, w2 = w1 * (case == "last"), w2 * (case == "first")
    z = w1 @ x
    h = {"tanh": np.tanh(z), "ReLU": np.maximum(z, 0), "sigmoid": 1 / (1 + np.exp(-z))}[act]
    slope = {"tanh": 1 - h * h, "ReLU": (z > 0) * 1.0, "sigmoid": h * (1 - h)}[act]
    error = w2 @ h - 1.0
    first, last = np.any(np.outer(error * w2 * slope, x)), np.any(error * h)
    return {
        (False, False): "the output bias alone",
        (True, False): "the first layer, and the output bias",
        (False, True): "the last layer's weights, and the output bias",
        (True, True): "both layers",
    }[bool(first), bool(last)]


@question(topic="initialization.data_dependent", level=1, source="Lin 2017, section 3.3", readme="dl_006/8")
def bias_of_the_last_layer(draw):
    p = draw(0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4)
    return Number(
        ask=f"A detector's output should begin at a probability of {p:g} for every box, weights near 0. Which bias "
        f"has its logit?",
        given=dict(p=p),
        answer=-log((1 - p) / p),
        within=0.002,
        traps={"the sign": log((1 - p) / p), "the odds": (1 - p) / p, "the probability": p},
        hints=("The inverse of the sigmoid.", "-ln((1 - p) / p)"),
        why="With a bias of 0 every box begins at one half, and the first steps go into unlearning that.",
    )


@bias_of_the_last_layer.second
def _(p):
    low, high = -20.0, 20.0
    for _cut in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / (1 + 2.718281828459045**-middle) < p else (low, middle)
    return (low + high) / 2


@question(topic="initialization.data_dependent", level=2, source="Mishkin 2015, section 3", readme="dl_006/7")
def step_of_lsuv(draw):
    v, scale = draw(4.0, 9.0, 0.25, 16.0, 0.04), draw(0.5, 2.0, 3.0)
    return Number(
        ask=f"LSUV: on a first batch a layer's outputs have variance {v:g}. A weight of it is {scale:g}. What is it "
        f"after the step?",
        given=dict(v=v, scale=scale),
        answer=scale / sqrt(v),
        within=0.001,
        traps={"divided by the variance": scale / v, "multiplied": scale * sqrt(v), "nothing done": scale},
        hints=("Divide by the deviation, so that the variance becomes one.", "scale / sqrt(v)"),
        why="It measures instead of assuming: whatever the activation, the layer, or the data, one pass sets the size.",
    )


@step_of_lsuv.second
def _(v, scale):
    import numpy as np

    out = np.array([-1.0, 1.0]) * np.sqrt(v)
    return float(scale / out.std())


@question(topic="initialization.orthogonal", level=1, source="Saxe 2013, section 3", readme="dl_006/5")
def length_through_layers(draw):
    L, g, r = draw(5, 10, 20), draw(0.9, 0.8, 1.1, 1.2), draw(2.0, 3.0)
    return Number(
        ask=f"{L} square layers without activations, each an orthogonal matrix times {g:g}. A vector of length {r:g} "
        f"goes in. How long "
        "does it come out?",
        given=dict(L=L, g=g, r=r),
        answer=r * g**L,
        traps={"gain counted once": r * g, "gain squared": r * g ** (2 * L), "gains added": r * L * g},
        hints=("An orthogonal matrix keeps every length.", "r · g^L"),
        why="All singular values are the same, for every vector. Of Gaussian matrices only the average is kept, and "
        "the directions spread.",
    )


@length_through_layers.second
def _(L, g, r):
    import numpy as np

    x = np.array([r, 0.0])
    for layer in range(L):
        c, s = np.cos(layer + 1.0), np.sin(layer + 1.0)
        x = g * np.array([[c, -s], [s, c]]) @ x
    return float(np.hypot(*x))


@question(topic="initialization.orthogonal", level=2, source="Mezzadri 2007", readme="dl_006/5")
def signs_of_qr(draw):
    d = [draw(-1, 1) * draw(2, 3, 5, 7) for _ in range(3)]
    sign = [1 if one > 0 else -1 for one in d]

    def diagonal(values):
        return str([[one if i == j else 0 for j in range(3)] for i, one in enumerate(values)])

    return Predict(
        ask="The columns of q are multiplied by the signs of r's diagonal, so that an orthogonal matrix is drawn "
        "evenly. "
        "What is printed?",
        code=f"""
import numpy as np
q, r = np.eye(3), np.array([[{d[0]}, 1, 4], [0, {d[1]}, 2], [0, 0, {d[2]}]])
print((q * np.sign(np.diag(r))).astype(int).tolist())
""",
        answer=diagonal(sign),
        traps={
            "q as it is": diagonal([1, 1, 1]),
            "the diagonal itself": diagonal(d),
            "flipped": diagonal([-one for one in sign]),
        },
        hints=("Which sign belongs to which column?", "column j times the sign of r[j][j]"),
        why="QR is unique only up to signs, and a library's choice makes some matrices more likely than others.",
    )


@question(topic="initialization.mean_field", level=3, source="Schoenholz 2016, section 3", readme="dl_006/6")
def depth_that_is_felt(draw):
    c = draw(0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    return Number(
        ask=f"The slope of the map of correlations at its fixed point is {c:g}: each layer multiplies a small "
        f"difference of two "
        "inputs' correlation by it. After how many layers has it fallen to 1/e?",
        given=dict(c=c),
        answer=-1 / log(c),
        unit="layers",
        traps={"down to one half": -log(2) / log(c), "twice too deep": -2 / log(c), "the slope itself": c},
        hints=("c to the power of the depth is e^-1.", "-1 / ln(c)"),
        why="At the edge of chaos the slope is one and the depth without limit. Off the edge, nothing deeper can be "
        "trained.",
    )


@depth_that_is_felt.second
def _(c):
    low, high = 0.0, 1000.0
    for _cut in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if c**middle > 2.718281828459045**-1 else (low, middle)
    return (low + high) / 2


@question(topic="initialization.mean_field", level=2, source="Poole 2016, section 3", readme="dl_006/6")
def edge_for_relu(draw):
    w = draw(1.0, 1.5, 1.8, 2.2, 2.5, 3.0, 2.0)
    right = "they stay as large as they were" if w == 2.0 else "they die out" if w < 2 else "they explode"
    others = [one for one in ("they stay as large as they were", "they die out", "they explode") if one != right]
    return Choice(
        ask=f"A deep ReLU network, weights of variance {w:g} / n for width n, no biases. What becomes of gradients on "
        f"their way back?",
        given=dict(w=w),
        answer=right,
        traps={"the edge taken to be 1": others[0], "the wrong side of it": others[1]},
        hints=(
            "Each layer multiplies the mean square by the variance times the share of units that are on.",
            "w / 2 against 1",
        ),
        why="Half of the units are on, so 2 is ReLU's edge: He's initialisation sits on it. For tanh the edge is near "
        "1.",
    )


@edge_for_relu.second
def _(w):
    square = 1.0
    for _layer in range(200):
        square *= w * 0.5
    return "they die out" if square < 0.5 else "they explode" if square > 2 else "they stay as large as they were"


@question(topic="initialization.mup", level=1, source="Yang 2022, table 8", readme="dl_006/9")
def rate_at_width(draw):
    base, k, lr = draw(128, 256), draw(2, 4, 8, 16), draw(1e-2, 3e-3, 6e-3)
    return Number(
        ask=f"µP, Adam, tuned at width {base}: rate {lr:g}. What is the rate of a hidden matrix at width {base * k}?",
        given=dict(base=base, k=k, lr=lr),
        answer=lr / k,
        traps={"the root of the factor": lr / sqrt(k), "unchanged": lr, "larger": lr * k},
        hints=("Adam moves each entry by the rate; how many entries add up in an output?", "lr / k"),
        why="An update's products add up in step over the width, so each has to shrink with it. Vectors, such as "
        "biases and "
        "embeddings, keep their rate.",
    )


@rate_at_width.second
def _(base, k, lr):
    change = sum(lr for _entry in range(base))  # of an output, at the tuned width
    return change / (base * k)


@question(topic="initialization.mup", level=2, source="Yang 2022, table 3", readme="dl_006/9")
def what_shrinks_with_width(draw):
    k = draw(2, 4, 8, 16, 32)
    things = {
        "rate of a bias": 1.0,
        "standard deviation of a hidden weight at the start": k**-0.5,
        "rate of a hidden weight": 1 / k,
        "variance of an output weight at the start": 1 / k**2,
        "a sum of equal terms, one for each unit": k,
        "a sum of random terms of mean 0, one for each unit": k**0.5,
    }
    shown = draw.sample(list(things), 3)
    order = sorted(shown, key=lambda name: things[name])
    return Order(
        ask=f"µP with Adam, no multipliers in the forward pass: the width grows {k}-fold. By what is each multiplied? "
        "Smallest factor first.",
        given=dict(k=k, shown=shown),
        answer=order,
        traps={"largest first": order[::-1], "the first two swapped": [order[1], order[0], order[2]]},
        hints=("A power of k each: which?", "k, √k, bias 1, deviation 1/√k, rate 1/k, output 1/k²"),
        why="Sums of random terms grow with the root of the width, sums of terms in step with the width; µP evens out "
        "both.",
    )


@what_shrinks_with_width.second
def _(k, shown):
    import numpy as np

    def factor(name):
        equal, random = np.ones(k).sum(), np.linalg.norm(np.ones(k))
        by = {"rate of a bias": 1.0, "a sum of equal": equal, "a sum of random": random}
        for begin, factor in by.items():
            if name.startswith(begin):
                return factor
        return 1 / random if name.startswith("standard") else 1 / equal if name.startswith("rate") else 1 / equal**2

    return sorted(shown, key=factor)


@question(topic="initialization.symmetry", level=1, source="He 2015, section 2.2", readme="dl_006/2")
def fan_of_a_kernel(draw):
    c, o = draw("channels", "c", "planes"), draw("filters", "o", "out")
    k, g = draw("k", "size"), draw("groups", "g")
    return Blank(
        ask=f"A convolution from `{c}` channels to `{o}`, kernel `{k}` × `{k}`, in `{g}` groups. What is its fan in: "
        "how many values does one output add up?",
        code=f"fan_in = ____   # weight: ({o}, {c} / {g}, {k}, {k})",
        given={c: draw(16, 32), o: draw(8, 24), k: draw(3, 5), g: draw(2, 4)},
        answer=f"{c} / {g} * {k} * {k}",
        also=[f"{c} // {g} * {k} * {k}", f"{c} * {k} * {k} // {g}"],
        traps={
            "groups forgotten": f"{c} * {k} * {k}",
            "fan out": f"{o} / {g} * {k} * {k}",
            "area forgotten": f"{c} / {g}",
        },
        hints=("What of the weight belongs to one output channel?", "channels of a group, times the area"),
        why="One output channel sees its group alone. A depthwise convolution has a fan in of the area, whatever its "
        "width.",
    )


@fan_of_a_kernel.second
def _(**given):
    import numpy as np

    c, o, k, g = given.values()
    return np.zeros((o, c // g, k, k))[0].size
