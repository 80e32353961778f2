"""dl_002's solution against torch's sampler, collate function, optimizers, schedules and checkpoint_sequential."""

import copy
from itertools import chain

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint_sequential
from torch.utils.data import DataLoader, DistributedSampler, default_collate

from grader.answering.cost import Meter
from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_002_pytorch_training_loop")


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Dropout(0.3), nn.Tanh(), nn.Linear(7, 3)).double()


def batches_of(*sizes):
    return [(drawn(n, 5, seed=i), torch.arange(n) % 3) for i, n in enumerate(sizes)]


@pytest.mark.parametrize(("n", "world"), [(7, 3), (12, 4), (11, 2), (2, 5), (1, 3), (3, 7), (29, 6)])
def test_ranks_share_as_torchs_sampler_shares(kata, n, world):
    """As many on each rank, as many in all, and each example as often as in torch's own padding."""

    def times(each):
        assert len({len(share) for share in each}) == 1
        return sorted(sum(share.count(i) for share in each) for i in range(n))

    theirs = [list(DistributedSampler(range(n), world, rank, shuffle=False)) for rank in range(world)]
    ours = [list(chain(*kata.epoch_batches(n, 2, 0, 0, rank, world))) for rank in range(world)]
    assert times(ours) == times(theirs)
    assert sum(map(len, ours)) == sum(map(len, theirs))


def test_seven_examples_on_three_ranks_are_nine():
    assert sum(len(DistributedSampler(range(7), 3, rank)) for rank in range(3)) == 9


def test_without_set_epoch_every_epoch_has_the_same_order(kata):
    sampler = DistributedSampler(range(31), 1, 0, seed=3)
    assert list(sampler) == list(sampler)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert kata.epoch_batches(31, 31, 0, 3) != kata.epoch_batches(31, 31, 1, 3)


def test_batches_feed_a_data_loader(kata):
    """A list of lists of numbers is what DataLoader calls a batch_sampler, and collate is its collate_fn."""
    examples = [(torch.arange(i % 4 + 1), i % 3) for i in range(11)]
    loader = DataLoader(examples, batch_sampler=kata.epoch_batches(11, 4, 0, 0), collate_fn=kata.collate)
    found = list(loader)
    assert [len(batch["y"]) for batch in found] == [4, 4, 3]
    assert sum(int(batch["mask"].sum()) for batch in found) == sum(len(x) for x, _ in examples)


def test_torchs_default_collate_makes_float64_of_floats(kata):
    x = torch.zeros(2)
    assert default_collate([(x, 0.5), (x, 1.0)])[1].dtype == torch.float64
    assert kata.collate([(x, 0.5), (x, 1.0)])["y"].dtype == torch.float32


