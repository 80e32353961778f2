"""Questions on speculative decoding whose numbers change: `grader drill --topic speculative.limits`."""

from math import ceil, exp, log, prod

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="speculative.bandwidth", level=1, source="Leviathan 2023, section 1", readme="dl_022/1", seed="002/17")
def time_of_a_token(draw):
    P, b, B = draw(7.0, 13.0, 34.0, 70.0), draw(1, 2), draw(0.9, 2.039, 3.35, 4.8)
    return Number(
        ask=f"Decoding one sequence: {P:g} · 10⁹ weights of {b} B, memory of {B:g} TB/s, arithmetic hidden behind it, "
        "cache left aside. How many ms does a token take?",
        given=dict(P=P, b=b, B=B),
        answer=P * b / B,
        unit="ms",
        traps={
            "the other size of weights": P * (3 - b) / B,
            "two bytes for each operation": 2 * P * b / B,
            "upside down": B / (P * b),
        },
        hints=("All weights are read once for each token.", "P · b / B"),
        why="A step over one token reads every weight once and does two operations with each, so arithmetic waits. "
        "More tokens in one step are nearly free.",
    )


@time_of_a_token.second
def _(P, b, B):
    bytes_read = sum(P * 1e9 for _byte in range(b))
    tokens_a_second = B * 1e12 / bytes_read
    return 1000 / tokens_a_second


@question(topic="speculative.bandwidth", level=2, source="Leviathan 2023, section 4", readme=("dl_022/1", "dl_022/7"))
def tokens_at_the_turn(draw):
    F, B, b = draw(165, 312, 660, 989), draw(0.9, 2.039, 3.35, 4.8), draw(0.5, 2, 4)
    return Number(
        ask=f"A chip does {F} TFLOP/s and reads {B:g} TB/s; weights take {b:g} B. Over how many tokens does a step's "
        "arithmetic take as long as reading the weights? A multiplication and an addition are two.",
        given=dict(F=F, B=B, b=b),
        answer=b * F / (2 * B),
        unit="tokens",
        traps={"one operation a weight": b * F / B, "bytes forgotten": F / (2 * B)},
        hints=("Reading: b / B a weight. Arithmetic: 2 · tokens / F a weight.", "b · F / (2 · B)"),
        why="Up to there a step over several tokens takes as long as over one: that idle arithmetic is all that "
        "speculation lives on.",
    )


@tokens_at_the_turn.second
def _(F, B, b):
    low, high = 0.0, 1e5
    for _ in range(80):
        tokens = (low + high) / 2
        low, high = (tokens, high) if 2 * tokens / F < b / B else (low, tokens)
    return tokens


@question(topic="speculative.bandwidth", level=1, source="Pope 2022, section 3", readme="dl_022/1", seed="002/17")
def what_makes_a_step_faster(draw):
    change, P = draw("bandwidth", "flops", "bytes", "tokens"), draw(7, 13, 70)
    told = {
        "bandwidth": "The memory becomes twice as fast",
        "flops": "The chip does twice as many operations a second",
        "bytes": "Weights take half as many bytes",
        "tokens": "The step runs over four tokens instead of one",
    }[change]
    half, same, more = "half as long", "as long as before", "longer"
    right = half if change in ("bandwidth", "bytes") else same
    return Choice(
        ask=f"A step over one token of a model of {P} · 10⁹ weights; its arithmetic takes a hundredth of the time of "
        f"reading. {told}. How long does a step take now?",
        given=dict(change=change),
        answer=right,
        traps={
            "arithmetic taken for the limit": same if right == half else half,
            "each token paid for": "four times as long" if change == "tokens" else more,
        },
        hints=("Which of the two times is the longer one?", "max(reading, computing)"),
        why="Reading does not depend on the number of tokens, and arithmetic has a hundredfold to spare. So only "
        "bytes and the memory's speed count.",
    )


@what_makes_a_step_faster.second
def _(change):
    reading, computing = 100.0, 1.0
    reading /= 2 if change in {"bandwidth", "bytes"} else 1
    computing *= {"flops": 0.5, "tokens": 4}.get(change, 1)
    return "half as long" if max(reading, computing) == 50 else "as long as before"


@question(
    topic="speculative.acceptance", level=1, source="Leviathan 2023, section 3.2", readme="dl_022/2", seed="002/19"
)
def rate_of_acceptance(draw):
    p, q = ([x / 20 for x in draw.shuffled(draw((2, 5, 13), (3, 7, 10), (1, 8, 11), (4, 4, 12)))] for _ in range(2))
    return Number(
        ask=f"The target gives three tokens the probabilities {p}, the draft model {q}. One is drawn from the "
        "draft; with which probability is it accepted?",
        given=dict(p=p, q=q),
        answer=min(p[0], q[0]) + min(p[1], q[1]) + min(p[2], q[2]),
        traps={
            "both draw the same": sum(a * b for a, b in zip(p, q, strict=True)),
            "mean of the ratios": sum(min(1.0, a / b) for a, b in zip(p, q, strict=True)) / 3,
            "the rejected share": 1 - sum(map(min, p, q)),
        },
        within=0.005,
        hints=("Draw x from q, keep it with min(1, p/q).", "min(p0, q0) + min(p1, q1) + min(p2, q2)"),
        why="Each token is kept as often as both laws allow. It is 1 less half the sum of absolute differences: only "
        "equal laws are always kept.",
    )


