"""dl_006 · Initialisation: fans, Xavier and He, gains, orthogonal weights, mean field, LSUV, priors and µP.

Notation
    i, o  inputs and outputs of a layer      h  hidden units      c  classes      k...  the axes of a kernel
    w     the weight of a layer: (o, i), of a convolution (o, i, k...)            z  a standard normal number
    f     an activation, elementwise: a function of torch, from a tensor to one of the same shape

Rules for all functions: sizes are at least 1. Weights are float64 or float32, and need not be contiguous.

`fill_`, `xavier_`, `he_` and `orthogonal_` write into their argument `w`, whatever stood there (NaN, too), in w's own
memory and dtype, and return w. `w` may be an nn.Parameter; nothing is recorded for autograd. They take a `generator`:
every random number comes from it, none from global state, and it is never seeded anew or copied. How many numbers you
take from it, and in which order, is up to you: only the distribution is asked for.

Further reading: Glorot and Bengio 2010 (Xavier), He et al. 2015, Saxe et al. 2014 (orthogonal), Poole et al. 2016 and
Schoenholz et al. 2017 (mean field), Mishkin and Matas 2016 (LSUV), Lin et al. 2017 (prior bias), Yang et al. 2022 (µP).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


def fans(shape: Sequence[int], groups: int = 1, transposed: bool = False) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: how many inputs one output adds up, and how many outputs one input reaches.

    shape is that of the weight, as torch stores it; a kernel's area counts in both fans (stride 1, away from borders):

                                  shape                      fan_in                fan_out
        linear layer              (o, i)                     i                     o
        convolution               (o, i / groups, k...)      i / groups · area     o / groups · area
        transposed convolution    (i, o / groups, k...)      i / groups · area     o / groups · area

    i and o are the channels of the whole layer, area the product of the kernel's axes. An output sees only the inputs
    of its own group, an input reaches only the outputs of its own group: that divides *both* fans. A 3x3 convolution
    from 16 to 32 channels has shape (32, 16, 3, 3) and fans (144, 288); with 4 groups its shape is (32, 4, 3, 3), its
    fans (36, 72).

    torch's own function knows neither groups nor transposed layers: it gives (36, 288) there. Returns two ints.

    Raises ValueError if shape has fewer than two axes, or unless groups is positive and divides shape[0].

    Forbidden: torch.nn.init._calculate_fan_in_and_fan_out.

    >>> fans((5, 3)), fans((32, 4, 3, 3), groups=4), fans((16, 32, 2, 2), transposed=True)
    ((3, 5), (36, 72), (64, 128))
    """
    ### BEGIN SOLUTION
    if len(shape) < 2:
        raise ValueError(f"a weight has two axes or more, not {tuple(shape)}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"{groups} groups do not divide the first axis of {tuple(shape)}")
    area = math.prod(shape[2:])
    first, second = shape[0] // groups * area, shape[1] * area
    return (first, second) if transposed else (second, first)
    ### END SOLUTION


def distinct_units(w_in: Tensor, b: Tensor, w_out: Tensor) -> int:
    """How many different hidden units a network has, and will ever have: w_out · f(w_in · x + b).

    w_in: (h, i), b: (h,), w_out: (o, h). Two units are the same if all numbers that belong to them are equal: what
    comes in, the bias, and what goes out. Such units compute the same and get the same gradient, so no training without
    randomness tells them apart. Units that agree in part differ now or after a step. Returns an int, 1 ... h.

    Constant weights of any value make h units one. Numbers are compared exactly; 0.0 and -0.0 are equal.

    Cost: no matrix of pairs; h may be 20,000.

    >>> w_in, b = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), torch.zeros(3)
    >>> distinct_units(w_in, b, torch.tensor([[5.0, 5.0, 6.0]])), distinct_units(w_in, b, torch.ones(4, 3))
    (2, 1)
    """
    ### BEGIN SOLUTION
    units = torch.cat([w_in, b[:, None], w_out.T], dim=1)
    return len(units.unique(dim=0))
    ### END SOLUTION


def fill_(w: Tensor, std: float, distribution: str = "normal", *, generator: torch.Generator) -> Tensor:
    """Fill w with independent numbers of mean 0 and standard deviation std.

        "normal"       N(0, std²)
        "uniform"      uniform on [-a, a]             with a such that the *deviation* is std: a uniform one has a/√3
        "truncated"    N(0, s²), cut off at ±2s       what is left deviates by 0.87962566 · s, and that is to be std

    Truncated means that no number beyond 2s comes, not that such numbers are moved to the edge. Returns w.

    Raises ValueError if the distribution has another name.

    Source: for the truncated form TensorFlow's and JAX's variance scaling.

    >>> w = fill_(torch.empty(40, 50), 1.0, "uniform", generator=torch.Generator().manual_seed(0))
    >>> bool(w.abs().max() > 1.7), bool(w.abs().max() < 1.7321)  # √3 = 1.73205
    (True, True)
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        if distribution == "normal":
            return w.normal_(0, std, generator=generator)
        if distribution == "uniform":
            bound = math.sqrt(3) * std
            return w.uniform_(-bound, bound, generator=generator)
        if distribution == "truncated":
            edge = math.erf(math.sqrt(2))  # the share of a normal distribution within two deviations
            share = torch.empty(w.shape, dtype=torch.float64).uniform_(-edge, edge, generator=generator)
            return w.copy_(torch.erfinv(share) * (math.sqrt(2) * std / 0.87962566))
    raise ValueError(f"no distribution '{distribution}'")
    ### END SOLUTION


def xavier_(w: Tensor, gain: float = 1.0, distribution: str = "uniform", *, generator: torch.Generator) -> Tensor:
    """Glorot's and Bengio's initialisation: the variance between what signals ask for and what gradients ask for.

        std = gain · √(2 / (fan_in + fan_out))          mean 0, distribution as in `fill_`

    w: (o, i) or (o, i, k...), without groups. On the way forward the variance of a linear layer's output is
    fan_in · std² times that of its input, on the way back fan_out · std²; both are 1 only where the fans are equal. The
    formula supposes f'(0) = 1 and small inputs: tanh, not the sigmoid, and not ReLU. Returns w.

    (o, i) = (2, 4) with gain 3 has std √3, so the uniform form stays within ±3.

    Raises ValueError if w has fewer than two axes, or if the distribution has another name.

    Forbidden: torch.nn.init.xavier_uniform_, torch.nn.init.xavier_normal_, torch.nn.init.kaiming_uniform_,
    torch.nn.init.kaiming_normal_.

    Source: Glorot and Bengio 2010, equations 10-12 and 16.

    >>> w = xavier_(torch.empty(300, 100), generator=torch.Generator().manual_seed(0))
    >>> round(w.abs().max().item(), 3), round(w.std().item(), 3)  # √(6/400) and √(2/400)
    (0.122, 0.071)
    """
    ### BEGIN SOLUTION
    return fill_(w, gain * math.sqrt(2 / sum(fans(w.shape))), distribution, generator=generator)
    ### END SOLUTION


def he_(
    w: Tensor,
    slope: float = 0.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    *,
    generator: torch.Generator,
) -> Tensor:
    """He's initialisation, for layers that see what a ReLU, or a leaky ReLU with this slope, lets through.

        std = √(2 / (1 + slope²)) / √fan          mean 0, distribution as in `fill_`

    w: (o, i) or (o, i, k...), without groups; fan is fan_in or fan_out, as mode says: the one keeps the size of
    signals, the other that of gradients. The 2 makes up for the half that ReLU cuts away; slope 1 is a linear layer.
    Returns w. A 3x3 convolution from 2 channels has fan_in 18, and so std 1/3.

    Raises ValueError if w has fewer than two axes, or if the mode or the distribution has another name.

    Forbidden: torch.nn.init.xavier_uniform_, torch.nn.init.xavier_normal_, torch.nn.init.kaiming_uniform_,
    torch.nn.init.kaiming_normal_.

    Source: He et al. 2015, equations 10, 14 and 15.

    >>> w = he_(torch.empty(100, 200), generator=torch.Generator().manual_seed(0))
    >>> round(w.std().item(), 2)  # √(2/200)
    0.1
    """
    ### BEGIN SOLUTION
    fan = dict(zip(("fan_in", "fan_out"), fans(w.shape), strict=True))
    if mode not in fan:
        raise ValueError(f"mode is 'fan_in' or 'fan_out', not '{mode}'")
    return fill_(w, math.sqrt(2 / (1 + slope**2) / fan[mode]), distribution, generator=generator)
    ### END SOLUTION


def gaussian_mean(g: Activation, variance: float = 1.0) -> float:
    """E g(x) for x ~ N(0, variance), as an integral: no random numbers.

    g takes a float64 tensor of any shape and returns one of that shape, elementwise; |g(x)| <= 100 · (1 + x⁴). With
    variance 0 it is g(0).

    Precise to 1e-6 of E |g(x)| where g is continuous, with kinks (as ReLU's) within three deviations of 0, and to 1e-4
    where g jumps at 0, whatever g gives exactly there. A sum over a fine grid of z in [-10, 10] without the point 0
    will do; the few nodes of Gauss and Hermite will not, since a kink is no polynomial.

    >>> round(gaussian_mean(torch.square, 3.0), 6), round(gaussian_mean(torch.relu), 6)  # 3 and 1/√(2π)
    (3.0, 0.398942)
    """
    ### BEGIN SOLUTION
    count = 20_000  # even: 0 lies between two cells, and is the middle of none
    z = (torch.arange(count, dtype=torch.float64) + 0.5) * (20 / count) - 10
    density = torch.exp(-z.square() / 2)
    return float((g(math.sqrt(variance) * z) * density).sum() / density.sum())
    ### END SOLUTION


def activation_gain(f: Activation) -> float:
    """The factor on a layer's weights that undoes what f does to a signal of size 1:  1 / √(E f(z)²).

    With std = gain / √fan_in, and inputs that are f of unit normal numbers, the next sums have variance 1 again.
    f: continuous, |f(z)| <= 10 · (1 + z²). To 1e-6.

        identity 1      ReLU √2 = 1.4142      tanh 1.5925      GELU 1.5335      SiLU 1.6765

    torch's calculate_gain has 5/3 for tanh: another criterion, not this formula.

    Raises ValueError if E f(z)² is 0: no weight makes up for that.

    >>> functions = torch.relu, torch.tanh, nn.functional.gelu, nn.functional.silu
    >>> [round(activation_gain(f), 4) for f in functions]
    [1.4142, 1.5925, 1.5335, 1.6765]
    """
    ### BEGIN SOLUTION
    size = gaussian_mean(lambda z: f(z).square())
    if size == 0:
        raise ValueError("the activation lets nothing through")
    return 1 / math.sqrt(size)
    ### END SOLUTION


def orthogonal_(w: Tensor, gain: float = 1.0, *, generator: torch.Generator) -> Tensor:
    """Fill w with a random orthogonal matrix times gain: it turns signals, and keeps the length of each.

    w: (o, i), or (o, ...) seen as a matrix (o, r), r the product of the others. Where o <= r the rows are orthonormal,
    where o >= r the columns, to the precision of w's dtype: with one axis longer, only the short one can be.

    All such matrices are equally likely (Haar's measure): for orthogonal U and V, w, U·w and w·V have one distribution,
    and a square one has determinant 1 as often as -1. The Q of a QR decomposition of normal numbers is *not*: LAPACK
    settles signs by its own rule, so that Q₀₀ is never positive. Returns w.

    Raises ValueError if w has fewer than two axes.

    Forbidden: torch.nn.init.orthogonal_, torch.nn.utils.parametrizations.orthogonal.

    Source: Saxe et al. 2014; Mezzadri 2007, "How to generate random matrices from the classical compact groups".

    >>> w = orthogonal_(torch.empty(2, 3, dtype=torch.float64), 2.0, generator=torch.Generator().manual_seed(0))
    >>> (w @ w.T).round(decimals=6)
    tensor([[4., 0.],
            [0., 4.]], dtype=torch.float64)
    """
    ### BEGIN SOLUTION
    if w.dim() < 2:
        raise ValueError(f"a weight has two axes or more, not {tuple(w.shape)}")
    rows, columns = len(w), math.prod(w.shape[1:])
    drawn = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    q = q * r.diagonal().sign()
    with torch.no_grad():
        return w.copy_((gain * (q if rows >= columns else q.T)).reshape(w.shape))
    ### END SOLUTION


def variance_map(sw2: float, sb2: float, f: Activation) -> tuple[float, float]:
    """Where the variance of a deep network settles, and what becomes of small differences there: (q, χ).

    Layers are wide, weights have variance sw2 / fan_in, biases variance sb2. The sums of a layer then are normal, with
    a variance q that goes from layer to layer, beginning at 1:

        q  <-  sw2 · E f(√q z)² + sb2                     until it stands still: the fixed point q
        χ   =  sw2 · E f'(√q z)²                          at that q

    χ is the factor, in each layer, of the squared distance of two nearly equal inputs on the way forward, and of the
    squared gradient on the way back. χ < 1: order, differences and gradients vanish. χ > 1: chaos, they explode. Deep
    networks train near χ = 1. Both to 1e-4 (of the larger). f has a kink at 0 at most; f' comes from autograd.

    For ReLU: q = sb2 / (1 - sw2/2) and χ = sw2 / 2, which is 1 at He's variance, 2. Where it is asked for, q comes
    nearer to its end by a constant factor in each step, or grows by one.

    Raises ValueError once q passes 10⁶: there is no fixed point.

    Source: Poole et al. 2016, equations 3 and 5; Schoenholz et al. 2017, section 3.

    >>> [round(v, 3) for v in variance_map(1.76, 0.05, torch.tanh)]  # the edge of chaos
    [0.569, 1.0]
    >>> [round(v, 3) for v in variance_map(1.0, 0.5, torch.relu)]
    [1.0, 0.5]
    """
    ### BEGIN SOLUTION

    def squared_slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(f(x).sum(), x)
        return slope.square()

    q, last = 1.0, math.inf
    while abs(q - last) > 1e-9:
        q, last = sw2 * gaussian_mean(lambda x: f(x).square(), q) + sb2, q
        if q > 1e6:
            raise ValueError("the variance grows without end")
    return q, sw2 * gaussian_mean(squared_slope, q)
    ### END SOLUTION


def lsuv_(layers: Sequence[nn.Module], x: Tensor) -> None:
    """Layer-sequential unit variance: scale each layer by what it does to data, one after the other.

    layers: modules that are applied in turn, the first to x: (n, ...). Each nn.Linear, nn.Conv1d, nn.Conv2d and
    nn.Conv3d among them, in turn, gets bias 0 (if it has one) and a weight that is its old one times a positive number,
    such that its output on this x, *behind the layers before it as they are now*, has variance 1: of all its values
    together (batch, units, positions), their mean taken off. Within 1 %. All other modules, norms and activations, are
    run and left as they are.

    The parameters stay the same objects, nothing is recorded for autograd, no gradient is made. Returns nothing. The
    authors begin with orthogonal weights; here whatever is there is scaled.

    Raises ValueError if all values of such an output are equal: no factor gives them variance 1.

    Source: Mishkin and Matas 2016, algorithm 1 (their loop ends after one step, since a layer is linear in its weight).

    >>> layer = nn.Linear(1, 1)
    >>> lsuv_([layer, nn.ReLU()], torch.tensor([[-6.0], [6.0]]))  # deviation 6
    >>> layer.weight.abs().round(decimals=4), layer.bias.tolist()
    (tensor([[0.1667]], grad_fn=<RoundBackward1>), [0.0])
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                if layer.bias is not None:
                    layer.bias.zero_()
                deviation = layer(x).std(unbiased=False)
                if deviation == 0:
                    raise ValueError(f"all outputs of {layer} are equal")
                layer.weight.div_(deviation)
            x = layer(x)
    ### END SOLUTION


def prior_bias(counts: Tensor, total: int | None = None) -> Tensor:
    """The bias of the last layer with which a network says, before it has learnt anything, how frequent each class is.

    counts: (c,), int64: how often each class comes. Returns (c,), float32 or float64.

        total None     classes that exclude each other: softmax(bias) are the shares of the classes, and the first loss
                       is their entropy. A number added to all changes nothing: any such bias is right
        total given    labels of their own, counts[i] of total examples have label i: sigmoid(bias[i]) is its share

    A share of 0.01 asks for sigmoid bias -log(99) = -4.595, as in RetinaNet. The layer's weights are small or 0.

    Raises ValueError if a count is 0 or less, or, where total is given, total or more: its bias would be infinite.

    Source: Lin et al. 2017, "Focal loss", sections 3.3 and 4.1.

    >>> prior_bias(torch.tensor([1]), total=100).round(decimals=3).tolist()
    [-4.595]
    >>> prior_bias(torch.tensor([6, 3, 1])).softmax(dim=0).round(decimals=4).tolist()
    [0.6, 0.3, 0.1]
    """
    ### BEGIN SOLUTION
    if (counts <= 0).any() or (total is not None and (counts >= total).any()):
        raise ValueError(f"a class that never, or always, comes has an infinite bias: {counts.tolist()}")
    others = counts.sum() if total is None else total - counts
    return counts.double().log() - others.double().log()
    ### END SOLUTION


def mup_scales(shape: Sequence[int], base_shape: Sequence[int], role: str) -> dict[str, float]:
    """How to change a weight's settings with the width, so that what was tuned on a small model holds (µP).

    shape: of the weight in the wide model, base_shape: in the small model that was tuned. Both (o, i, k...); a bias
    (o,). With m_in = i / base i and m_out = o / base o, the settings of the small model are multiplied by

        role        which axes grow      multiplier     std            adam         sgd
        "input"     o                    1              1              1            m_out
        "hidden"    o and i              1              1 / √m_in      1 / m_in     m_out / m_in
        "output"    i                    1 / m_in       1              1            m_in
        "bias"      o                    1              1              1            m_out

    multiplier: on what the layer gives; std: of the initial weights; adam, sgd: the learning rate of each. For a number
    a, (multiplier · a, std / a, adam / a, sgd / a²) is the same network in the same training, so any such form is right
    (the paper's tables 3, 8 and 9 are three of them). At 8 times the width Adam's rate for hidden matrices is /8.

    Returns a dict with these four keys.

    Raises ValueError if the role has another name, if the shapes differ in number of axes (two or more; a bias has
    one), or if an axis differs that does not grow in this role: i of an input, o of an output, a kernel's.

    Source: Yang et al. 2022, "Tensor Programs V", tables 3 and 8; the package mup.

    >>> mup_scales((2048, 2048), (256, 256), "hidden")["adam"]
    0.125
    """
    ### BEGIN SOLUTION
    grows = {"input": (0,), "hidden": (0, 1), "output": (1,), "bias": (0,)}
    if role not in grows:
        raise ValueError(f"no role '{role}'")
    axes = len(shape)
    if axes != len(base_shape) or (axes != 1 if role == "bias" else axes < 2):
        raise ValueError(f"{tuple(shape)} and {tuple(base_shape)} are no shapes of one {role} weight")
    if any(shape[axis] != base_shape[axis] for axis in range(axes) if axis not in grows[role]):
        raise ValueError(f"an axis differs that does not grow in {role}: {tuple(shape)}, {tuple(base_shape)}")
    m_out = shape[0] / base_shape[0]
    if role in ("input", "bias"):
        return {"multiplier": 1.0, "std": 1.0, "adam": 1.0, "sgd": m_out}
    m_in = shape[1] / base_shape[1]
    if role == "hidden":
        return {"multiplier": 1.0, "std": m_in**-0.5, "adam": 1 / m_in, "sgd": m_out / m_in}
    return {"multiplier": 1 / m_in, "std": 1.0, "adam": 1.0, "sgd": m_in}
    ### END SOLUTION
