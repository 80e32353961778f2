"""The commands of an author: `grader dev new`, `grader dev build`, `grader dev audit`."""

import sys
from collections.abc import Callable
from typing import Any

import click

from grader.bank.catalog import find_house
from grader.base.errors import EngineError, RunError
from grader.cli.talk import Commands, stop
from grader.learner.desk import keep_attempt


@click.group(cls=Commands)
def dev() -> None:
    """For those who write exercises."""


@dev.command()
@click.argument("id")
def new(id: str) -> None:
    """Write the files of a new exercise, with TODOs. ID is like dl_020_beam_search."""
    from grader.bank.scaffold import scaffold

    house = find_house()
    house.need_own_exercises()
    for path in scaffold(house, id):
        click.echo(f"wrote {path.relative_to(house.root)}")
    click.echo(f"\nNext: write solutions/{id}, then grader dev build, then grader dev audit {id}")


@dev.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 1 if a file is not current.")
def build(only_check: bool) -> None:
    """Write the stubs, the figures, the generated parts of the READMEs, and what the page knows of its server."""
    from grader.bank.derived import build as build_all
    from grader.serve.typescript import built as build_wire
    from grader.views.figures import with_figures

    house = find_house()
    house.need_own_exercises()
    try:
        built = [*with_figures(house, build_all(house)), *build_wire(house)]
    except EngineError as error:
        stop(f"the figures could not be made:\n{error}", 3)
    stale = [file for file in built if not file.current]
    attempts = {exercise.attempt: exercise for exercise in house.exercises.values()}
    for file in stale:
        shown = file.path.relative_to(house.root)
        if only_check:
            why = "is no longer the stub" if file.path in attempts else "is not current"
            click.echo(f"{shown} {why}: run `grader dev build`.")
            continue
        if file.path in attempts and file.path.exists():
            keep_attempt(house, attempts[file.path], "build")
        file.path.write_text(file.text, encoding="utf-8")
        click.echo(f"wrote {shown}")
    homeless = [exercise.id for exercise in house.exercises.values() if house.task(exercise) is None]
    for id in homeless:
        click.echo(f"exercises/coverage.toml has no [[task]] for {id}: add one.")
    if not stale and not homeless:
        click.echo("All is current.")
    sys.exit(1 if only_check and (stale or homeless) else 0)


@dev.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--seeds", default=3, show_default=True, help="How many seeds the solution must pass with.")
@click.option("--mutants", default="all", show_default=True, help="Generated mutants to try: all, none, or how many.")
@click.option(
    "--wrong",
    type=click.IntRange(min=1),
    help="Wrong answers of mutants.toml to try; by default all. In a sample right ones are tried on their own parts.",
)
@click.option("--jobs", type=int, default=None, help="Processes at a time; by default as many as there are cores.")
@click.option("--drills", is_flag=True, help="Only the drills, with all their seeds.")
def audit(ids: tuple[str, ...], seeds: int, mutants: str, wrong: int | None, jobs: int | None, drills: bool) -> None:
    """Prove that exercises are healthy: stub, solution, wrong and right answers, generated mutants, facts, drills."""
    if drills:
        sys.exit(0 if _drills_are_healthy(ids) else 1)
    from grader.audit.beside import audits  # brings torch

    if mutants not in ("all", "none") and not mutants.isdecimal():
        stop(f"--mutants takes all, none or a number, not '{mutants}'.", 2)
    limit = None if mutants == "all" else 0 if mutants == "none" else int(mutants)
    house = find_house()
    house.need_own_exercises()
    exercises = house.chosen(ids)
    try:
        reports = list(audits(house, exercises, seeds=seeds, mutants=limit, wrong=wrong, jobs=jobs, say=click.echo))
    except RunError as error:
        stop(str(error), 3)
    if len(reports) > 1 and limit != 0:
        killed, tried = sum(one.killed for one in reports), sum(one.generated - one.equivalent for one in reports)
        click.echo(f"in all: {killed} of {tried} generated mutants killed ({killed / max(tried, 1):.1%})")
    sys.exit(0 if all(one.healthy for one in reports) else 1)


def _drills_are_healthy(ids: tuple[str, ...]) -> bool:
    """Audit the drills of these exercises, or of all, and say what is found."""
    from grader.audit.drills import SEEDS, look
    from grader.audit.unasked import unasked
    from grader.drills.load import questions_of

    house = find_house()
    questions = [one for exercise in house.chosen(ids) for one in questions_of(exercise)]
    found, summary = look(house, questions, SEEDS)
    for finding in found:
        click.echo(finding)
    for line in [] if ids else unasked(house, questions):
        click.echo(f"· {line}")
    click.echo(f"{'✗' if found else '✓'} {summary}")
    return not found


def _moved(command: click.Command) -> click.Command:
    """The old word for a command: it does the same, and says the new one."""
    run: Callable[..., Any] = command.callback or (lambda: None)

    def old(**given: Any) -> None:
        click.secho(f"grader: `grader {command.name}` is now `grader dev {command.name}`.", fg="yellow", err=True)
        run(**given)

    return click.Command(command.name, params=command.params, callback=old, help=command.help, hidden=True)


moved = [_moved(command) for command in (new, build, audit)]
"""The names of version 0.1, for one release more."""
