"""dl_028 · Training systems: what a long run needs beside its model: memory planned, runs saved, faults seen.

Axes
    b  batch        l  tokens in time    n  states of a channel     p  ranks (world size)
    d  channels     h  heads             t  queries, s  keys        r  this rank, 0 .. p-1

Nothing changes its arguments, unless a docstring says so. Tensors may have any strides. "At once" is said of bytes that
are alive at one moment, of what was made inside the call.
"""

import bisect
import math
import os
import pickle
import random
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


def run_ranks(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(rank)` in `count` forks of this process that form one gloo group; what each returned, by rank (given).

    To try things out: `run_ranks(2, lambda rank: print(rank, dist.get_world_size()))`.
    """
    context = get_context("fork")

    def one(rank: int, pipe: Any, store: str) -> None:
        torch.set_num_threads(1)  # before any operation: a pool of threads does not survive a fork
        os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
        try:
            pipe.send_bytes(pickle.dumps((work(rank), None)))
        except BaseException as error:
            pipe.send_bytes(pickle.dumps((None, f"rank {rank} raised {error!r}")))
        pipe.poll(None)  # stay until all are done

    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe() for _ in range(count)]
        ranks = [
            context.Process(target=one, args=(rank, pipes[rank][1], f"{folder}/store"), daemon=True)
            for rank in range(count)
        ]
        try:
            for process in ranks:
                process.start()
            said = [pickle.loads(ours.recv_bytes()) if ours.poll(20) else (None, "a rank hangs") for ours, _ in pipes]
        finally:
            for process in ranks:
                process.kill()
                process.join()
    for _, error in said:
        if error:
            raise RuntimeError(error)
    return [value for value, _ in said]


def roofline(
    m: int, k: int, n: int, peak: float, bandwidth: float, *, itemsize: int = 2, tile: int = 1
) -> dict[str, Any]:
    """What limits the product of an (m, k) and a (k, n) matrix on a chip, and how much of the chip it uses.

    peak: operations a second. bandwidth: bytes a second between memory and chip. itemsize: bytes of a number.
    tile: the chip works on whole tiles, so the product takes as long as one whose m, k and n are rounded up to
        multiples of it (128 for the array of a TPU). Bytes are not rounded: both matrices are read once, and the
        result is written once.

    Returns a dict:
        "intensity"  useful operations, 2·m·k·n, a byte
        "turn"       peak / bandwidth: at this intensity a chip without tiles is busy with both
        "seconds"    the longer of the two: (rounded) operations / peak, bytes / bandwidth
        "bound"      "compute" if the first is at least as long as the second, else "memory"
        "share"      of the peak that useful operations reach: 2·m·k·n / (seconds · peak)

    m, k, n, tile >= 1. (Williams, Waterman, Patterson 2009. A TPU v5e has 197e12 and 819e9: its turn is 240.5; an A100
    of 80 GB has 312e12 and 2.039e12, and turns at 153.)

    >>> told = roofline(129, 129, 129, 197e12, 819e9, tile=128)
    >>> told["bound"], f"{told['intensity']:.1f}", f"{told['share']:.3f}"           # 129³ / 256³
    ('compute', '43.0', '0.128')
    """
    raise NotImplementedError  # TODO: your code


def attention_traffic(
    t: int, s: int, d: int, rows: int, columns: int, version: int, *, heads: int = 1, causal: bool = False
) -> dict[str, int]:
    """What the forward pass of attention moves between memory and chip: plainly, and by FlashAttention 1 and 2.

    t queries, s keys and values, all of width d; queries are cut into tiles of `rows`, keys into tiles of `columns`;
    the last tile of each may be smaller. heads: batch times heads; each does the same.
    causal: query i sees keys 0 .. i. Versions 1 and 2 leave out each pair of tiles in which no query sees a key, and
        a tile that is left with no partner at all is neither read nor written; version 0 leaves out nothing.

    Counted are numbers, not bytes, and what is counted is read or written to memory off the chip:
        0  plainly: scores q kᵀ (reads q, k; writes t·s), softmax (reads and writes t·s), times v (reads t·s and v;
           writes t·d).
        1  (arXiv 2205.14135, algorithm 1) for each tile of keys: read its k and v; then for each tile of queries: read
           its q, out (d wide), sum and maximum (a number for each query); write out, sum and maximum.
        2  (arXiv 2307.08691, algorithm 1) for each tile of queries: read its q; then for each tile of keys: read its k
           and v; at the end write out and the log-sum-exp (a number for each query), once.

    Returns a dict:
        "reads", "writes"
        "divisions"  numbers that are divided by a sum: 0 each probability (t·s); 1 all of a tile of `out`, for each
                     tile of keys that meets it; 2 each number of `out` once
        "blocks"     pieces of work that need not wait for another: 0 each pair of tiles of scores, 1 each head,
                     2 each tile of queries of each head

    t, s, d >= 1. The start values of version 1, and its second maximum, are not counted. With causal every tile of
    queries meets a tile of keys, the first one at least.

    >>> attention_traffic(4, 4, 8, 2, 2, version=2)                     # reads 4·8 + 2 tiles · 2·4·8
    {'reads': 160, 'writes': 36, 'divisions': 32, 'blocks': 2}
    >>> attention_traffic(4, 4, 8, 2, 2, version=1)                     # reads 2·4·8 + 2 · (2·4·8 + 2·4)
    {'reads': 208, 'writes': 80, 'divisions': 64, 'blocks': 1}
    """
    raise NotImplementedError  # TODO: your code


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), which keeps nothing for its backward pass: backward runs the function again.

    function: of tensors and of anything else; gives a tensor or a tuple of tensors. It may use other tensors that no
        operation made, such as the parameters of a module (which is a function, too), and may draw from torch's global
        random numbers. For the same arguments and random numbers it gives the same. Arguments stay as they are until
        backward.
    Returns what function returns, a tuple for a tuple: the same values in the same dtypes (float64, float32). Then
    `backward()` leaves the same gradients as without checkpoint: in args, and in each other tensor that function used,
    also where no argument requires a gradient. A result whose gradient nobody asks for is no matter. It may be nested,
    and be used many times in one pass.

    Random numbers: the second run draws what the first one drew (a dropout drops the same), and the numbers that come
    after the forward pass, and after backward, are those that come without checkpoint.

    Cost: between the passes nothing that was made inside is alive, but for the result, whatever the function is (6 KB
    do not count: the state of the random numbers has 5; where it is nested, an inner one may keep its arguments). The
    function runs at most twice in all: one forward pass more, a third of a step. Under no_grad it runs once. The work
    stays in torch.

    Forbidden: torch.utils.checkpoint.checkpoint, torch.utils.checkpoint.checkpoint_sequential.

    (Chen et al. 2016, arXiv 1604.06174. `torch.autograd.Function`, or `torch.autograd.graph.saved_tensors_hooks`.)

    >>> x = torch.ones(3, requires_grad=True)
    >>> y = checkpoint(lambda x: (2 * x).exp(), x)
    >>> y.sum().backward()
    >>> torch.allclose(x.grad, 2 * y)
    True
    """
    raise NotImplementedError  # TODO: your code


def checkpoint_plan(sizes: list[int]) -> tuple[list[int], int]:
    """Which layers keep their result for backward, so that the peak of memory is least.

    sizes: bytes of the result of each layer, positive, L >= 1 of them. Layers stand in a row. A kept result is alive
        all the time. Backward goes through the others run by run: a run is what lies between two kept layers that
        follow each other, or before the first, or behind the last. It is computed again as a whole, from what was kept
        before it, and is let go as a whole. So the peak is the sum of the kept ones plus the largest sum of a run.
    Returns the kept layers, ascending, and that peak, in bytes. Of several plans with the least peak, any.

    The time grows like a power of L: 60 layers are no matter, and 2^60 plans are.

    (L equal layers: about 2·√L of them instead of L. Chen et al. 2016, section 4.1.)

    >>> checkpoint_plan([1, 1, 1, 9, 1, 1, 1])              # 1 + 1 kept, and the largest run is 9; keeping 9 takes 12
    ([2, 4], 11)
    """
    raise NotImplementedError  # TODO: your code


def recomputed_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
    """Mamba's scan, which keeps a state for each chunk alone and computes the others again in backward.

    x, dt: (b, l, d). A: (d, n). B, C: (b, l, n). float32 or float64, all alike. l may be 0.
    Returns y (b, l, d), in that dtype.

        s_t[d, n] = exp(dt_t[d] A[d, n]) s_{t-1}[d, n] + dt_t[d] B_t[n] x_t[d]              s_{-1} = 0
        y_t[d]    = sum over n of C_t[n] s_t[d, n]

    chunk: >= 1. Tokens are cut into runs of `chunk`, the last may be shorter. Gradients by `backward()` flow to all
    five tensors, or to those that require one.

    Cost, where S = b·d·n numbers are one state:
        between the passes alive of what was made inside, beside y: ceil(l / chunk) states + 2 S
        at once, forward: y, and ceil(l / chunk) + 8 states; under no_grad and in eval as well
        at once, backward: the gradients, once more their size, and ceil(l / chunk) + 4 · (chunk + 4) states
        in both passes no tensor of more than max(b·l·d, b·l·n, (max(chunk, l / chunk) + 1)·S) elements
    (and 8 KB for small things). No token's state is computed more than twice: both passes together take at most
    64·l·S operations and numbers that they write. The work stays in torch.

    A kernel on a GPU does the same for another reason: states live in fast memory, and to write them all to slow memory
    would take n times the time of x. (Gu, Dao 2023, arXiv 2312.00752, section 3.3.2 and appendix D.)

    >>> x, ones = torch.ones(1, 3, 1, requires_grad=True), torch.ones(1, 3, 1)
    >>> y = recomputed_scan(x, ones, torch.tensor([[-1.0]]), ones, ones, chunk=2)
    >>> y.sum().backward()
    >>> [f"{v:.3f}" for v in y.flatten()], [f"{v:.3f}" for v in x.grad.flatten()]
    (['1.000', '1.368', '1.503'], ['1.503', '1.368', '1.000'])
    """
    raise NotImplementedError  # TODO: your code


class RecomputedScan(torch.autograd.Function):
    """The two passes of `recomputed_scan`. (A suggestion: any other way is as good.)

    >>> ones = torch.ones(1, 2, 1)
    >>> RecomputedScan.apply(ones, ones, torch.zeros(1, 1), ones, ones, 1).flatten().tolist()
    [1.0, 2.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
        """y; saves the inputs and the state before each chunk."""
        raise NotImplementedError  # TODO: your code

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, dt, A, B, C, of nothing (chunk)."""
        raise NotImplementedError  # TODO: your code


def deepspeed_plan(config: dict[str, Any], ranks: int, parameters: int) -> dict[str, Any]:
    """What a DeepSpeed configuration means: its three batch sizes, and the bytes of model state of each rank.

    config: a dict that may hold
        "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps": positive integers, with
            train = micro · accumulation · ranks. Of three, all must fit. Of two, the third follows. Of train or micro
            alone, accumulation is 1. Accumulation alone, or none, is an error.
        "zero_optimization": {"stage": 0 to 3 (0 if not given), "offload_optimizer": {"device": "cpu"},
            "offload_param": {"device": "cpu"}}. The device may be "none", as if the entry were not there.
    parameters: N. In mixed precision: 2 bytes of each for itself, 2 for its gradient, 12 for the states of Adam with
        the master weight. Stage 1 shards the states over the ranks, 2 the gradients too, 3 the parameters too.
    offload_optimizer (stage 1 or more): the states lie in the memory of the CPU, and from stage 2 on the gradients
        too. offload_param (stage 3 only): the rank's share of the 16-bit parameters lies there.

    Returns a dict: the three sizes under their names, and bytes, of each rank: "gpu_bytes", "cpu_bytes", and
    "transfer_bytes", what an optimizer on the CPU moves in each step: its share, N / ranks, of the gradients down (2
    bytes), and of the new 16-bit parameters up (2 bytes, but nothing if these live on the CPU); 0 without it.

    Raises ValueError where sizes do not fit, do not divide, or are below 1; for another stage or device; for an offload
    that its stage does not have.

    (DeepSpeed's documentation, "Batch Size Related Parameters"; Ren et al. 2021, arXiv 2101.06840: 10 billion
    parameters on one GPU take 20 GB there, and 140 GB beside it.)

    >>> zero = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    >>> config = {"train_batch_size": 64, "gradient_accumulation_steps": 4, "zero_optimization": zero}
    >>> plan = deepspeed_plan(config, 8, 10**9)
    >>> plan["train_micro_batch_size_per_gpu"], plan["gpu_bytes"], plan["cpu_bytes"], plan["transfer_bytes"]
    (2, 2000000000.0, 1750000000.0, 500000000.0)
    """
    raise NotImplementedError  # TODO: your code


class ShardedCheckpoint:
    """Checkpoints of a run on p ranks, each of which holds a piece of everything; for p' ranks to go on with.

    folder: one for all ranks. It exists. Each rank makes its own ShardedCheckpoint of it, in the default process group
        (gloo), which exists. A checkpoint is whole, or it is not there, at every moment: also where the disk is full,
        a call fails, or all ranks die in the midst of `save`.
    How files are named and what is in them is yours. What is written has to be on the disk before anything says that
    the checkpoint is there: `os.fsync` of the file, since a rename may survive a power cut that the data does not.
    Files that older saves left half written stay, or go, as you like; they never disturb.

    >>> def work(rank):
    ...     store = ShardedCheckpoint(folder)
    ...     store.save(3, {"weight": torch.arange(2.0) + 2 * rank}, {"epoch": 1})
    ...     return store.latest(), store.load()["sharded"]["weight"].tolist()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     two = run_ranks(2, work)
    ...     three = run_ranks(3, lambda rank: ShardedCheckpoint(folder).load()["sharded"]["weight"].tolist())
    >>> two, three
    ([(3, [0.0, 1.0]), (3, [2.0, 3.0])], [[0.0, 1.0], [2.0], [3.0]])
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def save(self, step: int, sharded: dict[str, Tensor], common: dict[str, Any]) -> None:
        """Write a checkpoint of this step (0 or more); all ranks call it, with the same names, in any order.

        sharded: this rank's pieces, each in one dimension; their lengths may differ from rank to rank, and be 0.
            A piece may be a view of a larger tensor: the file holds the piece alone. float64, float32, bfloat16, int64.
        common: what all ranks have alike, such as the scheduler's state and the position in the data: numbers, strings,
            None, lists, tuples, dicts, tensors. Rank 0's counts.
        The states of this rank's global random numbers are saved too: torch's, numpy's and random's.

        Each rank writes its own pieces: tensors do not travel. In all, a rank hands over at most 1 KB, and the folder
        grows by the bytes of the pieces and of common, and by 16 KB a rank and 1 KB a piece.

        If anything fails on any rank, all ranks raise (an OSError goes through on the rank that met it; the others
        raise what they like), and no rank waits for ever. What was there before is there still, and whole; `latest` is
        the step that it was, or the new one if that is whole. A later save works, also of the same step if that is not
        there.

        Raises FileExistsError, on all ranks and before anything is written, if the step is there already.
        """
        raise NotImplementedError  # TODO: your code

    def _all(self, work: Callable[[], None]) -> None:
        """Do the work, and raise if it failed on any rank. (A suggestion; remove it if you go another way.)"""
        raise NotImplementedError  # TODO: your code

    def latest(self) -> int | None:
        """The largest step of which there is a whole checkpoint in the folder now, whoever saved it, or None."""
        raise NotImplementedError  # TODO: your code

    def load(self, step: int | None = None) -> dict[str, Any]:
        """What was saved at this step, or at `latest`, cut for the ranks that there are now; all ranks call it.

        Returns {"step": the step, "sharded": this rank's pieces, "common": as it was saved}. The whole of a tensor is
        the pieces of ranks 0, 1, ... as they were saved, one behind the other; rank r gets what `tensor_split(p')` of
        it gives: the first ones have one number more. Dtypes and bits are kept. A piece has memory of its own.
        On as many ranks as were saved, pieces too are those that each rank saved, whatever their lengths, and each
        rank's random numbers go on where they were; on another number, they are left alone.
        A rank hands over at most 1 KB.

        Raises FileNotFoundError where there is no such checkpoint, or none at all.
        """
        raise NotImplementedError  # TODO: your code


def random_states() -> dict[str, Any]:
    """The states of the global random numbers of torch (on the CPU), numpy and random, as plain data (given)."""
    name, keys, *rest = np.random.get_state()
    return {"torch": torch.get_rng_state(), "numpy": (name, keys.tolist(), *rest), "random": random.getstate()}


def set_random_states(states: dict[str, Any]) -> None:
    """Let the global random numbers go on from what `random_states` gave (given)."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["random"])


def write(path: Path, value: Any) -> None:
    """Write a value to a file, and wait until it is on the disk (given)."""
    with path.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())


def flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (given)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cut(pieces: list[Tensor], p: int, r: int) -> Tensor:
    """What `torch.cat(pieces).tensor_split(p)[r]` gives, of only the pieces that it needs. (A suggestion.)

    >>> cut([torch.arange(3), torch.arange(3, 7)], 3, 1)
    tensor([3, 4])
    """
    raise NotImplementedError  # TODO: your code


class TrainingMonitor:
    """Watches a run step by step, and rings when something begins to be wrong: once, and not at each step.

    window: how many of the last losses, and of the last norms, are remembered. warmup: how many of them there have to
        be before one is judged by them. factor, explosion, patience: below.

    >>> monitor = TrainingMonitor(warmup=3)
    >>> [monitor.observe(loss, 1.0) for loss in (5.0, 4.0, 3.0, 40.0, 41.0, 2.0, math.nan)]
    [[], [], [], ['spike'], [], [], ['nonfinite']]
    """

    def __init__(
        self, window: int = 50, warmup: int = 10, factor: float = 6.0, explosion: float = 10.0, patience: int = 1000
    ) -> None:
        self.window, self.warmup, self.patience = window, warmup, patience
        self.factor, self.explosion = factor, explosion
        raise NotImplementedError  # TODO: your code

    def observe(self, loss: float, norm: float) -> list[str]:
        """The alarms that this step begins, in this order. norm: of the gradient, >= 0.

            "nonfinite"  loss or norm is NaN or infinite
            "spike"      loss > m + factor · max(a, 0.01·|m|), where m is the median of the remembered losses, and a
                         the median of their distances |x - m|
            "explosion"  norm > explosion · the median of the remembered norms
            "stall"      the last `patience` steps, this one too, brought no loss below the lowest one before them

        A step is compared with what was remembered before it; then its loss and norm are remembered, each if it is
        finite (so one that is not finite is no spike and no explosion). The median of an even number is the mean of the
        two in the middle. The first finite loss of all is a lowest one; a step before it brings none.
        An alarm is given at the step at which its condition begins to hold, and again only after a step at which it did
        not hold.
        """
        raise NotImplementedError  # TODO: your code

    def _is_spike(self, loss: float) -> bool:
        """Whether a finite loss is far above the remembered ones. (A suggestion.)"""
        raise NotImplementedError  # TODO: your code

    def state_dict(self) -> dict[str, Any]:
        """All that another monitor, made with the same arguments, needs to go on.

        Numbers, strings, bools, None, lists and dicts of them: at most 2·window + 32 in all, however long the run.
        """
        raise NotImplementedError  # TODO: your code

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the other one was. What was observed before counts no more."""
        raise NotImplementedError  # TODO: your code


def bucket_edges() -> list[float]:
    """The edges of TensorBoard's histograms: 0, and ± 1e-12 · 1.1^k below 1e20, ascending: 1,549 of them (given)."""
    positive, edge = [], 1e-12
    while edge < 1e20:
        positive.append(edge)
        edge *= 1.1
    return [-edge for edge in reversed(positive)] + [0.0] + positive


class StreamingHistogram:
    """The distribution of numbers that come tensor by tensor, in memory that does not grow: of weights over a run.

    Buckets lie between the edges e_0 < e_1 < ... of `bucket_edges`: bucket i has the numbers e_{i-1} <= x < e_i; bucket
    0 has those below e_0, and the last one those from the last edge on.

    Whatever was added, at most 64 KB that were made in `add` and `merge` stay alive.

    >>> histogram = StreamingHistogram()
    >>> histogram.add(torch.tensor([1.0, -2.0, 3.0, math.nan]))
    >>> told = histogram.summary()
    >>> [told[name] for name in ("count", "nonfinite", "min", "max", "sum", "sum_squares")], sum(told["counts"])
    ([3, 1, -2.0, 3.0, 2.0, 14.0], 3)
    >>> histogram.quantile(0.0), histogram.quantile(1.0)
    (-2.0, 3.0)
    """

    def __init__(self) -> None:
        raise NotImplementedError  # TODO: your code

    def add(self, x: Tensor) -> None:
        """Count the numbers of x: any shape, also without elements; float64, float32, float16 or bfloat16.

        x may be a parameter, and may change afterwards. What is NaN or infinite counts under "nonfinite" alone. Values
        and sums are taken in float64.
        """
        raise NotImplementedError  # TODO: your code

    def merge(self, other: "StreamingHistogram") -> None:
        """Count what the other one counted too, such as another rank's; the other stays as it is."""
        raise NotImplementedError  # TODO: your code

    def summary(self) -> dict[str, Any]:
        """{"count", "nonfinite", "min", "max", "sum", "sum_squares", "counts"}: ints and floats, and a list of ints.

        count, min, max and the sums are of the finite numbers. Without any, min is infinity, max minus infinity.
        """
        raise NotImplementedError  # TODO: your code

    def quantile(self, q: float) -> float:
        """About the ceil(q·count)-th smallest of the finite numbers (the smallest, if that is 0); 0 <= q <= 1.

        It lies in the bucket in which that number lies (its two edges may be given, too), and between min and max: for
        numbers of at least 1e-12 it is at most 10 % off. Which point of the bucket is yours. q = 0 is min, q = 1 max.

        Raises ValueError where nothing finite was added.
        """
        raise NotImplementedError  # TODO: your code


def first_nonfinite(model: nn.Module, x: Tensor, loss_fn: Callable[[Tensor], Tensor]) -> tuple[str, str] | None:
    """Where the first NaN or infinity of a training step comes from: one forward and one backward pass under watch.

    model: of modules that take one tensor and give one tensor, and work in place on none. Those that have no children
        are looked at; names are those of `model.named_modules()`. loss_fn: of the model's output; gives a scalar.
    Returns None if all is finite, else (what, name), the first of
        ("input", "")        x holds one
        ("parameter", name)  a parameter of the model holds one, the first by `named_parameters()`
        ("forward", name)    the module that gave one, and took none, the first that ran
        ("loss", "")         the loss is one
        ("backward", name)   the module whose gradient of its output is finite, and of whose input, or of a parameter of
                             its own, is not: the first that backward reaches
    Backward runs only if the forward pass and the loss are finite. x is of float64, float32 or int64 (tokens). A
    gradient that the loss hands to the model may be what is not finite: ("loss", "") too.

    Afterwards the model is as it was, also where it or the loss raises: its gradients (none, or the same values),
    buffers, hooks, modes. Gradients that were there before do not count. A parameter is used once in a pass.

    >>> class Root(nn.Module):
    ...     def forward(self, x):
    ...         return x.sqrt()
    >>> first_nonfinite(nn.Sequential(nn.ReLU(), Root(), nn.Flatten()), torch.tensor([[-1.0, 4.0]]), torch.sum)
    ('backward', '1')
    """
    raise NotImplementedError  # TODO: your code


def is_finite(*tensors: Tensor | None) -> bool:
    """Whether all numbers of all tensors are finite; None has none (given)."""
    return all(tensor is None or bool(tensor.isfinite().all()) for tensor in tensors)
