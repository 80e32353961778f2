"""Hidden checks of dl_013: oracles are closed forms and short loops of plain torch."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import agree, at_most, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import DTYPES, of_type
from grader.checks.randomness import hold_generator
from grader.checks.repeats import hold_matrices_unlike

from . import drivers

INF, NAN = math.inf, math.nan


def gradients_of(draw, dtype="float64"):
    """Unlike shapes, a missing gradient, an empty one and a transposed one; the norm is about 6."""
    kind = of_type(dtype)
    return [
        draw.normal(3, 5, dtype=kind),
        None,
        draw.normal(dtype=kind),
        draw.normal(0, 4, dtype=kind),
        draw.normal(7, 2, dtype=kind).T,
    ]


def total_norm(gradients):
    return torch.cat([g.double().flatten() for g in gradients if g is not None]).square().sum().sqrt()


def scaled(gradients, scale):
    return [None if g is None else g * scale for g in gradients]


# --- global_grad_norm -------------------------------------------------------------------------------------------------


@part("global_grad_norm")
@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_of_all_gradients_together(attempt, draw, dtype):
    """The norm is that of all gradients as one vector; parameters without gradient are skipped."""
    gradients = gradients_of(draw, dtype)
    given = [g for g in gradients if g is not None]
    got = attempt.run(drivers.norm, gradients)
    agree(
        got["norm"],
        total_norm(gradients).to(of_type(dtype)),
        of=f"global norm of gradients with 15, 1, 0 and 14 entries in {dtype}",
        known={
            "the sum of the norms": lambda: sum(total_norm([g]) for g in given),
            "the norm without its square root": lambda: total_norm(given) ** 2,
            "the largest norm of one gradient": lambda: max(total_norm([g]) for g in given),
            "the norm of the parameters instead of their gradients": lambda: total_norm(
                [torch.full_like(torch.zeros(3) if g is None else g, 9.0 + i) for i, g in enumerate(gradients)]
            ),
        },
    )
    agree(got["gradients"], gradients, of="the gradients after their norm was asked for")


@part("global_grad_norm")
@pytest.mark.parametrize("container", ["tuple", "generator"])
def test_norm_of_any_iterable(attempt, draw, container):
    """A tuple or a generator of parameters works as a list does."""
    gradients = gradients_of(draw)
    got = attempt.run(drivers.norm, gradients, "generator" if container == "generator" else container)
    agree(got["norm"], total_norm(gradients), of=f"global norm of parameters in a {container}")


@part("global_grad_norm")
@pytest.mark.parametrize("gradients", [[], [None], [None, None]], ids=["empty", "one", "two"])
def test_norm_of_no_gradient_is_zero(attempt, gradients):
    """With no gradient at all the norm is a float32 zero."""
    got = attempt.run(drivers.norm, gradients)
    agree(got["norm"], torch.tensor(0.0), of=f"global norm of parameters whose gradients are {gradients}")


@part("global_grad_norm")
def test_norm_widens_half_precision(attempt, draw):
    """Half precision is widened before it is squared, and the result is float32, or float64 if one gradient is."""
    large = draw.uniform(5, 3, low=40_000, high=60_000, dtype=torch.float16)
    other = draw.normal(7, scale=50_000, dtype=torch.float32)
    agree(
        attempt.run(drivers.norm, [large])["norm"],
        total_norm([large]).float(),
        of="global norm of 15 float16 entries around 50,000",
        known={"a float16 norm": torch.tensor(INF)},
    )
    narrow = draw.uniform(101, low=0.5, high=1.0, dtype=torch.bfloat16)
    agree(
        attempt.run(drivers.norm, [narrow])["norm"],
        total_norm([narrow]).float(),
        of="global norm of 101 bfloat16 entries",
    )
    for mixed in ([large, other], [other, large.bfloat16()]):
        agree(attempt.run(drivers.norm, mixed)["norm"], total_norm(mixed).float(), of="global norm of half and float32")
    mixed = [other, large, draw.normal(2, scale=50_000)]
    agree(
        attempt.run(drivers.norm, mixed)["norm"],
        total_norm(mixed),
        of="global norm with one float64 gradient",
        tol=1e-6,
    )


@part("global_grad_norm")
@pytest.mark.parametrize("bad", [INF, -INF, NAN], ids=str)
def test_norm_shows_inf_and_nan(attempt, draw, bad):
    """One Inf makes the norm Inf, one NaN makes it NaN."""
    gradient = draw.normal(2, 3)
    gradient[1, 2] = bad
    got = attempt.run(drivers.norm, [draw.normal(5), gradient])
    agree(got["norm"], torch.tensor(abs(bad), dtype=torch.float64), of=f"global norm of gradients with one {bad}")


@part("global_grad_norm")
def test_norm_of_other_gradients_of_that_size(attempt, reference, draw):
    """Each call takes the gradients of that time, whatever came before in the same sizes."""
    asked = [(gradients_of(draw),) for _ in range(2)]
    hold_again(attempt, reference, drivers.norm, *asked, of="the norm of five gradients", views=False, no_grad=True)


# --- clip_by_norm -----------------------------------------------------------------------------------------------------


@part("clip_by_norm")
@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_scales_all_by_one_number(attempt, draw, dtype):
    """Every gradient is scaled by max_norm / (norm + 1e-6), in place, and the norm before is returned."""
    gradients = gradients_of(draw, dtype)
    norm = total_norm(gradients)
    bound = float(norm) * draw.random.uniform(0.2, 0.8)
    got = attempt.run(drivers.clip, "clip_by_norm", gradients, bound)
    agree(
        got["gradients"],
        scaled(gradients, bound / (norm.to(of_type(dtype)) + 1e-6)),
        of=f"gradients clipped from norm {float(norm):.4g} to {bound:.4g} in {dtype}",
        known={
            "clipping each gradient by its own norm": lambda: [
                None if g is None else g * min(1.0, bound / (float(total_norm([g])) + 1e-6)) for g in gradients
            ],
            "clipping by value": lambda: [None if g is None else g.clamp(-bound, bound) for g in gradients],
            "scaling without the 1e-6": lambda: scaled(gradients, bound / norm),
            "another epsilon than 1e-6": lambda: scaled(gradients, bound / (norm + 1e-8)),
            "leaving the gradients as they were (`p.grad = ...` puts another tensor in their place)": gradients,
            "gradients divided by their norm": lambda: scaled(gradients, 1 / (norm + 1e-6)),
        },
    )
    agree(
        got["value"],
        norm.to(of_type(dtype)),
        of="the returned norm",
        known={"the norm after clipping": lambda: torch.tensor(bound)},
    )
    assert all(got["same_object"]), "p.grad is another tensor after clipping: scale the tensor that was there"


@part("clip_by_norm")
@pytest.mark.parametrize("bound", [1.5, INF], ids=str)
def test_clip_never_scales_up(attempt, draw, bound):
    """Gradients whose norm is well below max_norm stay as they are."""
    gradients = scaled(gradients_of(draw), 0.05)
    gradients[0] *= 0.7 / total_norm(gradients)
    got = attempt.run(drivers.clip, "clip_by_norm", gradients, bound)
    norm = total_norm(gradients)
    agree(got["gradients"], gradients, of=f"gradients of norm {float(norm):.3g} clipped at {bound}")
    agree(got["value"], norm, of=f"the norm that clipping at {bound} returns")


@part("clip_by_norm")
def test_clip_reads_a_generator_once(attempt, draw):
    """model.parameters() is a generator: clipping works with one, though it can be read only once."""
    gradients = gradients_of(draw)
    norm = total_norm(gradients)
    got = attempt.run(drivers.clip, "clip_by_norm", gradients, 0.5, "generator")
    agree(
        got["gradients"],
        scaled(gradients, 0.5 / (norm + 1e-6)),
        of="gradients of the parameters of a generator, clipped to norm 0.5",
        known={"a generator that is empty by the time the gradients are scaled": gradients},
    )
    agree(got["value"], norm, of="the norm that clipping a generator's parameters returns")


@part("clip_by_norm")
@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("size", [0.0, 1e-7, 3e-6], ids=str)
def test_clip_adds_1e_6_to_the_norm(attempt, draw, size, share):
    """The scale is max_norm / (norm + 1e-6), also where the norm is not far above 1e-6, or just max_norm."""
    gradient = draw.normal(11)
    gradient *= size / total_norm([gradient])
    bound = size * share
    got = attempt.run(drivers.clip, "clip_by_norm", [gradient], bound)
    want = gradient * min(1.0, bound / (size + 1e-6)) * 1e6
    agree(got["gradients"][0] * 1e6, want, of=f"a gradient of norm {size:g} clipped at {bound:g}, times 1e6")


@part("clip_by_norm")
def test_clip_in_half_precision(attempt):
    """A float16 gradient is scaled by a number that float16 itself would round to 0."""
    gradient = torch.tensor([60_000.0, 100.0], dtype=torch.float16)
    got = attempt.run(drivers.clip, "clip_by_norm", [gradient], 1e-3)
    agree(
        1e3 * got["gradients"][0].float(),
        gradient.float() / total_norm([gradient]).float(),
        of="float16 gradients 60,000 and 100 clipped to norm 1e-3, times 1e3",
        tol=2e-2,
        known={"a scale that float16 rounds to 0": torch.zeros(2)},
    )


@part("clip_by_norm")
def test_clip_of_no_gradient_or_to_zero(attempt, draw):
    """Without any gradient the norm is 0; max_norm 0 zeroes all gradients."""
    got = attempt.run(drivers.clip, "clip_by_norm", [None, None], 1.0)
    agree(got["value"], torch.tensor(0.0), of="the norm that clipping two parameters without gradient returns")
    assert not any(g is not None for g in got["gradients"]), "clipping gave a gradient to a parameter that had none"
    gradient = draw.normal(5)
    got = attempt.run(drivers.clip, "clip_by_norm", [gradient], 0.0)
    agree(got["gradients"][0], torch.zeros(5, dtype=torch.float64), of="gradients clipped to norm 0")


@part("clip_by_norm")
@pytest.mark.parametrize("bad", [INF, -INF, NAN], ids=str)
def test_clip_hides_no_inf_or_nan(attempt, draw, bad):
    """By default an Inf leaves zeros and a NaN, a NaN leaves NaN everywhere; the norm returned shows it."""
    clean, gradient = draw.normal(3), draw.normal(2, 2)
    gradient[0, 1] = bad
    got = attempt.run(drivers.clip, "clip_by_norm", [clean, gradient], 1.0)
    scale = NAN if math.isnan(bad) else 0.0
    agree(got["gradients"], scaled([clean, gradient], scale), of=f"gradients with one {bad}, clipped to norm 1")
    agree(got["value"], torch.tensor(abs(bad), dtype=torch.float64), of=f"the norm of gradients with one {bad}")


@part("clip_by_norm")
@pytest.mark.parametrize("bound", [1.0, INF], ids=str)
@pytest.mark.parametrize("bad", [INF, NAN, 3e38], ids=str)
def test_clip_can_refuse_inf_and_nan(attempt, draw, bad, bound):
    """error_if_nonfinite=True raises RuntimeError before any gradient is touched, and only where the norm is bad."""
    gradients = [draw.normal(3, dtype=torch.float32), torch.tensor([bad, 1.0, bad, bad, bad])]
    got = attempt.run(drivers.refused_clip, "clip_by_norm", gradients, bound, error_if_nonfinite=True)
    assert "RuntimeError" in got["raised"], (
        f"float32 gradients of norm {NAN if bad != bad else INF} (entries of {bad}), max_norm {bound} and "
        "error_if_nonfinite=True did not raise RuntimeError"
    )
    agree(got["gradients"], gradients, of="the gradients after clipping was refused")
    fine = [draw.normal(3, scale=5.0)]
    got = attempt.run(drivers.clip, "clip_by_norm", fine, 0.1, error_if_nonfinite=True)
    agree(
        got["gradients"], scaled(fine, 0.1 / (total_norm(fine) + 1e-6)), of="finite gradients, error_if_nonfinite=True"
    )


@part("clip_by_norm")
@pytest.mark.parametrize("bound", [-1.0, -INF, NAN], ids=str)
def test_clip_refuses_a_negative_norm(attempt, draw, bound):
    """A negative max_norm would turn gradients round: ValueError, and nothing is touched."""
    for gradients in ([draw.normal(3), draw.normal(2)], [None]):
        got = attempt.run(drivers.refused_clip, "clip_by_norm", gradients, bound)
        assert "ValueError" in got["raised"], f"max_norm {bound} did not raise ValueError, gradients {gradients}"
        agree(got["gradients"], gradients, of="the gradients after clipping was refused")


@part("clip_by_norm")
def test_clip_of_other_gradients_of_that_size(attempt, reference, draw):
    """Each call takes the gradients of that time, whatever came before in the same sizes."""
    asked = [("clip_by_norm", gradients_of(draw), 0.7) for _ in range(2)]
    hold_again(
        attempt, reference, drivers.clip, *asked, of="clip_by_norm of five gradients to 0.7", views=False, no_grad=True
    )


# --- clip_by_value ----------------------------------------------------------------------------------------------------


@part("clip_by_value")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("container", ["list", "generator"])
def test_value_clip_cuts_entries(attempt, draw, dtype, container):
    """Every entry ends in [-limit, limit], in place, and the number of entries that were outside is returned."""
    gradients = gradients_of(draw, dtype)
    limit = draw.random.uniform(0.3, 0.9)
    got = attempt.run(drivers.clip, "clip_by_value", gradients, limit, container)
    given = torch.cat([g.flatten() for g in gradients if g is not None])
    agree(
        got["gradients"],
        [
            None if g is None else torch.minimum(torch.maximum(g, -g.new_tensor(limit)), g.new_tensor(limit))
            for g in gradients
        ],
        of=f"gradients cut to {limit:.3g} in {dtype}",
        known={
            "cutting from above only": lambda: [None if g is None else g.clamp(max=limit) for g in gradients],
            "clipping by norm": lambda: scaled(gradients, limit / (total_norm(gradients) + 1e-6)),
            "leaving the gradients as they were (`p.grad = ...` puts another tensor in their place)": gradients,
        },
    )
    agree(
        got["value"],
        int((given > limit).sum() + (given < -limit).sum()),
        of=f"entries cut, of {given.numel()}",
        known={
            "counting large positive entries only": lambda: int((given > limit).sum()),
            "counting the entries inside": lambda: int((given.abs() <= limit).sum()),
            "counting gradients instead of entries": lambda: sum(
                bool((g.abs() > limit).any()) for g in gradients if g is not None
            ),
        },
    )
    assert all(got["same_object"]), "p.grad is another tensor after clipping: change the tensor that was there"


@part("clip_by_value")
@pytest.mark.parametrize("limit", [0.0, 1.0, 2.0, INF])
def test_value_clip_at_the_edges(attempt, limit):
    """An entry of exactly limit is inside; Inf is cut and counted; NaN stays, uncounted; 0 zeroes, inf cuts nothing."""
    gradient = [-INF, -2.0, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0, INF, NAN]
    got = attempt.run(drivers.clip, "clip_by_value", [torch.tensor(gradient)], limit)
    want = [g if math.isnan(g) else max(-limit, min(limit, g)) for g in gradient]
    agree(got["gradients"][0], torch.tensor(want), axes="i", of=f"{gradient} cut to {limit}")
    agree(got["value"], sum(abs(g) > limit for g in gradient), of=f"how many entries of {gradient} are outside {limit}")


@part("clip_by_value")
def test_value_clip_of_no_gradient(attempt):
    """Parameters without gradient stay so, and nothing is counted."""
    got = attempt.run(drivers.clip, "clip_by_value", [None, None], 1.0)
    assert not any(g is not None for g in got["gradients"]), "clipping gave a gradient to a parameter that had none"
    agree(got["value"], 0, of="entries cut where no parameter has a gradient")


@part("clip_by_value")
@pytest.mark.parametrize("limit", [-0.5, NAN], ids=str)
def test_value_clip_refuses_a_negative_limit(attempt, draw, limit):
    """A negative or NaN limit is a ValueError, and nothing is touched."""
    for gradients in ([draw.normal(3), draw.normal(2)], [None]):
        got = attempt.run(drivers.refused_clip, "clip_by_value", gradients, limit)
        assert "ValueError" in got["raised"], f"limit {limit} did not raise ValueError, gradients {gradients}"
        agree(got["gradients"], gradients, of="the gradients after clipping was refused")


@part("clip_by_value")
def test_value_clip_of_other_gradients_of_that_size(attempt, reference, draw):
    """Each call counts the entries of that time, whatever came before in the same sizes."""
    asked = [("clip_by_value", [scale * torch.ones(3), None, draw.normal(5)], 0.7) for scale in (1.0, 0.1)]
    hold_again(
        attempt, reference, drivers.clip, *asked, of="clip_by_value of two gradients to 0.7", views=False, no_grad=True
    )


# --- accumulate_gradients ---------------------------------------------------------------------------------------------

VOCABULARY, WIDTH, HIDDEN, CLASSES = 11, 3, 5, 7


def tagger(draw, dtype="float64"):
    kind = of_type(dtype)
    return [draw.normal(a, b, dtype=kind) for a, b in ((VOCABULARY, WIDTH), (HIDDEN, WIDTH), (CLASSES, HIDDEN))]


def tokens(draw, n, t, ignored, ignore_index=-100):
    """Random inputs and targets (n, t), with `ignored` targets that do not count."""
    targets = draw.integers(0, CLASSES, n * t)
    targets[draw.permutation(n * t)[:ignored]] = ignore_index
    return draw.integers(0, VOCABULARY, n, t), targets.reshape(n, t)


def token_losses(weights, batch, ignore_index=-100):
    """The cross-entropy of each token that counts, written out."""
    embedding, hidden, output = weights
    inputs, targets = (side.flatten() for side in batch)
    inputs, targets = inputs[targets != ignore_index], targets[targets != ignore_index]
    logits = torch.tanh(embedding[inputs] @ hidden.T) @ output.T
    return logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]


def loss_and_gradients(weights, loss_of):
    leaves = [w.clone().requires_grad_() for w in weights]
    loss = loss_of(leaves)
    return loss.detach(), list(torch.autograd.grad(loss, leaves))


def over_tokens(batches, ignore_index=-100):
    return lambda w: torch.cat([token_losses(w, b, ignore_index) for b in batches]).mean()


def over_batches(batches):
    return lambda w: torch.stack([token_losses(w, b).mean() for b in batches]).mean()


@part("accumulate_gradients")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[(2, 3, 0)], [(1, 1, 0), (1, 3, 0)], [(3, 5, 4), (2, 7, 0), (1, 2, 1)]], ids=str)
def test_accumulation_is_one_large_batch(attempt, draw, sizes, dtype):
    """Loss and gradients are those of all tokens in one batch: a mean over tokens, not over micro-batches."""
    weights = tagger(draw, dtype)
    batches = [tokens(draw, *size) for size in sizes]
    loss, gradients = loss_and_gradients(weights, over_tokens(batches))
    got = attempt.run(drivers.accumulate, weights, batches)
    what = f"of micro-batches (n, t, ignored) = {sizes} in {dtype}"
    agree(
        got["gradients"],
        gradients,
        of=f"gradients of (embedding, hidden, output layer) {what}",
        known={
            "the mean of the micro-batches' means": lambda: loss_and_gradients(weights, over_batches(batches))[1],
            "the sum of the micro-batches' means": lambda: scaled(
                loss_and_gradients(weights, over_batches(batches))[1], len(batches)
            ),
            "the sum over tokens": lambda: loss_and_gradients(
                weights, lambda w: sum(token_losses(w, b).sum() for b in batches)
            )[1],
            "dividing by all tokens, ignored ones too": lambda: scaled(
                gradients, sum((b[1] != -100).sum() for b in batches) / sum(b[1].numel() for b in batches)
            ),
        },
    )
    agree(
        got["loss"],
        loss,
        of=f"loss {what}",
        known={"the mean of the micro-batches' means": lambda: loss_and_gradients(weights, over_batches(batches))[0]},
    )
    assert not got["graph"], "the returned loss still has its graph: return a detached one"


@part("accumulate_gradients")
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_accumulation_runs_the_model_as_it_is(attempt, draw, training):
    """The model runs at most once for each micro-batch, in the mode that it is in, and stays in that mode."""
    batches = [tokens(draw, 2, 3, 1), tokens(draw, 1, 5, 0)]
    got = attempt.run(drivers.accumulate, tagger(draw), batches, training=training)
    assert len(got["modes"]) <= 2, f"the model ran {len(got['modes'])} times for 2 micro-batches"
    here, other = ("train", "eval") if training else ("eval", "train")
    assert set(got["modes"]) == {training}, f"a model in {here} mode was run in {other} mode"
    assert got["mode_after"] == training, f"a model in {here} mode was left in {other} mode"


@part("accumulate_gradients")
def test_accumulation_adds_to_what_is_there(attempt, draw):
    """Gradients that are there already are kept, unscaled, and added to."""
    weights = tagger(draw)
    batches = [tokens(draw, 2, 3, 1), tokens(draw, 1, 5, 2)]
    existing = [draw.normal(*w.shape) for w in weights]
    _, gradients = loss_and_gradients(weights, over_tokens(batches))
    got = attempt.run(drivers.accumulate, weights, batches, existing)
    agree(
        got["gradients"],
        [g + e for g, e in zip(gradients, existing, strict=True)],
        of="gradients where some stood already",
        known={"forgetting the gradients that were there": gradients},
    )


@part("accumulate_gradients")
def test_micro_batch_without_a_counting_token(attempt, draw):
    """A micro-batch of padding only, or of length 0, adds nothing, and no NaN."""
    weights = tagger(draw)
    batches = [tokens(draw, 2, 2, 4), tokens(draw, 3, 2, 1), tokens(draw, 2, 0, 0)]
    loss, gradients = loss_and_gradients(weights, over_tokens(batches))
    got = attempt.run(drivers.accumulate, weights, batches)
    agree(got["gradients"], gradients, of="gradients with one micro-batch of padding and one of length 0")
    agree(got["loss"], loss, of="loss with one micro-batch of padding and one of length 0")


@part("accumulate_gradients")
@pytest.mark.parametrize("ignored", [0, 3])
def test_accumulation_with_another_ignore_index(attempt, draw, ignored):
    """ignore_index may be a class number, such as the padding token of a vocabulary."""
    weights = tagger(draw)
    batches = [tokens(draw, 2, 3, 2, ignored), tokens(draw, 1, 5, 1, ignored)]
    loss, gradients = loss_and_gradients(weights, over_tokens(batches, ignored))
    got = attempt.run(drivers.accumulate, weights, batches, ignore_index=ignored)
    agree(got["gradients"], gradients, of=f"gradients with ignore_index {ignored}")
    agree(got["loss"], loss, of=f"loss with ignore_index {ignored}")


@part("accumulate_gradients")
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_accumulation_refuses_when_no_token_counts(attempt, draw, batches):
    """If no token counts anywhere: ValueError, before the model runs."""
    given = [tokens(draw, 2, 3, 6) for _ in range(batches)]
    got = attempt.run(drivers.refused_accumulation, tagger(draw), given)
    what = f"{batches} of {batches} micro-batches without a token that counts" if batches else "an empty list"
    assert "ValueError" in got["raised"], f"{what} did not raise ValueError"
    assert got["runs"] == 0, "the model ran although no token counts"
    assert not any(g is not None for g in got["gradients"]), "the refusal left gradients behind"


@part("accumulate_gradients")
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
@pytest.mark.parametrize(("hidden", "classes"), [(257, CLASSES), (5, 509)], ids=["wide layer", "many classes"])
def test_accumulation_keeps_one_graph_at_a_time(attempt, draw, hidden, classes, training):
    """The memory peak does not grow with the number of micro-batches: graphs and logits are let go."""
    weights = [draw.normal(*s, dtype=torch.float32) for s in ((VOCABULARY, 3), (hidden, 3), (classes, hidden))]
    batches = [tokens(draw, 5, 40 + i, 3) for i in range(9)]
    peaks, nodes = [], []
    for some, what in ((batches[-1:], "one micro-batch"), (batches, "nine micro-batches")):
        got, cost = attempt.cost(drivers.accumulate, weights, some, training=training)
        loss, gradients = loss_and_gradients(weights, over_tokens(some))
        agree(got["gradients"], gradients, of=f"gradients of {what}")
        agree(got["loss"], loss, of=f"loss of {what}")
        peaks.append(cost.peak)
        nodes.append(cost.nodes)
        at_most(cost.kept_nodes, 0, of=f"nodes of graphs that stay alive after {what}")
        at_most(cost.kept, 64, of=f"bytes that stay alive after {what}, beside the loss and the gradients")
    of = "nodes of graphs alive at once in nine micro-batches (allowed: twice as many as in one of them)"
    at_most(nodes[1], 2 * nodes[0], of=of)
    at_most(
        peaks[1],
        2 * peaks[0],
        of=f"peak bytes of nine micro-batches, {classes} classes (allowed: twice what one of them takes)",
    )


@part("accumulate_gradients")
def test_accumulation_of_other_batches_of_that_size(attempt, reference, draw):
    """Each call takes the tokens and the weights of that time, whatever came before in the same sizes."""
    asked = [(tagger(draw), [tokens(draw, 3, 5, 4), tokens(draw, 2, 7, 0)]) for _ in range(2)]
    of = "loss and gradients of micro-batches of (3, 5) and (2, 7) tokens"
    hold_again(attempt, reference, drivers.accumulate, *asked, of=of, views=False)


# --- GradientMonitor --------------------------------------------------------------------------------------------------


def stats_of(gradient):
    """The six numbers, by a loop over Python floats."""
    values = gradient.double().flatten().tolist()
    finite = [v for v in values if math.isfinite(v)]
    return {
        "norm": math.sqrt(math.fsum(v * v for v in finite)),
        "max": max(finite, default=0.0),
        "min": min(finite, default=0.0),
        "mean": math.fsum(finite) / len(finite) if finite else 0.0,
        "nan": sum(math.isnan(v) for v in values),
        "inf": sum(math.isinf(v) for v in values),
    }


FLOATS = ("norm", "max", "min", "mean")


def same_stats(got, want, *, of, known=None):
    """Hold that dicts of six numbers agree: floats to 1e-5 of the largest (float32 will do), the rest exactly."""
    agree(sorted(got), sorted(want), of=f"the names in {of}")
    for name, stats in got.items():
        assert isinstance(stats, dict), f"{of}: expected a dict of six numbers, got a {type(stats).__name__}"
        agree(sorted(stats), sorted(want[name]), of=f"the keys under '{name}' in {of}")
        wrong = {key: type(value).__name__ for key, value in stats.items() if type(value) not in (int, float)}
        assert not wrong, f"{of}: under '{name}' stands {wrong}; make these plain Python numbers"
    wrongs = {mistake: lambda stats=stats: packed(stats()) for mistake, stats in (known or {}).items()}
    agree(packed(got), packed(want), axes=",".join(FLOATS), of=of, tol=1e-5, known=wrongs)


def packed(all_of_them):
    counts = {name: {"nan": stats["nan"], "inf": stats["inf"]} for name, stats in all_of_them.items()}
    floats = {name: torch.tensor([float(stats[key]) for key in FLOATS]) for name, stats in all_of_them.items()}
    return {name: {", ".join(FLOATS): floats[name], **counts[name]} for name in all_of_them}


@part("GradientMonitor")
@pytest.mark.parametrize("dtype", [*DTYPES, "float16", "bfloat16"])
def test_stats_of_a_gradient(attempt, draw, dtype):
    """Norm, max, min and mean are over the finite entries; NaN and Inf are counted."""
    clean = draw.normal(5, 3, scale=3.0)
    broken = clean.clone()
    for value, places in ((NAN, [(0, 0), (1, 2), (4, 1)]), (INF, [(2, 1)]), (-INF, [(3, 0)])):
        for place in places:
            broken[place] = value
    for name, gradient in (
        ("15 entries", clean),
        ("15 entries, 3 NaN, 2 Inf", broken),
        ("negative entries", -clean.abs()),
        ("positive entries", clean.abs()),
        ("a transposed gradient", clean.T[:2]),
        ("a 0-d gradient", clean[1, 1]),
    ):
        gradient = gradient.to(of_type(dtype))
        got = {name: attempt.gradient_stats(gradient)}
        same_stats(got, {name: stats_of(gradient)}, of=f"the statistics of a {dtype} gradient")


@part("GradientMonitor")
@pytest.mark.parametrize("values", [[], [NAN], [INF, NAN, -INF, NAN]], ids=str)
def test_stats_without_a_finite_entry(attempt, values):
    """Where no entry is finite, or there is none, the four floats are 0.0."""
    gradient = torch.tensor(values)
    same_stats({"it": attempt.gradient_stats(gradient)}, {"it": stats_of(gradient)}, of=f"statistics of {values}")


@part("GradientMonitor")
def test_stats_widen_half_precision(attempt, draw):
    """The squares of float16 entries do not overflow."""
    gradient = draw.uniform(7, low=40_000, high=60_000, dtype=torch.float16)
    got = {"it": attempt.gradient_stats(gradient)}
    same_stats(got, {"it": stats_of(gradient)}, of="statistics of float16 entries near 50,000")


SMALL = ["layers.0.weight", "layers.0.bias", "layers.1.0.weight", "layers.3.weight", "layers.3.bias"]


def small_network(draw):
    """Linear 3 -> 5, nested linear 5 -> 4 without bias, tanh, linear 4 -> 2."""
    first, second, third = draw.normal(5, 3), draw.normal(4, 5), draw.normal(2, 4)
    b, c = draw.normal(5), draw.normal(2)
    layers = [["linear", first, b], ["nested", ["linear", second, None]], ["tanh"], ["linear", third, c]]
    return layers, [first, b, second, third, c]


def small_gradients(weights, x, upstream):
    def loss(w):
        return ((torch.tanh((x @ w[0].T + w[1]) @ w[2].T) @ w[3].T + w[4]) * upstream).sum()

    return dict(zip(SMALL, loss_and_gradients(weights, loss)[1], strict=True))


def all_stats(gradients):
    return {name: stats_of(g) for name, g in gradients.items()}


@part("GradientMonitor")
def test_monitor_sees_every_parameter(attempt, draw):
    """After a backward pass stats holds the numbers of every parameter's gradient, under its name."""
    layers, weights = small_network(draw)
    x, upstream = draw.normal(7, 3), draw.normal(7, 2)
    steps = [["stats"], ["backward", x, upstream], ["stats"]]
    got = attempt.run(drivers.monitor, layers, steps)
    agree(got[0], {}, of="stats before any backward pass")
    same_stats(
        got[1],
        all_stats(small_gradients(weights, x, upstream)),
        of="stats after one backward pass",
        known={"the statistics of the weights": lambda: all_stats(dict(zip(SMALL, weights, strict=True)))},
    )
    zeros = {name: torch.zeros_like(w) for name, w in zip(SMALL, weights, strict=True)}
    got = attempt.run(drivers.monitor, layers, [["backward", x, 0 * upstream], ["stats"]])
    same_stats(got[0], all_stats(zeros), of="stats after a pass whose gradients are all zero")


