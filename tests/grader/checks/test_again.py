"""A second call of the same sizes, on right answers and on wrong ones."""

from types import ModuleType

import numpy as np
import pytest
import torch

from grader.answering.answer import answer
from grader.checks.again import hold_again, hold_turns, spaced
from grader.checks.attempt import Attempt

FIRST, SECOND = (torch.arange(6.0).view(2, 3),), (torch.arange(6.0).view(2, 3) ** 2,)


def attempt(function):
    module, drivers = ModuleType("again_attempt"), ModuleType("again_drivers")
    module.double, drivers.doubled = function, doubled
    return Attempt(lambda request: answer(request, module, drivers))


def doubled(module, x):
    return module.double(x)


def double(x):
    return 2 * x


def hold(function, target="double", **options):
    hold_again(attempt(function), attempt(double), target, FIRST, SECOND, of="double", **options)


def by_size(x, kept={}):  # noqa: B006 - what it is about
    return kept.setdefault(x.shape, 2 * x)


def into_a_buffer(x, kept={}):  # noqa: B006
    return kept.setdefault(x.shape, torch.empty(x.shape)).copy_(2 * x)


def into_two_buffers(x, kept=[]):  # noqa: B006
    kept.append(kept[-2].copy_(2 * x) if len(kept) > 1 else 2 * x)
    return kept[-1]


def as_it_lies(x):
    return 2 * x.as_strided(x.shape, (3, 1))


def with_gradients_alone(x, kept=None):
    return 2 * x if torch.is_grad_enabled() else 3 * x


def test_what_looks_at_its_input_is_right():
    hold(double)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (by_size, "called again with other numbers of the same sizes.*the result of the call before"),
        (into_a_buffer, "^double, looked at after another call.*the result of the call after it"),
        (as_it_lies, "of inputs that are not contiguous"),
        (with_gradients_alone, r"^double, under torch\.no_grad"),
        (lambda x: 2 * x.view(-1).view(2, 3), "view"),
    ],
)
def test_what_looks_at_something_else_is_wrong(function, said):
    with pytest.raises(Exception, match=f"(?s){said}"):
        hold(function)


def test_views_are_asked_for_only_where_they_are_promised():
    hold(as_it_lies, views=False)


def test_a_driver_or_a_check_may_say_that_gradients_are_needed():
    hold(with_gradients_alone, no_grad=False)
    hold(with_gradients_alone, doubled)
    with pytest.raises(AssertionError, match=r"^double, under torch\.no_grad"):
        hold(with_gradients_alone, doubled, no_grad=True)


def test_other_strides_hold_the_same():
    x, y = torch.arange(5), np.arange(6.0).reshape(2, 3)
    moved = spaced({"a": [x, (y, x.view(1, 5))], "b": "text"})
    assert not moved["a"][0].is_contiguous()
    assert torch.equal(moved["a"][0], x)
    assert torch.equal(moved["a"][1][1], x.view(1, 5))
    assert not moved["a"][1][0].flags.c_contiguous
    assert np.array_equal(moved["a"][1][0], y)
    assert moved["b"] == "text"


class Keeper:
    """Doubles what comes, and keeps it by size where it is told to."""

    def __init__(self, way=None):
        self.way, self.kept = way, {}

    def __call__(self, x):
        return self.way(x, self.kept) if self.way else double(x)


def in_turn(module, *, turns):
    made = module.make()
    return [made(x) for (x,) in turns]


def object_of(way):
    module = ModuleType("again_attempt")
    module.make = lambda: Keeper(way)
    drivers = ModuleType("again_drivers")
    drivers.in_turn = in_turn
    return Attempt(lambda request: answer(request, module, drivers))


def hold_object(way):
    hold_turns(object_of(way), object_of(None), in_turn, turns=(FIRST, SECOND), of="double")


def test_an_object_that_is_called_twice_is_held_likewise():
    hold_object(None)
    for way, said in (
        (by_size, "called again with other numbers of the same sizes.*the result of the call before"),
        (into_a_buffer, "^double, looked at after another call.*the result of the call after it"),
        (with_gradients_alone, r"^double, under torch\.no_grad, looked at after another call"),
    ):
        with pytest.raises(AssertionError, match=f"(?s){said}"):
            hold_object(way)


def test_two_buffers_in_turn_are_seen_without_views():
    with pytest.raises(AssertionError, match=r"^double, looked at after another call"):
        hold(into_two_buffers, views=False)
