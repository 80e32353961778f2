"""The hidden checks of dl_011_kv_cache."""

import math
from functools import partial
from itertools import groupby

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import compositions, each_dtype, of_type

from . import drivers

EITHER_GRAD = pytest.mark.parametrize("grad", [True, False], ids=["as given", "no_grad"])
LATENT_MODES = pytest.mark.parametrize("mode", ["training", "eval", "no_grad"])

NO_SCALE = "attention without the 1/sqrt(d) scale"


def attention(q, k, v, *, offset=0, scale=None, mask=True):
    """Causal attention, one head for each of q. Query i sees keys 0 .. offset + i."""
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask:
        seen = torch.ones(q.shape[2], k.shape[2]).tril(offset).bool()
        scores = torch.where(seen, scores, -math.inf)
    return torch.einsum("bhij,bhjd->bhid", torch.softmax(scores, -1), v)


def holds(k, v, lengths):
    """What drivers say of a cache whose sequence i holds the first lengths[i] tokens of k and v."""
    return {
        "lengths": torch.tensor(lengths),
        "k": [k[i, :, :n] for i, n in enumerate(lengths)],
        "v": [v[i, :, :n] for i, n in enumerate(lengths)],
        "all of the buffers finite": True,
    }


def check_refusal(got, wanted, of):
    """got, wanted: whether ValueError was raised, and whether the tokens are too many."""
    said = "is too many, but no ValueError was raised" if wanted else "should fit, but ValueError was raised"
    assert got == wanted, f"{of}: this {said}"


def check_all_refused(attempt, name, cases):
    """Calls of a function that must raise ValueError. cases: what is asked for to its arguments and options."""
    rows = [(name, args, options) for args, options in cases.values()]
    for of, got in zip(cases, attempt.each(drivers.refused, rows), strict=True):
        assert got == "ValueError", f"{of}: expected ValueError, {f'got {got}' if got else 'but nothing was raised'}"


def padding_of_nan(x, chunks, counts):
    """x (b, h, t, d), with NaN behind the first counts[c][i] tokens of chunk c."""
    kept = [torch.arange(t) < n[:, None] for t, n in zip(chunks, counts, strict=True)]
    return torch.where(torch.cat(kept, 1)[:, None, :, None], x, math.nan)


FAR = 0.0, 300.0, -300.0
"""Queries moved by |far| and keys by far move every score by far · |far| / sqrt(d)."""


def moved(x, far):
    """A copy of x, strides kept, with `far` in its first channel."""
    x = x.clone()
    x[..., 0] = far
    return x


def real(x, lengths):
    """x (b, h, t, d), with zeros from lengths[i] on."""
    kept = torch.arange(x.shape[2]) < torch.tensor(lengths)[:, None]
    return torch.where(kept[:, None, :, None], x, 0.0)


# ---------------------------------------------------------------------------------------------------- kv_cache_bytes


@part("kv_cache_bytes")
def test_llama_2_7b_takes_half_a_mebibyte_a_token(attempt):
    """Llama-2-7B in float16 keeps 524,288 bytes a token, so 28 K tokens are 14 GiB."""
    sizes = {"heads": 32, "head_dim": 128}
    rows = [("mha", 1, 32, sizes), ("mha", 28 * 1024, 32, sizes), ("mha", 0, 32, sizes)]
    rows.append(("mha", 1_000_003, 61, {"heads": 7, "head_dim": 129}))
    one, many, none, odd = attempt.each(drivers.kv_cache_bytes, rows)
    known = {"one of two factors of 2 (keys and values, bytes of a number)": 262_144, "4 bytes a value": 1_048_576}
    agree(one, 524_288, of="one token of Llama-2-7B", known=known)
    agree(many, 14 * 2**30, of="28 · 1024 tokens of Llama-2-7B")
    agree(none, 0, of="no token at all")
    want = 2 * 2 * 1_000_003 * 61 * 7 * 129
    agree(odd, want, of="1,000,003 tokens, 61 layers, 7 heads of 129 in float16")


@part("kv_cache_bytes")
def test_deepseek_v2_keeps_a_latent_and_a_key(attempt):
    """DeepSeek-V2 keeps (512 + 64) values a token and layer, for all 128 heads together."""
    got = attempt.kv_cache_bytes("mla", 1, 60, heads=128, head_dim=128, latent_dim=512, rope_dim=64)
    known = {"a latent for keys and another for values": 2 * 60 * (2 * 512 + 64), "no rotary key": 2 * 60 * 512}
    agree(got, 2 * 60 * (512 + 64), of="one token of DeepSeek-V2 in float16", known=known)


@part("kv_cache_bytes")
@pytest.mark.parametrize("kind", ["mha", "gqa", "mqa", "mla"])
def test_bytes_are_those_of_the_tensors(attempt, draw, kind):
    """The answer is the size of the tensors that a model of that kind would allocate, in any dtype."""
    cases = []
    for dtype in (torch.float32, torch.float16, torch.int8):
        tokens, layers, g, d, latent, rope = draw.permutation(31).add(1).tolist()[:6]
        h = g * draw.pick([2, 3, 5])
        shape = {"mha": (2, h, d), "gqa": (2, g, d), "mqa": (2, 1, d), "mla": (latent + rope,)}[kind]
        want = torch.empty(tokens, layers, *shape, dtype=dtype, device="meta").nbytes
        sizes = {"heads": h, "head_dim": d, "kv_heads": g, "latent_dim": latent, "rope_dim": rope}
        cases.append((tokens, layers, dtype, sizes, want, sizes))
    needed = {"mha": ("heads", "head_dim"), "gqa": ("heads", "kv_heads", "head_dim"), "mqa": ("head_dim",)}
    few = {name: sizes[name] for name in needed.get(kind, ("latent_dim", "rope_dim"))}
    cases.append((tokens, layers, dtype, few, want, f"only {few}"))
    rows = [(kind, tokens, layers, {**sizes, "dtype": dtype}) for tokens, layers, dtype, sizes, *_ in cases]
    told = attempt.each(drivers.kv_cache_bytes, rows)
    for (tokens, layers, dtype, _, want, said), got in zip(cases, told, strict=True):
        agree(got, want, of=f"{kind}, tokens={tokens}, layers={layers}, {said}, {dtype}")


@part("kv_cache_bytes")
def test_one_group_is_mqa_and_a_group_a_head_is_mha(attempt):
    """GQA with one key/value head is MQA; with as many as query heads it is MHA."""
    rows = [("gqa", 3, 5, {"heads": 12, "kv_heads": g, "head_dim": 7}) for g in (1, 12)]
    got = attempt.each(drivers.kv_cache_bytes, rows)
    agree(got, [3 * 5 * 2 * 7 * 2, 3 * 5 * 2 * 84 * 2], of="GQA with 1 and with 12 of 12 heads")


@part("kv_cache_bytes")
def test_sizes_that_cannot_be_are_refused(attempt):
    """An unknown kind, and key/value heads that do not divide the heads, raise ValueError."""
    sizes = {"heads": 12, "head_dim": 7}
    cases = {"kind 'MHA'": (("MHA", 3, 5), sizes)}
    for kv_heads in (5, 24, 0, -4):
        cases[f"12 heads over {kv_heads} key/value heads"] = ("gqa", 3, 5), {**sizes, "kv_heads": kv_heads}
    check_all_refused(attempt, "kv_cache_bytes", cases)


# ----------------------------------------------------------------------------------------------------------- KVCache


@part("KVCache")
def test_appended_tokens_lie_in_order(attempt, draw):
    """However five tokens are cut into calls, the cache holds them in order."""
    k, v = draw.normal(2, 3, 5, 7), draw.normal(2, 3, 5, 7)
    cuts = compositions(5)
    told = attempt.each(drivers.append, [(k, v, chunks) for chunks in cuts], capacity=11)
    want = holds(k, v, [5, 5])
    for chunks, got in zip(cuts, told, strict=True):
        agree(got, want, of=f"keys and values appended in chunks {chunks}, capacity 11")


@part("KVCache")
@each_dtype
def test_each_sequence_grows_by_its_own_count(attempt, draw, dtype):
    """Sequence i adds its first counts[i] tokens behind its own length; padding is not written, be it NaN."""
    dtype = of_type(dtype)
    b, h, d, chunks = 3, 2, 5, [4, 1, 3, 2]
    k, v = draw.normal(b, h, sum(chunks), d, dtype=dtype), draw.normal(b, h, sum(chunks), d, dtype=dtype)
    counts = [draw.permutation(t + b)[:b].clamp(max=t) for t in chunks]
    counts[0] = torch.tensor([0, 4, 1])
    kept = [[], [], []]
    for start, n in zip((0, 4, 5, 8), counts, strict=True):
        for i in range(b):
            kept[i] += range(start, start + int(n[i]))
    want = {
        "lengths": torch.tensor([len(js) for js in kept]),
        "k": [k[i][:, js] for i, js in enumerate(kept)],
        "v": [v[i][:, js] for i, js in enumerate(kept)],
        "all of the buffers finite": True,
    }
    of = f"chunks of {chunks} tokens of which {[n.tolist() for n in counts]} are real"
    padded = [padding_of_nan(x, chunks, counts) for x in (k, v)]
    cases = [(x, said, capacity) for capacity in (10, 14) for x, said in (((k, v), ""), (padded, ", the others NaN"))]
    told = attempt.each(drivers.append, [(*x, chunks, capacity) for x, _, capacity in cases], counts=counts)
    for (_, said, capacity), got in zip(cases, told, strict=True):
        agree(got, want, of=f"{of}{said}, capacity {capacity}")


@part("KVCache")
def test_strided_and_empty_chunks(attempt, draw):
    """Tokens that lie scattered in memory are written right, and a call without tokens changes nothing."""
    k, v = draw.normal(2, 5, 7, 3).transpose(1, 3), draw.normal(5, 3, 7, 2).permute(3, 1, 2, 0)
    got = attempt.run(drivers.append, k, v, [0, 4, 0, 3], capacity=7)
    agree(got, holds(k, v, [7, 7]), of="transposed keys and values in chunks [0, 4, 0, 3], capacity 7")


