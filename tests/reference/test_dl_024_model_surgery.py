"""dl_024's solution against torch, transformers' GPT-2, peft, scipy, and the figures of its statement."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_024_model_surgery")


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- pruning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.0, 0.11, 0.5, 0.93])
def test_masks_are_torchs(kata, sparsity):
    """l1_unstructured is a layer's mask, global_unstructured that of all."""
    layers = {"a": nn.Linear(13, 7).double(), "b": nn.Linear(7, 5).double()}
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    together, each = (kata.magnitude_mask(weights, sparsity, scope) for scope in ("global", "layer"))
    prune.global_unstructured([(one, "weight") for one in layers.values()], prune.L1Unstructured, amount=sparsity)
    for name, layer in layers.items():
        assert torch.equal(layer.weight_mask.bool(), together[name])
        again = nn.Linear(*weights[name].shape[::-1]).double()
        again.weight.data.copy_(weights[name])
        prune.l1_unstructured(again, "weight", amount=sparsity)
        assert torch.equal(again.weight_mask.bool(), each[name])


def test_channels_are_those_of_ln_structured(kata):
    layer = nn.Conv2d(3, 11, 2)
    keep = kata.strongest_channels(layer.weight, 4)
    prune.ln_structured(layer, "weight", amount=7, n=1, dim=0)
    assert torch.equal(layer.weight_mask.flatten(1).amax(dim=1).nonzero()[:, 0], keep)


@pytest.mark.parametrize(("rounds", "left"), [(7, 0.211), (15, 0.036)])
def test_what_is_left_of_lenet(kata, rounds, left):
    """Frankle and Carbin 2019: 20 % a round, 10 % of the output layer, in LeNet-300-100."""
    shapes = {"first": (300, 784), "second": (100, 300), "output": (10, 100)}
    start = {name: drawn(*shape).float() for name, shape in shapes.items()}
    rates = {"first": 0.2, "second": 0.2, "output": 0.1}
    weights, masks = kata.lottery_ticket(start, lambda weights, masks: weights, rounds, rates)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept / sum(w.numel() for w in start.values()) == pytest.approx(left, abs=5e-4)
    assert all(torch.equal(weights[n], start[n] * masks[n]) for n in start)


# --- distillation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_response_is_torchs_divergence(kata, temperature):
    student = {"logits": drawn(5, 7), "features": drawn(5, 2, 3, 3)}
    teacher = {"logits": drawn(5, 7, seed=1), "features": drawn(5, 2, 3, 3, seed=1)}
    q, p = ((one["logits"] / temperature).log_softmax(dim=1) for one in (student, teacher))
    for reverse, given in ((False, (q, p)), (True, (p, q))):
        got = kata.knowledge_losses(student, teacher, torch.eye(2, dtype=torch.float64), temperature, reverse)
        want = temperature**2 * F.kl_div(*given, reduction="batchmean", log_target=True)
        torch.testing.assert_close(got["response"], want)
        torch.testing.assert_close(got["hint"], F.mse_loss(student["features"], teacher["features"]))


def test_the_gradient_at_a_high_temperature_is_a_regression_of_logits(kata):
    """T = 1000: within 4e-3 of the centred differences over v (Hinton et al. 2015, equation 4)."""
    z = drawn(6, 10).requires_grad_()
    features = torch.ones(6, 1, 1, 1, dtype=torch.float64)
    y = drawn(6, 10, seed=1)
    given = {"logits": z, "features": features}, {"logits": y, "features": features}
    loss = kata.knowledge_losses(*given, torch.ones(1, 1, dtype=torch.float64), 1000.0)["response"]
    (slope,) = torch.autograd.grad(loss, z)
    apart = (z - y).detach()
    want = (apart - apart.mean(dim=1, keepdim=True)) / 10 / 6
    torch.testing.assert_close(slope, want, rtol=0, atol=4e-3 * want.abs().max().item())


def test_views_are_cross_entropies_of_torch(kata):
    student, teacher, center = drawn(4, 3, 5), drawn(2, 3, 5, seed=1), drawn(5, seed=2)
    got = kata.self_distillation(student, teacher, center, 0.7, 0.3, 0.9)["loss"]
    pairs = [(i, j) for i in range(2) for j in range(4) if i != j]
    want = [F.cross_entropy(student[j] / 0.7, ((teacher[i] - center) / 0.3).softmax(dim=1)) for i, j in pairs]
    torch.testing.assert_close(got, torch.stack(want).mean())


# --- tied, wider, deeper ----------------------------------------------------------------------------------------------


