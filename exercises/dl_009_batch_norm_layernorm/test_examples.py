"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import batch_norm_layernorm as kata
import pytest
import torch

ONE, ZERO = torch.ones(1), torch.zeros(1)


def test_layer_norm():
    x = torch.tensor([[1.0, 3.0]])  # mean 2, variance 1, √(1 + 3) = 2
    got = kata.layer_norm(x, torch.tensor([1.0, 4.0]), torch.tensor([0.0, 10.0]), eps=3.0)
    assert got.tolist() == [[-0.5, 12.0]]


def test_rms_norm():
    x, weight = torch.tensor([[1.0, 7.0]]), torch.tensor([1.0, -3.0])  # mean square 25
    assert kata.rms_norm(x, weight, eps=0.0).tolist()[0] == pytest.approx([0.2, -4.2])
    assert kata.rms_norm(x, weight, eps=0.0, unit_offset=True).tolist()[0] == pytest.approx([0.4, -2.8])


def test_batch_norm_in_training():
    x = torch.tensor([[1.0], [3.0]])
    out, mean, var = kata.batch_norm(x, ONE, ZERO, ZERO, ONE, momentum=0.5, eps=3.0)
    assert out.tolist() == [[-0.5], [0.5]]
    assert mean.tolist() == [1.0]  # half of 0, half of 2
    assert var.tolist() == [1.5]  # half of 1, half of the unbiased 2


def test_batch_norm_in_evaluation():
    x = torch.tensor([[1.0], [3.0]])
    out, mean, var = kata.batch_norm(x, ONE, ZERO, ONE, ONE, training=False, eps=3.0)
    assert out.tolist() == [[0.0], [1.0]]
    assert (mean.tolist(), var.tolist()) == ([1.0], [1.0])


def test_batch_norm_backward():
    x, dout = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.0], [0.0]])
    got = kata.batch_norm_backward(dout, x, 3 * ONE, ONE, 2 / 3 * ONE, eps=1 / 3)
    assert got[0].flatten().tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-6)
    assert (got[1].item(), got[2].item()) == pytest.approx((-1.0, 1.0))


def test_layer_norm_backward():
    x, dout = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    dx, dweight, dbias = kata.layer_norm_backward(dout, x, torch.tensor([3.0, 5.0, 7.0]), eps=1 / 3)
    assert dx.tolist()[0] == pytest.approx([1.0, -1.0, 0.0], abs=1e-6)
    assert dweight.tolist() == pytest.approx([-1.0, 0.0, 0.0])
    assert dbias.tolist() == [1.0, 0.0, 0.0]


def test_group_norm():
    x = torch.tensor([[1.0, 3.0, 5.0, 5.0]])
    assert kata.group_norm(x, 2, torch.ones(4), torch.zeros(4), eps=3.0).tolist() == [[-0.5, 0.5, 0.0, 0.0]]


def test_merge_moments():
    count, mean, var = kata.merge_moments([2, 1], torch.tensor([[2.0], [5.0]]), torch.tensor([[1.0], [0.0]]))
    assert count == 3  # 1, 3 and 5
    assert (mean.item(), var.item()) == pytest.approx((3.0, 8 / 3))


def test_fold_batch_norm():
    w, b = kata.fold_batch_norm(3 * ONE[None], ONE, 8 * ONE, 7 * ONE, 5 * ONE, 4 * ONE, eps=0.0)
    assert (w.item(), b.item()) == (12.0, -9.0)


def test_layer_to_rms():
    w_in, ones = torch.tensor([[1.0], [3.0]]), torch.ones(2)
    new = kata.layer_to_rms(w_in, torch.zeros(2), ones, torch.tensor([5.0, 0.0]), ones[None], torch.zeros(1))
    hidden = new[0] @ torch.tensor([4.0]) + new[1]
    assert hidden.sum().item() == pytest.approx(0.0)  # the vectors that the norm sees are centred
    got = new[3] @ kata.rms_norm(hidden, new[2], eps=1e-5) + new[4]
    assert got.item() == pytest.approx(5.0)  # layer_norm([4, 12]) is [-1, 1]; plus [5, 0]; summed


def test_weight_norm():
    v, g = torch.tensor([[3.0, 4.0]]), torch.tensor([10.0])
    assert kata.weight_norm(v, g).tolist()[0] == pytest.approx([6.0, 8.0])
    dv, dg = kata.weight_norm_backward(torch.tensor([[1.0, 0.0]]), v, g)
    assert dv.tolist()[0] == pytest.approx([1.28, -0.96])
    assert dg.item() == pytest.approx(0.6)
