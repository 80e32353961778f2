"""dl_009's solution against torch's modules, transformers' RMSNorms, gradcheck, and real layers in evaluation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_009_batch_norm_layernorm")


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def randomised(module, seed=5):
    """A module in float64 whose parameters and floating buffers are random, and positive where they are variances."""
    for i, (name, tensor) in enumerate(module.double().state_dict().items()):
        if tensor.is_floating_point():
            value = drawn(*tensor.shape, seed=seed + i)
            tensor.copy_(value.abs() + 0.5 if "var" in name else value)
    return module


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
def test_layer_norm_is_torchs(kata, shape):
    module, x = randomised(nn.LayerNorm(5, eps=0.1)), drawn(*shape)
    torch.testing.assert_close(kata.layer_norm(x, module.weight, module.bias, 0.1), module(x))


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(5), lambda: nn.BatchNorm2d(5), lambda: nn.BatchNorm3d(5)])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_a_run_of_batch_norm_is_torchs(kata, make, momentum):
    module = randomised(make())
    module.momentum = momentum
    tail = {"BatchNorm1d": (), "BatchNorm2d": (3, 4), "BatchNorm3d": (2, 3, 2)}[type(module).__name__]
    running = module.running_mean.clone(), module.running_var.clone()
    for n in (4, 9, 2):
        x = drawn(n, 5, *tail, seed=n)
        out, *running = kata.batch_norm(x, module.weight, module.bias, *running, True, momentum, module.eps)
        torch.testing.assert_close(out, module(x))
        torch.testing.assert_close(running, [module.running_mean, module.running_var])
    x = drawn(1, 5, *tail)
    got = kata.batch_norm(x, module.weight, module.bias, *running, False, momentum, module.eps)
    torch.testing.assert_close(got[0], module.eval()(x))
    with pytest.raises(ValueError):
        nn.BatchNorm1d(5)(torch.zeros(1, 5))  # torch refuses one value a channel, too


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_torchs(kata, groups):
    module, x = randomised(nn.GroupNorm(groups, 6)), drawn(3, 6, 4, 5)
    torch.testing.assert_close(kata.group_norm(x, groups, module.weight, module.bias), module(x))
    if groups == 6:
        plain = kata.group_norm(x, 6, torch.ones(6), torch.zeros(6))
        torch.testing.assert_close(plain, nn.InstanceNorm2d(6)(x))


@pytest.mark.reference
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_rms_norm_is_that_of_llama_and_gemma(kata, family):
    if family == "llama":
        from transformers.models.llama.modeling_llama import LlamaRMSNorm as Theirs
    else:
        from transformers.models.gemma.modeling_gemma import GemmaRMSNorm as Theirs
    module, x = Theirs(11, eps=1e-3), drawn(4, 11, dtype=torch.float32)
    module.weight.data = drawn(11, seed=1, dtype=torch.float32)
    got = kata.rms_norm(x, module.weight, 1e-3, unit_offset=family == "gemma")
    torch.testing.assert_close(got, module(x))
    half = x.half()
    torch.testing.assert_close(
        kata.rms_norm(half, module.weight.half(), 1e-3, unit_offset=family == "gemma"),
        module.half()(half),
        rtol=4e-3,
        atol=4e-3,
    )


@pytest.mark.parametrize("training", [True, False])
def test_forward_functions_pass_gradcheck(kata, training):
    x, weight, bias = (t.requires_grad_() for t in (drawn(4, 6, 3), drawn(6, seed=1), drawn(6, seed=2)))
    running = drawn(6, seed=3), drawn(6, seed=4).abs() + 0.5
    check = torch.autograd.gradcheck
    assert check(lambda x, w, b: kata.batch_norm(x, w, b, *running, training)[0], (x, weight, bias))
    assert check(lambda x, w, b: kata.group_norm(x, 2, w, b), (x, weight, bias))
    rows = drawn(4, 6).requires_grad_()
    assert check(kata.layer_norm, (rows, weight, bias))
    assert check(lambda x, w: kata.rms_norm(x, w, unit_offset=training), (rows, weight))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_backward_is_torchs_operator(kata, training):
    x, dout, weight = drawn(5, 3, 4), drawn(5, 3, 4, seed=1), drawn(3, seed=2)
    mean, var = x.mean(dim=(0, 2)), x.var(dim=(0, 2), unbiased=False)
    if not training:
        mean, var = drawn(3, seed=3), drawn(3, seed=4).abs() + 0.5
    root = (var + 1e-5).rsqrt()
    want = torch.ops.aten.native_batch_norm_backward(
        dout, x, weight, mean, var, mean, root, training, 1e-5, [True, True, True]
    )
    torch.testing.assert_close(kata.batch_norm_backward(dout, x, weight, mean, var, 1e-5, training), tuple(want))


def test_backward_takes_two_directions_away(kata):
    """Shifts and scales of x change nothing that comes out, so that dx is orthogonal to 1 and, with eps 0, to x̂."""
    x, dout, weight = drawn(50, 3), drawn(50, 3, seed=1), drawn(3, seed=2)
    mean, var = x.mean(0), x.var(0, unbiased=False)
    dx, _, _ = kata.batch_norm_backward(dout, x, weight, mean, var, 0.0)
    torch.testing.assert_close(dx.sum(0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close((dx * (x - mean)).sum(0), torch.zeros(3, dtype=torch.float64))


def test_layer_norm_backward_is_torchs_operator(kata):
    x, dout, weight = drawn(5, 7), drawn(5, 7, seed=1), drawn(7, seed=2)
    mean = x.mean(-1, keepdim=True)
    root = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    want = torch.ops.aten.native_layer_norm_backward(
        dout, x, [7], mean, root, weight, torch.zeros_like(weight), [True, True, True]
    )
    torch.testing.assert_close(kata.layer_norm_backward(dout, x, weight), tuple(want))


def test_naive_variance_is_negative_beside_a_large_mean():
    """Values around 1e4 in float32: the naive variance lands on multiples of 8, at times below 0."""
    naive = []
    for seed in range(50):
        x = drawn(1000, seed=seed, dtype=torch.float32) + 1e4
        naive.append(((x * x).mean() - x.mean() ** 2).item())
    assert min(naive) < 0
    assert all(value % 8 == 0 for value in naive)


@pytest.mark.parametrize("layer", [nn.Linear(4, 6), nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, 3, bias=False)])
def test_folding_is_what_torch_fuses(kata, layer):
    layer = randomised(layer).eval()
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[layer.weight.dim()](6)
    norm = randomised(norm).eval()
    w, b = kata.fold_batch_norm(layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    x = drawn(2, 4, *[5] * (layer.weight.dim() - 2))
    fused = F.linear(x, w, b) if layer.weight.dim() == 2 else [F.conv1d, F.conv2d][layer.weight.dim() - 3](x, w, b)
    torch.testing.assert_close(fused, norm(layer(x)))
    if layer.weight.dim() == 4:
        theirs = nn.utils.fusion.fuse_conv_bn_eval(layer, norm)
        torch.testing.assert_close((w, b), (theirs.weight.data, theirs.bias.data), check_dtype=False)


def test_merged_moments_are_those_of_synchronised_batch_norm(kata):
    """Eight devices with two values each: the average of biased variances is half of what they have together."""
    shares = drawn(8, 2, 1000)
    count, mean, var = kata.merge_moments([2] * 8, shares.mean(1), shares.var(1, unbiased=False))
    together = shares.flatten(0, 1)
    torch.testing.assert_close((mean, var), (together.mean(0), together.var(0, unbiased=False)))
    assert count == 16
    assert (shares.var(1, unbiased=False).mean() / var.mean()).item() == pytest.approx(8 / 15, abs=0.03)


def test_weight_norm_is_torchs(kata):
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 5, 4).double())
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    g.data = drawn(5, 1, 1)
    dw = drawn(5, 3, 4, seed=1)
    torch.testing.assert_close(kata.weight_norm(v, g.flatten()), layer.weight)
    (layer.weight * dw).sum().backward()
    dv, dg = kata.weight_norm_backward(dw, v.detach(), g.detach().flatten())
    torch.testing.assert_close((dv, dg), (v.grad, g.grad.flatten()))
