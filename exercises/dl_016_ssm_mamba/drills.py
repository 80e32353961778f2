"""Questions on state space models and Mamba whose numbers change: `grader drill --topic mamba.scan`."""

from math import ceil, exp, log, log1p, log2, sqrt

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="ssm.discretize", level=1, source="Gu 2023, Mamba, equation 4")
def zero_order_hold(draw):
    step, a = draw(0.4, 0.5, 0.7, 0.9, 1.1, 1.5), draw(-0.6, -0.8, -1.2, -1.5)
    return Number(
        ask=f"s' = {a:g} · s is discretised by zero-order hold with a step of {step:g}. By which factor does a step "
        "multiply the state?",
        given=dict(step=step, a=a),
        answer=exp(step * a),
        within=0.005,
        traps={
            "Euler": 1 + step * a,
            "bilinear": (1 + step * a / 2) / (1 - step * a / 2),
            "step forgotten": exp(a),
        },
        hints=("Zero-order hold solves the equation exactly over a step.", "e^(step · a)"),
        why="Euler is its first-order part, the bilinear rule a quotient that agrees to second order. With a below "
        "0, only Euler can leave the range from -1 to 1.",
    )


@zero_order_hold.second
def _(step, a):
    total, term = 0.0, 1.0
    for n in range(1, 60):
        total += term
        term *= step * a / n
    return total


@question(topic="ssm.discretize", level=2, source="Gu 2022, S4, section 2.3")
def stable_rules(draw):
    z = -draw(0.3, 0.9, 1.6, 2.5, 3.0, 4.5)
    every, two, one = "all three", "bilinear and zero-order hold", "zero-order hold alone"
    right = every if z > -2 else two
    return Choice(
        ask=f"Step times a is {z:g}, so the true state decays. With which of Euler, the bilinear rule and zero-order "
        "hold does the discrete state decay, too?",
        given=dict(z=z),
        answer=right,
        traps={
            "Euler's limit": two if right == every else every,
            "the exact one only": one,
            "the bilinear limit": "Euler and zero-order hold",
        },
        hints=("A state decays if its factor lies between -1 and 1.", "1 + z, (1 + z/2) / (1 - z/2), e^z"),
        why="Euler's factor 1 + z falls below -1 for a large step. The other two stay within bounds for every step, "
        "as long as a is negative.",
    )


@stable_rules.second
def _(z):
    factors = {"Euler": 1 + z, "bilinear": (1 + z / 2) / (1 - z / 2), "zero-order hold": exp(z)}
    stable = []
    for name, factor in factors.items():
        state = 1.0
        for _step in range(200):
            state *= factor
        if abs(state) < 1:
            stable.append(name)
    return "all three" if len(stable) > 2 else " and ".join(stable)


@question(topic="ssm.recurrence", level=1, source="Gu 2021, LSSL, section 3", seed="002/22")
def state_after_ones(draw):
    a, b, n = draw(0.5, 0.6, 0.7, 0.8, 0.9), draw(1.0, 2.0, 3.0), draw(2, 3, 4, 5)
    return Number(
        ask=f"A state space model as an RNN: s = {a:g} · s + {b:g} · x, from s = 0. Which state follows {n} inputs of "
        "1?",
        given=dict(a=a, b=b, n=n),
        answer=b * (1 - a**n) / (1 - a),
        traps={"after endless inputs": b / (1 - a), "the first input alone": b * a ** (n - 1), "nothing fades": b * n},
        hints=("Each input fades by a at each later step.", "b · (1 + a + … + a^(n-1))"),
        why="It is a linear RNN: no tanh stands between steps. So a step costs the same at any length, and the whole "
        "has a closed form.",
    )


@state_after_ones.second
def _(a, b, n):
    state = 0.0
    for _step in range(n):
        state = a * state + b
    return state


