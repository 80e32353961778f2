"""Hidden checks of dl_016: oracles are closed forms and short loops in float64."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import compositions, each_dtype, of_type
from grader.checks.randomness import hold_generator
from grader.checks.repeats import hold_fresh, hold_unlike

from . import drivers

METHODS = pytest.mark.parametrize("method", ["euler", "bilinear", "zoh", "mamba"])
LONG = 16 * 1024
MODES = ["as given", "no_grad", "gradients"]
EVERY_MODE = pytest.mark.parametrize("mode", MODES)


def complexes(draw, *shape, low=0.5, high=0.95):
    """Complex numbers of modulus low .. high."""
    return torch.polar(draw.uniform(*shape, low=low, high=high), draw.uniform(*shape, low=-3.0, high=3.0))


def measured(attempt, name, args, mode, upstream, **options):
    """The value; and (cost, times, how) for the call, and with gradients also for it with its backward pass."""
    value, cost = attempt.cost(drivers.measured, name, args, options, mode)
    told = [(cost, 1, mode)]
    if mode == "gradients":
        (again, _), both = attempt.cost(name, *args, upstream=upstream, **options)
        agree(list(again) if isinstance(again, tuple) else again, value, of=f"{name} once more, with gradients")
        told.append((both, 4, "forward and backward"))
    return value, told


# ---------------------------------------------------------------------------------------------------------- discretize


def series_or_quotient(z):
    """(exp(z) - 1) / z, without loss of digits for small z."""
    return torch.where(z.abs() > 1e-3, (z.exp() - 1) / z, 1 + z / 2 + z**2 / 6 + z**3 / 24 + z**4 / 120)


def table_of(a, b, dt, method):
    """The table of the docstring, in complex128; a, b, dt of one shape."""
    kind = a.dtype
    a, b, dt = (each.to(torch.complex128) for each in (a, b, dt))
    z = dt * a
    tables = {
        "euler": lambda: (1 + z, dt * b),
        "bilinear": lambda: ((1 + z / 2) / (1 - z / 2), dt * b / (1 - z / 2)),
        "zoh": lambda: (z.exp(), dt * b * series_or_quotient(z)),
        "mamba": lambda: (z.exp(), dt * b),
    }[method]()
    return [each.to(kind) if kind.is_complex else each.real.to(kind) for each in tables]


@part("discretize")
@each_dtype
@METHODS
def test_each_method_follows_its_formula(attempt, draw, method, dtype):
    """Real and complex a and b give the a_bar and b_bar of the table, with a step for each channel."""
    dtype = of_type(dtype)
    dt = draw.uniform(3, 1, low=0.05, high=0.8, dtype=dtype)
    real = [draw.uniform(3, 5, low=-3.0, high=-0.2, dtype=dtype), draw.normal(3, 5, dtype=dtype)]
    kind = dtype.to_complex()
    both = [torch.complex(draw.uniform(3, 5, low=-2.0, high=-0.1), draw.normal(3, 5)).to(kind)]
    both.append(torch.complex(draw.normal(3, 5), draw.normal(3, 5)).to(kind))
    wide = dt.expand(3, 5)
    found = attempt.each(drivers.discretized, [(a, b, dt, method) for a, b in (real, both)])
    for (a, b), got in zip((real, both), found, strict=True):
        agree(
            got,
            table_of(a, b, wide, method),
            of=f"[a_bar, b_bar] by {method!r}, 3 channels of 5 states, {a.dtype}",
            known={
                f"the method {other!r}": partial(table_of, a, b, wide, other)
                for other in ("euler", "bilinear", "zoh", "mamba")
                if other != method
            },
        )


@part("discretize")
@METHODS
def test_a_step_for_each_token(attempt, draw, method):
    """dt broadcasts against a and b: one number for all, one for each channel and state, one for each token."""
    a, b = draw.uniform(3, 5, low=-3.0, high=-0.2), draw.normal(3, 5)
    steps = [draw.uniform(*shape, low=0.05, high=0.8) for shape in [(), (3, 5), (2, 7, 3, 1), (7, 1, 5)]]
    found = attempt.each(drivers.discretized, [(a, b, dt, method) for dt in steps])
    for dt, got in zip(steps, found, strict=True):
        of = f"[a_bar, b_bar] by {method!r}, a and b of shape (3, 5), dt of shape {tuple(dt.shape)}"
        agree(got, table_of(*torch.broadcast_tensors(a, b, dt), method), of=of)


@part("discretize")
@each_dtype
def test_zero_order_hold_near_a_zero(attempt, draw, dtype):
    """At a = 0 the zero-order hold is dt b, close to it no digits are lost, and far from it nothing overflows."""
    dtype = of_type(dtype)
    a = torch.tensor([0.0, -0.0, -1e-12, 1e-9, -1e-6, 3e-5, -1e-3, 0.7, -300.0], dtype=dtype)
    b = draw.uniform(9, low=1.0, high=2.0, dtype=dtype)
    dt = draw.uniform(9, low=0.9, high=1.1, dtype=dtype)
    want = table_of(a, b, dt, "zoh")
    got = attempt.run(drivers.discretized, a, b, dt, "zoh")
    # Divided by b, so that each entry counts by itself.
    agree(got[0], want[0], axes="n", of=f"a_bar by 'zoh' for a = {a.tolist()}")
    tight = {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]
    known = {"exp(dt a) - 1 without expm1": lambda: ((dt * a).exp() - 1) / a / dt}
    agree(got[1] / (dt * b), want[1] / (dt * b), axes="n", of=f"b_bar / (dt b) by 'zoh' for a = {a.tolist()}",
          tol=tight, known=known)  # fmt: skip
    real, imaginary = [0.0, -1e-7, -0.5, 0.0, -300.0], [0.0, 1e-7, 2.0, 1.5, 1.0]
    a = torch.complex(torch.tensor(real, dtype=dtype), torch.tensor(imaginary, dtype=dtype))
    b, dt = a * 0 + 1, draw.uniform(5, low=0.9, high=1.1, dtype=dtype)
    got = attempt.run(drivers.discretized, a, b, dt, "zoh")
    agree(got, table_of(a, b, dt, "zoh"), axes="n", of=f"'zoh' for a = {a.tolist()}", tol=2e-6)


@part("discretize")
def test_zero_order_hold_is_exact_for_a_held_input(attempt, draw):
    """Two half steps with the same input are one whole step: only the zero-order hold keeps this."""
    a, b = draw.uniform(7, low=-3.0, high=-0.1), draw.normal(7)
    rows = [(a, b, torch.tensor(dt, dtype=a.dtype), "zoh") for dt in (0.6, 0.3)]
    (whole_a, whole_b), (half_a, half_b) = attempt.each(drivers.discretized, rows)
    agree([half_a * half_a, half_a * half_b + half_b], [whole_a, whole_b], of="two steps of 0.3 as one step of 0.6")


@part("discretize")
def test_another_method_is_refused(attempt, draw):
    """Another method raises ValueError."""
    for method in ("ZOH", "", "forward", "zoh2"):
        with refusal(ValueError, of=f"method {method!r}"):
            attempt.run(drivers.discretized, draw.normal(3), draw.normal(3), draw.uniform(3), method)


# ------------------------------------------------------------------------------------------------------ ssm_recurrence


def ssm(a, b, c, x, state=None):
    """What ssm_recurrence promises, by powers: y_t = C a^(t+1) s + sum over j <= t of C a^(t-j) b x_j."""
    l = x.shape[1]
    wide = torch.complex128
    a, b, c, x = (each.to(wide) for each in (a, b, c, x))
    state = torch.zeros(x.shape[0], *a.shape, dtype=wide) if state is None else state.to(wide)
    lag = torch.arange(l)[:, None] - torch.arange(l)
    powers = torch.where(lag >= 0, a[..., None, None] ** lag.clamp(min=0), 0)  # (d, n, l, l)
    old = a[..., None] ** (torch.arange(l) + 1)  # (d, n, l)
    states = torch.einsum("dntj,dn,bjd->btdn", powers, b, x) + torch.einsum("dnt,bdn->btdn", old, state)
    return torch.einsum("btdn,dn->btd", states, c), states[:, -1] if l else state


def promised(a, x, y, state):
    """The oracle's complex result in the types that the docstring promises."""
    if a.is_complex():
        return (2 * y.real).to(x.dtype), state.to(a.dtype)
    return y.real.to(x.dtype), state.real.to(a.dtype)


@part("ssm_recurrence")
@each_dtype
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_outputs_and_last_state(attempt, draw, kind, dtype):
    """Outputs and last state are those of the formula, from zeros and from a given state."""
    dtype = of_type(dtype)
    shape = (3, 5)
    if kind == "real":
        a, b, c = (
            draw.uniform(*shape, low=-0.9, high=0.9, dtype=dtype),
            *(draw.normal(*shape, dtype=dtype) for _ in "bc"),
        )
        state = draw.normal(2, *shape, dtype=dtype)
    else:
        a, b, c = (complexes(draw, *shape).to(dtype.to_complex()) for _ in "abc")
        state = complexes(draw, 2, *shape).to(dtype.to_complex())
    x = draw.normal(2, 3, 7, dtype=dtype).mT
    starts = None, state
    found = attempt.each(drivers.recurrence, [(a, b, c, x, start, [7]) for start in starts])
    for start, got in zip(starts, found, strict=True):
        y, last = ssm(a, b, c, x, start)
        before = torch.zeros_like(y[:, :1]) if start is None else (c * start).sum(-1)[:, None].to(y.dtype)
        late = torch.cat([before, y[:, :-1]], 1)
        known = {
            "the output before the token has entered the state": promised(a, x, late, last)[0],
        }
        if kind == "complex":
            known["the sum without the conjugates' half"] = y.real
        of = f"ssm_recurrence of 7 tokens, {kind}, {'no state' if start is None else 'from a state'}"
        want = promised(a, x, y, last)
        agree(got[0], want[0], axes="b l d", of=f"y of {of}", known=known)
        agree(got[1], want[1], axes="b d n", of=f"the state of {of}")


