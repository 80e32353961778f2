"""dl_016 · State space models and Mamba: a recurrence that trains like a convolution and decodes in constant memory.

Axes
    b  sequences in the batch        n  states of one channel          h  heads of Mamba-2
    l  tokens                        d  channels (Mamba's d_inner)     p  width of a head
    k  taps of a kernel              r  rank of the step projection    g  groups of heads that share B and C

A state space model of one channel, continuous and discrete:

    s'(t) = A s(t) + B x(t)            s_t = A_bar s_{t-1} + B_bar x_t            s_{-1} = 0 unless a state is given
    y(t)  = C s(t)                     y_t = C s_t                                y_t has seen x_t already

Every A here but HiPPO's is diagonal and stored as its diagonal. Results keep the dtype of the inputs, float32 or
float64 (and their complex companions where complex numbers are allowed). Inputs are never changed, and may be views.
"Operators" counts each operation that torch runs, views too; "at once" means the most that is alive at any moment.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def discretize(a: Tensor, b: Tensor, dt: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """From s' = a s + b x to s_t = a_bar s_{t-1} + b_bar x_t, with steps of dt.

    a, b: diagonal of A, and B, of one shape, both real or both complex. dt: real, above 0, broadcasts against them, and
        may have more axes: dt (b, l, d, 1) with a (d, n) gives a_bar (b, l, d, n). b_bar has the shape of a_bar.

        method        a_bar                              b_bar
        "euler"       1 + dt a                           dt b
        "bilinear"    (1 + dt a/2) / (1 - dt a/2)        dt b / (1 - dt a/2)
        "zoh"         exp(dt a)                          (exp(dt a) - 1) / a · b      and its limit dt b at a = 0
        "mamba"       exp(dt a)                          dt b

    "zoh" is exact for an input held constant over each step. Mamba's paper writes "zoh" (arXiv 2312.00752, eq. 4), its
    code computes "mamba". A tiny dt a must not cost accuracy: in float32 at 1e-6, exp(dt a) - 1 has one good digit.
    Raises ValueError for another method.

    >>> a, b, dt = torch.tensor([-1.0]), torch.tensor([2.0]), torch.tensor(0.5)
    >>> [f"{x.item():.4f}" for m in ("euler", "bilinear", "zoh", "mamba") for x in discretize(a, b, dt, m)]
    ['0.5000', '1.0000', '0.6000', '0.8000', '0.6065', '0.7869', '0.6065', '1.0000']
    """
    raise NotImplementedError  # TODO: your code


def ssm_recurrence(a: Tensor, b: Tensor, c: Tensor, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run d discrete models, each with n states and one input channel, token by token.

    a, b, c: (d, n), discretised, all real or all complex. x: (b, l, d) real. state: (b, d, n) before the first token,
        zeros if None.
    Returns y (b, l, d) in x's dtype, and the state after the last token (b, d, n) in a's dtype, so that a sequence may
    be cut into calls. No token (l = 0): an empty y, and the state as it came.

        s_t = a s_{t-1} + b x_t        y_t = sum over n of c s_t                      real
                                       y_t = 2 · the real part of that sum            complex

    Complex states come in conjugate pairs, and one number stands for both: hence the 2 (S4D, arXiv 2206.11893, 3.1).

    >>> one = torch.ones(1, 1)
    >>> y, state = ssm_recurrence(one / 2, one, 3 * one, torch.tensor([[[1.0], [0.0], [4.0]]]))
    >>> y.flatten().tolist(), state.item()              # states 1, 0.5, 4.25
    ([3.0, 1.5, 12.75], 4.25)
    """
    raise NotImplementedError  # TODO: your code


