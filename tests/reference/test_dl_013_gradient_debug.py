"""dl_013's solution against torch's own clipping, torch's initialisers, one large batch, and figures of the papers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_013_gradient_debug")


def twins(*gradients):
    """Two lists of parameters with the same gradients."""
    made = []
    for _ in range(2):
        made.append([nn.Parameter(torch.zeros_like(g)) for g in gradients])
        for parameter, gradient in zip(made[-1], gradients, strict=True):
            parameter.grad = gradient.clone()
    return made


def random_gradients(seed, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator, dtype=dtype) for shape in ((7, 3), (5,), (2, 3, 11), ())]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("max_norm", [0.0, 1e-7, 0.5, 3.0, 1e6, math.inf])
@pytest.mark.parametrize("small", [False, True])
def test_clip_by_norm_is_torchs(kata, dtype, max_norm, small):
    scale = (1e-6 if dtype.itemsize >= 4 else 1e-2) if small else 1.0
    ours, theirs = twins(*random_gradients(0, dtype, scale))
    # in half precision torch keeps the norm, and with it the scale, in half precision
    tolerance = {"rtol": 1e-6, "atol": 0} if dtype.itemsize >= 4 else {"rtol": 2e-2, "atol": 1e-6}
    got, want = kata.clip_by_norm(iter(ours), max_norm), nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(got.to(want.dtype), want, **tolerance)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, **tolerance)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_clip_by_norm_is_torchs_for_inf_and_nan(kata, bad):
    gradients = random_gradients(1)
    gradients[1][2] = bad
    ours, theirs = twins(*gradients)
    got, want = kata.clip_by_norm(ours, 1.0), nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(got, want, equal_nan=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, equal_nan=True)
    for clip in (kata.clip_by_norm, nn.utils.clip_grad_norm_):
        with pytest.raises(RuntimeError):
            clip(twins(*gradients)[0], 1.0, error_if_nonfinite=True)


def test_global_grad_norm_is_torchs(kata):
    gradients = random_gradients(2, torch.float32)
    [ours, _] = twins(*gradients)
    torch.testing.assert_close(kata.global_grad_norm(ours), nn.utils.get_total_norm(gradients))
    large = torch.full((100,), 60_000.0, dtype=torch.float16)  # where the two differ, on purpose
    [half, _] = twins(large)
    assert nn.utils.get_total_norm([large]).isinf()
    assert kata.global_grad_norm(half).item() == pytest.approx(float(large[0]) * 10)


@pytest.mark.parametrize("limit", [0.0, 0.3, 1.0, 10.0])
def test_clip_by_value_is_torchs(kata, limit):
    gradients = [*random_gradients(3), torch.tensor([math.inf, -math.inf, math.nan, 1.0, -1.0])]
    ours, theirs = twins(*gradients)
    kata.clip_by_value(ours, limit)
    nn.utils.clip_grad_value_(theirs, limit)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, equal_nan=True, rtol=0, atol=0)


def test_accumulation_is_one_padded_batch(kata):
    """The same tokens, padded into one batch, through a layer with attention: the trainers' own setting."""
    torch.manual_seed(0)
    body = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(5, 8, dtype=torch.float64), body, nn.Linear(8, 3, dtype=torch.float64))
    inputs, targets = torch.randn(6, 7, 5, dtype=torch.float64), torch.randint(0, 3, (6, 7))
    targets[0, 1:], targets[3, :], targets[5, 4:] = -100, -100, -100
    loss = kata.accumulate_gradients(
        model, [(inputs[:1], targets[:1]), (inputs[1:4], targets[1:4]), (inputs[4:], targets[4:])]
    )
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    want = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    want.backward()
    torch.testing.assert_close(loss, want.detach())
    for ours, p in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad)


def test_initial_weights_are_torchs_xavier_and_kaiming(kata):
    for scheme, init in (
        ("xavier", nn.init.xavier_normal_),
        ("he", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
    ):
        torch.manual_seed(0)
        ours = kata.initial_weights(1, 512, scheme, torch.Generator().manual_seed(0))[0]
        theirs = init(torch.empty(512, 512))
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.01)


def test_he_keeps_a_relu_alive_and_xavier_halves_its_variance(kata):
    """He et al. 2015, equations 10 and 14: with Var(w) = 2/n the factor of a layer is 1, with 1/n it is 1/2 a layer."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    depth = 30
    rates = {}
    for scheme in ("he", "xavier"):
        weights = kata.initial_weights(depth, 256, scheme, torch.Generator().manual_seed(1))
        norms = kata.gradient_flow(x, weights, "relu")
        rates[scheme] = (norms[0] / norms[-1]).item() ** (2 / depth)
    assert rates["he"] == pytest.approx(1.0, abs=0.1)
    assert rates["xavier"] == pytest.approx(0.5, abs=0.05)


def test_sigmoid_loses_at_least_a_factor_of_four_a_layer(kata):
    """Its slope is at most 1/4: with orthogonal weights the gradient shrinks by at least that factor a layer."""
    torch.manual_seed(0)
    weights = torch.stack([nn.init.orthogonal_(torch.empty(32, 32)) for _ in range(10)])
    norms = kata.gradient_flow(torch.randn(16, 32), weights, "sigmoid")
    assert bool((norms[:-1] <= norms[1:] / 4 * 1.0001).all())


def test_relu_of_a_symmetric_input_is_half_off(kata):
    """He et al. 2015, section 2.2: half of the inputs of a zero-centred ReLU are negative; no unit is dead for that."""
    x = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0))
    report = kata.activation_report(nn.Sequential(nn.ReLU()), x)["0"]
    assert report["saturated"] == pytest.approx(0.5, abs=0.01)
    assert report["dead"] == 0.0


def test_adams_first_update_ratio(kata):
    """Adam's first step has size lr in every entry (Kingma and Ba 2015, section 2.1)."""
    model = nn.Linear(30, 20)
    model(torch.randn(8, 30)).square().sum().backward()
    size = model.weight.detach().norm().item()
    ratios = kata.update_ratio(model, torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-12))
    assert ratios["weight"] == pytest.approx(1e-3 * math.sqrt(600) / size, rel=1e-4)
