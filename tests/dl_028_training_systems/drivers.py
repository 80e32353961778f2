"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data.

The sharded checkpoint is tried on real ranks, in folders of the driver's own, with an error at each call that touches a
file; these calls are heard by an audit hook and by stand-ins, which live in a rank and die with it.
"""

import errno
import gc
import io
import math
import os
import random
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from grader.cost import Meter
from grader.hooks import hooks
from grader.ranks import on_ranks

# --- checkpoint -------------------------------------------------------------------------------------------------------


def _plain(function, *args):
    return function(*args)


class Plain:
    """In the place of a module: its checkpoint merely calls."""

    checkpoint = staticmethod(_plain)


class _Block(nn.Module):
    """Linear, GELU, dropout; counts its calls."""

    def __init__(self, weight, p, calls):
        super().__init__()
        self.weight, self.p, self.calls = nn.Parameter(weight.clone()), p, calls

    def forward(self, x):
        self.calls.append(1)
        return nn.functional.dropout(nn.functional.gelu(x @ self.weight), self.p, self.training)


def passes(module, kind, weights, x, other, upstream, p, needs, own):
    """A forward and a backward pass through functions of a kind, by the learner's checkpoint or without it (own False).

    needs: whether x requires a gradient; the second weight is frozen. Values, gradients, what random numbers come next.
    """
    checkpoint, calls = (module.checkpoint if own else _plain), []
    blocks = nn.Sequential(*(_Block(w, p, calls) for w in weights))
    blocks[1].weight.requires_grad_(False)
    x, other = x.clone().requires_grad_(needs), other.clone().requires_grad_()
    torch.manual_seed(5)
    if kind == "module":
        out = (checkpoint(blocks, x),)
    elif kind == "each":
        out = x
        for block in blocks:
            out = checkpoint(_one, block, out)[0]
        out = (out,)
    elif kind == "several":
        out = checkpoint(_several, blocks, x, 3.0, other, None)
        out = (out[0], out[1] * 2) if isinstance(out, tuple) else (out,)
    elif kind == "one of several":
        out = (checkpoint(_several, blocks, x, 3.0, other, None)[1],)
    else:
        out = (checkpoint(lambda x: blocks[2](checkpoint(blocks[1], checkpoint(blocks[0], x) + other)), x),)
    between = torch.rand(3)
    sum((y * g).sum() for y, g in zip(out, upstream, strict=False)).backward()
    return {
        "values": [y.detach() for y in out],
        "x": x.grad,
        "other": other.grad,
        "weights": [block.weight.grad for block in blocks],
        "random": [between, torch.rand(3)],
        "calls": len(calls),
        "x afterwards": x.detach(),
        "recorded": [y.requires_grad for y in out],
    }


def _one(block, x):
    return (block(x),)


def _several(blocks, x, factor, other, nothing):
    hidden = blocks(x) * factor
    return hidden + other, hidden.sum(1)


def quiet(module, weights, x):
    """Under no_grad: the value, the calls, whether it is recorded."""
    calls = []
    blocks = nn.Sequential(*(_Block(w, 0.0, calls) for w in weights))
    with torch.no_grad():
        out = module.checkpoint(blocks, x)
    return out, len(calls), out.requires_grad


def checkpoint_keeps(module, kind, weights, x, *, meter):
    """What a forward pass through functions of another kind leaves alive, beside its result."""
    blocks = nn.Sequential(*(_Block(w, 0.3 if kind == "dropout" else 0.0, []) for w in weights))
    x = x.clone().requires_grad_(kind != "x without gradient")
    other = torch.ones(x.shape[-1], dtype=x.dtype, requires_grad=True)
    torch.manual_seed(7)
    with meter:
        if kind == "no module":
            out = module.checkpoint(lambda x: blocks(x) * other, x)
        elif kind == "several arguments":
            out = module.checkpoint(_several, blocks, x, 3.0, other, None)
        elif kind == "nested":
            out = module.checkpoint(lambda x: blocks[2:](module.checkpoint(blocks[:2], x)), x)
        else:
            out = module.checkpoint(blocks, x)
    meter.kept([y.detach() for y in out] if isinstance(out, tuple) else out.detach())
    return out


def checkpoint_cost(module, weights, x, upstream, segments, phase, training, *, meter):
    """The forward pass and what it leaves alive, both passes, or a "quiet" one under no_grad; so many segments."""
    blocks = [_Block(w, 0.0, []).train(training) for w in weights]
    size = len(blocks) // segments
    out = x.clone().requires_grad_()
    leaf = out
    with torch.set_grad_enabled(phase != "quiet"), meter:
        for k in range(segments):
            out = module.checkpoint(nn.Sequential(*blocks[k * size : (k + 1) * size]).train(training), out)
        if phase == "both":
            (out * upstream).sum().backward()
    value = out.detach()
    if phase == "forward":
        meter.kept(value)
        return value, None
    return value, leaf.grad


# --- recomputed_scan --------------------------------------------------------------------------------------------------


def scan_cost(module, x, dt, a, b, c, chunk, upstream, phase, which, *, meter):
    """The scan measured in one phase: "forward", "quiet" (under no_grad) or "backward". which: require gradients."""
    leaves = [value.clone().requires_grad_(phase != "quiet" and i in which) for i, value in enumerate((x, dt, a, b, c))]
    if phase == "backward":
        y = module.recomputed_scan(*leaves, chunk)
        with meter:
            y.backward(upstream)
    elif phase == "forward":
        with meter:
            y = module.recomputed_scan(*leaves, chunk)
        meter.kept(y.detach())
    else:
        with torch.no_grad(), meter:
            y = module.recomputed_scan(*leaves, chunk)
    return y.detach(), [leaf.grad for leaf in leaves]


def scan_of_some(module, x, dt, a, b, c, chunk, which):
    """Gradients where only some of the five require one; a constant upstream."""
    leaves = [value.clone().requires_grad_(i in which) for i, value in enumerate((x, dt, a, b, c))]
    module.recomputed_scan(*leaves, chunk).sum().backward()
    return [leaf.grad for leaf in leaves]


# --- ShardedCheckpoint: files that fail -------------------------------------------------------------------------------


class _PowerCut(BaseException):
    """Nothing runs any more: no call that touches a file succeeds after it."""


class _Files:
    """Hears each call of this process that changes a file below `root`, and lets one of them fail."""

    EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.move")

    def __init__(self, module):
        self.root, self.at, self.error, self.dead = "", None, None, False
        self.count, self.fired, self.what, self.synced, self.at_work = 0, False, "", set(), False
        sys.addaudithook(self._hear)
        self._stand_in(module, os, "fsync", self._fsync)
        self._stand_in(module, os, "fdatasync", self._fsync)
        self._stand_in(module, os, "write", self._write)
        self._stand_in(module, torch, "save", self._save)

    def _stand_in(self, module, place, name, stand_in):
        real = getattr(place, name)

        def call(*args, **kwargs):
            return stand_in(real, *args, **kwargs)

        setattr(place, name, call)
        for own, value in list(vars(module).items()):
            if value is real:
                setattr(module, own, call)

    def begin(self, root):
        self.root, self.synced = str(root), set()
        self.arm(None, None)

    def arm(self, at, error):
        """Let the call number `at` from now on fail with this error; None: none."""
        self.at, self.error, self.dead, self.count, self.fired, self.what = at, error, False, 0, False, ""

    def _call(self, what):
        if self.at is None:
            return False
        if self.dead:
            raise _PowerCut
        self.count += 1
        if self.count - 1 == self.at:
            self.fired, self.what = True, what
            self.dead = self.error is _PowerCut
            return True
        return False

    def _fail(self):
        raise _PowerCut if self.dead else OSError(errno.ENOSPC, "No space left on device")

    def _hear(self, event, args):
        if not self.root or self.at is None or self.at_work:
            return
        if event == "open":
            path, mode, flags = args
            writes = (mode or "r")[0] in "wxa" or "+" in (mode or "") or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
            if not writes or isinstance(path, int):
                return
        elif event not in self.EVENTS:
            return
        if str(os.fsdecode(args[0]) if isinstance(args[0], bytes) else args[0]).startswith(self.root) and self._call(
            event
        ):
            self._fail()

    def _fsync(self, real, file):
        if self._call("os.fsync"):
            self._fail()
        real(file)
        told = os.fstat(file if isinstance(file, int) else file.fileno())
        self.synced.add((told.st_ino, told.st_size, told.st_mtime_ns))

    def _write(self, real, descriptor, data):
        if self._call("os.write"):
            real(descriptor, bytes(data)[: len(data) // 2])
            self._fail()
        return real(descriptor, data)

    def _save(self, real, value, file, *args, **kwargs):
        if not isinstance(file, io.BytesIO) and self._call("torch.save"):
            whole = io.BytesIO()
            real(value, whole)
            half = whole.getvalue()[: len(whole.getvalue()) // 2]
            if hasattr(file, "write"):
                file.write(half)
            else:
                self.at_work = True
                Path(file).write_bytes(half)
                self.at_work = False
            self._fail()
        return real(value, file, *args, **kwargs)

    def lose(self):
        """What a power cut does: of each file whose bytes were not flushed to the disk, half is gone."""
        self.at = None
        for path in Path(self.root).rglob("*"):
            if path.is_file():
                told = path.stat()
                if (told.st_ino, told.st_size, told.st_mtime_ns) not in self.synced:
                    os.truncate(path, told.st_size // 2)

    def lose_all(self):
        """What a power cut does in a folder of all ranks: what any of them has flushed is there."""
        flushed = [None] * dist.get_world_size()
        dist.all_gather_object(flushed, self.synced)
        self.synced = set().union(*flushed)
        if dist.get_rank() == 0:
            self.lose()
        dist.barrier()


def _same(told, want):
    """Whether a loaded checkpoint is this one: step, pieces, common."""
    step, sharded, common = want
    return (
        told["step"] == step
        and told["common"] == common
        and set(told["sharded"]) == set(sharded)
        and all(torch.equal(told["sharded"][name], piece) for name, piece in sharded.items())
    )


def _which(store, states):
    """The step of the checkpoint that load gives, if all of it is that step's; else what is wrong with it."""
    try:
        told = store.load()
    except Exception as error:
        return f"load raised {type(error).__name__}"
    for want in states:
        if told["step"] == want[0]:
            return want[0] if _same(told, want) else f"a mixture under the name of step {want[0]}"
    return f"step {told['step']}"