@part("KVCache")
def test_cache_owns_its_memory(attempt, draw):
    """What the caller does afterwards to the tensors it passed, counts too, does not reach the cache."""
    k, v = draw.normal(2, 3, 5, 7), draw.normal(2, 3, 5, 7)
    cases = (5, None), (8, None), (8, [2, 5])
    rows = [(k, v, None if counts is None else torch.tensor(counts), capacity) for capacity, counts in cases]
    told = attempt.each(drivers.append_then_overwrite, rows)
    for (capacity, counts), got in zip(cases, told, strict=True):
        of = f"{counts or [5, 5]} tokens in a cache of {capacity}, after the caller zeroed its tensors"
        agree(got, holds(k, v, counts or [5, 5]), of=of)


@part("KVCache")
@EITHER_GRAD
def test_memory_is_allocated_once(attempt, draw, grad):
    """Appending writes into the buffers that the constructor made: it neither replaces nor copies them."""
    k, v = draw.normal(2, 3, 6, 7), draw.normal(2, 3, 6, 7)
    same, *shapes = attempt.run(drivers.append_in_place, k, v, [2, 1, 3], capacity=9)
    agree(shapes, [[2, 3, 9, 7]] * 2, of="shapes of k and v after 6 tokens in a cache of 9")
    assert same, "the cache's k and v lie in other memory than before the appends"
    k, v = draw.normal(2, 3, 200, 7), draw.normal(2, 3, 200, 7)
    new = draw.normal(2, 3, 2, 7)
    for counts in (None, [0, 1]):
        given = None if counts is None else torch.tensor(counts)
        value, cost = attempt.cost(drivers.append_cost, k, v, new, new, capacity=400, grad=grad, counts=given)
        added, of = counts or [2, 2], f"{counts or 2} tokens behind 200"
        agree(value, holds(torch.cat([k, new], 2), torch.cat([v, new], 2), [200 + n for n in added]), of=of)
        limit = 3 * 200 * 7 // 2  # half of one sequence
        known = {
            "copying all cached tokens": 2 * 3 * 202 * 7,
            "copying those of one sequence": 3 * 202 * 7,
            "copying the whole buffer": 2 * 3 * 400 * 7,
            "copying the buffer of one sequence": 3 * 400 * 7,
        }
        at_most(cost.largest, limit, of=f"largest tensor made to append {of}, in elements", known=known)
        at_most(cost.kept, 0, of=f"bytes that stay alive beside k, v and lengths after {of}")


@part("KVCache")
def test_overflow_is_refused_and_writes_nothing(attempt, draw):
    """A cache fills to the last place; one token more in any sequence is a ValueError, and nothing is written."""
    k, v, k_new, v_new = (draw.normal(3, 2, t, 5) for t in (6, 6, 4, 4))
    held = [4, 6, 1]
    cases = [([3, 1, 4], 7), ([4, 0, 0], 7), ([3, 1, 2], 7), ([0, 1, 0], 7), (None, 9)]
    rows = [
        (k, v, torch.tensor(held), k_new, v_new, None if new is None else torch.tensor(new), capacity)
        for new, capacity in cases
    ]
    told = attempt.each(drivers.append_over, rows)
    want = holds(k, v, held)
    for (new, capacity), (refused, first, before, after) in zip(cases, told, strict=True):
        full = [a + n for a, n in zip(held, new or [4, 4, 4], strict=True)]
        of = f"a cache of {capacity} that holds {held} tokens, {f'{new} more' if new else '4 more for each'}"
        agree(first, want, of=f"a cache of {capacity}, {held} tokens")
        check_refusal(refused, max(full) > capacity, of)
        if refused:
            agree(after, before, of=f"{of}, after it was refused")
        else:
            agree(after["lengths"], torch.tensor(full), of=f"{of}: lengths")


@part("KVCache")
@pytest.mark.parametrize("rows", [None, [1], [0, 2], []], ids=str)
def test_reset_makes_room(attempt, draw, rows):
    """After reset the sequences asked for are empty and take new tokens from place 0; the others are as they were."""
    k, v, k_new, v_new = (draw.normal(3, 2, t, 5) for t in (6, 6, 4, 4))
    gone = [0, 1, 2] if rows is None else rows
    count = torch.tensor([4 if i in gone else 1 for i in range(3)])
    empty, got = attempt.run(drivers.append_after_reset, k, v, rows, k_new, v_new, count, capacity=7)
    agree(empty, torch.tensor([0 if i in gone else 6 for i in range(3)]), of=f"lengths after reset({rows})")
    want_k, want_v = (
        [new[i] if i in gone else torch.cat([old[i], new[i, :, :1]], 1) for i in range(3)]
        for old, new in ((k, k_new), (v, v_new))
    )
    want = {"lengths": torch.tensor([4 if i in gone else 7 for i in range(3)]), "k": want_k, "v": want_v}
    want["all of the buffers finite"] = True
    agree(got, want, of=f"6 tokens, reset({rows}), then {count.tolist()} tokens, capacity 7")


@part("KVCache")
@pytest.mark.parametrize("rows", [None, [1]], ids=str)
def test_reset_makes_no_new_buffers(attempt, draw, rows):
    """reset gives no memory back and takes none: the buffers stay the ones they are."""
    k, v = (draw.normal(3, 2, 6, 5) for _ in range(2))
    got, cost = attempt.cost(drivers.reset_keeps, k, v, rows, 50)
    held = [0 if rows is None or i in rows else 6 for i in range(3)]
    agree(got, holds(k, v, held), of=f"6 tokens, then reset({rows})")
    buffers = {"new buffers": 2 * 8 * 3 * 2 * 50 * 5}
    at_most(cost.kept, 8 * k[0, :, 0].numel(), of=f"bytes that reset({rows}) makes and keeps", known=buffers)


# ----------------------------------------------------------------------------------------------------------- prefill


@part("prefill")
@each_dtype
def test_one_prefill_is_causal_attention(attempt, draw, dtype):
    """Fed in one piece, the outputs are plain causal attention, and the cache holds the keys and values."""
    q, k, v = (draw.normal(2, 3, 7, 5, dtype=of_type(dtype)) for _ in range(3))
    out, held = attempt.run(drivers.prefill, q, k, v, [7], capacity=11)
    known = {
        NO_SCALE: lambda: attention(q, k, v, scale=1.0),
        "attention scaled by 1/d": lambda: attention(q, k, v, scale=1 / 5),
        "attention without a causal mask (or one that takes the lengths after the append for the past)": lambda: (
            attention(q, k, v, mask=False)
        ),
        "attention that also sees one token of the future": lambda: attention(q, k, v, offset=1),
        "the values alone": v,
    }
    agree(out, attention(q, k, v), axes="b h t d", of="prefill of 7 tokens, b=2 h=3 d=5, capacity 11", known=known)
    agree(held, holds(k, v, [7, 7]), of="the cache after a prefill of 7 tokens")


def by_chunk(q, k, v, chunks, *, alone=False, **how):
    """Chunk after chunk as one should not: each as if its first query were the first of all."""
    outs, end = [], 0
    for t in chunks:
        start, end = end, end + t
        first = start if alone else 0
        outs.append(attention(q[:, :, start:end], k[:, :, first:end], v[:, :, first:end], **how))
    return torch.cat(outs, 2)


@part("prefill")
def test_any_chunking_agrees(attempt, draw):
    """A prompt of four tokens gives the same outputs in all 8 ways to cut it into chunks."""
    many, single = (tuple(draw.normal(*size) for _ in range(3)) for size in ((2, 3, 4, 5), (1, 1, 6, 4)))
    rows = [(*many, compositions(4)), (*single, [[6], [2, 1, 3]])]
    for row, told in zip(rows, attempt.each(drivers.prefill_cuts, rows, capacity=7), strict=True):
        check_chunking(*row, told)


@part("prefill")
def test_no_score_of_a_chunk_lies_below_what_is_hidden(attempt, draw):
    """However low the scores are, a key of the future has weight 0: a score of -1e9 would not hide it."""
    q, v = torch.full((2, 3, 7, 5), 1e6, dtype=torch.float64), draw.normal(2, 3, 7, 5)
    out, held = attempt.run(drivers.prefill, q, -q, v, [4, 3], capacity=11)
    agree(out, attention(q, -q, v), axes="b h t d", of="prefill of chunks of 4 and 3 tokens, all scores near -10^12")
    agree(held, holds(-q, v, [7, 7]), of="the cache after a prefill of chunks of 4 and 3 tokens")


def check_chunking(q, k, v, cuts, told):
    b, h, t, d = q.shape
    want, want_held = attention(q, k, v), holds(k, v, [t] * b)
    for chunks, (out, held) in zip(cuts, told, strict=True):
        known = {
            "a mask that starts at position 0 in every chunk (is_causal with fewer queries than keys)": partial(
                by_chunk, q, k, v, chunks
            ),
            "attention within each chunk alone": partial(by_chunk, q, k, v, chunks, alone=True),
            "attention without a mask inside the chunk": partial(by_chunk, q, k, v, chunks, mask=False),
            NO_SCALE: partial(attention, q, k, v, scale=1.0),
        }
        of = f"prefill in chunks {chunks}, b={b} h={h} d={d}, capacity 7"
        agree(out, want, axes="b h t d", of=of, along={"t": chunks}, known=known)
        agree(held, want_held, of=f"the cache after {of}")


