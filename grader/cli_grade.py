"""The command `grader grade`: a class of submissions, judged in the engine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grader.catalog import House, HouseError, find_house
from grader.export import as_summary, grader_failed, plain, write_file
from grader.fair import processors
from grader.result import Result
from grader.submitted import new_seed

if TYPE_CHECKING:
    from grader.engine.batch import Found, Results, Submission
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
    from grader.engine import batch, cage

    house = find_house()
    chosen = [house.find(id).id for id in only]
    house.need_whole()
    found = batch.find_submissions(house, submitted, chosen)
    _tell_of_folders(found, submitted)
    results = batch.Results(out)
    with results.alone():
        return _grade_alone(house, found, results, chosen, jobs, seed, cage.Level(require))


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
    there = {(one.student, one.exercise) for one in found.submissions}
    for old in results.latest():
        if (old.student, old.exercise) not in there and (not chosen or old.exercise in chosen):
            _warn(f"{old.student}/{old.exercise} is not there any more. Its result stands, and counts.")
    waiting = [one for one in found.submissions if not results.holds(one, house.exercises[one.exercise], level, seed)]
    count = len(found.submissions)
    click.echo(f"{count} submission{'s' * (count != 1)}, {count - len(waiting)} of them graded already.")
    drawn = new_seed() if seed is None else seed
    if waiting and not _judge(house, waiting, results, level, jobs or len(processors()), drawn):
        return 1
    whole = _sum_up([result for result in results.latest() if not chosen or result.exercise in chosen], results.path)
    return 1 if not whole else 2 if found.refused else 0


def _tell_of_folders(found: Found, submitted: Path) -> None:
    """What is left out, and what a teacher should know of the rest. Raises HouseError where nothing is left."""
    notes = [f"{one.student}/{one.exercise}: {one.note}." for one in found.submissions if one.note]
    for sentence in [*(f"{sentence} It is left out." for sentence in found.refused), *notes]:
        _warn(sentence)
    if not found.submissions:
        inside = submitted / "submitted"
        meant = f" Did you mean {inside}?" if inside.is_dir() else ""
        raise HouseError(f"{submitted} holds no submission: submitted/<student>/<exercise id>/<file>.{meant}")


def _judge(house: House, waiting: list[Submission], results: Results, level: Level, jobs: int, seed: int) -> bool:
    """Judge what waits, keeping each result as it comes. False where the checks could not run."""
    from grader.engine import batch, cage
    from grader.run import RunError

    ids = list(dict.fromkeys(one.exercise for one in waiting))
    with batch.Engine([house.exercises[id] for id in ids], level) as engine:
        click.echo(f"Isolation: {engine.level}.")
        if engine.level is not cage.Level.FULL:
            click.secho("That is weaker than full: see SECURITY.md before you trust it.", fg="yellow", err=True)
        progress = _Progress(len(waiting))

        def keep(result: Result) -> None:
            results.add(result)
            progress.advance(result)

        try:
            for id in ids:
                engine.judge(
                    house,
                    house.exercises[id],
                    [one for one in waiting if one.exercise == id],
                    seed_of=lambda one: batch.submission_seed(seed, one),
                    jobs=jobs,
                    keep=keep,
                )
        except RunError as error:
            click.secho(f"grader: the checks could not run; what went wrong:\n{error}", err=True)
            return False
        finally:
            progress.end()
    return True


def _sum_up(latest: list[Result], path: Path) -> bool:
    """Write the table of all that counts, and show it. Whether the grader itself failed on none."""
    from grader.tables import print_class

    summary = path.parent / "summary.csv"
    write_file(summary, as_summary(latest))
    print_class(latest)
    click.echo(f"Details: {path}   Table: {summary}")
    failed = [result for result in latest if grader_failed(result)]
    for result in failed:
        click.secho(
            f"grader: the grader failed on {plain(f'{result.student}/{result.exercise}')}: grade it again.", err=True
        )
    return not failed


def _warn(sentence: str) -> None:
    click.secho(f"grader: {plain(sentence)}", fg="yellow", err=True)


class _Progress:
    """One line on stderr: how many are done, and how long the rest will take; nothing where stderr is no terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._shown = sys.stderr.isatty()

    def advance(self, result: Result) -> None:
        self._done += 1
        if self._shown:
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
            filled = 24 * self._done // self._total
            bar = "#" * filled + "-" * (24 - filled)
            whose = plain(result.student)[:24]
            sys.stderr.write(f"\r\x1b[K[{bar}] {self._done} of {self._total}, {left:.0f} s left   {whose}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
