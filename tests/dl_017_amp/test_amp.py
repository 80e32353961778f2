"""Hidden checks of dl_017: oracles are bit arithmetic, torch's own casts, and float32 training written out."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import of_type

from . import drivers

INF, NAN = math.inf, math.nan
HALVES = ["bfloat16", "float16"]


# --- float_format -----------------------------------------------------------------------------------------------------


def decoded(e, m, infinity):
    """All positive finite numbers of a format, code by code."""
    bias = 2 ** (e - 1) - 1
    numbers = []
    for field, fraction in itertools.product(range(2**e), range(2**m)):
        top = field == 2**e - 1
        if top and (infinity or fraction == 2**m - 1):
            continue
        exponent = max(field, 1) - bias
        numbers.append(((field > 0) + fraction / 2**m) * 2.0**exponent)
    return [x for x in numbers if x > 0]


NAMED = {
    "float16": (5, 10, {}, [65504.0, 2.0**-14, 2.0**-24, 2.0**-10]),
    "bfloat16": (8, 7, {}, [(2 - 2**-7) * 2.0**127, 2.0**-126, 2.0**-133, 2.0**-7]),
    "e5m2": (5, 2, {"infinity": True}, [57344.0, 2.0**-14, 2.0**-16, 0.25]),
    "e4m3": (4, 3, {"infinity": False}, [448.0, 2.0**-6, 2.0**-9, 0.125]),
    "e4m3 with infinity": (4, 3, {}, [240.0, 2.0**-6, 2.0**-9, 0.125]),
    "TF32": (8, 10, {}, [(2 - 2**-10) * 2.0**127, 2.0**-126, 2.0**-136, 2.0**-10]),
    "float64": (11, 52, {}, [(2 - 2**-52) * 2.0**1023, 2.0**-1022, 2.0**-1074, 2.0**-52]),
    "(8, 23) without infinity": (8, 23, {"infinity": False}, [(2 - 2**-22) * 2.0**128, 2.0**-126, 2.0**-149, 2.0**-23]),
}
KEYS = ("max", "smallest_normal", "smallest_subnormal", "eps")


@part("float_format")
@pytest.mark.parametrize("name", NAMED)
def test_formats_that_have_a_name(attempt, name):
    """float16, bfloat16, e5m2, e4m3, TF32 and float64 have the four numbers that one finds in tables, exactly."""
    e, m, options, numbers = NAMED[name]
    got = attempt.float_format(e, m, **options)
    largest, normal, _, eps = numbers
    wrong_max = {
        "the highest field taken for numbers": {"max": 2 * largest},
        "the highest field kept for Inf": {"max": (2 - eps) * 2.0 ** (2 ** (e - 1) - 1)},
        "the NaN code taken for a number": {"max": (2 - eps) * 2.0 ** (2 ** (e - 1))}
        if not options.get("infinity", True)
        else {},
        "the smallest normal taken for the smallest subnormal": {"smallest_subnormal": normal},
        "half an ulp for eps": {"eps": eps / 2},
    }
    want = dict(zip(KEYS, numbers, strict=True))
    agree(got, want, of=f"float_format({e}, {m}), {name}", known={k: want | v for k, v in wrong_max.items()})
    assert got == want, f"float_format({e}, {m}): expected {want}, got {got}; all four are exact in Python floats"
    assert all(isinstance(v, float) for v in got.values()), f"float_format({e}, {m}) gives {got}: not Python floats"


@part("float_format")
@pytest.mark.parametrize("infinity", [True, False])
def test_formats_agree_with_all_their_codes(attempt, infinity):
    """For every small format, the four numbers are those that decoding all its codes finds."""
    sizes = [(e, m) for e in range(2, 7) for m in range(1, 5)]
    got = attempt.run(drivers.formats, [(e, m, {"infinity": infinity}) for e, m in sizes])
    for (e, m), numbers in zip(sizes, got, strict=True):
        codes = decoded(e, m, infinity)
        want = {
            "max": max(codes),
            "smallest_normal": min(codes) * 2**m,
            "smallest_subnormal": min(codes),
            "eps": min(x for x in codes if x > 1) - 1,
        }
        agree(numbers, want, of=f"float_format({e}, {m}, infinity={infinity})")


@part("float_format")
@pytest.mark.parametrize("sizes", [(1, 3), (0, 3), (4, 0), (5, -1)], ids=str)
def test_formats_too_small_are_refused(attempt, sizes):
    """Fewer than 2 exponent bits or no mantissa bit: ValueError."""
    with refusal(ValueError, of=f"float_format{sizes}"):
        attempt.float_format(*sizes)


# --- round_to_bfloat16 ------------------------------------------------------------------------------------------------


def as_bits(x):
    return torch.where(x.isnan(), torch.tensor(0x7FC00000, dtype=torch.int32), x.view(torch.int32))


def from_bits(bits):
    """Float32 of 32-bit patterns given as non-negative int64."""
    return torch.where(bits >= 2**31, bits - 2**32, bits).to(torch.int32).view(torch.float32)


def patterns(low):
    """Every upper half of a float32 together with one lower half."""
    return from_bits(torch.arange(2**16) * 2**16 + low)


def cut(x, add):
    """Add to the bits of x (as unsigned integers), cut the lower 16; NaN stays."""
    bits = x.view(torch.int32).to(torch.int64) % 2**32
    rounded = from_bits((bits + add) % 2**32 // 2**16 * 2**16)
    return torch.where(x.isnan(), x, rounded)


KNOWN_ROUNDINGS = {
    "cutting the low bits off (towards zero)": lambda x: cut(x, 0),
    "ties away from zero": lambda x: cut(x, 0x8000),
    "ties towards zero": lambda x: cut(x, 0x7FFF),
}


@part("round_to_bfloat16")
def test_rounding_of_ties(attempt):
    """Halfway between two bfloat16 numbers, the one whose last bit is 0 is taken."""
    x = torch.tensor([1 + k / 512 for k in range(17)] + [-1 - k / 512 for k in range(17)] + [0.0, -0.0, 2**-133])
    want = x.bfloat16().float()
    known = {name: call(x) for name, call in KNOWN_ROUNDINGS.items()}
    agree(attempt.round_to_bfloat16(x), want, axes="i", of="1 + k/512 and -1 - k/512 rounded", known=known, tol=1e-9)


@part("round_to_bfloat16")
@pytest.mark.parametrize("low", [0x0000, 0x0001, 0x7FFF, 0x8001, 0x8000, 0xFFFF], ids=hex)
def test_rounding_of_every_upper_half(attempt, low):
    """With every upper half, the result is torch's cast, bit for bit: subnormals, overflow to Inf, Inf, NaN, -0.0."""
    x = patterns(low)
    got = attempt.round_to_bfloat16(x)
    want = x.bfloat16().float()
    agree(got.isnan(), want.isnan(), axes="i", of=f"where a NaN is, lower half {low:#06x}")
    known = {name: lambda call=call: as_bits(call(x)) for name, call in KNOWN_ROUNDINGS.items()}
    if low == 0x8000:  # a tie: cutting is what ties towards zero are, and shows elsewhere
        known = {name: value for name, value in known.items() if not name.startswith("cutting")}
    agree(as_bits(got), as_bits(want), axes="i", of=f"bits of the result, lower half {low:#06x}", known=known)


@part("round_to_bfloat16")
def test_rounding_of_random_numbers(attempt, draw):
    """Numbers of all magnitudes are rounded as torch's cast rounds them."""
    x = from_bits(draw.integers(0, 2**32, 127, 61))
    got = attempt.round_to_bfloat16(x)
    agree(as_bits(got), as_bits(x.bfloat16().float()), axes="i j", of="bits of 7,747 random patterns after rounding")


@part("round_to_bfloat16")
def test_rounding_with_noise(attempt, draw):
    """With noise, that is added instead and the rest is cut: 0 cuts, 65,535 moves all but exact numbers away from 0."""
    x = draw.normal(7, 101, dtype=torch.float32)
    x[0, :6] = torch.tensor([INF, -INF, NAN, -0.0, 3.4e38, -3.4e38])
    x[1] = x[1].bfloat16().float()
    x[2, :3] = from_bits(torch.tensor([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF]))  # NaN by low bits alone; the largest codes
    noise = draw.integers(0, 2**16, 7, 101).to(torch.int32)
    noise[0, ::2], noise[1, ::2], noise[2, :3] = 0, 65_535, 65_535
    want = cut(x, noise.to(torch.int64))
    nearest = x.bfloat16().float()
    got = attempt.round_to_bfloat16(x, noise)
    of = "(7, 101) random numbers rounded with noise"
    agree(got.isnan(), want.isnan(), axes="i j", of=f"where a NaN is in {of}")
    agree(as_bits(got), as_bits(want), axes="i j", of=f"bits of {of}", known={"nearest even": as_bits(nearest)})
    again = attempt.round_to_bfloat16(x.T, noise=noise.T)
    agree(as_bits(again), as_bits(want).T, axes="j i", of="bits of transposed numbers rounded with transposed noise")


@part("round_to_bfloat16")
@pytest.mark.parametrize("noise", [0, 65_535])
def test_rounding_with_noise_at_its_ends(attempt, noise):
    """Noise of 0 everywhere cuts, as any noise does, and 65,535 moves what is above a bfloat16 by its last bit."""
    x = torch.tensor([1 + 2**-23, 1 + 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-23, -1 - 2**-8, 1.0])
    given = torch.full((6,), noise, dtype=torch.int32)
    known = {"nearest even": x.bfloat16().float()}
    want = cut(x, noise)
    of = f"1 + 2^-23, 1 + 2^-8 and others rounded with noise of {noise}"
    agree(attempt.round_to_bfloat16(x, given), want, axes="i", of=of, known=known, tol=1e-9)


@part("round_to_bfloat16")
def test_rounding_of_any_shape(attempt, draw):
    """Transposed, strided, empty and 0-d tensors keep their shape, and the dtype is float32."""
    x = draw.normal(5, 3, 7, dtype=torch.float32)
    for given in (x.transpose(0, 2), x[:, 1], x[..., ::2], x[:0], x[0, 0, 0], x[:, :, 3:3]):
        of = f"a tensor of shape {tuple(given.shape)} and strides {given.stride()}, rounded"
        agree(attempt.round_to_bfloat16(given), given.bfloat16().float(), of=of, tol=1e-9)


@part("round_to_bfloat16")
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16", "int32"])
def test_rounding_refuses_other_dtypes(attempt, dtype):
    """Anything but float32 is a TypeError."""
    with refusal(TypeError, of=f"rounding a {dtype} tensor"):
        attempt.round_to_bfloat16(torch.ones(3, dtype=of_type(dtype)))