@part("prefill")
def test_prompts_of_unequal_length(attempt, draw):
    """Each sequence sees its own tokens only, and the rows of padding are zero, be it NaN."""
    b, h, d, chunks = 3, 2, 5, [4, 1, 3, 2]
    q, k, v = (draw.normal(b, h, 10, d) for _ in range(3))
    counts = [torch.tensor(n) for n in ([4, 0, 2], [1, 1, 0], [1, 3, 0])] + [draw.integers(0, 3, 3)]
    nan = [padding_of_nan(x, chunks, counts) for x in (q, k, v)]
    rows = [(*x, chunks) for x in ((q, k, v), nan)]
    (out, _), (out_of_nan, held) = attempt.each(drivers.prefill, rows, capacity=8, counts=counts)
    want, padded = torch.zeros_like(q), torch.zeros_like(q)
    said, whole = [n.tolist() for n in counts], attention(q, k, v)
    for i in range(b):
        kept = [s + j for s, n in zip((0, 4, 5, 8), said, strict=True) for j in range(n[i])]
        row = [x[i : i + 1, :, kept] for x in (q, k, v)]
        want[i, :, kept] = attention(*row)[0]
        padded[i, :, kept] = whole[i, :, kept]
    of = f"prefill in chunks {chunks} of which {said} are real"
    known = {"attention that sees padding": padded}
    agree(out, want, axes="b h t d", of=of, along={"t": chunks}, known=known)
    agree(out_of_nan, want, axes="b h t d", of=f"{of}, the others NaN", along={"t": chunks})
    assert held["all of the buffers finite"], f"{of}, the others NaN: a NaN was written into the cache"


@part("prefill")
def test_leftovers_are_not_seen(attempt, draw):
    """What an earlier sequence left in the buffer is invisible after a reset."""
    old, q, k, v = draw.normal(2, 3, 9, 5, scale=3.0), *(draw.normal(2, 3, 4, 5) for _ in range(3))
    out = attempt.run(drivers.prefill_after_reset, old, q, k, v, torch.tensor([2, 4]), capacity=9)
    of = "prefill of 2 and 4 tokens where 9 lay before a reset"
    agree(out, real(attention(q, k, v), [2, 4]), axes="b h t d", of=of)


@part("prefill")
def test_strided_and_empty_prefills(attempt, draw):
    """Strided inputs, values far from zero and chunks without tokens work, also on an empty cache."""
    q, k, v = (draw.normal(2, 6, 3, 5, scale=4.0).transpose(1, 2) for _ in range(3))
    cases = [(far, moved(q, abs(far)), moved(k, far)) for far in FAR]
    told = attempt.each(drivers.prefill, [(q, k, v, [0, 4, 0, 2]) for _, q, k in cases], capacity=6)
    for (far, q, k), (out, _) in zip(cases, told, strict=True):
        of = f"prefill of transposed q, k, v in chunks [0, 4, 0, 2], scores around {far * abs(far) / 5**0.5:.0f}"
        agree(out, attention(q, k, v), axes="b h t d", of=of, along={"t": [0, 4, 0, 2]})


@part("prefill")
def test_prefill_over_capacity_is_refused(attempt, draw):
    """A chunk that does not fit raises ValueError and leaves the cache as it was."""
    k, v, new = draw.normal(2, 3, 4, 5), draw.normal(2, 3, 4, 5), draw.normal(2, 3, 3, 5)
    cases = ([2, 3], True), ([2, 2], False)
    told = attempt.each(drivers.prefill_over, [(k, v, new, new, new, torch.tensor(n), 6) for n, _ in cases])
    for (counts, refused), got in zip(cases, told, strict=True):
        of = f"{counts} tokens behind 4 in a cache of 6"
        check_refusal(got[0], refused, of)
        agree(got[1], holds(k, v, [4, 4]), of="a cache of 6, 4 tokens")
        if refused:
            agree(got[3], got[2], of=f"the cache after {of} were refused")


@part("prefill")
@EITHER_GRAD
def test_a_chunk_costs_its_own_rows_only(attempt, draw, grad):
    """A chunk of t tokens costs t rows of attention over what is cached: not a triangle, and not the capacity."""
    b, h, d, p, t, capacity = 2, 3, 5, 120, 7, 2000
    s = p + t
    q, k, v = (draw.normal(b, h, s, d) for _ in range(3))
    new = (x[:, :, p:] for x in (q, k, v))
    out, cost = attempt.cost(drivers.prefill_cost, k[:, :, :p], v[:, :, :p], *new, capacity=capacity, grad=grad)
    want = attention(q[:, :, p:], k, v, offset=p)
    agree(out, want, axes="b h t d", of=f"a chunk of {t} tokens behind {p}")
    known = {
        "attention over the whole buffer": 4 * b * h * t * capacity * d,
        "recomputing the prefix": 4 * b * h * s * s * d,
        "recomputing the prefix over the whole buffer": 4 * b * h * capacity * capacity * d,
    }
    limit = 1.2 * 4 * b * h * t * s * d
    in_torch(cost, of=f"a chunk of {t} tokens behind {p}")
    at_most(cost.flops, limit, of=f"FLOPs of a chunk of {t} tokens behind {p}, capacity {capacity}", known=known)
    at_most(cost.kept, 0, of="bytes that stay alive after a chunk, beside its result and the cache")
    # Room for products taken one by one.
    known = {
        "a square of scores": b * h * s * s,
        "scores for the whole buffer": b * h * t * capacity,
        "a copy of the whole buffer": b * h * capacity * d,
    }
    at_most(cost.largest, 1.2 * b * h * t * s * d, of="largest tensor made for the chunk, in elements", known=known)


# ------------------------------------------------------------------------------------------------------- decode_step


@part("decode_step")
@each_dtype
@pytest.mark.parametrize("start", [0, 3])
def test_token_by_token_is_causal_attention(attempt, draw, dtype, start):
    """Decoding token by token gives what one causal pass over the whole sequence gives."""
    sizes = ((2, 3, 7, 5), (1, 1, 4, 4), (1, 1, 4, 1))
    rows = [tuple(draw.normal(*size, dtype=of_type(dtype)) for _ in range(3)) for size in sizes]
    for row, (out, held) in zip(rows, attempt.each(drivers.decode, rows, capacity=11, start=start), strict=True):
        check_token_by_token(*row, start, out, held)


def check_token_by_token(q, k, v, start, out, held):
    b, h, t, d = q.shape
    known = {
        NO_SCALE: lambda: attention(q, k, v, scale=1.0)[:, :, start:],
        "the values alone": lambda: v[:, :, start:],
        "attention to the past without the token itself": lambda: _past_only(q, k, v, start),
        "attention to the first token only": lambda: v[:, :, :1].expand(-1, -1, t - start, -1).contiguous(),
    }
    of = f"{t - start} decode steps behind {start} tokens, b={b} h={h} d={d}, capacity 11"
    agree(out, attention(q, k, v)[:, :, start:], axes="b h t d", of=of, known=known)
    agree(held, holds(k, v, [t] * b), of=f"the cache after {of}")


def _past_only(q, k, v, start):
    return attention(q, k, v, offset=-1).nan_to_num()[:, :, start:]


@part("decode_step")
@pytest.mark.parametrize("active", [None, [True, True, False, True], [False, True, True, False], [False] * 4], ids=str)
@pytest.mark.parametrize("scale", [1.0, 400.0, 1e6])
def test_each_sequence_at_its_own_length(attempt, draw, active, scale):
    """A step attends within each active sequence; the others append nothing, and their rows are zero, also for NaN."""
    b, h, t, d, held = 4, 3, 6, 5, [4, 0, 6, 1]
    k, v = draw.normal(b, h, t, d, scale=scale), draw.normal(b, h, t, d)
    q_new, k_new, v_new = draw.normal(b, h, d, scale=scale), draw.normal(b, h, d, scale=scale), draw.normal(b, h, d)
    q_new[1] = -k_new[1]  # sequence 1 sees one score, far below 0: what is hidden must lie below that
    flags = None if active is None else torch.tensor(active)
    args = (k, v, torch.tensor(held), (q_new, k_new, v_new), flags, draw.normal(b, h, 7, d, scale=3.0 * scale))
    told = attempt.run(drivers.decode_unequal, *args, capacity=7)
    want, lengths = torch.zeros(b, h, d, dtype=k.dtype), list(held)
    for i, n in enumerate(held):
        if active is None or active[i]:
            own_k, own_v = (torch.cat([x[i, :, :n], y[i][:, None]], 1)[None] for x, y in ((k, k_new), (v, v_new)))
            want[i] = attention(q_new[i : i + 1, :, None], own_k, own_v, offset=n)[0, :, 0]
            lengths[i] += 1
    idle = [] if active is None else ["idle rows NaN"]
    for how in ["as they are", *idle, "other tokens there before a reset"]:
        out, after, is_finite = told[how]
        of = f"one step behind {held} tokens, active {active}, q and k of size {scale:g}, capacity 7, {how}"
        agree(out, want, axes="b h d", of=of)
        agree(after, torch.tensor(lengths), of=f"{of}: lengths")
        assert is_finite, f"{of}: a NaN was written into the cache"


@part("decode_step")
def test_generation_is_causal_attention(attempt, draw):
    """Prompts of unequal length, then decoding to unequal totals: the outputs are those of one causal pass each."""
    q, k, v, padding = (draw.normal(3, 2, 13, 5) for _ in range(4))
    totals = [13, 9, 11]
    prompts = [draw.random.randint(1, 6), 9, draw.random.randint(1, 6)]
    out = attempt.run(drivers.generate, q, k, v, padding, prompts, totals)
    of = f"prefill of {prompts} tokens, then decoding up to {totals}"
    agree(out, real(attention(q, k, v), totals), axes="b h t d", of=of)


@part("decode_step")
def test_a_full_sequence_is_refused(attempt, draw):
    """A step for which an active sequence has no place raises ValueError and changes nothing; idle ones may be full."""
    k, v = draw.normal(2, 3, 6, 5), draw.normal(2, 3, 6, 5)
    new = [draw.normal(2, 3, 5) for _ in range(3)]
    cases = ([True, True], True), ([False, True], False)
    rows = [(k, v, torch.tensor([6, 4]), *new, torch.tensor(active), 6) for active, _ in cases]
    told = attempt.each(drivers.decode_over, rows)
    for (active, refused), (got, held, before, after) in zip(cases, told, strict=True):
        check_refusal(got, refused, f"a step behind [6, 4] tokens in a cache of 6, active {active}")
        agree(held, holds(k, v, [6, 4]), of="a cache of 6, [6, 4] tokens")
        if refused:
            agree(after, before, of="the cache after a step was refused")


