"""`grader picture`: what a learner's own code makes, as pictures."""

import sys
from pathlib import Path

import click

from grader.bank.catalog import Exercise, find_house
from grader.base.errors import EngineError, HouseError
from grader.cli.talk import say, stop, warn
from grader.learner.gallery import Hung, gallery, own_text
from grader.records.progress import Progress, ProgressError
from grader.verdicts.picture import Made, Picture


@click.command()
@click.argument("id")
@click.argument("part", required=False)
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with them instead.")
def picture(id: str, part: str | None, page: Path | None) -> None:
    """Pictures of what your code makes, of an exercise or of one PART.

    Once a part is earned, the reference's picture follows yours.
    """
    from grader.engine.batch import Engine

    house = find_house()
    exercise = house.find(id)
    if part:
        exercise.part(part)
    chosen = [one for one in exercise.pictures if part in (None, one.part)]
    if not chosen:
        raise HouseError(f"{exercise.id} has no pictures{f' of {part}' if part else ''} yet.")
    try:
        earned = Progress(house.root).earned().get(exercise.id, set())
    except ProgressError as error:
        warn(f"the reference's pictures are not shown: {error.why}")
        earned = set()
    try:
        with Engine([exercise]) as engine:
            hung = list(gallery(engine, exercise, own_text(exercise), chosen, earned))
    except EngineError as error:
        stop(f"the pictures could not be made. This is not your fault; what went wrong:\n{error}", 3)
    if page:
        _write(exercise, hung, page)
    else:
        _print(hung)


def _print(hung: list[Hung]) -> None:
    from grader.views.columns import terminal_columns
    from grader.views.textual import text_lines

    encoding = sys.stdout.encoding or "ascii"
    columns = terminal_columns()
    for one in hung:
        for whose, made in _both(one):
            click.secho(f"{one.declared.part}: {whose}", bold=True)
            shown = _shown(one, made)
            say(shown if isinstance(shown, str) else "\n".join(text_lines(shown, encoding, columns)))
            click.echo()


def _write(exercise: Exercise, hung: list[Hung], page: Path) -> None:
    from grader.base.files import write_file
    from grader.views.picture_page import page as as_page

    sections = [(one.declared.part, [(whose, _shown(one, made)) for whose, made in _both(one)]) for one in hung]
    write_file(page, as_page(exercise.title, sections))
    click.echo(f"wrote {page}")


def _both(one: Hung) -> list[tuple[str, Made]]:
    return [("yours", one.own), *([("the reference's", one.reference)] if one.reference else [])]


def _shown(one: Hung, made: Made) -> Picture | str:
    return made.picture or f"{one.declared.title}: no picture\n  {made.problem}"
