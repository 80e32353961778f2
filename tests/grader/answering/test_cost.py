import ctypes
import mmap
import os
import threading
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from torch import nn

from grader.answering import alone, entering, leaving
from grader.answering.cost import Cost, Meter
from grader.verdicts.fault import Elsewhere

alone.at_home()
leaving.lay()
entering.lay()


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


N = 50
MATRIX = 8 * N * N


def in_numpy(x):
    return torch.from_numpy(np.exp(x.numpy()[:, None] * x.numpy()))


def in_lists(x):
    values = x.tolist()
    return torch.tensor([sum(a * b for b in row) for row in [[a * b for b in values] for a in values] for a in row[:1]])


def of_numpys_own():
    """A mask that no tensor led to, and that goes back to torch."""
    return torch.from_numpy(np.tril(np.ones((N, N)))).sum()


@pytest.mark.parametrize(("work", "args"), [(in_numpy, (ones(N),)), (in_lists, (ones(2 * N),)), (of_numpys_own, ())])
def test_memory_counts_outside_torch_too(work, args):
    counted = cost(work, *args)
    assert counted.peak >= MATRIX
    assert counted.largest >= N * N


def test_numpy_is_not_weighed_twice():
    def one_after_the_other(x):
        for _ in range(5):
            (x.numpy()[:, None] * x.numpy()).sum()

    counted = cost(one_after_the_other, ones(N))
    assert MATRIX <= counted.peak < 1.5 * MATRIX
    assert counted.largest == N * N


def test_what_comes_back_from_numpy_is_numpys_own_memory():
    counted = cost(lambda: torch.from_numpy(np.ones(1000)) * 2)
    assert 16000 <= counted.peak < 17000
    assert counted.largest == 1000


def test_what_torch_makes_of_values_counts():
    counted = cost(lambda: torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert (counted.peak, counted.work, counted.largest) == (24, 3, 3)


@pytest.mark.parametrize(
    ("way", "name", "values"),
    [
        (lambda x: x.numpy(), "Tensor.numpy", 6),
        (np.asarray, "Tensor.numpy", 6),
        (lambda x: x.tolist(), "Tensor.tolist", 6),
        (lambda x: [float(value) for value in x.flatten()], "Tensor.item", 6),
        (lambda x: x[0, 0].item(), "Tensor.item", 1),
        (np.from_dlpack, "Tensor.__dlpack__", 6),
        (lambda x: torch.utils.dlpack.to_dlpack(x), "torch.utils.dlpack.to_dlpack", 6),
        (lambda x: x.data_ptr(), "Tensor.data_ptr", 6),
        (lambda x: x.untyped_storage().data_ptr(), "UntypedStorage.data_ptr", 48),
        (lambda x: x.untyped_storage().tolist(), "Tensor.item", 48),
        (lambda x: x.clone().apply_(abs), "Tensor.apply_", 6),
        (lambda x: x.__reduce_ex__(2), "Tensor.__reduce_ex__", 6),
        (lambda x: torch._C.TensorBase.numpy(x), "Tensor.numpy", 6),
        (lambda x: super(torch.Tensor, x).tolist(), "Tensor.tolist", 6),
        (lambda x: torch._C.StorageBase.data_ptr(x.untyped_storage()), "UntypedStorage.data_ptr", 48),
        (lambda x: x.untyped_storage()._write_file(BytesIO(), False, True, 1), "UntypedStorage._write_file", 48),
        (lambda x: x.exp().sum().max(), "", 0),
    ],
)
@pytest.mark.parametrize("watch", [nullcontext, torch._C.DisableTorchFunction], ids=["", "unseen"])
def test_what_leaves_torch_is_counted(way, name, values, watch):
    x = ones(2, 3)
    with watch():
        left = cost(way, x).left
    assert left == ({name: values} if name else {})


def test_other_threads_of_the_attempt_are_refused():
    with pytest.raises(Elsewhere, match="a thread was started while its cost was measured"):
        cost(lambda: threading.Thread(target=print).start())
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(5,), name="helper")
    thread.start()
    try:
        with pytest.raises(Elsewhere, match="thread 'helper' was alive while its cost was measured"):
            cost(lambda: None)
    finally:
        go.set()
        thread.join()


