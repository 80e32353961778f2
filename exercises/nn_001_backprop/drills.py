"""Questions on backpropagation whose numbers change: `grader drill --topic backprop.chain_rule`."""

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="backprop.chain_rule", level=1, source="CS231n, backpropagation", seed="001/10")
def product_of_a_sum(draw):
    x, y, z = draw.between(-6, 6), draw.between(-9, 9), draw.between(2, 9)
    return Number(
        ask=f"f(x, y, z) = (y + x) · z at x = {x}, y = {y}, z = {z}. What is the derivative of f by z?",
        given=dict(x=x, y=y, z=z),
        answer=x + y,
        traps={"derivative by x": z, "the value of f": (x + y) * z, "product for sum": x * y},
        hints=("A product: the derivative by one factor is the other.", "x + y"),
        why="At a product each factor gets the other one, times what comes from above. Here nothing comes from above "
        "but 1.",
    )


@product_of_a_sum.second
def _(x, y, z):
    def f(z):
        return (x + y) * z

    return f(z + 0.5) - f(z - 0.5)


@question(topic="backprop.chain_rule", level=2, source="CS231n, backpropagation", readme="nn_001/3")
def work_of_a_linear_layer(draw):
    B, i, o = draw(8, 16, 32, 64), draw(256, 512, 1024), draw(1024, 2048, 4096)
    return Number(
        ask=f"A linear layer from {i} to {o} features, batch of {B}. FLOPs of its backward pass, for x and w? A "
        "multiplication and an addition are two.",
        given=dict(B=B, i=i, o=o),
        answer=4 * B * i * o,
        unit="FLOP",
        traps={"one of the two products": 2 * B * i * o, "forward counted too": 6 * B * i * o, "no batch": 4 * i * o},
        hints=("Two matrix products: one for dx, one for dw, each as large as the forward one.", "4 · B · i · o"),
        why="dx = dout wᵀ and dw = xᵀ dout: each costs as much as the forward product, so backward costs twice.",
    )


@work_of_a_linear_layer.second
def _(B, i, o):
    def product(rows, inner, columns):
        return 2 * rows * inner * columns

    return product(B, o, i) + product(i, B, o)


@question(topic="backprop.chain_rule", level=2, source="CS231n, backpropagation", readme=("nn_001/3", "nn_001/5"))
def shapes_of_a_layer(draw):
    B, i, o = draw.sample(range(2, 12), 3)
    case = draw("x", "w", "b")
    right = {"x": "dout @ w.T", "w": "x.T @ dout", "b": "dout.sum(0)"}
    wrong = {
        "x": {"w on the wrong side": "w @ dout", "shapes do not meet": "dout @ w"},
        "w": {"transposed": "dout.T @ x", "one row's only": "x[0][:, None] * dout[0]"},
        "b": {"sum over the features": "dout.sum(1)", "mean over the batch": "dout.mean(0)"},
    }
    return Choice(
        ask=f"out = x @ w + b, x of shape ({B}, {i}), w of shape ({i}, {o}). dout is the gradient of a loss by out. "
        f"What is "
        f"the gradient by {case}?",
        given=dict(case=case, B=B, i=i, o=o),
        answer=right[case],
        traps=wrong[case],
        hints=("The gradient has the shape of what it belongs to.", "sum over whatever the entry was used for"),
        why="w and b serve every row of the batch, so their gradients add over the rows. The shapes leave one product.",
    )


@shapes_of_a_layer.second
def _(case, B, i, o):
    import numpy as np

    draw = np.random.default_rng(3)
    given = {"x": draw.normal(size=(B, i)), "w": draw.normal(size=(i, o)), "b": draw.normal(size=o)}
    dout, found = draw.normal(size=(B, o)), np.zeros_like(given[case])
    for place in np.ndindex(*found.shape):
        moved = {name: value.copy() for name, value in given.items()}
        moved[case][place] += 1.0  # out is linear in each of them: a step of one is exact
        found[place] = (((moved["x"] @ moved["w"] + moved["b"]) - (given["x"] @ given["w"] + given["b"])) * dout).sum()
    names = dict(given, dout=dout)
    right = {"x": "dout @ w.T", "w": "x.T @ dout", "b": "dout.sum(0)"}[case]
    assert np.allclose(eval(right, {}, names), found)
    return right


