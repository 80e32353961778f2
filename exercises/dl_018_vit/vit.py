"""dl_018 · Vision transformers: an image as a sequence, windows, distillation, boxes, matching, masks.

Axes
    b  images in the batch             p  side of a patch              k  classes
    c  channels of an image            n  patches of an image          q  boxes predicted for an image
    H  height, W  width                e  tokens before the patches    m  boxes in the image; windows of a map
    d  width of a token                t  all tokens, e + n            w  side of a window
    h  heads

Whatever is laid out in two dimensions becomes a sequence row by row: the place in row i and column j of a grid of
C columns is number i · C + j. Sizes and grids are (rows, columns), heights first. Boxes are (x1, y1, x2, y2), x to
the right and y down, unless said otherwise. Inputs are never changed, and need not be contiguous. float32 and float64
work alike, and results keep the dtype.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into squares of side p, each laid out as one row of numbers.

    images: (b, c, H, W), any dtype, b may be 0. patch: p.
    Returns (b, n, c·p·p) with n = (H / p)·(W / p). Patches stand row by row. Inside a patch the channel comes first,
    then its row, then its column, as in the weight of a convolution (MAE's own code has the channel last).
    Gradients flow. Raises ValueError if H or W is not a multiple of p: nothing is cropped.

    Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1.

    >>> patchify(torch.arange(8).reshape(1, 1, 2, 4), 2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    raise NotImplementedError  # TODO: your code


def unpatchify(patches: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
    """The images that `patchify` cut.

    patches: (b, n, c·p·p), b may be 0. patch: p. size: (H, W).
    Returns (b, c, H, W). Gradients flow.
    Raises ValueError if H or W is not a multiple of p, if n is not (H / p)·(W / p), or if the last axis is not a
    multiple of p·p.

    >>> unpatchify(torch.tensor([[[0, 1, 4, 5], [2, 3, 6, 7]]]), 2, (2, 4)).tolist()
    [[[[0, 1, 2, 3], [4, 5, 6, 7]]]]
    """
    raise NotImplementedError  # TODO: your code


class PatchEmbedding(nn.Module):
    """A linear map of each patch to a token: the same numbers as a convolution with kernel p and stride p.

    State: weight (d, c, p, p) and bias (d,), those of the convolution.
    """

    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.randn(dim, channels, patch, patch) * (channels * patch**2) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, images: Tensor) -> Tensor:
        """images: (b, c, H, W). Returns (b, n, d): token i is the product of weight and patch i, plus bias.

        Each pixel is multiplied once: 2·b·n·c·p²·d FLOPs, forward and backward together at most 4 times that. The work
        stays in torch. Gradients flow to images, weight and bias.
        Raises ValueError if H or W is not a multiple of p (a convolution would drop the rest in silence).

        >>> embed = PatchEmbedding(channels=3, patch=16, dim=192)
        >>> embed(torch.zeros(2, 3, 224, 160)).shape
        torch.Size([2, 140, 192])
        """
        raise NotImplementedError  # TODO: your code


def sincos_2d(rows: int, columns: int, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Fixed positions of a grid (MoCo v3, MAE). Returns (rows·columns, dim) in `dtype`, float32 or float64.

    With u the column and v the row of a place, and f_i = 10000^(-i / (dim/4)) for i = 0 .. dim/4 - 1, it is

        [ sin(u·f_0), sin(u·f_1), ..,  cos(u·f_0), ..,  sin(v·f_0), ..,  cos(v·f_0), .. ]

    that is, four blocks of dim/4: the column first, as MAE's code has it.
    Raises ValueError if dim is not a multiple of 4.

    >>> sincos_2d(2, 2, 4)[1]                # row 0, column 1: sin 1, cos 1, sin 0, cos 0
    tensor([0.8415, 0.5403, 0.0000, 1.0000])
    """
    raise NotImplementedError  # TODO: your code


