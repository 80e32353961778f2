"""dl_006's solution against torch.nn.init, scipy's quadrature, the package mup, and published figures."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_006_weight_init")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 3), (7, 2, 3), (4, 3, 2, 5), (2, 3, 1, 2, 2)])
def test_fans_without_groups_are_torchs(kata, shape):
    assert kata.fans(shape) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_torch_knows_neither_groups_nor_transposed_layers(kata):
    layer = nn.Conv2d(16, 32, 3, groups=4)
    assert kata.fans(layer.weight.shape, groups=4) == (36, 72)
    assert nn.init._calculate_fan_in_and_fan_out(layer.weight) == (36, 288)
    layer = nn.ConvTranspose2d(16, 32, 2)
    assert kata.fans(layer.weight.shape, transposed=True) == (64, 128)
    assert nn.init._calculate_fan_in_and_fan_out(layer.weight) == (128, 64)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2, 5)])
def test_xavier_and_he_are_torchs(kata, shape):
    """The same generator, the same numbers: both fill w by one call of the same sampler."""
    twin = [
        (kata.xavier_, (1.7, "uniform"), nn.init.xavier_uniform_, (1.7,)),
        (kata.xavier_, (1.7, "normal"), nn.init.xavier_normal_, (1.7,)),
        (kata.he_, (0.3, "fan_out", "uniform"), nn.init.kaiming_uniform_, (0.3, "fan_out")),
        (kata.he_, (0.0, "fan_in", "normal"), nn.init.kaiming_normal_, (0.0, "fan_in")),
    ]
    for mine, options, theirs, given in twin:
        got = mine(torch.empty(shape), *options, generator=seeded())
        torch.testing.assert_close(got, theirs(torch.empty(shape), *given, generator=seeded()))


@pytest.mark.reference
def test_truncated_numbers_are_scipys(kata):
    """0.87962566 is the deviation of what is left within two deviations; the distribution function is scipy's."""
    from scipy import stats

    assert stats.truncnorm.std(-2, 2) == pytest.approx(0.87962566, abs=1e-8)
    w = kata.fill_(torch.empty(100_000, dtype=torch.float64), 0.3, "truncated", generator=seeded())
    s = 0.3 / 0.87962566
    assert stats.kstest(w.numpy(), stats.truncnorm(-2, 2, scale=s).cdf).statistic < 0.0092
    theirs = nn.init.trunc_normal_(torch.empty(100_000), 0, 0.3, -0.6, 0.6, generator=seeded())
    assert theirs.std().item() == pytest.approx(0.264, abs=0.003)  # torch's std is that before the cut


@pytest.mark.reference
@pytest.mark.parametrize(
    ("f", "published"),
    [(torch.relu, 1.4142), (torch.tanh, 1.5925), (F.gelu, 1.5335), (F.silu, 1.6765), (torch.sigmoid, None)],
)
def test_gains_are_scipys(kata, f, published):
    from scipy import integrate

    def weighted(z):
        return f(torch.tensor(z, dtype=torch.float64)).item() ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    want = sum(integrate.quad(weighted, *ends, epsabs=1e-13)[0] for ends in ((-12, 0), (0, 12))) ** -0.5
    assert kata.activation_gain(f) == pytest.approx(want, rel=1e-8)
    if published:
        assert want == pytest.approx(published, abs=5e-5)


def test_torchs_gain_of_tanh_is_another(kata):
    assert nn.init.calculate_gain("tanh") == 5 / 3
    assert nn.init.calculate_gain("relu") == pytest.approx(kata.activation_gain(torch.relu))
    assert nn.init.calculate_gain("leaky_relu", 0.2) == pytest.approx(
        kata.activation_gain(lambda z: F.leaky_relu(z, 0.2))
    )


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal_weights_span_what_torchs_do(kata, shape):
    """torch fixes signs, too: both give orthonormal rows or columns, times gain."""
    for make in (kata.orthogonal_, nn.init.orthogonal_):
        w = make(torch.empty(shape, dtype=torch.float64), 1.5, generator=seeded()).flatten(1)
        short = w if w.shape[0] <= w.shape[1] else w.T
        torch.testing.assert_close(short @ short.T, 2.25 * torch.eye(len(short), dtype=torch.float64))


def test_qr_alone_never_has_a_positive_corner(kata):
    corners = [torch.linalg.qr(drawn(5, 5, seed=seed))[0][0, 0].item() for seed in range(400)]
    assert sum(corner > 0 for corner in corners) == 0
    generator = seeded()
    fixed = [kata.orthogonal_(torch.empty(5, 5), generator=generator)[0, 0].item() for _ in range(400)]
    assert 150 < sum(corner > 0 for corner in fixed) < 250


