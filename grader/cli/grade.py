"""The commands `grader grade` and `grader merge`: a class of submissions, judged in the engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import click
import msgspec

from grader.bank.catalog import House, find_bank
from grader.base.bar import Bar
from grader.base.errors import EngineError, HouseError, RunError
from grader.base.fair import processors
from grader.base.files import write_file
from grader.base.seeds import new_seed
from grader.base.text import plain
from grader.cli.talk import say, warn
from grader.records.handed_in import keep_submitted, places_of, submitted_folders
from grader.records.results import Results
from grader.records.shards import Shard, ShardRun, forget_shard, merge, need_own_folder, one_batch, read_shard
from grader.submissions.eyes import needs_eyes, unusable
from grader.submissions.find import Found, Submission, find_submissions
from grader.verdicts.result import Result
from grader.views.export import as_summary
from grader.views.words import counted

LEVELS = ("process", "landlock", "full")


class _How(msgspec.Struct, frozen=True):
    """Who judges: this machine, `jobs` at a time (None: one a core), or the workers of a cluster."""

    require: str
    jobs: int | None = None
    cluster: str | None = None
    hidden: tuple[Path, ...] = ()
    """Folders that no cage of this machine may read, wherever they lie."""


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
@click.option(
    "--cluster",
    metavar="ADDRESS|FILE",
    default=None,
    help="Grade on the workers of a Dask scheduler: tls://HOST:PORT, or its scheduler file.",
)
def grade(
    submitted: Path,
    out: Path,
    only: tuple[str, ...],
    jobs: int | None,
    seed: int | None,
    require: str,
    shard: Shard | None,
    cluster: str | None,
) -> None:
    """Grade SUBMITTED/<student>/<exercise id>/<file>, each in a cage.

    A file is the exercise's <name>.py, <exercise id>.ipynb or <name>.ipynb; the first of these that is there counts.

    Results are appended to OUT/results.jsonl as they come. Run it again to go on after an interruption, or to grade
    what has changed since. Exit codes: 0 all is graded; 1 the grader failed on a submission; 2 a folder or an option
    names nothing; 130 interrupted.
    """
    if shard and seed is None:
        raise click.UsageError("--shard needs --seed: one number for all shards of a batch, such as --seed 7.")
    if cluster is not None and jobs:
        raise click.UsageError("--jobs is for this machine: each worker of a cluster judges as many as its --nthreads.")
    if cluster is not None and require == "process":
        require = "landlock"  # below it a submission has the network, and so the scheduler
    try:
        sys.exit(_grade(submitted, out, only, _How(require, jobs, cluster, (submitted, out)), seed, shard))
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
    how: _How,
    seed: int | None,
    shard: Shard | None,
) -> int:
    """The exit code."""
    house = find_bank()
    chosen = [house.find(id).id for id in only]
    house.need_whole()
    found = find_submissions(house, submitted, chosen)
    _need_some(found, submitted)
    results = Results(out)
    with results.alone():
        if shard:
            need_own_folder(shard, out)
        keep_submitted(out, [submitted])
        if not shard or seed is None:
            forget_shard(out)
            return _grade_alone(house, found, results, chosen, how, seed)
        found.submissions = [one for one in found.submissions if shard.has(one.student, one.exercise)]
        ShardRun(shard, seed, finished=False).write(out)
        code = _grade_alone(house, found, results, chosen, how, seed)
        if code != 1:
            ShardRun(shard, seed, finished=True).write(out)
        return code


def _grade_alone(
    house: House,
    found: Found,
    results: Results,
    chosen: list[str],
    how: _How,
    seed: int | None,
) -> int:
    """The exit code, where no other run writes to these results."""
    from grader.engine.cage import Level
    from grader.engine.resume import holds

    level = Level(how.require)
    waiting = [
        one
        for one in found.submissions
        if not holds(results.of(one.student, one.exercise), one, house.exercises[one.exercise], level, seed)
    ]
    total = len(found.submissions)
    click.echo(f"{counted(total, 'submission')}, {total - len(waiting)} of them graded already.")
    _tell_quizzes(found)
    drawn = new_seed() if seed is None else seed
    if waiting and not _judge(house, waiting, results, how, drawn):
        return 1
    latest = [result for result in results.latest() if not chosen or result.exercise in chosen]
    _sum_up(latest, results.path)
    _tell_what_needs_eyes(found, latest, submitted_folders(results.path.parent))
    return 1 if any(result.grader_failed for result in latest) else 2 if found.refused else 0


def _need_some(found: Found, submitted: Path) -> None:
    """Raises HouseError where there is nothing to grade."""
    if not found.submissions:
        _tell_quizzes(found)
        for sentence in found.refused:
            warn(f"{sentence} It is left out.")
        inside = submitted / "submitted"
        meant = f" Did you mean {inside}?" if inside.is_dir() else ""
        raise HouseError(f"{submitted} holds no submission: submitted/<student>/<exercise id>/<file>.{meant}")


def _tell_quizzes(found: Found) -> None:
    for name, students in found.quizzes.items():
        whose = f"of {counted(students, 'student')}"
        click.echo(plain(f"The quiz {name} {whose} is left out: nbgrader or Gradescope grades it."))


def _judge(house: House, waiting: list[Submission], results: Results, how: _How, seed: int) -> bool:
    """Judge what is not graded yet, and keep each result as it comes. False if the checks could not run."""
    from grader.engine.resume import submission_seed

    bar, done = Bar("submissions"), count(1)

    def keep(result: Result) -> None:
        results.add(result)
        bar.show(next(done), len(waiting), plain(result.student)[:24])

    def seed_of(one: Submission) -> int:
        return submission_seed(seed, one)

    try:
        if how.cluster is not None:
            _judge_there(house, waiting, how.require, how.cluster, seed_of, keep)
        else:
            _judge_here(house, waiting, how, seed_of, keep)
    except RunError as error:
        if how.cluster is not None and isinstance(error, EngineError):
            say(f"grader: {error}. What was graded is kept: run the same command to go on.", err=True)
        else:
            say(f"grader: the checks could not run; what went wrong:\n{error}", err=True)
        return False
    finally:
        bar.end()
    return True


def _judge_here(
    house: House,
    waiting: list[Submission],
    how: _How,
    seed_of: Callable[[Submission], int],
    keep: Callable[[Result], None],
) -> None:
    """Judge in the engine of this machine. Raises RunError."""
    from grader.engine.batch import Engine
    from grader.engine.cage import Level

    ids, jobs = list(dict.fromkeys(one.exercise for one in waiting)), how.jobs or len(processors())
    with Engine([house.exercises[id] for id in ids], Level(how.require), how.hidden) as engine:
        _tell_level(str(engine.level))
        for id in ids:
            own = [one for one in waiting if one.exercise == id]
            engine.judge(house, house.exercises[id], own, seed_of=seed_of, jobs=jobs, keep=keep)


def _judge_there(
    house: House,
    waiting: list[Submission],
    require: str,
    cluster: str,
    seed_of: Callable[[Submission], int],
    keep: Callable[[Result], None],
) -> None:
    """Judge on the workers of a cluster. Raises EngineError where it goes away."""
    try:
        from grader.cluster.client import connected
    except ImportError:
        raise HouseError("--cluster needs Dask: pip install -c constraints.txt -e '.[cluster]'") from None
    from grader.cluster.grading import judge_on, wanted_of
    from grader.engine.cage import Level

    levels: set[str] = set()

    def heard(result: Result) -> None:
        if result.isolation and result.isolation not in levels:
            levels.add(result.isolation)
            _tell_level(result.isolation)
        keep(result)

    with connected(cluster, Level(require), wanted_of(house)) as (flow, workers):
        click.echo(f"Workers: {workers or 'none yet; it begins when one joins'}.")
        judge_on(flow, house, waiting, seed_of=seed_of, keep=heard)


def _tell_level(level: str) -> None:
    click.echo(f"Isolation: {level}.")
    if level != "full":
        click.secho("That is weaker than full: see SECURITY.md before you trust it.", fg="yellow", err=True)


def _sum_up(latest: list[Result], path: Path) -> None:
    """Show the table of all that counts, and write it."""
    from grader.views.tables import print_class

    summary = path.parent / "summary.csv"
    if latest:
        print_class(latest)
    write_file(summary, as_summary(latest))
    click.echo(plain(f"Details: {path}   Table: {summary}"))
    click.echo(plain(f"What the class knows: grader class report {path.parent}"))


def _tell_what_needs_eyes(found: Found, latest: list[Result], folders: list[Path]) -> None:
    """Say last what a person should look at. folders: from which all results came, those of other runs too."""
    there = {(one.student, one.exercise) for one in found.submissions}
    others = [one for one in latest if (one.student, one.exercise) not in there]
    gone = [one for one in others if not places_of(folders, one.student, one.exercise)]
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

    OUT may hold results of before: what is new is added, and counts. Nothing is written, and the reason is said, if a
    shard is missing or not finished, if the runs had different seeds or versions, or if a student handed in two files.
    """
    batch = one_batch(folders)
    results = Results(out)
    with results.alone():
        added = merge(batch, results)
        keep_submitted(out, [place for folder in folders for place in submitted_folders(folder)])
    latest = results.latest()
    click.echo(f"{counted(len(latest), 'result')}, {added} of them new.")
    _sum_up(latest, results.path)
    _warn_of(unusable(latest) + needs_eyes(Found([], []), latest))
    if any(result.grader_failed for result in latest):
        sys.exit(1)