def interpolate_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Learned positions for a grid of another size, as when a model is fine-tuned at a higher resolution.

    positions: (e + n, d), float32 or float64: e >= 0 tokens that stand for no place (class, distillation), then the
        grid `old` = (rows, columns), row by row: n = rows·columns, and e is what is left over.
    new: (rows, columns) of the result, (e + rows·columns, d). Its first e rows are those of `positions`, unchanged.

    The grid is resized as an image of d channels: bicubic, align_corners=False, no antialiasing, which is
    torch.nn.functional.interpolate(..., size=new, mode="bicubic"). The same grid comes back as it was.
    Gradients flow. Raises ValueError if there are fewer than n rows. Section 3.2 of arXiv 2010.11929.

    >>> positions = torch.tensor([[9.0], [0.0], [4.0]])              # a class token, a grid of 1 row, 2 columns
    >>> interpolate_positions(positions, (1, 2), (1, 4)).flatten().tolist()
    [9.0, -0.421875, 0.90625, 3.09375, 4.421875]
    """
    raise NotImplementedError  # TODO: your code


class EncoderBlock(nn.Module):
    """A pre-norm transformer layer, without dropout: arXiv 2010.11929, equations 2 and 3, appendix A.

        x <- x + out( attention( norm1(x) ) )           x <- x + fc2( gelu( fc1( norm2(x) ) ) )

    The 3·d outputs of qkv are all of q, then all of k, then all of v; in each of them head 0 comes first. GELU is the
    exact one (with erf). Write the attention out: calls of scaled_dot_product_attention and of
    multi_head_attention_forward (nn.MultiheadAttention) are refused, here and in `WindowAttention`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (b, t, d). Returns the tokens after the layer (b, t, d), and the attention weights (b, h, t, t).

        weights[b, h, i, j] = softmax over j of q_i · k_j / sqrt(d / h): how much token i takes from token j. Every
        token sees every token. Gradients flow through both.

        >>> tokens, weights = EncoderBlock(dim=6, heads=2)(torch.randn(1, 5, 6))
        >>> tokens.shape, weights.shape
        (torch.Size([1, 5, 6]), torch.Size([1, 2, 5, 5]))
        """
        raise NotImplementedError  # TODO: your code


class VisionTransformer(nn.Module):
    """ViT, and DeiT's variant with a second token that learns from a teacher (arXiv 2010.11929; 2012.12877, figure 2).

    Beside the modules that `__init__` makes, the state is
    prefix     (e, d): the class token; with `distilled`, the distillation token after it.
    positions  (e + n, d): one for each of those tokens, then for the patches of an image of `size`.
    At 224 x 224, patches of 16, 1000 classes: dim 192, 3 heads, 12 blocks make ViT-Ti, 5,717,416 parameters.
    """

    def __init__(
        self,
        size: tuple[int, int],
        patch: int,
        channels: int,
        dim: int,
        depth: int,
        heads: int,
        classes: int,
        distilled: bool = False,
    ) -> None:
        super().__init__()
        self.patch, self.distilled = patch, distilled
        self.grid = size[0] // patch, size[1] // patch
        extra = 2 if distilled else 1
        self.embed = PatchEmbedding(channels, patch, dim)
        self.prefix = nn.Parameter(torch.randn(extra, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(extra + self.grid[0] * self.grid[1], dim) * 0.02)
        self.blocks = nn.ModuleList(EncoderBlock(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)
        if distilled:
            self.head_distilled = nn.Linear(dim, classes)

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The tokens (b, t, d) after the last block and `norm`, and a list with the attention weights of each block.

        images: (b, c, H, W). First the embedded patches, the tokens of `prefix` in front of them; positions added to
        all, tokens of `prefix` included; then the blocks. An image of another size than the model was made for gets
        positions from `interpolate_positions`.
        Raises ValueError if H or W is not a multiple of the patch.

        >>> model = VisionTransformer((32, 16), 8, channels=1, dim=6, depth=3, heads=2, classes=5)
        >>> tokens, maps = model.features(torch.zeros(2, 1, 32, 24))
        >>> tokens.shape, len(maps), maps[0].shape
        (torch.Size([2, 13, 6]), 3, torch.Size([2, 2, 13, 13]))
        """
        raise NotImplementedError  # TODO: your code

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Class scores of images (b, c, H, W): `head` of the class token of `features`, (b, k).

        With `distilled` there are two: `head` of the class token and `head_distilled` of the distillation token. In
        training mode both come back, as a tuple in that order; in eval mode their mean does, as in DeiT's code (its
        paper adds the two softmaxes).
        Gradients flow to every parameter and to the images.
        """
        raise NotImplementedError  # TODO: your code


def window_partition(x: Tensor, window: int) -> Tensor:
    """Cut a map into squares of side w. x: (b, H, W, d), b may be 0. Returns (b, m, w·w, d), m = (H / w)·(W / w).

    Windows stand row by row, and so do the places inside a window. Gradients flow.
    Raises ValueError if H or W is not a multiple of w.

    >>> window_partition(torch.arange(8).reshape(1, 2, 4, 1), 2).flatten(1).tolist()
    [[0, 1, 4, 5, 2, 3, 6, 7]]
    """
    raise NotImplementedError  # TODO: your code


def window_merge(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """The map that `window_partition` cut. windows: (b, m, w·w, d), b may be 0. size: (H, W).

    Returns (b, H, W, d). Gradients flow.
    Raises ValueError if H or W is not a multiple of w, or if m is not (H / w)·(W / w).

    >>> window_merge(torch.tensor([[[[0], [1], [4], [5]], [[2], [3], [6], [7]]]]), 2, (2, 4)).flatten(2).tolist()
    [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    """
    raise NotImplementedError  # TODO: your code


def shifted_window_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Which places of a window may see each other once the map is rolled by `shift` (Swin, arXiv 2103.14030, figure 4).

    The map is rolled up and to the left, so the place at (i, j) holds what was at (i + shift mod H, j + shift mod W).
    Windows at the lower and right edge then hold places from opposite edges of the map; these must not meet.

    Returns (m, w·w, w·w) bool, True where query (axis 1) may see key (axis 2): those in the same window between which
    no edge of the original map runs. With shift 0 all is True. (Swin adds 0 and -100 to the scores, which
    will do in `WindowAttention`, too. It also leaves a map of a single window unshifted: its callers then pass shift
    0, nothing here does it for them.)
    Raises ValueError if height or width is not a multiple of w, or if shift is not in 0 .. w - 1.

    >>> shifted_window_mask(2, 4, 2, 1)[0].int().tolist()         # the first of two windows: rows 1 and 0 of the map
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    raise NotImplementedError  # TODO: your code


def relative_position_index(window: int) -> Tensor:
    """Which row of the bias table belongs to a pair of places in a window. Returns (w·w, w·w) int64.

    For the query in row i, column j and the key in row r, column s of the window it is

        (i - r + w - 1) · (2w - 1) + (j - s + w - 1)            between 0 and (2w - 1)² - 1

    >>> relative_position_index(2)[0].tolist()          # query (0, 0); keys (0, 0), (0, 1), (1, 0), (1, 1)
    [4, 3, 1, 0]
    """
    raise NotImplementedError  # TODO: your code


class WindowAttention(nn.Module):
    """Swin's attention: inside windows, shifted in every second layer so that neighbours meet (arXiv 2103.14030, 3.2).

    q, k, v come from `qkv`, laid out as in `EncoderBlock`. In each window and head, with B the bias of the pair:

        weights = softmax( q · k / sqrt(d / h) + B )      B = table[relative_position_index, head]

    State beside qkv and out: table ((2w - 1)², h).
    Forbidden: torch's `F.scaled_dot_product_attention` and `F.multi_head_attention_forward` (`nn.MultiheadAttention`).
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) * 0.02)

    def forward(self, x: Tensor, shift: int = 0) -> Tensor:
        """Attend within windows of the map x: (b, H, W, d) rolled by `shift`, and roll back. Returns (b, H, W, d).

        A place sees those of its window that `shifted_window_mask` allows, nothing else; `out` is applied at the end.
        The scores are 2·b·H·W·w²·d FLOPs, as are the weighted sums; the projections are 8·b·H·W·d²: linear in the area.
        Forward and backward together cost at most 4 times that. No H·W x H·W tensor is made, forward or backward. The
        work stays in torch, in training and evaluation alike. Gradients flow.
        Raises ValueError if H or W is not a multiple of w, or if shift is not in 0 .. w - 1.

        >>> layer, x = WindowAttention(dim=6, heads=2, window=2), torch.randn(1, 4, 6, 6)
        >>> layer(x, shift=1).shape
        torch.Size([1, 4, 6, 6])
        """
        raise NotImplementedError  # TODO: your code


