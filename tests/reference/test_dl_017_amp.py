"""dl_017's solution against torch's own scaler, casts, finfo and autocast, and figures of the papers."""

import copy
import itertools
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_017_amp")


@pytest.mark.parametrize(
    ("e", "m", "dtype"),
    [
        (5, 10, torch.float16),
        (8, 7, torch.bfloat16),
        (8, 23, torch.float32),
        (11, 52, torch.float64),
        (5, 2, torch.float8_e5m2),
        (4, 3, torch.float8_e4m3fn),
    ],
)
def test_float_format_is_torchs_finfo(kata, e, m, dtype):
    info = torch.finfo(dtype)
    got = kata.float_format(e, m, infinity=dtype != torch.float8_e4m3fn)
    assert got["max"] == info.max
    assert got["smallest_normal"] == info.tiny
    assert got["eps"] == info.eps
    wide = torch.tensor([got["smallest_subnormal"], got["smallest_subnormal"] / 2], dtype=torch.float64)
    if dtype != torch.float64:
        assert wide.to(dtype).double().tolist() == [got["smallest_subnormal"], 0.0]


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn, torch.float16, torch.bfloat16])
def test_float_format_is_what_the_codes_say(kata, dtype):
    """Every bit pattern of torch's own dtype, decoded by torch."""
    bits = 8 * dtype.itemsize
    codes = torch.arange(2**bits).to(torch.uint8 if bits == 8 else torch.uint16)
    numbers = codes.view(dtype).double()
    positive = numbers[numbers.isfinite() & (numbers > 0)]
    e, m = {
        torch.float8_e5m2: (5, 2),
        torch.float8_e4m3fn: (4, 3),
        torch.float16: (5, 10),
        torch.bfloat16: (8, 7),
    }[dtype]
    got = kata.float_format(e, m, infinity=dtype != torch.float8_e4m3fn)
    assert got["max"] == positive.max().item()
    assert got["smallest_subnormal"] == positive.min().item()
    assert got["eps"] == positive[positive > 1].min().item() - 1


def test_fp8_figures_of_the_paper(kata):
    """Micikevicius et al. 2022, table 1."""
    e4m3, e5m2 = kata.float_format(4, 3, infinity=False), kata.float_format(5, 2)
    assert (e4m3["max"], e4m3["smallest_normal"], e4m3["smallest_subnormal"]) == (448.0, 2**-6, 2**-9)
    assert (e5m2["max"], e5m2["smallest_normal"], e5m2["smallest_subnormal"]) == (57344.0, 2**-14, 2**-16)


def test_rounding_is_torchs_cast_bit_by_bit(kata):
    """All float32 patterns whose low half is one of 64, the ties among them: four million."""
    low = torch.cat([torch.arange(16), torch.arange(0x7FF0, 0x8010), torch.arange(0xFFF0, 0x10000)])
    patterns = (torch.arange(2**16)[:, None] * 2**16 + low).flatten()
    x = torch.where(patterns >= 2**31, patterns - 2**32, patterns).to(torch.int32).view(torch.float32)
    got, want = kata.round_to_bfloat16(x), x.bfloat16().float()
    assert torch.equal(got.isnan(), want.isnan())
    kept = ~want.isnan()
    assert torch.equal(got[kept].view(torch.int32), want[kept].view(torch.int32))


