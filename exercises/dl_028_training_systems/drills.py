"""Questions on training systems whose numbers change: `grader drill --topic distributed.state`."""

from math import log, sqrt

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="distributed.hardware", level=2, source="Williams 2009, section 3", readme="dl_028/1")
def rows_until_the_peak(draw):
    name, peak, bandwidth = draw(
        ("a TPU v5e", 197, 819),
        ("an A100", 312, 2039),
        ("an H100", 989, 3350),
        ("an L4", 121, 300),
        ("a V100", 125, 900),
        ("an A10", 125, 600),
    )
    return Number(
        ask=f"{name[0].upper()}{name[1:]}: {peak} · 10¹² FLOP/s, {bandwidth} · 10⁹ B/s. A batch of rows meets a "
        f"large matrix of 16-bit weights; only the "
        "weights are read. From how many rows on does the chip no longer wait for its memory?",
        given=dict(peak=peak, bandwidth=bandwidth),
        answer=1000 * peak / bandwidth,
        unit="rows",
        traps={
            "a multiplication and addition as one": 2000 * peak / bandwidth,
            "a byte a weight": 500 * peak / bandwidth,
        },
        hints=("Each weight of 2 B serves two FLOPs a row.", "1000 · peak / bandwidth"),
        why="FLOPs for each byte must reach peak over bandwidth. In 16 bits a row has an intensity of one, so the "
        "rows are "
        "that ratio.",
    )


@rows_until_the_peak.second
def _(peak, bandwidth):
    low, high = 0.0, 1e5
    for _cut in range(100):
        rows = (low + high) / 2
        seconds_work, seconds_memory = 2 * rows / (peak * 1e12), 2 / (bandwidth * 1e9)  # of one weight
        low, high = (rows, high) if seconds_work < seconds_memory else (low, rows)
    return low


@question(topic="attention.flash_versions", level=2, source="Dao 2023, section 3", readme=("dl_028/2", "dl_028/3"))
def share_of_the_traffic(draw):
    r, d = draw(64, 96, 128, 192, 256, 512), draw(32, 64)
    return Number(
        ask=f"Attention in tiles of {r} queries reads keys and values, {d} wide, once for each tile, and writes no "
        "scores. Plain attention writes and reads its scores, and its weights. Long sequences: which share of these "
        "numbers is still moved?",
        given=dict(r=r, d=d),
        answer=100 * (2 * d / r) / 4,
        unit="%",
        traps={
            "keys alone": 100 * d / r / 4,
            "scores written once": 100 * 2 * d / r,
            "tiles of one query": 100 * 2 * d / 4,
        },
        hints=("For each query and key: 2 · d / r against four.", "100 · (2 · d / r) / 4"),
        why="Larger tiles read keys less often, and must fit on the chip. The width enters as well: wide heads save "
        "less.",
    )


