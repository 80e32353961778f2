import importlib
import inspect
import types

import pytest
import torch
from torch.nn.utils import clip_grad
from torch.utils import checkpoint

from grader.answering.forbidden import loading, watched
from grader.verdicts.fault import Forbidden

NAMES = ["torch.nn.utils.clip_grad_value_", "torch.utils.checkpoint.checkpoint"]
CODE = clip_grad.clip_grad_value_.__wrapped__.__code__
TEXT = inspect.getsource(checkpoint._checkpoint_without_reentrant_generator)


def given():
    def mine(*args, **kwargs):
        pass

    mine.__code__ = CODE


def compiled():
    exec(TEXT, dict(vars(checkpoint)))  # without the module's `__future__`: other instructions


COPIES = [
    lambda: types.FunctionType(CODE, vars(clip_grad)),
    lambda: types.FunctionType(CODE.replace(co_name="mine", co_filename="other.py"), vars(clip_grad)),
    given,
    compiled,
    lambda: exec(CODE),
    lambda: importlib.reload(clip_grad),
]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_refused_as_it_is_made(copy):
    with pytest.raises(Forbidden, match=r"^a copy of torch"), watched(NAMES):
        copy()


@pytest.mark.parametrize("copy", COPIES[:4])
def test_a_copy_made_while_the_file_loads_is_an_offence_of_the_part_that_forbids_it(copy):
    with loading(NAMES, ["mine.py"]) as copied:
        copy()
    with pytest.raises(Forbidden, match=r"^a copy of torch"), watched(NAMES, copied):
        pass
    with watched(["torch.nn.functional.softmax"], copied) as offences:
        pass
    assert offences == []


def test_a_name_that_means_nothing_keeps_no_file_from_loading():
    with loading(["torch.meen", *NAMES], []) as copied:
        COPIES[0]()
    assert len(copied) > 0


def test_the_text_of_the_file_itself_may_be_anything():
    text = compile(inspect.getsource(clip_grad), "mine.py", "exec")
    with loading(NAMES, ["mine.py"]) as copied:
        exec(text, {"__name__": "mine"})
    assert copied == set()
    with loading(NAMES, ["mine.py"]) as copied:
        exec(text, {"__name__": "mine"})
        exec(text, {"__name__": "mine"})
    assert len(copied) > 0


def test_other_functions_are_made_freely():
    with watched(NAMES) as offences:
        types.FunctionType(compiled.__code__, globals())
        exec("def clip_grad_value_(parameters, clip_value, foreach=None):\n    return [p for p in parameters]")
        importlib.reload(importlib.import_module("torch.nn.utils.memory_format"))
        torch.ones(2).sum()
    assert offences == []
