"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data.

Ranks are forks: what they change is theirs, so whatever a check wants to see comes back in a rank's value.
"""

import copy
import time
import weakref
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from grader.cost import Meter
from grader.ranks import on_ranks


def _sent(meter):
    """Bytes that this rank handed over, and how many times, by operator of torch.distributed."""
    return {"bytes": dict(meter.cost.sent), "calls": {name: meter.cost.calls[name] for name in meter.cost.sent}}


def _same(one, other):
    """Whether arguments are what they were: tensors, NaN for NaN, in lists of the same length."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _place(tensor):
    return tensor.untyped_storage().data_ptr()


class _Log(TorchDispatchMode):
    """Notes every message and, of a send, to whom it goes, in the order in which they happen."""

    def __init__(self, events):
        super().__init__()
        self.events = events

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace in ("c10d", "_c10d_functional"):
            name = func._overloadpacket.__name__
            self.events.append((name, args[2]) if name == "send" else (name,))
        return func(*args, **(kwargs or {}))


# --------------------------------------------------------------------------------------------------- ring_all_reduce


def ring(module, parts):
    """parts[rank]: this rank's tensors, reduced one after the other. Values, arguments, what was sent to whom."""

    def work(rank):
        said = []
        for x in parts[rank]:
            events = []
            with Meter() as meter, _Log(events):
                out = module.ring_all_reduce(x)
            shared = _place(out) == _place(x) and out.numel() > 0
            to = sorted({event[1] for event in events if event[0] == "send"})
            said.append({"sum": out, "x afterwards": x, "memory shared with x": shared, "to": to, **_sent(meter)})
        return said

    return on_ranks(module, len(parts), work)


# ------------------------------------------------------------------------------------------------------ DataParallel


class _Net(nn.Module):
    """A multilayer perceptron with a buffer and a frozen parameter."""

    def __init__(self, dtype):
        super().__init__()
        self.up = nn.Linear(5, 7, dtype=dtype)
        self.shift = nn.Parameter(torch.randn(7, dtype=dtype), requires_grad=False)
        self.register_buffer("scale", torch.rand(7, dtype=dtype) + 0.5)
        self.down = nn.Linear(7, 3, dtype=dtype)

    def forward(self, x, *, factor=1.0):
        return self.down(torch.tanh(self.up(x) + self.shift) * self.scale) * factor


def _state(net):
    return {name: value.detach().clone() for name, value in _named(net)}


def _named(net):
    """Parameters, and buffers of all modules, also those that a state_dict leaves out."""
    return [*net.named_parameters(), *net.named_buffers()]


def start(module, count):
    """Ranks with other weights each. Their states before and after wrapping, and whether memory stayed in place."""

    def work(rank):
        torch.manual_seed(rank)
        net = _Net(torch.float64)
        net.down.register_buffer("steps", torch.tensor(2**60 + 1 + rank))
        net.down.register_buffer("seen", torch.randn(6).sign().long() * (rank + 1), persistent=False)
        before, places = _state(net), [value.data_ptr() for _, value in _named(net)]
        model = module.DataParallel(net)
        same = model.module is net and places == [value.data_ptr() for _, value in _named(net)]
        return before, _state(net), same

    return on_ranks(module, count, work)


def train(module, cases, lr):
    """cases: (state, xs, ys, bucket_bytes). Steps of SGD on the mean of squares over the rows of all ranks.

    xs[rank][step]: this rank's rows. Rank 0 alone starts from `state`. By rank, by case: the state before the first
    and after each step.
    """

    def one(rank, state, xs, ys, bucket_bytes):
        whole = [sum(len(share[step]) for share in xs) for step in range(len(xs[0]))]
        torch.manual_seed(rank)
        net = _Net(xs[0][0].dtype)
        if rank == 0:
            net.load_state_dict(state)
        options = {} if bucket_bytes is None else {"bucket_bytes": bucket_bytes}
        model = module.DataParallel(net, **options)
        optimizer = torch.optim.SGD([q for q in net.parameters() if q.requires_grad], lr)
        states = [_state(net)]
        for x, y, n in zip(xs[rank], ys[rank], whole, strict=True):
            optimizer.zero_grad()
            loss = (model(x, factor=2.0) - y).square().sum() * len(xs) / n
            loss.backward()
            model.finish()
            optimizer.step()
            states.append(_state(net))
        return states

    return on_ranks(module, len(cases[0][1]), lambda rank: [one(rank, *case) for case in cases])


