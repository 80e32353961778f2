"""The command `grader grade`: a class of submissions, judged in the engine."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.bank.catalog import House, find_house
from grader.base.bar import Bar
from grader.base.errors import HouseError, RunError
from grader.base.fair import processors
from grader.base.files import write_file
from grader.base.seeds import new_seed
from grader.base.text import plain
from grader.cli.talk import say, warn
from grader.records.results import Results
from grader.submissions.find import Found, Submission, find_submissions
from grader.verdicts.result import Result
from grader.views.export import as_summary

if TYPE_CHECKING:
    from grader.engine.cage import Level

LEVELS = ("process", "landlock", "full")


@click.command()
@click.argument("submitted", type=click.Path(path_type=Path))
@click.option("--out", "out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--only", multiple=True, metavar="ID", help="Grade this exercise only; may be given again.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    help="Submissions at a time; by default one a core.",
)
@click.option("--seed", type=int, default=None, help="Seed of all random inputs; by default one that nobody knows.")
@click.option("--require", type=click.Choice(LEVELS), default="process", help="Refuse to grade in weaker isolation.")
def grade(submitted: Path, out: Path, only: tuple[str, ...], jobs: int | None, seed: int | None, require: str) -> None:
    """Grade SUBMITTED/<student>/<exercise id>/<file>, each in a cage.

    A file is the exercise's <name>.py, <exercise id>.ipynb or <name>.ipynb; the first of these that is there counts.

    Results are appended to OUT/results.jsonl as they come. Run it again to go on after an interruption, or to grade
    what has changed since. Exit codes: 0 all is graded; 1 the grader failed on a submission; 2 a folder or an option
    names nothing; 130 interrupted.
    """
    try:
        sys.exit(_grade(submitted, out, only, jobs, seed, require))
    except KeyboardInterrupt:
        click.echo("Interrupted. What was graded is kept: run the same command to go on.", err=True)
        sys.exit(130)


def _grade(submitted: Path, out: Path, only: tuple[str, ...], jobs: int | None, seed: int | None, require: str) -> int:
    """The exit code."""
    from grader.engine.cage import Level

    house = find_house()
    chosen = [house.find(id).id for id in only]
    house.need_whole()
    found = find_submissions(house, submitted, chosen)
    _need_some(found, submitted)
    results = Results(out)
    with results.alone():
        return _grade_alone(house, found, results, chosen, jobs, seed, Level(require))


def _grade_alone(
    house: House,
    found: Found,
    results: Results,
    chosen: list[str],
    jobs: int | None,
    seed: int | None,
    level: Level,
) -> int:
    """The exit code, where no other run writes to these results."""
    from grader.engine.resume import holds

    waiting = [
        one
        for one in found.submissions
        if not holds(results.of(one.student, one.exercise), one, house.exercises[one.exercise], level, seed)
    ]
    total = len(found.submissions)
    click.echo(f"{total} submission{'s' * (total != 1)}, {total - len(waiting)} of them graded already.")
    drawn = new_seed() if seed is None else seed
    if waiting and not _judge(house, waiting, results, level, jobs or len(processors()), drawn):
        return 1
    latest = [result for result in results.latest() if not chosen or result.exercise in chosen]
    _sum_up(latest, results.path)
    _tell_what_needs_eyes(found, latest)
    return 1 if any(result.grader_failed for result in latest) else 2 if found.refused else 0


def _need_some(found: Found, submitted: Path) -> None:
    """Raises HouseError where there is nothing to grade."""
    if not found.submissions:
        for sentence in found.refused:
            warn(f"{sentence} It is left out.")
        inside = submitted / "submitted"
        meant = f" Did you mean {inside}?" if inside.is_dir() else ""
        raise HouseError(f"{submitted} holds no submission: submitted/<student>/<exercise id>/<file>.{meant}")


def _judge(house: House, waiting: list[Submission], results: Results, level: Level, jobs: int, seed: int) -> bool:
    """Judge what is not graded yet, and keep each result as it comes. False if the checks could not run."""
    from grader.engine.batch import Engine
    from grader.engine.cage import Level
    from grader.engine.resume import submission_seed

    ids = list(dict.fromkeys(one.exercise for one in waiting))
    with Engine([house.exercises[id] for id in ids], level) as engine:
        click.echo(f"Isolation: {engine.level}.")
        if engine.level is not Level.FULL:
            click.secho("That is weaker than full: see SECURITY.md before you trust it.", fg="yellow", err=True)
        bar, done = Bar("submissions"), count(1)

        def keep(result: Result) -> None:
            results.add(result)
            bar.show(next(done), len(waiting), plain(result.student)[:24])

        try:
            for id in ids:
                engine.judge(
                    house,
                    house.exercises[id],
                    [one for one in waiting if one.exercise == id],
                    seed_of=lambda one: submission_seed(seed, one),
                    jobs=jobs,
                    keep=keep,
                )
        except RunError as error:
            say(f"grader: the checks could not run; what went wrong:\n{error}", err=True)
            return False
        finally:
            bar.end()
    return True


def _sum_up(latest: list[Result], path: Path) -> None:
    """Show the table of all that counts, and write it."""
    from grader.views.tables import print_class

    summary = path.parent / "summary.csv"
    print_class(latest)
    write_file(summary, as_summary(latest))
    click.echo(plain(f"Details: {path}   Table: {summary}"))


def _tell_what_needs_eyes(found: Found, latest: list[Result]) -> None:
    """Say last what a person should look at."""
    from grader.submissions.eyes import needs_eyes

    there = {(one.student, one.exercise) for one in found.submissions}
    gone = [one for one in latest if (one.student, one.exercise) not in there]
    sentences = needs_eyes(found, latest)
    sentences += [f"{one.student}/{one.exercise} is not there any more. Its result stands, and counts." for one in gone]
    if sentences:
        warn(f"{len(sentences)} need{'s' * (len(sentences) == 1)} your eyes:")
    for sentence in sentences:
        warn(sentence)
