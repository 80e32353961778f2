"""Hidden checks of dl_003: oracles are complex numbers, Python's own sine, and buckets counted one by one."""

import itertools
import math

import pytest
import torch

from grader.checks import agree, at_most, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type

from . import drivers

LAYOUTS = pytest.mark.parametrize("layout", ["halves", "pairs"])


def theta(dim, base=10000.0, exponent=lambda i, dim: 2 * i / dim):
    """The frequencies, one by one."""
    return torch.tensor([base ** -exponent(i, dim) for i in range(dim // 2)], dtype=torch.float64)


def wrong_thetas(dim, base):
    """Frequencies that people take for the right ones, by the name of the mistake."""
    return {
        "the exponent i/d in place of 2i/d": theta(dim, base, lambda i, d: i / d),
        "the exponent 4i/d in place of 2i/d": theta(dim, base, lambda i, d: 4 * i / d),
        "growing frequencies, base^(+2i/d),": theta(dim, base, lambda i, d: -2 * i / d),
        "exponents that begin at 2/d": theta(dim, base, lambda i, d: 2 * (i + 1) / d),
        "another base": theta(dim, 2 * base),
    }


def table_of(positions, freq):
    """Sines and cosines in turn."""
    angles = positions.double()[..., None] * freq
    out = torch.empty(*positions.shape, 2 * len(freq), dtype=torch.float64)
    out[..., 0::2], out[..., 1::2] = angles.sin(), angles.cos()
    return out


def gradients_of(function, leaves, upstream):
    """The gradients of sum(function(*leaves) · upstream)."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    return list(torch.autograd.grad((function(*leaves) * upstream).sum(), leaves))


def turned_axes(draw, *shape, dtype=torch.float64):
    """A tensor of this shape whose axes lie the other way round in memory."""
    return draw.normal(*shape[::-1], dtype=dtype).permute(tuple(range(len(shape)))[::-1])


# --- sinusoidal -------------------------------------------------------------------------------------------------------


def by_feature(positions, dim, base):
    """Sines and cosines in turn, where feature j has the frequency base^(-j/d)."""
    angles = positions.double()[..., None] * theta(2 * dim, base)
    return torch.where(torch.arange(dim) % 2 == 0, angles.sin(), angles.cos())


def table_mistakes(positions, dim, base):
    freq = theta(dim, base)
    right = table_of(positions, freq)
    known = {name: table_of(positions, wrong) for name, wrong in wrong_thetas(dim, base).items()}
    return known | {
        "all sines first, then all cosines": torch.cat([right[..., 0::2], right[..., 1::2]], -1),
        "cosines before sines": right.unflatten(-1, (-1, 2)).flip(-1).flatten(-2),
        "positions that count from 1": table_of(positions + 1, freq),
        "a frequency for each feature, not for each pair,": by_feature(positions, dim, base),
    }


@part("sinusoidal")
def test_table_by_hand(attempt):
    """With dim 4 and base 100 position 2 is (sin 2, cos 2, sin 0.2, cos 0.2), and position 0 is (0, 1, 0, 1)."""
    positions = torch.tensor([2, 0])
    far = [math.sin(2), math.cos(2), math.sin(0.2), math.cos(0.2)]
    want = torch.tensor([far, [0.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    known = table_mistakes(positions, 4, 100.0)
    agree(attempt.sinusoidal(positions, 4, 100.0), want, axes="p d", of="sinusoidal([2, 0], 4, base 100)", known=known)


@part("sinusoidal")
@pytest.mark.parametrize("dim", [2, 6, 16, 22, 512])
def test_table_of_any_shape(attempt, draw, dim):
    """Positions of any shape, in any order, negative ones too, get an axis of sines and cosines in turn."""
    base = draw.random.uniform(20, 2000)
    given = [
        torch.tensor(5),
        draw.integers(-9, 40, 7),
        draw.integers(0, 9000, 4, 150),
        draw.integers(0, 300, 2, 3),
        draw.integers(0, 99, 3, 2).T,
    ]
    got = attempt.each("sinusoidal", [(positions, dim, base) for positions in given])
    for positions, mine in zip(given, got, strict=True):
        of = f"sinusoidal of positions {tuple(positions.shape)}, dim {dim}, base {base:.1f}"
        known = table_mistakes(positions, dim, base) if dim > 4 else None
        agree(mine, table_of(positions, theta(dim, base)), of=of, known=known)


@part("sinusoidal")
def test_table_by_default(attempt):
    """Without base it is 10,000."""
    positions = torch.arange(13)
    of = "sinusoidal of positions 0 to 12, dim 8, base not given"
    agree(attempt.sinusoidal(positions, 8), table_of(positions, theta(8)), axes="p d", of=of)


@part("sinusoidal")
def test_table_remembers_nothing(attempt):
    """Each call is about the base that it gets, and its table stays while others come."""
    positions, bases = torch.arange(5), (10000.0, 50.0, 700.0)
    found = attempt.each("sinusoidal", [(positions, 6, base) for base in bases])
    for base, got in zip(bases, found, strict=True):
        of = f"sinusoidal of positions 0 to 4, dim 6, base {base:g}, one of three calls with other bases"
        agree(got, table_of(positions, theta(6, base)), axes="p d", of=of)


@part("sinusoidal")
def test_table_far_away(attempt, draw):
    """At positions up to 1,000,000 the angles are right: they are float64, frequencies too."""
    positions = torch.cat([draw.integers(900_000, 1_000_001, 7), torch.tensor([1_000_000, -1_000_000])])
    single = theta(10).float()
    rough = (positions.float()[:, None] * single).double()
    known = {
        "angles in float32": torch.stack([rough.sin(), rough.cos()], -1).flatten(1),
        "frequencies in float32": table_of(positions, single.double()),
    }
    of = "sinusoidal of positions around 1,000,000, dim 10"
    agree(attempt.sinusoidal(positions, 10), table_of(positions, theta(10)), axes="p d", of=of, tol=1e-8, known=known)


@part("sinusoidal")
@pytest.mark.parametrize("dim", [7, 1, 0, -2])
def test_table_refuses_what_is_no_pairs(attempt, dim):
    """A width that is odd or not positive is a ValueError."""
    with refusal(ValueError, of=f"sinusoidal with dim {dim}"):
        attempt.sinusoidal(torch.arange(3), dim)


# --- shift_matrix -----------------------------------------------------------------------------------------------------


def shift(k, freq):
    """One 2 × 2 block a pair."""
    dim = 2 * len(freq)
    out = torch.zeros(dim, dim, dtype=torch.float64)
    for i, angle in enumerate((k * freq).tolist()):
        out[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
    return out


def shift_mistakes(k, dim, base):
    right = shift(k, theta(dim, base))
    known = {
        "the transposed matrix, which moves by -k": right.T,
        "the identity": torch.eye(dim, dtype=torch.float64),
        "the shift by 1, whatever k is": shift(1, theta(dim, base)),
        "both sines with a plus": right.abs() if dim == 2 else None,
    }
    if dim > 2:
        known["all pairs turned by one frequency"] = shift(k, torch.ones(dim // 2))
        known |= {name: shift(k, wrong) for name, wrong in wrong_thetas(dim, base).items()}
        block = right.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).permute(1, 0, 3, 2).reshape(dim, dim)
        known["blocks for all sines first, then all cosines"] = block
    return {name: value for name, value in known.items() if value is not None}


@part("shift_matrix")
def test_shift_by_hand(attempt):
    """In two dimensions it is [[cos k, sin k], [-sin k, cos k]], and at k = 0 the identity."""
    got = attempt.each("shift_matrix", [(2, 2), (0, 2)])
    s, c = math.sin(2), math.cos(2)
    known = {
        "the transposed matrix, which moves by -k": torch.tensor([[c, -s], [s, c]]).double(),
        "the identity": torch.eye(2).double(),
        "both sines with a plus": torch.tensor([[c, s], [s, c]]).double(),
        "the shift by 1, whatever k is": shift(1, theta(2)),
    }
    agree(
        got[0], torch.tensor([[c, s], [-s, c]], dtype=torch.float64), axes="i j", of="shift_matrix(2, 2)", known=known
    )
    agree(got[1], torch.eye(2).double(), axes="i j", of="shift_matrix(0, 2)")


@part("shift_matrix")
@pytest.mark.parametrize("dim", [4, 6, 14, 128])
def test_shift_of_any_width(attempt, draw, dim):
    """A block for each pair, turned by k times its frequency, and nothing elsewhere; k may be negative."""
    base = draw.random.uniform(20, 2000)
    ks = [3, 1, -5, draw.random.randint(20, 999)]
    for k, got in zip(ks, attempt.each("shift_matrix", [(k, dim, base) for k in ks]), strict=True):
        of = f"shift_matrix({k}, {dim}, base {base:.1f})"
        agree(got, shift(k, theta(dim, base)), axes="i j", of=of, known=shift_mistakes(k, dim, base))


@part("shift_matrix")
def test_shift_moves_every_position(attempt, draw):
    """M @ PE(p) = PE(p + k) for every p, by 1,000,000 positions too; without base it is 10,000."""
    positions, freq = draw.integers(-50, 500, 11), theta(10)
    for k in (1, -7, 400, 1_000_000, -999_983):
        got = attempt.shift_matrix(k, 10)
        of = f"shift_matrix({k}, 10), base not given"
        agree(got, shift(k, freq), axes="i j", of=of, tol=1e-8)
        moved = table_of(positions, freq) @ got.T
        agree(moved, table_of(positions + k, freq), axes="p d", of=f"PE moved by {of}", tol=1e-8)


@part("shift_matrix")
def test_shift_moves_the_table_of_this_file(attempt, draw):
    """What `sinusoidal` gives is moved by the matrix, positions in any order."""
    positions, ks, base = draw.integers(0, 300, 7), [2, -9, 55], 321.0
    matrices, moved = attempt.run(drivers.moved, ks, positions, 8, base)
    for k, matrix, mine in zip(ks, matrices, moved, strict=True):
        agree(matrix, shift(k, theta(8, base)), axes="i j", of=f"shift_matrix({k}, 8, base {base})")
        agree(mine, table_of(positions + k, theta(8, base)), axes="p d", of=f"sinusoidal moved by {k}")


# --- LearnedPositions -------------------------------------------------------------------------------------------------


@part("LearnedPositions")
def test_learned_parameters(attempt):
    """The state dict has `weight` (length, dim), it is trained, and there is nothing else."""
    for length, dim in ((7, 4), (3, 10)):
        shapes, trained = attempt.run(drivers.learned_shapes, length, dim)
        agree(shapes, {"weight": [length, dim]}, of=f"the state dict of LearnedPositions({length}, {dim})")
        agree(trained, ["weight"], of=f"the parameters of LearnedPositions({length}, {dim})")


def learned_mistakes(x, weight, positions):
    t = x.shape[1]
    known = {
        "x without positions": x,
        "the vectors without x": weight[positions].expand_as(x),
        "positions 0, 1, 2, ... whatever is given": x + weight[:t],
        "vectors that multiply": x * weight[positions],
        "the position before": x + weight[positions - 1],
    }
    if positions.dim() == 2:
        known["the first sequence's positions for all"] = x + weight[positions[0]]
    return known


@part("LearnedPositions")
@each_dtype
def test_learned_vectors_are_added(attempt, draw, dtype):
    """Each token gets the vector of its position: shared or one row a sequence, in any order, twice too."""
    x = turned_axes(draw, 2, 5, 3, dtype=of_type(dtype))
    weight = draw.normal(11, 3, dtype=of_type(dtype))
    given = [
        torch.tensor([3, 9, 1, 10, 4]),
        torch.tensor([[4, 5, 6, 7, 8], [0, 1, 2, 3, 10]]),
        torch.tensor([[2, 2, 2, 0, 9], [10, 9, 8, 7, 6]]),
        torch.arange(6, 11),
        torch.arange(10).view(5, 2).T,
    ]
    large, far, places = (
        draw.normal(4, 300, 96, dtype=x.dtype),
        draw.normal(600, 96, dtype=x.dtype),
        draw.integers(0, 600, 4, 300),
    )
    (got,) = attempt.run(drivers.learned_one_by_one, far, [(large, places)])
    agree(got, large + far[places], axes="b t d", of=f"LearnedPositions(600, 96) of x (4, 300, 96) in {dtype}")
    got = attempt.run(drivers.learned_one_by_one, weight, [(x, positions) for positions in given])
    for positions, mine in zip(given, got, strict=True):
        of = f"LearnedPositions(11, 3) of x (2, 5, 3) in {dtype} at positions {positions.tolist()}"
        agree(mine, x + weight[positions], axes="b t d", of=of, known=learned_mistakes(x, weight, positions))


@part("LearnedPositions")
def test_learned_gradients(attempt, draw):
    """Gradients flow to x, and to each vector as often as its position comes, in evaluation too."""
    given = torch.tensor([[1, 1, 5, 0], [6, 5, 1, 2]]), torch.tensor([4, 1, 4, 0])
    for positions, dtype, training in itertools.product(given, (torch.float64, torch.float32), (True, False)):
        x, weight, g = (draw.normal(*shape, dtype=dtype) for shape in ((2, 4, 3), (7, 3), (2, 4, 3)))
        out, got = attempt.gradients(drivers.learned, x, weight, positions, training, upstream=g)
        agree(out, x + weight[positions], axes="b t d", of="LearnedPositions(7, 3) where gradients are needed")
        want = gradients_of(lambda a, w, positions=positions: a + w[positions], [x, weight], g)
        how = f"positions {positions.tolist()}, {dtype}, {'training' if training else 'evaluation'}"
        for name, mine, yours in zip(("x", "weight"), got, want, strict=False):
            agree(mine, yours, of=f"the gradient of {name}, {how}")


@part("LearnedPositions")
@pytest.mark.parametrize("wrong", [[0, 5], [-1, 0], [4, 99], [[0, 1], [1, -5]], [[2, 5], [0, 0]]], ids=str)
def test_learned_positions_end(attempt, draw, wrong):
    """A position below 0, or from `length` on, is a ValueError: no vector is taken from the other end."""
    x, weight = draw.normal(2, 2, 3), draw.normal(5, 3)
    last = torch.tensor([0, 4])
    agree(
        attempt.run(drivers.learned, x, weight, last), x + weight[last], of="LearnedPositions(5, 3) at positions [0, 4]"
    )
    for training in (True, False):
        with refusal(ValueError, of=f"LearnedPositions(5, 3) at positions {wrong}, training={training}"):
            attempt.run(drivers.learned, x, weight, torch.tensor(wrong), training)


# --- apply_rope -------------------------------------------------------------------------------------------------------


def rotate(x, positions, freq, layout="halves", sign=1):
    """The first 2 · len(freq) features as complex numbers, each times e^(i · position · frequency); in float64."""
    x, r = x.double(), 2 * len(freq)
    pairs = x[..., :r].unflatten(-1, (2, -1)).mT if layout == "halves" else x[..., :r].unflatten(-1, (-1, 2))
    angle = sign * positions.double()[..., None] * freq
    angle = angle.unsqueeze(-3) if positions.dim() == 2 else angle
    z = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angle), angle)
    back = torch.view_as_real(z)
    return torch.cat([(back.mT if layout == "halves" else back).flatten(-2), x[..., r:]], -1)


def rope_mistakes(x, positions, base, layout, r):
    """Values of known mistakes, by name."""
    d, freq = x.shape[-1], theta(r, base)
    other = "pairs" if layout == "halves" else "halves"
    there, back = (rotate(x, positions, freq, layout, sign) for sign in (1, -1))
    known = {
        "x as it came": x.double(),
        "the cosine term alone": (there + back) / 2,
        "the sine term alone": torch.cat([(there - back)[..., :r] / 2, x[..., r:].double()], -1),
        "a turn the other way": back,
        f"the layout '{other}'": rotate(x, positions, freq, other),
        "positions 0, 1, 2, ... whatever is given": rotate(x, torch.arange(x.shape[-2]), freq, layout),
        "positions that count from 1": rotate(x, positions + 1, freq, layout),
        "the same angle for all pairs": rotate(x, positions, torch.ones(r // 2), layout),
        "a table that is added, not a rotation,": torch.cat(
            [x[..., :r].double() + table_of(positions, freq).unsqueeze(-3), x[..., r:].double()], -1
        ),
        "a reflection: cos, sin; sin, -cos": reflected(x, positions, freq, layout),
    }
    known |= {name: rotate(x, positions, wrong, layout) for name, wrong in wrong_thetas(r, base).items()}
    if r < d:
        known |= {
            "all d features turned": rotate(x, positions, theta(d, base), layout) if d % 2 == 0 else x.double(),
            "the exponent 2i/d, where r features are turned,": rotate(
                x, positions, theta(r, base, lambda i, _: 2 * i / d), layout
            ),
            "the last r features turned, not the first": rotate(x.roll(r - d, -1), positions, freq, layout).roll(
                d - r, -1
            ),
            "zeros in place of the rest": torch.cat([there[..., :r], torch.zeros_like(there[..., r:])], -1),
        }
        if d % 2:
            known.pop("all d features turned")
    if positions.dim() == 2:
        known["the first sequence's positions for all"] = rotate(x, positions[:1].expand_as(positions), freq, layout)
    return {name: value.to(x.dtype) for name, value in known.items()}


def reflected(x, positions, freq, layout):
    """(u cos + v sin, u sin - v cos): keeps lengths, and is no rotation."""
    r = 2 * len(freq)
    flipped = x.double().clone()
    if layout == "halves":
        flipped[..., r // 2 : r] *= -1
    else:
        flipped[..., 1:r:2] *= -1
    return rotate(flipped, positions, freq, layout)


@part("apply_rope")
@LAYOUTS
def test_rope_by_hand(attempt, layout):
    """At position 1 (1, 0, 0, 0) becomes (cos 1, 0, sin 1, 0) in halves, (cos 1, sin 1, 0, 0) in pairs."""
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0], [5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 0.0, 1.0]]).double().view(1, 1, 3, 4)
    s, c, slow, near = math.sin(1), math.cos(1), math.sin(0.02), math.cos(0.02)
    rows = {"halves": [[c, 0, s, 0], [5, 6, 7, 8], [0, -slow, 0, near]]}
    rows["pairs"] = [[c, s, 0, 0], [5, 6, 7, 8], [0, 0, -slow, near]]
    want = torch.tensor(rows[layout], dtype=torch.float64).view(1, 1, 3, 4)
    positions = torch.tensor([1, 0, 2])
    known = rope_mistakes(x, positions, 10000.0, layout, 4)
    of = f"apply_rope of [1 0 0 0], [5 6 7 8], [0 0 0 1] at positions 1, 0, 2, layout {layout}"
    agree(attempt.apply_rope(x, positions, layout=layout), want, axes="b h t d", of=of, known=known)


@part("apply_rope")
@each_dtype
@LAYOUTS
def test_rope_of_any_size(attempt, draw, layout, dtype):
    """Each pair turns by position times its frequency: any base and sizes, positions from an offset or in any order."""
    kind, base = of_type(dtype), draw.random.uniform(50, 5000)
    given = [
        (turned_axes(draw, 2, 3, 5, 8, dtype=kind), torch.tensor([3, 9, 0, 7, 2])),
        (draw.normal(1, 2, 7, 6, dtype=kind), torch.arange(40, 47)),
        (draw.normal(3, 1, 4, 2, dtype=kind), torch.tensor([-3, 11, 11, 0])),
        (draw.normal(2, 3, 1, 10, dtype=kind), torch.tensor([613])),
        (draw.normal(2, 3, 4, 6, dtype=kind), draw.integers(0, 90, 4, 2).T),
        (draw.normal(3, 16, 70, 128, dtype=kind), draw.integers(0, 600, 3, 70)),
    ]
    got = attempt.each("apply_rope", [(x, positions, base, layout) for x, positions in given])
    for (x, positions), mine in zip(given, got, strict=True):
        d = x.shape[-1]
        at = positions.tolist() if positions.numel() < 9 else "many positions"
        of = f"apply_rope of x {tuple(x.shape)} in {dtype} at {at}, base {base:.1f}, layout {layout}"
        known = rope_mistakes(x, positions, base, layout, d) if 4 < d < 128 else None
        want = rotate(x, positions, theta(d, base), layout).to(kind)
        agree(mine, want, axes="b h t d", of=of, known=known, tol=1e-3 if dtype == "float32" else None)


@part("apply_rope")
def test_rope_by_default(attempt, draw):
    """Without options the base is 10,000, the layout halves, and all features turn."""
    x, positions = draw.normal(2, 3, 5, 6), torch.arange(2, 7)
    of = "apply_rope of x (2, 3, 5, 6), no options"
    agree(attempt.apply_rope(x, positions), rotate(x, positions, theta(6)), axes="b h t d", of=of)


@part("apply_rope")
@LAYOUTS
def test_rope_with_positions_of_each_sequence(attempt, draw, layout):
    """Positions (b, t) give each sequence its own, as left padding needs; as many sequences as heads or tokens, too."""
    for b, h, t in ((2, 3, 5), (3, 3, 4), (4, 2, 4), (2, 2, 2)):
        x, positions = draw.normal(b, h, t, 6), draw.integers(0, 90, b, t)
        positions[0] = torch.arange(b, b + t)
        want = rotate(x, positions, theta(6, 300.0), layout)
        known = rope_mistakes(x, positions, 300.0, layout, 6)
        of = f"apply_rope of x {(b, h, t, 6)} at positions (b, t), layout {layout}"
        agree(attempt.apply_rope(x, positions, 300.0, layout), want, axes="b h t d", of=of, known=known)


@part("apply_rope")
@each_dtype
@LAYOUTS
def test_rope_of_the_first_features(attempt, draw, layout, dtype):
    """With rotary_dim r the first r features turn, with exponents 2i/r; the others stay, bit for bit."""
    kind = of_type(dtype)
    for d, r in ((10, 6), (7, 4), (8, 2), (6, 6), (160, 64)):
        x, positions = turned_axes(draw, 2, 3, 5, d, dtype=kind), torch.tensor([4, 30, 2, 17, 8])
        got = attempt.apply_rope(x, positions, 100.0, layout, r)
        of = f"apply_rope of x (2, 3, 5, {d}) in {dtype}, rotary_dim {r}, layout {layout}"
        known = rope_mistakes(x, positions, 100.0, layout, r) if (d, r) == (10, 6) else None
        want = rotate(x, positions, theta(r, 100.0), layout).to(kind)
        agree(got, want, axes="b h t d", of=of, known=known)
        agree(got[..., r:], x[..., r:], axes="b h t d", of=f"the features that stay, of {of}", tol=0)


@part("apply_rope")
@LAYOUTS
def test_rope_far_away(attempt, draw, layout):
    """In float64 positions up to 1,000,000 turn by the right angle."""
    x = draw.normal(1, 2, 5, 6)
    positions = torch.tensor([1_000_000, 999_983, 500_009, -1_000_000, 123_457])
    want = rotate(x, positions, theta(6), layout)
    known = {"frequencies in float32": rotate(x, positions, theta(6).float().double(), layout)}
    of = f"apply_rope of float64 x at positions up to 1,000,000, layout {layout}"
    agree(attempt.apply_rope(x, positions, layout=layout), want, axes="b h t d", of=of, tol=1e-7, known=known)


@part("apply_rope")
@LAYOUTS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rope_in_single_and_half_precision(attempt, draw, dtype, layout):
    """Positions up to 1,000 turn by the right angle, also where x is bfloat16: its angles would be radians off."""
    kind = of_type(dtype)
    x, positions = draw.normal(2, 3, 7, 16, dtype=kind), torch.tensor([1000, 999, 777, 641, 389, 257, 3])
    rough = (positions.to(torch.bfloat16)[:, None] * theta(16).to(torch.bfloat16)).double()
    known = {}
    if dtype == "bfloat16":
        pairs = x.double().unflatten(-1, (2, -1)).mT if layout == "halves" else x.double().unflatten(-1, (-1, 2))
        z = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(rough), rough))
        known = {"angles in bfloat16": (z.mT if layout == "halves" else z).flatten(-2).to(kind)}
    want = rotate(x, positions, theta(16), layout).to(kind)
    of = f"apply_rope of {dtype} x at positions up to 1,000, layout {layout}"
    tol = 1e-3 if dtype == "float32" else 3e-2
    agree(attempt.apply_rope(x, positions, layout=layout), want, axes="b h t d", of=of, tol=tol, known=known)


@part("apply_rope")
@pytest.mark.parametrize("r", [6, 4])
@LAYOUTS
def test_scores_see_the_distance_alone(attempt, draw, layout, r):
    """Products of turned queries and keys are those of their distance, wherever both stand, far away too."""
    q, k = draw.normal(1, 2, 3, 6), draw.normal(1, 2, 4, 6)
    m, n = torch.tensor([9, 2, 5]), torch.tensor([1, 8, 0, 3])
    shifts = [0, 13, 100_000, 999_990]
    placed = [(m + shift, n + shift) for shift in shifts]
    got = attempt.run(drivers.scores, q, k, placed, 700.0, layout, r)
    z, w = (
        torch.view_as_complex(
            (
                x[..., :r].unflatten(-1, (2, -1)).mT if layout == "halves" else x[..., :r].unflatten(-1, (-1, 2))
            ).contiguous()
        )
        for x in (q, k)
    )
    angle = (m[:, None] - n).double()[..., None] * theta(r, 700.0)
    turn = torch.polar(torch.ones_like(angle), angle)
    want = torch.einsum("bhip,bhjp,ijp->bhij", z, w.conj(), turn).real + q[..., r:] @ k[..., r:].mT
    known = {"scores that see no position": q @ k.mT}
    for shift, mine in zip(shifts, got, strict=True):
        of = f"scores with both positions moved by {shift:,}, layout {layout}, {r} of 6 features turned"
        agree(mine, want, axes="b h t s", of=of, tol=1e-7, known=known)


@part("apply_rope")
@LAYOUTS
def test_rope_gradients(attempt, draw, layout):
    """Gradients flow to x: they are turned back, and those of the rest stay."""
    for b, r in ((2, 8), (3, 6)):
        x, g, positions = draw.normal(b, 3, 5, 8), draw.normal(b, 3, 5, 8), draw.integers(0, 40, b, 5)
        out, got = attempt.gradients("apply_rope", x, positions, 90.0, layout, r, upstream=g)
        of = f"apply_rope of x {(b, 3, 5, 8)}, rotary_dim {r}, layout {layout}"
        agree(out, rotate(x, positions, theta(r, 90.0), layout), axes="b h t d", of=f"{of} where gradients are needed")
        want = rotate(g, positions, theta(r, 90.0), layout, -1)
        agree(got[0], want, axes="b h t d", of=f"the gradient of x through {of}")


@part("apply_rope")
@LAYOUTS
@pytest.mark.parametrize(("dtype", "tol"), [("float64", None), ("float32", 1e-3), ("bfloat16", 3e-2)])
def test_rope_gradients_in_each_dtype(attempt, draw, layout, dtype, tol):
    """Gradients flow to x in each dtype, at positions that all sequences share, and to the features that stay."""
    kind = of_type(dtype)
    x, g, positions = draw.normal(2, 3, 5, 8, dtype=kind), draw.normal(2, 3, 5, 8, dtype=kind), torch.arange(3, 8)
    of = f"apply_rope of x (2, 3, 5, 8) in {dtype}, rotary_dim 6, layout {layout}"
    out, got = attempt.gradients("apply_rope", x, positions, 90.0, layout, 6, upstream=g)
    agree(out, rotate(x, positions, theta(6, 90.0), layout).to(kind), axes="b h t d", of=of, tol=tol)
    want = rotate(g, positions, theta(6, 90.0), layout, -1).to(kind)
    agree(got[0], want, axes="b h t d", of=f"the gradient of x through {of}", tol=tol)


@part("apply_rope")
def test_rope_remembers_nothing(attempt, draw):
    """Each call is about the base and the positions that it gets."""
    x = draw.normal(2, 3, 4, 6)
    cases = [(torch.tensor([0, 1, 2, 3]), 10000.0), (torch.tensor([3, 2, 1, 0]), 10000.0), (torch.arange(4), 70.0)]
    found = attempt.each("apply_rope", [(x, *case) for case in cases])
    for (positions, base), got in zip(cases, found, strict=True):
        of = f"apply_rope of one x at positions {positions.tolist()}, base {base:g}, one of three calls"
        agree(got, rotate(x, positions, theta(6, base)), axes="b h t d", of=of)


def matrix_elements(positions, d):
    """What the limit is there to refuse, by its elements."""
    return {f"a {d} × {d} matrix for each position": positions * d * d}


@part("apply_rope")
@pytest.mark.parametrize("r", [64, 48])
@LAYOUTS
def test_rope_makes_no_matrix(attempt, draw, layout, r):
    """No tensor has more than twice the elements of x, with and without gradients."""
    b, h, t, d = 2, 2, 31, 64
    x, g = draw.normal(b, h, t, d), draw.normal(b, h, t, d)
    positions = torch.arange(5, 5 + t) if r == d else draw.integers(0, 90, b, t)
    want, back = (rotate(y, positions, theta(r), layout, sign) for y, sign in ((x, 1), (g, -1)))
    what = f"apply_rope of x {(b, h, t, d)}, rotary_dim {r}, layout {layout}"
    known = matrix_elements(positions.numel(), d)
    got, cost = attempt.cost("apply_rope", x, positions, layout=layout, rotary_dim=r)
    agree(got, want, axes="b h t d", of=what)
    at_most(cost.largest, 2 * x.numel(), of=f"elements of the largest tensor of {what}", known=known)
    (got, grads), cost = attempt.cost("apply_rope", x, positions, layout=layout, rotary_dim=r, upstream=g)
    agree(got, want, axes="b h t d", of=f"{what}, where gradients are needed")
    agree(grads[0], back, axes="b h t d", of=f"the gradient of x through {what}")
    at_most(cost.largest, 2 * x.numel(), of=f"elements of the largest tensor of {what}, with gradients", known=known)


@part("apply_rope")
@pytest.mark.parametrize("options", [{"layout": "interleaved"}, {"rotary_dim": 3}, {"rotary_dim": 8}, {"rotary_dim": 0},
                                     {"rotary_dim": -2}, {"layout": ""}, {"layout": "Pairs"}], ids=str)  # fmt: skip
def test_rope_refusals(attempt, draw, options):
    """Another layout, or a rotary_dim that is odd, too large or below 2, is a ValueError; an odd d without one, too."""
    with refusal(ValueError, of=f"apply_rope of x (1, 2, 3, 6) with {options}"):
        attempt.apply_rope(draw.normal(1, 2, 3, 6), torch.arange(3), **options)
    with refusal(ValueError, of="apply_rope of x (1, 2, 3, 5)"):
        attempt.apply_rope(draw.normal(1, 2, 3, 5), torch.arange(3))


@part("apply_rope")
def test_other_positions_of_that_many(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 5, 8), draw.permutation(30)[:5]) for _ in range(2)]
    hold_again(attempt, reference, "apply_rope", *asked, of="apply_rope of x (2, 3, 5, 8)", views=False)


# --- rope_scores ------------------------------------------------------------------------------------------------------


def distance_scores(q, k, distances, freq, cos=1, sin=1):
    """Queries turned by the distance, times keys as they are, pair by pair; cos and sin weigh the two terms."""
    z, w = (torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous()) for x in (q, k))
    product = (z * w.conj())[..., None, :]
    angles = distances.double()[:, None] * freq
    return (cos * product.real * angles.cos() - sin * product.imag * angles.sin()).sum(-1).to(q.dtype)


def score_mistakes(q, k, distances, base):
    d = q.shape[-1]
    freq = theta(d, base)
    halves = [torch.stack(x.chunk(2, -1), -1).flatten(-2) for x in (q, k)]
    known = {
        "the cosine term alone": distance_scores(q, k, distances, freq, sin=0),
        "the sine term alone": distance_scores(q, k, distances, freq, cos=0),
        "the sign of the distance turned": distance_scores(q, k, distances, freq, sin=-1),
        "scores that see no distance": (q * k).sum(-1, keepdim=True).expand(*q.shape[:-1], len(distances)),
        "scores divided by the root of d": distance_scores(q, k, distances, freq) * d**-0.5,
        "distances without their sign": distance_scores(q, k, distances.abs(), freq),
    }
    if d > 2:
        known["the layout 'halves'"] = distance_scores(*halves, distances, freq)
        known |= {name: distance_scores(q, k, distances, wrong) for name, wrong in wrong_thetas(d, base).items()}
    return {name: value.to(q.dtype) for name, value in known.items()}


@part("rope_scores")
def test_scores_by_hand(attempt):
    """q = (1, 0) and k = (0, 1): 0 at distance 0, sin 1 at 1, -sin 1 at -1; with q = (2, 0): 4 cos and 6 sin."""
    q, k = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([[0.0, 1.0], [2.0, 3.0]]).double()
    s, c = math.sin(1), math.cos(1)
    want = torch.tensor([[0, s, -s], [4, 4 * c + 6 * s, 4 * c - 6 * s]], dtype=torch.float64)
    distances = torch.tensor([0, 1, -1])
    of = "rope_scores of q (1, 0), k (0, 1) and of q (2, 0), k (2, 3) at distances 0, 1, -1"
    got = attempt.rope_scores(q, k, distances)
    agree(got, want, axes="b n", of=of, known=score_mistakes(q, k, distances, 10000.0))


@part("rope_scores")
@each_dtype
def test_scores_of_any_size(attempt, draw, dtype):
    """The score at each distance is that of q turned to m and k turned to n, with m - n the distance."""
    kind, base = of_type(dtype), draw.random.uniform(50, 5000)
    given = [
        (turned_axes(draw, 2, 3, 8, dtype=kind), draw.normal(2, 3, 8, dtype=kind), torch.tensor([2, -1, 7, 0, 30])),
        (draw.normal(2, 3, 4, dtype=kind), turned_axes(draw, 2, 3, 4, dtype=kind), draw.integers(-9, 9, 7, 2)[:, 0]),
        (draw.normal(6, dtype=kind), draw.normal(6, dtype=kind), draw.integers(-400, 400, 11)),
        (draw.normal(4, 2, dtype=kind), draw.normal(4, 2, dtype=kind), torch.arange(3)),
        (draw.normal(1, 2, 5, 4, dtype=kind), draw.normal(1, 2, 5, 4, dtype=kind), torch.tensor([-9])),
        (draw.normal(60, 128, dtype=kind), draw.normal(60, 128, dtype=kind), draw.integers(-600, 600, 400)),
    ]
    got = attempt.each("rope_scores", [(*row, base) for row in given])
    for (q, k, distances), mine in zip(given, got, strict=True):
        d = q.shape[-1]
        at = distances.tolist() if len(distances) < 20 else f"{len(distances)} distances"
        of = f"rope_scores of q {tuple(q.shape)} in {dtype} at distances {at}, base {base:.1f}"
        want = distance_scores(q, k, distances, theta(d, base))
        known = score_mistakes(q, k, distances, base) if d == 8 else None
        agree(mine, want, of=of, known=known, tol=1e-3 if dtype == "float32" else None)


@part("rope_scores")
def test_scores_are_those_of_turned_vectors(attempt, draw):
    """Queries and keys that really are turned, to positions up to 1,000,000, have these scores; the base is 10,000."""
    q, k, freq = draw.normal(3, 10), draw.normal(3, 10), theta(10)
    distances = torch.tensor([5, -3, 0, 999_983, -1_000_000, 4096])
    n = torch.tensor([11, 8, 1_000_000, 17, 1_000_000, 0])
    turned = [rotate(x[:, None].expand(3, 6, 10), p, freq, "pairs") for x, p in ((q, n + distances), (k, n))]
    want = (turned[0] * turned[1]).sum(-1)
    of = f"rope_scores of q (3, 10) at distances {distances.tolist()}, base not given"
    agree(attempt.rope_scores(q, k, distances), want, axes="b n", of=of, tol=1e-7)


@part("rope_scores")
def test_scores_in_single_precision(attempt, draw):
    """In float32 scores are right at distances up to 1,000."""
    q, k = draw.normal(5, 16, dtype=torch.float32), draw.normal(5, 16, dtype=torch.float32)
    distances = torch.tensor([1000, -999, 512, 3])
    want = distance_scores(q, k, distances, theta(16))
    agree(attempt.rope_scores(q, k, distances), want, axes="b n", of="rope_scores in float32 up to 1,000", tol=1e-3)


@part("rope_scores")
def test_scores_gradients(attempt, draw):
    """Gradients flow to q and to k, of one query and of many, in float32 too."""
    distances = draw.integers(-20, 20, 5)
    score = lambda q, k: distance_scores(q, k, distances, theta(6, 60.0))
    for lead, dtype in itertools.product(((2, 3), ()), (torch.float64, torch.float32)):
        q, k, g = (draw.normal(*lead, width, dtype=dtype) for width in (6, 6, 5))
        out, got = attempt.gradients("rope_scores", q, k, distances, 60.0, upstream=g)
        of, tol = f"rope_scores of q {(*lead, 6)} in {dtype}", 1e-3 if dtype == torch.float32 else None
        agree(out, score(q, k), of=f"{of} where gradients are needed", tol=tol)
        for name, mine, yours in zip("qk", got, gradients_of(score, [q, k], g), strict=False):
            agree(mine, yours, of=f"the gradient of {name} through {of}", tol=tol)


@part("rope_scores")
def test_scores_turn_nothing_for_each_distance(attempt, draw):
    """What does not depend on the distance is computed once: no tensor of q's entries times distances times d."""
    rows, d, n = 29, 24, 61
    q, k, g, distances = draw.normal(rows, d), draw.normal(rows, d), draw.normal(rows, n), torch.arange(n)
    score = lambda q, k: distance_scores(q, k, distances, theta(d))
    want, grads = score(q, k), gradients_of(score, [q, k], g)
    limit, known = 2 * max(rows * n, n * d, rows * d), {"every query turned by every distance": rows * n * d}
    of = f"elements of the largest tensor of rope_scores of q {(rows, d)} at {n} distances"
    got, cost = attempt.cost("rope_scores", q, k, distances)
    agree(got, want, axes="b n", of=f"rope_scores of q {(rows, d)}")
    at_most(cost.largest, limit, of=of, known=known)
    (got, found), cost = attempt.cost("rope_scores", q, k, distances, upstream=g)
    agree((got, found[0], found[1]), (want, *grads), of=f"rope_scores of q {(rows, d)} and its gradients")
    at_most(cost.largest, limit, of=f"{of}, with gradients", known=known)


@part("rope_scores")
def test_scores_of_others_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 8), draw.normal(2, 3, 8), draw.permutation(30)[:5]) for _ in range(2)]
    hold_again(attempt, reference, "rope_scores", *asked, of="rope_scores of q (2, 3, 8), 5 distances", views=False)


