"""`grader watch`: judge an exercise each time that its file is saved."""

import json
import os
import sys
from typing import Any

import click
import msgspec

from grader.bank.catalog import Exercise, House, find_house
from grader.base.errors import HouseError
from grader.base.terminal import wants_plain
from grader.base.text import plain
from grader.cli.learner import earned_of, worked_on
from grader.cli.talk import say, warn
from grader.learner import desk
from grader.records.progress import ProgressError
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import Verdict
from grader.views.examples import examples_said


@click.command()
@click.argument("id", required=False)
@click.option(
    "--once", is_flag=True, help="Judge the file as it is now, and end. Exit code 0 if all is earned, else 1."
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def watch(id: str | None, once: bool, as_json: bool) -> None:
    """Judge an exercise each time that you save it. Without an ID: the one that comes next.

    On a terminal, keys do the rest; where there is none, or one that can draw no screen (TERM=dumb), a line is printed
    for each run.
    """
    import asyncio  # here, since every other command would pay for it

    if sys.platform == "win32":
        raise HouseError("grader watch needs Linux or macOS. On Windows: WSL2, which sees your folders under /mnt/c.")
    house = find_house()
    exercise = house.find(id) if id else _following(house)
    if once or as_json or not _has_screen():
        try:
            sys.exit(asyncio.run(_lines(house, exercise, once, as_json)))
        except KeyboardInterrupt:
            return
    from grader.learner.screen import watch_screen
    from grader.learner.terminal import Terminal

    last = asyncio.run(watch_screen(house, exercise, Terminal(colour=not wants_plain())))
    click.echo(f"{last.title}: {_standing(house, last)}. Again: grader watch {last.number}")


def _standing(house: House, exercise: Exercise) -> str:
    """How far one is, in a few words."""
    earned = earned_of(house).get(exercise.id, set())
    if not house.is_whole:
        return examples_said(exercise, earned)
    return f"{sum(part.points for part in exercise.parts if part.name in earned)} of {exercise.points} points"


def _has_screen() -> bool:
    """Whether there is a terminal that can move its cursor, so that a screen can be drawn on it."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _following(house: House) -> Exercise:
    """What the desk would go on with."""
    following = desk.following(house, earned_of(house), worked_on(house))
    if following is None:
        raise HouseError("You have earned every exercise. Name one to watch it: grader watch 11")
    return following.exercise


async def _lines(house: House, exercise: Exercise, once: bool, as_json: bool) -> int:
    """A line for each run, or for each event; the exit code."""
    from grader.learner.saved import FileText
    from grader.learner.seat import Ended, Fault
    from grader.learner.watch import Key, Watch

    async with Watch(house, exercise) as watched:
        while True:
            event = await watched.events.get()
            if isinstance(event, FileText):
                watched.take(event)
                if watched.problem:
                    _say_problem(watched.problem, as_json)
                    if once:
                        return 1
            elif not isinstance(event, Key) and watched.concerns(event):
                if as_json:
                    _say_json(event)
                if isinstance(event, Ended):
                    try:
                        watched.keep(event.result)
                    except ProgressError as error:
                        warn(str(error))
                    if not as_json:
                        click.echo(line_of(house, exercise, event.result))
                    if once:
                        passed = not any(part.first_failure for part in event.result.parts)
                        return 0 if event.result.earned or (passed and not house.is_whole) else 1
                elif isinstance(event, Fault):
                    if not as_json:
                        say(
                            f"the grader could not judge. This is not your fault; what went wrong:\n{event.why}",
                            err=True,
                        )
                    if once or not event.run:
                        return 3


def _say_problem(problem: str, as_json: bool) -> None:
    if as_json:
        _say_json({"kind": "file", "problem": problem})
    else:
        say(problem)


def _say_json(value: Any) -> None:
    """One line of it, in ASCII: some of it is strangers' text."""
    click.echo(json.dumps(msgspec.to_builtins(value)))


def _why(failing: PartResult) -> str:
    """What is wrong with a part, or with the whole file, in one line: it is all that this terminal shows."""
    why = plain(failing.mistake.partition("\n")[0])
    return why if failing.of_file else f"{failing.name} {failing.said}{why and f': {why}'}"


def line_of(house: House, exercise: Exercise, result: Result) -> str:
    """A run on one line: the points, in a student edition how many parts' examples pass, and what fails first."""
    failing = next((part for part in result.parts if part.fails), None)
    if not house.is_whole:
        passed = [part.name for part in result.parts if part.verdict is Verdict.PASSED]
        said = f" · {failing.name} {failing.verdict}" if failing else ""
        return f"{exercise.id}  {examples_said(exercise, passed)}{said}. More checks run when it is graded."
    said = f" · {_why(failing)}" if failing else ""
    return f"{exercise.id}  {result.score} of {result.max_score} points{said}"
