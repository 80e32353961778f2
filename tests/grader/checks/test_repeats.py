"""Draws that come back, at any distance, in any order, with any sign."""

import pytest
import torch

from grader.checks.repeats import hold_draws_unlike, hold_fresh, hold_unlike

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
