"""Questions on attention whose numbers change: `grader drill --topic attention.scaled`."""

from math import exp, log, sqrt

from grader.drills import Blank, Bug, Choice, Number, Predict, question


@question(topic="attention.scaled", level=1, source="Vaswani 2017, section 3.2.1", readme="dl_001/2", seed="000/6")
def deviation_of_a_score(draw):
    d, a, b = draw(32, 64, 128, 192, 256, 512), draw(0.5, 1.0, 2.0), draw(1.0, 3.0)
    return Number(
        ask=f"q and k have {d} independent entries of mean 0; those of q have standard deviation {a:g}, those of k "
        f"{b:g}. What "
        "standard deviation has q · k, without a scale?",
        given=dict(d=d, a=a, b=b),
        answer=a * b * sqrt(d),
        traps={"variance for deviation": a * a * b * b * d, "deviations added up": a * b * d, "width forgotten": a * b},
        hints=("Variances of independent products add up; then take the root.", "a · b · sqrt(d)"),
        why="The variance of a sum of d products grows with d, its deviation with the root. Hence 1/√d, not 1/d.",
    )


@deviation_of_a_score.second
def _(d, a, b):
    variance = 0.0
    for _entry in range(d):
        variance += (a * b) ** 2
    return variance**0.5


@question(topic="attention.scaled", level=2, source="Vaswani 2017, section 3.2.1", readme="dl_001/6", seed="000/5")
def work_of_the_scores(draw):
    n, d, h = draw(512, 1024, 2048, 4096), draw(64, 128), draw(8, 12, 16, 32)
    return Number(
        ask=f"Self-attention of {h} heads of width {d} over {n} tokens, no mask. FLOPs of the scores and of the "
        f"weighted sums, "
        "without the projections? A multiplication and an addition are two.",
        given=dict(n=n, d=d, h=h),
        answer=4 * n * n * d * h,
        unit="FLOP",
        traps={"scores only": 2 * n * n * d * h, "products counted as one": n * n * d * h, "one head": 4 * n * n * d},
        hints=("Two matrix products for each head, of n × d × n and n × n × d.", "4 · n · n · d · h"),
        why="Both products are quadratic in the number of tokens. The softmax between them has no factor of the width.",
    )


@work_of_the_scores.second
def _(n, d, h):
    def product(rows, inner, columns):
        return 2 * rows * inner * columns

    return h * (product(n, d, n) + product(n, n, d))