@part("ssm_recurrence")
def test_any_cut_gives_the_same(attempt, draw):
    """However five tokens are cut into calls, with the state handed on, outputs and last state are the same."""
    a, b, c = draw.uniform(3, 4, low=-0.9, high=0.9), draw.normal(3, 4), draw.normal(3, 4)
    x, state = draw.normal(2, 5, 3), draw.normal(2, 3, 4)
    want = promised(a, x, *ssm(a, b, c, x, state))
    cuts = compositions(5)
    found = attempt.each(drivers.recurrence, [(a, b, c, x, state, chunks) for chunks in cuts])
    for chunks, got in zip(cuts, found, strict=True):
        agree(got[0], want[0], axes="b l d", of=f"ssm_recurrence in calls of {chunks}", along={"l": chunks})
        agree(got[1], want[1], axes="b d n", of=f"the state after calls of {chunks}")


@part("ssm_recurrence")
def test_no_token_leaves_the_state(attempt, draw):
    """With l = 0 the output is empty and the state stays as it came, or zeros."""
    a, b, c = (complexes(draw, 3, 4) for _ in "abc")
    state = complexes(draw, 2, 3, 4)
    nothing = torch.zeros(2, 0, 3, dtype=torch.float64)
    found = attempt.each("ssm_recurrence", [(a, b, c, nothing, start) for start in (state, None)])
    for (y, last), want in zip(found, (state, torch.zeros_like(state)), strict=True):
        agree(y, nothing, of="y of no token")
        agree(last, want, axes="b d n", of="the state after no token")


# ------------------------------------------------------------------------------------- ssm_kernel and ssm_convolution


def kernel_of(a, b, c, length):
    """K_j, power by power."""
    wide = torch.complex128
    term, a = (c.to(wide) * b.to(wide)), a.to(wide)
    columns = []
    for _ in range(length):
        columns.append(term.sum(-1))
        term = term * a
    kernel = torch.stack(columns, -1) if columns else torch.zeros(len(a), 0, dtype=wide)
    return kernel.real


@part("ssm_convolution")
@each_dtype
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_kernel_is_the_impulse_response(attempt, draw, kind, dtype):
    """K_j = sum of c a^j b, also for a = 0 and negative a, for complex numbers twice the real part, for any length."""
    dtype = of_type(dtype)
    if kind == "real":
        a, b, c = (draw.uniform(3, 5, low=-0.95, high=0.95), draw.normal(3, 5), draw.normal(3, 5))
        a[1, 2] = 0
        a, b, c = (each.to(dtype) for each in (a, b, c))
    else:
        a, b, c = (complexes(draw, 3, 5).to(dtype.to_complex()) for _ in "abc")
    lengths, half = (11, 1, 0), kernel_of(a, b, c, 11)
    want = (2 * half if kind == "complex" else half).to(dtype)
    found = attempt.each("ssm_kernel", [(a.mT.contiguous().mT, b, c, length) for length in lengths])
    for length, got in zip(lengths, found, strict=True):
        agree(
            got,
            want[:, :length],
            axes="d l",
            of=f"ssm_kernel of 3 channels and 5 states, {kind}, length {length}",
            known={
                "powers that start at 1": lambda n=length: 2 * kernel_of(a, a * b, c, n),
                "the sum without the conjugates' half": half[:, :length],
            }
            if kind == "complex" and length
            else None,
        )


@part("ssm_convolution")
@EVERY_MODE
def test_kernel_is_no_loop(attempt, draw, mode):
    """A kernel of 16,384 taps takes no more operators and no larger tensor than promised, and is finite in float32."""
    a = draw.uniform(2, 3, low=0.9, high=0.9999, dtype=torch.float32)
    b, c = draw.normal(2, 3, dtype=torch.float32), draw.normal(2, 3, dtype=torch.float32)
    upstream = draw.normal(2, LONG, dtype=torch.float32)
    got, told = measured(attempt, "ssm_kernel", [a, b, c, LONG], mode, upstream)
    a, b, c = (each.double() for each in (a, b, c))
    want = torch.einsum("dn,dnj->dj", b * c, a[..., None] ** torch.arange(LONG))
    agree(got, want.float(), axes="d l", of=f"ssm_kernel of length {LONG:,} in float32", tol=2e-3)
    complex_ones = [torch.polar(draw.uniform(2, 3, low=0.9, high=0.9999), draw.normal(2, 3)) for _ in range(3)]
    got, told_of_complex = measured(attempt, "ssm_kernel", [*complex_ones, LONG], mode, upstream.double())
    agree(got, 2 * kernel_of(*complex_ones, LONG), axes="d l", of=f"complex ssm_kernel of length {LONG:,}", tol=1e-8)
    for counted, times, how in [*told, *((cost, n, f"complex, {how}") for cost, n, how in told_of_complex)]:
        of = f"ssm_kernel at length {LONG:,}, {how}"
        in_torch(counted, of=of)
        at_most(sum(counted.calls.values()), 30 * times, of=f"operators of {of}")
        at_most(counted.largest, 2 * 3 * LONG, of=f"largest tensor of {of}")


@part("ssm_convolution")
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_kernel_has_gradients(attempt, draw, kind):
    """Gradients of the kernel reach a, b and c, also where a is 0."""
    upstream = draw.normal(2, 7)
    if kind == "real":
        given = [draw.uniform(2, 3, low=-0.9, high=0.9), draw.normal(2, 3), draw.normal(2, 3)]
        given[0][1, 2] = 0
        value, got = attempt.gradients("ssm_kernel", *given, 7, upstream=upstream)
        leaves = [each.clone().requires_grad_() for each in given]
        kernel = kernel_of(*leaves, 7)
    else:
        given = [part.clone() for _ in "abc" for part in torch.view_as_real(complexes(draw, 2, 3)).unbind(-1)]
        value, got = attempt.gradients(drivers.kernel_of_parts, *given, 7, upstream=upstream)
        leaves = [each.clone().requires_grad_() for each in given]
        kernel = 2 * kernel_of(*(torch.complex(*leaves[i : i + 2]) for i in (0, 2, 4)), 7)
    agree(value, kernel.detach(), axes="d l", of=f"a 7-tap kernel, {kind}")
    want = torch.autograd.grad((kernel * upstream).sum(), leaves)
    agree(got[: len(given)], list(want), of=f"gradients of a 7-tap kernel with respect to a, b and c, {kind}")


def convolved(kernel, x):
    """y_t = sum over j <= t of K_j x_{t-j}, tap by tap."""
    y = torch.zeros_like(x)
    for j in range(min(kernel.shape[1], x.shape[1])):
        y = y + F.pad(kernel[:, j] * x[:, : x.shape[1] - j], (0, 0, j, 0))
    return y


def convolution_mistakes(kernel, x):
    l, size = x.shape[1], max(x.shape[1], kernel.shape[1])
    circle = lambda: torch.fft.irfft(torch.fft.rfft(x.mT, size) * torch.fft.rfft(kernel, size), size)[..., :l].mT
    return {
        "a circular convolution": circle,
        "a product instead of a convolution": lambda: x * F.pad(kernel, (0, size))[:, :l].mT,
        "a correlation": lambda: convolved(kernel.flip(1), x),
    }


@part("ssm_convolution")
@each_dtype
def test_convolution_is_causal(attempt, draw, dtype):
    """y_t sums K_j x_{t-j} over the past: nothing of the end returns at the start, for kernels of any length."""
    dtype = of_type(dtype)
    sizes = (1, 1), (7, 7), (11, 3), (5, 13), (8, 8), (16, 1), (2, 11)
    rows = [(draw.normal(3, k, dtype=dtype), draw.normal(2, 3, l, dtype=dtype).mT) for l, k in sizes]
    for (kernel, x), got in zip(rows, attempt.each("ssm_convolution", rows), strict=True):
        l, k = x.shape[1], kernel.shape[1]
        agree(
            got,
            convolved(kernel, x),
            axes="b l d",
            of=f"{l} tokens under {k} taps, 2 sequences of 3 channels",
            known=convolution_mistakes(kernel, x) if min(l, k) > 1 else None,
        )


@part("ssm_convolution")
def test_convolution_of_no_token(attempt, draw):
    """No token gives an empty output, whatever the kernel."""
    taps, nothing = (1, 5), torch.zeros(2, 0, 3, dtype=torch.float64)
    found = attempt.each("ssm_convolution", [(draw.normal(3, k), nothing) for k in taps])
    for k, got in zip(taps, found, strict=True):
        agree(got, nothing, axes="b l d", of=f"no token under {k} taps")


