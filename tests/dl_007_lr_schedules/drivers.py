"""Runs beside the learner's code: makes plateaus, optimizers and schedulers from data, steps them, returns data."""

import json
from functools import partial


def plateaus(module, cases):
    """The factors of one `Plateau` for each case (options, metrics), all alive together and asked in turn."""
    made = [module.Plateau(**options) for options, _ in cases]
    told = [[] for _ in cases]
    for i in range(max(len(metrics) for _, metrics in cases)):
        for plateau, factors, (_, metrics) in zip(made, told, cases, strict=True):
            if i < len(metrics):
                factors.append(plateau.step(metrics[i]))
    return told


class _Optimizer:
    """What a Scheduler knows of an optimizer: groups with rates, and entries that are not its own."""

    def __init__(self, rates):
        self.param_groups = [{"params": [i], "lr": rate, "weight_decay": 0.1 * i} for i, rate in enumerate(rates)]

    def rates(self):
        return [group["lr"] for group in self.param_groups]

    def reload(self):
        """Other dicts with the same entries, as a loaded state puts them there; the old ones are returned."""
        old = self.param_groups
        self.param_groups = [dict(group) for group in old]
        return old


def _look_up(table, step):
    return table[step]


def _made(module, rates, tables, kind="list"):
    """tables: the factors of each step, in one list for all groups or in a list of lists, one a group.

    kind: of the sequence of schedules, "list" or "tuple".
    """
    optimizer = _Optimizer(rates)
    many = isinstance(tables[0], list)
    functions = [partial(_look_up, table) for table in tables] if many else partial(_look_up, tables)
    if kind == "tuple":
        functions = tuple(functions)
    return optimizer, module.Scheduler(optimizer, functions)


def rates(module, base, tables, steps, kind="list"):
    """The rates of all groups after a Scheduler is made, and after each of its steps."""
    optimizer, scheduler = _made(module, base, tables, kind)
    told = [optimizer.rates()]
    for _ in range(steps):
        scheduler.step()
        told.append(optimizer.rates())
    return told


def side_by_side(module, cases, steps):
    """The rates of one Scheduler for each case (base, tables), all alive together and stepped in turn."""
    made = [_made(module, base, tables) for base, tables in cases]
    told = [[optimizer.rates()] for optimizer, _ in made]
    for _ in range(steps):
        for (optimizer, scheduler), rows in zip(made, told, strict=True):
            scheduler.step()
            rows.append(optimizer.rates())
    return told


def disturbed(module, base, tables, steps):
    """The same, where somebody else writes into the rates before each step; and the other entries at the end."""
    optimizer, scheduler = _made(module, base, tables)
    told = [optimizer.rates()]
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 77.0
        scheduler.step()
        told.append(optimizer.rates())
    others = [{key: value for key, value in group.items() if key != "lr"} for group in optimizer.param_groups]
    return {"rates": told, "others": others}


def reloaded(module, base, tables, steps):
    """The same, where the optimizer loads a state after each step; and whether dicts it let go were written to."""
    optimizer, scheduler = _made(module, base, tables)
    told, stale = [optimizer.rates()], []
    for _ in range(steps):
        old = optimizer.reload()
        before = [group["lr"] for group in old]
        scheduler.step()
        told.append(optimizer.rates())
        stale.append([group["lr"] for group in old] != before)
    return {"rates": told, "stale": stale}


def resumed(module, base, tables, cut, steps, given, ahead=0):
    """The rates once a new Scheduler has loaded the state of step `cut`, and after each step until `steps`.

    given: the rates that the new optimizer has when its Scheduler is made. ahead: how many steps the new Scheduler
    takes before it loads. The old one goes on before its state is written down as a file would hold it.
    """
    _, first = _made(module, base, tables)
    for _ in range(cut):
        first.state_dict()  # may be asked for at any time
        first.step()
    state = first.state_dict()
    for _ in range(steps - cut):
        first.step()
    written = json.dumps(state)
    optimizer, second = _made(module, given, tables)
    for _ in range(ahead):
        second.step()
    optimizer.reload()  # as an optimizer does that loads its own state first
    loaded = json.loads(written)
    second.load_state_dict(loaded)
    told = [optimizer.rates()]
    for _ in range(steps - cut):
        second.step()
        told.append(optimizer.rates())
    return {"rates": told, "read_only": loaded == json.loads(written)}
