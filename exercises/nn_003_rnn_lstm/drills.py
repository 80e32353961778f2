"""Questions on recurrent networks whose numbers change: `grader drill --topic recurrent.lstm`."""

from math import exp, tanh

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="recurrent.parameters", level=1, source="torch, LSTM", readme="nn_003/12", seed="000/4")
def parameters_of_a_layer(draw):
    i, h, kind = draw(10, 64, 128, 300), draw(20, 128, 256, 512), draw("LSTM", "GRU")
    gates = {"LSTM": 4, "GRU": 3}[kind]
    return Number(
        ask=f"One layer of torch's {kind}, input {i}, hidden {h}. How many parameters?",
        given=dict(i=i, h=h, gates=gates),
        answer=gates * (h * (i + h) + 2 * h),
        unit="parameters",
        traps={
            "one bias": gates * (h * (i + h) + h),
            "the other kind": (7 - gates) * (h * (i + h) + 2 * h),
            "no recurrent matrix": gates * (h * i + 2 * h),
        },
        hints=("Two matrices and two biases for each gate, the candidate included.", "gates · (h · (i + h) + 2 · h)"),
        why="The second bias of torch is one too many in mathematics; the libraries beneath want it.",
    )


@parameters_of_a_layer.second
def _(i, h, gates):
    import numpy as np

    tensors = [(gates * h, i), (gates * h, h), (gates * h,), (gates * h,)]
    return sum(np.broadcast_to(0, shape).size for shape in tensors)


@question(topic="recurrent.parameters", level=2, source="Cho 2014; Hochreiter 1997", readme=("nn_003/8", "nn_003/12"))
def which_is_larger(draw):
    h, i = draw(64, 128, 256), draw(64, 128, 256)
    sizes = {
        "a simple RNN": h * (i + h) + 2 * h,
        "a GRU": 3 * (h * (i + h) + 2 * h),
        "an LSTM": 4 * (h * (i + h) + 2 * h),
        "an LSTM in both directions": 8 * (h * (i + h) + 2 * h),
        "two GRU layers": 3 * (h * (i + h) + 2 * h) + 3 * (h * 2 * h + 2 * h),
    }
    shown = draw.sample(list(sizes), 3)
    order = sorted(shown, key=lambda name: sizes[name])
    return Order(
        ask=f"Input {i}, hidden {h}. Which has fewest parameters? Fewest first.",
        given=dict(h=h, i=i, shown=shown),
        answer=order,
        traps={"most first": order[::-1], "the first two swapped": [order[1], order[0], order[2]]},
        hints=("Count matrices of the size of a simple RNN's.", "1, 3, 4, 8, and a second layer of 3"),
        why="A simple RNN has one map, a GRU three, an LSTM four; a second direction doubles them.",
    )


@which_is_larger.second
def _(h, i, shown):
    import numpy as np

    def size(name):
        maps = {"a simple RNN": 1, "a GRU": 3, "two GRU layers": 3}.get(name, 4)
        layers = [i, h] if name.startswith("two") else [i]
        count = sum(np.zeros((maps, h, width + h + 2)).size for width in layers)
        return 2 * count if name.endswith("directions") else count

    return sorted(shown, key=size)


@question(
    topic="recurrent.lstm", level=1, source="Hochreiter 1997; Gers 1999", readme=("nn_003/5", "nn_003/6"), seed="000/3"
)
def direct_path(draw):
    f, T = draw(0.5, 0.8, 0.9, 0.95, 0.99), draw(5, 10, 20, 50)
    return Number(
        ask=f"An LSTM's forget gate stays at {f:g}. By what factor does the gradient along the cell state alone "
        f"change over {T} "
        "steps?",
        given=dict(f=f, T=T),
        answer=f**T,
        traps={"it stays": 1.0, "multiplied by the steps": f * T, "sigmoid's slope too": (f * (1 - f)) ** 2},
        hints=("The new cell state is f times the old one, and something added.", "f^T"),
        why="That path has no matrix and no squashing, only the gate. It vanishes as well when the gate is not near "
        "one, and "
        "paths through the gates come on top.",
    )


@direct_path.second
def _(f, T):
    import numpy as np

    return float(np.prod(np.full(T, f)))


