"""Repeats in checks: that no number of a long draw, and no draw of many, comes back, in any order or with any sign.

Looked at are all pairs, however far apart: a repeat of the draw before the last escapes whoever compares neighbours.
"""

import itertools
import math
from collections.abc import Mapping

import torch

from grader.checks.randomness import ALARM
from grader.checks.vocabulary import Wrong

_LONG = 96
"""Events in a row. Two independent rows are alike with a probability below 1e-20 where p is between 0.3 and 0.7."""
_FAR = 8.0
"""Standard deviations that hardly ever come, also where 200,000 sums are looked at: with a probability below 1e-9."""
_SHARED = 3
"""Numbers that two draws never share by chance, also where each is one of 2^24: below 1e-9 for 5,000 draws of 10."""


def hold_unlike(numbers: torch.Tensor, of: str) -> None:
    """Hold that no part of many numbers is like another, shifted by anything or mirrored about anything.

    numbers: of any shape, independent, of mean 0 and variance 1. Sums of x[k]·x[k + lag], and of x[k]·x[lag - k], for
    all lags: quadratic forms with variance n and 2n, and nearly normal.
    """
    x = numbers.flatten().double()
    n = x.numel()
    spectrum = torch.fft.fft(x)
    shifted = torch.fft.ifft(spectrum.abs().square()).real[1:].abs() / math.sqrt(n)
    mirrored = ((torch.fft.ifft(spectrum.square()).real.abs() - 2) / math.sqrt(2 * n)).abs()
    for how, off in (("shifted", shifted), ("mirrored", mirrored)):
        assert off.max() < _FAR, f"{of}: its numbers are not independent: a {how} copy of them is like them"


def hold_fresh(numbers: torch.Tensor, of: str) -> None:
    """Hold that hardly any of 150,000 numbers, or fewer, repeats another: 1 %, since those of float32 do by chance.

    Of 100,000 numbers with 2^23 sizes, which is what `2 * torch.rand(...) - 1` gives, 600 do. Of normal numbers 100 do.
    """
    n = numbers.numel()
    repeats = n - len(numbers.flatten().abs().unique())
    assert repeats <= n // 100, f"{of}: {repeats:,} of {n:,} numbers repeat others, but for their signs"


def hold_matrices_unlike(matrices: Mapping[str, torch.Tensor], of: str) -> None:
    """Hold that the numbers of all matrices together are new ones: no matrix is like a part of another, transposed too.

    matrices: by name, each of independent numbers of mean 0 and variance 1.
    """
    for (one, a), (other, b) in itertools.combinations(matrices.items(), 2):
        alike = float((a.double() * b.double().mT).sum()) / math.sqrt(a.numel()) if a.shape == b.mT.shape else 0.0
        assert abs(alike) < _FAR, f"{of}: {one} is like {other}, transposed: their numbers are independent"
    numbers = torch.cat([matrix.double().flatten() for matrix in matrices.values()])
    hold_fresh(numbers, f"{of}: all matrices together")
    hold_unlike(numbers, f"{of}: all matrices together")


def hold_draws_unlike(draws: torch.Tensor, middle: float, of: str) -> None:
    """Hold that none of many draws, one after the other from one generator, is like another, however far apart.

    draws: (trials, n), n independent numbers of variance 1 each; middle: the median of |x|. Numbers, signs and sizes
    are unlike at every distance, and no two draws share three numbers, in whatever places and with whatever signs.
    """
    said = f"{of}, {len(draws):,} draws from one generator"
    hold_draws_fresh(draws, of)
    hold_fresh(draws, said)
    hold_unlike(draws, said)
    hold_unlike(draws.sign(), f"{said}: signs")
    hold_unlike((draws.abs() > middle).double() * 2 - 1, f"{said}: which numbers are large")


def hold_draws_fresh(draws: torch.Tensor, of: str) -> None:
    """Hold that no two of many draws, each some numbers of any law, share three numbers but for their signs."""
    trials, n = draws.flatten(1).shape
    values, order = draws.abs().flatten().sort(stable=True)
    row = torch.arange(trials).repeat_interleave(n)[order]
    same = (values[1:] == values[:-1]) & (row[1:] != row[:-1])
    pairs, times = (row[:-1] * trials + row[1:])[same].unique(return_counts=True)
    if len(times) and times.max() >= min(_SHARED, n):
        one, other = divmod(int(pairs[times.argmax()]), trials)
        raise AssertionError(
            f"{of}: draw {other} from one generator has {int(times.max())} of the numbers of draw {one}, but for their "
            "places and signs: each draw is a new one"
        )


def hold_unrepeated(events: torch.Tensor, p: float, of: str) -> None:
    """Hold that events of probability p, in one draw, are new ones throughout: no row and no stretch comes again.

    events: bool (rows, ...). Neither are two rows of 96 events and more alike, or opposite, in whatever order they
    stand; nor do the events, read in a row, go with those that come some fixed number of places later, or with those
    in the reverse order. The sum of such products of centred events has independent steps, or steps whose mean is 0
    given those before, no longer than max(p, 1 - p) (Azuma and Hoeffding's bound, over all shifts).
    """
    rows = events.flatten(1) if events.dim() > 1 else events[None]
    if rows.shape[1] >= _LONG:
        found = torch.unique(rows ^ rows[:, :1], dim=0).shape[0]  # opposite rows become alike
        if found < len(rows):
            raise Wrong(f"{of}: {len(rows) - found} of {len(rows):,} rows repeat another row, or are its opposite")
    centred = events.flatten().double() - p
    size = centred.numel()
    padded = 1 << size.bit_length() + 1  # at least twice as long, so that nothing comes round
    waves = torch.fft.rfft(centred, padded)
    shifts = torch.fft.irfft(waves * waves.conj(), padded)[1:size].abs()
    mirrors = torch.fft.irfft(waves * waves, padded)[: 2 * size - 1].abs() / 2
    limit = max(p, 1 - p) * math.sqrt(size * math.log(2 * 3 * size / ALARM) / 2)
    if float(shifts.max()) > limit:
        raise Wrong(f"{of}: entries repeat, or are the opposite of, those {int(shifts.argmax()) + 1:,} places before")
    if float(mirrors.max()) > limit + 1:
        raise Wrong(f"{of}: entries repeat, or are the opposite of, others in the reverse order")
