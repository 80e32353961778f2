"""Questions on gradients and silent bugs whose numbers change: `grader drill --topic debug.loop_bugs`."""

from math import atan2, ceil, degrees, e, exp, floor, hypot, log, log10, sqrt, tanh

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="gradient.norm", level=1, source="Pascanu 2013, algorithm 1")
def norm_of_all_layers(draw):
    norms = [draw.between(1, 12) for _ in range(3)]
    return Number(
        ask=f"Three layers have gradients of norm {norms[0]}, {norms[1]} and {norms[2]}. Which global norm do they "
        "have, as one long vector?",
        given=dict(norms=norms),
        answer=sqrt(norms[0] ** 2 + norms[1] ** 2 + norms[2] ** 2),
        traps={
            "norms added": sum(norms) * 1.0,
            "the largest layer": max(norms) * 1.0,
            "no root": sum(one * one for one in norms) * 1.0,
        },
        hints=("Squares of all entries are added, whatever layer they are in.", "√(a² + b² + c²)"),
        why="Layers are pieces of one vector, so their squared norms add. The number of layers has no other part in "
        "it.",
    )


@norm_of_all_layers.second
def _(norms):
    entries = [one for norm in norms for one in (0.6 * norm, 0.8 * norm)]
    return hypot(*entries)


@question(topic="gradient.norm", level=2, source="Pascanu 2013, algorithm 1")
def line_of_the_norm(draw):
    a, b, c = draw.sample(range(1, 12), 3)
    wrong, mended = draw(
        ("        total += sum(gradient)", "        total += sum(g * g for g in gradient)"),
        ("        total += sum(g * g for g in gradient) ** 0.5", "        total += sum(g * g for g in gradient)"),
        ("        total = sum(g * g for g in gradient)", "        total += sum(g * g for g in gradient)"),
        ("    return total", "    return total ** 0.5"),
    )
    code = f"""
def global_norm(gradients):
    total = 0.0
    for gradient in gradients:
        if gradient is None:
            continue
        total += sum(g * g for g in gradient)
    return total ** 0.5
print(round(global_norm([[{a}, {-b}], None, [{c}, 2]]), 2))
"""
    return Bug(
        ask="The L2 norm of all gradients as one long vector. It prints another number. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round((a * a + b * b + c * c + 4) ** 0.5, 2)),
        traps={"a frozen layer has none": "        if gradient is None:", "the sum begins at 0": "    total = 0.0"},
        hints=("Square, add up over all layers, then one root.", "√(Σ over layers and entries of g²)"),
        why="One root at the very end: roots of layers do not add up, and signed entries would cancel.",
    )


@question(topic="gradient.clip_norm", level=1, source="Pascanu 2013, algorithm 1", readme="dl_013/1")
def entry_after_clipping(draw):
    a, b, c = draw(3, 5, 8, 9, 20), draw(4, 12, 15, 21, 40), draw(0.5, 1.0, 2.0)
    return Number(
        ask=f"A gradient has the entries {a} and {b}. It is clipped by norm to {c:g}. What becomes of the entry {b}?",
        given=dict(a=a, b=b, c=c),
        answer=b * c / sqrt(a * a + b * b),
        traps={"clipped by value": c, "divided by the sum": b * c / (a + b)},
        hints=("All entries are multiplied with the same number.", "b · c / √(a^2 + b^2)"),
        why="Clipping by norm multiplies the whole gradient with one number: it gets shorter, and keeps its direction.",
    )


@entry_after_clipping.second
def _(a, b, c):
    from math import sin

    return c * sin(atan2(b, a))


@question(topic="gradient.clip_norm", level=2, source="torch.nn.utils.clip_grad_norm_", readme="dl_013/2")
def clipping_an_infinity(draw):
    g = draw.shuffled([draw.between(2, 9), -draw.between(2, 9), draw(0, 1)])
    place = draw(0, 1, 2)
    shown = [f"{float(one)}" for one in g]
    shown[place] = "inf"
    zeros = ["0.0" if float(one) > 0 or one == 0 else "-0.0" for one in g]
    answer = [*zeros]
    answer[place] = "nan"
    clipped = [*shown]
    clipped[place] = "1.0"
    return Predict(
        ask="A gradient with an Inf is clipped by norm. What is printed?",
        code=f"""
from math import inf
gradient = [{", ".join(shown)}]
norm = sum(g * g for g in gradient) ** 0.5
scale = min(1.0, 1.0 / norm)
print([g * scale for g in gradient])
""",
        answer=f"[{', '.join(answer)}]",
        traps={
            "the infinity is cut": f"[{', '.join(clipped)}]",
            "all become zero": f"[{', '.join([*zeros[:place], '0.0', *zeros[place + 1 :]])}]",
            "all become NaN": "[nan, nan, nan]",
        },
        hints=("What is the norm, and so the scale? Then Inf times that.", "1 / Inf = 0, and Inf · 0 is NaN"),
        why="Clipping does not heal an Inf: it makes a NaN of it and loses the rest. Look at the norm and skip the "
        "step.",
    )


