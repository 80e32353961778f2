"""Results of submissions, put together with who handed in; also of those that no check has looked at."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from grader.bank.catalog import Exercise
from grader.engine.resume import versions
from grader.submissions.find import Submission
from grader.verdicts.result import CheckResult, Result, assemble
from grader.verdicts.verdict import Verdict


def assembled(
    exercise: Exercise,
    submission: Submission,
    checks: Sequence[CheckResult],
    planned: Mapping[str, Sequence[str]],
    isolation: str,
    seed: int,
    by: dict[str, str],
) -> Result:
    """The result of a submission. by: the versions. The others as of `assemble`."""
    result = assemble(
        exercise, checks, planned, seed=seed, isolation=isolation, source=submission.source, versions=by
    )  # fmt: skip
    return replace(result, student=submission.student)


def unreadable(exercise: Exercise, submission: Submission, isolation: str, seed: int) -> Result:
    """The result of a submission that cannot be read: every part an error, which says so."""
    return _alike(exercise, submission, "reading the file", Verdict.ERROR, submission.problem, isolation, seed)


def undone(exercise: Exercise, submission: Submission, why: str, isolation: str, seed: int) -> Result:
    """The result of a submission that could not be judged, for which nobody is charged: the next run tries again."""
    return _alike(exercise, submission, "judging the file", Verdict.GRADER_ERROR, why, isolation, seed)


def _alike(
    exercise: Exercise, submission: Submission, id: str, verdict: Verdict, said: str, isolation: str, seed: int
) -> Result:
    of_file = verdict is Verdict.ERROR
    checks = [CheckResult(f"{id}: {p.name}", p.name, verdict, said, of_file=of_file) for p in exercise.parts]
    planned = {check.part: [check.id] for check in checks}
    return assembled(exercise, submission, checks, planned, isolation, seed, versions(exercise))
