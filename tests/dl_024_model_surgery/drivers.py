"""Runs beside the learner's code: builds networks and optimizers from data, and returns data."""

import copy

import torch
from torch import nn
from torch.nn import functional as F


def network(kind):
    """The networks that are pruned, by name; their parameters are set from data."""
    if kind == "convolutions":
        return nn.Sequential(
            nn.Conv2d(3, 7, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(7, eps=1e-3, momentum=0.3),
            nn.Sigmoid(),
            nn.Conv2d(7, 5, (2, 1), padding=(1, 0), dilation=(2, 1), padding_mode="reflect"),
            nn.Tanh(),
            nn.AvgPool2d((1, 2)),
            nn.Flatten(),
            nn.Linear(5 * 3 * 1, 4),
        )
    if kind == "a convolution with batch statistics":
        return nn.Sequential(
            nn.Conv2d(2, 5, 2), nn.BatchNorm2d(5, track_running_stats=False), nn.Flatten(1), nn.Linear(5 * 6, 3)
        )
    if kind == "norms further on":
        return nn.Sequential(
            nn.Conv2d(2, 5, 2), nn.Sigmoid(), nn.BatchNorm2d(5), nn.AvgPool2d(2), nn.BatchNorm2d(5, eps=1e-2),
            nn.Flatten(), nn.BatchNorm1d(5 * 4), nn.Tanh(), nn.Linear(5 * 4, 3),
        )  # fmt: skip
    if kind == "two layers in a row":
        return nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
    return nn.Sequential(
        nn.Linear(6, 11), nn.BatchNorm1d(11, affine=False), nn.Sigmoid(), nn.Dropout(0.0), nn.Linear(11, 4, bias=False)
    )


def _loaded(kind, state):
    model = network(kind).to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model


def _facts(model):
    """The numbers that modules say of themselves, by module."""
    names = (
        "in_channels", "out_channels", "in_features", "out_features", "num_features", "kernel_size", "stride",
        "padding", "dilation", "padding_mode", "groups", "eps", "momentum", "affine", "track_running_stats",
    )  # fmt: skip
    return [[type(m).__name__, {n: getattr(m, n) for n in names if hasattr(m, n)}] for m in model]


def _bytes_beyond(tensors):
    """Bytes of storage beyond what the tensors themselves have."""
    return sum(t.untyped_storage().nbytes() - t.numel() * t.element_size() for t in tensors)


def pruned(module, kind, state, index, keep, x, frozen, modes):
    """prune_channels of a network: what the small one is and says, in eval mode and in training mode."""
    model = _loaded(kind, state)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    for one, mode in zip(model, modes, strict=True):
        one.training = mode
    model.training = modes[-1]
    small = module.prune_channels(model, index, keep)
    told = {
        "own mode": small.training,
        "facts": _facts(small),
        "state": dict(small.state_dict()),
        "frozen": sorted(name for name, p in small.named_parameters() if not p.requires_grad),
        "parameters": sorted(name for name, _ in small.named_parameters()),
        "modes": [one.training for one in small],
        "beyond": _bytes_beyond(small.state_dict().values()),
    }
    told = copy.deepcopy(told)
    with torch.no_grad():
        told["eval"] = small.eval()(x)
        told["train"] = small.train()(x)
        for value in small.state_dict().values():
            value.fill_(7)
    told["old"] = dict(model.state_dict())
    told["old modes"] = [one.training for one in model]
    told["old facts"] = _facts(model)
    return told


def pruned_refused(module, kind, index):
    """prune_channels of a module that has no channels to prune, or whose outputs are the network's."""
    model = network(kind)
    return _facts(module.prune_channels(model, index, torch.tensor([0, 1])))


def ticket(module, initial, trained, rounds, rates):
    """lottery_ticket whose training gives what stands in `trained`, round by round, and spoils what it was given."""
    seen = []

    def train(weights, masks):
        seen.append(copy.deepcopy([dict(weights), dict(masks)]))
        result = dict(reversed(copy.deepcopy(trained[len(seen) - 1]).items()))
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(result[name])
        for mask in masks.values():
            mask.fill_(True)
        masks.clear()
        return weights if len(seen) % 2 else result

    weights, masks = module.lottery_ticket(initial, train, rounds, rates)
    return {"weights": dict(weights), "masks": dict(masks), "seen": seen}


def _tensors(told):
    if isinstance(told, torch.Tensor):
        return [told] if told.numel() else []
    inner = told.values() if isinstance(told, dict) else told if isinstance(told, list | tuple) else ()
    return [tensor for one in inner for tensor in _tensors(one)]


def shared(module, name, *given):
    """Whether a tensor that a function returns has storage of one that went in. A ticket is trained by nobody."""
    before = {tensor.untyped_storage().data_ptr() for tensor in _tensors(given)}
    if name == "lottery_ticket":
        given = (given[0], lambda weights, masks: weights, *given[1:])
    out = getattr(module, name)(*given)
    return any(tensor.untyped_storage().data_ptr() in before for tensor in _tensors(out))


OPTIMIZERS = {
    "SGD with momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "Nesterov's SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "plain SGD": (torch.optim.SGD, {"lr": 0.1}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.03, "weight_decay": 0.1, "amsgrad": True}),
    "Adam": (torch.optim.Adam, {"lr": 0.03, "weight_decay": 0.1}),
    "RMSprop with momentum": (torch.optim.RMSprop, {"lr": 0.02, "momentum": 0.7, "centered": True}),
}


def steps(module, kind, starts, gradients, masks):
    """Several masked steps: three parameters, of which two have masks; all values and states after each step."""
    make, options = OPTIMIZERS[kind]
    parameters = [nn.Parameter(start.clone()) for start in starts]
    optimizer = make(parameters, **options)
    told = []
    for slopes, now in zip(gradients, masks, strict=True):
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = None if slope is None else slope.clone()
        module.masked_step(optimizer, list(zip(parameters, now, strict=False)))
        states = [
            {name: value.clone() for name, value in optimizer.state[p].items() if isinstance(value, torch.Tensor)}
            for p in parameters
        ]
        told.append({"values": [p.detach().clone() for p in parameters], "states": states})
        told[-1]["gradients"] = [None if p.grad is None else p.grad.clone() for p in parameters]
    return told


def _leaves(tensors):
    return {name: value.clone().requires_grad_() for name, value in tensors.items()}


def losses(module, student, teacher, projection, temperature, reverse):
    """Each of the three losses, with its gradients by everything that went in."""
    told = {}
    for name in ("response", "hint", "attention"):
        ours, theirs, matrix = _leaves(student), _leaves(teacher), projection.clone().requires_grad_()
        loss = module.knowledge_losses(ours, theirs, matrix, temperature, *reverse)[name]
        loss.backward()
        told[name] = {
            "loss": loss.detach(),
            "student": {key: value.grad for key, value in ours.items()},
            "teacher": {key: value.grad for key, value in theirs.items()},
            "projection": matrix.grad,
        }
    return told


def distilled(module, student, teacher, center, student_temperature, teacher_temperature, momentum):
    """DINO's loss and new center, with the gradients by all three tensors."""
    student, teacher, center = (one.clone().requires_grad_() for one in (student, teacher, center))
    got = module.self_distillation(student, teacher, center, student_temperature, teacher_temperature, momentum)
    got["loss"].backward()
    return {
        "loss": got["loss"].detach(),
        "center": got["center"].detach(),
        "recorded": bool(got["center"].requires_grad),
        "student": student.grad,
        "teacher": teacher.grad,
        "old": center.grad,
    }


def mutual(module, logits, labels, weights):
    """The losses of m networks, and the gradients of their weighted sum."""
    logits = logits.clone().requires_grad_()
    found = module.mutual_losses(logits, labels)
    (found * weights).sum().backward()
    return {"losses": found.detach(), "slopes": logits.grad}


def _pair():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Sequential(nn.Linear(5, 2, bias=False)))


