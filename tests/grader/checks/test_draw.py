import torch

from grader.base.seeds import derive
from grader.checks.draw import Draw


def test_a_seed_always_draws_the_same():
    assert torch.equal(Draw(5).normal(3, 2), Draw(5).normal(3, 2))
    assert Draw(5).pick("abcdef") == Draw(5).pick("abcdef")


def test_neighbouring_seeds_and_names_draw_other_values():
    assert not torch.equal(Draw(5).normal(3), Draw(6).normal(3))
    assert len({derive(seed, name) for seed in range(10) for name in ("test_a", "test_b")}) == 20


def test_draws_leave_the_global_generators_alone():
    before = torch.get_rng_state()
    Draw(1).normal(4)
    Draw(1).permutation(4)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_have_the_shape_range_and_dtype_asked_for():
    draw = Draw(0)
    assert draw.normal(2, 3, dtype=torch.float32).shape == (2, 3)
    assert draw.normal(2, dtype=torch.float16).dtype is torch.float16
    uniform = draw.uniform(1000, low=2.0, high=3.0)
    assert uniform.min() >= 2
    assert 2.9 < uniform.max() <= 3
    assert set(draw.integers(4, 7, 500).tolist()) == {4, 5, 6}
    assert sorted(draw.permutation(5).tolist()) == [0, 1, 2, 3, 4]
    assert 90 < draw.normal(2000, scale=100.0).std() < 110
