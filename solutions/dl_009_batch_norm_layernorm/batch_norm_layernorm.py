"""dl_009 · Normalization: over the features, over the batch, over groups; forward, backward, merged, folded, converted.

Notation
    n  examples in a batch      c  channels      d  features      o, i  outputs and inputs of a layer
    k  values behind one mean   G  groups        µ, σ²  mean and variance      γ, β  the learnt scale and shift

A variance here is *biased*: the mean of (x - µ)², a sum divided by k. The one exception is said where it stands. eps is
added to the variance, inside of the root. Normalised values are x̂ = (x - µ) / √(σ² + eps).

Rules for all functions: arguments are left alone. No axis is empty. Inputs are float64, float32 or float16, need not be
contiguous, and weights have the dtype of x. A result has the dtype of x unless its docstring says otherwise; float16 is
widened to float32 for all that is computed and rounded at the end (a square above 65,504 is Inf in float16). In float32
a mean that is large against the deviation must not eat it up: means are subtracted *before* anything is squared, since
E[x²] - E[x]² of values around 10,000 with deviation 1 can even be negative. Gradients flow through `layer_norm`,
`rms_norm`, `batch_norm` and `group_norm` to x, weight and bias.

Further reading: Ioffe and Szegedy 2015 (BatchNorm), Ba et al. 2016 (LayerNorm), Salimans and Kingma 2016 (WeightNorm),
Wu and He 2018 (GroupNorm), Zhang and Sennrich 2019 (RMSNorm), Jiang et al. 2023 (Pre-RMSNorm).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """float16 as float32, all else as it is. Given."""
    return x.float() if x.dtype == torch.float16 else x


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each vector of features by its own mean and variance.

        out = weight · (x - µ) / √(σ² + eps) + bias          µ, σ² over the last axis, biased

    x: (..., d) with any number of axes before the last, also none. weight, bias: (d,).
    [1, 3] has mean 2 and variance 1; with eps 3 it becomes [-1/2, 1/2].

    Forbidden: torch.nn.functional.layer_norm, torch.layer_norm, torch.native_layer_norm.

    Source: Ba, Kiros, Hinton 2016, equation 4.

    >>> layer_norm(torch.tensor([[1.0, 3.0]]), torch.ones(2), torch.tensor([0.0, 10.0]), eps=3.0)
    tensor([[-0.5000, 10.5000]])
    """
    ### BEGIN SOLUTION
    wide = widened(x)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    normal = centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return (normal * weight + bias).to(x.dtype)
    ### END SOLUTION


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6, unit_offset: bool = False) -> Tensor:
    """Divide each vector of features by its root mean square: no mean is taken off, and there is no bias.

        out = weight · x / √(mean of x² + eps)          over the last axis; with unit_offset (1 + weight) · ...

    x: (..., d), weight: (d,). unit_offset is Gemma's form: weights begin at 0, and decay pulls them to scale 1.
    [1, 7] has mean square 25: with eps 0 it becomes [0.2, 1.4].

    Forbidden: torch.nn.functional.rms_norm, torch.rms_norm.

    Source: Zhang and Sennrich 2019, equation 4; Llama, Gemma.

    >>> rms_norm(torch.tensor([[1.0, 7.0]]), torch.tensor([1.0, -1.0]), eps=0.0)
    tensor([[ 0.2000, -1.4000]])
    """
    ### BEGIN SOLUTION
    wide = widened(x)
    scale = 1 + widened(weight) if unit_offset else weight
    return (wide / (wide.square().mean(dim=-1, keepdim=True) + eps).sqrt() * scale).to(x.dtype)
    ### END SOLUTION


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel over the batch and all positions; return (out, running mean, running variance).

    x: (n, c) or (n, c, ...); channels are axis 1. weight, bias, running_mean, running_var: (c,).

        training      µ, σ² of this batch: over all axes but 1, k values a channel, σ² biased
        evaluation    µ, σ² = running_mean, running_var
        both          out = weight · (x - µ) / √(σ² + eps) + bias

    In training the running statistics that are returned have moved; momentum weighs the *new* value:

        running_mean <- (1 - momentum) · running_mean + momentum · µ
        running_var  <- (1 - momentum) · running_var  + momentum · σ² · k / (k - 1)          unbiased, here alone

    With values 1 and 3, running statistics 0 and 1 and momentum 0.5: µ = 2, σ² = 1, new statistics 1 and 1.5. In
    evaluation the running statistics are returned as they are. They keep their own dtype (which may be float32 beside a
    float16 x), and carry no graph; in training gradients flow through µ and σ² of the batch, too.

    Raises ValueError in training if a channel has only one value: its variance would be 0, its unbiased variance 0/0.

    Forbidden: torch.nn.functional.batch_norm, torch.batch_norm, torch.native_batch_norm, torch.instance_norm,
    torch.nn.functional.instance_norm, torch.nn.functional.layer_norm, torch.nn.functional.group_norm.

    Source: Ioffe and Szegedy 2015, algorithms 1 and 2; momentum as in torch.nn.BatchNorm2d (the paper has none).

    >>> statistics = torch.zeros(1), torch.ones(1)
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), torch.ones(1), torch.zeros(1), *statistics, momentum=0.5, eps=3.0)
    (tensor([[-0.5000],
            [ 0.5000]]), tensor([1.]), tensor([1.5000]))
    """
    ### BEGIN SOLUTION
    wide, mean, var = widened(x), widened(running_mean), widened(running_var)
    shape = [1, -1] + [1] * (x.dim() - 2)
    if training:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ValueError(f"one value a channel has no variance to train with: x is {tuple(x.shape)}")
        mean = wide.mean(dim=axes)
        var = (wide - mean.view(shape)).square().mean(dim=axes)
        unbiased = var * (count / (count - 1))
        running_mean = ((1 - momentum) * running_mean + momentum * mean.detach()).to(running_mean.dtype)
        running_var = ((1 - momentum) * running_var + momentum * unbiased.detach()).to(running_var.dtype)
    normal = (wide - mean.view(shape)) / (var.view(shape) + eps).sqrt()
    return (normal * weight.view(shape) + bias.view(shape)).to(x.dtype), running_mean, running_var
    ### END SOLUTION


def batch_norm_backward(
    dout: Tensor, x: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5, training: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients (dx, dweight, dbias) of `batch_norm`, by hand.

    dout: the gradient of the output, in the shape of x. mean, var: (c,), the statistics that the forward pass used: in
    training the biased ones of x itself, which depend on x; in evaluation constants. The three results are

        dbias   = Σ dout                 dweight = Σ dout · x̂                 over all axes but 1: (c,)
        dx      = weight / √(var + eps) · (dout - mean of dout - x̂ · mean of (dout · x̂))          in training
        dx      = weight / √(var + eps) · dout                                                    in evaluation

    float64 or float32. With eps 0, x = (1, 3), weight 1, dout = (1, 0): x̂ = (-1, 1), the means are 1/2 and -1/2,
    dx = (0, 0): whatever two values are, normalised they are -1 and 1.

    Cost: fixed passes over x, no matrix of pairs. Written out: no autograd. Forbidden: torch.autograd.grad,
    torch.autograd.backward, torch.Tensor.backward.

    Source: Ioffe and Szegedy 2015, section 3.

    >>> x, dout = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.0], [0.0]])
    >>> mean, var = torch.tensor([1.0]), torch.tensor([2 / 3])
    >>> dx, dweight, dbias = batch_norm_backward(dout, x, torch.ones(1), mean, var, eps=1 / 3)
    >>> dx.flatten().round(decimals=4), dweight, dbias  # x̂ is x - 1; the means are 1/3 and -1/3
    (tensor([ 0.3333, -0.3333,  0.0000]), tensor([-1.]), tensor([1.]))
    """
    ### BEGIN SOLUTION
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    root = (var + eps).sqrt().view(shape)
    normal = (x - mean.view(shape)) / root
    dweight, dbias = (dout * normal).sum(dim=axes), dout.sum(dim=axes)
    dnormal = dout
    if training:
        count = x.numel() // x.shape[1]
        dnormal = dout - dbias.view(shape) / count - normal * dweight.view(shape) / count
    return dnormal * weight.view(shape) / root, dweight, dbias
    ### END SOLUTION