@question(topic="gradient.clip_value", level=2, source="torch.nn.utils.clip_grad_value_", readme="dl_013/1")
def angle_of_clipping(draw):
    a, b, c = draw(2, 3, 4, 5, 8, 20), draw(0.2, 0.4, 0.5, 0.8), 1.0
    return Number(
        ask=f"The gradient ({a}, {b}) is clipped by value at {c:g}. By how many degrees does it turn?",
        given=dict(a=a, b=b),
        answer=degrees(atan2(b, 1.0) - atan2(b, a)),
        unit="degrees",
        traps={"it only gets shorter": 0.0, "its angle afterwards": degrees(atan2(b, 1.0))},
        hints=("Compare the angle of what is left with that of (a, b).", "atan(b / 1) - atan(b / a)"),
        why="Each entry is cut by itself, so the large ones lose and the small ones do not. Clipping by norm turns "
        "nothing.",
    )


@angle_of_clipping.second
def _(a, b):
    import numpy as np

    before, after = np.array([a, b]), np.clip([a, b], -1.0, 1.0)
    cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
    return float(np.degrees(np.arccos(cosine)))


@question(topic="gradient.clip_value", level=1, source="Pascanu 2013, section 3.2", readme="dl_013/1")
def both_ways_to_clip(draw):
    k, c = draw.between(4, 9), draw(1, 2)
    x, y = draw((3, -4), (-3, 4), (4, -3), (-4, -3))
    g = [x * k, y * k]
    norm, value = [x * c, y * c], [5 * c if one > 0 else -5 * c for one in g]
    return Predict(
        ask="A gradient, clipped by value and by norm. What is printed?",
        code=f"""
gradient, limit = {g}, {5 * c}
norm = sum(g * g for g in gradient) ** 0.5
print([max(-limit, min(limit, g)) for g in gradient])
print([round(g * limit / norm) for g in gradient])
""",
        answer=f"{value}\n{norm}",
        traps={
            "the two swapped": f"{norm}\n{value}",
            "value, twice": f"{value}\n{value}",
            "signs lost": f"{[abs(one) for one in value]}\n{[abs(one) for one in norm]}",
        },
        hints=("By value: each entry by itself. By norm: one factor for all.", "the sign and limit; g · limit / ‖g‖"),
        why="By value both entries end at the limit and the direction is lost; by norm their ratio stays.",
    )


@question(topic="gradient.accumulation", level=1, source="Hugging Face blog, October 2024", readme="dl_013/3")
def loss_over_micro_batches(draw):
    n, m = draw.sample([2, 3, 5, 8, 10, 16], 2), draw.sample([0.5, 1.0, 1.5, 2.0, 4.0, 6.0], 2)
    return Number(
        ask=f"Two micro-batches: {n[0]} counted tokens with mean loss {m[0]:g}, and {n[1]} with mean loss {m[1]:g}. "
        "What is the loss of the whole batch, as a mean over its tokens?",
        given=dict(n=n, m=m),
        answer=(n[0] * m[0] + n[1] * m[1]) / (n[0] + n[1]),
        traps={
            "mean of means": (m[0] + m[1]) / 2,
            "divided by the micro-batches": (n[0] * m[0] + n[1] * m[1]) / 2,
            "means added": m[0] + m[1],
        },
        hints=("Add up losses of tokens, then divide by all tokens.", "(n₁·m₁ + n₂·m₂) / (n₁ + n₂)"),
        why="A mean of means gives a token in a short micro-batch more weight. Divide the sums by the number of "
        "tokens that count in all of them.",
    )


@loss_over_micro_batches.second
def _(n, m):
    import numpy as np

    return float(np.concatenate([np.full(count, loss) for count, loss in zip(n, m, strict=True)]).mean())


@question(topic="gradient.accumulation", level=2, source="Hugging Face blog, October 2024", readme="dl_013/3")
def line_of_accumulation(draw):
    first = [draw.between(1, 9)]
    batches = [first, [draw.between(1, 9) for _ in range(3)], [draw.between(1, 9) for _ in range(2)]]
    wrong, mended = draw(
        ("    tokens = len(batches)", "    tokens = sum(len(losses) for losses in batches)"),
        ("        total += sum(losses) / len(losses)", "        total += sum(losses) / tokens"),
        ("        total = sum(losses) / tokens", "        total += sum(losses) / tokens"),
    )
    code = f"""
def accumulated(batches):
    tokens = sum(len(losses) for losses in batches)
    total = 0.0
    for losses in batches:
        total += sum(losses) / tokens
    return total
print(round(accumulated({batches}), 3))
"""
    every = [one for losses in batches for one in losses]
    return Bug(
        ask="Token losses of micro-batches; the mean over all tokens should be printed. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(sum(every) / len(every), 3)),
        traps={"every batch is read": "    for losses in batches:", "a sum begins at 0": "    total = 0.0"},
        hints=("By what is each sum divided? What is kept of the batches before?", "Σ losses / all counted tokens"),
        why="Gradients add up by themselves; only the divisor has to be that of the whole batch, which is known "
        "before the first backward pass.",
    )


