"""Questions on mixtures of experts whose numbers change: `grader drill --topic moe.routing`."""

from math import ceil, comb, exp, log, perm

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="moe.routing", level=2, source="Jiang 2024, Mixtral, section 2.1", readme="dl_015/1")
def weight_of_the_first_expert(draw):
    a, b = draw(1.5, 2.0, 2.5, 3.0, 4.0), draw(0.5, 1.0, 1.2)
    c, d = draw(0.0, 0.3, 0.4), draw(-1.0, -0.5)
    return Number(
        ask=f"A router's logits for a token are {a:g}, {b:g}, {c:g} and {d:g}. The two best experts are chosen, and a "
        "softmax is taken over their logits. What is the weight of the first?",
        given=dict(a=a, b=b, c=c, d=d),
        answer=1 / (1 + exp(b - a)),
        traps={
            "softmax over all": exp(a) / (exp(a) + exp(b) + exp(c) + exp(d)),
            "shares of the logits": a / (a + b),
            "equal weights": 0.5,
        },
        hints=("Only the difference of the two chosen logits matters.", "1 / (1 + e^(b - a))"),
        why="A softmax over the chosen is that over all, renormalised. Kept as it is, the softmax over all gives "
        "weights that sum to less than 1.",
    )


@weight_of_the_first_expert.second
def _(a, b, c, d):
    import numpy as np

    every = np.exp([a, b, c, d])
    every /= every.sum()
    chosen = np.sort(every)[-2:]
    return float(chosen[1] / chosen.sum())


@question(topic="moe.routing", level=2, source="Fedus 2022, Switch, section 2.1", readme="dl_015/1")
def one_expert_alone(draw):
    logits = draw.sample(range(-1, 5), 3)
    powers = [exp(one) for one in logits]
    share = round(max(powers) / sum(powers), 3)
    return Predict(
        ask="The best of three experts. Softmax after the choice, then before it: which weights are printed?",
        code=f"""
from math import exp
logits = {logits}
best = max(logits)
print(exp(best) / sum(exp(one) for one in [best]))
print(round(exp(best) / sum(exp(one) for one in logits), 3))
""",
        answer=f"1.0\n{share}",
        traps={
            "no difference": f"{share}\n{share}",
            "the two swapped": f"{share}\n1.0",
            "one alone, twice": "1.0\n1.0",
        },
        hints=("Over how many logits does each softmax go?", "e^x / e^x, and e^x / Σ e^logit"),
        why="A softmax over one logit is constant, so the router would learn nothing from the task. Switch weighs "
        "with the probability among all experts.",
    )


@question(topic="moe.auxiliary_losses", level=2, source="Fedus 2022, Switch, section 2.2", readme="dl_015/2")
def switch_loss(draw):
    f = draw([0.5, 0.3, 0.15, 0.05], [0.7, 0.15, 0.1, 0.05], [0.4, 0.35, 0.2, 0.05], [0.8, 0.1, 0.07, 0.03])
    P = draw([0.4, 0.3, 0.2, 0.1], [0.6, 0.2, 0.15, 0.05], [0.3, 0.28, 0.22, 0.2], [0.55, 0.3, 0.1, 0.05])
    return Number(
        ask=f"Four experts get shares {f[0]}, {f[1]}, {f[2]}, {f[3]} of the tokens; their mean probabilities are "
        f"{P[0]}, {P[1]}, {P[2]}, {P[3]}. What is Switch's balancing loss, without its coefficient?",
        given=dict(f=f, P=P),
        answer=4 * (f[0] * P[0] + f[1] * P[1] + f[2] * P[2] + f[3] * P[3]),
        traps={
            "number of experts forgotten": sum(x * y for x, y in zip(f, P, strict=True)),
            "shares squared": 4 * sum(x * x for x in f),
            "even load": 1.0,
        },
        hints=("Shares times probabilities, so that 1 is perfect balance.", "e · Σ f · P"),
        why="Shares are counted and have no gradient; probabilities have one. So descent lowers the probability of "
        "each expert in proportion to its load.",
    )


@switch_loss.second
def _(f, P):
    import numpy as np

    return float(np.einsum("i,i->", f, P) / np.full(4, 0.25).mean())


