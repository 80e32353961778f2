"""Questions on the whole transformer whose numbers change: `grader drill --topic transformer.parameters`."""

from math import exp, prod, sqrt

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(
    topic="transformer.feed_forward", level=2, source="Shazeer 2020; Touvron 2023, section 2.2", readme="dl_010/4"
)
def swiglu_width(draw):
    d, m = draw(1024, 1536, 2048, 2560, 3072, 4096, 5120, 6144, 8192), draw(64, 128, 256, 512)
    exact = 8 * d // 3
    return Number(
        ask="Llama makes SwiGLU as large as a GELU network of width 4d: it takes the whole number below the exact "
        f"width and rounds that up to a multiple of {m}. d = {d}. Which width?",
        given=dict(d=d, m=m),
        answer=-(-exact // m) * m,
        traps={"width of the GELU network": 4 * d, "rounded down": exact // m * m, "not rounded": exact},
        hints=("Three matrices are to hold what two of width 4d hold.", "⌈⌊8 · d / 3⌋ / m⌉ · m"),
        why="3 · d · w = 2 · d · 4d gives w = 8d/3. Multiples of 64 to 512 suit the hardware's tiles.",
    )


@swiglu_width.second
def _(d, m):
    whole = 0
    while 3 * d * (whole + 1) <= 2 * d * 4 * d:
        whole += 1
    return next(width for width in range(m, 8 * d, m) if width >= whole)


@question(topic="transformer.feed_forward", level=2, source="Shazeer 2020, section 2", readme="dl_010/4")
def weights_of_sublayers(draw):
    d, gelu, gated = draw(512, 768, 1024, 2048, 4096), draw(3, 4), draw(1.5, 3.5)
    few, many = int(gated * d), 4 * d
    matrices = {
        "attention, four d x d matrices": 4 * d * d,
        f"GELU network of width {gelu * d}": 2 * d * gelu * d,
        f"SwiGLU network of width {few}": 3 * d * few,
        f"SwiGLU network of width {many}": 3 * d * many,
    }
    as_two = {name: 2 * n // 3 if "SwiGLU" in name else n for name, n in matrices.items()}
    order = sorted(matrices, key=lambda name: matrices[name])
    return Order(
        ask=f"d = {d}, no biases. Which sub-layer has the fewest parameters? Fewest first.",
        given=dict(d=d, gelu=gelu, few=few),
        answer=order,
        traps={"largest first": order[::-1], "two matrices in SwiGLU": sorted(as_two, key=lambda name: as_two[name])},
        hints=(
            "Count the matrices of each; SwiGLU has a gate beside up and down.",
            "4d², 2 · d · width, 3 · d · width",
        ),
        why="SwiGLU has three matrices, so at equal width it is half as large again as a GELU network.",
    )


@weights_of_sublayers.second
def _(d, gelu, few):
    shapes = {
        "attention, four d x d matrices": [(d, d)] * 4,
        f"GELU network of width {gelu * d}": [(gelu * d, d), (d, gelu * d)],
        f"SwiGLU network of width {few}": [(few, d), (few, d), (d, few)],
        f"SwiGLU network of width {4 * d}": [(4 * d, d), (4 * d, d), (d, 4 * d)],
    }
    return [name for _, name in sorted((sum(map(prod, of)), name) for name, of in shapes.items())]


@question(topic="transformer.feed_forward", level=2, source="Shazeer 2020, section 2")
def line_of_swiglu(draw):
    x, up, down, gate = draw.between(2, 5), draw.between(2, 4), draw(2, 3), draw(0.5, -0.5)
    lines = [
        ("    return x * exp(-x)", "    return x / (1 + exp(-x))", "silu is right"),
        ("    opened = silu(x) * gate", "    opened = silu(x * gate)", "the gate is right"),
        ("    hidden = opened + x * up", "    hidden = opened * x * up", "a gate multiplies"),
    ]
    wrong, mended, _name = draw(*lines)
    code = f"""
from math import exp
def silu(x):
    return x / (1 + exp(-x))
def swiglu(x, gate, up, down):
    opened = silu(x * gate)
    hidden = opened * x * up
    return hidden * down
print(round(swiglu({x}, {gate}, {up}, {down}), 3))
"""
    opened = x * gate / (1 + exp(-x * gate))
    return Bug(
        ask="SwiGLU with one number for each matrix. It prints a wrong value. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(opened * x * up * down, 3)),
        traps={name: line for _wrong, line, name in lines if line != mended},
        hints=("silu is x · sigmoid(x). What goes through it, and what is multiplied?", "(silu(x·gate) · x·up) · down"),
        why="The gate is a product with x, squashed by silu; it multiplies the other product with x, entry by entry.",
    )


@question(topic="transformer.parameters", level=2, source="Radford 2019, GPT-2", readme="dl_010/4")
def gpt2_parameters(draw):
    L, d = draw((12, 768), (24, 1024), (36, 1280), (48, 1600), (6, 512), (12, 1024))
    V, T = draw(50257, 32000, 50304), draw(1024, 2048)
    blocks = L * (12 * d * d + 13 * d)
    return Number(
        ask=f"GPT-2's design: {L} layers of width {d}, {V:,} tokens, {T} learned positions, feed-forward 4d, biases "
        "and LayerNorms everywhere, a last LayerNorm, and a head tied to the embedding. How many parameters?",
        given=dict(L=L, d=d, V=V, T=T),
        answer=V * d + T * d + blocks + 2 * d,
        unit="parameters",
        traps={
            "head counted apart": 2 * V * d + T * d + blocks + 2 * d,
            "matrices of the layers alone": 12 * L * d * d,
            "positions forgotten": V * d + blocks + 2 * d,
        },
        hints=(
            "A layer: 12 d² in matrices, 9d in biases, 4d in two norms. Add embeddings and the last norm.",
            "V·d + T·d + L·(12·d^2 + 13·d) + 2·d",
        ),
        why="The rule of 12 d² a layer counts its matrices alone. In small models the embedding is a large share, "
        "and a tied head costs nothing.",
    )


@gpt2_parameters.second
def _(L, d, V, T):
    attention = [(3 * d, d), (3 * d,), (d, d), (d,)]
    network = [(4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    norm = [(d,), (d,)]
    shapes = [(V, d), (T, d), *norm, *(attention + network + 2 * norm) * L]
    return sum(prod(shape) for shape in shapes)


@question(topic="transformer.parameters", level=3, source="Touvron 2023, Llama 2, table 1", readme="dl_010/4")
def llama_parameters(draw):
    L, d, w = draw((32, 4096, 14336), (40, 5120, 13824), (80, 8192, 28672), (28, 3072, 8192), (16, 2048, 8192))
    g, V = draw(4, 8), draw(32000, 128256)
    block = 2 * d * d + 256 * d * g + 3 * d * w + 2 * d
    return Number(
        ask=f"Llama's design: {L} layers, d = {d}, SwiGLU of width {w}, {g} KV heads of width 128 (query heads fill "
        f"d), RMSNorm, no biases, {V:,} tokens, head not tied. How many parameters?",
        given=dict(L=L, d=d, w=w, g=g, V=V),
        answer=2 * V * d + L * block + d,
        unit="parameters",
        traps={
            "as many KV heads": 2 * V * d + L * (block + 2 * d * d - 256 * d * g) + d,
            "two matrices in SwiGLU": 2 * V * d + L * (block - d * w) + d,
            "head tied": V * d + L * block + d,
        },
        hints=(
            "Queries and output have d² each, keys and values d · 128 for each KV head, SwiGLU three matrices.",
            "2·V·d + L·(2·d^2 + 256·d·g + 3·d·w + 2·d) + d",
        ),
        why="Grouped keys make the matrices of keys and values small. RMSNorm has a weight and no bias.",
    )


@llama_parameters.second
def _(L, d, w, g, V):
    attention = [(d, d), (g * 128, d), (g * 128, d), (d, d)]
    layer = [*attention, (w, d), (w, d), (d, w), (d,), (d,)]
    return sum(map(prod, [(V, d), (V, d), (d,)])) + sum(prod(shape) for _ in range(L) for shape in layer)


@question(topic="transformer.parameters", level=2, source="Kaplan 2020, table 1", readme="dl_010/4")
def share_of_embedding(draw):
    V, d, L = draw(32000, 50257, 128256, 256000), draw(512, 768, 1024, 2048, 4096), draw(12, 16, 24, 32)
    return Number(
        ask=f"{L} layers of 12 d² parameters, d = {d}, and {V:,} tokens in one embedding that is the head as well. "
        "Which share of the parameters is the embedding?",
        given=dict(V=V, d=d, L=L),
        answer=100 * V * d / (V * d + 12 * L * d * d),
        unit="%",
        traps={
            "head counted apart": 200 * V * d / (2 * V * d + 12 * L * d * d),
            "against the layers alone": 100 * V * d / (12 * L * d * d),
        },
        hints=("The embedding has V rows of d, the layers 12 d² each.", "100 · V·d / (V·d + 12·L·d^2)"),
        why="The embedding grows with d, the layers with its square. So a small model with a large vocabulary is "
        "mostly embedding.",
    )


@share_of_embedding.second
def _(V, d, L):
    layers = sum(4 * d + 2 * 4 * d for _layer in range(L))  # in units of d
    return 100 / (1 + layers / V)


@question(topic="transformer.parameters", level=1, source="Vaswani 2017, section 3.2.2")
def doubled_setting(draw):
    what, L, d, H = draw("heads", "width", "layers"), draw(12, 24), draw(512, 1024), draw(8, 16)
    said = {
        "heads": "The number of heads is doubled; d stays.",
        "width": "d is doubled; the number of heads stays.",
        "layers": "The number of layers is doubled.",
    }[what]
    same, twice, four = "no change", "twice as many", "four times as many"
    right = {"heads": same, "width": four, "layers": twice}[what]
    named = {"as for the heads": same, "as for the layers": twice, "as for the width": four}
    return Choice(
        ask=f"{L} layers with d = {d} and {H} heads of d / {H}; the feed-forward width is 4d. {said} How does the "
        "number of matrix entries in the layers change?",
        given=dict(what=what, L=L, d=d, H=H),
        answer=right,
        traps={name: text for name, text in named.items() if text != right},
        hints=("What are the shapes of the matrices? Where does a head show up in them?", "12 · L · d²"),
        why="Heads cut d into pieces, so their number changes no matrix. Matrices are d by d, or 4d by d.",
    )


@doubled_setting.second
def _(what, L, d, H):
    def entries(L, d, H):
        head = d // H
        return L * (4 * sum(d * head for _ in range(H)) + 2 * 4 * d * d)

    changed = {"heads": (L, d, 2 * H), "width": (L, 2 * d, H), "layers": (2 * L, d, H)}[what]
    return {1: "no change", 2: "twice as many", 4: "four times as many"}[entries(*changed) / entries(L, d, H)]


@question(topic="transformer.decoder_only", level=1, source="Radford 2019, section 2.3", readme="dl_010/5")
def std_of_writers(draw):
    L, s = draw(6, 12, 16, 24, 32, 36, 48, 96), draw(0.02, 0.01, 0.006)
    return Number(
        ask=f"GPT-2's initial values: a decoder of {L} blocks, standard deviation {s} in general. Which one for the "
        "matrices that write into the residual stream?",
        given=dict(L=L, s=s),
        answer=s / sqrt(2 * L),
        traps={"one branch a block": s / sqrt(L), "no root": s / (2 * L)},
        hints=("How many branches does the stream add up? Variances add.", "s / √(2 · L)"),
        why="Two branches a block are added. Where they are independent, their variances add, and the root of their "
        "number keeps the sum as large as one branch.",
    )


@std_of_writers.second
def _(L, s):
    variance = 0.0
    for _block in range(L):
        for _branch in ("attention", "network"):
            variance += s * s
    return s * s / sqrt(variance)


@question(topic="transformer.decoder_only", level=2, source="Radford 2019, section 2.3", readme="dl_010/5")
def matrix_that_is_scaled(draw):
    right = draw("attention, o_proj", "feed-forward, 2nd matrix")
    others = draw.sample(["attention, q_proj", "attention, k_proj", "attention, v_proj", "feed-forward, 1st matrix"], 3)
    return Choice(
        ask="In a GPT-2 of many blocks, the initial values of some matrices are divided by the root of twice the "
        "number of blocks. Which of these?",
        given=dict(options=[right, *others]),
        answer=right,
        traps=dict(zip(("makes what another reads", "reads the stream", "reads it too"), others, strict=True)),
        hints=("Which one's result is added to the stream?", "the last matrix of each branch"),
        why="Only what ends a branch is added to the stream. What the others compute passes through one of those.",
    )


@matrix_that_is_scaled.second
def _(options):
    result = {"q_proj": "scores", "k_proj": "scores", "v_proj": "heads", "1st": "hidden"}
    result |= {"o_proj": "stream", "2nd": "stream"}
    (right,) = [name for name in options if result[name.split()[1]] == "stream"]
    return right


@question(topic="transformer.decoder_only", level=1, source="Radford 2018, section 3.1")
def pairs_to_learn(draw):
    t = draw.sample(range(10, 60), 4)
    return Predict(
        ask="A decoder learns to name the next token. What is printed?",
        code=f"""
tokens = {t}
inputs, targets = tokens[:-1], tokens[1:]
for i, target in enumerate(targets):
    print(len(inputs[:i + 1]), "seen, next:", target)
""",
        answer="\n".join(f"{i} seen, next: {one}" for i, one in enumerate(t[1:], 1)),
        traps={
            "targets not shifted": "\n".join(f"{i} seen, next: {one}" for i, one in enumerate(t[:-1], 1)),
            "own token not seen": "\n".join(f"{i} seen, next: {one}" for i, one in enumerate(t[1:])),
            "one pair more": "\n".join(f"{i} seen, next: {one}" for i, one in enumerate(t, 0)),
        },
        hints=("Place i sees tokens 0 to i, and has to name the one after.", "i + 1 tokens seen, then tokens[i + 1]"),
        why="Every place of a sequence is an example. Without the shift a model learns to copy its input.",
    )


@question(topic="transformer.encoder_decoder", level=1, source="Vaswani 2017, section 3.2.3", readme="dl_010/6")
def pairs_of_a_decoder_layer(draw):
    T, S = draw.between(5, 40), draw.between(41, 90)
    return Number(
        ask=f"A translator: {S} source tokens, {T} target tokens, no padding. How many pairs of query and key do the "
        "masks of one decoder layer leave, in one head of its self-attention and one of its cross-attention?",
        given=dict(T=T, S=S),
        answer=T * (T + 1) // 2 + T * S,
        unit="pairs",
        traps={
            "no causal mask": T * T + T * S,
            "own place hidden": T * (T - 1) // 2 + T * S,
            "cross-attention forgotten": T * (T + 1) // 2,
        },
        hints=("Causal among the targets; every target sees every source token.", "T · (T + 1) / 2 + T · S"),
        why="Self-attention hides the future, cross-attention does not: the whole source is known from the start.",
    )


@pairs_of_a_decoder_layer.second
def _(T, S):
    import numpy as np

    return int(np.hstack([np.ones((T, S)), np.tri(T)]).sum())


@question(topic="transformer.encoder_decoder", level=1, source="Vaswani 2017, section 3.2.3", readme="dl_010/6")
def mask_of_each(draw):
    where, pad = draw("encoder's self-attention", "decoder's self-attention", "cross-attention"), draw(2, 3, 5)
    source, future, both = "padded source tokens", "later target tokens", "padded source and later target tokens"
    right = future if where.startswith("decoder") else source
    return Choice(
        ask=f"A translator; sources of a batch have up to {pad} tokens of padding, targets are padded on the right, "
        f"and rows of padding are left out of the loss. What must the mask of the {where} hide?",
        given=dict(where=where),
        answer=right,
        traps={
            "masks swapped": source if right == future else future,
            "one mask for all": both,
            "nothing to hide": "nothing at all",
        },
        hints=(
            "Where do the keys come from, and are all of them known?",
            "keys of the source: padding; of the target: future",
        ),
        why="The source is known at once, but padded. A target token must not see what follows; padding on its right "
        "follows, too.",
    )


@mask_of_each.second
def _(where):
    keys = [("source", "real"), ("source", "padding")]
    if where.startswith("decoder"):
        keys = [("target", "before"), ("target", "later")]
    named = {"padding": "padded source tokens", "later": "later target tokens"}
    return " and ".join(named[of] for _, of in keys if of in named)


@question(topic="transformer.encoder_decoder", level=2, source="Vaswani 2017, section 3.1", readme="dl_010/6")
def padding_that_is_seen(draw):
    words, n, side = draw.sample(["cat", "dog", "sun", "sea", "tea", "ink"], 2), draw(1, 2), draw("left", "right")
    pads = ["-"] * n
    tokens = pads + words if side == "left" else words + pads
    seen = n if side == "left" else 0
    return Predict(
        ask="Causal self-attention over a padded target. How many tokens of padding does each word see?",
        code=f"""
tokens = {tokens}
for i, token in enumerate(tokens):
    if token != "-":
        print(token, tokens[:i + 1].count("-"))
""",
        answer="\n".join(f"{word} {seen}" for word in words),
        traps={
            "padding on the other side": "\n".join(f"{word} {n - seen}" for word in words),
            "all tokens before it": "\n".join(f"{word} {tokens.index(word)}" for word in words),
        },
        hints=("A place sees itself and what stands before it.", "padding among tokens[0] to tokens[i]"),
        why="Padding on the right comes later than every word, so the causal mask hides it. On the left it needs a "
        "mask of its own.",
    )


@question(topic="transformer.pre_norm", level=2, source="Xiong 2020, section 3", readme="dl_010/2")
def share_of_the_last_branch(draw):
    L, v = draw.between(6, 80), draw(0.25, 0.5, 1.0, 2.0)
    return Number(
        ask=f"A pre-norm model of {L} blocks. The stream starts with variance 1; each branch adds variance {v:g}, "
        "uncorrelated with the rest. Which share of the stream's variance at the end is that of the last branch?",
        given=dict(L=L, v=v),
        answer=100 * v / (1 + 2 * L * v),
        unit="%",
        traps={"one branch a block": 100 * v / (1 + L * v), "the stream does not grow": 100 * v / (1 + v)},
        hints=("Two branches a block are added, and variances add.", "100 · v / (1 + 2 · L · v)"),
        why="A block reads a normalised copy, but the stream itself grows. Deep blocks change it less and less, so "
        "some can be removed.",
    )


@share_of_the_last_branch.second
def _(L, v):
    stream = [1.0]
    for _branch in range(2 * L):
        stream.append(stream[-1] + v)
    return 100 * (1 - stream[-2] / stream[-1])


@question(topic="transformer.pre_norm", level=1, source="Xiong 2020, figure 1")
def pre_norm_line(draw):
    x, f, norm = draw("x", "h", "stream"), draw("f", "mlp", "branch"), draw("norm", "ln")
    start, times = draw(3, 7, 8), draw(10, 20)
    right, turned = f"{x} + {f}({norm}({x}))", f"{f}({norm}({x})) + {x}"
    return Blank(
        ask="Fill in the pre-norm sub-layer.",
        code=f"""
def sublayer({x}, {f}, {norm}):
    return ____
print(sublayer({start}, lambda x: {times} * x, lambda x: x % 2 + 4))
""",
        answer=right,
        also=(turned,),
        traps={
            "post-norm": f"{norm}({x} + {f}({x}))",
            "the skip is normed too": f"{norm}({x}) + {f}({norm}({x}))",
            "norm behind the branch": f"{x} + {norm}({f}({x}))",
        },
        prints=str(start + times * (start % 2 + 4)),
        hints=(
            "The branch reads a normalised copy; nothing stands on the skip.",
            "the input, and the branch of its norm",
        ),
        why="The skip stays a bare identity, so gradients pass it unchanged. The price is a stream that grows.",
    )


@question(topic="transformer.pre_norm", level=2, source="Xiong 2020, section 3", readme="dl_010/2")
def stream_that_grows(draw):
    x, weights = draw.between(2, 9), draw.sample(range(3, 30), 3)
    streams = [x + sum(weights[: i + 1]) for i in range(3)]
    unnormed = [x * prod(1 + weight for weight in weights[: i + 1]) for i in range(3)]
    return Predict(
        ask="Three pre-norm branches, one number each; this norm gives 1 for any positive number. What is printed?",
        code=f"""
x = {x}
for weight in {weights}:
    x = x + weight * (x // x)
    print(x)
""",
        answer="\n".join(map(str, streams)),
        traps={
            "post-norm": "1\n1\n1",
            "no norm": "\n".join(map(str, unnormed)),
            "the skip is forgotten": "\n".join(map(str, weights)),
        },
        hints=("Each branch reads 1, whatever the stream is.", "x plus the weights so far"),
        why="What a branch reads is bounded; the stream is not. So one norm stands behind the last block, before the "
        "logits.",
    )


@question(topic="transformer.post_norm", level=1, source="Xiong 2020, section 3.1", readme="dl_010/1")
def norms_on_the_skip(draw):
    L = draw.between(4, 60)
    return Number(
        ask=f"A post-norm decoder of {L} blocks, without cross-attention. How many norms stand on the skip path "
        "between embedding and logits?",
        given=dict(L=L),
        answer=2 * L,
        unit="norms",
        traps={"of pre-norm": 1, "one a block": L, "a last one too": 2 * L + 1},
        hints=("A norm follows each addition. How many additions has a block?", "2 · L"),
        why="Post-norm norms the sum, so the skip itself passes every norm. Pre-norm leaves it bare, with one norm "
        "at the end.",
    )


@norms_on_the_skip.second
def _(L):
    path = []
    for _block in range(L):
        for _branch in ("attention", "feed-forward"):
            path += ["add", "norm"]
    return path.count("norm")


@question(topic="transformer.post_norm", level=2, source="Vaswani 2017, section 3.1", readme="dl_010/1")
def line_of_post_norm(draw):
    x = [draw.between(2, 5), draw.between(6, 9)]
    w = draw(2, 3, 4)
    wrong, mended = draw(
        ("    added = branch(norm(x))", "    added = branch(x)"),
        ("    return summed", "    return norm(summed)"),
        ("    size = sum(one * one for one in x) ** 0.5", "    size = (sum(one * one for one in x) / len(x)) ** 0.5"),
    )
    code = f"""
def norm(x):
    size = (sum(one * one for one in x) / len(x)) ** 0.5
    return [one / size for one in x]
def post_norm(x, branch):
    added = branch(x)
    summed = [one + other for one, other in zip(x, added)]
    return norm(summed)
print([round(one, 3) for one in post_norm({x}, lambda x: [{w} * x[0], 1])])
"""
    a, b = (1 + w) * x[0], x[1] + 1
    size = sqrt((a * a + b * b) / 2)
    return Bug(
        ask="The post-norm sub-layer of 2017, with a norm by the root mean square. It prints something else than it "
        "should. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str([round(a / size, 3), round(b / size, 3)]),
        traps={
            "the norm divides": "    return [one / size for one in x]",
            "the skip is right": "    summed = [one + other for one, other in zip(x, added)]",
        },
        hints=("What does the branch read, and what does the norm stand around?", "norm(x + branch(x))"),
        why="Post-norm gives the branch x as it is and norms the sum, so what leaves a block has the same size always.",
    )


@question(topic="transformer.depth", level=2, source="Xiong 2020, theorem 1", readme="dl_010/1")
def gradient_of_the_last_layer(draw):
    L = draw(6, 12, 18, 24, 30, 36, 48, 64, 80, 96)
    return Number(
        ask="Xiong et al. bound the gradient of the last feed-forward layer at the start of training. How many times "
        f"larger is the bound of a post-norm model of {L} layers than that of a pre-norm model?",
        given=dict(L=L),
        answer=sqrt(L),
        unit="x",
        traps={"as the number of layers": L * 1.0, "no difference": 1.0},
        hints=("The last norm divides by the size of the stream, and variances add over layers.", "√L"),
        why="In pre-norm the last norm divides by a stream that grew with the root of the depth. In post-norm it "
        "does not, and full steps at the start throw the model off: hence warm-up.",
    )


@gradient_of_the_last_layer.second
def _(L):
    variance = 0
    for _layer in range(L):
        variance += 1
    return 1 / variance**-0.5


@question(topic="transformer.depth", level=2, source="Xiong 2020, theorem 1", readme="dl_010/1")
def gradients_in_order(draw):
    few, middle, many = sorted(draw.sample([4, 6, 12, 18, 24, 36, 48, 72, 96], 3))
    post = f"post-norm, {draw(6, 24, 96)} layers"
    order = [post, *(f"pre-norm, {n} layers" for n in (few, middle, many))]
    return Order(
        ask="At the start of training, which model has the largest gradient in its last feed-forward layer, by the "
        "bounds of Xiong et al.? Largest first.",
        given=dict(layers=(few, middle, many), post=post),
        answer=order,
        traps={
            "grows with depth": [post, *order[:0:-1]],
            "pre and post swapped": [*order[1:], post],
            "smallest first": order[::-1],
        },
        hints=("In which design does this gradient depend on the depth at all?", "1 for post-norm, 1/√L for pre-norm"),
        why="Post-norm's does not shrink with depth. Pre-norm's shrinks with its root, so large rates are safe from "
        "the first step.",
    )


@gradients_in_order.second
def _(layers, post):
    size = {post: 1.0}
    for n in layers:
        stream = sum(1 for _ in range(n))
        size[f"pre-norm, {n} layers"] = stream**-0.5
    return sorted(size, key=lambda name: -size[name])


@question(topic="transformer.double_norm", level=1, source="Gemma 2 report, section 2")
def norms_of_gemma(draw):
    L = draw.between(12, 80)
    return Number(
        ask=f"Gemma 2 has a norm before and behind each sub-layer, and one before the logits. How many norms do {L} "
        "blocks and the end have together?",
        given=dict(L=L),
        answer=4 * L + 1,
        unit="norms",
        traps={"pre-norm": 2 * L + 1, "the last one forgotten": 4 * L, "one sub-layer a block": 2 * L},
        hints=("A block has two sub-layers. Do not forget the end.", "4 · L + 1"),
        why="The outer norm comes on top of pre-norm, it does not replace it. The stream itself still needs a norm "
        "at the end.",
    )


@norms_of_gemma.second
def _(L):
    steps = ["norm", "attention", "norm", "add", "norm", "network", "norm", "add"] * L + ["norm", "head"]
    return steps.count("norm")


@question(topic="transformer.double_norm", level=2, source="Gemma 2 report, section 2", readme="dl_010/3")
def stream_is_bounded(draw):
    L, g, r = draw.between(8, 60), draw(0.1, 0.2, 0.25, 0.5), draw(1.0, 2.0, 4.0)
    return Number(
        ask=f"Every outer norm has weight {g:g} in each entry. The stream starts with a root mean square of {r:g} and "
        f"passes {L} blocks of two sub-layers. What is the largest root mean square that it can have?",
        given=dict(L=L, g=g, r=r),
        answer=r + 2 * L * g,
        traps={
            "one sub-layer a block": r + L * g,
            "as if uncorrelated": sqrt(r * r + 2 * L * g * g),
            "the start forgotten": 2 * L * g,
        },
        hints=("What root mean square does each addition have? All may point the same way.", "r + 2 · L · g"),
        why="Behind the outer norm, what a sub-layer adds has the size of the norm's weight, however large its own "
        "outputs are.",
    )


@stream_is_bounded.second
def _(L, g, r):
    import numpy as np

    stream = np.full(4, r)
    for branch in range(2 * L):
        huge = stream * 1000.0 * (1 + branch)
        stream = stream + g * huge / np.sqrt((huge**2).mean())
    return float(np.sqrt((stream**2).mean()))


@question(topic="transformer.double_norm", level=2, source="OLMo 2 report, section 3.2", readme="dl_010/1")
def where_the_norm_stands(draw):
    model = draw("GPT-2", "the Transformer of 2017", "Gemma 2", "OLMo 2")
    lines = {
        "GPT-2": "x + f(norm(x))",
        "the Transformer of 2017": "norm(x + f(x))",
        "Gemma 2": "x + norm(f(norm(x)))",
        "OLMo 2": "x + norm(f(x))",
    }
    mistakes = {
        "GPT-2": "pre-norm",
        "the Transformer of 2017": "post-norm",
        "Gemma 2": "norms on both sides",
        "OLMo 2": "norm on the output alone",
    }
    return Choice(
        ask=f"What does a sub-layer f of {model} make of the stream x?",
        given=dict(model=model),
        answer=lines[model],
        traps={mistakes[other]: line for other, line in lines.items() if other != model},
        hints=(
            "Is the input normed, the output, both, or the sum?",
            "norm in f(...), around f, both, or around the sum",
        ),
        why="Pre-norm since GPT-2, post-norm before it; Gemma 2 norms what goes in and what comes out, OLMo 2 what "
        "comes out alone, which leaves the skip bare as well.",
    )


@where_the_norm_stands.second
def _(model):
    reads_norm, output_normed, sum_normed = {
        "GPT-2": (True, False, False),
        "the Transformer of 2017": (False, False, True),
        "Gemma 2": (True, True, False),
        "OLMo 2": (False, True, False),
    }[model]
    branch = "f(norm(x))" if reads_norm else "f(x)"
    branch = f"norm({branch})" if output_normed else branch
    return f"norm(x + {branch})" if sum_normed else f"x + {branch}"


@question(topic="architecture.parallel_block", level=2, source="PaLM, section 2; Shoeybi 2019", readme="dl_010/3")
def all_reduces_of_parallel_blocks(draw):
    L = draw.between(8, 118)
    return Number(
        ask=f"PaLM's parallel blocks under tensor parallelism, {L} of them. How many all-reduces do forward and "
        "backward pass make together?",
        given=dict(L=L),
        answer=2 * L,
        unit="calls",
        traps={"serial blocks": 4 * L, "forward pass alone": L},
        hints=("How many results does a block sum up over ranks? Then both directions.", "2 · L"),
        why="Attention and network start from one norm of the same input and are added, so one sum over ranks serves "
        "both. Serial blocks need one behind each.",
    )


@all_reduces_of_parallel_blocks.second
def _(L):
    calls = 0
    for _direction in ("forward", "backward"):
        for _block in range(L):
            parts = {"attention": "sum", "network": "sum"}
            calls += len(set(parts.values()))
    return calls


@question(topic="architecture.parallel_block", level=2, source="GPT-J; PaLM, section 2", readme="dl_010/3")
def serial_and_parallel(draw):
    x, a, m = draw.between(2, 9), draw.between(2, 5), draw.between(6, 9)
    middle = x + a * (x + 1)
    serial, parallel = middle + m * (middle + 1), x + a * (x + 1) + m * (x + 1)
    return Predict(
        ask="Attention and network, one number each; norm adds 1. What is printed?",
        code=f"""
norm = lambda x: x + 1
attention = lambda x: {a} * x
network = lambda x: {m} * x
x = {x}
h = x + attention(norm(x))
print(h + network(norm(h)))
print(x + attention(norm(x)) + network(norm(x)))
""",
        answer=f"{serial}\n{parallel}",
        traps={
            "the two swapped": f"{parallel}\n{serial}",
            "two skips": f"{serial}\n{2 * x + a * (x + 1) + m * (x + 1)}",
            "no difference": f"{parallel}\n{parallel}",
        },
        hints=(
            "In the last line the network does not see what attention made.",
            "h + m·(h + 1), then x + (a + m)·(x + 1)",
        ),
        why="In a parallel block both read the same norm of x, so their input matrices can be one product. Results "
        "differ from the serial block's, and so does the model that is trained.",
    )


@question(topic="architecture.deepnorm", level=2, source="Wang 2022, DeepNet, figure 2")
def alpha_of_a_decoder(draw):
    M = draw(6, 12, 18, 24, 32, 48, 64, 100, 200, 500)
    return Number(
        ask=f"DeepNorm, a decoder alone of {M} layers: norm(α · x + f(x)). Which α?",
        given=dict(M=M),
        answer=(2 * M) ** 0.25,
        traps={
            "of a decoder behind an encoder": (3 * M) ** 0.25,
            "that is beta": (8 * M) ** -0.25,
            "square root": sqrt(2 * M),
        },
        hints=("It grows with the fourth root of the number of sub-layers.", "(2 · M)^(1/4)"),
        why="A larger skip makes each update matter less, so the change of the model in a step stays bounded at any "
        "depth.",
    )


@alpha_of_a_decoder.second
def _(M):
    sublayers = len([(layer, part) for layer in range(M) for part in ("attention", "network")])
    return sqrt(sqrt(sublayers))


@question(topic="architecture.deepnorm", level=2, source="Wang 2022, DeepNet, figure 2")
def beta_of_a_decoder(draw):
    M, n = draw(6, 12, 18, 24, 32, 48, 64, 100, 200, 500), draw(512, 1024, 2048)
    return Number(
        ask=f"DeepNorm, a decoder alone of {M} layers. Xavier's standard deviation of its {n} x {n} value matrices is "
        "multiplied by β. Which standard deviation do they get?",
        given=dict(M=M, n=n),
        answer=(8 * M) ** -0.25 * sqrt(2 / (n + n)),
        traps={
            "multiplied by alpha": (2 * M) ** 0.25 * sqrt(1 / n),
            "Xavier alone": sqrt(1 / n),
            "square root": (8 * M) ** -0.5 * sqrt(1 / n),
        },
        hints=("β = (8M)^(-1/4); Xavier's variance is 2 over fan-in plus fan-out.", "(8·M)^(-1/4) · √(2 / (n + n))"),
        why="β shrinks what a branch adds at the start, α strengthens the skip: both bound the model's change by a "
        "step.",
    )


@beta_of_a_decoder.second
def _(M, n):
    variance = 1 / n
    return sqrt(variance) / sqrt(sqrt(sum(8 for _layer in range(M))))


@question(topic="architecture.deepnorm", level=3, source="Wang 2022, DeepNet, figure 2")
def matrix_without_beta(draw):
    right = draw("q_proj", "k_proj")
    others = draw.sample(["v_proj", "out_proj", "the feed-forward up", "the feed-forward down"], 3)
    return Choice(
        ask="DeepNorm multiplies the initial values of most matrices of a block by β. Which of these keeps plain "
        "Xavier?",
        given=dict(options=[right, *others]),
        answer=right,
        traps=dict(zip(("scales the branch", "scales it as well", "part of the sum"), others, strict=True)),
        hints=("Twice as large a matrix: does what the branch adds grow?", "a softmax bounds what its scores do"),
        why="Queries and keys only set the softmax's weights, which sum to 1 whatever their size. The others scale "
        "what is added to the stream.",
    )


@matrix_without_beta.second
def _(options):
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4))
    plain = {name: rng.normal(size=(4, 4)) for name in ("q_proj", "k_proj", "v_proj", "out_proj", "up", "down")}

    def added(weights):
        scores = np.exp(x @ weights["q_proj"] @ (x @ weights["k_proj"]).T)
        heads = scores / scores.sum(1, keepdims=True) @ x @ weights["v_proj"] @ weights["out_proj"]
        return np.abs(heads).max(), np.abs(np.maximum(x @ weights["up"], 0) @ weights["down"]).max()

    def grows(name):
        larger = added(plain | {name: 10 * plain[name]})
        return max(after / before for before, after in zip(added(plain), larger, strict=True)) > 5

    (right,) = [one for one in options if not grows(one.split()[-1])]
    return right