@question(topic="gradient.monitor", level=1, source="Glorot 2010, section 4")
def size_of_an_entry(draw):
    i, o, g = draw(64, 256, 1024, 4096), draw(64, 256, 1024), draw(0.5, 2.0, 8.0, 10.0)
    return Number(
        ask=f"The gradient of a weight of {i} x {o} has norm {g:g}. Which root mean square do its entries have?",
        given=dict(i=i, o=o, g=g),
        answer=g / sqrt(i * o),
        traps={"divided by their number": g / (i * o), "the norm itself": g, "one side alone": g / sqrt(i)},
        hints=("The squared norm is a sum over all entries.", "g / √(i · o)"),
        why="Norms grow with the root of the number of entries, so norms of layers of unlike sizes are compared by "
        "their root mean squares.",
    )


@size_of_an_entry.second
def _(i, o, g):
    import numpy as np

    gradient = np.ones((i, o))
    gradient *= g / np.linalg.norm(gradient)
    return float(np.sqrt(np.square(gradient).mean()))


@question(topic="gradient.monitor", level=2, source="Python FAQ, lambdas in a loop")
def hooks_of_a_loop(draw):
    names = draw.sample(["embed", "norm", "up", "down", "head", "gate"], 3)
    return Predict(
        ask="A hook for each layer, made in a loop. What is printed?",
        code=f"""
hooks = []
for name in {names}:
    hooks.append(lambda: name)
print([hook() for hook in hooks])
""",
        answer=str([names[-1]] * 3),
        traps={
            "each its own": str(names),
            "the first name": str([names[0]] * 3),
            "last first": str(names[::-1]),
        },
        hints=(
            "When is `name` looked up: where the hook is made, or where it is called?",
            "the last value of name, thrice",
        ),
        why="A lambda looks its names up when it is called, after the loop. functools.partial or a default value "
        "binds the name at once.",
    )


@question(topic="gradient.vanishing", level=1, source="Glorot 2010, section 3.1", seed="001/12")
def sigmoids_at_best(draw):
    L = draw.between(3, 21)
    return Number(
        ask=f"{L} sigmoids, one behind the other. By which factor do their slopes multiply a gradient, at most?",
        given=dict(L=L),
        answer=0.25**L,
        unit="x",
        traps={"slope one half": 0.5**L, "slopes added": 0.25 * L, "divided": 0.25 / L},
        hints=("Where is a sigmoid steepest, and how steep?", "(1/4)^L"),
        why="A sigmoid's slope is s · (1 - s), a quarter at best. A product of such factors dies fast; ReLU's factor "
        "is 1.",
    )


@sigmoids_at_best.second
def _(L):
    step, gradient = 1e-5, 1.0
    for _layer in range(L):
        gradient *= (1 / (1 + exp(-step)) - 1 / (1 + exp(step))) / (2 * step)
    return gradient


@question(topic="gradient.vanishing", level=2, source="Glorot 2010, section 3")
def slopes_in_order(draw):
    a, b, c, leak = draw(0, 1, 2, 4), draw(0.5, 1, 3, 5), draw(-1, -2), draw(0.01, 0.15)
    s, t = 1 / (1 + exp(-a)), tanh(b)
    slopes = {
        f"sigmoid at {a}": s * (1 - s),
        f"tanh at {b}": 1 - t * t,
        f"ReLU at {c}": 0.0,
        f"leaky ReLU ({leak}) at {c}": leak,
    }
    heights = {f"sigmoid at {a}": s, f"tanh at {b}": t, f"ReLU at {c}": 0.0, f"leaky ReLU ({leak}) at {c}": leak * c}
    order = sorted(slopes, key=lambda name: slopes[name])
    return Order(
        ask="Which lets least of a gradient through? Least first.",
        given=dict(a=a, b=b, c=c, leak=leak),
        answer=order,
        traps={"most first": order[::-1], "by output": sorted(heights, key=lambda name: heights[name])},
        hints=("A slope is asked for, not an output.", "s·(1 - s), 1 - t², 0, the leak"),
        why="Saturated sigmoids and tanhs pass next to nothing. A ReLU passes all or nothing, a leaky one never "
        "nothing.",
    )


@slopes_in_order.second
def _(a, b, c, leak):
    functions = {
        f"sigmoid at {a}": (lambda x: 1 / (1 + exp(-x)), a),
        f"tanh at {b}": (tanh, b),
        f"ReLU at {c}": (lambda x: max(x, 0.0), c),
        f"leaky ReLU ({leak}) at {c}": (lambda x: max(x, leak * x), c),
    }
    step = 1e-6
    slopes = {name: (f(x + step) - f(x - step)) / (2 * step) for name, (f, x) in functions.items()}
    return sorted(slopes, key=lambda name: slopes[name])


@question(topic="gradient.exploding", level=2, source="Pascanu 2013, section 2.1")
def layers_until_overflow(draw):
    g = draw(1.1, 1.2, 1.3, 1.5, 1.8, 2.5, 3.0, 4.0, 6.0)
    return Number(
        ask=f"Every layer multiplies a gradient of 1 with {g:g}. After how many layers is it first above 65,504, the "
        "largest float16?",
        given=dict(g=g),
        answer=floor(log(65504) / log(g)) + 1,
        unit="layers",
        traps={"factors added": ceil(65504 / g), "float32": floor(log(3.4e38) / log(g)) + 1},
        hints=("How often can it be multiplied until it passes the limit?", "⌊ln 65504 / ln g⌋ + 1"),
        why="A product grows exponentially with depth; factors near 1 only take longer. In an RNN each step in time "
        "is a layer, too.",
    )


