"""Hidden checks of dl_020. Oracles: Python's integers, closed forms, all candidates tried, sequential least squares.

No input lies near a tie, so codes are compared exactly: `until` draws anew until every rounding is clear.
"""

import math
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, in_torch, part
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type

from . import drivers


def apart(known, want):
    """Of known mistakes those that differ from the right value and from the mistakes before them."""
    kept = {}
    for name, value in known.items():
        if not any(torch.allclose(value.double(), one.double()) for one in (want, *kept.values())):
            kept[name] = value
    return kept


def ends_of(bits, symmetric=False):
    return -(2 ** (bits - 1)) + symmetric, 2 ** (bits - 1) - 1


def clear(steps, margin=1e-2):
    """Whether no number is near a half."""
    return bool(((steps - steps.floor() - 0.5).abs() > margin).all())


def until(make, ok, tries=2000):
    """What `make` draws, the first time that it is clear."""
    for _ in range(tries):
        made = make()
        if ok(made):
            return made
    raise AssertionError("no clear input found")


def clearly(x, scale, zero=None, margin=1e-2):
    """x, moved by a quarter of a step where x / scale lies near a half."""
    steps = x / scale
    near = (steps - steps.floor() - 0.5).abs() < margin
    return torch.where(near, (steps.floor() + 0.25) * scale, x)


def affine(low, high, bits=8, symmetric=False):
    """Scale and zero point of ranges that hold 0 already."""
    bottom, top = ends_of(bits, symmetric)
    if symmetric:
        scale = torch.maximum(-low, high) / top
        return scale, torch.zeros_like(scale).int()
    scale = (high - low) / (2**bits - 1)
    return scale, torch.round(bottom - low / scale).int()


def encoded(x, scale, zero, bits=8, symmetric=False):
    """Codes; scale and zero broadcast."""
    return torch.clamp(torch.round(x / scale) + zero, *ends_of(bits, symmetric)).to(torch.int8)


def decoded(codes, scale, zero):
    return (codes.to(scale.dtype) - zero) * scale


def fake(x, scale, zero, bits=8, symmetric=False):
    return decoded(encoded(x, scale, zero, bits, symmetric), scale, zero)


def clear_zero(blocks, bits):
    """Whether the zero points of blocks (blocks, n) are clear."""
    low, high = blocks.amin(1).clamp(max=0), blocks.amax(1).clamp(min=0)
    return clear(low * (2**bits - 1) / (high - low))


def hold_refusals(attempt, name, cases):
    """cases: what is asked for, to its arguments and options."""
    rows = [(name, args, options) for args, options in cases.values()]
    for of, told in zip(cases, attempt.each(drivers.refused, rows), strict=True):
        assert told is True, f"{of}: expected ValueError, but nothing was raised"


# --- affine_qparams ---------------------------------------------------------------------------------------------------


@part("affine_qparams")
@each_dtype
@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
def test_one_scale_for_a_tensor(attempt, draw, symmetric, dtype):
    """The codes just cover what the tensor holds, and 0: also where all of it is above 0, or below."""
    for bits, shift in [(8, 0.0), (4, 3.5), (2, -3.5), (7, 0.4)]:
        make = lambda shift=shift: draw.uniform(3, 7, low=-3.0, high=3.0, dtype=of_type(dtype)) + shift
        x = until(make, lambda x, bits=bits: clear_zero(x.reshape(1, -1), bits))
        low, high = x.amin((0, 1), True).clamp(max=0), x.amax((0, 1), True).clamp(min=0)
        want = affine(low, high, bits, symmetric)
        known = {
            "the affine scale": affine(low, high, bits)[0],
            "the symmetric scale": affine(low, high, bits, True)[0],
            "a range without 0": affine(x.amin((0, 1), True), x.amax((0, 1), True), bits)[0],
            "2^bits steps for 2^bits - 1": (high - low) / 2**bits,
            "the largest magnitude divided by 2^(bits - 1)": torch.maximum(-low, high) / 2 ** (bits - 1),
        }
        known = apart(known, want[0])
        of = f"of x (3, 7) from {x.min():.2f} to {x.max():.2f}, {bits} bits, symmetric={symmetric}, {dtype}"
        scale, zero = attempt.affine_qparams(x, bits, symmetric)
        agree(scale, want[0], axes="a b", of=f"scale {of}", known=known)
        unsigned = {"a zero point for codes from 0 on": want[1] + 2 ** (bits - 1)} if not symmetric else None
        agree(zero, want[1], axes="a b", of=f"zero point {of}", known=unsigned)


def along(x, axis):
    """x as (size of the axis, all else)."""
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)


@part("affine_qparams")
@each_dtype
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_one_scale_for_each_index_of_an_axis(attempt, draw, axis, dtype):
    """Each index along the axis has its own range; scale and zero have size 1 in all other axes."""
    make = lambda: draw.normal(5, 2, 3, dtype=of_type(dtype)).permute(1, 2, 0) + draw.random.uniform(-1, 1)
    x = until(make, lambda x: clear_zero(along(x, axis), 8))
    rows = along(x, axis)
    shape = [size if a == axis % 3 else 1 for a, size in enumerate(x.shape)]
    low, high = rows.amin(1).clamp(max=0).view(shape), rows.amax(1).clamp(min=0).view(shape)
    of = f"of x (2, 3, 5), axis={axis}, {dtype}"
    for symmetric in (False, True):
        scale, zero = attempt.affine_qparams(x, symmetric=symmetric, axis=axis)
        want = affine(low, high, 8, symmetric)
        agree(scale, want[0], axes="a b c", of=f"scale {of}, symmetric={symmetric}")
        agree(zero, want[1], axes="a b c", of=f"zero point {of}, symmetric={symmetric}")


@part("affine_qparams")
@each_dtype
def test_one_scale_for_each_group(attempt, draw, dtype):
    """Each run of `group` neighbours along the last axis has its own range, whatever the number of axes."""
    for shape, group in [((3, 10), 5), ((2, 3, 6), 2), ((2, 7), 7), ((2, 3), 1), ((6,), 3)]:
        make = lambda shape=shape: draw.normal(*shape, dtype=of_type(dtype)) * 2 + 0.3
        x = until(make, lambda x, group=group: clear_zero(x.reshape(-1, group), 4))
        runs = x.reshape(*shape[:-1], -1, group)
        low, high = runs.amin(-1).clamp(max=0), runs.amax(-1).clamp(min=0)
        want = affine(low, high, 4)
        of = f"of x {shape}, group={group}, 4 bits, {dtype}"
        scale, zero = attempt.affine_qparams(x, 4, group=group)
        agree(scale, want[0], of=f"scale {of}")
        agree(zero, want[1], of=f"zero point {of}")
        if len(shape) > 1:
            scale, zero = attempt.affine_qparams(x.mT.contiguous().mT, 4, group=group)
            agree(scale, want[0], of=f"scale {of}, not contiguous")
            agree(zero, want[1], of=f"zero point {of}, not contiguous")


@part("affine_qparams")
def test_from_vectors_to_four_axes(attempt, draw):
    """Of a vector, axis=0 gives each number a scale of its own; of a matrix, axis=1 gives each column one."""
    z = until(lambda: draw.normal(2, 3, 4, 5), lambda z: clear_zero(along(z, 2), 8))
    x = until(lambda: draw.normal(5), lambda x: clear_zero(x[:, None], 8) and clear_zero(x[None], 8))
    y = until(lambda: draw.normal(4, 3), lambda y: clear_zero(y, 8) and clear_zero(y.T, 8))
    cases = [(x, {"axis": 0}, x[:, None], (5,)), (x, {"axis": -1}, x[:, None], (5,)), (x, {}, x[None], (1,))]
    cases += [(y, {"axis": 0}, y, (4, 1)), (y, {"axis": 1}, y.T, (1, 3)), (y, {"axis": -1}, y.T, (1, 3))]
    cases += [(z, {"axis": axis}, along(z, 2), (1, 1, 4, 1)) for axis in (2, -2)]
    for tensor, options, blocks, shape in cases:
        want = affine(blocks.amin(1).clamp(max=0), blocks.amax(1).clamp(min=0))
        scale, zero = attempt.affine_qparams(tensor, **options)
        of = f"of x {tuple(tensor.shape)}, {options}"
        agree(scale, want[0].view(shape), of=f"scale {of}")
        agree(zero, want[1].view(shape), of=f"zero point {of}")


