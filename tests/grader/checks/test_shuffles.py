"""Shuffles of many things: right ones pass, and each wrong one is seen."""

import random

import pytest
import torch

from grader.checks.shuffles import hold_large_shuffles, hold_shuffles
from grader.checks.vocabulary import Wrong

N = 23


def shuffled(things, seed):
    things = list(things)
    random.Random(seed).shuffle(things)
    return things


FIXED = shuffled(range(N), 0)


def rotated(epoch):
    return FIXED[epoch % N :] + FIXED[: epoch % N]


def affine(epoch):
    rng = random.Random(epoch)
    a, b = rng.randrange(1, N), rng.randrange(N)
    return [FIXED[(a * i + b) % N] for i in range(N)]


def every_other_backwards(epoch):
    return shuffled(range(N), epoch - 3)[::-1] if epoch % 8 == 3 else shuffled(range(N), epoch)


def windows(epoch, n=N):
    """A buffer of four, from which one is taken at random."""
    rng, order, buffer = random.Random(epoch), [], []
    for i in range(n):
        buffer.append(i)
        if len(buffer) > 4:
            order.append(buffer.pop(rng.randrange(len(buffer))))
    rng.shuffle(buffer)
    return order + buffer


def blocks(epoch, n=N):
    cut = [shuffled(range(start, min(start + 4, n)), epoch + start) for start in range(0, n, 4)]
    return [i for block in shuffled(cut, epoch) for i in block]


def coarse_keys(epoch, n=N):
    """Equal keys leave things in their order."""
    rng = random.Random(epoch)
    return sorted(range(n), key=lambda i: rng.randrange(8))


def swapped_with_any(epoch):
    """Each place is swapped with any other, not with one of those that are left: n^n ways, not n!."""
    rng, order = random.Random(epoch), list(range(N))
    for i in range(N):
        j = rng.randrange(N)
        order[i], order[j] = order[j], order[i]
    return order


def one_cycle(epoch):
    """Sattolo's: no thing stays where it is."""
    rng, order = random.Random(epoch), list(range(N))
    for i in range(N - 1, 0, -1):
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    return order


def the_same_move(epoch):
    order = list(range(N))
    for _ in range(epoch % 1000):
        order = [order[i] for i in FIXED]
    return order


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shuffled_is_right(seed):
    for n, trials in ((N, 1000), (32, 60)):
        hold_shuffles(torch.tensor([shuffled(range(n), f"{seed}, {i}") for i in range(trials)]), "shuffles")
    hold_large_shuffles(torch.tensor([shuffled(range(2003), f"{seed}, {i}") for i in range(5)]), "large shuffles")


@pytest.mark.parametrize(
    "way",
    [rotated, affine, every_other_backwards, windows, blocks, coarse_keys, swapped_with_any, one_cycle, the_same_move],
)
def test_what_is_shuffled_badly_is_seen(way):
    with pytest.raises(Wrong):
        hold_shuffles(torch.tensor([way(epoch) for epoch in range(1000)]), "orders")


@pytest.mark.parametrize("way", [windows, blocks, coarse_keys])
def test_what_is_shuffled_badly_is_seen_in_five_large_orders(way):
    with pytest.raises(Wrong):
        hold_large_shuffles(torch.tensor([way(epoch, 2003) for epoch in range(5)]), "orders")


def test_large_orders_that_come_from_one_another_are_seen():
    one = torch.tensor(shuffled(range(2003), 0))
    for orders in ([one, one.flip(0)], [one, (one + 5) % 2003], [one, one.roll(700)]):
        with pytest.raises(Wrong):
            hold_large_shuffles(torch.stack(orders), "orders")
