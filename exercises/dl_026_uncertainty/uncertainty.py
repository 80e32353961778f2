"""dl_026 · Uncertainty: calibration, MC dropout, ensembles, variance heads, variational layers, conformal sets, OOD.

Notation
    n  examples     c  classes     d  features     m  members of an ensemble, or passes     i, o  inputs, outputs
    labels          int64, 0 ... c-1                probabilities    of each example they add up to 1
    α               how often a prediction set or an interval may miss

Rules for all functions: sizes are at least 1 unless said otherwise. Tensors are float64 or float32, and need not be
contiguous. Arguments are left alone. Tensors that come back have the dtype of those that went in. Logarithms are
natural ones. "Operators" counts each operation that torch runs, views too.

Further reading: Guo et al. 2017 (calibration), Gal and Ghahramani 2016 (MC dropout), Lakshminarayanan et al. 2017
(ensembles), Kendall and Gal 2017 (both kinds of uncertainty), Blundell et al. 2015 (variational layers), Angelopoulos
and Bates 2021 (conformal prediction), Yang et al. 2021 (OOD).
"""

import math

import torch
from torch import Tensor, nn


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy, for the class that is predicted.

    probabilities: (n, c), labels: (n,). The confidence of an example is its largest probability, and it is right if
    that is its label's. Bins of equal width are closed on the right, so bin b of 1 ... B has confidences in

        ( (b-1)/B,  b/B ]          compared in float64: 0.25 is in the first bin of four, 0.2500001 in the second

    With n_b examples in bin b, a share acc_b of them right, and conf_b the *mean* of their confidences,

        ECE = sum over b of  n_b / n · |acc_b - conf_b|          a bin without examples adds nothing

    Confidences 0.9, 0.9, 0.6, of which the first and the third are right, in ten bins:
    2/3 · |0.5 - 0.9| + 1/3 · |1 - 0.6| = 0.4. Returns a float.

    Source: Guo et al. 2017, equation 3.

    >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    >>> round(calibration_error(p, torch.tensor([0, 1, 1]), bins=10), 6)
    0.4
    """
    raise NotImplementedError  # TODO: your code


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that makes softmax(logits / T) fit held-out labels best: one number, argmax as it was.

    logits: (n, c), labels: (n,). Returns, as a float, the T in [0.01, 100] with the smallest mean of
    -log softmax(logits / T)[label], precise to 1e-4 of itself. As a function of 1/T the loss is convex: it has one
    minimum, where its slope is 0, or it falls all the way to an end of the range, and then T is that end (0.01 if every
    example is right).

    Logits may be float32, or in the thousands: compute in float64, and without an overflow. They are not all equal.

    Two classes, logits (6, 0) for each of four examples, three of label 0: softmax is to give 3/4, so 6/T = log 3 and
    T = 5.4614. Gradient descent with a small rate that stops after 50 steps does not get there.

    Source: Guo et al. 2017, section 4.2.

    >>> logits = torch.tensor([[6.0, 0.0]]).expand(4, 2)
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 1, 0])), 4)
    5.4614
    """
    raise NotImplementedError  # TODO: your code


def mc_dropout(model: nn.Module, x: Tensor, passes: int) -> Tensor:
    """What a network says with its dropout left on, again and again: (m, n, ...), m = passes, model(x) is (n, ...).

    In each pass every dropout module among model.modules() (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.FeatureAlphaDropout) is in training mode with its own rate, and *all other modules are in eval
    mode*, whatever mode they come in: BatchNorm uses its running statistics, and neither these nor a parameter changes.
    Masks are drawn anew in each pass and for each example, from torch's global generator, which is never seeded.

    Afterwards, also if the model raises, each module is in the mode in which it came: some layers may be in training
    mode, others not. Nothing is recorded for autograd, and x does not change: a dropout in place (inplace=True) may be
    the first that meets it.

    A model.train() would move BatchNorm's statistics, and fails on a batch of 1.

    Raises ValueError if passes is less than 1, or if the model has no dropout: all passes would be equal.

    Source: Gal and Ghahramani 2016.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    >>> out = mc_dropout(model, torch.ones(1, 2), passes=200)
    >>> out.shape, model[2].training, len(out.unique(dim=0))  # 3 units on or off: 8 outputs
    (torch.Size([200, 1, 3]), False, 8)
    """
    raise NotImplementedError  # TODO: your code


