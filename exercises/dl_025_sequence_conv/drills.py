"""Questions on convolutions over time whose numbers change: `grader drill --topic sequence.wavenet`."""

from math import ceil, exp, log, log2, tanh

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="sequence.dilated_convolution", level=1, source="van den Oord 2016, section 2.1", readme="dl_025/1")
def zeros_before_the_first_step(draw):
    k, d = draw(3, 4, 5, 7), draw(2, 4, 8, 16, 32, 64)
    return Number(
        ask=f"A causal convolution of kernel {k} and dilation {d}. How many zeros are put before the first step?",
        given=dict(k=k, d=d),
        answer=(k - 1) * d,
        unit="zeros",
        traps={"every tap": k * d, "no dilation": k - 1, "half, as if centred": (k - 1) * d // 2},
        hints=("How far back does the first output look?", "(k - 1) · d"),
        why="All padding stands in front, none behind: then no output sees a later step. Both sides would centre the "
        "kernel.",
    )


@zeros_before_the_first_step.second
def _(k, d):
    return -min(0 - tap * d for tap in range(k))


@question(topic="sequence.dilated_convolution", level=1, source="van den Oord 2016, section 2.1", readme="dl_025/1")
def output_of_dilated_taps(draw):
    d, n = draw(2, 3), draw(6, 7)
    x = [draw.between(1, 9) for _ in range(n)]
    a, b = draw.sample(range(1, 5), 2)

    def at(i):
        return x[i] if 0 <= i < n else 0

    return Predict(
        ask=f"A causal convolution of two taps, dilation {d}. What is printed?",
        code=f"""
x = {x}
past = [0] * {d} + x
print([{a} * x[t] + {b} * past[t] for t in range(len(x))])
""",
        answer=str([a * at(t) + b * at(t - d) for t in range(n)]),
        traps={
            "no dilation": str([a * at(t) + b * at(t - 1) for t in range(n)]),
            "the future": str([a * at(t) + b * at(t + d) for t in range(n)]),
            "taps swapped": str([b * at(t) + a * at(t - d) for t in range(n)]),
        },
        hints=("`past` is x, late by the dilation, with zeros in front.", "first · x[t] + second · x[t - dilation]"),
        why="Dilation spreads the taps, and adds no weight. With dilations that double, the field doubles with each "
        "layer.",
    )


@question(topic="sequence.dilated_convolution", level=2, source="Bai 2018, section 3.1", readme="dl_025/1")
def line_of_a_causal_convolution(draw):
    x, w = [draw.between(1, 9) for _ in range(6)], draw.sample(range(1, 6), 3)
    wrong, mended = draw(
        ("    pad = len(w) * d // 2", "    pad = (len(w) - 1) * d"),
        (
            "        past = [x[t + i * d] for i in range(len(w))]",
            "        past = [x[t + pad - i * d] for i in range(len(w))]",
        ),
        ("    x = x + [0] * pad", "    x = [0] * pad + x"),
    )
    code = f"""
def causal(x, w, d):
    pad = (len(w) - 1) * d
    steps = range(len(x))
    x = [0] * pad + x
    out = []
    for t in steps:
        past = [x[t + pad - i * d] for i in range(len(w))]
        out.append(sum(a * b for a, b in zip(w, past)))
    return out
print(causal({x}, {w}, 2))
"""
    right = [sum(w[i] * x[t - 2 * i] for i in range(3) if t >= 2 * i) for t in range(6)]
    return Bug(
        ask="w[0] weighs the newest step, w[1] the one d steps before, and so on. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(right),
        traps={
            "as many outputs as inputs": "    steps = range(len(x))",
            "the products are added": "        out.append(sum(a * b for a, b in zip(w, past)))",
        },
        hints=("How many zeros, on which side, and where does step t then stand?", "x[t + pad - i·d], pad = (k - 1)·d"),
        why="Three things make it causal: enough zeros, all of them in front, and taps that go back.",
    )


@question(topic="sequence.receptive_field", level=1, source="Bai 2018, section 3.2", readme="dl_025/2", seed="002/28")
def field_of_a_tcn(draw):
    k, n = draw(3, 5, 7), draw.between(3, 10)
    return Number(
        ask=f"A TCN of {n} levels with two convolutions each, kernel {k}, dilations 1, 2, 4 and so on. How many "
        "steps does an output see?",
        given=dict(k=k, n=n),
        answer=1 + 2 * (k - 1) * (2**n - 1),
        unit="steps",
        traps={
            "one convolution a level": 1 + (k - 1) * (2**n - 1),
            "no dilation": 1 + 2 * (k - 1) * n,
            "own step forgotten": 2 * (k - 1) * (2**n - 1),
        },
        hints=(
            "Each convolution adds (k - 1) times its dilation; dilations add up to 2^n - 1.",
            "1 + 2 · (k - 1) · (2^n - 1)",
        ),
        why="Both convolutions of a level have its dilation. The formula with one is often quoted, and asks for a "
        "level more than is needed.",
    )


@field_of_a_tcn.second
def _(k, n):
    seen = {0}
    for level in range(n):
        for _convolution in range(2):
            seen = {step - tap * 2**level for step in seen for tap in range(k)}
    return len(range(min(seen), max(seen) + 1))


@question(topic="sequence.receptive_field", level=2, source="Bai 2018, section 3.2", readme="dl_025/2")
def levels_that_are_needed(draw):
    k, full = draw(2, 3, 5, 7), draw.between(5, 12)
    S = 1 + 2 * (k - 1) * (2**full - 1) + draw(0, 0, 1, 40, 100)  # at the edge, or a little beyond it
    levels = ceil(log2((S - 1) / (2 * (k - 1)) + 1))
    return Number(
        ask=f"A TCN with two convolutions a level, kernel {k}, dilations 1, 2, 4 and so on. How many levels does it "
        f"need to see {S} steps?",
        given=dict(k=k, S=S),
        answer=levels,
        unit="levels",
        traps={
            "a level too few": levels - 1,
            "no dilation": ceil((S - 1) / (2 * (k - 1))),
        },
        hints=("Which is the first n with a field of at least S?", "⌈log2((S - 1) / (2 · (k - 1)) + 1)⌉"),
        why="Depth grows with the logarithm of the length. It is an upper bound: what a trained network uses may be "
        "less.",
    )


@levels_that_are_needed.second
def _(k, S):
    field, n = 1, 0
    while field < S:
        field, n = field + 2 * (k - 1) * 2**n, n + 1
    return n


@question(topic="sequence.receptive_field", level=2, source="Bai 2018; van den Oord 2016", readme="dl_025/2")
def stacks_by_their_field(draw):
    n, k, L, s = draw(4, 5, 6, 7), draw(3, 5), draw(10, 40, 150), draw(2, 3, 4)
    fields = {
        f"TCN, {n} levels of two convolutions, kernel {k}, dilations doubling": 1 + 2 * (k - 1) * (2**n - 1),
        f"{L} convolutions of kernel {k + 2}, no dilation": 1 + L * (k + 1),
        f"{s} stacks with dilations 1 to 128, kernel 2": 1 + s * 255,
    }
    layers = dict(zip((name[-4:] for name in fields), (2 * n, L, 8 * s), strict=True))
    order = sorted(fields, key=lambda name: fields[name])
    return Order(
        ask="Which sees the fewest steps? Fewest first.",
        given=dict(n=n, k=k, L=L, s=s),
        answer=order,
        traps={
            "most first": order[::-1],
            "by the number of layers": sorted(fields, key=lambda name: layers[name[-4:]]),
        },
        hints=("Each convolution adds its kernel less one, times its dilation.", "1 + Σ (k - 1) · dilation"),
        why="Dilations that double win by depth; stacks that begin at one again add up, they do not multiply.",
    )


@stacks_by_their_field.second
def _(n, k, L, s):
    import numpy as np

    stacks = {
        f"TCN, {n} levels of two convolutions, kernel {k}, dilations doubling": [
            (k, 2**i) for i in range(n) for _ in "ab"
        ],
        f"{L} convolutions of kernel {k + 2}, no dilation": [(k + 2, 1)] * L,
        f"{s} stacks with dilations 1 to 128, kernel 2": [(2, 2**i) for i in range(8)] * s,
    }

    def field(name):
        reach = np.zeros(1, bool) | True
        for width, dilation in stacks[name]:
            reach = np.pad(reach, (0, (width - 1) * dilation), constant_values=True)
        return reach.size

    return sorted(stacks, key=field)


@question(topic="sequence.tcn_block", level=2, source="Bai 2018, section 3.4")
def parameters_of_a_tcn_block(draw):
    k, i, o = draw(2, 3, 5, 7), draw(16, 32, 64), draw(96, 128, 192)
    return Number(
        ask=f"A TCN block: convolutions of kernel {k} from {i} to {o} and from {o} to {o} channels, both with bias, "
        "and a 1x1 convolution with bias on the skip. How many parameters, before weight norm?",
        given=dict(k=k, i=i, o=o),
        answer=k * i * o + o + k * o * o + o + i * o + o,
        unit="parameters",
        traps={
            "skip free": k * i * o + o + k * o * o + o,
            "both from the input": 2 * (k * i * o + o) + i * o + o,
            "biases forgotten": k * i * o + k * o * o + i * o,
        },
        hints=("Two kernels, one product on the skip, three biases.", "k · i · o + k · o · o + i · o + 3 · o"),
        why="The skip needs the product only where the width changes. Weight norm would add a length for each output "
        "channel.",
    )


@parameters_of_a_tcn_block.second
def _(k, i, o):
    from math import prod

    return sum(prod(shape) for shape in [(o, i, k), (o,), (o, o, k), (o,), (o, i, 1), (o,)])


@question(topic="sequence.tcn_block", level=2, source="Bai 2018, section 3.4; Salimans 2016", readme="dl_025/3")
def steps_that_a_norm_sees(draw):
    norm, B = draw(
        "batch norm over batch and time, in training", "layer norm over channels and time", "weight norm",
        "layer norm over the channels of a step",
    ), draw(8, 16, 32)  # fmt: skip
    none, own, all_ = "on no later step", "on later steps of its own sequence", "on later steps of all sequences"
    right = all_ if "batch norm" in norm else own if "and time" in norm else none
    names = {"nothing taken over time": none, "each sequence by itself": own, "the batch taken together": all_}
    return Choice(
        ask=f"A causal convolution is followed by this, batch {B}: {norm}. On which later steps does an output depend?",
        given=dict(norm=norm, B=B),
        answer=right,
        traps={name: one for name, one in names.items() if one != right},
        hints=("Over which axes does it take its mean?", "(batch, time), (channels, time), (channels), none"),
        why="Statistics over time bring the future in, and a network trained so is another one in eval mode. Weight "
        "norm looks at the weights alone.",
    )


@steps_that_a_norm_sees.second
def _(norm, B):
    import numpy as np

    def run(x):  # batch, channels, time
        if norm == "weight norm":
            return x * 0.5
        axes = (0, 2) if "batch norm" in norm else (1, 2) if "and time" in norm else (1,)
        return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)

    x = np.random.default_rng(0).normal(size=(B, 3, 6))
    before, answers = run(x)[0, :, 2], []
    for sequence in (0, 1):
        changed = x.copy()
        changed[sequence, 1, 5] += 1
        answers.append(not np.allclose(before, run(changed)[0, :, 2]))
    if answers[1]:
        return "on later steps of all sequences"
    return "on later steps of its own sequence" if answers[0] else "on no later step"


