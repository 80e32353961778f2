"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math
import tempfile

import pytest
import torch
import training_systems as kata
from torch import nn


def test_roofline():
    got = kata.roofline(2, 3, 4, 96.0, 13.0, itemsize=2)  # 48 operations; 6 + 12 + 8 numbers are 52 bytes
    assert got["intensity"] == pytest.approx(48 / 52)
    assert (got["seconds"], got["bound"]) == (4.0, "memory")
    assert got["share"] == pytest.approx(48 / 4 / 96)
    assert kata.roofline(2, 3, 4, 96.0, 1e9, tile=4)["share"] == pytest.approx(
        48 / 128
    )  # 4 · 4 · 4 in place of 2 · 3 · 4


def test_attention_traffic():
    plain = kata.attention_traffic(4, 4, 8, 2, 2, version=0)
    assert plain == {"reads": 32 + 32 + 16 + 16 + 32, "writes": 16 + 16 + 32, "divisions": 16, "blocks": 4}
    causal = kata.attention_traffic(4, 4, 8, 2, 2, version=2, causal=True)
    assert causal["reads"] == 32 + 3 * 2 * 16  # three of four pairs of tiles


def test_checkpoint():
    layer = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    x = torch.ones(2, 3)
    torch.manual_seed(0)
    kata.checkpoint(layer, x).sum().backward()
    got = layer[0].weight.grad.clone()
    layer.zero_grad()
    torch.manual_seed(0)
    layer(x).sum().backward()
    assert torch.equal(got, layer[0].weight.grad)


def test_checkpoint_plan():
    assert kata.checkpoint_plan([1] * 9)[1] == 5  # 2 kept and runs of 3, 3 kept and runs of 2, or 4 kept and runs of 1
    kept, peak = kata.checkpoint_plan([2, 9, 3])
    assert (list(kept), peak) == ([1], 12)  # 9 kept, and the larger run is 3
    assert kata.checkpoint_plan([5])[1] == 5


def test_recomputed_scan():
    one = torch.ones(1, 2, 1)
    x = one.clone().requires_grad_()
    y = kata.recomputed_scan(x, one, torch.tensor([[-math.log(2)]]), one, one, chunk=1)
    assert y.flatten().tolist() == pytest.approx([1.0, 1.5])
    y.sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([1.5, 1.0])


def test_deepspeed_plan():
    plan = kata.deepspeed_plan({"train_batch_size": 24, "train_micro_batch_size_per_gpu": 3}, 4, 100)
    assert (plan["gradient_accumulation_steps"], plan["gpu_bytes"]) == (2, 1600)
    with pytest.raises(ValueError):
        kata.deepspeed_plan({"train_batch_size": 25, "train_micro_batch_size_per_gpu": 3}, 4, 100)


def test_sharded_checkpoint():
    def save(rank):
        store = kata.ShardedCheckpoint(folder)
        store.save(5, {"w": torch.tensor([1.0, 2.0, 3.0]) + 3 * rank}, {"epoch": 2})
        return store.latest()

    def load(rank):
        told = kata.ShardedCheckpoint(folder).load()
        return told["step"], told["sharded"]["w"].tolist(), told["common"]

    with tempfile.TemporaryDirectory() as folder:
        assert kata.run_ranks(2, save) == [5, 5]
        assert kata.run_ranks(1, load) == [(5, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], {"epoch": 2})]


def test_training_monitor():
    monitor = kata.TrainingMonitor(warmup=3)
    said = [monitor.observe(loss, norm) for loss, norm in ((2, 1), (2, 1), (2, 1), (3, 11), (3, 11), (2, math.nan))]
    assert said == [[], [], [], ["spike", "explosion"], [], ["nonfinite"]]


def test_streaming_histogram():
    histogram, other = kata.StreamingHistogram(), kata.StreamingHistogram()
    histogram.add(torch.tensor([1.0, -3.0]))
    other.add(torch.tensor([math.inf, 2.0]))
    histogram.merge(other)
    told = histogram.summary()
    assert (told["count"], told["nonfinite"], told["sum"], told["sum_squares"]) == (3, 1, 0.0, 14.0)
    assert histogram.quantile(0.5) == pytest.approx(1.0, rel=0.1)


def test_first_nonfinite():
    class Log(nn.Module):
        def forward(self, x):
            return x.log()

    model = nn.Sequential(nn.Identity(), Log(), nn.Tanh())
    assert kata.first_nonfinite(model, torch.tensor([1.0, 2.0]), torch.sum) is None
    assert kata.first_nonfinite(model, torch.tensor([1.0, -2.0]), torch.sum) == ("forward", "1")
