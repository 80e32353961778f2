"""dl_013 · Gradient debugging: see what flows backward, bound it, name what is wrong with it.

Notation
    n  examples in a batch      t  tokens of a sequence      c  classes
    d  width of a layer         L  layers                    g  a gradient

Norms are L2 norms. float32 and float64 work alike. A *parameter* is a tensor with a `.grad`, which may be None: norms
and clips skip such a parameter. *In place* means that `p.grad` stays the same tensor object and keeps its memory, which
optimizers and DDP buckets hold views of: `p.grad.data = ...` leaves the views behind.

torch's own functions for these jobs (`clip_grad_norm_`, `clip_grads_with_norm_`, `get_total_norm`, `clip_grad_value_`)
are what you write: do not call them.

Further reading: Pascanu et al. 2013 (clipping), Glorot and Bengio 2010 (saturation), He et al. 2015 (initialisation),
Karpathy, "A Recipe for Training Neural Networks" (2019).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def global_grad_norm(parameters: Iterable[Tensor]) -> Tensor:
    """The L2 norm of all gradients, as if they were one long vector: sqrt(sum over p, i of p.grad[i]²).

    parameters: any iterable, read once (`model.parameters()` is a generator). `.grad` is left alone.
    Returns a 0-d tensor: float64 if some gradient is float64, else float32. Half precision is widened to float32
    *before* it is squared and summed (60,000 fits into float16, its square does not); torch's own function
    stays in float16 and says Inf. An Inf among the gradients gives Inf, a NaN gives NaN. No gradient: 0.
    Forbidden: torch's `get_total_norm` and `clip_grad_norm_`.

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

    >>> a, b = torch.zeros(2), torch.zeros(())
    >>> a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor(4.0)
    >>> global_grad_norm([a, b, torch.zeros(7)])
    tensor(5.)
    """
    raise NotImplementedError  # TODO: your code


@torch.no_grad()
def clip_by_norm(parameters: Iterable[Tensor], max_norm: float, *, error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients, in place, by one number that brings their global norm down to max_norm.

        scale = min(1, max_norm / (norm + 1e-6))           every gradient becomes gradient * scale

    Returns `norm`, the global norm *before* clipping (dtype as in `global_grad_norm`): it is what one logs. The 1e-6 is
    torch's: gradients 3 and 4 with max_norm 1 become 0.59999988 and 0.79999984. The scale is as wide as the norm: in
    float16 it could round to 0. Directions are kept, in contrast to `clip_by_value`. Like torch, it hides nothing: with
    an Inf among the gradients scale is 0 (finite values become 0, Inf becomes NaN), with a NaN every value becomes NaN.
    max_norm=inf leaves gradients of finite norm as they are (with a norm of Inf, either they stay or all become NaN).

    Raises ValueError if max_norm is negative or NaN (0 is fine: it zeroes), and, where error_if_nonfinite is True,
    RuntimeError if the norm is Inf or NaN, for whatever max_norm (four float32 entries of 3e38 have norm Inf, too). In
    both cases no gradient has been touched.
    Forbidden: torch's `clip_grad_norm_`, `clip_grads_with_norm_` and `get_total_norm`.

    Source: Pascanu et al. 2013, algorithm 1; `torch.nn.utils.clip_grad_norm_`.

    >>> p = torch.zeros(2, dtype=torch.float64)
    >>> p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    >>> clip_by_norm([p], 1.0).item(), [round(g, 8) for g in p.grad.tolist()]
    (5.0, [0.59999988, 0.79999984])
    """
    raise NotImplementedError  # TODO: your code


@torch.no_grad()
def clip_by_value(parameters: Iterable[Tensor], limit: float) -> int:
    """Cut every gradient entry, in place, to [-limit, limit]; return how many entries were outside.

    Entries are cut one by one, so the direction of the whole gradient may turn. Inf and -Inf become limit and -limit,
    and are counted; NaN stays NaN and is not counted. An entry of exactly limit is inside, so limit=inf cuts nothing.

    Raises ValueError if limit is negative or NaN (0 is fine); no gradient has been touched then.

    Source: `torch.nn.utils.clip_grad_value_` (which returns nothing).

    >>> p = torch.zeros(4)
    >>> p.grad = torch.tensor([-3.0, 0.5, 2.0, float("inf")])
    >>> clip_by_value([p], 2.0), p.grad
    (2, tensor([-2.0000,  0.5000,  2.0000,  2.0000]))
    """
    raise NotImplementedError  # TODO: your code


