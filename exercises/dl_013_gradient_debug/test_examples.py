"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import gradient_debug as kata
import pytest
import torch
from torch import nn
from torch.nn import functional as F


def with_gradients(*gradients):
    parameters = [torch.zeros(len(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


def linear(weight):
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def test_global_grad_norm():
    parameters = [*with_gradients([2.0, 1.0], [2.0]), torch.zeros(5)]  # the last one has no gradient
    assert kata.global_grad_norm(parameters).item() == pytest.approx(3.0)  # sqrt(4 + 1 + 4)


def test_clip_by_norm():
    parameters = with_gradients([3.0], [4.0])
    assert kata.clip_by_norm(iter(parameters), 1.0).item() == pytest.approx(5.0)
    assert [p.grad.item() for p in parameters] == pytest.approx([0.6, 0.8], abs=1e-6)


def test_clip_by_norm_leaves_a_small_gradient():
    [parameter] = with_gradients([3.0, 4.0])
    assert kata.clip_by_norm([parameter], 10.0).item() == pytest.approx(5.0)
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_clip_by_value():
    [parameter] = with_gradients([3.0, -4.0, 0.5])
    assert kata.clip_by_value([parameter], 1.0) == 2
    assert parameter.grad.tolist() == [1.0, -1.0, 0.5]


def test_accumulate_gradients():
    model = linear([[1.0, 0.0], [0.0, 2.0]])
    long = (torch.tensor([[[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]]]), torch.tensor([[0, 1, 1]]))
    short = (torch.tensor([[[2.0, 2.0]]]), torch.tensor([[1]]))
    loss = kata.accumulate_gradients(model, [long, short])
    got = model.weight.grad.clone()

    model.zero_grad()
    inputs, targets = torch.cat([long[0], short[0]], dim=1)[0], torch.cat([long[1], short[1]], dim=1)[0]
    at_once = F.cross_entropy(model(inputs), targets)  # all four tokens in one batch
    at_once.backward()
    assert loss.item() == pytest.approx(at_once.item())
    assert torch.allclose(got, model.weight.grad)


def test_gradient_monitor():
    model = linear([[1.0, 1.0]])
    with kata.GradientMonitor(model) as monitor:
        model(torch.tensor([3.0, -4.0])).backward()
    model.zero_grad()
    want = {"norm": 5.0, "max": 3.0, "min": -4.0, "mean": -0.5, "nan": 0, "inf": 0}
    assert monitor.stats == {"weight": pytest.approx(want)}


def test_activation_report():
    x = torch.tensor([[1.0, -2.0, -1.0, 3.0], [2.0, -1.0, 1.0, 1.0]])  # unit 1 is off for both examples
    report = kata.activation_report(nn.Sequential(nn.ReLU()), x)
    assert report == {"0": {"saturated": pytest.approx(3 / 8), "dead": pytest.approx(1 / 4)}}


def test_update_ratio():
    model = linear([[3.0, 4.0]])
    model.weight.grad = torch.tensor([[0.0, 1.0]])
    ratios = kata.update_ratio(model, torch.optim.SGD(model.parameters(), lr=0.5))
    assert ratios == {"weight": pytest.approx(0.5 / 5)}
    assert model.weight.tolist() == [[3.0, 3.5]]


def test_diagnose():
    fine, nan = {"norm": 1.0, "nan": 0, "inf": 0}, {"norm": 500.0, "nan": 1, "inf": 0}
    assert kata.diagnose({"a": fine, "b": fine})["symptom"] == "healthy"
    finding = kata.diagnose({"a": fine, "b": nan})  # exploding too, but NaN comes first
    assert (finding["symptom"], finding["layers"]) == ("non-finite", ["b"])


def test_gradient_flow():
    x, weights = torch.tensor([[1.0]]), torch.tensor([[[0.5]], [[-2.0]]])
    assert kata.gradient_flow(x, weights, "linear").tolist() == pytest.approx([1.0, 2.0, 1.0])
    # h1 = 1 + 0.5, h2 = h1 - 2·h1: the factors are 1.5 and -1
    assert kata.gradient_flow(x, weights, "linear", residual=True).tolist() == pytest.approx([1.5, 1.0, 1.0])
    # the second ReLU gets -1 and is off
    assert kata.gradient_flow(x, weights, "relu").tolist() == pytest.approx([0.0, 0.0, 1.0])


def test_fit():
    model = linear([[1.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    batch = (torch.tensor([[1.0]]), torch.tensor([[0.0]]))
    # loss w², gradient 2w: each step halves w. With gradients that pile up the fourth loss would be 0.77.
    assert kata.fit(model, optimizer, [batch] * 4) == pytest.approx([1.0, 0.25, 0.0625, 0.015625])


def test_classification_loss():
    loss = kata.classification_loss(torch.tensor([[100.0, 0.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)  # sure and right


def test_fit_scheduled():
    model = linear([[1.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1**step)
    batches = [(torch.tensor([[1.0]]), torch.tensor([[0.0]]))] * 3
    assert kata.fit_scheduled(model, optimizer, scheduler, batches) == pytest.approx([1.0, 0.1, 0.01])
