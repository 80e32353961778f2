"""Hidden checks of dl_022. Oracles: loops over numbers, grids of uniform numbers on which a law is exact, all drafts in
turn, and for whole runs Weissman's bound: a right answer fails one statement with a probability below 1e-6.

The laws of exact checks are fractions, and the grids have cells whose edges are where a rule changes: the midpoints of
the cells then give each outcome its exact share. Elsewhere numbers are random, so that no ratio is on an edge.
"""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, spaced
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import hold_generator
from grader.checks.repeats import hold_unrepeated

from . import drivers


def seed_from(draw):
    return draw.random.randrange(2**40)


def wide(values):
    """A float64 tensor of them."""
    return torch.tensor(values, dtype=torch.float64)


def laws(draw, *shape, zeros=False):
    """Random laws along the last axis; with `zeros` about a third of the entries is 0, never the first."""
    weights = draw.uniform(*shape, low=0.05)
    if zeros:
        holes = draw.uniform(*shape) < 0.33
        holes[..., 0] = False
        weights = weights.masked_fill(holes, 0.0)
    return weights / weights.sum(dim=-1, keepdim=True)


# --- decode_bound -----------------------------------------------------------------------------------------------------


@part("decode_bound")
def test_seventy_billion_parameters_by_hand(attempt):
    """70 · 10⁹ parameters of 2 bytes on an A100: 68.7 ms a token, 0.7 % busy, and the turn is at 153 tokens."""
    for tokens, seconds, busy in ((1, 140 / 2039, 2039 / 312e3), (200, 28 / 312, 1.0)):
        got = attempt.decode_bound(70e9, 2, 2.039e12, 312e12, tokens)
        want = {"seconds": seconds, "busy": busy, "turn": 312 / 2.039}
        known = {}
        if tokens == 1:
            known = {"one operation a parameter": want | {"busy": busy / 2, "turn": 2 * 312 / 2.039}}
        agree(got, want, tol=1e-9, of=f"decode_bound of 70e9 parameters, {tokens} tokens", known=known)


@part("decode_bound")
def test_the_longer_time_counts(attempt, draw):
    """Below the turn a step takes as long as reading, beyond it as long as arithmetic, and one token by default."""
    for _ in range(4):
        n, b, w, f = (math.exp(draw.random.uniform(low, low + 3)) for low in (20, 0, 25, 29))
        turn = b * f / (2 * w)
        for tokens in (1, int(turn) + 1, 7 * int(turn) + 5):
            times = n * b / w, 2 * n * tokens / f
            want = {"seconds": max(times), "busy": times[1] / max(times), "turn": turn}
            of = f"decode_bound({n:.4g}, {b:.4g}, {w:.4g}, {f:.4g}, {tokens})"
            agree(attempt.decode_bound(n, b, w, f, tokens), want, of=of)
        agree(attempt.decode_bound(n, b, w, f)["busy"], min(1.0, 1 / turn), of="decode_bound without tokens, busy")


# --- accept -----------------------------------------------------------------------------------------------------------


def token_of(weights, u):
    """The token by exact sums; weights and u are floats, read as fractions."""
    weights, u = [Fraction(w) for w in weights], Fraction(u)
    total, before = sum(weights), Fraction(0)
    for k, w in enumerate(weights):
        before += w
        if u * total < before:
            return k
    raise AssertionError("u must be below 1")


@part("accept")
def test_uniform_numbers_become_tokens(attempt, draw):
    """Weights (0, 2, 6): token 1 below 0.25, token 2 from there on; weights need not add up to 1."""
    u = [0.0, 0.125, 0.25, 0.5, 0.875]
    for weights in ([0.0, 2.0, 6.0], [3.0, 0.0, 4.0, 1.0, 0.0], [0.25, 0.25, 0.5]):
        rows = wide(weights).expand(len(u), len(weights))
        want = torch.tensor([token_of(weights, x) for x in u])
        agree(attempt.inverse_cdf(rows, wide(u)), want, of=f"inverse_cdf of weights {weights} for u {u}")
    weights, uniforms = draw.uniform(3, 5, 7), draw.uniform(3, 5)
    pairs = zip(weights.view(-1, 7).tolist(), uniforms.flatten().tolist(), strict=True)
    want = torch.tensor([token_of(*pair) for pair in pairs]).view(3, 5)
    agree(attempt.inverse_cdf(weights, uniforms), want, of="inverse_cdf of (3, 5, 7) weights")


@part("accept")
@each_dtype
def test_no_token_of_weight_zero(attempt, draw, dtype):
    """At u = 0 and just below 1 the token still has weight, and is none behind the last one."""
    v = 1009
    weights = draw.uniform(40, v, low=0.1, dtype=of_type(dtype))
    weights[:, :3], weights[:, -5:] = 0.0, 0.0
    weights = weights / weights.sum(dim=1, keepdim=True)
    for u, want in ((0.0, 3), (1 - 2**-53, v - 6)):
        uniforms = torch.full((40,), u, dtype=torch.float64)
        said = "0" if u == 0 else "1 - 2^-53"
        of = f"inverse_cdf of {v} weights in {dtype} of which the first 3 and the last 5 are 0, u {said}"
        agree(attempt.inverse_cdf(weights, uniforms), torch.full((40,), want), of=of)


@part("accept")
def test_weights_of_any_size_and_shape(attempt, draw):
    """Weights may be tiny, and there may be one row, one weight, or no axis but that of the weights."""
    for shape in ((1, 7), (5, 1), (1, 1, 3), (7,)):
        weights, uniforms = 1e-20 * draw.uniform(*shape, low=0.1), draw.uniform(*shape[:-1])
        pairs = zip(weights.view(-1, shape[-1]).tolist(), uniforms.flatten().tolist(), strict=True)
        want = torch.tensor([token_of(*pair) for pair in pairs]).view(shape[:-1])
        agree(attempt.inverse_cdf(weights, uniforms), want, of=f"inverse_cdf of {shape} weights around 1e-20")


@part("accept")
def test_float32_is_compared_in_float64(attempt, draw):
    """Uniform numbers that are a bar as float32 rounds it: which side they are on is decided in float64."""
    b, v = 200, 7
    weights = draw.uniform(b, v, low=0.1, dtype=torch.float32)
    sums = weights.double().cumsum(dim=1)
    u = (sums[:, 3] / sums[:, -1]).float()
    want = torch.tensor([token_of(*pair) for pair in zip(weights.tolist(), u.tolist(), strict=True)])
    agree(attempt.inverse_cdf(weights, u), want, of="inverse_cdf in float32, u next to the edge of a token")
    p, q, drafts = laws(draw, b, 2, v).float(), laws(draw, b, 1, v).float(), draw.integers(0, v, b, 1)
    bars = (p[:, :1].double().gather(2, drafts[..., None]) / q.double().gather(2, drafts[..., None]))[:, :, 0]
    u = torch.cat([bars.float().clamp(max=0.9), draw.uniform(b, 1, dtype=torch.float32)], dim=1)
    of = "accept in float32, u next to p/q"
    agree(attempt.accept(p, q, drafts, u), all_accepted(p, q, drafts, u), of=of)


@part("accept")
def test_accept_by_hand(attempt):
    """p (0.2, 0.8), q (0.5, 0.5), draft 0: kept below u 0.4, else token 1 for certain."""
    p = wide([[0.2, 0.8], [0.25, 0.75]]).expand(4, 2, 2)
    q, drafts = torch.full((4, 1, 2), 0.5, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.int64)
    u = wide([[0.3, 0.1], [0.3, 0.5], [0.5, 0.1], [0.9, 0.9]])
    want = torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 1, 1])
    agree(attempt.accept(p, q, drafts, u), want, of="accept of p (0.2, 0.8), q (0.5, 0.5), draft 0, four rows of u")
    p, u = wide([[[0.25, 0.75], [1, 0]], [[0, 1], [1, 0]], [[0.25, 0.75], [1, 0]]]), wide([[0.5, 0], [0, 0], [0.25, 0]])
    want = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
    agree(
        attempt.accept(p, q[:3], drafts[:3], u), want, of="accept at u = p/q (not kept), at p = 0 and u = 0, below p/q"
    )


PAIRS = (  # laws p and q whose ratios and remainders are fractions with small denominators
    ((Fraction(1, 8), Fraction(3, 8), Fraction(1, 2)), (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))),
    ((Fraction(1, 12), Fraction(25, 48), Fraction(19, 48)), (Fraction(1, 6), Fraction(1, 2), Fraction(1, 3))),
    ((Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)), (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))),
)


