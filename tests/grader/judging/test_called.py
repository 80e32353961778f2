"""What is said of the functions behind a failure."""

import msgspec
import pytest

from grader.answering.calls import Call, Form
from grader.answering.request import Request
from grader.judging.called import called


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Monitor.observe",
            "Monitor.observe returned a dict with the keys 'seen'; expected a dict with the keys 'best'",
        ),
        ("Monitor.state_dict", ""),
    ],
)
def test_a_result_of_another_kind_is_named_but_for_a_state_whose_form_is_the_learners_own(name, said):
    def gives(key):
        call = Call(name, "", Form("dict", items=(Form("number"),), keys=(repr(key),), size=1))
        return lambda request: [msgspec.to_builtins(call)]

    asked = [Request("call", "observe", False, (), {})]
    assert called(asked, gives("seen"), gives("best"), AssertionError("an alarm too few"), raised=False).other == said
