import _thread
import contextlib
import cProfile
import gc
import importlib
import math
import sys
import threading
from functools import partial

import autograd
import numpy as np
import pytest
import scipy.fft._pocketfft.pypocketfft as pypocketfft
import scipy.special.cython_special
import torch
import torch.distributed as dist
from scipy.linalg.blas import dgemm
from scipy.signal import _sigtools
from scipy.special import expit
from torch import nn
from torch._higher_order_ops.associative_scan import associative_scan, generic_associative_scan
from torch.distributed import _functional_collectives as functional_collectives
from torch.nn import functional
from torch.utils import _python_dispatch

from grader.answering import alone
from grader.answering.forbidden import resolve, watched
from grader.verdicts.fault import Elsewhere, Forbidden

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


Q = torch.ones(1, 2, 3, 4)
LABELS = torch.tensor([0, 2])


@torch.jit.script
def compiled(x):
    return torch._scaled_dot_product_attention_math(x, x, x)[0]


def unseen(call):
    """With the modes of torch's Python off."""

    def called():
        with torch._C.DisableTorchFunction():
            return call()

    return called


def unseen_below(call):
    def called():
        with torch._C._DisableTorchDispatch():
            return call()

    return called


def fast_path():
    with torch.inference_mode():
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()(Q[0])


def autocast_by_key():
    keys = torch._C._dispatch_tls_local_include_set().add(torch._C.DispatchKey.AutocastCPU)
    with torch._C._ForceDispatchKeyGuard(keys, torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)):
        functional.linear(X, X)


def fused_observer():
    on, state = torch.ones(1, dtype=torch.int64), [torch.zeros(1) for _ in range(3)]
    ATEN._fused_moving_avg_obs_fq_helper(X, on, on, *state, torch.zeros(1, dtype=torch.int32), 0.1, -8, 7, 0)


def with_gradient():
    parameter = nn.Parameter(X.clone())
    parameter.grad = X.clone()
    return parameter


def of_dtype(make):
    return lambda: make(torch.bfloat16)


