"""Questions on regularization whose numbers change: `grader drill --topic regularization.mixup`."""

from math import log

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="regularization.drop_path", level=1, source="Huang 2016, section 3", readme="dl_019/2")
def factor_of_a_kept_branch(draw):
    p = draw.between(5, 60)
    return Number(
        ask=f"Stochastic depth drops a branch for {p} % of the examples in training, and does nothing at test time. By "
        "which factor is a kept branch multiplied?",
        given=dict(p=p),
        answer=100 / (100 - p),
        unit="x",
        traps={"scaled at test time": (100 - p) / 100, "over the dropped share": 100 / p, "not scaled": 1.0},
        hints=("The mean over many draws should be the branch itself.", "1 / (1 - p/100)"),
        why="A branch that is there less often has to be larger when it is there, so that the next layer sees the same "
        "mean. Evaluation is then the identity.",
    )


@factor_of_a_kept_branch.second
def _(p):
    kept = [1.0 if example >= p else 0.0 for example in range(100)]
    return len(kept) / sum(kept)


@question(topic="regularization.drop_path", level=1, source="Huang 2016, section 3", readme="dl_019/2")
def coins_of_a_batch(draw):
    coins = draw.shuffled([1, 1, 0, draw(0, 1)])
    x = [[draw.between(1, 6), draw.between(1, 6)] for _ in range(4)]
    kept = [[2.0 * v * c for v in row] for row, c in zip(x, coins, strict=True)]
    return Predict(
        ask="Drop path at a rate of 1/2. Four examples of two numbers; `coins` was drawn. What is printed?",
        code=f"""
import numpy as np
branch = np.array({x})
coins = np.array({coins})
print((branch * coins.reshape(4, 1) / 0.5).tolist())
""",
        answer=str(kept),
        traps={
            "not scaled": str([[v / 2 for v in row] for row in kept]),
            "multiplied with the rate": str([[v / 4 for v in row] for row in kept]),
            "the other coins": str([[2.0 * v * (1 - c) for v in row] for row, c in zip(x, coins, strict=True)]),
        },
        hints=("One coin an example, spread over all that belongs to it.", "row · coin / (1 - 0.5)"),
        why="Dropout would need a coin for each number. Here a whole branch is gone for an example, as if the network "
        "were shallower for it.",
    )


@question(topic="regularization.drop_path_schedule", level=1, source="Huang 2016, section 3")
def branches_on_average(draw):
    L, P = draw(8, 12, 16, 18, 24, 36, 54), draw(10, 20, 30, 40, 50)
    return Number(
        ask=f"{L} residual branches. Their drop rate rises evenly from 0 % at the first to {P} % at the last. How many "
        "branches does an example use on average?",
        given=dict(L=L, P=P),
        answer=L * (1 - P / 200),
        unit="branches",
        traps={"the last rate for all": L * (1 - P / 100), "all of them": float(L), "the dropped ones": L * P / 200},
        hints=("The mean of rates that rise evenly is half of the last.", "L · (1 - P / 200)"),
        why="Expected counts add up, whatever the coins of other branches say. Early layers are dropped less, since "
        "all later ones build on them.",
        within=0.005,
    )


@branches_on_average.second
def _(L, P):
    return sum(1 - P / 100 * layer / (L - 1) for layer in range(L))


@question(topic="regularization.drop_path_schedule", level=1, source="timm, drop path rates")
def rates_of_the_layers(draw):
    L, step = draw(4, 5, 6), draw(2, 3, 4, 5, 6)
    P = step * (L - 1)

    def rates(values):
        return str([round(one, 2) for one in values])

    return Predict(
        ask="Drop rates in percent by the rule of timm. What is printed?",
        code=f"""
L, P = {L}, {P}
print([round(P * layer / (L - 1), 2) for layer in range(L)])
""",
        answer=rates(P * layer / (L - 1) for layer in range(L)),
        traps={
            "the rule of the paper: from P/L": rates(P * (layer + 1) / L for layer in range(L)),
            "the last is missed": rates(P * layer / L for layer in range(L)),
            "from the last layer": rates(P * (L - 1 - layer) / (L - 1) for layer in range(L)),
        },
        hints=("range(L) begins at 0 and ends at L - 1.", "P · 0/(L - 1), P · 1/(L - 1), ..., P"),
        why="timm begins at 0 and ends at P. Huang et al. count layers from 1, so that their first layer is dropped as "
        "well. Both end at P.",
    )


