"""Questions on the training loop whose numbers change: `grader drill --topic training.loop`."""

from math import ceil, sqrt

from grader.drills import Bug, Choice, Number, Predict, question


@question(topic="training.data", level=2, source="Kaufman 2012, Leakage in data mining", readme="dl_002/1")
def relatives_in_training(draw):
    m, f = draw.between(3, 8), draw(0.1, 0.2, 0.25, 0.3, 0.5)
    return Number(
        ask=f"Each patient has {m} scans. Every scan goes into the test set with probability {f:g}, whatever "
        "patient it is of, else into the training set. What share of test scans has a scan of its patient in the "
        "training set?",
        given=dict(m=m, f=f),
        answer=100 * (1 - f ** (m - 1)),
        unit="%",
        within=0.001,
        traps={"one other scan only": 100 * (1 - f), "the scan itself counted": 100 * (1 - f**m)},
        hints=("When does it have none? All m - 1 others are in the test set, too.", "100 · (1 - f^(m - 1))"),
        why="Nearly every test scan has a relative among those that were learnt. A model that knows the patient needs "
        "not know the disease: split by patient.",
    )


@relatives_in_training.second
def _(m, f):
    from itertools import product

    share = 0.0
    for places in product((True, False), repeat=m - 1):  # is a relative in the test set?
        chance = 1.0
        for tested in places:
            chance *= f if tested else 1 - f
        share += chance * (not all(places))
    return 100 * share


@question(topic="training.data", level=2, source="Kaufman 2012, Leakage in data mining", readme="dl_002/1")
def line_of_a_split(draw):
    a, b, c = draw.sample(range(1, 10), 3)
    wrong, mended = draw(
        ("    held = set(range(count))", "    held = set(groups[:count])"),
        (
            "    train = [i for i in places if i not in held]",
            "    train = [i for i in places if owners[i] not in held]",
        ),
        ("    groups = sorted(owners)", "    groups = sorted(set(owners))"),
    )
    owners = [c, a, b, a, c, a, b]
    code = f"""
def split(owners, count):
    places = range(len(owners))
    groups = sorted(set(owners))
    held = set(groups[:count])
    train = [i for i in places if owners[i] not in held]
    test = [i for i in places if owners[i] in held]
    return train, test
print(split({owners}, 2))
"""
    held = sorted({a, b, c})[:2]
    parts = [i for i, one in enumerate(owners) if one not in held], [i for i, one in enumerate(owners) if one in held]
    return Bug(
        ask="The two patients with the smallest numbers should be the test set, with all that they own. Which line is "
        "wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(parts),
        traps={
            "test and train alike": "    test = [i for i in places if owners[i] in held]",
            "places are right": "    places = range(len(owners))",
        },
        hints=(
            "Ask of each name: does it hold patients, or places of examples?",
            "patients once each, the first ones held, the rest of places for training",
        ),
        why="Groups are drawn, not examples. Whoever mixes the two numberings gets a split that runs and leaks.",
    )