def followed(module, before, students, momentum):
    """update_teacher for each state of the student in turn; the teacher's states, and what else is to stay."""
    dtype = before["0.weight"].dtype
    teacher, student = _pair().to(dtype), _pair().to(dtype)
    teacher.load_state_dict(before)
    teacher[0].weight.requires_grad_(False)
    teacher[0].bias.grad = torch.ones(5, dtype=dtype)
    same = list(teacher.parameters())
    told = []
    for state in students:
        student.load_state_dict(state)
        module.update_teacher(teacher, student, momentum)
        told.append(copy.deepcopy(dict(teacher.state_dict())))
    return {
        "states": told,
        "student": dict(student.state_dict()),
        "same": all(a is b for a, b in zip(same, teacher.parameters(), strict=True)),
        "recorded": any(not p.is_leaf for p in teacher.parameters()),
        "asks": [p.requires_grad for p in teacher.parameters()],
        "gradient": teacher[0].bias.grad,
    }


def followed_tied(module, values, buffers, momentum):
    """update_teacher of modules with a tied weight, and with a buffer that is in no state_dict."""
    made = []
    for value, buffer in zip(values, buffers, strict=True):
        one = nn.Module()
        one.embedding, one.head = nn.Embedding(7, 3, dtype=value.dtype), nn.Linear(3, 7, bias=False, dtype=value.dtype)
        with torch.no_grad():
            one.embedding.weight.copy_(value)
        one.head.weight = one.embedding.weight
        one.register_buffer("seen", buffer.clone(), persistent=False)
        one.embedding.weight.grad = torch.ones_like(value)
        made.append(one)
    teacher, student = made
    module.update_teacher(teacher, student, momentum)
    told = {"weight": teacher.head.weight.detach().clone(), "buffer": teacher.seen.clone()}
    student.seen.fill_(7)
    told["modes"] = [teacher.training, student.training]
    return {**told, "later": teacher.seen, "gradient": student.embedding.weight.grad}


