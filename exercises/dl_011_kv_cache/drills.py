"""Questions on the KV cache whose numbers change: `grader drill --topic kv.memory`."""

from math import ceil

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="kv.memory", level=1, source="Ainslie 2023, section 2", readme="dl_011/2", seed="000/12")
def bytes_a_token(draw):
    L, kv, h, b = draw(28, 32, 40, 48, 80), draw(2, 4, 8), draw(64, 128), draw(1, 2)
    q = kv * draw(4, 7)
    return Number(
        ask=f"{L} layers, {q} query heads and {kv} KV heads of width {h}, {b} B a value. Cache, bytes a token?",
        given=dict(L=L, kv=kv, h=h, b=b),
        answer=2 * L * kv * h * b,
        unit="B",
        traps={"keys only": L * kv * h * b, "query heads counted": 2 * L * q * h * b},
        hints=("Each of the L layers keeps a key and a value for each of its kv heads.", "2 · L · kv · h · b"),
        why="Keys and values of each layer and KV head are kept. Query heads share them, and keep nothing.",
    )


@bytes_a_token.second
def _(L, kv, h, b):
    import numpy as np

    return np.zeros((2, L, kv, h), f"i{b}").nbytes


@question(topic="kv.memory", level=2, source="Pope 2022, section 2", readme="dl_011/2")
def tokens_beside_weights(draw):
    P, M, L, kv = draw(6.74, 8.03, 13.0, 14.8), draw(40, 48, 80, 141), draw(32, 40), draw(8, 32)
    token = 2 * L * kv * 128 * 2
    left = (M - 2 * P) * 1e9
    return Number(
        ask=f"{P:g} · 10⁹ weights of 2 B, {L} layers, {kv} KV heads of width 128, cache values of 2 B. How many "
        f"tokens fit beside the weights in {M} GB?",
        given=dict(P=P, M=M, L=L, kv=kv),
        answer=left / token,
        unit="tokens",
        traps={
            "weights take no room": M * 1e9 / token,
            "weights of 1 B": (M - P) * 1e9 / token,
            "keys only": 2 * left / token,
        },
        hints=("What the weights leave, over the bytes of a token.", "(M - 2 · P) · 10⁹ / (2 · L · kv · 128 · 2)"),
        why="Weights come first; the rest is shared by all sequences. Activations and workspace take more of it.",
    )


@tokens_beside_weights.second
def _(P, M, L, kv):
    free = M * 1e9 - sum([P * 1e9] * 2)
    a_layer = free / L
    return a_layer / (kv * 128) / 4


@question(topic="kv.memory", level=2, source="DeepSeek-V2, table 1", readme="dl_011/2")
def smallest_cache(draw):
    H, kv, h = draw(16, 32, 64), draw(2, 4, 8), draw(64, 128)
    c, r = draw((256, 32), (512, 64), (1536, 64))
    values = {
        f"MHA of {H} heads": 2 * H * h,
        f"GQA of {kv} KV heads": 2 * kv * h,
        "MQA": 2 * h,
        f"MLA, latent {c}, rotary key {r}": c + r,
    }
    order = sorted(values, key=lambda name: values[name])
    return Order(
        ask=f"All heads are {h} wide. Which keeps least a token? Smallest first.",
        given=dict(H=H, kv=kv, h=h, c=c, r=r),
        answer=order,
        traps={"largest first": order[::-1]},
        hints=("Count the values a layer; MLA keeps no values of its own.", "2 · heads · h, and c + r for MLA"),
        why="MLA keeps one latent for keys and values of all heads, and one rotary key. Its place depends on the "
        "sizes.",
    )


@smallest_cache.second
def _(H, kv, h, c, r):
    import numpy as np

    kept = [np.zeros((2, H, h)), np.zeros((2, kv, h)), np.zeros((2, 1, h)), np.zeros(c + r)]
    names = [f"MHA of {H} heads", f"GQA of {kv} KV heads", "MQA", f"MLA, latent {c}, rotary key {r}"]
    return [names[i] for i in np.argsort([one.size for one in kept])]


