"""Hidden checks of dl_018: oracles are loops over pixels and pairs, closed forms, and all permutations."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import each_dtype, of_type

from . import drivers

EITHER_MODE = pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])

NAN = math.nan
PASSES = ("with gradients off", "forward with gradients on", "forward and backward")  # as drivers number them
MODES = [(training, passes) for training in (True, False) for passes in range(3)]


def mode_name(training, passes):
    return f"{PASSES[passes]}, in {'training' if training else 'evaluation'}"


def refuses(said, calls, of):
    """Hold that each of the calls raised ValueError."""
    for got, call in zip(said, calls, strict=True):
        raised = f"{got} was raised" if got else "nothing was raised"
        assert got == "ValueError", f"{of} with {call}: expected ValueError, but {raised}"


def accepts(said, calls, of):
    for got, call in zip(said, calls, strict=True):
        assert not got, f"{of} with {call} should work, but raised {got}"


def strided(x):
    """The same values, scattered in memory."""
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def leaf_gradients(value, upstream, leaves):
    return torch.autograd.grad((value * upstream).sum(), leaves)


# ------------------------------------------------------------------------------------------------------------ patchify


def cut(images, p):
    """Patches as the docstring says, one after the other."""
    corners = itertools.product(range(0, images.shape[2], p), range(0, images.shape[3], p))
    return torch.stack([images[:, :, i : i + p, j : j + p].flatten(1) for i, j in corners], 1)


def channels_last(images, p):
    corners = itertools.product(range(0, images.shape[2], p), range(0, images.shape[3], p))
    return torch.stack([images[:, :, i : i + p, j : j + p].movedim(1, -1).flatten(1) for i, j in corners], 1)


def _patch_mistakes(images, p):
    b, c = images.shape[:2]
    return {
        "patches column by column": lambda: cut(images.mT, p).unflatten(-1, (c, p, p)).mT.flatten(2),
        "patches with the channel last": lambda: channels_last(images, p),
        "a reshape that mixes pixels of different patches": lambda: images.reshape(b, -1, c * p * p),
        "each patch transposed": lambda: cut(images, p).unflatten(-1, (c, p, p)).mT.flatten(2),
    }


@part("patchify")
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int64", "bool"])
def test_patches_stand_row_by_row(attempt, draw, dtype):
    """Patches come row by row; in a patch the channel comes first, then its row, then its column. The dtype stays."""
    images = draw.integers(0, 200, 2, 3, 10, 15)
    images = (images > 99) if dtype == "bool" else images.to(of_type(dtype))
    givens = images, strided(images), images[:0]
    for given, got in zip(givens, attempt.each("patchify", [(given, 5) for given in givens]), strict=True):
        of = f"patchify of {tuple(given.shape)} {dtype} images, patch 5"
        known = _patch_mistakes(given, 5) if len(given) else {}
        agree(got, cut(given, 5), axes="b n x", of=of, known=known)


@part("patchify")
def test_every_small_grid(attempt, draw):
    """Grids of 1 to 3 by 1 to 3 patches with side 1 to 3, one channel or two."""
    grids = list(itertools.product((1, 2), (1, 2, 3), (1, 2, 3), (1, 2, 3)))
    images = [draw.normal(2, c, rows * p, columns * p) for c, p, rows, columns in grids]
    got = attempt.each("patchify", [(x, g[1]) for x, g in zip(images, grids, strict=True)])
    back = [(cut(x, g[1]), g[1], tuple(x.shape[2:])) for x, g in zip(images, grids, strict=True)]
    again = attempt.each("unpatchify", back)
    for x, (c, p, rows, columns), one, image in zip(images, grids, got, again, strict=True):
        of = f"{c} channels, {rows} x {columns} patches, side {p}"
        agree(one, cut(x, p), axes="b n x", of=f"patchify, {of}", known=_patch_mistakes(x, p))
        agree(image, x, axes="b c H W", of=f"unpatchify, {of}")


@part("patchify")
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int64"])
def test_unpatchify_puts_pixels_back(attempt, draw, dtype):
    """unpatchify gives the image that the patches were cut from, in its dtype; no image at all gives none."""
    images = draw.integers(0, 200, 2, 3, 14, 21).to(of_type(dtype))
    patches = cut(images, 7)
    known = {"width and height swapped": lambda: images.mT, "a plain reshape": lambda: patches.reshape(images.shape)}
    rows = [(given, 7, (14, 21)) for given in (patches, strided(patches), patches[:0])]
    *some, none = attempt.each("unpatchify", rows)
    for got in some:
        agree(got, images, axes="b c H W", of="unpatchify of 2 x 3 patches, side 7", known=known)
    agree(none, images[:0], of="unpatchify of no image, 14 x 21, side 7")
    agree(attempt.run(drivers.there_and_back, images, 7), images, axes="b c H W", of="unpatchify of patchify, side 7")


@part("patchify")
def test_gradients_through_patches(attempt, draw):
    """The gradient of an image is that of its patches put back in place, and the other way round."""
    images, upstream = draw.normal(2, 3, 4, 6), draw.normal(2, 3, 4, 6)
    patches = cut(images, 2)
    value, [got, _] = attempt.gradients("patchify", images, 2, upstream=cut(upstream, 2))
    agree(value, patches, axes="b n x", of="patchify of 4 x 6 images, side 2")
    assert got is not None, "no gradient reaches the images of patchify"
    agree(got, upstream, axes="b c H W", of="the gradient of images, through patchify")
    value, [got, *_] = attempt.gradients("unpatchify", patches, 2, (4, 6), upstream=upstream)
    agree(value, images, axes="b c H W", of="unpatchify of 2 x 3 patches, side 2")
    assert got is not None, "no gradient reaches the patches of unpatchify"
    agree(got, cut(upstream, 2), axes="b n x", of="the gradient of patches, through unpatchify")


@part("patchify")
def test_sizes_that_do_not_fit_are_refused(attempt, draw):
    """Sizes that are no multiple of the patch, and a wrong number of patches or values, raise ValueError."""
    sizes = [(6, 8), (8, 6), (3, 4), (4, 3), (6, 6), (2, 8)]
    said = attempt.run(drivers.refused, "patchify", [(torch.zeros(2, 3, *size), 4) for size in sizes])
    refuses(said, [f"{h} x {w} pixels, side 4" for h, w in sizes], "patchify")
    wrong = [(3, 48, (6, 8)), (3, 48, (8, 6)), (2, 32, (3, 8)), (3, 48, (8, 8)), (5, 16, (8, 8)), (8, 16, (8, 8))]
    wrong += [(4, 20, (8, 8)), (4, 8, (8, 8)), (2, 48, (8, 8)), (4, 18, (8, 8)), (1, 48, (8, 4)), (4, 4, (8, 8))]
    wrong += [(2, 48, (8, 6)), (2, 48, (6, 8))]  # as many as fit, and a rest
    calls = [(torch.zeros(b, n, x), 4, size) for b in (1, 2) for n, x, size in wrong]
    said = attempt.run(drivers.refused, "unpatchify", calls)
    refuses(said, [f"{n} patches of {x} values, size {size}, side 4" for n, x, size in wrong * 2], "unpatchify")


@part("patchify")
def test_other_images_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 10, 15), 5) for _ in range(2)]
    hold_again(attempt, reference, "patchify", *asked, of="patchify of (2, 3, 10, 15)", views=False)
    asked = [(draw.normal(2, 6, 75), 5, (10, 15)) for _ in range(2)]
    hold_again(attempt, reference, "unpatchify", *asked, of="unpatchify to (10, 15)", views=False)


# ------------------------------------------------------------------------------------------------------ PatchEmbedding


def embedded(weight, bias, images):
    """Tokens one by one: each the sum of products with its patch."""
    p = weight.shape[-1]
    corners = itertools.product(range(0, images.shape[2], p), range(0, images.shape[3], p))
    tiles = torch.stack([images[:, :, i : i + p, j : j + p] for i, j in corners], 1)
    return torch.einsum("bncij,dcij->bnd", tiles, weight) + bias


@part("PatchEmbedding")
@each_dtype
def test_embedding_is_a_strided_convolution(attempt, draw, dtype):
    """Each token is the product of the weight with its patch, plus the bias: a convolution with kernel and stride p."""
    kind = of_type(dtype)
    sizes, asked = ((2, 3, 4, 7, 3, 5), (3, 2, 1, 5, 2, 3), (2, 1, 3, 11, 1, 1)), []
    for b, c, p, d, rows, columns in sizes:
        weights = {"weight": draw.normal(d, c, p, p, dtype=kind), "bias": draw.normal(d, dtype=kind)}
        images = draw.normal(b, c, rows * p, columns * p, dtype=kind)
        asked += [(weights, images), (weights, strided(images))]
    found = attempt.each(drivers.embed, asked)
    for i, (_, c, p, d, rows, columns) in enumerate(sizes):
        weights, images = asked[2 * i]
        want = embedded(**weights, images=images)
        known = {
            "tokens column by column": lambda w=want, r=rows, s=columns: (
                w.unflatten(1, (r, s)).transpose(1, 2).flatten(1, 2)
            ),
            "no bias": lambda w=weights, x=images: embedded(w["weight"], 0, x),
            "a reshape where a transpose belongs": lambda w=want: w.mT.reshape(w.shape),
            "kernels transposed": lambda w=weights, x=images: embedded(w["weight"].mT, w["bias"], x),
            "the channel last": lambda w=weights, x=images, p=p: (
                channels_last(x, p) @ w["weight"].flatten(1).T + w["bias"]
            ),
        }
        of = f"PatchEmbedding, {rows} x {columns} patches, c={c} p={p} d={d}"
        agree(found[2 * i], want, axes="b n d", of=of, known=known)
        agree(found[2 * i + 1], want, axes="b n d", of=f"{of}, scattered in memory", known=known)


@part("PatchEmbedding")
def test_each_pixel_is_multiplied_once(attempt, draw):
    """2·b·n·c·p²·d FLOPs in each mode: not the p² times as many of a convolution that looks everywhere."""
    c, p, d = 3, 4, 7
    for b, rows, columns, dtype in ((2, 5, 7, "float64"), (3, 13, 17, "float64"), (1, 6, 11, "float32")):
        weights = {"weight": draw.normal(d, c, p, p), "bias": draw.normal(d)}
        weights = {name: value.to(of_type(dtype)) for name, value in weights.items()}
        images = draw.normal(b, c, rows * p, columns * p, dtype=of_type(dtype))
        want = embedded(**weights, images=images)
        once = 2 * b * rows * columns * c * p * p * d
        everywhere = 2 * b * (rows * p - p + 1) * (columns * p - p + 1) * c * p * p * d
        for training, passes in MODES:
            of = f"PatchEmbedding {mode_name(training, passes)}, {rows} x {columns} patches, c={c} p={p} d={d}"
            got, cost = attempt.cost(drivers.embed_cost, weights, images, training, passes)
            agree(got, want, axes="b n d", of=of)
            in_torch(cost, of=of)
            limit = (4 if passes == 2 else 1) * once
            at_most(cost.flops, limit, of=f"FLOPs of {of}", known={"stride 1": everywhere})


@part("PatchEmbedding")
@EITHER_MODE
def test_embedding_gradients(attempt, draw, training):
    """Gradients flow to the images, to the weight and to the bias."""
    given = draw.normal(2, 3, 6, 4), draw.normal(5, 3, 2, 2), draw.normal(5)
    upstream = draw.normal(2, 6, 5)
    got, grads = attempt.gradients(drivers.embed_gradients, *given, training, upstream=upstream)
    leaves = [x.clone().requires_grad_() for x in given]
    value = embedded(leaves[1], leaves[2], leaves[0])
    agree(got, value.detach(), axes="b n d", of="PatchEmbedding, 3 x 2 patches, c=3 p=2 d=5")
    want = leaf_gradients(value, upstream, leaves)
    for name, got, one in zip(("the images", "weight", "bias"), grads[:3], want, strict=True):
        assert got is not None, f"no gradient reaches {name}"
        agree(got, one, of=f"the gradient of {name} of PatchEmbedding")


@part("PatchEmbedding")
def test_embedding_crops_nothing(attempt):
    """An image whose height or width is no multiple of the patch raises ValueError."""
    sizes = [(6, 8), (8, 6), (9, 9), (3, 4)]
    calls = [("forward", torch.zeros(2, 3, *size)) for size in sizes]
    said = attempt.run(drivers.refused_by_module, "PatchEmbedding", (3, 4, 5), calls)
    refuses(said, [f"{h} x {w} pixels, side 4" for h, w in sizes], "PatchEmbedding")


@part("PatchEmbedding")
def test_one_embedding_that_is_called_twice(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    weights = {"weight": draw.normal(7, 3, 4, 4), "bias": draw.normal(7)}
    turns = (draw.normal(2, 3, 8, 12),), (draw.normal(2, 3, 8, 12),)
    given = "PatchEmbedding", (3, 4, 7), weights
    hold_turns(attempt, reference, drivers.in_turn, *given, turns=turns, of="PatchEmbedding of (2, 3, 8, 12)")


# ----------------------------------------------------------------------------------------------- interpolate_positions


def waves(rows, columns, dim, *, row_first=False, width=None, interleaved=False):
    """sincos_2d, one number at a time."""
    quarter = dim // 4
    table = []
    for v, u in itertools.product(range(rows), range(columns)):
        line = []
        for place in (v, u) if row_first else (u, v):
            angles = [place * 10000.0 ** (-i / (width or quarter)) for i in range(quarter)]
            if interleaved:
                line += [f(a) for a in angles for f in (math.sin, math.cos)]
            else:
                line += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        table.append(line)
    return torch.tensor(table, dtype=torch.float64).reshape(rows * columns, dim)


@part("interpolate_positions")
@pytest.mark.parametrize("size", [(3, 5, 12), (1, 7, 8), (40, 2, 4), (2, 1, 44)], ids=str)
def test_sincos_of_every_place(attempt, size):
    """Four blocks: sines and cosines of the column, then of the row, at frequencies from 1 down to 1/10000."""
    want = waves(*size)
    known = {
        "positions with the row first": lambda: waves(*size, row_first=True),
        "frequencies over dim/2 instead of dim/4": lambda: waves(*size, width=size[2] // 2),
        "frequencies over dim instead of dim/4": lambda: waves(*size, width=size[2]),
        "sines and cosines interleaved": lambda: waves(*size, interleaved=True),
        "rows and columns swapped": lambda: waves(size[1], size[0], size[2]),
    }
    of = f"sincos_2d{size}"
    single, double = attempt.each("sincos_2d", [size, (*size, torch.float64)])
    agree(single, want.float(), axes="n d", of=of, known=known)
    agree(double, want, axes="n d", of=f"{of} in float64", known=known)


@part("interpolate_positions")
def test_sincos_needs_four_equal_blocks(attempt):
    """A dim that is no multiple of 4 raises ValueError."""
    calls = [(3, 5, dim) for dim in (6, 7, 9, 2, 1)]
    refuses(attempt.run(drivers.refused, "sincos_2d", calls), calls, "sincos_2d")


def cubic(old, new):
    """(new, old): what each of `new` samples takes from `old` ones. Keys' kernel, a = -3/4, edges repeated."""
    weights = [[0.0] * old for _ in range(new)]
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            x = abs(centre - j)
            near = 1.25 * x**3 - 2.25 * x**2 + 1
            far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[i][min(max(j, 0), old - 1)] += near if x <= 1 else far
    return torch.tensor(weights, dtype=torch.float64)


