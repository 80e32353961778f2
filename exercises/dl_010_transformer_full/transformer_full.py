"""dl_010 · Transformer, full stack: one block, wired in six ways, and the models that are built of it.

Axes
    b  sequences in the batch          s  tokens of the other sequence (the context)
    t  tokens in a sequence            d  width of the model (`dim`)

What stays the same everywhere: a block maps (b, t, d) to (b, t, d) in the input's dtype, adds what its sub-layers say
to a residual stream, and differs from the next one only in where it normalises.

Masks are bool, and True means "may be seen", as in `scaled_dot_product_attention` and unlike in
`nn.MultiheadAttention`. There is no dropout, so training and evaluation compute the same. Gradients flow to every input
that is a float, and to every parameter; inputs are never changed, and may be non-contiguous.

The names of a module's parameters, as in its `state_dict()`, are part of the contract: checks load numbers by them. So
are the shapes: `nn.Linear` holds `weight` (out, in) and `bias` (out,). A module has the parameters named and no others;
buffers are yours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def hidden_width(dim: int, kind: str, *, multiplier: float = 1.0, multiple: int = 1) -> int:
    """Width of the hidden layer of a feed-forward network, when nobody says otherwise.

    kind: "relu", "gelu", "gelu_tanh" have two matrices of 4·dim; "swiglu" has three, so it takes 2/3 of that and has as
        many parameters. Another kind raises ValueError.

        width = 4·dim  or  8·dim/3 rounded down          width <- multiplier · width rounded down
        width <- the smallest multiple of `multiple` that is not below it

    This is the rule of Llama's code: (4096, multiple=256) is 11,008 in Llama 2 7B, and with multiplier 1.3 and
    multiple 1024 it is 14,336 in Llama 3 8B. Multiplier and multiple count for every kind.

    >>> hidden_width(5, "gelu"), hidden_width(5, "swiglu"), hidden_width(5, "swiglu", multiple=8)
    (20, 13, 16)
    >>> hidden_width(4096, "swiglu", multiple=256), hidden_width(4096, "swiglu", multiplier=1.3, multiple=1024)
    (11008, 14336)
    """
    raise NotImplementedError  # TODO: your code


class FeedForward(nn.Module):
    """What a block does to each token by itself. x: (..., d). Returns (..., d).

    kind
        "relu"         down( max(0, up(x)) )                 Vaswani et al. 2017, eq. 2
        "gelu"         down( u · Phi(u) ),  u = up(x)        BERT: Phi the exact normal distribution function
        "gelu_tanh"    the same, by the tanh formula         GPT-2: nn.GELU("tanh")
        "swiglu"       down( silu(gate(x)) · up(x) )         Llama, PaLM: arXiv 2002.05202
    hidden: the width; None: `hidden_width(dim, kind)`.

    Parameters: up.weight (hidden, d), up.bias, down.weight (d, hidden), down.bias. For "swiglu": gate.weight
    (hidden, d), up.weight, down.weight, and no bias. Another kind raises ValueError.

    >>> layer = FeedForward(dim=1, hidden=1, kind="swiglu")
    >>> for linear, value in ((layer.gate, 3.0), (layer.up, 5.0), (layer.down, 1.0)):
    ...     _ = nn.init.constant_(linear.weight, value)
    >>> round(layer(torch.tensor([1.0])).item(), 4)        # silu(3) = 3 / (1 + e^-3) = 2.8577, times 5
    14.2886
    """

    def __init__(self, dim: int, hidden: int | None = None, kind: str = "gelu") -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError  # TODO: your code


class Attention(nn.Module):
    """Multi-head attention from x to a context, or to x itself. Given.

    x: (b, t, d). context: (b, s, d), None: x. Returns (b, t, d).
    mask: bool, broadcast to (b, heads, t, s); True where query i may see key j: (t, s) for all sequences alike,
        (b, 1, 1, s) to hide padding. Every query must see something. None: all is seen.
    """

    def __init__(self, dim: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim, bias=bias)
        self.v_proj = nn.Linear(dim, dim, bias=bias)
        self.out_proj = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        shape = (self.heads, x.shape[-1] // self.heads)
        q = self.q_proj(x).unflatten(-1, shape).transpose(1, 2)  # (b, h, t, d/h)
        k = self.k_proj(context).unflatten(-1, shape).transpose(1, 2)
        v = self.v_proj(context).unflatten(-1, shape).transpose(1, 2)
        scores = q @ k.mT * q.shape[-1] ** -0.5  # (b, h, t, s)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """What pre-norm, post-norm and DeepNorm blocks have in common: the modules, in the order in which they act. Given.

        attention          norm_attention          Attention, from the tokens to themselves
        cross_attention    norm_cross              Attention, from the tokens to a context; only with cross=True
        feed_forward       norm_feed_forward       FeedForward(dim, hidden, kind)

    `forward(x, mask, context, context_mask)` is yours, in each of the three.
        x: (b, t, d). Returns (b, t, d).
        mask: what self-attention may see, as in `Attention`: nothing for an encoder without padding, (b, 1, 1, t) with
            padding, the lower triangle (t, t) for a decoder.
        context: (b, s, d), what cross-attention looks at: it is used as it comes. Given exactly if cross=True.
        context_mask: what cross-attention may see of it.
    So one class serves encoder-only, decoder-only and encoder-decoder models.
    """

    def __init__(
        self, dim: int, heads: int, hidden: int | None = None, *, kind: str = "gelu", cross: bool = False
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads)
        self.norm_attention = nn.LayerNorm(dim)
        if cross:
            self.cross_attention = Attention(dim, heads)
            self.norm_cross = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, hidden, kind)
        self.norm_feed_forward = nn.LayerNorm(dim)


class PreNormBlock(Block):
    """Normalise what a sub-layer reads: x <- x + f(norm(x)), for each sub-layer f in turn (GPT-2, arXiv 2002.04745).

    The residual stream itself is never normalised: a model ends with one more norm.

    >>> block = PreNormBlock(dim=2, heads=1)
    >>> for linear, bias in ((block.attention.out_proj, 1.0), (block.feed_forward.down, 10.0)):
    ...     _ = nn.init.zeros_(linear.weight), nn.init.constant_(linear.bias, bias)      # f gives 1, then 10
    >>> block(torch.tensor([[[1.0, 3.0]]])).tolist()
    [[[12.0, 14.0]]]
    """

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        raise NotImplementedError  # TODO: your code


class PostNormBlock(Block):
    """Normalise the sum: x <- norm(x + f(x)), for each sub-layer f in turn (Vaswani et al. 2017, section 3.1; BERT).

    >>> block = PostNormBlock(dim=2, heads=1)
    >>> for linear, bias in ((block.attention.out_proj, 1.0), (block.feed_forward.down, 10.0)):
    ...     _ = nn.init.zeros_(linear.weight), nn.init.constant_(linear.bias, bias)      # f gives 1, then 10
    >>> block(torch.tensor([[[1.0, 3.0]]])).round(decimals=3).tolist()
    [[[-1.0, 1.0]]]
    """

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        raise NotImplementedError  # TODO: your code


class DoubleNormBlock(nn.Module):
    """Normalise what a sub-layer reads and what it says: x <- x + norm_out(f(norm_in(x))).

    This is the block of Grok-1 and of Gemma 2 (arXiv 2408.00118).
    before: False leaves out norm_in, so that x <- x + norm_out(f(x)), as in OLMo 2 (arXiv 2501.00656).
    x: (b, t, d), mask as in `Attention`. Returns (b, t, d). First attention, then the feed-forward network. Either way
    the stream is not normalised, and no sub-layer can add more than its norm_out lets through.

    Parameters, in today's dress (RMSNorm with eps 1e-6, SwiGLU, no bias anywhere): attention, an `Attention` with
    bias=False; feed_forward, a "swiglu" `FeedForward(dim, hidden)`; norm_attention_out, norm_feed_forward_out, and with
    before=True norm_attention_in, norm_feed_forward_in, each an `nn.RMSNorm(dim, eps=1e-6)`.

    >>> block = DoubleNormBlock(dim=2, heads=1, before=False)
    >>> sorted(name for name, _ in block.named_parameters() if "norm" in name)
    ['norm_attention_out.weight', 'norm_feed_forward_out.weight']
    >>> _ = nn.init.zeros_(block.feed_forward.down.weight), nn.init.eye_(block.attention.out_proj.weight)
    >>> _ = nn.init.eye_(block.attention.v_proj.weight)                # f gives x, then 0
    >>> [round(y, 3) for y in block(torch.tensor([[[1.0, 7.0]]])).flatten().tolist()]      # x, and x / rms(x) = x / 5
    [1.2, 8.4]
    """

    def __init__(self, dim: int, heads: int, hidden: int | None = None, *, before: bool = True) -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise NotImplementedError  # TODO: your code


class ParallelBlock(nn.Module):
    """Both sub-layers read the same norm of the same x, and are added at once (GPT-J; PaLM, arXiv 2204.02311, 2).

        y = norm(x)          x + attention(y) + feed_forward(y)

    x: (b, t, d), mask as in `Attention`. Returns (b, t, d). Their input matrices can then be one product, and with
    tensor parallelism a block needs one all-reduce instead of two.

    Parameters: norm, an `nn.LayerNorm(dim)`; attention, an `Attention(dim, heads)`; feed_forward, a
    `FeedForward(dim, hidden, kind)`.

    >>> block = ParallelBlock(dim=2, heads=1)
    >>> for linear, bias in ((block.attention.out_proj, 1.0), (block.feed_forward.down, 10.0)):
    ...     _ = nn.init.zeros_(linear.weight), nn.init.constant_(linear.bias, bias)      # 1 from one, 10 from the other
    >>> block(torch.tensor([[[1.0, 3.0]]])).tolist()
    [[[12.0, 14.0]]]
    """

    def __init__(self, dim: int, heads: int, hidden: int | None = None, *, kind: str = "gelu") -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise NotImplementedError  # TODO: your code


def deepnorm_constants(encoder_layers: int, decoder_layers: int) -> dict[str, tuple[float, float]]:
    """alpha and beta of DeepNorm for each stack (DeepNet, arXiv 2203.00555). N, M: the layers of the two.

                                    encoder                               decoder
                              alpha              beta                 alpha          beta
        encoder-only          (2N)^(1/4)         (8N)^(-1/4)          -              -
        decoder-only          -                  -                    (2M)^(1/4)     (8M)^(-1/4)
        encoder-decoder       0.81 (N⁴M)^(1/16)  0.87 (N⁴M)^(-1/16)   (3M)^(1/4)     (12M)^(-1/4)

    Returns {"encoder": (alpha, beta), "decoder": (alpha, beta)}, without the stack that has no layers.
    Raises ValueError if both have none, or one has fewer than none.

    >>> {stack: (round(a, 4), round(b, 4)) for stack, (a, b) in deepnorm_constants(8, 0).items()}
    {'encoder': (2.0, 0.3536)}
    >>> {stack: (round(a, 4), round(b, 4)) for stack, (a, b) in deepnorm_constants(16, 27).items()}
    {'encoder': (1.9906, 0.354), 'decoder': (3.0, 0.2357)}
    """
    raise NotImplementedError  # TODO: your code


class DeepNormBlock(Block):
    """Post-norm with a stronger skip: x <- norm(alpha · x + f(x)), for each sub-layer f (DeepNet, arXiv 2203.00555).

    With alpha > 1 and small initial weights, a model of 1,000 layers trains. Initial weights, as in the paper:

        q_proj, k_proj                      normal, std = sqrt(2 / (rows + columns))             (Xavier, gain 1)
        v_proj, out_proj, feed-forward      normal, std = beta · sqrt(2 / (rows + columns))      (Xavier, gain beta)

    in cross-attention too; biases are 0, norms have weight 1. beta leaves queries and keys alone: they decide where a
    sub-layer looks, not the size of what it adds.
    generator: where all these random numbers come from; None: torch's own generator, as the caller left it.

    >>> block = DeepNormBlock(dim=2, heads=1, alpha=3.0, beta=0.0)
    >>> _ = nn.init.eye_(block.attention.v_proj.weight)
    >>> block.attention.out_proj.weight.data = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    >>> x = torch.tensor([[[1.0, 3.0]]])                 # attention gives (6, 2), the feed-forward network 0
    >>> block(x).round(decimals=3).tolist()              # 3 · (1, 3) + (6, 2) = (9, 11)
    [[[-1.0, 1.0]]]
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        *,
        alpha: float,
        beta: float,
        kind: str = "gelu",
        cross: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim, heads, hidden, kind=kind, cross=cross)
        raise NotImplementedError  # TODO: your code

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        raise NotImplementedError  # TODO: your code