@share_of_the_traffic.second
def _(r, d):
    t = s = 8 * r
    tiled = sum(s * d for _tile in range(t // r) for _what in ("keys", "values"))
    plain = sum(t * s for _what in ("scores written", "scores read", "weights written", "weights read"))
    return 100 * tiled / plain


@question(topic="distributed.checkpointing", level=2, source="Chen 2016, section 4.1", readme="dl_028/4")
def layers_alive(draw):
    k = draw.between(3, 12)
    n = k * k
    return Number(
        ask=f"{n} equal layers in {k} segments, each recomputed as a whole; the input of each segment is kept. How "
        f"many results of "
        "layers are alive at most in backward: kept ones, and those of one segment?",
        given=dict(n=n, k=k),
        answer=k + n // k,
        unit="results",
        traps={"nothing recomputed": n, "one segment alone": n // k, "a half of them": n // 2},
        hints=("An input for each segment, and the layers of one segment.", "k + n / k"),
        why="With as many segments as layers in each, the sum is least: twice the root of their number, not a fixed "
        "share.",
    )


@layers_alive.second
def _(n, k):
    kept, most = list(range(0, n, n // k)), 0
    for segment in reversed(range(k)):
        inside = [layer for layer in range(n) if layer // (n // k) == segment]
        most = max(most, len(kept) + len(inside))
        kept = kept[:segment] + kept[segment:]
    return most


@question(topic="distributed.checkpointing", level=3, source="Chen 2016, section 4.2", readme="dl_028/5")
def best_cut(draw):
    sizes = [draw(1, 2, 4, 8) for _ in range(5)]
    cut = draw(1, 2, 3)
    kept, left, right = sizes[cut], sum(sizes[:cut]), sum(sizes[cut + 1 :])
    return Number(
        ask=f"Five layers' results are {', '.join(map(str, sizes))} GB. The one at place {cut + 1} is kept; the runs "
        f"before and behind "
        "it are recomputed, each as a whole. What is the peak?",
        given=dict(sizes=sizes, cut=cut),
        answer=kept + max(left, right),
        unit="GB",
        traps={
            "both runs at once": sum(sizes),
            "the kept one forgotten": max(left, right),
            "the smaller run": kept + min(left, right),
        },
        hints=("What is kept, and the larger of the two runs.", "kept + max(before, behind)"),
        why="Keep what is small, where the sides are even: each possible limit of a run gives the cheapest cuts from "
        "left to "
        "right.",
    )


@best_cut.second
def _(sizes, cut):
    alive = []
    for run in (range(cut), range(cut + 1, 5)):
        alive.append(sizes[cut] + sum(sizes[place] for place in run))
    return max(alive)


@question(topic="mamba.kernels", level=2, source="Gu 2023, section 3.3.2", readme="dl_028/6")
def states_saved(draw):
    B, L, d, n, c = draw(1, 4, 8), draw(2048, 4096, 8192), draw(1024, 2048), draw(16, 32, 64), draw(128, 256, 512)
    return Number(
        ask=f"A scan with {n} states a channel, {d} channels, {L} steps, batch {B}, computed again in backward in "
        f"chunks of {c} steps. "
        "Only the state at the beginning of each chunk is kept. How many numbers?",
        given=dict(B=B, L=L, d=d, n=n, c=c),
        answer=B * d * n * (L // c),
        unit="numbers",
        traps={
            "all states": B * d * n * L,
            "of one chunk": B * d * n * c,
            "no states, a channel each": B * d * (L // c),
        },
        hints=("A state of d · n numbers for each chunk of each sequence.", "B · d · n · L / c"),
        why="The states of one chunk come on top while it is worked on. Running the recurrence backwards by division "
        "would "
        "blow up rounding.",
    )


@states_saved.second
def _(B, L, d, n, c):
    import numpy as np

    return np.broadcast_to(0.0, (B, len(range(0, L, c)), d, n)).size


@question(topic="distributed.deepspeed", level=1, source="DeepSpeed, configuration", readme="dl_028/7")
def steps_of_accumulation(draw):
    m, a, r = draw(1, 2, 4, 8), draw(2, 3, 4, 5, 6, 8, 12, 16), draw(8, 16, 32, 64)
    return Number(
        ask=f"DeepSpeed: train_batch_size {m * a * r}, {r} GPUs, train_micro_batch_size_per_gpu {m}. How many steps "
        f"of accumulation?",
        given=dict(batch=m * a * r, m=m, r=r),
        answer=m * a * r // (m * r),
        unit="steps",
        traps={"GPUs forgotten": a * r, "micro-batch forgotten": m * a, "steps and GPUs swapped": r},
        hints=("The three multiply to the whole batch.", "batch / (m · r)"),
        why="Micro-batch, steps and GPUs multiply to the batch. Any two give the third, and it must come out even.",
    )


@steps_of_accumulation.second
def _(batch, m, r):
    return next(steps for steps in range(1, batch + 1) if sum(m for _gpu in range(r)) * steps == batch)


@question(topic="distributed.state", level=2, source="torch, distributed.checkpoint", readme=("dl_028/8", "dl_028/9"))
def piece_of_a_rank(draw):
    n, p = draw.between(11, 60), draw(3, 4, 5, 7)
    r = draw.between(1, p - 2)
    size = -(-n // p)
    return Number(
        ask=f"A flat parameter of {n} numbers is cut over {p} ranks, in pieces of ⌈n / p⌉; the last ones are shorter "
        f"or empty. At which place of the whole does the piece of rank {r} begin? Places and ranks count from 0.",
        given=dict(n=n, p=p, r=r),
        answer=min(r * size, n),
        traps={
            "rounded down": r * (n // p),
            "the rank after it": min((r + 1) * size, n),
            "ranks from 1": (r - 1) * size,
        },
        hints=("The length of a piece, times the ranks before it.", "min(r · ⌈n / p⌉, n)"),
        why="Pieces carry their place in the whole, so that any number of ranks can read what it needs from the "
        "shards of "
        "another.",
    )


@piece_of_a_rank.second
def _(n, p, r):
    import numpy as np

    padded = np.arange(-(-n // p) * p).reshape(p, -1)
    return int(min(padded[r, 0], n))


@question(topic="distributed.state", level=2, source="Pillai 2014, section 3", readme="dl_028/8")
def order_of_a_safe_checkpoint(draw):
    steps = [
        "each rank writes its shard to a new folder",
        "each rank flushes its shard (fsync)",
        "all ranks say that they are done",
        "one rank writes and flushes the manifest",
        "the folder is renamed",
        "the old checkpoint is removed",
    ]
    shown = sorted(draw.sample(range(6), 4))
    order = [steps[one] for one in shown]
    return Order(
        ask="A checkpoint of many ranks that no crash can spoil. In which order?",
        given=dict(shown=shown),
        answer=order,
        traps={
            "the last two swapped": [*order[:2], order[3], order[2]],
            "the first two swapped": [order[1], order[0], *order[2:]],
            "backwards": order[::-1],
        },
        hints=(
            "At which moment does it begin to exist, and what must be on the disk by then?",
            "write, flush, agree, manifest, rename, remove",
        ),
        why="The rename is the one moment. Without a flush before it, it may survive a power cut that the data does "
        "not.",
    )


@order_of_a_safe_checkpoint.second
def _(shown):
    needs = {
        "each rank writes its shard to a new folder": (),
        "each rank flushes its shard (fsync)": ("each rank writes",),
        "all ranks say that they are done": ("each rank flushes",),
        "one rank writes and flushes the manifest": ("all ranks say",),
        "the folder is renamed": ("one rank writes",),
        "the old checkpoint is removed": ("the folder is renamed",),
    }
    done = []
    while len(done) < 6:
        ready = [one for one, before in needs.items() if all(any(d.startswith(b) for d in done) for b in before)]
        done.append(next(one for one in ready if one not in done))
    return [one for place, one in enumerate(done) if place in shown]


@question(topic="distributed.state", level=1, source="torch, reproducibility", readme="dl_028/9")
def what_was_left_out(draw):
    case = draw("nothing", "place", "schedule", "momentum")
    names = {
        "nothing": "all of it was saved",
        "place": "the place in the data was not saved",
        "schedule": "the schedule was not saved",
        "momentum": "the optimizer's state was not saved",
    }
    signs = {
        "nothing": "Nothing differs, bit for bit",
        "place": "Rates and momentum are the same; other data are read than would have been",
        "schedule": "The same data are read, the momentum is the same, and the rate is too large",
        "momentum": "The same data are read at the same rate; the first steps are too short, less and less",
    }
    n, m = draw(3, 4, 5), draw(0.5, 0.9)
    same = {
        "nothing": "yet something differs",
        "place": "the data are the same",
        "schedule": "the rate is the same",
        "momentum": "the momentum is the same",
    }
    return Choice(
        ask=f"Momentum SGD whose rate falls, cut after {n} steps and resumed on the same machine. {signs[case]}. What "
        f"happened?",
        given=dict(case=case, n=n, m=m),
        answer=names[case],
        traps={same[other]: text for other, text in names.items() if other != case},
        hints=("Which of the states would give exactly this?", "data, rate, buffer"),
        why="Optimizer, schedule, random states and the place in the data belong into a checkpoint. On another number "
        "of ranks sums are rounded otherwise.",
    )


@what_was_left_out.second
def _(case, n, m):
    def run(cut):
        place = step = 0
        buffer, seen = 0.0, []
        for now in range(4 * n):
            if now == n:
                place, step = place * (cut != "place"), step * (cut != "schedule")
                buffer *= cut != "momentum"
            buffer = m * buffer + 1.0
            seen.append((place, 1 / (step + 1), buffer))
            place, step = place + 1, step + 1
        return seen

    differs = [any(one[i] != other[i] for one, other in zip(run(""), run(case), strict=True)) for i in range(3)]
    if not any(differs):
        return "all of it was saved"
    lost = ("place in the data", "schedule", "optimizer's state")[differs.index(True)]
    return f"the {lost} was not saved"


@question(topic="debug.production_monitor", level=2, source="Leys 2013", readme="dl_028/10")
def robust_distance(draw):
    values = draw.sample(range(1, 30), 5)
    new = draw(40, 60, 90)
    middle = sorted(values)[2]
    spread = sorted(abs(one - middle) for one in values)[2]
    mean = sum(values) / 5
    return Number(
        ask=f"The last gradient norms are {', '.join(map(str, values))}; the new one is {new}. By how many median "
        f"distances does it lie "
        "above their median?",
        given=dict(values=values, new=new),
        answer=(new - middle) / spread,
        traps={
            "mean and deviation": (new - mean) / sqrt(sum((one - mean) ** 2 for one in values) / 5),
            "ratio to the median": new / middle,
            "the largest distance": (new - middle) / max(abs(one - middle) for one in values),
        },
        hints=("The median of the distances to the median.", "(new - median) / median distance"),
        why="One bad step moves neither of the two, so the second one is still seen. NaN compares False: it needs a "
        "test of "
        "its own.",
    )


@robust_distance.second
def _(values, new):
    import numpy as np

    middle = float(np.quantile(values, 0.5))
    return (new - middle) / float(np.quantile(np.abs(np.array(values) - middle), 0.5))


@question(topic="gradient.tensorboard", level=2, source="TensorBoard, histograms", readme="dl_028/11")
def buckets_between(draw):
    low, decades, step = draw(1e-12, 1e-9, 1e-6), draw.between(2, 12), draw(1.1, 1.2, 1.5)
    return Number(
        ask=f"A histogram's edges grow by a factor of {step:g}. About how many buckets lie between {low:g} and "
        f"{decades} powers of ten "
        "above it?",
        given=dict(decades=decades, step=step),
        answer=decades * log(10) / log(step),
        unit="buckets",
        within=0.02,
        traps={
            "ten a power": 10.0 * decades,
            "binary logarithm": decades * log(10) / log(2),
            "one a tenth": decades / (step - 1),
        },
        hints=("How often must the factor be taken to make one power of ten?", "decades · ln 10 / ln step"),
        why="The number of buckets hangs on the span of sizes, not on how many numbers are added. Each quantile is "
        "known to "
        "one factor.",
    )


@buckets_between.second
def _(decades, step):
    import numpy as np

    return float(np.log10(10.0**decades) / np.log10(step))


@question(topic="debug.weights", level=1, source="TensorBoard, histograms", readme="dl_028/11")
def merged_quantile(draw):
    a, b = [draw.between(0, 9) for _ in range(4)], [draw.between(0, 9) for _ in range(4)]
    both = [x + y for x, y in zip(a, b, strict=True)]
    return Predict(
        ask="Histograms of two ranks with the same edges are put together. What is printed?",
        code=f"""
one, other = {a}, {b}
both = [x + y for x, y in zip(one, other)]
print(both, sum(both[:2]) / max(sum(both), 1) >= 0.5)
""",
        answer=f"{both} {sum(both[:2]) / max(sum(both), 1) >= 0.5}",
        traps={
            "the mean of both": f"{[one / 2 for one in both]} {sum(both[:2]) / max(sum(both), 1) >= 0.5}",
            "the larger of both": f"{[max(x, y) for x, y in zip(a, b, strict=True)]} True",
            "one after the other": f"{a + b} True",
        },
        hints=("Counts of the same bucket add up.", "count by count; then the share of the first two"),
        why="Counts add, so histograms of ranks, or of days, can be merged. Means and quantiles cannot.",
    )


@question(topic="precision.failures", level=1, source="Micikevicius 2018, section 3", readme="dl_028/12")
def gradient_of_a_root(draw):
    e, p = draw(1e-12, 1e-8, 1e-6, 1e-4), draw(2, 4)
    return Number(
        ask=f"f(x) = (x + e)^(1/{p}) with e = {e:g}, at x = 0. How large is its derivative?",
        given=dict(e=e, p=p),
        answer=e ** (1 / p - 1) / p,
        traps={"the value": e ** (1 / p), "the power forgotten": 1 / p, "no inner power": e**-1 / p},
        hints=("The power goes to the front and falls by one.", "e^(1 / p - 1) / p"),
        why="Forward is fine, backward is not: at 0 itself the derivative is infinite, and infinity times 0 is NaN. "
        "float16 "
        "ends at 65,504.",
    )


@gradient_of_a_root.second
def _(e, p):
    h = e * 1e-4
    return ((e + h) ** (1 / p) - (e - h) ** (1 / p)) / (2 * h)


@question(topic="precision.failures", level=2, source="torch, anomaly detection", readme="dl_028/12")
def first_to_blame(draw):
    lines = [
        ("h = np.log(x)", "h = np.log(np.maximum(x, 1e-6))", "the logarithm has a floor"),
        ("g = np.exp(h * 1000)", "g = np.exp(np.minimum(h, 5.0))", "the exponent has a limit"),
        ("out = g / (x - x)", "out = g / (abs(x) + 1)", "never divided by 0"),
    ]
    wrong, mended, _name = draw(*lines)
    x = draw.sample([3.0, 4.0, 5.0, 7.0], 2)
    code = f"""
import warnings
import numpy as np
warnings.simplefilter("ignore")
x = np.array({[0.0, *x]})
h = np.log(np.maximum(x, 1e-6))
g = np.exp(np.minimum(h, 5.0))
out = g / (abs(x) + 1)
print([bool(np.isfinite(one).all()) for one in (x, h, g, out)])
"""
    return Bug(
        ask="Which line is the first that takes finite numbers and gives others? Everything printed should be True.",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints="[True, True, True, True]",
        traps={name: line for _wrong, line, name in lines if line != mended},
        hints=(
            "Go in the order of computation: which is the first that is not finite?",
            "log 0, e to a large number, division by 0",
        ),
        why="Lines that come later only hand it on. In backward the order is the other way round.",
    )


@question(topic="attention.choice", level=1, source="Dao 2022, section 3", readme="dl_028/3")
def kept_for_backward(draw):
    t, s = draw("t", "queries", "n"), draw("s", "keys", "m")
    return Blank(
        ask=f"One head, with `{t}` queries and `{s}` keys. Tiles keep one number a query for backward. How many does "
        "plain attention keep?",
        code=f"plain = ____\ntiled = {t}   # a log-sum-exp each",
        given={t: draw.between(5, 12), s: draw.between(13, 20)},
        answer=f"{t} * {s}",
        traps={"linear": f"{t} + {s}", "squared queries": f"{t} * {t}", "as tiled": t},
        hints=("A weight for each pair.", "queries times keys"),
        why="Where one tile holds everything there is nothing to save, and plain attention shows its map.",
    )


@kept_for_backward.second
def _(**given):
    t, s = given.values()
    return len([(query, key) for query in range(t) for key in range(s)])
