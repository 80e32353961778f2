"""`attempt.f(...)`, `.run`, `.cost` and `.gradients`, answered in this process."""

from types import ModuleType

import pytest
import torch

from grader.answering.answer import answer
from grader.checks.attempt import Attempt
from grader.verdicts.fault import Changed, Missing, NotData

CODE = """
import torch

def scale(x, by=2.0):
    return x * by

def product(x, y):
    return x @ y

seen = []
def remember(x):
    seen.append(x.clone())
    return x * 2

def both(x, y):
    return x * y, (x + y).sum()

def first(x, y):
    return x.detach() * 0 + 1, y.clone()

def scribble(x):
    x.add_(1)
    return x

def append(items):
    items.append(1)
    return len(items)

def give(x):
    return x

def nothing(x):
    return iter(x)

def fails(x):
    raise ValueError("mine")
"""


def double(module, x):
    return module.scale(x)


def records(module, x):
    """Whether a call is recorded for the backward pass."""
    return (x.clone().requires_grad_() * 2).requires_grad


def measured(module, n, *, meter):
    x = torch.ones(n, n)
    torch.ones(9, 9) @ torch.ones(9, 9)
    with meter:
        return module.scale(x @ x)


def misses(module, x):
    return module.scael(x)


def misses_elsewhere(module, x):
    return x.no_such_attribute


@pytest.fixture
def attempt():
    module, drivers = ModuleType("mine"), ModuleType("drivers")
    exec(CODE, module.__dict__)
    for function in (double, measured, records, misses, misses_elsewhere, hoards):
        setattr(drivers, function.__name__, function)
    return Attempt(lambda request: answer(request, module, drivers))


X = torch.tensor([1.0, 2.0, 3.0])


def test_a_call_gives_data(attempt):
    assert attempt.scale(X).tolist() == [2, 4, 6]
    assert attempt.scale(X, by=3.0).tolist() == [3, 6, 9]
    assert attempt.run(double, X).tolist() == [2, 4, 6]


def test_each_calls_once_for_each_row(attempt):
    assert attempt.each("scale", []) == []
    assert [y.tolist() for y in attempt.each("scale", [(X,), (X, 5.0)])] == [[2, 4, 6], [5, 10, 15]]
    assert [y.tolist() for y in attempt.each("scale", [(X,), (-X,)], by=3.0)] == [[3, 6, 9], [-3, -6, -9]]
    assert [y.tolist() for y in attempt.each(double, [(X,), (-X,)])] == [[2, 4, 6], [-2, -4, -6]]
    assert [y.shape for y in attempt.each(measured, [(2,), (3,)])] == [(2, 2), (3, 3)]


def test_the_last_of_each_may_be_called_under_no_grad(attempt):
    assert attempt.each(records, [(X,)] * 3, no_grad=True) == [True, True, False]
    assert attempt.each(records, [(X,)]) == [True]
    assert attempt.each(records, [], no_grad=True) == []


def test_each_calls_faults_by_the_names_that_one_call_would(attempt):
    with pytest.raises(Changed, match="argument 'x'"):
        attempt.each("scribble", [(X,), (X + 1,)])
    items = [1, 2]
    with pytest.raises(Changed, match="argument 'items'"):
        attempt.each("append", [()], items=items)
    with pytest.raises(NotData, match="list_iterator"):
        attempt.each("nothing", [([1],)])
    with pytest.raises(ValueError, match="mine"):
        attempt.each("fails", [(X,)])
    assert X.tolist() == [1, 2, 3]


def test_a_result_shares_nothing_with_the_arguments(attempt):
    attempt.give(X).add_(100)
    assert X.tolist() == [1, 2, 3]


def test_an_argument_that_is_written_to_is_a_fault_and_the_checks_own_stays(attempt):
    with pytest.raises(Changed, match="argument 'x'"):
        attempt.scribble(X)
    items = [1, 2]
    with pytest.raises(Changed, match="argument 'items'"):
        attempt.append(items=items)
    assert X.tolist() == [1, 2, 3]
    assert items == [1, 2]


