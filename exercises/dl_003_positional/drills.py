"""Questions on positions whose numbers change: `grader drill --topic position.rotary`."""

from math import cos, floor, log, pi, sin

from grader.drills import Blank, Bug, Choice, Number, Predict, question


@question(topic="position.absolute", level=1, source="Vaswani 2017, section 3.5", seed="000/9")
def entry_of_a_sinusoid(draw):
    p, i, d = draw.between(1, 30), draw.between(1, 3), draw(8, 12, 16, 32)
    return Number(
        ask=f"Sinusoidal positions of width {d}, base 10,000. What is entry {2 * i} of place {p}, both counted from 0? "
        "Even entries are sines, angles in radians.",
        given=dict(p=p, i=i, d=d),
        answer=sin(p / 10000 ** (2 * i / d)),
        traps={"the cosine": cos(p / 10000 ** (2 * i / d)), "exponent without the 2": sin(p / 10000 ** (i / d))},
        hints=("The entry belongs to pair i; its frequency falls from 1 by a fixed ratio.", "sin(p / 10000^(2·i/d))"),
        why="Pair i has sine and cosine of one angle. From pair to pair the wavelength grows by the same factor.",
    )


@entry_of_a_sinusoid.second
def _(p, i, d):
    import numpy as np

    ratio = np.exp(-2 * np.log(10000.0) / d)
    return float(np.imag(np.exp(1j * p * ratio**i)))


@question(topic="position.absolute", level=2, source="Vaswani 2017, section 3.5", readme="dl_003/1")
def slowest_turn(draw):
    d, b = draw(32, 64, 96, 128, 256), draw(1e3, 1e4, 1e5, 5e5, 1e6)
    return Number(
        ask=f"Sinusoidal or rotary positions of width {d} with base {b:,.0f}. After how many places has the slowest "
        "pair made a full turn?",
        given=dict(d=d, b=b),
        answer=2 * pi * b ** ((d - 2) / d),
        unit="places",
        traps={
            "the base itself": 2 * pi * b,
            "radians for turns": b ** ((d - 2) / d),
            "the middle pair": 2 * pi * b**0.5,
        },
        hints=("The last pair is i = d/2 - 1; a turn has 2·pi radians.", "2·pi · b^((d - 2)/d)"),
        why="Wavelengths go from one turn in six places to nearly that many times the base. Fast pairs tell neighbours "
        "apart, slow ones far places.",
    )


