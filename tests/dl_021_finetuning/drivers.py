"""What runs beside the learner's code: makes generators, layers and models from data, and returns data."""

import weakref

import torch
from torch import nn


def _generator(seed):
    return torch.Generator().manual_seed(seed)


# --- random functions -------------------------------------------------------------------------------------------------


def one(module, function, *data, seed, **options):
    """One result of a random function."""
    return getattr(module, function)(*data, generator=_generator(seed), **options)


def several(module, function, *data, seed, count, **options):
    """`count` results, one generator for all; of tuples of tensors each member is stacked."""
    generator = _generator(seed)
    results = [getattr(module, function)(*data, generator=generator, **options) for _ in range(count)]
    if isinstance(results[0], tuple):
        return [torch.stack(members) for members in zip(*results, strict=True)]
    if isinstance(results[0], torch.Tensor):
        return torch.stack(results)
    return results


def drawn(module, function, *data, generator, member=None, **options):
    """One result of a random function, or one member of it, from this generator."""
    result = getattr(module, function)(*data, generator=generator, **options)
    return result if member is None else result[member]


def start_of(module, kind, arguments, names, generator, **options):
    """The parameters that a module draws from this generator."""
    made = _module(module, kind, arguments, generator, options)
    return {name: made.get_parameter(name).detach().clone() for name in names}


def starts(module, kind, arguments, name, seed, count, **options):
    """One parameter of `count` modules, stacked, one generator for all."""
    generator = _generator(seed)
    made = [_module(module, kind, arguments, generator, options) for _ in range(count)]
    return torch.stack([one.get_parameter(name).detach() for one in made])


def _module(module, kind, arguments, generator, options):
    if kind == "LoRALinear":
        weight, *rest = arguments
        return module.LoRALinear(_linear(weight, None), *rest, generator=generator, **options)
    if kind == "Adapter":
        return module.Adapter(nn.Identity(), *arguments, generator=generator, **options)
    return getattr(module, kind)(*arguments, generator=generator, **options)


# --- freeze -----------------------------------------------------------------------------------------------------------


class _Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.linear = nn.Linear(width, width, dtype=torch.float64)
        self.norm = nn.BatchNorm1d(width, dtype=torch.float64)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return torch.tanh(self.drop(self.norm(self.linear(x)))) + self.shift


class _Network(nn.Module):
    """An embedding (5, 4), blocks of width 4 and a head (5, 4), which may be the embedding's own weight."""

    def __init__(self, blocks, tied, seed):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, dtype=torch.float64))
        self.embedding = nn.Embedding(5, 4, dtype=torch.float64)
        self.blocks = nn.ModuleList(_Block(4) for _ in range(blocks))
        self.head = nn.Linear(4, 5, bias=False, dtype=torch.float64)
        if tied:
            self.head.weight = self.embedding.weight
        generator = _generator(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))

    def forward(self, tokens):
        x = self.embedding(tokens) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _standing(model):
    return {
        "trainable": [name for name, p in model.named_parameters() if p.requires_grad],
        "training": [name for name, m in model.named_modules() if m.training],
    }


def freezing(module, calls, blocks=2, tied=False, training=True):
    """For each list of names: what stands after `freeze`, the names of what it returned, whether values are kept.

    None between two lists stands for a `model.train(training)`.
    """
    model = _Network(blocks, tied, 0).train(training)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    seen = []
    for trainable in calls:
        if trainable is None:
            model.train(training)
            continue
        given = module.freeze(model, trainable)
        unmoved = all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        seen.append({**_standing(model), "given": [names.get(id(p), "?") for p in given], "unmoved": unmoved})
    return seen


def refused_freezing(module, trainable):
    """The classes of the exception that `freeze` raises, and what stands after it: one block was in eval before it,

    the embedding frozen, and each parameter had a gradient.
    """
    model = _Network(2, False, 0).train()
    model.blocks[1].eval()
    model.embedding.weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    modes = [m.training for m in model.modules()]
    raised = []
    try:
        module.freeze(model, trainable)
    except NotImplementedError:
        raise
    except Exception as error:
        raised = [kind.__name__ for kind in type(error).__mro__]
    graded = [name for name, p in model.named_parameters() if p.grad is not None]
    same = [m.training for m in model.modules()] == modes
    return {"raised": raised, **_standing(model), "graded": graded, "same_modes": same}


