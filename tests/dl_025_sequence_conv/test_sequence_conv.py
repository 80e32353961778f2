"""Hidden checks of dl_025. Oracles: torch's own convolution, walks through a stack, and the slow way to generate.

Codes are drawn from numbers just inside a symbol's stretch: a wrong probability changes the code, rounding does not.
"""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import hold_independent
from grader.checks.repeats import hold_unrepeated

from . import drivers


def differs(known, want):
    """Those mistakes that show on this input."""

    def flat(value):
        return torch.cat([v.double().flatten() for v in (value if isinstance(value, list) else [value])])

    def shows(value):
        mine, right = flat(value), flat(want)
        return mine.shape != right.shape or bool((mine - right).abs().max() > 1e-6)

    return {name: value for name, value in known.items() if shows(value)}


def state_of(draw, shapes, dtype):
    """Random parameters, none of them small."""
    return {name: 0.7 * draw.normal(*shape, dtype=dtype) for name, shape in shapes.items()}


def with_gradients(compute, state, x, upstreams):
    """What `through` of the drivers returns, for a function of (x, state)."""
    leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    outs = compute(x, leaves)
    total = sum((y * g).sum() for y, g in zip(outs, upstreams, strict=True))
    wanted = leaves | ({"x": x} if x.is_floating_point() else {})
    grads = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)  # the last layer's way on
    return {"out": [y.detach() for y in outs], "grads": dict(zip(wanted, grads, strict=True))}


def nought(value):
    """1 where a gradient is 0 but for rounding, as that of a bias before a norm is: to 0 no error is small."""
    return float(value.abs().max() < (1e-9 if value.dtype == torch.float64 else 1e-5))


def mode_of(training):
    return "in training mode" if training else "in eval mode"


def hold_module(attempt, draw, name, args, state, x, compute, of, axes, known=None, training=False):
    """Values first, then gradients of all parameters and of x."""
    with torch.no_grad():
        want = compute(x, state)
    upstreams = [draw.normal(*y.shape, dtype=y.dtype) for y in want]
    got = attempt.run(drivers.through, name, args, state, x, upstreams, training)
    mistakes = {}
    if known:
        with torch.no_grad():
            mistakes = differs({what: list(make()) for what, make in known.items()}, want)
    for n, (mine, right) in enumerate(zip(got["out"], want, strict=True)):
        agree(mine, right, axes=axes, of=of, known={what: value[n] for what, value in mistakes.items()})
    agree(got["quiet"], list(want), axes=axes, of=f"{of}, under no_grad")
    right = with_gradients(compute, state, x, upstreams)["grads"]
    right = {which: value for which, value in right.items() if value is not None}
    for which, value in right.items():
        agree(got["grads"][which] + nought(value), value + nought(value), of=f"{of}: the gradient by {which}")


# --- causal_convolution -----------------------------------------------------------------------------------------------


def conv(x, weight, bias, dilation):
    return F.conv1d(F.pad(x, ((weight.shape[2] - 1) * dilation, 0)), weight, bias, dilation=dilation)


@part("causal_convolution")
def test_four_steps_by_hand(attempt):
    """x = 1, 2, 3, 4 with weight (10, 1): the last tap meets the newest step."""
    x, weight = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[[10.0, 1.0]]])
    for dilation, want, turned in ((1, [1, 12, 23, 34], [10, 21, 32, 43]), (2, [1, 2, 13, 24], [10, 20, 31, 42])):
        got = attempt.causal_convolution(x, weight, None, dilation)
        known = {"the kernel turned round": torch.tensor([[turned]], dtype=torch.float32)}
        of = f"causal_convolution of 1, 2, 3, 4 with weight (10, 1), dilation {dilation}"
        agree(got, torch.tensor([[want]], dtype=torch.float32), axes="b o t", of=of, known=known)


