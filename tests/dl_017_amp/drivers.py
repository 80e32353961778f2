"""Runs beside the learner's code: parameters, models, optimizers and contexts from data; returns data."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

aten = torch.ops.aten


def _raised(call, *args, **kwargs):
    """The names of the classes of the exception that a call raises, or an empty list."""
    try:
        call(*args, **kwargs)
    except NotImplementedError:
        raise
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__]
    return []


def formats(module, cases):
    """`float_format` of each (e, m, options)."""
    return [module.float_format(e, m, **options) for e, m, options in cases]


class _Casts(TorchDispatchMode):
    """Notes operators that make a bfloat16 tensor of tensors that are none."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        before = [t.dtype for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)]
        after = [t.dtype for t in tree_iter(out) if isinstance(t, torch.Tensor)]
        if torch.bfloat16 in after and torch.bfloat16 not in before and func is not aten.view.dtype:
            self.made.append(str(func))
        return out


def round_watched(module, x, noise):
    with _Casts() as casts:
        value = module.round_to_bfloat16(x, noise)
    return {"value": value, "casts": casts.made}


def from_generator(module, function, gradients, *args, **options):
    return getattr(module, function)(iter(gradients), *args, **options)


# --- DynamicGradScaler


def _parameters(values, gradients):
    made = [nn.Parameter(value.clone()) for value in values]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    return made


def _sgd(parameters, groups=1, lr=1.0):
    """SGD whose parameters are spread over some groups."""
    return torch.optim.SGD([{"params": parameters[i::groups]} for i in range(groups)], lr=lr)


def scaled(module, loss, scale):
    return module.DynamicGradScaler(init_scale=scale).scale(loss)


def scaled_in_turn(module, scale, *, turns):
    """What one scaler makes of each loss, read when all is done."""
    scaler = module.DynamicGradScaler(init_scale=scale)
    return [scaler.scale(loss) for (loss,) in turns]


def unscale(module, values, gradients, scale, groups):
    """The gradients after `unscale_`, seen through the memory that was there before."""
    parameters = _parameters(values, gradients)
    before = [p.grad for p in parameters]
    views = [None if g is None else g.detach() for g in before]
    scaler = module.DynamicGradScaler(init_scale=scale)
    raised = _raised(scaler.unscale_, _sgd(parameters, groups))
    same = [p.grad is g for p, g in zip(parameters, before, strict=True)]
    return {"gradients": views, "same_object": same, "raised": raised, "values": parameters}


def protocol(module, values, gradients, scale, script):
    """Play steps of (verb, optimizer number) on one scaler; what each returned or raised, and all values after it.

    values, gradients: for each optimizer a list. "gradients" gives each parameter its scaled gradient again.
    """
    scaler = module.DynamicGradScaler(init_scale=scale)
    parameters = [_parameters(v, g) for v, g in zip(values, gradients, strict=True)]
    optimizers = [_sgd(p) for p in parameters]
    trace = []
    for verb, which in script:
        raised, returned = [], None
        if verb == "gradients":
            for p, g in zip(parameters[which], gradients[which], strict=True):
                p.grad = g * (scaler.get_scale() / scale)
        elif verb == "clean":  # Inf and NaN made 0
            for p in parameters[which]:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        elif verb == "halve":  # what a clip would do
            for p in parameters[which]:
                p.grad.mul_(0.5)
        else:
            call = getattr(scaler, verb)
            arguments = () if verb == "update" else (optimizers[which],)
            try:
                returned = call(*arguments)
            except NotImplementedError:
                raise
            except Exception as error:
                raised = [kind.__name__ for kind in type(error).__mro__]
        trace.append(
            {
                "raised": raised,
                "returned": returned,
                "scale": scaler.get_scale(),
                "count": scaler.state_dict()["_growth_tracker"],
                "gradients": [[p.grad.clone() for p in some] for some in parameters],
                "values": [[p.detach().clone() for p in some] for some in parameters],
            }
        )
    return trace