@part("decode_step")
@EITHER_GRAD
def test_a_step_is_linear_in_the_length(attempt, draw, grad):
    """A step costs one row of attention over what is cached, whatever the capacity."""
    b, h, d, capacity = 2, 3, 5, 1000
    q, k, v = (draw.normal(b, h, 513, d, dtype=torch.float32) for _ in range(3))
    for p in (64, 512):
        new = (x[:, :, p] for x in (q, k, v))
        out, cost = attempt.cost(drivers.decode_cost, k[:, :, :p], v[:, :, :p], *new, capacity=capacity, grad=grad)
        want = attention(q[:, :, p : p + 1], k[:, :, : p + 1], v[:, :, : p + 1], offset=p)[:, :, 0]
        agree(out, want, axes="b h d", of=f"a step behind {p} tokens")
        known = {
            "recomputing the prefix": 4 * b * h * d * (p + 1) ** 2,
            "attention over the whole buffer": 4 * b * h * d * capacity,
        }
        limit = 1.2 * 4 * b * h * d * (p + 1)
        in_torch(cost, of=f"a step behind {p} tokens")
        at_most(cost.flops, limit, of=f"FLOPs of a step behind {p} tokens, capacity {capacity}", known=known)
        at_most(cost.kept, 0, of="bytes that stay alive after a step, beside its result and the cache")
    # Room for copies of the keys so far, and for products taken one by one: not for those of the buffer.
    known = {"a copy of the whole buffer": b * h * capacity * d, "a square of scores": b * h * (p + 1) ** 2}
    limit = 1.2 * b * h * d * (p + 1)
    at_most(cost.largest, limit, of=f"largest tensor made behind {p} tokens, in elements", known=known)


# ------------------------------------------------------------------------------------------- grouped_query_attention


def grouped(q, k, v, **how):
    """The oracle: copies, as the part must not."""
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, 1) for x in (k, v))
    return attention(q, k, v, offset=k.shape[2] - q.shape[2], **how)


def _grouped_mistakes(q, k, v):
    times = q.shape[1] // k.shape[1]
    late = k.shape[2] - q.shape[2]
    mistakes = {
        NO_SCALE: lambda: grouped(q, k, v, scale=1.0),
        "attention without a causal mask": lambda: grouped(q, k, v, mask=False),
    }
    if 1 < k.shape[1] < q.shape[1]:
        tiled = [x.repeat(1, times, 1, 1) for x in (k, v)]
        mistakes["query head i on key/value head i % g"] = lambda: attention(q, *tiled, offset=late)
    if late:
        copies = [x.repeat_interleave(times, 1) for x in (k, v)]
        mistakes["a mask for queries at the first positions, not at the last,"] = lambda: attention(q, *copies)
    return mistakes


@part("grouped_query_attention")
@each_dtype
@pytest.mark.parametrize("g", [6, 3, 2, 1])
def test_heads_of_a_group_share_one_key_head(attempt, draw, dtype, g):
    """For every way to group six heads, head i attends with key/value head i // (h/g)."""
    dtype = of_type(dtype)
    q, k, v = (draw.normal(2, heads, 7, 5, dtype=dtype) for heads in (6, g, g))
    got = attempt.grouped_query_attention(q, k, v)
    of = f"6 query heads over {g} key/value heads, b=2 t=s=7 d=5"
    agree(got, grouped(q, k, v), axes="b h t d", of=of, known=_grouped_mistakes(q, k, v))


@part("grouped_query_attention")
def test_no_score_lies_below_what_is_hidden(attempt, draw):
    """However low the scores are, a key of the future has weight 0: a score of -1e9 would not hide it."""
    q, v = torch.full((2, 6, 4, 5), 1e6, dtype=torch.float64), draw.normal(2, 3, 7, 5)
    k = torch.full((2, 3, 7, 5), -1e6, dtype=torch.float64)
    of = "the last 4 of 7 queries, b=2 h=6 g=3 d=5, all scores near -10^12"
    agree(attempt.grouped_query_attention(q, k, v), grouped(q, k, v), axes="b h t d", of=of)


@part("grouped_query_attention")
def test_queries_are_the_last_positions(attempt, draw):
    """With t queries over s keys, query i sees keys 0 .. s - t + i, for every t from 0 to s."""
    q, k, v = draw.normal(3, 4, 5, 7), draw.normal(3, 2, 5, 7), draw.normal(3, 2, 5, 7)
    rows = [(q[:, :, 5 - t :], k, v) for t in (5, 1, 2, 3, 4, 0)]
    *told, none = attempt.each("grouped_query_attention", [*rows, (q[:, :, :0], k[:, :, :0], v[:, :, :0])])
    for row, got in zip(rows, told, strict=True):
        of = f"the last {row[0].shape[2]} of 5 queries, b=3 h=4 g=2 d=7"
        agree(got, grouped(*row), axes="b h t d", of=of, known=_grouped_mistakes(*row))
    agree(none, q[:, :, :0], axes="b h t d", of="no query over no key")


@part("grouped_query_attention")
def test_strided_inputs(attempt, draw):
    """Keys in a longer buffer, heads behind time in memory, and values far from zero work as they lie."""
    k, v = draw.normal(2, 2, 9, 5), draw.normal(9, 2, 5, 2).permute(3, 1, 0, 2)
    rows = []
    for t, far in zip((3, 8, 8), FAR, strict=True):
        rows.append((moved(draw.normal(2, t, 6, 5).transpose(1, 2), abs(far)), moved(k, far), v, 8))
    told = attempt.each(drivers.grouped_on_a_cache, rows)
    for far, (q, k, v, _), got in zip(FAR, rows, told, strict=True):
        want = grouped(q, k[:, :, :8], v[:, :, :8])
        t, around = q.shape[2], far * abs(far) / 5**0.5
        of = f"{t} transposed queries over 8 places of a cache of 9, scores around {around:.0f}"
        agree(got, want, axes="b h t d", of=of)


@part("grouped_query_attention")
def test_heads_that_do_not_divide_are_refused(attempt, draw):
    """Key/value heads that do not divide the heads, and more queries than keys, raise ValueError."""
    cases = {}
    for h, g, t, s in ((6, 4, 2, 3), (3, 6, 2, 3), (6, 3, 4, 3)):
        k = draw.normal(2, g, s, 5)
        cases[f"{h} heads over {g}, {t} queries over {s} keys"] = (draw.normal(2, h, t, 5), k, k), {}
    check_all_refused(attempt, "grouped_query_attention", cases)


@part("grouped_query_attention")
@EITHER_GRAD
def test_keys_and_values_are_not_copied(attempt, draw, grad):
    """A step over grouped heads makes no tensor larger than the keys: they are read where they lie."""
    b, h, g, s, d = 2, 12, 3, 200, 7
    q, k, v = draw.normal(b, h, 1, d), draw.normal(b, g, s + 30, d), draw.normal(b, g, s + 30, d)
    got, cost = attempt.cost(drivers.grouped_on_a_cache, q, k, v, s, grad)
    k, v = k[:, :, :s], v[:, :, :s]
    agree(got, grouped(q, k, v), axes="b h t d", of=f"a step over {s} keys, h={h} g={g} d={d}")
    repeated = {"keys repeated for every head (also by a broadcasting @)": b * h * s * d}
    of = f"largest tensor made for a step over {s} keys, h={h} g={g} d={d}, in elements"
    at_most(cost.largest, b * g * s * d, of=of, known=repeated)
    at_most(cost.flops, 1.2 * 4 * b * h * s * d, of=f"FLOPs of a step over {s} keys, h={h} g={g} d={d}")


@part("grouped_query_attention")
def test_many_heads_over_one_fit_in_memory(attempt, draw):
    """128 heads over one key head of 1,024 keys: scores of half a megabyte, where copies of the keys would take 25."""
    q, k = draw.normal(1, 128, 1, 48, dtype=torch.float32), draw.normal(1, 1, 256, 48, dtype=torch.float32)
    k = k.repeat(1, 1, 4, 1)
    got, cost = attempt.cost("grouped_query_attention", q, k, k)
    # Every key stands 4 times in it, so its 256 distinct ones are enough to know the answer.
    want = attention(q, *[k[:, :, :256].expand(-1, 128, -1, -1)] * 2, mask=False)
    agree(got, want, axes="b h t d", of="128 heads over one, 1,024 keys", tol=1e-3)
    repeated = {"keys repeated for every head (also by a broadcasting @)": 128 * k.numel()}
    at_most(cost.largest, 128 * 1024, of="largest tensor made for it, in elements", known=repeated)


# ------------------------------------------------------------------------------------------------------- quantize_kv


def int8(x, axis, top=127):
    """The oracle: codes and scale."""
    scale = x.abs().max(axis, keepdim=True).values / top
    return torch.round(x / scale).to(torch.int8), scale


def no_ties(x, axis):
    """x, moved where x / scale lies so near a half that either neighbour would be right."""
    scale = x.abs().max(axis, keepdim=True).values / 127
    steps = x / scale
    return torch.where((steps - steps.floor() - 0.5).abs() < 1e-2, (steps.floor() + 0.25) * scale, x)


@part("quantize_kv")
@each_dtype
@pytest.mark.parametrize("per", ["token", "channel"])
def test_codes_and_scale(attempt, draw, dtype, per):
    """The largest magnitude of each group becomes ±127, the others its nearest multiples of the scale."""
    axis, other = (-1, -2) if per == "token" else (-2, -1)
    x = draw.normal(2, 3, 11, 7, dtype=of_type(dtype)) * torch.arange(1, 8, dtype=of_type(dtype))
    x = no_ties(x, axis)
    codes, scale = attempt.quantize_kv(x, per)
    want_codes, want_scale = int8(x, axis)
    swapped = "the scales of per='channel'" if per == "token" else "the scales of per='token'"
    known = {swapped: lambda: int8(x, other)[1], "a scale of max/128": lambda: int8(x, axis, 128)[1]}
    of = f"per {per}, (2, 3, 11, 7) {dtype}"
    agree(scale, want_scale, axes="b g s d", of=f"scale {of}", known=known)
    known = {"rounding toward zero (int8 without round)": lambda: (x / want_scale).to(torch.int8)}
    agree(codes, want_codes, axes="b g s d", of=f"codes {of}", known=known)