MHA = "torch.nn.functional.multi_head_attention_forward"
CROSS_ENTROPY = "torch.nn.functional.cross_entropy"
SCAN = "torch._higher_order_ops.associative_scan.associative_scan"
MHA_LAYER = nn.MultiheadAttention(4, 2, batch_first=True)
ATEN = torch.ops.aten
flex = importlib.import_module("torch._higher_order_ops.flex_attention")
alone.at_home()  # the threads of pytest-xdist are there before any attempt
LEARNABLE = "torch._fake_quantize_learnable_per_tensor_affine"
FAKE_TENSOR, FAKE_CHANNEL = (
    ATEN.fake_quantize_per_tensor_affine_cachemask,
    ATEN.fake_quantize_per_channel_affine_cachemask,
)
STEPS = torch.ones(2)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (SDPA, unseen(lambda: functional.scaled_dot_product_attention(Q, Q, Q))),
        (SDPA, unseen_below(lambda: functional.scaled_dot_product_attention(Q, Q, Q))),
        (SDPA, lambda: torch._scaled_dot_product_attention_math(Q, Q, Q)),
        (SDPA, lambda: torch._C._nn.scaled_dot_product_attention(Q, Q, Q)),
        (SDPA, lambda: torch._VF._scaled_dot_product_attention_math(Q, Q, Q)),
        (SDPA, lambda: ATEN._scaled_dot_product_flash_attention_for_cpu(Q, Q, Q)),
        (SDPA, lambda: ATEN.scaled_dot_product_attention.default(Q.clone().requires_grad_(), Q, Q)),
        (SDPA, lambda: ATEN.scaled_dot_product_attention.default.decompose(Q, Q, Q)),
        (SDPA, lambda: torch._C._jit_get_operation("aten::scaled_dot_product_attention")[0](Q, Q, Q)),
        (SDPA, lambda: torch.vmap(functional.scaled_dot_product_attention)(*[Q[None]] * 3)),
        (SDPA, lambda: torch.vmap(ATEN._scaled_dot_product_attention_math)(*[Q[None]] * 3)),
        (SDPA, lambda: torch.func.grad(lambda x: ATEN.scaled_dot_product_attention(x, x, x).sum())(Q)),
        (SDPA, lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)(Q[0])),
        (SDPA, fast_path),
        (MHA, lambda: MHA_LAYER(Q[0], Q[0], Q[0])),
        (MHA, unseen(lambda: MHA_LAYER(Q[0], Q[0], Q[0]))),
        (MHA, fast_path),
        (CROSS_ENTROPY, unseen(lambda: functional.cross_entropy(X, LABELS))),
        (CROSS_ENTROPY, lambda: ATEN.cross_entropy_loss(X, LABELS)),
        (CROSS_ENTROPY, lambda: torch._C._nn.cross_entropy_loss(X, LABELS)),
        (CROSS_ENTROPY, lambda: torch.vmap(torch._C._nn.cross_entropy_loss)(X[None], LABELS[None])),
        (CROSS_ENTROPY, lambda: nn.CrossEntropyLoss()(X, LABELS)),
        (SCAN, lambda: associative_scan(torch.add, X, 0, combine_mode="generic")),
        (SCAN, lambda: generic_associative_scan(lambda a, b: [a + b], [X])),
        (SCAN, lambda: torch.ops.higher_order.associative_scan(lambda a, b: [a + b], [X], ())),
        ("torch.softmax", lambda: ATEN._masked_softmax(X, X > 2, 1)),
        ("torch._weight_norm", lambda: ATEN._weight_norm_interface(X, torch.ones(2, 1), 0)),
        ("torch.nn.functional.layer_norm", lambda: torch.native_layer_norm(X, [3], None, None, 1e-5)),
        (
            "torch.nn.functional.batch_norm",
            lambda: ATEN._native_batch_norm_legit.no_stats(X, None, None, True, 0.1, 1e-5),
        ),
        ("torch.softmax", lambda: torch._refs.softmax(X, 1)),
        ("torch.softmax", lambda: torch._decomp.decompositions._softmax(X, 1, False)),
        ("torch.nn.functional.layer_norm", lambda: torch._refs.nn.functional.layer_norm(X, (3,))),
        ("torch.Tensor.bfloat16", lambda: X.bfloat16()),
        ("torch.Tensor.bfloat16", of_dtype(lambda dtype: X.to(dtype))),
        ("torch.Tensor.bfloat16", of_dtype(lambda dtype: torch.empty(2, 3, dtype=dtype).copy_(X))),
        ("torch.Tensor.bfloat16", of_dtype(lambda dtype: torch.add(X, 0, out=torch.empty(2, 3, dtype=dtype)))),
        ("torch.Tensor.bfloat16", of_dtype(lambda dtype: torch.tensor([0.1], dtype=dtype))),
        ("torch.Tensor.bfloat16", of_dtype(lambda dtype: X.sum(dtype=dtype))),
        ("torch.amp.GradScaler", lambda: torch.amp.GradScaler("cpu")),
        ("torch.amp.GradScaler", lambda: torch.cpu.amp.GradScaler()),
        (
            "torch.amp.GradScaler",
            lambda: torch._amp_foreach_non_finite_check_and_unscale_([X.clone()], torch.zeros(1), torch.ones(1)),
        ),
        ("torch.fake_quantize_per_tensor_affine", lambda: torch.fake_quantize_per_tensor_affine(X, 1.0, 0, -8, 7)),
        ("torch.fake_quantize_per_tensor_affine", lambda: FAKE_TENSOR(X, 1.0, 0, -8, 7)),
        ("torch.fake_quantize_per_channel_affine", lambda: FAKE_CHANNEL(X, STEPS, STEPS.int(), 0, -8, 7)),
        (LEARNABLE, lambda: torch._fake_quantize_learnable_per_channel_affine(X, STEPS, STEPS, 0, -8, 7)),
        ("torch.fused_moving_avg_obs_fake_quant", fused_observer),
        ("torch.autocast", autocast_by_key),
        ("torch.autocast", lambda: torch.autocast("cpu")),
        ("torch.autocast", lambda: torch.set_autocast_enabled("cpu", False)),
        ("torch.autocast", lambda: torch.set_autocast_cpu_enabled(False)),
        ("torch.nn.utils.clip_grad_norm_", lambda: nn.utils.clip_grad_norm_.__wrapped__([X], 1.0)),
        ("torch.nn.utils.get_total_norm", lambda: nn.utils.clip_grad._get_total_norm([X])),
        ("torch.nn.utils.clip_grad_value_", lambda: nn.utils.clip_grad_value_([with_gradient()], 1.0)),
    ],
)
def test_a_forbidden_operator_is_caught_by_whatever_way_it_is_reached(name, call):
    with pytest.raises(Forbidden, match=rf"^{name} is what this part is there to write"), watched([name]):
        call()
    call()