@part("round_to_bfloat16")
@pytest.mark.parametrize("noisy", [False, True], ids=["nearest", "with noise"])
def test_rounding_makes_no_cast(attempt, draw, noisy):
    """The rounding is done on bits: no tensor is cast to bfloat16."""
    x = draw.normal(3, 5, dtype=torch.float32)
    noise = torch.full((3, 5), 0x7FFF, dtype=torch.int32) if noisy else None
    got = attempt.run(drivers.round_watched, x, noise)
    assert not got["casts"], f"a bfloat16 tensor was made by {got['casts'][0]}: the cast is what you write, on the bits"


@part("round_to_bfloat16")
def test_other_numbers_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(37, dtype=torch.float32),) for _ in range(2)]
    hold_again(attempt, reference, "round_to_bfloat16", *asked, of="round_to_bfloat16 of 37 numbers", views=False)


# --- underflow_fraction -----------------------------------------------------------------------------------------------

SHARE = 1e-6
"""A share of counts, taken in whatever precision."""

# Magnitudes up to this become 0: half of the smallest subnormal ties to even.
LOST = {"float16": 2.0**-25, "bfloat16": 2.0**-134, "float8_e5m2": 2.0**-17, "float8_e4m3fn": 2.0**-10}
LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float8_e5m2": 57344.0,
    "float8_e4m3fn": 448.0,
}


def around(draw, limit, *shape):
    """Random signs, magnitudes spread over eight powers of two around a limit, some zeros, some exactly at it."""
    x = draw.normal(*shape).sign() * limit * 2.0 ** draw.uniform(*shape, low=-4, high=4)
    x = x.float()
    flat = x.view(-1)
    flat[::5] = 0.0
    flat[1::7] = limit
    flat[2::11] = -limit
    return x


def lost_share(gradients, limit, scale=1.0):
    entries = [v for g in gradients if g is not None for v in (g * scale).flatten().tolist() if v != 0]
    return sum(abs(v) <= limit for v in entries) / len(entries)


