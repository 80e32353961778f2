"""dl_017 · Mixed precision: compute in 16 bits or 8, and lose nothing that matters.

Notation
    e, m  exponent and mantissa bits of a format     S  a loss scale
    g     a gradient                                 M, K, N  sizes of a matrix product, (M, K) @ (K, N)

*Half* means torch.float16 or torch.bfloat16. Everything runs on the CPU. What you build stands in torch under other
names (`torch.autocast`, `torch.amp.GradScaler`, the cast to bfloat16): do not call those.

Further reading: Micikevicius et al. 2018, "Mixed Precision Training" (3.1 master weights, 3.2 loss scaling);
Micikevicius et al. 2022, "FP8 Formats for Deep Learning"; PyTorch, "Automatic Mixed Precision examples".
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


def float_format(exponent_bits: int, mantissa_bits: int, *, infinity: bool = True) -> dict[str, float]:
    """Four numbers that say what a binary floating-point format can hold; exact, as Python floats.

        normal      (1 + fraction) · 2^(field - bias)      field = 1, 2, ...         bias = 2^(e-1) - 1
        subnormal         fraction · 2^(1 - bias)          field = 0                 fraction = i / 2^m

    infinity=True (IEEE: float16, bfloat16, e5m2): the highest field, all ones, is kept for Inf and NaN.
    infinity=False (e4m3, torch.float8_e4m3fn): there is no Inf, the highest field holds numbers, and only the one code
    with all exponent and all mantissa bits set is NaN. So e4m3 reaches 1.75 · 2^8 = 448, not 240.

    "max": largest finite number. "smallest_normal", "smallest_subnormal": smallest positive ones. "eps": distance from
    1 to the next number. Nothing is asked for beyond float64's (11, 52) with infinity, or (8, 23) without.
    Raises ValueError if exponent_bits < 2 or mantissa_bits < 1.

    Source: IEEE 754-2019, 3.4; Micikevicius et al. 2022, section 3, table 1.

    >>> float_format(4, 3, infinity=False)
    {'max': 448.0, 'smallest_normal': 0.015625, 'smallest_subnormal': 0.001953125, 'eps': 0.125}
    """
    raise NotImplementedError  # TODO: your code


def round_to_bfloat16(x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Round a float32 tensor to numbers that bfloat16 can hold; the result is float32. No bfloat16 cast: work on bits.

    A bfloat16 is the upper 16 bits of a float32. Seen as integers (`x.view(torch.int32)`):

        noise None (nearest, ties to even)    add 0x7FFF, and 1 more if the last kept bit is 1; clear the low 16 bits
        noise given (stochastic)              add noise; clear the low 16 bits

    noise: int32, shape of x, each in [0, 65536). If it is uniform, the mean of the result is x: tiny updates survive.
    A carry may run into the exponent: what exceeds the largest bfloat16 becomes Inf. Inf and -0.0 stay. NaN stays NaN
    (whichever), also where only low bits make it one. x has any shape and strides, and may be empty or 0-d.

    Raises TypeError if x is not float32.

    Source: IEEE 754-2019, 4.3.1; Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", section 3.

    >>> round_to_bfloat16(torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]))  # bfloat16 goes in 2^-7 steps
    tensor([1.0000, 1.0156, 1.0078])
    """
    raise NotImplementedError  # TODO: your code


def underflow_fraction(
    gradients: Iterable[Tensor | None], dtype: torch.dtype = torch.float16, scale: float = 1.0
) -> float:
    """The share of gradient entries that become 0 when they are multiplied by scale and cast to dtype.

    gradients: float32 tensors of any shape; None (a parameter without gradient) is skipped. The product is taken in
    float32. Counted are, over all tensors together, entries that are not 0 (the denominator) and those of them that
    then are. NaN and Inf do not become 0, but count as entries. No entry that is not 0: 0.0.

    In float16 everything up to 2^-25 in magnitude is lost: the smallest subnormal is 2^-24, half of it ties to even.

    Source: Micikevicius et al. 2018, section 3.2 and figure 3.

    >>> underflow_fraction([torch.tensor([1.0, 2**-25, -(2**-30), 0.0]), None])
    0.6666666666666666
    >>> underflow_fraction([torch.tensor([1.0, 2**-25, -(2**-30), 0.0])], scale=8.0)
    0.3333333333333333
    """
    raise NotImplementedError  # TODO: your code