@question(topic="attention.scaled", level=2, source="Vaswani 2017, section 3.2", readme="dl_001/6")
def where_scores_cost_as_much(draw):
    h, d = draw(8, 12, 16, 32, 40), draw(64, 80, 96, 128)
    return Number(
        ask=f"A layer of {h} heads of width {d}: four projections of the whole width, then scores and weighted sums "
        "over all pairs. At how many tokens do the pairs cost as much as the projections?",
        given=dict(h=h, d=d),
        answer=2 * h * d,
        unit="tokens",
        traps={"scores without the sums": 4 * h * d, "three projections": 3 * h * d // 2, "the width": h * d},
        hints=("Set 8 · n · c² equal to 4 · n² · c, for c = h · d.", "2 · h · d"),
        why="Projections grow with the tokens, pairs with their square. Below twice the width, the matrices dominate.",
    )


@where_scores_cost_as_much.second
def _(h, d):
    c = h * d
    projections, pairs = [2 * c * c] * 4, [2 * c] * 2  # FLOPs a token; FLOPs a pair of tokens
    low, high = 1, 1 << 20
    while low < high:
        n = (low + high) // 2
        if n * n * sum(pairs) < n * sum(projections):
            low = n + 1
        else:
            high = n
    return low


@question(topic="attention.scaled", level=1, source="Vaswani 2017, section 3.2.1", readme="dl_001/1")
def softmax_of_a_gap(draw):
    g, d = draw(5.0, 10.0, 20.0, 30.0), draw(16, 64, 256)
    return Number(
        ask=f"Two keys; q · k of the first is {g:g} larger than that of the second. Width {d}, usual scale. What "
        "weight does the first get?",
        given=dict(g=g, d=d),
        answer=1 / (1 + exp(-g / sqrt(d))),
        within=0.001,
        traps={"no scale": 1 / (1 + exp(-g)), "divided by the width": 1 / (1 + exp(-g / d))},
        hints=("Of two, softmax is the logistic function of the gap.", "1 / (1 + e^(-g / sqrt(d)))"),
        why="Only the gap counts: a number added to both scores changes nothing, which is also how overflow is "
        "avoided.",
    )


@softmax_of_a_gap.second
def _(g, d):
    import numpy as np

    scores = np.array([1000 * sqrt(d) + g, 1000 * sqrt(d)]) / np.sqrt(d)
    weights = np.exp(scores - scores.max())
    return float((weights / weights.sum())[0])


@question(topic="attention.scaled", level=2, source="Vaswani 2017, section 3.5", readme=("dl_001/3", "dl_001/9"))
def what_a_change_does(draw):
    case = draw("tokens permuted", "tokens permuted, causal mask", "keys and values permuted", "keys permuted alone")
    same, moved, other = "they are the same", "they are permuted alike", "they are others"
    ask = {
        "tokens permuted": "The tokens of self-attention, no mask and no positions, are permuted",
        "tokens permuted, causal mask": "The tokens of self-attention with a causal mask, no positions, are permuted",
        "keys and values permuted": "Queries stay; keys and values are permuted alike",
        "keys permuted alone": "Queries and values stay; the keys are permuted",
    }[case]
    right = {"tokens permuted": moved, "keys and values permuted": same}.get(case, other)
    wrong = [one for one in (same, moved, other) if one != right]
    return Choice(
        ask=f"{ask}. What becomes of the outputs?",
        given=dict(case=case),
        answer=right,
        traps={"invariant and equivariant": wrong[0], "what the order carries": wrong[1]},
        hints=("Which query belongs to which output, and which value to which key?", "f(P X) against P f(X) and f(X)"),
        why="Attention is a sum over a set of pairs of key and value, one for each query: equivariant, until a mask "
        "or a "
        "position tells places apart.",
    )


@what_a_change_does.second
def _(case):
    import numpy as np

    def attend(q, k, v, causal):
        scores = q @ k.T
        scores = np.where(np.tri(5, dtype=bool) | (not causal), scores, -np.inf)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True) @ v

    x, order = np.random.default_rng(1).normal(size=(5, 3)), np.array([3, 0, 4, 1, 2])
    before = attend(x, x, x, "mask" in case)
    if case.startswith("tokens"):
        after = attend(x[order], x[order], x[order], "mask" in case)
    else:
        after = attend(x, x[order], x[order] if "values" in case else x, causal=False)
    if np.allclose(after, before):
        return "they are the same"
    return "they are permuted alike" if np.allclose(after, before[order]) else "they are others"


@question(topic="attention.causal_mask", level=1, source="Vaswani 2017, section 3.2.3", readme="dl_001/4", seed="000/8")
def pairs_that_are_hidden(draw):
    n, B, h = draw.between(10, 80), draw(2, 4, 8), draw(4, 8, 12)
    return Number(
        ask=f"Causal self-attention over {n} tokens, {B} sequences, {h} heads. How many scores are masked?",
        given=dict(n=n, B=B, h=h),
        answer=B * h * n * (n - 1) // 2,
        unit="scores",
        traps={
            "those that stay": B * h * n * (n + 1) // 2,
            "one head, one sequence": n * (n - 1) // 2,
            "all above and below": B * h * n * (n - 1),
        },
        hints=("Above the diagonal of one map; then how many maps?", "B · h · n · (n - 1) / 2"),
        why="A query sees itself: the diagonal stays. Half of the map less half of the diagonal is computed for "
        "nothing.",
    )


