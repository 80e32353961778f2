"""Runs beside the learner's code: makes generators, models and optimizers from data, and returns data."""

import torch
from torch import nn


def _generator(seed):
    return torch.Generator().manual_seed(seed)


def _call(module, function, data, generator, options):
    if function == "MixPipeline":
        return module.MixPipeline(**options)(*data, generator)
    if function in ("mixup", "cutmix"):
        return getattr(module, function)(*data, generator, **options)
    return getattr(module, function)(*data, generator=generator, **options)


def one(module, function, *data, seed, **options):
    """One result of a random function."""
    return _call(module, function, data, _generator(seed), options)


def one_under_no_grad(module, function, *data, seed, **options):
    """The same under no_grad."""
    with torch.no_grad():
        return _call(module, function, data, _generator(seed), options)


def choices(module, function, *data, seed, options):
    """One result of a random function for each choice of options."""
    return [_call(module, function, data, _generator(seed), chosen) for chosen in options]


def smoothed_in_turn(module, *, turns):
    """What one pipeline that mixes nothing gives in each turn, read when all is done."""
    pipeline, generator = module.MixPipeline(num_classes=7, prob=0.0), _generator(0)
    return [pipeline(x, labels, generator) for x, labels in turns]


def several(module, function, *data, seed, count, **options):
    """`count` results, stacked, one generator for all."""
    generator = _generator(seed)
    results = [_call(module, function, data, generator, options) for _ in range(count)]
    if isinstance(results[0], tuple):
        return [torch.stack([torch.as_tensor(r[i]) for r in results]) for i in range(len(results[0]))]
    return torch.stack(results)


def drawn(module, function, *data, generator, **options):
    """One result of a random function, from this generator."""
    return _call(module, function, data, generator, options)


def rates(module, *data):
    """`drop_path_schedule`, and the types of its entries."""
    found = module.drop_path_schedule(*data)
    return found, [type(rate).__name__ for rate in found]


def boxes(module, height, width, lams):
    """`cutmix_box` for every λ and every centre: ([top, bottom, left, right] of each, λ' of each)."""
    found, left = [], []
    for lam in lams:
        for cy in range(height):
            for cx in range(width):
                box, rest = module.cutmix_box(height, width, lam, cy, cx)
                found.append(list(box))
                left.append(rest)
    return found, left


class _Model(nn.Module):
    """A weight with two names, a frozen bias, and buffers: floating, twice; counting; not in the state dict."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(values["weight"].clone())
        self.bias = nn.Parameter(values["bias"].clone(), requires_grad=False)
        self.register_buffer("mean", values["mean"].clone())
        self.register_buffer("count", values["count"].clone())
        self.inner = nn.Module()
        self.inner.tied = self.weight
        self.inner.register_buffer("again", self.mean)
        self.inner.register_buffer("hidden", values["inner.hidden"].clone(), persistent=False)


def _held(model):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def average(module, values, training=True, **options):
    """ModelEMA of a model that holds values[0], then updated with values[1], ...; what it holds after each."""
    model = _Model(values[0]).train(training)
    gradient = model.weight.grad = torch.ones_like(model.weight)
    ema = module.ModelEMA(model, **options)
    mine = {t.data_ptr() for t in (*model.parameters(), *model.buffers())}
    tensors = [*ema.module.parameters(), *ema.module.buffers()]
    pointers = [t.data_ptr() for t in tensors]
    report = {"held": [_held(ema.module)], "updates": [ema.updates], "left_alone": True}
    for value in values[1:]:
        with torch.no_grad():
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                tensor.copy_(value[name])
        ema.update(model)
        report["held"].append(_held(ema.module))
        report["updates"].append(ema.updates)
        report["left_alone"] &= all(torch.equal(tensor, value[name]) for name, tensor in _held(model).items())
    after = [*ema.module.parameters(), *ema.module.buffers()]
    report["gradient_kept"] = model.weight.grad is gradient and bool((gradient == 1).all())
    report["shared"] = bool(mine & set(pointers))
    report["in_place"] = [t.data_ptr() for t in after] == pointers and all(map(_same, after, tensors))
    report["modes"] = [part.training for part in ema.module.modules()]
    report["model_modes"] = [part.training for part in model.modules()]
    report["requires_grad"] = [t.requires_grad for t in after]
    report["model_requires_grad"] = [t.requires_grad for t in model.parameters()]
    return report


def average_keeps(module, values, training, grad, updates, *, meter):
    """What an update leaves alive. grad: whether the model's own tensors carry a graph, and gradients are on."""
    model = _Model(values).train(training)
    ema = module.ModelEMA(model)
    if grad:
        model.mean = model.weight * 1.0  # a buffer that a pass has written, as a running mean may be
        model.inner.again = model.mean
    with meter, torch.set_grad_enabled(grad):
        for _ in range(updates):
            ema.update(model)
    meter.kept(dict(ema.module.named_buffers()))
    return {"updates": ema.updates, "weight": ema.module.weight.detach().clone()}


def _same(a, b):
    return a is b


class _StopException(Exception):
    """Raised by a closure on purpose."""


class _StopKeyboardInterrupt(KeyboardInterrupt):
    """Raised by a closure on purpose, as if somebody stopped the training."""


def sam(module, weights, slopes, rates, steps=1, momentum=0.0, fail="", stale=None, decay=0.0, frozen=False, **options):
    """`sam_step` on sum(slope · sin(weight)), each weight in a group of its own, with a rate of its own.

    A weight whose slope is None is not in the loss (and, if frozen, needs no gradient). stale: gradients from before
    the first step. fail: what kind of error the second call of closure raises.
    """
    made = [nn.Parameter(w.clone(), not (frozen and s is None)) for w, s in zip(weights, slopes, strict=True)]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(made, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, weight_decay=decay)
    for p, gradient in zip(made, stale or [], strict=False):
        p.grad = None if gradient is None else gradient.clone()
    seen, losses, graphs, raised, made_steps = [], [], [], [], []
    optimizer.register_step_post_hook(lambda *_: made_steps.append(len(seen)))

    def closure():
        seen.append([p.detach().clone() for p in made])
        if fail and len(seen) == 2:
            raise {"Exception": _StopException, "KeyboardInterrupt": _StopKeyboardInterrupt}[fail]
        return sum((slope * p.sin()).sum() for p, slope in zip(made, slopes, strict=True) if slope is not None)

    for _ in range(steps):
        try:
            loss = module.sam_step(closure, optimizer, **options)
        except NotImplementedError:
            raise
        except (Exception, _StopKeyboardInterrupt) as error:
            raised = [kind.__name__ for kind in type(error).__mro__]
            break
        losses.append(loss)
        graphs.append(loss.requires_grad)
    return {
        "seen": seen,
        "weights": [p.detach().clone() for p in made],
        "losses": losses,
        "graphs": graphs,
        "raised": raised,
        "steps": made_steps,
    }


def sam_keeps(module, weights, rates, steps, momentum, *, meter):
    """What steps on sum(sin(weight)) leave alive, beside gradients and the optimizer's state; and the weights."""
    made = [nn.Parameter(w.clone()) for w in weights]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(made, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum)
    with meter:
        losses = [module.sam_step(lambda: sum(p.sin().sum() for p in made), optimizer) for _ in range(steps)]
    meter.kept(losses, [p.grad for p in made], [list(optimizer.state[p].values()) for p in made])
    return {"weights": [p.detach() for p in made], "losses": losses}


def usable(module, questions):
    """`usable_regularizers` for each (facts, options)."""
    return [module.usable_regularizers(facts, **options) for facts, options in questions]
