"""dl_025 · Convolutions over time: TCN, WaveNet and the Conformer.

Notation
    b  batch          t  time steps        i, o, c  channels      k  kernel size       n  levels of a TCN
    q  symbols        s  skip channels     d        width         h  heads             e  d / h
    δ  dilation: a kernel looks at every δ-th step

Convolutions of a TCN and of WaveNet take (b, c, t), the Conformer's parts take (b, t, d).

Rules for all parts: sizes are at least 1 unless said otherwise, and t may be shorter than what a kernel sees. Tensors
are float64 or float32, and need not be contiguous. Arguments are left alone. Results have the dtype of what went in.
Convolution means cross-correlation, as everywhere in deep learning: the kernel is not turned round. Modules use the
parameters that their `__init__` makes, as they are at each call; do not rename them. "Operators" counts each operation
that torch runs, views too.

Further reading: van den Oord et al. 2016 (WaveNet), Le Paine et al. 2016 (fast generation), Bai et al. 2018 (TCN),
Gulati et al. 2020 (Conformer), Dai et al. 2019 (relative positions).
"""

import math
from collections import deque

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """A convolution over time that never looks ahead: (b, i, t) -> (b, o, t).

    weight: (o, i, k), bias: (o,) or None. With zeros before the first step,

        y[t] = bias + sum over j of  weight[:, :, j] · x[t - (k-1-j)·δ]          the last tap meets the newest step

    x = 1, 2, 3, 4 with weight (10, 1): y = 1, 12, 23, 34. With dilation 2: 1, 2, 13, 24.

    Gradients flow into x, weight and bias.

    Cost: the work stays in torch. A call takes at most 3 · b·o·i·k·t FLOPs, and 9 · b·o·i·k·t with its backward pass.
    It takes at most 30 + 10·k operators, and 80 + 30·k with its backward pass, whatever b, t and the channels are.

    Forbidden: torch.conv1d, torch.conv2d, torch.conv3d, torch.convolution.

    Source: van den Oord et al. 2016, section 2.1.

    >>> x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    >>> causal_convolution(x, torch.tensor([[[10.0, 1.0]]])).tolist()
    [[[1.0, 12.0, 23.0, 34.0]]]
    """
    ### BEGIN SOLUTION
    k, t = weight.shape[-1], x.shape[-1]
    padded = F.pad(x, ((k - 1) * dilation, 0))
    y = sum(weight[:, :, j] @ padded[:, :, j * dilation : j * dilation + t] for j in range(k))
    return y if bias is None else y + bias[:, None]
    ### END SOLUTION


def receptive_field(kernels: list[int], dilations: list[int], strides: list[int]) -> int:
    """How many input steps one output of a stack of convolutions sees.

    The lists have one entry for each layer, the layer next to the input first. A stride of 2 means that the next layer
    gets every second output: from there on a step counts for two.

        R = 1 + sum over layers l of  (k_l - 1) · δ_l · (product of all strides before l)

    Kernels 3, 2, dilations 1, 4, strides 2, 1: 1 + 2·1·1 + 1·4·2 = 11. Without layers R is 1.

    Raises ValueError if the lists have different lengths.

    >>> receptive_field([3, 2], [1, 4], [2, 1])
    11
    """
    ### BEGIN SOLUTION
    field, step = 1, 1
    for kernel, dilation, stride in zip(kernels, dilations, strides, strict=True):
        field += (kernel - 1) * dilation * step
        step *= stride
    return field
    ### END SOLUTION


def tcn_levels(kernel: int, length: int) -> int:
    """How many levels a TCN needs so that its last output sees `length` steps.

    A level is a `TCNBlock`: two convolutions of that kernel. The dilations of levels 0, 1, 2 ... are 1, 2, 4 ..., so n
    levels see 1 + 2·(k-1)·(2^n - 1) steps. Returns the smallest such n, which may be 0.

    Kernel 3: three levels see 29 steps, so length 29 needs 3 and length 30 needs 4. Lengths may be beyond what a float
    holds exactly.

    Raises ValueError if the kernel is 1 and length is above 1: no depth is enough.

    Source: Bai et al. 2018, section 3.

    >>> tcn_levels(3, 29), tcn_levels(3, 30)
    (3, 4)
    """
    ### BEGIN SOLUTION
    if kernel == 1 and length > 1:
        raise ValueError(f"a kernel of 1 sees one step, not {length}")
    levels = 0
    while 1 + 2 * (kernel - 1) * (2**levels - 1) < length:
        levels += 1
    return levels
    ### END SOLUTION