@rate_of_acceptance.second
def _(p, q):
    return sum(b * (1.0 if a >= b else a / b) for a, b in zip(p, q, strict=True))


@question(
    topic="speculative.acceptance",
    level=2,
    source="Leviathan 2023, section 2.3",
    readme=("dl_022/2", "dl_022/3"),
    seed="002/19",
)
def law_after_a_rejection(draw):
    a, b = draw(0.5, 0.6, 0.7), draw(0.2, 0.25, 0.3)
    q0, q1 = draw(0.1, 0.2, 0.3), draw(0.05, 0.1, 0.15)
    p, q = [a, b, round(1 - a - b, 2)], [q0, q1, round(1 - q0 - q1, 2)]
    rest = [max(x - y, 0) for x, y in zip(p, q, strict=True)]
    return Number(
        ask=f"The target gives three tokens the probabilities {p}, the draft model {q}. A drafted token was "
        "rejected. What is now the probability of token 0?",
        given=dict(a=a, b=b, q0=q0, q1=q1),
        answer=(a - q0) / (a - q0 + b - q1),
        traps={
            "the target's law": a,
            "not made to add up to 1": rest[0],
            "absolute differences": (a - q0) / sum(abs(x - y) for x, y in zip(p, q, strict=True)),
        },
        within=0.005,
        hints=(
            "a and b are p of tokens 0 and 1. What is still owed to each? Where q is larger, nothing.",
            "(a - q0) / ((a - q0) + (b - q1))",
        ),
        why="Kept drafts have brought the smaller of p and q. What is missing is max(0, p - q), and it is drawn from "
        "that. Together they are p exactly.",
    )


@law_after_a_rejection.second
def _(a, b, q0, q1):
    import numpy as np

    p, q = np.array([a, b, 1 - a - b]), np.array([q0, q1, 1 - q0 - q1])
    owed = p - np.minimum(p, q)
    return float(owed[0] / (1 - np.minimum(p, q).sum()))


@question(
    topic="speculative.acceptance", level=3, source="Leviathan 2023, appendix A.1", readme="dl_022/3", seed="002/19"
)
def law_if_drawn_from_p(draw):
    a, q = draw(0.6, 0.7, 0.8, 0.9), draw(0.1, 0.2, 0.3, 0.4, 0.5)
    return Number(
        ask=f"Two tokens: the target gives token 0 the probability {a}, the draft {q}. Drafts are accepted by the "
        "right rule, but after a rejection somebody draws from the target's probabilities. How likely is token 0?",
        given=dict(a=a, q=q),
        answer=q + (a - q) * a,
        traps={"lossless": a, "the draft's": q, "rejections ignored": q / (1 - (a - q))},
        within=0.004,
        hints=("Kept as token 0, or rejected and then drawn.", "q + (a - q) · a"),
        why="A rejection should always give the token that is owed something. Drawn from the whole law, part of it "
        "goes to the other one, so the result leans towards the draft.",
    )


@law_if_drawn_from_p.second
def _(a, q):
    target, draft = [a, 1 - a], [q, 1 - q]
    chance = 0.0
    for x in (0, 1):
        keep = min(1.0, target[x] / draft[x])
        chance += draft[x] * keep * (x == 0) + draft[x] * (1 - keep) * target[0]
    return chance


@question(
    topic="speculative.acceptance", level=2, source="Leviathan 2023, algorithm 1", readme=("dl_022/2", "dl_022/3")
)
def line_of_accept(draw):
    wrong, mended, v = draw(
        ("    if u < q[x] / p[x]:", "    if u < p[x] / q[x]:", 0.3),
        ("    rest = [abs(a - b) for a, b in zip(p, q)]", "    rest = [max(a - b, 0) for a, b in zip(p, q)]", 0.3),
        ("        v -= rest[y]", "        v -= rest[y] / sum(rest)", 0.7),
    )
    p, q = draw(([0.1, 0.3, 0.6], [0.5, 0.3, 0.2]), ([0.2, 0.1, 0.7], [0.6, 0.1, 0.3]))
    u = draw(0.5, 0.6, 0.7, 0.8)
    code = f"""
def further(p, q, x, u, v):
    if u < p[x] / q[x]:
        return x
    rest = [max(a - b, 0) for a, b in zip(p, q)]
    for y in range(len(p)):
        v -= rest[y] / sum(rest)
        if v < 0:
            return y
print(further({p}, {q}, 0, {u}, {v}))
"""
    return Bug(
        ask="A draft x is kept, or another token is drawn; u and v are uniform random numbers. The target p should "
        "decide, and 2 be printed. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints="2",
        traps={"the draft comes first": "        return x", "the first beyond v": "        if v < 0:"},
        hints=(
            "Kept with min(1, p/q); else drawn from what is owed, which must add up to 1.",
            "p/q, max(p - q, 0), over its sum",
        ),
        why="A draft that q gives too often is kept with p over q. Where q is larger than p nothing is owed, so "
        "negative differences become 0. What is left has to be divided by its sum.",
    )


