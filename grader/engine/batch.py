"""Grade a folder of submissions: find them, judge what changed, keep each result as soon as it exists.

Layout: `submitted/<student>/<exercise id>/<file>`, nbgrader's own; the file is a script or a notebook. Results:
`results.jsonl` in the out folder, one line a result; of a student and exercise the newest line counts.
"""

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from grader.catalog import Exercise, House, HouseError, nearest
from grader.cells import layout_of
from grader.engine import cage
from grader.engine.doubt import STARVED
from grader.engine.notebook import LARGEST_NOTEBOOK, NotebookError, source_of_notebook
from grader.engine.store import Kept, in_order, read_results
from grader.engine.warm import Warm
from grader.load import needed_ahead
from grader.result import CheckResult, Result, Verdict, assemble
from grader.submitted import LARGEST_FILE, derive, digest, read_file
from grader.sweep import Collected, Outcome, Variant, judge, sweep

_SUFFIXES = (".py", ".ipynb")
_MOST_NAMED = 5
_GRACE_SECONDS = 10.0
"""Beyond the limit of an exercise, for the asker to say what it knows."""
_MOST_TRIES = 3
"""How often a submission is judged where the machine, not the code, may be to blame."""


class Submission(msgspec.Struct, frozen=True):
    """One student's file for one exercise, or why there is none."""

    student: str
    exercise: str
    text: str
    problem: str = ""
    note: str = ""
    """What a teacher should know about what was read."""

    @property
    def source(self) -> str:
        return digest(self.text) if not self.problem else digest(self.problem)


class Found(msgspec.Struct):
    """What lies in a folder of submissions."""

    submissions: list[Submission]
    refused: list[str]
    """Sentences about folders that name nothing."""


def find_submissions(house: House, folder: Path, only: Sequence[str] = ()) -> Found:
    """Every submission below `folder`, in order. only: ids of exercises. Follows no link below `folder`."""
    if not folder.is_dir():
        raise HouseError(f"{folder} is no folder. Submissions lie in submitted/<student>/<exercise id>/.")
    found = Found([], [])
    for student in _folders(folder, "", found):
        try:
            student.name.encode()
        except UnicodeEncodeError:
            found.refused.append(f"the name of the folder {student.name} is not UTF-8.")
            continue
        for place in _folders(student, f"{student.name}/", found):
            exercise = house.exercises.get(place.name)
            if exercise is None:
                known = nearest(place.name, house.exercises)
                found.refused.append(f"{student.name}/{place.name}: there is no exercise '{place.name}'.{known}")
            elif not only or exercise.id in only:
                found.submissions.append(read_submission(student.name, exercise, place))
    return found


def _folders(folder: Path, shown: str, found: Found) -> list[Path]:
    """The folders in a folder. A link, a folder that cannot be read and a stray submission are refused by name."""
    folders = []
    try:
        for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            if path.is_symlink():
                found.refused.append(f"{shown}{path.name} is a link, and links are not followed.")
            elif path.is_dir():
                folders.append(path)
            elif path.suffix in _SUFFIXES:
                found.refused.append(f"{shown}{path.name} does not lie in submitted/<student>/<exercise id>/.")
    except OSError as error:
        found.refused.append(f"{shown or folder} cannot be read: {error.strerror}.")
    return folders


def read_submission(student: str, exercise: Exercise, place: Path) -> Submission:
    """The file that lies in a folder, or why it cannot be judged. A script counts before a notebook."""
    names = [f"{exercise.stem}.py", f"{exercise.id}.ipynb", f"{exercise.stem}.ipynb"]
    name, *passed_over = [name for name in names if os.path.lexists(place / name)] or names[:1]
    note = f"{name} counts, and {' and '.join(passed_over)} beside it does not" if passed_over else ""
    try:
        data = read_file(place / name, LARGEST_NOTEBOOK if name.endswith(".ipynb") else LARGEST_FILE)
        text = data.decode("utf-8-sig")
        if name.endswith(".ipynb"):
            text = source_of_notebook(text, exercise.stem, LARGEST_FILE, layout_of(exercise))
        return Submission(student, exercise.id, text, note=note)
    except FileNotFoundError:
        problem = f"neither {names[0]} nor {names[1]} was handed in{_others(place)}"
    except UnicodeDecodeError:
        problem = f"{name} is not UTF-8 text"
    except NotebookError as error:
        problem = f"{name} {error}"
    except OSError as error:
        problem = f"{name} cannot be read: {error.strerror or error}"
    return Submission(student, exercise.id, "", problem, note)