class TCNBlock(nn.Module):
    """One level of a temporal convolutional network: two causal convolutions beside a skip connection.

    Parameters of each convolution, with 1 and 2 in their names: a direction v (o, i, k), a length g (o,), a bias (o,).
    Its weight is normalised for each output channel on its own,

        weight[o] = g[o] · v[o] / ‖v[o]‖          ‖·‖ over the input channels and the kernel

    skip_weight (o, i) and skip_bias (o,) exist if the widths differ, and are None otherwise.

    Source: Bai et al. 2018, section 3.4, and the authors' code.

    >>> TCNBlock(2, 3, kernel=2, dilation=4)(torch.ones(5, 2, 7)).shape
    torch.Size([5, 3, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dilation, self.dropout = dilation, dropout
        for name, width in (("1", in_channels), ("2", out_channels)):
            v = torch.randn(out_channels, width, kernel) / math.sqrt(width * kernel)
            setattr(self, f"v{name}", nn.Parameter(v))
            setattr(self, f"g{name}", nn.Parameter(v.flatten(1).norm(dim=1)))
            setattr(self, f"bias{name}", nn.Parameter(torch.zeros(out_channels)))
        differ = in_channels != out_channels
        skip = torch.randn(out_channels, in_channels) / math.sqrt(in_channels)
        self.skip_weight = nn.Parameter(skip) if differ else None
        self.skip_bias = nn.Parameter(torch.zeros(out_channels)) if differ else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, i, t) -> (b, o, t), and output t never depends on a later input, in training mode either.

            x ─ conv 1 ─ ReLU ─ dropout ─ conv 2 ─ ReLU ─ dropout ─ + ─ ReLU ─ y          both with this dilation
            └─────────── itself, or skip_weight · x + skip_bias ────┘

        Both convolutions are causal. In training mode dropout sets each number to 0 with probability `dropout`, on its
        own, and divides what is left by 1 - dropout; it draws from torch's global generator. There is no batch norm:
        statistics over time would let the future in.

        Gradients flow into x and all parameters. A row of v is never all 0, but may be short: its length has no effect.
        """
        ### BEGIN SOLUTION
        y = x
        for v, g, bias in ((self.v1, self.g1, self.bias1), (self.v2, self.g2, self.bias2)):
            weight = v * (g / v.flatten(1).norm(dim=1))[:, None, None]
            y = causal_convolution(y, weight, bias, self.dilation).relu()
            y = F.dropout(y, self.dropout, self.training)
        skip = x if self.skip_weight is None else self.skip_weight @ x + self.skip_bias[:, None]
        return (y + skip).relu()
        ### END SOLUTION


def mu_law(x: Tensor, mu: int = 255) -> Tensor:
    """Samples as codes 0 ... μ, fine near silence and coarse where it is loud: int64 of the same shape.

    x: any shape; what is outside of [-1, 1] is clipped first.

        f(x) = sign(x) · log(1 + μ·|x|) / log(1 + μ)              in [-1, 1]
        code = floor( (f(x) + 1) / 2 · μ + 1/2 )

    With μ = 255 there are 256 codes: x = -1, 0, 0.01, 1 give 0, 128, 157, 255.

    Source: van den Oord et al. 2016, section 2.2; ITU-T G.711.

    >>> mu_law(torch.tensor([-1.0, 0.0, 0.01, 1.0])).tolist()
    [0, 128, 157, 255]
    """
    ### BEGIN SOLUTION
    x = x.clamp(-1, 1)
    f = x.sign() * (mu * x.abs()).log1p() / math.log1p(mu)
    return ((f + 1) / 2 * mu + 0.5).floor().long()
    ### END SOLUTION


