"""Questions on training with many ranks whose numbers change: `grader drill --topic distributed.mesh`."""

from math import ceil

from grader.drills import Bug, Choice, Number, Order, Predict, question


@question(topic="distributed.all_reduce", level=1, source="Rajbhandari 2020, ZeRO, section 7.1", readme="dl_014/1")
def bytes_of_an_all_reduce(draw):
    p, N, b = draw(4, 5, 8, 16, 32), draw(3e8, 1e9, 3e9, 7e9), draw(2, 4)
    return Number(
        ask=f"A ring of {p} ranks all-reduces {N / 1e9:g} · 10⁹ numbers of {b} B. How many bytes does each rank send?",
        given=dict(p=p, N=N, b=b),
        answer=2 * (p - 1) / p * N * b,
        unit="B",
        traps={
            "reduce-scatter alone": (p - 1) / p * N * b,
            "all to all the others": (p - 1) * N * b,
            "the share forgotten": 2 * N * b,
        },
        hints=("Twice p - 1 steps, each with a p-th of the numbers.", "2 · (p - 1) / p · N · b"),
        why="A reduce-scatter and an all-gather, both with chunks that get smaller as ranks are added. So it is "
        "never more than twice the data.",
    )


@bytes_of_an_all_reduce.second
def _(p, N, b):
    sent = 0.0
    for _phase in ("reduce-scatter", "all-gather"):
        for _step in range(1, p):
            sent += N * b / p
    return sent


@question(topic="distributed.all_reduce", level=2, source="Patarasu 2009, section 3", readme="dl_014/1")
def more_ranks_in_the_ring(draw):
    few, times = draw(2, 4, 8, 16), draw(2, 4, 8, 16, 32)
    many = few * times
    return Number(
        ask=f"A ring all-reduce with {many} ranks in place of {few}. By which factor do the bytes grow that a rank "
        "sends?",
        given=dict(few=few, many=many),
        answer=(many - 1) / many * few / (few - 1),
        unit="x",
        traps={"as the number of ranks": many / few, "as the number of steps": (many - 1) / (few - 1)},
        hints=("Compare 2(p - 1)/p for both.", "(1 - 1/many) / (1 - 1/few)"),
        why="Chunks shrink as steps grow, so the bytes hardly change. The number of messages one after the other "
        "does, which hurts small tensors.",
    )


@more_ranks_in_the_ring.second
def _(few, many):
    def sent(p):
        return sum(1 / p for _step in range(p - 1)) * 2

    return sent(many) / sent(few)


@question(topic="distributed.all_reduce", level=2, source="Patarasu 2009, section 3")
def chunks_around_the_ring(draw):
    p, rank = draw(4, 5, 6), draw.between(0, 3)
    sent = [(rank - step) % p for step in range(p - 1)]
    return Predict(
        ask=f"Reduce-scatter in a ring of {p}: in step 0 a rank sends the chunk of its own number, later the one that "
        "it has just received from the rank before it. What does this rank send?",
        code=f"print([({rank} - step) % {p} for step in range({p} - 1)])",
        answer=str(sent),
        traps={
            "round the other way": str([(rank + step) % p for step in range(p - 1)]),
            "its own chunk always": str([rank] * (p - 1)),
            "one step more": str([(rank - step) % p for step in range(p)]),
        },
        hints=("Which chunk did the neighbour send in the step before?", "(rank - step) mod p"),
        why="A partial sum travels round the ring and takes in one rank's part at each stop. After p - 1 steps each "
        "rank has one finished chunk.",
    )


@question(topic="distributed.memory", level=2, source="Rajbhandari 2020, ZeRO, section 5", readme="dl_014/2")
def memory_of_a_stage(draw):
    P, N, stage = draw(1.5, 7.5, 13.0, 30.0, 70.0, 405.0), draw(8, 16, 64, 128), draw(1, 2)
    kept = 4 if stage == 1 else 2
    return Number(
        ask=f"ZeRO stage {stage}, {N} ranks, {P:g} · 10⁹ parameters, mixed precision with Adam: 2 B of weight, 2 B of "
        "gradient and 12 B of optimizer state a parameter. How many GB does a rank keep of all this?",
        given=dict(P=P, N=N, stage=stage),
        answer=P * kept + P * (16 - kept) / N,
        unit="GB",
        traps={
            "the other stage": P * (6 - kept) + P * (10 + kept) / N,
            "all in pieces": 16 * P / N,
            "nothing in pieces": 16 * P,
        },
        hints=(
            "Stage 1 cuts optimizer states, stage 2 gradients as well.",
            "4·P + 12·P/N" if stage == 1 else "2·P + 14·P/N",
        ),
        why="What is not cut stays on every rank, however many there are. So stages 1 and 2 have a floor of 4 or 2 "
        "bytes a parameter.",
    )


@memory_of_a_stage.second
def _(P, N, stage):
    parts = [("optimizer", 12), ("gradients", 2), ("parameters", 2)]
    return sum(P * size / (N if place < stage else 1) for place, (_, size) in enumerate(parts))


