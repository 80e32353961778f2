"""dl_014_distributed against what nobody here wrote: the papers' figures, and torch's own DDP, FSDP, ZeRO and tensor
parallelism on real gloo ranks."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from grader.answering.module import solution
from grader.answering.ranks import on_ranks

ID = "dl_014_distributed"


@pytest.fixture(scope="module")
def kata():
    return solution(ID)


def data(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def net(seed, hidden=7):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()


def state(module):
    return [q.detach().clone() for q in module.parameters()]


# --------------------------------------------------------------------------------------------------------- figures


def test_the_table_of_zero(kata):
    """ZeRO, figure 1 and table 1: 7.5 B parameters on 64 GPUs."""
    gigabytes = [kata.zero_memory(7.5e9, 64, stage) / 1e9 for stage in range(4)]
    assert gigabytes == pytest.approx([120, 31.4, 16.6, 1.88], rel=3e-3)


@pytest.mark.parametrize(
    ("parameters", "ranks", "want"),
    [
        (7.5e9, 1, [120, 120, 120]),
        (7.5e9, 4, [52.5, 41.3, 30]),
        (7.5e9, 16, [35.6, 21.6, 7.5]),
        (7.5e9, 256, [30.4, 15.4, 0.47]),
        (128e9, 64, [536, 284, 32]),
        (1e12, 1024, [4011, 2013, 15.6]),
    ],
)
def test_the_other_rows_of_zeros_table(kata, parameters, ranks, want):
    """Table 1: Pos, Pos+g, Pos+g+p, in GB."""
    gigabytes = [kata.zero_memory(parameters, ranks, stage) / 1e9 for stage in (1, 2, 3)]
    assert gigabytes == pytest.approx(want, rel=1.5e-2)


@pytest.mark.parametrize(
    ("gpus", "tp", "cp", "pp", "dp"), [(8192, 8, 1, 16, 64), (16384, 8, 1, 16, 128), (16384, 8, 16, 16, 8)]
)
def test_llama_3_405b(kata, gpus, tp, cp, pp, dp):
    """Table 4 of the paper: the products are the GPUs, and a tensor-parallel group is a host of 8."""
    sizes = {"tensor": tp, "context": cp, "pipe": pp, "data": dp}
    last = {axis: size - 1 for axis, size in sizes.items()}
    assert kata.mesh_coordinates(gpus - 1, sizes) == last
    assert all(group == list(range(8 * i, 8 * i + 8)) for i, group in enumerate(kata.mesh_groups(sizes, "tensor")))


@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 3)])
def test_groups_are_those_of_torchs_mesh(kata, shape):
    """DeviceMesh numbers the other way round: its last dimension varies fastest."""
    names = [f"axis{i}" for i in range(len(shape))]
    sizes = dict(zip(reversed(names), reversed(shape), strict=True))
    grid = torch.arange(torch.Size(shape).numel()).view(shape)
    for i, name in enumerate(names):
        want = grid.movedim(i, -1).reshape(-1, shape[i]).tolist()
        assert kata.mesh_groups(sizes, name) == sorted(want)


def test_bubbles_of_narayanan(kata):
    """Section 2.2: t_pb / t_id = (p - 1) / m, and with v chunks (1 / v) · (p - 1) / m."""
    assert kata.bubble_ratio(4, 8) == 3 / 8
    assert kata.bubble_ratio(4, 8, 2) == 3 / 16


def test_1f1b_is_the_figure_of_narayanan(kata):
    """Figure 4, bottom, first device: 1 2 3 4, then backward and forward in turn; last device: each at once."""
    ranks = [" ".join(f"{op}{i + 1}" for op, i, _ in order) for order in kata.pipeline_schedule("1f1b", 4, 8)]
    assert ranks[0] == "F1 F2 F3 F4 B1 F5 B2 F6 B3 F7 B4 F8 B5 B6 B7 B8"
    assert ranks[3] == "F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7 F8 B8"


# ----------------------------------------------------------------------------------------------------- torch, on ranks


def test_ring_is_torchs_all_reduce(kata):
    def work(rank):
        x = data(13, 7, seed=rank)
        want = x.clone()
        dist.all_reduce(want)
        return kata.ring_all_reduce(x), want

    for got, want in on_ranks(kata, 4, work, seconds=60):
        same(got, want)


@pytest.mark.parametrize("cap", [1, 200, 10**6])
def test_data_parallel_is_torchs(kata, cap):
    """Weights after three steps, two micro-batches each, agree with DistributedDataParallel."""
    from torch.nn.parallel import DistributedDataParallel

    def work(rank):
        results = []
        for wrap in (DistributedDataParallel, lambda module: kata.DataParallel(module, cap)):
            model = wrap(net(seed=rank))
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for step in range(3):
                optimizer.zero_grad()
                with model.no_sync():
                    model(data(4, 5, seed=10 * step + rank)).square().mean().backward()
                model(data(4, 5, seed=100 + 10 * step + rank)).square().mean().backward()
                if isinstance(model, kata.DataParallel):
                    model.finish()
                optimizer.step()
            results.append(state(model.module))
        return results

    for want, got in on_ranks(kata, 3, work, seconds=60):
        same(got, want)


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_is_torchs(kata, stage):
    """Weights after three steps of Adam agree with ZeroRedundancyOptimizer on all-reduced gradients."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    def work(rank):
        ours, theirs = net(seed=0), net(seed=0)
        zero = kata.ZeroOptimizer(ours.parameters(), torch.optim.Adam, stage=stage, lr=0.05)
        reference = ZeroRedundancyOptimizer(theirs.parameters(), torch.optim.Adam, lr=0.05)
        for step in range(3):
            zero.zero_grad()
            reference.zero_grad()
            x = data(4, 5, seed=10 * step + rank)
            ours(x).square().mean().backward()
            theirs(x).square().mean().backward()
            for q in theirs.parameters():
                dist.all_reduce(q.grad)
                q.grad /= dist.get_world_size()
            zero.step()
            reference.step()
        return state(ours), state(theirs)

    for got, want in on_ranks(kata, 3, work, seconds=60):
        same(got, want)


