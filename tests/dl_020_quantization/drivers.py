"""Runs beside the learner's code: makes calibrators and modules from data, and returns data."""

import io

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def there_and_back(module, x, scale, zero, bits, symmetric):
    """What comes back from the codes of x, and the codes."""
    codes = module.quantize(x, scale, zero, bits, symmetric)
    return module.dequantize(codes, scale, zero), codes


def own_round_trip(module, x, options):
    """Scale and zero point that the code chooses for x, and what comes back from its codes with them."""
    scale, zero = module.affine_qparams(x, **options)
    bits, symmetric = options.get("bits", 8), options.get("symmetric", False)
    return scale, zero, module.dequantize(module.quantize(x, scale, zero, bits, symmetric), scale, zero)


def refused(module, name, args, options):
    """Whether a call raises ValueError."""
    try:
        getattr(module, name)(*args, **options)
    except ValueError:
        return True
    return False


def ranges(module, options, batches):
    """The range of a Calibrator after each batch. Each batch is overwritten once it was observed."""
    calibrator = module.Calibrator(**options)
    found = []
    for batch in batches:
        x = batch.clone()
        calibrator.observe(x)
        x.fill_(1e6)
        found.append(calibrator.range())
    return found


def range_of_all(module, options, batches):
    """The range of a Calibrator, asked once, after all batches."""
    calibrator = module.Calibrator(**options)
    for batch in batches:
        calibrator.observe(batch)
    return calibrator.range()


def qparams_of_all(module, options, batches):
    """Scale and zero point after all batches."""
    calibrator = module.Calibrator(**options)
    for batch in batches:
        calibrator.observe(batch)
    return calibrator.qparams()


def early_range(module, method, batches):
    """Whether a Calibrator that saw nothing but empty batches raises ValueError."""
    calibrator = module.Calibrator(method)
    for batch in batches:
        calibrator.observe(batch)
    try:
        calibrator.range()
    except ValueError:
        return True
    return False


def observed_graph(module, method, x, *, meter):
    """A Calibrator observes what autograd made, a middle layer's output; then only the Calibrator lives on."""
    calibrator = module.Calibrator(method)
    leaf = x.clone().requires_grad_()
    with meter:
        calibrator.observe((leaf * 2).tanh())
        calibrator.observe((leaf * 3).tanh())
    meter.kept()
    return calibrator.range()


def faked(module, options, steps):
    """A FakeQuantize through steps (training, x, upstream): of each the result and the gradient of x."""
    fake = module.FakeQuantize(**options)
    return [_pass(fake, *step) for step in steps]


def _pass(fake, training, x, upstream):
    fake.train(training)
    leaf = x.clone().requires_grad_()
    out = fake(leaf)
    (out * upstream).sum().backward()
    return out.detach(), leaf.grad


def faked_without_gradients(module, steps, gradients):
    """What a FakeQuantize makes of steps (training, x) where x requires no gradient; gradients: whether they are on."""
    fake, found = module.FakeQuantize(), []
    with torch.set_grad_enabled(gradients):
        for training, x in steps:
            fake.train(training)
            found.append(fake(x))
    return found


def moved_on(module, options, before, after):
    """A FakeQuantize after `before`, saved to a file and loaded into a new one: what the new one makes of `after`."""
    fake = module.FakeQuantize(**options)
    for step in before:
        _pass(fake, *step)
    file = io.BytesIO()
    torch.save(fake.state_dict(), file)
    file.seek(0)
    fresh = module.FakeQuantize(**options)
    fresh.load_state_dict(torch.load(file))
    return [_pass(fresh, *step) for step in after]


def fake_before_training(module, x):
    """Whether a new FakeQuantize raises ValueError in evaluation mode."""
    fake = module.FakeQuantize().eval()
    try:
        fake(x)
    except ValueError:
        return True
    return False


def stepped(module, x, step, bits, unsigned):
    """`learned_step`, bits and unsigned by position."""
    return module.learned_step(x, step, bits, unsigned)


def stepped_alone(module, x, step, upstream):
    """The gradient of x where the step requires none, and that of the step where x requires none; 4 bits."""
    leaf, size = x.clone().requires_grad_(), step.clone().requires_grad_()
    (module.learned_step(leaf, step, 4) * upstream).sum().backward()
    (module.learned_step(x, size, 4) * upstream).sum().backward()
    return leaf.grad, size.grad


def folded_layer(module, w, weight, bias, x, mean, var, options):
    """The output of the folded layer on x, in training."""
    w_folded, b_folded, *_ = module.fold_batch_norm(w, weight, bias, mean, var, x, **options)
    return x @ w_folded.T + b_folded


def folded(module, tensors, options):
    """What `fold_batch_norm` returns, and which of the running statistics ask for gradients."""
    got = module.fold_batch_norm(*[t.clone().requires_grad_(i < 3) for i, t in enumerate(tensors)], **options)
    return {
        "w": got[0].detach(),
        "b": got[1].detach(),
        "mean": got[2].detach(),
        "var": got[3].detach(),
        "asks for a gradient": [t.requires_grad for t in got[2:]],
    }


class _Floats(TorchDispatchMode):
    """Notes which operators make tensors of floats."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    @classmethod
    def _should_skip_dynamo(cls):
        """Torch's switch to leave the method below unwrapped: its wrapper would import a compiler, 1 s."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, torch.Tensor) and (one.is_floating_point() or one.is_complex()):
                self.seen.add(str(func))
        return out


def integer_operators(module, *args):
    """The result of `integer_linear`, and the operators that made tensors of floats on the way."""
    mode = _Floats()
    with mode:
        out = module.integer_linear(*args)
    return out, sorted(mode.seen)


def nf4_there_and_back(module, x, block, group):
    """x, quantised and back."""
    return module.nf4_dequantize(*module.nf4_quantize(x, block, group), tuple(x.shape), block, group)


def gptq_after(module, first, second):
    """GPTQ of one layer after another: nothing may be left of the first."""
    module.gptq(*first)
    return module.gptq(*second)


def nf4_of_transposed(module, x):
    """The NF4 codes of x transposed, which is not contiguous."""
    return module.nf4_quantize(x.T)[0]
