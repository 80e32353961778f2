"""The hidden checks of dl_010_transformer_full."""

import itertools
import math

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_turns
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import hold_generator, hold_rate
from grader.checks.repeats import hold_matrices_unlike

from . import drivers

KINDS = ["relu", "gelu", "gelu_tanh", "swiglu"]

# --------------------------------------------------------------------------------- parameters, by the names of the stub


def linear_weights(draw, name, rows, columns, bias=True):
    w = {f"{name}.weight": draw.normal(rows, columns, scale=columns**-0.5)}
    return {**w, f"{name}.bias": draw.normal(rows, scale=0.5)} if bias else w


def norm_weights(draw, name, d, bias=True):
    w = {f"{name}.weight": draw.uniform(d, low=0.5, high=1.5)}
    return {**w, f"{name}.bias": draw.normal(d, scale=0.5)} if bias else w


def attention_weights(draw, name, d, bias=True):
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    return {k: v for n in names for k, v in linear_weights(draw, f"{name}.{n}", d, d, bias).items()}


def feed_forward_weights(draw, d, hidden, kind, prefix=""):
    gated = kind == "swiglu"
    w = linear_weights(draw, f"{prefix}up", hidden, d, not gated)
    w |= linear_weights(draw, f"{prefix}down", d, hidden, not gated)
    return w | linear_weights(draw, f"{prefix}gate", hidden, d, False) if gated else w


def block_weights(draw, d, hidden, kind="gelu", cross=False, prefix=""):
    """Of PreNormBlock, PostNormBlock, DeepNormBlock."""
    w = {}
    for name in ("attention", "cross_attention") if cross else ("attention",):
        w |= attention_weights(draw, name, d) | norm_weights(draw, f"norm_{name.removesuffix('_attention')}", d)
    w |= feed_forward_weights(draw, d, hidden, kind, "feed_forward.") | norm_weights(draw, "norm_feed_forward", d)
    return {prefix + name: value for name, value in w.items()}


def cast(w, dtype):
    dtype = of_type(dtype) if isinstance(dtype, str) else dtype
    return {name: value.to(dtype) for name, value in w.items()}


# ------------------------------------------------------------------------------------------------------------- oracles


def linear(w, name, x):
    y = torch.einsum("...i,oi->...o", x, w[f"{name}.weight"])
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def norm(w, name, x):
    """LayerNorm where there is a bias, else RMSNorm."""
    if f"{name}.bias" in w:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]


def attention(w, name, heads, x, context, mask):
    split = lambda y: y.reshape(*y.shape[:2], heads, y.shape[2] // heads)
    q = split(linear(w, f"{name}.q_proj", x))
    k, v = (split(linear(w, f"{name}.{which}", context)) for which in ("k_proj", "v_proj"))
    scores = torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = torch.where(mask, scores, -math.inf)
    return linear(w, f"{name}.out_proj", torch.einsum("bhij,bjhe->bihe", torch.softmax(scores, -1), v).flatten(2))


def gelu(u):
    return u * (1 + torch.erf(u / math.sqrt(2))) / 2


def gelu_tanh(u):
    return u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))) / 2


ACTIVATIONS = {
    "relu": lambda u: u.clamp(min=0),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda u: u * u.sigmoid(),
}


def feed_forward(w, kind, x, prefix=""):
    up = linear(w, f"{prefix}up", x)
    if kind == "swiglu":
        return linear(w, f"{prefix}down", ACTIVATIONS["silu"](linear(w, f"{prefix}gate", x)) * up)
    return linear(w, f"{prefix}down", ACTIVATIONS[kind](up))


WIRINGS = {
    "pre": lambda x, f, n: x + f(n(x)),
    "post": lambda x, f, n: n(x + f(x)),
    "norm on the output alone": lambda x, f, n: x + n(f(x)),
    "the skip after the norm": lambda x, f, n: n(x) + f(n(x)),
    "no skip": lambda x, f, n: f(n(x)),
    "no norm": lambda x, f, n: x + f(x),
}


def block(w, wiring, heads, x, mask=None, context=None, seen=None, kind="gelu", prefix="", order=None):
    """Of the blocks with a norm a sub-layer. wiring: (x, f, n) -> the new x."""
    wiring = WIRINGS[wiring] if isinstance(wiring, str) else wiring
    self_attention = lambda y: attention(w, f"{prefix}attention", heads, y, y, mask)
    cross = lambda y: attention(w, f"{prefix}cross_attention", heads, y, context, seen)
    forward = lambda y: feed_forward(w, kind, y, f"{prefix}feed_forward.")
    steps = [("norm_attention", self_attention), ("norm_cross", cross), ("norm_feed_forward", forward)]
    for name, f in [steps[i] for i in order or range(3)]:
        if name != "norm_cross" or context is not None:
            x = wiring(x, f, lambda y, name=name: norm(w, prefix + name, y))
    return x


