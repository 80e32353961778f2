"""dl_024 · Model surgery: pruning, lottery tickets, regrowth, distillation, tied weights, growing networks, merging.

Notation
    o, p  outputs of a layer     i  its inputs     b  examples     v  classes, or words     c  channels     h, w  a map
    weights     a dict of name to tensor, as state_dict() gives it, of floats alone
    masks       a dict of name to bool tensor, of the shapes of the weights: True is kept, False is pruned
    round(x)    Python's. No check asks for a share that lies within 1/100 of a half

Rules for all functions: sizes are at least 1 unless said otherwise. Tensors are float64 or float32 (those of one call
of one dtype), and need not be contiguous. Arguments are left alone unless said otherwise. Floats that come back have
the dtype of those that went in, indices are int64, masks are bool. What comes back shares no memory with what went in.
Logarithms are natural ones.

Further reading: Han et al. 2015 (pruning), Li et al. 2017 (filters), Frankle and Carbin 2019 (lottery tickets), Evci et
al. 2020 (RigL), Hinton et al. 2015 (distillation), Caron et al. 2021 (DINO), Press and Wolf 2017 (tying), Chen et al.
2016 (Net2Net), Yadav et al. 2023 (TIES).
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]


def magnitude_mask(weights: Weights, sparsity: float, scope: str = "global") -> Masks:
    """Which weights stay if those nearest to zero go: masks, by name.

    weights: tensors of any shapes; one may have no elements. sparsity: the share to prune, 0 ... 1.

        scope "global"    of all N weights together the round(sparsity · N) with the smallest |w| are pruned
        scope "layer"     the same in each tensor by itself, with its own N

    The count is exact. Of equal magnitudes any may go, but no more than the count asks for: comparing with a threshold
    prunes too many or too few there.

    a = (0.1, -0.4, 0.5), b = (3, -2, 1), sparsity 0.4. "global" prunes round(2.4) = 2: 0.1 and -0.4. "layer" prunes
    round(1.2) = 1 in each: 0.1 and 1.

    Raises ValueError if sparsity is not in [0, 1], or scope is another word. Forbidden: the methods of
    torch.nn.utils.prune (l1_unstructured, global_unstructured, random_unstructured, and the classes L1Unstructured and
    RandomUnstructured).

    Source: Han et al. 2015, section 3; Zhu and Gupta 2017.

    >>> weights = {"a": torch.tensor([0.1, -0.4, 0.5]), "b": torch.tensor([3.0, -2.0, 1.0])}
    >>> {name: mask.tolist() for name, mask in magnitude_mask(weights, 0.4).items()}
    {'a': [False, False, True], 'b': [True, True, True]}
    >>> {name: mask.tolist() for name, mask in magnitude_mask(weights, 0.4, "layer").items()}
    {'a': [False, True, True], 'b': [True, True, False]}
    """
    ### BEGIN SOLUTION
    if not 0 <= sparsity <= 1:
        raise ValueError(f"a sparsity of {sparsity}, not in 0 ... 1")
    if scope not in ("global", "layer"):
        raise ValueError(f"scope '{scope}' is neither 'global' nor 'layer'")

    def keep(sizes: Tensor) -> Tensor:
        mask = torch.ones(len(sizes), dtype=torch.bool)
        mask[sizes.argsort()[: round(sparsity * len(sizes))]] = False
        return mask

    sizes = {name: weight.detach().abs().flatten() for name, weight in weights.items()}
    if scope == "layer" or not weights:
        return {name: keep(sizes[name]).view(weight.shape) for name, weight in weights.items()}
    parts = keep(torch.cat(list(sizes.values()))).split([len(one) for one in sizes.values()])
    return {name: one.reshape(weight.shape).clone() for (name, weight), one in zip(weights.items(), parts, strict=True)}
    ### END SOLUTION


def n_of_m_mask(weight: Tensor, n: int = 2, m: int = 4) -> Tensor:
    """The mask of n:m sparsity, which hardware can use: of each m neighbours in a row the n largest stay.

    weight: (..., i), where m divides i. Groups are columns 0 ... m-1, m ... 2m-1, and so on. Exactly n of each group
    stay, in magnitude no smaller than those that go; of equal magnitudes any may stay.

    Row (1, -3, 2, 0, 5, 6, -7, 8), 2:4: columns 1, 2, 6, 7 stay.

    Raises ValueError if m does not divide i, or n is not in 0 ... m. The methods of torch.nn.utils.prune are forbidden
    here, too.

    Source: Mishra et al. 2021.

    >>> n_of_m_mask(torch.tensor([[1.0, -3.0, 2.0, 0.0, 5.0, 6.0, -7.0, 8.0]])).int()
    tensor([[0, 1, 1, 0, 0, 0, 1, 1]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    if weight.shape[-1] % m or not 0 <= n <= m:
        raise ValueError(f"{n} of {m} in rows of a tensor {tuple(weight.shape)}")
    groups = weight.detach().abs().unflatten(-1, (-1, m))
    mask = torch.zeros_like(groups, dtype=torch.bool)
    return mask.scatter(-1, groups.topk(n, dim=-1).indices, True).flatten(-2)
    ### END SOLUTION


def strongest_channels(weight: Tensor, count: int) -> Tensor:
    """The indices of the `count` outputs of a layer with the largest L1 norm of their weights, in ascending order.

    weight: (o, i, ...), of a linear layer or a convolution. Returns int64 (count,), 1 <= count <= o. Norms are all
    different.

    Rows (1, -2), (5, 0), (0, 1), (2, 2), count 2: norms 3, 5, 1, 4, so (1, 3).

    Source: Li et al. 2017, section 3.1.

    >>> strongest_channels(torch.tensor([[1.0, -2.0], [5.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), 2)
    tensor([1, 3])
    """
    ### BEGIN SOLUTION
    norms = weight.detach().abs().flatten(1).sum(dim=1)
    return norms.topk(count).indices.sort().values
    ### END SOLUTION


def prune_channels(model: nn.Sequential, index: int, keep: Tensor) -> nn.Sequential:
    """A network that is really smaller: of layer `index` only the outputs `keep` are left, and all that hangs on them.

    model: a Sequential of nn.Conv2d (groups 1), nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.Flatten, and modules
    without parameters or buffers that work on each channel by itself (activations, pooling, dropout). model[index] is
    an nn.Conv2d or nn.Linear; the *next* one after it takes its outputs. keep: int64 (k,),
    ascending, each once, k >= 1.

    What changes in the copy that comes back (r = the outputs that are kept):

        model[index]          weight and bias: rows r
        each BatchNorm        weight, bias, running mean, running variance: entries r (those of them that it has).
        between               There may be several, and not next to the layer
        the next layer        weight: columns r. Behind nn.Flatten a channel is a block of h·w columns, channel c has
                              columns c·h·w ... (c+1)·h·w - 1, where h·w = in_features / channels. A BatchNorm1d
                              there has such blocks of entries, too

    Attributes follow (out_channels, in_features, num_features ...). All else stays: strides, paddings, eps, momentum,
    each module's mode (the Sequential's, too), each parameter's requires_grad. The network computes what the old one
    does with the other channels *zeroed at the input of the next layer*, in eval mode and in training mode. Zeroing the
    filters instead is something else: a BatchNorm behind them turns their zeros into its bias.

    The new network shares no module and no tensor with the old one, which does not change, and no tensor is a view of a
    larger one.

    Raises ValueError if model[index] is neither nn.Conv2d nor nn.Linear, or if no such layer comes after it: then its
    outputs are the network's own. Forbidden: of torch.nn.utils.prune ln_structured,
    random_structured, LnStructured and RandomStructured.

    Conv2d(3, 8, 3), BatchNorm2d(8), ReLU, Flatten, Linear(8·4·4, 10), keep (1, 6): weights (2, 3, 3, 3) and (10, 32).

    Source: Li et al. 2017, section 3; He et al. 2017.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    >>> small = prune_channels(model, 0, torch.tensor([1, 6]))
    >>> small[0].weight.shape, small[1].num_features, small[4].weight.shape
    (torch.Size([2, 3, 3, 3]), 2, torch.Size([10, 32]))
    """
    ### BEGIN SOLUTION
    layers = nn.Conv2d | nn.Linear
    following = [k for k in range(index + 1, len(model)) if isinstance(model[k], layers)]
    if not isinstance(model[index], layers) or not following:
        raise ValueError(f"module {index} has no channels to prune, or no layer after it that takes them")

    def cut(layer: nn.Module, name: str, kept: Tensor, dim: int = 0) -> None:
        old = getattr(layer, name)
        if isinstance(old, nn.Parameter):
            setattr(layer, name, nn.Parameter(old.detach().index_select(dim, kept), old.requires_grad))
        elif old is not None:
            setattr(layer, name, old.index_select(dim, kept))

    def blocks(size: int) -> Tensor:
        return (keep[:, None] * size + torch.arange(size)).flatten()

    small = copy.deepcopy(model)
    first, last = small[index], small[following[0]]
    channels = len(first.weight)
    for name in ("weight", "bias"):
        cut(first, name, keep)
    for norm in small[index : following[0]]:
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            entries = blocks(norm.num_features // channels)
            for name in ("weight", "bias", "running_mean", "running_var"):
                cut(norm, name, entries)
            norm.num_features = len(entries)
    cut(last, "weight", blocks(last.weight.shape[1] // channels), dim=1)
    for layer in (first, last):
        names = ("out_channels", "in_channels") if isinstance(layer, nn.Conv2d) else ("out_features", "in_features")
        for name, size in zip(names, layer.weight.shape, strict=False):
            setattr(layer, name, size)
    return small
    ### END SOLUTION


def lottery_ticket(
    initial: Weights,
    train: Callable[[Weights, Masks], Weights],
    rounds: int,
    rates: dict[str, float],
) -> tuple[Weights, Masks]:
    """Iterative magnitude pruning with rewinding: a sparse network that begins where the whole one began.

    initial: the weights before training. rates: the share of each named tensor that a round prunes; tensors without a
    rate (biases, say) are never pruned. `train(weights, masks)` trains with the masks held, and returns the trained
    weights, by the same names. Each round:

        1. train(the initial weights, 0 where pruned; the masks)
        2. in each tensor with a rate, of the n weights that are *left* prune the round(rate · n) whose trained |w| is
           smallest. What was pruned stays pruned, whatever train returns there
        3. rewind: the weights that are left go back to their initial values, bit by bit

    Returns (weights, masks): the initial weights with 0 where pruned, and which are left. `train` is called `rounds`
    times, and not after the last pruning: rounds 0 trains nothing and prunes nothing. `train` may change the tensors
    and the dicts that it is given: each call gets its own. The count is exact, ties included, as in `magnitude_mask`.

    initial (5, -6, 7, 8), rate 0.5, two rounds, and train turns them into (1, 2, 3, 4), 0 where pruned: the first round
    leaves the third and the fourth, the second the fourth, and the weights are (0, 0, 0, 8).

    Whoever rewinds to step k of the training (late rewinding, which deep networks need) passes the weights of step k.

    Source: Frankle and Carbin 2019, section 2 and appendix G; Frankle et al. 2020 (late rewinding).

    >>> trained = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> start = {"w": torch.tensor([5.0, -6.0, 7.0, 8.0])}
    >>> weights, masks = lottery_ticket(start, lambda weights, masks: {"w": trained * masks["w"]}, 2, {"w": 0.5})
    >>> masks["w"], weights["w"].abs()
    (tensor([False, False, False,  True]), tensor([0., 0., 0., 8.]))
    """
    ### BEGIN SOLUTION
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in initial.items()}

    def rewound() -> Weights:
        return {name: weight.detach().where(masks[name], torch.zeros_like(weight)) for name, weight in initial.items()}

    for _ in range(rounds):
        trained = train(rewound(), {name: mask.clone() for name, mask in masks.items()})
        for name, rate in rates.items():
            alive = masks[name].flatten().nonzero()[:, 0]
            order = trained[name].detach().flatten()[alive].abs().argsort()
            mask = masks[name].flatten()
            mask[alive[order[: round(rate * len(alive))]]] = False
            masks[name] = mask.view(initial[name].shape)
    return rewound(), masks
    ### END SOLUTION


def regrow_fraction(step: int, last: int, alpha: float) -> float:
    """The share of connections that RigL exchanges at a step: it falls along a cosine, and is 0 from `last` on.

        alpha / 2 · (1 + cos(π · step / last))        0 <= step < last

    alpha 0.3, last 100: 0.3 at step 0, 0.15 at step 50, 0 at step 100 and after it. Returns a float.

    Source: Evci et al. 2020, section 3.

    >>> [round(regrow_fraction(step, 100, 0.3), 4) for step in (0, 25, 50, 100, 130)]
    [0.3, 0.2561, 0.15, 0.0, 0.0]
    """
    ### BEGIN SOLUTION
    return alpha / 2 * (1 + math.cos(math.pi * step / last)) if step < last else 0.0
    ### END SOLUTION


def regrow(weight: Tensor, mask: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Drop `count` connections and grow as many where the loss asks for them: (weight, mask) of the same density.

    weight, mask, gradient: of one shape. gradient is dense, by pruned weights too.
    count: 0 ... the number of kept ones.

        drop    of the kept weights the `count` with the smallest |weight|
        grow    of all that do not survive, *those just dropped included*, the `count` with the largest |gradient|

    Whatever is grown starts at 0, also if it was dropped just now; survivors keep their values, all else is 0. The new
    mask keeps exactly as many as the old one. Magnitudes that decide are all different. What `weight` holds at pruned
    places counts for nothing, be it NaN.

    weight (3, 0.1, 0, 0), of which the first two are kept, gradient (9, 1, 5, -7), count 1: 0.1 goes, and the fourth,
    with 7, comes: weight (3, 0, 0, 0), mask (True, False, False, True). With gradient (9, 8, 5, -7) the second comes
    back at once, as 0.

    Source: Evci et al. 2020, algorithm 1.

    >>> weight, mask = torch.tensor([3.0, 0.1, 0.0, 0.0]), torch.tensor([True, True, False, False])
    >>> regrow(weight, mask, torch.tensor([9.0, 1.0, 5.0, -7.0]), 1)
    (tensor([3., 0., 0., 0.]), tensor([ True, False, False,  True]))
    """
    ### BEGIN SOLUTION
    kept = mask.flatten()
    strength = weight.detach().abs().flatten().masked_fill(~kept, -math.inf)
    survives = torch.zeros_like(kept)
    survives[strength.topk(int(kept.sum()) - count).indices] = True
    wish = gradient.detach().abs().flatten().masked_fill(survives, -math.inf)
    grown = survives.clone()
    grown[wish.topk(count).indices] = True
    survivors = survives.view(mask.shape)
    return weight.detach().where(survivors, torch.zeros_like(weight)), grown.view(mask.shape)
    ### END SOLUTION


def masked_step(optimizer: torch.optim.Optimizer, masked: list[tuple[nn.Parameter, Tensor]]) -> None:
    """One step of an optimizer that leaves pruned weights pruned: fine-tuning after pruning.

    masked: parameters of the optimizer, each with its mask; parameters without one are not in the list. Afterwards

        * each pruned weight is 0, whatever momentum, weight decay or a gradient (or NaN, or none) would have made of it
        * each tensor of the optimizer's state that has the parameter's shape (momentum, moments) is 0 there, so that a
          connection that grows back one day starts from rest
        * everything that is kept, and every other parameter, is what optimizer.step() makes of it

    The optimizer works entry by entry (SGD, Adam, AdamW, RMSprop ...). A mask that is applied once, at pruning, does
    not last: the first step with momentum moves the weights away from 0. What becomes of pruned entries of `.grad` is
    not looked at; kept ones stay. Changes parameters and the optimizer's state in place, returns nothing.

    SGD with momentum 0.9, rate 1, buffer (1, 1), weight (2, 0) with mask (True, False), gradient (1, 1): without the
    mask (0.1, -1.9); with it (0.1, 0), and the buffer is (1.9, 0).

    Source: Zhu and Gupta 2017, section 3.

    >>> w = nn.Parameter(torch.tensor([2.0, 4.0]))
    >>> sgd = torch.optim.SGD([w], lr=1.0, momentum=0.9)
    >>> for mask in (torch.tensor([True, True]), torch.tensor([True, False])):
    ...     w.grad = torch.ones(2)
    ...     masked_step(sgd, [(w, mask)])
    >>> w.detach(), sgd.state[w]["momentum_buffer"]
    (tensor([-0.9000,  0.0000]), tensor([1.9000, 0.0000]))
    """
    ### BEGIN SOLUTION
    optimizer.step()
    with torch.no_grad():
        for parameter, mask in masked:
            parameter.masked_fill_(~mask, 0)
            for value in optimizer.state[parameter].values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(~mask, 0)
    ### END SOLUTION


def knowledge_losses(
    student: dict[str, Tensor],
    teacher: dict[str, Tensor],
    projection: Tensor,
    temperature: float,
    reverse: bool = False,
) -> dict[str, Tensor]:
    """What a student may learn from a teacher: its answers, its features, where it looks. A dict of three scalars.

    student, teacher: dicts with "logits" (b, v) and "features" (b, s, h, w) or (b, t, h, w): s channels of the student,
    t of the teacher. projection: (t, s). With p = softmax(teacher's logits / T), q = softmax(student's logits / T):

        "response"     T² · mean over b of KL(p || q),   KL(p || q) = Σ p (log p - log q);  if reverse, of KL(q || p)
        "hint"         mean over all entries of (projected - teacher's features)²: projected (b, t, h, w) is, at each
                       place, the projection times the student's channels
        "attention"    the map of a network is Q = Σ over channels of features², flattened to h·w and divided by its L2
                       norm; the loss is the mean over all b·h·w entries of (Q student - Q teacher)². A map of zeros
                       stays zeros, with finite gradients

    T² keeps the gradients as large as those at T = 1: as T grows, the gradient of "response" by the student's logits
    tends to their centred difference divided by v (and by b), whatever T is. The teacher is a constant: no gradient
    reaches any of its tensors; student and projection get theirs. Logits may be in the thousands.

    One example, teacher's logits (log 3, 0), student's (0, 0), T = 1: KL(p || q) = 0.75 log 1.5 + 0.25 log 0.5
    = 0.1308, KL(q || p) = 0.5 log(0.5/0.75) + 0.5 log(0.5/0.25) = 0.1438. One channel, two places, features (3, 4)
    against (4, 3): maps (9, 16)/√337 and (16, 9)/√337, attention 49/337 = 0.1454; with the projection 2 the hint is
    ((6 - 4)² + (8 - 3)²)/2.

    Source: Hinton et al. 2015, section 2; Romero et al. 2015; Zagoruyko and Komodakis 2017; Gu et al. 2024 (reverse).

    >>> student = {"logits": torch.zeros(1, 2), "features": torch.tensor([[[[3.0, 4.0]]]])}
    >>> teacher = {"logits": torch.tensor([[math.log(3), 0.0]]), "features": torch.tensor([[[[4.0, 3.0]]]])}
    >>> losses = knowledge_losses(student, teacher, torch.tensor([[2.0]]), 1.0)
    >>> {name: round(loss.item(), 4) for name, loss in losses.items()}
    {'response': 0.1308, 'hint': 14.5, 'attention': 0.1454}
    """
    ### BEGIN SOLUTION
    teacher = {name: value.detach() for name, value in teacher.items()}
    p, q = ((one["logits"] / temperature).log_softmax(dim=1) for one in (teacher, student))
    if reverse:
        p, q = q, p
    response = (p.exp() * (p - q)).sum(dim=1).mean() * temperature**2
    projected = torch.einsum("ts,bshw->bthw", projection, student["features"])
    ours, theirs = (
        nn.functional.normalize(one["features"].square().sum(dim=1).flatten(1), dim=1) for one in (student, teacher)
    )
    return {
        "response": response,
        "hint": (projected - teacher["features"]).square().mean(),
        "attention": (ours - theirs).square().mean(),
    }
    ### END SOLUTION


def self_distillation(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    momentum: float,
) -> dict[str, Tensor]:
    """DINO: a student learns from a moving average of itself, which centring and sharpening keep from collapsing.

    student: (s, b, v), logits of s views of b images; the first g views are those that the teacher sees. teacher:
    (g, b, v), center: (v,). g >= 1, s >= 2. Returns a dict:

        "loss"      the mean, over the pairs of a teacher's view i and a student's view j ≠ i and over the b images, of
                        - Σ over v of  softmax((teacher_i - center) / τ_t) · log softmax(student_j / τ_s)
        "center"    momentum · center + (1 - momentum) · mean of the teacher's logits over its views and images

    The loss uses the center that came in. Gradients flow to the student alone, and "center" has none. Logits may be in
    the thousands.

    One image, g = 1, two student's views, both (0, 0) but for the second, (log 3, 0); teacher (log 4, log 2), center
    (log 2, 0), both temperatures 1, momentum 0.9: the teacher says (1/2, 1/2), the only pair is (0, 1), the loss is
    - (log 0.75 + log 0.25)/2 = 0.837, and the center (0.9 log 2 + 0.1 log 4, 0.1 log 2) = (0.7625, 0.0693).

    Source: Caron et al. 2021, section 3.1 and algorithm 1.

    >>> student = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]]])
    >>> teacher, center = torch.tensor([[[math.log(4), math.log(2)]]]), torch.tensor([math.log(2), 0.0])
    >>> got = self_distillation(student, teacher, center, 1.0, 1.0, 0.9)
    >>> round(got["loss"].item(), 4), [round(x, 4) for x in got["center"].tolist()]
    (0.837, [0.7625, 0.0693])
    """
    ### BEGIN SOLUTION
    teacher, center = teacher.detach(), center.detach()
    target = ((teacher - center) / teacher_temperature).softmax(dim=-1)
    said = (student / student_temperature).log_softmax(dim=-1)
    pairs = -torch.einsum("gbv,sbv->gs", target, said) / student.shape[1]
    other = ~torch.eye(len(teacher), len(student), dtype=torch.bool)
    moved = momentum * center + (1 - momentum) * teacher.mean(dim=(0, 1))
    return {"loss": pairs[other].mean(), "center": moved}
    ### END SOLUTION


def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher towards its student, in place: momentum · teacher + (1 - momentum) · student.

    Both modules are built alike. All parameters move, a tied one once; buffers (running statistics, counters, and those
    that no state_dict has) are copied from the student. Nothing is recorded for autograd, the student does not change,
    requires_grad, gradients and modes stay as they are.

    Teacher 1, student 3, momentum 0.75: 1.5.

    Source: Tarvainen and Valpola 2017; Caron et al. 2021.

    >>> teacher, student = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(teacher.weight, 1.0), nn.init.constant_(student.weight, 3.0)
    >>> update_teacher(teacher, student, 0.75)
    >>> teacher.weight.item()
    1.5
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
            old.mul_(momentum).add_(new, alpha=1 - momentum)
        for old, new in zip(teacher.buffers(), student.buffers(), strict=True):
            old.copy_(new)
    ### END SOLUTION


def mutual_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Deep mutual learning: each of m networks learns from the labels and from all others. (m,), a loss for each.

    logits: (m, b, v), m >= 2, labels: int64 (b,). The loss of network k is

        mean over b of  - log p_k[label]    +    mean over the m - 1 others l of   mean over b of KL(p_l || p_k)

    In it the others are constants: the sum of all losses gives each network the gradient of its own loss alone.

    Two networks, one example, logits (0, 0) and (log 3, 0), label 0: log 2 + KL((¾, ¼) || (½, ½)) = 0.6931 + 0.1308 and
    log 4/3 + KL((½, ½) || (¾, ¼)) = 0.2877 + 0.1438.

    Source: Zhang et al. 2018, section 2.

    >>> mutual_losses(torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]]]), torch.tensor([0])).round(decimals=4)
    tensor([0.8240, 0.4315])
    """
    ### BEGIN SOLUTION
    own = logits.log_softmax(dim=-1)
    others = own.detach()
    right = own.gather(-1, labels.expand(len(logits), -1)[..., None]).squeeze(-1).mean(dim=1)
    apart = (others.exp()[:, None] * (others[:, None] - own)).sum(dim=-1).mean(dim=-1)  # (from l, to k)
    return apart.sum(dim=0) / (len(logits) - 1) - right
    ### END SOLUTION


def tie_embeddings(embedding: nn.Embedding, head: nn.Linear) -> None:
    """Let the output layer use the matrix of the input embedding: from now on one parameter, in place.

    embedding: nn.Embedding(v, d), head: nn.Linear(d, v), with or without bias. Afterwards head.weight *is*
    embedding.weight, with the embedding's values; the head's bias stays. So it is counted once by `parameters()`, both
    uses add their gradients, an optimizer moves both, and both stay tied in a deepcopy of a model that holds them and
    after load_state_dict. A copy of the values would be equal until the first step; a shared storage under two
    parameters would be counted twice.

    GPT-2 saves 50,257 · 768 = 38,597,376 parameters so.

    Raises ValueError if the shapes of the two weights differ.

    Source: Press and Wolf 2017; Inan et al. 2017.

    >>> embedding, head = nn.Embedding(7, 3), nn.Linear(3, 7)
    >>> tie_embeddings(embedding, head)
    >>> head.weight is embedding.weight, sum(p.numel() for p in nn.ModuleList([embedding, head]).parameters())
    (True, 28)
    """
    ### BEGIN SOLUTION
    if head.weight.shape != embedding.weight.shape:
        raise ValueError(f"a head of {tuple(head.weight.shape)} for embeddings of {tuple(embedding.weight.shape)}")
    head.weight = embedding.weight
    ### END SOLUTION


def grow_vocabulary(embedding: nn.Embedding, head: nn.Linear, size: int) -> None:
    """Make room for new words, in place: v rows become `size`, tied stays tied.

    Old rows of embedding.weight, head.weight and, where there is one, head.bias keep their values; each new row is the
    *mean of the old rows*, so that a new word's logit is the mean of the old ones and takes no word's place. Attributes
    follow (num_embeddings, out_features); padding_idx, dtype and requires_grad stay. If head.weight was
    embedding.weight it is so afterwards; if not, each grows by itself.

    Rows (1, 2) and (3, 6), size 3: the new row is (2, 4). With `size` = v no value changes.

    Raises ValueError if size is less than v.

    Source: Hewitt 2021.

    >>> embedding, head = nn.Embedding(2, 2), nn.Linear(2, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = embedding.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    >>> tie_embeddings(embedding, head)
    >>> grow_vocabulary(embedding, head, 3)
    >>> head.weight[2].tolist(), head.weight is embedding.weight, head.out_features
    ([2.0, 4.0], True, 3)
    """
    ### BEGIN SOLUTION
    if size < embedding.num_embeddings:
        raise ValueError(f"{size} words, and there are {embedding.num_embeddings}")

    def grown(old: nn.Parameter) -> nn.Parameter:
        values = old.detach()
        new = values.mean(dim=0).expand(size - len(values), *values.shape[1:])
        return nn.Parameter(torch.cat([values, new]), old.requires_grad)

    tied = head.weight is embedding.weight
    embedding.weight = grown(embedding.weight)
    head.weight = embedding.weight if tied else grown(head.weight)
    if head.bias is not None:
        head.bias = grown(head.bias)
    embedding.num_embeddings = head.out_features = size
    ### END SOLUTION


def widen(weight: Tensor, bias: Tensor, following: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Net2Wider: more units in a layer, and the network computes what it did. (weight, bias, following), wider.

    weight: (o, i, ...) and bias: (o,), of a linear layer or a convolution; following: (p, o, ...), the weight of the
    next one. source: int64 (n,), n >= o: unit j of the wide layer is a copy of unit source[j], and each old unit is the
    source of at least one. What is copied r times (r = how often its number is in source) gives 1/r of its old weight
    to the next layer from each copy:

        weight'[j] = weight[source[j]]     bias'[j] = bias[source[j]]     following'[:, j] = following[:, source[j]] / r

    Between the layers stands any function of single units (ReLU, GELU, pooling, an unaffine BatchNorm in eval mode).
    Under a LayerNorm this is exact only if *every* unit is copied equally often: other sources move its mean.

    weight (1; 2), bias (3, 4), following (10, 20), source (0, 1, 1): weight (1; 2; 2), bias (3, 4, 4), following
    (10, 10, 10).

    Raises ValueError if an old unit is no source: the function would change.

    Source: Chen et al. 2016, section 2.3.

    >>> wide = widen(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 4.0]), torch.tensor([[10.0, 20.0]]),
    ...              torch.tensor([0, 1, 1]))
    >>> [one.tolist() for one in wide]
    [[[1.0], [2.0], [2.0]], [3.0, 4.0, 4.0], [[10.0, 10.0, 10.0]]]
    """
    ### BEGIN SOLUTION
    copies = torch.bincount(source, minlength=len(weight))
    if not copies.all():
        raise ValueError(f"unit {int(copies.argmin())} is the source of none")
    share = copies[source].to(following.dtype).view(1, -1, *[1] * (following.dim() - 2))
    return weight[source], bias[source], following[:, source] / share
    ### END SOLUTION


def pool_heads(weight: Tensor, heads: int, groups: int) -> Tensor:
    """From multi-head to grouped-query attention: the key or value heads of each group become their mean.

    weight: (heads · d, ...), of the projection to keys or values, or its bias (heads · d,): head k has rows k·d ...
    (k+1)·d - 1. Neighbours form a group, heads / groups in each. Returns (groups · d, ...).

    Four heads of d = 1 with weights (1, 3, 5, 9), two groups: (2, 7).

    Raises ValueError if groups does not divide heads, or heads not the rows.

    Source: Ainslie et al. 2023, section 2.1 (mean pooling was better there than taking one head, or new ones).

    >>> pool_heads(torch.tensor([[1.0], [3.0], [5.0], [9.0]]), heads=4, groups=2).tolist()
    [[2.0], [7.0]]
    """
    ### BEGIN SOLUTION
    if heads % groups or len(weight) % heads:
        raise ValueError(f"{len(weight)} rows of {heads} heads in {groups} groups")
    parts = weight.reshape(groups, heads // groups, len(weight) // heads, *weight.shape[1:])
    return parts.mean(dim=1).flatten(0, 1)
    ### END SOLUTION


class Block(nn.Module):
    """A residual block of width d, given: x + down(relu(up(norm(x))))."""

    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, hidden), nn.Linear(hidden, d)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., d) -> (..., d)."""
        return x + self.down(self.up(self.norm(x)).relu())


def grow_depth(blocks: list[nn.Module], depth: int, how: str) -> list[nn.Module]:
    """A deeper stack of residual blocks, begun from a trained one of L blocks: a list of `depth` modules.

    blocks: each computes x + down(...) with an nn.Linear `down` that has a bias, as `Block`. New block k (from 0) is a
    deep copy of

        "stack"       block k mod L              0 1 2 0 1 2 0 ...
        "spread"      block ⌊k·L / depth⌋        0 0 1 1 2 2
        "identity"    as "spread", but of the copies of one block only the first is as it was: in all others down's
                      weight and bias are 0, so that they add nothing, and the deep network computes what the old did

    The new blocks share no parameter with each other or with the old ones, which do not change.

    Raises ValueError if depth is less than L, or how is another word.

    Source: Gong et al. 2019 ("stack"); Chen et al. 2016, section 2.4, and Wu et al. 2024 ("identity").

    >>> blocks = [Block(3, 5), Block(3, 5)]
    >>> for block, value in zip(blocks, (1.0, 2.0)):
    ...     _ = nn.init.constant_(block.down.bias, value)
    >>> [[b.down.bias[0].item() for b in grow_depth(blocks, 5, how)] for how in ("stack", "spread", "identity")]
    [[1.0, 2.0, 1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 2.0, 2.0], [1.0, 0.0, 0.0, 2.0, 0.0]]
    """
    ### BEGIN SOLUTION
    old = len(blocks)
    if depth < old or how not in ("stack", "spread", "identity"):
        raise ValueError(f"{old} blocks, to {depth}, by '{how}'")
    origin = [k % old if how == "stack" else k * old // depth for k in range(depth)]
    deep = [copy.deepcopy(blocks[k]) for k in origin]
    for k in range(1, depth):
        if how == "identity" and origin[k] == origin[k - 1]:
            nn.init.zeros_(deep[k].down.weight)
            nn.init.zeros_(deep[k].down.bias)
    return deep
    ### END SOLUTION


def size_at(step: int, steps: int, low: int, high: int, multiple: int) -> int:
    """The size of images, or length of sequences, at a step of progressive training: it grows with the network's skill.

    low + (high - low) · step / steps, rounded down to a multiple of `multiple`; high from step = steps on. 0 <= step,
    low <= high, both multiples of `multiple`; in whole numbers, without an error of floats.

    128 to 224 in 6 steps, multiples of 32: 128, 128, 160, 160, 192, 192, 224, 224, ...

    Source: Tan and Le 2021, section 4 (EfficientNetV2).

    >>> [size_at(step, 6, 128, 224, 32) for step in range(8)]
    [128, 128, 160, 160, 192, 192, 224, 224]
    """
    ### BEGIN SOLUTION
    size = low + (high - low) * min(step, steps) // steps
    return size // multiple * multiple
    ### END SOLUTION


def merge_models(models: list[Weights], shares: list[float]) -> Weights:
    """The weighted mean of models of one architecture (a model soup): Σ share · weights / Σ share, by name.

    Values 1 and 5, shares 1 and 3: 4.

    Source: Wortsman et al. 2022.

    >>> merge_models([{"w": torch.tensor([1.0])}, {"w": torch.tensor([5.0])}], [1.0, 3.0])
    {'w': tensor([4.])}
    """
    ### BEGIN SOLUTION
    total = sum(shares)
    return {
        name: torch.stack([share / total * model[name] for model, share in zip(models, shares, strict=True)]).sum(dim=0)
        for name in models[0]
    }
    ### END SOLUTION


def slerp(a: Weights, b: Weights, t: float) -> Weights:
    """Spherical interpolation of two models, each tensor as one vector: along the arc, not along the chord.

    With Ω the angle between the two tensors, flattened, 0 <= t <= 1:

        sin((1 - t) Ω) / sin Ω · a   +   sin(t Ω) / sin Ω · b         the tensors themselves, not their unit vectors

    If sin Ω < 1e-4, or one of the two is all zeros, it is (1 - t) · a + t · b.

    (1, 0) and (0, 1), t = 1/3: (sin 60°, sin 30°) = (0.8660, 0.5).

    Source: Shoemake 1985.

    >>> slerp({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}, 1 / 3)
    {'w': tensor([0.8660, 0.5000])}
    """
    ### BEGIN SOLUTION
    out = {}
    for name, one in a.items():
        u, v = one.detach().double().flatten(), b[name].detach().double().flatten()
        angle = torch.acos(u @ v / u.norm() / v.norm())  # NaN if one is all zeros: then no sine is large
        s, r = 1 - t, t
        if angle.sin() >= 1e-4:
            s, r = torch.sin((1 - t) * angle) / angle.sin(), torch.sin(t * angle) / angle.sin()
        out[name] = (s * u + r * v).view(one.shape).to(one.dtype)
    return out
    ### END SOLUTION


def add_task_vectors(base: Weights, tuned: list[Weights], scales: list[float]) -> Weights:
    """Task arithmetic: base + Σ scale · (tuned - base). A negative scale makes the model forget a task.

    base 10, tuned 12 and 7, scales 0.5 and -1: 10 + 1 + 3 = 14.

    Source: Ilharco et al. 2023.

    >>> tuned = [{"w": torch.tensor([12.0])}, {"w": torch.tensor([7.0])}]
    >>> add_task_vectors({"w": torch.tensor([10.0])}, tuned, [0.5, -1.0])
    {'w': tensor([14.])}
    """
    ### BEGIN SOLUTION
    return {
        name: old + torch.stack([s * (one[name] - old) for one, s in zip(tuned, scales, strict=True)]).sum(dim=0)
        for name, old in base.items()
    }
    ### END SOLUTION


def ties(base: Weights, tuned: list[Weights], keep: float, scale: float) -> Weights:
    """TIES merging: task vectors without their small entries, and without those that contradict the majority.

    A model's task vector τ is tuned - base, all its tensors as one vector of N entries.

        trim      in each τ the round(keep · N) entries with the largest |τ| stay, the others become 0
        elect     the sign of each entry is the sign of the sum of all trimmed τ there
        merge     the mean of those trimmed τ whose entry has the elected sign (zeros have none); 0 where no τ is left

    Returns base + scale · merged. Magnitudes within a τ are all different, and no sum of trimmed entries is 0 unless
    all of them are.

    base 0, τ (4, 1, -3), (2, -5, 0.5), (-1, -4, 3.5), keep 2/3: trimmed (4, 0, -3), (2, -5, 0), (0, -4, 3.5); signs
    (+, -, +); merged (3, -4.5, 3.5).

    Source: Yadav et al. 2023, algorithm 1.

    >>> tuned = [{"w": torch.tensor(w)} for w in ([4.0, 1.0, -3.0], [2.0, -5.0, 0.5], [-1.0, -4.0, 3.5])]
    >>> ties({"w": torch.zeros(3)}, tuned, keep=2 / 3, scale=1.0)
    {'w': tensor([ 3.0000, -4.5000,  3.5000])}
    """
    ### BEGIN SOLUTION
    vectors = torch.stack([torch.cat([(one[name] - old).flatten() for name, old in base.items()]) for one in tuned])
    strongest = vectors.abs().topk(round(keep * vectors.shape[1]), dim=1).indices
    trimmed = torch.zeros_like(vectors).scatter(1, strongest, vectors.gather(1, strongest))
    agrees = (trimmed.sign() == trimmed.sum(dim=0).sign()) & (trimmed != 0)
    merged = (trimmed * agrees).sum(dim=0) / agrees.sum(dim=0).clamp(min=1)
    parts = merged.split([old.numel() for old in base.values()])
    return {name: old + scale * part.view(old.shape) for (name, old), part in zip(base.items(), parts, strict=True)}
    ### END SOLUTION
