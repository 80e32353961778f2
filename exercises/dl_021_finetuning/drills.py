"""Questions on fine-tuning whose numbers change: `grader drill --topic transfer.lora`."""

from math import exp, sqrt

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="transfer.objectives", level=1, source="Devlin 2019, section 3.1", readme="dl_021/1")
def tokens_that_are_masked(draw):
    n, share = draw(512, 1000, 2000, 4096, 10000, 32768), draw(15, 20, 30, 40)
    return Number(
        ask=f"Masked language modelling as in BERT, but {share} % of the tokens are chosen. Of {n} tokens, how many "
        "become the mask token on average?",
        given=dict(n=n, share=share),
        answer=n * share / 100 * 0.8,
        unit="tokens",
        traps={
            "all chosen ones": n * share / 100,
            "random ones": n * share / 1000,
            "all tokens chosen": n * 0.8,
        },
        hints=("Eight of ten chosen tokens are masked; the others?", "n · share/100 · 0.8"),
        why="A tenth of the chosen becomes random and a tenth stays, all with a label. So the model cannot know which "
        "tokens will be asked for, and represents each.",
    )


@tokens_that_are_masked.second
def _(n, share):
    chosen = n * share / 100
    return chosen - sum(chosen / 10 for _fate in ("random", "as it was"))


@question(topic="transfer.objectives", level=1, source="Devlin 2019, section 3.1", readme="dl_021/1")
def label_of_a_token(draw):
    fate, word = draw("masked", "random", "kept", "not chosen", "not chosen"), draw("cat", "blue", "seven")
    told = {
        "masked": "is chosen, and becomes the mask token",
        "random": "is chosen, and becomes the random token 'of'",
        "kept": "is chosen, and stays as it is",
        "not chosen": "is not chosen",
    }[fate]
    own, none, seen = "the token that stands in the text", "none: it has no loss", "the token that the input shows"
    return Choice(
        ask=f"Masked language modelling. The token '{word}' {told}. What is its label?",
        given=dict(fate=fate),
        answer=none if fate == "not chosen" else own,
        traps={
            "the choice decides": own if fate == "not chosen" else none,
            ("a random one in its place" if fate == "kept" else "labels follow the input"): (
                "a random token" if fate == "kept" else seen
            ),
        },
        hints=("Labels follow the choice, not the look.", "chosen: its own id; else no loss"),
        why="Whoever is chosen is asked for, however it looks. With labels only where the input changed, nothing "
        "would ask for words that are right.",
    )


@label_of_a_token.second
def _(fate):
    inputs, labels = [7], [-100]
    if fate != "not chosen":
        labels[0] = inputs[0]
        inputs[0] = {"masked": 0, "random": 3, "kept": 7}[fate]
    return "none: it has no loss" if labels[0] == -100 else "the token that stands in the text"


@question(topic="transfer.objectives", level=2, source="Raffel 2020, T5, section 3.1.4", readme="dl_021/2")
def inputs_of_t5(draw):
    n = 20 * draw.between(10, 60)
    noise = n * 3 // 20
    spans = n // 20
    return Number(
        ask=f"T5 cuts 15 % of {n} tokens out, in spans of 3 on average, and puts one sentinel in the place of each. "
        "How many tokens does the encoder's input have, the end token among them?",
        given=dict(n=n),
        answer=n * 17 // 20 + n // 20 + 1,
        unit="tokens",
        traps={"sentinels forgotten": n - noise + 1, "one for each token": n + 1, "the targets": noise + spans + 1},
        hints=("Kept tokens, a sentinel for each span, the end token.", "n - 0.15 · n + 0.05 · n + 1"),
        why="The decoder writes only what was cut out, so a step is cheaper than to reproduce the whole text.",
    )


@inputs_of_t5.second
def _(n):
    text, left = [], n
    while left > 0:  # 17 kept tokens, then a span of 3
        text += ["kept"] * 17 + ["sentinel"]
        left -= 20
    return len([*text, "end"])


@question(topic="transfer.objectives", level=1, source="Raffel 2020, T5, figure 2", readme="dl_021/2")
def target_of_t5(draw):
    tokens = "abcdefghij"
    first = draw.between(1, 3)
    second = first + draw.between(3, 4)
    a, b = (first, first + draw(1, 2)), (second, second + draw(1, 2))
    cut = [tokens[one[0] : one[1]] for one in (a, b)]
    kept = [tokens[: a[0]], tokens[a[1] : b[0]], tokens[b[1] :]]

    def line(parts):
        return " ".join(" ".join(part) if part[0] != "S" else part for part in parts if part)

    return Predict(
        ask="What does T5's decoder have to write?",
        code=f"""
tokens, target = "{tokens}", []
for i, (a, b) in enumerate({[a, b]}):
    target += [f"S{{i}}", *tokens[a:b]]
print(*target, "S2")
""",
        answer=line(["S0", cut[0], "S1", cut[1], "S2"]),
        traps={
            "the input": line([kept[0], "S0", kept[1], "S1", kept[2]]),
            "no sentinel at the end": line(["S0", cut[0], "S1", cut[1]]),
            "sentinels behind the spans": line([cut[0], "S0", cut[1], "S1", "S2"]),
        },
        hints=("Each span stands behind the sentinel that marks its place.", "S0, first span, S1, second span, S2"),
        why="The target holds only what was cut out, so the decoder runs over a fifth of the text. The last sentinel "
        "says that nothing follows.",
    )