def midpoints(n):
    return [(i + 0.5) / n for i in range(n)]


@part("accept")
def test_law_is_the_targets(attempt):
    """Over all drafts and a grid of uniform numbers, two tokens that come have exactly the law of the target."""
    (p1, q1), v, grid = PAIRS[0], 3, (4, 4, 48)
    cases, weights = [], []
    for x, y in itertools.product(range(v), repeat=2):
        p2, q2 = PAIRS[x]
        p3 = PAIRS[(x + y) % 3][1]
        for u in itertools.product(*map(midpoints, grid)):
            cases.append(([p1, p2, p3], [q1, q2], [x, y], u))
            weights.append(q1[x] * q2[y] / math.prod(grid))
    floats = [wide([[[float(a) for a in law] for law in case[i]] for case in cases]) for i in (0, 1)]
    drafts, u = torch.tensor([case[2] for case in cases]), wide([case[3] for case in cases])
    kept, further = attempt.accept(*floats, drafts, u)
    of = f"accept of all 9 pairs of drafts on a grid of {grid} uniform numbers"
    agree(torch.zeros_like(kept), torch.zeros(len(cases), dtype=torch.int64), of=f"{of}, form of the counts")
    agree(torch.zeros_like(further), torch.zeros(len(cases), dtype=torch.int64), of=f"{of}, form of the tokens")
    first, second = torch.zeros(v, dtype=torch.float64), torch.zeros(v, v, dtype=torch.float64)
    told = zip(cases, weights, kept.tolist(), further.tolist(), strict=True)
    for (_, _, (x, y), _), weight, k, token in told:
        assert 0 <= k <= 2, f"{of}: {k} of 2 drafts were kept"
        assert 0 <= token < v, f"{of}: token {token} is not in the vocabulary of {v}"
        one = x if k else token
        first[one] += float(weight)
        if k:
            second[one, y if k > 1 else token] += float(weight)
    agree(first, wide([float(a) for a in p1]), of=f"{of}: law of the first token")
    rows = [[float(min(p1[x], q1[x]) * a) for a in PAIRS[x][0]] for x in range(v)]
    agree(second, wide(rows), of=f"{of}: law of the first two tokens where the first draft was kept")


def accepted(p, q, drafts, u, bonus=None, ratio=None, rest=None):
    """One row by loops, from lists; the options say what a mistake does otherwise."""
    gamma = len(drafts)
    for i, x in enumerate(drafts):
        bar = p[i][x] / q[i][x] if ratio is None else ratio(p[i][x], q[i][x])
        if not u[i] < bar:
            left = [max(0.0, a - b) for a, b in zip(p[i], q[i], strict=True)] if rest is None else rest(p[i], q[i])
            return i, token_of(left if sum(left) > 0 else p[i], u[-1])
    return gamma, token_of(p[gamma] if bonus is None else bonus, u[-1])


def all_accepted(p, q, drafts, u, **options):
    rows = zip(p.double().tolist(), q.double().tolist(), drafts.tolist(), u.double().tolist(), strict=True)
    pairs = [accepted(*row, **options) for row in rows]
    return torch.tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])


@part("accept")
@each_dtype
@pytest.mark.parametrize("gamma", [0, 1, 4])
def test_each_row_by_its_own_uniform_numbers(attempt, draw, gamma, dtype):
    """The row ends at the first draft that is not kept, and the last uniform number draws the further token."""
    b, v = 83, 7
    p, q = laws(draw, b, gamma + 1, v, zeros=True), laws(draw, b, gamma, v)
    p[:, :gamma] = 0.6 * p[:, :gamma] + 0.4 * q * (draw.uniform(b, 1, 1) < 0.5)
    p = p / p.sum(dim=2, keepdim=True)
    drafts, u = draw.integers(0, v, b, gamma), draw.uniform(b, gamma + 1)
    u[:20, -1], u[20:40, -1] = 0.0, 1 - 2**-24  # the ends of what torch.rand gives
    p, q, u = p.to(of_type(dtype)), q.to(of_type(dtype)), u.to(of_type(dtype))
    known = {}
    if gamma:
        known = {
            "a rejected draft gives way to p": lambda: all_accepted(p, q, drafts, u, rest=lambda p, q: p),
            "kept with probability p": lambda: all_accepted(p, q, drafts, u, ratio=lambda p, q: p),
            "all drafts kept": lambda: all_accepted(p, q, drafts, u, ratio=lambda p, q: 2.0),
            "|p - q| for max(0, p - q)": lambda: all_accepted(
                p, q, drafts, u, rest=lambda p, q: [abs(a - b) for a, b in zip(p, q, strict=True)]
            ),
        }
    of = f"accept of b {b}, γ {gamma}, v {v}, {dtype}"
    agree(attempt.accept(p, q, drafts, u), all_accepted(p, q, drafts, u), of=of, known=known)
    one = p[:1], q[:1], drafts[:1], u[:1]
    agree(attempt.accept(*one), all_accepted(*one), of=f"accept of one row, γ {gamma}, v {v}, {dtype}")


@part("accept")
def test_rejected_by_rounding(attempt, draw):
    """Where p is below q for every token, p itself gives the further token; other rows are as always."""
    b = 24
    q, p = laws(draw, b, 1, 5), laws(draw, b, 2, 5)
    p[::2, 0] = q[::2, 0] * (1 - 2**-20)
    drafts, u = draw.integers(0, 5, b, 1), draw.uniform(b, 2)
    u[:, 0] = 1 - 2**-30
    of = "accept where p is q · (1 - 2^-20) in every other row, u 1 - 2^-30"
    agree(attempt.accept(p, q, drafts, u), all_accepted(p, q, drafts, u), of=of)
    p, q = torch.cat([laws(draw, b, 1, 5), p, p[:, :1]], dim=1), torch.cat([q, q, q], dim=1)
    drafts, u = draw.integers(0, 5, b, 3), draw.uniform(b, 4)
    u[:, 0], u[:, 1] = 0.0, 1 - 2**-30  # the first draft is kept, the second rejected
    of = "accept of 3 drafts, p is q · (1 - 2^-20) at the second in every other row, u_0 0, u_1 1 - 2^-30"
    agree(attempt.accept(p, q, drafts, u), all_accepted(p, q, drafts, u), of=of)


def hardly_apart(draw):
    """q, and a p that has 2^-30 more of one token and less of the next; the next, and the token that is owed."""
    q, token = laws(draw, 5), draw.random.randrange(5)
    p = q.clone()
    p[token] += 2**-30
    p[(token + 1) % 5] -= 2**-30
    return p, q, (token + 1) % 5, token


@part("accept")
def test_what_is_owed_may_be_little(attempt, draw):
    """Where p is above q by 2^-30 at one token alone, that token comes after a rejection, for certain."""
    rows = [hardly_apart(draw) for _ in range(24)]
    p = torch.stack([torch.stack([row[0], row[1]]) for row in rows])
    q, drafts = torch.stack([row[1] for row in rows])[:, None], torch.tensor([[row[2]] for row in rows])
    u = draw.uniform(24, 2)
    u[:, 0] = 1 - 2**-40
    want = torch.zeros(24, dtype=torch.int64), torch.tensor([row[3] for row in rows])
    agree(attempt.accept(p, q, drafts, u), want, of="accept where p and q are 2^-30 apart, u 1 - 2^-40")


@part("accept")
@pytest.mark.parametrize(("b", "gamma", "v"), [(61, 37, 131), (211, 3, 5), (2, 211, 5), (3, 2, 211)])
def test_acceptance_costs_no_loop(attempt, draw, b, gamma, v):
    """Few operators for many rows, many drafts and many tokens, and all in torch."""
    p, q = laws(draw, b, gamma + 1, v), laws(draw, b, gamma, v)
    p[:, :gamma] = 0.2 * p[:, :gamma] + 0.8 * q
    drafts, u = draw.integers(0, v, b, gamma), draw.uniform(b, gamma + 1)
    got, cost = attempt.cost("accept", p, q, drafts, u)
    of = f"accept of b {b}, γ {gamma}, v {v}"
    agree(got, all_accepted(p, q, drafts, u), of=of)
    in_torch(cost, of=of)
    at_most(sum(cost.calls.values()), 120, of=f"operators of {of}")


