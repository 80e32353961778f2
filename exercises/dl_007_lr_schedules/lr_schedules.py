"""dl_007 · Learning-rate schedules: warm-up, decay, restarts, one cycle, plateaus, and the state of a run.

Notation
    step  how many updates were made before this one: the first update has step 0
    w     steps of warm-up      n  steps of the whole run, so that its last update has step n - 1
    factor  what the base rate of a parameter group is multiplied by: 1 at the peak

A schedule here is a function from `step` to a factor. Plain floats in and out; no tensors, no optimizer before the part
`Scheduler`. Rules for all functions:

* A factor depends on the arguments alone. Steps may be asked for in any order, and again: nothing is remembered.
* A step may be 10¹² and more: no loop over all steps before it. Counts (step, w, n, periods) are ints of any size, so
  that a joint between two pieces lies on exactly the step that it should lie on.
* Factors are right to a relative 1e-9; they need not agree to the last bit.
* `floor` is a factor, too: where the way down ends, the rate is floor · base rate, and it stays there. A warm-up begins
  below it, at 0.
* Where an argument chooses by name, any other name is a ValueError.

`torch.optim.lr_scheduler` is what you write: what each part may not call is named in its docstring.

Further reading: Goyal et al. 2017 (warm-up, batch size), Loshchilov and Hutter 2017 (cosine, restarts), Vaswani et al.
2017 (inverse root), Smith and Topin 2018 (one cycle), Hu et al. 2024 and Hägele et al. 2024 (warm-up, stable, decay).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any


def warmup(step: int, w: int, start: float = 0.0) -> float:
    """A straight line from the factor start at step 0 to 1 at step w; 1 from there on.

        start + (1 - start) · step / w          step < w

    w = 0 is no warm-up: always 1. With w = 4: 0, 1/4, 1/2, 3/4, 1, 1, ... The first update then has rate 0. Code that
    counts from 1 begins with 1/4, 1/2, 3/4, 1: this is start = 1/4 and w = 3.

    Forbidden: torch.optim.lr_scheduler.LinearLR, torch.optim.lr_scheduler.LambdaLR.

    Source: Goyal et al. 2017, section 2.2 ("gradual warmup").

    >>> [warmup(step, 4) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [warmup(step, 3, start=0.25) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    raise NotImplementedError  # TODO: your code


def decay(
    step: int,
    kind: str,
    *,
    gamma: float = 0.1,
    period: int = 1,
    milestones: Sequence[int] = (),
    n: int = 1,
    floor: float = 0.0,
) -> float:
    """Four ways down from 1, by kind. Each uses the arguments that stand in its row, and no other.

        "step"         gamma to the power of ⌊step / period⌋
        "multistep"    gamma to the power of how many milestones are ≤ step
        "exponential"  gamma to the power of step / period
        "linear"       1 - (1 - floor) · step / n  while step < n, then floor

    A drop has happened at the step that names it: with period 3 the first smaller factor is that of step 3. Milestones
    come in any order, and one that is listed twice counts twice. 0 < gamma ≤ 1. period and n are positive. The two
    kinds with a period agree at its multiples. Another kind is a ValueError.

    Forbidden: torch.optim.lr_scheduler.StepLR, torch.optim.lr_scheduler.MultiStepLR,
    torch.optim.lr_scheduler.ExponentialLR, torch.optim.lr_scheduler.LinearLR, torch.optim.lr_scheduler.LambdaLR.

    >>> [decay(step, "step", gamma=0.5, period=3) for step in range(7)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    >>> [decay(step, "multistep", gamma=0.5, milestones=[5, 2]) for step in range(7)]
    [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    >>> [decay(step, "exponential", gamma=0.25, period=2) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    >>> [decay(step, "linear", n=4, floor=0.5) for step in range(6)]
    [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]
    """
    raise NotImplementedError  # TODO: your code


def cosine(step: int, n: int, w: int = 0, floor: float = 0.0) -> float:
    """A line from 0 up to 1 in w steps, half a cosine from 1 down to floor in the other n - w, then floor.

        step / w                                                          step < w
        floor + (1 - floor) · (1 + cos(π · (step - w) / (n - w))) / 2     w ≤ step < n
        floor                                                             n ≤ step

    The cosine begins where the warm-up ends: with w = 2, n = 6 and floor 0.2 the factors of steps 0, 2, 4, 6 are 0, 1,
    0.6 and 0.2. They stay at 0.2 after that; a cosine that goes on would rise again. 0 ≤ w ≤ n; with w = n there is no
    way down, only the floor after the warm-up.

    Forbidden: torch.optim.lr_scheduler.CosineAnnealingLR, torch.optim.lr_scheduler.SequentialLR,
    torch.optim.lr_scheduler.LambdaLR.

    Source: Loshchilov and Hutter 2017, equation 5; the warm-up as in GPT-3 and Llama.

    >>> [round(cosine(step, 6, w=2, floor=0.2), 4) for step in range(8)]
    [0.0, 0.5, 1.0, 0.8828, 0.6, 0.3172, 0.2, 0.2]
    """
    raise NotImplementedError  # TODO: your code


def cosine_restarts(step: int, period: int, mult: int = 1, floor: float = 0.0) -> float:
    """Half a cosine from 1 towards floor, again and again; each cycle is mult times as long as the one before.

        floor + (1 - floor) · (1 + cos(π · p / length)) / 2

    for the p-th step, from 0, of a cycle of this length. The first cycle has `period` steps, the next period · mult,
    then period · mult². Each begins with a factor of 1: with period 2 and mult 3 these are the steps 0, 2, 8, 26, 80.
    There is no end. mult is an int from 1.

    Which cycle a step lies in is a question about integers. A logarithm, rounded down, answers it wrongly: with period
    7 and mult 3 the restart at step 847 has log₃(1 + 847 · 2 / 7) = log₃ 243 = 4.999999... in floats, not 5.

    Forbidden: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, torch.optim.lr_scheduler.CosineAnnealingLR,
    torch.optim.lr_scheduler.LambdaLR.

    Source: Loshchilov and Hutter 2017 (SGDR), section 3.

    >>> [round(cosine_restarts(step, 2, mult=2), 4) for step in range(8)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0, 0.9619]
    >>> cosine_restarts(847, 7, mult=3)
    1.0
    """
    raise NotImplementedError  # TODO: your code


def inverse_sqrt(step: int, w: int, timescale: int | None = None) -> float:
    """A line from 0 up to 1 in w steps, then down with the root of the step, for as long as the run goes on.

        step / w                                       step < w
        √(timescale / (step - w + timescale))          w ≤ step

    The factor is 1/2 when 3 · timescale steps have passed since the warm-up. timescale None means w, which leaves
    √(w / step): 1/2 at step 4w. There is no end that has to be known. Vaswani et al. scale it: for a model of width d
    the rate is factor / √(d · w), whose peak for d = 512 and w = 4,000 is 6.99e-4.

    w = 0 needs a timescale. Raises ValueError unless timescale (or, if it is None, w) is positive.

    Forbidden: torch.optim.lr_scheduler.LambdaLR.

    Source: Vaswani et al. 2017, section 5.3; timescale: Zhai et al. 2022, "Scaling vision transformers"; big_vision.

    >>> [inverse_sqrt(step, 4) for step in (0, 2, 4, 16, 64)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    >>> inverse_sqrt(4 + 300, 4, timescale=100)
    0.5
    >>> round(inverse_sqrt(4000, 4000) / math.sqrt(512 * 4000), 7)
    0.0006988
    """
    raise NotImplementedError  # TODO: your code


def one_cycle(
    step: int,
    n: int,
    rise: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    low: float = 0.85,
    high: float = 0.95,
) -> tuple[float, float]:
    """One climb and one descent in n steps, and a momentum that does the opposite: (factor, momentum).

        steps 0 ... top            factor start -> 1        momentum high -> low        top = rise · n - 1
        steps top ... n - 1        factor 1 -> end          momentum low -> high
        after that                 end                      high

    Each arrow from a to b is half a cosine: b + (a - b) · (1 + cos(π · x)) / 2, with x from 0 to 1 along the piece. top
    need not be whole: then the two pieces meet between two steps. 1 < rise · n < n.

    With n = 10 and rise 0.3 the peak is at step 2 and the end at step 9; step 1 is half of the way up: (0.04 + 1) / 2 =
    0.52, with momentum 0.9.

    Forbidden: torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.LambdaLR.

    Source: Smith and Topin 2018, whose pieces are straight; the cosine and the defaults (1/25, 1/25/10,000) as in
    torch.optim.lr_scheduler.OneCycleLR.

    >>> [one_cycle(step, 10) for step in (0, 2, 9, 99)]
    [(0.04, 0.95), (1.0, 0.85), (4e-06, 0.95), (4e-06, 0.95)]
    >>> [round(value, 4) for value in one_cycle(1, 10)]
    [0.52, 0.9]
    """
    raise NotImplementedError  # TODO: your code


def wsd(
    step: int, w: int, n: int | None = None, decay_steps: int = 0, kind: str = "linear", floor: float = 0.0
) -> float:
    """Warm-up, stable, decay: up to 1 in w steps, 1, and down to floor in the last decay_steps of n.

        step / w                        step < w
        1                               w ≤ step < n - decay_steps
        floor + (1 - floor) · g(x)      n - decay_steps ≤ step < n,  x = (step - (n - decay_steps)) / decay_steps
        floor                           n ≤ step

        g(x) = 1 - x                 kind "linear"
               (1 + cos πx) / 2      kind "cosine"
               1 - √x                kind "1-sqrt"

    n = None is a run whose end is not known yet: 1 after the warm-up, for ever. So one stable run serves every end: a
    checkpoint of its step n - decay_steps can be decayed to an end at n, while the run itself goes on.

    Raises ValueError for another kind, also before the decay begins, and if w + decay_steps > n.

    Forbidden: torch.optim.lr_scheduler.SequentialLR, torch.optim.lr_scheduler.LambdaLR.

    Source: Hu et al. 2024 (MiniCPM); Hägele et al. 2024 (1-sqrt).

    >>> [wsd(step, 2, n=10, decay_steps=4) for step in range(11)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    >>> [wsd(7, 2, n=10, decay_steps=4, kind=kind) for kind in ("linear", "1-sqrt")]
    [0.75, 0.5]
    >>> wsd(10**9, 2)
    1.0
    """
    raise NotImplementedError  # TODO: your code


class Plateau:
    """A factor that falls whenever a metric has stopped improving.

    It begins at 1. Each call `step(metric)` does this, in this order, and returns the factor:

    1. The metric is an improvement if metric < best - min_delta (mode "min") or metric > best + min_delta (mode "max").
       Then it becomes best, and the count of bad metrics is 0; otherwise the count grows by 1, and best stays: small
       steps that are not counted add up. The first number improves on everything, NaN on nothing.
    2. While a cooldown lasts, it gets one call shorter and the count is 0.
    3. If the count is *above* patience, the factor becomes max(factor · drop, floor), the next `cooldown` calls are a
       cooldown, and the count is 0.

    With patience 1 and drop 0.5 the metrics 3, 3, 3, 3, 3 give 1, 1, 0.5, 0.5, 0.25: one bad metric is borne, the
    second lowers the rate.

    Raises ValueError for another mode, as soon as the object is made.

    Forbidden: torch.optim.lr_scheduler.ReduceLROnPlateau.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau, with threshold_mode="abs".

    >>> plateau = Plateau(drop=0.5, patience=1)
    >>> [plateau.step(metric) for metric in (3, 3, 3, 3, 3, 2, 2)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        drop: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        cooldown: int = 0,
        floor: float = 0.0,
        mode: str = "min",
    ) -> None:
        raise NotImplementedError  # TODO: your code

    def step(self, metric: float) -> float:
        """Take in the metric of one evaluation; return the factor from now on."""
        raise NotImplementedError  # TODO: your code


class Scheduler:
    """Writes the rates of a schedule into the parameter groups of an optimizer.

    optimizer: anything with `param_groups`, a list of dicts that hold "lr", as those of torch do.
    schedules: one function from step to factor for all groups, or a list with one for each group.

    The base rate of a group is its "lr" at the time when the Scheduler is made. The rate at a step is base rate ·
    factor(step): it is computed from the base rate each time, never from the rate before. Making the Scheduler writes
    the rates of step 0; each `step` moves on by one and writes the next ones. So a training loop calls
    `optimizer.step()` and then `scheduler.step()`.

    The rates are written into the dicts that `optimizer.param_groups` holds at that moment: when an optimizer loads its
    state, it puts other dicts there. Nothing else in a group is changed, and nothing is added.

    Raises ValueError if a list of schedules is not as long as the list of groups.

    Forbidden: torch.optim.lr_scheduler.LambdaLR, torch.optim.lr_scheduler.LRScheduler.

    >>> from types import SimpleNamespace
    >>> optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}, {"lr": 8.0}])
    >>> scheduler = Scheduler(optimizer, lambda step: warmup(step, 4))
    >>> for _ in range(2):
    ...     scheduler.step()
    >>> optimizer.param_groups
    [{'lr': 0.25}, {'lr': 4.0}]
    """

    def __init__(self, optimizer: Any, schedules: Callable[[int], float] | Sequence[Callable[[int], float]]) -> None:
        raise NotImplementedError  # TODO: your code

    def step(self) -> None:
        """Move on by one step and write the rates."""
        raise NotImplementedError  # TODO: your code

    def state_dict(self) -> dict[str, Any]:
        """All that a new Scheduler needs to go on: numbers and strings, in lists and in dicts with strings as keys.

        It is a copy: later steps do not change it. It holds no function, so that it can be written into any file: the
        new Scheduler gets its schedules anew.
        """
        raise NotImplementedError  # TODO: your code

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the Scheduler of this state was saved, and write the rates of that step.

        The base rates are those of the saved one. The groups of this optimizer may already hold rates that were scaled,
        since an optimizer saves its rates, too: a factor is never applied twice. state is only read.
        """
        raise NotImplementedError  # TODO: your code


def batch_scaling(rate: float, steps: int, batch: int, new_batch: int, rule: str = "linear") -> tuple[float, int]:
    """The rate and the number of steps that go with another batch size: (rate, steps).

        k = new_batch / batch          rate · k          rule "linear": SGD
                                       rate · √k         rule "root": Adam

    steps: of anything that is counted in steps, a warm-up or a whole run. The new number is the smallest that sees as
    many examples: ⌈steps / k⌉, exact for ints of any size. Another rule is a ValueError.

    The rate 0.1 of batch 256 becomes 3.2 for 8,192, or 0.1 · √32 = 0.566; 1,000 steps become 32 (31.25, rounded up).

    Source: Goyal et al. 2017 (linear); Malladi et al. 2022 (root).

    >>> batch_scaling(0.1, 1000, 256, 8192)
    (3.2, 32)
    >>> batch_scaling(0.001, 1000, 256, 1024, "root")
    (0.002, 250)
    """
    raise NotImplementedError  # TODO: your code
