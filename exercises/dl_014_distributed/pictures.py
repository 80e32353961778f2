"""What `distributed.py` makes, as pictures: run beside it, from inputs of their own.

`grader picture 14` prints them.
"""


def _played(module, kind, p, m, v=1):
    """A schedule on a clock: a forward takes 1, a backward 2, and each waits for what it needs."""
    orders = module.pipeline_schedule(kind, p, m, v)
    last = p * v - 1
    done, free, spans, at = {}, [0] * p, [], [0] * p
    while any(at[r] < len(orders[r]) for r in range(p)):
        moved = False
        for r in range(p):
            if at[r] == len(orders[r]):
                continue
            op, i, c = orders[r][at[r]]
            stage = c * p + r
            needs = [("F", i, stage - 1)] if op == "F" and stage else []
            if op == "B":
                needs = [("F", i, stage), *([("B", i, stage + 1)] if stage < last else [])]
            if all(need in done for need in needs):
                start = max([free[r], *(done[need] for need in needs)])
                length = 1 if op == "F" else 2
                done[op, i, stage] = free[r] = start + length
                spans.append([r, start, length, f"{op if c == 0 else op.lower()}{i}"])
                at[r] += 1
                moved = True
        if not moved:
            raise RuntimeError("the schedule waits for itself: no rank can begin its next entry")
    return {"lanes": [f"rank {r}" for r in range(p)], "spans": spans}


def rank_of_place(module):
    """Which rank stands where: 2 tensor-parallel halves, 4 stages, 2 replicas."""
    sizes = {"tensor": 2, "pipe": 4, "data": 2}
    cells = [[""] * 4 for _ in range(4)]
    for rank in range(16):
        place = module.mesh_coordinates(rank, sizes)
        cells[place["data"] * 2 + place["tensor"]][place["pipe"]] = f"{'ab'[place['data']]}{rank}"
    return {"cells": cells, "rows": [f"{'ab'[i // 2]}, half {i % 2}" for i in range(4)]}


def memory_by_stage(module):
    """GB of model state on each rank, for 7.5 billion parameters."""
    ranks = [2**i for i in range(10)]
    series = {
        f"stage {stage}": [module.zero_memory(7_500_000_000, n, stage) / 1e9 for n in ranks] for stage in range(4)
    }
    return {"x": ranks, "series": series}


def all_forwards_first(module):
    """GPipe: 4 ranks, 6 micro-batches."""
    return _played(module, "gpipe", 4, 6)


def one_forward_one_backward(module):
    """1F1B: 4 ranks, 6 micro-batches."""
    return _played(module, "1f1b", 4, 6)


def interleaved_chunks(module):
    """Interleaved 1F1B: 2 ranks with 2 chunks each, 4 micro-batches."""
    return _played(module, "interleaved", 2, 4, 2)


def in_flight(module):
    """How many forwards wait for their backward on rank 0 of 4, entry by entry, with 8 micro-batches."""
    series = {}
    for kind in ("gpipe", "1f1b"):
        held, seen = 0, [0]
        for op, _, _ in module.pipeline_schedule(kind, 4, 8)[0]:
            held += 1 if op == "F" else -1
            seen.append(held)
        series[kind] = seen
    return {"x": list(range(17)), "series": series}