def choose_loss_scale(
    gradients: Iterable[Tensor | None], dtype: torch.dtype = torch.float16, headroom: float = 8.0
) -> float:
    """The largest power of two S (below 1, too) that leaves headroom: max|g| · S · headroom <= largest finite of dtype.

    gradients: float32 tensors; None and entries that are Inf or NaN are left out. With no finite entry other than 0, S
    is 1.0. A power of two changes exponents only, so scaling and unscaling round nothing.

    By hand: max|g| = 2^-10 in float16. 65504 / 8 / 2^-10 = 8,384,512, between 2^22 and 2^23: S = 4194304.
    Raises ValueError if headroom is not positive.

    Source: Micikevicius et al. 2018, section 3.2: "below 65,504 (the maximum value representable in FP16)".

    >>> choose_loss_scale([torch.tensor([2**-10, -(2**-30)])])
    4194304.0
    """
    raise NotImplementedError  # TODO: your code


def training_bytes(parameters: int, activations: int, recipe: str) -> int:
    """Bytes that training with Adam holds: weights, gradients, two moments, and the activations kept for backward.

        recipe        weights            gradients   moments     one activation
        "float32"     float32            float32     2 float32   float32
        "autocast"    float32, and a     float32     2 float32   half
                      cached half copy
        "master"      half, and a        half        2 float32   half
                      float32 master
        "bfloat16"    half               half        2 half      half

    parameters, activations: how many numbers there are. Half is 2 bytes, float32 is 4.
    Note what this says: mixed precision halves activations, not the 16 bytes a parameter. Anything else: ValueError.

    Source: Rajbhandari et al. 2020, "ZeRO", section 3.1 ("master": 2 + 2 + 12 bytes; GPT-2's 1.5 billion: 24 GB).

    >>> training_bytes(1_500_000_000, 0, "master")
    24000000000
    """
    raise NotImplementedError  # TODO: your code


class DynamicGradScaler:
    """Multiply the loss by S so that gradients do not underflow; find S by trial: grow slowly, back off at an Inf.

    One iteration: `scale(loss).backward()`, perhaps `unscale_(optimizer)` to look at or clip gradients,
    `step(optimizer)` for each optimizer, then `update()` once. Gradients are float32 (weights are, under autocast).

    Forbidden: `torch.amp.GradScaler`, whose rules and state these are.

    Source: Micikevicius et al. 2018, section 3.2.

    >>> p = nn.Parameter(torch.tensor(1.0))
    >>> scaler, optimizer = DynamicGradScaler(init_scale=8.0), torch.optim.SGD([p], lr=0.5)
    >>> scaler.scale(p * 3).backward()
    >>> p.grad, scaler.step(optimizer), p.grad, p.detach()  # unscaled in place: p.grad shows 3 twice
    (tensor(3.), True, tensor(3.), tensor(-0.5000))
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        """Raises ValueError unless init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1, growth_interval >= 1."""
        raise NotImplementedError  # TODO: your code

    def get_scale(self) -> float:
        """S, as a Python float."""
        raise NotImplementedError  # TODO: your code

    def scale(self, loss: Tensor) -> Tensor:
        """loss · S, with its graph; a loss of any shape, float32 or float64, keeps its dtype."""
        raise NotImplementedError  # TODO: your code

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of all the optimizer's groups by S, in place; note whether one held an Inf or NaN.

        Parameters without gradient are skipped. p.grad stays the same tensor.
        Raises RuntimeError if this optimizer was unscaled (by `step`, too) since the last `update`: twice would divide
        by S². Raises ValueError if a gradient is float16: it has underflowed already, keep float32 weights. In both
        cases no gradient has been touched.
        """
        raise NotImplementedError  # TODO: your code

    def step(self, optimizer: Optimizer) -> bool:
        """`unscale_` if that was not done since the last update; `optimizer.step()` unless an Inf or NaN was found.

        Returns whether the step was taken. A skipped step leaves parameters and optimizer state (Adam's step count) as
        they are. Each optimizer is judged by its own gradients: another one's Inf does not hold it back.
        Raises RuntimeError if called twice for an optimizer without an `update` between.
        """
        raise NotImplementedError  # TODO: your code

    def update(self) -> None:
        """End the iteration: adapt S, and let optimizers be unscaled and stepped again.

        If any optimizer unscaled since the last update had an Inf or NaN: S · backoff_factor. Else, after
        growth_interval iterations in a row without one: S · growth_factor, unless that is beyond float32's largest
        number. Backing off or reaching the interval starts the count anew.
        Raises RuntimeError if no optimizer was unscaled (by `step`, too) since the last update.
        """
        raise NotImplementedError  # TODO: your code

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers by torch's five keys: scale, growth_factor, backoff_factor, growth_interval, _growth_tracker.

        The last one counts the iterations without an Inf since S last changed (or could not grow). It is a snapshot:
        what happens later does not change it.
        """
        raise NotImplementedError  # TODO: your code

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` (this one's or torch's), taken between two iterations, left off."""
        raise NotImplementedError  # TODO: your code