# --- convert_layout ---------------------------------------------------------------------------------------------------


def order_of(d, r, to):
    """Which old row each new row of a head is, one by one."""
    order = list(range(d))
    for i in range(r // 2):
        in_halves, in_pairs = (i, i + r // 2), (2 * i, 2 * i + 1)
        new, old = (in_halves, in_pairs) if to == "halves" else (in_pairs, in_halves)
        order[new[0]], order[new[1]] = old
    return order


def converted(weight, heads, to, r=None):
    d = len(weight) // heads
    order = order_of(d, d if r is None else r, to)
    return weight[[head * d + row for head in range(heads) for row in order]]


def conversion_mistakes(weight, heads, to, r):
    d = len(weight) // heads
    other = "pairs" if to == "halves" else "halves"
    known = {
        "rows as they came": weight,
        "the conversion the other way": converted(weight, heads, other, r),
        "no heads: all rows reordered together": converted(weight, 1, to, heads * r if r == d else r),
        "heads and rows of a head confused": weight.unflatten(0, (d, heads))[order_of(d, r, to)].flatten(0, 1),
        "each half turned around": weight.unflatten(0, (heads, d)).flip(1).flatten(0, 1),
    }
    if weight.dim() == 2 and weight.shape[1] == len(weight):
        known["columns reordered, not rows"] = converted(weight.T, heads, to, r).T
    if r < d:
        known["all d rows of a head reordered"] = converted(weight, heads, to) if d % 2 == 0 else weight
        if d % 2:
            known.pop("all d rows of a head reordered")
    return {name: value for name, value in known.items() if len(value)}


@part("convert_layout")
@pytest.mark.parametrize("to", ["halves", "pairs"])
def test_conversion_by_hand(attempt, to):
    """Rows 0 to 5 of one head become 0 2 4 1 3 5 in halves, 0 3 1 4 2 5 in pairs; a second head follows the first."""
    rows = {"halves": [0, 2, 4, 1, 3, 5], "pairs": [0, 3, 1, 4, 2, 5]}[to]
    known = {"rows as they came": torch.arange(6), "the conversion the other way": torch.tensor(rows).argsort()}
    got = attempt.convert_layout(torch.arange(6), 1, to)
    agree(got, torch.tensor(rows), axes="r", of=f"convert_layout of rows 0 to 5, 1 head, to '{to}'", known=known)
    weight = torch.arange(24).view(12, 2)
    want = weight[[*rows, *(6 + row for row in rows)]]
    known = conversion_mistakes(weight, 2, to, 6)
    of = f"convert_layout of 12 rows, 2 heads, to '{to}'"
    agree(attempt.convert_layout(weight, 2, to), want, axes="r c", of=of, known=known)


@part("convert_layout")
@pytest.mark.parametrize("to", ["halves", "pairs"])
def test_conversion_of_any_size(attempt, draw, to):
    """Rows move within their head, to the row that the other layout has for them; weights, biases, every dtype."""
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.float16, torch.bool, torch.uint8]
    shapes = [
        ((24, 24), 3),
        ((40, 3), 5),
        ((16,), 2),
        ((14, 2, 3), 1),
        ((4, 5), 2),
        ((2048, 3), 16),
        ((12, 2, 1, 3), 2),
    ]
    for i, (shape, heads) in enumerate(shapes):
        weight = 10 * turned_axes(draw, *shape)
        weight = weight > 0 if kinds[i] == torch.bool else weight.abs().to(kinds[i])
        d = shape[0] // heads
        known = conversion_mistakes(weight, heads, to, d) if i == 0 else None
        of = f"convert_layout of a weight {shape} with {heads} heads to '{to}'"
        agree(attempt.convert_layout(weight, heads, to), converted(weight, heads, to), of=of, tol=0, known=known)


@part("convert_layout")
@pytest.mark.parametrize("to", ["halves", "pairs"])
def test_conversion_of_the_first_rows(attempt, draw, to):
    """With rotary_dim r the first r rows of each head are reordered, the rest stays."""
    for heads, d, r in ((3, 10, 6), (2, 7, 6), (2, 8, 8), (1, 9, 2)):
        weight = draw.normal(heads * d, 4)
        got = attempt.convert_layout(weight, heads, to, r)
        of = f"convert_layout of {heads} heads of {d} rows, rotary_dim {r}, to '{to}'"
        known = conversion_mistakes(weight, heads, to, r) if (d, r) == (10, 6) else None
        agree(got, converted(weight, heads, to, r), axes="r c", of=of, tol=0, known=known)


@part("convert_layout")
@pytest.mark.parametrize("to", ["halves", "pairs"])
@pytest.mark.parametrize("r", [8, 6])
def test_conversion_keeps_scores(attempt, draw, to, r):
    """Queries and keys of the converted weights, turned in the new layout, have the scores that they had in the old."""
    heads, d, c = 3, 8, 5
    wq, wk = draw.normal(heads * d, c), draw.normal(heads * d, c)
    x, positions = draw.normal(2, 7, c), torch.tensor([4, 0, 9, 31, 2, 8, 100])
    other = "pairs" if to == "halves" else "halves"

    def scores(wq, wk, layout):
        q, k = ((x @ w.T).unflatten(-1, (heads, d)).transpose(1, 2) for w in (wq, wk))
        return rotate(q, positions, theta(r), layout) @ rotate(k, positions, theta(r), layout).mT

    got = [attempt.convert_layout(w, heads, to, r) for w in (wq, wk)]
    for name, mine, old in zip(("query", "key"), got, (wq, wk), strict=True):
        agree(mine, converted(old, heads, to, r), axes="r c", of=f"convert_layout of a {name} weight, rotary_dim {r}")
    of = f"scores after conversion to '{to}', {r} of 8 features turned"
    agree(scores(*got, to), scores(wq, wk, other), axes="b h t s", of=of, known={
        "weights that were not converted": scores(wq, wk, to),
    })  # fmt: skip


@part("convert_layout")
def test_conversion_there_and_back(attempt, draw):
    """Two conversions, there and back, leave every number where it was."""
    weight = draw.normal(20, 3)
    there = attempt.convert_layout(weight, 2, "halves")
    agree(
        there, converted(weight, 2, "halves"), axes="r c", of="convert_layout of 2 heads of 10 rows to 'halves'", tol=0
    )
    agree(attempt.convert_layout(there, 2, "pairs"), weight, axes="r c", of="its conversion back to 'pairs'", tol=0)


@part("convert_layout")
@pytest.mark.parametrize(
    "options",
    [
        (5, "halves"),
        (0, "halves"),
        (-2, "pairs"),
        (2, "half"),
        (2, "Halves"),
        (4, "pairs"),
        (2, "pairs", 3),
        (2, "pairs", 8),
        (1, "pairs", 0),
    ],
    ids=str,
)
def test_conversion_refusals(attempt, draw, options):
    """Heads that do not divide the rows, another layout, and rows that are no pairs are a ValueError."""
    heads, to, *rest = options
    with refusal(ValueError, of=f"convert_layout of 12 rows with heads {heads}, to '{to}', rotary_dim {rest or None}"):
        attempt.convert_layout(draw.normal(12, 3), *options)


@part("convert_layout")
def test_other_weights_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(12, 2), 2, "halves") for _ in range(2)]
    hold_again(attempt, reference, "convert_layout", *asked, of="convert_layout of (12, 2)", views=False)


