"""What a class got, part by part, whatever graded it: `grader grade`, or nbgrader with its gradebook."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import House
from grader.classroom.alike import told
from grader.records.handed_in import places_of, submitted_folders
from grader.records.results import results_of
from grader.submissions.eyes import needs_eyes, unusable
from grader.submissions.find import Found, Handed, read_all
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


def read_batch(house: House, folder: Path) -> Marks:
    """What `grader grade --out FOLDER` wrote. Raises HouseError."""
    results = results_of(folder)
    graded = [_graded(result, part) for result in results for part in result.parts]
    eyes = unusable(results) + needs_eyes(Found([], []), results) + _alike(house, folder, results)
    return Marks(folder.resolve().name, f"`grader grade`, in {folder.name}/results.jsonl", graded, eyes)


def _alike(house: House, folder: Path, results: Sequence[Result]) -> list[str]:
    """Who wrote nearly the same, as far as the texts are still where they were graded."""
    folders, of_text = submitted_folders(folder), {(one.student, one.exercise): one.source for one in results}
    handed = [
        Handed(one.student, house.exercises[one.exercise], place)
        for one in results if one.exercise in house.exercises and not one.problem
        for place in places_of(folders, one.student, one.exercise)[:1]
    ]  # fmt: skip
    there = [one for one in read_all(handed) if one.source == of_text[one.student, one.exercise]]
    gone = sum(not one.problem for one in results) - len(there)
    where = " and ".join(map(str, folders)) or "the place where they were graded"
    missing = f"{gone} of {len(results)} texts are not in {where} any more, and are compared with no other."
    return told(house, there) + ([missing] if gone else [])


def _graded(result: Result, part: PartResult) -> Graded:
    return Graded(
        result.student, result.exercise, part.name, part.earned, part.points, str(part.verdict),
        "" if result.problem else part.mistake, result.problem, "" if part.verdict in NOT_BEGUN else result.source,
        result.seed, result.isolation, said_versions(result.versions),
    )  # fmt: skip


def said_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
