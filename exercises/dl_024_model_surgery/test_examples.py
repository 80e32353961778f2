"""Numbers that can be worked out by hand. `pytest test_examples.py` runs them; they check nothing that is hidden."""

import math

import model_surgery
import torch
from torch import nn


def test_of_six_weights_two_go():
    weights = {"a": torch.tensor([0.1, -0.4, 0.5]), "b": torch.tensor([3.0, -2.0, 1.0])}
    together = model_surgery.magnitude_mask(weights, 0.4)
    each = model_surgery.magnitude_mask(weights, 0.4, "layer")
    assert {name: mask.tolist() for name, mask in together.items()} == {"a": [False, False, True], "b": [True] * 3}
    assert {name: mask.tolist() for name, mask in each.items()} == {"a": [False, True, True], "b": [True, True, False]}


def test_two_of_four_stay():
    row = torch.tensor([[1.0, -3.0, 2.0, 0.0, 5.0, 6.0, -7.0, 8.0]])
    assert model_surgery.n_of_m_mask(row).int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]


def test_a_smaller_network():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    small = model_surgery.prune_channels(model, 0, torch.tensor([1, 6]))
    assert small[0].weight.shape == (2, 3, 3, 3)
    assert small[4].weight.shape == (10, 32)


def test_a_ticket_begins_again():
    trained, start = torch.tensor([1.0, 2.0, 3.0, 4.0]), {"w": torch.tensor([5.0, -6.0, 7.0, 8.0])}
    weights, _ = model_surgery.lottery_ticket(start, lambda weights, masks: {"w": trained * masks["w"]}, 2, {"w": 0.5})
    assert weights["w"].abs().tolist() == [0, 0, 0, 8]


def test_one_goes_one_comes():
    weight, mask = torch.tensor([3.0, 0.1, 0.0, 0.0]), torch.tensor([True, True, False, False])
    new_weight, new_mask = model_surgery.regrow(weight, mask, torch.tensor([9.0, 1.0, 5.0, -7.0]), 1)
    assert new_weight.tolist() == [3, 0, 0, 0]
    assert new_mask.tolist() == [True, False, False, True]


def test_three_quarters_against_a_half():
    student = {"logits": torch.zeros(1, 2), "features": torch.tensor([[[[3.0, 4.0]]]])}
    teacher = {"logits": torch.tensor([[math.log(3), 0.0]]), "features": torch.tensor([[[[4.0, 3.0]]]])}
    losses = model_surgery.knowledge_losses(student, teacher, torch.tensor([[2.0]]), 1.0)
    assert {name: round(x.item(), 4) for name, x in losses.items()} == {
        "response": 0.1308,
        "hint": 14.5,
        "attention": 0.1454,
    }


def test_two_views_of_one_image():
    student = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]]])
    teacher, center = torch.tensor([[[math.log(4), math.log(2)]]]), torch.tensor([math.log(2), 0.0])
    got = model_surgery.self_distillation(student, teacher, center, 1.0, 1.0, 0.9)
    assert round(got["loss"].item(), 3) == 0.837


def test_tied_is_counted_once():
    embedding, head = nn.Embedding(7, 3), nn.Linear(3, 7)
    model_surgery.tie_embeddings(embedding, head)
    assert sum(p.numel() for p in nn.ModuleList([embedding, head]).parameters()) == 7 * 3 + 7


def test_a_copied_unit_gives_half():
    given = torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 4.0]), torch.tensor([[10.0, 20.0]])
    *_, following = model_surgery.widen(*given, torch.tensor([0, 1, 1]))
    assert following.tolist() == [[10, 10, 10]]


def test_sizes():
    assert [model_surgery.size_at(step, 6, 128, 224, 32) for step in range(7)] == [128, 128, 160, 160, 192, 192, 224]


def test_ties():
    tuned = [{"w": torch.tensor(w)} for w in ([4.0, 1.0, -3.0], [2.0, -5.0, 0.5], [-1.0, -4.0, 3.5])]
    merged = model_surgery.ties({"w": torch.zeros(3)}, tuned, keep=2 / 3, scale=1.0)
    assert merged["w"].tolist() == [3, -4.5, 3.5]
