"""Questions on variants of attention whose numbers change: `grader drill --topic attention.linear`."""

from math import ceil, exp, tanh

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="attention.cross", level=2, source="Vaswani 2017, section 3.2.3")
def parameters_of_cross_attention(draw):
    d, c = draw(320, 512, 640, 768, 1024, 1280), draw(384, 1280, 2048, 4096)
    return Number(
        ask=f"Cross-attention without biases: queries come from a stream of width {d}, keys and values from a context "
        f"of width {c}. All heads together have width {d}, and so has the output. How many parameters?",
        given=dict(d=d, c=c),
        answer=2 * d * d + 2 * c * d,
        unit="parameters",
        traps={
            "as self-attention": 4 * d * d,
            "values from the stream": 3 * d * d + c * d,
            "queries from the context": d * d + 3 * c * d,
        },
        hints=("Queries and output are d by d; what reads the context is c by d.", "2 · d^2 + 2 · c · d"),
        why="Keys and values both read the context, so two of the four matrices have its width.",
    )


@parameters_of_cross_attention.second
def _(d, c):
    read = {"query": d, "key": c, "value": c, "output": d}
    return sum(len(range(d * width)) for width in read.values())


@question(topic="attention.cross", level=1, source="Vaswani 2017, section 3.2.3")
def shapes_of_cross_attention(draw):
    n, m, d, c = draw.sample(range(3, 40), 4)
    return Predict(
        ask="Which shapes are printed?",
        code=f"""
import numpy as np
stream, context = np.zeros(({n}, {d})), np.zeros(({m}, {c}))
q = stream @ np.zeros(({d}, {d}))
k, v = (context @ np.zeros(({c}, {d})) for _ in "kv")
weights = q @ k.T
print(weights.shape, (weights @ v).shape)
""",
        answer=f"({n}, {m}) ({n}, {d})",
        traps={
            "rows are keys": f"({m}, {n}) ({m}, {d})",
            "the context's width comes out": f"({n}, {m}) ({n}, {c})",
            "self-attention": f"({n}, {n}) ({n}, {d})",
        },
        hints=("A row of weights for each query; an output for each query.", "(queries, keys), then (queries, width)"),
        why="Queries decide how many outputs there are, the context only what they can be made of.",
    )


@question(topic="attention.sliding_window", level=1, source="Jiang 2023, Mistral 7B, section 2", readme="dl_012/4")
def reach_of_windows(draw):
    L, w = draw.between(2, 40), draw(16, 64, 256, 512, 1024, 4096)
    return Number(
        ask=f"{L} layers with a causal window of {w} keys a query, its own token among them. On how many tokens can "
        "one output depend at most?",
        given=dict(L=L, w=w),
        answer=L * (w - 1) + 1,
        unit="tokens",
        traps={"own token counted each time": L * w, "one layer": w, "the token itself forgotten": L * (w - 1)},
        hints=("Each layer reaches w - 1 tokens further back.", "L · (w - 1) + 1"),
        why="A layer adds what its oldest key has seen. It is an upper bound: what passes many layers is diluted.",
    )


@reach_of_windows.second
def _(L, w):
    oldest = 0
    for _layer in range(L):
        oldest = min(range(oldest - w + 1, oldest + 1))
    return len(range(oldest, 1))


@question(topic="attention.sliding_window", level=2, source="Jiang 2023, Mistral 7B, section 2")
def pairs_in_a_window(draw):
    n, w = draw.between(60, 200), draw.between(3, 50)
    return Number(
        ask=f"A causal window of {w} keys a query, its own among them, over {n} tokens. How many pairs of query and "
        "key does the mask leave?",
        given=dict(n=n, w=w),
        answer=n * w - w * (w - 1) // 2,
        unit="pairs",
        traps={
            "the first queries have full windows": n * w,
            "a window on both sides": n * (2 * w - 1) - w * (w - 1),
            "causal without a window": n * (n + 1) // 2,
        },
        hints=("The first w - 1 queries have fewer keys: 1, 2, and so on.", "n · w - w · (w - 1) / 2"),
        why="Work and memory grow with n · w instead of n². The missing corner is at the start of the text.",
    )


