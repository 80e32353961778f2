"""Tables for the terminal: coverage, exercises, history. 60 columns and more, and no meaning in colour alone."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Literal

from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from grader.bank.catalog import Exercise, House, Track, number_of
from grader.bank.coverage import SECTIONS, CoverageTable, ItemRow, TopicRow
from grader.bank.tracks import along, needs
from grader.base.terminal import wants_plain
from grader.base.text import plain
from grader.records.interviews import Interview
from grader.records.progress import Kept
from grader.verdicts.result import Result
from grader.verdicts.verdict import Verdict
from grader.views.columns import WIDTH, terminal_columns
from grader.views.interview import begun, coding_said
from grader.views.words import counted

_LONGEST_PROBLEM = 100
_BETWEEN = 2
"""Columns of the terminal between two of a table."""


def print_coverage(house: House, table: CoverageTable) -> None:
    """The coverage table, a block a section, then what it adds up to per role. It fits 60 columns."""
    console = _console()
    narrow, drills = console.width < WIDTH, any(row.with_drills for row in table.items)
    for section, title in SECTIONS.items():
        wide = (15 if drills else 24) if narrow else 24 if drills else 33
        heads = [f"{title}:{wide}"] if narrow else [f"{title}:{wide}", "P:1", "Level:6"]
        grid = _table(
            "#:3",
            *heads,
            "Exercise:10" if narrow else "Exercise:11",
            ">Topics:7",
            *([">Drills:8"] if drills else []),
            ">Points:7",
        )
        for row in (row for row in table.items if row.section == section):
            number, name, priority, level, exercise, topics, points = _coverage_cells(house, row)
            rest = [exercise, topics, *([_drills_cell(row)] if drills else []), points]
            grid.add_row(number, name, *([] if narrow else [priority, level]), *rest)
        console.print(grid)
        console.print()
    done = _done(house)
    by = "here, by a part or else by drills," if drills else "by a part here"
    console.print(f"Topics: {done} / covered {by} / all of the item.", style="dim")
    console.print("gap: no part covers it yet. elsewhere: in any course.", style="dim")
    if drills:
        console.print(f"Drills: topics drilled / with drills; {_fading()}1: one of them fades.", style="dim")
    for role in table.roles:
        share = role.earned / role.collection if role.collection else 0.0
        console.print(f"{role.title:<13} {done} {share:>4.0%} of what is here ({role.collection:.0%} of all asked)")
    points = f"{table.points_earned} of {table.points}" if house.is_whole else f"{table.points} to be had when graded"
    console.print(f"{'Points':<13} {points}")
    planned = f" ({table.exercises_planned} planned)" if table.exercises_planned > table.exercises else ""
    console.print(f"{'Exercises':<13} {table.exercises_earned} of {table.exercises}{planned}")
    console.print(f"{'Topics':<13} {table.topics_earned} of {table.topics}\n")


def print_parts(house: House, exercise: Exercise, earned: set[str]) -> None:
    """The parts of one exercise, and which are earned; in a student edition of which the examples pass."""
    console = _console()
    narrow = console.width < WIDTH
    grid = _table("You:6", "Part:28", ">Points:6", *([] if narrow else [">Minutes:7"]), "After:14")
    for part in exercise.parts:
        mark, minutes = _done(house) if part.name in earned else "", [] if narrow else [str(part.minutes)]
        grid.add_row(mark, part.name, str(part.points), *minutes, "\n".join(part.after))
    points = sum(part.points for part in exercise.parts if part.name in earned)
    said = f"{points} of {exercise.points} points"
    if not house.is_whole:
        said = f"the examples of {len(earned)} of {len(exercise.parts)} parts pass"
    console.print(f"{exercise.id} · {exercise.title}: {said}", highlight=False)
    console.print(grid)


def print_topics(house: House, table: CoverageTable) -> None:
    """Each topic of each item, the part that covers it and how many drills ask about it. It fits 60 columns."""
    console, drills = _console(), any(row.with_drills for row in table.items)
    title_width, part_width = (27, 14) if console.width < WIDTH else (34, 25)
    for row in table.items:
        head = f"{row.number}. {row.title}:{title_width if drills else title_width + 10}"
        grid = _table(head, f"Covered by:{part_width}", "You:6", *(["Drills:9"] if drills else []))
        for topic in row.topics:
            by = "\n".join(part.split(".", 1)[1] for part in topic.parts) or ("" if topic.drills else _uncovered(row))
            title = Text.assemble(topic.title, "\n", (topic.id, "dim"))  # which `grader drill --topic` takes
            done = _done(house) if topic.earned and topic.parts else ""
            grid.add_row(title, by, done, *([_drilled_cell(topic)] if drills else []))
        console.print(grid)
        console.print()


def _coverage_cells(house: House, row: ItemRow) -> list[str]:
    priority = str(row.priority) if row.priority else ""
    points = _points(house, row.points_earned, row.points) if row.points else ""
    topics = f"{row.earned}/{row.covered}/{len(row.topics)}"
    here = [house.exercises[id].number for id in row.exercises if id in house.exercises]
    coming = [str(number_of(id)) for id in row.exercises if id not in house.exercises]
    said = [", ".join(here)] if here else []
    said += [f"{', '.join(coming)} coming"] if coming else []
    if not said:
        said = [_uncovered(row)]
    return [row.number, row.title, priority, row.difficulty or "", "; ".join(said), topics, points]


def _drills_cell(row: ItemRow) -> str:
    """`2/5`; `2/5 ▫1` where one of the two fades."""
    if not row.with_drills:
        return ""
    return f"{row.drilled}/{row.with_drills}{f' {_fading()}{row.fading}' if row.fading else ''}"


def _drilled_cell(topic: TopicRow) -> str:
    mark = {"drilled": "▪" if _unicode() else "*", "fading": _fading()}.get(topic.drilled)
    return f"{mark} {topic.drilled}" if mark else str(topic.drills or "")


def _fading() -> str:
    return "▫" if _unicode() else "~"


def _done(house: House) -> str:
    """The word for what counts: in a student edition that is a part whose examples pass."""
    return "earned" if house.is_whole else "passed"


def _points(house: House, earned: int, points: int) -> str:
    """`12/100`; in a student edition, which cannot know what is earned, what may be earned."""
    return f"{earned}/{points}" if house.is_whole else str(points)


def _uncovered(row: ItemRow) -> str:
    if row.status == "elsewhere":
        return "elsewhere"
    return "coming" if row.status == "coming" else "gap"


def print_exercises(house: House, earned: Mapping[str, set[str]]) -> None:
    """The exercises, those still to come among them."""
    narrow = _console().width < WIDTH
    rank = [] if narrow else ["P:1", "Level:6"]
    grid = _table("#:2", "Exercise:29" if narrow else "Exercise:36", *rank, ">Minutes:7", ">Parts:5", ">Points:7")
    tasks = {task.id: task for task in house.coverage.task}
    for id in sorted(tasks.keys() | house.exercises.keys()):
        task, exercise = tasks.get(id), house.exercises.get(id)
        facts = [] if narrow else [str(task.priority), task.difficulty] if task else ["", ""]
        number = "" if exercise and exercise.shared else str(number_of(id))  # a shared one is not to be typed
        if exercise is None:
            grid.add_row(number, Text(id, style="dim"), *facts, "coming")
            continue
        mine = earned.get(id, set())
        points = sum(part.points for part in exercise.parts if part.name in mine)
        parts = sum(part.name in mine for part in exercise.parts)
        title = Text.assemble((id, "bold"), "\n", (exercise.summary, "dim"))
        done, worth = f"{parts}/{len(exercise.parts)}", _points(house, points, exercise.points)
        grid.add_row(number, title, *facts, str(exercise.minutes), done, worth)
    _console().print(grid)
    if not house.is_whole:
        _console().print("Student edition: parts whose examples pass, points to be had when graded.", style="dim")


def print_track(house: House, track: Track, earned: Mapping[str, set[str]]) -> None:
    """The exercises of a track in the order of study, what each builds on, and its hours. It fits 60 columns."""
    console, exercises = _console(), along(house, track)
    narrow = console.width < WIDTH
    grid = _table(
        "#:2", "Exercise:29", *([] if narrow else ["Level:6"]), ">Hours:5", f">{_done(house).title()}:7", "After:7"
    )
    for place, exercise in enumerate(exercises, 1):
        task, mine = house.task(exercise), earned.get(exercise.id, set())
        points = sum(part.points for part in exercise.parts if part.name in mine)
        so_far = f"{points}/{exercise.points}" if house.is_whole else f"{len(mine)}/{len(exercise.parts)}"
        before = "\n".join(one.label for one in needs(house, exercise))
        level = [] if narrow else [task.difficulty if task else ""]
        grid.add_row(str(place), exercise.id, *level, f"{exercise.minutes / 60:.1f}", so_far, before)
    minutes = sum(exercise.minutes for exercise in exercises)
    console.print(
        f"{track.title}: {counted(len(exercises), 'exercise')}, about {minutes / 60:.0f} hours", highlight=False
    )
    console.print(grid)
    console.print("An order to study in, not a lock. For one evening: the first part of each.", style="dim")


def print_history(exercise: Exercise, kept: Sequence[Kept]) -> None:
    """One line an attempt, oldest first; a row of equal attempts is one line."""
    grid = _table(">N", "When:19", "By:6", ">Points:7", "Parts earned")
    for _, alike in groupby(kept, key=lambda one: (one.door, one.score, one.max_score, one.source, one.earned)):
        first, *more = alike
        numbers = f"{first.number}-{more[-1].number}" if more else str(first.number)
        when = datetime.fromisoformat(first.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        points = f"{first.score}/{first.max_score}" if first.max_score else "kept"
        grid.add_row(numbers, when, first.door, points, ", ".join(first.earned))
    _console().print(grid)


def print_interviews(kept: Mapping[int, Interview | None]) -> None:
    """One line an interview, oldest first. It fits 60 columns."""
    grid = _table(">N:3", "When:10", "Role:4", ">Min:3", ">Right:5", "Part:19", "Ended:10")
    for number, one in kept.items():
        if one is None:
            grid.add_row(str(number), "kept by a newer grader")
            continue
        day, coding = begun(one).split()[0], one.coding
        part = f"{coding.part}: {coding.verdict or coding_said(coding)}" if coding else ""
        right = f"{one.right}/{len(one.asked)}"
        grid.add_row(str(number), day, one.role, str(one.minutes), right, part, one.ended or "goes on")
    _console().print(grid)


def print_class(results: Sequence[Result]) -> None:
    """One line a result: who, what, how much, and the parts that are not earned. Names are strangers' text."""
    grid = _table("Student:16", "Exercise:24", ">Points:7", "Not earned:25")
    for result in results:
        missing = [plain(f"{part.name}: {part.verdict}") for part in result.parts if part.verdict != Verdict.PASSED]
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        if result.problem:
            missing, more = [plain(textwrap.shorten(result.problem, _LONGEST_PROBLEM, placeholder=" …"))], ""
        points = f"{result.score}/{result.max_score}"
        student, exercise = Text(plain(result.student)), Text(plain(result.exercise))
        grid.add_row(student, exercise, points, Text("\n".join(missing[:2]) + more))
    _console().print(grid)


