"""Grade a folder of submissions: find them, judge what changed, keep each result as soon as it exists.

Layout: `submitted/<student>/<exercise id>/<file>.py`, nbgrader's own. Results: `results.jsonl` in the out folder, one
line a result; of a student and exercise the newest line counts.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from grader.catalog import Exercise, House, HouseError, nearest
from grader.draw import derive
from grader.engine import answerer, cage
from grader.engine.channel import Caged
from grader.progress import digest
from grader.result import CheckResult, Result, Verdict, assemble
from grader.sweep import Collected, Outcome, Variant, judge, sweep

LARGEST_FILE = 1 << 20
_GRACE_SECONDS = 10.0
"""Beyond the limit of an exercise, for the asker to say what it knows."""


class Submission(msgspec.Struct, frozen=True):
    """One student's file for one exercise, or why there is none."""

    student: str
    exercise: str
    text: str
    problem: str = ""

    @property
    def source(self) -> str:
        return digest(self.text) if not self.problem else digest(self.problem)


class Found(msgspec.Struct):
    """What lies in a folder of submissions."""

    submissions: list[Submission]
    refused: list[str]
    """Sentences about folders that name nothing."""


def find_submissions(house: House, folder: Path, only: Sequence[str] = ()) -> Found:
    """Every submission below `folder`, in order. only: ids of exercises."""
    if not folder.is_dir():
        raise HouseError(f"{folder} is no folder. Submissions lie in submitted/<student>/<exercise id>/.")
    found = Found([], [])
    for student in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for place in sorted(path for path in student.iterdir() if path.is_dir() and not path.name.startswith(".")):
            exercise = house.exercises.get(place.name)
            if exercise is None:
                known = nearest(place.name, house.exercises)
                found.refused.append(f"{student.name}/{place.name}: there is no exercise '{place.name}'.{known}")
            elif not only or exercise.id in only:
                found.submissions.append(read_submission(student.name, exercise, place))
    return found


def read_submission(student: str, exercise: Exercise, place: Path) -> Submission:
    """The file that lies in a folder, or why it cannot be judged."""
    path = place / f"{exercise.stem}.py"
    try:
        return Submission(student, exercise.id, read_file(path, place).decode("utf-8-sig"))
    except UnicodeDecodeError:
        problem = f"{path.name} is not UTF-8 text"
    except FileNotFoundError:
        others = sorted(other.name for other in place.glob("*.py"))
        problem = f"{path.name} was not handed in{'; there is ' + ', '.join(others) if others else ''}"
    except OSError as error:
        problem = f"{path.name} cannot be read: {error.strerror or error}"
    return Submission(student, exercise.id, "", problem)