@question(topic="transfer.freezing", level=2, source="Howard 2018, section 3.3", readme="dl_021/4")
def work_of_the_last_layers(draw):
    L, k = draw(12, 18, 24, 32, 48), draw(1, 2, 3, 4, 6)
    return Number(
        ask=f"{L} equal layers; only the last {k} are trained. A backward pass of a layer takes twice its forward "
        "pass. How many percent of the work of training all of them is a step?",
        given=dict(L=L, k=k),
        answer=100 * (L + 2 * k) / (3 * L),
        unit="%",
        traps={"the share of layers": 100 * k / L, "backward alone": 200 * k / (3 * L), "nothing saved": 100.0},
        hints=("All layers go forward. Through how many must gradients pass?", "100 · (L + 2 · k) / (3 · L)"),
        why="The forward pass needs all layers, and the backward pass ends at the last one that is trained. So at "
        "most two thirds of the time are saved.",
    )


@work_of_the_last_layers.second
def _(L, k):
    work = [1 + (2 if layer >= L - k else 0) for layer in range(L)]
    return 100 * sum(work) / sum(3 for _layer in range(L))


@question(topic="transfer.freezing", level=2, source="torch.optim.SGD", readme="dl_021/3")
def momentum_goes_on(draw):
    w, g, m = draw.between(5, 20), draw(2, 4, 8), draw(0.5, 0.25)
    velocity, at, path = 0.0, float(w), []
    for one in (g, 0, 0):
        velocity = m * velocity + one
        at -= velocity
        path.append(at)
    return Predict(
        ask="A weight is frozen behind the first step, and its gradient set to 0 instead of None. What is printed?",
        code=f"""
w, v = {w}, 0
for g in ({g}, 0, 0):
    v = {m} * v + g
    w = w - v
    print(w)
""",
        answer="\n".join(f"{one:g}" for one in path),
        traps={
            "it stands still": "\n".join([f"{path[0]:g}"] * 3),
            "momentum not used up": "\n".join(f"{w - g * i:g}" for i in (1, 2, 3)),
        },
        hints=("What is left in v when g is 0?", "v: g, m · g, m^2 · g"),
        why="An optimizer skips a parameter whose gradient is None, and only then. With a gradient of 0 momentum goes "
        "on, and AdamW decays the weight as well.",
    )


@question(topic="transfer.freezing", level=2, source="torch.nn.BatchNorm1d; torch.optim.AdamW", readme="dl_021/3")
def what_still_changes(draw):
    what, grad, mode = draw(
        ("running mean", "None", "training"), ("running mean", "None", "evaluation"),
        ("weight", "None", "training"), ("weight", "0", "training"), ("weight", "0", "evaluation"),
    )  # fmt: skip
    stays, shrinks, moves = "it stays as it is", "it shrinks a little", "it moves towards this batch"
    if what == "running mean":
        right = moves if mode == "training" else stays
        told = f"the running mean of a BatchNorm that is in {mode} mode"
    else:
        right = shrinks if grad == "0" else stays
        told = f"a weight of a layer in {mode} mode, whose grad is {grad}"
    return Choice(
        ask=f"requires_grad is False everywhere in a layer, but AdamW, with weight decay and no steps before, still "
        f"holds its parameters. A forward pass and a step: what happens to {told}?",
        given=dict(what=what, grad=grad, mode=mode),
        answer=right,
        traps={
            name: one
            for name, one in {
                "frozen means frozen": stays,
                "decayed without a gradient": shrinks,
                "a forward pass changes weights": moves,
            }.items()
            if one != right
        },
        hints=(
            "Buffers move in forward passes, weights in steps. Who skips what?",
            "training mode: buffers move; grad not None: AdamW decays",
        ),
        why="requires_grad stops new gradients and no more. Set gradients to None, and put frozen modules into eval, "
        "again behind each model.train().",
    )


@what_still_changes.second
def _(what, grad, mode):
    state = {"weight": 1.0, "running mean": 1.0}
    if mode == "training":
        state["running mean"] += 0.1 * (5.0 - state["running mean"])
    if grad != "None":
        state["weight"] *= 1 - 0.01 * 0.1
        state["weight"] -= 0.01 * float(grad)
    change = state[what] - 1
    return "it stays as it is" if not change else "it shrinks a little" if change < 0 else "it moves towards this batch"