@part("ssm_convolution")
@EVERY_MODE
def test_convolution_is_an_fft(attempt, draw, mode):
    """4,099 tokens under as many taps: no matrix product, no direct convolution, no large tensor, few operations."""
    b, d, l = 2, 3, 4099
    kernel, x = draw.normal(d, l, dtype=torch.float32), draw.normal(b, l, d, dtype=torch.float32)
    got, told = measured(attempt, "ssm_convolution", [kernel, x], mode, draw.normal(b, l, d, dtype=torch.float32))
    few = draw.normal(b, 401, d, dtype=torch.float32)
    short, told_of_few = measured(
        attempt, "ssm_convolution", [kernel, few], mode, draw.normal(b, 401, d, dtype=torch.float32)
    )
    want = torch.einsum("dj,bjd->bd", kernel[:, :401].double(), few.flip(1).double())
    agree(short[:, 400], want.float(), axes="b d", of=f"the last output of 401 tokens under {l:,} taps", tol=1e-3)
    for counted, _, how in told_of_few:
        of = f"largest tensor at 401 tokens under {l:,} taps, {how}"
        at_most(counted.largest, 4 * b * d * (401 + l), of=of, known={"a matrix": d * 401 * l})
    j = torch.randint(l, (), generator=draw.generator).item()
    want = torch.einsum("dj,bjd->bd", kernel[:, : j + 1].double(), x[:, : j + 1].flip(1).double())
    agree(got[:, j], want.float(), axes="b d", of=f"output {j} of {l:,} tokens under {l:,} taps", tol=1e-3)
    for counted, times, how in told:
        of = f"at {l:,} tokens, {how}"
        in_torch(counted, of=f"ssm_convolution {of}")
        at_most(counted.flops, 0, of=f"FLOPs of products and direct convolutions {of}")
        at_most(counted.largest, 4 * b * d * 2 * l, of=f"largest tensor {of}", known={"an l × l matrix": d * l * l})
        at_most(counted.work, 100 * b * d * 2 * l * times, of=f"elements written {of}")
        at_most(sum(counted.calls.values()), 200 * times, of=f"operators {of}")


@part("ssm_convolution")
def test_convolution_has_gradients(attempt, draw):
    """Gradients of the convolution reach the kernel and x."""
    given, upstream = [draw.normal(3, 5), draw.normal(2, 7, 3)], draw.normal(2, 7, 3)
    value, got = attempt.gradients("ssm_convolution", *given, upstream=upstream)
    leaves = [each.clone().requires_grad_() for each in given]
    y = convolved(*leaves)
    agree(value, y.detach(), axes="b l d", of="7 tokens under 5 taps")
    want = torch.autograd.grad((y * upstream).sum(), leaves)
    agree(got, list(want), of="gradients of 7 tokens under 5 taps with respect to kernel and x")


@part("ssm_convolution")
def test_other_kernels_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.uniform(3, 5, low=0.1, high=0.9), draw.normal(3, 5), draw.normal(3, 5), 11) for _ in range(2)]
    hold_again(attempt, reference, "ssm_kernel", *asked, of="ssm_kernel of (3, 5), length 11", views=False)
    asked = [(draw.normal(3, 7), draw.normal(2, 7, 3)) for _ in range(2)]
    hold_again(attempt, reference, "ssm_convolution", *asked, of="ssm_convolution of x (2, 7, 3)", views=False)


# ---------------------------------------------------------------------------------------------- hippo_legs and s4d_init


@part("hippo_legs")
@each_dtype
def test_hippo_has_its_entries(attempt, dtype):
    """A and B are those of the formula, in the dtype asked for."""
    root = [math.sqrt(2 * i + 1) for i in range(5)]
    A = [[-root[i] * root[j] if i > j else -(i + 1.0) if i == j else 0.0 for j in range(5)] for i in range(5)]
    dtype = of_type(dtype)
    sizes = 1, 5
    for n, got in zip(sizes, attempt.each("hippo_legs", [(n,) for n in sizes], dtype=dtype), strict=True):
        want = (
            torch.tensor(A, dtype=torch.float64)[:n, :n].to(dtype),
            torch.tensor(root[:n], dtype=torch.float64).to(dtype),
        )
        agree(got[0], want[0], axes="i j", of=f"A of size {n}", known={
            "HiPPO's A without the minus": -want[0],
            "the transpose of A": want[0].mT,
        })  # fmt: skip
        agree(got[1], want[1], axes="i", of=f"B of size {n}")
    if dtype is torch.float32:
        agree(attempt.hippo_legs(5), want, of="A and B of size 5, when no dtype is asked for")


@part("hippo_legs")
def test_hippo_remembers_a_polynomial(attempt, draw):
    """The Legendre coefficients of x(u) = u^m solve t s' = A s + B x: that is what A and B are for."""
    n = 7
    A, B = attempt.hippo_legs(n, dtype=torch.float64)
    # Of u^m on [0, t] they are t^m s with s fixed, so t s' = m s, and m s = A s + B at t = 1.
    for m in range(6):
        s = torch.zeros(n, dtype=torch.float64)
        for i in range(min(m + 1, n)):
            s[i] = math.sqrt(2 * i + 1) * math.factorial(m) ** 2 / math.factorial(m - i) / math.factorial(m + i + 1)
        agree(A @ s + B, m * s, axes="i", of=f"A s + B for the coefficients s of u^{m}", tol=1e-7)


@part("hippo_legs")
@each_dtype
@pytest.mark.parametrize("kind", ["real", "lin", "inv"])
def test_s4d_has_its_entries(attempt, kind, dtype):
    """S4D-Real, S4D-Lin and S4D-Inv are those of the formulas, real or complex in the precision asked for."""
    dtype = of_type(dtype)
    rows = [(n, kind) for n in (5, 1)]
    found = attempt.each("s4d_init", rows, dtype=dtype)
    for (n, _), got in zip(rows, found, strict=True):
        want = torch.tensor(
            {
                "real": [-(k + 1.0) for k in range(n)],
                "lin": [complex(-0.5, math.pi * k) for k in range(n)],
                "inv": [complex(-0.5, 2 * n / math.pi * (2 * n / (2 * k + 1) - 1)) for k in range(n)],
            }[kind],
            dtype=torch.float64 if kind == "real" else torch.complex128,
        )
        known = {}
        if kind == "inv":
            known = {
                "N = n, as if no number stood for a pair": torch.tensor(
                    [complex(-0.5, n / math.pi * (n / (2 * k + 1) - 1)) for k in range(n)]
                )
            }
        agree(
            got,
            want.to(dtype if kind == "real" else dtype.to_complex()),
            axes="n",
            of=f"s4d_init({n}, {kind!r})",
            known=known,
        )
    if dtype is torch.float32:
        for (n, _), got, plain in zip(rows, found, attempt.each("s4d_init", rows), strict=True):
            agree(plain, got, of=f"s4d_init({n}, {kind!r}) without a dtype")


@part("hippo_legs")
@each_dtype
def test_s4d_legs_is_the_normal_part_of_hippo(attempt, dtype):
    """S4D-LegS holds the eigenvalues of A + P P^T above the real axis, in ascending order, to full precision."""
    dtype = of_type(dtype)
    sizes = 1, 3, 32
    for n, got in zip(sizes, attempt.each("s4d_init", [(n, "legs") for n in sizes], dtype=dtype), strict=True):
        half = torch.tensor([math.sqrt((2 * i + 1) / 2) for i in range(2 * n)], dtype=torch.float64)
        lower = -half.outer(half).tril(-1)
        omega = torch.linalg.eigvalsh(1j * (lower - lower.mT))[n:]
        want = torch.complex(torch.full_like(omega, -0.5), omega).to(dtype.to_complex())
        tol = 1e-9 if dtype is torch.float64 else 1e-6
        agree(got, want, axes="n", of=f"s4d_init({n}, 'legs')", tol=tol)


@part("hippo_legs")
def test_another_kind_is_refused(attempt):
    """Another kind raises ValueError."""
    for kind in ("legS", "", "random", "real2"):
        with refusal(ValueError, of=f"kind {kind!r}"):
            attempt.s4d_init(3, kind)


# ------------------------------------------------------------------------------------------------------ selective_scan


def mamba(x, dt, A, B, C, D=None, state=None, *, decay=None, new=None):
    """Mamba's scan, a token at a time, with all states at hand. decay, new: other discretisations."""
    decay = torch.exp(torch.einsum("bld,dn->bldn", dt, A)) if decay is None else decay
    new = torch.einsum("bld,bln->bldn", dt * x, B) if new is None else new
    s = torch.zeros_like(new[:, 0]) if state is None else state
    states = []
    for decay_t, new_t in zip(decay.unbind(1), new.unbind(1), strict=True):
        s = decay_t * s + new_t
        states.append(s)
    y = torch.einsum("bldn,bln->bld", torch.stack(states, 1), C)
    return (y if D is None else y + x * D), s


def mamba_inputs(draw, b, l, d, n, dtype=torch.float64):
    """x, dt, A, B, C, D, state."""
    return [
        draw.normal(b, l, d, dtype=dtype),
        draw.uniform(b, l, d, low=0.02, high=0.9, dtype=dtype),
        draw.uniform(d, n, low=-2.0, high=-0.1, dtype=dtype),
        draw.normal(b, l, n, dtype=dtype),
        draw.normal(b, l, n, dtype=dtype),
        draw.normal(d, dtype=dtype),
        draw.normal(b, d, n, dtype=dtype),
    ]


def strided(given):
    """The same numbers, each tensor of three axes in another layout."""
    return [each.mT.contiguous().mT if each.dim() == 3 else each for each in given]


