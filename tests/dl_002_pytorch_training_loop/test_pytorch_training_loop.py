"""Hidden checks of dl_002: oracles are whole windows in float64, loops over plain tensors, runs that are not cut."""

import math

import pytest
import torch
from torch.nn import functional as F

from grader.checks import Wrong, agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again, hold_turns
from grader.checks.randomness import hold_permutations, hold_rate
from grader.checks.shuffles import hold_large_shuffles, hold_shuffles, hold_table

from . import drivers


def hold_alone(attempt, name, args, of):
    """Equal arguments give equal results whatever the global random states are, which are left alone."""
    told = attempt.run(drivers.alone, name, args)
    first, second = told["results"]
    assert first == second, (
        f"{of} gave two results from one seed, the first of which its caller has emptied: take random numbers from the "
        "seed alone, and return new lists"
    )
    assert not told["moved"], f"{of} changed the global random state of {', '.join(told['moved'])}"


# --- group_split ------------------------------------------------------------------------------------------------------


def hold_split(got, groups, fractions, of):
    """Every example once, ascending; no group in two splits."""
    assert isinstance(got, list), f"{of}: expected a list of splits, got {type(got).__name__}"
    assert len(got) == len(fractions), f"{of}: expected {len(fractions)} splits, got {len(got)}"
    agree(sorted(i for split in got for i in split), list(range(len(groups))), of=f"{of}: all examples of all splits")
    for k, split in enumerate(got):
        agree(split, sorted(split), of=f"{of}: split {k}, ascending")
    owner = {}
    for k, split in enumerate(got):
        for i in split:
            assert owner.setdefault(groups[i], k) == k, (
                f"{of}: group {groups[i]!r} has examples in split {owner[groups[i]]} and in split {k}"
            )


def drawn_groups(draw, sizes):
    """Group numbers of examples in random order; group g has sizes[g] examples."""
    flat = [g for g, size in enumerate(sizes) for _ in range(size)]
    return [flat[i] for i in draw.permutation(len(flat)).tolist()]


@part("group_split")
def test_split_keeps_groups_together(attempt, draw):
    """Every example is in one split, and every group, too."""
    for sizes, fractions in (([2, 1, 1], [0.5, 0.25, 0.25]), ([3, 1, 4, 1, 5, 2, 7], [0.6, 0.4]), ([5], [0.7, 0.3])):
        groups = drawn_groups(draw, sizes)
        seed = draw.random.randrange(10**6)
        of = f"group_split({groups}, {fractions}, seed={seed})"
        hold_split(attempt.group_split(groups, fractions, seed), groups, fractions, of)
        of = f"group_split of the same in tuples, seed={seed}"
        hold_split(attempt.group_split(tuple(groups), tuple(fractions), seed), groups, fractions, of)


@part("group_split")
def test_split_has_the_right_sizes(attempt, draw):
    """Fractions count examples, to within the largest group."""
    for sizes, fractions in (
        ([1, 2, 3, 2, 1] * 19 + [1] * 8, [0.55, 0.31, 0.14]),
        ([1] * 61, [0.15, 0.6, 0.25]),
        ([7] * 3 + [1] * 40, [0.52, 0.48]),
        ([1] * 10, [0.1] * 10),
    ):
        groups = drawn_groups(draw, sizes)
        rows = [(groups, fractions, draw.random.randrange(10**6)) for _ in range(12)]
        for (_, _, seed), got in zip(rows, attempt.each("group_split", rows), strict=True):
            of = (
                f"group_split of {len(groups)} examples in groups of {min(sizes)} to {max(sizes)}, {fractions}, {seed=}"
            )
            hold_split(got, groups, fractions, of)
            for k, (split, fraction) in enumerate(zip(got, fractions, strict=True)):
                off = abs(len(split) - len(groups) * fraction)
                assert off < max(sizes), (
                    f"{of}: split {k} has {len(split)} examples, {off:.3g} away from {len(groups) * fraction:.4g}; the "
                    f"largest group has {max(sizes)}"
                )


@part("group_split")
def test_split_is_random(attempt, draw):
    """Groups of equal size are dealt in every way equally often."""
    first, trials = draw.random.randrange(10**6), 1200
    groups = ["a", "b", "c", "d", "a", "b", "c", "d", "a", "b", "c", "d"]
    got = attempt.each("group_split", [(groups, [0.25] * 4, first + i) for i in range(trials)])
    counts = {}
    for splits in got:
        hold_split(splits, groups, [0.25] * 4, "group_split of four groups of three into four")
        key = tuple(split[0] if split else None for split in splits)
        counts[key] = counts.get(key, 0) + 1
    hold_permutations(counts, 4, trials, "which of four groups goes to which of four splits")


@part("group_split")
def test_split_of_many_groups_is_random(attempt, draw):
    """Many groups are dealt in every way as often as few: 32 to 32 splits, and 1,024 to four."""
    first, trials = draw.random.randrange(10**6), 400
    groups = drawn_groups(draw, [2] * 32)
    place = {group: k for k, group in enumerate(dict.fromkeys(groups))}
    got = attempt.each("group_split", [(groups, [1 / 32] * 32, first + i) for i in range(trials)])
    orders = [[place[groups[split[0]]] for split in splits if split] for splits in got]
    of = "group_split of 32 groups of two examples into 32 splits"
    for splits, order in zip(got, orders, strict=True):
        hold_split(splits, groups, [1 / 32] * 32, of)
        assert len(order) == 32, f"{of}: {32 - len(order)} splits are empty"
    hold_shuffles(torch.tensor(orders), of)
    groups, fractions = list(range(1024)), [1 / 4] * 4
    got = attempt.each("group_split", [(groups, fractions, first + i) for i in range(5)])
    of = "group_split of 1,024 groups of one example into four splits"
    owner = torch.empty(len(got), 1024, dtype=torch.int64)
    for row, splits in zip(owner, got, strict=True):
        hold_split(splits, groups, fractions, of)
        for k, split in enumerate(splits):
            row[split] = k
    hold_dealt(owner, of)