def read_file(path: Path, inside: Path, largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file that lies in `inside` itself, and is no larger than `largest`; raises OSError."""
    if path.parent.resolve() != inside.resolve():
        raise OSError(0, "it lies elsewhere")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, "it is not a regular file")
        if facts.st_size > largest:
            raise OSError(0, f"it has {facts.st_size:,} bytes, more than {largest:,}")
        return file.read(largest + 1)


class Results:
    """`results.jsonl` of an out folder: appended durably, read back to resume."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._kept = self._read()

    def latest(self) -> list[Result]:
        """The result that counts, of each student and exercise."""
        return sorted(self._kept.values(), key=lambda result: (result.student, result.exercise))

    def add(self, result: Result) -> None:
        """Keep a result; when this returns it is on the disk."""
        line = msgspec.json.encode(result) + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._kept[result.student, result.exercise] = result

    def holds(self, submission: Submission, exercise: Exercise, require: cage.Level, seed: int | None) -> bool:
        """Whether this very submission was judged by these very checks, at this level of isolation or a better one."""
        kept = self._kept.get((submission.student, submission.exercise))
        return (
            kept is not None
            and kept.source == submission.source
            and kept.versions == versions(exercise)
            and (seed is None or kept.seed == submission_seed(seed, submission))
            and (not kept.isolation or cage.Level(kept.isolation).strength >= require.strength)
            and not any(part.verdict is Verdict.GRADER_ERROR for part in kept.parts)
        )

    def _read(self) -> dict[tuple[str, str], Result]:
        """What is there. A line cut short by a crash is dropped, in the file too: its submission is judged again."""
        kept: dict[tuple[str, str], Result] = {}
        if not self.path.exists():
            return kept
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                result = msgspec.json.decode(line, type=Result)
            except msgspec.DecodeError as error:
                raise HouseError(f"{self.path}, line {number} is no result of this grader: {error}.") from None
            kept[result.student, result.exercise] = result
        return kept


def versions(exercise: Exercise) -> dict[str, str]:
    """What a result depends on besides the submission: the grader, torch, and the exercise's checks and solution."""
    content = hashlib.sha256()
    for path in sorted([*exercise.checks.parent.glob("*.py"), exercise.solution]):
        content.update(path.read_bytes())
    facts = (exercise.attempt.parent / "exercise.toml").read_bytes()
    content.update(facts)
    return {"grader": version("dl-kata"), "torch": version("torch"), "checks": content.hexdigest()[:16]}


def submission_seed(seed: int, submission: Submission) -> int:
    """A seed for one submission: unlike its neighbours', and the same whenever the batch's is."""
    return derive(seed, f"{submission.student}/{submission.exercise}") % (1 << 31)


class Engine:
    """The warm answering process, for as long as a batch takes. It warms up while the checks are collected."""

    def __init__(self, require: cage.Level = cage.Level.PROCESS) -> None:
        self.level = cage.best_level()
        if self.level.strength < require.strength:
            raise HouseError(
                f"this machine isolates at level '{self.level}', but '{require}' is required. See SECURITY.md."
            )
        self._process, self.control = answerer.start(self.level)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: Any) -> None:
        self.control.close()
        self._process.kill()
        self._process.wait()

    def judge(
        self,
        house: House,
        exercise: Exercise,
        submissions: Sequence[Submission],
        *,
        seed_of: Callable[[Submission], int],
        jobs: int,
        keep: Callable[[Result], None],
        tick: Callable[[int], None] = lambda total: None,
    ) -> None:
        """Judge submissions to one exercise. Raises RunError if the checks cannot be collected.

        keep: gets each result as it comes. tick: called for each check that reports, with the number of all.
        """
        for submission in submissions:
            if submission.problem:
                keep(_unreadable(exercise, submission, self.level, seed_of(submission)))
        readable = {str(i): submission for i, submission in enumerate(submissions) if not submission.problem}
        variants = [
            Variant(name, one.text, seed=seed_of(one), channel=partial(Caged, self.control, exercise, one.text))
            for name, one in readable.items()
        ]

        def work(checks: Collected) -> None:
            answerer.await_ready(self._process, self.control)
            deadline = exercise.limits.exercise_seconds + _GRACE_SECONDS
            total = len(checks.items) * len(variants)
            for outcome in judge(checks, variants, jobs=jobs, deadline=deadline, tick=lambda: tick(total)):
                keep(_result(exercise, readable[outcome.variant.name], outcome, checks.planned, self.level))

        if variants:
            sweep(house, exercise, work)


def _unreadable(exercise: Exercise, submission: Submission, level: cage.Level, seed: int) -> Result:
    """The result of a submission that cannot be read: every part an error, which says so."""
    id = "reading the file"
    checks = [CheckResult(f"{id}: {p.name}", p.name, Verdict.ERROR, submission.problem) for p in exercise.parts]
    planned = {check.part: [check.id] for check in checks}
    return _assembled(exercise, submission, checks, planned, str(level), seed)


def _result(
    exercise: Exercise, submission: Submission, outcome: Outcome, planned: dict[str, list[str]], level: cage.Level
) -> Result:
    checks = list(outcome.checks)
    if outcome.died:
        verdict = Verdict.TIMEOUT if outcome.timed_out else Verdict.GRADER_ERROR
        limit = f"the exercise's limit of {exercise.limits.exercise_seconds:g} s was reached"
        message = limit if outcome.timed_out else outcome.died
        reported = {check.id for check in checks}
        checks += [
            CheckResult(id, part, verdict, message) for part, ids in planned.items() for id in ids if id not in reported
        ]
    return _assembled(exercise, submission, checks, planned, outcome.isolation or str(level), outcome.variant.seed)


def _assembled(
    exercise: Exercise,
    submission: Submission,
    checks: list[CheckResult],
    planned: dict[str, list[str]],
    isolation: str,
    seed: int,
) -> Result:
    result = assemble(
        exercise,
        checks,
        planned,
        seed=seed,
        isolation=isolation,
        source=submission.source,
        versions=versions(exercise),
    )
    return msgspec.structs.replace(result, student=submission.student)


def new_seed() -> int:
    """A seed that no learner can know."""
    return secrets.randbits(31)
