"""What was called of a module while a question was answered."""

import os
from types import ModuleType

import pytest
import torch

from grader.answering.answer import answer
from grader.answering.calls import Call, Form, Recorder, form, short
from grader.answering.request import Request
from grader.answering.wire import pack, unpack

CODE = """
import torch

def double(x):
    return inner(x) * 2

def inner(x):
    return x

def nothing(x, times=1):
    pass

def writes(x, y):
    y.add_(1)
    return x

def fails(x):
    raise IndexError("mine")

class Cache:
    def __init__(self, size):
        self.size = size

    def append(self, x):
        return x, None

    def __call__(self, x):
        return [x]
"""


@pytest.fixture
def module():
    made = ModuleType("recorded")
    exec(CODE, made.__dict__)
    return made


def calls_of(module, work):
    with Recorder(module) as recorder:
        work(module)
    return recorder.calls


def test_a_call_has_the_learners_own_names_and_the_form_of_its_result(module):
    x = torch.zeros(2, 3)
    [call] = calls_of(module, lambda m: m.nothing(x, times=4))
    assert call == Call("nothing", "x=float32 (2, 3), times=4", Form("None"))


def test_what_the_module_calls_itself_is_not_recorded(module):
    assert [call.name for call in calls_of(module, lambda m: m.double(torch.ones(1)))] == ["double"]


def test_methods_and_constructors_bear_the_name_of_their_class(module):
    def work(m):
        cache = m.Cache(7)
        cache.append(torch.ones(2, 5))
        cache(3)

    made, appended, called = calls_of(module, work)
    assert (made.name, made.given, made.form) == ("Cache", "size=7", None)
    pair = Form("tuple", items=(Form("tensor", "float32", (2, 5)), Form("None")), size=2)
    assert (appended.name, appended.given, appended.form) == ("Cache.append", "x=float32 (2, 5)", pair)
    assert (called.name, called.form.kind) == ("Cache", "list")


def test_the_argument_that_was_written_to_is_named(module):
    [call] = calls_of(module, lambda m: m.writes(torch.ones(2), torch.ones(2)))
    assert call.wrote == "y"


def test_an_exception_is_recorded_and_goes_through(module):
    with pytest.raises(IndexError, match="mine"), Recorder(module) as recorder:
        module.fails(torch.ones(2, 2))
    assert [(call.name, call.raised) for call in recorder.calls] == [("fails", "IndexError")]


def test_the_module_is_afterwards_what_it_was(module):
    before = dict(vars(module)), dict(vars(module.Cache))
    calls_of(module, lambda m: m.Cache(1).append(2))
    assert (dict(vars(module)), dict(vars(module.Cache))) == before


def test_a_fork_tells_its_calls_too(module):
    def work(m):
        pid = os.fork()
        if pid == 0:
            m.inner(5)
            os._exit(0)
        os.waitpid(pid, 0)

    [call] = calls_of(module, work)
    assert (call.name, call.given, call.rank) == ("inner", "x=5", 0)


def test_a_question_can_be_asked_for_its_calls_alone_and_they_cross_the_wire(module):
    found = answer(Request("each", "fails", False, ((1,), (2,)), {}, calls=True), module, None)
    assert unpack(pack(found)) == [{"name": "fails", "given": "x=1", "raised": "IndexError"}]


def test_forms_and_short_texts():
    assert form({"a": 1.5, "b": [torch.ones(2)]}).keys == ("'a'", "'b'")
    assert form(object()).kind == "object"
    assert short(torch.tensor([1, 2])) == "[1, 2]"
    assert short([torch.ones(3, 3), None]) == "[float32 (3, 3), None]"
    assert len(short("x" * 1000)) <= 60
    assert short(list(range(1000))) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
