"""dl_015 · Mixture of experts: many feed-forward networks, of which each token visits a few.

Axes
    n  tokens (all sequences, flattened)      d  width of a token          c  places in an expert's buffer
    e  experts                                f  hidden width of an expert   p  ranks
    k  experts chosen for a token

A layer in one line, with w the router's weights for the k experts that it chose for token x:

    y = sum over the chosen i of  w_i · expert_i(x)            expert(x) = w2 @ (silu(w1 @ x) * (w3 @ x))

`experts` (n, k) int64 always holds the numbers of the chosen experts, different ones in a row; `weights` (n, k) what
they are weighed by. `logits` (n, e) are the router's raw scores. Inputs are never changed. Everything works for n = 0
unless a docstring says otherwise. float32 and float64 work alike, and results keep the dtype.

Further reading: Shazeer et al. 2017 (1701.06538), GShard (2006.16668), Switch (2101.03961), ST-MoE (2202.08906),
Mixtral (2401.04088), DeepSeekMoE (2401.06066), DeepSeek-V3 (2412.19437).
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """One expert (given). x: (m, d); w1, w3: (f, d); w2: (d, f). Returns (m, d). Costs 6·m·d·f FLOPs."""
    return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def top_k_router(logits: Tensor, k: int, order: str = "topk_first") -> tuple[Tensor, Tensor]:
    """Choose for each token the k experts with the largest logits, and weigh them. logits: (n, e).

    order
        "topk_first"     softmax over the k chosen logits: weights sum to 1 (Mixtral, 2401.04088, section 2.1). The
                         same as a softmax over all e, then renormalised over the chosen.
        "softmax_first"  softmax over all e, of which the chosen ones are kept as they are: weights sum to less than 1
                         (Switch, 2101.03961, eq. 1-2; DeepSeekMoE, 2401.06066, eq. 9-11).

    Returns weights (n, k), in the dtype of logits, and experts (n, k) int64; both the largest first. Ties as you like.
    Finite logits of any size give finite weights. Gradients flow to logits. With k = 1, "topk_first" always gives
    weight 1, from which the router learns nothing: Switch has k = 1 and the other order.

    Raises ValueError if k is not in 1 .. e, and for another order.

    >>> logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]]).log()
    >>> top_k_router(logits, 2)                                             # 4/7 and 3/7
    (tensor([[0.5714, 0.4286]]), tensor([[1, 3]]))
    >>> top_k_router(logits, 2, order="softmax_first")
    (tensor([[0.4000, 0.3000]]), tensor([[1, 3]]))
    """
    raise NotImplementedError  # TODO: your code


def load_balancing_loss(logits: Tensor, experts: Tensor, mask: Tensor | None = None) -> Tensor:
    """The auxiliary loss that is smallest when all experts get the same load (Switch, 2101.03961, eq. 4-6).

        loss = e · sum over i of f_i · P_i
        f_i: share of the choices that fell on expert i; over all experts these sum to 1, for any k
        P_i: mean over tokens of softmax(logits) over all e, at i

    So an even load gives 1, whatever e and k. (transformers' Mixtral divides the choices by n, not n·k: its f_i sum to
    k, its loss is k times this one.) The coefficient, Switch's 0.01, is the caller's; so is the sum over layers.

    logits: (n, e). experts: (n, k). mask: (n,) bool, True for the tokens that count; None: all. The others (padding)
    change nothing and get gradient 0, whatever their logits hold (also NaN); their experts may be any in 0 .. e - 1.
    Returns a 0-d tensor in the dtype of logits; 0 if no token counts. The gradient flows to logits, through P alone.

    Both tokens of the example take expert 0: f = [1, 0], P = [0.75, 0.25], loss = 2 · 0.75.

    >>> logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    >>> load_balancing_loss(logits, torch.tensor([[0], [0]]))
    tensor(1.5000)
    """
    raise NotImplementedError  # TODO: your code


def router_z_loss(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Keeps logits small: the mean over tokens of (log of the sum over experts of exp(logit))² (ST-MoE, 2202.08906,
    eq. 5). logits and mask as in `load_balancing_loss`. Returns a 0-d tensor in the dtype of logits; 0 if no token
    counts. Finite where the logits are some hundreds large. Gradients flow to logits.

    >>> round(router_z_loss(torch.zeros(3, 4)).item(), 4)                   # log(4)²
    1.9218
    """
    raise NotImplementedError  # TODO: your code


