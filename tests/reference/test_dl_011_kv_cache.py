"""dl_011_kv_cache against what nobody here wrote: published figures, and attention layers of transformers."""

import pytest
import torch

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_011_kv_cache")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("kind", "sizes", "layers", "values"),
    [
        ("mha", {"heads": 32, "head_dim": 128}, 32, 262_144),  # Llama-2-7B: 524,288 bytes in float16
        ("gqa", {"heads": 64, "kv_heads": 8, "head_dim": 128}, 80, 163_840),  # Llama-2-70B
        ("mqa", {"heads": 71, "head_dim": 64}, 32, 4_096),  # Falcon-7B
        ("mla", {"heads": 128, "latent_dim": 512, "rope_dim": 64}, 60, 34_560),  # DeepSeek-V2
    ],
)
def test_published_sizes(kata, kind, sizes, layers, values):
    assert kata.kv_cache_bytes(kind, 1, layers, **sizes, dtype=torch.float16) == 2 * values


def test_llama_2_7b_at_28k_tokens_takes_14_gib(kata):
    assert kata.kv_cache_bytes("mha", 28 * 1024, 32, heads=32, head_dim=128) == 14 * 2**30


def test_mla_equals_gqa_with_two_and_a_quarter_groups(kata):
    """DeepSeek-V2, table 1: with d_c = 4 d_h and d_h^R = d_h / 2 MLA caches 9/2 d_h, "GQA with only 2.25 groups"."""
    four = kata.kv_cache_bytes("mla", 4, 60, latent_dim=512, rope_dim=64)
    assert four == kata.kv_cache_bytes("gqa", 1, 60, heads=126, kv_heads=9, head_dim=128)


@pytest.mark.parametrize("g", [8, 4, 2, 1])
def test_grouped_query_attention_is_torchs(kata, g):
    q, k, v = torch.randn(2, 8, 11, 16), torch.randn(2, g, 11, 16), torch.randn(2, g, 11, 16)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(kata.grouped_query_attention(q, k, v), want)


@pytest.mark.parametrize(("per", "axis"), [("token", 0), ("channel", 1)])
def test_int8_is_torchs_fake_quantization(kata, per, axis):
    x = torch.randn(7, 13)
    codes, scale = kata.quantize_kv(x, per)
    zero = torch.zeros(x.shape[axis], dtype=torch.int32)
    want = torch.fake_quantize_per_channel_affine(x, scale.flatten(), zero, axis, -127, 127)
    torch.testing.assert_close(kata.dequantize_kv(codes, scale), want)


# ---------------------------------------------------------------------------------- transformers: Llama, DynamicCache

PIECES = [5, 1, 1, 3, 1]


def _tiny_llama(kv_heads):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=kv_heads,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).double().eval()


def _with_attention(model, attention):
    """Let every layer of the model attend with a function of ours."""
    from transformers import AttentionInterface

    AttentionInterface.register("kata", attention)
    model.set_attn_implementation("kata")
    return model