# By the name that `__torch_function__` gets, func.__name__ (`a @ b` arrives as "matmul").
LOWER = {
    *("matmul", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "einsum"),
    *("linear", "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention"),
}
FLOAT32 = {
    *("softmax", "log_softmax", "cross_entropy", "nll_loss", "mse_loss", "kl_div", "layer_norm", "group_norm", "norm"),
    *("exp", "log", "log1p", "rsqrt", "logsumexp", "pow", "__rpow__"),
    *("sum", "mean", "prod", "cumsum", "cumprod", "var", "std"),
}


class mini_autocast(TorchFunctionMode):  # noqa: N801  # lower case as torch.autocast
    """`with mini_autocast(torch.bfloat16):` lets each operation inside choose the precision of its inputs.

        in LOWER      its inputs are cast to dtype
        in FLOAT32    its inputs are cast to float32
        any other     runs on what it gets, by torch's own promotion: bfloat16 + float32 is float32

    Inputs are all tensor arguments, positional or keyword, also inside a list or tuple. float32, float16 and bfloat16
    are cast; float64, integers and bools stay. Casts are differentiable: float32 weights get float32 gradients.
    Functions, methods, operators (`@`, `**`) and modules are all seen alike. A function that torch builds of others in
    Python is seen as one, by its own name: inside nn.MultiheadAttention nothing is cast.

    Contexts nest: the innermost alone decides; with enabled=False, nothing is cast inside it. Leaving one, by an
    exception too, brings back the one around it. Nothing is cached (torch keeps casts of weights until the end).
    Forbidden: torch's own autocast: `torch.autocast`, `torch.set_autocast_enabled`.

    Source: PyTorch documentation, "Autocast Op Reference"; `torch.overrides.TorchFunctionMode`.

    >>> x = torch.ones(2, 2)
    >>> with mini_autocast(torch.bfloat16):
    ...     y = x @ x
    ...     y.dtype, y.softmax(-1).dtype, (y + y).dtype, (y + x).dtype
    (torch.bfloat16, torch.float32, torch.bfloat16, torch.float32)
    """

    active: ClassVar[list["mini_autocast"]] = []  # contexts that have been entered and not left, innermost last

    def __init__(self, dtype: torch.dtype = torch.bfloat16, *, enabled: bool = True) -> None:
        """Raises ValueError if dtype is neither torch.float16 nor torch.bfloat16."""
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def __enter__(self) -> "mini_autocast":
        self.active.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.active.pop()
        super().__exit__(*error)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each torch function inside; each entered context sees the call, the innermost first."""
        raise NotImplementedError  # TODO: your code


class MasterWeightOptimizer:
    """Train a model whose weights are half: update float32 masters, copy them into the model.

    bfloat16 has 8 significant bits: next to 1 its numbers are 2^-7 apart, and 1 + 2^-9 rounds back to 1. A thousand
    such updates move a bfloat16 weight nowhere. They move its float32 master to 1 + 1000 · 2^-9.

    masters: the float32 weights, a list of nn.Parameter in the order of `model.parameters()`, with its requires_grad.
    optimizer: what `make_optimizer(masters)` returned.

    Source: Micikevicius et al. 2018, section 3.1 and figure 2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data.fill_(1.0)
    tensor([[1.]])
    >>> optimizer = MasterWeightOptimizer(model, lambda masters: torch.optim.SGD(masters, lr=2**-9))
    >>> for _ in range(4):
    ...     model.weight.grad = torch.full_like(model.weight, -1.0)
    ...     optimizer.step()
    >>> model.weight.item(), optimizer.masters[0].item()
    (1.0078125, 1.0078125)
    """

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: Callable[[list[nn.Parameter]], Optimizer],
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Copy the weights of a float32 model, make the optimizer, then cast the model's parameters to dtype.

        The masters are copied *before* the cast: the float32 of a rounded weight is still rounded. The model keeps its
        Parameter objects (only their data changes), and its buffers as they are.
        Raises ValueError if a parameter is not float32: it has been rounded already. The model is as it was, then.
        """
        raise NotImplementedError  # TODO: your code

    @torch.no_grad()
    def step(self, loss_scale: float = 1.0) -> None:
        """Widen each gradient to float32, divide it by loss_scale, let the optimizer step, copy masters into the model.

        Widened first: in float16, 2^-10 / 2^20 is 0. A parameter without gradient has none for its master, either.
        The model's own gradients stay as they are.
        """
        raise NotImplementedError  # TODO: your code

    def zero_grad(self) -> None:
        """Set the gradients of the model's parameters to None."""
        raise NotImplementedError  # TODO: your code

    def state_dict(self) -> dict[str, Any]:
        """{"masters": list of float32 tensors, "optimizer": the optimizer's state_dict}; it may share their memory."""
        raise NotImplementedError  # TODO: your code

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the masters in and into the model, load the optimizer's state: training goes on as if never stopped."""
        raise NotImplementedError  # TODO: your code