@part("GradientMonitor")
def test_monitor_keeps_what_the_pass_left(attempt, draw):
    """Zeroing or clipping after the pass changes nothing; the next pass replaces the numbers."""
    layers, weights = small_network(draw)
    (x, y), (u, v) = (draw.normal(7, 3), draw.normal(5, 3)), (draw.normal(7, 2), draw.normal(5, 2))
    first, second = small_gradients(weights, x, u), small_gradients(weights, y, v)
    steps = [["backward", x, u], ["scale", 0.25], ["stats"], ["zero"], ["stats"], ["backward", y, v], ["stats"]]
    got = attempt.run(drivers.monitor, layers, steps)
    clipped = {name: g / 4 for name, g in first.items()}
    same_stats(
        got[0], all_stats(first), of="stats after clipping", known={"the clipped gradient": lambda: all_stats(clipped)}
    )
    same_stats(got[1], all_stats(first), of="stats after zero_grad")
    same_stats(
        got[2], all_stats(second), of="stats after a second pass", known={"the first pass": lambda: all_stats(first)}
    )


@part("GradientMonitor")
def test_monitor_sees_the_accumulated_gradient(attempt, draw):
    """Where gradients accumulate, stats are those of .grad after the pass: the sum."""
    layers, weights = small_network(draw)
    (x, y), (u, v) = (draw.normal(7, 3), draw.normal(5, 3)), (draw.normal(7, 2), draw.normal(5, 2))
    first, second = small_gradients(weights, x, u), small_gradients(weights, y, v)
    steps = [["backward", x, u], ["backward", y, v], ["stats"], ["replaced"]]
    got = attempt.run(drivers.monitor, layers, steps)
    agree(got[1], [], of="parameters whose .grad is another tensor after the second pass")
    same_stats(
        got[0],
        all_stats({name: first[name] + second[name] for name in SMALL}),
        of="stats after two passes without zero_grad",
        known={"the second pass alone": lambda: all_stats(second)},
    )


