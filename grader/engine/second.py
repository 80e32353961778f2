"""A second look at what a check could not judge: is the grader at fault, or does the answer make it fail?

No answer may have "grader error" at will, since that costs nothing and is graded again for ever. What failed twice on a
submission, passes on the solution with the same inputs, and then fails on the submission again, is charged to it.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from grader.verdicts.result import CheckResult, Result
from grader.verdicts.verdict import Verdict


def charged_checks(first: Result, again: Result, beside: Sequence[CheckResult]) -> dict[str, CheckResult]:
    """The checks that are charged to the submission, by their ids, as errors that say so.

    first, again: what the submission got, in two runs. beside: what the solution got with the same inputs.
    """
    failed = {check.id for part in first.parts for check in part.checks if check.verdict is Verdict.GRADER_ERROR}
    passed = {check.id for check in beside if check.verdict is Verdict.PASSED}
    return {
        check.id: replace(check, verdict=Verdict.ERROR, message=f"{_CHARGED}\n  {check.message}")
        for part in again.parts
        for check in part.checks
        if check.verdict is Verdict.GRADER_ERROR and check.id in failed & passed
    }


_CHARGED = "this answer ends the check itself, each time that it is judged; the solution does not"
