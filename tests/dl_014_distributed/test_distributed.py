"""The hidden checks of dl_014_distributed. Ranks are real: processes of one gloo group."""

import math
from functools import cache, partial

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.cost import Cost

from . import drivers


def bytes_by(said, kind):
    """Bytes handed to the operators whose name has `kind` in it, however the operator is spelled."""
    return sum(size for name, size in said["bytes"].items() if kind in name)


def calls_by(said, kind):
    return sum(times for name, times in said["calls"].items() if kind in name)


def check_kinds(said, want, of):
    """want: how many calls of each kind of operator; nothing else may be sent."""
    got = {kind: calls_by(said, kind) for kind in want}
    got["anything else"] = sum(said["calls"].values()) - sum(got.values())
    agree(got, {**want, "anything else": 0}, of=of)


def at_least(size, least, of):
    """Bytes that have to travel, and were handed to torch.distributed."""
    known = "nothing was sent" if not size else f"{size:,} bytes were sent"
    assert size >= least, f"{of}: {known} through torch.distributed, and {least:,} have to be; how did the rest travel?"


def pieces(n, p):
    """How torch.tensor_split cuts n into p: the first ones have one more."""
    return [n // p + (r < n % p) for r in range(p)]


# -------------------------------------------------------------------------------------------------- mesh_coordinates


@part("mesh_coordinates")
def test_the_first_axis_varies_fastest(attempt):
    """Every rank of a small mesh has the coordinates that counting along the first axis first gives it."""
    sizes = {"tensor": 2, "pipe": 3, "data": 5}
    want = [{"tensor": i, "pipe": j, "data": k} for k in range(5) for j in range(3) for i in range(2)]
    got = attempt.each("mesh_coordinates", [(rank, sizes) for rank in range(30)])
    last = [{"tensor": i, "pipe": j, "data": k} for i in range(2) for j in range(3) for k in range(5)]
    agree(got, want, of=f"the ranks 0 .. 29 of {sizes}", known={"the last axis varying fastest": last})
    assert list(got[7]) == list(sizes), f"the axes come in the order {list(got[7])}, not as in {sizes}"
    sizes = {"data": 7}
    agree(attempt.mesh_coordinates(6, sizes), {"data": 6}, of=f"rank 6 of {sizes}")
    agree(attempt.mesh_coordinates(0, {}), {}, of="rank 0 of a mesh without axes")


@part("mesh_coordinates")
def test_llama_3_405b(attempt):
    """On 16,384 GPUs as 8 · 16 · 16 · 8 (128 K context), ranks stand where Llama 3 puts them."""
    sizes = {"tensor": 8, "context": 16, "pipe": 16, "data": 8}
    ranks = (0, 9000, 9007, 16383)
    for rank, got in zip(ranks, attempt.each("mesh_coordinates", [(rank, sizes) for rank in ranks]), strict=True):
        want = {"tensor": rank % 8, "context": rank // 8 % 16, "pipe": rank // 128 % 16, "data": rank // 2048}
        agree(got, want, of=f"rank {rank} of {sizes}")


@part("mesh_coordinates")
def test_a_rank_outside_the_mesh_is_refused(attempt):
    """Negative ranks, and those from the product of the sizes on, raise ValueError."""
    for rank, sizes in ((-1, {"a": 3, "b": 2}), (6, {"a": 3, "b": 2}), (11, {"a": 3, "b": 2}), (1, {})):
        with refusal(ValueError, of=f"rank {rank} of a mesh {sizes}"):
            attempt.mesh_coordinates(rank, sizes)


@part("mesh_coordinates")
def test_groups_differ_along_one_axis_only(attempt):
    """Along each axis, the groups hold every rank once, ascending, the groups by their first rank."""
    sizes = {"tensor": 2, "pipe": 3, "data": 5}
    grid = torch.arange(30).view(5, 3, 2)
    asked = [*((sizes, axis) for axis in sizes), ({"data": 3}, "data"), ({"a": 1, "b": 2}, "a")]
    *groups, only, single = attempt.each("mesh_groups", asked)
    for i, (axis, got) in enumerate(zip(sizes, groups, strict=True)):
        rows = grid.movedim(2 - i, -1).reshape(-1, sizes[axis]).tolist()
        agree(got, rows, of=f"the groups of {sizes} along {axis}")
    agree(only, [[0, 1, 2]], of="the groups of a mesh of 3 along its only axis")
    agree(single, [[0], [1]], of="the groups along an axis of 1")


# ------------------------------------------------------------------------------------------------------- zero_memory


@part("zero_memory")
def test_the_papers_table(attempt):
    """7.5 B parameters on 64 ranks take 120, 31.4, 16.6 and 1.88 GB (ZeRO, table 1)."""
    n = 7_500_000_000
    known = [{}, {"the gradients sharded, and not the states": 14 * n + 2 * n / 64}, {}, {}]
    got = attempt.each("zero_memory", [(n, 64, stage) for stage in range(4)])
    for stage, per in enumerate((16, 4 + 12 / 64, 2 + 14 / 64, 16 / 64)):
        agree(
            got[stage],
            float(n * per),
            of=f"bytes for 7.5 B parameters on 64 ranks at stage {stage}",
            known=known[stage],
        )


@part("zero_memory")
def test_other_bytes_and_ranks(attempt, draw):
    """The bytes of a parameter, a gradient and the states count each for itself; one rank saves nothing."""
    n, p = 1_000_003, draw.pick([3, 7, 13])
    sizes = {"param_bytes": 4, "grad_bytes": 3, "state_bytes": 8.5}
    got = attempt.each("zero_memory", [(n, p, stage) for stage in range(4)], **sizes)
    alone = attempt.each("zero_memory", [(n, 1, stage) for stage in range(4)])
    for stage in range(4):
        split = [x / p if i >= 3 - stage else x for i, x in enumerate((4, 3, 8.5))]
        of = f"bytes for {n:,} parameters on {p} ranks at stage {stage}, {sizes}"
        agree(got[stage], float(n * sum(split)), of=of)
        agree(alone[stage], 16.0 * n, of=f"bytes for {n:,} parameters on 1 rank at stage {stage}")


@part("zero_memory")
def test_stages_that_do_not_exist_are_refused(attempt):
    """Stages but 0 to 3, and fewer ranks than one, raise ValueError."""
    for ranks, stage in ((2, 4), (2, -1), (0, 1), (-2, 3), (0, 0)):
        with refusal(ValueError, of=f"stage {stage} on {ranks} ranks"):
            attempt.zero_memory(10, ranks, stage)


# --------------------------------------------------------------------------------------------------- ring_all_reduce


def by_rank(told, p):
    """Each rank and what it says: all p of them."""
    assert len(told) == p, f"{len(told)} of {p} ranks answered"
    return enumerate(told)


NUMBERS = (torch.int8, torch.uint8, torch.int32, torch.float16, torch.bfloat16)
SHAPES = [(4,), (12,), (5, 3), (7, 2, 3), (2,), (1,), (), (0,), (3, 0), (101,)]


@part("ring_all_reduce")
@pytest.mark.parametrize("p", [2, 3, 1])
def test_every_rank_gets_the_sum(attempt, draw, p):
    """Tensors of any shape, also of fewer numbers than ranks, add up on every rank."""
    parts = [[draw.normal(*shape) for shape in SHAPES] for _ in range(p)]
    got = attempt.run(drivers.ring, parts)
    for rank, said in by_rank(got, p):
        for i, shape in enumerate(SHAPES):
            total = torch.stack([mine[i] for mine in parts]).sum(0)
            known = {
                "the rank's own x": parts[rank][i],
                "the average": total / p,
                "p times the sum": total * p,
                "the sum of this rank and the one before": parts[rank][i] + parts[rank - 1][i],
            }
            agree(said[i]["sum"], total, of=f"rank {rank} of {p}, x of shape {shape}", known=known)


@part("ring_all_reduce")
def test_dtypes_strides_and_arguments(attempt, draw):
    """All number dtypes and strided tensors work; the result is new, and x is left alone."""
    parts = [
        [
            draw.normal(3, 5, dtype=torch.float32),
            draw.integers(-100, 100, 7) * (2**54 + 1),  # float64 holds no such number
            *(draw.integers(0, 40, 7).to(dtype) for dtype in NUMBERS),
            torch.complex(draw.normal(4, 3), draw.normal(4, 3)),
            draw.normal(6, 5).T,
            draw.normal(4, 7)[:, ::3],
            draw.normal(3, 1).expand(3, 5),
        ]
        for _ in range(2)
    ]
    parts.append([x.clone() for x in parts[0]])  # another layout than the others'
    for p in (3, 1):
        got = attempt.run(drivers.ring, parts[:p])
        for rank, said in by_rank(got, p):
            for i, x in enumerate(parts[rank]):
                total = sum(mine[i] for mine in parts[:p])
                of = f"rank {rank} of {p}, x of shape {tuple(x.shape)}, strides {x.stride()}, {x.dtype}"
                agree(said[i]["sum"], total, of=of)
                agree(said[i]["x afterwards"], x, of=f"x after the call: {of}")
                assert not said[i]["memory shared with x"], f"{of}: the result is no new tensor, it shares x's memory"


@part("ring_all_reduce")
def test_ranks_hold_the_same_bits(attempt, draw):
    """The sums are equal to the last bit on all ranks: each chunk is added up in one order."""
    parts = [[draw.normal(997, dtype=torch.float32) * 10.0**rank] for rank in range(3)]
    sums = [said[0]["sum"] for said in attempt.run(drivers.ring, parts)]
    total = torch.stack([mine[0].double() for mine in parts]).sum(0)
    agree(sums[0], total.float(), of="997 numbers on 3 ranks")
    for rank, value in by_rank(sums, 3):
        agree(value, sums[0], of=f"rank {rank} of 3, 997 numbers")
        differ = int((value != sums[0]).sum())
        assert not differ, f"{differ} of 997 sums on rank {rank} differ from rank 0's"


@part("ring_all_reduce")
def test_bytes_and_messages(attempt, draw):
    """A rank sends 2·(p - 1) messages of ceil(n / p) numbers at most, to its neighbours, and calls no collective."""
    p, sizes = 4, (1200, 1201, 3, 1)  # with fewer ranks, all are neighbours
    parts = [[draw.normal(n) for n in sizes] for _ in range(p)]
    told = attempt.run(drivers.ring, parts)
    for i, n in enumerate(sizes):
        total = sum(bytes_by(said[i], "send") for said in told)
        at_least(total, 16 * (p - 1) * n, of=f"{p} ranks together, {n} numbers")
    for rank, said in by_rank(told, p):
        for i, n in enumerate(sizes):
            of = f"rank {rank} of {p}, {n} numbers"
            agree(said[i]["sum"], sum(mine[i] for mine in parts), of=of)
            others = sorted(name for name in said[i]["calls"] if name != "send")
            assert not others, f"{of}: the collective {others[0]} was called; only sends and receives are allowed"
            c = -(-n // p)
            whole = {
                "sending all of x to each other rank": 8 * (p - 1) * n,
                "2·(p - 1) messages of all": 16 * (p - 1) * n,
            }
            at_most(bytes_by(said[i], "send"), 16 * (p - 1) * c, of=f"bytes sent: {of}", known=whole)
            at_most(calls_by(said[i], "send"), 2 * (p - 1), of=f"messages sent: {of}")
            others = sorted(set(said[i]["to"]) - {(rank + 1) % p, (rank - 1) % p})
            assert not others, f"{of}: a message went to rank {others[0] if others else ''}, which is no neighbour"


# ------------------------------------------------------------------------------------------------------ DataParallel


def net(state, x):
    """What drivers._Net computes with a state, times 2."""
    hidden = torch.tanh(x @ state["up.weight"].T + state["up.bias"] + state["shift"]) * state["scale"]
    return (hidden @ state["down.weight"].T + state["down.bias"]) * 2


def draw_state(draw, dtype):
    sizes = {"up.weight": (7, 5), "up.bias": (7,), "shift": (7,), "scale": (7,)}
    sizes |= {"down.weight": (3, 7), "down.bias": (3,)}
    return {name: draw.normal(*size, dtype=dtype) for name, size in sizes.items()}


def sgd(state, xs, ys, lr, scales=(1, 1, 1)):
    """One process, whole batches, losses scaled: the state before and after each step."""
    states = [state]
    for x, y, scale in zip(xs, ys, scales, strict=True):
        names = [name for name in state if "." in name]
        leaves = {name: state[name].clone().requires_grad_() for name in names}
        loss = (net({**state, **leaves}, x) - y).square().sum() * scale / max(len(x), 1)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        state = {**state, **{name: state[name] - lr * g for name, g in zip(names, grads, strict=True)}}
        states.append(state)
    return states


@part("DataParallel")
def test_all_start_as_rank_0(attempt):
    """Parameters, frozen ones too, and buffers take rank 0's values, in place."""
    got = attempt.run(drivers.start, 3)
    first = got[0][0]
    for rank, (before, after, same) in by_rank(got, 3):
        known = {"what the rank had before": before}
        agree(after, first, of=f"rank {rank} of 3: the state after wrapping", known=known)
        assert same, f"rank {rank} of 3: `.module` is another module, or its tensors lie in other memory than before"


@part("DataParallel")
def test_weights_are_those_of_one_process(attempt, draw):
    """After each of three steps, all ranks have the weights that one process has after the whole batch."""
    cases, shares = [], ([4, 3, 5], [1, 4, 0], [2, 2, 6])
    for dtype, bucket_bytes in ((torch.float64, None), (torch.float32, 200), (torch.float64, 1)):
        xs, ys = ([[draw.normal(n, d, dtype=dtype) for n in rows] for rows in shares] for d in (5, 3))
        cases.append((draw_state(draw, dtype), xs, ys, bucket_bytes))
    got = attempt.run(drivers.train, cases, 0.05)
    for i, (state, xs, ys, bucket_bytes) in enumerate(cases):
        whole = [[torch.cat([share[step] for share in side]) for step in range(3)] for side in (xs, ys)]
        want = sgd(state, *whole, 0.05)
        for rank in range(3):
            own = [3 * len(x) / sum(rows[step] for rows in shares) for step, x in enumerate(xs[rank])]
            alone = cache(partial(sgd, state, xs[rank], ys[rank], 0.05, own))
            for step in range(4):
                of = f"rank {rank} of 3 after {step} steps, ranks with {shares} rows by step, {bucket_bytes=}"
                known = {"the rank's own rows alone": lambda alone=alone, step=step: alone()[step]}
                agree(got[rank][i][step], want[step], of=of, known=known)


def greedy(sizes, limit):
    """The buckets, as lists of places in the chain, in the order in which they go out."""
    found, held = [], math.inf
    for i in reversed(range(len(sizes))):
        if held + sizes[i] > limit:
            found.append([])
            held = 0
        found[-1].append(i)
        held += sizes[i]
    return found


def chain_grads(factors, order):
    """Gradients of drivers._Chain on one rank; None where it was not used."""
    grads = [None] * len(factors)
    for power, i in enumerate(reversed(order)):
        grads[i] = factors[i] * 2.0**power
    return grads


def mean(by_rank):
    """The average over the ranks of lists of tensors, None standing for zeros."""
    return [
        sum(g for g in column if g is not None) / len(column) if any(g is not None for g in column) else None
        for column in zip(*by_rank, strict=True)
    ]


@part("DataParallel")
def test_buckets_go_out_during_backward(attempt, draw):
    """Each bucket is one all-reduce, sent during backward as soon as its last gradient is there."""
    sizes, limits = [1, 4, 7, 5, 6, 6, 2, 13, 3], (12, 11, 1, 100)
    factors = [[draw.normal(n) for n in sizes] for _ in range(2)]
    want = mean([chain_grads(f, range(len(sizes))) for f in factors])
    got = attempt.run(drivers.buckets, sizes, [8 * limit for limit in limits], factors)
    for rank, told in by_rank(got, 2):
        for limit, said in zip(limits, told, strict=True):
            groups = greedy([8 * n for n in sizes], 8 * limit)
            of = f"rank {rank} of 2, parameters of {[8 * n for n in sizes]} bytes, bucket_bytes={8 * limit}"
            agree(said["grads"], want, of=f"averaged gradients: {of}")
            check_kinds(said["during"], {"allreduce": len(groups)}, f"messages during backward: {of}")
            check_kinds(said["after"], {"allreduce": 0}, f"messages during finish: {of}")
            padded = sum(-(-sum(sizes[i] for i in group) // 2) * 2 for group in groups)
            at_most(bytes_by(said["during"], "allreduce"), 8 * padded, of=f"bytes sent: {of}")
            at_least(bytes_by(said["during"], "allreduce"), 8 * sum(sizes), of=of)
            for done, group in enumerate(groups, 1):
                place = min(group)  # its gradient comes last; then backward passes the mark of that parameter
                if place > 0:
                    early = said["events"][: said["events"].index(place)]
                    out = sum("allreduce" in str(event) for event in early)
                    assert out >= done, f"{of}: {out} buckets were out where the gradients of {done} were complete"


@part("DataParallel")
def test_buckets_are_25_mib_by_default(attempt):
    """Without bucket_bytes, parameters of 25 MiB are one bucket, and of 8 bytes more are two."""
    full = 25 * 2**20
    cases = {
        1: ([1, full // 4 - 1], torch.float32),
        2: ([2, full // 8 - 1], torch.float64),
    }
    (told,) = attempt.run(drivers.default_buckets, list(cases.values()))
    for (want, (sizes, dtype)), said in zip(cases.items(), told, strict=True):
        of = (
            f"messages for parameters of {[dtype.itemsize * n for n in sizes]} bytes, {dtype}, the first with two names"
        )
        check_kinds(said, {"allreduce": want}, of)


@part("DataParallel")
def test_ranks_may_take_different_branches(attempt, draw):
    """Buckets go out in one order on all ranks, and parameters that a rank did not reach count as zeros."""
    factors = [[draw.normal(5) for _ in range(4)] for _ in range(3)]
    cases = ([[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]], [[0, 1, 3], [3, 0], [3, 0]], [[2], [1, 0], [3, 2]])
    got = attempt.run(drivers.orders, factors, cases, 2)
    for case, orders in enumerate(cases):
        want = mean([chain_grads(f, order) for f, order in zip(factors, orders, strict=True)])
        want = [torch.zeros(5, dtype=torch.float64) if g is None else g for g in want]
        for rank in range(3):
            for i in range(2):
                of = f"gradients on rank {rank}, round {i}, where the ranks use the parameters {orders} in this order"
                agree(got[rank][case][i], want, of=of)


@part("DataParallel")
def test_no_sync_adds_up_and_sends_nothing(attempt, draw):
    """Under no_sync nothing is sent; the next backward outside sends the sum, also where the block raised."""
    sizes = [3, 5, 2]
    factors = [[[draw.normal(n) for n in sizes] for _ in range(3)] for _ in range(2)]
    every = [0, 1, 2]
    cases = ((0, False, every, False), (2, False, every, False), (1, True, every, False), (1, False, [1, 2], False))
    cases += ((2, False, every, True),)
    got = attempt.run(drivers.accumulate, factors, cases)
    for i, (quiet, fails, last, nested) in enumerate(cases):
        each = [[chain_grads(f, every) for f in mine[:quiet]] + [chain_grads(mine[quiet], last)] for mine in factors]
        total = mean([[sum(g for g in column if g is not None) for column in zip(*mine, strict=True)] for mine in each])
        for rank in range(2):
            said = got[rank][i]
            of = f"rank {rank} of 2, {quiet} micro-batches under no_sync, 1 outside over parameters {last}"
            of += ", an exception out of the last no_sync" if fails else ""
            of += ", each after another no_sync that began and ended inside" if nested else ""
            agree(said["grads"], total, of=f"gradients: {of}")
            alone = mean([chain_grads(mine[quiet], every) for mine in factors])
            agree(
                said["grads of the second"], alone, of="a second model, backward before the first one's finish: " + of
            )
            check_kinds(said["quiet"], {"allreduce": 0}, f"messages under no_sync: {of}")
            whole = len(last) == 3  # else the bucket waits for finish
            check_kinds(said["during"], {"allreduce": int(whole)}, f"messages in the backward outside: {of}")
            check_kinds(said["after"], {"allreduce": int(not whole)}, f"messages in finish: {of}")


# ----------------------------------------------------------------------------------------------------- ZeroOptimizer

WEIGHTS = [(5, 3), (7,), (1,), (), (2, 2, 3)]
OPTIMIZERS = {
    "Adam": {"lr": 0.05, "betas": (0.8, 0.9)},
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.03},
    "AdamW": {"lr": 0.05, "weight_decay": 0.2},
}


def stepped(weights, grads, steps, name, defaults):
    """One process: torch's optimizer on the averaged gradients, summed over the passes. Weights after each step."""
    params = [torch.nn.Parameter(w.clone()) for w in weights]
    optimizer, said, i = getattr(torch.optim, name)(params, **defaults), [], 0
    for passes in steps:
        if passes > 0:
            optimizer.zero_grad()
        for _ in range(abs(passes)):
            for n, q in enumerate(params):
                columns = [mine[i][n] for mine in grads]
                if columns[0] is not None:
                    g = sum(columns) / len(columns)
                    q.grad = g if q.grad is None else q.grad + g
            i += 1
        if len(said) == len(steps) - 1:
            optimizer.param_groups[0]["lr"] /= 2
        optimizer.step()
        said.append([q.detach().clone() for q in params])
    return said


def draw_zero(draw, p, stage, name, steps, dtype=torch.float64, missing=()):
    """A case for drivers.zero. missing: the pass from which on a parameter gets no gradient, by its place."""
    weights, ends = [draw.normal(*shape, dtype=dtype) for shape in WEIGHTS], dict(missing)
    grads = [
        [
            [draw.normal(*shape, dtype=dtype) if i < ends.get(n, i + 1) else None for n, shape in enumerate(WEIGHTS)]
            for i in range(sum(map(abs, steps)))
        ]
        for _ in range(p)
    ]
    how = {"stage": stage, "name": name, "defaults": OPTIMIZERS[name]}
    return {"weights": weights, "grads": grads, "steps": steps, **how}


def check_zero(attempt, cases):
    """Weights after each step. Returns what the ranks said, by rank, by case."""
    got, p = attempt.run(drivers.zero, cases), len(cases[0]["grads"])
    for n, case in enumerate(cases):
        weights, grads, steps, stage = (case[key] for key in ("weights", "grads", "steps", "stage"))
        how = steps, case["name"], case["defaults"]
        want = stepped(weights, grads, *how)
        times_p = [[[None if g is None else p * g for g in one] for one in mine] for mine in grads]
        summed = cache(partial(stepped, weights, times_p, *how))
        for rank in range(p):
            alone = cache(partial(stepped, weights, [grads[rank]], *how))
            for i, said in zip(range(len(steps)), got[rank][n], strict=True):
                of = f"rank {rank} of {p}, stage {stage}, {case['name']} after {i + 1} steps"
                of += f", passes for each {steps[: i + 1]}" + " (-1: no zero_grad before)" * (-1 in steps[: i + 1])
                of += ", the last with half the learning rate in `.optimizer.param_groups`" * (i == len(steps) - 1)
                known = {
                    "the rank's own gradients": lambda alone=alone, i=i: alone()[i],
                    "gradients summed, not averaged": lambda summed=summed, i=i: summed()[i],
                }
                agree(said["weights"], want[i], of=of, known=known)
                assert said["in place"], f"{of}: a parameter lies in other memory than before, so not updated in place"
                if steps[i] > 0:
                    assert said["cleared"], f"{of}: a parameter has a gradient after zero_grad"
    return got


@part("ZeroOptimizer")
@pytest.mark.parametrize("stage", [1, 2])
def test_steps_are_those_of_one_process(attempt, draw, stage):
    """After each step all ranks have the weights of one process with the averaged gradients."""
    ways = [(dtype, *way) for dtype in (torch.float64, torch.float32) for way in (("SGD", [1, 1]), ("Adam", [1, 1, 1]))]
    check_zero(attempt, [draw_zero(draw, 3, stage, name, steps, dtype) for dtype, name, steps in ways])


@part("ZeroOptimizer")
@pytest.mark.parametrize("stage", [1, 2])
def test_passes_add_up(attempt, draw, stage):
    """Gradients of several passes add up; a step without a new pass uses them again; some may be missing."""
    check_zero(attempt, [draw_zero(draw, 2, stage, "AdamW", [2, 0, -1, 3], missing={1: 0, 4: 3})])
    check_zero(attempt, [draw_zero(draw, 1, stage, "AdamW", [2, 0, -1, 1])])


@part("ZeroOptimizer")
def test_stage_1_is_the_default_and_others_are_refused(attempt, draw):
    """Without a stage, gradients stay whole until the step; stages but 1 and 2 raise ValueError."""
    for ((said,),) in check_zero(attempt, [draw_zero(draw, 2, None, "Adam", [1])]):
        kept = list(range(len(WEIGHTS)))
        agree(said["kept"], kept, of="parameters with a gradient after backward, no stage given")
        agree(said["backward"]["bytes"], {}, of="bytes sent during backward, no stage given")
    agree(attempt.run(drivers.zero_stages, [0, 3, 1, 2, -1]), [[0, 3, -1]], of="the stages that raised ValueError")


@part("ZeroOptimizer")
@pytest.mark.parametrize("stage", [1, 2])
def test_states_are_sharded(attempt, draw, stage):
    """Adam's states on a rank hold 2 · ceil(n / p) numbers of a parameter of n; at stage 2 no gradient stays whole."""
    p, sizes = 2, [math.prod(shape) for shape in WEIGHTS]
    limit = 2 * sum(-(-n // p) for n in sizes)
    for rank, ((_, said),) in by_rank(check_zero(attempt, [draw_zero(draw, p, stage, "Adam", [1, 1])]), p):
        of = f"rank {rank} of {p}, stage {stage}"
        known = {"keeping all of them": 2 * sum(sizes)}
        at_most(said["states"], limit, of=f"numbers in the states of `.optimizer`: {of}", known=known)
        assert said["states"] >= limit // 2, f"{of}: `.optimizer` holds {said['states']} numbers of state"
        kept = list(range(len(sizes))) if stage == 1 else []
        agree(said["kept"], kept, of=f"parameters that have a whole gradient after backward: {of}")


@part("ZeroOptimizer")
@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_moves_what_an_all_reduce_moves(attempt, draw, stage):
    """A step hands over each gradient once and a piece of each parameter: no all-reduce, no gathered gradients."""
    p, sizes = 3, [math.prod(shape) for shape in WEIGHTS]
    c = 8 * sum(-(-n // p) for n in sizes)
    for rank, ((_, said),) in by_rank(check_zero(attempt, [draw_zero(draw, p, stage, "SGD", [1, 1])]), p):
        of = f"rank {rank} of {p}, stage {stage}"
        both = [said["backward"], said["step"]]
        assert not any(calls_by(one, "allreduce") for one in both), f"{of}: an all-reduce was called"
        total = sum(sum(one["bytes"].values()) for one in both)
        at_most(total, (p + 1) * c, of=f"bytes handed over in a step: {of}")
        at_least(total, 8 * sum(sizes), of=of)
        at_most(sum(bytes_by(one, "allgather") for one in both), c, of=f"bytes given to an all-gather: {of}")
        want = 0 if stage == 1 else 1
        got = min(1, sum(both[0]["bytes"].values()))
        agree(got, want, of=f"whether gradients are sent during backward: {of}")


@part("ZeroOptimizer")
@pytest.mark.parametrize("stage", [1, 2])
def test_a_rank_keeps_its_own_pieces_only(attempt, stage):
    """Between calls a rank holds its pieces and nothing beside them; at stage 2 each gradient goes out at once."""
    p, sizes = 3, [601, 600, 599, 603, 602, 598, 597, 605, 604, 606, 607]
    whole, pieces = 8 * sum(sizes), 8 * sum(-(-n // p) for n in sizes)
    for rank, said in by_rank(attempt.run(drivers.zero_holds, sizes, p, stage), p):
        of = f"rank {rank} of {p}, stage {stage}, {len(sizes)} parameters of about 600 numbers"
        agree([w.shape[0] for w in said["weights"]], sizes, of=f"sizes of the parameters: {of}")
        # Weights, two states, gradients; an old piece of a gradient may wait for the next step.
        for when, times in {"the optimizer is made": 1, "backward": 5, "step": 4}.items():
            known = {"one more whole copy": min(times, 4) * pieces + whole}
            kept = f"bytes held after {when}, beside parameters and their gradients: {of}"
            at_most(said["held"][when], (times + 0.5) * pieces, of=kept, known=known)
        if stage == 2:
            known = {"keeping the whole gradients": whole}
            at_most(said["peak"], 0.85 * whole, of=f"bytes alive at once in a backward: {of}", known=known)
            late = said["quiet"]
            assert not late, f"{of}: backward went on without a message although the gradients of {late} were complete"


# ------------------------------------------------------------------------------------------------ FullyShardedLinear


def draw_linear(draw, out, features, dtype=torch.float64):
    return draw.normal(out, features, dtype=dtype), draw.normal(out, dtype=dtype)


def padded(weight, bias, p):
    """The pieces of the flat weight and bias, by rank."""
    flat = torch.cat([weight.flatten(), bias])
    c = -(-len(flat) // p)
    return list(torch.cat([flat, flat.new_zeros(p * c - len(flat))]).view(p, c))


@part("FullyShardedLinear")
@pytest.mark.parametrize("p", [3, 1])
def test_passes_are_those_of_a_linear_layer(attempt, draw, p):
    """Outputs and gradients are those of the whole layer; a shard's gradient is the average over the ranks."""
    cases = []
    for dtype, leading, (out, features) in (
        (torch.float64, [(4,), (2, 3), (0,)], (7, 5)),
        (torch.float64, [(), (1, 2, 2), (6,)], (4, 3)),  # pieces of 6 on 3 ranks, two numbers of padding
        (torch.float32, [(4,), (2, 3), (0,)], (1, 1)),  # on 3 ranks the last has padding only
    ):
        xs, gs = ([draw.normal(*shape, n, dtype=dtype) for shape in leading[:p]] for n in (features, out))
        cases.append((*draw_linear(draw, out, features, dtype), xs, gs))
    got = attempt.run(drivers.sharded, cases)
    for i, (weight, bias, xs, gs) in enumerate(cases):
        out, features = weight.shape
        rows = [(x.reshape(-1, features), g.reshape(-1, out)) for x, g in zip(xs, gs, strict=True)]
        d_weight, d_bias = sum(g.T @ x for x, g in rows) / p, sum(g.sum(0) for _, g in rows) / p
        all_weight, all_bias = sum(g.T @ (x + 1) for x, g in rows) / p, 3 * d_bias  # x, x, and 1 - x
        summed = padded(d_weight * p, d_bias * p, p)
        for rank in range(p):
            said = got[rank][i]
            of = f"rank {rank} of {p}, inputs of {[tuple(x.shape) for x in xs]}, weight ({out}, {features})"
            agree(said["shard"], padded(weight, bias, p)[rank], of=f"shard: {of}")
            agree(said["unshard"], [weight, bias], of=f"unshard(): {of}")
            agree(said["y"], xs[rank] @ weight.T + bias, of=f"output: {of}")
            without = "output under no_grad, looked at after a call with other numbers of the same sizes"
            agree(said["y without gradients"], xs[rank] @ weight.T + bias, of=f"{without}: {of}")
            agree(said["x.grad"], gs[rank] @ weight, of=f"gradient of x: {of}")
            known = {"the sum over the ranks": summed[rank]}
            agree(said["shard.grad"], padded(d_weight, d_bias, p)[rank], of=f"shard.grad: {of}", known=known)
            later = f"two forwards, then their backwards: {of}"
            agree(said["later x.grad"], [gs[rank] @ weight] * 2, of=f"gradients of x: {later}")
            total = padded(all_weight, all_bias, p)[rank]
            agree(said["shard.grad of all"], total, of=f"shard.grad, added to that of a pass before: {later}")
            assert said["gradient left alone"], f"{of}: backward changed the gradient that it was given"
            assert not said["unshard needs gradients"], f"{of}: a gradient would flow through unshard()"


@part("FullyShardedLinear")
def test_gathers_and_scatters(attempt, draw):
    """A forward is one all-gather, a backward one all-gather and one reduce-scatter; memory holds the shard only."""
    p, (weight, bias) = 2, draw_linear(draw, 7, 5)
    xs, gs = [draw.normal(3, 5) for _ in range(p)], [draw.normal(3, 7) for _ in range(p)]
    x, g = torch.cat(xs), torch.cat(gs)
    want = padded(g.T @ x / p, g.sum(0) / p, p)
    for rank, (said,) in by_rank(attempt.run(drivers.sharded, [(weight, bias, xs, gs)]), p):
        of = f"rank {rank} of {p}, weight (7, 5), bias (7,)"
        agree(said["y"], xs[rank] @ weight.T + bias, of=f"output: {of}")
        agree(said["x.grad"], gs[rank] @ weight, of=f"gradient of x: {of}")
        agree(said["shard.grad"], want[rank], of=f"shard.grad: {of}")
        check_kinds(said["forward"], {"allgather": 1}, f"messages in forward: {of}")
        check_kinds(said["backward"], {"allgather": 1, "reduce_scatter": 1}, f"messages in backward: {of}")
        for way in ("forward", "backward"):
            at_least(bytes_by(said[way], "allgather"), 8 * 21, of=f"all-gather in {way}: {of}")
        at_least(bytes_by(said["backward"], "reduce_scatter"), 8 * 42, of=f"reduce-scatter in backward: {of}")
        known = {"the whole layer": 8 * 42}
        at_most(said["bytes of the shard's memory"], 8 * 21, of=f"bytes that `shard` keeps alive: {of}", known=known)
        assert not said["whole weight kept"], f"{of}: the layer still holds the whole weight that it was made from"


@part("FullyShardedLinear")
def test_a_stack_needs_the_memory_of_one_layer(attempt, draw):
    """No whole weight stays between two passes: twelve layers keep inputs and shards, and peak at one layer."""
    layers, d, rows = 12, 60, 2
    weights, biases = [draw.normal(d, d, scale=0.2) for _ in range(layers)], [draw.normal(d) for _ in range(layers)]
    x = draw.normal(rows, d)
    y, one = x, 8 * (d * d + d)
    for weight, bias in zip(weights, biases, strict=True):
        y = y @ weight.T + bias
    for rank, said in by_rank(attempt.run(drivers.sharded_stack, weights, biases, x), 2):
        of = f"{layers} layers of {d} to {d} on 2 ranks"
        known = {"keeping every whole weight": layers * one}
        held = f"bytes that the layers hold beside their shards: {of}"
        at_most(said["held when made"], one / 8, of=held, known=known)
        inputs = 8 * layers * rows * d
        for mode in ("training", "eval"):
            agree(said[f"y in {mode}"], y, of=f"output in {mode} on rank {rank}: {of}")
            agree(said[f"y without gradients in {mode}"], y, of=f"output under no_grad in {mode} on rank {rank}: {of}")
            ways = {"forward": 4.5 * one, "forward without gradients": 4.5 * one}
            ways["backward"] = 6.5 * one + layers * one / 2  # and the gradients of the shards
            for way, limit in ways.items():
                told = said[f"{way} in {mode}"]
                during = f"bytes alive at once, {way} in {mode}: {of}"
                at_most(told["peak"], limit + 2 * inputs, of=during, known=known)
                held = f"bytes held after {way} in {mode}, beside shards and what backward needs: {of}"
                at_most(told["held"], one / 8, of=held, known={"one whole weight": one, **known})
            saved = f"bytes kept for backward in {mode}: {of}"
            limit = layers * one / 2 + 1.4 * inputs
            at_most(said[f"forward in {mode}"]["saved"], limit, of=saved, known=known)


@part("FullyShardedLinear")
def test_sharded_training_is_that_of_one_process(attempt, draw):
    """After three steps on the shards, the gathered weights are those of one process with the whole batch."""
    p, lr, steps = 3, 0.1, 3
    (w1, b1), (w2, b2) = draw_linear(draw, 7, 5), draw_linear(draw, 2, 7)
    xs, ys = [draw.normal(4, 5) for _ in range(p)], [draw.normal(4, 2) for _ in range(p)]
    got = attempt.run(drivers.sharded_training, [w1, w2], [b1, b2], xs, ys, lr, steps)
    want = [w1, b1, w2, b2]
    for _ in range(steps):
        leaves = [w.clone().requires_grad_() for w in want]
        y = torch.tanh(torch.cat(xs) @ leaves[0].T + leaves[1]) @ leaves[2].T + leaves[3]
        grads = torch.autograd.grad((y - torch.cat(ys)).square().mean(), leaves)
        want = [w - lr * g for w, g in zip(want, grads, strict=True)]
    for rank in range(p):
        of = f"weights on rank {rank} of {p} after {steps} steps of two layers"
        agree(got[rank], [want[:2], want[2:]], of=of)


# ---------------------------------------------------------------------------------------------- ColumnParallelLinear


# dtype, leading sizes of x, and the size that is split: of 2 on 3 ranks the last has none
SPLITS = [(torch.float64, (2, 3), 7), (torch.float64, (4,), 2), (torch.float64, (), 7), (torch.float32, (2, 3), 7)]


@part("ColumnParallelLinear")
def test_column_parallel_layer(attempt, draw):
    """A rank computes its own outputs; the gradient of x is the sum of what the ranks' outputs say."""
    p, cases = 3, []
    for dtype, shape, n in SPLITS:
        x, whole = draw.normal(*shape, 5, dtype=dtype), draw.normal(*shape, n, dtype=dtype)
        cases.append((*draw_linear(draw, n, 5, dtype), x, list(whole.split(pieces(n, p), -1))))
    got = attempt.run(drivers.column, cases)
    for i, (weight, bias, x, gs) in enumerate(cases):
        n = len(weight)
        whole, ys = torch.cat(gs, -1), (x @ weight.T + bias).split(pieces(n, p), -1)
        ws, bs = weight.split(pieces(n, p)), bias.split(pieces(n, p))
        for rank in range(p):
            said = got[rank][i]
            of = f"column-parallel, rank {rank} of {p}, x of {tuple(x.shape)}, weight ({n}, 5)"
            agree([said["weight"], said["bias"]], [ws[rank], bs[rank]], of=f"weight and bias: {of}")
            agree(said["y"], ys[rank], of=f"output: {of}")
            agree(
                said["y of data"], ys[rank], of=f"output for an x that needs no gradient, called between others: {of}"
            )
            known = {"the rank's own share of it": gs[rank] @ ws[rank], "the average": whole @ weight / p}
            agree(said["x.grad"], whole @ weight, of=f"gradient of x: {of}", known=known)
            rows = x.reshape(-1, 5)
            own = gs[rank].reshape(len(rows), -1 if ws[rank].numel() else 0)
            want = [own.T @ rows, own.sum(0)]
            agree([said["weight.grad"], said["bias.grad"]], want, of=f"gradients of weight and bias: {of}")


@part("ColumnParallelLinear")
def test_row_parallel_layer(attempt, draw):
    """Partial products add up, the bias once; gradients come back without a message."""
    p, cases = 3, []
    for dtype, shape, n in SPLITS:
        x, g = draw.normal(*shape, n, dtype=dtype), draw.normal(*shape, 5, dtype=dtype)
        cases.append((*draw_linear(draw, 5, n, dtype), list(x.split(pieces(n, p), -1)), g))
    got = attempt.run(drivers.row, cases)
    for i, (weight, bias, xs, g) in enumerate(cases):
        x, ws, rows = torch.cat(xs, -1), weight.split(pieces(weight.shape[1], p), 1), g.reshape(-1, 5)
        for rank in range(p):
            said = got[rank][i]
            of = f"row-parallel, rank {rank} of {p}, x of {tuple(xs[rank].shape)}, weight {tuple(weight.shape)}"
            agree([said["weight"], said["bias"]], [ws[rank], bias], of=f"weight and bias: {of}")
            known = {
                "the bias added on every rank": x @ weight.T + p * bias,
                "the rank's own partial product": xs[rank] @ ws[rank].T + bias,
                "no bias": x @ weight.T,
            }
            agree(said["y"], x @ weight.T + bias, of=f"output: {of}", known=known)
            known = {"a gradient that was summed over the ranks": p * g @ ws[rank]}
            agree(said["x.grad"], g @ ws[rank], of=f"gradient of x: {of}", known=known)
            want = [rows.T @ xs[rank].reshape(len(rows), len(ws[rank][0])), rows.sum(0)]
            agree([said["weight.grad"], said["bias.grad"]], want, of=f"gradients of weight and bias: {of}")


@part("ColumnParallelLinear")
def test_layers_keep_and_send_their_share_only(attempt, draw):
    """Column sends nothing forward and all-reduces x's gradient, row the reverse; memory holds the pieces only."""
    p, x, g = 3, draw.normal(1, 5), draw.normal(1, 7)
    (weight, bias), split = draw_linear(draw, 7, 5), list(g.split(pieces(7, p), -1))
    got = attempt.run(drivers.both_layers, (weight, bias, x, split), (weight.T, bias[:5], split, x))
    for rank, (said, _) in by_rank(got, p):
        of = f"column-parallel, rank {rank} of {p}, x (1, 5), weight (7, 5)"
        agree(said["parameters"], ["bias", "weight"], of=f"names of the parameters: {of}")
        check_kinds(said["forward"], {"allreduce": 0}, f"messages in forward: {of}")
        check_kinds(said["backward"], {"allreduce": 1}, f"messages in backward: {of}")
        at_most(bytes_by(said["backward"], "allreduce"), 8 * 5, of=f"bytes in backward: {of}")
        at_least(bytes_by(said["backward"], "allreduce"), 8 * 5, of=f"backward: {of}")
        known = {"the whole weight and bias": 8 * 42}
        at_most(said["bytes of memory"], 8 * 6 * pieces(7, p)[rank], of=f"bytes kept alive: {of}", known=known)
        at_most(said["held when made"], 16, of=f"bytes that the layer holds beside `.weight` and `.bias`: {of}")
        at_most(said["held by passes"], 16, of=f"bytes that its passes leave alive: {of}")
        assert not said["shared"], f"{of}: `.weight` or `.bias` lies in the memory of the argument"
    for rank, (_, said) in by_rank(got, p):
        of = f"row-parallel, rank {rank} of {p}, weight (5, 7)"
        agree(said["parameters"], ["bias", "weight"], of=f"names of the parameters: {of}")
        check_kinds(said["forward"], {"allreduce": 1}, f"messages in forward: {of}")
        check_kinds(said["backward"], {"allreduce": 0}, f"messages in backward: {of}")
        at_most(bytes_by(said["forward"], "allreduce"), 8 * 5, of=f"bytes in forward: {of}")
        at_least(bytes_by(said["forward"], "allreduce"), 8 * 5, of=f"forward: {of}")
        at_most(said["bytes of memory"], 8 * 5 * (pieces(7, p)[rank] + 1), of=f"bytes kept alive: {of}", known=known)
        at_most(said["held when made"], 16, of=f"bytes that the layer holds beside `.weight` and `.bias`: {of}")
        at_most(said["held by passes"], 16, of=f"bytes that its passes leave alive: {of}")
        assert not said["shared"], f"{of}: `.weight` or `.bias` lies in the memory of the argument"


@part("ColumnParallelLinear")
@pytest.mark.parametrize("p", [2, 1])
def test_a_tensor_parallel_mlp_trains_like_a_whole_one(attempt, draw, p):
    """Outputs, x's gradient and weights over three steps are those of one process, with one all-reduce each way."""
    lr, steps = 0.1, 3
    (w1, b1), (w2, b2) = draw_linear(draw, 7, 5), draw_linear(draw, 3, 7)
    x, target = draw.normal(4, 5), draw.normal(4, 3)
    got = attempt.run(drivers.parallel_mlp, [w1, w2], [b1, b2], x, target, lr, steps, p)
    want = [w1, b1, w2, b2]
    for step in range(steps):
        leaves = [w.clone().requires_grad_() for w in (x, *want)]
        y = torch.nn.functional.gelu(leaves[0] @ leaves[1].T + leaves[2]) @ leaves[3].T + leaves[4]
        dx, *grads = torch.autograd.grad((y - target).square().mean(), leaves)
        for rank in range(p):
            of = f"MLP 5 to 7 to 3, rank {rank} of {p}, step {step}"
            said = got[rank]["steps"][step]
            agree(said["y"], y.detach(), of=f"output: {of}")
            agree(said["x.grad"], dx, of=f"gradient of x: {of}")
            for way in ("forward", "backward"):
                if p > 1:  # a rank that is alone may sum without a message
                    check_kinds(said[way], {"allreduce": 1}, f"messages {way}: {of}")
        want = [w - lr * g for w, g in zip(want, grads, strict=True)]
    for rank in range(p):
        n = pieces(7, p)
        end = [want[0].split(n)[rank], want[1].split(n)[rank], want[2].split(n, 1)[rank], want[3]]
        agree(got[rank]["pieces"], end, of=f"the pieces on rank {rank} of {p} after {steps} steps")


# ------------------------------------------------------------------------------------------------- pipeline_schedule


def in_flight(kind, p, m, v, r):
    """How many forwards of rank r may wait for their backward."""
    return {"gpipe": m, "1f1b": min(m, p - r), "interleaved": min(m * v, 2 * (p - r - 1) + (v - 1) * p + 1)}[kind]


def play(schedule, p, m, v):
    """Run a schedule, F taking 1 and B taking 2. End of the last entry and most in flight by rank, or a sentence."""
    every = sorted(repr((op, i, c)) for op in "BF" for i in range(m) for c in range(v))
    for r, entries in enumerate(schedule):
        if sorted(map(repr, entries)) != every:
            return f"the entries of rank {r} are not each F and B of {m} micro-batches on {v} chunks once"
    done, clock, place, held, most = {}, [0] * p, [0] * p, [0] * p, [0] * p
    while sum(place) < 2 * p * m * v:
        before = sum(place)
        for r in range(p):
            while place[r] < 2 * m * v:
                op, i, c = schedule[r][place[r]]
                stage = c * p + r
                if op == "F":
                    needs = [("F", i, stage - 1)] if stage else []
                else:
                    needs = [("F", i, stage)] + ([("B", i, stage + 1)] if stage < p * v - 1 else [])
                if any(need not in done for need in needs):
                    break
                clock[r] = max([clock[r], *(done[need] for need in needs)]) + (1 if op == "F" else 2)
                done[op, i, stage] = clock[r]
                held[r] += 1 if op == "F" else -1
                most[r] = max(most[r], held[r])
                place[r] += 1
        if sum(place) == before:
            stuck = {r: schedule[r][place[r]] for r in range(p) if place[r] < 2 * m * v}
            return f"the ranks wait for each other for ever; they stand at {stuck}"
    return max(clock), most


def check_schedule(schedule, kind, p, m, v=1):
    of = f"{kind}, p={p} m={m} v={v}"
    assert len(schedule) == p, f"{of}: expected a list for each of {p} ranks, got {len(schedule)}"
    told = play(schedule, p, m, v)
    assert not isinstance(told, str), f"{of}: {told}"
    end, most = told
    ideal = 3 * m * v
    known = {"one micro-batch at a time": 3 * p * m * v}
    at_most(end, ideal + 3 * (p - 1), of=f"{of}: end of the last entry, F taking 1 and B taking 2", known=known)
    for r in range(p):
        at_most(
            most[r], in_flight(kind, p, m, v, r), of=f"{of}: forwards in flight on rank {r}", known={"GPipe": m * v}
        )


@part("pipeline_schedule")
@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_one_chunk_a_rank(attempt, kind):
    """On 1 to 4 ranks and up to 9 micro-batches nobody waits for ever, and bubble and memory are as told."""
    cases = [*((kind, p, m) for p in (1, 2, 3, 4) for m in (1, 2, 3, 5, 9)), (kind, 5, 13)]
    for case, schedule in zip(cases, attempt.each("pipeline_schedule", cases), strict=True):
        check_schedule(schedule, *case)
        if kind == "gpipe":
            _, p, m = case
            ops = ["".join(op for op, _, _ in entries) for entries in schedule]
            agree(ops, ["F" * m + "B" * m] * p, of=f"operations by rank, gpipe, p={p} m={m}")


@part("pipeline_schedule")
def test_interleaved(attempt):
    """With several chunks a rank the bubble shrinks to (p - 1) / (v·m), at the price of some more in flight."""
    sizes = ((1, 1, 2), (1, 3, 2), (2, 2, 2), (2, 4, 3), (3, 3, 2), (3, 6, 2), (4, 8, 2), (2, 10, 5), (4, 4, 3))
    cases = [("interleaved", *size) for size in sizes]
    for case, schedule in zip(cases, attempt.each("pipeline_schedule", cases), strict=True):
        check_schedule(schedule, *case)


@part("pipeline_schedule")
def test_schedules_that_cannot_be_are_refused(attempt):
    """Unknown kinds, chunks that a kind does not have, and an interleaved m that p does not divide raise ValueError."""
    for kind, p, m, v in (
        ("1F1B", 2, 4, 1),
        ("zero", 2, 4, 2),
        ("gpipe", 2, 4, 2),
        ("1f1b", 2, 4, 2),
        ("gpipe", 2, 4, 0),
        ("1f1b", 2, 4, 0),
        ("1f1b", 2, 4, -1),
        ("interleaved", 2, 4, 1),
        ("interleaved", 2, 4, 0),
        ("interleaved", 2, 5, 2),
        ("interleaved", 4, 2, 2),
    ):
        with refusal(ValueError, of=f"{kind}, p={p} m={m} v={v}"):
            attempt.pipeline_schedule(kind, p, m, v)


@part("pipeline_schedule")
def test_bubble_over_ideal_time(attempt):
    """The bubble is (p - 1) / (v·m) of the ideal time."""
    cases = ((1, 5, 1), (4, 8, 1), (8, 32, 4), (7, 3, 1), (16, 11, 3))
    *found, default = attempt.each("bubble_ratio", [*cases, (4, 8)])
    for (p, m, v), got in zip(cases, found, strict=True):
        known = {"the share of the whole time": (p - 1) / (v * m + p - 1), "the number without chunks": (p - 1) / m}
        agree(got, (p - 1) / (v * m), of=f"bubble of p={p} m={m} v={v}", known=known)
    agree(default, 0.375, of="bubble of p=4 m=8")


# ----------------------------------------------------------------------------------------------------- pipeline_step


def orders(kind, p, m):
    """The orders of the ranks: GPipe, 1F1B, or GPipe with scrambled micro-batches."""
    if kind == "1f1b":
        ahead = [min(m, p - r - 1) for r in range(p)]
        found = []
        for n in ahead:
            turns = [("F", i, 0) for i in range(n)]
            for i in range(m - n):
                turns += [("F", n + i, 0), ("B", i, 0)]
            found.append(turns + [("B", i, 0) for i in range(m - n, m)])
        return found
    forward = list(range(m))
    found = []
    for r in range(p):
        mine = forward[r:] + forward[:r] if kind == "scrambled" else forward
        back = mine[::-1] if kind == "scrambled" and r % 2 else mine
        found.append([("F", i, 0) for i in mine] + [("B", i, 0) for i in back])
    return found


def check_pipeline(attempt, draw, p, cases, d=3, widths=(5, 7, 4)):
    """cases: (kind, rows of each micro-batch, or sizes before d, dtype), then d if it is another. Losses and gradients.

    Returns what is said, by rank, by case.
    """
    asked = []
    for kind, rows, dtype, *other in cases:
        size = other[0] if other else d
        weights = [[draw.normal(size, n, dtype=dtype), draw.normal(n, size, dtype=dtype)] for n in widths[:p]]
        start = [[draw.normal(*w.shape, dtype=dtype) for w in pair] for pair in weights]
        shapes = [n if isinstance(n, tuple) else (n,) for n in rows]
        inputs, targets = ([draw.normal(*shape, size, dtype=dtype) for shape in shapes] for _ in range(2))
        asked.append((weights, orders(kind, p, len(rows)), inputs, targets, start))
    got = attempt.run(drivers.pipeline, asked)
    for i, ((kind, rows, *_), (weights, _, inputs, targets, start)) in enumerate(zip(cases, asked, strict=True)):
        leaves = [w.clone().requires_grad_() for pair in weights for w in pair]
        losses = []
        for x, target in zip(inputs, targets, strict=True):
            for up, down in zip(leaves[::2], leaves[1::2], strict=True):
                x = x + torch.tanh(x @ up) @ down
            losses.append((x - target).square().sum())
        grads = torch.autograd.grad(sum(losses), leaves)
        for rank in range(p):
            said = got[rank][i]
            of = f"{kind}, rank {rank} of {p}, micro-batches of {rows} rows"
            want = [loss.detach() for loss in losses] if rank == p - 1 else []
            agree(said["losses"], want, of=f"losses: {of}")
            assert said["arguments left alone"], (
                f"{of}: the order, inputs, targets or the mode of the stage were changed"
            )
            assert said["losses need no gradient"], f"{of}: a loss still holds its graph"
            own = list(grads[2 * rank : 2 * rank + 2])
            total = [b + g for b, g in zip(start[rank], own, strict=True)]
            known = {
                "no gradient that was there before": own,
                "the average over the micro-batches": [
                    b + g / len(rows) for b, g in zip(start[rank], own, strict=True)
                ],
            }
            agree(said["grads"], total, of=f"gradients: {of}", known=known)
    return got


@part("pipeline_step")
@pytest.mark.parametrize("p", [3, 1])
def test_losses_and_gradients_are_those_of_one_process(attempt, draw, p):
    """GPipe over real ranks gives each stage the gradients of the whole model, added to those that were there."""
    cases = (([2, 5, 1], torch.float64), ([2, 5, 1], torch.float32), ([(3, 2), 4, (2, 1, 3)], torch.float64))
    check_pipeline(attempt, draw, p, [("gpipe", *case) for case in cases])


@part("pipeline_step")
def test_any_valid_order_works(attempt, draw):
    """1F1B, fewer micro-batches than ranks, other orders on other ranks, and large sends that cross give the same."""
    cases = (
        ("1f1b", [2, 3, 2, 1, 4], 3),
        ("1f1b", [2, 3], 3),
        ("scrambled", [2, 2, 2, 2], 3),
        ("1f1b", [400] * 3, 131),
    )
    check_pipeline(attempt, draw, 3, [(kind, rows, torch.float64, d) for kind, rows, d in cases])


@part("pipeline_step")
def test_one_message_a_micro_batch_and_neighbour(attempt, draw):
    """A rank sends each activation to the next and each gradient to the one before, and nothing else."""
    p, rows, d = 3, [2, 5, 1, 3], 3
    for rank, (said,) in by_rank(check_pipeline(attempt, draw, p, [("1f1b", rows, torch.float64)], d), p):
        ways = (rank > 0) + (rank < p - 1)
        of = f"rank {rank} of {p}, micro-batches of {rows} rows of {d} numbers"
        others = sorted(name for name in said["calls"] if name != "send")
        assert not others, f"{of}: the collective {others[0] if others else ''} was called"
        at_most(said["calls"].get("send", 0), len(rows) * ways, of=f"messages: {of}")
        at_most(said["bytes"].get("send", 0), 8 * sum(rows) * d * ways, of=f"bytes: {of}")
        at_least(said["bytes"].get("send", 0), 8 * sum(rows) * d * ways, of=of)


@part("pipeline_step")
def test_the_schedule_decides_how_much_is_alive(attempt, draw):
    """Under 1F1B a rank keeps the activations of p - r micro-batches; under GPipe of all."""
    p, m, rows, wide = 2, 8, 20, 400
    cases = [(kind, [rows] * m, torch.float64) for kind in ("gpipe", "1f1b")]
    one = 8 * rows * wide  # what tanh keeps of one micro-batch
    for r, (gpipe, said) in by_rank(check_pipeline(attempt, draw, p, cases, d=2, widths=(wide, wide + 1)), p):
        of = f"bytes alive at once on rank {r} of {p}, 1F1B with {m} micro-batches"
        at_most(said["peak"], (p - r + 4) * one, of=of, known={"GPipe": gpipe["peak"]})
        if r > 0:
            of = f"inputs of the stage alive at once on rank {r} of {p}, 1F1B with {m} micro-batches"
            at_most(said["inputs alive"], p - r + 2, of=of, known={"GPipe": m})


@part("pipeline_step")
def test_inputs_and_outputs_are_let_go(attempt, draw):
    """Under 1F1B the inputs and outputs of the stage go with their B, too, and at the end nothing of them is left."""
    p, m, rows, d = 2, 24, 20, 101
    one, case = 8 * rows * d, ("1f1b", [rows] * m, torch.float64)
    for r, (said,) in by_rank(check_pipeline(attempt, draw, p, [case], d=d, widths=(3, 4)), p):
        of = f"rank {r} of {p}, 1F1B with {m} micro-batches of {rows} rows of {d} numbers"
        limit = (m + 4 * (p - r) + 5) * one  # m may be on their way to the neighbour
        known = {"keeping every input or output": (2 * m + 6) * one}
        at_most(said["peak"], limit, of=f"bytes alive at once: {of}", known=known)
        at_most(said["held"], one / 2, of=f"bytes left alive, beside losses and gradients: {of}")


# ---------------------------------------------------------------------------------------------------- ring_attention


def attention(q, k, v, *, causal=False, start=0, scale=None):
    """Attention of queries at positions start, start + 1, ... over all keys."""
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        seen = torch.arange(k.shape[2]) <= torch.arange(start, start + q.shape[2])[:, None]
        scores = torch.where(seen, scores, -math.inf)
    return torch.einsum("bhij,bhje->bhie", torch.softmax(scores, -1), v)


def draw_case(draw, lengths, causal, *, sizes=(2, 3, 5, 7), dtype=torch.float64, scale=1.0):
    b, h, d, e = sizes
    q, k = (draw.normal(b, h, sum(lengths), d, dtype=dtype, scale=scale) for _ in range(2))
    v = draw.normal(b, h, sum(lengths), e, dtype=dtype)
    return (*([*x.split(lengths, 2)] for x in (q, k, v)), lengths, causal)


def check_rings(attempt, cases, tol=None):
    got = attempt.run(drivers.attend, cases)
    for i, (qs, ks, vs, lengths, causal) in enumerate(cases):
        k, v = torch.cat(ks, 2), torch.cat(vs, 2)
        for rank in range(len(lengths)):
            start, said = sum(lengths[:rank]), got[rank][i]
            how = {"causal": bool(causal), "start": start}
            known = {
                "attention to the rank's own block": partial(
                    attention, qs[rank], ks[rank], vs[rank], causal=bool(causal)
                ),
                "attention without the 1/sqrt(d) scale": partial(attention, qs[rank], k, v, **how, scale=1.0),
            }
            if causal:
                known["attention without a causal mask"] = partial(attention, qs[rank], k, v)
                known["a mask that starts at position 0 on every rank"] = partial(
                    attention, qs[rank], k, v, causal=True
                )
            of = f"rank {rank}, blocks of {lengths} tokens, {causal=}"
            agree(said["out"], attention(qs[rank], k, v, **how), axes="b h t e", of=of, known=known, tol=tol)
            assert said["arguments left alone"], f"{of}: q, k, v or lengths was changed"
    return got


@part("ring_attention")
def test_attention_over_all_ranks(attempt, draw):
    """Each rank gets, for its tokens, what attention over the whole sequence gives, causal or not."""
    ways = [(dtype, causal) for dtype in (torch.float64, torch.float32) for causal in (False, True)]
    ways.append((torch.float64, None))  # not given, so False
    for blocks in ([[3, 3], [2, 5], [5, 2]], [[4, 1, 6], [1, 3, 2]], [[5]]):
        check_rings(attempt, [draw_case(draw, n, causal, dtype=dtype) for dtype, causal in ways for n in blocks])


@part("ring_attention")
def test_ranks_without_tokens_and_strides(attempt, draw):
    """A rank may hold no token, and tensors any strides."""
    cases = [
        draw_case(draw, lengths, causal)
        for lengths in ([0, 3, 2], [4, 0, 1], [2, 3, 0], [0, 0, 4], [0, 0, 0])
        for causal in (True, False)
    ]
    qs, ks, vs, lengths, _ = draw_case(draw, [4, 3, 5], True)
    strided = ([x.transpose(1, 2).contiguous().transpose(1, 2) for x in xs] for xs in (qs, ks, vs))
    check_rings(attempt, [*cases, (*strided, lengths, True)])


@part("ring_attention")
def test_large_scores_do_not_overflow(attempt, draw):
    """Scores of a thousand, in any block, positive or negative, leave the result finite and right."""
    cases = [draw_case(draw, [3, 4, 2], causal, scale=size) for causal in (True, False) for size in (20.0, 40.0)]
    for far in (1, -1):
        qs, ks, vs, lengths, _ = draw_case(draw, [3, 4, 2], False)
        for rank in range(3):
            qs[rank], ks[rank] = qs[rank].clone(), ks[rank].clone()
            qs[rank][..., 0] = 50.0
            ks[rank][..., 0] = far * 40.0 * (rank + 1)
        cases += [(qs, ks, vs, lengths, causal) for causal in (True, False)]
    qs, ks, vs, lengths, _ = draw_case(draw, [3, 4, 2], True)
    below = [torch.full_like(q, 1e5) for q in qs], [torch.full_like(k, -1e5) for k in ks]
    check_rings(attempt, cases)
    # All scores near -10^10: -1e9 would hide nothing. A log-sum-exp of that size is less exact.
    check_rings(attempt, [(*below, vs, lengths, True)], tol=1e-4)


@part("ring_attention")
def test_blocks_travel_once_round_the_ring(attempt, draw):
    """A rank sends the p - 1 blocks that pass it, and holds scores against one block at a time."""
    p, lengths = 4, [40, 30, 20, 35]
    b, h, d, e = sizes = (2, 3, 5, 7)
    cases = [draw_case(draw, lengths, causal, sizes=sizes) for causal in (False, True)]
    told = check_rings(attempt, cases)
    for i, causal in enumerate((False, True)):
        needed = sum(lengths[j] for r in range(p) for j in range(r if causal else p) if j != r)
        total = sum(both[i]["bytes"].get("send", 0) for both in told)
        at_least(total, 8 * b * h * (d + e) * needed, of=f"{p} ranks together, blocks of {lengths} tokens, {causal=}")
    for rank, both in by_rank(told, p):
        for said, causal in zip(both, (False, True), strict=True):
            of = f"rank {rank} of {p}, blocks of {lengths} tokens, {causal=}"
            others = sorted(name for name in said["calls"] if name != "send")
            assert not others, f"{of}: the collective {others[0] if others else ''} was called"
            passed = sum(lengths) - min(lengths[(rank + 1) % p], lengths[rank - 1])  # whichever way the ring turns
            known = {"sending every block to every rank": 8 * b * h * (d + e) * (p - 1) * lengths[rank]}
            at_most(said["bytes"].get("send", 0), 8 * b * h * (d + e) * passed, of=f"bytes sent: {of}", known=known)
            at_most(said["calls"].get("send", 0), 2 * (p - 1), of=f"messages sent: {of}")
            limit = b * h * max(lengths[rank] * max(lengths), (d + e) * max(lengths))
            known = {"scores against all tokens": b * h * lengths[rank] * sum(lengths)}
            at_most(said["largest"], limit, of=f"largest tensor made, in elements: {of}", known=known)
            at_most(said["held"], 64, of=f"bytes left alive, beside the result: {of}")


@part("ring_attention")
def test_blocks_are_let_go(attempt, draw):
    """A rank holds the block that it has and the one that arrives, never those of all ranks."""
    p, lengths, (b, h, d, e) = 8, [2, *[50] * 7], (1, 2, 17, 19)
    block = 8 * b * h * (d + e) * 50
    ((said,), *_) = check_rings(attempt, [draw_case(draw, lengths, False, sizes=(b, h, d, e))])
    of = f"bytes alive at once on rank 0 of {p}, blocks of {lengths} tokens"
    at_most(said["peak"], 4 * block, of=of, known={"keeping every block": (p - 1) * block})


@part("ring_attention")
def test_the_future_costs_no_products(attempt, draw):
    """Causal, a rank multiplies with the blocks up to its own only; without a mask, with all; and that in torch."""
    lengths, (b, h, d, e) = [4, 6, 5], (2, 3, 5, 7)
    cases = [draw_case(draw, lengths, causal) for causal in (False, True)]
    for rank, both in by_rank(check_rings(attempt, cases), len(lengths)):
        for said, keys in zip(both, (sum(lengths), sum(lengths[: rank + 1])), strict=True):
            known = {"products with every block": 2 * b * h * lengths[rank] * sum(lengths) * (d + e)}
            limit = 2 * b * h * lengths[rank] * keys * (d + e)
            of = f"FLOPs on rank {rank}, blocks of {lengths} tokens, {keys} keys in sight"
            in_torch(Cost(left=said["left"]), of=of)
            at_most(said["flops"], limit, of=of, known=known)