@question(topic="recurrent.lstm", level=2, source="Jozefowicz 2015, section 2.2", readme="nn_003/6")
def forget_bias(draw):
    b, T = draw(0.0, 1.0, 2.0, 3.0), draw(5, 10, 20)
    return Number(
        ask=f"At the start weights are near 0 and the forget gate's bias is {b:g}. Which share of the cell state is "
        f"left after {T} "
        "steps?",
        given=dict(b=b, T=T),
        answer=100 * (1 + exp(-b)) ** -T,
        unit="%",
        traps={
            "one step": 100 / (1 + exp(-b)),
            "tanh for the sigmoid": 100 * tanh(b) ** T,
            "what is lost": 100 - 100 * (1 + exp(-b)) ** -T,
        },
        hints=("The gate is the sigmoid of its bias, at every step.", "100 · (1 / (1 + e^-b))^T"),
        why="With a bias of 0 half is lost at every step. torch begins there, with two biases near 0; set one of them "
        "to 1.",
    )


@forget_bias.second
def _(b, T):
    import numpy as np

    gate, left = 0.5 * (1 + np.tanh(b / 2)), 100.0
    for _step in range(T):
        left *= gate
    return float(left)


@question(topic="recurrent.lstm", level=2, source="Hochreiter 1997; torch, LSTM", readme=("nn_003/5", "nn_003/7"))
def wrong_line_of_an_lstm(draw):
    wrong, mended = draw(
        ("    c = f * c + g", "    c = f * c + i * g"),
        ("    return o * c, c", "    return o * tanh(c), c"),
        ("    f, g = s(b + h), tanh(x - h)", "    f, g = s(x + b + h), tanh(x - h)"),
    )
    x = draw(1.0, 0.5, 2.0)
    h, c, b = 0.0, 2.0, 1.0

    def s(z):
        return 1 / (1 + exp(-z))

    def tanh(z):
        return 2 * s(2 * z) - 1

    for _step in range(2):
        i, o = s(x + h), s(x - h)
        f, g = s(x + b + h), tanh(x - h)
        c = f * c + i * g
        h = o * tanh(c)
    code = f"""
from math import exp, tanh
def s(z): return 1 / (1 + exp(-z))
def step(x, h, c, b=1.0):
    i, o = s(x + h), s(x - h)
    f, g = s(x + b + h), tanh(x - h)
    c = f * c + i * g
    return o * tanh(c), c
h, c = 0.0, 2.0
for _ in range(2): h, c = step({x}, h, c)
print(round(h, 4), round(c, 4))
"""
    return Bug(
        ask="An LSTM of one unit with weights of 1 and -1, whose forget gate reads input, bias b and state. The "
        "second step's state "
        "and cell should be printed. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{round(h, 4)} {round(c, 4)}",
        traps={
            "input and output gate": "    i, o = s(x + h), s(x - h)",
            "the sigmoid": "def s(z): return 1 / (1 + exp(-z))",
        },
        hints=("What is kept, what is let in, what is shown?", "f · c + i · g, then o · tanh(c)"),
        why="The input gate weighs the candidate, the output gate a squashed cell, and every gate reads the input and "
        "the state.",
    )


@question(topic="recurrent.gru", level=1, source="torch, GRU; Chung 2014", readme=("nn_003/8", "nn_003/9"), revision=2)
def state_of_a_gru(draw):
    z, n, h = draw(0.1, 0.2, 0.3, 0.6, 0.9), draw(1.0, -1.0, 0.5), draw(0.2, 0.8)
    by = draw("torch and Cho's paper", "Chung's paper")
    keeps, renews = (1 - z) * n + z * h, z * n + (1 - z) * h
    return Number(
        ask=f"A GRU as in {by}: update gate {z:g}, candidate {n:g}, old state {h:g}. What is the new state?",
        given=dict(z=z, n=n, h=h, by=by),
        answer=keeps if "torch" in by else renews,
        within=0.001,
        traps={
            "the other convention": renews if "torch" in by else keeps,
            "candidate not weighed": n + z * h,
            "nothing forgotten": h + z * n,
        },
        hints=("Does the gate weigh the old state or the candidate?", "(1 - z) · n + z · h, or with the two exchanged"),
        why="Both conventions train alike. Weights of one in the other's code give nonsense and no error: the gate is "
        "turned round.",
    )


@state_of_a_gru.second
def _(z, n, h, by):
    import numpy as np

    weight_of_old = 1 - z if by == "Chung's paper" else z
    return float(np.interp(weight_of_old, [0, 1], [n, h]))


