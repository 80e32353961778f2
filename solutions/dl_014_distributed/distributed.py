"""dl_014 · Distributed training: one model on many ranks, and every rank ends with the weights of one big process.

Axes and sizes
    p  ranks (world size)      n  numbers in a tensor     b  batch            d  width of a head, of a key
    r  this rank, 0 .. p-1     m  micro-batches           h  heads            e  width of a value
    c  ceil(n / p)             v  chunks on a rank        t  tokens on this rank

A rank is a process. All of them run the same code, in the default process group of torch.distributed (gloo, on CPU),
which exists before your code is called: ask `dist.get_rank()` and `dist.get_world_size()`. A collective
(`dist.all_reduce`, `dist.all_gather`, `dist.reduce_scatter`, `dist.broadcast`) must be called by all ranks in the same
order, or all wait for ever. gloo moves contiguous tensors only. p = 1 is a group too. Arguments are never changed,
unless a docstring says so. float32 and float64 work alike, and results keep the dtype. What a rank "hands over" is what
it gives to a send or a collective; what it only receives does not count.
"""

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


def run_ranks(count: int, work: Callable[[int], Any], seconds: float = 20.0) -> list[Any]:
    """`work(rank)` in `count` forks of this process that form one gloo group; what each returned, by rank (given).

    To try things out: `run_ranks(3, lambda rank: print(rank, dist.get_world_size()))`. A rank that raises ends all.
    """
    context = get_context("fork")

    def one(rank: int, pipe: Connection, folder: str) -> None:
        torch.set_num_threads(1)  # before any operation: a pool of threads does not survive a fork
        os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
        dist.barrier()
        try:
            pipe.send_bytes(pickle.dumps((work(rank), None)))
        except BaseException:
            pipe.send_bytes(pickle.dumps((None, traceback.format_exc())))
        pipe.poll(None)  # stay until all are done: a peer may still read what this rank sent

    with tempfile.TemporaryDirectory() as folder:
        pairs = [context.Pipe() for _ in range(count)]
        ranks = [context.Process(target=one, args=(i, pairs[i][1], folder), daemon=True) for i in range(count)]
        try:
            for process in ranks:
                process.start()
            values = []
            for i, (ours, _) in enumerate(pairs):
                if not ours.poll(seconds):
                    raise TimeoutError(f"rank {i} of {count} had not ended after {seconds:g} s")
                value, error = pickle.loads(ours.recv_bytes())
                if error:
                    raise RuntimeError(f"rank {i} of {count} raised\n{error}")
                values.append(value)
            return values
        finally:
            for process in ranks:
                process.kill()
                process.join()


def exchange(out: Tensor, into: Tensor) -> None:
    """Send `out` to the next rank of the ring and fill `into` from the one before, both at once (given).

    `into` must be contiguous. Every rank calls it; its neighbours' sizes are their own affair. It is one `isend`, one
    `recv` and a wait: were all ranks to send first and wait for that, nobody would receive.
    """
    p, r = dist.get_world_size(), dist.get_rank()
    flight = dist.isend(out.contiguous(), (r + 1) % p)
    dist.recv(into, (r - 1) % p)
    flight.wait()