def mu_law_inverse(codes: Tensor, mu: int = 255) -> Tensor:
    """The sample in the middle of each code's range, measured by f: float64 of the same shape.

    codes: int64, 0 ... μ. With y = 2·code/μ - 1, which is f of the result,

        x = sign(y) · ((1 + μ)^|y| - 1) / μ

    So f(x) changes by at most 1/μ, half a step, when x goes to its code and back. With an odd μ no code is exactly 0:
    128 gives 0.0000862.

    >>> [round(v, 7) for v in mu_law_inverse(torch.tensor([0, 128, 157, 255])).tolist()]
    [-1.0, 8.62e-05, 0.0102253, 1.0]
    """
    ### BEGIN SOLUTION
    y = 2 * codes.double() / mu - 1
    return y.sign() * (y.abs() * math.log1p(mu)).expm1() / mu
    ### END SOLUTION


class GatedLayer(nn.Module):
    """One layer of WaveNet: a gated causal convolution, with one way on and one way out.

    Parameters: weight (2c, c, k) and bias (2c,), the filter in the first c rows, the gate in the last c; out_weight
    (c, c) and out_bias (c,); skip_weight (s, c) and skip_bias (s,).

    Source: van den Oord et al. 2016, sections 2.3 and 2.4.

    >>> on, out = GatedLayer(2, skip=3, kernel=2, dilation=4)(torch.ones(5, 2, 7))
    >>> on.shape, out.shape
    (torch.Size([5, 2, 7]), torch.Size([5, 3, 7]))
    """

    def __init__(self, channels: int, skip: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.randn(2 * channels, channels, kernel) / math.sqrt(channels * kernel))
        self.bias = nn.Parameter(torch.zeros(2 * channels))
        self.out_weight = nn.Parameter(torch.randn(channels, channels) / math.sqrt(channels))
        self.out_bias = nn.Parameter(torch.zeros(channels))
        self.skip_weight = nn.Parameter(torch.randn(skip, channels) / math.sqrt(channels))
        self.skip_bias = nn.Parameter(torch.zeros(skip))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (b, c, t) -> what the next layer gets (b, c, t), and what goes to the output (b, s, t).

            z    = tanh(filter * x) ⊙ sigmoid(gate * x)          * is `causal_convolution` with this dilation
            on   = x + out_weight · z + out_bias
            skip = skip_weight · z + skip_bias                   x itself does not go there

        Gradients flow into x and all parameters.
        """
        ### BEGIN SOLUTION
        filtered, gate = causal_convolution(x, self.weight, self.bias, self.dilation).chunk(2, dim=1)
        z = filtered.tanh() * gate.sigmoid()
        return x + self.out_weight @ z + self.out_bias[:, None], self.skip_weight @ z + self.skip_bias[:, None]
        ### END SOLUTION


class WaveNet(nn.Module):
    """A stack of gated layers over codes: which code comes next, given all before it?

    Parameters: embedding (q, c); layers, an nn.ModuleList with a `GatedLayer` for each dilation; hidden_weight (s, s)
    and hidden_bias (s,); logit_weight (q, s) and logit_bias (q,).

    Source: van den Oord et al. 2016, section 2.4.

    >>> model = WaveNet(symbols=7, channels=2, skip=3, kernel=2, dilations=[1, 2, 4])
    >>> model(torch.zeros(5, 4, dtype=torch.long)).shape
    torch.Size([5, 4, 7])
    """

    def __init__(self, symbols: int, channels: int, skip: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(symbols, channels))
        self.layers = nn.ModuleList(GatedLayer(channels, skip, kernel, dilation) for dilation in dilations)
        self.hidden_weight = nn.Parameter(torch.randn(skip, skip) / math.sqrt(skip))
        self.hidden_bias = nn.Parameter(torch.zeros(skip))
        self.logit_weight = nn.Parameter(torch.randn(symbols, skip) / math.sqrt(skip))
        self.logit_bias = nn.Parameter(torch.zeros(symbols))

    def forward(self, codes: Tensor) -> Tensor:
        """codes: (b, t), int64 -> logits (b, t, q). Those in row t are for codes[:, t], and know codes[:, :t] only.

            embedding of codes[t-1]  (zeros for t = 0)  ─ layer ─ layer ─ ... ─ layer
                                                            └───────┴── + ──────┘ skips
                                                                        └ ReLU ─ hidden ─ ReLU ─ logits

        So they depend on the R codes before t and on no others, R = 1 + (k-1) · (sum of the dilations), and
        the loss of row t is that of codes[:, t]. Gradients flow into all parameters but the last layer's way on, which
        leads nowhere.
        """
        ### BEGIN SOLUTION
        x = F.pad(self.embedding[codes[:, :-1]].mT, (1, 0))  # nothing is known of the first code
        total = 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        hidden = (self.hidden_weight @ total.relu() + self.hidden_bias[:, None]).relu()
        return (self.logit_weight @ hidden + self.logit_bias[:, None]).mT
        ### END SOLUTION


def fast_generate(model: WaveNet, prompt: Tensor, uniforms: Tensor) -> Tensor:
    """Codes drawn one by one, each layer remembering what it needs: (b, p + m).

    model: a `WaveNet`. prompt: (b, p), int64; p may be 0. uniforms: (b, m), in [0, 1), in the dtype of the model's
    parameters; m may be 0. Returns the prompt and m codes after it, int64. With the softmax of the model's logits given
    all codes before,

        next code = how many of the running sums P_0, P_0 + P_1, ... are at most u, but no more than q - 1

    where the j-th new code has u = uniforms[:, j].

    Probabilities 0.2, 0.5, 0.3: u = 0.1 gives 0, u = 0.2 gives 1, u = 0.69 gives 1, u = 0.71 gives 2.

    Cost: the work stays in torch. A layer looks back (k-1)·δ steps, so it keeps that many of its inputs in a queue, and
    a new code costs what one step of the model costs, however many there are already: with p + m codes the FLOPs are
    at most those of *one* call of the model on 2 · (p + m) codes. Nothing is recorded for a backward pass, whatever
    asks for gradients, and nothing stays alive afterwards. The model, its mode and torch's grad mode stay as they were.

    Source: Le Paine et al. 2016.

    >>> model = WaveNet(symbols=3, channels=2, skip=2, kernel=2, dilations=[1, 2])
    >>> with torch.no_grad():
    ...     _ = model.logit_weight.zero_(), model.logit_bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    >>> fast_generate(model, torch.tensor([[2]]), torch.tensor([[0.1, 0.69, 0.71]])).tolist()
    [[2, 0, 1, 2]]
    """
    ### BEGIN SOLUTION
    batch, known = prompt.shape
    codes = list(prompt.unbind(dim=1))
    kernel = model.layers[0].weight.shape[-1]
    silence = model.embedding.new_zeros(batch, model.embedding.shape[1])
    queues = [deque([silence] * ((kernel - 1) * layer.dilation + 1)) for layer in model.layers]
    with torch.no_grad():
        for n in range(known + uniforms.shape[1]):
            x, total = model.embedding[codes[n - 1]] if n else silence, 0
            for layer, queue in zip(model.layers, queues, strict=True):
                queue.popleft()
                queue.append(x)
                window = torch.stack(list(queue)[:: layer.dilation], dim=2)
                filtered, gate = F.linear(window.flatten(1), layer.weight.flatten(1), layer.bias).chunk(2, dim=1)
                z = filtered.tanh() * gate.sigmoid()
                x = x + F.linear(z, layer.out_weight, layer.out_bias)
                total = total + F.linear(z, layer.skip_weight, layer.skip_bias)
            if n >= known:
                hidden = F.linear(total.relu(), model.hidden_weight, model.hidden_bias).relu()
                sums = F.linear(hidden, model.logit_weight, model.logit_bias).softmax(dim=1).cumsum(dim=1)
                codes.append((sums[:, :-1] <= uniforms[:, n - known, None]).sum(dim=1))
    return torch.stack(codes, dim=1) if codes else prompt.clone()
    ### END SOLUTION


class ConvolutionModule(nn.Module):
    """The convolution of a Conformer: it sees both sides, channel by channel.

    Parameters: norm, an nn.LayerNorm(d); in_weight (2d, d) and in_bias (2d,); depth_weight (d, k) and depth_bias (d,);
    batch_norm, an nn.BatchNorm1d(d), which takes (b, d, t); out_weight (d, d) and out_bias (d,).

    Source: Gulati et al. 2020, section 2.2.

    >>> ConvolutionModule(3, kernel=4)(torch.ones(2, 5, 3)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.in_weight = nn.Parameter(torch.randn(2 * width, width) / math.sqrt(width))
        self.in_bias = nn.Parameter(torch.zeros(2 * width))
        self.depth_weight = nn.Parameter(torch.randn(width, kernel) / math.sqrt(kernel))
        self.depth_bias = nn.Parameter(torch.zeros(width))
        self.batch_norm = nn.BatchNorm1d(width)
        self.out_weight = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.out_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, t, d) -> (b, t, d), without the skip connection: the block adds it.

            norm ─ in ─ GLU ─ depthwise convolution ─ batch_norm ─ swish ─ out

        GLU: the first d numbers times the sigmoid of the last d. The depthwise convolution takes each channel alone,

            y[t, d] = depth_bias[d] + sum over j of depth_weight[d, j] · x[t + j - left, d]        left = (k-1) // 2

        with zeros on both sides, so t stays; an even kernel sees one step more on the right. swish(x) = x · sigmoid(x).
        In training mode batch_norm uses the batch and moves its statistics, once a call and as nn.BatchNorm1d does; in
        eval mode it uses those. Gradients flow into x and all parameters.
        """
        ### BEGIN SOLUTION
        kernel = self.depth_weight.shape[1]
        y = F.glu(F.linear(self.norm(x), self.in_weight, self.in_bias)).mT
        y = F.pad(y, ((kernel - 1) // 2, kernel // 2))
        y = F.conv1d(y, self.depth_weight[:, None], self.depth_bias, groups=len(self.depth_weight))
        return F.linear(F.silu(self.batch_norm(y)).mT, self.out_weight, self.out_bias)
        ### END SOLUTION


def relative_attention(
    q: Tensor, k: Tensor, v: Tensor, positions: Tensor, content_bias: Tensor, position_bias: Tensor
) -> Tensor:
    """Attention whose scores know how far apart two steps are: (b, h, t, e).

    q, k, v: (b, h, t, e). positions: (h, 2t-1, e), row n for the distance n - (t-1), so from -(t-1) to t-1. The biases
    are (h, e). Query i and key j, which lie i - j apart, have the score

        ( (q_i + content_bias) · k_j  +  (q_i + position_bias) · positions[i - j + t - 1] ) / √e

    and the result is the softmax over j times v, finite for large scores too. Each step attends to all. Gradients flow
    into all six.

    Cost: no tensor has more than 4 · b·h·t · max(t, e) elements, with gradients either: no vector for each pair.

    Source: Dai et al. 2019, section 3.3.

    >>> one = torch.ones(1, 1, 2, 1)
    >>> far = torch.tensor([[[0.0], [0.0], [100.0]]])  # distance 1: the second query sees the first key alone
    >>> v = torch.tensor([[[[4.0], [8.0]]]])
    >>> relative_attention(one, one, v, far, torch.zeros(1, 1), torch.zeros(1, 1)).flatten().tolist()
    [6.0, 4.0]
    """
    ### BEGIN SOLUTION
    t = q.shape[2]
    steps = torch.arange(t)
    apart = steps[:, None] - steps + t - 1
    content = (q + content_bias[:, None]) @ k.mT
    by_distance = (q + position_bias[:, None]) @ positions.mT
    scores = content + by_distance.gather(3, apart.expand(*content.shape))
    return (scores / math.sqrt(q.shape[3])).softmax(dim=3) @ v
    ### END SOLUTION


def distances(t: int, width: int, dtype: torch.dtype) -> Tensor:
    """Given: sines and cosines of the distances -(t-1) ... t-1, (2t-1, width). The width is even."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(1 - t, t, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).to(dtype)


