"""dl_005 · Loss functions: what a network is told to do, and what each way of telling it does to the gradient.

Notation
    n  examples in a batch      c  classes              d  width of an embedding, a latent or a hidden state
    z  logits                   y  targets              V  size of a vocabulary
    σ  the sigmoid 1 / (1 + e^-z)                       m  margin

Unless a docstring says otherwise:

* n >= 1. A loss is a 0-d tensor in the dtype of its first tensor, float64 or float32. Inputs may have any strides.
* Gradients flow to every floating-point tensor but targets and class weights, which need none.
* Values and gradients are finite for finite inputs: logits of ±10,000, and distances of 0.
* Nothing is kept between calls: once the caller lets a result go, no tensor and no graph of it is left.
* What is held "at once" is the most that is alive at any moment.

What a part may not call is named in its docstring, and refused by whatever name it is called. Everything else of torch
is free to use, `log_softmax`, `logsigmoid` and `softplus` among it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def binary_cross_entropy(logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Mean over all entries of the cross-entropy of independent yes-no questions, from logits.

        -( pos_weight · y · log σ(z) + (1 - y) · log(1 - σ(z)) )

    logits: any shape. targets: the same shape and dtype, in [0, 1], soft ones too. pos_weight: broadcasts to the shape
        of the logits, such as (c,); it weighs the positive term alone. The mean is over the number of entries, whatever
        the weights. None: 1.

    Forbidden: torch's binary_cross_entropy and binary_cross_entropy_with_logits.

    >>> z, y = torch.tensor([3.0, 3.0]).log(), torch.tensor([1.0, 0.0])     # σ = 3/4
    >>> torch.exp(-2 * binary_cross_entropy(z, y))                          # 3/4 · 1/4
    tensor(0.1875)
    """
    ### BEGIN SOLUTION
    positive = -targets * F.logsigmoid(logits)
    if pos_weight is not None:
        positive = pos_weight * positive
    return (positive - (1 - targets) * F.logsigmoid(-logits)).mean()
    ### END SOLUTION


def cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None = None, ignore_index: int = -100) -> Tensor:
    """Cross-entropy of one class out of c, from logits: a weighted mean over the targets that count.

        loss = Σ_i w[y_i] · -log softmax(z_i)[y_i]  /  Σ_i w[y_i]           over all i with y_i != ignore_index

    logits: (n, c), c >= 1. targets: (n,) int64, class numbers, or ignore_index, which may be a class number, too.
    weight: (c,), not negative; None: 1. Note the division by the sum of the *weights*, not by n: with weights 1 and 3,
        and one target of each class, losses a and b give (a + 3b) / 4.
    Where no target counts, or all weights that count are 0, the loss is 0 and so are the gradients (torch gives NaN).

    Forbidden: torch's cross_entropy and nll_loss.

    >>> torch.exp(-cross_entropy(torch.tensor([[1.0, 3.0], [1.0, 3.0]]).log(), torch.tensor([1, -100])))
    tensor(0.7500)
    """
    ### BEGIN SOLUTION
    counts = targets != ignore_index
    targets = targets.masked_fill(~counts, 0)
    weights = counts.to(logits.dtype) if weight is None else weight[targets] * counts
    losses = -logits.log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    total = weights.sum()
    return (weights * losses).sum() / total.masked_fill(total == 0, 1)
    ### END SOLUTION