@part("GradientMonitor")
def test_monitor_leaves_out_what_got_no_gradient(attempt, draw):
    """Frozen parameters and those that no pass reached are absent; a shared layer is counted whole, under one name."""
    layers, weights = small_network(draw)
    x, upstream = draw.normal(7, 3), draw.normal(7, 2)
    frozen = ["layers.0.weight", "layers.3.bias"]
    want = {k: g for k, g in small_gradients(weights, x, upstream).items() if k not in frozen}
    got = attempt.run(drivers.monitor, layers, [["backward", x, upstream], ["stats"]], frozen)
    same_stats(got[0], all_stats(want), of=f"stats with {frozen} frozen")
    square = draw.normal(3, 3)
    x, upstream = draw.normal(5, 3), draw.normal(5, 3)
    shared = [["linear", square, None], ["tanh"], ["linear", draw.normal(3, 3), None], ["again", 0]]
    _, [gradient] = loss_and_gradients([square], lambda w: ((torch.tanh(x @ w[0].T) @ w[0].T) * upstream).sum())
    for again in (0, 3):
        got = attempt.run(drivers.monitor, shared, [["backward", x, upstream], ["stats"]], order=[0, 1, again])
        same_stats(
            got[0],
            {"layers.0.weight": stats_of(gradient)},
            of="stats of a layer that runs twice, under one or two names, beside one that never runs",
        )