def expert_capacity(tokens: int, num_experts: int, k: int, factor: float) -> int:
    """Places in each expert's buffer: the even share tokens · k / num_experts, times factor, rounded up.

    factor 1.0 has room for an even load only, 1.25 for a quarter more. (Switch, 2101.03961, eq. 3, has k = 1. Others
    round down, or keep a minimum of 4.) The last bit of a float may decide as it likes. Raises ValueError if factor is
    not above 0.

    >>> expert_capacity(8, 4, 1, 1.25), expert_capacity(8, 4, 2, 1.0)       # 2.5 rounded up, and 4
    (3, 4)
    """
    raise NotImplementedError  # TODO: your code


def dispatch(x: Tensor, experts: Tensor, num_experts: int, capacity: int) -> tuple[Tensor, Tensor]:
    """Copy tokens into the buffers of their experts, as far as there is room.

    x: (n, d). experts: (n, k), the best choice first. capacity: c >= 0.
    Returns buffers (e, c, d), zero where no token lies, and slots (n, k) int64: choice j of token t lies at
        buffers[experts[t, j], slots[t, j]], and slots[t, j] is -1 where it was dropped.

    Who comes first (GShard, 2006.16668, algorithm 1): all first choices before any second choice, and so on; among
    equals the earlier token. Each expert fills its places 0, 1, 2, ... in this order; who finds it full is dropped.
    (Token by token, both choices at once, is the other convention: then a late first choice loses its place to an
    early second one.)

    Gradients flow to x. Rows are copied, not multiplied by masks (a dropped token may hold Inf): 0 matrix FLOPs, and
    no tensor of n·e·c or n·n elements, which would grow with the square of n (n·k·e is fine), forward and backward.
    The work stays in torch: Python may read the n·k numbers in experts and a few counts, no rows.

    Below, tokens 0 1 2 want experts [0, 1], [1, 0], [1, 0]; one place each. Expert 0 takes token 0, expert 1 token 1.

    >>> x, experts = torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([[0, 1], [1, 0], [1, 0]])
    >>> buffers, slots = dispatch(x, experts, num_experts=2, capacity=1)
    >>> buffers.tolist(), slots.tolist()
    ([[[5.0]], [[6.0]]], [[0, -1], [0, -1], [-1, -1]])
    """
    raise NotImplementedError  # TODO: your code


def combine(outputs: Tensor, weights: Tensor, experts: Tensor, slots: Tensor) -> Tensor:
    """Bring the experts' outputs back to their tokens: y[t] = sum over j of weights[t, j] · outputs of choice j.

    outputs: (e, c, d). weights, experts: (n, k). slots: (n, k) from `dispatch`. Returns (n, d).
    A dropped choice (slot -1) adds nothing, and the weights of the others stay as they are: a token dropped by all its
    experts gets zeros, and only the residual connection around the layer carries it on (Switch, section 2.2).
    What lies in places that no token holds does not matter (also NaN). In a place that is held nothing is hidden: NaN
    and Inf reach their token, also times a weight of 0. Gradients flow to outputs and weights: to a
    place that no token holds and to the weight of a dropped choice they are 0.
    0 matrix FLOPs, and no tensor of n·e·c or n·n elements, forward and backward, in torch: as in `dispatch`.

    >>> outputs = torch.tensor([[[10.0]], [[20.0]]])
    >>> weights, experts = torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([[0, 1], [1, 0]])
    >>> combine(outputs, weights, experts, slots=torch.tensor([[0, -1], [0, -1]])).tolist()
    [[7.5], [10.0]]
    """
    raise NotImplementedError  # TODO: your code