def resized(positions, old, new):
    e = len(positions) - old[0] * old[1]
    grid = positions[e:].unflatten(0, old)
    rows, columns = (cubic(a, b).to(positions.dtype) for a, b in zip(old, new, strict=True))
    return torch.cat([positions[:e], torch.einsum("ir,js,rsd->ijd", rows, columns, grid).flatten(0, 1)])


def _resize_mistakes(positions, old, new):
    e = len(positions) - old[0] * old[1]
    image = positions[e:].T.unflatten(1, old)[None]

    def by_torch(x, **how):
        return torch.cat([positions[:e], F.interpolate(x, size=new, **how)[0].flatten(1).T])

    return {
        "bilinear interpolation": lambda: by_torch(image, mode="bilinear"),
        "nearest-neighbour interpolation": lambda: by_torch(image, mode="nearest"),
        "align_corners=True": lambda: by_torch(image, mode="bicubic", align_corners=True),
        "antialiasing": lambda: by_torch(image, mode="bicubic", antialias=True),
        "a table reshaped to channels first without moving them": lambda: by_torch(
            positions[e:].reshape(image.shape), mode="bicubic"
        ),
        "rows and columns of the old grid swapped": lambda: resized(positions, old[::-1], new),
        "rows and columns of the new grid swapped": lambda: resized(positions, old, new[::-1]),
        "positions without the tokens in front": lambda: resized(positions[e:], old, new),
        "the positions as they were": positions,
    }


# 11 * (15 / 11) is less than 15: a scale factor instead of a size gives 14 columns
GRIDS = [((3, 5), (7, 4)), ((3, 5), (5, 3)), ((4, 6), (2, 3)), ((1, 2), (1, 4)), ((2, 3), (2, 3)), ((7, 2), (3, 11))]
GRIDS += [((2, 11), (3, 15))]


@part("interpolate_positions")
@pytest.mark.parametrize(("extra", "dtype"), [(1, "float64"), (0, "float64"), (2, "float64"), (1, "float32")])
def test_positions_resized_as_an_image(attempt, draw, extra, dtype):
    """The grid is resized bicubically, rows and columns apart; tokens in front stay as they are."""
    tables = [draw.normal(extra + old[0] * old[1], 5, dtype=of_type(dtype)) for old, _ in GRIDS]
    calls = [(table, *grids) for table, grids in zip(tables, GRIDS, strict=True)]
    *found, scattered = attempt.each("interpolate_positions", [*calls, (strided(tables[0]), *GRIDS[0])])
    for (table, old, new), got in zip(calls, found, strict=True):
        of = f"interpolate_positions, {extra} tokens in front, grid {old} to {new}"
        agree(got, resized(table, old, new), axes="n d", of=of, known=_resize_mistakes(table, old, new))
        assert got[:extra].equal(table[:extra]), f"{of}: the tokens in front changed"
    of = f"interpolate_positions of {extra} tokens in front, grid {GRIDS[0][0]} to {GRIDS[0][1]}, scattered in memory"
    agree(scattered, resized(tables[0], *GRIDS[0]), axes="n d", of=of)


@part("interpolate_positions")
def test_positions_gradients(attempt, draw):
    """Gradients flow to the positions of the tokens in front and of the grid."""
    table, upstream = draw.normal(17, 3), draw.normal(2 + 28, 3)
    value, [got, *_] = attempt.gradients("interpolate_positions", table, (3, 5), (7, 4), upstream=upstream)
    assert got is not None, "no gradient reaches the positions"
    leaf = table.clone().requires_grad_()
    positions, of = resized(leaf, (3, 5), (7, 4)), "2 tokens in front, grid (3, 5) to (7, 4)"
    agree(value, positions.detach(), axes="n d", of=f"interpolate_positions, {of}")
    [want] = leaf_gradients(positions, upstream, [leaf])
    agree(got, want, axes="n d", of=f"the gradient of positions, {of}")


@part("interpolate_positions")
def test_positions_too_few_are_refused(attempt, draw):
    """Fewer positions than the old grid has places raise ValueError."""
    calls = [(draw.normal(n, 4), (3, 5), (4, 4)) for n in (14, 5, 1)]
    said = attempt.run(drivers.refused, "interpolate_positions", calls)
    refuses(said, [f"{len(c[0])} positions, grid (3, 5)" for c in calls], "interpolate_positions")


@part("interpolate_positions")
def test_other_positions_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(16, 5), (3, 5), (7, 4)) for _ in range(2)]
    hold_again(attempt, reference, "interpolate_positions", *asked, of="interpolate_positions of (16, 5)", views=False)


# -------------------------------------------------------------------------------------------------- VisionTransformer


def block_weights(draw, d, dtype=torch.float64):
    shapes = {
        "norm1.weight": (d,),
        "norm1.bias": (d,),
        "qkv.weight": (3 * d, d),
        "qkv.bias": (3 * d,),
        "out.weight": (d, d),
        "out.bias": (d,),
        "norm2.weight": (d,),
        "norm2.bias": (d,),
        "fc1.weight": (4 * d, d),
        "fc1.bias": (4 * d,),
        "fc2.weight": (d, 4 * d),
        "fc2.bias": (d,),
    }
    scale = {1: 0.5, 2: d**-0.5}
    return {name: draw.normal(*shape, dtype=dtype, scale=scale[len(shape)]) for name, shape in shapes.items()}


def normed(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def exact_gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def encoder_block(w, heads, x, *, scale=None, gelu=exact_gelu, post=False, interleaved=False, causal=False, skip=True):
    """One block, head by head. The keywords are mistakes."""
    d = x.shape[-1]
    width = d // heads
    y = x if post else normed(x, w["norm1.weight"], w["norm1.bias"])
    qkv = torch.einsum("btd,ed->bte", y, w["qkv.weight"]) + w["qkv.bias"]
    outs, maps = [], []
    for h in range(heads):
        starts = [3 * h * width + i * width for i in range(3)] if interleaved else [i * d + h * width for i in range(3)]
        q, k, v = (qkv[..., s : s + width] for s in starts)
        scores = torch.einsum("bid,bjd->bij", q, k) * (width**-0.5 if scale is None else scale)
        if causal:
            scores = scores.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -math.inf)
        maps.append(torch.softmax(scores, -1))
        outs.append(torch.einsum("bij,bjd->bid", maps[-1], v))
    branch = torch.cat(outs, -1) @ w["out.weight"].T + w["out.bias"]
    x = x + branch if skip else branch
    if post:
        x = normed(x, w["norm1.weight"], w["norm1.bias"])
    y = x if post else normed(x, w["norm2.weight"], w["norm2.bias"])
    branch = gelu(y @ w["fc1.weight"].T + w["fc1.bias"]) @ w["fc2.weight"].T + w["fc2.bias"]
    x = x + branch if skip else branch
    return normed(x, w["norm2.weight"], w["norm2.bias"]) if post else x, torch.stack(maps, 1)


@part("VisionTransformer")
@each_dtype
def test_block_is_pre_norm_attention_and_mlp(attempt, draw, dtype):
    """One block: attention over all tokens and a GELU MLP, each behind its own norm and beside a residual."""
    kind, asked = of_type(dtype), []
    sizes = (2, 7, 12, 3), (3, 5, 10, 2), (2, 1, 4, 4)
    for b, t, d, heads in sizes if dtype == "float64" else sizes[:1]:
        asked.append((block_weights(draw, d, kind), heads, strided(draw.normal(b, t, d, dtype=kind))))
    for (w, heads, x), (out, maps) in zip(asked, attempt.each(drivers.block, asked), strict=True):
        want = encoder_block(w, heads, x)
        wrong = {
            "a block without the attention's scale": {"scale": 1.0},
            "attention scaled by 1/sqrt(d) instead of 1/sqrt(d/h)": {"scale": d**-0.5},
            "GELU by its tanh approximation": {"gelu": tanh_gelu},
            "a ReLU MLP": {"gelu": torch.relu},
            "a block with the norms behind the residuals (post-norm)": {"post": True},
            "qkv read head by head, q k v of head 0 first": {"interleaved": True},
            "causal attention": {"causal": True},
            "a block without residuals": {"skip": False},
        }
        of = f"EncoderBlock, t={x.shape[1]} d={x.shape[2]} h={heads}"
        mistakes = {name: partial(encoder_block, w, heads, x, **how) for name, how in wrong.items()}
        known = {name: lambda f=f: f()[0] for name, f in mistakes.items()}
        agree(out, want[0], axes="b t d", of=f"the tokens of {of}", known=known)
        known = {name: lambda f=f: f()[1] for name, f in mistakes.items()}
        known["attention weights averaged over the heads"] = want[1].mean(1)
        agree(maps, want[1], axes="b h t s", of=f"the attention weights of {of}", known=known)