@pairs_in_a_window.second
def _(n, w):
    import numpy as np

    return int((np.tri(n) - np.tri(n, n, -w)).sum())


@question(topic="attention.sliding_window", level=2, source="Jiang 2023, Mistral 7B, section 2", readme="dl_012/4")
def buffer_in_a_circle(draw):
    w, n = draw(3, 4, 5), draw.between(7, 40)
    kept = [max(place for place in range(n) if place % w == slot) for slot in range(w)]
    return Predict(
        ask="The cache of a window. What is printed?",
        code=f"""
window, places = {w}, [None] * {w}
for token in range({n}):
    places[token % window] = token
print(places)
""",
        answer=str(kept),
        traps={
            "moved along": str(sorted(kept)),
            "the first ones stay": str(list(range(w))),
            "newest first": str(sorted(kept)[::-1]),
        },
        hints=("Which is the newest token for each remainder?", "token is at token mod window"),
        why="The newest token overwrites the one that has left the window, so the cache stops growing and nothing is "
        "moved.",
    )


@question(topic="attention.online_softmax", level=2, source="Milakov 2018, section 3; Dao 2022, 3.1")
def sum_of_two_parts(draw):
    a, b = draw.sample([-2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 4.0], 2)
    s, t = draw(1.2, 1.5, 2.0, 2.5), draw(1.1, 1.4, 1.8, 3.0)
    top = max(a, b)
    return Number(
        ask=f"Two parts of a row of scores. The first has maximum {a:g} and, relative to it, a sum of exponentials "
        f"{s:g}; the second has {b:g} and {t:g}. What is the sum of the whole row, relative to its "
        "maximum?",
        given=dict(a=a, b=b, s=s, t=t),
        answer=s * exp(a - top) + t * exp(b - top),
        traps={
            "sums added as they are": s + t,
            "relative to the smaller maximum": s * exp(a - min(a, b)) + t * exp(b - min(a, b)),
            "factors swapped": s * exp(b - top) + t * exp(a - top),
        },
        hints=("One of the parts was measured from a smaller maximum.", "s · e^(a-m) + t · e^(b-m), m = max(a, b)"),
        why="A sum is relative to its maximum. Where the maximum changes, the sum is multiplied with e to the "
        "difference, and so is the output.",
    )


@sum_of_two_parts.second
def _(a, b, s, t):
    import numpy as np

    whole = np.logaddexp(a + np.log(s), b + np.log(t))
    return float(np.exp(whole - np.maximum(a, b)))


@question(topic="attention.online_softmax", level=2, source="Milakov 2018, algorithm 3")
def line_of_one_pass(draw):
    large = draw(3, 4)
    scores = [draw(0, 1), large, draw(2, 1.5), draw(0.5, 1)]
    wrong, mended = draw(
        ("        total = total + exp(one - new)", "        total = total * exp(top - new) + exp(one - new)"),
        ("        new = one", "        new = max(top, one)"),
        ("        top = one", "        top = new"),
        ("    top, total = 0.0, 1.0", "    top, total = -inf, 0.0"),
    )
    code = f"""
from math import exp, inf
def normaliser(scores):
    top, total = -inf, 0.0
    for one in scores:
        new = max(top, one)
        total = total * exp(top - new) + exp(one - new)
        top = new
    return total
print(round(normaliser({scores}), 3))
"""
    return Bug(
        ask="One pass over the scores: the sum of their exponentials, relative to the largest. It prints another "
        "value. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str(round(sum(exp(one - large) for one in scores), 3)),
        traps={"every score is read": "    for one in scores:", "no division here": "    return total"},
        hints=("Follow top and total through the scores.", "old total · e^(old - new top) + e^(score - new top)"),
        why="Top must never fall, and total is always relative to the present top: each change of it rescales total.",
    )


