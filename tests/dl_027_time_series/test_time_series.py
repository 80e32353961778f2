"""Hidden checks of dl_027. Oracles: slices, sums by hand, a product form of the likelihood, an LSTM in a few lines.

Laws of counts and of sample paths are held as a whole: of n draws over K cells the sum of |share - probability| is
above √(2 (K log 2 + log 1/δ) / n) with a probability below δ (Weissman et al. 2003), here 1e-7.
"""

import math

import pytest
import torch

from grader.checks import Wrong, agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import hold_generator, hold_independent
from grader.checks.repeats import hold_unrepeated

from . import drivers

NAN = math.nan


def seed_from(draw):
    return draw.random.randrange(2**40)


def wide(values):
    """A float64 tensor of them."""
    return torch.tensor(values, dtype=torch.float64)


def holes(draw, values, share=0.25):
    """The values, some of them missing; the first two of each row are not."""
    out = torch.where(draw.uniform(*values.shape) < share, NAN, values)
    out[:, :2] = values[:, :2]
    return out


def in_type(dtype, value):
    """A tensor, or a dict or a tuple of them, in a dtype."""
    if isinstance(value, dict):
        return {name: in_type(dtype, one) for name, one in value.items()}
    return tuple(in_type(dtype, one) for one in value) if isinstance(value, tuple) else value.to(of_type(dtype))


def loose(one):
    """The same values, with strides in the opposite order: not contiguous."""
    if one.dim() < 2:
        return torch.stack([one, one], dim=-1)[..., 0]
    turned = list(range(one.dim()))[::-1]
    return one.permute(turned).contiguous().permute(turned)


# --- make_windows -----------------------------------------------------------------------------------------------------


def windows_at(series, starts, c, h):
    """The windows with these starts, one slice at a time."""
    past, future = series.new_zeros(0, c, series.shape[1]), series.new_zeros(0, h, series.shape[1])
    for s in starts:
        past = torch.cat([past, series[None, s : s + c]])
        future = torch.cat([future, series[None, s + c : s + c + h]])
    return past, future


def windows_of(series, c, h, stride, cut, before=None, first=None):
    """Both kinds; `before` and `first` say where a mistake ends training, and where it begins testing."""
    train = [s for s in range(0, len(series), stride) if s + c + h <= (cut if before is None else before)]
    begin = cut - c if first is None else first
    test = [s for s in range(begin, len(series), stride) if s + c + h <= len(series)]
    return {"train": windows_at(series, train, c, h), "test": windows_at(series, test, c, h)}


def window_mistakes(series, c, h, stride, cut):
    t = len(series)
    return {
        "training windows that reach past the cut": lambda: windows_of(series, c, h, stride, cut, before=cut + h - 1),
        "training windows whose past ends at the cut": lambda: windows_of(series, c, h, stride, cut, before=cut + h),
        "test windows whose past begins at the cut": lambda: windows_of(series, c, h, stride, cut, first=cut),
        "training windows over the whole series": lambda: windows_of(series, c, h, stride, cut, before=t),
    }


@part("make_windows")
def test_ten_times_by_hand(attempt):
    """Times 0 ... 9, three steps of past, two of future, cut at 7: starts 0, 1, 2 and 4, 5."""
    series = torch.arange(10.0)[:, None]
    want = {"train": windows_at(series, [0, 1, 2], 3, 2), "test": windows_at(series, [4, 5], 3, 2)}
    known = window_mistakes(series, 3, 2, 1, 7)
    agree(attempt.make_windows(series, 3, 2, 1, 7), want, of="make_windows of 0 ... 9, c 3, h 2, cut 7", known=known)


@part("make_windows")
@each_dtype
def test_no_future_lies_on_both_sides_of_the_cut(attempt, draw, dtype):
    """Training futures end before the cut, test futures begin at it or later, whatever sizes and stride."""
    cases = [
        (23, 5, 3, 2, 14),
        (31, 4, 7, 3, 19),
        (17, 3, 1, 5, 11),
        (12, 5, 4, 1, 8),
        (12, 7, 3, 2, 7),
        (9, 2, 3, 1, 9),
    ]
    cases += [(29, 1, 2, 4, 13), (13, 6, 8, 1, 6)]
    rows = []
    for t, *sizes in cases:
        series = draw.normal(2, t, dtype=of_type(dtype)).T  # not contiguous
        series[draw.random.randrange(t), 0] = NAN
        rows.append((series, *sizes))
    got = attempt.each("make_windows", rows)
    for row, one in zip(rows, got, strict=True):
        series, c, h, stride, cut = row
        of = f"make_windows of {len(series)} times, c {c}, h {h}, stride {stride}, cut {cut}, {dtype}"
        shown, want = ({k: tuple(x.nan_to_num(99.0) for x in v) for k, v in d.items()} for d in (one, windows_of(*row)))
        agree(shown, want, of=f"{of}; the missing value as 99")


@part("make_windows")
def test_make_windows_refuses(attempt):
    """Sizes below 1, and a cut that leaves no past or lies after the end, are a ValueError."""
    series = torch.arange(9.0)[:, None]
    for sizes in ((0, 2, 1, 5), (3, 0, 1, 5), (3, 2, 0, 5), (3, 2, -1, 5), (3, 2, 1, 2), (3, 2, 1, 10)):
        with refusal(ValueError, of=f"make_windows of 9 times, c, h, stride, cut = {sizes}"):
            attempt.make_windows(series, *sizes)


@part("make_windows")
def test_windows_of_another_series_of_that_size(attempt, reference, draw):
    """Each call cuts its own series, whatever came before in the same sizes."""
    asked = [(draw.normal(23, 3), 4, 2, 1, 12) for _ in range(2)]
    hold_again(attempt, reference, "make_windows", *asked, of="make_windows of a series (23, 3)")


# --- forecast_scores --------------------------------------------------------------------------------------------------


def mean_of(values):
    values = [v for v in values if not math.isnan(v)]
    return sum(values) / len(values)


def scaled_errors(past, future, forecast, season, unit=None, size=abs):
    """The MASE of each series by loops; `unit` says from which values a mistake takes the naive error."""
    out = []
    for p, f, told in zip(past.tolist(), future.tolist(), forecast.tolist(), strict=True):
        u = p if unit is None else unit(p, f)
        naive = mean_of([size(b - a) for a, b in zip(u, u[season:], strict=False)])
        out.append(mean_of([size(a - b) for a, b in zip(f, told, strict=True)]) / naive)
    return wide(out)


def mase_mistakes(past, future, forecast, season):
    size = past.shape[1] - season
    return {
        "the naive error of the future": lambda: scaled_errors(past, future, forecast, season, lambda p, f: f),
        "the naive error of past and future": lambda: scaled_errors(past, future, forecast, season, lambda p, f: p + f),
        "squared errors": lambda: scaled_errors(past, future, forecast, season, size=lambda e: e * e),
        "the mean of the past for the naive error": lambda: (
            (future - forecast).abs().nanmean(dim=1) / past.abs().nanmean(dim=1)
        ),
        "a sum divided by the number of all pairs": lambda: (
            (future - forecast).abs().nanmean(dim=1) * size / (past[:, season:] - past[:, :-season]).abs().nansum(dim=1)
        ),
        "a sum divided by the number of all targets": lambda: (
            scaled_errors(past, future, forecast, season) * (~future.isnan()).double().mean(dim=1)
        ),
    }


@part("forecast_scores")
def test_errors_in_units_of_the_naive_one(attempt):
    """Naive errors 1, 2, 3 in the past, errors 1 and 2 of the forecast: 1.5 / 2."""
    past, future, forecast = wide([[1, 2, 4, 7]]), wide([[9, 14]]), wide([[10, 12]])
    known = {
        "the naive error of the future": wide([0.3]),
        "the naive error of past and future": wide([1.5 / 2.6]),
        "the error as it is": wide([1.5]),
        "the fraction upside down": wide([2 / 1.5]),
    }
    agree(attempt.mase(past, future, forecast), wide([0.75]), axes="b", of="mase, past 1, 2, 4, 7", known=known)


@part("forecast_scores")
@each_dtype
@pytest.mark.parametrize(("b", "c", "h", "season"), [(3, 11, 5, 1), (5, 17, 7, 4), (2, 8, 9, 7)])
def test_mase_of_series_with_missing_values(attempt, draw, b, c, h, season, dtype):
    """Both means are over what is seen: targets, and pairs of which both are."""
    size = 10.0 ** draw.integers(0, 3, b, 1)
    past = size * draw.normal(b, c)
    past[:, 2 * season + 1 : -1 : 3] = NAN
    future, forecast = holes(draw, size * draw.normal(b, h)), size * draw.normal(b, h)
    past, future, forecast = (loose(in_type(dtype, one)) for one in (past, future, forecast))
    args = (past.double(), future.double(), forecast.double(), season)
    want = in_type(dtype, scaled_errors(*args))
    known = {k: v() for k, v in mase_mistakes(*args).items()} if (b, dtype) == (3, "float64") else {}
    known = {k: v for k, v in known.items() if v.isfinite().all() and (v - want).abs().max() > 1e-6}
    got = attempt.mase(past, future, forecast, season)
    agree(got, want, axes="b", of=f"mase of {b} series, c {c}, h {h}, season {season}, {dtype}", known=known)


@part("forecast_scores")
@each_dtype
def test_mase_has_no_unit(attempt, draw, dtype):
    """A series a trillion times as small, its forecast too, has the same MASE: nothing is added to the naive error."""
    past, future, forecast = (in_type(dtype, draw.normal(3, size)) for size in (8, 5, 5))
    want = in_type(dtype, scaled_errors(past.double(), future.double(), forecast.double(), 2))
    rows = [(size * past, size * future, size * forecast, 2) for size in (1.0, 2.0**-40)]
    for said, got in zip(("around 1", "times 2 ** -40"), attempt.each("mase", rows), strict=True):
        agree(got, want, axes="b", of=f"mase of 3 series of numbers {said}, {dtype}")


@part("forecast_scores")
def test_mase_refuses(attempt, draw):
    """A season of less than 1, or as long as the past, is a ValueError."""
    past, future = draw.normal(2, 5), draw.normal(2, 3)
    for season in (0, -1, 5, 6):
        with refusal(ValueError, of=f"mase with a past of 5 steps and a season of {season}"):
            attempt.mase(past, future, future + 1, season)


def pinball_terms(target, quantiles, levels):
    """The losses of seen targets, by level, and the slopes by the quantiles, by loops."""
    losses, slopes = [], torch.zeros(quantiles.shape, dtype=quantiles.dtype)
    count = sum(not math.isnan(y) for y in target.flatten().tolist()) * len(levels)
    flat = slopes.view(-1, len(levels))
    for i, (y, row) in enumerate(zip(target.flatten().tolist(), quantiles.reshape(-1, len(levels)), strict=True)):
        for j, (q, tau) in enumerate(zip(row.tolist(), levels.tolist(), strict=True)):
            if not math.isnan(y):
                losses.append(tau * (y - q) if y > q else (1 - tau) * (q - y))
                flat[i, j] = (-tau if y > q else 1 - tau) / count
    return losses, slopes