def test_stochastic_rounding_is_unbiased(kata):
    """Gupta et al. 2015, section 3: the expectation of the result is the number itself."""
    x = torch.full((200_000,), 1 + 0.3 * 2**-7)
    noise = torch.randint(0, 2**16, x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    got = kata.round_to_bfloat16(x, noise)
    assert set(got.tolist()) == {1.0, 1 + 2**-7}
    assert (got - 1).double().mean().item() * 2**7 == pytest.approx(0.3, abs=0.006)


def test_underflow_of_a_log_uniform_gradient(kata):
    """Micikevicius et al. 2018, figure 3: what lies below 2^-24 is lost; a scale of 8 saves three powers of two."""
    exponents = torch.linspace(-40, 0, 40_001)[:-1]
    gradients = [2.0**exponents]
    assert kata.underflow_fraction(gradients) == pytest.approx(15 / 40, abs=1e-3)
    assert kata.underflow_fraction(gradients, scale=8.0) == pytest.approx(12 / 40, abs=1e-3)
    assert kata.underflow_fraction(gradients, torch.bfloat16) == 0.0


@pytest.mark.parametrize("size", [1e-7, 1e-3, 1.0, 1e3])
def test_loss_scale_neither_overflows_nor_wastes(kata, size):
    g = size * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    scale = kata.choose_loss_scale([g], headroom=1.0)
    assert (g * scale).half().isfinite().all()
    assert not (g * 2 * scale).half().isfinite().all()


def test_training_bytes_of_zero(kata):
    """Rajbhandari et al. 2020, 3.1: 16 bytes a parameter; GPT-2's 1.5 billion need 24 GB; 7.5 billion need 120 GB."""
    assert kata.training_bytes(1_500_000_000, 0, "master") == 24 * 10**9
    assert kata.training_bytes(7_500_000_000, 0, "master") == 120 * 10**9


def torch_scaler(**options):
    return torch.amp.GradScaler("cpu", **options)


@pytest.mark.parametrize("interval", [1, 2, 3])
@pytest.mark.parametrize("explicit", [False, True])
def test_scaler_is_torchs_state_by_state(kata, interval, explicit):
    """Two optimizers, every way for one of them or both to meet an Inf in four iterations."""
    options = {"init_scale": 512.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": interval}
    for outcomes in itertools.product([(0, 0), (1, 0), (0, 1), (1, 1)], repeat=4):
        sides = []
        for make in (kata.DynamicGradScaler, torch_scaler):
            weights = [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))]
            sides.append((make(**options), weights, [torch.optim.Adam([w], lr=0.1) for w in weights]))
        for bad in outcomes:
            for scaler, weights, optimizers in sides:
                scaled = scaler.scale(torch.tensor(1.0))
                for w, optimizer, spoiled in zip(weights, optimizers, bad, strict=True):
                    w.grad = scaled * torch.full_like(w, math.nan if spoiled else 0.5)
                    if explicit:
                        scaler.unscale_(optimizer)
                    scaler.step(optimizer)
                scaler.update()
            (ours, our_weights, _), (theirs, their_weights, _) = sides
            assert ours.state_dict() == theirs.state_dict()
            for a, b in zip(our_weights, their_weights, strict=True):
                assert torch.equal(a, b)
                torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0, equal_nan=True)


def test_scaler_refuses_what_torchs_refuses(kata):
    for make in (kata.DynamicGradScaler, torch_scaler):
        weight = nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        scaler = make()
        with pytest.raises((RuntimeError, AssertionError)):
            scaler.update()
        weight.grad = scaler.scale(torch.ones(2))
        scaler.unscale_(optimizer)
        with pytest.raises(RuntimeError):
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        with pytest.raises(RuntimeError):
            scaler.step(optimizer)
        with pytest.raises(RuntimeError):
            scaler.unscale_(optimizer)
        scaler.update()
        with pytest.raises((RuntimeError, AssertionError)):
            scaler.update()
        half = nn.Parameter(torch.ones(2, dtype=torch.float16))
        half.grad = torch.ones_like(half)
        with pytest.raises(ValueError, match="16"):
            scaler.unscale_(torch.optim.SGD([half], lr=0.1))


def test_state_dicts_can_be_exchanged(kata):
    theirs = torch_scaler(init_scale=96.0, growth_interval=7)
    theirs._growth_tracker = None
    ours = kata.DynamicGradScaler()
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()
    other = torch_scaler()
    other.load_state_dict(ours.state_dict())
    assert other.state_dict() == theirs.state_dict()


def test_growth_stops_where_torchs_does(kata):
    top = torch.finfo(torch.float32).max
    scalers = [make(init_scale=top / 2, growth_interval=1) for make in (kata.DynamicGradScaler, torch_scaler)]
    for _ in range(3):
        for scaler in scalers:
            weight = nn.Parameter(torch.ones(1))
            scaler.scale(torch.zeros(1))
            weight.grad = torch.ones(1)
            scaler.step(torch.optim.SGD([weight], lr=0.1))
            scaler.update()
        assert scalers[0].state_dict() == scalers[1].state_dict()


PRODUCTS = {
    "matmul": lambda a, b: a @ b,
    "linear": lambda a, b: F.linear(a, b.T, b[0]),
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
    "addmm": lambda a, b: torch.addmm(a[:, :1], a, b),
    "bmm": lambda a, b: torch.bmm(a[None], b[None]),
    "conv1d": lambda a, b: F.conv1d(a[None], b.T[:2, : a.shape[0], None]),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PRODUCTS)
def test_autocast_products_are_torchs(kata, name, dtype):
    a, b = torch.randn(3, 7), torch.randn(7, 5)
    with kata.mini_autocast(dtype):
        got = PRODUCTS[name](a, b)
    with torch.autocast("cpu", dtype=dtype):
        want = PRODUCTS[name](a, b)
    assert got.dtype == want.dtype == dtype
    torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)


