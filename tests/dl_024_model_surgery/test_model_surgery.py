"""Hidden checks of dl_024. Oracles: sorted lists, masked networks, optimizers by entry, gradients in closed form.

Where magnitudes decide what stays they are different multiples of 1/8, so that no rounding and no tie decides; ties
have checks of their own, which look at counts and at what may not go.
"""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grader.checks import agree, part, refusal
from grader.checks.again import hold_again
from grader.checks.cases import each_dtype, of_type

from . import drivers


def distinct(draw, *shape, dtype="float64", least=1):
    """Numbers whose magnitudes are all different multiples of 1/8, with random signs."""
    n = math.prod(shape)
    signs = 1 - 2 * draw.integers(0, 2, n)
    return ((draw.permutation(n) + least) * signs / 8).to(of_type(dtype)).view(shape)


def close(draw, *shape, dtype="float64", tiny=True):
    """Numbers whose magnitudes differ in late digits, and, if tiny, whose squares are 0."""
    n = math.prod(shape)
    step, scale = (2**-40, 2.0**-600) if dtype == "float64" else (2**-20, 2.0**-100)
    signs = 1 - 2 * draw.integers(0, 2, n).double()
    sizes = (1 + (draw.permutation(n).double() + 1) * step) * (scale if tiny else 1.0)
    return (sizes * signs).to(of_type(dtype)).view(shape)


def turned(x):
    """The same numbers, with the first and the last axis exchanged in memory."""
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def own_memory(attempt, name, *given):
    """What comes back shares no memory with what went in."""
    shared = attempt.run(drivers.shared, name, *given)
    assert shared is False, f"{name}: what comes back lies in the memory of what went in; it is to have its own"


def share_of(draw, *counts):
    """A random share of which no product with one of the counts lies near a half."""
    while True:
        share = 0.1 + 0.8 * draw.random.random()
        if all(abs(share * n % 1 - 0.5) > 0.02 for n in counts):
            return share


def same_bits(got, want, of):
    agree(got, want, of=of)
    assert torch.equal(got, want), f"{of}: the values differ in their last bits; they are to be the very same numbers"


# --- magnitude_mask ---------------------------------------------------------------------------------------------------


def fewest(values, count, worth=abs):
    """The mask, as a list, of a list without its `count` smallest values."""
    gone = set(sorted(range(len(values)), key=lambda k: worth(values[k]))[:count])
    return [k not in gone for k in range(len(values))]


def masks_by_lists(weights, sparsity, scope, worth=abs, count=round):
    lists = {name: weight.flatten().tolist() for name, weight in weights.items()}
    if scope == "layer":
        flat = {name: fewest(values, count(sparsity * len(values)), worth) for name, values in lists.items()}
    else:
        together = [value for values in lists.values() for value in values]
        kept = iter(fewest(together, count(sparsity * len(together)), worth))
        flat = {name: [next(kept) for _ in values] for name, values in lists.items()}
    return {name: torch.tensor(flat[name], dtype=torch.bool).view(one.shape) for name, one in weights.items()}


@part("magnitude_mask")
def test_six_weights_by_hand(attempt):
    """Of (0.1, -0.4, 0.5) and (3, -2, 1) two go together, or one each."""
    weights = {"a": torch.tensor([0.1, -0.4, 0.5]), "b": torch.tensor([3.0, -2.0, 1.0])}
    for scope, a, b in (("global", [0, 0, 1], [1, 1, 1]), ("layer", [0, 1, 1], [1, 1, 0])):
        want = {"a": torch.tensor(a).bool(), "b": torch.tensor(b).bool()}
        agree(attempt.magnitude_mask(weights, 0.4, scope), want, of=f"magnitude_mask of six weights, 0.4, {scope}")


@part("magnitude_mask")
@each_dtype
def test_the_smallest_go(attempt, draw, dtype):
    """Exactly round(sparsity · N) weights go, those with the smallest magnitude, together or in each tensor."""
    everything = distinct(draw, 130, dtype=dtype)
    weights = {
        "first": everything[:77].view(7, 11),
        "bias": everything[77:80],
        "kernel": everything[80:128].view(2, 3, 4, 2).transpose(0, 3),
        "nothing": everything[:0].view(0, 4),
        "one": everything[128],
    }
    sizes = [129, 77, 3, 48, 1]
    rows = [(sparsity, scope) for scope in ("global", "layer") for sparsity in (share_of(draw, *sizes), 0.0, 1.0, 0.13)]
    answers = attempt.each("magnitude_mask", [(weights, *row) for row in rows])
    for (sparsity, scope), got in zip(rows, answers, strict=True):
        want = masks_by_lists(weights, sparsity, scope)
        known = {
            "signs counted: the most negative go": masks_by_lists(weights, sparsity, scope, worth=float),
            "the largest go": masks_by_lists(weights, sparsity, scope, worth=lambda x: -abs(x)),
            "scope the other way": masks_by_lists(weights, sparsity, "layer" if scope == "global" else "global"),
            "the count rounded down": masks_by_lists(weights, sparsity, scope, count=math.floor),
            "the count rounded up": masks_by_lists(weights, sparsity, scope, count=math.ceil),
            "True for what goes": {name: ~mask for name, mask in want.items()},
        }
        known = {name: value for name, value in known.items() if any(not torch.equal(value[k], want[k]) for k in want)}
        unlike = [name for name, a in known.items() if not any(_same(a, b) for o, b in known.items() if o != name)]
        known = {name: known[name] for name in unlike}
        of = f"magnitude_mask of 129 weights in 5 tensors, sparsity {sparsity:.3f}, {scope}, {dtype}"
        agree(got, want, of=of, known=known)
    agree(attempt.magnitude_mask(weights, 0.3), masks_by_lists(weights, 0.3, "global"), of="magnitude_mask, no scope")


def _same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@part("magnitude_mask")
def test_the_count_is_exact_among_equals(attempt, draw):
    """Where many magnitudes are equal exactly as many go, and none that goes is larger than one that stays."""
    weights = {"a": draw.integers(-1, 2, 7, 5).double(), "b": draw.integers(-2, 3, 23).double(), "c": torch.zeros(6)}
    weights["c"] = weights["c"].double()
    for scope, groups in (("global", ["abc"]), ("layer", ["a", "b", "c"])):
        for sparsity in (0.1, 0.36, 0.71, 0.9):
            got = attempt.magnitude_mask(weights, sparsity, scope)
            of = f"magnitude_mask of integers, sparsity {sparsity}, {scope}"
            agree({name: torch.zeros_like(got[name]) for name in "abc"}, {n: w > 9 for n, w in weights.items()}, of=of)
            for group in groups:
                sizes = torch.cat([weights[name].abs().flatten() for name in group])
                kept = torch.cat([got[name].flatten() for name in group])
                agree(int((~kept).sum()), round(sparsity * len(sizes)), of=f"{of}: how many of {group} go")
                assert sizes[~kept].max() <= sizes[kept].min(), f"{of}: a larger weight of {group} goes than one stays"


@part("magnitude_mask")
@pytest.mark.parametrize(
    ("sparsity", "scope"), [(-0.01, "global"), (1.01, "layer"), (float("nan"), "global"), (0.5, "all")], ids=str
)
def test_magnitude_mask_refuses(attempt, sparsity, scope):
    """A sparsity outside of 0 ... 1, and another scope, are a ValueError."""
    with refusal(ValueError, of=f"magnitude_mask with sparsity {sparsity}, scope '{scope}'"):
        attempt.magnitude_mask({"a": torch.ones(3)}, sparsity, scope)


@part("magnitude_mask")
@each_dtype
def test_n_of_each_m_stay(attempt, draw, dtype):
    """Of each m neighbours in a row the n largest stay."""
    cases = [((7, 20), (), 2, 4), ((3, 2, 12), (1, 3), 1, 3), ((5, 10), (4, 5), 4, 5), ((6,), (0, 2), 0, 2)]
    for shape, given, n, m in [*cases, ((2, 6), (3, 3), 3, 3), ((3, 7), (1, 7), 1, 7)]:
        weight = distinct(draw, *shape, dtype=dtype)
        rows = [row[k : k + m] for row in weight.view(-1, shape[-1]).tolist() for k in range(0, shape[-1], m)]
        want = torch.tensor([fewest(row, m - n) for row in rows]).view(shape)
        known = {}
        if 0 < n < m and shape[0] == 7:
            known = {
                "groups down the columns": torch.cat([_down(weight[:4]), weight[4:] > 99]),
                "signs counted": torch.tensor([fewest(row, m - n, float) for row in rows]).view(shape),
                "the n smallest": torch.tensor([fewest(row, n, lambda x: -abs(x)) for row in rows]).view(shape),
            }
        agree(attempt.n_of_m_mask(weight, *given), want, of=f"n_of_m_mask of {shape}, {n} of {m}, {dtype}", known=known)
    tall = distinct(draw, 8, 5, dtype=dtype).T
    want = torch.tensor([fewest(row[k : k + 4], 2) for row in tall.tolist() for k in (0, 4)]).view(5, 8)
    agree(attempt.n_of_m_mask(tall), want, of="n_of_m_mask of a transposed (5, 8)")


def _down(four):
    return torch.tensor([fewest(column, 2) for column in four.T.tolist()]).T


@part("magnitude_mask")
def test_n_of_m_among_equals(attempt, draw):
    """Exactly n of m stay where all are equal, or zero."""
    weight = draw.integers(-1, 2, 9, 12).double()
    for n, m in ((2, 4), (1, 3), (5, 6)):
        got = attempt.n_of_m_mask(weight, n, m)
        of = f"n_of_m_mask of -1, 0, 1, {n} of {m}"
        agree(torch.zeros_like(got), weight > 9, of=of)
        kept, sizes = got.view(-1, m), weight.abs().view(-1, m)
        agree(kept.sum(dim=1), torch.full((len(kept),), n), of=f"{of}: how many of a group stay")
        least = sizes.masked_fill(~kept, 9).amin(dim=1)
        assert (sizes.masked_fill(kept, -1).amax(dim=1) <= least).all(), f"{of}: a larger one goes than one that stays"


@part("magnitude_mask")
@pytest.mark.parametrize(("i", "n", "m"), [(10, 2, 4), (8, 5, 4), (8, -1, 4)])
def test_n_of_m_refuses(attempt, i, n, m):
    """Rows that m does not divide, and n beyond 0 ... m, are a ValueError."""
    with refusal(ValueError, of=f"n_of_m_mask, {n} of {m} in rows of {i}"):
        attempt.n_of_m_mask(torch.ones(3, i), n, m)


@part("magnitude_mask")
@each_dtype
def test_magnitudes_that_are_close(attempt, draw, dtype):
    """Late digits decide as well as early ones, and so they do of numbers whose squares are 0."""
    everything = close(draw, 60, dtype=dtype)
    weights = {"a": everything[:35].view(5, 7), "b": everything[35:]}
    for scope in ("global", "layer"):
        want = masks_by_lists(weights, 0.37, scope)
        of = f"magnitude_mask of tiny magnitudes that are close, {scope}, {dtype}"
        agree(attempt.magnitude_mask(weights, 0.37, scope), want, of=of)
    weight = close(draw, 5, 12, dtype=dtype)
    want = torch.tensor([fewest(row, 2) for row in weight.view(-1, 4).tolist()]).view(5, 12)
    agree(attempt.n_of_m_mask(weight), want, of=f"n_of_m_mask of tiny magnitudes that are close, {dtype}")


@part("magnitude_mask")
def test_masks_of_other_weights_of_that_size(attempt, reference, draw):
    """Each call takes its own weights, whatever came before in the same sizes and however they lie in memory."""
    asked = [({"a": distinct(draw, 4, 6), "b": distinct(draw, 5, least=25)}, 0.4) for _ in range(2)]
    hold_again(attempt, reference, "magnitude_mask", *asked, of="magnitude_mask of (4, 6) and (5)")
    asked = [(distinct(draw, 5, 8),) for _ in range(2)]
    hold_again(attempt, reference, "n_of_m_mask", *asked, of="n_of_m_mask of (5, 8)")