@part("underflow_fraction")
@pytest.mark.parametrize("dtype", LOST)
def test_underflow_is_what_the_cast_loses(attempt, draw, dtype):
    """The share of entries other than 0 that become 0 in dtype, over all gradients together; None is skipped."""
    limit = LOST[dtype]
    gradients = [around(draw, limit, 17, 3), None, around(draw, limit * 2, 5), torch.zeros(2, 0), torch.tensor(limit)]
    want = lost_share(gradients, limit)
    everything = sum(g.numel() for g in gradients if g is not None)
    entries = sum(int((g != 0).sum()) for g in gradients if g is not None)
    known = {
        "zeros counted in the denominator": want * entries / everything,
        "zeros counted as lost": (want * entries + everything - entries) / everything,
        "the share that is kept": 1 - want,
        "the mean of the tensors' shares": lambda: (
            sum(lost_share([g], limit) for g in gradients if g is not None and g.numel()) / 3
        ),
        "everything below the smallest subnormal": lost_share(gradients, limit * (2 - 1e-9)),
        "everything below the smallest normal": lost_share(
            gradients, {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float8_e5m2": 2.0**-14}.get(dtype, 2.0**-6)
        ),
    }
    got = attempt.underflow_fraction(gradients, of_type(dtype))
    agree(got, want, of=f"share of {entries} entries that {dtype} makes 0", known=known, tol=SHARE)


@part("underflow_fraction")
@pytest.mark.parametrize("scale", [1024.0, 1000.0, 0.125], ids=str)
def test_underflow_after_scaling(attempt, draw, scale):
    """Gradients are multiplied by scale first; float16 and scale 1 are the defaults."""
    gradients = [around(draw, 2.0**-25 / scale, 13, 7), around(draw, 2.0**-25, 19)]
    want = lost_share(gradients, 2.0**-25, scale)
    known = {
        "no scale": lost_share(gradients, 2.0**-25),
        "dividing by the scale": lost_share(gradients, 2.0**-25, 1 / scale),
    }
    agree(
        attempt.underflow_fraction(gradients, scale=scale),
        want,
        of=f"float16 share at scale {scale}",
        known=known,
        tol=SHARE,
    )
    agree(
        attempt.underflow_fraction(gradients), lost_share(gradients, 2.0**-25), of="float16 share by default", tol=SHARE
    )


@part("underflow_fraction")
def test_underflow_in_float32_is_loss_too(attempt):
    """An entry that is not 0 counts, also where its product with scale is 0 in float32 already."""
    got = attempt.underflow_fraction([torch.tensor([2.0**-140, -(2.0**-140), 1.0, 0.0])], scale=2.0**-20)
    known = {"entries whose product is 0 not counted": 0.0}
    agree(got, 2 / 3, of="share of [2^-140, -2^-140, 1, 0] at scale 2^-20", known=known, tol=SHARE)


@part("underflow_fraction")
def test_underflow_where_little_counts(attempt):
    """NaN and Inf are entries that are not lost; with no entry other than 0 the share is 0.0; a generator will do."""
    special = torch.tensor([NAN, INF, -INF, 1e-9, 0.0, 1.0])
    agree(
        attempt.underflow_fraction([special]),
        0.2,
        of="share of [NaN, Inf, -Inf, 1e-9, 0, 1] that float16 makes 0",
        tol=SHARE,
    )
    for nothing in ([], [None], [torch.zeros(3, 2), torch.zeros(0)]):
        agree(attempt.underflow_fraction(nothing), 0.0, of=f"share of {nothing}", tol=SHARE)
    got = attempt.run(drivers.from_generator, "underflow_fraction", [special, None, special[3:4]])
    agree(got, 1 / 3, of="share of the gradients that a generator gives", tol=SHARE)


def largest_scale(largest, limit, headroom):
    """The largest power of two S with largest · S · headroom <= limit, by trying."""
    s = 2.0**-300
    while largest * s * 2 * headroom <= limit:
        s *= 2
    return s


@part("underflow_fraction")
@pytest.mark.parametrize("dtype", LARGEST)
def test_loss_scale_leaves_headroom(attempt, draw, dtype):
    """S is the largest power of two with max|g| · S · headroom within dtype, over all gradients, below 1 too."""
    for size, headroom in (
        (1e-6, 8.0),
        (1.0, 3.0),
        (1e4, 1.0),
        (1e5, 8.0),
        (1e-3, 0.7),
        (1e-3, 1000.0),
        (1e30, 8.0),
        (1e-30, 8.0),
    ):
        gradients = [size * draw.normal(3, 5, dtype=torch.float32), None, size * draw.normal(7, dtype=torch.float32)]
        gradients.append(torch.zeros(0))
        gradients[draw.random.choice([0, 2])].view(-1)[2] = draw.random.choice([-6, 6]) * size
        largest = max(g.abs().max().item() for g in gradients if g is not None and g.numel())
        want = largest_scale(largest, LARGEST[dtype], headroom)
        known = {
            "the next power of two up": 2 * want,
            "half of it": want / 2,
            "no power of two": LARGEST[dtype] / headroom / largest,
            "no headroom": largest_scale(largest, LARGEST[dtype], 1.0),
            "the largest entry without its sign lost": lambda g=gradients, h=headroom: largest_scale(
                max(t.max().item() for t in g if t is not None and t.numel()), LARGEST[dtype], h
            ),
        }
        got = attempt.choose_loss_scale(gradients, of_type(dtype), headroom)
        agree(got, want, of=f"loss scale for max|g| = {largest:.4g} in {dtype}, headroom {headroom}", known=known)


@part("underflow_fraction")
def test_loss_scale_at_the_edge(attempt):
    """max|g| · S · headroom may be exactly the largest number of float16, and no more; these are the defaults."""
    for exact, scale in ((65504 / 8, 1.0), (65504 / 2**13, 2.0**10), (65504.0, 0.125)):
        agree(attempt.choose_loss_scale([torch.tensor([-exact, 0.5 * exact])]), scale, of=f"loss scale for -{exact}")
        above, below = torch.tensor([exact]) * (1 + 2**-20), torch.tensor([exact]) * (1 - 2**-20)
        agree(attempt.choose_loss_scale([above]), scale / 2, of=f"loss scale for a little more than {exact}")
        agree(attempt.choose_loss_scale([below]), scale, of=f"loss scale for a little less than {exact}")


@part("underflow_fraction")
def test_loss_scale_without_finite_entries(attempt):
    """Inf, NaN and None are left out; if nothing other than 0 remains, the scale is 1.0."""
    special = torch.tensor([NAN, 2**-10, -INF, INF])
    agree(attempt.choose_loss_scale([None, special]), 4194304.0, of="loss scale for 2^-10 among NaN and Inf")
    for nothing in ([], [None], [torch.zeros(3), torch.zeros(0, 2)], [torch.tensor([INF, NAN, 0.0])]):
        agree(attempt.choose_loss_scale(nothing), 1.0, of=f"loss scale for {nothing}")
    got = attempt.run(drivers.from_generator, "choose_loss_scale", [special, torch.tensor(2**-9), None])
    agree(got, 2097152.0, of="loss scale for the gradients that a generator gives")


@part("underflow_fraction")
@pytest.mark.parametrize("headroom", [0.0, -8.0])
def test_loss_scale_refuses_no_headroom(attempt, headroom):
    """headroom 0 or below is a ValueError."""
    with refusal(ValueError, of=f"choose_loss_scale with headroom {headroom}"):
        attempt.choose_loss_scale([torch.ones(3)], headroom=headroom)


# --- training_bytes ---------------------------------------------------------------------------------------------------


@part("training_bytes")
@pytest.mark.parametrize(
    ("recipe", "parameter", "activation"),
    [("float32", 16, 4), ("autocast", 18, 2), ("master", 16, 2), ("bfloat16", 8, 2)],
)
def test_bytes_of_each_recipe(attempt, draw, recipe, parameter, activation):
    """Each recipe's bytes a parameter and bytes an activation add up, in whole numbers."""
    for p, a in ((1, 0), (0, 1), (10**17 + 1, 1), (1_500_000_007, draw.random.randrange(10**9))):
        want = p * parameter + a * activation
        known = {
            "forgetting the moments": want - p * (4 if recipe == "bfloat16" else 8),
            "float32 activations": p * parameter + 4 * a,
            "half activations": p * parameter + 2 * a,
        }
        got = attempt.training_bytes(p, a, recipe)
        agree(got, want, of=f"bytes of {p:,} parameters and {a:,} activations, {recipe}", known=known)


@part("training_bytes")
@pytest.mark.parametrize("recipe", ["float8", "", "Master"])
def test_unknown_recipe_is_refused(attempt, recipe):
    """Any other recipe is a ValueError."""
    with refusal(ValueError, of=f"training_bytes with recipe {recipe!r}"):
        attempt.training_bytes(3, 5, recipe)


# --- DynamicGradScaler ------------------------------------------------------------------------------------------------


@part("DynamicGradScaler")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_loss_is_scaled_with_its_graph(attempt, draw, dtype):
    """scale(loss) is loss · S in the loss's dtype and shape, and so is the gradient through it."""
    for shape in ((), (3, 5), (0,)):
        loss, upstream = draw.normal(*shape, dtype=of_type(dtype)), draw.normal(*shape, dtype=of_type(dtype))
        value, grads = attempt.gradients(drivers.scaled, loss, 1024.0, upstream=upstream)
        agree(value, loss * 1024, of=f"a {dtype} loss of shape {shape} scaled by 1024")
        agree(grads[0], upstream * 1024, of=f"the gradient of a {dtype} loss of shape {shape} scaled by 1024")


@part("DynamicGradScaler")
@pytest.mark.parametrize("groups", [1, 3])
def test_unscale_divides_in_place(attempt, draw, groups):
    """unscale_ divides the gradients of all groups by S, in place; a missing gradient stays missing, weights stay."""
    kind = torch.float32
    gradients = [draw.normal(3, 5, dtype=kind), None, draw.normal(7, 2, dtype=kind).T, draw.normal(0, dtype=kind)]
    gradients += [draw.normal(dtype=kind), draw.normal(11, dtype=kind)]
    values = [torch.ones(2) if g is None else draw.normal(*g.shape, dtype=kind) for g in gradients]
    got = attempt.run(drivers.unscale, values, gradients, 1000.0, groups)
    assert not got["raised"], f"unscale_ raised {got['raised'][0]}"
    agree(
        got["gradients"],
        [None if g is None else g / 1000 for g in gradients],
        of=f"gradients in {groups} groups after unscale_ at S = 1000",
        known={"leaving the gradients as they were (`p.grad = ...` puts another tensor in their place)": gradients},
    )
    assert all(got["same_object"]), "p.grad is another tensor after unscale_: divide the tensor that was there"
    agree(got["values"], values, of="the weights after unscale_")


@part("DynamicGradScaler")
def test_float16_gradients_are_refused(attempt, draw):
    """A float16 gradient is a ValueError, wherever it stands, and no gradient has been touched; bfloat16 is fine."""
    for dtypes in ("float32 float16", "float16 float32", "float16"):
        gradients = [draw.normal(3, dtype=of_type(name)) for name in dtypes.split()]
        got = attempt.run(drivers.unscale, gradients, gradients, 8.0, 1)
        assert "ValueError" in got["raised"], f"unscale_ of {dtypes} gradients did not raise ValueError"
        agree(got["gradients"], gradients, of=f"{dtypes} gradients after unscale_ was refused")
    gradient = draw.normal(5, dtype=torch.bfloat16)
    got = attempt.run(drivers.unscale, [gradient], [gradient], 8.0, 1)
    agree(got["gradients"], [gradient / 8], of="bfloat16 gradients after unscale_ at S = 8")


def play(attempt, draw, script, gradients=None, scale=64.0):
    """The trace of a script on two optimizers with rate 1; the gradients (scaled) and values that they started with."""
    gradients = gradients or [[draw.normal(3, 5), draw.normal(2)], [draw.normal(7)]]
    gradients = [[g.float() for g in some] for some in gradients]
    values = [[draw.normal(*g.shape, dtype=torch.float32) for g in some] for some in gradients]
    script = [("gradients", 0), ("gradients", 1), *script]
    return attempt.run(drivers.protocol, values, gradients, scale, script)[2:], gradients, values


def moved(values, gradients, factor):
    return [v - factor * g for v, g in zip(values, gradients, strict=True)]


@part("DynamicGradScaler")
@pytest.mark.parametrize("explicit", [False, True], ids=["step alone", "unscale_ first"])
def test_step_unscales_once(attempt, draw, explicit):
    """step divides by S if unscale_ did not, so the optimizer sees true gradients; what was clipped between counts."""
    script = [("unscale_", 0), ("halve", 0), ("step", 0)] if explicit else [("step", 0)]
    trace, gradients, values = play(attempt, draw, [*script, ("update", None)])
    factor = 0.5 / 64 if explicit else 1 / 64
    agree(
        trace[-2]["values"][0],
        moved(values[0], gradients[0], factor),
        of="weights after a step of SGD with rate 1, S = 64" + (", gradients halved after unscale_" * explicit),
        known={
            "a step with scaled gradients": lambda: moved(values[0], gradients[0], factor * 64),
            "a step with gradients unscaled twice": lambda: moved(values[0], gradients[0], factor / 64),
            "no step": values[0],
        },
    )
    agree(trace[-2]["gradients"][0], [g * factor for g in gradients[0]], of="gradients after step")
    agree([trace[-2]["returned"]], [True], of="what step returns when it was taken")
    agree(trace[-2]["values"][1], values[1], of="weights of an optimizer that was not stepped")
    agree(trace[-2]["gradients"][1], gradients[1], of="gradients of an optimizer that was not stepped")


@part("DynamicGradScaler")
@pytest.mark.parametrize(
    "before", [["unscale_"], ["step"], ["unscale_", "step"]], ids=lambda verbs: " then ".join(verbs)
)
def test_unscaling_twice_is_refused(attempt, draw, before):
    """Once unscaled (by step, too), unscale_ is a RuntimeError until the next update, and touches no gradient."""
    script = [*((verb, 0) for verb in before), ("unscale_", 0), ("update", None), ("gradients", 0), ("unscale_", 0)]
    trace, gradients, _ = play(attempt, draw, script)
    second = trace[len(before)]
    assert "RuntimeError" in second["raised"], f"unscale_ after {' and '.join(before)} did not raise RuntimeError"
    agree(second["gradients"][0], [g / 64 for g in gradients[0]], of="gradients after the refused unscale_")
    assert not trace[-1]["raised"], "unscale_ after update raised an exception, though a new iteration has begun"
    agree(trace[-1]["gradients"][0], [g / 64 for g in gradients[0]], of="gradients unscaled in the second iteration")


@part("DynamicGradScaler")
def test_stepping_twice_is_refused(attempt, draw):
    """A second step of an optimizer is a RuntimeError until the next update, and moves nothing."""
    trace, gradients, values = play(
        attempt, draw, [("step", 0), ("step", 0), ("step", 1), ("update", None), ("gradients", 0), ("step", 0)]
    )
    assert "RuntimeError" in trace[1]["raised"], "the second step without an update between did not raise RuntimeError"
    agree(trace[1]["values"][0], moved(values[0], gradients[0], 1 / 64), of="weights after the refused second step")
    assert trace[2]["returned"] is True, "the step of another optimizer was not taken"
    assert not trace[-1]["raised"], "step after update raised an exception, though a new iteration has begun"
    agree(trace[-1]["values"][0], moved(values[0], gradients[0], 2 / 64), of="weights after steps in two iterations")
    gradients[0][0][1, 2] = INF
    trace, *_ = play(attempt, draw, [("step", 0), ("step", 0)], gradients)
    assert "RuntimeError" in trace[1]["raised"], "the second step, after a skipped one, did not raise RuntimeError"


@part("DynamicGradScaler")
def test_update_needs_an_iteration(attempt, draw):
    """update is a RuntimeError unless some optimizer was unscaled or stepped since the last one; S stays, then."""
    trace, *_ = play(attempt, draw, [("update", None), ("unscale_", 1), ("update", None), ("update", None)])
    assert "RuntimeError" in trace[0]["raised"], "update without unscale_ or step did not raise RuntimeError"
    assert not trace[2]["raised"], "update after unscale_ without step raised an exception"
    assert "RuntimeError" in trace[3]["raised"], "the second update in a row did not raise RuntimeError"
    agree([at["scale"] for at in trace], [64.0] * 4, of="S through refused and granted updates")
    agree([int(at["count"]) for at in trace], [0, 0, 1, 1], of="_growth_tracker through refused and granted updates")


@part("DynamicGradScaler")
@pytest.mark.parametrize("given", ["none", "empty", "frozen"])
def test_few_gradients_are_no_inf(attempt, given):
    """Without any gradient, or with an empty one, the step is taken and counts; a frozen weight's is divided, too."""
    gradients = {"none": [None, None], "empty": [torch.zeros(0, 3)], "frozen": [torch.full((3,), 16.0)]}[given]
    got = attempt.run(drivers.few_gradients, gradients, [0] if given == "frozen" else [])
    of = f"an iteration with these gradients: {given}"
    agree(got["stepped"], True, of=f"what step returns in {of}")
    agree(got["scale"], 16.0, of=f"S, growing after each good iteration from 8 on, after {of}")
    agree(got["gradients"], [None if g is None else g / 8 for g in gradients], of=f"gradients after {of}")


@part("DynamicGradScaler")
def test_an_inf_that_was_found_counts(attempt, draw):
    """What unscale_ found holds: a gradient that is made finite between unscale_ and step is skipped all the same."""
    gradients = [[draw.normal(3, 5), draw.normal(2)], [draw.normal(7)]]
    gradients[0][0][1, 2] = INF
    trace, _, values = play(attempt, draw, [("unscale_", 0), ("clean", 0), ("step", 0), ("update", None)], gradients)
    assert trace[2]["returned"] is False, "step was taken though unscale_ had found an Inf"
    agree(trace[2]["values"][0], values[0], of="weights of an optimizer whose Inf was zeroed after unscale_")
    agree(trace[3]["scale"], 32.0, of="S after an iteration whose Inf was zeroed after unscale_")


@part("DynamicGradScaler")
def test_scale_falls_as_far_as_it_must(attempt):
    """S backs off at each Inf, below 1 too and without end."""
    [trace] = attempt.run(drivers.trajectories, [({"init_scale": 4.0}, None, [1] * 40)])
    agree([s for s, _ in trace], [4.0 / 2**n for n in range(1, 41)], of="S after each of 40 Infs from 4 on", tol=1e-9)


@part("DynamicGradScaler")
@pytest.mark.parametrize("explicit", [False, True], ids=["step alone", "unscale_ first"])
@pytest.mark.parametrize("bad", [INF, -INF, NAN], ids=str)
def test_inf_or_nan_skips_the_step(attempt, draw, bad, explicit):
    """An Inf or NaN anywhere in any group: no step, weights and Adam's state (its step count) stay, S halves."""
    shapes = [(3, 5), (7,), (2, 2)]
    gradients = [draw.normal(*shape, dtype=torch.float32) for shape in shapes]
    values = [draw.normal(*shape, dtype=torch.float32) for shape in shapes]
    broken = [g.clone() for g in gradients]
    spoiled = broken[draw.random.randrange(3)].view(-1)
    spoiled[draw.random.randrange(len(spoiled))] = bad
    seen = attempt.run(drivers.skipped, values, gradients, broken, 256.0, explicit)
    of = f"after two steps, one with an entry of {bad} and one more"
    agree([at["stepped"] for at in seen], [True, True, False, True], of=f"what step returns {of}")
    agree(seen[2]["values"], seen[1]["values"], of=f"weights after the gradients with {bad}")
    agree(seen[2]["state"], seen[1]["state"], of=f"Adam's state after the gradients with {bad}")
    agree([at["scale"] for at in seen], [256.0, 256.0, 128.0, 128.0], of=f"S {of}")
    leaves = [v.clone() for v in values]
    adam = torch.optim.Adam(leaves, lr=0.1)
    for _ in range(3):
        for leaf, g in zip(leaves, gradients, strict=True):
            leaf.grad = g / 256
        adam.step()
    agree(
        seen[3]["values"],
        leaves,
        of="weights after three good Adam steps",
        tol=1e-3,
    )


@part("DynamicGradScaler")
def test_large_gradients_are_no_inf(attempt):
    """Gradients near float32's largest number are finite, though sum and norm of them are not: the step is taken."""
    large = [[torch.full((3, 5), 3e38), torch.full((2,), -3e38)], [torch.tensor([1e30, -1e-30])]]
    values = [[torch.zeros_like(g) for g in some] for some in large]
    script = [("gradients", 0), ("gradients", 1), ("step", 0), ("step", 1), ("update", None)]
    trace = attempt.run(drivers.protocol, values, large, 64.0, script)
    agree([at["returned"] for at in trace[2:4]], [True, True], of="what the steps with large finite gradients return")
    agree(trace[-1]["values"], [[-g / 64 for g in some] for some in large], of="weights after steps of SGD with rate 1")
    agree(trace[-1]["scale"], 64.0, of="S after an iteration with large finite gradients")


@part("DynamicGradScaler")
@pytest.mark.parametrize("spoiled", [0, 1])
def test_each_optimizer_is_judged_by_itself(attempt, draw, spoiled):
    """An Inf holds back only the optimizer that has it, and S backs off once for the iteration."""
    gradients = [[draw.normal(3, 5), draw.normal(2)], [draw.normal(7)]]
    gradients[spoiled][0].view(-1)[1] = INF
    script = [("step", 0), ("step", 1), ("update", None)]
    trace, gradients, values = play(attempt, draw, script, gradients)
    agree([at["returned"] for at in trace[:2]], [spoiled != 0, spoiled != 1], of="what the two steps return")
    agree(trace[-1]["values"][spoiled], values[spoiled], of=f"weights of optimizer {spoiled}, which has the Inf")
    unscaled = [[g / 64 for g in some] for some in gradients]
    agree(trace[-1]["gradients"], unscaled, of=f"gradients after the two steps, an Inf in those of optimizer {spoiled}")
    fine = 1 - spoiled
    want = moved(values[fine], gradients[fine], 1 / 64)
    agree(trace[-1]["values"][fine], want, of=f"weights of optimizer {fine}, which has none")
    agree(
        trace[-1]["scale"],
        32.0,
        of="S after an iteration in which one of two optimizers had an Inf",
        known={"only the last optimizer looked at": 64.0, "backing off for each optimizer": 16.0},
    )


@part("DynamicGradScaler")
def test_an_iteration_counts_once(attempt, draw):
    """An iteration counts once towards growth: with two optimizers that step, or with one that only unscales."""
    first = [("step", 0), ("step", 1), ("update", None)]
    second = [("gradients", 0), ("unscale_", 0), ("update", None)]
    trace, *_ = play(attempt, draw, [*first, *second])
    counts = [int(trace[2]["count"]), int(trace[5]["count"])]
    agree(counts, [1, 2], of="_growth_tracker after two iterations, the first with two optimizers")


def trajectory(outcomes, scale, growth, backoff, interval, count=0):
    """Scale and count after each update, as torch documents it."""
    trace = []
    for bad in outcomes:
        count = 0 if bad else count + 1
        scale = scale * backoff if bad else scale
        if count == interval:
            scale, count = scale * growth, 0
        trace.append([scale, count])
    return trace


@part("DynamicGradScaler")
@pytest.mark.parametrize(
    ("growth", "backoff", "interval"), [(2.0, 0.5, 2), (3.0, 0.25, 3), (1.5, 0.875, 1)], ids=["2", "3", "1"]
)
def test_scale_after_every_sequence(attempt, growth, backoff, interval):
    """For every sequence of six good and bad iterations, S and the count go as the rules say."""
    sequences = list(itertools.product([False, True], repeat=6))
    options = {
        "init_scale": 1024.0,
        "growth_factor": growth,
        "backoff_factor": backoff,
        "growth_interval": interval,
    }
    got = attempt.run(drivers.trajectories, [(options, None, s) for s in sequences])
    for outcomes, trace in zip(sequences, got, strict=True):
        drawn = "".join("x" if bad else "." for bad in outcomes)
        of = f"{drawn} (x is an Inf), growth {growth} after {interval}, backoff {backoff}"
        want = trajectory(outcomes, 1024.0, growth, backoff, interval)
        agree([s for s, _ in trace], [s for s, _ in want], of=f"S after each iteration of {of}", tol=1e-6)
        agree([int(n) for _, n in trace], [n for _, n in want], of=f"_growth_tracker after each iteration of {of}")


DEFAULTS = {
    "scale": 65536.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "_growth_tracker": 0,
}


@part("DynamicGradScaler")
def test_defaults_are_torchs(attempt):
    """By default S starts at 65,536, halves at an Inf, and doubles after 2,000 good iterations in a row."""
    got = attempt.run(drivers.scaler_state, {}, None)
    agree(got["first"], DEFAULTS, of="the state dict of a new scaler")
    agree(got["scale"][0], 65536.0, of="get_scale() of a new scaler")
    [trace] = attempt.run(drivers.trajectories, [({}, DEFAULTS | {"_growth_tracker": 1997}, [0, 0, 0, 0, 1])])
    want = [[65536.0, 1998], [65536.0, 1999], [131072.0, 0], [131072.0, 1], [65536.0, 0]]
    agree(trace, want, of="[S, count] from iteration 1,998 on, with an Inf in the last of five")


@part("DynamicGradScaler")
def test_scale_never_leaves_float32(attempt):
    """S grows up to float32's largest number and not beyond; the count starts anew all the same."""
    top = torch.finfo(torch.float32).max
    options = {"init_scale": top / 2, "growth_interval": 2}
    [trace] = attempt.run(drivers.trajectories, [(options, None, [0] * 6)])
    want = [[top / 2, 1], [top, 0], [top, 1], [top, 0], [top, 1], [top, 0]]
    agree(trace, want, of="[S, count] from half of float32's largest number on")
    [trace] = attempt.run(drivers.trajectories, [(options | {"growth_factor": 3.0}, None, [0] * 3)])
    known = {"growing to the largest number": [[top / 2, 1], [top, 0], [top, 1]]}
    want = [[top / 2, 1], [top / 2, 0], [top / 2, 1]]
    agree(trace, want, of="[S, count] where three times S would be beyond float32", known=known)


@part("DynamicGradScaler")
def test_state_dict_carries_everything(attempt, draw):
    """A state dict is a snapshot of five plain numbers; loaded into any scaler, everything goes on from there."""
    state = {"scale": 96.5, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 5, "_growth_tracker": 3}
    got = attempt.run(drivers.scaler_state, {"init_scale": 2.0}, state, {"growth_interval": 7})
    agree(got["first"], state, of="the state dict of a scaler that loaded one")
    agree(got["second"], state, of="the state dict of a scaler that loaded that scaler's")
    agree(got["scale"], [96.5, 96.5], of="get_scale() of the two")
    assert all(type(s) is float for s in got["scale"]), f"get_scale() gives {got['scale']}: not plain Python floats"
    plain = {key: type(value) in (int, float) for key, value in got["first"].items()}
    assert all(plain.values()), f"values of the state dict are no plain numbers: {[k for k in plain if not plain[k]]}"
    outcomes = [0, 0, 1, 0, 0, 0, 0, 0]
    [trace] = attempt.run(drivers.trajectories, [({}, state, outcomes)])
    agree(trace, trajectory(outcomes, 96.5, 3.0, 0.25, 5, 3), of="[S, count] after a state dict was loaded")


@part("DynamicGradScaler")
def test_bad_settings_are_refused(attempt):
    """Settings with which S could not adapt are a ValueError; those just inside are fine."""
    bad = [
        *({"init_scale": s} for s in (0.0, -1.0, NAN)),
        *({"growth_factor": f} for f in (1.0, 0.5)),
        *({"backoff_factor": f} for f in (1.0, 1.5, 0.0, -0.5)),
        *({"growth_interval": n} for n in (0, -3)),
    ]
    for options, raised in zip(bad, attempt.run(drivers.refused_scalers, bad), strict=True):
        assert "ValueError" in raised, f"DynamicGradScaler with {options} did not raise ValueError"
    good = [
        {"init_scale": 0.01},
        {"growth_factor": 1.001},
        {"backoff_factor": 0.999},
        {"backoff_factor": 0.001},
        {"growth_interval": 1},
    ]
    for options, raised in zip(good, attempt.run(drivers.refused_scalers, good), strict=True):
        assert not raised, f"DynamicGradScaler with {options} raised {raised[0]}"


@part("DynamicGradScaler")
def test_two_losses_of_one_size_are_scaled(attempt, reference, draw):
    """One scaler that scales two losses gives each its own, and keeps neither."""
    turns = (draw.normal(3, 5),), (draw.normal(3, 5),)
    hold_turns(attempt, reference, drivers.scaled_in_turn, 1024.0, turns=turns, of="scale of a loss (3, 5)")


# --- mini_autocast ----------------------------------------------------------------------------------------------------


def same_results(got, want, of):
    """Each result has the dtype and the values that explicit casts give."""
    for name, value in want.items():
        agree(got[name], value, of=f"{name} {of}", tol=1e-5 if value.dtype == torch.float32 else None)


@part("mini_autocast")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("given", ["float32 float32", "float32 bfloat16", "float16 float32", "float16 bfloat16"])
def test_products_run_in_half(attempt, draw, dtype, given):
    """Every product (operator, method, function, keyword, list) casts its inputs to dtype."""
    kind = of_type(dtype)
    a, b = (draw.normal(*s).to(of_type(g)) for s, g in zip([(3, 7), (7, 5)], given.split(), strict=True))
    got = attempt.run(drivers.autocast, "PRODUCTS", [a, b], {"dtype": kind})
    want = {name: call(a.to(kind), b.to(kind)) for name, call in drivers.PRODUCTS.items()}
    same_results(got, want, f"of {given.replace(' ', ' and ')} inputs under mini_autocast({dtype})")


@part("mini_autocast")
@pytest.mark.parametrize("given", ["float32", *HALVES])
@pytest.mark.parametrize("dtype", HALVES)
def test_sums_and_exponentials_run_in_float32(attempt, draw, dtype, given):
    """Every function of FLOAT32 widens its inputs first, and gives float32."""
    x = draw.normal(5, 7).to(of_type(given))
    got = attempt.run(drivers.autocast, "SUMS", [x], {"dtype": of_type(dtype)})
    want = {name: call(x.float()) for name, call in drivers.SUMS.items()}
    same_results(got, want, f"of {given} input under mini_autocast({dtype})")


@part("mini_autocast")
@pytest.mark.parametrize("given", ["float32 float32", "bfloat16 float32", "bfloat16 bfloat16", "float16 bfloat16"])
def test_others_run_on_what_they_get(attempt, draw, given):
    """Any other function runs as it would without the context: torch's own promotion, in-place ones in place."""
    x, y = (draw.normal(3, 5).to(of_type(g)) for g in given.split())
    table = dict(drivers.OTHERS)
    got = attempt.run(drivers.autocast, "OTHERS", [x, y], {"dtype": torch.float16})
    same_results(got, {name: call(x, y) for name, call in table.items()}, f"of {given} inputs under mini_autocast")


@part("mini_autocast")
def test_float64_and_integers_stay(attempt, draw):
    """float64, integer and bool tensors are never cast."""
    x = draw.normal(3, 5)
    got = attempt.run(drivers.autocast, "UNTOUCHED", [x], {})
    same_results(got, {name: call(x) for name, call in drivers.UNTOUCHED.items()}, "under mini_autocast")


@part("mini_autocast")
@pytest.mark.parametrize("dtype", HALVES)
def test_modules_get_float32_gradients(attempt, draw, dtype):
    """torch's modules are seen too, and gradients flow through the casts: float32 weights get float32 gradients."""
    kind = of_type(dtype)
    x = draw.normal(11, 5, dtype=torch.float32)
    weights = [draw.normal(*s, dtype=torch.float32) for s in ((7, 5), (7,), (7,), (7,), (3, 7))]
    upstream = draw.normal(11, 3).to(kind)

    def computed(x, w1, b1, gain, shift, w2):
        hidden = F.linear(x.to(kind), w1.to(kind), b1.to(kind)).float()
        return F.linear(F.layer_norm(hidden, (7,), gain, shift).to(kind), w2.to(kind))

    leaves = [t.clone().requires_grad_() for t in (x, *weights)]
    want = computed(*leaves)
    gradients = torch.autograd.grad((want * upstream).sum(), leaves)
    value, grads = attempt.gradients(drivers.autocast_modules, x, *weights, dtype=kind, upstream=upstream)
    of = f"Linear, LayerNorm, Linear under mini_autocast({dtype})"
    agree(value, want.detach(), of=of)
    agree(grads, list(gradients), of=f"gradients of input and weights of {of}", tol=2e-2)


@part("mini_autocast")
def test_contexts_nest(attempt, draw):
    """The innermost context alone decides, enabled=False switches off, and leaving (by an exception, too) restores."""
    half, brain, full = torch.float16, torch.bfloat16, torch.float32
    got = attempt.run(drivers.nested, draw.normal(3, 3, dtype=torch.float32))
    want = {
        "before": [full, full],
        "in bfloat16": [brain, full],
        "in float16 in bfloat16": [half, full],
        "switched off in these two": [full, full],
        "by default, in these three": [brain, full],
        "in float16 again": [half, full],
        "after an exception": [brain, full],
        "after": [full, full],
        "after an exception in the outermost": [full, full],
        "switched off": [full, full],
        "sum of bfloat16, switched off": [brain, brain],
    }
    for place, dtypes in want.items():
        said = f"{place}: x @ x and its softmax should be {dtypes}, they are {got[place]}"
        assert got[place] == dtypes, said.replace("torch.", "")


@part("mini_autocast")
def test_no_cast_is_cached(attempt, draw):
    """Every call casts anew: a weight that was changed in place inside the context counts as it is."""
    x, weight = draw.normal(3, 5, dtype=torch.float32), draw.normal(5, 2, dtype=torch.float32)
    want = x.bfloat16() @ weight.bfloat16()
    got = attempt.run(drivers.changed_weight, x, weight)
    agree(got, [want, 2 * want], of="products with a weight before and after it was doubled in place")


@part("mini_autocast")
def test_autocast_refuses_other_dtypes(attempt):
    """A dtype other than float16 and bfloat16 is a ValueError, enabled or not."""
    dtypes = [torch.float32, torch.float64, torch.int16, torch.float8_e4m3fn]
    asked = [(dtype, enabled) for dtype in dtypes for enabled in (True, False)]
    for (dtype, enabled), raised in zip(asked, attempt.run(drivers.refused_autocast, dtypes), strict=True):
        assert "ValueError" in raised, f"mini_autocast({dtype}, enabled={enabled}) did not raise ValueError"


# --- MasterWeightOptimizer --------------------------------------------------------------------------------------------

SHAPES = [(3, 5), (7,), (2, 1, 4)]


def float32s(draw, *, shapes=SHAPES, scale=1.0):
    return [draw.normal(*s, dtype=torch.float32, scale=scale) for s in shapes]


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("dtype", [*HALVES, None], ids=str)
def test_masters_are_copied_before_the_cast(attempt, draw, dtype):
    """Masters are the float32 weights themselves; the model's parameters are the same objects, cast; buffers stay."""
    values = float32s(draw)
    got = attempt.run(drivers.masters, values, None if dtype is None else of_type(dtype), [1])
    kind = torch.bfloat16 if dtype is None else of_type(dtype)
    agree(
        got["masters"],
        values,
        of=f"masters of a model that is cast to {kind}",
        tol=1e-7,
        known={"masters of weights that were rounded first": [v.to(kind).float() for v in values]},
    )
    assert all(got["kinds"]), "a master is no nn.Parameter"
    agree(got["weights"], [v.to(kind) for v in values], of=f"weights of a model that is cast to {kind}")
    assert all(got["same_objects"]), "the model's Parameter objects were replaced: change their data"
    agree(got["requires_grad"], [True, False, True], of="requires_grad of the masters, the second weight frozen")
    agree(got["weights_require_grad"], [True, False, True], of="requires_grad of the weights, the second one frozen")
    assert got["found"] == [torch.float32] * 3, f"make_optimizer found {got['found']} weights: cast them after it"
    assert all(got["same_gradients"]), "a weight's gradient was replaced: only the data of the weights changes"
    assert got["given"], "make_optimizer did not get the masters, in their order"
    assert got["optimizer"], "optimizer is not what make_optimizer returned"
    agree(got["buffers"], [torch.full((3,), 0.1), torch.tensor(7)], of="the model's buffers")
    assert got["alone"], "a master shares memory with its weight"


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("dtype", HALVES)
def test_small_updates_add_up(attempt, dtype):
    """Updates too small to change a half weight move its master, and in the end the weight."""
    kind = of_type(dtype)
    tiny = 2.0**-9 if dtype == "bfloat16" else 2.0**-12
    gradients = [[torch.tensor([-1.0, 1.0, -1.0]).to(kind)]] * 100
    start = torch.tensor([1.0, 1.0, -3.0])
    got = attempt.run(drivers.train_masters, [start], kind, "SGD", {"lr": tiny}, gradients)["trace"]
    want = start + 100 * tiny * torch.tensor([1.0, -1.0, 1.0])
    known = {"updating the half weights: nothing moves": start, "too few steps": start + tiny}
    agree(got[-1]["masters"][0], want, of=f"masters after 100 updates of {tiny}", known=known)
    agree(got[-1]["weights"][0], want.to(kind), of=f"{dtype} weights after 100 updates of {tiny}", tol=1e-6)


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    ("name", "options"), [("SGD", {"lr": 0.03, "momentum": 0.9}), ("Adam", {"lr": 0.01})], ids=["SGD", "Adam"]
)
def test_masters_train_as_float32_would(attempt, draw, dtype, name, options):
    """Masters go where a float32 optimizer with the widened gradients goes, zero_grad after each step or not."""
    kind = of_type(dtype)
    values = float32s(draw)
    gradients = [[g.to(kind) for g in float32s(draw)] for _ in range(5)]
    got = attempt.run(drivers.train_masters, values, kind, name, options, gradients, zero=True)
    leaves = [v.clone() for v in values]
    oracle = getattr(torch.optim, name)(leaves, **options)
    for i, given in enumerate(gradients):
        for leaf, g in zip(leaves, given, strict=True):
            leaf.grad = g.float()
        oracle.step()
        at = got["trace"][i]
        agree(at["masters"], leaves, of=f"masters after step {i + 1} of {name}", tol=1e-5)
        agree(at["weights"], [m.to(kind) for m in at["masters"]], of=f"weights after step {i + 1} of {name}", tol=1e-6)
        agree(at["gradients"], given, of=f"the model's gradients after step {i + 1} of {name}")
    assert all(got["zeroed"]), "zero_grad left a gradient on the model's parameters: set all to None"


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_are_widened_before_they_are_unscaled(attempt, draw, dtype):
    """Gradients are divided by loss_scale in float32, where 2^-10 / 2^20 is not 0."""
    kind = of_type(dtype)
    scale = 2.0**20 * 1.5
    values = float32s(draw)
    gradients = [(g * 2**-10).to(kind) for g in float32s(draw)]
    got = attempt.run(drivers.train_masters, values, kind, "SGD", {"lr": 2.0**30}, [gradients], loss_scale=scale)
    want = [v - 2.0**30 * g.float() / scale for v, g in zip(values, gradients, strict=True)]
    known = {
        "dividing in half precision": lambda: [
            v - 2.0**30 * (g / scale).float() for v, g in zip(values, gradients, strict=True)
        ],
        "not dividing": lambda: [v - 2.0**30 * g.float() for v, g in zip(values, gradients, strict=True)],
    }
    at = got["trace"][0]
    of = f"masters after a step with {dtype} gradients of 2^-10, scaled by 1.5 · 2^20"
    agree(at["masters"], want, of=of, known=known)
    agree(at["gradients"], gradients, of="the model's gradients after the step")


