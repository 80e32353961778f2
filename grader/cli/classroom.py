"""The commands of a classroom: `grader course`, `grader notebook`, `grader release`, `grader class report|quiz`."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.bank.catalog import find_bank, find_house
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import plain
from grader.cli.learner import from_here
from grader.cli.talk import Commands
from grader.views.words import counted

if TYPE_CHECKING:
    from grader.classroom.course import Written


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--only", multiple=True, metavar="ID", help="This exercise only; may be given again.")
@click.option("--question-points", type=click.FloatRange(0), default=None,
              help="Points of the free-text question, which a person grades; by default as before, or 0.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Take over what is new also where you made changes; yours are kept.")
def course(folder: Path, only: tuple[str, ...], question_points: float | None, overwrite: bool) -> None:
    """Write an nbgrader course into DIR, or bring it up to date: a configuration, and a notebook an exercise.

    Then use nbgrader as ever: generate_assignment, release, collect, autograde, generate_feedback. Run it again after
    an upgrade of the exercises. What you changed is not overwritten, unless you say so.
    """
    house = find_bank()
    house.need_whole()
    _need("nbgrader", "This writes nbgrader's notebooks")
    from grader.classroom.course import write_course

    chosen = house.chosen(only)
    done = write_course(folder, house.bank, chosen, question_points=question_points, overwrite=overwrite)
    again = _tell_written(folder, done)
    click.echo(f"Next: cd {folder}")
    click.echo(f"      nbgrader generate_assignment {chosen[0].id}{again}")


@click.command()
@click.argument("id")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def notebook(id: str, file: Path | None) -> None:
    """Write an exercise as a notebook to practise in: a cell a part, and `check("...")` below it.

    `check` runs the hidden checks; in a student edition, which has none, the visible examples.

    Without FILE: beside the exercise's own file. A notebook that is there is left as it is.
    """
    house = find_house()
    exercise = house.find(id)
    _need("nbformat", "This writes a notebook")
    from grader.classroom.notebook import as_text, practice_notebook

    place = file or exercise.attempt.with_suffix(".ipynb")
    if place.exists():
        again = f"Open it, or name another file: `grader notebook {exercise.number} FILE`."
        raise HouseError(f"{from_here(place)} is there already, and is left as it is. {again}")
    write_file(place, as_text(practice_notebook(exercise)))
    click.echo(plain(from_here(place)))
    click.echo("Open it in JupyterLab or your editor; run its first cell.")
    if not house.is_whole:
        click.echo("Student edition: check runs the visible examples. Hand in the notebooks of your course.")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--only", multiple=True, metavar="ID", help="This exercise only; may be given again.")
def release(folder: Path, only: tuple[str, ...]) -> None:
    """Write the student edition into DIR: stubs, statements and visible examples, and no check and no solution.

    Students install it with pip, and work in its exercises/ or in the notebooks of `grader course`.
    """
    from grader.classroom.release import write_release

    house = find_bank()
    house.need_whole()
    chosen = house.chosen(only)
    count = write_release(folder, house, chosen)
    click.echo(f"{count} files in {folder}: {len(chosen)} exercises, without hidden checks and solutions.")
    click.echo(f"Students type: pip install {folder.name}/")


@click.group(name="class", cls=Commands)
def class_() -> None:
    """What a class has handed in, seen as a whole."""


@class_.command()
@click.argument("place", metavar="COURSE|RESULTS", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True,
              help="The page to write; a CSV of the same name lies beside it.")  # fmt: skip
def report(place: Path, output: Path) -> None:
    """What a class knows: its points, how they are spread, where each part fails, students by topics of the table.

    COURSE is a course of nbgrader, whose gradebook is read; RESULTS is a folder that `grader grade --out` wrote.
    """
    if not (place / "results.jsonl").is_file():
        _need("nbgrader", "This reads nbgrader's gradebook")
    from grader.classroom.report import write_report

    count = write_report(find_bank(), place, output)
    click.echo(f"{counted(count, 'student')} in {output}, and {output.with_suffix('.csv')}")


@class_.command()
@click.argument("folder", metavar="COURSE", type=click.Path(path_type=Path, file_okay=False))
@click.argument("roster", metavar="ROSTER.CSV", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("drills", metavar="DRILL...", nargs=-1, required=True)
@click.option("--name", default="quiz", show_default=True, help="Of the assignment.")
@click.option("--overwrite", is_flag=True, help="Write it anew, though it asks something else than what is there.")
def quiz(folder: Path, roster: Path, drills: tuple[str, ...], name: str, overwrite: bool) -> None:
    """Write a quiz: drills for points, with numbers of each student's own.

    DRILL is a drill (dl_011.bytes_a_token) or a topic, for all of its drills (kv.memory, or kv for all of kv). The CSV
    has a column `id`, as nbgrader knows students, or `email`, as Gradescope does. All get the same folder,
    COURSE/source/NAME. Run it again, with the same drills, when students join: who was asked before is asked the same.
    """
    house = find_bank()
    house.need_whole()
    _need("nbformat", "This writes a notebook")
    from grader.classroom.quiz import SECRET, chosen_questions
    from grader.classroom.quiz_course import write_quiz
    from grader.classroom.roster import read_roster

    column, students = read_roster(roster)
    ids = chosen_questions(house, drills)
    done, left = write_quiz(folder, house, name, ids, students, overwrite)
    again = _tell_written(folder, done)
    who = f"{counted(len(students), 'student')}, known by the column '{column}'"
    click.echo(f"{counted(len(ids), 'drill')} for {who}.")
    if left:
        click.echo(f"{counted(left, 'student')} of before, not in {roster} now, can still be graded.")
    click.echo(f"{folder / SECRET} gives the numbers: keep it, and hand it to nobody.")
    click.echo(f"With nbgrader:   cd {folder} && nbgrader generate_assignment {name}{again}")
    click.echo(f"With Gradescope: grader export gradescope-autograder DIR --quiz {folder / 'source' / name}")


def _tell_written(folder: Path, done: Sequence["Written"]) -> str:
    """Say what became of each file of a course; what `nbgrader generate_assignment` needs to take what is new."""
    for one in done:
        click.echo(f"  {one.done:<11} {folder / one.path}")
    kept = sum(one.done == "kept" for one in done)
    if kept:
        left = "left as it is" if kept == 1 else "left as they are"
        click.secho(f"{kept} changed by you, and {left}. --overwrite moves yours to {folder}/replaced/.", fg="yellow")
    return " --force" if any(one.done in ("updated", "replaced") for one in done) else ""


def _need(package: str, why: str) -> None:
    """Raises HouseError where a package of the classroom is not installed."""
    if importlib.util.find_spec(package) is None:
        raise HouseError(f"{why}: pip install {package} first.")
