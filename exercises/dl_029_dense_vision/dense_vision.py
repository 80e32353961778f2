"""dl_029 · Dense vision: YOLO, average precision, U-Net, ASPP, ConvNeXt, MaxViT's grid, 2-D rotary, equivariance.

Axes
    b  images in the batch             a  anchors of a cell            k  classes
    c  channels of an image or a map   m  true boxes of an image       d  width of a token, or of a head
    H  height, W  width                n  boxes                        g  side of a block or of a grid

Boxes are corners (x1, y1, x2, y2) in pixels, x to the right and y down, x2 > x1 and y2 > y1; an anchor is (width,
height) in pixels. Grids, sizes and shifts are (rows, columns): height first. Height and width may differ, and be odd.
Inputs are never changed, and need not be contiguous. float32 and float64 work alike, and results keep the dtype.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of a (n, 4) with every box of b (m, 4): (n, m). It is given."""
    sides = (torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])).clamp(min=0)
    both, area_a, area_b = sides.prod(-1), (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return both / (area_a[:, None] + area_b - both)


def decode_boxes(raw: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """The boxes that YOLOv3's raw numbers stand for.

    raw: (b, a, H, W, 4), each (tx, ty, tw, th); b may be 0. anchors: (a, 2). stride: pixels from one cell to the next.
    Returns corners (b, a, H, W, 4) in pixels. For the cell in row i and column j and the anchor (p_w, p_h)

        centre x = (σ(tx) + j) · stride        width  = p_w · exp(tw)         σ: the logistic function
        centre y = (σ(ty) + i) · stride        height = p_h · exp(th)

    so no centre leaves its cell. (YOLOv5 has 2σ - ½ and (2σ)² in their places.) Boxes are not cut off at the image's
    border. Gradients flow into raw.

    raw 0 with anchor (4, 6), stride 8, row 0, column 1: centre (12, 4), corners (10, 1, 14, 7).

    Redmon and Farhadi 2018, arXiv 1804.02767, section 2.1.

    >>> decode_boxes(torch.zeros(1, 1, 1, 2, 4), torch.tensor([[4.0, 6.0]]), 8).tolist()
    [[[[[2.0, 1.0, 6.0, 7.0], [10.0, 1.0, 14.0, 7.0]]]]]
    """
    raise NotImplementedError  # TODO: your code


def encode_boxes(boxes: Tensor, anchors: Tensor, cells: Tensor, stride: int) -> Tensor:
    """The raw numbers that `decode_boxes` turns into these boxes: its inverse.

    boxes: (n, 4) corners; n may be 0. anchors: (n, 2) and cells: (n, 2) int64 (row, column), one for each box. Each
    box has its centre inside its cell, not on the cell's edge.
    Returns (n, 4): (tx, ty, tw, th).

    >>> encode_boxes(torch.tensor([[10.0, 1, 14, 7]]), torch.tensor([[4.0, 3.0]]), torch.tensor([[0, 1]]), 8).tolist()
    [[0.0, 0.0, 0.0, 0.6931471824645996]]
    """
    raise NotImplementedError  # TODO: your code


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of each box of a with the box of b in the same place: overlap, distance and shape in one number.

    a, b: (n, 4) corners; n may be 0. Returns (n,):

        CIoU = IoU - ρ² / c² - α · v

        ρ   distance of the two centres        c   diagonal of the smallest box around both
        v = 4/π² · (atan(w_b / h_b) - atan(w_a / h_a))²
        α = v / (1 - IoU + v), 0 where v is 0: a number for the gradient, which does not flow through α

    Two equal boxes have 1, and finite gradients. Boxes that do not touch still have a slope towards each other.
    Gradients flow into a and b.

    (0, 0, 2, 2) and (1, 0, 3, 2): IoU 1/3, ρ² 1, c² 3² + 2² = 13, v 0: 1/3 - 1/13 = 0.2564.

    Zheng et al. 2020, arXiv 1911.08287, equations 8 to 11.

    >>> round(complete_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]])).item(), 4)
    0.2564
    """
    raise NotImplementedError  # TODO: your code


def assign_anchors(truth: Tensor, anchors: Tensor, predicted: Tensor, stride: int, ignore: float = 0.5) -> Tensor:
    """Which prediction answers for which true box of one image: one for each, and some that are left in peace.

    truth: (m, 4) corners, with their centres inside the image; m may be 0. anchors: (a, 2). predicted: (a, H, W, 4)
    corners, what the network says now. The image has H · stride by W · stride pixels.
    Returns int64 (a, H, W): the number of the true box that this prediction answers for, or

        -1   background: it is to say that nothing is here
        -2   ignored: it says nothing wrong, but another answers for the box. It enters no loss

    A true box belongs to the cell that holds its centre (a centre on an edge: to the cell on the right, or below), and
    there to the anchor whose *shape* is nearest: the largest IoU of width and height, both boxes centred on one point;
    of equal ones the first. True boxes take their turn in the order in which they come. If an earlier one has taken
    that anchor in that cell, a later one gets the best of those left there, and none if all are taken. (Darknet lets
    the later one overwrite.)

    Of all others those are ignored whose *predicted box* has an IoU above `ignore` with any true box, in any cell.

    Redmon and Farhadi 2018, arXiv 1804.02767, section 2.1; what is ignored, as in darknet's code.

    >>> predicted = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]]).expand(2, 1, 2, 4)
    >>> assign_anchors(torch.tensor([[8.0, 1, 15, 7]]), torch.tensor([[2.0, 2.0], [6.0, 6.0]]), predicted, 8).tolist()
    [[[-1, -2]], [[-1, 0]]]
    """
    raise NotImplementedError  # TODO: your code


def yolo_loss(
    raw: Tensor, anchors: Tensor, stride: int, boxes: Sequence[Tensor], labels: Sequence[Tensor], ignore: float = 0.5
) -> dict[str, Tensor]:
    """What a one-scale YOLO pays: for its boxes, for saying that something is there, or nothing, and for the classes.

    raw: (b, a, H, W, 5 + k): four numbers of `decode_boxes`, the logit of "an object is here", k class logits.
    boxes: for each image its true boxes (m, 4), labels: (m,) int64 in 0 ... k-1; m may be 0, in all images too.
    `assign_anchors` says, from the decoded boxes of each image, what each prediction is. Returns a dict of scalars:

        "box"          mean of 1 - CIoU(predicted box, true box)             over the assigned of all images
        "object"       mean of -log σ(object logit)                          over the assigned of all images
        "background"   mean of -log(1 - σ(object logit))                     over the background of all images
        "classes"      mean of Σ over k of the binary cross-entropy          over the assigned of all images
        "total"        5 · box + object + ½ · background + classes

    A class is 1 for the label and 0 for the others, each with a σ of its own: no softmax. What is ignored enters no
    mean. A mean over nothing is 0. Gradients flow into raw, and none flows through the assignment. Logits may be in the
    hundreds: no Inf, no NaN.

    One mean over all of H · W · a would leave to the few that hold an object a thousandth of their say.

    Redmon et al. 2016, arXiv 1506.02640, equation 3 (the weights 5 and ½); Redmon and Farhadi 2018, section 2.

    >>> raw, box = torch.zeros(1, 1, 1, 2, 7), torch.tensor([[2.0, 1, 6, 7]])
    >>> loss = yolo_loss(raw, torch.tensor([[4.0, 6.0]]), 8, [box], [torch.tensor([1])])
    >>> [round(loss[name].item(), 4) for name in ("box", "object", "background", "classes", "total")]
    [0.0, 0.6931, 0.6931, 1.3863, 2.426]
    """
    raise NotImplementedError  # TODO: your code


def match_detections(boxes: Tensor, scores: Tensor, truth: Tensor, threshold: float) -> Tensor:
    """Which detections of one image and one class are right: each true box is found once.

    boxes: (n, 4), scores: (n,), truth: (m, 4); n or m may be 0. threshold: above 0.
    Returns bool (n,), in the order of `boxes`.

    The highest score comes first, of equal scores the lower index. Each detection takes, of the true boxes that are
    still free, the one with the largest IoU (of equal ones the first), if that is at least `threshold`: then it is
    right, and that true box is taken. A second hit on it is wrong. (That is COCO's rule; in VOC's the best true box of
    all is asked for, and if it is taken the detection is wrong.)

    >>> boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.5], [9, 9, 10, 10]])
    >>> match_detections(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([[0.0, 0, 2, 2]]), 0.5).tolist()
    [False, True, False]
    """
    raise NotImplementedError  # TODO: your code


def average_precision(scores: Tensor, right: Tensor, truths: int) -> float:
    """COCO's AP of one class: the mean precision at 101 recalls, from one list of all images' detections.

    scores: (n,), right: (n,) bool, of `match_detections`; n may be 0. truths: true boxes in all images.
    Returns a float; NaN if truths is 0.

    The highest score comes first, of equal scores the lower index. After i detections of which h are right, precision
    is h / i and recall h / truths. Then

        AP = 1/101 · sum over r = 0, 0.01, ..., 1 of  the largest precision among places with recall >= r    (none: 0)

    so precision, read from the right, never falls. Compare h / truths with j / 100 exactly: 100·h >= j·truths.

    Right, wrong, right, of 2 true boxes: precision 1 up to recall ½, then 2/3: (51 + 50 · 2/3) / 101 = 0.8350.

    Lin et al. 2014, arXiv 1405.0312, and the code of its evaluation.

    >>> round(average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]), 2), 4)
    0.835
    """
    raise NotImplementedError  # TODO: your code


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolutions without padding, each with a ReLU: four rows and columns fewer. It is given."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3), nn.ReLU())


class UNet(nn.Module):
    """The U-Net of 2015: down by pooling, up by transposed convolutions, and at each level a skip across.

    With w = width and D = depth, which may be 0, level l has w · 2^l channels. Modules:

        down[0 ... D]       double_convolution: channels -> w, then w · 2^(l-1) -> w · 2^l
        up[0 ... D-1]       ConvTranspose2d, kernel 2, stride 2, with bias: w · 2^(l+1) -> w · 2^l
        merge[0 ... D-1]    double_convolution: w · 2^(l+1) -> w · 2^l
        head                Conv2d, kernel 1, with bias: w -> classes

    `down`, `up` and `merge` are nn.ModuleLists, and index l is level l: up[0] is the last one that runs. There are no
    other parameters. With 1 channel, 2 classes, width 64 and depth 4 that makes 31,030,658.

    Ronneberger et al. 2015, arXiv 1505.04597, figure 1.

    >>> UNet(1, 2, width=2, depth=2)(torch.zeros(1, 1, 45, 47)).shape
    torch.Size([1, 2, 4, 4])
    >>> [name for name, _ in UNet(1, 2, width=2, depth=1).named_parameters()][-4:-2]
    ['merge.0.2.weight', 'merge.0.2.bias']
    """

    def __init__(self, channels: int, classes: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        raise NotImplementedError  # TODO: your code

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, channels, H, W) -> class logits (b, classes, H', W'), smaller, since no convolution pads.

        At each level but the lowest the map is kept, then max-pooled by 2 x 2 (an odd last row or column falls away).
        On the way up, the map that comes out of up[l] is the smaller one: of the kept map of size s, the middle of its
        size u is cut out, from row (s - u) // 2 on and likewise for columns. merge[l] takes both side by side, *the
        kept channels first*, then those from below. At the end comes the head, without an activation. Gradients flow.

        572 x 572 gives 388 x 388. Sizes at which a map would vanish are not given.
        """
        raise NotImplementedError  # TODO: your code


