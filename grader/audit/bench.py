"""What the sections of an audit share: the checks of one exercise, ready to judge variants of its solution."""

import msgspec

from grader.bank.catalog import Exercise
from grader.bank.source import read_source
from grader.judging.collected import Collected
from grader.judging.pool import Outcome, Variant, judge
from grader.verdicts.result import CheckResult
from grader.verdicts.verdict import Verdict

Section = tuple[list[str], str]
"""The findings of a section, each a sentence that says what is wrong, where, and what to do; and its summary."""
MUTANT_CHECK_SECONDS = 3.0


class Bench(msgspec.Struct):
    """An exercise's checks, ready to judge variants of its solution."""

    exercise: Exercise
    collected: Collected
    jobs: int

    def judge(self, variants: list[Variant]) -> dict[str, Outcome]:
        deadline = self.exercise.limits.exercise_seconds
        return {
            outcome.variant.name: outcome
            for outcome in judge(self.collected, variants, jobs=self.jobs, deadline=deadline)
        }

    @property
    def solution(self) -> str:
        return read_source(self.exercise.solution)


def broken(outcome: Outcome) -> list[CheckResult]:
    """The checks that are at fault themselves, and those that could not read an answer and cannot say why."""
    return [check for check in outcome.checks if check.verdict is Verdict.GRADER_ERROR or _unread(check)]


def _unread(check: CheckResult) -> bool:
    return check.finding is not None and check.finding.kind == "unread"


def said(check: CheckResult) -> str:
    return f"reads '{check.verdict}': {check.message}"
