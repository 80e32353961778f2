"""Runs beside the learner's code: makes models, layers and forecasters from data, and returns data."""

import torch


def pinball_gradient(module, target, quantiles, levels):
    """pinball_loss and its gradient by the quantiles."""
    quantiles = quantiles.clone().requires_grad_()
    loss = module.pinball_loss(target, quantiles, levels)
    loss.backward()
    return {"loss": loss.detach(), "gradient": quantiles.grad}


def drawn_counts(module, mean, alpha, *, generator):
    """draw_counts, of a mean that asks for a gradient, and whether something was recorded."""
    counts = module.draw_counts(mean.clone().requires_grad_(), alpha, generator=generator)
    return {"counts": counts.detach(), "recorded": bool(counts.requires_grad)}


def counts_alone(module, mean, alpha, *, generator):
    """draw_counts."""
    return module.draw_counts(mean, alpha, generator=generator)


def counts_twice(module, mean, alpha, seed):
    """Two draws from one generator, read when both are done."""
    generator = torch.Generator().manual_seed(seed)
    return [module.draw_counts(mean, alpha, generator=generator) for _ in range(2)]


def counts_from(module, mean, alpha, seed):
    """The same from a generator of this seed."""
    return drawn_counts(module, mean, alpha, generator=torch.Generator().manual_seed(seed))


def _filled(layer, state):
    """A layer with these parameters, in their dtype: in training mode in float64, in eval mode in float32."""
    dtype = next(iter(state.values())).dtype
    layer = layer.to(dtype).train(dtype == torch.float64)
    layer.load_state_dict(state, strict=False)  # a mask kept as a buffer is no fault
    return layer


def _deepar(module, state):
    layers = sum(name.startswith("lstm.weight_ih") for name in state)
    hidden, inputs = state["mean_head.weight"].shape[1], state["lstm.weight_ih_l0"].shape[1]
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their first parameters from the global state
        model = module.DeepAR(inputs - 1, hidden, layers)
    return _filled(model, state)


def scales(module, state, past):
    """The scale of each series."""
    return _deepar(module, state).scale(past).detach()


def scales_in_turn(module, state, *, turns):
    """The scales that one model gives, read when all is done."""
    model = _deepar(module, state)
    return [model.scale(past) for (past,) in turns]


def laws(module, state, past, future, covariates):
    """What the model says with teacher forcing."""
    with torch.no_grad():
        mean, alpha = _deepar(module, state)(past, future, covariates)
    return {"mean": mean, "alpha": alpha}


def laws_in_turn(module, state, rows):
    """What one model says of several inputs, one after the other."""
    model = _deepar(module, state)
    with torch.no_grad():
        return [model(past, future, covariates) for past, future, covariates in rows]


def losses_in_turn(module, state, rows):
    """The losses of several inputs, one after the other, by one model, under no_grad."""
    model = _deepar(module, state)
    with torch.no_grad():
        return [model.loss(*row) for row in rows]


def in_turn(module, name, state, sizes, rows):
    """What one layer makes of several inputs, one after the other, under no_grad."""
    layer = _filled(getattr(module, name)(*sizes), state)
    with torch.no_grad():
        return [layer(*row) for row in rows]


def law_of_outputs(module, state, out, scale):
    """Mean and shape that the heads give."""
    with torch.no_grad():
        return _deepar(module, state).law(out, scale)


def training_loss(module, state, past, future, covariates):
    """The loss and its gradients, by the name of the parameter."""
    model = _deepar(module, state)
    loss = model.loss(past, future, covariates)
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters()}}


def paths(module, state, past, covariates, count, *, generator):
    """Sample paths."""
    return module.sample_paths(_deepar(module, state), past, covariates, count, generator=generator)


def paths_from(module, state, past, covariates, count, seed, training=True):
    """Sample paths from a generator of this seed, and what they left behind."""
    model = _deepar(module, state).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = set(vars(model))
    out = module.sample_paths(model, past, covariates, count, generator=torch.Generator().manual_seed(seed))
    after = model.state_dict()
    return {
        "paths": out.detach(),
        "recorded": bool(out.requires_grad),
        "changed": [name for name, value in before.items() if not torch.equal(value, after[name])],
        "held": sorted(set(vars(model)) - held),
        "training": model.training,
        "asks": all(p.requires_grad and p.grad is None for p in model.parameters()),
    }


