import contextlib
import cProfile
import math
import sys
import threading
from functools import partial

import pytest
import torch
from torch.nn import functional

from grader.answering.forbidden import resolve, watched
from grader.verdicts.fault import Forbidden

X = torch.ones(2, 3)
mean = torch.mean  # another name for it
SDPA = "torch.nn.functional.scaled_dot_product_attention"


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad + functional.scaled_dot_product_attention(X, X, X) * 0


def loss():
    functional.cross_entropy(X, X)


def hooked(x, call=lambda: functional.scaled_dot_product_attention(X, X, X)):
    y = x * 1
    y.register_hook(lambda grad: (call(), None)[1])
    return y


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("torch.mean", lambda: torch.mean(X)),
        ("torch.mean", lambda: mean(X)),
        ("torch.mean", lambda: getattr(torch, "me" + "an")(X)),
        ("torch.Tensor.mean", lambda: X.mean()),
        ("torch.Tensor.mean", lambda: torch.Tensor.mean(X)),
        (SDPA, lambda: functional.scaled_dot_product_attention(X, X, X)),
        (SDPA, lambda: partial(functional.scaled_dot_product_attention, X)(X, X)),
        (SDPA, lambda: torch.ops.aten.scaled_dot_product_attention(X, X, X)),
        (SDPA, lambda: torch.ops.aten.scaled_dot_product_attention.default(X, X, X)),
        (SDPA, lambda: torch.nn.MultiheadAttention(4, 2)(*[torch.ones(2, 1, 4)] * 3, need_weights=False)),
        (SDPA, lambda: Backward.apply(X.clone().requires_grad_()).sum().backward()),
        (SDPA, lambda: torch.autograd.grad(Backward.apply(x := X.clone().requires_grad_()).sum(), x)),
        (SDPA, lambda: hooked(X.clone().requires_grad_()).sum().backward()),
        (SDPA, lambda: X.clone().apply_(lambda x: (functional.scaled_dot_product_attention(X, X, X), x)[1])),
        ("torch.nn.functional.cross_entropy", lambda: hooked(X.clone().requires_grad_(), loss).sum().backward()),
        ("torch.nn.functional.softmax", lambda: functional.softmax(X, 0)),
        ("torch.nn.LayerNorm", lambda: torch.nn.LayerNorm(3)),
        ("torch.nn.utils.clip_grad_norm_", lambda: torch.nn.utils.clip_grad_norm_([X], 1.0)),
        ("math.sqrt", lambda: math.sqrt(2)),
    ],
)
def test_a_forbidden_call_is_caught_under_any_name(name, call):
    with pytest.raises(Forbidden, match=f"^{name} is what this part is there to write"), watched([name]):
        call()
    call()  # and allowed again outside


@pytest.mark.parametrize("name", ["torch.mean", "torch.Tensor.mean", SDPA, "math.sqrt"])
def test_other_calls_are_free(name):
    with watched([name]) as offences:
        X.sum() / X.numel()
        torch.softmax(X, 0) @ X.t()
        torch.linalg.norm(X)
        max([1, 2])
    assert offences == []


def test_a_method_of_another_type_may_have_the_same_name():
    class Stream:
        def mean(self):
            return 1

    with watched(["torch.Tensor.mean"]):
        assert Stream().mean() == 1


def test_an_offence_that_the_code_swallows_is_remembered():
    with watched(["torch.mean"]) as offences, contextlib.suppress(BaseException):
        torch.mean(X)
    assert [type(offence) for offence in offences] == [Forbidden]


@pytest.mark.parametrize("times", [0, 2], ids=["off", "on twice"])
def test_what_interrupts_a_call_of_torch_goes_through(times):
    def interrupted():
        mode = torch._C._pop_torch_function_stack()
        for _ in range(times):
            torch._C._push_on_torch_function_stack(mode)
        raise KeyError

    with pytest.raises(KeyError), watched(["torch.mean"]):
        interrupted()
    assert torch._C._len_torch_function_stack() == 0
    torch.mean(X)


def test_an_offence_in_a_thread_is_remembered():
    def work():
        with contextlib.suppress(Forbidden):
            torch.mean(X)

    with watched(["torch.mean"]) as offences:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(offences) == 1


def test_a_profiler_that_was_there_is_put_back():
    def mine(frame, event, arg):
        pass

    sys.setprofile(mine)
    try:
        with watched(["math.sqrt"]):
            assert sys.getprofile() is not mine
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("names", [[], ["torch.mean", SDPA]])
def test_the_profiler_runs_only_where_it_has_to(names):
    with watched(names):
        assert sys.getprofile() is None


def test_code_runs_under_cprofile_as_ever():
    """Its profiler can be read and not put back; torch's own Python (softmax) takes the way on which it was tried."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        with watched([SDPA]) as offences:
            assert functional.softmax(X, 1).sum() == 2
            assert max(1, 2) == 2  # a call, which a profiler that is none would refuse
        with pytest.raises(Forbidden), watched([SDPA]):
            functional.scaled_dot_product_attention(X, X, X)
    finally:
        profiler.disable()
    assert offences == []


def test_names_are_resolved_at_any_depth():
    assert resolve("torch.nn.functional.relu") is functional.relu
    assert resolve("torch.Tensor.mean") is torch.Tensor.mean


@pytest.mark.parametrize("name", ["torch.no_such_thing", "no_such_module.f", "torch.nn.functional.relu.deep.er", "f"])
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolve(name)


def test_what_is_not_installed_is_called_by_nobody():
    with watched(["no_such_package.f", "torch.mean"]) as offences:
        assert torch.ones(2).sum() == 2
    assert offences == []


def test_a_class_written_in_c_cannot_be_forbidden():
    with pytest.raises(TypeError, match=r"torch\.finfo is a class written in C"), watched(["torch.finfo"]):
        pass
