"""Hidden checks of dl_028. Oracles: loops over tiles, every plan, autograd's own passes, every call that can fail.

Where power is cut, each file whose bytes were not flushed loses half of them: what a rename without fsync may leave.
"""

import bisect
import itertools
import math
import statistics

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type
from grader.cost import Meter

from . import drivers

# --- roofline ---------------------------------------------------------------------------------------------------------


def up(size, tile):
    while size % tile:
        size += 1
    return size


@part("roofline")
def test_a_tpu_and_an_a100_by_hand(attempt):
    """129³ on an array of 128 reaches 12.8 % of a v5e; one row of 4,096 reads its weights at 0.42 % of it."""
    got = attempt.roofline(129, 129, 129, 197e12, 819e9, tile=128)
    want = {
        "intensity": 2 * 129**3 / (2 * 3 * 129**2),
        "turn": 197e3 / 819,
        "seconds": 2 * 256**3 / 197e12,
        "bound": "compute",
        "share": 129**3 / 256**3,
    }
    agree(got, want, tol=1e-9, of="roofline of 129³ on a TPU v5e, tile 128")
    got = attempt.roofline(1, 4096, 4096, 312e12, 2.039e12)
    bytes_ = 2 * (4096 + 4096**2 + 4096)
    seconds = bytes_ / 2.039e12
    flops = 2 * 4096**2
    want = {
        "intensity": flops / bytes_,
        "turn": 312 / 2.039,
        "seconds": seconds,
        "bound": "memory",
        "share": flops / seconds / 312e12,
    }
    agree(got, want, tol=1e-9, of="roofline of one row times 4096², an A100")


@part("roofline")
def test_products_of_any_sizes(attempt, draw):
    """Operations are rounded up to whole tiles in each of m, k, n; bytes are not; the longer time counts."""
    cases, wants, known = [], [], []
    for i in range(24):
        if i % 3 != 1:  # else the sizes of the one before, with another chip
            m, k, n = (draw.random.randrange(1, 400) for _ in range(3))
        tile, itemsize = draw.pick([1, 7, 8, 128]), draw.pick([1, 2, 4])
        peak = draw.random.uniform(1e12, 9e14)
        useful, moved = 2 * m * k * n, itemsize * (m * k + k * n + m * n)
        done = 2 * up(m, tile) * up(k, tile) * up(n, tile)
        bandwidth = peak * moved / done * (0.5 if i % 2 else 2.0) * draw.random.uniform(0.8, 1.25)
        computing, moving = done / peak, moved / bandwidth
        seconds = max(computing, moving)
        cases.append((m, k, n, peak, bandwidth))
        bound = "compute" if computing >= moving else "memory"
        want = {"intensity": useful / moved, "turn": peak / bandwidth, "seconds": seconds, "bound": bound}
        wants.append(({"itemsize": itemsize, "tile": tile}, {**want, "share": useful / seconds / peak}))
        known.append({"padded operations called useful": {**want, "share": done / seconds / peak}})
    for case, (how, want), wrong in zip(cases, wants, known, strict=True):
        wrong = wrong if how["tile"] > 1 else None
        agree(attempt.roofline(*case, **how), want, tol=1e-9, of=f"roofline{case} with {how}", known=wrong)
    got = attempt.roofline(4, 4, 4, 96.0, 72.0, itemsize=2)
    agree(got["bound"], "compute", of="the bound where both times are equal")
    got = attempt.roofline(4, 4, 4, 96.0, 72.0 * (1 - 1e-6), itemsize=2)
    agree(got["bound"], "memory", of="the bound where moving takes a millionth longer")


# --- attention_traffic ------------------------------------------------------------------------------------------------


def walked(t, s, d, rows, columns, version, causal):
    """The counts of one head, by walking over tiles and tokens as the algorithm does."""
    reads = writes = divisions = blocks = 0
    queries = [range(t)[i : i + rows] for i in range(0, t, rows)]
    keys = [range(s)[j : j + columns] for j in range(0, s, columns)]

    def meet(q, k):
        return not causal or any(j <= i for i in q for j in k)

    if version == 0:
        for _ in (1,):
            reads += t * d + s * d
            writes += t * s
            reads += t * s
            writes += t * s
            reads += t * s + s * d
            writes += t * d
        return {"reads": reads, "writes": writes, "divisions": t * s, "blocks": len(queries) * len(keys)}
    if version == 1:
        blocks = 1
        for k in keys:
            inner = [q for q in queries if meet(q, k)]
            reads += 2 * len(k) * d if inner else 0
            for q in inner:
                reads += 2 * len(q) * d + 2 * len(q)
                writes += len(q) * d + 2 * len(q)
                divisions += len(q) * d
    else:
        for q in queries:
            blocks += 1
            reads += len(q) * d + sum(2 * len(k) * d for k in keys if meet(q, k))
            writes += len(q) * d + len(q)
            divisions += len(q) * d
    return {"reads": reads, "writes": writes, "divisions": divisions, "blocks": blocks}


@part("attention_traffic")
@pytest.mark.parametrize("version", [2, 1, 0])
def test_tiles_are_walked_as_the_paper_does(attempt, draw, version):
    """Reads, writes, divisions and blocks are those of a walk over all tiles, the smaller last ones too."""
    cases = [(12, 12, 8, 4, 3, 1, False), (13, 7, 5, 4, 3, 1, False), (7, 13, 5, 3, 4, 6, False)]
    cases += [
        (1, 1, 3, 4, 5, 2, False),
        (24, 24, 8, 6, 4, 1, True),
        (17, 17, 8, 5, 3, 1, True),
        (9, 23, 4, 2, 5, 3, True),
    ]
    cases += [(23, 9, 4, 7, 2, 5, True), (5, 40, 6, 8, 3, 1, True), (31, 31, 2, 64, 64, 1, True)]
    cases += [(211, 157, 6, 16, 24, 1, True), (157, 211, 6, 24, 16, 2, True)]
    for _ in range(10):
        t, s, d = (draw.random.randrange(1, 60) for _ in range(3))
        cases.append((t, s, d, draw.random.randrange(1, 20), draw.random.randrange(1, 20), 1, draw.pick([True, False])))
    for t, s, d, rows, columns, heads, causal in cases:
        one = walked(t, s, d, rows, columns, version, causal)
        known = {f"version {v}": walked(t, s, d, rows, columns, v, causal) for v in (0, 1, 2) if v != version}
        if causal:
            known["no tile left out"] = walked(t, s, d, rows, columns, version, False)
        want = {name: heads * value for name, value in one.items()}
        known = {k: {name: heads * x for name, x in v.items()} for k, v in known.items()}
        known = {name: value for name, value in known.items() if value != want}
        got = attempt.attention_traffic(t, s, d, rows, columns, version, heads=heads, causal=causal)
        of = f"attention_traffic({t}, {s}, {d}, {rows}, {columns}, version={version}, heads={heads}, causal={causal})"
        agree(got, want, of=of, known=known if t > 20 and not causal else None)