class _Mark(torch.autograd.Function):
    """The identity, which notes when backward passes it."""

    @staticmethod
    def forward(ctx, x, events, name):
        ctx.note = events, name
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        events, name = ctx.note
        events.append(name)
        return grad, None, None


class _Chain(nn.Module):
    """Parameters used one after the other, and a frozen one; backward reaches them from last to first."""

    def __init__(self, sizes, dtype):
        super().__init__()
        self.frozen = nn.Parameter(torch.ones(3, dtype=dtype), requires_grad=False)
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(n, dtype=dtype)) for n in sizes)

    def forward(self, factors, order, events):
        total = torch.zeros((), dtype=factors[0].dtype)
        for i in order:
            total = _Mark.apply(total, events, i)
            total = total * 2 + (self.weights[i] * factors[i]).sum()
        return total


def buckets(module, sizes, limits, factors):
    """For each bucket_bytes of limits one backward through a chain of parameters.

    factors[rank]: the gradients but for powers of two, a tensor for each parameter. By rank, by limit: what was sent
    during it and during finish, and gradients.
    """

    def one(rank, bucket_bytes):
        net, events = _Chain(sizes, factors[0][0].dtype), []
        model = module.DataParallel(net, bucket_bytes)
        loss = model(factors[rank], range(len(sizes)), events)
        with Meter() as during, _Log(events):
            loss.backward()
        with Meter() as after:
            model.finish()
        return {"during": _sent(during), "after": _sent(after), "events": events, "grads": _grads(net.weights)}

    return on_ranks(module, len(factors), lambda rank: [one(rank, bucket_bytes) for bucket_bytes in limits])


def _grads(parameters):
    return [None if q.grad is None else q.grad.clone() for q in parameters]


def orders(module, factors, cases, rounds):
    """Ranks use the parameters case[rank], in that order, in buckets of one. By rank, by case: gradients by round."""

    def one(rank, orders):
        net = _Chain([len(f) for f in factors[0]], factors[0][0].dtype)
        model, said = module.DataParallel(net, 8), []
        for _ in range(rounds):
            net.zero_grad()
            model(factors[rank], orders[rank], []).backward()
            model.finish()
            said.append(_grads(net.weights))
        return said

    return on_ranks(module, len(factors), lambda rank: [one(rank, orders) for orders in cases])


def default_buckets(module, cases):
    """cases: (sizes, dtype). What one rank sends in a backward through such parameters, bucket_bytes not given."""

    def one(sizes, dtype):
        net = nn.ParameterList(nn.Parameter(torch.zeros(n, dtype=dtype)) for n in sizes)
        net.append(net[0])  # two names, one parameter
        model = module.DataParallel(net)
        with Meter() as meter:
            sum(q.sum() for q in net).backward()
            model.finish()
        return _sent(meter)

    return on_ranks(module, 1, lambda rank: [one(*case) for case in cases])


def accumulate(module, factors, cases):
    """factors[rank][i]: gradients of micro-batch i. cases: (quiet, fails, last, nested).

    The first `quiet` micro-batches run under no_sync, one more outside, over the parameters `last`. fails: an exception
    leaves the last no_sync, after its backward. nested: a no_sync has begun and ended inside, before the backward. A
    second model goes backward before the first one is finished. By rank, by case: gradients, and what was sent.
    """

    def one(rank, quiet, fails, last, nested):
        nets = [_Chain([len(f) for f in factors[0][0]], factors[0][0][0].dtype) for _ in range(2)]
        model, second = (module.DataParallel(net) for net in nets)
        every = range(len(factors[0][0]))
        with Meter() as before:
            for i in range(quiet):
                try:
                    with model.no_sync():
                        with model.no_sync() if nested else nullcontext():
                            pass
                        model(factors[rank][i], every, []).backward()
                        if fails and i == quiet - 1:
                            raise LookupError
                except LookupError:
                    pass
        with Meter() as during:
            model(factors[rank][quiet], last, []).backward()
        second(factors[rank][quiet], every, []).backward()
        with Meter() as after:
            model.finish()
        second.finish()
        grads = dict(zip(("grads", "grads of the second"), (_grads(net.weights) for net in nets), strict=True))
        return {"quiet": _sent(before), "during": _sent(during), "after": _sent(after), **grads}

    return on_ranks(module, len(factors), lambda rank: [one(rank, *case) for case in cases])


