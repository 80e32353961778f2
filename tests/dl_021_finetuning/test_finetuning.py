"""Hidden checks of dl_021. A right answer fails a statement about a law with a probability below ALARM = 1e-7."""

import itertools
import math
from collections import Counter

import pytest
import torch

from grader.checks import Wrong, agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type
from grader.checks.randomness import ALARM, hold_generator, hold_independent, hold_rate
from grader.checks.repeats import hold_unrepeated

from . import drivers

MODES = [("training", True), ("training", False), ("eval", True), ("eval", False)]


def seed_from(draw):
    return draw.random.randrange(2**40)


def hold_uniform(seen, outcomes, of):
    """Hold that all outcomes, and no others, come equally often. seen: a list of outcomes, from independent draws."""
    counts, trials = Counter(seen), len(seen)
    stray = [outcome for outcome in counts if outcome not in set(outcomes)]
    assert not stray, f"{of}: {stray[0]} came, which is none of the {len(outcomes)} possible outcomes"
    for outcome in outcomes:
        hold_rate(counts[outcome], trials, 1 / len(outcomes), f"{of}: {outcome}", looks=len(outcomes))


# --- pretraining_batch ------------------------------------------------------------------------------------------------

PAD, CLS, SEP, MASK = 2, 0, 1, 4
IDS = {"vocab_size": 97, "mask_id": MASK, "pad_id": PAD, "special": (CLS, SEP)}


def sentences(draw, b=3, t=11):
    """Tokens (b, t) with a start, an end, padding behind it, in the last row before it, and the mask's id."""
    tokens = draw.integers(5, 97, b, t)
    tokens[:, 0], tokens[:, 2] = CLS, MASK
    for i in range(b):
        tokens[i, t - 1 - i] = SEP
        tokens[i, t - i :] = PAD
    tokens[-1] = tokens[-1].roll(b - 1)
    return tokens


@part("pretraining_batch")
def test_causal_labels_are_the_next_tokens(attempt, draw):
    """Causal: input j is token j, label j is token j + 1, and a label that would be padding is -100."""
    tokens = sentences(draw)
    got = attempt.run(drivers.one, "pretraining_batch", tokens, "causal", seed=1, **IDS)
    want = torch.where(tokens[:, 1:] == PAD, -100, tokens[:, 1:])
    agree(
        got,
        (tokens[:, :-1], want),
        of="inputs and labels of a causal batch of tokens (3, 11)",
        known={
            "labels that are the inputs themselves": (tokens[:, :-1], tokens[:, :-1]),
            "padding that is learnt, too": (tokens[:, :-1], tokens[:, 1:]),
            "the end of the text left out of the labels": lambda: (tokens[:, :-1], want.masked_fill(want == SEP, -100)),
            "inputs and labels swapped": (tokens[:, 1:], tokens[:, :-1]),
        },
    )


@part("pretraining_batch")
def test_causal_batch_of_one_token(attempt, draw):
    """Causal: of one token nothing is left, (b, 0) and (b, 0)."""
    got = attempt.run(drivers.one, "pretraining_batch", draw.integers(5, 97, 5, 1), "causal", seed=1, **IDS)
    empty = torch.zeros(5, 0, dtype=torch.int64)
    agree(got, (empty, empty), of="a causal batch of tokens (5, 1)")


@part("pretraining_batch")
def test_masked_labels_are_the_chosen_tokens(attempt, draw):
    """Masked: a label is the token or -100; without a label the input is the token; special tokens are never chosen."""
    tokens = sentences(draw, 7, 53)
    options = {**IDS, "share": 0.6}
    inputs, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", seed=seed_from(draw), **options)
    agree((inputs.shape, labels.shape), ((7, 53), (7, 53)), of="the shapes of a masked batch of tokens (7, 53)")
    chosen = labels != -100
    agree(labels, torch.where(chosen, tokens, -100), axes="b t", of="labels of a masked batch, where they are not -100")
    agree(inputs[~chosen], tokens[~chosen], axes="i", of="inputs of a masked batch where the label is -100")
    special = torch.isin(tokens, torch.tensor([PAD, CLS, SEP]))
    assert not bool((chosen & special).any()), (
        f"a masked batch: a token of id {int(tokens[chosen & special][0])} was chosen, which is padding or special"
    )


@part("pretraining_batch")
def test_masked_choices_are_independent(attempt, draw):
    """Masked: each token is chosen with probability `share`, independently of every other token."""
    share = draw.random.uniform(0.15, 0.5)
    tokens = draw.integers(5, 97, 2, 5)
    options = {**IDS, "share": share}
    drawn = attempt.run(
        drivers.several, "pretraining_batch", tokens, "masked", seed=seed_from(draw), count=1500, **options
    )
    agree(list(drawn[1].shape), [1500, 2, 5], of="the shape of 1,500 labels of a masked batch of tokens (2, 5)")
    of = f"tokens (2, 5) that are chosen with share {share:.3f}"
    hold_independent((drawn[1] != -100).flatten(1), share, of, lambda i: f"token {divmod(i, 5)}")


@part("pretraining_batch")
def test_masked_default_share(attempt, draw):
    """Masked: without a share 15 % of the tokens are chosen; share 0 is none of them, share 1 all but special ones."""
    tokens = draw.integers(5, 97, 200, 100)
    _, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", seed=seed_from(draw), **IDS)
    hold_rate(int((labels != -100).sum()), 20_000, 0.15, "tokens chosen by default")
    tokens = sentences(draw)
    for share in (0.0, 1.0):
        options = {**IDS, "share": share}
        _, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", seed=3, **options)
        free = ~torch.isin(tokens, torch.tensor([PAD, CLS, SEP]))
        want = torch.where(free & (share == 1.0), tokens, -100)
        agree(labels, want, axes="b t", of=f"labels of a masked batch with share {share}")


@part("pretraining_batch")
@pytest.mark.parametrize("vocab_size", [7, 11])
def test_masked_tokens_have_their_fates(attempt, draw, vocab_size):
    """Masked: a chosen token becomes the mask (80 %), any of all ids (10 %), or stays (10 %)."""
    own = draw.pick([5, 6])
    tokens = torch.full((100, 300), own)
    options = {**IDS, "vocab_size": vocab_size, "share": 0.7}
    inputs, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", seed=seed_from(draw), **options)
    seen = inputs[labels != -100]
    assert len(seen), "a masked batch with share 0.7: no token was chosen"
    stray = seen[(seen < 0) | (seen >= vocab_size)]
    assert not len(stray), f"a masked batch: id {int(stray[0])} came in, of a vocabulary of {vocab_size}"
    for token in range(vocab_size):
        chance = 0.8 * (token == MASK) + 0.1 / vocab_size + 0.1 * (token == own)
        kind = "the mask" if token == MASK else "its own id" if token == own else "special" if token < 3 else "another"
        of = f"chosen tokens of id {own} that become {token} ({kind}) in a vocabulary of {vocab_size}"
        hold_rate(int((seen == token).sum()), len(seen), chance, of, looks=vocab_size)
    strange = inputs.where((inputs != MASK) & (inputs != own), -1)  # those that became a random token for certain
    for one, other, where in ((strange[1:], strange[:-1], "the next row"), (strange[:, 1:], strange[:, :-1], "a row")):
        both = (one >= 0) & (other >= 0)
        of = f"neighbours in {where} that become equal, of those that become random tokens, neither {MASK} nor {own}"
        hold_rate(int(((one == other) & both).sum()), int(both.sum()), 1 / (vocab_size - 2), of, looks=2)


@part("pretraining_batch")
def test_fates_of_neighbours_that_are_chosen(attempt, draw):
    """Masked: what becomes of a chosen token says nothing about its neighbour that is chosen, too."""
    tokens, words = torch.full((200, 300), 6), 97
    options = {**IDS, "vocab_size": words, "seed": seed_from(draw), "share": 0.5}
    inputs, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", **options)
    agree(list(inputs.shape), [200, 300], of="the shape of the inputs of a masked batch of tokens (200, 300)")
    both = (labels != -100).view(200, 150, 2).all(dim=2)
    other = (inputs != MASK).view(200, 150, 2).all(dim=2)
    of = "neighbours that are both chosen, with share 0.5, of which none becomes the mask"
    hold_rate(int((both & other).sum()), int(both.sum()), (0.2 - 0.1 / words) ** 2, of)