# --- axial_rope -------------------------------------------------------------------------------------------------------


def axial(x, rows, columns, freq, layout="pairs", sign=1):
    down, across = x.chunk(2, -1)
    turned = rotate(down, rows, freq, layout, sign), rotate(across, columns, freq, layout, sign)
    return torch.cat(turned, -1)


def axial_mistakes(x, rows, columns, base):
    d = x.shape[-1]
    freq = theta(d // 2, base)
    double = theta(d, base)
    known = {
        "rows and columns exchanged": axial(x, columns, rows, freq),
        "rows in both halves": axial(x, rows, rows, freq),
        "columns in both halves": axial(x, columns, columns, freq),
        "x as it came": x.double(),
        "a turn the other way": axial(x, rows, columns, freq, sign=-1),
        "row and column added to one position": axial(x, rows + columns, rows + columns, freq),
        "first a turn of all d by rows, then one by columns,": rotate(
            rotate(x, rows, double, "pairs"), columns, double, "pairs"
        ),
        "rows for even pairs, columns for odd ones": rotate_apart(x, rows, columns, freq),
    }
    if d > 4:
        known |= {
            "the layout 'halves' in each half": axial(x, rows, columns, freq, "halves"),
            "the exponent 2i/d in place of 4i/d": axial(x, rows, columns, double[: d // 4]),
            "one ramp of frequencies over both halves": torch.cat(
                [
                    rotate(x[..., : d // 2], rows, double[: d // 4], "pairs"),
                    rotate(x[..., d // 2 :], columns, double[d // 4 :], "pairs"),
                ],
                -1,
            ),
        }
    return {name: value.to(x.dtype) for name, value in known.items()}


def rotate_apart(x, rows, columns, freq):
    """Pairs 0, 2, 4, ... turn by rows, pairs 1, 3, 5, ... by columns."""
    pairs = x.unflatten(-1, (-1, 2))
    out = pairs.double().clone()
    out[..., 0::2, :] = rotate(pairs[..., 0::2, :].flatten(-2), rows, freq, "pairs").unflatten(-1, (-1, 2))
    out[..., 1::2, :] = rotate(pairs[..., 1::2, :].flatten(-2), columns, freq, "pairs").unflatten(-1, (-1, 2))
    return out.flatten(-2)


@part("axial_rope")
def test_axial_by_hand(attempt):
    """Row 1, column 2 turns (1, 0, 1, 0) into (cos 1, sin 1, cos 2, sin 2)."""
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 3.0, 0.0]]).double().view(1, 1, 2, 4)
    rows, columns = torch.tensor([1, 3]), torch.tensor([2, 0])
    one = [math.cos(1), math.sin(1), math.cos(2), math.sin(2)]
    want = torch.tensor([one, [-2 * math.sin(3), 2 * math.cos(3), 3.0, 0.0]], dtype=torch.float64).view(1, 1, 2, 4)
    of = "axial_rope of (1, 0, 1, 0) at row 1, column 2, and of (0, 2, 3, 0) at row 3, column 0"
    known = axial_mistakes(x, rows, columns, 100.0)
    known.pop("rows for even pairs, columns for odd ones")  # the same with one pair a half
    agree(attempt.axial_rope(x, rows, columns), want, axes="b h t d", of=of, known=known)


@part("axial_rope")
@each_dtype
def test_axial_of_any_size(attempt, draw, dtype):
    """Each half is a RoPE of width d/2, by row and by column, shared or of each sequence, in any order."""
    kind, base = of_type(dtype), draw.random.uniform(50, 5000)
    given = [
        (turned_axes(draw, 2, 3, 5, 12, dtype=kind), torch.tensor([0, 1, 3, 7, 20]), torch.tensor([5, 2, 0, 9, 31])),
        (draw.normal(2, 2, 4, 8, dtype=kind), draw.integers(0, 30, 2, 4), draw.integers(0, 30, 2, 4)),
        (draw.normal(3, 1, 6, 16, dtype=kind), torch.arange(6) // 3, torch.arange(6) % 3),
        (draw.normal(2, 3, 4, 8, dtype=kind), torch.tensor([-4, 0, 2, 2]), draw.integers(0, 30, 2, 4)),
        (draw.normal(2, 3, 4, 8, dtype=kind), draw.integers(-9, 30, 4, 2).T, torch.tensor([3, -7, 0, 1])),
        (draw.normal(2, 12, 196, 64, dtype=kind), torch.arange(196) // 14, torch.arange(196) % 14),
    ]
    got = attempt.each("axial_rope", [(*row, base) for row in given])
    for (x, rows, columns), mine in zip(given, got, strict=True):
        want = axial(x, rows, columns, theta(x.shape[-1] // 2, base)).to(kind)
        known = axial_mistakes(x, rows, columns, base) if x.shape[-1] == 12 else None
        at = f"rows {rows.tolist()}, columns {columns.tolist()}" if rows.numel() < 9 else "many rows and columns"
        of = f"axial_rope of x {tuple(x.shape)} in {dtype}, {at}"
        agree(mine, want, axes="b h t d", of=of, known=known, tol=1e-3 if dtype == "float32" else None)


@part("axial_rope")
def test_axial_by_default(attempt, draw):
    """Without base it is 100."""
    x, rows, columns = draw.normal(2, 3, 5, 8), torch.arange(5), torch.tensor([4, 1, 0, 2, 9])
    want = axial(x, rows, columns, theta(4, 100.0))
    known = {"base 10,000": axial(x, rows, columns, theta(4, 10000.0))}
    of = "axial_rope of x (2, 3, 5, 8), base not given"
    agree(attempt.axial_rope(x, rows, columns), want, axes="b h t d", of=of, known=known)


@part("axial_rope")
def test_axial_in_bfloat16(attempt, draw):
    """bfloat16 x stays bfloat16, and turns by the right angle at rows and columns up to 1,000."""
    x = draw.normal(2, 3, 4, 16, dtype=torch.bfloat16)
    rows, columns = torch.tensor([1000, 641, 3, 777]), torch.tensor([257, 999, 389, 1])
    want = axial(x, rows, columns, theta(8, 100.0)).bfloat16()
    of = "axial_rope of bfloat16 x at rows and columns up to 1,000"
    agree(attempt.axial_rope(x, rows, columns), want, axes="b h t d", of=of, tol=3e-2)


@part("axial_rope")
def test_axial_gradients_and_size(attempt, draw):
    """Gradients are turned back; no tensor has more than twice the elements of x, with and without them."""
    b, h, t, d = 2, 2, 17, 32
    x, g = draw.normal(b, h, t, d), draw.normal(b, h, t, d)
    rows, columns, freq = draw.integers(0, 9, t), draw.integers(0, 9, t), theta(d // 2, 100.0)
    want, back = axial(x, rows, columns, freq), axial(g, rows, columns, freq, sign=-1)
    of = f"elements of the largest tensor of axial_rope of x {(b, h, t, d)}"
    got, cost = attempt.cost("axial_rope", x, rows, columns)
    agree(got, want, axes="b h t d", of=f"axial_rope of x {(b, h, t, d)}")
    at_most(cost.largest, 2 * x.numel(), of=of, known=matrix_elements(t, d))
    (got, grads), cost = attempt.cost("axial_rope", x, rows, columns, upstream=g)
    agree(got, want, axes="b h t d", of="axial_rope where gradients are needed")
    agree(grads[0], back, axes="b h t d", of="the gradient of x through axial_rope")
    at_most(cost.largest, 2 * x.numel(), of=f"{of}, with gradients", known=matrix_elements(t, d))


@part("axial_rope")
@pytest.mark.parametrize(("dtype", "tol"), [("float64", None), ("float32", 1e-3), ("bfloat16", 3e-2)])
def test_axial_gradients_in_each_dtype(attempt, draw, dtype, tol):
    """Gradients flow to x in each dtype, where each sequence has rows and columns of its own."""
    kind, rows, columns = of_type(dtype), draw.integers(0, 9, 2, 5), draw.integers(0, 9, 2, 5)
    x, g = draw.normal(2, 3, 5, 8, dtype=kind), draw.normal(2, 3, 5, 8, dtype=kind)
    out, got = attempt.gradients("axial_rope", x, rows, columns, upstream=g)
    of = f"axial_rope of x (2, 3, 5, 8) in {dtype} where gradients are needed"
    agree(out, axial(x, rows, columns, theta(4, 100.0)).to(kind), axes="b h t d", of=of, tol=tol)
    want = axial(g, rows, columns, theta(4, 100.0), sign=-1).to(kind)
    agree(got[0], want, axes="b h t d", of=f"the gradient of x (2, 3, 5, 8) in {dtype} through axial_rope", tol=tol)


@part("axial_rope")
@pytest.mark.parametrize("d", [6, 2, 7, 10])
def test_axial_refuses_what_is_no_two_halves(attempt, draw, d):
    """A d that is no multiple of 4 is a ValueError."""
    with refusal(ValueError, of=f"axial_rope of x (1, 2, 3, {d})"):
        attempt.axial_rope(draw.normal(1, 2, 3, d), torch.arange(3), torch.arange(3))


@part("axial_rope")
def test_other_places_of_that_many(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 5, 12), draw.permutation(20)[:5], draw.permutation(20)[:5]) for _ in range(2)]
    hold_again(attempt, reference, "axial_rope", *asked, of="axial_rope of x (2, 3, 5, 12)", views=False)


# --- t5_bucket, t5_bias -----------------------------------------------------------------------------------------------


def bucket(distance, buckets, max_distance, bidirectional):
    """The bucket of one distance, or None where rounding decides between two."""
    n, offset = (buckets // 2, buckets // 2) if bidirectional else (buckets, 0)
    if distance < 0:
        if not bidirectional:
            return 0
        mirrored = bucket(-distance, buckets, max_distance, bidirectional)
        return None if mirrored is None else offset + mirrored
    e = n // 2
    if distance < e:
        return distance
    steps = math.log(distance / e) / math.log(max_distance / e) * (n - e)
    if abs(steps - round(steps)) < 1e-6 and distance != e and steps < n - e - 0.5:
        return None
    return min(e + math.floor(steps + (1e-9 if distance != e else 0)), n - 1)


def told(distances, *options):
    """Distances whose bucket rounding does not decide, and their buckets."""
    found = [(d, bucket(d, *options)) for d in distances]
    kept = [(d, b) for d, b in found if b is not None]
    return torch.tensor([d for d, _ in kept]), torch.tensor([b for _, b in kept])


def bucket_mistakes(distances, buckets, max_distance, bidirectional):
    right = lambda ds, *options: torch.tensor([bucket(int(d), *options) or 0 for d in ds])
    n = buckets // 2 if bidirectional else buckets
    e = n // 2
    options = (buckets, max_distance, bidirectional)
    size = distances.abs() if bidirectional else distances.clamp(min=0)
    steps = (size.clamp(min=e).double() / e).log() / math.log(max_distance / e) * (n - e)
    natural = (size.clamp(min=e).double() / e).log().long()
    future = n * (distances < 0).long() if bidirectional else 0
    by = lambda far: future + torch.where(size < e, size, far.clamp(max=n - 1))
    known = {
        "distances of the other sign, key - query,": right(-distances, *options),
        "one bucket a distance, and no logarithm,": future + size.clamp(max=n - 1),
        "steps that are rounded up": by((e + steps).ceil().long()),
        "steps that are rounded to the nearest": by((e + steps).round().long()),
        "a logarithm that max_distance does not scale": by(e + natural),
        "no limit for far distances": future + torch.where(size < e, size, (e + steps).long()),
    }
    if bidirectional:
        known["the mode of a decoder"] = right(distances, buckets, max_distance, False)
        known["no buckets of its own for the future"] = right(distances, *options) % n
    else:
        known["the mode of an encoder"] = right(distances, buckets, max_distance, True)
    return known


@part("t5_bucket")
@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_by_hand(attempt, bidirectional):
    """By default distance 7 has bucket 7, 11 has 8, 12 has 9, the farthest 15, -7 has 23; for a decoder 31 and 0."""
    distances = torch.tensor([0, 1, 7, 8, 11, 12, 90, 1000, -1, -7, -11, -1000])
    rows = {True: [0, 1, 7, 8, 8, 9, 14, 15, 17, 23, 24, 31], False: [0, 1, 7, 8, 11, 12, 29, 31, 0, 0, 0, 0]}
    got = attempt.t5_bucket(distances, bidirectional=bidirectional)
    known = bucket_mistakes(distances, 32, 128, bidirectional)
    of = f"t5_bucket of {distances.tolist()}, bidirectional={bidirectional}"
    agree(got, torch.tensor(rows[bidirectional]), axes="n", of=of, known=known)


@part("t5_bucket")
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (20, 50), (12, 77), (8, 400), (4, 9), (256, 440)])
def test_bucket_of_every_distance(attempt, buckets, max_distance, bidirectional):
    """Every distance from -450 to 450 has the bucket of the formula, far ones the last."""
    distances, want = told(range(-450, 451), buckets, max_distance, bidirectional)
    got = attempt.t5_bucket(distances, buckets, max_distance, bidirectional)
    of = f"t5_bucket of distances -450 to 450, {buckets} buckets, up to {max_distance}, bidirectional={bidirectional}"
    known = bucket_mistakes(distances, buckets, max_distance, bidirectional) if buckets > 8 else None
    agree(got, want, axes="n", of=of, known=known)


@part("t5_bucket")
@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_of_far_distances(attempt, draw, bidirectional):
    """Distances up to 10¹², of 128 buckets up to 100,000."""
    given = [sign * draw.random.randrange(10**e) for e in range(3, 13) for sign in (1, -1) for _ in range(20)]
    distances, want = told(given, 128, 100_000, bidirectional)
    got = attempt.t5_bucket(distances, 128, 100_000, bidirectional)
    of = f"t5_bucket of distances up to 10¹², 128 buckets, up to 100,000, bidirectional={bidirectional}"
    agree(got, want, axes="n", of=of)


@part("t5_bucket")
def test_buckets_keep_the_shape(attempt, draw):
    """Distances of any shape get as many buckets, in their places."""
    given = [draw.integers(-7, 8, 3, 5), draw.integers(-7, 8, 4, 2, 3).permute(2, 0, 1), torch.tensor(-3)]
    for distances, got in zip(given, attempt.each("t5_bucket", [(one,) for one in given]), strict=True):
        want = distances.clone().apply_(lambda d: d if d >= 0 else 16 - d)
        agree(got, want, of=f"t5_bucket of distances {tuple(distances.shape)} between -7 and 7")


def bias_of(table, t, s, max_distance, bidirectional, start=None):
    start = s - t if start is None else start
    rows = [[bucket(start + i - j, len(table), max_distance, bidirectional) for j in range(s)] for i in range(t)]
    return table[torch.tensor(rows)].permute(2, 0, 1)


def bias_mistakes(table, t, s, max_distance, bidirectional):
    right = bias_of(table, t, s, max_distance, bidirectional)
    known = {
        "the other mode": bias_of(table, t, s, max_distance, not bidirectional),
        "zeros": torch.zeros_like(right),
        "the first head's numbers for all": right[:1].expand_as(right),
        "heads in the last axis": right.permute(1, 2, 0),
    }
    if t < s:
        known["queries that begin at position 0"] = bias_of(table, t, s, max_distance, bidirectional, 0)
    turned = torch.tensor(
        [[bucket(j - (s - t + i), len(table), max_distance, bidirectional) for j in range(s)] for i in range(t)]
    )
    known["distances of the other sign, key - query,"] = table[turned].permute(2, 0, 1)
    return known


@part("t5_bucket")
def test_bias_by_hand(attempt):
    """Two queries, three keys, four buckets: the rows of the table by distance."""
    table = torch.tensor([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0], [3.0, 13.0]])
    want = torch.tensor([[[1.0, 0.0, 3.0], [1.0, 1.0, 0.0]], [[11.0, 10.0, 13.0], [11.0, 11.0, 10.0]]])
    known = bias_mistakes(table, 2, 3, 4, True)
    agree(attempt.t5_bias(table, 2, 3, 4), want, axes="h t s", of="t5_bias of a table (4, 2), t 2, s 3", known=known)


@part("t5_bucket")
@each_dtype
@pytest.mark.parametrize("bidirectional", [True, False])
def test_bias_of_any_size(attempt, draw, bidirectional, dtype):
    """Query i stands at s - t + i, so that a decoded token gets the last row of what all get; head by head."""
    sizes = [
        (7, 11, 20, 50, 3),
        (5, 5, 12, 77, 2),
        (1, 1, 8, 50, 3),
        (1, 29, 20, 50, 4),
        (13, 40, 8, 400, 1),
        (60, 200, 64, 997, 16),
    ]
    for t, s, buckets, max_distance, heads in sizes:
        table = turned_axes(draw, buckets, heads, dtype=of_type(dtype))
        got = attempt.t5_bias(table, t, s, max_distance, bidirectional)
        of = f"t5_bias of a table {(buckets, heads)} in {dtype}, t {t}, s {s}, bidirectional={bidirectional}"
        known = bias_mistakes(table, t, s, max_distance, bidirectional) if (t, s) == (7, 11) else None
        agree(got, bias_of(table, t, s, max_distance, bidirectional), axes="h t s", of=of, known=known)


@part("t5_bucket")
def test_bias_by_default(attempt, draw):
    """Without options max_distance is 128, and both directions count."""
    table = draw.normal(20, 3)
    want = bias_of(table, 5, 131, 128, True)
    agree(attempt.t5_bias(table, 5, 131), want, axes="h t s", of="t5_bias of a table (20, 3), t 5, s 131, no options")


@part("t5_bucket")
def test_bias_gradients_and_size(attempt, draw):
    """Each number of the table gets the sum of the gradients of its places; no pair gets a row of all buckets."""
    t, s, heads = 19, 23, 2
    table, g = draw.normal(20, heads), draw.normal(heads, t, s)
    want = bias_of(table, t, s, 50, True)
    grads = gradients_of(lambda table: bias_of(table, t, s, 50, True), [table], g)
    of, limit = f"elements of the largest tensor of t5_bias of a table (20, {heads}), t {t}, s {s}", 2 * heads * t * s
    known = {"a one-hot row of buckets for each pair": 20 * t * s}
    got, cost = attempt.cost("t5_bias", table, t, s, 50)
    agree(got, want, axes="h t s", of=f"t5_bias of a table (20, {heads})")
    at_most(cost.largest, limit, of=of, known=known)
    (got, found), cost = attempt.cost("t5_bias", table, t, s, 50, upstream=g)
    agree(got, want, axes="h t s", of=f"t5_bias of a table (20, {heads}) where gradients are needed")
    agree(found[0], grads[0], axes="k h", of=f"the gradient of the table (20, {heads})")
    at_most(cost.largest, limit, of=f"{of}, with gradients", known=known)


@part("t5_bucket")
@each_dtype
@pytest.mark.parametrize("bidirectional", [True, False])
def test_bias_gradients_in_each_mode(attempt, draw, bidirectional, dtype):
    """Gradients flow to the table of an encoder and of a decoder, in each dtype."""
    table, g = draw.normal(12, 2, dtype=of_type(dtype)), draw.normal(2, 5, 7, dtype=of_type(dtype))
    out, got = attempt.gradients("t5_bias", table, 5, 7, 50, bidirectional, upstream=g)
    of = f"t5_bias of a table (12, 2) in {dtype}, bidirectional={bidirectional}, where gradients are needed"
    agree(out, bias_of(table, 5, 7, 50, bidirectional), axes="h t s", of=of)
    (want,) = gradients_of(lambda table: bias_of(table, 5, 7, 50, bidirectional), [table], g)
    agree(got[0], want, axes="k h", of=f"the gradient of a table (12, 2) in {dtype}, bidirectional={bidirectional}")


@part("t5_bucket")
def test_other_distances_of_that_many(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.permutation(900)[:12] - 400,) for _ in range(2)]
    hold_again(attempt, reference, "t5_bucket", *asked, of="t5_bucket of 12 distances", views=False)
    asked = [(draw.normal(20, 3), 7, 11, 50) for _ in range(2)]
    hold_again(attempt, reference, "t5_bias", *asked, of="t5_bias of a table (20, 3)", views=False)


# --- scaled_frequencies -----------------------------------------------------------------------------------------------


def llama3(dim, base, s, context=8192, low=1.0, high=4.0):
    out = []
    for one in theta(dim, base).tolist():
        wavelength = 2 * math.pi / one
        if wavelength < context / high:
            out.append(one)
        elif wavelength > context / low:
            out.append(one / s)
        else:
            m = (context / wavelength - low) / (high - low)
            out.append((1 - m) * one / s + m * one)
    return torch.tensor(out, dtype=torch.float64)


def scaled(kind, dim, base, s, *rest):
    if kind == "interpolation":
        return theta(dim, base) / s
    return theta(dim, base * s ** (dim / (dim - 2))) if kind == "ntk" else llama3(dim, base, s, *rest)


def scaling_mistakes(kind, dim, base, s):
    freq = theta(dim, base)
    known = {f"the kind '{other}'": scaled(other, dim, base, s) for other in ("interpolation", "ntk") if other != kind}
    known |= {
        "frequencies that are not scaled": freq,
        "frequencies that grow by s": freq * s,
        "wavelengths in place of frequencies": 2 * math.pi / freq,
    }
    if kind == "ntk":
        known |= {
            "a base times s": theta(dim, base * s),
            "a base with the exponent (dim - 2)/dim": theta(dim, base * s ** ((dim - 2) / dim)),
            "a base divided": theta(dim, base / s ** (dim / (dim - 2))),
        }
    return known


@part("scaled_frequencies")
def test_interpolation_and_ntk_by_hand(attempt):
    """dim 4, base 100, s = 4: (0.25, 0.025) by interpolation, (1, 0.025) by NTK, whose base is 1600."""
    got = attempt.each("scaled_frequencies", [("interpolation", 4, 100.0, 4.0), ("ntk", 4, 100.0, 4.0)])
    want = [torch.tensor(row, dtype=torch.float64) for row in ([0.25, 0.025], [1.0, 0.025])]
    for kind, mine, yours in zip(("interpolation", "ntk"), got, want, strict=True):
        of = f"scaled_frequencies('{kind}', 4, base 100, factor 4)"
        agree(mine, yours, axes="i", of=of, known=scaling_mistakes(kind, 4, 100.0, 4.0))


@part("scaled_frequencies")
@pytest.mark.parametrize("kind", ["interpolation", "ntk"])
def test_scaling_of_any_width(attempt, draw, kind):
    """Interpolation divides all frequencies by s; NTK keeps the first and divides the last by s."""
    sizes = [(10, 700.0, 3.0), (128, 10000.0, 4.0), (6, 50.0, draw.random.uniform(1.5, 20)), (8, 1000.0, 1.0),
             (10, 700.0, 300.0)]  # fmt: skip
    for (dim, base, s), got in zip(
        sizes, attempt.each("scaled_frequencies", [(kind, *row) for row in sizes]), strict=True
    ):
        of = f"scaled_frequencies('{kind}', {dim}, base {base:g}, factor {s:.2f})"
        known = scaling_mistakes(kind, dim, base, s) if dim == 10 else None
        agree(got, scaled(kind, dim, base, s), axes="i", of=of, known=known)
    if kind == "ntk":
        base = attempt.scaled_frequencies("ntk", 128, 10000.0, 4.0)[1].item() ** -64
        agree(round(base / 10) * 10, 40890, of="the base of NTK with dim 128, base 10,000, factor 4, to tens")


@part("scaled_frequencies")
def test_llama3_keeps_29_and_divides_29(attempt):
    """Llama 3.1 (dim 128, base 500,000, s = 8, context 8192) keeps 29 frequencies, blends 6 and divides 29 by 8."""
    got = attempt.scaled_frequencies("llama3", 128, 500000.0, 8.0)
    freq = theta(128, 500000.0)
    turns = 8192 * freq / (2 * math.pi)
    hard = torch.where(turns > 4, freq, freq / 8)
    other = ((turns - 1) / 3).clamp(0, 1)
    known = {
        "no blend: a step at high": hard,
        "no blend: a step at low": torch.where(turns < 1, freq / 8, freq),
        "fast pairs divided, slow ones kept": torch.where(turns > 4, freq / 8, freq),
        "the blend turned around": torch.where(
            (turns > 4) | (turns < 1), llama3(128, 500000.0, 8.0), other * freq / 8 + (1 - other) * freq
        ),
        "turns without the 2 pi": llama3(128, 500000.0, 8.0, 8192 * 2 * math.pi),
        "frequencies that are not scaled": freq,
        "interpolation of all": freq / 8,
        "a blend that is linear in the wavelength": blended_wavelengths(freq, 8.0, 8192, 1.0, 4.0),
        "a blend of wavelengths, not of frequencies": 1 / (other / freq + (1 - other) * 8 / freq),
    }
    agree(
        got,
        llama3(128, 500000.0, 8.0),
        axes="i",
        of="scaled_frequencies('llama3', 128, base 500,000, factor 8)",
        known=known,
    )
    ratio = (freq / got).tolist()
    counts = [sum(r < 1 + 1e-9 for r in ratio), sum(1 + 1e-9 <= r <= 8 - 1e-9 for r in ratio)]
    agree([*counts, sum(r > 8 - 1e-9 for r in ratio)], [29, 6, 29], of="frequencies kept, blended and divided")


def blended_wavelengths(freq, s, context, low, high):
    wavelength = 2 * math.pi / freq
    m = ((context / low - wavelength) / (context / low - context / high)).clamp(0, 1)
    return m * freq + (1 - m) * freq / s


@part("scaled_frequencies")
def test_llama3_of_any_size(attempt, draw):
    """Context, low, high and s are used; s = 1 changes nothing."""
    sizes = [(64, 10000.0, 4.0, 1024, 1.0, 4.0), (22, 500.0, 32.0, 300, 2.0, 7.0), (16, 100.0, 1.0, 64, 1.0, 4.0),
             (12, 3000.0, draw.random.uniform(2, 9), 4096, 0.5, 3.0)]  # fmt: skip
    got = attempt.each("scaled_frequencies", [("llama3", *row) for row in sizes])
    for row, mine in zip(sizes, got, strict=True):
        agree(
            mine, llama3(*row), axes="i", of=f"scaled_frequencies('llama3', dim, base, s, context, low, high = {row})"
        )


@part("scaled_frequencies")
@pytest.mark.parametrize("kind", ["interpolation", "ntk", "llama3"])
def test_scaling_refusals(attempt, kind):
    """Another kind, and a factor below 1, are a ValueError."""
    for factor in (0.5, 1 - 1e-9):
        with refusal(ValueError, of=f"scaled_frequencies('{kind}', 8, base 100, factor {factor})"):
            attempt.scaled_frequencies(kind, 8, 100.0, factor)
    for other in (f"{kind}s", kind.title(), kind[:-1], ""):
        with refusal(ValueError, of=f"scaled_frequencies('{other}', 8, base 100, factor 2)"):
            attempt.scaled_frequencies(other, 8, 100.0, 2.0)


# --- yarn_frequencies -------------------------------------------------------------------------------------------------


def yarn_range(dim, base, context, fast=32.0, slow=1.0, whole=True):
    at = lambda turns: dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))
    first, last = (math.floor(at(fast)), math.ceil(at(slow))) if whole else (at(fast), at(slow))
    return max(first, 0), min(last, dim - 1)


def yarn(dim, base, s, context, fast=32.0, slow=1.0, whole=True):
    first, last = yarn_range(dim, base, context, fast, slow, whole)
    out = []
    for i, one in enumerate(theta(dim, base).tolist()):
        ramp = min(max((i - first) / (last - first), 0.0), 1.0)
        out.append((1 - ramp) * one + ramp * one / s)
    return torch.tensor(out, dtype=torch.float64)


def yarn_mistakes(dim, base, s, context, fast, slow):
    freq = theta(dim, base)
    right, turns = yarn(dim, base, s, context, fast, slow), context * freq / (2 * math.pi)
    paper = ((turns - slow) / (fast - slow)).clamp(0, 1)
    return {
        "the paper's ramp, linear in the turns,": paper * freq + (1 - paper) * freq / s,
        "a range that is not rounded": yarn(dim, base, s, context, fast, slow, whole=False),
        "fast pairs slowed down, slow ones kept": freq + freq / s - right,
        "interpolation of all": freq / s,
        "NTK": theta(dim, base * s ** (dim / (dim - 2))),
        "frequencies that are not scaled": freq,
        "turns without the 2 pi": yarn(dim, base, s, context * 2 * math.pi, fast, slow),
        "the context that is reached, not the trained one,": yarn(dim, base, s, context * s, fast, slow),
        "fast and slow alone, no ramp between": torch.where(
            torch.arange(dim // 2) > yarn_range(dim, base, context, fast, slow)[0], freq / s, freq
        ),
    }


@part("yarn_frequencies")
def test_yarn_keeps_21_and_divides_18(attempt):
    """dim 128, base 10,000, s = 16, context 4096: 21 frequencies kept, 25 blended, 18 divided; the factor is 1.2773."""
    got = attempt.yarn_frequencies(128, 10000.0, 16.0, 4096)
    of = "yarn_frequencies(128, base 10,000, factor 16, context 4096)"
    assert len(got) == 2, f"yarn_frequencies returned {len(got)} values, not (frequencies, attention factor)"
    known = yarn_mistakes(128, 10000.0, 16.0, 4096, 32.0, 1.0)
    agree(got[0], yarn(128, 10000.0, 16.0, 4096), axes="i", of=f"the frequencies of {of}", known=known)
    ratio = (theta(128) / got[0]).tolist()
    counts = [sum(r < 1 + 1e-9 for r in ratio), sum(1 + 1e-9 <= r <= 16 - 1e-9 for r in ratio)]
    agree([*counts, sum(r > 16 - 1e-9 for r in ratio)], [21, 25, 18], of=f"frequencies kept, blended, divided in {of}")
    agree(round(got[1], 4), 1.2773, of=f"the attention factor of {of}, to four places", known=factor_mistakes(16.0, 4))


def factor_mistakes(s, places=12):
    a = 0.1 * math.log(s) + 1
    known = {
        "a factor upside down, 1 / (0.1 ln s + 1),": 1 / a,
        "the factor of the logits, its square": a * a,
        "a factor of the logits upside down, 1 / (0.1 ln s + 1)²,": 1 / (a * a),
        "its square root": math.sqrt(a),
        "a logarithm of base 2": 0.1 * math.log2(s) + 1,
        "a logarithm of base 10": 0.1 * math.log10(s) + 1,
        "ln s without the 0.1": math.log(s) + 1,
        "no 1 added": 0.1 * math.log(s),
        "no factor": 1.0,
    }
    return {name: round(value, places) for name, value in known.items()}


@part("yarn_frequencies")
def test_yarn_of_any_size(attempt, draw):
    """Context, fast, slow and s are used; the range ends at 0 and at dim - 1; s = 1 changes nothing."""
    sizes = [
        (64, 10000.0, 8.0, 2048, 32.0, 1.0),
        (40, 500.0, draw.random.uniform(2, 40), 700, 20.0, 2.0),
        (16, 10000.0, 4.0, 100, 32.0, 1.0),
        (12, 10.0, 4.0, 1_000_000, 60000.0, 1.0),
        (32, 5000.0, 1.0, 2048, 32.0, 1.0),
        (8, 30.0, 6.0, 100_000, 5000.0, 1.0),
        (64, 10000.0, 300.0, 2048, 32.0, 1.0),
    ]
    for row, got in zip(sizes, attempt.each("yarn_frequencies", sizes), strict=True):
        of = f"yarn_frequencies(dim, base, s, context, fast, slow = {row})"
        known = yarn_mistakes(*row) if row[0] == 64 else None
        agree(got[0], yarn(*row), axes="i", of=f"the frequencies of {of}", known=known)
        named = factor_mistakes(row[2]) if row[0] == 64 else None
        agree(round(got[1], 12), round(0.1 * math.log(row[2]) + 1, 12), of=f"the attention factor of {of}", known=named)


@part("yarn_frequencies")
@pytest.mark.parametrize("factor", [1 - 1e-9, 0.5, 0.0])
def test_yarn_refuses_to_shrink(attempt, factor):
    """A factor below 1 is a ValueError."""
    with refusal(ValueError, of=f"yarn_frequencies with factor {factor}"):
        attempt.yarn_frequencies(64, 10000.0, factor, 2048)