@part("MasterWeightOptimizer")
def test_missing_gradient_moves_no_master(attempt, draw):
    """A parameter without gradient gives its master none: no old one, and no zeros, which momentum would move."""
    values = float32s(draw)
    first, second = ([g.bfloat16() for g in float32s(draw)] for _ in range(2))
    second[1] = None
    options = {"lr": 0.5, "momentum": 0.9}
    got = attempt.run(drivers.train_masters, values, torch.bfloat16, "SGD", options, [first, second])["trace"]
    agree(
        got[1]["masters"][1],
        got[0]["masters"][1],
        of="a master whose weight has no gradient in the second step",
        known={
            "the first step's gradient once more": got[0]["masters"][1] - 0.5 * 1.9 * first[1].float(),
            "a gradient of zeros": got[0]["masters"][1] - 0.5 * 0.9 * first[1].float(),
        },
    )
    want = got[0]["masters"][2] - 0.5 * (0.9 * first[2].float() + second[2].float())
    agree(got[1]["masters"][2], want, of="a master whose weight has one")
    agree(got[1]["gradients"][1] is None, True, of="whether the missing gradient is still missing")


@part("MasterWeightOptimizer")
def test_a_shared_weight_has_one_master(attempt, draw):
    """The masters follow model.parameters(), where a weight that two places hold stands once."""
    value = draw.normal(3, 5, dtype=torch.float32)
    got = attempt.run(drivers.tied_masters, value)
    agree(got["count"], 2, of="how many masters a model of two weights has, one of which is held twice")
    want = [(value - 1).bfloat16()] * 3
    agree(got["weights"], want, of="weights, one of them held twice, after a step with gradients of 1", tol=1e-6)


