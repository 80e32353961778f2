"""A few examples, worked by hand: run them with `pytest exercises/dl_016_ssm_mamba/test_examples.py`."""

import math

import pytest
import torch
from ssm_mamba import (
    MambaBlock,
    associative_scan,
    chunked_scan,
    decoding_values,
    discretize,
    hippo_legs,
    hybrid_layout,
    initial_dt_bias,
    s4d_init,
    selective_scan,
    ssd,
    ssd_attention,
    ssm_convolution,
    ssm_kernel,
    ssm_recurrence,
)


def channel(*values):
    """One sequence of one channel: (1, l, 1)."""
    return torch.tensor(values).reshape(1, -1, 1)


def test_four_rules_for_one_state():
    # a = -2, b = 3, dt = 1/2, so dt a = -1.
    a, b, dt = torch.tensor([-2.0]), torch.tensor([3.0]), torch.tensor(0.5)
    for method, a_bar, b_bar in [
        ("euler", 0.0, 1.5),
        ("bilinear", 1 / 3, 1.0),
        ("zoh", math.exp(-1), 1.5 * (1 - math.exp(-1))),
        ("mamba", math.exp(-1), 1.5),
    ]:
        assert [x.item() for x in discretize(a, b, dt, method)] == pytest.approx([a_bar, b_bar], abs=1e-6)
    assert discretize(0 * a, b, dt, "zoh")[1].item() == pytest.approx(1.5)


def test_recurrence_of_three_tokens():
    # States 2, 1 + 4 = 5, 2.5 + 0 = 2.5, read out times 10.
    a, b, c = torch.tensor([[0.5]]), torch.tensor([[2.0]]), torch.tensor([[10.0]])
    y, state = ssm_recurrence(a, b, c, channel(1.0, 2.0, 0.0))
    assert y.flatten().tolist() == pytest.approx([20.0, 50.0, 25.0])
    assert state.shape == (1, 1, 1)


def test_the_same_as_a_convolution():
    kernel = ssm_kernel(torch.tensor([[0.5]]), torch.tensor([[2.0]]), torch.tensor([[10.0]]), 3)
    assert kernel.tolist() == [pytest.approx([20.0, 10.0, 5.0])]
    assert ssm_convolution(kernel, channel(1.0, 2.0, 0.0)).flatten().tolist() == pytest.approx([20.0, 50.0, 25.0])


def test_hippo_of_size_three():
    A, B = hippo_legs(3)
    assert B.square().tolist() == pytest.approx([1.0, 3.0, 5.0])
    assert A.diagonal().tolist() == pytest.approx([-1.0, -2.0, -3.0])
    assert A[2, 1].item() == pytest.approx(-math.sqrt(15))
    assert A[1, 2].item() == 0


def test_diagonals():
    assert s4d_init(3, "real").tolist() == [-1.0, -2.0, -3.0]
    assert s4d_init(2, "lin")[1].item() == pytest.approx(-0.5 + math.pi * 1j)
    # Size 2: A + P P^T is [[-1/2, √3/2], [-√3/2, -1/2]].
    assert s4d_init(1, "legs").item() == pytest.approx(-0.5 + math.sqrt(3) / 2 * 1j)


@pytest.mark.parametrize("scan", [selective_scan, chunked_scan])
def test_scan_with_a_step_for_each_token(scan):
    # Decays exp(-ln 2) = 1/2 and exp(-2 ln 2) = 1/4; inputs dt B x.
    dt = math.log(2) * channel(1.0, 2.0)
    y, state = scan(channel(1.0, 1.0), dt, torch.tensor([[-1.0]]), channel(1.0, 3.0), channel(1.0, 1.0), torch.ones(1))
    first, second = math.log(2), math.log(2) / 4 + 6 * math.log(2)
    assert y.flatten().tolist() == pytest.approx([first + 1, second + 1])
    assert state.item() == pytest.approx(second)


def test_scan_from_a_state():
    # The state of 4 decays by exp(-ln 2) = 1/2, and nothing comes in: y = 3 · 2.
    dt, state = math.log(2) * channel(1.0), torch.full((1, 1, 1), 4.0)
    y, state = selective_scan(channel(0.0), dt, torch.tensor([[-1.0]]), channel(1.0), channel(3.0), state=state)
    assert (y.item(), state.item()) == pytest.approx((6.0, 2.0))


def test_scan_by_joins():
    a, b = torch.tensor([[7.0, 2.0, 0.0, 3.0, -1.0]]), torch.tensor([[1.0, 1.0, 4.0, 1.0, 2.0]])
    assert associative_scan(a, b).tolist() == [[1.0, 3.0, 4.0, 13.0, -11.0]]


def test_steps_to_start_from():
    steps = torch.nn.functional.softplus(initial_dt_bias(500))
    assert 0.00099 < steps.min() < steps.max() < 0.101


def test_block_generates_what_it_reads():
    torch.manual_seed(0)
    block, x = MambaBlock(dim=4, d_state=3), torch.randn(2, 5, 4)
    assert block.A_log.exp()[0].tolist() == pytest.approx([1.0, 2.0, 3.0])
    want, _ = block(x)
    _, state = block(x[:, :4])
    y, state = block.step(x[:, 4], state)
    torch.testing.assert_close(y, want[:, 4])
    assert [each.shape for each in state] == [(2, 3, 8), (2, 8, 3)]


def test_duality_by_hand():
    # One head of width 1. Decays 1/2: the mask is 1 · 1/2 1 · 1/4 1/2 1; scores C_i B_j = 1; values dt x = ln 2 · x.
    x, ones = torch.tensor([4.0, 2.0, 1.0]).reshape(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    dt, A = torch.full((1, 3, 1), math.log(2)), torch.tensor([-1.0])
    want = pytest.approx([4 * math.log(2)] * 2 + [3 * math.log(2)])
    assert ssd_attention(x, dt, A, ones, ones).flatten().tolist() == want
    y, state = ssd(x, dt, A, ones, ones, chunk=2)
    assert y.flatten().tolist() == want
    assert state.item() == pytest.approx(3 * math.log(2))


def test_hybrids():
    layout = hybrid_layout(8)
    assert [i for i, layer in enumerate(layout) if layer == "attention"] == [4]
    # One attention layer: 2 · 10 · 2 · 3. Seven Mamba layers: 5 · (4 + 2).
    assert decoding_values(layout, 10, kv_heads=2, head_dim=3, d=5, n=4, d_conv=3) == 120 + 7 * 30
