"""dl_016_ssm_mamba against what nobody here wrote: published figures, scipy, and the slow paths of transformers."""

import math

import pytest
import torch

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_016_ssm_mamba")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("method", "theirs"), [("euler", "euler"), ("bilinear", "bilinear"), ("zoh", "zoh")])
def test_discretization_is_scipys(kata, method, theirs):
    signal = pytest.importorskip("scipy.signal")
    a, b = -torch.rand(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    a_bar, b_bar = kata.discretize(a, b, torch.tensor(0.3, dtype=torch.float64), method)
    system = a.diag().numpy(), b[:, None].numpy(), a.new_zeros(1, 5).numpy(), a.new_zeros(1, 1).numpy()
    want_a, want_b, *_ = signal.cont2discrete(system, 0.3, method=theirs)
    torch.testing.assert_close(a_bar.diag(), torch.from_numpy(want_a))
    torch.testing.assert_close(b_bar, torch.from_numpy(want_b)[:, 0])


def test_recurrence_and_convolution_are_scipys_filter(kata):
    signal = pytest.importorskip("scipy.signal")
    a, b, c = torch.rand(1, 1, dtype=torch.float64), torch.tensor([[2.0]]).double(), torch.tensor([[3.0]]).double()
    x = torch.randn(1, 50, 1, dtype=torch.float64)
    want = torch.from_numpy(signal.lfilter([6.0], [1.0, -a.item()], x.flatten().numpy())).reshape(1, 50, 1)
    torch.testing.assert_close(kata.ssm_recurrence(a, b, c, x)[0], want)
    torch.testing.assert_close(kata.ssm_convolution(kata.ssm_kernel(a, b, c, 50), x), want)


def test_hippo_summarises_a_function_as_legendre_projection_does(kata):
    """HiPPO, theorem 2: the state after [0, 1] is the projection on Legendre polynomials, here of cos 5u."""
    integrate = pytest.importorskip("scipy.integrate")
    special = pytest.importorskip("scipy.special")
    n = 6
    A, B = (each.numpy() for each in kata.hippo_legs(n, dtype=torch.float64))

    def slope(t, s):
        return (A @ s + B * math.cos(5 * t)) / t

    start = [1.0] + [0.0] * (n - 1)  # near 0 the function is the constant 1
    got = integrate.solve_ivp(slope, (1e-4, 1), start, rtol=1e-8, atol=1e-10).y[:, -1]
    for i in range(n):
        poly = special.legendre(i)
        scale = math.sqrt(2 * i + 1)
        want = integrate.quad(lambda u, poly=poly, scale=scale: scale * poly(2 * u - 1) * math.cos(5 * u), 0, 1)[0]
        assert got[i] == pytest.approx(want, abs=1e-3)


def test_legs_are_the_eigenvalues_that_numpy_finds(kata):
    A, B = kata.hippo_legs(16, dtype=torch.float64)
    p = B / math.sqrt(2)
    found = torch.linalg.eigvals(A + p.outer(p))
    found = found[found.imag > 0]
    want = found[found.imag.argsort()]
    torch.testing.assert_close(kata.s4d_init(8, "legs", dtype=torch.float64), want)


def test_inv_comes_close_to_legs(kata):
    """S4D, section 4: S4D-Inv approximates S4D-LegS, whose largest imaginary part is about N² / π."""
    legs, inv = (kata.s4d_init(32, kind).imag.sort().values for kind in ("legs", "inv"))
    assert legs[-1].item() == pytest.approx(inv[-1].item(), rel=0.05)
    assert legs[-2].item() == pytest.approx(inv[-2].item(), rel=0.1)


def test_jambas_cache_at_256_k_tokens_is_4_gb(kata):
    """Jamba, table 1: 4 GB for Jamba, 32 GB for Mixtral, whose 32 layers all attend (16 bits a value)."""
    sizes = {"kv_heads": 8, "head_dim": 128, "d": 8192, "n": 16, "d_conv": 4}
    jamba = kata.decoding_values(kata.hybrid_layout(32), 256 * 1024, **sizes)
    mixtral = kata.decoding_values(["attention"] * 32, 256 * 1024, **sizes)
    assert (round(2 * jamba / 2**30), 2 * mixtral / 2**30) == (4, 32)


def test_mamba_130m_has_129_135_360_parameters(kata):
    dim, layers, vocabulary = 768, 24, 50_280
    block = sum(weight.numel() for weight in kata.MambaBlock(dim).parameters())
    assert layers * (block + dim) + dim + vocabulary * dim == 129_135_360


@pytest.mark.reference
def test_layout_is_jambas(kata):
    from transformers import JambaConfig

    attends = ["linear" not in kind and "mamba" not in kind for kind in JambaConfig().layer_types]
    assert [kind == "attention" for kind in kata.hybrid_layout(32)] == attends


# ----------------------------------------------------------------------------------------------- transformers: Mamba


def _tiny_mamba():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=97, hidden_size=20, state_size=5, num_hidden_layers=2, conv_kernel=4, expand=2, time_step_rank=3
    )
    model = MambaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


