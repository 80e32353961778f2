"""What `training_systems.py` makes, as pictures: run beside it, from own inputs. `grader picture 28` prints them."""

import math

import torch


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def share_of_the_peak(module):
    """Rows times a matrix of 4,096 by 4,096 in 16 bits: the share of the peak that a chip reaches, by the rows."""
    rows = [2**k for k in range(12)]
    chips = {"TPU v5e": (197e12, 819e9), "A100, 80 GB": (312e12, 2.039e12)}
    series = {name: [module.roofline(m, 4096, 4096, *chip)["share"] for m in rows] for name, chip in chips.items()}
    return {"x": rows, "series": series}


def padded_to_the_array(module):
    """Square products of a compute-bound chip that works on tiles of 128."""
    sizes = sorted([*range(64, 641, 8), 129, 257, 385, 513])
    return {"x": sizes, "series": {"share": [module.roofline(n, n, n, 1.0, 1e9, tile=128)["share"] for n in sizes]}}


def moved_by_version(module):
    """Numbers read and written by one causal head of width 64, in tiles of 128, by the length."""
    lengths = [2**k for k in range(7, 16)]
    series = {}
    for version, name in enumerate(("plain", "FlashAttention 1", "FlashAttention 2")):
        told = [module.attention_traffic(n, n, 64, 128, 128, version, causal=True) for n in lengths]
        series[name] = [one["reads"] + one["writes"] for one in told]
    return {"x": lengths, "series": series}


def kept_layers(module):
    """24 layers whose results shrink by a tenth from one to the next: which of them are kept."""
    sizes = [round(1000 * 0.9**i) for i in range(24)]
    kept, _ = module.checkpoint_plan(sizes)
    alike, _ = module.checkpoint_plan([400] * 24)
    rows = [["kept" if i in plan else "again" for i in range(24)] for plan in (kept, alike)]
    return {"cells": rows, "rows": ["shrinking", "equal"], "columns": [str(i) for i in range(24)]}


def a_run_under_watch(module):
    """Losses of a run with a spike of three steps, a lasting rise and a stall; marks where an alarm rang."""
    noise = torch.randn(160, generator=_seeded(0), dtype=torch.float64)
    losses = [1.2 + 3 * math.exp(-i / 25) + 0.04 * noise[i].item() for i in range(160)]
    for i in (60, 61, 62):
        losses[i] += 2.5 - 0.5 * (i - 60)
    for i in range(110, 160):
        losses[i] += 0.9
    monitor = module.TrainingMonitor(window=30, warmup=20, patience=30)
    told = [monitor.observe(loss, 1.0) for loss in losses]
    groups = [f"{alarms[0]} rings" if alarms else "quiet" for alarms in told]
    return {"points": torch.tensor(list(enumerate(losses)), dtype=torch.float64), "groups": groups}


def weights_over_a_run(module):
    """Sizes of 2,000 weights over 24 steps, half of which decay: the share in each decade."""
    weights = torch.randn(2000, generator=_seeded(1), dtype=torch.float64) * 0.1
    edges, values = module.bucket_edges(), []
    decades = list(range(-8, 1))
    for _ in range(24):
        histogram = module.StreamingHistogram()
        histogram.add(weights)
        row = [0.0] * len(decades)
        for edge, count in zip([edges[0], *edges], histogram.summary()["counts"], strict=True):
            if edge:
                place = min(max(math.floor(math.log10(abs(edge)) + 1e-9), -8), 0) + 8
                row[place] += count / 2000
        values.append(row)
        weights[::2] *= 0.55
    return {
        "values": torch.tensor(values).T.flip(0),
        "rows": [f"1e{k}" for k in reversed(decades)],
        "columns": [str(i) for i in range(24)],
    }