def mamba_mistakes(x, dt, A, B, C, D, state):
    wrong = dt[..., None] * A
    held = torch.expm1(wrong) / A * torch.einsum("bld,bln->bldn", x, B)
    known = {
        "B by zero-order hold": lambda: mamba(x, dt, A, B, C, D, state, new=held)[0],
        "B without dt": lambda: mamba(x, dt, A, B, C, D, state, new=torch.einsum("bld,bln->bldn", x, B))[0],
        "A by Euler": lambda: mamba(x, dt, A, B, C, D, state, decay=1 + wrong)[0],
        "B and C exchanged": lambda: mamba(x, dt, A, C, B, D, state)[0],
        "one step for all tokens": lambda: mamba(x, dt[:, :1].expand_as(dt), A, B, C, D, state)[0],
        "only D x": lambda: x if D is None else D * x,
    }
    if D is not None:
        known["the scan without D x"] = lambda: mamba(x, dt, A, B, C, None, state)[0]
    if state is not None:
        known["the scan without the state given"] = lambda: mamba(x, dt, A, B, C, D)[0]
    return known


def check_scan(attempt, name, given, cuts, chunk):
    D, state = given[5:]
    l = given[0].shape[1]
    y, last = mamba(*given)
    found = attempt.each(drivers.scan, [(name, *given, chunks, chunk) for chunks in cuts])
    for chunks, got in zip(cuts, found, strict=True):
        said = [f"{l} tokens in calls of {chunks}"] if len(chunks) > 1 else [f"{l} tokens"]
        said += [f"chunk={chunk}"] if chunk else []
        said += ["no D"] if D is None else []
        said += ["no state"] if state is None else []
        of = f"{name}, {', '.join(said)}"
        agree(got[0], y, axes="b l d", of=f"y of {of}", along={"l": chunks}, known=mamba_mistakes(*given))
        agree(got[1], last, axes="b d n", of=f"the state after {of}")


@part("selective_scan")
@each_dtype
@pytest.mark.parametrize("without", ["", "D", "state", "D and state"])
def test_scan_is_the_recurrence(attempt, draw, without, dtype):
    """Outputs and last state are those of the recurrence, with and without D and a state, for inputs in any layout."""
    given = strided(mamba_inputs(draw, 2, 7, 5, 3, of_type(dtype)))
    if "D" in without:
        given[5] = None
    if "state" in without:
        given[6] = None
    check_scan(attempt, "selective_scan", given, [[7]], None)


@part("selective_scan")
def test_scan_of_any_cut(attempt, draw):
    """However five tokens are cut into calls, with the state handed on, outputs and last state are the same."""
    given = mamba_inputs(draw, 2, 5, 3, 4)
    check_scan(attempt, "selective_scan", given, compositions(5), None)


@part("selective_scan")
def test_scan_of_no_token(attempt, draw):
    """With l = 0 the output is empty and the state stays as it came, or zeros."""
    nothing = mamba_inputs(draw, 2, 0, 3, 4)
    check_empty(attempt, "selective_scan", nothing)


def check_empty(attempt, name, nothing):
    x, state = nothing[0], nothing[6]
    found = attempt.each(name, [(*nothing[:6], start) for start in (state, None)])
    for (y, last), want in zip(found, (state, torch.zeros_like(state)), strict=True):
        agree(y, x, axes="b l d", of="y of no token")
        agree(last, want, axes="b d n", of="the state after no token")


@part("selective_scan")
@EVERY_MODE
def test_scan_never_holds_all_states(attempt, draw, mode):
    """No tensor has an element for each token, channel and state."""
    l, d, n = 23, 3, 5
    for b, dtype, count in ((2, torch.float64, 7), (1, torch.float32, 5)):
        given = mamba_inputs(draw, b, l, d, n, dtype)[:count]
        upstream = [draw.normal(b, l, d, dtype=dtype), draw.normal(b, d, n, dtype=dtype)]
        got, told = measured(attempt, "selective_scan", given, mode, upstream)
        agree(got[0], mamba(*given)[0], axes="b l d", of=f"y of {l} tokens")
        for counted, _, how in told:
            at_most(
                counted.largest,
                max(b * l * d, b * l * n, b * d * n),
                of=f"largest tensor at b={b}, l={l}, d={d}, n={n}, {'' if count == 7 else 'no D, no state, '}{how}",
                known={"one tensor of all states, or of all decays,": b * l * d * n},
            )


@part("selective_scan")
def test_scan_has_gradients(attempt, draw):
    """Gradients reach every tensor given, through y and through the last state."""
    check_scan_gradients(attempt, draw, "selective_scan", 5, 2)


def check_scan_gradients(attempt, draw, name, l, chunk):
    given = mamba_inputs(draw, 2, l, 3, 4)
    upstream = [draw.normal(2, l, 3), draw.normal(2, 3, 4)]
    value, got = attempt.gradients(drivers.scan_with_gradients, *given, name, chunk, upstream=upstream)
    leaves = [each.clone().requires_grad_() for each in given]
    y, last = mamba(*leaves)
    agree(value, [y.detach(), last.detach()], of=f"y and last state of {name}, {l} tokens")
    want = torch.autograd.grad((y * upstream[0]).sum() + (last * upstream[1]).sum(), leaves)
    names = ["x", "dt", "A", "B", "C", "D", "state"]
    agree(
        dict(zip(names, got[:7], strict=True)),
        dict(zip(names, want, strict=True)),
        of=f"gradients of {name}, {l} tokens",
    )


# ---------------------------------------------------------------------------------------------------- associative_scan


def scanned(a, b):
    """s_t = a_t s_{t-1} + b_t, one by one."""
    a, b = a.unbind(1), b.unbind(1)
    states = [b[0]]
    for a_t, b_t in zip(a[1:], b[1:], strict=True):
        states.append(a_t * states[-1] + b_t)
    return torch.stack(states, 1)


@part("associative_scan")
@each_dtype
def test_every_length(attempt, draw, dtype):
    """All states of the recurrence, for every length from 1 to 17: powers of two, and those between."""
    a, b = draw.normal(2, 17, 3, dtype=of_type(dtype)), draw.normal(2, 17, 3, dtype=of_type(dtype))
    before = torch.cat([torch.ones_like(a[:, :1]), a[:, :-1]], 1).cumprod(1)  # of all steps before t
    want, lengths = scanned(a, b), range(1, 18)
    found = attempt.each("associative_scan", [(a[:, :l], b[:, :l]) for l in lengths])
    for l, got in zip(lengths, found, strict=True):
        agree(
            got,
            want[:, :l],
            axes="b l d",
            of=f"associative_scan of {l} steps",
            known={
                "the sum of b, without a": lambda l=l: b[:, :l].cumsum(1),
                "joins in the wrong order, a1 b2 + b1,": lambda l=l: (b[:, :l] * before[:, :l]).cumsum(1),
                "a of the token before": lambda l=l: scanned(a[:, :l].roll(1, 1), b[:, :l]),
                "b itself": lambda l=l: b[:, :l],
            }
            if l > 1
            else None,
        )


@part("associative_scan")
def test_any_number_of_axes(attempt, draw):
    """Axes behind the tokens are as many as they are, none included; any layout; no step gives an empty tensor."""
    rows = []
    for shape in [(3, 7), (2, 7, 5, 3), (3, 0), (2, 0, 5)]:
        a, b = draw.normal(*shape), draw.normal(*shape)
        rows.append((a.transpose(0, 1).contiguous().transpose(0, 1), b))
    for (a, b), got in zip(rows, attempt.each("associative_scan", rows), strict=True):
        of = f"associative_scan of shape {tuple(b.shape)}"
        agree(got, scanned(a, b) if b.numel() else torch.zeros_like(b), of=of)


@part("associative_scan")
def test_zeros_and_strong_decay(attempt, draw):
    """Zeros in a cut the past off, and decays whose product underflows divide nothing: all is finite in float32."""
    a = draw.uniform(2, 300, 3, low=-0.3, high=0.3, dtype=torch.float32)
    a[0, 17], a[1, 40:44], a[0, 100, 1], a[:, 200:] = 0, 0, 0, 1e-30
    b = draw.normal(2, 300, 3, dtype=torch.float32)
    agree(attempt.associative_scan(a, b), scanned(a, b), axes="b l d", of="300 steps with zeros and strong decay")


@part("associative_scan")
@EVERY_MODE
def test_depth_is_logarithmic(attempt, draw, mode):
    """Operators grow with log l, not with l, and work with l log l, not with l²."""
    for l, shape in ((37, (1, 37, 2)), (1024, (1, 1024, 2)), (1031, (3, 1031)), (70_001, (1, 70_001, 2))):
        a, b = (draw.uniform(*shape, low=0.5, high=0.99, dtype=torch.float32) for _ in "ab")
        upstream = draw.normal(*shape, dtype=torch.float32)
        got, told = measured(attempt, "associative_scan", [a, b], mode, upstream)
        rounds = math.ceil(math.log2(l))
        agree(got[:, :37], scanned(a[:, :37], b[:, :37]), axes="b l d", of=f"the first 37 of {l:,} steps")
        # Of what came 200 steps before, less than 1e-20 is left.
        agree(got[:, -1], scanned(a[:, -200:], b[:, -200:])[:, -1], axes="b d", of=f"the last of {l:,} steps")
        for counted, times, how in told:
            of = f"{l:,} steps, {how}"
            in_torch(counted, of=f"associative_scan of {of}")
            at_most(
                sum(counted.calls.values()),
                times * (40 * rounds + 40),
                of=f"operators for {of}",
                known={"a loop over the steps": 5 * l, "a loop over blocks of √l steps": 10 * math.isqrt(l)},
            )
            limit = times * (12 * rounds + 12)
            at_most(counted.work / b.numel(), limit, of=f"elements written for each of b, {of}")