@part("quantize_kv")
@pytest.mark.parametrize("per", ["token", "channel"])
def test_error_is_at_most_half_a_scale(attempt, draw, per):
    """Back from int8, every value lies within half a scale of where it was."""
    axis = -1 if per == "token" else -2
    x = draw.normal(3, 13, 5) * torch.tensor([0.01, 1.0, 50.0, 1e-4, 1e4], dtype=torch.float64)
    back = attempt.run(drivers.quantize_and_back, x, per)
    _, scale = int8(x, axis)
    agree(back, x, axes="b s d", of=f"(3, 13, 5) values per {per}, there and back", tol=0.5 / 127 + 1e-9)
    at_most(((back - x).abs() / scale).max().item(), 0.5 + 1e-9, of=f"error per {per}, in scales")
    largest = x.abs().amax(axis)
    agree(back.abs().amax(axis), largest, of=f"the largest magnitude of each group, per {per}, there and back")


@part("quantize_kv")
def test_dequantize_multiplies(attempt, draw):
    """codes · scale, in the dtype of the scale."""
    codes = draw.integers(-127, 128, 3, 5, 4).to(torch.int8)
    kinds = ((3, 5, 1), torch.float64), ((3, 1, 4), torch.float32)
    scales = [draw.uniform(*shape, low=0.5, high=2.0, dtype=dtype) for shape, dtype in kinds]
    told = attempt.each("dequantize_kv", [(codes, scale) for scale in scales])
    for scale, got in zip(scales, told, strict=True):
        agree(got, codes.to(scale.dtype) * scale, of=f"(3, 5, 4) codes with a scale {tuple(scale.shape)}")


@part("quantize_kv")
@each_dtype
def test_a_group_of_zeros_stays_zero(attempt, draw, dtype):
    """A token or a channel of zeros gives zero codes and a finite scale above 0, and the rest is as ever."""
    dtype = of_type(dtype)
    x = draw.normal(2, 5, 3, dtype=dtype)
    x[0, 3], x[1, :, 2] = 0.0, 0.0
    axes = {"token": -1, "channel": -2}
    rows = [(no_ties(x, axis).nan_to_num(), per) for per, axis in axes.items()]
    for (x, per), (codes, scale) in zip(rows, attempt.each("quantize_kv", rows), strict=True):
        axis = axes[per]
        want = torch.round((x / (x.abs().amax(axis, keepdim=True) / 127)).nan_to_num()).to(torch.int8)
        agree(codes, want, axes="b s d", of=f"codes per {per} where a group is zero")
        assert scale.isfinite().all(), f"per {per}: the scale of a group of zeros is not finite"
        assert (scale > 0).all(), f"per {per}: the scale of a group of zeros is not above 0: x / scale is then NaN"


@part("quantize_kv")
@each_dtype
@pytest.mark.parametrize("per", ["token", "channel"])
def test_small_values_keep_their_codes(attempt, draw, dtype, per):
    """Values 2^60 times smaller have the same codes, and a scale 2^60 times smaller."""
    axis = -1 if per == "token" else -2
    x = no_ties(draw.normal(2, 5, 3, dtype=of_type(dtype)), axis)
    codes, scale = attempt.quantize_kv(x * 2.0**-60, per)
    want_codes, want_scale = int8(x, axis)
    of = f"per {per}, values of 2^-60, {dtype}"
    agree(codes, want_codes, axes="b s d", of=f"codes {of}")
    agree(scale * 2.0**60, want_scale, axes="b s d", of=f"scale · 2^60 {of}")


@part("quantize_kv")
def test_another_granularity_is_refused(attempt, draw):
    """per is "token" or "channel"; anything else raises ValueError."""
    check_all_refused(attempt, "quantize_kv", {"per='tensor'": ((draw.normal(2, 3), "tensor"), {})})


@part("quantize_kv")
@pytest.mark.parametrize("per", ["token", "channel"])
def test_other_values_of_that_size(attempt, reference, draw, per):
    """Codes, scales and values are those of what a call gets, whatever came before in the same sizes."""
    asked = [(no_ties(draw.normal(2, 5, 3), -1 if per == "token" else -2), per) for _ in range(2)]
    hold_again(attempt, reference, "quantize_kv", *asked, of=f"quantize_kv of (2, 5, 3) per {per}", views=False)
    scale = (2, 5, 1) if per == "token" else (2, 1, 3)
    asked = [(draw.integers(-127, 128, 2, 5, 3).to(torch.int8), draw.uniform(*scale, low=0.5)) for _ in range(2)]
    hold_again(attempt, reference, "dequantize_kv", *asked, of=f"values of codes (2, 5, 3) per {per}", views=False)


# ------------------------------------------------------------------------------------------------------------- evict


def kept_window(s, budget):
    return [j for j in range(s) if j >= s - budget]


def kept_sinks(s, budget, sinks):
    return [j for j in range(s) if j < sinks or j >= s - (budget - sinks)]


def kept_heavy(received, budget, recent):
    """received: the attention that each position got."""
    s = len(received)
    newest = [j for j in range(s) if j >= s - recent]
    others = sorted((j for j in range(s) if j < s - recent), key=lambda j: -received[j])
    return sorted([*newest, *others[: budget - recent]])


def positions(kept, *args):
    """What one of these keeps, as evict should say it."""
    return torch.tensor(kept(*args), dtype=torch.int64)


def probabilities(draw, *shape):
    """(..., t, s): causal attention probabilities, the last query at the last position."""
    t, s = shape[-2:]
    scores = draw.normal(*shape, scale=2.0).masked_fill(torch.ones(t, s).triu(1 + s - t).bool(), -math.inf)
    return scores.softmax(-1)


@part("evict")
def test_window_keeps_the_newest(attempt, draw):
    """For every length and budget up to six, the newest positions stay, in order."""
    rows = [("window", probabilities(draw, s, s), [(budget, {}) for budget in range(7)]) for s in range(7)]
    for s, told in enumerate(attempt.each(drivers.evict, rows)):
        for budget, got in zip(range(7), told, strict=True):
            want = positions(kept_window, s, budget)
            agree(got, want, axes="m", of=f"window of {budget} over {s} positions")


@part("evict")
def test_sinks_keep_both_ends(attempt, draw):
    """For every length, budget and number of sinks up to six, the first and the newest positions stay, in order."""
    cases = [(budget, {"sinks": sinks}) for sinks in range(7) for budget in range(sinks, 7)]
    rows = [("sinks", probabilities(draw, s, s), cases) for s in range(7)]
    for s, told in enumerate(attempt.each(drivers.evict, rows)):
        for (budget, options), got in zip(cases, told, strict=True):
            sinks = options["sinks"]
            known = {
                "a budget of recent positions beside the sinks": partial(
                    positions, kept_sinks, s, budget + sinks, sinks
                ),
                "the window alone": partial(positions, kept_window, s, budget),
            }
            of = f"sinks={sinks}, budget={budget}, {s} positions"
            agree(got, positions(kept_sinks, s, budget, sinks), axes="m", of=of, known=known)


@part("evict")
def test_heavy_hitters_stay(attempt, draw):
    """The positions that received most attention from all queries stay, beside the newest, in order."""
    apart = torch.tensor([[0.2, 0.7, 0.1, 0, 0], [0.1, 0.5, 0, 0.4, 0], [0.1, 0.2, 0.05, 0.35, 0.3]]).double()
    rows = [("heavy", apart, [(1, {"recent": 0}), (2, {"recent": 1})])]  # here each known mistake keeps others
    for s, t in ((1, 1), (5, 5), (7, 3), (5, 211)):
        cases = [(budget, {"recent": recent}) for recent in range(s + 2) for budget in range(recent, s + 2)]
        seen = probabilities(draw, t, s) if t <= s else draw.normal(t, s, scale=2.0).softmax(-1)
        rows.append(("heavy", seen, cases))
    rows.append(("heavy", probabilities(draw, 3, 331), [(150, {"recent": 70}), (299, {"recent": 0})]))
    even = torch.full((4, 1, 4), 0.25, dtype=torch.float64) + 1e-9 * torch.eye(4, dtype=torch.float64)[:, None]
    told = attempt.each(drivers.evict, [*rows, *(("heavy", weights, [(1, {})]) for weights in even)])
    for (_, weights, cases), kept in zip(rows, told, strict=False):
        (t, s), received, last = weights.shape, weights.sum(0).tolist(), weights[-1].tolist()
        light = [-x for x in received]
        for (budget, options), got in zip(cases, kept, strict=True):
            recent = options["recent"]
            known = {
                "the attention of the last query only": partial(positions, kept_heavy, last, budget, recent),
                "the lightest instead of the heaviest": partial(positions, kept_heavy, light, budget, recent),
                "heavy hitters without the newest": partial(positions, kept_heavy, received, budget, 0),
                "the newest alone": partial(positions, kept_window, s, budget),
            }
            of = f"heavy hitters, recent={recent}, budget={budget}, {s} positions after {t} queries"
            agree(got, positions(kept_heavy, received, budget, recent), axes="m", of=of, known=known)
    for heaviest, (got,) in enumerate(told[len(rows) :]):
        agree(got, torch.tensor([heaviest]), of=f"heavy hitters, budget=1, position {heaviest} heavier by 1e-9")


