"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import math

import torch
from torch.utils._pytree import tree_leaves


def _pieces(scores, values, sizes):
    """Scores and values cut along the keys, in memory that is overwritten when the next piece is asked for."""
    for x, v in zip(scores.split(sizes, -1), values.split(sizes, -2), strict=True):
        x, v = x.clone(), v.clone()
        yield x, v
        x.fill_(math.nan)
        v.fill_(math.nan)


def softmax_in_pieces(module, scores, values, sizes):
    """The scores and values cut into `sizes` keys, from a generator that can be read once."""
    return module.online_softmax(_pieces(scores, values, sizes))


def softmax_of_a_list(module, scores, values, sizes):
    """The same from a list, which has a length and can be read again."""
    return module.online_softmax(list(zip(scores.split(sizes, -1), values.split(sizes, -2), strict=True)))


def _leaf(x):
    return x.requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def _bare(out):
    """The same values without their graph."""
    return [x.detach() for x in out] if isinstance(out, tuple) else out.detach()


def measured(module, name, args, options, mode, *, meter):
    """One call, measured alone: "as given", under "no_grad", or with "gradients" asked for. Then its graph goes."""
    args = [_leaf(x) for x in args] if mode == "gradients" else args
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        out = getattr(module, name)(*args, **options)
    out = _bare(out)
    meter.kept(out)
    return out


def measured_backward(module, name, args, options, upstream, *, meter):
    """The gradients of sum(out * upstream); the backward pass is measured alone."""
    args = [_leaf(x) for x in args]
    total = (getattr(module, name)(*args, **options) * upstream).sum()
    with meter:
        return torch.autograd.grad(total, [x for x in args if isinstance(x, torch.Tensor) and x.requires_grad])


def softmax_keeps(module, scores, values, sizes, mode, *, meter):
    """softmax_in_pieces in one of the modes of `measured`, and what it leaves alive."""
    pieces = _pieces(scores, values, sizes)
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        out = tuple(module.online_softmax(pieces))
    del pieces
    meter.kept(out)
    return out


def with_global_tokens(module, q, k, v, window, tokens):
    return module.sliding_window_attention(q, k, v, window, causal=False, global_tokens=tokens)


def flash_forward(module, q, k, v, block_q, block_k):
    return module.flash_attention_forward(q, k, v, block_q=block_q, block_k=block_k)


def flash(module, q, k, v, causal, block_q, block_k):
    return module.FlashAttention.apply(q, k, v, causal, block_q, block_k)


def flash_both(module, q, k, v, causal, block_q, block_k):
    """The output of FlashAttention, and that of flash_attention_forward."""
    out, _ = module.flash_attention_forward(q, k, v, causal=causal, block_q=block_q, block_k=block_k)
    return module.FlashAttention.apply(q, k, v, causal, block_q, block_k), out


def flash_last_value(module, q, k, v, causal, block_q, block_k):
    """Turned and summed: the gradient that comes back has strides, of which some are 0."""
    out = module.FlashAttention.apply(q, k, v, causal, block_q, block_k)
    return out.permute(3, 2, 1, 0).sum(1)


def flash_of_frozen(module, q, k, v, causal, block_q, block_k, asks):
    """Only one of q, k and v asks for a gradient: the one of that number."""
    inputs = [x if i == asks else x.detach() for i, x in enumerate((q, k, v))]
    return module.FlashAttention.apply(*inputs, causal, block_q, block_k)


def flash_twice(module, q, k, v, causal, block_q, block_k):
    """Two calls in one graph: each backward must find what its own forward saved."""
    first = module.FlashAttention.apply(q, k, v, causal, block_q, block_k)
    second = module.FlashAttention.apply(k, q, 2 * v, not causal, block_k, block_q)
    return first, second


def _kept(out):
    """Bytes of all tensors that wait for the backward pass: saved, or attributes of ctx; each storage once."""
    node = getattr(out, "grad_fn", None)
    held = getattr(node, "saved_tensors", ()), vars(node) if hasattr(node, "__dict__") else {}
    storages = [x.untyped_storage() for x in tree_leaves(held) if isinstance(x, torch.Tensor)]
    return sum({x.data_ptr(): x.nbytes() for x in storages}.values())


def flash_forward_cost(module, q, k, v, causal, block_q, block_k, *, meter):
    """The output, and the bytes that wait for the backward pass."""
    leaves = [x.requires_grad_() for x in (q, k, v)]
    with meter:
        out = module.FlashAttention.apply(*leaves, causal, block_q, block_k)
    return out, _kept(out)


def flash_in_mode(module, q, k, v, causal, block_q, block_k, mode, *, meter):
    """As `measured`, of FlashAttention.apply."""
    q, k, v = (_leaf(x) for x in (q, k, v)) if mode == "gradients" else (q, k, v)
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        out = module.FlashAttention.apply(q, k, v, causal, block_q, block_k)
    out = _bare(out)
    meter.kept(out)
    return out


def flash_gradients(module, q, k, v, upstream, causal, block_q, block_k):
    """The gradients of sum(out * upstream), None for what has none."""
    leaves = [x.requires_grad_() for x in (q, k, v)]
    total = (module.FlashAttention.apply(*leaves, causal, block_q, block_k) * upstream).sum()
    return torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else (None, None, None)


def flash_backward_cost(module, q, k, v, upstream, causal, block_q, block_k, *, meter):
    leaves = [x.requires_grad_() for x in (q, k, v)]
    total = (module.FlashAttention.apply(*leaves, causal, block_q, block_k) * upstream).sum()
    with meter:
        grads = torch.autograd.grad(total, leaves)
    del total
    meter.kept(grads)
    return grads


def token_by_token(module, q, k, v):
    """linear_attention_step over all tokens: the outputs side by side, and the last state."""
    outs, state = [], None
    for q_i, k_i, v_i in zip(q.unbind(2), k.unbind(2), v.unbind(2), strict=True):
        out, state = module.linear_attention_step(q_i, k_i, v_i, state)
        outs.append(out)
    return torch.stack(outs, 2), tuple(state)


def step_keeps(module, q, k, v, mode, *, meter):
    """token_by_token in one of the modes of `measured`, and what all steps leave alive beside outputs and state."""
    q, k, v = (_leaf(x) for x in (q, k, v)) if mode == "gradients" else (q, k, v)
    outs, state = [], None
    tokens = list(zip(q.unbind(2), k.unbind(2), v.unbind(2), strict=True))
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        for token in tokens:
            out, state = module.linear_attention_step(*token, state)
            outs.append(out)
    outs, state = [x.detach() for x in outs], [x.detach() for x in state]
    del out, token, tokens
    meter.kept(outs, state)
    return torch.stack(outs, 2), state


def two_continuations(module, q, k, v, fork):
    """All tokens in order; then the last ones once more from the state after the first `fork`, in the reverse order."""
    outs, state, kept = [], None, None
    tokens = list(zip(q.unbind(2), k.unbind(2), v.unbind(2), strict=True))
    for i, token in enumerate(tokens):
        kept = state if i == fork else kept
        out, state = module.linear_attention_step(*token, state)
        outs.append(out)
    again = []
    for token in tokens[: fork - 1 : -1]:
        out, kept = module.linear_attention_step(*token, kept)
        again.append(out)
    return torch.stack(outs, 2), torch.stack(again, 2)