@question(topic="distributed.memory", level=2, source="Rajbhandari 2020, ZeRO, figure 1")
def least_memory_a_rank(draw):
    ranks = [draw(2, 8, 64), draw(2, 4, 32), draw(2, 3, 6)]
    sizes = {f"ZeRO-{stage} on {n} ranks": 16 / n if stage == 3 else 4 / stage + (16 - 4 / stage) / n
             for stage, n in enumerate(ranks, 1)}  # fmt: skip
    sizes[f"data parallel on {draw(128, 1024)} ranks"] = 16.0
    order = sorted(sizes, key=lambda name: sizes[name])
    by_stage = sorted(sizes, key=lambda name: name if "ZeRO" in name else "", reverse=True)
    return Order(
        ask="Mixed precision with Adam: 2 B for parameters, 2 B for gradients, 12 B for the optimizer. Where does a "
        "parameter take the fewest bytes on a rank? Fewest first.",
        given=dict(names=sorted(sizes)),
        answer=order,
        traps={"the higher stage wins": by_stage, "most first": order[::-1]},
        hints=("Work out the bytes of each: what is divided, and by what?", "16, 4 + 12/N, 2 + 14/N, 16/N"),
        why="A stage says what is divided, the number of ranks by how much. Stage 3 on few ranks may take more than "
        "stage 1 on many.",
    )


@least_memory_a_rank.second
def _(names):
    def bytes_of(name):
        kind, ranks = name.split(" on ")
        stage = int(kind[-1]) if kind[-1].isdecimal() else 0
        n = int(ranks.split()[0])
        states = [12, 2, 2]
        return sum(states[:stage]) / n + sum(states[stage:])

    return sorted(names, key=bytes_of)


@question(topic="distributed.data_parallel", level=1, source="Li 2020, PyTorch DDP, section 3.2.4", readme="dl_014/6")
def saved_by_no_sync(draw):
    k, b = draw(2, 3, 4, 8, 16), draw.between(5, 40)
    return Number(
        ask=f"DDP with {b} buckets accumulates over {k} micro-batches, all but the last under no_sync. How many "
        "all-reduces does no_sync save in a step?",
        given=dict(k=k, b=b),
        answer=b * (k - 1),
        unit="calls",
        traps={"all of them": b * k, "one a micro-batch": k - 1, "what is left": b},
        hints=("Without it, each backward pass sends all buckets.", "b · (k - 1)"),
        why="Gradients add up locally, and the last backward pass sends the sums. The mean is the same, for a part "
        "of the traffic.",
    )


@saved_by_no_sync.second
def _(k, b):
    always = [(batch, bucket) for batch in range(k) for bucket in range(b)]
    return len(always) - len([bucket for batch, bucket in always if batch == k - 1])


@question(topic="distributed.data_parallel", level=2, source="Li 2020, PyTorch DDP, section 3.2.3", readme="dl_014/6")
def buckets_that_wait(draw):
    arrivals = draw.shuffled([0, 1, 2, 3])
    missing = draw(None, arrivals[-1])
    seen = [one for one in arrivals if one != missing]
    sent, counts = 0, []
    for i in range(len(seen)):
        while sent in seen[: i + 1]:
            sent += 1
        counts.append(sent)
    return Predict(
        ask="Buckets get ready in this order, and are sent in the order of their numbers. How many have been sent "
        "after each?",
        code=f"""
ready, sent = set(), 0
for bucket in {seen}:
    ready.add(bucket)
    while sent in ready:
        sent += 1
    print(sent)
""",
        answer="\n".join(map(str, counts)),
        traps={
            "sent when ready": "\n".join(str(i + 1) for i in range(len(seen))),
            "counted before": "\n".join(str(min(i, sent)) for i in range(len(seen))),
        },
        hints=("A bucket waits for all with smaller numbers.", "smallest number that is not ready yet"),
        why="Collectives meet by their order: in unlike orders, sums of different parameters would be mixed. A "
        "bucket that never gets ready holds up all behind it.",
    )


@question(topic="distributed.data_parallel", level=2, source="Li 2020, PyTorch DDP, section 3.2.3")
def buckets_that_are_filled(draw):
    sizes, limit = [draw.between(2, 9) for _ in range(5)], draw(10, 12, 14)

    def filled(order):
        buckets = [[]]
        for size in order:
            if buckets[-1] and sum(buckets[-1]) + size > limit:
                buckets.append([])
            buckets[-1].append(size)
        return str(buckets)

    return Predict(
        ask="Sizes of parameters in the order of the model, put into buckets as DDP does. What is printed?",
        code=f"""
buckets = [[]]
for size in reversed({sizes}):
    if buckets[-1] and sum(buckets[-1]) + size > {limit}:
        buckets.append([])
    buckets[-1].append(size)
print(buckets)
""",
        answer=filled(sizes[::-1]),
        traps={"in the order of the model": filled(sizes), "largest first": filled(sorted(sizes, reverse=True))},
        hints=("The backward pass reaches the last layer first.", "from the end, a new bucket where one is full"),
        why="The last parameters get their gradients first, so their bucket can be sent while the backward pass "
        "still runs.",
    )


