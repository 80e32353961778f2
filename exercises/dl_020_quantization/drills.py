"""Questions on quantisation whose numbers change: `grader drill --topic quantization.affine`."""

from math import floor, log2, sqrt

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="quantization.affine", level=1, source="Jacob 2018, section 2.1", readme="dl_020/1")
def code_of_a_number(draw):
    s, z = draw(0.01, 0.02, 0.05), draw.between(20, 120)
    k = draw.between(10, 130)
    low, x = -z * s, (k + draw(-0.3, 0.2, 0.4)) * s
    return Number(
        ask=f"Affine codes 0 to 255 with a step of {s}; code 0 stands for {low:.2f}. What is the code of {x:.4f}?",
        given=dict(s=s, low=round(low, 2), x=round(x, 4)),
        answer=round(x / s) + round(-low / s),
        traps={"zero point forgotten": k, "zero point taken away": k - z, "from the highest code": 255 - k - z},
        hints=(
            "The zero point is the code of 0. How many steps is x away from it?",
            "round(x / s) + round((0 - (low)) / s)",
        ),
        why="Codes count steps from the low end. The zero point is a whole number, so that 0 comes back as exactly 0: "
        "padding and the zeros of a ReLU need that.",
    )


@code_of_a_number.second
def _(s, low, x):
    import numpy as np

    levels = low + s * np.arange(256)
    return int(np.abs(levels - x).argmin())


@question(topic="quantization.affine", level=2, source="Jacob 2018, section 2.3", readme=("dl_020/1", "dl_020/7"))
def terms_of_zero_points(draw):
    term, rows = draw("weights", "inputs", "inputs", "both", "bias"), draw(128, 1024, 4096)
    named = {
        "weights": "the zero point of x, times the sum of the weights",
        "inputs": "the zero point of w, times the sum of the inputs",
        "both": "the number of inputs, times both zero points",
        "bias": "the bias",
    }[term]
    before, later = "it is known before any input comes", "it is summed for each row of inputs, at run time"
    return Choice(
        ask=f"An integer layer for {rows} outputs: the products of codes are summed, then four terms are added. When "
        f"is this one known: {named}?",
        given=dict(term=term),
        answer=later if term == "inputs" else before,
        traps={
            "the other operand": before if term == "inputs" else later,
            "a term for each product": "it is needed for each single product, within the sum",
        },
        hints=("Does it change when the inputs change?", "Σ (x - zx)(w - zw), multiplied out"),
        why="Only the sum over the inputs has to be taken at run time, and only if weights have a zero point. So "
        "weights are usually symmetric, and activations affine.",
    )


@terms_of_zero_points.second
def _(term):
    import numpy as np

    def value(x):
        w, zx, zw, bias = np.array([3, -1, 4]), 7, 2, 11
        return {"weights": zx * w.sum(), "inputs": zw * x.sum(), "both": len(x) * zx * zw, "bias": bias}[term]

    if value(np.array([1, 2, 3])) == value(np.array([9, 0, 5])):
        return "it is known before any input comes"
    return "it is summed for each row of inputs, at run time"


@question(topic="quantization.affine", level=2, source="Jacob 2018, section 2.3", readme="dl_020/7")
def sum_with_zero_points(draw):
    x, w = [draw.between(0, 9) for _ in range(3)], [draw.between(-5, 5) for _ in range(3)]
    zx, zw = draw.between(2, 7), draw(-2, -1, 1, 2)
    products = sum(a * b for a, b in zip(x, w, strict=True))
    total = sum((a - zx) * (b - zw) for a, b in zip(x, w, strict=True))
    return Predict(
        ask="An integer product, multiplied out. What is printed?",
        code=f"""
x, w, zx, zw = {x}, {w}, {zx}, {zw}
products = sum(a * b for a, b in zip(x, w))
print(products - zx * sum(w) - zw * sum(x) + len(x) * zx * zw)
""",
        answer=str(total),
        traps={
            "the constant once": str(total - 2 * zx * zw),
            "zero points left out": str(products),
            "sums exchanged": str(products - zx * sum(x) - zw * sum(w) + 3 * zx * zw),
        },
        hints=("It is the sum of (x - zx)(w - zw).", "Σ (x - zx) · (w - zw)"),
        why="Only the first term needs products of codes. The sum over weights and the constant are known before, so "
        "an integer layer computes them once.",
    )


