"""dl_021_finetuning against what nobody here wrote: peft, transformers, torch, T5's rule, published counts."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution

LAYERS, WIDTH = 96, 12_288  # GPT-3


@pytest.fixture(scope="module")
def kata():
    return solution("dl_021_finetuning")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def generator():
    return torch.Generator().manual_seed(0)


def same(got, want, tol=1e-12):
    torch.testing.assert_close(got, want, rtol=tol, atol=tol)


# ---------------------------------------------------------------------------------------------------------------- peft


class _Host(nn.Module):
    """What peft needs around a linear layer, to put its own in the layer's place."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.linear(x)


def pair(kata, rank=3, alpha=5.0, **kinds):
    """A layer of peft's and ours, with equal random weights."""
    import peft

    base = nn.Linear(7, 5).double()
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["linear"], lora_dropout=0.0, **kinds)
    theirs = peft.get_peft_model(_Host(nn.Linear(7, 5).double()), config).base_model.model.linear
    with torch.no_grad():
        theirs.base_layer.load_state_dict(base.state_dict())
    options = {"rank_stabilized": kinds.get("use_rslora", False), "dora": kinds.get("use_dora", False)}
    ours = kata.LoRALinear(base, rank, alpha, generator=generator(), **options)
    theirs.double()
    with torch.no_grad():
        for mine, other in ((ours.A, theirs.lora_A["default"].weight), (ours.B, theirs.lora_B["default"].weight)):
            mine.copy_(torch.randn_like(mine))
            other.copy_(mine)
        if options["dora"]:
            ours.magnitude.copy_(1 + torch.rand(5))
            theirs.lora_magnitude_vector["default"].weight.copy_(ours.magnitude)
    return theirs, ours


KINDS = [{}, {"use_rslora": True}, {"use_dora": True}, {"use_dora": True, "use_rslora": True}]


@pytest.mark.reference
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_lora_is_pefts(kata, kinds):
    theirs, ours = pair(kata, **kinds)
    x, upstream = torch.randn(4, 7).double(), torch.randn(4, 5).double()
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, want = ours(mine), theirs(other)
    same(got, want)
    (got * upstream).sum().backward()
    (want * upstream).sum().backward()
    same(mine.grad, other.grad)
    same(ours.A.grad, theirs.lora_A["default"].weight.grad)
    same(ours.B.grad, theirs.lora_B["default"].weight.grad)
    if kinds.get("use_dora"):
        same(ours.magnitude.grad, theirs.lora_magnitude_vector["default"].weight.grad)


@pytest.mark.reference
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_merge_is_pefts(kata, kinds):
    theirs, ours = pair(kata, **kinds)
    theirs.merge()
    ours.merge()
    same(ours.base.weight, theirs.base_layer.weight)
    theirs.unmerge()
    ours.unmerge()
    same(ours.base.weight, theirs.base_layer.weight)