def skipped(module, values, gradients, bad, scale, explicit):
    """Two Adam steps with good gradients (scaled already), one with bad ones, one good one; the state after each."""
    scaler = module.DynamicGradScaler(init_scale=scale)
    parameters = _parameters(values, gradients)
    optimizer = torch.optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.1)
    seen = []
    for given in (gradients, gradients, bad, gradients):
        factor = scaler.get_scale() / scale
        for p, g in zip(parameters, given, strict=True):
            p.grad = g * factor
        if explicit:
            scaler.unscale_(optimizer)
        stepped = scaler.step(optimizer)
        scaler.update()
        seen.append(
            {
                "stepped": stepped,
                "scale": scaler.get_scale(),
                "values": [p.detach().clone() for p in parameters],
                "state": copy.deepcopy([optimizer.state[p] for p in parameters]),
            }
        )
    return seen


def few_gradients(module, gradients, frozen):
    """What step returns and S after an iteration, and the gradients (None: none; some weights are frozen)."""
    parameters = _parameters([torch.zeros(3) if g is None else torch.zeros_like(g) for g in gradients], gradients)
    for i in frozen:
        parameters[i].requires_grad_(False)
    scaler = module.DynamicGradScaler(init_scale=8.0, growth_interval=1)
    stepped = scaler.step(_sgd(parameters))
    scaler.update()
    return {"stepped": stepped, "scale": scaler.get_scale(), "gradients": [p.grad for p in parameters]}


def trajectories(module, cases):
    """(scale, tracker) after each update; a case is (options of the scaler, state to load or None, [bad, bad, ...])."""
    made = []
    for options, state, outcomes in cases:
        scaler = module.DynamicGradScaler(**options)
        if state is not None:
            scaler.load_state_dict(state)
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        trace = []
        for bad in outcomes:
            parameter.grad = torch.full((1,), math.inf if bad else 1.0)
            scaler.unscale_(optimizer)
            scaler.update()
            trace.append([scaler.get_scale(), scaler.state_dict()["_growth_tracker"]])
        made.append(trace)
    return made


def scaler_state(module, options, state, other=None):
    """The state dict of a scaler that loaded `state`, and of one that loaded that one's, after the first met an Inf."""
    scaler = module.DynamicGradScaler(**options)
    if state is not None:
        scaler.load_state_dict(state)
    second = module.DynamicGradScaler(**(other or {}))
    first = scaler.state_dict()
    second.load_state_dict(first)
    scales = [scaler.get_scale(), second.get_scale()]
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.full((1,), math.inf)
    scaler.unscale_(torch.optim.SGD([weight], lr=1.0))
    scaler.update()  # must change neither what was saved nor who loaded it
    scaler.state_dict()  # nor must this
    return {"first": first, "second": second.state_dict(), "scale": scales}


def refused_scalers(module, cases):
    return [_raised(module.DynamicGradScaler, **options) for options in cases]


# --- mini_autocast


def _without_gradients(call, *inputs):
    with torch.no_grad():
        return call(*inputs)


