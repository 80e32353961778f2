"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import positional as kata
import pytest
import torch

ONE = torch.tensor([1])


def test_sinusoidal():
    got = kata.sinusoidal(torch.tensor([0, 2]), 4, base=100.0)  # frequencies 1 and 0.1
    assert got[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert got[1].tolist() == pytest.approx([math.sin(2), math.cos(2), math.sin(0.2), math.cos(0.2)])


def test_shift_matrix():
    got = kata.shift_matrix(1, 2)
    assert got[0].tolist() == pytest.approx([math.cos(1), math.sin(1)])
    moved = got @ torch.tensor([math.sin(5), math.cos(5)], dtype=torch.float64)
    assert moved.tolist() == pytest.approx([math.sin(6), math.cos(6)])


def test_learned_positions():
    table = kata.LearnedPositions(3, 2)
    table.load_state_dict({"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
    got = table(torch.full((1, 2, 2), 10.0), torch.tensor([2, 0]))
    assert got.tolist() == [[[15.0, 16.0], [11.0, 12.0]]]
    with pytest.raises(ValueError):
        table(torch.zeros(1, 1, 2), torch.tensor([3]))


@pytest.mark.parametrize(("layout", "places"), [("halves", [0, 2]), ("pairs", [0, 1])])
def test_apply_rope(layout, places):
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    got = kata.apply_rope(x, ONE, layout=layout).flatten()
    assert got[places].tolist() == pytest.approx([math.cos(1), math.sin(1)])
    assert got.norm().item() == pytest.approx(1.0)


def test_apply_rope_to_the_first_features():
    x = torch.tensor([1.0, 0.0, 7.0, 8.0]).view(1, 1, 1, 4)
    got = kata.apply_rope(x, ONE, rotary_dim=2).flatten()
    assert got.tolist() == pytest.approx([math.cos(1), math.sin(1), 7.0, 8.0])


def test_rope_scores():
    q, k = torch.tensor([2.0, 0.0]), torch.tensor([2.0, 3.0])
    got = kata.rope_scores(q, k, torch.tensor([0, 1, -1]))
    c, s = math.cos(1), math.sin(1)
    assert got.tolist() == pytest.approx([4.0, 4 * c + 6 * s, 4 * c - 6 * s])


def test_convert_layout():
    rows = torch.arange(6)
    assert kata.convert_layout(rows, 1, "halves").tolist() == [0, 2, 4, 1, 3, 5]
    assert kata.convert_layout(rows, 1, "pairs").tolist() == [0, 3, 1, 4, 2, 5]
    assert kata.convert_layout(torch.arange(8), 2, "halves").tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_axial_rope():
    x = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 1, 4)
    got = kata.axial_rope(x, ONE, 2 * ONE).flatten()
    assert got.tolist() == pytest.approx([math.cos(1), math.sin(1), math.cos(2), math.sin(2)])


def test_t5_bucket():
    distances = torch.tensor([0, 7, 11, 12, 1000, -7])
    assert kata.t5_bucket(distances).tolist() == [0, 7, 8, 9, 15, 23]
    assert kata.t5_bucket(distances, bidirectional=False).tolist() == [0, 7, 11, 12, 31, 0]


def test_t5_bias():
    table = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # buckets: 0, 1 and more, none, -1 and less
    assert kata.t5_bias(table, 2, 3, 4).tolist() == [[[1.0, 0.0, 3.0], [1.0, 1.0, 0.0]]]


def test_scaled_frequencies():
    assert kata.scaled_frequencies("interpolation", 4, 100.0, 4.0).tolist() == pytest.approx([0.25, 0.025])
    assert kata.scaled_frequencies("ntk", 4, 100.0, 4.0).tolist() == pytest.approx([1.0, 0.025])
    got = kata.scaled_frequencies("llama3", 4, 100.0, 8.0, context=6)  # 0.95 and 0.095 turns: both slow
    assert got.tolist() == pytest.approx([0.125, 0.0125])


def test_yarn_frequencies():
    frequencies, attention_factor = kata.yarn_frequencies(128, 10000.0, 16.0, 4096)
    assert frequencies[20].item() == pytest.approx(10000 ** (-40 / 128))  # the last that is kept
    assert frequencies[46].item() == pytest.approx(10000 ** (-92 / 128) / 16)  # the first that is divided by 16
    assert attention_factor == pytest.approx(1.2773, abs=1e-4)