@question(topic="transfer.freezing", level=1, source="Howard 2018, ULMFiT, section 3.3", readme="dl_021/5")
def layers_that_are_awake(draw):
    L, every, epoch = draw(12, 16, 24), draw(1, 2, 3), draw.between(2, 20)
    return Number(
        ask=f"Gradual unfreezing of {L} layers: the last one at first, one more from the top every {every} "
        f"epoch{'s' if every > 1 else ''}. How many are trained in epoch {epoch}, counted from 0?",
        given=dict(L=L, every=every, epoch=epoch),
        answer=min(epoch // every + 1, L),
        unit="layers",
        traps={
            "the first forgotten": epoch // every,
            "one each epoch": epoch + 1,
            "those that sleep": L - epoch // every - 1,
        },
        hints=("One layer at the start; how many have joined since?", "⌊epoch / every⌋ + 1, at most L"),
        why="The new head is random at first and sends down gradients that mean nothing. Layers below wake up when "
        "the ones above have settled.",
    )


@layers_that_are_awake.second
def _(L, every, epoch):
    sleeping, awake = list(range(L)), []
    for now in range(epoch + 1):
        if now % every == 0 and sleeping:
            awake.append(sleeping.pop())
    return len(awake)


@question(topic="transfer.discriminative_rates", level=1, source="Howard 2018, ULMFiT, section 3.2", readme="dl_021/5")
def rate_below_the_top(draw):
    e, k = draw(1e-3, 2e-3, 5e-3, 1e-2), draw(2, 3, 4)
    return Number(
        ask=f"ULMFiT: the last layer learns at {e:g}. At which rate does the layer {k} places nearer to the input "
        "learn, with the usual factor of 2.6?",
        given=dict(e=e, k=k),
        answer=e / 2.6**k,
        traps={"rates grow": e * 2.6**k, "linear": e / (2.6 * k), "one place too many": e / 2.6 ** (k + 1)},
        hints=("Each step towards the input divides once more.", "e / 2.6^k"),
        why="Early layers hold what is general and should hardly move; the last ones and the head belong to the task.",
    )


@rate_below_the_top.second
def _(e, k):
    rate = e
    for _layer in range(k):
        rate *= 5 / 13
    return rate


@question(topic="transfer.discriminative_rates", level=1, source="Howard 2018, ULMFiT, section 3.2", readme="dl_021/5")
def rates_from_the_input(draw):
    rate, depth = draw(8.0, 16.0, 32.0, 64.0), draw(3, 4, 5)
    rates = [rate / 2**i for i in range(depth)]
    return Predict(
        ask="Rates of the layers from the input to the output, with a factor of 2. What is printed?",
        code=f"""
rate, depth = {rate}, {depth}
print([rate / 2 ** (depth - 1 - i) for i in range(depth)])
""",
        answer=str(rates[::-1]),
        traps={
            "from the output": str(rates),
            "the last divided too": str([one / 2 for one in rates[::-1]]),
        },
        hints=("i = 0 is the input; which layer is divided by 1?", "rate / 2^(depth-1), ..., rate / 2, rate"),
        why="The last layer has the full rate. One rate for all, large enough for a new head, would wipe out what "
        "early layers know.",
    )


@question(topic="transfer.discriminative_rates", level=2, source="Howard 2018, ULMFiT, equation 3")
def slanted_triangle(draw):
    steps, rate = draw(100, 200, 400, 1000), draw(0.001, 0.004, 0.01)
    step = steps * draw(2, 3, 4, 5, 6, 7, 8) // 10
    f = (steps - step) / (steps - steps // 10)
    return Number(
        ask=f"A slanted triangle of {steps} steps climbs to {rate:g} at a tenth of them and falls in a straight line. "
        f"It begins and ends at 1/32 of {rate:g}. What is the rate at step {step}?",
        given=dict(steps=steps, rate=rate, step=step),
        answer=rate * (1 + (steps - step) * 31 / (0.9 * steps)) / 32,
        traps={"it ends at 0": rate * f, "from the start": rate * (1 + (1 - step / steps) * 31) / 32},
        within=0.005,
        hints=(
            "Which share f of the way down is left? From there a line between both rates.",
            "rate · (1 + f · 31) / 32 with f = (steps - step) / (0.9 · steps)",
        ),
        why="A short climb lets the new head settle before all else moves; a long way down refines. At both ends a "
        "step still has some effect.",
    )


@slanted_triangle.second
def _(steps, rate, step):
    import numpy as np

    return float(np.interp(step, [0, steps / 10, steps], [rate / 32, rate, rate / 32]))


@question(topic="transfer.lora", level=1, source="Hu 2022, LoRA, section 4.2", readme="dl_021/6")
def parameters_of_lora(draw):
    L, d, r, m = draw(24, 32, 80, 96), draw(2048, 4096, 8192, 12288), draw(1, 4, 8, 16), draw(1, 2, 4)
    return Number(
        ask=f"LoRA of rank {r} on {m} square matri{'ces' if m > 1 else 'x'} of width {d} in each of {L} layers. How "
        "many parameters are trained?",
        given=dict(L=L, d=d, r=r, m=m),
        answer=2 * d * r * m * L,
        unit="parameters",
        traps={"A alone": d * r * m * L, "the whole matrices": d * d * m * L, "one layer": 2 * d * r * m},
        hints=("Each matrix has A, r by d, and B, d by r.", "2 · d · r · m · L"),
        why="The update B·A has low rank and is never stored as a matrix of its own. Optimizer states shrink as the "
        "trained parameters do.",
    )


@parameters_of_lora.second
def _(L, d, r, m):
    shapes = [(r, d), (d, r)] * m
    return sum(rows * columns for _layer in range(L) for rows, columns in shapes)


@question(topic="transfer.lora", level=2, source="Kalajdzievski 2023, section 3", readme="dl_021/6")
def scale_by_the_root(draw):
    alpha, r = draw(8, 16, 32, 64), draw(2, 4, 8, 32, 128)
    return Number(
        ask=f"A rank-stabilised LoRA with alpha {alpha} and rank {r}. By what is the update B·A multiplied?",
        given=dict(alpha=alpha, r=r),
        answer=alpha / r**0.5,
        traps={"the plain scale": alpha / r, "rank forgotten": float(alpha), "root of both": sqrt(alpha / r)},
        hints=("Sums of r terms of random sign grow like a root.", "alpha / √r"),
        why="Divided by r, a large rank learns too little; divided by its root, updates keep their size when the rank "
        "is changed.",
    )


@scale_by_the_root.second
def _(alpha, r):
    import numpy as np

    return float(alpha / np.linalg.norm(np.ones(r)))


@question(topic="transfer.lora", level=1, source="Hu 2022, LoRA, section 4.1", readme="dl_021/6")
def who_gets_a_gradient(draw):
    a, b = draw(("random", "zero"), ("zero", "random"), ("zero", "zero"), ("random", "random"))
    r = draw(4, 8, 16)
    named = {("random", "zero"): "B alone", ("zero", "random"): "A alone", ("zero", "zero"): "neither"}
    right = named.get((a, b), "both")
    wrong = [one for one in ("B alone", "A alone", "neither", "both") if one != right]
    return Choice(
        ask=f"A LoRA of rank {r} whose A is {a} and whose B is {b} at the start. Which of them gets a gradient other "
        "than 0 in the first step?",
        given=dict(a=a, b=b),
        answer=right,
        traps=dict(zip(("matrices exchanged", "start misread", "product misread"), wrong, strict=True)),
        hints=("The gradient of each contains the other.", "dB from A·x, dA through B"),
        why="With B zero the model begins as the base, and a random A lets B learn at once. Were both zero, neither "
        "ever would learn.",
    )


@who_gets_a_gradient.second
def _(a, b):
    import numpy as np

    A = np.full((2, 3), 0.5 * (a == "random"))
    B = np.full((3, 2), 0.5 * (b == "random"))
    x, grad = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0])
    for_b, for_a = np.outer(grad, A @ x).any(), np.outer(B.T @ grad, x).any()
    return {(True, True): "both", (True, False): "B alone", (False, True): "A alone"}.get((for_b, for_a), "neither")


