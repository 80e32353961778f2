"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import traceback
from itertools import count

import torch


def _new_cache(module, k, capacity):
    b, h, _, d = k.shape
    return module.KVCache(b, h, capacity, d, dtype=k.dtype)


def refused(module, name, args, options):
    """How a call is refused: ValueError, another exception and what it says, or nothing."""
    called = getattr(module, name)
    try:
        called(*args, **options)
    except NotImplementedError:
        raise  # of the stub
    except ValueError:
        return "ValueError"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def kv_cache_bytes(module, kind, tokens, layers, sizes):
    """sizes: by name."""
    return module.kv_cache_bytes(kind, tokens, layers, **sizes)


def evict(module, policy, weights, cases):
    """The kept positions for each case: a budget, and sinks or recent by name."""
    return [module.evict(policy, weights, budget, **options) for budget, options in cases]


def _held(cache):
    """What a cache says that its sequences hold, and whether what lies around it is finite."""
    return _cut(cache.lengths, cache.k, cache.v)


def _cut(lengths, k, v):
    tokens = [int(n) for n in torch.as_tensor(lengths).tolist()]
    return {
        "lengths": lengths,
        "k": [k[i, :, :n] for i, n in enumerate(tokens)],
        "v": [v[i, :, :n] for i, n in enumerate(tokens)],
        "all of the buffers finite": _finite(k, v),
    }


def _finite(k, v):
    return bool(k.isfinite().all() and v.isfinite().all())


def _everything(cache):
    """The lengths, and the buffers to their last place, copied."""
    return {"lengths": cache.lengths.clone(), "k, whole": cache.k.clone(), "v, whole": cache.v.clone()}


def _over(cache, call, *args):
    """Was a call refused, and what did the cache hold before and after it?"""
    before = _everything(cache)
    try:
        call(*args)
        was_refused = False
    except ValueError:
        was_refused = True
    return was_refused, _cut(*before.values()), before, _everything(cache)


def append(module, k, v, chunks, capacity, counts=None):
    """Append k, v cut into chunks; counts, if given, one tensor a chunk. What the cache holds then."""
    cache = _new_cache(module, k, capacity)
    for i, (k_new, v_new) in enumerate(zip(k.split(chunks, 2), v.split(chunks, 2), strict=True)):
        if counts is None:
            cache.append(k_new, v_new)
        else:
            cache.append(k_new, v_new, counts[i])
    return _held(cache)


def append_then_overwrite(module, k, v, counts, capacity):
    """Append, then change the tensors that were passed, as a caller who reuses them would."""
    cache = _new_cache(module, k, capacity)
    k, v, counts = k.clone(), v.clone(), None if counts is None else counts.clone()
    cache.append(k, v, counts)
    for x in (k, v, counts):
        if x is not None:
            x.zero_()
    return _held(cache)


def append_in_place(module, k, v, chunks, capacity):
    """Whether the buffers after all chunks are the memory that was there at the start."""
    cache = _new_cache(module, k, capacity)
    before = cache.k.data_ptr(), cache.v.data_ptr()
    for k_new, v_new in zip(k.split(chunks, 2), v.split(chunks, 2), strict=True):
        cache.append(k_new, v_new)
    same = before == (cache.k.data_ptr(), cache.v.data_ptr())
    return same, list(cache.k.shape), list(cache.v.shape)


def append_cost(module, k, v, k_new, v_new, capacity, grad, counts=None, *, meter):
    """Append k_new, v_new behind k, v, grad enabled or not; measured, and what stays alive of it."""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    with torch.set_grad_enabled(grad), meter:
        cache.append(k_new, v_new, counts)
    meter.kept(cache.lengths)
    return _held(cache)


def append_over(module, k, v, counts, k_new, v_new, new_counts, capacity):
    """Append what fits, then what may not fit. Was it refused, and what did the cache hold before and after?"""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v, counts)
    return _over(cache, cache.append, k_new, v_new, new_counts)


def append_after_reset(module, k, v, rows, k_new, v_new, counts, capacity):
    """Append, reset rows (None: all, without an argument), append again."""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    if rows is None:
        cache.reset()
    else:
        cache.reset(rows)
    empty = cache.lengths.clone()
    cache.append(k_new, v_new, counts)
    return empty, _held(cache)