@question(topic="distributed.zero", level=1, source="Rajbhandari 2020, ZeRO, section 5.1", readme="dl_014/2")
def optimizer_in_pieces(draw):
    P, p = draw(1.0, 3.0, 7.0, 13.0, 70.0), draw(8, 16, 32, 64)
    return Number(
        ask=f"ZeRO-1 with Adam in mixed precision, {P:g} · 10⁹ parameters, {p} ranks. How many GB do a rank's "
        "optimizer states take, the float32 copy of the weights among them?",
        given=dict(P=P, p=p),
        answer=12 * P / p,
        unit="GB",
        traps={"float32 copy forgotten": 8 * P / p, "gradients too": 14 * P / p, "on every rank": 12 * P},
        hints=("Two moments and a copy, float32, of a p-th of the parameters.", "12 · P / p"),
        why="Adam's states are three quarters of the 16 bytes a parameter, and each is needed only where it is "
        "updated. So cutting them costs nothing in speed.",
    )


@optimizer_in_pieces.second
def _(P, p):
    import numpy as np

    states = [np.float32(0).nbytes for _state in ("first moment", "second moment", "weights")]
    return sum(states) * (P / p)


@question(topic="distributed.zero", level=2, source="Rajbhandari 2020, ZeRO, section 5", readme="dl_014/2")
def line_of_zero(draw):
    weights = draw.sample(range(20, 90, 10), 4)
    gradients = [[2 * draw.between(1, 4) for _ in range(4)] for _ in range(2)]
    wrong, mended = draw(
        ("    mean = [sum(g) for g in zip(*gradients)]", "    mean = [sum(g) / ranks for g in zip(*gradients)]"),
        ("        mine = range(rank, rank + n)", "        mine = range(rank * n, rank * n + n)"),
        (
            "        whole = [weights[i] - mean[i] for i in mine]",
            "        whole += [weights[i] - mean[i] for i in mine]",
        ),
        ("    n = len(weights)", "    n = len(weights) // ranks"),
    )
    code = f"""
def step(weights, gradients, ranks):
    n = len(weights) // ranks
    mean = [sum(g) / ranks for g in zip(*gradients)]
    whole = []
    for rank in range(ranks):
        mine = range(rank * n, rank * n + n)
        whole += [weights[i] - mean[i] for i in mine]
    return whole
print(step({weights}, {gradients}, 2))
"""
    mean = [sum(g) / 2 for g in zip(*gradients, strict=True)]
    return Bug(
        ask="ZeRO with two ranks, one after the other; rate 1. All weights should be stepped by the mean gradient. "
        "Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str([w - g for w, g in zip(weights, mean, strict=True)]),
        traps={"the start is empty": "    whole = []", "every rank has its turn": "    for rank in range(ranks):"},
        hints=("Mean over ranks, a piece for each, all pieces gathered.", "rank r has r·n to r·n + n"),
        why="Reduce-scatter the gradients, update the own piece, all-gather the parameters: as many bytes as one "
        "all-reduce.",
    )


@question(topic="distributed.fully_sharded", level=2, source="Rajbhandari 2020, ZeRO, section 7.2.2", readme="dl_014/2")
def numbers_of_stage_three(draw):
    p, N = draw(4, 8, 16, 64), draw(1.0, 3.0, 7.0, 13.0, 70.0)
    return Number(
        ask=f"ZeRO-3 or FSDP with full sharding, {p} ranks, {N:g} · 10⁹ parameters, one forward and backward pass, "
        "nothing kept gathered. How many numbers does a rank send?",
        given=dict(p=p, N=N),
        answer=3 * (p - 1) / p * N * 1e9,
        unit="numbers",
        traps={
            "as data parallel": 2 * (p - 1) / p * N * 1e9,
            "gradients gathered too": 4 * (p - 1) / p * N * 1e9,
            "of every rank": 3 * (p - 1) * N * 1e9,
        },
        hints=("Parameters are gathered twice, gradients scattered once.", "3 · (p - 1) / p · N · 10^9"),
        why="Nobody keeps whole parameters: they are gathered for the forward pass and again for the backward pass. "
        "That is half as much again as an all-reduce.",
    )


@numbers_of_stage_three.second
def _(p, N):
    sent = 0.0
    for _call in ("gather, forward", "gather, backward", "reduce-scatter"):
        sent += N - N / p
    return sent * 10**9


@question(topic="distributed.fully_sharded", level=2, source="Zhao 2023, PyTorch FSDP, section 3.2", readme="dl_014/2")
def traffic_of_a_strategy(draw):
    strategy, p = draw("FULL_SHARD", "FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD"), draw(8, 16, 64)
    about = {
        "FULL_SHARD": "parameters are freed after the forward pass",
        "SHARD_GRAD_OP": "gathered parameters are kept until the backward pass is over",
        "NO_SHARD": "every rank keeps everything",
    }
    same, half, twice = "as much", "half as much again", "twice as much"
    right = half if strategy == "FULL_SHARD" else same
    return Choice(
        ask=f"FSDP on {p} ranks with {strategy}: {about[strategy]}. How much does a rank send in a step, against an "
        "all-reduce of the gradients?",
        given=dict(strategy=strategy, p=p),
        answer=right,
        traps={
            "every strategy alike": same if right == half else half,
            "gathers counted twice": twice,
            "scatter forgotten": "half of it",
        },
        hints=("Count gathers of parameters and reduce-scatters of gradients.", "3, 2 and 2 pieces of (p - 1)/p"),
        why="An all-reduce is a reduce-scatter and a gather. Gathering parameters once takes the place of the second "
        "half; gathering them twice is the extra.",
    )