@part("MasterWeightOptimizer")
def test_every_master_is_copied(attempt, draw):
    """step copies each master into the model, also where there was no gradient."""
    values = float32s(draw)
    want = [(2 * v).bfloat16() for v in values]
    got = attempt.run(drivers.changed_masters, values)
    known = {"weights with a gradient only": [v.bfloat16() for v in values]}
    agree(got, want, of="weights after a step without gradients, the masters doubled before", known=known, tol=1e-6)


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("dtypes", ["bfloat16", "float16", "float32 bfloat16", "float64", "float16 float32"])
def test_rounded_weights_are_refused(attempt, draw, dtypes):
    """A parameter that is not float32 (a frozen one, too) is a ValueError, and the model stays as it was."""
    values = [draw.normal(5, dtype=of_type(name)) for name in dtypes.split()]
    got = attempt.run(drivers.refused_masters, values)
    assert "ValueError" in got["raised"], f"a model with {dtypes} weights did not raise ValueError"
    agree(got["weights"], values, of=f"weights ({dtypes}) after the refusal", tol=1e-7)


@part("MasterWeightOptimizer")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_training_resumes_from_a_state_dict(attempt, draw, name):
    """Masters and optimizer state loaded into another model: it gets the weights at once and trains on the same."""
    options = {"lr": 0.01, "momentum": 0.9} if name == "SGD" else {"lr": 0.01}
    values, others = float32s(draw), float32s(draw)
    before, after = ([[g.bfloat16() for g in float32s(draw)] for _ in range(n)] for n in (3, 2))
    got = attempt.run(drivers.resume, values, others, torch.bfloat16, name, options, before, after)
    agree(got["keys"], ["masters", "optimizer"], of="the keys of the state dict")
    assert all(m.dtype == torch.float32 for m in got["masters"]), "the masters of the state dict are not float32"
    want = [m.bfloat16() for m in got["masters"]]
    agree(got["resumed"]["loaded"], want, of="the weights right after the state was loaded", tol=1e-6)
    agree(got["resumed"]["masters"], got["through"]["masters"], of=f"masters of a resumed {name} run", tol=1e-6)
    agree(got["kept"], got["masters"], of="the saved masters after the run that loaded them has gone on", tol=1e-7)
    agree(got["resumed"]["weights"], got["through"]["weights"], of=f"weights of a resumed {name} run", tol=1e-6)