def trained(module, trainable, optimizer, tokens, first, then, thaw=None):
    """Which parameters and buffers change in `then` steps after `freeze`, by name; `first` steps came before it.

    A gradient is left behind by the last of the first steps, also in the embedding, which requires none from then on.
    thaw: names of another `freeze` before the last step.
    """
    model = _Network(3, False, 0).train()
    kinds = {"adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3)}
    kinds["sgd"] = lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.3)
    made = kinds[optimizer](list(model.parameters()))
    torch.manual_seed(0)

    def step():
        model(tokens).square().mean().backward()
        made.step()

    for _ in range(first):
        made.zero_grad()
        step()
    model.embedding.requires_grad_(False)
    module.freeze(model, trainable)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for i in range(then):
        if thaw is not None and i == then - 1:
            model.train()
            module.freeze(model, thaw)
        step()
    return [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]


# --- LoRALinear -------------------------------------------------------------------------------------------------------


def _linear(weight, bias):
    base = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
    return base


def _lora(module, weight, bias, state, rank, alpha, mode="training", **options):
    """A LoRALinear of this base, with these A, B and magnitude."""
    layer = module.LoRALinear(_linear(weight, bias), rank, alpha, generator=_generator(0), **options)
    with torch.no_grad():
        for name, value in state.items():
            parameter = getattr(layer, name)
            if parameter.shape != value.shape:
                raise AttributeError(f"{name} has shape {tuple(parameter.shape)}, not {tuple(value.shape)}")
            parameter.copy_(value)
    return layer.train(mode == "training")


def lora_start(module, weight, bias, rank, alpha, x, seed, **options):
    """What a new LoRALinear holds and gives."""
    base = _linear(weight, bias)
    layer = module.LoRALinear(base, rank, alpha, generator=_generator(seed), **options)
    return {
        "state": {name: p.detach().clone() for name, p in layer.named_parameters()},
        "buffers": [name for name, _ in layer.named_buffers()],
        "trainable": sorted(name for name, p in layer.named_parameters() if p.requires_grad),
        "same_base": layer.base is base,
        "merged": layer.merged,
        "scale": float(layer.scale),
        "out": layer(x),
        "base": base(x),
    }


def lora_output(module, weight, bias, state, x, rank, alpha, seed=0, grad=True, **options):
    torch.manual_seed(seed)
    layer = _lora(module, weight, bias, state, rank, alpha, **options)
    with torch.set_grad_enabled(grad):
        return layer(x)


def lora_twice(module, weight, bias, state, x, rank, alpha, seed=0, **options):
    """Two calls, side by side."""
    torch.manual_seed(seed)
    layer = _lora(module, weight, bias, state, rank, alpha, **options)
    return torch.cat([layer(x), layer(x)], dim=-1)


def lora_follows(module, first, second, x, rank, alpha, mode, **options):
    """The output, and the output after W, its bias and the state were written to; all (weight, bias, state)."""
    layer = _lora(module, *first, rank, alpha, mode, **options)
    before = layer(x).detach()
    weight, bias, state = second
    layer.base.weight.data.copy_(weight)  # by `data`, which no version counter hears of
    layer.base.bias.data.copy_(bias)
    for name, value in state.items():
        getattr(layer, name).data.copy_(value)
    return before, layer(x).detach()


def lora_gradients(module, weight, bias, state, x, upstream, rank, alpha, **options):
    """The gradients of x and of each parameter, by name; None where there is none."""
    layer = _lora(module, weight, bias, state, rank, alpha, **options)
    x = x.clone().requires_grad_()
    (layer(x) * upstream).sum().backward()
    return {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}


def lora_cost(module, weight, bias, state, x, upstream, rank, mode, grad, by_x, way, *, meter):
    """One forward pass; with grad its backward pass, too; by_x: to x as well. way: as of `lora_way`."""
    layer = lora_way(module, weight, bias, state, rank, mode, way)
    x = x.clone().requires_grad_(grad and by_x)
    with torch.set_grad_enabled(grad), meter:
        y = layer(x)
        if grad:
            (y * upstream).sum().backward()
    return {"y": y, "x": x.grad, "A": layer.A.grad, "B": layer.B.grad}