@question(topic="recurrent.gru", level=2, source="torch, GRU", readme="nn_003/9")
def reset_before_or_after(draw):
    r, h, u, b = draw(0.0, 0.5, 0.25), draw(2, 3), draw(2, 4), draw(1, 3)
    case = draw("after the matrix, as torch does", "before the matrix, as in the paper")
    after, before = r * (u * h + b), u * (r * h) + b
    return Number(
        ask=f"A GRU of one unit: reset gate {r:g}, state {h}, recurrent weight {u} with bias {b}. The gate acts "
        f"{case}. What does the "
        "state contribute to the candidate, before tanh?",
        given=dict(r=r, h=h, u=u, b=b, case=case),
        answer=float(after if case.startswith("after") else before),
        within=0.001,
        traps={
            "the other place": float(before if case.startswith("after") else after),
            "the gate forgotten": float(u * h + b),
            "bias left out": float(u * r * h),
        },
        hints=("Is the recurrent bias inside the gate's reach?", "r · (u · h + b), or u · r · h + b"),
        why="All shapes fit, results are a little off: that is what weights from another framework look like. torch "
        "and cuDNN "
        "gate after the matrix.",
    )


@reset_before_or_after.second
def _(r, h, u, b, case):
    def recurrent(state):
        return u * state + b

    return r * recurrent(h) if case.startswith("after") else recurrent(r * h)


@question(topic="recurrent.backprop", level=1, source="Pascanu 2013, section 2", readme=("nn_003/2", "nn_003/3"))
def power_of_a_weight(draw):
    w, T = draw(0.5, 0.7, 0.9, 0.95, 1.1, 1.3), draw(5, 10, 20)
    return Number(
        ask=f"A linear RNN of one unit with recurrent weight {w:g}. What is the derivative of the state by the one "
        f"{T} steps before?",
        given=dict(w=w, T=T),
        answer=w**T,
        traps={"one step": w, "added up": w * T, "a step too few": w ** (T - 1) if T < 6 else w ** (T - 2)},
        hints=("Each step multiplies by the weight.", "w^T"),
        why="Below one it vanishes, above it explodes. With tanh a factor of at most one comes on top at each step.",
    )


@power_of_a_weight.second
def _(w, T):
    def state(h):
        for _step in range(T):
            h = w * h + 0.3
        return h

    return state(1.0) - state(0.0)


@question(topic="recurrent.backprop", level=2, source="Williams 1990", readme="nn_003/4")
def what_truncation_keeps(draw):
    w, k, n = draw(0.5, 0.8, 0.9), draw(2, 3, 4), draw(10, 20, 40)
    return Number(
        ask=f"A linear RNN of one unit, h[t] = w h[t-1] + x[t] with w = {w:g}, runs for {n} steps, and the last state "
        f"is the loss. "
        f"Backward goes through the last {k} steps alone. What is the sum of the gradients of all inputs?",
        given=dict(w=w, k=k, n=n),
        answer=(1 - w**k) / (1 - w),
        within=0.002,
        traps={
            "nothing cut": (1 - w**n) / (1 - w),
            "one step too many": (1 - w ** (k + 1)) / (1 - w),
            "inputs counted": float(k),
        },
        hints=("Inputs that are reached get w to the number of steps between.", "(1 - w^k) / (1 - w)"),
        why="What lies before gets nothing, whatever it was worth: a truncated run cannot learn what takes longer to "
        "matter.",
    )


@what_truncation_keeps.second
def _(w, k, n):
    gradients, flow = [0.0] * n, 1.0
    for step in range(n - 1, n - 1 - k, -1):
        gradients[step] = flow
        flow *= w
    return sum(gradients)


@question(topic="recurrent.lengths", level=1, source="torch, pack_padded_sequence", readme="nn_003/10")
def steps_when_packed(draw):
    lengths = sorted((draw.between(2, 30) for _ in range(4)), reverse=True)
    return Number(
        ask=f"Sequences of {', '.join(map(str, lengths))} steps are packed. How many fewer cell "
        "updates are computed than for the padded batch?",
        given=dict(lengths=lengths),
        answer=4 * max(lengths) - sum(lengths),
        unit="updates",
        traps={
            "those that are left": sum(lengths),
            "all of the padded batch": 4 * max(lengths),
            "padded to the mean": 4 * max(lengths) - 4 * min(lengths),
        },
        hints=("Padded: the longest, for each. Packed: what is there.", "4 · longest - sum"),
        why="A packed batch shrinks as sequences end. Padded ones run on, and have to be kept from changing the last "
        "state.",
    )


@steps_when_packed.second
def _(lengths):
    return sum(1 for step in range(lengths[0]) for length in lengths if step >= length)


