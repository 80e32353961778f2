"""Runs beside the learner's code: models out of tables, caches and schedules from data; returns data."""

import contextlib

import torch


class Table:
    """A model that reads its logits from a table, by a state of all tokens of the row so far, and notes its calls."""

    def __init__(self, logits, rows, length, carry):
        self.logits, self.carry, self.calls = logits, carry, []
        self.states = torch.zeros(rows, length + 1, dtype=torch.int64)
        self.seen = torch.zeros(rows, dtype=torch.int64)

    def __call__(self, rows, fed, start):
        if len(set(rows.tolist())) != len(rows):
            raise ValueError("a model was called with one row twice")
        if bool((start < 0).any()) or bool((start > self.seen[rows]).any()):
            raise ValueError("a model was fed tokens from a place whose past it has not seen")
        state, out = self.states[rows, start], []
        for j in range(fed.shape[1]):
            state = (self.carry * state + fed[:, j] + 1) % len(self.logits)
            self.states[rows, start + j + 1] = state
            out.append(self.logits[state])
        self.seen[rows] = start + fed.shape[1]
        self.calls.append((rows.tolist(), fed.shape[1]))
        return torch.stack(out, dim=1)


def _generate(module, tables, prompt, tokens, gamma, temperature, carry, generator):
    room = prompt.shape[1] + tokens + 2 * gamma + 2
    target, draft = (Table(table, len(prompt), room, carry) for table in tables)
    out = module.speculative_generate(target, draft, prompt, tokens, gamma, temperature, generator=generator)
    return out, target.calls, draft.calls


def generated(module, tables, prompt, tokens, gamma, temperature, carry, seed):
    """Tokens, and for each call of each model its rows and how many tokens a row it got."""
    generator = torch.Generator().manual_seed(seed)
    out, target, draft = _generate(module, tables, prompt, tokens, gamma, temperature, carry, generator)
    return {"tokens": out, "target": target, "draft": draft}


def greedy(module, tables, prompt, tokens, gamma):
    """Tokens alone, at temperature 0."""
    return _generate(module, tables, prompt, tokens, gamma, 0.0, 31, torch.Generator().manual_seed(0))[0]


def drawn(module, tables, prompt, tokens, gamma, *, generator):
    """Tokens alone, from the generator that is given."""
    return _generate(module, tables, prompt, tokens, gamma, 1.0, 31, generator)[0]


def rolled_back(module, caches, lengths, paths, counts, strided=False):
    """The caches after rollback, and what it returned."""
    own = [cache.clone() for cache in caches]
    if strided:
        own = [cache.transpose(1, 2).contiguous().transpose(1, 2) for cache in own]
    return {"lengths": module.rollback(list(own), lengths, paths, counts), "caches": own}


def rollback_cost(module, caches, lengths, paths, counts, *, meter):
    """The same, with the cost of rollback alone."""
    own = [cache.clone() for cache in caches]
    with meter:
        lengths = module.rollback(list(own), lengths, paths, counts)
    return {"lengths": lengths, "caches": own}


def trace(module, limits, arrivals, script):
    """Each step of a batcher until all is done: what it scheduled and who was finished.

    limits: budget, slots, gamma. arrivals: (step, request, prompt, tokens). script: how many drafts are kept, in turn.
    """
    batch, steps, turn = module.ContinuousBatcher(*limits), [], 0
    todo = len(arrivals)
    for step in range(120):
        for at, request, prompt, tokens in arrivals:
            if at == step:
                batch.add(request, prompt, tokens)
        plan = batch.schedule()
        told = {
            "decode": [list(pair) for pair in plan["decode"].items()],
            "prefill": [list(pair) for pair in plan["prefill"].items()],
            "preempted": list(plan["preempted"]),
        }
        kept = {}
        for request, count in told["decode"]:
            kept[request] = min(script[turn % len(script)], count - 1)
            turn += 1
        told["finished"] = list(batch.update(kept))
        steps.append(told)
        todo -= len(told["finished"])
        if todo <= 0:
            break
    return steps


def two_traces(module, limits, arrivals, script):
    """As `trace`, of two batchers whose steps take turns; both are asked first for a request that cannot fit."""
    batches, steps, turns = [module.ContinuousBatcher(*one) for one in limits], [[], []], [0, 0]
    left_alone, todo = True, [len(one) for one in arrivals]
    for batch, (_, slots, _) in zip(batches, limits, strict=True):
        with contextlib.suppress(ValueError):
            batch.add(77, slots, 2)
    for step in range(120):
        for i, batch in enumerate(batches):
            if todo[i] <= 0:
                continue
            for at, request, prompt, tokens in arrivals[i]:
                if at == step:
                    batch.add(request, prompt, tokens)
            plan = batch.schedule()
            told = {name: [list(pair) for pair in plan[name].items()] for name in ("decode", "prefill")}
            told["preempted"] = list(plan["preempted"])
            kept = {}
            for request, count in told["decode"]:
                kept[request] = min(script[turns[i] % len(script)], count - 1)
                turns[i] += 1
            given = dict(kept)
            told["finished"] = list(batch.update(given))
            left_alone = left_alone and given == kept
            steps[i].append(told)
            todo[i] -= len(told["finished"])
    return {"steps": steps, "left alone": left_alone}


def refused(module, limits, prompt, tokens):
    """A batcher with these limits, and one request."""
    batch = module.ContinuousBatcher(*limits)
    batch.add(1, prompt, tokens)
    return batch.schedule()
