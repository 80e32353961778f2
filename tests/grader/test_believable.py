"""What the asker makes of a reply, without a cage around it."""

import marshal
import socket
from pathlib import Path

import msgspec
import pytest

from grader.answering.request import Request
from grader.bank.catalog import find_house
from grader.engine.channel import Caged
from grader.verdicts.explain import Explainer
from grader.verdicts.fault import NoLoopback, NotData
from grader.verdicts.raised import Raised
from grader.verdicts.verdict import Verdict

DRIVERS = """
def own(module): return module.f()
def ranks(module): return on_ranks(module, 2, lambda rank: rank)
def through_another(module): return [ranks(module)]
def in_a_function_of_its_own(module):
    def work(): return ranks(module)
    return work()
"""


def without_a_cage(level="full"):
    """A channel that has started no answerer."""
    channel = Caged(None, find_house().find("11"), "")
    channel.isolation = level
    return channel


def lacking(level, target, driver):
    """What is raised where a cage of this level says that it has no loopback to answer this with."""
    channel = without_a_cage(level)
    channel._drivers = marshal.dumps(compile(DRIVERS, "drivers.py", "exec"))
    raised = Raised(kind="NoLoopback", base="NoLoopback", said="", lines=[3], own=True)
    with pytest.raises(Exception) as caught:  # which one is the question
        channel._believable(Request("call", target, driver, (), {}), {"raised": msgspec.to_builtins(raised)})
    return caught.value


@pytest.mark.parametrize("target", ["ranks", "through_another", "in_a_function_of_its_own"])
def test_code_lacks_a_loopback_only_where_there_is_none(target):
    assert type(lacking("landlock", target, True)) is NoLoopback
    for level in ("full", "process"):
        assert type(lacking(level, target, True)) is RuntimeError


def test_at_level_process_the_asker_looks_for_itself(monkeypatch):
    def refused(*args):
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refused)
    assert type(lacking("process", "ranks", True)) is NoLoopback
    assert type(lacking("full", "ranks", True)) is RuntimeError


@pytest.mark.parametrize(("target", "driver"), [("f", False), ("ranks", False), ("own", True), ("unknown", True)])
@pytest.mark.parametrize("level", ["full", "landlock", "process"])
def test_who_was_not_asked_for_ranks_needs_no_loopback(level, target, driver):
    error = lacking(level, target, driver)
    assert type(error) is RuntimeError
    part = find_house().find("11").parts[0]
    told = Explainer(Path("f.py"), "\n\nraise NoLoopback\n").learner(error, part)
    assert told.verdict is Verdict.ERROR
    assert told.message.splitlines() == ["NoLoopback: (no message)", "  f.py:3 in the module", "      raise NoLoopback"]


@pytest.mark.parametrize("change", [{"lines": [1] * 5}, {"said": "x" * 10_000}, {"lines": ["1"]}])
def test_an_exception_is_no_longer_than_an_honest_one(change):
    channel = without_a_cage()
    raised = msgspec.to_builtins(Raised(kind="ValueError", base="ValueError", said="x", lines=[1, 2, 3, 4], own=True))
    request = Request("call", "f", False, (), {})
    with pytest.raises(ValueError, match="x"):
        channel._believable(request, {"raised": raised})
    with pytest.raises(NotData, match="forged"):
        channel._believable(request, {"raised": {**raised, **change}})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("each", (1, 2)),
        ("each", [1]),
        ("each", [1, 2, 3]),
        ("each", {"0": 1, "1": 2}),
        ("gradients", (1, [None])),
        ("gradients", [1, [None, None]]),
        ("cost", (1, {"flops": "many"})),
        ("cost", 1),
    ],
)
def test_a_value_has_the_form_that_was_asked_for(kind, value):
    channel = without_a_cage()
    request = Request(kind, "f", False, ((1,), (2,)), {})
    with pytest.raises(NotData, match=f"a question about {kind} is forged"):
        channel._believable(request, {"value": value})
    assert channel._believable(Request("each", "f", False, ((1,), (2,)), {}), {"value": [3, 4]}) == [3, 4]


def test_after_a_memory_error_the_next_question_meets_an_empty_process():
    """What the code holds, in globals or in the frames of the exception, would cost the next part its own verdict."""

    class Answerer:
        closed = False

        def most_processes(self):
            return 0

        def lost(self):
            return 0.0

        def close(self):
            self.closed = True

    channel = without_a_cage()
    for base, closed in (("ValueError", False), ("MemoryError", True)):
        channel._answerer = answerer = Answerer()
        raised = Raised(kind=base, base=base, said="", lines=[], own=True)
        with pytest.raises((ValueError, MemoryError)):
            channel._believable(Request("call", "f", False, (), {}), {"raised": msgspec.to_builtins(raised)})
        assert answerer.closed is closed
