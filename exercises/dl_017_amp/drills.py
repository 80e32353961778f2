"""Questions on mixed precision whose numbers change: `grader drill --topic precision.scaler`."""

from math import ceil, floor, log2

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="precision.formats", level=2, source="Micikevicius 2022, section 3", readme="dl_017/1")
def largest_number(draw):
    e, m = draw(4, 5, 6), draw.between(1, 6)
    bias = 2 ** (e - 1) - 1
    return Number(
        ask=f"A format by IEEE's rules has a sign, {e} exponent bits and {m} mantissa bits. Its highest exponent is "
        "kept for Inf and NaN. What is its largest finite number?",
        given=dict(e=e, m=m),
        answer=2 ** (bias + 1) - 2 ** (bias - m),
        traps={
            "the highest exponent used": 2 ** (bias + 2) - 2 ** (bias + 1 - m),
            "mantissa of zeros": 2**bias,
            "the next power of two": 2 ** (bias + 1),
        },
        hints=(
            "The bias is half the exponent range; the mantissa is all ones.",
            "(2 - 2^(-m)) · 2^(bias) with bias = 2^(e - 1) - 1",
        ),
        why="The largest field that holds numbers stands for an exponent as large as the bias. e4m3 breaks the rule: "
        "it keeps a single code for NaN and so gains one more power of two.",
    )