@part("GradientMonitor")
def test_monitor_keeps_what_a_pass_did_not_reach(attempt, draw):
    """A pass that reaches some parameters leaves the numbers of the others."""
    layers, weights = small_network(draw)
    x, upstream, u = draw.normal(7, 3), draw.normal(7, 2), draw.normal(7, 5)
    steps = [["backward", x, upstream], ["zero"], ["order", [0]], ["backward", x, u], ["stats"]]
    got = attempt.run(drivers.monitor, layers, steps)
    want = small_gradients(weights, x, upstream) | {"layers.0.weight": u.T @ x, "layers.0.bias": u.sum(0)}
    same_stats(got[0], all_stats(want), of="stats after a pass through all layers, then one through the first alone")


@part("GradientMonitor")
@pytest.mark.parametrize("ending", ["close", "twice", "with", "error"])
def test_closed_monitor_leaves_no_hook(attempt, draw, ending):
    """close, or the end of a with block, removes the monitor's hooks and nobody else's."""
    layers, weights = small_network(draw)
    x, upstream = draw.normal(7, 3), draw.normal(7, 2)
    got = attempt.run(drivers.monitor_end, layers, x, upstream, ending)
    seen = all_stats(small_gradients(weights, x, upstream))
    same_stats(got["closed"], seen, of=f"stats of a monitor ended by {ending}")
    same_stats(got["closed_later"], seen, of=f"stats after a pass that came after {ending}")
    same_stats(
        got["other_later"], all_stats(small_gradients(weights, 3 * x, upstream)), of="stats of another, open monitor"
    )
    agree(got["added"], 0, of=f"hooks on the model after {ending}, less those before the monitor came")
    agree(got["foreign"], 2.0, of="calls of the two hooks that somebody else put on each parameter")


@part("GradientMonitor")
def test_monitor_holds_no_graph(attempt, draw):
    """Once everybody else lets go of a backward pass with create_graph, nothing of it stays alive."""
    weight = draw.normal(5, 3)
    x, upstream = draw.normal(7, 3), draw.normal(7, 5)
    got = attempt.run(drivers.monitor_memory, [["linear", weight, None], ["tanh"]], x, upstream)
    _, [gradient] = loss_and_gradients([weight], lambda w: (torch.tanh(x @ w[0].T) * upstream).sum())
    same_stats(got["stats"], {"layers.0.weight": stats_of(gradient)}, of="stats after a pass with create_graph")
    assert not got["alive"], f"the monitor keeps alive: {', '.join(got['alive'])}. Keep numbers, not tensors"


@part("GradientMonitor")
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_monitor_keeps_numbers_only(attempt, draw, training, closed):
    """After three passes nothing that they made stays alive: no copy of a gradient, as a tensor, an array or a list."""
    weight, x, upstream = draw.normal(53, 31), draw.normal(7, 31), draw.normal(7, 53)
    layers = [["linear", weight, None], ["tanh"]]
    (*told, held), cost = attempt.cost(drivers.monitor_keeps, layers, x, upstream, training, closed)
    _, [gradient] = loss_and_gradients([weight], lambda w: (torch.tanh(x @ w[0].T) * upstream).sum())
    for stats in told:
        same_stats(stats, {"layers.0.weight": stats_of(3 * gradient)}, of="stats after three passes that add up")
    at_most(cost.kept, 128, of="bytes that stay alive because of the monitor", known={"one gradient": 8 * 53 * 31})
    at_most(cost.kept_nodes, 0, of="nodes of graphs that stay alive because of the monitor")
    at_most(held, 400, of="numbers that the monitor holds in lists and dicts", known={"one gradient": 53 * 31})


# --- activation_report ------------------------------------------------------------------------------------------------

SHARE = 1e-6
"""A share of counts, taken in whatever precision."""

SLOPES = {
    "relu": lambda z: (z > 0).double(),
    "sigmoid": lambda z: torch.sigmoid(z) * torch.sigmoid(-z) / 0.25,
    "tanh": lambda z: 1 / torch.cosh(z) ** 2,
}


def off(kind, z, unit_axis=-1):
    """Which entries are saturated, (positions, units), from what goes *into* the activation."""
    return (SLOPES[kind](z.double()) < 0.05).movedim(unit_axis, -1).reshape(-1, z.shape[unit_axis])


def shares(*masks):
    """The report of one module from the masks of its runs."""
    dead = [bool(column.all()) for mask in masks for column in mask.T]
    return {
        "saturated": sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks),
        "dead": sum(dead) / len(dead),
    }


