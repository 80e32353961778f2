"""What the asker makes of a reply, without a cage around it."""

import msgspec
import pytest

from grader.answering.request import Request
from grader.engine.channel import Caged
from grader.verdicts.fault import NoLoopback, NotData
from grader.verdicts.raised import Raised


@pytest.mark.parametrize(("level", "error"), [("landlock", NoLoopback), ("process", NoLoopback), ("full", NotData)])
def test_only_where_there_is_none_may_code_say_so(level, error):
    channel = Caged.__new__(Caged)
    channel.isolation = level
    raised = Raised(kind="NoLoopback", base="NoLoopback", said="", lines=[], own=True)
    with pytest.raises(error):
        channel._believable(Request("call", "f", False, (), {}), {"raised": msgspec.to_builtins(raised)})


@pytest.mark.parametrize("change", [{"lines": [1] * 5}, {"said": "x" * 10_000}, {"lines": ["1"]}])
def test_an_exception_is_no_longer_than_an_honest_one(change):
    channel = Caged.__new__(Caged)
    channel.isolation = "full"
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
    channel = Caged.__new__(Caged)
    request = Request(kind, "f", False, ((1,), (2,)), {})
    with pytest.raises(NotData, match=f"a question about {kind} is forged"):
        channel._believable(request, {"value": value})
    assert channel._believable(Request("each", "f", False, ((1,), (2,)), {}), {"value": [3, 4]}) == [3, 4]


def test_after_a_memory_error_the_next_question_meets_an_empty_process():
    """What the code holds, in globals or in the frames of the exception, would cost the next part its own verdict."""

    class Answerer:
        closed = False

        def close(self):
            self.closed = True

    channel = Caged.__new__(Caged)
    channel.isolation = "full"
    for base, closed in (("ValueError", False), ("MemoryError", True)):
        channel._answerer = answerer = Answerer()
        raised = Raised(kind=base, base=base, said="", lines=[], own=True)
        with pytest.raises((ValueError, MemoryError)):
            channel._believable(Request("call", "f", False, (), {}), {"raised": msgspec.to_builtins(raised)})
        assert answerer.closed is closed