@question(
    topic="speculative.draft_verify", level=1, source="Leviathan 2023, equation 1", readme="dl_022/6", seed="002/18"
)
def tokens_of_a_run(draw):
    a, g = draw(0.5, 0.6, 0.7, 0.75, 0.8, 0.9), draw(2, 3, 4, 5, 7)
    return Number(
        ask=f"Each of {g} drafts is kept with probability {a}; the first rejection ends the run. How many tokens does "
        "one call of the target give on average?",
        given=dict(a=a, g=g),
        answer=(1 - a ** (g + 1)) / (1 - a),
        unit="tokens",
        traps={"no further token": a * (1 - a**g) / (1 - a), "all are judged": a * g, "and one more for it": a * g + 1},
        within=0.005,
        hints=("A further token always comes; draft i needs all before it.", "(1 - a^(g + 1)) / (1 - a)"),
        why="Token i is there if all drafts before it were kept, so it is a geometric sum. A further token comes "
        "after a rejection, and behind a full run.",
    )


@tokens_of_a_run.second
def _(a, g):
    mean, reached = 0.0, 1.0
    for kept in range(g):
        mean += (kept + 1) * reached * (1 - a)
        reached *= a
    return mean + (g + 1) * reached


@question(topic="speculative.draft_verify", level=1, source="Chen 2023, algorithm 2", readme="dl_022/4", seed="002/18")
def order_of_a_run(draw):
    steps = [
        "the draft is fed what it has not seen",
        "the draft proposes tokens, one after the other",
        "the target is fed the last known token and all drafts",
        "drafts are judged, up to the first rejection",
        "a further token is drawn",
        "both caches are set back to what is known",
    ]
    chosen = sorted(draw.sample(range(6), 4))
    answer = [steps[i] for i in chosen]
    k = draw.between(0, 2)
    return Order(
        ask="Some steps of one run of speculative decoding. In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={
            "two steps swapped": [*answer[:k], answer[k + 1], answer[k], *answer[k + 2 :]],
            "from the end": answer[::-1],
        },
        hints=("Who needs whose tokens, and when is a cache too long?", "feed, propose, verify, judge, draw, set back"),
        why="One call of the target gives a law for each draft and one behind the last. The further token is in "
        "neither cache, so it begins the next run.",
    )


@order_of_a_run.second
def _(chosen):
    words = {
        "caught up": "the draft is fed what it has not seen",
        "drafts": "the draft proposes tokens, one after the other",
        "laws": "the target is fed the last known token and all drafts",
        "kept": "drafts are judged, up to the first rejection",
        "further": "a further token is drawn",
        "caches": "both caches are set back to what is known",
    }
    needs = {"caches": "further", "further": "kept", "kept": "laws", "laws": "drafts", "drafts": "caught up"}
    line = ["caches"]
    while line[-1] in needs:
        line.append(needs[line[-1]])
    return [words[line[5 - i]] for i in chosen]


@question(topic="speculative.draft_verify", level=2, source="Chen 2023, algorithm 2", readme="dl_022/4")
def cached_after_a_run(draw):
    T, g = draw.between(20, 900), draw(4, 5, 7, 8)
    n = draw.between(1, g - 1)
    return Number(
        ask=f"{T} tokens are known, the last one not yet cached by the target. {g} drafts are verified and {n} kept, "
        "then a further token is drawn. How many tokens of the target's cache are right now?",
        given=dict(T=T, g=g, n=n),
        answer=T + n,
        unit="tokens",
        traps={
            "the further token counted": T + n + 1,
            "nothing set back": T + g,
            "the last known one forgotten": T + n - 1,
        },
        hints=("Which tokens were fed, and which of them stay?", "(T - 1) + 1 + n"),
        why="The call has fed the last known token and all drafts. The further token comes from its answer and is fed "
        "next time.",
    )


@cached_after_a_run.second
def _(T, g, n):
    text = [f"known {i}" for i in range(T)]
    cache = text[:-1]
    drafts = [f"draft {i}" for i in range(g)]
    cache += [text[-1], *drafts]
    text += [*drafts[:n], "further"]
    return next(i for i, (a, b) in enumerate(zip([*cache, None], text, strict=False)) if a != b)


@question(topic="speculative.draft_verify", level=2, source="Miao 2024, SpecInfer, section 4", readme="dl_022/5")
def cache_of_a_path(draw):
    past = [draw.between(10, 19) for _ in range(2)]
    nodes = draw.sample(range(20, 90), 5)
    path = sorted(draw.sample(range(1, 5), 2))
    kept = [nodes[i] for i in path]
    return Predict(
        ask="Two tokens of the past, then the five nodes of a tree that were verified. The accepted ones are moved. "
        "What is printed?",
        code=f"""
cache, past, path = {past + nodes}, 2, {path}
moved = [cache[past + node] for node in path]
cache[past:past + len(path)] = moved
print(cache[:past + len(path)])
""",
        answer=str(past + kept),
        traps={
            "only the length is changed": str(past + nodes[:2]),
            "places without the past": str(past + [(past + nodes)[i] for i in path]),
            "the rejected ones": str(past + [one for i, one in enumerate(nodes) if i not in path][:2]),
        },
        hints=("Node i stands at past + i.", "the past, then the nodes of the path"),
        why="Accepted nodes of a tree stand scattered, so keys and values are moved behind the past. They were "
        "rotated for the place of their depth, and that is where they land.",
    )