@question(topic="quantization.affine", level=2, source="Jacob 2018, section 2.2", readme="dl_020/7")
def products_in_a_register(draw):
    bits, a, w = draw(16, 24, 32), draw(31, 128, 255), draw(7, 8, 127, 128)
    return Number(
        ask=f"Codes up to {a} are multiplied by codes up to {w} in size, and summed in a signed integer of {bits} "
        "bits. How many products fit, whatever they are?",
        given=dict(bits=bits, a=a, w=w),
        answer=(2 ** (bits - 1) - 1) // (a * w),
        unit="products",
        traps={
            "no bit for the sign": (2**bits - 1) // (a * w),
            "one register for both signs": (2 ** (bits - 1) - 1) // (2 * a * w),
            "sizes added": (2 ** (bits - 1) - 1) // (a + w),
        },
        hints=("The largest number of the register, over the largest product.", "⌊(2^(bits - 1) - 1) / (a · w)⌋"),
        why="In 16 bits hardly any product of bytes fits, in 32 bits those of any layer do. So integer layers sum in "
        "int32.",
    )


@products_in_a_register.second
def _(bits, a, w):
    top, fits = (1 << (bits - 1)) - 1, 0
    for power in reversed(range(bits)):  # the largest count, bit by bit
        more = fits + (1 << power)
        if more * a * w <= top:
            fits = more
    return fits


@question(topic="quantization.affine", level=2, source="Jacob 2018, section 2.2", readme="dl_020/7")
def multiply_by_a_shift(draw):
    n = draw(8, 10, 12)
    m = draw.between(2 ** (n - 3), 2 ** (n - 2))
    total = draw(1, -1) * draw.between(20, 400)
    exact = total * m / 2**n
    return Predict(
        ask="An int32 sum is brought to the scale of the output, without floating point. What is printed?",
        code=f"""
total, m, n = {total}, {m}, {n}
print(total * m + (1 << (n - 1)) >> n)
""",
        answer=str(floor(exact + 0.5)),
        traps={
            ("cut off" if floor(exact) != floor(exact + 0.5) else "rounded up"): str(
                floor(exact) if floor(exact) != floor(exact + 0.5) else floor(exact) + 1
            ),
            "half added after the shift": str(floor(exact) + 2 ** (n - 1)),
        },
        hints=("m / 2^n is the factor; half of 2^n is added, so the shift rounds.", "⌊total · m / 2^n + 1/2⌋"),
        why="A factor below 1 is a whole number and a shift. Adding half of the divisor first turns the floor of the "
        "shift into rounding to nearest.",
    )


@question(topic="quantization.affine", level=2, source="Krishnamoorthi 2018, section 2.3", readme="dl_020/2")
def where_a_scale_is_applied(draw):
    kind, g = draw("output", "input", "row", "group"), draw(32, 64, 128)
    named = {
        "output": "each output (row of w)",
        "input": "each input (column of w)",
        "row": "each row of x",
        "group": f"each run of {g} inputs in a row of w",
    }[kind]
    once, within, parts = "once, on the whole int32 sum", "on each product, within the sum", "once for each partial sum"
    right = {"output": once, "row": once, "input": within, "group": parts}[kind]
    return Choice(
        ask=f"An integer product of x (n, i) and w (o, i), summed over i. There is a scale for {named}. Where does it "
        "have to be applied?",
        given=dict(kind=kind),
        answer=right,
        traps={
            name: one
            for name, one in {
                "as if it did not depend on i": once,
                "as if it changed with each i": within,
                "as if i were cut in runs": parts,
            }.items()
            if one != right
        },
        hints=("Can it be drawn out of the sum over i?", "Σ over i of s · x · w"),
        why="What does not depend on the input index stands outside of the sum and is applied once. A scale for each "
        "input would have to be inside, where integers are summed.",
    )


@where_a_scale_is_applied.second
def _(kind):
    import numpy as np

    own = {"output": np.array([[1], [2]]), "row": np.array([[3]]), "input": np.arange(4)[None], "group": None}[kind]
    scale = np.repeat([[1, 2]], 2, axis=1) if own is None else own
    changes = np.count_nonzero(np.diff(np.broadcast_to(scale, (2, 4)), axis=1)[0])
    return ["once, on the whole int32 sum", "once for each partial sum", "", "on each product, within the sum"][changes]


@question(topic="quantization.calibration", level=1, source="Krishnamoorthi 2018, section 2", readme="dl_020/3")
def largest_rounding_error(draw):
    low, high, b = -draw(1.0, 2.0, 5.0), draw(3.0, 6.0, 8.0, 12.0), draw(3, 4, 6, 8)
    return Number(
        ask=f"Affine codes of {b} bits cover the range from {low:g} to {high:g}. How large can the rounding error of a "
        "number in it be?",
        given=dict(low=low, high=high, b=b),
        answer=(high - low) / (2**b - 1) / 2,
        traps={"a whole step": (high - low) / (2**b - 1), "one side only": max(high, -low) / (2**b - 1) / 2},
        within=0.005,
        hints=("There is one step fewer than there are codes.", "(high - (low)) / (2^b - 1) / 2"),
        why="A number is half a step away from its code at most. A wider range makes all steps coarser; a narrower one "
        "cuts numbers off.",
    )