PRODUCTS = {
    "a @ b": lambda a, b: a @ b,
    "torch.matmul(a, b)": torch.matmul,
    "a.matmul(b)": lambda a, b: a.matmul(b),
    "torch.matmul(a, other=b)": lambda a, b: torch.matmul(a, other=b),
    "torch.mm(a, b)": torch.mm,
    "torch.mv(a, b[:, 0])": lambda a, b: torch.mv(a, b[:, 0]),
    "torch.bmm": lambda a, b: torch.bmm(a[None], b[None]),
    "torch.addmm": lambda a, b: torch.addmm(a[:, :1], a, b),
    "torch.addbmm": lambda a, b: torch.addbmm(a[:, :1], a[None], b[None]),
    "torch.baddbmm": lambda a, b: torch.baddbmm(a[None, :, :1], a[None], b[None]),
    "torch.einsum(.., a, b)": lambda a, b: torch.einsum("ij,jk->ki", a, b),
    "torch.einsum(.., [a, b])": lambda a, b: torch.einsum("ij,jk->ki", [a, b]),
    "torch.einsum(.., (a, b))": lambda a, b: torch.einsum("ij,jk->ki", (a, b)),
    "F.linear": lambda a, b: F.linear(a, b.T, b[0]),
    "F.linear by keywords": lambda a, b: F.linear(input=a, weight=b.T, bias=b[0]),
    "F.conv1d": lambda a, b: F.conv1d(a[None], b.T[:2, : a.shape[0], None]),
    "F.conv2d": lambda a, b: F.conv2d(a[None, None], b[None, None, :2, :2]),
    "F.conv3d": lambda a, b: F.conv3d(a[None, None, None], b[None, None, None, :2, :2]),
    "F.scaled_dot_product_attention": lambda a, b: F.scaled_dot_product_attention(a[None], b.T[None], b.T[None]),
    "F.scaled_dot_product_attention with a mask": lambda a, b: F.scaled_dot_product_attention(
        a[None], b.T[None], b.T[None], a[None, :, : b.shape[1]]
    ),
    "F.scaled_dot_product_attention, the mask by keyword": lambda a, b: F.scaled_dot_product_attention(
        a[None], b.T[None], b.T[None], attn_mask=a[None, :, : b.shape[1]]
    ),
    "a @ b without gradients": lambda a, b: _without_gradients(torch.matmul, a, b),
    "a @ b of parameters": lambda a, b: (nn.Parameter(a) @ nn.Parameter(b)).detach(),
}

SUMS = {
    "F.softmax(x, -1)": lambda x: F.softmax(x, -1),
    "x.softmax(0)": lambda x: x.softmax(0),
    "torch.softmax": lambda x: torch.softmax(input=x, dim=1),
    "F.log_softmax": lambda x: F.log_softmax(x, -1),
    "F.cross_entropy": lambda x: F.cross_entropy(x, torch.arange(x.shape[0])),
    "F.nll_loss": lambda x: F.nll_loss(x, torch.arange(x.shape[0])),
    "F.mse_loss": lambda x: F.mse_loss(x, x.flip(0)),
    "F.kl_div": lambda x: F.kl_div(x, x.abs(), reduction="sum"),
    "F.layer_norm": lambda x: F.layer_norm(x, x.shape[-1:], x[0], x[1]),
    "F.group_norm": lambda x: F.group_norm(x.T[None], 1),
    "torch.norm": lambda x: torch.norm(x),
    "x.norm(dim=0)": lambda x: x.norm(dim=0),
    "x.exp()": lambda x: x.exp(),
    "torch.exp(x)": torch.exp,
    "torch.log": lambda x: torch.log(x.abs()),
    "torch.log1p": lambda x: x.abs().log1p(),
    "torch.rsqrt": lambda x: torch.rsqrt(x.abs()),
    "torch.logsumexp": lambda x: torch.logsumexp(x, 1),
    "x ** 3": lambda x: x**3,
    "torch.pow(x, 3)": lambda x: torch.pow(x, 3),
    "3.0 ** x": lambda x: 3.0**x,
    "x.sum()": lambda x: x.sum(),
    "torch.sum(x, 0)": lambda x: torch.sum(x, 0),
    "x.mean()": lambda x: x.mean(),
    "x.prod(1)": lambda x: x.prod(1),
    "torch.cumsum": lambda x: torch.cumsum(x, 1),
    "torch.cumprod": lambda x: torch.cumprod(x, 1),
    "x.var()": lambda x: x.var(),
    "torch.std": lambda x: torch.std(x, dim=1),
    "x.sum() without gradients": lambda x: _without_gradients(torch.sum, x),
    "x.sum() of a parameter": lambda x: nn.Parameter(x).sum().detach(),
    "torch.pow with a float64 exponent": lambda x: torch.pow(x, torch.tensor(3.0, dtype=torch.float64)),
}

