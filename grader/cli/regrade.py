"""The command `grader regrade`: a mark that somebody contests, judged again with the same random inputs."""

import sys
import tempfile
from pathlib import Path

import click

from grader.bank.catalog import Exercise, find_bank
from grader.base.errors import HouseError, RunError
from grader.base.files import LARGEST_FILE, read_file
from grader.base.text import plain
from grader.cli.talk import say, stop
from grader.submissions.find import Submission, read_submission
from grader.submissions.notebook import LARGEST_NOTEBOOK
from grader.verdicts.result import Result


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("id")
@click.option("--seed", type=int, required=True, help="The seed of the mark, from results.jsonl or a CSV.")
def regrade(file: Path, id: str, seed: int) -> None:
    """Judge one FILE again, as it was handed in for exercise ID, and show what every check says. Records nothing.

    The seed of each mark stands in results.jsonl, in `grader export csv` and in the CSV of `grader class report`. With
    the same seed and versions the random inputs are the same. Exit codes: 0 all is earned; 1 not all; 3 the grader
    failed.
    """
    from grader.views.render import part_text, title_of

    house = find_bank()
    house.need_whole()
    exercise = house.find(id)
    submission = _read(exercise, file)
    from grader.engine.batch import Engine
    from grader.engine.resume import versions

    results = list[Result]()
    try:
        with Engine([exercise]) as engine:
            engine.judge(house, exercise, [submission], seed_of=lambda _: seed, jobs=1, keep=results.append)
    except RunError as error:
        stop(f"the checks could not run; what went wrong:\n{error}", 3)
    (result,) = results
    click.secho(f"{title_of(exercise)}: {result.score} of {result.max_score} points", bold=True)
    for part in result.parts:
        say(part_text(part))
    known = ", ".join(f"{name} {version}" for name, version in sorted(versions(exercise).items()))
    say(f"\nJudged with seed {seed}, isolation {result.isolation}: {known}")
    sys.exit(3 if result.grader_failed else 0 if result.earned else 1)


def _read(exercise: Exercise, file: Path) -> Submission:
    """What a file holds, whatever it is called. Raises HouseError where it cannot be read."""
    is_notebook = file.suffix == ".ipynb"
    try:
        data = read_file(file, LARGEST_NOTEBOOK if is_notebook else LARGEST_FILE)
    except OSError as error:
        raise HouseError(f"{plain(str(file))} cannot be read: {error.strerror or error}.") from None
    with tempfile.TemporaryDirectory() as folder:
        name = f"{exercise.id}.ipynb" if is_notebook else f"{exercise.stem}.py"
        Path(folder, name).write_bytes(data)
        return read_submission("", exercise, Path(folder))
