"""How far a learner is with each topic: drilled once and for all, and fading where too much would be forgotten."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date

import msgspec

from grader.bank.coverage import Mark
from grader.drills.heads import Listed
from grader.drills.schedule import Answer, Card, recall

FADED = 0.8
"""Mean recall of a topic's questions below which it fades."""
_DAYS, _DAYS_ALONE = 2, 3


class DrilledTopic(msgspec.Struct, frozen=True):
    questions: int
    mark: Mark = ""


def drilled_topics(
    questions: Iterable[Listed], answers: Iterable[Answer], cards: Mapping[str, Card], today: date
) -> dict[str, DrilledTopic]:
    """Each topic that has questions.

    Drilled: each question was right on two days in a row of its answers, on three where it is the only one, the last
    time without a hint. That stays, whatever is forgotten later. The first answer of a day is the one that counts.
    """
    by_topic = defaultdict[str, list[str]](list)
    for one in questions:
        by_topic[one.topic].append(one.id)
    topic_of = {id: topic for topic, ids in by_topic.items() for id in ids}
    needed = {id: _DAYS if len(by_topic[topic]) > 1 else _DAYS_ALONE for id, topic in topic_of.items()}
    row, last_day, known, drilled = defaultdict[str, int](int), dict[str, date](), set[str](), set[str]()
    for answer in answers:
        id = answer.question
        if id not in topic_of or last_day.get(id) == answer.day:
            continue
        last_day[id] = answer.day
        row[id] = row[id] + 1 if answer.right else 0
        known.discard(id)
        if row[id] >= needed[id] and not answer.hints:
            known.add(id)
            if known.issuperset(by_topic[topic_of[id]]):
                drilled.add(topic_of[id])
    return {
        topic: DrilledTopic(len(ids), _mark(ids, cards, today) if topic in drilled else "")
        for topic, ids in by_topic.items()
    }


def _mark(ids: list[str], cards: Mapping[str, Card], today: date) -> Mark:
    known = [recall(cards[id], today) for id in ids if id in cards]
    return "fading" if known and sum(known) / len(known) < FADED else "drilled"