@question(topic="speculative.limits", level=2, source="Leviathan 2023, theorem 3.8", readme="dl_022/6", seed="002/21")
def gain_of_a_run(draw):
    a, g, c = draw(0.5, 0.6, 0.7, 0.75, 0.8, 0.9), draw(3, 4, 5, 7), draw(0.02, 0.05, 0.1, 0.2)
    tokens = (1 - a ** (g + 1)) / (1 - a)
    return Number(
        ask=f"Drafts are kept with probability {a}, {g} in a run; a step of the draft takes {c} of a step of the "
        "target, and one row waits for memory. How many times faster is it?",
        given=dict(a=a, g=g, c=c),
        answer=(1 - a ** (g + 1)) / (1 - a) / (g * c + 1),
        unit="x",
        traps={
            "drafts are free": tokens,
            "one step of the draft": tokens / (1 + c),
            "the target forgotten": tokens / (g * c),
        },
        within=0.005,
        hints=("Tokens of a run, over its time in steps of the target.", "(1 - a^(g+1)) / (1 - a) / (g · c + 1)"),
        why="A run costs all its drafts and one step of the target, however many are kept. Without speculation each "
        "token takes one step.",
    )


@gain_of_a_run.second
def _(a, g, c):
    tokens = sum(prod([a] * kept) for kept in range(g + 1))
    steps = [1.0] + [c] * g
    return tokens / sum(steps)


@question(topic="speculative.limits", level=2, source="Leviathan 2023, section 3.4", readme="dl_022/6", seed="002/21")
def does_any_run_pay(draw):
    a, c = draw((0.3, 0.1), (0.2, 0.05), (0.6, 0.4), (0.5, 0.45), (0.1, 0.2), (0.3, 0.5), (0.55, 0.65), (0.2, 0.35))
    yes, no, long = "yes, for instance one draft at a time", "no, whatever the length", "only with long runs"
    return Choice(
        ask=f"One row, waiting for memory. Drafts are kept with probability {a}; a step of the draft takes {c} of a "
        "step of the target. Is there a length of runs with which speculation is faster?",
        given=dict(a=a, c=c),
        answer=yes if a > c else no,
        traps={
            "a fixed threshold": no if a > c else yes,
            "longer is better": long,
        },
        hints=("Compare the tokens and the time of a run with one draft.", "(1 + a) / (1 + c) against 1"),
        why="The first draft brings its probability to be kept and costs its step. Later drafts are used more rarely "
        "for the same price, so if the first does not pay, none does.",
    )


@does_any_run_pay.second
def _(a, c):
    def gain(length):
        return sum(a**i for i in range(length + 1)) / (1 + c * length)

    if gain(1) > 1:
        return "yes, for instance one draft at a time"
    return "only with long runs" if max(map(gain, range(2, 60))) > 1 else "no, whatever the length"


@question(topic="speculative.limits", level=2, source="Leviathan 2023, section 3.4", readme="dl_022/6", seed="002/21")
def best_length_first(draw):
    a, c = draw(0.6, 0.7, 0.8, 0.9), draw(0.05, 0.1, 0.2)
    lengths = draw.sample((1, 2, 3, 5, 8, 12, 20), 4)

    def gain(g):
        return (1 - a ** (g + 1)) / (1 - a) / (1 + g * c)

    order = sorted(lengths, key=gain, reverse=True)

    def named(those):
        return [f"{g} draft{'s' if g > 1 else ''}" for g in those]

    return Order(
        ask=f"Drafts are kept with probability {a}; a step of the draft takes {c} of a step of the target. Which "
        "length of runs is fastest? Fastest first.",
        given=dict(a=a, c=c, lengths=sorted(lengths)),
        answer=named(order),
        traps={"longer is better": named(sorted(lengths, reverse=True)), "shorter is better": named(sorted(lengths))},
        hints=("Tokens of a run, over its time.", "(1 - a^(g+1)) / (1 - a) / (1 + g · c)"),
        why="Each further draft costs the same and is used more rarely, so there is one best length, and beyond it "
        "every draft makes things worse.",
    )


@best_length_first.second
def _(a, c, lengths):
    def per_token(g):
        tokens, chance = 1.0, 1.0
        for _draft in range(g):
            chance *= a
            tokens += chance
        return (1 + g * c) / tokens

    return [f"{g} draft{'s' if g > 1 else ''}" for g in sorted(lengths, key=per_token)]


@question(topic="speculative.limits", level=3, source="Leviathan 2023, section 4", readme="dl_022/7", seed="002/21")
def gain_of_a_batch(draw):
    tokens, g, c = draw(2.5, 3.0, 3.5), draw(3, 4, 7), draw(0.02, 0.05)
    turn, rows = draw(100, 150, 200), draw(60, 80, 100)
    step = rows * (g + 1) / turn
    return Number(
        ask=f"A run of {g} drafts gives {tokens:g} tokens a row. Over m tokens a step of the target takes max(1, m / "
        f"{turn}); a step of the draft takes {c}. {rows} rows at once: how many times faster than without "
        "speculation, where a step over the rows takes 1?",
        given=dict(tokens=tokens, g=g, c=c, turn=turn, rows=rows),
        answer=tokens / (rows * (g + 1) / turn + g * c),
        unit="x",
        traps={
            "verification free": tokens / (1 + g * c),
            "drafts free": tokens / step,
            "the last token free": tokens / (max(1.0, rows * g / turn) + g * c),
        },
        within=0.004,
        hints=("Over how many tokens does the target's step run?", "tokens / (rows · (g + 1) / turn + g · c)"),
        why="Beyond the turn every rejected draft is arithmetic that other rows could have used. So servers shorten "
        "runs as the batch grows.",
    )