def spread(draw, kind, *shape, dtype="float64"):
    """Inputs around the threshold, none so close to it that rounding decides; the first units are often dead."""
    z = draw.uniform(*shape, low=-6.0, high=6.0)
    z[..., :2] = draw.uniform(*shape[:-1], 2, low=-9.0, high=-2.0)
    z[..., 2:3] = draw.uniform(*shape[:-1], 1, low=-20.0, high=-7.0)
    close = ((SLOPES[kind](z) - 0.05).abs() < 1e-4) | (z.abs() < 1e-3)
    return torch.where(close, z + 0.1, z).to(of_type(dtype))


@part("activation_report")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh"])
def test_report_of_one_activation(attempt, draw, kind, dtype):
    """Saturated is the share of entries, dead the share of units that are saturated for every example."""
    for x in (spread(draw, kind, 3, 7, dtype=dtype), spread(draw, kind, 311, 13, dtype=dtype)):
        got = attempt.run(drivers.activations, [[kind]], x)
        mask = off(kind, x)
        agree(
            got["report"],
            {"layers.0": shares(mask)},
            of=f"report of one {kind} on inputs (n, units) = {tuple(x.shape)} in {dtype}",
            tol=SHARE,
            known={
                "units and examples swapped": lambda mask=mask: {"layers.0": shares(mask.T)},
                "a unit that is saturated for some example": lambda mask=mask: {
                    "layers.0": shares(mask) | {"dead": mask.any(0).double().mean().item()}
                },
            },
        )


@part("activation_report")
@pytest.mark.parametrize(("unit_axis", "name"), [(-1, "the default"), (1, "1"), (0, "0"), (-3, "-3")], ids=str)
def test_report_along_another_axis(attempt, draw, unit_axis, name):
    """unit_axis says what a unit is: the last axis by default, axis 1 for a CNN's (n, c, h, w)."""
    x = draw.normal(2, 5, 3, 7) - 0.2
    x[:, 1:3], x[:, :, :, 4], x[1], x[:, :, 2] = -1.0, -1.0, -1.0, -1.0
    x[:, 4] = x[:, 4].abs()
    options = {} if unit_axis == -1 else {"unit_axis": unit_axis}
    got = attempt.run(drivers.activations, [["relu"]], x, **options)
    agree(
        got["report"],
        {"layers.0": shares(off("relu", x, unit_axis))},
        of=f"report of a ReLU on (n, c, h, w) = (2, 5, 3, 7) with unit_axis {name}",
        tol=SHARE,
    )


@part("activation_report")
def test_report_of_a_network(attempt, draw):
    """Each activation that ran has an entry under its name; nested ones too, others and idle ones none."""
    first, second = draw.normal(6, 3, scale=4.0), draw.normal(4, 6, scale=4.0)
    bias = draw.normal(6)
    x = draw.normal(11, 3)
    layers = [
        ["linear", first, bias],
        ["nested", ["tanh"], ["linear", second, None], ["nested", ["sigmoid"]]],
        ["relu"],
    ]
    layers += [["gelu"], ["relu"], ["identity"]]
    got = attempt.run(drivers.activations, layers, x, order=[0, 1, 3, 2])
    z = x @ first.T + bias
    w = torch.tanh(z) @ second.T
    want = {
        "layers.1.0": shares(off("tanh", z)),
        "layers.1.2.0": shares(off("sigmoid", w)),
        "layers.2": shares(off("relu", F.gelu(torch.sigmoid(w)))),
    }
    of = "report of linear, tanh, linear, sigmoid, GELU, ReLU, beside a ReLU that never runs"
    agree(got["report"], want, of=of, tol=SHARE)


@part("activation_report")
def test_report_of_a_model_that_is_an_activation(attempt, draw):
    """A model that is itself a ReLU is reported under the name ""."""
    x = spread(draw, "relu", 5, 7)
    got = attempt.run(drivers.activations, [["relu"]], x, bare=True)
    agree(got["report"], {"": shares(off("relu", x))}, of="report of a model that is one nn.ReLU", tol=SHARE)


@part("activation_report")
@pytest.mark.parametrize("again", [0, 2], ids=["one name", "two names"])
def test_report_of_a_module_that_runs_twice(attempt, draw, again):
    """A module that runs several times is counted over all its runs, of whatever width, under its first name."""
    middle = draw.normal(3, 7)
    x = draw.normal(5, 7) - 0.5
    x[:, :2] = -1.0
    layers = [["relu"], ["linear", middle, None], ["again", 0]]
    got = attempt.run(drivers.activations, layers, x, order=[0, 1, again])
    masks = off("relu", x), off("relu", x.relu() @ middle.T)
    agree(
        got["report"],
        {"layers.0": shares(*masks)},
        of="report of one ReLU that runs on 7, then on 3 units",
        tol=SHARE,
        known={
            "its last run alone": {"layers.0": shares(masks[1])},
            "its first run alone": {"layers.0": shares(masks[0])},
            "the mean of its runs' shares": {
                "layers.0": {k: (shares(masks[0])[k] + shares(masks[1])[k]) / 2 for k in ("saturated", "dead")}
            },
        },
    )


@part("activation_report")
def test_report_of_values_that_are_overwritten(attempt, draw):
    """An in-place operation after the activation changes nothing in the report."""
    x = spread(draw, "tanh", 5, 7)
    got = attempt.run(drivers.activations, [["tanh"], ["overwrites"], ["sigmoid"], ["relu", True]], x)
    want = {
        "layers.0": off("tanh", x),
        "layers.2": torch.zeros(5, 7, dtype=bool),
        "layers.3": torch.zeros(5, 7, dtype=bool),
    }
    want = {name: shares(mask) for name, mask in want.items()}
    agree(got["report"], want, of="report of tanh, fill_(0.5), sigmoid, in-place ReLU", tol=SHARE)


@part("activation_report")
@pytest.mark.parametrize("grad", [True, False], ids=["gradients on", "gradients off"])
@pytest.mark.parametrize("fails", [False, True], ids=["runs", "raises"])
def test_report_leaves_no_trace(attempt, draw, fails, grad):
    """The model runs once, without gradients, in the mode it is in; all is as before then, even if the model raises."""
    layers = [["probe"], ["relu"], ["probe"], ["tanh"], ["fails" if fails else "identity"]]
    x = spread(draw, "relu", 3, 5)
    got = attempt.run(drivers.activations, layers, x, training=[2, 3], grad=grad)
    agree(got["hooks"], 0, of="hooks on the model after the report, less those that somebody else put there before")
    runs = len(got["probes"][0])
    assert runs == 1, f"the model ran {runs} times, not once"
    [[evaluating, on], [training, _]] = (notes[0] for notes in got["probes"])
    assert not on, "gradients were on while the model ran"
    assert (evaluating, training) == (False, True), "a module ran in another mode, train or eval, than it was in"
    assert got["same_mode"], "a module's train or eval mode is another one after the report"
    assert got["grad_after"] == grad, (
        f"gradients were {'on' if grad else 'off'} before the report, and are not after it"
    )
    if fails:
        assert got["report"] == "stopped", "the exception that the model raised did not arrive"
    else:
        want = {"layers.1": shares(off("relu", x)), "layers.3": shares(off("tanh", x.relu()))}
        agree(got["report"], want, of="report of probe, ReLU, probe, tanh", tol=SHARE)


# --- update_ratio -----------------------------------------------------------------------------------------------------


def norm_of(tensor):
    return float(tensor.double().square().sum().sqrt())


@part("update_ratio")
@pytest.mark.parametrize("dtype", DTYPES)
def test_ratio_of_plain_sgd(attempt, draw, dtype):
    """One step is taken, and each ratio is the length of the move over the length of the weight before."""
    kind = of_type(dtype)
    values = {"a": draw.normal(5, 3, dtype=kind), "b": draw.normal(7, dtype=kind)}
    gradients = {"a": draw.normal(5, 3, dtype=kind), "b": draw.normal(7, dtype=kind)}
    lr = draw.random.uniform(0.2, 0.6)
    got = attempt.run(drivers.updates, values, gradients, "SGD", {"lr": lr})
    after = {k: v - lr * gradients[k] for k, v in values.items()}
    agree(got["values"], after, of=f"the parameters after one SGD step with lr {lr:.3g}", known={"no step": values})
    agree(
        got["ratios"][0],
        {k: lr * norm_of(gradients[k]) / norm_of(v) for k, v in values.items()},
        of=f"ratios of one SGD step with lr {lr:.3g} in {dtype}",
        tol=1e-5,
        known={
            "the move over the weight after the step": {
                k: lr * norm_of(gradients[k]) / norm_of(after[k]) for k in values
            },
            "the gradient over the weight": {k: norm_of(gradients[k]) / norm_of(v) for k, v in values.items()},
            "the growth of the norm": {k: abs(norm_of(after[k]) / norm_of(v) - 1) for k, v in values.items()},
        },
    )


@part("update_ratio")
def test_ratio_of_the_update_that_was_made(attempt, draw):
    """Momentum, Adam's scaling and weight decay count: the ratio is of the real move, step after step."""
    value, gradient = draw.normal(5, 3), draw.normal(5, 3)
    options = {"lr": 0.1, "momentum": 0.9}
    got = attempt.run(drivers.updates, {"w": value}, {"w": gradient}, "SGD", options, steps=3)
    want, velocity, weight = [], torch.zeros(5, 3), value
    for _ in range(3):
        velocity = 0.9 * velocity + gradient
        want.append({"w": norm_of(0.1 * velocity) / norm_of(weight)})
        weight = weight - 0.1 * velocity
    agree(got["ratios"], want, of="ratios of three SGD steps with momentum 0.9", tol=1e-6)
    options = {"lr": 0.01, "weight_decay": 0.3, "eps": 1e-12}
    got = attempt.run(drivers.updates, {"w": value}, {"w": gradient}, "AdamW", options)
    move = 0.01 * gradient.sign() + 0.01 * 0.3 * value
    agree(
        got["ratios"][0], {"w": norm_of(move) / norm_of(value)}, of="ratio of AdamW's first step, decay 0.3", tol=1e-6
    )