@part("forecast_scores")
@each_dtype
def test_pinball_loss_leans_by_its_level(attempt, draw, dtype):
    """τ for each unit below the target, 1 - τ above, 0 where it is missing; and so do the gradients."""
    for shape, levels in (((3, 7), [0.5, 0.95, 0.1]), ((11,), [0.8]), ((2, 5, 3), [0.25, 0.6])):
        target, quantiles = draw.normal(*shape), draw.normal(*shape, len(levels))
        target.view(-1)[1::4] = NAN
        target, quantiles, levels = (loose(in_type(dtype, one)) for one in (target, quantiles, wide(levels)))
        losses, slopes = pinball_terms(target.double(), quantiles.double(), levels.double())
        turned, _ = pinball_terms(target.double(), quantiles.double(), 1 - levels.double())
        want = {"loss": wide(sum(losses) / len(losses)), "gradient": slopes}
        known = {
            "τ and 1 - τ exchanged": wide(sum(turned) / len(turned)),
            "a factor 2": 2 * want["loss"],
            "a sum over the levels": want["loss"] * len(levels),
            "a mean over missing targets, too": want["loss"] * len(losses) / quantiles.numel(),
        }
        first = shape == (3, 7) and dtype == "float64"
        got = attempt.run(drivers.pinball_gradient, target, quantiles, levels)
        of = f"pinball_loss, targets {shape}, {len(levels)} levels, {dtype}"
        agree(got["loss"], in_type(dtype, want["loss"]), of=of, known=known if first else None)
        agree(got["gradient"], in_type(dtype, want["gradient"]), of=f"{of}, gradient by the quantiles")


def crps_by_pairs(target, samples, fair=False, half=True):
    """The score by all pairs; the mean over seen targets."""
    m, told = len(samples), []
    for y, xs in zip(target.flatten().tolist(), samples.reshape(m, -1).T.tolist(), strict=True):
        if not math.isnan(y):
            pairs = sum(abs(a - b) for a in xs for b in xs)
            told.append(sum(abs(x - y) for x in xs) / m - pairs / ((2 if half else 1) * m * (m - 1 if fair else m)))
    return wide(sum(told) / len(told))


@part("forecast_scores")
@each_dtype
@pytest.mark.parametrize(("m", "shape"), [(1, (4, 3)), (2, (5,)), (7, (2, 5, 3)), (23, (3, 4))])
def test_crps_of_samples(attempt, draw, m, shape, dtype):
    """The mean distance to the target less half the mean distance of two samples; fair with m (m - 1)."""
    target, samples = 2 * draw.normal(*shape), draw.normal(m, *shape)
    samples[0], samples[-1] = samples[-1].clone(), samples[0].clone()  # in no order
    target.view(-1)[2::5] = NAN
    if m == 23:
        target, samples = target.round(), (2 * samples).round()  # counts: many samples are equal
    target, samples = loose(in_type(dtype, target)), loose(in_type(dtype, samples))
    args = target.double(), samples.double()
    for fair in (False, True)[: min(m, 2)]:
        want = crps_by_pairs(*args, fair)
        known = {
            "the other denominator": lambda fair=fair: crps_by_pairs(*args, not fair),
            "the whole distance of two samples": lambda fair=fair: crps_by_pairs(*args, fair, half=False),
            "the mean distance to the target": (args[1] - args[0]).abs().mean(dim=0).nanmean(),
        }
        got = attempt.crps(target, samples, fair)
        of = f"crps of {m} samples, targets {shape}{', fair' if fair else ''}, {dtype}"
        agree(got, in_type(dtype, want), of=of, known=known if (m, dtype) == (7, "float64") else None)


@part("forecast_scores")
def test_fair_crps_wants_two_samples(attempt, draw):
    """With one sample there is no pair: a ValueError, if fair."""
    with refusal(ValueError, of="crps of one sample, fair=True"):
        attempt.crps(draw.normal(3), draw.normal(1, 3), True)


@part("forecast_scores")
@pytest.mark.parametrize("gradients", [False, True])
def test_crps_makes_no_pairs(attempt, draw, gradients):
    """1,201 samples of 5 targets need no tensor of all pairs, with or without gradients."""
    m, one = 1_201, torch.ones((), dtype=torch.float64)
    target, samples = draw.normal(5), draw.normal(m, 5)
    got, cost = attempt.cost("crps", target, samples, **({"upstream": one} if gradients else {}))
    pairs = torch.stack([(column[:, None] - column).abs().mean() for column in samples.T])
    want = ((samples - target).abs().mean(dim=0) - pairs / 2).mean()
    of = f"crps of {m:,} samples, 5 targets{', with its backward pass' if gradients else ''}"
    agree(got[0] if gradients else got, want, of=of)
    known = {"all pairs of one target": m * m}
    at_most(cost.largest, 20 * m * 5, of=f"elements of the largest tensor of {of}", known=known)


def quantile(xs, level):
    """Linear interpolation between the two nearest of the sorted values."""
    xs = sorted(xs)
    place = level * (len(xs) - 1)
    low = min(int(place), len(xs) - 1)
    return xs[low] + (place - low) * (xs[min(low + 1, len(xs) - 1)] - xs[low])