def _block_of(kata, mixer):
    d, n = mixer.A_log.shape
    block = kata.MambaBlock(mixer.hidden_size, n, mixer.conv_kernel_size, d // mixer.hidden_size, mixer.time_step_rank)
    block.load_state_dict(mixer.state_dict())
    return block.eval()


@pytest.mark.reference
@torch.no_grad()
def test_block_is_the_mixer_of_transformers(kata):
    """With its state dict loaded as it is, the block gives what the slow path of MambaMixer gives."""
    mixer = _tiny_mamba().backbone.layers[0].mixer
    x = torch.randn(3, 70, 20)
    torch.testing.assert_close(_block_of(kata, mixer)(x)[0], mixer(x), atol=1e-5, rtol=1e-4)


@pytest.mark.reference
@torch.no_grad()
def test_generation_is_that_of_transformers(kata):
    """Logits of a prompt and of steps behind it are those of the model decoding with its own cache."""
    model = _tiny_mamba()
    tokens = torch.randint(97, (2, 12))
    out = model(tokens[:, :7], use_cache=True)
    want = [out.logits]
    for t in range(7, 12):
        out = model(tokens[:, t : t + 1], cache_params=out.cache_params, use_cache=True)
        want.append(out.logits)

    backbone = model.backbone
    blocks = [_block_of(kata, layer.mixer) for layer in backbone.layers]
    states, got = [None] * len(blocks), []
    for piece in tokens.split([7, 1, 1, 1, 1, 1], 1):
        h = backbone.embeddings(piece)
        for i, (layer, block) in enumerate(zip(backbone.layers, blocks, strict=True)):
            if piece.shape[1] == 1:
                y, states[i] = block.step(layer.norm(h)[:, 0], states[i])
                y = y[:, None]
            else:
                y, states[i] = block(layer.norm(h), states[i])
            h = h + y
        got.append(model.lm_head(backbone.norm_f(h)))
    torch.testing.assert_close(torch.cat(got, 1), torch.cat(want, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.reference
def test_scans_are_the_scan_of_transformers(kata):
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    b, l, d, n = 2, 37, 7, 5
    x, dt, A, D = torch.randn(b, l, d), torch.rand(b, l, d), -torch.rand(d, n), torch.randn(d)
    B, C = torch.randn(b, l, n), torch.randn(b, l, n)
    want, last = mamba_selective_scan(x.mT, dt.mT, A, B.mT, C.mT, D, return_last_state=True)
    for got, state in (kata.selective_scan(x, dt, A, B, C, D), kata.chunked_scan(x, dt, A, B, C, D, chunk=16)):
        torch.testing.assert_close(got, want.mT, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(state, last, atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------------------------- transformers: Mamba-2


@pytest.mark.reference
@pytest.mark.parametrize("g", [1, 2, 4])
def test_ssd_is_the_chunk_scan_of_transformers(kata, g):
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    b, l, h, p, n = 2, 37, 4, 6, 5
    x, dt, A = torch.randn(b, l, h, p), torch.rand(b, l, h), -torch.rand(h)
    B, C = torch.randn(b, l, g, n), torch.randn(b, l, g, n)
    state = torch.randn(b, h, p, n)
    want, last = mamba2_chunk_scan(x, dt, A, B, C, chunk_size=8, initial_states=state, return_final_states=True)
    got, mine = kata.ssd(x, dt, A, B, C, state, chunk=11)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine, last, atol=1e-5, rtol=1e-4)
    want = mamba2_chunk_scan(x, dt, A, B, C, chunk_size=8)
    want = want[0] if isinstance(want, tuple) else want
    torch.testing.assert_close(kata.ssd_attention(x, dt, A, B, C), want, atol=1e-5, rtol=1e-4)


@pytest.mark.reference
@torch.no_grad()
def test_mamba2_with_our_ssd_in_its_layers(kata, monkeypatch):
    """A tiny Mamba2 keeps its logits when its chunk scan is ours, decoding step by step included."""
    from transformers import Mamba2Config, Mamba2ForCausalLM
    from transformers.models.mamba2 import modeling_mamba2

    config = Mamba2Config(
        vocab_size=97, hidden_size=16, state_size=5, num_hidden_layers=2, num_heads=4, head_dim=8, expand=2,
        n_groups=2, chunk_size=8,
    )  # fmt: skip
    model = Mamba2ForCausalLM(config).eval()
    tokens = torch.randint(97, (2, 21))
    want = model(tokens, use_cache=False).logits
    called = []

    def scan(x, dt, A, B, C, chunk_size, D=None, dt_bias=None, dt_softplus=False, **more):
        called.append(True)
        dt = dt if dt_bias is None else dt + dt_bias
        dt = torch.nn.functional.softplus(dt) if dt_softplus else dt
        y, state = kata.ssd(x, dt.clamp(*more.get("dt_limit", (0, math.inf))), A, B, C, chunk=5)
        y = y if D is None else y + D[:, None] * x
        return (y, state) if more.get("return_final_states") else y

    monkeypatch.setattr(modeling_mamba2, "mamba2_chunk_scan", scan)
    got = model(tokens, use_cache=False).logits
    assert called
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