def test_sharded_layer_is_torchs_fsdp(kata):
    """Whole weights after three steps of SGD agree with fully_shard (FSDP2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def work(rank):
        theirs = net(seed=0)
        ours = [kata.FullyShardedLinear(theirs[i].weight.detach(), theirs[i].bias.detach()) for i in (0, 2)]
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for module in (theirs[0], theirs[2], theirs):
            fully_shard(module, mesh=mesh)
        reference = torch.optim.SGD(theirs.parameters(), 0.1)
        optimizer = torch.optim.SGD([layer.shard for layer in ours], 0.1)
        for step in range(3):
            x = data(4, 5, seed=10 * step + rank)
            for stepper in (reference, optimizer):
                stepper.zero_grad()
            theirs(x).square().mean().backward()
            ours[1](torch.tanh(ours[0](x))).square().mean().backward()
            for stepper in (reference, optimizer):
                stepper.step()
        return [t.clone() for layer in ours for t in layer.unshard()], [q.full_tensor() for q in theirs.parameters()]

    for got, want in on_ranks(kata, 2, work, seconds=60):
        same(got, [q.detach() for q in want])


def test_tensor_parallel_is_torchs(kata):
    """Outputs and gradients agree with parallelize_module: colwise, then rowwise."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    def work(rank):
        theirs = net(seed=0, hidden=8)  # torch's wants equal pieces
        up = kata.ColumnParallelLinear(theirs[0].weight.detach(), theirs[0].bias.detach())
        down = kata.RowParallelLinear(theirs[2].weight.detach(), theirs[2].bias.detach())
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        parallelize_module(theirs, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        mine, other = (data(4, 5, seed=1).requires_grad_() for _ in range(2))
        want, got = theirs(other), down(torch.tanh(up(mine)))
        want.square().sum().backward()
        got.square().sum().backward()
        pieces = [q.grad for q in (up.weight, up.bias, down.weight, down.bias)]
        local = [q.grad.to_local() for q in theirs.parameters()]
        return [got.detach(), mine.grad, *pieces], [want.wait().detach(), other.grad, *local]

    for got, want in on_ranks(kata, 2, work, seconds=60):
        same(got, want)


@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_pipeline_is_torchs(kata, kind):
    """Losses and gradients of three stages agree with torch.distributed.pipelining."""
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

    def stage(rank):
        torch.manual_seed(rank)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5)).double()

    def loss_fn(y, target):
        return (y - target).square().sum()

    def work(rank):
        x, target, ours, theirs = data(8, 5, seed=1), data(8, 5, seed=2), stage(rank), stage(rank)
        order = kata.pipeline_schedule(kind, 3, 4)[rank]
        losses = kata.pipeline_step(ours, order, list(x.chunk(4)), list(target.chunk(4)), loss_fn)
        piece = PipelineStage(theirs, rank, 3, torch.device("cpu"))
        build = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[kind]
        schedule, wanted = build(piece, 4, loss_fn=loss_fn, scale_grads=False), []
        feed = (x,) if rank == 0 else ()
        schedule.step(*feed, target=target, losses=wanted) if rank == 2 else schedule.step(*feed)
        grads = [[q.grad.clone() for q in module.parameters()] for module in (ours, theirs)]
        return grads, [losses, [loss.detach() for loss in wanted]]

    for grads, losses in on_ranks(kata, 3, work, seconds=60):
        same(*grads)
        same(*losses)


@pytest.mark.parametrize("causal", [False, True])
def test_ring_attention_is_torchs(kata, causal):
    lengths = [5, 3, 7]
    q, k, v = (data(2, 4, sum(lengths), 8, seed=i) for i in range(3))
    want = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def work(rank):
        return kata.ring_attention(*(x.split(lengths, 2)[rank] for x in (q, k, v)), lengths, causal)

    same(torch.cat(on_ranks(kata, 3, work, seconds=60), 2), want)
