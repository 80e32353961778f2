"""dl_010_transformer_full against what nobody here wrote: torch's layers, models of transformers, published figures."""

import math

import pytest
import torch
from torch import nn

from grader.answering.module import solution

B, T, S, D, H, HIDDEN = 2, 7, 5, 24, 3, 40


@pytest.fixture(scope="module")
def kata():
    return solution("dl_010_transformer_full")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shaken(module):
    """With random biases and norms too: as torch makes them, they hide mistakes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + ("norm" in name or "ln" in name))
    return module.double().eval()


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


# --------------------------------------------------------------------------------------------------- torch's own layers


def from_torch(layer, cross=False):
    """Parameters of a TransformerEncoderLayer or TransformerDecoderLayer, under our names."""
    names = {"attention": layer.self_attn, "cross_attention": layer.multihead_attn} if cross else {}
    names = names or {"attention": layer.self_attn}
    norms = ["norm_attention", "norm_cross", "norm_feed_forward"] if cross else ["norm_attention", "norm_feed_forward"]
    w = {}
    for name, theirs in names.items():
        for which, weight, bias in zip(
            "qkv", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
        ):
            w |= {f"{name}.{which}_proj.weight": weight, f"{name}.{which}_proj.bias": bias}
        w |= {f"{name}.out_proj.{key}": value for key, value in theirs.out_proj.named_parameters()}
    for i, name in enumerate(norms, 1):
        w |= {f"{name}.{key}": value for key, value in getattr(layer, f"norm{i}").named_parameters()}
    for name, theirs in (("up", layer.linear1), ("down", layer.linear2)):
        w |= {f"feed_forward.{name}.{key}": value for key, value in theirs.named_parameters()}
    return w


@pytest.mark.parametrize("kind", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_an_encoder_block_is_torchs(kata, norm_first, kind):
    theirs = shaken(nn.TransformerEncoderLayer(D, H, HIDDEN, 0.0, kind, batch_first=True, norm_first=norm_first))
    name = "PreNormBlock" if norm_first else "PostNormBlock"
    ours = getattr(kata, name)(D, H, HIDDEN, kind=kind).double()
    ours.load_state_dict(from_torch(theirs))
    x = torch.randn(B, T, D, dtype=torch.float64)
    real = torch.arange(T) < torch.tensor([[T], [4]])
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    same(ours(x), theirs(x))
    same(ours(x, causal), theirs(x, src_mask=~causal))
    same(ours(x, real[:, None, None])[real], theirs(x, src_key_padding_mask=~real)[real])


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_decoder_block_is_torchs(kata, norm_first):
    theirs = shaken(nn.TransformerDecoderLayer(D, H, HIDDEN, 0.0, "relu", batch_first=True, norm_first=norm_first))
    name = "PreNormBlock" if norm_first else "PostNormBlock"
    ours = getattr(kata, name)(D, H, HIDDEN, kind="relu", cross=True).double()
    ours.load_state_dict(from_torch(theirs, cross=True))
    x, memory = torch.randn(B, T, D, dtype=torch.float64), torch.randn(B, S, D, dtype=torch.float64)
    real, causal = torch.arange(S) < torch.tensor([[S], [3]]), torch.ones(T, T, dtype=torch.bool).tril()
    want = theirs(x, memory, tgt_mask=~causal, memory_key_padding_mask=~real)
    same(ours(x, causal, memory, real[:, None, None]), want)


def test_encoder_decoder_is_torchs_transformer(kata):
    theirs = shaken(nn.Transformer(D, H, 2, 3, HIDDEN, 0.0, "relu", batch_first=True, norm_first=True))
    ours = kata.EncoderDecoder(11, 13, 9, D, H, 2, 3, HIDDEN).double()
    w = {name: value for name, value in ours.state_dict().items() if "position" in name or "embedding" in name}
    w |= {"head.weight": ours.head.weight}
    for stack, layers, cross in (("encoder", theirs.encoder, False), ("decoder", theirs.decoder, True)):
        w |= {f"{stack}_norm.{key}": value for key, value in layers.norm.named_parameters()}
        for i, layer in enumerate(layers.layers):
            w |= {f"{stack}.{i}.{key}": value for key, value in from_torch(layer, cross).items()}
    ours.load_state_dict(w)
    source, target = torch.randint(11, (B, S)), torch.randint(13, (B, T))
    real, causal = torch.arange(S) < torch.tensor([[S], [3]]), torch.ones(T, T, dtype=torch.bool).tril()
    x = ours.source_embedding(source) + ours.source_position.weight[:S]
    y = ours.target_embedding(target) + ours.target_position.weight[:T]
    hidden = theirs(x, y, tgt_mask=~causal, src_key_padding_mask=~real, memory_key_padding_mask=~real)
    same(ours(source, target, real), hidden @ ours.head.weight.T)


# --------------------------------------------------------------------------------------------------------- transformers


def gpt2(**changes):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = {"vocab_size": 97, "n_positions": 16, "n_embd": D, "n_layer": 3, "n_head": H}
    return GPT2LMHeadModel(GPT2Config(**config, **changes))


@pytest.mark.reference
@pytest.mark.parametrize(("activation", "kind"), [("gelu_new", "gelu_tanh"), ("gelu", "gelu"), ("relu", "relu")])
def test_the_language_model_is_gpt2(kata, activation, kind):
    theirs = shaken(gpt2(activation_function=activation))
    ours = kata.DecoderLM(97, 16, D, H, 3, kind=kind).double()
    body = theirs.transformer
    w = {"token_embedding.weight": body.wte.weight, "position_embedding.weight": body.wpe.weight}
    w |= {f"norm.{key}": value for key, value in body.ln_f.named_parameters()}
    for i, block in enumerate(body.h):
        at = f"blocks.{i}."
        weights, biases = block.attn.c_attn.weight.T.chunk(3), block.attn.c_attn.bias.chunk(3)  # Conv1D holds (in, out)
        for which, weight, bias in zip("qkv", weights, biases, strict=True):
            w |= {f"{at}attention.{which}_proj.weight": weight, f"{at}attention.{which}_proj.bias": bias}
        for name, layer in (
            ("attention.out_proj", block.attn.c_proj),
            ("feed_forward.up", block.mlp.c_fc),
            ("feed_forward.down", block.mlp.c_proj),
        ):
            w |= {f"{at}{name}.weight": layer.weight.T, f"{at}{name}.bias": layer.bias}
        for name, layer in (("norm_attention", block.ln_1), ("norm_feed_forward", block.ln_2)):
            w |= {f"{at}{name}.{key}": value for key, value in layer.named_parameters()}
    ours.load_state_dict(w)
    tokens = torch.randint(97, (B, 16))
    same(ours(tokens), theirs(tokens).logits)


@pytest.mark.reference
def test_the_language_model_starts_like_gpt2(kata):
    """The standard deviations of its initial weights are those of transformers' GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, d = 5, 96
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=211, n_positions=64, n_embd=d, n_layer=layers, n_head=3)).transformer
    ours = kata.DecoderLM(211, 64, d, 3, layers)
    for i in range(layers):
        block = ours.blocks[i]
        pairs = [(block.attention.out_proj, theirs.h[i].attn.c_proj), (block.feed_forward.down, theirs.h[i].mlp.c_proj)]
        pairs += [(block.attention.v_proj, theirs.h[i].attn.c_attn), (block.feed_forward.up, theirs.h[i].mlp.c_fc)]
        for mine, their in pairs:
            assert mine.weight.std().item() == pytest.approx(their.weight.std().item(), rel=0.05)
            assert not mine.bias.any()
    assert ours.token_embedding.weight.std().item() == pytest.approx(theirs.wte.weight.std().item(), rel=0.05)
    assert ours.position_embedding.weight.std().item() == pytest.approx(theirs.wpe.weight.std().item(), rel=0.05)


