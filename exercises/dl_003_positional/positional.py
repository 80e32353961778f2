"""dl_003 · Positions: tell attention where a token stands, by adding, by rotating, or by a bias on the scores.

Notation
    b  sequences      h  heads      t, s  queries, keys      d  features of a head      i  pair of features

    theta[i] = base^(-2i/d)         the frequency of pair i: radians from one position to the next; i = 0 .. d/2 - 1
    distance = position of the query - position of the key: positive where the key lies behind the query, in the past

Attention alone sees no order. With base 10,000 and d = 4 the frequencies are 1 and 0.01: the angles of position 2 are 2
and 0.02.

Rules for all functions: arguments are left alone, tensors may have any strides, and no axis is empty. Positions and
distances are int64. Angles are computed in float64. Where no input gives a dtype (`sinusoidal`, `shift_matrix`, both
functions of frequencies) the result is float64; elsewhere it has the dtype of the input that is not int64: float64,
float32, and in `apply_rope` and `axial_rope` also bfloat16. A result is right at positions up to 1,000,000 in float64,
and up to 1,000 in the other dtypes: angles in bfloat16 would be off by whole radians there. "(differentiable)":
gradients flow to every floating-point argument. Limits on the size of a tensor hold with and without gradients, in the
backward pass too.

Nothing is forbidden in this exercise. Further reading: Vaswani et al. 2017, section 3.5; Su et al. 2021 (RoFormer);
Raffel et al. 2019 (T5); Peng et al. 2023 (YaRN).
"""

import math

import torch
from torch import Tensor, nn


def sinusoidal(positions: Tensor, dim: int, base: float = 10000.0) -> Tensor:
    """The table of sines and cosines that the first Transformer adds to its embeddings.

        PE(p)[2i] = sin(p · theta[i])           PE(p)[2i + 1] = cos(p · theta[i])           theta[i] = base^(-2i/dim)

    positions: int64 of any shape, negative ones too. dim: the width of the table.
    Returns positions.shape + (dim,), float64; sines and cosines alternate (some libraries put all sines first). At
    position 0 it is (0, 1, 0, 1, ...). With dim 4 and base 100 the frequencies are 1 and 0.1, so position 2 is
    (sin 2, cos 2, sin 0.2, cos 0.2) = (0.9093, -0.4161, 0.1987, 0.9801).

    Raises ValueError unless dim is even and positive.

    Source: Vaswani et al. 2017, section 3.5.

    >>> sinusoidal(torch.tensor([0, 2]), 4, base=100.0).round(decimals=4)
    tensor([[ 0.0000,  1.0000,  0.0000,  1.0000],
            [ 0.9093, -0.4161,  0.1987,  0.9801]], dtype=torch.float64)
    """
    raise NotImplementedError  # TODO: your code


def shift_matrix(k: int, dim: int, base: float = 10000.0) -> Tensor:
    """The matrix that moves every sinusoidal encoding by k positions: M @ PE(p) = PE(p + k), whatever p is.

    k: any integer, negative too. dim: even and positive. Returns (dim, dim), float64: PE is that of `sinusoidal`, a
    vector of sines and cosines in turn. That there is such a matrix, and that it does not depend on p, is why the first
    Transformer chose sines: a linear layer can look k tokens back.

    With dim 2 and k = 1 it is [[cos 1, sin 1], [-sin 1, cos 1]] = [[0.5403, 0.8415], [-0.8415, 0.5403]].

    Source: Vaswani et al. 2017, section 3.5.

    >>> (shift_matrix(1, 2) @ sinusoidal(torch.tensor(41), 2) - sinusoidal(torch.tensor(42), 2)).abs().max() < 1e-12
    tensor(True)
    """
    raise NotImplementedError  # TODO: your code


