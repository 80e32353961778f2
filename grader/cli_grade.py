"""The command `grader grade`: a class of submissions, judged in the engine."""

import os
import sys
import time
from pathlib import Path

import click

from grader.catalog import House, HouseError, find_house
from grader.result import Result

LEVELS = ("process", "landlock", "full")


@click.command()
@click.argument("submitted", type=click.Path(path_type=Path))
@click.option("--out", "out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--only", multiple=True, metavar="ID", help="Grade this exercise only; may be given again.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Submissions at a time; by default one a core.")
@click.option("--seed", type=int, default=None, help="Seed of all random inputs; by default one that nobody knows.")
@click.option("--require", type=click.Choice(LEVELS), default="process", help="Refuse to grade in weaker isolation.")
def grade(submitted: Path, out: Path, only: tuple[str, ...], jobs: int | None, seed: int | None, require: str) -> None:
    """Grade SUBMITTED/<student>/<exercise id>/<file>.py, each in a cage.

    Results are appended to OUT/results.jsonl as they come. Run it again to go on after an interruption, or to grade
    what has changed since. Exit codes: 0 all is graded; 1 the grader failed on a submission; 2 a folder or an option
    names nothing; 130 interrupted.
    """
    from grader.engine import batch, cage
    from grader.run import RunError
    from grader.tables import print_class

    house = find_house()
    chosen = [house.find(id).id for id in only]
    found = batch.find_submissions(house, submitted, chosen)
    for sentence in found.refused:
        click.secho(f"grader: {sentence} It is left out.", fg="yellow", err=True)
    results = batch.Results(out)
    level = cage.Level(require)
    waiting = [one for one in found.submissions if not results.holds(one, house.exercises[one.exercise], level, seed)]
    click.echo(f"{len(found.submissions)} submissions, {len(found.submissions) - len(waiting)} of them graded already.")
    if waiting:
        drawn = batch.new_seed() if seed is None else seed
        with batch.Engine(level) as engine:
            click.echo(f"Isolation: {engine.level}.")
            if engine.level is not cage.Level.FULL:
                click.secho("That is weaker than full: see SECURITY.md before you trust it.", fg="yellow", err=True)
            progress = _Progress(len(waiting))

            def keep(result: Result) -> None:
                results.add(result)
                progress.advance(result)

            try:
                for id in dict.fromkeys(one.exercise for one in waiting):
                    mine = [one for one in waiting if one.exercise == id]
                    engine.judge(
                        house,
                        house.exercises[id],
                        mine,
                        seed_of=lambda one: batch.submission_seed(drawn, one),
                        jobs=jobs or os.cpu_count() or 1,
                        keep=keep,
                    )
            except RunError as error:
                progress.end()
                click.secho(f"grader: the checks could not run; pytest said:\n{error}", err=True)
                sys.exit(1)
            except KeyboardInterrupt:
                progress.end()
                click.echo(
                    f"Interrupted: {progress.done} were graded and kept. Run the same command to go on.", err=True
                )
                sys.exit(130)
            progress.end()
    latest = [result for result in results.latest() if not chosen or result.exercise in chosen]
    _write_summary(house, out, latest)
    print_class(latest)
    click.echo(f"Details: {results.path}   Table: {out / 'summary.csv'}")
    failed = [result for result in latest if any(part.verdict == "grader error" for part in result.parts)]
    for result in failed:
        click.secho(f"grader: the grader failed on {result.student}/{result.exercise}: grade it again.", err=True)
    sys.exit(1 if failed else 2 if found.refused else 0)


class _Progress:
    """One line on stderr: how many are done, and how long the rest will take; nothing where stderr is no terminal."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._began = time.monotonic()
        self._shown = sys.stderr.isatty()

    def advance(self, result: Result) -> None:
        self.done += 1
        if self._shown:
            left = (time.monotonic() - self._began) / self.done * (self.total - self.done)
            filled = 24 * self.done // self.total
            bar = "#" * filled + "-" * (24 - filled)
            sys.stderr.write(f"\r\x1b[K[{bar}] {self.done} of {self.total}, {left:.0f} s left   {result.student[:24]}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")


def _write_summary(house: House, out: Path, results: list[Result]) -> None:
    """One row a student and exercise. Written beside and moved into place, so that a reader never sees half of it."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "exercise", "score", "max_score", "verdicts", "isolation", "seed"])
    for result in results:
        verdicts = "; ".join(f"{part.name}: {part.verdict}" for part in result.parts)
        row = [result.student, result.exercise, result.score, result.max_score, verdicts, result.isolation, result.seed]
        writer.writerow([defused(cell) for cell in row])
    try:
        partial = out / ".summary.csv"
        partial.write_text(text.getvalue(), encoding="utf-8")
        partial.replace(out / "summary.csv")
    except OSError as error:
        raise HouseError(
            f"{out / 'summary.csv'} cannot be written ({error.strerror}). results.jsonl is whole."
        ) from None


def defused(cell: object) -> object:
    """A cell that no spreadsheet runs as a formula, and no terminal as a command."""
    if not isinstance(cell, str):
        return cell
    plain = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in cell)
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@", "|", "%") else plain