@largest_rounding_error.second
def _(low, high, b):
    import numpy as np

    levels = np.linspace(low, high, 1 << b)
    between = (levels[1:] + levels[:-1]) / 2
    return float(np.abs(between[:, None] - levels).min(axis=1).max())


@question(topic="quantization.calibration", level=2, source="Jacob 2018, section 3.1", readme="dl_020/3")
def moving_range(draw):
    rate, tops = draw(0.1, 0.2, 0.25, 0.5), [draw.between(2, 20) for _ in range(3)]
    a, b, c = tops
    return Number(
        ask=f"A moving range begins with the first batch and then moves by {rate} of the difference. The largest "
        f"numbers of three batches are {a}, {b}, {c}. Where is its upper end?",
        given=dict(rate=rate, a=a, b=b, c=c),
        answer=(1 - rate) ** 2 * a + rate * (1 - rate) * b + rate * c,
        traps={
            "the largest of all": float(max(tops)),
            "their mean": sum(tops) / 3,
            "rate for the old": rate * rate * a + rate * (1 - rate) * b + (1 - rate) * c,
        },
        hints=("Each batch: top + rate · (its own - top).", "(1-rate)^2 · a + rate · (1-rate) · b + rate · c"),
        why="Two numbers are enough to keep, and a single wild batch is soon forgotten. So are the early ones, which "
        "may have been right.",
    )


@moving_range.second
def _(rate, a, b, c):
    top = a
    for one in (b, c):
        top = top + rate * (one - top)
    return top


@question(
    topic="quantization.calibration", level=2, source="Wu 2020, integer quantization, section 3.3", readme="dl_020/3"
)
def ends_of_a_percentile(draw):
    k = draw(1, 2)
    x = sorted(draw.sample(range(-40, 60), 10))
    clip = k / 10
    return Predict(
        ask="A range without the extremes. What is printed?",
        code=f"""
x = {x}
k = int(len(x) * {clip})
print(x[k], x[len(x) - 1 - k])
""",
        answer=f"{x[k]} {x[9 - k]}",
        traps={
            "nothing is cut": f"{x[0]} {x[9]}",
            "one too few at the top": f"{x[k]} {x[10 - k]}",
            "the top alone": f"{x[0]} {x[9 - k]}",
        },
        hints=("k numbers are left out at each end; places are counted from 0.", "x[k] and x[n - 1 - k]"),
        why="x[-k] would leave out one number too few at the top, and x[-0] is the first. With few bits, cutting a few "
        "extremes buys finer steps for all the others.",
    )


@question(topic="quantization.calibration", level=2, source="Krishnamoorthi 2018, section 3", readme="dl_020/3")
def cover_or_cut(draw):
    b, out, n = draw((3, 6, 1000), (4, 8, 2000), (4, 10, 3000), (6, 6, 500), (6, 8, 1000), (8, 10, 2000), (8, 6, 3000))
    cut, cover = "-1 to 1", f"{-out} to {out}"
    error_cut, error_cover = (out - 1) ** 2 + n * (2 / (2**b - 1)) ** 2 / 12, n * (2 * out / (2**b - 1)) ** 2 / 12
    best = cut if error_cut < error_cover else cover
    return Choice(
        ask=f"{n} numbers are spread evenly from -1 to 1, and one more is {out}. Which range has the smaller sum of "
        f"squared errors with {b} bits?",
        given=dict(b=b, out=out, n=n),
        answer=best,
        traps={
            "the other error counted": cover if best == cut else cut,
            "a little of both": f"{-out // 2} to {out // 2}",
        },
        hints=(
            "What is cut off, squared, against n times step² / 12.",
            "(out - 1)^2 against n · (2·out / (2^b - 1))^2 / 12",
        ),
        why="A wide range makes all steps coarse for the sake of one number. With many bits the steps are fine "
        "anyway; with few, cutting it off pays.",
    )