@largest_number.second
def _(e, m):
    fields = range(1, 2**e - 1)  # without those of zero and of Inf
    middle = (len(fields) + 1) // 2
    top = fields[-1] - fields[middle - 1]
    return sum(2**top // 2**place for place in range(m + 1))


@question(topic="precision.formats", level=2, source="Micikevicius 2022, table 1", readme="dl_017/1")
def finest_spacing(draw):
    bits = {"float16": 10, "bfloat16": 7, "e4m3": 3, "e5m2": 2}
    spacings = dict(zip(bits, draw.sample(range(-5, 3), 4), strict=True))
    at = {name: 2.0 ** (spacings[name] + bits[name]) for name in bits}
    shown = {name: f"{name} at {at[name]:g}" for name in bits}
    return Order(
        ask="e4m3 and e5m2 are 8-bit formats with 4 and 5 exponent bits. Where do neighbouring numbers, from the given "
        "one upwards, lie closest? Closest first.",
        given=dict(at=at),
        answer=[shown[name] for name in sorted(bits, key=lambda name: spacings[name])],
        traps={
            "the size forgotten": [shown[name] for name in bits],
            "widest first": [shown[name] for name in sorted(bits, key=lambda name: -spacings[name])],
        },
        hints=("Spacing grows with the number; how many mantissa bits has each?", "x · 2^(-m), with m = 10, 7, 3, 2"),
        why="Numbers of m mantissa bits lie 2 to the power -m apart, relative to the power of two below them. A coarse "
        "format near 0 may be finer than a fine one far out.",
    )


@finest_spacing.second
def _(at):
    def next_above(name):
        x, bits = at[name], 0
        exponent = {"float16": 5, "bfloat16": 8, "e4m3": 4, "e5m2": 5}[name]
        width = 16 if "float" in name else 8
        bits = width - 1 - exponent
        return x / (1 << bits)

    return [f"{name} at {at[name]:g}" for name in sorted(at, key=next_above)]


@question(topic="precision.rounding", level=2, source="Kalamkar 2019, section 3")
def nearest_bfloat(draw):
    x = draw.between(257, 2047)
    step = 2 ** (x.bit_length() - 8)
    near = round(x / step) * step
    below = x // step * step
    return Number(
        ask=f"The float32 number {x} is rounded to bfloat16: 8 exponent bits, 7 mantissa bits, to nearest, ties to "
        "even. What comes out?",
        given=dict(x=x),
        answer=near,
        traps={
            ("rounded up" if near == below else "cut off"): below + step if near == below else below,
            "float16's spacing": x,
        },
        hints=(
            "Which numbers are 2^(-7) of the power of two below x apart? A tie goes to an even mantissa.",
            "step = 2^(⌊log2(x)⌋ - 7), then round(x / step) · step",
        ),
        why="Eight bits with the hidden one: integers are exact up to 256 only. Half way between two numbers the one "
        "whose last bit is 0 is taken, so that errors do not all pull one way.",
    )


@nearest_bfloat.second
def _(x):
    import numpy as np

    bits = int(np.array([x], np.float32).view(np.uint32)[0])
    bits += 0x7FFF + (bits >> 16 & 1)
    return int(np.array([bits & 0xFFFF0000], np.uint32).view(np.float32)[0])


@question(topic="precision.rounding", level=2, source="Kalamkar 2019, section 3")
def line_that_rounds(draw):
    down, up = 4 * draw.between(65, 127) + 1, 4 * draw.between(65, 127) + 3
    wrong, mended = draw(
        ("    odd = bits >> 15 & 1", "    odd = bits >> 16 & 1"),
        ("    bits += 0x8000 + odd", "    bits += 0x7FFF + odd"),
        ("    bits &= 0xFFFF8000", "    bits &= 0xFFFF0000"),
    )
    code = f"""
from struct import pack, unpack
def bfloat16(x):
    bits = unpack("<I", pack("<f", x))[0]
    odd = bits >> 16 & 1
    bits += 0x7FFF + odd
    bits &= 0xFFFF0000
    return unpack("<f", pack("<I", bits))[0]
print(bfloat16({down}), bfloat16({up}))
"""
    return Bug(
        ask=f"A float32 is rounded to bfloat16, to nearest, ties to even: {float(down - 1)} and {float(up + 1)} "
        "should be printed. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{float(down - 1)} {float(up + 1)}",
        traps={
            "the bits are read rightly": '    bits = unpack("<I", pack("<f", x))[0]',
            "the bits are written rightly": '    return unpack("<f", pack("<I", bits))[0]',
        },
        hints=(
            "A bfloat16 is a float32 without its last 16 bits. What decides a tie?",
            "add 0x7FFF and the last kept bit, bit 16 from 0; clear bits 0 to 15",
        ),
        why="Just under a half is added, and one more if the last kept bit is 1: a tie then carries only into an odd "
        "number, and makes it even.",
    )


@question(topic="precision.underflow", level=2, source="Micikevicius 2018, section 3.2", readme="dl_017/1")
def least_scale(draw):
    g = draw(1.0, 2.0, 3.0, 5.0, 7.0) * 10.0 ** -draw(9, 10, 11, 12)
    return Number(
        ask=f"The smallest gradient that matters is {g:.0e}. float16's smallest number above 0 is 2^(-24). Which is "
        "the least power of two for a loss scale that brings this gradient up to it?",
        given=dict(g=g),
        answer=2 ** ceil(log2(2**-24 / g)),
        traps={
            "smallest normal number": 2 ** ceil(log2(2**-14 / g)),
            "rounded down": 2 ** floor(log2(2**-24 / g)),
        },
        hints=("Which factor makes g exactly that number? Go up to a power of two.", "2^(⌈log2(2^(-24) / g)⌉)"),
        why="A power of two changes exponents alone and rounds nothing. Subnormal numbers count, with fewer and fewer "
        "bits; so in practice one takes a larger scale.",
    )


@least_scale.second
def _(g):
    scale = 1
    while g * scale * 2**24 < 1:
        scale += scale
    return scale


@question(topic="precision.underflow", level=2, source="Micikevicius 2018, section 3.2")
def gradients_that_survive(draw):
    g = draw.sample([1e-10, 4e-10, 2e-9, 8e-9, 2e-8, 5e-8, 3e-7, 2e-6, 4e-5], 6)
    S = draw(4, 16, 64, 256)
    plain, scaled = sum(v > 2**-25 for v in g), sum(v * S > 2**-25 for v in g)
    return Predict(
        ask="How many gradients survive in float16, without and with a loss scale? (2^(-24) is its smallest number "
        "above 0; half of that and less is rounded to 0.)",
        code=f"""
import numpy as np
g = np.array({g})
print(np.count_nonzero(np.float16(g)), np.count_nonzero(np.float16(g * {S})))
""",
        answer=f"{plain} {scaled}",
        traps={
            "only normal numbers": f"{sum(v > 2**-14 for v in g)} {sum(v * S > 2**-14 for v in g)}",
            "the scale comes too late": f"{plain} {plain}",
            "all survive": f"{len(g)} {len(g)}",
        },
        hints=("2^(-25) is about 3e-8.", "count g above 3e-8, and g · S above 3e-8"),
        why="The scale must be in the loss, before the backward pass makes float16 numbers of the gradients. What has "
        "become 0 stays 0, whatever it is multiplied with.",
    )


@question(topic="precision.gains", level=1, source="Micikevicius 2018, section 3.1", readme="dl_017/2")
def memory_in_all(draw):
    P, A = draw(0.5, 1.0, 3.0, 7.0, 8.0, 13.0), draw(10, 24, 40, 64, 90, 150)
    return Number(
        ask=f"{P:g} · 10⁹ parameters, Adam. In float32 the activations that are kept take {A} GB. Now weights, "
        "gradients and activations are float16, with a float32 master copy and float32 moments. How many GB in all?",
        given=dict(P=P, A=A),
        answer=16 * P + A / 2,
        unit="GB",
        traps={
            "everything halved": 8 * P + A / 2,
            "no master copy": 12 * P + A / 2,
            "activations not halved": 16 * P + A,
        },
        hints=("A parameter: weight, gradient, master, two moments. Activations: half.", "16·P + A/2"),
        why="Two halves and three whole numbers make as many bytes a parameter as in float32. What is saved is half of "
        "the activations.",
    )


@memory_in_all.second
def _(P, A):
    import numpy as np

    kept = [np.float16, np.float16, np.float32, np.float32, np.float32]
    return sum(np.dtype(one).itemsize * P for one in kept) + A * np.dtype("f2").itemsize / np.dtype("f4").itemsize


@question(topic="precision.gains", level=1, source="Micikevicius 2018, section 3.1", readme="dl_017/2")
def what_is_halved(draw):
    what = draw("activations", "gradients", "moments", "weights")
    named = {
        "activations": "the activations kept for the backward pass",
        "gradients": "the gradients",
        "moments": "Adam's moments",
        "weights": "the weights, with all copies of them",
    }[what]
    half, same, more = "they are halved", "they stay the same", "they grow by a half"
    right = {"activations": half, "gradients": half, "moments": same, "weights": more}[what]
    return Choice(
        ask="From float32 to mixed precision: float16 weights, gradients and activations, a float32 master copy, "
        f"float32 moments. What happens to the bytes of {named}?",
        given=dict(what=what),
        answer=right,
        traps={
            "half of everything": same if right == half else half,
            "copies miscounted": more if right != more else same,
            "a copy of each": "they double",
        },
        hints=("Count the copies, and the bytes of each.", "bytes of all float16 and float32 copies / 4"),
        why="The optimizer works in float32, so moments stay and the weights get a second, half-sized copy. Gradients "
        "and activations exist in float16 alone.",
    )


@what_is_halved.second
def _(what):
    import numpy as np

    copies = {"activations": "e", "gradients": "e", "moments": "f", "weights": "ef"}[what]
    ratio = sum(np.dtype(one).itemsize for one in copies) / np.dtype("f").itemsize
    return {0.5: "they are halved", 1.0: "they stay the same", 1.5: "they grow by a half"}[ratio]


@question(topic="precision.scaler", level=2, source="torch.amp.GradScaler", readme="dl_017/3")
def scale_after_a_trace(draw):
    k, trace = draw(2, 3), [draw("ok", "ok", "ok", "Inf") for _ in range(draw(9, 12))]

    def after(inf_counts=False, resets=True):
        S, good = 16, 0
        for one in trace:
            if one == "Inf":
                S, good = S - 1, (good + 1 if inf_counts else 0 if resets else good)
            else:
                good += 1
            if good == k:
                S, good = S + (one != "Inf"), 0
        return 2**S

    return Number(
        ask=f"A dynamic loss scale begins at 65,536. It is halved at an Inf and doubled after {k} iterations in a row "
        f"without one; each change begins a new count. Iterations: {' '.join(trace)}. What is it then?",
        given=dict(k=k, trace=trace),
        answer=after(),
        traps={
            "an Inf does not reset the count": after(resets=False),
            "never doubled": 2 ** (16 - trace.count("Inf")),
            "each good one doubles": 2 ** (16 + len(trace) - 2 * trace.count("Inf")),
        },
        hints=(
            f"Cut the list at each Inf; each stretch doubles once for each {k} in it.",
            "65536 · 2^(doubled - halved)",
        ),
        why="It falls at once and climbs slowly, so that it stays just under what overflows. An Inf costs one step; "
        "growing at every step would cost one in two.",
    )


@scale_after_a_trace.second
def _(k, trace):
    stretches = " ".join(trace).split("Inf")
    ups = sum(one.count("ok") // k for one in stretches)
    return 65536 * 2**ups // 2 ** (len(stretches) - 1)


@question(topic="precision.scaler", level=2, source="torch.amp.GradScaler", readme="dl_017/3")
def what_an_inf_changes(draw):
    what = draw("weights", "scale", "moments", "growth", "batchnorm")
    named = {
        "weights": "the weights",
        "scale": "the loss scale",
        "moments": "Adam's moments and step count",
        "growth": "the count of good iterations",
        "batchnorm": "the running mean of BatchNorm",
    }[what]
    stays, halved, zero, moves = "as before the iteration", "halved", "0", "moved as in any iteration"
    right = {"scale": halved, "growth": zero, "batchnorm": moves}.get(what, stays)
    return Choice(
        ask=f"An iteration with GradScaler: forward, backward, step, update. A gradient is Inf, after many good ones. "
        f"What {'are' if what in ('weights', 'moments') else 'is'} {named} afterwards?",
        given=dict(what=what),
        answer=right,
        traps={
            name: one
            for name, one in {
                "nothing is used": stays,
                "taken for the scale": halved,
                "taken for the count": zero,
                "no step is skipped": moves,
            }.items()
            if one != right
        },
        hints=(
            "Which calls still take place, and which is skipped?",
            "forward: yes. optimizer step: no. update: halves, and counts anew",
        ),
        why="Only the optimizer's step is skipped, with all that it would change. The forward pass has happened, and "
        "the update of the scale still does.",
    )


@what_an_inf_changes.second
def _(what):
    state = before = dict(weights=8.0, scale=8.0, moments=8.0, growth=8.0, batchnorm=8.0)
    gradient = float("inf")
    state = dict(before, batchnorm=9.0)
    if gradient < float("inf"):
        state["weights"], state["moments"] = 7.0, 7.5
    else:
        state["scale"], state["growth"] = state["scale"] / 2, 0.0
    return {
        8.0: "as before the iteration",
        4.0: "halved",
        0.0: "0",
        9.0: "moved as in any iteration",
    }[state[what]]


@question(topic="precision.autocast", level=1, source="torch.amp, autocast op reference")
def in_half_precision(draw):
    products = ["linear", "matmul", "conv1d", "conv2d", "bmm", "addmm", "baddbmm"]
    others = ["softmax", "layer_norm", "cross_entropy", "exp", "sum", "log", "pow"]
    n = draw.between(1, 6)
    ops = draw.shuffled(draw.sample(products, n) + draw.sample(others, 7 - n))
    return Number(
        ask=f"torch.autocast on a GPU with float16, float32 inputs. How many of these run in float16: "
        f"{', '.join(ops)}?",
        given=dict(ops=ops),
        answer=n,
        unit="operations",
        traps={"all of them": len(ops), "the others": len(ops) - n},
        hints=(
            "Products with many additions gain most; what sums or grows exponentially loses most.",
            "count products of matrices and convolutions",
        ),
        why="Tensor cores multiply halves and add up in float32. Exponentials, logarithms, norms, sums and losses "
        "leave float16's range, or lose small terms, and run in float32.",
    )


@in_half_precision.second
def _(ops):
    precise = {"softmax", "layer_norm", "cross_entropy", "exp", "sum", "log", "pow"}
    return len(set(ops) - precise)


@question(topic="precision.autocast", level=2, source="Micikevicius 2018, section 3.3")
def sum_that_stops(draw):
    step, n = draw(0.25, 0.5, 1.0, 2.0, 4.0), draw(1000, 1500, 2500, 3000, 4000)
    total = step * min(n, 2048)
    return Predict(
        ask="A sum in float16, which has 10 mantissa bits. What is printed?",
        code=f"""
import numpy as np
total = np.float16(0)
for _ in range({n}):
    total += np.float16({step})
print(float(total))
""",
        answer=str(total),
        traps={
            ("as exact numbers" if n > 2048 else "9 mantissa bits"): str(step * (n if n > 2048 else 1024)),
            "bfloat16's 7 bits": str(step * 256),
            "overflow": "inf",
        },
        hints=("From which size on is half of the spacing as large as the step?", "step · min(n, 2048)"),
        why="Once half of the spacing is as large as what is added, nothing moves any more. That is why sums, means "
        "and norms run in float32.",
    )


@question(topic="precision.master_weights", level=2, source="Micikevicius 2018, section 3.1", readme="dl_017/1")
def largest_lost_update(draw):
    w = draw(1.25, 1.5, 1.75) * draw(0.25, 0.5, 1, 2, 4, 8)
    return Number(
        ask=f"A weight of {w:g} is kept in bfloat16 (7 mantissa bits), rounding to nearest, ties to even; its last "
        "bit is 0. What is the largest update upwards that is lost?",
        given=dict(w=w),
        answer=2.0 ** (floor(log2(w)) - 8),
        traps={
            "a whole spacing": 2.0 ** (floor(log2(w)) - 7),
            "float16's spacing": 2.0 ** (floor(log2(w)) - 11),
            "relative to the weight": w * 2.0**-8,
        },
        hints=("Half of the spacing at w, which the power of two below w decides.", "2^(⌊log2(w)⌋ - 8)"),
        why="Updates are often a thousandth of the weight, and would vanish step by step. A float32 master adds them "
        "up until they count.",
    )


@largest_lost_update.second
def _(w):
    import numpy as np

    here = np.array([w], np.float32)
    above = (here.view(np.uint32) + np.uint32(1 << 16)).view(np.float32)
    return float((above - here)[0]) / 2


@question(topic="precision.master_weights", level=2, source="Micikevicius 2018, section 3.1")
def with_and_without_master(draw):
    k, n = draw(9, 10, 11, 12, 13), draw(64, 128, 192, 256)
    moved = 1 + n * 2.0**-k
    half = 1.0 if k >= 11 else moved
    return Predict(
        ask="A weight in float16 (10 mantissa bits), and its master. What is printed?",
        code=f"""
import numpy as np
half, master = np.float16(1), 1.0
for _ in range({n}):
    half += np.float16(2**-{k})
    master += 2**-{k}
print(float(half), master)
""",
        answer=f"{half} {moved}",
        traps={
            "no difference" if half == 1 else "every update lost": f"{moved} {moved}" if half == 1 else f"1.0 {moved}",
            "the master lost too": "1.0 1.0",
        },
        hints=(
            "Above 1, float16's numbers are 2^(-10) apart; a tie goes to the even one.",
            "half moves if 2^(-k) is above 2^(-11)",
        ),
        why="An update of half a spacing or less changes nothing, however often it comes. The master keeps it, and the "
        "float16 weight is a rounded copy of the master.",
    )


@question(topic="precision.train_step", level=2, source="torch, AMP examples", readme="dl_017/4")
def norm_of_a_late_unscale(draw):
    S, c = 2 ** draw.between(8, 16), draw(0.5, 1.0, 2.0, 5.0)
    n = c * draw(3, 4, 10)
    return Number(
        ask=f"The loss scale is {S}, the true gradient has norm {n:g}. Somebody clips the norm to {c:g} and unscales "
        "afterwards. Which norm is left for the optimizer?",
        given=dict(S=S, c=c, n=n),
        answer=c / S,
        traps={"unscaled before": c, "not clipped": n / S, "not unscaled": n},
        hints=("Clipping sees a norm of S · n, and brings it down. What follows?", "c / S"),
        why="The limit is meant for true gradients. With scaled ones every step is clipped, and unscaling then makes "
        "the clipped gradient tiny. So unscale first.",
    )


@norm_of_a_late_unscale.second
def _(S, c, n):
    import numpy as np

    g = np.array([3.0, 4.0]) / 5 * n * S
    g *= min(1.0, c / np.linalg.norm(g))
    return float(np.linalg.norm(g / S))


@question(topic="precision.train_step", level=1, source="torch, AMP examples", readme="dl_017/4")
def order_of_a_step(draw):
    steps = [
        "forward pass under autocast",
        "divide the loss by the number of micro-batches",
        "multiply the loss with the scale, backward pass",
        "scaler.unscale_(optimizer)",
        "clip_grad_norm_",
        "scaler.step(optimizer)",
        "scaler.update()",
    ]
    chosen = sorted(draw.sample(range(7), 5))
    answer = [steps[i] for i in chosen]
    early = list(answer)
    at = [i for i, one in enumerate(answer[:-1]) if chosen[i] >= 2 and chosen[i + 1] <= 6] or [0]
    early[at[0]], early[at[0] + 1] = early[at[0] + 1], early[at[0]]
    return Order(
        ask="The last micro-batch of a step in mixed precision, with clipping. In which order?",
        given=dict(chosen=chosen),
        answer=answer,
        traps={"two steps swapped": early, "from the end": answer[::-1]},
        hints=(
            "Clipping needs true gradients; the scale may change only when all have used it.",
            "forward, divide, scale and backward, unscale, clip, step, update",
        ),
        why="All micro-batches use one scale; then gradients are unscaled once, clipped, and used or skipped. The "
        "update of the scale comes last.",
    )


@order_of_a_step.second
def _(chosen):
    after = {  # each with those that it needs
        "scaler.update()": "scaler.step(optimizer)",
        "scaler.step(optimizer)": "clip_grad_norm_",
        "clip_grad_norm_": "scaler.unscale_(optimizer)",
        "scaler.unscale_(optimizer)": "multiply the loss with the scale, backward pass",
        "multiply the loss with the scale, backward pass": "divide the loss by the number of micro-batches",
        "divide the loss by the number of micro-batches": "forward pass under autocast",
    }
    path = ["scaler.update()"]
    while path[-1] in after:
        path.append(after[path[-1]])
    return [path[6 - i] for i in chosen]


@question(topic="precision.fp8", level=1, source="Micikevicius 2022, section 3.1", readme="dl_017/5")
def delayed_scale(draw):
    h = [draw.between(10, 600) / 10 for _ in range(4)]
    return Number(
        ask=f"Delayed scaling to e4m3, which reaches 448. The largest magnitudes of the last four calls were "
        f"{', '.join(f'{one:g}' for one in h)}, the newest last. By which factor is the next tensor multiplied?",
        given=dict(h=h),
        answer=448 / max(h),
        unit="x",
        traps={"the newest alone": 448 / h[-1], "by IEEE's rules": 240 / max(h), "upside down": max(h) / 448},
        hints=("What is to land on the largest number of the format?", "448 / max(h)"),
        why="The largest of the history lands on the largest code. One call alone would be a noisy guess; what is "
        "larger still is clamped.",
    )


@delayed_scale.second
def _(h):
    return min(448 / one for one in h)


@question(topic="precision.fp8", level=2, source="Micikevicius 2022, section 3.1", readme="dl_017/5")
def scales_of_three_calls(draw):
    history, calls = [2 ** draw(4, 5, 6), 2 ** draw(0, 1, 2, 3)], [2 ** draw.between(0, 6) for _ in range(3)]
    seen = history + calls
    scales = [448 // max(seen[i : i + 2]) for i in range(3)]
    return Predict(
        ask="Delayed scaling with a history of two. What is printed?",
        code=f"""
history, scales = {history}, []
for largest in {calls}:
    scales.append(448 // max(history))
    history = history[1:] + [largest]
print(scales)
""",
        answer=str(scales),
        traps={
            "measured before the cast": str([448 // one for one in calls]),
            "nothing is forgotten": str([448 // max(seen[: i + 2]) for i in range(3)]),
            "this call counted": str([448 // max(seen[i + 1 : i + 3]) for i in range(3)]),
        },
        hints=("The scale is taken before this call's value comes in.", "448 // max(last two before)"),
        why="To measure the tensor first would cost one more pass over it. So a call is scaled by what came before, "
        "and its own largest value serves the next ones.",
    )


@question(topic="precision.tensor_cores", level=1, source="NVIDIA, deep learning performance guide", readme="dl_017/6")
def padded_vocabulary(draw):
    V, m = draw(50257, 32003, 30522, 49153, 128003, 151643, 250002), draw(8, 16, 64, 128)
    return Number(
        ask=f"A vocabulary of {V} is padded to a multiple of {m}. How many columns do the logits have then?",
        given=dict(V=V, m=m),
        answer=V + -V % m,
        unit="columns",
        traps={"rounded down": V // m * m, "one multiple too many": (V // m + 2) * m, "the multiple added": V + m},
        hints=("The next multiple of m that is not below V.", "⌈V / m⌉ · m"),
        why="Rows of logits then begin at aligned addresses, and tiles are filled. The added columns should be masked "
        "when text is sampled.",
    )


@padded_vocabulary.second
def _(V, m):
    return len(range(0, V, m)) * m


@question(topic="precision.tensor_cores", level=2, source="NVIDIA, deep learning performance guide", readme="dl_017/6")
def rows_that_are_aligned(draw):
    name, code, each = draw(("float32", "f4", 4), ("float16", "f2", 8), ("int8", "i1", 16))
    base = each * 2 * draw.between(20, 300)
    good = base + each if each < 16 else base
    half, quarter = base + each // 2, base + 32 + each // 4
    odd = base + each + 1
    return Choice(
        ask=f"Rows of {'an' if name == 'int8' else 'a'} {name} matrix should all begin at a multiple of 16 bytes; the "
        "matrix itself does. Which number of columns is right?",
        given=dict(code=code, columns=[good, half, quarter, odd]),
        answer=f"{good:,}",
        traps={
            "aligned to 8 bytes": f"{half:,}",
            "aligned to 4 bytes": f"{quarter:,}",
            "odd": f"{odd:,}",
        },
        hints=("How many numbers are 16 bytes?", "columns · bytes of one number, a multiple of 16"),
        why="Fast kernels load 16 bytes at once from aligned addresses. The smaller the number, the more of them must "
        "divide the width.",
    )


@rows_that_are_aligned.second
def _(code, columns):
    import numpy as np

    fits = [n for n in columns if np.zeros((2, n), code).strides[0] % 16 == 0]
    (only,) = fits
    return f"{only:,}"
