"""dl_020 · Quantisation: affine codes, calibration, training with fake codes, integer layers, outliers, GPTQ and NF4.

Notation
    x  numbers to quantise, or inputs of a layer (n, i)      s  scale, above 0        q  codes: integers
    w  the weight of a linear layer (o, i): y = x · wᵀ       z  zero point: the code of 0

    q = clamp(round(x / s) + z, lowest, highest)             x ≈ (q - z) · s

`round` goes to the nearest integer. Which of two neighbours an exact half gets is yours to choose, unless a docstring
says so.

    codes of `bits` bits, 2 to 8           lowest             highest          bits 8           bits 4
    affine                                 -2^(bits - 1)      2^(bits - 1) - 1    -128 .. 127      -8 .. 7
    symmetric (z = 0)                      the same + 1       the same            -127 .. 127      -7 .. 7

**A scale may serve many numbers.** `scale` and `zero` have as many axes as x, and the size of each axis divides that of
x: each entry serves a block of x. For x (o, i) the shape (1, 1) is one scale for the whole tensor, (o, 1) one for each
row, and (o, i / g) one for each run of g inputs of a row, a *group*. `spread` repeats entries to the shape of x.

Rules for all functions: tensors are float64 or float32 where nothing else is said, sizes are at least 1, results have
the dtype of x, and nothing that comes in is changed. Inputs need not be contiguous.

Further reading: Jacob et al. 2018 (integer inference), Krishnamoorthi 2018 (whitepaper), Esser et al. 2020 (LSQ),
Dettmers et al. 2022 (LLM.int8), Xiao et al. 2023 (SmoothQuant), Lin et al. 2024 (AWQ), Frantar et al. 2023 (GPTQ),
Dettmers et al. 2023 (QLoRA).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def code_range(bits: int, symmetric: bool = False) -> tuple[int, int]:
    """(lowest, highest) code of `bits` bits. Given.

    >>> code_range(8), code_range(8, symmetric=True)
    ((-128, 127), (-127, 127))
    """
    half = 2 ** (bits - 1)
    return (1 - half if symmetric else -half), half - 1


def spread(t: Tensor, shape: Sequence[int]) -> Tensor:
    """t with each entry repeated, axis by axis, until it has this shape. Given.

    >>> spread(torch.tensor([[1, 2]]), (2, 6)).tolist()
    [[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2]]
    """
    for axis, size in enumerate(shape):
        if t.shape[axis] != size:
            t = t.repeat_interleave(size // t.shape[axis], axis)
    return t


def affine_qparams(
    x: Tensor, bits: int = 8, symmetric: bool = False, axis: int | None = None, group: int | None = None
) -> tuple[Tensor, Tensor]:
    """(scale, zero) such that the codes just cover what a block of x holds, and the number 0.

    x: any shape with one axis or more. The blocks are
        axis None, group None    all of x: shape (1, ..., 1)
        axis a                   one for each index along axis a, which may be negative: size 1 in all other axes
        group g                  runs of g neighbours along the last axis: the shape of x, the last axis divided by g

        affine       low = min(0, smallest), high = max(0, largest)
                     s = (high - low) / (2^bits - 1)        z = round(lowest - low / s)
        symmetric    s = largest |x| / (2^(bits - 1) - 1)    z = 0

    So 0 has a code of its own, z, and comes back as exactly 0; every x of the block comes back within s / 2. x from
    -1 to 4.1 in 8 bits has s = 0.02 and z = -78. A block of zeros gets a finite scale above 0; which, and what happens
    to blocks whose scale would be below finfo.tiny, is yours to choose.

    Returns scale in the dtype of x, and zero in int32, of the same shape.

    Raises ValueError if axis and group are both given, or unless group is positive and divides the last axis, and bits
    is 2 to 8.

    >>> scale, zero = affine_qparams(torch.tensor([-1.0, 0.5, 4.1]))
    >>> round(scale.item(), 6), zero.item()
    (0.02, -78)
    """
    ### BEGIN SOLUTION
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is 2 to 8, not {bits}")
    if axis is not None and group is not None:
        raise ValueError("a scale for each index of an axis, or for each group, not both")
    if group is not None:
        if group < 1 or x.shape[-1] % group:
            raise ValueError(f"groups of {group} do not divide the last axis of {tuple(x.shape)}")
        blocks = x.unflatten(-1, (-1, group))
        shape = blocks.shape[:-1]
    elif axis is not None:
        blocks = x.movedim(axis, 0).reshape(x.shape[axis], -1)
        shape = torch.Size(size if a == axis % x.dim() else 1 for a, size in enumerate(x.shape))
    else:
        blocks = x.flatten()
        shape = torch.Size([1] * x.dim())
    low, high = blocks.amin(-1).clamp(max=0).view(shape), blocks.amax(-1).clamp(min=0).view(shape)
    lowest, highest = code_range(bits, symmetric)
    tiny = torch.finfo(x.dtype).tiny
    if symmetric:
        scale = (torch.maximum(-low, high) / highest).clamp(min=tiny)
        return scale, torch.zeros_like(scale, dtype=torch.int32)
    scale = ((high - low) / (highest - lowest)).clamp(min=tiny)
    return scale, (lowest - low / scale).round().to(torch.int32)
    ### END SOLUTION


def quantize(x: Tensor, scale: Tensor, zero: Tensor, bits: int = 8, symmetric: bool = False) -> Tensor:
    """Codes: clamp(round(x / s) + z, lowest, highest), as int8 in the shape of x.

    What lies beyond the range, however far, gets the lowest or the highest code; infinity, too. The scale need not
    come from this x.

    >>> quantize(torch.tensor([-1.0, 0.0, 0.03, 4.1, 99.0]), torch.tensor([0.02]), torch.tensor([-78])).tolist()
    [-128, -78, -76, 127, 127]
    """
    ### BEGIN SOLUTION
    steps = (x / spread(scale, x.shape)).round() + spread(zero, x.shape)
    return steps.clamp(*code_range(bits, symmetric)).to(torch.int8)
    ### END SOLUTION


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """(q - z) · s, in the dtype of scale. codes: int8, of any shape that scale and zero fit.

    >>> dequantize(torch.tensor([-128, -78, 127], dtype=torch.int8), torch.tensor([0.5]), torch.tensor([-78])).tolist()
    [-25.0, 0.0, 102.5]
    """
    ### BEGIN SOLUTION
    return (codes.to(torch.int32) - spread(zero, codes.shape)) * spread(scale, codes.shape)
    ### END SOLUTION


class Calibrator:
    """Watches batches of activations and chooses the range (low, high) that the codes are to cover.

    method
        "minmax"           the smallest and the largest number of all batches
        "moving"           the first batch's smallest and largest; each further batch moves both by
                           rate · (its own - the present one)
        "percentile"       of all n numbers seen, without the k smallest and the k largest, k = floor(n · clip): the
                           smallest and the largest of the rest; 0 <= clip < 1/2
        "least squares"    of the hundred ranges r · (low, high), r = 0.01, 0.02, ..., 1, where (low, high) is that of
                           "minmax" with 0 in it: the one with the smallest sum of (x - what comes back)² over all
                           numbers seen, each range with the scale and the zero point of `affine_qparams`

    At the end every range is widened until it has 0 in it: low <= 0 <= high. For "moving" this is done to the average,
    not to the batches: batches from 1 to 2 and from 3 to 6 with rate 0.5 average to (2, 4), and the range is (0, 4).

    How batches were cut changes "moving" alone. How you keep what you saw is up to you: all numbers will do.
    """

    def __init__(self, method: str = "minmax", bits: int = 8, rate: float = 0.1, clip: float = 0.001) -> None:
        """Raises ValueError if the method has another name."""
        self.method = method
        self.bits = bits
        self.rate = rate
        self.clip = clip
        ### BEGIN SOLUTION
        if method not in ("minmax", "moving", "percentile", "least squares"):
            raise ValueError(f"no method '{method}'")
        self.seen: list[Tensor] = []
        self.average: tuple[float, float] | None = None
        ### END SOLUTION

    def observe(self, x: Tensor) -> None:
        """Take in a batch, of any shape. One without elements changes nothing. What happens to x afterwards does not
        matter: the caller may overwrite it. No graph is kept of an x that requires a gradient.
        """
        ### BEGIN SOLUTION
        if not x.numel():
            return
        x = x.detach().double().flatten().clone()
        low, high = x.min().item(), x.max().item()
        if self.average is not None:
            before = self.average
            low, high = before[0] + self.rate * (low - before[0]), before[1] + self.rate * (high - before[1])
        self.average = low, high
        if self.method != "moving":
            self.seen.append(x)
        ### END SOLUTION

    def range(self) -> tuple[float, float]:
        """(low, high), two floats; low <= 0 <= high. To be asked as often as one likes, between batches, too.

        Raises ValueError if there was no number yet.

        >>> calibrator = Calibrator("moving", rate=0.5)
        >>> calibrator.observe(torch.tensor([1.0, 2.0])); calibrator.observe(torch.tensor([3.0, 6.0]))
        >>> calibrator.range()
        (0.0, 4.0)
        """
        ### BEGIN SOLUTION
        if self.average is None:
            raise ValueError("no number was observed yet")
        if self.method == "moving":
            low, high = self.average
            return min(low, 0.0), max(high, 0.0)
        x = torch.cat(self.seen).sort().values
        cut = int(len(x) * self.clip) if self.method == "percentile" else 0
        low, high = min(x[cut].item(), 0.0), max(x[len(x) - 1 - cut].item(), 0.0)
        if self.method != "least squares":
            return low, high
        ranges = [(low * k / 100, high * k / 100) for k in range(1, 101)]
        return min(ranges, key=lambda ends: self._error(x, ends))

    def _error(self, x: Tensor, ends: tuple[float, float]) -> float:
        scale, zero = affine_qparams(torch.tensor(ends, dtype=torch.float64), self.bits)
        return float((dequantize(quantize(x, scale, zero, self.bits), scale, zero) - x).square().sum())
        ### END SOLUTION

    def qparams(self) -> tuple[Tensor, Tensor]:
        """Scale (float64) and zero point of this range, both (1,). Given."""
        return affine_qparams(torch.tensor(self.range(), dtype=torch.float64), self.bits)


class FakeQuantize(nn.Module):
    """Stands in a network while it trains: rounds what passes to what codes can say, and lets gradients through.

    In training mode each call first moves the range by the smallest and the largest number of x, as
    `Calibrator("moving", rate=rate)` does: the first batch sets it. In evaluation the range stays as it is. Then, in
    both modes, with the scale and zero point of `affine_qparams` for that range with 0 in it:

        forward     dequantize(quantize(x))
        backward    the straight-through estimator: the gradient of x is that of the result where the code needs no
                    clamp, lowest <= round(x / s) + z <= highest, and 0 elsewhere

    The code decides, not x: with lowest code -8, x / s = -8.4 rounds to -8 and lets the gradient through; -8.6 does
    not. The range itself gets no gradient. All that a new module needs to go on from is in the `state_dict`.
    """

    def __init__(self, bits: int = 8, rate: float = 0.1) -> None:
        super().__init__()
        self.bits = bits
        self.rate = rate
        ### BEGIN SOLUTION
        self.register_buffer("ends", torch.full((2,), torch.nan, dtype=torch.float64))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape; returns its shape and dtype.

        Raises ValueError in evaluation mode if there is no range yet.
        Forbidden: torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine,
        torch._fake_quantize_learnable_per_tensor_affine, torch.fused_moving_avg_obs_fake_quant.

        >>> fake = FakeQuantize(bits=2)
        >>> fake(torch.tensor([-1.0, 0.2, 0.9, 2.0])).tolist()      # s = 1, z = -1: codes -2 .. 1 say -1, 0, 1, 2
        [-1.0, 0.0, 1.0, 2.0]
        """
        ### BEGIN SOLUTION
        if self.training:
            with torch.no_grad():
                new = torch.stack([x.min(), x.max()]).double()
                self.ends.copy_(torch.where(self.ends.isnan(), new, self.ends + self.rate * (new - self.ends)))
        if self.ends.isnan().any():
            raise ValueError("there is no range before the first batch in training mode")
        scale, zero = affine_qparams(self.ends.to(x.dtype), self.bits)
        steps = x / scale
        codes = steps + (steps.round() - steps).detach() + zero
        return (codes.clamp(*code_range(self.bits)) - zero) * scale
        ### END SOLUTION


