"""Questions on pruning, distilling and merging whose numbers change: `grader drill --topic surgery.pruning`."""

from math import ceil, cos, exp, log, pi, radians, sin

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="surgery.pruning", level=2, source="Mishra 2021, section 3", readme="dl_024/1")
def bytes_of_two_in_four(draw):
    P, b = draw(1.3, 2.7, 6.74, 8.03, 13.0, 70.6), draw(4, 8, 16, 32)
    return Number(
        ask=f"{P:g} · 10⁹ weights of {b} bits are pruned 2:4, and the place of each kept value is stored in two bits. "
        "How many GB do they take?",
        given=dict(P=P, b=b),
        answer=P * (2 * b + 4) / 32,
        unit="GB",
        traps={
            "places forgotten": P * b / 16,
            "one place a group": P * (2 * b + 2) / 32,
            "not pruned": P * b / 8,
        },
        hints=("Four neighbours become two values of b bits, and two places.", "P · (2 · b + 2 · 2) / (4 · 8)"),
        why="The fewer bits a value has, the more its place weighs. In return sparse tensor cores run such products at "
        "up to twice the dense rate.",
    )


@bytes_of_two_in_four.second
def _(P, b):
    bits = 0
    for _group in range(250):  # a thousand weights
        for _kept in range(2):
            bits += b + 2
    return P * bits / 1000 / 8


@question(
    topic="surgery.pruning", level=1, source="Li 2017, Pruning filters, section 3", readme=("dl_024/1", "dl_024/3")
)
def cost_of_fewer_channels(draw):
    s = draw(10, 15, 20, 25, 30, 40, 60, 70)
    return Number(
        ask=f"Every convolution of a plain deep stack loses {s} % of its output channels. What share of its "
        "multiplications does a layer in the middle still have to do?",
        given=dict(s=s),
        answer=(100 - s) ** 2 / 100,
        unit="%",
        within=0.005,
        traps={"its own outputs alone": 100.0 - s, "what is gone": float(s), "taken off twice": 100 - 2 * s + 0.0},
        hints=("It has fewer outputs, and the layer before it has fewer, too.", "(100 - s)^2 / 100"),
        why="A removed channel also takes the next layer's input channel with it, and what the norm between them holds "
        "for it. So the work falls with the square.",
    )


@cost_of_fewer_channels.second
def _(s):
    import numpy as np

    left = 100 - s
    return 100 * np.broadcast_to(0.0, (left, left, 3, 3)).size / np.broadcast_to(0.0, (100, 100, 3, 3)).size


@question(topic="surgery.pruning", level=1, source="Hoefler 2021, Sparsity in deep learning", readme="dl_024/1")
def speed_of_a_pattern(draw):
    pattern, share = draw("single weights", "2 of each 4 neighbours", "whole output channels"), draw(2, 4)
    effects = {
        "single weights": "no: it multiplies the zeros as well",
        "2 of each 4 neighbours": "no, but sparse tensor cores run it twice as fast",
        "whole output channels": "yes: the matrix is smaller",
    }
    return Choice(
        ask=f"Half of a weight matrix is pruned by magnitude: {pattern}. Is the usual dense kernel faster, at a "
        f"batch of {share * 64}?",
        given=dict(pattern=pattern, share=share),
        answer=effects[pattern],
        traps={f"true of {other}": text for other, text in effects.items() if other != pattern},
        hints=("Which shape has the matrix afterwards, and is there a pattern in each group?", "shape; 2:4; neither"),
        why="The freer the pattern, the better the accuracy at the same share, and the less a machine gains from it. "
        "Single weights save storage alone.",
    )


@speed_of_a_pattern.second
def _(pattern, share):
    import numpy as np

    w = np.abs(np.random.default_rng(share).normal(size=(8, 8)))
    if "channels" in pattern:
        kept = w[np.sort(w.sum(1).argsort()[4:])]
    elif "neighbours" in pattern:
        kept = np.where(w.reshape(8, 2, 4).argsort(2).argsort(2) >= 2, w.reshape(8, 2, 4), 0).reshape(8, 8)
    else:
        kept = np.where(w > np.median(w), w, 0)
    if kept.size < w.size:
        return "yes: the matrix is smaller"
    regular = np.all((kept.reshape(-1, 4) != 0).sum(1) == 2)
    return "no, but sparse tensor cores run it twice as fast" if regular else "no: it multiplies the zeros as well"