@question(topic="moe.auxiliary_losses", level=2, source="Fedus 2022, Switch, section 2.2", readme="dl_015/2")
def pushed_down_most(draw):
    loads, means = draw.sample([3, 9, 17, 26, 45], 4), draw.sample([0.1, 0.15, 0.2, 0.25, 0.3], 4)
    names = ["A", "B", "C", "D"]
    order = sorted(names, key=lambda name: -loads[names.index(name)])
    shown = "; ".join(f"{n} {load} and {p}" for n, load, p in zip(names, loads, means, strict=True))
    return Order(
        ask=f"Tokens and mean probability of four experts: {shown}. Whose mean probability does the balancing loss "
        "lower fastest? Largest derivative first.",
        given=dict(loads=loads, means=means),
        answer=order,
        traps={
            "by mean probability": sorted(names, key=lambda name: -means[names.index(name)]),
            "smallest first": order[::-1],
        },
        hints=("The loss is e · Σ f · P. Which of the two has a gradient?", "derivative with respect to P: e · f"),
        why="The share of tokens is a constant for the gradient, and is the slope of the mean probability. So counts "
        "move the router without a gradient of their own.",
    )


@pushed_down_most.second
def _(loads, means):
    total = sum(loads)

    def loss(P):
        return len(P) * sum(load / total * p for load, p in zip(loads, P, strict=True))

    slopes = {}
    for i, name in enumerate("ABCD"):
        moved = [p + (1e-4 if i == j else 0) for j, p in enumerate(means)]
        slopes[name] = loss(moved) - loss(means)
    return sorted(slopes, key=lambda name: -slopes[name])


@question(topic="moe.auxiliary_losses", level=2, source="Zoph 2022, ST-MoE, section 3.3")
def z_loss_of_a_token(draw):
    z = draw.sample([-2, -1, 0, 1, 2, 3, 4], 3)
    return Number(
        ask=f"A router's logits for a token are {z[0]}, {z[1]} and {z[2]}. What is its router z-loss, without the "
        "coefficient?",
        given=dict(z=z),
        answer=log(exp(z[0]) + exp(z[1]) + exp(z[2])) ** 2,
        traps={
            "not squared": log(sum(exp(one) for one in z)),
            "squares of the logits": sum(one * one for one in z) * 1.0,
            "the largest logit": max(z) ** 2 * 1.0,
        },
        hints=("It keeps the log of the softmax's denominator small.", "(ln Σ e^z)²"),
        why="A softmax does not feel a shift of all logits, but rounding does. The z-loss keeps logits small, and "
        "training in bfloat16 stable.",
    )


@z_loss_of_a_token.second
def _(z):
    import numpy as np

    return float(np.logaddexp.reduce(np.array(z, float)) ** 2)


@question(topic="moe.capacity", level=1, source="Fedus 2022, Switch, section 2.2")
def slots_of_an_expert(draw):
    T, E, k, c = draw(500, 900, 1000, 1500, 3000), draw(8, 16, 64), draw(2, 4), draw(1.25, 1.5, 1.75)
    return Number(
        ask=f"{T} tokens, {E} experts, each token sent to {k}, capacity factor {c:g}. How many slots does an "
        "expert have, rounded up?",
        given=dict(T=T, E=E, k=k, c=c),
        answer=ceil(c * k * T / E),
        unit="slots",
        traps={
            "one choice a token": ceil(c * T / E),
            "no spare slots": ceil(k * T / E),
            "rounded down": int(c * k * T / E),
        },
        hints=("A fair share of all choices, times the factor.", "⌈c · k · T / E⌉"),
        why="Buffers of fixed size make all experts one product. Too few slots drop tokens, too many compute padding.",
    )


@slots_of_an_expert.second
def _(T, E, k, c):
    choices = sum(k for _token in range(T))
    slots = 0
    while slots * E < c * choices:
        slots += 1
    return slots


