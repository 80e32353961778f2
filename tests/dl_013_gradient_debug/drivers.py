"""Runs beside the learner's code: builds parameters, models, optimizers from data, and returns data."""

import gc
import types
import warnings
import weakref
from collections import deque
from functools import partial

import torch
from torch import nn


def _parameters(gradients, container="list"):
    """Parameters with these gradients (None: no gradient) and values that are not their gradients.

    Each second one is frozen: it has its gradient all the same.
    """
    made = []
    for i, gradient in enumerate(gradients):
        value = torch.full_like(torch.zeros(3) if gradient is None else gradient, 9.0 + i)
        parameter = nn.Parameter(value, requires_grad=i % 2 == 0)
        parameter.grad = None if gradient is None else gradient.clone()
        made.append(parameter)
    return made, {"list": list, "tuple": tuple, "generator": iter}[container](made)


def norm(module, gradients, container="list"):
    made, given = _parameters(gradients, container)
    value = module.global_grad_norm(given)
    return {"norm": value, "gradients": [p.grad for p in made]}


def clip(module, function, gradients, bound, container="list", **options):
    """`clip_by_norm` or `clip_by_value`, and the gradients seen through views of the memory that was there before."""
    made, given = _parameters(gradients, container)
    before = [p.grad for p in made]
    views = [None if g is None else g.detach() for g in before]
    value = getattr(module, function)(given, bound, **options)
    return {
        "value": value,
        "gradients": views,
        "same_object": [p.grad is g for p, g in zip(made, before, strict=True)],
    }


def refused_clip(module, function, gradients, bound, **options):
    """The classes of the exception that clipping raises, and the gradients after it."""
    made, given = _parameters(gradients)
    raised = []
    try:
        getattr(module, function)(given, bound, **options)
    except NotImplementedError:
        raise
    except Exception as error:
        raised = [kind.__name__ for kind in type(error).__mro__]
    return {"raised": raised, "gradients": [p.grad for p in made]}


class _Tagger(nn.Module):
    """Tokens to class logits: embedding (v, d), hidden layer (h, d), output layer (c, h)."""

    def __init__(self, embedding, hidden, output):
        super().__init__()
        self.embedding = nn.Parameter(embedding.clone())
        self.hidden = nn.Parameter(hidden.clone())
        self.output = nn.Parameter(output.clone())
        self.modes = []  # of each run

    def forward(self, tokens):
        self.modes.append(self.training)
        return torch.tanh(self.embedding[tokens] @ self.hidden.T) @ self.output.T


def accumulate(module, weights, batches, existing=None, training=True, *, meter, **options):
    model = _Tagger(*weights).train(training)
    for parameter, gradient in zip(model.parameters(), existing or [], strict=False):
        parameter.grad = gradient.clone()
    with meter:
        loss = module.accumulate_gradients(model, batches, **options)
    meter.kept(loss, [p.grad for p in model.parameters()])
    graph = bool(getattr(loss, "requires_grad", False))
    return {
        "loss": loss,
        "graph": graph,
        "gradients": [p.grad for p in model.parameters()],
        "modes": model.modes,
        "mode_after": model.training,
    }


def refused_accumulation(module, weights, batches):
    """The classes of the exception, how often the model ran, and the gradients after it."""
    model = _Tagger(*weights)
    raised = []
    try:
        module.accumulate_gradients(model, batches)
    except NotImplementedError:
        raise
    except Exception as error:
        raised = [kind.__name__ for kind in type(error).__mro__]
    return {"raised": raised, "runs": len(model.modes), "gradients": [p.grad for p in model.parameters()]}


class _Network(nn.Module):
    """Layers by index, run in `order`: a layer may run twice, or never. ["again", i] is layer i under a second name."""

    def __init__(self, layers, order=None):
        super().__init__()
        self.layers = nn.ModuleList()
        for kind, *data in layers:
            self.layers.append(self.layers[data[0]] if kind == "again" else _layer(kind, *data))
        self.order = list(range(len(layers))) if order is None else order
        self.modes = []  # of each run

    def forward(self, x):
        self.modes.append(self.training)
        for i in self.order:
            x = self.layers[i](x)
        return x


class _StopError(Exception):
    """Raised by a layer on purpose."""


class _Probe(nn.Module):
    """Passes its input on, and notes how it was run."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def forward(self, x):
        self.notes.append([self.training, torch.is_grad_enabled()])
        return x


class _Fails(nn.Module):
    def forward(self, x):
        raise _StopError


class _Overwrites(nn.Module):
    def forward(self, x):
        return x.fill_(0.5)


def _layer(kind, *data):
    if kind == "linear":
        weight, bias = data
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
        layer.weight.data = weight.clone()
        if bias is not None:
            layer.bias.data = bias.clone()
        return layer
    if kind == "nested":
        return nn.Sequential(*(_layer(*inner) for inner in data))
    if kind == "batchnorm":
        return nn.BatchNorm1d(data[0], dtype=torch.float64)
    simple = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU, "identity": nn.Identity}
    return (simple | {"probe": _Probe, "fails": _Fails, "overwrites": _Overwrites})[kind](*data)


def _hooks(model):
    """How many hooks hang on the modules and parameters of a model."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    tables = [getattr(m, name) for m in model.modules() for name in names]
    tables += [p._backward_hooks for p in model.parameters()]
    tables += [getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters()]
    return sum(len(table) for table in tables if table)