@part("attention_traffic")
def test_a_long_sequence(attempt):
    """At 16,384 tokens version 2 writes a 64th of version 1's, and has 128 blocks for one."""
    got = [attempt.attention_traffic(16_384, 16_384, 128, 128, 128, v, heads=32) for v in (0, 1, 2)]
    n, d, tiles = 16_384, 128, 128
    writes = [2 * n * n + n * d, tiles * n * (d + 2), n * (d + 1)]
    agree([one["writes"] for one in got], [32 * w for w in writes], of="writes of versions 0, 1, 2 at 16,384 tokens")
    agree([one["blocks"] for one in got], [32 * tiles**2, 32, 32 * tiles], of="blocks of versions 0, 1, 2, 32 heads")


# --- checkpoint -------------------------------------------------------------------------------------------------------


def draw_pass(draw, dtype="float64"):
    kind = of_type(dtype)
    weights = [draw.normal(7, 7, dtype=kind, scale=0.6) for _ in range(3)]
    x, other = draw.normal(5, 7, dtype=kind), draw.normal(7, dtype=kind)
    return weights, x, other, [draw.normal(5, 7, dtype=kind), draw.normal(5, dtype=kind)]


@part("checkpoint")
@each_dtype
@pytest.mark.parametrize("kind", ["module", "each", "several", "nested"])
def test_values_and_gradients_are_those_of_the_plain_pass(attempt, draw, kind, dtype):
    """Values, gradients of all that the function uses, and random numbers, with dropout and without."""
    weights, x, other, upstream = draw_pass(draw, dtype)
    for p, needs in ((0.0, True), (0.4, True), (0.4, False)):
        want = drivers.passes(None, kind, weights, x, other, upstream, p, needs, own=False)
        got = attempt.run(drivers.passes, kind, weights, x.mT.contiguous().mT, other, upstream, p, needs, own=True)
        of = f"checkpoint of {kind!r} functions, dropout {p}, x {'with' if needs else 'without'} gradient, {dtype}"
        agree(got["values"], want["values"], of=f"the values: {of}")
        agree(got["recorded"], want["recorded"], of=f"whether the results require gradients: {of}")
        for name in ("x", "other", "weights"):
            agree(got[name], want[name], of=f"gradients of {name}: {of}")
        agree(got["random"][0], want["random"][0], of=f"random numbers after the forward pass: {of}")
        agree(got["random"][1], want["random"][1], of=f"random numbers after backward: {of}")
        agree(got["x afterwards"], x, of=f"x afterwards: {of}")
        at_most(got["calls"], 9 if kind == "nested" else 6, of=f"calls of the three blocks: {of}")


@part("checkpoint")
def test_a_result_that_nobody_uses(attempt, draw):
    """Of two results one is used: the gradients are those of this one."""
    weights, x, other, upstream = draw_pass(draw)
    want = drivers.passes(None, "one of several", weights, x, other, upstream[1:], 0.4, True, own=False)
    got = attempt.run(drivers.passes, "one of several", weights, x, other, upstream[1:], 0.4, True, own=True)
    for name in ("values", "x", "weights"):
        agree(got[name], want[name], of=f"{name} where the second of two results is used")


@part("checkpoint")
def test_nothing_is_recorded_under_no_grad(attempt, draw):
    """Under no_grad it is a plain pass, which runs once."""
    weights, x, _, _ = draw_pass(draw)
    out, calls, recorded = attempt.run(drivers.quiet, weights, x)
    want = x
    for w in weights:
        want = torch.nn.functional.gelu(want @ w)
    agree(out, want, axes="n d", of="checkpoint under no_grad")
    assert not recorded, "the result of checkpoint under no_grad requires gradients"
    at_most(calls, 3, of="calls of three blocks under no_grad")


@part("checkpoint")
@pytest.mark.parametrize("segments", [1, 3])
def test_nothing_stays_alive_between_the_passes(attempt, draw, segments):
    """Beside the result nothing that was made inside is alive; both passes take 4/3 of the operations."""
    n, w, count = 61, 53, 6
    weights, x, g = [draw.normal(w, w, scale=0.1) for _ in range(count)], draw.normal(n, w), draw.normal(n, w)
    value = x
    for one in weights:
        value = torch.nn.functional.gelu(value @ one)
    inner = (segments - 1) * n * w * 8  # what one segment hands to the next is a result
    for training in (True, False):
        of = f"checkpoint of {count} blocks of {n}x{w}, {segments} segments, {'training' if training else 'eval'}"
        got, cost = attempt.cost(drivers.checkpoint_cost, weights, x, g, segments, "forward", training)
        agree(got[0], value, axes="n d", of=f"values: {of}")
        known = {"all that autograd saves": 2 * count * n * w * 8}
        at_most(cost.kept, inner + segments * 6 * 1024, of=f"bytes alive after the forward pass: {of}", known=known)
        got, cost = attempt.cost(drivers.checkpoint_cost, weights, x, g, segments, "both", training)
        agree(got[0], value, axes="n d", of=f"values, both passes: {of}")
        in_torch(cost, of=of)
        at_most(cost.flops, 8 * n * w * w * count, of=f"operations of both passes: {of}")
        got, cost = attempt.cost(drivers.checkpoint_cost, weights, x, g, segments, "quiet", training)
        agree(got[0], value, axes="n d", of=f"values under no_grad: {of}")
        in_torch(cost, of=f"under no_grad: {of}")
        at_most(cost.flops, 2 * n * w * w * count, of=f"operations under no_grad: {of}")


@part("checkpoint")
@each_dtype
@pytest.mark.parametrize(
    "kind", ["module", "x without gradient", "no module", "several arguments", "nested", "dropout", "small"]
)
def test_no_kind_of_function_is_kept(attempt, draw, kind, dtype):
    """Nothing that was made inside is alive, whatever the function is, and whichever arguments require a gradient."""
    n, w, count = (29, 17, 9) if kind == "small" else (43, 41, 4)
    weights = [draw.normal(w, w, dtype=of_type(dtype), scale=0.1) for _ in range(count)]
    x = draw.normal(n, w, dtype=of_type(dtype))
    got, cost = attempt.cost(drivers.checkpoint_keeps, kind, weights, x)
    of = f"checkpoint of {count} blocks of {n}x{w}, {kind}, {dtype}"
    agree(got, drivers.checkpoint_keeps(drivers.Plain, kind, weights, x, meter=Meter()), of=f"values: {of}")
    known = {"all that autograd saves": 2 * count * n * w * x.itemsize}
    limit = (2 if kind == "nested" else 1) * 6 * 1024
    at_most(cost.kept, limit, of=f"bytes alive after the forward pass: {of}", known=known)


# --- checkpoint_plan --------------------------------------------------------------------------------------------------


def peak_of(sizes, kept):
    runs, run = [0], 0
    for i, size in enumerate(sizes):
        if i in kept:
            run = 0
        else:
            run += size
            runs.append(run)
    return sum(sizes[i] for i in kept) + max(runs)


def hold_plan(got, sizes, best):
    of = f"checkpoint_plan({sizes})"
    assert isinstance(got, (list, tuple)), f"{of} gave {got!r}, and no plan with its peak"
    kept, peak = got
    kept = list(kept)
    assert kept == sorted(set(kept) & set(range(len(sizes)))), f"{of}: {kept} are no layers, ascending"
    agree(peak, peak_of(sizes, kept), of=f"the peak of the plan {kept}: {of}")
    at_most(peak, best, of=f"peak of memory: {of}", known={"everything kept, or nothing": sum(sizes)})