def slopes(out, leaves, upstream):
    """{name: the gradient of (out · upstream).sum()}; leaves: dict of name to tensor."""
    found = torch.autograd.grad((out * upstream).sum(), list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def agree_slopes(got, want, of):
    """Without the biases of keys: they add the same to all scores of a query, so their true gradient is 0."""
    kept = lambda found: {name: value for name, value in found.items() if not name.endswith("k_proj.bias")}
    agree(kept(got), kept(want), of=f"gradients of {of}")


def leaves(w, **inputs):
    return {name: value.detach().clone().requires_grad_() for name, value in {**inputs, **w}.items()}


def mistakes(w, heads, x, but, **how):
    """What blocks of other wirings give."""
    other = {"a pre-norm block": "pre", "a post-norm block": "post"}
    other |= {name: name for name in WIRINGS if name not in ("pre", "post")}
    return {
        name: lambda wiring=wiring: block(w, wiring, heads, x, **how) for name, wiring in other.items() if wiring != but
    }


def some_mask(draw, *shape):
    """Random, and every query sees something: (..., t, s), place i % s of row i is visible."""
    mask = draw.uniform(*shape) < 0.5
    rows = torch.arange(shape[-2])
    mask[..., rows, rows % shape[-1]] = True
    return mask


B, T, S, D, H, HIDDEN = 2, 5, 7, 12, 3, 17
SAID = f"b={B}, t={T}, d={D}, {H} heads"


def check_modes(attempt, name, arguments, options, w, inputs, want, of, axes="b t d"):
    """The same in training and evaluation, with gradients and under no_grad."""
    modes = list(itertools.product((True, False), repeat=2))
    found = attempt.run(drivers.in_each_mode, name, arguments, options, w, modes, *inputs)
    for (training, learns), got in zip(modes, found, strict=True):
        mode = f"{'training' if training else 'evaluation'}, {'with gradients' if learns else 'under no_grad'}"
        agree(got, want, axes=axes, of=f"{of}, in {mode}")


def check_sub_layers(attempt, draw, name, wiring, dtype, options=None, of=""):
    """Self-attention and feed-forward alone, the hidden width by default, nothing masked; x strided; one token."""
    w = cast(block_weights(draw, D, 4 * D), dtype)
    x = draw.normal(B, D, T, dtype=of_type(dtype), scale=3.0).mT
    options = options or {}
    for tokens in (T, 1):
        y = x[:, :tokens]
        got = attempt.run(drivers.module_output, name, [D, H], options, w, y)
        known = mistakes(w, H, y, wiring)
        known["feed-forward before attention"] = lambda y=y: block(w, wiring, H, y, order=(2, 0))
        agree(got, block(w, wiring, H, y), axes="b t d", of=f"{name}{of}, {SAID}, {tokens} tokens", known=known)


def check_masks(attempt, draw, name, wiring, options=None):
    """Self-attention with masks of three shapes, each kind of feed-forward network."""
    for kind, shape in (("relu", (T, T)), ("gelu_tanh", (B, 1, 1, T)), ("swiglu", (B, H, T, T))):
        w = block_weights(draw, D, HIDDEN, kind)
        x, mask = draw.normal(B, T, D), some_mask(draw, *shape)
        got = attempt.run(drivers.module_output, name, [D, H, HIDDEN], {"kind": kind, **(options or {})}, w, x, mask)
        of = f"{name}, {SAID}, hidden {HIDDEN}, kind {kind}, mask of shape {shape}"
        known = {
            "a mask the other way round": lambda w=w, x=x, m=mask, k=kind: block(w, wiring, H, x, ~m, kind=k),
            "no mask": lambda w=w, x=x, k=kind: block(w, wiring, H, x, kind=k),
            "a pre-norm block": lambda w=w, x=x, m=mask, k=kind: block(w, "pre", H, x, m, kind=k),
        }
        if wiring == "pre":
            del known["a pre-norm block"]
        want = block(w, wiring, H, x, mask, kind=kind)
        agree(got, want, axes="b t d", of=of, known=known)
        check_modes(attempt, name, [D, H, HIDDEN], {"kind": kind, **(options or {})}, w, [x, mask], want, of)
    for name_of, value in (("q_proj", 1e6), ("k_proj", -1e6)):  # all scores are equal, and below what may hide: -1e9
        w[f"attention.{name_of}.weight"] = torch.zeros(D, D, dtype=torch.float64)
        w[f"attention.{name_of}.bias"] = torch.full((D,), value, dtype=torch.float64)
    got = attempt.run(drivers.module_output, name, [D, H, HIDDEN], {"kind": kind, **(options or {})}, w, x, mask)
    want = block(w, wiring, H, x, mask, kind=kind)
    agree(got, want, axes="b t d", of=f"{of}, all scores of the attention near -10^12")


def check_cross(attempt, draw, name, wiring, options=None):
    """With a context, values and all gradients. The context is used as it comes, with its own mask or none."""
    options = {"cross": True, "kind": "relu", **(options or {})}
    w = block_weights(draw, D, HIDDEN, "relu", cross=True)
    x, context, upstream = draw.normal(B, T, D), draw.normal(B, D, S, scale=2.0).mT, draw.normal(B, T, D)
    causal, some = torch.ones(T, T, dtype=torch.bool).tril(), some_mask(draw, B, 1, 1, S)
    for mask, seen in ((causal, some), (None, None), (causal, None), (None, some)):
        mine = leaves(w, x=x, context=context)
        how = {"mask": mask, "seen": seen, "kind": "relu"}
        want = block(mine, wiring, H, mine["x"], context=mine["context"], **how)
        got, gradients = attempt.run(
            drivers.block_gradients, name, [D, H, HIDDEN], options, w, x, upstream, mask, context, seen
        )
        masks = f"{'no mask' if mask is None else 'causal'}, context {'not ' if seen is None else ''}masked"
        of = f"{name} with cross-attention to {S} tokens, {SAID}, {masks}"
        with torch.no_grad():
            known = {
                "normalising the context": lambda h=how: block(
                    w, wiring, H, x, context=norm(w, "norm_cross", context), **h
                ),
                "cross-attention first": lambda h=how: block(w, wiring, H, x, context=context, order=(1, 0, 2), **h),
                "cross-attention last": lambda h=how: block(w, wiring, H, x, context=context, order=(0, 2, 1), **h),
                "no cross-attention": lambda h=how: block(w, wiring, H, x, **h),
                "the context's mask forgotten": lambda h=how: block(
                    w, wiring, H, x, context=context, **{**h, "seen": None}
                ),
                **mistakes(w, H, x, wiring, context=context, **how),
            }
            agree(got, want.detach(), axes="b t d", of=of, known=known)
        agree_slopes(gradients, slopes(want, mine, upstream), of)
        inputs = [x, mask, context, seen]
        check_modes(attempt, name, [D, H, HIDDEN], options, w, inputs, want.detach(), of)


def check_turns(attempt, reference, draw, name, w, arguments, options=None):
    """One block, called with two x and two masks of one size."""
    turns = tuple((draw.normal(B, T, D), some_mask(draw, T, T)) for _ in range(2))
    hold_turns(
        attempt, reference, drivers.in_turn, name, arguments, options or {}, w, turns=turns, of=f"{name}, {SAID}"
    )


# --------------------------------------------------------------------------------------------------------- FeedForward


@part("FeedForward")
def test_width_is_the_rule_of_llama(attempt):
    """4·dim, or 8·dim/3 with three matrices, rounded up to a multiple: 11,008 in Llama 2, 14,336 in Llama 3."""
    for kind in KINDS[:3]:
        for dim, want in ((5, 20), (768, 3072)):
            agree(attempt.hidden_width(dim, kind), want, of=f"hidden_width({dim}, {kind})")
    known = {"8·dim/3 rounded up": [3, 6, 8, 11, 14, 10923], "4·dim": [4, 8, 12, 16, 20, 16384]}
    got = [attempt.hidden_width(d, "swiglu") for d in (1, 2, 3, 4, 5, 4096)]
    agree(got, [2, 5, 8, 10, 13, 10922], of="hidden_width of 1, 2, 3, 4, 5 and 4096, swiglu", known=known)
    cases = [
        (4096, "swiglu", {"multiple": 256}, 11_008),
        (4096, "swiglu", {"multiplier": 1.3, "multiple": 1024}, 14_336),
        (8192, "swiglu", {"multiplier": 1.3, "multiple": 4096}, 28_672),
        (5, "swiglu", {"multiple": 13}, 13),
        (5, "swiglu", {"multiple": 12}, 24),
        (5, "swiglu", {"multiple": 1}, 13),
        (5, "swiglu", {"multiplier": 0.5}, 6),
        (5, "swiglu", {"multiplier": 1.3}, 16),
        (5, "gelu", {"multiplier": 1.75, "multiple": 6}, 36),
        (5, "relu", {"multiple": 20}, 20),
        (5, "gelu_tanh", {"multiple": 19}, 38),
    ]
    for dim, kind, options, want in cases:
        agree(attempt.hidden_width(dim, kind, **options), want, of=f"hidden_width({dim}, {kind}, {options})")


@part("FeedForward")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_computes_its_formula(attempt, draw, kind):
    """Up, activation, down; or down of silu(gate) times up: in float64 and float32, for tokens in any arrangement."""
    for dtype, shape in (
        ("float64", (B, T, 10)),
        ("float32", (10,)),
        ("float64", (2, 3, T, 10)),
        ("float32", (B, 0, 10)),
    ):
        w = cast(feed_forward_weights(draw, 10, HIDDEN, kind), dtype)
        x = draw.normal(*shape, dtype=of_type(dtype), scale=2.0)
        got = attempt.run(drivers.module_output, "FeedForward", [10, HIDDEN, kind], {}, w, x)
        known = {
            f"{other}": lambda o=other, w=w, x=x: feed_forward(w, o, x) for other in KINDS[:3] if kind in KINDS[:3]
        }
        if kind == "swiglu":
            plain = lambda f, w=w, x=x: linear(w, "down", f(linear(w, "gate", x), linear(w, "up", x)))
            known |= {
                "silu on `up` instead of on `gate`": lambda p=plain: p(lambda a, b: a * ACTIVATIONS["silu"](b)),
                "a gate of sigmoid (GLU)": lambda p=plain: p(lambda a, b: a.sigmoid() * b),
                "a gate of GELU (GEGLU)": lambda p=plain: p(lambda a, b: gelu(a) * b),
            }
        of = f"FeedForward of {kind}, {dtype}, x of shape {shape}, hidden {HIDDEN}"
        agree(got, feed_forward(w, kind, x), of=of, known=known)


@part("FeedForward")
def test_defaults_of_the_feed_forward_network(attempt, draw):
    """Without a width it is hidden_width(dim, kind), without a kind it is the exact GELU; x may be strided."""
    for kind, hidden in (("gelu", 40), ("relu", 40), ("gelu_tanh", 40), ("swiglu", 26)):
        w, x = feed_forward_weights(draw, 10, hidden, kind), draw.normal(T, 10, B).movedim(-1, 0)
        arguments, options = ([10], {}) if kind == "gelu" else ([10], {"kind": kind})
        got = attempt.run(drivers.module_output, "FeedForward", arguments, options, w, x)
        agree(got, feed_forward(w, kind, x), axes="b t d", of=f"FeedForward(10), {kind}, without a width")


@part("FeedForward")
def test_gradients_of_the_feed_forward_network(attempt, draw):
    """Gradients reach x and every parameter."""
    for kind in KINDS:
        w, x, upstream = feed_forward_weights(draw, 10, HIDDEN, kind), draw.normal(B, T, 10), draw.normal(B, T, 10)
        mine = leaves(w, x=x)
        want = feed_forward(mine, kind, mine["x"])
        got = attempt.run(drivers.block_gradients, "FeedForward", [10, HIDDEN, kind], {}, w, x, upstream)
        agree_slopes(got[1], slopes(want, mine, upstream), f"FeedForward, {kind}")
        check_modes(attempt, "FeedForward", [10, HIDDEN, kind], {}, w, [x], want.detach(), f"FeedForward, {kind}")


@part("FeedForward")
def test_a_network_that_is_called_twice(attempt, reference, draw):
    """One network that is called twice computes each time what its inputs of that time give."""
    for kind in KINDS:
        w, turns = feed_forward_weights(draw, D, HIDDEN, kind), ((draw.normal(B, T, D),), (draw.normal(B, T, D),))
        asked = ("FeedForward", [D, HIDDEN, kind], {}, w)
        hold_turns(attempt, reference, drivers.in_turn, *asked, turns=turns, of=f"FeedForward of {kind}, d={D}")


@part("FeedForward")
def test_an_unknown_kind_is_refused(attempt):
    """A kind that is none of the four raises ValueError, in hidden_width and in FeedForward."""
    for kind in ("SwiGLU", "geglu", "", "tanh", "silu"):
        with refusal(ValueError, of=f"hidden_width of kind {kind!r}"):
            attempt.hidden_width(8, kind)
        for hidden in (None, 5):
            with refusal(ValueError, of=f"FeedForward of kind {kind!r}, hidden {hidden}"):
                attempt.run(drivers.initial, "FeedForward", [8, hidden, kind], {}, [])


# -------------------------------------------------------------------------------------------------------- PreNormBlock


@part("PreNormBlock")
@each_dtype
def test_pre_norm_adds_to_the_stream(attempt, draw, dtype):
    """Each sub-layer reads a norm of the stream and adds to the stream: x + f(norm(x))."""
    check_sub_layers(attempt, draw, "PreNormBlock", "pre", dtype)


@part("PreNormBlock")
def test_pre_norm_attends_where_the_mask_allows(attempt, draw):
    """The mask reaches self-attention, in any shape that broadcasts."""
    check_masks(attempt, draw, "PreNormBlock", "pre")


@part("PreNormBlock")
def test_pre_norm_looks_at_a_context(attempt, draw):
    """Cross-attention stands between, reads the context as it comes, and gradients reach everything."""
    check_cross(attempt, draw, "PreNormBlock", "pre")


@part("PreNormBlock")
def test_a_pre_norm_block_that_is_called_twice(attempt, reference, draw):
    """One block that is called twice computes each time what its inputs of that time give."""
    check_turns(attempt, reference, draw, "PreNormBlock", block_weights(draw, D, 4 * D), [D, H])


# ------------------------------------------------------------------------------------------------------- PostNormBlock


@part("PostNormBlock")
@each_dtype
def test_post_norm_normalises_the_sum(attempt, draw, dtype):
    """Each sub-layer reads the stream, and the norm acts on the sum: norm(x + f(x))."""
    check_sub_layers(attempt, draw, "PostNormBlock", "post", dtype)


@part("PostNormBlock")
def test_post_norm_attends_where_the_mask_allows(attempt, draw):
    """The mask reaches self-attention, in any shape that broadcasts."""
    check_masks(attempt, draw, "PostNormBlock", "post")


@part("PostNormBlock")
def test_post_norm_looks_at_a_context(attempt, draw):
    """Cross-attention stands between, reads the context as it comes, and gradients reach everything."""
    check_cross(attempt, draw, "PostNormBlock", "post")


@part("PostNormBlock")
def test_a_post_norm_block_that_is_called_twice(attempt, reference, draw):
    """One block that is called twice computes each time what its inputs of that time give."""
    check_turns(attempt, reference, draw, "PostNormBlock", block_weights(draw, D, 4 * D), [D, H])


# ----------------------------------------------------------------------------------------------------- DoubleNormBlock


def double_weights(draw, d, hidden, before):
    w = attention_weights(draw, "attention", d, bias=False)
    w |= feed_forward_weights(draw, d, hidden, "swiglu", "feed_forward.")
    for name in ("attention", "feed_forward"):
        for end in ("in", "out") if before else ("out",):
            w |= norm_weights(draw, f"norm_{name}_{end}", d, bias=False)
    return w


def double_block(w, heads, x, mask=None, wiring=None):
    """wiring: (x, f, norm_in, norm_out) -> the new x."""
    wiring = wiring or (lambda x, f, a, b: x + b(f(a(x))))
    steps = {
        "attention": lambda y: attention(w, "attention", heads, y, y, mask),
        "feed_forward": lambda y: feed_forward(w, "swiglu", y, "feed_forward."),
    }
    for name, f in steps.items():
        before = f"norm_{name}_in"
        inner = (lambda y, n=before: norm(w, n, y)) if f"{before}.weight" in w else (lambda y: y)
        x = wiring(x, f, inner, lambda y, n=f"norm_{name}_out": norm(w, n, y))
    return x


DOUBLE_MISTAKES = {
    "a norm on the sum": lambda x, f, a, b: b(x + f(a(x))),
    "a skip from behind the first norm": lambda x, f, a, b: a(x) + b(f(a(x))),
    "the two norms exchanged": lambda x, f, a, b: x + a(f(b(x))),
    "no norm on the output": lambda x, f, a, b: x + f(a(x)),
    "no skip": lambda x, f, a, b: b(f(a(x))),
}


@part("DoubleNormBlock")
@pytest.mark.parametrize("before", [True, False])
def test_double_norm_bounds_what_is_added(attempt, draw, before):
    """x + norm_out(f(norm_in(x))) for attention, then for the network; with before=False, x + norm_out(f(x))."""
    for dtype, hidden, heads in (("float64", HIDDEN, 2), ("float32", None, 5)):
        w = cast(double_weights(draw, 10, hidden or 26, before), dtype)
        x = draw.normal(B, 10, T, dtype=of_type(dtype), scale=3.0).mT
        arguments = [10, heads] if hidden is None else [10, heads, hidden]
        options = {} if before and hidden is None else {"before": before}
        got = attempt.run(drivers.module_output, "DoubleNormBlock", arguments, options, w, x)
        known = {
            name: lambda wiring=wiring, w=w, x=x, h=heads: double_block(w, h, x, wiring=wiring)
            for name, wiring in DOUBLE_MISTAKES.items()
        }
        of = f"DoubleNormBlock, before={before}, {dtype}, b={B}, t={T}, d=10, {heads} heads, hidden {hidden}"
        agree(got, double_block(w, heads, x), axes="b t d", of=of, known=known)


@part("DoubleNormBlock")
def test_double_norm_at_small_inputs(attempt, draw):
    """Where x is as small as the root of eps, eps shows: it is 1e-6."""
    for before in (True, False):
        w, x = double_weights(draw, 10, HIDDEN, before), draw.normal(B, T, 10, scale=1e-3)
        got = attempt.run(drivers.module_output, "DoubleNormBlock", [10, 2, HIDDEN], {"before": before}, w, x)
        of = f"DoubleNormBlock, before={before}, of x about 0.001"
        agree(got, double_block(w, 2, x), axes="b t d", of=of)


@part("DoubleNormBlock")
@pytest.mark.parametrize("before", [True, False])
def test_gradients_of_double_norm(attempt, draw, before):
    """The mask reaches attention, and gradients reach x and every parameter."""
    w, x, upstream = double_weights(draw, 10, HIDDEN, before), draw.normal(B, T, 10), draw.normal(B, T, 10)
    for shape in ((T, T), (B, 1, 1, T)):
        mask, mine = some_mask(draw, *shape), leaves(w, x=x)
        want = double_block(mine, 2, mine["x"], mask)
        out, gradients = attempt.run(
            drivers.block_gradients, "DoubleNormBlock", [10, 2, HIDDEN], {"before": before}, w, x, upstream, mask
        )
        of = f"DoubleNormBlock, before={before}, mask of shape {shape}"
        known = {
            "no mask": lambda: double_block(w, 2, x),
            "a mask the other way round": lambda m=mask: double_block(w, 2, x, ~m),
        }
        agree(out, want.detach(), axes="b t d", of=of, known=known)
        agree_slopes(gradients, slopes(want, mine, upstream), of)
        options = {"before": before}
        check_modes(attempt, "DoubleNormBlock", [10, 2, HIDDEN], options, w, [x, mask], want.detach(), of)
    check_modes(attempt, "DoubleNormBlock", [10, 2, HIDDEN], options, w, [x], double_block(w, 2, x), f"{of}, no mask")


@part("DoubleNormBlock")
def test_a_double_norm_block_that_is_called_twice(attempt, reference, draw):
    """One block that is called twice computes each time what its inputs of that time give."""
    check_turns(attempt, reference, draw, "DoubleNormBlock", double_weights(draw, D, HIDDEN, True), [D, H, HIDDEN])


# ------------------------------------------------------------------------------------------------------- ParallelBlock


def parallel_weights(draw, d, hidden, kind):
    w = norm_weights(draw, "norm", d) | attention_weights(draw, "attention", d)
    return w | feed_forward_weights(draw, d, hidden, kind, "feed_forward.")


def parallel_block(w, kind, heads, x, mask=None, wiring=None):
    wiring = wiring or (lambda x, f, g, n: x + f(n(x)) + g(n(x)))
    attend = lambda y: attention(w, "attention", heads, y, y, mask)
    return wiring(x, attend, lambda y: feed_forward(w, kind, y, "feed_forward."), lambda y: norm(w, "norm", y))


def serial(x, f, g, n):
    x = x + f(n(x))
    return x + g(n(x))


PARALLEL_MISTAKES = {
    "one sub-layer after the other": serial,
    "no norm": lambda x, f, g, n: x + f(x) + g(x),
    "a norm for attention alone": lambda x, f, g, n: x + f(n(x)) + g(x),
    "a norm on the sum": lambda x, f, g, n: n(x + f(x) + g(x)),
    "a skip for each": lambda x, f, g, n: 2 * x + f(n(x)) + g(n(x)),
    "no skip": lambda x, f, g, n: f(n(x)) + g(n(x)),
    "a skip from behind the norm": lambda x, f, g, n: n(x) + f(n(x)) + g(n(x)),
    "the network fed with attention": lambda x, f, g, n: x + f(n(x)) + g(f(n(x))),
}


@part("ParallelBlock")
@each_dtype
def test_both_sub_layers_read_one_norm(attempt, draw, dtype):
    """x + attention(norm(x)) + feed_forward(norm(x)), at once."""
    for kind, hidden in (("gelu", None), ("swiglu", HIDDEN), ("relu", HIDDEN)):
        w = cast(parallel_weights(draw, D, hidden or 4 * D, kind), dtype)
        x = draw.normal(B, D, T, dtype=of_type(dtype), scale=3.0).mT
        arguments, options = ([D, H], {}) if hidden is None else ([D, H, hidden], {"kind": kind})
        got = attempt.run(drivers.module_output, "ParallelBlock", arguments, options, w, x)
        known = {
            name: lambda wiring=wiring, w=w, x=x, k=kind: parallel_block(w, k, H, x, wiring=wiring)
            for name, wiring in PARALLEL_MISTAKES.items()
        }
        of = f"ParallelBlock, {SAID}, hidden {hidden}, {kind}"
        agree(got, parallel_block(w, kind, H, x), axes="b t d", of=of, known=known)


@part("ParallelBlock")
def test_gradients_of_the_parallel_block(attempt, draw):
    """The mask reaches attention, and gradients reach x and every parameter."""
    w, x, upstream = parallel_weights(draw, D, 4 * D, "gelu"), draw.normal(B, T, D), draw.normal(B, T, D)
    for shape in ((T, T), (B, 1, 1, T)):
        mask, mine = some_mask(draw, *shape), leaves(w, x=x)
        want = parallel_block(mine, "gelu", H, mine["x"], mask)
        got = attempt.run(drivers.block_gradients, "ParallelBlock", [D, H], {}, w, x, upstream, mask)
        of = f"ParallelBlock, {SAID}, mask of shape {shape}"
        known = {
            "no mask": lambda: parallel_block(w, "gelu", H, x),
            "a mask the other way round": lambda m=mask: parallel_block(w, "gelu", H, x, ~m),
        }
        agree(got[0], want.detach(), axes="b t d", of=of, known=known)
        agree_slopes(got[1], slopes(want, mine, upstream), of)
        check_modes(attempt, "ParallelBlock", [D, H], {}, w, [x, mask], want.detach(), of)


@part("ParallelBlock")
def test_a_parallel_block_that_is_called_twice(attempt, reference, draw):
    """One block that is called twice computes each time what its inputs of that time give."""
    check_turns(attempt, reference, draw, "ParallelBlock", parallel_weights(draw, D, 4 * D, "gelu"), [D, H])


# ------------------------------------------------------------------------------------------------------- DeepNormBlock


@part("DeepNormBlock")
def test_constants_are_those_of_the_paper(attempt):
    """alpha and beta as in the paper, for all small pairs of depths and for 1,000 layers."""
    root = lambda x, n: math.exp(math.log(x) / n)
    for n, m in [*itertools.product(range(4), repeat=2), (18, 18), (100, 7), (1000, 0), (0, 1000), (6, 60)]:
        if n == m == 0:
            continue
        if m == 0:
            want = {"encoder": (root(2 * n, 4), 1 / root(8 * n, 4))}
        elif n == 0:
            want = {"decoder": (root(2 * m, 4), 1 / root(8 * m, 4))}
        else:
            shared = root(n, 4) * root(m, 16)
            want = {"encoder": (0.81 * shared, 0.87 / shared), "decoder": (root(3 * m, 4), 1 / root(12 * m, 4))}
        known = (
            {"the constants of a model with one stack": {"encoder": (root(2 * n, 4), 1 / root(8 * n, 4))}} if n else {}
        )
        agree(attempt.deepnorm_constants(n, m), want, of=f"deepnorm_constants({n}, {m})", known=known)


@part("DeepNormBlock")
def test_models_without_layers_are_refused(attempt):
    """No layer at all, or fewer than none in either stack, raises ValueError."""
    for n, m in ((0, 0), (-1, 0), (0, -1), (-1, 3), (3, -1), (-2, 2), (2, -2), (-1, -1)):
        with refusal(ValueError, of=f"deepnorm_constants({n}, {m})"):
            attempt.deepnorm_constants(n, m)


DEEP = {"alpha": 1.7, "beta": 0.6}


def deep(alpha=1.7):
    return lambda x, f, n: n(alpha * x + f(x))


@part("DeepNormBlock")
@each_dtype
def test_alpha_weighs_the_skip(attempt, draw, dtype):
    """norm(alpha · x + f(x)) for each sub-layer: alpha on the skip, not on the branch, and beta nowhere."""
    w = cast(block_weights(draw, D, 4 * D), dtype)
    x = draw.normal(B, T, D, dtype=of_type(dtype))
    wrong = {
        "alpha on the branch": lambda x, f, n: n(x + 1.7 * f(x)),
        "alpha on both": lambda x, f, n: n(1.7 * (x + f(x))),
        "alpha on the input of the branch too": lambda x, f, n: n(1.7 * x + f(1.7 * x)),
        "alpha outside the norm": lambda x, f, n: 1.7 * x + n(f(x)),
        "beta on the branch too": lambda x, f, n: n(1.7 * x + 0.6 * f(x)),
        "no alpha": lambda x, f, n: n(x + f(x)),
    }
    known = {name: lambda wiring=wiring: block(w, wiring, H, x) for name, wiring in wrong.items()}
    got = attempt.run(drivers.module_output, "DeepNormBlock", [D, H], DEEP, w, x)
    of = f"DeepNormBlock, alpha=1.7, beta=0.6, {SAID}"
    agree(got, block(w, deep(), H, x), axes="b t d", of=of, known=known)
    check_sub_layers(attempt, draw, "DeepNormBlock", deep(0.3), dtype, {"alpha": 0.3, "beta": 1.0}, ", alpha=0.3")


@part("DeepNormBlock")
def test_deepnorm_attends_where_the_mask_allows(attempt, draw):
    """The mask reaches self-attention, in any shape that broadcasts."""
    check_masks(attempt, draw, "DeepNormBlock", deep(), DEEP)


@part("DeepNormBlock")
def test_deepnorm_looks_at_a_context(attempt, draw):
    """Cross-attention has its alpha too, and gradients reach everything."""
    check_cross(attempt, draw, "DeepNormBlock", deep(), DEEP)


def check_normal(got, std, of):
    """Values like independent normal ones of mean 0: a right answer misses a bound once in ten million times."""
    n = got.numel()
    z = got.double() / std
    spread = z.square().mean().sqrt().item()
    bound = 5.5 / math.sqrt(2 * n)
    assert abs(spread - 1) < bound, (
        f"{of}: a standard deviation of {std:.4g} expected, got {spread * std:.4g}, {spread:.3g} times as much"
    )
    assert abs(z.mean().item()) < 6 / math.sqrt(n), f"{of}: mean 0 expected, got {z.mean().item() * std:.3g}"
    kurtosis = (z**4).mean().item()
    assert 2 < kurtosis < 5, f"{of}: not normal: its fourth moment is {kurtosis:.3g} std⁴, not 3"


def check_initial(got, stds, of):
    """stds: by the end of a parameter's name; the first that fits. Numbers of all matrices together are independent."""
    drawn = {}
    for name, value in got.items():
        std = next(std for end, std in stds if name.endswith(end))
        if std in ("zeros", "ones"):
            agree(value, torch.full_like(value, float(std == "ones")), of=f"{name} of {of}")
        else:
            std = std(*value.shape) if callable(std) else std
            check_normal(value, std, f"{name}, {tuple(value.shape)}, of {of}")
            drawn[name] = value.double() / std
    hold_matrices_unlike(drawn, of)
    every = torch.cat([z.flatten() for z in drawn.values()])
    far, said = (
        int((every.abs() > 3).sum()),
        f"{of}: numbers beyond three standard deviations, in all matrices together",
    )
    hold_rate(far, every.numel(), math.erfc(3 / math.sqrt(2)), said)


@part("DeepNormBlock")
def test_beta_scales_values_outputs_and_the_network(attempt, draw):
    """At the start queries and keys are Xavier normal with gain 1, all other matrices with gain beta; biases are 0."""
    for kind, beta, seed in (("gelu", 0.4, int(draw.integers(0, 10**6))), ("swiglu", 1.9, None)):
        options = {"alpha": 2.0, "beta": beta, "kind": kind, "cross": True}
        names = sorted(block_weights(draw, 60, 150, kind, cross=True))
        got = attempt.run(drivers.initial, "DeepNormBlock", [60, 3, 150], options, names, seed)
        xavier = lambda gain: lambda rows, columns: gain * math.sqrt(2 / (rows + columns))
        stds = [("bias", "zeros"), ("norm_attention.weight", "ones"), ("norm_cross.weight", "ones")]
        stds += [("norm_feed_forward.weight", "ones"), ("q_proj.weight", xavier(1)), ("k_proj.weight", xavier(1))]
        agree(list(got), names, of=f"parameters of a DeepNormBlock with cross-attention, {kind}")
        check_initial(got, [*stds, ("weight", xavier(beta))], f"a new DeepNormBlock, beta={beta}, {kind}")


def check_generator(attempt, draw, kind, arguments, options, w):
    """The generator alone decides, and is used up: equal states give equal parameters, others other ones."""
    seed, matrices = int(draw.integers(0, 10**6)), [name for name in w if w[name].ndim == 2]
    first = hold_generator(
        attempt, drivers.drawn, kind, arguments, options, matrices, seed=seed, of=f"a new {kind}", alone=False
    )
    agree(list(first), matrices, of=f"matrices among the parameters of a new {kind}")
    pairs = itertools.combinations(first, 2)
    twins = [(a, b) for a, b in pairs if first[a].shape == first[b].shape and torch.equal(first[a], first[b])]
    assert not twins, f"{kind}: {' and '.join(twins[0])} start with the same values"
    first, after, again = attempt.run(drivers.initial_by_torch, kind, arguments, options, list(w), seed)
    agree(again, first, of=f"{kind}, built twice without a generator, each time after torch.manual_seed({seed})")
    same = [n for n in first if first[n].ndim == 2 and torch.equal(first[n], after[n])]
    assert not same, f"{kind}: two built in a row without a generator have the same {', '.join(same)}"


@part("DeepNormBlock")
def test_deepnorm_draws_from_its_generator(attempt, draw):
    """All random numbers of the initial weights come from the generator, or without one from torch's own."""
    w = block_weights(draw, D, HIDDEN, cross=True)
    check_generator(attempt, draw, "DeepNormBlock", [D, H, HIDDEN], {**DEEP, "cross": True}, w)


@part("DeepNormBlock")
def test_a_deepnorm_block_that_is_called_twice(attempt, reference, draw):
    """One block that is called twice computes each time what its inputs of that time give."""
    check_turns(attempt, reference, draw, "DeepNormBlock", block_weights(draw, D, 4 * D), [D, H], DEEP)


# ----------------------------------------------------------------------------------------------------------- DecoderLM


def prefixed(draw, stack, layers, *sizes, **how):
    return {k: v for i in range(layers) for k, v in block_weights(draw, *sizes, prefix=f"{stack}.{i}.", **how).items()}


def lm_weights(draw, vocab, positions, d, layers, hidden, kind="gelu_tanh"):
    w = {"token_embedding.weight": draw.normal(vocab, d), "position_embedding.weight": draw.normal(positions, d)}
    return w | prefixed(draw, "blocks", layers, d, hidden, kind) | norm_weights(draw, "norm", d)


def stack(w, name, heads, x, mask, kind, context=None, seen=None, wiring="pre"):
    i = 0
    while f"{name}.{i}.norm_attention.weight" in w:
        x = block(w, wiring, heads, x, mask, context, seen, kind, f"{name}.{i}.")
        i += 1
    return x


def language_model(w, heads, tokens, kind="gelu_tanh", mask="causal", last=True, positions=True, **how):
    t = tokens.shape[1]
    x = w["token_embedding.weight"][tokens]
    x = x + w["position_embedding.weight"][torch.arange(t)] if positions else x
    seen = {"causal": torch.arange(t)[:, None] >= torch.arange(t), "none": None}
    seen["reversed"] = torch.arange(t)[:, None] <= torch.arange(t)
    seen["past alone"] = (torch.arange(t)[:, None] > torch.arange(t)) | (torch.arange(t) == 0)
    x = stack(w, "blocks", heads, x, seen[mask], kind, **how)
    x = norm(w, "norm", x) if last else x
    return torch.einsum("btd,vd->btv", x, w["token_embedding.weight"])


def lm_mistakes(w, heads, tokens, **how):
    wrong = {
        "no causal mask": {"mask": "none"},
        "a mask the other way round": {"mask": "reversed"},
        "a token that does not see itself": {"mask": "past alone"},
        "no norm at the end": {"last": False},
        "no positions": {"positions": False},
        "post-norm blocks": {"wiring": "post"},
        "the exact GELU": {"kind": "gelu"},
    }
    return {name: lambda o=other: language_model(w, heads, tokens, **{**how, **o}) for name, other in wrong.items()}


@part("DecoderLM")
@each_dtype
def test_every_length_up_to_the_last_position(attempt, draw, dtype):
    """Logits for 0 to `positions` tokens: causal blocks, a last norm, the token embedding again."""
    vocab, positions, layers = 23, 6, 3
    w = cast(lm_weights(draw, vocab, positions, D, layers, 4 * D), dtype)
    sequences = [draw.integers(0, vocab, t, B).mT for t in range(positions + 1)]
    got = attempt.run(drivers.language_model, [vocab, positions, D, H, layers], {}, w, sequences)
    for t, (mine, tokens) in enumerate(zip(got, sequences, strict=True)):
        of = f"DecoderLM, {layers} layers, b={B}, {t} tokens, d={D}, {H} heads"
        want = language_model(w, H, tokens)
        agree(mine, want, axes="b t vocab", of=of, known=lm_mistakes(w, H, tokens) if t else None)


@part("DecoderLM")
def test_the_future_changes_nothing(attempt, draw):
    """Logits of a position stay the same whatever comes behind it, and change with what is before it."""
    vocab, positions = 23, 7
    w = lm_weights(draw, vocab, positions, D, 2, 4 * D)
    tokens = draw.integers(0, vocab, B, positions)
    changed = [tokens]
    for i in range(positions):
        other = tokens.clone()
        other[:, i] = (other[:, i] + 1 + draw.integers(0, vocab - 1, B)) % vocab
        changed.append(other)
    first, *rest = attempt.run(drivers.language_model, [vocab, positions, D, H, 2], {}, w, changed)
    for i, got in zip(range(positions), rest, strict=True):
        agree(got[:, :i], first[:, :i], axes="b t vocab", of=f"logits before position {i}, after its token changed")
        agree(got, language_model(w, H, changed[i + 1]), axes="b t vocab", of=f"logits with another token at {i}")


@part("DecoderLM")
@pytest.mark.parametrize("kind", ["relu", "swiglu"])
def test_gradients_of_the_language_model(attempt, draw, kind):
    """The embedding is one parameter with two uses: its gradient has both terms. Width and kind reach every block."""
    vocab, positions, layers = 19, 8, 2
    w = lm_weights(draw, vocab, positions, D, layers, HIDDEN, kind)
    tokens, upstream = draw.integers(0, vocab, B, T), draw.normal(B, T, vocab)
    tokens[0, 0] = 0  # a token like any other
    mine = leaves(w)
    want = language_model(mine, H, tokens, kind)
    arguments = [vocab, positions, D, H, layers, HIDDEN]
    got = attempt.run(drivers.language_model_gradients, arguments, {"kind": kind}, w, tokens, upstream)
    of = f"DecoderLM, {layers} layers, hidden {HIDDEN}, {kind}"
    known = lm_mistakes(w, H, tokens, kind=kind)
    agree(got[0], want.detach(), axes="b t vocab", of=of, known=known)
    agree_slopes(got[1], slopes(want, mine, upstream), of)
    options, axes = {"kind": kind}, "b t vocab"
    check_modes(attempt, "DecoderLM", arguments, options, w, [tokens], want.detach(), of, axes)


@part("DecoderLM")
def test_embeddings_stay_tied(attempt, draw):
    """After a step of training the output matrix is still the token embedding."""
    w, tokens = lm_weights(draw, 19, T, D, 1, 4 * D), draw.integers(0, 19, B, T)
    before, after, learned = attempt.run(drivers.language_model_learns, [19, T, D, H, 1], w, tokens)
    agree(before, language_model(w, H, tokens), axes="b t vocab", of="logits of a DecoderLM of one layer")
    mine = leaves(w)
    found = slopes(language_model(mine, H, tokens).square(), mine, torch.ones(B, T, 19))
    stepped = {name: value - 1e-3 * found[name] for name, value in w.items()}
    agree(learned, stepped, of="the parameters after a step of gradient descent")
    agree(after, language_model(stepped, H, tokens), axes="b t vocab", of="logits after a step of gradient descent")


@part("DecoderLM")
def test_too_many_tokens_are_refused(attempt, draw):
    """One token more than there are positions raises ValueError."""
    w = lm_weights(draw, 19, 6, D, 1, 4 * D)
    for t in (7, 13):
        with refusal(ValueError, of=f"{t} tokens for 6 positions"):
            attempt.run(drivers.language_model, [19, 6, D, H, 1], {}, w, [draw.integers(0, 19, B, t)])


@part("DecoderLM")
def test_residual_matrices_start_smaller(attempt, draw):
    """std 0.02; for matrices that write into the stream 0.02 / sqrt(2 · layers); biases 0, norms 1."""
    for kind, layers, seed in (("gelu_tanh", 5, int(draw.integers(0, 10**6))), ("swiglu", 3, None)):
        options = {} if kind == "gelu_tanh" else {"kind": kind}
        names = sorted(lm_weights(draw, 101, 61, 60, layers, 100, kind))
        got = attempt.run(drivers.initial, "DecoderLM", [101, 61, 60, 3, layers, 100], options, names, seed)
        small = 0.02 / math.sqrt(2 * layers)
        stds = [("bias", "zeros"), ("out_proj.weight", small), ("down.weight", small), ("norm.weight", "ones")]
        stds += [("norm_attention.weight", "ones"), ("norm_feed_forward.weight", "ones"), ("weight", 0.02)]
        check_initial(got, stds, f"a new DecoderLM of {layers} layers, {kind}")
        agree(list(got), names, of=f"parameters of a DecoderLM of {layers} layers, {kind}")


@part("DecoderLM")
def test_a_language_model_draws_from_its_generator(attempt, draw):
    """All random numbers of the initial weights come from the generator, or without one from torch's own."""
    check_generator(attempt, draw, "DecoderLM", [19, 7, D, H, 2], {}, lm_weights(draw, 19, 7, D, 2, 4 * D))


# ------------------------------------------------------------------------------------------------------ EncoderDecoder

SOURCE, TARGET, POSITIONS, ENCODER, DECODER = 23, 19, 8, 2, 3
ARGUMENTS = [SOURCE, TARGET, POSITIONS, D, H, ENCODER, DECODER]


def pair_weights(draw, hidden=4 * D, kind="relu"):
    w = {}
    for name, vocab in (("source", SOURCE), ("target", TARGET)):
        w |= {f"{name}_embedding.weight": draw.normal(vocab, D), f"{name}_position.weight": draw.normal(POSITIONS, D)}
    w |= prefixed(draw, "encoder", ENCODER, D, hidden, kind) | norm_weights(draw, "encoder_norm", D)
    w |= prefixed(draw, "decoder", DECODER, D, hidden, kind, cross=True) | norm_weights(draw, "decoder_norm", D)
    return w | linear_weights(draw, "head", TARGET, D, bias=False)


def embedded(w, name, tokens):
    return w[f"{name}_embedding.weight"][tokens] + w[f"{name}_position.weight"][: tokens.shape[1]]


def encoded(w, source, mask=None, kind="relu", last=True):
    hide = None if mask is None else mask[:, None, None, :]
    x = stack(w, "encoder", H, embedded(w, "source", source), hide, kind)
    return norm(w, "encoder_norm", x) if last else x


def decoded(w, target, memory, mask=None, kind="relu", causal=True, last=True):
    t = target.shape[1]
    past = torch.arange(t)[:, None] >= torch.arange(t) if causal else None
    hide = None if mask is None else mask[:, None, None, :]
    x = stack(w, "decoder", H, embedded(w, "target", target), past, kind, memory, hide)
    return linear(w, "head", norm(w, "decoder_norm", x) if last else x)


def pair_mistakes(w, source, target, mask=None, **how):
    memory = lambda mask=mask, **also: encoded(w, source, mask, **how, **also)
    padding = {
        "padding seen by the encoder": lambda: decoded(w, target, memory(None), mask, **how),
        "padding seen by cross-attention": lambda: decoded(w, target, memory(), None, **how),
        "padding seen by both": lambda: decoded(w, target, memory(None), None, **how),
    }
    return {
        "no norm behind the encoder": lambda: decoded(w, target, memory(last=False), mask, **how),
        "no norm behind the decoder": lambda: decoded(w, target, memory(), mask, last=False, **how),
        "a decoder that sees its future": lambda: decoded(w, target, memory(), mask, causal=False, **how),
        **(padding if mask is not None else {}),
        "cross-attention to the source's embeddings": lambda: decoded(w, target, embedded(w, "source", source), mask),
    }


@part("EncoderDecoder")
@each_dtype
def test_source_and_target_meet_in_cross_attention(attempt, draw, dtype):
    """The memory is the encoder's last norm; the decoder is causal and looks at it; encode + decode is forward."""
    w = cast(pair_weights(draw), dtype)
    for s, t in ((S, T), (1, POSITIONS), (POSITIONS, 1)):
        source, target = draw.integers(0, SOURCE, s, B).mT, draw.integers(0, TARGET, t, B).mT
        source[0, 0] = target[0, 0] = 0  # a token like any other
        got = attempt.run(drivers.encoder_decoder, ARGUMENTS, {}, w, source, target)
        memory = encoded(w, source)
        of = f"{ENCODER} encoder and {DECODER} decoder layers, {s} source and {t} target tokens, d={D}"
        agree(got["memory"], memory, axes="b s d", of=f"encode, {of}")
        logits = decoded(w, target, memory)
        known = pair_mistakes(w, source, target)
        agree(got["logits"], logits, axes="b t vocab", of=f"decode, {of}", known=known)
        agree(got["at once"], logits, axes="b t vocab", of=f"forward, {of}", known=known)


@part("EncoderDecoder")
def test_decode_takes_the_memory_as_it_comes(attempt, draw):
    """decode looks at whatever memory it is given, under its mask, and adds no norm of its own."""
    w, memory, target = pair_weights(draw), draw.normal(B, S, D, scale=2.0), draw.integers(0, TARGET, B, T)
    mask = some_mask(draw, B, S)
    for given in ((), (mask,)):
        got = attempt.run(drivers.decode, ARGUMENTS, w, target, memory, *given)
        known = {"a norm on the memory": lambda g=given: decoded(w, target, norm(w, "encoder_norm", memory), *g)}
        agree(got, decoded(w, target, memory, *given), axes="b t vocab", of="decode of a random memory", known=known)


@part("EncoderDecoder")
def test_every_pattern_of_padding(attempt, draw):
    """All ways to hide some of four source tokens: neither the encoder nor cross-attention sees the hidden ones."""
    w = pair_weights(draw)
    mask = torch.tensor([row for row in itertools.product([True, False], repeat=4) if any(row)])
    source, target = draw.integers(0, SOURCE, 1, 4).repeat(15, 1), draw.integers(0, TARGET, 15, 3)
    got = attempt.run(drivers.encoder_decoder, ARGUMENTS, {}, w, source, target, mask)
    of = "15 sentences, each with another mask over its 4 source tokens"
    memory = encoded(w, source, mask)
    assert got["memory"].isfinite().all(), f"{of}: a row of the memory is not finite"
    known = {"no mask in the encoder": lambda: encoded(w, source)[mask]}
    agree(got["memory"][mask], memory[mask], axes="n d", of=f"real rows of the memory, {of}", known=known)
    known = pair_mistakes(w, source, target, mask)
    agree(got["logits"], decoded(w, target, memory, mask), axes="b t vocab", of=f"decode, {of}", known=known)
    agree(got["at once"], decoded(w, target, memory, mask), axes="b t vocab", of=f"forward, {of}", known=known)


@part("EncoderDecoder")
def test_padding_changes_nothing(attempt, draw):
    """Other tokens in the padding, more of it, or none: memory of real tokens and logits stay the same."""
    w, real = pair_weights(draw), 4
    source, target = draw.integers(0, SOURCE, B, real), draw.integers(0, TARGET, B, T)
    want = decoded(w, target, encoded(w, source))
    for padding in (0, 1, 3, POSITIONS - real):
        whole = torch.cat([source, draw.integers(0, SOURCE, B, padding)], 1)
        mask = (torch.arange(real + padding) < real).expand(B, -1)
        got = attempt.run(drivers.encoder_decoder, ARGUMENTS, {}, w, whole, target, mask)
        of = f"{real} real source tokens and {padding} of padding"
        agree(got["memory"][:, :real], encoded(w, source), axes="b s d", of=f"memory of {of}")
        agree(got["logits"], want, axes="b t vocab", of=f"decode, {of}")
        agree(got["at once"], want, axes="b t vocab", of=f"forward, {of}")


@part("EncoderDecoder")
def test_one_pair_of_stacks_that_is_called_twice(attempt, reference, draw):
    """encode and decode compute each time what their inputs of that time give."""
    w = pair_weights(draw)
    asked = {
        "encode": lambda: (draw.integers(0, SOURCE, B, S),),
        "decode": lambda: (draw.integers(0, TARGET, B, T), draw.normal(B, S, D)),
    }
    for method, inputs in asked.items():
        given = ("EncoderDecoder", ARGUMENTS, {}, w, method)
        of = f"{method}, {S} source and {T} target tokens, d={D}"
        hold_turns(attempt, reference, drivers.in_turn, *given, turns=(inputs(), inputs()), of=of)


@part("EncoderDecoder")
def test_lengths_over_the_positions_are_refused(attempt, draw):
    """A source or a target longer than `positions` raises ValueError."""
    w, long = pair_weights(draw), POSITIONS + 1
    fits, over = draw.integers(0, TARGET, B, POSITIONS), draw.integers(0, TARGET, B, long)
    with refusal(ValueError, of=f"encode of {long} tokens for {POSITIONS} positions"):
        attempt.run(drivers.encode, ARGUMENTS, w, over)
    with refusal(ValueError, of=f"decode of {long} tokens for {POSITIONS} positions"):
        attempt.run(drivers.decode, ARGUMENTS, w, over, draw.normal(B, S, D))
    for source, target in ((fits, over), (over, fits)):
        with refusal(ValueError, of=f"{source.shape[1]} source and {target.shape[1]} target tokens"):
            attempt.run(drivers.encoder_decoder, ARGUMENTS, {}, w, source, target)


@part("EncoderDecoder")
@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
def test_gradients_of_the_two_stacks(attempt, draw, kind):
    """Width and kind reach every block of both stacks, and gradients every parameter, through the memory too."""
    w, mask = pair_weights(draw, HIDDEN, kind), some_mask(draw, B, S)
    source, target = draw.integers(0, SOURCE, B, S), draw.integers(0, TARGET, B, T)
    source[0, 0] = target[0, 0] = 0  # tokens like any other, and mask[0, 0] is True
    upstream, mine = draw.normal(B, T, TARGET), leaves(w)
    want = decoded(mine, target, encoded(mine, source, mask, kind), mask, kind)
    out, gradients = attempt.run(
        drivers.encoder_decoder_gradients, [*ARGUMENTS, HIDDEN], {"kind": kind}, w, source, target, mask, upstream
    )
    of = f"EncoderDecoder, hidden {HIDDEN}, {kind}"
    agree(out, want.detach(), axes="b t vocab", of=of, known=pair_mistakes(w, source, target, mask, kind=kind))
    agree_slopes(gradients, slopes(want, mine, upstream), of)
    arguments, options, inputs = [*ARGUMENTS, HIDDEN], {"kind": kind}, [source, target, mask]
    check_modes(attempt, "EncoderDecoder", arguments, options, w, inputs, want.detach(), of, "b t vocab")


# ----------------------------------------------------------------------------------------------------- parameter_count

GPT2 = {"vocab": 50257, "dim": 768, "layers": 12, "heads": 12, "hidden": 3072, "positions": 1024}
LLAMA = {"gated": True, "bias": False, "norm": "rms", "tied": False}
LLAMA_2 = {"vocab": 32000, "dim": 4096, "layers": 32, "heads": 32, "hidden": 11008, **LLAMA}
PUBLISHED = {
    "GPT-2": (GPT2, 124_439_808),
    "GPT-2 XL": ({**GPT2, "dim": 1600, "layers": 48, "heads": 25, "hidden": 6400}, 1_557_611_200),
    "Llama 2 7B": (LLAMA_2, 6_738_415_616),
    "Llama 3 8B": ({**LLAMA_2, "vocab": 128256, "kv_heads": 8, "hidden": 14336}, 8_030_261_248),
    "Mistral 7B": ({**LLAMA_2, "kv_heads": 8, "hidden": 14336}, 7_241_732_096),
    "Gemma 2 2B": (
        {"vocab": 256000, "dim": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "hidden": 9216}
        | {**LLAMA, "norms": 4, "tied": True},
        2_614_341_888,
    ),
}


def counted(vocab, dim, layers, heads, kv_heads, head_dim, hidden, positions, gated, bias, norm, norms, tied):
    """By making every parameter there is, and counting what was made."""

    def matrix(inputs, outputs):
        return [torch.empty(outputs, inputs), *([torch.empty(outputs)] if bias else [])]

    def one_norm():
        return [torch.empty(dim) for _ in range({"layer": 2, "rms": 1}[norm])]

    made = [torch.empty(vocab, dim) for _ in range(1 if tied else 2)] + [torch.empty(positions, dim)] + one_norm()
    for _ in range(layers):
        made += matrix(dim, heads * head_dim) + matrix(heads * head_dim, dim)
        made += matrix(dim, kv_heads * head_dim) + matrix(dim, kv_heads * head_dim)
        made += matrix(dim, hidden) + matrix(hidden, dim) + (matrix(dim, hidden) if gated else [])
        made += [parameter for _ in range(norms) for parameter in one_norm()]
    return sum(parameter.numel() for parameter in made)


@part("parameter_count")
@pytest.mark.parametrize("model", PUBLISHED)
def test_published_models_have_their_parameters(attempt, model):
    """GPT-2 has 124,439,808 parameters, Llama 2 7B has 6,738,415,616: exactly, as an int."""
    sizes, want = PUBLISHED[model]
    other = PUBLISHED[model][0]
    embedding = other["vocab"] * other["dim"]
    known = {
        "a head of its own": want + embedding,
        "a head that is the embedding": want - embedding,
        "no norm at the end": want - other["dim"] * (1 if other.get("norm") == "rms" else 2),
        "no positions": want - other.get("positions", 0) * other["dim"],
    }
    known = {name: value for name, value in known.items() if value != want}
    agree(attempt.parameter_count(**sizes), want, of=f"parameters of {model}", known=known)


@part("parameter_count")
def test_counts_are_those_of_real_parameters(attempt, draw):
    """For any configuration the count is that of the parameters made for it."""
    for gated, bias, tied, norm_kind in itertools.product(
        [False, True], [False, True], [False, True], ["layer", "rms"]
    ):
        vocab, layers, hidden, positions, head_dim, norms, dim = draw.permutation(40).add(2).tolist()[:7]
        kv_heads = draw.pick([1, 2, 3])
        sizes = {"vocab": vocab, "dim": dim, "layers": layers, "heads": kv_heads * draw.pick([1, 2, 5])}
        sizes |= {"kv_heads": kv_heads, "head_dim": head_dim, "hidden": hidden, "positions": positions, "gated": gated}
        sizes |= {"bias": bias, "norm": norm_kind, "norms": norms, "tied": tied}
        agree(attempt.parameter_count(**sizes), counted(**sizes), of=f"parameters of {sizes}")
    few = {"vocab": 11, "dim": 15, "layers": 2, "heads": 3, "hidden": 7}
    rest = {"kv_heads": 3, "head_dim": 5, "positions": 0, "gated": False, "bias": True, "norm": "layer", "norms": 2}
    agree(
        attempt.parameter_count(**few),
        counted(**few, **rest, tied=True),
        of=f"parameters of {few}, all else by default",
    )
    for count in (0, 1, 4):
        got = attempt.parameter_count(**few, norms=count, kv_heads=1)
        want = counted(**few, **{**rest, "norms": count, "kv_heads": 1}, tied=True)
        agree(got, want, of=f"parameters of {few}, norms={count}, kv_heads=1")


@part("parameter_count")
def test_nothing_is_built(attempt):
    """Counting makes no tensor or array of any size, be the model Llama 2 7B or a small one."""
    small = {"vocab": 211, "dim": 60, "layers": 3, "heads": 5, "head_dim": 12, "hidden": 157}
    rest = {"kv_heads": 5, "positions": 0, "gated": False, "bias": True, "norm": "layer", "norms": 2, "tied": True}
    models = {**PUBLISHED, "a small model": (small, counted(**small, **rest))}
    for model, (sizes, want) in models.items():
        got, cost = attempt.cost("parameter_count", **sizes)
        agree(got, want, of=f"parameters of {model}")
        known = {"an embedding": sizes["vocab"] * sizes["dim"]}
        at_most(cost.largest, 1000, of=f"elements of the largest tensor made for {model}", known=known)
        at_most(cost.peak, 8 * 1000, of=f"bytes of tensors and arrays alive at once for {model}")


@part("parameter_count")
def test_configurations_that_cannot_be_are_refused(attempt):
    """Heads that do not divide, and an unknown norm, raise ValueError."""
    few = {"vocab": 11, "dim": 12, "layers": 2, "heads": 6, "hidden": 7}
    wrong = [{"kv_heads": n} for n in (4, 12, 0, -3)] + [{"norm": n} for n in ("RMS", "batch", "")]
    for change in [*wrong, {"heads": 5}, {"heads": 24}, {"kv_heads": 4, "head_dim": 2}]:
        with refusal(ValueError, of=f"{ {**few, **change} }"):
            attempt.parameter_count(**{**few, **change})
    sizes = {**few, "heads": 5, "head_dim": 3}
    rest = {"kv_heads": 5, "positions": 0, "gated": False, "bias": True, "norm": "layer", "norms": 2, "tied": True}
    agree(
        attempt.parameter_count(**sizes),
        counted(**sizes, **rest),
        of=f"parameters of {sizes}, where dim / heads is no int",
    )


# ---------------------------------------------------------------------------------------------- gradient_norm_by_depth


NORM_TOLERANCE = 1e-5  # squares may be summed in float32


def toy(weight, bias, x):
    return x + torch.tanh(x @ weight.T + bias)


def toy_norms(blocks, x, upstream):
    """Of the stack that drivers build; a block: (weight, bias, frozen, spare), None, or an earlier block's number."""
    own = []
    for each in blocks:
        if each is None or isinstance(each, int):
            own.append(own[each] if each is not None else {})
        else:
            own.append({"weight": each[0].clone().requires_grad_(), "bias": each[1].clone().requires_grad_()})
    for each in own:
        x = toy(each["weight"], each["bias"], x) if each else torch.tanh(x)
    every = list(dict.fromkeys(p for each in own for p in each.values()))
    found = dict(zip(every, torch.autograd.grad((x * upstream).sum(), every, allow_unused=True), strict=True))
    norms = []
    for each, block in zip(own, blocks, strict=True):
        block = blocks[block] if isinstance(block, int) else block
        frozen = block[2] if block and len(block) > 2 else []
        squares = [float((found[p] ** 2).sum()) for name, p in each.items() if name not in frozen]
        norms.append(math.sqrt(sum(squares)))
    return norms


def toy_block(draw, d, *rest):
    return (draw.normal(d, d, scale=d**-0.5), draw.normal(d), *rest)


@part("gradient_norm_by_depth")
@pytest.mark.parametrize("container", ["list", "tuple", "ModuleList"])
def test_one_number_a_block_in_order(attempt, draw, container):
    """The L2 norm of the gradient of all parameters of each block, the first block first."""
    x, upstream = draw.normal(B, 7, T).mT, draw.normal(B, 7, T).mT
    for depth in (1, 2, 5):
        blocks = [toy_block(draw, 7) for _ in range(depth)]
        got, before, after = attempt.run(drivers.depth, blocks, x, upstream, container)
        want = toy_norms(blocks, x, upstream)
        known = {
            "the last block first": want[::-1],
            "squared norms": [n * n for n in want],
            "a loss of ones": lambda blocks=blocks: toy_norms(blocks, x, torch.ones_like(x)),
        }
        of = f"gradient norms of {depth} blocks in a {container}"
        agree(got, want, of=of, tol=NORM_TOLERANCE, known=known if depth > 1 else None)
        agree(after, before, of="parameters, their requires_grad and .grad, hooks, and the blocks' mode after the call")


@part("gradient_norm_by_depth")
def test_frozen_unused_and_shared_parameters(attempt, draw):
    """Frozen and unused parameters count as 0, a block that stands twice counts twice, and no .grad is touched."""
    x, upstream = draw.normal(B, T, 7), draw.normal(B, T, 7)
    blocks = [
        toy_block(draw, 7),
        None,
        toy_block(draw, 7, ["weight"], draw.normal(3)),
        toy_block(draw, 7, ["weight", "bias"]),
        0,
        toy_block(draw, 7, ["bias"]),
        None,
    ]
    got, before, after = attempt.run(drivers.depth, blocks, x, upstream)
    of = "a stack of a block, a tanh, one half frozen, one frozen, the first again, one half frozen, a tanh"
    agree(got, toy_norms(blocks, x, upstream), of=f"gradient norms of {of}", tol=NORM_TOLERANCE)
    agree(
        after, before, of=f"parameters, their requires_grad and .grad, the blocks' mode, and hooks after the call, {of}"
    )


@part("gradient_norm_by_depth")
def test_one_pass_back_for_all_blocks(attempt, draw):
    """The cost is one forward and one backward pass, however many blocks there are, and nothing of it stays alive."""
    for d, depth, training, learns in ((16, 20, True, False), (16, 20, False, True), (12, 71, True, True)):
        x, upstream = draw.normal(B, T, d), draw.normal(B, T, d)
        blocks = [toy_block(draw, d) for _ in range(depth)]
        of = f"{depth} blocks in {'training' if training else 'evaluation'}"
        of += f" whose input requires {'a' if learns else 'no'} gradient"
        got, cost = attempt.cost(drivers.depth_cost, blocks, x, upstream, training, learns)
        agree(got, toy_norms(blocks, x, upstream), of=f"gradient norms of {of}", tol=NORM_TOLERANCE)
        in_torch(cost, of=f"gradient norms of {of}", values=4 * depth + 64)
        product = 2 * B * T * d * d
        known = {"a pass for each block": product * (depth * depth + depth * (depth + 1))}
        at_most(cost.flops, 1.1 * 3 * depth * product, of=f"FLOPs for {of}", known=known)
        at_most(cost.kept, 0, of=f"bytes that stay alive after the norms of {of}")
        at_most(cost.kept_nodes, 0, of=f"nodes of autograd that stay alive after the norms of {of}")


@part("gradient_norm_by_depth")
@pytest.mark.parametrize("wiring", ["pre", "post"])
def test_pre_norm_and_post_norm_by_depth(attempt, draw, wiring):
    """In stacks of your own blocks, the norms by depth of pre-norm and of post-norm are what they should be."""
    name, depth = {"pre": "PreNormBlock", "post": "PostNormBlock"}[wiring], 6
    weights = [block_weights(draw, D, 4 * D) for _ in range(depth)]
    x, upstream = draw.normal(B, T, D), draw.normal(B, T, D)
    got = attempt.run(drivers.depth_of_blocks, name, [D, H], weights, x, upstream)

    def norms(wiring):
        mine, y = [leaves(w) for w in weights], x
        for w in mine:
            y = block(w, wiring, H, y)
        every = [p for w in mine for p in w.values()]
        found = iter(torch.autograd.grad((y * upstream).sum(), every))
        return [math.sqrt(sum(float(next(found).square().sum()) for _ in w)) for w in mine]

    known = {"the other wiring": lambda: norms("post" if wiring == "pre" else "pre")}
    of = f"gradient norms of {depth} blocks of {name}"
    agree(got, norms(wiring), of=of, tol=NORM_TOLERANCE, known=known)