@traffic_of_a_strategy.second
def _(strategy, p):
    calls = {
        "FULL_SHARD": ["gather", "gather", "reduce-scatter"],
        "SHARD_GRAD_OP": ["gather", "reduce-scatter"],
        "NO_SHARD": ["reduce-scatter", "gather"],
    }[strategy]
    sent = sum((p - 1) / p for _call in calls)
    return {1.0: "as much", 1.5: "half as much again"}[round(sent / (2 * (p - 1) / p), 6)]


@question(topic="distributed.tensor_parallel", level=2, source="Shoeybi 2019, Megatron, section 3", readme="dl_014/4")
def row_before_column(draw):
    L = draw.between(8, 90)
    return Number(
        ask=f"{L} MLPs under tensor parallelism, the first matrix cut by rows, the second by columns, outputs whole "
        "on every rank. How many collectives does the forward pass need?",
        given=dict(L=L),
        answer=2 * L,
        unit="collectives",
        traps={"as column, then row": L, "both directions": 4 * L},
        hints=("Partial sums before the activation, pieces behind the second matrix.", "2 · L"),
        why="Rows first leave partial sums, and gelu(a + b) is not gelu(a) + gelu(b): they must be summed before it. "
        "Columns second leave pieces to gather.",
    )


@row_before_column.second
def _(L):
    calls, state = 0, "whole"
    for _mlp in range(L):
        for cut in ("rows", "columns"):
            state = {"rows": "partial sums", "columns": "pieces"}[cut]
            if state != "whole":
                calls, state = calls + 1, "whole"
    return calls


@question(topic="distributed.tensor_parallel", level=1, source="Shoeybi 2019, Megatron, section 3", readme="dl_014/4")
def activation_of_a_sum(draw):
    a, b = draw.between(2, 9), -draw.between(2, 9)
    return Predict(
        ask="Two ranks have partial sums of one hidden feature. What is printed?",
        code=f"""
relu = lambda x: max(x, 0)
a, b = {a}, {b}
print(relu(a + b), relu(a) + relu(b))
""",
        answer=f"{max(a + b, 0)} {a}",
        traps={
            "no difference": f"{max(a + b, 0)} {max(a + b, 0)}",
            "the two swapped": f"{a} {max(a + b, 0)}",
            "signs lost": f"{a - b} {a - b}",
        },
        hints=("Sum first, or activation first?", "max(a + b, 0), max(a, 0) + max(b, 0)"),
        why="An activation is not linear, so partial sums must be added before it. Cut by columns, a rank has whole "
        "features and needs no sum there.",
    )


@question(topic="distributed.pipeline_schedule", level=1, source="Narayanan 2021, section 2.2", readme="dl_014/3")
def bubble_of_a_pipeline(draw):
    p, m = draw(4, 6, 8, 12, 16), draw(12, 16, 24, 32, 64)
    return Number(
        ask=f"{p} equal stages, {m} micro-batches, 1F1B. Which share of the whole time is a stage idle?",
        given=dict(p=p, m=m),
        answer=100 * (p - 1) / (m + p - 1),
        unit="%",
        traps={
            "of the ideal time": 100 * (p - 1) / m,
            "one stage more": 100 * p / (m + p),
            "the batch in one piece": 100 * (p - 1) / p,
        },
        hints=("A stage works m slots of m + p - 1.", "100 · (p - 1) / (m + p - 1)"),
        why="It waits until the first micro-batch has reached it and while the last one leaves. GPipe has the same "
        "bubble: 1F1B saves memory, not time.",
    )


@bubble_of_a_pipeline.second
def _(p, m):
    ends = [[0] * m for _ in range(p)]
    for batch in range(m):
        for stage in range(p):
            free = ends[stage][batch - 1] if batch else 0
            arrived = ends[stage - 1][batch] if stage else 0
            ends[stage][batch] = max(free, arrived) + 1
    whole = ends[-1][-1]
    return 100 * (1 - m / whole)


@question(topic="distributed.pipeline_schedule", level=2, source="Narayanan 2021, section 2.2.1", readme="dl_014/3")
def live_in_1f1b(draw):
    p, m = draw(4, 6, 8, 12), draw(5, 8, 16, 32)
    r = draw.between(0, 3)
    return Number(
        ask=f"1F1B, {p} stages, {m} micro-batches. Of how many micro-batches does stage {r}, counted from 0, keep "
        "activations at most?",
        given=dict(p=p, m=m, r=r),
        answer=min(m, p - r),
        unit="batches",
        traps={"GPipe": m, "before the first backward": p - r - 1, "of the first stage": p},
        hints=("How far ahead of the last stage is it, counting the one at work?", "min(m, p - r)"),
        why="A stage starts a backward pass as soon as one comes back, and then one forward follows one backward. "
        "GPipe keeps all m.",
    )