def power_cuts(module, states):
    """On one rank: two checkpoints are saved, and power fails at each call of the third save that touches a file.

    states: three of (step, sharded, common). By call: its name, and which checkpoint load gives afterwards.
    """

    def work(rank):
        files, said = _Files(module), []
        with tempfile.TemporaryDirectory() as root:
            for k in range(200):
                folder = Path(root, str(k))
                folder.mkdir()
                files.begin(folder)
                store = module.ShardedCheckpoint(str(folder))
                for state in states[:2]:
                    store.save(*state)
                files.arm(k, _PowerCut)
                try:
                    store.save(*states[2])
                except BaseException:
                    if not files.fired:
                        raise
                fired, what = files.fired, files.what
                files.lose()
                after = module.ShardedCheckpoint(str(folder))
                told = {"call": what, "found": _which(after, states), "latest": after.latest()}
                if not fired:
                    told["call"] = "none"
                said.append(told)
                if not fired:
                    break
        return said

    return on_ranks(module, 1, work)[0]


def errors(module, pieces):
    """On two ranks: a call that touches a file fails, each in turn, on rank 0 or on rank 1, while a save goes on.

    pieces[rank]: of step 0; those of step s are s larger. Step after step goes into one folder: what is whole after a
    failure is the old checkpoint of the next one. By rank: a dict for each failure.
    """

    def state(rank, step):
        return step, {name: piece + step for name, piece in pieces[rank].items()}, {"step": step}

    def work(rank):
        files, said, step = _Files(module), [], 1
        with tempfile.TemporaryDirectory() as own:
            where = [own]
            dist.broadcast_object_list(where, 0)
            files.begin(where[0])
            module.ShardedCheckpoint(where[0]).save(*state(rank, step))
            for who in (0, 1):
                for k in range(100):
                    told = _one_error(module, files, where[0], [state(rank, step + i) for i in range(3)], who, k)
                    step = told.get("next", step + 1)
                    if not told["fired"]:
                        break
                    said.append(told)
            dist.barrier()
        return said

    return on_ranks(module, 2, work, seconds=12.0)


