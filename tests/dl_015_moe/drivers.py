"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch

from grader.cost import Meter
from grader.ranks import on_ranks


def top_k_gradients(module, logits, k, order):
    """The weights alone, so that a gradient can come back through them."""
    return module.top_k_router(logits, k, order)[0]


def buffers(module, x, experts, num_experts, capacity):
    """The buffers alone."""
    return module.dispatch(x, experts, num_experts, capacity)[0]


def through_buffers(module, x, weights, factors, experts, capacity):
    """Dispatch, let expert i multiply its buffer by factors[i], combine."""
    held, slots = module.dispatch(x, experts, len(factors), capacity)
    return module.combine(held * factors[:, None, None], weights, experts, slots)


def _load(layer, state):
    layer.load_state_dict(state)
    return layer


def _moe(module, sizes, state):
    return _load(module.MoELayer(*sizes).to(state["w1"].dtype), state)


def _shared(module, sizes, state):
    return _load(module.SharedExpertMoE(*sizes).to(state["w1"].dtype), state)


def moe_forward(module, sizes, state, x, *, meter):
    """MoELayer's output and logits; measured."""
    layer = _moe(module, sizes, state)
    with meter:
        return layer(x)


def in_turn(module, name, sizes, state, *, turns):
    """What one layer of that class gives in each turn, read when all is done."""
    layer = {"MoELayer": _moe, "SharedExpertMoE": _shared}[name](module, sizes, state)
    return [layer(*inputs) for inputs in turns]


def _measured(call, leaves, passes, meter):
    """What call gives, detached. passes: 0 gradients off, 1 or 3 forward with gradients on, 2 backward too."""
    for leaf in leaves:
        leaf.requires_grad_(passes == 2)  # in a first layer, that is passes = 1, the input needs none
    with meter, torch.set_grad_enabled(passes > 0):
        out = call()
        if passes == 2:
            sum(value.sum() for value in out if value.requires_grad).backward()
    return [value.detach() for value in out]


def dispatch_cost(module, x, experts, num_experts, capacity, passes, *, meter):
    """dispatch in a number of passes (see _measured)."""
    x = x.clone()
    return _measured(lambda: module.dispatch(x, experts, num_experts, capacity), [x], passes, meter)


def combine_cost(module, outputs, weights, experts, slots, passes, *, meter):
    """combine in a number of passes."""
    leaves = [outputs.clone(), weights.clone()]
    return _measured(lambda: [module.combine(*leaves, experts, slots)], leaves, passes, meter)[0]


def sparse_cost(module, x, weights, experts, w1, w2, w3, passes, *, meter):
    """sparse_experts in a number of passes; in 1 and 2 its weights and matrices need a gradient, in 3 nothing does."""
    x, *others = (tensor.clone() for tensor in (x, weights, w1, w2, w3))
    for leaf in others:
        leaf.requires_grad_(passes in (1, 2))
    weights, *matrices = others
    return _measured(lambda: [module.sparse_experts(x, weights, experts, *matrices)], [x], passes, meter)[0]


def moe_cost(module, sizes, state, x, training, passes, *, meter):
    """MoELayer's output and logits, in training or evaluation, in a number of passes."""
    layer, x = _moe(module, sizes, state).train(training), x.clone()
    return _measured(lambda: layer(x), [x], passes, meter)


def shared_cost(module, sizes, state, x, training, passes, *, meter):
    """SharedExpertMoE's, likewise."""
    layer, x = _shared(module, sizes, state).train(training), x.clone()
    return _measured(lambda: layer(x), [x], passes, meter)


def moe_output(module, x, router, w1, w2, w3, sizes, training):
    """MoELayer's output with weights from outside, so that they may get gradients."""
    state = {"router.weight": router, "w1": w1, "w2": w2, "w3": w3}
    return torch.func.functional_call(module.MoELayer(*sizes).train(training), state, (x,))[0]