def ssm_kernel(a: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
    """The impulse response of the same models: K_j = sum over n of c a^j b, for j = 0 .. length - 1.

    a, b, c: (d, n), as in `ssm_recurrence`; a real a may be 0 (0^0 is 1). Complex: 2 · the real part of the sum.
    Returns (d, length), real; length may be 0. Gradients flow to a, b and c, also where a is 0.
    No loop over the length: at most 30 operators, whatever it is. No tensor larger than d·n·length elements. So with
    and without gradients; with the backward pass at most 120 operators, and no larger tensor. The work stays in torch.

    >>> ssm_kernel(torch.tensor([[0.5]]), torch.tensor([[1.0]]), torch.tensor([[3.0]]), 4).tolist()
    [[3.0, 1.5, 0.75, 0.375]]
    """
    raise NotImplementedError  # TODO: your code


def ssm_convolution(kernel: Tensor, x: Tensor) -> Tensor:
    """The causal convolution y_t = sum over j <= t of K_j x_{t-j}, by FFT: all of `ssm_recurrence` at once.

    kernel: (d, k), k >= 1, shorter than x (taps behind k are 0) or longer (what x does not reach is unused).
    x: (b, l, d), l >= 0. Returns (b, l, d). Gradients flow to both.
    It is a convolution, not a product, and an FFT's convolution is circular: pad, or the end leaks into the start.
    Costs O((l + k) log(l + k)): no matrix product, no direct convolution, no tensor of over 4·b·d·(l + k) elements, at
    most 200 operators and 100·b·d·(l + k) elements written. So with and without gradients; with the backward pass at
    most four times as many operators and elements, and the rest as said. The work stays in torch.

    >>> y = ssm_convolution(torch.tensor([[3.0, 1.5, 0.75]]), torch.tensor([[[1.0], [0.0], [4.0]]]))
    >>> [f"{v:.2f}" for v in y.flatten()]
    ['3.00', '1.50', '12.75']
    """
    raise NotImplementedError  # TODO: your code


def hippo_legs(n: int, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """HiPPO-LegS: the A (n, n), dense, and B (n,) whose state is the best polynomial summary of all inputs so far.

        A[i, j] = -sqrt(2i + 1) sqrt(2j + 1)   below the diagonal        -(i + 1)   on it        0   above it
        B[i]    =  sqrt(2i + 1)

    With s'(t) = (A s(t) + B x(t)) / t, s holds the coefficients of x on [0, t] in the orthonormal Legendre polynomials
    sqrt(2i + 1) P_i(2 u / t - 1). Mind the sign: HiPPO writes s' = -A s / t + ..., S4 and this exercise put the minus
    into A. See HiPPO, arXiv 2008.07669, theorem 2; S4, arXiv 2111.00396, eq. 2.

    >>> A, B = hippo_legs(2)
    >>> [f"{x:z.3f}" for x in A.flatten()], [f"{x:.3f}" for x in B]
    (['-1.000', '0.000', '-1.732', '-2.000'], ['1.000', '1.732'])
    """
    raise NotImplementedError  # TODO: your code


def s4d_init(n: int, kind: str, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Diagonals to start from: (n,), k = 0 .. n - 1 (S4D, arXiv 2206.11893, section 4).

        "real"    -(k + 1)                                 in dtype; Mamba's A
        "lin"     -1/2 + i π k                             in complex dtype, as are the next two
        "inv"     -1/2 + i N/π (N / (2k + 1) - 1)          N = 2n: each number stands for a conjugate pair of states
        "legs"    the eigenvalues with positive imaginary part, in ascending order of it, of A + P P^T,
                  A = HiPPO-LegS of size 2n, P[i] = sqrt(i + 1/2)

    HiPPO's A itself cannot be diagonalised in floating point (its eigenvectors are huge). A + P P^T is -I/2 plus a
    skew-symmetric matrix: normal, with eigenvalues -1/2 ± i ω. Compute ω in float64, from a Hermitian matrix.
    Raises ValueError for another kind.

    >>> s4d_init(3, "real").tolist(), [f"{x:.3f}" for x in s4d_init(2, "inv")]
    ([-1.0, -2.0, -3.0], ['-0.500+3.820j', '-0.500+0.424j'])
    >>> [f"{x:.3f}" for x in s4d_init(2, "legs")]
    ['-0.500+0.557j', '-0.500+4.603j']
    """
    raise NotImplementedError  # TODO: your code


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba's scan, token by token: step, B and C depend on the token (arXiv 2312.00752, algorithm 2).

    x, dt: (b, l, d), dt > 0. A: (d, n), below 0. B, C: (b, l, n), shared by all channels. D: (d,), nothing if None.
    state: (b, d, n) before the first token, zeros if None.
    Returns y (b, l, d), and the state after the last token (b, d, n). l = 0: an empty y, and the state as it came.

        s_t[d, n] = exp(dt_t[d] A[d, n]) s_{t-1}[d, n] + dt_t[d] B_t[n] x_t[d]
        y_t[d]    = sum over n of C_t[n] s_t[d, n]  +  D[d] x_t[d]

    B is discretised as dt B, as in Mamba's code: a constant x = 1 with dt = 1, A = -1, B = C = 1 starts with y_0 = 1
    (a zero-order hold would give 0.632). Gradients flow to every tensor given.
    Discretise a token when it is due: no tensor of over max(b·l·d, b·l·n, b·d·n) elements, that is, never (b, l, d, n):
    with and without gradients, and in the backward pass.

    >>> x = dt = B = C = torch.ones(1, 2, 1)
    >>> y, state = selective_scan(x, dt, torch.tensor([[-1.0]]), B, C)
    >>> [f"{v:.3f}" for v in y.flatten()]                               # 1, 1 + exp(-1)
    ['1.000', '1.368']
    """
    raise NotImplementedError  # TODO: your code


def associative_scan(a: Tensor, b: Tensor) -> Tensor:
    """All states of s_t = a_t s_{t-1} + b_t (s_{-1} = 0) in O(log l) steps.

    a, b: (b, l, ...), of one shape. Returns s of that shape. l = 0 gives an empty tensor. a may hold zeros and negative
        numbers: never divide by it. Gradients flow to both.

    Two neighbouring steps are one step of the same form, and this join is associative:

        (a1, b1) then (a2, b2)  =  (a1 a2,  a2 b1 + b2)

    so joins may be done in any order that keeps neighbours together (Blelloch 1990; Mamba, section 3.3.2). With
    elements joined at distance 1, 2, 4, ... position t has joined everything before it after log2 l rounds.

    The depth is counted: at most 40 · ceil(log2 l) + 40 operators. So is the work: at most 12 · ceil(log2 l) + 12
    elements written for each element of b, so no l × l matrix. So with and without gradients; with the backward pass
    four times as much of both. The work stays in torch. Forbidden: torch's own associative_scan.

    >>> a, b = torch.tensor([[9.0, 0.5, 0.5, 2.0]]), torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    >>> associative_scan(a, b).tolist()
    [[1.0, 1.5, 1.75, 4.5]]
    """
    raise NotImplementedError  # TODO: your code


def chunked_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state: Tensor | None = None,
    *,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """What `selective_scan` returns, from the same arguments, by `associative_scan` inside chunks of `chunk` tokens.

    The last state of a chunk passes on to the next; the last chunk may be shorter. Gradients flow to every tensor.
    Mamba's fused kernel keeps its states in SRAM for the same reason (section 3.3.2).

    Counted: no tensor of over max(b·l·d, 2·b·chunk·d·n) elements; for each chunk at most 40 · ceil(log2 chunk) + 80
    operators; and for the backward pass at most 3·b·l·(d + n) values and 3 states a chunk are kept, where a plain scan
    keeps several times b·l·d·n. So keep the inputs and recompute the states (`torch.utils.checkpoint.checkpoint` with
    use_reentrant=False does), and mind that a view keeps alive all of what it looks at: beside the inputs no more than
    14·b·chunk·d·n + 5·b·l·d values are alive at once. So with and without gradients; with the backward pass at most
    three times as many operators, twice as many values alive, and no larger tensor. The work stays in torch.
    Raises ValueError if chunk < 1.

    >>> x = dt = B = C = torch.ones(1, 5, 1)
    >>> y, state = chunked_scan(x, dt, torch.tensor([[-1.0]]), B, C, chunk=2)
    >>> [f"{v:.3f}" for v in y.flatten()]
    ['1.000', '1.368', '1.503', '1.553', '1.571']
    """
    raise NotImplementedError  # TODO: your code


def initial_dt_bias(
    d: int, low: float = 0.001, high: float = 0.1, *, generator: torch.Generator | None = None
) -> Tensor:
    """(d,) float32 biases for which softplus(bias) is log-uniform in low .. high: log dt is uniform.

    The inverse of softplus is dt + log(1 - exp(-dt)). Draws come from `generator` (None: torch's own).
    See Mamba, section 3.6: it writes a uniform dt, its code draws log dt, as here. Steps of 0.001 to 0.1 let channels
    remember some 10 to 1000 tokens (A = -1).

    >>> bias = initial_dt_bias(1000)
    >>> 0.00099 < F.softplus(bias).min() < F.softplus(bias).max() < 0.101
    tensor(True)
    """
    raise NotImplementedError  # TODO: your code


class MambaBlock(nn.Module):
    """Mamba's block (arXiv 2312.00752, figure 3), with the names and layouts of the published checkpoints.

        x ─ in_proj ─┬─ u ─ causal conv1d ─ SiLU ─┬───────────────► scan ─ × ─ out_proj ─ y
                     │                            └─ dt, B, C ──────►┘     │
                     └─ z ─ SiLU ──────────────────────────────────────────┘

    in_proj gives u in its first d rows, z in its last d. conv1d works channel by channel; its last tap meets the newest
    token. x_proj gives r numbers for dt, then B (n), then C (n); dt = softplus(dt_proj(those r)). A = -exp(A_log).
    No normalisation and no residual here: they belong to the layer around it.

    A new block has A = -1, -2, .., -n in every channel, D = 1, dt_proj.bias = initial_dt_bias(d).
    A state of generation: (conv, ssm), the last d_conv - 1 values of u before conv1d, oldest first,
    (b, d_conv - 1, d), and the scan's state (b, d, n). Its size does not depend on the tokens seen.
    """

    def __init__(
        self,
        dim: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        d = expand * dim
        self.d_state, self.dt_rank = d_state, dt_rank or math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * d, bias=False)
        self.conv1d = nn.Conv1d(d, d, d_conv, groups=d)
        self.x_proj = nn.Linear(d, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, d)
        self.A_log = nn.Parameter(torch.empty(d, d_state))
        self.D = nn.Parameter(torch.empty(d))
        self.out_proj = nn.Linear(d, dim, bias=False)
        with torch.no_grad():
            # Fill A_log, D and dt_proj.bias as the class docstring says; draws come from `generator`.
            raise NotImplementedError  # TODO: your code

    def empty_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """The state before the first token: zeros. Given."""
        d, n = self.A_log.shape
        return self.A_log.new_zeros(batch, self.conv1d.kernel_size[0] - 1, d), self.A_log.new_zeros(batch, d, n)

    def select(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The selection: dt (..., d) above 0, B (..., n) and C (..., n) of u (..., d), u after conv1d and SiLU."""
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A sequence, or a piece of one, in parallel: training, and reading a prompt.

        x: (b, l, dim), l >= 1. state: from `empty_state` (also if None), from an earlier `forward` or `step`.
        Returns y (b, l, dim) and the new state. However a sequence is cut into calls, y is the same.
        Gradients flow to x and to all parameters, and through the state from call to call. No loop over tokens (use
        `chunked_scan`, which may take 5 a token): at 512 tokens at most 6 operators a token, in training and in eval,
        with and without gradients; with the backward pass four times as many. The work stays in torch. Once the graph
        is gone, nothing stays alive but y and the values of the state.

        >>> block, x = MambaBlock(dim=6), torch.randn(2, 5, 6)
        >>> y, _ = block(x)
        >>> _, state = block(x[:, :3])
        >>> torch.allclose(block(x[:, 3:], state)[0], y[:, 3:], atol=1e-5)
        True
        """
        raise NotImplementedError  # TODO: your code

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One more token. x: (b, dim). Returns y (b, dim) and the new state; the state given stays as it was.

        Costs the same after 10 tokens as after 10,000, and takes at most 120 operators, in training and in eval, with
        and without gradients; all else as in `forward`.

        >>> block, x = MambaBlock(dim=6), torch.randn(2, 5, 6)
        >>> y, state = block.step(x[:, 0], block.empty_state(2))
        >>> torch.allclose(y, block(x)[0][:, 0], atol=1e-5)
        True
        """
        raise NotImplementedError  # TODO: your code


def for_each_head(groups: Tensor, h: int) -> Tensor:
    """B or C of the head's group for each of h heads: (b, l, g, n) to (b, l, h, n). Given.

    Raises ValueError unless g divides h.
    """
    g = groups.shape[2]
    if h % g:
        raise ValueError(f"{g} groups do not divide {h} heads")
    return groups.repeat_interleave(h // g, 2)


def ssd_attention(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba-2's scan as attention under a decaying mask: the quadratic dual (arXiv 2405.21060, section 5 and eq. 16).

    x: (b, l, h, p). dt: (b, l, h), above 0. A: (h,), below 0: one number a head, where Mamba has d·n.
    B, C: (b, l, g, n); head i reads group i // (h // g).
    Returns y (b, l, h, p). Gradients flow to every tensor.

        y_i = sum over j <= i of exp( A · (dt_{j+1} + ... + dt_i) ) (C_i · B_j) dt_j x_j        for each head

    C, B and dt x are queries, keys and values; the mask stands where the softmax was. Mask exponents, not what exp
    makes of them: above the diagonal they are positive, exp overflows, and 0 · inf is NaN in the gradient.
    Raises ValueError unless g divides h.

    >>> x, dt, B = torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1), torch.ones(1, 3, 1, 1)
    >>> [f"{v:.3f}" for v in ssd_attention(x, dt, torch.tensor([-1.0]), B, B).flatten()]
    ['1.000', '1.368', '1.503']
    """
    raise NotImplementedError  # TODO: your code


def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None, *, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """The same in linear time: attention inside chunks, a recurrence between them (arXiv 2405.21060, section 6).

    Arguments as in `ssd_attention`, and state: (b, h, p, n) before the first token, zeros if None.
    Returns y (b, l, h, p) and the state after the last token (b, h, p, n). l = 0: an empty y, and the state as it came.

        s_t = exp(dt_t A) s_{t-1} + dt_t x_t B_t^T        y_t = s_t C_t              for each head: (p, n)

    Inside a chunk, position i sees the state before the chunk decayed by exp(A · (dt of the chunk up to and with i)).
    Gradients flow to every tensor given. The last chunk may be shorter.
    Counted: at most 4·b·h·(l + chunk)·(chunk·(n + p) + 2·n·p) FLOPs in matrix products, and 150 operators a chunk. So
    with and without gradients; with the backward pass four times as many of both. The work stays in torch.
    Raises ValueError if chunk < 1, and unless g divides h.

    >>> x, dt, B = torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1), torch.ones(1, 3, 1, 1)
    >>> y, state = ssd(x, dt, torch.tensor([-1.0]), B, B, chunk=2)
    >>> [f"{v:.3f}" for v in y.flatten()]
    ['1.000', '1.368', '1.503']
    """
    raise NotImplementedError  # TODO: your code


def hybrid_layout(layers: int, period: int = 8, offset: int = 4) -> list[str]:
    """The mixers of a hybrid, layer by layer: "attention" at layers offset, offset + period, ..., "mamba" elsewhere.

    The defaults are Jamba's (arXiv 2403.19887, figure 2 and section 3.1): one attention layer in eight, a ratio of 1:7,
    in the middle of each group of eight. Raises ValueError unless 0 <= offset < period.

    >>> hybrid_layout(5, period=3, offset=1)
    ['mamba', 'attention', 'mamba', 'mamba', 'attention']
    """
    raise NotImplementedError  # TODO: your code


def decoding_values(
    layout: list[str], tokens: int, *, kv_heads: int, head_dim: int, d: int, n: int, d_conv: int
) -> int:
    """Numbers kept for one sequence of `tokens` tokens, over all layers of the layout.

    An attention layer keeps a key and a value of `head_dim` for each of `kv_heads` and each token. A Mamba layer keeps
    `MambaBlock`'s state, whatever the tokens: d·n in the scan and d·(d_conv - 1) before the convolution.
    Raises ValueError if the layout names another layer.

    >>> sizes = dict(kv_heads=8, head_dim=128, d=8192, n=16, d_conv=4)
    >>> decoding_values(hybrid_layout(32), 256 * 1024, **sizes)           # Jamba: 4 GiB in bfloat16, and 9 MB
    2151841792
    """
    raise NotImplementedError  # TODO: your code