@question(topic="moe.capacity", level=2, source="Lepikhin 2020, GShard, section 2.2")
def tokens_that_are_dropped(draw):
    chosen, capacity = [draw(0, 0, 1, 2) for _ in range(8)], draw(2, 3)
    places = [chosen[:i].count(expert) for i, expert in enumerate(chosen)]
    dropped = [i for i, place in enumerate(places) if place >= capacity]
    from_the_end = [i for i, expert in enumerate(chosen) if chosen[i + 1 :].count(expert) >= capacity]
    return Predict(
        ask="Tokens take the slots of their expert in turn. Which are dropped?",
        code=f"""
used, dropped = [0, 0, 0], []
for token, expert in enumerate({chosen}):
    if used[expert] < {capacity}:
        used[expert] += 1
    else:
        dropped.append(token)
print(dropped)
""",
        answer=str(dropped),
        traps={
            "the first ones": str(from_the_end),
            "slots shared by all": str(list(range(3 * capacity, 8))),
            "one slot too many": str([i for i, place in enumerate(places) if place > capacity]),
        },
        hints=(
            "Count how many tokens of the same expert came before.",
            "tokens with as many before as there are slots",
        ),
        why="A dropped token passes the layer by its skip alone. Who comes late in the batch is dropped, so the "
        "result depends on its neighbours.",
    )


@question(topic="moe.sparse_layer", level=1, source="Jiang 2024, Mixtral, section 2.1")
def flops_of_a_token(draw):
    d, w, k, E = draw(2048, 4096, 6144), draw(1408, 2048, 14336), draw(2, 4, 8), draw(16, 64)
    return Number(
        ask=f"{E} SwiGLU experts of width {w}, d = {d}, {k} of them for a token. How many FLOPs do the matrix "
        "products of its experts take? A multiplication and an addition are two.",
        given=dict(d=d, w=w, k=k),
        answer=6 * k * d * w,
        unit="FLOP",
        traps={"all experts": 6 * E * d * w, "two matrices": 4 * k * d * w, "additions forgotten": 3 * k * d * w},
        hints=("Three matrices an expert, each with d · w products and sums.", "2 · 3 · k · d · w"),
        why="Only chosen experts compute. More experts make the model larger, not the work of a token.",
    )


@flops_of_a_token.second
def _(d, w, k):
    flops = 0
    for _expert in range(k):
        for inputs, outputs in ((d, w), (d, w), (w, d)):
            flops += outputs * (inputs + inputs)
    return flops


@question(topic="moe.sparse_layer", level=2, source="Shazeer 2017, section 2")
def line_of_the_sparse_layer(draw):
    x, weights = [draw.between(2, 5), draw.between(6, 9)], [[0.75, 0.25], [0.5, 0.5]]
    a, b, c = draw.sample(range(2, 12), 3)
    wrong, mended = draw(
        ("                    out[t] = weight * expert(x[t])", "                    out[t] += weight * expert(x[t])"),
        ("                    out[t] += weight * expert(x[e])", "                    out[t] += weight * expert(x[t])"),
        (
            "            for i, weight in zip(chosen[e], weights[t]):",
            "            for i, weight in zip(chosen[t], weights[t]):",
        ),
    )
    code = f"""
def layer(x, chosen, weights, experts):
    out = [0.0, 0.0]
    for e, expert in enumerate(experts):
        for t in range(2):
            for i, weight in zip(chosen[t], weights[t]):
                if i == e:
                    out[t] += weight * expert(x[t])
    return out
experts = [lambda v: {a} * v, lambda v: {b} * v, lambda v: {c} * v]
print(layer({x}, [[0, 1], [1, 2]], {weights}, experts))
"""
    out = [x[0] * (0.75 * a + 0.25 * b), x[1] * (0.5 * b + 0.5 * c)]
    return Bug(
        ask="Two tokens, each sent to two of three experts. It prints other sums than it should. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(out),
        traps={
            "sums begin at 0": "    out = [0.0, 0.0]",
            "each expert once": "    for e, expert in enumerate(experts):",
        },
        hints=("Each token is the weighted sum of its experts' results.", "out[t] = Σ weight · expert(x[t])"),
        why="Results of several experts are added in the place of their token, whatever the order in which experts "
        "compute.",
    )


@question(topic="moe.shared_experts", level=2, source="Dai 2024, DeepSeekMoE, section 3.1")
def ways_to_choose(draw):
    m, N, k = draw(2, 3, 4), draw(6, 8, 12, 16), draw(1, 2)
    return Number(
        ask=f"{N} experts, {k} chosen for a token. Each is cut into {m} narrow ones of equal width, and {m} times as "
        "many are chosen. Among how many sets of experts does the router choose for a token now?",
        given=dict(m=m, N=N, k=k),
        answer=comb(m * N, m * k),
        unit="sets",
        traps={"as before": comb(N, k), "in order": perm(m * N, m * k), "as many chosen as before": comb(m * N, k)},
        hints=("How many experts are there now, and how many are chosen?", "(m·N over m·k)"),
        why="Parameters and work stay the same, the combinations multiply: fine experts can specialise more.",
    )