def moe_logits(module, x, router, w1, w2, w3, sizes, training):
    """MoELayer's logits, through which the losses act."""
    state = {"router.weight": router, "w1": w1, "w2": w2, "w3": w3}
    return torch.func.functional_call(module.MoELayer(*sizes).train(training), state, (x,))[1]


def shared_shapes(module, sizes):
    """The shapes of SharedExpertMoE's weights."""
    return {name: list(value.shape) for name, value in module.SharedExpertMoE(*sizes).state_dict().items()}


def shared_forward(module, sizes, state, x, *, meter):
    """SharedExpertMoE's output and logits; measured."""
    layer = _shared(module, sizes, state)
    with meter:
        return layer(x)


def shared_output(module, x, router, w1, w2, w3, shared_w1, shared_w2, shared_w3, sizes, training):
    """SharedExpertMoE's output with weights from outside, so that they may get gradients."""
    state = {"router.weight": router, "w1": w1, "w2": w2, "w3": w3}
    state |= {"shared_w1": shared_w1, "shared_w2": shared_w2, "shared_w3": shared_w3}
    return torch.func.functional_call(module.SharedExpertMoE(*sizes).train(training), state, (x,))[0]


def shared_logits(module, x, router, w1, w2, w3, shared_w1, shared_w2, shared_w3, sizes, training):
    """SharedExpertMoE's logits."""
    state = {"router.weight": router, "w1": w1, "w2": w2, "w3": w3}
    state |= {"shared_w1": shared_w1, "shared_w2": shared_w2, "shared_w3": shared_w3}
    return torch.func.functional_call(module.SharedExpertMoE(*sizes).train(training), state, (x,))[1]


def sparse_for_gradients(module, x, weights, w1, w2, w3, experts):
    """The same; what gets gradients comes first."""
    return module.sparse_experts(x, weights, experts, w1, w2, w3)


def biased_weights(module, logits, bias, k, scale):
    """The weights alone."""
    return module.bias_balanced_router(logits, bias, k, scale)[0]


def balanced_loads(module, logits, k, speed, steps):
    """Route the same tokens again and again, with the bias that follows the load; the loads at the start and end."""
    bias, loads = torch.zeros(logits.shape[1], dtype=logits.dtype), []
    for _ in range(steps):
        _, experts = module.bias_balanced_router(logits, bias, k)
        loads.append(torch.bincount(experts.flatten(), minlength=len(bias)))
        bias = module.update_bias(bias, experts, speed)
    return loads[0], loads[-1]


def hash_twice(module, tokens, vocabulary, num_experts, seed):
    """Two calls with global seeds that differ, and whether torch's global random state stayed as it was."""
    answers, kept = [], True
    for start in (1, 2):
        torch.manual_seed(start)
        before = torch.get_rng_state()
        answers.append(module.hash_router(tokens, vocabulary, num_experts, seed))
        kept = kept and torch.equal(before, torch.get_rng_state())
    return answers, kept


def sinkhorn_weights(module, logits, k, iterations):
    """The weights alone."""
    return module.sinkhorn_router(logits, k, iterations)[0]


def expert_choice_weights(module, logits, capacity):
    """The weights alone."""
    return module.expert_choice_router(logits, capacity)[0]


def parallel(module, xs, weights, experts, w1, w2, w3, learns=False, seconds=5.0):
    """expert_parallel_forward on len(xs) ranks, expert weights shared out in order. learns: all need gradients.

    For each rank its output, whether that holds a graph, its FLOPs, what left torch, and the bytes that it handed to
    each collective.
    """
    p = len(xs)
    local = len(w1) // p

    def work(rank):
        mine = [w[rank * local : (rank + 1) * local].requires_grad_(learns) for w in (w1, w2, w3)]
        x, shares = (tensor[rank].detach().requires_grad_(learns) for tensor in (xs, weights))
        with Meter() as meter:
            y = module.expert_parallel_forward(x, shares, experts[rank], *mine)
        return y.detach(), y.requires_grad, meter.cost.flops, meter.cost.left, meter.cost.sent

    return on_ranks(module, p, work, seconds)
