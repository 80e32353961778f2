"""When a question comes back: FSRS over its answers, one review a day at most."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fsrs import Scheduler

USUAL_SECONDS = {1: 90.0, 2: 90.0, 3: 180.0}
"""How long an answer takes, by level."""
RETENTION = 0.9
LONGEST_DAYS = 180


class Answer(msgspec.Struct, frozen=True):
    """One answer, as it is kept."""

    question: str
    revision: int
    seed: int
    at: str
    """UTC, ISO 8601."""
    typed: str
    verdict: str
    """`right` or `wrong`."""
    trap: str
    hints: int
    seconds: float
    interview: int | None = None

    @property
    def right(self) -> bool:
        return self.verdict == "right"

    @property
    def day(self) -> date:
        return datetime.fromisoformat(self.at).date()


class Card(msgspec.Struct, frozen=True):
    """What FSRS makes of the answers to one question."""

    question: str
    revision: int
    stability: float
    difficulty: float
    due: date
    last_review: date


def card_of(answers: Iterable[Answer], level: int = 1) -> Card | None:
    """The card of one question from its answers, oldest first; those to another revision than the last do not count.

    Good where it was right; hard with a hint, or in more than twice the usual time; again where it was wrong. A second
    answer on one day is no review.
    """
    from fsrs import Card as Reviewed
    from fsrs import Rating

    kept = list(answers)
    kept = [one for one in kept if one.revision == kept[-1].revision]
    card, day, scheduler = Reviewed(card_id=0), None, _scheduler()
    for one in kept:
        if one.day == day:
            continue
        day = one.day
        slow = one.seconds > 2 * USUAL_SECONDS.get(level, 90.0)
        rating = Rating.Again if not one.right else Rating.Hard if one.hints or slow else Rating.Good
        card, _ = scheduler.review_card(card, rating, datetime(day.year, day.month, day.day, tzinfo=UTC))
    if day is None or card.stability is None or card.difficulty is None:
        return None
    return Card(kept[-1].question, kept[-1].revision, card.stability, card.difficulty, card.due.date(), day)


def recall(card: Card, today: date) -> float:
    """The chance that it is still known, by FSRS's forgetting curve."""
    from fsrs import Card as Reviewed
    from fsrs import State

    midnight = datetime(card.last_review.year, card.last_review.month, card.last_review.day, tzinfo=UTC)
    kept = Reviewed(card_id=0, state=State.Review, stability=card.stability, last_review=midnight)
    later = midnight + timedelta(days=(today - card.last_review).days)
    chance: float = _scheduler().get_card_retrievability(kept, later)
    return chance


@cache
def _scheduler() -> "Scheduler":
    from fsrs import Scheduler

    return Scheduler(
        desired_retention=RETENTION, learning_steps=(), relearning_steps=(), maximum_interval=LONGEST_DAYS,
        enable_fuzzing=False,
    )  # fmt: skip
