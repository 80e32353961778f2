"""dl_025's solution against torch, pytorch-tcn, transformers, and the figures of its statement and of the papers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_025_sequence_conv")


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_block_is_that_of_torchs_layers(kata):
    """The authors' block of torch's weight norm, convolutions that pad both sides, and a cut after each."""
    block, x = kata.TCNBlock(3, 5, kernel=3, dilation=2).double(), drawn(2, 3, 13)
    layers = [nn.utils.parametrizations.weight_norm(nn.Conv1d(i, 5, 3, padding=4, dilation=2).double()) for i in (3, 5)]
    down = nn.Conv1d(3, 5, 1).double()
    with torch.no_grad():
        for layer, n in zip(layers, "12", strict=True):
            layer.parametrizations.weight.original0.copy_(getattr(block, f"g{n}").uniform_(0.5, 2)[:, None, None])
            layer.parametrizations.weight.original1.copy_(getattr(block, f"v{n}"))
            layer.bias.copy_(getattr(block, f"bias{n}").uniform_(-1, 1))
        down.weight.copy_(block.skip_weight[:, :, None])
        down.bias.copy_(block.skip_bias.uniform_(-1, 1))
    y = x
    for layer in layers:
        y = layer(y)[:, :, :13].relu()
    torch.testing.assert_close(block(x), (y + down(x)).relu())


@pytest.mark.reference
def test_blocks_are_those_of_pytorch_tcn(kata):
    """A network with copied weights, in training mode: three levels, two of which change the width."""
    from pytorch_tcn import TCN

    theirs = TCN(3, [5, 5, 4], kernel_size=3, dropout=0.0).double()
    blocks = nn.Sequential(
        *(kata.TCNBlock(i, o, 3, 2**level) for level, (i, o) in enumerate([(3, 5), (5, 5), (5, 4)]))
    ).double()
    with torch.no_grad():
        for block, level in zip(blocks, theirs.network, strict=True):
            for n, layer in (("1", level.conv1), ("2", level.conv2)):
                layer.parametrizations.weight.original0.copy_(getattr(block, f"g{n}").uniform_(0.5, 2)[:, None, None])
                layer.parametrizations.weight.original1.copy_(getattr(block, f"v{n}"))
                layer.bias.copy_(getattr(block, f"bias{n}").uniform_(-1, 1))
            assert (block.skip_weight is None) == (level.downsample is None)
            if level.downsample is not None:
                level.downsample.weight.copy_(block.skip_weight[:, :, None])
                level.downsample.bias.copy_(block.skip_bias.uniform_(-1, 1))
    x = drawn(2, 3, 40)
    torch.testing.assert_close(blocks(x), theirs(x))


@pytest.mark.reference
@pytest.mark.parametrize(("width", "kernel", "levels"), [(64, 3, 8), (5, 4, 3), (2, 2, 1)])
def test_the_state_of_a_stream_is_pytorch_tcns(kata, width, kernel, levels):
    """What its layers keep from one step of a stream to the next."""
    from pytorch_tcn import TCN

    kept = TCN(width, [width] * levels, kernel_size=kernel).get_buffers()
    assert kata.streaming_cost("tcn", width, kernel=kernel, levels=levels)["state"] == sum(b.numel() for b in kept)


def test_figures_of_the_statement(kata):
    stack = [2**n for n in range(10)]
    assert kata.receptive_field([2] * 10, stack, [1] * 10) == 1024
    assert kata.receptive_field([2] * 30, stack * 3, [1] * 30) == 3070
    assert kata.receptive_field([2] * 10, [1] * 10, [1] * 10) == 11
    assert kata.tcn_levels(3, 1_000) == 8
    assert kata.receptive_field([3] * 16, [2 ** (n // 2) for n in range(16)], [1] * 16) == 1021
    assert kata.streaming_cost("tcn", 64, kernel=3, levels=8) == {"state": 65_280, "flops": 393_216}
    assert kata.streaming_cost("lstm", 64) == {"state": 128, "flops": 65_536}
    assert kata.streaming_cost("gru", 64) == {"state": 64, "flops": 49_152}
    assert kata.streaming_cost("attention", 64, seen=1_000) == {"state": 128_128, "flops": 289_024}
    assert sum(2**n for n in range(10)) == 1023  # convolutions of a stack's naive tree for one sample


def test_weights_of_recurrent_layers_are_torchs(kata):
    for kind, layer in (("lstm", nn.LSTM(7, 7, bias=False)), ("gru", nn.GRU(7, 7, bias=False))):
        assert kata.streaming_cost(kind, 7)["flops"] == 2 * sum(value.numel() for value in layer.parameters())


@pytest.mark.reference
def test_conformer_is_transformers(kata):
    """A layer with copied weights; transformers lists positions from the farthest ahead to the farthest back."""
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as theirs

    d, heads, kernel, t = 8, 2, 5, 11
    config = Wav2Vec2ConformerConfig(
        hidden_size=d, num_attention_heads=heads, intermediate_size=4 * d, hidden_act="swish",
        conv_depthwise_kernel_size=kernel, position_embeddings_type="relative", attention_dropout=0.0,
        hidden_dropout=0.0, activation_dropout=0.0, conformer_conv_dropout=0.0, max_source_positions=50,
    )  # fmt: skip
    torch.manual_seed(0)
    layer = theirs.Wav2Vec2ConformerEncoderLayer(config).double().eval()
    block = kata.ConformerBlock(d, heads, kernel).double().eval()
    attention, convolution = layer.self_attn, layer.conv_module
    pairs = [
        (block.first_norm, layer.ffn1_layer_norm), (block.second_norm, layer.ffn2_layer_norm),
        (block.first_in, layer.ffn1.intermediate_dense), (block.first_out, layer.ffn1.output_dense),
        (block.second_in, layer.ffn2.intermediate_dense), (block.second_out, layer.ffn2.output_dense),
        (block.attention_norm, layer.self_attn_layer_norm), (block.final_norm, layer.final_layer_norm),
        (block.query, attention.linear_q), (block.key, attention.linear_k), (block.value, attention.linear_v),
        (block.attention_out, attention.linear_out), (block.position, attention.linear_pos),
        (block.convolution.norm, convolution.layer_norm), (block.convolution.batch_norm, convolution.batch_norm),
    ]  # fmt: skip
    with torch.no_grad():
        for value in layer.parameters():
            value.normal_()
        for mine, right in pairs:
            mine.load_state_dict(right.state_dict())
        block.content_bias.copy_(attention.pos_bias_u)
        block.position_bias.copy_(attention.pos_bias_v)
        own = block.convolution
        own.in_weight.copy_(convolution.pointwise_conv1.weight[:, :, 0])
        own.depth_weight.copy_(convolution.depthwise_conv.weight[:, 0])
        own.out_weight.copy_(convolution.pointwise_conv2.weight[:, :, 0])
    x = drawn(2, t, d)
    positions = theirs.Wav2Vec2ConformerRelPositionalEmbedding(config)(x)
    want = layer(x, relative_position_embeddings=positions)
    torch.testing.assert_close(block(x), want)


def test_batch_norm_over_time_lets_the_future_in(kata):
    """What the statement says of it: the past of a training-mode network moves when the future changes."""
    x = drawn(2, 3, 11)
    later = torch.cat([x[:, :, :7], x[:, :, 7:] + 5], dim=2)
    past = [F.batch_norm(one, None, None, training=True)[:, :, :7] for one in (x, later)]
    assert (past[0] - past[1]).abs().max() > 0.5
    block = kata.TCNBlock(3, 3, kernel=2, dilation=1).double().train()
    torch.testing.assert_close(block(x)[:, :, :7], block(later)[:, :, :7])
