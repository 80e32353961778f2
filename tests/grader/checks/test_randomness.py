"""The shared check of a generator, and laws looked at jointly, on right answers and on wrong ones."""

import itertools
from copy import deepcopy
from types import ModuleType

import numpy as np
import pytest
import torch

from grader.answering import alone
from grader.answering.answer import answer
from grader.answering.draws import drawn
from grader.answering.forbidden import watched
from grader.checks.attempt import Attempt
from grader.checks.randomness import hold_generator, hold_independent, hold_permutations, improbable
from grader.checks.vocabulary import Wrong


def attempt(function):
    module = ModuleType("random_attempt")
    module.draw = function
    return Attempt(lambda request: answer(request, module, None))


def copied(generator):
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return copy


def seeded_alike(generator):
    torch.rand(5, generator=generator)
    return torch.Generator().manual_seed(generator.initial_seed())


def seeded_anew(generator):
    return generator.manual_seed(generator.initial_seed())


def test_a_generator_that_is_used_is_right():
    first = hold_generator(attempt(lambda n, generator: torch.rand(n, generator=generator)), "draw", 4, seed=3, of="x")
    assert torch.equal(first, torch.rand(4, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("way", [copied, seeded_alike, seeded_anew])
def test_a_generator_that_is_copied_or_seeded_anew_is_wrong(way):
    with pytest.raises(AssertionError, match=r"^x gave the same draw again .* neither seeded anew nor copied"):
        hold_generator(attempt(lambda generator: torch.rand(4, generator=way(generator))), "draw", seed=3, of="x")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (deepcopy, "the same draw again"),
        (lambda rng: np.random.default_rng(3), "the same draw again"),
        (lambda rng: rng.spawn(1)[0], "from a generator of the same seed that had given numbers before"),
        (lambda rng: np.random.seed(9) or rng, "drew from, or seeded, the global state of numpy"),
    ],
)
def test_a_generator_of_numpys_is_held_alike(way, said):
    asked = {"seed": 3, "of": "x", "parameter": "rng"}
    first = hold_generator(attempt(lambda rng: rng.random(4)), "draw", **asked)
    assert np.array_equal(first, np.random.default_rng(3).random(4))
    with pytest.raises(AssertionError, match=said):
        hold_generator(attempt(lambda rng: way(rng).random(4)), "draw", **asked)


def test_no_operation_of_torchs_runs_for_a_generator_of_numpys():
    alone.at_home()
    with watched(["torch"]) as offences:
        drawn(lambda rng: rng.random(4), 3, "rng")
    assert offences == []


def test_every_other_draw_again_is_wrong():
    kept = {}

    def draw(generator):
        fresh = torch.rand(4, generator=generator)
        turn, first = kept.get(id(generator), (0, fresh))
        kept[id(generator)] = turn + 1, first
        return first if turn % 2 == 0 else fresh

    with pytest.raises(AssertionError, match=r"^x gave the same draw two calls later from the same generator"):
        hold_generator(attempt(draw), "draw", seed=3, of="x")


def test_a_generator_that_is_left_as_it_was_is_wrong():
    values = itertools.count()

    def draw(generator):  # its own stream, by the number of the call and the state alone
        return torch.tensor([1.0, 2.0, 5.0, 1.0, 3.0, 4.0][next(values) % 6])

    with pytest.raises(AssertionError, match="x left its generator in the state it was in"):
        hold_generator(attempt(draw), "draw", seed=3, of="x")


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_global_states_are_left_alone(name):
    def draw(generator):
        torch.rand(1) if name == "torch" else np.random.rand()
        return torch.rand(4, generator=generator)

    with pytest.raises(AssertionError, match=f"x drew from, or seeded, the global state of {name}"):
        hold_generator(attempt(draw), "draw", seed=3, of="x")
    hold_generator(attempt(draw), "draw", seed=3, of="x", alone=False)


def test_global_numbers_are_no_numbers_of_the_generator():
    with pytest.raises(Wrong, match="in an equal state, but with other seeds of torch"):
        hold_generator(attempt(lambda generator: torch.rand(4)), "draw", seed=3, of="x")


def test_each_entry_of_a_dict_is_drawn():
    def draw(generator):
        return {"a": torch.rand(3, generator=seeded_alike(generator)), "b": torch.rand(3, generator=generator)}

    with pytest.raises(AssertionError, match=r"^x, a, gave the same draw"):
        hold_generator(attempt(draw), "draw", seed=3, of="x")


def test_permutations_that_never_come_are_named():
    counts = dict.fromkeys(itertools.permutations(range(4)), 50)
    hold_permutations(counts, 4, 1200, "partners")
    turns = {tuple((i * sign + turn) % 4 for i in range(4)): 150 for turn in range(4) for sign in (1, -1)}
    with pytest.raises(Wrong, match="of 24 permutations of 4 some never come in 1,200 draws"):
        hold_permutations(turns, 4, 1200, "partners")


def test_pairs_that_depend_on_each_other_are_named():
    uniform = torch.rand(2000, 6, generator=torch.Generator().manual_seed(0))
    hold_independent(uniform < 0.3, 0.3, "drops")
    antithetic = torch.cat([uniform[:, :3], 1 - uniform[:, :3].flip(1)], dim=1)
    with pytest.raises(Wrong, match="drops: 0 and 5 are not independent"):
        hold_independent(antithetic < 0.3, 0.3, "drops")
    with pytest.raises(AssertionError, match=r"expected in 40\.00 %"):
        hold_independent(uniform < 0.3, 0.4, "drops")


def test_the_alarm_is_rare_and_sharp():
    assert not improbable(300, 1000, 0.3)
    assert improbable(400, 1000, 0.3)
    assert improbable(1, 1000, 0.0)