@question(topic="transfer.lora", level=2, source="Hu 2022, LoRA, section 4.1", readme="dl_021/6")
def work_of_the_branch(draw):
    b, d, o, r = draw(16, 64, 512), draw(1024, 4096, 8192), draw(1024, 4096, 11008), draw(4, 8, 16)
    return Number(
        ask=f"{b} tokens pass a layer from {d} to {o} with an unmerged LoRA of rank {r}. How many FLOPs does the "
        "update add to the forward pass, with the cheapest order of products? A multiplication and an addition are "
        "two.",
        given=dict(b=b, d=d, o=o, r=r),
        answer=2 * b * r * (d + o),
        unit="FLOP",
        traps={
            "B·A is made": 2 * o * r * d + 2 * b * d * o,
            "A alone": 2 * b * r * d,
            "an addition forgotten": b * r * (d + o),
        },
        hints=("First A with x, then B with the result.", "2 · b · r · (d + o)"),
        why="B·(A·x) passes through r numbers. To make B·A first would give a dense matrix, with a gradient of its "
        "own.",
    )


@work_of_the_branch.second
def _(b, d, o, r):
    narrow = [2 * d for _token in range(b) for _rank in range(r)]
    wide = [2 * r * o for _token in range(b)]
    return sum(narrow) + sum(wide)