def accumulate_gradients(
    model: nn.Module, micro_batches: Sequence[tuple[Tensor, Tensor]], ignore_index: int = -100
) -> Tensor:
    """Add to `.grad` what one backward pass over all micro-batches at once would add; return the loss of that batch.

    micro_batches: a list of (inputs, targets); model(inputs) are logits (n, t, c), targets (n, t) hold class numbers,
    or ignore_index where a token does not count (padding, prompt). n and t differ from one micro-batch to the next.
    The loss is the mean cross-entropy over *all tokens that count*, not a mean of means: with token losses [2] and
    [1, 1, 1] it is 5/4, not 3/2. A micro-batch in which no token counts adds nothing (and no NaN).
    Gradients that are there already are kept and added to, as `backward` does. The mode of the model stays as it is;
    it runs at most once for each micro-batch.

    Memory: one micro-batch's graph is alive at a time and no logits are collected, so the peak does not grow with the
    number of micro-batches, nor does the number of graph nodes, in train or in eval mode. Afterwards nothing is left
    of it but the gradients and the loss.
    Returns a 0-d tensor in the dtype of the logits, without a graph.

    Raises ValueError if no token counts in any micro-batch; nothing has been run then.

    Source: "Fixing Gradient Accumulation", Hugging Face blog, October 2024 (trainers took the mean of means for years).

    >>> batches = [(torch.zeros(1, 1, 2), torch.tensor([[1]])), (torch.zeros(1, 2, 2), torch.tensor([[0, -100]]))]
    >>> accumulate_gradients(nn.Linear(2, 2, bias=False), batches)
    tensor(0.6931)
    """
    raise NotImplementedError  # TODO: your code


def gradient_stats(gradient: Tensor) -> dict[str, float]:
    """Six plain Python numbers about one gradient of any shape.

    "norm", "max", "min", "mean": floats, over the *finite* entries only, so that one NaN does not hide the rest; half
    precision is widened to float32 first. "nan", "inf": how many entries are NaN, and how many are Inf or -Inf (ints).
    With no finite entry (or no entry) the four floats are 0.0. Five digits are enough, in float64 too.

    >>> gradient_stats(torch.tensor([[3.0, -4.0, float("nan")]]))
    {'norm': 5.0, 'max': 3.0, 'min': -4.0, 'mean': -0.5, 'nan': 1, 'inf': 0}
    """
    raise NotImplementedError  # TODO: your code


class GradientMonitor:
    """Keeps `gradient_stats` of every parameter as each backward pass leaves it, whatever happens to `.grad` later.

    stats: dict, name as in `model.named_parameters()` -> `gradient_stats` of that parameter's `.grad` right after the
    latest backward pass that reached it (so of the *sum*, where gradients accumulate). Clipping or zeroing afterwards
    does not change it. Empty at first; a parameter that no backward pass has reached is absent, a frozen one
    (requires_grad False) always. A pass that reaches only some parameters leaves the numbers of the others.

    It sees gradients through hooks (`Tensor.register_post_accumulate_grad_hook` is one that fits) and changes none:
    `.grad` stays the tensor it is. It stores numbers: no graph, activation or gradient, nor a copy of one, stays alive
    because of it, as a tensor, an array or a list, open or closed, in train or in eval mode.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> with GradientMonitor(model) as monitor:
    ...     model(torch.tensor([3.0, 4.0])).backward()
    >>> model.zero_grad()
    >>> monitor.stats["weight"]["norm"]
    5.0
    """

    def __init__(self, model: nn.Module) -> None:
        """Watch from now on."""
        self.stats: dict[str, dict[str, float]] = {}

        raise NotImplementedError  # TODO: your code

    def close(self) -> None:
        """Remove the monitor's own hooks, and nobody else's. `stats` stays as it is. A second call does nothing."""
        raise NotImplementedError  # TODO: your code

    def __enter__(self) -> "GradientMonitor":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


