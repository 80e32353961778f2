"""dl_019 · Advanced regularization: noise that keeps the mean, labels that follow the pixels, flat minima.

Notation
    n  examples in a batch      c  channels, or classes      h, w  height and width of a map
    d  width of a layer         p  probability to drop       λ     share of an image that stays its own

Random functions take a `generator`: every random number comes from it, none from global state, and it is never seeded
anew. So equal generators give equal results, and a second call with the same generator is another draw. How many
numbers you take from it, and in which order, is up to you: only the distribution is asked for.

Soft targets y are (n, c), floating, with rows that sum to 1. Results keep the dtype of their input.

Further reading: Huang et al. 2016 (stochastic depth), Zhang et al. 2018 (mixup), Yun et al. 2019 (CutMix), Ghiasi et
al. 2018 (DropBlock), Szegedy et al. 2016 (label smoothing), Wu et al. 2021 (R-Drop), Foret et al. 2021 (SAM).
"""

import copy
import math
from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sample_beta(alpha: float, generator: torch.Generator) -> float:
    """λ from Beta(alpha, alpha), with randomness from `generator` (torch's own Beta takes none). alpha 0: always 1.0.

    Given. Raises ValueError if alpha is negative or NaN.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    if alpha == 0:
        return 1.0
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def drop_path(x: Tensor, p: float, training: bool = True, *, generator: torch.Generator) -> Tensor:
    """Stochastic depth: a residual branch, dropped as a whole for each example, with probability p.

        out[i] = 0 with probability p, else x[i] / (1 - p)          independently for each i

    x: (n, ...), the output of a branch, with any number of axes behind n (none, too); used as x + drop_path(branch(x)).
    Dividing by 1 - p keeps the mean, so that evaluation needs no factor: with training=False, or p = 0, out equals x.
    Gradients flow to the examples that were kept, with the same factor.

    Raises ValueError unless 0 <= p < 1, in evaluation too.

    Source: Huang et al. 2016, section 3, equation 2 (they scale at test time; everybody since scales in training, as in
    dropout); Larsson et al. 2017, "FractalNet", for the name.

    >>> out = drop_path(torch.ones(1000, 3), 0.5, generator=torch.Generator().manual_seed(0))
    >>> sorted(set(map(tuple, out.tolist())))
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    ### BEGIN SOLUTION
    if not 0 <= p < 1:
        raise ValueError(f"p must be in [0, 1), got {p}")
    if not training:
        return x
    kept = torch.rand(len(x), generator=generator) >= p
    return x * kept.view(-1, *[1] * (x.dim() - 1)) / (1 - p)
    ### END SOLUTION


def drop_path_schedule(rate: float, depth: int, rule: str = "linear", progress: float = 1.0) -> list[float]:
    """The drop probability of each of `depth` residual blocks, from the input to the output: `depth` plain floats.

        "constant"    rate                                  for every block
        "linear"      rate · l / depth                      l = 1 ... depth          Huang et al. 2016, equation 4
        "linspace"    rate · l / (depth - 1)                l = 0 ... depth - 1      timm, Swin: the first never drops

    With rate 0.2 and 4 blocks "linear" is 0.05, 0.1, 0.15, 0.2 and "linspace" is 0, 0.0667, 0.1333, 0.2. A single block
    gets 0 from "linspace". All are multiplied by `progress`, the share of training that is done (0 at the start, 1 at
    the end): the form in time, NASNet's ScheduledDropPath. No blocks: an empty list.

    Raises ValueError if the rule has another name, or if rate or progress is not in [0, 1].

    Source: Huang et al. 2016, section 3; Zoph et al. 2018, "Learning transferable architectures", section 4 and code.

    >>> drop_path_schedule(0.5, 4), drop_path_schedule(0.5, 2, "linspace", progress=0.5)
    ([0.125, 0.25, 0.375, 0.5], [0.0, 0.25])
    """
    ### BEGIN SOLUTION
    if not (0 <= rate <= 1 and 0 <= progress <= 1):
        raise ValueError(f"rate and progress must be in [0, 1], got {rate} and {progress}")
    if rule == "constant":
        shares = [1.0] * depth
    elif rule == "linear":
        shares = [(i + 1) / depth for i in range(depth)]
    elif rule == "linspace":
        shares = [i / max(depth - 1, 1) for i in range(depth)]
    else:
        raise ValueError(f"no rule '{rule}'")
    return [rate * progress * share for share in shares]
    ### END SOLUTION


