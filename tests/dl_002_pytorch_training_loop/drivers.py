"""Runs beside the learner's code: makes models, optimizers and schedulers from data, trains, cuts, and returns data."""

import contextlib
import copy
import functools
import io
import itertools
import logging
import operator
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import threading
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

# --- Models, optimizers and schedulers from data. torch.optim imports a compiler, one second: these do not. -----------


class Noise(nn.Module):
    """Adds numbers of numpy's and of random's global state to x in training, as data augmentation does."""

    def forward(self, x):
        return x + 0.1 * (np.random.random() + random.random()) if self.training else x


class Counted(nn.Module):
    """Counts calls, by the mode that it is in; fails at call number `fails`."""

    def __init__(self, fails=None):
        super().__init__()
        self.calls, self.train_calls, self.sizes, self.grads, self.fails = 0, 0, [], [], fails

    def forward(self, x):
        self.calls += 1
        self.train_calls += self.training
        self.sizes.append(len(x))
        self.grads.append(torch.is_grad_enabled())
        if self.fails is not None and self.calls == self.fails:
            raise OSError("the machine was taken away")
        return x


LAYERS = {
    "linear": nn.Linear,
    "bn": nn.BatchNorm1d,
    "dropout": nn.Dropout,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "layer_norm": nn.LayerNorm,
    "rms_norm": nn.RMSNorm,
    "group_norm": nn.GroupNorm,
    "conv": nn.Conv2d,
    "embedding": nn.Embedding,
    "noise": Noise,
    "counted": Counted,
    "identity": nn.Identity,
}


def network(spec, state=None, dtype=torch.float64):
    """A Sequential of layers ("linear", 5, 3), with this state."""
    model = nn.Sequential(*(LAYERS[name](*options) for name, *options in spec)).to(dtype)
    if state:
        model.load_state_dict(state)
    return model