@question(topic="sequence.tcn_block", level=2, source="Salimans 2016, section 2.1", readme="dl_025/3")
def weight_of_a_length(draw):
    a, b, c = draw((3, 4, 5), (6, 8, 10), (5, 12, 13), (8, 15, 17), (9, 12, 15), (8, 6, 10), (12, 5, 13))
    g = draw(2, 3, 4, 6)
    return Number(
        ask=f"Weight norm: v = ({a}, {b}), g = {g}. What is the first weight?",
        given=dict(a=a, b=b, c=c, g=g),
        answer=g * a / c,
        traps={"not normalised": float(g * a), "divided by the sum": g * a / (a + b), "g divides, too": a / c / g},
        hints=("The direction comes from v, the length from g.", "g · a / sqrt(a^2 + b^2)"),
        why="Length and direction of each output channel are learnt apart. No statistics of data are taken, so nothing "
        "leaks from later steps.",
    )


@weight_of_a_length.second
def _(a, b, c, g):
    import numpy as np

    v = np.array([a, b], float)
    del c
    return float((g * v / np.linalg.norm(v))[0])


@question(topic="sequence.wavenet", level=2, source="van den Oord 2016, section 2.1")
def hearing_of_wavenet(draw):
    s, f, n = draw.between(2, 6), draw(8000, 16000, 22050, 24000), draw(9, 10)
    return Number(
        ask=f"WaveNet with {s} x {n} layers of kernel 2, each stack with dilations 1, 2, 4 to {2 ** (n - 1)}, at "
        f"{f} samples a second. How many ms does an output see?",
        given=dict(s=s, n=n, f=f),
        answer=1000 * (1 + s * (2**n - 1)) / f,
        unit="ms",
        traps={
            "one stack": 1000 * 2**n / f,
            "no dilation": 1000 * (1 + s * n) / f,
            "twice, as a TCN": 1000 * (1 + 2 * s * (2**n - 1)) / f,
        },
        hints=("A stack adds the sum of its dilations; samples over rate.", "1000 · (1 + s · (2^n - 1)) / f"),
        why="Stacks add their fields. Some hundred milliseconds are a few phones; what is longer comes in by "
        "conditioning.",
    )  # fmt: skip


