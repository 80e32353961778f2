"""dl_027 · Time series: windows without leaks, scores, trend and season, negative binomial, DeepAR, and parts of TFT.

Notation
    b  series     t  times     c  steps of the past (context)     h  steps ahead (horizon)     x  covariates or columns
    m  sample paths     q  levels of quantiles     v  variables     d  features of a layer
    NaN           a value of a series that is missing; it may stand anywhere in a past or a future

Rules for all functions: sizes are at least 1 unless said otherwise. Tensors are float64 or float32, and need not be
contiguous. Arguments are left alone. Tensors that come back have the dtype of those that went in. Logarithms are
natural ones. Only targets (past, future, values) may be missing; what a function says about them is its own rule.

Further reading: Hyndman and Koehler 2006 (MASE), Gneiting and Raftery 2007 (scores), Taylor and Letham 2018 (Prophet),
Salinas et al. 2020 (DeepAR), Lim et al. 2021 (Temporal Fusion Transformer).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def make_windows(series: Tensor, context: int, horizon: int, stride: int, cut: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Cut a series into windows for training and for testing, so that nothing from `cut` on is trained on.

    series: (t, x), one row for each time. A window that starts at s has

        past = series[s : s + c]     future = series[s + c : s + c + h]          c = context, h = horizon

    Returns a dict of pairs (past (n, c, x), future (n, h, x)), in the order of time:

        "train"    s = 0, stride, 2·stride, ...              as long as the whole future lies before `cut`
        "test"     s = cut - c, cut - c + stride, ...        as long as the future fits: it begins at `cut` or later

    The past of a test window may reach back before `cut`: at that time it is known. A window whose future lies on both
    sides is in neither. Each may hold no window; its tensors then have n = 0. Windows may be views of the series.

    Times 0 ... 9, c = 3, h = 2, stride 1, cut 7: train windows start at 0, 1, 2, test windows at 4, 5.

    Raises ValueError if context, horizon or stride is less than 1, or unless c <= cut <= t.

    >>> windows = make_windows(torch.arange(10.0)[:, None], 3, 2, 1, 7)
    >>> windows["train"][1][..., 0].tolist(), windows["test"][1][..., 0].tolist()
    ([[3.0, 4.0], [4.0, 5.0], [5.0, 6.0]], [[7.0, 8.0], [8.0, 9.0]])
    """
    raise NotImplementedError  # TODO: your code


def mase(past: Tensor, future: Tensor, forecast: Tensor, season: int = 1) -> Tensor:
    """Mean absolute scaled error: how much worse a forecast is than the naive one was *in the past*. (b,)

    past: (b, c), future and forecast: (b, h). Of each series

        mean of |future - forecast|   /   mean of |past[t] - past[t - season]|  over t = season ... c - 1

    The first mean is over targets that are seen, the second over pairs of which both are seen. Each has one at least,
    and the second is not 0. It says how large errors are for this series, from its past alone: the future would be a
    leak. A forecast with the value 1 is as good, on average, as "the same as one season ago" was in the past.

    Past 1, 2, 4, 7, future 9, 14, forecast 10, 12: 1.5 / 2 = 0.75 (season 1).

    Raises ValueError unless 1 <= season < c.

    Source: Hyndman and Koehler 2006.

    >>> past, future = torch.tensor([[1.0, 2.0, 4.0, 7.0]]), torch.tensor([[9.0, 14.0]])
    >>> mase(past, future, torch.tensor([[10.0, 12.0]]))
    tensor([0.7500])
    """
    raise NotImplementedError  # TODO: your code


def pinball_loss(target: Tensor, quantiles: Tensor, levels: Tensor) -> Tensor:
    """The loss whose best constant is a quantile: a scalar, the mean over seen targets and all levels.

    target: (...), quantiles: (..., q), what is forecast for each level, levels: (q,), between 0 and 1, in any order.

        max( τ · (target - quantile),  (τ - 1) · (target - quantile) )          τ = level

    No factor 2. Gradients flow into quantiles; where the target is missing they are 0. At least one target is seen.

    Target 10, level 0.9: the quantile 8 costs 1.8, the quantile 12 costs 0.2.

    Source: Koenker and Bassett 1978.

    >>> target, levels = torch.tensor([10.0]), torch.tensor([0.9])
    >>> [round(pinball_loss(target, torch.tensor([[q]]), levels).item(), 4) for q in (8.0, 12.0)]
    [1.8, 0.2]
    """
    raise NotImplementedError  # TODO: your code


