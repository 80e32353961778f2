"""Runs beside the learner's code: makes models and layers from data, and returns data."""

import math

import torch
from torch import nn

DROPOUTS = {
    "plain": nn.Dropout,
    "1d": nn.Dropout1d,
    "2d": nn.Dropout2d,
    "3d": nn.Dropout3d,
    "alpha": nn.AlphaDropout,
    "feature": nn.FeatureAlphaDropout,
}


class _Masked(nn.Dropout):
    """A dropout by another name, deep inside."""


class _AfterDropout(nn.Module):
    """No dropout, in spite of its name and of its p; in training mode it gives something else."""

    p = 0.5

    def forward(self, x):
        return 3 - x if self.training else x


class _Fails(nn.Module):
    """Raises."""

    def forward(self, x):
        raise ArithmeticError("the model broke")


def passes_of(module, x, passes, rate, kind, seed, mode):
    """mc_dropout on one dropout module, in a mode, from a seed of torch's global generator; twice."""
    model = nn.Sequential(DROPOUTS[kind](rate)).train(mode)
    torch.manual_seed(seed)
    first = module.mc_dropout(model, x, passes)
    return {"first": first, "second": module.mc_dropout(model, x, passes), "recorded": bool(first.requires_grad)}


def passes_at_rate_0(module, x, passes):
    """mc_dropout of x squared, with a dropout that drops nothing."""
    return module.mc_dropout(torch.nn.Sequential(torch.nn.Dropout(0.0), _Square()), x, passes)


def passes_in_place(module, x, passes, seed):
    """mc_dropout on a model that begins with a dropout in place, and whether x is what it was."""
    torch.manual_seed(seed)
    given = x.clone()
    out = module.mc_dropout(nn.Sequential(nn.Dropout(0.5, inplace=True), _Square()), given, passes)
    return {"out": out, "left": torch.equal(given, x)}


class _Square(torch.nn.Module):
    def forward(self, x):
        return x.square()


def many_passes(module, x, passes, rate, calls, seed):
    """Many calls, one after the other, stacked."""
    model = nn.Sequential(nn.Dropout(rate))
    torch.manual_seed(seed)
    return torch.stack([module.mc_dropout(model, x, passes) for _ in range(calls)])


def _network(state, rate):
    """Linear, BatchNorm, dropout, and a block of BatchNorm, a dropout of its own class and what only looks like one."""
    w, statistics = state
    block = nn.Sequential(nn.BatchNorm1d(len(w)), nn.ModuleDict({"inner": _Masked(rate)})["inner"], _AfterDropout())
    model = nn.Sequential(nn.Linear(w.shape[1], len(w)), nn.BatchNorm1d(len(w)), nn.Dropout(rate), block)
    model = model.to(w.dtype)
    with torch.no_grad():
        model[0].weight.copy_(w)
        model[0].bias.zero_()
    for norm, (mean, variance) in zip((model[1], block[0]), statistics, strict=True):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    return model


def passes_of_network(module, x, passes, rate, state, modes, seed):
    """mc_dropout on a network whose modules are in the given modes, in turn; and what it left behind."""
    model = _network(state, rate)
    for one, mode in zip(model.modules(), modes, strict=True):
        one.training = mode
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(seed)
    out = module.mc_dropout(model, x, passes)
    after = model.state_dict()
    return {
        "out": out,
        "changed": [name for name, value in before.items() if not torch.equal(value, after[name])],
        "modes": [one.training for one in model.modules()],
        "rates": [one.p for one in model.modules() if isinstance(one, nn.Dropout)],
        "gradients": any(p.grad is not None for p in model.parameters()),
        "asks": all(p.requires_grad for p in model.parameters()),
        "recorded": bool(out.requires_grad),
    }


def modules_of_network(module, state):
    """How many modules that network has."""
    return len(list(_network(state, 0.5).modules()))


def modes_after_failure(module, x, modes):
    """The modes of a model that raises, and the error that came through."""
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(x.shape[1]), _Fails(), nn.Dropout(0.1)).to(x.dtype)
    for one, mode in zip(model.modules(), modes, strict=True):
        one.training = mode
    try:
        module.mc_dropout(model, x, 4)
        raised = ""
    except ArithmeticError as error:
        raised = str(error)
    return {"raised": raised, "modes": [one.training for one in model.modules()]}