def _table(*columns: str) -> Table:
    """A table with these headings: one that begins with `>` is set right, `:9` says how wide it is.

    In a terminal that is too narrow for that the widest columns give way. What does not fit is folded, never cut off:
    of a number or a name every character counts.
    """
    grid = Table(box=SIMPLE_HEAD if _unicode() else ASCII, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    named = [column.lstrip(">").rpartition(":") for column in columns]
    widths = _fitted(
        [int(width) for name, _, width in named if name], terminal_columns() - _BETWEEN * (len(columns) - 1)
    )
    fixed = iter(widths)
    for column, (name, _, bare) in zip(columns, named, strict=True):
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        width = next(fixed) if name else None
        grid.add_column(Text(name or bare), justify=justify, width=width, overflow="fold")
    return grid


def _fitted(widths: list[int], room: int) -> list[int]:
    """The widths of columns, the widest of them smaller where there is not room for all."""
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > 1:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _console() -> Console:
    """As wide as the terminal; 80 columns where there is none."""
    # Asked for here, since rich takes a terminal that obeys no commands to be 80 columns wide.
    colours: Literal["auto"] | None = None if wants_plain() else "auto"
    return Console(highlight=False, width=terminal_columns(), height=24, color_system=colours)


def _unicode() -> bool:
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") in ("utf8", "utf16")