@pytest.mark.reference
@pytest.mark.parametrize(("sw2", "sb2"), [(1.76, 0.05), (1.3, 0.05), (2.5, 0.05), (4.0, 0.3)])
def test_fixed_point_of_tanh_is_scipys(kata, sw2, sb2):
    from scipy import integrate, optimize

    def mean(g, q):
        def weighted(z):
            return g(math.sqrt(q) * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return integrate.quad(weighted, -12, 12, epsabs=1e-12)[0]

    q = optimize.brentq(lambda q: sw2 * mean(lambda x: math.tanh(x) ** 2, q) + sb2 - q, 1e-3, 50, xtol=1e-12)
    chi = sw2 * mean(lambda x: (1 - math.tanh(x) ** 2) ** 2, q)
    assert kata.variance_map(sw2, sb2, torch.tanh) == pytest.approx((q, chi), rel=1e-6)
    if sw2 == 1.76:
        assert chi == pytest.approx(1.000, abs=5e-4)  # the edge of chaos


def test_wide_networks_settle_where_the_map_says(kata):
    """30 tanh layers of 1,000 units: the variance of the sums, and the growth of a small difference."""
    q, chi = kata.variance_map(2.5, 0.05, torch.tanh)
    x = drawn(1000, 4)
    pair = torch.stack([x, x + 1e-6 * drawn(1000, 4, seed=1)])
    sums, gaps = [], []
    for layer in range(30):
        w = kata.fill_(torch.empty(1000, 1000, dtype=torch.float64), math.sqrt(2.5 / 1000), generator=seeded(layer))
        h = w @ torch.tanh(pair) + math.sqrt(0.05) * drawn(1000, 1, seed=100 + layer)
        sums.append(h[0].square().mean().item())
        gaps.append((h[1] - h[0]).square().mean().item())
        pair = h
    assert sum(sums[10:]) / 20 == pytest.approx(q, rel=0.05)
    assert (gaps[29] / gaps[9]) ** (1 / 20) == pytest.approx(chi, rel=0.05)


def test_what_is_left_of_a_gradient_behind_50_layers(kata):
    """Xavier supposes f'(0) = 1: sigmoid layers, whose slope is 1/4, leave 1e-32 of it, tanh layers a tenth."""
    left = {}
    for f in (torch.sigmoid, torch.tanh):
        x, generator = drawn(256, 100).requires_grad_(), seeded(3)
        h = x
        for _ in range(50):
            h = f(kata.xavier_(torch.empty(256, 256, dtype=torch.float64), generator=generator) @ h)
        upstream = drawn(*h.shape, seed=4)
        (grad,) = torch.autograd.grad((h * upstream).sum(), x)
        left[f] = (grad.norm() / upstream.norm()).item()
    assert 1e-33 < left[torch.sigmoid] < 1e-31
    assert left[torch.tanh] == pytest.approx(0.12, abs=0.03)


def test_of_zeros_only_the_output_bias_learns(kata):
    """All weights 0 and f(0) = 0: no weight ever gets a gradient, which is worse than one unit."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    for p in net.parameters():
        nn.init.zeros_(p)
    assert kata.distinct_units(net[0].weight, net[0].bias, net[2].weight) == 1
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    x, y = torch.randn(20, 3, generator=seeded()), torch.randn(20, 2, generator=seeded(1))
    for _ in range(20):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
    moved = [name for name, p in net.named_parameters() if p.abs().max() > 0]
    assert moved == ["2.bias"]


def test_lsuv_in_a_real_network(kata):
    """A small convolutional network with weights of any size: every layer's sums have variance 1 afterwards."""
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(150, 10)]
    with torch.no_grad():
        for layer in layers:
            for p in layer.parameters():
                p.mul_(30)
    x = torch.rand(64, 3, 13, 13, generator=seeded())
    kata.lsuv_(layers, x)
    for layer in layers:
        x = layer(x)
        if hasattr(layer, "weight"):
            assert x.var().item() == pytest.approx(1, abs=0.01)


