"""What `vit.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 18` prints them."""

import torch


def patch_of_pixel(module):
    """Which patch each pixel of a picture of 8 by 12 went to, with patches of 4."""
    pixels = torch.arange(96).reshape(1, 1, 8, 12)
    owner = torch.empty(96, dtype=torch.int64)
    for number, patch in enumerate(module.patchify(pixels, 4)[0]):
        owner[patch] = number
    letters = owner.reshape(8, 12).tolist()
    order = module.patchify(pixels, 4)[0].argsort(1).flatten()  # where in its patch each pixel stands
    place = torch.empty(96, dtype=torch.int64)
    place[module.patchify(pixels, 4)[0].sort(1).values.flatten()] = order
    places = place.reshape(8, 12).tolist()
    return {"cells": [[f"{'abcdef'[letters[i][j]]}{places[i][j]}" for j in range(12)] for i in range(8)]}


def fixed_positions(module):
    """Sine and cosine positions of a grid of 6 by 6, in 32 channels."""
    return module.sincos_2d(6, 6, 32)


def resized_positions(module):
    """How alike the positions of a grid are to a middle one, after it grew from 8 by 8 to 12 by 12: 0 the least."""
    grown = module.interpolate_positions(module.sincos_2d(8, 8, 64), (8, 8), (12, 12))
    alike = torch.nn.functional.cosine_similarity(grown, grown[6 * 12 + 6], dim=1).reshape(12, 12)
    return {"values": (alike - alike.min()) / (1 - alike.min()), "marks": [[6, 6]]}


def relative_rows(module):
    """Which row of the bias table each pair of places in a window of 3 by 3 reads."""
    return module.relative_position_index(3)


def who_may_meet(module):
    """The mask of the last window of a map of 8 by 8 that was rolled by 2, with windows of 4."""
    return module.shifted_window_mask(8, 8, 4, 2)[-1].float()


def rollout(module):
    """What reaches each token through 4 layers, each of which looks at neighbours."""
    distance = (torch.arange(17)[:, None] - torch.arange(17)).abs().float()
    noise = torch.rand(4, 1, 2, 17, 17, generator=torch.Generator().manual_seed(0))
    return module.attention_rollout((-0.7 * distance + 2 * noise).softmax(-1))[0]


def assignment(module):
    """The pairs of least total cost, of 6 predictions and 8 objects."""
    cost = torch.rand(6, 8, generator=torch.Generator().manual_seed(3))
    rows, columns = module.linear_assignment(cost)
    return {"values": cost, "marks": [[int(i), int(j)] for i, j in zip(rows, columns, strict=True)]}