@part("VisionTransformer")
@EITHER_MODE
def test_gradients_through_a_block(attempt, draw, training):
    """Gradients flow through the tokens of a block and through its attention weights."""
    w, x = block_weights(draw, 6), draw.normal(2, 5, 6)
    upstream = draw.normal(2, 5 * 6 + 3 * 5 * 5)
    how = {"heads": 3, "names": list(w), "training": training, "upstream": upstream}
    got, grads = attempt.gradients(drivers.block_gradients, x, *w.values(), **how)
    leaves = [one.clone().requires_grad_() for one in (x, *w.values())]
    tokens, maps = encoder_block(dict(zip(w, leaves[1:], strict=True)), 3, leaves[0])
    value = torch.cat([tokens.flatten(1), maps.flatten(1)], 1)
    agree(got, value.detach(), of="the tokens of EncoderBlock, t=5 d=6 h=3, and its attention weights, side by side")
    want = leaf_gradients(value, upstream, leaves)
    for name, got, one in zip(("x", *w), grads, want, strict=True):
        assert got is not None, f"no gradient of a block reaches {name}"
        agree(got + 1, one + 1, of=f"the gradient of {name} of EncoderBlock, plus 1")


CONFIG = {"size": (8, 12), "patch": 4, "channels": 3, "dim": 10, "depth": 3, "heads": 2, "classes": 7}


def vit_weights(draw, distilled=False, dtype=torch.float64, **changed):
    config = CONFIG | changed
    d, p, n = config["dim"], config["patch"], config["size"][0] * config["size"][1] // config["patch"] ** 2
    e = 1 + distilled
    w = {
        "prefix": draw.normal(e, d, dtype=dtype),
        "positions": draw.normal(e + n, d, dtype=dtype),
        "embed.weight": draw.normal(d, config["channels"], p, p, dtype=dtype, scale=0.2),
        "embed.bias": draw.normal(d, dtype=dtype),
    }
    for i in range(config["depth"]):
        w |= {f"blocks.{i}.{name}": one for name, one in block_weights(draw, d, dtype).items()}
    heads = ("head", "head_distilled") if distilled else ("head",)
    w |= {"norm.weight": draw.normal(d, dtype=dtype), "norm.bias": draw.normal(d, dtype=dtype)}
    for name in heads:
        w |= {f"{name}.weight": draw.normal(config["classes"], d, dtype=dtype)}
        w |= {f"{name}.bias": draw.normal(config["classes"], dtype=dtype)}
    return config | ({"distilled": True} if distilled else {}), w