@part("evict")
@pytest.mark.parametrize("policy", ["window", "sinks", "heavy"])
def test_every_head_decides_for_itself(attempt, draw, policy):
    """Leading axes stay: each sequence and head gets its own row of kept positions."""
    weights = probabilities(draw, 2, 3, 11, 13).transpose(0, 1)
    got = attempt.evict(policy, weights, 5, sinks=2, recent=1)
    rows = {
        "window": lambda w: kept_window(13, 5),
        "sinks": lambda w: kept_sinks(13, 5, 2),
        "heavy": lambda w: kept_heavy(w.sum(0).tolist(), 5, 1),
    }[policy]
    want = torch.tensor([[rows(head) for head in sequence] for sequence in weights])
    agree(got, want, axes="b h m", of=f"{policy}, budget 5 over 13 positions, sinks=2, recent=1, b=3 h=2")


@part("evict")
def test_what_a_budget_cannot_hold_is_refused(attempt, draw):
    """An unknown policy, and more sinks or recent positions than the budget, raise ValueError."""
    weights = probabilities(draw, 5, 5)
    cases = {f"policy '{policy}'": ((policy, weights, 3), {}) for policy in ("lru", "fifo", "tail", "windows")}
    cases["4 sinks in a budget of 3"] = ("sinks", weights, 3), {"sinks": 4}
    cases["4 recent positions in a budget of 3"] = ("heavy", weights, 3), {"recent": 4}
    cases["a budget of -1"] = ("window", weights, -1), {}
    check_all_refused(attempt, "evict", cases)


# ------------------------------------------------------------------------------------------ MultiHeadLatentAttention


SIZES = {"dim": 11, "heads": 3, "head_dim": 5, "rope_dim": 4, "latent_dim": 7, "value_dim": 2}


def latent_weights(draw, dtype=torch.float64, **sizes):
    z = {**SIZES, **sizes}
    h, d, e, n, w = z["heads"], z["head_dim"], z["rope_dim"], z["latent_dim"], z["value_dim"]

    def matrix(*shape):
        return draw.normal(*shape, dtype=dtype, scale=1.7 * shape[-1] ** -0.5)

    return {
        "q_proj.weight": matrix(h * (d + e), z["dim"]),
        "kv_down.weight": matrix(n + e, z["dim"]),
        "kv_norm.weight": draw.uniform(n, low=0.5, high=2.0, dtype=dtype),
        "k_up": matrix(h, d, n),
        "v_up": matrix(h, w, n),
        "out.weight": matrix(z["dim"], h * w),
    }