def _stats(monitor):
    return {name: dict(stats) for name, stats in monitor.stats.items()}


def monitor(module, layers, steps, frozen=(), order=None):
    """Play a script on a watched model; "stats" adds the monitor's stats, "replaced" the names whose .grad is new."""
    model = _Network(layers, order)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    watch = module.GradientMonitor(model)
    seen, first = [], {}
    for step, *data in steps:
        if step == "backward":
            x, upstream = data
            (model(x) * upstream).sum().backward()
            for name, parameter in model.named_parameters():
                first.setdefault(name, parameter.grad)
        elif step == "replaced":
            seen.append([name for name, parameter in model.named_parameters() if parameter.grad is not first[name]])
        elif step == "order":
            [model.order] = data
        elif step == "zero":
            model.zero_grad()
        elif step == "scale":
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(data[0])
        elif step == "close":
            watch.close()
        elif step == "stats":
            seen.append(_stats(watch))
    return seen


def monitor_end(module, layers, x, upstream, ending):
    """Hooks before, during and after a watch that ends in one of several ways; two monitors and a foreign hook."""
    model = _Network(layers)
    foreign = []
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: foreign.append(1))
        parameter.register_post_accumulate_grad_hook(lambda parameter: foreign.append(1))
    for layer in model.modules():
        layer.register_forward_hook(lambda *seen: None)
        layer.register_full_backward_hook(lambda *seen: None)
    x = x.clone().requires_grad_()
    other = module.GradientMonitor(model)
    before = _hooks(model)
    if ending == "with":
        with module.GradientMonitor(model) as watch:
            (model(x) * upstream).sum().backward()
    elif ending == "error":
        try:
            with module.GradientMonitor(model) as watch:
                (model(x) * upstream).sum().backward()
                raise _StopError
        except _StopError:
            pass
    else:
        watch = module.GradientMonitor(model)
        (model(x) * upstream).sum().backward()
        watch.close()
        if ending == "twice":
            watch.close()
    after = _hooks(model)
    stats = _stats(watch)
    foreign.clear()
    model.zero_grad()
    (model(3 * x) * upstream).sum().backward()
    return {
        "added": after - before,
        "closed": stats,
        "closed_later": _stats(watch),
        "other_later": _stats(other),
        "foreign": len(foreign) / len(list(model.parameters())),
    }


def monitor_memory(module, layers, x, upstream):
    """Which tensors of a backward pass with create_graph are alive once everybody but the monitor has let go."""
    model = _Network(layers)
    size = model.layers[0].weight.numel()

    def copies():
        gc.collect()
        return sum(type(thing) is torch.Tensor and thing.numel() == size for thing in gc.get_objects())

    before = copies()
    watch = module.GradientMonitor(model)
    activation = model.layers[0](x)
    product = model.layers[1](activation) * upstream
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the reference cycle that zero_grad breaks below
        product.sum().backward(create_graph=True)
    kept = {"activation": weakref.ref(activation), "graph": weakref.ref(product)}
    kept |= {f"gradient of {name}": weakref.ref(p.grad) for name, p in model.named_parameters()}
    del activation, product
    model.zero_grad(set_to_none=True)
    grown = copies() > before
    alive = [name for name, ref in kept.items() if ref() is not None]
    return {"alive": alive or ["a copy of a gradient"] * grown, "stats": _stats(watch)}


def _numbers(holder):
    """How many numbers an object holds in Python's own containers and closures, 8 bytes of text for one."""
    waiting, seen, count = [getattr(holder, "__dict__", {})], set(), 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, float):
            count += 1
        elif isinstance(thing, (str, bytes, bytearray)):
            count += len(thing) // 8
        elif isinstance(thing, types.FunctionType):
            waiting += [thing.__closure__, thing.__defaults__]
        elif isinstance(thing, (dict, list, tuple, set, types.CellType, types.MethodType, partial, deque)):
            waiting += gc.get_referents(thing)
    return count


def monitor_keeps(module, layers, x, upstream, training, closed, *, meter):
    """Three passes under a monitor, and then no gradients: what is measured is what the monitor keeps alive."""
    model = _Network(layers).train(training)
    watch = module.GradientMonitor(model)
    for _ in range(3):
        with meter:
            (model(x) * upstream).sum().backward()
    stats = _stats(watch)
    model.zero_grad(set_to_none=True)
    if closed:
        watch.close()
    meter.kept()
    return stats, _stats(watch), _numbers(watch)


