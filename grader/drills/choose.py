"""Which questions are asked now, and in which order."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date
from typing import Literal

import msgspec

from grader.drills.heads import Listed
from grader.drills.schedule import Card

A_DAY = 30
"""Answers a day, at most."""
NEW_A_DAY = 8
"""Questions never asked before, a day, where nothing is chosen by topic or role."""


Lack = Literal["", "enough", "held", "skipped", "none"]
"""Why nothing is asked: enough for today; two of a topic in a row; all that is left was skipped; nothing is due."""


class Past(msgspec.Struct, frozen=True):
    """What is known of earlier answers."""

    today: date
    cards: Mapping[str, Card] = {}
    """By question, of those answered before."""
    answered_today: int = 0
    new_today: int = 0
    """How many of these were first answers."""
    last_topic: str = ""


class Chosen(msgspec.Struct, frozen=True):
    """The questions of one sitting."""

    queue: tuple[Listed, ...]
    """May be shorter than what there is to ask: enough for today, or two of a topic in a row."""
    due: int
    """How many of those to ask were answered before, and are due."""
    new: int
    """How many of them were never asked."""
    early: int = 0
    """How many of them are not due yet."""
    topic: str = ""
    """The one topic of what is left, where nothing can be asked because it was asked last."""
    skipped: int = 0
    """How many more of those asked for were skipped in this sitting."""

    @property
    def to_ask(self) -> int:
        """How many there are to ask, now or later."""
        return self.due + self.new + self.early

    @property
    def lacks(self) -> Lack:
        """Why there is nothing to ask; "" where there is something."""
        if self.queue:
            return ""
        if self.topic:
            return "held"
        return "enough" if self.to_ask else "skipped" if self.skipped else "none"


NOTHING = Chosen((), 0, 0)


def is_due(question: Listed, past: Past) -> bool:
    """Whether a question that was answered before is due: in time, or because its answer has changed since."""
    card = past.cards.get(question.id)
    return card is not None and (card.due <= past.today or card.revision != question.revision)


def choose(
    questions: Iterable[Listed],
    past: Past,
    *,
    all_: bool = False,
    new: int | None = NEW_A_DAY,
    but: Sequence[str] = (),
) -> Chosen:
    """The due ones, the longest overdue first, then new ones in their order. all_: those that are not due yet, too.

    new: how many new ones a day; None for any. but: ids of those that this sitting asked already, answered or skipped.
    Two of a topic do not follow each other, unless all have that topic.
    """
    asked = list(questions)
    due = sorted((one for one in asked if is_due(one, past)), key=lambda one: past.cards[one.id].due)
    fresh = [one for one in asked if one.id not in past.cards]
    if new is not None:
        fresh = fresh[: max(0, new - past.new_today)]
    early = [one for one in asked if all_ and one not in due and one.id in past.cards]
    early.sort(key=lambda one: past.cards[one.id].due)
    known, before = [*due, *fresh, *early], set(but)
    wanted = [one for one in known if one.id not in before]
    alone = len({one.topic for one in asked}) == 1
    room = max(0, A_DAY - past.answered_today)
    last = {one.id: one.topic for one in asked}.get(but[-1] if but else "", past.last_topic)
    queue = wanted[:room] if alone else _apart(wanted, last)[:room]
    held = wanted[0].topic if wanted and room and not queue else ""
    skipped = sum(one.id in before and not _answered_today(one, past) for one in known)
    return Chosen(
        queue=tuple(queue), due=_not_in(before, due), new=_not_in(before, fresh), early=_not_in(before, early),
        topic=held, skipped=skipped,
    )  # fmt: skip


def _not_in(before: Set[str], questions: Iterable[Listed]) -> int:
    return sum(one.id not in before for one in questions)


def _answered_today(question: Listed, past: Past) -> bool:
    card = past.cards.get(question.id)
    return card is not None and card.last_review == past.today


def _apart(wanted: Sequence[Listed], last: str) -> list[Listed]:
    """As many as can be asked without two of a topic in a row, in their order as far as that goes."""
    left, queue = list(wanted), list[Listed]()
    while found := _next(left, last):
        left.remove(found)
        queue.append(found)
        last = found.topic
    return queue


def _next(left: Sequence[Listed], last: str) -> Listed | None:
    """The first of another topic than the last; of one that would be left over at the end, if there is one."""
    counts = Counter(one.topic for one in left)
    others = [one for one in left if one.topic != last]
    pressing = [one for one in others if 2 * counts[one.topic] > len(left)]
    return next(iter(pressing or others), None)