def crps(target: Tensor, samples: Tensor, fair: bool = False) -> Tensor:
    """Continuous ranked probability score of m samples: a scalar, the mean over seen targets. Smaller is better.

    target: (...), samples: (m, ...), seen everywhere. Of one target y with samples x_1 ... x_m

        mean of |x_i - y|   -   1 / (2 m²) · sum over all pairs (i, j) of |x_i - x_j|

    It is the mean pinball loss over all levels, times 2, of the law that gives each sample the weight 1/m. If m samples
    stand for a law that has more, that is too large on average; fair=True divides the sum by 2 m (m - 1) instead, and
    then is right on average. At least one target is seen.

    Samples 1, 3 and target 2: 1 - 4/8 = 0.5; fair 1 - 4/4 = 0. One sample: the absolute error.

    Cost: no tensor has more than 20 · m elements for each target: there are too many pairs.

    Raises ValueError if fair and m = 1.

    Source: Gneiting and Raftery 2007, section 4.2; Ferro 2014 (fair).

    >>> target, samples = torch.tensor([2.0]), torch.tensor([[1.0], [3.0]])
    >>> crps(target, samples).item(), crps(target, samples, fair=True).item()
    (0.5, 0.0)
    """
    raise NotImplementedError  # TODO: your code


def forecast_scores(past: Tensor, future: Tensor, samples: Tensor, levels: Tensor, season: int = 1) -> dict[str, float]:
    """What sample paths are worth: four scores, as floats.

    past: (b, c), future: (b, h), samples: (m, b, h), levels: (q,), ascending. Quantiles of the samples are those of
    torch.quantile: interpolated linearly, so the median of 1, 2, 4, 9 is 3.

        "mase"        mean over all series of the `mase` of the samples' median
        "pinball"     `pinball_loss` of the samples' quantiles at the levels
        "crps"        `crps` of the samples, not the fair one
        "coverage"    the share of seen targets between the quantiles of the first and of the last level, ends included

    Each series has a seen target. A good coverage is the difference of these levels: 0.8 for 0.1 and 0.9.

    >>> past, future = torch.tensor([[1.0, 2.0, 4.0, 7.0]]), torch.tensor([[9.0, 14.0]])
    >>> samples = torch.tensor([[[8.0, 10.0]], [[12.0, 12.0]]])
    >>> scores = forecast_scores(past, future, samples, torch.tensor([0.0, 1.0]))
    >>> {name: round(score, 4) for name, score in scores.items()}
    {'mase': 1.0, 'pinball': 0.5, 'crps': 1.75, 'coverage': 0.5}
    """
    raise NotImplementedError  # TODO: your code


def design_matrix(times: Tensor, changepoints: Tensor, seasons: list[tuple[float, int]]) -> Tensor:
    """The columns of which Prophet builds trend and seasons: (t, x).

    times: (t,), changepoints: (k,), k may be 0. seasons: pairs (period P, order N), in the unit of `times`; may be [].
    Columns, in this order:

        1,   time                                           the straight line
        max(0, time - s)  for each changepoint s            from s on the slope is another one; the line does not jump
        cos(2π n time / P),  sin(2π n time / P)             for n = 1 ... N, for each season

    So x = 2 + k + 2 · (sum of all N).

    Times 0, 1, 2, 3 with a change at 1 and one season (4, 1): row 2 is 1, 2, 1, cos π = -1, sin π = 0.

    Source: Taylor and Letham 2018, sections 3.1.2 and 3.2.

    >>> design_matrix(torch.arange(4.0), torch.tensor([1.0]), [(4.0, 1)])[:3].round().int().tolist()
    [[1, 0, 0, 1, 0], [1, 1, 0, 0, 1], [1, 2, 1, -1, 0]]
    """
    raise NotImplementedError  # TODO: your code