@part("update_ratio")
def test_ratio_of_tiny_weights(attempt, draw):
    """However small a weight is, the ratio is relative to it: an epsilon has no place in the divisor."""
    value, gradient = 1e-10 * draw.normal(5, 3), 1e-10 * draw.normal(5, 3)
    got = attempt.run(drivers.updates, {"w": value}, {"w": gradient}, "SGD", {"lr": 0.3})
    want = {"w": 0.3 * norm_of(gradient) / norm_of(value)}
    agree(got["ratios"][0], want, of=f"ratio of a float64 weight of norm {norm_of(value):.2g}", tol=1e-5)


@part("update_ratio")
def test_ratio_is_of_what_the_optimizer_did(attempt, draw):
    """A parameter that the optimizer does not hold has ratio 0.0; one that it moves without gradient has its ratio."""
    values = {"held": draw.normal(5, 3), "other": draw.normal(7)}
    gradients = {"held": draw.normal(5, 3), "other": draw.normal(7)}
    got = attempt.run(drivers.updates, values, gradients, "SGD", {"lr": 0.3}, held=["held"])
    want = {"held": 0.3 * norm_of(gradients["held"]) / norm_of(values["held"]), "other": 0.0}
    agree(got["ratios"][0], want, of="ratios of a parameter in the optimizer and of one that is not", tol=1e-5)
    got = attempt.run(drivers.updates, values, {"held": gradients["held"]}, "Shrink", {})
    of = "ratios under an optimizer that multiplies every weight by 0.9, with a gradient or without"
    agree(got["ratios"][0], {"held": 0.1, "other": 0.1}, of=of, tol=1e-5)


@part("update_ratio")
def test_ratio_of_special_parameters(attempt, draw):
    """Zeros that moved give inf, zeros that did not 0.0; no gradient gives 0.0; a frozen parameter is absent."""
    values = {
        "moved": torch.zeros(5),
        "still": torch.zeros(3),
        "idle": draw.normal(2, 2, dtype=torch.float32),
        "frozen": draw.normal(7, dtype=torch.float32),
        "last": torch.tensor([3.0, -4.0]),
    }
    gradients = {
        "moved": draw.normal(5, dtype=torch.float32),
        "still": torch.zeros(3),
        "last": torch.tensor([0.0, 1.0]),
    }
    got = attempt.run(drivers.updates, values, gradients, "SGD", {"lr": 0.5}, frozen=["frozen"])
    want = {"moved": INF, "still": 0.0, "idle": 0.0, "last": 0.1}
    agree(
        got["ratios"][0],
        want,
        of="ratios of a zero bias, an untouched one, one without gradient, a frozen one",
        tol=1e-5,
    )


# --- diagnose ---------------------------------------------------------------------------------------------------------

SYMPTOMS = ("non-finite", "exploding", "dead", "vanishing", "healthy")
NUMBERS = {  # a layer of each kind, beside a layer of norm 1
    "NaN": {"norm": 0.5, "nan": 1, "inf": 0},
    "Inf": {"norm": 0.5, "nan": 0, "inf": 1},
    "exploding": {"norm": 101.0, "nan": 0, "inf": 0},
    "dead": {"norm": 0.0, "nan": 0, "inf": 0},
    "vanishing": {"norm": 0.9e-4, "nan": 0, "inf": 0},
    "healthy": {"norm": 1.0, "nan": 0, "inf": 0},
}


def finding(symptom, layers):
    table = {
        "non-finite": (
            "an overflow, log(0), 0/0 or bad data",
            "find the first bad layer; skip the step; lower the rate",
        ),
        "exploding": (
            "a product of large factors in depth or time",
            "clip by norm; warm up; lower the rate; check init",
        ),
        "dead": ("units that are off for every input", "lower the rate; He initialisation; a leaky activation"),
        "vanishing": (
            "saturation, or a product of small factors",
            "ReLU; Xavier or He; normalisation; skip connections",
        ),
        "healthy": ("none", "look at the data, the loss and the metric"),
    }
    cause, remedy = table[symptom]
    return {"symptom": symptom, "layers": layers, "cause": cause, "remedy": remedy}


def told(gradients, activations):
    """Every symptom that some layer shows, most urgent first."""
    largest = max((g["norm"] for g in gradients.values()), default=0.0)
    shown = {symptom: [] for symptom in SYMPTOMS}
    for name, g in gradients.items():
        if g["nan"] + g["inf"] > 0:
            shown["non-finite"].append(name)
        if g["norm"] > 100:
            shown["exploding"].append(name)
        if g["norm"] == 0:
            shown["dead"].append(name)
        if g["norm"] < 1e-4 * largest:
            shown["vanishing"].append(name)
    shown["dead"] += [name for name, a in (activations or {}).items() if a["dead"] >= 0.5]
    return [finding(symptom, layers) for symptom, layers in shown.items() if layers] or [finding("healthy", [])]


@part("diagnose")
@pytest.mark.parametrize("kind", list(NUMBERS))
def test_diagnosis_of_one_sick_layer(attempt, kind):
    """One sick layer among healthy ones is named, with its symptom, cause and remedy."""
    well = {"norm": 1.0, "nan": 0, "inf": 0}
    gradients = {"0.weight": well, "3.weight": NUMBERS[kind], "1.bias": well}
    agree(attempt.diagnose(gradients), told(gradients, None)[0], of=f"diagnosis of a {kind} layer among healthy ones")


@part("diagnose")
def test_diagnosis_names_the_most_urgent(attempt):
    """Of several illnesses the most urgent is named, and all layers that show it, in order."""
    for kinds in itertools.product(NUMBERS, repeat=3):
        gradients = {f"{3 - i}.weight": NUMBERS[kind] for i, kind in enumerate(kinds)}
        for activations in (None, {"7": {"saturated": 0.9, "dead": 0.7}, "2": {"saturated": 0.1, "dead": 0.0}}):
            agree(
                attempt.diagnose(gradients, activations),
                told(gradients, activations)[0],
                of=f"diagnosis of layers {' | '.join(kinds)}, activations {activations}",
                known={f"naming {other['symptom']} first": other for other in told(gradients, activations)[1:]},
            )


@part("diagnose")
@pytest.mark.parametrize("largest", [1.0, 64.0])
def test_diagnosis_at_the_thresholds(attempt, largest):
    """Each threshold is met exactly as stated: > 100, == 0, >= 0.5, < 1e-4 of the largest norm."""
    for norm in (1e-4 * largest, 0.999e-4 * largest, 1.001e-4 * largest, 1e-12, 1e-30, 0.0, 100.0, 100.5, INF):
        gradients = {"a": {"norm": norm, "nan": 0, "inf": 0}, "b": {"norm": largest, "nan": 0, "inf": 0}}
        agree(attempt.diagnose(gradients), told(gradients, None)[0], of=f"diagnosis of norms {norm:g} and {largest:g}")
    for dead in (0.0, 0.499, 0.5, 0.75, 1.0):
        gradients = {"a": {"norm": largest, "nan": 0, "inf": 0}}
        activations = {"1": {"saturated": 0.5, "dead": 0.1}, "2": {"saturated": 0.1, "dead": dead}}
        agree(
            attempt.diagnose(gradients, activations),
            told(gradients, activations)[0],
            of=f"diagnosis with a share {dead} of dead units",
        )


@part("diagnose")
def test_diagnosis_of_few_facts(attempt):
    """Without gradients, or without activations, the rest still counts; dead gradients come before dead activations."""
    report = {"act": {"saturated": 1.0, "dead": 1.0}}
    zero = {"norm": 0.0, "nan": 0, "inf": 0}
    for gradients, activations in (
        ({}, None),
        ({}, {}),
        ({}, report),
        ({"w": zero}, {}),
        ({"w": zero, "v": zero}, report),
    ):
        agree(
            attempt.diagnose(gradients, activations),
            told(gradients, activations)[0],
            of=f"diagnosis of {gradients} and {activations}",
        )


# --- gradient_flow ----------------------------------------------------------------------------------------------------


@part("gradient_flow")
@pytest.mark.parametrize("scheme", ["small", "xavier", "he"])
def test_initial_weights_have_their_deviation(attempt, draw, scheme):
    """Normal values, mean 0, with the standard deviation of the scheme, all from the generator."""
    depth, width = 7, 83
    std = {"small": 0.01, "xavier": width**-0.5, "he": (width / 2) ** -0.5}[scheme]
    seed = int(draw.integers(1, 2**31, 1))
    got = attempt.run(drivers.draw_weights, depth, width, scheme, seed)
    count = depth * width * width
    for name in ("first", "second"):
        agree(got[name], torch.zeros(depth, width, width), axes="L d d", of=f"{scheme}: shape and dtype", tol=INF)
        unit = got[name].double() / std
        agree(float(unit.mean()) + 1, 1.0, of=f"{scheme}: 1 + mean in standard deviations", tol=6 / count**0.5)
        agree(
            float(unit.square().mean()),
            1.0,
            of=f"{scheme}: variance over the one asked for",
            tol=6 * (2 / count) ** 0.5,
        )
        agree(float((unit.abs() < 1).double().mean()), 0.6827, of=f"{scheme}: share within one deviation", tol=0.03)
        agree(float(unit.square().mean((1, 2)).max()), 1.0, of=f"{scheme}: the widest layer's variance", tol=0.15)
        hold_matrices_unlike({f"layer {i}": layer for i, layer in enumerate(unit)}, f"initial_weights, {scheme}")
    of = f"{scheme}: two stacks that were drawn one after the other"
    assert not torch.equal(got["first"], got["second"]), f"{of}, looked at after both calls, hold the same numbers"
    hold_generator(attempt, "initial_weights", depth, width, scheme, seed=seed, of=f"initial_weights, {scheme},")


