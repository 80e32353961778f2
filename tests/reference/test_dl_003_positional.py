"""dl_003's solution against rotary code, T5 and frequency scaling of transformers, and the figures that it states."""

import math

import pytest
import torch

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_003_positional")


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def theta(dim, base):
    return base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


# --- added to the embedding -------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_sinusoids_are_those_of_roformer(kata):
    """Its table has all sines first."""
    from transformers.models.roformer.modeling_roformer import RoFormerSinusoidalPositionalEmbedding

    theirs = RoFormerSinusoidalPositionalEmbedding(50, 12).create_weight()
    ours = kata.sinusoidal(torch.arange(50), 12)
    torch.testing.assert_close(torch.cat([ours[:, 0::2], ours[:, 1::2]], -1).float(), theirs)


@pytest.mark.reference
def test_learned_positions_are_gpt2s(kata):
    """GPT-2's embeddings of tokens and positions, with its own shape of the table."""
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(vocab_size=19, n_positions=23, n_embd=8, n_layer=0, n_head=2)).eval()
    table = kata.LearnedPositions(23, 8)
    table.load_state_dict({"weight": model.wpe.weight.detach()})
    tokens, positions = torch.tensor([[3, 7, 1], [0, 2, 18]]), torch.tensor([[5, 6, 7], [0, 1, 22]])
    want = model(input_ids=tokens, position_ids=positions).last_hidden_state
    torch.testing.assert_close(model.ln_f(table(model.wte(tokens), positions)), want)
    assert GPT2Config().n_positions * GPT2Config().n_embd == 786432


# --- turned -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_halves_are_llamas(kata, dtype):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5}
    )
    q, k = drawn(2, 4, 7, 16, dtype=dtype), drawn(2, 2, 7, 16, seed=1, dtype=dtype)
    positions = torch.stack([torch.arange(7), torch.arange(812, 819)])
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    ours = [kata.apply_rope(x, positions, 5e5) for x in (q, k)]
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2
    for mine, theirs in zip(ours, apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.reference
def test_pairs_and_their_rest_are_gptjs(kata):
    """GPT-J: (b, t, h, d), pairs, and its first rotary_dim features alone."""
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    x, positions, r = drawn(2, 7, 3, 16), torch.arange(90, 97), 6
    sin, cos = create_sinusoidal_positions(200, r)[positions].expand(2, 7, r).chunk(2, -1)
    theirs = torch.cat([apply_rotary_pos_emb(x[..., :r], sin, cos), x[..., r:]], -1)
    ours = kata.apply_rope(x.transpose(1, 2), positions, layout="pairs", rotary_dim=r).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.reference
def test_halves_of_the_first_features_are_gpt_neoxs(kata):
    from transformers import GPTNeoXConfig
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding, apply_rotary_pos_emb

    parameters = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    config = GPTNeoXConfig(hidden_size=128, num_attention_heads=4, rope_parameters=parameters)
    q, k, positions = drawn(2, 4, 5, 32), drawn(2, 4, 5, 32, seed=1), torch.arange(40, 45)
    cos, sin = GPTNeoXRotaryEmbedding(config)(q, positions.expand(2, 5))
    theirs = apply_rotary_pos_emb(q, k, cos, sin)
    for x, want in zip((q, k), theirs, strict=True):
        torch.testing.assert_close(kata.apply_rope(x, positions, rotary_dim=8), want, rtol=1e-4, atol=1e-4)


@pytest.mark.reference
def test_a_converted_weight_makes_gptjs_scores_in_llama(kata):
    """The scores of weights for pairs, turned by GPT-J's code, are those of converted weights turned by Llama's."""
    from transformers import LlamaConfig
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as turn_pairs
    from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    heads, d, x = 4, 16, drawn(2, 7, 24)
    weights = [drawn(heads * d, 24, seed=seed) / 5 for seed in (1, 2)]
    q, k = ((x @ w.T).unflatten(-1, (heads, d)) for w in weights)
    sin, cos = create_sinusoidal_positions(7, d).expand(2, 7, d).chunk(2, -1)
    q, k = (turn_pairs(one, sin, cos).transpose(1, 2) for one in (q, k))
    want = q @ k.mT
    moved = [kata.convert_layout(w, heads, "halves") for w in weights]
    q, k = ((x @ w.T).unflatten(-1, (heads, d)).transpose(1, 2) for w in moved)
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 1e4}
    )
    q, k = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(x, torch.arange(7).expand(2, 7)))
    torch.testing.assert_close(q @ k.mT, want, rtol=1e-4, atol=1e-4)