@question(topic="backprop.check", level=2, source="CS231n, neural networks 3", readme="nn_001/1")
def error_of_a_difference(draw):
    a, x, h = draw(2, 3, 5), draw(1.0, 2.0, 4.0), draw(0.1, 0.2, 0.5, 1.0)
    return Number(
        ask=f"f(x) = {a} · x³. By how much does the central difference with h = {h:g} exceed the derivative at x = "
        f"{x:g}?",
        given=dict(a=a, x=x, h=h),
        answer=a * h * h,
        traps={"one side alone": a * (3 * x * h + h * h), "the factor forgotten": h * h, "linear in h": a * h},
        hints=("Of a third power, what is left beside the derivative does not depend on x.", "a · h²"),
        why="The terms of even power cancel between the two sides, so the error falls with h². One side alone errs by "
        "h.",
    )


@error_of_a_difference.second
def _(a, x, h):
    return (a * (x + h) ** 3 - a * (x - h) ** 3) / (2 * h) - 3 * a * x**2


@question(topic="backprop.check", level=1, source="CS231n, neural networks 3", readme="nn_001/1")
def best_step(draw):
    case = draw("float64 at 1e-5", "float32 at 1e-9", "float64 at 1e-15", "float64 at 1")
    dtype, step = case.split(" at ")
    too_small, fits, too_large = "rounding drowns it", "it fits", "the curvature shows"
    return Choice(
        ask=f"You check a gradient of sin(3x) near 1 by central differences in {dtype} with a step of {step}. What do "
        "you find?",
        given=dict(dtype=dtype, step=float(step)),
        answer={"float64 at 1e-5": fits, "float64 at 1": too_large}.get(case, too_small),
        traps={
            "smaller is not always better": too_large if case.endswith(("1e-9", "1e-15")) else too_small,
            "rounding and curvature": fits if case != "float64 at 1e-5" else too_large,
        },
        hints=("Two errors add: one falls with the step, one grows when it gets small.", "h² against rounding / h"),
        why="The error of the formula falls with the square of the step, that of rounding grows as one over the step. "
        "In double precision they meet near the cube root of the rounding.",
    )


@best_step.second
def _(dtype, step):
    import numpy as np

    x, h = np.array(1.0, dtype), np.array(step, dtype)
    three, two = np.array(3, dtype), np.array(2, dtype)
    slope = (np.sin(three * (x + h)) - np.sin(three * (x - h))) / (two * h)
    error = abs(float(slope) - 3 * np.cos(3.0)) / abs(3 * np.cos(3.0))
    if error < 1e-6:
        return "it fits"
    return "the curvature shows" if step > 1e-3 else "rounding drowns it"


@question(topic="backprop.dropout", level=1, source="Srivastava 2014, section 10", readme="nn_001/4")
def kept_entry(draw):
    p, x = draw(0.1, 0.2, 0.25, 0.4, 0.5, 0.75, 0.8), draw(2.0, 3.0, 6.0, 9.0)
    return Number(
        ask=f"Inverted dropout with p = {p:g}, the share that is set to 0. What becomes of an entry {x:g} that is "
        f"kept, in "
        "training?",
        given=dict(p=p, x=x),
        answer=x / (1 - p),
        traps={"not scaled": x, "scaled down": x * (1 - p), "p is the share kept": x / p},
        hints=("The mean over the masks has to stay what it was.", "x / (1 - p)"),
        why="Kept entries are scaled up in training, so that nothing is left to do in evaluation.",
    )


@kept_entry.second
def _(p, x):
    kept = sum(1 for cell in range(100) if cell >= round(100 * p))
    return x * 100 / kept


@question(topic="backprop.dropout", level=2, source="Srivastava 2014, section 10", readme="nn_001/4")
def mask_of_the_backward_pass(draw):
    x = [draw.between(1, 9) for _ in range(4)]
    mask = draw.shuffled([2, 2, 0, 0])
    dout = draw.sample(range(1, 9), 4)
    return Predict(
        ask="One forward and one backward pass of dropout; a mask of this layer holds its scale. What is printed?",
        code=f"""
import numpy as np
x, mask = np.array({x}), np.array({mask})
out = x * mask
dout = np.array({dout})
print((dout * mask).tolist())
""",
        answer=str([d * m for d, m in zip(dout, mask, strict=True)]),
        traps={
            "the scale forgotten": str([d * (m > 0) for d, m in zip(dout, mask, strict=True)]),
            "no mask": str(dout),
            "the input's gradient": str([d * m * a for d, m, a in zip(dout, mask, x, strict=True)]),
        },
        hints=(
            "What was set to 0 gets no gradient, and what was scaled is scaled again.",
            "dout · mask, entry by entry",
        ),
        why="Out is x times a constant mask. A mask drawn anew would be the gradient of another network.",
    )


