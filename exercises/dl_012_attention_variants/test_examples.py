"""A few examples, worked by hand: run them with `pytest exercises/dl_012_attention_variants/test_examples.py`."""

import math

import pytest
import torch
from attention_variants import (
    FlashAttention,
    alibi_bias,
    cross_attention,
    flash_attention_forward,
    linear_attention,
    linear_attention_step,
    merge,
    online_softmax,
    sliding_window_attention,
    soft_capped_attention,
)


def column(*values):
    """One sequence, one head, width 1: (1, 1, n, 1)."""
    return torch.tensor(values).reshape(1, 1, -1, 1)


def test_cross_attention_skips_padding():
    # Queries are 0, so all scores are: the mean of the two values that are no padding.
    x, memory, one = torch.zeros(1, 2, 1), torch.tensor([[[1.0], [5.0], [math.nan]]]), torch.ones(1, 1)
    out = cross_attention(x, memory, one, one, one, one, 1, torch.tensor([[False, False, True]]))
    assert out.flatten().tolist() == pytest.approx([3.0, 3.0])


def test_windows():
    q, v = column(0.0, 0.0, 0.0, 0.0), column(2.0, 4.0, 6.0, 11.0)
    assert sliding_window_attention(q, q, v, 1).flatten().tolist() == pytest.approx([2.0, 4.0, 6.0, 11.0])
    assert sliding_window_attention(q, q, v, 2).flatten().tolist() == pytest.approx([2.0, 3.0, 5.0, 8.5])
    both = sliding_window_attention(q, q, v, 1, causal=False)
    assert both.flatten().tolist() == pytest.approx([3.0, 4.0, 7.0, 8.5])


def test_a_global_token():
    # Token 0 sees all and is seen by all; the others see only themselves beside it.
    q, v = column(0.0, 0.0, 0.0), column(2.0, 4.0, 6.0)
    out = sliding_window_attention(q, q, v, 0, causal=False, global_tokens=torch.tensor([0]))
    assert out.flatten().tolist() == pytest.approx([4.0, 3.0, 4.0])


def test_merge_weighs_by_the_sums():
    # One side has e^lse = 1, the other 3.
    out, lse = merge(torch.tensor([[4.0]]), torch.tensor([0.0]), torch.tensor([[8.0]]), torch.tensor([math.log(3)]))
    assert out.item() == pytest.approx(7.0)
    assert lse.item() == pytest.approx(math.log(4))


def test_softmax_of_two_pieces():
    # Weights 1, then 3 and 4: (1·8 + 3·0 + 4·2) / 8.
    pieces = iter(
        [
            (torch.tensor([[0.0]]), torch.tensor([[8.0]])),
            (torch.tensor([[math.log(3), math.log(4)]]), torch.tensor([[0.0], [2.0]])),
        ]
    )
    out, lse = online_softmax(pieces)
    assert out.tolist() == [pytest.approx([2.0])]
    assert lse.tolist() == pytest.approx([math.log(8)])


def test_tiles_of_a_causal_square():
    q, v = column(0.0, 0.0, 0.0), column(3.0, 5.0, 10.0)
    out, lse = flash_attention_forward(q, q, v, causal=True, block_q=2, block_k=2)
    assert out.flatten().tolist() == pytest.approx([3.0, 4.0, 6.0])
    assert lse.flatten().tolist() == pytest.approx([0.0, math.log(2), math.log(3)])


def test_more_queries_than_keys():
    # The first of two queries stands before the only key.
    out, lse = flash_attention_forward(column(1.0, 1.0), column(2.0), column(7.0), causal=True)
    assert out.flatten().tolist() == pytest.approx([0.0, 7.0])
    assert lse.flatten().tolist() == pytest.approx([-math.inf, 2.0])


def test_backward_of_a_mean():
    # Equal scores: query i gives each of its i + 1 values the weight 1 / (i + 1).
    q, k = column(0.0, 0.0, 0.0), column(0.0, 0.0, 0.0)
    v = column(3.0, 5.0, 10.0).requires_grad_()
    FlashAttention.apply(q, k, v, True, 2, 2).sum().backward()
    assert v.grad.flatten().tolist() == pytest.approx([1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3, 1 / 3])


def test_linear_attention():
    # φ(0) = 1, φ(2) = 3: the second token sees (1·4 + 3·8) / 4.
    q, k, v = column(0.0, 0.0), column(0.0, 2.0), column(4.0, 8.0)
    assert linear_attention(q, k, v, causal=True).flatten().tolist() == pytest.approx([4.0, 7.0])
    assert linear_attention(q, k, v).flatten().tolist() == pytest.approx([7.0, 7.0])


def test_linear_attention_step_by_step():
    q, k, v = column(0.0, 0.0), column(0.0, 2.0), column(4.0, 8.0)
    out, state = linear_attention_step(q[:, :, 0], k[:, :, 0], v[:, :, 0])
    assert out.item() == pytest.approx(4.0)
    out, state = linear_attention_step(q[:, :, 1], k[:, :, 1], v[:, :, 1], state)
    assert out.item() == pytest.approx(7.0)
    assert [x.item() for x in state] == pytest.approx([28.0, 4.0])


def test_alibi_of_six_heads():
    # The last query of 3 positions: distances 2, 1, 0.
    bias = alibi_bias(6, 1, 3)
    assert bias.shape == (6, 1, 3)
    assert (-bias[:, 0, 1]).tolist() == pytest.approx([1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8])
    assert bias[4, 0].tolist() == pytest.approx([-1.0, -0.5, 0.0])


def test_a_cap_of_one():
    # Scores ±1000 become ±1, and the future of query 0 stays hidden.
    q, k, v = column(1.0, 1.0), column(1000.0, -1000.0), column(0.0, 1.0)
    out = soft_capped_attention(q, k, v, 1.0)
    assert out.flatten().tolist() == pytest.approx([0.0, 1 / (1 + math.exp(2))])
