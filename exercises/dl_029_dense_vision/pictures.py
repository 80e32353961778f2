"""What `dense_vision.py` makes, as pictures: run beside it, from own inputs. `grader picture 29` prints them."""

import torch
from torch.nn import functional as F

ROWS, COLUMNS, STRIDE = 5, 8, 16


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _scene(module):
    """Two objects, and raw numbers with noise of a grid in which several cells see each object."""
    generator = _seeded(3)
    truth = torch.tensor([[12.0, 14, 56, 60], [70, 30, 118, 66]])
    anchors = torch.tensor([[40.0, 40.0], [52.0, 34.0]])
    raw = 0.15 * torch.randn(1, 2, ROWS, COLUMNS, 4, generator=generator)
    boxes = module.decode_boxes(raw, anchors, STRIDE)[0].reshape(-1, 4)
    apart = ((boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - (truth[:, :2] + truth[:, 2:]) / 2).norm(dim=-1)
    scores = torch.exp(-(apart.min(dim=1).values ** 2) / 500)
    scores = scores * (0.85 + 0.15 * torch.rand(len(boxes), generator=generator))
    return truth, anchors, boxes, scores


def _outline(boxes, labels):
    """Points along the four sides of boxes, y pointing up, with the labels as their groups."""
    t = torch.linspace(0, 1, 12)
    points, groups = [], []
    for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels, strict=True):
        x, y, one = x1 + (x2 - x1) * t, y1 + (y2 - y1) * t, torch.ones(len(t))
        for u, v in ((x, y1 * one), (x, y2 * one), (x1 * one, y), (x2 * one, y)):
            points.append(torch.stack([u, ROWS * STRIDE - v], dim=1))
            groups += [label] * len(t)
    return {"points": torch.cat(points), "groups": groups}


def before_suppression(module):
    """The ten boxes of the highest scores, and the two true ones."""
    truth, _, boxes, scores = _scene(module)
    best = scores.topk(10).indices
    return _outline(torch.cat([boxes[best], truth]), ["predicted"] * len(best) + ["true"] * len(truth))


def after_suppression(module):
    """What is left of them if each box goes that covers a better one by more than 0.4."""
    truth, _, boxes, scores = _scene(module)
    kept = []
    for i in scores.topk(10).indices.tolist():
        if all(module.box_iou(boxes[i : i + 1], boxes[j : j + 1]).item() <= 0.4 for j in kept):
            kept.append(i)
    right = module.match_detections(boxes[kept], scores[kept], truth, 0.5)
    names = [f"predicted, {'right' if one else 'wrong'}" for one in right.tolist()]
    return _outline(torch.cat([boxes[kept], truth]), names + ["true"] * len(truth))


def who_answers(module):
    """What each prediction of the grid is: the number of its true box, background, or ignored."""
    truth, anchors, boxes, _ = _scene(module)
    assigned = module.assign_anchors(truth, anchors, boxes.view(2, ROWS, COLUMNS, 4), STRIDE)
    names = {-1: "", -2: "ignored"}
    cells = [[names.get(int(x), f"box {int(x)}") for x in row] for anchor in assigned for row in anchor]
    rows = [f"anchor {k}, row {i}" for k in range(2) for i in range(ROWS)]
    return {"cells": cells, "rows": rows, "columns": [str(j) for j in range(COLUMNS)]}


def overlap_measures(module):
    """IoU and complete IoU of a square of side 4 that moves away from another, and of one that grows flat."""
    away = torch.linspace(0, 8, 41)
    still = torch.tensor([[0.0, 0, 4, 4]]).expand(41, 4)
    moved = still + torch.stack([away, 0 * away, away, 0 * away], dim=1)
    iou = module.box_iou(still[:1], moved)[0]
    return {"x": away, "series": {"IoU": iou, "complete IoU": module.complete_iou(still, moved)}}


def precision_and_recall(module):
    """AP of lists of a hundred detections, by the share that is right, sorted well and not at all."""
    shares, series = torch.linspace(0.05, 0.95, 19), {"good scores": [], "scores at random": []}
    for share in shares.tolist():
        generator = _seeded(4)
        right = torch.rand(100, generator=generator) < share
        noise = torch.rand(100, generator=generator)
        truths = max(1, int(right.sum()))
        series["good scores"].append(module.average_precision(right + 1.5 * noise, right, truths))
        series["scores at random"].append(module.average_precision(noise, right, truths))
    return {"x": shares, "series": series}


def shifted_pixels(module):
    """The gap of a circular convolution, a zero-padded one and patches of four pixels, by the shift."""
    generator = _seeded(5)
    x = torch.randn(1, 3, 16, 16, generator=generator, dtype=torch.float64)
    kernel = 0.3 * torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    patch = 0.3 * torch.randn(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    models = {
        "convolution, circular": (lambda x: F.conv2d(F.pad(x, [1] * 4, mode="circular"), kernel).tanh(), 1),
        "convolution, zero padding": (lambda x: F.conv2d(x, kernel, padding=1).tanh(), 1),
        "patches of 4 pixels": (lambda x: F.conv2d(x, patch, stride=4).tanh(), 4),
    }
    shifts = range(9)
    return {
        "x": list(shifts),
        "series": {
            name: [module.equivariance_gap(model, x, (0, s), stride) for s in shifts]
            for name, (model, stride) in models.items()
        },
    }