@question(topic="recurrent.lengths", level=2, source="torch, LSTM", readme="nn_003/10")
def reversed_with_padding(draw):
    x = draw.sample(range(1, 30), 3)
    pad = draw(1, 2)
    right, wrong = x[::-1] + [0] * pad, [0] * pad + x[::-1]
    case = draw("right", "wrong")
    return Predict(
        ask="The input of the backward direction of an LSTM, from a padded sequence, is printed. What is it?",
        code=f"""
x, length = {x + [0] * pad}, {3}
{"back = x[:length][::-1] + x[length:]" if case == "right" else "back = x[::-1]"}
print(back)
""",
        answer=str(right if case == "right" else wrong),
        traps={"padding first or last": str(wrong if case == "right" else right), "not reversed": str(x + [0] * pad)},
        hints=("What is reversed: the sequence, or the row with its padding?", "slice by slice"),
        why="Reversing the padded row makes the backward direction read padding first, and its state is no longer 0 "
        "where "
        "the text begins.",
    )


@question(topic="recurrent.dropout", level=2, source="Gal 2016, section 4", readme="nn_003/11")
def what_is_left_after_steps(draw):
    p, T = draw(0.1, 0.2, 0.25, 0.5), draw(5, 10, 20)
    case = draw("a new mask at every step", "one mask for the sequence")
    by = {"a new mask at every step": (1 - p) ** T, "one mask for the sequence": 1 - p}
    return Number(
        ask=f"Dropout with p = {p:g} on the state that is handed on, {case}. With which probability has a unit never "
        f"been dropped "
        f"within {T} steps?",
        given=dict(p=p, T=T, case=case),
        answer=100 * by[case],
        unit="%",
        traps={
            "the other kind of mask": 100
            * by["one mask for the sequence" if case.startswith("a new") else "a new mask at every step"],
            "dropped at some time": 100 * (1 - by[case]) + 0.2,
            "p for what is kept": 100 * p**2,
        },
        hints=("How many independent draws are there?", "100 · (1 - p) to their number"),
        why="New masks at each step wipe the memory out. One mask for the whole sequence leaves what it leaves.",
    )


@what_is_left_after_steps.second
def _(p, T, case):
    share = 100.0
    for step in range(T):
        if case.startswith("a new") or step == 0:
            share -= share * p
    return share


@question(topic="recurrent.dropout", level=1, source="torch, LSTM", readme="nn_003/11")
def where_torch_drops(draw):
    L, p = draw(1, 2, 3, 4), draw(0.1, 0.3)
    right = "nowhere" if L == 1 else "between the layers"
    return Choice(
        ask=f"torch.nn.LSTM with {L} layer{'s' * (L > 1)} and dropout={p:g}, in training. Where does it drop?",
        given=dict(L=L, p=p),
        answer=right,
        traps={
            "the last layer's outputs": "after every layer",
            "the state": "on the state from step to step",
            "one layer or several": "between the layers" if L == 1 else "nowhere",
        },
        hints=("It acts on what one layer hands to the next.", "L - 1 places"),
        why="torch drops the outputs of each layer but the last, anew at each step. Nothing is dropped on the way "
        "from step to "
        "step.",
    )


@where_torch_drops.second
def _(L, p):
    places = [f"between layer {one} and {one + 1}" for one in range(1, L)]
    return "between the layers" if places else "nowhere"


@question(topic="recurrent.backprop", level=1, source="Goodfellow 2016, section 10.2", readme=("nn_003/1", "nn_003/13"))
def work_in_a_row(draw):
    T, L = draw("steps", "T", "length"), draw("layers", "L", "depth")
    return Blank(
        ask="How many cell updates of a stacked RNN have to be done one after another, if everything that can be is "
        "done at once?",
        code=f"def in_a_row({T}, {L}):\n    return ____",
        given={T: draw.between(5, 20), L: draw.between(2, 4)},
        answer=f"{T} + {L} - 1",
        traps={"all of them": f"{T} * {L}", "layers at once": T, "one too many": f"{T} + {L}"},
        hints=("A cell waits for its left neighbour and for the one below.", "the longest path through the grid"),
        why="The products of inputs and weights can be done for all steps at once; the states cannot. A transformer "
        "waits for "
        "its layers alone.",
    )


@work_in_a_row.second
def _(**given):
    T, L = given.values()
    wave = {}
    for step in range(T):
        for layer in range(L):
            wave[step, layer] = 1 + max(wave.get((step - 1, layer), 0), wave.get((step, layer - 1), 0))
    return max(wave.values())
