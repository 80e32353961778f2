"""What a class knows, for its teacher: students by topic, and where each part fails. One page, and a CSV beside it.

Scores come from nbgrader's gradebook through its API, manual ones included; verdicts and messages from the notebooks
that it autograded.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import Exercise, House
from grader.bank.layout import PART, SETUP, exercise_named
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import defused, plain
from grader.classroom.notebook import Shown, read_shown
from grader.submissions.notebook import NotebookError, cells_of_notebook, grade_id_of

_MOST_MISTAKES = 3


class Graded(msgspec.Struct, frozen=True):
    """One student's part."""

    student: str
    exercise: str
    part: str
    earned: float
    points: float
    verdict: str
    """As the student read it; empty where no message of ours is left in the notebook."""
    mistake: str
    """The known mistake that it was, or the property that does not hold; empty for a part that is earned."""
    problem: str = ""
    """Why the whole notebook could not be read."""
    source: str = ""
    """The hash of what was judged; empty for a stub."""

    @property
    def passed(self) -> bool:
        return self.points > 0 and self.earned >= self.points


class PartRow(msgspec.Struct, frozen=True):
    """A part over the class."""

    exercise: str
    part: str
    students: int
    passed: int
    verdicts: list[tuple[str, int]]
    mistakes: list[tuple[str, int]]


class TopicTable(msgspec.Struct, frozen=True):
    """The topics of one item of the coverage table, students by topic."""

    title: str
    topics: list[str]
    rows: list[tuple[str, list[str]]]
    """A student, and for each topic `yes`, `no`, or nothing where no part of it was handed in."""