def _others(place: Path) -> str:
    """What lies there instead, by name."""
    try:
        names = sorted(path.name for path in place.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        return f": {error.strerror}"
    more = " and more" if len(names) > _MOST_NAMED else ""
    return f"; there is {', '.join(names[:_MOST_NAMED])}{more}" if names else ""


class Results:
    """`results.jsonl` of an out folder: appended durably, read back to resume."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HouseError(f"{folder} cannot be a folder for results: {error.strerror}.") from None
        self._kept, self._whole = self._read()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other run write here meanwhile. Raises HouseError, which says who does."""
        try:
            file = self.path.with_name(".lock").open("a+")
        except OSError:  # then nothing can be written here, by nobody; `add` says so
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                by = file.readline().strip()
                raise HouseError(
                    f"Another run writes to {self.path.parent}{f' ({by})' if by else ''}: wait until it has ended, or "
                    "choose another folder with --out."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            self._kept, self._whole = self._read()  # what a run that has just ended wrote
            yield

    def latest(self) -> list[Result]:
        """The result that counts, of each student and exercise."""
        return in_order(self._kept)

    def add(self, result: Result) -> None:
        """Keep a result; when this returns it is on the disk."""
        line = msgspec.json.encode(result) + b"\n"
        try:
            with self.path.open("ab") as file:
                if self._whole is not None:  # a line cut short by a crash; its submission is judged again
                    file.truncate(self._whole)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HouseError(
                f"{self.path} cannot be written: {error.strerror}. What it holds is kept; run it again to go on."
            ) from None
        self._whole = None
        self._kept[result.student, result.exercise] = result

    def holds(self, submission: Submission, exercise: Exercise, require: cage.Level, seed: int | None) -> bool:
        """Whether this very submission was judged by these very checks, at this level of isolation or a better one."""
        kept = self._kept.get((submission.student, submission.exercise))
        return (
            kept is not None
            and kept.source == submission.source
            and kept.versions == versions(exercise)
            and (seed is None or kept.seed == submission_seed(seed, submission))
            and (not kept.isolation or _strength(kept.isolation) >= require.strength)
            and not any(part.verdict is Verdict.GRADER_ERROR for part in kept.parts)
        )

    def _read(self) -> tuple[Kept, int | None]:
        """What is there, and the length of its whole lines."""
        try:
            return read_results(self.path)
        except FileNotFoundError:
            return {}, None


def _strength(level: str) -> int:
    return cage.Level(level).strength if level in list(cage.Level) else -1


def versions(exercise: Exercise) -> dict[str, str]:
    """What a result depends on besides the submission: the grader, torch, and the exercise's checks and solution."""
    content = hashlib.sha256()
    for path in sorted([*exercise.checks.parent.glob("*.py"), exercise.solution]):
        content.update(path.read_bytes())
    facts = (exercise.attempt.parent / "exercise.toml").read_bytes()
    content.update(facts)
    return {"grader": _installed("dl-kata"), "torch": _installed("torch"), "checks": content.hexdigest()[:16]}


_installed = cache(version)


def submission_seed(seed: int, submission: Submission) -> int:
    """A seed for one submission: unlike its neighbours', and the same whenever the batch's is."""
    return derive(seed, f"{submission.student}/{submission.exercise}") % (1 << 31)


JudgeAll = Callable[..., None]
"""`judge_all(submissions, seed_of=, jobs=, keep=, tick=)`: as `Engine.judge`, the checks being collected."""


class Engine:
    """The warm answering process, for as long as a batch takes. It warms up while the checks are collected.

    exercises: those that it will be asked about. Raises HouseError where the machine isolates less than `require`.
    """

    def __init__(self, exercises: Iterable[Exercise], require: cage.Level = cage.Level.PROCESS) -> None:
        self.level = cage.best_level()
        if self.level.strength < require.strength:
            raise HouseError(
                f"this machine isolates at level '{self.level}', but '{require}' is required. See SECURITY.md."
            )
        self.warm = Warm(self.level, sorted({module for one in exercises for module in needed_ahead(one)}))
        self.control = self.warm.control

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: Any) -> None:
        self.warm.end()

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
        readable = [one for one in submissions if not one.problem]
        for submission in submissions:
            if submission.problem:
                keep(_unreadable(exercise, submission, self.level, seed_of(submission)))

        def work(judge_all: JudgeAll) -> None:
            judge_all(readable, seed_of=seed_of, jobs=jobs, keep=keep, tick=tick)

        if readable:
            self.session(house, exercise, work)

    def session(self, house: House, exercise: Exercise, work: Callable[[JudgeAll], None]) -> None:
        """Collect an exercise's checks, and call `work` with what judges submissions that can be read, any number of
        times. Raises RunError if the checks cannot be collected.
        """

        def begin(checks: Collected) -> None:
            from grader.engine.channel import Caged, drivers_beside

            drivers_beside(exercise.checks)  # kept, and so there in every fork
            by = versions(exercise)  # of what has just been read, whatever becomes of the files
            self.warm.await_ready()
            deadline = exercise.limits.exercise_seconds + _GRACE_SECONDS

            def judge_all(
                submissions: Sequence[Submission],
                *,
                seed_of: Callable[[Submission], int],
                jobs: int,
                keep: Callable[[Result], None],
                tick: Callable[[int], None] = lambda total: None,
            ) -> None:
                variants = [
                    Variant(
                        str(i), one.text, seed=seed_of(one), channel=partial(Caged, self.control, exercise, one.text)
                    )
                    for i, one in enumerate(submissions)
                ]
                total = len(checks.items) * len(variants)
                for attempt in range(1, _MOST_TRIES + 1):
                    counted = partial(tick, total) if attempt == 1 else lambda: None
                    again = []
                    for outcome in judge(checks, variants, jobs=jobs, deadline=deadline, tick=counted):
                        submission = submissions[int(outcome.variant.name)]
                        result = _result(exercise, submission, outcome, checks.planned, self.level, by)
                        if attempt < _MOST_TRIES and _in_doubt(outcome, result):
                            again.append(outcome.variant)  # after the others: a busy machine may be less so then
                        else:
                            keep(_excused(outcome, result))
                    variants = again

            work(judge_all)

        sweep(house, exercise, begin)


def _unreadable(exercise: Exercise, submission: Submission, level: cage.Level, seed: int) -> Result:
    """The result of a submission that cannot be read: every part an error, which says so."""
    id = "reading the file"
    checks = [CheckResult(f"{id}: {p.name}", p.name, Verdict.ERROR, submission.problem) for p in exercise.parts]
    planned = {check.part: [check.id] for check in checks}
    return _assembled(exercise, submission, checks, planned, str(level), seed, versions(exercise))


def _result(
    exercise: Exercise,
    submission: Submission,
    outcome: Outcome,
    planned: dict[str, list[str]],
    level: cage.Level,
    by: dict[str, str],
) -> Result:
    checks = list(outcome.checks)
    if outcome.died:
        late = outcome.timed_out and not outcome.starved
        verdict = Verdict.TIMEOUT if late else Verdict.GRADER_ERROR
        limit = f"the exercise's limit of {exercise.limits.exercise_seconds:g} s was reached"
        message = limit if late else STARVED.said if outcome.starved else outcome.died
        reported = {check.id for check in checks}
        checks += [
            CheckResult(id, part, verdict, message) for part, ids in planned.items() for id in ids if id not in reported
        ]
    isolation = outcome.said.isolation or str(level)
    result = _assembled(exercise, submission, checks, planned, isolation, outcome.variant.seed, by)
    return msgspec.structs.replace(result, means=outcome.said.means)


def _in_doubt(outcome: Outcome, result: Result) -> bool:
    """Whether the machine may be to blame for a verdict, so that the submission is judged again."""
    failed = {part.name for part in result.parts if part.verdict is not Verdict.PASSED}
    return bool(failed & outcome.said.doubts.keys()) or bool(
        outcome.died and (outcome.starved or not outcome.timed_out)
    )


def _excused(outcome: Outcome, result: Result) -> Result:
    """A result in which no part is charged for what was the machine's doing, as far as that is proved."""
    parts = []
    for part in result.parts:
        doubt = outcome.said.doubts.get(part.name)
        if doubt and doubt.proved and part.verdict is not Verdict.PASSED:
            checks = [
                check
                if check.verdict is Verdict.PASSED
                else msgspec.structs.replace(check, verdict=Verdict.GRADER_ERROR, message=doubt.said)
                for check in part.checks
            ]
            part = msgspec.structs.replace(part, verdict=Verdict.GRADER_ERROR, message=doubt.said, checks=checks)
        parts.append(part)
    return msgspec.structs.replace(result, parts=parts)


def _assembled(
    exercise: Exercise,
    submission: Submission,
    checks: list[CheckResult],
    planned: dict[str, list[str]],
    isolation: str,
    seed: int,
    by: dict[str, str],
) -> Result:
    result = assemble(
        exercise,
        checks,
        planned,
        seed=seed,
        isolation=isolation,
        source=submission.source,
        versions=by,
    )
    return msgspec.structs.replace(result, student=submission.student)