@question(topic="transfer.lora", level=1, source="Liu 2024, DoRA, section 4", readme="dl_021/7")
def parameters_of_dora(draw):
    d, o, r = draw(1024, 2048, 4096), draw(1024, 4096, 8192, 11008), draw(4, 8, 16, 32)
    return Number(
        ask=f"DoRA of rank {r} on a layer from {d} inputs to {o} outputs, with a length for each output as in PEFT. "
        "How many parameters are trained?",
        given=dict(d=d, o=o, r=r),
        answer=r * (d + o) + o,
        unit="parameters",
        traps={"as LoRA": r * (d + o), "lengths of columns": r * (d + o) + d, "a single length": r * (d + o) + 1},
        hints=("LoRA's two matrices, and a length for each row of the weight.", "r · (d + o) + o"),
        why="DoRA learns the length of each row apart from its direction, which LoRA's matrices turn. Merged, it costs "
        "nothing more.",
    )


@parameters_of_dora.second
def _(d, o, r):
    import numpy as np

    return sum(np.empty(shape, bool).nbytes for shape in ((r, d), (o, r), (o, 1)))


@question(topic="transfer.lora", level=2, source="Liu 2024, DoRA, section 4", readme="dl_021/7")
def row_of_dora(draw):
    (x, y, norm), k = draw((3, 4, 5), (6, 8, 10), (8, 6, 10), (5, 12, 13)), draw(2, 3, 4)
    return Predict(
        ask="A row of W + scale·B·A, its trained magnitude, merged by DoRA. What is printed?",
        code=f"""
row, magnitude = [{x}, {y}], {norm * k}
length = (row[0] ** 2 + row[1] ** 2) ** 0.5
print([magnitude / length * v for v in row])
""",
        answer=str([float(k * x), float(k * y)]),
        traps={
            "the update as LoRA has it": str([float(x), float(y)]),
            "not divided by the length": str([float(norm * k * x), float(norm * k * y)]),
            "of length 1": str([x / norm, y / norm]),
        },
        hints=("The row is brought to length 1, then to its magnitude.", "magnitude / length · row"),
        why="The direction comes from the updated row, the length from the magnitude alone. So a row can turn without "
        "getting longer.",
    )


@question(topic="transfer.adapters", level=1, source="Houlsby 2019, section 2.1", readme="dl_021/8")
def parameters_of_adapters(draw):
    L, d, m = draw(12, 24, 32), draw(768, 1024, 4096), draw(8, 16, 48, 64)
    return Number(
        ask=f"{L} layers of width {d}, in each two adapters with a bottleneck of {m}, biases in both maps. How many "
        "parameters are trained?",
        given=dict(L=L, d=d, m=m),
        answer=2 * L * (2 * d * m + m + d),
        unit="parameters",
        traps={
            "one a layer": L * (2 * d * m + m + d),
            "no biases": 4 * L * d * m,
            "one map": 2 * L * (d * m + m),
        },
        hints=("Down to m, up to d, each with a bias.", "2 · L · (2 · d · m + m + d)"),
        why="The bottleneck decides the size. A nonlinearity stands between the maps, so the adapter cannot be merged "
        "into a layer.",
    )


@parameters_of_adapters.second
def _(L, d, m):
    one = [(m, d), (m, 1), (d, m), (d, 1)]
    return sum(rows * columns for _adapter in range(L + L) for rows, columns in one)


@question(topic="transfer.adapters", level=1, source="He 2022, section 3", readme="dl_021/8")
def what_serving_costs(draw):
    method, r = draw("merged", "unmerged", "sequential", "prefix"), draw(8, 16, 64)
    named = {
        "merged": f"a merged LoRA of rank {r}",
        "unmerged": f"a LoRA of rank {r} that is not merged",
        "sequential": f"an adapter with a bottleneck of {r} behind each layer",
        "prefix": f"a prefix of {r} keys and values in each layer",
    }[method]
    costs = {
        "merged": "nothing",
        "unmerged": "small products that can run beside the layer's own",
        "sequential": "small products that have to wait for the layer",
        "prefix": "longer attention for each token",
    }
    wrong = [costs[one] for one in costs if one != method]
    return Choice(
        ask=f"What does {named} add to each forward pass at inference?",
        given=dict(method=method),
        answer=costs[method],
        traps=dict(zip(("taken for another", "place misread", "merging misread"), wrong, strict=True)),
        hints=(
            "Which input does it read: the layer's, its output, or the keys?",
            "W + BA; Wx + BAx; up(relu(down(y))); p + t keys",
        ),
        why="Only what is linear and reads the layer's own input can be merged. What reads the output comes later, "
        "which is felt at small batches.",
    )


@what_serving_costs.second
def _(method):
    reads, linear = {
        "merged": ("x", True),
        "unmerged": ("x", True),
        "sequential": ("y", False),
        "prefix": ("keys", False),
    }[method]
    if reads == "keys":
        return "longer attention for each token"
    if reads == "y":
        return "small products that have to wait for the layer"
    assert linear
    return "nothing" if method == "merged" else "small products that can run beside the layer's own"


