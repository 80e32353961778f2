"""`grader drill`: questions of an interview, one after the other, in the terminal or from a pipe."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from grader.bank.catalog import House, find_house
from grader.base.errors import HouseError
from grader.base.text import plain, shortened
from grader.cli.keys import key_of
from grader.cli.talk import print_json, show, tell, warn
from grader.cli.timed import line_within
from grader.drills.choose import Chosen
from grader.drills.judge import is_name
from grader.drills.load import question_of
from grader.drills.value import Unread
from grader.learner.drill import Turn, Wish, every, wanted
from grader.views.columns import terminal_columns, width_for
from grader.views.drill import (
    KEYS,
    counts_said,
    hint_lines,
    question_lines,
    refusal_lines,
    verdict_lines,
    why_nothing,
)
from grader.views.render import Line
from grader.views.words import counted


@click.command()
@click.option("--topic", default="", metavar="TOPIC", help="Only those of a topic, as kv.memory, or of all of kv.")
@click.option("--role", default="", metavar="ROLE", help="Only what a role is asked, the weightiest first: ml or llm.")
@click.option("--due", is_flag=True, help="Only what you have answered before and is due.")
@click.option("--all", "all_", is_flag=True, help="Also what is not due yet.")
@click.option("--count", is_flag=True, help="Say how many are due and how many are new; ask nothing.")
@click.option("--anki", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Write all, or those of --topic, --role or --due, as a deck for Anki; ask nothing.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what would be asked, without answers; ask nothing.")
def drill(topic: str, role: str, due: bool, all_: bool, count: bool, anki: Path | None, as_json: bool) -> None:
    """Answer questions whose numbers change. What you knew comes back later, what you did not tomorrow."""
    house, wish = find_house(), Wish(topic, role, due, all_)
    if anki:
        _write_deck(house, wish, anki)
        return
    chosen = wanted(house, wish)
    if as_json:
        queue = [] if count else [msgspec.to_builtins(Turn(house, one).shown) for one in chosen.queue]
        print_json({"due": chosen.due, "new": chosen.new, "now": len(chosen.queue), "questions": queue})
    elif count:
        click.echo(counts_said(chosen))
    elif not chosen.queue:
        _tell_nothing(chosen)
    else:
        _sit(house, chosen)


def _write_deck(house: House, wish: Wish, path: Path) -> None:
    from grader.views.anki import need_genanki, note, write_deck

    need_genanki()
    notes = [note(question_of(house, one.id)) for one in every(house, wish)]
    if not notes:
        raise HouseError("Nothing is due, so there is nothing to write. Leave --due away for all of them.")
    count = write_deck(path, notes)
    tell(f"{counted(len(notes), 'drill')} on {counted(count, 'card')} in {path}: in Anki, File, Import.")
    tell("Import a newer one over it at any time: drills that are there are brought up to date.")


def _tell_nothing(chosen: Chosen) -> None:
    """Why nothing is asked, and what to type for more."""
    why = why_nothing(chosen)
    if chosen.lacks == "held":
        tell(f"{why} More of it all the same:", f"grader drill --topic {chosen.topic}")
    elif chosen.lacks == "none":
        tell(f"{why} More all the same:", "grader drill --all")
    else:
        tell(why)


def _sit(house: House, chosen: Chosen) -> None:
    """Ask one question after the other, until the learner or the input ends."""
    columns, answers = width_for(terminal_columns()), list[bool]()
    click.echo(f"{KEYS}\n")
    try:
        for place, question in enumerate(chosen.queue, 1):
            turn = Turn(house, question)
            _echo(question_lines(turn.shown, place, chosen.to_ask, columns))
            answered = _ask(turn, columns)
            answers += answered
            if answered and sys.stdin.isatty() and place < len(chosen.queue):
                key_of(_line("  Enter next  q quit "))
            click.echo()
    except (EOFError, KeyboardInterrupt):
        click.echo()
    said = f"{sum(answers)} of {len(answers)} right." if answers else "Nothing was answered."
    click.echo(f"{said} Go on: grader drill")


def _ask(turn: Turn, columns: int) -> list[bool]:
    """Whether it was answered rightly; nothing where it was skipped. Raises EOFError where no more is wanted."""
    while True:
        typed = _line("> ")
        key = "" if is_name(turn.variant, typed) else key_of(typed)
        if key == "skip":
            return []
        if key == "hint":
            _echo(hint_lines(turn.hint(), turn.hints, columns))
            continue
        try:
            told, days = turn.answer(typed, warn)
        except Unread as error:
            _echo(refusal_lines(str(error), columns))
            continue
        _echo(verdict_lines(told, days, columns))
        return [told.right]


def _echo(lines: Iterable[str]) -> None:
    show(map(Line, lines))


def _line(prompt: str) -> str:
    """What is typed. Raises EOFError at the end of the input."""
    typed = line_within(prompt, None)
    if not sys.stdin.isatty():
        click.echo(plain(shortened(typed, 200)))
    return typed
