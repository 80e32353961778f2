"""What a class knows, for its teacher: students by topic, and where each part fails. One page, and a CSV beside it."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import defused, plain
from grader.classroom.marks import Graded, Marks, read_batch
from grader.classroom.spread import BINS, discrimination, points_of, spreads
from grader.drills.heads import heads

_MOST_MISTAKES = 3


Place = tuple[str, str]
"""An exercise and a part of it; or a quiz and one of its questions."""


class PartRow(msgspec.Struct, frozen=True):
    """A part over the class."""

    exercise: str
    part: str
    students: int
    passed: int
    verdicts: list[tuple[str, int]]
    mistakes: list[tuple[str, int]]
    discrimination: float | None


class TopicTable(msgspec.Struct, frozen=True):
    """The topics of one item of the coverage table, students by topic."""

    title: str
    topics: list[str]
    rows: list[tuple[str, list[str]]]
    """A student, and for each topic `yes`, `no`, or nothing where no part of it was handed in."""


def part_rows(house: House, graded: Sequence[Graded]) -> list[PartRow]:
    """Each part that somebody handed in: how many passed, and what the others did."""
    rows, ours_of = [], defaultdict[str, list[Graded]](list)
    for one in graded:
        ours_of[one.exercise].append(one)
    of_house = [(exercise.id, part.name) for exercise in house.exercises.values() for part in exercise.parts]
    for id, part in [*of_house, *_of_quizzes(house, graded)]:
        ours = [one for one in ours_of[id] if one.part == part]
        if ours:
            verdicts = Counter(one.verdict or "no verdict" for one in ours if not one.passed)
            mistakes = Counter(one.mistake for one in ours if not one.passed and one.mistake)
            rows.append(
                PartRow(
                    id,
                    part,
                    len(ours),
                    sum(one.passed for one in ours),
                    verdicts.most_common(),
                    mistakes.most_common(_MOST_MISTAKES),
                    discrimination(ours_of[id], id, part),
                )
            )
    return rows


def _of_quizzes(house: House, graded: Sequence[Graded]) -> list[Place]:
    """Each question of a quiz that somebody handed in."""
    return list(dict.fromkeys((one.exercise, one.part) for one in graded if one.exercise not in house.exercises))


def topic_tables(house: House, graded: Sequence[Graded]) -> list[TopicTable]:
    """Students by topic, for each item of the coverage table of which something was handed in."""
    students = sorted({one.student for one in graded})
    covering = defaultdict[str, list[Place]](list)
    for exercise in house.exercises.values():
        for part in exercise.parts:
            for id in part.topics:
                covering[id].append((exercise.id, part.name))
    drills = heads(house)
    for quiz, question in _of_quizzes(house, graded):
        if question in drills:
            covering[drills[question].topic].append((quiz, question))
    passed = {(one.student, one.exercise, one.part): one.passed for one in graded}
    handed = {(one.exercise, one.part) for one in graded}
    tables = []
    for item in house.coverage.item:
        topics = [topic for topic in item.topic if any(place in handed for place in covering[topic.id])]
        rows = []
        for student in students:
            marks = []
            for topic in topics:
                told = [passed[student, *place] for place in covering[topic.id] if (student, *place) in passed]
                marks.append("" if not told else "yes" if any(told) else "no")
            rows.append((student, marks))
        if topics:
            tables.append(TopicTable(f"{item.number} · {item.title}", [topic.title for topic in topics], rows))
    return tables


def as_page(house: House, marks: Marks) -> str:
    """One HTML page that needs nothing else. What students wrote stands in it as text only."""
    from jinja2 import Environment

    def said(value: object) -> str:
        return plain(str(value))

    points = points_of(marks)
    titles = {one.id: one.title for one in house.exercises.values() if one.id in points.worth}
    titles |= {id: id for id in sorted(points.worth.keys() - titles.keys())}  # quizzes
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=said)
    return environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).render(
        marks=marks,
        titles=titles,
        quizzes=len(titles.keys() - house.exercises.keys()),
        points=points,
        spreads=spreads(points, titles),
        bins=BINS,
        parts=part_rows(house, marks.graded),
        topics=topic_tables(house, marks.graded),
    )


def as_csv(graded: Sequence[Graded]) -> str:
    """A row for each student and part. No cell of it is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    fields = [field.name for field in msgspec.structs.fields(Graded) if field.name != "source"]
    writer.writerow(fields)
    for one in graded:
        writer.writerow([defused(getattr(one, field)) for field in fields])
    return out.getvalue()


def write_report(house: House, place: Path, page: Path) -> int:
    """Write the page, and the CSV beside it; returns the number of students. Raises HouseError.

    place: what `grader grade` wrote, or a course of nbgrader.
    """
    if not place.is_dir():
        raise HouseError(f"{place} is no folder: name a course of nbgrader, or what `grader grade --out` wrote.")
    if page.suffix == ".csv":
        raise HouseError(f"{page} would be the table beside the page: let --output name the page, as report.html.")
    if (place / "results.jsonl").is_file():
        marks = read_batch(house, place)
    else:
        from grader.classroom.gradebook import read_course

        marks = read_course(house, place)
    write_file(page, as_page(house, marks))
    write_file(page.with_suffix(".csv"), as_csv(marks.graded))
    return len({one.student for one in marks.graded})