def vit_features(config, w, images, *, prefix_last=False, bare_prefix=False, positions=None, norm=True):
    """The tokens and maps of the whole encoder. The keywords are mistakes."""
    b, p, e = len(images), config["patch"], len(w["prefix"])
    grid = config["size"][0] // p, config["size"][1] // p
    if positions is None:
        positions = resized(w["positions"], grid, (images.shape[2] // p, images.shape[3] // p))
    patches, prefix = embedded(w["embed.weight"], w["embed.bias"], images), w["prefix"].expand(b, -1, -1)
    x = torch.cat([prefix, patches], 1) + positions
    if prefix_last:
        x = torch.cat([patches, prefix], 1) + positions
    if bare_prefix:
        x = torch.cat([prefix, patches + positions[e:]], 1)
    maps = []
    for i in range(config["depth"]):
        start = f"blocks.{i}."
        inner = {name.removeprefix(start): one for name, one in w.items() if name.startswith(start)}
        x, weights = encoder_block(inner, config["heads"], x)
        maps.append(weights)
    return (normed(x, w["norm.weight"], w["norm.bias"]) if norm else x), maps


def vit_logits(w, tokens):
    names = [name for name in ("head", "head_distilled") if f"{name}.weight" in w]
    return tuple(tokens[:, i] @ w[f"{name}.weight"].T + w[f"{name}.bias"] for i, name in enumerate(names))


def _vit_mistakes(config, w, images):
    wrong = {
        "tokens without positions": {"positions": 0.0},
        "the prefix behind the patches": {"prefix_last": True},
        "positions for patches only": {"bare_prefix": True},
        "tokens before the last norm": {"norm": False},
    }
    return {name: lambda how=how: vit_features(config, w, images, **how)[0] for name, how in wrong.items()}


@part("VisionTransformer")
@pytest.mark.parametrize(
    ("dtype", "distilled"), [("float64", False), ("float32", True)], ids=["class token", "two tokens, float32"]
)
def test_features_of_an_image_of_its_size(attempt, draw, dtype, distilled):
    """Prefix tokens, then patches; positions on all; the blocks in order; a norm. One attention map for each block."""
    kind = of_type(dtype)
    config, w = vit_weights(draw, distilled, kind)
    images = draw.normal(2, 3, 8, 12, dtype=kind)
    [(tokens, maps)] = attempt.run(drivers.features, config, w, strided(images))
    want, want_maps = vit_features(config, w, images)
    of = f"features of 2 x 3 patches, {config}"
    agree(tokens, want, axes="b t d", of=f"the tokens of {of}", known=_vit_mistakes(config, w, images), tol=tol(dtype))
    agree(maps, want_maps, axes="b h t s", of=f"the maps of {of}", tol=tol(dtype))


def tol(dtype):
    """Errors of float32 add up over a few blocks whose weights are large."""
    return 1e-3 if dtype == "float32" else None


@part("VisionTransformer")
def test_features_of_an_image_of_another_size(attempt, draw):
    """Images of another size get interpolated positions, also where the number of patches is the same."""
    config, w = vit_weights(draw, distilled=True, depth=2)
    sizes = (12, 8), (16, 20), (4, 8)
    images = [draw.normal(2, 3, *size) for size in sizes]
    for size, x, (tokens, maps) in zip(sizes, images, attempt.run(drivers.features, config, w, *images), strict=True):
        want, want_maps = vit_features(config, w, x)
        known = _vit_mistakes(config, w, x)
        if size == (12, 8):
            known["positions of the old grid, not interpolated"] = lambda x=x: vit_features(
                config, w, x, positions=w["positions"]
            )[0]
        of = f"features of {size} images by a model for {config['size']}, patch 4"
        agree(tokens, want, axes="b t d", of=f"the tokens of {of}", known=known)
        agree(maps, want_maps, axes="b h t s", of=f"the maps of {of}")


@part("VisionTransformer")
def test_logits_of_the_class_token(attempt, draw):
    """The head reads the class token after the norm, in training as in eval mode."""
    config, w = vit_weights(draw, depth=2)
    images = draw.normal(2, 3, 8, 12)
    tokens, _ = vit_features(config, w, images)
    head = w["head.weight"], w["head.bias"]
    known = {
        "logits of the mean over all tokens": lambda: F.linear(tokens.mean(1), *head),
        "logits of the mean over the patches": lambda: F.linear(tokens[:, 1:].mean(1), *head),
        "logits of the last token": lambda: F.linear(tokens[:, -1], *head),
        "logits of the first patch": lambda: F.linear(tokens[:, 1], *head),
        "probabilities": lambda: F.linear(tokens[:, 0], *head).softmax(-1),
        "logits without the last norm": lambda: F.linear(vit_features(config, w, images, norm=False)[0][:, 0], *head),
    }
    [want] = vit_logits(w, tokens)
    for mode, got in zip(("training", "eval"), attempt.run(drivers.classify, config, w, images), strict=True):
        agree(got, want, axes="b k", of=f"logits of 2 images of 8 x 12 in {mode} mode", known=known)


@part("VisionTransformer")
def test_two_tokens_have_two_heads(attempt, draw):
    """With `distilled`, training gives the logits of both heads, each of its own token; eval gives their mean."""
    config, w = vit_weights(draw, distilled=True, depth=2)
    images = draw.normal(2, 3, 8, 12)
    tokens, _ = vit_features(config, w, images)
    one, two = vit_logits(w, tokens)
    known = {
        "both heads on the class token": lambda: vit_logits(w, tokens[:, [0, 0]]),
        "the heads on each other's tokens": lambda: vit_logits(w, tokens.flip(1)[:, -2:]),
        "the distillation head first": (two, one),
        "the mean already in training": (one + two) / 2,
    }
    got, mean = attempt.run(drivers.classify, config, w, images)
    agree(got, (one, two), axes="b k", of="logits in training mode, distilled=True", known=known)
    known = {"the class head alone": one, "the distillation head alone": two, "the sum": one + two}
    known |= {"the mean of the probabilities": (one.softmax(-1) + two.softmax(-1)) / 2, "both heads": (one, two)}
    agree(mean, (one + two) / 2, axes="b k", of="logits in eval mode, distilled=True", known=known)


@part("VisionTransformer")
@EITHER_MODE
def test_gradients_reach_every_parameter(attempt, draw, training):
    """Gradients flow to the images and to every parameter, tokens and positions included."""
    config, w = vit_weights(draw, distilled=True, depth=2)
    images, upstream = draw.normal(2, 3, 8, 16), draw.normal(2, 14 if training else 7)
    how = {"config": config, "names": list(w), "training": training, "upstream": upstream}
    got, grads = attempt.gradients(drivers.classify_gradients, images, *w.values(), **how)
    leaves = [x.clone().requires_grad_() for x in (images, *w.values())]
    tokens, _ = vit_features(config, dict(zip(w, leaves[1:], strict=True)), leaves[0])
    one, two = vit_logits(dict(zip(w, leaves[1:], strict=True)), tokens)
    value, of = (torch.cat([one, two], -1), "side by side") if training else ((one + two) / 2, "their mean")
    agree(
        got, value.detach(), axes="b k", of=f"logits of both heads in {'training' if training else 'eval'} mode, {of}"
    )
    want = leaf_gradients(value, upstream, leaves)
    for name, got, one in zip(("the images", *w), grads, want, strict=True):
        assert got is not None, f"no gradient reaches {name}"
        # a bias of keys changes no softmax: its true gradient is 0, and only rounding is left of it
        agree(got + 1, one + 1, of=f"the gradient of {name}, plus 1")


@part("VisionTransformer")
def test_images_that_are_no_whole_patches_are_refused(attempt):
    """features and forward raise ValueError if height or width is no multiple of the patch."""
    sizes = [(10, 12), (8, 10), (9, 13), (3, 4)]
    calls = [(method, torch.zeros(2, 3, *size)) for method in ("features", "forward") for size in sizes]
    said = attempt.run(drivers.refused_by_module, "VisionTransformer", tuple(CONFIG.values()), calls)
    asked = [f"{method} of {h} x {w} pixels, patch 4" for method in ("features", "forward") for h, w in sizes]
    refuses(said, asked, "VisionTransformer")


@part("VisionTransformer")
def test_one_model_that_is_called_twice(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    turns = (draw.normal(2, 7, 12),), (draw.normal(2, 7, 12),)
    given = "EncoderBlock", (12, 3), block_weights(draw, 12, torch.float64)
    hold_turns(attempt, reference, drivers.in_turn, *given, turns=turns, of="EncoderBlock of (2, 7, 12)")
    config, w = vit_weights(draw, False, torch.float64)
    for method in ("features", "__call__"):
        turns = (draw.normal(2, 3, 8, 12),), (draw.normal(2, 3, 8, 12),)
        given, of = ("VisionTransformer", config, w, method), f"VisionTransformer, {method} of (2, 3, 8, 12)"
        hold_turns(attempt, reference, drivers.in_turn, *given, turns=turns, of=of)


# ----------------------------------------------------------------------------------------------------- WindowAttention


def windows_of(x, w):
    """Windows as the docstring says, one after the other."""
    corners = itertools.product(range(0, x.shape[1], w), range(0, x.shape[2], w))
    return torch.stack([x[:, i : i + w, j : j + w].reshape(len(x), w * w, -1) for i, j in corners], 1)


@part("WindowAttention")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_windows_stand_row_by_row(attempt, draw, dtype):
    """Windows come row by row, the places in a window too; merging them gives the map back."""
    sizes = [
        (2, 1, 1, 2, 3),
        (2, 2, 3, 3, 5),
        (3, 3, 2, 1, 4),
        (2, 1, 4, 5, 2),
        (0, 2, 3, 3, 5),
    ]  # b, rows, columns, w, d
    maps = [draw.integers(-99, 99, b, r * w, c * w, d).to(of_type(dtype)) for b, r, c, w, d in sizes]
    windows = [
        x.new_zeros(0, 6, 9, 5) if len(x) == 0 else windows_of(x, s[3]) for x, s in zip(maps, sizes, strict=True)
    ]
    given = [(*one, scatter) for scatter in (lambda x: x, strided) for one in zip(maps, windows, sizes, strict=True)]
    cut_up = attempt.each("window_partition", [(scatter(x), size[3]) for x, _, size, scatter in given])
    back = [(scatter(y), size[3], tuple(x.shape[1:3])) for x, y, size, scatter in given]
    merged = attempt.each("window_merge", back)
    for (x, want, (_, rows, columns, w, d), _), got, again in zip(given, cut_up, merged, strict=True):
        of = f"{rows} x {columns} windows, w={w} d={d}, {dtype}"
        known = {
            "windows column by column": lambda x=x, w=w: windows_of(x.transpose(1, 2), w),
            "a plain reshape": x.reshape(want.shape),
        }
        agree(got, want, axes="b m x d", of=f"window_partition, {of}", known=known if len(x) else {})
        agree(again, x, axes="b H W d", of=f"window_merge, {of}")


@part("WindowAttention")
def test_window_gradients(attempt, draw):
    """Gradients flow through window_partition and window_merge."""
    x, upstream = draw.normal(2, 4, 6, 3), draw.normal(2, 4, 6, 3)
    windows = windows_of(x, 2)
    value, [got, _] = attempt.gradients("window_partition", x, 2, upstream=windows_of(upstream, 2))
    agree(value, windows, axes="b m x d", of="window_partition of a 4 x 6 map, side 2")
    assert got is not None, "no gradient reaches the map of window_partition"
    agree(got, upstream, axes="b H W d", of="the gradient of a map, through window_partition")
    value, [got, *_] = attempt.gradients("window_merge", windows, 2, (4, 6), upstream=upstream)
    agree(value, x, axes="b H W d", of="window_merge of 2 x 3 windows, side 2")
    assert got is not None, "no gradient reaches the windows of window_merge"
    agree(got, windows_of(upstream, 2), axes="b m x d", of="the gradient of windows, through window_merge")


@part("WindowAttention")
def test_windows_that_do_not_fit_are_refused(attempt):
    """Maps that are no multiple of the window, and a wrong number of windows, raise ValueError."""
    sizes = [(6, 8), (8, 6), (3, 4), (9, 9)]
    said = attempt.run(drivers.refused, "window_partition", [(torch.zeros(2, *size, 3), 4) for size in sizes])
    refuses(said, [f"a map of {size}, window 4" for size in sizes], "window_partition")
    wrong = [(3, (6, 8)), (3, (8, 6)), (3, (8, 8)), (5, (8, 8)), (8, (8, 8)), (1, (4, 8)), (2, (6, 8)), (2, (8, 6))]
    said = attempt.run(drivers.refused, "window_merge", [(torch.zeros(2, m, 16, 3), 4, size) for m, size in wrong])
    refuses(said, [f"{m} windows of 4 x 4 for a map of {size}" for m, size in wrong], "window_merge")
    wrong = [(6, 8, 4, 1), (8, 6, 4, 0), (8, 8, 4, 4), (8, 8, 4, -1), (8, 8, 4, 5), (4, 4, 1, 1)]
    said = attempt.run(drivers.refused, "shifted_window_mask", wrong)
    refuses(said, [f"height, width, window, shift = {one}" for one in wrong], "shifted_window_mask")
    calls = [("forward", torch.zeros(2, h, w, 6), shift) for h, w, _, shift in wrong[:5]]
    said = attempt.run(drivers.refused_by_module, "WindowAttention", (6, 2, 4), calls)
    refuses(said, [f"height, width, window, shift = {one}" for one in wrong[:5]], "WindowAttention")


def allowed(height, width, w, shift):
    """(m, w·w, w·w): pairs of a window that are as far apart in the original map as in the rolled one."""
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1)
    origin = torch.stack([(place[..., 0] + shift) % height, (place[..., 1] + shift) % width], -1)
    rolled, origin = windows_of(place[None], w)[0], windows_of(origin[None], w)[0]
    return ((origin[:, :, None] - origin[:, None]) == (rolled[:, :, None] - rolled[:, None])).all(-1)


@part("WindowAttention")
@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_mask_keeps_opposite_edges_apart(attempt, window):
    """For every shift: places of a window see each other unless an edge of the original map runs between them."""
    calls = [(r * window, c * window, window, s) for r, c in ((1, 1), (1, 3), (2, 1), (3, 2)) for s in range(window)]
    for call, got in zip(calls, attempt.each("shifted_window_mask", calls), strict=True):
        want = allowed(*call)
        height, width, _, shift = call
        known = {
            "True and False exchanged": ~want,
            "no mask at all": torch.ones_like(want),
            "the mask of a roll the other way": lambda s=shift, h=height, w=width: allowed(h, w, window, -s),
            "height and width swapped": lambda s=shift, h=height, w=width: allowed(w, h, window, s),
        }
        agree(got, want, axes="m x y", of=f"shifted_window_mask{call}", known=known)


@part("WindowAttention")
def test_every_pair_has_its_row_of_the_table(attempt):
    """The index is (row difference + w - 1)(2w - 1) + column difference + w - 1, query minus key."""
    sides = [1, 2, 3, 4, 5]
    indices = attempt.each("relative_position_index", [(w,) for w in sides])
    for w, got in zip(sides, indices, strict=True):
        pairs = itertools.product(itertools.product(range(w), repeat=2), repeat=2)
        want = [(i - r + w - 1) * (2 * w - 1) + j - s + w - 1 for (i, j), (r, s) in pairs]
        want = torch.tensor(want).reshape(w * w, w * w)
        known = {
            "key minus query": want.T,
            "columns before rows": lambda want=want, w=w: (want % (2 * w - 1)) * (2 * w - 1) + want // (2 * w - 1),
        }
        agree(got, want, axes="x y", of=f"relative_position_index({w})", known=known)


def window_weights(draw, d, heads, w, dtype=torch.float64):
    return {
        "qkv.weight": draw.normal(3 * d, d, dtype=dtype, scale=d**-0.5),
        "qkv.bias": draw.normal(3 * d, dtype=dtype),
        "out.weight": draw.normal(d, d, dtype=dtype, scale=d**-0.5),
        "out.bias": draw.normal(d, dtype=dtype),
        "table": draw.normal((2 * w - 1) ** 2, heads, dtype=dtype),
    }


def dense_windows(weights, heads, w, x, shift, *, mask=True, bias=1.0, scale=None, flip=False):
    """Attention of all places with all, where those of other windows are hidden. The keywords are mistakes."""
    height, width, d = x.shape[1:]
    e = d // heads
    # where each place stands once the map is rolled
    i = ((torch.arange(height) - shift) % height)[:, None].expand(height, width).flatten()
    j = ((torch.arange(width) - shift) % width).expand(height, width).flatten()
    row, column = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    down, right = i[:, None] - i, j[:, None] - j
    seen = (i[:, None] // w == i // w) & (j[:, None] // w == j // w)
    if mask:
        seen &= (down == row[:, None] - row) & (right == column[:, None] - column)
    index = ((-down if flip else down) + w - 1) * (2 * w - 1) + (-right if flip else right) + w - 1
    qkv = x.flatten(1, 2) @ weights["qkv.weight"].T + weights["qkv.bias"]
    outs = []
    for h in range(heads):
        q, k, v = (qkv[..., part * d + h * e : part * d + (h + 1) * e] for part in range(3))
        scores = torch.einsum("bid,bjd->bij", q, k) * (e**-0.5 if scale is None else scale)
        scores = scores + bias * weights["table"][:, h][index.clamp(0, (2 * w - 1) ** 2 - 1)]
        outs.append(torch.einsum("bij,bjd->bid", scores.masked_fill(~seen, -math.inf).softmax(-1), v))
    out = torch.cat(outs, -1) @ weights["out.weight"].T + weights["out.bias"]
    return out.unflatten(1, (height, width))


@part("WindowAttention")
@pytest.mark.parametrize(("window", "dtype"), [(3, "float64"), (2, "float64"), (1, "float64"), (2, "float32")])
def test_attention_stays_in_its_windows(attempt, draw, window, dtype):
    """For every shift: a place takes from its own window, with the bias of the pair, and lands where it was."""
    kind, d, heads = of_type(dtype), 12, 3
    weights = window_weights(draw, d, heads, window, kind)
    x = draw.normal(2, 2 * window, 3 * window, d, dtype=kind)
    shifts = [None, *range(window)]
    for shift, got in zip(
        shifts, attempt.run(drivers.window_attention, (d, heads, window), weights, strided(x), shifts), strict=True
    ):
        s = shift or 0

        def dense(s=s, **how):
            return dense_windows(weights, heads, window, x, s, **how)

        known = {
            "attention across the edges of the map (no mask)": lambda: dense(mask=False),
            "windows without a shift": lambda: dense(0),
            "a roll in the other direction": lambda s=s: dense(-s),
            "a map that is not rolled back": lambda s=s: dense().roll((-s, -s), (1, 2)),
            "a map that is rolled back the wrong way": lambda s=s: dense().roll((-2 * s, -2 * s), (1, 2)),
            "attention without the position bias": lambda: dense(bias=0.0),
            "a position bias of key minus query": lambda: dense(flip=True),
            "attention without its scale": lambda: dense(scale=1.0),
            "attention scaled by 1/sqrt(d) instead of 1/sqrt(d/h)": lambda: dense(scale=d**-0.5),
        }
        given = "left to its default" if shift is None else shift
        of = f"WindowAttention over 2 x 3 windows, w={window} d={d} h={heads}, shift {given}"
        agree(got, dense(), axes="b H W d", of=of, known=known)


@part("WindowAttention")
def test_no_score_of_a_window_lies_below_what_is_hidden(attempt, draw):
    """However low the scores are, a place across an edge has weight 0: a score of -1e9 would not hide it."""
    d, heads, window = 12, 3, 2
    weights, x = window_weights(draw, d, heads, window, torch.float64), draw.normal(2, 4, 6, d)
    weights["qkv.weight"][: 2 * d] = 0
    weights["qkv.bias"][:d], weights["qkv.bias"][d : 2 * d], weights["table"][:] = 1e6, -1e6, 0
    [got] = attempt.run(drivers.window_attention, (d, heads, window), weights, x, [1])
    want = dense_windows(weights, heads, window, x, 1)
    agree(got, want, axes="b H W d", of="WindowAttention, w=2 d=12 h=3, shift 1, all scores near -10^12")


@part("WindowAttention")
def test_window_attention_is_linear_in_the_area(attempt, draw):
    """Scores and weighted sums take 4·b·H·W·w²·d FLOPs beside the projections, and no H·W x H·W tensor is made."""
    d, heads = 8, 2
    for w, height, width, dtype in ((2, 12, 16, "float64"), (3, 24, 33, "float64"), (4, 20, 24, "float32")):
        weights, x = window_weights(draw, d, heads, w), draw.normal(1, height, width, d, dtype=of_type(dtype))
        weights = {name: value.to(of_type(dtype)) for name, value in weights.items()}
        area = height * width
        limit = 8 * area * d * d + 4 * area * w * w * d
        known = {"attention of all places with all": 8 * area * d * d + 4 * area * area * d}
        for shift in (0, 1):
            want = dense_windows(weights, heads, w, x, shift)
            for training, passes in MODES:
                of = f"WindowAttention {mode_name(training, passes)}, {height} x {width} places, {w=} {d=} {shift=}"
                value, cost = attempt.cost(
                    drivers.window_attention_cost, (d, heads, w), weights, x, shift, training, passes
                )
                agree(value, want, axes="b H W d", of=of)
                in_torch(cost, of=of)
                most = (4 if passes == 2 else 1) * 1.05 * limit
                at_most(cost.flops, most, of=f"FLOPs of {of}", known=known if passes < 2 else None)
                largest = f"largest tensor of {of}, in elements"
                at_most(cost.largest, area * area // 4, of=largest, known={"all places times all": area * area})


@part("WindowAttention")
@EITHER_MODE
def test_window_attention_gradients(attempt, draw, training):
    """Gradients flow to the map, to the projections and to the table of biases."""
    weights, x, upstream = window_weights(draw, 6, 2, 3), draw.normal(2, 6, 3, 6), draw.normal(2, 6, 3, 6)
    names = list(weights)
    got, grads = attempt.gradients(
        drivers.window_attention_gradients,
        x,
        *weights.values(),
        sizes=(6, 2, 3),
        names=names,
        shift=2,
        training=training,
        upstream=upstream,
    )
    leaves = [one.clone().requires_grad_() for one in (x, *weights.values())]
    value = dense_windows(dict(zip(names, leaves[1:], strict=True)), 2, 3, leaves[0], 2)
    agree(got, value.detach(), axes="b H W d", of="WindowAttention over 2 x 1 windows, w=3 d=6 h=2, shift 2")
    for name, got, one in zip(("x", *names), grads, leaf_gradients(value, upstream, leaves), strict=True):
        assert got is not None, f"no gradient reaches {name}"
        agree(got, one, of=f"the gradient of {name} of WindowAttention")


@part("WindowAttention")
def test_other_windows_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 6, 9, 5), 3) for _ in range(2)]
    hold_again(attempt, reference, "window_partition", *asked, of="window_partition of (2, 6, 9, 5)", views=False)
    given = "WindowAttention", (12, 3, 2), window_weights(draw, 12, 3, 2, torch.float64)
    turns = (draw.normal(2, 4, 6, 12), 1), (draw.normal(2, 4, 6, 12), 1)
    hold_turns(attempt, reference, drivers.in_turn, *given, turns=turns, of="WindowAttention of (2, 4, 6, 12), shift 1")


# --------------------------------------------------------------------------------------------------- distillation_loss


def logs(x):
    return x - x.exp().sum(-1, keepdim=True).log()


def taught(kind, distilled, teacher, temperature, *, square=True, reverse=False, count=None):
    """The part of the loss that comes from the teacher. The keywords are mistakes."""
    if kind == "hard":
        best = teacher.argmax(-1)
        return -logs(distilled)[torch.arange(len(best)), best].mean()
    t, s = logs(teacher / temperature), logs(distilled / temperature)
    divergence = (s.exp() * (s - t)) if reverse else (t.exp() * (t - s))
    return divergence.sum() / (count or len(teacher)) * (temperature**2 if square else 1)


def deit_loss(logits, distilled, teacher, labels, kind, weight=0.5, temperature=1.0, **how):
    truth = -logs(logits)[torch.arange(len(labels)), labels].mean()
    return (1 - weight) * truth + weight * taught(kind, distilled, teacher, temperature, **how)


def _distillation_inputs(draw, b=5, k=7, dtype=torch.float64):
    return [draw.normal(b, k, dtype=dtype, scale=2.0) for _ in range(3)] + [draw.integers(0, k, b)]


@part("distillation_loss")
@each_dtype
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_both_heads_have_their_teacher(attempt, draw, kind, dtype):
    """The class head learns from labels, the distillation head from the teacher; means over the images."""
    inputs = _distillation_inputs(draw, dtype=of_type(dtype)), _distillation_inputs(draw, 1, 3, of_type(dtype))
    choices = {}, {"weight": 0.3}, {"temperature": 3.0}, {"weight": 0.1, "temperature": 0.7}
    rows = [(given, kind, options) for given in inputs for options in choices]
    for (given, _, options), got in zip(rows, attempt.each(drivers.distillation, rows), strict=True):
        logits, distilled, teacher, labels = given
        t, other = options.get("temperature", 1.0), options | {"weight": 1 - options.get("weight", 0.5)}
        loss = partial(deit_loss, *given, kind, **options)
        heads = {
            "the heads exchanged": (distilled, logits),
            "both terms on the class head": (logits, logits),
            "both terms on the distillation head": (distilled, distilled),
        }
        known = {name: partial(deit_loss, *two, teacher, labels, kind, **options) for name, two in heads.items()}
        known["the weights exchanged"] = partial(deit_loss, *given, kind, **other)
        known["the two terms without weights"] = lambda x=given, t=t: (
            deit_loss(*x, kind, 0.0) + taught(kind, *x[1:3], t)
        )
        if kind == "soft":
            known |= {
                "KL without temperature squared": partial(loss, square=False),
                "KL of the student from the teacher (reversed)": partial(loss, reverse=True),
                "KL divided by b·k": partial(loss, count=teacher.numel()),
                "KL summed over the batch": partial(loss, count=1),
                "hard distillation": partial(deit_loss, *given, "hard", **options),
            }
        of = f"distillation_loss, {kind!r}, {options or 'defaults'}, b={len(labels)} k={teacher.shape[1]}"
        agree(got, loss(), of=of, known=known)


@part("distillation_loss")
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_either_term_alone(attempt, draw, kind):
    """Weight 0 leaves the labels, weight 1 the teacher; also from tensors scattered in memory."""
    given = _distillation_inputs(draw)
    weights = 0.0, 1.0, 0, 1
    rows = [([strided(x) for x in given], kind, {"weight": weight, "temperature": 2.0}) for weight in weights]
    for weight, got in zip(weights, attempt.each(drivers.distillation, rows), strict=True):
        of = f"distillation_loss, {kind!r}, weight {weight}, temperature 2"
        agree(got, deit_loss(*given, kind, weight, 2.0), of=of)


@part("distillation_loss")
@each_dtype
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_large_logits_stay_finite(attempt, dtype, kind):
    """With logits of ±10,000 the loss is what the formula says, not NaN or Inf."""
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 500.0, -500.0]], dtype=of_type(dtype))
    teacher = torch.tensor([[0.0, -1e4, 1e4], [300.0, -300.0, 0.0]], dtype=of_type(dtype))
    labels = torch.tensor([1, 1])
    # every softmax has a single 1: a loss is the best logit less that of the class asked for
    got = attempt.distillation_loss(logits, logits, teacher, labels, kind, weight=0.25)
    want = 0.75 * (1e4 + 0) / 2 + 0.25 * (2e4 + 500) / 2
    agree(got, torch.tensor(want, dtype=of_type(dtype)), of=f"distillation_loss, {kind!r}, logits up to 10,000")