def test_collate_is_pad_sequence(kata):
    xs = [drawn(t, 3, seed=t) for t in (4, 1, 6)]
    want = nn.utils.rnn.pad_sequence(xs, batch_first=True, padding_value=-2.0)
    torch.testing.assert_close(kata.collate([(x, 0) for x in xs], pad=-2.0)["x"], want)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_accumulated_steps_are_steps_on_whole_batches(kata, make, max_norm):
    """With torch's optimizers and schedule, on a model without batch norm or dropout."""
    ours = nn.Linear(5, 3, dtype=torch.float64)
    theirs = copy.deepcopy(ours)
    batches = batches_of(4, 1, 6, 2, 3)
    for model, cut in ((ours, False), (theirs, True)):
        optimizer = make(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        if not cut:
            kata.train_epoch(model, optimizer, schedule, batches, 2, max_norm)
            assert schedule.get_last_lr() == [0.1 * 0.5**3]
            continue
        for window in (batches[:2], batches[2:4], batches[4:]):
            optimizer.zero_grad()
            x, y = (torch.cat(column) for column in zip(*window, strict=True))
            F.cross_entropy(model(x), y).backward()
            if max_norm:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            schedule.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_evaluation_is_the_mean_over_all_at_once(kata):
    model, batches = network(), batches_of(4, 7, 1)
    x, y = (torch.cat(column) for column in zip(*batches, strict=True))
    got = kata.evaluate(model, batches)
    model.eval()
    assert got["loss"] == pytest.approx(F.cross_entropy(model(x), y).item())
    assert got["accuracy"] == pytest.approx((model(x).argmax(1) == y).double().mean().item())


def test_groups_are_what_torchs_adamw_takes(kata):
    """AdamW with these groups decays the matrix alone: where gradients are 0, the decay is all that moves."""
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(kata.parameter_groups(model, 0.5), lr=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {name: torch.allclose(p, before[name]) for name, p in model.named_parameters()}
    assert not moved["0.weight"]
    torch.testing.assert_close(model[0].weight.detach(), before["0.weight"] * 0.95)
    assert moved["0.bias"]
    assert moved["1.bias"]
    torch.testing.assert_close(model[1].weight.detach(), before["1.weight"])


def test_a_gain_of_a_tenth_that_is_none():
    assert not 0.9 - 0.8 > 0.1
    assert 0.9 - 0.8 == 0.09999999999999998


def test_patience_is_one_less_than_in_torchs_plateau(kata):
    """ReduceLROnPlateau acts on the value after `patience` bad ones; EarlyStopping on the last of them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, threshold=0.0)
    stopping, rates, stops = kata.EarlyStopping(2), [], []
    for value in (1.0, 1.0, 1.0, 1.0):
        plateau.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
        stops.append(stopping.step(value))
    assert stops == [False, False, True, True]
    assert [rate < 1.0 for rate in rates] == [False, False, False, True]


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_fit_resumes_with_torchs_own_objects(kata, tmp_path, make):
    """Cut after two epochs, and once uncut: the same weights bit for bit, with dropout and batch norm."""
    epochs = [batches_of(4, 7, 3), batches_of(5, 2), batches_of(6, 3, 2), batches_of(4, 4)]

    def run(path, limit, model):
        optimizer = make(model.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
        stopping = kata.EarlyStopping(100)
        return kata.fit(
            model, optimizer, schedule, epochs.__getitem__, batches_of(9), limit, stopping, 2, 0.5, path, every=2
        )

    torch.manual_seed(3)
    whole = network()
    torch.manual_seed(4)
    want = run(None, 4, whole)
    torch.manual_seed(3)
    half = network()
    torch.manual_seed(4)
    path = str(tmp_path / "last.pt")
    run(path, 2, half)
    rest = network(99)
    torch.manual_seed(77)
    got = run(path, 4, rest)
    assert got == want
    for name, value in whole.state_dict().items():
        assert torch.equal(rest.state_dict()[name], value), name


def blocks_of(count, width=16):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.2)).double() for _ in range(count)]


@pytest.mark.parametrize(("count", "segments"), [(4, 2), (7, 3), (9, 4)])
def test_segments_are_checkpoint_sequential(kata, count, segments):
    """Values, gradients and dropout masks are those of torch's own function."""
    found = []
    for run in (
        lambda blocks, x: kata.checkpoint_segments(blocks, x, segments),
        lambda blocks, x: checkpoint_sequential(nn.Sequential(*blocks), segments, x, use_reentrant=False),
    ):
        blocks, x = blocks_of(count), drawn(5, 16, seed=1).requires_grad_()
        torch.manual_seed(5)
        out = run(blocks, x)
        out.square().sum().backward()
        found.append([out.detach(), x.grad, *(p.grad for block in blocks for p in block.parameters())])
    torch.testing.assert_close(*found)


def measured(run, count, rows=256, width=16):
    blocks = [nn.Sequential(nn.Linear(width, width), nn.Tanh()).double() for _ in range(count)]
    x = drawn(rows, width).requires_grad_()
    with Meter() as meter:
        run(blocks, x).sum().backward()
    return meter.cost


def test_recomputation_is_one_forward_more_and_memory_falls_to_the_root(kata):
    """64 blocks in 8 segments: operations of 4 forward passes, not 3, and under a third of the memory (Chen 2016)."""
    plain = measured(lambda blocks, x: nn.Sequential(*blocks)(x), 64)
    ours = measured(lambda blocks, x: kata.checkpoint_segments(blocks, x, 8), 64)
    theirs = measured(lambda blocks, x: checkpoint_sequential(nn.Sequential(*blocks), 8, x, use_reentrant=False), 64)
    forward = 64 * 2 * 256 * 16 * 16
    assert plain.flops == 3 * forward
    assert 3 * forward < theirs.flops <= ours.flops == 4 * forward
    assert ours.peak < plain.peak / 3
    four = measured(lambda blocks, x: kata.checkpoint_segments(blocks, x, 16), 256)
    assert four.peak < 2.5 * ours.peak  # four times as deep, twice as much


def test_a_memoriser_is_found_out_by_splitting_groups(kata):
    """The statement's figure: labels are coin flips, and a nearest neighbour gets 99 % where groups are split."""
    scores = {"scan": [], "patient": []}
    for seed in range(50):
        g = torch.Generator().manual_seed(seed)
        patients, labels = torch.randn(60, 16, generator=g), torch.randint(0, 2, (60,), generator=g)
        x = patients.repeat_interleave(8, 0) + 0.5 * torch.randn(480, 16, generator=g)
        y = labels.repeat_interleave(8)
        for how, groups in (("scan", list(range(480))), ("patient", [i // 8 for i in range(480)])):
            train, test = kata.group_split(groups, [0.75, 0.25], seed)
            nearest = torch.cdist(x[test], x[train]).argmin(dim=1)
            scores[how].append((y[train][nearest] == y[test]).double().mean().item())
    assert sum(scores["scan"]) / 50 == pytest.approx(0.993, abs=0.002)
    assert sum(scores["patient"]) / 50 == pytest.approx(0.494, abs=0.01)
