"""What `sequence_conv.py` makes, as pictures: run beside it, from own inputs. `grader picture 25` prints them."""

import math

import torch


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def receptive_fields(module):
    """Which steps the last output of a stack of kernel 2 sees, after each layer: by gradients, all weights 1."""
    dilations, rows, t = [1, 2, 4, 8], [], 20
    for depth in range(1, len(dilations) + 1):
        x = torch.ones(1, 1, t, requires_grad=True)
        y = x
        for dilation in dilations[:depth]:
            y = module.causal_convolution(y, torch.ones(1, 1, 2), None, dilation)
        y[0, 0, -1].backward()
        rows.append(x.grad[0, 0])
    names = [f"{depth} layers" if depth > 1 else "1 layer" for depth in range(1, len(dilations) + 1)]
    return {"values": torch.stack(rows), "rows": names, "columns": [str(n - t + 1) for n in range(t)]}


def fields_by_depth(module):
    """How many steps one output sees, by depth: without dilation, with it, and a TCN's two convolutions a level."""
    depths = list(range(1, 11))
    double = [2**n for n in range(10)]

    def field(of):
        return [module.receptive_field([3] * len(of(n)), of(n), [1] * len(of(n))) for n in depths]

    series = {
        "dilation 1": field(lambda n: [1] * n),
        "dilations 1, 2, 4 ...": field(lambda n: double[:n]),
        "a TCN: two convolutions a level": field(lambda n: [d for d in double[:n] for _ in range(2)]),
    }
    return {"x": depths, "series": series}


def what_a_block_sees(module):
    """How much each output of one TCNBlock depends on each step: a triangle of taps, nothing above the diagonal."""
    torch.manual_seed(0)
    block, t = module.TCNBlock(1, 1, kernel=3, dilation=2), 14
    with torch.no_grad():
        for value in block.parameters():
            value.abs_().add_(0.1)
    x = torch.rand(1, 1, t, generator=_seeded(1), requires_grad=True)
    y = block(x)[0, 0]
    rows = [torch.autograd.grad(one, x, retain_graph=True)[0][0, 0] for one in y]
    return {"values": torch.stack(rows), "rows": [f"y {n}" for n in range(t)], "columns": [f"x {n}" for n in range(t)]}


def steps_of_the_codes(module):
    """The error of a round trip through 256 codes, by how loud the sample is: mu-law and equal steps."""
    x = torch.logspace(-4, 0, 120, dtype=torch.float64)
    back = module.mu_law_inverse(module.mu_law(x))
    equal = ((x + 1) / 2 * 255 + 0.5).floor() / 255 * 2 - 1
    smooth = torch.ones(1, 1, 15, dtype=torch.float64) / 15

    def error(y):
        return torch.conv1d(((y - x).abs() / x)[None, None], smooth)[0, 0]

    return {"x": x[7:-7], "series": {"mu-law": error(back), "equal steps": error(equal)}}


def waves(module):
    """Samples that a small WaveNet gives after a few steps of training on a sine, drawn with u = 1/2 each time."""
    torch.manual_seed(0)
    wave = 0.8 * torch.sin(torch.arange(64) * 2 * math.pi / 16)
    codes = module.mu_law(wave, 15)[None]
    model = module.WaveNet(symbols=16, channels=8, skip=16, kernel=2, dilations=[1, 2, 4])
    speed = [torch.zeros_like(value) for value in model.parameters()]
    for _ in range(50):
        loss = torch.nn.functional.cross_entropy(model(codes)[0], codes[0])
        slopes = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        with torch.no_grad():
            for value, slope, v in zip(model.parameters(), slopes, speed, strict=True):
                if slope is not None:  # the last layer's way on leads nowhere
                    value.sub_(v.mul_(0.9).add_(slope), alpha=0.05)
    drawn = module.fast_generate(model, codes[:, :9], torch.full((1, 39), 0.5))
    return {
        "x": list(range(48)),
        "series": {"it learnt": wave[:48], "it draws, from step 9 on": module.mu_law_inverse(drawn[0], 15)},
    }


def state_by_field(module):
    """The numbers that a stream carries, by how many steps it sees: width 64."""
    levels = list(range(1, 11))
    fields = [1 + 4 * (2**n - 1) for n in levels]

    def state(kind, **more):
        return module.streaming_cost(kind, 64, **more)["state"]

    return {
        "x": fields,
        "series": {
            "TCN, kernel 3": [state("tcn", kernel=3, levels=n) for n in levels],
            "LSTM": [state("lstm") for _ in levels],
            "attention": [state("attention", seen=field - 1) for field in fields],
        },
    }