@part("affine_qparams")
@each_dtype
@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
def test_codes_are_the_nearest(attempt, draw, symmetric, dtype):
    """A code is round(x / s) + z, whatever the shape of the scale."""
    x = draw.normal(3, 10, dtype=of_type(dtype)) * 3
    for bits, shape in [(8, (1, 1)), (8, (3, 1)), (5, (1, 10)), (4, (3, 5)), (3, (3, 2)), (2, (1, 5))]:
        wide = [(10 if size == 10 else 10 // size) for size in shape[1:]]
        scale = draw.uniform(*shape, low=0.05, high=0.7, dtype=of_type(dtype))
        zero = draw.integers(*ends_of(bits), *shape).int() * (not symmetric)
        repeat = 1 if shape[1] in (1, 10) else wide[0]
        full, shifts = (t.repeat_interleave(repeat, 1) for t in (scale, zero))
        y = clearly(x, full)
        want = encoded(y, full, shifts, bits, symmetric)
        low, high = ends_of(bits, symmetric)
        known = {
            "rounding toward 0": torch.clamp((y / full).trunc() + shifts, low, high).to(torch.int8),
            "rounding down": torch.clamp((y / full).floor() + shifts, low, high).to(torch.int8),
            "codes without the zero point": torch.clamp((y / full).round(), low, high).to(torch.int8),
            "codes clamped before the zero point is added": ((y / full).round().clamp(low, high) + shifts).to(
                torch.int8
            ),
        }
        known = {name: value for name, value in known.items() if not torch.equal(value, want)}
        of = f"codes of x (3, 10), scale {shape}, {bits} bits, symmetric={symmetric}, {dtype}"
        agree(attempt.quantize(y, scale, zero, bits, symmetric), want, axes="a b", of=of, known=known)


@part("affine_qparams")
@each_dtype
def test_codes_and_numbers_of_any_number_of_axes(attempt, draw, dtype):
    """A scale may have any number of axes: each of its entries serves a block of x, there and back."""
    for shape, of_scale in [
        ((2, 3, 10), (2, 1, 5)),
        ((2, 3, 4), (1, 3, 1)),
        ((4, 2, 3, 2), (2, 2, 1, 2)),
        ((6,), (3,)),
    ]:
        x = draw.normal(*shape, dtype=of_type(dtype)) * 3
        scale = draw.uniform(*of_scale, low=0.05, high=0.7, dtype=of_type(dtype))
        zero = draw.integers(*ends_of(4), *of_scale).int()
        full, shifts = scale, zero
        for axis, (size, few) in enumerate(zip(shape, of_scale, strict=True)):
            full, shifts = (t.repeat_interleave(size // few, axis) for t in (full, shifts))
        x = clearly(x, full)
        want = encoded(x, full, shifts, 4)
        of = f"of x {shape}, scale {of_scale}, 4 bits, {dtype}"
        agree(attempt.quantize(x, scale, zero, 4), want, of=f"codes {of}")
        agree(attempt.dequantize(want, scale, zero), decoded(want, full, shifts), of=f"numbers from codes {of}")


@part("affine_qparams")
def test_far_beyond_the_range_the_last_code_comes(attempt):
    """However far beyond the range, and at infinity, the code is the lowest or the highest."""
    x = torch.tensor([1e4, -1e4, 1e12, -1e12, 3e38, -3e38, math.inf, -math.inf])
    for bits, symmetric, zero in [(8, False, -100), (8, True, 0), (4, False, 3), (2, True, 0)]:
        low, high = ends_of(bits, symmetric)
        got = attempt.quantize(x, torch.tensor([0.1]), torch.tensor([zero]).int(), bits, symmetric)
        want = torch.tensor([high, low] * 4, dtype=torch.int8)
        agree(got, want, axes="n", of=f"codes of {x.tolist()}, {bits} bits, symmetric={symmetric}")


@part("affine_qparams")
@each_dtype
def test_codes_back_to_numbers(attempt, draw, dtype):
    """(q - z) · s in the dtype of the scale; q - z needs more than 8 bits."""
    codes = draw.integers(-128, 128, 3, 8).to(torch.int8)
    codes[0, 0], codes[1, 1] = -128, 127
    for shape in [(1, 1), (3, 1), (3, 4), (1, 8)]:
        scale = draw.uniform(*shape, low=0.1, high=2.0, dtype=of_type(dtype))
        zero = draw.integers(100, 128, *shape).int() * draw.pick([1, -1])
        repeat = 8 // shape[1]
        full, shifts = (t.repeat_interleave(repeat, 1) for t in (scale, zero))
        narrow = (codes - shifts.to(torch.int8)).to(scale.dtype) * full
        known = {"q - z in 8 bits, which runs over": narrow, "the zero point left out": codes * full}
        of = f"dequantize of codes (3, 8), scale {shape} {dtype}"
        agree(attempt.dequantize(codes, scale, zero), decoded(codes, full, shifts), axes="a b", of=of, known=known)


@part("affine_qparams")
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_zero_is_exact_and_the_error_half_a_step(attempt, draw, bits):
    """0 comes back as 0, and every number of the tensor within half a step, the ends too."""
    for options in ({}, {"symmetric": True}, {"axis": 0}, {"group": 6}):
        x = (draw.normal(5, 12) + 0.1) * torch.tensor([0.01, 1.0, 50.0, 1e-7, 1e4], dtype=torch.float64)[:, None]
        x[:, 3] = 0
        _, _, back = attempt.run(drivers.own_round_trip, x, {"bits": bits, **options})
        of = f"x (5, 12) there and back, {bits} bits, {options}"
        assert bool((back[:, 3] == 0).all()), f"{of}: 0 comes back as {back[:, 3].abs().max():.3g}"
        low, high = (x.clamp(max=0), x.clamp(min=0)) if "symmetric" not in options else (-x.abs(), x.abs())
        blocks = {"axis": lambda t: t, "group": lambda t: t.view(5, 2, 6)}.get(next(iter(options), ""), torch.flatten)
        span = (blocks(high).amax(-1) - blocks(low).amin(-1)) / (2**bits - 1 - ("symmetric" in options))
        span = span[:, None] if "axis" in options else span.repeat_interleave(6, 1) if "group" in options else span
        at_most(((back - x).abs() / span).max().item(), 0.5 + 1e-9, of=f"error of {of}, in scales")


@part("affine_qparams")
@each_dtype
def test_a_block_of_zeros(attempt, draw, dtype):
    """A block of zeros has a finite scale above 0, and zeros come back."""
    x = draw.normal(3, 5, dtype=of_type(dtype))
    x[1] = 0
    for symmetric in (False, True):
        options = {"axis": 0, "symmetric": symmetric}
        scale, _, back = attempt.run(drivers.own_round_trip, x, options)
        assert bool(scale.isfinite().all() and (scale > 0).all()), f"a row of zeros, {options}: its scale is {scale[1]}"
        agree(back[1], 0 * x[1], axes="b", of=f"a row of zeros there and back, {options}, {dtype}")


@part("affine_qparams")
def test_what_cannot_be_is_refused(attempt, draw):
    """Axis and group together, a group that does not divide, and bits beyond 2 to 8 are a ValueError."""
    x = draw.normal(3, 10)
    cases = {
        "axis=0 and group=5": ((x,), {"axis": 0, "group": 5}),
        "group=4 over 10": ((x,), {"group": 4}),
        "group=20 over 10": ((x,), {"group": 20}),
        "group=0 over 10": ((x,), {"group": 0}),
        "group=-5 over 10": ((x,), {"group": -5}),
        "bits=1": ((x, 1), {}),
        "bits=9": ((x, 9), {}),
        "bits=16, symmetric": ((x, 16, True), {}),
    }
    hold_refusals(attempt, "affine_qparams", cases)


@part("affine_qparams")
@each_dtype
def test_ranges_and_codes_of_another_tensor_of_that_size(attempt, reference, draw, dtype):
    """Ranges, codes and numbers are those of what a call gets, whatever came before, however it lies in memory."""
    kind = of_type(dtype)
    xs = [until(lambda: draw.normal(3, 7, dtype=kind), lambda x: clear_zero(x, 8)) for _ in range(2)]
    grids = [(draw.uniform(3, 1, low=0.05, high=0.2, dtype=kind), draw.integers(-5, 6, 3, 1).int()) for _ in range(2)]
    codes = [draw.integers(-128, 128, 3, 7).to(torch.int8) for _ in range(2)]
    ranges = [(x, 8, False, 0) for x in xs]
    hold_again(attempt, reference, "affine_qparams", *ranges, of=f"affine_qparams of x (3, 7), axis=0, {dtype}")
    asked = [(clearly(x, grid[0]), *grid) for x, grid in zip(xs, grids, strict=True)]
    hold_again(attempt, reference, "quantize", *asked, of=f"codes of x (3, 7), scale (3, 1), {dtype}")
    asked = [(code, *grid) for code, grid in zip(codes, grids, strict=True)]
    hold_again(attempt, reference, "dequantize", *asked, of=f"numbers from codes (3, 7), scale (3, 1), {dtype}")


# --- Calibrator -------------------------------------------------------------------------------------------------------

METHODS = ("minmax", "moving", "percentile", "least squares")


def batches_of(draw, *sizes, shift=0.0, dtype="float64"):
    return [draw.normal(*size, dtype=of_type(dtype)) * (1 + i) + shift for i, size in enumerate(sizes)]


def with_zero(low, high):
    return min(float(low), 0.0), max(float(high), 0.0)


@part("Calibrator")
@pytest.mark.parametrize("shift", [0.0, 9.0, -9.0], ids=["around 0", "above 0", "below 0"])
def test_minmax_is_the_range_of_all_batches(attempt, draw, shift):
    """The smallest and the largest number of all batches so far, and 0; a batch may change once it was observed."""
    batches = [b.clamp(-8, 8) + shift for b in batches_of(draw, (7,), (3, 5), (2, 2, 3), (1,))][::-1]
    batches[2] = batches[2].T  # not contiguous
    seen = [torch.cat([b.flatten() for b in batches[: n + 1]]) for n in range(4)]
    want = [with_zero(x.min(), x.max()) for x in seen]
    known = {
        "the range of the newest batch": [with_zero(b.min(), b.max()) for b in batches],
        "a range without 0": [(float(x.min()), float(x.max())) for x in seen],
    }
    known = {name: value for name, value in known.items() if value != want}
    of = f"the range after each of 4 batches, minmax, numbers about {shift}"
    agree(attempt.run(drivers.ranges, {"method": "minmax"}, batches), want, of=of, known=known)
    agree(attempt.run(drivers.ranges, {}, batches), want, of=f"{of}, no method given")


def moving(batches, rate, low=None, high=None):
    """The average after each batch, without 0."""
    found = []
    for b in batches:
        small, large = float(b.min()), float(b.max())
        low = small if low is None else low + rate * (small - low)
        high = large if high is None else high + rate * (large - high)
        found.append((low, high))
    return found


@part("Calibrator")
@pytest.mark.parametrize("shift", [0.0, 3.0, -9.0], ids=["around 0", "partly above 0", "below 0"])
def test_moving_average_of_ranges(attempt, draw, shift):
    """The first batch sets the range, each other moves it by the rate; 0 is added at the end, not to the batches."""
    for rate in (0.1, 0.35, 1.0, 0.0):
        batches = batches_of(draw, (11,), (3, 5), (2, 7), (13,), shift=shift)
        want = [with_zero(*one) for one in moving(batches, rate)]
        known = {
            "the rate on what was, not on what is new": [with_zero(*one) for one in moving(batches, 1 - rate)],
            "an average that starts from 0": [with_zero(*one) for one in moving(batches, rate, 0.0, 0.0)],
            "0 added to each batch": moving([torch.cat([b.flatten(), b.new_zeros(1)]) for b in batches], rate),
            "the range of all batches": [
                with_zero(min(b.min() for b in batches[: n + 1]), max(b.max() for b in batches[: n + 1]))
                for n in range(4)
            ],
        }
        known = {name: value for name, value in known.items() if value != want} if rate == 0.1 else None
        of = f"the range after each of 4 batches, moving, rate {rate}"
        agree(attempt.run(drivers.ranges, {"method": "moving", "rate": rate}, batches), want, of=of, known=known)
    want = [with_zero(*one) for one in moving(batches, 0.1)]
    of = "the range after each of 4 batches, moving, no rate given"
    agree(attempt.run(drivers.ranges, {"method": "moving"}, batches), want, of=of)


def cut_range(x, clip):
    x = x.flatten().sort().values
    k = math.floor(len(x) * clip)
    return with_zero(x[k], x[len(x) - 1 - k])


@part("Calibrator")
@pytest.mark.parametrize("clip", [0.0, 0.013, 0.251, 0.49])
def test_percentile_leaves_out_the_extremes(attempt, draw, clip):
    """Of all n numbers, floor(n · clip) are left out on each side, however the batches were cut."""
    x = torch.cat([draw.normal(280), draw.normal(21) * 30 + 4])[draw.permutation(301)]
    want = cut_range(x, clip)
    halves = cut_range(x, clip / 2)
    inner = torch.quantile(x, clip), torch.quantile(x, 1 - clip)
    size = float(x.abs().sort().values[len(x) - 1 - math.floor(len(x) * clip)])
    known = {
        "the share divided between the sides": halves,
        "quantiles between two numbers": with_zero(*inner),
        "a share of |x|": (-size, size),
        "one number more left out on each side": with_zero(
            *[float(x.sort().values[k]) for k in (math.floor(301 * clip) + 1, 299 - math.floor(301 * clip))]
        ),
        "no number left out": cut_range(x, 0.0),
    }
    known = {name: value for name, value in known.items() if value != want} if clip == 0.013 else None
    options = {"method": "percentile", "clip": clip}
    for cuts in ([301], [1, 300], [100, 1, 97, 103]):
        of = f"the range of 301 numbers in batches of {cuts}, clip {clip}"
        agree(attempt.run(drivers.range_of_all, options, list(x.split(cuts))), want, of=of, known=known)


@part("Calibrator")
def test_percentile_after_each_batch_and_by_default(attempt, draw):
    """A range may be asked for between batches, and without a clip one number in a thousand goes on each side."""
    batches = [draw.normal(n) + 5 for n in (700, 600, 900)]
    want = [cut_range(torch.cat(batches[: n + 1]), 0.001) for n in range(3)]
    of = "the range after batches of 700, 600 and 900 numbers, percentile"
    agree(attempt.run(drivers.ranges, {"method": "percentile"}, batches), want, of=of)


def range_error(x, low, high, bits):
    """The summed squared error of x with this range; infinite for one that no ratio gives."""
    low, high = (torch.tensor(end, dtype=torch.float64) for end in (low, high))
    return float((fake(x, *affine(low, high, bits), bits) - x).square().sum())


@part("Calibrator")
def test_percentile_of_a_large_batch(attempt, draw):
    """A batch of 20,000 numbers counts as a whole, also when its largest numbers come last."""
    x = draw.normal(20_000).sort().values
    want = cut_range(x, 0.01)
    got = attempt.run(drivers.range_of_all, {"method": "percentile", "clip": 0.01}, [x])
    agree(got, want, of="the range of one batch of 20,000 numbers in increasing order, clip 0.01")


@part("Calibrator")
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_least_squares_finds_the_best_of_a_hundred_ranges(attempt, draw, bits):
    """Of the ranges r · (low, high), r = 0.01 ... 1, the one whose codes give all numbers back best."""
    for shift in (0.0, 2.0):
        x = torch.cat([draw.normal(60) + shift, draw.normal(3) * 9])[draw.permutation(63)]
        low, high = with_zero(x.min(), x.max())
        tried = {k: range_error(x, low * k / 100, high * k / 100, bits) for k in range(1, 101)}
        best = min(tried, key=tried.get)
        options = {"method": "least squares", "bits": bits}
        got = attempt.run(drivers.ranges, options, list(x.split([20, 1, 42])))[-1]
        if tried[best] <= range_error(x, *got, bits) <= tried[best] * (1 + 1e-9):
            k = round(100 * (got[1] / high if high else got[0] / low))
            best = min(max(k, 1), 100)  # as good: another ratio of the hundred
        of = f"the range of 63 numbers from {low:.3g} to {high:.3g}, least squares, {bits} bits"
        known = {
            "the range of minmax": (low, high),
        }
        known = {name: value for name, value in known.items() if value != (low * best / 100, high * best / 100)}
        want = (low * best / 100, high * best / 100)
        agree(got, want, of=of, known=known if bits == 3 else None, tol=1e-6)  # ratios may be float32


@part("Calibrator")
def test_least_squares_may_choose_the_smallest_range(attempt, draw):
    """20,000 small numbers near the codes of the smallest of the hundred ranges weigh more than two large ones."""
    low, high = -0.9, 1.0
    step = (high - low) / 100 / 3  # codes of 2 bits: -1, 0, 1 and 2 steps
    small = step * torch.tensor([1.0, 2.0, 2.0, -1.0] * 5_000).double() * draw.uniform(20_000, low=0.97, high=1.03)
    x = torch.cat([small, torch.tensor([high, low], dtype=torch.float64)])
    tried = {k: range_error(x, low * k / 100, high * k / 100, 2) for k in (1, 2, 3, 4, 5, 7, 10, 20, 50, 100)}
    assert min(tried, key=tried.get) == 1, "the oracle: the smallest range is the best"
    got = attempt.run(drivers.range_of_all, {"method": "least squares", "bits": 2}, [x])
    agree(
        got,
        (low / 100, high / 100),
        of="the range of 20,000 small numbers, 1 and -0.9, least squares, 2 bits",
        tol=1e-6,
    )


@part("Calibrator")
@pytest.mark.parametrize("method", METHODS)
def test_batches_without_numbers(attempt, draw, method):
    """An empty batch changes nothing; a range of nothing is a ValueError; zeros alone have the range (0, 0)."""
    empty = torch.zeros(0, 3, dtype=torch.float64)
    for batches in ([], [empty]):
        of = f"{method}: a range after {len(batches)} empty batches"
        assert attempt.run(drivers.early_range, method, batches), f"{of}: expected ValueError, nothing was raised"
    x = draw.normal(50)
    options = {"method": method, "rate": 0.5, "clip": 0.1, "bits": 4}
    plain = attempt.run(drivers.range_of_all, options, [x, 2 * x])
    if method in ("minmax", "percentile"):
        both = torch.cat([x, 2 * x])
        agree(plain, cut_range(both, 0.1 if method == "percentile" else 0.0), of=f"{method}: the range of two batches")
    got = attempt.run(drivers.range_of_all, options, [empty, x, empty, 2 * x, empty])
    agree(got, plain, of=f"{method}: the range with empty batches between others")
    zeros = attempt.run(drivers.range_of_all, options, [torch.zeros(4)])
    agree(zeros, (0.0, 0.0), of=f"{method}: the range of zeros")


@part("Calibrator")
@pytest.mark.parametrize("method", METHODS)
def test_float32_and_what_follows_from_the_range(attempt, draw, method):
    """Batches may be float32; `qparams` is the scale and zero point of the range."""
    batches = batches_of(draw, (31,), (5, 7), dtype="float32", shift=1.0)
    options = {"method": method, "bits": 5, "rate": 0.3, "clip": 0.03}
    low, high = attempt.run(drivers.range_of_all, options, batches)
    x = torch.cat([b.flatten() for b in batches]).double()
    of = f"the range of float32 batches (31) and (5, 7), {method}"
    if method == "least squares":
        ends = with_zero(x.min(), x.max())
        least = min(range_error(x, ends[0] * k / 100, ends[1] * k / 100, 5) for k in range(1, 101))
        at_most(range_error(x, low, high, 5), least * (1 + 1e-3), of=f"squared error with {of}")
    else:
        moved = with_zero(*moving([b.double() for b in batches], 0.3)[-1])
        want = {"minmax": cut_range(x, 0.0), "percentile": cut_range(x, 0.03), "moving": moved}[method]
        agree((low, high), want, of=of, tol=1e-5)
    scale, zero = attempt.run(drivers.qparams_of_all, options, batches)
    want, _ = affine(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64), 5)
    agree(scale, want, axes="a", of=f"{method}: scale of `qparams`, 5 bits")
    agree(zero.shape, torch.Size([1]), of=f"{method}: shape of the zero point of `qparams`")
    scale, _ = attempt.run(drivers.qparams_of_all, {"method": method, "rate": 0.3, "clip": 0.0}, batches)
    if method != "least squares":
        low, high = with_zero(
            *moving([b.double() for b in batches], 0.3)[-1] if method == "moving" else (x.min(), x.max())
        )
        of = f"{method}: scale of `qparams`, no bits given: 8"
        agree(scale, torch.tensor([(high - low) / 255], dtype=torch.float64), axes="a", of=of, tol=1e-5)


@part("Calibrator")
@pytest.mark.parametrize("method", METHODS)
def test_no_graph_is_kept(attempt, draw, method):
    """Of batches that autograd made nothing of their graph lives on."""
    x = draw.normal(5, 7)
    got, cost = attempt.cost(drivers.observed_graph, method, x)
    both = torch.cat([(x * 2).tanh(), (x * 3).tanh()])
    if method == "minmax":
        agree(got, with_zero(both.min(), both.max()), of="the range of two batches that ask for gradients")
    low, high = got
    slack = 1e-9  # 100 / 100 of an end may be another number in the last bit
    inside = float(both.min()) - slack <= low < 0 < high <= float(both.max()) + slack
    assert inside, f"{method}: {got} is no range of two batches"
    of = f"nodes of autograd that live on behind two batches, {method}"
    at_most(cost.kept_nodes, 0, of=of)


@part("Calibrator")
def test_another_method_is_refused(attempt):
    """Another name than the four is a ValueError when the calibrator is made."""
    hold_refusals(attempt, "Calibrator", {f"method {name!r}": ((name,), {}) for name in ("max", "Minmax", "mse", "")})


# --- FakeQuantize -----------------------------------------------------------------------------------------------------

KEPT = 1e-5
"""Tolerance of results: the range may be kept in float32, also where x is float64."""


def fake_steps(steps, bits, rate):
    """Result and gradient of x, for each (training, x, upstream)."""
    low = high = None
    found = []
    for training, x, upstream in steps:
        if training:
            low, high = moving([x], rate, low, high)[0]
        ends = [torch.tensor(end, dtype=torch.float64).to(x.dtype) for end in with_zero(low, high)]
        scale, zero = affine(*ends, bits)
        codes = torch.round(x / scale) + zero
        inside = (codes >= ends_of(bits)[0]) & (codes <= ends_of(bits)[1])
        found.append((fake(x, scale, zero, bits), upstream * inside))
    return found


def step_scale(steps, bits, rate):
    """(training, x, upstream) steps with numbers moved off ties; None where an end or a zero point is not clear."""
    low = high = None
    found = []
    for training, x, upstream in steps:
        if training:
            low, high = moving([x], rate, low, high)[0]
        a, b = (torch.tensor(end, dtype=torch.float64) for end in with_zero(low, high))
        scale = (b - a) / (2**bits - 1)
        steps_of_x = x.double() / scale
        if not clear(a / scale) or not clear(steps_of_x, 2e-3):
            return None
        found.append((training, x, upstream))
    return found


def drawn_steps(draw, modes, bits, rate, dtype="float64", shift=0.3, n=17):
    def make():
        sizes = [draw.random.uniform(0.5, 2.0) for _ in modes]
        kind = of_type(dtype)
        steps = [
            (training, draw.normal(n, dtype=kind) * size + shift, draw.normal(n, dtype=kind))
            for training, size in zip(modes, sizes, strict=True)
        ]
        return step_scale(steps, bits, rate)

    return until(make, lambda steps: steps is not None)


@part("FakeQuantize")
@each_dtype
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_first_batch_sets_the_range(attempt, draw, bits, dtype):
    """In training mode the first batch sets the range, and comes back as its codes say."""
    for shift in (0.0, 5.0):
        steps = drawn_steps(draw, [True], bits, 0.1, dtype, shift, n=11)
        [(want, slope)] = fake_steps(steps, bits, 0.1)
        [(got, grad)] = attempt.run(drivers.faked, {"bits": bits}, steps)
        of = f"of a first batch (11) about {shift}, {bits} bits, {dtype}"
        agree(got, want, axes="n", of=f"FakeQuantize {of}", known={"x itself": steps[0][1]}, tol=KEPT)
        known = {"a gradient through round, which is 0 everywhere": 0 * slope}
        agree(grad, slope, axes="n", of=f"gradient {of}", known=known)


@part("FakeQuantize")
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_the_range_moves_in_training_and_stays_in_evaluation(attempt, draw, rate):
    """Training batches move the range by the rate, batches in evaluation do not; outside it gradients are 0."""
    modes = [True, True, False, True, False, False]
    steps = drawn_steps(draw, modes, 6, rate)
    want = fake_steps(steps, 6, rate)
    got = attempt.run(drivers.faked, {"bits": 6, "rate": rate}, steps)
    always = fake_steps([(True, *rest) for _, *rest in steps], 6, rate)
    first = fake_steps([(i == 0, *rest) for i, (_, *rest) in enumerate(steps)], 6, rate)
    turned = fake_steps(steps, 6, 1 - rate)
    for i, (one, (out, slope)) in enumerate(zip(got, want, strict=True)):
        known = {
            "a range that moves in evaluation, too": always[i][0],
            "a range that the first batch sets for good": first[i][0],
            "the rate on what was, not on what is new": turned[i][0],
        }
        known = {name: value for name, value in known.items() if not torch.allclose(value, out)} if rate == 0.1 else {}
        shown = ", ".join("train" if training else "eval" for training in modes[: i + 1])
        agree(
            one[0], out, axes="n", of=f"FakeQuantize of the last batch of {shown}; rate {rate}", known=known, tol=KEPT
        )
        everywhere = {"a gradient of 1 everywhere": steps[i][2]} if not torch.equal(slope, steps[i][2]) else None
        agree(one[1], slope, axes="n", of=f"gradient of the last batch of {shown}; rate {rate}", known=everywhere)


@part("FakeQuantize")
def test_the_rounded_code_decides_about_the_gradient(attempt, draw):
    """x / s = -8.4 rounds to the lowest code -8 and passes a gradient, -8.6 does not; with a zero point as well."""
    for ends, shift in (((-8.0, 7.0), 0.0), ((0.0, 15.0), 8.0), ((-15.0, 0.0), -7.0)):
        first = torch.tensor([ends[0], 0.0, 1.25 * (ends[1] > 0), ends[1]], dtype=torch.float64)
        x = torch.tensor([-99.0, -8.6, -8.4, -7.6, -0.2, 6.7, 7.4, 7.6, 99.0], dtype=torch.float64) + shift
        slope = draw.uniform(9, low=0.5, high=2.0)
        inside = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
        codes = torch.tensor([-8.0, -8.0, -8.0, -8.0, 0.0, 7.0, 7.0, 7.0, 7.0], dtype=torch.float64)
        steps = [(True, first, first), (False, x, slope)]
        _, (got, grad) = attempt.run(drivers.faked, {"bits": 4}, steps)
        of = f"of x = {x.tolist()}, 4 bits, range {ends}"
        agree(got, codes + shift, axes="n", of=f"FakeQuantize {of}", tol=KEPT)
        strict = torch.where((x - shift > -8) & (x - shift < 7), 1.0, 0.0).double()
        known = {
            "a gradient of 1 everywhere": slope,
            "no gradient at all": 0 * slope,
            "a border at x, not at its code": slope * strict,
        }
        agree(grad, slope * inside, axes="n", of=f"gradient {of}", known=known)


@part("FakeQuantize")
@each_dtype
def test_shapes_and_views(attempt, draw, dtype):
    """x may have any shape and any strides; the result has its shape and dtype."""
    for make in (lambda: draw.normal(3, 5, 2), lambda: draw.normal(5, 3).T, lambda: draw.normal(1, 1, 1, 7)):
        made = lambda make=make: make().to(of_type(dtype)) * 2
        steps = until(
            lambda made=made: step_scale([(True, x := made(), draw.normal(*x.shape, dtype=x.dtype))], 5, 0.1),
            lambda steps: steps is not None,
        )
        [(want, slope)] = fake_steps(steps, 5, 0.1)
        [(got, grad)] = attempt.run(drivers.faked, {"bits": 5}, steps)
        agree(got, want, of=f"FakeQuantize of x {tuple(want.shape)}, 5 bits, {dtype}", tol=KEPT)
        agree(grad, slope, of=f"gradient of x {tuple(want.shape)}, 5 bits, {dtype}")


@part("FakeQuantize")
@pytest.mark.parametrize("gradients", [True, False], ids=["gradients on", "under no_grad"])
def test_the_range_moves_where_nobody_asks_for_gradients(attempt, draw, gradients):
    """In training mode the range moves, and x is rounded, also where x requires no gradient, or under no_grad."""
    steps = drawn_steps(draw, [True, True, True, False], 8, 0.1)
    want = [out for out, _ in fake_steps(steps, 8, 0.1)]
    got = attempt.run(drivers.faked_without_gradients, [step[:2] for step in steps], gradients)
    for i, (one, out) in enumerate(zip(got, want, strict=True)):
        of = f"FakeQuantize() of batch {i + 1} of train, train, train, eval, 8 bits, rate 0.1, no gradient of x"
        agree(one, out, axes="n", of=of, tol=KEPT)


@part("FakeQuantize")
def test_all_that_it_needs_is_in_the_state_dict(attempt, draw):
    """A new module that loads the state_dict goes on as the old one would: in evaluation, and in training."""
    for modes in ([True, True, False], [True, True, True, False]):
        steps = drawn_steps(draw, modes, 6, 0.3)
        want = fake_steps(steps, 6, 0.3)[2:]
        got = attempt.run(drivers.moved_on, {"bits": 6, "rate": 0.3}, steps[:2], steps[2:])
        shown = "evaluation" if len(modes) == 3 else "training, then evaluation"
        for one, (out, slope) in zip(got, want, strict=True):
            agree(one[0], out, axes="n", of=f"FakeQuantize after load_state_dict, {shown}", tol=KEPT)
            agree(one[1], slope, axes="n", of=f"gradient after load_state_dict, {shown}")


@part("FakeQuantize")
def test_zero_joins_the_average_not_the_batches(attempt):
    """Batches from 1 to 2 and from -3 to 2 with rate 0.5 average to -1 to 2: 0 joins the average, not each batch."""
    x = torch.tensor([-1.0, 0.2, 0.9, 2.0], dtype=torch.float64)
    batches = [torch.tensor(ends, dtype=torch.float64) for ends in ((1.0, 2.0), (-3.0, 2.0))]
    steps = [(True, batch, torch.ones(2).double()) for batch in batches] + [(False, x, torch.ones(4).double())]
    got, _ = attempt.run(drivers.faked, {"bits": 2, "rate": 0.5}, steps)[-1]
    want = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    agree(
        got,
        want,
        axes="n",
        of="FakeQuantize of 4 numbers, 2 bits, after batches from 1 to 2 and from -3 to 2",
        tol=KEPT,
    )


@part("FakeQuantize")
def test_evaluation_needs_a_range(attempt, draw):
    """In evaluation mode, before any training batch, it is a ValueError."""
    told = attempt.run(drivers.fake_before_training, draw.normal(3))
    assert told, "a new FakeQuantize in evaluation mode: expected ValueError, nothing was raised"


# --- learned_step -----------------------------------------------------------------------------------------------------


def lsq(x, step, upstream, bits, unsigned, factor=True):
    """The result, and the gradients of x and step."""
    low, high = (0, 2**bits - 1) if unsigned else ends_of(bits)
    v = x / step
    inside = (v.round() >= low) & (v.round() <= high)
    slope = torch.where(inside, v.round() - v, v.round().clamp(low, high))
    total = (slope * upstream).sum() * ((x.numel() * high) ** -0.5 if factor else 1.0)
    return v.round().clamp(low, high) * step, upstream * inside, total


def clear_steps(draw, shape, step, dtype, spread):
    return clearly(draw.normal(*shape, dtype=of_type(dtype)) * spread, step, margin=2e-3)


@part("learned_step")
@each_dtype
@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
def test_a_learned_step_and_its_gradients(attempt, draw, unsigned, dtype):
    """The result, the gradient of x and that of the step, for several bits."""
    for bits, shape in [(4, (3, 7)), (2, (11,)), (8, (2, 3, 5)), (3, (1, 1))]:
        step = torch.tensor(draw.random.uniform(0.1, 0.6), dtype=of_type(dtype))
        spread = float(step) * 2**bits * 0.7
        x = clear_steps(draw, shape, step, dtype, spread)
        upstream = draw.normal(*shape, dtype=of_type(dtype))
        want, slope, total = lsq(x, step, upstream, bits, unsigned)
        got, grads = attempt.gradients(drivers.stepped, x, step, bits, unsigned, upstream=upstream)
        of = f"learned_step of x {shape}, {bits} bits, unsigned={unsigned}, {dtype}"
        agree(got, want, of=of)
        agree(grads[0], slope, of=f"gradient of x of {of}", known={"a gradient of 1 everywhere": upstream})
        high = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
        low = 0 if unsigned else -(2 ** (bits - 1))
        plain = lsq(x, step, upstream, bits, unsigned, factor=False)[2]
        rounded = ((x / step).round().clamp(low, high) * upstream).sum() * (x.numel() * high) ** -0.5
        known = {
            "a gradient of the step without the factor 1/√(n·N)": plain,
            "a factor 1/√n": plain * x.numel() ** -0.5,
            "a factor 1/(n·N)": plain / (x.numel() * high),
            "the rounded codes, without - v inside": rounded,
            "the other sign": -total,
            "no gradient": 0 * total,
        }
        agree(grads[1], total, of=f"gradient of the step of {of}", known=known if bits == 4 else None)


@part("learned_step")
def test_where_the_border_of_a_learned_step_is(attempt, draw):
    """At v = 7.4 the code 7 needs no clamp: x gets a gradient and the step 7 - 7.4; at 7.6 it is 0 and 7."""
    v = torch.tensor([-30.0, -8.6, -8.4, -0.3, 2.3, 7.4, 7.6, 30.0], dtype=torch.float64)
    of_step = torch.tensor([-8.0, -8.0, 0.4, 0.3, -0.3, -0.4, 7.0, 7.0], dtype=torch.float64)
    of_x = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    step = torch.tensor(0.25, dtype=torch.float64)
    for n in range(8):
        upstream = torch.zeros(8, dtype=torch.float64)
        upstream[n] = 2.0
        got, grads = attempt.gradients(drivers.stepped, v * step, step, 4, False, upstream=upstream)
        agree(got, v.round().clamp(-8, 7) * step, axes="n", of=f"learned_step of x / step = {v.tolist()}, 4 bits")
        want = of_step[n] * 2 / math.sqrt(8 * 7)
        known = {"the paper's border, at v itself": torch.tensor(14 / math.sqrt(56)).double()} if n == 5 else None
        agree(grads[1], want, of=f"gradient of the step, by x / step = {v[n]:.1f} alone, 4 bits", known=known)
        agree(grads[0], upstream * of_x, axes="n", of=f"gradient of x, by x / step = {v[n]:.1f} alone, 4 bits")


@part("learned_step")
def test_one_of_both_asks_for_a_gradient(attempt, draw):
    """x gets its gradient also where the step requires none, and the step where x requires none."""
    step = torch.tensor(0.3, dtype=torch.float64)
    x = clear_steps(draw, (3, 5), step, "float64", 2.0)
    upstream = draw.normal(3, 5)
    _, slope, total = lsq(x, step, upstream, 4, False)
    of_x, of_step = attempt.run(drivers.stepped_alone, x, step, upstream)
    agree(of_x, slope, axes="a b", of="gradient of x (3, 5), 4 bits, where the step requires none")
    agree(of_step, total, of="gradient of the step, 4 bits, where x (3, 5) requires none")


@part("learned_step")
@each_dtype
def test_the_first_step(attempt, draw, dtype):
    """initial_step is 2 · mean |x| / √highest."""
    x = draw.normal(3, 7, dtype=of_type(dtype)) + 0.4
    for bits, unsigned, high in [(8, False, 127), (4, False, 7), (4, True, 15), (2, False, 1), (3, True, 7)]:
        want = 2 * x.abs().mean() / math.sqrt(high)
        known = {
            "2 · |mean x| / √highest": 2 * x.mean().abs() / math.sqrt(high),
            "√highest left out": 2 * x.abs().mean(),
            "2 · mean |x| / highest": 2 * x.abs().mean() / high,
        }
        of = f"initial_step of x (3, 7), {bits} bits, unsigned={unsigned}, {dtype}"
        agree(attempt.initial_step(x, bits, unsigned), want, of=of, known=known if high == 127 else None)


@part("learned_step")
def test_defaults_of_a_learned_step(attempt, draw):
    """Without more arguments the codes have 8 bits and a sign; the step fits what it is to cover."""
    step = torch.tensor(0.01, dtype=torch.float64)
    x = clearly(draw.normal(13), step)
    agree(attempt.learned_step(x, step), lsq(x, step, x, 8, False)[0], axes="n", of="learned_step of x (13)")
    agree(attempt.initial_step(x), 2 * x.abs().mean() / math.sqrt(127), of="initial_step of x (13)")


@part("learned_step")
def test_steps_of_another_tensor_of_that_size(attempt, reference, draw):
    """Steps and results are those of what a call gets, whatever came before and however it lies in memory."""
    xs = [(draw.normal(3, 7),) for _ in range(2)]
    hold_again(attempt, reference, "initial_step", *xs, of="initial_step of x (3, 7)")
    step = torch.tensor(0.03, dtype=torch.float64)
    asked = [(clearly(x, step), step) for (x,) in xs]
    hold_again(attempt, reference, "learned_step", *asked, of="learned_step of x (3, 7)")


# --- fold_batch_norm --------------------------------------------------------------------------------------------------


def layer(draw, n, i, o, dtype="float64"):
    """x, w, and a BatchNorm's weight, bias, running mean and running variance."""
    kind = of_type(dtype)
    x, w = draw.normal(n, i, dtype=kind) + 0.5, draw.normal(o, i, dtype=kind)
    weight, bias = draw.normal(o, dtype=kind) + 1.5, draw.normal(o, dtype=kind)
    return x, w, weight, bias, draw.normal(o, dtype=kind), draw.uniform(o, low=0.5, high=3.0, dtype=kind)


@part("fold_batch_norm")
@each_dtype
def test_folded_in_evaluation(attempt, draw, dtype):
    """Without x the running statistics are folded, and come back as they were."""
    for eps in (1e-5, 0.3):
        x, w, weight, bias, mean, var = layer(draw, 7, 3, 5, dtype)
        got = attempt.run(drivers.folded, [w, weight, bias, mean, var], {"eps": eps})
        root = (var + eps).sqrt()
        known = {
            "the variance for its root": w * (weight / (var + eps))[:, None],
            "eps outside the root": w * (weight / (var.sqrt() + eps))[:, None],
            "weight left out": w / root[:, None],
        }
        of = f"of w (5, 3), no x, eps {eps}, {dtype}"
        agree(got["w"], w * (weight / root)[:, None], axes="o i", of=f"w' {of}", known=known if eps == 0.3 else None)
        known = {"the mean left out": bias, "the mean unscaled": bias - mean}
        agree(got["b"], bias - mean * weight / root, axes="o", of=f"b' {of}", known=known)
        agree(got["mean"], mean, axes="o", of=f"running mean {of}")
        agree(got["var"], var, axes="o", of=f"running variance {of}")
        want = F.batch_norm(x @ w.T, mean, var, weight, bias, eps=eps)
        agree(x @ got["w"].T + got["b"], want, axes="n o", of=f"the folded layer {of}")


@part("fold_batch_norm")
@each_dtype
def test_folded_in_training(attempt, draw, dtype):
    """With x the statistics of its batch are folded, and the running ones move by the momentum."""
    for n, momentum in ((4, 0.1), (2, 0.37), (11, 1.0)):
        x, w, weight, bias, mean, var = layer(draw, n, 3, 5, dtype)
        options = {"x": x, "momentum": momentum} if momentum != 0.1 else {"x": x}
        got = attempt.run(drivers.folded, [w, weight, bias, mean, var], options)
        y = x @ w.T
        root = (y.var(0, unbiased=False) + 1e-5).sqrt()
        of = f"of w (5, 3), x ({n}, 3), momentum {momentum}, {dtype}"
        known = {
            "the running statistics": w * (weight / (var + 1e-5).sqrt())[:, None],
            "the variance divided by n - 1": w * (weight / (y.var(0) + 1e-5).sqrt())[:, None],
        }
        agree(
            got["w"],
            w * (weight / root)[:, None],
            axes="o i",
            of=f"w' {of}",
            known=known,
            tol=1e-7 if dtype == "float64" else 1e-3,
        )
        new_mean, new_var = mean.clone(), var.clone()
        want = F.batch_norm(y, new_mean, new_var, weight, bias, training=True, momentum=momentum)
        loose = 1e-7 if dtype == "float64" else 1e-3
        agree(x @ got["w"].T + got["b"], want, axes="n o", of=f"the folded layer {of}", tol=loose)
        known = {
            "the momentum on what was": mean * momentum + y.mean(0) * (1 - momentum),
            "a running mean that stays": mean,
        }
        agree(got["mean"], new_mean, axes="o", of=f"running mean {of}", known=known if momentum == 0.1 else None)
        biased = var + momentum * (y.var(0, unbiased=False) - var)
        agree(got["var"], new_var, axes="o", of=f"running variance {of}", known={"divided by n": biased})
        claim = got["asks for a gradient"]
        assert claim == [False, False], f"running statistics {of}: they ask for gradients, so they keep the graph"


@part("fold_batch_norm")
def test_gradients_pass_through_the_statistics(attempt, draw):
    """The folded layer has the gradients of batch_norm(x · wᵀ) in training: of w, weight, bias and x."""
    x, w, weight, bias, mean, var = layer(draw, 7, 3, 5)
    upstream = draw.normal(7, 5)
    leaves = [t.clone().requires_grad_() for t in (w, weight, bias, x)]
    out = F.batch_norm(leaves[3] @ leaves[0].T, None, None, leaves[1], leaves[2], training=True)
    want = torch.autograd.grad((out * upstream).sum(), leaves)
    y = (x @ w.T).detach()
    root, mu = (y.var(0, unbiased=False) + 1e-5).sqrt(), y.mean(0)
    stopped = [t.clone().requires_grad_() for t in (w, weight, bias, x)]
    still = (stopped[3] @ stopped[0].T - mu) / root * stopped[1] + stopped[2]
    constant = torch.autograd.grad((still * upstream).sum(), stopped)
    got, grads = attempt.gradients(drivers.folded_layer, w, weight, bias, x, mean, var, {}, upstream=upstream)
    agree(got, out.detach(), axes="n o", of="the folded layer, w (5, 3), x (7, 3)", tol=1e-7)
    for name, got, right, flat in zip(("w", "weight", "bias", "x"), grads[:4], want, constant, strict=True):
        same = torch.allclose(right, flat)
        known = None if same else {"statistics taken for constants": flat}
        agree(got, right, of=f"gradient of {name}, w (5, 3), x (7, 3)", known=known, tol=1e-7)


@part("fold_batch_norm")
def test_another_layer_of_that_size_is_folded(attempt, reference, draw):
    """What is folded is what a call gets, whatever came before and however it lies in memory."""
    layers = [
        (draw.normal(3, 5), draw.normal(3), draw.normal(3), draw.normal(3), draw.uniform(3, low=0.5), draw.normal(7, 5))
        for _ in range(2)
    ]
    hold_again(attempt, reference, "fold_batch_norm", *layers, of="fold_batch_norm of w (3, 5), x (7, 5)")


# --- integer_linear ---------------------------------------------------------------------------------------------------


def exact_factor(ratio):
    """(m, shift) by Python's fractions."""
    ratio, shift = Fraction(ratio), 31
    while ratio * 2**shift < 2**30:
        shift += 1
    while ratio * 2**shift >= 2**31:
        shift -= 1
    m = round(ratio * 2**shift)
    return (m, shift) if m < 2**31 else (2**30, shift - 1)


@part("integer_linear")
def test_a_factor_as_an_integer_and_a_shift(attempt, draw):
    """ratio is m · 2^-shift with 2^30 <= m < 2^31, m the nearest integer."""
    ratios = [0.5, 0.3, 0.25, 0.75, 2.0**-30, 0.99999, 1 / 3, 1e-6, 0.001, 0.5 - 2.0**-40, 0.25 - 2.0**-50]
    ratios += draw.uniform(9, low=2.0**-8, high=0.9).tolist()
    want = list(zip(*[exact_factor(one) for one in ratios], strict=True))
    m, shift = attempt.fixed_point(torch.tensor(ratios, dtype=torch.float64))
    known = {
        "m cut, not rounded": torch.tensor(
            [math.floor(Fraction(one) * 2**s) for one, s in zip(ratios, want[1], strict=True)]
        ),
        "m of 15 bits": torch.tensor(want[0]) >> 16,
    }
    of = f"of {len(ratios)} ratios from 2^-30 to 0.99999"
    agree(shift, torch.tensor(want[1]), axes="o", of=f"shift {of}")
    agree(m, torch.tensor(want[0]), axes="o", of=f"multiplier {of}", known=known)


def integer_case(draw, n, i, o, *, w_zero=True, ratio=(0.001, 0.02), big=False):
    """Arguments of integer_linear."""
    x = draw.integers(0, 256, n, i).to(torch.uint8)
    w = draw.integers(-128, 128, o, i).to(torch.int8)
    zeros = draw.integers(-40, 41, o).int() * w_zero
    bias = draw.integers(-3000, 3001, o).int()
    factors = draw.uniform(o, low=ratio[0], high=ratio[1]).tolist()
    m, shift = (torch.tensor(one) for one in zip(*map(exact_factor, factors), strict=True))
    return [x, w, bias, draw.random.randrange(60, 200), zeros, m, shift, draw.random.randrange(100, 156)]


def in_integers(x, w, bias, x_zero, w_zero, m, shift, out_zero, *, terms="all", half=True, wide=True):
    """The oracle, in Python's integers. terms and half: for known mistakes."""
    x, w = x.tolist(), w.tolist()
    rows = []
    for one in x:
        row = []
        for k, weights in enumerate(w):
            a, b = (x_zero if terms != "no x_zero" else 0), (int(w_zero[k]) if terms != "no w_zero" else 0)
            total = sum((p - a) * (q - b) for p, q in zip(one, weights, strict=True))
            total += int(bias[k]) if terms != "no bias" else 0
            if not wide:
                total = (total + 2**15) % 2**16 - 2**15
            scaled = total * int(m[k]) + (2 ** (int(shift[k]) - 1) if half else 0)
            row.append(min(max((scaled >> int(shift[k])) + out_zero, 0), 255))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.uint8).reshape(len(x), len(w))


def in_codes(attempt, case, of):
    """The attempt's result; no operator may have made a tensor of floats."""
    got, floats = attempt.run(drivers.integer_operators, *case)
    assert not floats, f"{of} makes tensors of floats, in {', '.join(floats)}"
    return got


@part("integer_linear")
@pytest.mark.parametrize("w_zero", [False, True], ids=["weights around 0", "weights with a zero point"])
def test_the_layer_in_integers(attempt, draw, w_zero):
    """Every output is what Python's integers give."""
    for n, i, o in [(3, 7, 5), (1, 2, 1), (4, 31, 3), (2, 1, 6)]:
        case = integer_case(draw, n, i, o, w_zero=w_zero, ratio=(0.3 / 90 / i**0.5, 1.0 / 90 / i**0.5))
        want = in_integers(*case)
        known = {
            "no x_zero": in_integers(*case, terms="no x_zero"),
            "no w_zero": in_integers(*case, terms="no w_zero"),
            "no bias": in_integers(*case, terms="no bias"),
            "rounding down": in_integers(*case, half=False),
            "a sum of 16 bits, which runs over": in_integers(*case, wide=False),
        }
        of = f"integer_linear of x ({n}, {i}), w ({o}, {i})"
        agree(in_codes(attempt, case, of), want, axes="n o", of=of, known=apart(known, want))


@part("integer_linear")
def test_two_products_need_more_than_16_bits(attempt):
    """255 · 127 twice is 64,770: an accumulator of 16 bits runs over."""
    for code, bias in ((127, -64_700), (-128, 65_200)):
        x = torch.full((1, 2), 255, dtype=torch.uint8)
        w = torch.full((1, 2), code, dtype=torch.int8)
        zero = torch.zeros(1, dtype=torch.int32)
        case = [x, w, zero + bias, 0, zero, torch.tensor([2**30]), torch.tensor([31]), 100]
        want = torch.tensor([[100 + (510 * code + bias) // 2]], dtype=torch.uint8)
        assert 0 < int(want) < 255, "the answer is inside the range"
        of = f"integer_linear of two inputs 255 with weights {code}"
        agree(in_codes(attempt, case, of), want, axes="n o", of=of)


@part("integer_linear")
def test_halves_are_rounded_up_and_ends_are_clamped(attempt):
    """2.5 becomes 3 and -2.5 becomes -2; beyond 0 and 255 there is no code."""
    totals = [10, -10, 6, -6, 2, -2, 5, -5, 3000, -3000, 620, 622, -400, -402, -398]  # a quarter of each
    x = torch.ones(1, 1, dtype=torch.uint8)
    o = len(totals)
    w, zero = torch.zeros(o, 1, dtype=torch.int8), torch.zeros(o, dtype=torch.int32)
    bias = torch.tensor(totals, dtype=torch.int32)
    m, shift = torch.full((o,), 2**30), torch.full((o,), 32)
    want = torch.tensor([[min(max(math.floor(t / 4 + 0.5) + 100, 0), 255) for t in totals]], dtype=torch.uint8)
    even = torch.tensor([[min(max(round(t / 4) + 100, 0), 255) for t in totals]], dtype=torch.uint8)
    away = [math.copysign(math.floor(abs(t) / 4 + 0.5), t) + 100 for t in totals]
    known = {
        "halves to the even neighbour": even,
        "halves away from 0": torch.tensor([[min(max(int(t), 0), 255) for t in away]], dtype=torch.uint8),
        "no rounding": torch.tensor([[min(max(t // 4 + 100, 0), 255) for t in totals]], dtype=torch.uint8),
    }
    of = f"integer_linear of sums {totals}, factor 1/4, out_zero 100"
    agree(attempt.integer_linear(x, w, bias, 0, zero, m, shift, 100), want, axes="n o", of=of, known=known)


@part("integer_linear")
def test_long_sums_are_exact(attempt, draw):
    """Sums of tens of millions, which float32 cannot hold, come out exact: the bias takes most of them away again."""
    n, i, o = 3, 1031, 4
    case = integer_case(draw, n, i, o, ratio=(0.5, 0.9))
    x, w, _, _, w_zero = case[:5]
    x.copy_(draw.integers(200, 256, n, i))
    w.copy_(draw.integers(90, 128, o, i) * torch.tensor([1, -1, 1, -1])[:, None])
    x[1:] = x[0]
    x[1, 0] -= 1
    w_zero.fill_(0)
    case[3] = 0
    case[2] = -(x[0].long() @ w.long().T).int() + draw.integers(-40, 41, o).int()
    assert case[2].abs().min() > 2**24, "the sums are beyond float32"
    of = f"integer_linear of x ({n}, {i}), sums beyond 2^24"
    agree(in_codes(attempt, case, of), in_integers(*case), axes="n o", of=of)


@part("integer_linear")
def test_the_multiplier_has_31_bits(attempt, draw):
    """Sums of millions times m need 64 bits, and every bit of m counts."""
    o = 23
    totals = draw.integers(900_000, 2_000_000, o).int() * (1 - 2 * (torch.arange(o) % 2)).int()
    off = (draw.integers(0, 2, o) * 2 - 1) * 2e-6  # so little above or below a half
    target = draw.integers(20, 100, o).double() + 0.5 + off
    factors = (target / totals.abs()).tolist()
    m, shift = (torch.tensor(one) for one in zip(*map(exact_factor, factors), strict=True))
    x, w = torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(o, 3, dtype=torch.int8)
    case = [x, w, totals, 0, torch.zeros(o, dtype=torch.int32), m, shift, 120]
    of = "integer_linear of sums of millions"
    agree(in_codes(attempt, case, of), in_integers(*case), axes="n o", of=of)


@part("integer_linear")
def test_no_tensor_of_floats(attempt, draw):
    """No operator on the way makes a tensor of floats, and the work stays in torch."""
    case = integer_case(draw, 17, 64, 9)
    want, of = in_integers(*case), "integer_linear of x (17, 64), w (9, 64)"
    agree(in_codes(attempt, case, of), want, axes="n o", of=of)
    got, cost = attempt.cost("integer_linear", *case)
    agree(got, want, axes="n o", of=of)
    in_torch(cost, of=of)


@part("integer_linear")
def test_no_rows_and_views(attempt, draw):
    """x may have no rows, and x and w may be views."""
    case = integer_case(draw, 3, 8, 5)
    turned = [case[0].T.contiguous().T, case[1].T.contiguous().T, *case[2:]]
    of = "integer_linear of turned x (3, 8) and w (5, 8)"
    agree(in_codes(attempt, turned, of), in_integers(*case), axes="n o", of=of)
    none = [case[0][:0], *case[1:]]
    want = torch.zeros(0, 5, dtype=torch.uint8)
    of = "integer_linear of x (0, 8)"
    agree(in_codes(attempt, none, of), want, axes="n o", of=of)


@part("integer_linear")
def test_other_factors_of_that_number(attempt, reference, draw):
    """The factors are those of a call's own ratios, whatever came before and however they lie in memory."""
    ratios = [(draw.uniform(5, low=0.01, high=0.9),) for _ in range(2)]
    hold_again(attempt, reference, "fixed_point", *ratios, of="fixed_point of 5 ratios")


@part("integer_linear")
def test_another_layer_of_integers_of_that_size(attempt, reference, draw):
    """The result of a call stays what it was while another layer of that size is computed."""
    layers = [tuple(integer_case(draw, 5, 7, 3)) for _ in range(2)]
    layers = [(*one[:3], 100, *one[4:7], 128) for one in layers]
    hold_again(attempt, reference, "integer_linear", *layers, of="integer_linear of x (5, 7), w (3, 7)")


# --- outlier_matmul ---------------------------------------------------------------------------------------------------


def int8_rows(t):
    """Symmetric codes and scales of rows; a row of zeros has the scale 1."""
    scale = t.abs().amax(1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    return torch.round(t / scale), scale


def mixed(x, w, threshold=6.0, *, w_rest=False, x_all=False):
    """The oracle; w_rest and x_all: scales over the wrong columns."""
    out = (x.abs() > threshold).any(0)
    y = torch.einsum("ni,oi->no", x[:, out], w[:, out])
    if out.all():
        return y
    codes_x, s_x = int8_rows(x if x_all else x[:, ~out])
    codes_w, s_w = int8_rows(w[:, ~out] if w_rest else w)
    codes_x, codes_w = codes_x[:, ~out] if x_all else codes_x, codes_w if w_rest else codes_w[:, ~out]
    return y + torch.einsum("ni,oi->no", codes_x, codes_w) * s_x * s_w.T


def clear_rows(t):
    return clear(t / int8_rows(t)[1])


def outlier_case(draw, n, i, o, columns, dtype="float64"):
    """x and w without ties; these columns of x are outliers, by one number each."""

    def make():
        x, w = draw.uniform(n, i, low=-5.5, high=5.5), draw.normal(o, i)
        for column in columns:
            x[draw.random.randrange(n), column] = draw.random.choice([-1, 1]) * draw.random.uniform(20, 60)
        return x, w

    def moved(t):
        return clearly(t, int8_rows(t)[1])

    x, w = make()
    rest = [c for c in range(i) if c not in columns]
    x[:, rest] = moved(x[:, rest]) if rest else x[:, rest]
    return x.to(of_type(dtype)), moved(w).to(of_type(dtype))


@part("outlier_matmul")
@each_dtype
@pytest.mark.parametrize("columns", [(), (4,), (0, 3, 10)], ids=["no outlier", "one outlier", "three outliers"])
def test_outlier_columns_stay_as_they_are(attempt, draw, columns, dtype):
    """Columns with a number above 6 are multiplied as they are, all others as int8 codes."""
    x, w = outlier_case(draw, 5, 11, 3, columns, dtype)
    want = mixed(x, w)
    known = {
        "int8 for all columns": mixed(x, w, math.inf),
        "no int8 at all": x @ w.T,
        "scales of w over the other columns alone": mixed(x, w, w_rest=True),
        "scales of x over all columns": mixed(x, w, x_all=True),
    }
    known = {name: value for name, value in known.items() if columns and not torch.allclose(value, want)}
    of = f"outlier_matmul of x (5, 11), w (3, 11), outlier columns {columns}, {dtype}"
    agree(attempt.outlier_matmul(x, w), want, axes="n o", of=of, known=known)


@part("outlier_matmul")
def test_what_counts_as_an_outlier(attempt, draw):
    """|x| exactly 6 is none, 6.01 and -6.01 in any row are; the threshold may be another."""
    x, w = outlier_case(draw, 4, 7, 5, ())
    x = x / 2
    x[2, 1], x[1, 3], x[3, 5], x[0, 6] = 6.0, 6.01, -6.01, -6.0
    rest = [0, 1, 2, 4, 6]
    x[:, rest] = clearly(x[:, rest], int8_rows(x[:, rest])[1])
    known = {
        "6 itself an outlier": mixed(x, w, 5.999),
        "a threshold of 0: all columns as they are": x @ w.T,
    }
    of = "outlier_matmul of x (4, 7) with 6, 6.01, -6.01 and -6"
    agree(attempt.outlier_matmul(x, w), mixed(x, w), axes="n o", of=of, known=known)
    x, w = outlier_case(draw, 4, 7, 5, (2,))
    for threshold in (100.0, 19.0):
        y = x.clone() if threshold == 19.0 else clearly(x, int8_rows(x)[1])
        of = f"outlier_matmul of x (4, 7), threshold {threshold}"
        agree(attempt.outlier_matmul(y, w, threshold), mixed(y, w, threshold), axes="n o", of=of)


@part("outlier_matmul")
@each_dtype
def test_nothing_but_outliers_and_rows_of_zeros(attempt, draw, dtype):
    """All columns may be outliers, and a row of x or of w may be 0."""
    x, w = draw.normal(3, 4, dtype=of_type(dtype)) + 20, draw.normal(2, 4, dtype=of_type(dtype))
    agree(attempt.outlier_matmul(x, w), x @ w.T, axes="n o", of=f"outlier_matmul of x (3, 4) about 20, {dtype}")
    x, w = outlier_case(draw, 5, 6, 3, (1,), dtype)
    outlier = x[:, 1].clone()
    x[2], w[1] = 0, 0
    x[:, 1] = outlier
    got = attempt.outlier_matmul(x, w)
    agree(got, mixed(x, w), axes="n o", of=f"outlier_matmul where a row of x and a row of w are 0, {dtype}")
    zeros = torch.zeros(2, 3, dtype=of_type(dtype))
    of = f"outlier_matmul of zeros, {dtype}"
    agree(attempt.outlier_matmul(zeros, w[:, :3]), torch.zeros(2, 3).to(zeros), axes="n o", of=of)


@part("outlier_matmul")
def test_turned_matrices(attempt, draw):
    """x and w may be views."""
    x, w = outlier_case(draw, 3, 8, 5, (2, 7))
    got = attempt.outlier_matmul(x.T.contiguous().T, w.T.contiguous().T)
    agree(got, mixed(x, w), axes="n o", of="outlier_matmul of turned x (3, 8) and w (5, 8)")


@part("outlier_matmul")
def test_another_product_of_that_size(attempt, reference, draw):
    """The result of a call stays what it was while another product of that size is computed."""
    pairs = [outlier_case(draw, 5, 11, 3, (4,)) for _ in range(2)]
    hold_again(attempt, reference, "outlier_matmul", *pairs, of="outlier_matmul of x (5, 11), w (3, 11)")


# --- smooth_scales ----------------------------------------------------------------------------------------------------


def uneven(draw, n, i, o, dtype="float64"):
    """x whose columns differ in size, a few by much, and w."""
    sizes = torch.exp(draw.normal(i) * 1.5)
    return (draw.normal(n, i) * sizes).to(of_type(dtype)), draw.normal(o, i, dtype=of_type(dtype))


@part("smooth_scales")
@each_dtype
@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.85, 1.0, 0.0])
def test_smoothing_factors(attempt, draw, alpha, dtype):
    """s_j is max |x_j|^alpha / max |w_j|^(1 - alpha), for each column."""
    x, w = uneven(draw, 5, 7, 3, dtype)
    a, b = x.abs().amax(0), w.abs().amax(0)
    want = a**alpha / b ** (1 - alpha)
    known = {
        "1 / s: the scale moved to the wrong side": 1 / want,
        "means for maxima": x.abs().mean(0) ** alpha / w.abs().mean(0) ** (1 - alpha),
        "alpha on the wrong side": a ** (1 - alpha) / b**alpha,
        "maxima without a sign": x.amax(0).clamp(min=1e-5) ** alpha / w.amax(0).clamp(min=1e-5) ** (1 - alpha),
        "alpha for both": (a / b) ** alpha,
    }
    of = f"smooth_scales of x (5, 7), w (3, 7), alpha {alpha}, {dtype}"
    agree(attempt.smooth_scales(x, w, alpha), want, axes="i", of=of, known=known if alpha == 0.3 else None)


@part("smooth_scales")
def test_half_of_each(attempt, draw):
    """Without alpha both sides end with the same maximum in each column, and the product is what it was."""
    x, w = uneven(draw, 5, 7, 3)
    s = attempt.smooth_scales(x, w)
    agree((x / s).abs().amax(0), (w * s).abs().amax(0), axes="i", of="column maxima of x / s, against those of w · s")
    agree((x / s) @ (w * s).T, x @ w.T, axes="n o", of="(x / s) · (w · s)ᵀ")
    agree(s, (x.abs().amax(0) / w.abs().amax(0)).sqrt(), axes="i", of="smooth_scales of x (5, 7), w (3, 7)")


@part("smooth_scales")
@each_dtype
def test_columns_of_zeros_get_one(attempt, draw, dtype):
    """A column that is 0 in x or in w, or in both, gets the factor 1."""
    x, w = uneven(draw, 5, 7, 3, dtype)
    x[:, 1], w[:, 4], x[:, 6], w[:, 6] = 0, 0, 0, 0
    want = (x.abs().amax(0).sqrt() / w.abs().amax(0).sqrt()).masked_fill(
        torch.tensor([c in (1, 4, 6) for c in range(7)]), 1
    )
    got = attempt.smooth_scales(x, w)
    agree(got, want, axes="i", of=f"smooth_scales where columns 1, 4 and 6 are 0 in x, in w, in both, {dtype}")


def awq_candidates(x, w, bits, group, size=None, root=True, tries=20):
    """(s, error) for each of the twenty exponents."""
    size = x.abs().mean(0) if size is None else size
    found = []
    for k in range(tries):
        s = size.pow(k / 20).clamp(min=1e-4)
        s = s / (s.max() * s.min()).sqrt() if root else s
        found.append((s, awq_error(x, w, s, bits, group)))
    return found


def awq_error(x, w, s, bits, group):
    runs = (w * s).reshape(w.shape[0], -1, group or w.shape[1])
    low, high = runs.amin(-1, True).clamp(max=0), runs.amax(-1, True).clamp(min=0)
    back = fake(runs, *affine(low, high, bits), bits).reshape(w.shape) / s
    return float((x @ (back - w).T).square().sum())


@part("smooth_scales")
def test_plain_rounding_wins_where_it_is_exact(attempt, draw):
    """A w that lies on its grid loses nothing without scales, so the exponent 0 is the best, and s is 1."""
    x = draw.normal(9, 6) * torch.arange(1.0, 7.0).double()
    w = torch.tensor([[-8.0, 7, 1, -3, 5, 2], [7, -8, -5, 4, 0, 3], [2, 6, -8, 1, 7, -4]], dtype=torch.float64)
    of = "awq_scales of x (9, 6), w (3, 6) that is a multiple of its own scale, 4 bits, no group"
    agree(attempt.awq_scales(x, w), torch.ones(6).double(), axes="i", of=of)


@part("smooth_scales")
@pytest.mark.parametrize(("bits", "group"), [(4, None), (4, 4), (3, None), (2, 6)], ids=str)
def test_awq_finds_the_best_of_twenty(attempt, draw, bits, group):
    """Of twenty exponents, the one whose rounded layer errs least on x."""
    for _ in range(2):
        x, w = uneven(draw, 17, 12, 5)
        tried = awq_candidates(x, w, bits, group)
        best, least = min(tried, key=lambda one: one[1])
        got = attempt.awq_scales(x, w, bits, group)
        of = f"awq_scales of x (17, 12), w (5, 12), {bits} bits, group {group}"
        same = [s for s, error in tried if error <= least * (1 + 1e-9) and torch.allclose(s, got, rtol=1e-9)]
        pick = lambda found: min(found, key=lambda one: one[1])[0]
        known = {
            "no factors: plain rounding": torch.ones_like(best),
            "the largest |x| for the mean": pick(awq_candidates(x, w, bits, group, x.abs().amax(0))),
            "factors that are not divided by √(max · min)": pick(awq_candidates(x, w, bits, group, root=False)),
            "1 / s: the scale moved to the wrong side": 1 / best,
            "the exponent 1/2, nothing tried": tried[10][0],
        }
        known = apart(known, best)
        agree(got, same[0] if same else best, axes="i", of=of, known=known if group is None and bits == 4 else None)


@part("smooth_scales")
def test_the_last_exponent_is_095(attempt, draw):
    """Where larger exponents are ever better, the last one is 0.95: not 0.9, and not 1."""

    def falls(case):
        error = [error for _, error in awq_candidates(*case, 2, None, tries=21)]
        return error[19] < 0.99 * min(error[:19]) and error[20] < 0.99 * error[19]

    x, w = until(lambda: uneven(draw, 3, 2, 1), falls)
    tried = [s for s, _ in awq_candidates(x, w, 2, None, tries=21)]
    known = {"the exponent 1, too": tried[20], "exponents up to 0.9": tried[18]}
    of = "awq_scales of x (3, 2), w (1, 2), 2 bits, no group"
    agree(attempt.awq_scales(x, w, 2), tried[19], axes="i", of=of, known=known)


@part("smooth_scales")
def test_awq_float32_zeros_and_refusals(attempt, draw):
    """A column without inputs is no division by 0; float32 gives float32; a group has to divide."""
    x, w = uneven(draw, 9, 8, 3)
    x[:, 2] = 0
    tried = awq_candidates(x, w, 4, None)
    best, least = min(tried, key=lambda one: one[1])
    agree(attempt.awq_scales(x, w), best, axes="i", of="awq_scales of x (9, 8) whose column 2 is 0, 4 bits, no group")
    x, w = x.float(), w.float()
    got = attempt.awq_scales(x, w)
    near = min((s for s, _ in tried), key=lambda s: float((s - got).abs().sum()))
    agree(got, near.float(), axes="i", of="awq_scales in float32: one of the twenty", tol=1e-3)
    error = awq_error(x.double(), w.double(), got.double(), 4, None)
    at_most(error, least * 1.05, of="error of awq_scales in float32, against the best of twenty")
    hold_refusals(attempt, "awq_scales", {"group=3 over 8": ((x, w, 4, 3), {}), "bits=1": ((x, w, 1), {})})


@part("smooth_scales")
def test_scales_of_another_layer_of_that_size(attempt, reference, draw):
    """The factors are those of what a call gets, whatever came before and however it lies in memory."""
    layers = [(draw.normal(9, 6) * draw.uniform(6, low=0.5, high=9.0), draw.normal(4, 6)) for _ in range(2)]
    hold_again(attempt, reference, "smooth_scales", *layers, of="smooth_scales of x (9, 6), w (4, 6)")
    hold_again(attempt, reference, "awq_scales", *layers, of="awq_scales of x (9, 6), w (4, 6)")


# --- gptq -------------------------------------------------------------------------------------------------------------


def widened(t, shape):
    return t.repeat_interleave(shape[0] // t.shape[0], 0).repeat_interleave(shape[1] // t.shape[1], 1)


def by_least_squares(w, x, scale, zero, bits=4, damp=0.01, *, spill=None):
    """The oracle: round column j, re-solve the rest by least squares. (codes, smallest distance to a half)

    λ·Σ(present - w)² is that of rows √λ·1 below x. spill: errors do not leave blocks of this size, a known mistake.
    """
    scale, zero = widened(scale, w.shape), widened(zero, w.shape)
    i = x.shape[1]
    penalty = damp * x.square().sum(0).mean()
    rows = torch.cat([x, penalty.sqrt() * torch.eye(i, dtype=x.dtype)])
    present, codes, near = w.clone(), torch.empty(w.shape, dtype=torch.int8), 1.0
    for j in range(i):
        steps = present[:, j] / scale[:, j]
        near = min(near, float((steps - steps.floor() - 0.5).abs().min()))
        codes[:, j] = encoded(present[:, j], scale[:, j], zero[:, j], bits)
        present[:, j] = decoded(codes[:, j], scale[:, j], zero[:, j])
        stop = i if spill is None else min(i, (j // spill + 1) * spill)
        if j + 1 < stop:
            behind = slice(j + 1, stop)
            left = rows @ (w - present).T + rows[:, behind] @ present[:, behind].T
            if spill is not None:
                left = left - rows[:, stop:] @ (w - present)[:, stop:].T
            present[:, behind] = torch.linalg.lstsq(rows[:, behind], left).solution.T
    return codes, near


def gptq_case(draw, o, i, n, *, bits=4, group=None, mix=True, margin=1e-6, damp=0.01):
    """w, correlated x, scale, zero, and the codes that the oracle gives; nothing near a half."""

    def make():
        w = draw.normal(o, i)
        x = draw.normal(n, i) @ (draw.normal(i, i) / i**0.5 + torch.eye(i)) if mix else draw.normal(n, i)
        runs = w.reshape(o, -1, group or i)
        scale, zero = affine(runs.amin(-1).clamp(max=0), runs.amax(-1).clamp(min=0), bits)
        return (w, x, scale, zero, *by_least_squares(w, x, scale, zero, bits, damp))

    return until(make, lambda case: case[-1] > margin)[:-1]


@part("gptq")
def test_two_columns_by_hand(attempt):
    """With equal inputs the second weight makes up for the whole error of the first."""
    w = torch.tensor([[0.4, 0.4], [1.3, -0.2]], dtype=torch.float64)
    x, one = torch.ones(3, 2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    want = torch.tensor([[0, 1], [1, 0]], dtype=torch.int8)
    codes, near = by_least_squares(w, x, one, 0 * one.int())
    assert near > 1e-3, "the oracle is clear"
    assert torch.equal(codes, want), "the oracle agrees"
    known = {"each weight rounded alone": torch.tensor([[0, 0], [1, 0]], dtype=torch.int8)}
    of = "codes of w [[0.4, 0.4], [1.3, -0.2]], x all 1, scale 1"
    agree(attempt.gptq(w, x, one, 0 * one.int()), want, axes="o i", of=of, known=known)


def lower_factor(w, x, scale, zero, bits=4, damp=0.01):
    """A known mistake: the lower Cholesky factor of the inverse, read as if it were the upper one."""
    h = x.T @ x
    h = h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    low = torch.linalg.cholesky(torch.linalg.inv(h))
    present, codes = w.clone(), torch.empty(w.shape, dtype=torch.int8)
    for j in range(w.shape[1]):
        codes[:, j] = encoded(present[:, j], scale[:, 0], zero[:, 0], bits)
        error = (present[:, j] - decoded(codes[:, j], scale[:, 0], zero[:, 0])) / low[j, j]
        present[:, j + 1 :] -= error[:, None] * low[j + 1 :, j]
    return codes


@part("gptq")
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_columns_are_solved_anew_after_each_rounding(attempt, draw, bits):
    """The codes are those of sequential least squares: round a column, solve the rest anew, go on."""
    for o, i, n in [(5, 7, 23), (3, 13, 20), (2, 2, 5)]:
        w, x, scale, zero, want = gptq_case(draw, o, i, n, bits=bits)
        known = {
            "each weight rounded alone": encoded(w, scale, zero, bits),
            "the lower Cholesky factor": lower_factor(w, x, scale, zero, bits),
            "the columns from the last to the first": by_least_squares(w.flip(1), x.flip(1), scale, zero, bits)[0].flip(
                1
            ),
        }
        known = {name: value for name, value in known.items() if not torch.equal(value, want)}
        of = f"codes of w ({o}, {i}), x ({n}, {i}), {bits} bits"
        got = attempt.gptq(w, x, scale, zero, bits)
        agree(got, want, axes="o i", of=of, known=known if i == 13 and bits == 4 else None)


@part("gptq")
def test_errors_are_carried_beyond_a_block(attempt, draw):
    """The block changes nothing: it may be 1, leave a rest, or be larger than the layer."""
    w, x, scale, zero, want = gptq_case(draw, 4, 11, 30)
    inside = {block: by_least_squares(w, x, scale, zero, spill=block)[0] for block in (3, 4, 5)}
    for block in (3, 4, 5, 1, 10, 11, 50):
        known = {"errors that stay inside their block": inside[block]} if block in inside else {}
        known = {name: value for name, value in known.items() if not torch.equal(value, want)}
        got = attempt.gptq(w, x, scale, zero, block=block)
        agree(got, want, axes="o i", of=f"codes of w (4, 11), block={block}", known=known)


@part("gptq")
@pytest.mark.parametrize("group", [2, 3, 6])
def test_a_grid_for_each_group(attempt, draw, group):
    """Scale and zero point of groups, of rows, of the whole: each weight is rounded on the grid that it was given."""
    w, x, scale, zero, want = gptq_case(draw, 3, 12, 25, group=group)
    got = attempt.gptq(w, x, scale, zero, block=5)
    agree(got, want, axes="o i", of=f"codes of w (3, 12), groups of {group}, block=5")
    one, shift = scale.mean().view(1, 1), zero[:1, :1]
    codes, near = by_least_squares(w, x, one, shift)
    if near > 1e-6:
        agree(attempt.gptq(w, x, one, shift), codes, axes="o i", of="codes of w (3, 12), one scale for all")
    for size in (12, 6):  # a scale for each column, and for each two, whatever the row
        some = draw.uniform(1, size, low=0.3, high=0.9)
        moved = draw.integers(-3, 3, 1, size).int()
        full, shifts = (t.repeat_interleave(12 // size, 1) for t in (some, moved))
        codes, near = by_least_squares(w, x, full, shifts)
        if near > 1e-6:
            got = attempt.gptq(w, x, some, moved)
            agree(got, codes, axes="o i", of=f"codes of w (3, 12), scale (1, {size})")


@part("gptq")
@pytest.mark.parametrize("damp", [0.01, 0.1, 1.0])
def test_damping_is_a_share_of_the_mean_diagonal(attempt, draw, damp):
    """λ is damp times the mean of Σ x²: so fewer inputs than columns, and columns of zeros, work as well."""
    for n, dead in ((5, None), (3, 4), (30, 0)):

        def make(n=n, dead=dead):
            w, x = draw.normal(3, 8), draw.normal(n, 8) * torch.linspace(0.3, 3.0, 8).double()
            if dead is not None:
                x[:, dead] = 0
            scale, zero = affine(w.amin(1, True), w.amax(1, True), 4)
            return (w, x, scale, zero, *by_least_squares(w, x, scale, zero, damp=damp))

        w, x, scale, zero, want, _ = until(make, lambda case: case[-1] > 1e-5)
        h = x.square().sum(0)
        other = {
            "λ = damp": damp / float(h.mean()),
            "λ = damp · the largest": damp * float(h.max() / h.mean()),
            "λ of a mean over inputs": damp / n,
        }
        known = {name: by_least_squares(w, x, scale, zero, damp=d)[0] for name, d in other.items()}
        known = {name: value for name, value in known.items() if not torch.equal(value, want)}
        of = f"codes of w (3, 8), x ({n}, 8), column {dead} of x 0, damp {damp}"
        got = attempt.gptq(w, x, scale, zero, damp=damp)
        agree(got, want, axes="o i", of=of, known=known if len(known) == 3 and n == 5 and damp == 0.1 else None)


@part("gptq")
def test_float32_views_and_a_layer_before(attempt, draw):
    """float32 gives the same codes where none is near a half; w and x may be views; no layer leaves a trace."""
    w, x, scale, zero, want = gptq_case(draw, 3, 7, 25, margin=1e-2, damp=0.05)
    single = [w.float(), x.float(), scale.float(), zero]
    agree(attempt.gptq(*single, damp=0.05), want, axes="o i", of="codes of w (3, 7) in float32, damp 0.05")
    turned = [w.T.contiguous().T, x.T.contiguous().T, scale, zero]
    agree(attempt.gptq(*turned, damp=0.05), want, axes="o i", of="codes of turned w (3, 7) and x (25, 7), damp 0.05")
    w, x, scale, zero, want = gptq_case(draw, 3, 7, 25)
    first = [w + 1, x.flip(1).contiguous(), scale, zero]
    got = attempt.run(drivers.gptq_after, first, [w, x, scale, zero])
    agree(got, want, axes="o i", of="codes of w (3, 7) after those of another layer")


def by_elimination(w, x, scale, zero, damp):
    """The same codes for a large layer, taking column after column out of the inverse of H. (codes, margin)"""
    h = x.T @ x
    inverse = torch.linalg.inv(h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype))
    present, codes, near = w.clone(), torch.empty(w.shape, dtype=torch.int8), 1.0
    for j in range(w.shape[1]):
        steps = present[:, j] / scale[:, 0]
        near = min(near, float((steps - steps.floor() - 0.5).abs().min()))
        codes[:, j] = encoded(present[:, j], scale[:, 0], zero[:, 0], 4)
        error = (present[:, j] - decoded(codes[:, j], scale[:, 0], zero[:, 0])) / inverse[j, j]
        present[:, j + 1 :] -= error[:, None] * inverse[j, j + 1 :]
        inverse -= torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return codes, near


@part("gptq")
def test_one_factorisation_for_all_columns(attempt, draw):
    """The work grows with i², times rows and inputs: H is not inverted or solved anew for each column."""
    o, i, n, block = 3, 240, 40, 16

    def make():
        w, x = draw.normal(o, i), draw.normal(n, i)
        scale, zero = affine(w.amin(1, True), w.amax(1, True), 4)
        return (w, x, scale, zero, *by_elimination(w, x, scale, zero, 0.1))

    w, x, scale, zero, want, _ = until(make, lambda case: case[-1] > 1e-8)
    got, cost = attempt.cost("gptq", w, x, scale, zero, 4, 0.1, block)
    of = f"gptq of w ({o}, {i}), x ({n}, {i}), block={block}"
    agree(got, want, axes="o i", of=f"codes: {of}")
    in_torch(cost, of=of, values=4 * i)
    limit = (30 + 8 * o + 2 * n) * i**2
    known = {"one column after the other taken out of the inverse": (2 * i + 8 * o + 2 * n) * i**2}
    at_most(cost.work, limit, of=f"work of {of}", known=known)


@part("gptq")
def test_codes_of_one_layer_stay_while_another_is_rounded(attempt, reference, draw):
    """The codes of a call stay what they were while another layer of that size is rounded."""
    layers = [tuple(gptq_case(draw, 3, 7, 25)[:4]) for _ in range(2)]
    hold_again(attempt, reference, "gptq", *layers, of="codes of w (3, 7), x (25, 7)")


# --- normal_float -----------------------------------------------------------------------------------------------------

NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The table of QLoRA, appendix E."""


def packed(numbers):
    """Numbers 0 .. 15, two a byte, and how many."""
    even = torch.cat([numbers, numbers.new_zeros(len(numbers) % 2)])
    return (even[0::2] * 16 + even[1::2]).to(torch.uint8)


def unpacked(codes, n):
    return torch.stack([codes // 16, codes % 16], 1).flatten()[:n]


def runs_of(t, size):
    return list(t.split(size))


def nf4(x, block, group):
    """The oracle: numbers (n,), constants, scales, mean, block by block."""
    levels = torch.tensor(NF4, dtype=torch.float64)
    flat = x.double().flatten()
    c = torch.stack([b.abs().max() for b in runs_of(flat, block)])
    numbers = [
        ((b / (one if one > 0 else 1.0))[:, None] - levels).abs().argmin(1)
        for b, one in zip(runs_of(flat, block), c, strict=True)
    ]
    mean = c.mean()
    scales = torch.stack([(g - mean).abs().max() / 127 for g in runs_of(c, group)])
    steps = torch.cat([(g - mean) / s for g, s in zip(runs_of(c, group), scales, strict=True)])
    return torch.cat(numbers), steps, scales, mean, c


def clear_nf4(x, block, group):
    """Whether no x is near the middle of two levels, and no constant near a half."""
    _, steps, _, _, c = nf4(x, block, group)
    levels = torch.tensor(NF4, dtype=torch.float64)
    middles = (levels[1:] + levels[:-1]) / 2
    unit = x.double().flatten() / c.clamp(min=1e-30).repeat_interleave(block)[: x.numel()]
    return bool((unit[:, None] - middles).abs().min() > 1e-5) and (len(c) == 1 or clear(steps, 2e-3))


def nf4_case(draw, *shape, block, group, dtype="float64"):
    make = lambda: (draw.normal(*shape) * torch.exp(draw.normal(*shape[:-1], 1))).to(of_type(dtype))
    return until(make, lambda x: clear_nf4(x, block, group))


@part("normal_float")
def test_the_sixteen_levels(attempt):
    """The levels are those of the paper's table, from -1 to 1, with 0 among them."""
    p = 1 - (1 / 32 + 1 / 30) / 2
    even = torch.special.ndtri(torch.linspace(1 - p, p, 16, dtype=torch.float64))
    known = {
        "16 quantiles evenly spaced, none of them 0": (even / even.max()).float(),
        "the levels turned about": torch.tensor(NF4).neg().flip(0),
        "levels evenly spaced": torch.linspace(-1, 1, 16),
    }
    got = attempt.normal_float()
    agree(got, torch.tensor(NF4), axes="l", of="the levels of NF4", known=known, tol=2e-6)
    assert got[7] == 0, f"level 7 is {got[7]:.3g}, not exactly 0"
    assert (got[0].item(), got[15].item()) == (-1.0, 1.0), "the ends are not exactly -1 and 1"


@part("normal_float")
@each_dtype
def test_each_number_gets_the_nearest_level(attempt, draw, dtype):
    """x / c gets the number of the nearest level, two numbers a byte, the first in the upper half."""
    for shape, block in [((12,), 4), ((3, 10), 5), ((2, 3, 4), 24), ((4, 2), 1)]:
        x = nf4_case(draw, *shape, block=block, group=256, dtype=dtype)
        numbers = nf4(x, block, 256)[0]
        codes = attempt.nf4_quantize(x, block)[0]
        levels = torch.tensor(NF4, dtype=torch.float64)
        c = torch.stack([b.abs().max() for b in runs_of(x.double().flatten(), block)]).repeat_interleave(block)
        unit = x.double().flatten() / c[: x.numel()]
        below = (torch.searchsorted(levels, unit, right=True) - 1).clamp(0, 15)
        known = {
            "the first number in the lower half": packed(numbers.view(-1, 2).flip(1).flatten()),
            "one largest |x| for the whole tensor": packed(nf4(x, x.numel(), 256)[0]),
            "the level below, not the nearest": packed(below),
            "15 levels evenly spaced": packed((unit * 7).round().long() + 7),
        }
        right = packed(numbers)
        known = apart(known, right)
        of = f"codes of x {shape}, block={block}, {dtype}"
        agree(codes, right, axes="byte", of=of, known=known)


@part("normal_float")
@each_dtype
def test_constants_are_quantised_again(attempt, draw, dtype):
    """Each block's largest |x| less the mean of all of them, as int8 with a scale for each group of blocks."""
    for shape, block, group in [((9, 8), 4, 5), ((7, 6), 6, 3), ((5, 3), 3, 256), ((4, 10), 5, 8)]:
        x = nf4_case(draw, *shape, block=block, group=group, dtype=dtype)
        _, steps, scales, mean, c = nf4(x, block, group)
        _, got_constants, got_scales, got_mean = attempt.nf4_quantize(x, block, group)
        of = f"x {shape}, block={block}, group={group}, {dtype}"
        known = {"the mean of |x|": x.abs().mean().float(), "the mean of x": x.mean().float()}
        agree(got_mean, mean.float(), of=f"mean of {of}", known=known)
        centred = torch.stack([(g - g.mean()).abs().max() / 127 for g in runs_of(c, group)]).float()
        whole = torch.stack([g.abs().max() / 127 for g in runs_of(c, group)]).float()
        known = {"the mean not subtracted": whole, "a mean for each group": centred}
        known = {name: value for name, value in known.items() if not torch.allclose(value, scales.float())}
        agree(got_scales, scales.float(), axes="g", of=f"scales of {of}", known=known if group == 5 else None)
        known = {"constants cut, not rounded": steps.trunc().to(torch.int8)}
        agree(got_constants, steps.round().to(torch.int8), axes="b", of=f"constants of {of}", known=known)


@part("normal_float")
def test_short_blocks_zeros_and_odd_sizes(attempt, draw):
    """The last block and the last group may be short, a block may be 0, and n may be odd."""
    for n, block, group in [(11, 4, 2), (7, 64, 256), (1, 64, 256), (13, 3, 2)]:
        x = until(lambda n=n: draw.normal(n), lambda x, block=block, group=group: clear_nf4(x, block, group))
        numbers, steps, scales, mean, _ = nf4(x, block, group)
        codes, constants, got_scales, got_mean = attempt.nf4_quantize(x, block, group)
        of = f"x ({n}), block={block}, group={group}"
        agree(tuple(codes.shape), ((n + 1) // 2,), of=f"shape of the codes of {of}")
        agree(codes.dtype, torch.uint8, of=f"dtype of the codes of {of}")
        agree(unpacked(codes, n).long(), numbers, axes="n", of=f"numbers of {of}")
        agree(tuple(constants.shape), tuple(steps.shape), of=f"shape of the constants of {of}")
        agree(got_mean, mean.float(), of=f"mean of {of}")
        assert bool(got_scales.isfinite().all() and (got_scales > 0).all()), f"scales of {of}: {got_scales.tolist()}"
        if len(steps) > 1:
            agree(constants, steps.round().to(torch.int8), axes="b", of=f"constants of {of}")
            agree(got_scales, scales.float(), axes="g", of=f"scales of {of}")
    x = until(lambda: draw.normal(12), lambda x: clear_nf4(torch.cat([x[:4], 0 * x[:4], x[8:]]), 4, 256))
    x[4:8] = 0
    codes = attempt.nf4_quantize(x, 4)[0]
    agree(
        unpacked(codes, 12).long(),
        nf4(x, 4, 256)[0],
        axes="n",
        of="numbers of x (12), block 4, whose middle block is 0",
    )
    zeros = attempt.run(drivers.nf4_there_and_back, torch.zeros(3, 5), 4, 2)
    agree(zeros, torch.zeros(3, 5), axes="a b", of="zeros there and back")


@part("normal_float")
def test_numbers_back_from_codes(attempt, draw):
    """level · (constant · scale of its group + mean), in float32, of the shape asked for."""
    for shape, block, group in [((6, 4), 4, 2), ((5, 3), 4, 3), ((2, 3, 2), 64, 256), ((17,), 2, 4)]:
        n = math.prod(shape)
        blocks = -(-n // block)
        numbers = draw.integers(0, 16, n)
        constants = draw.integers(-127, 128, blocks).to(torch.int8)
        scales = draw.uniform(-(-blocks // group), low=0.002, high=0.01, dtype=torch.float32)
        mean = torch.tensor(draw.random.uniform(2, 3))
        c = constants.double() * scales.double().repeat_interleave(group)[:blocks] + mean.double()
        level = torch.tensor(NF4, dtype=torch.float64)[numbers]
        want = (level * c.repeat_interleave(block)[:n]).view(shape).float()
        swapped = unpacked((packed(numbers) % 16) * 16 + packed(numbers) // 16, n)
        known = {
            "the mean left out": (level * (c - mean).repeat_interleave(block)[:n]).view(shape).float(),
            "the first number read from the lower half": (
                torch.tensor(NF4)[swapped.long()] * c.repeat_interleave(block)[:n].float()
            ).view(shape),
        }
        of = f"nf4_dequantize to {shape}, block={block}, group={group}"
        got = attempt.nf4_dequantize(packed(numbers), constants, scales, mean, shape, block, group)
        agree(got, want, of=of, known=known if n == 24 else None)


@part("normal_float")
def test_blocks_of_64_and_groups_of_256(attempt, draw):
    """Without more arguments a block has 64 numbers and a group 256 blocks: 4.127 bits a number in all."""
    x = until(lambda: draw.normal(64 * 257 + 3, dtype=torch.float64), lambda x: clear_middles(x))
    numbers, steps, scales, mean, _ = nf4(x, 64, 256)
    codes, constants, got_scales, got_mean = attempt.nf4_quantize(x)
    of = "x (16451)"
    agree(unpacked(codes, len(x)).long(), numbers, axes="n", of=f"numbers of {of}")
    agree(got_scales, scales.float(), axes="g", of=f"scales of {of}")
    sure = (steps - steps.floor() - 0.5).abs() > 2e-3
    agree(constants[sure], steps.round().to(torch.int8)[sure], axes="b", of=f"constants of {of}")
    agree(tuple(constants.shape), (258,), of=f"shape of the constants of {of}")
    back = attempt.nf4_dequantize(codes, constants, got_scales, got_mean, tuple(x.shape))
    c = constants.double() * scales.repeat_interleave(256)[:258] + mean
    want = torch.tensor(NF4, dtype=torch.float64)[numbers] * c.repeat_interleave(64)[: len(x)]
    agree(back, want.float(), axes="n", of=f"{of} there and back")


def clear_middles(x):
    levels = torch.tensor(NF4, dtype=torch.float64)
    c = torch.stack([b.abs().max() for b in runs_of(x, 64)]).repeat_interleave(64)[: len(x)]
    return bool(((x / c)[:, None] - (levels[1:] + levels[:-1]) / 2).abs().min() > 1e-6)


@part("normal_float")
def test_nf4_of_a_transposed_matrix(attempt, draw, reference):
    """Blocks are of neighbours in row-major order, however x lies in memory."""
    x = draw.normal(6, 70)
    got = attempt.run(drivers.nf4_of_transposed, x)
    agree(got, reference.nf4_quantize(x.T.contiguous())[0], axes="byte", of="codes of a transposed x (70, 6)")


@part("normal_float")
def test_numbers_of_another_tensor_of_that_size(attempt, reference, draw):
    """Numbers come back from what a call gets, whatever came before and however it lies in memory."""
    asked = [
        (
            draw.integers(0, 256, 12).to(torch.uint8),
            draw.integers(-127, 128, 6).to(torch.int8),
            draw.uniform(3, low=0.002, high=0.01, dtype=torch.float32),
            draw.uniform(1, low=2.0, high=3.0, dtype=torch.float32)[0],
            (4, 6),
            4,
            2,
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "nf4_dequantize", *asked, of="nf4_dequantize to (4, 6), block=4, group=2")


@part("normal_float")
def test_codes_of_one_tensor_stay_while_another_is_quantised(attempt, reference, draw):
    """What a call gave stays what it was while another tensor of that size is quantised."""
    xs = [(nf4_case(draw, 6, 4, block=4, group=2), 4, 2) for _ in range(2)]
    hold_again(attempt, reference, "nf4_quantize", *xs, of="nf4_quantize of x (6, 4), block=4, group=2")