@cover_or_cut.second
def _(b, out, n):
    import numpy as np

    x = np.append(np.linspace(-1, 1, n), out)

    def error(reach):
        step = 2 * reach / (2**b - 1)
        codes = np.clip(np.rint((x + reach) / step), 0, 2**b - 1)
        return float(((codes * step - reach - x) ** 2).sum())

    reach = min((1, out // 2, out), key=error)
    return f"{-reach} to {reach}"


@question(topic="quantization.aware_training", level=1, source="Krishnamoorthi 2018, section 2.4", readme="dl_020/4")
def numbers_that_learn(draw):
    low, high = -draw(6, 8, 10, 12) / 10, draw(8, 10, 12, 15) / 10
    x = [draw.between(-25, 25) / 10 + 0.04 for _ in range(9)]
    inside = sum(low <= v <= high for v in x)
    return Number(
        ask=f"Fake quantisation with the range from {low} to {high}, straight-through estimator. Of {len(x)} numbers, "
        f"{', '.join(f'{v:.2f}' for v in x)}, how many get a gradient?",
        given=dict(low=low, high=high, x=x),
        answer=inside,
        unit="numbers",
        traps={
            "rounding stops them all": 0,
            "all of them": len(x),
            "those outside": len(x) - inside,
        },
        hints=("Rounding is taken for the identity, the clamp is not.", "count low ≤ x ≤ high"),
        why="The true gradient of rounding is 0 nearly everywhere and teaches nothing. Outside of the range no small "
        "change changes the code, so there the gradient really is 0.",
    )


@numbers_that_learn.second
def _(low, high, x):
    import numpy as np

    clipped = np.clip(np.array([x, np.array(x) + 1e-6]), low, high)
    return int(np.count_nonzero(clipped[1] - clipped[0]))


@question(topic="quantization.aware_training", level=2, source="Esser 2020, equation 3", readme="dl_020/5")
def gradient_of_the_step(draw):
    top = draw(3, 7)
    v = [draw.between(-20, 20) / 10 + 0.1, top + draw(1, 2, 4) + 0.3, -top - draw(2, 3) - 0.4]
    v = draw.shuffled([round(one, 1) for one in v])
    low = -top - 1

    def shown(rule):
        return str([round(rule(one), 1) for one in v])

    def right(one):
        return low if round(one) < low else top if round(one) > top else round(one) - one

    return Predict(
        ask=f"LSQ: v is x / step, codes go from {low} to {top}. What each number adds to the gradient of the step is "
        "printed. What is it?",
        code=f"""
def adds(v):
    if {low} <= round(v) <= {top}:
        return round(v) - v
    return {low} if v < 0 else {top}
print([round(adds(v), 1) for v in {v}])
""",
        answer=shown(right),
        traps={
            "nothing outside": shown(lambda one: right(one) if low <= round(one) <= top else 0),
            "the sign": shown(lambda one: -right(one)),
            "the code everywhere": shown(lambda one: right(one) if not low <= round(one) <= top else round(one)),
        },
        hints=("Inside: rounded minus v. Outside: the border's code.", "round(v) - v, or the lowest or highest code"),
        why="Numbers inside say how the step should move to hit them; numbers cut off pull it wider. So the step "
        "balances both errors, for the loss.",
    )


@question(topic="quantization.aware_training", level=2, source="Esser 2020, section 2.2", readme="dl_020/5")
def factor_of_lsq(draw):
    n, b = draw(4096, 10000, 16384, 65536, 262144, 1000000), draw(3, 4, 6, 8)
    N = 2 ** (b - 1) - 1
    return Number(
        ask=f"LSQ with signed codes of {b} bits, a layer of {n} weights. By which factor is the gradient of its step "
        "multiplied?",
        given=dict(n=n, b=b),
        answer=1 / (n * N) ** 0.5,
        unit="x",
        traps={
            "numbers alone": 1 / sqrt(n),
            "without the root": 1 / (n * N),
            "all codes": 1 / sqrt(n * 2**b),
        },
        hints=("All n numbers add to it, and the step is small against them.", "1 / √(n · N) with N = 2^(b - 1) - 1"),
        why="The gradient of the step is a sum over all weights. The factor makes its updates as large, relative to "
        "the step, as those of the weights.",
    )


@factor_of_lsq.second
def _(n, b):
    codes = range(-(1 << (b - 1)), 1 << (b - 1))
    return 2.0 ** (-(log2(n) + log2(max(codes))) / 2)


@question(topic="quantization.aware_training", level=2, source="Jacob 2018, section 3.2", readme="dl_020/6")
def folded_bias(draw):
    gamma, beta = draw(0.5, 1.5, 2.0, 3.0), draw(-2.0, -1.0, 0.5, 4.0)
    mean, var = draw(1.0, 2.0, 5.0, -3.0), draw(0.25, 4.0, 9.0, 16.0)
    return Number(
        ask=f"A layer without bias, then BatchNorm: gamma {gamma:g}, beta {beta:g}, running mean {mean:g}, running "
        f"variance {var:g}, eps 0. The bias of the folded layer?",
        given=dict(gamma=gamma, beta=beta, mean=mean, var=var),
        answer=beta - mean * gamma / var**0.5,
        traps={
            "the variance for its root": beta - mean * gamma / var,
            "the sign": beta + mean * gamma / var**0.5,
            "gamma forgotten": beta - mean / var**0.5,
        },
        hints=("What comes out of the norm for an input of 0?", "beta - (mean) · gamma / √var"),
        why="Row by row, the factor gamma over sigma goes into the weights, and what is left is a bias. An integer "
        "layer has no norm of its own.",
    )


@folded_bias.second
def _(gamma, beta, mean, var):
    sigma = next(s / 4 for s in range(1, 40) if s * s == var * 16)
    return (0.0 - mean) / sigma * gamma + beta


@question(topic="quantization.aware_training", level=2, source="Krishnamoorthi 2018, section 3.2", readme="dl_020/6")
def order_of_a_folded_layer(draw):
    steps = [
        "multiply x with w",
        "take mean and variance of that batch",
        "multiply each row of w with gamma / sigma",
        "round these weights",
        "multiply x with them",
        "add the folded bias",
    ]
    chosen = sorted(draw.sample(range(6), 4))
    answer = [steps[i] for i in chosen]
    k = draw.between(0, 2)
    return Order(
        ask="Some steps of a training forward pass of a layer that will be integers, with a BatchNorm to be folded. "
        "In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={
            "two steps swapped": [*answer[:k], answer[k + 1], answer[k], *answer[k + 2 :]],
            "from the end": answer[::-1],
        },
        hints=(
            "The integer layer rounds the folded weight. What must be known to fold it?",
            "statistics, fold, round, multiply, bias",
        ),
        why="Training should see the rounding errors that will be there, and these are of the folded weight. So the "
        "layer folds first and rounds then, in every step.",
    )


@order_of_a_folded_layer.second
def _(chosen):
    path = {
        "add the folded bias": "multiply x with them",
        "multiply x with them": "round these weights",
        "round these weights": "multiply each row of w with gamma / sigma",
        "multiply each row of w with gamma / sigma": "take mean and variance of that batch",
        "take mean and variance of that batch": "multiply x with w",
    }
    line = ["add the folded bias"]
    while line[-1] in path:
        line.append(path[line[-1]])
    return [line[-1 - i] for i in chosen]


@question(topic="quantization.outliers", level=1, source="Dettmers 2022, LLM.int8, section 3", readme="dl_020/8")
def codes_that_are_left(draw):
    o, x = draw(20, 30, 40, 50, 60, 80), draw(0.5, 1.0, 1.5, 2.0, 3.0)
    return Number(
        ask=f"Symmetric int8, one scale for a token, largest code 127. One entry is {o}, all others are {x:g} or less "
        "in size. How many different codes can the others get, 0 and both signs counted?",
        given=dict(o=o, x=x),
        answer=2 * floor(x * 127 / o + 0.5) + 1,
        unit="codes",
        traps={
            "one sign": floor(x * 127 / o + 0.5),
            "all of them": 255,
            "one scale each": 2 * floor(x * 127 / o + 0.5) + 2,
        },
        hints=("The scale is o / 127. Which code has the largest of the others?", "2 · round(x · 127 / o) + 1"),
        why="A scale for the token has to cover its largest entry, and the others share the few codes around 0. In "
        "large models the large columns are the same for nearly all tokens.",
    )


@codes_that_are_left.second
def _(o, x):
    import numpy as np

    others = np.linspace(-x, x, 4001)
    return len(np.unique(np.rint(others / (o / 127))))


@question(topic="quantization.outliers", level=2, source="Dettmers 2022, LLM.int8, section 3", readme="dl_020/8")
def columns_kept_in_half(draw):
    rows = [[draw(0.5, -1.0, 2.0, 3.5, -6.0, 5.0) for _ in range(5)] for _ in range(3)]
    for column in draw.sample(range(5), draw(1, 2, 3)):
        rows[draw.between(0, 2)][column] = draw(6.5, -8.0, 40.0, -7.0)

    def found(test):
        return str([j for j in range(5) if test([row[j] for row in rows])])

    return Predict(
        ask="Which columns does LLM.int8 keep out of the integer product?",
        code=f"""
x = [{rows[0]},
     {rows[1]},
     {rows[2]}]
print([j for j in range(5) if any(abs(row[j]) > 6 for row in x)])
""",
        answer=found(lambda column: any(abs(v) > 6 for v in column)),
        traps={
            "signs forgotten": found(lambda column: any(v > 6 for v in column)),
            "6 itself too": found(lambda column: any(abs(v) >= 6 for v in column)),
        },
        hints=("One number above 6 in size is enough.", "columns with any |x| > 6"),
        why="Those few columns are multiplied in half precision and all others in integers. It is exact enough, but "
        "the columns have to be found at run time.",
    )


@question(
    topic="quantization.outliers", level=2, source="Xiao 2023, SmoothQuant, equation 4", readme=("dl_020/8", "dl_020/9")
)
def largest_after_smoothing(draw):
    x, w = draw(16.0, 25.0, 36.0, 64.0, 100.0), draw(0.25, 0.5, 1.0, 2.0, 4.0)
    return Number(
        ask=f"SmoothQuant with alpha 1/2. A column of inputs reaches {x:g}, the weights that it meets reach {w:g}. "
        "What does the column reach afterwards?",
        given=dict(x=x, w=w),
        answer=(x * w) ** 0.5,
        traps={"the factor": sqrt(x / w), "multiplied": x * sqrt(x / w), "moved as a whole": x * w},
        hints=("The factor is √x / √w; inputs are divided by it, weights multiplied.", "x / √(x / w)"),
        why="With alpha 1/2 inputs and weights of a column end up equally large: the trouble is shared. The product "
        "is the same, and dividing the inputs costs nothing where a norm can do it.",
    )


@largest_after_smoothing.second
def _(x, w):
    low, high = 1e-3, 1e6
    for _ in range(100):  # the factor that makes both alike
        factor = (low + high) / 2
        low, high = (factor, high) if x / factor > w * factor else (low, factor)
    return x / factor


@question(topic="quantization.outliers", level=2, source="Lin 2024, AWQ, section 3.2", readme="dl_020/9")
def error_of_a_scaled_weight(draw):
    L, b, f = draw(0.5, 0.8, 1.0, 1.4, 2.1), draw(3, 4), draw(1.5, 2.0, 2.5, 3.0)
    return Number(
        ask=f"AWQ: a small weight is multiplied by {f:g} before rounding, and its input divided by as much. The "
        f"largest weight of its group stays {L:g}; codes go from -{2 ** (b - 1) - 1} to {2 ** (b - 1) - 1}. How "
        "large can the error of this weight be, in its own unit?",
        given=dict(L=L, b=b, f=f),
        answer=L / (2 ** (b - 1) - 1) / 2 / f,
        traps={
            "not scaled back": L / (2 ** (b - 1) - 1) / 2,
            "a whole step": L / (2 ** (b - 1) - 1) / f,
            "larger by it": L / (2 ** (b - 1) - 1) / 2 * f,
        },
        within=0.004,
        hints=("Half a step of the group, then scaled back.", "L / (2^(b - 1) - 1) / 2 / f"),
        why="The step of the group has not changed, so the scaled weight is off by as much as before, and less after "
        "it is scaled back. That is for weights which meet large inputs.",
    )


@error_of_a_scaled_weight.second
def _(L, b, f):
    import numpy as np

    step = L / max(range(-(2 ** (b - 1)) + 1, 2 ** (b - 1)))
    border = step / 2  # half way between two codes
    return float(np.abs(border / f - np.array([0.0, step]) / f).max())


@question(topic="quantization.outliers", level=1, source="Xiao 2023; Lin 2024", readme="dl_020/9")
def what_a_scaling_is_for(draw):
    method, told = draw(("SmoothQuant", "inputs"), ("AWQ", "inputs"), ("SmoothQuant", "weights"), ("AWQ", "weights"))
    finer, coarser, whole = "rounded, and finer than without it", "rounded, and coarser than without it", "not rounded"
    right = {
        ("SmoothQuant", "inputs"): finer,
        ("SmoothQuant", "weights"): coarser,
        ("AWQ", "inputs"): whole,
        ("AWQ", "weights"): finer,
    }[method, told]
    named = {
        ("SmoothQuant", "inputs"): "the inputs of the other columns",
        ("SmoothQuant", "weights"): "the weights of the other columns",
        ("AWQ", "inputs"): "the inputs",
        ("AWQ", "weights"): "these weights, if the largest of their group is another",
    }[method, told]
    scales = "a scale for each token and each row of weights" if method == "SmoothQuant" else "a scale for each group"
    return Choice(
        ask=f"{method} multiplies the columns of weights that meet large inputs by a factor above 1, and divides these "
        f"inputs; {scales}. What happens to {named}, relative to their own size?",
        given=dict(method=method, told=told),
        answer=right,
        traps={
            name: one
            for name, one in {
                "gain mistaken": finer,
                "price mistaken": coarser,
                "bits mistaken": whole,
            }.items()
            if one != right
        },
        hints=(
            "SmoothQuant rounds both to 8 bits, AWQ weights alone to 4.",
            "SmoothQuant: step of inputs down, of weights up. AWQ: error of these weights down",
        ),
        why="SmoothQuant moves trouble from activations into weights, which have room for it. AWQ leaves activations "
        "in half precision, and protects the weights that matter.",
    )


@what_a_scaling_is_for.second
def _(method, told):
    rounds = {"SmoothQuant": {"inputs", "weights"}, "AWQ": {"weights"}}[method]
    if told not in rounds:
        return "not rounded"
    factor = 4.0
    if method == "AWQ":  # the step of the group stays: relative error of a scaled weight
        before, after = 0.1 / 0.5, 0.1 / (0.5 * factor)
    else:  # 100 or 1 in the large column, 1 in the others: a step for all of a token, or of a row
        column = 100.0 if told == "inputs" else 1.0
        scaled = column / factor if told == "inputs" else column * factor
        before, after = max(column, 1.0), max(scaled, 1.0)
    return "rounded, and finer than without it" if after < before else "rounded, and coarser than without it"


@question(topic="quantization.weight_only", level=2, source="Dettmers 2023, QLoRA, section 3", readme="dl_020/11")
def size_in_nf4(draw):
    P = draw(3.0, 7.0, 8.0, 13.0, 30.0, 34.0, 65.0, 70.0)
    return Number(
        ask=f"{P:g} · 10⁹ weights in NF4: a constant for 64 weights, kept in 8 bits, and one float32 for 256 "
        "constants. How many GB?",
        given=dict(P=P),
        answer=P * (4 + 8 / 64 + 32 / (64 * 256)) / 8,
        unit="GB",
        traps={
            "constants forgotten": P * 4 / 8,
            "float32 constants": P * (4 + 32 / 64) / 8,
            "a byte each": P * (1 + 8 / 64 + 32 / (64 * 256)),
        },
        within=0.005,
        hints=("Bits a weight: its code, and its shares of the two constants.", "P · (4 + 8/64 + 32/(64 · 256)) / 8"),
        why="A float32 constant for 64 weights is half a bit each. Quantising the constants once more leaves an "
        "eighth of a bit.",
    )


@size_in_nf4.second
def _(P):
    block, group = 64, 256
    bytes_of_group = group * (block // 2 + 1) + 4
    return P * bytes_of_group / (group * block)


@question(topic="quantization.weight_only", level=1, source="Frantar 2023, GPTQ, section 5", readme="dl_020/12")
def size_in_groups(draw):
    P, b, g = draw(7.0, 8.0, 13.0, 34.0, 70.0), draw(2, 3, 4), draw(16, 32, 64)
    return Number(
        ask=f"{P:g} · 10⁹ weights with {b} bits each, and a float16 scale for each group of {g}. How many GB?",
        given=dict(P=P, b=b, g=g),
        answer=P * (b + 16 / g) / 8,
        unit="GB",
        traps={"scales forgotten": P * b / 8, "a byte each": P * (b + 16 / g), "float32 scales": P * (b + 32 / g) / 8},
        hints=("Each weight has its bits and its share of a scale.", "P · (b + 16 / g) / 8"),
        why="Small groups have small ranges and small errors, and more scales. Decoding reads all weights for each "
        "token, so this size is also its time.",
    )


@size_in_groups.second
def _(P, b, g):
    groups = P / g
    return sum(groups * part / 8 for part in (g * b, 16))


@question(topic="quantization.weight_only", level=3, source="Frantar 2023, GPTQ, section 3", readme="dl_020/10")
def weight_that_makes_up(draw):
    a, b, c = draw(3.0, 6.0, 8.0), draw(2.0, 4.0, 5.0), draw(-1.5, 1.0, 2.0)
    q, e, v = draw(-1.0, 0.0, 1.0, 2.0), draw(-0.4, -0.3, 0.2, 0.45), draw(0.3, 0.7, 1.6, -0.8)
    w = round(q + e, 2)
    return Number(
        ask=f"GPTQ. A row has the weights {w:g} and {v:g}; xᵀx is [[{a:g}, {c:g}], [{c:g}, {b:g}]]. The first is "
        f"rounded to {q:g}. Which value for the second makes the squared error of the output least, before it is "
        "rounded itself?",
        given=dict(b=b, c=c, w=w, q=q, v=v),
        answer=v + c / b * (w - q),
        traps={
            "moved the wrong way": v - c / b * (w - q),
            "the other diagonal": v + c / a * (w - q),
            "not moved": v,
        },
        within=0.005,
        hints=(
            "The error is (w - q) of the first input; how much of it can the second input express?",
            "v + (c) / b · (w - (q))",
        ),
        why="Where inputs go together, one weight can make up for the error of another. The rule is a row of the "
        "inverse Hessian over its diagonal, and the factor 2 of the Hessian cancels.",
    )


@weight_that_makes_up.second
def _(b, c, w, q, v):
    import numpy as np

    hessian = 2 * np.array([[9.0, c], [c, b]])
    inverse = np.linalg.inv(hessian)
    return float(v - (w - q) / inverse[0, 0] * inverse[0, 1])


@question(topic="quantization.weight_only", level=2, source="Frantar 2023, GPTQ, section 3", readme="dl_020/10")
def rows_that_share_an_inverse(draw):
    o, i = draw(512, 1024, 4096, 11008), draw(768, 2048, 4096, 8192)
    return Number(
        ask=f"A layer of {o} rows and {i} inputs. Optimal Brain Quantization takes o · i³ steps, GPTQ i³ + o · i². "
        "How many times fewer?",
        given=dict(o=o, i=i),
        answer=o * i / (o + i),
        unit="x",
        traps={"one inverse is all": float(o), "updates are all": float(i), "sizes added": float(o + i)},
        hints=("Divide, and cancel i squared.", "o · i / (o + i)"),
        why="All rows take their weights in the same order, so they share one inverse. An order of its own for each "
        "row needs an inverse of its own, updated at each step.",
    )


@rows_that_share_an_inverse.second
def _(o, i):
    own_inverse = sum(i**3 for _row in range(o))
    shared = i**3 + sum(i**2 for _row in range(o))
    return own_inverse / shared


@question(topic="quantization.weight_only", level=2, source="Frantar 2023, GPTQ, algorithm 1", readme="dl_020/10")
def line_of_gptq(draw):
    c = draw(1.0, -1.0, 1.5)
    first, second = draw(1.25, 2.25, -0.75, 3.25), draw(0, 1, -2) + (0.4375 if c > 0 else 0.5625)
    left = second + c / 2 * 0.25
    wrong, mended = draw(
        ("    error = q[0] - w[0]", "    error = w[0] - q[0]"),
        ("    left = w[1] + error * h[0][1] / h[0][0]", "    left = w[1] + error * h[0][1] / h[1][1]"),
        ("    q[1] = round(w[1])", "    q[1] = round(left)"),
    )
    code = f"""
def two(w, h):
    q = [round(w[0]), 0]
    error = w[0] - q[0]
    left = w[1] + error * h[0][1] / h[1][1]
    q[1] = round(left)
    return q, left
print(two({[first, second]}, {[[4.0, c], [c, 2.0]]}))
"""
    return Bug(
        ask="Two weights are rounded by GPTQ; the second makes up for the error of the first, h is xᵀx. What is "
        "printed is wrong. Which line is it?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(([round(first), round(left)], left)),
        traps={"the first is rounded as it is": "    q = [round(w[0]), 0]", "both are returned": "    return q, left"},
        hints=("Which weight is moved, by what, and which is rounded in the end?", "left = w1 + (w0 - q0) · h01 / h11"),
        why="The second weight takes over the part of the error that its input can express, and is rounded after "
        "that. The order is fixed, so it is a greedy method.",
    )


@question(topic="quantization.weight_only", level=1, source="Dettmers 2023, QLoRA, section 3", readme="dl_020/11")
def two_codes_a_byte(draw):
    a, b = draw.sample(range(1, 16), 2)
    return Predict(
        ask="Two codes of 4 bits are packed, the first in the upper half. What is printed?",
        code=f"""
first, second = {a}, {b}
byte = first << 4 | second
print(byte, byte >> 4, byte & 15)
""",
        answer=f"{16 * a + b} {a} {b}",
        traps={
            "halves exchanged": f"{16 * b + a} {b} {a}",
            "shifted by 8": f"{256 * a + b} {16 * a} {b}",
            "written one behind the other": f"{a}{b} {a} {b}",
        },
        hints=("A shift by 4 multiplies with 16.", "16 · first + second"),
        why="The upper half counts multiples of a power of two; a shift and a mask give both codes back. They are "
        "unpacked and looked up before each product, which runs in half precision: memory is saved, not arithmetic.",
    )


@question(
    topic="quantization.weight_only", level=2, source="Dettmers 2023; Frantar 2023", readme=("dl_020/11", "dl_020/12")
)
def fewest_bits(draw):
    g, small, row = draw(16, 64), draw(32, 64), draw(1024, 4096)
    bits = {
        f"4 bits, a float16 scale for {g}": 4 + 16 / g,
        f"3 bits, a float16 scale and zero point for {small}": 3 + 32 / small,
        "NF4, a float32 constant for 64": 4 + 32 / 64,
        "NF4, an 8-bit constant for 64, a float32 for 256 of these": 4 + 8 / 64 + 32 / (64 * 256),
        f"int8, a float32 scale for a row of {row}": 8 + 32 / row,
    }
    names = draw.sample(sorted(bits), 4)
    order = sorted(names, key=lambda name: bits[name])
    return Order(
        ask="Which takes the fewest bits a weight, scales and constants counted? Fewest first.",
        given=dict(names=sorted(names)),
        answer=order,
        traps={
            "scales forgotten": sorted(
                names, key=lambda name: (name.startswith("int8"), not name.startswith("3"), name)
            ),
            "most first": order[::-1],
        },
        hints=("A constant's bits are shared by the numbers that it serves.", "bits + bits of constants / group"),
        why="Constants of small groups can cost more than a bit. Double quantisation saves most of what NF4's "
        "constants take.",
    )


@fewest_bits.second
def _(names):
    import re

    def bits_of(name):
        group = int(re.search(r"(\d+)$", name)[1]) if name[-1].isdigit() else 64
        block = 256 * group * 64
        codes = {"4": 4, "3": 3, "N": 4, "i": 8}[name[0]] * block
        constants = 16 * ("float16" in name) + 16 * ("zero" in name) + 32 * ("float32" in name)
        if "8-bit" in name:
            return codes / block + (8 * 256 + 32) / (256 * 64)
        return (codes + constants * block / group) / block

    return sorted(names, key=bits_of)