@part("causal_convolution")
@each_dtype
def test_convolution_and_gradients(attempt, draw, dtype):
    """Values and gradients are those of torch's convolution with zeros before the first step, also where t is short."""
    for b, i, o, k, t, dilation in (
        (2, 3, 5, 3, 11, 1),
        (3, 5, 2, 4, 17, 3),
        (2, 1, 3, 3, 2, 7),
        (1, 2, 1, 2, 613, 512),
        (2, 3, 4, 1, 7, 5),
    ):
        x = draw.normal(b, t, i, dtype=of_type(dtype)).mT
        weight, bias = draw.normal(o, i, k, dtype=of_type(dtype)), draw.normal(o, dtype=of_type(dtype))
        g = draw.normal(b, o, t, dtype=of_type(dtype))
        of = f"causal_convolution, x ({b}, {i}, {t}), weight ({o}, {i}, {k}), dilation {dilation}, {dtype}"
        leaves = [value.clone().requires_grad_() for value in (x, weight, bias)]
        want = conv(*leaves, dilation)
        width = (k - 1) * dilation
        both = F.conv1d(F.pad(x, (width // 2, width - width // 2)), weight, bias, dilation=dilation)
        known = {
            "zeros on both sides": both,
            "zeros after the last step": F.conv1d(F.pad(x, (0, width)), weight, bias, dilation=dilation),
            "the kernel turned round": conv(x, weight.flip(2), bias, dilation),
            "no bias": conv(x, weight, None, dilation),
            "dilation 1": conv(x, weight, bias, 1),
        }
        grads = torch.autograd.grad((want * g).sum(), leaves)
        got, mine = attempt.gradients("causal_convolution", x, weight, bias, dilation, upstream=g)
        agree(got, want.detach(), axes="b o t", of=of, known=differs(known, want.detach()))
        agree(list(mine[:3]), list(grads), of=f"{of}: the gradients by x, weight and bias")
    agree(
        attempt.causal_convolution(x, weight), conv(x, weight, None, 1), axes="b o t", of="causal_convolution, no bias"
    )


@part("causal_convolution")
@pytest.mark.parametrize("gradients", [False, True])
def test_cost_grows_with_the_kernel_alone(attempt, draw, gradients):
    """No matrix over time, and no operator for each step: FLOPs and operators stay within their limits."""
    for b, i, o, k, t, dilation in ((2, 5, 7, 3, 211, 4), (41, 11, 3, 2, 23, 1)):
        x, weight, bias = draw.normal(b, i, t), draw.normal(o, i, k), draw.normal(o)
        more = {"upstream": draw.normal(b, o, t)} if gradients else {}
        got, cost = attempt.cost("causal_convolution", x, weight, bias, dilation, **more)
        of = f"causal_convolution, x ({b}, {i}, {t}), kernel {k}{', with its backward pass' if gradients else ''}"
        agree(got[0] if gradients else got, conv(x, weight, bias, dilation), axes="b o t", of=of)
        in_torch(cost, of=of)
        at_most(cost.flops, (9 if gradients else 3) * b * o * i * k * t, of=f"FLOPs of {of}")
        limit = 80 + 30 * k if gradients else 30 + 10 * k
        at_most(sum(cost.calls.values()), limit, of=f"operators of {of}", known={"one for each step": 2 * t})


@part("causal_convolution")
def test_another_convolution_of_that_size(attempt, reference, draw):
    """Each call takes its own x and weight, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 3, 11), draw.normal(4, 3, 2), draw.normal(4), 3) for _ in range(2)]
    hold_again(attempt, reference, "causal_convolution", *asked, of="causal_convolution of x (2, 3, 11), dilation 3")
    one = [(x, weight) for x, weight, *_ in asked]
    hold_again(attempt, reference, "causal_convolution", *one, of="causal_convolution of x (2, 3, 11), nothing else")


@part("causal_convolution")
def test_each_gets_a_gradient_without_the_others(attempt, draw):
    """x, weight and bias get their gradients, also where the other two require none."""
    values = [draw.normal(2, 3, 11), draw.normal(4, 3, 2), draw.normal(4)]
    upstream = draw.normal(2, 4, 11)
    leaves = [value.clone().requires_grad_() for value in values]
    want = torch.autograd.grad((conv(*leaves, 3) * upstream).sum(), leaves)
    for which, name in enumerate(("x", "weight", "bias")):
        got = attempt.run(drivers.convolved_by_one, *values, 3, upstream, which)
        agree(got, want[which], of=f"causal_convolution: the gradient by {name} alone")


# --- receptive_field --------------------------------------------------------------------------------------------------


def seen(kernels, dilations, strides):
    """All inputs of one output, walked back layer by layer; the span from the first to the last."""
    at = {0}
    for kernel, dilation, stride in reversed(list(zip(kernels, dilations, strides, strict=True))):
        at = {step * stride + tap * dilation for step in at for tap in range(kernel)}
    return max(at) - min(at) + 1


@part("receptive_field")
def test_stacks_by_hand(attempt):
    """No layer sees one step; WaveNet's stacks of 1 ... 512 see 1,024 steps, and three of them 3,070."""
    cases = [
        (([], [], []), 1, "no layers"),
        (([3, 2], [1, 4], [2, 1]), 11, "kernels 3, 2, dilations 1, 4, strides 2, 1"),
        (([2] * 10, [2**n for n in range(10)], [1] * 10), 1024, "WaveNet's stack of ten"),
        (([2] * 30, [2**n for n in range(10)] * 3, [1] * 30), 3070, "three such stacks"),
        (([2] * 70, [2**n for n in range(70)], [1] * 70), 2**70, "a stack of seventy, dilations 1, 2, 4 ..."),
    ]
    for (_, want, what), got in zip(cases, attempt.each("receptive_field", [case[0] for case in cases]), strict=True):
        agree(got, want, of=f"receptive_field of {what}")


@part("receptive_field")
def test_field_of_any_stack(attempt, draw):
    """The span of all inputs that one output sees, with kernels, dilations and strides of any size."""
    pick = draw.random.randint
    stacks = [list(zip((2, 3), (1, 2), two, strict=True)) for two in itertools.product((1, 2, 3), repeat=2)]
    stacks += [[(pick(1, 5), pick(1, 6), pick(1, 3)) for _ in range(pick(1, 5))] for _ in range(30)]
    rows = [tuple([layer[n] for layer in stack] for n in range(3)) for stack in stacks]
    for row, got in zip(rows, attempt.each("receptive_field", rows), strict=True):
        kernels, dilations, strides = row
        want, steps = seen(*row), list(itertools.accumulate([1, *strides], lambda a, b: a * b))
        layers = list(zip(kernels, dilations, strict=True))
        known = {
            "strides ignored": 1 + sum((k - 1) * d for k, d in layers),
            "its own stride counted for a layer": 1
            + sum((k - 1) * d * s for (k, d), s in zip(layers, steps[1:], strict=True)),
            "k · dilation for (k-1) · dilation": 1
            + sum(k * d * s for (k, d), s in zip(layers, steps[:-1], strict=True)),
            "the 1 forgotten": want - 1,
        }
        known = {name: value for name, value in known.items() if value != want}
        agree(
            got, want, of=f"receptive_field of kernels {kernels}, dilations {dilations}, strides {strides}", known=known
        )
    with refusal(ValueError, of="receptive_field of two kernels and one dilation"):
        attempt.receptive_field([2, 3], [1], [1, 1])
    with refusal(ValueError, of="receptive_field of one kernel and two strides"):
        attempt.receptive_field([2], [1], [1, 1])


@part("receptive_field")
def test_fewest_levels_that_see_enough(attempt):
    """The smallest n with 1 + 2 (k-1) (2^n - 1) >= length, on both sides of each step."""
    rows = [
        (k, 1 + 2 * (k - 1) * (2**n - 1) + more) for k in (2, 3, 7) for n in (1, 2, 5, 20, 61) for more in (-1, 0, 1)
    ]
    rows += [(3, 1), (1, 1), (3, 2), (2, 2)]
    for (k, length), got in zip(rows, attempt.each("tcn_levels", rows), strict=True):
        want = next(n for n in itertools.count() if k == 1 or 1 + 2 * (k - 1) * sum(2**m for m in range(n)) >= length)
        one = next(n for n in itertools.count() if k == 1 or 1 + (k - 1) * (2**n - 1) >= length)
        known = {"one convolution a level": one} if one != want else {}
        agree(got, want, of=f"tcn_levels({k}, {length})", known=known)
    with refusal(ValueError, of="tcn_levels(1, 2)"):
        attempt.tcn_levels(1, 2)


# --- TCNBlock ---------------------------------------------------------------------------------------------------------


def tcn_state(draw, i, o, k, dtype):
    shapes = {"v1": (o, i, k), "g1": (o,), "bias1": (o,), "v2": (o, o, k), "g2": (o,), "bias2": (o,)}
    shapes |= {"skip_weight": (o, i), "skip_bias": (o,)} if i != o else {}
    return state_of(draw, shapes, dtype)


def normalised(v, g):
    return g[:, None, None] * v / v.square().sum(dim=(1, 2), keepdim=True).sqrt()


def block(x, p, dilation, *, weight=normalised, last=torch.relu, between=torch.relu, skipped=True, normed=False):
    y = x
    for n in "12":
        y = conv(y, weight(p[f"v{n}"], p[f"g{n}"]), p[f"bias{n}"], dilation)
        y = F.batch_norm(y, None, None, training=True) if normed else y
        y = between(y)
    skip = torch.einsum("oi,bit->bot", p["skip_weight"], x) + p["skip_bias"][:, None] if "skip_weight" in p else x
    return [last(y + skip) if skipped else last(y)]


@part("TCNBlock")
@each_dtype
@pytest.mark.parametrize("training", [False, True])
def test_two_convolutions_and_a_skip(attempt, draw, training, dtype):
    """Values and gradients of two weight-normalised causal convolutions beside a skip, the same in training mode."""
    for b, i, o, k, t, dilation in ((2, 3, 5, 3, 13, 2), (3, 4, 4, 2, 7, 5), (2, 3, 2, 1, 5, 1)):
        state, x = tcn_state(draw, i, o, k, of_type(dtype)), draw.normal(b, t, i, dtype=of_type(dtype)).mT

        def one(state=state, x=x, dilation=dilation, **change):
            return lambda: block(x, state, dilation, **change)

        known = {
            "without the last ReLU": one(last=lambda y: y),
            "without the ReLU after each convolution": one(between=lambda y: y),
            "no skip connection": one(skipped=False),
            "weights that are not normalised": one(weight=lambda v, g: v),
            "weights g · v": one(weight=lambda v, g: g[:, None, None] * v),
            "one norm for all output channels": one(weight=lambda v, g: g[:, None, None] * v / v.norm()),
            "a norm for each tap": one(weight=lambda v, g: g[:, None, None] * v / v.norm(dim=1, keepdim=True)),
            "batch norm over time": one(normed=True),
            "dilation 1": one(dilation=1),
        }
        of = f"TCNBlock({i}, {o}, {k}, {dilation}), x ({b}, {i}, {t}), training {training}, {dtype}"
        hold_module(
            attempt, draw, "TCNBlock", (i, o, k, dilation), state, x,
            lambda x, p, dilation=dilation: block(x, p, dilation), of, "b o t", known, training,
        )  # fmt: skip
    agree(
        attempt.run(drivers.names, "TCNBlock", (i, o, k, dilation)),
        {name: list(value.shape) for name, value in state.items()},
        of=f"the parameters of TCNBlock({i}, {o}, {k}, {dilation})",
    )


@part("TCNBlock")
@each_dtype
def test_short_directions_and_other_parameters(attempt, draw, dtype):
    """The length of v has no effect, however short, and each call takes the parameters as they are then."""
    i, o, k, dilation = 3, 5, 2, 3
    x = draw.normal(2, i, 11, dtype=of_type(dtype))
    short = tcn_state(draw, i, o, k, of_type(dtype))
    lengths = torch.tensor([1.0, 1e-2, 1e-3, 1e-5, 1e3], dtype=of_type(dtype))[:, None, None]
    short = short | {name: short[name] * lengths for name in ("v1", "v2")}
    cases = [(short, "rows of v about 1, 1e-2, 1e-3, 1e-5 and 1e3 long")]
    cases += [(tcn_state(draw, i, o, k, of_type(dtype)), "the same module, other parameters") for _ in range(2)]
    got = attempt.run(drivers.turns, "TCNBlock", [((i, o, k, dilation), state, x) for state, _ in cases])
    for mine, (state, what) in zip(got, cases, strict=True):
        agree(mine, block(x, state, dilation)[0], axes="b o t", of=f"TCNBlock({i}, {o}, {k}, {dilation}), {what}")


@part("TCNBlock")
@pytest.mark.parametrize("training", [False, True])
def test_field_is_exact(attempt, draw, training):
    """Where all ReLUs are open an output sees 2 (k-1) steps back, each a dilation apart, and nothing else."""
    for i, o, k, dilation, t in ((2, 3, 3, 2, 17), (3, 3, 2, 5, 13)):
        state = {name: value.abs() + 0.1 for name, value in tcn_state(draw, i, o, k, torch.float64).items()}
        x = draw.uniform(2, i, t)
        for at in (t - 1, t // 2):
            g = torch.zeros(2, o, t, dtype=torch.float64)
            g[:, :, at] = 1
            got = attempt.run(drivers.through, "TCNBlock", (i, o, k, dilation), state, x, [g], training)
            steps = [at - n * dilation for n in range(2 * (k - 1) + 1)]
            want = sorted(step for step in steps if step >= 0)
            found = (got["grads"]["x"].abs().sum(dim=(0, 1)) > 1e-12).nonzero()[:, 0].tolist()
            mode = "training" if training else "eval"
            agree(
                found,
                want,
                of=f"the steps that output {at} of TCNBlock, kernel {k}, dilation {dilation}, {mode} mode, sees",
            )


@part("TCNBlock")
def test_dropout_after_each_convolution(attempt, draw):
    """In training mode each number passes two dropouts, on its own; in eval mode none."""
    calls, p, c, t = 600, 0.25, 3, 2
    state = tcn_state(draw, c, c, 2, torch.float64)
    eye = torch.zeros(c, c, 2, dtype=torch.float64)
    eye[:, :, 1] = torch.eye(c)
    one = torch.ones(c, dtype=torch.float64)
    level = draw.uniform(c, low=1, high=2)
    state |= {"g1": 0 * one, "bias1": level, "v2": eye, "g2": one, "bias2": 0 * one}
    x, seed = torch.zeros(2, c, t, dtype=torch.float64), draw.random.randrange(2**40)
    want = level[:, None].expand(2, c, t)
    of = f"TCNBlock({c}, {c}, 2, 1, dropout={p}), first convolution constant, second the identity"
    out = attempt.run(drivers.dropped, (c, c, 2, 1, p), state, x, False, 2, seed)
    agree(out, want.expand(2, 2, c, t), axes="call b o t", of=f"{of}, eval mode")
    out = attempt.run(drivers.dropped, (c, c, 2, 1, p), state, x, True, calls, seed)
    agree(torch.zeros_like(out), torch.zeros(calls, 2, c, t, dtype=x.dtype), of=f"{of}, form and dtype")
    kept = out != 0
    known = {
        "one dropout": kept * want / (1 - p),
        "nothing divided by 1 - p": kept * want,
        "multiplied by 1 - p": kept * want * (1 - p) ** 2,
    }
    agree(out, kept * want / (1 - p) ** 2, axes="call b o t", of=f"{of}, training mode: what was kept", known=known)
    hold_independent(~kept.flatten(1), 1 - (1 - p) ** 2, f"{of}, training mode", name=lambda n: f"number {n}")
    again = attempt.run(drivers.dropped, (c, c, 2, 1, p), state, x, True, 20, seed)
    agree(again, out[:20], axes="call b o t", of=f"{of}, training mode, torch's global generator seeded as before")
    large = torch.zeros(2, c, 7919, dtype=torch.float64)
    out = attempt.run(drivers.dropped, (c, c, 2, 1, p), state, large, True, 1, seed)
    hold_unrepeated(out[0] == 0, 1 - (1 - p) ** 2, f"{of}, training mode, x (2, {c}, 7919): what is 0")


# --- mu_law -----------------------------------------------------------------------------------------------------------


def companded(x, mu):
    return math.copysign(math.log(1 + mu * abs(x)) / math.log(1 + mu), x)


def expanded(y, mu):
    return math.copysign(((1 + mu) ** abs(y) - 1) / mu, y)


@part("mu_law")
@each_dtype
def test_codes_on_both_sides_of_each_edge(attempt, dtype):
    """A code reaches half a step to either side, measured by f; loud samples are clipped."""
    for mu in (255, 100, 7, 1001):
        near = 1e-9 if dtype == "float64" else 1e-4 if mu <= 255 else 1e-3
        edges = [expanded(2 * (code + 0.5) / mu - 1, mu) for code in range(mu)]
        x = [side for edge in edges for side in (edge - near * abs(edge), edge + near * abs(edge)) if abs(edge) > 1e-9]
        x += [0.0, -1.0, 1.0, -3.0, 2.0] if mu % 2 else [-1.0, 1.0, -3.0, 2.0]
        want = [math.floor((companded(min(max(v, -1), 1), mu) + 1) / 2 * mu + 0.5) for v in x]
        linear = [math.floor((min(max(v, -1), 1) + 1) / 2 * mu + 0.5) for v in x]
        cut = [math.floor((companded(min(max(v, -1), 1), mu) + 1) / 2 * mu) for v in x]
        wide = [min(math.floor((companded(min(max(v, -1), 1), mu) + 1) / 2 * (mu + 1)), mu) for v in x]
        known = {
            "no companding": linear, "rounded down": cut, "μ + 1 stretches of one width": wide,
            "unsigned": [math.floor((abs(companded(min(max(v, -1), 1), mu)) + 1) / 2 * mu + 0.5) for v in x],
        }  # fmt: skip
        known = {name: torch.tensor(value)[None] for name, value in known.items()}
        got = attempt.mu_law(torch.tensor([x], dtype=of_type(dtype)), mu)
        agree(got, torch.tensor([want]), of=f"mu_law of {len(x)} samples beside the edges, mu {mu}", known=known)
    got = attempt.mu_law(torch.tensor([[-1.0, 0.01], [0.0, 1.0]], dtype=of_type(dtype)).mT)  # not contiguous
    agree(got, torch.tensor([[0, 128], [157, 255]]), of="mu_law of -1, 0, 0.01, 1, not contiguous")


@part("mu_law")
def test_every_code_comes_back(attempt):
    """The sample of a code is the middle of its stretch, so its code is the same again."""
    for mu in (255, 100, 7):
        codes = torch.arange(mu + 1).view(1, -1)
        want = torch.tensor([[expanded(2 * code / mu - 1, mu) for code in range(mu + 1)]], dtype=torch.float64)
        known = {
            "no expanding": 2 * codes.double() / mu - 1,
            "the lower edge of a stretch": torch.tensor(
                [[expanded(max(2 * (code - 0.5) / mu - 1, -1), mu) for code in range(mu + 1)]], dtype=torch.float64
            ),
        }
        got = attempt.mu_law_inverse(codes, mu)
        agree(got, want, of=f"mu_law_inverse of all codes, mu {mu}", known=known)
        quiet = got[want.abs() < 0.05] / want[want.abs() < 0.05]
        near = torch.ones(len(quiet), dtype=torch.float64)
        if mu != 100:  # there the middle code is 0
            agree(quiet, near, of=f"mu_law_inverse near silence, mu {mu}, divided by what is due")
        agree(attempt.mu_law(got, mu), codes, of=f"the codes of mu_law_inverse(codes), mu {mu}")
    agree(
        attempt.mu_law_inverse(torch.tensor([[0, 255], [255, 0], [0, 0]]).mT),
        torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]], dtype=torch.float64),
        of="mu_law_inverse of 0 and 255, (2, 3), not contiguous, mu not given",
    )  # fmt: skip


@part("mu_law")
def test_other_samples_of_that_size(attempt, reference, draw):
    """Each call takes its own samples, or codes, whatever came before in the same sizes."""
    codes = [(draw.integers(0, 256, 3, 7),) for _ in range(2)]
    hold_again(attempt, reference, "mu_law_inverse", *codes, of="mu_law_inverse of codes (3, 7)")
    samples = [(reference.mu_law_inverse(one),) for (one,) in codes]  # in the middle of each code's stretch
    hold_again(attempt, reference, "mu_law", *samples, of="mu_law of samples (3, 7)")


@part("mu_law")
def test_codes_of_a_scalar(attempt):
    """x may have any shape: a scalar is one sample."""
    agree(attempt.mu_law(torch.tensor(0.01)), torch.tensor(157), of="mu_law of the scalar 0.01")
    got = attempt.mu_law_inverse(torch.tensor(255))
    agree(got, torch.tensor(1.0, dtype=torch.float64), of="mu_law_inverse of the scalar 255")


# --- GatedLayer -------------------------------------------------------------------------------------------------------


def gated_shapes(c, s, k, prefix=""):
    shapes = {"weight": (2 * c, c, k), "bias": (2 * c,), "out_weight": (c, c), "out_bias": (c,)}
    return {prefix + name: shape for name, shape in (shapes | {"skip_weight": (s, c), "skip_bias": (s,)}).items()}


def gated(x, p, dilation, *, gate=torch.sigmoid, filtered=torch.tanh, swapped=False, to_skip=False, on=True):
    a, b = conv(x, p["weight"], p["bias"], dilation).chunk(2, dim=1)
    z = filtered(b) * gate(a) if swapped else filtered(a) * gate(b)
    out = torch.einsum("oc,bct->bot", p["out_weight"], z) + p["out_bias"][:, None]
    source = out + x if to_skip else z
    skip = torch.einsum("oc,bct->bot", p["skip_weight"], source) + p["skip_bias"][:, None]
    return [x + out if on else out, skip]


@part("GatedLayer")
@each_dtype
def test_gate_residual_and_skip(attempt, draw, dtype):
    """Values and gradients of both ways out, for short and long inputs."""
    for b, c, s, k, t, dilation in ((2, 3, 5, 2, 11, 4), (3, 4, 2, 3, 2, 3)):
        state, x = state_of(draw, gated_shapes(c, s, k), of_type(dtype)), draw.normal(b, t, c, dtype=of_type(dtype)).mT

        def one(state=state, x=x, dilation=dilation, **change):
            return lambda: gated(x, state, dilation, **change)

        known = {
            "filter and gate exchanged": one(swapped=True),
            "a gate without sigmoid": one(gate=lambda y: y),
            "a filter without tanh": one(filtered=lambda y: y),
            "no residual": one(on=False),
            "the skip of the residual's sum": one(to_skip=True),
            "dilation 1": one(dilation=1),
        }
        hold_module(
            attempt, draw, "GatedLayer", (c, s, k, dilation), state, x,
            lambda x, p, dilation=dilation: gated(x, p, dilation),
            f"GatedLayer({c}, {s}, {k}, {dilation}), x ({b}, {c}, {t}), {dtype}", "b c t", known,
        )  # fmt: skip
    agree(
        attempt.run(drivers.names, "GatedLayer", (c, s, k, dilation)),
        {name: list(value.shape) for name, value in state.items()},
        of=f"the parameters of GatedLayer({c}, {s}, {k}, {dilation})",
    )


@part("GatedLayer")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_gated_layer_of_now_in_both_modes(attempt, draw, training):
    """Each call takes x and the parameters as they are then, in eval mode and in training mode."""
    c, s, k, dilation = 3, 5, 2, 4
    cases = [(state_of(draw, gated_shapes(c, s, k), torch.float64), draw.normal(2, c, 11)) for _ in range(3)]
    got = attempt.run(drivers.turns, "GatedLayer", [((c, s, k, dilation), *case) for case in cases], training)
    for n, (mine, (state, x)) in enumerate(zip(got, cases, strict=True)):
        of = f"GatedLayer({c}, {s}, {k}, {dilation}), x (2, {c}, 11), after {n} other calls, {mode_of(training)}"
        agree(list(mine), gated(x, state, dilation), axes="b c t", of=of)


# --- WaveNet ----------------------------------------------------------------------------------------------------------


def net_state(draw, q, c, s, k, dilations, dtype):
    shapes = {"embedding": (q, c), "hidden_weight": (s, s), "hidden_bias": (s,)}
    shapes |= {"logit_weight": (q, s), "logit_bias": (q,)}
    for n in range(len(dilations)):
        shapes |= gated_shapes(c, s, k, f"layers.{n}.")
    return state_of(draw, shapes, dtype)


def network(codes, p, dilations, *, shift=1, skips=True, first=torch.relu, second=torch.relu, mean=False):
    x = F.pad(p["embedding"][codes].mT, (shift, 0))[:, :, : codes.shape[1]]
    total = 0
    for n, dilation in enumerate(dilations):
        own = {name.split(".")[2]: value for name, value in p.items() if name.startswith(f"layers.{n}.")}
        x, skip = gated(x, own, dilation)
        total = total + skip if skips else skip
    total = total / len(dilations) if mean else total
    hidden = second(torch.einsum("os,bst->bot", p["hidden_weight"], first(total)) + p["hidden_bias"][:, None])
    return [(torch.einsum("qs,bst->bqt", p["logit_weight"], hidden) + p["logit_bias"][:, None]).mT]


@part("WaveNet")
@each_dtype
def test_logits_know_what_came_before(attempt, draw, dtype):
    """Values and gradients of all parameters: row t is made of the codes before t."""
    for b, q, c, s, k, dilations, t in (
        (2, 7, 3, 5, 2, [1, 2, 4], 13), (3, 5, 4, 2, 3, [2, 1], 6), (2, 3, 2, 4, 2, [3], 1)
    ):  # fmt: skip
        state, codes = net_state(draw, q, c, s, k, dilations, of_type(dtype)), draw.integers(0, q, b, t)

        def one(state=state, codes=codes, dilations=dilations, **change):
            return lambda: network(codes, state, dilations, **change)

        known = {
            "no shift: row t knows codes[:, t] itself": one(shift=0),
            "a shift of two": one(shift=2),
            "the skip of the last layer alone": one(skips=False),
            "the mean of the skips": one(mean=True),
            "no ReLU before the hidden layer": one(first=lambda y: y),
            "no ReLU after the hidden layer": one(second=lambda y: y),
        }
        hold_module(
            attempt, draw, "WaveNet", (q, c, s, k, dilations), state, codes,
            lambda x, p, dilations=dilations: network(x, p, dilations),
            f"WaveNet({q}, {c}, {s}, {k}, {dilations}), codes ({b}, {t}), {dtype}", "b t q", known,
        )  # fmt: skip


@part("WaveNet")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_wavenet_of_now_in_both_modes(attempt, draw, training):
    """Each call takes codes and parameters as they are then, in eval mode and in training mode."""
    args = q, c, s, k, dilations = 7, 3, 5, 2, (1, 2, 4)
    cases = [(net_state(draw, q, c, s, k, dilations, torch.float64), draw.integers(0, q, 9, 2).mT) for _ in range(3)]
    got = attempt.run(drivers.turns, "WaveNet", [(args, *case) for case in cases], training)
    for n, (mine, (state, codes)) in enumerate(zip(got, cases, strict=True)):
        of = f"WaveNet{args}, codes (2, 9), not contiguous, after {n} other calls, {mode_of(training)}"
        agree(mine, network(codes, state, dilations)[0], axes="b t q", of=of)


# --- fast_generate ----------------------------------------------------------------------------------------------------


def slowly(state, dilations, prompt, m, draw):
    """Codes by one full pass for each, and the u that lead there: just inside the stretch of a random code.

    So near to an end of it that a slightly wrong probability gives another code, and rounding does not.
    """
    codes, us, dtype = prompt, [], state["embedding"].dtype
    inside = 1e-7 if dtype == torch.float64 else 2e-3
    for _ in range(m):
        blank = torch.zeros(len(codes), 1, dtype=torch.long)
        p = network(torch.cat([codes, blank], dim=1), state, dilations)[0][:, -1].softmax(dim=1)
        chosen = [draw.pick([code for code, one in enumerate(row) if one > 0.02]) for row in p.tolist()]
        chosen = torch.tensor(chosen)[:, None]
        low = torch.rand(len(codes), 1, generator=draw.generator) < 0.5
        us.append((p.cumsum(dim=1) - torch.where(low, p - inside, inside)).gather(1, chosen))
        codes = torch.cat([codes, chosen], dim=1)
    return codes, torch.cat(us, dim=1).mT.contiguous().mT if us else draw.uniform(len(prompt), 0, dtype=dtype)


@part("fast_generate")
@each_dtype
def test_codes_are_those_of_the_slow_way(attempt, draw, dtype):
    """With queues come the codes that a full pass for each gives, from any prompt, and whatever model came before."""
    for b, q, c, s, k, dilations in (
        (3, 5, 3, 4, 2, [1, 2, 4]), (2, 4, 2, 3, 3, [2, 1]), (2, 3, 2, 2, 1, [1, 3]), (2, 4, 3, 5, 2, [1, 2, 1]),
    ):  # fmt: skip
        field = 1 + (k - 1) * sum(dilations)
        cases = [(0, 2 * field + 3), (1, field + 2), (1, field + 2), (field + 3, 5), (2, 0), (0, 1), (0, 0)]
        states = [net_state(draw, q, c, s, k, dilations, of_type(dtype)) for _ in cases]
        prompts = [draw.integers(0, q, p, b).mT for p, _ in cases]
        want, us = zip(
            *(
                slowly(one, dilations, prompt, m, draw)
                for one, prompt, (_, m) in zip(states, prompts, cases, strict=True)
            ),
            strict=True,
        )
        got = attempt.run(drivers.generated, (q, c, s, k, dilations), states, prompts, list(us))
        for (p, m), mine, right in zip(cases, got, want, strict=True):
            of = f"fast_generate, kernel {k}, dilations {dilations}, a prompt of {p} and {m} codes after it, {dtype}"
            agree(mine, right, axes="b t", of=of, along={"t": [n for n in (p, m) if n]})


@part("fast_generate")
def test_numbers_at_the_ends_of_a_stretch(attempt):
    """A running sum that equals u is counted, and no number leads past the last symbol."""
    for q, us, want in (
        (4, [0.0, 0.125, 0.25, 0.5, 0.625, 0.75, 1 - 2**-53], [0, 0, 1, 2, 2, 3, 3]),
        (10, [1 - 2**-53] * 2, [9, 9]),
    ):
        names = ["embedding", "hidden_weight", "hidden_bias", "logit_weight", "logit_bias"]
        shapes = dict(zip(names, ((q, 2), (3, 3), (3,), (q, 3), (q,)), strict=True)) | gated_shapes(
            2, 3, 2, "layers.0."
        )
        state = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        u = torch.tensor([us, us], dtype=torch.float64)
        got = attempt.run(drivers.generated, (q, 2, 3, 2, [1]), [state], [torch.zeros(2, 0, dtype=torch.long)], [u])
        known = {"a running sum that equals u not counted": torch.tensor([[0, 0, 0, 1, 2, 2, 3]] * 2)} if q == 4 else {}
        agree(
            got[0], torch.tensor([want, want]), axes="b t", of=f"fast_generate, {q} codes equally likely", known=known
        )


@part("fast_generate")
@pytest.mark.parametrize("training", [False, True])
def test_model_is_left_as_it_was(attempt, draw, training):
    """The model's mode, its parameters, what asks for gradients and torch's grad mode stay as they were."""
    q, c, s, k, dilations = 5, 3, 4, 2, [1, 2]
    state = net_state(draw, q, c, s, k, dilations, torch.float64)
    prompt, u = draw.integers(0, q, 2, 3), draw.uniform(2, 4)
    got = attempt.run(drivers.left_alone, (q, c, s, k, dilations), state, prompt, u, training)
    want = {
        "in training mode": [training] * (2 + len(dilations)),
        "grad mode": True,
        "ask for gradients": len(state) - 1,
        "the frozen one asks": False,
        "gradients": 0,
        "parameters": state,
    }
    got["parameters"] = {key: got["parameters"][key] for key in state}
    for key, value in want.items():
        agree(got[key], value, of=f"fast_generate, {'training' if training else 'eval'} mode, afterwards: {key}")


@part("fast_generate")
@pytest.mark.parametrize("recording", [False, True])
def test_a_code_costs_one_step(attempt, draw, recording):
    """FLOPs grow with the codes, not with their square, nothing is recorded, and nothing stays alive."""
    for b, p, m, k, dilations in ((3, 7, 60, 2, [1, 2, 4]), (2, 40, 30, 3, [1])):
        q, c, s = 5, 4, 3
        state = net_state(draw, q, c, s, k, dilations, torch.float64)
        prompt = draw.integers(0, q, b, p)
        want, u = slowly(state, dilations, prompt, m, draw)
        got, cost = attempt.cost(drivers.generation_cost, (q, c, s, k, dilations), state, prompt, u, recording)
        of = f"fast_generate of {m} codes after {p}, {b} rows, dilations {dilations}"
        agree(got, want, axes="b t", of=of)
        in_torch(cost, of=of)
        step = 2 * b * (len(dilations) * (2 * c * c * k + c * c + s * c) + s * s + q * s)
        known = {"a full pass for each code": step * sum(range(p + 1, p + m + 1))}
        at_most(cost.flops, 2 * (p + m) * step, of=f"FLOPs of {of}", known=known)
        at_most(cost.saved, 0, of=f"bytes that {of} saves for a backward pass")
        at_most(cost.kept, 0, of=f"bytes that {of} leaves alive")
        at_most(cost.kept_nodes, 0, of=f"nodes of autograd that {of} leaves alive")


# --- ConvolutionModule ------------------------------------------------------------------------------------------------


def module_shapes(d, k, prefix=""):
    shapes = {"norm.weight": (d,), "norm.bias": (d,), "in_weight": (2 * d, d), "in_bias": (2 * d,)}
    shapes |= {"depth_weight": (d, k), "depth_bias": (d,), "batch_norm.weight": (d,), "batch_norm.bias": (d,)}
    return {prefix + name: shape for name, shape in (shapes | {"out_weight": (d, d), "out_bias": (d,)}).items()}


def before_batch_norm(x, p, *, left=lambda k: (k - 1) // 2, swapped=False, gate=torch.sigmoid, turned=False):
    """What the depthwise convolution gives."""
    d, k = p["depth_weight"].shape
    y = F.layer_norm(x, (d,), p["norm.weight"], p["norm.bias"]) @ p["in_weight"].mT + p["in_bias"]
    a, b = (y[..., d:], y[..., :d]) if swapped else (y[..., :d], y[..., d:])
    y, before = a * gate(b), left(k)
    y = F.pad(y, (0, 0, before, k - 1 - before))
    taps = p["depth_weight"].flip(1) if turned else p["depth_weight"]
    return sum(y[:, j : j + x.shape[1]] * taps[:, j] for j in range(k)) + p["depth_bias"]


def convolved(
    x, p, running, *, left=lambda k: (k - 1) // 2, act=F.silu, swapped=False, gate=torch.sigmoid, turned=False
):
    """The module by sums over taps; running: mean and variance, or None for those of the batch."""
    y = before_batch_norm(x, p, left=left, swapped=swapped, gate=gate, turned=turned)
    mean, variance = running or (y.mean(dim=(0, 1)), y.var(dim=(0, 1), unbiased=False))
    y = (y - mean) / (variance + 1e-5).sqrt() * p["batch_norm.weight"] + p["batch_norm.bias"]
    return [act(y) @ p["out_weight"].mT + p["out_bias"]]


def fresh(d, dtype):
    """What a new batch norm has."""
    return torch.zeros(d, dtype=dtype), torch.ones(d, dtype=dtype)


@part("ConvolutionModule")
@each_dtype
@pytest.mark.parametrize("training", [False, True])
def test_module_and_gradients(attempt, draw, training, dtype):
    """Values and gradients, with odd and even kernels, in eval and in training mode."""
    for b, t, d, k in ((2, 11, 3, 5), (3, 7, 5, 4), (2, 3, 4, 7)):
        state = state_of(draw, module_shapes(d, k), of_type(dtype))
        x = draw.normal(b, d, t, dtype=of_type(dtype)).mT
        running = None if training else fresh(d, of_type(dtype))

        def one(state=state, x=x, running=running, **change):
            return lambda: convolved(x, state, running, **change)

        known = {
            "a causal convolution": one(left=lambda k: k - 1),
            "no zeros on the left": one(left=lambda k: 0),
            "an even kernel that sees one step more on the left": one(left=lambda k: k // 2),
            "the kernel turned round": one(turned=True),
            "the gate in the first half": one(swapped=True),
            "a gate without sigmoid": one(gate=lambda y: y),
            "no swish": one(act=lambda y: y),
            "ReLU for swish": one(act=torch.relu),
            "GELU for swish": one(act=F.gelu),
        }
        mode = "training" if training else "eval"
        hold_module(
            attempt, draw, "ConvolutionModule", (d, k), state, x,
            lambda x, p, running=running: convolved(x, p, running),
            f"ConvolutionModule({d}, {k}), x ({b}, {t}, {d}), {mode} mode, {dtype}", "b t d", known, training,
        )  # fmt: skip


@part("ConvolutionModule")
def test_statistics_move_in_training_mode_alone(attempt, draw):
    """Eval mode uses the running statistics and leaves them alone; training mode uses the batch and moves them."""
    b, t, d, k = 2, 7, 3, 4
    state, x = state_of(draw, module_shapes(d, k), torch.float64), draw.normal(b, t, d)
    got = attempt.run(drivers.statistics, (d, k), state, x, False)
    of = f"ConvolutionModule({d}, {k}) in eval mode"
    agree(got["out"], convolved(x, state, got["before"])[0], axes="b t d", of=of)
    agree(got["after"], got["before"], of=f"{of}: running mean and variance afterwards")
    got = attempt.run(drivers.statistics, (d, k), state, x, True)
    of = f"ConvolutionModule({d}, {k}) in training mode"
    agree(got["out"], convolved(x, state, None)[0], axes="b t d", of=of)
    norm = torch.nn.BatchNorm1d(d, dtype=x.dtype)
    norm.running_mean.copy_(got["before"][0])
    norm.running_var.copy_(got["before"][1])
    y = before_batch_norm(x, state).mT
    after = []
    for _ in range(2):
        norm(y)
        after.append([norm.running_mean.clone(), norm.running_var.clone()])
    known = {"the statistics did not move": got["before"], "moved twice": after[1]}
    for n, what in enumerate(("mean", "variance")):
        mistakes = {name: value[n] for name, value in known.items()}
        agree(got["after"][n], after[0][n], of=f"{of}: running {what} after one call", known=mistakes)


@part("ConvolutionModule")
def test_convolution_module_of_now(attempt, draw):
    """Each call takes x and the parameters as they are then, whatever came before in the same sizes."""
    d, k = 3, 4
    cases = [(state_of(draw, module_shapes(d, k), torch.float64), draw.normal(2, 7, d)) for _ in range(3)]
    got = attempt.run(drivers.turns, "ConvolutionModule", [((d, k), *case) for case in cases])
    for n, (mine, (state, x)) in enumerate(zip(got, cases, strict=True)):
        want = convolved(x, state, fresh(d, torch.float64))[0]
        agree(mine, want, axes="b t d", of=f"ConvolutionModule({d}, {k}), x (2, 7, {d}), after {n} other calls, eval")


# --- ConformerBlock ---------------------------------------------------------------------------------------------------


def attention(q, k, v, r, u, w, *, sign=1, scale=True, biased=True, positions=True, content=True):
    """Attention with a vector for each pair: the wasteful way."""
    t = q.shape[2]
    steps = torch.arange(t)
    pairs = r[:, sign * (steps[:, None] - steps) + t - 1]
    first = q + u[:, None] if content else q
    second = q + w[:, None] if biased else q
    scores = torch.einsum("bhie,bhje->bhij", first, k)
    scores = scores + torch.einsum("bhie,hije->bhij", second, pairs) if positions else scores
    scores = scores / math.sqrt(q.shape[3]) if scale else scores
    return scores.softmax(dim=3) @ v


@part("ConformerBlock")
@each_dtype
def test_two_steps_by_hand(attempt, dtype):
    """A score of 100 at distance 1 alone: the second query sees the first key, and nothing overflows."""
    one, v, none = torch.ones(1, 1, 2, 1), torch.tensor([[[[4.0], [8.0]]]]), torch.zeros(1, 1)
    for score, want in ((100.0, [6.0, 4.0]), (1000.0, [6.0, 4.0]), (-1000.0, [6.0, 8.0])):
        far = torch.tensor([[[0.0], [0.0], [score]]])
        given = [value.to(of_type(dtype)) for value in (one, one, v, far, none, none)]
        got = attempt.relative_attention(*given)
        of = f"relative_attention of two steps, score {score:.0f} at distance 1, {dtype}"
        agree(got, torch.tensor(want, dtype=of_type(dtype)).view(1, 1, 2, 1), axes="b h t e", of=of)


@part("ConformerBlock")
@each_dtype
def test_scores_know_the_distance(attempt, draw, dtype):
    """relative_attention: values, and gradients of all six."""
    for b, h, t, e in ((2, 3, 7, 5), (3, 2, 1, 4)):
        q, k, v = (draw.normal(b, t, h, e, dtype=of_type(dtype)).transpose(1, 2) for _ in range(3))
        r = draw.normal(h, 2 * t - 1, e, dtype=of_type(dtype))
        u, w = (draw.normal(h, e, dtype=of_type(dtype)) for _ in range(2))
        leaves = [one.clone().requires_grad_() for one in (q, k, v, r, u, w)]
        g = draw.normal(b, h, t, e, dtype=of_type(dtype))
        want = attention(*leaves)
        with torch.no_grad():
            known = {
                "the distance j - i": attention(q, k, v, r, u, w, sign=-1),
                "no 1/√e": attention(q, k, v, r, u, w, scale=False),
                "no position_bias": attention(q, k, v, r, u, w, biased=False),
                "no content_bias": attention(q, k, v, r, u, w, content=False),
                "the biases exchanged": attention(q, k, v, r, w, u),
                "no positions": attention(q, k, v, r, u, w, positions=False),
            }
        grads = torch.autograd.grad((want * g).sum(), leaves)
        got, mine = attempt.gradients("relative_attention", q, k, v, r, u, w, upstream=g)
        of = f"relative_attention, q ({b}, {h}, {t}, {e}), {dtype}"
        agree(got, want.detach(), axes="b h t e", of=of, known=differs(known, want.detach()))
        # with one key the softmax is 1 whatever the scores: those gradients are 0, to which no error is small
        shift = 0 if t > 1 else 1
        agree([one + shift for one in mine], [one + shift for one in grads], of=f"{of}: the gradients of all six")


@part("ConformerBlock")
@pytest.mark.parametrize("gradients", [False, True])
def test_no_vector_for_each_pair(attempt, draw, gradients):
    """relative_attention makes nothing of t·t·e elements, with gradients either."""
    for b, h, t, e in ((2, 3, 37, 29), (3, 2, 61, 17), (2, 3, 13, 11)):
        q, k, v = (draw.normal(b, h, t, e) for _ in range(3))
        r, u, w = draw.normal(h, 2 * t - 1, e), draw.normal(h, e), draw.normal(h, e)
        more = {"upstream": draw.normal(b, h, t, e)} if gradients else {}
        got, cost = attempt.cost("relative_attention", q, k, v, r, u, w, **more)
        of = f"relative_attention, q ({b}, {h}, {t}, {e}){', with its backward pass' if gradients else ''}"
        agree(got[0] if gradients else got, attention(q, k, v, r, u, w), axes="b h t e", of=of)
        limit, known = 4 * b * h * t * max(t, e), {"a vector for each pair": h * t * t * e}
        at_most(cost.largest, limit, of=f"elements of the largest tensor of {of}", known=known)


def block_shapes(d, h, k):
    norms = ("first_norm", "second_norm", "attention_norm", "final_norm")
    shapes = {f"{name}.{what}": (d,) for name in norms for what in ("weight", "bias")}
    for name in ("first", "second"):
        shapes |= {f"{name}_in.weight": (4 * d, d), f"{name}_in.bias": (4 * d,)}
        shapes |= {f"{name}_out.weight": (d, 4 * d), f"{name}_out.bias": (d,)}
    for name in ("query", "key", "value", "attention_out"):
        shapes |= {f"{name}.weight": (d, d), f"{name}.bias": (d,)}
    shapes |= {"position.weight": (d, d), "content_bias": (h, d // h), "position_bias": (h, d // h)}
    return shapes | module_shapes(d, k, "convolution.")


def sines(t, d, dtype):
    rows = [
        [f(step / 10_000 ** (2 * n / d)) for n in range(d // 2) for f in (math.sin, math.cos)]
        for step in range(1 - t, t)
    ]
    return torch.tensor(rows, dtype=dtype)


def conformer(x, p, h, running, *, half=0.5, order="attention convolution", last=True, positions=True, act=F.silu):
    _, t, d = x.shape

    def linear(name, x):
        return x @ p[f"{name}.weight"].mT + p.get(f"{name}.bias", 0)

    def norm(name, x):
        return F.layer_norm(x, (d,), p[f"{name}.weight"], p[f"{name}.bias"])

    def feed_forward(name, x):
        return x + half * linear(f"{name}_out", act(linear(f"{name}_in", norm(f"{name}_norm", x))))

    def heads(y):
        return y.unflatten(-1, (h, d // h)).movedim(-2, -3)

    def attend(x):
        a = norm("attention_norm", x)
        q, k, v = (heads(linear(name, a)) for name in ("query", "key", "value"))
        r = heads(linear("position", sines(t, d, x.dtype)))
        y = attention(q, k, v, r, p["content_bias"], p["position_bias"], positions=positions)
        return x + linear("attention_out", y.movedim(1, 2).flatten(2))

    def convolve(x):
        own = {name.removeprefix("convolution."): one for name, one in p.items() if name.startswith("convolution.")}
        return x + convolved(x, own, running)[0]

    x = feed_forward("first", x)
    for name in order.split():
        x = {"attention": attend, "convolution": convolve}[name](x)
    x = feed_forward("second", x)
    return [norm("final_norm", x) if last else x]


@part("ConformerBlock")
@each_dtype
@pytest.mark.parametrize("training", [False, True])
def test_block_and_gradients(attempt, draw, training, dtype):
    """Values and gradients of all parameters, in eval and in training mode."""
    for b, t, d, h, k in ((2, 7, 6, 3, 4), (3, 5, 4, 1, 3)) if not training else ((2, 5, 6, 3, 3),):
        state = state_of(draw, block_shapes(d, h, k), of_type(dtype))
        x = draw.normal(b, d, t, dtype=of_type(dtype)).mT
        running = None if training else fresh(d, of_type(dtype))

        def one(state=state, x=x, running=running, h=h, **change):
            return lambda: conformer(x, state, h, running, **change)

        known = {
            "whole steps of the feed-forward networks": one(half=1.0),
            "the convolution before attention": one(order="convolution attention"),
            "no last norm": one(last=False),
            "no convolution": one(order="attention"),
            "no attention": one(order="convolution"),
            "attention without positions": one(positions=False),
            "ReLU for swish in the feed-forward networks": one(act=torch.relu),
        }
        mode = "training" if training else "eval"
        hold_module(
            attempt, draw, "ConformerBlock", (d, h, k), state, x,
            lambda x, p, running=running, h=h: conformer(x, p, h, running),
            f"ConformerBlock({d}, {h}, {k}), x ({b}, {t}, {d}), {mode} mode, {dtype}", "b t d", known, training,
        )  # fmt: skip


@part("ConformerBlock")
@each_dtype
def test_parameters_of_now(attempt, draw, dtype):
    """Each call takes the parameters, the length and the width as they are then, whatever came before."""
    sizes = [(2, 7, 6, 3, 3), (2, 7, 6, 3, 3), (3, 7, 6, 3, 3), (2, 7, 4, 2, 3), (2, 5, 6, 3, 3)]
    cases = [
        ((d, h, k), state_of(draw, block_shapes(d, h, k), of_type(dtype)), draw.normal(b, t, d, dtype=of_type(dtype)))
        for b, t, d, h, k in sizes
    ]
    got = attempt.run(drivers.turns, "ConformerBlock", cases)
    for mine, ((d, h, k), state, x), n in zip(got, cases, range(len(cases)), strict=True):
        want = conformer(x, state, h, fresh(d, of_type(dtype)))[0]
        of = f"ConformerBlock({d}, {h}, {k}), x {tuple(x.shape)}, {dtype}, after {n} other calls"
        agree(mine, want, axes="b t d", of=of)


@part("ConformerBlock")
def test_attention_to_other_tokens_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (
            draw.normal(2, 3, 7, 4),
            draw.normal(2, 3, 7, 4),
            draw.normal(2, 3, 7, 4),
            draw.normal(3, 13, 4),
            draw.normal(3, 4),
            draw.normal(3, 4),
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "relative_attention", *asked, of="relative_attention of q (2, 3, 7, 4)", views=False)


# --- streaming_cost ---------------------------------------------------------------------------------------------------


def walked(kind, width, kernel, levels, past):
    """State and FLOPs, counted layer by layer."""
    product = 2 * width * width
    if kind == "tcn":
        layers = [2**n for n in range(levels) for _ in range(2)]
        return {"state": sum((kernel - 1) * d * width for d in layers), "flops": sum(kernel * product for _ in layers)}
    if kind == "attention":
        pairs = [2 * width * 2 for _ in range(past + 1)]
        return {"state": sum(2 * width for _ in pairs), "flops": 4 * product + sum(pairs)}
    gates = {"lstm": 4, "gru": 3}[kind]
    return {"state": width * (2 if kind == "lstm" else 1), "flops": gates * 2 * product}


@part("streaming_cost")
def test_state_and_flops_of_a_step(attempt):
    """What is carried on and what is multiplied, for each of the four, counted layer by layer."""
    for kind in ("tcn", "lstm", "gru", "attention"):
        for width, kernel, levels, past in ((64, 3, 8, 0), (7, 2, 1, 5), (11, 5, 3, 1000), (3, 1, 2, 1), (5, 2, 33, 2)):
            more = {"tcn": {"kernel": kernel, "levels": levels}, "attention": {"seen": past}}.get(kind, {})
            got = attempt.streaming_cost(kind, width, **more)
            want = walked(kind, width, kernel, levels, past)
            known = {
                "the step itself not counted": walked(kind, width, kernel, levels, past - 1),
                "one convolution a level": {key: value // 2 for key, value in want.items()},
                "one FLOP for a multiply-add": want | {"flops": want["flops"] // 2},
            }
            keys = {"attention": ["the step itself not counted"], "tcn": ["one convolution a level"]}.get(kind, [])
            known = {key: known[key] for key in [*keys, "one FLOP for a multiply-add"] if known[key] != want}
            said = ", ".join(f"{key}={value}" for key, value in more.items())
            agree(got, want, of=f"streaming_cost({kind!r}, {width}{', ' if said else ''}{said})", known=known)
    agree(attempt.streaming_cost("tcn", 5), walked("tcn", 5, 3, 1, 0), of="streaming_cost('tcn', 5)")
    agree(attempt.streaming_cost("attention", 5), walked("attention", 5, 3, 1, 0), of="streaming_cost('attention', 5)")
    for kind in ("rnn", "attn", "lst", ""):
        with refusal(ValueError, of=f"streaming_cost of {kind!r}"):
            attempt.streaming_cost(kind, 3)
