import pytest
import torch
from torch import nn

from grader.answering.cost import Cost, Meter


def cost(function, *args):
    meter = Meter()
    with meter:
        function(*args)
    return meter.cost


def ones(*shape):
    return torch.ones(shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "args", "flops"),
    [
        (torch.mm, (ones(3, 5), ones(5, 7)), 2 * 3 * 5 * 7),
        (torch.matmul, (ones(2, 3, 5), ones(2, 5, 7)), 2 * 2 * 3 * 5 * 7),
        (torch.mv, (ones(3, 5), ones(5)), 2 * 3 * 5),
        (torch.dot, (ones(5), ones(5)), 2 * 5),
        (torch.vdot, (ones(5).to(torch.complex128), ones(5).to(torch.complex128)), 2 * 5),
        (torch.outer, (ones(3), ones(5)), 0),
        (torch.addr, (ones(3, 5), ones(3), ones(5)), 2 * 3 * 5),
        (torch.addmm, (ones(3, 7), ones(3, 5), ones(5, 7)), 2 * 3 * 5 * 7),
        (torch.einsum, ("ik,jk->ij", ones(3, 5), ones(7, 5)), 2 * 3 * 5 * 7),
        (nn.functional.conv1d, (ones(1, 2, 10), ones(3, 2, 4)), 2 * 3 * 2 * 4 * 7),
        (torch.add, (ones(3), ones(3)), 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_multiply_adds_of_products_count_twice(function, args, flops):
    assert cost(function, *args).flops == flops


ROWS, ACROSS = torch.tensor([1, 2]), torch.zeros(2, 3, dtype=torch.int64)
VALUES = ones(2, 7)


@pytest.mark.parametrize(
    ("write", "written"),
    [
        (lambda x: x.index_put_((ROWS,), VALUES), 14),
        (lambda x: x.index_put_((ROWS[:, None], ROWS), VALUES[:, :2]), 4),
        (lambda x: x.index_put_((ROWS[:0],), VALUES[:0]), 0),
        (lambda x: x.scatter_(0, ACROSS, 1.0), 6),
        (lambda x: x.scatter_add_(0, ACROSS, VALUES), 6),
        (lambda x: x.scatter_reduce_(0, ACROSS, VALUES, "amax"), 6),
        (lambda x: x.index_add_(0, ROWS, VALUES), 14),
        (lambda x: x.index_copy_(0, ROWS, VALUES), 14),
        (lambda x: x.index_fill_(1, ROWS, 1.0), 20),
        (lambda x: x.fill_(1.0), 70),
    ],
)
def test_what_is_written_by_index_counts_where_it_is_written(write, written):
    assert cost(write, ones(10, 7)).work == written


def test_work_is_flops_and_each_element_written_by_other_operations():
    assert cost(lambda x: x @ x, ones(3, 3)).work == 2 * 27
    assert cost(lambda x: x + 1, ones(3, 5)).work == 15
    assert cost(lambda x: x.add_(1), ones(3, 5)).work == 15
    assert cost(lambda x: x[:, 1:].t().reshape(-1, 1), ones(1, 5)).work == 0  # views write nothing


def test_the_largest_tensor_is_of_those_made_inside():
    assert cost(lambda x: x[:2] * 2, ones(1000, 3)).largest == 6
    assert cost(lambda x: (x[:, None] * x).sum(), ones(11)).largest == 121


def test_an_expanded_view_holds_no_more_than_its_storage():
    assert cost(lambda x: (x + 1).expand(100, 5), ones(5)).largest == 5


def test_peak_counts_what_is_alive_at_once():
    def one_after_the_other():
        for _ in range(5):
            torch.empty(100, dtype=torch.float64)

    kept = []

    def all_at_once():
        kept.extend(torch.empty(100, dtype=torch.float64) for _ in range(5))

    assert cost(one_after_the_other).peak == 800
    assert cost(all_at_once).peak == 4000


def test_saved_counts_each_storage_kept_for_backward_once():
    x = ones(10).requires_grad_()
    kept = []
    assert cost(lambda: kept.append(x.exp())).saved == 80
    assert cost(lambda: kept.append(x * x)).saved == 80
    assert cost(lambda: kept.append(x.detach().exp())).saved == 0


def test_calls_are_counted_by_name():
    counted = cost(lambda x: (x @ x).exp() + x.exp(), ones(2, 2)).calls
    assert counted["mm"] == 1
    assert counted["exp"] == 2


def test_a_meter_adds_up_what_runs_inside_it_and_nothing_else():
    meter = Meter()
    with meter:
        ones(3, 3) @ ones(3, 3)
    ones(9, 9) @ ones(9, 9)
    with meter:
        ones(3, 3) @ ones(3, 3)
    assert meter.cost.flops == 2 * 2 * 27
    assert meter.cost.calls["mm"] == 2


def test_nothing_costs_nothing():
    cost_of_nothing = cost(lambda: None)
    assert cost_of_nothing == Cost(flops=0, work=0, largest=0, peak=0, saved=0, calls={})


def test_a_meter_stops_where_the_code_raises():
    meter = Meter()
    with pytest.raises(ZeroDivisionError), meter:
        1 / 0  # noqa: B018
    ones(3, 3) @ ones(3, 3)
    assert meter.cost.flops == 0