def reset_keeps(module, k, v, rows, capacity, *, meter):
    """Reset rows (None: all); what it leaves alive is weighed. What the cache holds then."""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    with meter:
        cache.reset(*([] if rows is None else [rows]))
    meter.kept(cache.lengths)
    return _held(cache)


def prefill(module, q, k, v, chunks, capacity, counts=None):
    """Prefill q, k, v cut into chunks; the outputs side by side, and what the cache holds then."""
    cache = _new_cache(module, k, capacity)
    outs = []
    pieces = zip(*(x.split_with_sizes(chunks, 2) for x in (q, k, v)), strict=True)
    for i, (q_new, k_new, v_new) in enumerate(pieces):
        if counts is None:
            outs.append(module.prefill(q_new, k_new, v_new, cache))
        else:
            outs.append(module.prefill(q_new, k_new, v_new, cache, counts[i]))
    return torch.cat(outs, 2), _held(cache)


def prefill_cuts(module, q, k, v, cuts, capacity):
    """The same for each way to cut q, k, v into chunks, on a cache of its own."""
    return [prefill(module, q, k, v, chunks, capacity) for chunks in cuts]


def prefill_once(module, q, k, v, capacity):
    """One call on an empty cache."""
    return module.prefill(q, k, v, _new_cache(module, k, capacity))


def prefill_after_reset(module, old, q, k, v, counts, capacity):
    """Prefill where other, longer sequences lay before."""
    cache = _new_cache(module, k, capacity)
    cache.append(old, old)
    cache.reset()
    return module.prefill(q, k, v, cache, counts)


def prefill_over(module, k, v, q_new, k_new, v_new, counts, capacity):
    """Was a chunk that does not fit refused, and what did the cache hold before and after?"""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    return _over(cache, module.prefill, q_new, k_new, v_new, cache, counts)


def prefill_cost(module, k, v, q_new, k_new, v_new, capacity, grad, *, meter):
    """A chunk behind cached tokens, grad enabled or not; the chunk is measured, and what stays alive of it."""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    with torch.set_grad_enabled(grad), meter:
        out = module.prefill(q_new, k_new, v_new, cache)
    meter.kept(out, cache.lengths)
    return out


def decode(module, q, k, v, capacity, start=0):
    """Append the first `start` tokens, decode the others one by one; the outputs, and what the cache holds."""
    cache = _new_cache(module, k, capacity)
    if start:
        cache.append(k[:, :, :start], v[:, :, :start])
    tokens = list(zip(q.unbind(2), k.unbind(2), v.unbind(2), strict=True))
    outs = [module.decode_step(*token, cache) for token in tokens[start:]]
    return torch.stack(outs, 2), _held(cache)


def decode_unequal(module, k, v, counts, new, active, leftover, capacity):
    """One step with tokens new (q, k, v) for sequences of unequal length: as they are, then with NaN in the idle rows,
    then where leftover lay in the cache before. For each the output, the lengths, and whether the buffers are finite.

    active: None to leave it out; nobody is idle then.
    """

    def step(q_new, k_new, v_new, old=None):
        cache = _new_cache(module, k, capacity)
        if old is not None:
            cache.append(old, old)
            cache.reset()
        cache.append(k, v, counts)
        if active is None:
            out = module.decode_step(q_new, k_new, v_new, cache)
        else:
            out = module.decode_step(q_new, k_new, v_new, cache, active)
        return out, cache.lengths, _finite(cache.k, cache.v)

    told = {"as they are": step(*new)}
    if active is not None:
        told["idle rows NaN"] = step(*(torch.where(active[:, None, None], x, torch.nan) for x in new))
    told["other tokens there before a reset"] = step(*new, leftover)
    return told


def decode_over(module, k, v, counts, q_new, k_new, v_new, active, capacity):
    """Was a step that does not fit refused, and what did the cache hold before and after?"""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v, counts)
    return _over(cache, module.decode_step, q_new, k_new, v_new, cache, active)


def decode_cost(module, k, v, q_new, k_new, v_new, capacity, grad, *, meter):
    """One step behind cached tokens, grad enabled or not; the step is measured, and what stays alive of it."""
    cache = _new_cache(module, k, capacity)
    cache.append(k, v)
    with torch.set_grad_enabled(grad), meter:
        out = module.decode_step(q_new, k_new, v_new, cache)
    meter.kept(out, cache.lengths)
    return out