@question(topic="ssm.recurrence", level=1, source="Gu 2022, S4, section 2.1", seed="002/22")
def outputs_of_a_recurrence(draw):
    a, b, c = draw(2, -1, 3), draw(1, 2), draw(1, 3)
    x = [draw.between(1, 5), 0, draw.between(1, 5)]
    state, outputs, inputs_only = 0, [], [c * b * one for one in x]
    late = []
    for one in x:
        late.append(c * state)
        state = a * state + b * one
        outputs.append(c * state)
    return Predict(
        ask="What is printed?",
        code=f"""
state, outputs = 0, []
for x in {x}:
    state = {a} * state + {b} * x
    outputs.append({c} * state)
print(outputs)
""",
        answer=str(outputs),
        traps={
            "nothing is kept": str(inputs_only),
            "outputs a step late": str(late),
            "states": str([one // c for one in outputs]),
        },
        hints=("The second input is 0: what is left of the first?", "c·b·x₁, c·a·b·x₁, c·(a²·b·x₁ + b·x₃)"),
        why="Output t is a sum over all inputs before it, each with its own power of a. That sum is a convolution.",
    )


@question(topic="ssm.convolution", level=1, source="Gu 2022, S4, section 2.4", readme="dl_016/1", seed="002/23")
def entry_of_the_kernel(draw):
    a, b, c, k = draw(0.5, 0.6, 0.8, 0.9), draw(2.0, 3.0), draw(0.5, 1.5), draw(2, 3, 4, 5)
    return Number(
        ask=f"s = {a:g} · s + {b:g} · x, y = {c:g} · s. With which weight does the input of {k} steps ago enter "
        "the output?",
        given=dict(a=a, b=b, c=c, k=k),
        answer=c * a**k * b,
        traps={
            "one step more": c * a ** (k + 1) * b,
            "one step fewer": c * a ** (k - 1) * b,
            "no power": c * a * k * b,
        },
        hints=("The input of now has weight c · b; each step multiplies once.", "c · a^k · b"),
        why="The weights depend on the distance alone, so all outputs are one convolution, and training is parallel "
        "over the length, unlike an RNN's.",
    )


@entry_of_the_kernel.second
def _(a, b, c, k):
    state = b * 1.0
    for _step in range(k):
        state = a * state + b * 0.0
    return c * state


@question(topic="ssm.convolution", level=2, source="Gu 2022, S4, section 2.4", readme="dl_016/1", seed="002/23")
def convolution_of_a_kernel(draw):
    a, b, c = draw(2, 3), draw(1, 2), draw(1, 2)
    x = [draw.between(1, 5) for _ in range(3)]
    kernel = [c * a**k * b for k in range(3)]
    y = [sum(kernel[k] * x[t - k] for k in range(t + 1)) for t in range(3)]
    return Predict(
        ask="The outputs of s = a·s + b·x, y = c·s, by its kernel. What is printed?",
        code=f"""
a, b, c, x = {a}, {b}, {c}, {x}
kernel = [c * a ** k * b for k in range(3)]
print([sum(kernel[k] * x[t - k] for k in range(t + 1)) for t in range(3)])
""",
        answer=str(y),
        traps={
            "entry by entry": str([one * weight for one, weight in zip(x, kernel, strict=True)]),
            "the newest fades most": str([sum(kernel[k] * x[k] for k in range(t + 1)) for t in range(3)]),
            "the last input alone": str([kernel[0] * one for one in x]),
        },
        hints=("The newest input meets kernel[0].", "y[t] = Σ kernel[k] · x[t - k]"),
        why="The kernel slides over the inputs; it is no product entry by entry. An FFT does it in O(l log l). With "
        "a step or B that depends on the token there is no kernel.",
    )


@question(topic="ssm.hippo", level=1, source="Gu 2020, HiPPO, theorem 2")
def entry_of_hippo(draw):
    i = draw.between(3, 12)
    j = draw.between(0, i - 1)
    return Number(
        ask=f"HiPPO-LegS with the minus in A, rows and columns counted from 0. What stands in row {i}, column {j}?",
        given=dict(i=i, j=j),
        answer=-sqrt((2 * i + 1) * (2 * j + 1)),
        traps={
            "of the diagonal": -(i + 1.0),
            "above the diagonal": 0.0,
            "counted from 1": -sqrt((2 * i - 1) * abs(2 * j - 1)),
            "sign lost": sqrt((2 * i + 1) * (2 * j + 1)),
        },
        hints=("Below the diagonal it is a product of two norms of Legendre polynomials.", "-√((2·i + 1) · (2·j + 1))"),
        why="Higher coefficients follow from lower ones, never the other way round: so A is lower triangular.",
    )


@entry_of_hippo.second
def _(i, j):
    import numpy as np

    norms = np.sqrt(np.arange(1, 2 * i + 2, 2.0))
    return float(-np.tril(np.outer(norms, norms))[i, j])


@question(topic="ssm.hippo", level=2, source="Gu 2020, HiPPO, theorem 2")
def place_in_hippo(draw):
    i, j = draw.between(1, 6), draw.between(0, 6)
    below, on, above = f"-√{(2 * i + 1) * (2 * j + 1)}", f"-{i + 1}", "0"
    right = below if i > j else on if i == j else above
    every = {"of below the diagonal": below, "of the diagonal": on, "of above the diagonal": above}
    return Choice(
        ask=f"HiPPO-LegS with the minus in A, counted from 0. What stands in row {i}, column {j}?",
        given=dict(i=i, j=j),
        answer=right,
        traps={name: text for name, text in every.items() if text != right} | {"no minus on it": f"{i + 1}"},
        hints=("Is the place below, on or above the diagonal?", "-√((2i+1)(2j+1)), -(i+1), 0"),
        why="A is lower triangular. Its diagonal holds whole numbers, so a state with one number a row would fade at "
        "those rates: Mamba starts from them.",
    )


@place_in_hippo.second
def _(i, j):
    import numpy as np

    norms = np.sqrt(2 * np.arange(7) + 1)
    A = -np.tril(np.outer(norms, norms), -1) - np.diag(np.arange(1, 8))
    value = float(A[i, j])
    if i == j or value == 0:
        return f"{value:.0f}".replace("-0", "0")
    return f"-√{round(value * value)}"


@question(topic="ssm.diagonal", level=1, source="Gu 2022, S4D, section 3")
def steps_to_half(draw):
    a, step = draw(0.5, 1.0, 2.0, 4.0, 16.0), draw(0.001, 0.002, 0.005, 0.01)
    return Number(
        ask=f"A diagonal state with real part -{a:g} and a step of {step:g}. After how many steps has it lost half of "
        "its size?",
        given=dict(a=a, step=step),
        answer=log(2) / (a * step),
        unit="steps",
        traps={"time constant": 1 / (a * step), "in units of time": log(2) / a, "step alone": log(2) / step},
        hints=("Its size falls as e^(-a · time).", "ln 2 / (a · step)"),
        why="Real part and step together set how long a state remembers. Imaginary parts turn it, and change no size.",
    )


@steps_to_half.second
def _(a, step):
    factor = exp(-a * step)
    return 1 / -log2(factor)


@question(topic="ssm.diagonal", level=2, source="Gu 2022, S4D, section 4")
def first_to_forget(draw):
    pairs = list(zip(draw.sample([1, 2, 3, 5, 7], 4), draw.sample([0.1, 0.004, 0.013, 0.057, 0.0009], 4), strict=True))
    names = [f"-{a}{draw('', ' + 3i', ' + 9i')}, step {step}" for a, step in pairs]
    rate = {name: a * step for name, (a, step) in zip(names, pairs, strict=True)}
    size = {name: a for name, (a, _) in zip(names, pairs, strict=True)}
    order = sorted(rate, key=lambda name: -rate[name])
    return Order(
        ask="Diagonal states, each with its step. Which forgets in the fewest steps? Fastest first.",
        given=dict(names=names),
        answer=order,
        traps={
            "by the real part": sorted(size, key=lambda name: -size[name]),
            "slowest first": order[::-1],
        },
        hints=("What does a step multiply the state's size with?", "e^(real part · step)"),
        why="The size of the factor is e to real part times step; the imaginary part only turns the state.",
    )


@first_to_forget.second
def _(names):
    import cmath

    def kept(name):
        number, step = name.split(", step ")
        return abs(cmath.exp(complex(number.replace(" ", "").replace("i", "j")) * float(step)))

    return sorted(names, key=kept)


@question(topic="mamba.selective", level=2, source="Gu 2023, Mamba, algorithm 2", readme="dl_016/1", seed="002/24")
def decay_of_a_token(draw):
    x, A = draw(-3.0, -2.0, -1.0, 0.0, 1.0, 2.0), draw(1.0, 2.0, 4.0)
    return Number(
        ask=f"Mamba: the projection of a token gives {x:g} for a channel's step, before softplus. A state of it has A "
        f"= -{A:g}. By which factor does this token multiply the state?",
        given=dict(x=x, A=A),
        answer=exp(-A * log1p(exp(x))),
        traps={"softplus forgotten": exp(-A * x), "ReLU": exp(-A * max(x, 0)), "Euler": 1 - A * log1p(exp(x))},
        hints=("dt = softplus of it; then zero-order hold.", "e^(-A · ln(1 + e^x))"),
        why="S4 has one step for all tokens. In Mamba each token sets its own, so each token decides how much of the "
        "past stays.",
    )


@decay_of_a_token.second
def _(x, A):
    return (1 + exp(x)) ** -A


@question(topic="mamba.selective", level=1, source="Gu 2023, Mamba, theorem 1", readme="dl_016/1", seed="002/24")
def what_a_step_does(draw):
    dt = draw(0.0001, 0.001, 0.003, 8.0, 12.0, 20.0)
    keep, write, both = (
        "it keeps the state and ignores the token",
        "it forgets the state and writes the token",
        "half of each",
    )
    right = write if dt > 1 else keep
    return Choice(
        ask=f"A Mamba channel has A = -1, and its step for a token is {dt:g}. What does this token do?",
        given=dict(dt=dt),
        answer=right,
        traps={
            "the wrong way round": keep if right == write else write,
            "one step for all": both,
            "a token adds only": "it keeps the state and adds the whole token",
        },
        hints=("What is e to minus the step? And 1 minus that?", "decay e^(-dt), token 1 - e^(-dt)"),
        why="By zero-order hold the state gets e^(-dt) of itself and the rest of the token: a gate. So the model "
        "selects by content.",
    )


@what_a_step_does.second
def _(dt):
    state, token = 1.0, -1.0
    for _part in range(10**4):  # many short Euler steps
        state += dt / 10**4 * (token - state)
    if state > 0.9:
        return "it keeps the state and ignores the token"
    return "it forgets the state and writes the token" if state < -0.9 else "half of each"


@question(topic="mamba.scan", level=1, source="Blelloch 1990, section 1.4", readme="dl_016/2")
def join_of_two_steps(draw):
    a, b = draw(0.5, 0.2, 0.8), draw(1.0, 2.0, 3.0)
    c, d = draw(0.4, 0.6, 0.9), draw(4.0, 5.0, 7.0)
    return Number(
        ask=f"The steps s = {a:g} · s + {b:g} and then s = {c:g} · s + {d:g} are joined to one step of that form. "
        "What does it add?",
        given=dict(b=b, c=c, d=d),
        answer=c * b + d,
        traps={"the other order": a * d + b, "additions added": b + d, "both faded": c * (b + d)},
        hints=("What does the second step make of what the first has added?", "c · b + d"),
        why="The join has the same form and is associative, so neighbours may be joined in a tree. An LSTM's steps "
        "have no short joint form.",
    )


@join_of_two_steps.second
def _(b, c, d):
    state = 0.0  # what is added is what a state of 0 becomes
    for decay, added in ((0.5, b), (c, d)):
        state = decay * state + added
    return state


@question(topic="mamba.scan", level=1, source="Hillis 1986; Blelloch 1990", readme="dl_016/2")
def depth_of_a_scan(draw):
    n = draw(100, 500, 1000, 2048, 5000, 16384, 60000, 131072)
    return Number(
        ask=f"An associative scan over {n:,} tokens joins at distances 1, 2, 4 and so on. In how many rounds is it "
        "done?",
        given=dict(n=n),
        answer=ceil(log2(n)),
        unit="rounds",
        traps={"one after the other": n - 1, "up and down": 2 * ceil(log2(n)), "square root": round(sqrt(n))},
        hints=("After each round, a place covers twice as many tokens.", "⌈log₂ n⌉"),
        why="Depth is logarithmic; work is n log n this way, and n in Blelloch's scan, which goes up and down a tree.",
    )


@depth_of_a_scan.second
def _(n):
    covered, rounds = 1, 0
    while covered < n:
        covered, rounds = covered + covered, rounds + 1
    return rounds


@question(topic="mamba.scan", level=2, source="Blelloch 1990, section 1.4", readme="dl_016/2")
def line_of_the_join(draw):
    steps = [(draw(2, 3), draw.between(1, 4)), (draw(4, 5), draw.between(10, 14)), (draw(2, 3), draw.between(30, 39))]
    wrong, mended = draw(
        ("    added = a * d + b", "    added = c * b + d"),
        ("    decay = a + c", "    decay = a * c"),
        ("    (c, d), (a, b) = first, then", "    (a, b), (c, d) = first, then"),
    )
    code = f"""
from functools import reduce
def join(first, then):
    (a, b), (c, d) = first, then
    decay = a * c
    added = c * b + d
    return decay, added
print(reduce(join, {steps}))
"""
    decay, added = 1, 0
    for a, b in steps:
        decay, added = decay * a, a * added + b
    return Bug(
        ask="Three steps s = a·s + b, in this order, joined to one. It prints another pair. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str((decay, added)),
        traps={"decay comes first": "    return decay, added", "from the left": f"print(reduce(join, {steps}))"},
        hints=("Put one step into the other: c · (a · s + b) + d.", "(a · c, c · b + d)"),
        why="Decays multiply in any order, additions do not: what came first fades by what follows.",
    )


@question(topic="mamba.chunks", level=1, source="Dao 2024, Mamba-2, section 6")
def hand_overs_of_chunks(draw):
    n, c = draw(4096, 8192, 12288, 16384, 65536), draw(64, 128, 256)
    return Number(
        ask=f"A chunked scan: {n:,} tokens in chunks of {c}, the inside of all chunks in parallel. How many times is "
        "a state handed from chunk to chunk, one after the other?",
        given=dict(n=n, c=c),
        answer=n // c - 1,
        unit="times",
        traps={"token by token": n - 1, "inside of a chunk": c - 1, "the last one too": n // c},
        hints=("Between how many chunks are there borders?", "n / c - 1"),
        why="Only a state passes a border. Inside, a chunk is a few matrix products, which the hardware likes.",
    )


@hand_overs_of_chunks.second
def _(n, c):
    return len(range(c, n, c))


@question(topic="mamba.chunks", level=2, source="Dao 2024, Mamba-2, section 6")
def state_behind_a_chunk(draw):
    a, incoming = draw(2, 3), draw.between(2, 9)
    x = [draw.between(1, 5) for _ in range(3)]
    local = 0
    for one in x:
        local = a * local + one
    return Predict(
        ask="A chunk of three tokens, s = a·s + x, computed from 0; then the state that comes in is merged. What is "
        "printed?",
        code=f"""
a, incoming, local = {a}, {incoming}, 0
for x in {x}:
    local = a * local + x
print(local, local + a ** 3 * incoming)
""",
        answer=f"{local} {local + a**3 * incoming}",
        traps={
            "it fades once": f"{local} {local + a * incoming}",
            "it does not fade": f"{local} {local + incoming}",
            "it replaces the chunk's": f"{local} {a**3 * incoming}",
        },
        hints=("How often does the incoming state pass a step in this chunk?", "local + a³ · incoming"),
        why="The model is linear: the chunk's own part and the faded part of the past just add. So chunks can start "
        "before the past is known.",
    )


@question(topic="mamba.block", level=3, source="Gu 2023, Mamba, section 3.4")
def parameters_of_a_block(draw):
    d, N, k = draw(512, 768, 1024, 1536, 2048, 2560), draw(16, 32), draw(4, 3)
    i, r = 2 * d, d // 16
    rest = i * k + i + i * (r + 2 * N) + r * i + i + i * N + i
    return Number(
        ask=f"A Mamba block of width {d}, inner width twice that, {N} states, convolution of {k} taps with bias, rank "
        f"{r} of the step (its projection has a bias), A and D; no other bias, no norm. How many parameters?",
        given=dict(d=d, N=N, k=k),
        answer=2 * i * d + i * d + rest,
        unit="parameters",
        traps={
            "large projections alone": 6 * d * d,
            "no gate": i * d + i * d + rest,
            "full matrix for the step": 3 * i * d + rest - r * i + i * i,
        },
        hints=(
            "In, out, convolution, x to (r + 2N), r to step, A, D.",
            "6·d^2 + 2·d·(k + 1 + (r + 2·N) + r + 1 + N + 1), r = d/16",
        ),
        why="About 6 d², so two blocks take the place of a transformer layer of 12 d². The step has a low rank, or "
        "it would be as large as a projection.",
    )


@parameters_of_a_block.second
def _(d, N, k):
    from math import prod

    inner, rank = d + d, -(-d // 16)
    shapes = {
        "in_proj": (2 * inner, d),
        "conv1d": (inner, 1, k),
        "conv1d.bias": (inner,),
        "x_proj": (rank + N + N, inner),
        "dt_proj": (inner, rank),
        "dt_proj.bias": (inner,),
        "A_log": (inner, N),
        "D": (inner,),
        "out_proj": (d, inner),
    }
    return sum(map(prod, shapes.values()))


@question(topic="mamba.block", level=2, source="Gu 2023, Mamba, figure 3")
def steps_of_a_block(draw):
    every = [
        "project the input to u and z",
        "causal convolution of u",
        "SiLU of the convolution's result",
        "dt, B and C from u",
        "softplus of dt",
        "selective scan",
        "multiply by SiLU of z",
        "project to the output",
    ]
    chosen = sorted(draw.sample(range(8), 5))
    order = [every[i] for i in chosen]
    return Order(
        ask="Some steps of a Mamba block. In which order?",
        given=dict(chosen=chosen),
        answer=order,
        traps={
            "two in the middle swapped": [*order[:2], order[3], order[2], order[4]],
            "two at the start swapped": [order[1], order[0], *order[2:]],
        },
        hints=(
            "What does each step read? The gate comes last, before the output.",
            "in, conv, SiLU, dt B C, scan, gate, out",
        ),
        why="dt, B and C are read from the convolved u; the gate z skips convolution and scan and opens what comes "
        "out.",
    )


@steps_of_a_block.second
def _(chosen):
    reads = {
        "softplus of dt": {"dt, B and C from u"},
        "project to the output": {"multiply by SiLU of z"},
        "multiply by SiLU of z": {"selective scan", "project the input to u and z"},
        "selective scan": {"softplus of dt", "SiLU of the convolution's result"},
        "dt, B and C from u": {"SiLU of the convolution's result"},
        "SiLU of the convolution's result": {"causal convolution of u"},
        "causal convolution of u": {"project the input to u and z"},
        "project the input to u and z": set(),
    }
    done = []
    while len(done) < len(reads):
        done += [step for step, needed in reads.items() if step not in done and needed <= set(done)]
    return [step for i, step in enumerate(done) if i in chosen]


@question(topic="mamba.generation", level=2, source="Gu 2023, Mamba, section 3.5", readme="dl_016/3")
def numbers_of_the_state(draw):
    d, N, k = draw(768, 1024, 2048, 2560, 4096), draw(16, 32, 64, 128), draw(3, 4)
    return Number(
        ask=f"A Mamba layer of width {d}, inner width twice that, {N} states a channel, a convolution of {k} taps. "
        "How many numbers does it keep from token to token, those before the convolution included?",
        given=dict(d=d, N=N, k=k),
        answer=2 * d * (N + k - 1),
        unit="numbers",
        traps={
            "the scan alone": 2 * d * N,
            "inner width forgotten": d * (N + k - 1),
            "a full state matrix": 2 * d * N * N,
            "one tap too many": 2 * d * (N + k),
        },
        hints=(
            "Each inner channel has its states, and inputs that the convolution still needs.",
            "2 · d · (N + k - 1)",
        ),
        why="The newest input is at hand, so a convolution of k taps keeps k - 1. None of this grows with the text.",
    )


@numbers_of_the_state.second
def _(d, N, k):
    import numpy as np

    taps = np.zeros((k, 2 * d))
    return np.zeros((2 * d, N)).size + taps[1:].size


@question(topic="mamba.generation", level=1, source="Gu 2023, Mamba, section 3.5", seed="002/25")
def longer_text(draw):
    layer, what, f = draw("Mamba", "attention"), draw("memory", "step"), draw(2, 4, 10)
    asked = {
        "memory": f"How much does the {layer} layer keep of it for the next token",
        "step": f"How much work is the next token in the {layer} layer, apart from its projections",
    }[what]
    same, times, square = "as much", f"{f} times as much", f"{f * f} times as much"
    right = same if layer == "Mamba" else times
    return Choice(
        ask=f"A text that is {f} times as long has been read. {asked}, against before?",
        given=dict(layer=layer, f=f),
        answer=right,
        traps={
            "the two layers swapped": times if right == same else same,
            "as all tokens together": square,
            "as a tree": "a little more: it grows with the logarithm",
        },
        hints=("Does the state have a place for each token?", "a state of fixed size; a cache of n tokens"),
        why="A state has a fixed size, so memory and work a token stay the same. A cache grows by each token, and "
        "each new query reads all of it.",
    )


@longer_text.second
def _(layer, f):
    def kept(n):
        held = [0.0]
        for token in range(n):
            if layer == "attention":
                held.append(token)
            else:
                held[0] += token
        return max(1, len(held) - (layer == "attention"))

    return {1: "as much", f: f"{f} times as much"}[kept(f * 100) // kept(100)]


@question(topic="mamba.duality", level=2, source="Dao 2024, Mamba-2, section 7", readme="dl_016/4")
def decays_of_a_token(draw):
    d, P = draw(768, 1024, 1536, 2048, 2560, 4096), draw(64, 128)
    return Number(
        ask=f"A Mamba-2 layer of width {d}, inner width twice that, heads of {P}. How many decays does one token have?",
        given=dict(d=d, P=P),
        answer=2 * d // P,
        unit="decays",
        traps={"Mamba with 16 states": 2 * d * 16, "inner width forgotten": d // P, "a channel each": 2 * d},
        hints=("One for each head; how many heads are there?", "2 · d / P"),
        why="Mamba has a decay for each channel and state. With one a head, the whole of a chunk is a masked "
        "product, made for tensor cores.",
    )


@decays_of_a_token.second
def _(d, P):
    channels = range(d + d)
    return len({channel // P for channel in channels})


@question(topic="mamba.duality", level=2, source="Dao 2024, Mamba-2, section 3", readme="dl_016/4")
def row_of_the_mask(draw):
    a = [draw(2, 3, 5) for _ in range(4)]
    row = []
    for j in range(4):
        weight = 1
        for k in range(j + 1, 4):
            weight *= a[k]
        row.append(weight)
    inclusive, late = [], []
    for j in range(4):
        weight = a[j] * row[j]
        inclusive.append(weight)
        late.append(row[j] // (a[3] if j < 3 else 1))
    return Predict(
        ask="The last row of Mamba-2's mask, the product of decays between token j and token 3; whole numbers here. "
        "What is printed?",
        code=f"""
from math import prod
decay = {a}
print([prod(decay[j + 1:4]) for j in range(4)])
""",
        answer=str(row),
        traps={
            "its own decay counted": str(inclusive),
            "the last decay left out": str(late),
            "a mask of ones": "[1, 1, 1, 1]",
        },
        hints=("Token j is written after its own decay.", "decay[j+1] · … · decay[3]"),
        why="This mask times C·B is attention with fading in the place of the softmax: the same map as the recurrence.",
    )


@question(
    topic="architecture.hybrid", level=2, source="Lieber 2024, Jamba, section 3.1", readme="dl_016/5", seed="002/27"
)
def cache_of_a_hybrid(draw):
    L, n, period = draw(32, 48, 64, 72), draw(65536, 131072, 262144), 8
    return Number(
        ask=f"A hybrid like Jamba: {L} layers, one in eight with attention, 8 KV heads of width 128, 2 B a value. How "
        f"many bytes does the KV cache take at {n:,} tokens?",
        given=dict(L=L, n=n),
        answer=2 * (L // period) * 8 * 128 * 2 * n,
        unit="B",
        traps={
            "attention everywhere": 4 * L * 8 * 128 * n,
            "keys alone": 2 * (L // period) * 8 * 128 * n,
            "one layer in four": 4 * (L // 4) * 8 * 128 * n,
        },
        hints=("Only layers with attention have a cache.", "2 · (L / 8) · 8 · 128 · 2 · n"),
        why="Few attention layers are enough to find single tokens again. The other layers keep a state of fixed "
        "size, a few megabytes in all.",
    )


@cache_of_a_hybrid.second
def _(L, n):
    import numpy as np

    layout = ["attention" if layer % 8 == 4 else "mamba" for layer in range(L)]
    token = np.zeros((2, 8, 128), np.float16)
    return sum(token.nbytes for mixer in layout if mixer == "attention") * n


@question(topic="architecture.hybrid", level=1, source="Lieber 2024, Jamba, figure 2", seed="002/27")
def layers_with_attention(draw):
    L, period = draw(16, 20, 24), draw(6, 7, 8)
    offset = draw(3, 4, 5)
    places = list(range(offset, L, period))
    return Predict(
        ask="The layout of a hybrid: which layers have attention? What is printed?",
        code=f"""
layout = []
for layer in range({L}):
    layout.append("attention" if layer % {period} == {offset} else "mamba")
print([i for i, mixer in enumerate(layout) if mixer == "attention"])
""",
        answer=str(places),
        traps={
            "from the first layer on": str(list(range(0, L, period))),
            "the other ones": str([i for i in range(L) if i not in places]),
            "counted from 1": str([i + 1 for i in places]),
        },
        hints=("At which layer does it begin, and how far is it to the next?", "offset, offset + period, ..."),
        why="In Jamba attention stands in the middle of each group of eight. A state must choose what to keep before "
        "it is asked; attention looks back at all.",
    )


@question(topic="mamba.choice", level=2, source="Gu 2023, Mamba, section 3.5", readme="dl_016/3", seed="002/25")
def cache_passes_the_state(draw):
    d, N, kv = draw(1024, 2048, 2560, 4096, 5120), draw(16, 64, 128), draw(2, 4, 8)
    return Number(
        ask=f"A Mamba layer of width {d}, inner width twice that, {N} states, 3 values a channel before its "
        f"convolution; an attention layer with {kv} KV heads of 128. From how many tokens on does attention keep more "
        "numbers?",
        given=dict(d=d, N=N, kv=kv),
        answer=2 * d * (N + 3) // (2 * kv * 128) + 1,
        unit="tokens",
        traps={
            "inner width forgotten": d * (N + 3) // (2 * kv * 128) + 1,
            "keys alone": 2 * d * (N + 3) // (kv * 128) + 1,
            "heads of full width": 2 * d * (N + 3) // (2 * d) + 1,
        },
        hints=("State: 2 · d · (N + 3). A token: keys and values of all KV heads.", "⌊2·d·(N + 3) / (2·kv·128)⌋ + 1"),
        why="That is a few dozen to a few hundred tokens. From there on the state is smaller, and has to choose what "
        "it keeps.",
    )


@cache_passes_the_state.second
def _(d, N, kv):
    import numpy as np

    state = np.zeros((2 * d, N)).size + np.zeros((2 * d, 3)).size
    cached = 0
    for tokens in range(1, 10**5):
        cached += 128 * kv + 128 * kv
        if cached > state:
            return tokens
    raise AssertionError


@question(topic="mamba.choice", level=3, source="Jelassi 2024, Repeat After Me, section 2", readme="dl_016/5")
def tokens_a_state_can_hold(draw):
    S, V = draw(24576, 65536, 131072, 524288, 2097152), draw(32000, 50257, 128256)
    return Number(
        ask=f"A state of {S:,} float16 numbers should give back any text of {V:,} kinds of tokens. How many tokens "
        "can it hold at most, by counting bits?",
        given=dict(S=S, V=V),
        answer=16 * S / log2(V),
        unit="tokens",
        traps={"a token a number": S * 1.0, "nats": 16 * S / log(V), "bits as numbers": S / log2(V)},
        hints=("How many bits has the state, and how many does a token need?", "16 · S / log₂ V"),
        why="A state of fixed size cannot copy a text of any length, whatever is learned. A cache can: it grows with "
        "the text.",
    )


@tokens_a_state_can_hold.second
def _(S, V):
    import numpy as np

    return float(np.finfo(np.float16).bits * S * np.log(2) / np.log(V))


@question(topic="mamba.choice", level=2, source="Gu 2023; Lieber 2024, section 3.2", readme="dl_016/5", seed="002/25")
def memory_of_mixers(draw):
    n, d, w = draw(6000, 20000, 100000), draw(2048, 4096), draw(600, 1500, 3500)
    kept = {
        f"attention, {d // 128} KV heads": n * 2 * d,
        "attention, 4 KV heads": n * 2 * 4 * 128,
        f"window of {w}, {d // 128} KV heads": w * 2 * d,
        "Mamba, 16 states": 2 * d * (16 + 3),
    }
    order = sorted(kept, key=lambda name: kept[name])
    grows = kept | {"Mamba, 16 states": 2 * d * 19 * n}
    return Order(
        ask=f"Layers of width {d}, heads of 128; {n:,} tokens have been read. Which keeps the fewest numbers? Fewest "
        "first.",
        given=dict(n=n, d=d, w=w),
        answer=order,
        traps={"a state a token": sorted(grows, key=lambda name: grows[name]), "most first": order[::-1]},
        hints=("Which grow with the text, and which have stopped?", "n · 2 · heads · 128, w · 2d, 2d · (16 + 3)"),
        why="Cheapest to keep is what can recall least. Hybrids take a few layers of the dear kind for recall, and "
        "the rest of the cheap one.",
    )


@memory_of_mixers.second
def _(n, d, w):
    def cache(tokens, heads):
        return sum(128 + 128 for _head in range(heads)) * tokens

    sizes = [
        (cache(n, d // 128), f"attention, {d // 128} KV heads"),
        (cache(n, 4), "attention, 4 KV heads"),
        (cache(min(w, n), d // 128), f"window of {w}, {d // 128} KV heads"),
        (sum(16 + 3 for _channel in range(2 * d)), "Mamba, 16 states"),
    ]
    return [name for _, name in sorted(sizes)]


@question(topic="mamba.kernels", level=2, source="Gu 2023, Mamba, section 3.3.2", readme="dl_016/6", seed="002/26")
def bytes_of_all_states(draw):
    B, n, d, N = draw(1, 2, 4), draw(2048, 4096, 8192), draw(1536, 4096, 5120), draw(16, 32, 64)
    return Number(
        ask=f"A scan that is not fused writes all its states to GPU memory, float32: batch {B}, {n} tokens, {d} "
        f"channels, {N} states each. How many bytes?",
        given=dict(B=B, n=n, d=d, N=N),
        answer=4 * B * n * d * N,
        unit="B",
        traps={"states forgotten": 4 * B * n * d, "the last state alone": 4 * B * d * N, "16 bits": 2 * B * n * d * N},
        hints=("A state for every token, channel and place.", "4 · B · n · d · N"),
        why="These bytes, not the arithmetic, take the time. A fused scan keeps states on the chip and makes them "
        "again for the backward pass, from inputs that are N times smaller.",
    )


@bytes_of_all_states.second
def _(B, n, d, N):
    import numpy as np

    return np.broadcast_to(np.float32(0), (B, n, d, N)).size * 4


@question(topic="mamba.kernels", level=2, source="Gu 2023, Mamba, section 3.3.2", readme="dl_016/6", seed="002/26")
def arrays_by_size(draw):
    n, d, N = draw(1100, 3000, 9000, 50000), draw(1536, 4096, 5120), draw(16, 64)
    every = {
        "the inputs u": n * d,
        "B of all tokens": n * N,
        "A": d * N,
        "all states": n * d * N,
        "D": d,
        "the taps of a convolution of 4": 4 * d,
    }
    sizes = {name: every[name] for name in draw.sample(sorted(every), 4)}
    order = sorted(sizes, key=lambda name: sizes[name])
    shared = {name: n * d * N + 1 if "tokens" in name else size for name, size in sizes.items()}
    return Order(
        ask=f"A selective scan over {n} tokens, {d} channels, {N} states. Which array is smallest? Smallest first.",
        given=dict(n=n, d=d, N=N, names=sorted(sizes)),
        answer=order,
        traps={"B for each channel": sorted(shared, key=lambda name: shared[name]), "largest first": order[::-1]},
        hints=("Which axes has each: tokens, channels, states?", "d·N, n·N, n·d, n·d·N"),
        why="A has no tokens, B no channels, u no states. Only the states have all three axes, and a fused kernel "
        "never writes them.",
    )


@arrays_by_size.second
def _(n, d, N, names):
    import numpy as np

    axes = {
        "D": (d,),
        "the taps of a convolution of 4": (4, d),
        "A": (d, N),
        "all states": (n, d, N),
        "the inputs u": (n, d),
        "B of all tokens": (n, N),
    }
    return sorted(names, key=lambda name: np.broadcast_to(np.int8(0), axes[name]).nbytes)


@question(topic="mamba.kernels", level=2, source="Gu 2023, Mamba, section 3.3.2", readme="dl_016/6", seed="002/26")
def traffic_saved_by_fusion(draw):
    d, N = draw(1024, 2048, 4096, 5120), draw(8, 16, 32, 64)
    return Number(
        ask=f"Values moved for each token, {d} channels of {N} states. Not fused: states written and read once. "
        "Fused: u, dt, B and C read, y written. By which factor does fusing lower the traffic?",
        given=dict(d=d, N=N),
        answer=2 * d * N / (3 * d + 2 * N),
        unit="x",
        traps={
            "states written, not read": d * N / (3 * d + 2 * N),
            "inputs alone": 2 * d * N / (2 * d + 2 * N),
        },
        hints=("u, dt and y have d values a token, B and C have N.", "2·d·N / (3·d + 2·N)"),
        why="Nearly two thirds of the number of states: reading inputs again and repeating a little arithmetic is "
        "far cheaper than moving states.",
    )


@traffic_saved_by_fusion.second
def _(d, N):
    plain, fused = 0, 0
    for _pass in ("write", "read"):
        plain += sum(N for _channel in range(d))
    for width in (d, d, N, N, d):
        fused += width
    return plain / fused
