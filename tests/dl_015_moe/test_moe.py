"""The hidden checks of dl_015_moe."""

import math

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import each_dtype, of_type
from grader.cost import Cost

from . import drivers


def softmax(logits, axis=-1):
    shifted = (logits - logits.amax(axis, keepdim=True)).exp()
    return shifted / shifted.sum(axis, keepdim=True)


def choose(scores, k):
    """The numbers of the k largest of each row, largest first. (n, e) -> (n, k)"""
    return scores.argsort(1, descending=True)[:, :k]


def distinct(draw, n, e, k):
    """Random choices, different ones in a row: (n, k)."""
    return torch.stack([draw.permutation(e)[:k] for _ in range(n)]) if n else torch.zeros(0, k, dtype=torch.int64)


def silu(x):
    return x / (1 + (-x).exp())


def dense(x, weights, experts, w1, w2, w3):
    """Every expert on every token, then the chosen ones weighed."""
    hidden = silu(torch.einsum("nd,efd->enf", x, w1)) * torch.einsum("nd,efd->enf", x, w3)
    outs = torch.einsum("enf,edf->ned", hidden, w2)
    gate = x.new_zeros(len(x), len(w1)).scatter(1, experts, weights)
    return torch.einsum("ne,ned->nd", gate, outs)


def matrices(draw, e, d, f, dtype=torch.float64):
    """w1, w2, w3 of e experts."""
    return tuple(draw.normal(*shape, dtype=dtype, scale=0.5) for shape in ((e, f, d), (e, d, f), (e, f, d)))


PASSES = ("with gradients off", "forward with gradients on", "forward and backward")  # as drivers number them
ANOTHER = "forward with gradients on where nothing requires one"


def gradients(out, upstream, leaves):
    return list(torch.autograd.grad((out * upstream).sum(), leaves, allow_unused=True))


def leaves_of(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


# ------------------------------------------------------------------------------------------------------ top_k_router


@part("top_k_router")
def test_worked_example(attempt):
    """Logits of 1, 4, 2, 3 as odds, k = 2: weights 4/7 and 3/7, or 4/10 and 3/10, for experts 1 and 3."""
    logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]], dtype=torch.float64).log()
    number = torch.tensor([[1, 3]])
    for args, want in (
        (("topk_first",), [4 / 7, 3 / 7]),
        (("softmax_first",), [0.4, 0.3]),
        ((), [4 / 7, 3 / 7]),
    ):
        got = attempt.top_k_router(logits, 2, *args)
        of = f"top_k_router of log(1, 4, 2, 3), k=2{', ' + args[0] if args else ', order left out'}"
        agree(got, (torch.tensor([want], dtype=torch.float64), number), axes="n k", of=of)


@part("top_k_router")
@each_dtype
@pytest.mark.parametrize("order", ["topk_first", "softmax_first"])
def test_chosen_and_weighed(attempt, draw, dtype, order):
    """For every k, the largest logits are chosen, largest first, and weighed in the order asked for."""
    n, e = 11, 5
    logits, many = (draw.normal(n, width, dtype=of_type(dtype), scale=2) for width in (e, 31))
    for logits, k in [*((logits, k) for k in range(1, e + 1)), (many, 13)]:
        e = logits.shape[1]
        experts = choose(logits, k)
        every = softmax(logits).gather(1, experts)
        renormalised = every / every.sum(1, keepdim=True)
        raw = logits.gather(1, experts)
        known = {
            "the other order": every if order == "topk_first" else renormalised,
            "a second softmax over the chosen probabilities": softmax(every),
            "the raw logits": raw,
            "a sigmoid of each logit": raw.sigmoid(),
            "a softmax over the tokens": lambda x=experts, logits=logits: softmax(logits, 0).gather(1, x),
        }
        weights, got = attempt.top_k_router(logits, k, order=order)
        of = f"{order}, n={n} e={e} k={k}"
        agree(got, experts, axes="n k", of=f"experts, {of}")
        want = renormalised if order == "topk_first" else every
        agree(weights, want, axes="n k", of=f"weights, {of}", known=known)


@part("top_k_router")
def test_logits_of_any_size_and_layout(attempt, draw):
    """Huge logits give finite weights; scattered ones, and none at all, are fine."""
    logits = torch.tensor([[700.0, -700.0, 699.0], [-900.0, -901.0, -903.0], [3e4, 0.0, -3e4]])
    experts = choose(logits, 2)
    for order, want in (
        ("topk_first", softmax(logits.gather(1, experts))),
        ("softmax_first", softmax(logits).gather(1, experts)),
    ):
        agree(attempt.top_k_router(logits, 2, order), (want, experts), axes="n k", of=f"{order}, logits of ±30,000")
        empty = (torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64))
        agree(attempt.top_k_router(logits[:0], 2, order), empty, axes="n k", of=f"{order} of no token")
    logits = draw.normal(5, 7).T
    experts = choose(logits, 3)
    want = softmax(logits.gather(1, experts)), experts
    agree(attempt.top_k_router(logits, 3), want, axes="n k", of="topk_first of transposed logits, n=7 e=5 k=3")


@part("top_k_router")
@pytest.mark.parametrize("order", ["topk_first", "softmax_first"])
def test_router_learns(attempt, draw, order):
    """The gradient of the weights reaches the logits: of the chosen alone, or of all through the softmax."""
    logits, upstream = draw.normal(7, 5), draw.normal(7, 3)
    (leaf,) = leaves_of(logits)
    experts = choose(logits, 3)
    out = softmax(leaf.gather(1, experts)) if order == "topk_first" else softmax(leaf).gather(1, experts)
    (want,) = gradients(out, upstream, [leaf])
    got, grads = attempt.gradients(drivers.top_k_gradients, logits, 3, order, upstream=upstream)
    agree(got, out.detach(), axes="n k", of=f"weights, {order}, n=7 e=5 k=3")
    agree(grads[0], want, axes="n e", of=f"gradient of the logits, {order}, n=7 e=5 k=3")


@part("top_k_router")
def test_impossible_choices_are_refused(attempt, draw):
    """k outside 1 .. e and an unknown order raise ValueError."""
    logits = draw.normal(3, 5)
    for k in (0, -1, 6):
        for order in ("topk_first", "softmax_first"):
            with refusal(ValueError, of=f"{k} of 5 experts, {order}"):
                attempt.top_k_router(logits, k, order)
    for order in ("topk", "", "sigmoid", "z", "TOPK_FIRST"):
        with refusal(ValueError, of=f"order {order!r}"):
            attempt.top_k_router(logits, 2, order)


@part("top_k_router")
def test_other_logits_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 5), 2) for _ in range(2)]
    hold_again(attempt, reference, "top_k_router", *asked, of="top_k_router of (7, 5), k=2", views=False)


# ----------------------------------------------------------------------------------------------- load_balancing_loss


def balancing(logits, experts, *, per=None, e=None):
    """e · sum of f · P; `per` is what the counts are divided by."""
    size = logits.shape[1]
    counts = torch.stack([(experts == i).sum() for i in range(size)]).to(logits.dtype)
    mean = softmax(logits).mean(0)
    return (size if e is None else e) * (counts / (per or experts.numel()) * mean).sum()


@part("load_balancing_loss")
def test_even_load_gives_one(attempt):
    """With even choices and even probabilities the loss is 1, for any e and k; with one expert for all it is e."""
    for e, k in ((3, 1), (5, 2), (7, 7)):
        experts = (torch.arange(e)[:, None] + torch.arange(k)) % e
        got = attempt.load_balancing_loss(torch.zeros(e, e), experts)
        known = {"fractions that sum to k": float(k), "no factor e": 1 / e}
        agree(got, torch.tensor(1.0), of=f"load_balancing_loss of an even load, e={e} k={k}", known=known)
    sure = torch.tensor([[0.0, 900.0, 0.0, 0.0, 0.0]]).expand(3, 5)
    got = attempt.load_balancing_loss(sure, torch.ones(3, 1, dtype=torch.int64))
    agree(got, torch.tensor(5.0), of="load_balancing_loss where all tokens surely take expert 1 of 5")


@part("load_balancing_loss")
@each_dtype
def test_balancing_loss_of_random_choices(attempt, draw, dtype):
    """f are shares of all n·k choices, P the mean softmax; both for all e experts, chosen or not."""
    dtype = of_type(dtype)
    for n, e, k in ((13, 5, 1), (11, 7, 3), (2, 6, 2), (1, 4, 1)):
        logits, experts = draw.normal(n, e, dtype=dtype, scale=2), distinct(draw, n, e, k)
        known = {
            "fractions that sum to k (choices divided by n)": lambda a=logits, b=experts, n=n: balancing(a, b, per=n),
            "no factor e": lambda a=logits, b=experts: balancing(a, b, e=1),
            "P taken for f as well": lambda a=logits, e=e: e * softmax(a).mean(0).square().sum(),
            "first choices alone": lambda a=logits, b=experts: balancing(a, b[:, :1]),
        }
        of = f"load_balancing_loss, n={n} e={e} k={k}"
        agree(attempt.load_balancing_loss(logits, experts), balancing(logits, experts), of=of, known=known)