def even_pieces(x: Tensor) -> list[Tensor]:
    """x, flat, padded with zeros at the end, cut into p pieces of c = ceil(n / p) numbers: piece r is rank r's (given).

    With p = 2, five numbers 1 2 3 4 5 are the pieces 1 2 3 and 4 5 0.
    """
    p = dist.get_world_size()
    c = -(-x.numel() // p)
    return list(F.pad(x.flatten(), (0, p * c - x.numel())).view(p, c).unbind())


def mesh_coordinates(rank: int, sizes: dict[str, int]) -> dict[str, int]:
    """Where a rank stands in a mesh: its index along each axis.

    sizes: axis -> how many ranks along it, in order: the FIRST axis varies fastest, so its neighbours share a host.
    Returns axis -> index, the same axes in the same order. (Needs no process group.)

    With {"tensor": 2, "pipe": 3}: ranks 0 and 1 are the two halves of stage 0, rank 4 is the first half of stage 2.
    Llama 3 405B (arXiv 2407.21783, section 3.3.2 and table 4) orders tensor, context, pipe, data, since the axis that
    talks most must be the innermost: 8 · 1 · 16 · 128 = 16,384 GPUs, tensor parallel inside a host of 8.

    Raises ValueError where the mesh has no such rank (negative, or the product of the sizes and more).

    >>> mesh_coordinates(4, {"tensor": 2, "pipe": 3})
    {'tensor': 0, 'pipe': 2}
    """
    ### BEGIN SOLUTION
    rest, where = rank, {}
    for axis, size in sizes.items():
        rest, where[axis] = divmod(rest, size)
    if rest:
        raise ValueError(f"no rank {rank} in a mesh of {sizes}")
    return where
    ### END SOLUTION


def mesh_groups(sizes: dict[str, int], axis: str) -> list[list[int]]:
    """The groups of ranks that talk along one axis: those that differ in nothing else.

    sizes: as in `mesh_coordinates`. axis: one of them.
    Returns every rank in exactly one group; each group ascending, the groups by their first rank. (All ranks must
    create all groups in the same order with `dist.new_group`, so all of them need the whole list.)

    >>> mesh_groups({"tensor": 2, "pipe": 3}, "pipe")
    [[0, 2, 4], [1, 3, 5]]
    """
    ### BEGIN SOLUTION
    total = 1
    for size in sizes.values():
        total *= size
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank in range(total):
        where = mesh_coordinates(rank, sizes)
        del where[axis]
        groups.setdefault(tuple(where.values()), []).append(rank)
    return list(groups.values())
    ### END SOLUTION


def zero_memory(
    parameters: int,
    ranks: int,
    stage: int,
    *,
    param_bytes: float = 2,
    grad_bytes: float = 2,
    state_bytes: float = 12,
) -> float:
    """Bytes of model state on each rank: parameters, gradients, optimizer states (ZeRO, arXiv 1910.02054, section 5).

    stage: 0 plain data parallel: all of it on every rank; 1 the states are sharded over the ranks; 2 the gradients too;
        3 the parameters too. A sharded kind takes 1/ranks, exactly (no padding).
    param_bytes, grad_bytes, state_bytes: of one parameter. The defaults are Adam in mixed precision: fp16 weight, fp16
        gradient, and in fp32 a master weight, a momentum and a variance. Activations are not counted.

    Raises ValueError for another stage, and for ranks < 1.

    The paper's table 1, 7.5 B parameters on 64 ranks: 120, 31.4, 16.6 and 1.88 GB (10^9 bytes).

    >>> [round(zero_memory(7_500_000_000, 64, stage) / 1e9, 2) for stage in range(4)]
    [120.0, 31.41, 16.64, 1.88]
    """
    ### BEGIN SOLUTION
    if stage not in range(4) or ranks < 1:
        raise ValueError(f"stage {stage} on {ranks} ranks")
    kinds = (param_bytes, grad_bytes, state_bytes)  # the last `stage` of them are sharded
    return parameters * (sum(kinds[: 3 - stage]) + sum(kinds[3 - stage :]) / ranks)
    ### END SOLUTION


def ring_all_reduce(x: Tensor) -> Tensor:
    """The sum of all ranks' x, on every rank, from messages between neighbours in a ring.

        reduce-scatter, p - 1 steps: pass a chunk on, add what arrives; then each rank holds one chunk of the sum
        all-gather,     p - 1 steps: pass that chunk on, keep what arrives

    x: any shape, strides and number dtype, the same shape and dtype on all ranks; also without elements. n need not be
        a multiple of p, and may be smaller: cut chunks of at most c = ceil(n / p) numbers.
    Returns a new tensor of x's shape and dtype: the same bits on every rank (else replicas would drift apart). A rank
    sends at most 2·(p - 1) messages and 2·(p - 1)·c numbers, whatever its place: no root, no bottleneck.
    (Patarasuk and Yuan 2009, section 3.)

    Forbidden: the collectives of torch.distributed, and of a process group: all_reduce, all_reduce_coalesced, reduce,
    reduce_scatter, reduce_scatter_tensor, all_gather, all_gather_into_tensor, all_gather_object, gather, scatter,
    broadcast, all_to_all, all_to_all_single. Messages only: `exchange`, isend, recv, ...

    >>> run_ranks(2, lambda rank: ring_all_reduce(torch.tensor([1, 2, 3]) * 10**rank).tolist())
    [[11, 22, 33], [11, 22, 33]]
    """
    ### BEGIN SOLUTION
    p, r = dist.get_world_size(), dist.get_rank()
    out = x.detach().clone(memory_format=torch.contiguous_format)
    chunks = out.view(-1).tensor_split(p)  # views
    for step in range(p - 1):
        mine = chunks[(r - step - 1) % p]
        arrived = torch.empty_like(mine)
        exchange(chunks[(r - step) % p], arrived)
        mine += arrived
    for step in range(p - 1):
        exchange(chunks[(r + 1 - step) % p], chunks[(r - step) % p])
    return out
    ### END SOLUTION


class DataParallel(nn.Module):
    """A replica of `module` on every rank; after `backward` and `finish`, gradients averaged over the ranks.

    module: its parameters and buffers (contiguous; parameters of one dtype) take the values of rank 0 at the start, in
        place. It stays reachable as `.module`.
    bucket_bytes: gradients travel in buckets, one all-reduce each. Going through `module.parameters()` from last to
        first (backward's order), a parameter joins the open bucket if that then holds at most `bucket_bytes`; else it
        opens the next one. So a larger parameter travels alone. 4, 8, 4, 4 bytes with 12: {4, 4}, {8, 4}. What travels
        may be padded with zeros to a multiple of p numbers.

    A bucket goes out during backward, as soon as all its gradients are there and the buckets before it are gone (all
    ranks must send in one order). Each rank's gradient has the weight 1/p. Parameters that do not require gradients
    are not sent. (PyTorch DDP, arXiv 2006.15704, section 3.2. `Tensor.register_post_accumulate_grad_hook` helps.)
    Forbidden: torch's DistributedDataParallel.

    >>> def work(rank):
    ...     model = DataParallel(nn.Linear(1, 1, bias=False))
    ...     model(torch.tensor([[1.0 + 2.0 * rank]])).sum().backward()
    ...     model.finish()
    ...     return model.module.weight.grad.item()
    >>> run_ranks(2, work)
    [2.0, 2.0]
    """

    def __init__(self, module: nn.Module, bucket_bytes: int = 25 * 2**20) -> None:
        super().__init__()
        self.module = module
        ### BEGIN SOLUTION
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), 0)
        self.buckets: list[list[nn.Parameter]] = []
        self.flights: list[tuple[Tensor, Any]] = []  # of the first buckets: what was sent, and the work that goes on
        self.ready: set[Tensor] = set()
        self.synchronizing = True
        room = float("-inf")
        for parameter in reversed([parameter for parameter in module.parameters() if parameter.requires_grad]):
            if parameter.nbytes > room:
                self.buckets.append([])
                room = bucket_bytes
            self.buckets[-1].append(parameter)
            room -= parameter.nbytes
            parameter.register_post_accumulate_grad_hook(self._arrived)
        ### END SOLUTION

    def _arrived(self, parameter: Tensor) -> None:
        """What the hook calls: this gradient is complete. (A suggestion; remove it if you go another way.)"""
        ### BEGIN SOLUTION
        if self.synchronizing:
            self.ready.add(parameter)
            while len(self.flights) < len(self.buckets) and self.ready.issuperset(self.buckets[len(self.flights)]):
                self._send(self.buckets[len(self.flights)])
        ### END SOLUTION

    def _send(self, bucket: list[nn.Parameter]) -> None:
        """Start the all-reduce of a bucket, without waiting for it. (A suggestion, too.)"""
        ### BEGIN SOLUTION
        gradients = [torch.zeros_like(q) if q.grad is None else q.grad for q in bucket]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.flights.append((flat, dist.all_reduce(flat, async_op=True)))
        ### END SOLUTION

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `module` gives (given)."""
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A backward inside sends nothing: gradients add up on this rank, and the next backward outside sends the sum.

        It is over after an exception, too. For gradient accumulation: messages once a step, not once a micro-batch.
        """
        ### BEGIN SOLUTION
        before, self.synchronizing = self.synchronizing, False
        try:
            yield
        finally:
            self.synchronizing = before
        ### END SOLUTION

    def finish(self) -> None:
        """Send the buckets that did not go out yet, wait for all, and leave the average in each parameter's `.grad`.

        All ranks call it once after a backward outside `no_sync`, before the optimizer's step. A parameter that has no
        gradient on this rank counts as zeros here, so ranks may take different branches; afterwards every parameter
        that requires gradients has one.
        """
        ### BEGIN SOLUTION
        for bucket in self.buckets[len(self.flights) :]:
            self._send(bucket)
        for bucket, (flat, flight) in zip(self.buckets, self.flights, strict=True):
            flight.wait()
            average = flat / dist.get_world_size()
            for parameter, piece in zip(bucket, average.split([q.numel() for q in bucket]), strict=True):
                parameter.grad = piece.view_as(parameter)
        self.flights.clear()
        self.ready.clear()
        ### END SOLUTION