@pytest.mark.reference
def test_two_axes_are_qwen2_vls(kata):
    """Its halves over all d hold rows, then columns: ours in the other layout."""
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLVisionRotaryEmbedding, apply_rotary_pos_emb_vision

    config = Qwen2VLVisionConfig(embed_dim=64, num_heads=2)
    rotary = Qwen2VLVisionRotaryEmbedding(config)
    d, base = 32, config.rope_parameters["rope_theta"]
    rows, columns = torch.arange(12) // 4, torch.arange(12) % 4
    q, k = drawn(12, 2, d), drawn(12, 2, d, seed=1)
    cos, sin = (one[0] for one in rotary(q, torch.stack([rows, columns])[None]))
    theirs = apply_rotary_pos_emb_vision(q, k, cos, sin)
    there = kata.convert_layout(torch.arange(d), 1, "pairs")
    back = kata.convert_layout(torch.arange(d), 1, "halves")
    for x, want in zip((q, k), theirs, strict=True):
        ours = kata.axial_rope(x[..., there].transpose(0, 1)[None], rows, columns, base)[0].transpose(0, 1)[..., back]
        torch.testing.assert_close(ours, want, rtol=1e-4, atol=1e-4)


# --- a bias on the scores ---------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (20, 50), (64, 1000)])
def test_buckets_are_t5s(kata, buckets, reach, bidirectional):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-1500, 1501)
    theirs = T5Attention._relative_position_bucket(-distances, bidirectional, buckets, reach)
    assert torch.equal(kata.t5_bucket(distances, buckets, reach, bidirectional), theirs)
    if bidirectional and buckets == 32:
        assert 16 not in theirs


@pytest.mark.reference
@pytest.mark.parametrize("decoder", [True, False])
def test_bias_is_t5s(kata, decoder):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=12, d_kv=4, num_heads=3, is_decoder=decoder)
    layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    layer.relative_attention_bias.weight.data = drawn(32, 3)
    theirs = layer.compute_bias(5, 150, past_seen_tokens=145)[0]
    ours = kata.t5_bias(layer.relative_attention_bias.weight, 5, 150, bidirectional=not decoder)
    torch.testing.assert_close(ours, theirs)


# --- longer contexts --------------------------------------------------------------------------------------------------


def theirs_scaled(parameters, d=128, reached=131072):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=4 * d,
        num_attention_heads=4,
        head_dim=d,
        max_position_embeddings=reached,
        rope_parameters=parameters,
    )
    return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))


@pytest.mark.reference
@pytest.mark.parametrize("d", [128, 24])
@pytest.mark.parametrize("s", [2.0, 8.0, 32.0])
def test_scaled_frequencies_are_those_of_transformers(kata, s, d):
    llama = {"rope_type": "llama3", "rope_theta": 5e5, "factor": s, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 8192}  # fmt: skip
    linear = {"rope_type": "linear", "rope_theta": 5e5, "factor": s}
    for kind, parameters in (("llama3", llama), ("interpolation", linear)):
        frequencies, factor = theirs_scaled(parameters, d)
        got = kata.scaled_frequencies(kind, d, 5e5, s)
        torch.testing.assert_close(got.float(), frequencies, rtol=1e-5, atol=0)
        assert factor == 1.0