@part("accept")
def test_other_drafts_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.uniform(7, 5), draw.uniform(7)) for _ in range(2)]
    hold_again(attempt, reference, "inverse_cdf", *asked, of="inverse_cdf of weights (7, 5)")
    b, gamma, v = 23, 3, 5
    asked = []
    for _ in range(2):
        p, q, u = laws(draw, b, gamma + 1, v), laws(draw, b, gamma, v), draw.uniform(b, gamma + 1)
        asked.append((p, q, draw.integers(0, v, b, gamma), u))
    hold_again(attempt, reference, "accept", *asked, of=f"accept, {b} rows, γ {gamma}, {v} tokens")


# --- speculative_generate ---------------------------------------------------------------------------------------------


def greedy(table, prompt, tokens, carry):
    """Plain greedy decoding, row by row."""
    out = []
    for row in prompt.tolist():
        state, told = 0, []
        for token in row:
            state = (carry * state + token + 1) % len(table)
        for _ in range(tokens):
            token = max(range(table.shape[1]), key=lambda k, s=state: (table[s, k].item(), -k))
            told.append(token)
            state = (carry * state + token + 1) % len(table)
        out.append(told)
    return torch.tensor(out, dtype=torch.int64).view(len(prompt), tokens)


def pair_of_tables(draw, states, v, alike):
    """Logits of a target, and of a draft that has the target's in a share of the states."""
    target, other = draw.normal(states, v), draw.normal(states, v)
    same = draw.uniform(states, 1) < alike
    return target, torch.where(same, target, other)


def hold_calls(got, rows, given, tokens, gamma, of):
    """Calls of a run: at most γ of the draft, then one of the target, of all rows that lack tokens, and no others."""
    runs = [0] * rows
    for i, (which, width) in enumerate(got["target"]):
        at_most(width, (given if i == 0 else 1) + gamma, of=f"{of}: tokens a row in call {i} of the target")
        for row in which:
            runs[row] += 1
    at_most(len(got["target"]), max([*runs, 0]), of=f"{of}: calls of the target, by the row that is in most of them")
    at_most(len(got["draft"]), gamma * len(got["target"]), of=f"{of}: calls of the draft in {len(got['target'])} runs")
    for i, (_, width) in enumerate(got["draft"]):
        at_most(width, max(2, given) if i == 0 else 2, of=f"{of}: tokens a row in call {i} of the draft")
    asked = [row for which, _ in got["draft"] for row in which]
    for row, count in enumerate(runs):
        at_most(asked.count(row), gamma * count, of=f"{of}: calls of the draft with row {row}, which took {count} runs")
    for row, count in enumerate(runs):
        at_most(count, tokens, of=f"{of}: runs of row {row}")
    return runs


def greedy_runs(tables, prompt, tokens, gamma, carry):
    """How many runs each row takes: greedy drafts, kept as long as they are the target's own."""
    told = greedy(tables[0], prompt, tokens + gamma + 1, carry).tolist()
    runs = []
    for row, text in zip(prompt.tolist(), told, strict=True):
        done, count = 0, 0
        while done < tokens:
            known = wide([row + text[:done]]).long()
            drafts = greedy(tables[1], known, gamma, carry)[0].tolist()
            pairs = zip(drafts, text[done:], strict=False)
            done += 1 + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            count += 1
        runs.append(count)
    return runs


@part("speculative_generate")
@pytest.mark.parametrize(("b", "given", "tokens", "gamma"), [(5, 1, 13, 3), (3, 4, 11, 1), (1, 2, 17, 4), (4, 3, 0, 2)])
def test_greedy_is_plain_greedy_decoding(attempt, draw, b, given, tokens, gamma):
    """At temperature 0 every row has the tokens of the target alone, in as few runs as its drafts allow."""
    v, carry = 11, 31
    tables = pair_of_tables(draw, 97, v, 0.7)
    prompt = spaced(draw.integers(0, v, b, given))  # not contiguous
    got = attempt.run(drivers.generated, tables, prompt, tokens, gamma, 0.0, carry, seed_from(draw))
    of = f"speculative_generate of {tokens} tokens, b {b}, l {given}, γ {gamma}, temperature 0"
    agree(got["tokens"], greedy(tables[0], prompt, tokens, carry), axes="b token", of=of)
    runs = hold_calls(got, b, given, tokens, gamma, of)
    agree(runs, greedy_runs(tables, prompt, tokens, gamma, carry), of=f"{of}: runs of each row")


@part("speculative_generate")
def test_the_first_of_several_largest_logits(attempt, draw):
    """At temperature 0 the first of equal logits counts, for the target and for the draft."""
    b, v, tokens, gamma, carry = 5, 7, 19, 3, 31
    same = draw.uniform(97, 1) < 0.6
    target, other = draw.integers(0, 3, 97, v).double(), draw.integers(0, 3, 97, v).double()
    tables = target, torch.where(same, target, other)
    prompt = draw.integers(0, v, b, 2)
    got = attempt.run(drivers.generated, tables, prompt, tokens, gamma, 0.0, carry, seed_from(draw))
    of = f"speculative_generate of {tokens} tokens, b {b}, γ {gamma}, temperature 0, logits 0, 1 and 2"
    agree(got["tokens"], greedy(tables[0], prompt, tokens, carry), axes="b token", of=of)
    runs = hold_calls(got, b, 2, tokens, gamma, of)
    agree(runs, greedy_runs(tables, prompt, tokens, gamma, carry), of=f"{of}: runs of each row")