class Beside(nn.Module):
    """Our attention where a layer of transformers expects its own: so only the wiring is compared."""

    def __init__(self, attention, mask):
        super().__init__()
        self.attention, self.mask = attention, mask

    def forward(self, hidden_states, **_):
        return self.attention(hidden_states, mask=self.mask), None


@pytest.mark.reference
@pytest.mark.parametrize("before", [True, False])
def test_double_norm_is_gemma_2_and_olmo_2(kata, before):
    ours = shaken(kata.DoubleNormBlock(D, H, HIDDEN, before=before))
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    sizes = {"hidden_size": D, "num_attention_heads": H, "num_key_value_heads": H, "intermediate_size": HIDDEN}
    if before:
        from transformers import Gemma2Config
        from transformers.models.gemma2.modeling_gemma2 import Gemma2DecoderLayer

        theirs, one = Gemma2DecoderLayer(Gemma2Config(**sizes, hidden_activation="silu", rms_norm_eps=1e-6), 0), 1.0
        norms = {
            "input_layernorm": ours.norm_attention_in,
            "post_attention_layernorm": ours.norm_attention_out,
            "pre_feedforward_layernorm": ours.norm_feed_forward_in,
            "post_feedforward_layernorm": ours.norm_feed_forward_out,
        }
    else:
        from transformers import Olmo2Config
        from transformers.models.olmo2.modeling_olmo2 import Olmo2DecoderLayer

        theirs, one = Olmo2DecoderLayer(Olmo2Config(**sizes, rms_norm_eps=1e-6), 0), 0.0
        norms = {
            "post_attention_layernorm": ours.norm_attention_out,
            "post_feedforward_layernorm": ours.norm_feed_forward_out,
        }
    theirs.self_attn = Beside(ours.attention, causal)
    theirs.double()
    with torch.no_grad():
        for name, norm in norms.items():
            getattr(theirs, name).weight.copy_(norm.weight - one)  # Gemma's weights count from 1
        for name in ("gate", "up", "down"):
            getattr(theirs.mlp, f"{name}_proj").weight.copy_(getattr(ours.feed_forward, name).weight)
        x = torch.randn(B, T, D, dtype=torch.float64)
        # transformers' norms compute in float32
        torch.testing.assert_close(ours(x, causal), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.reference
def test_the_parallel_block_is_gpt_j(kata):
    from transformers import GPTJConfig
    from transformers.models.gptj.modeling_gptj import GPTJBlock

    ours = shaken(kata.ParallelBlock(D, H, HIDDEN, kind="gelu_tanh"))
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    theirs = (
        GPTJBlock(GPTJConfig(n_embd=D, n_head=H, n_inner=HIDDEN, rotary_dim=4, attn_implementation="eager"), 0)
        .double()
        .eval()
    )
    theirs.attn = Beside(ours.attention, causal)
    theirs.ln_1.load_state_dict(ours.norm.state_dict())
    theirs.mlp.fc_in.load_state_dict(ours.feed_forward.up.state_dict())
    theirs.mlp.fc_out.load_state_dict(ours.feed_forward.down.state_dict())
    x = torch.randn(B, T, D, dtype=torch.float64)
    same(ours(x, causal), theirs(x)[0])


@pytest.mark.reference
def test_swiglu_is_llamas(kata):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    theirs = LlamaMLP(LlamaConfig(hidden_size=D, num_attention_heads=H, intermediate_size=HIDDEN)).double()
    ours = kata.FeedForward(D, HIDDEN, "swiglu").double()
    ours.load_state_dict({name.replace("_proj", ""): value for name, value in theirs.state_dict().items()})
    x = torch.randn(B, T, D, dtype=torch.float64)
    same(ours(x), theirs(x))


@pytest.mark.reference
@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl", "llama-2-7b", "llama-3-8b", "mistral-7b", "gemma-2-2b"])
def test_counts_are_those_of_transformers(kata, name):
    """Built on the meta device, so without memory."""
    import transformers as tf

    llama = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
    modern = {"gated": True, "bias": False, "norm": "rms"}
    llama_like = {"dim": 4096, "layers": 32, "heads": 32, "tied": False, **modern}
    gemma = {"hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4}
    built, ours, published = {
        "gpt2": (
            lambda: tf.GPT2LMHeadModel(tf.GPT2Config()),
            {"vocab": 50257, "dim": 768, "layers": 12, "heads": 12, "hidden": 3072, "positions": 1024},
            124_439_808,
        ),
        "gpt2-xl": (
            lambda: tf.GPT2LMHeadModel(tf.GPT2Config(n_embd=1600, n_layer=48, n_head=25)),
            {"vocab": 50257, "dim": 1600, "layers": 48, "heads": 25, "hidden": 6400, "positions": 1024},
            1_557_611_200,
        ),
        "llama-2-7b": (
            lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**llama, vocab_size=32000, intermediate_size=11008)),
            {"vocab": 32000, "hidden": 11008, **llama_like},
            6_738_415_616,
        ),
        "llama-3-8b": (
            lambda: tf.LlamaForCausalLM(
                tf.LlamaConfig(**llama, vocab_size=128256, intermediate_size=14336, num_key_value_heads=8)
            ),
            {"vocab": 128256, "hidden": 14336, "kv_heads": 8, **llama_like},
            8_030_261_248,
        ),
        "mistral-7b": (
            lambda: tf.MistralForCausalLM(
                tf.MistralConfig(**llama, vocab_size=32000, intermediate_size=14336, num_key_value_heads=8)
            ),
            {"vocab": 32000, "hidden": 14336, "kv_heads": 8, **llama_like},
            7_241_732_096,
        ),
        "gemma-2-2b": (
            lambda: tf.Gemma2ForCausalLM(
                tf.Gemma2Config(**gemma, vocab_size=256000, intermediate_size=9216, head_dim=256)
            ),
            {"vocab": 256000, "dim": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "hidden": 9216}
            | {"norms": 4, **modern},
            2_614_341_888,
        ),
    }[name]
    with torch.device("meta"):
        model = built()
    theirs = sum(parameter.numel() for parameter in model.parameters())
    assert kata.parameter_count(**ours) == theirs == published