# --- prune_channels ---------------------------------------------------------------------------------------------------


@part("prune_channels")
@each_dtype
def test_the_strongest_channels(attempt, draw, dtype):
    """The largest L1 norms of the rows, their indices in ascending order."""
    agree(
        attempt.strongest_channels(torch.tensor([[1.0, -2.0], [5.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), 2),
        torch.tensor([1, 3]),
        of="strongest_channels of rows (1, -2), (5, 0), (0, 1), (2, 2)",
    )
    for shape, count in (((11, 3, 2, 2), 4), ((7, 5), 6), ((5, 2, 3), 1), ((3, 4), 3)):
        weight = distinct(draw, *shape, dtype=dtype)
        rows = [(sum(map(abs, row)), k) for k, row in enumerate(weight.flatten(1).tolist())]
        if len({norm for norm, _ in rows}) < len(rows):
            weight = weight * torch.arange(1, shape[0] + 1).to(weight.dtype).view(-1, *[1] * (len(shape) - 1)) ** 2
            rows = [(sum(map(abs, row)) + k * 1e-9, k) for k, row in enumerate(weight.flatten(1).tolist())]
        want = torch.tensor(sorted(k for _, k in sorted(rows)[-count:]))
        agree(attempt.strongest_channels(weight, count), want, of=f"strongest_channels of {shape}, {count}, {dtype}")
    rows = torch.tensor([[0.0, 0.0, 3.0], [2.0, 2.0, 2.0], [-5.0, 0.0, 0.0], [0.5, -1.0, 0.25]], dtype=of_type(dtype))
    for count, want, known in (
        (1, [1], {"the L2 norm": torch.tensor([2])}),
        (2, [1, 2], {"sums without magnitudes": torch.tensor([0, 1])}),
    ):
        of = f"strongest_channels of rows (0, 0, 3), (2, 2, 2), (-5, 0, 0), (.5, -1, .25), count {count}"
        agree(attempt.strongest_channels(rows, count), torch.tensor(want), of=of, known=known)


@part("prune_channels")
@each_dtype
def test_norms_that_are_close(attempt, draw, dtype):
    """Late digits of the norms decide as well as early ones."""
    step = 2**-40 if dtype == "float64" else 2**-20
    order = draw.permutation(11)
    weight = torch.ones(11, 3, dtype=torch.float64)
    weight[:, 1] += order * step
    weight = (weight * (1 - 2 * draw.integers(0, 2, 11, 3))).to(of_type(dtype))
    for count in (4, 11):
        want = (order >= 11 - count).nonzero()[:, 0]
        of = f"strongest_channels of (11, 3), norms that are close, count {count}, {dtype}"
        agree(attempt.strongest_channels(weight, count), want, of=of)


def network_state(draw, kind, dtype):
    """Random parameters and statistics for one of the drivers' networks."""
    state = {}
    for name, value in drivers.network(kind).state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(5)
        elif name.endswith("running_var"):
            state[name] = draw.uniform(*value.shape, low=0.5, high=2.0, dtype=of_type(dtype))
        else:
            state[name] = draw.normal(*value.shape, dtype=of_type(dtype))
    return state


def masked_out(kind, state, index, keep, x, training, where):
    """The whole network, with the other channels zeroed in the input of the module `where`, or as its output (-k)."""
    model = drivers.network(kind).to(x.dtype)
    model.load_state_dict(state)
    model.train(training)
    out = x
    layers = [k for k, m in enumerate(model) if isinstance(m, nn.Conv2d | nn.Linear)]
    following = layers[layers.index(index) + 1]
    with torch.no_grad():
        for k, one in enumerate(model):
            if k == (following if where == "input" else index + 1):
                channels = len(model[index].weight)
                gate = torch.zeros(channels, dtype=x.dtype).index_fill(0, keep, 1)
                block = out[0].numel() // channels if out.dim() == 2 else 1
                gate = gate.repeat_interleave(block) if out.dim() == 2 else gate.view(-1, *[1] * (out.dim() - 2))
                out = out * gate
            out = one(out)
    return out


CASES = [("convolutions", 0, [1, 4, 6]), ("convolutions", 3, [0, 3]), ("linear", 0, [0, 2, 3, 7, 10])]
CASES += [("two layers in a row", 0, [0, 1, 4]), ("a convolution with batch statistics", 0, [3])]
CASES += [("norms further on", 0, [1, 4])]
CASES += [("convolutions", 0, list(range(7)))]
INPUTS = {
    "norms further on": (4, 2, 5, 6),
    "two layers in a row": (6, 3),
    "convolutions": (3, 3, 5, 4),
    "linear": (5, 6),
    "a convolution with batch statistics": (4, 2, 3, 4),
}


def _asked(attempt, draw, kind, index, kept, dtype="float64", frozen=(), modes=None):
    state, keep = network_state(draw, kind, dtype), torch.tensor(kept)
    x = draw.normal(*INPUTS[kind], dtype=of_type(dtype))
    modes = modes or [True] * len(drivers.network(kind))
    got = attempt.run(drivers.pruned, kind, state, index, keep, x, list(frozen), modes)
    return state, keep, x, got, f"prune_channels of the network '{kind}', module {index}, keep {kept}, {dtype}"


def _cut(kind, state, index, keep):
    """The state of the smaller network, by slicing."""
    model = drivers.network(kind)
    layers = [k for k, m in enumerate(model) if isinstance(m, nn.Conv2d | nn.Linear)]
    following = layers[layers.index(index) + 1]
    small = {}
    for name, value in state.items():
        k = int(name.split(".")[0])
        if index <= k < following and value.dim():
            old = len(state[f"{index}.weight"])
            value = value.unflatten(0, (old, -1))[keep].flatten(0, 1)  # behind Flatten a norm has blocks, too
        elif name == f"{following}.weight":
            old = len(state[f"{index}.weight"])
            value = value.unflatten(1, (old, -1))[:, keep].flatten(1, 2)
        small[name] = value
    return small


@part("prune_channels")
@pytest.mark.parametrize(("kind", "index", "kept"), CASES, ids=str)
def test_all_that_hangs_on_a_channel_is_cut(attempt, draw, kind, index, kept):
    """Rows of the layer, entries of the norm behind it, columns of the next layer: what is left, and nothing more."""
    state, keep, _, got, of = _asked(attempt, draw, kind, index, kept)
    want = _cut(kind, state, index, keep)
    agree(
        {name: list(value.shape) for name, value in got["state"].items()},
        {name: list(value.shape) for name, value in want.items()},
        of=f"{of}: the shapes of the parameters and buffers",
        known={"channels that are zeroed, nothing smaller": {name: list(value.shape) for name, value in state.items()}}
        if len(kept) < len(state[f"{index}.weight"])
        else None,
    )
    for name, value in want.items():
        agree(got["state"][name], value, of=f"{of}: {name}")
    agree(got["parameters"], sorted(dict(drivers.network(kind).named_parameters())), of=f"{of}: names of parameters")


@part("prune_channels")
@each_dtype
@pytest.mark.parametrize(("kind", "index", "kept"), CASES[:6], ids=str)
def test_the_small_network_is_the_masked_one(attempt, draw, kind, index, kept, dtype):
    """It computes what the whole one does with the other channels zeroed at the next layer, in both modes."""
    state, keep, x, got, of = _asked(attempt, draw, kind, index, kept, dtype)
    for mode in ("eval", "train"):
        want = masked_out(kind, state, index, keep, x, mode == "train", "input")
        at_once = masked_out(kind, state, index, keep, x, mode == "train", "output")
        agree(got[mode], want, of=f"{of}: outputs in {mode} mode", known={"filters zeroed before the norm": at_once})


@part("prune_channels")
def test_all_else_stays(attempt, draw):
    """Attributes follow the sizes; strides, modes and frozen parameters stay; nothing is shared or a view."""
    for kind, index, kept in CASES[:6]:
        modes = [draw.random.random() < 0.5 for _ in drivers.network(kind)]
        names = [name for name, _ in drivers.network(kind).named_parameters()]
        frozen = sorted(name for name in names if draw.random.random() < 0.5)
        state, keep, _, got, of = _asked(attempt, draw, kind, index, kept, frozen=frozen, modes=modes)
        agree(got["old"], state, of=f"{of}: the old network afterwards, when the new one was changed")
        agree(got["frozen"], frozen, of=f"{of}: the parameters without requires_grad")
        agree(got["modes"], modes, of=f"{of}: whether each module is in training mode")
        agree(got["own mode"], modes[-1], of=f"{of}: whether the Sequential itself is in training mode")
        agree(got["old modes"], modes, of=f"{of}: modes of the old modules, when the new ones were changed")
        agree(got["beyond"], 0, of=f"{of}: bytes that its tensors keep alive beside their own")
        model = drivers.network(kind)
        small = _cut(kind, state, index, keep)
        want = drivers._facts(model)
        agree(got["old facts"], want, of=f"{of}: the attributes of the old network")
        for k, (name, facts) in enumerate(want):
            if f"{k}.weight" in small and "Norm" not in name:
                sizes = dict(zip(("out_", "in_"), small[f"{k}.weight"].shape[:2], strict=True))
                facts.update(
                    {key: sizes[key[: key.index("_") + 1]] for key in facts if key.startswith(("in_", "out_"))}
                )
            elif f"{k}.running_mean" in small and index < k:
                facts["num_features"] = len(small[f"{k}.running_mean"])
            elif "num_features" in facts and k == index + 1:
                facts["num_features"] = len(kept)
        agree(got["facts"], want, of=f"{of}: classes and attributes of the modules")


@part("prune_channels")
@pytest.mark.parametrize(("kind", "index"), [("convolutions", 2), ("convolutions", 7), ("linear", 4), ("linear", 1)])
def test_prune_channels_refuses(attempt, kind, index):
    """A module that is no convolution and no linear layer, and the last of these, are a ValueError."""
    what = type(drivers.network(kind)[index]).__name__
    with refusal(ValueError, of=f"prune_channels of module {index}, {what}, of the network '{kind}'"):
        attempt.run(drivers.pruned_refused, kind, index)


@part("prune_channels")
def test_channels_of_another_layer_of_that_size(attempt, reference, draw):
    """Each call takes its own weights, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(11, 5), 4) for _ in range(2)]
    hold_again(attempt, reference, "strongest_channels", *asked, of="strongest_channels of (11, 5), count 4")


# --- lottery_ticket ---------------------------------------------------------------------------------------------------


def played(initial, trained, rounds, rates, rewind=True, of_all=False, dead_stays=True):
    """All rounds by lists: the masks before each, and the last ones. Mistakes by the other words."""
    masks = {name: [True] * value.numel() for name, value in initial.items()}
    story = [copy.deepcopy(masks)]
    for turn in range(rounds):
        for name, rate in rates.items():
            size = [abs(v) for v in trained[turn][name].flatten().tolist()]
            n = len(size)
            alive = [k for k in range(n) if masks[name][k] or not dead_stays]
            count = round(rate * n * (turn + 1)) - (n - len(alive)) if of_all else round(rate * len(alive))
            gone = set(sorted(alive, key=lambda k: size[k])[: max(count, 0)])
            masks[name] = [k in alive and k not in gone for k in range(n)]
        story.append(copy.deepcopy(masks))
    shaped = [{name: torch.tensor(mask).view(initial[name].shape) for name, mask in one.items()} for one in story]
    ends = initial if rewind else trained[rounds - 1]
    return {name: value * shaped[-1][name] for name, value in ends.items()}, shaped


def lottery(draw, dtype, rounds):
    shapes = {"1.weight": (7, 9), "1.bias": (7,), "2.weight": (3, 7), "2.bias": (3,)}
    initial = {name: draw.normal(*shape, dtype=of_type(dtype)) for name, shape in shapes.items()}
    trained = [{name: distinct(draw, *shape, dtype=dtype) for name, shape in shapes.items()} for _ in range(rounds)]
    return initial, trained


RATES = {"1.weight": 0.3, "2.weight": 0.15}


@part("lottery_ticket")
def test_two_rounds_by_hand(attempt):
    """Trained to (1, 2, 3, 4), half goes, then half of what is left: the fourth begins again at 8."""
    initial = {"w": torch.tensor([5.0, -6.0, 7.0, 8.0])}
    trained = [{"w": torch.tensor([1.0, 2.0, 3.0, 4.0])}] * 2
    got = attempt.run(drivers.ticket, initial, trained, 2, {"w": 0.5})
    agree(got["masks"]["w"], torch.tensor([False, False, False, True]), of="masks after two rounds of half")
    known = {"the trained weights": torch.tensor([0.0, 0.0, 0.0, 4.0])}
    agree(got["weights"]["w"], torch.tensor([0.0, 0.0, 0.0, 8.0]), of="weights after two rounds", known=known)


@part("lottery_ticket")
@each_dtype
@pytest.mark.parametrize("rounds", [1, 4])
def test_the_ticket_has_its_initial_weights(attempt, draw, rounds, dtype):
    """Each round prunes a share of what is left by trained magnitude, and what is left is rewound bit by bit."""
    initial, trained = lottery(draw, dtype, rounds)
    got = attempt.run(drivers.ticket, initial, trained, rounds, RATES)
    weights, story = played(initial, trained, rounds, RATES)
    of = f"lottery_ticket of {rounds} rounds, rates {RATES}, {dtype}"
    known = {}
    if rounds > 1:
        known = {
            "a share of all weights, not of those left": played(initial, trained, rounds, RATES, of_all=True)[1][-1],
            "pruned weights that came back": played(initial, trained, rounds, RATES, dead_stays=False)[1][-1],
        }
    agree(got["masks"], story[-1], of=f"{of}: the masks", known=known)
    end = {"the trained weights, not rewound": played(initial, trained, rounds, RATES, rewind=False)[0]}
    agree(got["weights"], weights, of=f"{of}: the weights", known=end)
    for name, value in weights.items():
        same_bits(got["weights"][name], value, f"{of}: the weights of {name}")


@part("lottery_ticket")
def test_each_training_begins_at_the_initial_weights(attempt, draw):
    """train gets the initial weights, 0 where pruned, and the masks so far, whatever it did to the last ones."""
    rounds = 3
    initial, trained = lottery(draw, "float32", rounds)
    got = attempt.run(drivers.ticket, initial, trained, rounds, RATES)
    _, story = played(initial, trained, rounds, RATES)
    agree(len(got["seen"]), rounds, of=f"lottery_ticket of {rounds} rounds: how often train was called")
    for turn in range(rounds):
        weights, masks = got["seen"][turn]
        of = f"lottery_ticket, what train gets in round {turn + 1}"
        agree(masks, story[turn], of=f"{of}: the masks")
        want = {name: value * story[turn][name] for name, value in initial.items()}
        known = {"what the last training left": {n: v * story[turn][n] for n, v in trained[turn - 1].items()}}
        agree(weights, want, of=f"{of}: the weights", known=known if turn else None)
        for name, value in want.items():
            same_bits(weights[name], value, f"{of}: the weights of {name}")


@part("lottery_ticket")
def test_no_rounds_and_equal_magnitudes(attempt, draw):
    """Without a round nothing goes; among equal trained weights exactly the share goes."""
    initial, trained = lottery(draw, "float64", 1)
    got = attempt.run(drivers.ticket, initial, trained, 0, RATES)
    agree(len(got["seen"]), 0, of="lottery_ticket of 0 rounds: how often train was called")
    agree(got["weights"], initial, of="lottery_ticket of 0 rounds: the weights")
    agree(got["masks"], {n: torch.ones_like(v).bool() for n, v in initial.items()}, of="lottery_ticket of 0 rounds")
    for value in (0.0, -2.5):
        equal = [{name: torch.full_like(one, value) for name, one in initial.items()}] * 3
        got = attempt.run(drivers.ticket, initial, equal, 3, {"1.weight": 0.3})
        left = 63
        for _ in range(3):
            left -= round(0.3 * left)
        of = f"lottery_ticket of three rounds of 0.3, all 63 trained weights {value}: how many are left"
        agree(int(got["masks"]["1.weight"].sum()), left, of=of)
        agree(
            int(got["masks"]["2.weight"].sum()), 21, of="lottery_ticket: how many are left of a tensor without a rate"
        )


@part("lottery_ticket")
@each_dtype
def test_what_was_pruned_stays_pruned_among_zeros(attempt, draw, dtype):
    """Trained weights of 0 that are left may go; those that went in an earlier round do not come back for them."""
    initial = {"w": draw.normal(10, dtype=of_type(dtype))}
    for _ in range(4):
        places = draw.permutation(10)
        first, second = torch.arange(10.0, 0.0, -1.0), torch.tensor([0, 0, 0, 0, 5, 6, 7, 0, 0, 0])
        trained = [{"w": torch.empty(10, dtype=of_type(dtype)).index_copy(0, places, x.to(of_type(dtype)))}
                   for x in (first, second)]  # fmt: skip
        left = attempt.run(drivers.ticket, initial, trained, 2, {"w": 0.3})["masks"]["w"][places]
        of = f"lottery_ticket, two rounds of 3 and 2 of ten, 4 of the 7 left trained to 0, {dtype}"
        agree(left[7:], torch.zeros(3).bool(), of=f"{of}: the three of the first round")
        agree(left[4:7], torch.ones(3).bool(), of=f"{of}: the three that are not 0")
        agree(int(left[:4].sum()), 2, of=f"{of}: how many of the four zeros are left")


@part("lottery_ticket")
@each_dtype
def test_all_go_or_none_and_close_magnitudes(attempt, draw, dtype):
    """Rates of 0 and 1, late digits, turned tensors; what comes back has its own memory."""
    initial, trained = lottery(draw, dtype, 2)
    rates = {"1.weight": 0.3, "2.weight": 1.0, "1.bias": 0.0}
    for one in trained:
        one["1.weight"] = turned(close(draw, 7, 9, dtype=dtype))
    initial["1.weight"] = turned(initial["1.weight"])
    got = attempt.run(drivers.ticket, initial, trained, 2, rates)
    weights, story = played(initial, trained, 2, rates)
    of = f"lottery_ticket of 2 rounds, rates {rates}, {dtype}"
    agree(got["masks"], story[-1], of=f"{of}: the masks")
    agree(got["weights"], weights, of=f"{of}: the weights")
    for rounds in (0, 1):
        own_memory(attempt, "lottery_ticket", initial, rounds, {"1.weight": 0.3})


@part("lottery_ticket")
def test_another_network_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(*lottery(draw, "float64", 1), 1, RATES) for _ in range(2)]
    hold_again(attempt, reference, drivers.ticket, *asked, of="lottery_ticket of one round", views=False, no_grad=True)


# --- regrow -----------------------------------------------------------------------------------------------------------


@part("regrow")
def test_the_share_falls_along_a_cosine(attempt):
    """alpha / 2 · (1 + cos(π step / last)), and 0 from `last` on."""
    rows = [
        (step, last, alpha) for last, alpha in ((100, 0.3), (7, 0.5)) for step in (0, 1, 3, 5, 7, 50, 100, 130, 200)
    ]
    want = [alpha / 2 * (1 + math.cos(math.pi * s / last)) if s < last else 0.0 for s, last, alpha in rows]
    got = attempt.each("regrow_fraction", rows)
    known = {
        "a whole wave: it grows again after `last`": [a / 2 * (1 + math.cos(math.pi * s / n)) for s, n, a in rows],
        "no half": [2 * value for value in want],
        "a straight line": [a * max(0.0, 1 - s / n) for s, n, a in rows],
    }
    for row, one, right, *wrong in zip(rows, got, want, *known.values(), strict=True):
        others = {k: w for k, w in zip(known, wrong, strict=True) if abs(w - right) > 1e-6 and wrong.count(w) == 1}
        agree(
            one + 1,
            right + 1,
            of="1 + regrow_fraction({}, {}, {})".format(*row),
            known={k: w + 1 for k, w in others.items()},
        )


def exchanged(weight, mask, gradient, count, back=True, old_value=False, signed=False):
    """Drop and grow by lists; back=False lets nothing come back at once."""
    w, kept, g = weight.flatten().tolist(), mask.flatten().tolist(), gradient.flatten().tolist()
    alive = [k for k in range(len(w)) if kept[k]]
    dropped = set(sorted(alive, key=lambda k: w[k] if signed else abs(w[k]))[:count])
    survives = [k in alive and k not in dropped for k in range(len(w))]
    free = [k for k in range(len(w)) if not survives[k] and (back or k not in dropped)]
    grown = set(sorted(free, key=lambda k: g[k] if signed else abs(g[k]))[len(free) - count :])
    values = [w[k] if survives[k] or (old_value and k in grown and kept[k]) else 0.0 for k in range(len(w))]
    new = [survives[k] or k in grown for k in range(len(w))]
    return torch.tensor(values, dtype=weight.dtype).view(weight.shape), torch.tensor(new).view(weight.shape)


@part("regrow")
@each_dtype
def test_the_weakest_make_room(attempt, draw, dtype):
    """The kept weights nearest to 0 go, as many come where the gradient is largest, all of those begin at 0."""
    agree(
        attempt.regrow(
            torch.tensor([3.0, 0.1, 0.0, 0.0]),
            torch.tensor([True, True, False, False]),
            torch.tensor([9.0, 1, 5, -7]),
            1,
        ),
        (torch.tensor([3.0, 0.0, 0.0, 0.0]), torch.tensor([True, False, False, True])),
        of="regrow of weight (3, 0.1, 0, 0), gradient (9, 1, 5, -7), count 1",
    )
    for shape, density, count in (
        ((7, 11), 0.4, 9),
        ((23,), 0.8, 6),
        ((3, 5, 2), 0.5, 0),
        ((5, 4), 0.3, 6),
        ((6,), 1, 6),
    ):
        weight, gradient = distinct(draw, *shape, dtype=dtype), distinct(draw, *shape, dtype=dtype)
        n = math.prod(shape)
        mask = (draw.permutation(n) < round(density * n)).view(shape)
        if len(shape) == 2:
            weight, mask = weight.T.contiguous().T, mask.T.contiguous().T
        want = exchanged(weight, mask, gradient, count)
        known = {
            "nothing that was dropped may come back": exchanged(weight, mask, gradient, count, back=False),
            "what comes back keeps its value": exchanged(weight, mask, gradient, count, old_value=True),
            "signs counted": exchanged(weight, mask, gradient, count, signed=True),
        }
        known = {k: v for k, v in known.items() if not all(map(torch.equal, v, want))}
        if len(known) == 3 and any(
            all(map(torch.equal, a, b)) for i, a in enumerate(known.values()) for b in list(known.values())[:i]
        ):
            known = {}
        of = f"regrow of {shape}, {int(mask.sum())} of {n} kept, count {count}, {dtype}"
        agree(attempt.regrow(weight, mask, gradient, count), want, of=of, known=known)


@part("regrow")
def test_what_is_dropped_may_come_back_as_zero(attempt, draw):
    """Where the gradient is largest at what was dropped just now, that comes back, and begins at 0."""
    weight = distinct(draw, 5, 3)
    mask = (draw.permutation(15) < 8).view(5, 3)
    weakest = weight.abs().masked_fill(~mask, 99).flatten().argsort()[:3]
    gradient = distinct(draw, 5, 3)
    gradient.view(-1)[weakest] += 50.0
    known = {
        "nothing that was dropped may come back": exchanged(weight, mask, gradient, 3, back=False),
        "what comes back keeps its value": exchanged(weight, mask, gradient, 3, old_value=True),
    }
    want = exchanged(weight, mask, gradient, 3)
    agree(attempt.regrow(weight, mask, gradient, 3), want, of="regrow, gradients largest at what goes", known=known)


@part("regrow")
@each_dtype
def test_weights_and_gradients_of_zero(attempt, draw, dtype):
    """A kept weight of 0, such as one that has just grown, is still kept; a gradient of 0 may decide as well."""
    weight, gradient = distinct(draw, 11, dtype=dtype), distinct(draw, 11, dtype=dtype) / 1024
    mask = torch.arange(11) < 6
    weight[2] = 0.0
    want = (weight * mask, mask)
    agree(
        attempt.regrow(weight, mask, gradient, 0), want, of=f"regrow of 6 kept weights, one of them 0, count 0, {dtype}"
    )
    everything = torch.ones(11, dtype=torch.bool)
    strongest = weight.abs().argsort(descending=True)[:4]
    gradient[2] = 0.0
    survivors = torch.zeros(11, dtype=torch.bool).index_fill(0, strongest, True)
    of = f"regrow of 11 weights, all kept, count 7: the same come back, as 0, {dtype}"
    agree(attempt.regrow(weight, everything, gradient, 7), (weight * survivors, everything), of=of)


@part("regrow")
@each_dtype
def test_close_magnitudes_and_anything_at_pruned_places(attempt, draw, dtype):
    """Late digits decide; NaN and infinity at pruned places count for nothing; what comes back has its own memory."""
    weight, gradient = close(draw, 7, 5, dtype=dtype), close(draw, 7, 5, dtype=dtype)
    mask = (draw.permutation(35) < 20).view(7, 5)
    want = exchanged(weight, mask, gradient, 6)
    spoilt = weight.masked_fill(~mask, math.nan)
    spoilt[~mask] = spoilt[~mask].index_fill(0, torch.tensor([0, 3]), math.inf)
    for name, given in (("as close", weight), ("NaN or infinite where pruned", spoilt)):
        of = f"regrow of (7, 5), 20 kept, count 6, weights {name}, {dtype}"
        got = attempt.regrow(given, mask, gradient, 6)
        agree(got[1], want[1], of=f"{of}: the mask")
        agree(got[0], want[0], of=f"{of}: the weights")
        assert torch.equal(got[0], want[0]), f"{of}: survivors keep their values, all else is 0"
    for count in (0, 3):
        own_memory(attempt, "regrow", weight * mask, mask, gradient, count)


def stepped(kind, starts, gradients, masks, hold="all"):
    """The same steps by torch's optimizer; hold says what is zeroed after each: 'all', 'values' or nothing."""
    make, options = drivers.OPTIMIZERS[kind]
    parameters = [nn.Parameter(start.clone()) for start in starts]
    optimizer = make(parameters, **options)
    told = []
    for slopes, now in zip(gradients, masks, strict=True):
        for p, slope in zip(parameters, slopes, strict=True):
            p.grad = None if slope is None else slope.clone()
        optimizer.step()
        for p, mask in zip(parameters, now, strict=False):
            with torch.no_grad():
                p.mul_(mask if hold else 1)
                for value in optimizer.state.get(p, {}).values() if hold == "all" else ():
                    if value.shape == p.shape:
                        value.mul_(mask)
        told.append([p.detach().clone() for p in parameters])
    return told, [{k: v.clone() for k, v in optimizer.state[p].items() if torch.is_tensor(v)} for p in parameters]


@part("regrow")
@pytest.mark.parametrize("kind", list(drivers.OPTIMIZERS))
def test_pruned_weights_stay_zero(attempt, draw, kind):
    """Under momentum and decay pruned weights stay 0 and at rest; all others are as the optimizer makes them."""
    dtype = draw.pick(["float64", "float32"])
    shapes = [(5, 3), (7,), (5, 3)]
    starts = [draw.normal(*shape, dtype=of_type(dtype)) for shape in shapes]
    gradients = [[draw.normal(*shape, dtype=of_type(dtype)) for shape in shapes] for _ in range(6)]
    gradients[0][1] = gradients[4][1] = None
    masks = [[torch.ones(5, 3).bool(), torch.ones(7).bool()]]
    for turn in range(1, 6):
        fresh = [(draw.permutation(15) < 9).view(3, 5).T, draw.permutation(7) < 4]
        masks.append(fresh if turn in (2, 4) else masks[-1])
    got = attempt.run(drivers.steps, kind, starts, gradients, masks)
    want, states = stepped(kind, starts, gradients, masks)
    mistakes = {"no mask at all": stepped(kind, starts, gradients, masks, hold="")[0]}
    if kind != "plain SGD":
        mistakes["momentum that survives pruning"] = stepped(kind, starts, gradients, masks, hold="values")[0]
    for turn, values in enumerate(want):
        of = f"masked_step with {kind}, {dtype}, weights after step {turn + 1}"
        known = {name: value[turn] for name, value in mistakes.items()}
        known = {k: v for k, v in known.items() if not all(map(torch.equal, v, values))}
        if len(known) == 2 and all(map(torch.equal, *known.values())):
            known = {}
        agree(got[turn]["values"], values, of=of, known=known)
        for value, mask in zip(got[turn]["values"], masks[turn], strict=False):
            assert not value[~mask].any(), f"{of}: a pruned weight is not exactly 0"
    for k, state in enumerate(states):
        for name, value in state.items():
            agree(
                got[5]["states"][k][name],
                value,
                of=f"masked_step with {kind}: '{name}' of parameter {k}, after 6 steps",
            )


@part("regrow")
@pytest.mark.parametrize("kind", list(drivers.OPTIMIZERS))
def test_gradients_that_are_not_finite_where_pruned(attempt, draw, kind):
    """A gradient of NaN or infinity at a pruned weight leaves it 0 and at rest; gradients of kept ones stay."""
    starts = [draw.normal(5, 3), draw.normal(7)]
    masks = [[(draw.permutation(15) < 9).view(5, 3), draw.permutation(7) < 4]] * 3
    gradients = [[draw.normal(5, 3), draw.normal(7)] for _ in range(3)]
    want, states = stepped(kind, starts, gradients, masks)
    for slopes, now in zip(gradients, masks, strict=True):
        slopes[0][~now[0]], slopes[1][~now[1]] = math.nan, math.inf
    got = attempt.run(drivers.steps, kind, starts, gradients, masks)
    for turn, values in enumerate(want):
        of = f"masked_step with {kind}, gradients NaN and infinite where pruned, step {turn + 1}"
        agree(got[turn]["values"], values, of=f"{of}: the weights")
        for k, mask in enumerate(masks[turn]):
            slope = got[turn]["gradients"][k]
            assert slope is not None, f"{of}: parameter {k} has lost its gradient"
            agree(slope[mask], gradients[turn][k][mask], of=f"{of}: gradients of kept weights of parameter {k}")
    for k, state in enumerate(states):
        for name, value in state.items():
            agree(got[2]["states"][k][name], value, of=f"masked_step with {kind}: '{name}' of parameter {k}")


@part("regrow")
def test_another_layer_of_that_size_regrows(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    mask = torch.arange(24) < 13
    asked = [(distinct(draw, 4, 6), mask[draw.permutation(24)].view(4, 6), distinct(draw, 4, 6), 5) for _ in range(2)]
    hold_again(attempt, reference, "regrow", *asked, of="regrow of (4, 6), 13 kept, count 5")


@part("regrow")
def test_without_masks_it_is_one_step(attempt, draw):
    """Where no parameter has a mask masked_step is one step of the optimizer."""
    weight, gradient = draw.normal(3, 5), draw.normal(3, 5)
    got = attempt.run(drivers.stepped_unmasked, weight, gradient)
    agree(got, weight - gradient, axes="o i", of="masked_step of SGD, rate 1, no masks")


# --- knowledge_losses -------------------------------------------------------------------------------------------------


def networks(draw, b, v, s, t, h, w, dtype):
    student = {"logits": draw.normal(b, v, scale=2.0), "features": draw.normal(b, s, h, w)}
    teacher = {"logits": draw.normal(b, v, scale=2.0), "features": draw.normal(b, t, h, w)}
    cast = [{name: value.to(of_type(dtype)) for name, value in one.items()} for one in (student, teacher)]
    return *cast, draw.normal(t, s, dtype=of_type(dtype))


def response(student, teacher, temperature, reverse):
    """The loss by lists, and its gradient in closed form."""
    z, y = student.double() / temperature, teacher.double() / temperature
    p, q = y.softmax(dim=1), z.softmax(dim=1)
    gap = p.log() - q.log() if not reverse else q.log() - p.log()
    weight = q if reverse else p
    rows = [math.fsum(x) for x in (weight * gap).tolist()]
    mean = torch.tensor(rows, dtype=torch.float64)[:, None]
    slope = q * (gap - mean) if reverse else q - p
    return temperature**2 * sum(rows) / len(rows), temperature * slope / len(rows)


SIZES = [(3, 7, 2, 5, 3, 4, 1.0), (5, 2, 4, 3, 1, 2, 4.0), (2, 11, 3, 2, 2, 1, 2.5), (1, 5, 1, 1, 2, 3, 0.5)]


@part("knowledge_losses")
def test_one_example_by_hand(attempt):
    """(3/4, 1/4) against (1/2, 1/2): 0.1308 forward, 0.1438 backward; hint 14.5; attention 49/337."""
    student = {"logits": torch.zeros(1, 2).double(), "features": torch.tensor([[[[3.0, 4.0]]]]).double()}
    teacher = {
        "logits": torch.tensor([[math.log(3), 0.0]], dtype=torch.float64),
        "features": torch.tensor([[[[4.0, 3.0]]]]).double(),
    }
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    for reverse, want, other in ((False, forward, backward), (True, backward, forward)):
        got = attempt.knowledge_losses(student, teacher, torch.tensor([[2.0]]).double(), 1.0, reverse)
        of = f"knowledge_losses of one example, reverse={reverse}"
        one = torch.tensor(want, dtype=torch.float64)
        known = {"the divergence the other way": torch.tensor(other, dtype=torch.float64)}
        agree(got["response"], one, of=f"{of}: response", known=known)
        agree(got["hint"], torch.tensor(14.5, dtype=torch.float64), of=f"{of}: hint")
        agree(got["attention"], torch.tensor(49 / 337, dtype=torch.float64), of=f"{of}: attention")
        agree(sorted(got), ["attention", "hint", "response"], of=f"{of}: the names")


@part("knowledge_losses")
@each_dtype
@pytest.mark.parametrize("reverse", [False, True])
def test_answers_at_a_temperature(attempt, draw, reverse, dtype):
    """T² times the mean divergence of softened answers, with its gradient by the student's logits, and none other."""
    for size in SIZES:
        *sizes, temperature = size
        student, teacher, projection = networks(draw, *sizes, dtype)
        got = attempt.run(drivers.losses, student, teacher, projection, temperature, [True] if reverse else [])[
            "response"
        ]
        value, slope = response(student["logits"], teacher["logits"], temperature, reverse)
        b, v = sizes[:2]
        other = response(student["logits"], teacher["logits"], temperature, not reverse)[0]
        known = {
            "the divergence the other way": other,
            "T² missing": value / temperature**2,
            "T for T²": value / temperature,
            "a mean over classes, too": value / v,
            "a sum over the batch": value * b,
        }
        known = {k: torch.tensor(x, dtype=of_type(dtype)) for k, x in known.items() if abs(x / value - 1) > 1e-3}
        of = f"knowledge_losses, response, b={b} v={v} T={temperature} reverse={reverse}, {dtype}"
        tol = None if dtype == "float64" else 2e-4
        if len({round(float(x), 6) for x in known.values()}) < len(known):
            known = {}
        agree(got["loss"], torch.tensor(value, dtype=of_type(dtype)), of=of, known=known, tol=tol)
        agree(got["student"]["logits"], slope.to(of_type(dtype)), axes="b v", of=f"{of}: gradient", tol=tol)
        _constant(got, of, ("features",))


def _constant(got, of, others):
    for name in ("logits", "features"):
        slope = got["teacher"][name]
        assert slope is None or not slope.any(), f"{of}: a gradient reaches the teacher's {name}; it is a constant"
    for name in others:
        slope = got["student"][name]
        assert slope is None or not slope.any(), f"{of}: a gradient reaches the student's {name}"


@part("knowledge_losses")
def test_hot_and_large_logits(attempt, draw):
    """At T = 1000 the gradient is the centred difference of the logits over v; logits of 3,000 stay finite."""
    student, teacher, projection = networks(draw, 3, 7, 2, 2, 1, 2, "float64")
    for reverse in (False, True):
        got = attempt.run(drivers.losses, student, teacher, projection, 1000.0, [reverse])["response"]
        apart = student["logits"] - teacher["logits"]
        want = (apart - apart.mean(dim=1, keepdim=True)) / 7 / 3
        of = f"knowledge_losses, gradient of response at T = 1000, reverse={reverse}"
        agree(got["student"]["logits"], want, axes="b v", of=of, tol=2e-2, known={"T² missing": want / 1e6})
        for dtype in ("float32", "float64"):
            far = [{**one, "logits": torch.zeros(3, 7)} for one in (student, teacher)]
            far[0]["logits"][:, 1], far[1]["logits"][:, 4] = 3000.0, 2000.0
            far = [{name: value.to(of_type(dtype)) for name, value in one.items()} for one in far]
            got = attempt.run(drivers.losses, *far, projection.to(of_type(dtype)), 2.0, [reverse])["response"]
            want = torch.tensor(4 * (1000.0 if reverse else 1500.0)).to(of_type(dtype))
            agree(
                got["loss"], want, of=f"knowledge_losses, response of logits of thousands, reverse={reverse}, {dtype}"
            )
            assert got["student"]["logits"].isfinite().all(), (
                "knowledge_losses: the gradient of large logits is not finite"
            )


@part("knowledge_losses")
@each_dtype
def test_hints(attempt, draw, dtype):
    """The student's channels, projected at each place, against the teacher's: mean square, and its gradients."""
    for *sizes, temperature in SIZES:
        student, teacher, projection = networks(draw, *sizes, dtype)
        got = attempt.run(drivers.losses, student, teacher, projection, temperature, [])["hint"]
        x, matrix = student["features"].double().requires_grad_(), projection.double().requires_grad_()
        want = F.mse_loss(F.conv2d(x, matrix[..., None, None]), teacher["features"].double())
        slopes = torch.autograd.grad(want, [x, matrix])
        of = f"knowledge_losses, hint, b={sizes[0]} s={sizes[2]} t={sizes[3]} h={sizes[4]} w={sizes[5]}, {dtype}"
        known = {
            "a sum for the mean": want * teacher["features"].numel(),
            "a sum over channels, too": want * sizes[3],
            "half of it": want / 2,
        }
        known = {k: v.detach().to(of_type(dtype)) for k, v in known.items() if abs(v / want - 1) > 0.01}
        known = {} if len({round(float(v), 6) for v in known.values()}) < len(known) else known
        agree(got["loss"], want.detach().to(of_type(dtype)), of=of, known=known)
        agree(got["student"]["features"], slopes[0].to(of_type(dtype)), axes="b s h w", of=f"{of}: gradient")
        agree(got["projection"], slopes[1].to(of_type(dtype)), axes="t s", of=f"{of}: gradient of the projection")
        _constant(got, of, ("logits",))


def attention_map(x, power=2, unit=True):
    flat = x.abs().pow(power).sum(dim=1).flatten(1)
    return flat / flat.square().sum(dim=1, keepdim=True).sqrt() if unit else flat


@part("knowledge_losses")
@each_dtype
def test_attention_maps(attempt, draw, dtype):
    """Sums of squares over channels, of unit length for each example, compared entry by entry."""
    for *sizes, temperature in SIZES:
        student, teacher, projection = networks(draw, *sizes, dtype)
        got = attempt.run(drivers.losses, student, teacher, projection, temperature, [])["attention"]
        x, y = student["features"].double().requires_grad_(), teacher["features"].double()
        gap = attention_map(x) - attention_map(y)
        want = gap.square().mean()
        (slope,) = torch.autograd.grad(want, x)
        known = {
            "a sum over places": gap.square().sum(dim=1).mean(),
            "the norm of the gap, not its square": gap.norm(dim=1).mean(),
            "sums of magnitudes": (attention_map(x, 1) - attention_map(y, 1)).square().mean(),
            "maps that are not of unit length": (attention_map(x, 2, False) - attention_map(y, 2, False))
            .square()
            .mean(),
        }
        known = {k: v.detach().to(of_type(dtype)) for k, v in known.items() if abs(v / want - 1) > 0.01}
        of = f"knowledge_losses, attention, b={sizes[0]} s={sizes[2]} t={sizes[3]} h={sizes[4]} w={sizes[5]}, {dtype}"
        agree(got["loss"], want.detach().to(of_type(dtype)), of=of, known=known)
        agree(got["student"]["features"], slope.to(of_type(dtype)), axes="b s h w", of=f"{of}: gradient")
        _constant(got, of, ("logits",))
    student["features"] = torch.zeros_like(student["features"])
    got = attempt.run(drivers.losses, student, teacher, projection, 1.0, [])["attention"]
    want = attention_map(teacher["features"]).square().mean()
    agree(got["loss"], want, of=f"knowledge_losses, attention, all features of the student 0, {dtype}")
    slope = got["student"]["features"]
    assert slope is None or slope.isfinite().all(), "knowledge_losses: the gradient of a map of zeros is not finite"


@part("knowledge_losses")
@each_dtype
def test_faint_maps_and_zeros_beside_others(attempt, draw, dtype):
    """Features of 1/1000 give maps of unit length; a map of zeros stays zeros beside others; strides do not matter."""
    student, teacher, projection = networks(draw, 3, 7, 2, 5, 4, 3, dtype)
    student, teacher = ({n: turned(x) for n, x in one.items()} for one in (student, teacher))
    for name, ours, theirs in (("faint", 1e-3, 1e-3), ("zeros", [0.0, 1.0, 1.0], [1.0, 0.0, 1.0])):
        scaled = [
            {**one, "features": one["features"] * torch.tensor(s, dtype=of_type(dtype)).view(-1, 1, 1, 1)}
            for one, s in ((student, ours), (teacher, theirs))
        ]
        got = attempt.run(drivers.losses, *scaled, turned(projection), 2.0, [])
        maps = [attention_map(one["features"].double()).nan_to_num(nan=0.0) for one in scaled]
        want = (maps[0] - maps[1]).square().mean().to(of_type(dtype))
        of = f"knowledge_losses, features {'of 1/1000' if name == 'faint' else 'of one example 0'}, turned, {dtype}"
        agree(got["attention"]["loss"], want, of=f"{of}: attention")
        slope = got["attention"]["student"]["features"]
        assert slope is not None, f"{of}: no gradient of attention reaches the student's features"
        assert slope.isfinite().all(), f"{of}: the gradient of attention is not finite"
        want = response(student["logits"], teacher["logits"], 2.0, False)[0]
        agree(got["response"]["loss"], torch.tensor(want, dtype=of_type(dtype)), of=f"{of}: response")
        want = F.conv2d(scaled[0]["features"], projection[..., None, None]) - scaled[1]["features"]
        agree(got["hint"]["loss"], want.square().mean(), of=f"{of}: hint")


@part("knowledge_losses")
def test_losses_of_other_networks_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    sizes = {"logits": (3, 5), "features": (3, 2, 4, 3)}
    asked = [
        (
            {name: draw.normal(*size) for name, size in sizes.items()},
            {name: draw.normal(*size) for name, size in sizes.items()},
            draw.normal(2, 2),
            2.0,
        )
        for _ in range(2)
    ]
    hold_again(attempt, reference, "knowledge_losses", *asked, of="knowledge_losses of 3 examples")


# --- self_distillation ------------------------------------------------------------------------------------------------


def dino(student, teacher, center, cool, sharp, same=False, move=None):
    """The loss by loops over the pairs; `same` counts equal views, too."""
    shift = center if move is None else move
    terms = [
        -(((t - shift) / sharp).softmax(dim=1) * (s / cool).log_softmax(dim=1)).sum(dim=1).mean()
        for i, t in enumerate(teacher)
        for j, s in enumerate(student)
        if same or i != j
    ]
    return torch.stack(terms).sum() / len(terms)


@part("self_distillation")
@each_dtype
@pytest.mark.parametrize(("g", "s", "b", "v"), [(2, 5, 3, 7), (1, 2, 2, 3), (2, 2, 1, 5), (3, 4, 5, 2)])
def test_views_learn_from_other_views(attempt, draw, g, s, b, v, dtype):
    """Each student's view from each other teacher's view, centred and sharpened; the center follows slowly."""
    student, teacher, center = draw.normal(s, b, v), draw.normal(g, b, v), draw.normal(v)
    given = [x.to(of_type(dtype)) for x in (student, teacher, center)]
    student, teacher, center = (x.double() for x in given)
    student.requires_grad_()
    cool, sharp, momentum = 0.6, 0.25, draw.pick([0.9, 0.7])
    got = attempt.run(drivers.distilled, *given, cool, sharp, momentum)
    want = dino(student, teacher, center, cool, sharp)
    (slope,) = torch.autograd.grad(want, student)
    moved = momentum * center + (1 - momentum) * teacher.mean(dim=(0, 1))
    of = f"self_distillation of {s} and {g} views, b={b} v={v}, temperatures {cool} and {sharp}, {dtype}"
    known = {
        "pairs of equal views counted": dino(student, teacher, center, cool, sharp, same=True),
        "no center": dino(student, teacher, 0 * center, cool, sharp),
        "the new center in the loss": dino(student, teacher, center, cool, sharp, move=moved),
        "temperatures exchanged": dino(student, teacher, center, sharp, cool),
        "the center added": dino(student, teacher, -center, cool, sharp),
    }
    known = {name: value.detach().to(of_type(dtype)) for name, value in known.items()}
    agree(got["loss"], want.detach().to(of_type(dtype)), of=of, known=known)
    agree(got["student"], slope.to(of_type(dtype)), axes="s b v", of=f"{of}: gradient of the student")
    for name, what in (("teacher", "the teacher"), ("old", "the center")):
        assert got[name] is None or not got[name].any(), f"{of}: a gradient reaches {what}"
    other = {"momentum for the new part": (1 - momentum) * center + momentum * teacher.mean(dim=(0, 1))}
    other = {name: value.to(of_type(dtype)) for name, value in other.items()}
    agree(got["center"], moved.to(of_type(dtype)), axes="v", of=f"{of}: the new center", known=other)
    assert not got["recorded"], f"{of}: the new center is part of a graph"


@part("self_distillation")
def test_logits_of_thousands_in_views(attempt):
    """Teacher and student sure of unlike classes: the loss is the gap of the logits over the temperature."""
    student, teacher = torch.zeros(2, 3, 5), torch.zeros(1, 3, 5)
    student[:, :, 1], teacher[:, :, 3] = 4000.0, 9000.0
    got = attempt.self_distillation(student, teacher, torch.zeros(5), 2.0, 0.5, 0.9)
    agree(got["loss"], torch.tensor(2000.0), of="self_distillation of logits 4,000 and 9,000 at other classes")


@part("self_distillation")
@each_dtype
def test_a_teacher_follows(attempt, draw, dtype):
    """Parameters move by 1 - momentum of the way, buffers are copied, in place, and nothing is recorded."""
    shapes = dict(drivers._pair().state_dict())

    def state(count):
        return {
            name: torch.tensor(count) if not value.dim() else draw.normal(*value.shape, dtype=of_type(dtype))
            for name, value in shapes.items()
        }

    before, students, momentum = state(3), [state(4), state(9)], draw.pick([0.9, 0.996, 0.3])
    got = attempt.run(drivers.followed, before, students, momentum)
    now = before
    for turn, student in enumerate(students):
        mixed = {n: momentum * now[n].double() + (1 - momentum) * student[n].double() for n in now}
        fixed = [name for name in now if "running" in name or "num" in name]
        mean = {n: mixed[n].to(now[n].dtype) for n in now}
        swapped = {n: (mixed[n] * 0 + (1 - momentum) * now[n] + momentum * student[n]).to(now[n].dtype) for n in now}
        now = {n: student[n] if n in fixed else mean[n] for n in now}
        known = {
            "buffers averaged, too": mean,
            "momentum for the student": {n: student[n] if n in fixed else swapped[n] for n in now},
        }
        of = f"update_teacher, momentum {momentum}, {dtype}: the teacher after update {turn + 1}"
        agree(got["states"][turn], now, of=of, known=known)
    agree(got["student"], students[-1], of="update_teacher: the student afterwards")
    assert got["same"], "update_teacher put other parameters in the place of the teacher's: move them in place"
    assert not got["recorded"], "update_teacher: the teacher's parameters are part of a graph"
    agree(got["asks"], [False, True, True, True, True], of="update_teacher: requires_grad of the teacher's parameters")
    agree(got["gradient"], torch.ones(5, dtype=of_type(dtype)), of="update_teacher: a gradient that the teacher had")


def mutual_oracle(logits, labels):
    """Losses by loops, and the gradient of each by its own logits in closed form."""
    p = logits.double().softmax(dim=-1)
    m, b, v = p.shape
    values, slopes = [], torch.zeros_like(p)
    for k in range(m):
        value = -sum(math.log(p[k, i, labels[i]]) for i in range(b)) / b
        slopes[k] = (p[k] - F.one_hot(labels, v)) / b
        for other in (x for x in range(m) if x != k):
            value += (p[other] * (p[other] / p[k]).log()).sum().item() / b / (m - 1)
            slopes[k] += (p[k] - p[other]) / b / (m - 1)
        values.append(value)
    return torch.tensor(values, dtype=torch.float64), slopes


@part("self_distillation")
@each_dtype
@pytest.mark.parametrize(("m", "b", "v"), [(2, 3, 5), (4, 2, 3), (3, 7, 2)])
def test_networks_learn_from_each_other(attempt, draw, m, b, v, dtype):
    """Labels, and the mean divergence from the others, who are constants in one's own loss."""
    logits, labels = draw.normal(m, b, v, scale=1.5).to(of_type(dtype)), draw.integers(0, v, b)
    weights = draw.uniform(m, low=0.5, high=2.0, dtype=of_type(dtype))
    got = attempt.run(drivers.mutual, logits, labels, weights)
    want, slopes = mutual_oracle(logits, labels)
    p = logits.double().softmax(dim=-1)
    own = torch.tensor([F.nll_loss(one.log(), labels).item() for one in p], dtype=torch.float64)
    turned = torch.stack(
        [sum((p[k] * (p[k] / p[o]).log()).sum() / b for o in range(m) if o != k) / (m - 1) for k in range(m)]
    )
    known = {"labels alone": own, "the divergence the other way": own + turned}
    if m > 2:
        known["a sum over the others"] = own + (want - own) * (m - 1)
        known["a mean over all m"] = own + (want - own) * (m - 1) / m
    known = {name: value.to(of_type(dtype)) for name, value in known.items()}
    of = f"mutual_losses of {m} networks, b={b} v={v}, {dtype}"
    agree(got["losses"], want.to(of_type(dtype)), axes="m", of=of, known=known)
    weighed = slopes * weights.double()[:, None, None]
    agree(
        got["slopes"], weighed.to(of_type(dtype)), axes="m b v", of=f"{of}: gradients of a weighted sum of the losses"
    )


@part("self_distillation")
@each_dtype
def test_turned_logits_and_own_memory(attempt, draw, dtype):
    """Logits need not be contiguous; the center that comes back has its own memory, at momentum 1 as well."""
    student, teacher, center = (draw.normal(*shape, dtype=of_type(dtype)) for shape in ((4, 3, 5), (2, 3, 5), (5,)))
    got = attempt.self_distillation(turned(student), turned(teacher), center, 0.6, 0.25, 0.9)
    agree(got["loss"], dino(student, teacher, center, 0.6, 0.25), of=f"self_distillation of turned logits, {dtype}")
    labels = draw.integers(0, 5, 3)
    want = mutual_oracle(student, labels)[0].to(of_type(dtype))
    agree(attempt.mutual_losses(turned(student), labels), want, axes="m", of=f"mutual_losses, turned, {dtype}")
    for momentum in (1.0, 0.0, 0.9):
        own_memory(attempt, "self_distillation", student, teacher, center, 0.6, 0.25, momentum)


@part("self_distillation")
@each_dtype
def test_a_teacher_with_tied_weights_and_other_buffers(attempt, draw, dtype):
    """A tied parameter moves once; buffers that no state_dict has are copied, too, and stay the teacher's own."""
    values = [draw.normal(7, 3, dtype=of_type(dtype)) for _ in range(2)]
    buffers = [draw.normal(5, dtype=of_type(dtype)) for _ in range(2)]
    got = attempt.run(drivers.followed_tied, values, buffers, 0.75)
    of = f"update_teacher, a tied weight and a buffer with persistent=False, momentum 0.75, {dtype}"
    known = {"the tied weight moved twice": 0.5625 * values[0] + 0.4375 * values[1]}
    agree(got["weight"], 0.75 * values[0] + 0.25 * values[1], axes="v d", of=f"{of}: the weight", known=known)
    agree(got["buffer"], buffers[1], of=f"{of}: the buffer")
    agree(got["modes"], [True, True], of=f"{of}: whether teacher and student are in training mode")
    agree(got["later"], buffers[1], of=f"{of}: the teacher's buffer, when the student's was changed")
    agree(got["gradient"], torch.ones(7, 3, dtype=of_type(dtype)), of=f"{of}: a gradient that the student had")


@part("self_distillation")
def test_other_views_of_that_size(attempt, reference, draw):
    """Each call takes its own logits, whatever came before in the same sizes and however they lie in memory."""
    asked = [(draw.normal(4, 3, 5), draw.normal(2, 3, 5), draw.normal(5), 0.5, 0.3, 0.9) for _ in range(2)]
    hold_again(attempt, reference, "self_distillation", *asked, of="self_distillation of 4 and 2 views, 3 images")
    asked = [(draw.normal(3, 4, 5), draw.integers(0, 5, 4)) for _ in range(2)]
    hold_again(attempt, reference, "mutual_losses", *asked, of="mutual_losses of 3 networks, 4 examples")


# --- tie_embeddings ---------------------------------------------------------------------------------------------------


def logits_of(table, matrix, bias, words):
    out = torch.tanh(table[words]) @ matrix.T
    return out if bias is None else out + bias


@part("tie_embeddings")
@each_dtype
@pytest.mark.parametrize("with_bias", [False, True])
def test_tied_is_one_parameter(attempt, draw, with_bias, dtype):
    """Counted once, both uses add their gradients, and it stays one in a copy and after loading."""
    v, d = 11, 3
    table, matrix = draw.normal(v, d, dtype=of_type(dtype)), draw.normal(v, d, dtype=of_type(dtype))
    bias = draw.normal(v, dtype=of_type(dtype)) if with_bias else None
    words, labels = draw.integers(0, v, 7), draw.integers(0, v, 7)
    got = attempt.run(drivers.tied, table, matrix, bias, words, labels)
    of = f"after tie_embeddings of v={v} d={d}, {'with' if with_bias else 'no'} bias, {dtype}"
    agree(
        got["count"],
        v * d + (v if with_bias else 0),
        of=f"{of}: how many parameters",
        known={"a copy": 2 * v * d + len(bias or []) if bias is None else 2 * v * d + v},
    )
    assert got["one"], f"{of}: head.weight is not embedding.weight"
    names = ["embedding.weight", *(["head.bias"] if with_bias else [])]
    agree(got["names"], names, of=f"{of}: named_parameters()")
    agree(got["table"], table, axes="v d", of=f"{of}: the matrix", known={"the head's values": matrix})
    if with_bias:
        agree(got["bias"], bias, axes="v", of=f"{of}: the head's bias")
    agree(got["logits"], logits_of(table, table, bias, words), axes="n v", of=f"{of}: logits")
    once, leaf = (table.double().clone().requires_grad_() for _ in range(2))
    wide = None if bias is None else bias.double()
    slopes = torch.autograd.grad(F.cross_entropy(logits_of(once, leaf, wide, words), labels), [once, leaf])
    known = {
        "the embedding's part alone": slopes[0].to(of_type(dtype)),
        "the head's part alone": slopes[1].to(of_type(dtype)),
    }
    both = (slopes[0] + slopes[1]).to(of_type(dtype))
    agree(got["slopes"]["embedding.weight"], both, axes="v d", of=f"{of}: gradient of the matrix", known=known)
    for k, name in enumerate(("embedding", "head")):
        agree(got["stepped"][k], table - 0.5 * both, axes="v d", of=f"{of}: {name}.weight after a step of SGD")
    assert got["copied"], f"{of}: in a deepcopy of the model head.weight is not embedding.weight"
    assert got["apart"], f"{of}: a deepcopy shares its weight with the model"
    assert got["loaded"], f"{of}: after load_state_dict head.weight is not embedding.weight"
    agree(
        got["loaded logits"], got["trained logits"], axes="n v", of=f"{of}: logits of a tied model that loads the state"
    )


@part("tie_embeddings")
@pytest.mark.parametrize(("v", "d", "out", "into"), [(7, 3, 5, 3), (7, 3, 7, 4), (7, 3, 3, 7)])
def test_unlike_shapes_are_not_tied(attempt, v, d, out, into):
    """A head of another shape is a ValueError."""
    with refusal(ValueError, of=f"tie_embeddings of Embedding({v}, {d}) and Linear({into}, {out})"):
        attempt.run(drivers.tied_refused, v, d, out, into)


@part("tie_embeddings")
@each_dtype
@pytest.mark.parametrize("tie", [False, True])
def test_new_words_are_the_mean_of_the_old(attempt, draw, tie, dtype):
    """Old rows stay, new ones are their mean, sizes follow, and what was tied stays tied."""
    v, d = 7, 5
    for size, with_bias in ((10, True), (8, False), (41, False), (7, True)):
        table = draw.normal(v, d, dtype=of_type(dtype))
        matrix = table if tie else draw.normal(v, d, dtype=of_type(dtype))
        bias = draw.normal(v, dtype=of_type(dtype)) if with_bias else None
        got = attempt.run(drivers.grown, table, matrix, bias, size, tie)
        of = f"grow_vocabulary from {v} to {size} words, {'tied' if tie else 'not tied'}, {dtype}"

        def longer(old, size=size):
            return old if old is None else torch.cat([old, *[old.mean(dim=0, keepdim=True)] * (size - v)])

        agree(got["sizes"], [size, size], of=f"{of}: num_embeddings and out_features")
        for name, old in (("table", table), ("matrix", matrix), ("bias", bias)):
            agree(got[name], longer(old), of=f"{of}: {'weights of the head' if name == 'matrix' else name}")
        assert got["one"] is tie, f"{of}: afterwards head.weight {'is not' if tie else 'is'} embedding.weight"
        assert got["parameters"], f"{of}: a weight is no nn.Parameter"
        agree(got["count"], size * d * (1 if tie else 2) + (size if with_bias else 0), of=f"{of}: number of parameters")
        agree(got["padding"], 1, of=f"{of}: padding_idx")
        want = logits_of(longer(table), longer(matrix), longer(bias), torch.arange(size))
        agree(got["logits"], want, axes="n v", of=f"{of}: logits of all words")
        agree(all(got["asks"]), True, of=f"{of}: whether all parameters ask for a gradient")
    frozen = attempt.run(drivers.grown, table, matrix, bias, 9, tie, frozen=True)
    agree(any(frozen["asks"]), False, of="grow_vocabulary of frozen modules: whether a parameter asks for a gradient")


@part("tie_embeddings")
def test_equal_values_are_no_tie(attempt, draw):
    """Two parameters of equal values stay two; what is frozen stays so, and nothing else is."""
    table, bias = draw.normal(7, 5), draw.normal(7)
    got = attempt.run(drivers.grown, table, table, bias, 9, False)
    assert not got["one"], "grow_vocabulary tied a head whose values were equal, but which was another parameter"
    for asks in ([True, False, False], [False, True, False], [False, False, True]):
        got = attempt.run(drivers.grown, table, draw.normal(7, 5), bias, 9, False, asks=asks)
        of = "grow_vocabulary: requires_grad of embedding.weight, head.weight and head.bias"
        agree(got["asks"], asks, of=of)


@part("tie_embeddings")
def test_a_vocabulary_does_not_shrink(attempt):
    """Fewer words than there are is a ValueError."""
    with refusal(ValueError, of="grow_vocabulary from 7 to 6 words"):
        attempt.run(drivers.grown_refused, 7, 6)


@part("tie_embeddings")
def test_a_frozen_embedding_stays_frozen(attempt, draw):
    """An embedding that requires no gradient requires none when it is tied."""
    told = attempt.run(drivers.tied_frozen, draw.normal(7, 3), draw.normal(7, 3))
    assert told, "tie_embeddings of a frozen embedding: its weight requires a gradient afterwards"


# --- widen ------------------------------------------------------------------------------------------------------------


def widened(weight, bias, following, source):
    """The wide layers by loops over units."""
    counts = [source.count(k) for k in range(len(weight))]
    columns = [following[:, k] / counts[k] for k in source]
    return torch.stack([weight[k] for k in source]), torch.stack([bias[k] for k in source]), torch.stack(columns, dim=1)


def source_of(draw, old, new):
    """Each old unit at least once, in no order."""
    extra = draw.integers(0, old, new - old).tolist()
    return draw.random.sample([*range(old), *extra], new)


@part("widen")
@each_dtype
@pytest.mark.parametrize(
    ("shape", "next_shape", "n"),
    [
        ((3, 2), (5, 3), 7),
        ((5, 3), (2, 5), 6),
        ((3, 2, 3, 2), (5, 3, 2, 2), 8),
        ((7, 2), (3, 7), 7),
        ((1, 3), (2, 1), 4),
    ],
    ids=str,
)
def test_copies_share_what_they_give(attempt, draw, shape, next_shape, n, dtype):
    """Each new unit copies its source, and each of r copies gives 1/r of the old weight to the next layer."""
    weight, bias = draw.normal(*shape, dtype=of_type(dtype)), draw.normal(shape[0], dtype=of_type(dtype))
    following = draw.normal(*next_shape, dtype=of_type(dtype))
    source = source_of(draw, shape[0], n)
    want = widened(weight, bias, following, source)
    index = torch.tensor(source)
    known = {}
    if n > shape[0] > 1:
        known = {
            "nothing is divided": (*want[:2], following[:, index]),
            "all divided alike, by n / o": (*want[:2], following[:, index] * shape[0] / n),
        }
    of = f"widen {shape} and {next_shape} by source {source}, {dtype}"
    got = attempt.widen(weight, bias, following, index)
    agree(got, want, of=of, known=known)


@part("widen")
@each_dtype
def test_the_wide_network_computes_the_same(attempt, draw, dtype):
    """Two layers with any function of single units between them say what they said."""
    for act in (torch.relu, torch.tanh):
        w, b, f = (draw.normal(*shape, dtype=of_type(dtype)) for shape in ((5, 4), (5,), (3, 5)))
        wide = attempt.widen(w, b, f, torch.tensor(source_of(draw, 5, 13)))
        x = draw.normal(7, 4, dtype=of_type(dtype))
        agree(list(wide[2].shape), [3, 13], of="widen of five units to thirteen: shape of the next layer")
        agree(act(x @ wide[0].T + wide[1]) @ wide[2].T, act(x @ w.T + b) @ f.T, of="outputs after widen, 5 to 13 units")
        w, b, f = (draw.normal(*shape, dtype=of_type(dtype)) for shape in ((3, 2, 3, 3), (3,), (5, 3, 2, 1)))
        wide = attempt.widen(w, b, f, torch.tensor(source_of(draw, 3, 8)))
        x = draw.normal(2, 2, 6, 5, dtype=of_type(dtype))
        got = F.conv2d(act(F.conv2d(x, *wide[:2])), wide[2])
        agree(got, F.conv2d(act(F.conv2d(x, w, b)), f), of="outputs after widen of a convolution, 3 to 8 channels")


@part("widen")
@pytest.mark.parametrize("source", [[0, 1, 1, 0], [2, 2, 1], [0, 1]], ids=str)
def test_widen_refuses(attempt, source):
    """A unit that is the source of none is a ValueError."""
    with refusal(ValueError, of=f"widen of three units by source {source}"):
        attempt.widen(torch.ones(3, 2), torch.ones(3), torch.ones(2, 3), torch.tensor(source))


@part("widen")
@each_dtype
def test_heads_of_a_group_are_averaged(attempt, draw, dtype):
    """The heads of each group become their mean, row by row."""
    for heads, groups, d, rest in ((6, 2, 3, (5,)), (6, 3, 2, ()), (4, 1, 5, (2, 3)), (3, 3, 2, (7,)), (8, 2, 1, (1,))):
        weight = draw.normal(heads * d, *rest, dtype=of_type(dtype))
        each = heads // groups
        rows = [[weight[(g * each + k) * d + r] for k in range(each)] for g in range(groups) for r in range(d)]
        want = torch.stack([torch.stack(row).mean(dim=0) for row in rows])
        known = {}
        if 1 < groups < heads and d > 1:
            by_group = weight.view(each, groups, d, *rest).mean(dim=0).flatten(0, 1)
            first = weight.view(groups, each, d, *rest)[:, 0].flatten(0, 1)
            known = {"every groups-th head in a group": by_group, "the first head alone": first, "a sum": want * each}
        of = f"pool_heads of {tuple(weight.shape)}, {heads} heads of {d} to {groups} groups, {dtype}"
        agree(attempt.pool_heads(weight, heads, groups), want, of=of, known=known)


@part("widen")
@each_dtype
def test_turned_weights_and_own_memory(attempt, draw, dtype):
    """Weights need not be contiguous; what comes back has its own memory, also where nothing is copied or pooled."""
    weight, bias, following = (draw.normal(*s, dtype=of_type(dtype)) for s in ((6, 2, 3), (6,), (5, 6, 2)))
    for n in (6, 8):
        source = source_of(draw, 6, n) if n > 6 else list(range(6))
        got = attempt.widen(turned(weight), bias, turned(following), torch.tensor(source))
        agree(got, widened(weight, bias, following, source), of=f"widen of turned weights, source {source}, {dtype}")
        own_memory(attempt, "widen", weight, bias, following, torch.tensor(source))
    for groups in (3, 1):
        want = weight.unflatten(0, (groups, 3 // groups, 2)).mean(dim=1).flatten(0, 1)
        agree(attempt.pool_heads(turned(weight), 3, groups), want, of=f"pool_heads of 3 turned heads to {groups}")
        own_memory(attempt, "pool_heads", weight, 3, groups)


@part("widen")
@pytest.mark.parametrize(("rows", "heads", "groups"), [(12, 6, 4), (13, 6, 3), (4, 2, 4)])
def test_pool_heads_refuses(attempt, rows, heads, groups):
    """Groups that do not divide the heads, and heads that do not divide the rows, are a ValueError."""
    with refusal(ValueError, of=f"pool_heads of {rows} rows, {heads} heads, {groups} groups"):
        attempt.pool_heads(torch.ones(rows, 2), heads, groups)


@part("widen")
def test_another_layer_of_that_size_is_widened(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes and however they lie in memory."""
    source = torch.tensor([0, 1, 2, 1, 1])
    asked = [(draw.normal(3, 4), draw.normal(3), draw.normal(2, 3), source) for _ in range(2)]
    hold_again(attempt, reference, "widen", *asked, of="widen from 3 to 5 units")
    asked = [(draw.normal(12, 5), 4, 2) for _ in range(2)]
    hold_again(attempt, reference, "pool_heads", *asked, of="pool_heads of (12, 5), 4 heads, 2 groups")


# --- grow_depth -------------------------------------------------------------------------------------------------------


def block_states(attempt, draw, count, own, dtype="float64"):
    shapes = attempt.run(drivers.block_names, own)
    return [{name: draw.normal(*shape, dtype=of_type(dtype)) for name, shape in shapes.items()} for _ in range(count)]


@part("grow_depth")
@pytest.mark.parametrize("how", ["stack", "spread", "identity"])
def test_new_blocks_are_copies(attempt, draw, how):
    """Block k is a copy of k mod L, or of ⌊k·L / depth⌋, and 'identity' silences all but the first of each."""
    for old, depth, own in ((3, 7, False), (2, 5, True), (4, 4, False), (1, 3, True), (4, 6, False), (5, 7, True)):
        states = block_states(attempt, draw, old, own)
        origin = [k % old if how == "stack" else k * old // depth for k in range(depth)]
        seen, want = set(), []
        for k in origin:
            silent = how == "identity" and k in seen
            seen.add(k)
            want.append({name: value * 0 if silent and "down" in name else value for name, value in states[k].items()})
        got = attempt.run(drivers.deepened, states, own, depth, how, draw.normal(2, 3))
        of = f"grow_depth from {old} to {depth} by '{how}'"
        agree(len(got["states"]), depth, of=f"{of}: how many blocks")
        for k, state in enumerate(want):
            agree(got["states"][k], state, of=f"{of}: parameters of new block {k}, a copy of block {origin[k]}")
        assert all(got["classes"]), f"{of}: a block of another class"
        assert got["apart"], f"{of}: two new blocks share a parameter"
        agree(got["old"], states, of=f"{of}: the old blocks, when the new ones were changed")
        assert got["asks"], f"{of}: a parameter asks for no gradient any more"
    still = attempt.run(drivers.deepened, states, own, depth, how, draw.normal(2, 3), still=True)
    of = f"grow_depth of frozen blocks in eval mode by '{how}'"
    assert not still["asked"], f"{of}: a parameter of a new block asks for a gradient"
    assert not still["training"], f"{of}: a new block is in training mode"


@part("grow_depth")
@each_dtype
def test_identity_keeps_the_function(attempt, draw, dtype):
    """Grown by 'identity' the stack computes what it did; by 'stack' and 'spread' it does not."""
    for own in (False, True):
        states = block_states(attempt, draw, 3, own, dtype)
        x = draw.normal(5, 3, dtype=of_type(dtype))
        plain = attempt.run(drivers.deepened, states, own, 3, "spread", x)["out"]
        deep = attempt.run(drivers.deepened, states, own, 8, "identity", x)["out"]
        agree(deep, plain, of=f"outputs after grow_depth from 3 to 8 by 'identity', {dtype}")


@part("grow_depth")
@pytest.mark.parametrize(("depth", "how"), [(2, "stack"), (2, "identity"), (5, "copy")])
def test_grow_depth_refuses(attempt, depth, how):
    """Fewer blocks than there are, and another word, are a ValueError."""
    with refusal(ValueError, of=f"grow_depth from 3 to {depth} by '{how}'"):
        attempt.run(drivers.deepened_refused, depth, how)


@part("grow_depth")
def test_sizes_grow_in_steps(attempt):
    """low + (high - low) · step / steps, rounded down to a multiple, in whole numbers; high at the end."""
    rows = [
        (s, *rest) for rest in ((6, 128, 224, 32), (49, 0, 49, 1), (7, 96, 96, 16), (5, 7, 77, 7)) for s in range(9)
    ]
    rows += [(s, 49, 0, 49, 1) for s in range(9, 60)]
    rows += [(10**12 - 1, 10**12, 0, 32, 32), (10**17 - 1, 10**17, 64, 96, 32), (10**17, 3 * 10**17, 0, 3, 1)]
    want = [(low + (high - low) * min(s, n) // n) // m * m for s, n, low, high, m in rows]
    for row, got, right in zip(rows, attempt.each("size_at", rows), want, strict=True):
        agree(got, right, of=f"size_at{row}")


# --- merge_models -----------------------------------------------------------------------------------------------------


def three_models(draw, dtype, count=4):
    shapes = {"a": (7, 3), "b": (5,), "c": (2, 3, 2)}
    return [{name: draw.normal(*shape, dtype=of_type(dtype)) for name, shape in shapes.items()} for _ in range(count)]


@part("merge_models")
@each_dtype
def test_means_and_task_vectors(attempt, draw, dtype):
    """A weighted mean divides by the sum of the shares; task vectors are added to the base, each with its scale."""
    base, *models = three_models(draw, dtype)
    for shares in ([1.0, 3.0, 0.5], [0.2, 0.3, 0.5]):
        total = sum(shares)
        sums = {name: sum(s * one[name].double() for s, one in zip(shares, models, strict=True)) for name in base}
        want = {name: (value / total).to(of_type(dtype)) for name, value in sums.items()}
        known = {
            "not divided by the sum of the shares": {n: v.to(of_type(dtype)) for n, v in sums.items()},
            "a plain mean": {name: sum(one[name] for one in models) / 3 for name in base},
        }
        known = known if total != 1.0 else {}
        agree(attempt.merge_models(models, shares), want, of=f"merge_models, shares {shares}, {dtype}", known=known)
    scales = [0.5, -1.0, 0.3]
    want = {n: base[n] + sum(s * (one[n] - base[n]) for s, one in zip(scales, models, strict=True)) for n in base}
    known = {
        "weights for differences": {
            n: base[n] + sum(s * m[n] for s, m in zip(scales, models, strict=True)) for n in base
        }
    }
    got = attempt.add_task_vectors(base, models, scales)
    agree(got, want, of=f"add_task_vectors, scales {scales}, {dtype}", known=known)


def on_arc(a, b, t):
    """slerp of one tensor, by the angle between unit vectors (through their half chord)."""
    u, v = a.double().flatten(), b.double().flatten()
    chord = (u / u.norm() - v / v.norm()).norm().item()
    angle = 2 * math.asin(min(chord / 2, 1.0))
    return ((math.sin((1 - t) * angle) * u + math.sin(t * angle) * v) / math.sin(angle)).view(a.shape).to(a.dtype)


@part("merge_models")
@each_dtype
def test_along_the_arc(attempt, draw, dtype):
    """sin((1 - t) Ω) / sin Ω · a + sin(t Ω) / sin Ω · b for each tensor; a straight line where there is no angle."""
    a, b = three_models(draw, dtype, 2)
    b["b"] = -a["b"] + 0.3 * b["b"]
    for t in (0.0, 0.3, 0.75, 1.0):
        want = {name: on_arc(a[name], b[name], t) for name in a}
        known = {}
        if 0 < t < 1:
            known = {
                "along the chord": {name: (1 - t) * a[name] + t * b[name] for name in a},
                "unit vectors": {name: on_arc(a[name] / a[name].norm(), b[name] / b[name].norm(), t) for name in a},
                "t from the other end": {name: on_arc(a[name], b[name], 1 - t) for name in a},
            }
        agree(attempt.slerp(a, b, t), want, of=f"slerp, t = {t}, {dtype}", known=known)
    flat = {"parallel": (a["a"], 2.5 * a["a"]), "zeros": (a["a"], 0 * a["a"]), "from zeros": (0 * a["b"], a["b"])}
    if dtype == "float64":
        flat["opposite"] = (a["c"], -0.5 * a["c"])
    got = attempt.slerp({n: x for n, (x, _) in flat.items()}, {n: y for n, (_, y) in flat.items()}, 0.3)
    tol = None if dtype == "float64" else 1e-3
    want = {name: 0.7 * x + 0.3 * y for name, (x, y) in flat.items()}
    agree(got, want, of=f"slerp of tensors without an angle, t = 0.3, {dtype}", tol=tol)


def ties_by_lists(base, tuned, keep, scale, trim=True, elect=True, per_tensor=False, over=None):
    """TIES by lists of numbers, entry by entry; mistakes by the other words."""
    names = list(base)
    flat = {n: [(one[n] - base[n]).flatten().tolist() for one in tuned] for n in names}
    vectors = [[x for n in names for x in flat[n][k]] for k in range(len(tuned))]
    if trim and not per_tensor:
        vectors = [_largest(v, keep) for v in vectors]
    elif trim:
        vectors = [[x for n in names for x in _largest(flat[n][k], keep)] for k in range(len(tuned))]
    merged = []
    for entries in zip(*vectors, strict=True):
        total = sum(entries)
        same = [x for x in entries if x * total > 0] if elect else [x for x in entries if x]
        merged.append(sum(same) / (over or max(len(same), 1)))
    values = torch.tensor(merged, dtype=torch.float64)
    parts = values.split([base[n].numel() for n in names])
    return {
        n: (base[n].double() + scale * p.view(base[n].shape)).to(base[n].dtype)
        for n, p in zip(names, parts, strict=True)
    }


def _largest(values, keep):
    mask = fewest(values, len(values) - round(keep * len(values)))
    return [x if kept else 0.0 for x, kept in zip(values, mask, strict=True)]


@part("merge_models")
@each_dtype
def test_ties_trims_elects_and_averages(attempt, draw, dtype):
    """Small entries go, the sign of the sum is elected, and the mean is over those that have it."""
    tuned = [{"w": torch.tensor(w, dtype=of_type(dtype))} for w in ([4.0, 1, -3], [2.0, -5, 0.5], [-1.0, -4, 3.5])]
    base = {"w": torch.zeros(3, dtype=of_type(dtype))}
    want = {"w": torch.tensor([3.0, -4.5, 3.5], dtype=of_type(dtype))}
    agree(attempt.ties(base, tuned, 2 / 3, 1.0), want, of=f"ties of three entries, keep 2/3, {dtype}")
    turned = [{"w": torch.tensor(w, dtype=of_type(dtype))} for w in ([4.0, 9, 0.5], [-3.0, 8, 7], [-3.5, 7.5, 6])]
    want = {"w": torch.tensor([4.0, 24.5 / 3, 6.5], dtype=of_type(dtype))}
    known = {"signs elected before trimming": {"w": torch.tensor([0.0, 24.5 / 3, 6.5], dtype=of_type(dtype))}}
    agree(attempt.ties(base, turned, 2 / 3, 1.0), want, of=f"ties where trimming turns a sign, {dtype}", known=known)
    base, *models = three_models(draw, dtype)
    for keep, scale in ((share_of(draw, 38, 21, 5, 12), 0.7), (1.0, 1.0), (0.2, -0.4)):
        want = ties_by_lists(base, models, keep, scale)
        known = {
            "nothing trimmed": ties_by_lists(base, models, keep, scale, trim=False),
            "no sign elected": ties_by_lists(base, models, keep, scale, elect=False),
            "trimmed in each tensor by itself": ties_by_lists(base, models, keep, scale, per_tensor=True),
            "a mean over all models": ties_by_lists(base, models, keep, scale, over=3),
        }
        known = known if keep < 1 else {}
        agree(
            attempt.ties(base, models, keep, scale),
            want,
            of=f"ties, keep {keep:.3f}, scale {scale}, {dtype}",
            known=known,
        )


@part("merge_models")
@each_dtype
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_models_by_name(attempt, draw, count, dtype):
    """One model or five, names in any order, tensors of any strides; what comes back has its own memory."""
    base, *models = three_models(draw, dtype, count + 1)
    given = [{n: turned(one[n]) for n in ("c", "a", "b")} for one in models]
    base = {name: turned(one) for name, one in base.items()}
    shares = [draw.random.uniform(0.5, 2.0) for _ in models]
    of = f"of {count} models, names in other orders, {dtype}"
    mean = {n: sum(s * m[n] for s, m in zip(shares, models, strict=True)) / sum(shares) for n in base}
    mixed = [one if k else models[0] for k, one in enumerate(given)]
    agree(attempt.merge_models(mixed, shares), mean, of=f"merge_models {of}")
    want = {n: base[n] + sum(s * (m[n] - base[n]) for s, m in zip(shares, models, strict=True)) for n in base}
    agree(attempt.add_task_vectors(base, given, shares), want, of=f"add_task_vectors {of}")
    agree(attempt.ties(base, given, 0.47, 0.7), ties_by_lists(base, models, 0.47, 0.7), of=f"ties, keep 0.47, {of}")
    agree(attempt.slerp(base, given[0], 0.3), {n: on_arc(base[n], models[0][n], 0.3) for n in base}, of=f"slerp {of}")
    own_memory(attempt, "merge_models", models, shares)
    own_memory(attempt, "add_task_vectors", base, models, shares)
    own_memory(attempt, "add_task_vectors", base, models, [0.0] * len(models))
    for keep in (0.47, 0.0):
        own_memory(attempt, "ties", base, models, keep, 0.7)
    for t in (0.0, 0.3, 1.0):
        own_memory(attempt, "slerp", base, models[0], t)


@part("merge_models")
@each_dtype
def test_short_vectors_and_small_angles(attempt, draw, dtype):
    """Short tensors have an angle as long ones have; the arc is left only where its sine is below 1e-4."""
    a, b = three_models(draw, dtype, 2)
    for scale in (1e-5, 1e4):
        short = [{name: x * scale for name, x in one.items()} for one in (a, b)]
        want = {name: on_arc(short[0][name], short[1][name], 0.3) / scale for name in a}
        got = {name: x / scale for name, x in attempt.slerp(*short, 0.3).items()}
        agree(got, want, of=f"slerp of tensors times {scale}, over {scale}, t = 0.3, {dtype}")
    if dtype == "float64":
        for angle in (5e-3, 4e-4, 3.14159):
            pair = [
                {"w": torch.tensor(w, dtype=torch.float64)} for w in ((1.0, 0.0), (math.cos(angle), math.sin(angle)))
            ]
            bent = math.sin(angle) >= 1e-4
            s, r = (
                (math.sin(0.7 * angle) / math.sin(angle), math.sin(0.3 * angle) / math.sin(angle))
                if bent
                else (0.7, 0.3)
            )
            want = {"w": s * pair[0]["w"] + r * pair[1]["w"]}
            agree(attempt.slerp(*pair, 0.3), want, of=f"slerp at an angle of {angle}, t = 0.3")


@part("merge_models")
@each_dtype
def test_ties_of_close_entries_and_of_none(attempt, draw, dtype):
    """Late digits decide what is trimmed; with a keep of 0 nothing stays, and the base comes back."""
    base = {"a": torch.zeros(5, 3, dtype=of_type(dtype)), "b": torch.zeros(7, dtype=of_type(dtype))}
    tuned = []
    for size in (1.0, 4.0, 16.0):
        entries = close(draw, 22, dtype=dtype, tiny=False) * size
        tuned.append({"a": entries[:15].view(5, 3), "b": entries[15:]})
    for keep in (0.4, 0.0):
        want = ties_by_lists(base, tuned, keep, 0.7)
        agree(attempt.ties(base, tuned, keep, 0.7), want, of=f"ties of entries that are close, keep {keep}, {dtype}")


@part("merge_models")
def test_other_models_of_that_size_are_merged(attempt, reference, draw):
    """Each call takes its own weights, whatever came before in the same sizes and however they lie in memory."""
    models = [[{"a": draw.normal(4, 3), "b": draw.normal(5)} for _ in range(4)] for _ in range(2)]
    calls = {
        "merge_models": [(few[:2], [1.0, 3.0]) for few in models],
        "slerp": [(few[0], few[1], 0.3) for few in models],
        "add_task_vectors": [(few[0], few[1:3], [0.5, -1.0]) for few in models],
        "ties": [(few[0], few[1:], 0.55, 0.7) for few in models],
    }
    for name, asked in calls.items():
        hold_again(attempt, reference, name, *asked, of=f"{name} of tensors (4, 3) and (5)")