@part("load_balancing_loss")
def test_z_loss_is_the_mean_squared_logsumexp(attempt, draw):
    """The z-loss squares each token's log of the sum of exponentials, then takes the mean; large logits stay finite."""
    logits = draw.normal(7, 5, scale=2)
    total = logits.exp().sum(1).log()
    known = {
        "the square of the mean": total.mean() ** 2,
        "the sum over tokens": total.square().sum(),
        "no square": total.mean(),
        "the mean of squared logits": logits.square().mean(),
    }
    agree(attempt.router_z_loss(logits), total.square().mean(), of="router_z_loss, n=7 e=5", known=known)
    agree(attempt.router_z_loss(logits[:1]), total[0].square(), of="router_z_loss of one token, e=5")
    logits = torch.tensor([[800.0, -800.0, 0.0], [-500.0, -500.0, -600.0]])
    want = torch.tensor((800.0**2 + (math.log(2) - 500) ** 2) / 2)
    agree(attempt.router_z_loss(logits), want, of="router_z_loss of logits of ±800 in float32")


@part("load_balancing_loss")
@each_dtype
def test_padding_does_not_count(attempt, draw, dtype):
    """Masked tokens change neither loss, be their logits NaN; where none counts the loss is 0."""
    n, e, k = 11, 5, 2
    dtype = of_type(dtype)
    logits, experts = draw.normal(n, e, dtype=dtype), distinct(draw, n, e, k)
    mask = torch.ones(n, dtype=torch.bool)
    mask[draw.permutation(n)[:4]] = False
    want = balancing(logits[mask], experts[mask]), (logits[mask].exp().sum(1).log() ** 2).mean()
    for filler in (7.0, math.nan):
        padded = torch.where(mask[:, None], logits, filler)
        got = attempt.load_balancing_loss(padded, experts, mask), attempt.router_z_loss(padded, mask)
        of = f"both losses, 7 of 11 tokens count, the logits of the others {filler}"
        agree(got, want, of=of, known={"the losses of all tokens": lambda: (balancing(logits, experts), want[1])})
    zero = torch.zeros((), dtype=dtype)
    none = torch.zeros(n, dtype=torch.bool)
    for given in (logits, logits * math.nan):
        got = attempt.load_balancing_loss(given, experts, none), attempt.router_z_loss(given, none)
        agree(got, (zero, zero), of=f"both losses where no token counts, logits like {float(given[0, 0]):.3g}")
    got = attempt.load_balancing_loss(logits[:0], experts[:0]), attempt.router_z_loss(logits[:0])
    agree(got, (zero, zero), of="both losses of no token at all")


@part("load_balancing_loss")
def test_losses_push_the_logits(attempt, draw):
    """P carries the balancing loss to the logits (counts have no gradient), the z-loss goes directly; padding: 0."""
    logits, experts = draw.normal(7, 5), distinct(draw, 7, 5, 2)
    mask = torch.tensor([True, True, False, True, True, False, True])
    (leaf,) = leaves_of(logits)
    one = torch.ones((), dtype=torch.float64)
    padded = torch.where(mask[:, None], logits, math.nan)
    for given, held, how in (((), logits, ""), ((mask,), logits, " with a mask"), ((mask,), padded, ", padding NaN")):
        kept = mask if given else torch.ones(7, dtype=torch.bool)
        loss = balancing(leaf[kept], experts[kept])
        (want,) = torch.autograd.grad(loss, leaf)
        got, grads = attempt.gradients("load_balancing_loss", held, experts, *given, upstream=one)
        agree(got, loss.detach(), of=f"load_balancing_loss{how}")
        agree(grads[0], want, axes="n e", of=f"gradient of load_balancing_loss{how}")
        loss = (leaf[kept].exp().sum(1).log() ** 2).mean()
        (want,) = torch.autograd.grad(loss, leaf)
        got, grads = attempt.gradients("router_z_loss", held, *given, upstream=one)
        agree(got, loss.detach(), of=f"router_z_loss{how}")
        agree(grads[0], want, axes="n e", of=f"gradient of router_z_loss{how}")


@part("load_balancing_loss")
def test_losses_of_other_logits_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 5), distinct(draw, 7, 5, 2)) for _ in range(2)]
    hold_again(attempt, reference, "load_balancing_loss", *asked, of="load_balancing_loss of (7, 5), k=2", views=False)
    asked = [(draw.normal(7, 5),) for _ in range(2)]
    hold_again(attempt, reference, "router_z_loss", *asked, of="router_z_loss of (7, 5)", views=False)


# ---------------------------------------------------------------------------------------------------------- dispatch


def places(experts, e, capacity, *, by_token=False):
    """Slots, by a loop over the choices in the order in which they may take places."""
    n, k = experts.shape
    order = [(t, j) for j in range(k) for t in range(n)]
    if by_token:
        order.sort()
    filled, slots = [0] * e, torch.full((n, k), -1)
    for t, j in order:
        i = int(experts[t, j])
        if filled[i] < capacity:
            slots[t, j] = filled[i]
            filled[i] += 1
    return slots


def buffered(x, experts, slots, e, capacity):
    """The buffers that belong to slots."""
    held = x.new_zeros(e, capacity, x.shape[1])
    for t in range(len(x)):
        for i, slot in zip(experts[t].tolist(), slots[t].tolist(), strict=True):
            if slot >= 0:
                held[i, slot] = x[t]
    return held


def gathered(outputs, weights, experts, slots):
    """What combine should give."""
    y = [outputs.new_zeros(outputs.shape[2]) for _ in slots]
    for t in range(len(y)):
        for w, i, slot in zip(weights[t], experts[t].tolist(), slots[t].tolist(), strict=True):
            if slot >= 0:
                y[t] = y[t] + w * outputs[i, slot]
    return torch.stack(y) if y else outputs.new_zeros(0, outputs.shape[2])


@part("dispatch")
def test_capacity_is_rounded_up(attempt):
    """The capacity is the even share times the factor, rounded up: 2.5 is 3, 4 is 4."""
    cases = [
        ((8, 4, 1, 1.25), 3),
        ((8, 4, 2, 1.0), 4),
        ((9, 4, 1, 1.0), 3),
        ((10, 4, 3, 0.5), 4),
        ((7, 8, 1, 1.0), 1),
        ((0, 8, 2, 1.25), 0),
        ((1024, 64, 6, 1.5), 144),
        ((1025, 64, 6, 1.5), 145),
        ((100, 16, 2, 2.0), 25),
        ((7, 2, 2, 1.5), 11),
    ]
    for args, want in cases:
        tokens, e, k, factor = args
        share = tokens * k * factor / e
        known = {"rounding down": int(share), "no k": math.ceil(share / k), "a minimum of 4": max(4, want)}
        known["a place for each token at most"] = min(tokens, want)
        known = {name: wrong for name, wrong in known.items() if wrong != want}
        of = f"expert_capacity(tokens={tokens}, num_experts={e}, k={k}, factor={factor})"
        agree(attempt.expert_capacity(*args), want, of=of, known=known)
    for factor in (0, 0.0, -1.25):
        with refusal(ValueError, of=f"a capacity factor of {factor}"):
            attempt.expert_capacity(8, 4, 1, factor)


def check_dispatch(attempt, x, experts, e, capacity, of):
    slots = places(experts, e, capacity)
    got_buffers, got_slots = attempt.dispatch(x, experts, e, capacity)
    known = {
        "token by token, both choices at once": places(experts, e, capacity, by_token=True),
        "the last token first": places(experts.flip(0), e, capacity).flip(0),
    }
    known = {name: wrong for name, wrong in known.items() if not wrong.equal(slots)}
    agree(got_slots, slots, axes="n k", of=f"slots, {of}", known=known)
    agree(got_buffers, buffered(x, experts, slots, e, capacity), axes="e c d", of=f"buffers, {of}")


@part("dispatch")
def test_each_choice_has_its_place(attempt, draw):
    """Where there is room, each expert's buffer holds its tokens in order, and zeros behind them."""
    for n, e, k in ((5, 3, 1), (7, 4, 2), (6, 5, 3)):
        check_dispatch(attempt, draw.normal(n, 2), distinct(draw, n, e, k), e, n, f"n={n} e={e} k={k} c={n}")


@part("dispatch")
def test_first_choices_go_first(attempt, draw):
    """A full expert drops second choices before first ones, and late tokens before early ones, at every capacity."""
    x = draw.normal(3, 2)
    for a in ([0, 1], [1, 0]):
        for b in ([0, 1], [1, 0], [0, 2]):
            for c in ([1, 0], [0, 1]):
                of = f"three tokens that want {a}, {b}, {c}, one place each"
                check_dispatch(attempt, x, torch.tensor([a, b, c]), 3, 1, of)
    for n, e, k in ((13, 3, 1), (11, 4, 2), (5, 7, 6), (7, 5, 4)):
        x, experts = draw.normal(n, 2), distinct(draw, n, e, k)
        for capacity in range(n + 1):
            check_dispatch(attempt, x, experts, e, capacity, f"n={n} e={e} k={k} c={capacity}")
    x[-1], experts = math.inf, torch.arange(7)[:, None] % 6  # only the last token is dropped
    check_dispatch(attempt, x, experts, 6, 1, "7 tokens, 6 experts, one place each, Inf in the token that is dropped")


