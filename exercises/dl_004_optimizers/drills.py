"""Questions on optimizers whose numbers change: `grader drill --topic optimizer.adam`."""

from math import log, sqrt

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="optimizer.momentum", level=1, source="Polyak 1964; torch, SGD", readme="dl_004/1", seed="001/13")
def lasting_step(draw):
    m, lr, g = draw(0.8, 0.9, 0.95, 0.98, 0.99), draw(0.1, 0.01), draw(1.0, 2.0, 3.0)
    return Number(
        ask=f"SGD with momentum {m:g} as in torch, rate {lr:g}, and the same gradient {g:g} at every step. How long "
        f"is a step in "
        "the end?",
        given=dict(m=m, lr=lr, g=g),
        answer=lr * g / (1 - m),
        traps={
            "the rate alone": lr * g,
            "one gradient remembered": lr * g * (1 + m),
            "momentum for its rest": lr * g / m,
        },
        hints=("The buffer is a geometric series of gradients.", "lr · g / (1 - m)"),
        why="Raising the momentum raises the effective rate. Who compares momenta has to change the rate with them.",
    )


@lasting_step.second
def _(m, lr, g):
    buffer = 0.0
    for _step in range(5000):
        buffer = m * buffer + g
    return lr * buffer


@question(topic="optimizer.momentum", level=2, source="Sutskever 2013, section 2", readme="dl_004/1")
def second_step(draw):
    m, g, h = draw(0.5, 0.8, 0.9), draw.between(1, 9), draw.between(-9, -1)
    kind = draw("momentum", "Nesterov", "dampening")
    words = {
        "momentum": f"momentum {m:g}",
        "Nesterov": f"Nesterov's momentum {m:g}",
        "dampening": f"momentum {m:g} and dampening {m:g}",
    }
    by = {"momentum": m * g + h, "Nesterov": h + m * (m * g + h), "dampening": m * g + (1 - m) * h}
    return Number(
        ask=f"torch's SGD with {words[kind]}, rate 1. The first two gradients are {g} and {h}. By how much does the "
        f"second "
        "step lower the parameter?",
        given=dict(m=m, g=g, h=h, kind=kind),
        answer=by[kind],
        within=0.001,
        traps={f"as with {name}": value for name, value in by.items() if name != kind},
        hints=("The buffer begins with the first gradient, whole.", "b = m · g + h; Nesterov: h + m · b"),
        why="Nesterov steps as if the next buffer were known. Dampening weighs what is new, but the first buffer is "
        "the gradient itself.",
    )


@second_step.second
def _(m, g, h, kind):
    weights = {"momentum": (m, 1), "Nesterov": (m**2, 1 + m), "dampening": (m, 1 - m)}[kind]
    return sum(weight * one for weight, one in zip(weights, (g, h), strict=True))


@question(topic="optimizer.adam", level=1, source="Kingma 2014, section 2", readme="dl_004/2", seed="001/13")
def first_step(draw):
    g, lr, eps = draw(1e-4, 3e-4, 1e-3), draw(1e-3, 3e-4, 6e-4, 2e-3), draw(1e-4, 1e-3, 3e-3)
    return Number(
        ask=f"Adam with rate {lr:g}, betas 0.9 and 0.999 and an eps of {eps:g}. The first gradient of a parameter is "
        f"{g:g}. "
        "How far does it move?",
        given=dict(g=g, lr=lr, eps=eps),
        answer=lr * g / (g + eps),
        traps={
            "rate times gradient": lr * g,
            "no correction of the bias": lr * 0.1 * g / (sqrt(0.001) * g + eps),
            "eps under the root": lr * g / sqrt(g * g + eps),
        },
        hints=("Both averages are corrected by what they lack; eps is added to the root.", "lr · g / (g + eps)"),
        why="Where eps is small beside the gradient, the first step is the rate, whatever the gradient's size. Where "
        "it is "
        "not, small gradients count less.",
    )


