"""dl_022 · Speculative decoding: draft with a small model, verify with one pass of the large one, lose nothing.

Notation
    b  rows of a batch     v  vocabulary     γ  drafts a run, without the further token     t  nodes of a tree
    l  tokens of a prompt  h  heads          s  slots of a cache      d  width of a head
    p  probabilities of the target (the large model)     q  those of the draft (the small one)
    u  a number in [0, 1)                                α  how often a draft is kept

Rules for all functions: sizes are at least 1 unless said otherwise. Tokens, indices and counts are int64. Tensors of
numbers are float64 or float32, and need not be contiguous. Arguments are left alone unless said otherwise. What is
decided by comparing numbers (kept or not, which token) is compared in float64, also where the tensors are float32.
"Operators" counts each operation that torch runs, views too.

Further reading: Leviathan, Kalman, Matias 2023 and Chen et al. 2023 (speculative decoding), Miao et al. 2024 (trees),
Cai et al. 2024 (Medusa), Yu et al. 2022 and Kwon et al. 2023 (continuous batching).
"""

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor, Tensor], Tensor]


def decode_bound(
    parameters: float, bytes_per_parameter: float, bandwidth: float, flops: float, tokens: int = 1
) -> dict[str, float]:
    """How long one step of a language model takes over `tokens` tokens at once, and what it waits for.

    A step reads every parameter once from memory, at `bandwidth` bytes a second, however many tokens it runs. Each
    token costs 2 operations a parameter, at `flops` operations a second. Both go on side by side, so the longer one
    counts. (The cache of keys and values is left out.) Returns a dict of floats:

        "seconds"   the longer of the two times
        "busy"      share of that time in which arithmetic is busy: 1 where it is the longer one
        "turn"      the number of tokens at which both take equally long, in general no whole number

    70 · 10⁹ parameters of 2 bytes on an A100 (2.039 · 10¹² bytes, 312 · 10¹² operations a second): 68.7 ms for one
    token, arithmetic is busy for 0.7 % of it, and five tokens take as long as one: the turn is at 153.

    >>> bound = decode_bound(70e9, 2, 2.039e12, 312e12)
    >>> round(bound["seconds"], 4), round(bound["busy"], 4), round(bound["turn"], 1)
    (0.0687, 0.0065, 153.0)
    """
    ### BEGIN SOLUTION
    reading = parameters * bytes_per_parameter / bandwidth
    computing = 2 * parameters * tokens / flops
    seconds = max(reading, computing)
    return {"seconds": seconds, "busy": computing / seconds, "turn": reading * flops / (2 * parameters)}
    ### END SOLUTION


def inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw a token for each row by turning a uniform number into it: the same u always gives the same token.

    weights: (..., v), none negative, not all 0; they need not add up to 1. uniforms: (...), in [0, 1). Returns (...),
    the smallest token k with

        u · (w_0 + ... + w_(v-1))  <  w_0 + ... + w_k

    A token of weight 0 never comes, be it the first or the last, for no u: a sum that is rounded must not run past its
    end. Compute in float64. Weights (0, 2, 6): token 1 for u < 0.25, else 2.

    >>> inverse_cdf(torch.tensor([[0.0, 2.0, 6.0]]).expand(3, 3), torch.tensor([0.0, 0.2, 0.25]))
    tensor([1, 1, 2])
    """
    ### BEGIN SOLUTION
    cumulated = weights.double().cumsum(dim=-1)
    bar = uniforms.double()[..., None] * cumulated[..., -1:]  # in float64 below the last sum, for every u < 1
    return (cumulated <= bar).sum(dim=-1)
    ### END SOLUTION


def accept(p: Tensor, q: Tensor, drafts: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the drafts that the target agrees with, and draw one further token, so that the law is the target's.

    p: (b, γ+1, v), q: (b, γ, v), probabilities at each place; drafts: (b, γ), drawn from q, so q of a draft is above 0;
    γ may be 0. uniforms: (b, γ+1). In each row, from the first draft x to the last:

        keep x   if u_i < p_i(x) / q_i(x)          i = 0 ... γ-1; at the first one that is not kept the row ends

    Then comes one further token, drawn by `inverse_cdf` with the *last* uniform number of the row, u_γ:

        from  max(0, p_i - q_i)     (up to its sum) if draft i was rejected
        from  p_γ                   if all were kept

    If p_i <= q_i for every token, by rounding, then a draft that is rejected nevertheless gives way to p_i.
    Returns (how many are kept (b,), further token (b,)). What is kept and the further token together have the law p.

    Cost: at most 120 operators, whatever the sizes. The work stays in torch.

    p (0.2, 0.8), q (0.5, 0.5), draft 0: kept if u_0 < 0.4; else token 1, since p - q is positive there alone.

    Source: Leviathan et al. 2023, algorithm 1.

    >>> p = torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]).expand(2, 2, 2)
    >>> q, drafts = torch.full((2, 1, 2), 0.5), torch.zeros(2, 1, dtype=torch.int64)
    >>> accept(p, q, drafts, torch.tensor([[0.3, 0.1], [0.6, 0.1]]))
    (tensor([1, 0]), tensor([0, 1]))
    """
    ### BEGIN SOLUTION
    p, q, uniforms = p.double(), q.double(), uniforms.double()
    gamma = drafts.shape[1]
    of_p = p[:, :gamma].gather(2, drafts[..., None])[..., 0]
    of_q = q.gather(2, drafts[..., None])[..., 0]
    kept = (uniforms[:, :gamma] * of_q < of_p).long().cumprod(dim=1).sum(dim=1)
    rows = torch.arange(len(p))
    wanted = p[rows, kept]
    offered = torch.cat([q, torch.zeros_like(p[:, :1])], dim=1)[rows, kept]  # behind the last draft nothing is offered
    rest = (wanted - offered).clamp(min=0)
    rest = torch.where(rest.sum(dim=1, keepdim=True) > 0, rest, wanted)
    return kept, inverse_cdf(rest, uniforms[:, gamma])
    ### END SOLUTION