@gain_of_a_batch.second
def _(tokens, g, c, turn, rows):
    fed = sum(1 for _row in range(rows) for _token in range(g + 1))
    time = max(1.0, fed / turn)
    for _draft in range(g):
        time += c
    return tokens / time


@question(
    topic="speculative.draft_model", level=2, source="Leviathan 2023, section 3", readme="dl_022/8", seed="002/20"
)
def measured_acceptance(draw):
    g = draw(4, 5, 6)
    runs = [draw.between(0, g) for _ in range(5)]
    kept = sum(runs)
    return Number(
        ask=f"Five runs of {g} drafts kept {', '.join(map(str, runs))} of them. A run ends at its first rejection. The "
        "acceptance rate of this draft?",
        given=dict(g=g, runs=runs),
        answer=kept / (kept + sum(one < g for one in runs)),
        traps={
            "all drafts judged": kept / (5 * g),
            "a rejection in each run": kept / (kept + 5),
            "share of full runs": sum(one == g for one in runs) / 5,
        },
        within=0.005,
        hints=("What stands behind a rejection was never judged.", "kept / (kept + runs that ended early)"),
        why="Counting drafts that nobody judged makes every draft look worse than it is, and long runs most of all.",
    )


@measured_acceptance.second
def _(g, runs):
    judged = [1] * 0
    for one in runs:
        judged += ([1] * one + [0])[:g]
    return sum(judged) / len(judged)


@question(
    topic="speculative.draft_model", level=1, source="Leviathan 2023, section 4", readme="dl_022/8", seed="002/20"
)
def price_of_drafting(draw):
    d, t, g = draw(0.5, 1.0, 1.5, 2.0, 3.0), draw(13, 34, 70), draw(3, 4, 5, 8)
    return Number(
        ask=f"A draft of {d:g} · 10⁹ and a target of {t} · 10⁹ weights, of equally many bytes; both wait for memory. "
        f"{g} drafts a run: how many percent of a step of the target do they take together?",
        given=dict(d=d, t=t, g=g),
        answer=100 * g * d / t,
        unit="%",
        traps={
            "one draft": 100 * d / t,
            "the further token too": 100 * (g + 1) * d / t,
            "of the whole run": 100 * g * d / (g * d + t),
        },
        hints=("Each draft reads the small model once.", "100 · g · d / t"),
        why="Drafts come one after the other, each a step of its own. Real drafts are slower than their size says: "
        "many thin layers have more latency.",
    )


@price_of_drafting.second
def _(d, t, g):
    reads = [d for _draft in range(g)]
    return sum(reads) / (t / 100)


@question(
    topic="speculative.draft_model", level=2, source="Leviathan 2023, section 4", readme="dl_022/8", seed="002/20"
)
def draft_that_pays_most(draw):
    g = draw(3, 4, 5)
    names = ("n-grams of the text", "a head on the target", "a small model", "a larger model")
    alphas = (draw(0.2, 0.3, 0.5), draw(0.5, 0.6, 0.7), draw(0.55, 0.65, 0.75), draw(0.7, 0.8, 0.85))
    costs = (0.0, draw(0.01, 0.02), draw(0.03, 0.05, 0.1), draw(0.2, 0.3))
    shown = [f"{n}: kept {a}, cost {c:g}" for n, a, c in zip(names, alphas, costs, strict=True)]
    gains = [(1 - a ** (g + 1)) / (1 - a) / (1 + g * c) for a, c in zip(alphas, costs, strict=True)]
    order = sorted(range(4), key=lambda i: -gains[i])
    return Order(
        ask=f"Drafts for runs of {g}; the cost is that of one of their steps, in steps of the target. Which makes "
        "generation fastest? Fastest first.",
        given=dict(g=g, alphas=list(alphas), costs=list(costs), shown=shown),
        answer=[shown[i] for i in order],
        traps={
            "by acceptance alone": [shown[i] for i in sorted(range(4), key=lambda i: -alphas[i])],
            "by cost alone": shown,
        },
        hints=("Tokens of a run, over its time.", "(1 - a^(g+1)) / (1 - a) / (1 + g · c)"),
        why="A larger draft is kept more often and each of its steps costs more. What counts is the gain that both "
        "give, measured on real traffic.",
    )


@draft_that_pays_most.second
def _(g, alphas, costs, shown):
    import numpy as np

    powers = np.array(alphas)[:, None] ** np.arange(g + 1)
    time = (1 + g * np.array(costs)) / powers.sum(axis=1)
    return [shown[i] for i in time.argsort()]