def test_autocast_nests_as_torchs_does(kata):
    x = torch.randn(3, 3)
    for make in (
        lambda dtype, enabled=True: kata.mini_autocast(dtype, enabled=enabled),
        lambda dtype, enabled=True: torch.autocast("cpu", dtype=dtype, enabled=enabled),
    ):
        seen = []
        with make(torch.bfloat16):
            with make(torch.float16):
                seen.append((x @ x).dtype)
                with make(torch.float16, enabled=False):
                    seen.append((x @ x).dtype)
            seen.append((x @ x).dtype)
        seen.append((x @ x).dtype)
        assert seen == [torch.float16, torch.float32, torch.bfloat16, torch.float32]


def test_autocast_trains_a_transformer_layer_as_torchs_does(kata):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 16)
    gradients = []
    for context in (kata.mini_autocast(torch.bfloat16), torch.autocast("cpu", dtype=torch.bfloat16)):
        layer.zero_grad()
        with context:
            out = layer(x)
        out.float().square().mean().backward()
        gradients.append([p.grad.clone() for p in layer.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.dtype == theirs.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02)


def test_a_bfloat16_update_stalls_and_a_master_does_not(kata):
    """Micikevicius et al. 2018, 3.1: an update below half a unit in the last place is lost."""
    plain = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    sgd = torch.optim.SGD([plain], lr=2**-9)
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    optimizer = kata.MasterWeightOptimizer(model, lambda masters: torch.optim.SGD(masters, lr=2**-9))
    for _ in range(1000):
        plain.grad = torch.full_like(plain, -1.0)
        model.weight.grad = torch.full_like(model.weight, -1.0)
        sgd.step()
        optimizer.step()
    assert plain.item() == 1.0
    assert optimizer.masters[0].item() == 1 + 1000 * 2**-9
    assert model.weight.item() == torch.tensor(1 + 1000 * 2**-9).bfloat16().item()


def test_train_step_is_torchs_recipe(kata):
    """The loop of torch's AMP examples, with torch's autocast, scaler and clip, on the same model."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    theirs = copy.deepcopy(ours)
    batches = [(torch.randn(8, 5), torch.randn(8, 3)) for _ in range(3)]
    scaler, our_scaler = torch_scaler(growth_interval=2), kata.DynamicGradScaler(growth_interval=2)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    our_optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        for x, y in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = theirs(x)
            scaler.scale(F.mse_loss(out.float(), y) / len(batches)).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        got = kata.amp_train_step(ours, F.mse_loss, batches, our_optimizer, our_scaler, max_norm=0.5)
        assert got["grad_norm"] == pytest.approx(norm.item(), rel=1e-2)
        assert our_scaler.state_dict() == scaler.state_dict()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_quantize_is_torchs_cast_of_every_code(kata, dtype):
    """Every float8 number, and what lies halfway between two of them, scaled by the power of two that amax gives."""
    codes = torch.arange(256, dtype=torch.uint8).view(dtype).float()
    numbers = codes[codes.isfinite()].unique()
    between = (numbers[1:] + numbers[:-1]) / 2
    x = torch.cat([numbers, between])
    scaling = kata.DelayedScaling(dtype)
    scaling.quantize(x / 2**10)
    assert scaling.scale == 2**10
    q, used = scaling.quantize(x / 2**10)
    assert used == 2**10
    assert torch.equal(q.float(), x.to(dtype).float())


def test_fp8_matmul_is_torchs_scaled_mm(kata):
    """`torch._scaled_mm` multiplies float8 matrices and applies inverse scales, where this build has it for the CPU."""
    a, b = torch.randn(16, 32), torch.randn(32, 16)
    scalings = kata.DelayedScaling(), kata.DelayedScaling()
    kata.fp8_scaled_matmul(a, b, *scalings)
    scales = [s.scale for s in scalings]
    got = kata.fp8_scaled_matmul(a, b, *scalings)
    fp8 = [(x * s).clamp(-448, 448).to(torch.float8_e4m3fn) for x, s in zip((a, b), scales, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = torch._scaled_mm(
            fp8[0],
            fp8[1].t().contiguous().t(),
            scale_a=torch.tensor(1 / scales[0]),
            scale_b=torch.tensor(1 / scales[1]),
            out_dtype=torch.float32,
        )
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    assert (got - a @ b).norm() / (a @ b).norm() < 0.06


def test_padded_vocabulary_of_gpt2(kata):
    """Karpathy's nanoGPT: 50,257 tokens padded to 50,304, a multiple of 64."""
    x = torch.zeros(50_257, 1, dtype=torch.bfloat16)
    assert kata.pad_for_tensor_cores(x, (0,), 64).shape == (50_304, 1)
    assert kata.pad_for_tensor_cores(x, (0,)).shape == (50_264, 1)
