"""The command `grader export`: results as files for other systems."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from grader.catalog import HouseError, nearest
from grader.export import (
    as_canvas,
    as_csv,
    as_gradescope,
    as_junit,
    file_name,
    grader_failed,
    plain,
    results_of,
    write_file,
)
from grader.result import Result

_WHOLE: dict[str, Callable[[Sequence[Result]], str]] = {"junit": as_junit, "csv": as_csv, "canvas": as_canvas}


@click.command()
@click.argument("form", metavar="junit|csv|gradescope|canvas", type=click.Choice([*_WHOLE, "gradescope"]))
@click.argument("folder", metavar="RESULTS_FOLDER", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--student", default=None, help="Results of this student only.")
@click.option("--exercise", default=None, metavar="ID", help="Results of this exercise only.")
def export(form: str, folder: Path, output: Path, student: str | None, exercise: str | None) -> None:
    """Write the results of `grader grade` for another system.

    junit: JUnit XML. csv: a row for each part. canvas: a gradebook to import under Grades. gradescope: results.json of
    the one submission that --student and --exercise name; with a folder as -o, of every submission.
    Exit codes: 0 written; 2 no results there, or a name that is in none.
    """
    results = results_of(folder)
    results = _only(results, "student", student)
    results = _only(results, "exercise", exercise)
    for result in filter(grader_failed, results):
        named = plain(f"{result.student}/{result.exercise}")
        click.secho(f"grader: the grader failed on {named}: grade it again.", fg="yellow", err=True)
    if form != "gradescope":
        if output.is_dir():
            raise HouseError(f"{plain(str(output))} is a folder: name a file.")
        write_file(output, _WHOLE[form](results))
        click.echo(f"{len(results)} results in {plain(str(output))}")
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
    click.echo(f"{len(results)} files in {plain(str(output))}")


def _only(results: list[Result], field: str, wanted: str | None) -> list[Result]:
    """The results with this student or exercise. Raises HouseError with the nearest known one."""
    if wanted is None:
        return results
    known = {getattr(result, field): None for result in results}
    if wanted not in known:
        raise HouseError(plain(f"no result of the {field} '{wanted}'.{nearest(wanted, known)}"))
    return [result for result in results if getattr(result, field) == wanted]
