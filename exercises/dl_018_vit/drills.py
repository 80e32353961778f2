"""Questions on vision transformers whose numbers change: `grader drill --topic vision.patches`."""

from itertools import permutations
from math import log, prod

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="vision.patches", level=1, source="Dosovitskiy 2021, section 3.1", readme="dl_018/1")
def tokens_of_an_image(draw):
    p, a, b = draw(8, 14, 16, 32), draw.between(6, 28), draw.between(6, 28)
    return Number(
        ask=f"A ViT cuts an image of {a * p} × {b * p} pixels into patches of {p} × {p}. How many tokens does its "
        "encoder see, the class token among them?",
        given=dict(p=p, a=a * p, b=b * p),
        answer=a * b + 1,
        unit="tokens",
        traps={"class token forgotten": a * b, "sides added": a + b + 1, "one for each side": (a + 1) * (b + 1)},
        hints=("How many patches fit along each side? One more token stands in front.", "(a / p) · (b / p) + 1"),
        why="Patches do not overlap, so their number is the area over p squared. Half the patch size means four times "
        "the tokens.",
    )


@tokens_of_an_image.second
def _(p, a, b):
    corners = {(row, column) for row in range(0, a, p) for column in range(0, b, p)}
    return len(corners | {"class"})


@question(topic="vision.patches", level=2, source="Dosovitskiy 2021, section 3.1", readme="dl_018/1")
def share_of_the_scores(draw):
    side, p, d = draw(224, 448, 672, 896), draw(8, 16, 32), draw(384, 768, 1024)
    n = (side // p) ** 2
    return Number(
        ask=f"{side} × {side} pixels, patches of {p}, width {d}, feed-forward 4 times as wide, class token left "
        "aside. In one layer: FLOPs of the scores and the weighted sums, over those of all weight matrices?",
        given=dict(side=side, p=p, d=d),
        answer=100 * n / (6 * d),
        unit="%",
        traps={"scores alone": 100 * n / (12 * d), "feed-forward forgotten": 100 * n / (2 * d)},
        hints=(
            "Scores and sums: 4 · n^2 · d. Matrices: 12 · d^2 weights, twice for each token.",
            "100 · n / (6 · d) with n = (side / p)^2",
        ),
        why="The matrices grow with the tokens, attention with their square. At usual sizes attention is the small "
        "part; with small patches or large images it is not.",
    )


@share_of_the_scores.second
def _(side, p, d):
    n = len(range(0, side, p)) * len(range(0, side, p))
    pairs = sum(2 * n * n * d for _product in ("scores", "sums"))
    weights = [(d, d)] * 4 + [(d, 4 * d), (4 * d, d)]
    return 100 * pairs / sum(2 * n * rows * columns for rows, columns in weights)


@question(topic="vision.patches", level=2, source="Dosovitskiy 2021, section 3.1")
def pixels_of_a_patch(draw):
    rows, columns, first = draw(4, 6), draw(6, 8, 10), draw.between(0, 30)
    i, j = draw.between(0, rows // 2 - 1), draw.between(1, columns // 2 - 1)
    at = first + 2 * i * columns + 2 * j
    flat = first + 4 * (i * (columns // 2) + j)
    return Predict(
        ask=f"An image whose pixels are numbered row by row, from {first}. Which pixels are printed?",
        code=f"""
import numpy as np
image = np.arange({first}, {first + rows * columns}).reshape({rows}, {columns})
patches = image.reshape({rows // 2}, 2, {columns // 2}, 2).swapaxes(1, 2)
print(patches[{i}, {j}].ravel().tolist())
""",
        answer=str([at, at + 1, at + columns, at + columns + 1]),
        traps={
            "four in a row": str([flat, flat + 1, flat + 2, flat + 3]),
            "columns first": str([at, at + columns, at + 1, at + columns + 1]),
        },
        hints=(
            "The axes are: row of patches, row in a patch, column of patches, column in a patch.",
            "the patch begins at row 2·i, column 2·j, and has two rows of two",
        ),
        why="The height is two axes, and so is the width. A reshape alone would make a patch of a strip of one row; "
        "the swap brings what counts patches to the front.",
    )


@question(topic="vision.patch_embedding", level=1, source="Dosovitskiy 2021, section 3.1", readme="dl_018/2")
def work_of_the_embedding(draw):
    side, p, d = draw(224, 448), draw(8, 14, 16, 32), draw(192, 384, 768, 1024)
    n = (side // p) ** 2
    return Number(
        ask=f"A colour image of {side} × {side}, patches of {p} × {p}, width {d}. FLOPs of the patch embedding, a "
        "multiplication and an addition being two, bias left aside?",
        given=dict(side=side, p=p, d=d),
        answer=2 * n * 3 * p**2 * d,
        unit="FLOP",
        traps={
            "one colour": 2 * n * p**2 * d,
            "stride 1": 2 * (side - p + 1) ** 2 * 3 * p**2 * d,
            "an addition forgotten": n * 3 * p**2 * d,
        },
        hints=("Each patch of three colours meets a matrix of width d.", "2 · (side / p)^2 · 3 · p^2 · d"),
        why="Each pixel is used once for each channel of the result, so the patch size hardly matters. It is a small "
        "part of the whole forward pass.",
    )


@work_of_the_embedding.second
def _(side, p, d):
    pixels = 3 * side * side  # each stands in exactly one patch
    return pixels * d + pixels * d


@question(topic="vision.patch_embedding", level=1, source="Dosovitskiy 2021, section 3.1", readme="dl_018/2")
def parameters_of_the_embedding(draw):
    c, p, d = draw(3, 4, 8), draw(4, 8, 14, 16, 32), draw(192, 384, 768, 1024)
    return Number(
        ask=f"Images of {c} channels, patches of {p} × {p}, width {d}. How many parameters does the patch embedding "
        "have, with bias?",
        given=dict(c=c, p=p, d=d),
        answer=c * p**2 * d + d,
        unit="parameters",
        traps={"no bias": c * p**2 * d, "p for its square": c * p * d + d, "a bias each weight": 2 * c * p**2 * d},
        hints=("A convolution from c to d channels with kernel p.", "c · p^2 · d + d"),
        why="One matrix serves all patches, as a convolution's kernel does. It does not depend on the size of the "
        "image.",
    )


@parameters_of_the_embedding.second
def _(c, p, d):
    import numpy as np

    return np.empty((d, c, p, p), bool).nbytes + np.empty(d, bool).nbytes


@question(topic="vision.patch_embedding", level=2, source="Dosovitskiy 2021, section 3.1")
def kernel_and_stride(draw):
    x, w = draw.sample(range(1, 10), 6), draw.sample(range(1, 6), 2)

    def sums(kernel, stride):
        return str([sum(a * b for a, b in zip(kernel, x[i:], strict=False)) for i in range(0, 5, stride)])

    return Predict(
        ask="A patch embedding in one dimension, with patches of 2. What is printed?",
        code=f"""
x, w = {x}, {w}
print([w[0] * x[i] + w[1] * x[i + 1] for i in range(0, 6, 2)])
""",
        answer=sums(w, 2),
        traps={"stride 1": sums(w, 1), "the kernel turned round": sums(w[::-1], 2)},
        hints=(
            "Patches do not overlap; each is multiplied with w in the order of x.",
            "w0·x0 + w1·x1, w0·x2 + w1·x3, ...",
        ),
        why="Kernel and stride are equal, so every number is used once. And convolutions of networks do not turn the "
        "kernel round: they are products, place by place.",
    )


@question(topic="vision.positions", level=1, source="Dosovitskiy 2021, section 3.2", readme="dl_018/3")
def rows_of_the_table(draw):
    p, a, b, e = draw(14, 16, 32), draw.between(8, 30), draw.between(8, 30), draw(1, 2)
    return Number(
        ask=f"A model with {'a class token' if e == 1 else 'a class and a distillation token'} and patches of {p} is "
        f"moved from 224 × 224 to {a * p} × {b * p} pixels. How many rows does its new table of positions have?",
        given=dict(p=p, high=a * p, wide=b * p, e=e),
        answer=a * b + e,
        unit="rows",
        traps={"patches alone": a * b, "the old table": (224 // p) ** 2 + e, "twice the tokens": a * b + 2 * e},
        hints=("The grid is resized like an image; what stands before it is kept.", "(high / p) · (wide / p) + e"),
        why="Only places in the grid are interpolated. Tokens without a place keep their rows as they are, in front.",
    )


@rows_of_the_table.second
def _(p, high, wide, e):
    import numpy as np

    return len(np.zeros((high, wide))[::p, ::p].reshape(-1)) + len(["class", "teacher"][:e])


@question(topic="vision.positions", level=2, source="Touvron 2021, DeiT, section 6", readme="dl_018/3")
def scores_at_a_new_size(draw):
    p, old, new = draw(8, 16, 32), draw(7, 14, 21), draw(24, 28, 32, 36)
    return Number(
        ask=f"A ViT with a class token and patches of {p} is fine-tuned at {new * p} × {new * p} instead of "
        f"{old * p} × {old * p}. By which factor do the FLOPs of the attention scores grow?",
        given=dict(p=p, old=old * p, new=new * p),
        answer=((new**2 + 1) / (old**2 + 1)) ** 2,
        unit="x",
        traps={"tokens, not pairs": (new**2 + 1) / (old**2 + 1), "as the side": new / old},
        hints=("How many tokens before and after? Scores are pairs.", "(((new/p)^2 + 1) / ((old/p)^2 + 1))^2"),
        why="Tokens grow with the area and pairs with its square, so a modest step in resolution makes attention many "
        "times dearer, and the matrices only as the tokens.",
    )


@scores_at_a_new_size.second
def _(p, old, new):
    import numpy as np

    def pairs(side):
        n = sum(1 for _row in range(0, side, p) for _column in range(0, side, p)) + 1
        return np.empty((n, n), bool).size

    return pairs(new) / pairs(old)


@question(topic="vision.positions", level=1, source="Dosovitskiy 2021, section 3.2", readme="dl_018/3")
def what_is_interpolated(draw):
    what, p = draw("class", "grid", "patch", "qkv", "head"), draw(14, 16)
    named = {
        "class": "the position of the class token",
        "grid": "the positions of the patches",
        "patch": "the patch embedding",
        "qkv": "the matrices of attention",
        "head": "the head: the new task has other classes",
    }[what]
    kept, resized, new, padded = "kept as it is", "resized like an image", "begun anew", "padded with zeros"
    right = {"grid": resized, "head": new}.get(what, kept)
    return Choice(
        ask=f"A ViT that was trained at {14 * p} × {14 * p} is fine-tuned at {24 * p} × {24 * p}, with patches of {p} "
        f"as before. What is usually done with {named}?",
        given=dict(what=what),
        answer=right,
        traps={
            name: one
            for name, one in {
                "any number of tokens": kept,
                "no place in the grid": resized,
                "training lost": new,
                "places without meaning": padded,
            }.items()
            if one != right
        },
        hints=(
            "Does its shape depend on the number of patches, or of classes?",
            "grid: resized; head with other classes: new; all else: kept",
        ),
        why="Weights do not know how many tokens there are. Only the table of learned positions belongs to a grid, and "
        "only the head to a set of classes.",
    )


@what_is_interpolated.second
def _(what):
    def shapes(side, classes):
        return {"class": (1, 8), "grid": (side, side, 8), "patch": (8, 48), "qkv": (24, 8), "head": (classes, 8)}

    old, new = shapes(14, 1000)[what], shapes(24, 10)[what]
    if old == new:
        return "kept as it is"
    return "resized like an image" if len(old) == 3 else "begun anew"


@question(topic="vision.transformer", level=3, source="Dosovitskiy 2021, table 1")
def parameters_of_a_vit(draw):
    d, L, n, C = draw(192, 384, 768, 1024, 1280), draw(6, 12, 24, 32), draw(49, 196, 256, 576), draw(10, 100, 1000)
    rest = 768 * d + d + d + 2 * d + C * d + C
    layers = L * (12 * d**2 + 13 * d)
    return Number(
        ask=f"A ViT of width {d}: patches of 3 · 16 · 16 numbers, {n} patches and a class token with learned "
        f"positions, {L} pre-norm blocks with a feed-forward of 4 times the width, a last norm, {C} classes. Biases "
        "everywhere. Parameters?",
        given=dict(d=d, L=L, n=n, C=C),
        answer=rest + layers + (n + 1) * d,
        unit="parameters",
        traps={
            "no positions": rest + layers,
            "the rule 12·L·d^2": 12 * L * d**2,
            "no place for the class": rest + layers + n * d,
        },
        hints=(
            "Embedding, class token, positions, blocks, last norm, head. A block: 12 · d^2 + 13 · d.",
            "769·d + d + (n+1)·d + L·(12·d^2 + 13·d) + 2·d + C·(d+1)",
        ),
        why="Nearly all is in the blocks, as in any transformer. Positions are the only part that knows the size of "
        "the image.",
    )


@parameters_of_a_vit.second
def _(d, L, n, C):
    block = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    ends = [(d, 3, 16, 16), (d,), (1, d), (1 + n, d), (d,), (d,), (C, d), (C,)]
    return sum(prod(shape) for shape in ends + block * L)


@question(topic="vision.transformer", level=1, source="Dosovitskiy 2021, section 3.1")
def order_of_the_forward_pass(draw):
    steps = [
        "cut the image into patches",
        "multiply each patch with one matrix",
        "put the class token in front",
        "add the positions",
        "run the blocks",
        "apply the last norm",
        "read the class token with the head",
    ]
    chosen = sorted(draw.sample(range(7), 5))
    answer = [steps[i] for i in chosen]
    k = draw.between(0, 3)
    swapped = [*answer[:k], answer[k + 1], answer[k], *answer[k + 2 :]]
    return Order(
        ask="Some steps of a ViT's forward pass, pre-norm, with a row of positions for every token. In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={"two steps swapped": swapped, "from the end": answer[::-1]},
        hints=(
            "Every token has a position, the class token too. A pre-norm stack ends with a norm.",
            "cut, multiply, class token, positions, blocks, norm, head",
        ),
        why="The class token needs a position of its own, so it is there before positions are added. Without the last "
        "norm the head would read a stream that nothing has normalised.",
    )


@order_of_the_forward_pass.second
def _(chosen):
    needs = {"read": "apply", "apply": "run", "run": "add", "add": "put", "put": "multiply", "multiply": "cut"}
    words = {
        "cut": "cut the image into patches",
        "multiply": "multiply each patch with one matrix",
        "put": "put the class token in front",
        "add": "add the positions",
        "run": "run the blocks",
        "apply": "apply the last norm",
        "read": "read the class token with the head",
    }
    line = ["read"]
    while line[-1] in needs:
        line.append(needs[line[-1]])
    line.reverse()
    return [words[line[i]] for i in chosen]


@question(topic="vision.swin", level=2, source="Liu 2021, Swin, section 3.2", readme="dl_018/4")
def windows_against_all(draw):
    M, a, b = draw(4, 7, 8, 12), draw.between(2, 12), draw.between(2, 12)
    return Number(
        ask=f"A map of {a * M} × {b * M} places. By which factor are the attention scores fewer if each place sees its "
        f"window of {M} × {M} alone, instead of all places?",
        given=dict(M=M, high=a * M, wide=b * M),
        answer=a * b,
        unit="x",
        traps={"one side": a, "the window's side": a * b * M, "its area": a * b * M * M},
        hints=("How many partners has a place in each case?", "high · wide / M^2"),
        why="Each place sees a window instead of the map, so the cost grows with the area and not with its square.",
    )


@windows_against_all.second
def _(M, high, wide):
    places = high * wide
    windows = [M * M] * (places // (M * M))
    return places**2 // sum(one**2 for one in windows)


@question(topic="vision.swin", level=2, source="Liu 2021, Swin, section 3.2", readme="dl_018/4")
def windows_with_a_mask(draw):
    a, b = draw.between(2, 12), draw.between(2, 12)
    return Number(
        ask=f"Swin rolls a map of {a} × {b} windows by half a window. How many of the windows need a mask?",
        given=dict(a=a, b=b),
        answer=a + b - 1,
        unit="windows",
        traps={"all": a * b, "the corner counted twice": a + b, "one edge": a, "all four edges": 2 * (a + b) - 4},
        hints=("Which windows hold places from opposite edges? The roll goes up and left.", "a + b - 1"),
        why="Only the last row and the last column of windows hold what was rolled in from the other side. They share "
        "a corner.",
    )


@windows_with_a_mask.second
def _(a, b):
    import numpy as np

    rows = np.roll(np.arange(4 * a), -2).reshape(a, 4)
    columns = np.roll(np.arange(4 * b), -2).reshape(b, 4)
    torn_rows, torn_columns = np.ptp(rows, 1) > 3, np.ptp(columns, 1) > 3
    return int((torn_rows[:, None] | torn_columns[None]).sum())


@question(topic="vision.swin", level=2, source="Liu 2021, Swin, section 3.2", readme="dl_018/4")
def windows_behind_a_roll(draw):
    M, g, first = draw(3, 4), draw(2, 3), draw.between(1, 40)
    places, s = list(range(first, first + M * g)), M // 2

    def windows(line):
        return str([line[i : i + M] for i in range(0, M * g, M)])

    return Predict(
        ask="One row of a map, rolled and cut into windows as in Swin. What is printed?",
        code=f"""
import numpy as np
row = np.arange({first}, {first + M * g})
print(np.roll(row, -{s}).reshape(-1, {M}).tolist())
""",
        answer=windows(places[s:] + places[:s]),
        traps={
            "rolled the other way": windows(places[-s:] + places[:-s]),
            "not rolled": windows(places),
        },
        hints=(
            "A negative roll moves everything to the left; what falls out comes in on the right.",
            "row[s:] + row[:s]",
        ),
        why="The last window holds both ends of the row, which are no neighbours: that is what the mask keeps apart.",
    )


@question(topic="vision.deit", level=1, source="Touvron 2021, DeiT, section 4", readme="dl_018/5")
def hard_distillation(draw):
    y, t = draw.sample(range(3), 2)
    a, b = ([x / 20 for x in draw(*permutations(one))] for one in draw.sample([(2, 5, 13), (3, 7, 10), (1, 8, 11)], 2))
    return Number(
        ask=f"The class token gives classes 0, 1, 2 the probabilities {a}, the distillation token {b}. The label is "
        f"{y}, the teacher prefers {t}. DeiT's hard loss, in nats?",
        given=dict(a=a, b=b, y=y, t=t),
        answer=-(log(a[y]) + log(b[t])) / 2,
        traps={
            "the label for both": -(log(a[y]) + log(b[y])) / 2,
            "the tokens swapped": -(log(a[t]) + log(b[y])) / 2,
            "not halved": -(log(a[y]) + log(b[t])),
        },
        hints=("Each token has its own teacher; both cross-entropies count equally.", "-(ln(a[y]) + ln(b[t])) / 2"),
        why="The class token learns from the label, the distillation token from the class that the teacher prefers. So "
        "the two come to say different things.",
    )


@hard_distillation.second
def _(a, b, y, t):
    import numpy as np

    targets = np.eye(3)[[y, t]]
    return float(-(targets * np.log([a, b])).sum(axis=1).mean())


@question(topic="vision.deit", level=2, source="Touvron 2021, DeiT, section 4", readme="dl_018/5")
def two_heads_one_answer(draw):
    a, b = [draw.between(-4, 9) for _ in range(4)], [draw.between(-4, 9) for _ in range(4)]
    both = [x + y for x, y in zip(a, b, strict=True)]
    return Predict(
        ask="Logits of the class head and of the distillation head, joined as DeiT's code does it at test time. What "
        "is printed?",
        code=f"""
a, b = {a}, {b}
joined = [(x + y) / 2 for x, y in zip(a, b)]
print(joined.index(max(joined)), max(joined))
""",
        answer=f"{both.index(max(both))} {max(both) / 2}",
        traps={
            "the class head alone": f"{a.index(max(a))} {max(a)}",
            "the distillation head alone": f"{b.index(max(b))} {max(b)}",
            "summed": f"{both.index(max(both))} {max(both)}",
        },
        hints=("Average class by class first, then take the largest.", "largest of (a + b) / 2"),
        why="The user sees one answer. A class that both heads find likely may beat the first choice of each.",
    )


@question(topic="vision.deit", level=1, source="Touvron 2021, DeiT, section 4")
def tokens_with_a_teacher(draw):
    p, a, b = draw(8, 14, 16, 32), draw.between(6, 28), draw.between(6, 28)
    return Number(
        ask=f"DeiT with distillation, {a * p} × {b * p} pixels, patches of {p}. How many tokens does its encoder see?",
        given=dict(p=p, a=a, b=b),
        answer=a * b + 2,
        unit="tokens",
        traps={"as ViT": a * b + 1, "patches alone": a * b, "a token for each patch": 2 * a * b + 1},
        hints=("a patches down, b across, and which learned tokens in front?", "a · b + 2"),
        why="A class token and a distillation token stand in front. The teacher itself gives an answer and no token.",
    )


@tokens_with_a_teacher.second
def _(p, a, b):
    patches = [(row, column) for row in range(0, a * p, p) for column in range(0, b * p, p)]
    return len(["class", "distillation", *patches])


@question(topic="vision.rollout", level=2, source="Abnar 2020, section 3", readme="dl_018/6")
def flow_through_two_layers(draw):
    a, b, c, d = draw(0.1, 0.2, 0.3, 0.4), draw(0.2, 0.5, 0.6), draw(0.3, 0.7, 0.8), draw(0.1, 0.4, 0.9)
    return Number(
        ask=f"Attention of two tokens: first layer [[{c}, {1 - c:g}], [{d}, {1 - d:g}]], second layer "
        f"[[{a}, {1 - a:g}], [{b}, {1 - b:g}]], rows are queries. By rollout with residuals: how much of token 0's "
        "output comes from input token 1?",
        given=dict(a=a, c=c, d=d),
        answer=(1 + a) / 2 * (1 - c) / 2 + (1 - a) / 2 * (2 - d) / 2,
        traps={
            "no residuals": a * (1 - c) + (1 - a) * (1 - d),
            "last layer alone": (1 - a) / 2,
            "layers swapped": (1 + c) / 2 * (1 - a) / 2 + (1 - c) / 2 * (2 - b) / 2,
        },
        hints=(
            "Half of each token comes through the skip: (A + I) / 2. The second layer stands on the left.",
            "(1+a)/2 · (1-c)/2 + (1-a)/2 · (2-d)/2",
        ),
        why="A token of the last layer is already a mixture, so paths through all layers are added up. Rollout takes "
        "half of each token to come through the skip, whatever the sizes really are.",
    )


@flow_through_two_layers.second
def _(a, c, d):
    import numpy as np

    first, second = np.array([[c, 1 - c], [d, 1 - d]]), np.array([[a, 1 - a], [0.5, 0.5]])
    flow = np.eye(2)
    for layer in (first, second):
        flow = (layer @ flow + flow) / 2
    return float(flow[0, 1])


@question(topic="vision.rollout", level=2, source="Abnar 2020, section 3", readme="dl_018/6")
def line_of_rollout(draw):
    first = [[0.25, 0.75], [draw(0.25, 0.5), 0.0]]
    last = [[0.75, 0.25], [draw(0.5, 0.75), 0.0]]
    for layer in (first, last):
        layer[1][1] = 1 - layer[1][0]

    def mixed(A):
        return [[(A[i][j] + (i == j)) / 2 for j in range(2)] for i in range(2)]

    f, s = mixed(first), mixed(last)
    flow = [[sum(s[i][k] * f[k][j] for k in range(2)) for j in range(2)] for i in range(2)]
    wrong, mended = draw(
        ("        flow = flow @ mixed", "        flow = mixed @ flow"),
        ("        mixed = A + np.eye(2)", "        mixed = (A + np.eye(2)) / 2"),
        ("    flow = np.ones((2, 2))", "    flow = np.eye(2)"),
    )
    code = f"""
import numpy as np
def rollout(layers):
    flow = np.eye(2)
    for A in layers:
        mixed = (A + np.eye(2)) / 2
        flow = mixed @ flow
    return flow
layers = np.array([{first}, {last}])
print(rollout(layers).tolist())
"""
    return Bug(
        ask="Rollout over two layers, the first one first; rows of A are queries. What is printed should say how much "
        "of each input is in each output. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(flow),
        traps={"the order of layers is right": "    for A in layers:", "it returns the product": "    return flow"},
        hints=(
            "Rows should add up to 1, and a later layer mixes what an earlier one has mixed.",
            "flow begins as I; then (A + I)/2 from the left",
        ),
        why="The last layer reads the outputs of those before, so it stands on the left of the product. Each factor is "
        "half skip, half attention, and keeps rows that add up to 1.",
    )


@question(topic="vision.boxes", level=1, source="Rezatofighi 2019, section 3")
def overlap_of_boxes(draw):
    a = [draw.between(0, 4), draw.between(0, 4), draw.between(6, 10), draw.between(6, 10)]
    b = [draw.between(2, 5), draw.between(2, 5), draw.between(7, 12), draw.between(7, 12)]
    both = (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1]))
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return Number(
        ask=f"IoU of the boxes {a} and {b}? Corners are (x, y) of the upper left and of the lower right.",
        given=dict(a=a, b=b),
        answer=both / (area_a + area_b - both),
        traps={
            "the union counts twice": both / (area_a + area_b),
            "over the smaller box": both / min(area_a, area_b),
            "over the first box": both / area_a,
        },
        hints=("Area that both share, over the area that either covers.", "both / (area of a + area of b - both)"),
        why="Both areas count the shared part, so it is taken off once.",
    )


@overlap_of_boxes.second
def _(a, b):
    import numpy as np

    maps = np.zeros((2, 12, 12), bool)
    for one, (left, top, right, bottom) in zip(maps, (a, b), strict=True):
        one[top:bottom, left:right] = True
    return float(maps.all(axis=0).sum() / maps.any(axis=0).sum())


@question(topic="vision.boxes", level=2, source="Rezatofighi 2019, section 3", readme="dl_018/8")
def boxes_that_do_not_meet(draw):
    w, gap, v, h = draw.between(1, 9), draw.between(1, 12), draw.between(1, 9), draw.between(1, 5)
    hull = w + gap + v
    return Number(
        ask=f"Two boxes in one row, both {h} high, {w} and {v} wide, with a gap of {gap} between them. Their GIoU?",
        given=dict(w=w, gap=gap, v=v, h=h),
        answer=-gap / hull,
        traps={"IoU": 0.0, "the sign": gap / hull, "covered share taken off": -(w + v) / hull},
        hints=("IoU, less the share of the hull that no box covers.", "0 - gap / (w + gap + v)"),
        why="IoU is 0 at any distance, and so is its gradient. The empty share of the hull shrinks as the boxes "
        "approach, so GIoU says where to move.",
    )


@boxes_that_do_not_meet.second
def _(w, gap, v, h):
    hull = {(x, y) for x in range(w + gap + v) for y in range(h)}
    covered = {(x, y) for x, y in hull if x < w or x >= w + gap}
    return -len(hull - covered) / len(hull)


@question(topic="vision.boxes", level=2, source="Rezatofighi 2019, section 3")
def what_suppression_keeps(draw):
    d = draw(3, 4, 5, 6)
    best = draw.between(12, 30)
    x = [best, best + d - 1, best + 2 * d - 2, best + 2 * d - 1]  # each too near to the one before
    x.insert(draw.between(1, 4), best - d - draw.between(0, 4))

    def greedy(removed_too):
        kept, seen = [], []
        for one in x:
            if all(abs(one - other) >= d for other in (seen if removed_too else kept)):
                kept.append(one)
            seen.append(one)
        return kept

    return Predict(
        ask=f"Places of boxes, the best score first; two that are less than {d} apart overlap too much. What is "
        "printed?",
        code=f"""
kept = []
for x in {x}:
    if all(abs(x - other) >= {d} for other in kept):
        kept.append(x)
print(kept)
""",
        answer=str(greedy(False)),
        traps={
            "removed boxes remove others": str(greedy(True)),
            "only the best removes": str([one for one in x if one == x[0] or abs(one - x[0]) >= d]),
            "sorted": str(sorted(greedy(False))),
        },
        hints=("Only a box that was kept removes others.", "keep x if no kept one is nearer than the limit"),
        why="If A removes B, B no longer speaks against C. That chain is the usual mistake in suppression.",
    )


@question(topic="vision.set_matching", level=2, source="Carion 2020, DETR, section 3.1", readme="dl_018/7")
def cheapest_assignment(draw):
    c = [[draw.between(1, 30) for _ in range(3)] for _ in range(3)]
    left, greedy = {0, 1, 2}, 0
    rows = [0, 1, 2]
    while rows:
        cost, row, column = min((c[row][column], row, column) for row in rows for column in left)
        rows.remove(row)
        left.discard(column)
        greedy += cost
    return Number(
        ask=f"Costs of three predictions (rows) with three objects (columns): {c}. Each object gets one prediction. "
        "The least sum?",
        given=dict(c=c),
        answer=min(c[0][i] + c[1][j] + c[2][k] for i, j, k in permutations(range(3))),
        traps={"the cheapest pair first": greedy, "each row's best": sum(min(row) for row in c)},
        hints=(
            "Six pairings are possible; the cheapest pair need not be in the best.",
            "least of the sums of 6 pairings",
        ),
        why="Taking the cheapest pair first can leave a dear one for the end. Rows' own best may take one object "
        "twice, which is what one-to-one matching forbids.",
    )


@cheapest_assignment.second
def _(c):
    best = {frozenset(): 0}
    for row in c:
        longer = {}
        for used, cost in best.items():
            for j in {0, 1, 2} - used:
                key = used | {j}
                longer[key] = min(longer.get(key, 999), cost + row[j])
        best = longer
    return best[frozenset({0, 1, 2})]


@question(topic="vision.set_matching", level=2, source="Carion 2020, DETR, section 3.1", readme="dl_018/7")
def who_gets_which(draw):
    c = [draw.sample(range(1, 40), 3) for _ in range(3)]
    best = min(permutations(range(3)), key=lambda s: sum(c[i][s[i]] for i in range(3)))
    pairs, rows, columns = {}, [0, 1, 2], [0, 1, 2]
    while rows:
        _, i, j = min((c[i][j], i, j) for i in rows for j in columns)
        pairs[i] = j
        rows.remove(i)
        columns.remove(j)
    return Predict(
        ask="Costs of predictions (rows) with objects (columns). What is printed?",
        code=f"""
from itertools import permutations
c = {c}
def total(s):
    return sum(c[i][s[i]] for i in range(3))
print(min(permutations(range(3)), key=total))
""",
        answer=str(best),
        traps={
            "the cheapest pair first": str(tuple(pairs[i] for i in range(3))),
            "each row's best": str(tuple(row.index(min(row)) for row in c)),
        },
        hints=("s[i] is the object of prediction i.", "the order with the least sum of c[i][s[i]]"),
        why="The pairing is judged as a whole: a prediction may have to leave its nearest object to another that has "
        "no good second choice.",
    )


@question(topic="vision.set_matching", level=1, source="Carion 2020, DETR, section 3.1", readme="dl_018/7")
def taught_no_object(draw):
    N, k, m = draw(50, 100, 200, 300), draw.between(3, 20), draw.between(1, 9)
    return Number(
        ask=f"DETR with {N} queries, and an image of {k} objects. {m} further queries have found one of these objects "
        "as well. How many queries are taught 'no object'?",
        given=dict(N=N, k=k, m=m),
        answer=N - k,
        unit="queries",
        traps={"duplicates are taught the object": N - k - m, "the duplicates": m, "all": N},
        hints=("Each object is matched with exactly one query.", "N - k"),
        why="A second box on the same object is punished like one on the background. So the network learns to say each "
        "object once, and nothing has to be suppressed afterwards.",
    )


@taught_no_object.second
def _(N, k, m):
    queries = set(range(N))
    matched = set(range(k))  # further finders of an object stay unmatched
    finders = set(range(k + m))
    return len(queries - finders) + len(finders - matched)


@question(topic="vision.segmentation_measures", level=1, source="Milletari 2016, V-Net, section 3", readme="dl_018/8")
def dice_of_counts(draw):
    both, more, missed = draw.between(20, 400), draw.between(5, 200), draw.between(5, 200)
    return Number(
        ask=f"A mask: {both} pixels are in the object and found, {more} are found but not in it, {missed} are in it "
        "but not found. The Dice coefficient?",
        given=dict(both=both, more=more, missed=missed),
        answer=2 * both / (2 * both + more + missed),
        traps={
            "IoU": both / (both + more + missed),
            "recall": both / (both + missed),
            "precision": both / (both + more),
        },
        hints=("Twice the overlap, over the sum of both sizes.", "2 · both / (2 · both + more + missed)"),
        why="Dice is 2j / (1 + j) for an IoU of j: never smaller, and it orders single masks in the same way.",
    )


@dice_of_counts.second
def _(both, more, missed):
    found, true = set(range(both + more)), set(range(more, both + more + missed))
    j = len(found & true) / len(found | true)
    return 2 / (1 + 1 / j)


@question(topic="vision.segmentation_measures", level=2, source="Milletari 2016, V-Net, section 3", readme="dl_018/8")
def small_object(draw):
    k, f = draw(4, 8, 12, 16, 20), draw(0, 1, 2, 3)
    accuracy, dice = (1000 - k + f) / 1000, round(2 * f / (k + f), 3)
    return Predict(
        ask="An image of 1,000 pixels with a small object, of which few pixels are found and nothing else. What is "
        "printed?",
        code=f"""
object, found = set(range({k})), set(range({f}))
right = 1000 - len(object ^ found)
dice = 2 * len(object & found) / (len(object) + len(found))
print(right / 1000, round(dice, 3))
""",
        answer=f"{accuracy} {dice}",
        traps={
            "IoU for Dice": f"{accuracy} {round(f / k, 3)}" if f else f"{accuracy} 1.0",
            "accuracy of the object": f"{round(f / k, 3)} {dice}",
        },
        hints=("^ is what stands in one set only.", "(1000 - k + f) / 1000 and 2·f / (k + f)"),
        why="Counted by pixels, background everywhere is nearly perfect. Dice is relative to the object's own size, "
        "so a small one counts as much as a large one.",
    )
