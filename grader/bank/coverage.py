"""The coverage table, computed: which interview topics the collection covers, and which a learner has earned."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from grader.bank.catalog import Exercise, House, Item, Part

Status = Literal["here", "coming", "elsewhere", "gap"]
Mark = Literal["", "drilled", "fading"]
"""Of the drills of a topic: each question right on two days; and then forgotten too much since."""


SECTIONS = {
    "critical": "Critical",
    "medium": "Medium",
    "new": "New in 2025-26",
    "practical": "Practical",
    "underspecified": "Underspecified",
    "covered": "Basics",
}
"""The sections of the table, in their order, as people read them."""


class TopicRow(msgspec.Struct, frozen=True):
    id: str
    title: str
    parts: list[str]
    """The parts that cover it, as `dl_011_kv_cache.KVCache`; none means a gap."""
    earned: bool
    """By a part; or, where no part covers it, by its drills."""
    drills: int = 0
    """Its questions with numbers that change."""
    drilled: Mark = ""


class ItemRow(msgspec.Struct, frozen=True):
    number: str
    title: str
    section: str
    status: Status
    priority: int | None
    difficulty: str | None
    exercises: list[str]
    topics: list[TopicRow]
    parts_earned: int
    parts: int
    points_earned: int
    points: int
    seed_rating: str | None
    seed_task: str | None

    @property
    def covered(self) -> int:
        return sum(bool(topic.parts or topic.drills) for topic in self.topics)

    @property
    def earned(self) -> int:
        return sum(topic.earned for topic in self.topics)

    @property
    def with_drills(self) -> int:
        return sum(bool(topic.drills) for topic in self.topics)

    @property
    def drilled(self) -> int:
        """Topics that are drilled, those that fade among them."""
        return sum(bool(topic.drilled) for topic in self.topics)

    @property
    def fading(self) -> int:
        return sum(topic.drilled == "fading" for topic in self.topics)


class RoleRow(msgspec.Struct, frozen=True):
    id: str
    title: str
    collection: float
    """Share of what the role is asked about, by weight, that some part covers."""
    earned: float
    """Share that the learner has earned."""


class CoverageTable(msgspec.Struct, frozen=True):
    items: list[ItemRow]
    roles: list[RoleRow]
    topics: int
    topics_covered: int
    topics_earned: int
    topics_drilled: int
    points_earned: int
    points: int
    exercises_earned: int
    exercises: int
    exercises_planned: int


def coverage_table(
    house: House, earned: Mapping[str, set[str]], drills: Mapping[str, tuple[int, Mark]] | None = None
) -> CoverageTable:
    """The table for what is `earned`: exercise id to the names of the parts.

    drills: each topic that has questions, to how many, and whether they are drilled.
    """
    parts = [(exercise, part) for exercise in house.exercises.values() for part in exercise.parts]
    done = {(exercise.id, part.name) for exercise, part in parts if part.name in earned.get(exercise.id, set())}
    items = [_item_row(house, item, parts, done, drills or {}) for item in house.coverage.item]
    roles = []
    for role in house.coverage.role:
        weighted = [(item.weights.get(role.id, 0), row) for item, row in zip(house.coverage.item, items, strict=True)]
        whole = sum(weight for weight, _ in weighted) or 1
        share = {
            name: sum(weight * getattr(row, name) / len(row.topics) for weight, row in weighted) / whole
            for name in ("covered", "earned")
        }
        roles.append(RoleRow(role.id, role.title, round(share["covered"], 4), round(share["earned"], 4)))
    return CoverageTable(
        items=items,
        roles=roles,
        topics=sum(len(row.topics) for row in items),
        topics_covered=sum(row.covered for row in items),
        topics_earned=sum(row.earned for row in items),
        topics_drilled=sum(row.drilled for row in items),
        points_earned=sum(part.points for exercise, part in parts if (exercise.id, part.name) in done),
        points=sum(part.points for _, part in parts),
        exercises_earned=sum(
            all((exercise.id, part.name) in done for part in exercise.parts) for exercise in house.exercises.values()
        ),
        exercises=len(house.exercises),
        exercises_planned=len({task.id for task in house.coverage.task} | set(house.exercises)),
    )


def _item_row(
    house: House,
    item: Item,
    parts: list[tuple[Exercise, Part]],
    done: set[tuple[str, str]],
    drills: Mapping[str, tuple[int, Mark]],
) -> ItemRow:
    topics = []
    covering: dict[tuple[str, str], int] = {}
    for topic in item.topic:
        by = [(exercise, part) for exercise, part in parts if topic.id in part.topics]
        covering |= {(exercise.id, part.name): part.points for exercise, part in by}
        asked, drilled = drills.get(topic.id, (0, ""))
        is_earned = any((exercise.id, part.name) in done for exercise, part in by) or (not by and bool(drilled))
        topics.append(TopicRow(topic.id, topic.title, [f"{e.id}.{p.name}" for e, p in by], is_earned, asked, drilled))
    tasks = house.coverage.tasks_of(item)
    return ItemRow(
        number=item.number,
        title=item.title,
        section=item.section,
        status=_status(house, item, bool(covering) or any(topic.drills for topic in topics)),
        priority=min((task.priority for task in tasks), default=None),
        difficulty=tasks[0].difficulty if tasks else None,
        exercises=[task.id for task in tasks],
        topics=topics,
        parts_earned=sum(key in done for key in covering),
        parts=len(covering),
        points_earned=sum(points for key, points in covering.items() if key in done),
        points=sum(covering.values()),
        seed_rating=item.seed_rating,
        seed_task=item.seed_task,
    )


def _status(house: House, item: Item, covered: bool) -> Status:
    if covered:
        return "here"
    if house.coverage.tasks_of(item):
        return "coming"
    return "elsewhere" if item.section == "covered" else "gap"