def two_calls(module, state, past, covariates, count, seed):
    """Two calls with one model and one generator, stacked."""
    model, generator = _deepar(module, state), torch.Generator().manual_seed(seed)
    return torch.stack([module.sample_paths(model, past, covariates, count, generator=generator) for _ in range(2)])


def paths_in_turn(module, state, pasts, covariates, count, seed):
    """Sample paths of several pasts, one after the other, from one model."""
    model, generator = _deepar(module, state), torch.Generator().manual_seed(seed)
    return [module.sample_paths(model, past, covariates, count, generator=generator) for past in pasts]


def paths_cost(module, state, past, covariates, count, seed, *, meter):
    """What sample paths cost."""
    model, generator = _deepar(module, state), torch.Generator().manual_seed(seed)
    with meter:
        return module.sample_paths(model, past, covariates, count, generator=generator)


def _grn(module, state):
    hidden, inputs = state["fc1.weight"].shape
    outputs = len(state["norm.weight"])
    context = state["context.weight"].shape[1] if "context.weight" in state else 0
    return _filled(module.GatedResidualNetwork(inputs, hidden, outputs, context), state)


def gated(module, state, x, context=None):
    """A gated residual network of x."""
    return _grn(module, state)(x, context)


def _selection(module, state, v, d):
    name = "weight_grn.context.weight"
    context = state[name].shape[1] if name in state else 0
    return _filled(module.VariableSelection(v, d, context), state)


def selected(module, state, x, context=None, mask=None):
    """Output and weights of a variable selection."""
    return _selection(module, state, *x.shape[2:])(x, context, mask)


def selected_gradients(module, state, x, context, mask, upstream):
    """The gradients of the output, by x, by the context and by each parameter."""
    layer = _selection(module, state, *x.shape[2:])
    x, context = x.clone().requires_grad_(), context.clone().requires_grad_()
    out, _ = layer(x, context, mask)
    (out * upstream).sum().backward()
    return {"x": x.grad, "context": context.grad, **{name: p.grad for name, p in layer.named_parameters()}}


def attended(module, state, heads, x):
    """Output and weights of an interpretable attention."""
    return _filled(module.InterpretableAttention(x.shape[2], heads), state)(x)


def attended_in_turn(module, state, heads, rows):
    """Outputs and weights of one layer, one input after the other."""
    layer = _filled(module.InterpretableAttention(rows[0].shape[2], heads), state)
    return [layer(x) for x in rows]


def attended_cost(module, state, heads, x, *, meter):
    """What its output costs."""
    layer = _filled(module.InterpretableAttention(x.shape[2], heads), state)
    if not x.requires_grad:
        layer.requires_grad_(False)
    with meter:
        return layer(x)[0]


def _last(past, horizon):
    return past[:, -1:].expand(-1, horizon)


def _hair(past, horizon):
    return _last(past, horizon) + 1e-7


def _mean(past, horizon):
    return past.mean(dim=1, keepdim=True).expand(-1, horizon)


def _drift(past, horizon):
    slope = (past[:, -1:] - past[:, :1]) / (past.shape[1] - 1)
    return past[:, -1:] + slope * torch.arange(1, horizon + 1)


def _line(past, horizon):
    times = torch.arange(past.shape[1] + horizon, dtype=past.dtype)
    columns = torch.stack([torch.ones_like(times), times], dim=1)
    weights = torch.linalg.lstsq(columns[:-horizon].expand(len(past), -1, -1), past[..., None]).solution
    return (columns[-horizon:] @ weights)[..., 0]


FORECASTERS = {"last": _last, "last again": _last, "a hair above": _hair, "mean": _mean, "drift": _drift, "line": _line}


def chosen(module, series, names, origins, horizon, season):
    """Who is chosen of these forecasters, the scores in their order, and which pasts each was shown."""
    shown = {name: [] for name in names}

    def told(name):
        def forecaster(past, steps):
            shown[name].append([past.detach().clone(), steps])
            return FORECASTERS[name](past, steps)

        return forecaster

    given = {n: told(n) for n in names}
    best, scores = module.choose_forecaster(series, given, origins, horizon, *season)
    told_scores = [[name, score] for name, score in scores.items()]
    return {"best": best, "scores": told_scores, "shown": shown, "given": list(given)}
