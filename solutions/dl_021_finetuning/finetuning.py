"""dl_021 · Fine-tuning: from the data of pre-training to small updates, and how not to forget.

Notation
    b  examples in a batch     t  tokens        d  width (of inputs, of a model)     o  outputs of a layer
    h  heads                   p  prefix        r  rank of an update                 m  bottleneck of an adapter

Random functions take a `generator`: every random number comes from it, none from global state, and it is never seeded
anew. How many numbers you take from it, and in which order, is up to you: only the distribution is asked for.

Results are of the dtype of their floating input. A size may be 0 only where a docstring says so. The label -100 means:
no loss here (it is what torch's cross-entropy ignores).

Further reading: Devlin et al. 2019 (BERT), Raffel et al. 2020 (T5), Howard and Ruder 2018 (ULMFiT), Hu et al. 2022
(LoRA), Liu et al. 2024 (DoRA), Houlsby et al. 2019 (adapters), He et al. 2022 (a unified view), Li and Liang 2021
(prefix tuning), Lester et al. 2021 (prompt tuning), Kirkpatrick et al. 2017 (EWC), Yu et al. 2020 (PCGrad).
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pretraining_batch(
    tokens: Tensor,
    objective: str,
    *,
    vocab_size: int,
    mask_id: int,
    pad_id: int,
    special: Collection[int],
    generator: torch.Generator,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Inputs and labels of one pre-training step. tokens: (b, t), int64, and so are inputs and labels.

    "causal": inputs (b, t - 1) are tokens 0 ... t - 2, labels are tokens 1 ... t - 1: label j is the token behind input
    j. (Models of `transformers` shift inside: do not shift twice.) A label that is pad_id becomes -100. Other special
    tokens stay labels: a model has to learn when to end. t may be 1: (b, 0) and (b, 0).

    "masked": inputs and labels are (b, t). Each token is *chosen* with probability `share`, independently, but never
    one whose id is pad_id or in `special`. Labels hold the token where it was chosen, -100 elsewhere. In the inputs a
    chosen token becomes, independently of the others,

        mask_id                                        with probability 0.8
        a token, uniform over 0 ... vocab_size - 1     with probability 0.1    (any id, its own and special ones, too)
        what it was                                    with probability 0.1

    and all other tokens stay as they are.

    Raises ValueError if the objective has another name, or unless 0 <= share <= 1.

    Source: Devlin et al. 2019, section 3.1 and A.1 (there 15 % of each sequence; independent choices, as here, are
    those of `transformers`); Radford et al. 2018 for the causal objective.

    >>> ids = {"vocab_size": 50, "mask_id": 4, "pad_id": 0, "special": [1, 2], "generator": torch.Generator()}
    >>> pretraining_batch(torch.tensor([[1, 7, 9, 2, 0, 0]]), "causal", **ids)
    (tensor([[1, 7, 9, 2, 0]]), tensor([[   7,    9,    2, -100, -100]]))
    """
    ### BEGIN SOLUTION
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    if objective == "causal":
        labels = tokens[:, 1:]
        return tokens[:, :-1].clone(), labels.masked_fill(labels == pad_id, -100)
    if objective != "masked":
        raise ValueError(f"no objective '{objective}'")
    allowed = ~torch.isin(tokens, torch.tensor([pad_id, *special]))
    chosen = allowed & (torch.rand(tokens.shape, generator=generator) < share)
    fate = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    inputs = torch.where(fate < 0.8, mask_id, torch.where(fate < 0.9, drawn, tokens))
    return torch.where(chosen, inputs, tokens), torch.where(chosen, tokens, -100)
    ### END SOLUTION