# ----------------------------------------------------------------------------------------------------- ZeroOptimizer


def zero(module, cases):
    """cases: dicts of the arguments of `one`, the same for all ranks. By rank, by case: what is said of each step.

    grads[rank][i]: the gradients of backward pass i. steps: for each optimizer step, after how many more passes. Before
    these comes zero_grad; -2 are 2 passes without it, and a step behind 0 passes uses the gradients that are there. A
    pass before all is forgotten. Before the last step `.optimizer` gets half its learning rate.
    """

    def one(rank, weights, grads, steps, stage, name, defaults):
        params = [nn.Parameter(w.clone()) for w in weights]
        options = {} if stage is None else {"stage": stage}
        optimizer = module.ZeroOptimizer(iter(params), getattr(torch.optim, name), **options, **defaults)
        places = [q.data_ptr() for q in params]
        sum((q * q).sum() for q in params).backward()  # the first zero_grad must forget it
        said, i = [], 0
        for passes in steps:
            if passes > 0:
                optimizer.zero_grad()
            cleared = all(q.grad is None for q in params)
            with Meter() as during:
                for _ in range(abs(passes)):
                    reached = [(q * g).sum() for q, g in zip(params, grads[rank][i], strict=True) if g is not None]
                    sum(reached).backward()
                    i += 1
            kept = [n for n, q in enumerate(params) if q.grad is not None]
            if len(said) == len(steps) - 1:
                optimizer.optimizer.param_groups[0]["lr"] /= 2
            with Meter() as step:
                optimizer.step()
            states = optimizer.optimizer.state.values()
            numbers = sum(x.numel() for state in states for x in state.values() if torch.is_tensor(x) and x.dim())
            said.append(
                {
                    "weights": [q.detach().clone() for q in params],
                    "cleared": cleared,
                    "in place": places == [q.data_ptr() for q in params],
                    "kept": kept,
                    "backward": _sent(during),
                    "step": _sent(step),
                    "states": numbers,
                }
            )
        return said

    return on_ranks(module, len(cases[0]["grads"]), lambda rank: [one(rank, **case) for case in cases])


def zero_holds(module, sizes, count, stage):
    """Adam on parameters of so many numbers, used one after the other, on `count` ranks. By rank, bytes.

    "held": of what was made in the optimizer and in a pass, what is alive after each, beside whole gradients.
    "peak": most at once in a backward pass. "quiet": parameters whose gradient was complete when backward went on
    without a message.
    """

    def work(rank):
        net, events = _Chain(sizes, torch.float64), []
        factors = [torch.full((n,), rank + 1.0, dtype=torch.float64) for n in sizes]
        with Meter() as meter:
            optimizer = module.ZeroOptimizer(net.weights, torch.optim.Adam, stage=stage, lr=0.1)
        held = {"the optimizer is made": meter.kept()}
        for _ in range(2):
            optimizer.zero_grad()
            loss = net(factors, range(len(sizes)), [])
            with meter:
                loss.backward()
            held["backward"] = _settled(lambda: meter.kept([q.grad for q in net.weights]))
            with meter:
                optimizer.step()
            held["step"] = _settled(lambda: meter.kept([q.grad for q in net.weights]))
        optimizer.zero_grad()
        loss = net(factors, range(len(sizes)), events)
        with Meter() as during, _Log(events):
            loss.backward()
        silent = [events[i] for i, e in enumerate(events) if not isinstance(e, tuple) and not _spoke(events[:i])]
        return {"held": held, "peak": during.cost.peak, "quiet": silent, "weights": [q.detach() for q in net.weights]}

    return on_ranks(module, count, work)


