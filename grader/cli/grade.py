"""The commands `grader grade` and `grader merge`: a class of submissions, judged in the engine."""

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
from grader.records.handed_in import keep_submitted, submitted_folders
from grader.records.results import Results
from grader.records.shards import Shard, ShardRun, forget_shard, merge, read_shard
from grader.submissions.eyes import needs_eyes
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
@click.option(
    "--shard",
    metavar="I/N",
    callback=lambda context, option, text: _shard(text),
    help="Grade the Ith of N shares only, with the --seed of all; `grader merge` puts them together.",
)
def grade(
    submitted: Path,
    out: Path,
    only: tuple[str, ...],
    jobs: int | None,
    seed: int | None,
    require: str,
    shard: Shard | None,
) -> None:
    """Grade SUBMITTED/<student>/<exercise id>/<file>, each in a cage.

    A file is the exercise's <name>.py, <exercise id>.ipynb or <name>.ipynb; the first of these that is there counts.

    Results are appended to OUT/results.jsonl as they come. Run it again to go on after an interruption, or to grade
    what has changed since. Exit codes: 0 all is graded; 1 the grader failed on a submission; 2 a folder or an option
    names nothing; 130 interrupted.
    """
    if shard and seed is None:
        raise click.UsageError("--shard needs --seed: one number for all shards of a batch, such as --seed 7.")
    try:
        sys.exit(_grade(submitted, out, only, jobs, seed, require, shard))
    except KeyboardInterrupt:
        click.echo("Interrupted. What was graded is kept: run the same command to go on.", err=True)
        sys.exit(130)


def _shard(text: str | None) -> Shard | None:
    try:
        return read_shard(text) if text is not None else None
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _grade(
    submitted: Path,
    out: Path,
    only: tuple[str, ...],
    jobs: int | None,
    seed: int | None,
    require: str,
    shard: Shard | None,
) -> int:
    """The exit code."""
    from grader.engine.cage import Level

    house = find_house()
    chosen = [house.find(id).id for id in only]
    house.need_whole()
    found = find_submissions(house, submitted, chosen)
    _need_some(found, submitted)
    results = Results(out)
    with results.alone():
        keep_submitted(out, [submitted])
        if not shard or seed is None:
            forget_shard(out)
            return _grade_alone(house, found, results, chosen, jobs, seed, Level(require))
        found.submissions = [one for one in found.submissions if shard.has(one.student, one.exercise)]
        ShardRun(shard, seed, finished=False).write(out)
        code = _grade_alone(house, found, results, chosen, jobs, seed, Level(require))
        if code != 1:
            ShardRun(shard, seed, finished=True).write(out)
        return code


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
    if latest:
        print_class(latest)
    write_file(summary, as_summary(latest))
    click.echo(plain(f"Details: {path}   Table: {summary}"))


def _tell_what_needs_eyes(found: Found, latest: list[Result]) -> None:
    """Say last what a person should look at."""
    there = {(one.student, one.exercise) for one in found.submissions}
    gone = [one for one in latest if (one.student, one.exercise) not in there]
    sentences = needs_eyes(found, latest)
    sentences += [f"{one.student}/{one.exercise} is not there any more. Its result stands, and counts." for one in gone]
    _warn_of(sentences)


def _warn_of(sentences: list[str]) -> None:
    if sentences:
        warn(f"{len(sentences)} need{'s' * (len(sentences) == 1)} your eyes:")
    for sentence in sentences:
        warn(sentence)


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", "out", type=click.Path(path_type=Path), required=True, help="Folder for all results.")
def merge_(folders: tuple[Path, ...], out: Path) -> None:
    """Put together what several runs of `grader grade --shard` wrote to FOLDERS.

    OUT may hold results of before: what is new is added, and counts. Nothing is added, and the reason is said, if a
    shard is missing or not finished, if the runs had different seeds or versions, or if a student handed in two files.
    """
    results = Results(out)
    with results.alone():
        added = merge(folders, results)
        keep_submitted(out, [place for folder in folders for place in submitted_folders(folder)])
    latest = results.latest()
    click.echo(f"{len(latest)} result{'s' * (len(latest) != 1)}, {added} of them new.")
    _sum_up(latest, results.path)
    _warn_of(needs_eyes(Found([], []), latest))
    if any(result.grader_failed for result in latest):
        sys.exit(1)