def _one_error(module, files, folder, states, who, k):
    """The first of three states is whole. Call k of rank `who` fails as the second is saved; then save works again.

    Power fails behind either save.
    """
    store = module.ShardedCheckpoint(folder)
    files.arm(k if dist.get_rank() == who else None, OSError)
    raised = ""
    try:
        store.save(*states[1])
    except Exception as error:
        raised = type(error).__name__
    fired, what = [files.fired], files.what
    files.arm(None, None)
    if dist.get_rank() == who and not fired[0] and raised:
        raise AssertionError(f"save raised {raised}, and no call had failed")
    dist.broadcast_object_list(fired, who)
    told = {"who": who, "call": what, "fired": fired[0], "raised": raised, "step": states[0][0]}
    if not fired[0]:
        return told
    files.lose_all()
    if k % 2:
        store = module.ShardedCheckpoint(folder)
    told["found"], told["latest"] = _which(store, states), store.latest()
    told["old"] = _same(store.load(states[0][0]), states[0])
    next_ = states[1 if told["found"] == states[0][0] and k % 2 == 0 else 2]  # the same step again, or a later one
    store.save(*next_)
    files.lose_all()
    told["again"], told["next"] = _which(store, states) == next_[0], next_[0]
    return told


def values_that_fail(module):
    """A value that cannot be written on one of two ranks: what each raised, what is there, whether save works on.

    Then the step that failed is saved by one rank alone: what load gives of it.
    """

    def one(rank, folder, failing):
        store = module.ShardedCheckpoint(folder)
        store.save(1, {"w": torch.ones(3)}, {"n": 1})
        common = {"n": 2, "bad": (i for i in range(3))} if failing == 0 else {"n": 2}
        raised = ""
        try:
            store.save(2, {"w": torch.ones(3) if rank == 0 or failing == 0 else "no tensor"}, common)
        except Exception as error:
            raised = type(error).__name__
        latest = store.latest()
        store.save(3, {"w": torch.ones(3)}, {"n": 3})
        return {"raised": raised != "", "latest": latest, "later": store.load()["common"]}

    def alone(folder):
        store = module.ShardedCheckpoint(folder)
        store.save(2, {"w": torch.full((2,), 5.0)}, {"n": 5})
        told = store.load(2)
        return told["sharded"]["w"], told["common"]

    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        folders = (first, second)
        ranks = on_ranks(module, 2, lambda rank: [one(rank, folder, i) for i, folder in enumerate(folders)])
        return ranks, on_ranks(module, 1, lambda rank: [alone(folder) for folder in folders])[0]