def _spoke(events):
    """Whether the last event is a message."""
    return bool(events) and isinstance(events[-1], tuple)


def zero_stages(module, stages):
    """Which of the stages are refused, on one rank."""

    def refused(stage):
        try:
            module.ZeroOptimizer([nn.Parameter(torch.ones(2))], torch.optim.SGD, stage=stage, lr=0.1)
        except ValueError:
            return True
        return False

    return on_ranks(module, 1, lambda rank: [stage for stage in stages if refused(stage)])


# ------------------------------------------------------------------------------------------------ FullyShardedLinear


def sharded(module, cases):
    """cases: (weight, bias, xs, gs). One layer each, forward and backward, by rank, by case.

    xs[rank], gs[rank]: input and gradient of the output. After that pass come two more, with x and 1 - x: "later"
    tells of these two, "of all" of the three.
    """

    def one(rank, weight, bias, xs, gs):
        weight = weight.clone()
        whole = weakref.ref(weight)
        layer = module.FullyShardedLinear(weight, bias)
        del weight
        x, g = xs[rank].detach().requires_grad_(), gs[rank].clone()
        before = layer.unshard()
        with torch.no_grad():
            first = layer(x)
            layer(1 - x)  # what comes after, in the same size, is no matter for what x gave
        with Meter() as forward:
            y = layer(x)
        with Meter() as backward:
            y.backward(g)
        (shard,) = layer.parameters()
        once = shard.grad.clone()
        both = [own.requires_grad_() for own in (x.detach().clone(), 1 - x.detach())]
        for later in [layer(own) for own in both]:  # both forwards come first
            later.backward(gs[rank].clone())
        return {
            "y": y.detach(),
            "y without gradients": first,
            "x.grad": x.grad,
            "later x.grad": [own.grad for own in both],
            "shard": layer.shard.detach(),
            "shard.grad": once,
            "shard.grad of all": shard.grad,
            "unshard": [t.detach() for t in before],
            "unshard needs gradients": any(t.requires_grad for t in before),
            "gradient left alone": torch.equal(g, gs[rank]),
            "whole weight kept": whole() is not None,
            "bytes of the shard's memory": layer.shard.untyped_storage().nbytes(),
            **_passes(forward, backward),
        }

    return on_ranks(module, len(cases[0][2]), lambda rank: [one(rank, *case) for case in cases])


def sharded_stack(module, weights, biases, x):
    """A stack of layers in training and in eval, with and without gradients, forward and backward.

    By rank: outputs, and of each way bytes that lived at once, were saved for backward, and were held afterwards.
    """

    def work(rank):
        with Meter() as making:
            layers = nn.Sequential()
            for w, b in zip(weights, biases, strict=True):
                layers.append(module.FullyShardedLinear(w.clone(), b.clone()))
        shards = [layer.shard for layer in layers]
        said = {"held when made": making.kept(shards)}
        for mode in ("training", "eval"):
            layers.train(mode == "training")
            for q in shards:
                q.grad = None
            own = x.clone().requires_grad_()
            with Meter() as forward:
                y = layers(own)
            said[f"forward in {mode}"] = _memory(forward, y)
            with Meter() as backward:
                y.square().sum().backward()
            said[f"backward in {mode}"] = _memory(backward, own.grad, [q.grad for q in shards])
            with torch.no_grad(), Meter() as quiet:
                z = layers(x)
            said[f"forward without gradients in {mode}"] = _memory(quiet, z)
            said |= {f"y in {mode}": y.detach(), f"y without gradients in {mode}": z}
        return said

    return on_ranks(module, 2, work)


def _memory(meter, *owned):
    """Bytes of a measured pass: the most at once, what is saved for backward, what is held beside `owned`."""
    return {"peak": meter.cost.peak, "saved": meter.cost.saved, "held": _settled(lambda: meter.kept(*owned))}