@slowest_turn.second
def _(d, b):
    import numpy as np

    frequencies = np.cumprod(np.concatenate([[1.0], np.full(d // 2 - 1, b ** (-1 / (d / 2)))]))
    return float(2 * np.pi / frequencies[-1])


@question(topic="position.absolute", level=2, source="Vaswani 2017, section 3.5", readme="dl_003/1")
def shift_of_a_pair(draw):
    a, b = draw(("a", "b"), ("sin_p", "cos_p"), ("x", "y"))
    c, s = draw(("c", "s"), ("cos_k", "sin_k"), ("u", "v"))
    first = draw(True, False)
    p, k = draw.between(1, 9) / 7, draw.between(1, 9) / 11
    gap, sign = (f"{b} * {s}", "") if first else (f"{a} * {s}", "-")
    own = a if first else b
    values = {a: sin(p), b: cos(p)} if first else {b: cos(p), a: sin(p)}
    return Blank(
        ask=f"`{a}` is sin(wp), `{b}` is cos(wp), `{c}` is cos(wk), `{s}` is sin(wk). The function gives "
        f"{'sin' if first else 'cos'}(w(p + k)), the entry k places on.",
        code=f"def shifted({a}, {b}, {c}, {s}):\n    return {own} * {c} + ____",
        given=values | {c: cos(k), s: sin(k)},
        answer=sign + gap,
        traps={
            "the sign": gap if sign else f"-{gap}",
            "sine and cosine mixed": f"{a} * {s}" if first else f"{b} * {s}",
            "no turn": f"{c} * {s}",
        },
        hints=(
            "The pair is turned by the angle of k places.",
            "sin(x + y) = sin x · cos y + cos x · sin y, cos(x + y) = cos x · cos y - sin x · sin y",
        ),
        why="The shift is a matrix that holds only the angle of the shift, whatever the place. So a linear layer can "
        "look a fixed number of tokens back.",
    )


@shift_of_a_pair.second
def _(**given):
    import numpy as np

    own, other, c, s = given.values()  # the sine of the place first, or its cosine
    sine = next(iter(given)) in ("a", "sin_p", "x")
    turned = complex(other, own) * complex(c, s) if sine else complex(own, other) * complex(c, s)
    return float((np.imag(turned) if sine else np.real(turned)) - own * c)


@question(topic="position.absolute", level=1, source="Press 2022, ALiBi, section 2; Raffel 2020", readme="dl_003/7")
def beyond_the_training_length(draw):
    scheme, n = draw("a learned table", "T5's bias", "rotary angles"), draw(512, 1024, 2048)
    effects = {
        "a learned table": "it has nothing for that place",
        "T5's bias": "it treats that distance like all far ones",
        "rotary angles": "it is defined, by angles that training never showed",
    }
    return Choice(
        ask=f"A model was trained on {n} tokens and reads {3 * n}. Its positions are {scheme}. What do they do for a "
        f"distance of {2 * n}?",
        given=dict(scheme=scheme, n=n),
        answer=effects[scheme],
        traps={f"that is {other}": text for other, text in effects.items() if other != scheme},
        hints=("Is it looked up, put into a bucket, or computed?", "table[p], bucket(distance), p · frequency"),
        why="A table ends, the last bucket takes all far distances, and slow rotary pairs reach new angles. None of "
        "them makes long contexts work by itself.",
    )


@beyond_the_training_length.second
def _(scheme, n):
    if "table" in scheme:
        try:
            return str(list(range(n))[2 * n])
        except IndexError:
            return "it has nothing for that place"
    if "bias" in scheme:
        bucket = {min(31, 16 + int(16 * log(far / 16) / log(8))) for far in (n, 2 * n)}
        return "it treats that distance like all far ones" if len(bucket) == 1 else "buckets differ"
    slow = 10000 ** (-126 / 128)
    seen = n * slow
    return "it is defined, by angles that training never showed" if 2 * n * slow > seen else "angles were seen"


@question(topic="position.absolute", level=2, source="PyTorch, Embedding; GPT-2", readme="dl_003/7")
def row_of_a_negative_place(draw):
    rows, pad, length = draw(8, 10, 12, 16), draw(2, 3), draw(5, 6)
    places = [i - pad for i in range(length)]
    return Predict(
        ask=f"A learned table of {rows} rows, a sequence padded on the left with {pad} tokens. Which rows are read?",
        code=f"""
table = list(range({rows}))
print([table[i - {pad}] for i in range({length})])
""",
        answer=str([place % rows for place in places]),
        traps={
            "clamped at 0": str([max(place, 0) for place in places]),
            "as written": str(places),
            "padding not taken off": str(list(range(length))),
        },
        hints=("What does a negative index mean in Python?", "row i - pad, from the end where that is negative"),
        why="Beyond its end a table raises an error, before its beginning it silently gives rows of late places. "
        "Padding has to be masked, and its places set to any valid row.",
    )


@question(topic="position.rotary", level=2, source="Su 2021, section 3.2", readme="dl_003/2", seed="000/11")
def score_of_a_rotated_pair(draw):
    a, b, c, e = (draw(-2, -1, 1, 2, 3) for _ in range(4))
    m, n, t = draw(3, 5, 7, 9), draw(1, 2), draw(0.2, 0.3, 0.5, 1.0)
    x = (m - n) * t
    return Number(
        ask=f"One rotary pair: query ({a}, {b}) at place {m}, key ({c}, {e}) at place {n}; each place turns them "
        f"by {t:g} rad. What is their scalar product?",
        given=dict(a=a, b=b, c=c, e=e, m=m, n=n, t=t),
        answer=(a * c + b * e) * cos(x) + (a * e - b * c) * sin(x),
        traps={
            "the sine left out": (a * c + b * e) * cos(x),
            "sign of the sine": (a * c + b * e) * cos(x) - (a * e - b * c) * sin(x),
            "nothing turned": float(a * c + b * e),
        },
        hints=("Only the difference of the angles matters. Turn the query by it.",
               "(a·c + b·e) · cos((m - n)·t) + (a·e - b·c) · sin((m - n)·t)"),
        why="As complex numbers: the real part of q times the conjugate of k, turned by the distance. The sine tells "
        "before from behind.",
    )  # fmt: skip


@score_of_a_rotated_pair.second
def _(a, b, c, e, m, n, t):
    import numpy as np

    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    return float((turn(m * t) @ [a, b]) @ (turn(n * t) @ [c, e]))


@question(topic="position.rotary", level=1, source="Su 2021, section 3.2", readme="dl_003/2")
def places_of_the_same_score(draw):
    n = draw.between(2, 9)
    m = n + draw.between(2, 6)
    t = draw.between(3, 40)
    pairs = [(m + t, n + t), (n, m), (2 * m, 2 * n), (m + t, n)]
    return Choice(
        ask=f"Rotary positions. A query at place {m} and a key at place {n} have some score. Where do the same two "
        "vectors have the same score?",
        given=dict(m=m, n=n, t=t),
        answer="query at {}, key at {}".format(*pairs[0]),
        traps={
            name: "query at {}, key at {}".format(*pair)
            for name, pair in zip(("mirrored", "both doubled", "the query moved alone"), pairs[1:], strict=True)
        },
        hints=("On what does the score depend besides the two vectors?", "m - n"),
        why="Both angles grow alike if both tokens move. Mirrored, the sine changes its sign.",
    )


@places_of_the_same_score.second
def _(m, n, t):
    import numpy as np

    q, k, w = np.array([1 + 2j, 0.5 - 1j]), np.array([2 - 1j, 1 + 1j]), np.array([1.0, 0.1])

    def score(a, b):
        return float(np.sum((q * np.exp(1j * a * w) * np.conj(k * np.exp(1j * b * w))).real))

    pairs = [(n, m), (2 * m, 2 * n), (m + t, n), (m + t, n + t)]
    return "query at {}, key at {}".format(*min(pairs, key=lambda pair: abs(score(*pair) - score(m, n))))


@question(topic="position.rotary", level=2, source="Su 2021, section 3.2", readme="dl_003/3")
def what_a_shift_changes(draw):
    turned, t = draw("queries and keys", "queries, keys and values", "keys alone"), draw(3, 10, 100)
    effects = {
        "queries and keys": "neither scores nor output",
        "queries, keys and values": "the output, not the scores",
        "keys alone": "the scores and the output",
    }
    return Choice(
        ask=f"A model without causal mask, in which {turned} are rotated by their place. The place of every token "
        f"grows by {t}. What changes?",
        given=dict(turned=turned, t=t),
        answer=effects[turned],
        traps={f"if {other} were turned": text for other, text in effects.items() if other != turned},
        hints=("Where do two turns meet, so that only their difference is left?", "scores q · k, output Σ weight · v"),
        why="In a score the two angles cancel but for their difference. Nothing cancels the angle of a value: the sum "
        "would come out turned by absolute places.",
    )


@what_a_shift_changes.second
def _(turned, t):
    import numpy as np

    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 5, 2)) + 1j * rng.normal(size=(3, 5, 2))

    def attend(shift):
        angle = np.exp(1j * (np.arange(5) + shift)[:, None] * np.array([1.0, 0.1]))
        queries, keys = q * (angle if "queries" in turned else 1), k * angle
        scores = (queries @ np.conj(keys).T).real
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return scores, weights / weights.sum(1, keepdims=True) @ (v * (angle if "values" in turned else 1))

    (s0, y0), (s1, y1) = attend(0), attend(t)
    if not np.allclose(s0, s1):
        return "the scores and the output"
    return "neither scores nor output" if np.allclose(y0, y1) else "the output, not the scores"


@question(topic="position.rotary", level=2, source="Su 2021, section 3.3; Barbero 2025, section 3", readme="dl_003/4")
def place_of_the_largest_score(draw):
    m, t = draw.between(60, 500), draw.between(5, 50)
    return Number(
        ask=f"A key is the query's own vector, turned ahead by as much as {t} places turn it. Then rotary positions "
        f"are applied, the query stands at place {m}. At which place is the key's score largest?",
        given=dict(m=m, t=t),
        answer=m - t,
        unit="",
        traps={"always the nearest": m, "the wrong way": m + t, "from the front": t},
        hints=("Where do both vectors point the same way again?", "m - t"),
        why="Scores do not fall with distance in general, only on average for like vectors. A head can learn to "
        "look as far back as it wants.",
    )


@place_of_the_largest_score.second
def _(m, t):
    import numpy as np

    w = 10000.0 ** (-np.arange(16) / 16)
    places = np.arange(m + 100)
    scores = np.cos((m - places[:, None] - t) * w).sum(1)
    return int(places[scores.argmax()])


@question(topic="position.rotary", level=1, source="Llama; transformers, convert_llama_weights", readme="dl_003/5")
def partner_of_a_feature(draw):
    d, layout = draw(32, 64, 80, 96, 128), draw("neighbours", "halves")
    i = draw.between(3, d - 1)
    neighbour, half = i + 1 - 2 * (i % 2), (i - d // 2 if i >= d // 2 else i + d // 2)
    name = "pairs neighbours, as Meta's does" if layout == "neighbours" else "pairs halves, as Hugging Face's does"
    return Number(
        ask=f"Heads of width {d}; the code {name}. With which feature is feature {i} turned, counted from 0?",
        given=dict(d=d, layout=layout, i=i),
        answer=neighbour if layout == "neighbours" else half,
        unit="",
        traps={
            "the other layout": half if layout == "neighbours" else neighbour,
            "mirrored": d - 1 - i,
        },
        hints=("Neighbours: an even one with the next. Halves: d/2 apart.", "(2·j, 2·j + 1), or (j, j + d/2)"),
        why="No shape tells the layouts apart. Weights read with the wrong one give fluent nonsense.",
    )


@partner_of_a_feature.second
def _(d, layout, i):
    import numpy as np

    features = np.arange(d)
    pairs = features.reshape(-1, 2) if layout == "neighbours" else features.reshape(2, -1).T
    row = next(pair for pair in pairs.tolist() if i in pair)
    return sum(row) - i


@question(topic="position.rotary", level=2, source="Llama; transformers, convert_llama_weights", readme="dl_003/5")
def rows_of_a_converted_head(draw):
    d, start = draw(6, 8), 2 * draw.between(5, 40)
    rows = list(range(start, start + d))
    return Predict(
        ask="Rows of a query weight of one head, from neighbours to halves. What is printed?",
        code=f"""
rows = list(range({start}, {start + d}))
print(rows[0::2] + rows[1::2])
""",
        answer=str(rows[::2] + rows[1::2]),
        traps={
            "the way back": str([rows[i // 2 + i % 2 * (d // 2)] for i in range(d)]),
            "as they were": str(rows),
            "second half first": str(rows[1::2] + rows[::2]),
        },
        hints=("First all first partners, then all second ones.", "even rows of the head, then odd rows"),
        why="Only rows of queries and keys are reordered, within each head, both alike, so that scores stay. Values "
        "and output are not touched.",
    )


@question(
    topic="position.rotary", level=2, source="Xiao 2023, StreamingLLM; transformers, dynamic NTK", readme="dl_003/6"
)
def what_happens_to_cached_keys(draw):
    kept = draw("after", "before")
    event = draw("a token is dropped, places go on counting", "dynamic NTK has raised the base")
    stay, anew, always = "none of them", "all cached keys have to be computed anew", "all of them, as at each step"
    right = always if kept == "before" else anew if "base" in event else stay
    names = {"angles taken as right": stay, "frequencies taken as changed": anew, "taken as kept unturned": always}
    return Choice(
        ask=f"A cache holds keys as they are {kept} the rotation. Now {event}. Which cached keys are turned for the "
        "next token?",
        given=dict(kept=kept, event=event),
        answer=right,
        traps={name: one for name, one in names.items() if one != right},
        hints=("Does a cached key hold its angle, and is that angle still right?", "angle = place · frequency(base)"),
        why="Turned keys are right as long as places and frequencies stay. Keys kept unturned may get any place, at "
        "the price of a rotation at every step.",
    )


@what_happens_to_cached_keys.second
def _(kept, event):
    base = 10000.0 * (2 if "base" in event else 1)
    held = 5 * 10000.0**-0.5 if kept == "after" else 0.0  # the angle in the cache, place 5, a middle pair
    needed = 5 * base**-0.5
    if held == needed:
        return "none of them"
    return "all cached keys have to be computed anew" if held else "all of them, as at each step"


@question(topic="position.relative_bias", level=2, source="Raffel 2020, T5, section 2.1; its code", readme="dl_003/8")
def bucket_of_a_distance(draw):
    B, far = draw((32, 128), (64, 256), (16, 64))
    n = draw.between(B // 2 + 1, far - 10)
    n += n & (n - 1) == 0  # no power of two: there a rounding error would decide
    half = B // 2
    return Number(
        ask=f"T5 decoder, {B} buckets, max_distance {far}: the first half of them hold one distance each, the rest "
        f"share by the logarithm. In which bucket is a key {n} tokens back? Counted from 0.",
        given=dict(n=n, B=B, far=far),
        answer=half + floor(half * log(2 * n / B) / log(2 * far / B)),
        unit="",
        traps={
            "all distances alone": min(n, B - 1),
            "two directions": half // 2 + floor(half // 2 * log(4 * n / B) / log(4 * far / B)),
            "rounded up": half + floor(half * log(2 * n / B) / log(2 * far / B)) + 1,
        },
        hints=(
            "Of the way from B/2 to max_distance, in logarithms, how much has n gone?",
            "B/2 + ⌊B/2 · ln(n / (B/2)) / ln(far / (B/2))⌋",
        ),
        why="Near distances matter exactly, far ones roughly. All from max_distance on share the last bucket.",
    )


@bucket_of_a_distance.second
def _(n, B, far):
    starts = list(range(B // 2)) + [B // 2 * (far / (B // 2)) ** (j / (B // 2)) for j in range(B // 2)]
    return sum(start <= n for start in starts) - 1


@question(topic="position.relative_bias", level=1, source="Raffel 2020, T5, section 2.1", readme="dl_003/8")
def numbers_of_a_bias(draw):
    H, B, L = draw(6, 8, 12, 16, 32), draw(16, 32, 64), draw(6, 12, 24)
    return Number(
        ask=f"A decoder of {L} layers with {H} heads uses T5's bias with {B} buckets. How many numbers are learnt for "
        "it?",
        given=dict(H=H, B=B, L=L),
        answer=H * B,
        unit="numbers",
        traps={"each layer its own": H * B * L, "one for all heads": B, "a table each way": 2 * H * B},
        hints=("One number for each head and bucket, in a table that layers share.", "H · B"),
        why="The bias is added to scores before the softmax; embeddings get no positions. T5's layers share one table.",
    )


@numbers_of_a_bias.second
def _(H, B, L):
    import numpy as np

    table = np.zeros((B, H))
    return np.unique(np.concatenate([[id(table)] for _layer in range(L)])).size * table.size


@question(
    topic="position.relative_bias", level=2, source="Raffel 2020, T5, section 2.1", readme=("dl_003/7", "dl_003/8")
)
def line_of_a_bias(draw):
    scores = [one / 2 for one in draw.sample(range(1, 7), 3)]
    values = draw.sample(range(10, 60), 3)
    bias = draw("[0.5, -1.0, 1.5]", "[-0.5, 1.0, 0.25]")
    wrong, mended = draw(
        ("    weights = [exp(s) + b for s, b in zip(scores, bias)]", "    weights = [exp(x) for x in logits]"),
        ("    logits = [s * b for s, b in zip(scores, bias)]", "    logits = [s + b for s, b in zip(scores, bias)]"),
        ("    total = sum(logits)", "    total = sum(weights)"),
    )
    code = f"""
from math import exp
def attend(scores, bias, values):
    logits = [s + b for s, b in zip(scores, bias)]
    weights = [exp(x) for x in logits]
    total = sum(weights)
    mixed = [w * v for w, v in zip(weights, values)]
    return round(sum(mixed) / total, 3)
print(attend({scores}, {bias}, {values}))
"""
    added = [s + b for s, b in zip(scores, _numbers(bias), strict=True)]
    weights = [2.718281828459045**x for x in added]
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return Bug(
        ask="One query with T5's bias for three keys. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(mean, 3)),
        traps={
            "values are weighed": "    mixed = [w * v for w, v in zip(weights, values)]",
            "divided at the end": "    return round(sum(mixed) / total, 3)",
        },
        hints=("Where does the bias enter, and what makes the weights add up to 1?", "softmax(score + bias)"),
        why="The bias is a part of the logits, so the weights still add up to 1. A fused kernel has to know of it.",
    )


def _numbers(text):
    return [float(one) for one in text.strip("[]").split(",")]


@question(
    topic="position.long_context", level=1, source="Chen 2023, position interpolation", readme="dl_003/9", seed="000/10"
)
def interpolated_place(draw):
    n, s = draw(2048, 4096, 8192), draw(4, 8, 16)
    m = draw.between(n + 500, 4 * n)
    return Number(
        ask=f"Trained on {n} places, stretched to {s * n} by position interpolation. At which place is the token that "
        f"stands at {m}?",
        given=dict(m=m, s=s),
        answer=m / s,
        traps={"left where it is": float(m), "clipped to the end": float(n), "moved back": float(m % n)},
        hints=("All places are squeezed into the trained ones by the stretch s.", "m / s"),
        why="No angle is new, but neighbours come closer, so what was learnt about the last few tokens suffers. A "
        "short training at the new length mends it.",
    )


@interpolated_place.second
def _(m, s):
    import numpy as np

    return float(np.interp(m, [0, 10**7], [0, 10**7 / s]))


@question(topic="position.long_context", level=2, source="bloc97 2023; Peng 2023, YaRN, section 3.1", readme="dl_003/9")
def base_of_ntk(draw):
    s, d, b = draw(2, 4, 8, 16, 32), draw(32, 64, 96, 128), draw(10_000, 500_000)
    return Number(
        ask=f"NTK scaling by {s} for heads of width {d} with base {b:,}. What is the new base?",
        given=dict(s=s, d=d, b=b),
        answer=b * s ** (d / (d - 2)),
        within=0.005,
        traps={"the exponent forgotten": float(b * s), "divided": b / s, "square": float(b * s * s)},
        hints=("The last pair, b^(-(d - 2)/d), is to be divided by s exactly.", "b · s^(d/(d - 2))"),
        why="The first frequency stays 1 and the last one is divided by the stretch. Pairs between get a mixture, and "
        "some of them still reach new angles.",
    )


@base_of_ntk.second
def _(s, d, b):
    slowest = b ** (-(d - 2) / d) / s
    low, high = float(b), 1e12
    for _halving in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle ** (-(d - 2) / d) > slowest else (low, middle)
    return low


@question(topic="position.long_context", level=2, source="Llama 3.1, rope_scaling", readme="dl_003/9")
def rule_of_llama(draw):
    i, n = draw.between(5, 58), draw(4096, 8192)
    turns = n / (2 * pi * 500000 ** (i / 64))
    kept, mixed, divided = "it is kept", "it is a mixture of both", "it is divided by 8"
    answer = kept if turns > 4 else divided if turns < 1 else mixed
    names = {"taken for a fast pair": kept, "taken for one between": mixed, "taken for a slow pair": divided}
    return Choice(
        ask=f"Llama 3's rule: factor 8, low 1, high 4, trained on {n} tokens. Pair {i} of 64, counted from 0, base "
        "500,000. What becomes of its frequency?",
        given=dict(i=i, n=n),
        answer=answer,
        traps={name: one for name, one in names.items() if one != answer},
        hints=(
            "How many turns did the pair make in the trained length?",
            "n / (2·pi · 500000^(i/64)), against 1 and 4",
        ),
        why="A pair that has turned several times has shown all its angles and tells neighbours apart. One that never "
        "completed a turn would reach new angles.",
    )


@rule_of_llama.second
def _(i, n):
    import numpy as np

    frequency = np.geomspace(1.0, 500000.0 ** (-63 / 64), 64)[i]
    smooth = np.clip((n * frequency / (2 * np.pi) - 1) / (4 - 1), 0, 1)
    new = (1 - smooth) * frequency / 8 + smooth * frequency
    if new == frequency:
        return "it is kept"
    return "it is divided by 8" if new == frequency / 8 else "it is a mixture of both"


@question(topic="position.long_context", level=3, source="Peng 2023, YaRN, section 3.4", readme="dl_003/10")
def factor_on_the_logits(draw):
    s = draw(2, 4, 6, 8, 10, 12, 16, 24, 32, 64)
    return Number(
        ask=f"YaRN with a stretch of {s}: by what are the logits multiplied?",
        given=dict(s=s),
        answer=(0.1 * log(s) + 1) ** 2,
        within=0.003,
        traps={
            "on the queries alone": 0.1 * log(s) + 1,
            "the paper's temperature": (0.1 * log(s) + 1) ** -2,
            "the stretch itself": 0.2 * s + 1,
        },
        hints=("0.1 · ln s + 1 stands on queries and on keys.", "(0.1 · ln s + 1)^2"),
        why="A softmax over more keys is flatter; larger logits make it sharper again. In code cosines and sines are "
        "multiplied, so it comes twice.",
    )


@factor_on_the_logits.second
def _(s):
    import numpy as np

    factor = np.interp(np.log(s), [0.0, 10.0], [1.0, 2.0])
    q = k = np.array([0.6, 0.8]) * factor
    return float(q @ k)


@question(topic="position.long_context", level=2, source="Peng 2023, YaRN, section 3.4", readme="dl_003/10")
def side_of_the_factor(draw):
    m, t = draw("m", "factor", "mscale"), draw("temperature", "t", "tau")
    known = draw(m, t)
    how = m if known == m else f"1/sqrt({t})"
    value = draw.between(11, 19) / 10
    return Blank(
        ask=f"YaRN multiplies the cosines and sines of the rotation by `{how}`. By what are the logits multiplied?",
        code=f"def logit(dot, d, {known}):\n    return dot / sqrt(d) * ____",
        given={known: value if known == m else value**-2},
        answer=f"{m} * {m}" if known == m else f"1 / {t}",
        traps=(
            {"once": m, "upside down": f"1 / ({m} * {m})", "divided once": f"1 / {m}"}
            if known == m
            else {"the wrong side": t, "the root": f"1 / sqrt({t})", "squared": f"1 / ({t} * {t})"}
        ),
        hints=(
            "The factor stands on queries and keys, so it meets itself.",
            "the square of the factor, or 1 / temperature",
        ),
        why="The temperature of the paper is below 1 and divides the logits, so they grow. Texts that divide by the "
        "squared factor have it upside down.",
    )


@side_of_the_factor.second
def _(**given):
    ((name, value),) = given.items()
    if name in ("m", "factor", "mscale"):
        return sum(q * k for q, k in [(0.6 * value, 0.6 * value), (0.8 * value, 0.8 * value)])
    return value**-0.5 * value**-0.5
