"""Verdicts and results: data, versioned, the one thing that every view is made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from grader.bank.catalog import Exercise, Part
from grader.verdicts.bounds import cut_result
from grader.verdicts.finding import Finding
from grader.verdicts.told import SourceLine, Told
from grader.verdicts.verdict import NOT_BEGUN, Verdict

SCHEMA = 2
"""2: what a check found as fields (`finding`, `lines`, `place`); in 1 it stood in the message alone."""


class CheckResult(msgspec.Struct, frozen=True):
    @property  # above the field of that name
    def passed(self) -> bool:
        """Whether it speaks for its part."""
        return self.verdict is Verdict.PASSED or bool(self.followed)

    id: str
    """The test's name with its parameters, as pytest takes it after `::`."""
    part: str
    verdict: Verdict
    message: str = ""
    property: str = ""
    """The sentence that the check holds."""
    seconds: float = 0.0
    printed: str = ""
    """What the learner's code printed meanwhile."""
    finding: Finding | None = None
    lines: tuple[SourceLine, ...] = ()
    place: SourceLine | None = None
    of_file: bool = False
    """These as in `Told`."""
    followed: tuple[str, ...] = ()
    """Parts on which it builds and that failed: with the reference in their place it passes."""

    @classmethod
    def of(cls, id: str, part: str, told: Told, **more: Any) -> "CheckResult":
        """The result of a check that ended as is told."""
        return cls(
            id, part, told.verdict, told.message,
            finding=told.finding, lines=told.lines, place=told.place, of_file=told.of_file, **more,
        )  # fmt: skip


class PartResult(msgspec.Struct, frozen=True):
    name: str
    points: int
    earned: int
    verdict: Verdict
    message: str
    checks: list[CheckResult]
    planned: int = 0
    """How many checks it has; they may not all have run."""

    @property
    def tally(self) -> str:
        """How many of its checks pass; nothing where no check looked at a file that cannot be used."""
        if self.of_file:
            return ""
        right, ran = sum(check.passed for check in self.checks), len(self.checks)
        return f"{right} of {ran} checks pass" + (f", of {self.planned} in all" if ran < self.planned else "")

    @property
    def said(self) -> str:
        """The verdict in a few words: `wrong, 4 of 8 checks pass`."""
        return f"{self.verdict}, {self.tally}" if self.tally else str(self.verdict)

    @property
    def fails(self) -> bool:
        """Whether something is wrong with what was written; of what is not begun, or did not run, nothing is known."""
        return self.verdict not in (Verdict.PASSED, *NOT_BEGUN)

    @property
    def ran_in_full(self) -> bool:
        return self.verdict is not Verdict.NOT_RUN and len(self.checks) >= self.planned

    @property
    def of_file(self) -> bool:
        """Whether it fails because the whole file cannot be used."""
        return self.first_failure is not None and self.first_failure.of_file

    @property
    def mistake(self) -> str:
        """The known mistake, the property that does not hold, or what was raised; empty where nothing is wrong yet."""
        failure = self.first_failure
        if not failure or not self.fails:
            return ""
        known = failure.finding.mistake if failure.finding else ""
        raised = "" if self.verdict is Verdict.WRONG else failure.message.partition("\n")[0]
        return known or raised or failure.property

    @property
    def first_failure(self) -> CheckResult | None:
        """The failure to show: the first, since checks run from the simplest to the whole."""
        return next((check for check in self.checks if not check.passed), None)


class Result(msgspec.Struct, frozen=True):
    """One attempt at one exercise, judged."""

    exercise: str
    revision: int
    score: int
    max_score: int
    parts: list[PartResult]
    seed: int
    isolation: str
    seconds: float
    source: str = ""
    """SHA-256 of the text that was judged."""
    student: str = ""
    versions: dict[str, str] = {}
    means: dict[str, str] = {}
    """What kept the attempt's share of the machine apart: its processes, memory and processors."""
    schema: int = SCHEMA

    @property
    def complete(self) -> bool:
        """Whether every planned check of every part reported."""
        return all(part.ran_in_full for part in self.parts)

    @property
    def earned(self) -> bool:
        return self.score == self.max_score

    def has_earned(self, parts: Sequence[str]) -> bool:
        """Whether these parts are earned; all, where none is named."""
        return all(part.earned == part.points for part in self.parts if part.name in parts or not parts)

    @property
    def grader_failed(self) -> bool:
        """Whether the points say nothing about the submission: it is to be graded again."""
        return any(part.verdict in (Verdict.GRADER_ERROR, Verdict.NOT_RUN) for part in self.parts)

    @property
    def problem(self) -> str:
        """What every part is an error for, such as a file that was not handed in, or that cannot be imported."""
        broken = [part.message for part in self.parts if part.of_file and part.verdict is Verdict.ERROR]
        return broken[0] if broken and len(broken) == len(self.parts) else ""


def assemble(
    exercise: Exercise,
    checks: Iterable[CheckResult],
    planned: Mapping[str, Sequence[str]],
    *,
    seed: int,
    isolation: str,
    source: str = "",
    versions: dict[str, str] | None = None,
) -> Result:
    """Put the verdicts of checks together.

    planned: part to the ids of all its checks. A part is earned when each of them passed; a check that did not report,
    or a part without checks, earns nothing. As JSON the result has at most `LARGEST_RESULT` bytes.
    """
    reported = {check.id: check for check in checks}
    parts: dict[str, PartResult] = {}
    for part in exercise.parts:
        ids = planned.get(part.name, ())
        parts[part.name] = _part(part, ids, [reported[id] for id in ids if id in reported])
    for part in exercise.parts:
        parts[part.name] = _waiting(part, parts)
    result = Result(
        exercise=exercise.id,
        revision=exercise.revision,
        score=sum(part.earned for part in parts.values()),
        max_score=exercise.points,
        parts=list(parts.values()),
        seed=seed,
        isolation=isolation,
        seconds=round(sum(check.seconds for check in reported.values()), 3),
        source=source,
        versions=versions or {},
    )
    return cut_result(result)


def _part(part: Part, planned: Sequence[str], checks: list[CheckResult]) -> PartResult:
    failed = next((check for check in checks if not check.passed), None)
    followed = dict.fromkeys(name for check in checks for name in check.followed)
    if failed:
        verdict, message = failed.verdict, failed.message
    elif not planned or len(checks) < len(planned):
        verdict, message = Verdict.NOT_RUN, f"{len(checks)} of {len(planned)} checks ran"
    else:
        verdict, message = Verdict.PASSED, f"with the reference's {' and '.join(followed)}" if followed else ""
    earned = part.points if verdict is Verdict.PASSED else 0
    return PartResult(part.name, part.points, earned, verdict, message, checks, len(planned))


def _waiting(part: Part, parts: Mapping[str, PartResult]) -> PartResult:
    """A part that fails while one that it builds on fails too waits for that one: mend the cause first."""
    result = parts[part.name]
    if result.verdict not in (Verdict.WRONG, Verdict.ERROR):  # what is forbidden stands in the part's own lines
        return result
    for name in part.after:
        same = parts[name].of_file or parts[name].message == result.message
        if parts[name].verdict in (Verdict.PASSED, Verdict.NOT_RUN) or same:
            continue  # what is said of both is no fault of the first, and no part waits for another
        return msgspec.structs.replace(result, verdict=Verdict.WAITING, message=f"waits for {name}")
    return result
