"""What the asker makes of a reply, without a cage around it."""

import msgspec
import pytest

from grader.answer import Request
from grader.engine.channel import Caged
from grader.fault import NoLoopback, NotData
from grader.raised import Raised


@pytest.mark.parametrize(("level", "error"), [("landlock", NoLoopback), ("process", NoLoopback), ("full", NotData)])
def test_only_where_there_is_none_may_code_say_so(level, error):
    channel = Caged.__new__(Caged)
    channel.isolation = level
    raised = Raised(kind="NoLoopback", base="NoLoopback", said="", lines=[], own=True)
    with pytest.raises(error):
        channel._believable(Request("call", "f", False, (), {}), {"raised": msgspec.to_builtins(raised)})


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
