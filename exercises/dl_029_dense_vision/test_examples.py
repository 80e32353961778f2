"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import dense_vision as kata
import pytest
import torch


def test_decode_boxes():
    raw, anchors = torch.zeros(1, 1, 1, 2, 4), torch.tensor([[4.0, 6.0]])
    assert kata.decode_boxes(raw, anchors, 8)[0, 0, 0].tolist() == [[2, 1, 6, 7], [10, 1, 14, 7]]
    raw[0, 0, 0, 1, 2] = math.log(2)  # twice as wide as the anchor
    assert kata.decode_boxes(raw, anchors, 8)[0, 0, 0, 1].tolist() == pytest.approx([8, 1, 16, 7])
    got = kata.encode_boxes(torch.tensor([[8.0, 1, 16, 7]]), anchors, torch.tensor([[0, 1]]), 8)
    assert got[0].tolist() == pytest.approx([0, 0, math.log(2), 0])


def test_complete_iou():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]])
    b = torch.tensor([[1.0, 0, 3, 2], [4, 0, 6, 2], [0, 0, 2, 2]])  # one pixel apart, four apart, the same
    assert kata.complete_iou(a, b).tolist() == pytest.approx([1 / 3 - 1 / 13, -16 / 40, 1])


def test_assign_anchors():
    predicted = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]]).expand(2, 1, 2, 4)
    anchors = torch.tensor([[2.0, 2.0], [6.0, 6.0]])
    got = kata.assign_anchors(torch.tensor([[8.0, 1, 15, 7]]), anchors, predicted, 8)
    assert got.tolist() == [[[-1, -2]], [[-1, 0]]]  # the other anchor of the right cell says the same: ignored


def test_yolo_loss():
    raw, anchors = torch.zeros(1, 1, 1, 2, 7), torch.tensor([[4.0, 6.0]])
    got = kata.yolo_loss(raw, anchors, 8, [torch.tensor([[2.0, 1, 6, 7]])], [torch.tensor([1])])
    log2 = math.log(2)
    want = {"box": 0, "object": log2, "background": log2, "classes": 2 * log2, "total": 3.5 * log2}
    assert {name: value.item() for name, value in got.items()} == pytest.approx(want, abs=1e-6)


def test_average_precision():
    boxes, truth = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.5], [9, 9, 10, 10]]), torch.tensor([[0.0, 0, 2, 2]])
    assert kata.match_detections(boxes, torch.tensor([0.5, 0.9, 0.7]), truth, 0.5).tolist() == [False, True, False]
    got = kata.average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]), 2)
    assert got == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_unet():
    model = kata.UNet(1, 2, width=2, depth=1)
    assert model(torch.zeros(1, 1, 20, 22)).shape == (1, 2, 4, 6)
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert names == {"down", "up", "merge", "head"}


def test_atrous_pyramid():
    x, one = torch.arange(5.0).reshape(1, 1, 1, 5), torch.ones(1, 1, 1, 1)
    only = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)
    got = kata.atrous_pyramid(x, one, [torch.ones(1, 1, 3, 3)], [2], one, only)
    assert got.flatten().tolist() == [2, 4, 6, 4, 6]  # 0 + 2, 1 + 3, 0 + 2 + 4, ...


def test_convnext_block():
    block = kata.ConvNeXtBlock(3, scale=0.0)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(block(x), x)  # a block of scale 0 changes nothing


def test_grid_partition():
    x = torch.arange(8).reshape(1, 2, 4, 1)
    assert kata.block_partition(x, 2).flatten(2).tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    assert kata.grid_partition(x, 2).flatten(2).tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7]]]
    turned = kata.rotary_2d(torch.tensor([[1.0, 0, 1, 0]]).expand(2, 4), (2, 1))
    assert turned[1].tolist() == pytest.approx([math.cos(1), math.sin(1), 1, 0])


def test_equivariance_gap():
    x = torch.tensor([[[[1.0, 2.0, 4.0, 7.0]]]])
    assert kata.equivariance_gap(torch.relu, x, (0, 1)) == 0
    got = kata.equivariance_gap(lambda x: x[..., ::2], x, (0, 1), stride=2)  # gives (7, 2), and not (1, 4)
    assert got == pytest.approx(math.sqrt((6**2 + 2**2) / (1**2 + 4**2)))