@question(topic="kv.buffer", level=1, source="vLLM, section 3")
def copied_by_cat(draw):
    n = draw.between(50, 3000)
    return Number(
        ask=f"A cache grows by torch.cat, one token at a time, from empty to {n} tokens. How many tokens that were "
        "cached before are copied in all?",
        given=dict(n=n),
        answer=n * (n - 1) // 2,
        unit="tokens",
        traps={"the new ones counted too": n * (n + 1) // 2, "n squared": n * n, "each once": n},
        hints=("Before step i there are i - 1 tokens, and all of them are copied.", "n · (n - 1) / 2"),
        why="Each cat makes a new tensor and copies all that was there. A buffer that is allocated once copies "
        "nothing.",
    )


@copied_by_cat.second
def _(n):
    return sum(range(n))


@question(topic="kv.buffer", level=2, source="vLLM, section 3")
def where_a_batch_writes(draw):
    lengths = draw.sample(range(2, 12), 3)
    counts = [draw.between(1, 3), 0, 4]
    last = max(lengths)
    return Predict(
        ask="Sequences of a padded batch hold `lengths` tokens; `counts` of the 4 new ones are real. What is printed?",
        code=f"""
lengths, counts = {lengths}, {counts}
print([(n, n + c) for n, c in zip(lengths, counts)])
""",
        answer=str([(n, n + c) for n, c in zip(lengths, counts, strict=True)]),
        traps={
            "padding written": str([(n, n + 4) for n in lengths]),
            "one length for the batch": str([(last, last + c) for c in counts]),
        },
        hints=("Each sequence writes behind its own end.", "from lengths[i] to lengths[i] + counts[i]"),
        why="Sequences have their own ends. Padding that is written takes the places of their next tokens, or passes "
        "the capacity.",
    )


@question(topic="kv.prefill", level=1, source="Agrawal 2023, Sarathi, section 4")
def pairs_of_a_chunk(draw):
    P, c = draw.between(5, 90), draw.between(3, 40)
    return Number(
        ask=f"{P} tokens are cached. A chunk of {c} more is prefilled. How many pairs of query and key does its causal "
        "mask leave, in one head?",
        given=dict(P=P, c=c),
        answer=c * P + c * (c + 1) // 2,
        unit="pairs",
        traps={
            "the mask begins at 0": c * (c + 1) // 2,
            "no mask": c * (P + c),
            "own place hidden": c * P + c * (c - 1) // 2,
        },
        hints=("Each query sees all P of the past, and its own chunk up to itself.", "c · P + c · (c + 1) / 2"),
        why="Nothing of the past is hidden from the chunk, only what comes later in the chunk itself: a rectangle, and "
        "a triangle with its diagonal.",
    )


@pairs_of_a_chunk.second
def _(P, c):
    import numpy as np

    return int(np.tri(c, P + c, P).sum())


@question(topic="kv.prefill", level=1, source="Agrawal 2023, Sarathi, section 4")
def mask_of_a_chunk(draw):
    past, row = draw("past", "start", "cached", "offset"), draw("i", "row", "n")
    return Blank(
        ask=f"`{past}` is the number of cached tokens; `{row}` counts the queries of this chunk from 0. Which keys "
        "does a query see?",
        code=f"def sees({row}, key, {past}):\n    return key <= ____",
        given={past: draw.between(3, 9), row: draw.between(1, 5)},
        answer=f"{past} + {row}",
        traps={"the mask begins at 0": row, "own place hidden": f"{past} + {row} - 1", "nothing of the chunk": past},
        hints=("At which place of the whole text does this query stand?", "the past and the place in the chunk, added"),
        why="The chunk is the end of a longer text. A mask that begins at 0 again hides nearly all of the past.",
    )


@mask_of_a_chunk.second
def _(**given):
    past, row = given.values()
    return [*range(past), *range(past, 100)].index(past) + row


@question(topic="kv.decode", level=2, source="Pope 2022, section 2", readme="dl_011/1")
def work_a_byte(draw):
    G, b = draw(4, 5, 6, 7, 8, 12, 16), draw(0.5, 1, 4)
    return Number(
        ask=f"Decoding: {G} query heads read each KV head, whose values take {b} B. How many FLOPs of attention "
        "are done for each byte of cache that is read? A multiplication and an addition are two.",
        given=dict(G=G, b=b),
        answer=2 * G / b,
        unit="FLOP/B",
        traps={"one query head": 2 / b, "an addition forgotten": G / b},
        hints=("Each value meets G query heads, with a multiplication and an addition.", "2 · G / b"),
        why="Each cached value is read once a step, and meets every query head of its group once. Chips offer a "
        "hundred "
        "FLOPs a byte or more, so reading the cache is the limit.",
    )


@work_a_byte.second
def _(G, b):
    flops = read = 0
    for _side in ("scores", "weighted sum"):
        for _channel in range(64):
            read += b
            flops += sum(1 + 1 for _head in range(G))
    return flops / read


@question(topic="kv.decode", level=1, source="Pope 2022, section 2", readme="dl_011/1")
def batch_grows(draw):
    what, f = draw("weights", "cache"), draw(2, 4, 8)
    fewer, equal, more = f"1/{f} of them", "as many", f"{f} times as many"
    return Choice(
        ask=f"Decoding, all sequences equally long. The batch grows {f}-fold. How many bytes of {what} are read for "
        "each token that is generated, against before?",
        given=dict(what=what, f=f),
        answer=fewer if what == "weights" else equal,
        traps={
            ("weights and cache swapped"): equal if what == "weights" else fewer,
            "bytes of the whole step": more,
        },
        hints=("Ask who shares it: one sequence, or the whole batch?", "bytes read in a step / tokens of the batch"),
        why="Weights are read once a step for the whole batch. Each sequence has a cache of its own.",
    )


@batch_grows.second
def _(what, f):
    def bytes_a_token(batch):
        read = 1000 if what == "weights" else sum(1000 for _sequence in range(batch))
        return read / batch

    share = bytes_a_token(8 * f) / bytes_a_token(8)
    return {1 / f: f"1/{f} of them", 1: "as many", f: f"{f} times as many"}[share]


@question(topic="kv.grouped_query", level=1, source="Ainslie 2023, section 2")
def head_that_is_read(draw):
    K, G = draw(4, 8), draw(3, 5, 6, 7)
    i = draw.between(G + 1, K * G - 1)
    return Number(
        ask=f"{K * G} query heads, {K} KV heads, neighbours share. Which KV head does query head {i} read? Both are "
        "counted from 0.",
        given=dict(K=K, G=G, i=i),
        answer=i // G,
        traps={"interleaved": i % K, "place in its group": i % G, "counted from 1": i // G + 1},
        hints=("How many query heads share one KV head? Call it G.", "⌊i / G⌋"),
        why="Neighbouring query heads form a group: `repeat_interleave` of the KV heads, not `repeat`.",
    )


@head_that_is_read.second
def _(K, G, i):
    import numpy as np

    return int(np.repeat(np.arange(K), G)[i])


@question(topic="kv.grouped_query", level=2, source="Ainslie 2023, section 2")
def heads_in_groups(draw):
    first, G = draw.between(3, 40), draw(2, 3)
    heads = [first, first + draw(2, 5, 7)]
    grouped = [one for one in heads for _ in range(G)]
    return Predict(
        ask="Two KV heads, here one number each, are made to fit the query heads. What is printed?",
        code=f"""
import numpy as np
kv = np.array({heads})
print(kv.repeat({G}).tolist())
""",
        answer=str(grouped),
        traps={
            "torch's repeat: interleaved": str(heads * G),
            "the numbers multiplied": str([one * G for one in heads]),
        },
        hints=("numpy's repeat keeps the copies of one entry together.", "each entry G times, then the next"),
        why="numpy's repeat is torch's repeat_interleave. torch's repeat is numpy's tile, and would mix the groups.",
    )


@question(topic="kv.latent", level=2, source="DeepSeek-V2, section 2.1", readme="dl_011/2")
def latent_against_heads(draw):
    c, r, H, h = draw(256, 384, 512), draw(32, 64), draw(32, 64, 128), draw(64, 128)
    return Number(
        ask=f"MLA keeps a latent of {c} and a rotary key of {r}. MHA keeps keys and values of {H} heads of width {h}. "
        "How many times larger is the cache of MHA?",
        given=dict(c=c, r=r, H=H, h=h),
        answer=2 * H * h / (c + r),
        unit="x",
        traps={"rotary key forgotten": 2 * H * h / c, "keys only": H * h / (c + r), "a latent each": H * h / c},
        hints=("Values a token and layer: of MHA, over those of MLA.", "2 · H · h / (c + r)"),
        why="One latent serves the keys and the values of all heads. The rotary key is kept beside it, once.",
    )


@latent_against_heads.second
def _(c, r, H, h):
    import numpy as np

    return np.zeros((2, H, h)).size / np.concatenate([np.zeros(c), np.zeros(r)]).size


@question(topic="kv.latent", level=3, source="DeepSeek-V2, section 2.1", readme="dl_011/3")
def absorbed_work(draw):
    H, c, r = draw(16, 32, 64, 128), draw(256, 512), draw(32, 64)
    return Number(
        ask=f"MLA decodes with k_up and v_up absorbed: {H} heads, latent {c}, rotary key {r}. How many FLOPs for the "
        "scores and the weighted sum, for each cached token and layer? A multiplication and an addition are two.",
        given=dict(H=H, c=c, r=r),
        answer=2 * H * (2 * c + r),
        unit="FLOP",
        traps={
            "one head": 2 * (2 * c + r),
            "scores only": 2 * H * (c + r),
            "rotary key in the sum too": 4 * H * (c + r),
        },
        hints=("Each head multiplies with latent and rotary key, then adds up latents alone.", "2 · H · (2 · c + r)"),
        why="Absorbed, a head works in the latent: c + r products for the score, c for the sum. Nothing is built anew.",
    )


@absorbed_work.second
def _(H, c, r):
    scores = sum(2 * width for _head in range(H) for width in (c, r))
    weighted = H * c + H * c
    return scores + weighted


@question(topic="kv.latent", level=3, source="DeepSeek-V2, section 2.1", readme="dl_011/3")
def what_can_be_absorbed(draw):
    case = draw("before k_up", "after k_up", "after k_up", "nowhere", "after k_up, by one angle for all")
    where = {
        "before k_up": "The latent is rotated by its place, cached, and k_up makes the key",
        "after k_up": "The latent is cached, k_up makes the key, which is rotated by its place",
        "nowhere": "The latent is cached, k_up makes the key, and nothing is rotated",
        "after k_up, by one angle for all": "The latent is cached, k_up makes the key, which is rotated by a fixed "
        "angle",
    }[case]
    yes, no = "one matrix for all tokens", "a matrix for each place"
    return Choice(
        ask=f"{where}. What must the query be multiplied with, to be compared with what is cached?",
        given=dict(case=case),
        answer=no if case == "after k_up" else yes,
        traps={
            "where rotations stand": yes if case == "after k_up" else no,
            "no such matrix": "no matrix does it: the score is not linear in the latent",
        },
        hints=("Write the score as q · (what makes the key) c.", "qᵀ A c: does A change with the place?"),
        why="A fixed linear map moves into the query once. A rotation by the place between k_up and the query cannot, "
        "so DeepSeek-V2 rotates a small key of its own.",
    )


@what_can_be_absorbed.second
def _(case):
    import numpy as np

    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    k_up, maps = np.array([[1.0, 2.0], [0.5, -1.0]]), []
    for place in (1, 2):  # from what is cached to the key
        after = {"after k_up": turn(place), "after k_up, by one angle for all": turn(0.3)}.get(case, np.eye(2))
        maps.append(after @ k_up)
    return "one matrix for all tokens" if np.allclose(*maps) else "a matrix for each place"


@question(topic="kv.paged", level=1, source="vLLM, section 4", readme="dl_011/4")
def slots_wasted(draw):
    B, n = draw(8, 16, 32), [draw.between(17, 400) for _ in range(4)]
    return Number(
        ask=f"Blocks of {B} tokens. Four sequences hold {n[0]}, {n[1]}, {n[2]} and {n[3]} tokens. How many places in "
        "their blocks are empty?",
        given=dict(B=B, n=n),
        answer=sum(-one % B for one in n),
        unit="places",
        traps={
            "sequences share a block": -sum(n) % B,
            "reserved for the longest": sum(max(n) - one for one in n),
            "an empty block each": 4 * B,
        },
        hints=("Only the last block of a sequence has empty places.", "sum of (-n mod B)"),
        why="A sequence wastes at most one block less a token. A buffer for the longest that may come wastes far more.",
    )


@slots_wasted.second
def _(B, n):
    return sum(ceil(one / B) * B - one for one in n)


@question(topic="kv.paged", level=2, source="vLLM, section 4", readme="dl_011/4")
def block_and_place(draw):
    B, table = draw(4, 8, 16), draw.sample(range(10, 60), 4)
    one, other = draw.between(1, 2 * B - 1), draw.between(2 * B, 4 * B - 1)
    return Predict(
        ask="A block table, and two tokens of its sequence. What is printed?",
        code=f"""
table, size = {table}, {B}
for n in ({one}, {other}):
    print(table[n // size], n % size)
""",
        answer=f"{table[one // B]} {one % B}\n{table[other // B]} {other % B}",
        traps={
            "places counted from 1": f"{table[one // B]} {one % B + 1}\n{table[other // B]} {other % B + 1}",
            "the block's place in the table": f"{one // B} {one % B}\n{other // B} {other % B}",
        },
        hints=("Which entry of the table, and which place within that block?", "table[⌊n / size⌋] and n mod size"),
        why="A table translates places of the text into blocks of the pool, as an operating system does with pages.",
    )


@question(topic="kv.prefix_sharing", level=3, source="vLLM, section 4.4")
def blocks_after_forks(draw):
    B, P, k = draw(8, 16), draw.between(33, 200), draw(3, 4, 5, 8)
    G = draw.between(B + 1, 90)
    full = P // B
    whole = ceil((P + G) / B)
    return Number(
        ask=f"Blocks of {B}. {k} samples share a prompt of {P} tokens, then each adds {G} tokens of its own, with copy "
        "on write. How many blocks are in use?",
        given=dict(B=B, P=P, G=G, k=k),
        answer=full + k * (whole - full),
        unit="blocks",
        traps={
            "nothing shared": k * whole,
            "a half full block shared": ceil(P / B) + k * (whole - ceil(P / B)),
            "the prompt alone": ceil(P / B),
        },
        hints=(
            "Full blocks of the prompt stay shared; the rest is each sample's own.",
            "⌊P/B⌋ + k · (⌈(P+G)/B⌉ - ⌊P/B⌋)",
        ),
        why="Nobody writes to a full block, so it stays shared. The half full one is copied by all but the last "
        "writer.",
    )


@blocks_after_forks.second
def _(B, P, G, k):
    tables = [[("prompt", place) for place in range(P)] for _ in range(k)]
    for sample, table in enumerate(tables):
        table += [(sample, place) for place in range(P, P + G)]
    return len({tuple(table[at : at + B]) for table in tables for at in range(0, P + G, B)})


@question(topic="kv.prefix_sharing", level=2, source="vLLM, section 4.4")
def copy_on_write(draw):
    shared, new, other = draw.sample(range(3, 30), 3)
    wrong, mended = draw(
        ("        owners[block] = 0", "        owners[block] -= 1"),
        ("        table.append(block)", "        table[i] = block"),
        ("    if owners[block] > 2:", "    if owners[block] > 1:"),
    )
    code = f"""
def write(i, table, owners, free):
    block = table[i]
    if owners[block] > 1:
        owners[block] -= 1
        block = free.pop()
        owners[block] = 1
        table[i] = block
owners, table = {{{shared}: 2, {other}: 1}}, [{shared}, {other}]
write(0, table, owners, [{new}])
print(table, owners)
"""
    return Bug(
        ask=f"Two sequences share block {shared}; one of them writes to it. The line printed should say that it now "
        f"owns block {new} instead. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=f"{[new, other]} {{{shared}: 1, {other}: 1, {new}: 1}}",
        traps={
            "a new block has one owner": "        owners[block] = 1",
            "any free block does": "        block = free.pop()",
        },
        hints=("Follow the counts of owners, then the table.", "one owner fewer, a new block, its place in the table"),
        why="Who writes to a shared block leaves it with one owner fewer and puts the copy at the same place of the "
        "table.",
    )


@question(topic="kv.eviction", level=2, source="StreamingLLM, section 3", readme="dl_011/5")
def newest_position(draw):
    s, w, n = draw(2, 4, 8), draw(60, 124, 252, 508, 1020, 2044), draw(3000, 8000, 50000)
    return Number(
        ask=f"StreamingLLM keeps {s} first tokens and the {w} newest of a text of {n}. At which position, counted from "
        "0, is the newest key rotated?",
        given=dict(s=s, w=w, n=n),
        answer=s + w - 1,
        traps={"its place in the text": n - 1, "the first tokens forgotten": w - 1, "counted from 1": s + w},
        hints=("Positions are those in the cache, not in the text.", "s + w - 1"),
        why="Positions within the cache never grow beyond what the model was trained on. The first tokens count too.",
    )


@newest_position.second
def _(s, w, n):
    text = list(range(n))
    kept = text[:s] + text[n - w :]
    return kept.index(text[-1])


@question(topic="kv.eviction", level=2, source="StreamingLLM, section 3", readme="dl_011/5")
def window_of_nothing(draw):
    n, sinks = draw.between(7, 12), draw.between(2, 4)
    wrong, mended = draw(
        ("    newest = rest[-window:]", "    newest = rest[len(rest) - window:]"),
        ("    sinks = places[-first:]", "    sinks = places[:first]"),
        ("    rest = places[first + 1:]", "    rest = places[first:]"),
    )
    window = 0 if "window" in wrong else n - sinks
    code = f"""
def kept(n, first, window):
    places = list(range(n))
    sinks = places[:first]
    rest = places[first:]
    newest = rest[len(rest) - window:]
    return sinks + newest
print(kept({n}, {sinks}, {window}))
"""
    return Bug(
        ask="The `first` tokens stay, and of the others the `window` newest. This prints something else. Which line is "
        "wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(list(range(sinks)) + list(range(n - window, n))),
        traps={"all places are there": "    places = list(range(n))", "the order is kept": "    return sinks + newest"},
        hints=("Work the last line out by hand, slice by slice.", "places[:first], places[first:], the last window"),
        why="Slices from the end have a trap: x[-0:] is all of x. Count from the front, or handle 0 by itself.",
    )


@question(topic="kv.quantization", level=2, source="KIVI, section 3")
def bytes_with_scales(draw):
    L, kv, h = draw(28, 32, 40, 48, 80), draw(2, 4, 8), draw(64, 128)
    return Number(
        ask=f"{L} layers, {kv} KV heads of width {h}. Keys and values are int8, with a float16 scale for each token, "
        "head and side. Cache, bytes a token?",
        given=dict(L=L, kv=kv, h=h),
        answer=2 * L * kv * (h + 2),
        unit="B",
        traps={
            "scales forgotten": 2 * L * kv * h,
            "float16 values": 4 * L * kv * h,
            "one scale for both sides": L * kv * (2 * h + 2),
        },
        hints=("Each vector of h codes has a scale of 2 B beside it.", "2 · L · kv · (h + 2)"),
        why="A scale adds 2 bytes to each vector: 3 % at width 64. Finer groups cost more.",
    )


@bytes_with_scales.second
def _(L, kv, h):
    import numpy as np

    return np.zeros((L, 2, kv, h), np.int8).nbytes + np.zeros((L, 2, kv), np.float16).nbytes


@question(topic="kv.quantization", level=2, source="KIVI, section 3", readme="dl_011/6")
def scale_a_token(draw):
    o, x = draw(6.0, 8.0, 10.0, 12.0, 20.0, 30.0, 50.0), draw(0.5, 1.5, 2.0)
    return Number(
        ask=f"One channel of the keys reaches {o:g}, all others {x:g}. int8, scale = largest / 127. By what factor is "
        "the error bound of the others larger with a scale a token than with one a channel?",
        given=dict(o=o, x=x),
        answer=o / x,
        unit="x",
        traps={"no difference": 1.0, "squared error": (o / x) ** 2, "difference for ratio": o - x},
        hints=("The error is at most half a scale; which is the largest value in each case?", "o / x"),
        why="A scale a token has to cover the large channel, and rounds all others as coarsely. A scale a channel "
        "confines the damage.",
    )


@scale_a_token.second
def _(o, x):
    import numpy as np

    keys = np.full((5, 4), x)
    keys[:, 2] = o
    bound_a_token, bound_a_channel = keys.max(1)[0] / 254, keys.max(0)[0] / 254
    return bound_a_token / bound_a_channel


@question(topic="kv.serving", level=1, source="Little 1961; vLLM, section 6")
def sequences_in_flight(draw):
    X, y = draw(800, 1200, 1500, 2000, 3000, 4500), draw(15, 20, 25, 40, 50)
    return Number(
        ask=f"A server makes {X} tokens a second in all; each sequence gets a token every {y} ms. How many sequences "
        "are in "
        "flight?",
        given=dict(X=X, y=y),
        answer=X * y / 1000,
        unit="sequences",
        traps={"divided": X / y, "tokens a second of one": 1000 / y},
        hints=("Little's law: what is inside = rate · time.", "X · y / 1000"),
        why="Tokens a second, times the seconds between two tokens of a sequence. Latency and rate fix the batch.",
    )


@sequences_in_flight.second
def _(X, y):
    rate_of_one = 1 / (y / 1e3)
    return X / rate_of_one


@question(topic="kv.serving", level=3, source="Orca, section 3")
def steps_until_done(draw):
    n = [draw.between(2, 30) for _ in range(5)]
    busy = [0, 0]
    for steps in n:
        busy[busy.index(min(busy))] += steps
    return Number(
        ask=f"Requests of {', '.join(map(str, n))} tokens wait in this order. Two run at a time; whoever ends makes "
        "room at "
        "once. After how many steps are all done?",
        given=dict(n=n),
        answer=max(busy),
        unit="steps",
        traps={
            "batches wait for the longest": max(n[0], n[1]) + max(n[2], n[3]) + n[4],
            "shared without a rest": ceil(sum(n) / 2),
            "one after the other": sum(n),
        },
        hints=("Follow the two places: the next request takes the one that is free first.", "the longer of two queues"),
        why="Continuous batching fills a place when it is free. A batch that waits for its longest leaves places "
        "empty.",
    )


@steps_until_done.second
def _(n):
    waiting, running, step = list(n), [], 0
    while waiting or running:
        while waiting and len(running) < 2:
            running.append(waiting.pop(0))
        running = [left - 1 for left in running if left > 1]
        step += 1
    return step