def atrous_pyramid(
    x: Tensor, point: Tensor, branches: Sequence[Tensor], rates: Sequence[int], pooled: Tensor, project: Tensor
) -> Tensor:
    """DeepLabv3's atrous spatial pyramid: one map seen at several scales at once, without losing a pixel.

    x: (b, c, H, W). point: (o, c, 1, 1), branches: r kernels (o, c, 3, 3), rates: r whole numbers, at least 1; r may be
    0. pooled: (o, c, 1, 1). project: (p, o · (r + 2), 1, 1). All convolutions (cross-correlations, as torch's) are
    without bias. Returns (b, p, H, W):

        point                                         of x
        branches[i], its taps rates[i] pixels apart    of x, zero-padded by rates[i], so that the size stays
        pooled                                        of the mean of x over all its pixels: one value a channel, at
                                                      each pixel of the map

    each followed by a ReLU, side by side in this order; project joins them, without an activation. A rate may be larger
    than the map: then the middle tap alone sees it. (The paper has batch norm after each convolution, too.)
    Gradients flow.

    Chen et al. 2017, arXiv 1706.05587, section 3.3.

    >>> x, one = torch.arange(5.0).reshape(1, 1, 1, 5), torch.ones(1, 1, 1, 1)
    >>> only = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)                   # of the three, the branch
    >>> atrous_pyramid(x, one, [torch.ones(1, 1, 3, 3)], [2], one, only).flatten().tolist()
    [2.0, 4.0, 6.0, 4.0, 6.0]
    """
    raise NotImplementedError  # TODO: your code