@part("dispatch")
@each_dtype
def test_combine_weighs_what_comes_back(attempt, draw, dtype):
    """y is the weighed sum over the choices that were kept; a token dropped everywhere gets zeros; NaN stays unseen."""
    dtype = of_type(dtype)
    for n, e, k, capacity in ((11, 4, 2, 3), (13, 3, 1, 2), (7, 5, 3, 7), (5, 3, 2, 0)):
        experts = distinct(draw, n, e, k)
        if capacity == 3:
            experts[:4], experts[-1] = torch.tensor([2, 0]), torch.tensor([2, 0])  # the last token is dropped by both
        slots = places(experts, e, capacity)
        weights = draw.uniform(n, k, low=0.1, dtype=dtype)
        outputs = torch.full((e, capacity, 5), math.nan, dtype=dtype)
        for i, slot in zip(experts.flatten().tolist(), slots.flatten().tolist(), strict=True):
            if slot >= 0:
                outputs[i, slot] = draw.normal(5, dtype=dtype)
        want = gathered(outputs, weights, experts, slots)
        kept = (slots >= 0).to(dtype)
        share = weights * kept / (weights * kept).sum(1, keepdim=True).clamp(min=1e-9)
        known = {
            "weights renormalised over the kept choices": gathered(outputs, share, experts, slots),
            "no weights": gathered(outputs, torch.ones_like(weights), experts, slots),
        }
        of = f"combine, n={n} e={e} k={k} c={capacity}, NaN in places that no token holds"
        agree(attempt.combine(outputs, weights, experts, slots), want, axes="n d", of=of, known=known)


@part("dispatch")
@each_dtype
def test_combine_hides_nothing_that_is_held(attempt, draw, dtype):
    """In a place that a token holds NaN and Inf stay what they are, also times a weight of 0, and reach that token."""
    outputs, experts = draw.normal(3, 2, 5, dtype=of_type(dtype)), torch.tensor([[0, 1], [1, 2], [2, 0], [0, 1]])
    slots, weights = places(experts, 3, 2), draw.uniform(4, 2, low=0.1, dtype=of_type(dtype))
    weights[0, 0] = weights[2, 0] = 0
    outputs[0, 0, 1], outputs[0, 1, 2], outputs[1, 1, 3], outputs[2, 1, 0] = math.nan, math.inf, math.nan, math.inf
    known = {"NaN and Inf taken for 0": gathered(outputs.nan_to_num(0.0, 0.0, 0.0), weights, experts, slots)}
    got, of = attempt.combine(outputs, weights, experts, slots), "combine, NaN and Inf in places that tokens hold"
    agree(got, gathered(outputs, weights, experts, slots), axes="n d", of=of, known=known)


@part("dispatch")
def test_there_and_back(attempt, draw):
    """Dispatch then combine: each token comes back times the weights and factors of the experts that had room."""
    n, e, k, d = 13, 5, 2, 3
    x, weights, factors = draw.normal(n, d), draw.uniform(n, k, low=0.1), draw.uniform(e, low=1.0, high=3.0)
    experts = distinct(draw, n, e, k)
    for capacity in (2, 4, 13):
        kept = (places(experts, e, capacity) >= 0).to(x.dtype)
        want = x * (weights * kept * factors[experts]).sum(1, keepdim=True)
        got = attempt.run(drivers.through_buffers, x, weights, factors, experts, capacity)
        agree(got, want, axes="n d", of=f"dispatch, times a factor for each expert, combine; capacity {capacity}")


@part("dispatch")
def test_strided_and_empty_tokens(attempt, draw):
    """Transposed tokens, choices and outputs are read right; no token gives empty buffers and no rows."""
    x, experts = draw.normal(3, 7).T, distinct(draw, 7, 5, 2).T.contiguous().T
    check_dispatch(attempt, x, experts, 5, 2, "transposed x and experts, n=7 e=5 k=2 c=2")
    slots = places(experts, 5, 2).T.contiguous().T
    outputs, weights = draw.normal(3, 2, 5).permute(2, 1, 0), draw.uniform(2, 7).T
    want = gathered(outputs, weights, experts, slots)
    agree(attempt.combine(outputs, weights, experts, slots), want, axes="n d", of="combine of transposed tensors")
    none = torch.zeros(0, 2, dtype=torch.int64)
    want = torch.zeros(5, 4, 3, dtype=x.dtype), none
    agree(attempt.dispatch(x[:0], none, 5, 4), want, of="dispatch of no token, e=5 c=4")
    got = attempt.combine(want[0], torch.zeros(0, 2, dtype=x.dtype), none, none)
    agree(got, torch.zeros(0, 3, dtype=x.dtype), axes="n d", of="combine of no token")
    got = attempt.dispatch(x.float(), experts, 5, 2)[0]
    agree(got.dtype, torch.float32, of="dtype of the buffers of float32 tokens")


@part("dispatch")
def test_gradients_there_and_back(attempt, draw):
    """Gradients reach x through dispatch, outputs and weights through combine; they are 0 where nothing was kept."""
    n, e, k, capacity, d = 7, 3, 2, 3, 4
    x, experts, upstream = draw.normal(n, d), distinct(draw, n, e, k), draw.normal(e, capacity, d)
    slots = places(experts, e, capacity)
    want = torch.zeros(n, d, dtype=x.dtype)
    for t in range(n):
        for i, slot in zip(experts[t].tolist(), slots[t].tolist(), strict=True):
            if slot >= 0:
                want[t] += upstream[i, slot]
    got, grads = attempt.gradients(drivers.buffers, x, experts, e, capacity, upstream=upstream)
    agree(got, buffered(x, experts, slots, e, capacity), axes="e c d", of="buffers, n=7 e=3 k=2 c=3")
    agree(grads[0], want, axes="n d", of="gradient of x through dispatch, n=7 e=3 k=2 c=3")
    outputs, weights, upstream = draw.normal(e, capacity, d), draw.uniform(n, k), draw.normal(n, d)
    leaves = leaves_of(outputs, weights)
    y = gathered(*leaves, experts, slots)
    wants = gradients(y, upstream, leaves)
    got, grads = attempt.gradients("combine", outputs, weights, experts, slots, upstream=upstream)
    agree(got, y.detach(), axes="n d", of="combine, n=7 e=3 k=2 c=3")
    agree(grads[:2], wants, of="gradients of outputs (e c d) and weights (n k) through combine, n=7 e=3 k=2 c=3")
    poisoned = outputs.clone()
    poisoned[places_left(experts, slots, e, capacity)] = math.nan
    got, grads = attempt.gradients("combine", poisoned, weights, experts, slots, upstream=upstream)
    agree(got, y.detach(), axes="n d", of="combine with NaN in places that no token holds")
    agree(grads[:2], wants, of="gradients of combine with NaN in places that no token holds")


def places_left(experts, slots, e, capacity):
    """(e, c) bool: the places that no token holds."""
    left = torch.ones(e, capacity, dtype=torch.bool)
    for i, slot in zip(experts.flatten().tolist(), slots.flatten().tolist(), strict=True):
        if slot >= 0:
            left[i, slot] = False
    return left


@part("dispatch")
@pytest.mark.parametrize("sizes", [(211, 16, 2, 3, 40), (709, 7, 3, 5, 230)], ids=["211 tokens", "709 tokens"])
def test_rows_are_moved_not_multiplied(attempt, draw, sizes):
    """Neither way multiplies by one-hot matrices, with gradients or without: 0 matrix FLOPs, no n·e·c or n·n tensor."""
    n, e, k, d, capacity = sizes
    x, experts, weights = draw.normal(n, d), distinct(draw, n, e, k), draw.uniform(n, k)
    slots, outputs = places(experts, e, capacity), draw.normal(e, capacity, d)
    known = {"a product with a one-hot (n, e, c)": 2 * n * e * capacity * d}
    held, y = buffered(x, experts, slots, e, capacity), gathered(outputs, weights, experts, slots)
    masks = {"a mask (n, e, c)": n * e * capacity, "a mask (n, k, e, c)": n * k * e * capacity}
    masks |= {"a comparison (n, n)": n * n, "a comparison (n·k, n·k)": (n * k) ** 2}
    ways = (
        ("dispatch", drivers.dispatch_cost, (x, experts, e, capacity), [held, slots]),
        ("combine", drivers.combine_cost, (outputs, weights, experts, slots), y),
    )
    for name, driver, args, want in ways:
        for passes, how in enumerate(PASSES):
            got, cost = attempt.cost(driver, *args, passes)
            of = f"{name} {how}, n={n} e={e} k={k} c={capacity} d={d}"
            agree(got, want, of=of)
            in_torch(cost, of=of, values=n * k + 64)
            at_most(cost.flops, 0, of=f"matrix FLOPs of {of}", known=known)
            most = min(n * e * capacity, n * n) // 2
            at_most(cost.largest, most, of=f"largest tensor of {of}, in elements", known=masks)


@part("dispatch")
def test_other_tokens_of_that_size_are_moved(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 5), distinct(draw, 7, 4, 2), 4, 3) for _ in range(2)]
    hold_again(attempt, reference, "dispatch", *asked, of="dispatch of x (7, 5), e=4 k=2", views=False)
    slots = [places(experts, 4, 3) for _, experts, _, _ in asked]
    back = [(draw.normal(4, 3, 5), draw.uniform(7, 2), one[1], slot) for one, slot in zip(asked, slots, strict=True)]
    hold_again(attempt, reference, "combine", *back, of="combine of outputs (4, 3, 5), n=7 k=2", views=False)


