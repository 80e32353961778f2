"""Hidden checks of dl_029. Oracles: a loop over cells, boxes, taps or places; rankings by whole numbers.

Where an IoU decides, boxes are drawn anew until none lies near a threshold or a tie; at a threshold itself boxes are
exact in binary.
"""

import itertools
import math
from fractions import Fraction

import torch
from torch.nn import functional as F

from grader.checks import agree, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type

from . import drivers


def wide(values):
    """A float64 tensor of them."""
    return torch.tensor(values, dtype=torch.float64)


def boxes_of(draw, n, rows, columns, low=3.0, high=30.0, dtype=torch.float64):
    """n boxes with their centres inside an image of that many pixels, corners (n, 4)."""
    size = torch.stack([draw.uniform(n, low=low, high=high), draw.uniform(n, low=low, high=high)], dim=1)
    centre = torch.stack([draw.uniform(n, high=columns - 0.01), draw.uniform(n, high=rows - 0.01)], dim=1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1).to(dtype)


def anchors_of(draw, a):
    return torch.stack([draw.uniform(a, low=4, high=15), draw.uniform(a, low=12, high=25)], dim=1)


def iou_of(a, b):
    """IoU of two boxes that are lists."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def later(kind, function, *given, **how):
    """What makes a known mistake if it is asked for: what the function gives, in that dtype."""
    return lambda: function(*given, **how).to(kind)


def loosely(x):
    """The same values, in another order of memory."""
    return x.transpose(0, -1).contiguous().transpose(0, -1)


# --- decode_boxes -----------------------------------------------------------------------------------------------------


def decoded(raw, anchors, stride, centre=None, size=None, swapped=False):
    """Boxes of raw (b, a, H, W, 4), cell by cell; centre and size say what a mistake does otherwise."""
    centre = centre or (lambda t, at: (torch.sigmoid(t) + at) * stride)
    size = size or (lambda t, p: p * torch.exp(t))
    out = torch.empty_like(raw)
    _, a, rows, columns, _ = raw.shape
    for k, i, j in itertools.product(range(a), range(rows), range(columns)):
        t = raw[:, k, i, j]
        x, y = (centre(t[:, 0], i), centre(t[:, 1], j)) if swapped else (centre(t[:, 0], j), centre(t[:, 1], i))
        w, h = size(t[:, 2], anchors[k, 0]), size(t[:, 3], anchors[k, 1])
        out[:, k, i, j] = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)
    return out


def decoding_mistakes(raw, anchors, stride):
    plain = decoded(raw, anchors, stride)
    return {
        "rows and columns swapped": lambda: decoded(raw, anchors, stride, swapped=True),
        "anchors as (height, width)": lambda: decoded(raw, anchors.flip(1), stride),
        "YOLOv5's centre": lambda: decoded(raw, anchors, stride, lambda t, at: (2 * t.sigmoid() - 0.5 + at) * stride),
        "YOLOv5's size": lambda: decoded(raw, anchors, stride, size=lambda t, p: p * (2 * t.sigmoid()) ** 2),
        "no sigmoid": lambda: decoded(raw, anchors, stride, lambda t, at: (t + at) * stride),
        "the sigmoid not in units of a cell": lambda: decoded(
            raw, anchors, stride, lambda t, at: t.sigmoid() + at * stride
        ),
        "sizes in cells": lambda: decoded(raw, anchors, stride, size=lambda t, p: p * t.exp() * stride),
        "no exp": lambda: decoded(raw, anchors, stride, size=lambda t, p: p * t),
        "centre and size, not corners": lambda: torch.cat(
            [(plain[..., :2] + plain[..., 2:]) / 2, plain[..., 2:] - plain[..., :2]], dim=-1
        ),
        "the whole size on each side of the centre": lambda: torch.cat(
            [1.5 * plain[..., :2] - plain[..., 2:] / 2, 1.5 * plain[..., 2:] - plain[..., :2] / 2], dim=-1
        ),
    }


@part("decode_boxes")
def test_the_cells_of_one_row_by_hand(attempt):
    """Raw zeros with an anchor of 4 x 6 and a stride of 8: the anchor in the middle of each cell."""
    want = wide([[[[[2, 1, 6, 7], [10, 1, 14, 7]]]]])
    got = attempt.decode_boxes(torch.zeros(1, 1, 1, 2, 4, dtype=torch.float64), wide([[4, 6]]), 8)
    agree(got, want, axes="b a H W c", of="decode_boxes of zeros, two cells, anchor (4, 6), stride 8")


@part("decode_boxes")
@each_dtype
def test_boxes_of_every_cell(attempt, draw, dtype):
    """Centres are (σ + number of the cell) times the stride, sizes the anchor times exp; grids are not square."""
    for (b, a, rows, columns), stride in (((2, 3, 5, 7), 13), ((1, 2, 4, 1), 8), ((0, 1, 2, 3), 32)):
        raw, anchors = draw.normal(b, a, rows, columns, 4), anchors_of(draw, a)
        want = decoded(raw, anchors, stride).to(of_type(dtype))
        of = f"decode_boxes, b={b} a={a} grid {rows} x {columns} stride {stride} {dtype}"
        known = decoding_mistakes(raw, anchors, stride) if b and columns > 1 else None
        known = known and {name: (lambda f=f: f().to(of_type(dtype))) for name, f in known.items()}
        got = attempt.decode_boxes(loosely(raw.to(of_type(dtype))), anchors.to(of_type(dtype)), stride)
        agree(got, want, axes="b a H W c", of=of, known=known)


@part("decode_boxes")
def test_raw_numbers_far_from_zero(attempt, draw):
    """Neither σ nor exp is cut off at raw numbers of 10 and 5, and a grid may have more than 127 columns."""
    raw = torch.cat(
        [draw.uniform(1, 1, 2, 131, 2, low=-10, high=10), draw.uniform(1, 1, 2, 131, 2, low=-5, high=5)], -1
    )
    anchors = anchors_of(draw, 1)
    got = attempt.decode_boxes(raw, anchors, 8)
    agree(got, decoded(raw, anchors, 8), axes="b a H W c", of="decode_boxes of raw numbers up to ±10, grid 2 x 131")


@part("decode_boxes")
def test_gradients_of_decoded_boxes(attempt, draw):
    """Gradients flow into all four raw numbers."""
    raw, anchors, g = draw.normal(2, 2, 3, 5, 4), anchors_of(draw, 2), draw.normal(2, 2, 3, 5, 4)
    leaf = raw.clone().requires_grad_()
    (want,) = torch.autograd.grad((decoded(leaf, anchors, 8) * g).sum(), leaf)
    value, grads = attempt.gradients("decode_boxes", raw, anchors, 8, upstream=g)
    agree(value, decoded(raw, anchors, 8), axes="b a H W c", of="decode_boxes, grid 3 x 5")
    agree(grads[0], want, axes="b a H W c", of="the gradient of decode_boxes by raw, grid 3 x 5")


@part("decode_boxes")
@each_dtype
def test_encode_boxes(attempt, draw, dtype):
    """The raw numbers of boxes: the logit of the place in the cell, and the log of size over anchor."""
    for n, stride in ((7, 16), (1, 5), (0, 8)):
        cells = torch.stack([draw.integers(0, 4, n), draw.integers(5, 11, n)], dim=1)
        place, ratio = draw.uniform(n, 2, low=0.05, high=0.95), draw.uniform(n, 2, low=0.2, high=4)
        anchors = anchors_of(draw, n)
        centre, size = (cells.flip(1) + place) * stride, anchors * ratio
        boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
        want = torch.cat([torch.log(place / (1 - place)), ratio.log()], dim=1)
        known = {
            "the place in the cell, without the logit": torch.cat([place, ratio.log()], dim=1),
            "the ratio, without the log": torch.cat([torch.log(place / (1 - place)), ratio], dim=1),
            "log of anchor over size": torch.cat([torch.log(place / (1 - place)), -ratio.log()], dim=1),
        }
        kind = of_type(dtype)
        got = attempt.encode_boxes(boxes.to(kind), anchors.to(kind), cells, stride)
        of = f"encode_boxes of {n} boxes, stride {stride}, {dtype}"
        tol = 1e-9 if dtype == "float64" else 1e-3
        agree(
            got,
            want.to(kind),
            axes="n t",
            of=of,
            known={k: v.to(kind) for k, v in known.items()} if n else None,
            tol=tol,
        )


@part("decode_boxes")
def test_encode_and_decode_invert(attempt, draw):
    """What decode_boxes makes of raw numbers, encode_boxes turns back into them, also near the edge of a cell."""
    a, rows, columns, stride = 2, 3, 5, 11
    anchors = anchors_of(draw, a)
    places = list(itertools.product(range(a), range(rows), range(columns)))
    for far in (1, 10):
        raw = draw.uniform(1, a, rows, columns, 4, low=-far, high=far)
        raw[..., 2:] /= 2
        raw[0, 0, 0, 0, :2] = wide([far, -far])
        boxes = attempt.decode_boxes(raw, anchors, stride)
        agree(boxes, decoded(raw, anchors, stride), axes="b a H W c", of="decode_boxes before it is encoded")
        cells = torch.tensor([[i, j] for _, i, j in places])
        of_anchors = anchors[[k for k, _, _ in places]]
        codes = attempt.encode_boxes(boxes.reshape(-1, 4), of_anchors, cells, stride)
        of = f"encode_boxes of what decode_boxes gave for raw numbers up to ±{far}"
        agree(codes, raw.reshape(-1, 4), axes="n t", of=of, tol=1e-8)


@part("decode_boxes")
def test_other_boxes_of_that_number(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(2, 3, 4, 5, 4), anchors_of(draw, 3), 8) for _ in range(2)]
    hold_again(attempt, reference, "decode_boxes", *asked, of="decode_boxes of raw (2, 3, 4, 5, 4)")
    asked = []
    for _ in range(2):
        cells = torch.stack([draw.integers(0, 4, 7), draw.integers(5, 11, 7)], dim=1)
        centre = (cells.flip(1) + draw.uniform(7, 2, low=0.05, high=0.95)) * 16
        half = draw.uniform(7, 2, low=3, high=20)
        asked.append((torch.cat([centre - half, centre + half], dim=1), anchors_of(draw, 7), cells, 16))
    hold_again(attempt, reference, "encode_boxes", *asked, of="encode_boxes of 7 boxes")


# --- complete_iou -----------------------------------------------------------------------------------------------------


def completed(a, b, term="ciou", hold=True):
    """CIoU of one pair of boxes, tensors (4,), by its definition; `term` names what a mistake gives in its place."""
    (ax, ay, ar, ab), (bx, by, br, bb) = a.unbind(), b.unbind()
    zero = torch.zeros((), dtype=a.dtype)
    both = torch.maximum(zero, torch.minimum(ar, br) - torch.maximum(ax, bx)) * torch.maximum(
        zero, torch.minimum(ab, bb) - torch.maximum(ay, by)
    )
    either = (ar - ax) * (ab - ay) + (br - bx) * (bb - by) - both
    iou = both / either
    width, height = torch.maximum(ar, br) - torch.minimum(ax, bx), torch.maximum(ab, bb) - torch.minimum(ay, by)
    apart = ((ax + ar - bx - br) / 2) ** 2 + ((ay + ab - by - bb) / 2) ** 2
    v = 4 / math.pi**2 * (torch.atan((br - bx) / (bb - by)) - torch.atan((ar - ax) / (ab - ay))) ** 2
    alpha = v / (1 - iou + v) if v.item() > 0 else zero
    alpha = alpha.detach() if hold else alpha
    distance = apart / (width**2 + height**2)
    return {
        "ciou": iou - distance - alpha * v,
        "iou": iou,
        "giou": iou - (width * height - either) / (width * height),
        "diou": iou - distance,
        "no alpha": iou - distance - v,
        "root": iou - (apart / (width**2 + height**2)).sqrt() - alpha * v,
        "no pi": iou - distance - alpha * v * math.pi**2 / 4,
        "plus": iou - distance + alpha * v,
        "no distance": iou - alpha * v,
        "area": iou - apart / (width * height) - alpha * v,
        "loss": 1 - (iou - distance - alpha * v),
    }[term]


def pairs_of(draw, n):
    """n pairs of boxes that overlap, touch or lie apart, in turn."""
    a, b = boxes_of(draw, n, 40, 60, low=5, high=25), boxes_of(draw, n, 40, 60, low=5, high=25)
    shift = draw.uniform(n, 2, low=-5, high=5).repeat(1, 2)
    grown = a * torch.tensor([0.9, 0.95, 1.1, 1.05], dtype=a.dtype)
    return a, torch.where(torch.arange(n)[:, None] % 3 == 0, b, grown + shift)


MISTAKES = {
    "iou": "IoU",
    "giou": "generalized IoU",
    "diou": "distance IoU, without the shape",
    "no alpha": "α = 1",
    "root": "the distance in place of its square",
    "no pi": "v without 4 / π²",
    "plus": "+ α · v",
    "no distance": "no distance of the centres",
    "area": "the area of the box around both in place of its diagonal",
    "loss": "1 - CIoU",
}


@part("complete_iou")
def test_two_squares_by_hand(attempt):
    """Two squares of side 2, one pixel apart: 1/3 - 1/13; and what does not touch has less than 0."""
    a, b = wide([[0, 0, 2, 2], [0, 0, 2, 2]]), wide([[1, 0, 3, 2], [4, 0, 6, 2]])
    known = {"IoU": wide([1 / 3, 0]), "generalized IoU": wide([1 / 3, -1 / 3])}
    got = attempt.complete_iou(a, b)
    agree(
        got,
        wide([1 / 3 - 1 / 13, -16 / 40]),
        axes="n",
        of="complete_iou of squares of side 2, 1 and 4 apart",
        known=known,
    )


@part("complete_iou")
@each_dtype
def test_overlap_distance_and_shape(attempt, draw, dtype):
    """IoU, less the squared distance over the squared diagonal, less α · v: each box with the one in its place."""
    for n in (13, 1, 0):
        a, b = (x.to(of_type(dtype)) for x in pairs_of(draw, n))
        both = [(one.double(), other.double()) for one, other in zip(a, b, strict=True)]

        def all_of(term, both=both):
            return (
                torch.stack([completed(*pair, term) for pair in both]).to(of_type(dtype))
                if both
                else wide([]).to(of_type(dtype))
            )

        known = {name: (lambda term=term: all_of(term)) for term, name in MISTAKES.items()} if n == 13 else None
        agree(
            attempt.complete_iou(loosely(a), b),
            all_of("ciou"),
            axes="n",
            of=f"complete_iou of {n} pairs, {dtype}",
            known=known,
        )


@part("complete_iou")
def test_gradients_of_complete_iou(attempt, draw):
    """Gradients flow into both boxes, also where they lie apart, and none through α."""
    a, b = pairs_of(draw, 7)
    g = draw.normal(7)

    def grads_of(hold, term="ciou"):
        leaves = [x.clone().requires_grad_() for x in (a, b)]
        out = torch.stack([completed(*pair, term, hold) for pair in zip(*leaves, strict=True)])
        return list(torch.autograd.grad((out * g).sum(), leaves))

    value, grads = attempt.gradients("complete_iou", a, b, upstream=g)
    want = torch.stack([completed(*pair) for pair in zip(a, b, strict=True)])
    agree(value, want, axes="n", of="complete_iou of 7 pairs")
    known = {
        "a gradient through α": lambda: grads_of(False),
        "no gradient of the shape": lambda: grads_of(True, "diou"),
    }
    agree(grads[:2], grads_of(True), of="the gradients of complete_iou by a and b, 7 pairs", known=known)


@part("complete_iou")
def test_far_and_unlike_boxes(attempt, draw):
    """Far apart, and of unlike shapes, CIoU falls below -1: it is not cut off there, and keeps its slope."""
    a = wide([[0, 0, 1, 20], [0, 0, 2, 2]]) + draw.uniform(2, 1)
    b = wide([[200, 0, 240, 2], [300, 40, 302, 42]]) + draw.uniform(2, 1)
    leaves = [x.clone().requires_grad_() for x in (a, b)]
    out = torch.stack([completed(*pair) for pair in zip(*leaves, strict=True)])
    want = torch.autograd.grad(out.sum(), leaves)
    value, grads = attempt.gradients("complete_iou", a, b, upstream=torch.ones(2, dtype=torch.float64))
    known = {"cut off at -1": lambda: out.detach().clamp(min=-1)}
    agree(value, out.detach(), axes="n", of="complete_iou of boxes hundreds of pixels apart", known=known)
    agree(grads[:2], list(want), of="the gradients of complete_iou by a and b, hundreds of pixels apart")


@part("complete_iou")
@each_dtype
def test_equal_boxes_have_one_and_finite_gradients(attempt, draw, dtype):
    """A box with itself has 1, and its gradient is no NaN; a larger box of the same shape around it has its IoU."""
    a = torch.tensor([[0, 0, 2, 6], [1, 2, 5, 4], [0, 0, 8, 8]], dtype=of_type(dtype))
    b = torch.tensor([[0, 0, 2, 6], [1, 2, 5, 4], [2, 2, 6, 6]], dtype=of_type(dtype))
    got, grads = attempt.gradients("complete_iou", a, b, upstream=torch.ones(3, dtype=of_type(dtype)))
    agree(got, torch.tensor([1, 1, 0.25], dtype=of_type(dtype)), axes="n", of=f"complete_iou of equal boxes, {dtype}")
    for name, grad in zip("ab", grads[:2], strict=True):
        assert bool(torch.isfinite(grad).all()), f"complete_iou of equal boxes: the gradient by {name} is not finite"


@part("complete_iou")
def test_other_pairs_of_that_number(attempt, reference, draw):
    """Each call takes its own boxes, whatever came before in the same sizes and however they lie in memory."""
    asked = [pairs_of(draw, 7) for _ in range(2)]
    hold_again(attempt, reference, "complete_iou", *asked, of="complete_iou of 7 pairs")


# --- assign_anchors ---------------------------------------------------------------------------------------------------


def assigned_to(
    truth, anchors, predicted, stride, ignore=0.5, likeness=None, cell=None, taken="next", ignores="predicted"
):
    """Who answers for what, in loops over lists; the last four say what a mistake does otherwise."""
    likeness = likeness or (lambda w, h, p, q: iou_of([0, 0, w, h], [0, 0, p, q]))
    cell = cell or (lambda x, y: (math.floor(y / stride), math.floor(x / stride)))
    boxes, shapes, says = truth.tolist(), anchors.tolist(), predicted.tolist()
    a, rows, columns = predicted.shape[:3]
    out = torch.full((a, rows, columns), -1)
    for k, i, j in itertools.product(range(a), range(rows), range(columns)):
        if ignores == "anchors":
            x, y, (w, h) = (j + 0.5) * stride, (i + 0.5) * stride, shapes[k]
            says[k][i][j] = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if ignores != "none" and any(iou_of(says[k][i][j], one) > ignore for one in boxes):
            out[k, i, j] = -2
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        i, j = cell((x1 + x2) / 2, (y1 + y2) / 2)
        fit = [likeness(x2 - x1, y2 - y1, *shape) for shape in shapes]
        order = sorted(range(a), key=lambda k: -fit[k])
        if taken == "overwritten":
            out[order[0], i, j] = number
            continue
        if taken == "dropped":
            order = order[:1]
        for k in order:
            if out[k, i, j] < 0:
                out[k, i, j] = number
                break
    return out


def near(value, limit):
    return abs(value - limit) < 1e-3


def assignment_of(draw, m, a, rows, columns, stride, ignore=0.5):
    """True boxes, anchors and predictions, some of them near true boxes; no IoU near the threshold or a tie."""
    while True:
        truth, anchors = boxes_of(draw, m, rows * stride, columns * stride), anchors_of(draw, a)
        predicted = boxes_of(draw, a * rows * columns, rows * stride, columns * stride)
        for i in draw.random.sample(range(len(predicted)), len(predicted) // 3) if m else []:
            predicted[i] = truth[i % m] + draw.uniform(4, low=-4, high=4)
        predicted = torch.cat([predicted[:, :2], torch.maximum(predicted[:, 2:], predicted[:, :2] + 1)], dim=1)
        sizes = (truth[:, 2:] - truth[:, :2]).tolist()
        fits = [sorted(iou_of([0, 0, *size], [0, 0, *shape]) for shape in anchors.tolist()) for size in sizes]
        edges = ((truth[:, :2] + truth[:, 2:]) / 2 / stride).flatten().tolist()
        overlaps = [iou_of(p, t) for p in predicted.tolist() for t in truth.tolist()]
        if any(near(x, ignore) for x in overlaps) or any(near(x, round(x)) for x in edges):
            continue
        if not any(near(x, y) for fit in fits for x, y in itertools.pairwise(fit)):
            return truth, anchors, predicted.view(a, rows, columns, 4)


def assignment_mistakes(truth, anchors, predicted, stride):
    rows, columns = predicted.shape[1:3]

    def told(shapes=anchors, **how):
        return assigned_to(truth, shapes, predicted, stride, **how)

    def swapped(x, y):
        return min(int(x / stride), rows - 1), min(int(y / stride), columns - 1)

    return {
        "rows and columns swapped": told(cell=swapped),
        "anchors as (height, width)": told(shapes=anchors.flip(1)),
        "nobody ignored": told(ignores="none"),
        "ignored by the anchors' boxes": told(ignores="anchors"),
        "the anchor of the nearest area": told(likeness=lambda w, h, p, q: -abs(w * h - p * q)),
        "the anchor of the nearest ratio": told(likeness=lambda w, h, p, q: -abs(w / h - p / q)),
    }


@part("assign_anchors")
def test_two_cells_by_hand(attempt):
    """A box in the right cell: one anchor answers for it, the other, which says the same, is ignored."""
    predicted = wide([[0, 0, 8, 8], [8, 0, 16, 8]]).expand(2, 1, 2, 4)
    got = attempt.assign_anchors(wide([[8, 1, 15, 7]]), wide([[2, 2], [6, 6]]), predicted, 8)
    agree(
        got, torch.tensor([[[-1, -2]], [[-1, 0]]]), axes="a H W", of="assign_anchors, one box, two anchors, two cells"
    )


@part("assign_anchors")
@each_dtype
def test_one_prediction_for_each_box(attempt, draw, dtype):
    """The cell of the centre, the anchor of the nearest shape, and who says nothing wrong is ignored."""
    for m, a, rows, columns, stride in ((5, 3, 5, 7, 13), (2, 4, 3, 2, 32), (3, 1, 7, 1, 9)):
        given = *assignment_of(draw, m, a, rows, columns, stride), stride
        kind = of_type(dtype)
        of = f"assign_anchors, m={m} a={a} grid {rows} x {columns} stride {stride} {dtype}"
        truth, anchors, predicted = (x.to(kind) for x in given[:3])
        got = attempt.assign_anchors(truth, anchors, loosely(predicted), stride)
        want, known = assigned_to(*given), assignment_mistakes(*given) if m == 5 else {}
        told = {name: x for name, x in known.items() if sum(x.equal(y) for y in known.values()) == 1}
        agree(got, want, axes="a H W", of=of, known={name: x for name, x in told.items() if not x.equal(want)})


@part("assign_anchors")
def test_boxes_that_share_a_cell(attempt, draw):
    """A later box of the same cell gets the best anchor left, or none; what predicts it elsewhere is ignored still."""
    anchors = wide([[10, 10], [20, 11], [12, 30]])
    sizes = wide([[19, 12], [21, 10], [18, 11], [20, 12], [11, 10]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2], [1, 0], [3, 1, 4, 0]):
        centre = wide([[24 + 3 * draw.random.random(), 9 + 3 * draw.random.random()] for _ in order])
        truth = torch.cat([centre - sizes[order] / 2, centre + sizes[order] / 2], dim=1)
        predicted = wide([-50, -50, -40, -41]).repeat(3, 2, 3, 1)
        predicted[1, 1, 0] = truth[-1]
        want = assigned_to(truth, anchors, predicted, 16, 0.9)
        known = {
            "the later box overwrites": assigned_to(truth, anchors, predicted, 16, 0.9, taken="overwritten"),
            "the later box gets nothing": assigned_to(truth, anchors, predicted, 16, 0.9, taken="dropped"),
        }
        known = {name: value for name, value in known.items() if not value.equal(want)}
        of = f"assign_anchors, {len(order)} boxes in one cell of three anchors, the last one predicted in another cell"
        agree(attempt.assign_anchors(truth, anchors, predicted, 16, 0.9), want, axes="a H W", of=of, known=known)


@part("assign_anchors")
def test_edges_ties_and_the_threshold(attempt):
    """A centre on an edge: the cell right of it, or below. Equal anchors: the first. An IoU of `ignore`: background."""
    truth = wide([[6, 14, 10, 18], [14, 6, 18, 10]])  # centres (8, 16) and (16, 8), cells of 8 pixels
    anchors = wide([[2, 2], [4, 4], [4, 4]])
    predicted = wide([-9, -9, -8, -8]).repeat(3, 3, 4, 1)
    want = torch.full((3, 3, 4), -1)
    want[1, 2, 1], want[1, 1, 2] = 0, 1
    got = attempt.assign_anchors(truth, anchors, predicted, 8)
    agree(got, want, axes="a H W", of="assign_anchors, centres on the edges of cells, two equal anchors")
    for ignore, box in ((0.5, [6, 14, 10, 16]), (0.25, [6, 14, 8, 16])):
        predicted[0, 0, 0] = wide(box)  # its IoU with the first box is the threshold
        predicted[2, 0, 3] = wide(box) + wide([0, 0, 0, 0.25])  # a little more
        above = want.clone()
        above[2, 0, 3] = -2
        got = attempt.assign_anchors(truth, anchors, predicted, 8, ignore=ignore)
        of = f"assign_anchors, predictions at and above an IoU of {ignore}"
        agree(got, above, axes="a H W", of=of)
    got = attempt.assign_anchors(truth, anchors, predicted, 8)
    agree(got, want, axes="a H W", of="assign_anchors, IoU 1/4 and 9/32 where `ignore` is not given")


@part("assign_anchors")
def test_an_assigned_prediction_is_never_ignored(attempt, draw):
    """Where all predictions say the box itself, one answers for it, and all others are ignored; none without boxes."""
    truth, anchors = wide([[9, 3, 20, 12]]), wide([[3, 3], [10, 10]])
    predicted = truth.expand(2, 2, 3, 4)
    want = torch.full((2, 2, 3), -2)
    want[1, 0, 1] = 0
    of = "assign_anchors where each prediction is the true box"
    agree(attempt.assign_anchors(truth, anchors, predicted, 10), want, axes="a H W", of=of)
    nothing = attempt.assign_anchors(truth[:0], anchors, predicted, 10)
    agree(nothing, torch.full((2, 2, 3), -1), axes="a H W", of="assign_anchors without a true box")


@part("assign_anchors")
def test_another_image_of_that_size(attempt, reference, draw):
    """Each call takes its own boxes, whatever came before in the same sizes and however they lie in memory."""
    asked = [(*assignment_of(draw, 4, 2, 3, 5, 16), 16) for _ in range(2)]
    hold_again(attempt, reference, "assign_anchors", *asked, of="assign_anchors of 4 boxes, 2 anchors, 3 x 5 cells")


# --- yolo_loss --------------------------------------------------------------------------------------------------------

LOSSES = ("box", "object", "background", "classes", "total")


def losses_of(raw, anchors, stride, boxes, labels, ignore=0.5, mistake=None):
    """The five losses by loops over predictions, with torch numbers, so that they have gradients."""
    said = decoded(raw[..., :4], anchors, stride)
    zero = raw.sum() * 0
    parts = {"box": [], "object": [], "background": [], "classes": []}
    log = F.logsigmoid
    for n, (truth, kinds) in enumerate(zip(boxes, labels, strict=True)):
        which = assigned_to(truth, anchors, said[n].detach(), stride, ignore)
        for place in itertools.product(*(range(size) for size in which.shape)):
            number, row = int(which[place]), raw[n][place]
            if number == -1 or (number == -2 and mistake == "ignored"):
                parts["background"].append(-log(-row[4]))
            if number >= 0:
                parts["box"].append(1 - completed(said[n][place], truth[number], "iou" if mistake == "iou" else "ciou"))
                parts["object"].append(-log(row[4]))
                right = int(kinds[number])
                if mistake == "softmax":
                    parts["classes"].append(-row[5:].log_softmax(0)[right])
                else:
                    signs = [1 if k == right else -1 for k in range(len(row) - 5)]
                    parts["classes"].append(sum(-log(s * x) for s, x in zip(signs, row[5:], strict=True)))
    out = {name: sum(some, zero) / max(1, len(some)) for name, some in parts.items()}
    if mistake == "all":  # one mean over everything
        out |= {name: sum(parts[name], zero) / which.numel() / len(boxes) for name in ("box", "object", "classes")}
    if mistake == "class mean":
        out["classes"] = out["classes"] / (raw.shape[-1] - 5)
    weights = {"box": 5, "object": 1, "background": 0.5, "classes": 1}
    if mistake == "weights":
        weights = dict.fromkeys(weights, 1)
    return [*out.values(), sum(weights[name] * value for name, value in out.items())]


LOSS_MISTAKES = {
    "all": "background averaged in: means over all predictions",
    "ignored": "ignored predictions taken for background",
    "iou": "IoU in place of CIoU",
    "softmax": "a softmax over the classes",
    "class mean": "a mean over the classes",
    "weights": "all weights 1",
}


def scene(draw, counts, a=2, rows=3, columns=4, k=3, stride=16, ignore=0.5):
    """Raw numbers and true boxes for some images; some predictions say a true box though another answers for it."""
    while True:
        anchors = anchors_of(draw, a)
        raw = draw.normal(len(counts), a, rows, columns, 5 + k)
        boxes = [boxes_of(draw, m, rows * stride, columns * stride, low=8, high=25) for m in counts]
        labels = [draw.integers(0, k, m) for m in counts]
        for n, truth in enumerate(boxes):
            for number, box in enumerate(truth):
                x, y = ((box[:2] + box[2:]) / 2).tolist()
                j, i = int(x / stride), int(y / stride)
                at = torch.tensor([x / stride - j, y / stride - i]).clamp(0.05, 0.95).logit()
                size = box[2:] - box[:2]
                for p in range(a):
                    says = torch.cat([at.double(), (size / anchors[p]).log()]) + draw.normal(4, scale=0.08)
                    says[2] += 0.35 * (number % 2)  # every second box is said too wide: an IoU near 0.7
                    raw[n, p, i, j, :4] = says
        said = decoded(raw[..., :4], anchors, stride)
        which = [assigned_to(t, anchors, said[n], stride, ignore) for n, t in enumerate(boxes)]
        usual = [assigned_to(t, anchors, said[n], stride) for n, t in enumerate(boxes)]
        over = [iou_of(p, t) for n, b in enumerate(boxes) for p in said[n].reshape(-1, 4).tolist() for t in b.tolist()]
        sizes = [(b[:, 2:] - b[:, :2]).tolist() for b in boxes]
        fits = [[iou_of([0, 0, *s], [0, 0, *p]) for p in anchors.tolist()] for some in sizes for s in some]
        close = any(near(x, y) for fit in fits for x, y in itertools.combinations(fit, 2))
        alone = all(len(set(w[w >= 0].tolist())) == len(b) for w, b in zip(which, boxes, strict=True))
        felt = not sum(counts) or any((w == -2).any() for w in which)  # somebody is ignored
        felt &= ignore == 0.5 or any(not w.equal(u) for w, u in zip(which, usual, strict=True))
        if alone and felt and not close and not any(near(x, ignore) for x in over):
            return raw, anchors, stride, boxes, labels


@part("yolo_loss")
def test_one_box_by_hand(attempt):
    """A box that fits exactly, logits 0: box 0, object and background log 2, two classes 2 log 2."""
    raw, box = torch.zeros(1, 1, 1, 2, 7, dtype=torch.float64), wide([[2, 1, 6, 7]])
    names = attempt.run(drivers.names_of_losses, raw, wide([[4, 6]]), 8, [box], [torch.tensor([1])])
    agree(names, sorted(LOSSES), of="the keys of what yolo_loss returns, in alphabetical order")
    got = attempt.run(drivers.losses, raw, wide([[4, 6]]), 8, [box], [torch.tensor([1])], {})
    log2 = math.log(2)
    want = [wide(x) for x in (0, log2, log2, 2 * log2, 3.5 * log2)]
    agree(got, want, of="box, object, background, classes, total of yolo_loss, a box that fits, logits 0")
    got = attempt.run(drivers.losses, raw[:, :, :, :1], wide([[4, 6]]), 8, [box], [torch.tensor([1])], {})
    want = [wide(x) for x in (0, log2, 0, 2 * log2, 3 * log2)]
    agree(got, want, of="box, object, background, classes, total of yolo_loss where nothing is background")


@part("yolo_loss")
@each_dtype
def test_each_kind_has_a_mean_of_its_own(attempt, draw, dtype):
    """Box, object and classes are means over the assigned of all images, background over the background."""
    for counts, ignore in (((2, 0, 3), None), ((2,), 0.8)):
        raw, anchors, stride, boxes, labels = scene(draw, counts, ignore=ignore or 0.5)
        kind = of_type(dtype)
        more = {} if ignore is None else {"ignore": ignore}
        want = losses_of(raw, anchors, stride, boxes, labels, **more)
        known = {
            name: [x.to(kind) for x in losses_of(raw, anchors, stride, boxes, labels, mistake=m)]
            for m, name in LOSS_MISTAKES.items()
        }
        asked = loosely(raw.to(kind)), anchors.to(kind), stride, [x.to(kind) for x in boxes], labels, more
        of = f"box, object, background, classes, total of yolo_loss, boxes {counts}, {dtype}"
        got = attempt.run(drivers.losses, *asked)
        agree(got, [x.to(kind) for x in want], of=of, known=known if ignore is None else None)


@part("yolo_loss")
def test_a_box_that_nobody_answers_for(attempt, draw):
    """Three boxes in a cell of two anchors: the third enters no mean. A predicted box far off may cost more than 1."""
    anchors, sizes = wide([[10, 10], [20, 11]]), wide([[19, 12], [11, 10], [18, 13], [9, 12]])
    centre = wide([[24, 9], [26, 11], [25, 7], [40, 25]]) + draw.uniform(4, 2)
    boxes = [torch.cat([centre - sizes / 2, centre + sizes / 2], dim=1)]
    labels = [draw.integers(0, 3, 4)]
    raw = draw.normal(1, 2, 2, 3, 8, scale=0.3)
    raw[0, 0, 1, 2, 2:4] = wide([2, -3])  # it answers for the last box, and is flat
    raw[0, 0, 1, 2, :2] = wide([7, 7])
    want = losses_of(raw, anchors, 16, boxes, labels, 0.95)
    box, thing, background, classes = (want[i] * (1 if i == 2 else 3 / 4) for i in range(4))
    shared = [box, thing, background, classes, 5 * box + thing + background / 2 + classes]
    known = {"divided by the number of true boxes": shared}
    got = attempt.run(drivers.losses, raw, anchors, 16, boxes, labels, {"ignore": 0.95})
    agree(
        got,
        want,
        of="box, object, background, classes, total of yolo_loss, three boxes in a cell of two anchors",
        known=known,
    )


@part("yolo_loss")
def test_gradients_of_the_losses(attempt, draw):
    """Gradients flow into raw, from each loss, and none through the assignment."""
    raw, anchors, stride, boxes, labels = scene(draw, (2, 1))
    g = [draw.normal(1)[0] for _ in LOSSES]
    leaf = raw.clone().requires_grad_()
    out = losses_of(leaf, anchors, stride, boxes, labels)
    (want,) = torch.autograd.grad(sum(x * y for x, y in zip(out, g, strict=True)), leaf)
    value, grads = attempt.gradients(drivers.losses, raw, anchors, stride, boxes, labels, {}, upstream=g)
    agree(value, [x.detach() for x in out], of="box, object, background, classes, total of yolo_loss, two images")
    agree(grads[0], want, axes="b a H W c", of="the gradient of yolo_loss by raw, two images")


@part("yolo_loss")
@each_dtype
def test_no_boxes_and_large_logits(attempt, draw, dtype):
    """Without a box in any image only the background pays; logits of hundreds give what they are, and no Inf."""
    kind = of_type(dtype)
    raw, anchors, stride, boxes, labels = scene(draw, (0, 0))
    want = losses_of(raw, anchors, stride, boxes, labels)
    asked = raw.to(kind), anchors.to(kind), stride, [x.to(kind) for x in boxes], labels, {}
    one = torch.ones((), dtype=kind)
    got, grads = attempt.gradients(drivers.losses, *asked, upstream=[one] * 5)
    agree(got, [x.to(kind) for x in want], of=f"the losses of yolo_loss without a true box, {dtype}")
    assert bool(torch.isfinite(grads[0]).all()), "the gradient of yolo_loss without a true box is not finite"
    raw, anchors, stride, boxes, labels = scene(draw, (2, 1))
    raw[..., 4:] = 900 * raw[..., 4:].sign()
    want = losses_of(raw, anchors, stride, boxes, labels)
    asked = raw.to(kind), anchors.to(kind), stride, [x.to(kind) for x in boxes], labels, {}
    got, grads = attempt.gradients(drivers.losses, *asked, upstream=[one] * 5)
    agree(got, [x.to(kind) for x in want], of=f"the losses of yolo_loss, logits of ±900, {dtype}")
    assert bool(torch.isfinite(grads[0]).all()), "the gradient of yolo_loss at logits of ±900 is not finite"


@part("yolo_loss")
def test_losses_of_another_batch_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    asked = [scene(draw, (2, 1)) for _ in range(2)]
    hold_again(attempt, reference, "yolo_loss", *asked, of="yolo_loss of two images")


@part("yolo_loss")
def test_one_class_alone(attempt, draw):
    """k may be 1: one logit says whether it is of the class."""
    raw, anchors, stride, boxes, labels = scene(draw, (2, 1), k=1)
    got = attempt.yolo_loss(raw, anchors, stride, boxes, labels)
    want = losses_of(raw, anchors, stride, boxes, labels)
    names = ("box", "object", "background", "classes", "total")
    agree([got[name] for name in names], want, of=f"yolo_loss of one class: {', '.join(names)}")


# --- average_precision ------------------------------------------------------------------------------------------------


def matched(boxes, scores, truth, threshold, rule="coco"):
    """Which detections are right, by loops; `rule` names a mistake."""
    boxes, scores, truth = boxes.tolist(), scores.tolist(), truth.tolist()
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], -i if rule == "later" else i))
    if rule == "as they come":
        order.sort()
    right, free = [False] * len(boxes), set(range(len(truth)))
    for i in order:
        fits = {j: iou_of(boxes[i], truth[j]) for j in range(len(truth)) if rule in ("twice", "voc") or j in free}
        best = max(fits, key=lambda j: (fits[j], -j), default=None)
        if rule == "first":
            best = next((j for j in sorted(fits) if fits[j] >= threshold), None)
        if best is not None and fits[best] >= threshold and (rule == "twice" or best in free):
            right[i] = True
            free.discard(best)
    return torch.tensor(right, dtype=torch.bool)


def precision_of(right, truths, levels=101, monotone=True, total=None):
    """AP of a list of bools, the highest score first, in exact fractions."""
    places, hits = [], 0
    for i, one in enumerate(right, start=1):
        hits += one
        places.append((Fraction(hits, truths), Fraction(hits, i)))
    told = Fraction(0)
    for j in range(levels):
        enough = [precision for recall, precision in places if recall >= Fraction(j, levels - 1)]
        told += (max(enough) if monotone else enough[0]) if enough else 0
    return float(told / levels)


@part("average_precision")
def test_a_true_box_is_found_once(attempt):
    """Two detections of one box: the one of the higher score is right, the other wrong, whichever comes first."""
    boxes, truth = wide([[0, 0, 2, 2], [0, 0, 2, 2.5], [9, 9, 10, 10]]), wide([[0, 0, 2, 2]])
    for scores, want in (([0.5, 0.9, 0.7], [False, True, False]), ([0.9, 0.5, 0.7], [True, False, False])):
        known = {"both hits are right": torch.tensor([True, True, False])}
        got = attempt.match_detections(boxes, wide(scores), truth, 0.5)
        agree(
            got, torch.tensor(want), axes="n", of=f"match_detections, two hits on one box, scores {scores}", known=known
        )


RULES = {
    "twice": "two hits on one true box",
    "voc": "VOC's rule",
    "as they come": "detections not sorted",
    "first": "the first true box that is good enough",
    "later": "of equal scores the higher index first",
}


def crowd(draw, n, m, threshold, kind):
    """Detections and true boxes that overlap; no IoU near the threshold or another; in a crowd every rule matters."""
    while True:
        truth = boxes_of(draw, m, 5, 5, low=9, high=13, dtype=kind)
        boxes = boxes_of(draw, n, 5, 5, low=9, high=13, dtype=kind)
        scores = draw.integers(0, 5, n).to(kind)  # several are equal
        rows = [[iou_of(p, t) for t in truth.tolist()] for p in boxes.tolist()]
        if any(near(x, y) for row in rows for x, y in itertools.combinations([*row, threshold], 2)):
            continue
        want = matched(boxes, scores, truth, threshold)
        told = {name: matched(boxes, scores, truth, threshold, rule) for rule, name in RULES.items()}
        known = {name: x for name, x in told.items() if sum(x.equal(y) for y in (want, *told.values())) == 1}
        if n < 10 or len(known) == len(RULES):
            return (boxes, scores, truth, threshold), want, known


@part("average_precision")
@each_dtype
def test_the_best_of_the_free_boxes(attempt, draw, dtype):
    """Each detection takes the free true box with the largest IoU: crowds, no detections, no true boxes."""
    for n, m, threshold in ((17, 6, 0.5), (9, 3, 0.75), (4, 0, 0.5), (0, 3, 0.5)):
        (boxes, *given), want, known = crowd(draw, n, m, threshold, of_type(dtype))
        of = f"match_detections, n={n} m={m} threshold {threshold} {dtype}, equal scores"
        agree(attempt.match_detections(loosely(boxes), *given), want, axes="n", of=of, known=known)


@part("average_precision")
def test_thresholds_and_second_choices(attempt):
    """An IoU of exactly the threshold is right; where the best true box is taken, the second may be free."""
    truth = wide([[0, 0, 4, 4], [0, 0, 4, 2]])
    got = attempt.match_detections(wide([[0, 0, 2, 4], [8, 8, 9, 9]]), wide([1, 2]), truth[:1], 0.5)
    agree(got, torch.tensor([True, False]), axes="n", of="match_detections, an IoU of 1/2 at a threshold of 1/2")
    boxes = wide([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    known = {"VOC's rule": torch.tensor([False, True, False])}
    got = attempt.match_detections(boxes, wide([0.3, 0.9, 0.5]), truth, 0.5)
    agree(
        got,
        torch.tensor([False, True, True]),
        axes="n",
        of="match_detections, three of one box, a second free",
        known=known,
    )
    twins = wide([[0, 0, 4, 4], [0, 0, 4, 2], [0, 2, 4, 4]])  # the first detection has IoU 1/2 with both halves
    got = attempt.match_detections(twins[[0, 1]], wide([0.9, 0.5]), twins[[2, 1]], 0.5)
    agree(
        got,
        torch.tensor([True, True]),
        axes="n",
        of="match_detections, two true boxes of equal IoU: the first is taken",
    )


@part("average_precision")
def test_any_scores_and_any_number(attempt):
    """Scores may be negative or differ by 1e-12, thresholds may be low, and the 130th detection counts, too."""
    truth = wide([[0, 0, 4, 4]])
    boxes, scores = truth.expand(3, 4), wide([-2, -1 - 1e-12, -1])
    known = {"detections as they come": torch.tensor([True, False, False])}
    known["scores rounded"] = torch.tensor([False, True, False])
    got = attempt.match_detections(boxes, scores, truth, 0.5)
    agree(
        got, torch.tensor([False, False, True]), axes="n", of="match_detections, scores -2, -1 - 1e-12, -1", known=known
    )
    got = attempt.average_precision(scores, torch.tensor([False, False, True]), 1)
    agree(got, 1.0, of="average_precision, scores -2, -1 - 1e-12 and -1, of which the last is right", tol=1e-6)
    many = wide([[8, 8, 9, 9]]).repeat(130, 1)
    many[-1] = truth[0]
    want = torch.arange(130) == 129
    got = attempt.match_detections(many, torch.arange(130, 0, -1, dtype=torch.float64), truth, 0.5)
    agree(got, want, axes="n", of="match_detections, 130 detections, the last one right")
    for threshold, right in ((0.30, True), (0.3126, False)):  # an IoU of 5/16
        got = attempt.match_detections(wide([[0, 0, 1, 5], [0, 0, 1.25, 4]]), wide([1, 2]), truth, threshold)
        agree(
            got, torch.tensor([False, right]), axes="n", of=f"match_detections, an IoU of 0.3125, threshold {threshold}"
        )


@part("average_precision")
def test_three_detections_by_hand(attempt):
    """Of two true boxes: right, wrong, right has (51 + 50 · 2/3) / 101, wrong, right, right 2/3, in whatever order."""
    for right, want in (([True, False, True], (51 + 50 * 2 / 3) / 101), ([False, True, True], 2 / 3)):
        raw = precision_of(right, 2, monotone=False)
        known = (
            {"precision as it is, not made monotone": raw}
            if raw != want
            else {"11 recalls": precision_of(right, 2, 11)}
        )
        for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
            scores = wide([0.9, 0.8, 0.7])[order]
            got = attempt.average_precision(scores, torch.tensor(right)[order], 2)
            assert isinstance(got, float), f"average_precision returned a {type(got).__name__}, not a float"
            agree(
                got,
                want,
                of=f"average_precision of {right}, highest score first, two true boxes",
                tol=1e-6,
                known=known,
            )


@part("average_precision")
def test_every_ranking_of_six(attempt, draw):
    """All 64 lists of six right and wrong detections, with as many true boxes as found, one more, three more."""
    rows, want = [], []
    for right in itertools.product((False, True), repeat=6):
        for more in (0, 1, 3):
            truths = sum(right) + more
            if truths:
                order = draw.permutation(6)
                scores = wide([0.9, 0.7, 0.6, 0.35, 0.2, 0.1])
                rows.append((scores[order], torch.tensor(right)[order], truths))
                want.append(precision_of(right, truths))
    got = attempt.each("average_precision", rows)
    agree(
        wide([float(x) for x in got]),
        wide(want),
        axes="r",
        of="average_precision of every ranking of six detections",
        tol=1e-6,
    )


@part("average_precision")
@each_dtype
def test_recalls_are_compared_exactly(attempt, draw, dtype):
    """With 100 true boxes each hit reaches one more of the 101 recalls, no more and no fewer."""
    for truths in (100, 50, 7):
        right = [bool(i % 2 == 0 or i % 7 == 3) for i in range(2 * truths)]
        right = right[: next(i for i in range(len(right) + 1) if sum(right[:i]) == truths)]
        scores = torch.arange(len(right), 0, -1).to(of_type(dtype))
        want = precision_of(right, truths)
        known = {"the area under the steps": sum(precision_at(right)) / truths}
        got = attempt.average_precision(scores, torch.tensor(right), truths)
        agree(
            got,
            want,
            of=f"average_precision of {len(right)} detections, all {truths} true boxes found",
            tol=1e-6,
            known=known,
        )


@part("average_precision")
def test_one_hit_short_of_a_recall(attempt):
    """999 hits reach the recall 0.01 of 99,900 true boxes, and not that of 99,901."""
    scores, right = torch.arange(999, 0, -1, dtype=torch.float64), torch.ones(999, dtype=torch.bool)
    for truths, want in ((99_900, 2 / 101), (99_901, 1 / 101)):
        got = attempt.average_precision(scores, right, truths)
        agree(got, want, of=f"average_precision of 999 hits, {truths} true boxes", tol=1e-6)


def precision_at(right):
    """The largest precision from each hit on."""
    at = [sum(right[: i + 1]) / (i + 1) for i in range(len(right)) if right[i]]
    return [max(at[i:]) for i in range(len(at))]


@part("average_precision")
def test_equal_scores_and_empty_lists(attempt):
    """Of equal scores the lower index comes first; no detection has 0, and no true box NaN."""
    many = 40
    right = [i % 3 == 1 for i in range(many)]
    got = attempt.average_precision(torch.zeros(many, dtype=torch.float64), torch.tensor(right), 20)
    agree(
        got,
        precision_of(right, 20),
        of="average_precision of 40 equal scores: in the order in which they come",
        tol=1e-6,
    )
    none = torch.zeros(0, dtype=torch.float64)
    agree(attempt.average_precision(none, none.bool(), 3), 0.0, of="average_precision without a detection")
    for scores in (none, wide([0.5])):
        got = attempt.average_precision(scores, torch.zeros(len(scores), dtype=torch.bool), 0)
        assert isinstance(got, float), f"average_precision without a true box gave {got}, not a float"
        assert math.isnan(got), f"average_precision without a true box gave {got}, not NaN"


@part("average_precision")
def test_other_detections_of_that_number(attempt, reference, draw):
    """Each call takes its own detections, whatever came before in the same sizes and however they lie in memory."""
    asked = [crowd(draw, 7, 4, 0.5, torch.float64)[0] for _ in range(2)]
    hold_again(attempt, reference, "match_detections", *asked, of="match_detections of 7 detections, 4 true boxes")
    right = torch.arange(11) < 6
    asked = [(draw.uniform(11), one, 9) for one in (right & False, right[draw.permutation(11)])]  # none right, and six
    hold_again(attempt, reference, "average_precision", *asked, of="average_precision of 11 detections")


@part("average_precision")
def test_the_first_of_many_equal_scores(attempt):
    """Of forty detections of one box with equal scores the first is right, and the others are wrong."""
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    got = attempt.match_detections(boxes.expand(40, 4), torch.full((40,), 0.5), boxes, 0.5)
    agree(got, torch.arange(40) == 0, axes="n", of="match_detections of 40 equal detections of one true box")


# --- UNet -------------------------------------------------------------------------------------------------------------


def unet_parameters(channels, classes, width, depth):
    """The shape of each parameter, by name."""
    shapes = {}

    def put(name, shape, out):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, [out]

    for level in range(depth + 1):
        w = width * 2**level
        put(f"down.{level}.0", [w, channels if level == 0 else w // 2, 3, 3], w)
        put(f"down.{level}.2", [w, w, 3, 3], w)
        if level < depth:
            put(f"up.{level}", [2 * w, w, 2, 2], w)
            put(f"merge.{level}.0", [w, 2 * w, 3, 3], w)
            put(f"merge.{level}.2", [w, w, 3, 3], w)
    put("head", [classes, width, 1, 1], classes)
    return shapes


def unet_state(draw, channels, classes, width, depth):
    """Random values for each parameter, of a size that keeps maps near 1."""
    state = {}
    for name, shape in unet_parameters(channels, classes, width, depth).items():
        fan = math.prod(shape[1:]) if len(shape) > 1 else 4
        state[name] = draw.normal(*shape, scale=(2 / fan) ** 0.5)
    return state


def unet_of(x, state, depth, crop="middle", order="kept", skips=True, relu=True):
    """The U-Net in torch's functions; the last four say what a mistake does otherwise."""
    act = torch.relu if relu else (lambda y: y)

    def twice(y, name):
        y = act(F.conv2d(y, state[f"{name}.0.weight"], state[f"{name}.0.bias"]))
        return act(F.conv2d(y, state[f"{name}.2.weight"], state[f"{name}.2.bias"]))

    kept = [twice(x, "down.0")]
    for level in range(1, depth + 1):
        kept.append(twice(F.max_pool2d(kept[-1], 2), f"down.{level}"))
    y = kept.pop()
    for level in reversed(range(depth)):
        y = F.conv_transpose2d(y, state[f"up.{level}.weight"], state[f"up.{level}.bias"], stride=2)
        skip = kept.pop()
        (h, w), spare = y.shape[2:], [s - u for s, u in zip(skip.shape[2:], y.shape[2:], strict=True)]
        top, left = {"middle": [s // 2 for s in spare], "corner": [0, 0], "up": [(s + 1) // 2 for s in spare]}[crop]
        skip = skip[:, :, top : top + h, left : left + w] if skips else torch.zeros_like(y)
        y = twice(torch.cat([skip, y] if order == "kept" else [y, skip], dim=1), f"merge.{level}")
    return F.conv2d(y, state["head.weight"], state["head.bias"])


@part("UNet")
def test_parameters_of_the_unet(attempt):
    """Names and shapes of all parameters; with 1 channel and 2 classes the network of 2015 has 31,030,658."""
    for given in ((3, 5, 2, 2), (1, 2, 3, 1)):
        of = "the shapes of a UNet's parameters, channels {}, classes {}, width {}, depth {}".format(*given)
        got = attempt.run(drivers.unet_shapes, *given)
        agree(sorted(got), sorted(unet_parameters(*given)), of=of.replace("shapes", "names"))
        agree(dict(sorted(got.items())), dict(sorted(unet_parameters(*given).items())), of=of)
    agree(attempt.run(drivers.unet_count), 31_030_658, of="the parameters of UNet(1, 2)")


@part("UNet")
@each_dtype
def test_logits_of_the_unet(attempt, draw, dtype):
    """Down, across and up, at even and odd sizes, of which the middle is cut out; alike in training and in eval."""
    kind = of_type(dtype)
    for (b, c, rows, columns), classes, width, depth, training in (
        ((2, 3, 45, 51), 2, 2, 2, False),
        ((17, 1, 19, 22), 4, 3, 1, True),
        ((1, 1, 92, 101), 2, 2, 3, False),
        ((2, 2, 5, 7), 3, 2, 0, True),
    ):
        x, state = draw.normal(b, c, rows, columns), unet_state(draw, c, classes, width, depth)
        ways = {
            "the kept map cut from its corner": {"crop": "corner"},
            "the middle rounded up": {"crop": "up"},
            "the map from below first": {"order": "below"},
            "no skips": {"skips": False},
            "no ReLU": {"relu": False},
        }
        known = {name: later(kind, unet_of, x, state, depth, **way) for name, way in ways.items()}
        given = {name: value.to(kind) for name, value in state.items()}
        got = attempt.run(drivers.unet, loosely(x.to(kind)), given, classes, width, depth, training)
        of = f"UNet of x b={b} c={c} {rows} x {columns}, {classes} classes, width {width}, depth {depth}, {dtype}"
        of += ", in training mode" if training else ", in eval mode"
        agree(got, unet_of(x, state, depth).to(kind), axes="b k H W", of=of, known=known if depth == 2 else None)


@part("UNet")
def test_skips_carry_what_the_deep_path_lost(attempt, draw):
    """With the transposed convolutions at 0 all that is left comes across; with the skips' weights at 0 from below."""
    x, state = draw.normal(1, 2, 45, 49), unet_state(draw, 2, 3, 2, 2)
    across = {name: torch.zeros_like(value) if name.startswith("up.") else value for name, value in state.items()}
    below = dict(state)
    for level in (0, 1):
        below[f"merge.{level}.0.weight"] = state[f"merge.{level}.0.weight"].clone()
        below[f"merge.{level}.0.weight"][:, : 2 * 2**level] = 0
    for name, given in (("up", across), ("the skips", below)):
        want = unet_of(x, given, 2)
        known = {"no skips": lambda given=given: unet_of(x, given, 2, skips=False)} if given is across else None
        got = attempt.run(drivers.unet, x, given, 3, 2, 2)
        agree(got, want, axes="b k H W", of=f"UNet with the weights of {name} at 0", known=known)


@part("UNet")
def test_gradients_of_the_unet(attempt, draw):
    """Gradients flow down to x, through the skips and the deep path, and into each parameter."""
    x, state = draw.normal(1, 2, 45, 49), unet_state(draw, 2, 3, 2, 2)
    leaves = {name: value.clone().requires_grad_() for name, value in {"x": x, **state}.items()}
    out = unet_of(leaves["x"], leaves, 2)
    g = draw.normal(*out.shape)
    by_x, *want = torch.autograd.grad((out * g).sum(), list(leaves.values()))
    value, grads = attempt.gradients(drivers.unet, x, state, 3, 2, 2, upstream=g)
    agree(value, out.detach(), axes="b k H W", of="UNet of 45 x 49 pixels, depth 2")
    agree(grads[0], by_x, axes="b c H W", of="the gradient of a UNet by x, 45 x 49, depth 2")
    got = attempt.run(drivers.unet_gradients, x, state, 3, 2, 2, g)
    agree(got, dict(zip(state, want, strict=True)), of="the gradients of a UNet by its parameters", tol=1e-8)


@part("UNet")
def test_a_unet_of_now_in_both_modes(attempt, draw):
    """One UNet, asked of other images of that size, gives theirs, in training, in eval and under no_grad."""
    state = unet_state(draw, 2, 3, 2, 1)
    xs = [draw.normal(2, 2, 21, 23) for _ in range(3)]
    got = attempt.run(drivers.unets_in_turn, xs, state, 3, 2, 1)
    want = [unet_of(x, state, 1) for x in xs]
    modes = ("in training", "in eval", "in eval, under no_grad")
    agree(got, dict.fromkeys(modes, want), of="UNet(2, 3, width=2, depth=1), one network, call after call")


# --- atrous_pyramid ---------------------------------------------------------------------------------------------------


def shifted(x, down, right):
    """x, each place with what lies `down` rows below and `right` columns to its right, 0 beyond the border."""
    out, (rows, columns) = torch.zeros_like(x), x.shape[2:]
    for i, j in itertools.product(range(rows), range(columns)):
        if 0 <= i + down < rows and 0 <= j + right < columns:
            out[:, :, i, j] = x[:, :, i + down, j + right]
    return out


def pyramid(x, point, branches, rates, pooled, project, act="each", centre="mean", spread=True, tail=False):
    """The pyramid tap by tap."""

    def across(y, w):
        return torch.einsum("bchw,oc->bohw", y, w)

    maps = [across(x, point[:, :, 0, 0])]
    for w, rate in zip(branches, rates, strict=True):
        rate = rate if spread else 1
        taps = itertools.product((-1, 0, 1), repeat=2)
        maps.append(sum(across(shifted(x, i * rate, j * rate), w[:, :, i + 1, j + 1]) for i, j in taps))
    middle = x.mean(dim=(2, 3), keepdim=True) if centre == "mean" else x.amax(dim=(2, 3), keepdim=True)
    maps.append(across(middle, pooled[:, :, 0, 0]).expand(-1, -1, *x.shape[2:]))
    if tail:
        maps = [maps[-1], *maps[:-1]]
    all_maps = torch.cat(maps, dim=1)
    out = across(all_maps if act == "none" else all_maps.relu(), project[:, :, 0, 0])
    return out.relu() if act == "both" else out


def pyramid_inputs(draw, b, c, o, p, rows, columns, rates):
    branches = [draw.normal(o, c, 3, 3) for _ in rates]
    x, point, pooled = draw.normal(b, c, rows, columns), draw.normal(o, c, 1, 1), draw.normal(o, c, 1, 1)
    return x, point, branches, list(rates), pooled, draw.normal(p, o * (len(rates) + 2), 1, 1)


@part("atrous_pyramid")
def test_taps_two_pixels_apart_by_hand(attempt):
    """A kernel of ones with rate 2 on 0, 1, 2, 3, 4 adds up each pixel and those two away."""
    x, one = torch.arange(5, dtype=torch.float64).reshape(1, 1, 1, 5), wide([[[[1]]]])
    only = wide([0, 1, 0]).reshape(1, 3, 1, 1)
    got = attempt.atrous_pyramid(x, one, [torch.ones(1, 1, 3, 3, dtype=torch.float64)], [2], one, only)
    agree(
        got,
        wide([2, 4, 6, 4, 6]).reshape(1, 1, 1, 5),
        axes="b p H W",
        of="atrous_pyramid, the branch alone, rate 2, one row",
    )


@part("atrous_pyramid")
@each_dtype
def test_every_branch_of_the_pyramid(attempt, draw, dtype):
    """A point, kernels at each rate and the mean of the map, a ReLU for each, joined; rates beyond the map, or none."""
    kind = of_type(dtype)
    for sizes, rates in (((2, 3, 4, 5, 7, 11), (1, 2, 5)), ((1, 2, 3, 2, 6, 5), (8, 3)), ((2, 3, 2, 1, 3, 4), ())):
        given = pyramid_inputs(draw, *sizes, rates)
        ways = {
            "no ReLU": {"act": "none"},
            "a ReLU at the end": {"act": "both"},
            "the largest value in place of the mean": {"centre": "max"},
            "no dilation": {"spread": False},
            "the mean of the map first": {"tail": True},
        }
        known = {name: later(kind, pyramid, *given, **way) for name, way in ways.items()}
        x, point, branches, rates, pooled, project = given
        asked = (
            loosely(x.to(kind)),
            point.to(kind),
            [w.to(kind) for w in branches],
            rates,
            pooled.to(kind),
            project.to(kind),
        )
        of = f"atrous_pyramid of x {tuple(x.shape)}, rates {rates}, {dtype}"
        agree(
            attempt.atrous_pyramid(*asked),
            pyramid(*given).to(kind),
            axes="b p H W",
            of=of,
            known=known if len(rates) == 3 else None,
        )


@part("atrous_pyramid")
def test_gradients_of_the_pyramid(attempt, draw):
    """Gradients flow into the map and all weights."""
    given = pyramid_inputs(draw, 2, 2, 3, 2, 4, 5, (2, 1))
    g = draw.normal(2, 2, 4, 5)
    x, point, branches, rates, pooled, project = given
    leaves = [x.clone().requires_grad_() for x in (x, point, *branches, pooled, project)]
    out = pyramid(*leaves[:2], leaves[2:4], rates, *leaves[4:])
    want = torch.autograd.grad((out * g).sum(), leaves)
    value, grads = attempt.gradients(drivers.two_branches, x, point, *branches, pooled, project, rates, upstream=g)
    agree(value, out.detach(), axes="b p H W", of="atrous_pyramid of 4 x 5 pixels, rates 2 and 1")
    of = "the gradients of atrous_pyramid by x, point, both branches, pooled and project"
    agree(grads[:6], list(want), of=of)


@part("atrous_pyramid")
def test_another_map_of_that_size(attempt, reference, draw):
    """Each call takes its own map and kernels, whatever came before in the same sizes."""
    asked = [pyramid_inputs(draw, 2, 3, 4, 5, 7, 6, (1, 2)) for _ in range(2)]
    hold_again(attempt, reference, "atrous_pyramid", *asked, of="atrous_pyramid of x (2, 3, 7, 6), rates 1 and 2")


@part("atrous_pyramid")
def test_one_rate_twice(attempt, draw):
    """Two branches may have one rate, each with its own kernel."""
    x, point, branches, rates, pooled, project = pyramid_inputs(draw, 2, 3, 4, 5, 7, 6, (2, 2))
    got = attempt.atrous_pyramid(x, point, branches, rates, pooled, project)
    want = pyramid(x, point, branches, rates, pooled, project)
    agree(got, want, axes="b p h w", of="atrous_pyramid of x (2, 3, 7, 6), rates 2 and 2")


# --- ConvNeXtBlock ----------------------------------------------------------------------------------------------------


def convnext_values(draw, d):
    """The parameters in the order in which the module has them: scale, depthwise, norm, expand, reduce."""
    shapes = [(d,), (d, 1, 7, 7), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [draw.normal(*shape, scale=0.5) for shape in shapes]


def convnext_of(x, values, mistake=None):
    """The block, pixel by pixel for what works on channels."""
    scale, w, bias, gamma, beta, up, up_bias, low, low_bias = values
    y = F.conv2d(x, w, bias, padding=3, groups=x.shape[1])
    if mistake == "norm first":
        y = x
    y = y.permute(0, 2, 3, 1)
    centred = y - y.mean(dim=-1, keepdim=True)
    y = gamma * centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() + beta
    if mistake == "norm first":
        y = F.conv2d(y.permute(0, 3, 1, 2), w, bias, padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = y @ up.T + up_bias
    if mistake == "tanh":
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
    elif mistake == "relu":
        y = y.clamp(min=0)
    else:
        y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    y = y @ low.T + low_bias
    y = (y if mistake == "no scale" else scale * y).permute(0, 3, 1, 2)
    return y if mistake == "no residual" else y + (scale[:, None, None] * x if mistake == "scaled skip" else x)


@part("ConvNeXtBlock")
@each_dtype
def test_output_of_the_block(attempt, draw, dtype):
    """Depthwise convolution, norm over channels, two linear layers with an exact GELU, a scale, and the input added."""
    kind = of_type(dtype)
    ways = {
        "no residual": "the input is not added",
        "no scale": "no scale",
        "tanh": "GELU's approximation by tanh",
        "relu": "a ReLU",
        "norm first": "the norm before the convolution",
        "scaled skip": "the scale on the input, too",
    }
    for b, d, rows, columns, training in ((2, 5, 7, 3, False), (19, 3, 2, 11, True), (0, 2, 3, 4, True)):
        x, values = draw.normal(b, d, rows, columns), convnext_values(draw, d)
        known = {name: later(kind, convnext_of, x, values, way) for way, name in ways.items()} if b == 2 else None
        got = attempt.run(drivers.convnext, loosely(x.to(kind)), *(v.to(kind) for v in values), training=training)
        of = f"ConvNeXtBlock of x b={b} c={d} {rows} x {columns} {dtype}, {'training' if training else 'eval'} mode"
        agree(got, convnext_of(x, values).to(kind), axes="b c H W", of=of, known=known)


@part("ConvNeXtBlock")
def test_gradients_of_the_block(attempt, draw):
    """Gradients flow into x and all parameters."""
    x, values, g = draw.normal(2, 3, 4, 5), convnext_values(draw, 3), draw.normal(2, 3, 4, 5)
    leaves = [v.clone().requires_grad_() for v in (x, *values)]
    out = convnext_of(leaves[0], leaves[1:])
    want = torch.autograd.grad((out * g).sum(), leaves)
    value, grads = attempt.gradients(drivers.convnext, x, *values, upstream=g)
    agree(value, out.detach(), axes="b c H W", of="ConvNeXtBlock of 4 x 5 pixels")
    agree(grads, list(want), of="the gradients of ConvNeXtBlock by x and its parameters", tol=1e-8)


@part("ConvNeXtBlock")
def test_a_block_of_now(attempt, draw):
    """One block, asked of other maps of that size and under no_grad, gives theirs."""
    values, xs = convnext_values(draw, 3), [draw.normal(2, 3, 5, 6) for _ in range(3)]
    got = attempt.run(drivers.blocks_in_turn, xs, values)
    for i, x in enumerate(xs):
        of = f"ConvNeXtBlock of x (2, 3, 5, 6) under no_grad, call {i + 1} of one block"
        agree(got[i], convnext_of(x, values), axes="b c h w", of=of)


# --- grid_partition ---------------------------------------------------------------------------------------------------


def parted(x, side, grid, transposed=False):
    """Blocks or grid, place by place."""
    rows, columns = x.shape[1:3]
    r, c = rows // side, columns // side
    groups = []
    for i, j in itertools.product(range(r), range(c)):
        places = itertools.product(range(side), repeat=2)
        places = [(u * r + i, v * c + j) if grid else (i * side + u, j * side + v) for u, v in places]
        places = [(places[n // side + side * (n % side)]) for n in range(side**2)] if transposed else places
        groups.append(torch.stack([x[:, u, v] for u, v in places], dim=1))
    return torch.stack(groups, dim=1)


@part("grid_partition")
def test_eight_places_by_hand(attempt):
    """Two rows of four places: blocks hold neighbours, the grid every other column."""
    x = torch.arange(8).reshape(1, 2, 4, 1)
    blocks, grid = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7]]), torch.tensor([[0, 2, 4, 6], [1, 3, 5, 7]])
    got = attempt.block_partition(x, 2)
    agree(
        got,
        blocks[None, ..., None],
        axes="b n s d",
        of="block_partition of 2 x 4 places, side 2",
        known={"the grid": grid[None, ..., None]},
    )
    got = attempt.grid_partition(x, 2)
    agree(
        got,
        grid[None, ..., None],
        axes="b n s d",
        of="grid_partition of 2 x 4 places, side 2",
        known={"the blocks": blocks[None, ..., None]},
    )


@part("grid_partition")
@each_dtype
def test_blocks_and_grid(attempt, draw, dtype):
    """Which places are together, and in which order, at sizes whose rows and columns differ."""
    for b, rows, columns, d, side in (
        (2, 6, 9, 5, 3),
        (1, 10, 4, 3, 2),
        (3, 5, 15, 2, 5),
        (0, 4, 6, 1, 2),
        (2, 3, 2, 3, 1),
    ):
        x = draw.normal(b, rows, columns, d, dtype=of_type(dtype))
        for name, grid in (("block_partition", False), ("grid_partition", True)):
            want = parted(x, side, grid)
            other = "blocks in the place of the grid" if grid else "the grid in the place of blocks"
            known = {
                other: later(x.dtype, parted, x, side, not grid),
                "columns first in a group": later(x.dtype, parted, x, side, grid, True),
            }
            got = getattr(attempt, name)(loosely(x), side)
            of = f"{name} of b={b} {rows} x {columns} d={d}, side {side}, {dtype}"
            agree(got, want, axes="b n s d", of=of, known=known if rows == 6 else None)


@part("grid_partition")
def test_partitions_refuse_and_differentiate(attempt, draw):
    """A side that does not divide the rows, or the columns, is refused; gradients flow back to each place."""
    for name, grid in (("block_partition", False), ("grid_partition", True)):
        for rows, columns in ((4, 5), (7, 6), (2, 3)):
            with refusal(ValueError, of=f"{name} of {rows} x {columns} places, side {2 + (rows == 7)}"):
                getattr(attempt, name)(draw.normal(1, rows, columns, 2), 2 + (rows == 7))
        x = draw.normal(2, 4, 6, 3)
        g = draw.normal(2, 6, 4, 3)
        leaf = x.clone().requires_grad_()
        (want,) = torch.autograd.grad((parted(leaf, 2, grid) * g).sum(), leaf)
        value, grads = attempt.gradients(name, x, 2, upstream=g)
        agree(value, parted(x, 2, grid), axes="b n s d", of=f"{name} of 4 x 6 places, side 2")
        agree(grads[0], want, axes="b H W d", of=f"the gradient of {name} by x")


def turned(x, size, base=10000.0, mistake=None):
    """Rotary positions place by place and pair by pair, with complex numbers."""
    rows, columns = size
    q = x.shape[-1] // 2
    parts = []
    for n in range(rows * columns):
        row, column = divmod(n, columns)
        if mistake == "swapped":
            row, column = column, row
        if mistake == "one number":
            row = column = n
        for at, start in ((row, 0), (column, q)):
            half = x[..., n, start : start + q]
            u, v = half[..., 0::2], half[..., 1::2]
            if mistake == "halves":
                u, v = half[..., : q // 2], half[..., q // 2 :]
            angles = [at * base ** (-2 * s / (2 * q if mistake == "whole width" else q)) for s in range(q // 2)]
            angles = [-angle for angle in angles] if mistake == "backwards" else angles
            turn = torch.tensor([complex(math.cos(angle), math.sin(angle)) for angle in angles])
            turn = torch.polar(torch.ones(q // 2, dtype=torch.float64), wide(angles)) if len(turn) else turn
            w = torch.complex(u.contiguous(), v.contiguous()) * turn
            parts.append(
                torch.cat([w.real, w.imag], -1)
                if mistake == "halves"
                else torch.stack([w.real, w.imag], -1).flatten(-2)
            )
    return torch.stack([torch.cat(parts[i : i + 2], dim=-1) for i in range(0, len(parts), 2)], dim=-2)


@part("grid_partition")
@each_dtype
def test_rotary_positions_in_two_dimensions(attempt, draw, dtype):
    """The first half of a head turns with the row, the second with the column, in neighbouring pairs."""
    kind = of_type(dtype)
    ways = {
        "rows and columns swapped": "swapped",
        "one number for each place": "one number",
        "pairs from both ends of a half": "halves",
        "frequencies of the whole head": "whole width",
        "turned backwards": "backwards",
    }
    cases = [((2, 3), (3, 5), 12, None), ((), (7, 2), 4, 100.0), ((2,), (1, 4), 8, 10.0)]
    cases += [((2,), (3, 5), 8, None), ((), (2, 7), 4, 100.0), ((2,), (1, 4), 8, 100.0)]  # of each two, one differs
    for lead, size, d, base in cases:
        x, more = draw.normal(*lead, size[0] * size[1], d), {} if base is None else {"base": base}
        known = {name: later(kind, turned, x, size, **more, mistake=way) for name, way in ways.items()}
        got = attempt.rotary_2d(loosely(x.to(kind)), size, **more)
        of = f"rotary_2d of {tuple(x.shape)}, size {size}, base {base or 'as it is'}, {dtype}"
        agree(got, turned(x, size, **more).to(kind), of=of, known=known if base is None else None)


@part("grid_partition")
def test_gradients_of_rotary_positions(attempt, draw):
    """Gradients are turned back."""
    x, g = draw.normal(6, 8), draw.normal(6, 8)
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad((turned(leaf, (2, 3)) * g).sum(), leaf)
    value, grads = attempt.gradients("rotary_2d", x, (2, 3), upstream=g)
    agree(value, turned(x, (2, 3)), of="rotary_2d of six places, two rows")
    agree(grads[0], want, of="the gradient of rotary_2d by x")


@part("grid_partition")
def test_another_map_is_parted(attempt, reference, draw):
    """Each call takes its own map, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 6, 9, 4), 3) for _ in range(2)]
    for name in ("block_partition", "grid_partition"):
        hold_again(attempt, reference, name, *asked, of=f"{name} of x (2, 6, 9, 4), side 3")
    asked = [(draw.normal(2, 12, 8), (3, 4)) for _ in range(2)]
    hold_again(attempt, reference, "rotary_2d", *asked, of="rotary_2d of x (2, 12, 8), size (3, 4)")


# --- equivariance_gap -------------------------------------------------------------------------------------------------


def mapped(kind, x, weight, positions):
    """What the driver's model gives."""
    if kind == "patches":
        return (F.conv2d(x, weight, stride=weight.shape[-1]) + positions).tanh()
    side = weight.shape[-1] // 2
    x = F.pad(x, [side] * 4, mode="circular" if kind == "circular" else "constant")
    return F.conv2d(x, weight).tanh()


def gap_of(kind, x, weight, positions, shift, stride, way=None):
    """The gap; `way` says what a mistake does otherwise."""
    plain = mapped(kind, x, weight, positions)
    move = tuple(-s for s in shift) if way == "other way" else shift[::-1] if way == "swapped" else shift
    moved = mapped(kind, torch.roll(x, move, (2, 3)), weight, positions)
    cells = [int(s / stride) if way == "towards 0" else s // stride for s in shift]
    want = plain if way == "invariance" else torch.roll(plain, cells, (2, 3))
    if way == "largest":
        return ((moved - want).abs().max() / plain.abs().max()).item()
    apart, size = (moved - want).square().sum().item(), plain.square().sum().item()
    return {"squared": apart / size, "absolute": math.sqrt(apart)}.get(way, math.sqrt(apart / size))


GAPS = {
    "other way": "the input shifted the other way",
    "swapped": "rows and columns swapped",
    "invariance": "the output not shifted: invariance",
    "largest": "the largest difference",
    "squared": "squares without their root",
    "absolute": "not in units of the plain output",
}


@part("equivariance_gap")
def test_convolutions_and_patches_that_follow(attempt, draw):
    """A convolution with circular padding follows every shift, and patches follow whole patches: the gap is 0."""
    x = draw.normal(2, 3, 8, 12)
    none = torch.zeros((), dtype=torch.float64)
    for kind, side, shift, stride in (
        ("circular", 3, (2, -5), None),
        ("patches", 4, (4, 8), 4),
        ("patches", 2, (-2, 6), 2),
    ):
        told = attempt.run(drivers.gap, kind, x, draw.normal(4, 3, side, side), none, shift, stride)
        agree(told["gap"], 0.0, of=f"equivariance_gap of {kind}, kernel {side}, shift {shift}", tol=1e-9)


@part("equivariance_gap")
@each_dtype
def test_gap_of_borders_positions_and_pixels(attempt, draw, dtype):
    """Zero padding, positions, and shifts by less than a patch: how far the output is from the shifted one."""
    kind_of = of_type(dtype)
    x = draw.normal(2, 3, 8, 12)
    none = torch.zeros((), dtype=torch.float64)
    places = draw.normal(1, 4, 2, 3)
    cases = [("zero", 5, none, (1, 3), None), ("zero", 3, none, (-2, 0), 1), ("patches", 4, none, (1, 0), 4)]
    cases += [("patches", 4, none, (-1, 6), 4), ("patches", 4, places, (4, -4), 4), ("patches", 4, places, (-9, 5), 4)]
    cases += [("patches", 4, none, (2, -5), 4)]
    for name, side, positions, shift, stride in cases:
        weight = draw.normal(4, 3, side, side, scale=0.3)
        given = name, x, weight, positions, shift, stride or 1
        want = gap_of(*given)
        ways = GAPS | ({"towards 0": "shift / stride rounded towards 0"} if min(shift) < 0 else {})
        told = {text: gap_of(*given, way) for way, text in ways.items()}
        alone = [value for value in told.values() if sum(abs(value - other) < 1e-6 for other in told.values()) == 1]
        known = {text: value for text, value in told.items() if value in alone and abs(value - want) > 1e-6}
        asked = name, x.to(kind_of), weight.to(kind_of), positions.to(kind_of), shift, stride
        got = attempt.run(drivers.gap, *asked)
        of = f"equivariance_gap of {name}, kernel {side}, shift {shift}, stride {stride or 'not given'}, {dtype}"
        assert isinstance(got["gap"], float), f"{of} returned a {type(got['gap']).__name__}, not a float"
        agree(got["gap"], want, of=of, known=known, tol=1e-9 if dtype == "float64" else 1e-4)
        assert got["recorded"] is False, f"{of}: the model ran with gradients; nothing is to be recorded"


@part("equivariance_gap")
def test_the_gap_of_other_images(attempt, reference, draw):
    """Each call takes its own x, whatever came before in the same sizes and however it lies in memory."""
    weight = draw.normal(2, 3, 3, 3)
    asked = [("zeros", draw.normal(2, 3, 6, 8), weight, None, (1, 2), 1) for _ in range(2)]
    hold_again(
        attempt,
        reference,
        drivers.gap_alone,
        *asked,
        of="equivariance_gap of x (2, 3, 6, 8), zero padding",
        no_grad=True,
    )
