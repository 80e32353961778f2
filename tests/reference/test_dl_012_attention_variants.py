"""dl_012_attention_variants against what nobody here wrote: torch's attention, masks and layers of transformers."""

import pytest
import torch
from torch.nn.functional import multi_head_attention_forward, scaled_dot_product_attention

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_012_attention_variants")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _qkv(t, s, d=8, e=6, heads=3):
    return [torch.randn(2, heads, n, width).double() for n, width in ((t, d), (s, d), (s, e))]


# ------------------------------------------------------------------------------------------------- torch's attention


def _torch_heads(x, memory, wq, wk, wv, wo, heads, padding):
    """torch's own layer, which wants time first, a width that is that of the heads together, and d = e."""
    return multi_head_attention_forward(
        x.transpose(0, 1),
        memory.transpose(0, 1),
        memory.transpose(0, 1),
        x.shape[2],
        heads,
        None,
        None,
        None,
        None,
        False,
        0.0,
        wo,
        None,
        key_padding_mask=padding,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=wq,
        k_proj_weight=wk,
        v_proj_weight=wv,
    )[0].transpose(0, 1)


def test_cross_attention_is_torchs_layer(kata):
    x, memory = torch.randn(3, 5, 12), torch.randn(3, 7, 10)
    weights = torch.randn(12, 12), torch.randn(12, 10), torch.randn(12, 10), torch.randn(12, 12)
    padding = torch.arange(7) >= torch.tensor([[7], [4], [1]])
    want = _torch_heads(x, memory, *weights, 4, padding)
    torch.testing.assert_close(kata.cross_attention(x, memory, *weights, 4, padding), want, atol=1e-4, rtol=1e-4)


def test_flash_attention_is_torchs_in_values_and_gradients(kata):
    for t, s in ((50, 50), (20, 50)):
        seen = torch.ones(t, s).tril(s - t).bool()
        for causal, mask in ((False, None), (True, seen)):
            ours = [x.requires_grad_() for x in _qkv(t, s)]
            theirs = [x.detach().clone().requires_grad_() for x in ours]
            got = kata.FlashAttention.apply(*ours, causal, 16, 12)
            want = scaled_dot_product_attention(*theirs, attn_mask=mask)
            torch.testing.assert_close(got, want)
            g = torch.randn_like(want)
            got.backward(g)
            want.backward(g)
            for x, y in zip(ours, theirs, strict=True):
                torch.testing.assert_close(x.grad, y.grad)


def test_the_log_sum_exp_is_that_of_torchs_flash_kernel(kata):
    q, k, v = _qkv(37, 37, 8, 8)
    want = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    out, lse = kata.flash_attention_forward(q, k, v, True, 16, 8)
    torch.testing.assert_close(out, want[0])
    torch.testing.assert_close(lse.float(), want[1].float().reshape(lse.shape))


def test_flash_attention_passes_gradcheck(kata):
    inputs = [x.requires_grad_() for x in _qkv(5, 7, 3, 2, 1)]
    for causal in (False, True):
        assert torch.autograd.gradcheck(lambda *x, c=causal: kata.FlashAttention.apply(*x, c, 2, 3), inputs)


def test_online_softmax_and_merge_are_one_softmax(kata):
    scores, v = 5 * torch.randn(4, 5, 23).double(), torch.randn(4, 23, 6).double()
    cut = [7, 1, 15]
    whole = kata.online_softmax(zip(scores.split(cut, -1), v.split(cut, -2), strict=True))
    torch.testing.assert_close(whole[0], scores.softmax(-1) @ v)
    torch.testing.assert_close(whole[1], scores.logsumexp(-1))
    halves = [kata.online_softmax([(scores[..., at], v[..., at, :])]) for at in (slice(9), slice(9, None))]
    torch.testing.assert_close(kata.merge(*halves[0], *halves[1]), whole)


# ---------------------------------------------------------------------------------------------------- by hand, papers


def test_published_alibi_slopes(kata):
    """Press et al., section 3: 8 heads have 1/2 .. 1/256, 16 heads begin with 2^-0.5 and end with 2^-8."""
    assert (-kata.alibi_bias(8, 1, 2)[:, 0, 0]).tolist() == [2.0**-i for i in range(1, 9)]
    sixteen = -kata.alibi_bias(16, 1, 2, dtype=torch.float64)[:, 0, 0]
    torch.testing.assert_close(sixteen, torch.tensor([2 ** (-i / 2) for i in range(1, 17)]).double())


