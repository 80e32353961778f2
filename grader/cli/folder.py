"""The commands `grader init` and `grader update`: a practice folder, without a clone."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from grader import __version__
from grader.bank.catalog import Exercise, find_house
from grader.bank.tracks import study_order
from grader.base.text import plain
from grader.cli.talk import tell
from grader.learner import folder
from grader.learner.folder import Change
from grader.views.words import counted

_BECAME = {
    "written": "new", "replaced": "brought up to date", "kept": "it has a new form, but you changed yours, which stays"
}  # fmt: skip
"""What became of a file that belongs to no exercise."""


@click.command()
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path))
def init(place: Path) -> None:
    """Make a practice folder: the stubs, statements and examples of the exercises that are installed.

    Every command of a learner works in it, and so does pytest.
    """
    house = folder.init(place)
    first = study_order(house)[0]  # where `grader` begins, too
    tell(f"{place} holds {counted(len(house.exercises), 'exercise')}. Next:")
    click.echo(f"  cd {shlex.quote(plain(str(place)))}")
    click.echo("  grader                           what to do first")
    click.echo(f"  pytest exercises/{first.id}")


@click.command()
def update() -> None:
    """Bring your practice folder up to the exercises that are installed. No file that you changed is overwritten."""
    house = find_house()
    done = folder.update(house)
    for line in _said(done):
        tell(line)
    if not done:
        tell(f"All is as in dl-kata {__version__}.")


def _said(done: Sequence[Change]) -> list[str]:
    """A line for each exercise that is new or changed, and for each file of the learner's that is in the way."""
    by = dict[str, list[Change]]()
    for one in done:
        by.setdefault(one.exercise.id if one.exercise else one.path, []).append(one)
    return [line for changes in by.values() for line in _said_of(changes[0].exercise, changes)]


def _said_of(exercise: Exercise | None, changes: Sequence[Change]) -> list[str]:
    if exercise is None:
        return [f"{changes[0].path}: {_BECAME[changes[0].done]}"]
    stub = exercise.attempt.relative_to(exercise.root).as_posix()
    by = {one.path: one.done for one in changes}
    if by.get(stub) == "kept":
        lines = [
            f"{exercise.id}: revision {exercise.revision} has a new stub. Your file stays as it is, and the checks are "
            f"the new ones. `grader reset {exercise.number}` writes the new stub; `grader history {exercise.number}` "
            "then has yours."
        ]
    elif by.get(stub) == "written":
        lines = [f"{exercise.id}: new"]
    else:
        lines = [f"{exercise.id}: revision {exercise.revision}"]
    return lines + [f"  {one.path} was changed by you: yours is now {one.aside}" for one in changes if one.aside]
