"""What is said of the functions behind a failure."""

import msgspec
import pytest

from grader.answering.calls import Call, Form
from grader.answering.request import Request
from grader.judging.called import called


def table(key):
    return Form("dict", items=(Form("number"),), keys=(key,), size=1)


@pytest.mark.parametrize(
    ("name", "got", "said"),
    [
        ("observe", table("seen"), "observe returned a dict with the keys seen; expected a dict with the keys best"),
        ("Run.state_dict", table("seen"), ""),
        ("Run.state_dict", Form("None"), "Run.state_dict returned None; expected a dict with the keys best"),
    ],
)
def test_a_result_of_another_kind_is_named_but_for_what_is_in_a_state_since_that_is_the_learners_own(name, got, said):
    def gives(form):
        return lambda request: [msgspec.to_builtins(Call(name, "", form))]

    asked = [Request("call", "observe", False, (), {})]
    error = AssertionError("an alarm too few")
    assert called(asked, gives(got), gives(table("best")), error, raised=False).other == said