SATURATED = 0.05  # of the steepest slope


def activation_report(model: nn.Module, inputs: Tensor, unit_axis: int = -1) -> dict[str, dict[str, float]]:
    """Run model(inputs) once and report where its nn.ReLU, nn.Sigmoid and nn.Tanh modules let no gradient through.

    The model itself may be such a module (its name is ""). Subclasses may be counted or not.

    An output entry y is *saturated* if the slope there, relative to the steepest, is below SATURATED = 0.05:

        ReLU: 1 if y > 0 else 0          Sigmoid: 4·y·(1 - y)          Tanh: 1 - y²

    A *unit* is an index of unit_axis (-1 in an MLP or a transformer; 1 in a CNN, (n, c, h, w)); it is *dead* if it is
    saturated at every position of all other axes. Outputs have at least two axes.

    Returns {name as in `model.named_modules()`: {"saturated": share of entries, "dead": share of units}} (floats in
    [0, 1]) for the modules that ran. A module that runs several times is counted over all its runs: saturated entries
    of all runs / entries of all runs, and the same for units. Values are as the module returned them, even if a later
    in-place operation overwrites them.
    Gradients are off while it runs, training or eval mode stays as it is. Afterwards, also where the model raises, grad
    mode is what it was, and the report's hooks are gone, nobody else's.

    Source: Glorot and Bengio 2010, section 3; Lu et al. 2019, "Dying ReLU and Initialization".

    >>> x = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    >>> activation_report(nn.Sequential(nn.ReLU()), x)
    {'0': {'saturated': 0.75, 'dead': 0.5}}
    """
    raise NotImplementedError  # TODO: your code