AUTOGRAD = ["torch.autograd.grad", "torch.autograd.backward", "torch.Tensor.backward"]
NO_TORCH = ["torch"]
ENGINE = torch.autograd.Variable._execution_engine


def leaf():
    return X.clone().requires_grad_()


def engine(run):
    x = leaf()
    return run((x.tanh(),), (X,), False, False, (x,), allow_unreachable=True, accumulate_grad=False)


def dual(make, unpack):
    torch._C._enter_dual_level()
    try:
        return unpack(make(X, X, level=0).exp(), level=0)
    finally:
        torch._C._exit_dual_level(level=0)


WAYS = [
    lambda: torch.autograd.grad(leaf().sum(), leaf()),
    lambda: leaf().tanh().sum().backward(),
    lambda: engine(torch.autograd.graph._engine_run_backward),
    lambda: engine(ENGINE.run_backward),
    lambda: engine(partial(type(ENGINE).run_backward, ENGINE)),
    lambda: leaf().tanh().grad_fn(X),
    lambda: torch.func.vjp(torch.tanh, X)[1](X),
    lambda: torch.func.grad(lambda x: x.tanh().sum())(X),
    lambda: torch.autograd.functional.vjp(torch.tanh, X, X),
    lambda: ATEN._backward(leaf().sum(), []),
    lambda: dual(torch._VF._make_dual, torch._VF._unpack_dual),
    lambda: dual(ATEN._make_dual, ATEN._unpack_dual),
    lambda: ATEN.tanh_backward(X, X),
    lambda: ATEN._softmax_backward_data(X, X, -1, X.dtype),
    lambda: torch._C._jit_get_operation("aten::tanh_backward")[0](X, X),
    lambda: torch._decomp.decompositions.tanh_backward(X, X),
]


@pytest.mark.parametrize("names", [AUTOGRAD, AUTOGRAD[2:], ["torch.func.jvp"], NO_TORCH], ids=lambda names: names[0])
@pytest.mark.parametrize("way", WAYS)
def test_autograd_is_caught_by_whatever_entry(names, way):
    with watched(names) as offences, contextlib.suppress(Forbidden):
        way()
    assert [type(offence) for offence in offences[:1]] == [Forbidden]


def test_forward_mode_is_caught():
    """On its way out torch's own clean-up fails, and raises another exception: the list has it."""
    with contextlib.suppress(RuntimeError), watched(AUTOGRAD) as offences:
        torch.func.jvp(torch.tanh, (X,), (X,))
    assert [type(offence) for offence in offences] == [Forbidden]


def test_a_trace_of_forward_mode_is_refused():
    """It takes torch's modes off before it differentiates."""
    with pytest.raises(Elsewhere), watched(AUTOGRAD):
        torch.func.linearize(torch.tanh, X)


def test_work_without_gradients_is_free_where_autograd_is_forbidden():
    with watched(AUTOGRAD) as offences:
        torch.vmap(torch.tanh)(X)
        nn.functional.softmax(X, -1).square_()
        with torch.no_grad():
            leaf().exp()
    assert offences == []


def popped():
    mode = _python_dispatch._pop_mode()
    try:
        return X.exp()
    finally:
        _python_dispatch._push_mode(mode)