@question(topic="transfer.prompt_tuning", level=1, source="Li 2021, section 4.2", readme="dl_021/9")
def numbers_of_a_prefix(draw):
    L, d, p = draw(24, 32, 40, 48), draw(1024, 4096, 5120, 8192), draw(5, 10, 20, 50, 100)
    return Number(
        ask=f"A prefix of {p} places in a model of {L} layers and width {d}. How many numbers are kept when it is "
        "trained?",
        given=dict(L=L, d=d, p=p),
        answer=2 * L * p * d,
        unit="numbers",
        traps={"a soft prompt": p * d, "keys alone": L * p * d, "in one layer": 2 * p * d},
        hints=("Keys and values, in every layer.", "2 · L · p · d"),
        why="A prompt has free numbers in the first layer only, and the model computes the rest. A prefix has its own "
        "keys and values everywhere.",
    )


@numbers_of_a_prefix.second
def _(L, d, p):
    import numpy as np

    a_layer = np.empty((2, p, d), bool).nbytes
    return sum(a_layer for _layer in range(L))


@question(topic="transfer.prompt_tuning", level=2, source="He 2022, section 3.1", readme="dl_021/9")
def share_of_the_prefix(draw):
    p, t, a = draw(2, 5, 10, 20), draw(8, 16, 32, 64), draw(-1.0, 0.5, 1.0, 2.0)
    return Number(
        ask=f"A query's scores, already scaled, are {a:g} on each of {p} prefix places and 0 on each of {t} tokens. "
        "How many percent of what attention says come from the prefix?",
        given=dict(p=p, t=t, a=a),
        answer=100 * p * exp(a) / (p * exp(a) + t),
        unit="%",
        traps={
            "the share of places": 100 * p / (p + t),
            "a softmax of its own": 100 * exp(a) / (exp(a) + 1),
            "the tokens' share": 100 * t / (p * exp(a) + t),
        },
        hints=("One softmax goes over prefix and tokens.", "100 · p · e^a / (p · e^a + t)"),
        why="The prefix adds a vector and takes as much away from what the tokens say. It cannot change how the "
        "tokens weigh against each other.",
    )


@share_of_the_prefix.second
def _(p, t, a):
    import numpy as np

    weights = np.exp(np.array([a] * p + [0.0] * t))
    return float(100 * (weights / weights.sum())[:p].sum())


@question(topic="transfer.prompt_tuning", level=2, source="He 2022, section 3.1", readme="dl_021/9")
def weights_beside_a_prefix(draw):
    a, b = draw.sample([1, 2, 3, 4, 5, 6], 2)
    p = draw(16, 32) - a - b
    total = p + a + b
    return Predict(
        ask="exp of the scores of two tokens and of a prefix. What is printed?",
        code=f"""
first, second, prefix = {a}, {b}, {p}
total = first + second + prefix
print(first / total, second / total, round(first / second, 3))
""",
        answer=f"{a / total} {b / total} {round(a / b, 3)}",
        traps={
            "as without the prefix": f"{round(a / (a + b), 3)} {round(b / (a + b), 3)} {round(a / b, 3)}",
            "the tokens exchanged": f"{b / total} {a / total} {round(b / a, 3)}",
        },
        hints=("One sum for all three; what happens to the ratio of the tokens?", "a / (a+b+p), b / (a+b+p), a / b"),
        why="Both tokens are turned down by the same factor, so their ratio stays. That is why a prefix can do less "
        "than an update of weights.",
    )


@question(topic="transfer.forgetting", level=1, source="Kirkpatrick 2017, equation 3", readme="dl_021/10")
def penalty_of_ewc(draw):
    F0, F1 = draw.sample([0.5, 2.0, 4.0, 10.0], 2)
    d0, d1 = draw.sample([0.2, 0.5, 1.0, 1.5, 2.0], 2)
    strength = draw(3.0, 4.0, 5.0)
    return Number(
        ask=f"EWC with strength {strength:g} in λ/2 · Σ F · Δ². Two weights have moved by {d0:g} and {d1:g}; their "
        f"Fisher information is {F0:g} and {F1:g}. The penalty?",
        given=dict(F0=F0, F1=F1, d0=d0, d1=d1, strength=strength),
        answer=strength * (F0 * d0**2 + F1 * d1**2) / 2,
        traps={
            "the half forgotten": strength * (F0 * d0**2 + F1 * d1**2),
            "L2-SP: all alike": strength / 2 * (d0**2 + d1**2),
            "not squared": strength / 2 * (F0 * d0 + F1 * d1),
        },
        hints=("Each move d squared, weighed by its information F.", "strength / 2 · (F0 · d0^2 + F1 · d1^2)"),
        why="Weights that the old task does not need may move freely; L2-SP would hold them all alike. It is a local "
        "picture: far away the curvature says too little.",
    )


@penalty_of_ewc.second
def _(F0, F1, d0, d1, strength):
    import numpy as np

    move = np.array([d0, d1])
    return float(move @ np.diag([F0, F1]) @ move * strength * 0.5)


