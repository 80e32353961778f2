"""What a class got, part by part, whatever graded it: `grader grade`, or nbgrader with its gradebook."""

from pathlib import Path

import msgspec

from grader.records.results import results_of
from grader.submissions.eyes import needs_eyes
from grader.submissions.find import Found
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import NOT_BEGUN


class Graded(msgspec.Struct, frozen=True):
    """One student's part."""

    student: str
    exercise: str
    part: str
    earned: float
    points: float
    verdict: str
    """As the student read it; empty where no message of ours is left in the notebook."""
    mistake: str
    """The known mistake that it was, or the property that does not hold; empty for a part that is earned."""
    problem: str = ""
    """Why the whole notebook could not be read."""
    source: str = ""
    """The hash of what was judged; empty for a stub."""
    seed: int | None = None
    isolation: str = ""
    versions: str = ""
    """What the judgement depended on: the seed of its random inputs, the level of the cage, the grader's versions."""

    @property
    def passed(self) -> bool:
        return self.points > 0 and self.earned >= self.points


class Marks(msgspec.Struct, frozen=True):
    """What a class got, and what a person should look at."""

    title: str
    of: str
    """Where the points come from, in words."""
    graded: list[Graded]
    eyes: list[str]
    penalties: dict[tuple[str, str], float] = {}
    """(student, exercise) to the points taken away for being late."""


def read_batch(folder: Path) -> Marks:
    """What `grader grade --out FOLDER` wrote. Raises HouseError."""
    results = results_of(folder)
    graded = [_graded(result, part) for result in results for part in result.parts]
    eyes = [f"{one.student}/{one.exercise}: {one.problem}" for one in results if one.problem]
    eyes += needs_eyes(Found([], []), results)
    return Marks(folder.resolve().name, f"`grader grade`, in {folder.name}/results.jsonl", graded, eyes)


def _graded(result: Result, part: PartResult) -> Graded:
    return Graded(
        result.student, result.exercise, part.name, part.earned, part.points, str(part.verdict),
        "" if result.problem else part.mistake, result.problem, "" if part.verdict in NOT_BEGUN else result.source,
        result.seed, result.isolation, said_versions(result.versions),
    )  # fmt: skip


def said_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
