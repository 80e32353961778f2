"""Questions on learning-rate schedules whose numbers change: `grader drill --topic schedule.decay`."""

from math import cos, pi, sqrt

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="schedule.decay", level=1, source="Loshchilov 2016, equation 5", readme="dl_007/3")
def rate_of_a_cosine(draw):
    m, f, t = draw(1e-3, 3e-4), draw(0.0, 1e-5, 5e-5), draw(25, 30, 60, 75, 90)
    return Number(
        ask=f"A cosine from {m:g} to {f:g}. What is the rate after {t} % of the steps?",
        given=dict(m=m, f=f, t=t / 100),
        answer=f + (m - f) * (1 + cos(pi * t / 100)) / 2,
        traps={
            "a straight line": f + (m - f) * (1 - t / 100),
            "half a cosine": m * cos(pi * t / 200),
            "the floor added": m * (1 + cos(pi * t / 100)) / 2 + 2 * f + 1e-6,
        },
        hints=("From the top to the floor along half of a wave.", "f + (m - f) · (1 + cos(π · t)) / 2"),
        why="It falls slowly at both ends and fast in the middle, where it is halfway between top and floor.",
    )


@rate_of_a_cosine.second
def _(m, f, t):
    return f + (m - f) * cos(pi * t / 2) ** 2


@question(topic="schedule.decay", level=2, source="torch, MultiStepLR", readme="dl_007/2")
def drops_so_far(draw):
    at = sorted(draw.sample(range(10, 95), 3))
    start, epoch, g = draw(0.1, 0.5, 0.8), draw.between(5, 98), draw(0.1, 0.5, 0.2)
    drops = sum(epoch >= one for one in at)
    return Number(
        ask=f"The rate {start:g} is multiplied by {g:g} at epochs {at[0]}, {at[1]} and {at[2]}, counted from 0. What "
        f"is it in epoch "
        f"{epoch}?",
        given=dict(start=start, at=at, epoch=epoch, g=g),
        answer=start * g**drops,
        within=0.001,
        traps={
            "a drop too few": start * g ** (drops - 1),
            "a drop too many": start * g ** (drops + 1),
            "divided": start / g**drops if drops else start / g**2,
        },
        hints=("How many of the epochs are reached?", "start · g^(drops so far)"),
        why="A rate that is computed from the epoch needs no memory. One that is multiplied on the way has to be "
        "resumed "
        "with what was already dropped.",
    )


@drops_so_far.second
def _(start, at, epoch, g):
    rate = start
    for now in range(epoch + 1):
        if now in at:
            rate *= g
    return rate


@question(topic="schedule.inverse_sqrt", level=1, source="Vaswani 2017, section 5.3", readme="dl_007/5")
def peak_of_noam(draw):
    d, w = draw(256, 512, 1024, 2048), draw(4000, 8000, 10_000)
    return Number(
        ask=f"The Transformer's schedule, width {d}, {w} steps of warm-up. What is its largest rate?",
        given=dict(d=d, w=w),
        answer=1 / sqrt(d * w),
        traps={
            "the width forgotten": 1 / sqrt(w),
            "warm-up not under a root": 1 / (sqrt(d) * w),
            "width not under a root": 1 / (d * sqrt(w)),
        },
        hints=("Both branches meet at the end of the warm-up.", "1 / sqrt(d · w)"),
        why="The rate falls with the width, and its height hangs on the length of the warm-up: one number for two "
        "things, "
        "which is why it fell out of use.",
    )


@peak_of_noam.second
def _(d, w):
    return max(d**-0.5 * min(step**-0.5, step * w**-1.5) for step in (w - 1, w, w + 1))