@part("distillation_loss")
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_teacher_gets_no_gradient(attempt, draw, kind):
    """Gradients flow to both heads of the student, none to the teacher."""
    given = _distillation_inputs(draw)
    options = {"weight": 0.3, "temperature": 2.5}
    value, [first, second, third, *_] = attempt.gradients(
        "distillation_loss", *given, kind, **options, upstream=torch.ones((), dtype=torch.float64)
    )
    leaves = [x.clone().requires_grad_() for x in given[:2]]
    loss = deit_loss(*leaves, *given[2:], kind, **options)
    agree(value, loss.detach(), of=f"distillation_loss, {kind!r}, {options}")
    want = leaf_gradients(loss, 1.0, leaves)
    for name, got, one in zip(("logits", "distilled"), (first, second), want, strict=True):
        assert got is not None, f"no gradient reaches {name}"
        agree(got, one, axes="b k", of=f"the gradient of {name}, {kind!r}, {options}")
    assert third is None or not third.any(), f"a gradient reaches the teacher, kind {kind!r}"


@part("distillation_loss")
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_distillation_arguments_are_refused(attempt, draw, kind):
    """Another kind, a weight outside 0 .. 1 and a temperature that is not above 0 raise ValueError."""
    given = _distillation_inputs(draw)
    for other in (kind.upper(), "", "none"):
        with refusal(ValueError, of=f"kind {other!r}"):
            attempt.distillation_loss(*given, other)
    for options in ({"weight": -0.01}, {"weight": 1.01}, {"temperature": 0.0}, {"temperature": -1.0}):
        with refusal(ValueError, of=f"{kind!r} with {options}"):
            attempt.distillation_loss(*given, kind, **options)


@part("distillation_loss")
def test_other_teachers_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(*(draw.normal(5, 7) for _ in "123"), draw.integers(0, 7, 5), "hard") for _ in range(2)]
    hold_again(attempt, reference, "distillation_loss", *asked, of="distillation_loss of (5, 7)", views=False)


# --------------------------------------------------------------------------------------------------- attention_rollout


def rollout(maps, heads="mean", *, residual=True, reverse=False, normalise=True, last=False):
    """Each output token's shares, input by input. The keywords are mistakes."""
    b, _, t, _ = maps[0].shape
    result = torch.eye(t, dtype=maps[0].dtype).expand(b, t, t)
    for weights in maps[-1:] if last else maps[::-1] if reverse else maps:
        fused = sum(weights[:, h] for h in range(weights.shape[1])) / weights.shape[1]
        if heads == "max":
            fused = weights.max(1).values
        mixed = fused + torch.eye(t, dtype=fused.dtype) if residual else fused
        if normalise:
            mixed = mixed / mixed.sum(-1, keepdim=True)
        elif residual:
            mixed = mixed / 2
        result = torch.einsum("bij,bjk->bik", mixed, result)
    return result