def initial_step(x: Tensor, bits: int = 8, unsigned: bool = False) -> Tensor:
    """LSQ's first step size: 2 · mean |x| / √highest, of shape (). highest as in `learned_step`.

    >>> round(initial_step(torch.tensor([1.0, -3.0]), bits=4).item(), 4)      # 2 · 2 / √7
    1.5119
    """
    ### BEGIN SOLUTION
    highest = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    return 2 * x.abs().mean() / highest**0.5
    ### END SOLUTION


def learned_step(x: Tensor, step: Tensor, bits: int = 8, unsigned: bool = False) -> Tensor:
    """LSQ: fake quantisation whose step is a parameter and gets a gradient of its own.

    step: (), above 0, of the dtype of x. Codes are -2^(bits - 1) .. 2^(bits - 1) - 1, or 0 .. 2^bits - 1 if unsigned;
    the zero point is 0. With v = x / step, n = x.numel() and N = highest code:

        forward              clamp(round(v), lowest, highest) · step
        gradient of x        that of the result where round(v) needs no clamp, 0 elsewhere
        gradient of step     1 / √(n · N) times the sum over x, each weighed by the gradient of the result, of
                             round(v) - v where round(v) needs no clamp; else lowest or highest, where it was clamped to

    One x = 2.3, step 1, 4 bits: the result is 2, its gradient with respect to step -0.3 / √7. (The paper puts the
    border at v = highest; here it is the rounded code that decides, as in torch.)

    Forbidden: torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine,
    torch._fake_quantize_learnable_per_tensor_affine, torch.fused_moving_avg_obs_fake_quant.

    Source: Esser et al. 2020, equations 1-3 and section 2.2.

    >>> step = torch.tensor(1.0, requires_grad=True)
    >>> learned_step(torch.tensor([2.3]), step, bits=4).backward(); round(step.grad.item(), 4)
    -0.1134
    """
    ### BEGIN SOLUTION
    lowest, highest = (0, 2**bits - 1) if unsigned else code_range(bits)
    share = (x.numel() * highest) ** -0.5
    step = step * share + (step - step * share).detach()  # the value of step, a share of its gradient
    steps = x / step
    return (steps + (steps.round() - steps).detach()).clamp(lowest, highest) * step
    ### END SOLUTION