# ---------------------------------------------------------------------------------------------------------- MoELayer


@part("MoELayer")
@each_dtype
def test_sparse_sum_is_the_dense_one(attempt, draw, dtype):
    """Every token gets the weighed sum of its experts' outputs, for any k, whether or not weights sum to 1."""
    dtype = of_type(dtype)
    d, f = 3, 7
    for n, e, k in ((5, 4, 1), (11, 5, 2), (6, 3, 3), (2, 8, 2)):
        x, weights, experts = draw.normal(n, d, dtype=dtype), draw.normal(n, k, dtype=dtype), distinct(draw, n, e, k)
        ws = matrices(draw, e, d, f, dtype)
        known = {
            "no weights": dense(x, torch.ones_like(weights), experts, *ws),
            "first choices alone": dense(x, weights[:, :1], experts[:, :1], *ws),
            "w1 and w3 swapped": dense(x, weights, experts, ws[2], ws[1], ws[0]),
        }
        got = attempt.sparse_experts(x, weights, experts, *ws)
        of = f"sparse_experts, n={n} e={e} k={k} d={d} f={f}"
        agree(got, dense(x, weights, experts, *ws), axes="n d", of=of, known=known)


@part("MoELayer")
def test_experts_nobody_chose_and_no_token(attempt, draw):
    """Experts without a token are no trouble, nor are scattered tensors, nor a batch without tokens."""
    n, e, k, d, f = 7, 6, 2, 3, 5
    ws = matrices(draw, e, d, f)
    x, weights = draw.normal(d, n).T, draw.normal(k, n).T
    experts = torch.stack([torch.tensor([4, 1])[draw.permutation(2)] for _ in range(n)])
    got = attempt.sparse_experts(x, weights, experts, *ws)
    agree(got, dense(x, weights, experts, *ws), axes="n d", of="sparse_experts where all choose experts 1 and 4 of 6")
    got = attempt.sparse_experts(x[:0], weights[:0], experts[:0], *ws)
    agree(got, x[:0], axes="n d", of="sparse_experts of no token")


@part("MoELayer")
def test_gradients_reach_everything(attempt, draw):
    """Gradients reach x, the weights and the matrices of every chosen expert."""
    n, e, k, d, f = 7, 4, 2, 3, 5
    args = draw.normal(n, d), draw.normal(n, k), *matrices(draw, e, d, f)
    experts, upstream = distinct(draw, n, e, k), draw.normal(n, d)
    leaves = leaves_of(*args)
    y = dense(leaves[0], leaves[1], experts, *leaves[2:])
    want = gradients(y, upstream, leaves)
    got, grads = attempt.gradients(drivers.sparse_for_gradients, *args, experts, upstream=upstream)
    agree(got, y.detach(), axes="n d", of="sparse_experts, n=7 e=4 k=2")
    agree(grads[:5], want, of="gradients of x, weights, w1, w2, w3 through sparse_experts, n=7 e=4 k=2")


@part("MoELayer")
@pytest.mark.parametrize("passes", [0, 1, 2, 3], ids=[*PASSES, ANOTHER])
def test_only_routed_experts_compute(attempt, draw, passes):
    """However many experts and however uneven: nobody is dropped, 6·n·k·d·f FLOPs, no expert's weights are copied."""
    d, f = 23, 19
    for n, k, e, dtype in (
        (17, 1, 29, torch.float64),
        (17, 2, 29, torch.float64),
        (2, 1, 29, torch.float64),
        (1, 2, 29, torch.float64),
        (83, 3, 71, torch.float64),
        (13, 1, 4, torch.float32),
    ):
        ws = matrices(draw, e, d, f, dtype)
        x = draw.normal(n, d, dtype=dtype) if n > 17 else draw.normal(d, n, dtype=dtype).T
        even, one = distinct(draw, n, e, k), torch.arange(k).expand(n, k)
        for experts, kind in ((even, "random choices"), (one, "all tokens at the same experts")):
            weights = draw.normal(n, k, dtype=dtype)
            value, cost = attempt.cost(drivers.sparse_cost, x, weights, experts, *ws, passes)
            known = {"all experts on all tokens": 6 * n * e * d * f, "buffers of n rows": 6 * n * e * d * f}
            of = f"sparse_experts {(*PASSES, ANOTHER)[passes]}, {kind}, n={n} e={e} k={k} d={d} f={f}"
            agree(value, dense(x, weights, experts, *ws), axes="n d", of=of)
            in_torch(cost, of=of, values=n * k + 2 * e + 64)
            limit = sparse_flops(n, k, d, f, passes)
            at_most(cost.flops, limit, of=f"FLOPs of {of}", known=known if passes != 2 else None)
            copies = {"w1 copied for each pair": n * k * d * f, "all of w1": e * d * f, "one expert's w1": d * f}
            most = max(2 * n * k * (d + f), e * d * f if passes == 2 else 0)
            at_most(cost.largest, most, of=f"largest tensor of {of}, in elements", known=copies)


def sparse_flops(n, k, d, f, passes):
    """What sparse_experts may cost; 4 times that with the backward pass."""
    return (4 if passes == 2 else 1) * (6 * n * k * d * f + 2 * n * k * d)


def check_layer_cost(attempt, driver, sizes, state, x, want, k, of):
    """The FLOPs of a layer of experts, of which k serve each token, in all modes and passes."""
    (n, d), (e, f) = x.shape, state["w1"].shape[:2]
    known = {"all experts on all tokens": 2 * n * d * e + 6 * n * e * d * f}
    for training in (True, False):
        for passes, how in enumerate(PASSES):
            value, cost = attempt.cost(driver, sizes, state, x, training, passes)
            which = f"{of}, {how}, in {'training' if training else 'evaluation'}"
            agree(value[0], want, axes="n d", of=f"y of {which}")
            in_torch(cost, of=which, values=n * k + 2 * e + 64)
            limit = (3 if passes == 2 else 1) * 2 * n * d * e + sparse_flops(n, k, d, f, passes)
            at_most(cost.flops, limit, of=f"FLOPs of {which}", known=known if passes < 2 else None)
            most = max(2 * n * k * (d + f), n * e, e * d * f if passes == 2 else 0)
            at_most(cost.largest, most, of=f"largest tensor of {which}, in elements")


def moe_state(draw, e, d, f, dtype=torch.float64):
    w1, w2, w3 = matrices(draw, e, d, f, dtype)
    return {"router.weight": draw.normal(e, d, dtype=dtype), "w1": w1, "w2": w2, "w3": w3}


def moe_by_hand(x, state, k, *, renormalise=True):
    """Mixtral's layer on rows."""
    logits = x @ state["router.weight"].T
    experts = choose(logits, k)
    weights = softmax(logits.gather(1, experts)) if renormalise else softmax(logits).gather(1, experts)
    return dense(x, weights, experts, state["w1"], state["w2"], state["w3"]), logits


@part("MoELayer")
@each_dtype
def test_layer_is_mixtrals(attempt, draw, dtype):
    """The layer routes with top-k first, mixes the chosen experts, and hands out the logits of all tokens in order."""
    dtype = of_type(dtype)
    e, d, f = 5, 3, 7
    state = moe_state(draw, e, d, f, dtype)
    for shape, k in (((4, 6, d), 2), ((11, d), 1), ((2, 1, 3, d), 3), ((0, 4, d), 2)):
        x = draw.normal(*shape, dtype=dtype)
        rows = x.flatten(0, -2)
        want, logits = moe_by_hand(rows, state, k)
        of = f"MoELayer, x of {shape}, e={e} k={k} f={f}"
        known = {
            "softmax over all experts first": lambda r=rows, k=k, s=shape: moe_by_hand(r, state, k, renormalise=False)[
                0
            ].view(s)
        }
        got, got_logits = attempt.run(drivers.moe_forward, (d, f, e, k), state, x)
        agree(got, want.view(shape), of=f"y of {of}", known=known)
        agree(got_logits, logits, axes="n e", of=f"logits of {of}")
    x = draw.normal(d, 6, 4, dtype=dtype).permute(2, 1, 0)
    want, logits = moe_by_hand(x.flatten(0, -2), state, 2)
    got = attempt.run(drivers.moe_forward, (d, f, e, 2), state, x)
    agree(got, (want.view(4, 6, d), logits), of="y and logits of MoELayer, transposed x, e=5 k=2")


@part("MoELayer")
def test_layer_costs_its_router_and_its_k_experts(attempt, draw):
    """Router and k experts for each token: that is what the layer costs, in training and evaluation."""
    d, f, k = 23, 19, 2
    for n, e in ((17, 29), (61, 43)):
        x, state = draw.normal(n, d), moe_state(draw, e, d, f)
        want, _ = moe_by_hand(x, state, k)
        of = f"MoELayer, n={n} e={e} k={k} d={d} f={f}"
        check_layer_cost(attempt, drivers.moe_cost, (d, f, e, k), state, x, want, k, of)