@live_in_1f1b.second
def _(p, m, r):
    steps = ["F"] * min(m, p - 1 - r)
    while steps.count("F") < m:
        steps += ["F", "B"]
    steps += ["B"] * (m - steps.count("B"))
    live = [steps[:i].count("F") - steps[:i].count("B") for i in range(len(steps) + 1)]
    return max(live)


@question(topic="distributed.pipeline_schedule", level=2, source="Narayanan 2021, section 2.2.2", readme="dl_014/3")
def bubbles_in_order(draw):
    cases = draw.sample(
        [(4, 8, 1), (4, 9, 2), (8, 16, 1), (8, 32, 1), (8, 16, 4), (16, 32, 1), (16, 64, 2), (6, 8, 1)], 4
    )
    bubbles = {_case(*case): (case[0] - 1) / (case[1] * case[2]) for case in cases}
    order = sorted(bubbles, key=lambda name: bubbles[name])
    return Order(
        ask="Equal stages; `chunks` says how many pieces of the model a rank has. Which pipeline has the smallest "
        "bubble, relative to its ideal time? Smallest first.",
        given=dict(cases=cases),
        answer=order,
        traps={
            "chunks do not matter": [_case(*one) for one in sorted(cases, key=lambda one: (one[0] - 1) / one[1])],
            "by the number of stages": [_case(*one) for one in sorted(cases)],
            "largest first": order[::-1],
        },
        hints=("More stages make it larger; what makes it smaller?", "(p - 1) / (v · m)"),
        why="Interleaved chunks make each wait shorter, for more messages. 1F1B alone has GPipe's bubble.",
    )


def _case(p, m, v):
    return f"{p} stages, {m} micro-batches, {v} chunk{'s' * (v > 1)}"


@bubbles_in_order.second
def _(cases):
    found = []
    for p, m, v in cases:
        slot = 1 / v  # a chunk takes a v-th of a stage's time
        idle = sum(slot for _stage_before in range(p - 1))
        found.append((idle / m, f"{p} stages, {m} micro-batches, {v} chunk{'s' if v != 1 else ''}"))
    return [name for _, name in sorted(found)]


@question(topic="distributed.pipeline_step", level=1, source="Huang 2019, GPipe, section 2.2")
def messages_of_a_pipeline(draw):
    p, m = draw(3, 4, 6, 8, 16), draw(5, 12, 16, 31, 64)
    return Number(
        ask=f"A pipeline of {p} ranks, one stage each, and {m} micro-batches. How many messages are sent from rank to "
        "rank in a step, forward and backward?",
        given=dict(p=p, m=m),
        answer=2 * m * (p - 1),
        unit="messages",
        traps={"forward alone": m * (p - 1), "back to the first rank": 2 * m * p, "one for the batch": 2 * (p - 1)},
        hints=("Each micro-batch passes every boundary, and its gradient comes back.", "2 · m · (p - 1)"),
        why="Between two stages goes one activation a micro-batch and one gradient of the same shape. That is "
        "little, so a slower network will do.",
    )


@messages_of_a_pipeline.second
def _(p, m):
    sent = [(batch, rank, rank + 1) for batch in range(m) for rank in range(p) if rank + 1 < p]
    back = [(batch, rank, rank - 1) for batch in range(m) for rank in range(p) if rank > 0]
    return len(sent) + len(back)


@question(topic="distributed.pipeline_step", level=2, source="Narayanan 2021, figure 4")
def steps_of_a_rank(draw):
    p, m = draw(2, 3, 4), draw(3, 4, 5)
    rank = draw.between(0, p - 1)

    def steps(warm):
        first = [f"F{i}" for i in range(warm)]
        middle = [one for i in range(m - warm) for one in (f"F{warm + i}", f"B{i}")]
        return " ".join(first + middle + [f"B{i}" for i in range(m - warm, m)])

    return Predict(
        ask=f"1F1B: the forward (F) and backward (B) passes of rank {rank} of {p}, counted from 0, for {m} "
        "micro-batches. What is printed?",
        code=f"""
warm = min({m}, {p} - 1 - {rank})
steps = [f"F{{i}}" for i in range(warm)]
for i in range({m} - warm):
    steps += [f"F{{warm + i}}", f"B{{i}}"]
steps += [f"B{{i}}" for i in range({m} - warm, {m})]
print(*steps)
""",
        answer=steps(min(m, p - 1 - rank)),
        traps={"GPipe": steps(m), "one pass too early": steps(min(m, p - 1 - rank) - 1) if rank < p - 1 else steps(1)},
        hints=(
            "First it fills the stages behind it, then one forward, one backward.",
            "warm = p - 1 - rank passes first",
        ),
        why="The last rank can go back at once; each rank before it is one forward pass further ahead.",
    )