# --- amp_train_step ---------------------------------------------------------------------------------------------------

RATES = [0.5, 0.5, 0.25]


def step_inputs(draw, count, n=7):
    weights = [draw.normal(*s, dtype=torch.float32, scale=0.5) for s in ((11, 5), (11,), (3, 11))]
    batches = [
        (draw.normal(n, 5, dtype=torch.float32), 2 + draw.normal(n, 3, dtype=torch.float32)) for _ in range(count)
    ]
    return weights, batches


def mean_gradients(weights, batches):
    """Mean loss over the micro-batches and its gradients, in float32."""
    leaves = [w.clone().requires_grad_() for w in weights]
    first, bias, second = leaves
    losses = [(F.linear(F.linear(x, first, bias).tanh(), second) - t).square().mean() for x, t in batches]
    loss = torch.stack(losses).mean()
    return loss.item(), list(torch.autograd.grad(loss, leaves))


def norm_of(gradients):
    return torch.cat([g.flatten() for g in gradients]).norm().item()


def descended(weights, gradients, factor=1.0):
    return [w - rate * factor * g for w, g, rate in zip(weights, gradients, RATES, strict=True)]


def changes(weights, before):
    return [w - b for w, b in zip(weights, before, strict=True)]


@part("amp_train_step")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("share", [0.3, 7.0, INF], ids=["clipped", "not clipped", "max_norm inf"])
def test_step_is_the_float32_step(attempt, draw, dtype, count, share):
    """The weights move as in float32: mean over micro-batches, unscaled, then clipped to max_norm over all groups."""
    weights, batches = step_inputs(draw, count)
    loss, gradients = mean_gradients(weights, batches)
    norm = norm_of(gradients)
    bound = share * norm
    scale = 1024.0
    got = attempt.run(
        drivers.train_step, weights, batches, scaler={"init_scale": scale}, max_norm=bound, dtype=of_type(dtype)
    )
    factor = min(1.0, share)
    want = changes(descended(weights, gradients, factor), weights)
    early = min(1.0, bound / (norm * scale))
    agree(
        changes(got["weights"], weights),
        want,
        of=f"change of the weights in {dtype}, {count} micro-batches, max_norm {share} of the gradient's norm",
        tol=6e-2,
        known={
            "clipping before unscaling": lambda: [c * early / factor for c in want],
            "never unscaling": lambda: [c * min(scale, bound / norm) / factor for c in want],
            "no clipping": lambda: [c / factor for c in want],
            "the sum over micro-batches": lambda: [c * min(count * 1.0, bound / norm) / factor for c in want],
        },
    )
    agree(got["result"]["grad_norm"], norm, of="the reported gradient norm, before clipping", tol=2e-2)
    agree(got["result"]["loss"], loss, of="the reported loss", tol=2e-2)
    agree(got["stepped"], [True], of="whether the step was taken")
    agree(got["steps"], 1, of="calls of optimizer.step()")
    agree(sorted(got["result"]), ["grad_norm", "loss", "stepped"], of="the keys of what it returns")
    kinds = {key: type(got["result"][key]) for key in ("loss", "grad_norm", "stepped")}
    assert kinds == {"loss": float, "grad_norm": float, "stepped": bool}, f"not plain Python numbers: {kinds}"


@part("amp_train_step")
@pytest.mark.parametrize("dtype", [*HALVES, None], ids=str)
def test_forward_in_half_and_loss_in_float32(attempt, draw, dtype):
    """The model's products are half (bfloat16 by default); the loss gets float32 outputs, outside of the context."""
    weights, batches = step_inputs(draw, 2)
    options = {} if dtype is None else {"dtype": of_type(dtype)}
    kind = options.get("dtype", torch.bfloat16)
    got = attempt.run(drivers.train_step, weights, batches, max_norm=1.0, **options)
    assert got["inputs"] == [torch.float32] * 2, f"the model was given {got['inputs']} inputs, not the float32 ones"
    assert got["layers"] == [[kind, kind]] * 2, f"two runs in {kind}: the layers' outputs were {got['layers']}"
    for outputs, product in got["losses"]:
        assert outputs == torch.float32, f"loss_fn got {outputs} outputs, not float32"
        assert product == torch.float32, "loss_fn ran inside mini_autocast: a product in it was half"
    assert len(got["losses"]) == 2, f"loss_fn ran {len(got['losses'])} times for two micro-batches"


@part("amp_train_step")
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_targets_and_mode_are_left_alone(attempt, draw, training):
    """loss_fn gets the targets as they are, whole numbers too, and the model stays in the mode it is in."""
    weights, batches = step_inputs(draw, 2)
    batches = [(inputs, targets.long()) for inputs, targets in batches]
    got = attempt.run(drivers.train_step, weights, batches, max_norm=1.0, training=training)
    assert got["targets"] == [torch.int64] * 2, f"loss_fn got {got['targets']} targets, the batches hold int64"
    agree(got["modes"], [training] * 3, of="model.training, in both runs of the model and after the step")


@part("amp_train_step")
def test_loss_beyond_float32_is_no_skip(attempt, draw):
    """Whether the step was taken is the scaler's word: a loss and a norm may be Inf where no gradient is."""
    weights, batches = step_inputs(draw, 2)
    batches = [(inputs, torch.full_like(targets, 1e25)) for inputs, targets in batches]
    got = attempt.run(drivers.train_step, weights, batches, scaler={"init_scale": 8.0}, max_norm=1.0)
    of = "where targets are 1e25, so that gradients are finite, and the loss is not"
    agree(got["stepped"], [True], of=f"what is reported as stepped {of}")
    agree([got["steps"], got["scale"]], [1, 8.0], of=f"calls of optimizer.step() and S {of}")
    agree(got["rate"], [0.25, 0.125], of=f"the learning rates after the scheduler's step {of}")
    agree(got["result"]["loss"], INF, of=f"the reported loss {of}")