def mixup(x: Tensor, y: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend every example, and its target, with a partner from the same batch; return both.

        x'[i] = λ·x[i] + (1 - λ)·x[π(i)]        y'[i] = λ·y[i] + (1 - λ)·y[π(i)]

    x: (n, ...), y: (n, c) soft targets. λ is from Beta(alpha, alpha), *one* for the batch (timm can draw one for each
    example instead); π is a permutation of the batch, all n! equally likely (so an example may be its own partner).
    alpha=0 leaves x and y as they are. x and y may have different dtypes, and each keeps its own.

    Raises ValueError if alpha is negative or NaN.

    Source: Zhang et al. 2018, section 2, figure 1a.

    >>> x, y = mixup(torch.tensor([[1.0], [2.0]]), torch.eye(2), 1.0, torch.Generator().manual_seed(0))
    >>> torch.allclose(x.squeeze(), y @ torch.tensor([1.0, 2.0])), y.sum(dim=1)
    (True, tensor([1., 1.]))
    """
    ### BEGIN SOLUTION
    lam = sample_beta(alpha, generator)
    partner = torch.randperm(len(x), generator=generator)
    return lam * x + (1 - lam) * x[partner], lam * y + (1 - lam) * y[partner]
    ### END SOLUTION


def cutmix_box(height: int, width: int, lam: float, cy: int, cx: int) -> tuple[tuple[int, int, int, int], float]:
    """The box to paste, clipped to the image, and the λ that is left: ((top, bottom, left, right), λ').

    Before clipping the box has the image's aspect ratio and the share 1 - λ of its area: each side is r = sqrt(1 - λ)
    times the image's. Half sides are whole pixels, rounded down as in the authors' code, so that sides are even:

        half_h = floor(floor(height·r) / 2)       rows top ... bottom - 1: those of cy - half_h ... cy + half_h - 1
        half_w = floor(floor(width·r) / 2)        columns left ... right - 1: those of cx - half_w ... cx + half_w - 1

    that the image has. λ' = 1 - (bottom - top)·(right - left) / (height·width) is the share of pixels that really stay.
    With height 7, width 11, λ = 0.75 and centre (0, 5): r = 0.5, half sides 1 and 2, so 2 x 4 pixels, of which the
    image has 1 x 4: ((0, 1, 3, 7), 73/77 = 0.948). Labels mixed by the λ asked for would be wrong by 0.2.

    Source: Yun et al. 2019, section 3.1, equation 2, and `rand_bbox` of the authors' code.

    >>> cutmix_box(8, 8, 0.75, 4, 7)
    ((2, 6, 5, 8), 0.8125)
    """
    ### BEGIN SOLUTION
    ratio = math.sqrt(1 - lam)
    half_h, half_w = int(height * ratio) // 2, int(width * ratio) // 2
    top, bottom = max(cy - half_h, 0), min(cy + half_h, height)
    left, right = max(cx - half_w, 0), min(cx + half_w, width)
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (height * width)
    ### END SOLUTION


def cutmix(x: Tensor, y: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of a partner's pixels into every image; mix the targets by the area that was really pasted.

        x'[i] = x[π(i)] inside the box, x[i] outside          y'[i] = λ'·y[i] + (1 - λ')·y[π(i)]

    x: (n, c, h, w), y: (n, classes) soft targets. λ is from Beta(alpha, alpha); the box and λ' are `cutmix_box`'s, with
    a centre (cy, cx) that is uniform over all h·w pixels. One λ, one box and one permutation π (all n! equally likely,
    as in `mixup`) serve the whole batch, all channels alike. alpha=0 leaves x and y as they are; each keeps its dtype.

    Raises ValueError if alpha is negative or NaN.

    Source: Yun et al. 2019, algorithm A1.

    >>> images = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 4, 6)
    >>> x, y = cutmix(images, torch.eye(2), 1.0, torch.Generator().manual_seed(3))
    >>> torch.allclose(x.mean(dim=(1, 2, 3)), y[:, 1])  # the share of pixels from image 1 is the weight of label 1
    True
    """
    ### BEGIN SOLUTION
    height, width = x.shape[2:]
    cy, cx = (int(torch.randint(size, (), generator=generator)) for size in (height, width))
    (top, bottom, left, right), lam = cutmix_box(height, width, sample_beta(alpha, generator), cy, cx)
    partner = torch.randperm(len(x), generator=generator)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[partner, :, top:bottom, left:right]
    return mixed, lam * y + (1 - lam) * y[partner]
    ### END SOLUTION


def label_smoothing_loss(logits: Tensor, targets: Tensor, epsilon: float = 0.1) -> Tensor:
    """Mean cross-entropy of logits (n, c) with smoothed targets: 0-d, in the dtype of the logits, whatever y's is.

        q = (1 - epsilon)·y + epsilon / c            loss = mean over n of -(sum over classes of q·log softmax(logits))

    targets: class numbers (n,), int64, or soft targets y (n, c) as mixup makes them; these are smoothed just the same.
    epsilon / c goes to *every* class, the right one included (Szegedy et al., torch, timm): with c = 4 and epsilon 0.1
    the right class gets 0.925 and each other one 0.025. Some code gives epsilon / (c - 1) to each wrong class and none
    to the right one: that would be 0.9 and 0.0333.
    Logits of 10,000 give no Inf or NaN. Gradients flow to the logits (and to soft targets).

    `F.cross_entropy` is what you write: do not call it.
    Raises ValueError unless 0 <= epsilon <= 1.

    Source: Szegedy et al. 2016, "Rethinking the Inception architecture", section 7.

    >>> label_smoothing_loss(torch.tensor([[math.log(2), 0.0, 0.0]]), torch.tensor([0]), 0.3)  # log 2 + 0.2·log 2
    tensor(0.8318)
    """
    ### BEGIN SOLUTION
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be in [0, 1], got {epsilon}")
    classes = logits.shape[1]
    if not targets.is_floating_point():
        targets = F.one_hot(targets, classes)
    smoothed = (1 - epsilon) * targets.to(logits.dtype) + epsilon / classes
    return -(smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    ### END SOLUTION


def drop_block(x: Tensor, p: float, block_size: int, training: bool = True, *, generator: torch.Generator) -> Tensor:
    """DropBlock: zero out squares of b x b pixels, b = block_size; x: (n, c, h, w).

    The field splits three times; this is the paper's algorithm 1. *Where*: blocks lie wholly inside the map. Each pixel
    (i, j) with i <= h - b and j <= w - b is, independently and with probability gamma, the top left corner of a dropped
    block: rows i ... i + b - 1, columns j ... j + b - 1 (b may be even).

        gamma = p / b² · h·w / ((h - b + 1)·(w - b + 1))                                  (never above p)

    *For whom*: each channel of each example has corners of its own. *Renormalised*: what is kept is multiplied by one
    number, entries / entries kept, counted over all of (n, c, h, w), whether x is 0 there or not. Blocks overlap, so
    that less than p is dropped.
    With h = 5, w = 7, b = 3, p = 0.1: gamma = 0.1/9 · 35/15 = 0.0259 for 15 corners (anywhere would be 0.0111 for 35);
    a single block leaves 26 of 35 entries, each multiplied by 35/26.

    With training=False, or p = 0, out equals x. Where nothing is kept out is 0, not NaN. The entries kept are counted
    exactly in half precision, too. Gradients flow to what was kept, with the same factor.

    Raises ValueError unless 0 <= p < 1 and 1 <= block_size <= min(h, w), in evaluation too.

    Source: Ghiasi et al. 2018, section 3, equation 1, algorithm 1. (torchvision agrees for odd b.)

    >>> out = drop_block(torch.ones(8, 3, 5, 7), 0.2, 2, generator=torch.Generator().manual_seed(0))
    >>> round(out.mean().item(), 4), (out == 0).any().item()
    (1.0, True)
    """
    ### BEGIN SOLUTION
    (n, c, h, w), b = x.shape, block_size
    if not (0 <= p < 1 and 1 <= b <= min(h, w)):
        raise ValueError(f"p must be in [0, 1) and block_size in 1 ... {min(h, w)}, got {p} and {b}")
    if not training:
        return x
    rows, columns = h - b + 1, w - b + 1
    gamma = p / b**2 * (h * w) / (rows * columns)
    corners = torch.rand(n, c, rows, columns, generator=generator) < gamma
    kept = F.max_pool2d(F.pad(corners.float(), [b - 1] * 4), b, stride=1) == 0
    return x * kept * (kept.numel() / max(int(kept.sum()), 1))
    ### END SOLUTION


class MixPipeline:
    """Labels in, soft targets out: smoothing, then mixup or cutmix or neither, as Swin and DeiT are trained.

    Called with x (n, c, h, w), class numbers `labels` (n,), int64, and a generator; returns (x', y') with y'
    (n, num_classes) in the dtype of x. y = (1 - epsilon)·onehot + epsilon / num_classes. Then, for the whole batch:

        with probability 1 - prob              x and y as they are
        else, with probability switch_prob     `cutmix` with cutmix_alpha
        else                                   `mixup` with mixup_alpha

    Where one alpha is 0, the other way takes its place (whatever switch_prob is); where both are, nothing is mixed.
    The defaults are Swin's: every batch is mixed, half of them cut, half blended, none both.

    Source: Liu et al. 2021, "Swin transformer", A2.1; timm's `Mixup`, whose partners are the reversed batch.

    >>> pipeline = MixPipeline(4, prob=0.0)
    >>> pipeline(torch.zeros(1, 3, 8, 8), torch.tensor([2]), torch.Generator())[1]
    tensor([[0.0250, 0.0250, 0.9250, 0.0250]])
    """

    def __init__(
        self,
        num_classes: int,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        epsilon: float = 0.1,
    ) -> None:
        self.num_classes = num_classes
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.prob = prob
        self.switch_prob = switch_prob
        self.epsilon = epsilon

    def __call__(self, x: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        ### BEGIN SOLUTION
        onehot = F.one_hot(labels, self.num_classes).to(x.dtype)
        y = (1 - self.epsilon) * onehot + self.epsilon / self.num_classes
        mix, switch = torch.rand(2, generator=generator).tolist()
        if mix >= self.prob:
            return x, y
        cut = switch < self.switch_prob if self.mixup_alpha and self.cutmix_alpha else self.cutmix_alpha
        return cutmix(x, y, self.cutmix_alpha, generator) if cut else mixup(x, y, self.mixup_alpha, generator)
        ### END SOLUTION


class ModelEMA:
    """An exponential moving average of a model's weights and buffers, kept beside the training; evaluate with it.

    module: a copy of the model that shares no tensor with it, in eval mode, whose parameters require no gradient; until
    the first update it holds what the model held at the start. updates: how many updates there were (0 at first).

        average = decay_t·average + (1 - decay_t)·new                decay_t = min(decay, (1 + t) / (10 + t))

    t is the number of updates before this one: the first has min(decay, 1/10), the second min(decay, 2/11), so that the
    random initial weights are soon forgotten. With warmup=False decay_t is always `decay`.

    Source: Polyak and Juditsky 1992; Tarvainen and Valpola 2017; TensorFlow's `ExponentialMovingAverage` (num_updates).

    >>> model = nn.Linear(1, 1)
    >>> model.weight.data.fill_(0.0)
    tensor([[0.]])
    >>> ema = ModelEMA(model)
    >>> model.weight.data.fill_(10.0)
    tensor([[10.]])
    >>> ema.update(model)
    >>> ema.module.weight, ema.updates
    (Parameter containing:
    tensor([[9.]]), 1)
    """

    module: nn.Module
    updates: int

    def __init__(self, model: nn.Module, decay: float = 0.9999, warmup: bool = True) -> None:
        """Raises ValueError unless 0 <= decay <= 1. The model and its mode stay as they are."""
        ### BEGIN SOLUTION
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got {decay}")
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        ### END SOLUTION

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average in what the model is now: call it after each `optimizer.step()`. The model stays as it is.

        Parameters and *all* buffers, the non-persistent ones too: floating ones (running means) are averaged, others
        (counters) are copied. A tensor that has two names (tied weights) is averaged once. The tensors of `module` are
        written in place, and build no graph, in whatever mode the model is. Nothing else stays alive after an update:
        no second copy of the weights, no history.
        """
        ### BEGIN SOLUTION
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        self.updates += 1
        latest = _tensors(model)
        for name, average in _tensors(self.module).items():
            if average.is_floating_point():
                average.lerp_(latest[name], 1 - decay)
            else:
                average.copy_(latest[name])
        ### END SOLUTION


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, a tied one under its first name only. Given."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def r_drop_loss(first: Tensor, second: Tensor, targets: Tensor, alpha: float) -> Tensor:
    """R-Drop: the cross-entropies of two passes of one batch under different dropout, plus their disagreement.

        loss = mean over n of  -log P1[target] - log P2[target] + alpha · 1/2·(KL(P1 ‖ P2) + KL(P2 ‖ P1))

    first, second: logits (n, c) of the two passes; P1, P2 their softmax. targets: class numbers (n,), int64. The two
    cross-entropies are *summed*, as in the paper (some code halves them: alpha then weighs twice as much). Gradients
    flow through both passes, inside the KL terms too. 0-d, natural logarithms. Logits of 10,000 give no Inf or NaN.

    With P1 = (1/2, 1/2), P2 = (1/4, 3/4), target 1: log 2 + log 4/3, and 1/2·(0.1438 + 0.1308) = 0.1373 times alpha.

    Source: Wu et al. 2021, section 2.1, equations 2-4.

    >>> r_drop_loss(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]), alpha=2.0)
    tensor(1.2555)
    """
    ### BEGIN SOLUTION
    p, q = first.log_softmax(dim=1), second.log_softmax(dim=1)
    divergences = ((p.exp() - q.exp()) * (p - q)).sum(dim=1).mean()  # KL(P1 ‖ P2) + KL(P2 ‖ P1)
    return F.nll_loss(p, targets) + F.nll_loss(q, targets) + alpha / 2 * divergences
    ### END SOLUTION


def sam_step(closure: Callable[[], Tensor], optimizer: torch.optim.Optimizer, rho: float = 0.05) -> Tensor:
    """One step of sharpness-aware minimisation: the gradient of the worst point nearby, applied here.

    closure() runs the model on the batch and returns the loss, without backward. It is called twice:

        1. at w, for g, the gradient of the loss there            w_adv = w + rho · g / (‖g‖ + 1e-12)
        2. at w_adv, for the gradient with which the optimizer, back at w, makes *one* `step()`

    ‖g‖ is one L2 norm over the parameters of all of the optimizer's groups (at least one has a gradient); a parameter
    that the loss does not reach stays out. Gradients from before the call are dropped, and those of the first pass do
    not add to those of the second. A gradient of 0 leaves w_adv = w.

    Before `step()` every weight is back at w *exactly*, also if the second closure() raises (the error, or
    KeyboardInterrupt, goes through, no step is made). To add and then to subtract is not the same: in float32,
    1e-8 + 0.05 - 0.05 is not 1e-8.
    Returns the loss at w, the first of the two, 0-d and without a graph. Nothing of the two passes stays alive but the
    gradients, and what the optimizer keeps: no graph, no copy of a weight.

    Raises ValueError if rho is negative or NaN, before closure is called. rho=0 is a plain step.

    Source: Foret et al. 2021, "Sharpness-aware minimization", equation 2, algorithm 1.

    >>> w = nn.Parameter(torch.tensor([1.0]))
    >>> loss = sam_step(lambda: (w**2).sum(), torch.optim.SGD([w], lr=0.25), rho=0.5)  # slope 3 at 1.5, applied at 1
    >>> loss, w.item()
    (tensor(1.), 0.25)
    """
    ### BEGIN SOLUTION
    if not rho >= 0:
        raise ValueError(f"rho must be at least 0, got {rho}")
    optimizer.zero_grad()
    loss = closure()
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    saved = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            for p in parameters:
                p.add_(p.grad * (rho / (norm + 1e-12)))
        optimizer.zero_grad()
        closure().backward()
    finally:
        with torch.no_grad():
            for p, before in zip(parameters, saved, strict=True):
                p.copy_(before)
    optimizer.step()
    return loss.detach()
    ### END SOLUTION


FACTS = ("images", "feature maps", "residual", "dropout", "classes", "dense targets", "teacher")


def usable_regularizers(facts: Collection[str], budget: int = 1) -> list[str]:
    """The names of the techniques that fit a task, in the order of this table.

        name               needs                     not with           passes per step
        "drop_path"        residual                  -                  1
        "drop_block"       feature maps              -                  1
        "mixup"            images, classes           dense targets      1
        "cutmix"           images, classes           dense targets      1
        "label_smoothing"  classes                   teacher            1
        "ema"              -                         -                  1
        "r_drop"           dropout, classes          -                  2
        "sam"              -                         -                  2

    facts, a list or a set out of FACTS: inputs are "images" (token ids cannot be blended); the network has "feature
    maps" (h, w), "residual" branches, or "dropout"; targets are "classes" (no regression), or "dense targets" (boxes,
    masks: they would have to be mixed along); the model will be a "teacher" for distillation (label smoothing wipes out
    what its wrong classes say about similarity: Müller et al. 2019). A technique is in if all that it needs is among
    the facts, nothing that it does not go with is, and its passes (forward and backward) are at most `budget`.

    Raises ValueError if a fact is not in FACTS: a typing error must not look like a no.

    >>> usable_regularizers({"classes", "dropout", "residual"}, budget=2)  # a text classifier
    ['drop_path', 'label_smoothing', 'ema', 'r_drop', 'sam']
    """
    ### BEGIN SOLUTION
    unknown = set(facts) - set(FACTS)
    if unknown:
        raise ValueError(f"unknown facts: {unknown}")
    table: list[tuple[str, set[str], set[str], int]] = [
        ("drop_path", {"residual"}, set(), 1),
        ("drop_block", {"feature maps"}, set(), 1),
        ("mixup", {"images", "classes"}, {"dense targets"}, 1),
        ("cutmix", {"images", "classes"}, {"dense targets"}, 1),
        ("label_smoothing", {"classes"}, {"teacher"}, 1),
        ("ema", set(), set(), 1),
        ("r_drop", {"dropout", "classes"}, set(), 2),
        ("sam", set(), set(), 2),
    ]
    return [
        name
        for name, needs, excludes, passes in table
        if needs.issubset(facts) and excludes.isdisjoint(facts) and passes <= budget
    ]
    ### END SOLUTION