@part("speculative_generate")
def test_a_draft_that_is_the_target(attempt, draw):
    """If both models are one, all drafts are kept, and a run gives γ + 1 tokens."""
    for gamma, tokens, given in ((3, 21, 1), (4, 20, 2), (1, 7, 3)):
        table = draw.normal(97, 7, dtype=torch.float32)
        prompt = draw.integers(0, 7, 3, given)
        got = attempt.run(drivers.generated, (table, table), prompt, tokens, gamma, 1.3, 31, seed_from(draw))
        of = f"speculative_generate of {tokens} tokens, draft = target, γ {gamma}, l {given}"
        agree(torch.zeros_like(got["tokens"]), torch.zeros(3, tokens, dtype=torch.int64), of=f"{of}, its form")
        hold_calls(got, 3, given, tokens, gamma, of)
        limit = -(-tokens // (gamma + 1))
        known = {"no further token after a full run": -(-tokens // gamma), "one token a call": tokens}
        at_most(len(got["target"]), limit, of=f"{of}: calls of the target", known=known)


P = ((0.5, 0.3, 0.2), (0.1, 0.2, 0.7), (0.6, 0.3, 0.1), (0.3, 0.3, 0.4))  # after symbols 0, 1, 2, and at the start (3)
Q = ((0.2, 0.2, 0.6), (0.4, 0.4, 0.2), (0.3, 0.1, 0.6), (0.5, 0.3, 0.2))


def expected_runs(last, left, gamma):
    """Runs that are needed on average for so many tokens: all that a run may do, weighed."""
    if left <= 0:
        return 0.0

    def follow(symbol, made, weight):
        if made == gamma:
            return weight * sum(P[symbol][y] * expected_runs(y, left - made - 1, gamma) for y in range(3))
        total = 0.0
        for y in range(3):
            a, b = P[symbol][y], Q[symbol][y]
            total += follow(y, made + 1, weight * min(a, b))
            total += weight * max(0.0, a - b) * expected_runs(y, left - made - 1, gamma)
        return total

    return 1 + follow(last, 0, 1.0)


@part("speculative_generate")
@pytest.mark.parametrize(("gamma", "temperature"), [(2, 0.7), (4, 1.9), (3, 0.05)])
def test_law_of_three_tokens(attempt, draw, gamma, temperature):
    """4,000 rows of three tokens: their law is the target's, and the drafts are kept as often as min(1, p/q) says."""
    rows, tokens = 4000, 3
    tables = [
        temperature * torch.cat([wide(law), torch.zeros(4, 1, dtype=torch.float64)], dim=1).log() for law in (P, Q)
    ]
    tables = [table[[3, 0, 1, 2]] for table in tables]  # row (token + 1) % 4
    prompt = torch.full((rows, 1), 3)
    got = attempt.run(drivers.generated, tables, prompt, tokens, gamma, temperature, 0, seed_from(draw))
    of = (
        f"speculative_generate of {tokens} tokens out of 3 symbols, {rows:,} rows, γ {gamma}, temperature {temperature}"
    )
    agree(torch.zeros_like(got["tokens"]), torch.zeros(rows, tokens, dtype=torch.int64), of=f"{of}, its form")
    told = got["tokens"].tolist()
    assert all(0 <= token < 3 for row in told for token in row), f"{of}: a token of probability 0 came"
    share = dict.fromkeys(itertools.product(range(3), repeat=3), 0.0)
    for row in told:
        share[tuple(row)] += 1 / rows
    want = {(x, y, z): P[3][x] * P[x][y] * P[y][z] for x, y, z in share}
    distance = sum(abs(share[key] - want[key]) for key in share)
    # Weissman et al. 2003: a distance of 0.128 or more over 27 cells has a probability below 1e-6.
    at_most(distance, 0.128, of=f"{of}: the sum of |share - probability| over all 27 texts")
    runs = hold_calls(got, rows, 1, tokens, gamma, of)
    mean, expected = sum(runs) / rows, expected_runs(3, tokens, gamma)
    apart = (tokens - 1) * math.sqrt(math.log(2 / 1e-7) / (2 * rows))  # Hoeffding: beyond it with probability 1e-7
    known = {"a target call for each token": float(tokens)}
    at_most(mean, expected + apart, of=f"{of}: runs a row (expected {expected:.3f})", known=known)
    assert mean >= expected - apart, (
        f"{of}: {mean:.3f} runs a row are too few for {expected:.3f}: drafts are kept too often"
    )


@part("speculative_generate")
def test_all_numbers_from_the_generator(attempt, draw):
    """Equal states of the generator give equal tokens, others give others, and no other source is touched."""
    tables = pair_of_tables(draw, 97, 13, 0.3)
    prompt = draw.integers(0, 13, 7, 2)
    seed = seed_from(draw)
    hold_generator(attempt, drivers.drawn, tables, prompt, 19, 3, seed=seed, of="speculative_generate, b 7, 19 tokens")


@part("speculative_generate")
def test_rows_and_runs_draw_numbers_of_their_own(attempt, draw):
    """Texts of a fair coin: no row and no stretch comes again, nor its opposite."""
    table = torch.zeros(97, 2, dtype=torch.float64)
    for rows, tokens in ((60, 60), (2500, 12)):
        prompt = torch.zeros(rows, 1, dtype=torch.int64)
        got = attempt.run(drivers.generated, (table, table), prompt, tokens, 2, 1.0, 31, seed_from(draw))
        of = f"speculative_generate of {tokens} tokens of a fair coin, {rows:,} rows"
        agree(torch.zeros_like(got["tokens"]), torch.zeros(rows, tokens, dtype=torch.int64), of=f"{of}, its form")
        hold_unrepeated(got["tokens"] == 1, 0.5, of)


@part("speculative_generate")
def test_other_prompts_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(pair_of_tables(draw, 97, 11, 0.7), draw.integers(0, 11, 3, 2), 13, 3) for _ in range(2)]
    hold_again(
        attempt,
        reference,
        drivers.greedy,
        *asked,
        of="speculative_generate of 3 prompts, 13 tokens, at temperature 0",
        views=False,
    )


# --- rollback ---------------------------------------------------------------------------------------------------------


def kept_entries(caches, lengths, paths, counts):
    """For each cache, the entries of each row after rollback, in a list."""
    told = []
    for cache in caches:
        rows = []
        for r, (n, path, count) in enumerate(zip(lengths.tolist(), paths.tolist(), counts.tolist(), strict=True)):
            rows.append(cache[r][:, [*range(n), *(n + node for node in path[:count])]])
        told.append(rows)
    return told


def hold_rollback(got, caches, lengths, paths, counts, of):
    agree(got["lengths"], lengths + counts, of=f"{of}: the new lengths")
    want = kept_entries(caches, lengths, paths, counts)
    for i in range(len(caches)):
        cache, rows = got["caches"][i], want[i]
        agree(torch.zeros_like(cache), torch.zeros_like(caches[i]), of=f"{of}: form of cache {i}")
        for r in range(len(rows)):
            agree(cache[r][:, : rows[r].shape[1]], rows[r], axes="h s d", tol=0, of=f"{of}: cache {i}, row {r}")


@part("rollback")
def test_a_path_by_hand(attempt):
    """Three tokens, nodes at 3 ... 7, of which 1 and 4 are accepted: entries 0 1 2 4 7 remain."""
    caches = [torch.arange(8.0).view(1, 1, 8, 1)]
    args = torch.tensor([3]), torch.tensor([[1, 4]]), torch.tensor([2])
    got = attempt.run(drivers.rolled_back, caches, *args)
    hold_rollback(got, caches, *args, of="rollback of length 3, path (1, 4)")


@part("rollback")
@each_dtype
def test_rows_of_unequal_length(attempt, draw, dtype):
    """Each row keeps its past and what was accepted of it, in every cache; chains and paths of trees."""
    b, s, t = 5, 19, 7
    for m in (1, 3, 7):
        caches = [draw.normal(b, h, s, d, dtype=of_type(dtype)) for h, d in ((2, 3), (1, 5), (3, 2))]
        lengths = torch.tensor([s - t, *(draw.random.randrange(0, s - t) for _ in range(b - 1))])
        paths = torch.tensor([sorted(draw.random.sample(range(t), m)) for _ in range(b)])
        counts = torch.tensor([m, 0, *(draw.random.randrange(0, m + 1) for _ in range(b - 2))])
        for r in range(1, b):  # what does not count is filled up
            paths[r, int(counts[r]) :] = draw.random.randrange(t)
        of = f"rollback of b {b}, s {s}, t {t}, m {m}, lengths {lengths.tolist()}, counts {counts.tolist()}, {dtype}"
        for strided in (False, True):
            got = attempt.run(drivers.rolled_back, caches, lengths, paths, counts, strided)
            hold_rollback(got, caches, lengths, paths, counts, of + (", transposed caches" if strided else ""))


@part("rollback")
def test_rollback_touches_few_entries(attempt, draw):
    """What it makes depends on the accepted nodes, not on the length of the cache."""
    b, h, s, d, m = 3, 2, 2003, 5, 4
    caches = [draw.normal(b, h, s, d) for _ in range(2)]
    args = torch.tensor([1990, 5, 700]), torch.tensor([[0, 2, 5, 9]] * b), torch.tensor([4, 2, 3])
    got, cost = attempt.cost(drivers.rollback_cost, caches, *args)
    of = f"rollback of b {b}, h {h}, s {s}, d {d}, m {m}"
    hold_rollback(got, caches, *args, of=of)
    known = {"a copy of a cache": b * h * s * d}
    at_most(cost.largest, 2 * b * h * m * d, of=f"elements of the largest tensor of {of}", known=known)


@part("rollback")
def test_other_caches_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        ([draw.normal(5, 2, 19, 3)], draw.permutation(12)[:5], draw.integers(0, 4, 5, 1), draw.integers(0, 2, 5))
        for _ in range(2)
    ]
    hold_again(attempt, reference, drivers.rolled_back, *asked, of="rollback of 5 rows", views=False, no_grad=True)


# --- expected_speedup -------------------------------------------------------------------------------------------------


def tokens_a_run(alpha, gamma):
    """By how a run ends: after i kept drafts with probability α^i (1 - α), after all with α^γ."""
    return sum((i + 1) * alpha**i * (1 - alpha) for i in range(gamma)) + (gamma + 1) * alpha**gamma


def gain(alpha, gamma, cost, rows=1, turn=math.inf):
    def step(tokens):
        return max(1.0, tokens / turn)

    run = gamma * cost * step(rows) + step(rows * (gamma + 1))
    return tokens_a_run(alpha, gamma) * step(rows) / run


@part("expected_speedup")
def test_tokens_of_a_run(attempt):
    """1 + α + ... + α^γ, also for α 0 and 1."""
    cases = [(0.75, 7), (0.0, 5), (1.0, 4), (0.3, 0), (0.9, 1), (1 - 1e-12, 6)]
    cases += [(1 - 3 * 10.0**-k, gamma) for k in range(3, 16) for gamma in (5, 211)]
    got = attempt.each("tokens_per_run", cases)
    for (alpha, gamma), value in zip(cases, got, strict=True):
        want = tokens_a_run(alpha, gamma)
        known = {"no further token": want - 1} if (alpha, gamma) == (0.75, 7) else {}
        agree(value, want, tol=1e-9, of=f"tokens_per_run({alpha}, {gamma})", known=known)


@part("expected_speedup")
def test_gain_on_one_row(attempt):
    """α 0.75, γ 7, cost 0.02: 3.157."""
    cases = [(0.75, 7, 0.02), (0.6, 3, 0.05), (0.9, 5, 0.3), (0.2, 2, 0.2), (1.0, 3, 0.0)]
    for case, value in zip(cases, attempt.each("expected_speedup", cases), strict=True):
        agree(value, gain(*case), tol=1e-9, of=f"expected_speedup{case}")


@part("expected_speedup")
def test_gain_of_a_batch(attempt):
    """Behind the turn verification takes as long as its arithmetic, and so do the steps of the draft."""
    cases = [
        (0.75, 7, 0.02, 100, 153.0),
        (0.75, 7, 0.02, 10, 153.0),
        (0.8, 2, 0.1, 51, 153.0),
        (0.7, 3, 0.2, 400, 153.0),
    ]
    cases += [(0.9, 4, 0.15, 60, 31.5), (0.4, 1, 0.05, 3, 0.5)]
    got = attempt.each("expected_speedup", cases)
    for case, value in zip(cases, got, strict=True):
        agree(value, gain(*case), tol=1e-9, of=f"expected_speedup{case}")


@part("expected_speedup")
def test_best_number_of_drafts(attempt):
    """The γ with the largest gain, the smallest of several; 0 where nothing is gained."""
    cases = [
        (0.75, 0.02, 20),
        (0.75, 0.02, 5),
        (0.1, 0.2, 20),
        (0.25, 0.25, 9),
        (0.21, 0.2, 9),
        (0.95, 0.01, 60),
        (0.0, 0.0, 3),
    ]
    cases += [(0.75, 0.02, 20, 100, 153.0), (0.75, 0.02, 20, 153, 153.0), (0.75, 0.02, 20, 20, 153.0), (0.5, 0.1, 0)]
    for case, value in zip(cases, attempt.each("best_gamma", cases), strict=True):
        alpha, cost, most, *batch = case
        want = max(range(most + 1), key=lambda g, a=alpha, c=cost, b=batch: round(gain(a, g, c, *b), 12))
        agree(value, want, of=f"best_gamma{case}")


# --- choose_draft -----------------------------------------------------------------------------------------------------


def continued(text, longest, gamma):
    """All earlier places, the longest and then the latest first."""
    found = [
        (n, start)
        for n in range(1, longest + 1)
        for start in range(len(text) - n)
        if len(text) >= n and text[start : start + n] == text[len(text) - n :]
    ]
    if not found:
        return []
    n, start = max(found)
    return text[start + n : start + n + gamma]


@part("choose_draft")
def test_text_that_has_been_here_before(attempt, draw):
    """All texts of up to five of two tokens, and longer ones: the longest end, at its latest earlier place."""
    cases = [(list(text), n, 2) for size in range(6) for text in itertools.product((4, 9), repeat=size) for n in (1, 3)]
    cases += [([7, 1, 2, 3, 9, 1, 2, 5, 1, 2], n, gamma) for n in (1, 2, 3, 20) for gamma in (1, 3, 8)]
    cases += [([1, 2, 5, 11, 2, 7, 1, 2], 2, 3), ([1, 23, 4, 12, 3, 5, 1, 23], 2, 2), ([300, 6, 44, 8, 300], 1, 2)]
    for n in (2, 5, 13):  # an end of 13 that stood at the beginning of 60 others
        text = draw.permutation(97).tolist()[:60]
        cases.append((text + text[:13], n, 4))
    for case, value in zip(cases, attempt.each("ngram_draft", cases), strict=True):
        agree(value, continued(*case), of=f"ngram_draft{case}")


@part("choose_draft")
def test_judged_drafts_alone_count(attempt):
    """Runs that kept 4, 1, 0, 3 of 4: 8 of 11 judged, not 8 of 16."""
    kept = {"small": [4, 1, 0, 3], "tiny": [0, 0, 1, 0]}
    got = attempt.choose_draft(kept, 4, {"small": 0.1, "tiny": 0.02}, 8)
    known = {"kept / proposed": {"small": 8 / 16, "tiny": 1 / 16}}
    agree(
        got["alpha"],
        {"small": 8 / 11, "tiny": 1 / 5},
        tol=1e-9,
        of="choose_draft, alpha of runs 4 1 0 3 of 4",
        known=known,
    )
    agree([got["draft"], got["gamma"]], ["small", 4], of="choose_draft, draft and gamma")
    agree(got["speedup"], gain(8 / 11, 4, 0.1), tol=1e-9, of="choose_draft, speedup")


@part("choose_draft")
def test_the_draft_with_the_largest_gain(attempt, draw):
    """Not the one that is kept most often, nor the cheapest; none where no gain is above 1, and the first of equals."""
    cases = [
        ({"big": [5, 5, 4], "tiny": [3, 2, 1]}, 5, {"big": 0.9, "tiny": 0.01}, 12),
        ({"a": [0, 0], "b": [1, 0, 0]}, 3, {"a": 0.01, "b": 0.6}, 10),
        ({"z": [2, 2], "y": [2, 2]}, 2, {"y": 0.1, "z": 0.1}, 4),
        ({"y": [1, 2], "x": [0, 0], "z": [2, 1]}, 2, {"z": 0.1, "x": 0.1, "y": 0.1}, 4),
    ]
    for _ in range(8):
        names = draw.random.sample(["p", "q", "r", "s"], 3)
        gamma = draw.random.randrange(1, 6)
        runs = {name: [draw.random.randrange(gamma + 1) for _ in range(draw.random.randrange(1, 6))] for name in names}
        costs = {name: draw.random.uniform(0.01, 0.9) for name in reversed(names)}
        cases.append((runs, gamma, costs, draw.random.randrange(8)))
    for case, value in zip(cases, attempt.each("choose_draft", cases), strict=True):
        runs, gamma, costs, most = case
        alpha = {name: sum(one) / sum(k + (k < gamma) for k in one) for name, one in runs.items()}
        rows = [(gain(alpha[name], g, costs[name]), name, g) for name in runs for g in range(1, most + 1)]
        speedup, name, g = max(rows, key=lambda row: round(row[0], 12), default=(1.0, None, 0))
        want = {"alpha": alpha, "draft": name, "gamma": g, "speedup": speedup}
        if speedup <= 1 + 1e-12:
            want |= {"draft": None, "gamma": 0, "speedup": 1.0}
        agree(value, want, tol=1e-9, of=f"choose_draft{case}")


# --- tree_mask --------------------------------------------------------------------------------------------------------


def ancestors(parents, node):
    """The node and all above it, from the top."""
    return [*(ancestors(parents, parents[node]) if parents[node] >= 0 else []), node]


def seen(parents, past):
    rows = [[True] * past + [j in ancestors(parents, i) for j in range(len(parents))] for i in range(len(parents))]
    places = [past + len(ancestors(parents, i)) - 1 for i in range(len(parents))]
    return torch.tensor(rows), torch.tensor(places)


@part("tree_mask")
def test_every_tree_of_up_to_four_nodes(attempt):
    """A node looks at the past, its ancestors and itself; its place is the past and the number of its ancestors."""
    trees = [p for t in range(1, 5) for p in itertools.product(*(range(-1, i) for i in range(t)))]
    cases = [(torch.tensor(tree), past) for tree in trees for past in (0, 3)]
    for case, got in zip(cases, attempt.each("tree_mask", cases), strict=True):
        parents, past = case[0].tolist(), case[1]
        mask, places = seen(parents, past)
        known = {}
        if parents == [-1, -1, 0] and past == 3:
            chain = torch.ones(3, 6, dtype=torch.bool).tril(3)
            known = {"a chain": (chain, torch.tensor([3, 4, 5])), "places by index": (mask, torch.tensor([3, 4, 5]))}
        agree(got, (mask, places), of=f"tree_mask of parents {parents}, past {past}", known=known)


def attention(values, places, mask):
    """What a causal layer makes of tokens (n, d) at their places, where mask (rows, n) lets the last rows look."""
    angles = places[:, None].double() / 3.0 ** torch.arange(values.shape[1])
    x = values + angles.sin()
    scores = (x[len(x) - len(mask) :] @ x.T).masked_fill(~mask, -math.inf)
    return scores.softmax(dim=1) @ x


@part("tree_mask")
def test_a_deep_tree(attempt, draw):
    """A chain of 31 nodes, with side branches: all ancestors are seen, however many."""
    parents = [i - 1 for i in range(31)] + [draw.random.randrange(10, 31) for _ in range(6)]
    agree(attempt.tree_mask(torch.tensor(parents), 2), seen(parents, 2), of=f"tree_mask of parents {parents}, past 2")


@part("tree_mask")
def test_one_pass_gives_each_path_alone(attempt, draw):
    """Attention with the mask and the places gives each node what its path alone gives."""
    t, past, d = 11, 5, 3
    parents = [-1, *(draw.random.randrange(-1, i) for i in range(1, t))]
    mask, places = attempt.tree_mask(torch.tensor(parents), past)
    want_mask, want_places = seen(parents, past)
    agree(places, want_places, of=f"tree_mask of parents {parents}, past {past}: places")
    agree(torch.zeros_like(mask), torch.zeros_like(want_mask), of=f"tree_mask of parents {parents}: form of the mask")
    values = draw.normal(past + t, d)
    out = attention(values, torch.cat([torch.arange(past), places]), mask)
    for node in range(t):
        path = [*range(past), *(past + i for i in ancestors(parents, node))]
        alone = attention(values[path], torch.arange(len(path)), torch.ones(1, len(path), dtype=torch.bool))
        agree(out[node], alone[0], of=f"attention of node {node} of parents {parents}, and of its path alone")


@part("tree_mask")
@pytest.mark.parametrize("parents", [[0], [-1, 1], [-1, 2, 0], [-1, 7], [-2], [-1, 0, -3]], ids=str)
def test_tree_mask_refuses(attempt, parents):
    """A parent that is below -1 or does not stand before its child is a ValueError."""
    with refusal(ValueError, of=f"tree_mask of parents {parents}"):
        attempt.tree_mask(torch.tensor(parents), 2)


@part("tree_mask")
def test_another_tree_of_that_size(attempt, reference):
    """Each call takes its own tree, whatever came before in the same sizes and however it lies in memory."""
    trees = [(torch.tensor(parents), 2) for parents in ([-1, 0, 1, 2, 3, 4], [-1, -1, 0, 1, 1, 3])]
    hold_again(attempt, reference, "tree_mask", *trees, of="tree_mask of 6 nodes, past 2")


# --- verify_tree ------------------------------------------------------------------------------------------------------


def verified(p, q, tokens, parents, u, replace, renew=True):
    """The walk by children, in floats; renew=False judges every child against the old p."""
    place, path = -1, []
    while True:
        owed, offered = list(p[place + 1]), list(q[place + 1])
        for child in [i for i, parent in enumerate(parents) if parent == place]:
            x = tokens[child]
            if u[child] < owed[x] / offered[x]:
                path.append(child)
                place = child
                break
            rest = [max(0.0, a - b) for a, b in zip(owed, offered, strict=True)]
            if sum(rest) > 0 and renew:
                owed = [a / sum(rest) for a in rest]
            if not replace:
                offered[x] = 0.0
                offered = [b / sum(offered) for b in offered] if sum(offered) > 0 else offered
        else:
            return path, token_of(owed, u[-1])


@part("verify_tree")
def test_two_children_by_hand(attempt):
    """p (0.2, 0.8), q (0.5, 0.5), children 0 and 0: kept below 0.4, or the further token is 1."""
    p = wide([[0.2, 0.8], [1.0, 0.0], [1.0, 0.0]])
    q, tokens, parents = torch.full((3, 2), 0.5, dtype=torch.float64), torch.tensor([0, 0]), torch.tensor([-1, -1])
    cases = [([0.3, 0.9, 0.5], ([0], 0)), ([0.5, 0.0, 0.5], ([], 1)), ([0.45, 0.3, 0.1], ([], 1))]
    got = attempt.each("verify_tree", [(p, q, tokens, parents, wide(u), True) for u, _ in cases])
    for (u, want), value in zip(cases, got, strict=True):
        agree(value, want, of=f"verify_tree of children 0 and 0 with replacement, u {u}")


@part("verify_tree")
@pytest.mark.parametrize(
    ("pair", "replace", "grid"),
    [(0, True, (4, 1, 6)), (0, False, (4, 3, 1)), (1, True, (2, 2, 1)), (1, False, (2, 12, 1))],
)
def test_law_of_several_drafts(attempt, pair, replace, grid):
    """All pairs of drafts on a grid of uniform numbers: the token that comes has exactly the law of the target."""
    p, q = PAIRS[pair]
    cases, weights = [], []
    rows = [wide([[float(a) for a in law]] + [[0.25, 0.25, 0.5]] * 2) for law in (p, q)]
    for x, y in itertools.product(range(3), repeat=2):
        weight = q[x] * (q[y] if replace else q[y] / (1 - q[x]) if x != y else 0)
        for u in itertools.product(*map(midpoints, grid)) if weight else ():
            cases.append((*rows, torch.tensor([x, y]), torch.tensor([-1, -1]), wide(u), replace))
            weights.append(weight / math.prod(grid))
    law = [0.0, 0.0, 0.0]
    how = "with" if replace else "without"
    of = f"verify_tree of two drafts {how} replacement on a grid of {grid}, p {[str(a) for a in p]}"
    for case, weight, (path, token) in zip(cases, weights, attempt.each("verify_tree", cases), strict=True):
        assert path in ([], [0], [1]), f"{of}: the path {path} is none of two siblings"
        first = int(case[2][path[0]]) if path else token
        assert 0 <= first < 3, f"{of}: token {first} is not in the vocabulary of 3"
        law[first] += float(weight)
    agree(wide(law), wide([float(a) for a in p]), of=f"{of}: law of the first token")


def random_tree(draw, t, v, replace):
    """A tree whose children were drawn from q, in order, and the laws."""
    p, q = laws(draw, t + 1, v, zeros=True), laws(draw, t + 1, v)
    p = 0.5 * p + 0.5 * q
    parents, tokens, drawn = [], [], {}
    for node in range(t):
        open_places = [i for i in range(-1, node) if replace or len(drawn.get(i, [])) < v - 1]
        parent = max(draw.random.choice(open_places), draw.random.choice(open_places) if node % 2 else -1)
        free = [x for x in range(v) if replace or x not in drawn.get(parent, [])]
        token = draw.random.choice(free)
        drawn.setdefault(parent, []).append(token)
        parents.append(parent)
        tokens.append(token)
    return p, q, torch.tensor(tokens, dtype=torch.int64), torch.tensor(parents, dtype=torch.int64), draw.uniform(t + 1)


@part("verify_tree")
@each_dtype
@pytest.mark.parametrize("replace", [True, False])
def test_walk_through_random_trees(attempt, draw, replace, dtype):
    """Children are judged in order, each by its own number; below a kept one the walk begins anew; the last draws."""
    cases = []
    for i in range(60):
        p, q, tokens, parents, u = random_tree(draw, (0, 1, 5, 9, 13)[i % 5], 5, replace)
        cases.append((p.to(of_type(dtype)), q.to(of_type(dtype)), tokens, parents, u.to(of_type(dtype)), replace))
    for case, got in zip(cases, attempt.each("verify_tree", cases), strict=True):
        data = (
            [one.double().tolist() for one in case[:2]]
            + [one.tolist() for one in case[2:4]]
            + [case[4].double().tolist()]
        )
        want = verified(*data, replace)
        old = verified(*data, replace, renew=False)
        known = {"every child judged against the old p": old} if old != want else {}
        of = f"verify_tree of parents {data[3]}, tokens {data[2]}, replace {replace}, {dtype}"
        agree(got, want, of=of, known=known)


@part("verify_tree")
def test_rejected_by_rounding_in_a_tree(attempt, draw):
    """Where nothing would be left, what was owed at that place stays, however deep it lies."""
    cases = []
    for depth in (0, 1, 2) * 8:
        q = laws(draw, depth + 2, 5)
        p = q.clone()  # so each draft is kept
        p[depth] *= 1 - 2**-20  # but the last
        u = wide([0.5] * depth + [1 - 2**-30, draw.random.random()])
        chain = draw.integers(0, 5, depth + 1), torch.arange(-1, depth)
        cases.append((p, q, *chain, u, len(cases) % 2 == 0))
    for case, got in zip(cases, attempt.each("verify_tree", cases), strict=True):
        depth = len(case[3]) - 1
        want = list(range(depth)), token_of(case[0][depth].tolist(), case[4][-1].item())
        of = f"verify_tree, {depth} drafts kept, then p is q · (1 - 2^-20) and u 1 - 2^-30, replace {case[5]}"
        agree(got, want, of=of)


@part("verify_tree")
def test_little_is_owed_in_a_tree(attempt, draw):
    """Where p is above q by 2^-30 at one token alone, that token comes after a rejection, for certain."""
    cases, want = [], []
    for i in range(20):
        p, q, token, owed = hardly_apart(draw)
        u = wide([1 - 2**-40, draw.random.random()])
        cases.append((p.expand(2, 5), q.expand(2, 5), torch.tensor([token]), torch.tensor([-1]), u, i % 2 == 0))
        want.append(([], owed))
    for case, one, got in zip(cases, want, attempt.each("verify_tree", cases), strict=True):
        agree(got, one, of=f"verify_tree where p and q are 2^-30 apart, u 1 - 2^-40, replace {case[5]}")


@part("verify_tree")
def test_a_tree_in_float32_is_compared_in_float64(attempt, draw):
    """Uniform numbers that are p/q as float32 rounds it: which side they are on is decided in float64."""
    cases = []
    for i in range(40):
        p, q, token = laws(draw, 2, 5).float(), laws(draw, 2, 5).float(), draw.random.randrange(5)
        bar = p[0, token].double() / q[0, token].double()
        u = torch.tensor([min(float(bar), 0.9), draw.random.random()], dtype=torch.float32)
        cases.append((p, q, torch.tensor([token]), torch.tensor([-1]), u, i % 2 == 0))
    for case, got in zip(cases, attempt.each("verify_tree", cases), strict=True):
        lists = [one.double().tolist() for one in case[:2]]
        want = verified(*lists, case[2].tolist(), [-1], case[4].double().tolist(), case[5])
        agree(got, want, of="verify_tree of one draft in float32, u next to p/q")


@part("verify_tree")
def test_a_draft_that_is_certain(attempt):
    """q may be all on one token, with and without replacement: if it is rejected, p is owed without it."""
    p, q = wide([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]]), wide([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    rows = [(u, replace) for u in ([0.2, 0.9], [0.3, 0.3], [0.3, 0.4]) for replace in (True, False)]
    got = attempt.each("verify_tree", [(p, q, torch.tensor([0]), torch.tensor([-1]), wide(u), r) for u, r in rows])
    want = [([0], 0)] * 2 + [([], 1)] * 2 + [([], 2)] * 2
    for (u, replace), one, value in zip(rows, want, got, strict=True):
        agree(value, one, of=f"verify_tree of one certain draft 0, p (1/4, 1/4, 1/2), u {u}, replace {replace}")


@part("verify_tree")
def test_walks_through_other_trees_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    for turn in range(6):
        trees = [(*random_tree(draw, 9, 5, turn % 2 == 0), turn % 2 == 0) for _ in range(2)]
        hold_again(attempt, reference, "verify_tree", *trees, of="verify_tree of 9 nodes, 5 tokens")


# --- medusa_candidates ------------------------------------------------------------------------------------------------


@part("medusa_candidates")
def test_candidates_by_hand(attempt):
    """Two heads, four choices: nodes by depth and rank, tokens by the rank in the head of their depth."""
    logits = torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
    got = attempt.medusa_candidates(logits, [(0, 1), (0,), (1,), (0, 0)])
    agree(got, (torch.tensor([1, 2, 0, 2]), torch.tensor([-1, -1, 0, 0])), of="medusa_candidates of two heads")


@part("medusa_candidates")
def test_large_ranks_and_close_logits(attempt, draw):
    """Ranks are ordered as numbers, however large, and logits that differ by 1e-12 are different."""
    v = 301
    orders = torch.stack([draw.permutation(v) for _ in range(2)])
    nodes = [(0,), (2,), (10,), (100,), (300,), (2, 9), (2, 10), (2, 299), (10, 0), (10, 299)]
    ranked = [sorted(range(v), key=lambda x, row=row: -row[x]) for row in orders.tolist()]
    tokens = torch.tensor([ranked[len(path) - 1][path[-1]] for path in nodes])
    parents = torch.tensor([-1] * 5 + [1, 1, 1, 2, 2])
    mixed = draw.random.sample(nodes, len(nodes))
    of = f"medusa_candidates of choices {mixed}, v {v}, logits 1e-12 apart"
    agree(attempt.medusa_candidates(1 + 1e-12 * orders.double(), mixed), (tokens, parents), of=of)


@part("medusa_candidates")
@each_dtype
def test_any_order_of_choices(attempt, draw, dtype):
    """The tree is the same whatever the order of choices."""
    k, v = 3, 11
    for _ in range(3):
        choices = {()}
        for _ in range(12):
            path = draw.random.choice([one for one in sorted(choices) if len(one) < k])
            choices.add((*path, draw.random.randrange(v)))
        nodes = sorted(choices - {()}, key=lambda path: (len(path), path))
        logits = draw.permutation(k * v).view(k, v).to(of_type(dtype)) / 7
        ranked = [sorted(range(v), key=lambda x, row=row: -row[x]) for row in logits.tolist()]
        tokens = torch.tensor([ranked[len(path) - 1][path[-1]] for path in nodes])
        parents = torch.tensor([nodes.index(path[:-1]) if len(path) > 1 else -1 for path in nodes])
        mixed = draw.random.sample(nodes, len(nodes))
        agree(
            attempt.medusa_candidates(logits, mixed),
            (tokens, parents),
            of=f"medusa_candidates of choices {mixed}, {dtype}",
        )


@part("medusa_candidates")
@pytest.mark.parametrize(
    ("heads", "choices"),
    [
        (2, [(0, 0)]),
        (2, [(0,), (1, 0)]),
        (3, [(0,), (0, 0, 0)]),
        (2, [(0,), (0,)]),
        (2, [(), (0,)]),
        (2, [(0,), (0, 0), (0, 0, 0)]),
    ],
    ids=str,
)
def test_medusa_candidates_refuses(attempt, heads, choices):
    """A parent that is missing, a choice twice or empty, and more ranks than heads are a ValueError."""
    with refusal(ValueError, of=f"medusa_candidates of {heads} heads, choices {choices}"):
        attempt.medusa_candidates(torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])[:heads], choices)