def read_course(house: House, course: Path) -> list[Graded]:
    """Every part that the gradebook of a course has a score for. Raises HouseError."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import DatabaseError

    database = course / "gradebook.db"
    if not database.is_file():
        raise HouseError(f"{course} has no gradebook.db: run nbgrader autograde there first.")
    found: list[Graded] = []
    try:
        with Gradebook(f"sqlite:///{database.resolve()}") as book:
            for assignment in book.assignments:
                exercise = _exercise(house, assignment)
                if exercise:
                    for submission in assignment.submissions:
                        found += _read_submission(course, exercise, submission)
    except DatabaseError as error:
        raise HouseError(f"{database} cannot be read: {error.__cause__ or error}.") from None
    return sorted(found, key=lambda one: (one.exercise, one.student))


def _exercise(house: House, assignment: object) -> Exercise | None:
    """The exercise that an assignment is of, whatever it is called, as the setup cell of its notebook says."""
    cells = [cell for notebook in assignment.notebooks for cell in notebook.source_cells]  # type: ignore[attr-defined]
    named = (exercise_named(cell.source) for cell in cells if cell.name == SETUP)
    return next((house.exercises[id] for id in named if id in house.exercises), None)


def _read_submission(course: Path, exercise: Exercise, submission: object) -> list[Graded]:
    found = []
    student = submission.student.id  # type: ignore[attr-defined]  # nbgrader ships no types
    for notebook in submission.notebooks:  # type: ignore[attr-defined]
        assignment = submission.assignment.name  # type: ignore[attr-defined]
        said = _said(course / "autograded" / student / assignment / f"{notebook.name}.ipynb")
        for grade in notebook.grades:
            name = grade.cell.name.removeprefix(PART)
            if grade.cell.name == name or all(part.name != name for part in exercise.parts):
                continue
            score = grade.manual_score if grade.manual_score is not None else grade.auto_score or 0.0
            told = said.get(name, Shown())
            one = Graded(
                student,
                exercise.id,
                name,
                score + (grade.extra_credit or 0.0),
                grade.max_score,
                told.verdict,
                told.mistake,
                told.problem,
                told.source,
            )
            found.append(one)
    return found


def _said(path: Path) -> dict[str, Shown]:
    """Part to what its cell shows."""
    try:
        cells = cells_of_notebook(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotebookError):
        return {}
    return {grade_id_of(cell).removeprefix(PART): read_shown(cell) for cell in cells if grade_id_of(cell)}


def needs_eyes(house: House, course: Path, graded: Sequence[Graded]) -> list[str]:
    """What a person should look at: sentences about what could not be read, was not graded, or is the same twice."""
    unread = {(one.student, one.exercise): one.problem for one in graded if one.problem}
    out = [f"{student}, {id}: {problem}" for (student, id), problem in unread.items()]
    same: dict[tuple[str, str], list[str]] = {}
    for one in graded:
        if one.source and one.student not in same.setdefault((one.exercise, one.source), []):
            same[one.exercise, one.source].append(one.student)
    out += [f"{id}: {' and '.join(students)} handed in the same, letter for letter."
            for (id, _), students in same.items() if len(students) > 1]  # fmt: skip
    return out + _not_graded(course)


def _not_graded(course: Path) -> list[str]:
    """What was handed in under another name, or was not graded, as the folders of the course show."""
    out = []
    for folder in sorted(course.glob("submitted/*/*")):
        student, assignment = folder.parent.name, folder.name
        graded = {path.name for path in (course / "autograded" / student / assignment).glob("*.ipynb")}
        handed = {path.name for path in folder.glob("*.ipynb")}
        known = {path.name for path in (course / "source" / assignment).glob("*.ipynb")}
        if not folder.is_dir() or not known:
            continue
        if not graded:
            out.append(f"{student}, {assignment}: handed in, but not graded. The log of nbgrader autograde says why.")
        elif not graded & handed:
            out.append(f"{student}, {assignment}: {' and '.join(sorted(handed))} counts as {' and '.join(graded)}.")
    return out


def part_rows(house: House, graded: Sequence[Graded]) -> list[PartRow]:
    """Each part that somebody handed in: how many passed, and what the others did."""
    rows = []
    for exercise in house.exercises.values():
        for part in exercise.parts:
            ours = [one for one in graded if (one.exercise, one.part) == (exercise.id, part.name)]
            if ours:
                verdicts = Counter(one.verdict or "no verdict" for one in ours if not one.passed)
                mistakes = Counter(one.mistake for one in ours if not one.passed and one.mistake)
                rows.append(
                    PartRow(
                        exercise.id,
                        part.name,
                        len(ours),
                        sum(one.passed for one in ours),
                        verdicts.most_common(),
                        mistakes.most_common(_MOST_MISTAKES),
                    )
                )
    return rows


def topic_tables(house: House, graded: Sequence[Graded]) -> list[TopicTable]:
    """Students by topic, for each item of the coverage table of which something was handed in."""
    students = sorted({one.student for one in graded})
    covering: dict[str, list[tuple[str, str]]] = {}
    for exercise in house.exercises.values():
        for part in exercise.parts:
            for id in part.topics:
                covering.setdefault(id, []).append((exercise.id, part.name))
    passed = {(one.student, one.exercise, one.part): one.passed for one in graded}
    handed = {(one.exercise, one.part) for one in graded}
    tables = []
    for item in house.coverage.item:
        topics = [topic for topic in item.topic if any(place in handed for place in covering.get(topic.id, ()))]
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


def as_page(house: House, course: str, graded: Sequence[Graded], eyes: Sequence[str] = ()) -> str:
    """One HTML page that needs nothing else. What students wrote stands in it as text only."""
    from jinja2 import Environment

    def said(value: object) -> str:
        return plain(str(value))

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=said)
    students = sorted({one.student for one in graded})
    worth, earned = defaultdict[tuple[str, str], float](float), defaultdict[tuple[str, str], float](float)
    for one in graded:
        worth[one.student, one.exercise] += one.points
        earned[one.student, one.exercise] += one.earned
    points = {who: {id: earned[who, id] for id in house.exercises if worth[who, id]} for who in students}
    whole = {id: max((worth[student, id] for student in students), default=0.0) for id in house.exercises}
    return environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).render(
        course=course,
        students=students,
        exercises=[one for one in house.exercises.values() if whole[one.id]],
        points=points,
        whole=whole,
        parts=part_rows(house, graded),
        topics=topic_tables(house, graded),
        eyes=eyes,
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


def write_report(house: House, course: Path, page: Path) -> int:
    """Write the page, and the CSV beside it; returns the number of students. Raises HouseError."""
    graded = read_course(house, course)
    if not graded:
        raise HouseError(f"{course} has no graded submission of these exercises: run nbgrader autograde there first.")
    write_file(page, as_page(house, course.resolve().name, graded, needs_eyes(house, course, graded)))
    write_file(page.with_suffix(".csv"), as_csv(graded))
    return len({one.student for one in graded})