@part("MoELayer")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_layer_learns_its_router(attempt, draw, training):
    """Gradients reach x, the router (through the weights, and through the logits) and the experts."""
    e, d, f, k = 4, 3, 5, 2
    x, state = draw.normal(2, 3, d), moe_state(draw, e, d, f)
    args, names = (x, *state.values()), ("router.weight", "w1", "w2", "w3")
    leaves = leaves_of(*args)
    y, _ = moe_by_hand(leaves[0].flatten(0, 1), dict(zip(names, leaves[1:], strict=True)), k)
    up, up_logits = draw.normal(2, 3, d), draw.normal(6, e)
    want = gradients(y, up.flatten(0, 1), leaves)
    got, grads = attempt.gradients(drivers.moe_output, *args, (d, f, e, k), training, upstream=up)
    agree(got, y.detach().view(2, 3, d), of="y of MoELayer, x of (2, 3, 3), e=4 k=2")
    agree(grads[:5], want, of="gradients of x, router, w1, w2, w3 through y of MoELayer, x of (2, 3, 3), e=4 k=2")
    logits = leaves[0].flatten(0, 1) @ leaves[1].T
    want = gradients(logits, up_logits, leaves[:2])
    got, grads = attempt.gradients(drivers.moe_logits, *args, (d, f, e, k), training, upstream=up_logits)
    agree(got, logits.detach(), axes="n e", of="logits of MoELayer, x of (2, 3, 3), e=4")
    agree(grads[:2], want, of="gradients of x and the router through the logits of MoELayer")


@part("MoELayer")
def test_other_tokens_of_that_size_go_to_their_experts(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 3), draw.uniform(7, 2), distinct(draw, 7, 5, 2), *matrices(draw, 5, 3, 4)) for _ in "12"]
    hold_again(attempt, reference, "sparse_experts", *asked, of="sparse_experts of x (7, 3), e=5 k=2", views=False)
    turns = (draw.normal(11, 3),), (draw.normal(11, 3),)
    given = "MoELayer", (3, 7, 5, 2), moe_state(draw, 5, 3, 7)
    hold_turns(attempt, reference, drivers.in_turn, *given, turns=turns, of="MoELayer of x (11, 3), e=5 k=2")


# --------------------------------------------------------------------------------------------------- SharedExpertMoE


