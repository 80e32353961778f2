"""The command `grader export`: results as files for other systems."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from grader.bank.catalog import find_bank
from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.text import nearest, plain
from grader.records.results import results_of
from grader.verdicts.result import Result
from grader.views.export import as_canvas, as_csv, as_gradescope, as_junit, file_name
from grader.views.words import counted

_BUILD = "gradescope-autograder"
_WHOLE: dict[str, Callable[[Sequence[Result]], str]] = {"junit": as_junit, "csv": as_csv, "canvas": as_canvas}


@click.command()
@click.argument(
    "form",
    metavar="junit|csv|gradescope|canvas|gradescope-autograder",
    type=click.Choice([*_WHOLE, "gradescope", _BUILD]),
)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="The file to write.")
@click.option("--student", default=None, help="Results of this student only.")
@click.option("--exercise", default=None, metavar="ID", help="Results of this exercise only.")
@click.option("--quiz", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="COURSE/source/QUIZ",
              help="With gradescope-autograder: the quiz that it grades, in place of an exercise.")  # fmt: skip
def export(
    form: str, folder: Path, output: Path | None, student: str | None, exercise: str | None, quiz: Path | None
) -> None:
    """Write the results of `grader grade`, which lie in FOLDER, for another system.

    junit: JUnit XML. csv: a row for each part. canvas: a gradebook to import under Grades. gradescope: results.json of
    the one submission that --student and --exercise name; with a folder as -o, of every submission.
    gradescope-autograder: needs no results; it builds, in FOLDER, what Gradescope runs to grade the --exercise itself,
    or the --quiz.
    Exit codes: 0 written; 2 no results there, or a name that is in none.
    """
    if form == _BUILD:
        _build(folder, exercise, quiz)
        return
    if quiz:
        raise HouseError("--quiz goes with gradescope-autograder alone.")
    if output is None:
        raise HouseError("Name the file to write: --output FILE.")
    results = results_of(folder)
    results = _only(results, "student", student)
    results = _only(results, "exercise", _meant(exercise))
    for result in (one for one in results if one.grader_failed):
        named = plain(f"{result.student}/{result.exercise}")
        click.secho(f"grader: the grader failed on {named}: grade it again.", fg="yellow", err=True)
    if form != "gradescope":
        if output.is_dir():
            raise HouseError(f"{plain(str(output))} is a folder: name a file.")
        write_file(output, _WHOLE[form](results))
        click.echo(f"{counted(len(results), 'result')} in {plain(str(output))}")
        return
    if len(results) == 1 and not output.is_dir():
        write_file(output, as_gradescope(results[0]))
        click.echo(f"1 result in {plain(str(output))}")
        return
    if output.exists() and not output.is_dir():
        raise HouseError(
            f"{len(results)} results do not go into one file: give a folder, or choose with --student and --exercise."
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HouseError(f"{plain(str(output))} cannot be made: {error.strerror}.") from None
    for result in results:
        write_file(output / file_name(result), as_gradescope(result))
    click.echo(f"{counted(len(results), 'file')} in {plain(str(output))}")


def _build(folder: Path, id: str | None, quiz: Path | None) -> None:
    """Write a Gradescope autograder."""
    from grader.classroom.gradescope import write_autograder
    from grader.classroom.gradescope_quiz import write_quiz_autograder

    if (id is None) == (quiz is None):
        raise HouseError(
            "Name the exercise that it is to grade: --exercise ID. Or the quiz: --quiz COURSE/source/QUIZ."
        )
    house = find_bank()
    house.need_whole()
    if quiz:
        name, holds = write_quiz_autograder(folder, house, quiz), "the secret of your course"
    else:
        exercise = house.find(id or "")
        write_autograder(folder, house, exercise)
        name, holds = exercise.id, "the hidden checks"
    click.echo(f"{plain(str(folder))} grades {name} on Gradescope. It holds {holds}: keep it to yourself.")
    click.echo(f"Next: cd {plain(str(folder))} && zip -qr ../{name}.zip .   and upload that as the autograder.")


def _meant(typed: str | None) -> str | None:
    """The id of the exercise that someone means by `11`; what they typed where there is none in this repository."""
    with contextlib.suppress(HouseError):
        return find_bank().find(typed).id if typed else None
    return typed


def _only(results: list[Result], field: str, wanted: str | None) -> list[Result]:
    """The results with this student or exercise. Raises HouseError with the nearest known one."""
    if wanted is None:
        return results
    known = {getattr(result, field): None for result in results}
    if wanted not in known:
        raise HouseError(plain(f"no result of the {field} '{wanted}'.{nearest(wanted, known)}"))
    return [result for result in results if getattr(result, field) == wanted]