def sentence_pairs(
    documents: Sequence[Sequence[list[int]]], generator: torch.Generator
) -> list[tuple[list[int], list[int], bool]]:
    """BERT's pairs for next-sentence prediction: (first, second, whether second follows first).

    documents: each a list of sentences, a sentence a list of ids. Every sentence that has another behind it in its
    document begins one pair, in the order of documents and sentences. Its second is, independently,

        the sentence behind it                        with probability 1/2      -> True
        a sentence of another document                with probability 1/2      -> False

    where each sentence of all *other* documents is equally likely, whatever the length of its document. A document may
    have no sentence, or one: it begins no pair, but its sentence may be drawn.

    Raises ValueError if a pair has to be made and no other document has a sentence.

    Source: Devlin et al. 2019, section 3.1. RoBERTa (Liu et al. 2019, section 4.2) is as good, or better, without it.

    >>> pairs = sentence_pairs([[[1], [2], [3]], [[8, 9]]], torch.Generator().manual_seed(0))
    >>> [(first, second if follows else [8, 9]) for first, second, follows in pairs] == [
    ...     ([1], [2] if pairs[0][2] else [8, 9]), ([2], [3] if pairs[1][2] else [8, 9])]
    True
    """
    ### BEGIN SOLUTION
    pairs = []
    for number, sentences in enumerate(documents):
        others = [sentence for other, of_it in enumerate(documents) if other != number for sentence in of_it]
        for first, following in itertools.pairwise(sentences):
            if not others:
                raise ValueError("no other document has a sentence")
            follows = bool(torch.rand((), generator=generator) < 0.5)
            stranger = others[int(torch.randint(len(others), (), generator=generator))]
            pairs.append((list(first), list(following if follows else stranger), follows))
    return pairs
    ### END SOLUTION


def span_corruption(
    tokens: Tensor,
    first_sentinel: int,
    *,
    generator: torch.Generator,
    density: float = 0.15,
    mean_span: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """T5's objective: spans are cut out, one sentinel stands in the place of each; the target lists what was cut out.

        tokens  (n)    a b c d e f g h i          spans cut out: c d, and g
        inputs         a b S0 e f S1 h i          S0 = first_sentinel, S1 = first_sentinel - 1, ... (T5 counts down)
        targets        S0 c d S1 g S2             each span behind its sentinel; one more sentinel ends them

    All are int64. How much is cut out is no matter of chance (`round` is Python's):

        noise = round(n · density), at least 1, at most n - 1
        spans = round(noise / mean_span), at least 1, at most noise, at most n - noise

    Tokens alternate: kept, cut, kept, cut, ...: the first stretch is kept, the last is cut out, no stretch is empty.
    The lengths of the cut stretches are one of the ways to write `noise` as an ordered sum of `spans` positive numbers,
    all equally likely; the lengths of the kept ones likewise for n - noise, independently.

    568 tokens have noise 85 and spans 28, so that inputs have 483 + 28 = 511 (512 with the end token that T5's code
    adds to them) and targets 85 + 28 + 1 = 114. (The last of these is a sentinel in the paper's figure 2, and here;
    T5's code has the end token in its place.)

    Raises ValueError if n < 2, or unless 0 < density < 1 and mean_span >= 1.

    Source: Raffel et al. 2020, section 3.1.4, figure 2; `random_spans_noise_mask` in T5's code.

    >>> span_corruption(torch.tensor([5, 6]), 99, generator=torch.Generator())
    (tensor([ 5, 99]), tensor([99,  6, 98]))
    """
    ### BEGIN SOLUTION
    n = len(tokens)
    if n < 2 or not 0 < density < 1 or not mean_span >= 1:
        raise ValueError(f"cannot cut spans of mean {mean_span} out of {n} tokens at density {density}")
    noise = min(max(round(n * density), 1), n - 1)
    spans = min(max(round(noise / mean_span), 1), noise, n - noise)

    def ordered_sum(total: int) -> list[int]:
        """`total` as an ordered sum of positive numbers: spans - 1 of the total - 1 places between units are cuts."""
        cuts = sorted((torch.randperm(total - 1, generator=generator)[: spans - 1] + 1).tolist())
        return [end - start for start, end in itertools.pairwise([0, *cuts, total])]

    cut, kept = ordered_sum(noise), ordered_sum(n - noise)
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    at = 0
    for i in range(spans):
        sentinel = tokens.new_tensor([first_sentinel - i])
        inputs += [tokens[at : at + kept[i]], sentinel]
        targets += [sentinel, tokens[at + kept[i] : at + kept[i] + cut[i]]]
        at += kept[i] + cut[i]
    return torch.cat(inputs), torch.cat([*targets, tokens.new_tensor([first_sentinel - spans])])
    ### END SOLUTION


def freeze(model: nn.Module, trainable: Collection[str]) -> list[nn.Parameter]:
    """Freeze a model but for the modules named in `trainable`; return its trainable parameters, each once.

    trainable: paths as `named_modules` has them, as "head" or "blocks.11" (with all inside; "blocks.1" is not
    "blocks.11"; "" is the whole model). A parameter with two names (tied weights) is trainable if one of them is
    inside.

    * A trainable parameter gets requires_grad True. The order of what is returned is that of `model.parameters()`.
    * Every other parameter gets requires_grad False, and its `grad` becomes None: an optimizer that holds it, made
      before or after, then neither moves nor decays it, whatever momentum it has gathered. (A gradient of 0 would not
      do: AdamW decays, and momentum goes on.)
    * Modules inside the named ones, those that hold a named one, and the model itself get the mode of the model
      (`model.training`); every other module is set to eval, so that its BatchNorm statistics and dropout stand still.

    Call it again behind each `model.train()`, which wakes up every module, and call it with other names to unfreeze: it
    sets every parameter and every module, whatever was frozen before. Values stay as they are.

    Raises ValueError if the model has no module of a name; nothing has been changed then.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    >>> [tuple(p.shape) for p in freeze(model, ["2"])], [m.training for m in model]
    ([(1, 3), (1,)], [False, False, True])
    """
    ### BEGIN SOLUTION
    modules = dict(model.named_modules())
    unknown = [name for name in trainable if name not in modules]
    if unknown:
        raise ValueError(f"no modules {unknown}")
    awake = {inner for name in trainable for inner in modules[name].modules()}
    tuned = {parameter for module in awake for parameter in module.parameters()}
    for module in model.modules():
        if module is not model:
            module.training = model.training and not awake.isdisjoint(module.modules())
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in tuned)
        if parameter not in tuned:
            parameter.grad = None
    return [parameter for parameter in model.parameters() if parameter in tuned]
    ### END SOLUTION