def excluded():
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.Python)):
        return X.exp()


def passed_on():
    return ATEN.exp.default.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), X)


@pytest.mark.parametrize("blind", [popped, excluded, passed_on])
def test_the_watch_over_all_operations_stays_on(blind):
    alone.at_home()
    with pytest.raises((Forbidden, Elsewhere)), watched(NO_TORCH):
        blind()


def test_where_torch_is_forbidden_all_else_is_free():
    with watched(NO_TORCH) as offences:
        np.exp(np.ones((2, 3))).sum()
        math.sqrt(2)
    assert offences == []


def by_hand(kind, **fields):
    made = object.__new__(kind)
    made.__dict__.update(fields)
    return made


class Heir(nn.MultiheadAttention):
    def __init__(self):
        nn.Module.__init__(self)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("torch.nn.MultiheadAttention", lambda: MHA_LAYER(Q[0], Q[0], Q[0])),
        ("torch.nn.MultiheadAttention", lambda: by_hand(nn.MultiheadAttention, **vars(MHA_LAYER))(Q[0], Q[0], Q[0])),
        ("torch.nn.MultiheadAttention", lambda: Heir().forward(Q[0], Q[0], Q[0])),
        ("torch.optim.lr_scheduler.StepLR", lambda: by_hand(torch.optim.lr_scheduler.StepLR).get_lr()),
        ("torch.amp.GradScaler", lambda: by_hand(torch.amp.GradScaler, _enabled=False).get_scale()),
    ],
)
def test_a_class_is_caught_without_its_init(name, call):
    with pytest.raises(Forbidden, match=rf"^{name} is what"), watched([name]):
        call()


def test_a_package_is_forbidden_with_all_its_functions():
    with pytest.raises(Forbidden, match=r"^autograd is what"), watched(["autograd"]):
        autograd.make_vjp(np.tanh, np.ones(2))
    with pytest.raises(Forbidden, match=r"^autograd is what"), watched(["autograd"]):
        autograd.core.backward_pass(np.ones(2), None)
    with watched(["autograd"]) as offences:
        np.sum(np.tanh(np.ones(2)))
    assert offences == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: _sigtools._convolve2d(np.ones((3, 3)), np.ones((2, 2)), 0, 0, 0, 0.0),
        lambda: pypocketfft.c2c(np.ones(2, dtype=complex)),
        lambda: expit(np.ones(2)),
        lambda: dgemm(1.0, np.ones((2, 2)), np.ones((2, 2))),
        lambda: scipy.special.cython_special.erf(0.5),
    ],
)
def test_a_package_is_forbidden_with_its_functions_in_c(call):
    """Built-in functions, ufuncs, and those of f2py and Cython."""
    gc.freeze()  # as the engine does before it forks
    try:
        with pytest.raises(Forbidden, match=r"^scipy is what"), watched(["scipy"]):
            call()
    finally:
        gc.unfreeze()
    call()  # and afterwards they are what they were


def test_what_a_package_has_from_numpy_is_free():
    with watched(["scipy"]) as offences:
        np.sum(np.exp(np.fft.fft(np.linalg.inv(np.eye(2)).ravel())))
        np.random.default_rng(0).normal(size=3)
    assert offences == []


def test_a_module_of_a_package_cannot_be_forbidden():
    with pytest.raises(TypeError, match="only a whole package can be forbidden"), watched(["torch.nn.functional"]):
        pass


@pytest.mark.parametrize(
    "call",
    [lambda: flex.math_attention(Q, Q, Q), lambda: torch.ops.higher_order.flex_attention(*[Q] * 3, None, (), 1, {})],
)
def test_flexible_attention_is_attention(call):
    with pytest.raises(Forbidden, match=f"^{SDPA} is what"), watched([SDPA]):
        call()


def test_what_compiled_code_runs_is_caught():
    """Its interpreter turns the exception into one of its own: the list has it."""
    with watched([SDPA]) as offences, contextlib.suppress(RuntimeError):
        compiled(Q)
    assert [type(offence) for offence in offences] == [Forbidden]