class ConformerBlock(nn.Module):
    """Attention for what is far, a convolution for what is near, between two halves of a feed-forward network.

    Source: Gulati et al. 2020, section 2.

    >>> ConformerBlock(width=4, heads=2, kernel=3)(torch.ones(2, 5, 4)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.first_in, self.second_in = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)
        self.first_out, self.second_out = nn.Linear(4 * width, width), nn.Linear(4 * width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.position = nn.Linear(width, width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.position_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.attention_out = nn.Linear(width, width)
        self.convolution = ConvolutionModule(width, kernel)
        self.final_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, t, d) -> (b, t, d).

            x = x + ½ · first_out(swish(first_in(first_norm(x))))
            x = x + attention_out(relative_attention(...))          of a = attention_norm(x)
            x = x + convolution(x)
            x = x + ½ · second_out(swish(second_in(second_norm(x))))
            x = final_norm(x)

        The heads of query(a), key(a), value(a) and of position(distances(t, d, dtype)) are stretches of e = d / h
        numbers side by side, head 0 first; after attention they lie side by side again. d is even. There is no dropout.
        Gradients flow into x and all parameters.
        """
        ### BEGIN SOLUTION
        b, t, d = x.shape
        x = x + 0.5 * self.first_out(F.silu(self.first_in(self.first_norm(x))))
        a = self.attention_norm(x)
        q, k, v = (of(a).view(b, t, self.heads, -1).transpose(1, 2) for of in (self.query, self.key, self.value))
        positions = self.position(distances(t, d, x.dtype)).view(2 * t - 1, self.heads, -1).transpose(0, 1)
        attended = relative_attention(q, k, v, positions, self.content_bias, self.position_bias)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(b, t, d))
        x = x + self.convolution(x)
        x = x + 0.5 * self.second_out(F.silu(self.second_in(self.second_norm(x))))
        return self.final_norm(x)
        ### END SOLUTION


