import torch
from torch import nn
from torch.distributions import kl
from torch.nn import functional, init
from torch.nn.utils import parametrizations
from torch.optim import adam, lr_scheduler, sgd
from torch.utils import checkpoint

from grader.answering.inner import functions_of, unwrapped


def done_with(*targets):
    return functions_of({"it": targets})


def test_a_function_takes_its_inner_entries_with_it():
    doing = done_with(checkpoint.checkpoint, checkpoint.checkpoint_sequential)
    assert checkpoint._checkpoint_without_reentrant_generator in doing
    assert checkpoint.CheckpointFunction.forward in doing
    assert checkpoint._checkpoint_hook.__init__ in doing


def test_a_class_takes_its_methods_and_its_inner_entries_with_it():
    doing = done_with(torch.optim.SGD, sgd.sgd)
    assert {sgd.SGD._init_group, sgd._single_tensor_sgd, sgd._multi_tensor_sgd} <= doing.keys()
    assert nn.MultiheadAttention.forward in done_with(nn.MultiheadAttention)
    assert unwrapped(torch.optim.Muon.step) in done_with(torch.optim.Muon)  # it says that it is from another module


def test_a_private_class_behind_a_function_goes_with_it():
    assert parametrizations._Orthogonal.forward in done_with(parametrizations.orthogonal)


def test_functions_in_a_table_are_reached():
    assert kl._kl_normal_normal in done_with(torch.distributions.kl_divergence)


def test_private_and_sub_classes_go_with_a_class():
    assert nn.modules.batchnorm._BatchNorm.forward in done_with(nn.BatchNorm1d)
    assert lr_scheduler.StepLR.get_lr in done_with(lr_scheduler.LRScheduler)


def test_what_another_function_needs_stays():
    doing = done_with(init.xavier_uniform_)
    assert init._no_grad_uniform_ not in doing
    assert init._calculate_fan_in_and_fan_out not in doing  # kaiming_uniform_ needs it
    assert init._calculate_fan_in_and_fan_out in done_with(
        init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.kaiming_normal_
    )


def test_what_may_be_called_stays():
    doing = done_with(lr_scheduler.SequentialLR, functional.multi_head_attention_forward, checkpoint.checkpoint)
    assert lr_scheduler.ReduceLROnPlateau.step not in doing
    assert lr_scheduler.LRScheduler.step not in doing
    assert functional.softmax not in doing
    assert checkpoint.get_device_states not in doing
    assert adam.Adam.step not in done_with(torch.optim.AdamW)


def test_a_method_has_no_inner_entries():
    assert list(done_with(torch.Tensor.backward)) == [torch.Tensor.backward]


def test_what_a_learner_derives_is_theirs():
    class Mine(nn.MultiheadAttention):
        def forward(self, x):
            return x

    assert Mine.forward not in done_with(nn.MultiheadAttention)