OTHERS = {
    "x.relu()": lambda x, y: x.relu(),
    "F.gelu(x)": lambda x, y: F.gelu(x),
    "x + y": lambda x, y: x + y,
    "x * y": lambda x, y: x * y,
    "torch.cat([x, y])": lambda x, y: torch.cat([x, y]),
    "x.T": lambda x, y: x.T,
    "x.max()": lambda x, y: x.max(),
    "x.clone().exp_()": lambda x, y: x.clone().exp_(),
    "x.double()": lambda x, y: x.double(),
    "torch.where": lambda x, y: torch.where(x > 0, x, y),
    # products that are not in LOWER
    "torch.dot": lambda x, y: torch.dot(x[0], x[1]),
    "torch.inner": lambda x, y: torch.inner(x, x),
    "torch.outer": lambda x, y: torch.outer(x[0], x[1]),
    "torch.addmv": lambda x, y: torch.addmv(x[:, 0], x, x[0]),
    "torch.addr": lambda x, y: torch.addr(x[:3, :3], x[0, :3], x[1, :3]),
    "torch.tensordot": lambda x, y: torch.tensordot(x, x.T, 1),
    "torch.linalg.multi_dot": lambda x, y: torch.linalg.multi_dot([x, x.T, x]),
    "F.conv_transpose1d": lambda x, y: F.conv_transpose1d(x[None], x[:, :1, None]),
    "F.prelu": lambda x, y: F.prelu(x, x[0, :1].abs()),
    # functions that are not in FLOAT32, some of which torch's own autocast runs in float32
    "F.batch_norm": lambda x, y: F.batch_norm(x, None, None, training=True),
    "F.rms_norm": lambda x, y: F.rms_norm(x, x.shape[-1:]),
    "F.l1_loss": lambda x, y: F.l1_loss(x, x.flip(0)),
    "F.smooth_l1_loss": lambda x, y: F.smooth_l1_loss(x, x.flip(0)),
    "F.binary_cross_entropy_with_logits": lambda x, y: F.binary_cross_entropy_with_logits(x, x.sigmoid()),
    "F.cosine_similarity": lambda x, y: F.cosine_similarity(x, x.flip(0)),
    "F.softplus": lambda x, y: F.softplus(x),
    "F.silu": lambda x, y: F.silu(x),
    "torch.dist": lambda x, y: torch.dist(x, x.flip(0)),
    "torch.atan2": lambda x, y: torch.atan2(x, y),
    "x / y": lambda x, y: x / y,
    "2 / x": lambda x, y: 2 / x,
    "x - y": lambda x, y: x - y,
    "x.square()": lambda x, y: x.square(),
    "x.amax(0)": lambda x, y: x.amax(0),
    **{
        f"torch.{name}": lambda x, y, name=name: getattr(torch, name)(x.abs() / 4)
        for name in ("sqrt", "tanh", "sigmoid", "log2", "log10", "expm1", "reciprocal", "tan", "cosh", "erfinv", "acos")
    },
}

UNTOUCHED = {
    "float64 @ float64": lambda x: x.double() @ x.double().T,
    "float64 softmax": lambda x: x.double().softmax(-1),
    "sum of ints": lambda x: (100 * x).long().sum(),
    "mean of float64": lambda x: x.double().mean(),
    "cumsum of bools": lambda x: (x > 0).cumsum(1),
    "int @ int": lambda x: (100 * x).long() @ (100 * x).long().T,
}


def autocast(module, table, inputs, options):
    """The functions of one of the tables above, called in one context."""
    with module.mini_autocast(**options):
        return {name: call(*inputs) for name, call in globals()[table].items()}


def autocast_modules(module, x, *weights, dtype):
    """Two layers of torch's own modules with a norm between; all weights arguments, so that they get gradients."""
    layers = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3, bias=False))
    names = [name for name, _ in layers.named_parameters()]
    with module.mini_autocast(dtype):
        return torch.func.functional_call(layers, dict(zip(names, weights, strict=True)), (x,))


class _StopError(Exception):
    """Raised on purpose."""