# --- ShardedCheckpoint: what is saved ---------------------------------------------------------------------------------


def _bytes(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _view(piece):
    """The same numbers as a view of twice as many: each second one, where there are several."""
    return torch.stack([piece, piece + 1], 1)[:, 0] if len(piece) > 1 else torch.cat([piece, piece])[: len(piece)]


def moved(module, pieces, common, steps, counts):
    """Saved on as many ranks as pieces, at each of the steps, loaded on other numbers of ranks.

    pieces[rank]: dict of pieces. By rank: what saving cost; then, for each number in counts, by rank what came back.
    """
    with tempfile.TemporaryDirectory() as folder:

        def save(rank):
            mine = {name: _view(piece) for name, piece in pieces[rank].items()}
            mine = dict(reversed(mine.items())) if rank % 2 else mine
            store, before = module.ShardedCheckpoint(folder), {name: piece.clone() for name, piece in mine.items()}
            earliest = store.latest()
            for step in steps[:-1]:
                store.save(step, {name: piece * 0 for name, piece in mine.items()}, {"step": step})
            dist.barrier()
            grown = _bytes(folder)
            dist.barrier()
            with Meter() as meter:
                store.save(steps[-1], mine, common if rank == 0 else {**common, "rank": rank})
            dist.barrier()
            grown = _bytes(folder) - grown
            dist.barrier()
            if len(steps) > 1:
                store.save(2, {name: piece * 0 for name, piece in mine.items()}, {"step": 2})  # an earlier step, later
            return {
                "earliest": earliest,
                "sent": sum(meter.cost.sent.values()),
                "grown": grown,
                "left alone": all(torch.equal(_bits(piece), _bits(before[name])) for name, piece in mine.items()),
                "latest": store.latest(),
            }

        def load(rank):
            store = module.ShardedCheckpoint(folder)
            with Meter() as meter:
                store.load()
            told = store.load()
            first = store.load(steps[0])
            owned = all(
                piece.untyped_storage().nbytes() <= piece.nbytes + 64 and not piece.requires_grad
                for piece in told["sharded"].values()
            )
            for piece in told["sharded"].values():
                piece.zero_()
            again = store.load()
            apart = not any(map(torch.count_nonzero, told["sharded"].values()))  # they are as they were left
            return {
                "step": told["step"],
                "common": told["common"],
                "sharded": {name: _bits(piece) for name, piece in again["sharded"].items()},
                "dtypes": {name: str(piece.dtype) for name, piece in again["sharded"].items()},
                "sent": sum(meter.cost.sent.values()),
                "owned": owned,
                "apart": apart,
                "first": (first["step"], first["common"]),
                "latest": store.latest(),
            }

        saved = on_ranks(module, len(pieces), save)
        return saved, [on_ranks(module, count, load) for count in counts]


def _bits(tensor):
    """The bits of a tensor as integers, so that NaN and -0.0 compare."""
    return tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]).clone()