@pytest.mark.reference
def test_start_is_pefts(kata):
    import peft

    config = peft.LoraConfig(r=64, lora_alpha=1.0, target_modules=["linear"], use_dora=True)
    theirs = peft.get_peft_model(_Host(nn.Linear(301, 40)), config).base_model.model.linear
    ours = kata.LoRALinear(nn.Linear(301, 40), 64, 1.0, generator=generator(), dora=True)
    other = theirs.lora_A["default"].weight
    for sample in (ours.A, other):
        assert sample.abs().max().item() == pytest.approx(301**-0.5, rel=1e-3)
        assert sample.var().item() == pytest.approx(1 / 301 / 3, rel=0.03)
    assert not theirs.lora_B["default"].weight.any()
    same(theirs.lora_magnitude_vector["default"].weight, theirs.base_layer.weight.norm(dim=1), tol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("rank", [1, 8])
def test_counts_are_pefts(kata, rank):
    """Two layers, built: queries and values of width 24."""
    import peft

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                setattr(self, name, nn.Linear(24, 24))

    model = nn.Module()
    model.layers = nn.ModuleList([Attention(), Attention()])
    config = peft.LoraConfig(r=rank, target_modules=["q_proj", "v_proj"])
    made = peft.get_peft_model(model, config)
    assert made.get_nb_trainable_parameters()[0] == kata.tuning_cost("lora", 2, 24, rank)["parameters"]


# --------------------------------------------------------------------------------------------------------- transformers


@pytest.mark.reference
def test_causal_labels_are_those_that_transformers_shift_to(kata):
    """A GPT-2 of transformers shifts inside; its loss is ours with inputs and labels that are shifted outside."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = torch.randint(5, 90, (3, 12))
    tokens[1, 9:] = 0
    model = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    options = {"vocab_size": 97, "mask_id": 4, "pad_id": 0, "special": [1, 2], "generator": generator()}
    inputs, labels = kata.pretraining_batch(tokens, "causal", **options)
    theirs = model(tokens, labels=tokens.masked_fill(tokens == 0, -100)).loss
    same(F.cross_entropy(model(inputs).logits.flatten(0, 1), labels.flatten()), theirs, tol=1e-5)


@pytest.mark.reference
def test_masking_has_the_law_of_the_collator():
    """DataCollatorForLanguageModeling and ours: the same shares, within what 60,000 tokens show."""
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(995))]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    tokens = torch.randint(5, 1000, (300, 200))
    tokens[:, 0], tokens[:, -1] = 2, 3
    theirs = collate.torch_mask_tokens(tokens.clone(), torch.isin(tokens, torch.tensor([0, 2, 3])).long())
    kata = solution("dl_021_finetuning")
    options = {"vocab_size": 1000, "mask_id": 4, "pad_id": 0, "special": [2, 3], "generator": generator()}
    ours = kata.pretraining_batch(tokens, "masked", **options)
    for (inputs, labels), n in ((theirs, 59_400), (ours, 59_400)):
        chosen = labels != -100
        assert chosen.sum().item() / n == pytest.approx(0.15, abs=0.01)
        assert (inputs[chosen] == 4).double().mean().item() == pytest.approx(0.8, abs=0.025)
        assert (inputs[chosen] == tokens[chosen]).double().mean().item() == pytest.approx(0.1, abs=0.02)
        assert torch.equal(inputs[~chosen], tokens[~chosen])


# ------------------------------------------------------------------------------------------------------------------ T5


def t5_lengths(inputs_length, density=0.15, mean_span=3.0):
    """The rule of T5's code: the most tokens whose corrupted form has `inputs_length` places; places of the targets."""

    def after(n):
        noise = round(n * density)
        spans = round(noise / mean_span)
        return n - noise + spans + 1, noise + spans + 1  # each with an end token

    n = inputs_length
    while after(n + 1)[0] <= inputs_length:
        n += 1
    return n, after(n)[1]


@pytest.mark.parametrize("length", [114, 512, 1024])
def test_lengths_are_t5s(kata, length):
    n, targets = t5_lengths(length)
    got = kata.span_corruption(torch.arange(n), 32_099, generator=generator())
    assert [len(got[0]) + 1, len(got[1])] == [length, targets]
    if length == 512:
        assert (n, targets) == (568, 114)


def test_spans_can_be_undone(kata):
    tokens = torch.arange(200)
    inputs, targets = kata.span_corruption(tokens, 32_099, generator=generator(), density=0.4)
    edges = (targets > 1000).nonzero().flatten().tolist()
    spans = {int(targets[a]): targets[a + 1 : b].tolist() for a, b in itertools.pairwise(edges)}
    assert [x for token in inputs.tolist() for x in spans.get(token, [token])] == tokens.tolist()


# --------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("causal", [True, False])
def test_prefix_attention_is_torchs(kata, causal):
    q, k, v = (torch.randn(2, 3, 7, 5, dtype=torch.float64) for _ in range(3))
    prefix_k, prefix_v = (torch.randn(3, 4, 5, dtype=torch.float64) for _ in range(2))
    keys, values = (
        torch.cat([prefix.expand(2, -1, -1, -1), own], dim=2) for prefix, own in ((prefix_k, k), (prefix_v, v))
    )
    seen = torch.ones(7, 11, dtype=torch.bool)
    if causal:
        seen[:, 4:] = seen[:, 4:].tril()
    got, _ = kata.prefix_attention(q, k, v, prefix_k, prefix_v, causal)
    same(got, F.scaled_dot_product_attention(q, keys, values, attn_mask=seen))


@pytest.mark.parametrize("causal", [True, False])
def test_prefix_attention_is_the_merge_of_dl_012(kata, causal):
    """`merge` there joins attention to the prefix with attention to the sequence; the share is in the two lse."""
    merge = solution("dl_012_attention_variants").merge
    q, k, v = (torch.randn(2, 3, 6, 5, dtype=torch.float64) for _ in range(3))
    prefix_k, prefix_v = (torch.randn(3, 4, 5, dtype=torch.float64) for _ in range(2))
    own = q @ k.mT / math.sqrt(5)
    if causal:
        own = own.masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), -math.inf)
    extra = q @ prefix_k.mT / math.sqrt(5)
    lse = extra.logsumexp(dim=-1)
    want, both = merge(extra.softmax(dim=-1) @ prefix_v, lse, own.softmax(dim=-1) @ v, own.logsumexp(dim=-1))
    out, weight = kata.prefix_attention(q, k, v, prefix_k, prefix_v, causal)
    same(out, want)
    same(weight, (lse - both).exp())