@part("associative_scan")
def test_long_decay_in_float32(attempt):
    """16,384 steps with a = exp(-0.001) reach 1 / (1 - a), without overflow or drift."""
    a = torch.full((1, LONG, 1), math.exp(-1e-3))
    q = a[0, 0, 0].double()
    want = (1 - q ** torch.arange(1, LONG + 1)) / (1 - q)
    got = attempt.associative_scan(a, torch.ones_like(a))
    agree(got, want.float()[None, :, None], axes="b l d", of=f"{LONG:,} steps with a = exp(-0.001), b = 1", tol=1e-3)


@part("associative_scan")
def test_associative_scan_has_gradients(attempt, draw):
    """Gradients reach a and b, zeros in a included."""
    given, upstream = [draw.normal(2, 11, 3), draw.normal(2, 11, 3)], draw.normal(2, 11, 3)
    given[0][0, 4] = 0
    value, got = attempt.gradients("associative_scan", *given, upstream=upstream)
    leaves = [each.clone().requires_grad_() for each in given]
    states = scanned(*leaves)
    agree(value, states.detach(), axes="b l d", of="associative_scan of 11 steps, a zero in a")
    want = torch.autograd.grad((states * upstream).sum(), leaves)
    agree(got, list(want), axes="b l d", of="gradients of 11 steps with respect to a and b")


@part("associative_scan")
def test_other_steps_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(2, 7, 3), draw.normal(2, 7, 3)) for _ in range(2)]
    hold_again(attempt, reference, "associative_scan", *asked, of="associative_scan of (2, 7, 3)", views=False)


# -------------------------------------------------------------------------------------------------------- chunked_scan


@part("chunked_scan")
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8, 20])
def test_chunks_of_any_size(attempt, draw, chunk):
    """The result is that of the token by token scan, whether or not the chunk divides the 7 tokens."""
    check_scan(attempt, "chunked_scan", mamba_inputs(draw, 2, 7, 5, 3), [[7]], chunk)


@part("chunked_scan")
@each_dtype
def test_chunked_with_defaults(attempt, draw, dtype):
    """D, the state and the chunk may be left out; any layout of the inputs works; 67 tokens pass a border."""
    *given, D, state = strided(mamba_inputs(draw, 2, 67, 5, 3, of_type(dtype)))
    for rest in ([D, state], [None, state], [D, None], [None, None]):
        check_scan(attempt, "chunked_scan", [*given, *rest], [[67]], None)


@part("chunked_scan")
def test_chunked_of_any_cut(attempt, draw):
    """However four tokens are cut into calls, with the state handed on, outputs and last state are the same."""
    given = mamba_inputs(draw, 2, 4, 3, 5)
    check_scan(attempt, "chunked_scan", given, compositions(4), 2)


@part("chunked_scan")
def test_chunked_edges(attempt, draw):
    """No token gives an empty output and the state as it came; a chunk below 1 raises ValueError."""
    check_empty(attempt, "chunked_scan", mamba_inputs(draw, 2, 0, 3, 4))
    for chunk in (0, -3):
        with refusal(ValueError, of=f"chunk={chunk}"):
            attempt.chunked_scan(*mamba_inputs(draw, 2, 5, 3, 4), chunk=chunk)


@part("chunked_scan")
def test_chunked_has_gradients(attempt, draw):
    """Gradients reach every tensor given, through y and through the last state, across chunks."""
    check_scan_gradients(attempt, draw, "chunked_scan", 7, 3)


@part("chunked_scan")
@EVERY_MODE
@pytest.mark.parametrize(("l", "d", "n", "chunk"), [(239, 29, 13, 8), (317, 5, 13, 128), (331, 7, 11, 64)])
def test_chunked_costs(attempt, draw, l, d, n, chunk, mode):
    """Only a chunk's states are alive, few operators a chunk run, and the backward pass recomputes the states."""
    b, given, options = 2, mamba_inputs(draw, 2, l, d, n), {"chunk": chunk}
    if chunk == 64:  # the default, of one sequence, without D and state
        b, given, options = 1, mamba_inputs(draw, 1, l, d, n)[:5], {}
    got, cost = attempt.cost(drivers.measured, "chunked_scan", given, options, mode)
    agree(got[0], mamba(*given)[0], axes="b l d", of=f"y of {l} tokens in chunks of {chunk}")
    of = f"at b={b}, l={l}, d={d}, n={n}, chunk={chunk}, {mode}"
    in_torch(cost, of=f"chunked_scan {of}")
    pieces, states = math.ceil(l / chunk), b * l * d * n
    at_most(
        cost.largest, max(b * l * d, 2 * b * chunk * d * n), of=f"largest tensor {of}", known={"all states": states}
    )
    at_most(
        sum(cost.calls.values()),
        pieces * (40 * math.ceil(math.log2(chunk)) + 80),
        of=f"operators {of}",
        known={"a loop over the tokens": 15 * l},
    )
    at_most(
        cost.saved / 8,
        3 * b * l * (d + n) + 3 * pieces * b * d * n,
        of=f"values kept for the backward pass {of}",
        known={"all states, once,": states, "all states, five times,": 5 * states},
    )
    at_most(cost.peak / 8, 14 * b * chunk * d * n + 5 * b * l * d, of=f"values alive at once {of}")


@part("chunked_scan")
@pytest.mark.parametrize(("l", "d", "n", "chunk"), [(239, 29, 13, 8), (317, 5, 13, 128)])
def test_chunked_costs_with_the_backward_pass(attempt, draw, l, d, n, chunk):
    """The backward pass, too, has only a chunk's states alive, and is no loop over tokens."""
    b = 2
    given = mamba_inputs(draw, b, l, d, n)
    upstream = [draw.normal(b, l, d), draw.normal(b, d, n)]
    (got, _), cost = attempt.cost("chunked_scan", *given, chunk=chunk, upstream=upstream)
    agree(got[0], mamba(*given)[0], axes="b l d", of=f"y of {l} tokens in chunks of {chunk}")
    of = f"at b={b}, l={l}, d={d}, n={n}, chunk={chunk}, forward and backward"
    pieces, states = math.ceil(l / chunk), b * l * d * n
    in_torch(cost, of=f"chunked_scan {of}")
    known = {"all states": states}
    at_most(cost.largest, max(b * l * d, 2 * b * chunk * d * n), of=f"largest tensor {of}", known=known)
    limit = 3 * pieces * (40 * math.ceil(math.log2(chunk)) + 80)
    at_most(sum(cost.calls.values()), limit, of=f"operators {of}")
    at_most(cost.peak / 8, 2 * (14 * b * chunk * d * n + 5 * b * l * d), of=f"values alive at once {of}")


@part("chunked_scan")
def test_chunked_over_thousands_of_tokens(attempt):
    """A constant input over 4,096 tokens in float32 reaches its limit, for steps of 0.004 and of 10."""
    l = 4096
    dt, A = torch.tensor([0.004, 10.0]), torch.tensor([[-1.0, -0.5, -16.0], [-1.0, -0.5, -16.0]])
    ones = torch.ones(1, l, 3)
    got, state = attempt.chunked_scan(ones[..., :2], dt.expand(1, l, 2), A, ones, ones, chunk=256)
    decay = (dt[:, None].double() * A.double()).exp()
    times = torch.arange(1, l + 1)[:, None, None]
    states = dt[:, None].double() * (1 - decay**times) / (1 - decay)
    for channel in (0, 1):
        of = f"with dt = {dt[channel]:g}, {l:,} tokens in float32"
        agree(got[0, :, channel], states.sum(-1)[:, channel].float(), axes="l", of=f"y {of}", tol=1e-3)
        agree(state[0, channel], states[-1, channel].float(), axes="n", of=f"the last state {of}", tol=1e-3)


# ---------------------------------------------------------------------------------------------------------- MambaBlock

SIZES = (6, 5, 3, 2, 4)  # dim, d_state, d_conv, expand, dt_rank; so d = 12


def block_weights(draw, dtype=torch.float64, sizes=SIZES):
    dim, n, k, expand, r = sizes
    d = expand * dim
    shapes = {
        "in_proj.weight": (2 * d, dim),
        "conv1d.weight": (d, 1, k),
        "conv1d.bias": (d,),
        "x_proj.weight": (r + 2 * n, d),
        "dt_proj.weight": (d, r),
        "dt_proj.bias": (d,),
        "A_log": (d, n),
        "D": (d,),
        "out_proj.weight": (dim, d),
    }
    return {name: draw.normal(*shape, scale=0.6, dtype=dtype) for name, shape in shapes.items()}


def mamba_block(weights, x, conv=None, ssm=None, *, wrong=""):
    """The block, written out: y and the state (conv, ssm)."""
    w = {name.removesuffix(".weight"): weight for name, weight in weights.items()}
    d, n = w["A_log"].shape
    k, r, l = w["conv1d"].shape[-1], w["dt_proj"].shape[1], x.shape[1]
    u, z = (x @ w["in_proj"].mT).split(d, -1)
    if wrong == "u and z exchanged":
        u, z = z, u
    conv = x.new_zeros(len(x), k - 1, d) if conv is None else conv
    seen = torch.cat([conv, u], 1)
    taps = w["conv1d"][:, 0].flip(-1) if wrong == "taps in the wrong order" else w["conv1d"][:, 0]
    u = sum(seen[:, j : j + l] * taps[:, j] for j in range(k)) + w["conv1d.bias"]
    if wrong != "no SiLU behind the convolution":
        u = u * torch.sigmoid(u)
    low, B, C = (u @ w["x_proj"].mT).split([r, n, n], -1)
    if wrong == "B and C exchanged":
        B, C = C, B
    dt = low @ w["dt_proj"].mT + w["dt_proj.bias"]
    dt = dt.exp() if wrong == "exp in place of softplus" else F.softplus(dt)
    A = w["A_log"] if wrong == "A = A_log" else -w["A_log"].exp()
    y, ssm = mamba(u, dt, A, B, C, None if wrong == "no D" else w["D"], ssm)
    gate = torch.sigmoid(z) if wrong == "a sigmoid gate" else z * torch.sigmoid(z)
    return (y if wrong == "no gate" else y * gate) @ w["out_proj"].mT, [seen[:, l:], ssm]


