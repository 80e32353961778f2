"""dl_001 · Attention: every query takes a mean of values, weighted by how well their keys fit.

Axes
    b  sequences in the batch       t  queries                  d  width of a query or key head
    h  heads                        s  keys, each with a value  e  width of a value head
    c  width of the model           a  width of the additive score's hidden layer

Unless a docstring says otherwise:

* A mask is boolean and True where the query MAY attend to the key, as in torch's `scaled_dot_product_attention`
  (torch's `nn.MultiheadAttention` means the opposite).
* What a query may not see has weight 0, exactly. A query that may see nothing has zeros as weights and as output, never
  NaN, and all gradients through it are 0.
* t, s >= 1. Inputs may have any strides. Results have the dtype of the inputs: float64 or float32.
* "(differentiable)": gradients flow to every floating-point argument, through every result.
* Costs count with and without gradients. FLOPs are those of matrix products: 2 for each multiply-add. Where they are
  promised, the work stays in torch: numpy and lists are refused where it is counted. Python may read a number for each
  query of each head.
* Nothing is kept between calls: once the caller lets the results go, no tensor and no graph of them is left.

What a part may not call is named in its docstring, and refused by whatever name it is called. Elsewhere torch's softmax
is as good as yours.
"""

import torch
from torch import Tensor, nn


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x divided by its sum along the axis `dim`, which may be negative. (differentiable)

    x: any shape with at least one entry along dim. Entries may have any size (±10,000). An entry of -inf has weight 0;
        where all entries along dim are -inf, all weights are 0, and so are the gradients.
    Returns a tensor of the shape of x.

    Forbidden: torch's softmax, log_softmax and softmin (of torch, `torch.nn.functional`, `torch.special`, `torch.ops`
    or a tensor), and what stands behind them: `torch._softmax`, `torch._safe_softmax`, `torch._log_softmax`.

    >>> softmax(torch.tensor([1.0, 3.0]).log(), 0)
    tensor([0.2500, 0.7500])
    >>> softmax(torch.tensor([[1000.0, -torch.inf], [-torch.inf, -torch.inf]]), 1)
    tensor([[1., 0.],
            [0., 0.]])
    """
    raise NotImplementedError  # TODO: your code


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """The mean of the values, weighted by a softmax over scaled scores (arXiv 1706.03762, 3.2.1). (differentiable)

        weights[i, j] = softmax over j of scale · q[i] · k[j]           output[i] = sum over j of weights[i, j] v[j]

    q: (..., t, d), k: (..., s, d), v: (..., s, e), the same leading axes: none or more. float16 and bfloat16, too.
    mask: bool, broadcasts to (..., t, s) and has at least two axes; None: each query sees every key.
    scale: None means 1 / sqrt(d). A score may have any size that its dtype holds.
    Returns output (..., t, e) and weights (..., t, s).

    What a key, or its value, holds that no query may see reaches no output and no gradient, NaN included.
    At most 1.1 times the FLOPs of the two products, 2·t·s·(d + e) for each sequence and head; in the backward pass
    at most 2.1 times. No tensor of more elements than the largest of q, k, v, output and weights.

    Forbidden: torch's `F.scaled_dot_product_attention` and `F.multi_head_attention_forward`.

    >>> q, k, v = torch.zeros(1, 1), torch.tensor([[5.0], [7.0], [9.0]]), torch.tensor([[2.0], [4.0], [100.0]])
    >>> scaled_dot_product_attention(q, k, v, mask=torch.tensor([[True, True, False]]))
    (tensor([[3.]]), tensor([[0.5000, 0.5000, 0.0000]]))
    """
    raise NotImplementedError  # TODO: your code


def attention_mask(lengths: Tensor, t: int, s: int, causal: bool = False) -> Tensor:
    """Which keys each query may see, in sequences that are padded at their end.

    lengths: (b,) int64: keys 0 .. lengths[i] - 1 of sequence i are real, the others padding.
    causal: the t queries are the last t of the s positions, so query i stands at s - t + i, and sees no key behind its
        own position. With t > s the first t - s queries stand before the first key. (`is_causal` of torch, and many a
        `tril`, let query i stand at i: the same only for t = s.)
    Returns (b, 1, t, s) bool, True where the query may attend, for `scaled_dot_product_attention` with heads. Queries
    are not masked: those of padding see the real keys, and somebody else throws them away.

    Raises ValueError for a length below 0 or above s.

    >>> attention_mask(torch.tensor([3]), 2, 4, causal=True).int().tolist()
    [[[[1, 1, 1, 0], [1, 1, 1, 0]]]]
    >>> attention_mask(torch.tensor([4]), 2, 4, causal=True).int().tolist()
    [[[[1, 1, 1, 0], [1, 1, 1, 1]]]]
    """
    raise NotImplementedError  # TODO: your code


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the width (arXiv 1706.03762, 3.2.2).

    Parameters, named and laid out as in `nn.MultiheadAttention(c, h)`, so that its state dict loads:

        in_proj_weight    (3c, c)     the weights of queries, keys and values, one below the other
        in_proj_bias      (3c,)       their biases
        out_proj.weight   (c, c)
        out_proj.bias     (c,)

    A weight is applied as in `nn.Linear`: x @ weight.T + bias. Head i owns features i·d .. (i + 1)·d - 1 of queries,
    keys and values, d = c / h, and its output stands at the same places when the heads are joined for out_proj.
    What the parameters hold at first is up to you; training starts best from something like nn.Linear's.

    Forbidden: torch's `F.scaled_dot_product_attention`, and `F.multi_head_attention_forward`, which
    `nn.MultiheadAttention` calls.
    """

    def __init__(self, width: int, heads: int) -> None:
        """width: c. heads: h. Raises ValueError unless heads is positive and divides width.

        >>> sum(p.numel() for p in MultiHeadAttention(512, 8).parameters())      # 4·512² + 4·512
        1050624
        """
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Queries come from x, keys and values from memory. (differentiable, for all parameters too)

        x: (b, t, c). memory: (b, s, c); None means x (self-attention).
        mask: bool, broadcasts to (b, h, t, s) and has at least two axes; None: each query sees every key.
        Returns output (b, t, c), and weights (b, h, t, s): those of each head, not their mean. Each head scales by
        1 / sqrt(d). The output of a query that may see nothing is out_proj.bias.

        What a token of memory holds that no query of any head may see reaches no output and no gradient, NaN included.
        Projects once for all heads: at most 1.05 times the FLOPs 2·b·(2·t·c² + 2·s·c² + 2·t·s·c), and in the backward
        pass at most 2.1 times. No tensor of more elements than the largest of 3·b·max(t, s)·c, the weights, and
        in_proj_weight.

        >>> attention = MultiHeadAttention(4, 2)
        >>> output, weights = attention(torch.randn(1, 3, 4), mask=torch.ones(3, 3).tril().bool())
        >>> output.shape, weights[0, :, 0].tolist()
        (torch.Size([1, 3, 4]), [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        """
        raise NotImplementedError  # TODO: your code


def attention_backward(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, dout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass of `scaled_dot_product_attention` with the default scale, by hand.

    q: (..., t, d), k: (..., s, d), v: (..., s, e), and the weights (..., t, s) that the forward pass returned for them,
        with whatever mask: where it hid a key, the weight is 0. All finite.
    dout: (..., t, e), the gradient of a loss for the output (none comes back through the weights).
    Returns the gradients of the loss for q, k and v, in their shapes.

    Four matrix products are enough, since the weights are there: at most 1.1 times their 2·t·s·(2d + 2e) FLOPs for each
    sequence and head, in torch. No tensor of more elements than the largest of q, k, v, weights and dout.

    Forbidden is autograd: `torch.autograd.grad`, `torch.autograd.backward`, `backward` of a tensor; grad, vjp, jvp,
    jacrev and jacfwd of `torch.func`; vjp and jacobian of `torch.autograd.functional`.

    >>> q, k, v = torch.ones(1, 1), torch.tensor([[0.0], [1.0]]), torch.tensor([[4.0], [8.0]])
    >>> dq, dk, dv = attention_backward(q, k, v, torch.tensor([[0.25, 0.75]]), torch.ones(1, 1))
    >>> dv.flatten(), dk.flatten(), dq.flatten()        # dS = 0.25·(4 - 7), 0.75·(8 - 7)
    (tensor([0.2500, 0.7500]), tensor([-0.7500,  0.7500]), tensor([0.7500]))
    """
    raise NotImplementedError  # TODO: your code


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    w_query: Tensor,
    w_key: Tensor,
    w_score: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention whose score is a small network, the first there was (arXiv 1409.0473, A.1.2). (differentiable)

        score[i, j] = w_score · tanh(w_query query[i] + w_key keys[j])          no scale, no bias

    query: (b, t, m), keys: (b, s, n), values: (b, s, e). w_query: (a, m), w_key: (a, n), w_score: (a,).
    mask: bool, broadcasts to (b, t, s) and has at least two axes; None: each query sees every key.
    Returns output (b, t, e) and weights (b, t, s), the softmax of the scores over j.

    Each query and each key is projected once, not once for every pair: at most 1.1 times the FLOPs
    2·b·(t·m·a + s·n·a + t·s·a + t·s·e).

    >>> query, keys, values = torch.zeros(1, 1, 1), torch.tensor([[[0.0], [50.0]]]), torch.tensor([[[4.0], [8.0]]])
    >>> one = torch.ones(1, 1)
    >>> output, weights = additive_attention(query, keys, values, one, one, torch.tensor([3.0]).log())
    >>> output.round(), weights     # scores 0 and log 3
    (tensor([[[7.]]]), tensor([[[0.2500, 0.7500]]]))
    """
    raise NotImplementedError  # TODO: your code


def saturation(q: Tensor, k: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Three numbers that say whether a softmax over scale · q[i] · k[j] can still learn.

    q: (..., t, d), k: (..., s, d), the same leading axes, none or more.
    Returns three 0-d tensors:

        variance    of all scaled scores, over all axes together, divided by their number (not by one less)
        top         the largest weight of a query, mean over all queries
        slope       sum over j of p[j] · (1 - p[j]), p the weights of a query, mean over all queries: the trace of the
                    softmax's Jacobian. 0 means that no score gets a gradient.

    With d = 512 and entries of variance 1, scores have variance 512 unscaled, and 64 keys a top weight of 0.93; at
    1 / sqrt(d) it is 0.11. Exact also for scores whose mean is large beside their deviation.

    >>> q, k = torch.ones(1, 1), torch.tensor([[1.0], [3.0]]).log()
    >>> variance, top, slope = saturation(q, k, 1.0)
    >>> top, slope, saturation(q, torch.tensor([[1.0], [3.0]]), 2.0)[0]     # scores 2 and 6
    (tensor(0.7500), tensor(0.3750), tensor(4.))
    """
    raise NotImplementedError  # TODO: your code


def head_contributions(weights: Tensor, v: Tensor, w_out: Tensor) -> Tensor:
    """What each head adds to the output: its values, mixed and projected by its own columns of w_out. (differentiable)

    weights: (b, h, t, s), v: (b, h, s, e), w_out: (c, h·e), applied as x @ w_out.T to the heads joined one after the
        other: head i owns columns i·e .. (i + 1)·e - 1.
    Returns (b, h, t, c). Their sum over h is what out_proj gives without its bias: the heads write side by side into
    the residual stream, and "joining" them is a sum (Elhage et al. 2021).

    At most 1.1 times the FLOPs 2·b·h·t·(s·e + e·c).

    >>> weights, v = torch.ones(1, 2, 1, 1), torch.tensor([4.0, 5.0]).reshape(1, 2, 1, 1)
    >>> head_contributions(weights, v, torch.tensor([[1.0, 10.0]])).flatten()
    tensor([ 4., 50.])
    """
    raise NotImplementedError  # TODO: your code


def qk_norm_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    mask: Tensor | None = None,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Attention whose scores cannot grow without bound: RMS norm on each query and key first. (differentiable)

        norm(x, w) = w · x / sqrt(mean(x²) + eps), over the d features of a head

    q: (..., t, d), k: (..., s, d), v: (..., s, e), all finite; values are not normalised. q_weight, k_weight: (d,).
    mask: as in `scaled_dot_product_attention`. The scale is 1 / sqrt(d), behind the norm: a score is at most
        sqrt(d) · max |q_weight| · max |k_weight|, whatever the sizes of q and k.
    Returns output (..., t, e) and weights (..., t, s).

    Source: Henry et al. 2020, arXiv 2010.04245; Dehghani et al. 2023, arXiv 2302.05442, 2.1; as in Qwen3 and OLMo 2
    (which has its norm over all heads together).

    >>> q, k, v = torch.tensor([[0.03, 0.04]]), torch.tensor([[30.0, 40.0], [-40.0, 30.0]]), torch.eye(2)
    >>> output, weights = qk_norm_attention(q, k, v, torch.ones(2), torch.ones(2), eps=0.0)
    >>> weights                     # scores 2 / sqrt(2) and 0
    tensor([[0.8044, 0.1956]])
    """
    raise NotImplementedError  # TODO: your code


def sink_attention(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention that may attend to nothing: one learned logit a head joins the softmax and has no value.
    (differentiable)

        weights[i, j] = e^score[i, j] / (e^sink + sum over the keys j' that i sees of e^score[i, j'])

    q: (b, h, t, d), k: (b, h, s, d), v: (b, h, s, e). sinks: (h,), of any size (±10,000); it is not scaled.
    mask: as in `scaled_dot_product_attention`; it never hides the sink. scale: None means 1 / sqrt(d).
    Returns output (b, h, t, e), and weights (b, h, t, s), without the sink's: the sum of a row is below 1, and what is
    missing is what the head kept to itself.

    Source: gpt-oss; Xiao et al. 2023, "Efficient streaming language models with attention sinks", arXiv 2309.17453.
    With a sink of 0 it is "softmax off by one".

    >>> q, k, v = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 3, 1), torch.full((1, 1, 3, 1), 5.0)
    >>> output, weights = sink_attention(q, k, v, torch.tensor([2.0]).log())     # weights 1, 1, 1 of 1 + 1 + 1 + 2
    >>> output.flatten(), weights.flatten()
    (tensor([3.]), tensor([0.2000, 0.2000, 0.2000]))
    """
    raise NotImplementedError  # TODO: your code
