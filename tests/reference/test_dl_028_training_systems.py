"""dl_028's solution against torch, numpy, transformers, and published figures."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as torchs

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_028_training_systems")


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_turns_of_published_chips(kata):
    """197 TFLOP/s and 819 GB/s; 312 TFLOP/s and 2,039 GB/s."""
    assert round(kata.roofline(1, 1, 1, 197e12, 819e9)["turn"]) == 241
    assert round(kata.roofline(1, 1, 1, 312e12, 2.039e12)["turn"]) == 153


def test_zeros_table(kata):
    """7.5 B parameters on 64 ranks: 120, 31.4, 16.6, 1.88 GB; ZeRO-Offload: 2 bytes a parameter on the GPU."""
    plans = [
        kata.deepspeed_plan({"train_micro_batch_size_per_gpu": 1, "zero_optimization": zero}, 64, 7_500_000_000)
        for zero in [*({"stage": stage} for stage in range(4)), {"stage": 2, "offload_optimizer": {"device": "cpu"}}]
    ]
    assert [round(plan["gpu_bytes"] / 1e9, 2) for plan in plans] == [120, 31.41, 16.64, 1.88, 15]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_is_torchs(kata, reentrant):
    """Values, gradients and the random numbers behind them, with dropout, of torch's two ways."""
    told = []
    for checkpoint in (kata.checkpoint, lambda *args: torchs(*args, use_reentrant=reentrant)):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(7, 7), nn.GELU(), nn.Dropout(0.4), nn.Linear(7, 5)).double()
        x = drawn(11, 7).requires_grad_()
        checkpoint(model, x).square().sum().backward()
        told.append([x.grad, *(p.grad for p in model.parameters()), torch.rand(2)])
    for ours, theirs in zip(*told, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_square_root_of_equal_layers(kata):
    """Chen et al. 2016, section 4.1: about 2·√n."""
    for n in (16, 64, 100):
        assert 2 * math.sqrt(n) - 1.5 <= kata.checkpoint_plan([1] * n)[1] <= 2 * math.sqrt(n)


@pytest.mark.reference
def test_scan_is_that_of_transformers_mamba(kata):
    """The slow path of a Mamba mixer, whose other layers let the scan through."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=6, state_size=5, num_hidden_layers=1, use_mambapy=False)
    torch.manual_seed(0)
    mixer = MambaMixer(config, layer_idx=0).double()
    x = drawn(2, 13, 6)
    d, n = mixer.intermediate_size, mixer.ssm_state_size
    inner, gate = mixer.in_proj(x).mT.chunk(2, dim=1)
    inner = mixer.act(mixer.conv1d(inner)[..., :13])
    step, b, c = torch.split(mixer.x_proj(inner.mT), [mixer.time_step_rank, n, n], dim=-1)
    dt = nn.functional.softplus(mixer.dt_proj(step))
    y = kata.recomputed_scan(inner.mT, dt, -mixer.A_log.exp(), b, c, 4) + inner.mT * mixer.D
    got = mixer.out_proj(y * mixer.act(gate).mT)
    assert y.shape == (2, 13, d)
    torch.testing.assert_close(got, mixer(x), atol=1e-9, rtol=1e-9)


def test_scan_passes_gradcheck(kata):
    x, dt, b, c = drawn(2, 5, 3), drawn(2, 5, 3, seed=1).abs(), drawn(2, 5, 2, seed=2), drawn(2, 5, 2, seed=3)
    leaves = [value.requires_grad_() for value in (x, dt, -drawn(3, 2, seed=4).abs(), b, c)]
    assert torch.autograd.gradcheck(lambda *values: kata.recomputed_scan(*values, 2), leaves)


def test_histogram_is_numpys(kata):
    x = torch.cat([drawn(300) * 1e3, drawn(300, seed=1) * 1e-4, torch.zeros(3, dtype=torch.float64)])
    histogram = kata.StreamingHistogram()
    for piece in x.tensor_split(7):
        histogram.add(piece)
    edges = np.array(kata.bucket_edges())
    assert len(edges) == 1549
    assert histogram.summary()["counts"][1:-1] == np.histogram(x.numpy(), edges)[0].tolist()
    for q in (0.1, 0.37, 0.9):
        want = np.quantile(x.numpy(), q, method="inverted_cdf")
        assert histogram.quantile(q) == pytest.approx(want, rel=0.1)


@pytest.mark.reference
def test_spikes_are_scipys_median_distances(kata):
    from scipy.stats import median_abs_deviation

    losses = (3 + 0.1 * drawn(60)).tolist()
    spread, middle = median_abs_deviation(losses[-50:]), np.median(losses[-50:])
    for times, rings in ((5.9, []), (6.1, ["spike"])):
        monitor = kata.TrainingMonitor()
        for loss in losses:
            monitor.observe(loss, 1.0)
        assert max(spread, 0.01 * middle) == spread
        assert monitor.observe(middle + times * spread, 1.0) == rings


def test_whom_anomaly_detection_blames(kata):
    """torch names the operation whose backward gave NaN; the module is the one that holds it."""

    class Safe(nn.Module):
        def forward(self, x):
            return torch.where(x > 0, x.sqrt(), torch.zeros_like(x))

    model, x = nn.Sequential(nn.Identity(), Safe(), nn.Tanh()), torch.tensor([0.0, 2.0])
    assert kata.first_nonfinite(model, x, torch.sum) == ("backward", "1")
    with (
        pytest.warns(UserWarning, match="nomaly"),
        torch.autograd.detect_anomaly(),
        pytest.raises(RuntimeError, match="Sqrt"),
    ):
        model(x.requires_grad_()).sum().backward()