BLOCK_MISTAKES = [
    "u and z exchanged",
    "taps in the wrong order",
    "no SiLU behind the convolution",
    "B and C exchanged",
    "exp in place of softplus",
    "A = A_log",
    "no D",
    "a sigmoid gate",
    "no gate",
]


def block_known(weights, x, *state):
    """Known mistakes, for messages."""
    return {each: lambda each=each: mamba_block(weights, x, *state, wrong=each)[0] for each in BLOCK_MISTAKES}


@part("MambaBlock")
def test_dt_bias_inverts_softplus(attempt, draw):
    """softplus of the biases is log-uniform between the bounds, drawn from the generator given."""
    seed, other = draw.random.randrange(10**6), draw.random.randrange(10**6)
    steps, bounds = (0.001, 0.7, 4.0), [(None, None), (0.02, 5.0)]
    rows = [(3, step, step, seed, other) for step in steps] + [(4096, *pair, seed, other) for pair in bounds]
    *exact, drawn, wide, again = attempt.each(drivers.dt_bias, [*rows, (4096, None, None, seed + 1, other)])
    for step, (got, _) in zip(steps, exact, strict=True):
        agree(got, torch.full((3,), math.log(math.expm1(step))), axes="d", of=f"biases for steps of exactly {step}",
              known={"log dt": torch.full((3,), math.log(step))} if step > 0.1 else None)  # fmt: skip
    for (low, high), (first, second) in zip(bounds, (drawn, wide), strict=True):
        assert torch.equal(first, second), (
            "generators of one seed gave two draws: they do not all come from `generator`"
        )
        low, high = (0.001, 0.1) if low is None else (low, high)
        agree([first.dtype, list(first.shape)], [torch.float32, [4096]], of="dtype and shape of 4,096 biases")
        place = (F.softplus(first.double()).log() - math.log(low)) / math.log(high / low)  # uniform in 0 .. 1
        said = f"where softplus(bias) lies between {low} and {high} on a log scale, 4,096 draws"
        agree([place.min().item(), place.max().item()], [0.0, 1.0], of=f"least and most, {said}", tol=0.01)
        shares = [((place >= i / 4) & (place < (i + 1) / 4)).double().mean().item() for i in range(4)]
        agree(shares, [0.25] * 4, of=f"shares of the four quarters, {said}", tol=0.16)
        unit = (place - 0.5) * math.sqrt(12)
        hold_fresh(unit, said)
        hold_unlike(unit, said)
        counts = (place * 128).long().clamp(0, 127).bincount(minlength=128).double()
        spread = float((counts - 32).square().sum() / 32)  # chi-squared with 127 degrees: below 45 once in 10^10 times
        assert spread > 45, f"{said}: spread more evenly than independent draws are"
    assert not torch.equal(again[0], drawn[0]), "two seeds gave the same biases"
    hold_generator(attempt, "initial_dt_bias", 7, seed=seed, of="initial_dt_bias(7)")
    first, second = attempt.run(drivers.dt_bias_of_torch, 7, seed)
    agree([first.dtype, list(first.shape)], [torch.float32, [7]], of="dtype and shape of 7 biases without a generator")
    step = F.softplus(first)
    assert 0.00099 < step.min() < step.max() < 0.101, (
        f"without a generator, softplus of 7 biases is {step.tolist()}, not drawn from 0.001 .. 0.1"
    )
    agree(first, second, axes="d", of="biases without a generator, twice after one torch.manual_seed")


@part("MambaBlock")
def test_a_new_block(attempt, draw):
    """Parameters have the names and shapes of the checkpoints; A is -1 .. -n, D is 1, and the steps 0.001 to 0.1."""
    seed, other = draw.random.randrange(10**6), draw.random.randrange(10**6)
    got = attempt.run(drivers.new_block, 38, 5, seed, other)
    shapes = {
        "in_proj.weight": [152, 38],
        "conv1d.weight": [76, 1, 4],
        "conv1d.bias": [76],
        "x_proj.weight": [13, 76],
        "dt_proj.weight": [76, 3],
        "dt_proj.bias": [76],
        "A_log": [76, 5],
        "D": [76],
        "out_proj.weight": [38, 76],
    }
    agree(got["shapes"], shapes, of="shapes of MambaBlock(dim=38, d_state=5)")
    agree(got["trained"], sorted(shapes), of="names of the parameters that are trained")
    known = {
        "A = -n for all states": torch.full((76, 5), math.log(5)),
        "A_log that holds A, not its log": torch.arange(1.0, 6.0).expand(76, 5),
    }
    agree(got["A_log"].detach(), torch.arange(1.0, 6.0).log().expand(76, 5), axes="d n", of="A_log", known=known)
    agree(got["D"].detach(), torch.ones(76), axes="d", of="D")
    first, second = got["biases"]
    agree(first, second, axes="d", of="dt_proj.bias of two blocks from generators of one seed")
    hold_generator(attempt, drivers.drawn_block, 38, 5, seed=seed, of="a new MambaBlock", alone=False)
    step = F.softplus(first)
    assert 0.00099 < step.min() < 0.003 < 0.03 < step.max() < 0.101, (
        f"softplus(dt_proj.bias) of 76 channels lies in {step.min():.4g} .. {step.max():.4g}, not all over 0.001 .. 0.1"
    )


@part("MambaBlock")
def test_selection(attempt, draw):
    """dt, B and C come out of x_proj in this order; dt passes dt_proj and softplus; leading axes are free."""
    weights = block_weights(draw)
    inputs = draw.normal(2, 7, 12), draw.normal(3, 12)
    found = attempt.each(drivers.block_select, [(SIZES, weights, u) for u in inputs])
    for u, got in zip(inputs, found, strict=True):
        shape = tuple(u.shape)
        low, B, C = (u @ weights["x_proj.weight"].mT).split([4, 5, 5], -1)
        raw = low @ weights["dt_proj.weight"].mT + weights["dt_proj.bias"]
        agree(got[0], F.softplus(raw), of=f"dt of select, u of shape {shape}", known={"dt without softplus": raw})
        agree(got[1:], [B, C], of=f"B and C of select, u of shape {shape}", known={"C and B": [C, B]})


@part("MambaBlock")
@each_dtype
def test_block_is_mamba(attempt, draw, dtype):
    """forward computes the block of the picture, and hands on the state."""
    weights, x = block_weights(draw, of_type(dtype)), draw.normal(2, 6, 7, dtype=of_type(dtype)).mT
    y, state, _ = attempt.run(drivers.block_calls, SIZES, weights, x, [7])
    want, last = mamba_block(weights, x)
    agree(
        y,
        want,
        axes="b l dim",
        of="MambaBlock(6, d_state=5, d_conv=3, dt_rank=4) of 7 tokens",
        known=block_known(weights, x),
    )
    agree(state[0], last[0], axes="b k d", of="conv of the state after 7 tokens")
    agree(state[1], last[1], axes="b d n", of="ssm of the state after 7 tokens")


@part("MambaBlock")
@pytest.mark.parametrize("how", ["forward", "step"])
@each_dtype
def test_block_from_any_state(attempt, draw, how, dtype):
    """forward and step start from any state, and one token gives the same by both."""
    dtype = of_type(dtype)
    weights, x = block_weights(draw, dtype), draw.normal(3, 1, 6, dtype=dtype)
    state = draw.normal(3, 2, 12, dtype=dtype), draw.normal(3, 12, 5, dtype=dtype)
    y, last = attempt.run(drivers.block_from_state, SIZES, weights, x, *state, how)
    want, state_after = mamba_block(weights, x, *state)
    agree(y, want, axes="b l dim", of=f"{how} of one token from a random state", known=block_known(weights, x, *state))
    agree(last, state_after, of=f"the state (conv, ssm) after {how} of one token")


@part("MambaBlock")
def test_block_of_any_cut(attempt, draw):
    """Prompt and generation in any mix of calls give what one forward gives, and no state given is changed."""
    weights, x = block_weights(draw), draw.normal(2, 4, 6)
    want, last = mamba_block(weights, x)
    mixed = [
        ["step"] * 4,
        [1, "step", "step", "step"],
        [2, "step", "step"],
        [3, "step"],
        ["step", 2, "step"],
        ["step", 3],
    ]
    cuts = [*compositions(4), *mixed]
    found = attempt.each(drivers.block_calls, [(SIZES, weights, x, calls) for calls in cuts])
    for calls, (y, state, kept) in zip(cuts, found, strict=True):
        pieces = [1 if call == "step" else call for call in calls]
        agree(y, want, axes="b l dim", of=f"calls {calls}", along={"l": pieces})
        agree(state, last, of=f"the state (conv, ssm) after calls {calls}")
        assert kept, f"calls {calls} changed a state that was given to them"


@part("MambaBlock")
def test_block_with_one_tap(attempt, draw):
    """d_conv = 1 keeps no inputs; d_conv = 5 keeps four, also where fewer tokens came."""
    rows = []
    for k in (1, 5):
        sizes = (6, 4, k, 3, 5)
        weights, x = block_weights(draw, sizes=sizes), draw.normal(2, 3, 6)
        rows += [(sizes, weights, x, calls) for calls in ([2, "step"], ["step", 2])]
    for (sizes, weights, x, calls), (y, state, _) in zip(rows, attempt.each(drivers.block_calls, rows), strict=True):
        want, last = mamba_block(weights, x)
        agree(y, want, axes="b l dim", of=f"d_conv={sizes[2]}, calls {calls}")
        agree(state, last, of=f"the state (conv, ssm) with d_conv={sizes[2]}, calls {calls}")