@layers_until_overflow.second
def _(g):
    gradient, layers = 1.0, 0
    while gradient <= 65504:
        gradient, layers = gradient * g, layers + 1
    return layers


@question(topic="gradient.exploding", level=2, source="Pascanu 2013, section 2.1")
def which_explodes_most(draw):
    cases = draw.sample([(1.05, 60), (1.1, 40), (1.2, 30), (1.5, 8), (2.0, 6), (3.0, 2), (1.02, 100), (4.0, 4)], 4)
    sizes = {f"factor {factor:g}, {depth} layers": factor**depth for factor, depth in cases}
    order = sorted(sizes, key=lambda name: -sizes[name])
    return Order(
        ask="Each layer multiplies the gradient with the same factor. Where is it largest at the first layer? "
        "Largest first.",
        given=dict(cases=cases),
        answer=order,
        traps={
            "by the factor": [f"factor {f:g}, {d} layers" for f, d in sorted(cases, reverse=True)],
            "by the depth": [f"factor {f:g}, {d} layers" for f, d in sorted(cases, key=lambda one: -one[1])],
            "smallest first": order[::-1],
        },
        hints=("Take logarithms: they add up over layers.", "depth · ln(factor)"),
        why="What counts is depth times the logarithm of the factor. A small excess in a deep network beats a large "
        "one in a shallow one.",
    )


@which_explodes_most.second
def _(cases):
    found = []
    for factor, depth in cases:
        gradient = 1.0
        for _layer in range(depth):
            gradient *= factor
        found.append((-gradient, f"factor {factor:g}, {depth} layers"))
    return [name for _, name in sorted(found)]


@question(topic="gradient.prevention", level=1, source="He 2016, identity mappings, section 2", readme="dl_013/5")
def gradient_past_residuals(draw):
    s, L = draw(0.02, 0.05, 0.1, 0.2), draw(10, 12, 20, 24, 30, 36)
    return Number(
        ask=f"{L} residual blocks h + F(h), one number wide; every branch has slope {s}. By which factor does a "
        "gradient change from the last block to the first?",
        given=dict(s=s, L=L),
        answer=(1 + s) ** L,
        unit="x",
        traps={"no skip": s**L, "the skip alone": 1.0, "slopes added": 1 + s * L},
        hints=("What is the derivative of h + F(h)?", "(1 + s)^L"),
        why="A block's Jacobian is I + F'. The product holds the identity beside all products of branches, so it "
        "cannot vanish, but it may explode.",
    )


@gradient_past_residuals.second
def _(s, L):
    def stack(h):
        for _block in range(L):
            h = h + s * h
        return h

    return stack(2.0) - stack(1.0)


@question(topic="gradient.prevention", level=2, source="He 2015, section 2.2")
def xavier_under_relu(draw):
    L, start = draw.between(4, 40), draw(1.0, 2.0, 4.0)
    return Number(
        ask=f"{L} square layers with ReLU, weights by Xavier, no biases. The mean square of the signal starts at "
        f"{start:g}. What is it expected to be behind the last ReLU?",
        given=dict(L=L, start=start),
        answer=start * 0.5**L,
        traps={
            "as with He": start,
            "by the root": start * 0.5 ** (L / 2),
            "one ReLU fewer": start * 0.5 ** (L - 1),
        },
        hints=("Xavier keeps the mean square in a product; what does a ReLU do to it?", "start · (1/2)^L"),
        why="A ReLU sets half of a symmetric signal to 0, and so halves its mean square. He's factor of 2 makes up "
        "for it.",
    )


@xavier_under_relu.second
def _(L, start):
    mean_square = start
    for _layer in range(L):
        mean_square = sum(max(sign, 0) ** 2 * mean_square for sign in (-1, 1)) / 2
    return mean_square


@question(topic="gradient.prevention", level=2, source="Glorot 2010, section 4.2; He 2015, section 2.2")
def deviation_that_keeps(draw):
    i, o = draw.sample([100, 300, 512, 784, 1200, 2048, 3000], 2)
    what = draw("the forward signal through a ReLU", "the forward signal, no activation", "the gradient through a ReLU")
    texts = {
        "the forward signal through a ReLU": f"√(2 / {i})",
        "the forward signal, no activation": f"√(1 / {i})",
        "the gradient through a ReLU": f"√(2 / {o})",
    }
    names = {
        "the forward signal through a ReLU": "He, forward",
        "the forward signal, no activation": "the factor of ReLU",
        "the gradient through a ReLU": "the other side",
    }
    return Choice(
        ask=f"A layer from {i} to {o} units. Which standard deviation of its weights keeps the mean square of {what}?",
        given=dict(i=i, o=o, what=what),
        answer=texts[what],
        traps={names[other]: text for other, text in texts.items() if other != what}
        | {"a compromise": f"√(2 / {i + o})"},
        hints=("How many products are added up, and does a ReLU halve the result?", "√(1 / n), √(2 / n) with a ReLU"),
        why="Forward, n is the number of inputs; backward, that of outputs. A ReLU asks for twice the variance. "
        "Xavier takes the mean of both sides.",
    )