@question(topic="attention.flash_forward", level=2, source="Dao 2022, section 3.1", readme="dl_012/2", seed="000/13")
def bytes_kept_by_flash(draw):
    B, H, N = draw(1, 2, 4, 8), draw(12, 16, 32, 40), draw(2048, 4096, 8192, 16384)
    return Number(
        ask=f"FlashAttention, batch {B}, {H} heads, {N} tokens. Beside q, k, v and the output, what does the forward "
        "pass keep for the backward pass, in bytes? It keeps float32.",
        given=dict(B=B, H=H, N=N),
        answer=4 * B * H * N,
        unit="B",
        traps={
            "the weights": 4 * B * H * N * N,
            "maximum and sum": 8 * B * H * N,
            "for one head": 4 * B * N,
        },
        hints=("One number a row of scores, for each head of each sequence.", "4 · B · H · N"),
        why="The log-sum-exp of a row is enough: e to score minus it is the weight, without a second softmax. Memory "
        "grows with n, not with its square.",
    )


@bytes_kept_by_flash.second
def _(B, H, N):
    import numpy as np

    return np.broadcast_to(np.float32(0), (B, H, N)).size * np.float32(0).nbytes


@question(topic="attention.flash_forward", level=1, source="Dao 2022, sections 3.1-3.2", readme="dl_012/1")
def flash_against_plain(draw):
    what = draw(
        "multiplications of matrix products in the forward pass",
        "multiplications of matrix products in the backward pass",
        "bytes moved to and from GPU memory",
        "bytes kept for the backward pass",
    )
    right = {"multiplications of matrix products in the forward pass": "as many"}.get(what, "fewer")
    right = "more" if what.endswith("backward pass") and what.startswith("mult") else right
    others = [one for one in ("fewer", "as many", "more") if one != right]
    return Choice(
        ask=f"A long sequence, training. FlashAttention against plain attention that stores its weights: how "
        f"many {what} are there?",
        given=dict(what=what),
        answer=right,
        traps=dict(
            zip(("it saves everywhere" if right != "fewer" else "no saving", "the wrong way"), others, strict=True)
        ),
        hints=(
            "It computes the same scores, and in the backward pass once more.",
            "2 and 2 products; 4 and 5; n² and n",
        ),
        why="The gain is memory traffic, not arithmetic: scores never leave the chip. In the backward pass they are "
        "computed again, which is cheaper than loading them.",
    )