@pairs_that_are_hidden.second
def _(n, B, h):
    return B * h * sum(1 for query in range(n) for key in range(n) if key > query)


@question(topic="attention.causal_mask", level=2, source="Vaswani 2017, section 3.2.3", readme="dl_001/4")
def mask_by_a_product(draw):
    a, b, c = draw.sample(range(1, 7), 3)
    way = draw("weights times the mask", "scores times the mask", "scores filled with -inf")
    by = {
        "weights times the mask": exp(a) / (exp(a) + exp(b) + exp(c)),
        "scores times the mask": exp(a) / (exp(a) + exp(b) + 1),
        "scores filled with -inf": exp(a) / (exp(a) + exp(b)),
    }
    words = {
        "weights times the mask": "the softmax is taken over all three, then multiplied by the mask (1, 1, 0)",
        "scores times the mask": "the scores are multiplied by the mask (1, 1, 0) before the softmax",
        "scores filled with -inf": "the third score is set to -inf before the softmax",
    }
    return Number(
        ask=f"Scores {a}, {b} and {c}; the third key is hidden in this way: {words[way]}. What weight does the "
        f"first key get?",
        given=dict(a=a, b=b, c=c, way=way),
        answer=by[way],
        within=0.002,
        traps={name: value for name, value in by.items() if name != way},
        hints=("What does a hidden score of 0 still add to the sum of the softmax?", "e^a / (all that is summed)"),
        why="Only -inf hides: a score of 0 still counts as one, and weights cut afterwards no longer add up to one.",
    )


@mask_by_a_product.second
def _(a, b, c, way):
    import numpy as np

    scores, mask = np.array([a, b, c], float), np.array([1.0, 1.0, 0.0])
    if way == "scores times the mask":
        scores = scores * mask
    elif way != "weights times the mask":
        scores[2] = -np.inf
    weights = np.exp(scores) / np.exp(scores).sum()
    return float((weights * mask)[0])


@question(
    topic="attention.multi_head",
    level=1,
    source="Vaswani 2017, section 3.2.2",
    readme=("dl_001/5", "dl_001/6"),
    seed="000/7",
)
def parameters_of_a_layer(draw):
    c, h = draw(512, 768, 1024, 1536, 2048, 2560, 4096, 5120), draw(8, 16, 32)
    return Number(
        ask=f"Multi-head attention of width {c} with {h} heads of width {c // h}. How many parameters does it have, "
        "biases too?",
        given=dict(c=c, h=h),
        answer=4 * c * c + 4 * c,
        unit="parameters",
        traps={
            "each head of the whole width": h * (4 * c * c + 4 * c),
            "no projection of the output": 3 * c * c + 3 * c,
            "no biases": 4 * c * c,
        },
        hints=("Four square projections, each with a bias.", "4 · c · c + 4 · c"),
        why="Heads share the width: more heads are narrower ones, with as many parameters and as much work.",
    )


@parameters_of_a_layer.second
def _(c, h):
    import numpy as np

    width = c // h
    heads = [np.broadcast_to(0, (3, c + 1, width)) for _head in range(h)]
    return sum(head.size for head in heads) + (h * width + 1) * c


@question(topic="attention.multi_head", level=2, source="Vaswani 2017, section 3.2.2", readme="dl_001/5")
def heads_out_of_place(draw):
    t, h, d = draw(2, 3), 2, 2
    x = draw.sample(range(10, 99), t * h * d)
    rows = [x[i * h * d : (i + 1) * h * d] for i in range(t)]
    right = [[row[0:d] for row in rows], [row[d:] for row in rows]]
    wrong = [[x[i * d + j * t * d : i * d + j * t * d + d] for i in range(t)] for j in range(h)]
    return Predict(
        ask=f"{t} tokens of width {h * d} are split into {h} heads. What is printed?",
        code=f"""
import numpy as np
x = np.array({rows})
heads = x.reshape({t}, {h}, {d}).swapaxes(0, 1)
print(heads.tolist())
""",
        answer=str(right),
        traps={
            "reshaped to heads at once": str(wrong),
            "still by token": str([[row[0:d], row[d:]] for row in rows]),
        },
        hints=(
            "First split each token's row, then bring the heads to the front.",
            "heads[j][i] = row i, from j · d on",
        ),
        why="A head is a slice of every token's row. Reshaping to heads first gives it whole tokens, and no error.",
    )