def generate(module, q, k, v, padding, prompts, totals):
    """Prefill prompts of unequal length, then decode until sequence i holds totals[i] tokens.

    Row i of the result holds its outputs in order, zeros behind them.
    """
    b, h, s, d = q.shape
    cache = module.KVCache(b, h, s, d, dtype=q.dtype)
    out = torch.zeros_like(q)
    longest = max(prompts)
    real = (torch.arange(longest) < torch.tensor(prompts)[:, None])[:, None, :, None]
    prompt = [torch.where(real, x[:, :, :longest], padding[:, :, :longest]) for x in (q, k, v)]
    out[:, :, :longest] = module.prefill(*prompt, cache, torch.tensor(prompts))
    at = list(prompts)
    while any(n < total for n, total in zip(at, totals, strict=True)):
        active = [n < total for n, total in zip(at, totals, strict=True)]
        token = [n if goes else 0 for n, goes in zip(at, active, strict=True)]
        new = [torch.stack([x[i, :, j] for i, j in enumerate(token)]) for x in (q, k, v)]
        step = module.decode_step(*new, cache, torch.tensor(active))
        for i in range(b):
            if active[i]:
                out[i, :, at[i]] = step[i]
                at[i] += 1
    return out


def grouped_on_a_cache(module, q, k, v, length, grad=True, *, meter):
    """Grouped-query attention over the first `length` places of a longer buffer, grad enabled or not; measured."""
    with torch.set_grad_enabled(grad), meter:
        return module.grouped_query_attention(q, k[:, :, :length], v[:, :, :length])


def quantize_and_back(module, x, per):
    """x after int8 and back."""
    return module.dequantize_kv(*module.quantize_kv(x, per))


def _latent(module, sizes, weights):
    layer = module.MultiHeadLatentAttention(*sizes).to(weights["k_up"].dtype)
    layer.load_state_dict(weights)
    return layer


def latent_compress(module, sizes, weights, x, start):
    """compress; start None: left to its default."""
    layer = _latent(module, sizes, weights)
    return layer.compress(x) if start is None else layer.compress(x, start)


def latent_forward(module, sizes, weights, inputs):
    """forward of each input."""
    layer = _latent(module, sizes, weights)
    return [layer(x) for x in inputs]


def latent_in_turn(module, sizes, weights, method, *, turns):
    """What one layer gives in each turn, read when all is done."""
    layer = _latent(module, sizes, weights)
    return [getattr(layer, method)(*inputs) for inputs in turns]


def latent_forward_cost(module, x, sizes, weights, mode, *, meter):
    """forward in "training", in "eval", or in eval under "no_grad"; measured."""
    layer = _latent(module, sizes, weights).train(mode == "training")
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        return layer(x)


def latent_gradients(module, x, q_proj, kv_down, kv_norm, k_up, v_up, out, sizes, training):
    """forward with weights from outside, so that they may get gradients."""
    layer = module.MultiHeadLatentAttention(*sizes).train(training)
    weights = {
        "q_proj.weight": q_proj,
        "kv_down.weight": kv_down,
        "kv_norm.weight": kv_norm,
        "k_up": k_up,
        "v_up": v_up,
        "out.weight": out,
    }
    return torch.func.functional_call(layer, weights, (x,))


def latent_decode(module, sizes, weights, x, prompt, cuts):
    """For each way to cut x into chunks: decode them behind a prompt's cache; the outputs side by side, and the cache
    after each chunk.
    """
    layer = _latent(module, sizes, weights)
    told = []
    for chunks in cuts:
        outs, caches, cache = [], [], prompt
        for piece in x.split_with_sizes(chunks, 1):
            out, cache = layer.decode(piece, cache)
            outs.append(out)
            caches.append(cache)
        told.append((torch.cat(outs, 1), caches))
    return told


def latent_decode_cost(module, sizes, weights, x, cache, mode="eval", *, meter):
    """One decode in a mode of `latent_forward_cost`; measured, and what stays alive once its graph is gone."""
    layer = _latent(module, sizes, weights).train(mode == "training")
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        out, cache = layer.decode(x, cache)
    out, cache = out.detach(), cache.detach()
    meter.kept(out, cache)
    return out, cache