class _Language(nn.Module):
    def __init__(self, embedding, head):
        super().__init__()
        self.embedding, self.head = embedding, head

    def forward(self, words):
        return self.head(torch.tanh(self.embedding(words)))


def _language(table, matrix, bias, padding=None):
    v, d = table.shape
    embedding, head = nn.Embedding(v, d, padding_idx=padding), nn.Linear(d, v, bias=bias is not None)
    model = _Language(embedding, head).to(table.dtype)
    with torch.no_grad():
        embedding.weight.copy_(table)
        head.weight.copy_(matrix)
        if bias is not None:
            head.bias.copy_(bias)
    return model


def _slopes(model, words, labels):
    """The gradients of the cross-entropy of a model, by name."""
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(words), labels).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def tied(module, table, matrix, bias, words, labels):
    """A model after tie_embeddings: what it counts and computes, after a step, copied, and loaded."""
    model = _language(table, matrix, bias)
    module.tie_embeddings(model.embedding, model.head)
    told = {
        "count": sum(p.numel() for p in model.parameters()),
        "names": [name for name, _ in model.named_parameters()],
        "one": model.head.weight is model.embedding.weight,
        "table": model.embedding.weight.detach().clone(),
        "bias": None if model.head.bias is None else model.head.bias.detach().clone(),
        "logits": model(words).detach(),
        "slopes": _slopes(model, words, labels),
    }
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    told["stepped"] = [model.embedding.weight.detach().clone(), model.head.weight.detach().clone()]
    twin = copy.deepcopy(model)
    told["copied"] = twin.head.weight is twin.embedding.weight
    told["apart"] = twin.head.weight is not model.head.weight
    fresh = _language(matrix, table, bias)
    module.tie_embeddings(fresh.embedding, fresh.head)
    fresh.load_state_dict(model.state_dict())
    told["loaded"] = fresh.head.weight is fresh.embedding.weight
    told["loaded logits"], told["trained logits"] = fresh(words).detach(), model(words).detach()
    return told


def tied_frozen(module, table, matrix):
    """Whether an embedding that is frozen is so after tie_embeddings."""
    model = _language(table, matrix, None)
    model.embedding.weight.requires_grad_(False)
    module.tie_embeddings(model.embedding, model.head)
    return not model.embedding.weight.requires_grad


