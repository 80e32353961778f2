"""A few examples, worked by hand: run them with `pytest exercises/dl_001_attention_mechanism/test_examples.py`."""

import math

import pytest
import torch
from attention_mechanism import (
    MultiHeadAttention,
    additive_attention,
    attention_backward,
    attention_mask,
    head_contributions,
    qk_norm_attention,
    saturation,
    scaled_dot_product_attention,
    sink_attention,
    softmax,
)


def column(*values):
    return torch.tensor(values)[:, None]


def test_softmax():
    # e^0 : e^(log 3) = 1 : 3
    assert softmax(torch.tensor([0.0, math.log(3)]), 0).tolist() == pytest.approx([1 / 4, 3 / 4])
    assert softmax(torch.tensor([[1000.0, 1000.0]]), 1).tolist() == [[0.5, 0.5]]
    assert softmax(torch.tensor([[-math.inf, -math.inf]]), 1).tolist() == [[0.0, 0.0]]


def test_attention_is_a_weighted_mean():
    # Width 4, so a scale of 1/2: scores 0 and log 3, weights 1/4 and 3/4.
    q = torch.tensor([[2 * math.log(3), 0.0, 0.0, 0.0]])
    k = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    output, weights = scaled_dot_product_attention(q, k, column(4.0, 8.0))
    assert weights.flatten().tolist() == pytest.approx([1 / 4, 3 / 4])
    assert output.item() == pytest.approx(7.0)


def test_a_mask_and_a_row_of_nothing():
    q, k, v = torch.zeros(2, 1), torch.zeros(3, 1), column(2.0, 4.0, math.nan)
    output, weights = scaled_dot_product_attention(q, k, v, torch.tensor([[True, True, False], [False, False, False]]))
    assert output.flatten().tolist() == pytest.approx([3.0, 0.0])
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_two_queries_behind_a_past_of_two():
    mask = attention_mask(torch.tensor([4, 3]), 2, 4, causal=True)
    assert mask.shape == (2, 1, 2, 4)
    assert mask[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert mask[1, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]


def test_two_heads_of_width_one():
    attention = MultiHeadAttention(2, 2)
    # Queries and keys are 0, values are x: each head takes the mean of its own feature; out_proj adds both up.
    weight = torch.cat([torch.zeros(4, 2), torch.eye(2)])
    state = {"in_proj_weight": weight, "in_proj_bias": torch.zeros(6)}
    out = {"out_proj.weight": torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "out_proj.bias": torch.tensor([0.0, 5.0])}
    attention.load_state_dict(state | out)
    output, weights = attention(torch.tensor([[[1.0, 10.0], [3.0, 20.0]]]))
    assert output.tolist() == [[[pytest.approx(2.0 + 15.0), 5.0]] * 2]
    assert weights.shape == (1, 2, 2, 2)


def test_backward_of_one_query():
    # Output 1/4 · 4 + 3/4 · 8 = 7. dS = p · (v - 7) · dout = 1/4 · -3, 3/4 · 1.
    q, k, v = column(1.0), column(0.0, math.log(3)), column(4.0, 8.0)
    dq, dk, dv = attention_backward(q, k, v, torch.tensor([[0.25, 0.75]]), column(1.0))
    assert dv.flatten().tolist() == pytest.approx([0.25, 0.75])
    assert dk.flatten().tolist() == pytest.approx([-0.75, 0.75])
    assert dq.item() == pytest.approx(0.75 * math.log(3))


def test_additive_scores():
    # tanh(±50) is ±1: scores -log 3 and log 3, weights 1 : 9.
    query, keys, values = torch.zeros(1, 1, 1), column(-50.0, 50.0)[None], column(0.0, 10.0)[None]
    one = torch.ones(1, 1)
    output, weights = additive_attention(query, keys, values, one, one, torch.tensor([math.log(3)]))
    assert weights.flatten().tolist() == pytest.approx([0.1, 0.9])
    assert output.item() == pytest.approx(9.0)


def test_saturation():
    # Scores 0 and log 3: weights 1/4, 3/4; 2 · 3/16; variance (log 3 / 2)².
    variance, top, slope = saturation(column(2.0), column(0.0, math.log(3)), 0.5)
    assert variance.item() == pytest.approx((math.log(3) / 2) ** 2)
    assert (top.item(), slope.item()) == pytest.approx((3 / 4, 3 / 8))


def test_contributions_add_up():
    weights = torch.full((1, 2, 1, 2), 0.5)
    v = torch.tensor([[[[1.0], [3.0]], [[10.0], [20.0]]]])
    out = head_contributions(weights, v, torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    assert out[0, :, 0].tolist() == [[2.0, 0.0], [15.0, 30.0]]  # two heads, each a vector of width 2


def test_qk_norm():
    # (3, 4) has the root mean square 5 / sqrt(2): the score of a vector with itself is 2 / sqrt(2).
    q, k = torch.tensor([[3e-3, 4e-3]]), torch.tensor([[300.0, 400.0], [-4.0, 3.0]])
    _, weights = qk_norm_attention(q, k, torch.eye(2), torch.ones(2), torch.ones(2), eps=0.0)
    top = math.exp(math.sqrt(2))
    assert weights.flatten().tolist() == pytest.approx([top / (top + 1), 1 / (top + 1)])


def test_a_sink():
    q, k, v = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 3, 1), torch.full((1, 1, 3, 1), 5.0)
    output, weights = sink_attention(q, k, v, torch.tensor([math.log(2)]))  # 1, 1, 1 and 2 for the sink
    assert weights.flatten().tolist() == pytest.approx([1 / 5] * 3)
    assert output.item() == pytest.approx(3.0)