@deviation_that_keeps.second
def _(i, o, what):
    added, halved = (o if what.startswith("the gradient") else i), "ReLU" in what
    for top, n in ((1, i), (2, i), (1, o), (2, o), (2, i + o)):
        variance = top / n
        if abs(added * variance * (0.5 if halved else 1.0) - 1) < 1e-9:
            return f"√({top} / {n})"
    raise AssertionError


@question(topic="debug.activations", level=1, source="Lu 2019, section 1", readme="dl_013/4")
def dead_units(draw):
    units = [[draw(0, 0, 1, 3) for _ in range(4)] for _ in range(draw.between(5, 8))]
    units[draw(0, 1, 2)] = [0, 0, 0, 0]
    rows = [list(row) for row in zip(*units, strict=True)]
    dead = sum(not any(unit) for unit in units)
    zeros = sum(one == 0 for unit in units for one in unit)
    return Predict(
        ask="Outputs of a ReLU layer, a row for each input. What is printed?",
        code="outputs = [\n"
        + "".join(f"    {row},\n" for row in rows)
        + "]\nunits = list(zip(*outputs))\nprint(sum(not any(unit) for unit in units), 'of', len(units))",
        answer=f"{dead} of {len(units)}",
        traps={
            "zeros counted": f"{zeros} of {len(units)}",
            "any zero is enough": f"{sum(0 in unit for unit in units)} of {len(units)}",
            "inputs for units": f"{sum(not any(row) for row in rows)} of 4",
        },
        hints=("A unit is a column.", "columns that are 0 in every row"),
        why="A ReLU may be off for many inputs and still learn from the others. Dead is what is off for all: no "
        "gradient will wake it.",
    )