def test_mistrals_receptive_field(kata):
    """Mistral 7B, section 2: after L layers of window w information has come from w - 1 tokens back in each."""
    n, window, layers = 30, 4, 5
    x = torch.zeros(1, 1, n, 1).double()
    x[0, 0, 3] = 1.0
    for _ in range(layers):
        x = kata.sliding_window_attention(torch.zeros_like(x), torch.zeros_like(x), x, window)
    assert x.flatten().nonzero().flatten().tolist() == list(range(3, 3 + layers * (window - 1) + 1))


# ------------------------------------------------------------------------------------------------------- transformers


@pytest.mark.reference
@pytest.mark.parametrize("window", [1, 3, 8])
def test_the_causal_window_is_mistrals_mask(kata, window):
    from transformers import MistralConfig
    from transformers.masking_utils import create_sliding_window_causal_mask

    n = 13
    config = MistralConfig(sliding_window=window, num_hidden_layers=1, attn_implementation="eager")
    q, k, v = _qkv(n, n)
    arguments = {
        "config": config,
        "inputs_embeds": torch.zeros(2, n, 4),
        "attention_mask": None,
        "past_key_values": None,
        "position_ids": torch.arange(n)[None],
    }
    mask = create_sliding_window_causal_mask(**arguments)
    seen = mask if mask.dtype == torch.bool else mask == 0
    want = scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(kata.sliding_window_attention(q, k, v, window), want)


@pytest.mark.reference
@pytest.mark.parametrize("heads", [1, 4, 6, 8, 12, 25])
def test_alibi_is_blooms(kata, heads):
    """Bloom adds slope · position of the key: in a row the same up to a constant, which a softmax does not see."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).reshape(heads, 1, 9)
    ours = kata.alibi_bias(heads, 9, 9)
    seen = torch.ones(9, 9).tril().bool()
    want = theirs.expand(heads, 9, 9).masked_fill(~seen, -torch.inf).softmax(-1)
    torch.testing.assert_close(ours.softmax(-1), want)


@pytest.mark.reference
def test_the_soft_cap_is_gemma_2s(kata):
    from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

    class Layer(torch.nn.Module):
        num_key_value_groups = 1
        head_dim = 8

    q, k, v = _qkv(9, 9)
    mask = torch.zeros(9, 9).double().masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf)[None, None]
    want, _ = eager_attention_forward(Layer().eval(), 9 * q, k, v, mask, scaling=8**-0.5, softcap=2.5)
    got = kata.soft_capped_attention(9 * q, k, v, 2.5)
    torch.testing.assert_close(got, want.transpose(1, 2), atol=1e-5, rtol=1e-5)  # their softmax is in float32


@pytest.mark.reference
@pytest.mark.parametrize("tokens", [[0], [0, 1]])
def test_global_tokens_are_longformers(kata, tokens):
    """LongformerSelfAttention with the global projections set to the local ones; its window counts both sides."""
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    n, heads, d, side = 16, 3, 4, 2
    config = LongformerConfig(
        hidden_size=heads * d,
        num_attention_heads=heads,
        attention_window=[2 * side],
        num_hidden_layers=1,
        attention_probs_dropout_prob=0.0,
    )
    theirs = LongformerSelfAttention(config, layer_id=0).double().eval()
    for name in ("query", "key", "value"):
        getattr(theirs, f"{name}_global").load_state_dict(getattr(theirs, name).state_dict())
    x = torch.randn(2, n, heads * d).double()
    is_global = torch.zeros(2, n).bool()
    is_global[:, tokens] = True
    with torch.no_grad():
        want = theirs(
            x,
            attention_mask=torch.where(is_global, 10000.0, 0.0).double(),
            is_index_masked=torch.zeros(2, n).bool(),
            is_index_global_attn=is_global,
            is_global_attn=True,
        )[0]
        q, k, v = (getattr(theirs, f)(x).unflatten(-1, (heads, d)).transpose(1, 2) for f in ("query", "key", "value"))
        got = kata.sliding_window_attention(q, k, v, side, causal=False, global_tokens=torch.tensor(tokens))
    torch.testing.assert_close(got.transpose(1, 2).flatten(2), want)