@first_step.second
def _(g, lr, eps):
    m, v = 0.1 * g, 0.001 * g * g
    return lr * (m / (1 - 0.9)) / ((v / (1 - 0.999)) ** 0.5 + eps)


@question(topic="optimizer.adam", level=2, source="Loshchilov 2017, section 2", readme="dl_004/3")
def decay_of_adamw(draw):
    lr, w, n = draw(1e-3, 3e-4, 2e-3), draw(0.1, 0.01, 0.05), draw(1000, 2000, 5000)
    return Number(
        ask=f"AdamW, rate {lr:g}, weight decay {w:g}. A weight's gradient is 0 in each of the first {n} steps. "
        "What share of the weight is left?",
        given=dict(lr=lr, w=w, n=n),
        answer=(1 - lr * w) ** n,
        within=0.0005,
        traps={"the rate forgotten": (1 - w) ** n, "no decay": 1.0, "as L2 in Adam": max(0.0, 1 - lr * n)},
        hints=("Each step multiplies by the same number; the rate is in it.", "(1 - lr · w)^n"),
        why="AdamW takes the decay past the second moment. As L2 in the gradient, Adam would normalise it away, and "
        "move by "
        "the rate. A parameter whose gradient is None is skipped.",
    )


@decay_of_adamw.second
def _(lr, w, n):
    weight = 1.0
    for _step in range(n):
        weight -= lr * w * weight
    return weight


@question(topic="optimizer.adam", level=2, source="Loshchilov 2017, section 2", readme="dl_004/3")
def wrong_line_of_adamw(draw):
    wrong, mended = draw(
        ("    g = g + w * p", "    g = g + 0"),
        (
            "    up = (m / (1 - b1)) / (v / (1 - b2)) ** 0.5",
            "    up = (m / (1 - b1 ** t)) / (v / (1 - b2 ** t)) ** 0.5",
        ),
        ("    v = b2 * v + (1 - b2) * g", "    v = b2 * v + (1 - b2) * g * g"),
        ("    return p - lr * up - w * p, m, v", "    return p - lr * up - lr * w * p, m, v"),
    )
    lr = draw(0.1, 0.25, 0.5)
    code = f"""
def step(p, g, m, v, t, lr, w, b1=0.9, b2=0.99):
    g = g + 0
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    up = (m / (1 - b1 ** t)) / (v / (1 - b2 ** t)) ** 0.5
    return p - lr * up - lr * w * p, m, v
p, m, v = 8.0, 0.0, 0.0
for t in (1, 2):
    p, m, v = step(p, 4.0, m, v, t, {lr}, 0.5)
print(round(p, 6))
"""
    p = 8.0
    for _step in range(2):
        p = p - lr - lr * 0.5 * p
    return Bug(
        ask="Two steps of AdamW with a constant gradient: each moves by the rate, and decays by rate times decay. "
        "Which line is "
        "wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(p, 6)),
        traps={"the first moment": "    m = b1 * m + (1 - b1) * g", "the start": "p, m, v = 8.0, 0.0, 0.0"},
        hints=(
            "Where may the decay stand, and what is corrected by the number of the step?",
            "g², 1 - β^t, lr · w · p",
        ),
        why="The decay stays out of both moments and is multiplied by the rate. v averages squares, and each moment "
        "is divided by what its average still lacks of one.",
    )