def test_a_function_that_was_compiled_cannot_be_seen():
    torch.jit.script(functional.hinge_embedding_loss)
    with pytest.raises(Forbidden, match="was compiled"), watched(["torch.nn.functional.hinge_embedding_loss"]):
        pass


@pytest.fixture(scope="module")
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.distributed_c10d._get_default_group()
    dist.destroy_process_group()


COLLECTIVES = {
    "all_reduce": [
        lambda group, backend: dist.all_reduce(X),
        lambda group, backend: group.allreduce([X]),
        lambda group, backend: backend.allreduce([X]),
        lambda group, backend: functional_collectives.all_reduce(X, "sum", group),
    ],
    "all_gather": [
        lambda group, backend: group.allgather([[X]], [X]),
        lambda group, backend: backend.allgather([[X]], [X]),
    ],
    "all_gather_into_tensor": [
        lambda group, backend: backend._allgather_base(X, X),
        lambda group, backend: functional_collectives.all_gather_tensor(X, 0, group),
    ],
    "broadcast": [
        lambda group, backend: backend.broadcast([X]),
        lambda group, backend: dist.broadcast_object_list([3]),
    ],
    "reduce": [lambda group, backend: backend.reduce([X])],
    "gather": [lambda group, backend: backend.gather([[X]], [X])],
    "all_to_all": [lambda group, backend: backend.alltoall([X], [X])],
    "reduce_scatter": [lambda group, backend: backend.reduce_scatter([X], [[X]])],
    "reduce_scatter_tensor": [lambda group, backend: functional_collectives.reduce_scatter_tensor(X, "sum", 0, group)],
}


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in COLLECTIVES.items() for call in calls])
def test_a_forbidden_collective_is_caught_down_to_the_backend(group, name, call):
    name, backend = f"torch.distributed.{name}", group._get_backend(torch.device("cpu"))
    with pytest.raises(Forbidden, match=rf"^{name} is what"), watched([name]):
        call(group, backend)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (SDPA, lambda: torch.softmax(Q @ Q.mT, -1) @ Q),
        (CROSS_ENTROPY, lambda: functional.nll_loss(functional.log_softmax(X, 1), LABELS)),
        ("torch.Tensor.bfloat16", lambda: (X.view(torch.int32) >> 16).to(torch.int16).view(torch.bfloat16).float()),
        ("torch.autocast", lambda: functional.linear(X, X.float())),
        ("torch.distributed.reduce", lambda: dist.all_reduce(X)),
        ("torch.distributed.all_gather", lambda: dist.broadcast(X, 0)),
    ],
)
def test_what_an_honest_answer_runs_is_free(group, name, call):
    with watched([name]) as offences:
        call()
    assert offences == []


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


@pytest.mark.parametrize(
    "start", [lambda work: threading.Thread(target=work).start(), lambda work: _thread.start_new_thread(work, ())]
)
def test_another_thread_is_refused_also_where_the_code_swallows_it(start):
    alone.at_home()
    ran = []
    with (
        pytest.raises(Elsewhere, match="a thread was started while its calls were watched"),
        watched(["math.sqrt"]),
        contextlib.suppress(BaseException),
    ):
        start(lambda: ran.append(1))
    assert ran == []


def test_an_operator_is_caught_in_a_thread_that_was_there_before():
    go, done = threading.Event(), threading.Event()

    def work():
        go.wait()
        with contextlib.suppress(Forbidden):
            torch.mean(X)
        done.set()

    threading.Thread(target=work).start()
    with watched(["torch.mean"]) as offences:
        go.set()
        done.wait()
    assert [type(offence) for offence in offences] == [Forbidden]


def test_a_function_in_python_is_caught_in_a_thread():
    caught = []

    def work():
        try:
            nn.utils.clip_grad_norm_([X], 1.0)
        except Forbidden as error:
            caught.append(error)

    with watched(["torch.nn.utils.clip_grad_norm_"]) as offences:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert offences == caught != []


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