def trend_and_season(
    times: Tensor, values: Tensor, new_times: Tensor, changepoints: Tensor, seasons: list[tuple[float, int]]
) -> tuple[Tensor, Tensor]:
    """A baseline that needs no training: least squares on Prophet's columns, and what it says of new times.

    times, values: (t,); a missing value has no part in the fit. new_times: (n,), later ones, or any. changepoints (k,)
    and seasons are those of `design_matrix`. The weights make the sum of squared errors at the seen times smallest;
    these times determine all of them. Returns the two parts of the forecast, each (n,):

        trend     the first 2 + k columns: constant, slope, changes of slope
        season    the other columns; 0 where there is no season

    Times may be large (days since 1970) and tensors float32: fit in float64. Prophet itself draws the weights towards 0
    by priors; here there are none. Times need not be equally far apart, nor in order.

    Values 1, 3, missing, 7 at times 0 ... 3: the line 1 + 2 · time, and at time 5 trend 11, season 0.

    Source: Taylor and Letham 2018, section 3.

    >>> values = torch.tensor([1.0, 3.0, float("nan"), 7.0])
    >>> trend, season = trend_and_season(torch.arange(4.0), values, torch.tensor([5.0]), torch.zeros(0), [])
    >>> trend.round(decimals=4), season
    (tensor([11.]), tensor([0.]))
    """
    raise NotImplementedError  # TODO: your code


def negative_binomial(counts: Tensor, mean: Tensor, alpha: Tensor) -> Tensor:
    """log p(z | μ, α) of counts under a negative binomial law, by its mean and its shape: as its arguments, (...).

    counts: whole numbers from 0, as floats. mean: μ > 0, alpha: α from 1e-4 to 100. All three have one shape.

        p(z) = Γ(z + 1/α) / (Γ(z + 1) · Γ(1/α)) · (1 / (1 + αμ))^(1/α) · (αμ / (1 + αμ))^z

    The mean is μ and the variance μ + αμ²: more than a Poisson law has, which is what is left as α goes to 0.

    Gradients flow into mean and alpha. In float32 the two large logarithms of Γ near 1/α cancel, and nothing is left of
    the sum: compute in float64, and give back the dtype that came.

    z = 1, μ = 2, α = 0.5: 1/α = 2, αμ = 1, so p = Γ(3)/(Γ(2) Γ(2)) · (1/2)² · 1/2 = 0.25.

    Forbidden: torch.distributions.NegativeBinomial.

    Source: Salinas et al. 2020, section 3.1.

    >>> negative_binomial(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([0.5])).exp()
    tensor([0.2500])
    """
    raise NotImplementedError  # TODO: your code


def draw_counts(mean: Tensor, alpha: Tensor, *, generator: torch.Generator) -> Tensor:
    """Independent counts of that law, one for each entry: whole numbers, in the shape and the dtype of mean.

    mean and alpha have one shape, and the limits of `negative_binomial`. The law is a Poisson law whose rate is random:

        rate ~ Gamma with shape 1/α and scale αμ          count ~ Poisson(rate)

    All random numbers come from `generator`, which is never seeded anew or copied. torch's laws in torch.distributions
    take no generator; `torch._standard_gamma(shape, generator=generator)`, for the scale 1, and
    `torch.poisson(rate, generator=generator)` do.

    Nothing is recorded for autograd. Means may be as large as 10⁶. The work stays in torch: `sample_paths`, which uses
    this function, promises it.

    >>> mean, alpha = torch.full((10_000,), 3.0), torch.full((10_000,), 0.5)
    >>> counts = draw_counts(mean, alpha, generator=torch.Generator().manual_seed(0))
    >>> abs(counts.mean().item() - 3) < 0.2, abs(counts.var().item() - 7.5) < 1
    (True, True)
    """
    raise NotImplementedError  # TODO: your code