@question(topic="speculative.draft_model", level=2, source="Saxena 2023, prompt lookup decoding", readme="dl_022/8")
def draft_from_the_text(draw):
    a, b, *rest = draw.sample(range(1, 10), 6)
    text = [a, b, rest[0], rest[1], a, b, rest[2], rest[3], a, b]
    return Predict(
        ask="Drafts without a model: the latest earlier place of the last two tokens. What is printed?",
        code=f"""
text = {text}
for i in range(len(text) - 3, -1, -1):
    if text[i:i + 2] == text[-2:]:
        print(text[i + 2:i + 5])
        break
""",
        answer=str([rest[2], rest[3], a]),
        traps={
            "the first place": str([rest[0], rest[1], a]),
            "the two tokens too": str([a, b, rest[2]]),
            "what stood before": str([rest[1], a, b]),
        },
        hints=(
            "The loop goes from the end to the front, and stops at the first hit.",
            "three tokens behind the latest place",
        ),
        why="It costs nothing, and does well where the answer repeats the prompt: summaries, code that is edited. The "
        "latest place is most like the present one.",
    )


@question(topic="speculative.trees", level=1, source="Miao 2024, SpecInfer, section 3", readme="dl_022/9")
def nodes_of_a_tree(draw):
    a, b, c = (draw(2, 3, 4, 5) for _ in range(3))
    return Number(
        ask=f"A tree of drafts: {a} tokens at the first place, {b} behind each of them, {c} behind each of those. How "
        "many tokens does the target verify, the last known one left aside?",
        given=dict(a=a, b=b, c=c),
        answer=a + a * b + a * b * c,
        unit="tokens",
        traps={"leaves alone": a * b * c, "added up": a + b + c, "each path by itself": 3 * a * b * c},
        hints=("Count the nodes of each depth.", "a + a·b + a·b·c"),
        why="A node is fed once, however many paths go through it. Each is one token of the step, and only one path "
        "can be kept.",
    )


@nodes_of_a_tree.second
def _(a, b, c):
    from itertools import product

    paths = list(product(range(a), range(b), range(c)))
    return len({path[:depth] for path in paths for depth in (1, 2, 3)})


@question(topic="speculative.trees", level=2, source="Miao 2024, SpecInfer, section 4.2", readme="dl_022/9")
def what_a_node_sees(draw):
    parents = [-1]
    for i in range(1, 7):
        parents.append(draw.between(max(-1, i - 4), i - 1))
    node = draw(5, 6)
    seen, at = [], node
    while at >= 0:
        seen.append(at)
        at = parents[at]
    brothers = [i for i in range(7) if parents[i] == parents[node]]
    return Predict(
        ask="A tree of drafts, by the parent of each node; -1 is the past. Which nodes does this one see, besides the "
        "past?",
        code=f"""
parents, node, seen = {parents}, {node}, []
while node >= 0:
    seen.append(node)
    node = parents[node]
print(sorted(seen))
""",
        answer=str(sorted(seen)),
        traps={
            "a causal mask": str(list(range(node + 1))),
            "itself forgotten": str(sorted(seen[1:])),
            "siblings too": str(sorted({*seen, *brothers})),
        },
        hints=("A node belongs to one path from the top.", "itself, its parent, its parent's parent, ..."),
        why="With this mask one pass gives each node the logits of its own path. Places go by depth, so siblings "
        "share one.",
    )


@question(topic="speculative.trees", level=3, source="Miao 2024, SpecInfer, algorithm 2", readme="dl_022/10")
def second_child(draw):
    q0, q2 = draw(0.5, 0.55, 0.6), draw(0.2, 0.25, 0.3)
    p0, p2 = round(q0 - draw(0.25, 0.3), 2), round(q2 + draw(0.02, 0.03, 0.04), 2)
    p, q = [p0, round(1 - p0 - p2, 2), p2], [q0, round(1 - q0 - q2, 2), q2]
    return Number(
        ask=f"Target {p}, draft {q}. Two drafts for one place, drawn independently: token 0, which is rejected, then "
        "token 2. With which probability is the second kept?",
        given=dict(p0=p0, p2=p2, q0=q0, q2=q2),
        answer=(p2 - q2) / (q0 - p0) / q2,
        traps={
            "against the old law": 1.0,
            "not made to add up to 1": (p2 - q2) / q2,
            "not over q": (p2 - q2) / (q0 - p0),
        },
        within=0.005,
        hints=(
            "After the rejection r = max(0, p - q), made to add up to 1. Then min(1, r/q).",
            "r2 / q2 with r2 = (p2 - q2) / (q0 - p0)",
        ),
        why="The first draft has brought its share already. The second is judged against what is still owed; against "
        "the old law the result would not be the target's.",
    )


@second_child.second
def _(p0, p2, q0, q2):
    import numpy as np

    p, q = np.array([p0, 1 - p0 - p2, p2]), np.array([q0, 1 - q0 - q2, q2])
    rest = np.clip(p - q, 0, None)
    rest /= rest.sum()
    return float(np.minimum(1, rest / q)[2])