# ---------------------------------------------------------------------------------------------------- published figures


def test_counts_are_those_of_the_model_itself(kata):
    for layers, hidden in ((1, 24), (3, 17)):
        model = kata.DecoderLM(29, 13, 12, 3, layers, hidden)
        want = kata.parameter_count(vocab=29, dim=12, layers=layers, heads=3, hidden=hidden, positions=13)
        assert sum(parameter.numel() for parameter in model.parameters()) == want


@pytest.mark.parametrize(
    ("dim", "options", "width"),
    [
        (4096, {"multiple": 256}, 11_008),  # Llama and Llama 2, 7B
        (5120, {"multiple": 256}, 13_824),  # 13B
        (6656, {"multiple": 256}, 17_920),  # Llama 33B
        (8192, {"multiple": 256}, 22_016),  # Llama 65B
        (8192, {"multiplier": 1.3, "multiple": 4096}, 28_672),  # Llama 2 and 3, 70B
        (4096, {"multiplier": 1.3, "multiple": 1024}, 14_336),  # Llama 3 8B
    ],
)
def test_widths_of_llama(kata, dim, options, width):
    assert kata.hidden_width(dim, "swiglu", **options) == width


def test_deepnorm_constants_of_known_depths(kata):
    """alpha⁴ and beta⁻⁴ are 2N and 8N where one stack stands alone; beside an encoder, M alone sets the decoder's."""
    for n in (6, 100, 500):
        for key, pair in (("encoder", (n, 0)), ("decoder", (0, n))):
            alpha, beta = kata.deepnorm_constants(*pair)[key]
            assert (alpha**4, beta**-4) == pytest.approx((2 * n, 8 * n))
    alpha, beta = kata.deepnorm_constants(18, 18)["encoder"]  # the paper's 18L-18L
    assert (alpha / 0.81, 0.87 / beta) == pytest.approx((18 ** (5 / 16), 18 ** (5 / 16)))
    assert kata.deepnorm_constants(18, 18)["decoder"] == pytest.approx((54**0.25, 216**-0.25))