@question(topic="training.data", level=1, source="PyTorch, DistributedSampler", readme="dl_002/2")
def length_of_a_padded_epoch(draw):
    n, w = draw.between(20, 2000), draw(3, 4, 6, 8, 16)
    return Number(
        ask=f"{n} examples, {w} ranks, a DistributedSampler that drops nothing. How many examples do all ranks "
        "together go through in an epoch?",
        given=dict(n=n, w=w),
        answer=ceil(n / w) * w,
        unit="examples",
        traps={"the rest dropped": n // w * w, "of one rank": ceil(n / w), "nothing repeated": n},
        hints=("Every rank takes equally many steps, and none is left out.", "⌈n / w⌉ · w"),
        why="The order is filled up from its own front until it divides. In evaluation those examples count twice.",
    )


@length_of_a_padded_epoch.second
def _(n, w):
    order = list(range(n))
    while len(order) % w:
        order.append(order[len(order) - n])
    return sum(len(order[rank::w]) for rank in range(w))


@question(topic="training.data", level=2, source="PyTorch, DistributedSampler", readme="dl_002/2")
def examples_of_a_rank(draw):
    n = draw(7, 8, 10)
    order, rank = draw.sample(range(10, 99), n), draw(0, 1, 2)
    padded = order + order[: -n % 3]
    block = len(padded) // 3
    return Predict(
        ask="The order of an epoch, shared out to three ranks as DistributedSampler does. What is printed?",
        code=f"""
order = {order}
order += order[:-len(order) % 3]
print(order[{rank}::3])
""",
        answer=str(padded[rank::3]),
        traps={
            "blocks instead of strides": str(padded[rank * block : (rank + 1) * block]),
            "the rest dropped": str(order[: n // 3 * 3][rank::3]),
        },
        hints=("-len % 3 is what is missing to the next multiple of 3.", "order[rank::world], after padding"),
        why="Every rank makes the whole order for itself and takes each world-th place, so nothing has to be sent.",
    )


@question(topic="training.data", level=2, source="PyTorch, DistributedSampler", readme="dl_002/2")
def order_without_set_epoch(draw):
    case, ranks = (
        draw("set_epoch is never called", "set_epoch(epoch) is called", "each rank has its own seed"),
        draw(2, 4),
    )
    effects = {
        "set_epoch is never called": "every epoch has one order; ranks share nothing",
        "set_epoch(epoch) is called": "every epoch has another order; ranks share nothing",
        "each rank has its own seed": "ranks share some examples, and others are not seen",
    }
    return Choice(
        ask=f"A DistributedSampler shuffles, {ranks} ranks divide the length, and {case}. What happens?",
        given=dict(case=case, ranks=ranks),
        answer=effects[case],
        traps={f"what follows if {other}": text for other, text in effects.items() if other != case},
        hints=("From which two numbers does a rank make its order?", "order = shuffle(seed + epoch)"),
        why="Seed and epoch make the order, and all ranks have to make the same one. The epoch stays 0 unless somebody "
        "says otherwise.",
    )


@order_without_set_epoch.second
def _(case, ranks):
    import numpy as np

    def epoch_of(epoch, rank):
        seed = 100 * rank if "own seed" in case else 0
        return np.random.default_rng(seed + ("called" in case and "never" not in case) * epoch).permutation(48)[
            rank::ranks
        ]

    epochs = [[set(epoch_of(epoch, rank).tolist()) for rank in range(ranks)] for epoch in (0, 1)]
    if set().union(*epochs[0]) != set(range(48)):
        return "ranks share some examples, and others are not seen"
    how = "one order" if epochs[0] == epochs[1] else "another order"
    return f"every epoch has {how}; ranks share nothing"


@question(topic="training.loop", level=1, source="PyTorch, optimizer.step")
def steps_of_an_epoch(draw):
    n, b, a = draw.between(1000, 20000), draw(16, 32, 64), draw(3, 4, 8)
    return Number(
        ask=f"{n} examples, batches of {b}, one optimizer step after each {a} batches and after the last. How many "
        "steps does an epoch have?",
        given=dict(n=n, b=b, a=a),
        answer=ceil(ceil(n / b) / a),
        unit="steps",
        traps={"no accumulation": ceil(n / b), "the rest dropped": n // b // a, "batches in a step": a},
        hints=("Batches first, the last may be short; then groups of a, the last may be short.", "⌈⌈n / b⌉ / a⌉"),
        why="A schedule counts these steps, not batches. What is left at the end needs a step of its own.",
    )


@steps_of_an_epoch.second
def _(n, b, a):
    batches = [range(start, min(start + b, n)) for start in range(0, n, b)]
    return sum(1 for i in range(len(batches)) if (i + 1) % a == 0 or i + 1 == len(batches))


@question(topic="training.loop", level=1, source="PyTorch, CrossEntropyLoss, reduction", readme="dl_002/3")
def loss_of_an_evaluation(draw):
    n, r = draw(16, 32, 64), draw.between(1, 12)
    x, y = draw.between(2, 9) / 10, draw.between(11, 40) / 10
    return Number(
        ask=f"Evaluation: two batches of {n} examples with a mean loss of {x:g} each, and a last one of {r} with "
        f"{y:g}. What is the loss of the whole set?",
        given=dict(n=n, r=r, x=x, y=y),
        answer=(2 * n * x + r * y) / (2 * n + r),
        traps={"mean of means": (2 * x + y) / 3, "the last alone": y, "the last dropped": x},
        hints=("Weigh each mean by its number of examples.", "(2 · n · x + r · y) / (2 · n + r)"),
        why="A short batch weighs less. With a mean of means the result also depends on the batch size.",
    )


@loss_of_an_evaluation.second
def _(n, r, x, y):
    losses = [x] * n + [x] * n + [y] * r
    return sum(losses) / len(losses)


@question(topic="training.loop", level=2, source="Goodfellow 2016, section 7.8", readme="dl_002/3")
def gap_of_an_average(draw):
    a, b = draw.between(15, 40) / 10, draw.between(2, 12) / 10
    return Number(
        ask=f"Over an epoch the true loss, on any set, falls evenly from {a:g} to {b:g}. Training reports its mean "
        "over the epoch, validation is evaluated at the end. By how much is the validation loss lower?",
        given=dict(a=a, b=b),
        answer=(a - b) / 2,
        traps={"from the start": a - b, "the mean itself": (a + b) / 2, "no gap": 0.0},
        hints=("The mean of an even fall, and its end.", "(a + b) / 2 - b"),
        why="A training loss is that of a younger model. Evaluate the training set with the function used for "
        "validation; dropout and augmentation then are off in both.",
    )


@gap_of_an_average.second
def _(a, b):
    seen = [a + (b - a) * (i + 0.5) / 1000 for i in range(1000)]
    return sum(seen) / len(seen) - b


@question(topic="training.loop", level=1, source="PyTorch, autograd mechanics, evaluation mode", readme="dl_002/4")
def what_is_switched(draw):
    case = draw("model.eval() alone", "torch.no_grad() alone", "both")
    texts = {
        "model.eval() alone": "dropout is off, batch norm's statistics stay, gradients are recorded",
        "torch.no_grad() alone": "dropout drops, batch norm's statistics move, nothing is recorded",
        "both": "dropout is off, batch norm's statistics stay, nothing is recorded",
    }
    return Choice(
        ask=f"A model in training mode is evaluated with {case}. What happens in its forward pass?",
        given=dict(case=case),
        answer=texts[case],
        traps={f"that is {other}": text for other, text in texts.items() if other != case},
        hints=("One switches modules, the other autograd.", "eval: dropout, batch norm; no_grad: recording"),
        why="The mode of modules and the recording of gradients are two switches. Evaluation needs both, and "
        "afterwards each module its own mode back.",
    )


@what_is_switched.second
def _(case):
    training, recording = True, True
    if case in ("model.eval() alone", "both"):
        training = False
    if case in ("torch.no_grad() alone", "both"):
        recording = False
    modules = (
        "dropout drops, batch norm's statistics move" if training else "dropout is off, batch norm's statistics stay"
    )
    return f"{modules}, {'gradients are recorded' if recording else 'nothing is recorded'}"


@question(topic="training.loop", level=2, source="PyTorch, CrossEntropyLoss, reduction", readme="dl_002/5")
def weight_of_a_short_batch(draw):
    m, k, r = draw(32, 64, 128), draw.between(3, 8), draw.between(3, 30)
    return Number(
        ask=f"{k} micro-batches of {m} examples and a last one of {r}. Each loss is a mean over its micro-batch, and "
        f"all are divided by {k + 1}. How many times its right weight does an example of the last one "
        "get?",
        given=dict(m=m, k=k, r=r),
        answer=(k * m + r) / ((k + 1) * r),
        unit="x",
        traps={"against its fellows": m / r, "all weigh alike": 1.0, "of a micro-batch": (k * m + r) / r},
        hints=(
            "It has 1/r of one of k + 1 means, and should have one part of all examples.",
            "(k · m + r) / ((k + 1) · r)",
        ),
        why="Sum the losses and divide by all examples of the step. A mean of means lets a short micro-batch shout.",
    )


@weight_of_a_short_batch.second
def _(m, k, r):
    import numpy as np

    sizes = np.array([m] * k + [r])
    weights = np.concatenate([np.full(size, 1 / size / len(sizes)) for size in sizes])
    return float(weights[-1] / (1 / sizes.sum()))


@question(topic="training.loop", level=2, source="Ioffe 2015, section 3.1", readme="dl_002/5")
def accumulation_that_differs(draw):
    case, parts = draw("sums", "means", "batch norm"), draw(2, 4)
    what = {
        "sums": "losses are summed over examples and divided by the size of the whole batch",
        "means": "the mean loss of each part is used as it is",
        "batch norm": "losses are divided by the whole batch's size, and the model has batch norm",
    }[case]
    texts = {"sums": "the same", "means": f"{parts} times as large", "batch norm": "of another direction as well"}
    return Choice(
        ask=f"A batch is taken in {parts} equal parts, gradients add up, and {what}. Against the batch in one piece, "
        "the gradient is",
        given=dict(case=case, parts=parts),
        answer=texts[case],
        traps={f"as with {other}": text for other, text in texts.items() if other != case},
        hints=("Which sum is taken, and does an example's loss depend on its neighbours?", "Σ loss / size, or Σ mean"),
        why="Gradients of a sum add up. Batch norm takes its statistics from a part, so each loss is another function.",
    )


@accumulation_that_differs.second
def _(case, parts):
    import numpy as np

    x = np.random.default_rng(0).normal(size=(16, 3))

    def gradient(rows, size):  # of sum(tanh(w · x))/size by w at 1, by differences
        if case == "batch norm":
            rows = (rows - rows.mean(0)) / rows.std(0)
        step = 1e-5 * np.eye(3)
        return np.array([np.tanh(rows @ (1 + e)).sum() - np.tanh(rows @ (1 - e)).sum() for e in step]) / 2e-5 / size

    whole = gradient(x, 16)
    added = sum(gradient(part, 16 / parts if case == "means" else 16) for part in np.split(x, parts))
    ratio = added / whole
    if np.ptp(ratio) > 1e-3:
        return "of another direction as well"
    return "the same" if abs(ratio[0] - 1) < 1e-3 else f"{round(ratio[0])} times as large"


@question(topic="training.decay_groups", level=1, source="nanoGPT, configure_optimizers", readme="dl_002/6")
def decayed_parameters(draw):
    L, d = draw(4, 6, 12, 24), draw(64, 128, 256, 512, 768)
    return Number(
        ask=f"{L} blocks of LayerNorm (scale and shift), Linear {d} to {4 * d} and Linear {4 * d} to {d}, both with "
        "bias. Whatever has two axes decays. How many parameters decay?",
        given=dict(L=L, d=d),
        answer=8 * L * d * d,
        unit="parameters",
        traps={"biases too": 8 * L * d * d + 5 * L * d, "all": 8 * L * d * d + 7 * L * d, "one matrix": 4 * L * d * d},
        hints=("Only the two matrices of each of the L blocks have two axes.", "8 · L · d^2"),
        why="Biases and norms are a small part of the parameters. Matrices decide how steep the function is.",
    )


@decayed_parameters.second
def _(L, d):
    from math import prod

    shapes = [(d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)] * L
    return sum(prod(shape) for shape in shapes if len(shape) >= 2)


@question(topic="training.decay_groups", level=2, source="minGPT and nanoGPT, configure_optimizers", readme="dl_002/6")
def names_that_decay(draw):
    n = draw.between(2, 30)
    axes = draw.shuffled([("emb.weight", 2), (f"h{n}.fc.weight", 2), (f"h{n}.fc.bias", 1), (f"h{n}.norm.weight", 1)])
    code = draw("nano", "mini")
    rule = "axes >= 2" if code == "nano" else "axes >= 2 and 'emb' not in name"
    matrices = [name for name, count in axes if count >= 2]
    no_embedding = [name for name in matrices if "emb" not in name]
    return Predict(
        ask="Parameters by name, with their number of axes. Which ones decay here?",
        code=f"""
axes = {dict(axes[:2])}
axes |= {dict(axes[2:])}
print([name for name, axes in axes.items()
       if {rule}])
""",
        answer=str(matrices if code == "nano" else no_embedding),
        traps={
            "embedding mistaken": str(no_embedding if code == "nano" else matrices),
            "by the name weight": str([name for name, _ in axes if name.endswith("weight")]),
            "those that do not": str([name for name, count in axes if count < 2]),
        },
        hints=("A norm's scale is called weight, and has one axis.", "the number of axes, then the name"),
        why="nanoGPT decays all that has two axes, minGPT leaves embeddings out. A norm's weight is a vector.",
    )


@question(topic="training.decay_groups", level=2, source="Loshchilov 2019; Xiong 2020", readme="dl_002/6")
def norm_that_decays(draw):
    rate, decay, n = draw(1e-3, 6e-4, 3e-4), draw(0.05, 0.1), draw(5_000, 10_000, 20_000)
    return Number(
        ask=f"A scale of a norm is 1, its gradient is 0, and AdamW decays it: rate {rate:g}, decay {decay:g}. What is "
        f"it after {n} steps?",
        given=dict(rate=rate, decay=decay, n=n),
        answer=(1 - rate * decay) ** n,
        traps={"the rate forgotten": (1 - decay) ** n, "not decayed": 1.0, "one straight line": 1 - rate * decay * n},
        hints=("Each step multiplies by 1 less rate times decay.", "(1 - rate · decay)^n"),
        why="Decay pulls a scale towards 0, which switches its channel off. So norms stand in the group without decay.",
    )


@norm_that_decays.second
def _(rate, decay, n):
    scale = 1.0
    for _step in range(n):
        scale -= rate * decay * scale
    return scale


@question(topic="training.early_stopping", level=1, source="Prechelt 1998, section 2", readme="dl_002/7")
def epoch_that_stops(draw):
    down, patience = draw.between(4, 12), draw(2, 3, 4, 5)
    bump = draw.between(1, patience - 1)
    fall = draw.between(2, 4)
    last = down + bump + fall
    return Number(
        ask=f"The validation loss improves for {down} epochs, is worse for {bump}, beats all before for {fall}, and "
        f"then gets worse for good. Patience {patience}. After which epoch, counted from 1, does it stop?",
        given=dict(down=down, bump=bump, fall=fall, patience=patience),
        answer=down + bump + fall + patience,
        unit="",
        traps={
            "the best epoch": last,
            "one epoch too late": last + patience + 1,
            "waits added up": last + patience - bump,
        },
        hints=("When was the last improvement? From there, patience epochs.", "down + bump + fall + patience"),
        why="An improvement sets the count back to 0. The weights to keep are those of the best epoch, not the last.",
    )


@epoch_that_stops.second
def _(down, bump, fall, patience):
    losses = [100.0 - i for i in range(down)] + [200.0] * bump + [50.0 - i for i in range(fall)] + [300.0] * 99
    best, best_at = float("inf"), 0
    for epoch, loss in enumerate(losses, 1):
        if loss < best:
            best, best_at = loss, epoch
        if epoch - best_at == patience:
            return epoch
    return None


@question(topic="training.early_stopping", level=2, source="Prechelt 1998, section 2", readme="dl_002/7")
def line_of_early_stopping(draw):
    top = draw.between(12, 60)
    values = f"[{top}, {top - 3}, {top - 2}, {top - 6}, NAN, {top - 4}, {top - 5}, {top - 9}]"
    wrong, mended = draw(
        ("        if not value >= best:", "        if value < best:"),
        ("        if waited > patience:", "        if waited >= patience:"),
        ("            best = value", "            best, waited = value, 0"),
    )
    code = f"""
def stop(values, patience):
    best, waited = float("inf"), 0
    for epoch, value in enumerate(values, 1):
        if value < best:
            best, waited = value, 0
        else:
            waited += 1
        if waited >= patience:
            break
    return epoch, best
print(stop({values.replace("NAN", "float('nan')")}, 3))
"""
    return Bug(
        ask="Training stops after three values in a row that do not improve. A value may be NaN. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str((7, top - 6)),
        traps={
            "the start is right": '    best, waited = float("inf"), 0',
            "counts one": "            waited += 1",
            "the best is returned": "    return epoch, best",
        },
        hints=(
            "Every comparison with NaN is False. When does the count start anew?",
            "improved: value < best, count 0; stop: count >= patience",
        ),
        why="NaN must not pass as an improvement, slow and lucky values must set the count back, and patience is the "
        "number of misses that are borne.",
    )


@question(topic="training.checkpoint", level=1, source="Rajbhandari 2020, ZeRO, section 3.1", readme="dl_002/8")
def bytes_of_a_checkpoint(draw):
    P, best = draw(25, 86, 124, 350, 774, 1300), draw(True, False)
    copies = 4 if best else 3
    extra = ", with a copy of the best weights so far" if best else ""
    return Number(
        ask=f"{P} million parameters in float32, trained with Adam{extra}. How many bytes does a checkpoint take "
        "from which the run can go on, small things left out?",
        given=dict(P=P, copies=copies),
        answer=4e6 * P * copies,
        unit="B",
        traps={
            "weights alone": 4e6 * P,
            "gradients too": 4e6 * P * (copies + 1),
            "one moment": 4e6 * P * (copies - 1),
        },
        hints=("Weights, Adam's states for each of them, and what else is copied.", "4 · 10^6 · P · copies"),
        why="Adam keeps two moments for each weight. Gradients are not kept: after a step they are made anew.",
    )


@bytes_of_a_checkpoint.second
def _(P, copies):
    import numpy as np

    kept = ["weights", "first moment", "second moment", "best weights"][:copies]
    return sum(np.float32(0).nbytes * P * 1e6 for _one in kept)


@question(topic="training.checkpoint", level=2, source="PyTorch, saving and loading a checkpoint", readme="dl_002/8")
def what_a_lost_state_changes(draw):
    lost = draw("the dropout's random state", "Adam's moments", "early stopping's best value", "the place in the data")
    first, second, late = "the loss of the first batch", "the loss of the second batch", "only when it stops"
    answer = {"the dropout's random state": first, "Adam's moments": second, "the place in the data": first}
    right = answer.get(lost, late)
    readers = {"read by the forward pass": first, "read by the step": second, "read by stopping": late}
    return Choice(
        ask=f"A checkpoint lacks {lost}, and has all the rest. After resuming, what is the first that differs from the "
        "run that was not cut?",
        given=dict(lost=lost),
        answer=right,
        traps={name: one for name, one in readers.items() if one != right},
        hints=("At which moment of a step is it read?", "forward, then step, then the check for stopping"),
        why="A forward pass reads weights, data and random numbers; the step reads the optimizer's states; stopping "
        "reads its best value at the end of an epoch.",
    )


@what_a_lost_state_changes.second
def _(lost):
    def run(cut):
        w, moment, noise, place, best, losses = 5.0, 2.0, 7, 3, 1.0, []
        if cut:
            moment = 0.0 if "Adam" in lost else moment
            noise = 0 if "random" in lost else noise
            place = 0 if "place" in lost else place
            best = 99.0 if "best" in lost else best
        for _batch in range(2):
            losses.append(w * (1 + place) + noise)
            moment = 0.9 * moment + 0.1 * losses[-1]
            w, noise, place = w - moment / 10, noise * 3 + 1, place + 1
        return [*losses, losses[-1] < best]

    names = "the loss of the first batch", "the loss of the second batch", "only when it stops"
    return next(name for name, a, b in zip(names, run(False), run(True), strict=True) if a != b)


@question(topic="training.checkpoint", level=2, source="PyTorch, DistributedSampler", readme="dl_002/9")
def place_in_the_data(draw):
    n, b = draw.between(50, 400), draw(8, 16, 32)
    batches = ceil(n / b)
    step = draw.between(2, 9) * batches + draw.between(1, batches - 1)
    return Predict(
        ask=f"{n} examples, batches of {b}, the last may be short. A run is resumed after {step} batches. In which "
        "epoch is it, and at which batch of it?",
        code=f"""
from math import ceil
print(divmod({step}, ceil({n} / {b})))
""",
        answer=str(divmod(step, batches)),
        traps={
            "the short batch forgotten": str(divmod(step, n // b)),
            "counted from 1": str((step // batches + 1, step % batches)),
            "examples counted": str(divmod(step, n)),
        },
        hints=("How many batches has one epoch?", "divmod(step, ⌈n / b⌉)"),
        why="If the order is a pure function of seed and epoch, these two numbers are the place: the rest is a slice.",
    )


@question(topic="distributed.checkpointing", level=2, source="Chen 2016, section 4.1", readme="dl_002/10")
def tensors_with_segments(draw):
    s, k, size = draw(4, 6, 8, 12, 16), draw(2, 3, 4), draw(3, 4, 6, 8)
    return Number(
        ask=f"{s * size} blocks that keep {k} tensors each for the backward pass, in {s} equal checkpointed segments. "
        "How many tensors are kept at most, the inputs of all segments among them?",
        given=dict(s=s, k=k, size=size),
        answer=s + k * size,
        unit="tensors",
        traps={"no checkpoints": k * s * size, "inputs alone": s, "one tensor a block": s + size},
        hints=("One input for each segment, and all tensors of the one that runs again.", "s + k · size"),
        why="Only one segment at a time is computed again. The price is one more forward pass, whatever the number of "
        "segments.",
    )


@tensors_with_segments.second
def _(s, k, size):
    most = 0
    for _segment in range(s):
        kept = ["input"] * s
        for _block in range(size):
            kept += ["tensor"] * k
        most = max(most, len(kept))
    return most


@question(topic="distributed.checkpointing", level=2, source="Chen 2016, section 4.1", readme="dl_002/10")
def best_number_of_segments(draw):
    L, k = draw(24, 32, 48, 64, 80, 96, 128), draw(2, 3, 4, 6, 8)
    return Number(
        ask=f"{L} blocks keep {k} tensors each; with s segments one keeps s inputs and one segment's tensors. For "
        "which s is the sum smallest? It need not be whole.",
        given=dict(L=L, k=k),
        answer=sqrt(k * L),
        unit="segments",
        traps={"tensors of a block forgotten": sqrt(L), "half the blocks": L / 2, "on the wrong side": sqrt(L / k)},
        hints=("The sum of s and k·L/s is smallest where both are equal.", "sqrt(k · L)"),
        why="Memory grows with the root of the depth. Parameters, gradients and the optimizer's states are not saved.",
    )


@best_number_of_segments.second
def _(L, k):
    low, high = 1e-3, float(k * L)  # where one more segment begins to cost more than it saves
    for _halving in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if k * L / middle**2 > 1 else (low, middle)
    return low


@question(topic="distributed.checkpointing", level=2, source="PyTorch, torch.utils.checkpoint", readme="dl_002/11")
def statistics_that_move_twice(draw):
    mean, runs = 8 * draw.between(2, 40), draw(1, 2, 3)
    after = [mean * (1 - 0.5 ** (2 * i + 2)) for i in range(runs)]
    once = [mean * (1 - 0.5 ** (i + 1)) for i in range(runs)]
    return Predict(
        ask=f"A block with batch norm is checkpointed, steps: {runs}. Its running mean moves half the way at each "
        "pass. What is printed?",
        code=f"""
running = 0.0
for step in range({runs}):
    for run in ("forward", "again, for the backward pass"):
        running += 0.5 * ({mean} - running)
    print(running)
""",
        answer="\n".join(map(str, after)),
        traps={
            "moved once a step": "\n".join(map(str, once)),
            "moved all the way": "\n".join([str(float(mean))] * runs),
        },
        hints=("How often does the block run in a step?", "mean · (1 - 0.5^(2 · step))"),
        why="Whatever a block changes happens again when it is recomputed. Random numbers are its twin: their state "
        "has to be put back, or another dropout mask is drawn.",
    )