def test_first_loss_with_and_without_the_prior(kata):
    """RetinaNet's bias is -4.595; with one positive in 100 the first loss falls from log 2 to the entropy, 0.056."""
    (bias,) = kata.prior_bias(torch.tensor([10]), total=1000).tolist()
    assert bias == pytest.approx(-4.595, abs=5e-4)
    assert bias == pytest.approx(-math.log((1 - 0.01) / 0.01))
    labels = torch.tensor([1.0] * 10 + [0.0] * 990)
    with_prior = F.binary_cross_entropy_with_logits(torch.full((1000,), bias), labels).item()
    assert with_prior == pytest.approx(0.056, abs=5e-4)
    assert F.binary_cross_entropy_with_logits(torch.zeros(1000), labels).item() == pytest.approx(math.log(2))


WIDE = {"input": (128, 13), "hidden": (128, 128), "output": (11, 128), "bias": (128,)}
BASE = {"input": (16, 13), "hidden": (16, 16), "output": (11, 16), "bias": (16,)}
PACKAGE = {  # what mup 1.0.0 gives for 13 -> 16 -> 16 -> 11 at 8 times the width: multiplier, std, Adam, SGD
    "input": (1, 1, 1, 8),
    "hidden": (1, 8**-0.5, 1 / 8, 1),
    "output": (1 / 8, 1, 1, 8),
    "bias": (1, 1, 1, 8),
}


@pytest.mark.parametrize("role", PACKAGE)
def test_scales_are_those_of_the_package(kata, role):
    got = kata.mup_scales(WIDE[role], BASE[role], role)
    assert [got[key] for key in ("multiplier", "std", "adam", "sgd")] == pytest.approx(PACKAGE[role])


def test_the_package_gives_these_figures():
    """Where it is installed, `pip install --no-deps mup==1.0.0`: it asks for torchvision, which it does not import."""
    mup = pytest.importorskip("mup")

    def network(width):
        return nn.Sequential(nn.Linear(13, width), nn.Linear(width, width), mup.MuReadout(width, 11))

    wide = network(128)
    mup.set_base_shapes(wide, network(16), delta=network(32))
    named = {"input": wide[0].weight, "hidden": wide[1].weight, "output": wide[2].weight, "bias": wide[0].bias}
    for column, make in ((2, mup.MuAdam), (3, mup.MuSGD)):
        groups = make(wide.parameters(), lr=1.0).param_groups
        for role, p in named.items():
            (rate,) = [group["lr"] for group in groups if any(q is p for q in group["params"])]
            assert rate == pytest.approx(PACKAGE[role][column])
    for role in ("input", "hidden", "output"):
        w = named[role]
        deviation = mup.init.normal_(w, 0, 1.0).std().item()
        assert deviation == pytest.approx(PACKAGE[role][1], rel=0.1)
    assert 1 / wide[2].width_mult() == PACKAGE["output"][0]


def changes(kata, width, scaled, rate):
    """How much each layer's output changes in three steps of Adam: mean |change| of its numbers."""
    roles = ("input", "hidden", "output")
    base = {"input": (64, 10), "hidden": (64, 64), "output": (5, 64)}
    shapes = {"input": (width, 10), "hidden": (width, width), "output": (5, width)}
    scales = {role: kata.mup_scales(shapes[role], base[role], role) for role in roles}
    if not scaled:
        scales = {
            role: {"multiplier": 1.0, "adam": 1.0, "std": math.sqrt(base[role][1] / shapes[role][1])} for role in roles
        }
    generator = seeded(5)
    weights = []
    for role in roles:
        std = scales[role]["std"] / math.sqrt(base[role][1])
        weights.append(kata.fill_(torch.empty(shapes[role]), std, generator=generator).requires_grad_())
    groups = [{"params": [w], "lr": rate * scales[role]["adam"]} for role, w in zip(roles, weights, strict=True)]
    optimizer = torch.optim.Adam(groups)
    x, y = torch.randn(32, 10, generator=seeded(6)), torch.randn(32, 5, generator=seeded(7))

    def run():
        outs, h = [], x
        for n, (role, w) in enumerate(zip(roles, weights, strict=True)):
            h = scales[role]["multiplier"] * (h if n == 0 else torch.relu(h)) @ w.T
            outs.append(h)
        return outs

    before = [out.detach() for out in run()]
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(run()[-1], y).backward()
        optimizer.step()
    return [(new - old).abs().mean().item() for old, new in zip(before, run(), strict=True)]


def test_outputs_change_equally_at_any_width(kata):
    """The coordinate check of µP: 16 times the width, the same change in every layer; with standard settings more."""
    narrow, wide = (changes(kata, width, True, 0.01) for width in (64, 1024))
    for small, large in zip(narrow, wide, strict=True):
        assert 0.4 < large / small < 2.5
    narrow, wide = (changes(kata, width, False, 0.01) for width in (64, 1024))
    assert wide[2] / narrow[2] > 4