def test_the_tie_of_gpt2_saves_what_the_statement_says(kata):
    with torch.device("meta"):
        embedding, head = nn.Embedding(50_257, 768), nn.Linear(768, 50_257, bias=False)
    pair = nn.ModuleList([embedding, head])
    before = sum(p.numel() for p in pair.parameters())
    kata.tie_embeddings(embedding, head)
    assert before - sum(p.numel() for p in pair.parameters()) == 38_597_376


@pytest.mark.reference
def test_gpt2_is_tied_as_here(kata):
    """transformers' GPT-2, small: its head is its embedding; grown by us, it has the logits of old words as before."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=12, n_layer=1, n_head=2)).eval()
    assert model.lm_head.weight is model.transformer.wte.weight
    words = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        before = model(words).logits
        kata.grow_vocabulary(model.transformer.wte, model.lm_head, 34)
        after = model(words).logits
    assert model.lm_head.weight is model.transformer.wte.weight
    torch.testing.assert_close(after[..., :31], before)
    torch.testing.assert_close(after[..., 31:], before.mean(dim=-1, keepdim=True).expand(1, 5, 3))


def wide_network(x, w, b, f, norm):
    hidden = x @ w.T + b
    return F.gelu(F.layer_norm(hidden, hidden.shape[-1:]) if norm else hidden) @ f.T


def test_widening_under_a_layer_norm(kata):
    """The function stays to 1e-15 without a norm, and under one only if every unit is copied equally often."""
    x, w, b, f = drawn(9, 4), drawn(5, 4, seed=1), drawn(5, seed=2), drawn(3, 5, seed=3)
    for source, norm, same in (
        ([0, 1, 2, 3, 4, 2, 2], False, True),
        ([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], True, True),
        ([0, 1, 2, 3, 4, 2, 2], True, False),
    ):
        wide = kata.widen(w, b, f, torch.tensor(source))
        off = (wide_network(x, *wide, norm) - wide_network(x, w, b, f, norm)).abs().max().item()
        assert off < 1e-4 if same else off > 0.05


def test_identity_blocks_learn(kata):
    """An identity block adds nothing and has a gradient: it is not stuck."""
    torch.manual_seed(0)
    deep = kata.grow_depth([kata.Block(4, 9).double()], 2, "identity")
    x = drawn(7, 4)
    deep[1](deep[0](x)).square().sum().backward()
    assert deep[1].down.weight.grad.abs().max() > 0.1


def test_growing_identity_blocks_keeps_the_loss_and_stacking_does_not(kata):
    torch.manual_seed(0)
    blocks, x = [kata.Block(4, 9).double() for _ in range(3)], drawn(7, 4)
    outs = []
    for grown in (blocks, kata.grow_depth(blocks, 7, "identity"), kata.grow_depth(blocks, 7, "stack")):
        outs.append(nn.Sequential(*grown)(x))
    torch.testing.assert_close(outs[1], outs[0])
    assert (outs[2] - outs[0]).abs().max() > 0.05


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_slerp_is_scipys(kata, t):
    from scipy.spatial import geometric_slerp

    a, b = F.normalize(drawn(6), dim=0), F.normalize(drawn(6, seed=1), dim=0)
    want = torch.from_numpy(geometric_slerp(a.numpy(), b.numpy(), t))
    torch.testing.assert_close(kata.slerp({"w": a}, {"w": b}, t)["w"], want)


def test_an_equal_soup_is_torchs_average(kata):
    models = [nn.Linear(3, 2).double() for _ in range(3)]
    average = torch.optim.swa_utils.AveragedModel(models[0])
    for model in models:
        average.update_parameters(model)
    got = kata.merge_models([dict(model.state_dict()) for model in models], [1.0, 1.0, 1.0])
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(got[name], value)


@pytest.mark.reference
def test_ties_is_pefts(kata):
    """peft's merge of task tensors, with the share and the sign of the sum as here."""
    from peft.utils.merge_utils import ties

    vectors = [drawn(40, seed=k) for k in range(3)]
    theirs = ties(vectors, torch.ones(3, dtype=torch.float64), density=0.35, majority_sign_method="total")
    base = {"w": drawn(40, seed=9)}
    got = kata.ties(base, [{"w": base["w"] + v} for v in vectors], keep=0.35, scale=1.0)["w"] - base["w"]
    torch.testing.assert_close(got, theirs)


def test_half_a_cosine_has_half_the_share_in_the_middle(kata):
    assert kata.regrow_fraction(50, 100, 0.3) == pytest.approx(0.15)
    assert math.isclose(sum(kata.regrow_fraction(s, 100, 0.3) for s in range(100)) / 100, 0.15, rel_tol=0.02)