@part("forecast_scores")
@each_dtype
@pytest.mark.parametrize(("m", "b", "c", "h", "season"), [(8, 3, 9, 5, 2), (31, 2, 13, 7, 1)])
def test_scores_of_sample_paths(attempt, draw, m, b, c, h, season, dtype):
    """MASE of the median, pinball loss of the quantiles, CRPS, and the share between the outer quantiles."""
    past, future = holes(draw, draw.normal(b, c, scale=3.0)), holes(draw, draw.normal(b, h))
    past[:, : 2 + season] = draw.normal(b, 2 + season)
    samples = draw.normal(m, b, h)
    levels = wide([0.15, 0.4, 0.9])
    past, future, samples, levels = (loose(in_type(dtype, one)) for one in (past, future, samples, levels))
    p, f, s, taus = past.double(), future.double(), samples.double(), levels.tolist()
    told = wide([[[quantile(s[:, i, j].tolist(), tau) for tau in taus] for j in range(h)] for i in range(b)])
    middle = wide([[quantile(s[:, i, j].tolist(), 0.5) for j in range(h)] for i in range(b)])
    seen = ~f.isnan()
    losses, _ = pinball_terms(f, told, levels.double())
    want = {
        "mase": scaled_errors(p, f, middle, season).mean().item(),
        "pinball": sum(losses) / len(losses),
        "crps": crps_by_pairs(f, s).item(),
        "coverage": ((told[..., 0] <= f) & (f <= told[..., -1]))[seen].double().mean().item(),
    }
    low = s.sort(dim=0).values[(m - 1) // 2]
    known = {
        "the mean of the samples for their median": {
            **want,
            "mase": scaled_errors(p, f, s.mean(dim=0), season).mean().item(),
        },
        "the fair CRPS": {**want, "crps": crps_by_pairs(f, s, fair=True).item()},
        "missing targets counted as missed": {**want, "coverage": want["coverage"] * seen.double().mean().item()},
    }
    if m % 2 == 0:
        known["the lower of two middle samples"] = {**want, "mase": scaled_errors(p, f, low, season).mean().item()}
    got = attempt.forecast_scores(past, future, samples, levels, season)
    of = f"forecast_scores of {m} paths, {b} series, c {c}, h {h}, season {season}, {dtype}"
    agree(got, want, tol=1e-5, of=of, known=known if dtype == "float64" and m == 8 else None)
    for name in want:
        assert isinstance(got[name], float), f"{of}: the score '{name}' is a {type(got[name]).__name__}, not a float"


@part("forecast_scores")
def test_ends_of_an_interval_belong_to_it(attempt):
    """A target that equals an outer quantile is covered; without `season` it is 1."""
    past, future = wide([[1, 2, 4, 7]]), wide([[3, 5, 6, 4]])
    samples = wide([[[3, 3, 3, 3]], [[4, 4, 4, 4]], [[5, 5, 5, 5]]])
    want = {"mase": 0.5, "pinball": 0.125, "crps": 0.0, "coverage": 0.75}
    want["crps"] = crps_by_pairs(future, samples).item()
    got = attempt.forecast_scores(past, future, samples, wide([0.0, 1.0]))
    agree(got, want, of="forecast_scores of samples 3, 4, 5 and targets 3, 5, 6, 4, levels 0 and 1")


@part("forecast_scores")
def test_scores_of_other_forecasts_of_that_size(attempt, reference, draw):
    """Each call scores what it gets, whatever came before in the same sizes."""
    levels = wide([0.1, 0.5, 0.8])
    pasts, futures, samples = ([draw.normal(*size) for _ in range(2)] for size in ((3, 7), (3, 5), (11, 3, 5)))
    quantiles = [one.quantile(levels, dim=0).movedim(0, -1) for one in samples]
    calls = {
        "mase": list(zip(pasts, futures, [one[0] for one in samples], strict=True)),
        "pinball_loss": [(future, one, levels) for future, one in zip(futures, quantiles, strict=True)],
        "crps": list(zip(futures, samples, strict=True)),
        "forecast_scores": [(*row, levels) for row in zip(pasts, futures, samples, strict=True)],
    }
    for name, asked in calls.items():
        hold_again(attempt, reference, name, *asked, of=f"{name} of 3 series, c 7, h 5")


@part("forecast_scores")
def test_one_level_is_enough(attempt):
    """One level of quantiles is enough: it is the first and the last."""
    past, future = wide([[1.0, 2.0, 4.0, 7.0]]), wide([[9.0, 14.0]])
    got = attempt.forecast_scores(past, future, wide([[[8.0, 10.0]], [[12.0, 12.0]], [[9.0, 14.0]]]), wide([0.5]))
    for name in ("mase", "pinball", "coverage"):  # medians 9 and 12; the first is the target
        agree(got[name], 0.5, of=f"{name} of forecast_scores with the one level 0.5")


# --- trend_and_season -------------------------------------------------------------------------------------------------


def columns_at(times, points, seasons, pairs=("cos", "sin")):
    """Prophet's columns, one number at a time."""
    wave = {"cos": math.cos, "sin": math.sin}
    rows = []
    for t in times.tolist():
        row = [1.0, t, *(max(0.0, t - s) for s in points.tolist())]
        for period, order in seasons:
            row += [wave[w](2 * math.pi * n * t / period) for n in range(1, order + 1) for w in pairs]
        rows.append(row)
    return wide(rows)


@part("trend_and_season")
@each_dtype
def test_columns_of_trend_and_seasons(attempt, draw, dtype):
    """1, time, hinges, then cosine and sine of each frequency of each season."""
    cases = [(7, 0, [(4.0, 1)]), (11, 2, [(7.0, 3), (2.5, 1)]), (5, 3, []), (1, 1, [(3.0, 2)])]
    cases += [(13, 1, [(7.0, 1), (3.0, 2), (2.5, 1), (11.0, 2)])]
    for t, k, seasons in cases:
        times, points = in_type(dtype, 9 * draw.uniform(t)), in_type(dtype, 9 * draw.uniform(k))
        want = columns_at(times, points, seasons)
        known = {"sine before cosine": columns_at(times, points, seasons, ("sin", "cos"))} if k == 0 else None
        got = attempt.design_matrix(times, points, seasons)
        of = f"design_matrix of {t} times, {k} changepoints, seasons {seasons}, {dtype}"
        agree(got, in_type(dtype, want), axes="t x", of=of, known=known if dtype == "float64" else None)


def fit_by_hand(times, values, new, points, seasons):
    """Least squares by the pseudoinverse, on times that are moved near 0."""
    middle = times.mean()
    seen = ~values.isnan()
    old, ahead = (columns_at(t - middle, points - middle, []) for t in (times, new))
    waves, waves_ahead = (columns_at(t, points, seasons)[:, old.shape[1] :] for t in (times, new))
    weights = torch.linalg.pinv(torch.cat([old, waves], dim=1)[seen]) @ values[seen]
    return ahead @ weights[: old.shape[1]], waves_ahead @ weights[old.shape[1] :]


@part("trend_and_season")
@each_dtype
@pytest.mark.parametrize(
    ("t", "k", "seasons"), [(41, 2, [(7.0, 2), (11.5, 1)]), (29, 0, [(5.0, 2)]), (23, 1, []), (60, 3, [(12.0, 4)])]
)
def test_least_squares_on_what_is_seen(attempt, draw, t, k, seasons, dtype):
    """Trend and season are those of one fit to the seen values, at new times, whatever the order of the times."""
    gap = draw.uniform(t, low=0.5, high=1.5)
    times, new = gap.cumsum(0), gap.sum() + 9 * draw.uniform(13)
    points = times[torch.arange(1, k + 1) * t // (k + 2)] + 0.1
    if t != 41:
        times, new = times[draw.permutation(t)], (new - gap.sum() / 2)[:11]  # in no order; in between
        new[:3] = -new[:3] / 4  # before all others
    values = 5 * draw.normal(t) + 0.7 * times + 3 * (times / 2).cos()
    values[3::7] = NAN
    args = tuple(loose(in_type(dtype, one)) for one in (times, values, new, points))
    exact = tuple(one.double() for one in args)
    want = fit_by_hand(*exact, seasons)
    straight = fit_by_hand(*exact, [])
    filled = exact[1].nan_to_num(0.0)
    known = {
        "missing values as 0": fit_by_hand(exact[0], filled, *exact[2:], seasons),
        "missing values as the mean": fit_by_hand(
            exact[0], exact[1].nan_to_num(exact[1].nanmean().item()), *exact[2:], seasons
        ),
        "trend and season added up": (want[0] + want[1], want[1]),
    }
    if seasons:
        known["the trend fitted first, alone"] = (straight[0], want[1])
    got = attempt.trend_and_season(*args, seasons)
    of = f"trend_and_season of {t} times, {k} changepoints, seasons {seasons}, {dtype}"
    known = known if (t, dtype) == (41, "float64") else None
    agree(got, in_type(dtype, want), tol=1e-3 if dtype == "float32" else 1e-6, of=of, known=known)


@part("trend_and_season")
@pytest.mark.parametrize("dtype", ["float32"])
def test_a_trend_that_bends_goes_on(attempt, draw, dtype):
    """Values of a bent line and a week, days near 20,000 and float32: the forecast is what made them."""
    times, new = torch.arange(19_900, 20_100, dtype=torch.float64), torch.arange(20_100, 20_131, dtype=torch.float64)
    a, slope, bend, u, w = (draw.uniform(1, low=0.5, high=2.0).item() for _ in range(5))

    def parts(at):
        angle = 2 * math.pi * 3 * at / 7
        trend = a + slope * (at - 20_000) / 10 - bend * (at - 20_011).clamp(min=0) / 5
        return trend, 4 * u * angle.cos() - 3 * w * angle.sin()

    values = in_type(dtype, sum(parts(times)))
    values[5::9] = NAN
    args = [in_type(dtype, one) for one in (times, values, new, wide([20_011]))]
    got = attempt.trend_and_season(*args, [(7.0, 3)])
    want = in_type(dtype, parts(new))
    # the constant and the waves of three frequencies are told apart to four digits of the values
    agree(got, want, tol=3e-3, of=f"trend_and_season of days 19,900 ... 20,099, {dtype}")


@part("trend_and_season")
def test_another_series_of_that_size_is_fitted(attempt, reference, draw):
    """Each call has its own times and values, whatever came before in the same sizes."""
    seasons = [(7.0, 1)]
    times = [torch.linspace(0, 40, 23, dtype=torch.float64) + draw.uniform(23) for _ in range(2)]
    changes = [draw.uniform(2, low=10.0, high=30.0) for _ in range(2)]
    asked = [(*one, seasons) for one in zip(times, changes, strict=True)]
    hold_again(attempt, reference, "design_matrix", *asked, of="design_matrix of 23 times, 2 changepoints")
    asked = [(at, draw.normal(23), 50 + draw.uniform(5), change, seasons) for at, change, _ in asked]
    of = "trend_and_season of 23 times, 2 changepoints"
    hold_again(attempt, reference, "trend_and_season", *asked, of=of, tol=1e-6)


# --- negative_binomial ------------------------------------------------------------------------------------------------


def log_p(z, mu, alpha):
    """log p by a product over 0 ... z - 1, without any Γ: z an int, mu and alpha tensors."""
    total = -(z + 1 / alpha) * torch.log1p(alpha * mu) + z * mu.log()
    for k in range(z):
        total = total + torch.log1p(alpha * k) - math.log(k + 1)
    return total


def probabilities(mu, alpha, count):
    """p(0) ... p(count - 1) for each mean and shape, (..., count): each from the one before."""
    mu, alpha, k = mu[..., None], alpha[..., None], torch.arange(count - 1, dtype=torch.float64)
    ratio = torch.log1p(alpha * k) - torch.log(k + 1) + (mu / (1 + alpha * mu)).log()
    return torch.cat([-torch.log1p(alpha * mu) / alpha, ratio], dim=-1).cumsum(dim=-1).exp()


def poisson(z, mu):
    return z * mu.log() - mu - torch.lgamma(z + 1)


@part("negative_binomial")
def test_one_count_by_hand(attempt):
    """z = 1, μ = 2, α = 0.5: p = 0.25."""
    z, mu, alpha = wide([1.0]), wide([2.0]), wide([0.5])
    known = {
        "a Poisson law": poisson(z, mu),
        "p for log p": wide([0.25]),
        "the sign turned": -wide([0.25]).log(),
        "α and 1/α exchanged": log_p(1, mu, 1 / alpha),
    }
    got = attempt.negative_binomial(z, mu, alpha)
    agree(got, wide([math.log(0.25)]), of="negative_binomial of 1, mean 2, alpha 0.5", known=known)


@part("negative_binomial")
@each_dtype
def test_likelihood_is_a_product(attempt, draw, dtype):
    """The law of each count, with its gradients by mean and alpha; shapes from 1e-4 to 100, in float32, too."""
    alphas = [1e-4, 1e-3, 0.02, 0.3, 1.0, 7.0, 100.0]
    counts = [0, 1, 2, 5, 17, 60]
    rows = [(z, a) for a in alphas for z in counts]
    z = wide([z for z, _ in rows]).view(len(alphas), -1)
    alpha = wide([a for _, a in rows]).view(z.shape)
    mu = (z + 1) * (draw.normal(*z.shape) / 2).exp()
    z, mu, alpha = (loose(in_type(dtype, one)) for one in (z, mu, alpha))
    leaves = [mu.double().requires_grad_(), alpha.double().requires_grad_()]
    terms = [log_p(int(c), m, a) for c, m, a in zip(z.flatten(), *(x.flatten() for x in leaves), strict=True)]
    want = torch.stack(terms).view(z.shape)
    upstream = in_type(dtype, 1 + draw.uniform(*z.shape))
    slopes = torch.autograd.grad((want * upstream).sum(), leaves)
    got, grads = attempt.gradients("negative_binomial", z, mu, alpha, upstream=upstream)
    of = f"negative_binomial of counts {counts}, alpha from 1e-4 to 100, {dtype}"
    tol = 1e-4 if dtype == "float32" else 1e-6
    agree(got / want.detach(), torch.ones_like(want), tol=tol, dtype=False, of=f"{of}, divided by the right log p")
    agree(got, in_type(dtype, want.detach()), tol=1e-3, axes="a z", of=of)
    for name, one, slope in zip(("mean", "alpha"), grads[1:], slopes, strict=True):
        for row, alpha_of in enumerate(alphas):
            said = f"{of}, gradient by {name} at alpha {alpha_of}"
            agree(one[row], in_type(dtype, slope[row]), tol=1e-3, of=said)


@part("negative_binomial")
@each_dtype
def test_likelihood_of_small_means_and_large_counts(attempt, dtype):
    """Means of a billionth and counts of many thousands have the same law; nothing is cut off."""
    rows = [(1, 1e-9, 0.5), (3, 1e-9, 20.0), (2, 1e-5, 1e-3), (20_000, 18_000.0, 0.3), (31_000, 500.0, 2.0)]
    z, mu, alpha = (in_type(dtype, wide(column)) for column in zip(*rows, strict=True))
    leaves = [mu.double().requires_grad_(), alpha.double().requires_grad_()]
    told = []
    for (count, _, _), m, a in zip(rows, *leaves, strict=True):
        k = torch.arange(count, dtype=torch.float64)
        told.append((torch.log1p(a * k) - torch.log(k + 1)).sum() + count * m.log() - (count + 1 / a) * (a * m).log1p())
    slopes = torch.autograd.grad(sum(told), leaves)
    got, grads = attempt.gradients("negative_binomial", z, mu, alpha, upstream=torch.ones_like(z))
    for i, (count, mean, shape) in enumerate(rows):
        of = f"negative_binomial of {count:,}, mean {mean:g}, alpha {shape}, {dtype}"
        agree(got[i], in_type(dtype, told[i].detach()), tol=1e-4 if dtype == "float32" else 1e-7, of=of)
        for name, one, slope in zip(("mean", "alpha"), grads[1:], slopes, strict=True):
            agree(one[i], in_type(dtype, slope[i]), tol=1e-3, of=f"{of}, gradient by {name}")


def weissman(n, cells, laws=1):
    """How far the shares of n draws over so many cells may lie from their law: at most this, but once in 10⁷.

    laws: how many laws of one check share this alarm.
    """
    return math.sqrt(2 * (cells * math.log(2) + math.log(1e7 * laws)) / n)


def hold_law(shares, want, n, of, known=None, laws=1):
    """Hold that the shares of n draws, (cells,), are those of the law `want`."""
    limit = weissman(n, len(want), laws)
    off = (shares - want).abs().sum().item()
    if off > limit:
        near = [name for name, law in (known or {}).items() if (shares - law).abs().sum() <= limit]
        said = f"; this is what {near[0]} gives" if len(near) == 1 else ""
        raise Wrong(
            f"{of}: shares of {n:,} draws are {off:.2f} away from their law, more than {limit:.2f} by chance{said}"
        )


def whole(counts, shape, of, dtype=torch.float64):
    """Hold that these are whole numbers from 0, of this shape."""
    agree(torch.zeros_like(counts), torch.zeros(shape, dtype=dtype), of=f"{of}, form and dtype")
    assert ((counts >= 0) & (counts == counts.round())).all(), f"{of}: not all are whole numbers from 0"


@part("negative_binomial")
@each_dtype
def test_counts_have_the_law(attempt, draw, dtype):
    """Each entry is drawn from the law of its own mean and shape, bursts included."""
    n, cells = 6_000, 9
    mu, alpha = wide([0.7, 3.0, 5.0, 2.0, 4.0, 5.0]), wide([2.5, 0.6, 0.001, 8.0, 0.2, 100.0])
    asked = in_type(dtype, (mu.expand(n, -1), alpha.expand(n, -1)))
    got = attempt.run(drivers.counts_from, *asked, seed_from(draw))
    of = f"draw_counts of {n:,} rows of 6 means, {dtype}"
    whole(got["counts"], (n, 6), of, of_type(dtype))
    assert not got["recorded"], f"{of}: the counts are recorded for autograd"
    p = probabilities(mu, alpha, cells - 1)
    plain = poisson(torch.arange(cells - 1), mu[:, None]).exp()
    for i, (m, a) in enumerate(zip(mu.tolist(), alpha.tolist(), strict=True)):
        which = got["counts"][:, i].clamp(max=cells - 1).long()
        shares = torch.bincount(which, minlength=cells) / n
        law, other = (torch.cat([one, 1 - one.sum()[None]]) for one in (p[i], plain[i]))
        hold_law(shares, law, n, f"{of}, mean {m}, alpha {a}", {"a Poisson law": other})


@part("negative_binomial")
@pytest.mark.parametrize(("mean", "shape", "high", "end"), [(2_000, 0.3, 4_500, 30_000), (10**6, 1e-4, 0, 1_080_000)])
def test_large_counts_have_the_law(attempt, draw, mean, shape, high, end):
    """Means in the thousands, and up to a million, have the same law, both its tails included."""
    n, cells = 5_000, 12
    mu, alpha = wide([mean]), wide([shape])
    got = attempt.run(drivers.counts_from, mu.expand(n), alpha.expand(n), seed_from(draw))["counts"]
    of = f"draw_counts of {n:,} means of {mean:,}, alpha {shape}"
    whole(got, (n,), of)
    p = probabilities(mu, alpha, end)[0]
    ends = torch.searchsorted(p.cumsum(dim=0), torch.arange(1, cells) / cells).double()  # cells that are equally likely
    which = torch.bucketize(torch.arange(end).double(), ends)
    law = torch.zeros(cells, dtype=torch.float64).index_add(0, which, p)
    hold_law(torch.bincount(torch.bucketize(got, ends), minlength=cells) / n, law, n, of)
    assert got.max() > high, f"{of}: none above {high:,}, where 3 % are expected"


@part("negative_binomial")
def test_counts_are_drawn_in_torch(attempt, draw):
    """The work stays in torch: no mean leaves it."""
    mu, alpha = wide([30.0]).expand(601), wide([0.4]).expand(601)
    got, cost = attempt.cost(drivers.counts_from, mu, alpha, seed_from(draw))
    of = "draw_counts of 601 means"
    whole(got["counts"], (601,), of)
    # 601 counts of mean 30 and variance 390: their mean is beyond 22 ... 40 with a probability below 1e-15
    assert 22 < got["counts"].mean() < 40, f"{of} of 30: their mean is {got['counts'].mean():.1f}"
    in_torch(cost, of=of)


@part("negative_binomial")
def test_counts_come_from_the_generator(attempt, draw):
    """All numbers come from the generator, which moves on, and none is used twice."""
    mu, alpha = torch.full((97, 131), 80.0), torch.full((97, 131), 0.05)
    first = hold_generator(attempt, drivers.counts_alone, mu, alpha, seed=seed_from(draw), of="draw_counts")
    middle = first.median().item()
    share = probabilities(wide([80.0]), wide([0.05]), int(middle) + 1).sum().item()
    hold_unrepeated(first > middle, 1 - share, "draw_counts of (97, 131), whether a count is large")


@part("negative_binomial")
def test_other_counts_of_that_size(attempt, reference, draw):
    """Each call takes its own counts, means and shapes, whatever came before in the same sizes."""
    asked = [
        (draw.integers(0, 30, 3, 7).double(), draw.uniform(3, 7, low=0.5, high=20.0), draw.uniform(3, 7, low=0.1))
        for _ in range(2)
    ]
    hold_again(attempt, reference, "negative_binomial", *asked, of="negative_binomial of counts (3, 7)", tol=1e-7)


@part("negative_binomial")
def test_no_part_of_many_counts_repeats_another(attempt, draw):
    """Of 64 x 97 counts no row and no stretch comes again, in the reverse order neither."""
    mean, alpha = torch.full((64, 97), 5.0).double(), torch.full((64, 97), 3.0).double()
    got = attempt.run(drivers.counts_from, mean, alpha, seed_from(draw))["counts"]
    whole(got, (64, 97), "draw_counts of (64, 97)")
    hold_unrepeated(got == 0, (1 / 16) ** (1 / 3), "draw_counts of (64, 97), mean 5, alpha 3, whether a count is 0")


@part("negative_binomial")
def test_counts_stay_when_others_are_drawn(attempt, draw):
    """The counts of one call are not overwritten by those of the next."""
    one, other = attempt.run(
        drivers.counts_twice, torch.full((40, 7), 80.0), torch.full((40, 7), 0.05), seed_from(draw)
    )
    assert not torch.equal(one, other), "two draws of (40, 7) counts, looked at after both calls, are the same"


# --- DeepAR -----------------------------------------------------------------------------------------------------------


def state_of(draw, x, hidden, layers=1, dtype="float64"):
    """Random parameters of a DeepAR, by their names."""
    state = {}
    for layer in range(layers):
        width = hidden if layer else 1 + x
        for name, shape in (("weight_ih", (4 * hidden, width)), ("weight_hh", (4 * hidden, hidden))):
            state[f"lstm.{name}_l{layer}"] = draw.normal(*shape)
        for name in ("bias_ih", "bias_hh"):
            state[f"lstm.{name}_l{layer}"] = draw.normal(4 * hidden, scale=0.5)
    for head in ("mean_head", "alpha_head"):
        state |= {f"{head}.weight": draw.normal(1, hidden), f"{head}.bias": draw.normal(1)}
    return in_type(dtype, state)


def remembering(state, covariates):
    """That network and its covariates, such that the first layer keeps what the first step gives it, for ever."""
    n = state["lstm.weight_hh_l0"].shape[1]
    state = {name: value.clone() for name, value in state.items()}
    state["lstm.weight_ih_l0"][: 2 * n, :] = state["lstm.weight_hh_l0"][: 2 * n] = 0.0
    state["lstm.weight_ih_l0"][:n, 1] = 40.0  # the first covariate opens the input gate
    state["lstm.bias_ih_l0"][:n], state["lstm.bias_ih_l0"][n : 2 * n] = -20.0, 20.0
    covariates = covariates.clone()
    covariates[..., 0] = 0.0
    covariates[:, 0] = wide([[1.0, 2.0], [1.0, -2.0], [1.0, 3.0]])
    return state, covariates


def lstm_step(state, x, past=None):
    """One step of a stacked LSTM: x (rows, i), past a list of (h, c) by layer, or None -> output, the new list."""
    now = []
    for layer in range(sum(name.startswith("lstm.weight_ih") for name in state)):
        w, u, b, d = (state[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, c = past[layer] if past else (x.new_zeros(len(x), u.shape[1]),) * 2
        i, f, g, o = (x @ w.T + b + h @ u.T + d).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        x = o.sigmoid() * c.tanh()
        now.append((x, c))
    return x, now


def softplus(x):
    return x.exp().log1p()


def heads_of(state, out, scale, root=True):
    """μ and α of outputs (rows, hidden) and scales (rows,)."""
    mean = scale * softplus(out @ state["mean_head.weight"][0] + state["mean_head.bias"])
    alpha = softplus(out @ state["alpha_head.weight"][0] + state["alpha_head.bias"])
    return mean, alpha / scale.sqrt() if root else alpha


def scale_of(past):
    return wide([1 + (mean_of(row) if any(v == v for v in row) else 0.0) for row in past.tolist()])


def laws_of(state, past, future, covariates, scale=None, shift=1, root=True, divide=True):
    """Laws with teacher forcing, step by step; the rest of the arguments say what a mistake does otherwise."""
    scale = scale_of(past) if scale is None else scale
    values = torch.cat([past, future], dim=1).nan_to_num(0.0)
    hidden, mean, alpha = None, [], []
    for t in range(values.shape[1]):
        read = values[:, t - shift] if t >= shift else torch.zeros(len(values), dtype=values.dtype)
        x = torch.cat([(read / scale if divide else read)[:, None], covariates[:, t]], dim=1)
        out, hidden = lstm_step(state, x, hidden)
        if t >= past.shape[1]:
            one = heads_of(state, out, scale, root)
            mean.append(one[0])
            alpha.append(one[1])
    return {"mean": torch.stack(mean, dim=1), "alpha": torch.stack(alpha, dim=1)}


def series_of(draw, b, c, h, x):
    """Counts of series of unlike size, some missing, and covariates."""
    size = 4.0 ** torch.arange(b)[:, None]
    both = (size * 3 * draw.uniform(b, c + h)).round()
    past, future = holes(draw, both[:, :c]), holes(draw, both[:, c:])
    return past, future, draw.normal(b, c + h, x)


def law_mistakes(state, past, future, covariates):
    both = torch.cat([past, future], dim=1)
    args = (state, past, future, covariates)
    return {
        "a scale of past and future": lambda: laws_of(*args, scale=scale_of(both)),
        "a scale without the 1": lambda: laws_of(*args, scale=scale_of(past) - 1),
        "steps that read their own target": lambda: laws_of(*args, shift=0),
        "alpha without √ν": lambda: laws_of(*args, root=False),
        "inputs that are not divided by ν": lambda: laws_of(*args, divide=False),
        "a past that is one step short": lambda: laws_of(*args, shift=2),
        "no scale": lambda: laws_of(*args, scale=torch.ones(len(past), dtype=torch.float64)),
    }


@part("DeepAR")
@each_dtype
def test_scale_is_that_of_the_past(attempt, draw, dtype):
    """1 + the mean of the seen values of the past; 1 if none is seen."""
    past = holes(draw, (50 * draw.uniform(5, 7)).round(), 0.4)
    past[1], past[3] = NAN, 0
    want = scale_of(past)[:, None]
    zeros = 1 + past.nan_to_num(0.0).mean(dim=1, keepdim=True)
    known = {"missing values as 0": zeros, "a mean without the 1": want - 1} if dtype == "float64" else None
    got = attempt.run(drivers.scales, state_of(draw, 2, 3, dtype=dtype), in_type(dtype, past))
    agree(got, in_type(dtype, want), axes="b 1", of=f"scale of 5 series, c 7, {dtype}", known=known)


@part("DeepAR")
@each_dtype
@pytest.mark.parametrize(
    ("b", "c", "h", "x", "hidden", "layers"), [(3, 5, 4, 2, 7, 1), (2, 7, 1, 1, 3, 2), (4, 1, 5, 3, 2, 1)]
)
def test_laws_given_the_true_values_before(attempt, draw, b, c, h, x, hidden, layers, dtype):
    """Mean and shape of each step ahead are those of an LSTM that reads true values, shifted by one and scaled."""
    state = state_of(draw, x, hidden, layers, dtype)
    data = tuple(loose(in_type(dtype, one)) for one in series_of(draw, b, c, h, x))
    exact = ({name: one.double() for name, one in state.items()}, *(one.double() for one in data))
    want = in_type(dtype, laws_of(*exact))
    known = law_mistakes(*exact) if (b, dtype) == (3, "float64") else None
    got = attempt.run(drivers.laws, state, *data)
    of = f"DeepAR of {b} series, c {c}, h {h}, {x} covariates, {hidden} units in {layers} layers, {dtype}"
    agree(got, want, axes="b h", tol=1e-3 if dtype == "float32" else 1e-8, of=of, known=known)
    if b == 3:  # and nothing of a long past is left out
        past, future, covariates = series_of(draw, b, 71, h, x)
        network, covariates = remembering(exact[0], covariates)
        row = in_type(dtype, (network, past, future, covariates))
        want = in_type(dtype, laws_of(*in_type("float64", row)))
        of = f"DeepAR of 3 series, c 71, h {h}, whose cells keep what the first step gives them, {dtype}"
        agree(attempt.run(drivers.laws, *row), want, axes="b h", tol=1e-3 if dtype == "float32" else 1e-8, of=of)


@part("DeepAR")
def test_no_target_reaches_its_own_law(attempt, draw):
    """Another target changes the laws of later steps alone, and the last one none."""
    state, (past, future, covariates) = state_of(draw, 2, 5), series_of(draw, 2, 4, 5, 2)
    future = future.nan_to_num(1.0)
    rows = [(state, past, future, covariates)]
    for t in range(5):
        other = future.clone()
        other[:, t] += 40
        rows.append((state, past, other, covariates))
    base, *others = attempt.each(drivers.laws, rows)
    agree(base, laws_of(*rows[0]), axes="b h", of="DeepAR of 2 series, c 4, h 5")
    for t, (row, got) in enumerate(zip(rows[1:], others, strict=True)):
        of = f"DeepAR with another target at step {t} of 5"
        agree(
            {k: v[:, : t + 1] for k, v in got.items()},
            {k: v[:, : t + 1] for k, v in base.items()},
            of=f"{of}, up to it",
        )
        agree(got, laws_of(*row), of=f"{of}, all steps")


@part("DeepAR")
@each_dtype
def test_heads_of_any_output(attempt, draw, dtype):
    """Mean and shape are ν · softplus and softplus / √ν as they stand, be they a billionth or a hundred."""
    state = state_of(draw, 1, 3)
    out = torch.tensor([-21.0, -9.0, 0.5, 12.0, 90.0], dtype=torch.float64)[:, None] * torch.ones(2, 1, 3)
    state["mean_head.weight"], state["mean_head.bias"] = wide([[0.5, 0.3, 0.2]]), wide([0.1])
    state["alpha_head.weight"], state["alpha_head.bias"] = wide([[0.2, 0.2, 0.6]]), wide([-0.2])
    scale = wide([[1.0], [30.0]])
    state, out, scale = in_type(dtype, (state, out, scale))
    exact = in_type("float64", state)
    told = [heads_of(exact, out[:, i].double(), scale[:, 0].double()) for i in range(5)]
    got = attempt.run(drivers.law_of_outputs, state, out, scale)
    for name, one, want in zip(("mean", "alpha"), got, zip(*told, strict=True), strict=True):
        for i, w in enumerate(want):
            said = f"{name} of an output whose numbers are {out[0, i, 0]:g}, ν 1 and 30, {dtype}"
            agree(one[:, i], in_type(dtype, w), axes="b", tol=1e-3 if dtype == "float32" else 1e-7, of=said)


@part("DeepAR")
def test_a_model_keeps_nothing_between_calls(attempt, draw):
    """One model, asked of other series of the same sizes, says their laws."""
    state, rows = state_of(draw, 2, 3), [series_of(draw, 3, 5, 4, 2) for _ in range(3)]
    got = attempt.run(drivers.laws_in_turn, state, rows)
    for i, row in enumerate(rows):
        want = laws_of(state, *row)
        agree(got[i], (want["mean"], want["alpha"]), of=f"DeepAR of 3 series, c 5, h 4, call {i + 1} of one model")


@part("DeepAR")
@each_dtype
def test_missing_targets_cost_nothing(attempt, draw, dtype):
    """The loss is the mean over seen targets, and no gradient is NaN."""
    state, (past, future, covariates) = state_of(draw, 2, 3), series_of(draw, 3, 6, 5, 2)
    future[:, 2] = NAN
    past[0] = NAN
    leaves = {name: one.requires_grad_() for name, one in in_type(dtype, state).items()}
    leaves = {name: one.detach().double().requires_grad_() for name, one in leaves.items()}
    told = laws_of(leaves, past, future, covariates)
    seen = ~future.isnan()
    terms = [log_p(int(z), m, a) for z, m, a in zip(future[seen], told["mean"][seen], told["alpha"][seen], strict=True)]
    loss = -torch.stack(terms).mean()
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    want = {"loss": loss.detach(), **dict(zip(leaves, slopes, strict=True))}
    known = {
        "a mean over missing targets, too": want["loss"] * seen.double().mean(),
        "a sum": want["loss"] * seen.sum(),
        "the sign turned": -want["loss"],
    }
    got = attempt.run(drivers.training_loss, in_type(dtype, state), *in_type(dtype, (past, future, covariates)))
    of = f"loss of DeepAR, 3 series, c 6, h 5, some values missing, {dtype}"
    agree(got["loss"], in_type(dtype, want["loss"]), of=of, known=known if dtype == "float64" else None)
    tol = 1e-3 if dtype == "float32" else 1e-7
    for name in state:
        agree(got.get(name), in_type(dtype, want[name]), tol=tol, of=f"{of}, gradient by {name}")


@part("DeepAR")
def test_the_loss_of_other_series_of_that_size(attempt, reference, draw):
    """One model, asked for the loss of other series of the same sizes, and under no_grad, says theirs."""
    state, rows = state_of(draw, 2, 3), [series_of(draw, 3, 5, 4, 2) for _ in range(3)]
    got = attempt.run(drivers.losses_in_turn, state, [tuple(map(loose, row)) for row in rows])
    for i, (past, future, covariates) in enumerate(rows):
        want = laws_of(state, past, future, covariates)
        seen = ~future.isnan()
        laws = zip(future[seen], want["mean"][seen], want["alpha"][seen], strict=True)
        terms = [log_p(int(z), mean, alpha) for z, mean, alpha in laws]
        of = f"loss of DeepAR under no_grad, 3 series, c 5, h 4, not contiguous, call {i + 1} of one model"
        agree(got[i], -torch.stack(terms).mean(), tol=1e-7, of=of)


@part("DeepAR")
def test_scales_of_other_series_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    turns = (draw.normal(5, 7),), (draw.normal(5, 7),)
    given = (state_of(draw, 2, 3),)
    hold_turns(attempt, reference, drivers.scales_in_turn, *given, turns=turns, of="scale of 5 series, c 7")


# --- sample_paths -----------------------------------------------------------------------------------------------------


EDGES = (1, 4)
"""Three kinds of counts: 0, then 1 to 3, then 4 and more."""
MANY = 45
"""A count that no path of the law test exceeds but with a probability below 1e-6."""


def echo_state():
    """A DeepAR whose next count hangs on the last one: three units, one of them opened by what was drawn."""
    generator = torch.Generator().manual_seed(27)
    state = {}
    for name, shape in (("weight_ih", (12, 2)), ("weight_hh", (12, 3))):
        state[f"lstm.{name}_l0"] = 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    for name in ("bias_ih", "bias_hh"):
        state[f"lstm.{name}_l0"] = torch.zeros(12, dtype=torch.float64)
    state["lstm.weight_ih_l0"][6] = wide([6.0, 0.0])  # unit 0 rises with z / ν,
    state["lstm.weight_ih_l0"][7] = wide([0.0, 3.0])  # unit 1 with the covariate
    state["lstm.bias_ih_l0"][6] = -2.0
    state["lstm.weight_ih_l0"][8] = wide([2.0, -1.5])  # unit 2 remembers both
    state["lstm.bias_ih_l0"][:3], state["lstm.bias_ih_l0"][9:] = 3.0, 3.0
    state["lstm.bias_ih_l0"][3:6] = wide([-3.0, -2.0, 1.5])
    state["mean_head.weight"], state["mean_head.bias"] = wide([[2.6, 1.2, 1.5]]), wide([-2.5])
    state["alpha_head.weight"], state["alpha_head.bias"] = wide([[-0.5, 0.3, 0.2]]), wide([-0.5])
    return state


def kind_of(counts):
    return sum((counts >= edge).long() for edge in EDGES)


def law_of_paths(state, past, covariates, feed="draw", divide=True, shift=0):
    """The joint law of the kinds of three steps of one series, (27,): all counts up to MANY, weighed.

    feed, divide and shift say what a mistake feeds back, and which covariates it reads.
    """
    scale, c = scale_of(past), past.shape[1]
    values = torch.cat([torch.zeros(1, 1, dtype=torch.float64), past.nan_to_num(0.0)], dim=1)
    hidden = None
    for t in range(c + 1):
        x = torch.cat([values[:, t : t + 1] / scale[:, None], covariates[:, t]], dim=1)
        out, hidden = lstm_step(state, x, hidden)
    counts = torch.arange(MANY, dtype=torch.float64)
    kinds = kind_of(counts)
    weight, code = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    for step in range(3):
        rows = len(out)
        mean, alpha = heads_of(state, out, scale.expand(rows))
        weight = (weight[:, None] * probabilities(mean, alpha, MANY)).flatten()
        code = (3 * code[:, None] + kinds).flatten()
        if step == 2:
            break
        draws = counts.repeat(rows)
        read = {"draw": draws, "mean": mean.repeat_interleave(MANY), "last": past[:, -1].expand(len(draws))}[feed]
        now = covariates[:, c + step + 1 - shift].expand(len(draws), -1)
        x = torch.cat([(read / scale if divide else read)[:, None], now], dim=1)
        out, hidden = lstm_step(state, x, [tuple(v.repeat_interleave(MANY, dim=0) for v in pair) for pair in hidden])
    return torch.zeros(27, dtype=torch.float64).index_add(0, code, weight)


def echo_series():
    past = wide([[3, 7, NAN, 2, 1], [9, 2, 4, 12, 8]])
    covariates = (
        wide([[[0.3], [-1.0], [0.5], [1.0], [-0.5], [0.2], [1.5], [-1.2]]]).expand(2, -1, -1)
        * wide([1, -0.7])[:, None, None]
    )
    return past, covariates


@part("sample_paths")
def test_paths_have_the_joint_law(attempt, draw):
    """Three steps of 9,000 paths, of two series at once: each path goes on from its own draws, divided by ν."""
    count, state = 9_000, echo_state()
    past, covariates = echo_series()
    got = attempt.run(drivers.paths_from, state, past, covariates, count, seed_from(draw))
    of = f"sample_paths of 2 series, c 5, h 3, {count:,} paths"
    whole(got["paths"], (count, 2, 3), of)
    for i in range(2):
        args = (state, past[i : i + 1], covariates[i : i + 1])
        known = {
            "the mean fed back": law_of_paths(*args, feed="mean"),
            "draws that are fed back without dividing by ν": law_of_paths(*args, divide=False),
            "the last value of the past fed back": law_of_paths(*args, feed="last"),
            "covariates of the step before": law_of_paths(*args, shift=1),
        }
        code = (kind_of(got["paths"][:, i]) * torch.tensor([9, 3, 1])).sum(dim=1)
        hold_law(torch.bincount(code, minlength=27) / count, law_of_paths(*args), count, f"{of}, series {i}", known)


@part("sample_paths")
def test_late_steps_go_on_from_the_path(attempt, draw):
    """Eleven steps: each count has the law that teacher forcing gives after the path before it."""
    count, h, state, cells = 2_500, 11, echo_state(), 6
    past, _ = echo_series()
    covariates = draw.uniform(2, 5 + h, 1, low=-1.0, high=1.0)
    got = attempt.run(drivers.paths_from, state, past, covariates, count, seed_from(draw))["paths"]
    of = f"sample_paths of 2 series, c 5, h {h}, {count:,} paths"
    whole(got, (count, 2, h), of)
    for i in range(2):
        told = laws_of(state, past[i].expand(count, -1), got[:, i], covariates[i].expand(count, -1, -1))
        for step in range(3, h):
            p = probabilities(told["mean"][:, step], told["alpha"][:, step], MANY)
            z = got[:, i, step].clamp(max=MANY - 1).long()[:, None]
            below = (p.cumsum(dim=1) - p).gather(1, z) + p.gather(1, z) * draw.uniform(count, 1)  # uniform, if right
            cell = (below[:, 0] * cells).long().clamp(max=cells - 1)
            before = kind_of(got[:, i, step - 1])
            for kind in range(3):
                some = cell[before == kind]
                if len(some) > 300:
                    said = f"{of}, series {i}, step {step + 1}, sixths of its law, given the path before"
                    shares = torch.bincount(some, minlength=cells) / len(some)
                    hold_law(shares, torch.full((cells,), 1 / cells).double(), len(some), said, laws=6 * h)


@part("sample_paths")
def test_one_model_draws_paths_of_other_pasts(attempt, draw):
    """Two pasts of the same sizes, asked of one model: the paths of each go on from its own."""
    count, state = 4_000, echo_state()
    past, covariates = echo_series()
    pasts = [past, past.flip(0), (past / 3).round()]
    got = attempt.run(drivers.paths_in_turn, state, pasts, covariates, count, seed_from(draw))
    for call, one in enumerate(pasts):
        of = f"sample_paths of 2 series, c 5, h 3, {count:,} paths, call {call + 1} with one model"
        whole(got[call], (count, 2, 3), of)
        for i in range(2):
            want = law_of_paths(state, one[i : i + 1], covariates[i : i + 1])
            code = (kind_of(got[call][:, i]) * torch.tensor([9, 3, 1])).sum(dim=1)
            hold_law(torch.bincount(code, minlength=27) / count, want, count, f"{of}, series {i}", laws=6)


@part("sample_paths")
def test_paths_are_independent(attempt, draw):
    """Two paths, two series, and two calls have draws of their own."""
    count, state = 3_000, echo_state()
    past, covariates = (one.repeat(2, *(1,) * (one.dim() - 1)) for one in echo_series())
    out = attempt.run(drivers.two_calls, state, past, covariates, count, seed_from(draw))
    whole(out, (2, count, 4, 3), f"two calls of sample_paths of 4 series, h 3, {count:,} paths")
    # two series, each there twice; pairs of paths and both calls side by side: 16 draws that have nothing in common
    first = heads_of(state, *first_step(state, past, covariates))
    middle = [int((probabilities(m, a, MANY).cumsum(dim=-1) < 0.5).sum()) for m, a in zip(*first, strict=True)]
    chances = [probabilities(m, a, k + 1).sum().item() for m, a, k in zip(*first, middle, strict=True)]
    for i in (0, 1):
        events = (out[:, :, i::2, 0] <= middle[i]).permute(1, 0, 2).reshape(count // 2, -1)
        of = f"sample_paths, series {i}, which is there twice: whether the first count is at most {middle[i]}"
        hold_independent(events, chances[i], of, name=lambda k: f"path {k // 4}, call {k // 2 % 2}, copy {k % 2}")
    large = (out[:, :, 1::2, 0] > middle[1]).permute(0, 2, 1).flatten(0, 1)  # by call and copy: 3,000 paths each
    hold_unrepeated(large, 1 - chances[1], "sample_paths, series 1, whether the first count of a path is large")
    law = law_of_paths(state, past[:1], covariates[:1]).view(3, 3, 3)
    for step in (1, 2):
        some = (out[:, :, ::2, step] > 0).permute(0, 2, 1).flatten(0, 1)
        chance = 1 - law.select(step, 0).sum().item()
        hold_unrepeated(some, chance, f"sample_paths, series 0, whether the count at step {step + 1} is above 0")


def first_step(state, past, covariates):
    """The LSTM's output of the first step ahead, and the scales."""
    scale, hidden = scale_of(past), None
    values = torch.cat([torch.zeros(len(past), 1, dtype=torch.float64), past.nan_to_num(0.0)], dim=1)
    for t in range(values.shape[1]):
        x = torch.cat([values[:, t : t + 1] / scale[:, None], covariates[:, t]], dim=1)
        out, hidden = lstm_step(state, x, hidden)
    return out, scale


@part("sample_paths")
def test_paths_come_from_the_generator(attempt, draw):
    """All numbers come from the generator, which moves on; a network of two layers, and one step ahead, too."""
    past, _, covariates = series_of(draw, 3, 4, 5, 2)
    past = past.nan_to_num(5.0) + 20
    for layers, h in ((2, 5), (1, 1)):
        state = state_of(draw, 2, 4, layers)
        of = f"sample_paths of 3 series, h {h}, {layers} layers"
        args = (state, past, covariates[:, : 4 + h], 11)
        hold_generator(attempt, drivers.paths, *args, seed=seed_from(draw), of=of)


@part("sample_paths")
@each_dtype
def test_paths_of_a_sharp_law(attempt, draw, dtype):
    """With large means and hardly any dispersion, paths stay near the laws that teacher forcing gives along them."""
    state = state_of(draw, 2, 4, 2)
    state["alpha_head.weight"], state["alpha_head.bias"] = torch.zeros(1, 4, dtype=torch.float64), wide([-3.3])
    state["mean_head.weight"], state["mean_head.bias"] = 3 * state["mean_head.weight"], wide([1.0])
    short, long = (series_of(draw, 3, c, 5, 2) for c in (4, 71))
    for (past, _, covariates), network in ((long, remembering(state, long[2])), (short, (state, short[2]))):
        past, state, covariates = loose((past + 3) * 2_000), network[0], loose(network[1])
        got = attempt.run(drivers.paths_from, *in_type(dtype, (state, past, covariates)), 7, seed_from(draw))
        of = f"sample_paths of 3 series of large counts, c {past.shape[1]}, 7 paths, {dtype}"
        whole(got["paths"], (7, 3, 5), of, of_type(dtype))
        exact = in_type("float64", in_type(dtype, state))
        for path in got["paths"].double():
            told = laws_of(exact, in_type(dtype, past).double(), path, in_type(dtype, covariates).double())
            z = (path - told["mean"]) / (told["mean"] + told["alpha"] * told["mean"].square()).sqrt()
            # 105 numbers that are nearly normal: one beyond 7.5 in the heavier tail has a probability below 1e-7
            worst = z.abs().max().item()
            assert worst < 7.5, f"{of}: a count lies {worst:.1f} deviations from the mean that the path before it gives"
    assert not got["recorded"], f"{of}: recorded for autograd"
    assert not got["changed"], f"{of}: it changed {', '.join(got['changed'])}"
    assert got["asks"], f"{of}: parameters got a gradient, or ask for none any more"
    assert got["training"], f"{of}: the model came in training mode, and is in eval mode now"
    assert not got["held"], f"{of}: the model holds {', '.join(got['held'])} now"
    got = attempt.run(drivers.paths_from, *in_type(dtype, (state, past, covariates)), 2, seed_from(draw), False)
    whole(got["paths"], (2, 3, 5), of, of_type(dtype))
    assert not got["training"], f"{of}: the model came in eval mode, and is in training mode now"


@part("sample_paths")
def test_the_past_is_read_once(attempt, draw):
    """The LSTM reads the past of each series once, and then one step at a time for each path."""
    b, c, h, x, hidden, count = 3, 37, 5, 2, 7, 41
    state, (past, _, covariates) = state_of(draw, x, hidden), series_of(draw, b, c, h, x)
    got, cost = attempt.cost(drivers.paths_cost, state, past, covariates, count, seed_from(draw))
    of = f"sample_paths of {b} series, c {c}, h {h}, {count} paths"
    whole(got, (count, b, h), of)
    in_torch(cost, of=of)
    step = 2 * 4 * hidden * (1 + x + hidden) + 2 * 2 * hidden
    known = {
        "the past read for each path": step * b * count * (c + h),
        "all before it read again at each step": step * b * count * sum(range(c + 1, c + h + 1)),
    }
    at_most(cost.flops, step * (b * (c + 1) + b * count * h), of=f"operations of LSTM and heads, {of}", known=known)


# --- GatedResidualNetwork ---------------------------------------------------------------------------------------------


def grn_state(draw, i, d, o, k=0, prefix=""):
    """Random parameters of a gated residual network."""
    shapes = {"fc1": (d, i), "fc2": (d, d), "gate": (2 * o, d)} | ({"skip": (o, i)} if i != o else {})
    state = {}
    for name, shape in shapes.items():
        state |= {f"{prefix}{name}.weight": draw.normal(*shape), f"{prefix}{name}.bias": draw.normal(shape[0])}
    state |= {f"{prefix}norm.weight": 1 + draw.uniform(o), f"{prefix}norm.bias": draw.normal(o)}
    return state | ({f"{prefix}context.weight": draw.normal(d, k)} if k else {})


def elu(x):
    return torch.where(x > 0, x, x.clamp(max=0).expm1())


def grn_of(state, x, context=None, prefix="", wrong=""):
    """A gated residual network by its formula; `wrong` is the mistake to make."""
    s = {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
    told = torch.zeros((), dtype=x.dtype)
    if context is not None and wrong != "context":
        told = context @ s["context.weight"].T
        told = told.reshape(len(x), *(1,) * (x.dim() - 2), -1)
    first = x @ s["fc1.weight"].T + s["fc1.bias"]
    act = {"relu": torch.relu, "linear": lambda v: v, "tanh": torch.tanh}.get(wrong, elu)
    inner = act(first) + told if wrong == "late" else act(first + told)
    both = (inner @ s["fc2.weight"].T + s["fc2.bias"]) @ s["gate.weight"].T + s["gate.bias"]
    value, opening = both.chunk(2, dim=-1)
    if wrong == "halves":
        value, opening = opening, value
    gated = value if wrong == "open" else value * opening.sigmoid()
    skip = x @ s["skip.weight"].T + s["skip.bias"] if "skip.weight" in s else x
    out = gated if wrong == "no skip" else skip + gated
    if wrong == "no norm":
        return out
    out = (out - out.mean(dim=-1, keepdim=True)) / (out.var(dim=-1, keepdim=True, correction=0) + 1e-5).sqrt()
    return out * s["norm.weight"] + s["norm.bias"]


GRN_MISTAKES = {
    "the halves of the gate exchanged": "halves",
    "ReLU for ELU": "relu",
    "no ELU": "linear",
    "a context that is added after the ELU": "late",
    "a gate that is always open": "open",
    "no skip": "no skip",
    "no normalisation": "no norm",
    "the context left out": "context",
}


@part("GatedResidualNetwork")
@each_dtype
@pytest.mark.parametrize(
    ("shape", "d", "o", "k"), [((2, 7, 3), 5, 4, 2), ((3, 5), 4, 5, 3), ((2, 3, 5, 6), 7, 6, 1), ((4, 2), 3, 7, 0)]
)
def test_a_gated_step_from_the_input(attempt, draw, shape, d, o, k, dtype):
    """norm( skip(x) + value · sigmoid(opening) ), with the context inside the ELU, the same at all places."""
    state = in_type(dtype, grn_state(draw, shape[-1], d, o, k))
    x = loose(in_type(dtype, draw.normal(*shape)))
    context = loose(in_type(dtype, draw.normal(shape[0], k))) if k else None
    exact = (in_type("float64", state), x.double(), None if context is None else context.double())
    known = {name: lambda w=w: grn_of(*exact, wrong=w) for name, w in GRN_MISTAKES.items()}
    got = attempt.run(drivers.gated, state, x, context)
    of = f"GatedResidualNetwork of x {shape}, {d} hidden, {o} outputs, {k} context, {dtype}"
    tol = 1e-3 if dtype == "float32" else 1e-8
    want = in_type(dtype, grn_of(*exact))
    agree(got, want, tol=tol, of=of, known=known if (d, dtype) == (5, "float64") else None)


@part("GatedResidualNetwork")
def test_a_context_may_be_left_out(attempt, draw):
    """Without a context its term is left out, also where the network could read one."""
    state, x = grn_state(draw, 3, 5, 4, 2), draw.normal(2, 7, 3)
    agree(
        attempt.run(drivers.gated, state, x), grn_of(state, x), of="GatedResidualNetwork(3, 5, 4, 2) without a context"
    )


@part("GatedResidualNetwork")
def test_gradients_flow_through_gate_and_skip(attempt, draw):
    """x and the context get their gradients."""
    state, x, context = grn_state(draw, 3, 5, 4, 2), draw.normal(2, 7, 3), draw.normal(2, 2)
    upstream = draw.normal(2, 7, 4)
    leaves = [one.clone().requires_grad_() for one in (x, context)]
    slopes = torch.autograd.grad((grn_of(state, *leaves) * upstream).sum(), leaves)
    got, grads = attempt.gradients(drivers.gated, state, x, context, upstream=upstream)
    agree(got, grn_of(state, x, context), of="GatedResidualNetwork(3, 5, 4, 2) of x (2, 7, 3)")
    for name, got, want in zip(("x", "the context"), grads[1:], slopes, strict=True):
        agree(got, want, of=f"GatedResidualNetwork(3, 5, 4, 2), gradient by {name}")


@part("GatedResidualNetwork")
def test_a_network_of_now(attempt, draw):
    """One network, asked of other inputs of the same sizes, and under no_grad, gives theirs."""
    state = grn_state(draw, 3, 5, 4, 2)
    rows = [(draw.normal(2, 7, 3), draw.normal(2, 2)) for _ in range(3)]
    got = attempt.run(drivers.in_turn, "GatedResidualNetwork", state, (3, 5, 4, 2), rows)
    for i, row in enumerate(rows):
        of = f"GatedResidualNetwork(3, 5, 4, 2) under no_grad, x (2, 7, 3), call {i + 1} of one network"
        agree(got[i], grn_of(state, *row), of=of)


# --- VariableSelection ------------------------------------------------------------------------------------------------


def selection_state(draw, v, d, k=0):
    """Random parameters of a variable selection."""
    state = grn_state(draw, v * d, d, v, k, "weight_grn.")
    for j in range(v):
        state |= grn_state(draw, d, d, d, 0, f"variable_grns.{j}.")
    return state


def selection_of(state, x, context=None, mask=None, wrong=""):
    """A variable selection by its formula; `wrong` is the mistake to make."""
    b, _, v, _ = x.shape
    mask = torch.ones(b, v, dtype=torch.bool) if mask is None else mask
    filled = torch.where(mask[:, None, :, None], x, 0.0)
    read = x.nan_to_num(0.0) if wrong == "speaks" else filled
    scores = grn_of(state, read.flatten(2), context, "weight_grn.")
    if wrong != "unmasked":
        scores = scores.masked_fill(~mask[:, None], -math.inf)
    weights = scores.softmax(dim=-1)
    if wrong == "not renormalised":
        weights = grn_of(state, read.flatten(2), context, "weight_grn.").softmax(dim=-1) * mask[:, None]
    if wrong == "sigmoid":
        weights = scores.sigmoid()
    if wrong == "uniform":
        weights = (mask / mask.sum(dim=1, keepdim=True)).double()[:, None].expand_as(scores)
    told = [grn_of(state, filled[:, :, j], None, f"variable_grns.{j}.") for j in range(v)]
    if wrong == "inputs":
        told = [filled[:, :, j] for j in range(v)]
    if wrong == "shared":
        told = [grn_of(state, filled[:, :, j], None, "variable_grns.0.") for j in range(v)]
    return sum(weights[:, :, j, None] * one for j, one in enumerate(told)), weights


SELECTION_MISTAKES = {
    "sigmoids for the softmax": "sigmoid",
    "equal weights": "uniform",
    "the variables as they come in": "inputs",
    "one network for all variables": "shared",
}
MASK_MISTAKES = {
    "a mask that is not heard": "unmasked",
    "weights that are masked after the softmax": "not renormalised",
    "absent variables that speak through the scores": "speaks",
}


def masks_of(draw, b, v):
    """A mask with a different number of variables in each row."""
    order = [draw.permutation(v) for _ in range(b)]
    return torch.stack([torch.isin(torch.arange(v), one[: 1 + i % v]) for i, one in enumerate(order)])


@part("VariableSelection")
@each_dtype
@pytest.mark.parametrize(("b", "t", "v", "d", "k"), [(2, 7, 3, 4, 5), (3, 2, 5, 2, 0), (2, 3, 1, 4, 2)])
def test_weights_choose_among_variables(attempt, draw, b, t, v, d, k, dtype):
    """Weights come from all variables and the context, values from one network for each."""
    state, x = in_type(dtype, selection_state(draw, v, d, k)), loose(in_type(dtype, draw.normal(b, t, v, d)))
    context = in_type(dtype, draw.normal(b, k)) if k else None
    exact = (in_type("float64", state), x.double(), None if context is None else context.double())
    known = {name: lambda w=w: selection_of(*exact, wrong=w) for name, w in SELECTION_MISTAKES.items()}
    got = attempt.run(drivers.selected, state, x, context)
    of = f"VariableSelection of x ({b}, {t}, {v}, {d}), {k} context, {dtype}"
    want = in_type(dtype, selection_of(*exact))
    tol = 1e-3 if dtype == "float32" else 1e-8
    agree(got, want, tol=tol, of=of, known=known if (t, dtype) == (7, "float64") else None)


@part("VariableSelection")
def test_a_masked_variable_does_not_matter(attempt, draw):
    """What stands in the place of an absent variable, be it NaN, changes nothing; the others' weights add up to 1."""
    b, t, v, d, k = 4, 3, 5, 2, 2
    state, x, context, mask = (
        selection_state(draw, v, d, k),
        draw.normal(b, t, v, d),
        draw.normal(b, k),
        masks_of(draw, b, v),
    )
    places = {"random": 7 * x, "NaN": NAN, "infinite": math.inf}
    for name, place in places.items():
        other = torch.where(mask[:, None, :, None], x, place)
        known = {
            n: lambda w=w, other=other: selection_of(state, other, context, mask, w) for n, w in MASK_MISTAKES.items()
        }
        got = attempt.run(drivers.selected, state, other, context, mask)
        of = f"VariableSelection of x ({b}, {t}, {v}, {d}), absent variables {name}"
        agree(got, selection_of(state, other, context, mask), of=of, known=known if name == "random" else None)
        assert (got[1][~mask[:, None].expand(b, t, v)] == 0).all(), f"{of}: an absent variable has a weight"


@part("VariableSelection")
def test_no_gradient_comes_from_an_absent_variable(attempt, draw):
    """Gradients are those of x with 0 in the place of absent variables, and never NaN."""
    b, t, v, d, k = 3, 2, 4, 3, 2
    state, x, context, mask = (
        selection_state(draw, v, d, k),
        draw.normal(b, t, v, d),
        draw.normal(b, k),
        masks_of(draw, b, v),
    )
    upstream = draw.normal(b, t, d)
    leaves = {name: one.clone().requires_grad_() for name, one in state.items()}
    inputs = [one.clone().requires_grad_() for one in (x, context)]
    out, _ = selection_of(leaves, *inputs, mask)
    slopes = torch.autograd.grad((out * upstream).sum(), [*inputs, *leaves.values()])
    want = dict(zip(["x", "context", *leaves], slopes, strict=True))
    holed = torch.where(mask[:, None, :, None], x, NAN)
    got = attempt.run(drivers.selected_gradients, state, holed, context, mask, upstream)
    for name, slope in want.items():
        agree(
            got.get(name),
            slope,
            tol=1e-7,
            of=f"VariableSelection of x with NaN for absent variables, gradient by {name}",
        )


@part("VariableSelection")
def test_a_selection_of_now(attempt, draw):
    """One layer, asked of other variables of the same sizes, and under no_grad, gives theirs."""
    state = selection_state(draw, 3, 4, 5)
    rows = [(draw.normal(2, 7, 3, 4), draw.normal(2, 5), masks_of(draw, 2, 3)) for _ in range(3)]
    got = attempt.run(drivers.in_turn, "VariableSelection", state, (3, 4, 5), rows)
    for i, row in enumerate(rows):
        of = f"VariableSelection(3, 4, 5) under no_grad, x (2, 7, 3, 4), call {i + 1} of one layer"
        agree(got[i], selection_of(state, *row), of=of)


# --- InterpretableAttention -------------------------------------------------------------------------------------------


def attention_state(draw, d, heads):
    e = d // heads
    shapes = {"query": (d, d), "key": (d, d), "value": (e, d), "output": (d, e)}
    return {f"{name}.weight": draw.normal(*shape) for name, shape in shapes.items()}


def attention_of(state, heads, x, wrong=""):
    """Attention, one series and head at a time; `wrong` is the mistake to make."""
    t, d = x.shape[1:]
    e = d // heads
    outs, means = [], []
    for one in x:
        q, k, v = (one @ state[f"{name}.weight"].T for name in ("query", "key", "value"))
        weights = []
        for j in range(heads):
            of_head = slice(j, d, heads) if wrong == "strided" else slice(j * e, (j + 1) * e)
            scores = (
                q[:, of_head] @ k[:, of_head].T / (d if wrong == "wide" else 1 if wrong == "unscaled" else e) ** 0.5
            )
            if wrong == "transposed":
                scores = scores.T
            if wrong != "later":
                scores = scores.masked_fill(torch.arange(t) > torch.arange(t)[:, None], -math.inf)
            weights.append(scores)
        if wrong == "scores":
            mean = (sum(weights) / heads).softmax(dim=1)
        else:
            mean = sum(w.softmax(dim=1) for w in weights) / (1 if wrong == "sum" else heads)
        if wrong == "first":
            mean = weights[0].softmax(dim=1)
        means.append(mean)
        outs.append(mean @ v @ state["output.weight"].T)
    return torch.stack(outs), torch.stack(means)


ATTENTION_MISTAKES = {
    "the root of d for that of e": "wide",
    "no scale": "unscaled",
    "queries and keys exchanged": "transposed",
    "later steps seen": "later",
    "a softmax of the mean score": "scores",
    "a sum over heads": "sum",
    "the first head alone": "first",
    "heads that take every n-th number": "strided",
}


@part("InterpretableAttention")
@each_dtype
@pytest.mark.parametrize(("b", "t", "d", "heads"), [(2, 5, 6, 3), (3, 7, 4, 1), (2, 3, 10, 5), (4, 1, 8, 2)])
def test_mean_weights_of_shared_values(attempt, draw, b, t, d, heads, dtype):
    """The mean of the heads' weights, applied once to one projection of values; nothing from later steps."""
    state, x = in_type(dtype, attention_state(draw, d, heads)), loose(in_type(dtype, draw.normal(b, t, d)))
    exact = (in_type("float64", state), heads, x.double())
    known = {name: lambda w=w: attention_of(*exact, wrong=w) for name, w in ATTENTION_MISTAKES.items()}
    got = attempt.run(drivers.attended, state, heads, x)
    of = f"InterpretableAttention of x ({b}, {t}, {d}), {heads} heads, {dtype}"
    tol = 1e-3 if dtype == "float32" else 1e-8
    agree(
        got, in_type(dtype, attention_of(*exact)), tol=tol, of=of, known=known if (t, dtype) == (5, "float64") else None
    )


@part("InterpretableAttention")
def test_a_later_step_does_not_matter(attempt, draw):
    """Another value at a step changes nothing before it, in output or weights."""
    state, x, heads = attention_state(draw, 6, 2), draw.normal(2, 5, 6), 2
    rows = [(state, heads, x)]
    for t in (1, 4):
        other = x.clone()
        other[:, t] += 3
        rows.append((state, heads, other))
    for row, (out, weights) in zip(rows, attempt.each(drivers.attended, rows), strict=True):
        agree(
            (out, weights), attention_of(*row), of="InterpretableAttention of x (2, 5, 6), with other values at a step"
        )


@part("InterpretableAttention")
def test_a_layer_takes_any_length_in_turn(attempt, draw):
    """One layer, asked of three steps, of eight and twice of five, says what is right for each."""
    state, rows = attention_state(draw, 6, 3), [draw.normal(2, t, 6) for t in (3, 8, 5, 5)]
    got = attempt.run(drivers.attended_in_turn, state, 3, rows)
    for i, x in enumerate(rows):
        agree(got[i], attention_of(state, 3, x), of=f"InterpretableAttention of x {tuple(x.shape)}, call {i + 1}")


@part("InterpretableAttention")
@pytest.mark.parametrize("gradients", [False, True])
def test_values_are_weighed_once(attempt, draw, gradients):
    """Values are weighed by the mean weights, not by each head's; three times as much with the backward pass."""
    b, t, d, heads = 2, 83, 24, 12
    e = d // heads
    state, x = attention_state(draw, d, heads), draw.normal(b, t, d, scale=0.3)
    upstream = draw.normal(b, t, d)
    more = {"upstream": upstream} if gradients else {}
    got, cost = attempt.cost(drivers.attended_cost, state, heads, x, **more)
    of = f"InterpretableAttention of x ({b}, {t}, {d}), {heads} heads{', with its backward pass' if gradients else ''}"
    leaf = x.clone().requires_grad_()
    want, _ = attention_of(state, heads, leaf)
    if gradients:
        (slope,) = torch.autograd.grad((want * upstream).sum(), [leaf])
        agree(got[1][2], slope, of=f"{of}, gradient by x")
    agree(got[0] if gradients else got, want.detach(), axes="b t d", of=of)
    in_torch(cost, of=of)
    once = 2 * b * t * (2 * d * d + 2 * d * e) + 2 * b * t * t * (d + e)
    known = {"values weighed by each head": (3 if gradients else 1) * (once + 2 * b * t * t * e * (heads - 1))}
    at_most(cost.flops, (3 if gradients else 1) * once, of=f"operations of {of}", known=known)


# --- choose_forecaster ------------------------------------------------------------------------------------------------


def scores_of(series, names, origins, h, season):
    """The scores by loops, with the naive one first."""
    told = {}
    for name in ("seasonal naive", *names):
        values = []
        for o in origins:
            past, future = series[:, :o], series[:, o : o + h]
            if name == "seasonal naive":
                said = torch.stack([past[:, o - season + i % season] for i in range(h)], dim=1)
            else:
                said = drivers.FORECASTERS[name](past, h)
            values += scaled_errors(past, future, said, season).tolist()
        told[name] = sum(values) / len(values)
    return told


@part("choose_forecaster")
@each_dtype
@pytest.mark.parametrize(
    ("kind", "names", "season"),
    [("trend", ["last", "mean", "line"], 1), ("season", ["mean", "drift"], 4), ("level", ["drift", "mean", "line"], 3)],
)
def test_the_best_over_all_origins(attempt, draw, kind, names, season, dtype):
    """Each forecaster is scored at each origin on what comes after it; the smallest mean MASE wins."""
    b, t, h, origins = 3, 29, 5, [11, 17, 24]
    noise, times = draw.normal(b, t), torch.arange(t, dtype=torch.float64)
    shape = {"trend": 2.0 * times, "season": 9 * (2 * math.pi * times / 4).cos() + times / 9, "level": 0 * times}[kind]
    series = loose(in_type(dtype, 40 + shape + 0.5 * noise))
    want = scores_of(series.double(), names, origins, h, season)
    got = attempt.run(drivers.chosen, series, names, origins, h, [season])
    of = f"choose_forecaster of {', '.join(names)}, a series with a {kind}, season {season}, {dtype}"
    agree(got["scores"], [[name, score] for name, score in want.items()], tol=1e-4, of=f"{of}, scores in their order")
    agree(got["best"], min(want, key=want.get), of=f"{of}, the name")
    agree(got["given"], names, of=f"{of}, the names in the dict that was given")
    for name, score in got["scores"]:
        assert isinstance(score, float), f"{of}: the score of '{name}' is a {type(score).__name__}, not a float"


@part("choose_forecaster")
def test_forecasters_see_the_past_alone(attempt, draw):
    """At each origin a forecaster gets the series up to it, and the horizon."""
    series, origins = draw.normal(2, 19) + 5, [7, 12, 9]
    got = attempt.run(drivers.chosen, series, ["last", "mean"], origins, 4, [])
    for name in ("last", "mean"):
        widths = sorted({past.shape[-1] for past, _ in got["shown"][name]})
        agree(widths, sorted(origins), of=f"lengths of the pasts that the forecaster '{name}' was given")
        for past, steps in got["shown"][name]:
            of = f"what the forecaster '{name}' was given at an origin"
            agree([past, steps], [series[:, : past.shape[-1]], 4], of=of)
    want = scores_of(series, ["last", "mean"], origins, 4, 1)
    agree(dict(got["scores"]), want, of="scores with season not given, which is 1")


@part("choose_forecaster")
def test_a_tie_keeps_the_simple_one(attempt, draw):
    """A forecaster that is as good as the seasonal naive is not chosen; of two equal ones the first is."""
    series = draw.normal(2, 17) + 5
    got = attempt.run(drivers.chosen, series, ["last"], [9, 11], 3, [])
    agree(got["best"], "seasonal naive", of="choose_forecaster of the naive forecaster under another name")
    rising = torch.arange(17, dtype=torch.float64).expand(2, -1) * 2 + 0.1 * draw.normal(2, 17)
    got = attempt.run(drivers.chosen, rising - 40, ["last again", "last"], [9, 13], 3, [5])
    agree(got["best"], "last again", of="choose_forecaster of two equal forecasters that beat the seasonal naive")
    got = attempt.run(drivers.chosen, rising - 40, ["mean", "a hair above"], [9, 13], 3, [])
    agree(got["best"], "a hair above", of="choose_forecaster of one that is better by less than a millionth")


@part("choose_forecaster")
def test_another_series_has_other_scores(attempt, reference, draw):
    """Each call scores its own series, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 19) + 5, ["last", "mean"], [7, 12], 4, []) for _ in range(2)]
    hold_again(
        attempt,
        reference,
        drivers.chosen,
        *asked,
        of="choose_forecaster of 2 series (19), two forecasters",
        no_grad=True,
    )


@part("choose_forecaster")
def test_all_origins_count(attempt, draw):
    """The score is a mean over all origins, however many; one that comes twice counts twice."""
    series, origins = draw.normal(2, 29) + 5, [7, 23, 12, 12, 9, 19]
    got = attempt.run(drivers.chosen, series, ["last", "mean"], origins, 4, [])
    want = scores_of(series, ["last", "mean"], origins, 4, 1)
    agree(got["scores"], [[name, score] for name, score in want.items()], of=f"choose_forecaster, origins {origins}")