def fold_batch_norm(
    w: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    x: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One linear layer for a linear layer without bias and the BatchNorm behind it, while the network trains.

    An integer layer has no BatchNorm: it multiplies with the folded weight. So it is the *folded* weight that training
    must round, not w; a layer for quantisation-aware training is

        w', b', mean, var = fold_batch_norm(w, ..., x)         y = x · fake(w')ᵀ + b'

    w: (o, i); weight, bias (of the BatchNorm), running_mean, running_var: (o,); x: (n, i) with n >= 2, or None.
    x given (training): μ and σ² are mean and variance of the batch x · wᵀ over n, σ² divided by n. Gradients flow
        through them. The running statistics move by momentum · (that of the batch - the present one), where the
        variance of the batch is the one divided by n - 1; they get no gradient.
    x None (evaluation): μ and σ² are the running statistics, and these stay.

        w' = w · weight / √(σ² + eps), row by row              b' = bias - μ · weight / √(σ² + eps)

    Returns (w', b', new running mean, new running variance). Without `fake` the layer does what batch_norm(x · wᵀ)
    does, in both modes: values, gradients and running statistics.

    >>> one = torch.ones(1)
    >>> [t.item() for t in fold_batch_norm(torch.tensor([[3.0]]), 8 * one, 7 * one, 5 * one, 4 * one, eps=0.0)]
    [12.0, -13.0, 5.0, 4.0]
    """
    ### BEGIN SOLUTION
    mean, var = running_mean.detach().clone(), running_var.detach().clone()
    if x is None:
        mu, sigma2 = mean, var
    else:
        y = x @ w.T
        mu, sigma2 = y.mean(0), y.var(0, unbiased=False)
        mean.lerp_(mu.detach(), momentum)
        var.lerp_(y.detach().var(0), momentum)
    factor = weight * (sigma2 + eps).rsqrt()
    return w * factor[:, None], bias - mu * factor, mean, var
    ### END SOLUTION


def fixed_point(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Real factors as integers: ratio ≈ m · 2^-shift, with 2^30 <= m < 2^31.

    ratio: (o,) float64, each from 2^-30 to below 1 - 2^-32. m is the nearest integer to ratio · 2^shift; where that
    is 2^31, it is 2^30 with a shift one smaller. Returns m and shift, both (o,) int64. 0.3 is 1288490189 · 2^-32.

    >>> [t.tolist() for t in fixed_point(torch.tensor([0.5, 0.3], dtype=torch.float64))]
    [[1073741824, 1288490189], [31, 32]]
    """
    ### BEGIN SOLUTION
    mantissa, exponent = torch.frexp(ratio)  # ratio = mantissa · 2^exponent, 1/2 <= mantissa < 1
    m, shift = (mantissa * 2**31).round().to(torch.int64), 31 - exponent.to(torch.int64)
    full = m == 2**31
    return torch.where(full, 2**30, m), torch.where(full, shift - 1, shift)
    ### END SOLUTION


def integer_linear(
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    x_zero: int,
    w_zero: Tensor,
    multiplier: Tensor,
    shift: Tensor,
    out_zero: int,
) -> Tensor:
    """A linear layer as a chip without floating point computes it: integers from codes to codes.

    x: (n, i) uint8 codes with the zero point x_zero; w: (o, i) int8 codes with the zero points w_zero (o,) int32;
    bias: (o,) int32, in units of s_x · s_w. n may be 0. multiplier and shift: (o,), as `fixed_point` gives them for
    s_x · s_w / s_out.

        sum = Σ (x - x_zero) · (w - w_zero) + bias
            = Σ x·w - x_zero · Σ w - w_zero · Σ x + i · x_zero · w_zero + bias          all sums over i
        y   = clamp(round(sum · multiplier / 2^shift) + out_zero, 0, 255), halves rounded up: -2.5 to -2

    The sum, and each of its terms, fits int32; the product with the multiplier takes int64. Two products of a uint8 and
    an int8 no longer fit int16: 2 · 255 · 127 = 64,770. Returns y: (n, o) uint8.

    Cost: no tensor of floats is made, of any size. The work stays in torch.

    Source: Jacob et al. 2018, sections 2.2-2.4.

    >>> m, shift = fixed_point(torch.tensor([0.25], dtype=torch.float64))
    >>> x, w = torch.tensor([[10, 20]], dtype=torch.uint8), torch.tensor([[3, -1]], dtype=torch.int8)
    >>> zero = torch.zeros(1, dtype=torch.int32)
    >>> integer_linear(x, w, zero + 5, 8, zero, m, shift, 100).tolist()      # (2·3 - 12·1 + 5) / 4 = -0.25
    [[100]]
    """
    ### BEGIN SOLUTION
    wide_x, wide_w = x.to(torch.int32), w.to(torch.int32)
    of_x, of_w = wide_x.sum(1, dtype=torch.int32), wide_w.sum(1, dtype=torch.int32)
    total = wide_x @ wide_w.T - x_zero * of_w - of_x[:, None] * w_zero
    total = total + x.shape[1] * x_zero * w_zero + bias
    half = torch.ones_like(shift, dtype=torch.int64) << (shift - 1)
    rounded = (total.to(torch.int64) * multiplier + half) >> shift  # >> rounds down, so + half rounds halves up
    return (rounded + out_zero).clamp(0, 255).to(torch.uint8)
    ### END SOLUTION


def outlier_matmul(x: Tensor, w: Tensor, threshold: float = 6.0) -> Tensor:
    """LLM.int8: x · wᵀ in 8 bits, but for the few columns of x with large numbers, which stay as they are.

    x: (n, i), w: (o, i). A column of x is an outlier if any |x| in it is above the threshold; exactly 6 is not.

        y = Σ over other columns  of  (codes of x · codes of w) · s_x · s_w   +   Σ over outlier columns  of  x · w

    Codes are symmetric, 8 bits: those of x with a scale for each row, taken over the columns that are no outliers,
    those of w with a scale for each row of w, taken over *all* columns: w is quantised once, before any x is known.
    There may be no outlier, or no other column; a row may be 0. Returns (n, o).

    Source: Dettmers et al. 2022, section 3.

    >>> x, w = torch.tensor([[1.27, 100.0, 0.634]]), torch.tensor([[1.27, 0.3, 1.0]])
    >>> round(outlier_matmul(x, w).item(), 4)      # (127 · 127 + 63 · 100) · 0.01² + 100 · 0.3
    32.2429
    """
    ### BEGIN SOLUTION
    outlier = (x.abs() > threshold).any(0)
    y = x[:, outlier] @ w[:, outlier].T
    if outlier.all():
        return y
    rest = x[:, ~outlier]
    s_x, zero_x = affine_qparams(rest, symmetric=True, axis=0)
    s_w, zero_w = affine_qparams(w, symmetric=True, axis=0)
    codes_x = quantize(rest, s_x, zero_x, symmetric=True).to(torch.int32)
    codes_w = quantize(w, s_w, zero_w, symmetric=True)[:, ~outlier].to(torch.int32)
    return y + (codes_x @ codes_w.T) * s_x * s_w.T
    ### END SOLUTION


def smooth_scales(x: Tensor, w: Tensor, alpha: float = 0.5) -> Tensor:
    """SmoothQuant: factors that move the spread of the inputs into the weights, column by column.

        s_j = (largest |x| in column j)^alpha / (largest |w| in column j)^(1 - alpha)

    x: (n, i), w: (o, i). x / s and w · s have the same product as x and w. With alpha = 1/2 their columns have equal
    maxima: x up to 16 and w up to 4 give s = 2, and both reach 8. A column that is 0 in x or in w gets s = 1.
    Returns (i,).

    Source: Xiao et al. 2023, equation 4.

    >>> smooth_scales(torch.tensor([[16.0, -1.0], [2.0, 0.5]]), torch.tensor([[4.0, 4.0]])).tolist()
    [2.0, 0.5]
    """
    ### BEGIN SOLUTION
    of_x, of_w = x.abs().amax(0), w.abs().amax(0)
    empty = (of_x == 0) | (of_w == 0)
    return (of_x.pow(alpha) / of_w.pow(1 - alpha)).masked_fill(empty, 1)
    ### END SOLUTION


def awq_scales(x: Tensor, w: Tensor, bits: int = 4, group: int | None = None) -> Tensor:
    """AWQ: weights that meet large inputs are made larger before they are rounded. How much larger is tried out.

    x: (n, i), w: (o, i). For each of the twenty exponents β = 0, 0.05, ..., 0.95:

        a_j = (mean |x| of column j)^β, not below 1e-4         s = a / √(largest a · smallest a)

    Q rounds w · s to affine codes of `bits` bits and back, with a scale for each row, or for each group of a row.
    Returns the s (i,) whose layer errs least on x:  Σ (x · (Q(w · s) / s)ᵀ - x · wᵀ)².  β = 0 is s = 1, plain
    rounding, so on these x the result errs no more than that.

    Raises what `affine_qparams` raises.

    Source: Lin et al. 2024, equations 4 and 5; the authors' code (mean, exponents, the root).

    >>> x, w = torch.tensor([[8.0, 1.0], [-8.0, 0.5]]), torch.tensor([[1.0, 0.34], [0.3, -1.2]])
    >>> s = awq_scales(x, w, bits=2); bool(s[0] > s[1])
    True
    """
    ### BEGIN SOLUTION
    size, exact = x.abs().mean(0), x @ w.T
    found: list[tuple[float, Tensor]] = []
    for k in range(20):
        a = size.pow(k / 20).clamp(min=1e-4)
        s = a / (a.max() * a.min()).sqrt()
        scaled = w * s
        scale, zero = affine_qparams(scaled, bits, axis=0 if group is None else None, group=group)
        back = dequantize(quantize(scaled, scale, zero, bits), scale, zero) / s
        found.append((float((x @ back.T - exact).square().sum()), s))
    return min(found, key=lambda one: one[0])[1]
    ### END SOLUTION


def gptq(
    w: Tensor, x: Tensor, scale: Tensor, zero: Tensor, bits: int = 4, damp: float = 0.01, block: int = 128
) -> Tensor:
    """GPTQ: round the columns of w one after the other, and let the later ones make up for each error.

    w: (o, i), x: (n, i) inputs seen, n >= 1 and not all 0. scale and zero: the grid, fixed beforehand, of any shape
    that `spread` takes to (o, i). Affine codes. damp > 0. Returns the codes (o, i) int8.

    The rule, for j = 0, 1, ..., i - 1: round column j of the present weights. Then move the columns behind j to where,
    with all columns up to j as rounded, Σ (x · presentᵀ - x · wᵀ)² + λ · Σ (present - w)² is smallest; λ = damp times
    the mean over the columns of x of Σ x². The w in it is the original one.

    With H = xᵀ·x + λ·1, and the upper Cholesky factor U of its inverse, H⁻¹ = Uᵀ·U, that is
        e = (present column j - its rounded value) / U[j, j]
        column k moves by  - e · U[j, k],  for all k > j
    `block`: columns that are done before the columns behind all of them are moved, with one product. It changes nothing
    but the order of sums.

    Cost: H is factorised or inverted a fixed number of times, not once a column: `Cost.work` is at most
    (30 + 8·o + 2·n) · i². The work stays in torch.

    Source: Frantar et al. 2023, section 3 and algorithm 1, whose H is twice this one.

    >>> w, x = torch.tensor([[0.4, 0.4]], dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> gptq(w, x, one, 0 * one.int()).tolist()      # each alone rounds to 0; together they should be 0.8
    [[0, 1]]
    """
    ### BEGIN SOLUTION
    h = x.T @ x
    h.diagonal().add_(damp * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    present = w.clone()
    scale, zero = spread(scale, w.shape), spread(zero, w.shape)
    codes = torch.empty_like(w, dtype=torch.int8)
    for start in range(0, w.shape[1], block):
        stop = min(start + block, w.shape[1])
        errors = []
        for j in range(start, stop):
            here = slice(j, j + 1)
            codes[:, here] = quantize(present[:, here], scale[:, here], zero[:, here], bits)
            back = dequantize(codes[:, here], scale[:, here], zero[:, here])
            error = (present[:, here] - back) / u[j, j]
            present[:, j + 1 : stop] -= error * u[j, j + 1 : stop]
            errors.append(error)
        present[:, stop:] -= torch.cat(errors, dim=1) @ u[start:stop, stop:]
    return codes
    ### END SOLUTION


def normal_float() -> Tensor:
    """The 16 levels of NF4 in increasing order, from -1 to 1: (16,) float32.

    Quantiles of the standard normal distribution, with Φ⁻¹ its inverse distribution function and
    p = 1 - (1/32 + 1/30) / 2 = 0.9677083:

        eight above 0    Φ⁻¹ of the nine points evenly spaced from p to 1/2, without the last
        0
        seven below 0    -Φ⁻¹ of the eight points evenly spaced from p to 1/2, without the last

    all divided by the largest. (Equation 4 of the paper has Φ⁻¹(0) and Φ⁻¹(1), which are infinite; this is the authors'
    code.)

    >>> [round(level, 4) for level in normal_float().tolist()[6:10]]
    [-0.091, 0.0, 0.0796, 0.1609]
    """
    ### BEGIN SOLUTION
    p = 1 - (1 / 32 + 1 / 30) / 2
    above = torch.special.ndtri(torch.linspace(p, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(p, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([below, torch.zeros(1, dtype=torch.float64), above]).sort().values
    return (levels / levels.max()).float()
    ### END SOLUTION


def nf4_quantize(x: Tensor, block: int = 64, group: int = 256) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """NF4 with constants that are quantised again: (codes, constants, scales, mean).

    x: any shape, of n numbers in row-major order; blocks of `block` neighbours, the last perhaps shorter.

        c = largest |x| of each block; each x gets the number 0 .. 15 of the level that is nearest to x / c
        codes        uint8 (ceil(n / 2),): two numbers a byte, the first in the upper four bits. The lower half of the
                     last byte, where n is odd, is yours to choose
        mean         float32 (): the mean of c over all blocks
        constants    int8, one for each block: c - mean as symmetric codes of 8 bits, with a scale for each `group`
                     neighbouring blocks, the last group perhaps smaller
        scales       float32, one for each such group; finite and above 0, also where all its constants equal the mean

    The nearest level is that for c itself, before c is quantised. A block of zeros gets the number of the level 0.
    For 64 and 256 the constants cost 8 / 64 + 32 / (64 · 256) = 0.127 bits a number; unquantised 32 / 64 = 0.5.

    Source: Dettmers et al. 2023, section 3; our second step has int8 in the place of their 8-bit floats.

    >>> codes, constants, scales, mean = nf4_quantize(torch.tensor([2.0, -2.0, 0.0]))
    >>> [f"{byte:02x}" for byte in codes.tolist()][0], codes[1].item() >> 4, mean.item()
    ('f0', 7, 2.0)
    """
    ### BEGIN SOLUTION
    flat = x.flatten()
    padded = torch.cat([flat, flat.new_zeros(-len(flat) % block)]).view(-1, block)
    c = padded.abs().amax(1, keepdim=True)
    levels = normal_float().to(x.dtype)
    unit = padded / c.clamp(min=torch.finfo(x.dtype).tiny)
    numbers = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2).flatten()[: len(flat)].to(torch.uint8)
    numbers = torch.cat([numbers, numbers.new_zeros(len(flat) % 2)])
    mean = c.mean()
    offsets = c.flatten() - mean
    grouped = torch.cat([offsets, offsets.new_zeros(-len(offsets) % group)]).view(-1, group)
    scales, zero = affine_qparams(grouped, symmetric=True, axis=0)
    scales = scales.clamp(min=torch.finfo(torch.float32).tiny)
    constants = quantize(grouped, scales, zero, symmetric=True).flatten()[: len(offsets)]
    return numbers[0::2] << 4 | numbers[1::2], constants, scales.flatten().float(), mean.float()
    ### END SOLUTION


def nf4_dequantize(
    codes: Tensor,
    constants: Tensor,
    scales: Tensor,
    mean: Tensor,
    shape: Sequence[int],
    block: int = 64,
    group: int = 256,
) -> Tensor:
    """The numbers that `nf4_quantize` stands for, float32 of this shape: level · (constant · its scale + mean).

    >>> nf4_dequantize(*nf4_quantize(torch.tensor([2.0, -2.0, 0.0])), shape=(3,)).tolist()
    [2.0, -2.0, 0.0]
    """
    ### BEGIN SOLUTION
    numbers = torch.stack([codes >> 4, codes & 15], dim=1).flatten()[: torch.Size(shape).numel()].long()
    c = constants.float() * scales.repeat_interleave(group)[: len(constants)] + mean
    return (normal_float()[numbers] * c.repeat_interleave(block)[: len(numbers)]).view(shape)
    ### END SOLUTION
