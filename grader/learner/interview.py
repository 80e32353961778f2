"""How an interview goes: what is asked next, for how long, and what is said of it at the end.

Nothing here reads a file or a clock: what an interview is so far goes in, and what follows comes out.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import TypeVar

import msgspec

from grader.bank.catalog import Coverage
from grader.drills.heads import Listed
from grader.drills.schedule import USUAL_SECONDS
from grader.records.interviews import Asked, Interview, Outcome

LEVELS = (1, 2, 3)
SHORTEST, LONGEST = 10, 120
"""Minutes of an interview."""
CHANGE = 2
"""Right answers in a row that raise the level; as many wrong ones lower it."""
KNOWN = 1.1
"""What a recall of 1 is taken from: what is known well is still asked now and then."""

One = TypeVar("One")


class Candidate(msgspec.Struct, frozen=True):
    """A question that may be asked."""

    listed: Listed
    item: str
    """The number of its row of the coverage table."""
    weight: int
    """How much the role is asked about that row; 1 to 3."""
    recall: float
    """The chance that its answer is known, 0 to 1; 0 where it was never asked."""


def candidates(
    coverage: Coverage, role: str, questions: Iterable[Listed], recalls: Mapping[str, float]
) -> list[Candidate]:
    """The questions that a role may be asked. recalls: by question; those never asked are missing."""
    rows = {topic.id: item for item in coverage.asked_of(role) for topic in item.topic}
    return [
        Candidate(one, rows[one.topic].number, rows[one.topic].weights[role], recalls.get(one.id, 0.0))
        for one in questions
        if one.topic in rows
    ]


def likelihoods(pool: Iterable[Candidate]) -> dict[str, float]:
    """Each topic to how likely it is asked, against the others: role weight x (1.1 - recall of its questions)."""
    by_topic: dict[str, list[Candidate]] = {}
    for one in pool:
        by_topic.setdefault(one.listed.topic, []).append(one)
    return {
        topic: own[0].weight * (KNOWN - sum(one.recall for one in own) / len(own)) for topic, own in by_topic.items()
    }


def level_of(asked: Iterable[Asked]) -> int:
    """The level of the next question: it begins at 1, two right in a row raise it, two wrong lower it."""
    level, row = LEVELS[0], 0
    for one in asked:
        row = max(row, 0) + 1 if one.right else min(row, 0) - 1
        if abs(row) == CHANGE:
            level, row = min(max(level + row // CHANGE, LEVELS[0]), LEVELS[-1]), 0
    return level


def next_candidate(interview: Interview, pool: Sequence[Candidate]) -> Candidate | None:
    """The next question; None where the time of the questions is used up, or all were asked.

    Each question has the time of its level, used or not. A topic is drawn by its weight among those that were not asked
    yet and have a question of the level; where there is none, the nearest level counts.
    """
    left = interview.for_questions - sum(USUAL_SECONDS[one.level] for one in interview.asked)
    weights, level = likelihoods(pool), level_of(interview.asked)
    before = {one.shown.id for one in interview.asked}
    open_ = [one for one in pool if one.listed.id not in before and USUAL_SECONDS[one.listed.level] <= left]
    open_ = _fresh(open_, [one.shown.topic for one in interview.asked])
    if not open_:
        return None
    nearest = min({one.listed.level for one in open_}, key=lambda one: (abs(one - level), one))
    fit = [one for one in open_ if one.listed.level == nearest]
    draw = Random(f"{interview.seed}:question {len(interview.asked)}")
    topic = next(drawn({one.listed.topic: weights[one.listed.topic] for one in fit}, draw))
    least = min(one.recall for one in fit if one.listed.topic == topic)
    return draw.choice([one for one in fit if one.listed.topic == topic and one.recall == least])


def _fresh(open_: list[Candidate], topics: Sequence[str]) -> list[Candidate]:
    """Those of topics that were not asked yet; if there is none, those of another topic than the last."""
    new = [one for one in open_ if one.listed.topic not in topics]
    return new or [one for one in open_ if one.listed.topic != topics[-1]] or open_


def drawn(weights: Mapping[One, float], draw: Random) -> Iterator[One]:
    """All of them in a random order, the weightier ones rather first. (Efraimidis, Spirakis 2006.)"""
    keys = {one: math.log(1.0 - draw.random()) / weight for one, weight in weights.items() if weight > 0}
    return iter(sorted(keys, key=lambda one: keys[one], reverse=True))


def outcome_of(right: bool | None, is_late: bool) -> Outcome:
    """What became of a question. right: None where nothing was handed in."""
    return "late" if is_late else "passed" if right is None else "right" if right else "wrong"


def not_asked(coverage: Coverage, role: str, items: Collection[str]) -> tuple[str, ...]:
    """The titles of the rows that a role is asked about and that are not among `items`, the weightiest first."""
    return tuple(one.title for one in coverage.asked_of(role) if one.number not in items)


def to_read_on(interview: Interview, weights: Mapping[str, int]) -> list[str]:
    """The topics to read about, the most urgent first: those not answered rightly, by how much the role is asked.

    weights: by the number of a row.
    """
    missed = [one for one in interview.asked if not one.right]
    known = sorted(missed, key=lambda one: -weights.get(one.item, 0))
    return list(dict.fromkeys(one.shown.topic for one in known))