@question(topic="transfer.forgetting", level=3, source="Kunstner 2019, section 2", readme="dl_021/11")
def true_fisher(draw):
    p, x = draw(0.6, 0.7, 0.8, 0.9, 0.95), draw(2.0, 3.0, 4.0, 5.0)
    return Number(
        ask=f"Logistic regression with one weight. On its only example, with input {x:g} and label 1, it says {p}. "
        "The Fisher information of the weight, labels drawn from the model?",
        given=dict(p=p, x=x),
        answer=x**2 * p * (1 - p),
        traps={
            "with the label of the data": x**2 * (1 - p) ** 2,
            "the input not squared": x * p * (1 - p),
            "the square of the mean gradient": 0.0,
        },
        within=0.005,
        hints=(
            "Square of the gradient (label - p) · x, averaged over labels 1 and 0.",
            "x^2 · p · (1 - p)",
        ),
        why="With the label of the data, the gradient vanishes where the model fits, and the penalty with it, just "
        "where the weight is needed. The mean gradient under the model is 0 anyway.",
    )


@true_fisher.second
def _(p, x):
    slope = {1: (1 - p) * x, 0: (0 - p) * x}
    return p * slope[1] ** 2 + (1 - p) * slope[0] ** 2


@question(topic="transfer.forgetting", level=2, source="Vitter 1985, algorithm R", readme="dl_021/10")
def chance_to_be_remembered(draw):
    capacity, n, i = draw(100, 200, 500, 1000), draw(4000, 10000, 50000), draw(10, 50, 1500, 3000)
    return Number(
        ask=f"A replay memory holds {capacity} examples by reservoir sampling. {n} have come. With which chance, in "
        f"percent, is number {i} still held?",
        given=dict(capacity=capacity, n=n, i=i),
        answer=100 * capacity / n,
        unit="%",
        traps={
            "its chance on arrival": 100 * min(1.0, capacity / i),
            "early ones are lost": 100 * capacity / n * i / n,
            "the newest stay": 100.0 if n - i < capacity else 0.0,
        },
        hints=("Every example that ever came has the same chance.", "100 · capacity / n"),
        why="A newcomer replaces a random one with a chance that falls as more have come. In the end early and late "
        "ones are held equally often.",
    )


@chance_to_be_remembered.second
def _(capacity, n, i):
    chance = min(1.0, capacity / i)
    for later in range(max(i, capacity) + 1, n + 1, 1):
        chance *= 1 - 1 / later
    return 100 * chance


@question(topic="transfer.forgetting", level=2, source="Vitter 1985, algorithm R", readme="dl_021/10")
def line_of_the_reservoir(draw):
    names = draw.sample("abcdefghkmnprst", 5)
    places = [0, 1, 2, draw(0, 1), draw(2, 3, 4)]  # the fourth is taken in, the third and fifth are not
    chances = [round((place + 0.5) / seen, 3) for seen, place in enumerate(places, 1)]
    held = names[:2]
    held[places[3]] = names[3]
    wrong, mended = draw(
        ("    place = int(chance * 2)", "    place = int(chance * seen)"),
        ("    if place <= 2:", "    if place < 2:"),
        ("    if len(memory) <= 2:", "    if len(memory) < 2:"),
    )
    code = f"""
memory, seen = [], 0
for item, chance in zip("{"".join(names)}", {chances}):
    seen += 1
    if len(memory) < 2:
        memory.append(item)
        continue
    place = int(chance * seen)
    if place < 2:
        memory[place] = item
print(memory)
"""
    return Bug(
        ask="A replay memory for two items; all that ever came should be held with the same chance. `chance` is "
        "uniform from 0 to 1. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(held),
        traps={"counted before it is used": "    seen += 1", "the place is random": "        memory[place] = item"},
        hints=(
            "With which chance should the newest of `seen` items be taken in?",
            "place = ⌊chance · seen⌋, in if below 2",
        ),
        why="The newest is in with capacity over seen, and each of the old ones is equally likely to go. If every "
        "newcomer came in, early examples would soon be lost.",
    )


@question(topic="transfer.multitask", level=2, source="Raffel 2020, T5, section 3.5.2", readme="dl_021/12")
def share_of_a_small_task(draw):
    a, b, K = draw(10_000, 20_000, 40_000, 90_000), draw(1_000_000, 4_000_000), draw(250_000, 500_000)
    return Number(
        ask=f"Two tasks of {a:,} and {b:,} examples, limit {K:,}, temperature 2. How many percent of the examples "
        "come from the first?",
        given=dict(a=a, b=b, K=K),
        answer=100 * a**0.5 / (a**0.5 + K**0.5),
        unit="%",
        traps={
            "limit forgotten": 100 * sqrt(a) / (sqrt(a) + sqrt(b)),
            "temperature 1": 100 * a / (a + K),
            "squared, not rooted": 100 * a**2 / (a**2 + K**2),
            "equal shares": 50.0,
        },
        hints=("Sizes are cut at the limit, then raised to 1/T.", "100 · √a / (√a + √K)"),
        why="Proportional mixing drowns the small task, equal mixing repeats it until it is learnt by heart. Limit and "
        "temperature lie in between.",
    )


