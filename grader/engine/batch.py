"""Judge submissions in the engine: one warm answering process for a batch, one asker an exercise."""

import contextlib
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from grader.answering.module import needed_ahead
from grader.bank.catalog import Exercise, House
from grader.bank.source import read_source
from grader.bank.standins import StandIns
from grader.base.errors import HouseError
from grader.engine import cage
from grader.engine.doubt import STARVED, excused, in_doubt
from grader.engine.hidden import beside, hidden_paths
from grader.engine.resume import versions
from grader.engine.second import charged_checks
from grader.engine.unjudged import assembled, unreadable
from grader.engine.warm import Warm
from grader.judging.collected import Collected, collect_checks
from grader.judging.pool import Outcome, Variant, judge
from grader.submissions.find import Submission
from grader.verdicts.result import CheckResult, Result
from grader.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from grader.engine.channel import Caged

_GRACE_SECONDS = 10.0
"""Beyond the limit of an exercise, for the asker to say what it knows."""
_MOST_TRIES = 3
"""How often a submission is judged where the machine, not the code, may be to blame."""


OnCheck = Callable[[CheckResult, int], None]
"""Gets a check as it reports, and how many there are of all submissions."""


class Wish(msgspec.Struct, frozen=True):
    """How somebody who waits wants one judgement: what comes first, and whether it still matters."""

    first: tuple[str, ...] = ()
    """Parts to judge before the others, in this order."""
    only: tuple[str, ...] = ()
    """Parts to judge; empty for all."""
    is_cancelled: Callable[[], bool] = lambda: False
    """Asked each time that there may be something new. A judgement that is cancelled keeps no result."""
    look: float = 0.1
    """Seconds between looks at what has been reported."""


NO_WISH = Wish()


class Engine:
    """The warm answering process, for as long as a batch takes. It warms up while the checks are collected.

    exercises: those that it will be asked about. Raises HouseError where the machine isolates less than `require`.
    hidden: what no cage may read, besides the exercises and the grader.
    """

    def __init__(
        self,
        exercises: Iterable[Exercise],
        require: cage.Level = cage.Level.PROCESS,
        hidden: Iterable[Path] = (),
    ) -> None:
        self.level = cage.best_level()
        if self.level.strength < require.strength:
            raise HouseError(
                f"this machine isolates at level '{self.level}', but '{require}' is required. See SECURITY.md."
            )
        _may_send_many()
        exercises = list(exercises)
        ahead = sorted({module for one in exercises for module in needed_ahead(one)})
        others = [one for path in hidden for one in (path.resolve(), *beside(path))]
        self.warm = Warm(self.level, ahead, [*hidden_paths(exercises), *others])
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
        on_check: OnCheck = lambda check, total: None,
        wish: Wish = NO_WISH,
    ) -> None:
        """Judge submissions to one exercise. Raises RunError if the checks cannot be collected.

        keep: gets each result as it comes. on_check: gets each check as it reports. wish: of somebody who waits.
        """
        if any(not one.problem for one in submissions):
            asker = self.asker(house, exercise)
            asker.judge(submissions, seed_of=seed_of, jobs=jobs, keep=keep, on_check=on_check, wish=wish)
            return
        for one in submissions:
            keep(unreadable(exercise, one, str(self.level), seed_of(one)))

    def asker(self, house: House, exercise: Exercise) -> "Asker":
        """Collect an exercise's checks. Raises RunError where that cannot be."""
        from grader.engine.channel import drivers_beside  # torch comes with it: while the warm process imports its own

        checks = collect_checks(house, exercise)
        drivers_beside(exercise.checks)  # kept, and so there in every fork
        by = versions(exercise)  # of what has just been read, whatever becomes of the files
        self.warm.await_ready()
        return Asker(self, exercise, checks, by)


