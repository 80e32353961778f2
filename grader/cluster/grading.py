"""Submissions judged on a cluster, as `engine.batch` judges them on this machine."""

from collections.abc import Callable, Sequence
from functools import cache

from grader.bank.catalog import House
from grader.cluster.flow import Failed, Flow
from grader.engine.server import Asked, all_versions
from grader.engine.unjudged import undone
from grader.submissions.find import Submission
from grader.verdicts.result import Result


def wanted_of(house: House) -> Callable[[str], dict[str, str]]:
    """What `Flow` asks of each exercise; looked up once, so that a batch is of one version."""
    return cache(lambda id: all_versions(house.exercises[id]))


def judge_on(
    flow: Flow,
    house: House,
    submissions: Sequence[Submission],
    *,
    seed_of: Callable[[Submission], int],
    keep: Callable[[Result], None],
) -> None:
    """Judge submissions, exercise by exercise. Raises as `Flow.some`. keep: gets each result as it comes."""
    for id in dict.fromkeys(one.exercise for one in submissions):
        own = [one for one in submissions if one.exercise == id]
        flow.announce(id, [Asked(one.student, seed_of(one), one.text, one.problem) for one in own])
    while came := flow.some():
        for id, one, result in came:
            if isinstance(result, Failed):
                submission = Submission(one.student, id, one.text, one.problem)
                result = undone(house.exercises[id], submission, result.why, "", one.seed)
            keep(result)