@question(topic="speculative.trees", level=2, source="Cai 2024, Medusa, section 2.3.1", readme="dl_022/11")
def bar_of_typical_acceptance(draw):
    k, d, e = draw(2, 4, 5, 8, 10, 20), draw(0.2, 0.3, 0.4, 0.5), draw(0.3, 0.35)
    return Number(
        ask=f"Medusa's typical acceptance with ε = {e} and δ = {d}. The target is undecided between {k} tokens, "
        "equally likely. Above which probability is a draft kept?",
        given=dict(k=k, d=d, e=e),
        answer=d / k,
        traps={"ε alone": e, "δ alone": d, "entropy not as exponent": d * log(k)},
        hints=("min(ε, δ · exp(-H)); the entropy of k equal chances is ln(k).", "d / k"),
        why="The less sure the target is, the lower the bar, so that any of many good words may pass. It gives more "
        "tokens a run, and no longer the target's law.",
    )


@bar_of_typical_acceptance.second
def _(k, d, e):
    entropy = -sum(1 / k * log(1 / k) for _token in range(k))
    return min(e, d * exp(-entropy))


@question(topic="speculative.trees", level=2, source="Cai 2024, Medusa, section 2.3", readme="dl_022/11")
def whose_law_it_is(draw):
    rule, heads = draw("greedy", "rejection", "typical", "head"), draw(3, 4, 5)
    told = {
        "greedy": "A draft is kept if it is the target's likeliest token; decoding is greedy",
        "rejection": "Drafts are kept with min(1, p/q), and what is owed is drawn after a rejection",
        "typical": "A draft is kept if its probability is above min(ε, δ exp(-H))",
        "head": "A draft is kept if it is the likeliest token of its head",
    }[rule]
    same, other = "exactly as the target alone", "by another law than the target's"
    right = same if rule in ("greedy", "rejection") else other
    return Choice(
        ask=f"A tree of drafts from {heads} heads, verified in one pass. {told}. How are texts distributed?",
        given=dict(rule=rule),
        answer=right,
        traps={
            "the rule misread": other if right == same else same,
            "heads decide": "as by the heads, which only guess",
        },
        hints=("Does the rule ask the target, and with the right chance?", "greedy, rejection: lossless"),
        why="Heads do not change the law; the rule of acceptance decides. Typical acceptance keeps what is likely "
        "enough, and that is a law of its own.",
    )


@whose_law_it_is.second
def _(rule):
    from fractions import Fraction

    p, q = [Fraction(2, 10), Fraction(8, 10)], [Fraction(5, 10), Fraction(5, 10)]
    target = [Fraction(0), Fraction(1)] if rule == "greedy" else p
    law = [Fraction(0), Fraction(0)]
    for x in (0, 1):
        keep = {
            "greedy": Fraction(p[x] == max(p)),
            "rejection": min(Fraction(1), p[x] / q[x]),
            "typical": Fraction(p[x] > Fraction(1, 10)),
            "head": Fraction(1),
        }[rule]
        law[x] += q[x] * keep
        law[1] += q[x] * (1 - keep)  # what is owed, and the likeliest token, is 1 here
    return "exactly as the target alone" if law == target else "by another law than the target's"


@question(topic="speculative.batching", level=2, source="Leviathan 2023, section 4", readme=("dl_022/7", "dl_022/12"))
def rows_that_still_wait(draw):
    F, B, g = draw(165, 312, 660, 989), draw(0.9, 2.039, 3.35, 4.8), draw(2, 3, 4, 5, 7)
    return Number(
        ask=f"A chip of {F} TFLOP/s and {B:g} TB/s, weights of 2 B, runs of {g} drafts. Up to how many rows does a "
        "verifying step wait for memory, caches left aside?",
        given=dict(F=F, B=B, g=g),
        answer=F / B / (g + 1),
        unit="rows",
        traps={
            "drafts forgotten": F / B,
            "one token too few": F / B / g,
            "operations halved": 2 * F / B / (g + 1),
        },
        hints=("Each row runs its drafts and one token more; 2 operations meet 2 bytes.", "F / B / (g + 1)"),
        why="Below that speculation is nearly free. Above it, drafts that are rejected take time from other rows.",
    )


@rows_that_still_wait.second
def _(F, B, g):
    operations_a_weight = sum(2 for _token in range(g + 1))  # and a row
    return (2 / B) / (operations_a_weight / F)