class Asker(msgspec.Struct, frozen=True):
    """An exercise's checks, ready to judge submissions, any number of times."""

    engine: Engine
    exercise: Exercise
    checks: Collected
    versions: dict[str, str]

    def judge(
        self,
        submissions: Sequence[Submission],
        *,
        seed_of: Callable[[Submission], int],
        jobs: int,
        keep: Callable[[Result], None],
        on_check: OnCheck = lambda check, total: None,
        wish: Wish = NO_WISH,
        more: Callable[[], Sequence[Submission]] = tuple,
    ) -> None:
        """As `Engine.judge`. more: asked where one could be begun and none waits, for what has come in meanwhile."""
        known: list[Submission] = []
        variants = self._variants(submissions, known, seed_of, keep, wish)
        total = self.count(wish.only) * len(variants)
        failed = []
        outcomes = self._sure_outcomes(
            variants,
            jobs,
            wish,
            lambda check: on_check(check, total),
            lambda: self._variants(more(), known, seed_of, keep, wish),
        )
        for outcome in outcomes:
            submission = known[int(outcome.variant.name)]
            result = excused(outcome, self._result(submission, outcome))
            if _has_failed_check(result):
                failed.append((submission, outcome.variant, result))  # looked at again, on its own, after the others
            else:
                keep(result)
        for submission, variant, result in failed:
            if not wish.is_cancelled():
                keep(self._looked_at_again(submission, variant, result))

    def _variants(
        self,
        submissions: Sequence[Submission],
        known: list[Submission],
        seed_of: Callable[[Submission], int],
        keep: Callable[[Result], None],
        wish: Wish,
    ) -> list[Variant]:
        """What is to be judged of these, each named by its place in `known`, where it is put; the others are kept."""
        variants = []
        for one in submissions:
            if one.problem:
                keep(unreadable(self.exercise, one, str(self.engine.level), seed_of(one)))
                continue
            caged = partial(self._caged, one.text)
            variants.append(
                Variant(
                    str(len(known)),
                    one.text,
                    seed=seed_of(one),
                    first=wish.first,
                    only=wish.only,
                    channel=caged,
                    follow=caged,
                )
            )
            known.append(one)
        return variants

    def count(self, only: Sequence[str] = ()) -> int:
        """How many checks these parts have; or all, if none is named."""
        return sum(len(ids) for part, ids in self.checks.planned.items() if part in only or not only)

    def _sure_outcomes(
        self,
        variants: Sequence[Variant],
        jobs: int = 1,
        wish: Wish = NO_WISH,
        on_check: Callable[[CheckResult], None] = lambda check: None,
        more: Callable[[], Sequence[Variant]] = tuple,
    ) -> Iterator[Outcome]:
        """The outcomes; what the machine may be to blame for is judged again, after the others, at most twice."""
        for attempt in range(1, _MOST_TRIES + 1):
            again = []
            heard = on_check if attempt == 1 else lambda check: None
            for outcome in self._outcomes(variants, jobs, wish, heard, more if attempt == 1 else tuple):
                if attempt < _MOST_TRIES and in_doubt(outcome):
                    again.append(outcome.variant)  # a busy machine may be less so then
                else:
                    yield outcome
            variants = again

    def _outcomes(
        self,
        variants: Sequence[Variant],
        jobs: int = 1,
        wish: Wish = NO_WISH,
        on_check: Callable[[CheckResult], None] = lambda check: None,
        more: Callable[[], Sequence[Variant]] = tuple,
    ) -> Iterator[Outcome]:
        return judge(
            self.checks,
            variants,
            jobs=jobs,
            deadline=self.exercise.limits.exercise_seconds + _GRACE_SECONDS,
            on_check=on_check,
            is_cancelled=wish.is_cancelled,
            look=wish.look,
            more=more,
        )

    def _result(self, submission: Submission, outcome: Outcome) -> Result:
        """The result of an outcome; whatever goes wrong on the way is the grader's error, and costs no other."""
        level, planned = self.engine.level, self.checks.planned
        try:
            return _result(self.exercise, submission, outcome, planned, level, self.versions)
        except Exception as error:
            broken = Outcome(outcome.variant, [], died=f"its checks cannot be read: {type(error).__name__}: {error}")
            return _result(self.exercise, submission, broken, planned, level, self.versions)

    def _looked_at_again(self, submission: Submission, variant: Variant, first: Result) -> Result:
        """The result of a submission at which the grader failed: judged once more, then the solution, then it again.

        The same failure each time, where the solution passes with the same inputs, is the submission's own doing. Had
        the machine failed, which has come to rest by then, the last time would show it.
        """
        (outcome,) = self._sure_outcomes([variant])
        again = excused(outcome, self._result(submission, outcome))
        if not _has_failed_check(again):
            return again
        text = read_source(self.exercise.solution)
        (beside,) = self._outcomes([replace(variant, text=text, channel=partial(self._caged, text), follow=None)])
        if not charged_checks(first, again, beside.checks):
            return again
        (outcome,) = self._sure_outcomes([variant])
        last = excused(outcome, self._result(submission, outcome))
        charged = charged_checks(again, last, beside.checks)
        if not charged:
            return last
        checks = [charged.get(check.id, check) for part in last.parts for check in part.checks]
        result = assembled(
            self.exercise, submission, checks, self.checks.planned, last.isolation, last.seed, self.versions
        )
        return replace(result, means=last.means)

    def _caged(self, text: str, standins: StandIns | None = None) -> "Caged":
        from grader.engine.channel import Caged

        return Caged(self.engine.control, self.exercise, text, standins)


def _may_send_many() -> None:
    """Let this process have as many open files as it may. The kernel lets it send none to another process while what
    has the same user, such as cages, has more than that under way.
    """
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _has_failed_check(result: Result) -> bool:
    return any(check.verdict is Verdict.GRADER_ERROR for part in result.parts for check in part.checks)


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
            CheckResult(id, part, verdict, message)
            for part, ids in planned.items()
            if part in outcome.variant.only or not outcome.variant.only
            for id in ids
            if id not in reported
        ]
    isolation = outcome.said.isolation or str(level)
    result = assembled(exercise, submission, checks, planned, isolation, outcome.variant.seed, by)
    return replace(result, means=outcome.said.means)