@part("attention_rollout")
@each_dtype
@pytest.mark.parametrize("heads", ["mean", "max"])
def test_rollout_multiplies_the_layers(attempt, draw, heads, dtype):
    """Layers with their residuals multiply, later ones from the left, rows summing to 1; a list or one tensor."""
    stacks = [draw.normal(n, 2, 3, 7, 7, dtype=of_type(dtype), scale=2.0).softmax(-1) for n in (1, 2, 5, 13)]
    rows = [(given, heads) for maps in stacks for given in (list(maps), strided(maps))]
    if heads == "mean":
        rows += [(list(maps),) for maps in stacks]
    found = attempt.each("attention_rollout", rows)
    for i, maps in enumerate(stacks):
        want = rollout(list(maps), heads)
        known = {
            "the layers multiplied in the other order": lambda m=maps: rollout(list(m), heads, reverse=True),
            "no residual connection": lambda m=maps: rollout(list(m), heads, residual=False),
            "the last layer alone": lambda m=maps: rollout(list(m), heads, last=True),
            "rows that do not sum to 1 (max + I, halved)": lambda m=maps: rollout(list(m), heads, normalise=False),
            "the other way to join heads": lambda m=maps: rollout(list(m), "max" if heads == "mean" else "mean"),
            "the transpose": want.mT,
        }
        of = f"attention_rollout of {len(maps)} layers, b=2 h=3 t=7, heads={heads!r}"
        agree(found[2 * i], want, axes="b i j", of=f"{of}, a list", known=known)
        agree(found[2 * i + 1], want, axes="b i j", of=f"{of}, a tensor", known=known)
        if heads == "mean":
            agree(found[2 * len(stacks) + i], want, axes="b i j", of=f"{of} by default", known=known)


@part("attention_rollout")
def test_rollout_of_layers_with_unlike_heads(attempt, draw):
    """In a list, layers may differ in their number of heads."""
    maps = [draw.normal(2, h, 5, 5, scale=2.0).softmax(-1) for h in (1, 4, 2)]
    for heads in ("mean", "max"):
        of = f"attention_rollout of layers with 1, 4 and 2 heads, {heads!r}"
        agree(attempt.attention_rollout(maps, heads=heads), rollout(maps, heads), axes="b i j", of=of)


@part("attention_rollout")
def test_rollout_refuses_other_ways(attempt, draw):
    """Another value of heads raises ValueError."""
    maps = [draw.normal(2, 3, 5, 5).softmax(-1)]
    for heads in ("min", "sum", ""):
        with refusal(ValueError, of=f"heads={heads!r}"):
            attempt.attention_rollout(maps, heads)


@part("attention_rollout")
def test_other_maps_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [([draw.normal(2, 3, 7, 7).softmax(-1) for _ in "12"], "mean") for _ in range(2)]
    hold_again(
        attempt, reference, "attention_rollout", *asked, of="attention_rollout of two maps (2, 3, 7, 7)", views=False
    )


# ------------------------------------------------------------------------------------------------------------- box_iou


def iou_of(a, b, *, extra=0.0, clamp=True, generalized=False):
    """IoU or GIoU of two boxes, in plain Python. extra: pixels added to sides; clamp=False: a mistake."""
    wide, high = (min(a[2 + i], b[2 + i]) - max(a[i], b[i]) + extra for i in (0, 1))
    both = max(wide, 0) * max(high, 0) if clamp else wide * high
    one, two = ((x[2] - x[0] + extra) * (x[3] - x[1] + extra) for x in (a, b))
    either = one + two - both
    iou = both / either if either else 0.0
    if not generalized:
        return iou
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return iou - (hull - either) / hull if hull else iou


def all_pairs(a, b, **how):
    table = [[iou_of(x, y, **how) for y in b.tolist()] for x in a.tolist()]
    return torch.tensor(table, dtype=a.dtype).reshape(len(a), len(b))


def random_boxes(draw, n, dtype=torch.float64, size=1.0):
    start, extent = draw.uniform(n, 2), draw.uniform(n, 2, low=0.1, high=0.8)
    return (torch.cat([start, start + extent], 1) * size).to(dtype)


def _box_mistakes(a, b, **how):
    return {
        "boxes whose sides count one pixel more": lambda: all_pairs(a, b, extra=1.0, **how),
        "negative sides multiplied (no clamp at 0)": lambda: all_pairs(a, b, clamp=False, **how),
        "IoU": lambda: all_pairs(a, b),
        "GIoU": lambda: all_pairs(a, b, generalized=True),
        "b against a": lambda: all_pairs(b, a, **how),
    }


@part("box_iou")
@each_dtype
@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_all_pairs_of_boxes(attempt, draw, name, dtype):
    """(n, m): every box of a with every box of b; small boxes, large ones, none at all."""
    generalized = name == "generalized_box_iou"
    scales = 1.0, 1e-3, 500.0
    pairs = [tuple(random_boxes(draw, n, of_type(dtype), size) for n in (5, 7)) for size in scales]
    a, b = pairs[0]
    rows = [(given(a), given(b)) for a, b in pairs for given in (lambda x: x, strided)]
    *found, first, second, neither = attempt.each(name, [*rows, (a[:0], b), (a, b[:0]), (a[:0], b[:0])])
    for i, (size, (a, b)) in enumerate(zip(scales, pairs, strict=True)):
        want = all_pairs(a, b, generalized=generalized)
        of = f"{name} of 5 and 7 boxes of size about {size:g}"
        known = _box_mistakes(a, b, generalized=generalized)
        agree(found[2 * i], want, axes="n m", of=of, known=known)
        agree(found[2 * i + 1], want, axes="n m", of=f"{of}, scattered in memory", known=known)
    want = [a.new_zeros(0, 7), a.new_zeros(5, 0), a.new_zeros(0, 0)]
    agree([first, second, neither], want, axes="n m", of=f"{name} of no box and 7, of 5 and none, of none")


@part("box_iou")
@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_every_small_pair_of_boxes(attempt, name):
    """All boxes with corners on a grid of 3 x 3 points, those without area among them; 0 / 0 counts as 0."""
    sides = list(itertools.combinations_with_replacement(range(3), 2))
    boxes = torch.tensor([(x1, y1, x2, y2) for x1, x2 in sides for y1, y2 in sides], dtype=torch.float64)
    generalized = name == "generalized_box_iou"
    want = all_pairs(boxes, boxes, generalized=generalized)
    known = _box_mistakes(boxes, boxes, generalized=generalized)
    del known["b against a"]  # of all boxes against all it is the same
    small = boxes / 8
    got, eighths = attempt.each(name, [(boxes, boxes), (small, small)])
    agree(got, want, axes="n m", of=f"{name} of all boxes on a 3 x 3 grid", known=known)
    agree(eighths, want, axes="n m", of=f"{name} of all boxes on a grid of eighths")


@part("box_iou")
def test_box_gradients(attempt, draw):
    """Gradients of IoU and GIoU are those of their formulas, and GIoU's reach boxes that do not meet."""
    a, b = random_boxes(draw, 3), random_boxes(draw, 4)
    b[0] += 5.0  # far away from all
    upstream = draw.normal(3, 4)

    def formula(a, b, generalized):
        a, b = a[:, None], b[None]
        sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
        both = sides[..., 0].relu() * sides[..., 1].relu()
        one, two = ((x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b))
        hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
        hull = hull[..., 0] * hull[..., 1]
        iou = both / (one + two - both)
        return iou - (1 - (one + two - both) / hull) if generalized else iou

    for name, generalized in (("box_iou", False), ("generalized_box_iou", True)):
        got, grads = attempt.gradients(name, a, b, upstream=upstream)
        leaves = [x.clone().requires_grad_() for x in (a, b)]
        value = formula(*leaves, generalized)
        agree(got, value.detach(), axes="n m", of=f"{name} of 3 and 4 boxes")
        want = leaf_gradients(value, upstream, leaves)
        for which, got, one in zip("ab", grads, want, strict=True):
            assert got is not None, f"no gradient of {name} reaches {which}"
            agree(got, one, axes="n x", of=f"the gradient of {which}, {name} of 3 and 4 boxes")