@question(topic="optimizer.convergence", level=1, source="Reddi 2018, section 3", readme="dl_004/4", seed="001/14")
def memory_of_the_second_moment(draw):
    b = draw(0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
    return Number(
        ask=f"Adam's second moment with β₂ = {b:g}. To how many steps does its average amount, if each counted as "
        "much as the newest does?",
        given=dict(b=b),
        answer=1 / (1 - b),
        unit="steps",
        traps={"its half-life": log(0.5) / log(b), "the square for the root": 1 / (1 - b) ** 2, "β₂ itself": b},
        hints=("Sum the weights, relative to that of the newest.", "1 / (1 - b)"),
        why="A rare large gradient is forgotten after so many steps, and small ones then move the weight as far as it "
        "did: "
        "that is where Adam fails.",
    )


@memory_of_the_second_moment.second
def _(b):
    total, weight = 0.0, 1.0
    while weight > 1e-12:
        total += weight
        weight *= b
    return total


@question(topic="optimizer.convergence", level=2, source="Reddi 2018, section 4", readme="dl_004/4")
def who_forgets(draw):
    big, quiet, small = draw(5, 10, 20), draw(3, 4, 6), draw(1, 2)
    said = {"Adam": "by a smaller number", "AMSGrad": "by the same number", "Adagrad": "by a larger number"}
    mistakes = {"Adam": "the average forgets", "AMSGrad": "the largest is kept", "Adagrad": "the sum grows"}
    case = draw("Adam", "AMSGrad", "Adagrad")
    return Choice(
        ask=f"{case} without momentum, β₂ = 0.5 where it has one, no correction. A gradient of {big}, then {quiet} of "
        f"{small}. "
        "By what is the newest gradient divided, against the step of the large one?",
        given=dict(big=big, small=small, quiet=quiet, case=case),
        answer=said[case],
        traps={mistakes[name]: text for name, text in said.items() if name != case},
        hints=("An average, its largest value so far, or a sum?", "β₂ v + (1 - β₂) g², max, Σ g²"),
        why="AMSGrad divides by the largest average so far, so no step grows after a large gradient. A larger β₂ "
        "helps as "
        "well.",
    )


@who_forgets.second
def _(big, small, quiet, case):
    v = top = total = 0.0
    divided = []
    for g in [big, *[small] * quiet]:
        v = 0.5 * v + 0.5 * g * g
        top, total = max(top, v), total + g * g
        divided.append({"Adam": v, "AMSGrad": top, "Adagrad": total}[case])
    if divided[-1] == divided[0]:
        return "by the same number"
    return "by a larger number" if divided[-1] > divided[0] else "by a smaller number"


@question(topic="optimizer.memory", level=1, source="Kingma 2014; Chen 2023", readme="dl_004/5")
def bytes_of_states(draw):
    P, kind = draw(1.5, 3.0, 7.0, 8.0, 13.0, 34.0, 70.0), draw("Adam", "Lion", "SGD with momentum", "AMSGrad")
    states = {"Adam": 2, "Lion": 1, "SGD with momentum": 1, "AMSGrad": 3}[kind]
    return Number(
        ask=f"{P:g} billion parameters. How many GB do the states of {kind} take, in float32?",
        given=dict(P=P, states=states, kind=kind),
        answer=4 * states * P,
        unit="GB",
        traps={
            "one state too few": 4 * (states - 1) * P,
            "weights and gradients too": 4 * (states + 2) * P,
            "one state too many": 4 * (states + 1) * P,
        },
        hints=("How many numbers are kept for each parameter?", "4 · states · P"),
        why="Adam keeps two averages, Lion and momentum one, AMSGrad the largest, too. Weights, gradients and master "
        "weights "
        "come on top.",
    )


@bytes_of_states.second
def _(P, states, kind):
    kept = {"Adam": ("m", "v"), "AMSGrad": ("m", "v", "max"), "Lion": ("m",), "SGD with momentum": ("buffer",)}[kind]
    return sum(P * 1e9 * 4 for _state in kept) / 1e9


@question(topic="optimizer.memory", level=2, source="Shazeer 2018, section 3", readme="dl_004/5")
def factored_moment(draw):
    n, m = draw(1024, 2048, 4096), draw(4096, 8192, 11008)
    numbers = {
        "Adam": 2 * n * m,
        "AMSGrad": 3 * n * m,
        "Lion": n * m,
        "Adafactor, no momentum": n + m,
        "SGD, no momentum": 0,
    }
    shown = draw.sample(list(numbers), 3)
    order = sorted(shown, key=lambda name: numbers[name])
    return Order(
        ask=f"A weight of {n} × {m}. Whose states take least? Smallest first.",
        given=dict(n=n, m=m, shown=shown),
        answer=order,
        traps={"largest first": order[::-1], "the first two swapped": [order[1], order[0], order[2]]},
        hints=("Several matrices, one, a row and a column, or nothing?", "0, n + m, n · m, 2 · n · m, 3 · n · m"),
        why="Adafactor keeps the sums of rows and columns of the squared gradients, whose product stands in for the "
        "matrix.",
    )


@factored_moment.second
def _(n, m, shown):
    import numpy as np

    def size(name):
        squares = np.broadcast_to(1.0, (n, m))
        if name.startswith("Adafactor"):
            return squares.mean(0).size + squares.mean(1).size
        return squares.size * ["SGD, no momentum", "Lion", "Adam", "AMSGrad"].index(name)

    return sorted(shown, key=size)


@question(topic="optimizer.adaptive", level=1, source="Duchi 2011, section 1", readme="dl_004/6")
def step_of_adagrad(draw):
    lr, n = draw(0.1, 0.5, 1.0), draw(4, 9, 16, 25, 36, 100)
    return Number(
        ask=f"Adagrad, rate {lr:g}, eps 0, and a gradient of 1 at every step. How long is step {n}?",
        given=dict(lr=lr, n=n),
        answer=lr / sqrt(n),
        traps={
            "the rate stays": lr,
            "divided by the number of steps": lr / n,
            "as RMSProp without correction": lr / sqrt(1 - 0.9**n),
        },
        hints=("The sum of squares after n steps; then its root.", "lr / sqrt(n)"),
        why="The sum never shrinks, so steps fade. A feature that is seldom seen keeps a small sum, and long steps.",
    )


@step_of_adagrad.second
def _(lr, n):
    total = 0.0
    for _step in range(n):
        total += 1.0
        step = lr * total**-0.5
    return step


@question(topic="optimizer.adaptive", level=2, source="Duchi 2011, section 1", readme="dl_004/6")
def rare_feature(draw):
    often, seldom = draw(9, 16, 25, 36), draw(1, 4)
    return Predict(
        ask="Adagrad on two features, one of which is seldom seen. The last step of each is printed: what is it?",
        code=f"""
seen = {{"often": {often}, "seldom": {seldom}}}
for name, times in seen.items():
    total = sum(1 for _ in range(times))
    print(name, round(1 / total ** 0.5, 3))
""",
        answer=f"often {round(1 / sqrt(often), 3)}\nseldom {1 / sqrt(seldom)}",
        traps={
            "divided by the sum": f"often {round(1 / often, 3)}\nseldom {1 / seldom}",
            "the same for both": f"often {round(1 / sqrt(often), 3)}\nseldom {round(1 / sqrt(often), 3)}",
        },
        hints=("Each feature is divided by the root of its own sum.", "1 / √(times seen)"),
        why="A single rate would be too long for the one or too short for the other. Adagrad gives each its own.",
    )


@question(topic="optimizer.orthogonal", level=2, source="Jordan 2024, Muon", readme="dl_004/7")
def singular_values_of_a_step(draw):
    s = sorted(draw.sample(range(1, 20), 3), reverse=True)
    return Number(
        ask=f"A gradient matrix has singular values {s[0]}, {s[1]} and {s[2]}. Muon steps along the nearest matrix "
        f"with orthonormal "
        "rows, all of its singular values 1. What is the dot product of step and gradient, rate 1?",
        given=dict(s=s),
        answer=sum(s),
        traps={"the largest alone": s[0], "the squares": sum(one * one for one in s), "the number of them": len(s)},
        hints=("In the directions of the singular vectors, each step is 1.", "the sum of the singular values"),
        why="Every direction moves alike, the weak ones too. Adam works entry by entry and cannot see directions.",
    )


@singular_values_of_a_step.second
def _(s):
    import numpy as np

    u, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    v, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    gradient = u @ np.diag(np.array(s, float)) @ v.T
    left, _, right = np.linalg.svd(gradient)
    return float(((left @ right) * gradient).sum())


@question(topic="optimizer.orthogonal", level=3, source="Jordan 2024, Muon", readme="dl_004/7")
def one_cubic_step(draw):
    a, x = draw((1.5, -0.5), (2.0, -1.0), (1.25, -0.25)), draw(0.1, 0.2, 0.4, 0.5, 0.8)
    return Number(
        ask=f"A Newton-Schulz step X → {a[0]:g} X {a[1]:+g} X Xᵀ X. What becomes of a singular value {x:g}?",
        given=dict(a=a[0], b=a[1], x=x),
        answer=a[0] * x + a[1] * x**3,
        within=0.001,
        traps={"squared for cubed": a[0] * x + a[1] * x**2, "the linear part": a[0] * x, "already one": 1.0},
        hints=("Write X by its singular vectors: what is left of X Xᵀ X?", "a · x + b · x³"),
        why="Singular vectors stay as they are, so a polynomial of the matrix acts on each singular value. Those in "
        "(0, 1] "
        "go to one.",
    )


@one_cubic_step.second
def _(a, b, x):
    import numpy as np

    X = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1.0, x])
    return float(np.linalg.norm((a * X + b * X @ X.T @ X)[:, 1]))