def test_other_processes_are_refused_and_ranks_are_not():
    with pytest.raises(Elsewhere, match="a process was started"):
        cost(os.fork)
    with Meter(), alone.forking():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def unseen(blind):
    """A product that no mode of torch's sees."""

    def work():
        with blind():
            return ones(3, 3) @ ones(3, 3)

    return work


@pytest.mark.parametrize(
    "blind",
    [
        lambda: torch._C._DisableTorchDispatch(),
        lambda: torch.utils._python_dispatch._disable_current_modes(),
        lambda: nullcontext(torch._C._pop_torch_dispatch_stack()),
    ],
)
def test_what_turns_the_counting_off_is_refused(blind):
    with pytest.raises(Elsewhere, match=r"_\w+ was called while its cost was measured"):
        cost(unseen(blind))
    counted = cost(lambda: ones(3, 3) @ ones(3, 3))
    assert counted.flops == 54


def kept(work, *owned):
    """What stays alive after `work(held)`, a list that outlives it; owned: places of that list."""
    meter, held = Meter(), []
    with meter:
        work(held)
    meter.kept(*(held[i] for i in owned))
    return meter.cost.kept, meter.cost.kept_nodes


LEAF = ones(10).requires_grad_()


class Hoarder(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.beside = x.numpy() * 2
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


@pytest.mark.parametrize(
    ("work", "owned", "stays"),
    [
        (lambda held: ones(10) * 2, (), (0, 0)),
        (lambda held: held.append(ones(10) * 2), (), (80, 0)),
        (lambda held: held.append(ones(10) * 2), (0,), (0, 0)),
        (lambda held: held.append([{"a": ones(10) * 2}]), (0,), (0, 0)),
        (lambda held: held.append((ones(10) * 2)[:1]), (0,), (72, 0)),
        (lambda held: held.extend((ones(10) * 2).chunk(2)), (0, 1), (0, 0)),
        (lambda held: held.append(np.ones(10)), (), (80, 0)),
        (lambda held: held.append(np.ones(10)[2:]), (0,), (16, 0)),
        (lambda held: held.append(torch.from_numpy(np.ones(10))), (0,), (0, 0)),
        (lambda held: held.append(partial(print, ones(10) * 2)), (), (80, 0)),
        (lambda held: held.append(LEAF.exp().sum()), (), (88, 2)),
        (lambda held: held.append(LEAF.exp().sum()), (0,), (0, 0)),
        (lambda held: held.append((y := LEAF.exp().sum(), y.backward())[0]), (), (8 + 80, 2)),
        (lambda held: held.append(LEAF.exp().sum().detach()), (0,), (0, 0)),
        (lambda held: held.append(LEAF.sum().grad_fn), (), (0, 1)),
        (lambda held: held.append(Hoarder.apply(LEAF)), (0,), (80, 0)),
    ],
)
def test_what_stays_alive_is_told_apart_from_what_is_owned(work, owned, stays):
    LEAF.grad = None
    assert kept(work, *owned) == stays


def test_garbage_in_a_circle_is_not_kept():
    def circle(held):
        mine = [ones(10) * 2]
        mine.append(mine)

    assert kept(circle) == (0, 0)


def test_a_storage_that_was_emptied_holds_nothing():
    def empty(held):
        held.append(ones(10) * 2)
        held[0].untyped_storage().resize_(0)

    assert kept(empty) == (0, 0)


@pytest.mark.parametrize(("keeps", "most"), [(False, 5), (True, 30)])
def test_nodes_are_those_alive_at_once(keeps, most):
    def losses(count=10):
        kept = []
        for _ in range(count):
            loss = (LEAF.exp() * 2).sum()
            loss.backward()
            kept.append(loss if keeps else loss.detach())

    counted = cost(losses)
    assert counted.nodes == most
    assert cost(lambda: LEAF.detach().exp() * 2).nodes == 0


LARGE, ACROSS_LARGE = torch.ones(256, 8), torch.ones(8, 256)
BYTES = 256 * 256 * 4


def _resized(storage):
    storage.resize_(BYTES)
    return torch.empty(0).set_(storage)


@pytest.mark.parametrize(
    "place",
    [
        lambda: torch.empty(0),
        lambda: LARGE.new_empty(0),
        lambda: torch.empty(1).resize_(256, 256),
        lambda: _resized(torch.empty(1).untyped_storage()),
        lambda: torch.empty(0).set_(torch.UntypedStorage(BYTES)),
        lambda: torch.empty(0).set_(torch.UntypedStorage._new_shared(BYTES)),
        lambda: torch.frombuffer(bytearray(BYTES), dtype=torch.float32),
        lambda: torch.frombuffer(buffer=mmap.mmap(-1, BYTES), dtype=torch.float32),
        lambda: torch.frombuffer((ctypes.c_float * 256 * 256)(), dtype=torch.float32),
        lambda: torch.asarray(bytearray(BYTES), dtype=torch.float32),
        lambda: torch.from_numpy(np.frombuffer(bytearray(BYTES), dtype=np.float32)),
        lambda: torch.as_tensor(np.ndarray((256, 256), np.float32, memoryview(bytearray(BYTES)))),
        lambda: torch.from_dlpack(np.frombuffer(bytearray(BYTES), dtype=np.float32)),
        lambda: torch.utils.dlpack.from_dlpack(np.frombuffer(bytearray(BYTES), dtype=np.float32)),
    ],
)
def test_memory_counts_wherever_a_result_is_put(place):
    def work():
        out = place()
        return torch.mm(LARGE, ACROSS_LARGE, out=out if not out.numel() else out.view(256, 256)).sum()

    found = cost(work)
    assert BYTES <= found.peak <= BYTES + 100
    assert found.largest == 256 * 256


@pytest.mark.parametrize(
    "buffer", [lambda: bytearray(4 * BYTES), lambda: mmap.mmap(-1, 4 * BYTES), lambda: (ctypes.c_char * (4 * BYTES))()]
)
def test_a_buffer_made_before_values_leave_torch_counts_too(buffer):
    def work():
        out = np.frombuffer(buffer(), dtype=np.float32)[: 256 * 256].reshape(256, 256)
        np.matmul(LARGE.numpy(), ACROSS_LARGE.numpy(), out=out)

    assert 3.5 * BYTES <= cost(work).peak <= 4.5 * BYTES


def test_an_argument_that_is_written_or_looked_at_is_not_made():
    given, array = torch.ones(256, 256), np.ones((256, 256), np.float32)
    assert cost(lambda: torch.mm(LARGE, ACROSS_LARGE, out=given)).peak == 0
    for look in (lambda: torch.from_numpy(given.numpy()), lambda: torch.as_tensor(array[1:]), lambda: given.resize_(9)):
        assert cost(look).peak == 0


@pytest.mark.parametrize("of", [lambda given: given, lambda given: {"w": given}, lambda given: given.T])
def test_a_deep_copy_costs_what_a_clone_does(of):
    given = of(torch.ones(256, 256))
    copied = cost(lambda: deepcopy(given))
    assert BYTES <= copied.peak <= BYTES + 100
    assert copied.largest == 256 * 256


def test_a_deep_copy_beside_values_of_python_costs_what_a_clone_does():
    given = torch.ones(256, 256)
    copied, cloned = (cost(lambda copy=copy: (given.tolist(), copy(given))) for copy in (deepcopy, torch.clone))
    assert abs(copied.peak - cloned.peak) < 2**16 < BYTES


def test_an_argument_whose_storage_was_made_larger_counts():
    given = torch.ones(4)

    def work():
        storage = given.untyped_storage()
        storage.resize_(BYTES)
        torch.empty(0).set_(storage, 0, (256, 256), (256, 1)).numpy()[:] = 1

    assert cost(work).peak >= BYTES - 16