def typical(p, tokens, parents, epsilon, delta):
    best = []
    for node in range(len(tokens)):
        path = ancestors(parents, node)
        fine = True
        for one in path:
            law = p[parents[one] + 1]
            entropy = -sum(a * math.log(a) for a in law if a > 0)
            fine = fine and law[tokens[one]] > min(epsilon, delta * math.exp(-entropy))
        if fine and len(path) > len(best):
            best = path
    law = p[best[-1] + 1 if best else 0]
    return best, law.index(max(law))


@part("medusa_candidates")
def test_typical_by_hand(attempt):
    """(0.5, 0.5): the bar is min(0.3, 0.8 · 0.5); (0.9, 0.1): 0.3; a law that is certain: δ or ε."""
    p = wide([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    got = attempt.typical_acceptance(p, torch.tensor([1, 1]), torch.tensor([-1, 0]), 0.3, 0.8)
    agree(got, ([0], 0), of="typical_acceptance of a chain of two, ε 0.3, δ 0.8")
    p = wide([[1.0, 0.0], [0.25, 0.75]])
    for epsilon, delta, want in ((0.5, 0.9, ([0], 1)), (1.0, 2.0, ([], 0)), (2.0, 0.5, ([0], 1))):
        got = attempt.typical_acceptance(p, torch.tensor([0]), torch.tensor([-1]), epsilon, delta)
        agree(got, want, of=f"typical_acceptance of a certain token, ε {epsilon}, δ {delta}")


@part("medusa_candidates")
def test_a_bar_next_to_a_float32(attempt):
    """A probability in float32 is compared with the bar in float64, be they 1e-10 apart."""
    p, chain = torch.tensor([[0.3, 0.7], [0.8, 0.2]]), (torch.tensor([0]), torch.tensor([-1]))
    for apart, want in ((-1e-10, ([0], 0)), (1e-10, ([], 1))):
        got = attempt.typical_acceptance(p, *chain, p[0, 0].item() + apart, 2.0)
        agree(got, want, of=f"typical_acceptance in float32, ε at p(token) {'-+'[apart > 0]} 1e-10")


@part("medusa_candidates")
@each_dtype
def test_typical_paths_of_random_trees(attempt, draw, dtype):
    """The longest path of kept nodes, the first of several, and the likeliest token behind it."""
    cases = []
    for i in range(80):
        p, _, tokens, parents, _ = random_tree(draw, (0, 3, 8, 13)[i % 4], 5, True)
        sharp = p ** draw.integers(1, 5, len(p), 1)
        p, epsilon = sharp / sharp.sum(dim=1, keepdim=True), draw.random.uniform(0.1, 0.5)
        cases.append((p.to(of_type(dtype)), tokens, parents, epsilon, draw.random.uniform(0.3, 1.2)))
    for case, got in zip(cases, attempt.each("typical_acceptance", cases), strict=True):
        data = case[0].double().tolist(), case[1].tolist(), case[2].tolist()
        of = f"typical_acceptance of parents {data[2]}, tokens {data[1]}, ε {case[3]:.4f}, δ {case[4]:.4f}, {dtype}"
        agree(got, typical(*data, *case[3:]), of=of)


@part("medusa_candidates")
def test_other_heads_of_that_size(attempt, reference, draw):
    """Each call takes its own logits, whatever came before in the same sizes and however they lie in memory."""
    choices = [(0,), (3,), (0, 1), (0, 4), (3, 0), (0, 1, 2)]
    heads = [(draw.normal(3, 11), choices) for _ in range(2)]
    hold_again(attempt, reference, "medusa_candidates", *heads, of="medusa_candidates of logits (3, 11)")
    for _ in range(3):
        trees = [random_tree(draw, 9, 5, True) for _ in range(2)]
        asked = [(p, tokens, parents, 0.3, 0.6) for p, _, tokens, parents, _ in trees]
        hold_again(attempt, reference, "typical_acceptance", *asked, of="typical_acceptance of 9 nodes, 5 tokens")


# --- ContinuousBatcher ------------------------------------------------------------------------------------------------


def simulated(limits, arrivals, script):
    """The rules of the docstring on a table of requests, one row each, by age."""
    budget, slots, gamma = limits
    table, steps, turn = [], [], 0
    done = 0
    for step in range(120):
        table += [[request, prompt, tokens, 0, False] for at, request, prompt, tokens in arrivals if at == step]
        plan = {"decode": [], "prefill": [], "preempted": []}
        used = 0

        def free(plan=plan, table=table):
            run = sum(n for _, n in plan["decode"] + plan["prefill"])
            return slots - sum(row[3] for row in table) - run

        for row in table:
            if not (row[4] and row[3] == row[1] - 1):
                continue
            need = 1 + min(gamma, row[2] - 1)
            if used + need > budget:
                break
            while row[4] and need > free():
                victim = [one for one in table if one[4]][-1]
                victim[3], victim[4] = 0, False
                plan["preempted"].append(victim[0])
            if not row[4]:
                break
            plan["decode"].append([row[0], need])
            used += need
        if not plan["preempted"]:
            for row in [one for one in table if not (one[4] and one[3] == one[1] - 1)]:
                lacks = row[1] - row[3]
                n = min(lacks, budget - used, free())
                if n > 0:
                    plan["prefill"].append([row[0], n])
                    row[4], used = True, used + n
                if n < lacks:
                    break
        by_number = {row[0]: row for row in table}
        for request, n in plan["decode"]:
            row, kept = by_number[request], min(script[turn % len(script)], n - 1)
            turn += 1
            row[1], row[2], row[3] = row[1] + kept + 1, row[2] - kept - 1, row[3] + kept + 1
        for request, n in plan["prefill"]:
            row = by_number[request]
            row[3] += n
            if row[3] == row[1]:
                row[1], row[2] = row[1] + 1, row[2] - 1
        finished = [row[0] for row in table if row[2] == 0]
        table = [row for row in table if row[2] > 0]
        steps.append(plan | {"finished": finished})
        done += len(finished)
        if done == len(arrivals):
            break
    return steps


def hold_trace(got, limits, arrivals, script):
    """The first step that is not the one of the rules, and why."""
    of = f"ContinuousBatcher{limits} with (step, request, prompt, tokens) {arrivals}, kept drafts {script}"
    want = simulated(limits, arrivals, script)
    for i in range(len(want)):
        assert i < len(got), f"{of}: it ended after {len(got)} steps, and {len(want)} are needed"
        for name in ("preempted", "decode", "prefill", "finished"):
            agree(got[i][name], want[i][name], of=f"{of}: {name} in step {i}")
    agree(len(got), len(want), of=f"{of}: the number of steps")


@part("ContinuousBatcher")
def test_a_batch_by_hand(attempt):
    """A prompt of 8 in pieces of 6 tokens; a second request joins; decodes run a known token and two drafts."""
    arrivals = [(0, 7, 8, 5), (1, 8, 3, 1)]
    got = attempt.run(drivers.trace, (6, 20, 2), arrivals, [2, 0])
    want = [
        {"decode": [], "prefill": [[7, 6]], "preempted": [], "finished": []},
        {"decode": [], "prefill": [[7, 2], [8, 3]], "preempted": [], "finished": [8]},
        {"decode": [[7, 3]], "prefill": [], "preempted": [], "finished": []},
        {"decode": [[7, 1]], "prefill": [], "preempted": [], "finished": [7]},
    ]
    agree(got, want, of=f"ContinuousBatcher(6, 20, 2) with {arrivals}")


@part("ContinuousBatcher")
def test_decodes_go_before_a_long_prompt(attempt):
    """Who generates is served in each step, though a prompt waits that would fill it."""
    for limits in ((5, 40, 2), (4, 40, 0), (7, 40, 3)):
        arrivals = [(0, 1, 2, 9), (1, 2, 17, 3), (1, 3, 1, 2)]
        hold_trace(attempt.run(drivers.trace, limits, arrivals, [1, 0]), limits, arrivals, [1, 0])


@part("ContinuousBatcher")
def test_the_youngest_gives_way(attempt):
    """Where slots run out the youngest is pre-empted, comes again before those behind it, and nobody overtakes."""
    for limits, script in (((8, 9, 1), [1]), ((8, 10, 2), [0, 2]), ((5, 12, 0), [0]), ((9, 13, 3), [0, 1, 3])):
        arrivals = [(0, 4, 3, 5), (0, 2, 2, 6), (0, 9, 3, 4), (2, 1, 1, 1)]
        hold_trace(attempt.run(drivers.trace, limits, arrivals, script), limits, arrivals, script)


@part("ContinuousBatcher")
@pytest.mark.parametrize("limits", [(3, 8, 2), (4, 9, 1), (7, 11, 2), (2, 8, 0), (6, 30, 5)], ids=str)
def test_every_small_trace(attempt, limits):
    """All pairs and many triples of small requests: each step keeps the rules, and every request ends."""
    sizes = [(1, 1), (1, 5), (2, 3), (4, 4), (5, 1), (5, 4)]
    groups = [*itertools.product(sizes, repeat=2), *list(itertools.product(sizes, repeat=3))[::5]]
    cases = []
    for i, group in enumerate(groups):
        arrivals = [(j * (i % 3), 10 - 3 * j, *size) for j, size in enumerate(group)]
        cases.append((limits, arrivals, [[0], [limits[2]], [1, 0, limits[2]]][i % 3]))
    for case, got in zip(cases, attempt.each(drivers.trace, cases), strict=True):
        hold_trace(got, *case)


@part("ContinuousBatcher")
@pytest.mark.parametrize(
    ("limits", "prompt", "tokens"), [((3, 20, 3), 1, 1), ((9, 10, 2), 8, 4), ((9, 10, 2), 11, 1)], ids=str
)
def test_batcher_refuses(attempt, limits, prompt, tokens):
    """A decode above the budget, and a request that could not run alone, are a ValueError."""
    with refusal(ValueError, of=f"ContinuousBatcher{limits}, prompt {prompt}, tokens {tokens}"):
        attempt.run(drivers.refused, limits, prompt, tokens)
    fits = attempt.run(drivers.refused, (4, 10, 3), 8, 3)
    agree(fits["prefill"], {1: 4}, of="ContinuousBatcher(4, 10, 3) with a prompt of 8 and 3 tokens, which just fit")


@part("ContinuousBatcher")
def test_two_batchers_at_a_time(attempt):
    """Each knows its own requests alone, whatever their numbers; a refused one is as if it had not come."""
    limits = [(6, 14, 2), (5, 11, 1)]
    arrivals = [[(0, 0, 8, 5), (1, -3, 3, 4)], [(0, 0, 3, 4), (0, -3, 2, 6), (2, 5, 1, 2)]]
    script = [1, 0, 2]
    got = attempt.run(drivers.two_traces, limits, arrivals, script)
    assert got["left alone"], "ContinuousBatcher.update changed the dict of kept drafts that it was given"
    for i in range(2):
        hold_trace(got["steps"][i], limits[i], arrivals[i], script)