def test_what_is_no_data_is_a_fault(attempt):
    with pytest.raises(NotData, match="list_iterator"):
        attempt.nothing([1])


def test_a_name_that_is_not_there_is_a_fault_for_a_call_and_in_a_driver(attempt):
    with pytest.raises(Missing, match=r"^scael$"):
        attempt.scael(X)
    with pytest.raises(Missing, match=r"^scael$"):
        attempt.run(misses, X)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        attempt.run(misses_elsewhere, X)


def test_an_exception_arrives_as_it_was_raised(attempt):
    with pytest.raises(ValueError, match="mine"):
        attempt.fails(X)


def test_a_cost_is_of_the_whole_call_or_of_what_the_driver_measures(attempt):
    value, cost = attempt.cost("scale", torch.ones(4, 4))
    assert value.sum() == 32
    assert (cost.flops, cost.work) == (0, 16)
    value, cost = attempt.cost(measured, 5)
    assert value.shape == (5, 5)
    assert (cost.flops, cost.work) == (250, 275)


def hoards(module, x, *, meter):
    held = []
    with meter:
        held.append(x * 2)
        y = module.scale(x)
    meter.kept(y)
    return y


def test_what_stays_alive_is_asked_by_the_driver_or_after_the_call(attempt):
    _, cost = attempt.cost("remember", torch.ones(4, 4))
    assert cost.kept == 64
    _, cost = attempt.cost("scale", torch.ones(4, 4))
    assert cost.kept == 0
    _, cost = attempt.cost(hoards, torch.ones(4, 4))
    assert cost.kept == 64


def test_a_cost_with_upstream_is_that_of_the_gradients_too(attempt):
    x, y = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2)
    (value, grads), cost = attempt.cost("product", x, y, upstream=torch.ones(2, 2))
    assert value.tolist() == (x @ y).tolist()
    assert [grad.tolist() for grad in grads] == [(y @ y.T).tolist(), (x.T @ y).tolist()]
    assert (cost.flops, cost.saved, cost.kept, cost.kept_nodes) == (3 * 16, 32, 0, 0)
    _, cost = attempt.cost("product", x, y)
    assert (cost.flops, cost.saved) == (16, 0)


def test_a_driver_that_measures_can_be_run_without(attempt):
    assert attempt.run(hoards, X).tolist() == [2, 4, 6]
    assert attempt.run(measured, 2).tolist() == [[4, 4], [4, 4]]


def test_gradients_are_those_of_the_value_times_upstream(attempt):
    upstream = torch.tensor([1.0, 10.0, 100.0])
    value, grads = attempt.gradients("scale", X, upstream=upstream)
    assert value.tolist() == [2, 4, 6]
    assert grads[0].tolist() == [2, 20, 200]
    assert not value.requires_grad
    assert not X.requires_grad


def test_gradients_of_several_results_and_through_a_driver(attempt):
    y = torch.tensor([4.0, 5.0, 6.0])
    _, (dx, dy) = attempt.gradients("both", X, y, upstream=[torch.ones(3), torch.tensor(10.0)])
    assert dx.tolist() == [14, 15, 16]
    assert dy.tolist() == [11, 12, 13]
    _, (dx,) = attempt.gradients(double, X, upstream=torch.ones(3))
    assert dx.tolist() == [2, 2, 2]


def test_an_argument_that_got_no_gradient_has_none(attempt):
    _, grads = attempt.gradients("first", X, X + 1, upstream=[torch.ones(3), torch.ones(3)])
    assert grads[0] is None
    assert grads[1].tolist() == [1, 1, 1]
    _, grads = attempt.gradients("scale", X, 3, upstream=torch.ones(3))
    assert grads[1] is None


def test_private_names_are_no_questions(attempt):
    with pytest.raises(AttributeError):
        attempt._private  # noqa: B018