@pytest.mark.reference
@pytest.mark.parametrize("kv_heads", [6, 3, 2, 1])
def test_llama_with_a_dynamic_cache_attends_like_grouped_query_attention(kata, kv_heads):
    """Llama's logits, decoded in pieces over a DynamicCache, stay the same with our attention in its layers."""
    from transformers import DynamicCache

    model, tokens = _tiny_llama(kv_heads), torch.randint(97, (2, sum(PIECES)))
    with torch.no_grad():
        want = model(tokens, use_cache=False).logits

        def attention(layer, q, k, v, mask, scaling, **_):
            assert scaling == q.shape[-1] ** -0.5
            return kata.grouped_query_attention(q, k, v).transpose(1, 2).contiguous(), None

        _with_attention(model, attention)
        cache, got = DynamicCache(config=model.config), []
        for piece in tokens.split(PIECES, 1):
            got.append(model(piece, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(got, 1), want)


@pytest.mark.reference
def test_llama_with_our_cache_in_place_of_its_own(kata):
    """Llama's logits over a DynamicCache stay the same with our KVCache, prefill and decode_step, in every layer."""
    from transformers import DynamicCache

    model, tokens = _tiny_llama(6), torch.randint(97, (2, sum(PIECES)))
    ours = [kata.KVCache(2, 6, sum(PIECES), 8, dtype=torch.float64) for _ in range(3)]

    def attention(layer, q, k, v, mask, scaling, **_):
        t = q.shape[2]
        k, v, cache = k[:, :, -t:], v[:, :, -t:], ours[layer.layer_idx]
        if t == 1:
            out = kata.decode_step(q[:, :, 0], k[:, :, 0], v[:, :, 0], cache)[:, :, None]
        else:
            out = kata.prefill(q, k, v, cache)
        return out.transpose(1, 2).contiguous(), None

    with torch.no_grad():
        theirs, want = DynamicCache(config=model.config), []
        for piece in tokens.split(PIECES, 1):
            want.append(model(piece, past_key_values=theirs, use_cache=True).logits)
        _with_attention(model, attention)
        # The positions of a piece come from the length of the cache that transformers keeps beside ours.
        beside, got = DynamicCache(config=model.config), []
        for piece in tokens.split(PIECES, 1):
            got.append(model(piece, past_key_values=beside, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(got, 1), torch.cat(want, 1))
    for cache, layer in zip(ours, theirs.layers, strict=True):
        torch.testing.assert_close(cache.k, layer.keys)
        torch.testing.assert_close(cache.v, layer.values)


# ------------------------------------------------------------------------------------------ transformers: DeepSeek-V2


@pytest.mark.reference
def test_latent_attention_is_deepseek_v2s(kata):
    """With copied weights, forward, decode and what is cached agree with DeepseekV2Attention."""
    from transformers import DeepseekV2Config, DynamicCache
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention, DeepseekV2RotaryEmbedding

    dim, heads, head_dim, rope_dim, latent_dim, value_dim = 21, 3, 8, 4, 10, 6
    config = DeepseekV2Config(
        hidden_size=dim,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        num_hidden_layers=1,
        q_lora_rank=None,
        kv_lora_rank=latent_dim,
        qk_nope_head_dim=head_dim,
        qk_rope_head_dim=rope_dim,
        v_head_dim=value_dim,
        head_dim=rope_dim,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    theirs = DeepseekV2Attention(config, layer_idx=0).eval()
    torch.nn.init.uniform_(theirs.kv_a_layernorm.weight, 0.5, 2.0)
    ours = kata.MultiHeadLatentAttention(dim, heads, head_dim, rope_dim, latent_dim, value_dim)
    up = theirs.kv_b_proj.weight.unflatten(0, (heads, head_dim + value_dim))
    weights = {
        "q_proj.weight": theirs.q_proj.weight,
        "kv_down.weight": theirs.kv_a_proj_with_mqa.weight,
        "kv_norm.weight": theirs.kv_a_layernorm.weight,
        "k_up": up[:, :head_dim],
        "v_up": up[:, head_dim:],
        "out.weight": theirs.o_proj.weight,
    }
    ours.load_state_dict({name: weight.detach() for name, weight in weights.items()})

    s = sum(PIECES)
    x, rotary = torch.randn(2, s, dim), DeepseekV2RotaryEmbedding(config)
    cache, want, got, mine = DynamicCache(config=config), [], [], torch.zeros(2, 0, latent_dim + rope_dim)
    with torch.no_grad():
        for start, piece in zip(torch.tensor([0, *PIECES]).cumsum(0).tolist(), x.split(PIECES, 1), strict=False):
            t = piece.shape[1]
            place = torch.arange(start, start + t)
            mask = torch.zeros(t, start + t).masked_fill(torch.arange(start + t) > place[:, None], -torch.inf)
            turn = rotary(piece, place[None].expand(2, -1))
            want.append(theirs(piece, mask[None, None], past_key_values=cache, position_embeddings=turn)[0])
            out, mine = ours.decode(piece, mine)
            got.append(out)
        torch.testing.assert_close(torch.cat(got, 1), torch.cat(want, 1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours(x), torch.cat(want, 1), atol=1e-5, rtol=1e-4)
    layer = cache.layers[0]
    torch.testing.assert_close(mine, torch.cat([layer.keys, layer.values], -1)[:, 0], atol=1e-5, rtol=1e-4)


# -------------------------------------------------------------------------------------------------- StreamingLLM, H2O


@pytest.mark.parametrize(("length", "sinks", "recent"), [(5, 4, 4), (8, 4, 4), (9, 4, 4), (100, 4, 12), (30, 0, 7)])
def test_sinks_are_those_of_the_rolling_cache(kata, length, sinks, recent):
    """StreamingLLM, section 3.2: the first `sinks` tokens and the last `recent`, whatever was evicted before."""
    kept = []
    for token in range(length):  # as generation does it, one token at a time
        kept.append(token)
        if len(kept) > sinks + recent:
            del kept[sinks]
    got = kata.evict("sinks", torch.zeros(1, length), sinks + recent, sinks=sinks)
    assert got.tolist() == kept


def test_heavy_hitters_are_the_columns_that_received_most(kata):
    """By hand: column sums 2.2, 0.5, 1.0, 0.3; two stay beside the newest."""
    weights = torch.tensor([[1.0, 0, 0, 0], [0.7, 0.3, 0, 0], [0.3, 0.1, 0.6, 0], [0.2, 0.1, 0.4, 0.3]])
    assert kata.evict("heavy", weights, 3, recent=1).tolist() == [0, 2, 3]