def values(model):
    """All parameters and buffers, by name, as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class Momentum:
    """buffer = momentum · buffer + g; p -= lr · buffer. Counts its steps, and notes each in `told`."""

    def __init__(self, parameters, lr, momentum, told=None):
        self.param_groups = [{"params": list(parameters), "lr": lr}]
        self.momentum, self.steps, self.buffers = momentum, 0, {}
        self.told = [] if told is None else told

    @property
    def parameters(self):
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none=True):
        for p in self.parameters:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    def step(self):
        self.told.append("step")
        self.steps += 1
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self.buffers[i] = self.momentum * self.buffers.get(i, torch.zeros_like(p.grad)) + p.grad
                p.data.sub_(self.param_groups[0]["lr"] * self.buffers[i])

    def state_dict(self):
        return {"lr": self.param_groups[0]["lr"], "steps": self.steps, "buffers": dict(self.buffers)}

    def load_state_dict(self, state):
        self.param_groups[0]["lr"], self.steps = state["lr"], state["steps"]
        self.buffers = {i: buffer.clone() for i, buffer in state["buffers"].items()}


class Shrink:
    """A rate that is multiplied after each step."""

    def __init__(self, optimizer, factor):
        self.optimizer, self.factor, self.steps = optimizer, factor, 0
        self.base = optimizer.param_groups[0]["lr"]

    def step(self):
        self.optimizer.told.append("rate")
        self.steps += 1
        self.optimizer.param_groups[0]["lr"] = self.base * self.factor**self.steps

    def state_dict(self):
        return {"steps": self.steps, "base": self.base}

    def load_state_dict(self, state):
        self.steps, self.base = state["steps"], state["base"]


def trainer(spec, state, lr=0.1, momentum=0.0, factor=None, dtype=torch.float64):
    """(model, optimizer, scheduler or None)."""
    model = network(spec, state, dtype)
    optimizer = Momentum(model.parameters(), lr, momentum)
    return model, optimizer, None if factor is None else Shrink(optimizer, factor)


def _global_states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def _seed(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


# --- Data ------------------------------------------------------------------------------------------------------------


def alone(module, name, args):
    """Two equal calls under other global seeds, and whose global state they moved. The first result is emptied."""
    told, moved = [], set()
    for seed in (1, 2):
        _seed(seed)
        before = _global_states()
        result = getattr(module, name)(*args)
        told.append(copy.deepcopy(result))
        if isinstance(result, list):
            for part in result:
                part.clear()
        moved |= {w for w, a, b in zip(("torch", "numpy", "random"), before, _global_states(), strict=True) if a != b}
    return {"results": told, "moved": sorted(moved)}


def collated_apart(module, examples):
    """What collate gives, and the examples after its result was overwritten."""
    batch = module.collate(examples)
    seen = {name: value.clone() for name, value in batch.items()}
    batch["x"].fill_(77)
    return seen, [x for x, _ in examples]


# --- evaluate ---------------------------------------------------------------------------------------------------------


def evaluated(module, spec, state, batches, training, frozen=(), dtype=torch.float64):
    """What `evaluate` gives and what it leaves behind. frozen: layers in evaluation mode while the rest trains."""
    model = nn.Sequential(network(spec, state, dtype), Counted())
    model.train(training)
    for i in frozen:
        model[0][i].eval()
    for i, p in enumerate(model.parameters()):
        p.grad = torch.full_like(p, 7.0)
        p.requires_grad_(i != 1)
    modes = [m.training for m in model.modules()]
    result = module.evaluate(model, iter(batches))
    return {
        "result": dict(result),
        "modes": [m.training for m in model.modules()] == modes,
        "state": values(model[0]),
        "needs": [p.requires_grad for p in model.parameters()] == [i != 1 for i, _ in enumerate(model.parameters())],
        "grad_mode": torch.is_grad_enabled(),
        "grads": all(p.grad is not None and bool((p.grad == 7).all()) for p in model.parameters()),
        "recorded": any(model[-1].grads),
        "sizes": model[-1].sizes,
    }


def evaluation_that_fails(module, batches, fails):
    """Modes and grad mode after the model has raised, and whether the exception came through."""
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3), Counted(fails)).double()
    model.train()
    model[1].eval()
    raised = False
    try:
        module.evaluate(model, batches)
    except OSError:
        raised = True
    modes = [m.training for m in model.modules()]
    return {"raised": raised, "modes": modes, "grad_mode": torch.is_grad_enabled()}


def evaluation_cost(module, count, rows, classes, training, *, meter):
    """`evaluate` of so many batches; the batches are made one by one."""
    model = nn.Linear(3, classes)
    model.train(training)
    batches = ((torch.ones(rows, 3) * i, torch.zeros(rows, dtype=torch.int64)) for i in range(count))
    with meter:
        result = module.evaluate(model, batches)
    del batches
    meter.kept()
    return dict(result)


# --- train_epoch ------------------------------------------------------------------------------------------------------


def trained(module, spec, state, batches, accumulate, max_norm, setup, leftover=False, frozen=(), outside=()):
    """One epoch of `train_epoch`, and what it leaves behind. frozen, outside of the optimizer: names of parameters."""
    model, optimizer, scheduler = trainer([*spec, ("counted",)], state, **setup)
    optimizer.param_groups[0]["params"] = [p for name, p in model.named_parameters() if name not in outside]
    model.eval()
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
        if leftover:
            p.grad = torch.full_like(p, 5.0)
    loss = module.train_epoch(model, optimizer, scheduler, iter(batches), accumulate, max_norm)
    return {
        "loss": loss,
        "state": values(model),
        "order": optimizer.told,
        "lr": optimizer.param_groups[0]["lr"],
        "training": all(m.training for m in model.modules()),
        "sizes": model[-1].sizes,
        "grads": [p.grad is None for p in model.parameters()],
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
        "grad_mode": torch.is_grad_enabled(),
    }


def trained_by_default(module, spec, state, batches, setup):
    """`train_epoch` without its options."""
    model, optimizer, scheduler = trainer(spec, state, **setup)
    module.train_epoch(model, optimizer, scheduler, batches)
    return {"state": values(model), "steps": optimizer.steps}


def trained_in_groups(module, spec, state, batches, accumulate, max_norm, setup):
    """The weights after `train_epoch` with an optimizer of three groups: the first weight, nothing, and the rest."""
    model, optimizer, scheduler = trainer(spec, state, **setup)
    first, *rest = optimizer.param_groups[0]["params"]
    optimizer.param_groups = [{"params": own, "lr": setup["lr"]} for own in ([first], [], rest)]
    module.train_epoch(model, optimizer, scheduler, batches, accumulate, max_norm)
    return values(model)


def epoch_cost(module, count, rows, width, accumulate, max_norm, *, meter):
    """`train_epoch` of so many batches; the batches are made one by one."""
    model = network([("linear", 3, width), ("tanh",), ("linear", width, 2)], dtype=torch.float32)
    optimizer = Momentum(model.parameters(), 0.1, 0.0)
    batches = ((torch.ones(rows, 3) * i, torch.zeros(rows, dtype=torch.int64)) for i in range(count))
    with meter:
        loss = module.train_epoch(model, optimizer, None, batches, accumulate, max_norm)
    del batches
    meter.kept(optimizer.buffers)
    return loss


# --- parameter_groups -------------------------------------------------------------------------------------------------


class Scale(nn.LayerNorm):
    """A LayerNorm by another name."""


class LikeANorm(nn.Module):
    """A matrix in a module that is called a norm and is none."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 2))


