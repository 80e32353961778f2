"""Draws that come back, at any distance, in any order, with any sign."""

import pytest
import torch

from grader.checks.repeats import hold_draws_unlike, hold_fresh, hold_unlike, hold_unrepeated
from grader.checks.vocabulary import Wrong

MIDDLE = 0.6744897501960817


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_new_draws_are_right(seed, dtype):
    hold_draws_unlike(normal(5000, 6, seed=seed, dtype=dtype), MIDDLE, "draws")
    hold_fresh(2 * torch.rand(100_000, generator=torch.Generator().manual_seed(seed)) - 1, "24 bits a number")
    hold_unlike(normal(400, 251, seed=seed, dtype=dtype), "a weight")


def again(far, change=lambda old: old):
    """Every 50th draw is the one `far` before it, changed."""
    draws = normal(5000, 6)
    draws[far::50] = change(draws[0:-far:50])
    return draws


@pytest.mark.parametrize(
    "draws",
    [
        again(2),
        again(3, lambda old: -old),
        again(13, lambda old: old.flip(1)),
        again(2500, lambda old: torch.cat([old[:, 3:], normal(len(old), 3, seed=1)], dim=1)),
        normal(5000, 6).abs() * normal(100, 6, seed=1).sign().repeat(50, 1),
        normal(100, 6, seed=1).repeat(50, 1).abs() * normal(5000, 6).sign(),
    ],
    ids=["two before", "turned round in sign", "backwards", "half of a draw", "signs", "sizes"],
)
def test_draws_that_come_back_are_seen(draws):
    with pytest.raises(AssertionError, match="draws"):
        hold_draws_unlike(draws, MIDDLE, "draws")


def dropped(p, shape=(500, 101), seed=5):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < p


def swapped(events):
    half = len(events) // 2
    return torch.cat([events[:half], events[torch.randperm(half, generator=torch.Generator().manual_seed(1))]])


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("shape", [(500, 101), (60_001,), (3, 2, 7001)])
def test_new_events_repeat_nothing(p, shape):
    for seed in range(5):
        hold_unrepeated(dropped(p, shape, seed), p, "x")


@pytest.mark.parametrize(
    ("repeat", "said"),
    [
        (lambda events: events[:250].repeat(2, 1), "250 of 500 rows repeat another row"),
        (lambda events: events[:250].repeat_interleave(2, 0), "250 of 500 rows"),
        (swapped, "250 of 500 rows"),
        (lambda events: torch.cat([events[:250], ~events[:250]]), "250 of 500 rows"),
        (lambda events: torch.cat([events[:490], events[:10]]), "10 of 500 rows"),
        (lambda events: events.flatten()[:20_000].repeat(3)[:50_500].view(500, 101), "20,000 places before"),
        (lambda events: torch.cat([events[:, :50], events[:, :51]], 1), "50 places before"),
        (lambda events: torch.cat([events[:250], ~events[:250].flip(0, 1)]), "in the reverse order"),
    ],
)
def test_events_that_come_again_are_found(repeat, said):
    with pytest.raises(Wrong, match=said):
        hold_unrepeated(repeat(dropped(0.5)), 0.5, "x")