@part("SharedExpertMoE")
def test_parameters_and_compute_stay(attempt):
    """Cut finer, with some shared, the layer keeps its total and its active width: 16 of 4096 is 64 of 1024."""
    cases = [
        ((4096, 16, 2, 4, 1), (1024, 63, 7)),
        ((4096, 16, 2, 4, 0), (1024, 64, 8)),
        ((4096, 16, 2, 1, 0), (4096, 16, 2)),
        ((4096, 16, 2, 4, 7), (1024, 57, 1)),
        ((15, 5, 3, 5, 2), (3, 23, 13)),
        ((14, 3, 1, 7, 3), (2, 18, 4)),
    ]
    for args, want in cases:
        hidden, experts, k, split, shared = args
        known = {
            "shared experts beside the active ones": (hidden // split, experts * split - shared, k * split),
            "shared experts on top of all": (hidden // split, experts * split, k * split),
            "a choice that is not cut": (hidden // split, experts * split - shared, k - shared),
        }
        of = f"fine_grained_sizes(hidden={hidden}, experts={experts}, k={k}, split={split}, shared={shared})"
        agree(list(attempt.fine_grained_sizes(*args)), list(want), of=of, known={a: list(b) for a, b in known.items()})
    for args, what in (
        ((4096, 16, 2, 3, 0), "a width of 4096 cut into 3"),
        ((4096, 16, 2, 4, 8), "8 shared of 8 active"),
        ((4096, 16, 2, 4, 9), "9 shared of 8 active"),
        ((4096, 16, 2, 4, -1), "-1 shared"),
    ):
        with refusal(ValueError, of=what):
            attempt.fine_grained_sizes(*args)


SHARED_SIZES = (3, 10, 4, 2, 2, 1)  # d, hidden, experts, k, split, shared: 7 routed of width 5, 3 chosen, 1 shared


def shared_state(draw, d, r, f, s, dtype=torch.float64):
    state = moe_state(draw, r, d, f, dtype)
    return state | dict(zip(("shared_w1", "shared_w2", "shared_w3"), matrices(draw, s, d, f, dtype), strict=True))


def shared_by_hand(x, state, k, *, scale=1.0, renormalise=False, shared=True):
    """DeepSeekMoE's layer on rows."""
    y, logits = moe_by_hand(x, state, k, renormalise=renormalise)
    for w1, w2, w3 in zip(*(state[f"shared_w{i}"] for i in (1, 2, 3)), strict=True):
        if shared:
            y = y + scale * (silu(x @ w1.T) * (x @ w3.T)) @ w2.T
    return y, logits


@part("SharedExpertMoE")
@each_dtype
def test_shared_experts_serve_all(attempt, draw, dtype):
    """Shared experts add their output to every token with weight 1; routed ones keep the softmax over all of them."""
    dtype = of_type(dtype)
    for sizes, shape in (
        (SHARED_SIZES, (4, 6, 3)),
        ((3, 10, 4, 2, 2, 2), (5, 3)),
        ((3, 14, 3, 1, 2, 0), (2, 2, 2, 3)),
        (SHARED_SIZES, (0, 3)),
    ):
        d, hidden, experts, k, split, s = sizes
        r, f, chosen = experts * split - s, hidden // split, k * split - s
        state, x = shared_state(draw, d, r, f, s, dtype), draw.normal(*shape, dtype=dtype)
        rows = x.flatten(0, -2)
        known = {
            name: lambda rows=rows, state=state, chosen=chosen, how=how, shape=shape: shared_by_hand(
                rows, state, chosen, **how
            )[0].view(shape)
            for name, how in (
                ("weights renormalised over the chosen", {"renormalise": True}),
                ("no shared expert", {"shared": False}),
                ("the mean of shared experts", {"scale": 1 / max(s, 1)}),
            )
        }
        known["a residual inside"] = lambda rows=rows, state=state, chosen=chosen, shape=shape, x=x: (
            x + shared_by_hand(rows, state, chosen)[0].view(shape)
        )
        want, logits = shared_by_hand(rows, state, chosen)
        got, got_logits = attempt.run(drivers.shared_forward, sizes, state, x)
        of = f"SharedExpertMoE{sizes}, x of {shape}"
        agree(got, want.view(shape), of=f"y of {of}", known=known)
        agree(got_logits, logits, axes="n r", of=f"logits of {of}")
    x = draw.normal(3, 5, 2, dtype=dtype).permute(2, 1, 0)
    state = shared_state(draw, 3, 7, 5, 1, dtype)
    want, logits = shared_by_hand(x.flatten(0, -2), state, 3)
    got = attempt.run(drivers.shared_forward, SHARED_SIZES, state, x)
    agree(got, (want.view(2, 5, 3), logits), of="y and logits of SharedExpertMoE, transposed x")


@part("SharedExpertMoE")
def test_shared_layer_costs_its_active_experts(attempt, draw):
    """Router, chosen and shared experts for each token: that is what the layer costs, in training and evaluation."""
    d, k, split, s = 11, 2, 2, 1
    for n, hidden, experts in ((13, 34, 9), (59, 26, 23)):
        r, f, chosen = experts * split - s, hidden // split, k * split - s
        state, x = shared_state(draw, d, r, f, s), draw.normal(n, d)
        want, _ = shared_by_hand(x, state, chosen)
        of = f"SharedExpertMoE, n={n}, {r} routed, {chosen} chosen, 1 shared"
        sizes = (d, hidden, experts, k, split, s)
        check_layer_cost(attempt, drivers.shared_cost, sizes, state, x, want, chosen + s, of)


@part("SharedExpertMoE")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradients_reach_the_shared_experts(attempt, draw, training):
    """Gradients reach x, the router, the routed and the shared experts."""
    state, x, up = shared_state(draw, 3, 7, 5, 1), draw.normal(2, 4, 3), draw.normal(2, 4, 3)
    args = (x, *state.values())
    leaves = leaves_of(*args)
    y, _ = shared_by_hand(leaves[0].flatten(0, 1), dict(zip(state, leaves[1:], strict=True)), 3)
    want = gradients(y, up.flatten(0, 1), leaves)
    got, grads = attempt.gradients(drivers.shared_output, *args, SHARED_SIZES, training, upstream=up)
    agree(got, y.detach().view(2, 4, 3), of="y of SharedExpertMoE, x of (2, 4, 3)")
    agree(grads[:8], want, of=f"gradients of x, {', '.join(state)} through y of SharedExpertMoE")
    up = draw.normal(8, 7)
    logits = leaves[0].flatten(0, 1) @ leaves[1].T
    want = gradients(logits, up, leaves[:2])
    got, grads = attempt.gradients(drivers.shared_logits, *args, SHARED_SIZES, training, upstream=up)
    agree(got, logits.detach(), axes="n r", of="logits of SharedExpertMoE, x of (2, 4, 3)")
    agree(grads[:2], want, of="gradients of x and the router through the logits of SharedExpertMoE")


@part("SharedExpertMoE")
def test_one_shared_layer_that_is_called_twice(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    turns, state = ((draw.normal(5, 3),), (draw.normal(5, 3),)), shared_state(draw, 3, 6, 5, 2)
    hold_turns(
        attempt, reference, drivers.in_turn, "SharedExpertMoE", (3, 10, 4, 2, 2, 2), state, turns=turns,
        of="SharedExpertMoE of x (5, 3)",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- bias_balanced_router


def biased(logits, bias, k, scale=1.0):
    s = 1 / (1 + (-logits).exp())
    experts = choose(s + bias, k)
    weights = s.gather(1, experts)
    return scale * weights / weights.sum(1, keepdim=True), experts


@part("bias_balanced_router")
@each_dtype
def test_bias_chooses_and_does_not_weigh(attempt, draw, dtype):
    """The k largest s + bias are chosen; their weights are s over its sum among the chosen, times the scale."""
    dtype = of_type(dtype)
    n, e = 13, 5
    logits, bias = draw.normal(n, e, dtype=dtype), draw.normal(e, dtype=dtype, scale=0.4)
    bias[draw.pick(range(e))] += 1
    s = logits.sigmoid()
    for k in range(1, e + 1):
        for scale in ((), (2.5,), (0.5,)):
            weights, experts = biased(logits, bias, k, *scale)
            raw = s.gather(1, experts)
            with_bias = (s + bias).gather(1, experts)
            factor = scale[0] if scale else 1.0
            known = {
                "weights that contain the bias": factor * with_bias / with_bias.sum(1, keepdim=True),
                "weights that are not normalised": factor * raw,
                "a softmax instead of a sigmoid": lambda x=experts, c=factor: c * softmax(logits.gather(1, x)),
                "no scale": weights / factor,
            }
            got, numbers = attempt.bias_balanced_router(logits, bias, k, *scale)
            of = f"n={n} e={e} k={k} scale={scale[0] if scale else 'left out'}"
            agree(numbers, experts, axes="n k", of=f"experts, {of}", known={"no bias": choose(logits, k)})
            agree(got, weights, axes="n k", of=f"weights, {of}", known=known)
    got = attempt.bias_balanced_router(logits[:0], bias, 2)
    empty = torch.zeros(0, 2, dtype=dtype), torch.zeros(0, 2, dtype=torch.int64)
    agree(got, empty, axes="n k", of="bias_balanced_router of no token")
    turned = draw.normal(e, n, dtype=dtype).T
    agree(attempt.bias_balanced_router(turned, bias, 3), biased(turned, bias, 3), of="transposed logits, n=13 e=5 k=3")


@part("bias_balanced_router")
def test_bias_gets_no_gradient(attempt, draw):
    """Gradients reach the logits through the weights; the bias gets none, or zeros."""
    logits, bias, upstream = draw.normal(7, 5), draw.normal(5, scale=0.4), draw.normal(7, 3)
    (leaf,) = leaves_of(logits)
    weights, _ = biased(leaf, bias, 3, 2.5)
    (want,) = gradients(weights, upstream, [leaf])
    got, grads = attempt.gradients(drivers.biased_weights, logits, bias, 3, 2.5, upstream=upstream)
    agree(got, weights.detach(), axes="n k", of="weights, n=7 e=5 k=3 scale=2.5")
    agree(grads[0], want, axes="n e", of="gradient of the logits, n=7 e=5 k=3 scale=2.5")
    assert grads[1] is None or not grads[1].any(), f"the bias gets a gradient: {grads[1].tolist()}"


@part("bias_balanced_router")
@each_dtype
def test_bias_follows_the_sign_of_the_load(attempt, draw, dtype):
    """Overloaded experts lose `speed`, underloaded gain it, exactly even ones stay; how far off does not matter."""
    dtype = of_type(dtype)
    experts = torch.tensor([[0, 1], [0, 1], [2, 0], [0, 4], [0, 1], [4, 0]])  # loads 6, 3, 1, 0, 2 of mean 2.4
    cases = [(experts, 5), (experts[:3], 3), (experts[:3], 6), (distinct(draw, 11, 7, 3), 7), (experts[:0], 4)]
    cases += [(torch.tensor([[2], [0], [1], [0], [1], [2]]), 3), (torch.tensor([[0], [1], [2], [3], [3]]), 4)]
    for chosen, e in cases:
        bias, speed = draw.normal(e, dtype=dtype), draw.pick([0.001, 0.25, 3.0])
        load = torch.tensor([int((chosen == i).sum()) for i in range(e)], dtype=torch.float64)
        off = chosen.numel() / e - load
        step = torch.where(off.abs() < 1e-9, 0.0, off.sign()).to(dtype)
        known = {
            "the wrong direction": bias - speed * step,
            "a step as large as the error": bias + (speed * off).to(dtype),
            "a step relative to the mean load": bias + (speed * off * e / max(chosen.numel(), 1)).to(dtype),
        }
        of = f"update_bias, loads {[int(x) for x in load]}, speed {speed}"
        agree(attempt.update_bias(bias, chosen, speed), bias + speed * step, axes="e", of=of, known=known)


@part("bias_balanced_router")
def test_loads_even_out(attempt, draw):
    """Routing the same tokens 120 times, with the bias after the load, takes a lopsided load to nearly even."""
    n, e, k = 210, 7, 2
    logits = draw.normal(n, e) + torch.linspace(-1.5, 1.5, e, dtype=torch.float64)
    first, last = attempt.run(drivers.balanced_loads, logits, k, 0.01, 120)
    s = logits.sigmoid()
    agree(first, torch.bincount(choose(s, k).flatten(), minlength=e), axes="e", of="the loads without a bias")
    worst = int((last - n * k // e).abs().max())
    assert worst <= 30, f"the loads should end near {n * k // e} each, they end at {last.tolist()}"


@part("bias_balanced_router")
def test_other_biases_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(7, 5), draw.normal(5), 2) for _ in range(2)]
    hold_again(
        attempt, reference, "bias_balanced_router", *asked, of="bias_balanced_router of (7, 5), k=2", views=False
    )
    asked = [(draw.normal(5), distinct(draw, 7, 5, 2), 0.1) for _ in range(2)]
    hold_again(attempt, reference, "update_bias", *asked, of="update_bias of 5 experts, n=7 k=2", views=False)


# ----------------------------------------------------------------------------------------------------- other_routers


@part("other_routers")
def test_hash_is_a_fixed_even_table(attempt, draw):
    """A token's expert depends on its number, the sizes and the seed alone; every expert owns an equal share."""
    for vocabulary, e, seed in ((1013, 7, 3), (64, 8, 0), (5, 8, 11)):
        every = torch.arange(vocabulary)
        (table, again), kept = attempt.run(drivers.hash_twice, every, vocabulary, e, seed)
        of = f"hash_router over {vocabulary} tokens, {e} experts, seed {seed}"
        agree(again, table, of=f"{of}, a second time, after torch.manual_seed")
        assert kept, f"{of}: torch's global random state was changed"
        agree([list(table.shape), table.dtype], [[vocabulary], torch.int64], of=f"{of}: shape and dtype")
        assert int(table.min()) >= 0, f"{of}: got expert {int(table.min())}"
        counts = sorted(torch.bincount(table, minlength=e).tolist())
        want = sorted([vocabulary // e] * (e - vocabulary % e) + [vocabulary // e + 1] * (vocabulary % e))
        agree(counts, want, of=f"{of}: tokens of each expert, sorted")
        tokens = draw.integers(0, vocabulary, 3, 5)
        got = attempt.hash_router(tokens, vocabulary, e, seed)
        agree(got, table[tokens], of=f"{of}: experts of {tokens.tolist()}", known={"tokens modulo e": tokens % e})
        got = attempt.hash_router(tokens[:0], vocabulary, e, seed)
        agree(got, table[tokens[:0]], of=f"{of}: no token")


@part("other_routers")
def test_hash_is_random(attempt):
    """Another seed gives another table, and neighbours in the vocabulary meet no more often than chance has it."""
    size, e = 4001, 5
    tables = [attempt.hash_router(torch.arange(size), size, e, seed) for seed in (1, 2)]
    six = 6 * math.sqrt(size * (1 / e) * (1 - 1 / e))  # six standard deviations
    first, second = tables
    number = torch.arange(size)
    for a, b, what in (
        (first, second, "seeds 1 and 2 send to the same expert"),
        (first[1:], first[:-1], "go where the token before went"),
        (first[e:], first[:-e], "go where the token e before went"),
        (first, number % e, "have the expert number % e"),
        (first, number * e // size, "have the expert of equal blocks"),
    ):
        same = int((a == b).sum())
        assert abs(same - len(a) / e) < six, f"{same} of {len(a)} tokens {what}, about {len(a) // e} would be chance"


def plan_by_hand(logits, iterations, *, columns_first=False):
    plan, (n, e) = logits.exp(), logits.shape
    for _ in range(iterations):
        if columns_first:
            plan = plan / plan.sum(0) * n / e
        plan = plan / plan.sum(1, keepdim=True)
        if not columns_first:
            plan = plan / plan.sum(0) * n / e
    return plan


@part("other_routers")
@each_dtype
def test_sinkhorn_scales_rows_then_columns(attempt, draw, dtype):
    """Each iteration divides rows by their sums, then scales columns to n/e; no logarithm is out of range."""
    dtype = of_type(dtype)
    for n, e, iterations in ((2, 3, 1), (7, 5, 1), (11, 4, 2), (5, 7, 3), (13, 3, 40)):
        logits = draw.normal(n, e, dtype=dtype)
        known = {
            "columns first": lambda x=logits, i=iterations: plan_by_hand(x, i, columns_first=True),
            "columns that sum to 1": lambda x=logits, i=iterations: plan_by_hand(x, i) * x.shape[1] / x.shape[0],
            "one iteration less": lambda x=logits, i=iterations: plan_by_hand(x, i - 1),
        }
        of = f"sinkhorn, n={n} e={e}, {iterations} iterations"
        agree(attempt.sinkhorn(logits, iterations), plan_by_hand(logits, iterations), axes="n e", of=of, known=known)
    turned = draw.normal(3, 5, dtype=dtype).T
    agree(attempt.sinkhorn(turned, 2), plan_by_hand(turned, 2), axes="n e", of="sinkhorn of transposed logits")
    # Everybody wants expert 1 by hundreds: the first column is far below what float32 can hold.
    large = draw.normal(6, 3, dtype=dtype, scale=0.5) + torch.tensor([-400.0, 400.0, 0.0], dtype=dtype)
    want = plan_by_hand(large - torch.tensor([-400.0, 400.0, 0.0], dtype=dtype), 150)
    got = attempt.sinkhorn(large, 150)
    of = "sinkhorn after 150 iterations, logits near (-400, 400, 0): the same as without these offsets"
    agree(got, want, axes="n e", of=of, tol=1e-3)


@part("other_routers")
def test_sinkhorn_routes_by_the_plan_and_weighs_by_softmax(attempt, draw):
    """The largest entries of the plan are chosen, largest first; weights are the softmax of the raw logits there."""
    for n, e, k, iterations in ((13, 4, 1, 1), (11, 5, 2, 3), (7, 6, 3, 8)):
        logits = draw.normal(n, e) + torch.linspace(0, 2, e, dtype=torch.float64)
        plan = plan_by_hand(logits, iterations)
        experts = choose(plan, k)
        weights = softmax(logits).gather(1, experts)
        known = {
            "entries of the plan as weights": plan.gather(1, experts),
            "weights renormalised over the chosen": weights / weights.sum(1, keepdim=True),
            "a sigmoid": logits.sigmoid().gather(1, experts),
        }
        got, numbers = attempt.sinkhorn_router(logits, k, iterations)
        of = f"sinkhorn_router, n={n} e={e} k={k}, {iterations} iterations"
        agree(numbers, experts, axes="n k", of=f"experts, {of}", known={"the largest logits": choose(logits, k)})
        agree(got, weights, axes="n k", of=f"weights, {of}", known=known)
    upstream = draw.normal(n, k)
    (leaf,) = leaves_of(logits)
    (want,) = gradients(softmax(leaf).gather(1, experts), upstream, [leaf])
    got, grads = attempt.gradients(drivers.sinkhorn_weights, logits, k, iterations, upstream=upstream)
    agree(got, weights, axes="n k", of="sinkhorn_router's weights where the logits ask for a gradient")
    agree(grads[0], want, axes="n e", of="gradient of the logits through sinkhorn_router's weights")


@part("other_routers")
@each_dtype
def test_experts_choose_tokens(attempt, draw, dtype):
    """Each expert takes the tokens whose softmax over the experts is largest for it; capacity 0 to n."""
    dtype = of_type(dtype)
    n, e = 7, 4
    for logits in (draw.normal(n, e, dtype=dtype, scale=2), draw.normal(e, n, dtype=dtype, scale=2).T):
        scores = softmax(logits)
        for capacity in (0, 1, 3, n):
            tokens = choose(scores.T, capacity)
            want = scores.T.gather(1, tokens), tokens
            over_tokens = softmax(logits, 0).T
            known = {
                "a softmax over the tokens": lambda s=over_tokens, c=capacity: (
                    s.gather(1, choose(s, c)),
                    choose(s, c),
                ),
            }
            got = attempt.expert_choice_router(logits, capacity)
            of = f"expert_choice_router, weights and tokens, n={n} e={e} c={capacity}"
            agree(got, want, axes="e c", of=of, known=known)
    empty = torch.zeros(e, 0, dtype=dtype), torch.zeros(e, 0, dtype=torch.int64)
    agree(attempt.expert_choice_router(logits[:0], 0), empty, axes="e c", of="expert_choice_router of no token")
    for capacity in (n + 1, -1):
        with refusal(ValueError, of=f"{capacity} of {n} tokens for each expert"):
            attempt.expert_choice_router(logits, capacity)


@part("other_routers")
def test_chosen_tokens_teach_the_router(attempt, draw):
    """The gradient of the weights of expert choice reaches the logits."""
    logits, upstream = draw.normal(7, 4), draw.normal(4, 3)
    (leaf,) = leaves_of(logits)
    tokens = choose(softmax(logits).T, 3)
    weights = softmax(leaf).T.gather(1, tokens)
    (want,) = gradients(weights, upstream, [leaf])
    got, grads = attempt.gradients(drivers.expert_choice_weights, logits, 3, upstream=upstream)
    agree(got, weights.detach(), axes="e c", of="expert_choice_router's weights, n=7 e=4 c=3")
    agree(grads[0], want, axes="n e", of="gradient of the logits through expert_choice_router's weights, n=7 e=4 c=3")


@part("other_routers")
def test_other_tokens_and_logits_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    for name, rest in (("sinkhorn", (3,)), ("sinkhorn_router", (2, 3)), ("expert_choice_router", (3,))):
        asked = [(draw.normal(7, 5), *rest) for _ in range(2)]
        hold_again(attempt, reference, name, *asked, of=f"{name} of (7, 5)", views=False)
    tokens = draw.permutation(101)
    one, other = attempt.each("hash_router", [(tokens, 101, 7, 3), (tokens.flip(0), 101, 7, 3)])
    of = "hash_router of the same tokens in the reverse order, both results looked at after both calls"
    agree(other, one.flip(0), of=of, known={"the result of the other call": one})


# --------------------------------------------------------------------------------------------------- collapse_report


def report_by_hand(logits, experts):
    e = logits.shape[1]
    load = [int((experts == i).sum()) / experts.numel() for i in range(e)]
    entropy = -sum(x * math.log(x) for x in load if x)
    p = softmax(logits.double())
    each = [-sum(x * math.log(x) for x in row if x) for row in p.tolist()]
    return {
        "entropy": entropy,
        "effective_experts": math.exp(entropy),
        "max_share": max(load),
        "dead": [i for i, x in enumerate(load) if not x],
        "token_entropy": sum(each) / len(each),
    }


def check_report(attempt, logits, experts, of):
    got = attempt.collapse_report(logits, experts)
    want = report_by_hand(logits, experts)
    kinds = {name: "list" if name == "dead" else "float" for name in want}
    agree({name: type(value).__name__ for name, value in got.items()}, kinds, of=f"types in the report of {of}")
    agree(got["dead"], want["dead"], of=f"dead experts of {of}")
    bits = math.log(2)
    for name in ("entropy", "effective_experts", "max_share"):
        known = {"bits": want[name] / bits} if name == "entropy" else {}
        agree(got[name], want[name], of=f"{name} of {of}", tol=1e-4, known=known)
    # Entropies near 0 have few digits in float32: what counts is how far off they are from 0.
    known = {"the entropy of the mean": 1 + mean_entropy(logits), "bits": 1 + want["token_entropy"] / bits}
    agree(1 + got["token_entropy"], 1 + want["token_entropy"], of=f"1 + token_entropy of {of}", tol=1e-4, known=known)


def mean_entropy(logits):
    return -sum(x * math.log(x) for x in softmax(logits.double()).mean(0).tolist() if x)


@part("collapse_report")
def test_even_and_collapsed(attempt):
    """An even load has entropy log(e); one expert for all has entropy 0, e - 1 dead experts, and no NaN."""
    for e in (1, 3, 8):
        sure = torch.full((e, e), -50.0).fill_diagonal_(50.0)
        check_report(attempt, sure, torch.arange(e)[:, None], f"{e} tokens, each sure of its own of {e} experts")
        check_report(attempt, torch.zeros(5, e), torch.zeros(5, 1).long(), f"5 unsure tokens, all at expert 0 of {e}")


@part("collapse_report")
@each_dtype
def test_report_of_random_choices(attempt, draw, dtype):
    """Load counts all n·k choices of all e experts, also those with numbers that nobody chose."""
    dtype = of_type(dtype)
    for n, e, k in ((13, 5, 1), (11, 7, 3), (2, 9, 2), (1, 4, 1)):
        logits, experts = draw.normal(n, e, dtype=dtype, scale=2), distinct(draw, n, e, k)
        check_report(attempt, logits, experts, f"n={n} e={e} k={k}")
    first = torch.stack([draw.permutation(4)[:2] for _ in range(7)])
    check_report(attempt, draw.normal(7, 9, dtype=dtype), first, "choices among the first 4 of 9 experts")
    rare = torch.zeros(97, 1, dtype=torch.int64)
    rare[-1] = 2
    check_report(attempt, draw.normal(97, 4, dtype=dtype), rare, "97 tokens, one of them at expert 2, the rest at 0")
    check_report(attempt, 500 * draw.normal(7, 5, dtype=dtype), distinct(draw, 7, 5, 2), "logits of some hundreds")
    check_report(attempt, draw.normal(5, 7, dtype=dtype).T, distinct(draw, 7, 5, 2).T.contiguous().T, "transposed")


@part("collapse_report")
def test_a_report_of_nothing_is_refused(attempt):
    """Without a token there is no load: ValueError."""
    with refusal(ValueError, of="collapse_report of no token"):
        attempt.collapse_report(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int64))


# ------------------------------------------------------------------------------------------- expert_parallel_forward


def check_parallel(attempt, draw, sizes, e, k, d, f, of, dtype=torch.float64, choices=None, learns=False):
    """All that is promised of one call on len(sizes) ranks, rank r with sizes[r] tokens."""
    p, pairs = len(sizes), [n * k for n in sizes]
    local = e // p
    xs = [draw.normal(n, d, dtype=dtype) for n in sizes]
    weights = [draw.normal(n, k, dtype=dtype) for n in sizes]
    experts = choices or [distinct(draw, n, e, k) for n in sizes]
    ws = matrices(draw, e, d, f, dtype)
    got = attempt.run(drivers.parallel, xs, weights, experts, *ws, learns)
    of = f"{of}: {p} ranks with {sizes} tokens, e={e} k={k} d={d} f={f}"
    want = [dense(x, w, i, *ws) for x, w, i in zip(xs, weights, experts, strict=True)]
    own = [
        dense(x, w * (i // local == r), i, *ws) for r, (x, w, i) in enumerate(zip(xs, weights, experts, strict=True))
    ]
    known = {
        **({"the experts of the own rank alone": own} if p > 1 else {}),
        "no weights": [dense(x, torch.ones_like(w), i, *ws) for x, w, i in zip(xs, weights, experts, strict=True)],
    }
    agree([y for y, *_ in got], want, axes="n d", of=of, known=known)
    for rank, (_, graph, flops, left, sent) in enumerate(got):
        assert not graph, f"{of}: the output of rank {rank} holds a graph"
        mine = sum(int((i // local == rank).sum()) for i in experts)
        every = {"all experts of the rank on all tokens": 6 * sum(sizes) * local * d * f}
        most = 6 * mine * d * f + 2 * d * max(pairs[rank], mine)
        in_torch(Cost(left=left), of=f"{of}: rank {rank}", values=pairs[rank] + mine + 4 * p + 2 * local + 64)
        at_most(flops, most, of=f"{of}: FLOPs of rank {rank}, to which {mine} pairs were routed", known=every)
        others = [name for name in sent if name != "alltoall_base_"]
        assert not others, f"{of}: rank {rank} used {', '.join(others)} beside all_to_all_single"
        limit = (pairs[rank] + mine) * (d * dtype.itemsize + 16) + 64 * p
        most = {"every token to every rank": p * sizes[rank] * d * dtype.itemsize}
        name = f"{of}: bytes that rank {rank} sends, {pairs[rank]} rows out and {mine} back"
        at_most(sent.get("alltoall_base_", 0), limit, of=name, known=most)


@part("expert_parallel_forward")
def test_one_rank_holds_all(attempt, draw):
    """On a group of one rank the result is that of sparse_experts."""
    check_parallel(attempt, draw, [7], 5, 2, 3, 4, "one rank")


@part("expert_parallel_forward")
@pytest.mark.parametrize("k", [1, 2])
def test_two_ranks_share_the_experts(attempt, draw, k):
    """Tokens travel to the ranks of their experts and come back weighed, in their own order."""
    check_parallel(attempt, draw, [7, 5], 6, k, 11, 4, "experts 0-2 at rank 0, 3-5 at rank 1")


@part("expert_parallel_forward")
def test_uneven_ranks(attempt, draw):
    """Ranks with more, fewer and no tokens take part in every exchange, in float32 too."""
    check_parallel(attempt, draw, [9, 0, 4], 6, 3, 13, 5, "a rank without tokens", torch.float32)


@part("expert_parallel_forward")
def test_all_tokens_want_one_rank(attempt, draw):
    """Where all choices fall on one rank, the others send all and compute nothing."""
    choices = [torch.stack([draw.permutation(2) for _ in range(n)]) + 2 for n in (5, 3, 7)]
    check_parallel(attempt, draw, [5, 3, 7], 6, 2, 17, 4, "all at experts 2 and 3", choices=choices)


@part("expert_parallel_forward")
@pytest.mark.parametrize("learns", [False, True], ids=["none", "all"])
def test_costs_are_the_same_where_all_require_gradients(attempt, draw, learns):
    """Where tokens, weights and matrices require gradients, gradients are off and costs stay, with many experts too."""
    of = f"{'all require' if learns else 'none requires'} a gradient"
    check_parallel(attempt, draw, [31, 0, 23, 17], 28, 3, 37, 13, of, learns=learns)


# ---------------------------------------------------------------------------------------------- moe_parameter_count

MIXTRAL = {
    "vocabulary": 32000,
    "dim": 4096,
    "layers": 32,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "hidden": 14336,
    "experts": 8,
    "k": 2,
}


@part("moe_parameter_count")
def test_mixtral_has_47_billion_and_uses_13(attempt):
    """Mixtral-8x7B stores 46,702,792,704 parameters, of which a token uses 12,879,925,248."""
    known = {
        "all experts active": [46_702_792_704, 46_702_792_704],
        "only two routers' rows active": [46_702_792_704, 12_879_925_248 - 32 * 6 * 4096],
        "an active part without embeddings": [46_702_792_704, 12_879_925_248 - 2 * 32000 * 4096],
        "tied embeddings": [46_702_792_704 - 32000 * 4096, 12_879_925_248 - 32000 * 4096],
        "two matrices an expert": [46_702_792_704 - 32 * 8 * 4096 * 14336, 12_879_925_248 - 32 * 2 * 4096 * 14336],
        "8 times 7 billion": [56_000_000_000, 14_000_000_000],
    }
    got = attempt.moe_parameter_count(**MIXTRAL)
    agree(list(got), [46_702_792_704, 12_879_925_248], of="Mixtral-8x7B, total and active", known=known)


@part("moe_parameter_count")
def test_deepseek_moe_16b(attempt):
    """DeepSeekMoE-16B, one dense layer, 2 shared and 64 routed experts: 16,375,728,128 and 2,828,650,496."""
    sizes = {"vocabulary": 102400, "dim": 2048, "layers": 28, "heads": 16, "kv_heads": 16, "head_dim": 128}
    sizes |= {"hidden": 1408, "experts": 64, "k": 6, "shared": 2, "dense_layers": 1, "dense_hidden": 10944}
    expert = 3 * 2048 * 1408
    known = {
        "shared experts that are not active": [16_375_728_128, 2_828_650_496 - 27 * 2 * expert],
        "experts in all 28 layers": [16_375_728_128 + 66 * expert, 2_828_650_496 + 8 * expert],
    }
    got = attempt.moe_parameter_count(**sizes)
    agree(list(got), [16_375_728_128, 2_828_650_496], of="DeepSeekMoE-16B, total and active", known=known)


def stored(s):
    """Every tensor of the model, on the meta device: name to elements."""
    d, shapes = s["dim"], {"embedding": (s["vocabulary"], s["dim"]), "norm": (s["dim"],)}
    if not s["tied"]:
        shapes["head"] = (s["vocabulary"], d)
    for layer in range(s["layers"]):
        shapes |= {f"{layer} norm {i}": (d,) for i in (0, 1)}
        for name, heads in (("q", s["heads"]), ("k", s["kv_heads"]), ("v", s["kv_heads"]), ("o", s["heads"])):
            shapes[f"{layer} {name}"] = (heads * s["head_dim"], d)
        if layer < s["dense_layers"]:
            shapes[f"{layer} dense"] = (3, d, s["dense_hidden"])
            continue
        shapes[f"{layer} router"] = (s["experts"], d)
        shapes |= {f"{layer} shared {i}": (3, d, s["hidden"]) for i in range(s["shared"])}
        shapes |= {f"{layer} expert {i}": (3, d, s["hidden"]) for i in range(s["experts"])}
    return {name: math.prod(shape) for name, shape in shapes.items()}


@part("moe_parameter_count")
def test_counts_are_those_of_the_tensors(attempt, draw):
    """Total and active are sums over the tensors of such a model, whatever its sizes."""
    names = ("vocabulary", "dim", "layers", "heads", "head_dim", "hidden", "experts", "shared", "dense_hidden")
    for tied in (False, True):
        s = dict(zip(names, draw.permutation(23).add(3).tolist(), strict=False))
        s |= {
            "kv_heads": draw.pick([2, 30]),
            "tied": tied,
            "dense_layers": draw.pick(range(1, 4)),
            "shared": s["shared"],
        }
        s["layers"] += 2
        s["k"] = draw.pick(range(1, s["experts"]))
        parts = stored(s)
        idle = [
            f"{layer} expert {i}"
            for layer in range(s["dense_layers"], s["layers"])
            for i in range(s["k"], s["experts"])
        ]
        total = sum(parts.values())
        want = [total, total - sum(parts[name] for name in idle)]
        agree(list(attempt.moe_parameter_count(**s)), want, of=f"total and active of {s}")
        plain = s | {"shared": 0, "dense_layers": 0, "dense_hidden": 0, "tied": False}
        parts = stored(plain)
        total = sum(parts.values())
        want = [total, total - s["layers"] * (s["experts"] - s["k"]) * parts["0 expert 0"]]
        few = {name: plain[name] for name in MIXTRAL}
        agree(list(attempt.moe_parameter_count(**few)), want, of=f"total and active of {few}, the rest left out")