@part("box_iou")
def test_corners_in_the_wrong_order_are_refused(attempt):
    """A box with x2 < x1 or y2 < y1, in a or in b, raises ValueError; one without area does not."""
    fine = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 3.0], [1.0, 1.0, 3.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
    calls, asked = [], []
    for bad in ([1.0, 0.0, 0.5, 2.0], [0.0, 1.0, 2.0, 0.5]):
        boxes = torch.cat([fine, torch.tensor([bad])])
        calls += [(boxes, fine), (fine, boxes), (boxes, boxes)]
        asked += [f"a box {bad} in {which}" for which in ("a", "b", "both")]
    for name in ("box_iou", "generalized_box_iou"):
        *said, unsaid = attempt.run(drivers.refused, name, [*calls, (fine, fine)])
        refuses(said, asked, name)
        accepts([unsaid], ["boxes without area"], name)


def overlaps(boxes):
    """IoU of each box with each, all of them with an area, in float64."""
    a, b = boxes.double()[:, None], boxes.double()
    sides = (torch.minimum(a[..., 2:], b[:, 2:]) - torch.maximum(a[..., :2], b[:, :2])).clamp(min=0)
    both, area = sides[..., 0] * sides[..., 1], (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return both / (area[:, None] + area - both)


def kept_boxes(table, scores, threshold, labels=None, *, strict=True, seen=False):
    """Greedy suppression with a table of overlaps, in plain Python. The keywords are mistakes."""
    table, scores = table.tolist(), scores.tolist()
    labels = [0] * len(scores) if labels is None else labels.tolist()
    kept, passed = [], []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        rivals = [table[i][j] for j in (passed if seen else kept) if labels[i] == labels[j]]
        if not any(o > threshold or (not strict and o == threshold) for o in rivals):
            kept.append(i)
        passed.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def _kept_mistakes(table, scores, threshold, labels=None, *, exact=False):
    """exact: whether some IoU is the threshold."""
    given = table, scores, threshold, labels
    at_it = {"suppression at exactly the threshold too": partial(kept_boxes, *given, strict=False)}
    blind = {"suppression without regard to labels": lambda: kept_boxes(table, scores, threshold)}
    return {
        "what a box that was suppressed itself suppresses too": partial(kept_boxes, *given, seen=True),
        **(at_it if exact else {}),
        "kept indices in ascending order": lambda: kept_boxes(*given).sort().values,
        "the lowest scores first": lambda: kept_boxes(table, -scores, threshold, labels),
        **(blind if labels is not None else {}),
        "no suppression": lambda: scores.argsort(descending=True),
    }


@part("box_iou")
def test_suppression_in_every_order(attempt):
    """Four boxes in a row, each overlapping the next, in all 24 orders of scores: only kept boxes suppress."""
    boxes = torch.tensor([[x, 0.0, x + 3, 1.0] for x in (0.0, 1.0, 2.0, 3.0)])  # IoU 1/2, 1/5, 0
    orders = [torch.tensor(order) / 4 for order in itertools.permutations((2, 0, 3, 1))]
    # in float64, 0.2 is exactly the IoU of 1/5; from a threshold of 1/2 on, no box goes in any order
    cases = [(boxes, 0.1, orders), (boxes, 0.3, orders), (boxes, 0.5, orders[::5]), (boxes, 0.6, orders[::5])]
    rows = [(row, scores, t) for row, t, some in [*cases, (boxes.double(), 0.2, orders)] for scores in some]
    table = overlaps(boxes)
    for (_, scores, threshold), got in zip(rows, attempt.each("non_max_suppression", rows), strict=True):
        of = f"non_max_suppression of a row of boxes, IoU 1/2 and 1/5, scores {scores.tolist()}, {threshold}"
        known = _kept_mistakes(table, scores, threshold, exact=True)
        agree(got, kept_boxes(table, scores, threshold), axes="i", of=of, known=known)


def threshold_near(table, value):
    """A threshold about there that no IoU of the table comes close to: rounding must not decide."""
    near = table.flatten()
    near = near[(near - value).abs() < 0.05].sort().values
    ends = torch.tensor([value - 0.05, value + 0.05], dtype=torch.float64)
    near = torch.cat([ends[:1], near, ends[1:]])
    widest = int(near.diff().argmax())
    return float(near[widest : widest + 2].mean())


@part("box_iou")
@each_dtype
def test_suppression_within_classes(attempt, draw, dtype):
    """Boxes of two classes never compete: not at negative coordinates, not with labels that are negative or huge."""
    boxes, scores = random_boxes(draw, 37, of_type(dtype)), draw.permutation(37).to(of_type(dtype)) / 50
    boxes[20:] = boxes[:17]  # the same boxes again
    labels = draw.integers(-1, 2, 37)
    labels[20:] = labels[:17] + 1  # of another class: none goes because of its double
    moved = boxes - boxes.max() - 1.0  # all below 0, the largest coordinate at -1
    table, elsewhere = overlaps(boxes), overlaps(moved)
    threshold = threshold_near(table, 0.35)
    calls = [
        (boxes, scores, threshold, labels),
        (moved, scores, threshold_near(elsewhere, 0.35), labels),
        (boxes, scores, threshold, labels * 2**60),
    ]
    where = "in 0 .. 2, labels -1 .. 2", "in -3 .. -1, labels -1 .. 2", "in 0 .. 2, labels multiples of 2^60"
    got = attempt.each("non_max_suppression", calls)
    for call, shares, one, which in zip(calls, (table, elsewhere, table), got, where, strict=True):
        given = shares, *call[1:]
        of = f"non_max_suppression of 37 boxes {which}"
        agree(one, kept_boxes(*given), axes="i", of=of, known=_kept_mistakes(*given))


@part("box_iou")
@each_dtype
def test_suppression_of_many_boxes(attempt, draw, dtype):
    """The best score first, of equal ones the lower index; with labels only boxes of one class compete."""
    boxes, scores = random_boxes(draw, 41, of_type(dtype)), draw.permutation(41).to(of_type(dtype)) / 50
    tied = (scores * 4).round()
    labels = draw.integers(0, 3, 41)
    table = overlaps(boxes)
    low, high = threshold_near(table, 0.15), threshold_near(table, 0.45)
    some = (scores, low), (scores, high), (tied, low), (tied, high), (-scores, low)
    calls = [(boxes, s, t, c) for s, t in some for c in (None, labels)]
    calls += [(boxes[:0], scores[:0], 0.5, None), (boxes[:0], scores[:0], 0.5, labels[:0])]
    calls += [(strided(boxes[:9].repeat(3, 1)), tied[:27], low, labels[:27])]
    tables = [table] * 10 + [table[:0]] * 2 + [table[:9, :9].repeat(3, 3)]
    *found, left_out = attempt.each("non_max_suppression", [*calls, calls[0][:3]])
    for call, shares, got in zip(calls, tables, found, strict=True):
        which = "no labels" if call[3] is None else "labels"
        of = f"non_max_suppression of {len(call[0])} boxes, threshold {call[2]}, {which}"
        given = shares, *call[1:]
        agree(got, kept_boxes(*given), axes="i", of=of, known=_kept_mistakes(*given))
    want = kept_boxes(table, scores, low)
    agree(left_out, want, axes="i", of="non_max_suppression of 41 boxes, labels left out")


# ----------------------------------------------------------------------------------------------------- hungarian_match


def cheapest(cost):
    """The least sum of any assignment, by trying all."""
    table = cost.double() if cost.shape[0] <= cost.shape[1] else cost.double().T
    rows = range(table.shape[0])
    values = table.tolist()
    return min(sum(values[i][p[i]] for i in rows) for p in itertools.permutations(range(table.shape[1]), len(rows)))


def greedy(cost):
    """The sum that taking the cheapest free pair again and again gives."""
    free, total = cost.double().clone(), 0.0
    for _ in range(min(cost.shape)):
        i, j = divmod(int(free.argmin()), free.shape[1])
        total += float(free[i, j])
        free[i], free[:, j] = math.inf, math.inf
    return total


def row_by_row(cost):
    """The sum that giving each row in turn its cheapest free column gives."""
    taken, total = set(), 0.0
    for row in cost.double().tolist():
        j = min((j for j in range(len(row)) if j not in taken), key=row.__getitem__, default=None)
        if j is not None:
            taken.add(j)
            total += row[j]
    return total


def paired(got, cost, of):
    """The sum of costs of `got`, which has to be an assignment as promised."""
    assert isinstance(got, tuple), f"{of}: expected a tuple of two tensors, rows and columns"
    assert len(got) == 2, f"{of}: expected two tensors, rows and columns, got {len(got)}"
    rows, columns = got
    n = min(cost.shape)
    for name, one, size in (("rows", rows, cost.shape[0]), ("columns", columns, cost.shape[1])):
        assert isinstance(one, torch.Tensor), f"{of}: the {name} are no tensor"
        assert one.dtype == torch.int64, f"{of}: the {name} are {one.dtype}, not int64"
        assert one.shape == (n,), f"{of}: expected {n} {name}, got shape {tuple(one.shape)}"
        assert len(set(one.tolist())) == n, f"{of}: the {name} {one.tolist()} repeat"
        assert all(0 <= i < size for i in one.tolist()), f"{of}: the {name} {one.tolist()} leave 0 .. {size - 1}"
    assert rows.tolist() == sorted(rows.tolist()), f"{of}: the rows {rows.tolist()} do not ascend"
    return float(cost.double()[rows, columns].sum())


def worse(total, best, cost):
    """Whether a sum of costs is above the best by more than rounding explains."""
    tolerance = 1e-9 if cost.dtype == torch.float64 else 1e-5
    return abs(total - best) > tolerance * min(cost.shape) * float(cost.abs().max())


def check_assignment(got, cost, best, of):
    """Hold that `got` is an assignment as promised, and that its sum is `best`."""
    total = paired(got, cost, of)
    if worse(total, best, cost):
        known = {
            "always taking the cheapest pair that is free": lambda: greedy(cost),
            "giving each row in turn the cheapest free column": lambda: row_by_row(cost),
            "the rows in order with the columns in order": lambda: float(cost.double().diagonal().sum()),
        }
        agree(total, best, of=f"{of}: the sum of the costs", known=known)


@part("hungarian_match")
@each_dtype
def test_assignment_beats_all_others(attempt, draw, dtype):
    """Of all assignments of up to 5 rows and 5 columns, signs and ties included, none is cheaper."""
    kind, costs = of_type(dtype), []
    sizes = itertools.product(range(1, 6), repeat=2) if dtype == "float64" else ((2, 3), (4, 4), (5, 3))
    for r, c in sizes:
        costs.append(draw.normal(r, c, dtype=kind))
        costs.append(draw.integers(-3, 4, r, c).to(kind))
        if min(r, c) >= 2:
            costs.append(draw.uniform(r, c, low=10.0, high=11.0, dtype=kind))
    costs.append(strided(draw.normal(4, 5, dtype=kind)))
    found = attempt.each("linear_assignment", [(cost,) for cost in costs])
    for cost, got in zip(costs, found, strict=True):
        which = f"of {cost.tolist()}" if cost.numel() < 10 else f"{tuple(cost.shape)}"
        check_assignment(got, cost, cheapest(cost), f"linear_assignment {which}")


@part("hungarian_match")
@each_dtype
def test_assignment_of_any_magnitude(attempt, draw, dtype):
    """Tiny costs, huge ones, and (in float64) small differences of huge ones: the least sum all the same."""
    cases = []
    for size in ((4, 5), (5, 3), (4, 4)) * 2:
        whole = draw.integers(-9, 10, *size).to(of_type(dtype))
        cases += [(whole * scale, whole, f"{scale:g} times whole numbers") for scale in (2.0**-24, 2.0**40)]
        if dtype == "float64":
            cases.append((whole + 2.0**40, whole, "2^40 plus whole numbers"))
    got = attempt.each("linear_assignment", [(cost,) for cost, _, _ in cases])
    for (_, whole, which), one in zip(cases, got, strict=True):
        # sums of the whole numbers themselves: exact, and ranked as the costs are
        check_assignment(one, whole, cheapest(whole), f"linear_assignment of {which}, {tuple(whole.shape)}")


@part("hungarian_match")
@pytest.mark.parametrize("size", [(40, 50), (19, 13), (17, 17)], ids=str)
def test_assignment_of_many(attempt, draw, size):
    """Up to 40 rows and 50 columns, their best assignment known by construction: too many to try, and greedy fails."""
    # By duality: cost = u + v + slack, v <= 0 and 0 where unpaired, slack 0 on the pairs and above 0 elsewhere.
    n, m = sorted(size)
    pairs = draw.permutation(m)[:n]
    u, v, slack = draw.normal(n, scale=3.0), torch.zeros(m, dtype=torch.float64), draw.uniform(n, m, low=0.01, high=0.5)
    v[pairs] = -draw.uniform(n, low=0.0, high=3.0)
    slack[torch.arange(n), pairs] = 0.0
    cost = u[:, None] + v + slack
    best = float(u.sum() + v[pairs].sum())
    if size[0] > size[1]:
        cost = cost.T
    check_assignment(attempt.linear_assignment(cost), cost, best, f"linear_assignment of {size} costs")


@part("hungarian_match")
def test_assignment_of_none_and_of_no_number(attempt, draw):
    """No row or no column gives no pair; NaN and infinite costs raise ValueError."""
    none = torch.zeros(0, dtype=torch.int64)
    for shape in ((0, 3), (3, 0), (0, 0)):
        got = attempt.linear_assignment(torch.zeros(shape))
        agree(got, (none, none), axes="i", of=f"linear_assignment of {shape} costs")
    calls = []
    for bad, size in itertools.product((NAN, math.inf, -math.inf), ((3, 4), (4, 3), (1, 1))):
        cost = draw.normal(*size)
        cost[-1, 0] = bad
        calls.append((cost,))
    refuses(attempt.run(drivers.refused, "linear_assignment", calls), calls, "linear_assignment")


def detections(draw, q, m, k, dtype=torch.float64):
    """Random predictions and objects of one image."""

    def boxes(n):
        return torch.cat([draw.uniform(n, 2, low=0.2, high=0.8), draw.uniform(n, 2, low=0.05, high=0.4)], 1).to(dtype)

    return draw.normal(q, k + 1, dtype=dtype, scale=2.0), boxes(q), draw.integers(0, k, m), boxes(m)


def pair_costs(logits, boxes, labels, targets, weights=(1.0, 5.0, 2.0), *, classes=None, iou=True, score=None):
    """What each pair costs, in plain Python. The keywords are mistakes."""
    probabilities = logits[:, :classes].softmax(-1) if score is None else score(logits)

    def corners(box):
        x, y, w, h = box
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]

    table = []
    for i, box in enumerate(boxes.tolist()):
        line = []
        for label, target in zip(labels.tolist(), targets.tolist(), strict=True):
            distance = sum(abs(x - y) for x, y in zip(box, target, strict=True))
            overlap = iou_of(corners(box), corners(target), generalized=iou)
            line.append(-weights[0] * float(probabilities[i, label]) + weights[1] * distance - weights[2] * overlap)
        table.append(line)
    return torch.tensor(table, dtype=torch.float64).reshape(len(boxes), len(labels))


def best_pairs(cost):
    """The cheapest assignment itself, by trying all: two lists."""
    q, m = cost.shape
    values = cost.tolist()
    if q <= m:
        best = min(itertools.permutations(range(m), q), key=lambda p: sum(values[i][p[i]] for i in range(q)))
        return torch.arange(q), torch.tensor(best, dtype=torch.int64)
    best = min(itertools.permutations(range(q), m), key=lambda p: sum(values[p[j]][j] for j in range(m)))
    order = sorted(range(m), key=lambda j: best[j])
    return torch.tensor([best[j] for j in order], dtype=torch.int64), torch.tensor(order, dtype=torch.int64)


def _match_mistakes(image, how):
    """What each known mistake matches in an image; `how`: the weights, or nothing."""
    wrong = {
        "a match by class and L1 only, or the other weights left out": ([(1.0, 5.0, 0.0)], {}),
        "a match by unweighted costs": ([(1.0, 1.0, 1.0)], {}),
        "a match that seeks the most expensive pairs": ([(-1.0, -5.0, -2.0)], {}),
        "a match by IoU instead of GIoU": (how, {"iou": False}),
        "a match by softmax without the last class": (how, {"classes": image[0].shape[1] - 1}),
        "a match by log-probabilities": (how, {"score": lambda y: y.log_softmax(-1)}),
    }
    return {name: lambda w=w, o=o: best_pairs(pair_costs(*image, *w, **o)) for name, (w, o) in wrong.items()}


WEIGHTS = [None, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (3.0, 0.5, 0.5)]


@part("hungarian_match")
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_predictions_matched_with_objects(attempt, draw, weights):
    """Cost: minus the probability of the object's class, L1 distance and minus GIoU, weighed 1, 5 and 2 by default."""
    sizes = (5, 3, 4), (6, 4, 2), (3, 5, 7), (4, 4, 3), (5, 1, 2)
    images = [detections(draw, *size) for size in sizes]
    images += [detections(draw, *size, torch.float32) for size in sizes[:3]]
    how = () if weights is None else (weights,)
    for image, got in zip(images, attempt.each("hungarian_match", [(*x, *how) for x in images]), strict=True):
        cost = pair_costs(*image, *how).to(image[1].dtype)
        of = f"{len(image[1])} predictions and {len(image[2])} objects"
        of = f"hungarian_match of {of}, {image[1].dtype}, weights {weights or 'left out'}"
        best = best_pairs(cost)
        if worse(paired(got, cost, of), paired(best, cost, of), cost):
            agree(got, best, axes="i", of=of, known=_match_mistakes(image, how))


@part("hungarian_match")
def test_predictions_that_cost_nearly_the_same(attempt, draw):
    """Of two predictions for one object, the cheaper one is matched, by however little the costs differ."""
    logits, boxes, labels, targets = detections(draw, 60, 2, 4)
    table, images = pair_costs(logits, boxes, labels, targets), []
    for j in range(2):
        costs, order = table[:, j].sort()
        for i in costs.diff().argsort()[:8].tolist():  # neighbours in cost: any other formula orders some otherwise
            two = order[i : i + 2].sort().values
            images.append((logits[two], boxes[two], labels[j : j + 1], targets[j : j + 1]))
    for image, got in zip(images, attempt.each("hungarian_match", images), strict=True):
        cost = pair_costs(*image)
        low, high = sorted(cost.flatten().tolist())
        of = f"hungarian_match of an object and 2 predictions that cost {low:.6f} and {high:.6f}"
        best = best_pairs(cost)
        if worse(paired(got, cost, of), paired(best, cost, of), cost):
            agree(got, best, axes="i", of=of, known=_match_mistakes(image, ()))


@part("hungarian_match")
def test_an_image_without_objects(attempt, draw):
    """Without objects nothing is matched; a hundred predictions and 30 objects are matched in time."""
    logits, boxes, labels, targets = detections(draw, 5, 3, 4)
    none = torch.zeros(0, dtype=torch.int64)
    got = attempt.hungarian_match(logits, boxes, labels[:0], targets[:0])
    agree(got, (none, none), axes="i", of="hungarian_match of 5 predictions and no object")
    # Objects that predictions hit exactly, class included: any other pairing costs more.
    logits, boxes, _, _ = detections(draw, 100, 1, 9)
    hit = draw.permutation(100)[:30]
    labels = draw.integers(0, 9, 30)
    logits[hit, labels] += 30.0
    got = attempt.hungarian_match(logits, boxes, labels, boxes[hit])
    order = hit.argsort()
    agree(got, (hit[order], order), axes="i", of="hungarian_match of 100 predictions, 30 of them exactly on an object")


# ----------------------------------------------------------------------------------------------------------- dice_loss


def dice(logits, labels, smooth=1.0, ignore_index=255, *, pooled=False, square=False, weigh=True, start=0, score=None):
    """Image by image, class by class. The keywords are mistakes."""
    p = torch.softmax(logits, 1) if score is None else score(logits)
    values = []
    groups = [slice(None)] if pooled else [slice(i, i + 1) for i in range(len(logits))]
    for rows in groups:
        counted = labels[rows] != ignore_index
        for c in range(start, logits.shape[1]):
            ours = p[rows, c][counted]
            truth = (labels[rows] == c)[counted].to(logits.dtype)
            below = ours if weigh else p[rows, c].flatten()
            sums = (below**2).sum() + truth.sum() if square else below.sum() + truth.sum()
            values.append((2 * (ours * truth).sum() + smooth) / (sums + smooth))
    return 1 - torch.stack(values).mean()


def segmentation(draw, b, k, height, width, dtype=torch.float64, ignored=255, share=0.3):
    logits = draw.normal(b, k, height, width, dtype=dtype, scale=2.0)
    labels = draw.integers(0, k, b, height, width)
    labels[draw.uniform(b, height, width) < share] = ignored
    return logits, labels


@part("dice_loss")
@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "float64"),
        ({"smooth": 0.1}, "float64"),
        ({"ignore_index": 0}, "float64"),
        ({"smooth": 7.0, "ignore_index": -1}, "float64"),
        ({}, "float32"),
        ({"smooth": 0.1, "ignore_index": -1}, "float32"),
    ],
    ids=str,
)
def test_dice_of_images_and_classes(attempt, draw, options, dtype):
    """Soft Dice for each image and class, ignored pixels in no sum; the loss is 1 - the mean."""
    ignored = options.get("ignore_index", 255)
    inputs = [segmentation(draw, *size, of_type(dtype), ignored) for size in ((2, 4, 5, 7), (3, 2, 1, 6))]
    for _, labels in inputs:
        labels[0][labels[0] == 1] = ignored  # a class that the first image lacks
    rows = [(given(logits), given(labels)) for logits, labels in inputs for given in (lambda x: x, strided)]
    found = attempt.each("dice_loss", rows, **options)
    for i, (logits, labels) in enumerate(inputs):
        smooth = options.get("smooth", 1.0)
        wrong = {
            "the pixels of the batch pooled": {"pooled": True},
            "squares below, as in V-Net": {"square": True},
            "ignored pixels in the sum of p": {"weigh": False},
            "the background left out": {"start": 1},
            "a sigmoid instead of a softmax": {"score": torch.sigmoid},
            "no softmax": {"score": lambda x: x},
        }
        known = {name: partial(dice, logits, labels, smooth, ignored, **how) for name, how in wrong.items()}
        want = dice(logits, labels, smooth, ignored)
        known["the mean Dice coefficient itself"] = 1 - want
        b, k, height, width = logits.shape
        of = f"dice_loss, b={b} k={k} H={height} W={width}, {options or 'defaults'}"
        agree(found[2 * i], want, of=of, known=known)
        agree(found[2 * i + 1], want, of=f"{of}, scattered", known=known)


