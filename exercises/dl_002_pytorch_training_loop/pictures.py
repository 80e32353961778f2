"""What `pytorch_training_loop.py` makes, as pictures: run beside it, on its own inputs. `grader picture dl_002`."""

import math
import tempfile

import torch
from torch import nn


def split_of_each_scan(module):
    """In which split the scans of ten patients end."""
    counts = [4, 2, 3, 5, 1, 4, 3, 2, 5, 3]
    groups = [f"patient {i}" for i, count in enumerate(counts) for _ in range(count)]
    splits = module.group_split(groups, [0.6, 0.2, 0.2], seed=3)
    name = {i: word for word, split in zip(("train", "valid", "test"), splits, strict=True) for i in split}
    cells, first = [], 0
    for count in counts:
        cells.append([name[first + k] if k < count else "" for k in range(max(counts))])
        first += count
    return {"cells": cells, "rows": [f"patient {i}" for i in range(len(counts))]}


def examples_of_each_rank(module):
    """The examples that three ranks see in two epochs: 10 of them, in batches of 2."""
    cells, rows = [], []
    for epoch in (0, 1):
        for rank in range(3):
            batches = module.epoch_batches(10, 2, epoch, seed=0, rank=rank, world=3)
            cells.append([str(example) for batch in batches for example in batch])
            rows.append(f"e{epoch}, rank {rank}")
    return {"cells": cells, "rows": rows, "columns": ["b0", "b0", "b1", "b1"]}


def loss_around_a_bad_batch(module):
    """The loss of each of 50 batches, one step each. The 15th has inputs a hundred times too large."""
    generator = torch.Generator().manual_seed(0)
    truth, batches = torch.tensor([[2.0, -1.0], [-2.0, 1.0]]), []
    for step in range(50):
        x = torch.randn(32, 2, generator=generator)
        y = (x @ truth + torch.randn(32, 2, generator=generator)).argmax(1)
        batches.append((-100 * x if step == 15 else x, y))
    series = {}
    for name, max_norm in (("as they come", None), ("clipped to norm 1", 1.0)):
        model = nn.Linear(2, 2)
        with torch.no_grad():
            model.weight.zero_(), model.bias.zero_()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        series[name] = [module.train_epoch(model, optimizer, None, [batch], max_norm=max_norm) for batch in batches]
    return {"x": list(range(50)), "series": series}


def when_it_stops(module):
    """A loss that falls, wavers and grows, and the best of it that counts, up to the step that says stop."""
    noise = torch.randn(40, generator=torch.Generator().manual_seed(5)).tolist()
    losses = [0.4 + math.exp(-t / 4) + 0.012 * max(0, t - 14) + 0.02 * e for t, e in enumerate(noise)]
    stopping, best = module.EarlyStopping(patience=6, min_delta=0.01), []
    for loss in losses:
        stop = stopping.step(loss)
        best.append(stopping.best)
        if stop:
            break
    return {"x": list(range(40)), "series": {"loss": losses, "best": best + [None] * (40 - len(best))}}


def run_that_was_cut(module):
    """The validation loss of a run with momentum: not cut; cut after 10 epochs and resumed; from the weights alone."""
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = (x, (x[:, 0] - 0.5 * x[:, 1] > 0).long())

    def new():
        model = nn.Linear(3, 2, dtype=torch.float64)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[-1.0, 1.0, 0.5], [1.0, -1.0, 0.0]])), model.bias.zero_()
        return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.95)

    def losses(model, optimizer, epochs, path=None):
        stopping = module.EarlyStopping(patience=100)
        told = module.fit(model, optimizer, None, lambda epoch: [batch], [batch], epochs, stopping, path=path)
        return [one["loss"] for one in told["history"]]

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/last.pt"
        whole = losses(*new(), 30)
        losses(*new(), 10, path)
        model, optimizer = new()
        module.load_checkpoint(path, model, optimizer, None)
        alone = losses(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.95), 20)
        resumed = losses(*new(), 30, path)
    series = {"not cut": whole, "resumed": [None] * 10 + resumed[10:], "weights alone": [None] * 10 + alone}
    return {"x": list(range(30)), "series": series}


class _Logged(torch.autograd.Function):
    """The identity, which writes down when a gradient comes back through it."""

    @staticmethod
    def forward(ctx, x, number, log):
        ctx.number, ctx.log = number, log
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        ctx.log.append((ctx.number, "B"))
        return upstream, None, None


class _Block(nn.Module):
    """A block that writes down when it runs: F the first time, R when it is computed again."""

    def __init__(self, number, log):
        super().__init__()
        self.number, self.log = number, log

    def forward(self, x):
        self.log.append((self.number, "R" if (self.number, "F") in self.log else "F"))
        return _Logged.apply(x, self.number, self.log)


def passes_through_blocks(module):
    """When each of 9 blocks, in 3 segments, runs forward, once more, and backward."""
    log = []
    x = torch.ones(1, requires_grad=True)
    module.checkpoint_segments([_Block(i, log) for i in range(9)], x, 3).sum().backward()
    spans = [[block, time, 1, what] for time, (block, what) in enumerate(log)]
    return {"lanes": [f"block {i}" for i in range(9)], "spans": spans}