@ways_to_choose.second
def _(m, N, k):
    ways = [1] + [0] * (m * k)
    for _expert in range(m * N):
        for size in range(m * k, 0, -1):
            ways[size] += ways[size - 1]
    return ways[-1]


@question(topic="moe.shared_experts", level=2, source="Dai 2024, DeepSeekMoE, section 3.2")
def shared_and_routed(draw):
    x, s = draw.between(2, 5), draw(10, 20)
    experts, scores = draw.sample(range(1, 9), 3), draw.sample([0.5, 0.25, 0.125], 3)
    best = sorted(range(3), key=lambda i: -scores[i])[:2]
    routed = sum(scores[i] * experts[i] for i in best) * x
    return Predict(
        ask="One shared expert, two of three routed ones; an expert is a factor here. What is printed?",
        code=f"""
x, shared, experts = {x}, {s}, {experts}
scores = {scores}
best = sorted(range(3), key=lambda i: -scores[i])[:2]
routed = sum(scores[i] * experts[i] * x for i in best)
print(float(shared * x + routed))
""",
        answer=str(float(s * x + routed)),
        traps={
            "routed ones alone": str(float(routed)),
            "all experts": str(float(s * x + sum(p * q for p, q in zip(scores, experts, strict=True)) * x)),
            "one routed expert": str(float(s * x + scores[best[0]] * experts[best[0]] * x)),
        },
        hints=(
            "The shared expert sees every token and has no weight.",
            "shared · x + Σ score · expert · x over the best",
        ),
        why="The shared expert learns what all tokens need, so that routed ones need not each learn it again.",
    )


@question(topic="moe.shared_experts", level=1, source="Dai 2024, DeepSeekMoE, section 4")
def active_experts(draw):
    m, N, k, s = draw(2, 4), draw(8, 16, 32), draw(2, 3, 4), draw(1, 2)
    return Number(
        ask=f"{N} experts, {k} a token. DeepSeekMoE cuts each into {m} and makes {s} of the small ones shared; a "
        "token's work stays the same. Which share of the small experts that are not shared does a token use?",
        given=dict(m=m, N=N, k=k, s=s),
        answer=100 * (m * k - s) / (m * N - s),
        unit="%",
        traps={
            "shared ones come on top": 100 * m * k / (m * N - s),
            "before cutting": 100 * k / N,
            "of all small ones": 100 * (m * k - s) / (m * N),
        },
        hints=("m · k small experts may compute, the shared ones among them.", "100 · (m·k - s) / (m·N - s)"),
        why="Shared experts take places of routed ones, so that work stays the same.",
    )


@active_experts.second
def _(m, N, k, s):
    small = ["shared"] * s + ["routed"] * (m * N - s)
    computing = small[: m * k]
    return 100 * computing.count("routed") / small.count("routed")


@question(topic="moe.bias_balancing", level=2, source="DeepSeek-V3, section 2.1.2", readme="dl_015/3")
def weight_behind_a_bias(draw):
    s = [draw(0.8, 0.85, 0.9, 0.95), draw(0.6, 0.65, 0.7), draw(0.3, 0.4, 0.5)]
    b = draw(0.45, 0.5, 0.6)
    return Number(
        ask=f"Three experts have scores {s[0]}, {s[1]} and {s[2]}; a balancing bias of {b} has grown for the last, 0 "
        "for the others. Two are chosen. What is the weight of the last expert, if weights sum to 1?",
        given=dict(s=s, b=b),
        answer=s[2] / (s[0] + s[2]),
        traps={
            "bias in the weights": (s[2] + b) / (s[0] + s[2] + b),
            "it is not chosen": 0.0,
            "over all three": s[2] / (s[0] + s[1] + s[2]),
        },
        hints=("Choose with the bias, weigh without it.", "s₃ / (s₁ + s₃)"),
        why="The bias decides who is chosen, for the sake of the load. In the weights, an expert would count for "
        "more only because few chose it before.",
    )


