"""Orders of many things in checks: that they are shuffled well, where the n! orders are too many to be counted.

A right answer fails one call with a probability below `ALARM`: each count is held by Chernoff's bound, all that a call
looks at shares the alarm (the union bound), and that two of its orders are alike is far less probable than that.
"""

import itertools
from collections.abc import Callable

import torch

from grader.checks.randomness import improbable
from grader.checks.vocabulary import Wrong

_LAGS = range(1, 9)
"""How far apart two draws are that must not go together."""
_NEAR = 8
_TABLES = 200
"""A call looks at fewer tables than this, and they share its alarm."""


def hold_table(counts: torch.Tensor, trials: int, p: float, of: str, name: Callable[..., str]) -> None:
    """Hold that each of the counted events, of probability p, came in about p of all trials.

    counts: int64, of any shape; name: how a message calls the event of a cell, from its indices.
    """
    for cell in (int(counts.argmax()), int(counts.argmin())):  # no other is less probable than both
        seen = int(counts.flatten()[cell])
        if improbable(seen, trials, p, looks=counts.numel() * _TABLES):
            where = [int(i) for i in torch.unravel_index(torch.tensor(cell), counts.shape)]
            raise Wrong(
                f"{of}: {name(*where)} in {100 * seen / trials:.2f} % of {trials:,} cases, expected {100 * p:.2f} %"
            )


