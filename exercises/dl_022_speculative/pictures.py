"""What `speculative.py` makes, as pictures: run beside it, from own inputs. `grader picture 22` prints them."""

import torch

TURN = 153.0  # tokens of a step at which an A100 waits for arithmetic as long as for memory


def tree_of_drafts(module):
    """Who looks at whom in a tree of drafts; the path that was accepted is marked."""
    parents = torch.tensor([-1, -1, 0, 0, 1, 2, 2, 4])
    mask, places = module.tree_mask(parents, 2)
    generator = torch.Generator().manual_seed(11)
    tokens = torch.tensor([0, 1, 2, 3, 0, 1, 3, 2])
    q = torch.full((9, 4), 0.25, dtype=torch.float64)
    p = 0.7 * torch.rand(9, 4, generator=generator, dtype=torch.float64) + 0.1
    p[0, 0] = p[1, 2] = p[3, 3] = 3.0
    p = p / p.sum(dim=1, keepdim=True)
    path, _ = module.verify_tree(p, q, tokens, parents, torch.full((9,), 0.5, dtype=torch.float64), False)
    return {
        "values": mask.double(),
        "rows": [f"{i} at {place}" for i, place in enumerate(places.tolist())],
        "columns": ["past 0", "past 1", *(f"node {i}" for i in range(8))],
        "marks": [[i, 2 + i] for i in path],
    }


def gain_by_drafts(module):
    """How many times faster one row becomes, by γ, for drafts of 2 % of the target's cost."""
    gammas = list(range(17))
    series = {f"α {a}": [module.expected_speedup(a, g, 0.02) for g in gammas] for a in (0.3, 0.6, 0.75, 0.9)}
    return {"x": gammas, "series": series}


def gain_by_batch(module):
    """The same by the rows of a batch: behind the turn rejected drafts cost what others need."""
    rows = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    series = {f"γ {g}": [module.expected_speedup(0.75, g, 0.02, r, TURN) for r in rows] for g in (1, 3, 7)}
    best = [module.best_gamma(0.75, 0.02, 20, r, TURN) for r in rows]
    pairs = zip(rows, best, strict=True)
    series["best γ"] = [module.expected_speedup(0.75, g, 0.02, r, TURN) for r, g in pairs]
    return {"x": rows, "series": series}


def where_a_token_comes_from(module):
    """Shares of four tokens that came as kept drafts or as further tokens; together they are p."""
    p, q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.4, 0.3, 0.2, 0.1])
    rows = 20_000
    generator = torch.Generator().manual_seed(0)
    drafts = torch.multinomial(q.expand(rows, 4), 1, generator=generator)
    laws = torch.stack([p, p]).expand(rows, 2, 4)
    kept, further = module.accept(laws, q.expand(rows, 1, 4), drafts, torch.rand(rows, 2, generator=generator))
    bars = {}
    for x in range(4):
        bars[f"token {x}, kept draft"] = ((kept == 1) & (drafts[:, 0] == x)).double().mean().item()
        bars[f"token {x}, further"] = ((kept == 0) & (further == x)).double().mean().item()
    return bars


def a_batch_over_time(module):
    """What each request runs in each step, in a cache that is too small for all."""
    batch, spans, started = module.ContinuousBatcher(budget=8, slots=26, gamma=2), [], 0
    requests = [(0, 6, 8), (0, 10, 6), (1, 5, 5), (3, 3, 4)]
    for step in range(40):
        for i, (at, prompt, tokens) in enumerate(requests):
            if at == step:
                batch.add(i, prompt, tokens)
                started += 1
        plan = batch.schedule()
        for kind in ("prefill", "decode"):
            spans += [[i, step, 1, f"{kind} {n}"] for i, n in plan[kind].items()]
        spans += [[i, step, 1, "pre-empted"] for i in plan["preempted"]]
        batch.update({i: min((step + i) % 3, n - 1) for i, n in plan["decode"].items()})
        if started == len(requests) and not plan["decode"] and not plan["prefill"]:
            break
    return {"lanes": [f"request {i}" for i in range(4)], "spans": spans}