@hearing_of_wavenet.second
def _(s, n, f):
    earliest = 0
    for _stack in range(s):
        for layer in range(n):
            earliest -= 1 << layer
    return len(range(earliest, 1)) / f * 1000


@question(topic="sequence.wavenet", level=1, source="van den Oord 2016, section 2.2", readme="dl_025/4")
def code_of_a_quiet_sample(draw):
    x = draw(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
    return Number(
        ask=f"Mu-law with mu = 255 maps -1 to 1 onto -1 to 1. To what does it map a sample of {x:g}, before that is "
        "made a code?",
        given=dict(x=x),
        answer=log(1 + 255 * x) / log(256),
        traps={"a straight line": x, "not normalised": log(1 + 255 * x), "the root": x**0.5},
        hints=("A logarithm of 1 + mu · x, which is 1 at x = 1.", "ln(1 + 255 · x) / ln 256"),
        why="Steps are equal on a scale of logarithms, so quiet sounds keep their relative error, where equal steps "
        "would leave them a handful of codes.",
    )


@code_of_a_quiet_sample.second
def _(x):
    low, high = 0.0, 1.0  # the way back is ((1 + mu)^y - 1) / mu
    for _halving in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (256**middle - 1) / 255 < x else (low, middle)
    return low


@question(topic="sequence.wavenet", level=1, source="van den Oord 2016, section 2.2", readme="dl_025/4")
def law_of_a_sample(draw):
    bits, kind = draw(8, 16), draw("softmax over the codes", "Gaussian")
    a, b = draw((2, 6), (3, 7), (1, 5))
    peaks = "two" if kind.startswith("soft") else "one"
    return Choice(
        ask=f"The next sample is code {a} or code {b} with equal odds, and never another. A network outputs a {kind} "
        f"for it ({2**bits} levels). Which output has the least log loss on average?",
        given=dict(bits=bits, kind=kind, a=a, b=b),
        answer="half of the probability on each of the two" if peaks == "two" else f"most on {(a + b) // 2}, between "
        "them",
        traps={
            "as the other law would": f"most on {(a + b) // 2}, between them" if peaks == "two"
            else "half of the probability on each of the two",
            "one of them picked": f"all of it on {a}",
        },
        hints=("How many peaks can this law have?", "softmax: any shape; Gaussian: one mean, one width"),
        why="A softmax assumes no shape and no order of the codes. With many levels it needs many classes, which is "
        "why sound is coded first.",
    )  # fmt: skip


@law_of_a_sample.second
def _(bits, kind, a, b):
    import numpy as np

    codes = np.arange(10.0)
    data = np.where((codes == a) | (codes == b), 0.5, 0)
    if kind == "Gaussian":  # the best fit has the mean and the variance of the data
        mean = data @ codes
        law = np.exp(-((codes - mean) ** 2) / (2 * data @ (codes - mean) ** 2))
        return f"most on {int(law.argmax())}, between them"
    return "half of the probability on each of the two" if np.allclose(data[[a, b]], 0.5) else f"all of it on {a}"


@question(topic="sequence.wavenet", level=1, source="van den Oord 2016, section 2.3", readme="dl_025/5")
def gated_unit(draw):
    f, g = draw(-1.5, -1.0, -0.5, 0.5, 1.0, 2.0), draw(-2.0, -1.0, 1.0, 2.0, 3.0)
    return Number(
        ask=f"WaveNet's gated unit: the filter's sum is {f:g}, the gate's {g:g}. What does it give?",
        given=dict(f=f, g=g),
        answer=tanh(f) / (1 + exp(-g)),
        traps={
            "filter and gate swapped": tanh(g) / (1 + exp(-f)),
            "two tanh": tanh(f) * tanh(g),
            "no tanh": f / (1 + exp(-g)),
        },
        hints=("One half says what, between -1 and 1; the other how much.", "tanh(f) · 1 / (1 + e^(-g))"),
        why="As in an LSTM the gate is between nothing and all, and decides how much of the filter's answer passes.",
    )


@gated_unit.second
def _(f, g):
    import numpy as np

    return float((np.exp(2 * f) - 1) / (np.exp(2 * f) + 1) * np.exp(-np.logaddexp(0, -g)))


@question(topic="sequence.wavenet", level=2, source="van den Oord 2016, section 2.4", readme="dl_025/5")
def sum_of_the_skips(draw):
    x, layers = draw.between(1, 6), draw.sample(range(2, 6), 3)
    value, skips, last = x, 0, 0
    plain = [x * layers[0], x * layers[0] * layers[1], x * layers[0] * layers[1] * layers[2]]
    for a in layers:
        last = a * value
        skips, value = skips + last, value + last
    return Predict(
        ask="Three layers; a gated unit is here a product with a number. What is printed?",
        code=f"""
x, skips = {x}, 0
for a in {layers}:
    z = a * x
    skips += z
    x += z
print(x, skips)
""",
        answer=f"{value} {skips}",
        traps={
            "skips of the last alone": f"{value} {last}",
            "x replaced": f"{plain[2]} {sum(plain)}",
            "the input counted": f"{value} {skips + x}",
        },
        hints=("z goes to two places.", "x grows by z, and so does the sum of the skips"),
        why="The output sees short and long fields side by side, and gradients reach each layer directly.",
    )


@question(topic="sequence.wavenet", level=2, source="van den Oord 2016, section 2.1", readme="dl_025/6")
def logits_that_change(draw):
    fault, t = (
        draw(
            "the input is shifted by one, zeros in front",
            "nothing is shifted, zeros in front",
            "nothing is shifted, zeros on both sides",
        ),
        draw.between(20, 60),
    )
    effects = {
        "the input is shifted by one, zeros in front": f"logit {t + 1}",
        "nothing is shifted, zeros in front": f"logit {t}",
        "nothing is shifted, zeros on both sides": f"logit {t - 1}",
    }
    return Choice(
        ask=f"One convolution of three taps; logit i should tell code i from the codes before it. Here {fault}. Code "
        f"{t} is changed. Which is the first logit that changes?",
        given=dict(fault=fault, t=t),
        answer=effects[fault],
        traps={f"where {other}": text for other, text in effects.items() if other != fault},
        hints=(
            "A causal layer sees its own step, a centred one the next as well.",
            "shift 1, shift 0, or one tap ahead",
        ),
        why="A training loss near zero says that the model sees its target. Changing one code finds it, and it also "
        "finds padding on both sides.",
    )


@logits_that_change.second
def _(fault, t):
    import numpy as np

    def logits(codes):
        x = np.concatenate([[0], codes[:-1]]) if "input is shifted" in fault else codes
        front = 1 if "both" in fault else 2
        padded = np.pad(x, (front, 2 - front))
        return padded[:-2] + 2 * padded[1:-1] + 3 * padded[2:]

    codes = np.arange(100.0)
    changed = codes.copy()
    changed[t] += 1
    return f"logit {int(np.flatnonzero(logits(codes) != logits(changed))[0])}"


@question(
    topic="sequence.wavenet", level=2, source="Paine 2016, Fast WaveNet, section 2", readme="dl_025/7", seed="002/30"
)
def sums_without_a_queue(draw):
    n = draw.between(5, 14)
    return Number(
        ask=f"{n} layers of kernel 2 with dilations 1, 2, 4 and so on generate a sample with no queues: all that "
        "the newest output needs is computed again. How many sums of two taps is this?",
        given=dict(n=n),
        answer=2**n - 1,
        unit="sums",
        traps={"with queues": n, "inputs counted": 2**n, "the square": n * n},
        hints=("The last layer needs one, the one before it two, then four.", "2^n - 1"),
        why="A queue keeps what each layer saw, so that a sample costs one sum a layer. Samples still come one "
        "after the other.",
    )


@sums_without_a_queue.second
def _(n):
    count, needed = 0, {0}
    for layer in reversed(range(n)):
        count += len(needed)
        needed = {step - tap * 2**layer for step in needed for tap in (0, 1)}
    return count


@question(topic="sequence.wavenet", level=2, source="Paine 2016, Fast WaveNet, section 2", readme="dl_025/7")
def numbers_in_the_queues(draw):
    k, n, s, C = draw(2, 3), draw(8, 9, 10), draw(2, 3, 4), draw(32, 64, 128)
    return Number(
        ask=f"Queues for fast generation: {s} stacks of {n} layers, kernel {k}, dilations 1, 2, 4 and so on, {C} "
        "channels. How many numbers do they hold?",
        given=dict(k=k, n=n, s=s, C=C),
        answer=C * s * (k - 1) * (2**n - 1),
        unit="numbers",
        traps={
            "one stack": C * (k - 1) * (2**n - 1),
            "one vector a layer": C * s * n,
            "newest one, too": C * s * k * (2**n - 1),
        },
        hints=("A layer keeps its last (k - 1) · dilation inputs.", "C · s · (k - 1) · (2^n - 1)"),
        why="Together the queues hold as many vectors as the field has steps, less one.",
    )


@numbers_in_the_queues.second
def _(k, n, s, C):
    from collections import deque

    queues = [deque(range((k - 1) * 2**layer)) for _stack in range(s) for layer in range(n)]
    return sum(len(queue) for queue in queues) * C


@question(topic="sequence.conformer", level=1, source="Gulati 2020, section 2.2", readme="dl_025/8")
def weights_of_a_depthwise_kernel(draw):
    C, k = draw(144, 176, 256, 512), draw(15, 31, 32)
    return Number(
        ask=f"A Conformer of width {C}: its depthwise convolution has {k} taps and no bias. How many weights?",
        given=dict(C=C, k=k),
        answer=C * k,
        unit="weights",
        traps={"all channels mixed": C * C * k, "with the product behind it": C * k + C * C, "one kernel for all": k},
        hints=("Each channel has a kernel of its own, and sees no other.", "C · k"),
        why="Local patterns for few weights; the products around it mix channels. Attention joins any two steps, but "
        "knows no neighbourhood.",
    )


@weights_of_a_depthwise_kernel.second
def _(C, k):
    import numpy as np

    groups = np.split(np.arange(C), C)
    return sum(np.zeros((group.size, 1, k)).size for group in groups)


@question(topic="sequence.conformer", level=2, source="Gulati 2020, section 2.2", readme="dl_025/8")
def steps_of_the_module(draw):
    d, k = draw(144, 176, 256, 512), draw(15, 31, 32)
    steps = [
        "layer norm",
        f"product from {d} to {2 * d}",
        f"GLU, back to {d}",
        f"depthwise convolution of {k} steps",
        "batch norm, then swish",
        f"product from {d} to {d}",
    ]
    return Order(
        ask="The convolution module of a Conformer. In which order, from its input on?",
        given=dict(d=d, k=k),
        answer=steps,
        traps={
            "convolution first": [steps[0], steps[3], steps[4], steps[1], steps[2], steps[5]],
            "norm at the end": [*steps[1:5], steps[5], steps[0]],
        },
        hints=(
            "It is pre-norm, and gates before it looks at neighbours.",
            "norm, wide, gate, depthwise, norm, product",
        ),
        why="The gate chooses per step, the depthwise convolution then mixes steps, the last product mixes "
        "channels. The skip goes round all of it.",
    )


@steps_of_the_module.second
def _(d, k):
    needs = {
        f"depthwise convolution of {k} steps": "gated",
        "layer norm": "input",
        f"product from {d} to {d}": "activated",
        f"GLU, back to {d}": "wide",
        "batch norm, then swish": "local",
        f"product from {d} to {2 * d}": "normed",
    }
    makes = dict(zip(needs, ("local", "normed", "output", "gated", "activated", "wide"), strict=True))
    order, have = [], "input"
    while have != "output":
        order.append(next(step for step, need in needs.items() if need == have))
        have = makes[order[-1]]
    return order


@question(topic="sequence.conformer", level=2, source="Dai 2019, Transformer-XL, appendix B", readme="dl_025/9")
def scores_by_distance(draw):
    b, h, t = draw(2, 4, 8), draw(4, 8), draw(100, 200, 250, 400)
    return Number(
        ask=f"Relative positions: queries of {b} sequences, {h} heads and {t} steps each meet the table of all "
        "distances, before rows are shifted. How many numbers come out?",
        given=dict(b=b, h=h, t=t),
        answer=b * h * t * (2 * t - 1),
        unit="numbers",
        traps={"distances of one side": b * h * t * t, "distance 0 twice": 2 * b * h * t * t, "the table": 2 * t - 1},
        hints=("From -(t - 1) to t - 1: how many distances?", "b · h · t · (2 · t - 1)"),
        why="One product with a short table, then a shift of each row. A vector for each pair would be as many times "
        "larger as a head is wide.",
    )


@scores_by_distance.second
def _(b, h, t):
    distances = {i - j for i in range(t) for j in (0, t - 1)} | {0}
    return b * h * t * len(distances)


@question(topic="sequence.conformer", level=2, source="Dai 2019, Transformer-XL, appendix B", readme="dl_025/9")
def columns_of_a_row(draw):
    t = draw(4, 5, 6)
    i, up = draw.between(0, t - 1), draw(True, False)
    first, last = (-(t - 1), t - 1) if up else (t - 1, -(t - 1))
    places = [i - j + t - 1 if up else t - 1 - (i - j) for j in range(t)]
    other = [t - 1 - (i - j) if up else i - j + t - 1 for j in range(t)]
    return Predict(
        ask=f"A row of scores by distance, from distance {first} to {last}. Which columns does query {i} take for "
        f"the keys 0 to {t - 1}? The distance is query less key.",
        code=f"""
distances = list(range({first}, {last + (1 if up else -1)}, {1 if up else -1}))
print([distances.index({i} - j) for j in range({t})])
""",
        answer=str(places),
        traps={
            "the other way round": str(other),
            "not shifted": str(list(range(t))),
            "key less query": str(other[::-1]),
        },
        hints=("Neighbouring keys have neighbouring distances.", "the place of distance i - j in the list"),
        why="Each row takes a window of the table's row, moved by one from query to query. That is the shift.",
    )


@question(
    topic="sequence.tcn_choice", level=2, source="Bai 2018, section 3.5", readme="dl_025/10", seed=("002/29", "002/31")
)
def state_of_a_streaming_tcn(draw):
    C, k, n = draw(32, 48, 64, 128), draw(3, 5), draw(5, 6, 8, 10)
    return Number(
        ask=f"A TCN of {n} levels of two convolutions, kernel {k}, dilations 1, 2, 4 and so on, {C} channels "
        "everywhere. How many numbers does it carry from step to step in a stream?",
        given=dict(C=C, k=k, n=n),
        answer=2 * C * (k - 1) * (2**n - 1),
        unit="numbers",
        traps={
            "an LSTM's": 2 * C,
            "one convolution a level": C * (k - 1) * (2**n - 1),
            "one vector a convolution": 2 * C * n,
        },
        hints=("Each convolution keeps its last (k - 1) · dilation inputs.", "2 · C · (k - 1) · (2^n - 1)"),
        why="An LSTM carries twice its width and takes the same time at each step. A TCN trains in parallel, and pays "
        "with this state.",
    )


@state_of_a_streaming_tcn.second
def _(C, k, n):
    kept = 0
    for level in range(n):
        for _convolution in range(2):
            oldest = (k - 1) << level
            kept += len(range(-oldest, 0)) * C
    return kept


@question(
    topic="sequence.tcn_choice", level=2, source="Bai 2018; Vaswani 2017, table 1", readme="dl_025/10", seed="002/31"
)
def models_by_their_state(draw):
    c, n, t, L = draw(32, 64, 128), draw(4, 6, 8), draw(3, 50, 5000), draw(2, 4)
    state = {
        f"LSTM, width {c}": 2 * c,
        f"TCN, {n} levels of two convolutions, kernel 3, {c} channels": 4 * c * (2**n - 1),
        f"attention, {L} layers, width {c}, {t} steps seen": 2 * L * c * t,
    }
    order = sorted(state, key=lambda name: state[name])
    return Order(
        ask="Each reads a stream. Which carries the fewest numbers to the next step? Fewest first; a TCN's dilations "
        "double.",
        given=dict(c=c, n=n, t=t, L=L),
        answer=order,
        traps={
            "most first": order[::-1],
            "attention always last": [*sorted(n for n in order if "att" not in n), *[n for n in order if "att" in n]],
        },
        hints=(
            "Two vectors; queues as long as the field; keys and values of all steps.",
            "2·c; 4·c·(2^n - 1); 2·L·c·t",
        ),
        why="A TCN's state is fixed by its field, an LSTM's by its width; attention's grows with each step and begins "
        "with nothing.",
    )


@models_by_their_state.second
def _(c, n, t, L):
    import numpy as np

    queues = [np.zeros((2 * 2**level, c)) for level in range(n) for _ in range(2)]
    carried = {
        f"attention, {L} layers, width {c}, {t} steps seen": np.zeros((L, 2, t, c)).size,
        f"TCN, {n} levels of two convolutions, kernel 3, {c} channels": sum(queue.size for queue in queues),
        f"LSTM, width {c}": sum(one.size for one in (np.zeros(c), np.zeros(c))),
    }
    return sorted(carried, key=lambda name: carried[name])