@question(topic="attention.backward", level=2, source="Dao 2022, appendix B.2", readme="dl_001/7")
def gradient_of_a_score(draw):
    p, g, s = draw(0.1, 0.2, 0.25, 0.4, 0.5, 0.8), draw.between(2, 9), draw.between(-5, 5)
    return Number(
        ask=f"A query gives key j the weight {p:g}. The gradient of the loss by that weight is {g}; the sum of weight "
        f"times "
        f"gradient over all keys is {s}. What is the gradient by the score of key j?",
        given=dict(p=p, g=g, s=s),
        answer=p * (g - s),
        traps={"the sum forgotten": p * g, "a sigmoid's": p * (1 - p) * g, "the weight forgotten": float(g - s)},
        hints=("A softmax passes on what exceeds the weighted mean of the gradients.", "p · (g - s)"),
        why="Weights add up to one, so a gradient that is the same for all keys changes nothing. FlashAttention gets "
        "that sum as the product of the output and its gradient.",
    )


@gradient_of_a_score.second
def _(p, g, s):
    import numpy as np

    other = (s - p * g) / (1 - p)  # the gradient of the other key, so that the weighted sum is s
    weights, gradients = np.array([p, 1 - p]), np.array([g, other])
    jacobian = np.diag(weights) - np.outer(weights, weights)
    return float((jacobian @ gradients)[0])


@question(topic="attention.backward", level=1, source="Dao 2022, section 3.1", readme="dl_001/7")
def bytes_of_the_map(draw):
    B, h, n, b = draw(4, 8, 16, 32), draw(12, 16, 32), draw(1024, 2048, 4096, 8192), draw(2, 4)
    return Number(
        ask=f"Plain attention keeps its weights for the backward pass: {B} sequences of {n} tokens, {h} heads, {b} B "
        f"a weight. "
        "How many bytes a layer?",
        given=dict(B=B, h=h, n=n, b=b),
        answer=B * h * n * n * b,
        unit="B",
        traps={
            "linear in the tokens": B * h * n * b,
            "one head": B * n * n * b,
            "halved by the mask": B * h * n * n * b // 2,
        },
        hints=("A weight for each pair of tokens, in each head of each sequence.", "B · h · n · n · b"),
        why="A causal mask leaves the map's size as it is. FlashAttention keeps one number a row in its place.",
    )


@bytes_of_the_map.second
def _(B, h, n, b):
    import numpy as np

    return np.broadcast_to(np.zeros((), f"f{b}"), (B, h, n, n)).nbytes


