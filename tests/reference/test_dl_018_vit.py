"""dl_018_vit against what nobody here wrote: published counts and figures, torch, scipy, and models of transformers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_018_vit")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shaken(model):
    """The model in float64, every parameter moved: no bias of 0, no norm weight of 1."""
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "count", "distilled_count"),
    [
        (192, 12, 3, 5_717_416, 5_910_800),  # ViT-Ti, DeiT-Ti distilled
        (384, 12, 6, 22_050_664, 22_436_432),
        (768, 12, 12, 86_567_656, 87_338_192),
        (1024, 24, 16, 304_326_632, None),
    ],
)
def test_parameters_of_the_published_models(kata, dim, depth, heads, count, distilled_count):
    def parameters(**how):
        with torch.device("meta"):
            model = kata.VisionTransformer((224, 224), 16, 3, dim, depth, heads, 1000, **how)
        return sum(p.numel() for p in model.parameters())

    assert parameters() == count
    if distilled_count:
        assert parameters(distilled=True) == distilled_count


def test_patches_are_torchs(kata):
    images = torch.randn(2, 3, 8, 12)
    patches = kata.patchify(images, 4)
    torch.testing.assert_close(patches, F.unfold(images, 4, stride=4).mT)
    torch.testing.assert_close(patches.mT.unflatten(2, (2, 3)), F.pixel_unshuffle(images, 4))
    torch.testing.assert_close(kata.unpatchify(patches, 4, (8, 12)), F.fold(patches.mT, (8, 12), 4, stride=4))
    embed = kata.PatchEmbedding(3, 4, 7)
    convolved = F.conv2d(images, embed.weight, embed.bias, stride=4)
    torch.testing.assert_close(embed(images), convolved.flatten(2).mT)


def test_block_is_torchs_encoder_layer(kata):
    block = shaken(kata.EncoderBlock(12, 3))
    layer = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).double()
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "fc1": "linear1",
        "fc2": "linear2",
        "out": "self_attn.out_proj",
        "qkv": "self_attn.in_proj_",
    }
    state = {}
    for name, value in block.state_dict().items():
        module, kind = name.rsplit(".", 1)
        state[names[module] + ("" if module == "qkv" else ".") + kind] = value
    layer.load_state_dict(state)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    out, weights = block(x)
    torch.testing.assert_close(out, layer(x))
    _, want = layer.self_attn(*[layer.norm1(x)] * 3, average_attn_weights=False)
    torch.testing.assert_close(weights, want)


def test_losses_and_measures_are_torchs(kata):
    logits, distilled, teacher = torch.randn(3, 5, 7, dtype=torch.float64)
    labels = torch.randint(7, (5,))
    kl = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(distilled / 3, -1), F.softmax(teacher / 3, -1))
    want = 0.9 * F.cross_entropy(logits, labels) + 0.1 * 9 * kl
    torch.testing.assert_close(
        kata.distillation_loss(logits, distilled, teacher, labels, "soft", weight=0.1, temperature=3.0), want
    )


@pytest.mark.parametrize("size", [(7, 7), (40, 60), (60, 40), (1, 5), (0, 3), (100, 100)])
@pytest.mark.parametrize("kind", ["normal", "integer", "offset", "wide"])
@pytest.mark.reference
def test_linear_assignment_is_scipys(kata, size, kind):
    from scipy.optimize import linear_sum_assignment

    cost = {
        "normal": lambda: torch.randn(size, dtype=torch.float64),
        "integer": lambda: torch.randint(-5, 6, size).double(),
        "offset": lambda: 1e6 + torch.rand(size, dtype=torch.float64),
        "wide": lambda: torch.exp(8 * torch.randn(size, dtype=torch.float64)),
    }[kind]()
    rows, columns = kata.linear_assignment(cost)
    want_rows, want_columns = linear_sum_assignment(cost.numpy())
    want = float(cost[torch.from_numpy(want_rows), torch.from_numpy(want_columns)].sum())
    assert float(cost[rows, columns].sum()) == pytest.approx(want, rel=1e-12)
    if kind != "integer":  # elsewhere the best is unique
        assert (rows.tolist(), columns.tolist()) == (want_rows.tolist(), want_columns.tolist())


# ----------------------------------------------------------------------------------------------------- transformers

CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # its eager attention takes the softmax in float32, whatever the model's dtype
TINY = {
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "image_size": (8, 12),
    "patch_size": 4,
    "num_channels": 3,
    "num_labels": 7,
    "layer_norm_eps": 1e-6,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "eager",
}


def joined(state, prefix, out="o_proj"):
    """Their three projections as one."""
    qkv = {f"qkv.{k}": torch.cat([state[f"{prefix}{x}_proj.{k}"] for x in "qkv"]) for k in ("weight", "bias")}
    return qkv | {f"out.{k}": state[f"{prefix}{out}.{k}"] for k in ("weight", "bias")}


def ours(kata, theirs, base, heads, size=(8, 12)):
    """The solution with the weights of a ViT or DeiT of transformers."""
    state = theirs.state_dict()
    get = lambda name: state[f"{base}.{name}"]  # noqa: E731
    tokens = [get("embeddings.cls_token")[0]]
    if base == "deit":
        tokens.append(get("embeddings.distillation_token")[0])
    mine = {
        "prefix": torch.cat(tokens),
        "positions": get("embeddings.position_embeddings")[0],
        "embed.weight": get("embeddings.patch_embeddings.projection.weight"),
        "embed.bias": get("embeddings.patch_embeddings.projection.bias"),
    }
    renamed = {"norm1": "layernorm_before", "norm2": "layernorm_after", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    for kind in ("weight", "bias"):
        mine[f"norm.{kind}"] = get(f"layernorm.{kind}")
        mine |= {f"{name}.{kind}": state[f"{other}.{kind}"] for name, other in heads.items()}
        for i in range(3):
            mine |= {f"blocks.{i}.{a}.{kind}": get(f"layers.{i}.{b}.{kind}") for a, b in renamed.items()}
    for i in range(3):
        mine |= {f"blocks.{i}.{name}": one for name, one in joined(state, f"{base}.layers.{i}.attention.").items()}
    model = kata.VisionTransformer(size, 4, 3, 12, 3, 3, 7, distilled=base == "deit").double().eval()
    model.load_state_dict(mine)
    return model


@pytest.mark.reference
@pytest.mark.parametrize(  # transformers interpolates the positions of square images only
    ("made_for", "size"), [((8, 12), (8, 12)), ((8, 8), (8, 12)), ((8, 8), (12, 8)), ((8, 8), (16, 20))], ids=str
)
def test_vision_transformer_is_transformers(kata, made_for, size):
    from transformers import ViTConfig, ViTForImageClassification

    theirs = shaken(ViTForImageClassification(ViTConfig(**TINY | {"image_size": made_for})))
    model = ours(kata, theirs, "vit", {"head": "classifier"}, made_for)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        resize = size != made_for
        want = theirs(images, interpolate_pos_encoding=resize, output_attentions=True, output_hidden_states=True)
        torch.testing.assert_close(model(images), want.logits, **CLOSE)
        tokens, maps = model.features(images)
    torch.testing.assert_close(tokens, theirs.vit.layernorm(want.hidden_states[-1]), **CLOSE)
    for a, b in zip(maps, want.attentions, strict=True):
        torch.testing.assert_close(a, b, check_dtype=False, **CLOSE)


@pytest.mark.reference
def test_distilled_model_is_transformers_deit(kata):
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    theirs = shaken(DeiTForImageClassificationWithTeacher(DeiTConfig(**TINY)))
    model = ours(kata, theirs, "deit", {"head": "cls_classifier", "head_distilled": "distillation_classifier"})
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        want = theirs(images)
        torch.testing.assert_close(model(images), want.logits, **CLOSE)
        one, two = model.train()(images)
    torch.testing.assert_close(one, want.cls_logits, **CLOSE)
    torch.testing.assert_close(two, want.distillation_logits, **CLOSE)


@pytest.mark.reference
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_window_attention_is_transformers_swin(kata, shift):
    from transformers import SwinConfig
    from transformers.models.swin.modeling_swin import SwinLayer

    config = SwinConfig(window_size=3, attn_implementation="eager", drop_path_rate=0.0)
    theirs = shaken(SwinLayer(config, 12, (6, 9), 3, shift_size=shift))
    state = theirs.state_dict()
    layer = kata.WindowAttention(12, 3, 3).double()
    table = state["attention.relative_position_bias.relative_position_bias_table"]
    layer.load_state_dict(joined(state, "attention.") | {"table": table})
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        want, _ = theirs(x.flatten(1, 2), (6, 9))
        got = x + layer(theirs.layernorm_before(x), shift)
        got = got + theirs.mlp(theirs.layernorm_after(got))
    torch.testing.assert_close(got.flatten(1, 2), want, **CLOSE)
    if shift:
        mask = theirs.get_attn_mask(6, 9, torch.float64, x.device).reshape(6, 9, 9)
        assert kata.shifted_window_mask(6, 9, 3, shift).equal(mask == 0)


@pytest.mark.reference
def test_matching_is_transformers_detr(kata, monkeypatch):
    from transformers.loss import loss_for_object_detection as detr

    # transformers imports this function only where an image library is installed
    monkeypatch.setattr(detr, "center_to_corners_format", kata.corners, raising=False)
    matcher = detr.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    for q, m in ((100, 13), (20, 20), (5, 9)):
        logits, boxes = torch.randn(1, q, 92, dtype=torch.float64), torch.rand(1, q, 4, dtype=torch.float64)
        labels, targets = torch.randint(91, (m,)), torch.rand(m, 4, dtype=torch.float64)
        [want] = matcher({"logits": logits, "pred_boxes": boxes}, [{"class_labels": labels, "boxes": targets}])
        got = kata.hungarian_match(logits[0], boxes[0], labels, targets)
        assert [x.tolist() for x in got] == [x.tolist() for x in want]
        a, b = kata.corners(boxes[0]), kata.corners(targets)
        torch.testing.assert_close(kata.generalized_box_iou(a, b), detr.generalized_box_iou(a, b))


@pytest.mark.reference
def test_dice_is_transformers_without_a_softmax(kata):
    """Theirs takes a sigmoid for each mask; two classes with logits (x, 0) have the same probabilities."""
    from transformers.loss.loss_for_object_detection import dice_loss

    x, mask = torch.randn(4, 5, 6, dtype=torch.float64), torch.randint(2, (4, 5, 6))
    classes = torch.stack([torch.stack([x, 0 * x], 1), torch.stack([0 * x, x], 1)])  # the mask as class 0, as class 1
    want = [dice_loss(s * x.flatten(1), (t).flatten(1).double(), 4) for s, t in ((1, mask), (-1, 1 - mask))]
    torch.testing.assert_close(kata.dice_loss(classes[0], 1 - mask), sum(want) / 2)
    torch.testing.assert_close(kata.dice_loss(classes[1], mask), sum(want) / 2)


@pytest.mark.reference
def test_fixed_positions_are_transformers_mae(kata):
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    rows, columns = build_2d_sinusoidal_position_embedding(5, 7, 44, dtype=torch.float64).chunk(2, -1)
    want = torch.cat([columns, rows], -1)  # as its model puts them, for the sake of MAE's published weights
    torch.testing.assert_close(kata.sincos_2d(5, 7, 44, torch.float64), want)


def test_product_of_fixed_positions_depends_on_their_offset(kata):
    table = kata.sincos_2d(5, 7, 64, torch.float64)
    products = (table @ table.T).reshape(5, 7, 5, 7)
    torch.testing.assert_close(products[1, 2, 3, 5], products[0, 1, 2, 4])
    torch.testing.assert_close(products[2, 2, 2, 2], torch.tensor(32.0, dtype=torch.float64))