class Odd(nn.Module):
    """Parameters of its own in all numbers of axes, named to mislead, a tied pair, modules named to mislead."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.bias = nn.Parameter(torch.zeros(2, 3))
        self.norm = nn.Parameter(torch.zeros(3, 2))
        self.weight = nn.Parameter(torch.zeros(5))
        self.temperature = nn.Parameter(torch.zeros(()))
        self.filters = nn.Parameter(torch.zeros(2, 3, 1, 1))
        self.head = nn.Linear(3, 7)
        self.head.weight = self.embedding.weight
        self.scale, self.layer_norm = Scale((2, 3)), LikeANorm()


class Nested(nn.Module):
    """Norms in a dict, and a Sequential in a Sequential."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleDict({"first": nn.LayerNorm((2, 3)), "second": nn.RMSNorm((3, 2))})
        self.mlp = nn.Sequential(nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 3), nn.Tanh()))


class Deep(nn.Module):
    """Blocks in a list."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Nested() for _ in range(12))


def grouped(module, spec, frozen=(), decay=0.1):
    """For each group its decay and the names of its parameters; "?" for what the model does not have."""
    model = {"odd": Odd, "deep": Deep}[spec]() if isinstance(spec, str) else network(spec)
    names = {id(p): name for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
    groups = module.parameter_groups(model, decay)
    return [[group["weight_decay"], [names.get(id(p), "?") for p in group["params"]]] for group in groups]


# --- EarlyStopping ----------------------------------------------------------------------------------------------------


def watched(module, losses, options, cut=None):
    """For each value [what step returned, best, best_step]; after `cut` values in a new object that loads the state."""
    stopping = module.EarlyStopping(**options)
    told = []
    for i, value in enumerate(losses):
        state = stopping.state_dict()  # may be asked for at any time
        if i == cut:
            old, stopping = stopping, module.EarlyStopping(**options)
            for other in (-1e9, 1e9, float("nan"), -2e9, 2e9):
                old.step(other)
            stopping.load_state_dict(state)
            for other in (-3e9, 3e9):
                old.step(other)
        told.append([stopping.step(value), stopping.best, stopping.best_step])
    return told


def stopping_state(module, losses, options):
    """The state after these values, as data; the same, after two objects went on; how many values were seen."""
    stopping, other = (module.EarlyStopping(**options) for _ in range(2))
    for value in losses:
        stopping.step(value)
    state, seen = stopping.state_dict(), stopping.seen
    before = copy.deepcopy(state)
    other.load_state_dict(state)
    for one in (stopping, other):
        one.step(-1e9)
        one.step(1.0)
    return {"state": before, "after": state, "seen": seen}


# --- Checkpoints ------------------------------------------------------------------------------------------------------


def _train_step(model, optimizer, scheduler, batch):
    model.train()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()
    if scheduler is not None:
        scheduler.step()


def _begin():
    """Equal global states; of the normal numbers, which are drawn in pairs, the second ones wait."""
    _seed(5)
    np.random.standard_normal()
    random.gauss(0, 1)


def _next():
    """The next numbers of each global state."""
    numbers = [np.random.standard_normal(), *np.random.random(2).tolist()]
    return [torch.rand(2).tolist(), numbers, [random.gauss(0, 1), random.random()]]


def resumed(module, spec, state, setup, batches, cut):
    """Train on batches, save after `cut`, load into new objects in another state of everything, and train on.

    `cut` None: a run that is not cut. Returns what it leaves, and the next numbers of each global state.
    """
    _begin()
    model, optimizer, scheduler = trainer(spec, state, **setup)
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/last.pt"
        for i, batch in enumerate(batches):
            if i == cut:
                extra = {"batch": i, "best": {"w": torch.arange(3.0)}, "names": ["a", None], "pair": (1, 2.5)}
                module.save_checkpoint(path, model, optimizer, scheduler, extra)
                told["files"] = sorted(file.name for file in Path(folder).iterdir())
                moved = str(Path(path).rename(f"{folder}/moved.pt"))
                for _ in range(2):  # the old run goes on, and is saved: nothing of it may reach the new one
                    _train_step(model, optimizer, scheduler, batches[0])
                    module.save_checkpoint(path, model, optimizer, scheduler, {"batch": -1})
                _seed(99)
                fresh = {name: torch.full_like(value, 3) for name, value in state.items()}
                model, optimizer, scheduler = trainer(spec, fresh, **setup)
                objects = list(model.parameters())
                told["extra"] = module.load_checkpoint(moved, model, optimizer, scheduler)
                told["mode"] = model.training
                told["same_objects"] = all(a is b for a, b in zip(objects, model.parameters(), strict=True))
            _train_step(model, optimizer, scheduler, batch)
    told["state"] = values(model)
    told["rate"] = optimizer.param_groups[0]["lr"]
    told["steps"] = optimizer.steps
    told["next"] = _next()
    return told


def saved_beside(module, spec, state, setup, batches):
    """Whether saving changes a run: as `resumed`, but the run that was saved goes on itself."""
    _begin()
    model, optimizer, scheduler = trainer(spec, state, **setup)
    with tempfile.TemporaryDirectory() as folder:
        for batch in batches:
            _train_step(model, optimizer, scheduler, batch)
            module.save_checkpoint(f"{folder}/last.pt", model, optimizer, scheduler, {})
    return {"state": values(model), "training": all(m.training for m in model.modules()), "next": _next()}


def extras_in_turn(module, spec, state, setup, *, turns):
    """What is loaded from one path with each extra that was saved there, read when all is done."""
    model, optimizer, scheduler = trainer(spec, state, **setup)
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for (extra,) in turns:
            module.save_checkpoint(f"{folder}/last.pt", model, optimizer, scheduler, extra)
            told.append(module.load_checkpoint(f"{folder}/last.pt", model, optimizer, scheduler))
    return told


class _Unwritable:
    """Fails when the checkpoint is half written."""

    def __reduce__(self):
        raise OSError("no space left on device")


@contextlib.contextmanager
def _looking_at(path, seen, beside):
    """Notes what the file at `path` holds, None for no file, whenever a function begins or ends; each once.

    beside: gets what else is in its folder meanwhile, True for a folder and False for a file.
    """

    def look(*_):
        with os.scandir(Path(path).parent) as entries:
            beside.update(entry.is_dir() for entry in entries if entry.name != Path(path).name)
        try:
            with Path(path).open("rb") as file:
                held = file.read()
        except FileNotFoundError:
            held = None
        if held not in seen:
            seen.append(held)

    before = sys.getprofile(), threading.getprofile()
    look()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
        look()


@contextlib.contextmanager
def _disk_full_after(size):
    """No file may grow beyond this, as on a disk that is full: the system's calls fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def saved_twice(module, state, fails=None):
    """Two saves to one path, the second of other weights, and what stood at the path at each moment of either.

    fails: how the second one does: "value" that cannot be written, or "disk" that is full half-way. `moments` calls
    what was there: "nothing", the "first" checkpoint, the "second", or "a part" of one. `overwritten`: whether somebody
    who had opened the first file before now reads something else in it.
    """
    model, optimizer, _ = trainer([("linear", 3, 2)], state)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/last.pt"
        seen, raised, beside = ([], []), False, set()
        with _looking_at(path, seen[0], beside):
            module.save_checkpoint(path, model, optimizer, None, {"step": 1})
        first = Path(path).read_bytes()
        with torch.no_grad():
            model[0].weight.zero_()
        extra = {"step": 2, **({"bad": _Unwritable()} if fails == "value" else {})}
        full = _disk_full_after(len(first) // 2) if fails == "disk" else contextlib.nullcontext()
        with Path(path).open("rb") as opened:
            try:
                with full, _looking_at(path, seen[1], beside):
                    module.save_checkpoint(path, model, optimizer, None, extra)
            except Exception:
                raised = True
            overwritten = opened.read() != first
        last = Path(path).read_bytes() if Path(path).exists() else None
        names = {None: "nothing", first: "first"}
        if not raised:
            names[last] = "second"
        moments = [[names.get(held, "a part") for held in each] for each in seen]
        other, optimizer, _ = trainer([("linear", 3, 2)], None)
        extra = module.load_checkpoint(path, other, optimizer, None)
    told = {"raised": raised, "overwritten": overwritten, "moments": moments, "beside": sorted(beside)}
    return {**told, "extra": extra, "state": values(other)}


def saved_here(module, state):
    """A save to a path without a folder: what is in the working directory then, and extra as it is loaded."""
    model, optimizer, _ = trainer([("linear", 3, 2)], state)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        module.save_checkpoint("last.pt", model, optimizer, None, {"step": 1})
        files = sorted(file.name for file in Path(folder).iterdir())
        return {"files": files, "extra": module.load_checkpoint("last.pt", model, optimizer, None)}


def first_save_that_fails(module, state, fails):
    """A save that fails where no checkpoint was: whether it raised, and whether there is a file at the path."""
    model, optimizer, _ = trainer([("linear", 3, 2)], state)
    extra = {"bad": _Unwritable()} if fails == "value" else {"step": 1}
    with tempfile.TemporaryDirectory() as folder:
        path, raised = f"{folder}/last.pt", False
        try:
            with _disk_full_after(600) if fails == "disk" else contextlib.nullcontext():
                module.save_checkpoint(path, model, optimizer, None, extra)
        except Exception:
            raised = True
        return {"raised": raised, "there": Path(path).exists()}


class _Program:
    """Calls this function with these arguments when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def _foreign_code(ran):
    """A module that no list of names can know; a function, a class that is made and one that is filled note it."""
    code = types.ModuleType(f"weights_{os.urandom(4).hex()}")

    def rebuild(*args):
        ran.append("rebuild")
        return {}

    class Weights(dict):
        def __init__(self, *args):
            ran.append("Weights")

    class Filled:
        def __setstate__(self, state):
            ran.append("Filled")

    for one in (rebuild, Weights, Filled):
        one.__module__, one.__qualname__ = code.__name__, one.__name__
        setattr(code, one.__name__, one)
    return code


def _programs(code, target):
    """Objects whose unpickling writes to `target`, or is noted; by what they call."""
    filled = code.Filled()
    filled.weights = 1
    makes = f"import os; os.mkdir({target!r})"
    return {
        "a function of the checkpoint's author": _Program(code.rebuild, 1),
        "a class of the checkpoint's author": _Program(code.Weights, 1),
        "__setstate__ of a class of the checkpoint's author": filled,
        "os.mkdir": _Program(os.mkdir, target),
        "exec": _Program(exec, makes),
        "eval": _Program(eval, f"__import__('os').mkdir({target!r})"),
        "open": _Program(open, target, "w"),
        "io.FileIO": _Program(io.FileIO, target, "w"),
        "operator.methodcaller": _Program(operator.methodcaller("touch"), Path(target)),
        "functools.partial": _Program(functools.partial(open, target), "w"),
        "logging.FileHandler": _Program(logging.FileHandler, target),
        "torch.save": _Program(torch.save, 1, target),
        "numpy.savetxt": _Program(np.savetxt, target, [1.0]),
    }


def _written_by_others(program, path):
    """Files with a program in them, one after the other: as torch writes them today, as it once did, and a pickle."""
    torch.save({"model": program}, path)
    yield "a file of torch.save"
    torch.save({"model": program}, path, _use_new_zipfile_serialization=False)
    yield "an old file of torch.save"
    Path(path).write_bytes(pickle.dumps({"model": program}, protocol=2))
    yield "a pickle"


def program_in_a_checkpoint(module, state):
    """Load files that run code when they are unpickled: files of others, and real ones with it inside of extra.

    Returns what a fine file gives, which programs ran, and which files were taken without an exception.
    """
    model, optimizer, _ = trainer([("linear", 3, 2)], state)
    noted, told = [], {"ran": [], "taken": []}
    code = _foreign_code(noted)
    sys.modules[code.__name__] = code
    with tempfile.TemporaryDirectory() as folder:
        path, target = f"{folder}/last.pt", Path(folder) / "made"

        def load(name, where):
            noted.clear()  # saving may copy what it is given
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            try:
                module.load_checkpoint(path, model, optimizer, None)
                if where != "extra":
                    told["taken"].append(f"{name} in {where}")
            except Exception:
                pass
            if noted or target.exists():
                told["ran"].append(f"{name} in {where}")

        try:
            module.save_checkpoint(path, model, optimizer, None, {"step": 1})
            told["fine"] = module.load_checkpoint(path, model, optimizer, None)
            for name, program in _programs(code, str(target)).items():
                for where in _written_by_others(program, path):
                    load(name, where)
                with contextlib.suppress(Exception):
                    module.save_checkpoint(path, model, optimizer, None, {"step": program})
                    load(name, "extra")
        finally:
            del sys.modules[code.__name__]
    return told


# --- fit --------------------------------------------------------------------------------------------------------------


class _Cut(Exception):
    """The machine is taken away."""


def fitted(module, spec, state, setup, epochs, validation, options, stopping=None, cuts=(), limits=None, keep=True):
    """`fit`, with and without cuts, and what it leaves.

    epochs: the batches of each epoch. cuts: after how many optimizer steps of that process the machine is taken away,
    or ["evaluation", i]: in its i-th evaluation; each time `fit` is called again with new objects and other random
    numbers. limits: the numbers of epochs with which it is called one after the other. keep: whether there is a path.
    Of what is told, `saved` says for each step whether the file changed before the next one.
    """
    _seed(5)
    stopping = {"patience": 100, **(stopping or {})}
    limits = [len(epochs)] * (len(cuts) + 1) if limits is None else limits
    told = {"made": [], "asked": [], "files": []}

    def data(epoch):
        told["asked"].append(epoch)
        return epochs[epoch]

    def once(limit, cut):
        fresh = state if not told["made"] else {name: torch.full_like(value, 2) for name, value in state.items()}
        model, optimizer, scheduler = trainer(spec, fresh, **setup)
        begin = optimizer.step

        def step():
            told["files"].append(path is not None and Path(path).exists() and Path(path).read_bytes())
            if optimizer.told.count("step") == cut:
                raise _Cut
            begin()

        evaluations = []

        def look(layer, given):
            if not model.training:
                evaluations.append(1)
                if isinstance(cut, list) and len(evaluations) == cut[1] * len(validation) + 1:
                    raise _Cut

        model.register_forward_pre_hook(look)
        optimizer.step = step
        watch = module.EarlyStopping(**stopping)
        try:
            return model, module.fit(model, optimizer, scheduler, data, validation, limit, watch, path=path, **options)
        finally:
            told["made"].append(optimizer.told.count("step"))
            told["rate"], told["total"] = optimizer.param_groups[0]["lr"], optimizer.steps
            told["watched"] = watch.best_step

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "last.pt") if keep else None
        for i, (limit, cut) in enumerate(zip(limits, [*cuts, None][: len(limits)], strict=False)):
            with contextlib.suppress(_Cut):
                model, result = once(limit, cut)
            _seed(100 + i)
        for limit in limits[len(cuts) + 1 :]:
            model, result = once(limit, None)
        files = [*told.pop("files"), path is not None and Path(path).read_bytes()]
    saved = [one != other for one, other in itertools.pairwise(files)]
    return {**told, "saved": saved, "result": dict(result), "state": values(model)}


# --- checkpoint_segments ----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """x + dropout(gelu(linear(x))), which counts its calls."""

    def __init__(self, width, p, calls, i, activation):
        super().__init__()
        self.linear, self.calls, self.i = nn.Linear(width, width), calls, i
        self.dropout = nn.Dropout(p) if p else nn.Identity()
        self.activation = nn.GELU() if activation == "gelu" else nn.Tanh()

    def forward(self, x):
        self.calls[self.i] += 1
        return x + self.dropout(self.activation(self.linear(x)))


def stack(weights, biases, p=0.0, calls=None, activation="gelu"):
    calls = [0] * len(weights) if calls is None else calls
    blocks = [Block(w.shape[0], p, calls, i, activation) for i, w in enumerate(weights)]
    for block, w, b in zip(blocks, weights, biases, strict=True):
        block.to(w.dtype)
        block.linear.weight.data.copy_(w)
        block.linear.bias.data.copy_(b)
    return blocks


def plain(blocks, x, segments):
    """The plain pass, for a comparison in the same process."""
    for block in blocks:
        x = block(x)
    return x


def segmented(module, weights, biases, x, segments, upstream, p=0.0, needs=True, frozen=(), training=True, own=True):
    """Values and gradients of `checkpoint_segments`, or of the plain pass, and the next random numbers.

    With dropout the blocks run twice, on x and on -x, before the one backward pass. The last block has a
    parameter that it does not use.
    """
    calls = [0] * len(weights)
    blocks = stack(weights, biases, p, calls)
    for i, block in enumerate(blocks):
        block.train(training)
        block.linear.requires_grad_(i not in frozen)
    blocks[-1].spare = nn.Parameter(torch.ones(2))
    x = x.clone().requires_grad_(needs)
    torch.manual_seed(11)
    run = module.checkpoint_segments if own else plain
    out = run(blocks, x, segments)
    if p:
        out = out + run(blocks, -x, segments)
    between = torch.rand(2).tolist()
    if out.requires_grad:
        (out * upstream).sum().backward()
    after = torch.rand(2).tolist()
    gradients = [p.grad for block in blocks for p in block.linear.parameters()]
    return {
        "out": out.detach(),
        "x": x.grad,
        "spare": blocks[-1].spare.grad,
        "parameters": [g.clone() if g is not None else None for g in gradients],
        "random": [between, after],
        "most_calls": max(calls),
        "modes": all(block.training == training for block in blocks),
    }


def repeated(module, weights, biases, order, x, segments, upstream):
    """Blocks that come more than once, in this order, in a tuple: the value, and the gradients of all."""
    blocks, x = stack(weights, biases), x.clone().requires_grad_()
    out = module.checkpoint_segments(tuple(blocks[i] for i in order), x, segments)
    (out * upstream).sum().backward()
    return {"out": out.detach(), "x": x.grad, "parameters": [p.grad for block in blocks for p in block.parameters()]}


def embedded(module, table, weights, biases, tokens, segments, upstream):
    """Tokens go through an embedding, which is the first block; the gradients of all parameters."""
    embedding = nn.Embedding(*table.shape, dtype=table.dtype)
    embedding.weight.data.copy_(table)
    blocks = [embedding, *stack(weights, biases)]
    out = module.checkpoint_segments(blocks, tokens, segments)
    (out * upstream).sum().backward()
    return {"out": out.detach(), "parameters": [p.grad for block in blocks for p in block.parameters()]}


def without_grad(module, weights, biases, x, segments):
    """Under no_grad: the value, whether it requires gradients, the calls of each block."""
    calls = [0] * len(weights)
    with torch.no_grad():
        out = module.checkpoint_segments(stack(weights, biases, 0.0, calls), x, segments)
    return {"out": out.detach(), "requires_grad": out.requires_grad, "calls": calls}


def segments_cost(module, weights, biases, x, segments, upstream, phase, training, needs, *, meter):
    """The forward pass measured alone, or "both" passes with the gradients; the first block's weight's, and x's."""
    blocks = stack(weights, biases, 0.0, None, "tanh")
    for block in blocks:
        block.train(training)
    x = x.clone().requires_grad_(needs)
    if phase == "forward":
        with meter:
            out = module.checkpoint_segments(blocks, x, segments)
        meter.kept(out.detach())
    else:
        with meter:
            out = module.checkpoint_segments(blocks, x, segments)
            total = (out * upstream).sum()
            value = out.detach()
            del out
            total.backward()
            del total
        return value, x.grad, blocks[0].linear.weight.grad
    return out.detach(), None, None
