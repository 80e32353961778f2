"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch


def _made(module, name, args, state, dtype, training=False):
    """A module with these parameters."""
    one = getattr(module, name)(*args).to(dtype).train(training)
    own = dict(one.named_parameters())
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
    return one


def names(module, name, args):
    """The names of a new module's parameters and their shapes."""
    return {key: list(value.shape) for key, value in getattr(module, name)(*args).named_parameters()}


def through(module, name, args, state, x, upstreams, training):
    """What a module makes of x, also under no_grad, and the gradients of all parameters and of x, if not int64."""
    dtype = upstreams[0].dtype
    one = _made(module, name, args, state, dtype, training)
    floating = x.dtype == dtype
    x = x.requires_grad_() if floating else x
    out = one(x)
    with torch.no_grad():
        quiet = one(x.detach())
    outs, quiet = (list(value) if isinstance(value, tuple | list) else [value] for value in (out, quiet))
    sum((y * g).sum() for y, g in zip(outs, upstreams, strict=True)).backward()
    grads = {key: value.grad for key, value in one.named_parameters()} | ({"x": x.grad} if floating else {})
    return {"out": [y.detach() for y in outs], "quiet": quiet, "grads": grads}


def turns(module, name, cases, training=False):
    """Outputs of each call: a module of each size, kept, that gets other parameters before each; they stay alive."""
    outs, made = [], {}
    for args, state, x in cases:
        if args not in made:
            made[args] = _made(module, name, args, {}, torch.float64, training).to(next(iter(state.values())).dtype)
        own = dict(made[args].named_parameters())
        with torch.no_grad():
            for key, value in state.items():
                own[key].copy_(value)
            outs.append(made[args](x))
    return outs


def convolved_by_one(module, x, weight, bias, dilation, upstream, which):
    """The gradient of causal_convolution by one of x, weight and bias, where the others require none."""
    values = [x.clone(), weight.clone(), bias.clone()]
    values[which].requires_grad_()
    (module.causal_convolution(*values, dilation) * upstream).sum().backward()
    return values[which].grad


def dropped(module, args, state, x, training, calls, seed):
    """The outputs of many calls of one TCNBlock."""
    one = _made(module, "TCNBlock", args, state, x.dtype, training)
    torch.manual_seed(seed)
    with torch.no_grad():
        return torch.stack([one(x) for _ in range(calls)])


def statistics(module, args, state, x, training):
    """The running statistics of a ConvolutionModule before, and after a call, with what came out before and after."""
    one = _made(module, "ConvolutionModule", args, state, x.dtype, training)
    norm = one.batch_norm
    with torch.no_grad():
        norm.running_mean.copy_(torch.linspace(-1, 1, len(norm.running_mean)))
        norm.running_var.copy_(torch.linspace(0.5, 2, len(norm.running_var)))
        before = [norm.running_mean.clone(), norm.running_var.clone()]
        return {"out": one(x), "before": before, "after": [norm.running_mean.clone(), norm.running_var.clone()]}


def generated(module, args, states, prompts, uniforms):
    """fast_generate of one model that gets other parameters between the calls."""
    outs, one = [], module.WaveNet(*args).to(uniforms[0].dtype)
    own = dict(one.named_parameters())
    for state, prompt, u in zip(states, prompts, uniforms, strict=True):
        with torch.no_grad():
            for key, value in state.items():
                own[key].copy_(value)
        outs.append(module.fast_generate(one, prompt, u))
    return outs


def left_alone(module, args, state, prompt, u, training):
    """How fast_generate leaves its model, and torch's grad mode, where autograd is on."""
    one = _made(module, "WaveNet", args, state, u.dtype, training)
    frozen = one.layers[0].out_bias.requires_grad_(False)
    module.fast_generate(one, prompt, u)
    return {
        "in training mode": [part.training for part in one.modules()],
        "grad mode": torch.is_grad_enabled(),
        "ask for gradients": sum(value.requires_grad for value in one.parameters()),
        "the frozen one asks": frozen.requires_grad,
        "gradients": sum(value.grad is not None for value in one.parameters()),
        "parameters": {key: value.detach().clone() for key, value in one.named_parameters()},
    }


def generation_cost(module, args, state, prompt, u, recording, *, meter):
    """One call of fast_generate, measured; `recording` leaves autograd on."""
    one = _made(module, "WaveNet", args, state, u.dtype)
    with torch.set_grad_enabled(recording), meter:
        out = module.fast_generate(one, prompt, u)
    meter.kept(out)
    return out
