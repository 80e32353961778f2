"""dl_002 · Training loop: data that leaks nothing, steps that count right, a run that can be cut and resumed.

Notation
    n  examples        c  classes        t  tokens or time steps of one example        L  blocks of a model

A *batch* is a pair (x, y): inputs, examples first, and targets (n,), class numbers from 0. `model(x)` gives logits
(n, c). The loss of an example is its cross-entropy. Batches may differ in size, and each example counts alike.

An *optimizer* is any object with `zero_grad()`, `step()`, `param_groups`, `state_dict()` and `load_state_dict(state)`,
and a *scheduler* any with `step()` and the last two: those of torch.optim, for example. Call nothing else of them. A
scheduler may be None: then there is none. State dicts hold tensors, numbers, strings, None, lists, tuples and dicts.

Rules for all: arguments are left alone unless their change is the job. Models and x are float64 or float32, and nothing
changes a dtype. Seeds are integers of at least 0. What has a seed takes its random numbers from that seed alone, gives
the same in every process, and leaves the states of torch, numpy and random as they are.

Further reading: Karpathy, "A Recipe for Training Neural Networks" (2019); Goyal et al. 2017, "Accurate, Large Minibatch
SGD"; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

import math
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]


def group_split(groups: Sequence[Hashable], fractions: Sequence[float], seed: int) -> list[list[int]]:
    """Split n examples so that no group (a patient, a user, a document) has examples in two splits.

    groups[i]: the group of example i, a string or a number; may be empty. Returns a list of example numbers for each
    fraction, ascending; together each of 0 ... n-1 once. Groups are dealt in a random order that is drawn from the
    seed: among groups of equal size every assignment is equally likely.

        | examples in split k  -  n · fractions[k] |  <  size of the largest group

    so that with groups of one example the sizes are right but for rounding. The split depends on the seed and on which
    examples share a group, not on how groups are called: renamed one to one, they are split alike. (The order of a
    `set` of strings is another one in each process.)

    Raises ValueError unless fractions are positive and add up to 1, to within 1e-6.

    >>> splits = group_split(["ann", "bob", "ann", "cy"], [0.5, 0.25, 0.25], seed=0)
    >>> sorted(sum(splits, [])), [len({0, 2} & set(split)) for split in splits].count(2)  # ann is in one of them
    ([0, 1, 2, 3], 1)
    """
    ### BEGIN SOLUTION
    if not all(f > 0 for f in fractions) or not abs(sum(fractions) - 1) <= 1e-6:
        raise ValueError(f"fractions must be positive and add up to 1, got {list(fractions)}")
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    splits: list[list[int]] = [[] for _ in fractions]
    ends = np.cumsum(fractions)[:-1] * len(groups)
    placed = 0
    for examples in order:  # laid side by side: a group belongs to the split in which its middle lies
        splits[int((ends <= placed + len(examples) / 2).sum())] += examples
        placed += len(examples)
    return [sorted(split) for split in splits]
    ### END SOLUTION


def epoch_batches(n: int, size: int, epoch: int, seed: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """The batches that one of `world` ranks sees in one epoch: lists of example numbers from 0 ... n-1.

    Every rank calls it with the same n, size, epoch and seed. All n examples are put into a random order, drawn from
    seed and epoch, the same on every rank; every order is equally likely, and each epoch has its own. Each rank gets
    ⌈n/world⌉ of them, in batches of `size`; only the last batch may be smaller. So all ranks take equally many steps,
    with equally many examples: otherwise the rank that has one step more waits for the others for ever.

    Where world does not divide n, some examples come twice (if n < world, more often, as evenly as it goes): which ones
    is random, too. With n = 7 and three ranks there are 9 places, 3 on each rank. Two ranks share an example only
    because of that. A pure function: after a restart the rest of an epoch is a slice of the same list.

    n may be 0: then there is no batch. Raises ValueError if size or world is below 1, n is below 0, or rank is not one
    of 0 ... world-1.

    Source: torch.utils.data.DistributedSampler, whose set_epoch is what everybody forgets.

    >>> [len(batch) for batch in epoch_batches(7, 2, epoch=0, seed=0)]
    [2, 2, 2, 1]
    >>> shares = [sum(epoch_batches(7, 2, epoch=0, seed=0, rank=rank, world=3), []) for rank in range(3)]
    >>> [len(share) for share in shares], len(set(sum(shares, [])))
    ([3, 3, 3], 7)
    """
    ### BEGIN SOLUTION
    if size < 1 or n < 0 or not 0 <= rank < world:
        raise ValueError(f"cannot cut {n} examples into batches of {size} for rank {rank} of {world}")
    order = list(range(n))
    random.Random(f"{seed}, {epoch}").shuffle(order)
    places = -(-n // world) * world
    mine = [order[i % n] for i in range(rank, places, world)]
    return [mine[i : i + size] for i in range(0, len(mine), size)]
    ### END SOLUTION


def collate(examples: Sequence[tuple[Tensor, Any]], pad: float = 0, multiple: int = 1) -> dict[str, Tensor]:
    """One batch of n examples of unlike lengths: {"x", "mask", "y"}.

    examples: pairs (x, y). x: (t, ...), where t may be 0 and differs, the other axes and the dtype are the same. y: a
    number.

        "x"      (n, T, ...)  in the dtype of x: each x from place 0 on, then the value `pad`
        "mask"   (n, T)       bool, True where there is data. Data may equal pad: only the mask knows
        "y"      (n,)         int64 for ints, float32 for floats, bool for bools

    T is the longest t, rounded up to a multiple of `multiple` (tensor cores like 8). Nothing shares memory with the
    examples, also if there is only one.

    Raises ValueError if there is no example, multiple is below 1, or two x differ in dtype or in an axis but the first.

    >>> batch = collate([(torch.tensor([5, 6, 7]), 1), (torch.tensor([8]), 0)], pad=-1, multiple=2)
    >>> batch["x"], batch["mask"].int(), batch["y"]
    (tensor([[ 5,  6,  7, -1],
            [ 8, -1, -1, -1]]), tensor([[1, 1, 1, 0],
            [1, 0, 0, 0]], dtype=torch.int32), tensor([1, 0]))
    """
    ### BEGIN SOLUTION
    if not examples or multiple < 1:
        raise ValueError(f"{len(examples)} examples, padded to a multiple of {multiple}")
    xs = [x for x, _ in examples]
    if any(x.shape[1:] != xs[0].shape[1:] or x.dtype != xs[0].dtype for x in xs):
        raise ValueError("the examples differ in dtype, or in an axis that is not their length")
    longest = -(-max(len(x) for x in xs) // multiple) * multiple
    padded = xs[0].new_full((len(xs), longest, *xs[0].shape[1:]), pad)
    for row, x in zip(padded, xs, strict=True):
        row[: len(x)] = x
    lengths = torch.tensor([len(x) for x in xs])
    mask = torch.arange(longest) < lengths[:, None]
    return {"x": padded, "mask": mask, "y": torch.tensor([y for _, y in examples])}
    ### END SOLUTION


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """{"loss", "accuracy"} over all examples of all batches: plain floats.

    loss: the mean cross-entropy of an *example*. Three examples with loss 1 in one batch and one with loss 5 in the
    next make 2; the mean of the batches' means would be 3. accuracy: the share whose largest logit is at the target.
    A batch may hold no example; `batches` may be a generator, and is read once.

    Nothing of the model changes. It runs in evaluation mode (dropout off, batch norm on its running statistics, which
    do not move), and afterwards *each* module is in the mode in which it was: some may be frozen in evaluation mode
    while the rest trains. That holds if the model raises, too. No gradient is recorded, `.grad` is left alone, and
    where gradients were recorded before, they are afterwards.

    Memory: one batch's logits are alive at a time, and nothing stays alive afterwards: not with the model in training
    or in evaluation mode, not where its parameters require gradients.

    Raises ValueError if there is no example.

    >>> four = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> result = evaluate(nn.Identity(), [(four[:3], torch.tensor([0, 0, 0])), (four[3:], torch.tensor([1]))])
    >>> round(result["loss"], 4), result["accuracy"]  # (0.3133 · 2 + 1.3133 · 2) / 4
    (0.8133, 0.5)
    """
    ### BEGIN SOLUTION
    modes = [(module, module.training) for module in model.modules()]
    count, loss, right = 0, 0.0, 0
    model.eval()
    try:
        with torch.no_grad():
            for x, y in batches:
                logits = model(x)
                count += len(y)
                loss += F.cross_entropy(logits, y, reduction="sum").item()
                right += int((logits.argmax(dim=1) == y).sum())
    finally:
        for module, training in modes:
            module.training = training
    if not count:
        raise ValueError("there is no example to evaluate on")
    return {"loss": loss / count, "accuracy": right / count}
    ### END SOLUTION


def train_epoch(
    model: nn.Module,
    optimizer: Any,
    scheduler: Any,
    batches: Iterable[Batch],
    accumulate: int = 1,
    max_norm: float | None = None,
) -> float:
    """Train on all batches; one optimizer step for each `accumulate` of them. Returns the mean loss of an example.

    `accumulate` batches in a row, each with an example at least, make a *window*. For each window, in this order:

        1. gradients, from zero: those of the mean loss over all examples of the window. With 3 examples in one batch
           and 1 in the next each counts a quarter. (What is in `.grad` before the call counts for nothing.)
        2. if max_norm is given, they are scaled down to that global norm, as torch.nn.utils.clip_grad_norm_ does
        3. optimizer.step()
        4. scheduler.step(): it counts optimizer steps, not batches

    The last window may have fewer batches: it makes a step too, and its mean is over its own examples. Parameters that
    get no gradient (frozen ones) stay as they are. Afterwards every gradient of the model is None, also of parameters
    that the optimizer does not have. The model is in training mode, also if it was not before, and each batch runs
    through it once. `batches` may be a generator, and is read once.

    The returned loss is a plain float: the mean over all examples, of each as it was when it was trained on.

    Memory: one batch's graph is alive at a time, whatever `accumulate` is; nothing but what the optimizer keeps stays
    alive afterwards.

    Raises ValueError if there is no batch, or accumulate is below 1.

    >>> model = nn.Linear(1, 2, bias=False, dtype=torch.float64)
    >>> _ = model.weight.data.zero_()
    >>> ones, y = torch.ones(3, 1, dtype=torch.float64), torch.tensor([0, 0, 0])
    >>> batches = [(ones, y), (ones[:1], torch.tensor([1]))]
    >>> loss = train_epoch(model, torch.optim.SGD(model.parameters(), lr=1.0), None, batches, accumulate=2)
    >>> round(loss, 4), model.weight.flatten().tolist()  # (3 · 1/2 - 1 · 1/2) / 4 = 1/4
    (0.6931, [0.25, -0.25])
    """
    ### BEGIN SOLUTION
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}")
    parameters = list(model.parameters())
    total, seen, waiting, examples = 0.0, 0, 0, 0  # over the epoch; batches and examples of the open window

    def step() -> None:
        for p in parameters:
            if p.grad is not None:
                p.grad.div_(examples)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        model.zero_grad()
        if scheduler is not None:
            scheduler.step()

    model.train()
    model.zero_grad()
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()  # sums: divided once the window's examples are counted
        total, seen = total + loss.item(), seen + len(y)
        waiting, examples = waiting + 1, examples + len(y)
        if waiting == accumulate:
            step()
            waiting = examples = 0
    if waiting:
        step()
    if not seen:
        raise ValueError("there is no batch to train on")
    return total / seen
    ### END SOLUTION


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """The parameters of a model as two groups for an optimizer: with weight decay, and without.

        [{"params": [...], "weight_decay": decay}, {"params": [...], "weight_decay": 0.0}]

    The first holds what multiplies: parameters of two axes or more (matrices, convolutions, embeddings). The second
    holds the rest: biases, scales, whatever has one axis or none; and each parameter of a LayerNorm or RMSNorm, which
    may have two axes: one that normalises over (h, w) does. Frozen parameters (requires_grad False) are in neither. A
    tensor that two modules share (tied embeddings) is one parameter: it is there once. Both groups may be empty.
    In each the order is that of `model.parameters()`.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(model, 0.1)]
    [(1, 0.1), (3, 0.0)]
    """
    ### BEGIN SOLUTION
    norms = (module for module in model.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm))
    scales = {id(p) for norm in norms for p in norm.parameters()}
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": decay}, {"params": [], "weight_decay": 0.0}]
    for p in model.parameters():  # each once, however many modules hold it
        if p.requires_grad:
            groups[p.dim() < 2 or id(p) in scales]["params"].append(p)
    return groups
    ### END SOLUTION


class EarlyStopping:
    """Says when to stop, and which step was the best. Names and `__init__` are given; add attributes if you need some.

    `step(value)` is called once for each evaluation, numbered 0, 1, 2, ... It returns True if training should stop:
    when the last `patience` values in a row were no improvement (and for each further one until the next improvement).

    A value is an *improvement* if it is better than `best` by more than min_delta: best - value > min_delta in mode
    "min", value - best > min_delta in mode "max". The first value that is not NaN is one. `best` is the value of the
    last improvement, and `best_step` its number: not those of the best value ever seen. Small steps that are none alone
    add up: with patience 2, min_delta 0.1 and values .9, .8, .79, .78, .77 the first and the third are improvements
    (.9 - .8 is 0.09999999999999998), and the fifth returns True, with best .79 and best_step 2.

    NaN is never an improvement. Infinite values are allowed: Inf after Inf is none.

    `state_dict` and `load_state_dict`: a new object with the same options that has loaded the state of another one goes
    on as that one would. The state is a dict of numbers and None. It does not change when the object goes on.

    >>> stopping = EarlyStopping(patience=2, min_delta=0.1)
    >>> [stopping.step(value) for value in (0.9, 0.8, 0.79, 0.78, 0.77)], stopping.best, stopping.best_step
    ([False, False, False, False, True], 0.79, 2)
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "min") -> None:
        if patience < 1 or not 0 <= min_delta < math.inf or mode not in ("min", "max"):
            raise ValueError(f"patience {patience}, min_delta {min_delta}, mode {mode!r}")
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.best: float | None = None
        self.best_step: int | None = None
        self.seen = 0
        """How many values `step` has been given."""

    def step(self, value: float) -> bool:
        """Take the next value; True if training should stop."""
        ### BEGIN SOLUTION
        if self.best is None:
            improved = not math.isnan(value)
        else:
            improved = (self.best - value if self.mode == "min" else value - self.best) > self.min_delta
        if improved:
            self.best, self.best_step = value, self.seen
        self.seen += 1
        last = -1 if self.best_step is None else self.best_step
        return self.seen - 1 - last >= self.patience
        ### END SOLUTION

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs."""
        ### BEGIN SOLUTION
        return {"best": self.best, "best_step": self.best_step, "seen": self.seen}
        ### END SOLUTION

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the other one was."""
        ### BEGIN SOLUTION
        self.best, self.best_step, self.seen = state["best"], state["best_step"], state["seen"]
        ### END SOLUTION


