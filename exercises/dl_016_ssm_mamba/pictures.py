"""What `ssm_mamba.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 16` prints them."""

import torch


def decay_by_step(module):
    """The factor that a state of a = -1 is multiplied by, for steps of growing length."""
    dt = torch.linspace(0.05, 3, 60, dtype=torch.float64)
    one = torch.ones_like(dt)
    names = ("euler", "bilinear", "zoh")
    return {"x": dt, "series": {name: module.discretize(-one, one, dt, name)[0] for name in names}}


def impulse_response(module):
    """What is left of one input, token after token, for states that forget at different rates."""
    dt = torch.tensor(0.1, dtype=torch.float64)
    series = {}
    for name, a in {"a = -0.5": -0.5, "a = -2": -2.0, "a = -0.5 + 4i": -0.5 + 4.0j}.items():
        dtype = torch.complex128 if isinstance(a, complex) else torch.float64
        a_bar = torch.full((1, 1), a, dtype=dtype).mul(dt).exp()
        one = torch.ones(1, 1, dtype=dtype)
        kernel = module.ssm_kernel(a_bar, one, one * (0.5 if dtype.is_complex else 1.0), 64)
        series[name] = kernel[0]
    return {"x": list(range(64)), "series": series}


def hippo_matrix(module):
    """HiPPO-LegS's A of size 16: below the diagonal and on it, and growing."""
    return module.hippo_legs(16)[0]


def spectra(module):
    """The frequencies that S4D's diagonals start from, the slowest first."""
    kinds = ("lin", "inv", "legs")
    return {"x": list(range(12)), "series": {kind: module.s4d_init(12, kind).imag.sort().values for kind in kinds}}


def remembered(module):
    """What a selective scan keeps of an impulse at token 4, if the steps are long only at the tokens that count."""
    steps = torch.full((1, 48, 1), 0.02, dtype=torch.float64)
    steps[0, [4, 32]] = 3.0
    x = torch.zeros(1, 48, 1, dtype=torch.float64)
    x[0, 4], x[0, 32] = 1.0, -0.5
    one = torch.ones(1, 48, 1, dtype=torch.float64)
    a = -torch.ones(1, 1, dtype=torch.float64)
    selective, _ = module.selective_scan(x, steps, a, one, one)
    steady, _ = module.selective_scan(x, torch.full_like(steps, 0.3), a, one, one)
    return {
        "x": list(range(48)),
        "series": {"input": x.flatten(), "steps by token": selective.flatten(), "one step for all": steady.flatten()},
    }


def decay_mask(module):
    """Mamba-2's scan as attention: what token j gives to token i, with one-hot values and a step that varies."""
    n = 16
    x = torch.eye(n, dtype=torch.float64).reshape(1, n, 1, n)
    dt = torch.full((1, n, 1), 0.25, dtype=torch.float64)
    dt[0, 9] = 2.5
    one = torch.ones(1, n, 1, 1, dtype=torch.float64)
    seen = module.ssd_attention(x, dt, -torch.ones(1, dtype=torch.float64), one, one)[0, :, 0]
    return seen / dt[0, :, 0]


def memory_by_length(module):
    """Numbers that one sequence keeps, by its length, in 32 layers."""
    tokens = [2**i for i in range(6, 18)]
    sizes = {"kv_heads": 8, "head_dim": 128, "d": 8192, "n": 16, "d_conv": 4}
    layouts = {"attention": ["attention"] * 32, "1 in 8": module.hybrid_layout(32), "mamba": ["mamba"] * 32}
    return {
        "x": tokens,
        "series": {
            name: [module.decoding_values(layout, t, **sizes) for t in tokens] for name, layout in layouts.items()
        },
    }