def passes_refused(module, passes, rate):
    """mc_dropout with so many passes, of a model with a dropout or (rate None) without."""
    layers = [nn.Linear(3, 2), _AfterDropout(), *([] if rate is None else [nn.Dropout(rate)])]
    return module.mc_dropout(nn.Sequential(*layers), torch.ones(2, 3), passes)


def loss_gradients(module, mean, log_variance, target, beta):
    """heteroscedastic_loss with its gradients."""
    mean, log_variance = mean.clone().requires_grad_(), log_variance.clone().requires_grad_()
    loss = module.heteroscedastic_loss(mean, log_variance, target, *beta)
    loss.backward()
    return {"loss": loss.detach(), "mean": mean.grad, "log_variance": log_variance.grad}


NAMES = ("weight_mean", "weight_rho", "bias_mean", "bias_rho")


def _layer(module, parameters, prior_std=1.0):
    w = parameters[0]
    with torch.random.fork_rng(devices=[]):  # a new layer draws its means from the global state
        layer = module.BayesLinear(w.shape[1], w.shape[0], prior_std).to(w.dtype)
    with torch.no_grad():
        for name, value in zip(NAMES, parameters, strict=True):
            getattr(layer, name).copy_(value)
    return layer


def sampled(module, parameters, x, *, generator, calls=1, training=True):
    """Outputs of a layer, one call after the other, (calls, n, o); in eval mode without gradients."""
    layer = _layer(module, parameters).train(training)
    with torch.set_grad_enabled(training):
        return torch.stack([layer(x, generator=generator).detach() for _ in range(calls)])


def sampled_from(module, parameters, x, seed, calls, training=True):
    """The same from a generator of this seed."""
    generator = torch.Generator().manual_seed(seed)
    return sampled(module, parameters, x, generator=generator, calls=calls, training=training)


def sampled_again(module, parameters, x, seed):
    """Two outputs of one layer, both from generators of this seed, with a call from another one between."""
    layer = _layer(module, parameters)
    outs = [layer(x, generator=torch.Generator().manual_seed(s)).detach() for s in (seed, seed + 1, seed)]
    return outs[0], outs[2]


def slopes_and_noise(module, parameters, x, upstream, seed):
    """An output and the gradients of it by the parameters and by x."""
    layer = _layer(module, parameters)
    x = x.clone().requires_grad_()
    out = layer(x, generator=torch.Generator().manual_seed(seed))
    (out * upstream).sum().backward()
    return {"out": out.detach(), "x": x.grad, **{name: getattr(layer, name).grad for name in NAMES}}


def forward_cost(module, parameters, x, seed, *, meter):
    """What a forward pass costs, of x and parameters that ask for gradients or not."""
    layer = _layer(module, parameters)
    generator = torch.Generator().manual_seed(seed)
    if not x.requires_grad:
        layer.requires_grad_(False)
    with meter:
        return layer(x, generator=generator)


def divergence(module, parameters, prior_std):
    """The KL of a layer, its gradients, and the names of its parameters."""
    layer = _layer(module, parameters, prior_std)
    kl = layer.kl()
    kl.backward()
    names = sorted(name for name, _ in layer.named_parameters())
    return {"kl": kl.detach(), "names": names, **{name: getattr(layer, name).grad for name in NAMES}}


def divergence_in_turn(module, prior_std, *, turns):
    """The KL of one layer with each turn's parameters, read when all is done."""
    layer, told = _layer(module, turns[0], prior_std), []
    for parameters in turns:
        with torch.no_grad():
            for name, value in zip(NAMES, parameters, strict=True):
                getattr(layer, name).copy_(value)
        told.append(layer.kl())
    return [kl.detach() for kl in told]


def elbo_gradients(module, parameters, x, y, noise_std, prior_std, blocks, seed):
    """Gradients of the loss of all data, once a block; x and y hold the data many times over."""
    layer = _layer(module, parameters, prior_std)
    generator = torch.Generator().manual_seed(seed)
    examples, repeats = blocks[1], blocks[2]
    x, y = x.repeat(repeats, 1), y.repeat(repeats, 1)
    drawn = []
    for _ in range(blocks[0]):
        residual = y - layer(x, generator=generator)
        nll = (0.5 * residual.square() / noise_std**2 + math.log(noise_std)).sum(dim=1)
        loss = module.negative_elbo(nll, layer.kl(), examples)
        drawn.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, [getattr(layer, n) for n in NAMES])]))
    return torch.stack(drawn)