def save_checkpoint(path: str, model: nn.Module, optimizer: Any, scheduler: Any, extra: dict[str, Any]) -> None:
    """Write to the file `path` all that a run needs to go on as if it had not been cut.

    That is: the parameters and buffers in the model's state dict, the states of optimizer and scheduler, the states of
    the global random numbers (torch's on the CPU, numpy's and random's, those of normal numbers too: dropout and
    augmentation draw from them), and `extra`: a dict of what a state dict may hold, such as the position in the data.

    `path` holds a whole checkpoint at every moment: if writing fails half-way (the disk is full, a value in extra
    cannot be written, the process is killed), the exception goes through, and the one that was there before is
    untouched. After it is written, no other new file is left in the folder. Nothing changes but the file. What is
    written meanwhile lies in the folder of `path`, and not in one below it: a rename between folders may be refused.

    >>> import tempfile
    >>> model = nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/last.pt", model, torch.optim.SGD(model.parameters()), None, {})
    ...     [file.name for file in Path(folder).iterdir()]
    ['last.pt']
    """
    ### BEGIN SOLUTION
    name, keys, *rest = np.random.get_state()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "extra": extra,
        "random": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    partial = Path(f"{path}.partial")
    try:
        torch.save(checkpoint, partial)
        partial.replace(path)  # the old file, then the new one: nothing in between
    finally:
        partial.unlink(missing_ok=True)
    ### END SOLUTION