def update_ratio(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Take one `optimizer.step()`; return, for each parameter, how far it moved relative to its size.

        ratio = ‖after - before‖ / ‖before‖        name as in `model.named_parameters()` -> float

    What counts is the update that was really made (momentum, Adam's scaling and weight decay included), not the
    gradient times the learning rate. About 1e-3 is healthy; 1e-1 tears the weights apart, 1e-6 trains nothing. A
    parameter that was all zeros has ratio inf if it moved, 0.0 if not. Frozen parameters (requires_grad False) are
    absent; those without a gradient, or not in the optimizer, are there, with 0.0 if the step left them alone.

    Source: Karpathy, CS231n notes, "Neural Networks Part 3", ratio of weights and updates.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data, model.weight.grad = torch.full((1, 1), 2.0), torch.ones(1, 1)
    >>> update_ratio(model, torch.optim.SGD(model.parameters(), lr=0.5))
    {'weight': 0.25}
    """
    raise NotImplementedError  # TODO: your code


EXPLODING = 100.0  # a layer's gradient norm above this
VANISHING = 1e-4  # a layer's gradient norm below this share of the largest one
DEAD = 0.5  # a share of dead units from this on
REMEDIES = {  # symptom: (usual cause, what to try)
    "non-finite": ("an overflow, log(0), 0/0 or bad data", "find the first bad layer; skip the step; lower the rate"),
    "exploding": ("a product of large factors in depth or time", "clip by norm; warm up; lower the rate; check init"),
    "dead": ("units that are off for every input", "lower the rate; He initialisation; a leaky activation"),
    "vanishing": ("saturation, or a product of small factors", "ReLU; Xavier or He; normalisation; skip connections"),
    "healthy": ("none", "look at the data, the loss and the metric"),
}


def diagnose(
    gradients: dict[str, dict[str, float]], activations: dict[str, dict[str, float]] | None = None
) -> dict[str, Any]:
    """Name the most urgent illness, where it is, and what to do.

    gradients: as `GradientMonitor.stats`; only "norm", "nan" and "inf" are read. activations: as `activation_report`.
    Either may be empty.
    A norm is never NaN. The first symptom of this list that some layer shows is the answer:

        non-finite   "nan" or "inf" is above 0                    (a NaN makes all the rest meaningless)
        exploding    norm > EXPLODING
        dead         norm is exactly 0, or, of the modules of `activations`, "dead" >= DEAD
        vanishing    norm < VANISHING · (largest norm among all layers)
        healthy      always

    Returns {"symptom": str, "layers": list of the names that show it (in the order of the dict, gradients before
    activations; [] if healthy), "cause": str, "remedy": str}, the last two from REMEDIES.

    >>> stats = {"0.weight": {"norm": 1e-7, "nan": 0, "inf": 0}, "9.weight": {"norm": 2.0, "nan": 0, "inf": 0}}
    >>> diagnose(stats)["symptom"], diagnose(stats)["layers"]
    ('vanishing', ['0.weight'])
    """
    raise NotImplementedError  # TODO: your code


ACTIVATIONS = {"linear": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


def initial_weights(depth: int, width: int, scheme: str, generator: torch.Generator) -> Tensor:
    """Weights (L, d, d) of a stack of L = depth square layers: independent normal values, mean 0, float32.

    Standard deviation: "small" 0.01, "xavier" sqrt(2 / (fan_in + fan_out)) = sqrt(1/d), "he" sqrt(2 / fan_in) =
    sqrt(2/d). All randomness comes from `generator`. Raises ValueError for another scheme.

    Source: Glorot and Bengio 2010, equation 12; He et al. 2015, equation 10.

    >>> weights = initial_weights(2, 50, "he", torch.Generator().manual_seed(0))
    >>> weights.shape, round(weights.std().item(), 1)  # sqrt(2/50) = 0.2
    (torch.Size([2, 50, 50]), 0.2)
    """
    raise NotImplementedError  # TODO: your code


def gradient_flow(
    x: Tensor, weights: Tensor, activation: str, *, residual: bool = False, normalize: bool = False
) -> Tensor:
    """How much gradient reaches each depth of a stack of layers: (L + 1,) norms, from the input up to the output.

        h[0] = x                z[l] = h[l] @ weights[l].T           (as in nn.Linear; normalize: z[l] then goes through
        h[l+1] = f(z[l])        or h[l] + f(z[l]) with residual       layer_norm over d, eps 1e-5, no affine)
        out[l] = ‖∂(sum of h[L]) / ∂h[l]‖                            over all n·d entries; out[L] is sqrt(n·d)

    x: (n, d). weights: (L, d, d), the first layer first; L may be 0. activation: a key of ACTIVATIONS; another one is a
    ValueError. Returns the dtype of x, without a graph. x and weights get no `.grad`, and their
    requires_grad stays as it is.

    Source: Glorot and Bengio 2010, section 4.2.1; He et al. 2016, "Identity Mappings", equation 5 (the skip's "1 +").

    >>> x, weights = torch.ones(1, 1), torch.tensor([[[0.5]], [[3.0]]])
    >>> gradient_flow(x, weights, "linear"), gradient_flow(x, weights, "linear", residual=True)
    (tensor([1.5000, 3.0000, 1.0000]), tensor([6., 4., 1.]))
    """
    raise NotImplementedError  # TODO: your code


# Four training loops and a loss out of real code reviews, each with one bug, except `fit_recurrent`: its first repair
# uncovers a second. Every docstring says what the function should do; the comment below it holds the code as it was
# found. Copy it, find the bug, repair it.


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """One optimizer step a batch on its mean squared error; the losses, each before its step.

    A step uses the gradient of its own batch only, whatever `.grad` held on entry.

    >>> model, batch = nn.Linear(1, 1, bias=False), (torch.ones(1, 1), torch.zeros(1, 1))
    >>> model.weight.data = torch.ones(1, 1)  # loss w², gradient 2w: this rate halves w
    >>> fit(model, torch.optim.SGD(model.parameters(), lr=0.25), [batch] * 4)
    [1.0, 0.25, 0.0625, 0.015625]
    """
    # As found ("the loss falls for three steps, then circles"):
    #     losses = []
    #     for x, y in batches:
    #         loss = F.mse_loss(model(x), y)
    #         loss.backward()
    #         optimizer.step()
    #         losses.append(loss.item())
    #     return losses
    raise NotImplementedError  # TODO: your code


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the targets (n,) under softmax(logits), logits (n, c); 0-d, differentiable.

    Finite for logits of any usual size (thousands), where log(softmax) is -inf.

    >>> classification_loss(torch.tensor([[200.0, 0.0]]), torch.tensor([1]))
    tensor(200.)
    """
    # As found ("with three classes the loss never falls below 0.55, however sure the model is"):
    #     probabilities = logits.softmax(dim=-1)
    #     return F.cross_entropy(probabilities, targets)
    raise NotImplementedError  # TODO: your code


def fit_and_validate(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_batches: Sequence[tuple[Tensor, Tensor]],
    valid_batches: Sequence[tuple[Tensor, Tensor]],
    epochs: int,
) -> list[float]:
    """Train and validate `epochs` times; the validation loss of each epoch (mean of its batches' mean squared errors).

    All training happens in train mode, in whatever mode the model arrives, all validation in eval mode: the model and
    every module in it. With 0 epochs nothing happens: [].

    >>> model, x = nn.Sequential(nn.Linear(1, 1), nn.Dropout(1.0)), torch.ones(1, 1)  # in train mode its output is 0
    >>> model[0].weight.data, model[0].bias.data = torch.ones(1, 1), torch.ones(1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> fit_and_validate(model, optimizer, [(x, x)], [(x, 0 * x)], epochs=2)  # so nothing is ever learned
    [4.0, 4.0]
    """
    # As found ("dropout and batch norm seem to do nothing after the first epoch"):
    #     history = []
    #     for _ in range(epochs):
    #         for x, y in train_batches:
    #             loss = F.mse_loss(model(x), y)
    #             optimizer.zero_grad()
    #             loss.backward()
    #             optimizer.step()
    #         model.eval()
    #         with torch.no_grad():
    #             losses = [F.mse_loss(model(x), y).item() for x, y in valid_batches]
    #         history.append(sum(losses) / len(losses))
    #     return history
    raise NotImplementedError  # TODO: your code


def fit_recurrent(
    model: nn.Module, optimizer: torch.optim.Optimizer, chunks: Sequence[tuple[Tensor, Tensor]], state: Tensor
) -> float:
    """Truncated back-propagation through time over the chunks of one long sequence; the mean loss of the chunks.

    model(x, state) gives (output, new state). Each chunk starts from the *value* of the state that the chunk before
    ended with; its gradient stops at the chunk's first step (whether gradient reaches the state given is open). One
    optimizer step a chunk, on its mean squared error. Memory does not grow with the number of chunks, nor does the
    number of graph nodes, in train or in eval mode; afterwards nothing is left but weights and gradients.

    >>> class Sum(nn.Linear):
    ...     def forward(self, x, state):
    ...         return super().forward(x) + state, x + state
    >>> model = Sum(1, 1, bias=False)
    >>> model.weight.data = torch.ones(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    >>> one = torch.ones(1, 1)  # the outputs are 1 + 0 and 1 + 1, the targets 1 and 0
    >>> fit_recurrent(model, optimizer, [(one, one), (one, 0 * one)], 0 * one)
    2.0
    """
    # As found ("Trying to backward through the graph a second time", so someone added retain_graph):
    #     total = 0.0
    #     for x, y in chunks:
    #         output, state = model(x, state)
    #         loss = F.mse_loss(output, y)
    #         optimizer.zero_grad()
    #         loss.backward(retain_graph=True)
    #         optimizer.step()
    #         total = total + loss
    #     return total / len(chunks)
    raise NotImplementedError  # TODO: your code


def fit_scheduled(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> list[float]:
    """One optimizer and one scheduler step a batch, on its mean squared error; the learning rate that each step used.

    The first step uses the schedule's first value, the k-th its k-th: a schedule 0.1, 0.01, 0.001 gives those rates.
    All parameters are in one group.

    >>> model, batch = nn.Linear(1, 1), (torch.ones(1, 1), torch.ones(1, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    >>> fit_scheduled(model, optimizer, scheduler, [batch] * 3)
    [1.0, 0.5, 0.25]
    """
    # As found ("the warm-up's first value is never used"):
    #     rates = []
    #     for x, y in batches:
    #         loss = F.mse_loss(model(x), y)
    #         optimizer.zero_grad()
    #         loss.backward()
    #         scheduler.step()
    #         optimizer.step()
    #         rates.append(optimizer.param_groups[0]["lr"])
    #     return rates
    raise NotImplementedError  # TODO: your code