@weight_behind_a_bias.second
def _(s, b):
    import numpy as np

    scores = np.array(s)
    chosen = np.argsort(scores + np.array([0, 0, b]))[1:]
    weights = np.where(np.isin(np.arange(3), chosen), scores, 0)
    return float((weights / weights.sum())[2])


@question(topic="moe.bias_balancing", level=1, source="Wang 2024, loss-free balancing, algorithm 1", readme="dl_015/3")
def biases_after_a_step(draw):
    mean = draw(8, 10, 12)
    off = draw.shuffled([draw(2, 3), -draw(1, 4), 0])
    off[off.index(0)] = -sum(off)
    loads, bias = [mean + one for one in off], [draw(0, 2, -3) for _ in range(3)]
    after = [one + (load < mean) - (load > mean) for one, load in zip(bias, loads, strict=True)]
    return Predict(
        ask="Loads of three experts, and their biases, in units of the step. What is printed?",
        code=f"""
loads, bias = {loads}, {bias}
mean = sum(loads) / 3
for i, load in enumerate(loads):
    bias[i] += (load < mean) - (load > mean)
print(bias)
""",
        answer=str(after),
        traps={
            "the wrong way": str([one - (load < mean) + (load > mean) for one, load in zip(bias, loads, strict=True)]),
            "by how far it is off": str([one + mean - load for one, load in zip(bias, loads, strict=True)]),
            "nothing moves": str(bias),
        },
        hints=("Whose expert should be chosen more often?", "one step up below the mean, one down above it"),
        why="It is a controller with a step of fixed size, no gradient: it cannot pull against the task's loss.",
    )


