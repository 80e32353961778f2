"""What `positional.py` makes, as pictures: run beside it, on its own inputs. `grader picture dl_003` prints them."""

import torch


def table_of_sines(module):
    """The encodings of 32 positions, 16 features wide, with base 100."""
    return module.sinusoidal(torch.arange(32), 16, base=100.0)


def rotary_phases(module):
    """Where positions 0 to 12 turn the pairs (4, 0), (3, 0), (2, 0) and (1, 0) to: base 100, width 8."""
    positions = torch.arange(13)
    lengths = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    x = torch.stack([lengths, torch.zeros(4, dtype=torch.float64)], 1).flatten().expand(1, 1, 13, 8)
    turned = module.apply_rope(x, positions, base=100.0, layout="pairs")[0, 0].reshape(13, 4, 2)
    return {
        "points": turned.transpose(0, 1).reshape(-1, 2),
        "groups": [f"pair {i}" for i in range(4) for _ in range(13)],
    }


def score_by_distance(module):
    """The score of a query and a key that are alike, per pair, by how far apart they stand."""
    distances = torch.arange(0, 1025, 16)
    ones = torch.ones(128, dtype=torch.float64)
    series = {}
    for base in (500.0, 10000.0, 500000.0):
        series[f"base {base:,.0f}"] = module.rope_scores(ones, ones, distances, base=base) / 128
    return {"x": distances, "series": series}


def rows_of_a_head(module):
    """Where the rows of a head of 8 stand in each layout: u and v of pairs 0 to 3. The way back undoes it."""
    halves = module.convert_layout(torch.arange(8), 1, "halves")
    rows = {"pairs": torch.arange(8), "halves": halves, "and back": module.convert_layout(halves, 1, "pairs")}
    cells = [[f"{'uv'[one % 2]}{one // 2}" for one in row.tolist()] for row in rows.values()]
    return {"cells": cells, "rows": list(rows)}


def score_over_patches(module):
    """The score of the patch in row 4, column 6 with every patch of an image, where all are alike."""
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(9), torch.arange(13), indexing="ij"))
    x = torch.ones(1, 1, len(rows), 32, dtype=torch.float64)
    turned = module.axial_rope(x, rows, columns)[0, 0]
    return {"values": (turned @ turned[4 * 13 + 6]).reshape(9, 13) / 32, "marks": [[4, 6]]}


def bucket_by_distance(module):
    """T5's bucket for distances of -200 to 200, in its encoder and in its decoder."""
    distances = torch.arange(-200, 201, 4)
    series = {"encoder": module.t5_bucket(distances), "decoder": module.t5_bucket(distances, bidirectional=False)}
    return {"x": distances, "series": series}


def slowdown_of_each_pair(module):
    """By how much each pair of features is slowed down, to read 8 times as far: width 128, base 500,000."""
    theta = 500000.0 ** (-torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    kinds = ("interpolation", "ntk", "llama3")
    series = {kind: theta / module.scaled_frequencies(kind, 128, 500000.0, 8.0) for kind in kinds}
    return {"x": list(range(64)), "series": series}


def ramp_of_the_slowdown(module):
    """By how much YaRN slows down each pair, for three factors: width 128, base 10,000, context 4096."""
    theta = 10000.0 ** (-torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    series = {f"factor {s}": theta / module.yarn_frequencies(128, 10000.0, s, 4096)[0] for s in (4, 16, 32)}
    return {"x": list(range(64)), "series": series}
