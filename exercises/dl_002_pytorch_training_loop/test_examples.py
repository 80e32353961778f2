"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import math

import pytest
import pytorch_training_loop as kata
import torch
from torch import nn


class Descent:
    """p -= p.grad, with all that a loop asks of an optimizer."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters), "lr": 1.0}]

    def zero_grad(self):
        for p in self.param_groups[0]["params"]:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


def zero_model():
    """Logits of two classes, 0 at first whatever x is."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    return model


def test_group_split():
    splits = kata.group_split(["ann", "bob", "ann", "cy"], [0.75, 0.25], seed=0)
    assert sorted(splits[0] + splits[1]) == [0, 1, 2, 3]
    assert any({0, 2} <= set(split) for split in splits)  # ann's examples stay together


def test_epoch_batches():
    batches = kata.epoch_batches(7, 3, epoch=0, seed=0)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    ranks = [kata.epoch_batches(7, 3, epoch=0, seed=0, rank=rank, world=3) for rank in range(3)]
    assert [len(batch) for batches in ranks for batch in batches] == [3, 3, 3]  # 9 places for 7 examples


def test_collate():
    batch = kata.collate([(torch.tensor([5, 6, 7]), 1), (torch.tensor([8]), 0)], pad=-1, multiple=2)
    assert batch["x"].tolist() == [[5, 6, 7, -1], [8, -1, -1, -1]]
    assert batch["mask"].tolist() == [[True, True, True, False], [True, False, False, False]]
    assert batch["y"].tolist() == [1, 0]


def test_evaluate():
    easy, hard = math.log(math.e - 1), math.log(math.e**5 - 1)  # logits (0, z) at class 0 have loss log(1 + e^z)
    three, one = torch.tensor([[0.0, easy]] * 3), torch.tensor([[0.0, hard]])
    batches = [(three, torch.tensor([0, 0, 0])), (one, torch.tensor([0]))]
    result = kata.evaluate(nn.Identity(), batches)
    assert result["loss"] == pytest.approx(2.0)  # (1 + 1 + 1 + 5) / 4, not (1 + 5) / 2
    assert result["accuracy"] == 0.0


def test_train_epoch():
    model, ones = zero_model(), torch.ones(3, 1)
    batches = [(ones, torch.tensor([0, 0, 0])), (ones[:1], torch.tensor([1]))]
    loss = kata.train_epoch(model, Descent(model.parameters()), None, batches, accumulate=2)
    assert loss == pytest.approx(math.log(2))
    assert model.weight.flatten().tolist() == pytest.approx([0.25, -0.25])  # (3 · 1/2 - 1 · 1/2) / 4


def test_parameter_groups():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    decays, rest = kata.parameter_groups(model, 0.1)
    assert (decays["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert decays["params"][0] is model[0].weight
    assert [tuple(p.shape) for p in rest["params"]] == [(2,), (2,), (2,)]


def test_early_stopping():
    stopping = kata.EarlyStopping(patience=2, min_delta=0.1)
    assert [stopping.step(value) for value in (0.9, 0.8, 0.79, 0.78, 0.77)] == [False, False, False, False, True]
    assert (stopping.best, stopping.best_step) == (0.79, 2)


def test_save_checkpoint(tmp_path):
    path = str(tmp_path / "last.pt")
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    kata.save_checkpoint(path, model, Descent(model.parameters()), None, {"batch": 3})
    drawn = torch.rand(3)
    assert kata.load_checkpoint(path, other, Descent(other.parameters()), None) == {"batch": 3}
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(torch.rand(3), drawn)  # the random numbers go on where they were when it was saved


def test_fit():
    model, x = zero_model(), torch.ones(1, 1)
    right, wrong = [(x, torch.tensor([0]))], [(x, torch.tensor([1]))]
    stopping = kata.EarlyStopping(patience=2)
    told = kata.fit(
        model, Descent(model.parameters()), None, lambda epoch: wrong if epoch else right, right, 10, stopping
    )
    assert (told["best_epoch"], told["steps"]) == (0, 3)  # epochs 1 and 2 were no improvement
    assert model.weight.flatten().tolist() == pytest.approx([0.5, -0.5])  # the weights after epoch 0


def test_checkpoint_segments():
    blocks = [nn.Linear(3, 3), nn.Dropout(), nn.Tanh(), nn.Linear(3, 3), nn.Dropout()]
    x, gradients = torch.ones(2, 3), []
    for run in (lambda: nn.Sequential(*blocks)(x), lambda: kata.checkpoint_segments(blocks, x, 2)):
        torch.manual_seed(0)
        run().sum().backward()
        gradients.append(blocks[0].weight.grad)
        blocks[0].weight.grad = None
    torch.testing.assert_close(*gradients)