@question(topic="regularization.mixup", level=1, source="Zhang 2018, section 2", readme="dl_019/3")
def loss_of_a_blend(draw):
    lam, a, b = draw(0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9), draw(0.1, 0.3, 0.5, 0.6), draw(0.05, 0.15, 0.2, 0.4)
    return Number(
        ask=f"Mixup with λ = {lam}: an image of class A weighs λ, its partner of class B the rest. The model gives A "
        f"the probability {a} and B {b}. The cross-entropy, in nats?",
        given=dict(lam=lam, a=a, b=b),
        answer=-lam * log(a) - (1 - lam) * log(b),
        traps={
            "probabilities mixed": -log(lam * a + (1 - lam) * b),
            "weights exchanged": -(1 - lam) * log(a) - lam * log(b),
            "the larger label alone": -log(a if lam > 0.5 else b),
        },
        hints=(
            "The label is mixed as the images are; cross-entropy is linear in it.",
            "-lam · ln(a) - (1 - lam) · ln(b)",
        ),
        why="The loss of a mixed label is the mix of both losses. The logarithm of mixed probabilities is something "
        "else, and smaller.",
    )


@loss_of_a_blend.second
def _(lam, a, b):
    import numpy as np

    label, given = np.array([lam, 1 - lam, 0.0]), np.array([a, b, 1 - a - b + 1e-12])
    return float(-(label @ np.log(given)))


@question(topic="regularization.mixup", level=2, source="Zhang 2018, section 2", readme="dl_019/3")
def partners_of_a_batch(draw):
    x = draw.sample(range(0, 60, 4), 3)
    partner = draw([1, 2, 0], [2, 0, 1])
    lam = draw(0.25, 0.75)

    def mixed(weight, order):
        return str([weight * x[i] + (1 - weight) * x[order[i]] for i in range(3)])

    return Predict(
        ask="Mixup of a batch of three, here one number each. What is printed?",
        code=f"""
x, partner, lam = {x}, {partner}, {lam}
print([lam * x[i] + (1 - lam) * x[partner[i]] for i in range(3)])
""",
        answer=mixed(lam, partner),
        traps={
            "λ and 1 - λ exchanged": mixed(1 - lam, partner),
            "the partner's partner": mixed(lam, [partner[i] for i in partner]),
        },
        hints=("Example i is mixed with example partner[i].", "λ · x[i] + (1 - λ) · x[partner[i]]"),
        why="Labels must be mixed with the same λ and the same partners. Another permutation for them raises no error "
        "and teaches noise.",
    )