@question(topic="backprop.engine", level=1, source="CS231n, backpropagation", readme="nn_001/6", seed="001/11")
def used_several_times(draw):
    x, k = draw(2, 3, 4, 5), draw(3, 4, 5)
    return Number(
        ask=f"y is the product of {k} factors that are all the same node x = {x}. What is the gradient of x after "
        "backward?",
        given=dict(x=x, k=k),
        answer=k * x ** (k - 1),
        traps={"assigned, not added": x ** (k - 1), "the product itself": x**k, "x for the power": k * x},
        hints=("Each use of x sends its share; how many uses, and what is each?", "k · x^(k - 1)"),
        why="A node adds up what comes from each of its uses. One that assigns keeps only the last.",
    )


@used_several_times.second
def _(x, k):
    total = 0
    for own in range(k):
        share = 1
        for other in range(k):
            if other != own:
                share *= x
        total += share
    return total


@question(topic="backprop.engine", level=2, source="Baydin 2018, section 3.2", readme="nn_001/6")
def order_of_backward(draw):
    a, b, c, d = draw.sample("abcdefghk", 4)
    return Order(
        ask=f"{b} = 2 · {a};  {c} = {a} + {b};  {d} = {b} · {c}. Backward starts at {d}. In what order do the nodes "
        f"hand on "
        "their gradients?",
        given=dict(nodes=[a, b, c, d]),
        answer=[d, c, b, a],
        traps={"level by level": [d, b, c, a], "in forward order": [a, b, c, d], "the input too early": [d, c, a, b]},
        hints=("A node hands on once all of its uses have sent their share.", "the reverse of a topological order"),
        why="A node used twice must wait for both. Level by level, it hands on half of its gradient too early.",
    )


@order_of_backward.second
def _(nodes):
    a, b, c, d = nodes
    uses = {a: {b, c}, b: {c, d}, c: {d}, d: set()}
    done = []
    while len(done) < 4:
        done.append(next(node for node in nodes if node not in done and uses[node] <= set(done)))
    return done


@question(topic="backprop.engine", level=2, source="micrograd", readme="nn_001/7")
def wrong_line_of_an_engine(draw):
    x, y = draw.between(2, 9), draw.between(2, 9)
    wrong, mended = draw(
        ("        self.grad = 0.0 * seed", "        self.grad += seed"),
        ("            node.take(seed)", "            node.take(seed * share)"),
        ("    return Node(a.value * b.value, [(a, a.value), (b, b.value)])",
         "    return Node(a.value * b.value, [(a, b.value), (b, a.value)])"),
    )  # fmt: skip
    code = f"""
class Node:
    def __init__(self, value, parents=()):
        self.value, self.parents, self.grad = value, parents, 0
    def take(self, seed):
        self.grad += seed
        for node, share in self.parents:
            node.take(seed * share)
def mul(a, b):
    return Node(a.value * b.value, [(a, b.value), (b, a.value)])
x, y = Node({x}), Node({y})
mul(mul(x, y), x).take(1); print(x.grad, y.grad)
"""
    return Bug(
        ask="The gradients of x · y · x should be printed. A node sends on each share as it comes. Which line is "
        "wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{2 * x * y} {x * x}",
        traps={
            "gradients begin at 0": "        self.value, self.parents, self.grad = value, parents, 0",
            "each parent once": "        for node, share in self.parents:",
        },
        hints=(
            "A factor gets the other factor, times what comes from above, added to what it has.",
            "+=, times, the other",
        ),
        why="Gradients add up over the uses, are multiplied on the way down, and a factor's share is the other factor.",
    )


@question(topic="backprop.arrays", level=1, source="numpy, broadcasting", readme="nn_001/8")
def gradient_of_a_broadcast(draw):
    B, n, m = draw(4, 8, 16, 32), draw.between(3, 9), draw.between(3, 9)
    shape = draw((m,), (B, 1, 1), (n, m), (1, n, 1))
    kept = {1: m, 2: n * m}.get(len(shape), max(shape))
    return Number(
        ask=f"x of shape ({B}, {n}, {m}), b of shape {shape}. The gradient by each entry of x + b is 1. What is the "
        "gradient of one entry of b?",
        given=dict(x=(B, n, m), b=shape, entries=B * n * m, own=kept),
        answer=B * n * m // kept,
        traps={"no sum": 1, "entries of b": kept, "all entries": B * n * m},
        hints=("Each entry of b was copied to how many places?", "entries / own"),
        why="Broadcasting copies, and the backward pass of a copy is a sum: over each axis that was added or "
        "stretched.",
    )