@flash_against_plain.second
def _(what):
    n, d = 4096, 64
    forward = ["scores", "output"]
    backward = ["dv", "dp", "dq", "dk"]
    plain, flash = {
        "multiplications of matrix products in the forward pass": (len(forward), len(forward)),
        "multiplications of matrix products in the backward pass": (len(backward), len(["scores", *backward])),
        "bytes moved to and from GPU memory": (4 * n * n + 4 * n * d, n // 64 * 2 * n * d + 2 * n * d),
        "bytes kept for the backward pass": (n * n + 4 * n * d, n + 4 * n * d),
    }[what]
    return "fewer" if flash < plain else "more" if flash > plain else "as many"


@question(topic="attention.flash_forward", level=2, source="Dao 2022, section 2.2", readme="dl_012/1")
def traffic_of_plain_attention(draw):
    N, H, B = draw(1024, 2048, 4096, 8192), draw(8, 12, 16, 32), draw(1, 2, 4)
    return Number(
        ask="Plain attention writes the scores, reads them for the softmax, writes the weights and reads them for "
        f"the product with v. {H} heads, {N} tokens, batch {B}, 2 B a value. How many bytes does that move?",
        given=dict(N=N, H=H, B=B),
        answer=8 * B * H * N * N,
        unit="B",
        traps={
            "written, never read": 4 * B * H * N * N,
            "moved once": 2 * B * H * N * N,
            "one row": 8 * B * H * N,
        },
        hints=("An n by n matrix a head passes memory four times.", "4 · 2 · B · H · N^2"),
        why="These passes take longer than the products. FlashAttention keeps tiles of scores on the chip and moves "
        "none of this.",
    )


@traffic_of_plain_attention.second
def _(N, H, B):
    moved = 0
    for _pass in ("scores out", "scores in", "weights out", "weights in"):
        moved += sum(N * 2 for _row in range(N)) * H * B
    return moved


@question(topic="attention.flash_backward", level=2, source="Dao 2022, section 3.1 and B.4", readme="dl_012/1")
def flops_of_both_passes(draw):
    N, d = draw(1024, 2048, 4096, 8192), draw(64, 80, 96, 128)
    return Number(
        ask=f"FlashAttention, one head, {N} tokens of width {d}, no mask. How many FLOPs do the matrix products of "
        "forward and backward pass take together? A multiplication and an addition are two.",
        given=dict(N=N, d=d),
        answer=14 * N * N * d,
        unit="FLOP",
        traps={
            "weights were stored": 12 * N * N * d,
            "the backward pass alone": 10 * N * N * d,
            "as much as the forward pass": 8 * N * N * d,
        },
        hints=("2 products forward; backward 4, and the scores once more.", "7 · 2 · N^2 · d"),
        why="Recomputing the scores adds a product to the four of the backward pass. It does more arithmetic than "
        "plain attention, and is faster.",
    )


@flops_of_both_passes.second
def _(N, d):
    forward = [(N, d, N), (N, N, d)]
    backward = [(N, d, N), (N, N, d), (N, d, N), (N, N, d), (N, N, d)]
    return sum(a * b * c + a * b * c for a, b, c in forward + backward)


@question(topic="attention.flash_backward", level=3, source="Dao 2022, appendix B.2", readme="dl_012/2")
def gradient_of_a_score(draw):
    p, dps = draw([0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]), draw.sample([-3.0, -1.0, 0.5, 2.0, 4.0], 2)
    delta = p[0] * dps[0] + p[1] * dps[1]
    return Number(
        ask=f"A row of two weights, {p[0]} and {p[1]}; the loss has the gradients {dps[0]:g} and {dps[1]:g} with "
        "respect to them. What is the gradient of the first score?",
        given=dict(p=p, dps=dps),
        answer=p[0] * (dps[0] - delta),
        traps={
            "delta forgotten": p[0] * dps[0],
            "each weight by itself": p[0] * (1 - p[0]) * dps[0],
            "plain mean": p[0] * (dps[0] - (dps[0] + dps[1]) / 2),
        },
        hints=("The row's delta is the weighted mean of these gradients.", "p · (dp - (p₁·dp₁ + p₂·dp₂))"),
        why="A softmax couples the row: raising one weight lowers the others. Their mean, delta, equals dout · out, "
        "one number a row.",
    )


@gradient_of_a_score.second
def _(p, dps):
    import numpy as np

    weights = np.array(p)
    jacobian = np.diag(weights) - np.outer(weights, weights)
    return float((jacobian @ np.array(dps))[0])


@question(topic="attention.flash_backward", level=2, source="Dao 2022, appendix B.4", readme="dl_012/2")
def score_from_what_is_kept(draw):
    p, dp, delta = draw("p", "weight"), draw("dp", "grad"), draw("delta", "row", "mean")
    return Blank(
        ask=f"FlashAttention's backward pass over a tile. `{delta}` is the row's dout · out. Fill in the gradient of "
        "the score.",
        code=f"def dscore(score, lse, {dp}, {delta}):\n    {p} = exp(score - lse)\n    return ____",
        given={p: draw(0.25, 0.5, 0.75), dp: draw.between(2, 9), delta: draw.between(10, 20)},
        answer=f"{p} * ({dp} - {delta})",
        traps={
            "the softmax forgotten": f"{dp} - {delta}",
            "the row forgotten": f"{p} * {dp}",
            "as for one sigmoid": f"{p} * (1 - {p}) * {dp}",
        },
        hints=(
            "The softmax couples the row, and one number a row is enough for it.",
            "weight · (its gradient - delta)",
        ),
        why="The log-sum-exp rebuilds a weight without its row, and delta replaces the sum over it. So each tile can "
        "be done by itself.",
    )


@score_from_what_is_kept.second
def _(**given):
    weight, gradient, mean = given.values()
    return weight * gradient - weight * mean


@question(
    topic="attention.flash_versions", level=2, source="Dao 2023, FlashAttention-2, section 3.2", readme="dl_012/3"
)
def blocks_of_version_two(draw):
    B, H, N, r = draw(1, 2, 3), draw(8, 16, 32), draw(4000, 8192, 10000, 16384, 50000), draw(64, 128)
    return Number(
        ask=f"FlashAttention 2, batch {B}, {H} heads, {N} tokens, blocks of {r} queries. Over how many thread blocks "
        "is the forward pass spread?",
        given=dict(B=B, H=H, N=N, r=r),
        answer=B * H * ceil(N / r),
        unit="blocks",
        traps={
            "version 1": B * H,
            "a block a tile": B * H * ceil(N / r) ** 2,
            "heads forgotten": B * ceil(N / r),
        },
        hints=("Each block of queries of each head is one job.", "B · H · ⌈N / r⌉"),
        why="Version 1 has one job a head. A long sequence in a small batch then leaves most of about a hundred "
        "processors idle.",
    )


@blocks_of_version_two.second
def _(B, H, N, r):
    jobs = [(sequence, head, row) for sequence in range(B) for head in range(H) for row in range(0, N, r)]
    return len(jobs)


@question(topic="attention.flash_versions", level=2, source="Dao 2023; Shah 2024, section 3", readme="dl_012/3")
def what_came_when(draw):
    version = draw(1, 2, 3)
    ideas = {
        1: ["tiles of scores that never leave the chip", "scores made again in the backward pass"],
        2: [
            "blocks of queries spread over the processors",
            "division by the sum only at the end of a row",
            "queries in the outer loop",
        ],
        3: [
            "products in FP8",
            "copies that run beside the products",
            "the softmax of one tile under the products of another",
        ],
    }
    right = draw(*ideas[version])
    others = [draw(*ideas[other]) for other in ideas if other != version]
    names = [f"of version {other}" for other in ideas if other != version]
    return Choice(
        ask=f"What was new in FlashAttention {version}?",
        given=dict(version=version, options=[right, *others]),
        answer=right,
        traps=dict(zip(names, others, strict=True)),
        hints=("1: memory traffic; 2: division of the work; 3: Hopper's new units.", "which of the three is it about?"),
        why="Version 1 moves less, 2 divides the work better and has fewer operations outside of products, 3 "
        "overlaps copies, softmax and products on Hopper and has FP8.",
    )


@what_came_when.second
def _(version, options):
    about = {
        "tiles": 1, "made again": 1, "spread": 2, "division": 2, "outer": 2, "FP8": 3, "copies": 3, "softmax of": 3,
    }  # fmt: skip
    (right,) = [one for one in options if any(word in one and since == version for word, since in about.items())]
    return right


@question(topic="attention.linear", level=2, source="Katharopoulos 2020, section 3.4", readme="dl_012/5")
def tokens_that_fill_a_state(draw):
    k, v = draw(16, 32, 64, 80, 96, 128), draw(32, 48, 64, 96, 128, 256)
    return Number(
        ask=f"Linear attention, a head with keys of width {k} and values of width {v}, state and normaliser kept. "
        "From how many tokens on does a KV cache hold more numbers?",
        given=dict(k=k, v=v),
        answer=k * (v + 1) // (k + v) + 1,
        unit="tokens",
        traps={
            "product of the widths": k * v,
            "keys alone are cached": v + 2,
            "values alone are cached": k * (v + 1) // v + 1,
        },
        hints=("The state is k by v, the normaliser k; a token is k + v.", "⌊k · (v + 1) / (k + v)⌋ + 1"),
        why="The state is tiny: with equal widths as large as half a width of tokens. That is what makes it cheap, "
        "and what it pays for with recall.",
    )


@tokens_that_fill_a_state.second
def _(k, v):
    import numpy as np

    state = np.zeros((k, v)).size + np.zeros(k).size
    return next(n for n in range(1, 10**4) if np.zeros((n, k)).size + np.zeros((n, v)).size > state)


@question(topic="attention.linear", level=2, source="Katharopoulos 2020, section 3.3")
def state_of_two_steps(draw):
    first, then = (draw.between(1, 5), draw.between(2, 9)), (draw.between(1, 5), draw.between(10, 20))
    states, state, total = [], 0, 0
    for key, value in (first, then):
        state, total = state + (key + 1) * value, total + key + 1
        states.append(f"{state} {total}")
    plain = [first[0] * first[1], first[0] * first[1] + then[0] * then[1]]
    return Predict(
        ask="Linear attention, width 1; for positive k, elu(k) + 1 is k + 1. What is printed?",
        code=f"""
state = total = 0
for k, v in [{first}, {then}]:
    state += (k + 1) * v
    total += k + 1
    print(state, total)
""",
        answer="\n".join(states),
        traps={
            "keys without the feature map": f"{plain[0]} {first[0]}\n{plain[1]} {first[0] + then[0]}",
            "only the newest token": f"{states[0]}\n{(then[0] + 1) * then[1]} {then[0] + 1}",
            "tokens counted": f"{states[0].split()[0]} 1\n{states[1].split()[0]} 2",
        },
        hints=("Every token adds to both sums.", "Σ (k + 1) · v and Σ (k + 1)"),
        why="Because features of query and key are multiplied, the sum over the past can be done once and kept: it "
        "is a recurrent network with a matrix as its state.",
    )


@question(topic="attention.linear", level=2, source="Katharopoulos 2020; Arora 2024, section 3", readme="dl_012/5")
def share_of_the_right_key(draw):
    a, b, n = draw(4.0, 5.0, 6.0, 8.0), draw(0.5, 1.0, 2.0), draw(10, 30, 100, 300, 1000)
    return Number(
        ask=f"A query looks for one key. The product of its features with that key's is {a:g}, with those of each of "
        f"{n} other keys {b:g}. Which share of the output of linear attention comes from the right key?",
        given=dict(a=a, b=b, n=n),
        answer=100 * a / (a + n * b),
        unit="%",
        traps={"a softmax": 100 * exp(a) / (exp(a) + n * exp(b)), "one key against one": 100 * a / (a + b)},
        hints=("The weight of a key is its product, over the sum of all products.", "100 · a / (a + n · b)"),
        why="Linear weights cannot single out one key among many: there is no exponential to sharpen them. That is "
        "why it trails at recall.",
    )


@share_of_the_right_key.second
def _(a, b, n):
    products = [b] * n + [a]
    normaliser = sum(products)
    return 100 * (1 - sum(one / normaliser for one in products[:-1]))


@question(topic="attention.alibi", level=2, source="Press 2022, section 3", readme="dl_012/7")
def bias_of_a_head(draw):
    h, i, k = draw(8, 16, 32), draw.between(2, 8), draw.between(2, 60)
    return Number(
        ask=f"ALiBi with {h} heads, counted from 1. Which bias does head {i} add to the score of a key {k} tokens "
        "back?",
        given=dict(h=h, i=i, k=k),
        answer=-k * 2 ** (-8 * i / h),
        traps={
            "heads counted from 0": -k * 2 ** (-8 * (i - 1) / h),
            "a bonus for distance": k * 2 ** (-8 * i / h),
            "steps of one half": -k * 2.0**-i,
        },
        hints=("Slopes are a geometric row from 2^(-8/h) to 2^(-8).", "-k · 2^(-8 · i / h)"),
        why="Distance lowers a score, more in steep heads, less in flat ones. A longer text adds only keys that fade "
        "as far ones did in training.",
    )


@bias_of_a_head.second
def _(h, i, k):
    ratio = 0.5 ** (8 / h)
    slope = 1.0
    for _head in range(i):
        slope *= ratio
    return -slope * k


@question(topic="attention.alibi", level=1, source="Press 2022, section 3")
def row_of_biases(draw):
    q, slope = draw.between(2, 4), draw(0.5, 0.25, 2)
    biases = [-slope * (q - key) for key in range(q + 1)]
    return Predict(
        ask=f"ALiBi's biases of query {q} for keys 0 to {q}. What is printed?",
        code=f"""
slope, query = {slope}, {q}
print([slope * (key - query) for key in range(query + 1)])
""",
        answer=str([slope * (key - q) for key in range(q + 1)]),
        traps={
            "near keys fade": str(biases[::-1]),
            "a bonus": str([slope * (q - key) for key in range(q + 1)]),
            "own token fades": str([slope * (key - q - 1) for key in range(q + 1)]),
        },
        hints=("What is the distance of key 0, and of the last key?", "slope · (key - query)"),
        why="The own token has bias 0, the farthest the most negative one. Nothing else tells positions apart: there "
        "is no position that could be out of range.",
    )


@question(topic="attention.alibi", level=2, source="Press 2022, section 3", readme="dl_012/7")
def reach_of_heads(draw):
    h = draw(8, 16)
    heads = draw.sample(range(1, h + 1), 4)
    order = [f"head {i}" for i in sorted(heads, reverse=True)]
    return Order(
        ask=f"ALiBi with {h} heads, counted from 1. Which head looks farthest back? Farthest first.",
        given=dict(h=h, heads=heads),
        answer=order,
        traps={"slopes rise": order[::-1]},
        hints=("Which head has the flattest slope?", "slope 2^(-8 · i / h)"),
        why="Slopes fall with the head's number: the first is steep and looks at near tokens, the last is nearly flat.",
    )


@reach_of_heads.second
def _(h, heads):
    slopes = [2 ** (-8 / h)]
    while len(slopes) < h:
        slopes.append(slopes[-1] * slopes[0])
    half_lost = {f"head {i}": 0.7 / slopes[i - 1] for i in heads}  # tokens back at which a weight is halved
    return sorted(half_lost, key=lambda name: -half_lost[name])


@question(topic="attention.soft_cap", level=1, source="Gemma 2 report, section 2")
def capped_score(draw):
    c, s = draw(20.0, 30.0, 50.0), draw(15, 25, 35, 45, 60, 80)
    return Number(
        ask=f"Gemma 2 caps attention scores softly, at {c:g}. What becomes of a score of {s}?",
        given=dict(c=c, s=s),
        answer=c * tanh(s / c),
        traps={"cut off": min(s, c), "tanh alone": tanh(s / c)},
        hints=("A tanh, stretched so that small scores stay nearly as they are.", "c · tanh(s / c)"),
        why="Small scores pass nearly unchanged, large ones approach the cap, and the gradient never ends abruptly "
        "as at a hard cut.",
    )


@capped_score.second
def _(c, s):
    import numpy as np

    rise, fall = np.exp(s / c), np.exp(-s / c)
    return float(c * (rise - fall) / (rise + fall))


@question(topic="attention.soft_cap", level=2, source="Gemma 2 report, section 2", readme="dl_012/7")
def mask_before_the_cap(draw):
    cap, far = draw(10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0), draw(10, 100, 1000)
    return Predict(
        ask="Somebody masks before the soft cap. Which scores are printed?",
        code=f"""
from math import inf, tanh
cap = {cap}
for score in (0.0, {far} * cap, -inf):
    print(round(cap * tanh(score / cap), 1))
""",
        answer=f"0.0\n{cap}\n{-cap}",
        traps={
            "minus infinity stays": f"0.0\n{cap}\n-inf",
            "large scores stay": f"0.0\n{far * cap}\n{-cap}",
            "the tanh alone": "0.0\n1.0\n-1.0",
        },
        hints=("tanh lies between -1 and 1, also at infinity.", "cap · tanh(score / cap)"),
        why="A mask before the cap becomes a finite score, and hidden keys get weight. The tanh belongs between "
        "scores and mask. torch's scaled_dot_product_attention has no place for it there.",
    )


@question(topic="attention.soft_cap", level=2, source="Gemma 2 report, section 2", readme="dl_012/7")
def line_of_capped_weights(draw):
    cap, scores = draw(2, 3), [draw(1, 2), draw(5, 6), draw(3, 4)]
    wrong, mended = draw(
        ("    scores = [tanh(s / cap) for s in scores]", "    scores = [cap * tanh(s / cap) for s in scores]"),
        ("    scores = [cap * tanh(s) for s in scores]", "    scores = [cap * tanh(s / cap) for s in scores]"),
        (
            "    scores = [s * v for s, v in zip(scores, seen)]",
            "    scores = [s if v else -inf for s, v in zip(scores, seen)]",
        ),
    )
    code = f"""
from math import exp, inf, tanh
def weights(scores, seen, cap):
    scores = [cap * tanh(s / cap) for s in scores]
    scores = [s if v else -inf for s, v in zip(scores, seen)]
    powers = [exp(s) for s in scores]
    return [round(p / sum(powers), 3) for p in powers]
print(weights({scores}, [True, True, False], {cap}))
"""
    powers = [exp(cap * tanh(s / cap)) for s in scores[:2]] + [0.0]
    return Bug(
        ask="Softly capped weights of a row whose last key is hidden. It prints others. Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints=str([round(p / sum(powers), 3) for p in powers]),
        traps={
            "the exponential is right": "    powers = [exp(s) for s in scores]",
            "weights sum to 1": "    return [round(p / sum(powers), 3) for p in powers]",
        },
        hints=(
            "Small scores should pass as they are, a hidden key should weigh nothing.",
            "cap · tanh(s / cap), then -inf",
        ),
        why="The cap divides and multiplies, so that it is the identity near 0. The mask comes after it and is -inf, "
        "since e to 0 is 1.",
    )


@question(topic="attention.choice", level=2, source="Kaplan 2020, section 2.1", readme="dl_012/6")
def tokens_where_scores_cost_as_much(draw):
    d = draw(1024, 2048, 2560, 3072, 4096, 5120, 8192, 12288)
    return Number(
        ask=f"A layer of width {d}: its matrices cost 24 d² FLOPs a token. Causal attention, tiles above the diagonal "
        "skipped. At how many tokens do scores and weighted sums cost as much, averaged over the tokens?",
        given=dict(d=d),
        answer=12 * d,
        within=0.01,
        unit="tokens",
        traps={"no causal mask": 6 * d, "additions forgotten": 24 * d, "as many as the width": d},
        hints=("A key costs 4d FLOPs, and a query sees half of the n on average.", "24 · d^2 / (2 · d)"),
        why="Below that length, attention is the smaller part of the work, so a window or a linear form can save "
        "little, and costs recall.",
    )


@tokens_where_scores_cost_as_much.second
def _(d):
    matrices = 2 * (4 * d * d + 2 * d * 4 * d)
    a_key = sum(2 * d for _product in ("scores", "weighted sum"))
    return matrices // (a_key // 2)


@question(topic="attention.choice", level=2, source="Mistral 2023; Katharopoulos 2020", readme="dl_012/6")
def least_memory(draw):
    n, w, h, H = draw(8192, 32768, 131072), draw(768, 1536, 6144), draw(64, 128), draw(16, 32)
    kv = draw(2, 4)
    kept = {
        f"full attention, {H} KV heads": n * 2 * h * H,
        f"full attention, {kv} KV heads": n * 2 * h * kv,
        f"a window of {w}, {H} KV heads": w * 2 * h * H,
        f"linear attention, {H} heads": H * h * (h + 1),
    }
    order = sorted(kept, key=lambda name: kept[name])
    without = {name: n * 2 * h * H + 1 if "window" in name else size for name, size in kept.items()}
    return Order(
        ask=f"{n:,} tokens have been read; heads are {h} wide. Which layer keeps the fewest numbers for the next "
        "token? Fewest first.",
        given=dict(n=n, w=w, h=h, H=H, kv=kv),
        answer=order,
        traps={
            "most first": order[::-1],
            "a window keeps the whole text": sorted(without, key=lambda name: without[name]),
        },
        hints=("Which of these grow with the text?", "n · 2h · heads, w · 2h · heads, heads · h · (h + 1)"),
        why="A linear state does not grow, a window stops growing, fewer KV heads only divide. What they keep is "
        "also what they can recall.",
    )


@least_memory.second
def _(n, w, h, H, kv):
    def cached(tokens, heads):
        return sum(h + h for _head in range(heads)) * tokens

    kept = [
        (cached(n, H), f"full attention, {H} KV heads"),
        (cached(n, kv), f"full attention, {kv} KV heads"),
        (cached(min(n, w), H), f"a window of {w}, {H} KV heads"),
        (sum(h * h + h for _head in range(H)), f"linear attention, {H} heads"),
    ]
    return [name for _, name in sorted(kept)]