class DecoderLM(nn.Module):
    """A causal language model: GPT-2's, pre-norm, learned positions, tied embeddings (Radford et al. 2019, 2.3).

        x = token_embedding of token i + position_embedding of i          blocks.0, blocks.1, ..., causal
        logits = token_embedding.weight @ norm(x)

    Parameters: token_embedding.weight (vocab, d), position_embedding.weight (positions, d), blocks.0, blocks.1, ...
    (each a `PreNormBlock(dim, heads, hidden, kind=kind)`), norm (an `nn.LayerNorm(dim)`). The output matrix is the
    token embedding itself: a second name for that same parameter may stand in the state dict, a second parameter not.

    Initial values: matrices and embeddings normal with std 0.02; those that write into the residual stream
    (attention.out_proj, feed_forward.down) with std 0.02 / sqrt(2 · layers), since 2 · layers terms add up there;
    biases 0, norms 1 and 0. generator: where all these random numbers come from; None: torch's own generator, as the
    caller left it.

    >>> model = DecoderLM(vocab=11, positions=8, dim=6, heads=2, layers=3)
    >>> tokens = torch.tensor([[1, 2, 3, 4]])
    >>> logits = model(tokens)
    >>> logits.shape, torch.allclose(model(tokens[:, :2]), logits[:, :2], atol=1e-6)
    (torch.Size([1, 4, 11]), True)
    """

    def __init__(
        self,
        vocab: int,
        positions: int,
        dim: int,
        heads: int,
        layers: int,
        hidden: int | None = None,
        *,
        kind: str = "gelu_tanh",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token behind each. tokens: (b, t) int64. Returns (b, t, vocab).

        Row i of the result depends on tokens 0 .. i alone. 0 <= t <= positions; more raise ValueError.
        """
        raise NotImplementedError  # TODO: your code


class EncoderDecoder(nn.Module):
    """Two stacks: one reads the whole source, the other writes the target (Vaswani et al. 2017, but with pre-norm).

        source -> encoder blocks, each position sees all real ones -> norm -> memory (b, s, d)
        target -> decoder blocks, causal, each also looks at the memory -> norm -> head -> logits (b, t, target_vocab)

    Parameters: source_embedding.weight (source_vocab, d), source_position.weight (positions, d), the same two with
    target_; encoder.0, encoder.1, ... (each a `PreNormBlock(dim, heads, hidden, kind=kind)`), encoder_norm, decoder.0,
    decoder.1, ... (the same with cross=True), decoder_norm (both an `nn.LayerNorm(dim)`), head.weight
    (target_vocab, d) without bias. A token enters as its embedding plus that of its position, counted from 0. Initial
    values are yours.

    source_mask: (b, s) bool, True where a source token is real; each sequence has a real one. None: all are.
        Which tokens stand in the other places, and how many behind the last real one, changes nothing anywhere else.
        No token is padding by its number: token 0 is a word like any other.
    A source or a target longer than `positions` raises ValueError. The target needs no mask for padding on its right.

    >>> model = EncoderDecoder(11, 7, positions=8, dim=6, heads=2, encoder_layers=2, decoder_layers=3)
    >>> source, target = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[4, 5]])
    >>> padded = model(source, target, torch.tensor([[True, True, True, False]]))
    >>> padded.shape, torch.allclose(padded, model(source[:, :3], target), atol=1e-6)
    (torch.Size([1, 2, 7]), True)
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        positions: int,
        dim: int,
        heads: int,
        encoder_layers: int,
        decoder_layers: int,
        hidden: int | None = None,
        *,
        kind: str = "relu",
    ) -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The memory (b, s, d) of source (b, s) int64. Rows of places that are not real may hold anything finite."""
        raise NotImplementedError  # TODO: your code

    def decode(self, target: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Logits (b, t, target_vocab) of target (b, t) int64, given the memory. Row i depends on target 0 .. i."""
        raise NotImplementedError  # TODO: your code

    def forward(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Encode, then decode. Given: to generate, encode once and decode many times."""
        return self.decode(target, self.encode(source, source_mask), source_mask)


def parameter_count(
    *,
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    positions: int = 0,
    gated: bool = False,
    bias: bool = True,
    norm: str = "layer",
    norms: int = 2,
    tied: bool = True,
) -> int:
    """How many parameters a decoder-only model has, from its configuration alone: nothing is built, however small.

    embeddings     vocab rows of `dim`; `positions` rows too, 0 for rotary ones; a head of the first size unless `tied`
    each layer     attention: queries of `heads` heads, keys and values of `kv_heads` each (None: heads), of `head_dim`
                       each (None: dim / heads), and the matrix back to `dim`
                   feed-forward: 2 matrices between `dim` and `hidden`, 3 if gated
                   `norms` norms of `dim`: 2, parallel blocks 1, double norm 4
    the end        one more norm
    `bias`: each matrix in a layer has one, as long as its output is wide. The head never has.
    `norm`: "layer" has a weight and a bias, whatever `bias` says; "rms" a weight.

    Raises ValueError for another `norm`, if kv_heads is no positive divisor of heads, and if heads does not divide dim
    where head_dim is None.

    >>> parameter_count(vocab=50257, dim=768, layers=12, heads=12, hidden=3072, positions=1024)          # GPT-2
    124439808
    """
    raise NotImplementedError  # TODO: your code


def gradient_norm_by_depth(blocks: Sequence[nn.Module], x: Tensor, upstream: Tensor) -> list[float]:
    """How large the gradient arrives in each block of a stack: the picture behind warm-up (arXiv 2002.04745).

    Feeds x through the blocks, each called with the output of the one before, and goes back from `upstream`, the
    gradient of the loss with respect to the last output.
    Returns one number for each block, the first one first: the L2 norm of the gradient of all its parameters together.
    A parameter that is frozen or unused counts as 0; at least one in the stack is trained. Modules that stand in the
    stack twice count in both places, with their whole gradient.

    Leaves no trace: no parameter's `.grad` is set or changed, x gets no gradient, no hook stays on a module or a
    parameter, blocks stay in training or evaluation as they are, and no tensor or graph that was made stays alive.
    Costs one forward and one backward pass, however many blocks there are, in training and evaluation, and whether or
    not x requires a gradient. The work stays in torch: Python may read a few numbers for each parameter.

    >>> scale = [nn.Linear(1, 1, bias=False) for _ in range(2)]
    >>> _ = nn.init.constant_(scale[0].weight, 5.0), nn.init.constant_(scale[1].weight, 7.0)
    >>> gradient_norm_by_depth(scale, torch.tensor([[2.0]]), torch.tensor([[1.0]]))      # 7 · 2, then 5 · 2
    [14.0, 10.0]
    """
    raise NotImplementedError  # TODO: your code