@pytest.mark.reference
def test_ntk_is_the_dynamic_kind_of_transformers_at_one_length(kata):
    """Dynamic NTK at length L takes the factor f · L / trained - (f - 1): 4 for f = 4 and L = 7/4 trained."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    config = LlamaConfig(
        hidden_size=512, num_attention_heads=4, max_position_embeddings=4096, rope_parameters=parameters
    )
    theirs, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, torch.device("cpu"), seq_len=7168)
    torch.testing.assert_close(kata.scaled_frequencies("ntk", 128, 1e4, 4.0).float(), theirs, rtol=1e-5, atol=0)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("base", "s", "context", "d"),
    [(1e4, 16.0, 4096, 128), (5e5, 8.0, 8192, 128), (1e4, 4.0, 300, 24), (30.0, 6.0, 100_000, 24)],
)
def test_yarn_is_that_of_transformers(kata, base, s, context, d):
    parameters = {"rope_type": "yarn", "rope_theta": base, "factor": s, "original_max_position_embeddings": context}
    frequencies, factor = theirs_scaled(parameters, d)
    ours, attention_factor = kata.yarn_frequencies(d, base, s, context)
    torch.testing.assert_close(ours.float(), frequencies, rtol=1e-5, atol=0)
    assert attention_factor == pytest.approx(factor, rel=1e-9)


# --- figures ----------------------------------------------------------------------------------------------------------


def counts(ratio, s):
    kept, divided = (ratio < 1 + 1e-9).sum().item(), (ratio > s - 1e-9).sum().item()
    return kept, len(ratio) - kept - divided, divided


def test_figures_of_long_contexts(kata):
    """Llama 3.1: 29, 6, 29; YaRN s = 16: 21, 25, 18 and 1.2773; NTK s = 4: base 40,890; turns of the slowest pair."""
    assert counts(theta(128, 5e5) / kata.scaled_frequencies("llama3", 128, 5e5, 8.0), 8) == (29, 6, 29)
    frequencies, factor = kata.yarn_frequencies(128, 1e4, 16.0, 4096)
    assert counts(theta(128, 1e4) / frequencies, 16) == (21, 25, 18)
    assert (round(factor, 4), round(factor**2, 2)) == (1.2773, 1.63)
    assert kata.scaled_frequencies("ntk", 128, 1e4, 4.0)[1].item() ** -64 == pytest.approx(40890, abs=0.1)
    assert [round(2 * math.pi / theta(128, base)[-1].item(), -1) for base in (1e4, 5e5)] == [54410, 2559200]


def test_table_of_the_statement(kata):
    """By which number four methods divide, d = 128, base 500,000, s = 8, context 8192, at eight pairs."""
    pairs, slow = torch.tensor([0, 16, 24, 28, 32, 35, 48, 63]), theta(128, 5e5)
    rows = [kata.scaled_frequencies(kind, 128, 5e5, 8.0) for kind in ("interpolation", "ntk", "llama3")]
    rows.append(kata.yarn_frequencies(128, 5e5, 8.0, 8192)[0])
    got = [[round(one, 1) for one in (slow / row)[pairs].tolist()] for row in rows]
    assert got == [
        [8, 8, 8, 8, 8, 8, 8, 8],
        [1, 1.7, 2.2, 2.5, 2.9, 3.2, 4.9, 8],
        [1, 1, 1, 1, 2.7, 8, 8, 8],
        [1, 1, 1.4, 2.1, 3.6, 8, 8, 8],
    ]
    turns = 8192 * slow[pairs] / (2 * math.pi)
    assert [float(f"{one:.2g}") for one in turns.tolist()] == [1300, 49, 9.5, 4.2, 1.8, 1.0, 0.069, 0.0032]


def test_scores_do_not_have_to_decay(kata):
    """Equal q and k: 0.67 at distance 10, 0.48 at 100, 0.16 at 1,000; a key turned by 50 fits best at 50."""
    ones = torch.ones(128, dtype=torch.float64)
    got = kata.rope_scores(ones, ones, torch.tensor([0, 10, 100, 1000, 10000])) / 128
    assert [round(one, 2) for one in got.tolist()] == [1.0, 0.67, 0.48, 0.16, -0.03]
    key = kata.apply_rope(ones.view(1, 1, 1, 128), torch.tensor([50]), layout="pairs").flatten()
    assert kata.rope_scores(ones, key, torch.arange(-500, 501)).argmax().item() - 500 == 50


def test_rounding_of_positions():
    """257 and 1,001 in bfloat16; an angle at 1,000,000 in float32 is off by up to 0.05, its frequency alone by 0.03."""
    assert torch.tensor([257.0, 1001.0]).bfloat16().tolist() == [256, 1000]
    exact = theta(128, 1e4)
    rough = 10000 ** (-torch.arange(0, 128, 2) / 128)
    assert ((rough * 1e6).double() - exact * 1e6).abs().max().item() == pytest.approx(0.05, abs=0.005)
    assert ((rough.double() - exact) * 1e6).abs().max().item() == pytest.approx(0.03, abs=0.003)


def test_turned_values_see_where_they_stand(kata):
    """Turned queries and keys give outputs that a shift of all positions leaves alone; turned values do not."""
    q, k, v = (drawn(1, 2, 5, 8, seed=seed, dtype=torch.float64) for seed in (1, 2, 3))

    def attend(start, turn_values):
        places = torch.arange(start, start + 5)
        turned = [kata.apply_rope(x, places) for x in (q, k, v)]
        return (turned[0] @ turned[1].mT).softmax(-1) @ (turned[2] if turn_values else v)

    torch.testing.assert_close(attend(0, False), attend(77, False))
    assert (attend(0, True) - attend(77, True)).abs().max() > 0.1


@pytest.mark.parametrize("layout", ["halves", "pairs"])
def test_what_an_identity_passes(kata, layout):
    """Lengths, and scores at equal positions, are those of q and k as they are: such tests see no rotation."""
    q, k = drawn(1, 2, 5, 8, dtype=torch.float64), drawn(1, 2, 5, 8, seed=1, dtype=torch.float64)
    places = torch.full((5,), 9)
    turned = [kata.apply_rope(x, places, layout=layout) for x in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm(dim=-1))
    torch.testing.assert_close(turned[0] @ turned[1].mT, q @ k.mT)
    assert (turned[0] - q).abs().max() > 0.1


@pytest.mark.parametrize("layout", ["halves", "pairs"])
def test_functions_pass_gradcheck(kata, layout):
    x, places = drawn(2, 2, 3, 8, dtype=torch.float64).requires_grad_(), torch.tensor([[4, 0, 9], [1, 2, 3]])
    check = torch.autograd.gradcheck
    assert check(lambda x: kata.apply_rope(x, places, 50.0, layout, 6), (x,))
    assert check(lambda x: kata.axial_rope(x, places, places.flip(-1)), (x,))
    q, k = (drawn(3, 6, seed=seed, dtype=torch.float64).requires_grad_() for seed in (1, 2))
    assert check(lambda q, k: kata.rope_scores(q, k, torch.tensor([-3, 0, 8])), (q, k))
    table = drawn(8, 2, dtype=torch.float64).requires_grad_()
    assert check(lambda table: kata.t5_bias(table, 3, 5), (table,))