def refused(module):
    """What save and load refuse, and what stays as it was, on two ranks."""

    def work(rank):
        with tempfile.TemporaryDirectory() as own:
            where = [own]
            dist.broadcast_object_list(where, 0)
            store, said = module.ShardedCheckpoint(where[0]), {}
            beside = module.ShardedCheckpoint(where[0])
            said["nothing"] = _raises(store.load), store.latest(), beside.latest()
            store.save(7, {"w": torch.full((2,), 1.0 + rank)}, {"n": 1})
            dist.barrier()
            before = _bytes(where[0])
            dist.barrier()
            said["again"] = _raises(store.save, 7, {"w": torch.zeros(2)}, {"n": 2})
            dist.barrier()
            said["grown"] = _bytes(where[0]) - before
            told = store.load()
            said["kept"] = told["sharded"]["w"].tolist(), told["common"]
            said["beside"] = beside.latest()
            said["absent"] = _raises(store.load, 6), _raises(store.load, 70)
            dist.barrier()
        return said

    return on_ranks(module, 2, work)


def _raises(call, *args):
    try:
        call(*args)
    except Exception as error:
        return type(error).__name__
    return ""


class _Run:
    """A run whose flat parameters and Adam states lie in pieces on the ranks; noise is drawn from three libraries."""

    def __init__(self, start, widths, noisy):
        self.p, self.r = dist.get_world_size(), dist.get_rank()
        self.n, self.widths, self.noisy, self.step = len(start), widths, noisy, 0
        self.piece = nn.Parameter(start.tensor_split(self.p)[self.r].clone())
        self.adam = torch.optim.Adam([self.piece], 0.05)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.adam, 2, 0.5)

    def whole(self):
        first = sum(len(x) for x in torch.empty(self.n).tensor_split(self.p)[: self.r])
        flat = torch.zeros(self.n, dtype=self.piece.dtype)
        flat[first : first + len(self.piece)] = self.piece.detach()
        dist.all_reduce(flat)
        return flat, first

    def advance(self, data):
        """One step on the rows that are this rank's."""
        flat, first = self.whole()
        flat.requires_grad_()
        x, y = data[self.step]
        mine = slice(self.r * len(x) // self.p, (self.r + 1) * len(x) // self.p)
        a, b = self.widths
        hidden = torch.tanh(x[mine] @ flat[: a * b].view(a, b))
        if self.noisy:
            hidden = nn.functional.dropout(hidden, 0.3) * (0.5 + random.random()) + np.random.rand()
        loss = ((hidden @ flat[a * b :] - y[mine]) ** 2).sum() / len(x)
        loss.backward()
        grad = flat.grad
        dist.all_reduce(grad)
        self.piece.grad = grad[first : first + len(self.piece)].clone()
        self.adam.step()
        self.schedule.step()
        self.step += 1

    def save(self, store):
        state = self.adam.state[self.piece]
        sharded = {"weights": self.piece, "first": state["exp_avg"], "second": state["exp_avg_sq"]}
        schedule = {
            name: value for name, value in self.schedule.state_dict().items() if isinstance(value, (int, float))
        }
        rate = self.adam.param_groups[0]["lr"]
        store.save(self.step, sharded, {"step": self.step, "adam": state["step"], "rate": rate, "schedule": schedule})

    def load(self, store, step):
        told = store.load(step)
        with torch.no_grad():
            self.piece.copy_(told["sharded"]["weights"])
        self.adam.state[self.piece] = {
            "step": told["common"]["adam"].clone(),
            "exp_avg": told["sharded"]["first"].clone(),
            "exp_avg_sq": told["sharded"]["second"].clone(),
        }
        self.adam.param_groups[0]["lr"] = told["common"]["rate"]
        self.schedule.load_state_dict(told["common"]["schedule"])
        self.step = told["common"]["step"]


def _seed(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def resumed(module, start, widths, data, other):
    """A run on two ranks that is saved after each step, and runs that go on from each of these: noisy and calm.

    start, data: for noisy and for calm runs. By rank, for both: the weights at the end of the uncut run, and by cut
    those at the end of a run on as many ranks; and the ends of calm runs on another number of ranks.
    """
    with tempfile.TemporaryDirectory() as folder:
        for kind in start:
            Path(folder, kind).mkdir()

        def go_on(rank, kind, save):
            store, ends, uncut = module.ShardedCheckpoint(f"{folder}/{kind}"), [], None
            if save:
                _seed(rank)
                run = _Run(start[kind], widths, kind == "noisy")
                for _ in data[kind]:
                    run.advance(data[kind])
                    run.save(store)
                uncut = run.whole()[0]
            for step in range(1, len(data[kind])):
                if save:
                    _seed(100 + rank)
                run = _Run(start[kind] * 0, widths, kind == "noisy")
                run.load(store, step)
                while run.step < len(data[kind]):
                    run.advance(data[kind])
                ends.append(run.whole()[0])
            return {"uncut": uncut, "ends": ends}

        def change(rank):
            _seed(7)
            next_ = _next()
            _seed(7)
            told = go_on(rank, "calm", False)
            return {**told, "random left alone": _next() == next_}

        told = on_ranks(module, 2, lambda rank: {kind: go_on(rank, kind, True) for kind in start})
        return told, on_ranks(module, other, change)


def _next():
    return [torch.rand(1).item(), float(np.random.rand()), random.random()]


# --- TrainingMonitor --------------------------------------------------------------------------------------------------


def observed(module, options, steps, restarts=()):
    """Alarms by step; before each step in restarts a new monitor goes on with the state of the old one."""
    monitor, alarms, most, odd = module.TrainingMonitor(**options), [], 0, ""
    for i, (loss, norm) in enumerate(steps):
        state = monitor.state_dict()  # may be asked for at any time
        if i in restarts:
            file = io.BytesIO()
            odd = odd or _odd(state)
            torch.save(state, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
            most = max(most, _count(state))
            monitor = module.TrainingMonitor(**options)
            monitor.observe(-1e6, 1e6)  # what it saw before it is loaded counts no more
            monitor.observe(math.nan, 1e6)
            monitor.load_state_dict(state)
        alarms.append(list(monitor.observe(loss, norm)))
    return {"alarms": alarms, "most": max(most, _count(monitor.state_dict())), "odd": odd}


def _odd(value):
    """What a state holds besides numbers, strings, bools, None, lists and dicts: the name of the first such class."""
    if isinstance(value, (dict, list)):
        return next(filter(None, map(_odd, value.values() if isinstance(value, dict) else value)), "")
    return "" if value is None or isinstance(value, (int, float, str)) else type(value).__name__


def _count(value):
    """How many numbers and strings a nest of lists and dicts has."""
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_count, value))
    return value.numel() if isinstance(value, torch.Tensor) else 1


def branched(module, steps, others):
    """A monitor's state is taken; the monitor goes on; two others go on from the state, in turn: what each says."""
    first, second, third = (module.TrainingMonitor(warmup=2) for _ in range(3))
    for step in steps:
        first.observe(*step)
    state = first.state_dict()
    ahead = [first.observe(*step) for step in others]
    second.load_state_dict(state)
    behind = [second.observe(*step) for step in others]
    third.load_state_dict(state)
    return ahead, behind, [third.observe(*step) for step in others]


# --- StreamingHistogram -----------------------------------------------------------------------------------------------


def counted(module, groups, levels):
    """groups: tensors of one histogram each, merged into the first. Its summary and quantiles.

    Then three ones are added: what it says later, and what the last one of the others says.
    """
    made = []
    for tensors in groups:
        histogram = module.StreamingHistogram()
        for i, x in enumerate(tensors):
            own = nn.Parameter(x.clone(), requires_grad=i % 2 == 0)  # a weight, as it is
            histogram.add(own)
            own.data.fill_(0.25)  # as training goes on
        made.append(histogram)
    for other in made[1:]:
        made[0].merge(other)
    said = {"summary": made[0].summary(), "quantiles": [made[0].quantile(q) for q in levels] if levels else []}
    made[0].add(torch.ones(3))
    said["later"] = made[0].summary(), made[0].quantile(0.5)
    said["other"] = made[-1].summary() if len(made) > 1 else None
    return said


def histogram_keeps(module, xs, *, meter):
    """What is alive of a histogram after it was fed, and merged with another one."""
    histogram, other = module.StreamingHistogram(), module.StreamingHistogram()
    other.add(xs[0])
    with meter:
        for x in xs:
            histogram.add(x.clone().requires_grad_())
        histogram.merge(other)
    meter.kept()
    return histogram.summary()["count"]


def histogram_weighs(module, xs):
    """Python's own bytes that a histogram has more after it was fed; the first one is fed for what torch makes once."""
    for _ in range(2):
        histogram, other = module.StreamingHistogram(), module.StreamingHistogram()
        other.add(xs[0])
        gc.collect()
        tracemalloc.start()
        for x in xs:
            histogram.add(x)
        histogram.merge(other)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    return grown, histogram.summary()["count"]


# --- first_nonfinite --------------------------------------------------------------------------------------------------


class _Op(nn.Module):
    """A module of one operation by name."""

    def __init__(self, name, weight=None):
        super().__init__()
        self.name, self.passes = name, 0
        self.register_buffer("seen", torch.zeros(1))
        if weight is not None:
            self.weight = nn.Parameter(weight.clone(), requires_grad=name != "frozen times")

    def forward(self, x):
        self.passes += 1
        self.seen += 1
        if self.name == "table":
            return self.weight[x]
        if self.name in ("times", "frozen times"):
            return x @ self.weight
        if self.name == "root of weight":
            return x * self.weight.sqrt()
        if self.name == "safe root":  # finite forward, NaN backward at 0: 0 times infinity
            return torch.where(x > 0, x.sqrt(), torch.zeros_like(x))
        return {"log": torch.log, "root": torch.sqrt, "tanh": torch.tanh, "same": lambda x: x * 1.0, "exp": torch.exp}[
            self.name
        ](x)


class _Row(nn.Module):
    """Modules 0, 1, ... one after the other; turned: the last one is registered first."""

    def __init__(self, layers, turned):
        super().__init__()
        for i in sorted(range(len(layers)), reverse=turned):
            self.add_module(str(i), layers[i])

    def forward(self, x):
        for i in range(len(self._modules)):
            x = self.get_submodule(str(i))(x)
        return x


class _Skip(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class _LossRaised(Exception):
    pass


def _raising_loss(y):
    raise _LossRaised


def blamed(module, layers, x, loss, had, turned):
    """layers: (operation, weight or None), or a list of such for a skip. had: gradients are there before.

    turned: modules are registered from last to first.

    What first_nonfinite gives, and what is left of it.
    """
    made = []
    for layer in layers:
        if isinstance(layer, list):
            made.append(_Skip(nn.Sequential(*(_Op(*one) for one in layer))))
        else:
            made.append(_Op(*layer))
    model = _Row(made, turned) if len(made) > 1 else made[0]
    model.train(False)
    made[0].train(True)
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = torch.full_like(p, math.nan) if had else None
    trains = [p.requires_grad for p in parameters]
    modes, hung = [m.training for m in model.modules()], hooks(model)
    losses = {"sum": torch.sum, "log": lambda y: y.sum().log(), "root": lambda y: (y - y.detach()).sum().sqrt()}
    x = x.clone()
    try:
        told = module.first_nonfinite(model, x, losses.get(loss, _raising_loss))
    except _LossRaised:
        told = ("raised", "")
    kept = [p.grad is None if not had else p.grad is not None and bool(p.grad.isnan().all()) for p in parameters]
    return {
        "told": told,
        "gradients": all(kept),
        "buffers": all(not buffer.any() for buffer in model.buffers()),
        "trains": trains == [p.requires_grad for p in parameters],
        "passes": max(m.passes for m in model.modules() if isinstance(m, _Op)),
        "hooks": hooks(model) - hung,
        "modes": modes == [m.training for m in model.modules()],
        "x": x.requires_grad or x.grad is not None or bool(x._backward_hooks),
    }
