"""dl_015_moe against what nobody here wrote: published figures, and layers, routers and losses of transformers."""

import math

import pytest
import torch

from grader.answering.module import solution
from grader.answering.ranks import on_ranks

MIXTRAL = {"vocabulary": 32000, "dim": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128}
MIXTRAL |= {"hidden": 14336, "experts": 8, "k": 2}
DEEPSEEK = {"vocabulary": 102400, "dim": 2048, "layers": 28, "heads": 16, "kv_heads": 16, "head_dim": 128}
DEEPSEEK |= {"hidden": 1408, "experts": 64, "k": 6, "shared": 2, "dense_layers": 1, "dense_hidden": 10944}


@pytest.fixture(scope="module")
def kata():
    return solution("dl_015_moe")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# -------------------------------------------------------------------------------------------------- published figures


def test_published_parameters(kata):
    assert kata.moe_parameter_count(**MIXTRAL) == (46_702_792_704, 12_879_925_248)
    total, active = kata.moe_parameter_count(**DEEPSEEK)
    assert total == 16_375_728_128  # the safetensors of deepseek-moe-16b-base
    assert round(active / 1e9, 1) == 2.8  # DeepSeekMoE, section 5.1


def test_mixtral_8x22b_has_141_billion_and_uses_39(kata):
    sizes = MIXTRAL | {"dim": 6144, "layers": 56, "heads": 48, "hidden": 16384}
    assert [round(x / 1e9) for x in kata.moe_parameter_count(**sizes)] == [141, 39]


def test_finer_experts_can_be_combined_in_more_ways(kata):
    """DeepSeekMoE, section 3.1: 2 of 16 experts give 120 combinations, each cut into 4 they give 4,426,165,368."""
    width, routed, chosen = kata.fine_grained_sizes(4096, 16, 2, split=4, shared=0)
    assert (math.comb(16, 2), math.comb(routed, chosen)) == (120, 4_426_165_368)
    assert width * chosen == 2 * 4096


def test_deepseek_moe_2b_has_1_shared_and_7_of_63_routed(kata):
    """DeepSeekMoE, section 4.1.3: a quarter of a standard FFN, 1 shared, 63 routed, 7 of which are active."""
    assert kata.fine_grained_sizes(5120, 16, 2, split=4, shared=1) == (1280, 63, 7)


def test_switch_capacity(kata):
    """Switch, figure 3: 6 tokens over 3 experts give 2 places at factor 1.0, and 3 at 1.5."""
    assert [kata.expert_capacity(6, 3, 1, factor) for factor in (1.0, 1.5)] == [2, 3]


@pytest.mark.parametrize(("n", "e", "k"), [(60, 4, 1), (61, 5, 2)])
def test_dropless_dispatch_is_the_sparse_layer(kata, n, e, k):
    """With room for all, buffers and gather-scatter are two ways to the same sum; so is every rank's share of it."""
    x, weights = torch.randn(n, 3), torch.rand(n, k)
    experts = torch.rand(n, e).topk(k).indices
    w1, w2, w3 = torch.randn(e, 7, 3), torch.randn(e, 3, 7), torch.randn(e, 7, 3)
    buffers, slots = kata.dispatch(x, experts, e, n)
    outputs = torch.stack([kata.swiglu(*args) for args in zip(buffers, w1, w2, w3, strict=True)])
    want = kata.sparse_experts(x, weights, experts, w1, w2, w3)
    torch.testing.assert_close(kata.combine(outputs, weights, experts, slots), want)


def test_expert_parallel_on_four_ranks(kata):
    n, e, k = 23, 8, 2
    x, weights = torch.randn(n, 3), torch.rand(n, k)
    experts = torch.rand(n, e).topk(k).indices
    ws = torch.randn(e, 7, 3), torch.randn(e, 3, 7), torch.randn(e, 7, 3)
    cuts = [slice(0, 9), slice(9, 10), slice(10, 10), slice(10, 23)]

    def work(rank):
        own = [w[2 * rank : 2 * rank + 2] for w in ws]
        return kata.expert_parallel_forward(x[cuts[rank]], weights[cuts[rank]], experts[cuts[rank]], *own)

    torch.testing.assert_close(torch.cat(on_ranks(kata, 4, work)), kata.sparse_experts(x, weights, experts, *ws))


def test_sinkhorn_converges_to_an_even_plan(kata):
    plan = kata.sinkhorn(torch.randn(35, 5, dtype=torch.float64), 200)
    torch.testing.assert_close(plan.sum(1), torch.ones(35, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(0), torch.full((5,), 7.0, dtype=torch.float64))


# ------------------------------------------------------------------------------------------------------- transformers


def _tiny_mixtral(**changes):
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "num_local_experts": 5}
    sizes |= {"num_experts_per_tok": 2, "router_aux_loss_coef": 1.0, "attn_implementation": "eager"}
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**(sizes | changes))).eval()


def _copy_mixtral(kata, block, config):
    ours = kata.MoELayer(
        config.hidden_size, config.intermediate_size, config.num_local_experts, config.num_experts_per_tok
    )
    w1, w3 = block.experts.gate_up_proj.chunk(2, 1)
    state = {"router.weight": block.gate.weight, "w1": w1, "w2": block.experts.down_proj, "w3": w3}
    ours.load_state_dict({name: value.detach() for name, value in state.items()})
    return ours