@question(topic="schedule.inverse_sqrt", level=2, source="Vaswani 2017, section 5.3", readme="dl_007/5")
def later_step(draw):
    w, k = draw(3600, 7200, 14_400), draw(4, 9, 16, 25)
    step = draw(w * k, w // k)
    return Number(
        ask=f"An inverse square root with {w} steps of warm-up, peak 1. What is the rate at step {step}?",
        given=dict(w=w, step=step),
        answer=min(step / w, sqrt(w / step)),
        within=0.001,
        traps={
            "no root": min(step, w) / max(step, w) if step > w else sqrt(step / w),
            "the peak": 1.0,
            "upside down": max(step, w) / min(step, w),
        },
        hints=("Up to the warm-up in a line, then with the root of the step.", "min(step / w, sqrt(w / step))"),
        why="After four times the warm-up it is halved, after sixteen times a quarter: the tail is long.",
    )


@later_step.second
def _(w, step):
    if step <= w:
        return step / w
    return (step / w) ** -0.5


@question(topic="schedule.warmup", level=1, source="Goyal 2017, section 2.2", readme="dl_007/1", seed="001/15")
def rate_in_warmup(draw):
    w, s, m = draw(1000, 2000, 4000), draw(100, 250, 500, 999), draw(1e-3, 6e-4)
    return Number(
        ask=f"Linear warm-up over {w} steps to {m:g}, 0 at step 0. What is the rate at step {s}?",
        given=dict(w=w, s=s, m=m),
        answer=m * s / w,
        within=0.001,
        traps={"warm already": m, "squared": m * (s / w) ** 2, "what is missing": m * (1 - s / w)},
        hints=("A straight line from 0.", "m · s / w"),
        why="In the first steps Adam's second moment rests on a few gradients, and norms are far from settled: large "
        "steps "
        "would do harm.",
    )


@rate_in_warmup.second
def _(w, s, m):
    return sum(m / w for _step in range(s))


@question(topic="schedule.warmup", level=2, source="Goyal 2017, section 2.2", readme="dl_007/1")
def work_lost_to_warmup(draw):
    w, n = draw(100, 200, 500, 1000), draw(2000, 5000, 10_000)
    shape = draw("linear", "constant at a tenth")
    share = w / 2 / n if shape == "linear" else 0.9 * w / n
    return Number(
        ask=f"A constant rate over {n} steps, the first {w} of which are warm-up, "
        f"{shape if shape != 'linear' else 'linear from 0'}. "
        "Which share of the sum of all rates is lost against no warm-up?",
        given=dict(w=w, n=n, shape=shape),
        answer=100 * share,
        unit="%",
        traps={
            "all of the warm-up": 100 * w / n,
            "the other shape": 100 * (0.9 * w / n if shape == "linear" else w / 2 / n),
            "what is left of it": 100 * (w / n - share) if shape != "linear" else 100 * w / n / 3,
        },
        hints=("The area between the rate and its top, over the whole area.", "100 · lost rate · steps of warm-up / n"),
        why="A line loses half of its steps. At usual lengths that is little: warm-up is cheap insurance.",
    )


@work_lost_to_warmup.second
def _(w, n, shape):
    import numpy as np

    steps = np.arange(100 * n) / 100 + 0.005
    rates = np.where(steps < w, steps / w if shape == "linear" else 0.1, 1.0)
    return float(100 * (1 - rates.mean()))


@question(topic="schedule.restarts", level=1, source="Loshchilov 2016, section 3", readme="dl_007/4")
def begin_of_a_cycle(draw):
    T, m, k = draw(5, 8, 10, 16), draw(2, 3), draw(3, 4, 5)
    return Number(
        ask=f"Warm restarts: the first cycle has {T} epochs, each next one {m} times as many. In which epoch, counted "
        f"from 0, does "
        f"cycle {k} begin (the first is cycle 1)?",
        given=dict(T=T, m=m, k=k),
        answer=T * (m ** (k - 1) - 1) // (m - 1),
        traps={
            "equal cycles": T * (k - 1),
            "one cycle further": T * (m**k - 1) // (m - 1),
            "its own length": T * m ** (k - 1),
        },
        hints=("Add the lengths of the cycles before it.", "T · (m^(k - 1) - 1) / (m - 1)"),
        why="The last cycle is longer than all before it together, for m = 2 by one first cycle: stop at its end.",
    )


@begin_of_a_cycle.second
def _(T, m, k):
    epoch, length = 0, T
    for _cycle in range(k - 1):
        epoch, length = epoch + length, length * m
    return epoch


@question(topic="schedule.restarts", level=2, source="Loshchilov 2016, section 3", readme="dl_007/4")
def rates_of_two_cycles(draw):
    T, m = draw(2, 4), draw(1, 2, 3)
    start = draw(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)

    def rate(epoch):
        length = T
        while epoch >= length:
            epoch, length = epoch - length, length * m
        return round(start * (1 + cos(pi * epoch / length)) / 2, 3) + 0.0

    places = [0, T // 2, T, T + T * m // 2]
    return Predict(
        ask="A cosine with warm restarts, from its top to 0. What is printed?",
        code=f"""
from math import cos, pi
def rate(epoch, length={T}):
    while epoch >= length:
        epoch, length = epoch - length, length * {m}
    return {start} * (1 + cos(pi * epoch / length)) / 2
print(*[round(rate(epoch), 3) for epoch in {places}])
""",
        answer=" ".join(str(rate(one)) for one in places),
        traps={
            "no restart": " ".join(str(round(start * max(0.0, 1 - i / 3), 3)) for i in range(4)),
            "the top alone": " ".join([str(start)] * 4),
        },
        hints=("At the end of a cycle the rate is back at the top.", "top, half of it, top, half of it"),
        why="The rate jumps up, and what was found is left again: models from the ends of cycles differ, and may be "
        "averaged.",
    )


@question(topic="schedule.plateau", level=1, source="torch, ReduceLROnPlateau", readme="dl_007/8")
def epoch_of_the_drop(draw):
    patience, first = draw(1, 2, 3, 4), draw(9, 8, 7)
    falls = draw.between(2, 6)
    losses = [first - 0.5 * i for i in range(falls)]
    low = losses[-1]
    losses += [low + 0.1 * draw.between(0, 4) for _ in range(patience + 2)]
    return Number(
        ask=f"torch's ReduceLROnPlateau, patience {patience}, threshold 0, smaller is better. Losses by epoch, from 0: "
        f"{', '.join(f'{one:g}' for one in losses)}. After which epoch is the rate first lowered?",
        given=dict(losses=losses, patience=patience, falls=falls),
        answer=falls + patience,
        traps={
            "patience reached, not passed": falls + patience - 1,
            "counted from the best": patience + 1,
            "the last epoch": len(losses) - 1,
        },
        hints=("Count the epochs without a new best; more than the patience of them are needed.", "falls + patience"),
        why="Patience is how many bad epochs are borne. An epoch that equals the best is bad too, and a threshold "
        "makes "
        "small gains bad.",
    )


@epoch_of_the_drop.second
def _(losses, patience, falls):
    best, bad = float("inf"), 0
    for epoch, loss in enumerate(losses):
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad > patience:
            return epoch
    return None


@question(topic="schedule.plateau", level=2, source="torch, ReduceLROnPlateau", readme="dl_007/8")
def is_it_better(draw):
    best, new = draw((2.0, 1.985), (1.0, 0.995), (4.0, 3.97), (1.0, 0.985), (2.0, 1.9))
    mode, threshold = draw("rel", "abs"), draw(0.01, 0.02)
    limit = best * (1 - threshold) if mode == "rel" else best - threshold
    yes, no = "it is a new best", "it is a bad epoch"
    return Choice(
        ask=f"ReduceLROnPlateau, smaller is better, threshold_mode {mode}, threshold {threshold:g}. The best loss is "
        f"{best:g}; now it "
        f"is {new:g}. What does the scheduler say?",
        given=dict(best=best, new=new, mode=mode, threshold=threshold),
        answer=yes if new < limit else no,
        traps={
            "any gain counts" if new >= limit else "gains are too small": no if new < limit else yes,
            "the rate falls at once": "the rate is lowered now",
        },
        hints=("Relative to the best, or as a difference?", "new < best · (1 - t), or new < best - t"),
        why="A loss near 0 with a relative threshold, or a large one with an absolute, can make every epoch bad, or "
        "none.",
    )


@is_it_better.second
def _(best, new, mode, threshold):
    gain = best - new
    enough = gain / best > threshold if mode == "rel" else gain > threshold
    return "it is a new best" if enough else "it is a bad epoch"


@question(topic="schedule.wsd", level=1, source="Hu 2024, section 4", readme="dl_007/7")
def rate_in_the_cooldown(draw):
    f, t = draw(0.1, 0.2, 0.25), draw(0.82, 0.92, 0.95, 0.97)
    return Number(
        ask=f"Warm-up, stable, decay: the last {100 * f:g} % of the steps fall in a line to 0. Which share of the "
        f"peak is the rate "
        f"after {100 * t:g} % of the steps?",
        given=dict(f=f, t=t),
        answer=100 * min(1.0, (1 - t) / f),
        unit="%",
        within=0.002,
        traps={
            "over all steps": 100 * (1 - t),
            "a cosine over all": 50 * (1 + cos(pi * t)),
            "what has fallen": 100 * (1 - min(1.0, (1 - t) / f)) + 0.1,
        },
        hints=("What is left of the steps, over the length of the fall.", "100 · (1 - t) / f, at most 100"),
        why="The plateau does not know how long the run will be: one run can be cooled down at several lengths.",
    )


@rate_in_the_cooldown.second
def _(f, t):
    import numpy as np

    return float(100 * np.interp(t, [0.0, 1 - f, 1.0], [1.0, 1.0, 0.0]))


@question(topic="schedule.wsd", level=2, source="Hägele 2024, section 3", readme=("dl_007/3", "dl_007/7"))
def stopped_early(draw):
    stop, f = draw(50, 60, 65, 70, 75, 80), draw(5, 10, 15)
    names = {
        f"WSD, stopped at {stop} %": 1.0,
        f"cosine, stopped at {stop} %": (1 + cos(pi * stop / 100)) / 2,
        f"a line to 0, stopped at {stop} %": 1 - stop / 100,
        "any of them at its end": 0.0,
    }
    order = sorted(names, key=lambda name: -names[name])
    if stop == 50:
        names.pop(f"cosine, stopped at {stop} %")
        order = sorted(names, key=lambda name: -names[name])
    return Order(
        ask=f"A run is planned for 100 % of its steps, with no warm-up; WSD cools down in the last {f} %. Who has the "
        f"highest rate "
        "at that point? Highest first.",
        given=dict(stop=stop, f=f),
        answer=order,
        traps={"lowest first": order[::-1], "the plateau forgotten": [*order[1:], order[0]]},
        hints=("Where is each on its way down?", "1, (1 + cos(π t)) / 2, 1 - t, 0"),
        why="A cosine that is stopped early never had its fall, and its length cannot be changed afterwards. A "
        "plateau can "
        "still be cooled down.",
    )


@stopped_early.second
def _(stop, f):
    import numpy as np

    t = stop / 100
    rates = {f"WSD, stopped at {stop} %": np.interp(t, [1 - f / 100, 1], [1, 0]), "any of them at its end": 0.0}
    rates[f"a line to 0, stopped at {stop} %"] = np.interp(t, [0, 1], [1, 0])
    if stop != 50:
        rates[f"cosine, stopped at {stop} %"] = np.cos(np.pi * t / 2) ** 2
    return sorted(rates, key=lambda name: rates[name], reverse=True)


@question(topic="schedule.batch", level=1, source="Goyal 2017, section 2.1", readme="dl_007/10")
def larger_batch(draw):
    b, k, lr = draw(128, 256, 512), draw(4, 8, 16), draw(0.1, 0.05, 0.4)
    rule = draw("linear rule", "square-root rule")
    by = {"linear rule": lr * k, "square-root rule": lr * sqrt(k)}
    return Number(
        ask=f"The batch grows from {b} to {b * k}; the rate was {lr:g}. What is it by the {rule}?",
        given=dict(b=b, k=k, lr=lr, rule=rule),
        answer=by[rule],
        traps={
            "the other rule": by["linear rule" if rule != "linear rule" else "square-root rule"],
            "unchanged": lr,
            "divided": lr / k,
        },
        hints=("By the factor of the batch, or by its root.", "lr · k, or lr · sqrt(k)"),
        why="For SGD, k small steps are about one that is k times as long. For Adam the root of the factor is nearer, "
        "and both end where noise no longer rules.",
    )


@larger_batch.second
def _(b, k, lr, rule):
    if rule == "linear rule":
        return sum(lr for _small in range(k))
    return (lr * lr * (b * k) / b) ** 0.5


@question(topic="schedule.batch", level=2, source="Goyal 2017, section 2.1", readme="dl_007/10")
def steps_of_an_epoch(draw):
    n, b, k = draw(50_000, 60_000, 1_281_167), draw(128, 256), draw(2, 4, 8)
    w = draw(2, 5)
    return Number(
        ask=f"{n} samples, batch {b}, warm-up of {w} epochs, no batch dropped. The batch grows {k}-fold. How many "
        "steps does the warm-up have now?",
        given=dict(n=n, b=b, k=k, w=w),
        answer=w * -(-n // (b * k)),
        unit="steps",
        traps={
            "as many as before": w * -(-n // b),
            "the last batch dropped": w * (n // (b * k)),
            "one epoch": -(-n // (b * k)),
        },
        hints=("Steps of an epoch with the new batch, rounded up.", "w · ⌈n / (b · k)⌉"),
        why="A schedule that counts steps has to be made anew when the batch changes: the old one would end late, or "
        "never.",
    )


@steps_of_an_epoch.second
def _(n, b, k, w):
    return w * len(range(0, n, b * k))


@question(topic="schedule.state", level=1, source="torch, lr_scheduler", readme="dl_007/9")
def steps_after_resuming(draw):
    saved, more = draw.between(20, 400), draw.between(10, 300)
    w, case = draw(500, 1000, 2000), draw("with", "without")
    return Number(
        ask=f"Linear warm-up over {w} steps to 1. A run stops after {saved} steps; model and optimizer are loaded, "
        f"the scheduler {case} its state. Which rate does the scheduler set {more} steps later?",
        given=dict(saved=saved, more=more, w=w, case=case),
        answer=(saved * (case == "with") + more) / w,
        within=0.002,
        traps={
            "begun anew" if case == "with" else "loaded after all": (saved * (case != "with") + more) / w,
            "frozen where it stopped": saved / w,
            "warm already": 1.0,
        },
        hints=("Does the scheduler know how many steps there were?", "(steps it knows of) / w"),
        why="A scheduler counts. Without its state it warms up again, at rates that are too small for where the run "
        "is.",
    )


@steps_after_resuming.second
def _(saved, more, w, case):
    count = saved if case == "with" else 0
    for _step in range(more):
        count += 1
    return count / w


@question(topic="schedule.state", level=2, source="torch, lr_scheduler", readme=("dl_007/2", "dl_007/9"))
def pure_schedule(draw):
    step, w = draw("step", "n", "t"), draw("warmup", "w")
    return Blank(
        ask=f"A linear warm-up, from 0 at first to 1 after `{w}` steps. It is a function of `{step}` alone, so that "
        "nothing of it has to be saved. What is missing?",
        code=f"def rate({step}, {w}):\n    return ____ if {step} < {w} else 1.0",
        given={step: draw.between(2, 9), w: draw.between(20, 30)},
        answer=f"{step} / {w}",
        traps={
            "upside down": f"{w} / {step}",
            "what is missing": f"1 - {step} / {w}",
            "one step ahead": f"({step} + 1) / {w}",
        },
        hints=("0 at the beginning, 1 at the end, a line between.", "the step over the length"),
        why="Computed from the step, a rate is right after every restart. Multiplied on from the last one, it needs a "
        "state.",
    )


@pure_schedule.second
def _(**given):
    step, w = given.values()
    return sum(1 / w for _ in range(step))


@question(topic="schedule.decay", level=2, source="Smith 2018, section 2", readme="dl_007/6")
def wrong_line_of_one_cycle(draw):
    n = draw(10, 20, 40)
    wrong, mended = draw(
        ("    up = step / n", "    up = step / peak"),
        ("    down = (step - peak) / n", "    down = (step - peak) / (n - peak)"),
        ("    return (1 - down, 0.85 - 0.1 * down)", "    return (1 - down, 0.85 + 0.1 * down)"),
    )
    code = f"""
def one_cycle(step, n, peak):
    if step <= peak:
        up = step / peak
        return (up, 0.95 - 0.1 * up)
    down = (step - peak) / (n - peak)
    return (1 - down, 0.85 + 0.1 * down)
for step in (0, {n // 2}, {n // 2 + n // 4}, {n}):
    print(*[round(one, 3) + 0.0 for one in one_cycle(step, {n}, {n // 2})])
"""

    def cycle(step):
        up = min(step, n - step) / (n // 2)
        if step > n // 2:
            up = 1 - (step - n // 2) / (n - n // 2)
        return f"{round(up, 3) + 0.0} {round(0.95 - 0.1 * up, 3)}"

    return Bug(
        ask="Rate and momentum of one cycle: the rate rises to 1 and falls to 0, the momentum goes from 0.95 to 0.85 "
        "and back. Which "
        "line is wrong?",
        code=code.replace(mended.replace("    up", "        up"), wrong.replace("    up", "        up")),
        answer=wrong.replace("    up", "        up"),
        mended=mended.replace("    up", "        up"),
        prints="\n".join(cycle(step) for step in (0, n // 2, n // 2 + n // 4, n)),
        traps={"the way up": "        return (up, 0.95 - 0.1 * up)", "the top itself": "    if step <= peak:"},
        hints=(
            "Each way is measured by its own length, and both numbers come back.",
            "step / peak, (step - peak) / (n - peak)",
        ),
        why="Momentum stretches a step by 1 / (1 - m). Where the rate is high it is lowered, so that the two do not "
        "add up.",
    )