@part("amp_train_step")
def test_old_gradients_of_the_optimizer_are_dropped(attempt):
    """The optimizer may hold a weight that is not the model's: its old gradient is dropped, too."""
    batch = (torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    got = attempt.run(drivers.step_beside_the_model, torch.ones(1, 1), batch)
    agree(got["norm"], 5.0, of="the gradient norm, 3 in the model and 4 outside of it, where an old gradient stood")
    agree(got["outside"], torch.tensor([-3.0]), of="a weight outside of the model, where an old gradient stood")


@part("amp_train_step")
def test_old_gradients_are_dropped(attempt, draw):
    """What stood in .grad before does not count."""
    weights, batches = step_inputs(draw, 2)
    stale = [draw.normal(*w.shape, dtype=torch.float32, scale=100.0) for w in weights]
    got = attempt.run(drivers.train_step, weights, batches, stale=stale, scaler={"init_scale": 2.0}, max_norm=INF)
    _, gradients = mean_gradients(weights, batches)
    want = changes(descended(weights, gradients), weights)
    agree(changes(got["weights"], weights), want, of="change of the weights where gradients stood before", tol=6e-2)


@part("amp_train_step")
def test_only_the_optimizers_gradients_are_clipped(attempt, draw):
    """A parameter that the optimizer does not hold counts in no norm and does not move."""
    weights, batches = step_inputs(draw, 2)
    _, gradients = mean_gradients(weights, batches)
    held = norm_of(gradients[:2])
    got = attempt.run(drivers.train_step, weights, batches, groups=1, max_norm=held / 2)
    agree(got["result"]["grad_norm"], held, of="the gradient norm where the optimizer holds two of three", tol=2e-2)
    want = changes(descended(weights, gradients, 0.5), weights)
    of = "change of the weights where the optimizer holds two of three"
    agree(changes(got["weights"], weights), [*want[:2], torch.zeros(3, 11)], of=of, tol=6e-2)


@part("amp_train_step")
@pytest.mark.parametrize("schedule", [True, False], ids=["scheduler", "no scheduler"])
def test_steps_and_updates_are_counted_once(attempt, draw, schedule):
    """After each step taken, the scaler is updated once and the scheduler (if any) stepped once."""
    weights, batches = step_inputs(draw, 2)
    scaler = {"init_scale": 8.0, "growth_interval": 1}
    got = attempt.run(drivers.train_step, weights, batches, steps=3, scaler=scaler, schedule=schedule, max_norm=0.1)
    agree(got["scale"], 64.0, of="S after three steps, growing after each, from 8 on")
    want = [0.5 / 8, 0.25 / 8] if schedule else [0.5, 0.25]
    agree(got["rate"], want, of="the learning rates after three steps, halved after each by the scheduler")
    agree(got["steps"], 3, of="calls of optimizer.step()")


@part("amp_train_step")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_skipped_step_counts_nowhere(attempt, draw, place):
    """With an Inf in any micro-batch nothing moves: weights, Adam's state, schedule; S halves, stepped is False."""
    weights, batches = step_inputs(draw, 3)
    batches[place][0][1, 2] = INF
    got = attempt.run(drivers.train_step, weights, batches, adam=True, scaler={"init_scale": 8.0}, max_norm=1.0)
    of = f"after a step with an Inf in micro-batch {place}"
    agree(got["stepped"], [False], of=f"what is reported as stepped {of}")
    agree(got["weights"], weights, of=f"weights {of}", tol=1e-7)
    agree(got["state"], [[], [], []], of=f"Adam's state {of}")
    agree(got["scale"], 4.0, of=f"S {of}")
    agree(got["rate"], [0.5, 0.25], of=f"the learning rates {of}", known={"a scheduler that counts it": [0.25, 0.125]})


@part("amp_train_step")
def test_scaling_saves_small_gradients(attempt, draw):
    """In float16, gradients that would underflow arrive, because the loss is scaled before backward."""
    weights, [(inputs, targets)] = step_inputs(draw, 1)
    weights[2].zero_()  # so that outputs are exactly 0 and gradients of the outputs about 1e-8
    batches = [(inputs, 1e-7 * targets)]
    _, gradients = mean_gradients(weights, batches)
    got = attempt.run(
        drivers.train_step, weights, batches, scaler={"init_scale": 2.0**20}, max_norm=INF, dtype=torch.float16
    )
    norm = norm_of(gradients)
    agree(got["result"]["grad_norm"], norm, of=f"gradient norm of {norm:.2g} in float16, S = 2^20", tol=5e-2)


@part("amp_train_step")
def test_skipped_step_reports_its_loss(attempt, draw):
    """Where S is too large for float16, the step is skipped, and the loss is reported as always."""
    weights, batches = step_inputs(draw, 2)
    loss, _ = mean_gradients(weights, batches)
    scaler = {"init_scale": 2.0**30}
    got = attempt.run(drivers.train_step, weights, batches, scaler=scaler, max_norm=1.0, dtype=torch.float16)
    of = "in float16 with S = 2^30"
    agree(got["stepped"], [False], of=f"whether the step was taken {of}")
    agree(got["result"]["loss"], loss, of=f"the reported loss {of}", tol=2e-2)
    norm = got["result"]["grad_norm"]
    assert not math.isfinite(norm), f"grad_norm {of} is {norm}, of gradients with an Inf"
    agree(got["weights"], weights, of=f"weights after a step {of}", tol=1e-7)
    agree(got["scale"], 2.0**29, of=f"S after a step {of}")


@part("amp_train_step")
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_one_graph_at_a_time(attempt, draw, training):
    """Neither the memory peak nor the graph grows with the number of micro-batches, and nothing stays alive."""
    weights, batches = step_inputs(draw, 9, n=101)
    peaks, nodes = [], []
    for count in (1, 9):
        got, cost = attempt.cost(drivers.train_step, weights, batches[:count], max_norm=1.0, training=training)
        loss, gradients = mean_gradients(weights, batches[:count])
        want = changes(descended(weights, gradients, min(1.0, 1 / norm_of(gradients))), weights)
        agree(changes(got["weights"], weights), want, of=f"change of the weights, {count} micro-batches", tol=6e-2)
        agree(got["result"]["loss"], loss, of=f"the reported loss, {count} micro-batches", tol=2e-2)
        peaks.append(cost.peak)
        nodes.append(cost.nodes)
        at_most(cost.kept, 128, of=f"bytes that stay alive beside gradients, after {count} micro-batches")
        at_most(cost.kept_nodes, 0, of=f"nodes of graphs that stay alive after {count} micro-batches")
    of = "nodes of graphs alive at once in nine micro-batches (allowed: twice as many as in one of them)"
    at_most(nodes[1], 2 * nodes[0], of=of)
    at_most(peaks[1], 2 * peaks[0], of="peak bytes of nine micro-batches (allowed: twice what one of them takes)")


# --- fp8_scaled_matmul ------------------------------------------------------------------------------------------------

FLOAT8 = ["float8_e4m3fn", "float8_e5m2"]


def as_float8(x, scale, dtype):
    """x · scale in float8, saturating, as float32."""
    largest = LARGEST[dtype]
    return (x.float() * scale).clamp(-largest, largest).to(of_type(dtype)).float()


def with_amax(draw, amax, *shape):
    """Random numbers whose largest magnitude is exactly this one."""
    x = draw.uniform(*shape, low=-0.99 * amax, high=0.99 * amax, dtype=torch.float32)
    x.view(-1)[draw.random.randrange(x.numel())] = amax * draw.random.choice([-1, 1])
    return x


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("dtype", FLOAT8)
def test_first_quantization_is_a_saturating_cast(attempt, dtype):
    """At first the scale is 1: a cast in which what is too large, Inf too, becomes the largest number; NaN stays."""
    top = LARGEST[dtype]
    x = torch.tensor([1.0, -0.3, 1e-9, top, -top, 1.03 * top, -1.5 * top, 1e30, INF, -INF, NAN, 0.0])
    [got] = attempt.run(drivers.quantize, [x], {"dtype": of_type(dtype)})
    agree(got["q"], as_float8(x, 1.0, dtype), axes="i", of=f"{x.tolist()} in {dtype}", tol=1e-9)
    agree(got["dtype"] == of_type(dtype), True, of=f"whether the dtype is {dtype}")
    agree(got["used"], 1.0, of="the scale of the first call")


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("dtype", [*FLOAT8, None], ids=str)
@pytest.mark.parametrize("margin", [0, 3, None], ids=lambda m: f"margin {m}")
def test_scale_comes_from_the_calls_before(attempt, draw, dtype, margin):
    """Each call uses the scale from the largest amax of the last `window` calls before it, and is recorded after it."""
    amaxes = [7.0, 0.875, 3.5, 28.0, 0.4375, 1.75, 0.875, 0.21875]
    tensors = [with_amax(draw, a, 3, 11) for a in amaxes]
    options = {"window": 3}
    options |= {} if dtype is None else {"dtype": of_type(dtype)}
    options |= {} if margin is None else {"margin": margin}
    dtype, margin = dtype or FLOAT8[0], margin or 0
    got = attempt.run(drivers.quantize, tensors, options)
    scale = 1.0
    for i, x in enumerate(tensors):
        at, of = got[i], f"call {i + 1} of amax {amaxes}, window 3, margin {margin}"
        history = amaxes[max(0, i - 2) : i + 1]
        after = LARGEST[dtype] / max(history) / 2**margin
        agree(at["used"], scale, of=f"the scale used by {of}", known={"this call's own scale": after})
        agree(at["q"], as_float8(x, scale, dtype), of=f"what {of} gives in {dtype}", tol=1e-9)
        newest = LARGEST[dtype] / amaxes[i] / 2**margin
        agree(at["scale"], after, of=f"scale after {of}", known={"the newest amax alone": newest})
        agree(at["history"], history, of=f"history after {of}")
        scale = after


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("given", HALVES)
@pytest.mark.parametrize("dtype", FLOAT8)
def test_half_input_is_scaled_in_float32(attempt, draw, dtype, given):
    """x · scale is rounded once, to float8: of half inputs, the product is taken in float32."""
    amax = {"bfloat16": 251 / 128, "float16": 2039 / 1024}[given]  # primes: no product is halfway in float8
    x = draw.uniform(61, 67, low=-0.99 * amax, high=0.99 * amax).to(of_type(given))
    x[0, 0] = amax
    got = attempt.run(drivers.quantize, [x, x], {"dtype": of_type(dtype)})
    scale = LARGEST[dtype] / amax
    agree(got[1]["used"], scale, of=f"the scale of {dtype} for an amax of {amax}")
    known = {"the product taken in half precision": lambda: (x * scale).float().to(of_type(dtype)).float()}
    of = f"{given} numbers up to {amax:.3f} in {dtype}, scaled by {scale:.2f}"
    agree(got[1]["q"], as_float8(x, scale, dtype), axes="i j", of=of, tol=1e-9, known=known)


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("dtype", FLOAT8)
def test_scale_follows_every_magnitude(attempt, dtype):
    """From 2^-90 to 2^100 every amax counts, and with a window of 1 the last call alone."""
    amaxes = [2.0**-90, 2.0**100, 2.0**-20, 2.0**-90]
    tensors = [a * torch.tensor([[1.0, -0.5]]) for a in amaxes]
    got = attempt.run(drivers.quantize, [*tensors, tensors[-1]], {"dtype": of_type(dtype), "window": 1})
    for at, a in zip(got, amaxes, strict=False):
        agree(at["scale"], LARGEST[dtype] / a, of=f"scale of {dtype} after an amax of {a}, window 1")
        agree(at["history"], [a], of=f"history after an amax of {a}, window 1")
    want = as_float8(tensors[-1], LARGEST[dtype] * 2.0**90, dtype)
    agree(got[-1]["q"], want, of=f"[2^-90, -2^-91] in {dtype}, scaled by what came before", tol=1e-9)


@part("fp8_scaled_matmul")
@pytest.mark.parametrize(("M", "K", "N"), [(5, 5, 5), (3, 0, 5), (0, 3, 2)])
def test_product_of_any_sizes(attempt, draw, M, K, N):
    """Square factors are not turned, and where a size is 0 the product is empty or 0."""
    a, b = draw.uniform(M, K, dtype=torch.float32), draw.uniform(K, N, dtype=torch.float32)
    got = attempt.run(drivers.fp8_matmul, [(a, b)], {}, {})
    want = as_float8(a, 1.0, FLOAT8[0]) @ as_float8(b, 1.0, FLOAT8[0])
    agree(got["products"][0], want, axes="M N", of=f"product of ({M}, {K}) and ({K}, {N})", tol=1e-5)


@part("fp8_scaled_matmul")
def test_sixteen_calls_are_remembered(attempt):
    """The default window is 16."""
    amaxes = [7.0, *([1.75] * 17)]
    got = attempt.run(drivers.quantize, [torch.tensor([-a, 0.5]) for a in amaxes], {})
    agree([at["scale"] for at in got], [64.0] * 16 + [256.0] * 2, of="scales after an amax of 7 and 17 of 1.75")
    agree(len(got[-1]["history"]), 16, of="how many calls are remembered")
    kinds = {type(v) for at in got for v in (at["used"], at["scale"], *at["history"])}
    assert kinds == {float}, f"scale, history and the scale that was used are to be Python floats, not {kinds}"


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("bad", [0.0, INF, -INF, NAN, "empty"], ids=str)
def test_useless_amax_is_not_recorded(attempt, draw, bad):
    """An amax of 0, Inf or NaN, or an empty tensor, changes neither scale nor history."""
    other = torch.zeros(0, 5) if bad == "empty" else torch.zeros(3, 5) if bad == 0 else draw.normal(3, 5).float()
    if isinstance(bad, float) and bad != 0:
        other[1, 2] = bad
    got = attempt.run(drivers.quantize, [other, with_amax(draw, 7.0, 5), other, other], {"window": 2})
    agree([at["scale"] for at in got], [1.0, 64.0, 64.0, 64.0], of=f"scales, an amax of {bad} in calls 1, 3 and 4")
    agree([at["history"] for at in got], [[], [7.0], [7.0], [7.0]], of="histories of these calls")
    agree(got[2]["q"], as_float8(other, 64.0, "float8_e4m3fn"), of=f"what call 3 with an amax of {bad} gives", tol=1e-9)


@part("fp8_scaled_matmul")
@pytest.mark.parametrize("given", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtypes", list(itertools.product(FLOAT8, FLOAT8)), ids=" ".join)
def test_product_is_of_float8_numbers(attempt, draw, dtypes, given):
    """The product of the two float8 matrices in float32, divided by the scales that they were made with."""
    kind = of_type(given)
    pairs = [
        (with_amax(draw, u, 3, 7).to(kind), with_amax(draw, v, 5, 7).T.to(kind))
        for u, v in ((3.5, 0.4375), (2039 / 256, 2039 / 1024), (0.875, 0.109375))
    ]
    options = [{"dtype": of_type(d), "window": 2} for d in dtypes]
    got = attempt.run(drivers.fp8_matmul, pairs, *options)
    (da, db), amax = dtypes, [[x.abs().max().item() for x in pair] for pair in pairs]
    scales = [(1.0, 1.0)]
    for i in range(3):
        scales.append(tuple(LARGEST[d] / max(a[j] for a in amax[max(0, i - 1) : i + 1]) for j, d in enumerate(dtypes)))
    for i, (a, b) in enumerate(pairs):
        sa, sb = scales[i]
        want = as_float8(a, sa, da) @ as_float8(b, sb, db) / (sa * sb)
        na, nb = scales[i + 1]
        known = {
            "the product without float8": lambda a=a, b=b: a.float() @ b.float(),
            "scales of this call's own amax": lambda a=a, b=b, na=na, nb=nb: (
                as_float8(a, na, da) @ as_float8(b, nb, db) / (na * nb)
            ),
            "dividing by the scales for the next call": lambda want=want, sa=sa, sb=sb, na=na, nb=nb: (
                want * sa * sb / (na * nb)
            ),
            "not dividing by the scales": lambda want=want, sa=sa, sb=sb: want * sa * sb,
        }
        of = f"product {i + 1} of ({given}) matrices in {da} and {db}"
        agree(got["products"][i], want, axes="M N", of=of, known=known, tol=1e-5)
    agree(got["scales"], list(scales[3]), of="the two scales after three products")


@part("fp8_scaled_matmul")
def test_two_tensors_of_one_size_are_quantized(attempt, reference, draw):
    """One scaling that quantizes two tensors gives each its own codes."""
    turns = (with_amax(draw, 7.0, 3, 11),), (with_amax(draw, 7.0, 3, 11),)
    hold_turns(attempt, reference, drivers.quantized_in_turn, turns=turns, of="quantize of (3, 11)", tol=1e-9)


# --- pad_for_tensor_cores ---------------------------------------------------------------------------------------------


@part("pad_for_tensor_cores")
@pytest.mark.parametrize(
    ("dtype", "multiple"),
    [
        *(("float64", 2), ("float32", 4), ("float16", 8), ("bfloat16", 8), ("float8_e4m3fn", 16)),
        *(("int64", 2), ("int32", 4), ("int8", 16), ("bool", 16)),
    ],
)
def test_sizes_are_rounded_up_to_16_bytes(attempt, dtype, multiple):
    """Every size from 0 to 70 goes up to the next multiple of 16 bytes; 0 stays 0."""
    sizes = list(range(71))
    got = attempt.run(drivers.padded_sizes, sizes, of_type(dtype))
    want = [[3, next(m for m in range(0, 200, multiple) if m >= n)] for n in sizes]
    agree([n for _, n in got], [n for _, n in want], of=f"padded sizes of {dtype} axes of 0 to 70")
    agree([n for n, _ in got], [3] * 71, of="the size of the other axis")


@part("pad_for_tensor_cores")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    ("axes", "multiple"), [((0, 2), None), ([-1], None), ((1, -3), 12), ((), None), ((2, 0, 1), 64)]
)
def test_zeros_are_appended(attempt, draw, dtype, axes, multiple):
    """x stands at the start of each axis, zeros follow; other axes keep their size, dtype and strides do not matter."""
    x = (10 * draw.normal(11, 5, 3)).to(of_type(dtype)).transpose(0, 2)
    unit = multiple or 16 // x.dtype.itemsize
    shape = [-(-n // unit) * unit if i in axes or i - 3 in axes else n for i, n in enumerate(x.shape)]
    want = torch.zeros(shape, dtype=x.dtype)
    want[:3, :5, :11] = x
    got = attempt.run(drivers.pad, x, axes, multiple)
    agree(got, want, axes="i j k", of=f"a {dtype} tensor (3, 5, 11) padded along {axes}, multiple {multiple}", tol=1e-9)


@part("pad_for_tensor_cores")
@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_is_padded(attempt, draw, dtype):
    """float8 tensors are padded as others are."""
    x = draw.normal(3, 17, dtype=torch.float32).to(of_type(dtype)).float()
    got = attempt.run(drivers.padded_float8, x, of_type(dtype))
    want = torch.zeros(16, 32)
    want[:3, :17] = x
    agree(got["values"], want, axes="i j", of=f"a {dtype} tensor (3, 17), padded", tol=1e-9)
    agree(got["dtype"] == of_type(dtype), True, of=f"whether the dtype is still {dtype}")


@part("pad_for_tensor_cores")
def test_product_of_padded_factors(attempt, draw):
    """Factors padded along M, K and N, multiplied and cropped, give the product; gradients are those of a copy."""
    a, b, upstream = draw.normal(2, 3, 7), draw.normal(7, 5), draw.normal(2, 3, 5)
    value, grads = attempt.gradients(drivers.padded_product, a, b, upstream=upstream)
    agree(value, a @ b, axes="b M N", of="the cropped product of padded factors")
    agree(grads[0], upstream @ b.T, axes="b M K", of="the gradient of the first factor")
    agree(grads[1], torch.einsum("bmk,bmn->kn", a, upstream), axes="K N", of="the gradient of the second factor")


@part("pad_for_tensor_cores")
@pytest.mark.parametrize(
    ("axes", "multiple"), [((0, 1), None), ((0, 1), 8), ((1,), 3), ((), 5), ((-1, -2), 1)], ids=str
)
def test_nothing_to_pad_copies_nothing(attempt, draw, axes, multiple):
    """Where all sizes fit already, x itself comes back, whatever its strides."""
    x = draw.normal(24, 8, dtype=torch.float32).T
    for grad in (False, True):
        got, cost = attempt.cost(drivers.pad_cost, x, axes, multiple, grad)
        what = f"a tensor (8, 24) that requires {'a' if grad else 'no'} gradient"
        assert got["itself"], f"{what}, padded along {axes} to a multiple of {multiple}, is another tensor"
        at_most(cost.peak, 0, of=f"bytes of new tensors where nothing is to be padded, {what}")


@part("pad_for_tensor_cores")
def test_numbers_are_kept_bit_for_bit(attempt):
    """NaN, Inf and -0.0 stay what they are, and an empty tensor keeps its dtype."""
    x = torch.tensor([[INF, -INF, NAN, -0.0, 1.0]])
    got = attempt.pad_for_tensor_cores(x, (1,))
    agree(got, torch.cat([x, torch.zeros(1, 3)], 1), of="[Inf, -Inf, NaN, -0, 1], padded", tol=1e-9)
    agree(got[0, 3].signbit(), torch.tensor(True), of="the sign bit of -0.0, padded")
    empty = attempt.pad_for_tensor_cores(torch.zeros(0, 3, dtype=torch.float16), (1, 0))
    agree(empty, torch.zeros(0, 8, dtype=torch.float16), of="an empty float16 tensor (0, 3), padded along both axes")


@part("pad_for_tensor_cores")
@pytest.mark.parametrize("axes", [(0,), ()], ids=str)
@pytest.mark.parametrize("multiple", [0, -8])
def test_multiple_below_one_is_refused(attempt, multiple, axes):
    """multiple < 1 is a ValueError, whatever the axes."""
    with refusal(ValueError, of=f"padding to a multiple of {multiple} along {axes}"):
        attempt.pad_for_tensor_cores(torch.ones(3, 5), axes, multiple)


@part("pad_for_tensor_cores")
def test_other_numbers_of_that_size_are_padded(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(3, 5), (0, 1)) for _ in range(2)]
    hold_again(attempt, reference, "pad_for_tensor_cores", *asked, of="pad_for_tensor_cores of (3, 5)", views=False)