@pytest.mark.reference
@pytest.mark.parametrize("k", [1, 2, 5])
def test_layer_is_mixtrals(kata, k):
    """With copied weights, output and logits agree with MixtralSparseMoeBlock."""
    model = _tiny_mixtral(num_experts_per_tok=k)
    block = model.model.layers[0].mlp
    torch.nn.init.normal_(block.gate.weight)  # else routing is nearly even
    x = torch.randn(3, 7, 24)
    with torch.no_grad():
        y, logits = _copy_mixtral(kata, block, model.config)(x)
        torch.testing.assert_close(y, block(x), atol=1e-5, rtol=1e-4)
        want, weights, experts = block.gate(x)
    torch.testing.assert_close(logits, want)
    got = kata.top_k_router(logits, k)
    torch.testing.assert_close(got, (weights, experts))


@pytest.mark.reference
def test_mixtrals_logits_stay_with_our_layers(kata):
    """A whole Mixtral says the same with our layer in place of its own."""
    model, tokens = _tiny_mixtral(), torch.randint(97, (2, 9))
    with torch.no_grad():
        want = model(tokens).logits
        for layer in model.model.layers:
            ours = _copy_mixtral(kata, layer.mlp, model.config)
            layer.mlp.forward = lambda x, ours=ours: ours(x)[0]
        torch.testing.assert_close(model(tokens).logits, want, atol=1e-5, rtol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_balancing_loss_is_mixtrals_over_k(kata, k, padded):
    """transformers lets fractions sum to k, so its loss is k times ours."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = 2 * torch.randn(4 * 7, 5)
    experts = logits.topk(k).indices
    mask = torch.rand(4, 7) < 0.6 if padded else None
    want = load_balancing_loss_func((logits,), 5, k, None if mask is None else mask.long())
    got = kata.load_balancing_loss(logits, experts, None if mask is None else mask.flatten())
    torch.testing.assert_close(got * k, want)


@pytest.mark.reference
def test_losses_are_those_of_switch_transformers(kata):
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    logits = 2 * torch.randn(1, 13, 5)
    experts = logits.argmax(-1)
    want = switch.load_balancing_loss_func(logits.softmax(-1), experts)
    torch.testing.assert_close(kata.load_balancing_loss(logits[0], experts[0][:, None]), want)
    torch.testing.assert_close(kata.router_z_loss(logits[0]), switch.router_z_loss_func(logits))


@pytest.mark.reference
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_of_a_real_mixtral(kata, tied):
    model = _tiny_mixtral(tie_word_embeddings=tied)
    total, active = kata.moe_parameter_count(
        vocabulary=97, dim=24, layers=2, heads=4, kv_heads=2, head_dim=6, hidden=40, experts=5, k=2, tied=tied
    )
    assert total == sum(p.numel() for p in model.parameters())
    assert active == total - 2 * 3 * sum(p[0].numel() for p in model.model.layers[0].mlp.experts.parameters())


@pytest.mark.reference
def test_mixtral_8x7b_on_the_meta_device(kata):
    from transformers import MixtralConfig, MixtralForCausalLM

    with torch.device("meta"):
        model = MixtralForCausalLM(MixtralConfig())
    assert kata.moe_parameter_count(**MIXTRAL)[0] == sum(p.numel() for p in model.parameters())


@pytest.mark.reference
def test_shared_experts_are_deepseek_v2s(kata):
    """DeepSeek-V2 joins its shared experts to one wide network; with copied weights the outputs agree."""
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    dim, width, split, shared = 12, 5, 2, 2
    config = DeepseekV2Config(
        hidden_size=dim,
        num_attention_heads=2,
        moe_intermediate_size=width,
        n_routed_experts=8 - shared,
        num_experts_per_tok=2,
        n_shared_experts=shared,
        routed_scaling_factor=1.0,
        topk_method="greedy",
    )
    theirs = DeepseekV2Moe(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    ours = kata.SharedExpertMoE(dim, width * split, 4, 2, split, shared)
    w1, w3 = theirs.experts.gate_up_proj.chunk(2, 1)
    wide = theirs.shared_experts
    state = {
        "router.weight": theirs.gate.weight,
        "w1": w1,
        "w2": theirs.experts.down_proj,
        "w3": w3,
        "shared_w1": wide.gate_proj.weight.unflatten(0, (shared, width)),
        "shared_w2": wide.down_proj.weight.unflatten(1, (shared, width)).transpose(0, 1),
        "shared_w3": wide.up_proj.weight.unflatten(0, (shared, width)),
    }
    ours.load_state_dict({name: value.detach() for name, value in state.items()})
    x = torch.randn(2, 7, dim)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_biased_router_is_deepseek_v3s(kata, scale):
    """With one group, DeepseekV3TopkRouter chooses the same experts with the same weights."""
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

    config = DeepseekV3Config(
        hidden_size=12,
        num_attention_heads=2,
        n_routed_experts=7,
        num_experts_per_tok=3,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=scale,
        norm_topk_prob=True,
    )
    router = DeepseekV3TopkRouter(config)
    torch.nn.init.normal_(router.weight)
    router.e_score_correction_bias.copy_(torch.randn(7) / 2)
    logits, weights, experts = router(torch.randn(11, 12))
    got = kata.bias_balanced_router(logits, router.e_score_correction_bias, 3, scale)
    wants = torch.zeros(11, 7).scatter(1, experts, weights)  # transformers leaves the order open
    torch.testing.assert_close(torch.zeros(11, 7).scatter(1, got[1], got[0]), wants)