@question(topic="debug.activations", level=1, source="Glorot 2010, section 3.1", readme="dl_013/4")
def slope_of_a_tanh(draw):
    y = draw(0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
    return Number(
        ask=f"A tanh unit puts out {y}. How steep is it there, in percent of its steepest slope?",
        given=dict(y=y),
        answer=100 * (1 - y * y),
        unit="%",
        traps={"distance to 1": 100 * (1 - y), "a sigmoid's slope": 400 * y * (1 - y), "the output": 100 * y},
        hints=("The slope of tanh can be written with its output alone.", "100 · (1 - y^2)"),
        why="The steepest slope of tanh is 1, at 0. Near 1 it falls to about twice the distance that is left.",
    )


@slope_of_a_tanh.second
def _(y):
    from math import atanh, cosh

    return 100 / cosh(atanh(y)) ** 2


@question(topic="debug.update_ratio", level=1, source="Karpathy, CS231n, Neural Networks 3")
def ratio_of_an_sgd_step(draw):
    lr, g, w = draw(0.001, 0.01, 0.03, 0.1), draw(0.2, 0.5, 2.0), draw(5.0, 10.0, 25.0, 40.0)
    return Number(
        ask=f"Plain SGD, rate {lr:g}: a weight of norm {w:g} has a gradient of norm {g:g}. How large is the update "
        "relative to the weight?",
        given=dict(lr=lr, g=g, w=w),
        answer=lr * g / w,
        traps={"rate forgotten": g / w, "not relative": lr * g, "upside down": lr * w / g},
        hints=("How far does a step move the weight?", "lr · g / w"),
        why="About a thousandth is usual. Far less trains nothing, a tenth tears the weights apart.",
    )


@ratio_of_an_sgd_step.second
def _(lr, g, w):
    import numpy as np

    weight, gradient = np.full(4, w / 2), np.array([g, 0, 0, 0])
    after = weight - lr * gradient
    return float(np.linalg.norm(after - weight) / np.linalg.norm(weight))


@question(topic="debug.update_ratio", level=2, source="Karpathy, CS231n; Kingma 2014, section 2.1")
def first_step_of_adam(draw):
    lr, s, g = draw(1e-4, 3e-4, 1e-3, 3e-3), draw(0.01, 0.02, 0.05, 0.1), draw(0.001, 0.2, 5.0)
    return Number(
        ask=f"Adam's first step, rate {lr:g}, no decay. The weights have a root mean square of {s:g}, each entry of "
        f"the gradient is {g:g} or -{g:g}. How large is the update relative to the weights?",
        given=dict(lr=lr, s=s, g=g),
        answer=lr / s,
        traps={"as with SGD": lr * g / s, "not relative": lr, "the first moment alone": 0.1 * lr / s},
        hints=("How far does each entry move in Adam's first step?", "lr / s"),
        why="After its bias correction, Adam's first step is the rate in each entry, whatever the gradient's size. "
        "So the ratio depends on the weights.",
    )


@first_step_of_adam.second
def _(lr, s, g):
    import numpy as np

    gradient, weights = np.array([g, -g, g, -g]), np.array([s, s, -s, s])
    first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return float(np.linalg.norm(lr * first / np.sqrt(second)) / np.linalg.norm(weights))


@question(topic="debug.update_ratio", level=2, source="Karpathy, CS231n, Neural Networks 3")
def layers_by_ratio(draw):
    norms = list(zip(draw.sample([0.1, 0.3, 0.7, 1.9], 3), draw.sample([5, 11, 23, 31], 3), strict=True))
    names = ["embedding", "block", "head"]
    shown = dict(zip(names, norms, strict=True))
    order = sorted(names, key=lambda name: -shown[name][0] / shown[name][1])
    return Order(
        ask="Norms of gradient and weight: "
        + "; ".join(f"{name} {g} and {w}" for name, (g, w) in shown.items())
        + ". SGD, one rate. Which layer changes most, relative to its weights? Most first.",
        given=dict(norms=norms),
        answer=order,
        traps={
            "by gradient": sorted(names, key=lambda name: -shown[name][0]),
            "least first": order[::-1],
        },
        hints=("The rate is the same for all. What is left of the ratio?", "gradient norm / weight norm"),
        why="A large gradient on large weights may be a small change. The rate cancels in the comparison, not in the "
        "ratios themselves.",
    )


@layers_by_ratio.second
def _(norms):
    def moved(one):
        gradient, weight = one
        after = weight - 1e-3 * gradient
        return (weight - after) / weight

    left = dict(zip(["embedding", "block", "head"], norms, strict=True))
    found = []
    while left:
        found.append(max(left, key=lambda name: moved(left[name])))
        del left[found[-1]]
    return found


@question(topic="debug.diagnosis", level=1, source="Karpathy 2019, A Recipe", readme="dl_013/4")
def loss_of_the_first_step(draw):
    C = draw(2, 5, 10, 20, 100, 1000, 21841, 32000, 50257, 128256)
    return Number(
        ask=f"A classifier of {C:,} classes, balanced, freshly initialised. Which cross-entropy do you expect at step "
        "0, in nats?",
        given=dict(C=C),
        answer=log(C),
        traps={"in bits": log(C) / log(2), "share of errors": 1 - 1 / C, "decimal logarithm": log10(C)},
        hints=("Without knowledge, all classes are equally likely.", "ln C"),
        why="Far above it, the first logits are too large or labels are wrong. If the loss stays there, the output "
        "does not depend on the input.",
    )


@loss_of_the_first_step.second
def _(C):
    import numpy as np

    return float(np.logaddexp.reduce(np.zeros(C)))


@question(topic="debug.diagnosis", level=2, source="Pascanu 2013; Glorot 2010", readme="dl_013/4")
def most_urgent_illness(draw):
    last = draw(0.8, 2.0, 30.0)
    illness = draw("non-finite", "exploding", "dead", "vanishing")
    first = {"exploding": draw(900.0, 40000.0), "dead": 0.0, "vanishing": draw(1e-5, 3e-6) * last}.get(
        illness, draw(0.5, 0.0)
    )
    nan = draw(1, 12) if illness == "non-finite" else 0
    names = {
        "non-finite": "an overflow, log(0) or bad data: find where it begins",
        "exploding": "a product of large factors: clip by norm, warm up",
        "dead": "units that are off for every input: lower rate, He, a leak",
        "vanishing": "saturation or small factors: ReLU, skips, normalisation",
    }
    return Choice(
        ask=f"Gradient norms of the finite entries: first layer {first:g}, last layer {last:g}. The first layer has "
        f"{nan} NaN. What is it, most urgently, and what do you try?",
        given=dict(first=first, last=last, nan=nan),
        answer=names[illness],
        traps={other: text for other, text in names.items() if other != illness},
        hints=(
            "NaN first, then sizes: too large, exactly 0, far smaller than elsewhere.",
            "NaN > above 100 > 0 > below 1e-4",
        ),
        why="A NaN makes all other numbers meaningless. Exactly 0 is no product of small factors: there, nothing "
        "comes through at all.",
    )


@most_urgent_illness.second
def _(first, last, nan):
    table = [
        (nan > 0, "an overflow, log(0) or bad data: find where it begins"),
        (max(first, last) > 100, "a product of large factors: clip by norm, warm up"),
        (0 in (first, last), "units that are off for every input: lower rate, He, a leak"),
        (min(first, last) < 1e-4 * max(first, last), "saturation or small factors: ReLU, skips, normalisation"),
    ]
    return next(text for shows, text in table if shows)


@question(topic="debug.loop_bugs", level=2, source="torch.nn.CrossEntropyLoss")
def softmax_twice(draw):
    C = draw(3, 5, 10, 20, 50, 100, 1000)
    return Number(
        ask=f"A model ends in a softmax over {C} classes, and torch's cross_entropy is applied to that. Which is the "
        "lowest loss that it can reach?",
        given=dict(C=C),
        answer=log(1 + (C - 1) / e),
        traps={"as without the bug": 0.0, "of a guess": log(C), "as with two classes": log(1 + 1 / e)},
        hints=(
            "The best output is 1 for the right class and 0 for the others; these are taken as logits.",
            "ln(1 + (C - 1) / e)",
        ),
        why="cross_entropy takes logits. Probabilities as logits differ by 1 at most, so the loss cannot get near 0, "
        "and the gradient is small.",
    )


@softmax_twice.second
def _(C):
    import numpy as np

    logits = np.eye(C)[0]
    return float(-np.log(np.exp(logits[0]) / np.exp(logits).sum()))


@question(topic="debug.loop_bugs", level=2, source="PyTorch FAQ, memory; Williams 1990", readme="dl_013/6")
def state_not_detached(draw):
    n, k = draw(12, 20, 30, 50, 64), draw.between(4, 25)
    return Number(
        ask=f"Truncated backpropagation in {k} chunks of {n} steps. The state is never detached, and "
        "retain_graph=True keeps the error away. How many steps do all backward passes walk through?",
        given=dict(n=n, k=k),
        answer=n * k * (k + 1) // 2,
        unit="steps",
        traps={"as if detached": n * k, "all, each time": n * k * k, "its own chunk left out": n * k * (k - 1) // 2},
        hints=("The k-th backward pass walks through all chunks so far.", "n · k · (k + 1) / 2"),
        why="Each chunk hangs on those before it: time grows with the square, memory with the number of chunks. "
        "Detach the state where a chunk begins.",
    )


@state_not_detached.second
def _(n, k):
    graph, walked = 0, 0
    for _chunk in range(k):
        graph += n
        walked += graph
    return walked


@question(topic="debug.loop_bugs", level=1, source="torch.optim, zero_grad")
def gradients_not_cleared(draw):
    w, g = draw.between(40, 90), draw(2, 3, 4)
    steps, grad, right = [], 0, []
    for i in range(3):
        grad += g
        right.append(str(w - g * (i + 1)))
        steps.append(str((int(steps[-1]) if steps else w) - grad))
    return Predict(
        ask="A loop that never clears its gradients; rate 1. What is printed?",
        code=f"""
weight, grad = {w}, 0
for step in range(3):
    grad += {g}          # backward
    weight -= grad     # step
    print(weight)
""",
        answer="\n".join(steps),
        traps={
            "as if cleared": "\n".join(right),
            "the step forgets": "\n".join([right[0]] * 3),
            "gradients subtracted once more": "\n".join(str(int(one) - g) for one in steps),
        },
        hints=("backward adds to what is there.", "g, 2g, 3g are subtracted in turn"),
        why="Without clearing, a gradient of the past counts again in every later step: it works like momentum "
        "without decay.",
    )


@question(topic="debug.loop_bugs", level=1, source="torch.optim; torch.amp, examples")
def steps_of_a_loop(draw):
    every = [
        "forward pass",
        "loss of the outputs",
        "scaled loss, backward",
        "unscale the gradients",
        "clip by norm",
        "optimizer step",
        "scheduler step",
        "set gradients to None for the next batch",
    ]
    chosen = sorted(draw.sample(range(8), 5))
    order = [every[i] for i in chosen]
    swapped = [*order[:2], order[3], order[2], order[4]]
    return Order(
        ask="Some steps of a training loop in float16, gradients cleared at its end. In which order?",
        given=dict(chosen=chosen),
        answer=order,
        traps={"two in the middle swapped": swapped, "two at the end swapped": [*order[:3], order[4], order[3]]},
        hints=("What does each step need that another has made?", "forward, backward, unscale, clip, step"),
        why="A norm is only right once gradients are unscaled, clipping must come before the step, and the scheduler "
        "after it.",
    )


@steps_of_a_loop.second
def _(chosen):
    needs = {
        "scheduler step": "optimizer step",
        "clip by norm": "unscale the gradients",
        "optimizer step": "clip by norm",
        "loss of the outputs": "forward pass",
        "unscale the gradients": "scaled loss, backward",
        "set gradients to None for the next batch": "scheduler step",
        "scaled loss, backward": "loss of the outputs",
    }
    done, after = ["forward pass"], {before: step for step, before in needs.items()}
    while done[-1] in after:
        done.append(after[done[-1]])
    return [step for i, step in enumerate(done) if i in chosen]


@question(topic="gradient.tensorboard", level=1, source="TensorBoard, histograms")
def numbers_of_histograms(draw):
    T, S, k, b = draw(120, 148, 291), draw(10000, 20000, 50000), draw(50, 100, 500), draw(30, 64)
    return Number(
        ask=f"A histogram of {b} buckets is written for each of {T} gradients, at every {k}th of {S:,} steps. How "
        "many counts of buckets are written?",
        given=dict(T=T, S=S, k=k, b=b),
        answer=T * (S // k) * b,
        unit="counts",
        traps={"at every step": T * S * b, "a number for a histogram": T * (S // k), "one gradient": (S // k) * b},
        hints=("How often is one written, for how many tensors?", "T · (S / k) · b"),
        why="Histograms of all gradients at every step fill a disk. A norm at every step and histograms now and then "
        "are enough.",
    )


@numbers_of_histograms.second
def _(T, S, k, b):
    written = 0
    for step in range(S):
        if step % k == 0:
            written += b * T
    return written


@question(topic="gradient.tensorboard", level=2, source="TensorBoard, histograms")
def histogram_of_decades(draw):
    gradients = [draw(0.3, 0.05, 0.002, 0.0004, 0.00007) for _ in range(5)]
    decades = [floor(log10(one)) for one in gradients]
    counts = {decade: decades.count(decade) for decade in sorted(decades)}
    return Predict(
        ask="A histogram over powers of ten. What is printed?",
        code=f"""
from math import floor, log10
counts = {{}}
for g in {sorted(gradients)}:
    decade = floor(log10(g))
    counts[decade] = counts.get(decade, 0) + 1
print(counts)
""",
        answer=str(counts),
        traps={
            "rounded to zero": str({decade + 1: n for decade, n in counts.items()}),
            "shares for counts": str({decade: n / 5 for decade, n in counts.items()}),
        },
        hints=("floor goes down: 0.3 lies between 10⁻¹ and 10⁰.", "the exponent of the leading digit"),
        why="On a linear axis nearly all gradients fall into one bucket. Powers of ten show a layer whose gradients "
        "die.",
    )


@question(topic="debug.weights", level=2, source="Glorot 2010, section 4.2")
def norm_of_fresh_weights(draw):
    i, o, s = draw(512, 768, 1024, 4096), draw(768, 2048, 4096, 11008), draw(0.02, 0.006, 0.01)
    return Number(
        ask=f"A weight of {i} x {o} with entries of standard deviation {s} and mean 0. Which norm do you expect?",
        given=dict(i=i, o=o, s=s),
        answer=s * sqrt(i * o),
        traps={"no root": s * i * o, "of a row": s * sqrt(i), "of an entry": s},
        hints=("Each entry adds its variance to the squared norm.", "s · √(i · o)"),
        why="Watch the norm from this value on: decay and gradient pull it apart, and a jump of it tells of a bad "
        "step.",
    )


@norm_of_fresh_weights.second
def _(i, o, s):
    square = 0.0
    for _row in range(i):
        square += o * s * s
    return hypot(sqrt(square))


@question(topic="debug.weights", level=2, source="Glorot 2010, section 4.2")
def norms_by_shape(draw):
    pairs = draw.sample([(64, 64), (64, 4096), (256, 512), (512, 512), (1024, 1024), (128, 128), (2048, 256)], 3)
    square = {f"{i} x {o}": 2 * i * o / (i + o) for i, o in pairs}
    order = sorted(square, key=lambda name: square[name])
    return Order(
        ask="Weights by Xavier: variance 2 / (inputs + outputs). Which has the smallest norm? Smallest first.",
        given=dict(pairs=pairs),
        answer=order,
        traps={
            "by the number of entries": [f"{i} x {o}" for i, o in sorted(pairs, key=lambda one: one[0] * one[1])],
            "by the deviation": [f"{i} x {o}" for i, o in sorted(pairs, key=lambda one: -one[0] - one[1])],
            "largest first": order[::-1],
        },
        hints=("The squared norm is variance times entries.", "2 · i · o / (i + o)"),
        why="Xavier's squared norm is the harmonic mean of the sides, so the shorter side decides. Compare norms "
        "with this, not with each other.",
    )


@norms_by_shape.second
def _(pairs):
    def norm(sides):
        return 1 / (1 / sides[0] + 1 / sides[1])

    return [f"{i} x {o}" for i, o in sorted(pairs, key=norm)]


@question(topic="debug.production_monitor", level=2, source="Kingma 2014, section 3")
def half_life_of_a_mean(draw):
    b = draw(0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
    return Number(
        ask=f"A monitor keeps m = {b} · m + {round(1 - b, 3)} · loss. After how many steps has a value lost half of "
        "its weight?",
        given=dict(b=b),
        answer=log(0.5) / log(b),
        unit="steps",
        traps={"time constant": 1 / (1 - b), "a tenth is left": log(0.1) / log(b)},
        hints=("Its weight is multiplied with the same number in each step.", "ln(1/2) / ln(b)"),
        why="About 0.69 of the time constant. A mean that forgets too fast follows the fault it should notice.",
    )


@half_life_of_a_mean.second
def _(b):
    from math import log2

    return -1 / log2(b)


@question(topic="debug.production_monitor", level=2, source="Chowdhery 2022, PaLM, section 5.1")
def alarms_of_a_monitor(draw):
    base, spike, before = draw(8, 16, 24, 40), draw.between(3, 5), draw(1, 2, 3)
    losses = [base] * before + [base * spike] * 2 + [base]
    return Predict(
        ask="A monitor that raises an alarm at twice the mean. What is printed?",
        code=f"""
mean, alarms = {base}, []
for step, loss in enumerate({losses}):
    if loss > 2 * mean:
        alarms.append(step)
    else:
        mean = (mean + loss) / 2
print(alarms, mean)
""",
        answer=f"[{before}, {before + 1}] {base}",
        traps={
            "the spike enters the mean": f"[{before}] {base * (5 + 3 * spike) / 8}",
            "the first alarm alone": f"[{before}] {base}",
            "counted from 1": f"[{before + 1}, {before + 2}] {base}",
        },
        hints=("Does a loss that raises an alarm change the mean?", "alarms at the spike, mean as before"),
        why="A mean that takes in the spike raises its own threshold and falls silent. Keep what raised an alarm out "
        "of it.",
    )