@question(topic="optimizer.sign", level=1, source="Chen 2023, algorithm 2", readme="dl_004/5")
def momentum_of_lion(draw):
    m, g = draw.between(2, 9), draw.between(-9, -2)
    return Number(
        ask=f"Lion, betas 0.9 and 0.99. A parameter has momentum {m} and gradient {g}. What is its momentum after the "
        f"step?",
        given=dict(m=m, g=g),
        answer=0.99 * m + 0.01 * g,
        within=0.001,
        traps={
            "what is stepped along": 0.9 * m + 0.1 * g,
            "weights swapped": 0.01 * m + 0.99 * g,
            "the sign is kept": 1.0 if 0.9 * m + 0.1 * g > 0 else -1.0,
        },
        hints=(
            "The step mixes by the first beta and takes the sign; what is kept mixes by the second.",
            "0.99 · m + 0.01 · g",
        ),
        why="The newest gradient weighs more in the step than in what is kept, as in Nesterov's momentum. Every entry "
        "moves "
        "by the rate, up or down.",
    )


@momentum_of_lion.second
def _(m, g):
    import numpy as np

    return float(np.interp(0.01, [0, 1], [m, g]))


@question(topic="optimizer.sign", level=1, source="Bernstein 2018, section 1", readme="dl_004/5")
def sign_for_zero(draw):
    x, lr = draw("g", "grad", "update", "u", "c", "mixed", "d"), draw("lr", "rate", "eta")
    return Blank(
        ask=f"signSGD on one number `{x}`: the step is `{lr}` up or down, and 0 for 0. What is missing?",
        code=f"def step({x}, {lr}):\n    return -{lr} * (({x} > 0) - (____))\nprint(step(3, 0.5), step(-2, 0.5), "
        f"step(0, 0.5) + 0)",
        answer=f"{x} < 0",
        also=[f"({x} < 0)", f"int({x} < 0)", f"bool({x} < 0)", f"0 > {x}"],
        prints="-0.5 0.5 0.0",
        traps={"half a sign": f"{x} > 0", "zero counts as negative": f"{x} <= 0", "no minus": "0"},
        hints=("True is 1 and False is 0.", "positive less negative"),
        why="The size of a gradient is thrown away: noise and signal step alike, which is why momentum is mixed in "
        "first.",
    )