@question(topic="distributed.mesh", level=2, source="Llama 3, section 3.3.2", readme="dl_014/5")
def rank_in_a_mesh(draw):
    T, P, D = draw(2, 4, 8), draw(3, 4, 16), draw(2, 5, 8)
    t, p, d = draw.between(0, T - 1), draw.between(1, P - 1), draw.between(1, D - 1)
    return Number(
        ask=f"A mesh of {T} tensor, {P} pipeline and {D} data ranks; the tensor axis varies fastest, then the "
        f"pipeline. Which rank stands at tensor {t}, pipeline {p}, data {d}? All counted from 0.",
        given=dict(T=T, P=P, D=D, t=t, p=p, d=d),
        answer=(d * P + p) * T + t,
        traps={
            "data varies fastest": (t * P + p) * D + d,
            "pipeline and data swapped": (p * D + d) * T + t,
            "sizes forgotten": t + p + d,
        },
        hints=("Whole groups of T ranks come before it: how many?", "(d · P + p) · T + t"),
        why="Neighbours along the tensor axis have neighbouring ranks, so they share a host and its fast links.",
    )


@rank_in_a_mesh.second
def _(T, P, D, t, p, d):
    places = [(data, pipe, tensor) for data in range(D) for pipe in range(P) for tensor in range(T)]
    return places.index((d, p, t))


@question(topic="distributed.mesh", level=2, source="Llama 3, section 3.3.2", readme="dl_014/5")
def axis_inside_a_host(draw):
    L, m, wish = draw(32, 80, 126), draw(8, 16, 32), draw("fastest", "slowest")
    axes = {"tensor": "the tensor axis", "pipeline": "the pipeline axis", "data": "the data axis"}
    right = axes["tensor" if wish == "fastest" else "data"]
    others = [one for one in axes.values() if one != right]
    return Choice(
        ask=f"3-D parallelism, {L} layers, {m} micro-batches a step. Count the exchanges of each axis in a step. "
        f"Which one should get the {wish} links?",
        given=dict(L=L, m=m, wish=wish),
        answer=right,
        traps={"neighbours alone" if "pipeline" in one else "the wrong way round": one for one in others},
        hints=("Count exchanges a step that somebody waits for.", "4 · L · m, about 2 · m, once"),
        why="The tensor axis sums a whole activation twice in each block and direction, and the next product waits "
        "for it. Gradients go once a step, mostly under the backward pass.",
    )


@axis_inside_a_host.second
def _(L, m, wish):
    exchanges = {
        "the tensor axis": sum(2 for _batch in range(m) for _block in range(L) for _direction in "fb"),
        "the pipeline axis": sum(1 for _batch in range(m) for _direction in "fb"),
        "the data axis": 1,
    }
    pick = max if wish == "fastest" else min
    return pick(exchanges, key=lambda axis: exchanges[axis])


