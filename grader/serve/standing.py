"""What a learner has earned and tried, over the tiles of the coverage table."""

from collections.abc import Iterable, Mapping

from grader.bank.catalog import Exercise, House, Part
from grader.bank.coverage import SECTIONS, ItemRow, TopicRow
from grader.learner.examples import done_parts
from grader.records.progress import Progress, ProgressError
from grader.serve import wire


class Standing:
    """What the progress file says; where it cannot be read, nothing, and why."""

    def __init__(self, house: House) -> None:
        progress = Progress(house.root)
        self.earned: dict[str, set[str]] = {}
        self.done: Mapping[str, set[str]] = {}
        """As `earned`; in a student edition, which knows no points, the parts whose examples passed."""
        self.tried: set[tuple[str, str]] = set()
        """Judged as more than the stub; in a student edition, which judges nothing for points, its examples passed."""
        self.worked_on: dict[str, str] = {}
        self.warning = ""
        try:
            self.earned = progress.earned()
            self.done = done_parts(house)
            self.tried = progress.tried() | _with_examples(progress)
            self.worked_on = progress.last_worked_on()
        except ProgressError as error:
            self.warning = f"Progress not shown: {error.why}"

    def earned_of(self, exercise: Exercise) -> list[Part]:
        """The parts of an exercise that are earned."""
        return [part for part in exercise.parts if part.name in self.earned.get(exercise.id, set())]


def _with_examples(progress: Progress) -> set[tuple[str, str]]:
    return {(exercise, part) for exercise, parts in progress.with_examples().items() for part in parts}


def sections(house: House, rows: Iterable[ItemRow], standing: Standing) -> tuple[wire.MapSection, ...]:
    """The items of the coverage table as tiles, by section."""
    rows = list(rows)
    return tuple(
        wire.MapSection(
            id=id, title=title, tiles=tuple(_tile(house, row, standing) for row in rows if row.section == id)
        )
        for id, title in SECTIONS.items()
    )


def _tile(house: House, row: ItemRow, standing: Standing) -> wire.Tile:
    item = next(item for item in house.coverage.item if item.number == row.number)
    return wire.Tile(
        number=row.number,
        title=row.title,
        difficulty=row.difficulty,
        weights=item.weights,
        topics=tuple(_topic(house, row, topic, standing) for topic in row.topics),
        points_earned=row.points_earned,
        points=row.points,
    )


def _topic(house: House, row: ItemRow, topic: TopicRow, standing: Standing) -> wire.MapTopic:
    parts = tuple(_topic_part(house, name, standing) for name in topic.parts)
    return wire.MapTopic(
        id=topic.id, title=topic.title, state=_state(row, topic, parts, standing), parts=parts, drills=topic.drills,
        drilled=topic.drilled,
    )  # fmt: skip


def _state(row: ItemRow, topic: TopicRow, parts: tuple[wire.TopicPart, ...], standing: Standing) -> wire.TopicState:
    if parts and topic.earned:
        return "earned"
    if any((one.exercise, one.part) in standing.tried for one in parts):
        return "tried"
    if parts:
        return "open"
    if topic.drills:
        return topic.drilled or "drills"
    return row.status if row.status in ("coming", "elsewhere") else "gap"


def _topic_part(house: House, name: str, standing: Standing) -> wire.TopicPart:
    """name: as `dl_011_kv_cache.KVCache`."""
    id, _, part_name = name.partition(".")
    exercise = house.exercises[id]
    part = exercise.part(part_name)
    return wire.TopicPart(
        exercise=id, title=exercise.title, part=part.name, minutes=part.minutes, points=part.points,
        earned=part.name in standing.earned.get(id, set()), after=part.after,
    )  # fmt: skip