def saturation_gradients(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Why classes are not learnt by squared error: two gradients for the logit z of a sigmoid, entry by entry, by hand.

        squared error   d/dz of (σ(z) - y)² / 2                                     (so without a factor 2)
        cross-entropy   d/dz of -( y log σ(z) + (1 - y) log(1 - σ(z)) )

    z, y: the same shape, y in [0, 1]. Returns both gradients, in that shape.
    Each entry has full relative precision for |z| <= 300 (float32: 30), also where σ(z) rounds to 1: at z = 50, y = 0
    the first is e^-50 and not 0; at z = 50, y = 1 the second is -e^-50.

    Forbidden is autograd: `torch.autograd.grad`, `torch.autograd.backward`, `backward` of a tensor; grad, vjp, jvp,
    vmap, jacrev and jacfwd of `torch.func`.

    >>> squared, entropy = saturation_gradients(torch.tensor([0.0, -50.0]), torch.tensor([0.0, 1.0]))
    >>> squared, entropy                        # at -50, quite wrong: the one has nothing to learn, the other all
    (tensor([ 1.2500e-01, -1.9287e-22]), tensor([ 0.5000, -1.0000]))
    """
    ### BEGIN SOLUTION
    yes, no = z.sigmoid(), (-z).sigmoid()  # 1 - z.sigmoid() would be 0 long before it should
    entropy = (1 - y) * yes - y * no
    return entropy * yes * no, entropy
    ### END SOLUTION


def regression_loss(
    kind: str,
    prediction: Tensor,
    target: Tensor,
    *,
    delta: float = 1.0,
    quantile: float = 0.5,
    log_variance: Tensor | None = None,
) -> Tensor:
    """The mean over all entries of one of five losses of r = target - prediction.

        "mse"        r²
        "mae"        |r|                                                            at r = 0 its gradient is 0
        "huber"      r²/2 where |r| <= delta, else delta · (|r| - delta/2)          (smooth L1 is this over delta)
        "quantile"   quantile · r where r > 0, else (quantile - 1) · r              pinball: too low costs `quantile`
        "gaussian"   (log_variance + r² / e^log_variance) / 2                       the NLL without log(2π)/2

    prediction, target: the same shape. log_variance: that shape, too, for "gaussian" alone; it gets a gradient.
    With r = 3: 9, 3, 2.5 at delta 1, 2.7 at quantile 0.9 (0.3 at r = -3), (log 4 + 9/4)/2 at variance 4.

    Raises ValueError for another kind; for shapes that differ: (n, 1) against (n,) would broadcast to (n, n); for
    delta <= 0; for a quantile outside of (0, 1); for "gaussian" without a log_variance.
    Forbidden: torch's mse_loss, l1_loss, huber_loss, smooth_l1_loss, gaussian_nll_loss.

    >>> zero, three = torch.zeros(1), torch.tensor([3.0])
    >>> [regression_loss(kind, zero, three).item() for kind in ("mse", "mae", "huber", "quantile")]
    [9.0, 3.0, 2.5, 1.5]
    """
    ### BEGIN SOLUTION
    if prediction.shape != target.shape:
        raise ValueError(f"a prediction {tuple(prediction.shape)} for a target {tuple(target.shape)}")
    if log_variance is not None and log_variance.shape != target.shape:
        raise ValueError(f"a log_variance {tuple(log_variance.shape)} for a target {tuple(target.shape)}")
    if delta <= 0 or not 0 < quantile < 1:
        raise ValueError(f"delta {delta}, quantile {quantile}")
    r = target - prediction
    if kind == "mse":
        losses = r.square()
    elif kind == "mae":
        losses = r.abs()
    elif kind == "huber":
        near = r.abs().clamp(max=delta)
        losses = near * (r.abs() - near / 2)
    elif kind == "quantile":
        losses = torch.maximum(quantile * r, (quantile - 1) * r)
    elif kind == "gaussian" and log_variance is not None:
        losses = (log_variance + r.square() * (-log_variance).exp()) / 2
    else:
        raise ValueError(f"no kind '{kind}', or no log_variance")
    return losses.mean()
    ### END SOLUTION


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Binary cross-entropy that looks away from what is easy (arXiv 1708.02002, 3.2): the mean over all entries of

        -alpha_t · (1 - p_t)^gamma · log p_t            p_t: σ(z) where y = 1, else 1 - σ(z)

    logits: any shape. targets: the same shape and dtype, each 0 or 1. gamma >= 0, whole or not.
    alpha: the weight of the *positives*; that of the negatives is 1 - alpha. None: both 1.
    gamma = 0 is binary cross-entropy. With gamma = 2 a p_t of 0.9 counts a hundredth. (Detectors divide by the number
    of positives instead; a batch without any is no trouble here.)

    Forbidden: torch's binary_cross_entropy and binary_cross_entropy_with_logits.

    >>> z, y = torch.tensor([9.0]).log(), torch.tensor([1.0])       # σ = 0.9
    >>> focal_loss(z, y) / focal_loss(z, y, gamma=0.0)
    tensor(0.0100)
    """
    ### BEGIN SOLUTION
    right = torch.where(targets == 1, logits, -logits)  # the logit of p_t
    losses = -(gamma * F.logsigmoid(-right)).exp() * F.logsigmoid(right)  # a power of 0 has no finite gradient
    if alpha is not None:
        losses = (alpha * targets + (1 - alpha) * (1 - targets)) * losses
    return losses.mean()
    ### END SOLUTION


def contrastive_loss(a: Tensor, b: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Pull pairs together, or push them apart up to a margin (Hadsell et al. 2006): the mean over n of

        d²/2 where same, else max(0, m - d)²/2              d = ‖a[i] - b[i]‖

    a, b: (n, d). same: (n,) bool, True for a similar pair. No eps is added to a distance. At distance 0 the
    gradient is finite. (An early version of Caffe had m - d² for (m - d)².)

    >>> a, b = torch.zeros(2, 2), torch.tensor([[0.3, 0.4], [0.3, 0.4]])                    # d = 0.5
    >>> contrastive_loss(a, b, torch.tensor([True, False]), 2.0)                            # (0.125 + 1.125) / 2
    tensor(0.6250)
    """
    ### BEGIN SOLUTION
    distance = torch.linalg.vector_norm(a - b, dim=1)  # whose gradient at 0 is 0, and not NaN as that of sqrt
    return torch.where(same, distance, (margin - distance).relu()).square().mean() / 2
    ### END SOLUTION


def triplet_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2, squared: bool = True
) -> Tensor:
    """An anchor's positive is to be nearer than its negative, by a margin: the mean over n of

        max(0, D(anchor, positive) - D(anchor, negative) + m)

    anchor, positive, negative: (n, d). D is the squared Euclidean distance (FaceNet, arXiv 1503.03832), or with
    squared=False the distance itself (torch's triplet_margin_loss). No eps is added to a distance; at distance 0 the
    gradient is finite. The mean is over all n, those of loss 0 among them.

    Forbidden: torch's triplet_margin_loss and triplet_margin_with_distance_loss.

    >>> a, p, n = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])      # 5 and 2
    >>> triplet_loss(a, p, n, 1.0), triplet_loss(a, p, n, 1.0, squared=False)
    (tensor(22.), tensor(4.))
    """
    ### BEGIN SOLUTION
    near, far = torch.linalg.vector_norm(torch.stack([anchor - positive, anchor - negative]), dim=2)
    if squared:
        near, far = near.square(), far.square()
    return (near - far + margin).relu().mean()
    ### END SOLUTION


def batch_hard_triplet(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """Triplets from a batch: for each anchor its farthest positive and its nearest negative (arXiv 1703.07737, eq. 5).

        mean over the anchors that have both of  max(0, max_p ‖x_a - x_p‖ - min_n ‖x_a - x_n‖ + m)

    embeddings: (n, d). labels: (n,) int64. A positive has the anchor's label and is another row; a negative has another
    label. Distances are Euclidean, not squared. An anchor that lacks one or the other is left out; where all are, the
    loss is 0 and so are the gradients. Rows may be equal: their distance is 0, and the gradient finite.

    >>> x, labels = torch.tensor([[0.0], [1.0], [3.0], [10.0]]), torch.tensor([7, 7, 7, 5])
    >>> batch_hard_triplet(x, labels, 4.0)       # 3 - 10 + 4, 2 - 9 + 4, 3 - 7 + 4: no positive for the last one
    tensor(0.)
    >>> batch_hard_triplet(x, labels, 10.0)      # 3, 3, 6
    tensor(4.)
    """
    ### BEGIN SOLUTION
    distances = torch.linalg.vector_norm(embeddings[:, None] - embeddings, dim=2)
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    anchors = positive.any(1)
    if not anchors.any():
        return 0 * embeddings.sum()
    near = distances.masked_fill(~positive, -torch.inf).amax(1)
    far = distances.masked_fill(same, torch.inf).amin(1)  # infinite without a negative: then the loss is 0
    return (near - far + margin)[anchors].relu().mean()
    ### END SOLUTION


def info_nce(a: Tensor, b: Tensor, temperature: float | Tensor = 0.07, log_q: Tensor | None = None) -> Tensor:
    """Each row of a is to find its own row of b among all, and the other way round (CLIP, arXiv 2103.00020, fig. 3).

        z[i, j] = cos(a[i], b[j]) / temperature  -  log_q[j]
        loss = ( mean over i of -log softmax_j(z[i])[i]  +  mean over j of -log softmax_i(z[:, j])[j] ) / 2

    a, b: (n, d), no row zero; they are normalised here. temperature: positive; a 0-d tensor gets a gradient (CLIP
        learns it).
    log_q: (n,), the log of the probability with which each b[j] gets into a batch, taken away from its logit for every
        i, its own i too: popular items are negatives too often (Yi et al. 2019, 3.2). None: no correction. It tells
        in the first term alone (why?), and gets no gradient.

    >>> a = torch.eye(2)
    >>> torch.exp(-info_nce(a, a, 1 / torch.tensor(3.0).log()))        # logits log 3 and 0: each finds itself with 3/4
    tensor(0.7500)
    """
    ### BEGIN SOLUTION
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    if log_q is not None:
        logits = logits - log_q.detach()
    return -(logits.log_softmax(1) + logits.log_softmax(0)).diagonal().mean() / 2
    ### END SOLUTION


def gaussian_kl(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """KL(q ‖ p) of two Gaussians with diagonal covariance, q first: for each row the sum over its d entries.

        Σ_k ( log(s²/v) + (v + (μ - ν)²) / s² - 1 ) / 2             q = N(μ, v), p = N(ν, s²)

    All four: (n, d), the variances as logs. Returns (n,). Gradients flow to all four. KL(p ‖ q) is another number.

    Forbidden: torch's kl_divergence.

    >>> zero = torch.zeros(1, 1)
    >>> gaussian_kl(torch.tensor([[2.0]]), zero, zero, torch.tensor([[4.0]]).log())     # (log 4 + (1 + 4)/4 - 1) / 2
    tensor([0.8181])
    """
    ### BEGIN SOLUTION
    log_ratio = log_variance - prior_log_variance
    gap = (mean - prior_mean).square() * (-prior_log_variance).exp()
    return (log_ratio.exp() - log_ratio + gap - 1).sum(1) / 2
    ### END SOLUTION


def elbo(x: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor, beta: float = 1.0) -> Tensor:
    """The evidence lower bound of a variational autoencoder with Bernoulli pixels: the mean over n of

        Σ over pixels of ( x log σ(z) + (1 - x) log(1 - σ(z)) )  -  beta · KL( N(mean, e^log_variance) ‖ N(0, 1) )

    x: (n, ...) in [0, 1], logits: the same shape, the decoder's for one sample of the latent. mean, log_variance:
    (n, d). Gradients flow to the last three; none is asked for x.
    It is to be *maximised*: never above 0, and its negative is the loss. Pixels and latents are summed, not averaged:
    else beta means something else for each image size.

    Source: Kingma and Welling 2013, arXiv 1312.6114, appendix B; beta: Higgins et al. 2017.

    >>> x, z, zero = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), torch.zeros(1, 3)
    >>> elbo(x, z, zero, zero)                  # 2 log(1/2)
    tensor(-1.3863)
    """
    ### BEGIN SOLUTION
    fit = (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).flatten(1).sum(1)
    zero = torch.zeros_like(mean)
    return (fit - beta * gaussian_kl(mean, log_variance, zero, zero)).mean()
    ### END SOLUTION


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """Mean cross-entropy of the logits hidden @ weight.T, of which never more than `chunk` rows exist at a time.

    hidden: (n, d), the last hidden states. weight: (V, d), the output embedding. targets: (n,) int64; all count.
    chunk >= 1; n need not be a multiple. Gradients flow to hidden and weight.

    With V = 65,536, 4,096 tokens have logits of 1.07 GB in float32, and two more such for softmax and gradient: most of
    the memory of training a small model. At once, inputs aside, not more than 6·chunk·V + 3·V·d + 2·n·d + 8·n elements,
    forward and backward; nothing larger than chunk·V, V·d or n·d. Nor may what waits for the backward pass be more than
    2·(V·d + n·d) + 8·n elements. Forward and backward together at most 8.2·n·V·d FLOPs, without gradients 2.1·n·V·d.
    The work stays in torch: Python may read the targets, no logits.

    >>> hidden, weight = torch.tensor([[1.0], [1.0], [1.0]]), torch.tensor([[1.0], [3.0]]).log()
    >>> torch.exp(-chunked_cross_entropy(hidden, weight, torch.tensor([1, 1, 1]), 2))
    tensor(0.7500)
    """
    ### BEGIN SOLUTION

    def total(states: Tensor, classes: Tensor) -> Tensor:
        logits = states @ weight.T
        return (logits.logsumexp(1) - logits.gather(1, classes[:, None]).squeeze(1)).sum()

    pieces = [slice(i, i + chunk) for i in range(0, len(hidden), chunk)]
    return sum(checkpoint(total, hidden[at], targets[at], use_reentrant=False) for at in pieces) / len(hidden)
    ### END SOLUTION