def activations(module, layers, x, order=None, training=(), grad=True, bare=False, **options):
    """The report, and how the model was run: notes of its probes, training flags, grad mode and hooks after it.

    bare: the first layer is the model. grad: whether gradients are on around the call.
    """
    model = _layer(*layers[0]) if bare else _Network(layers, order)
    model.eval()
    for i in training:
        model.layers[i].train()
    for layer in model.modules():
        layer.register_forward_hook(lambda *seen: None)  # somebody else's
    flags, hooks = [m.training for m in model.modules()], _hooks(model)
    with torch.set_grad_enabled(grad):
        try:
            report = module.activation_report(model, x, **options)
        except _StopError:
            report = "stopped"
        grad_after = torch.is_grad_enabled()
    return {
        "report": report,
        "probes": [m.notes for m in model.modules() if isinstance(m, _Probe)],
        "same_mode": flags == [m.training for m in model.modules()],
        "grad_after": grad_after,
        "hooks": _hooks(model) - hooks,
    }


class _Bag(nn.Module):
    """Named parameters with gradients, and nothing else."""

    def __init__(self, values, gradients, frozen):
        super().__init__()
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(value.clone(), requires_grad=name not in frozen))
            gradient = gradients.get(name)
            getattr(self, name).grad = None if gradient is None else gradient.clone()


class _Shrink(torch.optim.Optimizer):
    """Takes a tenth off every parameter, whatever its gradient."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def step(self):
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.mul_(0.9)


def updates(module, values, gradients, optimizer, options, steps=1, frozen=(), held=None):
    """The ratios of each step, and the parameters at the end. held: what the optimizer holds, by default everything."""
    model = _Bag(values, gradients, frozen)
    given = [p for name, p in model.named_parameters() if held is None or name in held]
    made = (_Shrink if optimizer == "Shrink" else getattr(torch.optim, optimizer))(given, **options)
    ratios = [module.update_ratio(model, made) for _ in range(steps)]
    return {"ratios": ratios, "values": dict(model.named_parameters())}


def draw_weights(module, depth, width, scheme, seed):
    """Two stacks drawn one after the other from one generator."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (module.initial_weights(depth, width, scheme, generator) for _ in range(2))
    return {"first": first, "second": second}


def flow_of_leaves(module, x, weights, activation, leaves, **options):
    """The norms for x and weights that require gradients or not, and what these two look like afterwards."""
    x, weights = x.clone().requires_grad_(leaves), weights.clone().requires_grad_(leaves)
    norms = module.gradient_flow(x, weights, activation, **options)
    left, requires = [x.grad, weights.grad], [x.requires_grad, weights.requires_grad]
    return {"norms": norms, "graph": norms.requires_grad, "left": left, "requires_grad": requires}


def _linear(weight, bias):
    return _layer("linear", weight, bias)


def fit(module, weight, bias, stale, batches, lr, momentum):
    model = _linear(weight, bias)
    if stale is not None:
        model.weight.grad, model.bias.grad = (gradient.clone() for gradient in stale)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    losses = module.fit(model, optimizer, iter(batches))
    return {"losses": losses, "weight": model.weight, "bias": model.bias}


def fit_and_validate(module, layers, train, valid, epochs, lr, training):
    model = _Network([*layers, ["probe"]])
    model.train(training)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    history = module.fit_and_validate(model, optimizer, train, valid, epochs)
    modes = [[mode, inner] for mode, (inner, _) in zip(model.modes, model.layers[-1].notes, strict=True)]
    after = [module.training for module in model.modules()]
    return {"history": history, "parameters": list(model.parameters()), "modes": modes, "after": after}


class _Recurrent(nn.Module):
    """h' = tanh(x W + h U), output h' V; x (n, t, d) and state h (n, k)."""

    def __init__(self, into, across, out):
        super().__init__()
        self.into, self.across, self.out = (nn.Parameter(weight.clone()) for weight in (into, across, out))

    def forward(self, x, state):
        states = []
        for step in x.unbind(dim=1):
            state = torch.tanh(step @ self.into + state @ self.across)
            states.append(state)
        return torch.stack(states, dim=1) @ self.out, state


def fit_recurrent(module, weights, chunks, state, lr, training=True, *, meter):
    model = _Recurrent(*weights).train(training)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with meter:
        loss = module.fit_recurrent(model, optimizer, chunks, state)
    meter.kept([p.grad for p in model.parameters()])
    return {"loss": loss, "weights": list(model.parameters())}


def fit_scheduled(module, weight, bias, batches, lr, factors):
    model = _linear(weight, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: factors[k])
    rates = module.fit_scheduled(model, optimizer, scheduler, iter(batches))
    return {"rates": rates, "weight": model.weight, "bias": model.bias}