@question(topic="regularization.cutmix", level=2, source="Yun 2019, section 3.1", readme="dl_019/3")
def label_after_clipping(draw):
    H, W = draw(16, 20, 24), draw(32, 40, 48)
    h, w = draw(3, 4, 5), draw(6, 8, 9)
    y, x = draw(0, 1, 2), draw(0, 2, 4, W // 2)
    high, wide = y + h, min(x, w) + w
    pasted = high * wide
    return Number(
        ask=f"CutMix, {H} rows and {W} columns. Before it is clipped at the border, the box is rows {y - h} to {y + h} "
        f"and columns {x - w} to {x + w}, the upper ends left out. What does the image's own label weigh?",
        given=dict(H=H, W=W, h=h, w=w, y=y, x=x),
        answer=1 - pasted / (H * W),
        traps={
            "before clipping": 1 - 4 * h * w / (H * W),
            "the partner's weight": pasted / (H * W),
        },
        within=0.002,
        hints=("Count the pixels that are really pasted.", "1 - (y + h) · (min(x, w) + w) / (H · W)"),
        why="A box at the border loses pixels and never wins any, so the λ that was drawn overstates the partner. "
        "Count after clipping.",
    )


@label_after_clipping.second
def _(H, W, h, w, y, x):
    import numpy as np

    image = np.zeros((H, W))
    image[max(y - h, 0) : y + h, max(x - w, 0) : x + w] = 1
    return float((image == 0).mean())


@question(topic="regularization.cutmix", level=2, source="Yun 2019, section 3.1", readme="dl_019/3")
def line_of_the_box(draw):
    H, W, lam = draw(10, 20), draw(40, 60, 80), draw(0.36, 0.75)
    r = 0.5 if lam == 0.75 else 0.8
    half_h, half_w = int(H * r) // 2, int(W * r) // 2
    y, x = H - 1, draw(0, 1, 2)
    high = min(y + half_h, H) - max(y - half_h, 0)
    wide = min(x + half_w, W) - max(x - half_w, 0)
    wrong, mended = draw(
        ("    r = 1 - lam", "    r = (1 - lam) ** 0.5"),
        (
            "    top, bottom = max(y - half_h, 0), min(y + half_h, W)",
            "    top, bottom = max(y - half_h, 0), min(y + half_h, H)",
        ),
        (
            "    left, right = x - half_w, min(x + half_w, W)",
            "    left, right = max(x - half_w, 0), min(x + half_w, W)",
        ),
    )
    code = f"""
def label(H, W, lam, y, x):
    r = (1 - lam) ** 0.5
    half_h, half_w = int(H * r) // 2, int(W * r) // 2
    top, bottom = max(y - half_h, 0), min(y + half_h, H)
    left, right = max(x - half_w, 0), min(x + half_w, W)
    return round(1 - (bottom - top) * (right - left) / (H * W), 4)
print(label({H}, {W}, {lam}, {y}, {x}))
"""
    return Bug(
        ask="CutMix in an image of H rows: the box has the share 1 - lam of the area before it is clipped. The weight "
        "of the own label is printed, and wrong. Which line is it?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(1 - high * wide / (H * W), 4)),
        traps={
            "halves of both sides": "    half_h, half_w = int(H * r) // 2, int(W * r) // 2",
            "what is not pasted": "    return round(1 - (bottom - top) * (right - left) / (H * W), 4)",
        },
        hints=(
            "Sides or areas? And each of the four edges stops at its own border.",
            "r = √(1 - lam); 0 and H for rows, 0 and W for columns",
        ),
        why="Half the area is not half the side. And a square image hides rows that are clipped at the width.",
    )


@question(topic="regularization.label_smoothing", level=2, source="Müller 2019, section 2", readme="dl_019/4")
def best_gap(draw):
    eps, C = draw(0.05, 0.1, 0.2, 0.3), draw(3, 5, 10, 100, 1000)
    return Number(
        ask=f"Label smoothing gives each of {C} classes ε/C and the right one 1 - ε more, with ε = {eps}. By how much "
        "does the logit of the right class stand above the others where the loss is least?",
        given=dict(eps=eps, C=C),
        answer=log((1 - eps) * C / eps + 1),
        traps={
            "ε shared by the wrong ones": log((1 - eps) * (C - 1) / eps),
            "as if the right one had 1": log(C / eps),
            "without the logarithm": (1 - eps) * C / eps + 1,
        },
        within=0.001,
        hints=(
            "At the least loss the probabilities are the targets; the gap is the log of their ratio.",
            "ln((1 - eps + eps/C) / (eps/C))",
        ),
        why="Without smoothing the best gap is infinite, and logits grow for ever. With it confidence has an end, "
        "which mostly helps calibration.",
    )


@best_gap.second
def _(eps, C):
    import numpy as np

    target = np.full(C, eps / C)
    target[0] += 1 - eps
    logits = np.log(target)
    return float(logits[0] - logits[1:].mean())


@question(topic="regularization.label_smoothing", level=2, source="Szegedy 2016, section 7", readme="dl_019/4")
def smoothed_blend(draw):
    C, eps = draw(4, 5), draw(0.1, 0.2)
    lam = draw(0.3, 0.6, 0.7, 0.8)
    y = draw.shuffled([lam, round(1 - lam, 1), *[0.0] * (C - 2)])

    def shown(values):
        return str([round(one, 3) for one in values])

    return Predict(
        ask="Labels of a mixed image, smoothed. What is printed?",
        code=f"""
y, eps = {y}, {eps}
C = len(y)
print([round((1 - eps) * v + eps / C, 3) for v in y])
""",
        answer=shown((1 - eps) * v + eps / C for v in y),
        traps={
            "only empty classes get a share": shown((1 - eps) * v or eps / (C - 2) for v in y),
            "ε to each class": shown((1 - eps) * v + eps for v in y),
            "not taken away": shown(v + eps / C for v in y),
        },
        hints=("Every class gets ε/C, those of the blend too.", "(1 - eps) · v + eps / C"),
        why="Smoothing is a mix with the uniform label, so it also works on labels that are mixed already, and they "
        "still add up to 1.",
    )


@question(topic="regularization.label_smoothing", level=2, source="Müller 2019, sections 2 and 5", readme="dl_019/4")
def wrong_classes_at_the_optimum(draw):
    eps, C = draw(0.0, 0.0, 0.05, 0.1, 0.2), draw(10, 100, 1000)
    free, level = "further and further below the right one", "all equally far below the right one, at a finite gap"
    return Choice(
        ask=f"{C} classes, label smoothing with ε = {eps:g}. To which logits of the wrong classes does the "
        "loss of one example pull, if nothing else holds them?",
        given=dict(eps=eps, C=C),
        answer=level if eps else free,
        traps={
            "with and without smoothing exchanged": free if eps else level,
            "likeness is taught": "higher the more alike a class is, at a finite gap",
            "no difference at all": "equal to the right one",
        },
        hints=("Which probabilities have the least cross-entropy with this label?", "ln((1 - eps + eps/C) · C/eps)"),
        why="Smoothing asks for the same probability of every wrong class. So a smoothed teacher says less about which "
        "classes are alike, and that is what a student learns from.",
    )


@wrong_classes_at_the_optimum.second
def _(eps, C):
    import numpy as np

    gaps = np.linspace(0, 60, 601)
    total = np.log1p((C - 1) * np.exp(-gaps))  # of the softmax, with the right logit at 0
    loss = total + eps * (C - 1) / C * gaps
    at = int(loss.argmin())
    if loss[-1] <= loss[at]:
        return "further and further below the right one"
    return "all equally far below the right one, at a finite gap"


@question(topic="regularization.drop_block", level=2, source="Ghiasi 2018, equation 1", readme="dl_019/1")
def rate_of_the_centres(draw):
    p, b, f = draw(5, 10, 15, 20), draw(3, 5, 7), draw(14, 20, 28, 56)
    return Number(
        ask=f"DropBlock drops about {p} % of a {f} × {f} map in blocks of {b} × {b}, all of them inside the map. By "
        "the paper's formula: with which probability, in percent, does a block begin at a place where it fits?",
        given=dict(p=p, b=b, f=f),
        answer=p * f**2 / (b * (f - b + 1)) ** 2,
        unit="%",
        traps={"the rate itself": float(p), "the edge forgotten": p / b**2, "a side for the area": p / b},
        within=0.005,
        hints=(
            "Each block takes b^2 places, and fewer places can begin one.",
            "p / b^2 · f^2 / (f - b + 1)^2",
        ),
        why="A block drops many places at once, so fewer of them are begun. Blocks overlap, so the dropped share is a "
        "little less than asked for.",
    )


@rate_of_the_centres.second
def _(p, b, f):
    starts = sum(1 for row in range(f) for column in range(f) if max(row, column) + b <= f)
    wanted = p * f * f
    return wanted / (starts * sum(1 for _ in range(b) for _ in range(b)))


@question(
    topic="regularization.drop_block", level=1, source="Ghiasi 2018, algorithm 1", readme=("dl_019/1", "dl_019/2")
)
def kept_of_a_row(draw):
    n, b = draw(16, 18, 20, 24), draw(2, 3, 4)
    first = draw.between(0, 3)
    second = first + draw.between(1, b + 2)
    gone = {place for start in (first, second) for place in range(start, start + b)}
    kept = n - len(gone)
    return Predict(
        ask="DropBlock in one dimension, two blocks drawn. What is printed?",
        code=f"""
row = [1] * {n}
for start in {[first, second]}:
    for place in range(start, start + {b}):
        row[place] = 0
print(sum(row), round(len(row) / sum(row), 3))
""",
        answer=f"{kept} {round(n / kept, 3)}",
        traps={
            "overlap counted twice": f"{n - 2 * b} {round(n / (n - 2 * b), 3)}",
            "single places": f"{n - 2} {round(n / (n - 2), 3)}",
            "scale upside down": f"{kept} {round(kept / n, 3)}",
        }
        if len(gone) < 2 * b
        else {
            "single places": f"{n - 2} {round(n / (n - 2), 3)}",
            "scale upside down": f"{kept} {round(kept / n, 3)}",
        },
        hints=("Do the two blocks overlap?", "kept = n - dropped, scale = n / kept"),
        why="Neighbours say nearly the same, so a single dropped place can be guessed from them; a block cannot. "
        "Blocks overlap, so the scale is counted and not taken from the rate.",
    )


@question(topic="regularization.mix_pipeline", level=1, source="Liu 2021, Swin, appendix A2.1")
def batches_of_mixup(draw):
    P, s = draw(40, 50, 60, 80, 90), draw(20, 30, 40, 60, 70)
    return Number(
        ask=f"A pipeline mixes {P} % of the batches; of these, {s} % by CutMix and the others by mixup. Of all "
        "batches, how many percent are blended by mixup?",
        given=dict(P=P, s=s),
        answer=P * (100 - s) / 100,
        unit="%",
        traps={"CutMix": P * s / 100, "of the mixed ones": float(100 - s), "subtracted": abs(float(P - s))},
        hints=("Mixed at all, and then not cut.", "P · (100 - s) / 100"),
        why="Two coins, one after the other: whether, and how. No batch gets both ways at once.",
    )


@batches_of_mixup.second
def _(P, s):
    batches = [(mixed, cut) for mixed in range(100) for cut in range(100)]
    return 100 * sum(mixed < P and not cut < s for mixed, cut in batches) / len(batches)


@question(topic="regularization.mix_pipeline", level=2, source="Liu 2021, Swin, appendix A2.1")
def way_of_a_batch(draw):
    prob, switch = draw(0.5, 0.8), draw(0.3, 0.5, 0.7)
    pairs = [(draw(0.1, 0.4, 0.6, 0.9), draw(0.2, 0.4, 0.6, 0.8)) for _ in range(3)]

    def ways(switched):
        return str(["plain" if u >= prob else "cutmix" if switched(u, v) else "mixup" for u, v in pairs])

    return Predict(
        ask="Two random numbers a batch. What is printed?",
        code=f"""
def way(u, v):
    if u >= {prob}:
        return "plain"
    return "cutmix" if v < {switch} else "mixup"
print([way(u, v) for u, v in {pairs}])
""",
        answer=ways(lambda u, v: v < switch),
        traps={
            "one number for both": ways(lambda u, v: u < switch),
            "ways exchanged": ways(lambda u, v: v >= switch),
        },
        hints=("The first number says whether, the second how.", "u < prob: mixed; v < switch: cut"),
        why="With one number for both, the ways would not have the shares that were asked for: what is above the "
        "second limit would never be mixed, or never cut.",
    )


@question(topic="regularization.weight_average", level=1, source="Tarvainen 2017, section 2")
def share_of_the_start(draw):
    m, n = draw(2, 3, 4), draw(100, 200, 500, 1000, 2000, 5000)
    decay = 1 - 10**-m
    return Number(
        ask=f"An exponential moving average of weights with decay {decay:g} and no warm-up. After {n} updates, how "
        "many percent of it are still the weights of the start?",
        given=dict(decay=decay, n=n),
        answer=100 * decay**n,
        unit="%",
        traps={
            "linear": 100 * max(0.0, 1 - n * 10**-m),
            "the new share": 100 * (1 - decay**n),
            "one update": 100 * decay,
        },
        hints=("Each update keeps that share of all that was there.", "100 · decay^n"),
        why="The average remembers about 1 / (1 - decay) updates. Shorter trainings end with a random start in it, "
        "unless the decay is warmed up.",
    )


@share_of_the_start.second
def _(decay, n):
    average = 100.0  # the start is 100, all that comes later is 0
    for _update in range(n):
        average -= (1 - decay) * average
    return average


@question(topic="regularization.weight_average", level=2, source="Izmailov 2018, section 3.2", readme="dl_019/5")
def stale_statistics(draw):
    w, x = draw(2, 3, 4), draw.shuffled([draw.between(2, 9) * 3, draw.between(2, 9) * 3, draw.between(10, 19) * 3])
    mean = w * sum(x) / 3
    return Predict(
        ask="A norm behind an averaged weight w, without the division: with the running mean of the start, and with "
        "one that is measured anew. What is printed?",
        code=f"""
w, x, start = {w}, {x}, 0.0
anew = sum(w * v for v in x) / len(x)
for mean in (start, anew):
    print([w * v - mean for v in x])
""",
        answer=f"{[float(w * v) for v in x]}\n{[w * v - mean for v in x]}",
        traps={
            "measured on the inputs": f"{[float(w * v) for v in x]}\n{[w * v - sum(x) / 3 for v in x]}",
            "no difference": f"{[w * v - mean for v in x]}\n{[w * v - mean for v in x]}",
        },
        hints=("anew is the mean of what the averaged weight makes.", "w · v - 0, then w · v - w · mean(x)"),
        why="Averaged weights make other activations than any weights that the statistics were taken from. Average the "
        "buffers too, or measure them again; those of the start are wrong.",
    )


@question(topic="regularization.weight_average", level=1, source="Izmailov 2018, section 3.2", readme="dl_019/5")
def norms_beside_an_average(draw):
    norm = draw("BatchNorm", "BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm (as by default)")
    batch = norm == "BatchNorm"
    care, nothing = "their running statistics have to fit the averaged weights", "nothing, they measure at test time"
    return Choice(
        ask=f"You evaluate a model with averaged weights. Its norms are {norm}. What do they need besides their own "
        "averaged scale and shift?",
        given=dict(norm=norm),
        answer=care if batch else nothing,
        traps={
            "another norm": nothing if batch else care,
            "batch sizes": "the batch size of the training",
        },
        hints=("Does it keep anything from training besides scale and shift?", "BatchNorm: running mean and variance"),
        why="BatchNorm keeps a running mean and variance as buffers. The others take both from the example that they "
        "normalise.",
    )


@norms_beside_an_average.second
def _(norm):
    kept = {
        "BatchNorm": ["running_mean", "running_var"],
        "LayerNorm": [],
        "GroupNorm": [],
        "InstanceNorm (as by default)": [],
    }[norm]
    if kept:
        return "their running statistics have to fit the averaged weights"
    return "nothing, they measure at test time"


@question(topic="regularization.consistency", level=2, source="Wu 2021, R-Drop, equation 2")
def disagreement_of_two_passes(draw):
    a, b = draw(0.6, 0.7, 0.8, 0.9), draw(0.2, 0.3, 0.4, 0.5)
    forth = a * log(a / b) + (1 - a) * log((1 - a) / (1 - b))
    back = b * log(b / a) + (1 - b) * log((1 - b) / (1 - a))
    return Number(
        ask=f"Two classes. Two passes with dropout give the first class {a} and {b}. R-Drop's disagreement, half the "
        "sum of both KL divergences, in nats?",
        given=dict(a=a, b=b),
        answer=(a - b) / 2 * log(a * (1 - b) / (b * (1 - a))),
        traps={"not halved": forth + back, "one direction": forth, "the other direction": back},
        within=0.002,
        hints=(
            "Add up KL(P1 ‖ P2) and KL(P2 ‖ P1): differences times differences of logarithms.",
            "(a - b)/2 · ln(a·(1-b) / (b·(1-a)))",
        ),
        why="KL is not symmetric, so both directions are taken. Both passes get gradients, and dropout is pulled "
        "towards one answer.",
    )


@disagreement_of_two_passes.second
def _(a, b):
    import numpy as np

    P, Q = np.array([a, 1 - a]), np.array([b, 1 - b])

    def kl(x, y):
        return float(np.sum(x * (np.log(x) - np.log(y))))

    return (kl(P, Q) + kl(Q, P)) / 2


@question(topic="regularization.consistency", level=1, source="Wu 2021, R-Drop, equations 2 to 4")
def formula_of_r_drop(draw):
    forth, back = draw(("forth", "back"), ("kl12", "kl21"), ("kl_pq", "kl_qp"))
    first, second = draw(("ce1", "ce2"), ("loss1", "loss2"))
    alpha = draw("alpha", "weight")
    return Blank(
        ask=f"R-Drop's loss as in the paper: both cross-entropies, and the mean of both KL divergences times {alpha}. "
        "What stands in the gap?",
        code=f"def r_drop({first}, {second}, {forth}, {back}, {alpha}):\n    return {first} + {second} + ____",
        given={
            first: draw.between(2, 9),
            second: draw.between(2, 9),
            alpha: draw.between(2, 5),
            forth: draw.between(2, 20),
            back: draw.between(21, 40),
        },
        answer=f"{alpha} * ({forth} + {back}) / 2",
        traps={
            "the sum for the mean": f"{alpha} * ({forth} + {back})",
            "one direction": f"{alpha} * {forth}",
            "the weight forgotten": f"({forth} + {back}) / 2",
        },
        hints=("The mean of two divergences, with its weight.", f"{alpha} · ({forth} + {back}) / 2"),
        why="Some code halves the cross-entropies as well; the same weight then counts twice as much. Look before you "
        "copy a setting.",
    )


@formula_of_r_drop.second
def _(**given):
    _first, _second, alpha, forth, back = given.values()
    return sum([(forth - back) / 2 + back for _ in range(alpha)])


@question(topic="regularization.sharpness", level=2, source="Foret 2021, SAM, equation 2", readme="dl_019/6")
def gradient_uphill(draw):
    w, h, rho = draw(2.0, 3.0, 4.0, 5.0), draw(2.0, 3.0, 4.0), draw(0.1, 0.2, 0.5, 1.0)
    return Number(
        ask=f"The loss is h·w²/2 with h = {h:g}. SAM with ρ = {rho} stands at w = {w:g}. Which gradient does the "
        "optimizer get?",
        given=dict(w=w, h=h, rho=rho),
        answer=h * (w + rho),
        traps={
            "the gradient at w": h * w,
            "not divided by the norm": h * (w + rho * h * w),
            "downhill": h * (w - rho),
        },
        within=0.004,
        hints=("Climb by ρ in the direction of the gradient. Which slope is there?", "h · (w + rho)"),
        why="The step up has length ρ, however steep it is. The slope found there is applied at w, so sharp valleys "
        "push harder than flat ones.",
    )


@gradient_uphill.second
def _(w, h, rho):
    def loss(at):
        return h * at * at / 2

    step = 1e-4
    slope = (loss(w + step) - loss(w - step)) / (2 * step)
    top = w + rho * (1 if slope > 0 else -1)
    return (loss(top + 0.5) - loss(top - 0.5)) / 1.0


@question(topic="regularization.sharpness", level=2, source="Foret 2021, SAM, equation 2", readme="dl_019/6")
def point_uphill(draw):
    (a, b, norm), sign = draw((3, 4, 5), (6, 8, 10), (8, 6, 10), (12, 16, 20), (5, 12, 13)), draw(1, -1)
    w = [a, sign * b]
    rho = draw(0.25, 0.5, 2) * norm
    return Predict(
        ask="The loss is half the sum of squares of w, so the gradient is w. Where does SAM take its second gradient?",
        code=f"""
w, rho = {w}, {rho}
norm = sum(v * v for v in w) ** 0.5
print([v + rho * v / norm for v in w])
""",
        answer=str([v + rho * v / norm for v in w]),
        traps={
            "each entry by its own size": str([v + rho * (1 if v > 0 else -1) for v in w]),
            "not divided by the norm": str([v + rho * v for v in w]),
            "downhill": str([v - rho * v / norm for v in w]),
        },
        hints=("One norm over all weights.", "w · (1 + rho / norm)"),
        why="The norm is taken over all parameters together, so the whole step has length ρ, and small gradients move "
        "their weights less.",
    )


@question(topic="regularization.sharpness", level=1, source="Foret 2021, SAM, algorithm 1", readme="dl_019/6")
def steps_of_sam(draw):
    steps = [
        "forward and backward at w",
        "keep a copy of the weights, climb by ρ g / ‖g‖",
        "clear the gradients of the first pass",
        "forward and backward uphill",
        "put the weights back",
        "the optimizer's step",
    ]
    chosen = sorted(draw.sample(range(6), 4))
    answer = [steps[i] for i in chosen]
    k = draw.between(0, 2)
    swapped = [*answer[:k], answer[k + 1], answer[k], *answer[k + 2 :]]
    return Order(
        ask="Some steps of sharpness-aware minimisation. In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={"two steps swapped": swapped, "from the end": answer[::-1]},
        hints=("Where is the gradient taken, and where is it applied?", "at w, climb, clear, uphill, back, step"),
        why="The gradient of the high point is applied at the old one. Two forward and two backward passes make a step "
        "about twice as long; the copy makes the way back exact.",
    )


@steps_of_sam.second
def _(chosen):
    done, line = set(), []
    needs = {
        "the optimizer's step": {"put the weights back"},
        "put the weights back": {"forward and backward uphill"},
        "forward and backward uphill": {"clear the gradients of the first pass"},
        "clear the gradients of the first pass": {"keep a copy of the weights, climb by ρ g / ‖g‖"},
        "keep a copy of the weights, climb by ρ g / ‖g‖": {"forward and backward at w"},
        "forward and backward at w": set(),
    }
    while len(line) < len(needs):
        ready = next(one for one in needs if one not in done and needs[one] <= done)
        done.add(ready)
        line.append(ready)
    return [line[i] for i in chosen]


@question(topic="regularization.choice", level=2, source="Foret 2021; Wu 2021", readme="dl_019/6")
def minutes_of_an_epoch(draw):
    cheap = draw.sample(["EMA of weights", "mixup", "CutMix", "drop path", "label smoothing", "DropBlock"], 3)
    dear = draw(["SAM"], ["R-Drop"], ["SAM", "R-Drop"])
    m, used = draw(3, 5, 8, 10, 12, 15), draw.shuffled(cheap + dear)
    return Number(
        ask=f"An epoch takes {m} minutes, nearly all of it in forward and backward passes. About how many with "
        f"{', '.join(used)}? Count passes as if each took the same time.",
        given=dict(m=m, used=used),
        answer=m * (1 + ("SAM" in used)) * (1 + ("R-Drop" in used)),
        unit="min",
        traps={
            "each costs a pass": m * (1 + len(used)),
            "all are free": m,
            ("added, not multiplied" if len(dear) == 2 else "passes squared"): m * (3 if len(dear) == 2 else 16),
        },
        hints=("Which of them need a second pass over the batch?", "double for SAM, double for R-Drop"),
        why="SAM needs a gradient at two points, R-Drop two passes that are compared. Both together need two passes at "
        "two points. All else costs next to nothing.",
    )


@minutes_of_an_epoch.second
def _(m, used):
    passes = [
        (point, mask)
        for point in (["here", "uphill"] if "SAM" in used else ["here"])
        for mask in (["first", "second"] if "R-Drop" in used else ["first"])
    ]
    return sum(m for _pass in passes)


@question(topic="regularization.choice", level=2, source="Müller 2019; Zhang 2018", readme=("dl_019/3", "dl_019/4"))
def what_does_not_fit(draw):
    task = draw("text", "teacher", "detector", "regression")
    told = {
        "text": "A transformer with dropout classifies texts; its inputs are token ids",
        "teacher": "A residual CNN with dropout classifies images, and will be the teacher of a small network",
        "detector": "A residual CNN with dropout finds boxes in images; the boxes cannot be changed",
        "regression": "A residual CNN without dropout predicts one real number from an image",
    }[task]
    names = {"mixup": "mixup of inputs", "cutmix": "CutMix", "smooth": "label smoothing", "r": "R-Drop with dropout"}
    fits = ["stochastic depth", "an average of the weights", "SAM"]
    unfit = {"text": ["mixup", "cutmix"], "teacher": ["smooth"], "detector": ["mixup", "cutmix"]}
    bad = draw(*unfit.get(task, ["smooth", "r"]))
    return Choice(
        ask=f"{told}. Time is no matter. Which of these does not fit?",
        given=dict(task=task, offered=sorted([*fits, names[bad]])),
        answer=names[bad],
        traps=dict(zip(["needs residual branches", "needs nothing", "needs time alone"], fits, strict=True)),
        hints=(
            "What does each need: residual branches, images, classes, dropout?",
            "inputs, targets, and what follows",
        ),
        why="Token ids cannot be blended, boxes would have to be mixed along, a number has no classes, and smoothing "
        "wipes out what a teacher says about classes that are alike.",
    )


@what_does_not_fit.second
def _(task, offered):
    facts = {
        "text": {"residual", "dropout", "classes"},
        "teacher": {"images", "residual", "dropout", "classes", "teacher"},
        "detector": {"images", "residual", "dropout", "boxes"},
        "regression": {"images", "residual"},
    }[task]
    needs = {
        "mixup of inputs": {"images", "classes"},
        "CutMix": {"images", "classes"},
        "label smoothing": {"classes"},
        "R-Drop with dropout": {"dropout", "classes"},
        "stochastic depth": {"residual"},
    }
    smoothed_teacher = "label smoothing" if "teacher" in facts else ""
    (unfit,) = [one for one in offered if one == smoothed_teacher or not needs.get(one, set()) <= facts]
    return unfit