def load_checkpoint(path: str, model: nn.Module, optimizer: Any, scheduler: Any) -> dict[str, Any]:
    """Put everything that `save_checkpoint` wrote where it was; returns extra.

    The model, optimizer and scheduler are new ones, made as those that were saved were made. The model's parameters
    stay the same objects: the optimizer holds them. The global random numbers go on where they were.

    A checkpoint of somebody else is data, not a program: a file that would run code when it is read (any pickle can) is
    refused with an exception, and its code does not run.

    >>> import tempfile
    >>> model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/last.pt", model, torch.optim.SGD(model.parameters()), None, {"batch": 3})
    ...     number = torch.rand(1)
    ...     extra = load_checkpoint(f"{folder}/last.pt", other, torch.optim.SGD(other.parameters()), None)
    >>> extra, torch.equal(torch.rand(1), number), torch.equal(model.weight, other.weight)
    ({'batch': 3}, True, True)
    """
    ### BEGIN SOLUTION
    checkpoint = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(checkpoint["scheduler"])
    random.setstate(checkpoint["random"])
    np.random.set_state(checkpoint["numpy"])
    torch.set_rng_state(checkpoint["torch"])
    return checkpoint["extra"]
    ### END SOLUTION


def fit(
    model: nn.Module,
    optimizer: Any,
    scheduler: Any,
    data: Callable[[int], Sequence[Batch]],
    validation: Sequence[Batch],
    epochs: int,
    stopping: EarlyStopping,
    accumulate: int = 1,
    max_norm: float | None = None,
    path: str | None = None,
    every: int = 1,
) -> dict[str, Any]:
    """Train, evaluate after each epoch, stop early, keep the best weights; go on after a cut.

    data(epoch): the list of batches of epoch 0, 1, ...; asked again, it gives the same. Each epoch trains as
    `train_epoch` does, then `evaluate` on validation is added to the history and its loss goes to `stopping.step`
    (stopping is new, in mode "min"). The run ends after `epochs` epochs, or where stopping says so.

    At the end the model has the weights and buffers that it had after the best epoch, `stopping.best_step`; if there is
    none (each loss was NaN), those that it has. Keep a copy: `model.state_dict()` is a view of weights that train on.

    With a path, `save_checkpoint` writes to it after each `every`-th optimizer step of an epoch, counted from its
    first, and after each evaluation. If the file is there when fit is called, the run goes on from it, with a model,
    optimizer, scheduler and stopping that are new: a run cut anywhere, also amid an epoch, ends with the weights and
    the history of one that was not, and no step that lies before the checkpoint is made again. A run that is finished
    is over: it makes no step. With more epochs than it has made, unless it was stopped early, it goes on from its last
    weights, not from its best ones.

    Returns {"history": list of what evaluate returned, one for each epoch, "best_epoch": int or None, "steps":
    optimizer steps made since the run began, those before a cut included}.

    >>> model, y = nn.Linear(1, 2), torch.tensor([0, 1])
    >>> batches, optimizer = [(torch.tensor([[-1.0], [1.0]]), y)], torch.optim.SGD(model.parameters(), lr=1.0)
    >>> told = fit(model, optimizer, None, lambda epoch: batches, batches, 5, EarlyStopping(patience=2))
    >>> told["steps"], told["best_epoch"], len(told["history"])
    (5, 4, 5)
    """
    ### BEGIN SOLUTION
    run: dict[str, Any] = {"epoch": 0, "batch": 0, "steps": 0, "history": [], "best": None, "stopped": False}
    if path is not None and Path(path).exists():
        run = load_checkpoint(path, model, optimizer, scheduler)
        stopping.load_state_dict(run["stopping"])

    def keep() -> None:
        if path is not None:
            run["stopping"] = stopping.state_dict()
            save_checkpoint(path, model, optimizer, scheduler, run)

    while run["epoch"] < epochs and not run["stopped"]:
        batches = data(run["epoch"])
        for start in range(run["batch"], len(batches), accumulate):
            train_epoch(model, optimizer, scheduler, batches[start : start + accumulate], accumulate, max_norm)
            run["batch"], run["steps"] = start + accumulate, run["steps"] + 1
            if (start // accumulate + 1) % every == 0:
                keep()
        result = evaluate(model, validation)
        run["history"].append(result)
        run["stopped"] = stopping.step(result["loss"])
        if stopping.best_step == run["epoch"]:
            run["best"] = {name: value.clone() for name, value in model.state_dict().items()}
        run["epoch"], run["batch"] = run["epoch"] + 1, 0
        keep()
    if run["best"] is not None:
        model.load_state_dict(run["best"])
    return {"history": run["history"], "best_epoch": stopping.best_step, "steps": run["steps"]}
    ### END SOLUTION


def checkpoint_segments(blocks: Sequence[nn.Module], x: Tensor, segments: int) -> Tensor:
    """blocks[L-1](... blocks[0](x)), remembering for the backward pass little more than one tensor a segment.

    The blocks are cut into `segments` runs of consecutive blocks, equal where segments divides L. Of each run the input
    is kept; what lies between is forgotten and computed again when the backward pass comes to it. Values and gradients
    (of x and of all parameters, by `backward()`) are those of the plain pass. Parameters get theirs although x requires
    none, as in the first layers of a model; frozen ones, and those that their block does not use, get none.

    The same random numbers: a dropout must drop in the second computation what it dropped in the first. After the
    backward pass torch's random numbers go on as they do after a plain pass. Each block takes one tensor and gives
    one, the same for the same input and random state, and changes no buffer. Under no_grad it is a plain pass.

    Cost, where segments divides L, all tensors between blocks have the size of x, and a block by itself saves k such
    tensors: between the passes at most segments + k · L/segments + 2 of them are kept or saved for backward, and at
    once, in both passes, at most segments + (k + 1) · L/segments + 6 are alive. (Parameters, their gradients and 6 KB a
    segment do not count.) With segments = √L that is O(√L). No block runs more than twice, both passes together: one
    forward pass more, which is a third of a step. The work stays in torch.

    Raises ValueError unless 1 <= segments <= L.

    Forbidden: torch.utils.checkpoint.checkpoint, torch.utils.checkpoint.checkpoint_sequential.

    Source: Chen et al. 2016, section 4.

    >>> blocks, x = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)], torch.ones(2, 3, requires_grad=True)
    >>> checkpoint_segments(blocks, x, 2).sum().backward()
    >>> gradient, x.grad = x.grad, None
    >>> blocks[2](blocks[1](blocks[0](x))).sum().backward()
    >>> torch.allclose(gradient, x.grad)
    True
    """
    ### BEGIN SOLUTION
    if not 1 <= segments <= len(blocks):
        raise ValueError(f"cannot cut {len(blocks)} blocks into {segments} segments")
    bounds = [len(blocks) * k // segments for k in range(segments + 1)]
    for start, end in pairwise(bounds):
        run = nn.Sequential(*blocks[start:end])
        x = Recomputed.apply(run, x, *(p for p in run.parameters() if p.requires_grad))
    return x
    ### END SOLUTION


class Recomputed(torch.autograd.Function):
    """The two passes of one segment of `checkpoint_segments`. (A suggestion: any other way is as good.)

    The parameters are arguments, so that autograd knows that the result depends on them although x needs no gradient.

    >>> layer = nn.Linear(2, 1)
    >>> Recomputed.apply(layer, torch.ones(3, 2), *layer.parameters()).requires_grad
    True
    """

    @staticmethod
    def forward(ctx: Any, run: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        """run(x); autograd records nothing in here."""
        ### BEGIN SOLUTION
        ctx.run, ctx.random = run, torch.get_rng_state()
        ctx.save_for_backward(x, *parameters)
        return run(x)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of nothing (run), of x, of each parameter."""
        ### BEGIN SOLUTION
        x, *parameters = ctx.saved_tensors
        now = torch.get_rng_state()
        torch.set_rng_state(ctx.random)
        with torch.enable_grad():
            x = x.detach().requires_grad_(ctx.needs_input_grad[1])
            total = (ctx.run(x) * upstream).sum()
        torch.set_rng_state(now)
        inputs = [x, *parameters] if x.requires_grad else parameters
        found = torch.autograd.grad(total, inputs, allow_unused=True)
        return (None, *found) if x.requires_grad else (None, None, *found)
        ### END SOLUTION