@question(topic="attention.backward", level=2, source="Dao 2022, appendix B.2", readme="dl_001/7")
def wrong_line_backward(draw):
    n = draw.between(3, 6)
    wrong, mended = draw(
        ("    dv = p @ dout", "    dv = p.T @ dout"),
        ("    ds = p * (dp - (dp * p).sum(0))", "    ds = p * (dp - (dp * p).sum(1, keepdims=True))"),
        ("    return ds @ k, ds @ q, dv", "    return ds @ k, ds.T @ q, dv"),
    )
    code = f"""
import numpy as np
def backward(q, k, v, p, dout):
    dv = p.T @ dout
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdims=True))
    return ds @ k, ds.T @ q, dv
q, k, v, dout = np.random.default_rng({n}).normal(size=(4, {n}, {n}))
e, f = np.exp(q @ k.T), np.exp((q + 1e-6) @ k.T); p = e / e.sum(1)[:, None]
dq, dk, dv = backward(q, k, v, p, dout); o = (p @ v * dout).sum()
moved = (f / f.sum(1)[:, None] @ v * dout).sum()
print(abs(dq.sum() - 1e6 * (moved - o)) < 1e-3, np.isclose((dv * v).sum(), o))
print(np.isclose((dq * q).sum(), (dk * k).sum()))
"""
    return Bug(
        ask="p are the weights of attention without a scale, and backward its gradients. They hold three laws: three "
        "times True "
        "should be printed. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints="True True\nTrue",
        traps={
            "dp is right": "    dp = dout @ v.T",
            "the difference is right": "moved = (f / f.sum(1)[:, None] @ v * dout).sum()",
        },
        hints=("Rows of p belong to queries, columns to keys. Which one is summed over?", "pᵀ dout, rows of p, dsᵀ q"),
        why="Each gradient sums over the other side: values and keys over the queries, queries over the keys.",
    )


@question(topic="attention.additive", level=2, source="Bahdanau 2014, appendix A.1.2", readme="dl_001/8")
def work_of_additive_scores(draw):
    t, s, m, a = draw(32, 64, 128), draw(48, 96, 256), draw(128, 256, 512), draw(64, 100, 160)
    return Number(
        ask=f"Additive attention: {t} queries and {s} keys of width {m} are each projected once to width {a}, a score "
        "is w · tanh(query + key). Multiplications of all scores, projections included?",
        given=dict(t=t, s=s, m=m, a=a),
        answer=(t + s) * m * a + t * s * a,
        unit="multiplications",
        traps={
            "projected for each pair": t * s * 2 * m * a + t * s * a,
            "pairs only": t * s * a,
            "queries projected only": t * m * a + t * s * a,
        },
        hints=("What is done for each token, and what for each pair?", "(t + s) · m · a + t · s · a"),
        why="The projection of a sum is a sum of projections, so no pair is projected. What is left for each pair is "
        "as much "
        "as a dot product of width a, and a tanh for each entry.",
    )


@work_of_additive_scores.second
def _(t, s, m, a):
    count = 0
    for tokens in (t, s):
        count += tokens * sum(m for _row in range(a))
    for _query in range(t):
        count += s * a
    return count


@question(topic="attention.additive", level=1, source="Vaswani 2017, section 3.2.1", readme="dl_001/8")
def kind_of_score(draw):
    case = draw("doubled", "unlike widths", "bounded")
    dot, additive, both = "dot product", "additive", "both"
    ask = {
        "doubled": "Queries become twice as long. Whose scores are exactly twice what they were?",
        "unlike widths": "Queries of width 3 and keys of width 5, no matrix beside those of the formula. Which can be "
        "computed?",
        "bounded": "Queries become a thousand times as long. Whose scores stay below a bound that depends on the "
        "weights "
        "alone?",
    }[case]
    right = dot if case == "doubled" else additive
    return Choice(
        ask=ask,
        given=dict(case=case),
        answer=right,
        traps={
            "the other one": additive if right == dot else dot,
            "no difference seen": both,
            "a difference missed": "neither",
        },
        hints=("One is linear in the query; the other squeezes it first.", "q · k against w · tanh(A q + B k)"),
        why="Vaswani and others found both alike for small widths; unscaled, the dot product fell behind for large "
        "ones, "
        "and it is one matrix product.",
    )