def last_gradient(kata, name, layers):
    """Gradient norm of the last of `layers` blocks, Xavier initialised with biases 0, one head, as in the paper."""
    blocks = [getattr(kata, name)(64, 1, kind="relu") for _ in range(layers)]
    for parameter in nn.ModuleList(blocks).parameters():
        if parameter.dim() == 2:
            nn.init.xavier_normal_(parameter)
    for block in blocks:
        for bias in (block.feed_forward.up.bias, block.feed_forward.down.bias, block.attention.out_proj.bias):
            nn.init.zeros_(bias)
    last = nn.LayerNorm(64) if name == "PreNormBlock" else nn.Identity()
    norms = kata.gradient_norm_by_depth([*blocks, last], torch.randn(8, 16, 64), torch.randn(8, 16, 64))
    return norms[layers - 1]


def test_pre_norm_gradients_shrink_with_depth_and_post_norm_ones_do_not(kata):
    """Xiong et al., theorem 1: the last layer's gradient does not depend on the depth L with post-norm, and is
    O(1/sqrt(L)) with pre-norm."""
    few, many = 6, 54
    post = last_gradient(kata, "PostNormBlock", few) / last_gradient(kata, "PostNormBlock", many)
    pre = last_gradient(kata, "PreNormBlock", few) / last_gradient(kata, "PreNormBlock", many)
    assert post == pytest.approx(1, rel=0.25)
    assert pre == pytest.approx(math.sqrt(many / few), rel=0.25)