class LearnedPositions(nn.Module):
    """One learned vector for each position, added to the embeddings (BERT, GPT-2).

    Its state dict has one entry, `weight` (length, dim). What it holds at first is up to you; GPT-2 draws it with
    deviation 0.02.
    """

    def __init__(self, length: int, dim: int) -> None:
        """length: how many positions there are, dim: the width of an embedding.

        >>> sum(p.numel() for p in LearnedPositions(1024, 768).parameters())  # GPT-2 small
        786432
        """
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x plus the vector of each token's position. (differentiable, for weight too)

        x: (b, t, dim). positions: (t,), the same for all sequences, or (b, t), in any order; one may come twice.
        Returns (b, t, dim).

        Raises ValueError if a position is below 0 or at least `length`: there is no vector for it. (Indexing with -1
        takes the last one, silently.)

        >>> table = LearnedPositions(3, 2)
        >>> _ = table.load_state_dict({"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
        >>> table(torch.zeros(1, 2, 2), torch.tensor([2, 0])).tolist()
        [[[5.0, 6.0], [1.0, 2.0]]]
        """
        raise NotImplementedError  # TODO: your code


def apply_rope(
    x: Tensor, positions: Tensor, base: float = 10000.0, layout: str = "halves", rotary_dim: int | None = None
) -> Tensor:
    """Rotate each pair of features by an angle that grows with the position: RoPE. (differentiable)

        (u, v) -> (u · cos a - v · sin a, u · sin a + v · cos a)            a = position · base^(-2i/r), for pair i

    x: (b, h, t, d). positions: (t,), the same for all sequences, or (b, t); any integers, in any order.
    rotary_dim: r; the first r features are rotated, the other d - r stay as they are. None means all of them, r = d.
    layout: which two of the first r features are pair i, and stay in their places when they are rotated:

        "halves"    i and i + r/2           Llama in transformers, GPT-NeoX
        "pairs"     2i and 2i + 1           Meta's Llama, GPT-J, the paper

    Returns (b, h, t, d). At position 1 with base 10,000, (1, 0, 0, 0) becomes (cos 1, 0, sin 1, 0) in halves and
    (cos 1, sin 1, 0, 0) in pairs. The length of a vector stays, and the product of a rotated query and a rotated key
    depends on the distance of their positions alone.

    No tensor of more than twice the elements of x: a rotation is no d × d matrix.

    Raises ValueError for another layout, and unless r is even and 2 <= r <= d.

    Source: Su et al. 2021, equation 34. Compared with a table that is added, nothing is added to x.

    >>> x = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    >>> apply_rope(x, torch.tensor([1])).flatten(), apply_rope(x, torch.tensor([1]), layout="pairs").flatten()
    (tensor([0.5403, 0.0000, 0.8415, 0.0000]), tensor([0.5403, 0.8415, 0.0000, 0.0000]))
    """
    raise NotImplementedError  # TODO: your code


def rope_scores(q: Tensor, k: Tensor, distances: Tensor, base: float = 10000.0) -> Tensor:
    """The score of a rotated query and a rotated key at every distance, from q and k as they are. (differentiable)

        score = sum over pairs i of (q1 k1 + q2 k2) · cos a + (q1 k2 - q2 k1) · sin a          a = distance · theta[i]

    (q1, q2), (k1, k2): pair i of q and of k, in the layout "pairs": features 2i and 2i + 1.
    q, k: (..., d), one query and one key for each entry of the leading axes: none or more. d is even.
    distances: (n,), m - n for a query at m and a key at n; negative ones too.
    Returns (..., n), unscaled: what q rotated to any position m, times k rotated to m - distance, is. With q = (1, 0),
    k = (0, 1) and distance 1 it is sin 1 = 0.8415; at distance -1 it is -0.8415.

    What does not depend on the distance is computed once: no tensor of more than twice the elements of the largest of
    q, the result and n · d.

    Source: Su et al. 2021, section 3.2.1 and equation 35.

    >>> rope_scores(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0, 1, -1]))
    tensor([ 0.0000,  0.8415, -0.8415])
    """
    raise NotImplementedError  # TODO: your code


def convert_layout(weight: Tensor, heads: int, to: str, rotary_dim: int | None = None) -> Tensor:
    """Reorder the rows of a query or key projection, so that RoPE in the other layout gives the same scores.

    weight: (h·d, ...): head j owns rows j·d .. (j + 1)·d - 1; a weight (h·d, c) or a bias (h·d,), of any dtype.
    to: the layout of the result. "halves": a weight for "pairs" becomes one for "halves"; "pairs": the other way.
    rotary_dim: r; the first r rows of each head are reordered, the rest stays. None means all d.
    Returns a tensor of weight's shape, the same numbers in other rows. With one head of 6 rows, [0, 1, 2, 3, 4, 5]
    becomes [0, 2, 4, 1, 3, 5] in halves, and [0, 3, 1, 4, 2, 5] in pairs. Converted there and back it is as before.

    Both q and k have to be converted; values are not rotated, so neither they nor the output projection change.

    Raises ValueError if heads does not divide the rows, for another layout, and unless r is even and 2 <= r <= d.

    >>> convert_layout(torch.arange(6), 1, "halves"), convert_layout(torch.arange(6), 1, "pairs")
    (tensor([0, 2, 4, 1, 3, 5]), tensor([0, 3, 1, 4, 2, 5]))
    """
    raise NotImplementedError  # TODO: your code


def axial_rope(x: Tensor, rows: Tensor, columns: Tensor, base: float = 100.0) -> Tensor:
    """RoPE on two axes, for the patches of an image. (differentiable)

    x: (b, h, t, d) with d a multiple of 4. rows, columns: (t,) or (b, t), where each patch stands; they need not make a
    full grid. The first d/2 features turn with the row, the other d/2 with the column. Each half is a RoPE of its own,
    of width d/2 and in pairs: pair i of either half turns by position · base^(-4i/d), i = 0 .. d/4 - 1, and pair i of
    the second half is features d/2 + 2i and d/2 + 2i + 1.
    Returns (b, h, t, d). The patch in row 1, column 2 turns (1, 0, 1, 0) into (cos 1, sin 1, cos 2, sin 2).

    Scores depend on both distances, and on nothing else of the positions. (Numbering the patches of a grid does not
    give that: the end of a row and the beginning of the next would be neighbours.) No tensor of more than twice the
    elements of x.

    Raises ValueError unless d is a multiple of 4.

    Source: Heo et al. 2024, "Rotary position embedding for vision transformer" (base 100). Qwen2-VL uses base 10,000.

    >>> x = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 1, 4)
    >>> axial_rope(x, torch.tensor([1]), torch.tensor([2])).flatten()
    tensor([ 0.5403,  0.8415, -0.4161,  0.9093])
    """
    raise NotImplementedError  # TODO: your code


def t5_bucket(distances: Tensor, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> Tensor:
    """T5's bucket for each distance: near ones have one each, far ones share, wider and wider.

    distances: int64 of any shape, query - key (T5's own code takes key - query). buckets: a multiple of 4.
    With n = buckets / 2 if bidirectional, else n = buckets, and e = n / 2:

        distance 0 .. e - 1                     bucket = distance
        distance e .. max_distance              bucket = e + floor( ln(distance / e) / ln(max_distance / e) · (n - e) )
        whatever would be n or more             bucket = n - 1
        a key in the future (distance < 0)      bidirectional: n + the bucket of -distance; otherwise: bucket 0

    max_distance > e. Returns int64 of the shape of distances. By default distances 7, 11 and 12 have buckets 7, 8 and
    9, and distance -7 has bucket 23. Bucket 16 is never used, since distance 0 is no future. Where the formula gives a
    whole number at a distance above e, as for 16 by default, rounding decides, and the bucket below is as good.

    Source: Raffel et al. 2019, section 2.1; the released code.

    >>> t5_bucket(torch.tensor([0, 7, 11, 12, 1000, -7, -1000]))
    tensor([ 0,  7,  8,  9, 15, 23, 31])
    >>> t5_bucket(torch.tensor([15, 17, 20, 1000, -7]), bidirectional=False)
    tensor([15, 16, 17, 31,  0])
    """
    raise NotImplementedError  # TODO: your code


def t5_bias(table: Tensor, t: int, s: int, max_distance: int = 128, bidirectional: bool = True) -> Tensor:
    """The bias that T5 adds to its attention scores: for each head one learned number a bucket. (differentiable)

    table: (buckets, h). The t queries are the last t of the s positions: query i stands at s - t + i, key j at j.
    Returns (h, t, s): bias[head, i, j] = table[bucket of (s - t + i) - j, head], in the dtype of table. 1 <= t <= s.

    One decoded token (t = 1) gets the last row of what s queries get. The bias takes the place of positions in the
    embeddings, and T5's scores are not divided by the root of d. No tensor of more than twice the elements of the
    larger of table and result.

    >>> t5_bias(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 2, 3, 4)
    tensor([[[1., 0., 3.],
             [1., 1., 0.]]])
    """
    raise NotImplementedError  # TODO: your code


def scaled_frequencies(
    kind: str, dim: int, base: float, factor: float, context: int = 8192, low: float = 1.0, high: float = 4.0
) -> Tensor:
    """The frequencies of RoPE, slowed down so that a model trained on `context` positions reads `factor` times as many.

    dim: even and >= 4. factor: s >= 1. context, low and high: used by "llama3" alone. With theta[i] = base^(-2i/dim):

        "interpolation"     theta[i] / s                            as if positions were s times closer together
        "ntk"               base'^(-2i/dim), base' = base · s^(dim/(dim - 2)): the first stays, the last is theta / s
        "llama3"            r = context · theta[i] / (2 pi): how often pair i turns within the context of the training
                            r > high: theta[i];   r < low: theta[i] / s;   between: (1 - m) theta[i] / s + m theta[i]
                            with m = (r - low) / (high - low)

    Returns (dim/2,), float64. With dim 4, base 100, s = 4: theta = (1, 0.1), interpolation (0.25, 0.025), and NTK's
    base' is 100 · 4² = 1600, which gives (1, 0.025). With dim 128, base 10,000 and s = 4 NTK's base' is 40,890. Llama
    3.1 (dim 128, base 500,000, s = 8, context 8192) keeps 29 frequencies, blends 6 and divides 29 by 8.

    Raises ValueError for another kind, and for s < 1.

    Source: Chen et al. 2023 (position interpolation); "NTK-aware scaled RoPE", bloc97 2023; Llama 3.1's released code.

    >>> scaled_frequencies("ntk", 4, 100.0, 4.0)
    tensor([1.0000, 0.0250], dtype=torch.float64)
    >>> theta = 500000 ** (-torch.arange(0, 128, 2).double() / 128)
    >>> ratio = theta / scaled_frequencies("llama3", 128, 500000.0, 8.0)
    >>> (ratio < 1.0001).sum(), (ratio > 7.9999).sum()
    (tensor(29), tensor(29))
    """
    raise NotImplementedError  # TODO: your code


def yarn_frequencies(
    dim: int, base: float, factor: float, context: int, fast: float = 32.0, slow: float = 1.0
) -> tuple[Tensor, float]:
    """YaRN: fast pairs are kept, slow ones slowed down, a ramp between, and scores made sharper.

        pair(turns) = dim · ln(context / (2 pi · turns)) / (2 ln base)        which pair turns so often in the context
        first = floor(pair(fast)), at least 0           last = ceil(pair(slow)), at most dim - 1
        ramp[i] = (i - first) / (last - first), not below 0 and not above 1
        frequency[i] = (1 - ramp[i]) · theta[i] + ramp[i] · theta[i] / s            theta[i] = base^(-2i/dim)

    factor: s >= 1. context: positions in training. fast > slow: turns. It is given that context > 2 pi · slow and
    first < last.
    Returns the frequencies (dim/2,), float64, and the attention factor 0.1 · ln s + 1, a float. Turned queries *and*
    turned keys are multiplied by it, so that logits are multiplied by its square. (Texts that divide them have it
    upside down: the more keys there are, the sharper the softmax has to be.)

    The ramp is linear in the number of the pair, as in the released code and in transformers; the paper's equation
    has it linear in the turns. With dim 128, base 10,000, s = 16 and context 4096: first = 20, last = 46, so that 21
    frequencies are kept, 25 blended, 18 divided by 16; the attention factor is 1.2773.

    Raises ValueError for s < 1.

    Source: Peng et al. 2023, sections 3.2 to 3.4, and its code.

    >>> frequencies, attention_factor = yarn_frequencies(128, 10000.0, 16.0, 4096)
    >>> ratio = 10000 ** (-torch.arange(0, 128, 2).double() / 128) / frequencies
    >>> (ratio < 1.0001).sum(), (ratio > 15.9999).sum(), round(attention_factor, 4)
    (tensor(21), tensor(18), 1.2773)
    """
    raise NotImplementedError  # TODO: your code
