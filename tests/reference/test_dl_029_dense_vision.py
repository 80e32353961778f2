"""dl_029's solution against COCO's evaluation, transformers, and the figures of its statement."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_029_dense_vision")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def boxes_of(n, seed):
    """n corners (n, 4) of boxes that overlap a good deal, in float64."""
    low, size = torch.rand(2, n, 2, generator=seeded(seed), dtype=torch.float64)
    return torch.cat([low * 12, low * 12 + 5 + 15 * size], dim=1)


def as_coco(boxes):
    """Each box as (x, y, width, height)."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).tolist()


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_cocos(kata, seed):
    """Matching and AP of several images of one class, at ten thresholds."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths = [boxes_of(4 + i, 10 * seed + i) for i in range(3)]
    found = [torch.cat([t + torch.randn(t.shape, generator=seeded(seed)), boxes_of(5, seed + 77)]) for t in truths]
    scores = torch.rand(3, 20, generator=seeded(seed + 5), dtype=torch.float64)
    scores = [scores[i, : len(one)] for i, one in enumerate(found)]
    ids = itertools.count(1)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(3)],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": next(ids), "image_id": i + 1, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for i, boxes in enumerate(truths)
            for b in as_coco(boxes)
        ],
    }
    coco.createIndex()
    rows = [[i + 1, *b, s, 1] for i in range(3) for b, s in zip(as_coco(found[i]), scores[i].tolist(), strict=True)]
    judge = COCOeval(coco, coco.loadRes(np.array(rows)), "bbox")
    judge.evaluate()
    judge.accumulate()
    want = judge.eval["precision"][:, :, 0, 0, -1].mean(axis=1)  # thresholds x recalls x class x area x detections
    for threshold, ap in zip(judge.params.iouThrs.tolist(), want.tolist(), strict=True):
        given = zip(found, scores, truths, strict=True)
        right = torch.cat([kata.match_detections(*one, threshold) for one in given])
        assert kata.average_precision(torch.cat(scores), right, sum(map(len, truths))) == pytest.approx(ap, abs=1e-9)


@pytest.mark.reference
def test_convnext_block_is_transformers(kata):
    from transformers import ConvNextConfig
    from transformers.models.convnext.modeling_convnext import ConvNextLayer

    block, layer = kata.ConvNeXtBlock(6, scale=0.7), ConvNextLayer(ConvNextConfig(), 6)
    ours = dict(
        zip(("depthwise", "norm", "expand", "reduce"), ("dwconv", "layernorm", "pwconv1", "pwconv2"), strict=True)
    )
    state = {
        f"{theirs}.{kind}": block.state_dict()[f"{name}.{kind}"]
        for name, theirs in ours.items()
        for kind in ("weight", "bias")
    }
    layer.load_state_dict(state | {"layer_scale_parameter": block.scale.detach()})
    x = torch.randn(2, 6, 9, 5, generator=seeded())
    torch.testing.assert_close(block(x), layer(x))


def test_convnext_tiny_has_its_parameters(kata):
    """28,589,128: stem, four stages of 3, 3, 9, 3 blocks, three poolings, norm and head."""
    widths = (96, 192, 384, 768)
    blocks = sum(
        n * sum(p.numel() for p in kata.ConvNeXtBlock(w).parameters())
        for n, w in zip((3, 3, 9, 3), widths, strict=True)
    )
    stem = 3 * 16 * 96 + 96 + 2 * 96
    between = sum(2 * a + 4 * a * b + b for a, b in itertools.pairwise(widths))
    assert blocks + stem + between + 2 * 768 + 768 * 1000 + 1000 == 28_589_128


@pytest.mark.reference
def test_pyramid_is_transformers(kata):
    """MobileViT's ASPP up to its projection, its batch norms at their start: a division by √(1 + ε), here taken out."""
    from transformers import MobileViTConfig
    from transformers.models.mobilevit.modeling_mobilevit import MobileViTASPP

    rates = [1, 2, 11]  # the last one beyond the map
    config = MobileViTConfig(neck_hidden_sizes=[1] * 5 + [6, 1], aspp_out_channels=4, atrous_rates=rates)
    layer = MobileViTASPP(config).eval()
    for norm in (module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.eps = 0.0
    point, *branches = (one.convolution.weight for one in layer.convs[:-1])
    pooled = layer.convs[-1].conv_1x1.convolution.weight
    x = torch.randn(2, 6, 9, 5, generator=seeded())
    got = kata.atrous_pyramid(x, point, branches, rates, pooled, layer.project.convolution.weight)
    torch.testing.assert_close(got.relu(), layer(x))  # there the projection ends in a ReLU, too


@pytest.mark.reference
@pytest.mark.parametrize("size", [(5, 7), (1, 4)])
def test_rotary_positions_are_transformers(kata, size):
    """SAM 2's memory turns neighbouring numbers, rows in the first half of a head and columns in the second."""
    from transformers import Sam2VideoConfig
    from transformers.models.sam2_video import modeling_sam2_video as sam

    config = Sam2VideoConfig(memory_attention_hidden_size=24, memory_attention_num_attention_heads=2)
    angles = sam.Sam2VideoVisionRotaryEmbedding(config)
    places = torch.cartesian_prod(*(torch.arange(n) for n in size)).T[None]
    q, k = (torch.randn(2, 3, math.prod(size), 12, generator=seeded(i)) for i in (1, 2))
    want = sam.apply_rotary_pos_emb_2d(q, k, *angles(q, places))
    base = config.rope_parameters["rope_theta"]
    torch.testing.assert_close((kata.rotary_2d(q, size, base), kata.rotary_2d(k, size, base)), want)


def test_unet_of_2015(kata):
    """31,030,658 parameters, and 572 x 572 pixels give 388 x 388."""
    with torch.device("meta"):
        model = kata.UNet(1, 2)
        assert sum(p.numel() for p in model.parameters()) == 31_030_658
        assert model(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)


def test_rotary_products_depend_on_how_far_apart_places_are(kata):
    size, d = (5, 7), 12
    q, k = (torch.randn(d, generator=seeded(i), dtype=torch.float64).expand(35, d) for i in (1, 2))
    product = (kata.rotary_2d(q, size) @ kata.rotary_2d(k, size).T).view(5, 7, 5, 7)
    for i, j, u, v in itertools.product(range(4), range(6), range(4), range(6)):
        torch.testing.assert_close(product[i, j, u, v], product[i + 1, j + 1, u + 1, v + 1])


def test_table_of_overlaps(kata):
    away = torch.tensor([0.0, 1, 2, 3, 4, 6, 8])
    still = torch.tensor([[0.0, 0, 4, 4]]).expand(7, 4)
    moved = still + torch.stack([away, 0 * away, away, 0 * away], dim=1)
    iou = [round(x, 2) for x in kata.box_iou(still[:1], moved)[0].tolist()]
    assert iou == [1.0, 0.6, 0.33, 0.14, 0.0, 0.0, 0.0]
    complete = [round(x, 2) for x in kata.complete_iou(still, moved).tolist()]
    assert complete == [1.0, 0.58, 0.26, 0.0, -0.2, -0.31, -0.4]


def test_ap_of_the_statement(kata):
    right = torch.tensor([True, False, True, False, False, False])
    ap = kata.average_precision(torch.arange(6, 0, -1).double(), right, 2)
    assert math.isclose(ap, (51 + 50 * 2 / 3) / 101)