def turn(x, start=0):
    """Rotary positions as complex numbers. x: (b, t, ..., e)"""
    e = x.shape[-1]
    frequency = 10000.0 ** (-torch.arange(0, e, 2, dtype=torch.float64) / e)
    angle = torch.arange(start, start + x.shape[1], dtype=torch.float64)[:, None] * frequency
    angle = angle.view(x.shape[1], *[1] * (x.dim() - 3), e // 2)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2).to(x.dtype)


def latents(w, x, start=0, *, norm=True, position=True):
    """What compress should give. x: (b, t, dim)"""
    n = w["k_up"].shape[2]
    down = x @ w["kv_down.weight"].T
    latent, key = down[..., :n], down[..., n:]
    if norm:
        latent = latent / (latent.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w["kv_norm.weight"]
    return torch.cat([latent, turn(key, start) if position else key], -1)


def latent_attention(w, x, *, scale=None, mask=True, **how):
    """One pass over whole sequences, head by head, token by token of keys."""
    (h, d, n), e = w["k_up"].shape, w["kv_down.weight"].shape[0] - w["k_up"].shape[2]
    q = (x @ w["q_proj.weight"].T).unflatten(-1, (h, d + e))  # (b, s, h, d + e)
    q_rope = turn(q[..., d:]) if how.get("position", True) else q[..., d:]
    cached = latents(w, x, **how)
    latent, key = cached[..., :n], cached[..., n:]
    heads = []
    for i in range(h):
        k = torch.cat([latent @ w["k_up"][i].T, key], -1)
        full_q = torch.cat([q[:, :, i, :d], q_rope[:, :, i]], -1)
        v = latent @ w["v_up"][i].T
        scores = full_q @ k.transpose(1, 2) * ((d + e) ** -0.5 if scale is None else scale)
        if mask:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v)
    return torch.cat(heads, -1) @ w["out.weight"].T


def _latent_mistakes(w, x, rows=slice(None)):
    d, n, e = SIZES["head_dim"], SIZES["latent_dim"], SIZES["rope_dim"]
    return {
        "a scale of head_dim ** -0.5": lambda: latent_attention(w, x, scale=d**-0.5)[:, rows],
        "a scale of (latent_dim + rope_dim) ** -0.5": lambda: latent_attention(w, x, scale=(n + e) ** -0.5)[:, rows],
        NO_SCALE: lambda: latent_attention(w, x, scale=1.0)[:, rows],
        "attention without a causal mask": lambda: latent_attention(w, x, mask=False)[:, rows],
        "a latent without its norm": lambda: latent_attention(w, x, norm=False)[:, rows],
        "keys and queries without rotation": lambda: latent_attention(w, x, position=False)[:, rows],
    }


@part("MultiHeadLatentAttention")
@each_dtype
@pytest.mark.parametrize("start", [None, 0, 6])
def test_compress_gives_what_is_cached(attempt, draw, dtype, start):
    """compress returns the latent after its norm, then the rotary key after its rotation, at its position."""
    w = latent_weights(draw, of_type(dtype))
    x = draw.normal(2, 5, SIZES["dim"], dtype=of_type(dtype))
    got = attempt.run(drivers.latent_compress, tuple(SIZES.values()), w, x, start)
    known = {
        "a latent without its norm": lambda: latents(w, x, start or 0, norm=False),
        "a rotary key without its rotation": lambda: latents(w, x, start or 0, position=False),
        "a rotation that starts at position 0": lambda: latents(w, x),
        "the rotary key before the latent": lambda: latents(w, x, start or 0).roll(SIZES["rope_dim"], -1),
    }
    agree(got, latents(w, x, start or 0), axes="b t c", of=f"compress of 5 tokens, start {start}, {SIZES}", known=known)


@part("MultiHeadLatentAttention")
@each_dtype
def test_forward_is_latent_attention(attempt, draw, dtype):
    """forward is causal attention with keys [k_up c, r] and values v_up c of every head."""
    wide, dtype = {**SIZES, "value_dim": 8}, of_type(dtype)
    w, wide_w = latent_weights(draw, dtype), latent_weights(draw, dtype, **wide)
    inputs = [draw.normal(2, s, SIZES["dim"], dtype=dtype) for s in (6, 1)]
    rows = [(tuple(SIZES.values()), w, inputs), (tuple(wide.values()), wide_w, inputs[:1])]
    told, (got,) = attempt.each(drivers.latent_forward, rows)
    for x, out in zip(inputs, told, strict=True):
        of = f"forward over {x.shape[1]} tokens, {SIZES}"
        agree(out, latent_attention(w, x), axes="b s c", of=of, known=_latent_mistakes(w, x))
    agree(got, latent_attention(wide_w, inputs[0]), axes="b s c", of=f"forward over 6 tokens, {wide}")


@part("MultiHeadLatentAttention")
def test_scores_far_from_zero(attempt, draw):
    """Scores of ±100,000 overflow nothing and hide what they must, in forward and in decode."""
    w, x = latent_weights(draw), draw.normal(4, 6, SIZES["dim"])
    w["q_proj.weight"] *= 4e4
    want = latent_attention(w, x)
    (got,) = attempt.run(drivers.latent_forward, tuple(SIZES.values()), w, [x])
    agree(got, want, axes="b s c", of=f"forward over 6 tokens, q_proj · 4e4, {SIZES}")
    cuts = [6], [1, 3, 2]
    told = attempt.run(drivers.latent_decode, tuple(SIZES.values()), w, x, latents(w, x)[:, :0], cuts)
    for chunks, (got, _) in zip(cuts, told, strict=True):
        agree(got, want, axes="b t c", of=f"decode in chunks {chunks}, q_proj · 4e4, {SIZES}", along={"t": chunks})


@part("MultiHeadLatentAttention")
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_gradients_reach_every_weight(attempt, draw, training):
    """Gradients of forward flow to x and to all six weights, in training and in eval."""
    w, x = latent_weights(draw), draw.normal(2, 5, SIZES["dim"])
    upstream = draw.normal(2, 5, SIZES["dim"])
    given = x, *w.values(), tuple(SIZES.values()), training
    value, grads = attempt.gradients(drivers.latent_gradients, *given, upstream=upstream)
    leaves = [x.clone().requires_grad_(), *(one.clone().requires_grad_() for one in w.values())]
    want = latent_attention(dict(zip(w, leaves[1:], strict=True)), leaves[0])
    agree(value, want.detach(), axes="b s c", of="forward over 5 tokens")
    for name, got, one in zip(("x", *w), grads, torch.autograd.grad((want * upstream).sum(), leaves), strict=False):
        assert got is not None, f"no gradient reaches {name}"
        agree(got, one, of=f"the gradient of {name}, forward over 5 tokens")


@part("MultiHeadLatentAttention")
def test_any_decode_agrees_with_forward(attempt, draw):
    """Decoding in chunks, however they are cut, gives the whole pass, and the cache holds what compress gives."""
    w, x = latent_weights(draw), draw.normal(2, 4, SIZES["dim"])
    want, cached, cuts = latent_attention(w, x), latents(w, x), [[4], [1, 3], [3, 1], [2, 2], [1, 1, 1, 1]]
    told = attempt.run(drivers.latent_decode, tuple(SIZES.values()), w, x, cached[:, :0], cuts)
    for chunks, (got, caches) in zip(cuts, told, strict=True):
        of = f"decode in chunks {chunks}, {SIZES}"
        agree(got, want, axes="b t c", of=of, along={"t": chunks}, known=_latent_mistakes(w, x))
        ends = [sum(chunks[: i + 1]) for i in range(len(chunks))]
        agree(caches, [cached[:, :n] for n in ends], axes="b s c", of=f"the cache after each chunk of {chunks}")


@part("MultiHeadLatentAttention")
@each_dtype
def test_decode_continues_a_compressed_prompt(attempt, draw, dtype):
    """A prompt may be compressed alone; decoding then goes on from it."""
    w = latent_weights(draw, of_type(dtype))
    x = draw.normal(3, 9, SIZES["dim"], dtype=of_type(dtype))
    prompt = latents(w, x)[:, :5]
    ((got, caches),) = attempt.run(drivers.latent_decode, tuple(SIZES.values()), w, x[:, 5:], prompt, [[1, 3]])
    of = "decode in chunks [1, 3] behind 5 compressed tokens"
    agree(got, latent_attention(w, x)[:, 5:], axes="b t c", of=of, known=_latent_mistakes(w, x, slice(5, None)))
    agree(caches[-1], latents(w, x), axes="b s c", of=f"the cache after {of}")


@part("MultiHeadLatentAttention")
@LATENT_MODES
def test_forward_builds_keys_once(attempt, draw, mode):
    """Over a whole sequence, keys and values of head_dim are cheaper than absorbed queries of latent_dim."""
    wide = {**SIZES, "latent_dim": 40}
    b, s, h, d, e, n, w_ = 2, 47, *(wide[key] for key in ("heads", "head_dim", "rope_dim", "latent_dim", "value_dim"))
    w, x = latent_weights(draw, latent_dim=n), draw.normal(b, s, wide["dim"])
    given = x, tuple(wide.values()), w, mode
    got, cost = attempt.cost(drivers.latent_forward_cost, *given)
    (again, _), both = attempt.cost(drivers.latent_forward_cost, *given, upstream=draw.normal(*x.shape))
    for out in (got, again):
        agree(out, latent_attention(w, x), axes="b s c", of=f"forward over {s} tokens, {wide}")
    shared = 2 * b * s * (wide["dim"] * (h * (d + e) + n + e + h * w_) + h * n * (d + w_))
    known = {"absorbed attention": shared + 2 * b * h * s * s * (2 * n + e)}
    limit = 1.2 * (shared + 2 * b * h * s * s * (d + e + w_))
    for counted, times, how in ((cost, 1, mode), (both, 3, f"{mode}, with the backward pass")):
        in_torch(counted, of=f"forward over {s} tokens, {how}")
        at_most(counted.flops, times * limit, of=f"FLOPs of forward over {s} tokens, {wide}, {how}", known=known)


@part("MultiHeadLatentAttention")
@LATENT_MODES
def test_decode_is_absorbed(attempt, draw, mode):
    """A decode step reads latents only: it rebuilds no key and no value of the past."""
    wide = {**SIZES, "value_dim": 8}
    b, t, p = 2, 3, 100
    h, d, e, n, w_ = (wide[key] for key in ("heads", "head_dim", "rope_dim", "latent_dim", "value_dim"))
    w, x = latent_weights(draw, value_dim=w_), draw.normal(b, p + t, wide["dim"])
    prompt = latents(w, x)[:, :p]
    (got, cache), cost = attempt.cost(drivers.latent_decode_cost, tuple(wide.values()), w, x[:, p:], prompt, mode)
    s = p + t
    of = f"a decode of {t} tokens behind {p}, {mode}"
    in_torch(cost, of=of)
    at_most(cost.kept, 0, of=f"bytes that stay alive after {of}, beside its result and the new cache")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd that stay alive after {of}, once its graph is gone")
    agree(got, latent_attention(w, x)[:, p:], axes="b t c", of=of)
    agree(cache, latents(w, x), axes="b s c", of=f"the cache after {of}")
    new = 2 * b * t * (wide["dim"] * (h * (d + e) + n + e + h * w_) + h * n * (d + w_))
    known = {
        "rebuilding keys and values": new + 2 * b * s * h * n * (d + w_) + 2 * b * h * t * s * (d + e + w_),
        "rebuilding values alone": new + 2 * b * s * h * n * w_ + 2 * b * h * t * s * (n + e + w_),
        "rebuilding keys alone": new + 2 * b * s * h * n * d + 2 * b * h * t * s * (d + e + n),
    }
    at_most(cost.flops, 1.15 * (new + 2 * b * h * t * s * (2 * n + e)), of=f"FLOPs of {of}", known=known)


@part("MultiHeadLatentAttention")
@pytest.mark.parametrize("mode", ["eval", "no_grad"])
def test_many_heads_decode_in_little_memory(attempt, draw, mode):
    """32 heads over 2,048 latents: scores of a quarter of a megabyte, where keys built anew would take 13."""
    sizes = {"dim": 11, "heads": 32, "head_dim": 48, "rope_dim": 4, "latent_dim": 8, "value_dim": 48}
    h, s = 32, 2048
    w = latent_weights(draw, torch.float32, **sizes)
    x, one = draw.normal(1, 1, 11, dtype=torch.float32), draw.normal(1, 1, 12, dtype=torch.float32)
    past = one.repeat(1, s - 1, 1)
    (got, _), cost = attempt.cost(drivers.latent_decode_cost, tuple(sizes.values()), w, x, past, mode)
    # All cached tokens are one and the same, so of the past there is one score, s - 1 times.
    pair = torch.cat([one, latents(w, x, s - 1)], 1)[0]
    q = (x @ w["q_proj.weight"].T).view(h, 52)
    q = torch.cat([q[:, :48], turn(q[None, None, :, 48:], s - 1)[0, 0]], -1)
    k = torch.cat([torch.einsum("hdl,sl->hsd", w["k_up"], pair[:, :8]), pair[:, 8:].expand(h, 2, 4)], -1)
    scores = torch.einsum("hd,hsd->hs", q, k) * 52**-0.5 + torch.tensor([math.log(s - 1), 0.0])
    latent = scores.softmax(-1) @ pair[:, :8]
    want = torch.einsum("hl,hdl->hd", latent, w["v_up"]).view(1, 1, -1) @ w["out.weight"].T
    agree(got, want, axes="b t c", of="a step of 32 heads over 2,048 latents", tol=1e-3)
    of = f"largest tensor made for it in mode {mode}, in elements"
    at_most(cost.largest, h * s * 48 // 2, of=of, known={"keys": h * s * 48})


@part("MultiHeadLatentAttention")
def test_one_layer_that_is_called_twice(attempt, reference, draw):
    """compress, forward and decode compute each time what their inputs of that time give."""
    w, width = latent_weights(draw), SIZES["latent_dim"] + SIZES["rope_dim"]
    asked = {
        "compress": lambda: (draw.normal(2, 5, SIZES["dim"]),),
        "forward": lambda: (draw.normal(2, 5, SIZES["dim"]),),
        "decode": lambda: (draw.normal(2, 3, SIZES["dim"]), draw.normal(2, 4, width)),
    }
    for method, inputs in asked.items():
        given = (tuple(SIZES.values()), w, "__call__" if method == "forward" else method)
        of = f"{method} of {tuple(inputs()[0].shape)}, {SIZES}"
        hold_turns(attempt, reference, drivers.latent_in_turn, *given, turns=(inputs(), inputs()), of=of)


# ------------------------------------------------------------------------------------------------------ PagedKVCache


class Model:
    """What a paged cache should hold: for each sequence the numbers of its tokens. It knows no block.

    Two sequences share a block exactly where they hold the same tokens in all its places: a fork copies numbers, and a
    new token always has a new one.
    """

    def __init__(self, blocks, block_size):
        self.blocks, self.block_size = blocks, block_size
        self.created, self.tokens = 0, 0
        self.sequences, self.content, self.used = {}, {}, 0
        self.about = None

    def do(self, action, name=None, count=0):
        """The refusal that the step deserves, or ""."""
        self.tokens += count
        self.about = name
        if name is not None and name not in self.sequences:
            return "KeyError"
        after = dict(self.sequences)
        if action == "append":
            after[name] = [*after[name], *range(self.tokens - count, self.tokens)]
        elif action == "free":
            del after[name]
        elif action in ("create", "fork"):
            after[self.created] = list(after[name]) if action == "fork" else []
        # Block by block what the sequences hold: a block is its place in a table and its tokens.
        cut = lambda tokens: [(j, *tokens[j : j + self.block_size]) for j in range(0, len(tokens), self.block_size)]
        content = {name: cut(tokens) for name, tokens in after.items()}
        used = len({block for table in content.values() for block in table})
        if used > self.blocks:
            return "ValueError"
        self.sequences, self.content, self.used = after, content, used
        if action in ("create", "fork"):
            self.about = self.created
            self.created += 1
        return ""


def follow(attempt, draw, traces, dtype=torch.float64):
    """Run traces on the attempt and hold it to the model after every step.

    A trace is (blocks, block_size, plan, of), or with what a known mistake makes of the free blocks after a step.
    """
    rows = []
    for blocks, block_size, plan, *_ in traces:
        tokens = sum(args[1] for action, *args in plan if action == "append")
        rows.append((blocks, block_size, plan, *(draw.normal(tokens, 2, 3, dtype=dtype) for _ in range(2))))
    told = attempt.each(drivers.paged, rows)
    for (_, _, _, of, *known), row, (seen, pool) in zip(traces, rows, told, strict=True):
        check_trace(*row, seen, pool, of, *known)


def check_trace(blocks, block_size, plan, k, v, seen, pool, of, known=None):
    """Hold what drivers say of a plan to the model: seen after each step, and what lay in the pool then."""
    model = Model(blocks, block_size)
    rows = {"k": k, "v": v}  # by token number
    shape = [blocks, block_size, *k.shape[1:]]
    agree([list(lay.shape[1:]) for lay in pool.values()], [shape] * 2, of=f"{of}: shapes of k and v")
    places, every, owners = [], [], []  # of each token after each step its place, its number, its step and sequence
    # An attempt that gives a strange id, or none, is refused at that step: what it says may be shorter than the plan.
    for i, (step, got) in enumerate(zip(plan, seen, strict=False)):
        refused, sequences = model.do(*step), model.sequences
        done = ", ".join(" ".join(map(str, step)) for step in plan[max(0, i - 3) : i + 1])
        here = f"{of}, step {i + 1} ({'... ' if i > 3 else ''}{done})"
        assert "id" not in got, f"{here}: {got.get('id')}: an id is an int"
        said = f"expected {refused or 'none'}, got {got['refused'] or 'none'}{got['where']}"
        assert got["refused"] == refused, f"{here}: the exception: {said}"
        tables = got["tables"]
        held = len({block for table in tables.values() for block in table})
        lost = blocks - held - got["available"]
        assert lost <= 0, f"{here}: {lost} of {blocks} blocks leaked: neither free nor in a table"
        assert lost == 0, f"{here}: {-lost} of {blocks} blocks are called free, but a table holds them"
        free = blocks - model.used
        agree(got["available"], free, of=f"{here}: free blocks of {blocks}", known=(known or {}).get(i))
        agree(sorted(tables), sorted(sequences), of=f"{here}: live sequences")
        owner = {}
        for name, tokens in sequences.items():
            table, content = tables[name], model.content[name]
            agree(len(table), len(content), of=f"{here}: blocks in the table of sequence {name}")
            within = all(isinstance(block, int) and 0 <= block < blocks for block in table)
            assert within, f"{here}: table {table} of sequence {name} names a block that is no int of 0 .. {blocks - 1}"
            for entry, block in zip(content, table, strict=True):
                kept = owner.setdefault(block, entry)
                assert kept == entry, f"{here}: block {block} is used twice, for different tokens"
            if name == model.about or model.about not in sequences or i + 1 == len(plan):
                assert name in got["gathered"], f"{here}: sequence {name} was never gathered"
                index = torch.tensor(tokens, dtype=torch.int64)
                for which, one in zip(("k", "v"), got["gathered"][name], strict=True):
                    what = f"{here}: {which} of sequence {name} from gather"
                    agree(one, rows[which][index], axes="t g d", of=what)
            first = [((i + 1) * blocks + block) * block_size for block in table]
            places += [first[j // block_size] + j % block_size for j in range(len(tokens))]
            every += tokens
            owners += [(here, name)] * len(tokens)
        assert not got["pool moved"], f"{here}: k and v of the pool lie in other memory than at the start"
    assert len(seen) == len(plan), f"{of}: it ended after {len(seen)} of {len(plan)} steps"
    places, every = (torch.tensor(numbers, dtype=torch.int64) for numbers in (places, every))
    for which in ("k", "v"):
        check_pool(pool[which].flatten(0, 2)[places], rows[which][every], owners, which)


def check_pool(lies, want, owners, which):
    """Hold that in the pool every token lies where it should. owners: the step and the sequence of each row."""
    if lies.dtype == want.dtype and torch.equal(lies, want):
        return
    start = 0
    for (here, name), same in groupby(owners):
        end = start + len(list(same))
        what = f"{here}: {which} of sequence {name} in the pool, where its table points"
        agree(lies[start:end], want[start:end], axes="t g d", of=what)
        start = end


@part("PagedKVCache")
@each_dtype
def test_blocks_are_taken_as_tokens_come(attempt, draw, dtype):
    """A sequence owns ceil(length / block_size) blocks at every length, and its tokens lie where its table says."""
    plan = [("create",), *[("append", 0, 1)] * 7]
    traces = [(10, size, plan, f"blocks of {size}, token by token") for size in (1, 3, 4)]
    plan = [("create",), ("append", 0, 0), ("append", 0, 5), ("append", 0, 0), ("append", 0, 1), ("append", 0, 7)]
    traces.append((4, 4, plan, "blocks of 4, many tokens at once"))
    follow(attempt, draw, traces, of_type(dtype))


@part("PagedKVCache")
def test_sequences_grow_side_by_side(attempt, draw):
    """Sequences that take turns do not write into each other's blocks."""
    plan = [("create",), ("create",)]
    plan += [("append", i % 2, n) for i, n in enumerate((2, 3, 4, 1, 1, 5, 2, 2))]
    follow(attempt, draw, [(8, 3, plan, "two sequences, blocks of 3")])


@part("PagedKVCache")
def test_the_pool_runs_out_and_nothing_changes(attempt, draw):
    """A pool fills to its last place; a token more raises ValueError and leaves every sequence and block as it was."""
    plan = [("create",), ("append", 0, 5), ("create",), ("append", 1, 10), ("append", 1, 5), ("append", 1, 5)]
    plan += [("append", 1, 4)]
    plan += [("append", 0, 2), ("append", 0, 1), ("append", 1, 1), ("append", 0, 0), ("append", 1, 0)]
    plan += [("free", 1), ("append", 0, 8)]
    follow(attempt, draw, [(5, 3, plan, "5 blocks of 3")])


@part("PagedKVCache")
def test_freed_blocks_are_used_again(attempt, draw):
    """Freeing gives every block back once; a pool serves many short lives."""
    plan = []
    for i in range(6):
        plan += [("create",), ("append", i, 7), *([("free", i - 1)] if i % 2 else [])]
        plan += [("free", i)] if i % 2 else []
    follow(attempt, draw, [(6, 3, plan, "6 blocks of 3, sequences that come and go")])


@part("PagedKVCache")
def test_an_unknown_sequence_is_refused(attempt, draw):
    """Freeing twice, and any use of a sequence that was freed or never created, raises KeyError and changes nothing."""
    plan = [("create",), ("append", 0, 4), ("fork", 0), ("free", 0), ("free", 0), ("append", 0, 1), ("fork", 0)]
    plan += [("gather", 0), ("table", 0), ("free", "unknown"), ("append", "unknown", 2), ("fork", "unknown")]
    plan += [("gather", "unknown"), ("table", "unknown"), ("append", 0, 0), ("append", "unknown", 0)]
    plan += [("append", "negative", n) for n in (0, 1)]
    plan += [(action, "negative") for action in ("fork", "gather", "table", "free")]
    plan += [("free", 1), ("free", 1), ("create",), ("append", 2, 9)]
    follow(attempt, draw, [(3, 3, plan, "3 blocks of 3")])


@part("PagedKVCache")
def test_a_fork_shares_until_it_writes(attempt, draw):
    """A fork takes no block. Who writes into a shared, partly filled block gets a copy, except the last one left."""
    traces = []
    for filled in range(6):
        plan = [("create",), ("append", 0, filled), ("fork", 0), ("fork", 1), ("append", 1, 0), ("append", 1, 1)]
        plan += [("append", 0, 5), ("append", 2, 1), ("append", 2, 2), ("free", 0), ("append", 1, 3), ("free", 2)]
        plan += [("append", 1, 1), ("fork", 1), ("free", 1), ("append", 3, 1)]
        taken = {2: {"a fork that copies its blocks": 20 - 2 * -(-filled // 3)}}
        traces.append((20, 3, plan, f"blocks of 3, a sequence of {filled}, then forked", taken))
    follow(attempt, draw, traces)


@part("PagedKVCache")
def test_a_copy_needs_a_block_too(attempt, draw):
    """Where no block is left for the copy, writing to a shared block raises ValueError; alone again, it is in place."""
    plan = [("create",), ("append", 0, 5), ("fork", 0), ("append", 1, 1), ("append", 0, 2), ("fork", 0), ("free", 1)]
    plan += [("append", 0, 2), ("append", 2, 1), ("append", 0, 1), ("free", 2), ("append", 0, 1), ("free", 0)]
    follow(attempt, draw, [(blocks, 3, plan, f"{blocks} blocks of 3") for blocks in (2, 3, 4)])


@part("PagedKVCache")
def test_a_pool_owns_its_memory(attempt, draw):
    """What the caller does to appended or gathered tensors, or to a table, does not reach the cache."""
    k, v = draw.normal(7, 2, 3), draw.normal(7, 2, 3)
    sizes = 3, 7, 9
    told = attempt.each(drivers.paged_gather_is_a_copy, [(size, k, v) for size in sizes])
    for size, got in zip(sizes, told, strict=True):
        agree(got, (k, v), axes="t g d", of=f"7 tokens in blocks of {size}, after the caller wrote to its tensors")


@part("PagedKVCache")
@pytest.mark.parametrize("block_size", [1, 3, 4])
def test_random_traces_leak_nothing(attempt, draw, block_size):
    """Over random forks, appends and frees, every block is free or held by a table, and every token in its place."""
    blocks, plan, live, created = 11, [("create",)], [0], 1
    for _ in range(45):
        action = draw.pick(["append"] * 5 + ["fork", "create"] * (len(live) < 5) + ["free"] * 2 * (len(live) > 1))
        step = (action,) if action == "create" else (action, draw.pick(live))
        if action == "append":
            step = (*step, draw.pick([0, 1, 1, 2, block_size, 2 * block_size + 1]))
        plan.append(step)
        if action in ("create", "fork"):
            live.append(created)
            created += 1
        elif action == "free":
            live.remove(step[1])
    plan += [("free", name) for name in live]
    follow(attempt, draw, [(blocks, block_size, plan, f"{blocks} blocks of {block_size}, a random trace")])


@part("PagedKVCache")
def test_keys_lie_in_the_pool_alone(attempt, draw):
    """After appends, a fork and gather no other keys and values are alive than those in the pool."""
    k, v = draw.normal(24, 3, 7), draw.normal(24, 3, 7)
    (one, two), cost = attempt.cost(drivers.paged_keeps, k, v)
    agree(list(one), [k[:18], v[:18]], of="a sequence of 18 tokens")
    agree(list(two), [torch.cat([x[:12], x[18:]]) for x in (k, v)], of="a fork after 12 of them, and 6 tokens more")
    # Room for tables and lengths that are tensors.
    known = {"a copy of all keys and values": 2 * 8 * k.numel(), "a copy of all keys": 8 * k.numel()}
    at_most(cost.kept, 1024, of="bytes alive beside the pool after 24 tokens of 3 x 7", known=known)


@part("PagedKVCache")
def test_two_gathered_sequences_stand_side_by_side(attempt, reference, draw):
    """What was gathered of one sequence stays as it is when another of that length is gathered."""
    turns = tuple((draw.normal(5, 2, 3), draw.normal(5, 2, 3)) for _ in range(2))
    hold_turns(attempt, reference, drivers.paged_gathers, 3, turns=turns, of="gather of 5 tokens in blocks of 3")