def _settled(weigh):
    """The least that is held: gloo's own threads let go of a message a moment after it has arrived."""
    dist.barrier()
    held = weigh()
    for pause in (0.001, 0.01, 0.1):
        if held:
            time.sleep(pause)  # nothing tells when they have
            held = min(held, weigh())
    return held


def sharded_training(module, weights, biases, xs, ys, lr, steps):
    """SGD on shards, mean of squares over this rank's rows. Whole weights afterwards, by layer."""

    def work(rank):
        layers = [module.FullyShardedLinear(w, b) for w, b in zip(weights, biases, strict=True)]
        optimizer = torch.optim.SGD([layer.shard for layer in layers], lr)
        for _ in range(steps):
            optimizer.zero_grad()
            y = layers[1](torch.tanh(layers[0](xs[rank])))
            (y - ys[rank]).square().mean().backward()
            optimizer.step()
        return [[t.detach().clone() for t in layer.unshard()] for layer in layers]

    return on_ranks(module, len(xs), work)


# ---------------------------------------------------------------------------------------------- ColumnParallelLinear


def column(module, cases):
    """cases: (weight, bias, x, gs). A column-parallel layer each. gs[rank]: the gradient of this rank's outputs."""
    return on_ranks(module, len(cases[0][3]), lambda rank: [_column(module, rank, *case) for case in cases])


def row(module, cases):
    """cases: (weight, bias, xs, g). A row-parallel layer each. xs[rank]: this rank's features."""
    return on_ranks(module, len(cases[0][2]), lambda rank: [_row(module, rank, *case) for case in cases])


def both_layers(module, columns, rows):
    """A column-parallel layer, and a row-parallel one."""
    return on_ranks(module, len(rows[2]), lambda rank: (_column(module, rank, *columns), _row(module, rank, *rows)))


def _column(module, rank, weight, bias, x, gs):
    with Meter() as making:
        layer = module.ColumnParallelLinear(weight.clone(), bias.clone())
    layer(1 - x)  # what came before or comes after, in the same size, is no matter for what x gives
    first = layer(x)  # the first layer of a model: its input needs no gradient
    layer(2 - x)
    own = x.detach().requires_grad_()
    with Meter() as forward:
        y = layer(own)
    with Meter() as backward:
        y.backward(gs[rank])
    said = {"y": y.detach(), "y of data": first.detach(), "x.grad": own.grad}
    held = _held(layer, making, forward, backward, y, first, own.grad)
    return {**said, **held, **_layer(module.ColumnParallelLinear, layer, weight, bias), **_passes(forward, backward)}


def _row(module, rank, weight, bias, xs, g):
    with Meter() as making:
        layer = module.RowParallelLinear(weight.clone(), bias.clone())
    own = xs[rank].detach().requires_grad_()
    with Meter() as forward:
        y = layer(own)
    with Meter() as backward:
        y.backward(g)
    said = {"y": y.detach(), "x.grad": own.grad, **_held(layer, making, forward, backward, y, own.grad)}
    return {**said, **_layer(module.RowParallelLinear, layer, weight, bias), **_passes(forward, backward)}


def _held(layer, making, forward, backward, *owned):
    """Bytes that are alive at the end, of those made in the layer and its passes, beside what it is to hold."""
    mine = [layer.weight, layer.bias, layer.weight.grad, layer.bias.grad]
    passes = _settled(lambda: forward.kept(mine, owned) + backward.kept(mine, owned))
    return {"held when made": making.kept(mine), "held by passes": passes}


def _layer(kind, layer, weight, bias):
    other = kind(weight, bias)
    return {
        "shared": {_place(other.weight), _place(other.bias)} & {_place(weight), _place(bias)} != set(),
        "weight": layer.weight.detach(),
        "bias": layer.bias.detach(),
        "weight.grad": layer.weight.grad,
        "bias.grad": layer.bias.grad,
        "parameters": sorted(name for name, _ in layer.named_parameters()),
        "bytes of memory": layer.weight.untyped_storage().nbytes() + layer.bias.untyped_storage().nbytes(),
    }