@part("MambaBlock")
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_block_has_gradients(attempt, draw, training):
    """Gradients reach x and every parameter, in one call and through the state from call to call, be it a step."""
    weights, x, upstream = block_weights(draw), draw.normal(2, 7, 6), draw.normal(2, 7, 6)
    leaves = [each.clone().requires_grad_() for each in (x, *weights.values())]
    y, _ = mamba_block(dict(zip(weights, leaves[1:], strict=True)), leaves[0])
    want = torch.autograd.grad((y * upstream).sum(), leaves)
    names = ["x", *weights]
    for calls in ([7], [2, 1, 4], [2, "step", 2, "step", "step"]):
        given = x, *weights.values(), SIZES, calls, training
        value, got = attempt.gradients(drivers.block_gradients, *given, upstream=upstream)
        agree(value, y.detach(), axes="b l dim", of=f"7 tokens in calls of {calls}")
        of = f"gradients of 7 tokens in calls of {calls}"
        agree(dict(zip(names, got[:10], strict=True)), dict(zip(names, want, strict=True)), of=of)


@part("MambaBlock")
@EVERY_MODE
def test_block_is_parallel_and_its_state_small(attempt, draw, mode):
    """forward is no loop over tokens; a step and its state cost the same after 9 tokens as after 101."""
    weights, x = block_weights(draw, torch.float32), draw.normal(1, 512, 6, dtype=torch.float32)
    got, cost = attempt.cost(drivers.block_forward_cost, x, SIZES, weights, mode)
    want = mamba_block(weights, x)[0]
    agree(got, want, axes="b l dim", of="512 tokens")
    in_torch(cost, of=f"forward at 512 tokens, {mode}")
    at_most(sum(cost.calls.values()), 6 * 512, of=f"operators of forward at 512 tokens, {mode}")
    upstream = draw.normal(1, 512, 6, dtype=torch.float32)
    (again, _), both = attempt.cost(drivers.block_forward_cost, x, SIZES, weights, mode, upstream=upstream)
    agree(again, want, axes="b l dim", of=f"512 tokens, {mode}, with gradients")
    at_most(sum(both.calls.values()), 4 * 6 * 512, of=f"operators of forward and backward at 512 tokens, {mode}")
    costs = {}
    for seen in (9, 101):
        (y, state), costs[seen] = attempt.cost(drivers.block_step_cost, x[:, : seen + 1], SIZES, weights, mode)
        agree(y, want[:, seen], axes="b dim", of=f"a step after {seen} tokens")
        agree(
            [list(each.shape) for each in state],
            [[1, 2, 12], [1, 12, 5]],
            of=f"shapes of the state after {seen} tokens",
        )
        in_torch(costs[seen], of=f"a step after {seen} tokens, {mode}")
        at_most(sum(costs[seen].calls.values()), 120, of=f"operators of a step after {seen} tokens, {mode}")
    at_most(costs[101].work, costs[9].work, of=f"work of a step after 101 tokens, beside one after 9, {mode}")


@part("MambaBlock")
@EVERY_MODE
def test_a_state_keeps_no_tokens_alive(attempt, draw, mode):
    """A state holds its own values alone: no view of all tokens, no memory beside it."""
    weights, x = block_weights(draw), draw.normal(1, 1000, 6)
    for given, what in ((x, "forward over 1,000 tokens"), (x[:, 0], "a step")):
        (y, state), cost = attempt.cost(drivers.block_state_cost, SIZES, weights, given, mode)
        of = f"{what}, {mode}"
        want, last = mamba_block(weights, given.reshape(1, -1, 6))
        agree(y, want.reshape(y.shape), of=f"y of {of}")
        agree(state, last, of=f"the state after {of}")
        at_most(cost.kept, 0, of=f"bytes that stay alive after {of}, beside y and the values of the state")
        at_most(cost.kept_nodes, 0, of=f"nodes of autograd that stay alive after {of}, once its graph is gone")


# ----------------------------------------------------------------------------------------------------------------- ssd


def ssd_inputs(draw, b, l, h, p, g, n, dtype=torch.float64):
    """x, dt, A, B, C, state."""
    return [
        draw.normal(b, l, h, p, dtype=dtype),
        draw.uniform(b, l, h, low=0.02, high=0.9, dtype=dtype),
        draw.uniform(h, low=-2.0, high=-0.1, dtype=dtype),
        draw.normal(b, l, g, n, dtype=dtype),
        draw.normal(b, l, g, n, dtype=dtype),
        draw.normal(b, h, p, n, dtype=dtype),
    ]


