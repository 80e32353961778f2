import pytest
import torch
from torch import nn
from torch.nn.modules import module as of_all_modules

from grader.hooks import hooks


def nothing(*given):
    pass


def node(parameter):
    return torch.autograd.graph.get_gradient_edge(parameter).node


@pytest.mark.parametrize(
    "leave",
    [
        lambda model, x: model.register_forward_hook(nothing),
        lambda model, x: model[0].register_forward_pre_hook(nothing),
        lambda model, x: model[0].register_full_backward_hook(nothing),
        lambda model, x: model[0].weight.register_hook(nothing),
        lambda model, x: model[0].weight.register_post_accumulate_grad_hook(nothing),
        lambda model, x: (kept := node(model[0].weight), kept.register_hook(nothing)),
        lambda model, x: (kept := node(model[0].weight), kept.register_prehook(nothing)),
        lambda model, x: x.register_hook(nothing),
        lambda model, x: of_all_modules.register_module_forward_hook(nothing),
    ],
)
def test_a_hook_that_is_left_is_counted(leave):
    model, x = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.ones(3, 2, requires_grad=True)
    before = hooks(model, x)
    assert hooks(model, x) == before
    handle = leave(model, x)
    assert hooks(model, x) > before
    (handle[-1] if isinstance(handle, tuple) else handle).remove()
    assert hooks(model, x) == before


def test_a_pass_leaves_none():
    model, x = nn.Linear(2, 2), torch.ones(3, 2, requires_grad=True)
    before = hooks(model, x)
    model(x).sum().backward()
    assert hooks(model, x) == before == 0
