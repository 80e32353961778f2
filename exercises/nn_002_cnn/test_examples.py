"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import cnn as kata
import numpy as np
import pytest


def test_conv_output_size():
    # 7 pixels, a kernel of 3: its first tap may stand at 0, 1, 2, 3, 4; at stride 2 at 0, 2, 4
    assert kata.conv_output_size(7, 3) == 5
    assert kata.conv_output_size(7, 3, stride=2) == 3
    assert kata.conv_output_size(7, 3, dilation=2) == 3  # it spans 5
    with pytest.raises(ValueError):
        kata.conv_output_size(4, 5)


def test_same_padding():
    assert kata.same_padding(5) == (2, 2)
    assert kata.same_padding(4) == (1, 2)  # the one more after


def test_receptive_field():
    assert kata.receptive_field([(3, 1, 1, 1)] * 3) == (7, 1, 0.0)
    # the second layer sees 3 + 2 = 5 pixels; its outputs lie 2 apart, so the third adds 2·2
    assert kata.receptive_field([(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 1, 1)]) == (9, 2, 0.0)


def test_im2col():
    x = np.arange(6.0).reshape(1, 1, 2, 3)  # 0 1 2 / 3 4 5: the windows 0 1 3 4 and 1 2 4 5, each a column
    assert kata.im2col(x, (2, 2)).tolist() == [[[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]]


def test_col2im():
    # the two pixels in the middle stand in both windows
    got = kata.col2im(np.ones((1, 4, 2)), (1, 1, 2, 3), (2, 2))
    assert got.tolist() == [[[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]]


def test_conv2d():
    x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, 10.0]]]])
    # 0 + 10·4, 1 + 10·5 / 3 + 10·7, 4 + 10·8: nothing is flipped
    assert kata.conv2d(x, w).tolist() == [[[[40.0, 51.0], [73.0, 84.0]]]]


def test_conv2d_backward():
    x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, 10.0]]]])
    dx, dw, db = kata.conv2d_backward(x, w, np.ones((1, 1, 2, 2)))
    assert dx.tolist() == [[[[1.0, 1.0, 0.0], [1.0, 11.0, 10.0], [0.0, 10.0, 10.0]]]]
    assert dw.tolist() == [[[[8.0, 12.0], [20.0, 24.0]]]]  # 0 + 1 + 3 + 4, 1 + 2 + 4 + 5, ...
    assert db.tolist() == [4.0]


def test_pool2d():
    x = np.array([[[[-4.0, -2.0], [-8.0, -6.0]]]])
    assert kata.pool2d("max", x, (2, 2), (2, 2)).tolist() == [[[[-2.0]]]]
    assert kata.pool2d("average", x, (2, 2), (2, 2)).tolist() == [[[[-5.0]]]]
    # with padding each window holds one pixel and three places of padding
    assert kata.pool2d("max", x, (2, 2), (2, 2), (1, 1)).tolist() == x.tolist()
    # 5 is the largest of both windows
    got = kata.pool2d_backward("max", np.array([[[[1.0, 5.0, 2.0]]]]), np.array([[[[10.0, 1.0]]]]), (1, 2), (1, 1))
    assert got.tolist() == [[[[0.0, 11.0, 0.0]]]]


def test_conv_transpose2d():
    x, w = np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 2.0, 3.0]]]])
    # 1 2 3 at place 0, 10 20 30 at place 2: they add up where they meet
    assert kata.conv_transpose2d(x, w, stride=(1, 2)).tolist() == [[[[1.0, 2.0, 13.0, 20.0, 30.0]]]]
    assert kata.conv_transpose2d(x, w, stride=(1, 2), padding=(0, 1)).tolist() == [[[[2.0, 13.0, 20.0]]]]


def test_conv_cost():
    assert kata.conv_cost(3, 64, (3, 3), (224, 224)) == (64 * 27 + 64, 64 * 27 * 224 * 224)
    # 9 weights for each of 32 channels, then 32·64
    assert kata.separable_cost(32, 64, (3, 3), (112, 112), bias=False) == (2336, 2336 * 112 * 112)


def test_linear_as_conv():
    w = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]])
    assert kata.linear_as_conv(w, (1, 2, 2)).tolist() == [[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]]
