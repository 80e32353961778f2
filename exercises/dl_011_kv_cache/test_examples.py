"""A few examples, worked by hand: run them with `pytest exercises/dl_011_kv_cache/test_examples.py`."""

import pytest
import torch
from kv_cache import (
    KVCache,
    MultiHeadLatentAttention,
    PagedKVCache,
    decode_step,
    dequantize_kv,
    evict,
    grouped_query_attention,
    kv_cache_bytes,
    prefill,
    quantize_kv,
)


def column(*values):
    """One sequence, one head, width 1: (1, 1, t, 1)."""
    return torch.tensor(values).reshape(1, 1, -1, 1)


def test_bytes_of_a_small_model():
    # 3 layers, 5 tokens, 4 heads of width 8, 2 bytes a value: 3 · 5 · (2 · 4 · 8) · 2
    assert kv_cache_bytes("mha", 5, 3, heads=4, head_dim=8) == 1920
    assert kv_cache_bytes("mqa", 5, 3, heads=4, head_dim=8) == 480


def test_cache_keeps_what_is_appended():
    cache = KVCache(batch=1, heads=1, capacity=3, head_dim=1)
    cache.append(column(1.0, 2.0), column(10.0, 20.0))
    assert cache.lengths.tolist() == [2]
    assert cache.v[0, 0, :2, 0].tolist() == [10.0, 20.0]
    with pytest.raises(ValueError):
        cache.append(column(3.0, 4.0), column(30.0, 40.0))
    assert cache.lengths.tolist() == [2]


def test_prefill_in_two_chunks():
    # All scores are 0, so each token gets the mean of the values up to its own.
    cache = KVCache(batch=1, heads=1, capacity=4, head_dim=1)
    first = prefill(column(0.0, 0.0), column(0.0, 0.0), column(2.0, 4.0), cache)
    second = prefill(column(0.0, 0.0), column(0.0, 0.0), column(6.0, 8.0), cache)
    assert first.flatten().tolist() == pytest.approx([2.0, 3.0])
    assert second.flatten().tolist() == pytest.approx([4.0, 5.0])


def test_decode_weighs_by_score():
    # Scores 0 and ln 3 (width 1, so the scale is 1): weights 1/4 and 3/4.
    cache = KVCache(batch=1, heads=1, capacity=4, head_dim=1)
    one, ln3 = torch.ones(1, 1, 1), torch.log(torch.full((1, 1, 1), 3.0))
    decode_step(one, 0 * one, 4 * one, cache)
    assert decode_step(one, ln3, 8 * one, cache).item() == pytest.approx(7.0)


def test_two_heads_share_a_key_head():
    q, k = torch.zeros(1, 4, 1, 1), torch.zeros(1, 2, 1, 1)
    v = torch.tensor([5.0, 9.0]).reshape(1, 2, 1, 1)
    assert grouped_query_attention(q, k, v).flatten().tolist() == pytest.approx([5.0, 5.0, 9.0, 9.0])


def test_int8_there_and_back():
    x = torch.tensor([[-2.54, 1.0, 0.03]])
    codes, scale = quantize_kv(x, per="token")
    assert codes.tolist() == [[-127, 50, 2]]
    assert dequantize_kv(codes, scale)[0].tolist() == pytest.approx([-2.54, 1.0, 0.04])


def test_evict_keeps_sinks_and_the_newest():
    weights = torch.full((6, 6), 1 / 6)
    assert evict("window", weights, 3).tolist() == [3, 4, 5]
    assert evict("sinks", weights, 3, sinks=2).tolist() == [0, 1, 5]


def test_latent_decode_is_forward():
    torch.manual_seed(0)
    layer = MultiHeadLatentAttention(dim=6, heads=2, head_dim=3, rope_dim=2, latent_dim=4, value_dim=3)
    x = torch.randn(1, 3, 6)
    with torch.no_grad():
        out, cache = layer.decode(x[:, 2:], layer.compress(x[:, :2]))
        assert cache.shape == (1, 3, 6)
        assert torch.allclose(out, layer(x)[:, 2:], atol=1e-5)


def test_a_fork_copies_only_what_it_changes():
    cache = PagedKVCache(blocks=4, block_size=2, kv_heads=1, head_dim=1)
    a = cache.create()
    new = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    cache.append(a, new, new)
    b = cache.fork(a)
    assert cache.available() == 2
    cache.append(b, new[:1], new[:1])
    assert cache.available() == 1
    assert cache.gather(a)[0].flatten().tolist() == [1.0, 2.0, 3.0]
    assert cache.gather(b)[0].flatten().tolist() == [1.0, 2.0, 3.0, 1.0]