def nested(module, x):
    """The dtype of a product at each place of nested contexts."""
    seen = {}

    def note(place):
        seen[place] = [(x @ x).dtype, (x @ x).softmax(-1).dtype]

    note("before")
    with module.mini_autocast(torch.bfloat16):
        note("in bfloat16")
        with module.mini_autocast(torch.float16):
            note("in float16 in bfloat16")
            with module.mini_autocast(torch.float16, enabled=False):
                note("switched off in these two")
                with module.mini_autocast():
                    note("by default, in these three")
            note("in float16 again")
        try:
            with module.mini_autocast(torch.float16):
                raise _StopError
        except _StopError:
            note("after an exception")
    note("after")
    try:
        with module.mini_autocast(torch.float16):
            raise _StopError
    except _StopError:
        note("after an exception in the outermost")
    with module.mini_autocast(enabled=False):
        note("switched off")
        y = x.bfloat16()
        seen["sum of bfloat16, switched off"] = [y.sum().dtype, y.exp().dtype]
    return seen


def changed_weight(module, x, weight):
    """Two products in one context, the weight doubled in place between them."""
    leaf = nn.Parameter(weight.clone())
    with module.mini_autocast(torch.bfloat16):
        first = x @ leaf
        with torch.no_grad():
            leaf.mul_(2)
        return [first, x @ leaf]


def refused_autocast(module, dtypes):
    return [_raised(module.mini_autocast, dtype, enabled=enabled) for dtype in dtypes for enabled in (True, False)]


# --- MasterWeightOptimizer


class _Bag(nn.Module):
    """Parameters in a list, a float32 buffer and an integer one."""

    def __init__(self, values, frozen=()):
        super().__init__()
        made = [nn.Parameter(v.clone(), requires_grad=i not in frozen) for i, v in enumerate(values)]
        self.weights = nn.ParameterList(made)
        self.register_buffer("running", torch.full((3,), 0.1))
        self.register_buffer("count", torch.tensor(7))


def _maker(name, options, made=None):
    """A make_optimizer; `made` gets what it was given and what it gave."""

    def make(parameters):
        optimizer = getattr(torch.optim, name)(parameters, **options)
        if made is not None:
            made.extend([list(parameters), optimizer])
        return optimizer

    return make


def masters(module, values, dtype, frozen=()):
    """What a model and its masters are right after construction."""
    model = _Bag(values, frozen)
    before = list(model.parameters())
    gradients = [None if i in frozen else torch.ones_like(p) for i, p in enumerate(before)]
    for p, gradient in zip(before, gradients, strict=True):
        p.grad = gradient
    made, found = [], []
    make = _maker("SGD", {"lr": 0.1}, made)

    def make_optimizer(given):
        found.extend(p.dtype for p in before)
        return make(given)

    options = {} if dtype is None else {"dtype": dtype}
    optimizer = module.MasterWeightOptimizer(model, make_optimizer, **options)
    after = list(model.parameters())
    return {
        "masters": list(optimizer.masters),
        "kinds": [isinstance(m, nn.Parameter) for m in optimizer.masters],
        "weights": after,
        "same_objects": [a is b for a, b in zip(before, after, strict=True)],
        "requires_grad": [m.requires_grad for m in optimizer.masters],
        "weights_require_grad": [p.requires_grad for p in after],
        "given": all(a is b for a, b in zip(made[0], optimizer.masters, strict=True)),
        "optimizer": made[1] is optimizer.optimizer,
        "buffers": [model.running, model.count],
        "found": found,
        "same_gradients": [p.grad is g for p, g in zip(after, gradients, strict=True)],
        "alone": all(m.data_ptr() != p.data_ptr() for m, p in zip(optimizer.masters, after, strict=True)),
    }


def refused_masters(module, values):
    model = _Bag(values, frozen=[1])
    raised = _raised(module.MasterWeightOptimizer, model, _maker("SGD", {"lr": 0.1}))
    return {"raised": raised, "weights": list(model.parameters())}


def tied_masters(module, value):
    """How many masters a model has that holds one weight twice and another once, and its weights after a step."""
    model = _Bag([value, value, value])
    model.weights[1] = model.weights[0]
    optimizer = module.MasterWeightOptimizer(model, _maker("SGD", {"lr": 1.0}))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return {"count": len(optimizer.masters), "weights": list(model.weights)}