def stepped_unmasked(module, weight, gradient):
    """A parameter after masked_step of SGD with rate 1 and no masks."""
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    module.masked_step(torch.optim.SGD([parameter], lr=1.0), [])
    return parameter.detach()


def tied_refused(module, v, d, out, into):
    """tie_embeddings of shapes that do not fit."""
    module.tie_embeddings(nn.Embedding(v, d), nn.Linear(into, out))


def grown(module, table, matrix, bias, size, tie, frozen=False, asks=()):
    """A model after grow_vocabulary, tied before by hand or not."""
    model = _language(table, matrix, bias, padding=1)
    if tie:
        model.head.weight = model.embedding.weight
    model.requires_grad_(not frozen)
    for parameter, one in zip(model.parameters(), asks, strict=False):
        parameter.requires_grad_(one)
    module.grow_vocabulary(model.embedding, model.head, size)
    words = torch.arange(model.embedding.num_embeddings)
    return {
        "table": model.embedding.weight.detach().clone(),
        "matrix": model.head.weight.detach().clone(),
        "bias": None if model.head.bias is None else model.head.bias.detach().clone(),
        "one": model.head.weight is model.embedding.weight,
        "sizes": [model.embedding.num_embeddings, model.head.out_features],
        "padding": model.embedding.padding_idx,
        "asks": [p.requires_grad for p in model.parameters()],
        "parameters": all(isinstance(p, nn.Parameter) for p in (model.embedding.weight, model.head.weight)),
        "count": sum(p.numel() for p in model.parameters()),
        "logits": model(words).detach(),
    }


def grown_refused(module, v, size):
    """grow_vocabulary to fewer words."""
    module.grow_vocabulary(nn.Embedding(v, 2), nn.Linear(2, v), size)


class _Layer(nn.Module):
    """A residual block of another make: it has its own name for all but `down`."""

    def __init__(self, d, hidden):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(d, hidden), nn.Tanh())
        self.down = nn.Linear(hidden, d)

    def forward(self, x):
        return x + self.down(self.inner(x))


def _blocks(module, states, own):
    """Blocks with these parameters: the stub's, or another class."""
    first = states[0]
    hidden, d = first["down.weight"].shape[::-1]
    made = []
    for state in states:
        block = (_Layer if own else module.Block)(d, hidden).to(first["down.weight"].dtype)
        block.load_state_dict(state)
        made.append(block)
    return made


def block_names(module, own):
    """Names and shapes of a block of width 3 with 5 hidden units."""
    block = (_Layer if own else module.Block)(3, 5)
    return {name: list(p.shape) for name, p in block.named_parameters()}


def deepened(module, states, own, depth, how, x, still=False):
    """grow_depth of blocks: the states of the new ones, what they compute, and whether they share anything."""
    blocks = _blocks(module, states, own)
    for block in blocks if still else ():
        block.eval().requires_grad_(False)
    deep = module.grow_depth(blocks, depth, how)
    out = x
    for block in deep:
        out = block(out)
    told = copy.deepcopy({"states": [dict(block.state_dict()) for block in deep], "out": out.detach()})
    with torch.no_grad():
        for k, block in enumerate(deep):
            for p in block.parameters():
                p.fill_(float(k))
    told["apart"] = all(bool((p == k).all()) for k, block in enumerate(deep) for p in block.parameters())
    told["classes"] = [type(block) is type(blocks[0]) for block in deep]
    told["old"] = [dict(block.state_dict()) for block in blocks]
    told["training"] = any(one.training for block in deep for one in block.modules())
    told["asked"] = any(p.requires_grad for block in deep for p in block.parameters())
    told["asks"] = all(p.requires_grad for block in deep for p in block.parameters())
    return told


def deepened_refused(module, depth, how):
    """grow_depth of three blocks to a depth that is too small, or by another word."""
    return len(module.grow_depth([module.Block(2, 3) for _ in range(3)], depth, how))