def mamba2(x, dt, A, B, C, state=None, *, wrong=""):
    """Mamba-2's recurrence, a token at a time: y and the last state."""
    h, g = x.shape[2], B.shape[2]
    heads = [i % g if wrong == "head i reads group i % g" else i // (h // g) for i in range(h)]
    B, C = B[:, :, heads], C[:, :, heads]
    decay = (dt * A).exp()[..., None, None]
    new = (x if wrong == "x without dt" else dt[..., None] * x)[..., None] * B[..., None, :]
    s = torch.zeros_like(new[:, 0]) if state is None else state
    states = []
    for decay_t, new_t in zip(decay.unbind(1), new.unbind(1), strict=True):
        s = decay_t * s + new_t
        states.append(s)
    return torch.einsum("blhpn,blhn->blhp", torch.stack(states, 1), C), s


def ssd_known(*given):
    x, dt, A, B, C, state = given
    lower = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril()
    heads = x.shape[2] // B.shape[2]
    plain = lambda: torch.einsum(
        "bihn,bjhn,ij,bjhp->bihp",
        C.repeat_interleave(heads, 2),
        B.repeat_interleave(heads, 2),
        lower,
        x * dt[..., None],
    )
    known = {
        "x without dt": lambda: mamba2(*given, wrong="x without dt")[0],
        "linear attention without the decay": plain,
        "A that decays one token too early": lambda: mamba2(x, dt, A, B, C, state)[0] * (dt * A).exp()[..., None],
    }
    if 1 < B.shape[2] < x.shape[2]:
        known["head i reading group i % g"] = lambda: mamba2(*given, wrong="head i reads group i % g")[0]
    if state is not None:
        known["the scan without the state given"] = lambda: mamba2(x, dt, A, B, C)[0]
    return known


@part("ssd")
@each_dtype
@pytest.mark.parametrize("g", [1, 2, 6])
def test_attention_is_the_scan(attempt, draw, g, dtype):
    """Masked attention gives what the recurrence gives, with 1, 2 or 6 groups for 6 heads, in any layout."""
    given = ssd_inputs(draw, 2, 7, 6, 5, g, 3, of_type(dtype))
    given = [each.transpose(1, 2).contiguous().transpose(1, 2) if each.dim() > 2 else each for each in given]
    known = ssd_known(*given[:5], None)
    want = mamba2(*given[:5])[0]
    one = [each[:, :1] if each.dim() > 2 else each for each in given[:5]]
    got, got_one = attempt.each("ssd_attention", [tuple(given[:5]), tuple(one)])
    agree(got, want, axes="b l h p", of=f"ssd_attention of 7 tokens, 6 heads, {g} groups", known=known)
    agree(got_one, want[:, :1], axes="b l h p", of="ssd_attention of one token")


@part("ssd")
@each_dtype
@pytest.mark.parametrize("chunk", [1, 3, 7, 9, None])
def test_ssd_is_the_scan(attempt, draw, chunk, dtype):
    """Chunks of any size, dividing the tokens or not, give outputs and last state of the recurrence."""
    l = 67 if chunk is None else 7
    given = ssd_inputs(draw, 2, l, 6, 5, 3, 4, of_type(dtype))
    given = [each.transpose(1, 2).contiguous().transpose(1, 2) if each.dim() > 2 else each for each in given]
    starts = given[5], None
    found = attempt.each(drivers.ssd, [(*given[:5], state, [l], chunk) for state in starts])
    for state, got in zip(starts, found, strict=True):
        given[5] = state
        y, last = mamba2(*given)
        of = f"ssd of {l} tokens, chunk={chunk or 'default'}, {'no state' if state is None else 'from a state'}"
        agree(got[0], y, axes="b l h p", of=f"y of {of}", known=ssd_known(*given))
        agree(got[1], last, axes="b h p n", of=f"the state after {of}")


@part("ssd")
def test_ssd_of_any_cut(attempt, draw):
    """However four tokens are cut into calls, with the state handed on, outputs and last state are the same."""
    given = ssd_inputs(draw, 3, 4, 4, 5, 2, 7)
    y, last = mamba2(*given)
    cuts = compositions(4)
    for chunks, got in zip(cuts, attempt.each(drivers.ssd, [(*given, chunks, 2) for chunks in cuts]), strict=True):
        agree(got[0], y, axes="b l h p", of=f"ssd in calls of {chunks}", along={"l": chunks})
        agree(got[1], last, axes="b h p n", of=f"the state after calls of {chunks}")


@part("ssd")
def test_ssd_edges(attempt, draw):
    """No token, a chunk below 1, and groups that do not divide the heads."""
    nothing = ssd_inputs(draw, 2, 0, 4, 3, 2, 5)
    found = attempt.each("ssd", [(*nothing[:5], start) for start in (nothing[5], None)])
    for (y, last), want in zip(found, (nothing[5], torch.zeros_like(nothing[5])), strict=True):
        agree(y, nothing[0], axes="b l h p", of="y of no token")
        agree(last, want, axes="b h p n", of="the state after no token")
    given = ssd_inputs(draw, 2, 5, 6, 3, 2, 5)
    for chunk in (0, -2):
        with refusal(ValueError, of=f"chunk={chunk}"):
            attempt.ssd(*given, chunk=chunk)
    given = ssd_inputs(draw, 2, 5, 6, 3, 4, 5)
    with refusal(ValueError, of="ssd of 6 heads in 4 groups"):
        attempt.ssd(*given)
    with refusal(ValueError, of="ssd_attention of 6 heads in 4 groups"):
        attempt.ssd_attention(*given[:5])


@part("ssd")
def test_ssd_has_gradients(attempt, draw):
    """Gradients of both forms reach every tensor given, through y and through the last state."""
    given = ssd_inputs(draw, 2, 7, 4, 3, 2, 5)
    upstream = [draw.normal(2, 7, 4, 3), draw.normal(2, 4, 3, 5)]
    names = ["x", "dt", "A", "B", "C", "state"]
    leaves = [each.clone().requires_grad_() for each in given]
    y, last = mamba2(*leaves)
    want = torch.autograd.grad((y * upstream[0]).sum() + (last * upstream[1]).sum(), leaves)
    value, got = attempt.gradients(drivers.ssd_with_gradients, *given, 3, upstream=upstream)
    agree(value, [y.detach(), last.detach()], of="y and last state of ssd of 7 tokens, chunk=3")
    agree(dict(zip(names, got[:6], strict=True)), dict(zip(names, want, strict=True)), of="gradients of ssd, chunk=3")
    y, _ = mamba2(*leaves[:5])
    want = torch.autograd.grad((y * upstream[0]).sum(), leaves[:5])
    value, got = attempt.gradients("ssd_attention", *given[:5], upstream=upstream[0])
    agree(value, y.detach(), axes="b l h p", of="ssd_attention of 7 tokens")
    names = names[:5]
    agree(dict(zip(names, got, strict=True)), dict(zip(names, want, strict=True)), of="gradients of ssd_attention")


@part("ssd")
def test_strong_decay_has_finite_gradients(attempt, draw):
    """With dt A = -20 a token, what lies above the diagonal would overflow: values and gradients stay finite."""
    given = ssd_inputs(draw, 2, 11, 2, 3, 1, 5, torch.float32)
    given[1], given[2] = torch.full((2, 11, 2), 2.0), torch.tensor([-10.0, -0.1])
    upstream = [draw.normal(2, 11, 2, 3, dtype=torch.float32), torch.zeros(2, 2, 3, 5)]
    leaves = [each.double().requires_grad_() for each in given]
    y, last = mamba2(*leaves)
    want = [g.float() for g in torch.autograd.grad((y * upstream[0]).sum(), leaves)]
    got_y, got = attempt.gradients(drivers.ssd_with_gradients, *given, 6, upstream=upstream)
    agree(got_y, [y.detach().float(), last.detach().float()], of="y and last state of ssd with dt A = -20")
    names = ["x", "dt", "A", "B", "C", "state"]
    agree(
        dict(zip(names, got[:6], strict=True)),
        dict(zip(names, want, strict=True)),
        of="gradients of ssd with dt A = -20",
    )
    y, _ = mamba2(*leaves[:5])
    want = [g.float() for g in torch.autograd.grad((y * upstream[0]).sum(), leaves[:5])]
    got_y, got = attempt.gradients("ssd_attention", *given[:5], upstream=upstream[0])
    agree(got_y, y.detach().float(), axes="b l h p", of="ssd_attention with dt A = -20")
    names = names[:5]
    agree(
        dict(zip(names, got, strict=True)),
        dict(zip(names, want, strict=True)),
        of="gradients of ssd_attention with dt A = -20",
    )


@part("ssd")
@EVERY_MODE
def test_ssd_costs_grow_with_the_tokens(attempt, draw, mode):
    """FLOPs are linear in the tokens, and the steps are those from chunk to chunk."""
    b, p, g, n = 1, 7, 1, 11
    for l, chunk, h in [(97, 8, 2), (331, 64, 2), (61, 8, 1)]:
        given = ssd_inputs(draw, b, l, h, p, g, n, torch.float32)
        upstream = [draw.normal(*shape, dtype=torch.float32) for shape in ((b, l, h, p), (b, h, p, n))]
        (y, _), told = measured(attempt, "ssd", given, mode, upstream, chunk=chunk)
        agree(y, mamba2(*given)[0], axes="b l h p", of=f"y of {l} tokens in chunks of {chunk}")
        for counted, times, how in told:
            of = f"at b={b}, l={l:,}, h={h}, p={p}, n={n}, chunk={chunk}, {how}"
            in_torch(counted, of=f"ssd {of}")
            at_most(
                counted.flops,
                times * 4 * b * h * (l + chunk) * (chunk * (n + p) + 2 * n * p),
                of=f"FLOPs of ssd {of}",
                known={"attention over all tokens": 2 * b * h * l * l * (n + p)},
            )
            at_most(sum(counted.calls.values()), times * 150 * math.ceil(l / chunk), of=f"operators of ssd {of}")


@part("ssd")
def test_ssd_over_thousands_of_tokens(attempt):
    """A constant input over 4,096 tokens in float32 reaches its limit, for dt A of -0.004 and of -30."""
    l = 4096
    dt, A = torch.tensor([0.004, 3.0]), torch.tensor([-1.0, -10.0])
    ones = torch.ones(1, l, 2, 1)
    got, state = attempt.ssd(ones, dt.expand(1, l, 2), A, ones[:, :, :1], ones[:, :, :1], chunk=64)
    decay = (dt.double() * A.double()).exp()
    states = dt.double() * (1 - decay ** torch.arange(1, l + 1)[:, None]) / (1 - decay)
    for head in (0, 1):
        of = f"with dt A = {dt[head] * A[head]:g}, {l:,} tokens in float32"
        agree(got[0, :, head, 0], states[:, head].float(), axes="l", of=f"y {of}", tol=1e-3)
        agree(state[0, head, 0, 0], states[-1, head].float(), of=f"the last state {of}", tol=1e-3)


@part("ssd")
def test_the_dual_of_other_inputs_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (
            draw.normal(2, 7, 6, 5),
            draw.uniform(2, 7, 6, low=0.1),
            -draw.uniform(6, low=0.1),
            draw.normal(2, 7, 2, 3),
            draw.normal(2, 7, 2, 3),
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "ssd_attention", *asked, of="ssd_attention of x (2, 7, 6, 5)", views=False)


# ------------------------------------------------------------------------------------------------------- hybrid_layout


@part("hybrid_layout")
def test_jamba_has_one_attention_layer_in_eight(attempt):
    """The defaults are Jamba's: of 32 layers, 4, 12, 20 and 28 attend."""
    want = ["attention" if i in (4, 12, 20, 28) else "mamba" for i in range(32)]
    known = {
        "layers counted from 1": [*want[1:], "mamba"],
        "one attention to four Mamba layers": ["attention" if i % 5 == 4 else "mamba" for i in range(32)],
    }
    agree(attempt.hybrid_layout(32), want, of="hybrid_layout(32)", known=known)


@part("hybrid_layout")
def test_any_period(attempt):
    """Layers offset, offset + period, ... attend; layers may be few, none, or no multiple of the period."""
    rows = [(7, 3, 1), (7, 3, 0), (7, 3, 2), (3, 1, 0), (2, 5, 3), (4, 5, 3), (0, 3, 1)]
    for (layers, period, offset), got in zip(rows, attempt.each("hybrid_layout", rows), strict=True):
        want = ["mamba"] * layers
        for i in range(offset, layers, period):
            want[i] = "attention"
        agree(got, want, of=f"hybrid_layout({layers}, {period}, {offset})")
    for period, offset in [(3, 3), (3, 7), (3, -1), (1, 1), (0, 0)]:
        with refusal(ValueError, of=f"period {period}, offset {offset}"):
            attempt.hybrid_layout(7, period, offset)


@part("hybrid_layout")
def test_values_kept_for_decoding(attempt, draw):
    """Attention layers keep 2·tokens·kv_heads·head_dim values, Mamba layers d·(n + d_conv - 1), whatever the tokens."""
    sizes = {"kv_heads": 3, "head_dim": 7, "d": 11, "n": 5, "d_conv": 4}
    layouts = [], ["mamba"], ["attention"], ["mamba", "attention", "mamba", "mamba", "attention"]
    rows = [(layout, tokens) for tokens in (0, 1, 1009) for layout in layouts]
    for (layout, tokens), got in zip(rows, attempt.each("decoding_values", rows, **sizes), strict=True):
        want = layout.count("attention") * 2 * tokens * 21 + layout.count("mamba") * 11 * 8
        agree(got, want, of=f"values kept by {layout} at {tokens} tokens, {sizes}")
    jamba = ["attention" if i % 8 == 4 else "mamba" for i in range(32)]
    got = attempt.decoding_values(jamba, 256 * 1024, kv_heads=8, head_dim=128, d=8192, n=16, d_conv=4)
    agree(got, 2**31 + 28 * 8192 * 19, of="values that Jamba keeps at 256 K tokens")
    for layer in ("Mamba", "mlp"):
        with refusal(ValueError, of=f"a layout with a layer {layer!r}"):
            attempt.decoding_values(["mamba", layer], 5, **sizes)
