"""dl_001_attention_mechanism against torch's attention and layer, layers of transformers, and the figures it states."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_001_attention_mechanism")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _qkv(t, s, d=8, e=6, heads=3):
    return [torch.randn(2, heads, n, width).double() for n, width in ((t, d), (s, d), (s, e))]


# ------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_is_torchs(kata, dim):
    x = 10 * torch.randn(5, 7, 3).double()
    torch.testing.assert_close(kata.softmax(x, dim), x.softmax(dim))


def test_softmax_of_the_seeds_example(kata):
    """The numbers that theory seeds give for the largest entry taken away: softmax([500, 510, 490])."""
    got = kata.softmax(torch.tensor([500.0, 510.0, 490.0]).double(), 0)
    torch.testing.assert_close(got, torch.tensor([4.5398e-5, 0.9999546, 2.061e-9]).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_in_values_and_gradients(kata, scale, masked):
    mask = torch.rand(2, 1, 5, 7) < 0.6 if masked else None
    if masked:
        mask[..., 2] = True
    ours = [x.requires_grad_() for x in _qkv(5, 7)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    got, _ = kata.scaled_dot_product_attention(*ours, mask, scale)
    want = scaled_dot_product_attention(*theirs, attn_mask=mask, scale=scale)
    torch.testing.assert_close(got, want)
    g = torch.randn_like(want)
    got.backward(g)
    want.backward(g)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad)


def test_causal_squares_are_torchs(kata):
    """torch aligns is_causal to the top left: the same for as many queries as keys, and only then."""
    q, k, v = _qkv(7, 7)
    got, _ = kata.scaled_dot_product_attention(q, k, v, kata.attention_mask(torch.tensor([7, 7]), 7, 7, causal=True))
    torch.testing.assert_close(got, scaled_dot_product_attention(q, k, v, is_causal=True))
    from torch.nn.attention.bias import causal_lower_right

    q = q[:, :, 4:]
    got, _ = kata.scaled_dot_product_attention(q, k, v, kata.attention_mask(torch.tensor([7, 7]), 3, 7, causal=True))
    v8 = torch.cat([v, torch.zeros_like(v[..., :2])], -1)
    want = scaled_dot_product_attention(q, k, v8, attn_mask=causal_lower_right(3, 7))
    torch.testing.assert_close(got, want[..., :6])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_layer_is_torchs(kata, heads):
    """nn.MultiheadAttention with its own state dict; its masks mean the opposite."""
    theirs = nn.MultiheadAttention(12, heads, batch_first=True).double()
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    ours = kata.MultiHeadAttention(12, heads).double()
    ours.load_state_dict(theirs.state_dict())
    x, memory = torch.randn(3, 5, 12).double(), torch.randn(3, 7, 12).double()
    mask = kata.attention_mask(torch.tensor([7, 4, 1]), 5, 7)
    want = theirs(x, memory, memory, key_padding_mask=~mask[:, 0, 0], average_attn_weights=False)
    torch.testing.assert_close(ours(x, memory, mask), want)
    want = theirs(x, x, x, attn_mask=torch.ones(5, 5).triu(1).bool(), average_attn_weights=False)
    torch.testing.assert_close(ours(x, mask=torch.ones(5, 5).tril().bool()), want)


def test_parameters_of_the_papers_layer(kata):
    ours, theirs = kata.MultiHeadAttention(512, 8), nn.MultiheadAttention(512, 8)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 1_050_624


def test_backward_is_torchs(kata):
    inputs = [x.requires_grad_() for x in _qkv(5, 7)]
    mask = kata.attention_mask(torch.tensor([7, 3]), 5, 7, causal=True)
    out = scaled_dot_product_attention(*inputs, attn_mask=mask)
    g = torch.randn_like(out)
    want = torch.autograd.grad(out, inputs, g)
    q, k, v = (x.detach() for x in inputs)
    _, weights = kata.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(kata.attention_backward(q, k, v, weights, g), want)


def test_the_layer_passes_gradcheck(kata):
    layer = kata.MultiHeadAttention(6, 2).double()
    mask = torch.rand(2, 1, 3, 4) < 0.6
    inputs = [torch.randn(2, n, 6).double().requires_grad_() for n in (3, 4)]
    assert torch.autograd.gradcheck(lambda x, memory: layer(x, memory, mask), inputs)


def test_contributions_are_the_layers_output(kata):
    layer = kata.MultiHeadAttention(12, 3).double()
    x = torch.randn(2, 5, 12).double()
    out, weights = layer(x)
    v = (x @ layer.in_proj_weight[24:].T + layer.in_proj_bias[24:]).unflatten(-1, (3, 4)).transpose(1, 2)
    parts = kata.head_contributions(weights, v, layer.out_proj.weight)
    torch.testing.assert_close(parts.sum(1) + layer.out_proj.bias, out)


def test_figures_of_saturation(kata):
    """d = 512, 64 keys: a score deviation of 22.6, a top weight of 0.93 unscaled and 0.11 scaled, as stated."""
    q, k = torch.randn(20_000, 512).double(), torch.randn(64, 512).double()
    variance, top, slope = kata.saturation(q, k, 1.0)
    assert variance.sqrt().item() == pytest.approx(22.6, abs=0.6)
    assert top.item() == pytest.approx(0.93, abs=0.01)
    _, scaled, learns = kata.saturation(q, k, 512**-0.5)
    assert scaled.item() == pytest.approx(0.11, abs=0.01)
    assert learns.item() > 5 * slope.item()


def test_the_slope_is_the_trace_of_the_jacobian(kata):
    q, k = torch.randn(1, 4).double(), torch.randn(7, 4).double()
    jacobian = torch.autograd.functional.jacobian(lambda s: s.softmax(0), (q @ k.T)[0])
    torch.testing.assert_close(kata.saturation(q, k, 1.0)[2], jacobian.trace())


# ------------------------------------------------------------------------------------------------------- transformers


@pytest.mark.reference
def test_qk_norm_is_qwen3s(kata):
    from transformers import Qwen3Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

    n, heads, d = 7, 3, 4
    config = Qwen3Config(
        hidden_size=heads * d,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=d,
        num_hidden_layers=1,
        attn_implementation="eager",
    )
    theirs = Qwen3Attention(config, layer_idx=0).eval()
    for norm in (theirs.q_norm, theirs.k_norm):
        nn.init.normal_(norm.weight)
    x = torch.randn(2, n, heads * d)
    unturned = torch.ones(1, n, d), torch.zeros(1, n, d)  # the cosines and sines of no rotation
    seen = torch.ones(n, n).tril().bool()
    hide = torch.zeros(n, n).masked_fill(~seen, -torch.inf)[None, None]
    with torch.no_grad():
        want, weights = theirs(x, position_embeddings=unturned, attention_mask=hide)
        q, k, v = (
            p(x).unflatten(-1, (heads, d)).transpose(1, 2) for p in (theirs.q_proj, theirs.k_proj, theirs.v_proj)
        )
        got = kata.qk_norm_attention(q, k, v, theirs.q_norm.weight, theirs.k_norm.weight, seen, config.rms_norm_eps)
        torch.testing.assert_close(got[1], weights)
        torch.testing.assert_close(theirs.o_proj(got[0].transpose(1, 2).flatten(2)), want)


@pytest.mark.reference
def test_sinks_are_gpt_oss(kata):
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

    class Layer(nn.Module):
        num_key_value_groups = 1

        def __init__(self):
            super().__init__()
            self.sinks = nn.Parameter(torch.randn(3).double())

    layer, (q, k, v) = Layer().eval(), _qkv(7, 7)
    seen = torch.ones(7, 7).tril().bool()
    hide = torch.zeros(7, 7).double().masked_fill(~seen, -torch.inf)[None, None]
    want, weights = eager_attention_forward(layer, q, k, v, hide, scaling=8**-0.5)
    got = kata.sink_attention(q, k, v, layer.sinks, seen)
    torch.testing.assert_close(got, (want.transpose(1, 2), weights))