@gradient_of_a_broadcast.second
def _(x, b, entries, own):
    import numpy as np

    return int((np.broadcast_to(np.arange(own).reshape(b), x) == 0).sum())


@question(topic="backprop.arrays", level=2, source="CS231n, backpropagation", readme="nn_001/9")
def gradient_of_a_lookup(draw):
    a, b, c = draw.sample(range(5), 3)
    ids = draw.shuffled([a, a, b, c, a])
    rows = [ids.count(row) for row in range(5)]
    return Predict(
        ask="Rows of a table of five are looked up; each row that was read gets a gradient of 1. What is printed?",
        code=f"""
import numpy as np
ids, grad = np.array({ids}), np.zeros(5, int)
np.add.at(grad, ids, 1)
print(grad.tolist())
""",
        answer=str(rows),
        traps={
            "grad[ids] += 1: the last one counts": str([min(row, 1) for row in rows]),
            "each place of ids": str([1] * 5),
            "sorted": str(sorted(rows)),
        },
        hints=("A row that was read several times gets the sum.", "how often each row was read"),
        why="A lookup is a copy. grad[ids] += 1 writes each row once, whatever its count; np.add.at adds them all.",
    )


@question(topic="backprop.modes", level=1, source="Baydin 2018, section 3", readme=("nn_001/2", "nn_001/10"))
def time_of_a_jacobian(draw):
    n, m = draw.sample([3, 5, 8, 10, 12, 50, 100, 784, 1000], 2)
    t = draw(2, 3, 4, 6, 7)
    return Number(
        ask=f"A function from {n} numbers to {m}. A pass of either mode takes {t} ms. How long does its whole Jacobian "
        "take with the cheaper mode?",
        given=dict(n=n, m=m, t=t),
        answer=t * min(n, m),
        unit="ms",
        traps={"the dearer mode": t * max(n, m), "a pass for each entry": t * n * m, "one pass": t},
        hints=("Forward mode gives a column a pass, reverse mode a row.", "t · (the smaller of n and m)"),
        why="Forward mode takes one pass for each input, reverse mode one for each output. A loss has one output.",
    )


@time_of_a_jacobian.second
def _(n, m, t):
    import numpy as np

    jacobian = np.zeros((m, n))
    forward, reverse = sum(t for _column in jacobian.T), sum(t for _row in jacobian)
    return forward if forward < reverse else reverse


@question(topic="backprop.modes", level=2, source="Baydin 2018, section 3.2", readme=("nn_001/2", "nn_001/10"))
def values_kept(draw):
    L, d, B = draw(12, 24, 32, 48), draw(256, 512, 1024), draw(8, 16, 32)
    mode = draw("forward", "reverse")
    both = {"forward": 2 * B * d, "reverse": (L + 1) * B * d}
    return Number(
        ask=f"{L} layers, each from {B} rows of {d} numbers to as many, whose derivative needs the layer's input. How "
        f"many numbers does {mode} mode hold at most, with the {'tangent' if mode == 'forward' else 'gradient'} of the "
        "current layer?",
        given=dict(L=L, d=d, B=B, mode=mode),
        answer=both[mode],
        traps={
            "the other mode": both["forward" if mode == "reverse" else "reverse"],
            "values of all, twice": 2 * L * B * d,
        },
        hints=(
            "Which inputs of layers are still needed when the derivative is taken?",
            "(L inputs, or 1) and one more, · B · d",
        ),
        why="Forward mode carries a tangent beside each value and forgets what is behind. Reverse mode comes back for "
        "every "
        "layer's input.",
    )


@values_kept.second
def _(L, d, B, mode):
    if mode == "forward":
        held = 0
        for _layer in range(L):
            held = max(held, sum(1 for _ in ("value", "tangent")) * B * d)
        return held
    kept = [B * d for _layer in range(L)]
    held = sum(kept) + B * d
    while kept:
        held = max(held, sum(kept) + B * d)
        kept.pop()
    return held
