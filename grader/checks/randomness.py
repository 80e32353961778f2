"""Randomness in checks: that all of it comes from the generator given, and that draws follow their law, jointly.

A right answer fails one statement about a law with a probability below `ALARM`, whatever the size of the sample: each
count is held by Chernoff's bound, and the looks of one statement share its alarm (the union bound).
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

from grader.checks.attempt import Attempt
from grader.checks.compare import difference
from grader.checks.vocabulary import Wrong, agree

ALARM = 1e-7


def hold_generator(
    attempt: Attempt,
    target: str | Callable[..., Any],
    *args: Any,
    seed: int,
    of: str,
    alone: bool = True,
    parameter: Literal["generator", "rng"] = "generator",
    **kwargs: Any,
) -> Any:
    """Hold that all random numbers of a call come from the generator that it is given; returns the first draw.

    target: a public name, or a driver. Equal states give equal results whatever the global states are. A second call
    and a third, a generator that has given numbers before, and one of another seed give others: choose inputs for which
    two draws are hardly ever the same. Of a dict each entry is such a draw.
    parameter: what gets the generator, by its name: `generator` one of torch's, `rng` one of numpy's.
    alone: whether the global states are left alone; False where torch's own layers draw from them as they are made.
    """
    values, did = attempt.draws(target, *args, seed=seed, parameter=parameter, **kwargs)
    said = f"{of}, from a generator in an equal state, but with other seeds of torch, numpy and random"
    agree(values["equal"], values["first"], of=said)
    moved = ", ".join(did["moved"])
    assert not (alone and moved), f"{of} drew from, or seeded, the global state of {moved}: draw from the generator"
    first = _entries(values["first"])
    for name, when in _OTHERS.items():
        for entry, value in _entries(values[name]).items():
            assert difference(value, first[entry]) is not None, (
                f"{of}{entry} gave the same draw {when}: draw from the generator itself, neither seeded anew nor copied"
            )
    assert did["consumed"], (
        f"{of} left its generator in the state it was in: draw from the generator itself, not from a copy"
    )
    return values["first"]


_OTHERS = {
    "again": "again from the same generator",
    "third": "two calls later from the same generator",
    "later": "from a generator of the same seed that had given numbers before",
    "other": "from a generator of another seed",
}


def _entries(value: Any) -> dict[str, Any]:
    """The draws that a value holds, by how a message calls them."""
    return {
        f", {name}," if name else "": one for name, one in (value if isinstance(value, dict) else {"": value}).items()
    }


def improbable(successes: float, trials: int, p: float, looks: int = 1) -> bool:
    """Whether so many successes, or so few, have a probability below ALARM / looks (Chernoff's bound, both sides).

    It holds for the sum of independent numbers in [0, 1] of mean p, too (Hoeffding).
    """
    share = successes / trials
    terms = [(a, b) for a, b in ((share, p), (1 - share, 1 - p)) if a > 0]
    if any(b <= 0 for _, b in terms):
        return True
    return trials * sum(a * math.log(a / b) for a, b in terms) > math.log(2 * looks / ALARM)


def hold_rate(successes: float, trials: int, p: float, of: str, looks: int = 1) -> None:
    """Hold that an event of probability p happened in about p of all trials, which are independent."""
    assert not improbable(successes, trials, p, looks), (
        f"{of}: expected in {100 * p:.2f} % of {trials:,} cases, got {100 * successes / trials:.2f} %"
    )


def hold_permutations(counts: Mapping[tuple[int, ...], int], n: int, trials: int, of: str, share: float = 1.0) -> None:
    """Hold that each of the n! permutations of n things comes equally often.

    counts: permutation to how often it came. share: the probability that one is seen at all; the identity, where it
    cannot be told from nothing, may be left out of `counts`.
    """
    orders = [order for order in itertools.permutations(range(n)) if order != tuple(range(n)) or order in counts]
    chance = share / math.factorial(n)
    missing = [order for order in orders if not counts.get(order) and improbable(0, trials, chance, len(orders))]
    if missing:
        raise Wrong(
            f"{of}: of {len(orders)} permutations of {n} some never come in {trials:,} draws, such as "
            f"{', '.join(map(str, missing[:3]))}: each is equally likely"
        )
    for order in orders:
        hold_rate(counts.get(order, 0), trials, chance, f"{of}: permutation {order}", looks=len(orders))


def hold_independent(events: torch.Tensor, p: float, of: str, name: Callable[[int], str] = str) -> None:
    """Hold that events happen with probability p each, and independently of one another: all pairs are looked at.

    events: bool (trials, n); trials are independent draws. name: how a message calls event i.
    """
    trials, n = events.shape
    for i, count in enumerate(events.sum(dim=0).tolist()):
        hold_rate(count, trials, p, f"{of}: {name(i)}", looks=n)
    both = events.double().T @ events.double()
    looks = n * (n - 1) // 2
    for i, j in itertools.combinations(range(n), 2):
        if improbable(float(both[i, j]), trials, p * p, looks):
            raise Wrong(
                f"{of}: {name(i)} and {name(j)} are not independent: both in "
                f"{100 * float(both[i, j]) / trials:.2f} % of {trials:,} draws, expected {100 * p * p:.2f} %"
            )
    _hold_binomial(events.sum(dim=1).tolist(), n, p, of)


def _hold_binomial(sums: list[int], n: int, p: float, of: str) -> None:
    """Hold that sums of n independent events of probability p follow the binomial law."""
    for k in range(n + 1):
        chance = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        seen = sum(one == k for one in sums)
        if improbable(seen, len(sums), chance, n + 1):
            raise Wrong(
                f"{of}: {k} of {n} at once in {100 * seen / len(sums):.2f} % of {len(sums):,} draws, expected "
                f"{100 * chance:.2f} %: they do not come independently of one another"
            )