@part("gradient_flow")
def test_initial_weights_refuse_an_unknown_scheme(attempt):
    """An unknown scheme is a ValueError."""
    with refusal(ValueError, of="initial weights by the scheme 'lecun'"):
        attempt.run(drivers.draw_weights, 2, 3, "lecun", 0)


DERIVATIVES = {
    "linear": (lambda z: z, torch.ones_like),
    "sigmoid": (lambda z: 1 / (1 + torch.exp(-z)), lambda z: torch.sigmoid(z) * torch.sigmoid(-z)),
    "tanh": (torch.tanh, lambda z: 1 / torch.cosh(z) ** 2),
    "relu": (lambda z: z * (z > 0), lambda z: (z > 0).to(z.dtype)),
}


def flow(x, weights, activation, residual=False, normalize=False, outside=0.0):
    """Back-propagation by hand: the chain rule layer by layer, layer_norm through its Jacobian.

    outside: the mistake of adding this to the deviation, instead of 1e-5 to the variance.
    """
    f, slope = DERIVATIVES[activation]
    h, layers = x.double(), []
    for weight in weights.double():
        raw = h @ weight.T
        z, std, root = raw, torch.ones(len(x), 1), torch.ones(len(x), 1)
        if normalize:
            root = (raw.var(-1, unbiased=False, keepdim=True) + (0.0 if outside else 1e-5)).sqrt()
            std = root + outside
            z = (raw - raw.mean(-1, keepdim=True)) / std
        layers.append((weight, z, std, std / root))
        h = f(z) + (h if residual else 0)
    g = torch.ones_like(h)
    norms = [norm_of(g)]
    for weight, z, std, stretch in reversed(layers):
        local = g * slope(z)
        if normalize:
            local = (local - local.mean(-1, keepdim=True) - stretch * z * (local * z).mean(-1, keepdim=True)) / std
        g = local @ weight + (g if residual else 0)
        norms.append(norm_of(g))
    return torch.tensor(norms[::-1], dtype=x.dtype)


@part("gradient_flow")
@pytest.mark.parametrize("activation", list(DERIVATIVES))
@pytest.mark.parametrize(("residual", "normalize"), [(False, False), (True, False), (False, True), (True, True)])
def test_flow_is_the_chain_rule(attempt, draw, activation, residual, normalize):
    """The norm of the gradient at every depth is what the chain rule gives, from the input up to the output."""
    x, weights = draw.normal(3, 7), draw.normal(5, 7, 7, scale=0.6)
    options = {key: True for key, on in (("residual", residual), ("normalize", normalize)) if on}
    with_options = ", ".join([activation, *options])
    agree(
        attempt.gradient_flow(x, weights, activation, **options),
        flow(x, weights, activation, residual, normalize),
        axes="L",
        of=f"gradient norms at 6 depths, {with_options}, n 3, d 7",
        known={
            "weights used untransposed": lambda: flow(x, weights.mT, activation, residual, normalize),
            "layers in reverse order": lambda: flow(x, weights.flip(0), activation, residual, normalize),
            "a mean over n and d as the loss": lambda: flow(x, weights, activation, residual, normalize) / x.numel(),
            "eps added to the deviation": lambda: flow(x, weights, activation, residual, normalize, outside=1e-5),
        },
    )


@part("gradient_flow")
@pytest.mark.parametrize("depth", [0, 1])
def test_flow_of_few_layers(attempt, draw, depth):
    """Zero layers give one norm, sqrt(n·d); one layer gives two; float32 stays float32."""
    x, weights = draw.normal(5, 3, dtype=torch.float32), draw.normal(depth, 3, 3, dtype=torch.float32)
    got = attempt.gradient_flow(x, weights, "tanh")
    agree(got, flow(x, weights, "tanh"), axes="L", of=f"gradient norms of {depth} layers on x of shape (5, 3)")


@part("gradient_flow")
def test_flow_in_deep_stacks(attempt, draw):
    """Over 40 layers: sigmoid vanishes, He keeps ReLU alive, Xavier halves it, and residual or normalising rescues."""
    depth, width = 40, 23
    x = draw.normal(11, width)
    unit = draw.normal(depth, width, width)
    for activation, std, options in (
        ("sigmoid", width**-0.5, {}),
        ("relu", width**-0.5, {}),
        ("relu", (2 / width) ** 0.5, {}),
        ("tanh", 0.01, {}),
        ("tanh", 0.01, {"residual": True}),
        ("tanh", 0.01, {"normalize": True}),
    ):
        got = attempt.gradient_flow(x, std * unit, activation, **options)
        want = flow(x, std * unit, activation, **options)
        what = f"norms of {depth} layers, {activation}, weights of deviation {std:.3g}, {options}"
        agree(got, want, axes="L", of=what)
        agree(got.log10(), want.log10(), axes="L", of=f"log10 of {what}", tol=1e-7)  # the vanished ones, too


@part("gradient_flow")
@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "plain"])
def test_flow_leaves_no_gradient_behind(attempt, draw, leaves):
    """The tensors given get no gradient and require one only if they did before; the result has no graph."""
    x, weights = draw.normal(2, 5), draw.normal(3, 5, 5)
    got = attempt.run(drivers.flow_of_leaves, x, weights, "tanh", leaves, residual=True)
    want = flow(x, weights, "tanh", residual=True)
    agree(got["norms"], want, axes="L", of=f"gradient norms where x and weights have requires_grad {leaves}")
    agree(got["requires_grad"], [leaves, leaves], of="requires_grad of x and weights afterwards")
    assert not got["graph"], "the returned norms still have a graph"
    left = [name for name, gradient in zip(("x", "weights"), got["left"], strict=True) if gradient is not None]
    assert not left, f"{' and '.join(left)} got a .grad: ask autograd for the gradients themselves"


@part("gradient_flow")
def test_flow_refuses_an_unknown_activation(attempt, draw):
    """An unknown activation is a ValueError, for a stack without layers too."""
    for depth in (2, 0):
        with refusal(ValueError, of=f"a stack of {depth} layers with the activation 'gelu'"):
            attempt.gradient_flow(draw.normal(2, 3), draw.normal(depth, 3, 3), "gelu")


@part("gradient_flow")
def test_flow_through_other_layers_of_that_size(attempt, reference, draw):
    """Each call takes its own x and weights, whatever came before in the same sizes."""
    asked = [(draw.normal(3, 5), draw.normal(4, 5, 5), "tanh") for _ in range(2)]
    hold_again(
        attempt,
        reference,
        "gradient_flow",
        *asked,
        of="gradient_flow of x (3, 5), 4 layers",
        views=False,
        no_grad=False,
    )


# --- fix_training_loop ------------------------------------------------------------------------------------------------


def plain_floats(values, *, of):
    kinds = sorted({type(value).__name__ for value in values})
    assert kinds in ([], ["float"]), f"{of} are of type {', '.join(kinds)}; make them Python floats"


def pairs(draw, sizes, d, o):
    return [(draw.normal(n, d), draw.normal(n, o)) for n in sizes]


def linear_step(weight, bias, x, y):
    """Loss and gradients of the mean squared error of x @ weight.T + bias, by hand."""
    error = x @ weight.T + bias - y
    return float(error.square().mean()), 2 / y.numel() * error.T @ x, 2 / y.numel() * error.sum(0)


def sgd(weight, bias, batches, rates, momentum=0.0, stale=(0.0, 0.0), keep=False):
    """Linear regression step by step. keep: the bug, gradients that pile up."""
    losses, (old_w, old_b), v_w, v_b = [], stale, 0.0, 0.0
    for (x, y), rate in zip(batches, rates, strict=True):
        loss, g_w, g_b = linear_step(weight, bias, x, y)
        if keep:
            g_w, g_b = old_w, old_b = g_w + old_w, g_b + old_b
        v_w, v_b = momentum * v_w + g_w, momentum * v_b + g_b
        weight, bias = weight - rate * v_w, bias - rate * v_b
        losses.append(loss)
    return {"losses": losses, "weight": weight, "bias": bias}


@part("fix_training_loop")
@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
def test_fit_uses_each_gradient_once(attempt, draw, stale):
    """fit: each step uses the gradient of its own batch, and none that was there before."""
    weight, bias, batches = draw.normal(2, 3), draw.normal(2), pairs(draw, [5, 7, 4, 5], 3, 2)
    old = [draw.normal(2, 3), draw.normal(2)] if stale else None
    got = attempt.run(drivers.fit, weight, bias, old, batches, 0.1, 0.5)
    rates = [0.1] * 4
    agree(
        got,
        sgd(weight, bias, batches, rates, 0.5),
        of=f"losses and weights after 4 steps{', with gradients left from before' if stale else ''}",
        known={
            "gradients that pile up": lambda: sgd(weight, bias, batches, rates, 0.5, old or (0.0, 0.0), keep=True),
        },
    )
    plain_floats(got["losses"], of="the losses of fit")


@part("fix_training_loop")
@pytest.mark.parametrize("dtype", DTYPES)
def test_classification_loss_of_logits(attempt, draw, dtype):
    """classification_loss: value and gradient are those of the negative log-likelihood under one softmax."""
    logits, targets = draw.normal(7, 5, scale=3.0, dtype=of_type(dtype)), draw.integers(0, 5, 7)
    upstream = draw.uniform(low=0.5, high=2.0, dtype=of_type(dtype))
    got, gradients = attempt.gradients("classification_loss", logits, targets, upstream=upstream)
    share = logits.double().exp() / logits.double().exp().sum(-1, keepdim=True)
    twice = share.exp() / share.exp().sum(-1, keepdim=True)
    rows = torch.arange(7)
    agree(
        got,
        -share[rows, targets].log().mean().to(logits.dtype),
        of="loss of logits (n, c) = (7, 5)",
        known={"softmax applied twice": lambda: -twice[rows, targets].log().mean()},
    )
    agree(
        gradients[0],
        ((share - F.one_hot(targets, 5)) / 7 * upstream).to(logits.dtype),
        axes="n c",
        of="gradient of the loss, logits (7, 5)",
    )


