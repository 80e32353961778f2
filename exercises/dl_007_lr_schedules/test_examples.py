"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

from types import SimpleNamespace

import lr_schedules as kata
import pytest


def test_warmup():
    assert [kata.warmup(step, 4) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert [kata.warmup(step, 2, start=0.5) for step in range(4)] == [0.5, 0.75, 1.0, 1.0]
    assert kata.warmup(0, 0) == 1.0


def test_decay():
    assert [kata.decay(step, "step", gamma=0.5, period=2) for step in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert [kata.decay(step, "multistep", gamma=0.5, milestones=[3, 1]) for step in range(5)] == [
        1.0,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    assert [kata.decay(step, "exponential", gamma=0.25, period=2) for step in range(3)] == [1.0, 0.5, 0.25]
    assert [kata.decay(step, "linear", n=2, floor=0.5) for step in range(4)] == [1.0, 0.75, 0.5, 0.5]
    with pytest.raises(ValueError):
        kata.decay(3, "polynomial")


def test_cosine():
    # steps 0 and 1 warm up; the cosine goes from step 2 to step 6, half of the way down at step 4
    got = [kata.cosine(step, 6, w=2, floor=0.2) for step in (0, 1, 2, 4, 6, 7)]
    assert got == pytest.approx([0.0, 0.5, 1.0, 0.6, 0.2, 0.2])


def test_cosine_restarts():
    got = [kata.cosine_restarts(step, 2, mult=2) for step in (0, 1, 2, 4, 6)]  # cycles of 2, 4, 8 steps
    assert got == pytest.approx([1.0, 0.5, 1.0, 0.5, 1.0])


def test_inverse_sqrt():
    assert [kata.inverse_sqrt(step, 4) for step in (0, 2, 4, 16)] == pytest.approx([0.0, 0.5, 1.0, 0.5])
    assert kata.inverse_sqrt(304, 4, timescale=100) == pytest.approx(0.5)  # √(100 / (300 + 100))


def test_one_cycle():
    assert kata.one_cycle(0, 10) == pytest.approx((0.04, 0.95))
    assert kata.one_cycle(1, 10) == pytest.approx((0.52, 0.9))  # half of the way up
    assert kata.one_cycle(2, 10) == pytest.approx((1.0, 0.85))
    assert kata.one_cycle(9, 10) == pytest.approx((4e-6, 0.95))


def test_wsd():
    assert [kata.wsd(step, 2, n=8, decay_steps=4) for step in (1, 2, 4, 5, 8)] == [0.5, 1.0, 1.0, 0.75, 0.0]
    assert kata.wsd(5, 2, n=8, decay_steps=4, kind="1-sqrt") == pytest.approx(0.5)  # 1 - √(1/4)
    assert kata.wsd(1000, 2) == 1.0  # no end is known


def test_plateau():
    plateau = kata.Plateau(drop=0.5, patience=1)
    assert [plateau.step(metric) for metric in (3, 3, 3, 2, 2, 2)] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_scheduler():
    factors = [0.0, 0.5, 1.0, 0.25]
    optimizer = SimpleNamespace(param_groups=[{"lr": 2.0}, {"lr": 8.0}])
    scheduler = kata.Scheduler(optimizer, lambda step: factors[step])
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 4.0]

    other = SimpleNamespace(param_groups=[{"lr": 1.0}, {"lr": 4.0}])  # rates as a checkpoint holds them
    resumed = kata.Scheduler(other, lambda step: factors[step])
    resumed.load_state_dict(scheduler.state_dict())
    assert [group["lr"] for group in other.param_groups] == [1.0, 4.0]
    resumed.step()
    assert [group["lr"] for group in other.param_groups] == [2.0, 8.0]


def test_batch_scaling():
    assert kata.batch_scaling(0.1, 1000, 256, 8192) == (pytest.approx(3.2), 32)  # 31.25, rounded up
    assert kata.batch_scaling(0.001, 1000, 256, 1024, "root") == (pytest.approx(0.002), 250)