def test_fisher_is_the_hessian_of_a_linear_model(kata):
    """Of softmax regression the Fisher is the Hessian of the loss, whatever the labels are: torch's own."""
    model, x = nn.Linear(4, 3, bias=False).double(), torch.randn(6, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0, 2])
    hessian = torch.autograd.functional.hessian(lambda w: F.cross_entropy(x @ w.T, labels), model.weight.detach())
    same(kata.fisher_diagonal(model, x)["weight"].flatten(), hessian.view(12, 12).diagonal())


def test_triangle_is_the_papers(kata):
    """Howard and Ruder's equation 3, at their numbers: cut_frac 0.1, ratio 32, rate 0.01."""
    steps = 200
    for t in range(steps):
        cut = math.floor(steps * 0.1)
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert kata.slanted_triangle(t, steps, 0.01) == pytest.approx(0.01 * (1 + p * 31) / 32)


def test_frozen_parameters_do_not_move_under_any_optimizer_of_torchs(kata):
    for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.NAdam):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        options = {"momentum": 0.9} if kind in (torch.optim.SGD, torch.optim.RMSprop) else {}
        optimizer = kind(model.parameters(), lr=0.1, weight_decay=0.5, **options)
        for step in range(4):
            if step == 2:
                kata.freeze(model, ["2"])
                before = {name: value.clone() for name, value in model.state_dict().items()}
            model(torch.randn(5, 3)).square().sum().backward()
            optimizer.step()
        moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        assert moved == ["2.weight", "2.bias"], kind


# ---------------------------------------------------------------------------------------------------- published counts


def test_lora_of_gpt_3_is_table_4s(kata):
    counts = [kata.tuning_cost("lora", LAYERS, WIDTH, rank)["parameters"] for rank in (1, 8)]
    assert counts == [4_718_592, 37_748_736]
    assert [round(count / 1e6, 1) for count in counts] == [4.7, 37.7]


def test_prompt_of_t5_xxl_is_lesters(kata):
    assert kata.tuning_cost("prompt", 24, 4096, 5)["parameters"] == 20_480


def test_moments_of_gpt_3(kata):
    """What the statement says: 1.4 TB of moments in full, 38 MB with LoRA of rank 1."""
    assert kata.tuning_cost("full", LAYERS, WIDTH)["optimizer_bytes"] / 1e12 == pytest.approx(1.39, abs=0.01)
    assert kata.tuning_cost("lora", LAYERS, WIDTH, 1)["optimizer_bytes"] / 1e6 == pytest.approx(37.7, abs=0.1)


def test_adapter_has_as_many_parameters_as_it_is_said_to(kata):
    adapter = kata.Adapter(nn.Identity(), 16, 5, generator=generator())
    one = sum(p.numel() for p in adapter.parameters() if p.requires_grad)
    assert 2 * 3 * one == kata.tuning_cost("adapter", 3, 16, 5)["parameters"]
