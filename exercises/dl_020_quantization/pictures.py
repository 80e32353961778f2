"""What `quantization.py` makes, as pictures: run beside it, from inputs of their own (`grader picture 20`)."""

import torch

INPUTS, OUTPUTS, SEEN = 48, 32, 192


def _layer():
    """Weights, and correlated inputs of which a few columns are large."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(OUTPUTS, INPUTS, generator=generator, dtype=torch.float64)
    mix = torch.randn(INPUTS, INPUTS, generator=generator, dtype=torch.float64) / INPUTS**0.5
    x = torch.randn(SEEN, INPUTS, generator=generator, dtype=torch.float64) @ (mix + 0.5 * torch.eye(INPUTS))
    x[:, ::12] *= 6
    return x, w


def error_by_bits(module):
    """How far a layer's outputs are off, by the bits of its weights, for four ways to round them."""
    x, w = _layer()
    exact = x @ w.T
    bits = list(range(2, 9))
    series = {"one scale": [], "a scale a row": [], "AWQ": [], "GPTQ": []}
    for n in bits:
        scale, zero = module.affine_qparams(w, n)
        row, shift = module.affine_qparams(w, n, axis=0)
        s = module.awq_scales(x, w, n)
        of_awq = module.affine_qparams(w * s, n, axis=0)
        found = {
            "one scale": module.dequantize(module.quantize(w, scale, zero, n), scale, zero),
            "a scale a row": module.dequantize(module.quantize(w, row, shift, n), row, shift),
            "AWQ": module.dequantize(module.quantize(w * s, *of_awq, n), *of_awq) / s,
            "GPTQ": module.dequantize(module.gptq(w, x, row, shift, n), row, shift),
        }
        for name, back in found.items():
            series[name].append(((x @ back.T - exact).norm() / exact.norm()).item())
    return {"x": bits, "series": series}


def ranges_of_methods(module):
    """The range that each method chooses for 4,096 activations in 4 bits, of which a few are far out."""
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(1024, generator=generator) for _ in range(4)]
    for n, batch in enumerate(batches):
        batch[:2] = torch.tensor([5.0 + 3 * n, -4.0 - n])
    widths = {}
    for method in ("minmax", "moving", "percentile", "least squares"):
        calibrator = module.Calibrator(method, bits=4)
        for batch in batches:
            calibrator.observe(batch)
        low, high = calibrator.range()
        widths[method] = high - low
    return widths


def stairs_and_gradient(module):
    """FakeQuantize in 3 bits with the range -2 to 1.5: what comes out, and the gradient that gets through."""
    fake = module.FakeQuantize(bits=3)
    fake(torch.tensor([-2.0, 1.5]))
    fake.eval()
    x = torch.linspace(-3, 3, 121, requires_grad=True)
    out = fake(x)
    out.sum().backward()
    return {"x": x.detach(), "series": {"x": x.detach(), "result": out.detach(), "gradient": x.grad}}


def smoothed_columns(module):
    """The largest magnitude of each column of x and of w, before and after smoothing."""
    generator = torch.Generator().manual_seed(2)
    x, w = torch.randn(128, 24, generator=generator), 0.2 * torch.randn(32, 24, generator=generator)
    x[:, 5] *= 20
    x[:, 17] *= 8
    s = module.smooth_scales(x, w)
    series = {
        "x": x.abs().amax(0),
        "w": w.abs().amax(0),
        "x / s and w · s": (x / s).abs().amax(0),
    }
    return {"x": list(range(24)), "series": series}


def levels_of_four_bits(module):
    """The 16 levels of NF4 beside 16 that are evenly spaced."""
    return {"x": list(range(16)), "series": {"NF4": module.normal_float(), "even": torch.linspace(-1, 1, 16)}}
