"""The solution under its checks: what is slow by itself is named, and what was slow beside others is not."""

from types import SimpleNamespace

import pytest

from grader.audit import answers
from grader.bank.catalog import Limits
from grader.judging.pool import Outcome
from grader.verdicts.result import CheckResult
from grader.verdicts.verdict import Verdict


class Timed:
    """A bench whose one check takes these seconds, each time that it is judged."""

    solution = ""
    exercise = SimpleNamespace(limits=Limits())
    collected = SimpleNamespace(items=["test_mean"])

    def __init__(self, *seconds):
        self.seconds = list(seconds)

    def judge(self, variants):
        return {
            one.name: Outcome(one, [CheckResult("test_mean", "mean", Verdict.PASSED, seconds=self.seconds.pop(0))])
            for one in variants
        }


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ((1.0, 1.0), []),
        ((7.0, 6.0, 6.5, 1.0), []),
        ((7.0, 6.0, 6.5, 6.2), ["test_mean takes 6.0 s, over half its limit of 10 s."]),
    ],
)
def test_a_slow_check_is_judged_again_by_itself(seconds, found):
    bench = Timed(*seconds)
    assert answers.solution(bench, seeds=1)[0] == found
    assert not bench.seconds