class ConvNeXtBlock(nn.Module):
    """A block of ConvNeXt: what is left of a transformer block if a 7 x 7 depthwise convolution mixes the places.

    The parameters are given.

    Liu et al. 2022, arXiv 2201.03545, figure 4.

    >>> block = ConvNeXtBlock(4)
    >>> sum(p.numel() for p in block.parameters()), block(torch.ones(1, 4, 3, 5)).shape
    (360, torch.Size([1, 4, 3, 5]))
    """

    def __init__(self, dim: int, scale: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, 4 * dim)
        self.reduce = nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, c, H, W) -> (b, c, H, W). b may be 0.

            x + scale · reduce(GELU(expand(norm(depthwise(x)))))

        `norm`, `expand` and `reduce` work on the channels of each pixel; `scale` has one number for each channel. GELU
        is the exact one, with erf. Gradients flow.
        """
        raise NotImplementedError  # TODO: your code


def block_partition(x: Tensor, side: int) -> Tensor:
    """MaxViT's blocks: g x g neighbours attend to each other.

    x: (b, H, W, d), b may be 0. side: g. Returns (b, H·W / g², g², d): blocks row by row, and row by row inside.
    Raises ValueError if H or W is not a multiple of g. Gradients flow.

    Tu et al. 2022, arXiv 2204.01697, section 3.2.

    >>> block_partition(torch.arange(8).reshape(1, 2, 4, 1), 2).flatten(2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    raise NotImplementedError  # TODO: your code


def grid_partition(x: Tensor, side: int) -> Tensor:
    """MaxViT's grid: g x g places, spread evenly over the whole map, attend to each other.

    x: (b, H, W, d), b may be 0. side: g. Returns (b, H·W / g², g², d). With R = H / g and C = W / g, group (i, j) of
    the R x C groups, number i · C + j, holds the places in rows i, i + R, i + 2R, ... and columns j, j + C, j + 2C, ...
    They stand row by row.
    Raises ValueError if H or W is not a multiple of g. Gradients flow.

    >>> grid_partition(torch.arange(8).reshape(1, 2, 4, 1), 2).flatten(2).tolist()
    [[[0, 2, 4, 6], [1, 3, 5, 7]]]
    """
    raise NotImplementedError  # TODO: your code


def rotary_2d(x: Tensor, size: tuple[int, int], base: float = 10000.0) -> Tensor:
    """EVA-02's rotary positions in two dimensions: half of a head turns with the row, half with the column.

    x: (..., H·W, d) queries or keys, row by row, d a multiple of 4. size: (H, W). Returns the same shape.

    With q = d / 2 the numbers 0 ... q-1 turn with the row i, the numbers q ... d-1 with the column j. Within each half
    the neighbours (2s, 2s+1), s = 0 ... q/2-1, are a pair that turns by the angle i · θ_s (or j · θ_s),

        θ_s = base^(-2s / q)         (u, v) becomes (u cos - v sin,  u sin + v cos)

    so the product of a query and a key depends on how far apart they are in rows and columns, and on nothing else.
    Gradients flow.

    Fang et al. 2023, arXiv 2303.11331; Su et al. 2021, arXiv 2104.09864.

    >>> x = torch.tensor([[1.0, 0, 1, 0]]).expand(2, 4)                          # two places, one below the other
    >>> rotary_2d(x, (2, 1)).mul(10000).round().div(10000).tolist()[1]
    [0.5403000116348267, 0.8414999842643738, 1.0, 0.0]
    """
    raise NotImplementedError  # TODO: your code


def equivariance_gap(model: Callable[[Tensor], Tensor], x: Tensor, shift: tuple[int, int], stride: int = 1) -> float:
    """How far a model is from "shift what goes in, and what comes out shifts": 0 if it is so.

    model: maps (b, c, H, W) to (b, o, H / stride, W / stride), and draws nothing. shift: (rows, columns) in pixels,
    down and to the right, negative ones too; what leaves on one side comes in on the other. The output is expected
    to move by shift // stride cells, rounded down (1 pixel of a stride of 4: 0 cells, -1 pixel: -1 cell).

        | model(shifted x) - shifted model(x) | / | model(x) |          | · |: root of the sum of squares

    Returns a float. Nothing is recorded for autograd. A model that keeps the bare mean of its map is *invariant*:
    another question.

    A convolution with circular padding has 0 for each shift, and one with zero padding does not, at the border. Patches
    of p pixels have 0 for shifts by p, and not by one pixel; learned positions take that away as well.

    >>> x = torch.tensor([[[[1.0, 2.0, 4.0, 7.0]]]])
    >>> equivariance_gap(torch.relu, x, (0, 1)), equivariance_gap(lambda x: x[..., ::2], x, (0, 2), stride=2)
    (0.0, 0.0)
    >>> round(equivariance_gap(lambda x: x[..., ::2], x, (0, 1), stride=2), 4)           # (7, 2), not (1, 4)
    1.5339
    """
    raise NotImplementedError  # TODO: your code