def amp_train_step(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    scaler: DynamicGradScaler,
    *,
    max_norm: float,
    dtype: torch.dtype = torch.bfloat16,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> dict[str, Any]:
    """One optimizer step over several micro-batches (inputs, targets) of equal size, in mixed precision.

    Drop the optimizer's old gradients. For each micro-batch: model(inputs) under `mini_autocast(dtype)`,
    loss_fn(outputs in float32, targets) outside of it, backward of the scaled loss, so that gradients add up to the
    mean over micro-batches. Then unscale, clip the optimizer's gradients (all groups) to a global norm of max_norm,
    step, update the scaler; once each, in this order. Clipped before they are unscaled, gradients of norm 1 · S would
    end with norm max_norm / S.

    The clip is `torch.nn.utils.clip_grad_norm_`. scheduler.step() is called once if the step was taken, and not if it
    was skipped: a skipped step is no step. One micro-batch's graph is alive at a time, in train and in eval mode, and
    afterwards none; beside the gradients and the optimizer's state nothing stays alive.

    Returns {"loss": mean loss, unscaled; "grad_norm": global norm after unscaling, before clipping; "stepped": bool},
    plain Python numbers, also where the step was skipped.

    Source: PyTorch, "Automatic Mixed Precision examples": gradient clipping, gradient accumulation.

    >>> model, batch = nn.Linear(1, 1, bias=False), (torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> _ = nn.init.ones_(model.weight)
    >>> amp_train_step(model, lambda y, t: (y - t).sum(), [batch, batch], optimizer, DynamicGradScaler(), max_norm=1.0)
    {'loss': 3.0, 'grad_norm': 3.0, 'stepped': True}
    """
    raise NotImplementedError  # TODO: your code


class DelayedScaling:
    """The scale that brings one tensor (say, a layer's input) into the range of float8, from its largest values so far.

    Measuring a tensor before casting it would take a second pass over it. So the scale comes from the calls before:
    amax, the largest magnitude, of this call counts from the next one on.

        scale = largest finite number of dtype / max(history) / 2^margin

    scale: float, what the *next* `quantize` multiplies by; 1.0 at first. history: list of floats, the amax of the last
    `window` calls, newest last; an amax of 0 (an empty tensor, too), Inf or NaN is not recorded, and changes nothing.
    Nothing is asked for an amax below 2^-100, whose scale may be beyond float32.

    Source: Micikevicius et al. 2022, section 3; NVIDIA Transformer Engine, `recipe.DelayedScaling` ("max" of history).

    >>> scaling = DelayedScaling(torch.float8_e4m3fn, window=2)
    >>> scaling.quantize(torch.tensor([[7.0, -0.3]]))[1], scaling.scale, scaling.history
    (1.0, 64.0, [7.0])
    """

    def __init__(self, dtype: torch.dtype = torch.float8_e4m3fn, window: int = 16, margin: int = 0) -> None:
        self.dtype = dtype
        self.window = window
        self.margin = margin
        self.scale = 1.0
        self.history: list[float] = []

    def quantize(self, x: Tensor) -> tuple[Tensor, float]:
        """Cast x · scale to dtype; return that and the scale it was made with. Record the amax of x for later calls.

        x: float32 or half; the product is taken in float32. What is too large, Inf included, becomes the largest finite
        number of dtype, with its sign (a bare cast to e5m2 gives Inf); NaN stays NaN.
        """
        raise NotImplementedError  # TODO: your code


def fp8_scaled_matmul(a: Tensor, b: Tensor, a_scaling: DelayedScaling, b_scaling: DelayedScaling) -> Tensor:
    """a @ b with both factors in float8, accumulated in float32, and brought back to the scale of a @ b.

    a: (M, K), b: (K, N), float32 or half; returns (M, N) float32. Each factor is quantized by its own scaling, which
    learns from it for the next call. As a tensor core does, the product of the float8 numbers is taken in float32; it
    is divided by the two scales that the factors were *made* with.

    Source: Micikevicius et al. 2022, section 3.

    >>> a, b = torch.tensor([[3.0, 5.0]]), torch.tensor([[0.0002], [0.0007]])  # a @ b is 0.0041
    >>> scalings = DelayedScaling(), DelayedScaling()
    >>> [round(fp8_scaled_matmul(a, b, *scalings).item(), 5) for _ in range(2)]  # unscaled, e4m3 makes b 0
    [0.0, 0.00407]
    """
    raise NotImplementedError  # TODO: your code


def pad_for_tensor_cores(x: Tensor, axes: Sequence[int], multiple: int | None = None) -> Tensor:
    """Append zeros to the end of some axes, until each of their sizes is a multiple of `multiple`.

    By default that is 16 bytes worth of x's dtype: 4 for float32 (TF32), 8 for half, 16 for float8 and int8. Rows of
    that length start at aligned addresses, and M, K and N so padded keep tensor cores busy. Zeros change no sum: crop
    the product of padded factors to (M, N), and it is the product. A vocabulary of 50,257 becomes 50,264 (and logits of
    the added tokens have to be masked); many pad it to a multiple of 64.

    axes: indices, negative ones too. x: any strides, dtype kept; the gradient is that of a copy. An axis of size 0
    stays. If nothing is to be padded, x itself comes back: no copy is made, also where x requires a gradient.
    Raises ValueError if multiple < 1.

    Source: NVIDIA, "Matrix Multiplication Background User's Guide", section 3 (tensor core requirements), table 1.

    >>> pad_for_tensor_cores(torch.ones(3, 5, 11, dtype=torch.float16), (0, -1)).shape
    torch.Size([8, 5, 16])
    """
    raise NotImplementedError  # TODO: your code