class ZeroOptimizer:
    """An optimizer whose states, and at stage 2 gradients, are sharded over the ranks (ZeRO, arXiv 1910.02054, 5).

        gradient of a parameter -- reduce-scatter --> a 1/p of its average -- optimizer --> a 1/p of the new
        parameter -- all-gather --> the new parameter, whole, on every rank

    params: parameters that require gradients, equal on all ranks. One that has no gradient (on any rank, then) stays as
        it is.
    optimizer_class, defaults: a torch optimizer that works number by number (Adam, SGD, ...) and its options. Each rank
        makes one, `.optimizer`, on pieces as of `even_pieces`: its states hold ceil(n / p) numbers of a parameter of n.
    stage: 1 or 2, else ValueError. At 1 the gradients stay whole on each rank until `step`. At 2 each goes out during
        backward, as soon as it is complete, and `.grad` is None afterwards: a rank keeps its own pieces only.
        (As for data parallel, a hook does this; every rank's backward reaches the same parameters.)
    Between calls a rank keeps, beside the parameters and at stage 1 their gradients, its own pieces only: of weights,
        gradients and states. That means no second copy under another name, in torch or in numpy.

    A rank hands over each gradient once (padded: p · ceil(n / p) numbers) and ceil(n / p) numbers of each parameter: as
    much as one all-reduce moves. No all-reduce, and gradients are never gathered.

    >>> def work(rank):
    ...     weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    ...     optimizer = ZeroOptimizer([weight], torch.optim.SGD, stage=2, lr=0.5)
    ...     (weight.sum() * 2 * rank).backward()                # gradients 0 and 2, on average 1
    ...     optimizer.step()
    ...     return weight.tolist(), weight.grad
    >>> run_ranks(2, work)
    [([0.5, 1.5, 2.5], None), ([0.5, 1.5, 2.5], None)]
    """

    def __init__(
        self, params: Iterable[nn.Parameter], optimizer_class: type, *, stage: int = 1, **defaults: Any
    ) -> None:
        ### BEGIN SOLUTION
        if stage not in (1, 2):
            raise ValueError(f"stage is 1 or 2, not {stage}")
        self.stage, self.params = stage, list(params)
        r = dist.get_rank()
        self.shards = [nn.Parameter(even_pieces(parameter.detach())[r].clone()) for parameter in self.params]
        self.optimizer = optimizer_class(self.shards, **defaults)
        if stage == 2:
            for parameter, shard in zip(self.params, self.shards, strict=True):
                parameter.register_post_accumulate_grad_hook(partial(self._scatter, shard))
        ### END SOLUTION

    def _scatter(self, shard: nn.Parameter, parameter: Tensor) -> None:
        """Reduce-scatter the gradient of a parameter into that of its shard. (A suggestion.)"""
        ### BEGIN SOLUTION
        piece = torch.empty_like(shard)
        dist.reduce_scatter(piece, even_pieces(parameter.grad))
        average = piece / dist.get_world_size()
        if self.stage == 2:
            parameter.grad = None
            if shard.grad is not None:
                average += shard.grad
        shard.grad = average
        ### END SOLUTION

    def step(self) -> None:
        """Update the parameters, in place, with the average over the ranks of the gradients since `zero_grad`.

        Several backward passes add up, at either stage. A second step without a new backward uses the same gradients.
        """
        ### BEGIN SOLUTION
        if self.stage == 1:
            for parameter, shard in zip(self.params, self.shards, strict=True):
                if parameter.grad is not None:
                    self._scatter(shard, parameter)
        self.optimizer.step()
        for parameter, shard in zip(self.params, self.shards, strict=True):
            pieces = [torch.empty_like(shard) for _ in range(dist.get_world_size())]
            dist.all_gather(pieces, shard.detach())
            parameter.detach().copy_(torch.cat(pieces)[: parameter.numel()].view_as(parameter))
        ### END SOLUTION

    def zero_grad(self) -> None:
        """Forget all gradients, whole ones and pieces: `.grad` is None."""
        ### BEGIN SOLUTION
        for parameter in (*self.params, *self.shards):
            parameter.grad = None
        ### END SOLUTION