def _passes(forward, backward):
    return {"forward": _sent(forward), "backward": _sent(backward)}


def parallel_mlp(module, weights, biases, x, target, lr, steps, count):
    """Training of a tensor-parallel MLP. Output, x's gradient and messages of each step, and the pieces at the end."""

    def work(rank):
        up = module.ColumnParallelLinear(weights[0], biases[0])
        down = module.RowParallelLinear(weights[1], biases[1])
        optimizer = torch.optim.SGD([*up.parameters(), *down.parameters()], lr)
        said = []
        for _ in range(steps):
            optimizer.zero_grad()
            own = x.detach().requires_grad_()
            with Meter() as forward:
                y = down(nn.functional.gelu(up(own)))
            with Meter() as backward:
                (y - target).square().mean().backward()
            optimizer.step()
            said.append({"y": y.detach(), "x.grad": own.grad, **_passes(forward, backward)})
        pieces = [q.detach() for q in (up.weight, up.bias, down.weight, down.bias)]
        return {"steps": said, "pieces": pieces}

    return on_ranks(module, count, work)


# ----------------------------------------------------------------------------------------------------- pipeline_step


def pipeline(module, cases):
    """cases: (weights, orders, inputs, targets, start). Stages x + tanh(x w1) w2 over real ranks.

    weights[rank]: (w1, w2). start: gradients that were there before. A rank that must not read inputs or targets gets
    NaN for them. By rank, by case: losses, gradients, messages, peak bytes and inputs alive at once.
    """
    count = len(cases[0][0])

    def one(rank, weights, orders, inputs, targets, start):
        stage = _Stage(*weights[rank])
        for q, g in zip(stage.parameters(), start[rank], strict=True):
            q.grad = g.clone()
        own = inputs if rank == 0 else [torch.full_like(x, torch.nan) for x in inputs]
        goal = targets if rank == count - 1 else [torch.full_like(x, torch.nan) for x in targets]
        given = orders[rank], own, goal
        held = copy.deepcopy(given)
        with Meter() as meter:
            losses = module.pipeline_step(stage, *given, _loss)
        return {
            "losses": losses,
            "arguments left alone": _same(held, given) and not any(x.requires_grad for x in own) and stage.training,
            "losses need no gradient": not any(loss.requires_grad for loss in losses or []),
            "inputs alive": stage.alive,
            "grads": _grads(stage.parameters()),
            "peak": meter.cost.peak,
            "held": meter.kept(losses, [q.grad for q in stage.parameters()]),
            **_sent(meter),
        }

    return on_ranks(module, count, lambda rank: [one(rank, *case) for case in cases])


class _Stage(nn.Module):
    """Notes in `alive` how many of the inputs it has seen were alive at once."""

    def __init__(self, up, down):
        super().__init__()
        self.up, self.down = nn.Parameter(up.clone()), nn.Parameter(down.clone())
        self.inputs, self.alive = [], 0

    def forward(self, x):
        self.inputs.append(weakref.ref(x))
        self.alive = max(self.alive, sum(ref() is not None for ref in self.inputs))
        return (x + torch.tanh(x @ self.up) @ self.down).mT.contiguous().mT  # not contiguous


def _loss(y, target):
    return (y - target).square().sum()


# ---------------------------------------------------------------------------------------------------- ring_attention


def attend(module, cases):
    """cases: (qs, ks, vs, lengths, causal), with the tensors of each rank. Outputs and costs, by rank, by case."""

    def work(rank):
        said = []
        for qs, ks, vs, lengths, causal in cases:
            how = {} if causal is None else {"causal": causal}
            given = qs[rank], ks[rank], vs[rank], lengths
            held = copy.deepcopy(given)
            with Meter() as meter:
                out = module.ring_attention(*given, **how)
            cost = {"flops": meter.cost.flops, "largest": meter.cost.largest, "peak": meter.cost.peak}
            cost |= {"left": dict(meter.cost.left), "held": meter.kept(out)}
            said.append({"out": out, "arguments left alone": _same(held, given), **cost, **_sent(meter)})
        return said

    return on_ranks(module, len(cases[0][0]), work)