def distillation_loss(
    logits: Tensor,
    distilled: Tensor,
    teacher: Tensor,
    labels: Tensor,
    kind: str,
    *,
    weight: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """DeiT's loss (arXiv 2012.12877, equations 2 and 3): the class token learns from labels, the other from a teacher.

    logits, distilled: (b, k) of the two heads. teacher: (b, k), its logits. labels: (b,) int64. b at least 1.

        loss = (1 - weight) · CE(logits, labels) + weight · T        means over the batch
        "hard"   T = CE(distilled, argmax of teacher)
        "soft"   T = temperature² · KL( softmax(teacher / temperature) || softmax(distilled / temperature) )

    The mean is over the b images (DeiT's code divides KL by b·k). Logits of 10,000 give no NaN or Inf.
    Gradients flow to logits and distilled; none reaches the teacher. Returns a scalar in the dtype of logits.
    Raises ValueError for another kind, for a weight outside 0 .. 1 (both ends are allowed), and for a temperature that
    is not above 0, in either kind ("hard" ignores its value otherwise).

    >>> even, three = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()          # (1/2, 1/2) and (3/4, 1/4)
    >>> soft = distillation_loss(even, even, three, torch.tensor([1]), "soft", weight=1.0)
    >>> round(soft.item(), 4)                                                   # 3/4 ln 3/2 + 1/4 ln 1/2
    0.1308
    """
    raise NotImplementedError  # TODO: your code


def attention_rollout(maps: Sequence[Tensor], heads: str = "mean") -> Tensor:
    """How much of each input token reaches each output token, through all layers (Abnar and Zuidema, arXiv 2005.00928).

    maps: the attention weights of at least one layer, the first layer first: a list of (b, h, t, t), or one tensor
        with the layers along its first axis. Layers of a list may have unlike numbers of heads.
    heads: "mean" or "max", how the heads of a layer become one map.
    Returns (b, t, t): R[i, j] for output i and input j; every row sums to 1.

        A = (fused + I), each row divided by its sum          R = A_last ··· A_2 A_1

    I stands for the residual connection. Row 0 from column e on is what the class token looks at.
    Raises ValueError for another `heads`.

    >>> first, second = torch.tensor([[[[0.0, 1], [1, 0]]]]), torch.tensor([[[[1.0, 0], [1, 0]]]])
    >>> attention_rollout([first, second])[0].tolist()              # [[1, 0], [.5, .5]] @ [[.5, .5], [.5, .5]]
    [[0.5, 0.5], [0.5, 0.5]]
    """
    raise NotImplementedError  # TODO: your code


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) to (...). Given."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of a with every box of b.

    a: (n, 4), b: (m, 4) corners, float32 or float64; n or m may be 0.
    Returns (n, m). Where both boxes have no area, 0 (not NaN). Gradients flow where both have some.
    Raises ValueError if a box has x2 < x1 or y2 < y1.

    >>> box_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2], [2.0, 2, 3, 3]])).tolist()
    [[0.3333333432674408, 0.0]]
    """
    raise NotImplementedError  # TODO: your code


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the share of the hull that is in neither box: GIoU, arXiv 1902.09630, algorithm 1.

        GIoU = IoU - (hull - union) / hull        hull: area of the smallest box around both

    a: (n, 4), b: (m, 4), as in `box_iou`. Returns (n, m) in -1 .. 1. Where the hull has no area, the IoU, which is 0.
    It still has a gradient where boxes do not meet. Raises ValueError as `box_iou` does.

    >>> round(generalized_box_iou(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 4, 1]])).item(), 4)
    -0.25
    """
    raise NotImplementedError  # TODO: your code