@part("dice_loss")
def test_dice_gradients(attempt, draw):
    """Gradients are those of the formula, and 0 at ignored pixels."""
    logits, labels = segmentation(draw, 2, 3, 4, 5)
    value, [got, _] = attempt.gradients("dice_loss", logits, labels, upstream=torch.ones((), dtype=torch.float64))
    assert got is not None, "no gradient reaches the logits"
    leaf, of = logits.clone().requires_grad_(), "dice_loss, b=2 k=3 H=4 W=5"
    loss = dice(leaf, labels)
    agree(value, loss.detach(), of=of)
    [want] = leaf_gradients(loss, 1.0, [leaf])
    agree(got, want, axes="b k H W", of=f"the gradient of logits, {of}")
    assert not got.movedim(1, -1)[labels == 255].any(), "a gradient reaches ignored pixels"


def ious(predicted, labels, classes, ignored=255):
    values = []
    counted = labels != ignored
    for c in range(classes):
        ours, truth = (predicted == c) & counted, (labels == c) & counted
        either = int((ours | truth).sum())
        values.append(int((ours & truth).sum()) / either if either else NAN)
    present = [value for value in values if not math.isnan(value)]
    mean = sum(present) / len(present) if present else NAN
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)


@part("dice_loss")
@pytest.mark.parametrize("shape", [(3, 5, 7), (11,), (2, 3, 2, 4)], ids=str)
def test_mean_iou_over_all_pixels(attempt, draw, shape):
    """IoU of each class over all images together; a class that is nowhere is NaN and leaves the mean alone."""
    cases = []
    for classes, ignored in ((4, None), (6, 255), (5, 0), (3, -1)):
        labels = draw.integers(0, classes - 1, *shape)  # the last class has no label ...
        predicted = draw.integers(0, classes, *shape)
        if ignored is None:
            predicted = predicted.clamp(max=classes - 2)  # ... nor, here, is it predicted
        else:
            labels[draw.uniform(*shape) < 0.3] = ignored
        cases.append((predicted, labels, classes) if ignored is None else (predicted, labels, classes, ignored))
    found = attempt.each("mean_iou", cases)
    scattered = attempt.each("mean_iou", [(strided(x), strided(y), *rest) for x, y, *rest in cases])
    for (predicted, labels, classes, *how), got, again in zip(cases, found, scattered, strict=True):
        want = ious(predicted, labels, classes, *how)

        def mean_of(values, want=want):
            return torch.tensor(values, dtype=torch.float64), want[1]

        def by_image(given=(predicted, labels), classes=classes, how=tuple(how)):
            each = torch.stack([ious(x, y, classes, *how)[1] for x, y in zip(*given, strict=True)])
            return each.nanmean(), each.nanmean(0)

        known = {
            "the mean with 0 for classes that are nowhere": mean_of(float(want[1].nan_to_num(0).mean())),
            "the mean with 1 for classes that are nowhere": mean_of(float(want[1].nan_to_num(1).mean())),
            "ignored pixels counted as predicted": partial(ious, predicted, labels, classes, 999),
        }
        if len(shape) > 1:
            known["the mean over images of each image's IoU"] = by_image
        of = f"mean_iou of {shape} pixels, classes={classes}, ignore_index {how[0] if how else 'left out'}"
        agree(got, want, axes="k", of=of, known=known)
        agree(again, want, axes="k", of=f"{of}, scattered in memory", known=known)


@part("dice_loss")
def test_mean_iou_of_nothing(attempt, draw):
    """No pixel at all, or ignored ones only: every class is NaN, and the mean too. A perfect answer has 1."""
    nothing = (torch.tensor(NAN, dtype=torch.float64), torch.full((3,), NAN, dtype=torch.float64))
    labels = draw.integers(0, 3, 4, 5)
    calls = [(labels[:0], labels[:0], 3), (labels, torch.full((4, 5), 255), 3)]
    agree(attempt.each("mean_iou", calls), [nothing] * 2, axes="k", of="mean_iou of no pixel that counts")
    labels[0, :3] = torch.arange(3)
    got = attempt.mean_iou(labels, labels, 3)
    want = torch.tensor(1.0, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    agree(got, want, axes="k", of="mean_iou of labels with themselves")


@part("dice_loss")
def test_other_labels_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 4, 5, 7), draw.integers(0, 4, 2, 5, 7)) for _ in range(2)]
    hold_again(attempt, reference, "dice_loss", *asked, of="dice_loss of (2, 4, 5, 7)", views=False)
    asked = [(draw.integers(0, 4, 3, 5, 7), draw.integers(0, 4, 3, 5, 7), 4) for _ in range(2)]
    hold_again(attempt, reference, "mean_iou", *asked, of="mean_iou of (3, 5, 7), 4 classes", views=False)