@part("checkpoint_plan")
def test_no_plan_is_better(attempt, draw):
    """The peak is the least of all 2^L plans, and the plan has that peak."""
    cases = [[1, 1, 1, 9, 1, 1, 1], [5], [3, 4], [2, 2, 2, 2], [1, 2, 4, 8, 16, 32], [40, 20, 10, 5, 3, 1, 1]]
    cases += [[draw.random.randrange(1, top) for _ in range(n)] for n, top in ((5, 9), (8, 30), (9, 4), (10, 1000))]
    for sizes, got in zip(cases, attempt.each("checkpoint_plan", [(sizes,) for sizes in cases]), strict=True):
        plans = itertools.chain.from_iterable(
            itertools.combinations(range(len(sizes)), k) for k in range(len(sizes) + 1)
        )
        hold_plan(got, sizes, min(peak_of(sizes, set(plan)) for plan in plans))


@part("checkpoint_plan")
def test_sixty_layers(attempt, draw):
    """60 equal layers take the square root's share; some 50 of any sizes, gigabytes too, take the least."""
    sizes = [7] * 60
    best = min(7 * (k + -(-(60 - k) // (k + 1))) for k in range(61))
    hold_plan(attempt.checkpoint_plan(sizes), sizes, best)
    sizes = [1, 1000] * 25  # all 24 small ones between the others are kept
    hold_plan(attempt.checkpoint_plan(sizes), sizes, 24 + 1001)
    for top in (100, 10**10):
        sizes = [draw.random.randrange(1, top) for _ in range(draw.random.randrange(40, 56))]
        hold_plan(attempt.checkpoint_plan(sizes), sizes, least_peak(sizes))


def least_peak(sizes):
    """From the right, for each limit on a run: the cheapest layers to keep. The result is compared, not the plan."""
    total, best = sum(sizes), sum(sizes)
    limits = {sum(sizes[i:j]) for i in range(len(sizes)) for j in range(i, len(sizes) + 1)}
    for limit in limits:
        if limit >= best:
            continue
        cost = [math.inf] * len(sizes) + [0]  # cost[i]: what is still to keep if layer i - 1 is kept
        for i in reversed(range(len(sizes))):
            run, found = 0, math.inf
            for j in range(i, len(sizes)):
                found = min(found, sizes[j] + cost[j + 1])
                run += sizes[j]
                if run > limit:
                    break
            else:
                found = min(found, 0)
            cost[i] = found
        best = min(best, cost[0] + limit)
    return min(best, total)


# --- recomputed_scan --------------------------------------------------------------------------------------------------


def draw_scan(draw, b, l, d, n, dtype="float64"):
    kind = of_type(dtype)
    x, dt = draw.normal(b, l, d, dtype=kind), draw.uniform(b, l, d, low=0.1, high=1.0, dtype=kind)
    a = -draw.uniform(d, n, low=0.3, high=2.0, dtype=kind)
    return x, dt, a, draw.normal(b, l, n, dtype=kind), draw.normal(b, l, n, dtype=kind)


def scanned(x, dt, a, b, c):
    """y by recurrence."""
    state, ys = torch.zeros(x.shape[0], *a.shape, dtype=x.dtype), [x[:, :0]]
    for t in range(x.shape[1]):
        state = torch.exp(dt[:, t, :, None] * a) * state + torch.einsum("bd,bn->bdn", dt[:, t] * x[:, t], b[:, t])
        ys.append(torch.einsum("bdn,bn->bd", state, c[:, t])[:, None])
    return torch.cat(ys, 1)


NAMES = ("x", "dt", "A", "B", "C")


def scan_gradients(values, g):
    leaves = [value.clone().requires_grad_() for value in values]
    y = scanned(*leaves)
    return y.detach(), torch.autograd.grad((y * g).sum(), leaves, allow_unused=True)


@part("recomputed_scan")
@each_dtype
@pytest.mark.parametrize(("l", "chunk"), [(7, 3), (11, 1), (5, 5), (6, 20), (12, 4)])
def test_scan_and_its_gradients(attempt, draw, l, chunk, dtype):
    """y and all five gradients are those of autograd through the recurrence, whatever the chunk."""
    values, g = draw_scan(draw, 2, l, 5, 3, dtype), draw.normal(2, l, 5, dtype=of_type(dtype))
    y, grads = scan_gradients([value.double() for value in values], g.double())
    turned = [value.mT.contiguous().mT for value in values]
    got, told = attempt.gradients("recomputed_scan", *turned, chunk, upstream=g)
    of = f"recomputed_scan of {l} tokens in chunks of {chunk}, {dtype}"
    agree(got, y.to(of_type(dtype)), axes="b l d", of=of)
    for name, want, one in zip(NAMES, grads, told[:5], strict=True):
        agree(one, want.to(of_type(dtype)), of=f"gradient of {name}: {of}")


@part("recomputed_scan")
def test_scan_of_strong_decay_and_of_nothing(attempt, draw):
    """States that decay by e^-60 a token are no matter; no tokens give no y; some inputs may need no gradient."""
    x, dt, a, b, c = draw_scan(draw, 1, 9, 3, 2)
    g = draw.normal(1, 9, 3)
    strong = (x, dt, a * 60, b, c)
    y, grads = scan_gradients(strong, g)
    got, told = attempt.gradients("recomputed_scan", *strong, 4, upstream=g)
    agree(got, y, axes="b l d", of="recomputed_scan where states decay by up to e^-120 a token")
    agree(list(told[:5]), list(grads), of="its gradients")
    got = attempt.recomputed_scan(x[:, :0], dt[:, :0], a, b[:, :0], c[:, :0], 4)
    agree(got, x[:, :0], axes="b l d", of="recomputed_scan of no tokens")
    _, grads = scan_gradients((x, dt, a, b, c), torch.ones_like(x))
    for which in ((0,), (2, 3)):
        told = attempt.run(drivers.scan_of_some, x, dt, a, b, c, 4, which)
        want = [grad if i in which else None for i, grad in enumerate(grads)]
        agree(told, want, of=f"gradients where {[NAMES[i] for i in which]} alone require one")


@part("recomputed_scan")
@pytest.mark.parametrize(
    ("l", "chunk", "dtype", "which"),
    [
        (96, 6, "float64", range(5)),
        (96, 6, "float32", range(5)),
        (94, 31, "float64", (1, 2)),
        (47, 3, "float32", (0, 4)),
    ],
)
def test_states_are_not_kept(attempt, draw, l, chunk, dtype, which):
    """A state for each chunk lives between the passes, and the states of one chunk in backward: never all of them."""
    b, d, n = 2, 13, 11
    values, g = draw_scan(draw, b, l, d, n, dtype), draw.normal(b, l, d, dtype=of_type(dtype))
    y, grads = scan_gradients(values, g)
    item = y.itemsize
    chunks, state, small = -(-l // chunk), b * d * n * item, 8 * 1024
    of = f"recomputed_scan, l={l}, d={d}, n={n}, chunk={chunk}, {dtype}"
    of += "" if len(which) == 5 else f", gradients for {' and '.join(NAMES[i] for i in which)} alone"
    sizes = sum(value.numel() for value in values) * item
    largest = max(b * l * d, b * l * n, (max(chunk, chunks) + 1) * b * d * n)
    limits = {
        "forward": y.numel() * item + (chunks + 8) * state + small,
        "quiet": y.numel() * item + (chunks + 8) * state + small,
        "backward": 2 * sizes + (chunks + 4 * (chunk + 4)) * state + small,
    }
    work = 0
    for phase, limit in limits.items():
        (got, told), cost = attempt.cost(drivers.scan_cost, *values, chunk, g, phase, tuple(which))
        agree(got, y, axes="b l d", of=f"y, {phase}: {of}")
        if phase == "backward":
            agree(told, [grad if i in which else None for i, grad in enumerate(grads)], of=f"gradients: {of}")
        if phase == "forward":
            known = {"the states of all tokens": l * state}
            at_most(cost.kept, (chunks + 2) * state + small, of=f"bytes alive after forward: {of}", known=known)
        at_most(cost.peak, limit, of=f"bytes at once, {phase}: {of}", known={"the states of all tokens": l * state})
        at_most(cost.largest, largest, of=f"elements of the largest tensor, {phase}: {of}")
        in_torch(cost, of=f"{phase}: {of}")
        work += cost.work if phase != "quiet" else 0
    at_most(work, 64 * l * b * d * n, of=f"operations, and numbers written, in both passes: {of}")


@part("recomputed_scan")
def test_another_sequence_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(*draw_scan(draw, 2, 7, 5, 3), 3) for _ in range(2)]
    hold_again(
        attempt, reference, "recomputed_scan", *asked, of="recomputed_scan of (2, 7, 5), chunks of 3", views=False
    )


# --- deepspeed_plan ---------------------------------------------------------------------------------------------------

TRAIN, MICRO, STEPS = "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"


@part("deepspeed_plan")
def test_the_three_batch_sizes(attempt):
    """train = micro · accumulation · ranks, whichever of them are given."""
    for given, ranks, want in (
        ({TRAIN: 96, MICRO: 2, STEPS: 6}, 8, (96, 2, 6)),
        ({TRAIN: 96, MICRO: 2}, 8, (96, 2, 6)),
        ({TRAIN: 96, STEPS: 4}, 8, (96, 3, 4)),
        ({MICRO: 5, STEPS: 3}, 7, (105, 5, 3)),
        ({TRAIN: 42}, 7, (42, 6, 1)),
        ({MICRO: 6}, 7, (42, 6, 1)),
        ({TRAIN: 9, MICRO: 9, "fp16": {"enabled": True}}, 1, (9, 9, 1)),
    ):
        got = attempt.deepspeed_plan(given, ranks, 1000)
        want = dict(zip((TRAIN, MICRO, STEPS), want, strict=True))
        agree({name: got[name] for name in want}, want, of=f"the batch sizes of {given} on {ranks} ranks")
        agree(
            [got[name] for name in ("gpu_bytes", "cpu_bytes", "transfer_bytes")], [16e3, 0.0, 0.0], of="bytes, no stage"
        )


@part("deepspeed_plan")
def test_sizes_that_do_not_fit_are_refused(attempt):
    """What does not divide, or is below 1, or is not there, raises ValueError; so does what its stage does not have."""
    sizes = [{TRAIN: 96, MICRO: 2, STEPS: 5}, {TRAIN: 95, MICRO: 2}, {TRAIN: 100, STEPS: 3}, {TRAIN: 7}, {STEPS: 4}, {}]
    sizes += [{TRAIN: 0}, {MICRO: 0, STEPS: 3}, {MICRO: 3, STEPS: 0}, {TRAIN: 8, MICRO: 2}, {TRAIN: -8, MICRO: -1}]
    sizes += [
        {TRAIN: 64, MICRO: 2, STEPS: 5},
        {TRAIN: 8, MICRO: 0},
        {TRAIN: 8, STEPS: 0},
        {TRAIN: 16, MICRO: -1, STEPS: -2},
    ]
    for config in sizes:
        with refusal(ValueError, of=f"{config} on 8 ranks"):
            attempt.deepspeed_plan(config, 8, 1000)
    cpu = {"device": "cpu"}
    for zero in (
        {"stage": 4},
        {"stage": -1},
        {"offload_optimizer": cpu},
        {"stage": 0, "offload_optimizer": cpu},
        {"stage": 2, "offload_param": cpu},
        {"stage": 3, "offload_optimizer": {"device": "gpu"}},
        {"stage": 2, "offload_param": {"device": "disk"}},
    ):
        with refusal(ValueError, of=f"zero_optimization {zero}"):
            attempt.deepspeed_plan({MICRO: 1, "zero_optimization": zero}, 4, 1000)


@part("deepspeed_plan")
def test_bytes_of_every_stage_and_offload(attempt, draw):
    """2, 2 and 12 bytes of a parameter: sharded by the stage, on the CPU by the offloads; the step's transfer."""
    count, p = 1_000_000 * draw.pick([7, 11, 13]), draw.pick([3, 5, 6])
    for stage, optimizer, params in itertools.product(range(4), ("cpu", "none", None), ("cpu", "none", None)):
        if (optimizer == "cpu" and stage < 1) or (params == "cpu" and stage < 3):
            continue
        zero = {"stage": stage}
        zero |= {} if optimizer is None else {"offload_optimizer": {"device": optimizer, "pin_memory": True}}
        zero |= {} if params is None else {"offload_param": {"device": params}}
        each = [2 / (p if stage > 2 else 1), 2 / (p if stage > 1 else 1), 12 / (p if stage > 0 else 1)]
        away = [params == "cpu", optimizer == "cpu" and stage > 1, optimizer == "cpu"]
        cpu = count * sum(size for size, there in zip(each, away, strict=True) if there)
        moved = count / p * (2 if params == "cpu" else 4) if optimizer == "cpu" else 0.0
        got = attempt.deepspeed_plan({MICRO: 1, "zero_optimization": zero}, p, count)
        want = {"gpu_bytes": count * sum(each) - cpu, "cpu_bytes": float(cpu), "transfer_bytes": float(moved)}
        of = f"bytes for {count:,} parameters on {p} ranks, {zero}"
        agree({name: float(got[name]) for name in want}, want, tol=1e-9, of=of)


# --- ShardedCheckpoint ------------------------------------------------------------------------------------------------


def draw_pieces(draw, lengths):
    """By rank: pieces of four dtypes, with NaN and -0.0 among them; of the last one or two numbers."""
    pieces = []
    for rank, n in enumerate(lengths):
        one = {
            "weight": draw.normal(n, dtype=torch.float32),
            "half": draw.normal(2 * n).bfloat16(),
            "count": draw.integers(-(2**62), 2**62, 3 * n),
            "few": draw.normal(1 + rank % 2),
        }
        if n:
            one["weight"][n // 2], one["half"][0] = math.nan, -0.0
        pieces.append(one)
    return pieces


def hold_moved(attempt, pieces, common, steps, counts):
    """What was saved on len(pieces) ranks comes back on others: pieces, step, common."""
    saved, loaded = attempt.run(drivers.moved, pieces, common, steps, counts)
    p = len(pieces)
    assert len(saved) == p, f"{len(saved)} of {p} ranks answered"
    assert [len(told) for told in loaded] == list(counts), "some ranks did not answer"
    size = sum(x.nbytes for one in pieces for x in one.values())
    for rank, told in enumerate(saved):
        of = f"rank {rank} of {p}"
        agree(told["earliest"], None, of=f"latest before anything was saved: {of}")
        agree(told["latest"], steps[-1], of=f"latest after steps {steps}: {of}")
        at_most(told["sent"], 1024, of=f"bytes handed over in save: {of}")
        assert told["left alone"], f"{of}: save changed a piece"
    at_most(
        saved[0]["grown"],
        size + 4096 + (16 + len(pieces[0])) * 1024 * p,
        of=f"bytes that the folder grew by, pieces of {size:,}, {p} ranks",
    )
    for count, ranks in zip(counts, loaded, strict=True):
        for rank, told in enumerate(ranks):
            of = f"saved on {p} ranks, loaded on {count}: rank {rank}"
            agree((told["step"], told["latest"]), (steps[-1], steps[-1]), of=f"the step: {of}")
            agree(told["common"], common, of=f"common: {of}")
            first = {"step": steps[0]} if len(steps) > 1 else common
            agree(told["first"], (steps[0], first), of=f"step and common of load({steps[0]}): {of}")
            for name in pieces[0]:
                whole = torch.cat([drivers._bits(one[name]) for one in pieces])
                want = drivers._bits(pieces[rank][name]) if count == p else whole.tensor_split(count)[rank]
                by_text = [pieces[int(i)] for i in sorted(map(str, range(p)))]
                known = {"rank 10 before rank 2": torch.cat([drivers._bits(one[name]) for one in by_text])}
                known = {k: v.tensor_split(count)[rank] for k, v in known.items()} if p > 10 else None
                agree(told["sharded"][name], want, of=f"the bits of {name!r}: {of}", known=known)
                agree(told["dtypes"][name], str(pieces[0][name].dtype), of=f"the dtype of {name!r}: {of}")
            at_most(told["sent"], 1024, of=f"bytes handed over in load: {of}")
            assert told["owned"], f"{of}: a loaded piece holds more memory than its own, or requires a gradient"
            assert told["apart"], (
                f"{of}: the next load wrote to a piece of the one before: a piece has memory of its own"
            )


@part("ShardedCheckpoint")
def test_pieces_come_back_on_any_number_of_ranks(attempt, draw):
    """Saved on two ranks with unequal pieces, loaded on 2 and 5: bits, dtypes, common, the largest step."""
    pieces = draw_pieces(draw, [draw.pick([2500, 2503]), 997])
    common = {"schedule": {"last": 3, "rates": [0.1, 0.2]}, "position": (4, 17), "name": "x", "none": None}
    hold_moved(attempt, pieces, common, [0, 999_999_999, 1_000_000_000], [2, 5])


@part("ShardedCheckpoint")
def test_eleven_ranks(attempt, draw):
    """Rank 10 stands behind rank 9, and not behind rank 1; some pieces are empty."""
    lengths = [3, 0, 5, 1, 1, 2, 1, 4, 1, 2, 3]
    hold_moved(attempt, draw_pieces(draw, lengths), {"n": 1}, [20], [1])


@part("ShardedCheckpoint")
def test_steps_that_are_there_or_not(attempt):
    """A step that is there is not written again, and one that is not there is not loaded."""
    ranks = attempt.run(drivers.refused)
    assert len(ranks) == 2, f"{len(ranks)} of 2 ranks answered"
    for rank, told in enumerate(ranks):
        of = f"rank {rank} of 2"
        agree(told["nothing"], ("FileNotFoundError", None, None), of=f"load, and latest, of an empty folder: {of}")
        agree(told["again"], "FileExistsError", of=f"what a second save of step 7 raises: {of}")
        at_most(told["grown"], 0, of=f"bytes that this second save left: {of}")
        agree(told["kept"], ([1.0 + rank] * 2, {"n": 1}), of=f"what load gives after it: {of}")
        agree(told["beside"], 7, of=f"latest, of an object that was made before step 7 was saved: {of}")
        agree(told["absent"], ("FileNotFoundError", "FileNotFoundError"), of=f"load of steps 6 and 70: {of}")


def draw_states(draw, steps):
    """Checkpoints with these steps."""
    return [(step, {"a": draw.normal(5), "b": draw.normal(40)}, {"n": draw.random.randrange(1000)}) for step in steps]


@part("ShardedCheckpoint")
def test_power_fails_at_every_file_call(attempt, draw):
    """Whenever power fails during save, load gives the checkpoint before it or the new one, whole, as latest says."""
    states, seen = draw_states(draw, [8, 9, 10]), []
    told = attempt.run(drivers.power_cuts, states)
    assert told, "nothing was tried"
    for k, one in enumerate(told):
        of = f"power failed at call {k} of save that touches a file ({one['call']})"
        if one["call"] == "none":
            of = "save of step 10, and then power failed"
            agree(one["found"], 10, of=f"what load gives: {of}")
        assert one["found"] in (9, 10), f"{of}: what load gives is {one['found']}; step 9 was whole, and 10 being saved"
        agree(one["latest"], one["found"], of=f"latest, beside what load gives: {of}")
        seen.append(one["found"])
    assert len(told) > 2, "save touches no file"
    agree(told[-1]["call"], "none", of="the call that failed, after 200 calls")
    agree(seen, sorted(seen), of="what load gives, the later power fails")


@part("ShardedCheckpoint")
def test_an_error_at_every_file_call(attempt, draw):
    """A call fails on a rank, and then power: both raise, the old checkpoint is whole, and a later save works."""
    told = attempt.run(drivers.errors, [{"a": draw.normal(5 + rank), "b": draw.normal(40)} for rank in range(2)])
    assert len(told) == 2, f"{len(told)} of 2 ranks answered"
    agree(len(told[1]), len(told[0]), of="how many failures rank 1 saw, beside rank 0")
    assert {one["who"] for one in told[0]} == {0, 1}, (
        "no call of a rank's save touches a file: each writes its own pieces"
    )
    for rank, failures in enumerate(told):
        for one in failures:
            of, step = f"{one['call'] or 'a call'} failed on rank {one['who']}, and rank {rank}", one["step"]
            assert one["raised"], f"{of} did not raise"
            if rank == one["who"]:
                assert one["raised"] == "OSError", f"{of} raised {one['raised']}, and no OSError"
            of += "; then power failed"
            assert one["old"], f"{of}: load({step}) does not give what step {step} was"
            assert one["found"] in (step, step + 1), (
                f"{of}: saving {step + 1} over {step}, what load gives is {one['found']}"
            )
            agree(one["latest"], one["found"], of=f"latest, beside what load gives: {of}")
            assert one["again"], f"{of}: a save of step {one['next']} after it is not what load gives"


@part("ShardedCheckpoint")
def test_a_value_that_cannot_be_written(attempt):
    """Where a value cannot be written on one rank, both raise, nothing new is there, and the next save works."""
    ranks, alone = attempt.run(drivers.values_that_fail)
    assert (len(ranks), len(alone)) == (2, 2), "not every rank answered"
    for rank, cases in enumerate(ranks):
        for failing, told in zip((0, 1), cases, strict=True):
            of = f"a value of rank {failing} cannot be written, rank {rank}"
            assert told["raised"], f"{of} did not raise"
            agree((told["latest"], told["later"]), (1, {"n": 3}), of=f"latest, and common after the next save: {of}")
    for failing, told in enumerate(alone):
        of = f"a step that failed with a value of rank {failing} on 2 ranks, saved on one rank"
        agree(told, (torch.full((2,), 5.0), {"n": 5}), of=f"what load gives: {of}")


@part("ShardedCheckpoint")
def test_a_run_goes_on_as_if_it_had_not_been_cut(attempt, draw):
    """Cut after any step, a run with dropout ends bit for bit as the uncut one; on other ranks it ends near it."""
    widths, count, start, data = (5, 4), 4, {}, {}
    for kind, dtype in (("noisy", torch.float32), ("calm", torch.float64)):
        start[kind] = draw.normal(5 * 4 + 4, dtype=dtype)
        data[kind] = [(draw.normal(12, 5, dtype=dtype), draw.normal(12, dtype=dtype)) for _ in range(count)]
    told, others = attempt.run(drivers.resumed, start, widths, data, 3)
    assert (len(told), len(others)) == (2, 3), "not every rank answered"
    uncut = {kind: told[0][kind]["uncut"] for kind in start}
    for rank, one in enumerate(told):
        for kind in start:
            assert len(one[kind]["ends"]) == count - 1, "not every cut was tried"
            for cut, end in enumerate(one[kind]["ends"], 1):
                of = f"the weights of a {kind} run that was cut after step {cut} of {count}, rank {rank} of 2"
                agree(end, uncut[kind], of=of)
                differ = int((end != uncut[kind]).sum())
                assert not differ, f"{of}: {differ} of {len(end)} differ in some bit from those of the uncut run"
    for rank, one in enumerate(others):
        assert len(one["ends"]) == count - 1, "not every cut was tried"
        for cut, end in enumerate(one["ends"], 1):
            agree(end, uncut["calm"], of=f"the weights of a run cut after step {cut} on 2 ranks that went on on 3")
        assert one["random left alone"], (
            f"saved on 2 ranks, loaded on 3: rank {rank}'s random numbers are not left alone"
        )


# --- TrainingMonitor --------------------------------------------------------------------------------------------------


class Watch:
    """The alarms by their definition, from the whole history at each step."""

    def __init__(self, window=50, warmup=10, factor=6.0, explosion=10.0, patience=1000):
        self.window, self.warmup, self.factor, self.explosion = window, warmup, factor, explosion
        self.patience = patience

    def holds(self, steps, i):
        loss, norm = steps[i]
        finite = [x for x, _ in steps[:i] if math.isfinite(x)]
        losses = finite[-self.window :]
        norms = [x for _, x in steps[:i] if math.isfinite(x)][-self.window :]
        told = []
        if not (math.isfinite(loss) and math.isfinite(norm)):
            told.append("nonfinite")
        if math.isfinite(loss) and len(losses) >= self.warmup:
            middle = statistics.median(losses)
            spread = statistics.median([abs(x - middle) for x in losses])
            if loss > middle + self.factor * max(spread, 0.01 * abs(middle)):
                told.append("spike")
        if math.isfinite(norm) and len(norms) >= self.warmup and norm > self.explosion * statistics.median(norms):
            told.append("explosion")
        since, best = 0, math.inf
        for x, _ in steps[: i + 1]:
            since += 1
            if math.isfinite(x) and x < best:
                best, since = x, 0
        if since >= self.patience:
            told.append("stall")
        return told

    def alarms(self, steps):
        held, said = [], []
        for i in range(len(steps)):
            now = self.holds(steps, i)
            said.append([name for name in now if name not in held])
            held = now
        return said


def hold_alarms(attempt, steps, options, restarts=(), known=None):
    got = attempt.run(drivers.observed, options, steps, restarts)
    want = Watch(**options).alarms(steps)
    assert len(got["alarms"]) == len(steps), "not every step was answered"
    for i, (one, expected) in enumerate(zip(got["alarms"], want, strict=True)):
        before = ", ".join(f"{x:g}/{y:g}" for x, y in steps[max(0, i - 5) : i])
        of = f"the alarms at step {i}, loss {steps[i][0]:g}, norm {steps[i][1]:g}, after ... {before}, {options}"
        agree(one, expected, of=of + (", restarted on the way" if restarts else ""))
    window = options.get("window", 50)
    assert not got["odd"], (
        f"the state holds a {got['odd']}; expected numbers, strings, bools, None, lists and dicts alone"
    )
    at_most(got["most"], 2 * window + 32, of=f"numbers in the state after {len(steps)} steps, window {window}")
    return want


@part("TrainingMonitor")
def test_each_alarm_by_hand(attempt):
    """A spike, an explosion, a NaN and a stall ring once each, at the step where they begin."""
    steps = [(5.0, 1.0), (4.0, 2.0), (3.0, 1.0), (40.0, 1.0), (41.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (2.0, 1.0)]
    hold_alarms(attempt, [*steps, (1.0, math.inf), (1.0, 1.0), (math.inf, 1.0)], {"warmup": 3})
    calm = [(3.0, 1.0)] * 4
    hold_alarms(
        attempt, [*calm, (3.0, 9.9), (3.0, 10.0), (3.0, 10.1), (3.0, 30.0), (3.0, 1.0), (3.0, 50.0)], {"warmup": 4}
    )
    hold_alarms(attempt, [(2.0, 1.0), *calm, (1.0, 1.0), *calm, *calm], {"patience": 3})
    hold_alarms(attempt, [*calm, (3.17, 1.0), (3.19, 1.0), (3.0, 1.0), (3.181, 1.0)], {"warmup": 4})
    hold_alarms(attempt, [(-3.0, 1.0)] * 4 + [(-2.83, 1.0), (-2.81, 1.0), (-3.0, 1.0), (-90.0, 1.0)], {"warmup": 4})
    for third in (7.5, 8.5):  # median 2, and 6 times a spread of 1
        hold_alarms(attempt, [(1.0, 1.0), (3.0, 1.0), (third, 1.0)], {"warmup": 2})
    hold_alarms(attempt, [*calm[:2], (9.0, 50.0), (9.0, 50.0)], {"warmup": 3})
    hold_alarms(attempt, [*calm, *calm], {"patience": 3})


@part("TrainingMonitor")
def test_what_is_not_finite(attempt):
    """NaN and both infinities ring, enter no history, and are neither spike nor explosion; a first step may be NaN."""
    inf, nan = math.inf, math.nan
    calm = [(1.0 + 0.1 * (i % 3), 1.0) for i in range(6)]
    for bad in ((nan, 1.0), (inf, 1.0), (-inf, 1.0), (1.0, nan), (1.0, inf), (nan, nan)):
        steps = [
            bad,
            bad,
            *calm,
            bad,
            bad,
            *calm[:2],
            bad,
            (9.0, 1.0),
            bad,
            (9.0, 99.0),
            (9.0, 99.0),
            *calm[:2],
            (nan, 99.0),
        ]
        hold_alarms(attempt, steps, {"warmup": 4, "patience": 5})
    hold_alarms(attempt, [(nan, 1.0)] * 9, {"patience": 4})
    hold_alarms(attempt, [*[(nan, inf)] * 4, (1.0, 1.0), (9.0, 99.0), (9.0, 99.0)], {"warmup": 4})


@part("TrainingMonitor")
def test_many_steps_and_restarts(attempt, draw):
    """Random runs with spikes and plateaus, in windows of any length, with and without a restart at many steps."""
    for window, warmup, patience in ((7, 3, 9), (4, 1, 5), (20, 12, 30)):
        steps = []
        for i in range(120):
            loss, norm = 3.0 * 0.99**i + 0.1 * draw.random.random(), 1.0 + draw.random.random()
            odd = draw.random.random()
            loss = loss + draw.random.uniform(0.3, 40.0) if odd < 0.2 else loss
            norm = norm * draw.random.uniform(3.0, 30.0) if 0.15 < odd < 0.3 else norm
            loss = math.nan if 0.3 < odd < 0.34 else loss
            steps.append((loss, math.inf if 0.34 < odd < 0.36 else norm))
        options = {"window": window, "warmup": warmup, "patience": patience, "factor": 4.0, "explosion": 5.0}
        hold_alarms(attempt, steps, options)
        hold_alarms(attempt, steps, options, restarts=tuple(range(0, 120, 3)))


@part("TrainingMonitor")
def test_defaults_and_a_long_run(attempt, draw):
    """window 50, warmup 10, factor 6, explosion 10, patience 1000; the state of 1,300 steps is no larger."""
    steps = [(2.0 + draw.random.random(), 1.0 + draw.random.random()) for _ in range(1300)]
    for i in (9, 10, 30, 55, 130, 131, 200, 700):
        steps[i] = (draw.random.uniform(3.2, 6.0), draw.random.uniform(9.0, 22.0))
    steps[140] = (0.5, 1.0)
    hold_alarms(attempt, steps, {}, restarts=(8, 60, 1250))


@part("TrainingMonitor")
def test_a_state_is_a_snapshot(attempt):
    """What is observed after state_dict, or after load_state_dict, does not change the state."""
    steps = [(3.0, 1.0), (3.1, 1.1), (2.9, 1.0), (2.95, 1.0)]
    others = [(9.0, 1.0), (9.0, 50.0), (2.0, 1.0), (9.0, 1.0), (math.nan, 1.0)]
    first, second, third = attempt.run(drivers.branched, steps, others)
    alarms = Watch(warmup=2).alarms(steps + others)[len(steps) :]
    agree(first, alarms, of="the alarms of a monitor after its state was taken")
    agree(second, alarms, of="the alarms of another one that goes on from this state")
    agree(third, alarms, of="the alarms of a third one, which loads the same state after the second has gone on")


# --- StreamingHistogram -----------------------------------------------------------------------------------------------


def edges():
    positive, edge = [], 1e-12
    while edge < 1e20:
        positive.append(edge)
        edge *= 1.1
    return [-edge for edge in positive[::-1]] + [0.0] + positive


def told_of(values, nonfinite, limits):
    counts = [0] * (len(limits) + 1)
    for v in values:
        counts[bisect.bisect_right(limits, v)] += 1
    return {
        "count": len(values),
        "nonfinite": nonfinite,
        "min": min(values, default=math.inf),
        "max": max(values, default=-math.inf),
        "sum": math.fsum(values),
        "sum_squares": math.fsum(v * v for v in values),
        "counts": counts,
    }


def flat(tensors):
    values = [v for x in tensors for v in x.double().flatten().tolist()]
    finite = [v for v in values if math.isfinite(v)]
    return finite, len(values) - len(finite)


LEVELS = [0.0, 0.001, 0.1, 0.25, 0.5, 0.77, 0.9, 0.999, 1.0]


def hold_summary(got, values, nonfinite, limits, of):
    want = told_of(values, nonfinite, limits)
    for name in want:
        if name != "counts":
            kind = type(got[name]).__name__
            assert isinstance(got[name], (int, float)), f"{name!r}: {of}: expected a number of Python's, got a {kind}"
    for name in ("count", "nonfinite", "counts"):
        agree(got[name], want[name], of=f"{name!r}: {of}")
    for name in ("min", "max"):
        assert got[name] == want[name], f"{name!r}: {of}: expected {want[name]!r}, got {got[name]!r}"
    size = math.sqrt(want["sum_squares"] * max(1, len(values)))
    assert abs(got["sum"] - want["sum"]) <= 1e-9 * (size + 1e-30), (
        f"'sum': {of}: expected {want['sum']}, got {got['sum']}"
    )
    agree(float(got["sum_squares"]), want["sum_squares"], tol=1e-9, of=f"'sum_squares': {of}")


@part("StreamingHistogram")
def test_counts_and_sums(attempt, draw):
    """Numbers of all sizes, signs and dtypes, zeros, edges, NaN and Inf, added tensor by tensor and merged."""
    limits = edges()
    sizes = torch.tensor([10.0**e for e in range(-15, 24, 3)], dtype=torch.float64)
    wild = draw.normal(40, len(sizes)) * sizes
    tiny = torch.tensor([[0.0, -0.0, math.nan], [math.inf, -math.inf, 1e-13]], dtype=torch.float64)
    exact = torch.tensor(
        [limits[700], limits[701], limits[-1], limits[0], limits[1], 1e300, -1e300], dtype=torch.float64
    )
    small = exact[:5]
    cases = {
        "one tensor": [[draw.normal(7, 5, dtype=torch.float32)]],
        "several tensors": [[draw.normal(31), draw.normal(0), draw.normal(3, 2, 2).mT * 1e-5, torch.tensor(2.5)]],
        "numbers of all sizes": [[wild, tiny]],
        "numbers on edges": [[small]],
        "half precision": [[torch.ones(3000).bfloat16() * 3, draw.normal(50).half(), draw.normal(50).bfloat16()]],
        "merged": [[draw.normal(20)], [draw.normal(5) * 1e4, tiny], [draw.normal(9).half()]],
        "merged, NaN in each": [[torch.tensor([1.0, math.nan])], [torch.tensor([math.nan, 2.0, math.inf])]],
        "merged with an empty one": [[draw.normal(6)], []],
        "an empty one, merged": [[], [draw.normal(6)]],
        "nothing finite": [[tiny[1, :2]]],
        "nothing": [[]],
    }
    for what, groups in cases.items():
        got = attempt.run(drivers.counted, groups, [])
        values, nonfinite = flat([x for group in groups for x in group])
        hold_summary(got["summary"], values, nonfinite, limits, what)
        hold_summary(got["later"][0], values + [1.0] * 3, nonfinite, limits, f"{what}, and then three ones")
        if len(groups) > 1:
            hold_summary(got["other"], *flat(groups[-1]), limits, f"the other one after a merge, {what}")
    got = attempt.run(drivers.counted, [[exact[5:]]], [])["summary"]
    agree((got["counts"][0], got["counts"][-1]), (1, 1), of="the outermost buckets of ±1e300")
    assert all(type(v) is int for v in got["counts"]), "'counts' holds something else than ints"


@part("StreamingHistogram")
def test_quantiles_lie_in_their_bucket(attempt, draw):
    """A quantile is at most 10 % off the number of that rank, and between min and max."""
    limits = edges()
    for what, x in {
        "normal": draw.normal(400),
        "positive, of all sizes": (draw.normal(301) * 4).exp(),
        "negative": -(draw.normal(90) * 2).exp(),
        "few": draw.normal(3),
        "one": draw.normal(1),
        "merged": draw.normal(77) * 10,
        "alike": torch.full((40,), 1.2345, dtype=torch.float64),
        "ten": torch.arange(1.0, 11.0),
        "huge": torch.tensor([3e21, 5e25, -7e22]).double(),
        "with zeros": torch.cat([torch.zeros(50), draw.normal(51).float()]),
    }.items():
        ordered = sorted(x.double().tolist())
        told = attempt.run(drivers.counted, [[x[:9]], [x[9:]]] if what == "merged" else [[x]], LEVELS)
        got = told["quantiles"]
        assert len(got) == len(LEVELS), f"{len(got)} of {len(LEVELS)} quantiles of {what} numbers"
        asked = [(ordered, q, value) for q, value in zip(LEVELS, got, strict=True)]
        for row, q, value in [*asked, (sorted([*ordered, 1.0, 1.0, 1.0]), 0.5, told["later"][1])]:
            kind = type(value).__name__
            assert isinstance(value, (int, float)), f"quantile({q}) gave a {kind}; expected a number of Python's"
            rank = row[max(1, math.ceil(q * len(row))) - 1]
            of = f"quantile({q}) of {len(row)} {what} numbers"
            if q in (0.0, 1.0):
                agree(float(value), rank, of=of)
                continue
            place = bisect.bisect_right(limits, rank)
            low = max(row[0], limits[place - 1] if place else -math.inf)
            high = min(row[-1], limits[place] if place < len(limits) else math.inf)
            slack = 1e-12 * max(abs(low), abs(high))
            assert low - slack <= value <= high + slack, (
                f"{of}: got {value:g}; rank {rank:g} lies in [{low:g}, {high:g})"
            )
    for groups in ([[]], [[torch.tensor([math.nan])]]):
        with refusal(ValueError, of="a quantile of nothing finite"):
            attempt.run(drivers.counted, groups, [0.5])


@part("StreamingHistogram")
def test_a_histogram_does_not_grow(attempt, draw):
    """After 40,000 numbers and a merge at most 64 KB of what was made are alive."""
    xs = [draw.normal(n) for n in (4000, 4000, 4000, 4000, 4000, 20_000)]
    count, cost = attempt.cost(drivers.histogram_keeps, xs)
    agree(count, 44_000, of="the count after 40,000 numbers and a merge")
    at_most(cost.kept, 64 * 1024, of="bytes alive of what add and merge made", known={"all numbers": 8 * 44_000})
    grown, count = attempt.run(drivers.histogram_weighs, xs)
    agree(count, 44_000, of="the count after 40,000 numbers and a merge")
    at_most(grown, 64 * 1024, of="bytes of Python's own values that add and merge made, and that are alive")


# --- first_nonfinite --------------------------------------------------------------------------------------------------


def find(attempt, layers, x, loss="sum", had=False, turned=False):
    got = attempt.run(drivers.blamed, layers, x, loss, had, turned)
    names = [one[0] if isinstance(one, tuple) else [inner[0] for inner in one] for one in layers]
    of = f"first_nonfinite of {names}, loss {loss}"
    of += ", modules registered from last to first" if turned else ""
    assert got["gradients"], f"{of}: the gradients are not what they were before"
    agree(got["hooks"], 0, of=f"hooks that are left: {of}")
    at_most(got["passes"], 1, of=f"forward passes: {of}")
    assert got["modes"], f"{of}: a module's mode is another one"
    assert got["trains"], f"{of}: a parameter requires a gradient that did not, or none any more"
    assert got["buffers"], f"{of}: a buffer is not what it was before"
    assert not got["x"], f"{of}: x requires a gradient, or has one"
    return got["told"], of


@part("first_nonfinite")
@pytest.mark.parametrize("had", [False, True])
def test_who_is_to_blame(attempt, draw, had):
    """The first module that takes what is finite and gives what is not, forward and, where that is finite, backward."""
    w, v = draw.normal(4, 4), draw.uniform(4, low=0.5, high=2.0)
    x = draw.uniform(3, 4, low=0.5, high=2.0)
    bad, zero = x.clone(), x.clone()
    bad[1, 2], zero[2, 1] = -1.0, 0.0
    spoilt, root = w.clone(), v.clone()
    spoilt[0, 3], root[2] = math.nan, 0.0
    table = torch.tensor([[0.4, 1.0], [-2.0, 0.5], [1.5, 2.5]], dtype=torch.float64)
    naught = torch.tensor([[0.4, 1.0], [0.0, 0.5], [1.5, 2.5]], dtype=torch.float64)
    tokens = torch.tensor([[0, 1], [2, 0]])
    same, tanh, exp = ("same", None), ("tanh", None), ("exp", None)
    for layers, value, loss, want in (
        ([("times", w), tanh, ("times", w)], x, "sum", None),
        ([("times", w), tanh], torch.where(x > 1, math.inf, x), "sum", ("input", "")),
        ([same, ("times", spoilt), tanh], x, "sum", ("parameter", "1.weight")),
        ([same, ("times", spoilt), tanh], torch.where(x > 1, math.nan, x), "sum", ("input", "")),
        ([("times", w), tanh], x, "raises", ("raised", "")),
        ([same, ("log", None), tanh, ("times", w)], bad, "sum", ("forward", "1")),
        ([same, [same, ("log", None), tanh], ("log", None)], zero, "sum", ("forward", "1.inner.1")),
        ([("log", None), ("log", None)], bad, "sum", ("forward", "0")),
        ([exp, exp, exp, exp], 5 * x, "sum", ("forward", "1" if float((5 * x).exp().max()) > 709.8 else "2")),
        ([("table", table), ("log", None), same], tokens, "sum", ("forward", "1")),
        ([same, ("times", -w.abs())], x, "log", ("loss", "")),
        ([[same], same], x * 0 + 1.5e308, "sum", ("loss", "")),
        ([same, tanh], x * 0 + 1.5e308, "sum", None),
        ([same, ("times", w)], x, "root", ("loss", "")),
        ([same, ("root", None), tanh, ("times", w)], zero, "sum", ("backward", "1")),
        ([same, [same, ("safe root", None), tanh], same], zero, "sum", ("backward", "1.inner.1")),
        ([("root", None), same, ("safe root", None), same], zero, "sum", ("backward", "2")),
        ([tanh, ("root of weight", root), same], x, "sum", ("backward", "1")),
        ([("root of weight", root), same], x, "sum", ("backward", "0")),
        ([("root of weight", root), same, ("root of weight", root)], x, "sum", ("backward", "2")),
        ([("table", naught), same, ("root", None), same], tokens, "sum", ("backward", "2")),
        ([("log", None)], bad, "sum", ("forward", "")),
        ([("root", None)], zero, "sum", ("backward", "")),
        ([("frozen times", w), tanh, ("times", w)], x, "sum", None),
        ([("frozen times", w.float().abs()), ("log", None), ("times", w.float())], -x.float(), "sum", ("forward", "1")),
    ):
        told, of = find(attempt, layers, value, loss, had, turned=had)
        agree(None if told is None else tuple(told), want, of=of)