def unfreezing_schedule(layers: Sequence[str], epochs: int, every: int = 1) -> list[list[str]]:
    """ULMFiT's gradual unfreezing: for each epoch the layers that are trainable, for `freeze`.

    layers: names from the input to the output. The first `every` epochs train the last layer alone, the next `every`
    the last two, and so on, until all are trained; each list is in the order of `layers`. No epochs: an empty list.

    Raises ValueError if every < 1 or epochs < 0.

    Source: Howard and Ruder 2018, section 3.3.

    >>> unfreezing_schedule(["embedding", "body", "head"], 4)
    [['head'], ['body', 'head'], ['embedding', 'body', 'head'], ['embedding', 'body', 'head']]
    """
    ### BEGIN SOLUTION
    if every < 1 or epochs < 0:
        raise ValueError(f"every must be at least 1 and epochs at least 0, got {every} and {epochs}")
    return [list(layers[max(len(layers) - 1 - epoch // every, 0) :]) for epoch in range(epochs)]
    ### END SOLUTION


def layer_rates(rate: float, depth: int, factor: float = 2.6) -> list[float]:
    """ULMFiT's discriminative rates: `depth` floats, from the layer at the input to the one at the output.

    The last layer has `rate`, and each layer before it the rate of the one behind it divided by `factor`. With rate 1
    and three layers: 0.148, 0.385, 1. No layers: an empty list.

    Raises ValueError unless factor > 0.

    Source: Howard and Ruder 2018, section 3.2 (2.6 was found by trying).

    >>> layer_rates(8.0, 3, factor=2.0)
    [2.0, 4.0, 8.0]
    """
    ### BEGIN SOLUTION
    if not factor > 0:
        raise ValueError(f"factor must be above 0, got {factor}")
    return [rate / factor ** (depth - 1 - i) for i in range(depth)]
    ### END SOLUTION


def slanted_triangle(step: int, steps: int, rate: float, cut_share: float = 0.1, ratio: float = 32.0) -> float:
    """ULMFiT's schedule: the learning rate at `step` (0 ... steps) of `steps`: a short climb, a long way down.

        cut = floor(steps · cut_share)
        f = step / cut                                         for step < cut
        f = 1 - (step - cut) / (cut · (1/cut_share - 1))       from cut on
        result = rate · (1 + f · (ratio - 1)) / ratio

    So it begins at rate / ratio, is `rate` at step = cut, and is rate / ratio again at step = cut / cut_share. (Where
    steps · cut_share is no whole number that is before the end: behind it f is 0, never below.) With 100 steps and rate
    1: 0.0313 at 0, 0.516 at 5, 1 at 10, 0.516 at 55, 0.0313 at 100.

    Raises ValueError if cut would be 0, or unless 0 < cut_share < 1.

    Source: Howard and Ruder 2018, section 3.2, equation 3.

    >>> [slanted_triangle(step, 40, 1.0, cut_share=0.25, ratio=4.0) for step in (0, 5, 10, 25, 40)]
    [0.25, 0.625, 1.0, 0.625, 0.25]
    """
    ### BEGIN SOLUTION
    cut = math.floor(steps * cut_share)
    if cut < 1 or cut_share >= 1:
        raise ValueError(f"{steps} steps at cut_share {cut_share} leave no step to climb")
    share = step / cut if step < cut else max(1 - (step - cut) / (cut * (1 / cut_share - 1)), 0.0)
    return rate * (1 + share * (ratio - 1)) / ratio
    ### END SOLUTION


class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable update of rank r beside it (LoRA); with dora=True the update of DoRA.

        scale = alpha / r          with rank_stabilized=True: alpha / sqrt(r)
        LoRA    y = x·Wᵀ + bias  +  scale · x̃·Aᵀ·Bᵀ                                     x̃ = dropout(x)
        DoRA    y = x·Wᵀ + bias  +  (g - 1) · x̃·Wᵀ  +  g · scale · x̃·Aᵀ·Bᵀ           g = magnitude / ‖W + scale·B·A‖

    ‖ ‖ is the L2 norm of each of the o *rows* (one number for each output), and a constant for the gradient: it is
    detached, as in the paper's section 4.3 and in peft.

    Its state is these tensors and no more, all of the base's dtype:

        base         the nn.Linear that was given, itself, not a copy; its weight W (o, d) and its bias (if it has one)
                     require no gradient
        A            (r, d)   at the start uniform in ±1/sqrt(d), from `generator`
        B            (o, r)   at the start 0, so that the layer begins as the base
        magnitude    (o)      DoRA only: at the start ‖W‖ of each row

    Dropout (of nn.Dropout, in training mode only, from torch's global generator) acts on the input of the update alone.

    Cost of LoRA, in training and in eval, with and without gradients: work stays in torch, and for b rows of x (..., d)
    the forward pass takes 2·b·r·(d + o) FLOPs beyond the base's 2·b·d·o and makes no tensor of o x d elements, nor does
    the backward pass (whose branch takes twice as much). Nothing that is made stays alive after a call but y and its
    graph. Each call computes from what these tensors are then.

    Source: Hu et al. 2022, section 4.1; Kalajdzievski 2023 (rank-stabilised scale); Liu et al. 2024, section 4 (DoRA).

    >>> layer = LoRALinear(nn.Linear(4, 3), rank=2, alpha=8.0, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(1, 4)
    >>> torch.equal(layer(x), layer.base(x)), layer.scale, sorted(name for name, _ in layer.named_parameters())
    (True, 4.0, ['A', 'B', 'base.bias', 'base.weight'])
    """

    base: nn.Linear
    A: nn.Parameter
    B: nn.Parameter
    scale: float
    merged: bool

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        *,
        generator: torch.Generator,
        rank_stabilized: bool = False,
        dropout: float = 0.0,
        dora: bool = False,
    ) -> None:
        """Raises ValueError if rank < 1. `merged` is False at first."""
        super().__init__()
        ### BEGIN SOLUTION
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        outputs, inputs = base.weight.shape
        self.base = base.requires_grad_(False)
        start = torch.rand(rank, inputs, generator=generator, dtype=base.weight.dtype) * 2 - 1
        self.A = nn.Parameter(start / math.sqrt(inputs))
        self.B = nn.Parameter(base.weight.new_zeros(outputs, rank))
        self.scale = alpha / (math.sqrt(rank) if rank_stabilized else rank)
        self.magnitude = nn.Parameter(base.weight.norm(dim=1)) if dora else None
        self.dropout = nn.Dropout(dropout)
        self.merged = False
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., o). While merged, it is the base's output: the update is in W. x may have no rows."""
        ### BEGIN SOLUTION
        out = self.base(x)
        if self.merged:
            return out
        x = self.dropout(x)
        update = self.scale * F.linear(F.linear(x, self.A), self.B)
        if self.magnitude is None:
            return out + update
        gain = self.magnitude / self._norm()
        return out + (gain - 1) * F.linear(x, self.base.weight) + gain * update
        ### END SOLUTION

    @torch.no_grad()
    def merge(self) -> None:
        """Write the update into W, in place, so that a call costs what the base costs; sets `merged`.

            LoRA    W + scale·B·A                    DoRA    magnitude / ‖W + scale·B·A‖ · (W + scale·B·A)

        `base.weight` stays the parameter that it is. In eval mode outputs are the same as before, up to rounding.
        Merging what is merged changes nothing.
        """
        ### BEGIN SOLUTION
        if self.merged:
            return
        self.base.weight += self.scale * self.B @ self.A
        if self.magnitude is not None:
            self._merged_gain = self.magnitude / self.base.weight.norm(dim=1)
            self.base.weight *= self._merged_gain[:, None]
        self.merged = True
        ### END SOLUTION

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the update out of W again, in place (up to rounding), so that it can be trained on.

        A, B and magnitude are what they were at `merge`, and no magnitude is 0. Without a merge nothing changes.
        """
        ### BEGIN SOLUTION
        if not self.merged:
            return
        if self.magnitude is not None:
            self.base.weight /= self._merged_gain[:, None]
        self.base.weight -= self.scale * self.B @ self.A
        self.merged = False

    @torch.no_grad()
    def _norm(self) -> Tensor:
        """‖W + scale·B·A‖ of each row, without a gradient."""
        return (self.base.weight + self.scale * self.B @ self.A).norm(dim=1)
        ### END SOLUTION


class Adapter(nn.Module):
    """A frozen layer with a trainable bottleneck behind it (sequential) or beside it (parallel).

        branch(z) = up(relu(down(z)))            down: d -> m, up: m -> d, both with bias
        sequential    y = layer(x); y + scale · branch(y)              Houlsby et al. 2019 (scale 1)
        parallel      layer(x) + scale · branch(x)                     He et al. 2022, section 4

    layer: any module from (..., d) to (..., d): kept as `layer`, itself, not a copy; its parameters require no
    gradient. Parameters: `down.weight` (m, d), at the start normal of standard deviation 0.02, from `generator`;
    `up.weight` (d, m), `down.bias` (m), `up.bias` (d), at the start 0: it begins as the layer. They take `dtype`. The
    layer is called once. 2·d·m + m + d parameters are trainable.

    >>> adapter = Adapter(nn.Identity(), 8, 2, generator=torch.Generator().manual_seed(0))
    >>> adapter(torch.ones(1, 8)).tolist(), sum(p.numel() for p in adapter.parameters() if p.requires_grad)
    ([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]], 42)
    """

    layer: nn.Module
    down: nn.Linear
    up: nn.Linear

    def __init__(
        self,
        layer: nn.Module,
        width: int,
        bottleneck: int,
        *,
        generator: torch.Generator,
        parallel: bool = False,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(width, bottleneck, dtype=dtype)
        self.up = nn.Linear(bottleneck, width, dtype=dtype)
        nn.init.normal_(self.down.weight, std=0.02, generator=generator)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)
        self.parallel = parallel
        self.scale = scale
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        ### BEGIN SOLUTION
        y = self.layer(x)
        branch: Tensor = self.up(F.relu(self.down(x if self.parallel else y)))
        return y + self.scale * branch
        ### END SOLUTION


def prefix_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, causal: bool = True
) -> tuple[Tensor, Tensor]:
    """Attention over a trained prefix and the sequence itself: (out, weight), weight the prefix's share of each query.

    q, k: (b, h, t, d), v: (b, h, t, e); prefix_k: (h, p, d), prefix_v: (h, p, e), the same for all b examples. Scores
    are q·k / sqrt(d), and one softmax goes over p + t keys. Every query sees *all* of the prefix, whatever its place;
    with `causal` query i sees of the sequence keys 0 ... i, without it all.

        out (b, h, t, e)         weight (b, h, t) = the sum of the softmax over the p places of the prefix, in [0, 1]

    So out = weight · Attn(q, prefix) + (1 - weight) · Attn(q, k, v): a prefix adds a vector that depends on q, and
    takes as much away from what attention says without it (He et al. 2022, section 3.1). p may be 0: then weight is 0
    and out is plain attention. Gradients flow to all five. Scores of 10,000 give no NaN.

    Source: Li and Liang 2021, section 4.2. (They train it through a small network; what is kept is k and v, as here.)

    >>> q, k, v = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), torch.ones(1, 1, 2, 1)
    >>> out, weight = prefix_attention(q, k, v, torch.zeros(1, 3, 4), torch.zeros(1, 3, 1))
    >>> weight.tolist(), out.flatten().tolist()
    ([[[0.75, 0.6000000238418579]]], [0.25, 0.4000000059604645])
    """
    ### BEGIN SOLUTION
    b, t, p = len(q), q.shape[2], prefix_k.shape[1]
    keys = torch.cat([prefix_k.expand(b, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(b, -1, -1, -1), v], dim=2)
    scores = q @ keys.mT / math.sqrt(q.shape[-1])
    if causal:
        future = torch.ones(t, p + t, dtype=torch.bool).triu(p + 1)
        scores = scores.masked_fill(future, -math.inf)
    weights = scores.softmax(dim=-1)
    return weights @ values, weights[..., :p].sum(dim=-1)
    ### END SOLUTION


class SoftPrompt(nn.Module):
    """Prompt tuning: p trained embeddings in front of every input, and nothing else.

    Parameter `prompt` (p, d): at the start p different rows of `table` (v, d), the model's token embeddings, copied:
    each ordered choice of p of its v rows is equally likely, drawn from `generator`. The table is left alone.

    Raises ValueError if length > v, or length < 0. (length 0: an empty prompt.)

    Source: Lester et al. 2021, section 2. A prompt of 5 in T5-XXL (d = 4096) is 20,480 parameters.

    >>> prompt = SoftPrompt(torch.ones(10, 4), 2, generator=torch.Generator().manual_seed(0))
    >>> prompt(torch.zeros(1, 3, 4), torch.tensor([[7, 8, 9]]))[1]
    tensor([[-100, -100,    7,    8,    9]])
    """

    prompt: nn.Parameter

    def __init__(self, table: Tensor, length: int, *, generator: torch.Generator) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        if not 0 <= length <= len(table):
            raise ValueError(f"length must be in 0 ... {len(table)}, got {length}")
        rows = torch.randperm(len(table), generator=generator)[:length]
        self.prompt = nn.Parameter(table.detach()[rows])
        ### END SOLUTION

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """x: embedded inputs (b, t, d); labels (b, t), int64 -> (b, p + t, d), and (b, p + t) with -100 for the prompt.

        Every example gets the same prompt in front, so that its gradient is a sum over examples. x gets
        a gradient, too.
        """
        ### BEGIN SOLUTION
        prompt = self.prompt.expand(len(x), -1, -1)
        no_loss = labels.new_full((len(x), len(self.prompt)), -100)
        return torch.cat([prompt, x], dim=1), torch.cat([no_loss, labels], dim=1)
        ### END SOLUTION


def fisher_diagonal(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of a classifier, for each parameter that requires a gradient, by name.

        F = mean over the n inputs of  sum over classes c of  P(c | x) · (∂ log P(c | x) / ∂θ)²

    inputs: (n, ...), n at least 1; model(inputs) gives logits (n, classes), each from its own input. This is the *true*
    Fisher: the expectation over labels is taken under the model itself, exactly. (With the labels of the data it would
    be the "empirical" Fisher, which is 0 where the model is sure and right; the square of the mean gradient is
    neither.)

    A parameter that the logits do not depend on gets 0, and a class of probability 0 adds 0. Results have shape and
    dtype of the parameter, and no graph. The model is run in eval mode; after it the mode of each module, each `grad`
    and each value are what they were. It works under torch.no_grad(), too.

    Source: Kirkpatrick et al. 2017; Kunstner et al. 2019, "Limitations of the empirical Fisher approximation".

    >>> model = nn.Linear(1, 2, bias=False)
    >>> model.weight.data.zero_()
    tensor([[0.],
            [0.]])
    >>> fisher_diagonal(model, torch.tensor([[1.0], [3.0]]))["weight"].flatten()  # mean of x² is 5, P(1 - P) is 1/4
    tensor([1.2500, 1.2500])
    """
    ### BEGIN SOLUTION
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    fisher = {name: torch.zeros_like(p) for name, p in parameters.items()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for i in range(len(inputs)):
            with torch.enable_grad():
                labels = model(inputs[i : i + 1])[0].log_softmax(dim=0).unbind()
            for log_p in labels if labels[0].requires_grad else ():
                gradients = torch.autograd.grad(log_p, list(parameters.values()), retain_graph=True, allow_unused=True)
                for name, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        fisher[name] += log_p.detach().exp() * gradient.square() / len(inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return fisher
    ### END SOLUTION


def fisher_penalty(
    model: nn.Module,
    anchor: Mapping[str, Tensor],
    strength: float,
    fisher: Mapping[str, Tensor] | None = None,
    new_strength: float = 0.0,
) -> Tensor:
    """What leaving the old task costs: a penalty to add to the new task's loss; 0-d, with gradients to the model.

        strength/2 · Σ F · (θ - θ*)²       the parameters that `anchor` names        EWC; F = 1 without `fisher`: L2-SP
        new_strength/2 · Σ θ²              all other parameters, a new head's        L2-SP's second term

    anchor: θ*, the values at the end of the old task, by name; fisher: F, with the same names. Parameters that require
    no gradient are left out, and tied weights count once. Where nothing is left, the penalty is 0. anchor and fisher
    get no gradient.

    Raises ValueError if `anchor` names a parameter that the model has not, or `fisher` has other names than `anchor`.

    Source: Kirkpatrick et al. 2017, equation 3; Li et al. 2018, "Explicit inductive bias", section 3 (L2-SP).

    >>> model = nn.Linear(2, 1, bias=False)
    >>> model.weight.data = torch.tensor([[1.0, 5.0]])
    >>> anchor, fisher = {"weight": torch.tensor([[0.0, 3.0]])}, {"weight": torch.tensor([[10.0, 1.0]])}
    >>> fisher_penalty(model, anchor, 2.0, fisher).item(), fisher_penalty(model, anchor, 2.0).item()
    (14.0, 5.0)
    """
    ### BEGIN SOLUTION
    parameters = dict(model.named_parameters())
    if not set(anchor) <= set(parameters) or (fisher is not None and set(fisher) != set(anchor)):
        raise ValueError("anchor and fisher must name the same parameters of the model")
    total = next(iter(parameters.values())).new_zeros(())
    for name, value in parameters.items():
        if not value.requires_grad:
            continue
        if name in anchor:
            weight = 1.0 if fisher is None else fisher[name].detach()
            total = total + strength / 2 * (weight * (value - anchor[name].detach()).square()).sum()
        else:
            total = total + new_strength / 2 * value.square().sum()
    return total
    ### END SOLUTION


class Reservoir:
    """A memory of old examples for replay: a uniform sample of all that was ever added, in one pass.

    items: what is held, at most `capacity`, in any order. seen: how many were added. After each `add`, each set of
    min(seen, capacity) of the items added so far is equally likely: an early one has the same chance as the last.
    Items may be anything, and are held as they are, not copied; no others are kept.

    Raises ValueError if capacity < 1.

    Source: Vitter 1985, algorithm R; Rolnick et al. 2019, "Experience replay for continual learning".

    >>> memory = Reservoir(2, torch.Generator().manual_seed(0))
    >>> for item in "abcde":
    ...     memory.add(item)
    >>> len(memory.items), memory.seen
    (2, 5)
    """

    items: list[Any]
    seen: int

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        ### BEGIN SOLUTION
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.items = []
        self.seen = 0
        self.capacity = capacity
        self.generator = generator
        ### END SOLUTION

    def add(self, item: Any) -> None:
        ### BEGIN SOLUTION
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        place = int(torch.randint(self.seen, (), generator=self.generator))
        if place < self.capacity:
            self.items[place] = item
        ### END SOLUTION


def task_mixture(sizes: Sequence[int], limit: float = math.inf, temperature: float = 1.0) -> list[float]:
    """How often to draw from each task, by its number of examples: probabilities that sum to 1.

        r = min(size, limit)          result = r^(1/temperature) / Σ r^(1/temperature)

    The limit keeps a huge task from drowning the others. Temperature 1 is proportional, math.inf draws all tasks
    equally often; however small it is, nothing overflows.

    Raises ValueError unless sizes, limit and temperature are above 0, or if there is no task.

    Source: Raffel et al. 2020, section 3.5.2 (T = 2 was the best temperature there).

    >>> task_mixture([25, 75]), task_mixture([100, 900], temperature=2.0), task_mixture([100, 900], limit=100)
    ([0.25, 0.75], [0.25, 0.75], [0.5, 0.5])
    """
    ### BEGIN SOLUTION
    if not sizes or not all(value > 0 for value in (*sizes, limit, temperature)):
        raise ValueError(f"sizes, limit and temperature must be above 0, got {sizes}, {limit}, {temperature}")
    clipped = [min(size, limit) for size in sizes]
    powers = [(size / max(clipped)) ** (1 / temperature) for size in clipped]
    return [power / sum(powers) for power in powers]
    ### END SOLUTION


def uncertainty_loss(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Tasks weighed by a noise that is learnt: 0-d, with gradients to both.

        Σ over tasks  1/2 · (exp(-s) · loss + s)           s = log σ², trained, (tasks), as losses are

    The second term keeps σ from growing without end: at its best exp(s) = loss. (The paper has 1/σ² instead of 1/(2σ²)
    for classification; here it is 1/2 for every task.)

    Source: Kendall, Gal and Cipolla 2018, section 3.2, equation 7.

    >>> uncertainty_loss(torch.tensor([3.0, 8.0]), torch.tensor([0.0, math.log(4)]))  # (3 + 0 + 2 + 1.386) / 2
    tensor(3.1931)
    """
    ### BEGIN SOLUTION
    return ((-log_variances).exp() * losses + log_variances).sum() / 2
    ### END SOLUTION


def project_conflicts(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """PCGrad: where two tasks' gradients conflict, take out of each what goes against the other; then add them up.

    gradients: (tasks, n) -> (n). For each task i, g begins as its gradient. The other tasks j come in a random order,
    drawn anew for each i, all orders equally likely:

        if g · gradients[j] < 0:    g = g - (g · gradients[j]) / ‖gradients[j]‖² · gradients[j]

    where gradients[j] is always the *original* one. The result is the sum of all g. Gradients of 0 do no harm. One
    task: its own gradient.

    Source: Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1.

    >>> project_conflicts(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), torch.Generator())  # (1, 1) and (0, 1)
    tensor([1., 2.])
    """
    ### BEGIN SOLUTION
    total = torch.zeros_like(gradients[0])
    for i, g in enumerate(gradients):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            other = gradients[j]
            conflict = g @ other
            if j != i and conflict < 0:
                g = g - conflict / (other @ other) * other
        total = total + g
    return total
    ### END SOLUTION


def tuning_cost(method: str, layers: int, width: int, size: int = 0) -> dict[str, int]:
    """What a method trains, and what it costs at each token of the forward pass; size: r, m or p. All plain ints.

        method           "parameters"                          "extra_flops", beyond the base model's
        "full"           12·d² a layer                         0
        "lora"           A and B on query and value (d x d)    2 a parameter
        "lora_merged"    as "lora"                             0
        "adapter"        two a layer, each 2·d·m + m + d       2 a weight, biases free
        "prefix"         p keys and p values of d a layer      p more keys in each layer: 4·p·d a layer
        "prompt"         p embeddings of d                     the same 4·p·d a layer

    "optimizer_bytes": 8 for each parameter, Adam's two moments in float32. A p more keys cost 2·p·d for scores and
    2·p·d for values; what the p places of a prompt cost themselves is not in it.

    GPT-3 (96 layers, width 12288) has 4,718,592 parameters with LoRA of rank 1 and 37,748,736 with rank 8.

    Raises ValueError if the method has another name.

    Source: Hu et al. 2022, section 4.2 and table 4; Lester et al. 2021, figure 4.

    >>> tuning_cost("lora", 96, 12288, 1)
    {'parameters': 4718592, 'optimizer_bytes': 37748736, 'extra_flops': 9437184}
    """
    ### BEGIN SOLUTION
    low_rank = layers * 2 * 2 * size * width
    more_keys = layers * 4 * size * width
    table = {
        "full": (layers * 12 * width**2, 0),
        "lora": (low_rank, 2 * low_rank),
        "lora_merged": (low_rank, 0),
        "adapter": (layers * 2 * (2 * width * size + size + width), layers * 2 * 4 * width * size),
        "prefix": (layers * 2 * size * width, more_keys),
        "prompt": (size * width, more_keys),
    }
    if method not in table:
        raise ValueError(f"no method '{method}'")
    parameters, flops = table[method]
    return {"parameters": parameters, "optimizer_bytes": 8 * parameters, "extra_flops": flops}
    ### END SOLUTION