@question(topic="distributed.mesh", level=1, source="Llama 3, section 3.3.2", readme="dl_014/5")
def coordinates_of_a_rank(draw):
    T, P = draw(2, 4, 8), draw(2, 3, 4)
    rank = draw.between(T * P, 4 * T * P - 1)
    tensor, pipe, data = rank % T, rank // T % P, rank // T // P
    return Predict(
        ask="Where does a rank stand, if the tensor axis varies fastest? What is printed?",
        code=f"""
rank, place = {rank}, {{}}
for axis, size in [("tensor", {T}), ("pipeline", {P}), ("data", 4)]:
    place[axis] = rank % size
    rank //= size
print(place)
""",
        answer=str({"tensor": tensor, "pipeline": pipe, "data": data}),
        traps={
            "slowest first": str({"tensor": rank // P // 4, "pipeline": rank // 4 % P, "data": rank % 4}),
            "divided once": str({"tensor": rank % T, "pipeline": rank % P, "data": rank % 4}),
            "remainder and quotient swapped": str({"tensor": rank // T, "pipeline": pipe, "data": data}),
        },
        hints=("A rank is a number with a base for each axis.", "rank mod T, then rank div T mod P, and so on"),
        why="Reading a rank's coordinates is writing a number with mixed bases, the fastest axis last.",
    )


@question(topic="sequence.parallel", level=2, source="Liu 2023, Ring Attention, section 3")
def bytes_round_the_ring(draw):
    p, n, d = draw(4, 8, 16, 32), draw(32768, 131072, 1048576), draw(1024, 4096, 8192)
    return Number(
        ask=f"Ring attention: {n:,} tokens over {p} ranks; keys and values of width {d} each, 2 B a number, travel "
        "until each rank has seen all. How many bytes does a rank send, forward?",
        given=dict(p=p, n=n, d=d),
        answer=4 * (p - 1) * (n // p) * d,
        unit="B",
        traps={
            "keys alone": 2 * (p - 1) * (n // p) * d,
            "one step too many": 4 * p * (n // p) * d,
            "one step": 4 * (n // p) * d,
        },
        hints=("In p - 1 steps it passes on a block of n/p keys and values.", "2 · 2 · (p - 1) · n/p · d"),
        why="Queries stay, keys and values travel. Each step's sending hides behind the attention with the block "
        "that is there, if blocks are long enough.",
    )


@bytes_round_the_ring.second
def _(p, n, d):
    import numpy as np

    block = np.broadcast_to(np.float16(0), (2, n // p, d))
    return sum(block.size * block.itemsize for _step in range(1, p))


@question(topic="sequence.parallel", level=2, source="Brandon 2023, Striped Attention, section 2")
def blocks_that_count(draw):
    p = draw.between(5, 9)
    rank = draw.between(2, p - 1)
    held = [(rank - step) % p for step in range(p)]
    used = [one for one in held if one <= rank]
    return Predict(
        ask=f"Causal ring attention, rank {rank} of {p}, which has the tokens of block {rank}. Blocks come from the "
        "rank before. With which blocks of keys does it compute?",
        code=f"""
held = [({rank} - step) % {p} for step in range({p})]
print([block for block in held if block <= {rank}])
""",
        answer=str(used),
        traps={
            "all that come by": str(held),
            "the future too": str([one for one in held if one >= rank]),
            "from the first block on": str(used[::-1]),
        },
        hints=("It starts with its own block. Which blocks lie in its past?", "(rank - step) mod p, where <= rank"),
        why="The first rank has one block to do and the last all of them. Striped tokens even this out.",
    )


@question(topic="distributed.checkpointing", level=1, source="Chen 2016, section 3", seed="000/14")
def time_of_checkpointing(draw):
    r = draw(1.2, 1.5, 1.8, 2.0, 2.2, 2.5, 3.0)
    return Number(
        ask=f"A backward pass takes {r:g} times as long as a forward pass. Every block is checkpointed. By how much "
        "does the time of both passes grow?",
        given=dict(r=r),
        answer=100 / (1 + r),
        unit="%",
        traps={"both passes twice": 100.0, "of the backward pass": 100 / r, "free": 0.0},
        hints=("What is computed once more, and what was there before?", "100 · 1 / (1 + r)"),
        why="Checkpointing costs one more forward pass, no second backward pass.",
    )


@time_of_checkpointing.second
def _(r):
    before = ["forward", "backward"]
    after = ["forward", "forward", "backward"]
    time = {"forward": 1.0, "backward": r}
    return 100 * (sum(time[one] for one in after) / sum(time[one] for one in before) - 1)


@question(topic="distributed.checkpointing", level=2, source="Chen 2016, section 4.1", seed="000/14")
def blocks_that_run_again(draw):
    size, n, start = draw(2, 3), 6, draw(0, 10, 20, 30)
    starts = list(range(start, start + n, size))
    order = [block for first in reversed(starts) for block in range(first, first + size)]
    return Predict(
        ask="Blocks in checkpointed segments. In which order do they run again in the backward pass?",
        code=f"""
size, blocks = {size}, list(range({start}, {start + n}))
segments = [blocks[i:i + size] for i in range(0, len(blocks), size)]
print([block for segment in reversed(segments) for block in segment])
""",
        answer=str(order),
        traps={
            "all backward": str(list(range(start, start + n))[::-1]),
            "segments in order": str(list(range(start, start + n))),
        },
        hints=(
            "The last segment is needed first; how does a forward pass go through it?",
            "segments backward, blocks forward",
        ),
        why="A segment keeps its input alone. Before its backward pass it runs forward once more, from its first "
        "block.",
    )


@question(topic="distributed.checkpointing", level=2, source="Chen 2016, section 4.1")
def activations_with_segments(draw):
    L, k = draw(24, 36, 48, 64, 96), draw(2, 3, 4, 6, 8, 12)
    length = ceil(L / k)
    return Number(
        ask=f"{L} equal blocks in {k} checkpointed segments, as even as can be. How many activations of a block are "
        "kept at most: the inputs of all segments, and one segment's blocks?",
        given=dict(L=L, k=k),
        answer=k + length,
        unit="activations",
        traps={"segments alone": k, "one segment alone": length, "no checkpoints": L},
        hints=("Checkpoints, and the longest segment while it is done again.", "k + ⌈L / k⌉"),
        why="The sum is smallest for about √L segments: memory with the root of the depth, for one more forward pass.",
    )


@activations_with_segments.second
def _(L, k):
    segments = [[block for block in range(L) if block % k == one] for one in range(k)]
    return len(segments) + max(map(len, segments))


@question(topic="distributed.deepspeed", level=1, source="DeepSpeed, configuration JSON")
def accumulation_steps(draw):
    a, m, dp = draw(2, 3, 4, 5, 6, 8, 12, 16), draw(2, 4), draw(8, 16, 32)
    tp, pp = draw(2, 4), draw(1, 3)
    batch, world = a * m * dp, dp * tp * pp
    return Number(
        ask=f"DeepSpeed: train_batch_size {batch}, micro-batch {m} a GPU, {world} GPUs with tensor parallel {tp} and "
        f"pipeline parallel {pp}. What is gradient_accumulation_steps?",
        given=dict(batch=batch, m=m, world=world, tp=tp, pp=pp),
        answer=batch * tp * pp // (m * world),
        unit="steps",
        traps={
            "all GPUs take data": batch / (m * world),
            "micro-batch forgotten": batch // dp,
            "per GPU": batch // m,
        },
        hints=("How many data-parallel ranks are there?", "batch / (m · world / (tp · pp))"),
        why="Ranks of one tensor or pipeline group work on the same examples. Only data-parallel ranks multiply the "
        "batch.",
    )


@accumulation_steps.second
def _(batch, m, world, tp, pp):
    groups = {(rank // (tp * pp)) for rank in range(world)}
    steps, examples = 0, 0
    while examples < batch:
        steps, examples = steps + 1, examples + m * len(groups)
    return steps


@question(topic="distributed.deepspeed", level=1, source="Rajbhandari 2020; Ren 2021, ZeRO-Offload")
def what_a_setting_does(draw):
    setting = draw("stage 1", "stage 2", "stage 3", "offload_optimizer")
    effects = {
        "stage 1": "pieces: optimizer states",
        "stage 2": "pieces: optimizer states, gradients",
        "stage 3": "pieces: optimizer states, gradients, parameters",
        "offload_optimizer": "optimizer states in the host's memory",
    }
    return Choice(
        ask=f"What does `{setting}` in DeepSpeed's zero_optimization do with what a rank keeps?",
        given=dict(setting=setting),
        answer=effects[setting],
        traps={other: text for other, text in effects.items() if other != setting},
        hints=(
            "Each stage cuts one thing more; offload moves, it does not cut.",
            "1: states, 2: gradients too, 3: all",
        ),
        why="Stages divide what is kept among the ranks, from the largest part on. Offload moves the optimizer and "
        "its step to the host, over a slower link.",
    )


@what_a_setting_does.second
def _(setting):
    by_size = sorted({"optimizer states": 12.0, "gradients": 2.1, "parameters": 2.0}.items(), key=lambda one: -one[1])
    if setting.startswith("offload"):
        return f"{by_size[0][0]} in the host's memory"
    return "pieces: " + ", ".join(name for name, _ in by_size[: int(setting[-1])])


@question(topic="distributed.hardware", level=1, source="Williams 2009, roofline; vendors' data sheets")
def where_a_chip_turns(draw):
    name, F, B = draw(
        ("A100", 312, 2.039), ("H100", 989, 3.35), ("TPU v5e", 197, 0.819), ("TPU v5p", 459, 2.765),
        ("MI300X", 1307, 5.3), ("L4", 121, 0.3), ("H200", 989, 4.8), ("V100", 125, 0.9),
    )  # fmt: skip
    return Number(
        ask=f"{name}: {F} TFLOP/s in 16 bits, {B:g} TB/s of memory. From how many FLOPs for each byte read on is it "
        "busy computing?",
        given=dict(F=F, B=B),
        answer=F / B,
        unit="FLOP/B",
        traps={"upside down": B / F, "for each number": 2 * F / B},
        hints=("Both rates are for a second: when do they take equally long?", "F / B"),
        why="Below it the chip waits for memory. Decoding one token has about one FLOP a byte, so it always waits.",
    )


@where_a_chip_turns.second
def _(F, B):
    seconds_a_byte, seconds_a_flop = 1 / (B * 1e12), 1 / (F * 1e12)
    return seconds_a_byte / seconds_a_flop


@question(topic="distributed.hardware", level=2, source="Williams 2009, roofline")
def work_a_byte_in_order(draw):
    n, few, many = draw(1024, 4096, 8192), draw(1, 8, 16), draw(64, 256, 512)
    wide = draw(2048, 3000)
    tasks = {
        f"x · W, x {few} x {n}, W {n} x {n}": _intensity(few, n, n),
        f"x · W, x {many} x {n}, W {n} x {n}": _intensity(many, n, n),
        f"adding two matrices of {n} x {n}": 1 / 6,
        f"x · W, x {wide} x {n}, W {n} x 64": _intensity(wide, n, 64),
    }
    order = sorted(tasks, key=lambda name: tasks[name])
    return Order(
        ask="16-bit values, each matrix read or written once. Which has the fewest FLOPs for each byte? Fewest first.",
        given=dict(n=n, few=few, many=many, wide=wide),
        answer=order,
        traps={
            "most first": order[::-1],
            "by rows": sorted(tasks, key=lambda name: ("adding" not in name, _rows(name))),
        },
        hints=(
            "FLOPs grow with a product of three sides, bytes with products of two.",
            "2·m·n·k / (2·(m·n + n·k + m·k))",
        ),
        why="The shortest side bounds the work a byte. One row against a large matrix is about 1, adding less: both "
        "wait for memory.",
    )


def _intensity(m, n, k):
    return 2 * m * n * k / (2 * (m * n + n * k + m * k))


def _rows(name):
    return int(name.split()[4]) if "·" in name else 0


@work_a_byte_in_order.second
def _(n, few, many, wide):
    import numpy as np

    tasks = {f"adding two matrices of {n} x {n}": n * n / (3 * n * n * 2)}
    for rows, k in ((few, n), (many, n), (wide, 64)):
        moved = sum(np.broadcast_to(np.float16(0), shape).size for shape in ((rows, n), (n, k), (rows, k)))
        tasks[f"x · W, x {rows} x {n}, W {n} x {k}"] = 2 * rows * n * k / (2 * moved)
    return sorted(tasks, key=lambda name: tasks[name])