def lora_way(module, weight, bias, state, rank, mode, way):
    """A LoRALinear of alpha 1 that is "plain", "rank-stabilised", has "dropout" of 1e-12, or was "merged before"."""
    options = {"rank-stabilised": {"rank_stabilized": True}, "dropout": {"dropout": 1e-12}}.get(way, {})
    layer = _lora(module, weight, bias, state, rank, 1.0, mode, **options)
    if way == "merged before":
        layer.merge()
        layer.unmerge()
    return layer


def lora_keeps(module, weight, bias, state, x, rank, mode, grad, way, *, meter):
    """What a second forward pass leaves alive. way: as of `lora_way`, or "merged"."""
    layer = lora_way(module, weight, bias, state, rank, mode, way)
    if way == "merged":
        layer.merge()
    layer(x)
    with torch.set_grad_enabled(grad), meter:
        y = layer(x)
        out = y.detach().clone()
        del y
    meter.kept(out)
    return out


def lora_made(module, weight, x, rank, *, meter):
    """What a new LoRALinear holds, beside its parameters."""
    base = _linear(weight, None)
    with meter:
        layer = module.LoRALinear(base, rank, 1.0, generator=_generator(0))
        out = layer(x).detach().clone()
        layer.eval()
        layer(x)
        layer.train()
    meter.kept([layer.A, layer.B, out])
    return out


def lora_merging(module, weight, bias, state, x, calls, rank, alpha, **options):
    """The weight, the output and `merged` after each call ("merge", "unmerge"); whether W stays the same parameter."""
    layer = _lora(module, weight, bias, state, rank, alpha, **options)
    held, pointer = layer.base.weight, layer.base.weight.data_ptr()
    seen = []
    for call in calls:
        getattr(layer, call)()
        now = layer.base.weight
        seen.append(
            {
                "weight": now.detach().clone(),
                "out": layer(x).detach(),
                "merged": layer.merged,
                "in_place": now is held and now.data_ptr() == pointer,
                "frozen": not now.requires_grad and now.grad_fn is None,
                "state": sorted(layer.state_dict()),
            }
        )
    return seen


def lora_merged_gradient(module, weight, bias, state, x, upstream, rank, alpha):
    """The gradient of x, of a layer that was merged."""
    layer = _lora(module, weight, bias, state, rank, alpha)
    layer.merge()
    x = x.clone().requires_grad_()
    (layer(x) * upstream).sum().backward()
    return x.grad


def merged_cost(module, weight, state, x, rank, *, meter):
    layer = _lora(module, weight, None, state, rank, 1.0)
    layer.merge()
    with torch.no_grad(), meter:
        return layer(x)


# --- Adapter ----------------------------------------------------------------------------------------------------------


class _Tanh(nn.Module):
    """tanh(x · weightᵀ), which counts its calls."""

    def __init__(self, weight):
        super().__init__()
        self.inner = _linear(weight, None)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.tanh(self.inner(x))


def adapted(module, weight, state, x, upstream, **options):
    """An Adapter of tanh(x · weightᵀ): what it gives, its gradients by name, how often its layer was called."""
    width = len(weight)
    bottleneck = options.pop("bottleneck")
    layer = _Tanh(weight)
    adapter = module.Adapter(layer, width, bottleneck, generator=_generator(0), dtype=weight.dtype, **options)
    names = [name for name, _ in adapter.named_parameters()]
    trainable = sorted(name for name, p in adapter.named_parameters() if p.requires_grad)
    start = {name: adapter.get_parameter(name).detach().clone() for name in names}
    first = adapter(x).detach()
    with torch.no_grad():
        for name, value in state.items():
            adapter.get_parameter(name).copy_(value)
    layer.calls = 0
    x = x.clone().requires_grad_()
    out = adapter(x)
    calls = layer.calls
    (out * upstream).sum().backward()
    return {
        "trainable": trainable,
        "start": start,
        "first": first,
        "out": out.detach(),
        "gradients": {"x": x.grad, **{name: adapter.get_parameter(name).grad for name in names}},
        "calls": calls,
        "same_layer": adapter.layer is layer,
    }