@part("fix_training_loop")
def test_classification_loss_of_large_logits(attempt):
    """classification_loss: finite for logits of 200, where log(softmax) is log(0)."""
    logits = torch.tensor([[200.0, 0.0], [0.0, 3000.0]])
    for targets, want in (([1, 1], 100.0), ([0, 1], 0.0), ([1, 0], 1600.0)):
        got = attempt.classification_loss(logits, torch.tensor(targets))
        agree(got, torch.tensor(want), of=f"loss of logits {logits.tolist()} for targets {targets}")


def batchnorm_run(weights, train, valid, epochs, lr, eval_after=INF, pooled=False):
    """x W.T -> batch norm -> V.T, trained by SGD. eval_after: training steps before the bug (eval mode) sets in.

    pooled: the mistake of weighting each validation batch by its size.
    """
    w, v, scale, shift = (x.clone() for x in weights)
    mean, var, history, steps = torch.zeros(len(scale)), torch.ones(len(scale)), [], 0
    mean, var = mean.double(), var.double()

    def output(leaves, x, m, s):
        return ((x @ leaves[0].T - m) / (s + 1e-5).sqrt() * leaves[2] + leaves[3]) @ leaves[1].T

    for _ in range(epochs):
        for x, y in train:
            z = x @ w.T
            if steps < eval_after:
                mean, var = 0.9 * mean + 0.1 * z.mean(0), 0.9 * var + 0.1 * z.var(0, unbiased=True)

            def loss(leaves, x=x, y=y, mean=mean, var=var, training=steps < eval_after):
                z = x @ leaves[0].T
                m, s = (z.mean(0), z.var(0, unbiased=False)) if training else (mean, var)
                return (output(leaves, x, m, s) - y).square().mean()

            _, grads = loss_and_gradients([w, v, scale, shift], loss)
            w, v, scale, shift = (p - lr * g for p, g in zip((w, v, scale, shift), grads, strict=True))
            steps += 1
        errors = [float((output((w, v, scale, shift), x, mean, var) - y).square().mean()) for x, y in valid]
        shares = [len(x) if pooled else 1 for x, _ in valid]
        history.append(sum(e * s for e, s in zip(errors, shares, strict=True)) / sum(shares))
    return {"history": history, "parameters": [w, scale, shift, v]}


@part("fix_training_loop")
@pytest.mark.parametrize("training", [True, False], ids=["arrives in train mode", "arrives in eval mode"])
def test_fit_and_validate_switches_modes(attempt, draw, training):
    """fit_and_validate: batch statistics in training in every epoch, running statistics in validation."""
    w, v = draw.normal(5, 3), draw.normal(2, 5)
    train, valid = pairs(draw, [7, 4], 3, 2), pairs(draw, [5, 3, 6], 3, 2)
    layers = [["linear", w, None], ["batchnorm", 5], ["linear", v, None]]
    got = attempt.run(drivers.fit_and_validate, layers, train, valid, 3, 0.05, training)
    weights = [w, v, torch.ones(5).double(), torch.zeros(5).double()]
    want = batchnorm_run(weights, train, valid, 3, 0.05)
    bug = batchnorm_run(weights, train, valid, 3, 0.05, eval_after=2 if training else 0)
    known = {
        "eval mode left on during training": bug["history"],
        "a mean over all entries, instead of one over the batches' means": lambda: batchnorm_run(
            weights, train, valid, 3, 0.05, pooled=True
        )["history"],
    }
    agree(got["history"], want["history"], of="validation losses of 3 epochs", known=known)
    agree(
        got["parameters"],
        want["parameters"],
        of="parameters after 3 epochs",
        known={"training in eval mode": bug["parameters"]},
    )
    plain_floats(got["history"], of="the validation losses")
    modes = 3 * (2 * [[True, True]] + 3 * [[False, False]])
    agree(got["modes"], modes, of="[train mode of the model, of a layer] in each pass, 3 epochs of 2 + 3 batches")


@part("fix_training_loop")
def test_fit_and_validate_for_no_epoch(attempt, draw):
    """fit_and_validate: with 0 epochs nothing is trained and no loss returned."""
    weight, batches = draw.normal(2, 3), pairs(draw, [4, 5], 3, 2)
    for training in (True, False):
        got = attempt.run(drivers.fit_and_validate, [["linear", weight, None]], batches, batches, 0, 0.1, training)
        agree(got["history"], [], of="validation losses of 0 epochs")
        agree(got["parameters"], [weight], of="parameters after 0 epochs")
        assert set(got["after"]) == {training}, "0 epochs have changed the mode of the model or of a module in it"


def recurrent_run(weights, chunks, state, lr, carry=True):
    """Truncated back-propagation through time. carry=False: each chunk starts from the first state again."""
    losses, first = [], state
    for x, y in chunks:

        def run(leaves, x=x, start=state if carry else first):
            h, outputs = start, []
            for t in range(x.shape[1]):
                h = torch.tanh(x[:, t] @ leaves[0] + h @ leaves[1])
                outputs.append(h @ leaves[2])
            return torch.stack(outputs, 1), h

        state = run(weights)[1]
        loss, grads = loss_and_gradients(weights, lambda leaves, y=y, run=run: (run(leaves)[0] - y).square().mean())
        weights = [w - lr * g for w, g in zip(weights, grads, strict=True)]
        losses.append(float(loss))
    return {"loss": sum(losses) / len(losses), "weights": weights}


def recurrent_data(draw, chunks, n=2, t=5, d=3, k=7, o=2):
    weights = [draw.normal(d, k), draw.normal(k, k, scale=0.4), draw.normal(k, o)]
    return weights, [(draw.normal(n, t, d), draw.normal(n, t, o)) for _ in range(chunks)], draw.normal(n, k)


@part("fix_training_loop")
@pytest.mark.parametrize("chunks", [1, 4])
def test_fit_recurrent_carries_the_state(attempt, draw, chunks):
    """fit_recurrent: the state's value goes on to the next chunk, its gradient does not."""
    weights, data, state = recurrent_data(draw, chunks)
    got = attempt.run(drivers.fit_recurrent, weights, data, state, 0.2)
    agree(
        got,
        recurrent_run(weights, data, state, 0.2),
        of=f"mean loss and weights after {chunks} chunks of 5 steps",
        known={
            "a state that starts afresh in each chunk": lambda: recurrent_run(weights, data, state, 0.2, carry=False)
        },
    )
    assert type(got["loss"]) is float, f"the mean loss is a {type(got['loss']).__name__}, not a float"


@part("fix_training_loop")
@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_fit_recurrent_keeps_no_graph(attempt, draw, training):
    """fit_recurrent: neither the memory peak nor the graph grows with the number of chunks."""
    weights, data, state = recurrent_data(draw, 24, n=13, t=6, k=31)
    peaks, nodes = [], []
    for chunks in (2, 24):
        got, cost = attempt.cost(drivers.fit_recurrent, weights, data[:chunks], state, 0.01, training)
        want = recurrent_run(weights, data[:chunks], state, 0.01)
        agree(got, want, of=f"mean loss and weights after {chunks} chunks")
        peaks.append(cost.peak)
        nodes.append(cost.nodes)
        at_most(cost.kept, 64, of=f"bytes that stay alive after {chunks} chunks, beside weights and gradients")
        at_most(cost.kept_nodes, 0, of=f"nodes of graphs that stay alive after {chunks} chunks")
    at_most(nodes[1], 1.5 * nodes[0], of="nodes of graphs alive at once in 24 chunks (allowed: 1.5 times those of 2)")
    at_most(peaks[1], 1.5 * peaks[0], of="peak bytes of 24 chunks (allowed: half as much again as 2 chunks take)")


@part("fix_training_loop")
def test_fit_scheduled_uses_the_first_rate(attempt, draw):
    """fit_scheduled: step k uses the schedule's k-th rate, the first step its first, and those are returned."""
    weight, bias, batches = draw.normal(2, 3), draw.normal(2), pairs(draw, [5, 7, 4, 6], 3, 2)
    factors = [1.0, 0.1, 0.5, 0.02, 0.7]
    got = attempt.run(drivers.fit_scheduled, weight, bias, batches, 0.3, factors)
    rates = [0.3 * factor for factor in factors]
    late = sgd(weight, bias, batches, rates[1:])
    agree(got["rates"], rates[:4], of="the rates of 4 steps", known={"a schedule that runs one step ahead": rates[1:]})
    plain_floats(got["rates"], of="the rates of fit_scheduled")
    want = sgd(weight, bias, batches, rates[:4])
    for name in ("weight", "bias"):
        agree(
            got[name],
            want[name],
            of=f"{name} after 4 steps",
            known={"steps with the rates of the next ones": late[name]},
        )


@part("fix_training_loop")
def test_loops_over_other_batches_of_that_size(attempt, reference, draw):
    """Each call takes what it is given at that time, whatever came before in the same sizes."""
    asked = [(draw.normal(5, 3), draw.integers(0, 3, 5)) for _ in range(2)]
    hold_again(attempt, reference, "classification_loss", *asked, of="classification_loss of (5, 3)", views=False)
    asked = [(*recurrent_data(draw, 2), 0.2) for _ in range(2)]
    hold_again(attempt, reference, drivers.fit_recurrent, *asked, of="fit_recurrent of 2 chunks", views=False)
    model = draw.normal(2, 3), draw.normal(2), pairs(draw, [5, 7], 3, 2)
    asked = [(*model, 0.3, factors) for factors in ([1.0, 0.1, 0.5], [0.5, 0.2, 0.1])]
    hold_again(attempt, reference, drivers.fit_scheduled, *asked, of="fit_scheduled of 2 batches", views=False)