def mixture(means: Tensor, variances: Tensor) -> dict[str, Tensor]:
    """What an ensemble of Gaussians says together: mean and variance of their mixture, the variance in two parts.

    means, variances: (m, ...), of each member. All members weigh the same. Returns a dict of tensors (...):

        "mean"         E[μ]           over the members
        "aleatoric"    E[σ²]          the noise that the members see: more data does not lower it
        "epistemic"    E[(μ - E[μ])²]  what they disagree about: divided by m, not by m - 1

    The variance of the mixture is the sum of both. Means may be large and close together (10⁶ + 0.1): subtract the mean
    before you square.

    Means 1 and 3, variances 4 and 6: mean 2, aleatoric 5, epistemic 1.

    Source: Lakshminarayanan et al. 2017, section 2.4; Kendall and Gal 2017.

    >>> {k: v.item() for k, v in mixture(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0])).items()}
    {'mean': 2.0, 'aleatoric': 5.0, 'epistemic': 1.0}
    """
    raise NotImplementedError  # TODO: your code


def decompose(probabilities: Tensor) -> dict[str, Tensor]:
    """How uncertain an ensemble of classifiers is, and why: the members are unsure, or they disagree.

    probabilities: (m, n, c), of each member; entries may be 0, and 0 · log 0 is 0. H(p) = -sum over classes of p log p.
    Returns a dict of tensors (n,):

        "total"        H(E[p])          entropy of the mean *probabilities* (not of the mean logits)
        "aleatoric"    E[H(p)]          mean of the members' entropies
        "epistemic"    their difference, the mutual information of label and member: not below 0, by rounding either

    Two members that say (1, 0) and (0, 1): total log 2, aleatoric 0, epistemic log 2. Both (0.5, 0.5): log 2, log 2, 0.

    Source: Depeweg et al. 2018; Houlsby et al. 2011 (BALD).

    >>> p = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    >>> {k: [round(x, 4) for x in v.tolist()] for k, v in decompose(p).items()}
    {'total': [0.6931, 0.6931], 'aleatoric': [0.0, 0.6931], 'epistemic': [0.6931, 0.0]}
    """
    raise NotImplementedError  # TODO: your code


def heteroscedastic_loss(mean: Tensor, log_variance: Tensor, target: Tensor, beta: float = 0.0) -> Tensor:
    """The loss of a network with two heads, one for the mean and one for s = log σ²: a scalar.

        mean over all entries of   w · ½ · ( s + (target - mean)² · exp(-s) )          w = exp(β·s), held constant

    All three have one shape. With β = 0 it is the negative log-likelihood of a Gaussian without its constant ½ log 2π.
    There an example counts by exp(-s), so what is hard to fit is soon taken for noise and given up. w undoes a part of
    that: no gradient flows through w itself, and with β = 1 the gradient by the mean is that of ½ (target - mean)².

    Gradients flow into mean and log_variance. |s| is at most 40.

    mean 1, target 3, s = log 2: with β = 0 ½ · (log 2 + 4/2) = 1.3466, with β = 1 twice that.

    Forbidden: torch.nn.functional.gaussian_nll_loss.

    Source: Kendall and Gal 2017, equation 8; for β Seitzer et al. 2022.

    >>> mean, s, target = torch.tensor([1.0]), torch.tensor([2.0]).log(), torch.tensor([3.0])
    >>> [round(heteroscedastic_loss(mean, s, target, beta).item(), 4) for beta in (0.0, 1.0)]
    [1.3466, 2.6931]
    """
    raise NotImplementedError  # TODO: your code