@question(topic="speculative.batching", level=2, source="Agrawal 2024, chunked prefill", readme="dl_022/12")
def steps_of_a_prompt(draw):
    budget, rows, g = draw(128, 256, 512), draw(4, 8, 12, 16), draw(2, 3, 4)
    prompt = draw.between(700, 6000)
    left = budget - rows * (g + 1)
    return Number(
        ask=f"A step runs at most {budget} tokens. {rows} requests decode with {g} drafts each, and go first; they do "
        f"not end. Over how many steps is a prompt of {prompt} tokens prefilled beside them?",
        given=dict(budget=budget, rows=rows, g=g, prompt=prompt),
        answer=-(-prompt // (budget - rows * (g + 1))),
        unit="steps",
        traps={
            "decodes take one token": ceil(prompt / (budget - rows)),
            "nobody decodes": ceil(prompt / budget),
            "rounded down": prompt // left,
        },
        hints=("What do decodes leave of the budget?", "⌈prompt / (budget - rows · (g + 1))⌉"),
        why="A long prompt comes in pieces, so that nobody who is reading waits. Drafts take part of the budget, and "
        "some of it for nothing.",
    )


@steps_of_a_prompt.second
def _(budget, rows, g, prompt):
    steps = 0
    while prompt > 0:
        room = budget
        for _row in range(rows):
            room -= g + 1
        prompt -= room
        steps += 1
    return steps


@question(topic="speculative.batching", level=2, source="Kwon 2023, vLLM, section 4.5", readme="dl_022/12")
def tokens_of_the_decodes(draw):
    g, wanted = draw(2, 3, 4), [draw.between(1, 9) for _ in range(4)]
    wanted[draw.between(0, 3)] = draw(1, 2)
    right = [min(g, w - 1) + 1 for w in wanted]
    return Predict(
        ask=f"Requests that decode with up to {g} drafts, by the number of tokens that they still want. How many "
        "tokens does each run in the next step?",
        code=f"""
gamma, wanted = {g}, {wanted}
print([min(gamma, w - 1) + 1 for w in wanted])
""",
        answer=str(right),
        traps={
            "drafts that nobody can use": str([g + 1] * 4),
            "drafts alone": str([one - 1 for one in right]),
            "one draft too many": str([min(g, w) + 1 for w in wanted]),
        },
        hints=("A run brings its kept drafts and one more.", "the smaller of gamma and w - 1, and one more"),
        why="A further token always comes, so whoever wants w tokens can use w - 1 drafts. Shorter runs leave budget "
        "and slots to others.",
    )


@question(topic="speculative.batching", level=2, source="Kwon 2023, vLLM, section 4.5", readme="dl_022/12")
def who_is_pre_empted(draw):
    running = [(arrived, draw.between(4, 40)) for arrived in draw.sample(range(1, 9), 4)]
    free, need = draw.between(0, 3), draw.between(10, 50)

    def after(order):
        left, slots = sorted(running, key=order), free
        while slots < need and left:
            slots += left.pop()[1]
        return f"{slots} {sorted(left)}"

    return Predict(
        ask="Requests that run, each with its time of arrival and its cached tokens. Some are pre-empted until a step "
        "fits. What is printed?",
        code=f"""
running, free = {running}, {free}
while free < {need} and running:
    youngest = max(running)
    running.remove(youngest)
    free += youngest[1]
print(free, sorted(running))
""",
        answer=after(lambda one: one[0]),
        traps={
            "the oldest goes first": after(lambda one: -one[0]),
            "the longest goes first": after(lambda one: one[1]),
            "the shortest goes first": after(lambda one: -one[1]),
        },
        hints=("max compares times of arrival first.", "latest arrivals leave until free is enough"),
        why="If the youngest gives way, the oldest always goes on, so everybody is the oldest one day and nobody "
        "starves. Later it prefills its prompt and what it has generated.",
    )


@question(topic="kv.serving", level=2, source="Agrawal 2024, chunked prefill", readme="dl_022/12")
def pieces_of_the_prompts(draw):
    lacks = [draw.between(20, 300), draw.between(100, 400), draw.between(50, 300)]
    budget = lacks[0] + draw.between(10, 99)
    runs, left = [], budget
    for lack in lacks:
        runs.append(min(lack, left))
        left -= runs[-1]
    return Predict(
        ask="Prompts that wait, the oldest first, by the tokens that they still lack, and what decodes have left of "
        "the budget. How many tokens of each run in this step?",
        code=f"""
left, runs = {budget}, []
for lacks in {lacks}:
    runs.append(min(lacks, left))
    left -= runs[-1]
print(runs)
""",
        answer=str(runs),
        traps={
            "whole prompts alone": str([lacks[0], 0, 0]),
            "shared equally": str([budget // 3] * 3),
            "the youngest first": str([0, budget - min(lacks[2], budget), min(lacks[2], budget)]),
        },
        hints=("The oldest gets all that it lacks, if there is as much.", "min(lacks, left), one after the other"),
        why="A prompt may be cut, so the step is always full, and nobody overtakes. A step of fixed size keeps those "
        "waiting for their next token from waiting long.",
    )


@question(topic="kv.serving", level=1, source="Kwon 2023, vLLM, section 6", readme="dl_022/12")
def tokens_a_second(draw):
    rows, tokens, ms = draw(8, 16, 24, 32), draw(1.8, 2.4, 2.8, 3.2), draw(24, 30, 45, 60)
    return Number(
        ask=f"A server speculates for {rows} rows at once. A run, drafts included, takes {ms} ms and gives {tokens:g} "
        "tokens a row. How many tokens a second does it make in all?",
        given=dict(rows=rows, tokens=tokens, ms=ms),
        answer=1000 * rows * tokens / ms,
        unit="tokens",
        traps={
            "one token a run": 1000 * rows / ms,
            "what one reader sees": 1000 * tokens / ms,
            "milliseconds for a token": ms / tokens,
        },
        hints=("Tokens of all rows in a run, over its time.", "1000 · rows · tokens / ms"),
        why="Readers feel the tokens of their row, the owner pays for those of all rows. Larger batches raise the "
        "second and, beyond the turn, lower the first.",
    )


@tokens_a_second.second
def _(rows, tokens, ms):
    runs_a_second = 1 / (ms / 1e3)
    return sum(tokens * runs_a_second for _row in range(rows))