def adapter_in_turn(module, weight, state, rows, training, **options):
    """What one Adapter gives of several inputs, one after the other, under no_grad."""
    adapter = module.Adapter(_Tanh(weight), len(weight), 3, generator=_generator(0), dtype=weight.dtype, **options)
    with torch.no_grad():
        for name, value in state.items():
            adapter.get_parameter(name).copy_(value)
        adapter.train(training)
        return [adapter(x) for x in rows]


# --- prefix_attention -------------------------------------------------------------------------------------------------


def prompts_in_turn(module, table, rows, training):
    """A SoftPrompt of two places, and what it gives of several inputs, one after the other, under no_grad."""
    prompt = module.SoftPrompt(table, 2, generator=_generator(0)).train(training)
    with torch.no_grad():
        return prompt.prompt.detach().clone(), [prompt(*row) for row in rows]


def prefix_sum(module, q, k, v, prefix_k, prefix_v, upstream, weights, causal):
    """A sum of all that `prefix_attention` gives, each number times another one."""
    out, weight = module.prefix_attention(q, k, v, prefix_k, prefix_v, causal)
    return (out * upstream).sum() + (weight * weights).sum()


def prompted(module, table, length, x, labels, upstream, seed):
    """SoftPrompt: its parameters, what it gives, its gradient, and the table after the prompt was written to."""
    table = table.clone().requires_grad_()
    prompt = module.SoftPrompt(table, length, generator=_generator(seed))
    state = {name: p.detach().clone() for name, p in prompt.state_dict().items()}
    x = x.clone().requires_grad_()
    longer, more = prompt(x, labels)
    (longer * upstream).sum().backward()
    gradient = prompt.prompt.grad
    with torch.no_grad():
        prompt.prompt.fill_(1234.0)
    return {
        "state": state,
        "x": longer.detach(),
        "labels": more,
        "gradient": gradient,
        "x_gradient": x.grad,
        "table": table.detach(),
        "table_trains": table.requires_grad,
        "table_gradient": table.grad,
    }


# --- fisher_penalty ---------------------------------------------------------------------------------------------------


class _Classifier(nn.Module):
    """Linear, tanh, linear; with norm and dropout between if `noisy`; and a parameter that nothing reads."""

    def __init__(self, first, bias, second, noisy=False):
        super().__init__()
        self.first = nn.Parameter(first.clone())
        self.bias = nn.Parameter(bias.clone())
        self.second = nn.Parameter(second.clone())
        self.unused = nn.Parameter(torch.ones(3, dtype=first.dtype))
        self.norm = nn.BatchNorm1d(len(first), dtype=first.dtype) if noisy else nn.Identity()
        self.drop = nn.Dropout(0.5 if noisy else 0.0)
        if noisy:
            self.norm.requires_grad_(False)
        self.inner = nn.Sequential(nn.Identity())

    def forward(self, x):
        hidden = torch.tanh(x @ self.first.T + self.bias)
        return self.inner(self.drop(self.norm(hidden))) @ self.second.T


class _Words(nn.Module):
    """A classifier of a token: a row of the table, times the head."""

    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = nn.Parameter(table.clone()), nn.Parameter(head.clone())

    def forward(self, tokens):
        return self.table[tokens] @ self.head.T


def fishers_in_turn(module, table, head, rows):
    """`fisher_diagonal` of one classifier of tokens, of several inputs, one after the other."""
    model = _Words(table, head)
    return [module.fisher_diagonal(model, tokens) for tokens in rows]


def penalties_in_turn(module, values, anchors, strength):
    """`fisher_penalty` of one model with several anchors, one after the other, and again after the model has moved."""
    model = _Flat(values, False)
    found = [module.fisher_penalty(model, anchor, strength).detach() for anchor in anchors]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    return [*found, module.fisher_penalty(model, anchors[-1], strength).detach()]


def linear_fisher(module, weight, bias, inputs):
    """`fisher_diagonal` of softmax regression."""
    return module.fisher_diagonal(_linear(weight, bias), inputs)


