"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import pytest
import sequence_conv as kata
import torch


def test_causal_convolution():
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    weight = torch.tensor([[[10.0, 1.0]]])
    assert kata.causal_convolution(x, weight).flatten().tolist() == [1, 12, 23, 34]
    assert kata.causal_convolution(x, weight, dilation=2).flatten().tolist() == [1, 2, 13, 24]
    assert kata.causal_convolution(x, weight, torch.tensor([5.0])).flatten().tolist() == [6, 17, 28, 39]


def test_receptive_field():
    assert kata.receptive_field([3, 2], [1, 4], [2, 1]) == 11
    assert kata.receptive_field([2] * 10, [2**n for n in range(10)], [1] * 10) == 1024
    assert [kata.tcn_levels(3, length) for length in (1, 29, 30)] == [0, 3, 4]
    with pytest.raises(ValueError):
        kata.receptive_field([2, 2], [1], [1, 1])


def test_tcn_block():
    block = kata.TCNBlock(1, 1, kernel=1, dilation=1)
    with torch.no_grad():  # v / |v| is 1, so the weights are g: 2 and 3
        for name, value in (("v1", 5.0), ("g1", 2.0), ("v2", 0.1), ("g2", 3.0), ("bias2", 1.0)):
            getattr(block, name).fill_(value)
    assert block(torch.tensor([[[1.0, -1.0]]])).flatten().tolist() == pytest.approx([8.0, 0.0])  # 3·2 + 1 + 1; 1 - 1


def test_mu_law():
    assert kata.mu_law(torch.tensor([-1.0, 0.0, 0.01, 1.0])).tolist() == [0, 128, 157, 255]
    back = kata.mu_law_inverse(torch.tensor([0, 128, 157, 255]))
    assert back.tolist() == pytest.approx([-1.0, 8.62e-05, 0.0102253, 1.0], rel=1e-3)


def test_gated_layer():
    layer = kata.GatedLayer(1, 1, kernel=1, dilation=1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([100.0, 0.0]))  # tanh 1, sigmoid 1/2
        layer.out_weight.fill_(4.0)
        layer.skip_weight.fill_(6.0)
    on, out = layer(torch.tensor([[[7.0]]]))
    assert (on.item(), out.item()) == (9.0, 3.0)


def test_wavenet():
    model = kata.WaveNet(symbols=5, channels=3, skip=4, kernel=2, dilations=[1, 2])
    codes = torch.tensor([[1, 2, 3, 4]])
    other = torch.tensor([[1, 2, 0, 0]])
    same = (model(codes) - model(other)).abs().amax(dim=2)[0] < 1e-6
    assert same.tolist() == [True, True, True, False]  # row 2 does not know codes[2] yet


def test_fast_generate():
    model = kata.WaveNet(symbols=3, channels=2, skip=2, kernel=2, dilations=[1, 2])
    with torch.no_grad():
        model.logit_weight.zero_()
        model.logit_bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    got = kata.fast_generate(model, torch.tensor([[2]]), torch.tensor([[0.1, 0.69, 0.71]]))
    assert got.tolist() == [[2, 0, 1, 2]]


def test_convolution_module():
    module = kata.ConvolutionModule(2, kernel=2).eval()
    with torch.no_grad():
        module.in_weight.zero_()
        module.in_bias.copy_(torch.tensor([2.0, 2.0, 0.0, 0.0]))  # 2 · sigmoid(0) = 1 at each step
        module.depth_weight.copy_(torch.tensor([[10.0, 1.0], [10.0, 1.0]]))
        module.out_weight.copy_(torch.eye(2))
    got = module(torch.zeros(1, 3, 2))[0, :, 0]
    assert got.tolist() == pytest.approx([11.0, 11.0, 10.0], rel=1e-3)  # the zero stands on the right


def test_conformer_block():
    one = torch.ones(1, 1, 2, 1)
    far = torch.tensor([[[0.0], [0.0], [100.0]]])  # distance 1: the second query sees the first key alone
    v = torch.tensor([[[[4.0], [8.0]]]])
    got = kata.relative_attention(one, one, v, far, torch.zeros(1, 1), torch.zeros(1, 1))
    assert got.flatten().tolist() == [6.0, 4.0]
    assert kata.ConformerBlock(width=4, heads=2, kernel=3)(torch.ones(2, 5, 4)).shape == (2, 5, 4)


def test_streaming_cost():
    assert kata.streaming_cost("tcn", 64, kernel=3, levels=8)["state"] == 65_280
    assert kata.streaming_cost("lstm", 64)["state"] == 128
    assert kata.streaming_cost("gru", 64)["flops"] == 6 * 2 * 64 * 64
    assert kata.streaming_cost("attention", 64, seen=9)["state"] == 2 * 10 * 64