@question(topic="moe.other_routers", level=1, source="Zhou 2022, expert choice, section 3", readme="dl_015/6")
def tokens_of_an_expert(draw):
    T, E, c = draw(512, 1024, 2048, 4096), draw(8, 16, 64), draw(2, 4)
    return Number(
        ask=f"Expert choice: {T} tokens, {E} experts, a token gets {c} experts on average. How many tokens does each "
        "expert choose?",
        given=dict(T=T, E=E, c=c),
        answer=T * c // E,
        unit="tokens",
        traps={"one expert a token": T // E, "as many as experts a token": c, "all tokens": T},
        hints=("All experts choose equally many; how many choices are there?", "T · c / E"),
        why="Loads are equal by construction, without a loss. Some tokens get many experts, some none.",
    )


@tokens_of_an_expert.second
def _(T, E, c):
    chosen = [0] * E
    for choice in range(T * c):
        chosen[choice % E] += 1
    return chosen[0]


@question(topic="moe.other_routers", level=2, source="Zhou 2022, expert choice, section 3", readme="dl_015/6")
def tokens_that_come_later(draw):
    scores = draw.sample(range(10, 99), 6)
    now = scores[:4]

    def taken(scores, n):
        return sorted(sorted(range(len(scores)), key=lambda i: -scores[i])[:n])

    before, after = taken(now, 2), taken(scores, 2)
    return Predict(
        ask="An expert takes the two tokens with the best scores: of the first four tokens, then of all six. What is "
        "printed?",
        code=f"""
def taken(scores):
    best = sorted(range(len(scores)), key=lambda i: -scores[i])
    return sorted(best[:2])
scores = {scores}
print(taken(scores[:4]), taken(scores))
""",
        answer=f"{before} {after}",
        traps={
            "earlier tokens stay": f"{before} {before}",
            "the lowest ones": f"{taken([-one for one in now], 2)} {taken([-one for one in scores], 2)}",
            "the newest ones": f"{before} [4, 5]" if after != [4, 5] else f"[2, 3] {after}",
        },
        hints=("Do later tokens take the places of earlier ones?", "the two largest of four, then of six"),
        why="Whether a token is taken depends on tokens after it: in training that leaks the future, and when "
        "decoding they do not exist yet.",
    )


@question(topic="moe.collapse", level=2, source="Shazeer 2017, section 4; Cover 2006, 2.4", readme="dl_015/4")
def information_of_the_choice(draw):
    p = draw(0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
    own = -p * log(p) - (1 - p) * log(1 - p)
    return Number(
        ask=f"Two experts. Half of the tokens choose the first with probability {p}, the other half the second with "
        f"{p}. How many nats does the choice tell about the kind of token: entropy of the mean, less mean entropy?",
        given=dict(p=p),
        answer=log(2) - own,
        traps={"a token's entropy": own, "entropy of the mean": log(2), "in bits": (log(2) - own) / log(2)},
        hints=("The mean probabilities are even; what is the entropy of one token?", "ln 2 + p·ln p + (1-p)·ln(1-p)"),
        why="High entropy of the load and low entropy of each token: every token knows its way, and the ways differ.",
    )


@information_of_the_choice.second
def _(p):
    import numpy as np

    rows = np.array([[p, 1 - p], [1 - p, p]])
    mean = rows.mean(0)
    return float((rows * np.log(rows / mean)).sum(1).mean())


@question(topic="moe.collapse", level=1, source="Shazeer 2017, section 4", readme="dl_015/4")
def state_of_a_router(draw):
    hi, state = draw(0.94, 0.97, 0.99), draw("healthy", "collapsed", "uncertain")
    lo = round(1 - hi, 2)
    rows = {
        "healthy": [(hi, lo), (lo, hi), (hi, lo), (lo, hi)],
        "collapsed": [(hi, lo)] * 3 + [(round(hi - 0.02, 2), round(lo + 0.02, 2))],
        "uncertain": [(0.52, 0.48), (0.47, 0.53), (0.51, 0.49), (0.48, 0.52)],
    }[state]
    texts = {
        "healthy": "healthy: tokens are sure, and choose unlike experts",
        "collapsed": "collapsed: tokens are sure, and choose the same expert",
        "uncertain": "uncertain: no token knows its expert",
    }
    return Choice(
        ask="A router's probabilities of two experts for four unlike tokens: "
        + ", ".join(f"{a} / {b}" for a, b in rows)
        + ". What is its state?",
        given=dict(rows=rows),
        answer=texts[state],
        traps={other: text for other, text in texts.items() if other != state},
        hints=("Look at the mean of the rows, and at a single row.", "entropy of the mean; mean of the entropies"),
        why="Two entropies tell it: that of the load is low only where the router has collapsed, that of a token "
        "high only where it is uncertain.",
    )


@state_of_a_router.second
def _(rows):
    import numpy as np

    probabilities = np.array(rows)
    mean = probabilities.mean(0)
    of_mean = -(mean * np.log2(mean)).sum()
    of_token = -(probabilities * np.log2(probabilities)).sum(1).mean()
    if of_mean < 0.6:
        return "collapsed: tokens are sure, and choose the same expert"
    if of_token > 0.6:
        return "uncertain: no token knows its expert"
    return "healthy: tokens are sure, and choose unlike experts"


@question(topic="moe.expert_parallel", level=2, source="Lepikhin 2020, GShard, section 3.2")
def bytes_there_and_back(draw):
    T, k, d, p = draw(2048, 4096, 8192), draw(2, 4, 6, 8), draw(4096, 7168), draw(8, 16, 64)
    return Number(
        ask=f"A rank has {T} tokens of width {d}, 2 B a value; each goes to {k} experts, spread evenly over {p} "
        "ranks. How many bytes does the rank send in a layer forward, results of others' tokens included?",
        given=dict(T=T, k=k, d=d, p=p),
        answer=4 * T * k * d * (p - 1) / p,
        unit="B",
        traps={
            "one way": 2 * T * k * d * (p - 1) / p,
            "one expert a token": 4 * T * d * (p - 1) / p,
        },
        hints=("A copy for each choice goes out, and as many results go back.", "2 · 2 · T · k · d · (p - 1) / p"),
        why="Two all-to-alls a layer, there and back. What its own experts take stays; that is a p-th only.",
    )


@bytes_there_and_back.second
def _(T, k, d, p):
    sent = 0.0
    for _way in ("tokens", "results"):
        for rank in range(p):
            if rank:  # not to itself
                sent += T * k / p * d * 2
    return sent


@question(topic="moe.expert_parallel", level=1, source="Lepikhin 2020, GShard, section 3.2")
def tokens_for_each_rank(draw):
    a_rank, ranks = draw(2, 3, 4), draw(3, 4)
    chosen = [draw.between(0, a_rank * ranks - 1) for _ in range(7)]
    counts = [sum(e // a_rank == rank for e in chosen) for rank in range(ranks)]
    return Predict(
        ask=f"{a_rank} experts on each of {ranks} ranks, in order. How many tokens go to each rank?",
        code=f"""
counts = [0] * {ranks}
for expert in {chosen}:
    counts[expert // {a_rank}] += 1
print(counts)
""",
        answer=str(counts),
        traps={
            "experts dealt round": str([sum(e % ranks == rank for e in chosen) for rank in range(ranks)]),
            "evenly": str([len(chosen) // ranks] * ranks),
            "the last rank first": str(counts[::-1]),
        },
        hints=("On which rank does an expert live?", "⌊expert / experts a rank⌋"),
        why="Counts differ from rank to rank, so they are exchanged first. The most loaded rank sets the pace of all.",
    )


@question(topic="moe.parameters", level=2, source="Jiang 2024, Mixtral, table 1", readme="dl_015/5")
def active_parameters(draw):
    L, d, w = draw((32, 4096, 14336), (56, 6144, 16384), (24, 2048, 5632), (40, 5120, 8192))
    E, k, V = draw(8, 16, 32), draw(2, 4), 32000
    common = 2 * V * d + L * (2 * d * d + 2048 * d + d * E)
    return Number(
        ask=f"Mixtral's design: {L} layers, d = {d}, 8 KV heads of width 128, {E} SwiGLU experts of width {w} and a "
        f"router, {k} experts a token, {V:,} tokens, head not tied. Norms left out, embedding counted whole: how many "
        "parameters does a token use?",
        given=dict(L=L, d=d, w=w, E=E, k=k),
        answer=common + 3 * L * k * d * w,
        unit="parameters",
        traps={
            "all experts": common + L * E * 3 * d * w,
            "a share of all": (common + L * E * 3 * d * w) * k // E,
            "experts alone": L * k * 3 * d * w,
        },
        hints=(
            "Embedding, head, attention and router are used by every token.",
            "2·32000·d + L·(2·d^2 + 2·1024·d + d·E + k·3·d·w)",
        ),
        why="Only feed-forward networks exist many times. So 8 times 7 billion are neither 56 in all nor 14 in use.",
    )


@active_parameters.second
def _(L, d, w, E, k):
    from math import prod

    attention = [(d, d), (8 * 128, d), (8 * 128, d), (d, d)]
    expert = [(w, d), (w, d), (d, w)]
    layer = [*attention, (E, d)] + expert * k
    return sum(map(prod, [(32000, d), (32000, d)])) + sum(map(prod, layer * L))


@question(topic="moe.parameters", level=1, source="Jiang 2024, Mixtral, section 3", readme="dl_015/5")
def what_sets_the_cost(draw):
    what, E, batch = draw("memory", "one", "many", "flops"), draw(8, 16), draw(512, 1024, 2048)
    asked = {
        "memory": "What must fit into memory?",
        "one": "A single sequence decodes. What is read from memory for a token?",
        "many": f"{batch} sequences decode together. What is read from memory in a step?",
        "flops": f"{batch} sequences decode together. What does the arithmetic of a token follow?",
    }[what]
    every, active, many = "all parameters, or nearly all", "the active parameters", "active parameters, once a sequence"
    right = every if what in ("memory", "many") else active
    return Choice(
        ask=f"Two of {E} experts for a token. {asked}",
        given=dict(what=what, E=E, batch=batch),
        answer=right,
        traps={
            "total and active swapped": active if right == every else every,
            "experts read again": many,
            "experts forgotten": "attention and embedding alone",
        },
        hints=(
            "Which experts does the step touch, over all its tokens?",
            "2 for a token; in a large batch, nearly all",
        ),
        why="Any expert may be next, so all must be there. A token computes with its own; a large batch touches "
        "every one.",
    )


@what_sets_the_cost.second
def _(what, E, batch):
    pairs = [(token % E, (token * 3 + 1) % E) for token in range(batch)]
    touched = {
        "memory": set(range(E)),
        "one": set(pairs[0]),
        "many": {expert for pair in pairs for expert in pair},
        "flops": set(pairs[0]),
    }[what]
    return "all parameters, or nearly all" if len(touched) > E - 1 else "the active parameters"