@question(topic="surgery.pruning", level=1, source="Blalock 2020, section 2", readme="dl_024/2")
def kept_by_a_global_rank(draw):
    values = draw.sample(range(10, 99), 6)
    small, large = [v // 2 for v in values[:3]], values[3:]
    k = draw(2, 3, 4)
    bar = sorted(small + large)[-k]
    kept = [[v for v in layer if v >= bar] for layer in (small, large)]
    share = k / 6
    layerwise = [sorted(layer)[3 - round(3 * share) :] for layer in (small, large)]
    return Predict(
        ask="Two layers, magnitudes of their weights. Which ones does global pruning leave?",
        code=f"""
layers = [{small}, {large}]
bar = sorted(layers[0] + layers[1])[-{k}]
print([[v for v in layer if v >= bar] for layer in layers])
""",
        answer=str(kept),
        traps={
            "layer by layer": str(
                [[v for v in layer if v in top] for layer, top in zip((small, large), layerwise, strict=True)]
            ),
            "the smallest left": str([[v for v in layer if v < bar] for layer in (small, large)]),
            "one too few": str([[v for v in layer if v > bar] for layer in (small, large)]),
        },
        hints=("All magnitudes stand in one row.", "kept: the k largest of both layers"),
        why="A layer of small weights loses more, down to nothing, which cuts the network. Behind a norm the scale of "
        "weights means nothing, so a floor for each layer is common.",
    )


@question(topic="surgery.pruning", level=2, source="Ioffe 2015, section 3.1", readme="dl_024/3")
def constant_of_a_zeroed_filter(draw):
    beta, gamma, mu, var = draw(-1, 1, 2, 3), draw(0.5, 1.5, 2.0), draw(-3, -2, 1, 3), draw(0.25, 4, 9, 16)
    return Number(
        ask=f"A filter before BatchNorm is set to zero, bias too. In eval mode the channel has shift {beta}, scale "
        f"{gamma:g}, running mean {mu} and running variance {var:g}. What does the norm give?",
        given=dict(beta=beta, gamma=gamma, mu=mu, var=var),
        answer=beta - gamma * mu / var**0.5,
        traps={
            "zero stays zero": 0.0,
            "the mean forgotten": float(beta),
            "variance for deviation": beta - gamma * mu / var,
            "the sign": beta + gamma * mu / var**0.5,
        },
        hints=("The input is 0, the norm is as ever.", "beta - gamma · mu / sqrt(var)"),
        why="Zeroing a filter leaves a constant for the next layer. Removing the channel removes the norm's entries "
        "and the next layer's input channel, too.",
    )


@constant_of_a_zeroed_filter.second
def _(beta, gamma, mu, var):
    import numpy as np

    standard = (np.zeros(3) - mu) / np.sqrt(var)
    return float((standard * gamma + beta).mean())


@question(topic="surgery.lottery_ticket", level=2, source="Frankle 2019, section 2", readme="dl_024/4")
def rounds_to_a_ticket(draw):
    s, t = draw.between(5, 30), draw.between(1, 40)
    rounds = ceil(log(t / 100) / log(1 - s / 100))
    return Number(
        ask=f"Each round of iterative pruning removes {s} % of the weights that are left. After how many rounds are at "
        f"most {t} % of all left?",
        given=dict(s=s, t=t),
        answer=rounds,
        unit="rounds",
        traps={"of all weights": ceil((100 - t) / s), "rounded down": rounds - 1},
        hints=("What is left is multiplied by 1 - s/100 each round.", "⌈ln(t/100) / ln(1 - s/100)⌉"),
        why="A share of what is left, so steps get smaller. Each round is a whole training, which is what makes "
        "tickets dear to find.",
    )


@rounds_to_a_ticket.second
def _(s, t):
    left, count = 1.0, 0
    while left > t / 100 + 1e-12:
        left, count = left * (1 - s / 100), count + 1
    return count


@question(topic="surgery.lottery_ticket", level=2, source="Frankle 2020, section 2", readme="dl_024/4")
def steps_of_late_rewinding(draw):
    k, s, end = draw(500, 1000, 2000), draw(10, 20, 30), draw(20, 30, 62)
    steps = [
        f"train to step {k}, and keep a copy",
        f"train on to step {end} 000",
        f"remove the {s} % smallest of the weights that are left",
        f"set the others to the copy of step {k}",
        "train again with the mask",
    ]
    return Order(
        ask="A round of the lottery ticket with late rewinding, from initialisation on. In which order?",
        given=dict(k=k, s=s, end=end),
        answer=steps,
        traps={
            "set back before the choice": [steps[0], steps[1], steps[3], steps[2], steps[4]],
            "pruned before training": [steps[0], steps[2], steps[3], steps[1], steps[4]],
        },
        hints=("By which weights is chosen what goes, and from which does one start again?",
               "copy, train, remove, set back, train"),
        why="Trained magnitudes say which connections matter; early values say where to start. With new random values "
        "the same mask does worse.",
    )  # fmt: skip


@steps_of_late_rewinding.second
def _(k, s, end):
    needs = {
        f"train to step {k}, and keep a copy": set(),
        f"train on to step {end} 000": {"copy"},
        f"remove the {s} % smallest of the weights that are left": {"trained"},
        f"set the others to the copy of step {k}": {"copy", "mask"},
        "train again with the mask": {"mask", "set back"},
    }
    makes = dict(zip(needs, ("copy", "trained", "mask", "set back", "ticket"), strict=True))
    order, have = [], set()
    while len(order) < len(needs):
        order.append(next(one for one, need in needs.items() if one not in order and need <= have))
        have.add(makes[order[-1]])
    return order


@question(topic="surgery.recovery", level=2, source="Evci 2020, RigL, section 3", readme="dl_024/5")
def share_that_is_regrown(draw):
    a, T = draw(0.2, 0.3, 0.5), draw(20, 25, 40)
    t = draw.between(2, T - 3)
    return Number(
        ask=f"RigL replaces {100 * a:.0f} % of the connections at step 0, and the share falls along half a cosine "
        f"to 0 at step {T} 000. What is it at step {t} 000?",
        given=dict(a=a, T=T, t=t),
        answer=100 * a / 2 * (1 + cos(pi * t / T)),
        unit="%",
        traps={"a straight line": 100 * a * (1 - t / T), "the half forgotten": 100 * a * (1 + cos(pi * t / T)),
               "a quarter of the wave": 100 * a * cos(pi * t / T / 2)},
        hints=("The cosine goes from 1 to -1; it is lifted and halved.", "100 · a / 2 · (1 + cos(pi · t / T))"),
        why="At first much is tried, later little, so that what came back has time to learn. New connections start at "
        "zero.",
    )  # fmt: skip


@share_that_is_regrown.second
def _(a, T, t):
    import numpy as np

    return float(100 * a * (1 - np.sin(np.pi * t / T / 2) ** 2))


@question(topic="surgery.recovery", level=2, source="Evci 2020, RigL, section 3", readme="dl_024/5")
def connections_that_come_back(draw):
    kept = draw.sample(range(7), 4)
    weights = [0] * 7
    for place, size in zip(kept, draw.sample(range(2, 9), 4), strict=True):
        weights[place] = size * draw(1, -1)
    slopes = draw.sample(range(1, 20), 7)

    def after(choose):
        live = sorted(kept, key=lambda i: abs(weights[i]))
        return str(sorted([*live[1:], choose(set(range(7)) - set(kept))]))

    return Predict(
        ask="A sparse layer drops one connection and grows one, as RigL does. Zeros are dead; `slopes` are sizes of "
        "the dense gradient. Which are alive then?",
        code=f"""
weights = {weights}
slopes = {slopes}
live = [i for i in range(7) if weights[i]]
dead = [i for i in range(7) if not weights[i]]
live.remove(min(live, key=lambda i: abs(weights[i])))
live.append(max(dead, key=lambda i: slopes[i]))
print(sorted(live))
""",
        answer=after(lambda dead: max(dead, key=lambda i: slopes[i])),
        traps={
            "the flattest grows": after(lambda dead: min(dead, key=lambda i: slopes[i])),
            "the dropped one comes back": str(sorted(kept)),
            "the first dead one": after(min),
        },
        hints=("Drop by weight, grow by gradient.", "smallest |weight| goes, largest |gradient| comes"),
        why="The gradient of a dead connection says how fast it would help. It needs one dense backward pass now and "
        "then.",
    )


@question(topic="surgery.distillation_loss", level=2, source="Hinton 2015, section 2.1", readme="dl_024/6")
def gradient_of_soft_targets(draw):
    a, b, T = draw(-2, -1, 1, 2), draw(-3, 3, 4, 5), draw(2, 3, 4, 5, 8)
    q, p = 1 / (1 + exp(-a / T)), 1 / (1 + exp(-b / T))
    return Number(
        ask=f"Two classes. The first logit leads by {a} in the student and by {b} in the teacher. What is the "
        f"derivative of T² · KL(teacher || student) at T = {T} by the student's first logit?",
        given=dict(a=a, b=b, T=T),
        answer=T * (q - p),
        traps={
            "factor forgotten": (q - p) / T,
            "1/T forgotten": T * T * (q - p),
            "teacher less student": T * (p - q),
            "no temperature": 1 / (1 + exp(-a)) - 1 / (1 + exp(-b)),
        },
        hints=(
            "The derivative of KL is the difference of the two probabilities, over T.",
            "T · (1 / (1 + e^(-a/T)) - 1 / (1 + e^(-b/T)))",
        ),
        why="The difference itself shrinks like 1/T, so the factor keeps the weight of soft targets beside hard labels "
        "whatever the temperature.",
    )


@gradient_of_soft_targets.second
def _(a, b, T):
    import numpy as np

    def loss(first):
        student, teacher = np.array([first, 0.0]) / T, np.array([b, 0.0]) / T
        student = student - np.logaddexp.reduce(student)
        teacher = teacher - np.logaddexp.reduce(teacher)
        return T**2 * float(np.exp(teacher) @ (teacher - student))

    h = 1e-3
    return (8 * (loss(a + h) - loss(a - h)) - (loss(a + 2 * h) - loss(a - 2 * h))) / (12 * h)


@question(topic="surgery.distillation_loss", level=2, source="Hinton 2015, section 2.1", readme="dl_024/6")
def weight_of_soft_targets(draw):
    low, high = draw(2, 3, 4, 5), draw(8, 10, 15, 20)
    return Number(
        ask=f"Distillation without the factor T². The temperature goes from {low} to {high}, both taken as high. "
        "How many times smaller do the gradients get?",
        given=dict(low=low, high=high),
        answer=(high / low) ** 2,
        unit="x",
        traps={"like 1/T": high / low, "not at all": 1.0, "the third power": (high / low) ** 3},
        hints=("1/T from the logits' scale, and as much from the softer difference.", "(high / low)^2"),
        why="So a loss without the factor quietly changes the balance with hard labels when somebody tunes the "
        "temperature.",
    )


@weight_of_soft_targets.second
def _(low, high):
    import numpy as np

    def gradient(T):  # at a very high temperature; the error of first order is the opposite for -T
        def soft(z):
            return np.exp(z / T) / np.exp(z / T).sum()

        return (soft(np.array([2.0, 0.5, 0.0])) - soft(np.array([1.0, 3.0, 0.0])))[0] / T

    scale = 1e4
    return float((gradient(low * scale) + gradient(-low * scale)) / (gradient(high * scale) + gradient(-high * scale)))


@question(topic="surgery.distillation_loss", level=2, source="Gu 2024, MiniLLM, section 2", readme="dl_024/7")
def student_of_a_divergence(draw):
    way, dip = draw("KL(teacher || student)", "KL(student || teacher)"), draw(0.01, 0.005, 0.002)
    side = (1 - dip) / 2
    right = "(1/3, 1/3, 1/3)" if way.startswith("KL(t") else "(0.94, 0.03, 0.03)"
    others = {
        "(1/3, 1/3, 1/3)": "spread over all",
        "(0.94, 0.03, 0.03)": "one mode picked",
        "(0.1, 0.8, 0.1)": "the mean",
    }
    return Choice(
        ask=f"The teacher gives three answers ({side:g}, {dip:g}, {side:g}). Which student has the smallest {way}?",
        given=dict(way=way, dip=dip),
        answer=right,
        traps={name: text for text, name in others.items() if text != right},
        hints=("Under which law is the expectation taken, and where is the logarithm large?",
               "Σ first · ln(first / second)"),
        why="Forward punishes too little where the teacher has some, so a small student spreads. Reverse punishes "
        "too much where the teacher has none, so it picks a mode.",
    )  # fmt: skip


@student_of_a_divergence.second
def _(way, dip):
    import numpy as np

    teacher = np.array([(1 - dip) / 2, dip, (1 - dip) / 2])
    students = {
        "(1/3, 1/3, 1/3)": [1 / 3] * 3,
        "(0.94, 0.03, 0.03)": [0.94, 0.03, 0.03],
        "(0.1, 0.8, 0.1)": [0.1, 0.8, 0.1],
    }

    def divergence(name):
        p, q = teacher, np.array(students[name])
        if way.startswith("KL(student"):
            p, q = q, p
        return float(p @ (np.log(p) - np.log(q)))

    return min(students, key=divergence)


@question(topic="surgery.distillation_kinds", level=1, source="Romero 2015, FitNets, section 2.2", readme="dl_024/8")
def numbers_of_a_hint(draw):
    s, t, m = draw(256, 312, 384, 512), draw(768, 1024, 2048), draw(2, 4, 6)
    return Number(
        ask=f"Features of {m} layers are distilled: the student is {s} wide, the teacher {t}. Each layer has a learnt "
        "projection without bias, on the student's side. How many parameters do they have?",
        given=dict(s=s, t=t, m=m),
        answer=m * s * t,
        unit="parameters",
        traps={"one for all layers": s * t, "square of the teacher": m * t * t, "both sides": 2 * m * s * t},
        hints=("Each of the m projections goes from s to t features.", "m · s · t"),
        why="Features give much signal an example, and bind the student to the teacher's layout. The projection is "
        "thrown away after training.",
    )


@numbers_of_a_hint.second
def _(s, t, m):
    import numpy as np

    features = np.broadcast_to(0.0, (m, 1, s))
    return int(np.broadcast_to(0.0, (m, s, t)).size * features.shape[1])


@question(
    topic="surgery.distillation_kinds", level=2, source="Zagoruyko 2017, section 3.1; Jiao 2020", readme="dl_024/8"
)
def what_a_teacher_must_share(draw):
    kind = draw("features", "attention matrices", "maps of squares summed over channels", "distances within the batch")
    heads, features, nothing = "as many heads", "a projection to its width", "neither"
    right = {"features": features, "attention matrices": heads}.get(kind, nothing)
    axes = {"an axis of heads": heads, "an axis of channels": features, "no axis that differs": nothing}
    h, w = draw(4, 6), draw(2, 3)
    return Choice(
        ask=f"The teacher is {w} times as wide as the student and has {h} times its heads; both see the same places. "
        f"{kind.capitalize()} are distilled, one by one. What is needed?",
        given=dict(kind=kind, h=h, w=w),
        answer=right,
        traps={name: one for name, one in axes.items() if one != right},
        hints=(
            "Which axes has it, and do they agree?",
            "(places, width), (heads, places, places), (places), (batch, batch)",
        ),
        why="Only what has an axis of channels or heads needs them to agree. Summed over channels, or compared within "
        "the batch, the width is gone.",
    )


@what_a_teacher_must_share.second
def _(kind, h, w):
    import numpy as np

    def shape(width, heads):
        x = np.ones((5, 7, width))  # batch, places, width
        if kind == "features":
            return x.shape
        if kind == "attention matrices":
            split = x.reshape(5, 7, heads, -1).transpose(0, 2, 1, 3)
            return (split @ split.swapaxes(2, 3)).shape
        if kind.startswith("maps"):
            return (x**2).sum(-1).shape
        return (x.reshape(5, 1, -1) - x.reshape(1, 5, -1)).sum(-1).shape

    student, teacher = shape(48, 2), shape(48 * w, 2 * h)
    if student == teacher:
        return "neither"
    return "as many heads" if student[1] != teacher[1] else "a projection to its width"


@question(topic="surgery.distillation_kinds", level=2, source="Zagoruyko 2017, section 3.1", readme="dl_024/8")
def map_of_squares(draw):
    places = [[draw.between(-4, 4), draw.between(1, 5)] for _ in range(3)]
    squares = [sum(c * c for c in place) for place in places]
    return Predict(
        ask="Features of three places with two channels each. Their attention map, before it is normalised: what is "
        "printed?",
        code=f"""
places = {places}
print([sum(c * c for c in place) for place in places])
""",
        answer=str(squares),
        traps={
            "square of the sum": str([sum(place) ** 2 for place in places]),
            "sum of sizes": str([sum(map(abs, place)) for place in places]),
            "over places": str([sum(place[c] ** 2 for place in places) for c in (0, 1)]),
        },
        hints=("Channels are summed away, places stay.", "Σ over channels of c^2, for each place"),
        why="Where channels are large, the network looks. No projection is needed, since the map has no channels; "
        "it is normalised so that scales do not matter.",
    )


@question(topic="surgery.self_distillation", level=2, source="Caron 2021, DINO, section 3.1", readme="dl_024/9")
def half_of_a_teacher(draw):
    m = draw(0.98, 0.99, 0.992, 0.995, 0.996, 0.998, 0.999, 0.9995)
    return Number(
        ask=f"The teacher is a moving average of the student with momentum {m:g}. After how many steps does an old "
        "weight count half as much as a new one?",
        given=dict(m=m),
        answer=log(0.5) / log(m),
        unit="steps",
        traps={"the mean age": 1 / (1 - m), "a straight line": 0.5 / (1 - m), "a tenth": log(0.1) / log(m)},
        hints=("Each step multiplies what is old by m.", "ln 0.5 / ln m"),
        why="The teacher is a mean of students of many steps: calmer than the student, and better during training. No "
        "gradient goes into it.",
    )


@half_of_a_teacher.second
def _(m):
    low, high = 1.0, 1e5
    for _halving in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if m**middle > 0.5 else (low, middle)
    return low


@question(topic="surgery.self_distillation", level=2, source="Caron 2021, DINO, section 3.1", readme="dl_024/9")
def terms_of_the_views(draw):
    g, n = draw(2, 3), draw(4, 6, 8, 10)
    return Number(
        ask=f"DINO with {g} global and {n} local views of an image. The teacher sees the global ones, the student "
        "all, and no term compares a view with itself. How many terms does the loss of an image have?",
        given=dict(g=g, n=n),
        answer=g * (g + n - 1),
        unit="terms",
        traps={"a view with itself": g * (g + n), "all pairs": (g + n) * (g + n - 1), "local ones alone": g * n},
        hints=("Each of the teacher's views meets all others of the student.", "g · (g + n - 1)"),
        why="From a small piece the student has to say what the teacher says of the whole. The same view would be "
        "matched too easily.",
    )


@terms_of_the_views.second
def _(g, n):
    views = [("global", i) for i in range(g)] + [("local", i) for i in range(n)]
    return sum(1 for teacher in views for student in views if teacher[0] == "global" and teacher != student)


@question(topic="surgery.self_distillation", level=2, source="Caron 2021, DINO, section 5.3", readme="dl_024/9")
def collapse_without(draw):
    missing, k = draw("centring", "sharpening", "neither"), draw(8, 16, 64)
    effects = {
        "centring": "one output dominates for all images",
        "sharpening": "all outputs are nearly equal",
        "neither": "images keep unlike outputs",
    }
    return Choice(
        ask=f"DINO's teacher with {k} outputs: a shift common to all images is large, what differs between images "
        f"is small. Of centring and low temperature, {missing} is missing. What comes out?",
        given=dict(missing=missing, k=k),
        answer=effects[missing],
        traps={f"where {other} is missing": text for other, text in effects.items() if other != missing},
        hints=("Centring takes the common part away, a low temperature enlarges what is left.", "softmax((z - c) / T)"),
        why="Each of the two alone collapses, in opposite ways: centring towards the uniform, sharpening towards one "
        "output. Together they balance.",
    )


@collapse_without.second
def _(missing, k):
    import numpy as np

    z = np.random.default_rng(0).normal(scale=0.1, size=(256, k))
    z[:, 0] += 5
    z = (z - (0 if missing == "centring" else z.mean(0))) / (1 if missing == "sharpening" else 0.04)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    if p.mean(0).max() > 0.9:
        return "one output dominates for all images"
    return "all outputs are nearly equal" if p.max() < 2 / k else "images keep unlike outputs"


@question(topic="surgery.weight_tying", level=1, source="Press 2017, section 2; GPT-2", readme="dl_024/10")
def saved_by_a_tie(draw):
    V, d = draw(32000, 50257, 128256, 151936, 256000), draw(768, 1024, 2048, 4096)
    return Number(
        ask=f"A model with {V:,} tokens and width {d} ties its input and output embeddings. How many parameters "
        "does this save?",
        given=dict(V=V, d=d),
        answer=V * d,
        unit="parameters",
        traps={"both tables": 2 * V * d, "one of the sides": V + d, "a square": d * d},
        hints=("Two tables of V rows of width d become one.", "V · d"),
        why="Both uses then train the same rows. The share that is saved falls with the model's size, so large models "
        "often leave the tie out.",
    )


@saved_by_a_tie.second
def _(V, d):
    import numpy as np

    table, other = np.broadcast_to(np.int8(0), (V, d)), np.broadcast_to(np.int8(1), (V, d))
    apart = {id(one): one.size for one in (table, other)}
    tied = {id(one): one.size for one in (table, table)}
    return sum(apart.values()) - sum(tied.values())


@question(topic="surgery.weight_tying", level=2, source="Press 2017; transformers, tie_weights", readme="dl_024/10")
def tie_that_breaks(draw):
    a, b, step = draw.between(2, 30), draw.between(31, 60), draw.between(3, 9)
    line, tied = draw(
        ("out = emb", True), ("out = emb[:]", False), ("out = list(emb)", False), ("out = emb + []", False)
    )
    kept = str([[a + step, b] if tied else [a, b], 1 if tied else 2])
    lost = str([[a, b] if tied else [a + step, b], 2 if tied else 1])
    return Predict(
        ask="An embedding of two numbers and an output layer tied to it. What is printed after a step on the output?",
        code=f"""
emb = [{a}, {b}]
{line}
out[0] += {step}
print([emb, len({{id(emb), id(out)}})])
""",
        answer=kept,
        traps={
            "tie mistaken": lost,
            "seen but counted twice": str([[a + step, b], 2]) if tied else str([[a, b], 1]),
        },
        hints=("Is it one object under two names, or a copy?", "one object: one step moves both"),
        why="A tie is one parameter object. A copy of equal values is counted twice and parts at the first step: "
        "after a larger vocabulary, tie again.",
    )


@question(topic="surgery.weight_transfer", level=1, source="Chen 2016, Net2Net, section 2.2", readme="dl_024/11")
def weight_behind_copies(draw):
    w, r = draw.between(5, 60) / 10, draw(3, 4, 5, 6)
    return Number(
        ask=f"Net2Wider: a hidden unit becomes {r} equal units. Its weight to the next layer was {w:g}. What is the "
        "weight from each of them?",
        given=dict(w=w, r=r),
        answer=w / r,
        traps={"copied as well": w, "the root": w / r**0.5, "the copies alone": w / (r - 1)},
        hints=("The r equal outputs have to add up to what the one gave.", "w / r"),
        why="Incoming weights are copied, outgoing ones are shared out. Equal copies get equal gradients, so noise or "
        "dropout has to part them.",
    )


@weight_behind_copies.second
def _(w, r):
    import numpy as np

    hidden = np.full(r, 1.7)
    return float(w * 1.7 / hidden.sum())


@question(topic="surgery.weight_transfer", level=2, source="Chen 2016, Net2Net, section 2.2", readme="dl_024/11")
def line_of_a_wider_net(draw):
    w_in, w_out = draw.sample(range(1, 9), 2), draw.sample(range(2, 20, 2), 2)
    picks, x = draw([0, 1, 1, 0, 1, 1], [0, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 1]), draw(2, 3)
    wrong, mended = draw(
        ("    w_out = [w_out[i] for i in picks]", "    w_out = [w_out[i] / picks.count(i) for i in picks]"),
        ("    w_in = [w_in[i] / picks.count(i) for i in picks]", "    w_in = [w_in[i] for i in picks]"),
        (
            "    w_out = [w_out[i] / len(picks) for i in picks]",
            "    w_out = [w_out[i] / picks.count(i) for i in picks]",
        ),
    )
    code = f"""
def widen(w_in, w_out, picks):
    w_in = [w_in[i] for i in picks]
    w_out = [w_out[i] / picks.count(i) for i in picks]
    return w_in, w_out
def run(w_in, w_out, x):
    hidden = [max(0, w * x) for w in w_in]
    return round(sum(h * w for h, w in zip(hidden, w_out)), 6)
print(run(*widen({w_in}, {w_out}, {picks}), {x}))
"""
    return Bug(
        ask="`picks` says which old unit each new one copies. The wider net should compute what the old one did. Which "
        "line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(float(sum(a * b * x for a, b in zip(w_in, w_out, strict=True)))),
        traps={
            "a plain ReLU": "    hidden = [max(0, w * x) for w in w_in]",
            "the sum": "    return round(sum(h * w for h, w in zip(hidden, w_out)), 6)",
        },
        hints=(
            "Each old unit's part of the output is now given by all its copies.",
            "in: copied, out: over the copies",
        ),
        why="That is exact for any function of single units. Under LayerNorm every unit needs equally many copies, "
        "since else the mean changes.",
    )


@question(topic="surgery.progressive", level=1, source="Gong 2019, Stacking BERT, section 3", readme="dl_024/12")
def cost_of_growing(draw):
    a, b, f = draw(3, 4, 6, 8), draw(12, 16, 24, 48), draw(20, 30, 40, 60, 70)
    return Number(
        ask=f"A network of {b} layers is trained with {a} layers for the first {f} % of its steps, then with all. "
        "What share of the whole cost is this?",
        given=dict(a=a, b=b, f=f),
        answer=f * a / b + 100 - f,
        unit="%",
        traps={"small all the way": 100 * a / b, "early steps free": 100.0 - f, "saved": f - f * a / b},
        hints=("Early steps cost a/b of a step, the others a whole one.", "f · a / b + (100 - f)"),
        why="What is learnt early is coarse, so a small network learns it as well. Rate and regularisation have to "
        "be set anew when it grows.",
    )


@cost_of_growing.second
def _(a, b, f):
    import numpy as np

    layers = np.where(np.arange(100) < f, a, b)
    return float(layers.sum() / b)


@question(topic="surgery.progressive", level=2, source="Chen 2016, Net2Net, section 2.3; Gong 2019", readme="dl_024/12")
def output_after_growing(draw):
    blocks, x = draw.sample(range(1, 7), 2), draw(1, 2, 3)
    new, grown = draw(
        ("blocks + [0, 0]", [0, 0]), ("blocks + blocks", blocks), ("blocks + [0] + blocks[-1:]", [0, blocks[1]])
    )

    def run(scales):
        out = x
        for scale in scales:
            out += scale * out
        return str(out)

    return Predict(
        ask="Residual blocks that add a multiple of their input. The network grows. What is printed?",
        code=f"""
blocks = {blocks}
x = {x}
for scale in {new}:
    x += scale * x
print(x)
""",
        answer=run(blocks + grown),
        traps={
            "as before growing": run(blocks) if any(grown) else run([*blocks, *blocks]),
            "skips forgotten": str(x * blocks[0] * blocks[1]),
            "a plain sum": str(x + x * sum(blocks + grown)),
        },
        hints=("A block with scale 0 gives its input.", "x · Π (1 + scale)"),
        why="Blocks that begin as the identity keep the loss when the network grows. Stacked copies do not, but give "
        "gradients to all layers at once.",
    )


@question(topic="surgery.merging", level=2, source="Shoemake 1985, section 3.3; mergekit", readme="dl_024/13")
def first_weight_of_slerp(draw):
    t, w = draw(0.2, 0.25, 0.3, 0.4), draw(50, 60, 70, 80, 90, 100, 120)
    return Number(
        ask=f"Two models of equal length, {w} degrees apart, are merged by slerp at t = {t:g}. By what is the first "
        "multiplied?",
        given=dict(t=t, w=w),
        answer=sin(radians((1 - t) * w)) / sin(radians(w)),
        within=0.005,
        traps={
            "a straight mean": 1 - t,
            "weight of the second": sin(radians(t * w)) / sin(radians(w)),
            "not divided": sin(radians((1 - t) * w)),
            "the cosine": cos(radians(t * w)),
        },
        hints=("It walks on the arc between the two; at t = 0 the first has weight 1.", "sin((1 - t) · w) / sin(w)"),
        why="A straight mean of two long vectors is shorter than both. Slerp keeps the length, and equals the mean as "
        "the angle goes to zero.",
    )


@first_weight_of_slerp.second
def _(t, w):
    import numpy as np

    first, second = np.array([1.0, 0.0]), np.array([np.cos(np.radians(w)), np.sin(np.radians(w))])
    there = np.array([np.cos(np.radians(t * w)), np.sin(np.radians(t * w))])
    return float(np.linalg.solve(np.stack([first, second], 1), there)[0])


@question(topic="surgery.merging", level=2, source="Ilharco 2023, Task arithmetic, section 2", readme="dl_024/13")
def weight_of_two_tasks(draw):
    base = draw.between(10, 40)
    a, b = base + draw.between(2, 9), base - draw.between(2, 9)
    s = draw(0.3, 0.4, 0.5, 0.8)
    return Number(
        ask=f"A weight is {base} in the base, {a} after one task and {b} after another. Task vectors are added with "
        f"scale {s:g} each. What is the merged weight?",
        given=dict(base=base, a=a, b=b, s=s),
        answer=base + s * (a - base) + s * (b - base),
        within=0.001,
        traps={
            "mean of the two": (a + b) / 2,
            "base forgotten": s * (a + b),
            "one task forgotten": base + s * (a - base),
        },
        hints=("A task vector is what the task has changed.", "base + s · (a - base) + s · (b - base)"),
        why="It works if all come from one base, in one basin. With a negative sign a skill is taken away.",
    )


@weight_of_two_tasks.second
def _(base, a, b, s):
    import numpy as np

    return float(np.array([1 - 2 * s, s, s]) @ np.array([base, a, b]))


@question(topic="surgery.merging", level=2, source="Yadav 2023, TIES, section 3", readme="dl_024/13")
def merged_by_ties(draw):
    entries = [[draw(-1, 1) * one for one in draw.sample(range(2, 12), 3)] for _ in range(3)]

    def merged(entry):
        sign = 1 if sum(entry) > 0 else -1
        agree = [one for one in entry if one * sign > 0]
        return sum(agree) / len(agree) if agree else 0.0

    return Predict(
        ask="Three weights, each with the changes by three tasks, trimmed already. TIES merges them. What is printed?",
        code=f"""
for entry in {entries}:
    sign = 1 if sum(entry) > 0 else -1
    agree = [one for one in entry if one * sign > 0]
    print(round(sum(agree) / max(len(agree), 1), 2))
""",
        answer="\n".join(str(round(merged(entry), 2)) for entry in entries),
        traps={
            "the plain mean": "\n".join(str(round(sum(entry) / 3, 2)) for entry in entries),
            "the largest": "\n".join(str(float(max(entry, key=abs))) for entry in entries),
            "over all three": "\n".join(str(round(merged(e) * sum(o * sum(e) > 0 for o in e) / 3, 2)) for e in entries),
        },
        hints=(
            "Which sign has the larger sum? Only those that have it count.",
            "mean of the entries with the sign of Σ",
        ),
        why="Changes of unlike sign would cancel each other. The vote keeps one side, and the mean is of those alone.",
    )