def paged(module, blocks, block_size, steps, k, v):
    """Do the steps; after each, what can be asked of the cache. And what lay in the pool, before and after each.

    Gathered is the sequence that the step was about, or every one where that is gone, and at the end: of the others the
    pool tells.

    A step is ("create",), ("append", name, count), ("fork", name) or ("free", name), or ("gather" | "table", name).
    What is appended are the tokens of k and v in order, no token twice. Names are 0, 1, ... in the order of creation,
    and stand for whatever ids the cache gave. The names `unknown` and `negative` are ids that no sequence has had.
    It ends early at an id that is no int, or that was never given.
    """
    cache = module.PagedKVCache(blocks, block_size, *k.shape[1:], dtype=k.dtype)
    pool_k, pool_v = cache.k, cache.v
    began = pool_k.data_ptr(), pool_v.data_ptr()
    lay = {"k": [pool_k.clone()], "v": [pool_v.clone()]}
    ids, live, seen, used = [], [], [], 0
    for step, (action, *args) in enumerate(steps, 1):
        name = args[0] if args else None
        if isinstance(name, int) and name >= len(ids):
            break
        if name == "unknown":
            seq = max(ids, default=0) + 1000
        elif name == "negative":
            seq = next(i for i in count(-1, -1) if i not in ids)
        else:
            seq = ids[name] if args else None
        refused, where = "", ""
        try:
            if action in ("create", "fork"):
                new = cache.create() if action == "create" else cache.fork(seq)
                if not isinstance(new, int):
                    seen.append({"id": f"{action} returned {new!r} ({type(new).__name__})"})
                    break
                name = len(ids)
                ids.append(new)
                live.append(name)
            elif action == "append":
                start, used = used, used + args[1]
                cache.append(seq, k[start:used], v[start:used])
            else:
                getattr(cache, action)(seq)
                if action == "free":
                    live.remove(name)
        except (ValueError, KeyError, IndexError) as error:
            refused = next(kind.__name__ for kind in (ValueError, KeyError, IndexError) if isinstance(error, kind))
            *_, (frame, line) = traceback.walk_tb(error.__traceback__)
            where = f" ({error}; line {line}, in {frame.f_code.co_name})"
        asked = [name] if name in live and step < len(steps) else live
        state = {
            "available": cache.available(),
            "tables": {name: list(cache.table(ids[name])) for name in live},
            "gathered": {one: _gathered(cache, ids[one]) for one in asked},
            "pool moved": (cache.k.data_ptr(), cache.v.data_ptr()) != began,
        }
        lay["k"].append(pool_k.clone())
        lay["v"].append(pool_v.clone())
        seen.append({"refused": refused, "where": where, **state})
    return seen, {which: torch.stack(pools) for which, pools in lay.items()}


def paged_keeps(module, k, v, *, meter):
    """Tokens, a fork, more tokens for both, and gather: what stays alive beside the pool. What both hold then."""
    cache = module.PagedKVCache(20, 4, *k.shape[1:], dtype=k.dtype)
    first, more = len(k) // 2, 3 * len(k) // 4
    with meter:
        one = cache.create()
        cache.append(one, k[:first], v[:first])
        two = cache.fork(one)
        cache.append(one, k[first:more], v[first:more])
        cache.append(two, k[more:], v[more:])
        cache.gather(one)
    meter.kept()
    return _gathered(cache, one), _gathered(cache, two)


def _gathered(cache, seq):
    k, v = cache.gather(seq)
    return k.clone(), v.clone()


def paged_gather_is_a_copy(module, block_size, k, v):
    """Gather, write into what came, append nothing, gather again."""
    cache = module.PagedKVCache(5, block_size, k.shape[1], k.shape[2], dtype=k.dtype)
    seq = cache.create()
    k, v = k.clone(), v.clone()
    cache.append(seq, k, v)
    k.zero_()
    v.zero_()
    for got in cache.gather(seq):
        got.fill_(7)
    cache.table(seq).clear()
    return cache.gather(seq)


def paged_gathers(module, block_size, *, turns):
    """What gather gives of a sequence for each turn, read when all is done."""
    cache, found = module.PagedKVCache(5, block_size, *turns[0][0].shape[1:], dtype=turns[0][0].dtype), []
    for k, v in turns:
        seq = cache.create()
        cache.append(seq, k, v)
        found.append(cache.gather(seq))
    return found