class FullyShardedLinear(nn.Module):
    """y = x @ weight.T + bias, where each rank keeps 1/p of weight and bias (ZeRO-3; PyTorch FSDP, arXiv 2304.11277).

        forward:  all-gather weight and bias, compute, let them go
        backward: all-gather again, compute, reduce-scatter the gradient, let them go

    weight: (out, in). bias: (out,). The whole ones, equal on all ranks; nothing of them is kept but this rank's piece.
    shard: the only parameter, a tensor of its own: `even_pieces` of the weight, flat, followed by the bias. With p = 2,
        weight [[1, 2], [3, 4]], bias [5, 6], rank 0 has 1 2 3, rank 1 has 4 5 6; with [[1, 2]] and [3], 1 2 and 3 0.
    A forward calls one all-gather, a backward one all-gather and one reduce-scatter, nothing else. Between the two, a
    layer holds its input and its shard, not the weight: a stack of L layers needs the memory of one whole layer. So it
    is in training and in eval, with and without gradients, forward and backward.

    >>> def work(rank):
    ...     layer = FullyShardedLinear(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    ...     y = layer(torch.tensor([[1.0, 10.0 * rank]]))
    ...     y.sum().backward()
    ...     return y.item(), layer.shard.tolist(), layer.shard.grad.tolist()
    >>> run_ranks(2, work)
    [(4.0, [1.0, 2.0], [1.0, 5.0]), (24.0, [3.0, 0.0], [1.0, 0.0])]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        ### BEGIN SOLUTION
        flat = torch.cat([weight.flatten(), bias])
        self.shard = nn.Parameter(even_pieces(flat)[dist.get_rank()].clone())
        ### END SOLUTION

    def unshard(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in) and bias (out,), whole: one all-gather, to be called by all ranks. No gradient flows."""
        ### BEGIN SOLUTION
        flat = self.shard.new_empty(dist.get_world_size(), len(self.shard))
        dist.all_gather(list(flat.unbind()), self.shard.detach())
        n = self.out_features * self.in_features
        weight, bias = flat.view(-1)[: n + self.out_features].split([n, self.out_features])
        return weight.view(self.out_features, self.in_features), bias
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in), this rank's own rows, any number of them. Returns (..., out).

        backward gives x the gradient of this rank's loss, and `shard` the average over the ranks, 0 for padding.
        """
        ### BEGIN SOLUTION
        return GatherLinear.apply(x, self.shard, self)
        ### END SOLUTION


class GatherLinear(torch.autograd.Function):
    """The two passes of `FullyShardedLinear`. (A suggestion; `torch.utils.checkpoint` is another way.)

    >>> def work(rank):
    ...     layer = FullyShardedLinear(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    ...     return GatherLinear.apply(torch.tensor([1.0, 10.0]), layer.shard, layer).item()
    >>> run_ranks(2, work)
    [24.0, 24.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Tensor, layer: FullyShardedLinear) -> Tensor:
        """What autograd calls forward; `shard` is an argument so that it gets a gradient."""
        ### BEGIN SOLUTION
        ctx.save_for_backward(x, shard)
        ctx.layer = layer
        return F.linear(x, *layer.unshard())
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of x, of the shard, of nothing."""
        ### BEGIN SOLUTION
        x, shard = ctx.saved_tensors
        weight, _ = ctx.layer.unshard()
        rows = grad.reshape(-1, grad.shape[-1])
        flat = torch.cat([(rows.mT @ x.reshape(-1, x.shape[-1])).flatten(), rows.sum(0)])
        piece = torch.empty_like(shard)
        dist.reduce_scatter(piece, even_pieces(flat))
        return grad @ weight, piece / dist.get_world_size(), None
        ### END SOLUTION


class CopyToRanks(torch.autograd.Function):
    """Forward: x as it is. Backward: the sum of all ranks' gradients (Megatron's f). (A suggestion.)

    >>> def work(rank):
    ...     x = torch.ones(1, requires_grad=True)
    ...     (CopyToRanks.apply(x) * (rank + 1)).sum().backward()
    ...     return x.grad.item()
    >>> run_ranks(2, work)
    [3.0, 3.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The input of a column-parallel layer, the same on all ranks."""
        ### BEGIN SOLUTION
        return x.view_as(x)
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Each rank knows what its own columns say about x; x's gradient is the sum."""
        ### BEGIN SOLUTION
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
        ### END SOLUTION


class SumOverRanks(torch.autograd.Function):
    """Forward: the sum of all ranks' x. Backward: the gradient as it is (Megatron's g). (A suggestion.)

    >>> run_ranks(2, lambda rank: SumOverRanks.apply(torch.tensor([1.0 + rank])).item())
    [3.0, 3.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The partial products of a row-parallel layer."""
        ### BEGIN SOLUTION
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
        ### END SOLUTION

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """All ranks go on with the same sum, so they come back with the same gradient already."""
        ### BEGIN SOLUTION
        return grad
        ### END SOLUTION


class ColumnParallelLinear(nn.Module):
    """A linear layer whose OUTPUTS are split over the ranks (Megatron-LM, arXiv 1909.08053, section 3).

    weight: (out, in). bias: (out,). The whole ones, equal on all ranks. Rank r keeps, as parameters `.weight` and
        `.bias` with memory of their own, the rows `tensor_split` gives it: of 7 rows on 3 ranks, 3, 2 and 2. It keeps
        nothing else of them, under any name.
    forward takes x: (..., in), the same on all ranks, and returns this rank's (..., out / p) outputs: no message. Its
    backward sums x's gradient over the ranks: one all-reduce of x's size.

    (Followed by something elementwise and a `RowParallelLinear` it makes an MLP: one all-reduce forward, one backward.)

    >>> def work(rank):
    ...     up = ColumnParallelLinear(torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3))
    ...     down = RowParallelLinear(torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([0.5]))
    ...     x = torch.ones(1, requires_grad=True)
    ...     y = down(up(x))
    ...     y.backward()
    ...     return up(x).tolist(), y.item(), x.grad.item(), up.weight.grad.flatten().tolist()
    >>> run_ranks(2, work)
    [([1.0, 2.0], 6.5, 6.0, [1.0, 1.0]), ([3.0], 6.5, 6.0, [1.0])]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        p, r = dist.get_world_size(), dist.get_rank()
        self.weight = nn.Parameter(weight.tensor_split(p)[r].clone())
        self.bias = nn.Parameter(bias.tensor_split(p)[r].clone())
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in). Returns (..., this rank's share of out)."""
        ### BEGIN SOLUTION
        return F.linear(CopyToRanks.apply(x), self.weight, self.bias)
        ### END SOLUTION


class RowParallelLinear(nn.Module):
    """A linear layer whose INPUTS are split over the ranks: what follows a `ColumnParallelLinear`.

    weight: (out, in). bias: (out,). The whole ones, equal on all ranks. Rank r keeps the columns `tensor_split` gives
        it as `.weight`, and the whole bias as `.bias`, with memory of their own; nothing else of them, under any name.
    forward takes this rank's (..., in / p) features and returns the whole (..., out), the same on all ranks: one
    all-reduce of that size. The bias counts once. Its backward sends nothing: every rank has the same gradient already
    (all ranks go on to compute the same loss).

    >>> layer = lambda: RowParallelLinear(torch.tensor([[1.0, 2.0]]), torch.tensor([0.5]))
    >>> run_ranks(2, lambda rank: layer()(torch.tensor([10.0])).item())         # 10 · 1 + 10 · 2 + 0.5
    [30.5, 30.5]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.weight = nn.Parameter(weight.tensor_split(dist.get_world_size(), 1)[dist.get_rank()].clone())
        self.bias = nn.Parameter(bias.clone())
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., this rank's share of in). Returns (..., out)."""
        ### BEGIN SOLUTION
        return SumOverRanks.apply(x @ self.weight.T) + self.bias
        ### END SOLUTION


def pipeline_schedule(kind: str, p: int, m: int, v: int = 1) -> list[list[tuple[str, int, int]]]:
    """What each rank of a pipeline does, in order. (Needs no process group.)

    The model is cut into p·v stages; rank r holds stages r, p + r, 2p + r, ...: its chunks 0 .. v - 1. An entry is
    (op, i, c), op "F" (forward) or "B" (backward) of micro-batch i on chunk c. Returns p lists, each F and B once.

    A rank begins an entry when it is done with the one before. F at stage s also waits for F of that micro-batch at
    s - 1; B for B at s + 1, and for F at s. "In flight" are forwards whose backward has not run: their activations are
    kept. With forwards of 1 and backwards of 2 (as they cost), the last entry must end by m·v·3·(1 + `bubble_ratio`),
    and rank r may have in flight, at most:

        "gpipe"        all forwards, then all backwards      m                             v = 1   (arXiv 1811.06965)
        "1f1b"         one forward, one backward             min(m, p - r)                 v = 1   (arXiv 2104.04473)
        "interleaved"  1F1B over the chunks, p micro-        min(m·v, 2·(p - r - 1)        v >= 2, p divides m
                       batches on one, then on the next        + (v - 1)·p + 1)                    (ibid., section 2.2)

    Beyond that the order is yours. Raises ValueError for another kind, for v other than that, and for "interleaved"
    where p does not divide m. p, m >= 1.

    >>> [" ".join(f"{op}{i}" for op, i, c in rank) for rank in pipeline_schedule("1f1b", 2, 3)]
    ['F0 F1 B0 F2 B1 B2', 'F0 B0 F1 B1 F2 B2']
    """
    ### BEGIN SOLUTION
    if kind not in ("gpipe", "1f1b", "interleaved") or v < 1 or (kind == "interleaved") != (v > 1):
        raise ValueError(f"no schedule {kind!r} with {v} chunks a rank")
    if kind == "interleaved" and m % p:
        raise ValueError(f"{m} micro-batches are no multiple of {p} ranks")

    def entry(op: str, k: int) -> tuple[str, int, int]:
        """The k-th forward or backward of a rank: p micro-batches on a chunk, the same p on the next, the next p."""
        turn, rest = divmod(k, p * v)
        chunk, i = divmod(rest, p)
        return op, turn * p + i, chunk if op == "F" else v - 1 - chunk

    total = m * v
    ranks = []
    for r in range(p):
        ahead = {"gpipe": total, "1f1b": p - r - 1, "interleaved": 2 * (p - r - 1) + (v - 1) * p}[kind]
        ahead = min(total, ahead)
        order = [entry("F", k) for k in range(ahead)]
        for k in range(total - ahead):
            order += [entry("F", ahead + k), entry("B", k)]
        order += [entry("B", k) for k in range(total - ahead, total)]
        ranks.append(order)
    return ranks
    ### END SOLUTION


def bubble_ratio(p: int, m: int, v: int = 1) -> float:
    """Idle time over IDEAL time of a flushed pipeline: (p - 1) / (v·m) (arXiv 2104.04473, sections 2.2.1 and 2.2.2).

    It is the same for GPipe and 1F1B, which differ in memory. (The share of the whole time, (p - 1) / (m + p - 1), is
    another number: 4 ranks and 8 micro-batches idle 3/8 of the ideal time, which is 3/11 of the whole.)

    >>> bubble_ratio(4, 8), bubble_ratio(4, 8, 3)
    (0.375, 0.125)
    """
    ### BEGIN SOLUTION
    return (p - 1) / (v * m)
    ### END SOLUTION


def pipeline_step(
    stage: nn.Module,
    order: list[tuple[str, int, int]],
    inputs: list[Tensor],
    targets: list[Tensor],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """Forward and backward of all micro-batches through a pipeline whose stage r is this rank's `stage`.

    order: what this rank does, as of `pipeline_schedule` with v = 1: (op, i, 0). Any valid schedule must work, also
        one in which another rank receives in another order than this one sends (hence the `tag` of a message).
    inputs: the m micro-batches (b_i, ...), each of its own size. Rank 0 alone reads their values; what travels between
        stages has the same shapes and dtype, so the others read those.
    targets: m of them, read on the last rank alone, where loss_fn(output, target) gives a scalar.
    Returns on the last rank the m losses, detached, in the order of the micro-batches; on the others an empty list.

    Afterwards `stage`'s parameters hold, added to what was there, the gradient of the sum of all losses: what one
    process would compute. What micro-batch i keeps for its backward is let go with its B: the schedule decides how
    many are alive, the inputs and outputs of the stage too. What is on its way to a neighbour may be kept until the end
    (an `isend` needs its tensor until it is waited for). Afterwards only the losses and the gradients are left.
    Only activations and their gradients travel: one message per micro-batch and neighbour, each way.

    >>> def work(rank):
    ...     stage = nn.Linear(1, 1, bias=False)
    ...     nn.init.constant_(stage.weight, 2.0 + rank)
    ...     x = [torch.tensor([[1.0]]), torch.tensor([[2.0]])]
    ...     order = [("F", 0, 0), ("F", 1, 0), ("B", 0, 0), ("B", 1, 0)]
    ...     losses = pipeline_step(stage, order, x, x, lambda y, target: (y - target).sum())
    ...     return [loss.item() for loss in losses], stage.weight.grad.item()
    >>> run_ranks(2, work)
    [([], 9.0), ([5.0, 10.0], 6.0)]
    """
    ### BEGIN SOLUTION
    p, r = dist.get_world_size(), dist.get_rank()
    alive: dict[int, tuple[Tensor, Tensor]] = {}
    losses: dict[int, Tensor] = {}
    flights = []
    for op, i, _ in order:
        if op == "F":
            x = inputs[i]
            if r > 0:
                x = torch.empty(x.shape, dtype=x.dtype)
                dist.recv(x, r - 1, tag=i)
                x.requires_grad_()
            y = stage(x)
            if r < p - 1:
                flights.append(dist.isend(y.detach().contiguous(), r + 1, tag=i))
            else:
                y = loss_fn(y, targets[i])
                losses[i] = y.detach()
            alive[i] = x, y
        else:
            x, y = alive.pop(i)
            grad = None
            if r < p - 1:
                grad = torch.empty(y.shape, dtype=y.dtype)
                dist.recv(grad, r + 1, tag=i)
            y.backward(grad)
            if r > 0:
                flights.append(dist.isend(x.grad.contiguous(), r - 1, tag=i))
    for flight in flights:
        flight.wait()
    return [losses[i] for i in sorted(losses)]
    ### END SOLUTION


def ring_attention(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], causal: bool = False) -> Tensor:
    """Attention over a sequence that lies scattered over the ranks (Ring Attention, arXiv 2310.01889). Forward only.

        out[i] = sum over j of softmax_j( q[i] · k[j] / sqrt(d) ) v[j]          j over the tokens of ALL ranks

    q, k: (b, h, t, d). v: (b, h, t, e). This rank's t tokens, any strides; they stand behind those of ranks 0 .. r - 1.
    lengths: t of each rank; they may differ, and be 0.
    causal: token i sees the tokens up to and including itself, counted over the whole sequence.
    Returns (b, h, t, e), in the dtype of v: what attention over the whole sequence gives for this rank's tokens.

    Keys and values go round the ring, block after block (`exchange`, or the other way round): a rank sends at most
    p - 1 blocks of each, in 2·(p - 1) messages, and keeps none that it has passed on. Partial results are joined as in
    online softmax (running maximum, running sum), so nobody ever has b·h·t scores against more than one block. Causal:
    a block that lies wholly in the future of this rank's tokens is passed on, but costs no product. Scores of ±1000
    must not overflow. The work stays in torch: scores and sums are not computed in numpy or in lists.

    Forbidden: torch's `F.scaled_dot_product_attention`, and the collectives: all_reduce, all_gather,
    all_gather_into_tensor, all_gather_object, gather, broadcast, all_to_all, all_to_all_single.

    >>> one = lambda *values: torch.tensor(values).reshape(1, 1, -1, 1)
    >>> run_ranks(2, lambda r: ring_attention(0 * one(1.0), 0 * one(1.0), one(4.0 + 2 * r), [1, 1], causal=True).item())
    [4.0, 5.0]
    """
    ### BEGIN SOLUTION
    p, r = dist.get_world_size(), dist.get_rank()
    place = [range(sum(lengths[:i]), sum(lengths[: i + 1])) for i in range(p)]
    mine = torch.tensor(place[r])[:, None]
    highest = torch.full_like(q[..., :1], -torch.inf)
    weight, out = torch.zeros_like(highest), torch.zeros_like(v)
    for step in range(p):
        owner = (r - step) % p
        if lengths[owner] > 0 and not (causal and owner > r):
            scores = q @ k.mT * q.shape[-1] ** -0.5
            if causal:
                scores = scores.masked_fill(torch.tensor(place[owner]) > mine, -torch.inf)
            before, highest = highest, torch.maximum(highest, scores.amax(-1, keepdim=True))
            scores = (scores - highest).exp()
            shrink = (before - highest).exp()
            weight = weight * shrink + scores.sum(-1, keepdim=True)
            out = out * shrink + scores @ v
        if step < p - 1:
            t = lengths[(owner - 1) % p]
            arrived = k.new_empty(*k.shape[:2], t, k.shape[3]), v.new_empty(*v.shape[:2], t, v.shape[3])
            exchange(k, arrived[0])
            exchange(v, arrived[1])
            k, v = arrived
    return out / weight
    ### END SOLUTION
