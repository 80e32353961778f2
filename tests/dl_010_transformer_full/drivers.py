"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch
from torch import nn

from grader.hooks import hooks


def _given(model, weights):
    """Give a module these parameters, by name. It may know one of them by a second name, but have no other."""
    model.to(next(iter(weights.values())).dtype)
    named = dict(model.named_parameters(remove_duplicate=False))
    kind = type(model).__name__
    missing = [name for name in weights if name not in named]
    if missing:
        raise AttributeError(f"{kind} has no parameter {', '.join(missing)}; it has {', '.join(named)}")
    for name, value in weights.items():
        if named[name].shape != value.shape:
            raise AttributeError(f"{name} of {kind} has shape {tuple(named[name].shape)}, not {tuple(value.shape)}")
    known = {id(named[name]) for name in weights}
    extra = [name for name, parameter in named.items() if id(parameter) not in known]
    if extra:
        raise AttributeError(f"{kind} has parameters that its docstring does not name: {', '.join(extra)}")
    with torch.no_grad():
        for name, value in weights.items():
            named[name].copy_(value)
    return model


def _gradients(model, weights, out, upstream, **inputs):
    """Of the inputs, and of the parameters by their names."""
    named = dict(model.named_parameters(remove_duplicate=False))
    leaves = {**inputs, **{name: named[name] for name in weights}}
    frozen = [name for name, leaf in leaves.items() if not leaf.requires_grad]
    if frozen:
        raise AttributeError(f"{type(model).__name__} has parameters that need no gradient: {', '.join(frozen)}")
    found = torch.autograd.grad((out * upstream).sum(), list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def module_output(module, kind, arguments, options, weights, *inputs):
    """The module of that class, with these parameters, applied once."""
    return _given(getattr(module, kind)(*arguments, **options), weights)(*inputs)


def in_each_mode(module, kind, arguments, options, weights, modes, *inputs):
    """The same in each mode, (in training, with gradients on): what each gives."""
    model, found = _given(getattr(module, kind)(*arguments, **options), weights), []
    for training, learns in modes:
        with torch.set_grad_enabled(learns):
            found.append(model.train(training)(*inputs))
    return found


def in_turn(module, kind, arguments, options, weights, method="__call__", *, turns):
    """One module, asked once for each turn: what it gave, read when all is done."""
    model = _given(getattr(module, kind)(*arguments, **options), weights).eval()
    return [getattr(model, method)(*inputs) for inputs in turns]


def block_gradients(module, kind, arguments, options, weights, x, upstream, mask=None, context=None, seen=None):
    """In evaluation: the output, and the gradients of x, of the context and of all parameters."""
    model = _given(getattr(module, kind)(*arguments, **options), weights).eval()
    inputs = {"x": x.detach().requires_grad_()}
    if context is None:
        out = model(inputs["x"]) if mask is None else model(inputs["x"], mask)
    else:
        inputs["context"] = context.detach().requires_grad_()
        out = model(inputs["x"], mask, inputs["context"], seen)
    return out, _gradients(model, weights, out, upstream, **inputs)


def initial(module, kind, arguments, options, names, seed=None):
    """The parameters of these names that a module starts with. seed: of its generator; None: it gets none."""
    if seed is not None:
        options = {**options, "generator": torch.Generator().manual_seed(seed)}
    named = dict(getattr(module, kind)(*arguments, **options).named_parameters(remove_duplicate=False))
    return {name: named[name] for name in names if name in named}


def drawn(module, kind, arguments, options, names, generator):
    """The parameters of these names that a module draws from a generator."""
    model = getattr(module, kind)(*arguments, **options, generator=generator)
    named = dict(model.named_parameters(remove_duplicate=False))
    return {name: named[name] for name in names if name in named}


def initial_by_torch(module, kind, arguments, options, names, seed):
    """The same without a generator, three times: torch's own is seeded before the first and before the last."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, next_one = (initial(module, kind, arguments, options, names) for _ in range(2))
        torch.manual_seed(seed)
        return first, next_one, initial(module, kind, arguments, options, names)


def language_model(module, arguments, options, weights, sequences):
    """The logits of each of several token sequences."""
    model = _given(module.DecoderLM(*arguments, **options), weights)
    return [model(tokens) for tokens in sequences]


def language_model_gradients(module, arguments, options, weights, tokens, upstream):
    model = _given(module.DecoderLM(*arguments, **options), weights)
    out = model(tokens)
    return out, _gradients(model, weights, out, upstream)


def language_model_learns(module, arguments, weights, tokens):
    """The logits before and after one step of gradient descent on their sum of squares."""
    model = _given(module.DecoderLM(*arguments), weights)
    before = model(tokens)
    before.square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
        return before, model(tokens), {name: model.get_parameter(name) for name in weights}


def encoder_decoder(module, arguments, options, weights, source, target, *mask):
    """Memory and logits, by encode and decode, and the logits at once. mask: none, or one."""
    model = _given(module.EncoderDecoder(*arguments, **options), weights).eval()
    memory = model.encode(source, *mask)
    return {"memory": memory, "logits": model.decode(target, memory, *mask), "at once": model(source, target, *mask)}


def decode(module, arguments, weights, target, memory, *mask):
    return _given(module.EncoderDecoder(*arguments), weights).decode(target, memory, *mask)


def encode(module, arguments, weights, source):
    return _given(module.EncoderDecoder(*arguments), weights).encode(source)


def encoder_decoder_gradients(module, arguments, options, weights, source, target, mask, upstream):
    model = _given(module.EncoderDecoder(*arguments, **options), weights)
    out = model(source, target, mask)
    return out, _gradients(model, weights, out, upstream)


# ---------------------------------------------------------------------------------------------- gradient_norm_by_depth


class _Toy(nn.Module):
    """x + tanh(x @ weight.T + bias); frozen: which of its parameters are; spare: one that it does not use."""

    def __init__(self, weight, bias, frozen=(), spare=None):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        if spare is not None:
            self.spare = nn.Parameter(spare.clone())
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, x):
        return x + torch.tanh(x @ self.weight.T + self.bias)


def _stack(blocks):
    """blocks: arguments of _Toy, None for a block without parameters, or the number of an earlier one to use again."""
    made = []
    for block in blocks:
        if isinstance(block, int):
            made.append(made[block])
        else:
            made.append(nn.Tanh() if block is None else _Toy(*block))
    return made


def _hooks(modules, tensors):
    """How many hooks hang on modules, with those inside them, and on tensors."""
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    tables = [getattr(m, name) for module in modules for m in module.modules() for name in of_modules]
    tables += [getattr(p, name, None) for p in tensors for name in ("_backward_hooks", "_post_accumulate_grad_hooks")]
    return sum(len(table) for table in tables if table)


def depth(module, blocks, x, upstream, container="list"):
    """The norms, and what the stack looked like before and after."""
    stack = _stack(blocks)
    x = x.detach().requires_grad_()
    parameters = list(dict.fromkeys(p for block in stack for p in block.parameters()))
    for i, parameter in enumerate(parameters[::2]):
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 3.0 + i)
    for block in stack[::2]:
        block.eval()
    state = lambda: {
        "x and parameters": [
            (p.detach().clone(), p.requires_grad, None if p.grad is None else p.grad.clone()) for p in [x, *parameters]
        ],
        "in training": [block.training for block in stack],
        "hooks": hooks(x, *stack),
    }
    before = state()
    given = {"list": list, "tuple": tuple, "ModuleList": nn.ModuleList}[container](stack)
    return module.gradient_norm_by_depth(given, x, upstream), before, state()


def depth_cost(module, blocks, x, upstream, training, learns, *, meter):
    """The norms, of blocks in training or evaluation; learns: whether x requires a gradient."""
    stack = _stack(blocks)
    for block in stack:
        block.train(training)
    x = x.clone().requires_grad_(learns)
    with meter:
        norms = module.gradient_norm_by_depth(stack, x, upstream)
    meter.kept(norms)  # while the blocks are alive
    return norms


def depth_of_blocks(module, kind, arguments, weights, x, upstream):
    """Of a stack of the learner's own blocks; weights: one dict a block."""
    stack = [_given(getattr(module, kind)(*arguments), own) for own in weights]
    return module.gradient_norm_by_depth(stack, x, upstream)