def changed_masters(module, values):
    """The weights after a step without any gradient, before which each master was doubled."""
    model = _Bag(values)
    optimizer = module.MasterWeightOptimizer(model, _maker("SGD", {"lr": 1.0}))
    with torch.no_grad():
        for master in optimizer.masters:
            master.mul_(2)
    optimizer.step()
    return list(model.parameters())


def train_masters(module, values, dtype, name, options, gradients, zero=False, **step):
    """A step for each list of gradients (None: no gradient); masters and weights after each. zero: zero_grad after it.

    In the end the weights are frozen: zero_grad drops their gradients all the same.
    """
    model = _Bag(values)
    optimizer = module.MasterWeightOptimizer(model, _maker(name, options), dtype)
    trace = []
    for given in gradients:
        for p, g in zip(model.parameters(), given, strict=True):
            p.grad = None if g is None else g.clone()
        optimizer.step(**step)
        trace.append(
            {
                "masters": [m.detach().clone() for m in optimizer.masters],
                "weights": [p.detach().clone() for p in model.parameters()],
                "gradients": [p.grad for p in model.parameters()],
            }
        )
        if zero:
            optimizer.zero_grad()
    for p, g in zip(model.parameters(), gradients[-1], strict=True):
        p.grad = g
        p.requires_grad_(False)
    optimizer.zero_grad()
    return {"trace": trace, "zeroed": [p.grad is None for p in model.parameters()]}


def resume(module, values, others, dtype, name, options, before, after):
    """Train on, and resume from a state dict in a new model with other weights; both ends."""
    ends = []
    state = None
    for start, lists in ((values, before + after), (others, after)):
        model = _Bag(start)
        fresh = options if state is None else options | {"lr": 3 * options["lr"]}  # its rate comes with the state, too
        optimizer = module.MasterWeightOptimizer(model, _maker(name, fresh), dtype)
        loaded = None
        if state is not None:
            optimizer.load_state_dict(state)
            loaded = [p.detach().clone() for p in model.parameters()]
        optimizer.state_dict()  # may be asked for at any time
        for i, given in enumerate(lists):
            if start is values and i == len(before):
                state = copy.deepcopy(optimizer.state_dict())
                saved = [m.detach().clone() for m in state["masters"]]
            for p, g in zip(model.parameters(), given, strict=True):
                p.grad = g.clone()
            optimizer.step()
        ends.append({"masters": list(optimizer.masters), "weights": list(model.parameters()), "loaded": loaded})
    kept = list(state["masters"])
    return {"through": ends[0], "resumed": ends[1], "keys": sorted(state), "masters": saved, "kept": kept}


# --- amp_train_step


class _Net(nn.Module):
    """x W1' + b, tanh, W2'; notes the dtype of each input and of each layer's output."""

    def __init__(self, first, bias, second):
        super().__init__()
        self.first, self.bias, self.second = (nn.Parameter(w.clone()) for w in (first, bias, second))
        self.notes = []
        self.given = []
        self.modes = []

    def forward(self, x):
        self.given.append(x.dtype)
        self.modes.append(self.training)
        hidden = F.linear(x, self.first, self.bias)
        out = F.linear(hidden.tanh(), self.second)
        self.notes.append([hidden.dtype, out.dtype])
        return out