@kind_of_score.second
def _(case):
    import numpy as np

    draw = np.random.default_rng(2)
    q, k, w, A, B = (draw.normal(size=size) for size in (4, 4, 6, (6, 4), (6, 4)))

    def dot(q):
        return q @ k

    def additive(q):
        return w @ np.tanh(A @ q + B @ k)

    if case == "unlike widths":
        try:
            draw.normal(size=3) @ draw.normal(size=5)
        except ValueError:
            return "additive"
        return "both"
    if case == "doubled":
        found = [np.isclose(score(2 * q), 2 * score(q)) for score in (dot, additive)]
    else:
        found = [abs(score(1000 * q)) <= abs(w).sum() for score in (dot, additive)]
    return {(1, 0): "dot product", (0, 1): "additive", (1, 1): "both"}.get(tuple(map(int, found)), "neither")


@question(topic="attention.stability", level=2, source="Xiao 2023, section 3.1", readme="dl_001/10")
def what_a_sink_keeps(draw):
    n, r = draw(4, 8, 16, 32, 64), draw(2.0, 4.0, 5.0, 10.0, 20.0)
    return Number(
        ask=f"A head sees {n} keys, all with score 0, and a sink whose logit is the logarithm of {r:g}; the sink has "
        f"no value. "
        "All values are 1. What is the output?",
        given=dict(n=n, r=r),
        answer=n / (n + r),
        within=0.002,
        traps={
            "no sink": 1.0,
            "the logit, not its exponential": n / (n + log(r)),
            "what the sink gets": r / (n + r),
        },
        hints=("The sink adds its exponential below, and nothing above.", "n / (n + r)"),
        why="A softmax has to give its weight away. A sink takes what a head does not want to give to any token.",
    )


@what_a_sink_keeps.second
def _(n, r):
    import numpy as np

    logits = np.concatenate([np.zeros(n), [np.log(r)]])
    weights = np.exp(logits) / np.exp(logits).sum()
    return float(weights @ np.concatenate([np.ones(n), [0.0]]))


@question(topic="attention.stability", level=2, source="Dehghani 2023, section 2.1", readme="dl_001/11")
def bound_of_a_normed_score(draw):
    d, a, b = draw(16, 64, 100, 128, 256), draw(1.0, 1.5, 2.0), draw(1.0, 3.0)
    return Number(
        ask=f"Queries and keys of width {d} pass an RMS norm whose weights are all {a:g} for queries, all {b:g} for "
        f"keys. Scale 1/√{d}. What is the largest score that there can be?",
        given=dict(d=d, a=a, b=b),
        answer=a * b * sqrt(d),
        traps={"no scale": a * b * d, "unit length for unit mean square": a * b / sqrt(d), "width forgotten": a * b},
        hints=("A normed vector has length weight · sqrt(d); when is a dot product largest?", "a · b · sqrt(d)"),
        why="Whatever the projections grow to, the score cannot: large models diverged when their logits grew without "
        "bound.",
    )


@bound_of_a_normed_score.second
def _(d, a, b):
    import numpy as np

    x = np.arange(1.0, d + 1)

    def norm(x, weight):
        return weight * x / np.sqrt((x * x).mean())

    return float(norm(x, a) @ norm(37 * x, b) / np.sqrt(d))


@question(topic="attention.stability", level=1, source="Vaswani 2017, section 3.2.1", readme="dl_001/1")
def safe_softmax(draw):
    most, x = draw("top", "peak", "most", "m", "largest", "ceiling"), draw("x", "scores", "z")
    return Blank(
        ask=f"`{most}` is the largest entry of `{x}`. What keeps this softmax from overflow, and changes nothing else?",
        code=f"e = [exp(____) for one in {x}]\nreturn [one / sum(e) for one in e]",
        given={"one": draw.between(2, 9), most: draw.between(10, 20)},
        answer=f"one - {most}",
        traps={"divided": f"one / {most}", "nothing done": "one", "the wrong way": f"{most} - one"},
        hints=("A number taken from all entries leaves a softmax as it is.", "the entry less the largest one"),
        why="The largest exponent becomes 0, so no exponential exceeds one. Dividing would change the weights.",
    )


@safe_softmax.second
def _(**given):
    one, most = given.values()
    return next(shift for shift in range(-40, 1) if shift + most == one)