@share_of_a_small_task.second
def _(a, b, K):
    import numpy as np

    sizes = np.minimum([a, b], K)
    rates = np.exp(np.log(sizes) / 2)
    return float(100 * rates[0] / rates.sum())


@question(topic="transfer.multitask", level=2, source="Yu 2020, PCGrad, algorithm 1", readme="dl_021/12")
def gradients_that_conflict(draw):
    h = draw([2, 0], [0, 4], [1, 1], [2, -2], [-1, 1])
    g = [draw.between(-6, 6), draw.between(-6, 6)]
    dot, size = g[0] * h[0] + g[1] * h[1], h[0] ** 2 + h[1] ** 2

    def shown(share):
        return str([x - share * y for x, y in zip(g, h, strict=True)])

    return Predict(
        ask="PCGrad: what is left of the gradient g of one task beside h of another?",
        code=f"""
g, h = {g}, {h}
dot = sum(x * y for x, y in zip(g, h))
share = min(dot, 0) / sum(y * y for y in h)
print([x - share * y for x, y in zip(g, h)])
""",
        answer=shown(min(dot, 0) / size),
        traps={
            "added up": str([float(x + y) for x, y in zip(g, h, strict=True)]),
            ("projected always" if dot > 0 else "left as it is"): shown(dot / size if dot > 0 else 0.0),
            "not divided by the square": shown(float(dot if dot < 0 else -1)),
        },
        hints=("Only a gradient that goes against h is changed.", "g - min(g · h, 0) / |h|^2 · h"),
        why="What goes against the other task is taken out, what agrees stays. Each task needs a backward pass of its "
        "own, and well chosen weights often do as well.",
    )


@question(topic="transfer.choice", level=2, source="Hu 2022, LoRA, section 4.2", readme="dl_021/4")
def memory_of_a_small_update(draw):
    P, t = draw(7.0, 8.0, 13.0, 34.0, 70.0), draw(0.5, 1.0, 2.0, 4.0)
    return Number(
        ask=f"{P:g} · 10⁹ frozen weights of 2 B, and besides them {t:g} % as many trained ones with 16 B each: weight, "
        "gradient, master copy and moments. How many GB, without activations?",
        given=dict(P=P, t=t),
        answer=P * (2 + 16 * t / 100),
        unit="GB",
        traps={"all trained": 16 * P, "the base forgotten": 16 * P * t / 100, "nothing for the update": 2 * P},
        within=0.005,
        hints=("The base has neither gradients nor moments.", "2 · P + 16 · P · t / 100"),
        why="Gradients and optimizer states exist for trained parameters alone, so nearly all that is left is the "
        "base in half precision. Activations stay as they were.",
    )


@memory_of_a_small_update.second
def _(P, t):
    trained = P * t / 100
    return sum([P, P]) + sum(trained * size for size in (2, 2, 4, 4, 4))


@question(topic="transfer.choice", level=2, source="Hu 2022, LoRA, table 4", readme="dl_021/4")
def fewest_trained(draw):
    L, d = draw(12, 24, 32), draw(768, 1024, 4096)
    r, m, p, q = draw(1, 2, 16), draw(8, 24, 64), draw(3, 10, 100), draw(20, 2000)
    counts = {
        f"LoRA of rank {r} on queries and values": 4 * d * r * L,
        f"two adapters a layer, bottleneck {m}": 2 * L * (2 * d * m + m + d),
        f"a prefix of {p} places": 2 * L * p * d,
        f"a soft prompt of {q} tokens": q * d,
        "a new head for 2 classes": 2 * d + 2,
    }
    names = draw.sample(sorted(counts), 4)
    order = sorted(names, key=lambda name: counts[name])
    return Order(
        ask=f"A model of {L} layers and width {d}. What trains the fewest parameters? Fewest first.",
        given=dict(L=L, d=d, names=sorted(names)),
        answer=order,
        traps={"most first": order[::-1], "two neighbours exchanged": [order[0], order[2], order[1], order[3]]},
        hints=(
            "Which of them are in each layer, and with how many numbers?",
            "4·d·r·L, 2·L·(2·d·m + m + d), 2·L·p·d, q·d",
        ),
        why="A prompt and a head exist once, all else in every layer. With little data one starts with the small "
        "ones; with much, there is room for all weights.",
    )


@fewest_trained.second
def _(L, d, names):
    import re

    def count(name):
        n = int(re.findall(r"\d+", name)[-1])
        if name.startswith("LoRA"):
            return sum(n * d + d * n for _layer in range(L) for _matrix in "qv")
        if "adapters" in name:
            return sum(n * d + n + d * n + d for _layer in range(L) for _place in range(2))
        if "prefix" in name:
            return sum(n * d for _layer in range(L) for _side in "kv")
        return n * d + (n if "head" in name else 0)

    return sorted(names, key=count)