def streaming_cost(kind: str, width: int, *, kernel: int = 3, levels: int = 1, seen: int = 0) -> dict[str, int]:
    """What one more step of one sequence costs, if all that can be kept is kept: {"state": numbers, "flops": FLOPs}.

    `state` counts the numbers that are carried to the next step. `flops` counts matrix products alone, 2 for each
    multiply-add. All layers have `width` inputs and outputs; biases, gates and norms cost nothing here.

        "tcn"         `levels` levels of a `TCNBlock`, dilations 1, 2, 4 ...: each of its two convolutions keeps (k-1)·δ
                      steps of its input, and does k products of a matrix and a vector
        "lstm"        one layer: four gates, each of a product with the input and one with h; it carries h and c
        "gru"         one layer: three gates, likewise; it carries h alone
        "attention"   one layer after `seen` steps: it carries their keys and values and those of this step. Four
                      projections, then the query meets seen + 1 keys, and the weights as many values

    Kernel 3, 8 levels, width 64: a TCN carries 2·2·255·64 = 65,280 numbers, an LSTM 128.

    Raises ValueError for another kind.

    >>> streaming_cost("tcn", 64, kernel=3, levels=8), streaming_cost("lstm", 64)
    ({'state': 65280, 'flops': 393216}, {'state': 128, 'flops': 65536})
    """
    ### BEGIN SOLUTION
    square = 2 * width * width
    costs = {
        "tcn": (2 * (kernel - 1) * (2**levels - 1) * width, 2 * levels * kernel * square),
        "lstm": (2 * width, 8 * square),
        "gru": (width, 6 * square),
        "attention": (2 * (seen + 1) * width, 4 * square + 4 * (seen + 1) * width),
    }
    if kind not in costs:
        raise ValueError(f"a kind is one of {', '.join(costs)}, not {kind!r}")
    state, flops = costs[kind]
    return {"state": state, "flops": flops}
    ### END SOLUTION