def speculative_generate(
    target: Model,
    draft: Model,
    prompt: Tensor,
    tokens: int,
    gamma: int,
    temperature: float,
    *,
    generator: torch.Generator,
) -> Tensor:
    """Generate `tokens` tokens for each row as the target alone would, with few calls of the target: (b, tokens).

    prompt: (b, l); tokens may be 0, γ = gamma is at least 1. A model is called as

        model(rows, fed, start) -> logits         rows (r,): which rows of the batch, each once
                                                  fed (r, n): n >= 1 tokens of each,  start (r,): the place of the first
                                                  logits (r, n, v): after each of them

    It keeps the past of each row: tokens before `start` it must have seen, what it saw from `start` on it forgets. So a
    rejected draft is taken back when the next tokens are fed in its place. Places count from 0, the prompt's first.

    A run: the draft proposes γ tokens, one after the other; the target sees them all *in one call*, and `accept` keeps
    some and adds one. Rows advance unequally. All rows that still lack tokens are in the same calls, and rows that are
    finished are in none. What a last run makes beyond `tokens` is dropped.

    Probabilities, of both models, are softmax(logits / temperature); temperature 0 is all on the largest logit (the
    first, if several are): then the tokens are those of plain greedy decoding.

    Cost: one call of the target in each run, with at most γ+1 tokens a row (l + γ in the first), and at most γ calls of
    the draft with at most 2 tokens a row (l in the very first). If all drafts are kept (draft = target) that is
    ⌈tokens / (γ+1)⌉ runs. All random numbers come from `generator`, which is never seeded anew or copied.

    Source: Leviathan et al. 2023; Chen et al. 2023, algorithm 2.

    >>> def model(rows, fed, start):  # certain that the next token is one more
    ...     return 50.0 * torch.nn.functional.one_hot((fed + 1) % 5, 5)
    >>> g = torch.Generator().manual_seed(0)
    >>> speculative_generate(model, model, torch.tensor([[3], [0]]), 4, 2, 1.0, generator=g)
    tensor([[4, 0, 1, 2],
            [1, 2, 3, 4]])
    """
    ### BEGIN SOLUTION

    def uniforms(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def law(logits: Tensor) -> Tensor:
        if temperature == 0:
            return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()
        return (logits.double() / temperature).softmax(dim=-1)

    b, given = prompt.shape
    text = torch.cat([prompt, prompt.new_zeros(b, tokens + gamma)], dim=1)
    length = torch.full((b,), given)

    def feed(model: Model, rows: Tensor, end: Tensor, n: int) -> Tensor:
        return law(model(rows, text[rows[:, None], end[:, None] + torch.arange(-n, 0)], end - n))

    # Tokens at the end of the text that the models may not have seen. After a run of which all was kept the draft lacks
    # two: it was never fed its own last token.
    new, new_to_draft = given, given
    while len(rows := (length < given + tokens).nonzero()[:, 0]) > 0:
        end, laws = length[rows], []
        for i in range(gamma):
            laws.append(feed(draft, rows, end + i, 1 if i else new_to_draft)[:, -1])
            text[rows, end + i] = inverse_cdf(laws[-1], uniforms(len(rows)))
        drafts = text[rows[:, None], end[:, None] + torch.arange(gamma)]
        p = feed(target, rows, end + gamma, new + gamma)[:, -gamma - 1 :]
        kept, further = accept(p, torch.stack(laws, dim=1), drafts, uniforms(len(rows), gamma + 1))
        text[rows, end + kept] = further
        length[rows] = end + kept + 1
        new, new_to_draft = 1, 2
    return text[:, given : given + tokens]
    ### END SOLUTION


def rollback(caches: list[Tensor], lengths: Tensor, paths: Tensor, counts: Tensor) -> Tensor:
    """Keep in a cache what was accepted, row by row, in place, and forget the rest. Returns the new lengths (b,).

    Each cache (keys, values, of several layers) is (b, h, s, d) with an h and d of its own. Row r holds lengths[r]
    tokens of the past, and behind them the t nodes that were just verified, node 0 at lengths[r]. paths: (b, m), the
    accepted nodes of each row in ascending order, of which the first counts[r] count; what stands behind them is filled
    up with any numbers in 0 ... t-1. m <= t, lengths[r] + t <= s, and counts may be 0.

    Node paths[r, j] moves to place lengths[r] + j, for j < counts[r], and row r then holds lengths[r] + counts[r]
    tokens. Their entries are exactly those of before. Places behind them may hold anything.

    Of a chain of drafts the nodes 0 ... counts[r]-1 are accepted: they stand where they belong. Of a tree they do not.

    Cost: no tensor has more than 2 · b·h·m·d elements, however long the cache is.

    Row with 3 tokens, nodes at 3 ... 7, of which 1 and 4 are accepted: entry 4 goes to 3, entry 7 to 4; 5 tokens.

    >>> cache = torch.arange(8.0).view(1, 1, 8, 1)
    >>> rollback([cache], torch.tensor([3]), torch.tensor([[1, 4]]), torch.tensor([2]))
    tensor([5])
    >>> cache.flatten()[:5]
    tensor([0., 1., 2., 4., 7.])
    """
    ### BEGIN SOLUTION
    rows = torch.arange(len(lengths))[:, None]
    place = torch.arange(paths.shape[1])
    source = torch.where(place < counts[:, None], paths, place)  # what does not count stays where it is
    for cache in caches:
        cache[rows, :, lengths[:, None] + place] = cache[rows, :, lengths[:, None] + source]
    return lengths + counts
    ### END SOLUTION


def tokens_per_run(alpha: float, gamma: int) -> float:
    """How many tokens one call of the target gives on average, if each draft is kept with probability α.

    The first rejected draft ends a run, and a further token always comes: 1 + α + α² + ... + α^γ. α in [0, 1],
    γ >= 0. Right to 1e-9 of itself, also for α next to 1. α 0.75, γ 7: 3.5995. α 1: γ + 1.

    Source: Leviathan et al. 2023, equation 1.

    >>> round(tokens_per_run(0.75, 7), 4)
    3.5995
    """
    ### BEGIN SOLUTION
    return sum((alpha**i for i in range(gamma + 1)), 0.0)
    ### END SOLUTION


def expected_speedup(alpha: float, gamma: int, cost: float, rows: int = 1, turn: float = float("inf")) -> float:
    """How many times faster a batch of `rows` rows becomes by speculation.

    A step of the target over m tokens takes max(1, m / turn): up to `turn` tokens it waits for memory (`decode_bound`),
    and then for arithmetic. A step of the draft takes `cost` times what the target takes for the same tokens. A run is

        γ steps of the draft over `rows` tokens, and one of the target over rows · (γ+1)

    and gives `tokens_per_run` tokens a row. Without speculation each token takes one step over `rows` tokens.

    α 0.75, γ 7, cost 0.02: 3.5995 / (1 + 7 · 0.02) = 3.157 for one row. With 100 rows and a turn at 153 the target
    takes 800 / 153 for its step: 3.5995 / (5.229 + 0.14) = 0.670, a loss.

    >>> round(expected_speedup(0.75, 7, 0.02), 3), round(expected_speedup(0.75, 7, 0.02, rows=100, turn=153), 3)
    (3.157, 0.67)
    """
    ### BEGIN SOLUTION
    plain = max(1.0, rows / turn)
    verify = max(1.0, rows * (gamma + 1) / turn)
    return tokens_per_run(alpha, gamma) * plain / (gamma * cost * plain + verify)
    ### END SOLUTION


def best_gamma(alpha: float, cost: float, most: int, rows: int = 1, turn: float = float("inf")) -> int:
    """The γ of 0 ... most with the largest `expected_speedup`; the smallest of several. 0: do not speculate.

    On one row there is a gain for some γ exactly if α > cost. α 0.75, cost 0.02: 9, where it is 3.199.

    >>> best_gamma(0.75, 0.02, 20), best_gamma(0.1, 0.2, 20), best_gamma(0.75, 0.02, 20, rows=100, turn=153)
    (9, 0, 1)
    """
    ### BEGIN SOLUTION
    return max(range(most + 1), key=lambda gamma: expected_speedup(alpha, gamma, cost, rows, turn))
    ### END SOLUTION


def ngram_draft(text: list[int], longest: int, gamma: int) -> list[int]:
    """Draft without a model: if the text has been here before, it may go on as it did then.

    Takes the last n tokens, n = longest, and looks for them earlier in the text; if they never stood there, n - 1, and
    so on down to 1. Where they stood several times the *latest* earlier place counts; it may overlap the end. Returns
    the tokens that followed there, γ = gamma at most, fewer where the text ends, and [] if not even the last token
    stood earlier. text may be empty.

    7 1 2 3 9 1 2 5 1 2, longest 3: (5, 1, 2) stood nowhere else, (1, 2) stood last before 5, so 5 1 2 follows.

    >>> ngram_draft([7, 1, 2, 3, 9, 1, 2, 5, 1, 2], longest=3, gamma=2)
    [5, 1]
    """
    ### BEGIN SOLUTION
    for n in range(min(longest, len(text) - 1), 0, -1):
        for start in range(len(text) - n - 1, -1, -1):
            if text[start : start + n] == text[-n:]:
                return text[start + n : start + n + gamma]
    return []
    ### END SOLUTION


def choose_draft(kept: dict[str, list[int]], gamma: int, costs: dict[str, float], most: int) -> dict:
    """The draft that pays most on one row, by what was measured.

    kept: for each draft how many of γ = gamma tokens were kept in each of some runs (at least one). costs: what a step
    of it costs, in steps of the target. A run ends at the first rejection, so drafts behind it were never judged:

        α = kept drafts / judged drafts         a run that kept k judged k + 1 of them, or γ if it kept all

    For each draft the best γ of 0 ... most and its gain follow (`best_gamma`, `expected_speedup`). Returns a dict:

        "alpha"     dict of name to α
        "draft"     the name with the largest gain, the first in `kept` of several; None if no gain is above 1
        "gamma"     its γ; 0 if there is none
        "speedup"   its gain; 1.0 if there is none

    Runs that kept 4, 1, 0, 3 of 4: 8 kept of 4 + 2 + 1 + 4 = 11 judged, α = 0.727, not 8/16.

    >>> got = choose_draft({"small": [4, 1, 0, 3], "tiny": [0, 0, 1, 0]}, 4, {"small": 0.1, "tiny": 0.02}, most=8)
    >>> {k: round(v, 4) for k, v in got["alpha"].items()}, got["draft"], got["gamma"], round(got["speedup"], 4)
    ({'small': 0.7273, 'tiny': 0.2}, 'small', 4, 2.0862)
    """
    ### BEGIN SOLUTION
    alpha = {name: sum(runs) / sum(min(k + 1, gamma) for k in runs) for name, runs in kept.items()}
    best = {"alpha": alpha, "draft": None, "gamma": 0, "speedup": 1.0}
    for name, a in alpha.items():
        length = best_gamma(a, costs[name], most)
        gain = expected_speedup(a, length, costs[name])
        if gain > best["speedup"]:
            best |= {"draft": name, "gamma": length, "speedup": gain}
    return best
    ### END SOLUTION


def tree_mask(parents: Tensor, past: int) -> tuple[Tensor, Tensor]:
    """What each node of a tree of drafts may look at, and its place in the text, so that one pass verifies all paths.

    parents: (t,), of each node; -1: it follows the last of the `past` tokens that are in the cache (0 or more). A
    parent stands before its children; several nodes may have the parent -1. Returns

        mask    (t, past + t) bool: True where node i (row) may look at token j (column): all of the past, its
                ancestors, and itself
        places  (t,): past + how many ancestors it has. Siblings have the same place

    With this mask and these places the logits of a node are those of its path alone.

    Raises ValueError if a parent is below -1 or does not stand before its child.

    Parents (-1, 0, 0, 1), past 2: node 3 sees the past, 0, 1 and 3, and the places are 2, 3, 3, 4.

    Source: Miao et al. 2024 (SpecInfer), section 4.2.

    >>> mask, places = tree_mask(torch.tensor([-1, 0, 0, 1]), past=1)
    >>> mask.int().tolist()
    [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 0, 1]]
    >>> places
    tensor([1, 2, 2, 3])
    """
    ### BEGIN SOLUTION
    t = len(parents)
    tree = torch.eye(t, dtype=torch.bool)
    for node, parent in enumerate(parents.tolist()):
        if not -1 <= parent < node:
            raise ValueError(f"the parent of node {node} is {parent}: it must be -1 or stand before the node")
        if parent >= 0:
            tree[node] |= tree[parent]
    mask = torch.cat([torch.ones(t, past, dtype=torch.bool), tree], dim=1)
    return mask, past + tree.sum(dim=1) - 1
    ### END SOLUTION


def verify_tree(
    p: Tensor, q: Tensor, tokens: Tensor, parents: Tensor, uniforms: Tensor, replace: bool
) -> tuple[list[int], int]:
    """Walk down a tree of drafts as far as the target agrees, and draw one further token: the law stays the target's.

    tokens: (t,), parents: (t,) as in `tree_mask`; t may be 0. p and q: (t+1, v): row 0 is the law of what follows the
    past, row i+1 of what follows node i. The children of a place were drawn from its row of q in the order of their
    indices: each from the whole of q if `replace`, else without the tokens that were drawn before. uniforms: (t+1,).

    Begin behind the past with r = p[0], and q = q[0]. For each child x of the place, in order, with its own uniform
    number u_i (that of the node's index):

        keep x   if u_i < r(x) / q(x): go on below it, with p and q of its row
        else     r = max(0, r - q) made to add up to 1           what is still owed
                 and without replacement: q(x) = 0, and q made to add up to 1

    After the last child, or if there is none, `inverse_cdf` of r with the *last* uniform number, u_t, gives the further
    token. If r <= q for every token, by rounding, r stays as it was. q of a child is above 0 when its turn comes.

    Returns (indices of the kept nodes, from the top; further token).

    One place with p (0.2, 0.8), q (0.5, 0.5), children 0 and 0 with replacement: the first is kept if u_0 < 0.4; then r
    is (0, 1): the second is rejected for certain, and the further token is 1.

    Source: Miao et al. 2024, algorithm 2 (multi-step speculative sampling); without replacement Yang et al. 2024.

    >>> p, q = torch.tensor([[0.2, 0.8], [1.0, 0.0], [1.0, 0.0]]), torch.full((3, 2), 0.5)
    >>> two = torch.tensor([0, 0]), torch.tensor([-1, -1])
    >>> verify_tree(p, q, *two, torch.tensor([0.3, 0.9, 0.5]), True)
    ([0], 0)
    >>> verify_tree(p, q, *two, torch.tensor([0.5, 0.0, 0.5]), True)
    ([], 1)
    """
    ### BEGIN SOLUTION
    u = uniforms.double().tolist()
    path: list[int] = []
    r, offered, here = p[0].double(), q[0].double(), -1
    for node, (token, parent) in enumerate(zip(tokens.tolist(), parents.tolist(), strict=True)):
        if parent != here:
            continue
        if u[node] * offered[token] < r[token]:
            path.append(node)
            r, offered, here = p[node + 1].double(), q[node + 1].double(), node
            continue
        rest = (r - offered).clamp(min=0)
        if rest.sum() > 0:
            r = rest / rest.sum()
        if not replace:
            offered = offered.index_fill(0, torch.tensor([token]), 0.0)
            offered = offered / offered.sum()
    return path, int(inverse_cdf(r, torch.tensor(u[-1], dtype=torch.float64)))
    ### END SOLUTION


def medusa_candidates(logits: Tensor, choices: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """A tree of drafts out of heads that guess the next tokens all at once, each without knowing the others' guess.

    logits: (k, v), of k heads; head i guesses the token at depth i. A choice is a path of ranks: (0, 2) is the
    likeliest token of head 0 (rank 0), followed by the third likeliest of head 1. Each choice is a node; its token is
    the one of its last rank. All logits of a head are different. Returns (tokens (t,), parents (t,)) as in
    `verify_tree`: nodes by depth, then by their ranks (as sorted tuples), whatever the order of choices. The parent of
    a node is the choice without its last rank, -1 at the top.

    Raises ValueError if the parent of a choice is not among the choices, a choice comes twice, is empty or has more
    ranks than there are heads.

    Source: Cai et al. 2024 (Medusa), section 2.1.2.

    >>> medusa_candidates(torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]]), [(0, 1), (0,), (1,), (0, 0)])
    (tensor([1, 2, 0, 2]), tensor([-1, -1,  0,  0]))
    """
    ### BEGIN SOLUTION
    nodes = sorted(map(tuple, choices), key=lambda path: (len(path), path))
    index = {path: i for i, path in enumerate(nodes)} | {(): -1}
    if () in nodes or len(index) != len(nodes) + 1:
        raise ValueError("a choice is empty or comes twice")
    order = logits.argsort(dim=1, descending=True).tolist()
    if any(len(path) > len(order) or path[:-1] not in index for path in nodes):
        raise ValueError("a choice has more ranks than there are heads, or its parent is missing")
    tokens = [order[len(path) - 1][path[-1]] for path in nodes]
    parents = [index[path[:-1]] for path in nodes]
    return torch.tensor(tokens, dtype=torch.int64), torch.tensor(parents, dtype=torch.int64)
    ### END SOLUTION


def typical_acceptance(
    p: Tensor, tokens: Tensor, parents: Tensor, epsilon: float, delta: float
) -> tuple[list[int], int]:
    """Keep whatever is typical for the target: more tokens a run, and no longer the target's law.

    p: (t+1, v), tokens, parents as in `verify_tree`. With the law p of the place that a node follows, and its entropy H
    (natural logarithms, 0 · log 0 is 0), a node is kept if its parent is, and

        p(token) > min(ε, δ · exp(-H))

    Returns (the longest path of kept nodes, the one whose last node comes first if several are; the likeliest token
    behind it). No random numbers: the same drafts give the same text.

    (0.5, 0.5), ε 0.3, δ 0.8: H = log 2, the bar is min(0.3, 0.4). (0.9, 0.1): e^-H = 0.722, the bar is 0.3 again.

    Source: Cai et al. 2024, section 2.3.1.

    >>> p = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    >>> typical_acceptance(p, torch.tensor([1, 1]), torch.tensor([-1, 0]), epsilon=0.3, delta=0.8)
    ([0], 0)
    """
    ### BEGIN SOLUTION
    p = p.double()
    bars = (delta * (-torch.special.entr(p).sum(dim=1)).exp()).clamp(max=epsilon).tolist()
    paths: dict[int, list[int]] = {-1: []}
    for node, (token, parent) in enumerate(zip(tokens.tolist(), parents.tolist(), strict=True)):
        if parent in paths and float(p[parent + 1, token]) > bars[parent + 1]:
            paths[node] = [*paths[parent], node]
    path = max(paths.values(), key=len)
    return path, int(p[path[-1] + 1 if path else 0].argmax())
    ### END SOLUTION


class ContinuousBatcher:
    """Decides, step by step, which requests run and with how many tokens: continuous batching with speculation.

    A step of the model runs at most `budget` tokens, and the cache has `slots` places for tokens, of all requests
    together. Requests are numbers; the order of `add` is their age, for good. A request is waiting or running. It knows
    its prompt and what it has generated.

        decode     it is running, and all its known tokens but the last are cached: it runs the last one and drafts, γ
                   of them, but no more than could be used: min(γ, tokens still wanted - 1) + 1 tokens in all. It gets
                   1 + the kept drafts, and as many more tokens are cached
        prefill    any other: it runs known tokens that are not cached, in pieces. When the last of them is cached it
                   gets one token

    So after 7 of 8 tokens of a prompt a request decodes. Slots are held for cached tokens, and in a step for all that
    it runs.

    A request that has all its tokens is finished at once, and its slots are free.

    Source: Yu et al. 2022 (Orca); Kwon et al. 2023 (vLLM); Agrawal et al. 2024 (chunked prefill).

    >>> batch = ContinuousBatcher(budget=6, slots=20, gamma=2)
    >>> batch.add(7, prompt=8, tokens=5)
    >>> batch.schedule()  # 6 of 8 tokens of the prompt
    {'decode': {}, 'prefill': {7: 6}, 'preempted': []}
    >>> batch.update({})
    []
    >>> batch.add(8, prompt=3, tokens=1)
    >>> batch.schedule()
    {'decode': {}, 'prefill': {7: 2, 8: 3}, 'preempted': []}
    >>> batch.update({})  # each gets a token: 8 is finished
    [8]
    >>> batch.schedule()  # one known token and two drafts
    {'decode': {7: 3}, 'prefill': {}, 'preempted': []}
    >>> batch.update({7: 2})
    []
    >>> batch.schedule()  # one token is wanted: no draft could be used
    {'decode': {7: 1}, 'prefill': {}, 'preempted': []}
    >>> batch.update({7: 0})
    [7]
    """

    def __init__(self, budget: int, slots: int, gamma: int) -> None:
        """Raises ValueError if gamma + 1 is more than the budget."""
        ### BEGIN SOLUTION
        if gamma + 1 > budget:
            raise ValueError(f"a decode of {gamma} drafts does not fit into a budget of {budget}")
        self.budget, self.slots, self.gamma = budget, slots, gamma
        self.waiting: list[int] = []
        self.running: list[int] = []  # all of them older than those that wait
        self.known: dict[int, int] = {}
        self.wanted: dict[int, int] = {}  # tokens still to come
        self.cached: dict[int, int] = {}
        self.step: dict[str, dict[int, int]] = {"decode": {}, "prefill": {}}
        ### END SOLUTION

    def add(self, request: int, prompt: int, tokens: int) -> None:
        """A new request: so many tokens of its prompt, so many to generate; both are at least 1.

        Raises ValueError if it could not even run alone: if prompt + tokens - 1 is more than the slots. Then it is as
        if it had not been added.
        """
        ### BEGIN SOLUTION
        if prompt + tokens - 1 > self.slots:
            raise ValueError(f"a prompt of {prompt} and {tokens} tokens do not fit into {self.slots} slots")
        self.waiting.append(request)
        self.known[request], self.wanted[request], self.cached[request] = prompt, tokens, 0
        ### END SOLUTION

    def schedule(self) -> dict:
        """What the next step runs: {"decode": {request: tokens}, "prefill": the same, "preempted": [requests]}.

        First decodes, from the oldest request to the youngest:
          * if its tokens are more than what is left of the budget, no further request decodes in this step;
          * while they are more than the free slots, the *youngest* running request is pre-empted, whatever it does: it
            loses all its slots and waits again, in its place by age. Later it prefills its prompt and what it has
            generated so far. If that is the request itself, no further request decodes.
        Then, unless one was pre-empted, prefill, first of who is running and then of who waits, by age: each gets as
        many of its known tokens as it lacks, as the budget allows and as there are free slots. At the first one that
        gets fewer than it lacks prefill ends; nobody overtakes, and one that gets none goes on waiting.

        Dicts and the list are in the order in which this was decided. It is called once a step, before `update`.
        """
        ### BEGIN SOLUTION
        decode: dict[int, int] = {}
        prefill: dict[int, int] = {}
        preempted: list[int] = []
        left, free = self.budget, self.slots - sum(self.cached.values())
        for request in [one for one in self.running if self.cached[one] == self.known[one] - 1]:
            count = min(self.gamma, self.wanted[request] - 1) + 1
            if request in preempted or count > left:
                break
            while count > free and request in self.running:
                youngest = self.running.pop()
                self.waiting.insert(0, youngest)
                preempted.append(youngest)
                free, self.cached[youngest] = free + self.cached[youngest], 0
            if request in self.running:
                decode[request], left, free = count, left - count, free - count
        lacking = [one for one in self.running if self.cached[one] < self.known[one] - 1]
        for request in [] if preempted else [*lacking, *self.waiting]:
            count = min(self.known[request] - self.cached[request], left, free)
            if count:  # who gets fewer than it lacks leaves nothing to those behind it
                prefill[request], left, free = count, left - count, free - count
        for request in prefill:
            if request in self.waiting:
                self.waiting.remove(request)
                self.running.append(request)
        self.step = {"decode": decode, "prefill": prefill}
        return {"decode": decode, "prefill": prefill, "preempted": preempted}
        ### END SOLUTION

    def update(self, kept: dict[int, int]) -> list[int]:
        """What the step gave: for each request that decoded, how many of its drafts were kept. Returns who is finished.

        The rejected drafts give their slots back. Finished requests come in the order of their age.
        """
        ### BEGIN SOLUTION
        gained = {request: 1 + kept[request] for request in self.step["decode"]}
        for request, count in self.step["prefill"].items():
            self.cached[request] += count
            gained[request] = int(self.cached[request] == self.known[request])
        for request in self.step["decode"]:
            self.cached[request] += gained[request]
        for request, count in gained.items():
            self.known[request] += count
            self.wanted[request] -= count
        finished = [request for request in self.running if self.wanted[request] == 0]
        for request in finished:
            self.running.remove(request)
            del self.known[request], self.wanted[request], self.cached[request]
        return finished
        ### END SOLUTION