def train_step(
    module,
    weights,
    batches,
    *,
    meter,
    stale=None,
    steps=1,
    scaler=(),
    adam=False,
    schedule=True,
    groups=2,
    training=True,
    **options,
):
    """amp_train_step on SGD (or Adam) with one or two groups of parameters; all that can be seen afterwards."""
    model = _Net(*weights).train(training)
    held = [{"params": [model.first, model.bias], "lr": 0.5}, {"params": [model.second], "lr": 0.25}][:groups]
    optimizer = torch.optim.Adam(held) if adam else torch.optim.SGD(held)
    for parameter, gradient in zip(model.parameters(), stale or [], strict=False):
        parameter.grad = gradient.clone()
    scaler = module.DynamicGradScaler(**dict(scaler))
    losses = []
    targeted = []
    calls = []

    def loss_fn(outputs, targets):
        losses.append([outputs.dtype, (outputs[:1] @ outputs[:1].T).dtype])
        targeted.append(targets.dtype)
        return (outputs - targets).square().mean()

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step) if schedule else None
    optimizer.register_step_post_hook(lambda *seen: calls.append(1))
    results = []
    for _ in range(steps):
        with meter:
            result = module.amp_train_step(
                model, loss_fn, batches, optimizer, scaler, **options, **({"scheduler": scheduler} if schedule else {})
            )
        results.append(result)
    meter.kept([p.grad for p in model.parameters()], [list(optimizer.state[p].values()) for p in model.parameters()])
    return {
        "result": results[-1],
        "stepped": [r["stepped"] for r in results],
        "weights": list(model.parameters()),
        "state": [list(map(copy.deepcopy, optimizer.state[p].values())) for p in model.parameters()],
        "inputs": model.given,
        "layers": model.notes,
        "losses": losses,
        "targets": targeted,
        "modes": [*model.modes, model.training],
        "scale": scaler.get_scale(),
        "rate": [group["lr"] for group in optimizer.param_groups],
        "steps": len(calls),
    }


def step_beside_the_model(module, weight, batch):
    """A step whose optimizer holds a weight of the loss, with an old gradient; the norm, and that weight."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data = weight.clone()
    outside = nn.Parameter(torch.ones(1))
    outside.grad = torch.full((1,), 512.0)
    optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": [outside]}], lr=1.0)
    scaler = module.DynamicGradScaler(init_scale=2.0)

    def loss_fn(outputs, targets):
        return (outputs - targets).sum() + 4 * outside.sum()

    result = module.amp_train_step(model, loss_fn, [batch], optimizer, scaler, max_norm=math.inf)
    return {"norm": result["grad_norm"], "outside": outside.detach()}


# --- fp8


def quantize(module, tensors, options):
    """`quantize` of each tensor in turn by one scaling; q as float32, its dtype, and the scaling's state after it."""
    scaling = module.DelayedScaling(**options)
    trace = []
    for x in tensors:
        q, used = scaling.quantize(x)
        trace.append({"q": q.float(), "dtype": q.dtype, "used": used, "scale": scaling.scale})
        trace[-1]["history"] = list(scaling.history)
    return trace


def quantized_in_turn(module, *, turns):
    """q of each tensor by one scaling, read when all is done."""
    scaling = module.DelayedScaling()
    told = [scaling.quantize(x)[0] for (x,) in turns]
    return [q.float() for q in told]


def fp8_matmul(module, pairs, a_options, b_options):
    a_scaling, b_scaling = module.DelayedScaling(**a_options), module.DelayedScaling(**b_options)
    products = [module.fp8_scaled_matmul(a, b, a_scaling, b_scaling) for a, b in pairs]
    return {"products": products, "scales": [a_scaling.scale, b_scaling.scale]}


# --- pad_for_tensor_cores


def padded_sizes(module, sizes, dtype):
    return [list(module.pad_for_tensor_cores(torch.zeros(3, n, dtype=dtype), (1,)).shape) for n in sizes]


def padded_float8(module, x, dtype):
    padded = module.pad_for_tensor_cores(x.to(dtype), (0, 1))
    return {"values": padded.float(), "dtype": padded.dtype}


def padded_product(module, a, b):
    """The product of factors padded along all three sizes, cropped."""
    product = module.pad_for_tensor_cores(a, (-2, -1)) @ module.pad_for_tensor_cores(b, (-2, -1))
    return product[..., : a.shape[-2], : b.shape[-1]]


def pad(module, x, axes, multiple):
    return module.pad_for_tensor_cores(x, axes, multiple)


def pad_cost(module, x, axes, multiple, grad, *, meter):
    x = x.detach().requires_grad_(grad)
    with meter:
        padded = module.pad_for_tensor_cores(x, axes, multiple)
    return {"itself": padded is x, "shape": list(padded.shape)}