def network_fisher(module, parts, inputs, noisy=False, frozen=(), no_grad=False):
    """`fisher_diagonal` of a network, and whether it left the model as it was."""
    torch.manual_seed(0)
    model = _Classifier(*parts, noisy=noisy).train()
    model.inner.eval()
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    model.second.grad = torch.full_like(model.second, 7.0)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    with torch.set_grad_enabled(not no_grad):
        fisher = module.fisher_diagonal(model, inputs)
    grads = [p.grad is None for name, p in model.named_parameters() if name != "second"]
    return {
        "fisher": fisher,
        "graphs": [value.requires_grad for value in fisher.values()],
        "modes": [m.training for m in model.modules()] == modes,
        "flags": [p.requires_grad for p in model.parameters()] == flags,
        "grads": all(grads) and bool((model.second.grad == 7.0).all()),
        "values": all(torch.equal(value, before[name]) for name, value in model.state_dict().items()),
    }


class _Flat(nn.Module):
    """Parameters of these names and values, each under a second name too if `tied`, and a buffer "c"."""

    def __init__(self, values, tied):
        super().__init__()
        self.register_buffer("c", torch.zeros(3, 4))
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(value.clone()))
            if tied:
                self.register_parameter(f"{name}_again", self.get_parameter(name))


def penalty(module, values, anchor, strength, fisher=None, frozen=(), tied=False, **options):
    """`fisher_penalty`, its gradients by name, and those of anchor and fisher."""
    model = _Flat(values, tied)
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    anchor = {name: value.clone().requires_grad_() for name, value in anchor.items()}
    fisher = None if fisher is None else {name: value.clone().requires_grad_() for name, value in fisher.items()}
    loss = module.fisher_penalty(model, anchor, strength, fisher, **options)
    if loss.requires_grad:
        loss.backward()
    return {
        "loss": loss.detach(),
        "gradients": {name: p.grad for name, p in model.named_parameters()},
        "others": [v.grad is None or not v.grad.any() for v in (*anchor.values(), *(fisher or {}).values())],
    }


def remembered(module, capacity, items, seed):
    """The items that a Reservoir holds after each `add`, and its `seen`."""
    memory = module.Reservoir(capacity, _generator(seed))
    held, seen = [list(memory.items)], [memory.seen]
    for item in items:
        memory.add(item)
        held.append(list(memory.items))
        seen.append(memory.seen)
    return held, seen


def memories(module, capacity, count, trials, seed, generator=None):
    """The sorted items of `trials` reservoirs after `count` adds of the numbers from 0, one generator for all."""
    generator = _generator(seed) if generator is None else generator
    found = []
    for _ in range(trials):
        memory = module.Reservoir(capacity, generator)
        for i in range(count):
            memory.add(i)
        found.append(sorted(memory.items))
    return found


def equal_memories(module, capacity, items, trials, seed):
    """What reservoirs hold, as sorted text, after they were given these letters; one generator for all."""
    generator, found = _generator(seed), []
    for _ in range(trials):
        memory = module.Reservoir(capacity, generator)
        for item in items:
            memory.add(item)
        found.append("".join(sorted(memory.items)))
    return found


def memory_drawn(module, capacity, count, generator):
    return memories(module, capacity, count, 1, 0, generator)[0]


def still_alive(module, capacity, count, seed):
    """How many of the tensors that were added are alive, and whether those held are the objects that were added."""
    memory = module.Reservoir(capacity, _generator(seed))
    refs, ids = [], []
    for i in range(count):
        item = torch.full((3,), float(i))
        refs.append(weakref.ref(item))
        ids.append(id(item))
        memory.add(item)
        del item
    return sum(ref() is not None for ref in refs), all(id(item) in ids for item in memory.items)


def typed_mixture(module, rows):
    """`task_mixture` for each row, and the types of what is in it."""
    found = [module.task_mixture(*row) for row in rows]
    return found, sorted({type(share).__name__ for shares in found for share in shares})


def typed_cost(module, rows):
    """`tuning_cost` for each row, and the types of its values."""
    found = [module.tuning_cost(*row) for row in rows]
    return found, sorted({type(value).__name__ for one in found for value in one.values()})
