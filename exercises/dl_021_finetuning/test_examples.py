"""A few examples, worked by hand: run them with `pytest exercises/dl_021_finetuning/test_examples.py`."""

import math

import pytest
import torch
from finetuning import (
    Adapter,
    LoRALinear,
    Reservoir,
    SoftPrompt,
    fisher_diagonal,
    fisher_penalty,
    freeze,
    layer_rates,
    prefix_attention,
    pretraining_batch,
    project_conflicts,
    sentence_pairs,
    slanted_triangle,
    span_corruption,
    task_mixture,
    tuning_cost,
    uncertainty_loss,
    unfreezing_schedule,
)
from torch import nn

IDS = {"vocab_size": 50, "mask_id": 4, "pad_id": 0, "special": [1, 2]}


def generator():
    return torch.Generator().manual_seed(0)


def test_causal_labels_are_the_next_tokens():
    inputs, labels = pretraining_batch(torch.tensor([[1, 7, 9, 2, 0]]), "causal", generator=generator(), **IDS)
    assert inputs.tolist() == [[1, 7, 9, 2]]
    assert labels.tolist() == [[7, 9, 2, -100]]


def test_special_tokens_are_never_masked():
    tokens = torch.tensor([[1, 7, 9, 2, 0]])
    inputs, labels = pretraining_batch(tokens, "masked", share=1.0, generator=generator(), **IDS)
    assert labels.tolist() == [[-100, 7, 9, -100, -100]]
    assert inputs[0, [0, 3, 4]].tolist() == [1, 2, 0]


def test_second_sentence_follows_or_is_of_another_document():
    [(first, second, follows)] = sentence_pairs([[[5], [6]], [[9]]], generator())
    assert first == [5]
    assert second == ([6] if follows else [9])


def test_one_span_of_two_tokens():
    inputs, targets = span_corruption(torch.tensor([5, 6]), 99, generator=generator())
    assert inputs.tolist() == [5, 99]
    assert targets.tolist() == [99, 6, 98]


def test_head_alone_is_trained():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).train()
    assert [tuple(p.shape) for p in freeze(model, ["2"])] == [(1, 3), (1,)]
    assert not model[0].weight.requires_grad
    assert [module.training for module in model] == [False, False, True]


def test_last_layer_wakes_up_first():
    assert unfreezing_schedule(["body", "head"], 3) == [["head"], ["body", "head"], ["body", "head"]]


def test_rates_fall_towards_the_input():
    assert layer_rates(8.0, 3, factor=2.0) == [2.0, 4.0, 8.0]


def test_triangle_peaks_at_a_tenth():
    assert slanted_triangle(10, 100, 1.0) == pytest.approx(1.0)
    assert slanted_triangle(100, 100, 1.0) == pytest.approx(1 / 32)


def test_lora_adds_a_product():
    base = nn.Linear(2, 2, bias=False)
    nn.init.eye_(base.weight)
    layer = LoRALinear(base, rank=1, alpha=3.0, generator=generator())
    x = torch.tensor([[1.0, 2.0]])
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.A.copy_(torch.tensor([[1.0, 1.0]]))
        layer.B.copy_(torch.tensor([[0.0], [1.0]]))
    assert layer(x).tolist() == [[1.0, 11.0]]  # 2 + 3 · (1 + 2)
    layer.merge()
    assert base.weight.tolist() == [[1.0, 0.0], [3.0, 4.0]]


def test_adapter_begins_as_its_layer():
    adapter = Adapter(nn.Identity(), width=4, bottleneck=2, generator=generator())
    assert adapter(torch.ones(1, 4)).tolist() == [[1.0] * 4]


def test_prefix_has_its_share():
    zeros = torch.zeros(1, 1, 2, 4)
    _, weight = prefix_attention(zeros, zeros, zeros, torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))
    assert weight.flatten().tolist() == pytest.approx([3 / 4, 3 / 5])


def test_prompt_has_no_labels():
    prompt = SoftPrompt(torch.ones(10, 4), 2, generator=generator())
    x, labels = prompt(torch.zeros(1, 3, 4), torch.tensor([[7, 8, 9]]))
    assert x[0, :, 0].tolist() == [1, 1, 0, 0, 0]
    assert labels.tolist() == [[-100, -100, 7, 8, 9]]


def test_fisher_of_two_equal_classes():
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    fisher = fisher_diagonal(model, torch.tensor([[1.0], [3.0]]))
    assert fisher["weight"].flatten().tolist() == pytest.approx([1.25, 1.25])  # mean of 1 and 9, times 1/4


def test_penalty_of_one_weight():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 5.0)
    anchor, fisher = {"weight": torch.tensor([[3.0]])}, {"weight": torch.tensor([[10.0]])}
    assert fisher_penalty(model, anchor, 2.0, fisher).item() == pytest.approx(40.0)  # 2/2 · 10 · 2²


def test_reservoir_holds_its_capacity():
    memory = Reservoir(2, generator())
    for item in "abcde":
        memory.add(item)
    assert len(set(memory.items)) == 2
    assert memory.seen == 5


def test_temperature_flattens():
    assert task_mixture([100, 900], temperature=2.0) == pytest.approx([0.25, 0.75])


def test_uncertainty_has_its_price():
    loss = uncertainty_loss(torch.tensor([3.0, 8.0]), torch.tensor([0.0, math.log(4)]))
    assert loss.item() == pytest.approx((3 + 2 + math.log(4)) / 2)


def test_conflict_is_taken_out():
    gradients = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])
    assert project_conflicts(gradients, generator()).tolist() == pytest.approx([1.0, 2.0])


def test_lora_on_gpt_3():
    assert tuning_cost("lora", 96, 12288, 1)["parameters"] == 4_718_592