class BayesLinear(nn.Module):
    """A linear layer whose weights are independent Gaussians: Bayes by Backprop, with local reparameterisation.

    Parameters: weight_mean and weight_rho (o, i), bias_mean and bias_rho (o,). Each weight, and each bias, is

        N(mean, σ²)     σ = log(1 + exp(ρ)), ρ >= -12          with the prior N(0, prior_std²) for all of them

    1 + exp(-12) has only two digits of exp(-12) left in float32; σ is to be right there, too.

    The prior is fixed: it has no gradient. Parameters may be float64 (after `.double()`) or float32.

    Source: Blundell et al. 2015, section 3; Kingma et al. 2015, section 2 (local reparameterisation).

    >>> layer = BayesLinear(3, 2, prior_std=0.5)
    >>> layer(torch.ones(4, 3), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2])
    >>> with torch.no_grad():  # one of each: σ 1, mean 1, prior_std 1: KL is 1/2 each
    ...     one = BayesLinear(1, 1)
    ...     for p in one.parameters():
    ...         _ = p.fill_(1.0 if p is one.weight_mean or p is one.bias_mean else math.log(math.e - 1))
    >>> round(one.kl().item(), 6)
    1.0
    """

    def __init__(self, in_features: int, out_features: int, prior_std: float = 1.0) -> None:
        super().__init__()
        self.prior_std = prior_std
        self.weight_mean = nn.Parameter(torch.zeros(out_features, in_features))
        self.weight_rho = nn.Parameter(torch.full((out_features, in_features), -3.0))
        self.bias_mean = nn.Parameter(torch.zeros(out_features))
        self.bias_rho = nn.Parameter(torch.full((out_features,), -3.0))
        nn.init.kaiming_uniform_(self.weight_mean, a=math.sqrt(5))

    def forward(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """x: (n, i) -> (n, o), each example with weights and biases of its own, drawn anew in each call.

        In eval mode and without gradients it draws as well: whoever wants one answer takes a mean of many.

        A sum of Gaussians is one, so the sums are drawn, and not the weights: with a standard normal number z for each
        entry of the result,

            x · weight_meanᵀ + bias_mean + √(x² · (weight σ²)ᵀ + bias σ²) · z          x² by entries

        That is the law of what weights of their own would give, with n·o numbers for n·(i + 1)·o. All numbers come from
        `generator`, which is never seeded anew or copied, and none is kept for a later call. Gradients flow into all
        parameters and x.

        Cost: the work stays in torch. A call takes at most 60 operators, and 200 with its backward pass, whatever the
        sizes. No tensor has more than 2 · (n·i + i·o + n·o) elements.
        """
        raise NotImplementedError  # TODO: your code

    def kl(self) -> Tensor:
        """KL(weights' law || prior), added up over all weights and biases: a scalar that gradients flow through.

        Of one number: log(prior_std / σ) + (σ² + mean²) / (2 prior_std²) - ½.
        """
        raise NotImplementedError  # TODO: your code


def negative_elbo(nll: Tensor, kl: Tensor, examples: int) -> Tensor:
    """The loss of one batch, for an example: what a training step minimises. A scalar, gradients flow.

    nll: (b,), -log p(y | x, weights) of each example of the batch, kl: a scalar, examples: how many there are in the
    whole training set, N.

        mean of nll  +  kl / N

    The KL comes once for the whole data, so a batch of b examples bears b/N of it, here divided by b. With a weight of
    1 in each of M = N/b batches it counts M times, and the weights stay at the prior. Batches of any sizes, each
    counted by its size, add up to the loss of all data.

    nll (1, 3), kl 6, 12 examples: 2 + 0.5.

    Source: Blundell et al. 2015, section 3.4 (with 1/M, for batches of one size).

    >>> negative_elbo(torch.tensor([1.0, 3.0]), torch.tensor(6.0), examples=12)
    tensor(2.5000)
    """
    raise NotImplementedError  # TODO: your code


def threshold(scores: Tensor, alpha: float) -> float:
    """The score that a new one does not exceed with probability 1 - α: the heart of split conformal prediction.

    scores: (n,), of held-out examples; n may be 0, and they need not be sorted. Returns the k-th *smallest* one,

        k = ⌈(n + 1) · (1 - α)⌉           infinity if k > n: so few examples cannot rule anything out

    A new score is equally likely to take each of n + 1 places among them, so it is at most the k-th with probability
    k / (n + 1) >= 1 - α, whatever the law of scores is. No interpolation: torch.quantile(scores, 1 - α) lies too low.
    (n + 1) · (1 - α) is never a whole number here: rounding would decide.

    Scores 1, 2, ..., 10: for α = 0.2 k = ⌈8.8⌉ and the threshold 9, for α = 0.05 k = 11 and it is infinite.

    Raises ValueError unless 0 < α < 1.

    Source: Vovk et al. 2005; Angelopoulos and Bates 2021, section 1.

    >>> scores = torch.tensor([3.0, 9.0, 1.0, 7.0, 5.0, 10.0, 2.0, 8.0, 4.0, 6.0])
    >>> threshold(scores, 0.2), threshold(scores, 0.05)
    (9.0, inf)
    """
    raise NotImplementedError  # TODO: your code


def split_conformal(held_out: Tensor, labels: Tensor, probabilities: Tensor, alpha: float) -> Tensor:
    """Prediction sets that contain the label with probability 1 - α, whatever the network is worth: bool (n, c).

    held_out: (h, c), probabilities for examples that were not trained on, with labels (h,); h may be 0.
    probabilities: (n, c), for new examples. The score of a class is 1 - its probability; a class is in the set if its
    score does not exceed the `threshold` of the held-out labels' scores.

    A set may be empty, and it has all classes where the threshold is infinite. A network that is worth nothing gets
    large sets, not false ones.

    Held-out labels with probability 0.9, 0.8, 0.4 and α = 0.3: k = ⌈2.8⌉, threshold 0.6; in the set is what has 0.4.

    Raises ValueError unless 0 < α < 1.

    Source: Sadinle et al. 2019; Angelopoulos and Bates 2021, section 1.

    >>> held_out = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> new = torch.tensor([[0.45, 0.55], [0.95, 0.05]])
    >>> split_conformal(held_out, torch.tensor([0, 0, 0]), new, 0.3)
    tensor([[ True,  True],
            [ True, False]])
    """
    raise NotImplementedError  # TODO: your code


def adaptive_scores(probabilities: Tensor, u: Tensor | None = None) -> Tensor:
    """How much probability is passed on the way down to each class, the likeliest class first: (n, c).

    probabilities: (n, c), those of one example all different. u: (n,), in [0, 1], or None for 1 everywhere.

        score of class y  =  sum of all probabilities larger than p_y   +   u · p_y

    u None takes the last class in whole. A random u takes a part of it, so that sets hold 1 - α and not more.

    (0.2, 0.5, 0.3): scores 1, 0.5, 0.8. With u = 0.5: 0.9, 0.25, 0.65.

    Cost: no tensor has more than 50 · n · c elements: c may be a vocabulary.

    Source: Romano et al. 2020, section 2 (APS).

    >>> p = torch.tensor([[0.2, 0.5, 0.3]])
    >>> adaptive_scores(p).round(decimals=4), adaptive_scores(p, torch.tensor([0.5])).round(decimals=4)
    (tensor([[1.0000, 0.5000, 0.8000]]), tensor([[0.9000, 0.2500, 0.6500]]))
    """
    raise NotImplementedError  # TODO: your code


def adaptive_sets(
    held_out: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    alpha: float,
    held_out_u: Tensor | None = None,
    u: Tensor | None = None,
) -> Tensor:
    """Prediction sets that are larger where the network is less sure: bool (n, c), as `split_conformal`.

    The scores are those of `adaptive_scores`: of the held-out examples with held_out_u (h,), of the new ones with u
    (n,). Both are given, or neither. h may be 0.

    Held-out (0.2, 0.5, 0.3) with labels 1, 2, 2 and α = 0.3: scores 0.5, 0.8, 0.8, threshold 0.8. A new example with
    (0.1, 0.6, 0.3) has scores 1, 0.6, 0.9: class 1 alone.

    Raises ValueError unless 0 < α < 1.

    Source: Romano et al. 2020, section 2.

    >>> held_out = torch.tensor([[0.2, 0.5, 0.3]]).expand(3, 3)
    >>> adaptive_sets(held_out, torch.tensor([1, 2, 2]), torch.tensor([[0.1, 0.6, 0.3]]), 0.3)
    tensor([[False,  True, False]])
    """
    raise NotImplementedError  # TODO: your code


def conformal_quantiles(
    held_out_low: Tensor,
    held_out_high: Tensor,
    targets: Tensor,
    low: Tensor,
    high: Tensor,
    alpha: float,
) -> tuple[Tensor, Tensor]:
    """Intervals for numbers, from two quantiles that a network predicts: conformalised quantile regression.

    held_out_low, held_out_high, targets: (h,), the quantiles and the truth of held-out examples; h may be 0. low, high:
    (n,), the quantiles of new ones. An example's score is how far its target lies outside, and it is negative inside:

        max(low - target, target - high)          q = the `threshold` of the held-out scores
        the interval is  [low - q, high + q]

    Both ends move by one q. A negative q makes intervals narrower, and may cross their ends; then they stay crossed. An
    infinite q gives -infinity and infinity.

    Held-out intervals [0, 10] with targets 1, 12, 5 and α = 0.3: scores -1, 2, -5, k = ⌈2.8⌉, q = 2, and [3, 4] becomes
    [1, 6].

    Returns (low, high), each (n,). Raises ValueError unless 0 < α < 1.

    Source: Romano et al. 2019, section 4.

    >>> low, high = torch.zeros(3), torch.full((3,), 10.0)
    >>> conformal_quantiles(low, high, torch.tensor([1.0, 12.0, 5.0]), torch.tensor([3.0]), torch.tensor([4.0]), 0.3)
    (tensor([1.]), tensor([6.]))
    """
    raise NotImplementedError  # TODO: your code


def ood_scores(
    logits: Tensor,
    features: Tensor,
    train_features: Tensor,
    train_labels: Tensor,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Three scores of how unlike its training data an example is: higher is more unlike, in all three.

    logits: (n, c) and features: (n, d), of the examples. train_features: (t, d), train_labels: (t,), of the training
    data; each class is there. Returns a dict of tensors (n,):

        "msp"            1 - the largest probability of softmax(logits)
        "energy"         -T · log of the sum of exp(logits / T)          T = temperature; logits may be in the thousands
        "mahalanobis"    the smallest, over classes k, of (f - μ_k)ᵀ Σ⁻¹ (f - μ_k)          f: features of the example

    μ_k is the mean of class k's training features. All classes share one Σ: the mean, over all t training examples, of
    (f - μ)(f - μ)ᵀ with the μ of the example's own class, divided by t. It can be inverted.

    Logits (0, 0) with T = 2: msp 0.5, energy -2 log 2 = -1.3863. Training features -1, 1 (class 0), 9, 11 (class 1):
    Σ = 1, and feature 7 has distance 9.

    Cost: no tensor has more than 4 · (n + t) · c · d elements (never n · n).

    Source: Hendrycks and Gimpel 2017; Liu et al. 2020; Lee et al. 2018.

    >>> train, labels = torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1])
    >>> scores = ood_scores(torch.zeros(1, 2), torch.tensor([[7.0]]), train, labels, temperature=2.0)
    >>> {name: round(score.item(), 4) for name, score in scores.items()}
    {'msp': 0.5, 'energy': -1.3863, 'mahalanobis': 9.0}
    """
    raise NotImplementedError  # TODO: your code


def detection_rates(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """How well scores tell examples like the training data (inside) from others (outside), whatever the threshold.

    inside: (n,), outside: (k,), scores as above: higher is more unlike. Returns a dict of floats:

        "auroc"    the probability that a random outside score is larger than a random inside one; equal ones count ½
        "fpr95"    the share of outside scores that pass as inside ones where at least 95 % of the inside ones do: those
                   that are not above the ⌈0.95 · n⌉-th smallest inside score

    Inside is the positive class here, as in ODIN; some papers take the other. n is no multiple of 20.

    Inside 1, 2, 3, outside 2, 4: auroc (1.5 + 3) / 6 = 0.75; the threshold is 3, so fpr95 is 0.5.

    Cost: no tensor has more than 50 · (n + k) elements: no matrix of pairs.

    Source: Fawcett 2006; Liang et al. 2018 (ODIN).

    >>> detection_rates(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0]))
    {'auroc': 0.75, 'fpr95': 0.5}
    """
    raise NotImplementedError  # TODO: your code


def risk_coverage(confidence: Tensor, correct: Tensor) -> Tensor:
    """Selective prediction: what share is wrong if only the k surest examples are answered, for k = 1 ... n.

    confidence: (n,), all different. correct: bool (n,). Returns (n,), in the dtype of confidence: entry k - 1 is the
    risk at coverage k/n. The last entry is the error rate of all.

    Confidences 0.9, 0.5, 0.7, of which the second is wrong: (0, 0, 1/3).

    Source: El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017.

    >>> risk_coverage(torch.tensor([0.9, 0.5, 0.7]), torch.tensor([True, False, True])).round(decimals=4)
    tensor([0.0000, 0.0000, 0.3333])
    """
    raise NotImplementedError  # TODO: your code