def hold_dealt(owner, of):
    """Hold that many groups are dealt at random: owner (trials, n) is the split of each, of four that are as large.

    Of each 64th of the groups, of those in each split of another trial, and of those whose neighbour 1 to 8 further is
    in each split, a quarter are in each split: drawn without replacement, hence Chernoff's bound.
    """
    trials, n = owner.shape
    assert bool(((owner[..., None] == torch.arange(4)).sum(dim=1) - n // 4).abs().max() <= 1), f"{of}: unlike sizes"
    kinds = [("a 64th of the groups", torch.arange(n).expand(trials, n) // (n // 64), owner)]
    for lag in range(1, trials):
        kinds.append((f"one split of {lag} seeds before", owner[:-lag], owner[lag:]))
    for lag in range(1, 9):  # one group and its neighbour in turn: a group is in one pair
        first = torch.arange(n - lag)
        first = first[first // lag % 2 == 0]
        kinds.append((f"those whose neighbour {lag} before is in one split", owner[:, first], owner[:, first + lag]))
    for name, given, found in kinds:
        for one, other in zip(given, found, strict=True):
            for value in one.unique():
                chosen = other[one == value]
                for k in range(4):
                    hold_rate(int((chosen == k).sum()), len(chosen), 1 / 4, f"{of}: {name} in split {k}", looks=4000)


@part("group_split")
def test_split_of_unequal_groups_is_random(attempt, draw):
    """Groups of equal size come into each split equally often, whatever other sizes there are."""
    first, trials, fractions = draw.random.randrange(10**6), 400, [0.5, 0.3, 0.2]
    sizes = [1] * 12 + [3] * 5
    groups = drawn_groups(draw, sizes)
    got = attempt.each("group_split", [(groups, fractions, first + i) for i in range(trials)])
    of = "group_split of twelve groups of one example and five of three"
    owner = torch.empty(trials, len(groups), dtype=torch.int64)
    for row, splits in zip(owner, got, strict=True):
        hold_split(splits, groups, fractions, of)
        for k, split in enumerate(splits):
            row[split] = k
    for kind in (range(12), range(12, 17)):
        inside = owner[:, [groups.index(group) for group in kind]]
        for k in range(3):
            rate = (inside == k).double().mean().item()
            for i, group in enumerate(kind):
                seen = int((inside[:, i] == k).sum())
                said = f"{of}: group {group}, as others of its size, in split {k}"
                hold_rate(seen, trials, rate, said, looks=51)


@part("group_split")
def test_split_is_the_seeds(attempt, draw):
    """Equal seeds give equal splits, others give others, large ones too; no global random state counts or moves."""
    groups, seed = drawn_groups(draw, [1, 2, 3] * 19), draw.random.randrange(10**6)
    hold_alone(attempt, "group_split", (groups, [0.5, 0.5], seed + 2**40), f"group_split with the seed {seed} + 2**40")
    one, other = attempt.each("group_split", [(groups, [0.5, 0.5], seed + more) for more in (0, 2**31)])
    assert one != other, f"group_split of 57 groups is the same with the seeds {seed} and {seed} + 2**31"


@part("group_split")
def test_split_ignores_names(attempt, draw):
    """Groups that are called otherwise, one to one, are split alike."""
    groups = drawn_groups(draw, [2, 3, 1, 5] * 7)
    seed = draw.random.randrange(10**6)
    want = attempt.group_split(groups, [0.7, 0.3], seed)
    hold_split(want, groups, [0.7, 0.3], "group_split of groups called 0, 1, 2, ...")
    order = draw.permutation(1000).tolist()
    for how, named in (
        ("strings", [f"user {order[g]}" for g in groups]),
        ("other numbers", [order[g] - 500 for g in groups]),
        ("numbers, and strings of the same digits", [str(order[g // 2]) if g % 2 else order[g // 2] for g in groups]),
    ):
        got = attempt.group_split(named, [0.7, 0.3], seed)
        agree(got, want, of=f"group_split of the same groups, called by {how}")


@part("group_split")
def test_split_of_nothing_and_refusals(attempt):
    """No example gives empty splits; fractions that are not positive or do not add up to 1 are a ValueError."""
    agree(attempt.group_split([], [0.6, 0.4], 3), [[], []], of="group_split of no example")
    agree(attempt.group_split(["a", "a"], [1.0], 3), [[0, 1]], of="group_split into one split")
    third = [1 / 3] * 3
    assert len(attempt.group_split([1, 2, 3], third, 0)) == 3, "thirds add up to 1, to within 1e-6"
    for fractions in ([0.5, 0.5 + 5e-7], [0.5, 0.5 - 5e-7], [1 - 1e-4, 1e-4]):
        got = attempt.group_split([1, 2, 3, 4], fractions, 0)
        hold_split(got, [1, 2, 3, 4], fractions, f"group_split with fractions {fractions}")
    for fractions in ([0.5, 0.4], [0.5, 0.49999], [0.7, 0.7], [1.2, -0.2], [1.0, 0.0], [math.nan, 0.5], []):
        for groups in ([1, 2, 3, 4], []):
            with refusal(ValueError, of=f"group_split of {len(groups)} examples with fractions {fractions}"):
                attempt.group_split(groups, fractions, 0)


# --- epoch_batches ----------------------------------------------------------------------------------------------------


def shares(attempt, n, size, epoch, seed, world):
    """For each rank its examples in order."""
    got = attempt.each("epoch_batches", [(n, size, epoch, seed, rank, world) for rank in range(world)])
    return [[i for batch in batches for i in batch] for batches in got], got


@part("epoch_batches")
@pytest.mark.parametrize(("n", "size"), [(7, 2), (6, 3), (5, 8), (1, 1), (23, 5)])
def test_batches_of_one_rank(attempt, draw, n, size):
    """Every example comes once in an epoch, in batches of `size`; only the last may be smaller."""
    got = attempt.epoch_batches(n, size, draw.random.randrange(50), draw.random.randrange(10**6))
    of = f"epoch_batches of {n} examples in batches of {size}"
    lengths = [min(size, n - start) for start in range(0, n, size)]
    known = {"the last, smaller batch dropped": lambda: [size] * (n // size)} if n % size else None
    agree([len(batch) for batch in got], lengths, of=f"{of}: lengths", known=known)
    agree(sorted(i for batch in got for i in batch), list(range(n)), of=f"{of}: all examples")


@part("epoch_batches")
@pytest.mark.parametrize(("n", "world"), [(7, 3), (12, 4), (11, 2), (2, 5), (1, 3), (3, 7), (29, 6)])
def test_ranks_share_an_epoch(attempt, draw, n, world):
    """All ranks get ⌈n/world⌉ examples, together each at least once, and repeated as evenly as it goes."""
    epoch, seed, size = draw.random.randrange(50), draw.random.randrange(10**6), 2
    each, batches = shares(attempt, n, size, epoch, seed, world)
    of = f"epoch_batches of {n} examples on {world} ranks"
    places = math.ceil(n / world)
    agree(
        [len(share) for share in each],
        [places] * world,
        of=f"{of}: how many examples each rank gets",
        known={
            "no padding: some ranks have one more": [len(range(rank, n, world)) for rank in range(world)],
            "all examples on every rank": [n] * world,
            "what does not fill all ranks dropped": [n // world] * world,
        }
        if n % world
        else None,
    )
    cut = [min(size, places - start) for start in range(0, places, size)]
    agree([[len(batch) for batch in own] for own in batches], [cut] * world, of=f"{of}: lengths of the batches")
    times = [sum(share.count(i) for share in each) for i in range(n)]
    low, high = places * world // n, math.ceil(places * world / n)
    assert all(0 <= i < n for share in each for i in share), f"{of}: example numbers outside of 0 ... {n - 1}"
    assert all(low <= t <= high for t in times), (
        f"{of}: together each example comes {low}{f' or {high}' if high > low else ' times'}, but the examples "
        f"0, 1, ... come {times} times"
    )


@part("epoch_batches")
def test_orders_are_random(attempt, draw):
    """Every order is equally likely, on one rank and over two; each epoch has its own."""
    seed, trials = draw.random.randrange(10**6), 1200
    got = attempt.each("epoch_batches", [(4, 4, epoch, seed) for epoch in range(trials)])
    counts, moves = {}, {}
    for i, batches in enumerate(got):
        assert len(batches) == 1, f"four examples in batches of 4 are one batch, got {len(batches)}"
        agree(sorted(batches[0]), [0, 1, 2, 3], of="all examples of an epoch of four")
        counts[tuple(batches[0])] = counts.get(tuple(batches[0]), 0) + 1
        if i % 2:
            move = tuple(got[i - 1][0].index(example) for example in batches[0])
            moves[move] = moves.get(move, 0) + 1
    hold_permutations(moves, 4, trials // 2, "where the examples of an epoch stood in the epoch before")
    hold_permutations(counts, 4, trials, f"the orders of four examples in {trials:,} epochs")
    rows = [(4, 2, 3, seed + i, rank, 2) for i in range(trials) for rank in range(2)]
    got = attempt.each("epoch_batches", rows)
    counts = {}
    for i in range(trials):
        key = tuple(example for batches in got[2 * i : 2 * i + 2] for batch in batches for example in batch)
        counts[key] = counts.get(key, 0) + 1
    hold_permutations(counts, 4, trials, f"the examples of rank 0, then those of rank 1, from {trials:,} seeds")


def orders_of(attempt, calls, of):
    """(calls, places): the examples of each call (n, size, epoch, seed, world), those of rank 0 first."""
    rows = [(*call, rank, world) for *call, world in calls for rank in range(world)]
    got = iter(attempt.each("epoch_batches", rows))
    orders = [[i for _ in range(call[-1]) for batch in next(got) for i in batch] for call in calls]
    for (n, *_, world), order in zip(calls, orders, strict=True):
        places = math.ceil(n / world) * world
        assert len(order) == places, f"{of}: {len(order)} examples on all ranks together, expected {places}"
        assert set(order) == set(range(n)), f"{of}: not all of 0 ... {n - 1} come, or others"
    return torch.tensor(orders)


@part("epoch_batches")
def test_orders_of_many_examples_are_random(attempt, draw):
    """Many examples are shuffled as well as few, on one rank and over three; no epoch's order comes back."""
    seed = draw.random.randrange(10**6)
    for what, calls in (
        ("23 examples in 1,000 epochs", [(23, 5, epoch, seed, 1) for epoch in range(1000)]),
        ("24 examples on three ranks, epoch 0 of 400 seeds", [(24, 3, 0, seed + i, 3) for i in range(400)]),
        ("24 examples on two ranks, 60 epochs of seed 0", [(24, 12, epoch, 0, 2) for epoch in range(60)]),
    ):
        hold_shuffles(orders_of(attempt, calls, f"epoch_batches of {what}"), f"epoch_batches of {what}")
    for what, calls in (
        ("2,003 examples in five epochs", [(2003, 64, epoch, seed, 1) for epoch in range(5)]),
        ("2,004 examples on four ranks, five seeds", [(2004, 100, 7, seed + i, 4) for i in range(5)]),
    ):
        hold_large_shuffles(orders_of(attempt, calls, f"epoch_batches of {what}"), f"epoch_batches of {what}")


@part("epoch_batches")
def test_padding_of_many_examples_is_random(attempt, draw):
    """Which of 23 examples on three ranks comes twice, and which of five on seven, is random: at each place is each."""
    seed, trials = draw.random.randrange(10**6), 500
    for n, world in ((23, 3), (5, 7), (29, 8)):
        of = f"epoch_batches of {n} examples on {world} ranks"
        orders = orders_of(attempt, [(n, 4, epoch, seed, world) for epoch in range(trials)], of)
        places = orders.shape[1]
        cells = (torch.arange(places) * n + orders).flatten()
        counts = torch.bincount(cells, minlength=places * n).view(places, n)
        hold_table(counts, trials, 1 / n, of, lambda place, i: f"example {i} is at place {place} of all ranks")
        times = (orders[..., None] == torch.arange(n)).sum(dim=1)
        more = places % n
        counts = (times == times.amax(dim=1, keepdim=True)).sum(dim=0)
        hold_table(counts, trials, more / n, of, lambda i: f"example {i} comes once more than others")


@part("epoch_batches")
def test_padding_is_random(attempt, draw):
    """Which example comes twice is random, too."""
    seed, trials = draw.random.randrange(10**6), 600
    got = attempt.each("epoch_batches", [(3, 2, e, seed, rank, 2) for e in range(trials) for rank in range(2)])
    twice = [0, 0, 0]
    for i in range(trials):
        examples = [example for batches in got[2 * i : 2 * i + 2] for batch in batches for example in batch]
        assert sorted(set(examples)) == [0, 1, 2], "three examples on two ranks: one is missing"
        assert len(examples) == 4, "three examples on two ranks are four places"
        twice[max(range(3), key=examples.count)] += 1
    for k in range(3):
        hold_rate(twice[k], trials, 1 / 3, f"example {k} as the one of three that comes twice on two ranks", looks=3)


@part("epoch_batches")
def test_batches_are_the_seeds(attempt, draw):
    """Equal arguments give equal batches, no global random state counts or moves, and another seed is another order."""
    seed = draw.random.randrange(10**6)
    hold_alone(attempt, "epoch_batches", (31, 4, 2, seed + 2**40, 1, 3), f"epoch_batches with the seed {seed} + 2**40")
    got = attempt.each("epoch_batches", [(31, 31, 2, seed + more) for more in (0, 1, 2**31)])
    assert got[0] not in got[1:], "31 examples are in the same order with another seed"
    epochs = (2, 2 + 2**8, 2 + 2**12, 2 + 2**16, 2 + 2**31)
    got = attempt.each("epoch_batches", [(31, 31, epoch, seed) for epoch in epochs])
    assert got[0] not in got[1:], f"31 examples are in the same order in epoch 2 and in one of the epochs {epochs[1:]}"


@part("epoch_batches")
def test_batches_of_nothing_and_refusals(attempt):
    """No example gives no batch; sizes, ranks and numbers that cannot be are a ValueError."""
    agree(attempt.epoch_batches(0, 4, 0, 0), [], of="epoch_batches of no example")
    agree(attempt.epoch_batches(0, 4, 0, 0, 1, 3), [], of="epoch_batches of no example, rank 1 of 3")
    for n, size, rank, world in (
        (5, 0, 0, 1),
        (5, -1, 0, 1),
        (-1, 2, 0, 1),
        (5, 2, 3, 3),
        (5, 2, 4, 3),
        (5, 2, -1, 3),
        (5, 2, 0, 0),
        (0, 0, 0, 1),
        (0, 2, 3, 3),
    ):
        with refusal(ValueError, of=f"epoch_batches of {n} examples in batches of {size}, rank {rank} of {world}"):
            attempt.epoch_batches(n, size, 0, 0, rank, world)


# --- collate ----------------------------------------------------------------------------------------------------------


def collated(examples, pad, multiple):
    """x and mask, place by place."""
    longest = max(len(x) for x, _ in examples)
    while longest % multiple:
        longest += 1
    first = examples[0][0]
    rows = []
    for x, _ in examples:
        filler = torch.full((longest - len(x), *first.shape[1:]), pad, dtype=first.dtype)
        rows.append(torch.cat([x, filler]))
    mask = torch.tensor([[i < len(x) for i in range(longest)] for x, _ in examples], dtype=torch.bool)
    return torch.stack(rows), mask.reshape(len(examples), longest)


def examples_of(draw, lengths, tail=(), kind=torch.int64):
    make = (lambda t: draw.integers(0, 5, t, *tail)) if kind == torch.int64 else (lambda t: draw.normal(t, *tail))
    return [(make(t).to(kind), draw.random.randrange(7)) for t in lengths]


@part("collate")
def test_collate_by_hand(attempt):
    """[5, 6, 7] and [8], padded with -1 to a multiple of 2."""
    examples = [(torch.tensor([5, 6, 7]), 1), (torch.tensor([8]), 0)]
    got = attempt.collate(examples, pad=-1, multiple=2)
    want = {
        "x": torch.tensor([[5, 6, 7, -1], [8, -1, -1, -1]]),
        "mask": torch.tensor([[True, True, True, False], [True, False, False, False]]),
        "y": torch.tensor([1, 0]),
    }
    known = {
        "padding in front": want | {"x": torch.tensor([[-1, 5, 6, 7], [-1, -1, -1, 8]]), "mask": want["mask"].flip(1)},
        "a mask that is True where there is padding": want | {"mask": ~want["mask"]},
    }
    agree(got, want, of="collate of ([5, 6, 7], 1) and ([8], 0), pad -1, multiple 2", known=known)


@part("collate")
@pytest.mark.parametrize(
    ("lengths", "tail", "kind", "multiple"),
    [
        ((3, 5, 2, 5), (), "int64", 1),
        ((4, 1, 7), (), "int64", 3),
        ((2, 6, 3), (5,), "float32", 4),
        ((7, 2), (3, 2), "float64", 1),
        ((0, 3), (), "int64", 1),
        ((0, 0), (2,), "float32", 8),
        ((5,), (), "int64", 5),
    ],
    ids=str,
)
def test_collate_pads_and_masks(attempt, draw, lengths, tail, kind, multiple):
    """Each x from place 0 on, then padding; T is the longest, rounded up; the mask goes by length, not by value."""
    examples = examples_of(draw, lengths, tail, getattr(torch, kind))
    pad = draw.random.choice([0, 3])  # tokens are 0 ... 4: data may equal it
    x, mask = collated(examples, pad, multiple)
    of = f"collate of x with lengths {lengths}, other axes {tail}, {kind}, pad {pad}, multiple {multiple}"
    want = {"x": x, "mask": mask, "y": torch.tensor([y for _, y in examples])}
    known = {"a mask of x != pad": want | {"mask": x != pad}} if not tail and not torch.equal(x != pad, mask) else None
    agree(attempt.collate(examples, pad, multiple), want, of=of, known=known)


@part("collate")
def test_collate_of_many_examples(attempt, draw):
    """60 examples of up to 300 places, padded to a multiple of 64."""
    lengths = [draw.random.randrange(301) for _ in range(60)]
    examples = examples_of(draw, lengths, (3,), torch.float32)
    x, mask = collated(examples, 0.5, 64)
    want = {"x": x, "mask": mask, "y": torch.tensor([y for _, y in examples])}
    agree(attempt.collate(examples, 0.5, 64), want, of="collate of 60 examples of up to 300 places, multiple 64")


@part("collate")
@pytest.mark.parametrize("pad", [-math.inf, math.nan, 0.123])
def test_collate_pads_with_any_number(attempt, draw, pad):
    """pad may be any number that x can hold, and the data is left alone; x may have any strides."""
    examples = [(draw.normal(3, t, dtype=torch.float32).T, 1) for t in (4, 2, 5)]
    x, mask = collated(examples, pad, 4)
    want = {"x": x, "mask": mask, "y": torch.tensor([1, 1, 1])}
    agree(attempt.collate(tuple(examples), pad, 4), want, of=f"collate of x with lengths (4, 2, 5), pad {pad}")


@part("collate")
@pytest.mark.parametrize("kind", ["bool", "uint8", "int32", "float16", "bfloat16"])
def test_collate_keeps_the_dtype_of_x(attempt, draw, kind):
    """x stays what it is, whatever its dtype."""
    examples = [(draw.integers(0, 2, t).to(getattr(torch, kind)), 1) for t in (4, 2, 5)]
    x, mask = collated(examples, 1, 1)
    want = {"x": x, "mask": mask, "y": torch.tensor([1, 1, 1])}
    agree(attempt.collate(examples, 1), want, of=f"collate of {kind} x with lengths (4, 2, 5), pad 1")


@part("collate")
def test_collate_by_default(attempt, draw):
    """Without options 0 is the padding, and T is the longest length."""
    examples = examples_of(draw, (3, 7), kind=torch.float64)
    x, mask = collated(examples, 0, 1)
    want = {"x": x, "mask": mask, "y": torch.tensor([y for _, y in examples])}
    agree(attempt.collate(examples), want, of="collate of x with lengths (3, 7), no options")


@part("collate")
def test_collate_keeps_the_kind_of_targets(attempt, draw):
    """Ints become int64, floats float32, bools bool."""
    xs = [x for x, _ in examples_of(draw, (2, 3, 1))]
    for ys, kind in (
        ([2**53 + 1, 0, 1], torch.int64),
        ([0.5, 0.1, 3.0], torch.float32),
        ([True, False, True], torch.bool),
    ):
        got = attempt.collate(list(zip(xs, ys, strict=True)))
        agree(got["y"], torch.tensor(ys, dtype=kind), axes="n", of=f"the targets {ys} in a batch")


@part("collate")
@pytest.mark.parametrize("lengths", [(3,), (2, 2)], ids=str)
def test_collate_owns_its_memory(attempt, draw, lengths):
    """What is written into a batch does not reach the examples."""
    examples = examples_of(draw, lengths)
    examples[0][0][0] = 2**53 + 1  # no float has it
    batch, after = attempt.run(drivers.collated_apart, examples)
    x, mask = collated(examples, 0, 1)
    agree(batch, {"x": x, "mask": mask, "y": torch.tensor([y for _, y in examples])}, of=f"collate of {lengths}")
    agree(after, [x for x, _ in examples], of="the examples, after the batch was overwritten")


@part("collate")
def test_collate_refuses(attempt):
    """No example, unlike dtypes or other axes, and a multiple below 1 are a ValueError."""
    ints, floats = torch.tensor([1, 2]), torch.tensor([1.0])
    for of, examples, multiple in (
        ("no example", [], 1),
        ("int64 beside float32", [(ints, 0), (ints, 2), (floats, 1)], 1),
        ("x (2, 3) beside x (2, 5)", [(torch.zeros(2, 3), 0), (torch.zeros(2, 5), 0)], 1),
        ("x (2, 1) beside x (2, 5)", [(torch.zeros(2, 5), 0), (torch.zeros(2, 1), 0), (torch.zeros(2, 5), 0)], 1),
        ("x (2,) beside x (2, 2)", [(torch.zeros(2), 0), (torch.zeros(2, 2), 0)], 1),
        ("multiple 0", [(ints, 0)], 0),
        ("multiple -2", [(ints, 0)], -2),
    ):
        with refusal(ValueError, of=f"collate with {of}"):
            attempt.collate(examples, 0, multiple)


@part("collate")
def test_other_examples_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [([(draw.integers(0, 5, t), t) for t in (3, 5, 2)],) for _ in range(2)]
    hold_again(attempt, reference, "collate", *asked, of="collate of x with lengths (3, 5, 2)", views=False)


# --- evaluate ---------------------------------------------------------------------------------------------------------

NET = [("linear", 5, 7), ("tanh",), ("linear", 7, 3)]
NORMED = [("linear", 5, 7), ("bn", 7), ("dropout", 0.4), ("linear", 7, 3)]


def state_of(draw, spec):
    """A random state of this network: nothing is zero or one."""
    state = {}
    for name, value in drivers.network(spec).state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.tensor(draw.random.randrange(3, 9))
        elif "var" in name:
            state[name] = draw.uniform(*value.shape, low=0.5, high=2.0)
        else:
            state[name] = draw.normal(*value.shape, scale=0.7)
    return state


def batches_of(draw, sizes, width=5, classes=3):
    return [(draw.normal(n, width), draw.integers(0, classes, n)) for n in sizes]


def log_loss(logits, y):
    """The loss of each example, written out."""
    return logits.exp().sum(dim=1).log() - logits[torch.arange(len(y)), y]


def scored(spec, state, batches, how="examples"):
    """{"loss", "accuracy"} from all logits."""
    model = drivers.network(spec, state).eval()
    if how == "training":
        model.train()
    with torch.no_grad():
        each = [(log_loss(model(x), y), (model(x).argmax(dim=1) == y).double()) for x, y in batches if len(y)]
    if how == "batches":
        each = [(losses.mean()[None], right.mean()[None]) for losses, right in each]
    losses, right = (torch.cat(column) for column in zip(*each, strict=True))
    return {"loss": losses.mean().item(), "accuracy": right.mean().item()}


@part("evaluate")
def test_evaluation_by_hand(attempt):
    """Losses 1, 1, 1 in one batch and 5 in the next are 2, and not the mean of their means, 3."""
    easy, hard = math.log(math.e - 1), math.log(math.e**5 - 1)  # the loss of logits (0, z) at class 0 is log(1 + e^z)
    rows = torch.tensor([[0.0, easy]] * 3 + [[0.0, hard]], dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 0])
    told = attempt.run(drivers.evaluated, [("identity",)], {}, [(rows[:3], y[:3]), (rows[3:], y[3:])], True)
    want = {"loss": 2.0, "accuracy": 0.0}
    known = {
        "the mean of the batches' means": want | {"loss": 3.0},
        "a sum over examples": want | {"loss": 8.0},
        "a sum of the batches' means": want | {"loss": 6.0},
    }
    agree(told["result"], want, of="evaluate with losses 1, 1, 1 in one batch and 5 in the next", known=known)
    sure = torch.tensor([[0.0, 1000.0], [0.0, 1000.0]], dtype=torch.float64)
    told = attempt.run(drivers.evaluated, [("identity",)], {}, [(sure, torch.tensor([0, 1]))], True)
    want = {"loss": 500.0, "accuracy": 0.5}
    agree(told["result"], want, of="evaluate of logits (0, 1000), once with target 0 and once with target 1")


@part("evaluate")
@pytest.mark.parametrize("sizes", [(4, 7, 1), (5,), (3, 0, 2), (1, 1, 6)], ids=str)
def test_evaluation_weighs_examples(attempt, draw, sizes):
    """Each example counts alike, however the batches are cut; each batch runs once."""
    state, batches = state_of(draw, NET), batches_of(draw, sizes)
    told = attempt.run(drivers.evaluated, NET, state, batches, True)
    want = scored(NET, state, batches)
    wrong = scored(NET, state, batches, "batches")
    apart = abs(wrong["loss"] - want["loss"]) > 1e-6
    known = {"the mean of the batches' means": wrong} if apart else None
    agree(told["result"], want, of=f"evaluate of batches of {sizes} examples", known=known)
    ran = [n for n in told["sizes"] if n]
    agree(ran, [n for n in sizes if n], of="the sizes of the batches with examples that ran through the model")


@part("evaluate")
def test_evaluation_of_many_batches(attempt, draw):
    """50 batches of up to 90 examples, eleven classes."""
    spec = [("linear", 5, 40), ("tanh",), ("linear", 40, 11)]
    state = state_of(draw, spec)
    batches = batches_of(draw, [draw.random.randrange(91) for _ in range(50)], classes=11)
    told = attempt.run(drivers.evaluated, spec, state, batches, True)
    agree(told["result"], scored(spec, state, batches), of="evaluate of 50 batches of up to 90 examples, 11 classes")


def singly(state, batches):
    """The same numbers in float32, and those again in float64."""
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    batches = [(x.float(), y) for x, y in batches]
    wide = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    return state, batches, wide, [(x.double(), y) for x, y in batches]


@part("evaluate")
def test_evaluation_in_float32(attempt, draw):
    """A float32 model has the scores of its numbers, to float32's precision, and stays in float32."""
    state, batches, *wide = singly(state_of(draw, NORMED), batches_of(draw, (40, 70, 10)))
    told = attempt.run(drivers.evaluated, NORMED, state, batches, True, dtype=torch.float32)
    want = scored(NORMED, *wide)
    agree(told["result"]["loss"], want["loss"], of="the loss that evaluate of a float32 model gives", tol=1e-5)
    agree(told["state"], state, of="the weights after evaluate of a float32 model")


@part("evaluate")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("frozen", [(), (1,), (2, 3)], ids=str)
def test_evaluation_leaves_no_trace(attempt, draw, training, frozen):
    """Evaluation mode inside; afterwards each module's own mode, the same statistics, gradients and grad mode."""
    state, batches = state_of(draw, NORMED), batches_of(draw, (4, 7, 2))
    told = attempt.run(drivers.evaluated, NORMED, state, batches, training, frozen)
    how = f"a model in {'training' if training else 'evaluation'} mode" + (
        f", layers {frozen} frozen" if frozen else ""
    )
    agree(told["result"], scored(NORMED, state, batches), of=f"evaluate of {how}")
    agree(told["state"], state, of=f"parameters and running statistics after evaluate of {how}")
    assert told["modes"], f"evaluate of {how}: afterwards some module is in another mode than before"
    assert told["grad_mode"], "gradients are switched off after evaluate"
    assert told["grads"], "evaluate changed what was in .grad"
    assert told["needs"], "after evaluate some parameter is frozen that was not, or not frozen that was"
    assert not told["recorded"], "evaluate recorded gradients while the model ran: use torch.no_grad()"


@part("evaluate")
@pytest.mark.parametrize("fails", [1, 3])
def test_evaluation_that_fails(attempt, draw, fails):
    """If the model raises, the exception comes through, and modes and grad mode are as they were."""
    told = attempt.run(drivers.evaluation_that_fails, batches_of(draw, (2, 3, 4), 3), fails)
    assert told["raised"], f"the model raised in batch {fails}, and evaluate hid it"
    agree(told["modes"], [True, True, False, True], of=f"modes of (model, dropout, frozen norm, last) after {fails=}")
    assert told["grad_mode"], "gradients are switched off after evaluate has failed"


@part("evaluate")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_evaluation_memory(attempt, training):
    """One batch's logits are alive at a time, and nothing is kept."""
    count, rows, classes = 12, 61, 2003
    result, cost = attempt.cost(drivers.evaluation_cost, count, rows, classes, training)
    assert math.isfinite(result["loss"]), "the loss is not finite"
    one = 4 * rows * classes
    of = (
        f"evaluate of {count} batches of {rows} x {classes} logits, model in {'training' if training else 'evaluation'}"
    )
    at_most(cost.peak, 4 * one, of=f"bytes alive at once in {of}", known={"all logits collected": count * one})
    at_most(cost.saved, 0, of=f"bytes saved for a backward pass in {of}")
    at_most(cost.kept, 0, of=f"bytes kept after {of}")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd kept after {of}")


@part("evaluate")
def test_evaluation_of_nothing(attempt, draw):
    """Without an example it is a ValueError."""
    for batches in ([], batches_of(draw, (0, 0))):
        with refusal(ValueError, of=f"evaluate of {len(batches)} batches without an example"):
            attempt.run(drivers.evaluated, NET, state_of(draw, NET), batches, True)


# --- train_epoch ------------------------------------------------------------------------------------------------------


def windows_of(batches, accumulate):
    return [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]


class Oracle:
    """Training written out: gradients of whole windows, clipped, with momentum, at rates that shrink.

    how: a mistake that is made on purpose.
    """

    def __init__(self, spec, state, lr=0.1, momentum=0.0, factor=None, how="", frozen=()):
        self.model = drivers.network(spec, state).train()
        self.parameters = [p for name, p in self.model.named_parameters() if name not in frozen]
        self.lr, self.momentum, self.factor, self.how = lr, momentum, factor or 1.0, how
        self.steps, self.rate_steps, self.losses = 0, 0, []
        self.buffers = [torch.zeros_like(p) for p in self.parameters]
        self.left = [torch.zeros_like(p) for p in self.parameters]

    def gradients(self, window, accumulate):
        total, count = [torch.zeros_like(p) for p in self.parameters], 0
        for x, y in window:
            losses = log_loss(self.model(x), y)
            self.losses += losses.tolist()
            weighed = losses.mean() / accumulate if self.how == "micro" else losses.sum()
            if self.how == "micro window":
                weighed = losses.mean() / len(window)
            if self.how == "means":
                weighed = losses.mean()
            own = torch.autograd.grad(weighed, self.parameters)
            if self.how == "clip each":
                own = clipped(own, 0.3)
            total, count = [a + b for a, b in zip(total, own, strict=True)], count + len(y)
        return total if self.how in ("micro", "micro window", "means", "sum") else [g / count for g in total]

    def window(self, window, accumulate, max_norm):
        if self.how == "dropped" and len(window) < accumulate:
            return
        gradients = self.gradients(window, accumulate)
        if self.how == "left over":
            gradients = [g + old for g, old in zip(gradients, self.left, strict=True)]
            self.left = gradients
        if max_norm is not None and self.how != "no clip":
            gradients = clipped(gradients, max_norm)
        lr = self.lr * self.factor**self.rate_steps
        for p, g, buffer in zip(self.parameters, gradients, self.buffers, strict=True):
            buffer.mul_(self.momentum).add_(g)
            p.data.sub_(lr * buffer)
        self.steps += 1
        self.rate_steps += len(window) if self.how == "rate per batch" else 1

    def epoch(self, batches, accumulate, max_norm):
        for window in windows_of(batches, accumulate):
            self.window(window, accumulate, max_norm)
        if self.how == "rate per epoch":
            self.rate_steps = 1
        return self

    @property
    def state(self):
        return drivers.values(self.model)


def clipped(gradients, max_norm):
    norm = sum(g.square().sum() for g in gradients).sqrt().item()
    return [g * min(1.0, max_norm / (norm + 1e-6)) for g in gradients]


MISTAKES = {
    "the mean of the batches' means, over `accumulate`": "micro",
    "the mean of the batches' means, over the batches of the window": "micro window",
    "the sum of the batches' means": "means",
    "the sum over examples": "sum",
    "no step for the last, shorter window": "dropped",
    "gradients that are never taken away": "left over",
    "gradients that were not clipped": "no clip",
    "a scheduler that steps for every batch": "rate per batch",
}


def hold_epoch(attempt, draw, sizes, accumulate, max_norm=None, spec=NET, setup=None, leftover=False, frozen=(), of=""):
    setup = setup or {"lr": 0.3, "momentum": 0.6, "factor": 0.7}
    state, batches = state_of(draw, spec), batches_of(draw, sizes)
    want = Oracle(spec, state, **setup, frozen=frozen).epoch(batches, accumulate, max_norm)
    told = attempt.run(drivers.trained, spec, state, batches, accumulate, max_norm, setup, leftover, frozen)
    of = of or f"train_epoch of batches of {sizes}, accumulate {accumulate}, max_norm {max_norm}"
    known = {}
    for name, how in MISTAKES.items():
        state_then = Oracle(spec, state, **setup, how=how, frozen=frozen).epoch(batches, accumulate, max_norm).state
        shown = [
            name for name in want.state if not torch.allclose(state_then[name].double(), want.state[name].double())
        ]
        if shown and not any(same(state_then, other) for other in known.values()):
            known[name] = state_then
    agree(told["state"], want.state, of=f"the weights after {of}", tol=1e-5 if max_norm else None, known=known)
    agree(told["loss"], sum(want.losses) / len(want.losses), of=f"the loss that {of} returns", tol=1e-5)
    return told, want


def same(one, other):
    return all(torch.allclose(one[name].double(), other[name].double()) for name in one)


@part("train_epoch")
def test_epoch_by_hand(attempt):
    """Three examples in one batch and one in the next make one step of a quarter."""
    ones, y = torch.ones(3, 1, dtype=torch.float64), torch.tensor([0, 0, 0])
    batches = [(ones, y), (ones[:1], torch.tensor([1]))]
    state = {"0.weight": torch.zeros(2, 1, dtype=torch.float64), "0.bias": torch.zeros(2, dtype=torch.float64)}
    told = attempt.run(drivers.trained, [("linear", 1, 2)], state, batches, 2, None, {"lr": 1.0})
    quarter = torch.tensor([[0.25], [-0.25]], dtype=torch.float64)
    want = {"0.weight": quarter, "0.bias": quarter.flatten()}
    known = {
        "a mean of the batches' means, in which the two cancel each other,": {
            name: 0 * value for name, value in want.items()
        },
        "the sum over examples": {name: 4 * value for name, value in want.items()},
    }
    of = "train_epoch from zero weights, 3 examples of class 0 and 1 of class 1, accumulate 2, lr 1"
    agree(told["state"], want, of=f"the weights after {of}", known=known)
    agree(told["loss"], math.log(2), of=f"the loss that {of} returns")
    state = {"0.weight": torch.tensor([[0.0], [1000.0]]).double(), "0.bias": torch.zeros(2, dtype=torch.float64)}
    told = attempt.run(drivers.trained, [("linear", 1, 2)], state, [(ones[:1], y[:1])], 1, None, {"lr": 1.0})
    moved = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    want = {"0.weight": state["0.weight"] + moved, "0.bias": moved.flatten()}
    of = "train_epoch of one example of class 0 with logits (0, 1000), lr 1"
    agree(told["state"], want, of=f"the weights after {of}")
    agree(told["loss"], 1000.0, of=f"the loss that {of} returns")


@part("train_epoch")
@pytest.mark.parametrize("sizes", [(4, 7, 2), (1,), (3, 5, 3, 2, 6)], ids=str)
def test_epoch_of_single_batches(attempt, draw, sizes):
    """Without accumulation each batch makes a step: gradients, step, rate, and from zero again."""
    told, _ = hold_epoch(attempt, draw, sizes, 1)
    agree(told["order"], ["step", "rate"] * len(sizes), of="the order of optimizer steps and scheduler steps")
    agree(told["lr"], 0.3 * 0.7 ** len(sizes), of=f"the rate after {len(sizes)} steps")


@part("train_epoch")
@pytest.mark.parametrize("accumulate", [2, 3, 4, 7])
@pytest.mark.parametrize("sizes", [(4, 1, 6, 2, 5, 3, 8), (5, 3, 7, 2)], ids=str)
def test_epoch_accumulates_examples(attempt, draw, sizes, accumulate):
    """A window is the mean over its examples, the last, shorter one too; the scheduler counts optimizer steps."""
    told, want = hold_epoch(attempt, draw, sizes, accumulate)
    agree(told["order"], ["step", "rate"] * want.steps, of=f"steps and rates, {len(sizes)} batches by {accumulate}")
    agree(told["sizes"], list(sizes), of="the sizes of the batches that ran through the model")


@part("train_epoch")
def test_epoch_in_float32(attempt, draw):
    """A float32 model is trained in float32, to its precision."""
    setup = {"lr": 0.3, "momentum": 0.6, "factor": 0.7}
    state, batches, *wide = singly(state_of(draw, NET), batches_of(draw, (4, 1, 6, 2, 5)))
    want = Oracle(NET, wide[0], **setup).epoch(wide[1], 2, None)
    told = attempt.run(drivers.trained, NET, state, batches, 2, None, {**setup, "dtype": torch.float32})
    of = "train_epoch of a float32 model, accumulate 2"
    agree(told["state"], {name: value.float() for name, value in want.state.items()}, of=f"weights after {of}")
    agree(told["loss"], sum(want.losses) / len(want.losses), of=f"the loss that {of} returns", tol=1e-5)


@part("train_epoch")
@pytest.mark.parametrize("max_norm", [None, 0.05])
def test_epoch_with_groups_of_parameters(attempt, draw, max_norm):
    """An optimizer may have several groups: the gradients of all are divided, and clipped by their common norm."""
    setup = {"lr": 0.3, "momentum": 0.6, "factor": 0.7}
    state, batches = state_of(draw, NET), batches_of(draw, (4, 1, 6, 2, 5))
    want = Oracle(NET, state, **setup).epoch(batches, 2, max_norm).state
    got = attempt.run(drivers.trained_in_groups, NET, state, batches, 2, max_norm, setup)
    of = f"the weights after train_epoch with an optimizer of three groups, accumulate 2, max_norm {max_norm}"
    agree(got, want, of=of, tol=1e-5 if max_norm else None)


@part("train_epoch")
def test_epoch_of_many_batches(attempt, draw):
    """61 batches of up to 40 examples, eleven to a window: the last window has six."""
    sizes, setup = [draw.random.randrange(1, 41) for _ in range(61)], {"lr": 0.1, "momentum": 0.5, "factor": 0.9}
    state, batches = state_of(draw, NET), batches_of(draw, sizes)
    want = Oracle(NET, state, **setup).epoch(batches, 11, 0.5)
    told = attempt.run(drivers.trained, NET, state, batches, 11, 0.5, setup)
    of = "train_epoch of 61 batches of up to 40, accumulate 11, max_norm 0.5"
    agree(told["state"], want.state, of=f"the weights after {of}", tol=1e-5)
    agree(told["loss"], sum(want.losses) / len(want.losses), of=f"the loss that {of} returns", tol=1e-5)


@part("train_epoch")
@pytest.mark.parametrize("max_norm", [0.05, 0.0, 1e3])
def test_epoch_clips_each_window(attempt, draw, max_norm):
    """The gradient of the whole window is clipped, once, before the step."""
    hold_epoch(attempt, draw, (4, 1, 6, 2, 5), 2, max_norm)


@part("train_epoch")
def test_epoch_begins_with_nothing(attempt, draw):
    """What is in .grad before the call counts for nothing; afterwards every gradient is None; the mode is training."""
    told, _ = hold_epoch(attempt, draw, (4, 7, 2), 2, leftover=True, of="train_epoch with old gradients in .grad")
    assert all(told["grads"]), "after train_epoch some gradient is not None"
    assert told["training"], "after train_epoch some module is not in training mode"
    assert told["grad_mode"], "gradients are switched off after train_epoch"
    state, batches, outside = state_of(draw, NET), batches_of(draw, (4, 7, 2)), ("0.weight",)
    told = attempt.run(drivers.trained, NET, state, batches, 2, None, {"lr": 0.3}, True, (), outside)
    of = "train_epoch with an optimizer that does not have the first weight"
    agree(
        told["state"], Oracle(NET, state, 0.3, frozen=outside).epoch(batches, 2, None).state, of=f"weights after {of}"
    )
    assert all(told["grads"]), f"after {of} some gradient is not None"


@part("train_epoch")
@pytest.mark.parametrize("max_norm", [None, 0.2])
def test_epoch_leaves_frozen_parameters(attempt, draw, max_norm):
    """Parameters without gradient stay as they are; the others are trained, and clipped, without them."""
    of = f"train_epoch of a model whose first weight is frozen, accumulate 2, max_norm {max_norm}"
    told, _ = hold_epoch(attempt, draw, (4, 7, 2), 2, max_norm, leftover=True, frozen=("0.weight",), of=of)
    agree(told["frozen"], ["0.weight"], of=f"the frozen parameters after {of}")


@part("train_epoch")
@pytest.mark.parametrize("accumulate", [1, 3])
def test_epoch_runs_in_training_mode(attempt, draw, accumulate):
    """Batch norm takes each batch's own statistics, and its running ones move once a batch; no scheduler is fine."""
    spec = [("linear", 5, 7), ("bn", 7), ("linear", 7, 3)]
    setup = {"lr": 0.2, "momentum": 0.0}
    of = f"train_epoch of a model with batch norm that was in evaluation mode, accumulate {accumulate}, no scheduler"
    hold_epoch(attempt, draw, (4, 7, 2, 5), accumulate, spec=spec, setup=setup, of=of)


@part("train_epoch")
def test_epoch_by_default(attempt, draw):
    """Without options every batch makes a step and nothing is clipped."""
    state, batches = state_of(draw, NET), [(50 * x, y) for x, y in batches_of(draw, (4, 7))]
    told = attempt.run(drivers.trained_by_default, NET, state, batches, {"lr": 0.3})
    want = Oracle(NET, state, 0.3).epoch(batches, 1, None)
    agree(told["state"], want.state, of="the weights after train_epoch of two batches, no options")
    agree(told["steps"], 2, of="the optimizer steps of two batches, no options")


@part("train_epoch")
@pytest.mark.parametrize(("accumulate", "max_norm"), [(1, None), (5, None), (4, 0.1)])
def test_epoch_memory(attempt, accumulate, max_norm):
    """One batch's graph is alive at a time, whatever `accumulate` is; afterwards nothing is."""
    count, rows, width = 15, 67, 1009
    loss, cost = attempt.cost(drivers.epoch_cost, count, rows, width, accumulate, max_norm)
    assert math.isfinite(loss), "the loss is not finite"
    hidden, parameters = 4 * rows * width, 4 * (3 * width + width + 2 * width + 2)
    of = f"train_epoch of {count} batches of {rows}, hidden width {width}, accumulate {accumulate}, max_norm {max_norm}"
    known = {"the graphs of a whole window": 2 * accumulate * hidden + 6 * parameters} if accumulate > 1 else None
    at_most(cost.peak, 4 * hidden + 6 * parameters, of=f"bytes alive at once in {of}", known=known)
    at_most(cost.nodes, 24, of=f"nodes of autograd alive at once in {of}")
    at_most(cost.kept, 0, of=f"bytes kept after {of}, beside what the optimizer keeps")
    at_most(cost.kept_nodes, 0, of=f"nodes of autograd kept after {of}")


@part("train_epoch")
def test_epoch_refuses(attempt, draw):
    """No batch, and accumulate below 1, are a ValueError."""
    state = state_of(draw, NET)
    with refusal(ValueError, of="train_epoch of no batch"):
        attempt.run(drivers.trained, NET, state, [], 1, None, {"lr": 0.1})
    for accumulate in (0, -2):
        with refusal(ValueError, of=f"train_epoch with accumulate {accumulate}"):
            attempt.run(drivers.trained, NET, state, batches_of(draw, (3, 2)), accumulate, None, {"lr": 0.1})


# --- parameter_groups -------------------------------------------------------------------------------------------------


def hold_groups(got, decayed, rest, decay, of):
    assert len(got) == 2, f"{of}: expected two groups, got {len(got)}"
    agree([weight for weight, _ in got], [decay, 0.0], of=f"{of}: weight_decay of the two groups")
    for (_, names), want, which in zip(got, (decayed, rest), ("decays", "does not decay"), strict=True):
        for name in want:
            assert names.count(name) == 1, f"{of}: {name!r} is {names.count(name)} times in the group that {which}"
        agree(names, list(want), of=f"{of}: the parameters of the group that {which}")


@part("parameter_groups")
def test_groups_of_a_layer(attempt):
    """A weight decays, a bias does not, nor does a norm."""
    got = attempt.run(drivers.grouped, [("linear", 3, 2), ("layer_norm", 2), ("linear", 2, 5)], decay=0.3)
    rest = ["0.bias", "1.weight", "1.bias", "2.bias"]
    hold_groups(got, ["0.weight", "2.weight"], rest, 0.3, "parameter_groups of linear, norm, linear")


@part("parameter_groups")
def test_groups_of_many_layers(attempt):
    """Convolutions and embeddings decay; every norm's scale does not, also one over two axes."""
    spec = [
        ("embedding", 7, 3),
        ("layer_norm", (5, 3)),
        ("conv", 2, 3, 3),
        ("group_norm", 1, 3),
        ("bn", 4),
        ("rms_norm", (2, 7)),
        ("rms_norm", 3),
        ("linear", 3, 1),
    ]
    rest = [
        "1.weight",
        "1.bias",
        "2.bias",
        "3.weight",
        "3.bias",
        "4.weight",
        "4.bias",
        "5.weight",
        "6.weight",
        "7.bias",
    ]
    of = "parameter_groups of embedding, LayerNorm over (5, 3), conv, GroupNorm, BatchNorm, RMSNorms, linear"
    hold_groups(attempt.run(drivers.grouped, spec), ["0.weight", "2.weight", "7.weight"], rest, 0.1, of)


@part("parameter_groups")
def test_groups_go_by_axes_not_by_names(attempt):
    """A matrix that is called bias decays, a vector that is called weight does not; tied tensors come once."""
    got = attempt.run(drivers.grouped, "odd")
    decayed = ["bias", "norm", "filters", "embedding.weight", "layer_norm.weight"]
    rest = ["weight", "temperature", "head.bias", "scale.weight", "scale.bias"]
    of = "parameter_groups of a model with misleading names, tied embeddings, and `scale`, of a subclass of LayerNorm"
    hold_groups(got, decayed, rest, 0.1, of)


@part("parameter_groups")
def test_groups_of_a_deep_model(attempt):
    """Modules within modules, in lists and dicts: what lies deep is grouped like what lies on top."""
    decayed, rest = [], []
    for i in range(12):
        rest += [f"blocks.{i}.norms.first.weight", f"blocks.{i}.norms.first.bias", f"blocks.{i}.norms.second.weight"]
        decayed += [f"blocks.{i}.mlp.0.weight", f"blocks.{i}.mlp.1.0.weight"]
        rest += [f"blocks.{i}.mlp.0.bias", f"blocks.{i}.mlp.1.0.bias"]
    hold_groups(attempt.run(drivers.grouped, "deep"), decayed, rest, 0.1, "parameter_groups of twelve blocks in a list")


@part("parameter_groups")
def test_groups_leave_frozen_parameters_out(attempt):
    """What requires no gradient is in no group; a group may be empty."""
    spec = [("linear", 3, 2), ("linear", 2, 5)]
    got = attempt.run(drivers.grouped, spec, frozen=("0.weight", "1.bias"))
    hold_groups(got, ["1.weight"], ["0.bias"], 0.1, "parameter_groups, 0.weight and 1.bias frozen")
    got = attempt.run(drivers.grouped, [("layer_norm", 3)], decay=0.0)
    hold_groups(got, [], ["0.weight", "0.bias"], 0.0, "parameter_groups of a norm alone, decay 0")
    everything = [f"{i}.{name}" for i in range(2) for name in ("weight", "bias")]
    got = attempt.run(drivers.grouped, spec, frozen=everything)
    hold_groups(got, [], [], 0.1, "parameter_groups of a frozen model")


# --- EarlyStopping ----------------------------------------------------------------------------------------------------


def watched(values, patience, min_delta=0.0, mode="min", *, how=""):
    """[stop, best, best_step] after each value, from the list of improvements so far."""
    sign = -1.0 if mode == "min" else 1.0
    told, improvements = [], []
    for i, value in enumerate(values):
        against = improvements[-1] if improvements else None
        if how == "lowest" and i:
            better = max((sign * v for v in values[:i] if v == v), default=None)
            against = None if better is None else (i, sign * better)
        if how == "last" and i:
            against = (i - 1, values[i - 1])
        gain = sign * (value - against[1]) if against else math.inf
        good = gain >= min_delta if how == "equal" else gain > min_delta
        if value == value and good:
            improvements.append((i, value))
        bad = i - improvements[-1][0] if improvements else i + 1
        late = how == "late"
        best = improvements[-1] if improvements else (None, None)
        told.append([bad > patience if late else bad >= patience, best[1], best[0]])
    return told


def stopping_mistakes(values, patience, min_delta=0.0, mode="min"):
    want, known = watched(values, patience, min_delta, mode), {}
    for name, how in {
        "best as the best value ever seen": "lowest",
        "a comparison with the value before": "last",
        "a gain of exactly min_delta as an improvement": "equal",
        "stopping one value later": "late",
    }.items():
        made = watched(values, patience, min_delta, mode, how=how)
        if made != want and made not in known.values():
            known[name] = made
    return known


def hold_stopping(attempt, values, patience, min_delta=0.0, mode="min", cut=None):
    options = {"patience": patience, "min_delta": min_delta, "mode": mode}
    got = attempt.run(drivers.watched, values, options, cut)
    of = f"[stop, best, best_step] of EarlyStopping({patience}, {min_delta:g}, {mode!r}) after each of {values}"
    if cut is not None:
        of += f", in a new object from value {cut} on"
    agree(
        got,
        watched(values, patience, min_delta, mode),
        of=of,
        known=stopping_mistakes(values, patience, min_delta, mode),
    )


@part("EarlyStopping")
def test_stopping_by_hand(attempt):
    """.9, .8, .79, .78, .77 with min_delta 0.1 and patience 2: best is .79, step 2, and the fifth value stops."""
    want = [[False, 0.9, 0], [False, 0.9, 0], [False, 0.79, 2], [False, 0.79, 2], [True, 0.79, 2]]
    values = [0.9, 0.8, 0.79, 0.78, 0.77]
    assert watched(values, 2, 0.1) == want, "the oracle"
    hold_stopping(attempt, values, 2, 0.1)


@part("EarlyStopping")
@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_stopping_waits(attempt, draw, mode, patience):
    """So many values in a row without improvement stop, an improvement starts the count again."""
    values = [0.5, 0.4, 0.41, 0.42, 0.39, 0.39, 0.5, 0.45, 0.6, 0.39, 0.2, 0.3]
    hold_stopping(attempt, values if mode == "min" else [1 - v for v in values], patience, 0.0, mode)
    hold_stopping(attempt, [draw.random.gauss(0, 1) for _ in range(23)], patience, 0.0, mode)


@part("EarlyStopping")
@pytest.mark.parametrize("mode", ["min", "max"])
def test_stopping_counts_gains_above_min_delta(attempt, draw, mode):
    """A gain of exactly min_delta is none; small gains add up against the last improvement."""
    sign = 1.0 if mode == "min" else -1.0
    hold_stopping(attempt, [sign * v for v in (8.0, 7.75, 7.5, 7.25, 7.25, 6.5, 6.25, 6.0, 5.75)], 3, 0.5, mode)
    walk = [2.0 - 0.04 * i + draw.random.gauss(0, 0.05) for i in range(41)]
    hold_stopping(attempt, [sign * v for v in walk], 4, 0.2, mode)


@part("EarlyStopping")
@pytest.mark.parametrize("mode", ["min", "max"])
def test_stopping_of_a_long_run(attempt, draw, mode):
    """400 values, patience 31, with a cut in the middle."""
    sign = 1.0 if mode == "min" else -1.0
    values = [sign * (math.exp(-i / 60) + draw.random.gauss(0, 0.05)) for i in range(400)]
    got = attempt.run(drivers.watched, values, {"patience": 31, "min_delta": 0.01, "mode": mode}, 217)
    of = f"[stop, best, best_step] of EarlyStopping(31, 0.01, {mode!r}) after each of 400 values"
    agree(got, watched(values, 31, 0.01, mode), of=of)


@part("EarlyStopping")
def test_stopping_with_nan(attempt):
    """NaN is never an improvement, at the beginning neither; Inf after Inf is none."""
    nan, inf = math.nan, math.inf
    hold_stopping(attempt, [nan, nan, 0.5, nan, 0.4, nan, nan, 0.6], 2)
    hold_stopping(attempt, [nan, nan, nan], 3)
    hold_stopping(attempt, [1.0, nan, nan, 0.5, nan], 2, 0.1, "max")
    hold_stopping(attempt, [inf, inf, 3.0, inf, -inf, -inf, nan], 2)
    hold_stopping(attempt, [-inf, 2.0, -inf, inf, inf], 2, 0.3, "max")


@part("EarlyStopping")
def test_stopping_by_default(attempt):
    """Without options min_delta is 0 and smaller is better; negative and integer values are values."""
    got = attempt.run(drivers.watched, [3, -1, -1.0, -2, 0], {"patience": 2})
    want = [[False, 3.0, 0], [False, -1.0, 1], [False, -1.0, 1], [False, -2.0, 3], [False, -2.0, 3]]
    agree(got, want, of="[stop, best, best_step] of EarlyStopping(2) after each of 3, -1, -1, -2, 0")


@part("EarlyStopping")
@pytest.mark.parametrize("cut", [0, 1, 3, 6, 9])
def test_stopping_resumes(attempt, draw, cut):
    """A new object with the state of an old one goes on as that one would."""
    hold_stopping(attempt, [math.nan, 0.5, 0.4, 0.41, 0.45, 0.39, 0.39, 0.5, 0.45, 0.6, 0.3], 3, 0.05, cut=cut)
    hold_stopping(attempt, [draw.random.gauss(0, 1) for _ in range(13)], 4, 0.1, "max", cut=cut)


@part("EarlyStopping")
def test_stopping_state_is_plain(attempt):
    """The state is a dict of numbers and None, as a checkpoint may hold it, and stays as it is."""
    for values in ([], [math.nan], [0.5, 0.4, 0.6]):
        told = attempt.run(drivers.stopping_state, values, {"patience": 2})
        state = told["state"]
        assert isinstance(state, dict), f"state_dict after {values} is no dict but {state!r}"
        assert state, f"state_dict after {values} is empty"
        plain = all(value is None or isinstance(value, int | float) for value in state.values())
        assert plain, f"state_dict after {values} is {state!r}: numbers and None only"
        agree(told["after"], state, of=f"a state after {values}, once its object and one that loaded it went on")
        agree(told["seen"], len(values), of=f"`seen` after {values}")


# --- save_checkpoint --------------------------------------------------------------------------------------------------

RANDOM = [("linear", 5, 7), ("bn", 7), ("noise",), ("dropout", 0.4), ("linear", 7, 3)]
SETUP = {"lr": 0.3, "momentum": 0.6, "factor": 0.7}


def hold_resumed(attempt, reference, draw, spec, setup, cut, count=5):
    """A run that is cut is one that is not."""
    state, batches = state_of(draw, spec), batches_of(draw, (4, 7, 3, 6, 5)[:count])
    got = attempt.run(drivers.resumed, spec, state, setup, batches, cut)
    want = reference.run(drivers.resumed, spec, state, setup, batches, None)
    of = f"a run saved after {cut} of {count} steps and loaded into new objects"
    if spec is NET:
        agree(want["state"], Oracle(spec, state, **setup).epoch(batches, 1, None).state, of="the uncut run")
    return got, want, of


@part("save_checkpoint")
@pytest.mark.parametrize("cut", [1, 4])
def test_checkpoint_holds_the_weights(attempt, reference, draw, cut):
    """Plain gradient descent goes on as if it had not been cut; extra comes back as it was."""
    got, want, of = hold_resumed(attempt, reference, draw, NET, {"lr": 0.3}, cut)
    agree(got["state"], want["state"], of=f"the weights of {of}")
    extra = {"batch": cut, "best": {"w": torch.arange(3.0)}, "names": ["a", None], "pair": (1, 2.5)}
    agree(got["extra"], extra, of=f"extra of {of}")
    assert got["mode"], "load_checkpoint put the model into evaluation mode"
    assert got["same_objects"], "after load_checkpoint the model has other parameter objects: the optimizer loses them"


@part("save_checkpoint")
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_checkpoint_holds_optimizer_and_schedule(attempt, reference, draw, cut):
    """Momentum and rate go on, too."""
    got, want, of = hold_resumed(attempt, reference, draw, NET, SETUP, min(cut, 4))
    agree(got["steps"], want["steps"], of=f"the optimizer's count of steps after {of}")
    agree(got["rate"], want["rate"], of=f"the rate after {of}")
    agree(got["state"], want["state"], of=f"the weights of {of}, with momentum and a schedule")


@part("save_checkpoint")
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_checkpoint_holds_buffers_and_random_numbers(attempt, reference, draw, cut):
    """Dropout, augmentation from numpy and random, and running statistics go on as if nothing had been."""
    got, want, of = hold_resumed(attempt, reference, draw, RANDOM, SETUP, cut)
    for name, mine, yours in zip(("torch", "numpy", "random"), got["next"], want["next"], strict=True):
        agree(mine, yours, of=f"the next numbers of {name} after {of}")
    agree(got["state"], want["state"], of=f"weights and running statistics of {of}")


@part("save_checkpoint")
def test_saving_changes_nothing(attempt, reference, draw):
    """A run that is saved after every step is the run that is not; one file is there, and no other."""
    state, batches = state_of(draw, RANDOM), batches_of(draw, (4, 7, 3))
    got = attempt.run(drivers.saved_beside, RANDOM, state, SETUP, batches)
    want = reference.run(drivers.resumed, RANDOM, state, SETUP, batches, None)
    agree(got["state"], want["state"], of="the weights of a run that is saved after every step")
    assert got["training"], "after save_checkpoint some module is in evaluation mode that was in training mode"
    for mine, yours in zip(got["next"], want["next"], strict=True):
        agree(mine, yours, of="the next random numbers of a run that is saved after every step")
    told = attempt.run(drivers.resumed, NET, state_of(draw, NET), SETUP, batches, 1)
    agree(told["files"], ["last.pt"], of="the files in the folder after save_checkpoint")


@part("save_checkpoint")
@pytest.mark.parametrize("fails", ["value", "disk"])
def test_interrupted_save_keeps_the_old_one(attempt, draw, fails):
    """If writing fails half-way, the exception goes through, and the checkpoint from before can be loaded."""
    state = state_of(draw, [("linear", 3, 2)])
    told = attempt.run(drivers.saved_twice, state, fails)
    why = {"value": "a value in extra could not be written", "disk": "the disk was full"}[fails]
    assert told["raised"], f"{why}, and save_checkpoint hid it"
    hold_moments(told, ["first"], f"a second save, which failed half-way since {why}")
    agree(told["extra"], {"step": 1}, of="extra of the checkpoint, after a second save that failed half-way")
    agree(told["state"], state, of="the weights of the checkpoint, after a second save that failed half-way")
    told = attempt.run(drivers.first_save_that_fails, state, fails)
    assert told["raised"], f"{why}, and save_checkpoint hid it"
    assert not told["there"], f"a first save failed half-way since {why}, and left a file at the path"


def hold_moments(told, allowed, of):
    for moment in told["moments"][1]:
        assert moment in allowed, (
            f"in the middle of {of}, there was {moment} {'of a checkpoint ' if moment == 'a part' else ''}at the path: "
            "a process that is killed then has lost its checkpoint"
        )
    assert not told["overwritten"], f"{of}: the old file was written over, not replaced"


@part("save_checkpoint")
def test_path_is_whole_at_every_moment(attempt, draw):
    """While a checkpoint is saved over another one, the path holds the old one and then the new one, whole."""
    state = state_of(draw, [("linear", 3, 2)])
    told = attempt.run(drivers.saved_twice, state)
    assert not told["raised"], "a second save to the same path raised an exception"
    hold_moments(told, ["first", "second"], "a second save")
    assert False in told["beside"], (
        "while a checkpoint was saved over another one no other file was in the folder of path: what is written "
        "meanwhile lies beside it, since a rename from elsewhere may be refused"
    )
    assert True not in told["beside"], "save_checkpoint made a folder in the folder of path: write beside it"
    assert "a part" not in told["moments"][0], "while the first checkpoint was saved, the path held a part of it"
    agree(told["extra"], {"step": 2}, of="extra of a checkpoint that was saved over another one")
    want = state | {"0.weight": torch.zeros_like(state["0.weight"])}
    agree(told["state"], want, of="the weights of a checkpoint that was saved over another one")


@part("save_checkpoint")
def test_path_without_a_folder(attempt, draw):
    """A path that is a name alone is a file in the working directory."""
    told = attempt.run(drivers.saved_here, state_of(draw, [("linear", 3, 2)]))
    agree(told["files"], ["last.pt"], of="the files in the working directory after save_checkpoint to 'last.pt'")
    agree(told["extra"], {"step": 1}, of="extra of a checkpoint that was saved to 'last.pt'")


@part("save_checkpoint")
def test_checkpoint_runs_no_code(attempt, draw):
    """A file with a program in it is refused, and the program does not run, whatever it calls."""
    told = attempt.run(drivers.program_in_a_checkpoint, state_of(draw, [("linear", 3, 2)]))
    agree(told["fine"], {"step": 1}, of="extra of a checkpoint without a program")
    if told["ran"]:
        raise Wrong(
            f"load_checkpoint ran code that stood in the file, such as {told['ran'][0]}: "
            "torch.load(path, weights_only=True)"
        )
    if told["taken"]:
        raise Wrong(f"load_checkpoint took a file that is no checkpoint but a program, such as {told['taken'][0]}")


@part("save_checkpoint")
def test_a_path_that_is_saved_to_again(attempt, reference, draw):
    """What is loaded is what lies there now, and what was loaded before stays as it is."""
    turns = tuple(({"batch": i, "best": {"w": draw.normal(3)}},) for i in (3, 5))
    given = NET, state_of(draw, NET), SETUP
    hold_turns(attempt, reference, drivers.extras_in_turn, *given, turns=turns, of="the extra of a checkpoint")


# --- fit --------------------------------------------------------------------------------------------------------------


class Fitted:
    """What fit should give: every epoch trained by the oracle, scored, the best one kept."""

    def __init__(self, spec, state, setup, epochs, validation, accumulate=1, max_norm=None, patience=100, delta=0.0):
        oracle = Oracle(spec, state, **setup)
        self.history, states = [], []
        for batches in epochs:
            oracle.epoch(batches, accumulate, max_norm)
            states.append(oracle.state)
            self.history.append(scored(spec, states[-1], validation))
            stop, _, self.best = watched([row["loss"] for row in self.history], patience, delta)[-1]
            if stop:
                break
        self.states, self.steps, self.rate = states, oracle.steps, setup["lr"] * oracle.factor**oracle.rate_steps
        self.last = states[-1]
        self.state = self.last if self.best is None else states[self.best]

    @property
    def result(self):
        return {"history": self.history, "best_epoch": self.best, "steps": self.steps}


def task_of(draw, counts, turn=None, sizes=(4, 7, 3, 6, 5)):
    """(epochs, validation): class k lies along axis k; from epoch `turn` on labels are wrong, so that it gets worse."""

    def batch(n, wrong=0):
        y = draw.integers(0, 3, n)
        return draw.normal(n, 5) + 3 * F.one_hot(y, 5).double(), (y + wrong) % 3

    epochs = [[batch(n, int(turn is not None and e >= turn)) for n in sizes[:count]] for e, count in enumerate(counts)]
    return epochs, [batch(6), batch(11)]


def hold_fit(attempt, draw, spec, counts, turn, setup=SETUP, patience=100, delta=0.0, options=None, latest=None, **how):
    """What fit did, and what it should have done. latest: the best epoch is not later than this one."""
    options = options or {}
    wanted = (options.get("accumulate", 1), options.get("max_norm"))
    for _ in range(100):
        state = state_of(draw, spec)
        epochs, validation = task_of(draw, counts, turn)
        want = Fitted(spec, state, setup, epochs, validation, *wanted, patience, delta)
        if latest is None or want.best <= latest:
            break
    watch = {"patience": patience, "min_delta": delta}
    told = attempt.run(drivers.fitted, spec, state, setup, epochs, validation, options, watch, **how)
    return told, want


def hold_result(told, want, of, tol=None):
    agree(told["result"], want.result, of=f"what {of} returns", tol=tol or 1e-8)
    known = {}
    if want.best is not None and not same(want.last, want.state):
        known["the weights of the last epoch"] = want.last
    agree(told["state"], want.state, of=f"the weights after {of}", tol=tol, known=known)
    agree(told["watched"], want.best, of=f"stopping.best_step after {of}")


@part("fit")
@pytest.mark.parametrize("keep", [False, True], ids=["no path", "path"])
def test_fit_keeps_the_best_weights(attempt, draw, keep):
    """The history is that of every epoch, and the model ends with the weights after the best one."""
    told, want = hold_fit(attempt, draw, NET, [3, 2, 4, 3, 2], 2, latest=3, keep=keep)
    hold_result(told, want, f"fit of five epochs whose labels are wrong from epoch 2 on, {keep=}")
    agree(told["made"], [want.steps], of="optimizer steps that fit made")
    agree(told["rate"], want.rate, of="the rate after fit")


@part("fit")
@pytest.mark.parametrize("accumulate", [2, 3])
def test_fit_trains_in_windows(attempt, draw, accumulate):
    """Windows, clipping and batch norm are those of train_epoch; a window ends with its epoch."""
    spec = [("linear", 5, 7), ("bn", 7), ("linear", 7, 3)]
    options = {"accumulate": accumulate, "max_norm": 0.3}
    told, want = hold_fit(attempt, draw, spec, [5, 4, 3], 1, options=options, latest=1, keep=False)
    hold_result(told, want, f"fit of a model with batch norm, accumulate {accumulate}, max_norm 0.3", tol=1e-5)


@part("fit")
def test_fit_of_a_long_run(attempt, draw):
    """Twelve epochs of up to 23 batches, seven to a window, cut three times."""
    state = state_of(draw, NET)
    sizes = [draw.random.randrange(1, 9) for _ in range(23)]
    epochs, validation = task_of(draw, [23, 17, 9, 1, 20, 14, 7, 8, 23, 3, 2, 12], 7, sizes)
    options = {"accumulate": 7, "max_norm": 0.4, "every": 2}
    told = attempt.run(drivers.fitted, NET, state, SETUP, epochs, validation, options, cuts=[5, 9, ["evaluation", 2]])
    want = Fitted(NET, state, SETUP, epochs, validation, 7, 0.4)
    hold_result(told, want, "fit of twelve epochs of up to 23 batches, taken away three times", tol=1e-5)


@part("fit")
def test_fit_keeps_the_last_improvement(attempt, draw):
    """The best epoch is stopping.best_step, whose gain counted, not the one of the lowest loss."""
    options = {"accumulate": 2}
    told, want = hold_fit(attempt, draw, NET, [3, 2, 4, 3], None, delta=100.0, options=options)
    lowest = min(range(4), key=lambda i: want.history[i]["loss"])
    hold_result(told, want, f"fit of four epochs, the lowest loss in epoch {lowest}, with a min_delta of 100")


@part("fit")
def test_fit_without_a_scheduler(attempt, draw):
    """scheduler may be None: the rate stays, also in a run that was cut."""
    setup = {"lr": 0.1, "momentum": 0.6}
    told, want = hold_fit(attempt, draw, NET, [3, 2, 3], 2, setup=setup, latest=1, cuts=[4])
    hold_result(told, want, "fit without a scheduler, taken away after 4 optimizer steps")
    agree(told["rate"], 0.1, of="the rate after fit without a scheduler")


@part("fit")
def test_fit_stops_early(attempt, draw):
    """Where stopping says so the run ends, no further epoch is asked for, and the best weights come back."""
    told, want = hold_fit(attempt, draw, NET, [3, 3, 3, 3, 3, 3, 3], 2, patience=2, delta=0.01, keep=False)
    hold_result(told, want, "fit of seven epochs with patience 2, labels wrong from epoch 2 on")
    agree(sorted(set(told["asked"])), list(range(len(want.history))), of="the epochs whose data fit asked for")


@part("fit")
def test_fit_without_a_best_epoch(attempt, draw):
    """Where every validation loss is NaN, no epoch is best, and the weights stay as they are at the end."""
    state = state_of(draw, NET)
    epochs, validation = task_of(draw, [3, 2])
    validation[0][0][0, 0] = math.nan
    told = attempt.run(drivers.fitted, NET, state, SETUP, epochs, validation, {}, keep=False)
    want = Oracle(NET, state, **SETUP).epoch(epochs[0], 1, None).epoch(epochs[1], 1, None)
    agree(told["result"]["best_epoch"], None, of="best_epoch where every validation loss is NaN")
    assert all(math.isnan(row["loss"]) for row in told["result"]["history"]), "a loss over a NaN is NaN"
    agree(told["state"], want.state, of="the weights after fit where every validation loss is NaN")


@part("fit")
@pytest.mark.parametrize(
    ("cuts", "every"),
    [([1], 1), ([4], 1), ([7], 2), ([2, 3, 1], 1), ([5, 3], 3), ([["evaluation", 1]], 1), ([3, ["evaluation", 0]], 2)],
    ids=str,
)
def test_fit_resumes_anywhere(attempt, draw, cuts, every):
    """A run that is cut, amid an epoch or in an evaluation, ends as one that was not; no saved step is made again."""
    options = {"accumulate": 2, "every": every}
    told, want = hold_fit(attempt, draw, NET, [5, 4, 5, 3], 2, options=options, latest=2, cuts=cuts)
    of = f"fit that was taken away after {cuts} optimizer steps, saved every {every}"
    made, steps = sum(told["made"]), want.steps
    limit = steps + len(cuts) * (every - 1)
    at_most(
        made,
        limit,
        of=f"optimizer steps in {of}, all processes together",
        known={"starting anew": steps + cuts[0]} if isinstance(cuts[0], int) else None,
    )
    agree(told["total"], steps, of=f"the optimizer's own count of steps after {of}")
    hold_result(told, want, of)


@part("fit")
@pytest.mark.parametrize("every", [1, 2, 3])
def test_fit_saves_when_it_says(attempt, draw, every):
    """A checkpoint is written after each `every`-th step of an epoch, and after each evaluation; at no other time."""
    counts = [5, 4, 1]
    told, want = hold_fit(attempt, draw, NET, counts, None, options={"every": every})
    hold_result(told, want, f"fit of three epochs, {every=}")
    saved = [step % every == 0 or step == count for count in counts for step in range(1, count + 1)]
    of = f"whether a checkpoint was written after each step of epochs of {counts} steps, {every=}"
    agree(told["saved"], saved, of=of)


@part("fit")
@pytest.mark.parametrize("cuts", [[1], [4], [2, 3]], ids=str)
def test_fit_resumes_random_numbers(attempt, reference, draw, cuts):
    """With dropout, augmentation and batch norm, a run that is cut ends as one that was not."""
    state = state_of(draw, RANDOM)
    epochs, validation = task_of(draw, [3, 2, 3], 1)
    args = (RANDOM, state, SETUP, epochs, validation, {"accumulate": 1})
    got, want = attempt.run(drivers.fitted, *args, cuts=cuts), reference.run(drivers.fitted, *args)
    of = f"fit of a model with dropout and batch norm, taken away after {cuts} optimizer steps"
    agree(got["result"], want["result"], of=f"what {of} returns", tol=1e-8)
    agree(got["state"], want["state"], of=f"the weights after {of}")


@part("fit")
def test_fit_goes_on(attempt, draw):
    """A finished run makes no step; with more epochs it goes on from its last weights, and its best ones are kept."""
    told, want = hold_fit(attempt, draw, NET, [3, 2, 3, 2], 1, latest=0, limits=[2, 2, 4, 3])
    hold_result(told, want, "fit of two epochs, called again with two, with four, and with three")
    of = "optimizer steps of fit with 2, again 2, then 4, then 3 epochs (of 3, 2, 3, 2 batches)"
    agree(told["made"], [5, 0, 5, 0], of=of)
    told, want = hold_fit(attempt, draw, NET, [3, 3, 3, 3, 3, 3, 3], 1, patience=2, limits=[7, 7])
    hold_result(told, want, "fit that had stopped early, called again")
    agree(told["made"], [want.steps, 0], of="optimizer steps of fit that stops early, and of a second call")


@part("fit")
def test_fit_saves_every_step_by_default(attempt, draw):
    """Without `every` a checkpoint is written after each optimizer step; without epochs nothing is trained."""
    told, want = hold_fit(attempt, draw, NET, [3, 3], None, cuts=[2])
    hold_result(told, want, "fit that was taken away after 2 optimizer steps, no options")
    at_most(sum(told["made"]), want.steps, of="optimizer steps of both processes together")
    state = state_of(draw, NET)
    _, validation = task_of(draw, [])
    told = attempt.run(drivers.fitted, NET, state, SETUP, [], validation, {}, keep=False)
    agree(told["result"], {"history": [], "best_epoch": None, "steps": 0}, of="what fit of no epoch returns")
    agree(told["state"], state, of="the weights after fit of no epoch")


@part("fit")
def test_other_data_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = []
    for _ in range(2):
        epochs, validation = task_of(draw, [3, 2], 7)
        asked.append((NET, state_of(draw, NET), SETUP, epochs, validation, {}))
    hold_again(attempt, reference, drivers.fitted, *asked, of="fit of two epochs", views=False, keep=False)


# --- checkpoint_segments ----------------------------------------------------------------------------------------------


def layers_of(draw, count, width, dtype=torch.float64):
    """Weights and biases of blocks that stay far from where a GELU's slope is 0 but for rounding."""
    weights = [draw.normal(width, width, scale=0.2, dtype=dtype) for _ in range(count)]
    return weights, [draw.normal(width, scale=0.5, dtype=dtype) for _ in range(count)]


def through(weights, biases, x):
    """The plain pass of the blocks x + gelu(W x + b), written out."""
    for w, b in zip(weights, biases, strict=True):
        z = x @ w.T + b
        x = x + z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return x


def gradients_of(weights, biases, x, upstream):
    """(out, dx, [dW, db, dW, db, ...])."""
    leaves = [t.clone().requires_grad_() for t in (*weights, *biases)]
    x, count = x.clone().requires_grad_(), len(weights)
    out = through(leaves[:count], leaves[count:], x)
    found = torch.autograd.grad((out * upstream).sum(), [x, *leaves])
    return out.detach(), found[0], [g for i in range(count) for g in (found[1 + i], found[1 + count + i])]


@part("checkpoint_segments")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("count", "segments"), [(4, 2), (1, 1), (7, 3), (5, 5), (11, 4), (6, 1), (45, 7)])
def test_segments_give_the_plain_pass(attempt, draw, count, segments, dtype):
    """Values and all gradients are those of the blocks one after the other, however they are cut."""
    kind = getattr(torch, dtype)
    weights, biases = layers_of(draw, count, 5, kind)
    x, upstream = draw.normal(3, 5, dtype=kind), draw.normal(3, 5, dtype=kind)
    wide = [[t.double() for t in ts] for ts in (weights, biases)]
    out, dx, dparameters = gradients_of(*wide, x.double(), upstream.double())
    got = attempt.run(drivers.segmented, weights, biases, x, segments, upstream)
    of = f"checkpoint_segments of {count} blocks, cut into {segments}, {dtype}"
    agree(got["out"], out.to(kind), axes="n d", of=f"the value of {of}")
    agree(got["x"], dx.to(kind), axes="n d", of=f"the gradient of x through {of}")
    agree(got["parameters"], [g.to(kind) for g in dparameters], of=f"the gradients of W, b of each block through {of}")
    at_most(got["most_calls"], 2, of=f"calls of one block in {of}, both passes together")
    assert got["modes"], f"{of} changed the mode of a block"


@part("checkpoint_segments")
@pytest.mark.parametrize(
    ("frozen", "needs"), [((), False), ((0, 1), False), ((2,), True), ((0, 1, 2, 3), True)], ids=str
)
def test_segments_and_what_needs_no_gradient(attempt, draw, frozen, needs):
    """Parameters get gradients although x needs none; frozen ones get none."""
    weights, biases = layers_of(draw, 4, 5)
    x, upstream = draw.normal(3, 5), draw.normal(3, 5)
    out, dx, dparameters = gradients_of(weights, biases, x, upstream)
    got = attempt.run(drivers.segmented, weights, biases, x, 2, upstream, needs=needs, frozen=frozen)
    of = f"checkpoint_segments of 4 blocks in 2 segments, x {'with' if needs else 'without'} gradient, frozen {frozen}"
    agree(got["out"], out, axes="n d", of=f"the value of {of}")
    assert got["spare"] is None, f"{of}: a parameter that its block does not use has a gradient"
    if needs:
        agree(got["x"], dx, axes="n d", of=f"the gradient of x through {of}")
    else:
        assert got["x"] is None, f"{of}: x requires no gradient, and has one"
    want = [None if i // 2 in frozen else g for i, g in enumerate(dparameters)]
    for i, (mine, yours) in enumerate(zip(got["parameters"], want, strict=True)):
        name = f"{'bias' if i % 2 else 'weight'} of block {i // 2}"
        if yours is None:
            assert mine is None, f"{of}: the frozen {name} has a gradient"
        else:
            assert mine is not None, f"{of}: the {name} has no gradient"
            agree(mine, yours, of=f"the gradient of the {name} through {of}")


@part("checkpoint_segments")
@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_segments_with_blocks_that_come_again(attempt, draw, segments):
    """A block may come more than once, in one segment or in several: its gradients add up. Blocks may be a tuple."""
    weights, biases = layers_of(draw, 2, 5)
    x, upstream, order = draw.normal(3, 5), draw.normal(3, 5), (0, 1, 0, 0, 1)
    out, dx, found = gradients_of([weights[i] for i in order], [biases[i] for i in order], x, upstream)
    want = [sum(found[2 * place + k] for place, i in enumerate(order) if i == one) for one in (0, 1) for k in (0, 1)]
    got = attempt.run(drivers.repeated, weights, biases, order, x, segments, upstream)
    of = f"checkpoint_segments of the blocks a b a a b, cut into {segments}"
    agree((got["out"], got["x"]), (out, dx), of=f"the value, and the gradient of x, of {of}")
    agree(got["parameters"], want, of=f"the gradients of W, b of a and b through {of}")


@part("checkpoint_segments")
def test_segments_begin_with_an_embedding(attempt, draw):
    """The first block may take tokens, which have no gradient at all."""
    table = draw.normal(11, 5)
    weights, biases = layers_of(draw, 3, 5)
    tokens, upstream = draw.integers(0, 11, 7), draw.normal(7, 5)
    leaf = table.clone().requires_grad_()
    out, dx, dparameters = gradients_of(weights, biases, table[tokens], upstream)
    want = torch.autograd.grad((leaf[tokens] * dx).sum(), leaf)[0]
    got = attempt.run(drivers.embedded, table, weights, biases, tokens, 2, upstream)
    agree(got["out"], out, axes="n d", of="the value of checkpoint_segments of an embedding and three blocks")
    agree(got["parameters"], [want, *dparameters], of="the gradients of the embedding and of W, b of three blocks")


@part("checkpoint_segments")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("segments", [1, 3, 6])
def test_segments_drop_the_same_twice(attempt, reference, draw, segments, training):
    """A dropout drops in the second run what it dropped in the first, and random numbers go on as in a plain pass."""
    weights, biases = layers_of(draw, 6, 5)
    x, upstream = draw.normal(7, 5), draw.normal(7, 5)
    how = {"p": 0.4, "training": training}
    got = attempt.run(drivers.segmented, weights, biases, x, segments, upstream, **how)
    want = reference.run(drivers.segmented, weights, biases, x, segments, upstream, **how, own=False)
    of = (
        f"checkpoint_segments of 6 blocks with dropout, cut into {segments}, {'training' if training else 'evaluation'}"
    )
    agree(got["out"], want["out"], axes="n d", of=f"the value of {of}")
    agree(got["x"], want["x"], axes="n d", of=f"the gradient of x through {of}")
    agree(got["parameters"], want["parameters"], of=f"the gradients of W, b of each block through {of}")
    agree(
        got["random"], want["random"], of=f"torch's next random numbers after the forward and the backward pass, {of}"
    )


@part("checkpoint_segments")
def test_segments_under_no_grad(attempt, draw):
    """Under no_grad it is a plain pass: each block runs once."""
    weights, biases = layers_of(draw, 5, 3)
    x = draw.normal(7, 3)
    got = attempt.run(drivers.without_grad, weights, biases, x, 2)
    agree(got["out"], through(weights, biases, x), axes="n d", of="checkpoint_segments under no_grad")
    assert not got["requires_grad"], "under no_grad the result requires gradients"
    agree(got["calls"], [1] * 5, of="calls of each block under no_grad")


@part("checkpoint_segments")
@pytest.mark.parametrize(
    ("count", "segments", "training", "needs"), [(16, 4, True, True), (25, 5, True, False), (24, 3, False, True)]
)
def test_segments_memory(attempt, draw, count, segments, training, needs):
    """Little more than one tensor a segment waits for the backward pass, and one segment's are alive at once."""
    rows, width = 2039, 5
    weights, biases = layers_of(draw, count, width)
    x, upstream = draw.normal(rows, width), draw.normal(rows, width)
    unit, run = 8 * rows * width, count // segments
    apart = 6 * 1024 * segments + 8 * 4 * count * (width + 1) * width
    of = f"checkpoint_segments of {count} blocks in {segments} segments on x ({rows}, {width}), {training=}, {needs=}"
    args = (weights, biases, x, segments, upstream)
    (out, _, _), cost = attempt.cost(drivers.segments_cost, *args, "forward", training, needs)
    waits = (segments + 2 * run + 2) * unit + apart
    known = {"a plain pass": 2 * count * unit}
    at_most(cost.saved, waits, of=f"bytes saved for backward by {of}", known=known)
    at_most(cost.kept + unit, waits, of=f"bytes that wait for the backward pass after {of}", known=known)
    (value, dx, dw), cost = attempt.cost(drivers.segments_cost, *args, "both", training, needs)
    in_torch(cost, of=of)
    most = (segments + 3 * run + 6) * unit + apart
    at_most(
        cost.peak,
        most,
        of=f"bytes alive at once in both passes of {of}",
        known={"a plain pass": (2 * count + 2) * unit},
    )
    forward = count * 2 * rows * width * width
    at_most(
        cost.flops, 4 * forward, of=f"operations of both passes of {of}", known={"two forward passes more": 5 * forward}
    )
    agree(value, out, axes="n d", of=f"the values of two passes of {of}")
    leaf, first = x.clone().requires_grad_(), weights[0].clone().requires_grad_()
    y = leaf
    for w, b in zip([first, *weights[1:]], biases, strict=True):
        y = y + (y @ w.T + b).tanh()
    want = torch.autograd.grad((y * upstream).sum(), [leaf, first])
    agree(value, y.detach(), axes="n d", of=f"the value of {of}")
    agree(dw, want[1], axes="d e", of=f"the gradient of the first weight through {of}")
    if needs:
        agree(dx, want[0], axes="n d", of=f"the gradient of x through {of}")


@part("checkpoint_segments")
def test_segments_refuse(attempt, draw):
    """No segment, or more segments than blocks, is a ValueError."""
    weights, biases = layers_of(draw, 3, 5)
    x = draw.normal(2, 5)
    for segments in (0, 4, -1):
        with refusal(ValueError, of=f"checkpoint_segments of 3 blocks in {segments} segments"):
            attempt.run(drivers.without_grad, weights, biases, x, segments)
