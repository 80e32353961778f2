"""Tables for the terminal: coverage, exercises, history. 80 columns, and no meaning in colour alone."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from grader.bank.catalog import Exercise, House
from grader.bank.coverage import CoverageTable, ItemRow
from grader.base.text import plain
from grader.records.progress import Kept
from grader.verdicts.result import Result
from grader.verdicts.verdict import Verdict

WIDTH = 80
_LONGEST_PROBLEM = 100
_SECTIONS = {
    "critical": "Critical gaps",
    "medium": "Medium gaps",
    "new": "New in 2025-26",
    "practical": "Practical gaps",
    "underspecified": "Underspecified",
    "covered": "Covered before this collection",
}


def print_coverage(house: House, table: CoverageTable) -> None:
    """The coverage table, a block a section, then what it adds up to per role."""
    console = _console()
    for section, title in _SECTIONS.items():
        grid = _table("#:3", f"{title}:33", "P:1", "Level:6", "Exercise:11", ">Topics:7", ">Points:7")
        for row in (row for row in table.items if row.section == section):
            grid.add_row(*_coverage_cells(house, row))
        console.print(grid)
        console.print()
    console.print("[dim]Topics: earned / covered by a part here / all of the item. P: priority.[/dim]")
    for role in table.roles:
        console.print(f"{role.title:<14} earned {role.earned:>4.0%}   the collection covers {role.collection:>4.0%}")
    console.print(
        f"{'Overall':<14} {table.points_earned} of {table.points} points, {table.exercises_earned} of {table.exercises}"
        f" exercises ({table.exercises_planned} planned), {table.topics_earned} of {table.topics} topics\n"
    )


def print_topics(table: CoverageTable) -> None:
    """Each topic of each item, with the part that covers it."""
    console = _console()
    for row in table.items:
        grid = _table(f"{row.number}. {row.title}:44", "Covered by:25", "You:6")
        for topic in row.topics:
            by = "\n".join(part.split(".", 1)[1] for part in topic.parts) or _uncovered(row)
            grid.add_row(topic.title, by, "earned" if topic.earned else "")
        console.print(grid)
        console.print()


def _coverage_cells(house: House, row: ItemRow) -> list[str]:
    priority = str(row.priority) if row.priority else ""
    points = f"{row.points_earned}/{row.points}" if row.points else ""
    topics = f"{row.earned}/{row.covered}/{len(row.topics)}"
    here = [id.split("_", 2)[1].lstrip("0") for id in row.exercises if id in house.exercises]
    coming = [id.split("_", 2)[1].lstrip("0") for id in row.exercises if id not in house.exercises]
    said = [", ".join(here)] if here else []
    said += [f"{', '.join(coming)} coming"] if coming else []
    if not said:
        said = [_uncovered(row)]
    return [row.number, row.title, priority, row.difficulty or "", "; ".join(said), topics, points]


def _uncovered(row: ItemRow) -> str:
    if row.status == "elsewhere":
        return "elsewhere"
    return "coming" if row.status == "coming" else "gap"


def print_exercises(house: House, earned: Mapping[str, set[str]]) -> None:
    """The exercises, those still to come among them."""
    grid = _table("#:2", "Exercise:36", "P:1", "Level:6", ">Minutes:7", ">Parts:5", ">Points:7")
    tasks = {task.id: task for task in house.coverage.task}
    for id in sorted(tasks.keys() | house.exercises.keys()):
        task, exercise = tasks.get(id), house.exercises.get(id)
        priority, level = (str(task.priority), task.difficulty) if task else ("", "")
        number = id.split("_")[1].lstrip("0")
        if exercise is None:
            grid.add_row(number, Text(id, style="dim"), priority, level, "coming")
            continue
        mine = earned.get(id, set())
        points = sum(part.points for part in exercise.parts if part.name in mine)
        parts = sum(part.name in mine for part in exercise.parts)
        title = Text.assemble((id, "bold"), "\n", (exercise.summary, "dim"))
        done, worth = f"{parts}/{len(exercise.parts)}", f"{points}/{exercise.points}"
        grid.add_row(number, title, priority, level, str(exercise.minutes), done, worth)
    _console().print(grid)


def print_history(exercise: Exercise, kept: Sequence[Kept]) -> None:
    """One line an attempt, oldest first; a row of equal attempts is one line."""
    grid = _table(">N", "When", "By", ">Points", "Parts earned")
    last = None
    for one in kept:
        what = (one.door, one.score, one.source, one.earned)
        if what == last:
            continue
        last = what
        when = datetime.fromisoformat(one.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        points = f"{one.score}/{one.max_score}" if one.max_score else "kept"
        grid.add_row(str(one.number), when, one.door, points, ", ".join(one.earned))
    _console().print(grid)


def print_class(results: Sequence[Result]) -> None:
    """One line a result: who, what, how much, and the parts that are not earned. Names are strangers' text."""
    grid = _table("Student:16", "Exercise:24", ">Points:7", "Not earned:25")
    for result in results:
        missing = [plain(f"{part.name}: {part.verdict}") for part in result.parts if part.verdict != Verdict.PASSED]
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        if result.problem:
            missing, more = [plain(" ".join(result.problem.split()))[:_LONGEST_PROBLEM]], ""
        points = f"{result.score}/{result.max_score}"
        student, exercise = Text(plain(result.student)), Text(plain(result.exercise))
        grid.add_row(student, exercise, points, Text("\n".join(missing[:2]) + more))
    _console().print(grid)


def _table(*columns: str) -> Table:
    """A table with these headings: one that begins with `>` is set right, `:9` fixes its width."""
    grid = Table(box=SIMPLE_HEAD if _unicode() else ASCII, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        name, _, width = column.lstrip(">").rpartition(":")
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        grid.add_column(Text(name or width), justify=justify, width=int(width) if name else None)
    return grid


def _console() -> Console:
    """As wide as the terminal; 80 columns where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def _unicode() -> bool:
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") in ("utf8", "utf16")
