"""What a result depends on, and whether one that is kept still counts."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from grader.bank.catalog import Exercise
from grader.base.seeds import of_submission
from grader.engine import cage
from grader.submissions.find import Submission
from grader.verdicts.result import Result


def _strength(level: str) -> int:
    return cage.Level(level).strength if level in list(cage.Level) else -1


def versions(exercise: Exercise) -> dict[str, str]:
    """What a result depends on besides the submission: the grader and its code, torch, the exercise's checks and
    solution.
    """
    content = hashlib.sha256()
    for path in sorted([*exercise.checks.parent.glob("*.py"), exercise.solution]):
        content.update(path.read_bytes())
    facts = (exercise.given / "exercise.toml").read_bytes()
    content.update(facts)
    return {
        "grader": _installed("dl-kata"),
        "code": grader_code(),
        "torch": _installed("torch"),
        "checks": content.hexdigest()[:16],
    }


@cache
def grader_code() -> str:
    """A hash of the grader's own code: after a repair of the grader, what it judged before is judged again."""
    root = Path(__file__).resolve().parents[1]
    content = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return content.hexdigest()[:16]


_installed = cache(version)


def submission_seed(seed: int, submission: Submission) -> int:
    """A seed for one submission: different from the others', and the same for the same seed of the batch."""
    return of_submission(seed, submission.student, submission.exercise)


def holds(
    kept: Result | None, submission: Submission, exercise: Exercise, require: cage.Level, seed: int | None
) -> bool:
    """Whether this very submission was judged by these very checks, at this level of isolation or a better one.

    kept: the result that counts so far.
    """
    return (
        kept is not None
        and kept.source == submission.source
        and kept.versions == versions(exercise)
        and (seed is None or kept.seed == submission_seed(seed, submission))
        and (not kept.isolation or _strength(kept.isolation) >= require.strength)
        and not kept.grader_failed
    )