@part("pretraining_batch")
def test_no_part_of_a_large_batch_repeats_another(attempt, draw):
    """Masked: in 40 rows of 300 tokens choices, fates and random tokens are new throughout; the vocabulary is large."""
    tokens, words = torch.full((40, 300), 6), 1_000_000
    seed = seed_from(draw)
    options = {**IDS, "vocab_size": words, "seed": seed, "share": 0.5}
    _, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", **options)
    agree(list(labels.shape), [40, 300], of="the shape of the labels of a masked batch of tokens (40, 300)")
    hold_unrepeated(labels != -100, 0.5, "tokens (40, 300) that are chosen with share 0.5")
    options |= {"share": 1.0}
    inputs, _ = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", **options)
    agree(list(inputs.shape), [40, 300], of="the shape of the inputs of a masked batch of tokens (40, 300)")
    hold_unrepeated(inputs == MASK, 0.8 + 0.1 / words, "chosen tokens (40, 300) that become the mask")
    random = inputs[(inputs != MASK) & (inputs != 6)]
    of = f"random tokens of a vocabulary of {words:,}"
    hold_rate(int((random >= words // 2).sum()), len(random), 0.5, f"{of} that lie in its upper half")
    at_most(len(random) - len(random.unique()), 15, of=f"repetitions among {len(random):,} {of}")


@part("pretraining_batch")
def test_padding_stays_where_no_id_is_special(attempt, draw):
    """Masked: padding is never chosen, also where `special` is empty."""
    tokens = sentences(draw)
    options = {**IDS, "special": (), "share": 1.0}
    _, labels = attempt.run(drivers.one, "pretraining_batch", tokens, "masked", seed=seed_from(draw), **options)
    want = torch.where(tokens == PAD, -100, tokens)
    agree(labels, want, axes="b t", of="labels of a masked batch with share 1 and no special ids")


@part("pretraining_batch")
def test_masked_fates_are_independent(attempt, draw):
    """Masked: what becomes of one chosen token says nothing about another, nor about the next batch."""
    tokens = torch.full((3, 3), 6)
    options = {**IDS, "share": 1.0, "vocab_size": 8, "seed": seed_from(draw), "count": 1500}
    inputs, _ = attempt.run(drivers.several, "pretraining_batch", tokens, "masked", **options)
    agree(list(inputs.shape), [1500, 3, 3], of="the shape of 1,500 inputs of a masked batch of tokens (3, 3)")
    of = "chosen tokens (3, 3) that become the mask"
    hold_independent((inputs == MASK).flatten(1), 0.8 + 0.1 / 8, of, lambda i: f"token {divmod(i, 3)}")
    for i, j in ((0, 0), (2, 1)):
        for token in (0, 1, 2, 3, 5, 7):
            of = f"batches in which the chosen token {(i, j)} becomes {token}, of a vocabulary of 8"
            hold_rate(int((inputs[:, i, j] == token).sum()), 1500, 0.1 / 8, of, looks=12)


@part("pretraining_batch")
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_masking_draws_from_the_generator(attempt, draw, share):
    """Masked: which tokens are chosen, and what becomes of them, comes from the generator alone."""
    tokens = draw.integers(5, 97, 6, 31)
    options = {**IDS, "share": share, "member": 0 if share == 1.0 else 1}
    of = "the inputs of a masked batch of which all is chosen" if share == 1.0 else "the labels of a masked batch"
    hold_generator(
        attempt, drivers.drawn, "pretraining_batch", tokens, "masked", seed=seed_from(draw), of=of, **options
    )


@part("pretraining_batch")
@pytest.mark.parametrize(
    "bad", [("mlm", 0.15), ("", 0.15), ("masked", -0.01), ("masked", 1.01), ("masked", math.nan), ("causal", 1.5)],
    ids=str,
)  # fmt: skip
def test_pretraining_batch_refuses(attempt, draw, bad):
    """An unknown objective, or a share outside [0, 1], is a ValueError."""
    objective, share = bad
    with refusal(ValueError, of=f"pretraining_batch with objective {objective!r} and share {share}"):
        attempt.run(drivers.one, "pretraining_batch", sentences(draw), objective, seed=1, **IDS, share=share)


DOCUMENTS = [[[11], [12, 13], [14]], [[21, 22]], [], [[31], [32], [33, 34, 35], [36]], [[41], [42]]]


@part("pretraining_batch")
def test_pairs_follow_or_come_from_elsewhere(attempt, draw):
    """Each sentence with another behind it begins one pair, in order; its second follows, or comes from elsewhere."""
    pairs = attempt.run(drivers.one, "sentence_pairs", DOCUMENTS, seed=seed_from(draw))
    firsts = [sentence for document in DOCUMENTS for sentence in document[:-1]]
    agree([first for first, _, _ in pairs], firsts, of="the first sentences of the pairs of five documents")
    for first, second, follows in pairs:
        home = next(document for document in DOCUMENTS if first in document)
        assert type(follows) is bool, f"the third member of a pair is {follows!r}; expected True or False"
        if follows:
            agree(second, home[home.index(first) + 1], of=f"the sentence that follows {first}")
        else:
            others = [sentence for document in DOCUMENTS if document is not home for sentence in document]
            assert second in others, (
                f"the pair {first}, {second} is said not to follow, but {second} is no sentence of another document"
            )


@part("pretraining_batch")
def test_pairs_have_their_law(attempt, draw):
    """Half of the pairs follow, independently; a stranger is any sentence of all other documents, equally likely."""
    runs = attempt.run(drivers.several, "sentence_pairs", DOCUMENTS, seed=seed_from(draw), count=3000)
    agree(sorted({len(run) for run in runs}), [6], of="the number of pairs in each of 3,000 runs over five documents")
    coins = torch.tensor([[follows for _, _, follows in run] for run in runs])
    hold_independent(coins, 0.5, "pairs that follow", lambda i: f"pair {i}")
    for place, number in ((0, 0), (2, 3), (5, 4)):
        strangers = [tuple(run[place][1]) for run in runs if not run[place][2]]
        others = [tuple(s) for other, document in enumerate(DOCUMENTS) if other != number for s in document]
        hold_uniform(strangers, others, f"second sentences of pair {place} that are of another document")
    twins = [[[5], [5], [6]], [[5], [5], [6]]]
    runs = attempt.run(drivers.several, "sentence_pairs", twins, seed=seed_from(draw), count=600)
    pairs = [run[0] + run[1] for run in runs]
    wrong = [pair for pair in pairs if (pair[2] and pair[1] != [5]) or (pair[5] and pair[4] != [6])]
    assert not wrong, f"sentence_pairs of {twins}: a pair that follows is not of neighbours: {wrong[:1]}"
    for name, places in (("pair 0", (0,)), ("pair 1", (1,)), ("both", (0, 1))):
        drawn = [[pair[3 * i + 1] for i in places] for pair in pairs if not any(pair[3 * i + 2] for i in places)]
        of = f"sentences of the other document in {name} of {twins} that are [6]"
        hold_rate(sum(one == [[6]] * len(one) for one in drawn), len(drawn), 1 / 3 ** len(places), of, looks=3)


@part("pretraining_batch")
def test_pairs_draw_from_the_generator(attempt, draw):
    """All randomness of sentence_pairs comes from its generator."""
    documents = [[[10 * i + j] for j in range(9)] for i in range(7)]
    hold_generator(attempt, drivers.drawn, "sentence_pairs", documents, seed=seed_from(draw), of="sentence_pairs")


@part("pretraining_batch")
def test_pairs_without_another_document(attempt):
    """A pair without another document is a ValueError; where no pair begins, nothing is needed."""
    for documents in ([], [[]], [[[5, 6]]], [[[5]], [[6]], []]):
        agree(attempt.run(drivers.one, "sentence_pairs", documents, seed=1), [], of=f"sentence_pairs of {documents}")
    for documents in ([[[5], [6]]], [[], [[5], [6], [7]], []]):
        for seed in range(8):
            with refusal(ValueError, of=f"sentence_pairs of {documents}, where no other document has a sentence"):
                attempt.run(drivers.one, "sentence_pairs", documents, seed=seed)


# --- span_corruption --------------------------------------------------------------------------------------------------

FIRST = 32_099


def spans_of(n, density, mean_span):
    noise = min(max(round(n * density), 1), n - 1)
    return noise, min(max(round(noise / mean_span), 1), noise, n - noise)


def hold_spans(tokens, inputs, targets, spans, of):
    """Hold that inputs and targets fit together and give the tokens; returns the lengths (kept, cut) of stretches."""
    marks = [FIRST - i for i in range(spans + 1)]
    agree([x for x in inputs.tolist() if x > 1000], marks[:-1], of=f"the sentinels in the inputs of {of}")
    agree([x for x in targets.tolist() if x > 1000], marks, of=f"the sentinels in the targets of {of}")
    kept = _between(inputs.tolist())
    cut = _between(targets.tolist())
    assert not kept[-1], f"inputs of {of} end with {kept[-1]}: the last stretch is cut out, so a sentinel ends them"
    assert not [*cut[0], *cut[-1]], f"targets of {of}: expected a sentinel at both ends, got {targets.tolist()}"
    kept, cut = kept[:-1], cut[1:-1]
    assert all([*kept, *cut]), f"{of}: an empty stretch: inputs {inputs.tolist()}, targets {targets.tolist()}"
    woven = [x for pair in zip(kept, cut, strict=True) for stretch in pair for x in stretch]
    agree(torch.tensor(woven), tokens, axes="n", of=f"inputs of {of}, with what targets say in the place of sentinels")
    return tuple(map(len, kept)), tuple(map(len, cut))


def _between(values):
    stretches = [[]]
    for value in values:
        if value > 1000:
            stretches.append([])
        else:
            stretches[-1].append(value)
    return stretches


@part("span_corruption")
@pytest.mark.parametrize(
    "case",
    [(20, 0.3, 2.0), (37, 0.15, 3.0), (568, 0.15, 3.0), (13, 0.5, 1.0), (11, 0.8, 1.0), (101, 0.5, 2.7)],
    ids=str,
)
def test_spans_stand_in_targets(attempt, draw, case):
    """Inputs and targets give the tokens together, with as many tokens and spans cut out as the rule says."""
    n, density, mean_span = case
    tokens = draw.integers(5, 1000, n)
    noise, spans = spans_of(*case)
    options = {"density": density, "mean_span": mean_span}
    inputs, targets = attempt.run(drivers.one, "span_corruption", tokens, FIRST, seed=seed_from(draw), **options)
    of = f"span_corruption of {n} tokens with density {density} and mean_span {mean_span}"
    agree((inputs.dtype, targets.dtype), (torch.int64, torch.int64), of=f"dtypes of {of}")
    agree(
        [len(inputs), len(targets)],
        [n - noise + spans, noise + spans + 1],
        of=f"lengths of inputs and targets of {of}",
        known={
            "no sentinel at the end of the targets": [n - noise + spans, noise + spans],
            "a sentinel for each token": [n, 2 * noise + 1],
        },
    )
    hold_spans(tokens, inputs, targets, spans, of)


@part("span_corruption")
def test_span_counts_at_their_limits(attempt, draw):
    """At least one token and one span are cut out, one token kept, no more spans than kept tokens; ties go to even."""
    cases = [(2, 0.5, 3.0), (7, 0.01, 3.0), (7, 0.99, 1.0), (10, 0.25, 1.0), (30, 0.25, 1.0), (10, 0.5, 2.0)]
    cases += [(9, 0.7, 1.0), (12, 0.3, 50.0), (14, 0.5, 2.0), (3, 0.5, 1.0)]
    for n, density, mean_span in cases:
        tokens = draw.integers(5, 1000, n)
        noise, spans = spans_of(n, density, mean_span)
        options = {"density": density, "mean_span": mean_span}
        inputs, targets = attempt.run(drivers.one, "span_corruption", tokens, FIRST, seed=seed_from(draw), **options)
        of = f"span_corruption of {n} tokens with density {density} and mean_span {mean_span}"
        agree([len(inputs), len(targets)], [n - noise + spans, noise + spans + 1], of=f"lengths of {of}")
        hold_spans(tokens, inputs, targets, spans, of)


@part("span_corruption")
@pytest.mark.parametrize("case", [(9, 0.45, 2.0), (10, 0.5, 1.7), (8, 0.75, 3.0)], ids=str)
def test_every_cut_is_equally_likely(attempt, draw, case):
    """All ordered sums of the cut lengths, with all of the kept ones, are equally likely."""
    n, density, mean_span = case
    tokens = draw.integers(5, 1000, n)
    noise, spans = spans_of(*case)
    options = {"density": density, "mean_span": mean_span, "seed": seed_from(draw), "count": 4000}
    drawn = attempt.run(drivers.several, "span_corruption", tokens, FIRST, **options)
    of = f"span_corruption of {n} tokens, {noise} cut out in {spans} spans"
    agree(
        [list(d.shape) for d in drawn],
        [[4000, n - noise + spans], [4000, noise + spans + 1]],
        of=f"shapes of 4,000 inputs and targets of {of}",
    )
    both = torch.cat(drawn, dim=1)
    rows, back = both.unique(dim=0, return_inverse=True)
    ways = [hold_spans(tokens, row[: drawn[0].shape[1]], row[drawn[0].shape[1] :], spans, of) for row in rows]
    sums = [_ordered_sums(n - noise, spans), _ordered_sums(noise, spans)]
    hold_uniform([ways[i] for i in back.tolist()], list(itertools.product(*sums)), f"lengths (kept, cut) in {of}")


def _ordered_sums(total, terms):
    if terms == 1:
        return [(total,)]
    return [(first, *rest) for first in range(1, total) for rest in _ordered_sums(total - first, terms - 1) if rest]


@part("span_corruption")
def test_spans_of_the_papers_length(attempt, draw):
    """568 tokens make 511 inputs and 114 targets by default; cuts are spread over the whole text."""
    tokens = draw.integers(5, 1000, 568)
    drawn = attempt.run(drivers.several, "span_corruption", tokens, FIRST, seed=seed_from(draw), count=200)
    agree([list(d.shape) for d in drawn], [[200, 511], [200, 114]], of="shapes of 200 inputs and targets of 568 tokens")
    lengths = [hold_spans(tokens, *pair, 28, "span_corruption of 568 tokens") for pair in zip(*drawn, strict=True)]
    for place in (0, 13, 27):
        for which, total in ((0, 483), (1, 85)):
            ones = sum(one[which][place] == 1 for one in lengths)
            chance = 27 / (total - 1)
            what = f"{('kept', 'cut')[which]} stretches {place} of 568 tokens that are one token long"
            hold_rate(ones, 200, chance, what, looks=6)


@part("span_corruption")
def test_spans_of_a_long_text(attempt, draw):
    """In 4,003 tokens lengths vary as in a short text, and those of cut stretches say nothing of the kept ones."""
    tokens, count = draw.integers(5, 1000, 4003), 30
    drawn = attempt.run(drivers.several, "span_corruption", tokens, FIRST, seed=seed_from(draw), count=count)
    agree([list(d.shape) for d in drawn], [[count, 3603], [count, 801]], of=f"shapes of {count} results, 4,003 tokens")
    lengths = [hold_spans(tokens, *pair, 200, "span_corruption of 4,003 tokens") for pair in zip(*drawn, strict=True)]
    kept, cut = (torch.tensor([one[which] for one in lengths]).flatten() for which in (0, 1))
    short = 1 - math.comb(3402 - 8, 199) / math.comb(3402, 199)
    looks = {
        "cut stretches that are one token long": (cut == 1, 199 / 599),
        "kept stretches of at most 8 tokens": (kept <= 8, short),
        "pairs of a kept stretch of at most 8 tokens and a cut one of one": (
            (kept <= 8) & (cut == 1),
            short * 199 / 599,
        ),
    }
    for what, (seen, chance) in looks.items():  # of one text negatively associated: the bound holds
        hold_rate(int(seen.sum()), 200 * count, chance, f"{what}, of 4,003 tokens", looks=3)


@part("span_corruption")
def test_spans_draw_from_the_generator(attempt, draw):
    """All randomness of span_corruption comes from its generator."""
    tokens = draw.integers(5, 1000, 211)
    hold_generator(
        attempt, drivers.drawn, "span_corruption", tokens, FIRST, seed=seed_from(draw), of="span_corruption of 211"
    )


@part("span_corruption")
@pytest.mark.parametrize(
    "bad",
    [
        (1, 0.15, 3.0),
        (0, 0.15, 3.0),
        (9, 0.0, 3.0),
        (9, 1.0, 3.0),
        (9, 1.5, 3.0),
        (9, -0.1, 3.0),
        (9, 0.15, 0.9),
        (9, math.nan, 3.0),
    ],
    ids=str,
)
def test_span_corruption_refuses(attempt, draw, bad):
    """Fewer than two tokens, a density outside (0, 1), or a mean span below 1, is a ValueError."""
    n, density, mean_span = bad
    with refusal(ValueError, of=f"span_corruption of {n} tokens, density {density}, mean_span {mean_span}"):
        attempt.run(
            drivers.one,
            "span_corruption",
            draw.integers(5, 9, n),
            FIRST,
            seed=1,
            density=density,
            mean_span=mean_span,
        )


# --- freeze -----------------------------------------------------------------------------------------------------------

INNER = ["", ".linear", ".norm", ".drop"]


def names_of(blocks, tied=False):
    parts = ["scale", "embedding.weight"]
    parts += [f"blocks.{i}.{w}" for i in range(blocks) for w in _BLOCK]
    return parts if tied else [*parts, "head.weight"]


_BLOCK = ["shift", "linear.weight", "linear.bias", "norm.weight", "norm.bias"]


@part("freeze")
def test_all_but_the_named_is_frozen(attempt):
    """Parameters of the named modules require a gradient, all others do not; "blocks.1" is not "blocks.11"."""
    calls = [["head"], ["blocks.1", "head"], ["blocks.11"], ["blocks.1.norm", "blocks.10"], ["blocks"]]
    calls += [["blocks.2", "blocks", "blocks.2.linear", "blocks.2"]]
    found = attempt.run(drivers.freezing, calls, blocks=12)
    for trainable, seen in zip(calls, found, strict=True):
        want = [name for name in names_of(12) if any(name.startswith(f"{path}.") for path in trainable)]
        agree(seen["trainable"], want, of=f"parameters that require a gradient after freeze(model, {trainable})")
        agree(seen["given"], want, of=f"the parameters that freeze(model, {trainable}) returns, by name")
        assert seen["unmoved"], f"freeze(model, {trainable}) changed the value of a parameter"


@part("freeze")
def test_whole_model_or_nothing(attempt):
    """The path "" is the whole model; no path at all freezes everything."""
    nothing, everything = attempt.run(drivers.freezing, [[], [""]], blocks=2)
    agree(nothing["trainable"], [], of="parameters that require a gradient after freeze(model, [])")
    agree(nothing["given"], [], of="what freeze(model, []) returns")
    agree(nothing["training"], [""], of="modules in training mode after freeze(model, []): the model itself")
    agree(everything["trainable"], names_of(2), of='parameters that require a gradient after freeze(model, [""])')
    agree(everything["given"], names_of(2), of='the parameters that freeze(model, [""]) returns, by name')


@part("freeze")
def test_frozen_modules_are_in_eval(attempt):
    """Named modules and those around them keep the model's mode; all others are set to eval, and woken up again."""
    calls = [["head"], ["blocks.1.norm"], None, ["blocks.0"], ["blocks"], [""]]
    found = attempt.run(drivers.freezing, calls, blocks=2)
    block = {i: [f"blocks.{i}{inner}" for inner in INNER] for i in (0, 1)}
    want = [
        ["", "head"],
        ["", "blocks", "blocks.1", "blocks.1.norm"],
        ["", "blocks", *block[0]],
        ["", "blocks", *block[0], *block[1]],
        ["", "embedding", "blocks", *block[0], *block[1], "head"],
    ]
    for trainable, seen, modules in zip([c for c in calls if c is not None], found, want, strict=True):
        agree(seen["training"], modules, of=f"modules in training mode after freeze(model, {trainable})")


@part("freeze")
def test_model_in_eval_stays_in_eval(attempt):
    """In a model that is in eval no module is set to training."""
    found = attempt.run(drivers.freezing, [["head", "blocks.0"], [""]], training=False)
    for trainable, seen in zip((["head", "blocks.0"], [""]), found, strict=True):
        agree(seen["training"], [], of=f"modules in training mode after freeze(model, {trainable}) of a model in eval")


@part("freeze")
def test_tied_weights_follow_either_name(attempt):
    """A parameter with two names is trainable if one of them is inside, and is returned once."""
    calls = [["head"], ["embedding"], ["blocks"], ["head", "embedding"]]
    found = attempt.run(drivers.freezing, calls, blocks=1, tied=True)
    blocks = [name for name in names_of(1, tied=True) if name.startswith("blocks")]
    want = [["embedding.weight"], ["embedding.weight"], blocks, ["embedding.weight"]]
    for trainable, seen, names in zip(calls, found, want, strict=True):
        of = f"freeze(model, {trainable}), where the head's weight is the embedding's"
        agree(seen["trainable"], names, of=f"parameters that require a gradient after {of}")
        agree(seen["given"], names, of=f"the parameters that are returned by {of}")


@part("freeze")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("trainable", [["head"], ["blocks.1", "head"]], ids=str)
def test_frozen_stands_still(attempt, draw, optimizer, trainable):
    """What is frozen moves by no step, decay or momentum of an older optimizer, and its statistics stand still."""
    tokens = draw.integers(0, 5, 7)
    moved = attempt.run(drivers.trained, trainable, optimizer, tokens, 3, 2)
    state = ["running_mean", "running_var", "num_batches_tracked"]
    inside = ["head.weight"]
    if "blocks.1" in trainable:
        inside += [f"blocks.1.{name}" for name in _BLOCK] + [f"blocks.1.norm.{name}" for name in state]
    stray = [name for name in moved if name not in inside]
    assert not stray, (
        f"after freeze(model, {trainable}) two steps with {optimizer} and weight decay, where gradients and momentum "
        f"were left of three steps before, moved {', '.join(stray)}"
    )
    still = [name for name in inside if name not in moved]
    assert not still, f"after freeze(model, {trainable}) two steps with {optimizer} did not move {', '.join(still)}"


@part("freeze")
def test_unfrozen_moves_again(attempt, draw):
    """Called again with other names, it wakes up what was frozen before."""
    tokens = draw.integers(0, 5, 7)
    moved = attempt.run(drivers.trained, ["head"], "sgd", tokens, 1, 2, thaw=["blocks.2", "head"])
    want = {"head.weight", *(f"blocks.2.{name}" for name in _BLOCK), "blocks.2.norm.running_mean"}
    still = sorted(want - set(moved))
    assert not still, f"after freeze(model, ['blocks.2', 'head']), later, a step did not move {', '.join(still)}"
    stray = [name for name in moved if name.startswith(("blocks.0", "blocks.1", "embedding", "scale"))]
    assert not stray, f"after freeze(model, ['blocks.2', 'head']), later, a step moved {', '.join(stray)}"


@part("freeze")
@pytest.mark.parametrize("bad", [["tail"], ["head", "block"], ["head.weight"], ["blocks.2"]], ids=str)
def test_freeze_refuses(attempt, bad):
    """A name that no module has is a ValueError, and nothing has been changed."""
    seen = attempt.run(drivers.refused_freezing, bad)
    of = f"freeze(model, {bad}), of which a name is no module"
    assert "ValueError" in seen["raised"], f"{of}: expected ValueError, got {(seen['raised'] or ['no exception'])[0]}"
    left = [name for name in names_of(2) if not name.startswith("embedding")]
    agree(seen["trainable"], left, of=f"parameters that require a gradient after {of}")
    agree(seen["graded"], names_of(2), of=f"parameters that have a gradient after {of}")
    assert seen["same_modes"], f"{of} changed the mode of a module before it was refused"


@part("freeze")
def test_last_layers_wake_up_first(attempt):
    """Epoch e trains the last 1 + e // every layers, in the order given, until all are trained."""
    layers = ["embedding", "a", "b", "head"]
    rows = [(layers[:n], epochs, every) for n in (1, 2, 4) for epochs in (0, 1, 5, 9) for every in (1, 2, 3)]
    for (names, epochs, every), got in zip(rows, attempt.each("unfreezing_schedule", rows), strict=True):
        want = []
        for epoch in range(epochs):
            count = min(1 + epoch // every, len(names))
            want.append(names[len(names) - count :])
        agree(
            got,
            want,
            of=f"unfreezing_schedule({names}, {epochs}, {every})",
            known={
                "the first layers first": [names[: len(one)] for one in want],
                "one layer at a time alone": [one[:1] for one in want],
                "last layer first in each list": [one[::-1] for one in want],
            },
        )
    want = [layers[3:], layers[2:], layers[1:]]
    agree(attempt.unfreezing_schedule(tuple(layers), 3), want, of="one epoch each by default, for a tuple of layers")


@part("freeze")
@pytest.mark.parametrize("bad", [(3, 0), (3, -1), (-1, 1)], ids=str)
def test_unfreezing_schedule_refuses(attempt, bad):
    """every below 1, or a negative number of epochs, is a ValueError."""
    with refusal(ValueError, of=f"unfreezing_schedule of two layers with epochs, every = {bad}"):
        attempt.unfreezing_schedule(["body", "head"], *bad)


# --- layer_rates ------------------------------------------------------------------------------------------------------


@part("layer_rates")
def test_rates_fall_towards_the_input(attempt, draw):
    """The last layer has the rate, and each one before it that of its neighbour behind, divided by the factor."""
    rate = draw.random.uniform(1e-4, 1e-1)
    for depth, factor in ((0, 2.0), (1, 3.0), (3, 2.0), (7, 1.3), (5, 0.5), (4, 1.0)):
        want = []
        for _ in range(depth):
            want.insert(0, want[0] / factor if want else rate)
        agree(
            attempt.layer_rates(rate, depth, factor),
            want,
            of=f"layer_rates({rate:.4g}, {depth}, {factor})",
            known={
                "rates that fall towards the output": want[::-1],
                "one step too many": [one / factor for one in want],
            },
        )
    agree(attempt.layer_rates(1.0, 3), [1 / 2.6**2, 1 / 2.6, 1.0], of="layer_rates(1.0, 3), with the default factor")
    for factor in (0.0, -2.0, math.nan):
        with refusal(ValueError, of=f"layer_rates with factor {factor}"):
            attempt.layer_rates(1.0, 3, factor)


def triangle(step, steps, rate, share, ratio):
    """Straight lines between three points: (0, low), (cut, rate), (cut / share, low), and low behind them."""
    cut, low = math.floor(steps * share), rate / ratio
    if step <= cut:
        return low + (rate - low) * step / cut
    return max(low, rate - (rate - low) * (step - cut) / (cut / share - cut))


@part("layer_rates")
@pytest.mark.parametrize("case", [(100, 0.1, 32.0), (40, 0.25, 4.0), (29, 0.125, 10.0), (12, 0.125, 5.0)], ids=str)
def test_triangle_climbs_and_falls(attempt, draw, case):
    """From rate/ratio up to the rate at the cut, then down to rate/ratio, and never below."""
    steps, share, ratio = case
    rate = draw.random.uniform(0.01, 1.0)
    got = attempt.each("slanted_triangle", [(step, steps, rate, share, ratio) for step in range(steps + 1)])
    peak = math.floor(steps * share)
    shift = [triangle(step, steps, rate, share, ratio) for step in range(steps + 1)]
    agree(
        torch.tensor(got, dtype=torch.float64),
        torch.tensor(shift, dtype=torch.float64),
        axes="step",
        of=f"slanted_triangle over {steps} steps, cut at {peak}, ratio {ratio}",
        known={
            "the end at 0 instead of rate/ratio": lambda: torch.tensor(
                [rate * (s - rate / ratio) / (rate - rate / ratio) for s in shift], dtype=torch.float64
            ),
            "the fall's length by 1/cut_share": lambda: torch.tensor(
                [s if i < peak else rate * (1 + (1 - (i - peak) * share / peak) * (ratio - 1)) / ratio
                 for i, s in enumerate(shift)], dtype=torch.float64,
            ),
        },
    )  # fmt: skip


@part("layer_rates")
def test_triangle_defaults_and_refusals(attempt):
    """By default the cut is at a tenth and the ratio 32; without a step to climb it is a ValueError."""
    rows = [(0, 50, 2.0), (3, 50, 2.0), (5, 50, 2.0), (30, 50, 2.0), (50, 50, 2.0)]
    want = [triangle(*row, 0.1, 32.0) for row in rows]
    agree(attempt.each("slanted_triangle", rows), want, of="slanted_triangle at steps 0, 3, 5, 30, 50 of 50 by default")
    for steps, share in ((9, 0.1), (0, 0.5), (20, 0.0), (20, 1.0), (20, -0.5), (20, 1.5)):
        with refusal(ValueError, of=f"slanted_triangle over {steps} steps with cut_share {share}"):
            attempt.slanted_triangle(0, steps, 1.0, share)


# --- LoRALinear -------------------------------------------------------------------------------------------------------


def lora_case(draw, dtype="float64", d=7, o=5, r=3, dora=False):
    """A base (o, d) with bias, random A, B and magnitude, an x (2, 11, d)."""
    kind = of_type(dtype)
    state = {"A": draw.normal(r, d, dtype=kind), "B": draw.normal(o, r, dtype=kind)}
    if dora:
        state["magnitude"] = draw.uniform(o, low=0.5, high=3.0, dtype=kind)
    x = draw.normal(2, d, 11, dtype=kind).transpose(1, 2)
    return draw.normal(o, d, dtype=kind), draw.normal(o, dtype=kind), state, x


def lora_weight(weight, state, scale, detach=True):
    """The dense weight that a LoRALinear stands for."""
    dense = weight + scale * state["B"] @ state["A"]
    if "magnitude" not in state:
        return dense
    norm = dense.square().sum(dim=1).sqrt()
    return (state["magnitude"] / (norm.detach() if detach else norm))[:, None] * dense


@part("LoRALinear")
@each_dtype
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_lora_begins_as_the_base(attempt, draw, dtype, dora):
    """At the start it gives what the base gives; it holds base, A, B (and magnitude), of which the base is frozen."""
    weight, bias, _, x = lora_case(draw, dtype)
    seen = attempt.run(drivers.lora_start, weight, bias, 3, 6.0, x, seed_from(draw), dora=dora)
    kind = "DoRA" if dora else "LoRA"
    agree(seen["out"], seen["base"], axes="b t o", of=f"the output of a new LoRALinear ({kind}), against its base's")
    agree(seen["base"], x @ weight.T + bias, axes="b t o", of="the output of the base, afterwards")
    trained = ["A", "B", "magnitude"] if dora else ["A", "B"]
    names = sorted([*trained, "base.weight", "base.bias"])
    agree(sorted(seen["state"]), names, of=f"names of the parameters of a LoRALinear ({kind})")
    agree(seen["buffers"], [], of=f"names of the buffers of a LoRALinear ({kind})")
    agree(seen["trainable"], trained, of="the parameters that require a gradient")
    agree(seen["state"]["B"], torch.zeros(5, 3, dtype=of_type(dtype)), axes="o r", of="B at the start")
    a = seen["state"]["A"]
    agree((a.shape, a.dtype), ((3, 7), of_type(dtype)), of="shape and dtype of A")
    assert bool((a != 0).all()), "A has a 0 at the start: A and B both 0 would never get a gradient"
    if dora:
        want = weight.square().sum(dim=1).sqrt()
        known = {} if not dora else {"all ones": torch.ones_like(want)}
        agree(seen["state"]["magnitude"], want, axes="o", of="magnitude at the start", known=known)
    assert seen["same_base"], "base is not the nn.Linear that was given"
    assert seen["merged"] is False, f"merged is {seen['merged']} at the start"


@part("LoRALinear")
@each_dtype
@pytest.mark.parametrize("biased", [True, False])
def test_lora_adds_its_update(attempt, draw, dtype, biased):
    """y = x·Wᵀ + bias + alpha/r · x·Aᵀ·Bᵀ, whatever axes stand before the last."""
    weight, bias, state, x = lora_case(draw, dtype)
    bias = bias if biased else None
    alpha = draw.random.uniform(1.0, 9.0)

    def want(scale):
        y = x @ lora_weight(weight, state, scale).T
        return y + bias if biased else y

    known = {
        "scale alpha, not alpha / r": lambda: want(alpha),
        "scale 1": lambda: want(1.0),
        "scale alpha / sqrt(r)": lambda: want(alpha / math.sqrt(3)),
        "the base alone": lambda: want(0.0),
    }
    of = f"LoRALinear of rank 3 with alpha {alpha:.3f}, x {tuple(x.shape)}"
    got = attempt.run(drivers.lora_output, weight, bias, state, x, 3, alpha)
    agree(got, want(alpha / 3), axes="b t o", of=of, known=known)
    for rows in (x[0, 0], x[0, :0], x[0]):
        got = attempt.run(drivers.lora_output, weight, bias, state, rows, 3, alpha)
        y = rows @ lora_weight(weight, state, alpha / 3).T
        agree(got, y + bias if biased else y, of=f"LoRALinear of x {tuple(rows.shape)}")


@part("LoRALinear")
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_rank_stabilised_scale(attempt, draw, rank):
    """scale is alpha / sqrt(r) where asked for, else alpha / r; both in `scale` and in the output."""
    weight, bias, state, x = lora_case(draw, r=rank)
    alpha = draw.random.uniform(1.0, 9.0)
    for stabilized, scale in ((True, alpha / rank**0.5), (False, alpha / rank)):
        options = {"rank_stabilized": stabilized}
        seen = attempt.run(drivers.lora_start, weight, bias, rank, alpha, x, 1, **options)
        of = f"rank {rank}, alpha {alpha:.3f}, rank_stabilized={stabilized}"
        agree(seen["scale"], scale, tol=1e-12, of=f"scale of LoRALinear with {of}")
        got = attempt.run(drivers.lora_output, weight, bias, state, x, rank, alpha, **options)
        agree(got, x @ lora_weight(weight, state, scale).T + bias, axes="b t o", of=f"LoRALinear with {of}")


@part("LoRALinear")
def test_first_matrix_is_uniform(attempt, draw):
    """A is uniform in ±1/sqrt(d) at the start, d the layer's inputs."""
    d, rank = 83, 67
    weight = draw.normal(11, d)
    seen = attempt.run(drivers.lora_start, weight, None, rank, 1.0, draw.normal(2, d), seed_from(draw))
    a = seen["state"]["A"]
    agree(list(a.shape), [rank, d], of="the shape of A")
    shares, n = sorted(((a * math.sqrt(d) + 1) / 2).flatten().tolist()), rank * d
    assert float(a.abs().max()) <= 1 / math.sqrt(d) + 1e-9, (
        f"A has an entry of {float(a.abs().max()):.4g}, above 1/sqrt({d})"
    )
    bound = math.sqrt(math.log(2 / ALARM) / (2 * n))  # Dvoretzky, Kiefer, Wolfowitz, Massart
    gap = max(max((i + 1) / n - share, share - i / n) for i, share in enumerate(shares))
    assert gap <= bound, f"A is not uniform in ±1/sqrt({d}): its distribution function is {gap:.3f} off at worst"
    fresh = len(a.abs().unique())  # numbers that are drawn in float32 may meet by chance
    assert fresh > 0.99 * n, f"A has only {fresh} different numbers of {n}, whatever their signs"


@part("LoRALinear")
def test_first_matrix_draws_from_the_generator(attempt, draw):
    """A comes from the generator alone."""
    options = {"seed": seed_from(draw), "of": "A of a new LoRALinear", "alone": False}
    arguments = (draw.normal(5, 13), 3, 1.0)
    hold_generator(attempt, drivers.start_of, "LoRALinear", arguments, ["A"], **options)


@part("LoRALinear")
@each_dtype
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_gradients_reach_the_update_alone(attempt, draw, dtype, dora):
    """x, A and B get their gradients, the base none; DoRA's norm is a constant for the gradient."""
    weight, bias, state, x = lora_case(draw, dtype, dora=dora)
    upstream = draw.normal(2, 11, 5, dtype=of_type(dtype))

    def want(detach=True):
        leaves = {"x": x, **state}
        leaves = {name: value.clone().requires_grad_() for name, value in leaves.items()}
        y = leaves["x"] @ lora_weight(weight, leaves, 4.0 / 3, detach).T + bias
        grads = torch.autograd.grad((y * upstream).sum(), list(leaves.values()))
        return {**dict(zip(leaves, grads, strict=True)), "base.weight": None, "base.bias": None}

    got = attempt.run(drivers.lora_gradients, weight, bias, state, x, upstream, 3, 4.0, dora=dora)
    order = {name: got.get(name) for name in want()}
    known = {"a gradient through the norm, too": lambda: want(detach=False)} if dora else {}
    agree(order, want(), of=f"gradients of LoRALinear ({'DoRA' if dora else 'LoRA'})", known=known)


@part("LoRALinear")
@each_dtype
def test_dora_rescales_rows(attempt, draw, dtype):
    """DoRA: each row of W + scale·B·A gets the length that magnitude says; the bias stays as it is."""
    weight, bias, state, x = lora_case(draw, dtype, dora=True)
    dense = weight + 2.5 * state["B"] @ state["A"]
    columns = (dense * (1 / dense.norm(dim=0))) * state["magnitude"].mean()
    agree(
        attempt.run(drivers.lora_output, weight, bias, state, x, 3, 7.5, dora=True),
        x @ lora_weight(weight, state, 2.5).T + bias,
        axes="b t o",
        of="LoRALinear with dora=True, random magnitude",
        known={
            "LoRA, without a magnitude": lambda: x @ dense.T + bias,
            "a norm of each column": lambda: x @ columns.T + bias,
            "the norm of W alone": lambda: x @ (dense * (state["magnitude"] / weight.norm(dim=1))[:, None]).T + bias,
            "the bias rescaled, too": lambda: (x @ dense.T + bias) * (state["magnitude"] / dense.norm(dim=1)),
        },
    )


@part("LoRALinear")
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_dropout_acts_on_the_update_alone(attempt, draw, dora):
    """In training an input of the update is 0 or x / (1 - p), and the base sees x; in eval there is no dropout."""
    p = draw.random.uniform(0.3, 0.6)
    weight, bias, state, _ = lora_case(draw, d=7, dora=dora)
    n = 900
    x = torch.zeros(n, 7, dtype=torch.float64)
    x[torch.arange(n), torch.arange(n) % 7] = draw.uniform(n, low=1.0, high=2.0)
    options = {"dropout": p, "dora": dora, "seed": draw.random.randrange(2**30)}
    base = x @ weight.T + bias
    update = x @ (lora_weight(weight, state, 2.0) - weight).T
    got = attempt.run(drivers.lora_output, weight, bias, state, x, 3, 6.0, mode="training", **options)
    of = f"LoRALinear in training with dropout {p:.3f}, x with one entry a row"
    agree(list(got.shape), [n, 5], of=f"the shape of {of}")
    kept = (got - base).abs().sum(dim=1) > 1e-6
    agree(
        got,
        base + kept[:, None] * update / (1 - p),
        axes="b o",
        of=of,
        known={
            "dropout on the input of the base, too": lambda: bias + kept[:, None] * (base - bias + update) / (1 - p),
            "what is kept not divided by 1 - p": lambda: base + kept[:, None] * update,
            "no dropout": base + update,
        },
    )
    hold_rate(int(kept.sum()), n, 1 - p, f"inputs that the update keeps at dropout {p:.3f}")
    got = attempt.run(drivers.lora_output, weight, bias, state, x, 3, 6.0, mode="training", grad=False, **options)
    kept = (got - base).abs().sum(dim=1) > 1e-6
    agree(got, base + kept[:, None] * update / (1 - p), axes="b o", of=f"{of}, under no_grad")
    hold_rate(int(kept.sum()), n, 1 - p, f"inputs that the update keeps at dropout {p:.3f}, under no_grad")
    got = attempt.run(drivers.lora_output, weight, bias, state, x, 3, 6.0, mode="eval", **options)
    agree(got, base + update, axes="b o", of=f"LoRALinear in eval with dropout {p:.3f}")


@part("LoRALinear")
def test_dropout_is_drawn_for_each_entry(attempt, draw):
    """Dropout is drawn for each entry of x, independently, and anew in each call."""
    eye = torch.eye(8, dtype=torch.float64)
    state = {"A": eye.clone(), "B": eye.clone()}
    x = torch.ones(1500, 8, dtype=torch.float64)
    options = {"dropout": 0.4, "seed": draw.random.randrange(2**30)}
    got = attempt.run(drivers.lora_twice, 0 * eye, None, state, x, 8, 8.0, **options)
    agree(list(got.shape), [1500, 16], of="the shape of two outputs of LoRALinear of x (1500, 8), side by side")
    of = "entries of a row of x that are dropped at 0.4 in two calls"
    hold_independent(got == 0, 0.4, of, lambda i: f"entry {i % 8} in call {i // 8}")


WAYS = ["plain", "rank-stabilised", "dropout", "merged before"]
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda m: f"{m[0]}, {'with' if m[1] else 'without'} gradients")


def said_of_lora(mode, way):
    return f"{way}, {mode[0]}, {'with' if mode[1] else 'without'} gradients"


@part("LoRALinear")
@each_mode
@pytest.mark.parametrize("way", WAYS)
def test_update_is_cheap(attempt, draw, mode, way):
    """The update costs 2·b·r·(d + o) FLOPs beyond the base's, and makes no tensor of o x d elements."""
    (d, o, r), b = draw.pick([(193, 211, 3), (223, 181, 4)]), 5
    weight, state = draw.normal(o, d), {"A": draw.normal(r, d), "B": draw.normal(o, r)}
    rows = (b, 1) if way in ("rank-stabilised", "merged before") else (b,)
    x, upstream = draw.normal(*rows, d), draw.normal(*rows, o)
    training, grad = mode
    scale = 1 / math.sqrt(r) if way == "rank-stabilised" else 1 / r
    bias, by_x = None if way == "plain" else draw.normal(o), way != "dropout"
    arguments = weight, bias, state, x, upstream, r, training, grad, by_x, way
    got, cost = attempt.cost(drivers.lora_cost, *arguments)
    of = f"LoRALinear ({o}, {d}) of rank {r} on x {(*rows, d)}, {said_of_lora(mode, way)}"
    dense = lora_weight(weight, state, scale)
    agree(got["y"], x @ dense.T + (0.0 if bias is None else bias), of=of)
    if grad and by_x:
        agree(got["x"], upstream @ dense, of=f"the gradient of x of {of}")
    if grad:
        x, upstream = x.reshape(b, d), upstream.reshape(b, o)
        agree(got["A"], scale * (upstream @ state["B"]).T @ x, axes="r d", of=f"the gradient of A of {of}")
        agree(got["B"], scale * upstream.T @ (x @ state["A"].T), axes="o r", of=f"the gradient of B of {of}")
    in_torch(cost, of=of)
    base, branch = 2 * b * o * d, 2 * b * r * (d + o)
    limit = 2 * base + 3 * branch if grad else base + branch
    whole = base + 2 * r * o * d
    at_most(cost.flops, limit, of=f"FLOPs of {of}", known={} if grad else {"one dense weight": whole})
    at_most(cost.largest, o * d // 4, of=f"elements of the largest tensor of {of}", known={"a dense weight": o * d})


@part("LoRALinear")
@each_mode
@pytest.mark.parametrize("way", [*WAYS, "merged"])
def test_update_leaves_nothing_alive(attempt, draw, mode, way):
    """After a call nothing that it made stays alive but y and its graph."""
    weight, state = draw.normal(31, 29), {"A": draw.normal(2, 29), "B": draw.normal(31, 2)}
    x, bias = draw.normal(5, 29), draw.normal(31)
    got, cost = attempt.cost(drivers.lora_keeps, weight, bias, state, x, 2, *mode, way)
    of = f"a call of LoRALinear, {said_of_lora(mode, way)}"
    scale = 1 / math.sqrt(2) if way == "rank-stabilised" else 0.5
    agree(got, x @ lora_weight(weight, state, scale).T + bias, axes="b o", of=of)
    at_most(cost.kept, 0, of=f"bytes that stay alive after {of}, beside y")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd that stay alive after {of}")


@part("LoRALinear")
@pytest.mark.parametrize("mode", ["training", "eval"])
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_update_follows_its_weights(attempt, draw, mode, dora):
    """Each call computes from what W, A, B and magnitude are now: nothing is remembered of the call before."""
    first, second = lora_case(draw, dora=dora), lora_case(draw, dora=dora)
    x = first[3]
    got = attempt.run(drivers.lora_follows, first[:3], second[:3], x, 3, 6.0, mode=mode, dora=dora)
    for seen, (weight, bias, state, _), when in zip(got, (first, second), ("at first", "after"), strict=True):
        of = f"LoRALinear ({'DoRA' if dora else 'LoRA'}), {mode}, {when} its tensors were written to"
        agree(seen, x @ lora_weight(weight, state, 2.0).T + bias, axes="b t o", of=of)


@part("LoRALinear")
def test_state_is_small(attempt, draw):
    """A LoRALinear holds its base, A and B, and no other tensor: when it is new, and after calls in both modes."""
    weight, x = draw.normal(31, 29), draw.normal(5, 29)
    got, cost = attempt.cost(drivers.lora_made, weight, x, 2)
    agree(got, x @ weight.T, axes="b o", of="a new LoRALinear")
    at_most(cost.kept, 0, of="bytes that a LoRALinear holds after calls in both modes, beside its base, A and B")


@part("LoRALinear")
@each_dtype
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_merging_writes_the_update_into_the_weight(attempt, draw, dtype, dora):
    """merge and unmerge change W in place and no output, in any order and any number of times."""
    weight, bias, state, x = lora_case(draw, dtype, dora=dora)
    calls = ["unmerge", "merge", "merge", "unmerge", "unmerge", "merge", "unmerge"]
    options = {"dora": dora, "mode": "eval", "dropout": 0.5}
    seen = attempt.run(drivers.lora_merging, weight, bias, state, x, calls, 3, 5.0, **options)
    dense = lora_weight(weight, state, 5.0 / 3)
    tol = 1e-9 if dtype == "float64" else 1e-4
    for i, (call, now) in enumerate(zip(calls, seen, strict=True)):
        merged = call == "merge"
        of = f"after the calls {calls[: i + 1]}"
        known = {
            "the update, but no magnitude": lambda: weight + 5.0 / 3 * state["B"] @ state["A"],
            "the update twice": lambda: 2 * dense - weight,
            "the update without its scale": lambda: weight + state["B"] @ state["A"],
            "W as it was": weight,
        }
        want = dense if merged else weight
        agree(now["weight"], want, axes="o d", tol=tol, of=f"W {of}", known=known if merged else None)
        agree(now["out"], x @ dense.T + bias, axes="b t o", tol=tol, of=f"the output {of}")
        assert now["merged"] is merged, f"merged is {now['merged']} {of}"
        assert now["in_place"], f"base.weight is another parameter, or lies elsewhere in memory, {of}"
        assert now["frozen"], f"base.weight requires a gradient {of}"
        names = ["A", "B", "base.bias", "base.weight", *(["magnitude"] if dora else [])]
        agree(now["state"], names, of=f"names in the state_dict of the layer {of}")


@part("LoRALinear")
def test_gradients_pass_a_merged_layer(attempt, draw):
    """While merged it is the base's output, and x gets the gradient of that."""
    weight, bias, state, x = lora_case(draw)
    upstream = draw.normal(*x.shape[:-1], 5)
    got = attempt.run(drivers.lora_merged_gradient, weight, bias, state, x, upstream, 3, 6.0)
    want = upstream @ lora_weight(weight, state, 2.0)
    agree(got, want, of="gradient of x of a LoRALinear that is merged")


@part("LoRALinear")
def test_merged_layer_costs_what_the_base_costs(attempt, draw):
    """While merged, a call is the base's: its output, in training mode too, at its FLOPs."""
    weight, state, x = draw.normal(31, 29), {"A": draw.normal(2, 29), "B": draw.normal(31, 2)}, draw.normal(5, 29)
    got, cost = attempt.cost(drivers.merged_cost, weight, state, x, 2)
    agree(got, x @ lora_weight(weight, state, 0.5).T, axes="b o", of="a LoRALinear that is merged")
    in_torch(cost, of="a LoRALinear that is merged")
    at_most(cost.flops, 2 * 5 * 31 * 29, of="FLOPs of a LoRALinear (31, 29) that is merged, on 5 rows")
    bias = draw.normal(31)
    options = {"dropout": 0.5, "mode": "training"}
    [now] = attempt.run(drivers.lora_merging, weight, bias, state, x, ["merge"], 2, 1.0, **options)
    want = x @ lora_weight(weight, state, 0.5).T + bias
    agree(now["out"], want, axes="b o", of="a LoRALinear that is merged, in training mode with dropout 0.5")


@part("LoRALinear")
@pytest.mark.parametrize("rank", [0, -2])
def test_lora_refuses(attempt, draw, rank):
    """A rank below 1 is a ValueError."""
    with refusal(ValueError, of=f"LoRALinear of rank {rank}"):
        attempt.run(drivers.lora_start, draw.normal(5, 7), None, rank, 1.0, draw.normal(2, 7), 1)


# --- Adapter ----------------------------------------------------------------------------------------------------------


def adapter_case(draw, dtype, d=7, m=3):
    kind = of_type(dtype)
    state = {"down.weight": draw.normal(m, d, dtype=kind), "down.bias": draw.normal(m, dtype=kind)}
    state |= {"up.weight": draw.normal(d, m, dtype=kind), "up.bias": draw.normal(d, dtype=kind)}
    return draw.normal(d, d, dtype=kind), state, draw.normal(2, d, 5, dtype=kind).transpose(1, 2)


def adapter_branch(state, z):
    hidden = (z @ state["down.weight"].T + state["down.bias"]).clamp(min=0)
    return hidden @ state["up.weight"].T + state["up.bias"]


@part("Adapter")
@each_dtype
@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_adapter_begins_as_its_layer(attempt, draw, dtype, parallel):
    """At the start it gives what the layer gives; the layer is frozen, down and up are trained; up and biases are 0."""
    weight, _, x = adapter_case(draw, dtype)
    upstream = torch.ones_like(x)
    seen = attempt.run(drivers.adapted, weight, {}, x, upstream, bottleneck=3, parallel=parallel, scale=2.0)
    agree(seen["first"], torch.tanh(x @ weight.T), axes="b t d", of="a new Adapter, against its layer")
    names = ["down.bias", "down.weight", "up.bias", "up.weight"]
    agree(seen["trainable"], names, of="the parameters of an Adapter that require a gradient")
    agree(sorted(seen["start"]), sorted([*names, "layer.inner.weight"]), of="the parameters of an Adapter")
    zeros = {"down.bias": (3,), "up.bias": (7,), "up.weight": (7, 3)}
    for name, shape in zeros.items():
        agree(seen["start"][name], torch.zeros(shape, dtype=of_type(dtype)), of=f"{name} of a new Adapter")
    down = seen["start"]["down.weight"]
    agree((down.shape, down.dtype), ((3, 7), of_type(dtype)), of="shape and dtype of down.weight")
    assert bool((down != 0).all()), "down.weight has a 0 at the start: with down and up both 0 up gets no gradient"
    assert seen["same_layer"], "layer is not the module that was given"


@part("Adapter")
@each_dtype
@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize("scale", [None, 2.5], ids=["scale 1", "scale 2.5"])
def test_adapter_adds_its_branch(attempt, draw, dtype, parallel, scale):
    """Sequential: y + scale·branch(y); parallel: layer(x) + scale·branch(x). Values, and gradients."""
    weight, state, x = adapter_case(draw, dtype)
    upstream = draw.normal(*x.shape, dtype=of_type(dtype))
    options = {"parallel": parallel, **({} if scale is None else {"scale": scale})}
    factor = 1.0 if scale is None else scale
    leaves = {name: value.clone().requires_grad_() for name, value in {"x": x, **state}.items()}

    def want(skip=True, source=parallel, by=factor, act=True):
        y = torch.tanh(leaves["x"] @ weight.T)
        z = leaves["x"] if source else y
        if not act:
            hidden = z @ leaves["down.weight"].T + leaves["down.bias"]
            return y + by * (hidden @ leaves["up.weight"].T + leaves["up.bias"])
        return (y if skip else 0) + by * adapter_branch(leaves, z)

    seen = attempt.run(drivers.adapted, weight, state, x, upstream, bottleneck=3, **options)
    out = want()
    of = f"an Adapter ({'parallel' if parallel else 'sequential'}, scale {factor})"
    known = {
        "no skip around the branch": lambda: want(skip=False).detach(),
        "the branch at the other place": lambda: want(source=not parallel).detach(),
        "no relu": lambda: want(act=False).detach(),
    }
    if factor != 1.0:
        known["no scale"] = lambda: want(by=1.0).detach()
    agree(seen["out"], out.detach(), axes="b t d", of=of, known=known)
    grads = dict(zip(leaves, torch.autograd.grad((out * upstream).sum(), list(leaves.values())), strict=True))
    grads["layer.inner.weight"] = None
    agree({name: seen["gradients"].get(name) for name in grads}, grads, of=f"the gradients of {of}")
    at_most(seen["calls"], 1, of=f"calls of the layer in a call of {of}")


@part("Adapter")
def test_adapter_starts_normal(attempt, draw):
    """down.weight is normal with standard deviation 0.02, from the generator."""
    seed = seed_from(draw)
    start = attempt.run(drivers.starts, "Adapter", (61, 53), "down.weight", seed, 2)
    agree(list(start.shape), [2, 53, 61], of="the shape of down.weight of two adapters from 61 to 53")
    values = start.flatten().double() / 0.02
    n = len(values)
    for kind, got, sd in (
        ("mean", float(values.mean()), 1.0),
        ("mean square", float(values.square().mean()) - 1, math.sqrt(2)),
        ("mean fourth power", float((values**4).mean()) - 3, math.sqrt(96)),
    ):
        assert abs(got) < 8 * sd / math.sqrt(n), f"down.weight / 0.02: its {kind} is off that of a normal by {got:.3f}"
    for far in (1, 2, 3):
        chance, of = math.erfc(far / math.sqrt(2)), f"entries of down.weight further from 0 than {far} · 0.02"
        hold_rate(int((values.abs() > far).sum()), n, chance, of, looks=3)
    options = {"seed": seed, "of": "down.weight of a new Adapter", "alone": False}
    hold_generator(attempt, drivers.start_of, "Adapter", (13, 5), ["down.weight"], **options)


@part("Adapter")
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
def test_adapter_of_now_in_both_modes(attempt, draw, training, parallel):
    """One Adapter, asked of other inputs of that size, of a vector, and under no_grad, gives theirs in both modes."""
    weight, state, x = adapter_case(draw, "float64")
    rows = [x, draw.normal(*x.shape), draw.normal(7)]
    options = {} if not parallel else {"parallel": True}
    got = attempt.run(drivers.adapter_in_turn, weight, state, rows, training, **options)
    for i, one in enumerate(rows):
        y = torch.tanh(one @ weight.T)
        of = f"an Adapter ({'parallel' if parallel else 'sequential'}) in {'training' if training else 'eval'} mode"
        want = y + adapter_branch(state, one if parallel else y)
        agree(got[i], want, of=f"{of}, under no_grad, x {tuple(one.shape)}, call {i + 1}")


# --- prefix_attention -------------------------------------------------------------------------------------------------


def prefix_case(draw, dtype="float64", b=2, h=3, t=7, d=5, e=4, p=3):
    kind = of_type(dtype)
    q, k = (draw.normal(b, h, d, t, dtype=kind).transpose(2, 3) for _ in range(2))
    v = draw.normal(b, h, t, e, dtype=kind)
    return q, k, v, draw.normal(h, p, d, dtype=kind), draw.normal(h, p, e, dtype=kind)


def part_of_attention(q, k, v, causal, scale=None):
    """Attention over these keys alone, and the log of the sum of its exponentials."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return scores.softmax(dim=-1) @ v, scores.logsumexp(dim=-1)


def merged(q, k, v, prefix_k, prefix_v, causal=True, scale=None):
    """Two attentions, over the prefix and over the sequence, merged by their log-sum-exps: as flash attention does."""
    own, own_log = part_of_attention(q, k, v, causal, scale)
    extra, extra_log = part_of_attention(q, prefix_k, prefix_v, False, scale)
    weight = torch.sigmoid(extra_log - own_log)
    return weight[..., None] * extra + (1 - weight[..., None]) * own, weight


@part("prefix_attention")
def test_every_query_sees_the_whole_prefix(attempt):
    """With scores of 0 the prefix has the share p / (p + keys seen): 3/4 for query 0, 3/5 for query 1."""
    zeros, ones = torch.zeros(1, 2, 4, 5), torch.ones(1, 2, 4, 1)
    got = attempt.prefix_attention(zeros, zeros, ones, torch.zeros(2, 3, 5), torch.zeros(2, 3, 1))
    share = torch.tensor([3 / 4, 3 / 5, 3 / 6, 3 / 7]).expand(1, 2, 4)
    hidden = torch.tensor([1 / 2, 2 / 4, 3 / 6, 3 / 7]).expand(1, 2, 4)
    agree(
        got,
        (1 - share[..., None], share),
        of="prefix_attention with scores of 0, values 0 in the prefix of 3 and 1 elsewhere",
        known={"a causal mask that hides some of the prefix": (1 - hidden[..., None], hidden)},
    )


@part("prefix_attention")
@each_dtype
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "not causal"])
def test_prefix_is_a_merge_of_two_attentions(attempt, draw, dtype, causal):
    """out = weight·Attn(prefix) + (1 - weight)·Attn(sequence), where weight comes from the two log-sum-exps."""
    case = prefix_case(draw, dtype)
    q, k, v, prefix_k, prefix_v = case
    plain = part_of_attention(q, k, v, causal)[0]
    agree(
        attempt.prefix_attention(*case, causal),
        merged(*case, causal),
        of=f"prefix_attention of q (2, 3, 7, 5) with a prefix of 3, {'causal' if causal else 'not causal'}",
        known={
            "no scale 1/sqrt(d)": lambda: merged(*case, causal, scale=1.0),
            "the other mask": lambda: merged(*case, not causal),
            "attention without the prefix": lambda: (plain, torch.zeros_like(plain[..., 0])),
            "each softmax on its own, added up": lambda: (
                plain + part_of_attention(q, prefix_k, prefix_v, False)[0],
                merged(*case, causal)[1],
            ),
        },
    )


@part("prefix_attention")
def test_prefix_attention_is_causal_by_default(attempt, draw):
    """Without a word about it attention is causal, whatever the lengths of prefix and sequence are."""
    for p, t in ((1, 1), (5, 2), (2, 6), (4, 4)):
        case = prefix_case(draw, t=t, p=p)
        agree(attempt.prefix_attention(*case), merged(*case), of=f"prefix_attention with a prefix of {p}, {t} tokens")


@part("prefix_attention")
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "not causal"])
def test_empty_prefix(attempt, draw, causal):
    """A prefix of no places has weight 0 and leaves attention as it is."""
    case = prefix_case(draw, p=0)
    plain = part_of_attention(*case[:3], causal)[0]
    agree(attempt.prefix_attention(*case, causal), (plain, plain.new_zeros(2, 3, 7)), of="prefix_attention, p = 0")


@part("prefix_attention")
@each_dtype
def test_large_scores_stay_finite(attempt, draw, dtype):
    """Scores of 10,000, of either sign, in the prefix and in the sequence, give no Inf or NaN."""
    for own, extra in itertools.product((1.0, -1.0), repeat=2):
        q, k, v, prefix_k, prefix_v = prefix_case(draw, dtype)
        q, k = q.abs() * 100 + 100, own * (k.abs() * 100 + 100)
        case = (q, k, v, extra * (prefix_k.abs() * 100 + 100), prefix_v)
        of = f"prefix_attention, scores {own:+.0f} · 10,000, in the prefix {extra:+.0f} · 10,000"
        agree(attempt.prefix_attention(*case), merged(*case), of=of)


@part("prefix_attention")
def test_gradients_reach_prefix_and_sequence(attempt, draw):
    """Gradients of out and of weight reach q, k, v and the prefix, whose gradient is a sum over the batch."""
    case = prefix_case(draw)
    upstream, weights = draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7)
    for causal in (True, False):
        leaves = [value.clone().requires_grad_() for value in case]
        out, weight = merged(*leaves, causal)
        want = torch.autograd.grad((out * upstream).sum() + (weight * weights).sum(), leaves)
        one = torch.tensor(1.0, dtype=torch.float64)
        total, grads = attempt.gradients(drivers.prefix_sum, *case, upstream, weights, causal, upstream=one)
        agree(
            total,
            ((out * upstream).sum() + (weight * weights).sum()).detach(),
            of="a sum of what prefix_attention gives",
        )
        names = ("q", "k", "v", "prefix_k", "prefix_v")
        agree(
            dict(zip(names, grads[:5], strict=True)),
            dict(zip(names, want, strict=True)),
            of=f"gradients of prefix_attention, {'causal' if causal else 'not causal'}",
        )


@part("prefix_attention")
@each_dtype
def test_soft_prompt_stands_in_front(attempt, draw, dtype):
    """The prompt is copied out of the table, stands in front of every example, and has no labels."""
    kind = of_type(dtype)
    table = draw.normal(11, 5, dtype=kind)
    x, labels = draw.normal(3, 7, 5, dtype=kind), draw.integers(0, 11, 3, 7)
    upstream = draw.normal(3, 11, 5, dtype=kind)
    seen = attempt.run(drivers.prompted, table, 4, x, labels, upstream, seed_from(draw))
    agree(list(seen["state"]), ["prompt"], of="the names in the state_dict of a SoftPrompt")
    prompt = seen["state"]["prompt"]
    agree((prompt.shape, prompt.dtype), ((4, 5), kind), of="shape and dtype of a prompt of 4")
    rows = [int((table - row).abs().sum(dim=1).argmin()) for row in prompt]
    agree(prompt, table[rows], axes="p d", of="a new prompt, against the nearest rows of the table")
    agree(len(set(rows)), 4, of="how many different rows of the table a prompt of 4 begins with")
    agree(seen["x"], torch.cat([prompt.expand(3, -1, -1), x], dim=1), axes="b t d", of="x with its prompt in front")
    want = torch.cat([torch.full((3, 4), -100), labels], dim=1)
    agree(seen["labels"], want, axes="b t", of="labels behind a prompt of 4")
    agree(seen["gradient"], upstream[:, :4].sum(dim=0), axes="p d", of="the gradient of the prompt")
    agree(seen["x_gradient"], upstream[:, 4:], axes="b t d", of="the gradient of x behind a prompt of 4")
    agree(seen["table"], table, axes="v d", of="the table, after the prompt was written to")
    assert seen["table_trains"], "the table requires no gradient any more"
    assert seen["table_gradient"] is None, "the table got a gradient: the prompt is a copy, and is trained alone"


@part("prefix_attention")
def test_soft_prompt_begins_anywhere_in_the_table(attempt, draw):
    """Each ordered choice of p different rows of the table is equally likely, and drawn from the generator."""
    for rows, length, count in ((4, 2, 2000), (3, 3, 600)):
        table = torch.arange(float(rows))[:, None].expand(rows, 2).contiguous()
        start = attempt.run(drivers.starts, "SoftPrompt", (table, length), "prompt", seed_from(draw), count)
        agree(list(start.shape), [count, length, 2], of=f"the shape of {count} prompts of {length} places and width 2")
        seen = [tuple(int(number) for number in one) for one in start[:, :, 0].tolist()]
        of = f"rows that a prompt of {length} begins with, of {rows}"
        hold_uniform(seen, list(itertools.permutations(range(rows), length)), of)
    options = {"seed": seed_from(draw), "of": "a new SoftPrompt"}
    hold_generator(attempt, drivers.start_of, "SoftPrompt", (draw.normal(89, 3), 5), ["prompt"], **options)


@part("prefix_attention")
def test_soft_prompt_of_other_lengths(attempt, draw):
    """A prompt may have no places or all rows of the table; more, or fewer than none, is a ValueError."""
    table, x, labels = draw.normal(3, 5), draw.normal(2, 4, 5), draw.integers(0, 9, 2, 4)
    for length in (0, 3):
        upstream = torch.ones(2, 4 + length, 5, dtype=torch.float64)
        seen = attempt.run(drivers.prompted, table, length, x, labels, upstream, seed_from(draw))
        agree(seen["x"][:, length:], x, axes="b t d", of=f"x behind a prompt of {length}")
        want = torch.cat([torch.full((2, length), -100), labels], dim=1)
        agree(seen["labels"], want, axes="b t", of=f"labels behind a prompt of {length}")
    for length in (4, -1):
        with refusal(ValueError, of=f"a SoftPrompt of {length} places from a table of 3 rows"):
            attempt.run(drivers.prompted, table, length, x, labels, torch.ones(2, 1, 1), 1)


@part("prefix_attention")
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_soft_prompt_of_now_in_both_modes(attempt, draw, training):
    """One SoftPrompt, asked of other inputs of the same sizes, and under no_grad, gives theirs in both modes."""
    rows = [(draw.normal(3, 4, 5), draw.integers(0, 9, 3, 4)) for _ in range(2)]
    prompt, got = attempt.run(drivers.prompts_in_turn, draw.normal(11, 5), rows, training)
    for i, (x, labels) in enumerate(rows):
        want = torch.cat([prompt.expand(3, -1, -1), x], dim=1), torch.cat([torch.full((3, 2), -100), labels], dim=1)
        agree(got[i], want, of=f"SoftPrompt in {'training' if training else 'eval'} mode, under no_grad, call {i + 1}")


@part("prefix_attention")
def test_other_prefixes_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [
        (
            draw.normal(2, 3, 7, 5),
            draw.normal(2, 3, 7, 5),
            draw.normal(2, 3, 7, 4),
            draw.normal(3, 3, 5),
            draw.normal(3, 3, 4),
            True,
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "prefix_attention", *asked, of="prefix_attention of q (2, 3, 7, 5)", views=False)


# --- fisher_penalty ---------------------------------------------------------------------------------------------------


@part("fisher_penalty")
@each_dtype
def test_fisher_of_softmax_regression(attempt, draw, dtype):
    """For logits W·x + b the Fisher of W[k, j] is the mean of x_j²·p_k·(1 - p_k): its closed form."""
    kind = of_type(dtype)
    weight, bias, x = draw.normal(3, 5, dtype=kind), draw.normal(3, dtype=kind), draw.normal(7, 5, dtype=kind)
    p = (x @ weight.T + bias).softmax(dim=1)
    spread = p * (1 - p)
    want = {"weight": spread.T @ x**2 / 7, "bias": spread.mean(dim=0)}
    mean = p - torch.nn.functional.one_hot(p.argmax(dim=1), 3)
    agree(
        attempt.run(drivers.linear_fisher, weight, bias, x),
        want,
        of="fisher_diagonal of softmax regression, 5 inputs, 3 classes, 7 examples",
        known={
            "the sum over the examples": lambda: {name: 7 * value for name, value in want.items()},
            "the likeliest label alone": lambda: {"weight": (mean**2).T @ x**2 / 7, "bias": (mean**2).mean(dim=0)},
            "the square of the mean gradient of the likeliest label": lambda: {
                "weight": (mean.T @ x / 7) ** 2,
                "bias": mean.mean(dim=0) ** 2,
            },
            "classes not weighed by P": lambda: {
                "weight": (1 - 2 * p + 3 * p**2).T @ x**2 / 7,
                "bias": (1 - 2 * p + 3 * p**2).mean(dim=0),
            },
            "the mean over the classes": lambda: {name: value / 3 for name, value in want.items()},
        },
    )
    sure = attempt.run(drivers.linear_fisher, weight, bias + torch.tensor([0.0, 2000.0, -2000.0], dtype=kind), x)
    zeros = {name: 0 * value for name, value in want.items()}
    agree(sure, zeros, of="fisher_diagonal of a model that gives one class the probability 1, two of them 0")
    one = attempt.run(drivers.linear_fisher, weight[:1], bias[:1], x)
    zeros = {name: value[:1] for name, value in zeros.items()}
    agree(one, zeros, of="fisher_diagonal of softmax regression with one class, whose probability is always 1")


def network_case(draw, h=4, d=5, c=3, n=6):
    return [draw.normal(h, d), draw.normal(h), draw.normal(c, h)], draw.normal(n, d)


def fisher_of_network(parts, x, noisy=False):
    """By hand: log P(c) has the gradient onehot(c) - p for the logits, and from there the chain rule."""
    first, bias, second = parts
    hidden = torch.tanh(x @ first.T + bias)
    top = hidden / math.sqrt(1 + 1e-5) if noisy else hidden  # BatchNorm in eval, with its first statistics
    p = (top @ second.T).softmax(dim=1)
    want = {"first": 0.0, "bias": 0.0, "second": 0.0}
    for c in range(p.shape[1]):
        error = -p.clone()
        error[:, c] += 1
        back = error @ second * (1 - hidden**2) / (math.sqrt(1 + 1e-5) if noisy else 1)
        weigh = p[:, c] / len(x)
        want["first"] = want["first"] + torch.einsum("n,nh,nd->hd", weigh, back**2, x**2)
        want["bias"] = want["bias"] + torch.einsum("n,nh->h", weigh, back**2)
        want["second"] = want["second"] + torch.einsum("n,nc,nh->ch", weigh, error**2, top**2)
    return {**want, "unused": torch.zeros(3, dtype=x.dtype)}


@part("fisher_penalty")
def test_fisher_of_a_network(attempt, draw):
    """Through a hidden layer too, a gradient is squared for each example and class; what is not used gets 0."""
    parts, x = network_case(draw)
    for rows in (x, x[:1]):
        seen = attempt.run(drivers.network_fisher, parts, rows)
        want = fisher_of_network(parts, rows)
        agree(seen["fisher"], want, of=f"fisher_diagonal of a network with a hidden layer, {len(rows)} examples")
        assert not any(seen["graphs"]), "a result of fisher_diagonal carries a graph"


@part("fisher_penalty")
def test_fisher_leaves_the_model_alone(attempt, draw):
    """It runs in eval, without dropout or new statistics; modes, gradients and values stay; under no_grad, too."""
    parts, x = network_case(draw)
    for no_grad in (False, True):
        seen = attempt.run(drivers.network_fisher, parts, x, noisy=True, no_grad=no_grad)
        of = f"fisher_diagonal of a network with BatchNorm and dropout{', under no_grad' if no_grad else ''}"
        agree(seen["fisher"], fisher_of_network(parts, x, noisy=True), of=of)
        for what in ("modes", "grads", "values", "flags"):
            said = {"modes": "the mode of a module", "grads": "a .grad", "values": "a value", "flags": "requires_grad"}
            assert seen[what], f"{of} left {said[what]} other than it was"


@part("fisher_penalty")
def test_fisher_of_what_is_trained(attempt, draw):
    """Frozen parameters are left out, be they all that the logits depend on."""
    parts, x = network_case(draw)
    want = fisher_of_network(parts, x)
    for frozen in (["first", "unused"], ["first", "bias", "second"]):
        seen = attempt.run(drivers.network_fisher, parts, x, frozen=frozen)
        trained = {name: value for name, value in want.items() if name not in frozen}
        agree(seen["fisher"], trained, of=f"fisher_diagonal of a network of which {', '.join(frozen)} are frozen")


def penalty_case(draw, dtype="float64"):
    shapes = {"a": (3, 4), "b": (5,), "new": (2, 3)}
    values = {name: draw.normal(*shape, dtype=of_type(dtype)) for name, shape in shapes.items()}
    anchor = {name: draw.normal(*shapes[name], dtype=of_type(dtype)) for name in ("b", "a")}
    fisher = {name: draw.uniform(*shapes[name], low=0.1, high=4.0, dtype=of_type(dtype)) for name in ("a", "b")}
    return values, anchor, fisher


@part("fisher_penalty")
@each_dtype
@pytest.mark.parametrize("kind", ["EWC", "L2-SP"])
def test_penalty_of_leaving_the_anchor(attempt, draw, dtype, kind):
    """strength/2 · Σ F·(θ - θ*)², F = 1 without a Fisher; gradients reach the model alone."""
    values, anchor, fisher = penalty_case(draw, dtype)
    strength = draw.random.uniform(0.5, 3.0)
    weigh = fisher if kind == "EWC" else {name: torch.ones_like(value) for name, value in fisher.items()}
    gap = {name: values[name] - anchor[name] for name in ("a", "b")}
    total = sum((weigh[name] * gap[name] ** 2).sum() for name in gap)
    seen = attempt.run(drivers.penalty, values, anchor, strength, fisher if kind == "EWC" else None)
    known = {
        "no half": strength * total,
        "without its strength": total / 2,
        "F squared": lambda: strength / 2 * sum((weigh[n] ** 2 * gap[n] ** 2).sum() for n in gap),
        "a mean instead of a sum": lambda: strength / 2 * total / 17,
        "distances instead of their squares": lambda: strength / 2 * sum((weigh[n] * gap[n].abs()).sum() for n in gap),
    }
    if kind == "EWC":
        known["F = 1"] = lambda: strength / 2 * sum((gap[n] ** 2).sum() for n in gap)
        known.pop("F squared")
    else:
        known.pop("F squared")
    agree(seen["loss"], strength / 2 * total, of=f"fisher_penalty ({kind}), strength {strength:.3f}", known=known)
    grads = {name: strength * weigh[name] * gap[name] for name in gap}
    got = {name: seen["gradients"][name] for name in grads}
    agree(got, grads, of=f"gradients of fisher_penalty ({kind})")
    new = seen["gradients"]["new"]
    assert new is None or not new.any(), "a parameter that the anchor does not name is pulled with new_strength 0"
    assert all(seen["others"]), "anchor or fisher got a gradient"


@part("fisher_penalty")
def test_penalty_of_new_parameters(attempt, draw):
    """new_strength/2 · Σ θ² over what the anchor does not name; frozen parameters are left out, of all 0 is left."""
    values, anchor, fisher = penalty_case(draw)
    old = {name: fisher[name] * (values[name] - anchor[name]) ** 2 for name in fisher}
    new = values["new"].square().sum()
    rows = [
        ((), old["a"].sum() + old["b"].sum(), new),
        (("a",), old["b"].sum(), new),
        (("new", "b"), old["a"].sum(), 0),
    ]
    for frozen, first, second in rows:
        got = attempt.run(drivers.penalty, values, anchor, 3.0, fisher, frozen, new_strength=0.7)
        want = 1.5 * first + 0.35 * second
        agree(got["loss"], want, of=f"fisher_penalty with new_strength 0.7, frozen: {list(frozen)}")
        for name in frozen:
            assert got["gradients"][name] is None, f"{name} is frozen, and got a gradient"
    got = attempt.run(drivers.penalty, values, anchor, 3.0, fisher, ("a", "b", "new"), new_strength=0.7)
    agree(got["loss"], 0 * new, of="fisher_penalty of a model of which all is frozen")
    got = attempt.run(drivers.penalty, values, {}, 3.0, None, (), new_strength=2.0)
    agree(got["loss"], sum(v.square().sum() for v in values.values()), of="fisher_penalty with an empty anchor")
    got = attempt.run(drivers.penalty, values, anchor, 3.0, fisher, (), tied=True, new_strength=0.7)
    want = 1.5 * (old["a"].sum() + old["b"].sum()) + 0.35 * new
    agree(got["loss"], want, of="fisher_penalty of a model that has each parameter under two names")
    known = {name: values[name] for name in anchor}
    got = attempt.run(drivers.penalty, known, anchor, 3.0, fisher, (), new_strength=0.7)
    agree(got["loss"], 1.5 * (old["a"].sum() + old["b"].sum()), of="fisher_penalty with an anchor for all parameters")


@part("fisher_penalty")
def test_penalty_refuses(attempt, draw):
    """A name that the model has not, or a Fisher of other names than the anchor, is a ValueError."""
    values, anchor, fisher = penalty_case(draw)
    with refusal(ValueError, of="fisher_penalty with an anchor for 'c', which is a buffer of the model"):
        attempt.run(drivers.penalty, values, {**anchor, "c": anchor["a"]}, 1.0)
    with refusal(ValueError, of="fisher_penalty with a Fisher of one of two anchored parameters"):
        attempt.run(drivers.penalty, values, anchor, 1.0, {"a": fisher["a"]})
    with refusal(ValueError, of="fisher_penalty with a Fisher of one parameter more than the anchor"):
        attempt.run(drivers.penalty, values, {"a": anchor["a"]}, 1.0, fisher)
    with refusal(ValueError, of="fisher_penalty with a Fisher of no parameter, {}, and an anchor of two"):
        attempt.run(drivers.penalty, values, anchor, 1.0, {})


@part("fisher_penalty")
def test_reservoir_fills_up(attempt, draw):
    """The first items are all kept; from then on it holds `capacity` of the items added, none twice."""
    items = ["a", 2, 3.5, None, "b", "c", 7, 8]
    for capacity in (1, 3, 8, 9):
        held, seen = attempt.run(drivers.remembered, capacity, items, seed_from(draw))
        agree(seen, list(range(9)), of=f"seen of a Reservoir of capacity {capacity}, before and after eight adds")
        for count, now in enumerate(held):
            of = f"a Reservoir of capacity {capacity} after {count} adds"
            agree(len(now), min(count, capacity), of=f"how many items there are in {of}")
            places = [items.index(item) if item in items else -1 for item in now]
            assert all(0 <= place < count for place in places), f"{of} holds {now}, of {items[:count]}"
            agree(len(set(places)), len(now), of=f"how many different items there are in {of}")


@part("fisher_penalty")
def test_reservoir_forgets_nobody(attempt, draw):
    """Each set of `capacity` of the items added is equally likely, the first and the last alike."""
    for capacity, count in draw.pick([((2, 3), (2, 5), (3, 6)), ((1, 5), (3, 5), (2, 6))]):
        found = attempt.run(drivers.memories, capacity, count, 2500, seed_from(draw))
        sets = list(itertools.combinations(range(count), capacity))
        of = f"what a Reservoir of capacity {capacity} holds of {count} items"
        hold_uniform([tuple(one) for one in found], sets, of)
    found = attempt.run(drivers.memories, 5, 300, 60, seed_from(draw))
    late = sum(item >= 150 for one in found for item in one)
    hold_rate(late, 5 * 60, 0.5, "items of a Reservoir of 5 of 300 items that came in the second half")
    found = attempt.run(drivers.memories, 40, 3000, 12, seed_from(draw))
    late = sum(item >= 1500 for one in found for item in one)
    hold_rate(late, 40 * 12, 0.5, "items of a Reservoir of 40 of 3,000 items that came in the second half")


@part("fisher_penalty")
def test_reservoir_holds_equal_items_as_others(attempt, draw):
    """An item that is added again counts each time: of four equal ones and two others any three may be held."""
    found = attempt.run(drivers.equal_memories, 3, "xxyxzx", 2500, seed_from(draw))
    for held, chance in (("xxx", 4 / 20), ("xxy", 6 / 20), ("xxz", 6 / 20), ("xyz", 4 / 20)):
        of = f"Reservoirs of capacity 3 of x, x, y, x, z, x that hold {', '.join(held)}"
        hold_rate(sum(one == held for one in found), 2500, chance, of, looks=4)


@part("fisher_penalty")
def test_reservoir_draws_from_the_generator(attempt, draw):
    """All randomness of a Reservoir comes from its generator."""
    hold_generator(attempt, drivers.memory_drawn, 7, 200, seed=seed_from(draw), of="a Reservoir of 7 of 200 items")


@part("fisher_penalty")
def test_reservoir_keeps_its_items_alone(attempt, draw):
    """Items are held as they are, not copied, and no others stay alive."""
    alive, same = attempt.run(drivers.still_alive, 3, 40, seed_from(draw))
    assert same, "a Reservoir holds another object than the one that was added"
    at_most(alive, 3, of="tensors of 40 that are alive after they went through a Reservoir of 3")


@part("fisher_penalty")
@pytest.mark.parametrize("capacity", [0, -1])
def test_reservoir_refuses(attempt, capacity):
    """A capacity below 1 is a ValueError."""
    with refusal(ValueError, of=f"a Reservoir of capacity {capacity}"):
        attempt.run(drivers.remembered, capacity, [1], 1)


@part("fisher_penalty")
def test_fisher_of_tokens_and_of_other_ones(attempt, draw):
    """Inputs may be whole numbers, as the model takes them; a second call is about its own inputs."""
    table, head = draw.normal(7, 3), draw.normal(4, 3)
    rows = [draw.permutation(7)[:5] for _ in range(2)]
    rows[1] = rows[1].where(rows[1] != rows[0], (rows[1] + 1) % 7)
    got = attempt.run(drivers.fishers_in_turn, table, head, rows)
    for i, tokens in enumerate(rows):
        p = (table[tokens] @ head.T).softmax(dim=1)  # (n, c)
        of_logits = torch.diag_embed(p) - p[:, :, None] * p[:, None]  # of the Fisher, by the logits: (n, c, c)
        of_rows = torch.einsum("ncd,cj,dj->nj", of_logits, head, head) / len(tokens)
        want = {"table": torch.zeros(7, 3, dtype=torch.float64).index_add(0, tokens, of_rows)}
        want["head"] = torch.einsum("ncc,nj->cj", of_logits, table[tokens].square()) / len(tokens)
        agree(got[i], want, of=f"fisher_diagonal of a classifier of 5 tokens, call {i + 1} with one model")


@part("fisher_penalty")
def test_penalty_of_now(attempt, draw):
    """One model, asked with another anchor, and after it has moved, has the penalty of then."""
    values, anchor, _ = penalty_case(draw)
    anchors = [anchor, {name: value + draw.normal(*value.shape) for name, value in anchor.items()}]
    got = attempt.run(drivers.penalties_in_turn, values, anchors, 1.5)
    for i, (one, step) in enumerate(((anchors[0], 0), (anchors[1], 0), (anchors[1], 1))):
        want = 1.5 / 2 * sum((values[name] + step - one[name]).square().sum() for name in one)
        agree(got[i], want, of=f"fisher_penalty (L2-SP), call {i + 1} with one model")


# --- task_mixture -----------------------------------------------------------------------------------------------------


def mixture(sizes, limit, temperature):
    logs = [math.log(min(size, limit)) / temperature for size in sizes]
    total = math.log(sum(math.exp(log - max(logs)) for log in logs)) + max(logs)
    return [math.exp(log - total) for log in logs]


@part("task_mixture")
def test_mixture_clips_and_flattens(attempt, draw):
    """Shares are min(size, limit) to the power 1/T, normalised; plain floats."""
    sizes = [draw.random.randrange(10, 10_000) for _ in range(5)] + [1_000_000]
    rows = [(sizes, limit, t) for limit in (math.inf, 5_000, 9) for t in (1.0, 2.0, 0.5, 3.7)]
    found, types = attempt.run(drivers.typed_mixture, [*rows, (sizes[:1], 3.0, 2.0)])
    agree(types, ["float"], of="the types of what task_mixture gives")
    for (row, limit, t), got in zip([*rows, (sizes[:1], 3.0, 2.0)], found, strict=True):
        late = mixture(row, math.inf, t)
        agree(
            got,
            mixture(row, limit, t),
            tol=1e-9,
            of=f"task_mixture({row}, {limit}, {t})",
            known={
                "the power T instead of 1/T": lambda row=row, limit=limit, t=t: mixture(row, limit, 1 / t),
                "no limit": late,
                "equal shares": [1 / len(row)] * len(row),
                "the limit as the least size": lambda row=row, limit=limit, t=t: mixture(
                    [max(size, limit) for size in row], math.inf, t
                ),
            }
            if len(row) > 1
            else None,
        )
    agree(attempt.task_mixture([3, 9]), [0.25, 0.75], of="task_mixture([3, 9]) by default")


@part("task_mixture")
def test_mixture_at_extreme_temperatures(attempt):
    """T = inf draws all tasks equally often; however small T is, nothing overflows."""
    rows = [([10, 1000, 7], math.inf, math.inf), ([10**6, 10**9], math.inf, 1e-3), ([10**6, 10**6], math.inf, 1e-4)]
    wants = [[1 / 3] * 3, [0.0, 1.0], [0.5, 0.5]]
    for row, want, got in zip(rows, wants, attempt.each("task_mixture", rows), strict=True):
        agree(got, want, tol=1e-9, of=f"task_mixture{row}")


@part("task_mixture")
@pytest.mark.parametrize(
    "bad", [([], 9, 1.0), ([3, 0], 9, 1.0), ([3, -2], 9, 1.0), ([3, 4], 0, 1.0), ([3, 4], 9, 0.0), ([3, 4], 9, -1.0),
     ([3, 4], math.nan, 1.0), ([3, 4], 9, math.nan)],
    ids=str,
)  # fmt: skip
def test_mixture_refuses(attempt, bad):
    """No task, or a size, limit or temperature that is not above 0, is a ValueError."""
    with refusal(ValueError, of=f"task_mixture{bad}"):
        attempt.task_mixture(*bad)


@part("task_mixture")
@each_dtype
def test_uncertainty_weighs_losses(attempt, draw, dtype):
    """Σ 1/2·(exp(-s)·loss + s), with gradients to the losses and to s, which are 0 at exp(s) = loss."""
    kind = of_type(dtype)
    losses, s = draw.uniform(5, low=0.2, high=4.0, dtype=kind), draw.normal(5, dtype=kind)
    upstream = torch.tensor(1.3, dtype=kind)
    loss, grads = attempt.gradients("uncertainty_loss", losses, s, upstream=upstream)
    agree(
        loss,
        ((losses / s.exp()).sum() + s.sum()) / 2,
        of="uncertainty_loss of five tasks",
        known={
            "no half": (losses / s.exp()).sum() + s.sum(),
            "the variance itself as the weight": lambda: ((losses * s.exp()).sum() + s.sum()) / 2,
            "weights alone, without their price": lambda: (losses / s.exp()).sum() / 2,
            "s as log σ instead of log σ²": lambda: (losses / (2 * s).exp()).sum() / 2 + s.sum(),
            "a mean over tasks": lambda: ((losses / s.exp()).sum() + s.sum()) / 10,
        },
    )
    agree(grads[0], 0.65 * (-s).exp(), axes="task", of="the gradient of uncertainty_loss for the losses")
    agree(grads[1], 0.65 * (1 - losses / s.exp()), axes="task", of="the gradient of uncertainty_loss for s")
    cases = [(losses, s), (losses + 1, s), (losses + 1, s - 1), (losses, 5 * s)]
    for (of_each, t), got in zip(cases, attempt.each("uncertainty_loss", cases), strict=True):
        want = ((of_each / t.exp()).sum() + t.sum()) / 2
        agree(got, want, of="uncertainty_loss of five tasks once more, with other losses or other s")


def projected(gradients, orders):
    """PCGrad with these orders of the other tasks, one for each task."""
    total = torch.zeros_like(gradients[0])
    for i, order in enumerate(orders):
        g = gradients[i].clone()
        for j in order:
            along = torch.dot(g, gradients[j])
            if along < 0:
                g = g - along / torch.dot(gradients[j], gradients[j]) * gradients[j]
        total = total + g
    return total


@part("task_mixture")
@each_dtype
def test_conflicts_of_two_tasks(attempt, draw, dtype):
    """Of two gradients that conflict each loses what goes against the other; others are added up as they are."""
    kind = of_type(dtype)
    a = draw.normal(7, dtype=kind)
    b = draw.normal(7, dtype=kind)
    b = b - (b @ a) / (a @ a) * a - draw.random.uniform(0.3, 0.8) * a
    pair = torch.stack([a, 2 * b])
    got = attempt.run(drivers.one, "project_conflicts", pair, seed=seed_from(draw))
    agree(
        got,
        projected(pair, [[1], [0]]),
        axes="n",
        of="project_conflicts of two gradients that conflict",
        known={
            "the plain sum": pair.sum(dim=0),
            "the mean": projected(pair, [[1], [0]]) / 2,
            "one gradient alone projected": lambda: projected(pair, [[1], []]),
            "not divided by the squared norm": lambda: pair.sum(dim=0) - (pair[0] @ pair[1]) * pair.sum(dim=0),
            "projected onto itself": lambda: projected(pair, [[1], [0]]) - pair.sum(dim=0),
        },
    )
    for rows, of in (
        (torch.stack([a, -b]), "two gradients that agree"),
        (a[None], "one task"),
        (torch.stack([a, 0 * a, b]), "three gradients, one of which is 0"),
        (torch.stack([a, -a]), "two opposite gradients"),
        (1e-8 * pair, "two gradients that conflict, of size 1e-8"),
    ):
        if len(rows) == 3:
            want = projected(rows, [[2], [], [0]])
        else:
            want = projected(rows, [[j for j in range(len(rows)) if j != i] for i in range(len(rows))])
        got = attempt.run(drivers.one, "project_conflicts", rows, seed=seed_from(draw))
        agree(got, want, axes="n", of=f"project_conflicts of {of}")


def four_conflicts(draw):
    """Four gradients (4, 5), each against all others: corners of a tetrahedron, moved a little."""
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    corners = (corners + draw.uniform(4, 3, low=-0.15, high=0.15)) * draw.uniform(4, 1, low=0.7, high=1.5)
    return corners @ torch.linalg.qr(draw.normal(5, 3)).Q.T


@part("task_mixture")
def test_conflicts_are_taken_in_random_order(attempt, draw):
    """Against the original gradients, in an order that is drawn anew for each task, all orders equally likely."""
    gradients, count = four_conflicts(draw), 1200
    orders = [list(itertools.permutations([j for j in range(4) if j != i])) for i in range(4)]
    none = [[]] * 4
    ways = [
        torch.stack([projected(gradients, [*none[:i], one, *none[i + 1 :]]) for one in orders[i]]) for i in range(4)
    ]
    ways = [way - gradients.sum(dim=0) for way in ways]  # what an order of the others changes for task i
    sums = ways[0][:, None, None, None] + ways[1][:, None, None] + ways[2][:, None] + ways[3] + gradients.sum(dim=0)
    options = {"seed": seed_from(draw), "count": count}
    got = attempt.run(drivers.several, "project_conflicts", gradients, **options)
    agree(list(got.shape), [count, 5], of="the shape of 1,200 results of project_conflicts of gradients (4, 5)")
    gaps, nearest = torch.cdist(got, sums.reshape(-1, 5), p=1.0).min(dim=1)
    if not float(gaps.max()) < 1e-9:
        raise Wrong(
            "project_conflicts of four gradients that all conflict: a result is none of those that the orders of the "
            f"other tasks give, and {float(gaps.max()):.3g} from the nearest; each g is projected against the original "
            "gradients, one after the other"
        )
    seen = [[orders[i][k] for i, k in enumerate(place)] for place in _places(nearest.tolist())]
    for i, j in itertools.combinations(range(4), 2):
        of = f"orders of the other tasks in project_conflicts, for tasks {i} and {j}"
        hold_uniform([(one[i], one[j]) for one in seen], list(itertools.product(orders[i], orders[j])), of)


def _places(flat):
    """Which order each of the four tasks had, from a number below 6⁴."""
    return [(one // 216, one // 36 % 6, one // 6 % 6, one % 6) for one in flat]


@part("task_mixture")
def test_conflicts_draw_from_the_generator(attempt, draw):
    """All randomness of project_conflicts comes from its generator."""
    angles = torch.arange(9, dtype=torch.float64) * 2.4 + draw.random.uniform(0, 1)
    gradients = torch.stack([angles.cos(), angles.sin(), 0.1 * draw.normal(9)], dim=1)
    options = {"seed": seed_from(draw), "of": "project_conflicts of nine gradients"}
    hold_generator(attempt, drivers.drawn, "project_conflicts", gradients, **options)


# --- tuning_cost ------------------------------------------------------------------------------------------------------


def counted(method, layers, d, size):
    """(parameters, extra FLOPs) from the shapes that a method adds to each layer."""
    places = layers * 2 * (2 * size * d)  # scores, and values
    if method.startswith("lora"):
        shapes = layers * [(size, d), (d, size)] * 2
        weights = sum(a * b for a, b in shapes)
        return weights, 0 if method == "lora_merged" else 2 * weights
    if method == "adapter":
        weights, biases = layers * 2 * (size * d + d * size), layers * 2 * (size + d)
        return weights + biases, 2 * weights
    if method == "full":
        return layers * (4 * d * d + 2 * d * 4 * d), 0
    return (layers * 2 if method == "prefix" else 1) * size * d, places


@part("tuning_cost")
def test_cost_of_each_method(attempt, draw):
    """Parameters, optimizer bytes and extra FLOPs of each method, as plain ints."""
    methods = ["full", "lora", "lora_merged", "adapter", "prefix", "prompt"]
    rows = [(method, draw.pick([3, 7]), draw.pick([11, 13]), draw.pick([2, 5])) for method in methods]
    rows += [("lora", 96, 12288, 1), ("lora", 96, 12288, 8), ("prompt", 24, 4096, 5), ("full", 2, 5)]
    found, types = attempt.run(drivers.typed_cost, rows)
    agree(types, ["int"], of="the types of what tuning_cost gives")
    for row, got in zip(rows, found, strict=True):
        parameters, flops = counted(*row, *([0] * (4 - len(row))))
        want = {"parameters": parameters, "optimizer_bytes": 8 * parameters, "extra_flops": flops}
        known = {"parameters in the place of FLOPs": {**want, "extra_flops": parameters}}
        agree(got, want, of=f"tuning_cost{row}", known=known)


@part("tuning_cost")
def test_published_counts(attempt):
    """GPT-3 with LoRA of rank 1 and 8, and a prompt of 5 in T5-XXL: the numbers that were published."""
    rows = [("lora", 96, 12288, 1), ("lora_merged", 96, 12288, 8), ("prompt", 24, 4096, 5)]
    got = [one["parameters"] for one in attempt.each("tuning_cost", rows)]
    agree(got, [4_718_592, 37_748_736, 20_480], of="parameters of GPT-3 with LoRA 1 and 8, T5-XXL with a prompt of 5")


@part("tuning_cost")
@pytest.mark.parametrize("method", ["LoRA", "", "bitfit"])
def test_cost_refuses(attempt, method):
    """A method of another name is a ValueError."""
    with refusal(ValueError, of=f"tuning_cost of {method!r}"):
        attempt.tuning_cost(method, 2, 8, 1)