def layer_norm_backward(dout: Tensor, x: Tensor, weight: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients (dx, dweight, dbias) of `layer_norm`, by hand.

    dout, x: (..., d), weight: (d,), float64 or float32. The means go over the features, behind the weight:

        dweight = Σ dout · x̂             dbias = Σ dout             over all axes but the last: (d,)
        h       = dout · weight
        dx      = (h - mean of h - x̂ · mean of (h · x̂)) / √(σ² + eps)          means over the last axis

    Cost: fixed passes over x, no matrix of pairs. Written out: no autograd. Forbidden: torch.autograd.grad,
    torch.autograd.backward, torch.Tensor.backward.

    Source: Ba et al. 2016, supplement; the chain rule.

    >>> x, dout = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> layer_norm_backward(dout, x, torch.tensor([1.0, 5.0, 5.0]), eps=1 / 3)  # as in batch_norm_backward
    (tensor([[ 0.3333, -0.3333,  0.0000]]), tensor([-1.,  0.,  0.]), tensor([1., 0., 0.]))
    """
    ### BEGIN SOLUTION
    centred = x - x.mean(dim=-1, keepdim=True)
    root = (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    normal = centred / root
    dweight = (dout * normal).reshape(-1, len(weight)).sum(dim=0)
    dbias = dout.reshape(-1, len(weight)).sum(dim=0)
    h = dout * weight
    dx = (h - h.mean(dim=-1, keepdim=True) - normal * (h * normal).mean(dim=-1, keepdim=True)) / root
    return dx, dweight, dbias
    ### END SOLUTION


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each example by itself, the channels in groups of neighbours.

        out = weight · (x - µ) / √(σ² + eps) + bias

    x: (n, c) or (n, c, ...); µ, σ² over c / groups neighbouring channels and all positions of one example. weight and
    bias: (c,), one for each *channel*. One group is a LayerNorm over channels and positions, c groups are an
    InstanceNorm; no batch enters, so training and evaluation are the same. A group of one value becomes the bias.

    Raises ValueError unless groups is positive and divides c.

    Forbidden: torch.nn.functional.group_norm, torch.group_norm, torch.native_group_norm,
    torch.nn.functional.instance_norm, torch.instance_norm, torch.nn.functional.layer_norm, torch.layer_norm,
    torch.native_layer_norm, torch.nn.functional.batch_norm, torch.batch_norm, torch.native_batch_norm.

    Source: Wu and He 2018, equation 7; Ulyanov et al. 2016 (InstanceNorm).

    >>> group_norm(torch.tensor([[1.0, 3.0, 5.0, 5.0]]), 2, torch.ones(4), torch.zeros(4), eps=3.0)
    tensor([[-0.5000,  0.5000,  0.0000,  0.0000]])
    """
    ### BEGIN SOLUTION
    n, c = x.shape[:2]
    if groups < 1 or c % groups:
        raise ValueError(f"{groups} groups do not divide {c} channels")
    wide = widened(x).reshape(n, groups, -1)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    normal = (centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()).view(x.shape)
    shape = [1, -1] + [1] * (x.dim() - 2)
    return (normal * weight.view(shape) + bias.view(shape)).to(x.dtype)
    ### END SOLUTION


def merge_moments(counts: Sequence[int], means: Tensor, variances: Tensor) -> tuple[int, Tensor, Tensor]:
    """The count, mean and biased variance of all values together, from those of r shares: synchronised BatchNorm.

    counts: r integers, none negative. means, variances: (r, c), biased, float64 or float32. Returns (int, (c,), (c,)):
    what one device would find that has the values of all. Shares may differ in size; one with count 0 counts for
    nothing, whatever stands in its row, NaN too. Values [1, 3] and [5] have moments (2, 2, 1) and (1, 5, 0); together
    (3, 3, 8/3).

    Raises ValueError if all counts are 0, or there is none.

    Source: Chan, Golub, LeVeque 1979; torch.nn.SyncBatchNorm.

    >>> merge_moments([2, 1], torch.tensor([[2.0], [5.0]]), torch.tensor([[1.0], [0.0]]))
    (3, tensor([3.]), tensor([2.6667]))
    """
    ### BEGIN SOLUTION
    total = sum(counts)
    if not total:
        raise ValueError("no share has a value")
    given = torch.tensor([count > 0 for count in counts])
    shares = torch.tensor([count / total for count in counts if count > 0], dtype=means.dtype)[:, None]
    means, variances = means[given], variances[given]
    mean = (shares * means).sum(dim=0)
    return total, mean, (shares * (variances + (means - mean).square())).sum(dim=0)
    ### END SOLUTION


def fold_batch_norm(
    w: Tensor,
    b: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """The layer (w', b') that does what a linear layer or convolution (w, b) and the BatchNorm behind it do together.

    In evaluation, for every input: layer(x; w', b') = batch_norm(layer(x; w, b)). w: (o, i), or (o, i, ...) of a
    convolution; b: (o,) or None, which is a bias of 0; the others (o,). Returns w' in the shape of w, and b': (o,).
    With w = 3, b = 1, running statistics 5 and 4, weight 8, bias 7, eps 0: w' = 12, b' = 7 + (1 - 5)·4 = -9.

    >>> w, b = torch.tensor([[3.0]]), torch.tensor([1.0])
    >>> fold_batch_norm(w, b, torch.tensor([8.0]), torch.tensor([7.0]), torch.tensor([5.0]), torch.tensor([4.0]), 0.0)
    (tensor([[12.]]), tensor([-9.]))
    """
    ### BEGIN SOLUTION
    scale = weight / (running_var + eps).sqrt()
    shift = -running_mean if b is None else b - running_mean
    return w * scale.view([-1] + [1] * (w.dim() - 1)), bias + shift * scale
    ### END SOLUTION


def layer_to_rms(
    w_in: Tensor, b_in: Tensor, weight: Tensor, bias: Tensor, w_out: Tensor, b_out: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Replace the LayerNorm between two linear layers by an RMSNorm, exactly.

    Returns (w_in', b_in', weight', w_out', b_out'). For every x and every eps, with x (i,):

        w_out · layer_norm(w_in · x + b_in, weight, bias, eps) + b_out
            = w_out' · rms_norm(w_in' · x + b_in', weight', eps) + b_out'

    w_in: (d, i), b_in, weight, bias: (d,), w_out: (o, d), b_out: (o,); the results have the same shapes. RMSNorm is not
    LayerNorm without a bias: the two agree on vectors whose mean is 0, and only there. So the first layer has to make
    such vectors, and the bias of the norm, which RMSNorm lacks, has to go somewhere else.

    Source: Jiang et al. 2023, "Pre-RMSNorm and Pre-CRMSNorm Transformers", section 3.

    >>> w_in, ones, zeros = torch.tensor([[1.0], [3.0]]), torch.ones(2), torch.zeros(2)
    >>> new = layer_to_rms(w_in, zeros, ones, torch.tensor([5.0, 0.0]), torch.tensor([[1.0, 1.0]]), torch.zeros(1))
    >>> new[0].T, new[4]
    (tensor([[-1.,  1.]]), tensor([5.]))
    """
    ### BEGIN SOLUTION
    return w_in - w_in.mean(dim=0), b_in - b_in.mean(), weight.clone(), w_out.clone(), b_out + w_out @ bias
    ### END SOLUTION


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    """A weight by its length and its direction: w = g · v / ‖v‖, for each row by itself.

    v: (o, ...), no row is all zeros; g: (o,); ‖v‖ is the L2 norm of a row, over all axes but the first.

    Forbidden: torch._weight_norm, torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm.

    Source: Salimans and Kingma 2016, equation 2.

    >>> weight_norm(torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([10.0, 1.0]))
    tensor([[ 6.,  8.],
            [ 0., -1.]])
    """
    ### BEGIN SOLUTION
    rows = widened(v).flatten(1)
    scale = widened(g) / rows.norm(dim=1)
    return (rows * scale[:, None]).view(v.shape).to(v.dtype)
    ### END SOLUTION


def weight_norm_backward(dw: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients (dv, dg) of `weight_norm`, by hand; float64 or float32.

        dg = Σ dw · v / ‖v‖                    for each row: (o,)
        dv = g / ‖v‖ · (dw - dg · v / ‖v‖)

    dv has no part along v: a step on v can only make it longer, and the next steps smaller.

    Written out: no autograd. Forbidden: torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward.

    Source: Salimans and Kingma 2016, equation 3.

    >>> weight_norm_backward(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([10.0]))
    (tensor([[ 1.2800, -0.9600]]), tensor([0.6000]))
    """
    ### BEGIN SOLUTION
    rows, upstream = v.flatten(1), dw.flatten(1)
    length = rows.norm(dim=1, keepdim=True)
    direction = rows / length
    dg = (upstream * direction).sum(dim=1, keepdim=True)
    dv = g[:, None] / length * (upstream - dg * direction)
    return dv.view(v.shape), dg.squeeze(1)
    ### END SOLUTION