def hold_shuffles(orders: torch.Tensor, of: str) -> None:
    """Hold that orders of n things, drawn one after the other, are random and know nothing of one another.

    orders: int64 (trials, n), n >= 20, each row 0 ... n-1 in some order. No two are alike, turned or mirrored neither,
    nor does one come from an earlier one as another does; every thing is at every place equally often, and so is each
    step from the thing at one place to that at another.
    """
    _hold_unlike(orders, of)
    _hold_places(orders, of)
    _hold_steps(orders, f"{of}: of the things at places")
    _hold_steps(orders.argsort(dim=1), f"{of}: of the places of things")
    for lag in _LAGS[:4]:
        first = torch.arange(len(orders) - lag)
        first = first[first // lag % 2 == 0]  # no order in two pairs: the pairs are independent
        said = f"{of}: an order and the one drawn {lag} before it"
        _hold_places(_moves(orders[first], orders[first + lag]), said)


def hold_large_shuffles(orders: torch.Tensor, of: str) -> None:
    """Hold that each of a few orders of many things is random, and each move from one to another.

    orders: int64 (trials, n), n >= 1,000, each row 0 ... n-1 in some order.
    """
    for i, order in enumerate(orders):
        _hold_large(order, f"{of}: order {i}")
    for lag in range(1, len(orders)):
        for kind, rows in (("things of one order stand", orders), ("places of one order go", orders.argsort(dim=1))):
            for move in _moves(rows[:-lag], rows[lag:]):
                _hold_large(move, f"{of}: where the {kind} in one {lag} before it")
    _hold_new_moves(orders, of)


def _hold_large(order: torch.Tensor, of: str) -> None:
    """Hold that one order is random.

    Each part of the places has as many things of each part as it should. Of the first n/4 pairs of neighbours few are
    near each other, and few differ by the same: whatever came before, of the n/2 things and more that are left at most
    2 · 8 are near, and one differs so.
    """
    n = len(order)
    for count in (2, 3, 16):
        _hold_regions(order[None], count, of)
    pairs = n // 4
    steps = order[1 : 2 * pairs : 2] - order[0 : 2 * pairs : 2]
    near = int((steps.abs() <= _NEAR).sum())
    _hold_few(near, pairs, 4 * _NEAR / n, f"{of}: neighbours that were at most {_NEAR} places apart", 1)
    common = torch.bincount(steps % n, minlength=n)
    said = f"{of}: neighbours that were {int(common.argmax())} places apart, counted round,"
    _hold_few(int(common.max()), pairs, 2 / n, said, n)


def _hold_few(seen: int, trials: int, p: float, of: str, looks: int) -> None:
    if seen > p * trials and improbable(seen, trials, p, looks * _TABLES):
        raise Wrong(f"{of} are {seen} of {trials} pairs, expected {100 * p:.2g} % at most: they are not shuffled")


def _hold_unlike(orders: torch.Tensor, of: str) -> None:
    """Hold that no order is another one turned or mirrored, and that no move from one to a later one comes twice."""
    n = orders.shape[1]
    weights = torch.randint(2**50, (n,), generator=torch.Generator().manual_seed(0))
    around = torch.stack([weights.roll(k) for k in range(n)])  # a sum for each turn: unlike rows, unlike sums
    steps = (orders.roll(-1, dims=1) - orders) % n
    mirrors = [one for way in (steps, steps.flip(1)) for one in (way, n - way)]
    least = torch.stack([(way[:, None] * around).sum(dim=2).amin(dim=1) for way in mirrors]).amin(dim=0)
    found, times = least.unique(return_counts=True)
    if times.max() > 1:
        one, other = (least == found[times.argmax()]).nonzero().flatten()[:2].tolist()
        raise Wrong(
            f"{of}: order {other} is order {one} again, as it was or turned or mirrored: {orders[one].tolist()} and "
            f"{orders[other].tolist()}"
        )
    _hold_new_moves(orders, of)


def _hold_new_moves(orders: torch.Tensor, of: str) -> None:
    weights = torch.randint(2**40, (orders.shape[1],), generator=torch.Generator().manual_seed(1))
    for lag in (lag for lag in _LAGS if lag < len(orders)):
        for rows in (orders, orders.argsort(dim=1)):
            sums = (_moves(rows[:-lag], rows[lag:]) * weights).sum(dim=1)  # unlike rows, unlike sums
            if len(sums.unique()) < len(sums):
                raise Wrong(f"{of}: orders come from the ones drawn {lag} before them in a way that comes again")


def _moves(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """For each place of `after`, where its thing stood `before`."""
    return before.argsort(dim=1).gather(1, after)


def _hold_places(orders: torch.Tensor, of: str) -> None:
    trials, n = orders.shape
    cells = (torch.arange(n) * n + orders).flatten()
    counts = torch.bincount(cells, minlength=n * n).view(n, n)
    hold_table(counts, trials, 1 / n, of, lambda place, thing: f"thing {thing} is at place {place}")
    for count in (2, 3):
        _hold_regions(orders, count, of)


def _hold_regions(orders: torch.Tensor, count: int, of: str) -> None:
    """Hold that places of one region hold things of each as often as they should: `count` regions of places, of things.

    Things of a region are drawn for places without replacement: they vary less than with it (Hoeffding).
    """
    trials, n = orders.shape
    region = torch.arange(n) * count // n
    size = torch.bincount(region).tolist()
    cells = (region * count + region[orders]).flatten()
    seen = torch.bincount(cells, minlength=count**2).view(count, count).tolist()
    for i, j in itertools.product(range(count), repeat=2):
        if improbable(seen[i][j], trials * size[i], size[j] / n, looks=count**2 * _TABLES):
            raise Wrong(
                f"{of}: of the places of part {i} of {count}, {100 * seen[i][j] / trials / size[i]:.1f} % hold things "
                f"of part {j}, expected {100 * size[j] / n:.1f} %: not all orders are equally likely"
            )


def _hold_steps(orders: torch.Tensor, of: str) -> None:
    """Hold that the step from one place's thing to another's, counted round, is each of 1 ... n-1 equally often."""
    trials, n = orders.shape
    one, other = torch.triu_indices(n, n, offset=1)
    steps = (orders[:, other] - orders[:, one]) % n - 1
    cells = (torch.arange(len(one)) * (n - 1) + steps).flatten()
    counts = torch.bincount(cells, minlength=len(one) * (n - 1)).view(len(one), n - 1)
    hold_table(
        counts,
        trials,
        1 / (n - 1),
        of,
        lambda pair, step: f"{int(other[pair])} is {step + 1} further, counted round, than {int(one[pair])}",
    )