class DeepAR(nn.Module):
    """An LSTM that says, step by step, which law the next count of a series has: one network for all series.

    Parameters: `lstm`, an nn.LSTM with batch_first that starts from zero states and reads 1 + x numbers a step, and two
    heads, nn.Linear(hidden, 1): `mean_head` and `alpha_head`. Their dtype may be float64 (after `.double()`).

    Series differ in size by powers of ten, so each is divided by a scale of its own, from its past alone:

        ν = 1 + mean of the seen values of the past          1 if none is seen

    The step that says the law of z_t reads z_{t-1} / ν and then the covariates of t, where z_{t-1} is 0 at the first
    step of the past, and where it is missing. With its output o

        μ = ν · softplus(mean_head(o))          α = softplus(alpha_head(o)) / √ν

    √ν as in the paper: large series are less dispersed. (gluonts and transformers leave α as it is.)

    Source: Salinas et al. 2020, sections 3.1 and 3.3.

    >>> model = DeepAR(covariates=2, hidden=4)
    >>> mean, alpha = model(torch.ones(3, 7), torch.ones(3, 5), torch.zeros(3, 12, 2))
    >>> mean.shape, alpha.shape, model.scale(torch.tensor([[1.0, float("nan"), 5.0]])).tolist()
    (torch.Size([3, 5]), torch.Size([3, 5]), [[4.0]])
    """

    def __init__(self, covariates: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1 + covariates, hidden, layers, batch_first=True)
        self.mean_head = nn.Linear(hidden, 1)
        self.alpha_head = nn.Linear(hidden, 1)

    def scale(self, past: Tensor) -> Tensor:
        """ν of each series: (b, c) -> (b, 1)."""
        raise NotImplementedError  # TODO: your code

    def forward(self, past: Tensor, future: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        """The laws of the h steps ahead, each given all *true* values before it (teacher forcing): μ and α, (b, h).

        past: (b, c), future: (b, h), covariates: (b, c + h, x), known for the future, too. The law of a step never
        depends on its own target, or on a later one; so the last step of `future` has no say at all.
        """
        raise NotImplementedError  # TODO: your code

    def loss(self, past: Tensor, future: Tensor, covariates: Tensor) -> Tensor:
        """The mean of -log p over the seen targets of `future`: a scalar. At least one is seen.

        A missing target costs nothing, and makes no gradient NaN.
        """
        raise NotImplementedError  # TODO: your code

    def law(self, out: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """μ and α of the LSTM's outputs: (b, h, hidden) and ν (b, 1) -> (b, h) each."""
        raise NotImplementedError  # TODO: your code


def sample_paths(model: DeepAR, past: Tensor, covariates: Tensor, paths: int, *, generator: torch.Generator) -> Tensor:
    """What may come, drawn: m paths of h steps for each series, (m, b, h), whole numbers.

    past: (b, c), covariates: (b, c + h, x), paths: m. Use the model's lstm and heads, its `scale` and `law`. At each
    step a count is drawn for each path from the law of that step, and *it* is what the path's next step reads, divided
    by ν as in training. So a path that starts high may stay high, and the spread grows with the horizon; with the mean
    fed back it would not.

    Paths are independent of one another, given the past. All random numbers come from `generator`, which is never
    seeded anew or copied. Nothing is recorded for autograd, and the model is left as it is.

    Cost: the work stays in torch. The past is read once for each series, not once for each path: LSTM and heads take at
    most the multiply-adds of b · (c + 1) + m · b · h steps.

    Source: Salinas et al. 2020, section 3 (ancestral sampling).

    >>> model, generator = DeepAR(covariates=2, hidden=4), torch.Generator().manual_seed(0)
    >>> sample_paths(model, torch.ones(3, 7), torch.zeros(3, 12, 2), paths=10, generator=generator).shape
    torch.Size([10, 3, 5])
    """
    raise NotImplementedError  # TODO: your code


class GatedResidualNetwork(nn.Module):
    """TFT's building block: a small network that a gate can close, so that what comes in goes on unchanged.

    Sizes: i = inputs, d = hidden, o = outputs, k = context (0: none). Parameters:

        fc1      nn.Linear(i, d)           context  nn.Linear(k, d, bias=False), only if k > 0
        fc2      nn.Linear(d, d)           gate     nn.Linear(d, 2·o)
        norm     nn.LayerNorm(o)           skip     nn.Linear(i, o), only if i differs from o

    Source: Lim et al. 2021, section 4.1. pytorch-forecasting interpolates where i differs from o, instead of `skip`.

    >>> grn = GatedResidualNetwork(3, 4, 5, context=2)
    >>> grn(torch.ones(2, 7, 3), torch.zeros(2, 2)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, context: int = 0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        self.fc2 = nn.Linear(hidden, hidden)
        self.gate = nn.Linear(hidden, 2 * outputs)
        self.norm = nn.LayerNorm(outputs)
        self.skip = nn.Linear(inputs, outputs) if inputs != outputs else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x: (b, ..., i), context: (b, k), the same at all places of its series, or None -> (b, ..., o).

            e = fc2( ELU( fc1(x) + context(context) ) )
            value, opening = the first o and the last o numbers of gate(e)
            norm( skip(x) + value · sigmoid(opening) )          skip(x) is x where there is no skip

        Without a context its term is left out.
        """
        raise NotImplementedError  # TODO: your code


class VariableSelection(nn.Module):
    """TFT's choice of variables: weights for each series and step that say which of v variables matter.

    Parameters: `weight_grn`, a GatedResidualNetwork(v·d, d, v, k), and `variable_grns`, an nn.ModuleList of v
    GatedResidualNetwork(d, d, d), one for each variable.

    Source: Lim et al. 2021, section 4.2.

    >>> layer = VariableSelection(variables=3, features=4)
    >>> mask = torch.tensor([[True, False, True], [True, True, True]])
    >>> out, weights = layer(torch.ones(2, 7, 3, 4), mask=mask)
    >>> out.shape, weights.shape, weights[0, :, 1].abs().sum().item()
    (torch.Size([2, 7, 4]), torch.Size([2, 7, 3]), 0.0)
    """

    def __init__(self, variables: int, features: int, context: int = 0) -> None:
        super().__init__()
        self.weight_grn = GatedResidualNetwork(variables * features, features, variables, context)
        self.variable_grns = nn.ModuleList(GatedResidualNetwork(features, features, features) for _ in range(variables))

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (b, t, v, d), context: (b, k) or None, mask: bool (b, v) or None -> out (b, t, d), weights (b, t, v).

            weights = softmax( weight_grn( all variables of the step, one after the other (v·d), context ) )
            out     = sum over variables j of  weights[j] · variable_grns[j](x[j])

        mask is False where a series does not have a variable; one at least it has. Such a variable weighs exactly 0,
        the others' weights add up to 1, and *nothing* depends on what stands in its place: x is taken as 0 there. It
        may be NaN, and no gradient becomes NaN by it.
        """
        raise NotImplementedError  # TODO: your code


class InterpretableAttention(nn.Module):
    """TFT's attention: heads differ in where they look, not in what they see, so their mean weights explain the output.

    n = heads, which divides d = features; each head has e = d / n numbers. Parameters, nn.Linear without bias:

        query, key   (d, d)     head j has the numbers j·e ... (j+1)·e - 1 of what they give
        value        (d, e)     one projection for all heads
        output       (e, d)

    Source: Lim et al. 2021, section 4.4.

    >>> layer = InterpretableAttention(features=6, heads=3)
    >>> out, weights = layer(torch.randn(2, 5, 6))
    >>> out.shape, weights.shape, weights[0, 0].tolist()
    (torch.Size([2, 5, 6]), torch.Size([2, 5, 5]), [1.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(features, features, bias=False)
        self.key = nn.Linear(features, features, bias=False)
        self.value = nn.Linear(features, features // heads, bias=False)
        self.output = nn.Linear(features // heads, features, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (b, t, d) -> out (b, t, d), weights (b, t, t), rows for queries. A step looks at itself and earlier ones.

            A_j     = softmax( Q_j K_jᵀ / √e ) over steps up to the query's own, of head j
            weights = mean of A_j over the heads
            out     = output( weights · value(x) )

        Cost: the work stays in torch. Values are weighed once, by the mean, and not once for each head: at most
        2·b·t·(2·d² + 2·d·e) + 2·b·t²·(d + e) operations, and three times as many with the backward pass.
        """
        raise NotImplementedError  # TODO: your code


def choose_forecaster(
    series: Tensor,
    forecasters: dict[str, Callable[[Tensor, int], Tensor]],
    origins: list[int],
    horizon: int,
    season: int = 1,
) -> tuple[str, dict[str, float]]:
    """Try forecasters on the past as if it were the future, and keep the simple one unless another is better.

    series: (b, t). Each forecaster is called as forecaster(past, horizon), past (b, o), and returns (b, h). At each
    origin o the past is series[:, :o], and nothing from o on is shown; the future is series[:, o : o + h]. The score of
    a forecaster is the mean, over all origins and series, of its `mase` (with this season), as a float.

    "seasonal naive" is always among them, and is not in `forecasters`: step i ahead (from 0) is the past's value of one
    season before, past[o - season + (i mod season)]. It is chosen unless another one has a *smaller* score; of those
    with the smallest score, the first of the dict.

    Returns the name of the chosen one and the scores: first "seasonal naive", then the others as they came. No value is
    missing. Origins are above `season`, and o + h is at most t.

    Series 1, 2, 4, 7, 9, 14, origin 4, h = 2: the naive forecast is 7, 7, and its MASE 4.5 / 2.

    Source: Hyndman and Athanasopoulos 2021, section 5.10 (cross-validation of time series).

    >>> series = torch.tensor([[1.0, 2.0, 4.0, 7.0, 9.0, 14.0]])
    >>> choose_forecaster(series, {"ten": lambda past, h: torch.full((1, h), 10.0)}, [4], 2)
    ('ten', {'seasonal naive': 2.25, 'ten': 1.25})
    """

    raise NotImplementedError  # TODO: your code