def sparse_experts(x: Tensor, weights: Tensor, experts: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """y[t] = sum over j of weights[t, j] · swiglu of expert experts[t, j] at x[t]; nobody is dropped.

    x: (n, d). weights, experts: (n, k). w1, w3: (e, f, d). w2: (e, d, f). Returns (n, d).
    Only routed pairs compute: 6·n·k·d·f FLOPs, however many experts there are and however unevenly they are chosen
    (2·n·k·d more where a matrix product weighs and adds); an expert that no token chose costs nothing. No expert's
    weights are copied (w1[experts] would, for each token): no tensor that is made has more than 2·n·k·(d + f) elements.
    Gradients flow to x, weights, w1, w2 and w3: forward and backward together cost at most 4 times those FLOPs, and
    the backward pass makes no tensor with more elements than w1 has, or 2·n·k·(d + f) if that is more.
    The work stays in torch: Python may read the n·k numbers in experts, and a few counts for each expert.

    >>> one = torch.ones(1, 1, 1)
    >>> w1, w2, w3 = 100 * one.expand(3, 1, 1), one.expand(3, 1, 1), torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    >>> x = torch.tensor([[1.0], [1.0]])                          # silu(100) = 100, so expert i gives 100 · (i + 1)
    >>> sparse_experts(x, torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([[0, 1], [2, 1]]), w1, w2, w3).tolist()
    [[125.0], [250.0]]
    """
    raise NotImplementedError  # TODO: your code


class MoELayer(nn.Module):
    """Mixtral's sparse layer (2401.04088, section 2.1): `top_k_router`, "topk_first", over SwiGLU experts, no capacity.

    State dict: router.weight (e, d), w1 (e, f, d), w2 (e, d, f), w3 (e, f, d).
    """

    def __init__(self, dim: int, hidden: int, experts: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.router = nn.Linear(dim, experts, bias=False)
        self.w1 = nn.Parameter(torch.randn(experts, hidden, dim) * dim**-0.5)
        self.w2 = nn.Parameter(torch.randn(experts, dim, hidden) * hidden**-0.5)
        self.w3 = nn.Parameter(torch.randn(experts, hidden, dim) * dim**-0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (..., d), at least two axes. Returns y (..., d), and the logits (n, e) for the losses, tokens in the
        order of x.flatten(0, -2). The residual connection is the caller's.

        Costs 2·n·d·e FLOPs for the router (forward and backward together 3 times that), and what `sparse_experts` may
        cost, in torch, in training and evaluation alike. Gradients flow to x and all weights.

        >>> y, logits = MoELayer(dim=6, hidden=5, experts=4, k=2)(torch.randn(2, 3, 6))
        >>> y.shape, logits.shape
        (torch.Size([2, 3, 6]), torch.Size([6, 4]))
        """
        raise NotImplementedError  # TODO: your code


def fine_grained_sizes(hidden: int, experts: int, k: int, split: int, shared: int) -> tuple[int, int, int]:
    """Cut each of `experts` experts into `split` narrower ones, and make `shared` of all these always active, so that
    parameters and compute stay those of k out of `experts` experts (DeepSeekMoE, 2401.06066, sections 3.1 and 3.2).
    split >= 1.

    Returns (hidden width of an expert, number of routed experts, number chosen for a token among the routed).
    Raises ValueError if split does not divide hidden, if shared is negative, or if the shared leave none to choose.

    With 16 experts of width 4096, k = 2, split 4 and 1 shared: 64 of width 1024, of which 1 is shared and 7 of the
    other 63 are chosen, so 8 of 64 are active.

    >>> fine_grained_sizes(4096, 16, 2, split=4, shared=1)
    (1024, 63, 7)
    """
    raise NotImplementedError  # TODO: your code


class SharedExpertMoE(nn.Module):
    """DeepSeekMoE's layer (2401.06066, eq. 9-11): narrow experts, of which some serve every token, with weight 1.

        y = sum over the shared i of shared_i(x)  +  sum over the chosen i of w_i · expert_i(x)

    w: softmax over the routed experts, the chosen kept as they are ("softmax_first"). No residual inside.
    State dict, with r, f and k as in `fine_grained_sizes`, s shared ones: router.weight (r, d), w1 (r, f, d),
    w2 (r, d, f), w3 (r, f, d), shared_w1 (s, f, d), shared_w2 (s, d, f), shared_w3 (s, f, d).
    """

    def __init__(self, dim: int, hidden: int, experts: int, k: int, split: int, shared: int) -> None:
        super().__init__()
        width, routed, self.k = fine_grained_sizes(hidden, experts, k, split, shared)
        self.router = nn.Linear(dim, routed, bias=False)
        self.w1 = nn.Parameter(torch.randn(routed, width, dim) * dim**-0.5)
        self.w2 = nn.Parameter(torch.randn(routed, dim, width) * width**-0.5)
        self.w3 = nn.Parameter(torch.randn(routed, width, dim) * dim**-0.5)
        self.shared_w1 = nn.Parameter(torch.randn(shared, width, dim) * dim**-0.5)
        self.shared_w2 = nn.Parameter(torch.randn(shared, dim, width) * width**-0.5)
        self.shared_w3 = nn.Parameter(torch.randn(shared, width, dim) * dim**-0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (..., d), at least two axes. Returns y (..., d), and the logits (n, r), as `MoELayer` does.

        Costs 2·n·d·r FLOPs for the router (forward and backward together 3 times that), and what `sparse_experts` may
        cost with k + s for k, in torch, in training and evaluation alike. Gradients flow to x and all weights.

        >>> layer = SharedExpertMoE(dim=6, hidden=10, experts=4, k=2, split=2, shared=1)
        >>> y, logits = layer(torch.randn(2, 3, 6))
        >>> y.shape, logits.shape
        (torch.Size([2, 3, 6]), torch.Size([6, 7]))
        """
        raise NotImplementedError  # TODO: your code


def bias_balanced_router(logits: Tensor, bias: Tensor, k: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Balance without an auxiliary loss: a bias decides who is chosen, but not by how much (DeepSeek-V3, 2412.19437,
    eq. 13-16).

        s = sigmoid(logits)         chosen: the k largest s + bias         w = scale · s / (sum of s over the chosen)

    logits: (n, e). bias: (e,). 1 <= k <= e. Returns weights (n, k) and experts (n, k), the largest s + bias first.
    Gradients flow to logits, through the weights; none to bias. (No groups of nodes; DeepSeek-V3's scale is 2.5.)

    Below, expert 2 is chosen for its bias; the weights are 0.8 / (0.8 + 0.2) and 0.2 / (0.8 + 0.2).

    >>> s, bias = torch.tensor([[0.8, 0.6, 0.2]]), torch.tensor([0.0, 0.0, 0.5])
    >>> bias_balanced_router(s.logit(), bias, k=2)
    (tensor([[0.8000, 0.2000]]), tensor([[0, 2]]))
    """
    raise NotImplementedError  # TODO: your code


def update_bias(bias: Tensor, experts: Tensor, speed: float) -> Tensor:
    """The bias for the next step: `speed` less for an expert with more than the mean load n·k/e, `speed` more for one
    with less, the same for one with exactly that (DeepSeek-V3, section 2.1.2). bias: (e,). experts: (n, k).
    Returns a new tensor (e,), in the dtype of bias.

    The loads below are 3, 2, 1; their mean is 2.

    >>> update_bias(torch.zeros(3), torch.tensor([[0, 1], [0, 1], [2, 0]]), speed=0.5)
    tensor([-0.5000,  0.0000,  0.5000])
    """
    raise NotImplementedError  # TODO: your code


def hash_router(tokens: Tensor, vocabulary: int, num_experts: int, seed: int) -> Tensor:
    """A token's expert by its number in the vocabulary alone: a fixed random table (Hash Layers, 2106.04426).

    tokens: any shape, int64 in 0 .. vocabulary - 1. Returns experts in the same shape, int64.
    The table is the same at each call with the same vocabulary, num_experts and seed, whatever `tokens` holds; another
    seed gives another one. Every expert owns floor or ceil of vocabulary / num_experts tokens, at random (so not every
    e-th one: neighbours in a vocabulary are alike). torch's global random state is neither read nor changed.

    >>> experts = hash_router(torch.arange(10), 10, 4, seed=0)
    >>> sorted(experts.bincount().tolist())
    [2, 2, 3, 3]
    """
    raise NotImplementedError  # TODO: your code


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """Scale exp(logits) until every token gives about 1 and every expert gets n/e (as in S-BASE, 2202.01169).

    One iteration divides each row by its sum, *then* scales each column to sum to n/e: after the last one the columns
    are exact, the rows nearly so. iterations >= 1, n >= 1. logits: (n, e). Returns (n, e), in the dtype of logits.
    Stays finite for logits that are some hundreds large (work with logarithms: exp(300) is Inf in float32, and a
    column of zeros cannot be scaled).

    Rows of the example: (3/4, 1/4) and (1/2, 1/2). Columns sum to 5/4 and 3/4, and are to sum to 1.

    >>> sinkhorn(torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log(), iterations=1)
    tensor([[0.6000, 0.3333],
            [0.4000, 0.6667]])
    """
    raise NotImplementedError  # TODO: your code


def sinkhorn_router(logits: Tensor, k: int, iterations: int) -> tuple[Tensor, Tensor]:
    """The k experts with the largest entries of `sinkhorn(logits, iterations)`, largest first: an almost even load.

    Weights are the softmax of the raw logits over all e, at the chosen ones, not renormalised: the plan decides who is
    chosen, and nothing else. n >= 1. Returns weights (n, k) and experts (n, k). Gradients flow to logits, through the
    weights.

    Both tokens below prefer expert 0, the second one less: the plan moves it.

    >>> sinkhorn_router(torch.tensor([[9.0, 1.0], [3.0, 1.0]]).log(), k=1, iterations=5)
    (tensor([[0.9000],
            [0.2500]]), tensor([[0],
            [1]]))
    """
    raise NotImplementedError  # TODO: your code


def expert_choice_router(logits: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Experts choose tokens: each takes the `capacity` tokens that want it most (Zhou et al. 2022, 2202.09368).

    "Want" is the softmax of a token's logits over the *experts*. logits: (n, e).
    Returns weights (e, c), these softmax values, and tokens (e, c) int64, the largest first: the load is even by
    construction, a token may have any number of experts, or none. (Choosing looks at later tokens: not causal.)
    Gradients flow to logits. Raises ValueError if capacity is not in 0 .. n.

    >>> expert_choice_router(torch.tensor([[3.0, 1.0], [1.0, 1.0], [9.0, 1.0]]).log(), capacity=1)
    (tensor([[0.9000],
            [0.5000]]), tensor([[2],
            [1]]))
    """
    raise NotImplementedError  # TODO: your code


def collapse_report(logits: Tensor, experts: Tensor) -> dict[str, float | list[int]]:
    """How a router's load is spread. logits: (n, e). experts: (n, k), n >= 1. Plain Python numbers; natural logarithms.

    With load_i the share of the n·k choices that fell on expert i, and p the softmax of a token's logits over all e:

        "entropy"            -sum of load_i · log(load_i), where 0 · log 0 is 0; log(e) if even, 0 if one takes all
        "effective_experts"  exp(entropy): e if even, 1.0 if one takes all
        "max_share"          the largest load_i
        "dead"               the experts with load 0, ascending (a list)
        "token_entropy"      mean over tokens of -sum of p_i · log(p_i)

    A collapsed router has a low "entropy"; a healthy one has a high "entropy" and a low "token_entropy": each token
    knows where to go, and they do not all go the same way. Finite for logits that are some hundreds large.
    Raises ValueError if there is no token.

    >>> report = collapse_report(torch.zeros(4, 3), torch.tensor([[0], [0], [2], [2]]))
    >>> {name: value if name == "dead" else round(value, 4) for name, value in report.items()}
    {'entropy': 0.6931, 'effective_experts': 2.0, 'max_share': 0.5, 'dead': [1], 'token_entropy': 1.0986}
    """
    raise NotImplementedError  # TODO: your code


@torch.no_grad()
def expert_parallel_forward(x: Tensor, weights: Tensor, experts: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """`sparse_experts` over the ranks of the default process group, each of which holds some of the experts.

    Every rank calls it, with its own tokens: x (n, d), weights (n, k), experts (n, k) with numbers in 0 .. e - 1. n
    differs between ranks and may be 0; d and k are the same. w1, w3: (e/p, f, d) and w2: (e/p, d, f) are the experts
    of this rank: rank r holds the numbers r·e/p .. (r + 1)·e/p - 1. Returns y (n, d) for the tokens of this rank.

        tokens ── all-to-all ──> the ranks of their experts ── compute ── all-to-all ──> back, to be weighed and summed

    Data travels by `dist.all_to_all_single` (with split sizes) alone: no other collective, no send. Each routed
    pair costs one row there (to the rank of its expert, nowhere else) and one row back, and at most 16 bytes beside;
    each rank may add 64 bytes for each rank in the group, for counts. Each rank computes the pairs routed to its
    experts only: 6·d·f FLOPs a pair, weighing and adding as in `sparse_experts`, in torch as there. Forward only:
    gradients are off, also where x, weights or matrices require one.
    (GShard, 2006.16668, sections 3.2 and 3.3.)

    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> one = torch.ones(1, 1, 1)                                 # one expert, which makes 100 of 1
    >>> expert_parallel_forward(torch.ones(2, 1), 0.5 * torch.ones(2, 1), torch.zeros(2, 1).long(), 100 * one, one, one)
    tensor([[50.],
            [50.]])
    >>> dist.destroy_process_group()
    """
    raise NotImplementedError  # TODO: your code


def moe_parameter_count(
    *,
    vocabulary: int,
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    hidden: int,
    experts: int,
    k: int,
    shared: int = 0,
    dense_layers: int = 0,
    dense_hidden: int = 0,
    tied: bool = False,
) -> tuple[int, int]:
    """Parameters of a decoder with experts: (all that are stored, those that one token uses). No biases anywhere.

    Embedding (vocabulary · dim), an output matrix of the same size unless tied, a final RMSNorm (dim). Per layer two
    RMSNorms (dim each), attention with projections of dim to heads · head_dim (queries), to kv_heads · head_dim
    (keys, and again values), and of heads · head_dim to dim (output). `dense_layers` of the `layers` have one SwiGLU
    of dense_hidden (three matrices); each other has a router (dim · experts), and `experts` routed and `shared` shared
    SwiGLU experts of width hidden.

    One token uses k of the routed experts, and all of the rest (the whole router and embedding too).

    Mixtral-8x7B (2401.04088): "47B" and "13B".

    >>> attention = dict(heads=32, kv_heads=8, head_dim=128)
    >>> moe_parameter_count(vocabulary=32000, dim=4096, layers=32, hidden=14336, experts=8, k=2, **attention)
    (46702792704, 12879925248)
    """
    raise NotImplementedError  # TODO: your code