def non_max_suppression(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Which boxes to keep so that no two say the same: the best first, each only if it covers none that was kept.

    boxes: (n, 4) corners, negative ones too. scores: (n,). labels: (n,) int64, any numbers, or None; with them, only
        boxes of one class compete.
    Returns the kept indices, int64, the highest score first, of equal scores the lower index first; n may be 0.

    A box goes if its IoU with a *kept* box is above the threshold; at exactly the threshold it stays.

    >>> boxes = torch.tensor([[0.0, 0, 2, 1], [0.0, 0, 1, 1], [5.0, 5, 6, 6]])         # IoU of the first two: 1/2
    >>> non_max_suppression(boxes, torch.tensor([0.6, 0.9, 0.7]), threshold=0.4)
    tensor([1, 2])
    """
    raise NotImplementedError  # TODO: your code


@torch.no_grad()
def linear_assignment(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Pair rows with columns so that the sum of the pairs' costs is least (Kuhn 1955; Crouse 2016 for rectangles).

    cost: (r, c), float32 or float64, of any sign and magnitude; r or c may be 0.
    Returns rows and columns, both (min(r, c),) int64: pair i is cost[rows[i], columns[i]]. Rows ascend, none appears
    twice, nor does a column. Of several best answers, any.

    In polynomial time: 40 rows and 50 columns take well under a second. (DETR calls scipy.optimize's
    linear_sum_assignment; here it is what you write, with torch, numpy and the standard library.)
    Raises ValueError if a cost is NaN or infinite.

    >>> linear_assignment(torch.tensor([[1.0, 2.0], [1.0, 9.0]]))           # 2 + 1; the greedy choice is 1 + 9
    (tensor([0, 1]), tensor([1, 0]))
    """
    raise NotImplementedError  # TODO: your code


def corners(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) to (x1, y1, x2, y2), on the last axis. Given."""
    centre, size = boxes.split(2, -1)
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def hungarian_match(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    weights: tuple[float, float, float] = (1.0, 5.0, 2.0),
) -> tuple[Tensor, Tensor]:
    """DETR's matching for one image: which prediction answers for which object (arXiv 2005.12872, section 3.1).

    logits: (q, k + 1), the last class is "no object". boxes: (q, 4) predicted. labels: (m,) int64 in 0 .. k - 1.
    targets: (m, 4). All boxes are (centre x, centre y, width, height) in shares of the image.
    Returns predictions and objects, both (min(q, m),) int64, by ascending prediction; m may be 0.

    They make the total cost least. With (a, b, c) = weights, pairing prediction i and object j costs

        - a · softmax(logits[i])[labels[j]]  +  b · |boxes[i] - targets[j]|_1  -  c · GIoU(i, j)

    Softmax is over all k + 1 classes, the L1 distance over the four numbers as given, GIoU between corners.

    >>> boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]])
    >>> hungarian_match(torch.zeros(2, 4), boxes, torch.tensor([2]), boxes[1:])
    (tensor([1]), tensor([0]))
    """
    raise NotImplementedError  # TODO: your code


def dice_loss(logits: Tensor, labels: Tensor, smooth: float = 1.0, ignore_index: int = 255) -> Tensor:
    """1 - the mean soft Dice coefficient: overlap of predicted and true regions, blind to how large they are.

    logits: (b, k, H, W). labels: (b, H, W) int64 in 0 .. k - 1, or ignore_index (which may also be one of the classes).
    With p the softmax over classes and g the one-hot labels, for each image and class

        dice = (2 · sum p·g + smooth) / (sum p + sum g + smooth)         sums over the pixels that are not ignored

    and the mean is over images and classes, class 0 and absent ones included. (V-Net, arXiv 1606.04797, squares p and
    g below; others pool the pixels of the batch.) Returns a scalar; gradients flow, none to ignored pixels.

    >>> logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log().T.reshape(1, 2, 1, 2)     # p of class 0: 3/4, 1/2
    >>> loss = dice_loss(logits, torch.tensor([[[0, 255]]]), smooth=0.0)        # 1 - (2·3/4 / (3/4 + 1) + 0) / 2
    >>> round(loss.item(), 4)
    0.5714
    """
    raise NotImplementedError  # TODO: your code


def mean_iou(predicted: Tensor, labels: Tensor, classes: int, ignore_index: int = 255) -> tuple[Tensor, Tensor]:
    """Mean intersection over union, the measure of semantic segmentation.

    predicted, labels: int64 of the same shape, any, in 0 .. classes - 1; labels may also be ignore_index (which may be
        one of the classes). Pixels with that label count nowhere, whatever was predicted there.
    Returns the mean, and the IoU of each class (classes,), both float64.

    IoU of a class: pixels that are both predicted and labelled so, over those that are either, counted over *all*
    images together. A class that is neither has NaN and does not enter the mean; if none is left the mean is NaN.

    >>> mean_iou(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 255]), classes=3)
    (tensor(0.5000, dtype=torch.float64), tensor([0.5000, 0.5000,    nan], dtype=torch.float64))
    """
    raise NotImplementedError  # TODO: your code
