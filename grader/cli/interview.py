"""`grader interview`: half an hour or so of questions and one part of an exercise, on a clock."""

import sys

import click

from grader.bank.catalog import House, find_house
from grader.base.errors import HouseError, RunError
from grader.cli.keys import key_of
from grader.cli.learner import from_here
from grader.cli.talk import show, tell, warn
from grader.cli.timed import TimeOver, line_within
from grader.drills.shown import Shown
from grader.drills.value import Unread
from grader.learner.debrief import reported, write_page
from grader.learner.interview import LONGEST, SHORTEST
from grader.learner.interviewing import Sitting, ended_before
from grader.records.interviews import Interview, Interviews
from grader.views.columns import terminal_columns, width_for
from grader.views.drill import asked_lines
from grader.views.interview import begun, coding_title, minutes_said, report_lines, role_title, rules
from grader.views.render import Line
from grader.views.words import counted
from grader.views.wrap import wrapped

_REMINDERS = (600, 300, 60)
"""Seconds left of a part at which that is said."""


@click.command()
@click.option("--role", default="", metavar="ROLE", help="For which role: ml or llm.")
@click.option(
    "--minutes", type=click.IntRange(SHORTEST, LONGEST), default=45, show_default=True, help="How long it is."
)
@click.option("--history", is_flag=True, help="List your interviews.")
@click.option("--report", type=int, metavar="N", help="Show the report of interview N again.")
def interview(role: str, minutes: int, history: bool, report: int | None) -> None:
    """Questions, then one part of an exercise, on a clock: no hints, and the verdicts at the end."""
    house = find_house()
    for number, broken in ended_before(house).items():
        asked = counted(len(broken.asked), "question")
        said = f"Interview {number} of {begun(broken)} broke off after {asked}. Nothing of it is lost:"
        warn(f"{said} grader interview --report {number}")
    if history:
        _list(house)
    elif report is not None:
        _show(house, report)
    else:
        if not role:
            roles = " or ".join(f"--role {one.id}" for one in house.coverage.role)
            raise HouseError(f"For which role? grader interview {roles}")
        sitting = Sitting(house, role, minutes, warn)
        if not _has_terminal():
            raise HouseError("An interview is on a clock, and needs a terminal. Questions from a pipe: grader drill")
        _sit(house, sitting)


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _list(house: House) -> None:
    kept = Interviews(house.root).interviews()
    if not kept:
        tell("No interview yet. The first:", "grader interview --role llm")
        return
    from grader.views.tables import print_interviews

    print_interviews(kept)
    tell("A report again:", "grader interview --report N")


def _show(house: House, number: int) -> None:
    one = reported(house, number)
    if one is None:
        last = max(Interviews(house.root).interviews(), default=0)
        said = f"The last one is {last}." if last else "There was none yet."
        raise HouseError(f"There is no interview {number}. {said}")
    _print_report(house, number, one)


def _sit(house: House, sitting: Sitting) -> None:
    """Hold it, until its end or until the learner leaves."""
    columns = width_for(terminal_columns())
    try:
        _open(house, sitting, columns)
    except (EOFError, KeyboardInterrupt):
        click.echo("\nNothing has begun.")
        return
    sitting.begin()
    try:
        _questions(sitting, columns)
        _part(house, sitting, columns)
    except (EOFError, KeyboardInterrupt):
        click.echo()
        ended = sitting.end("left")
    else:
        ended = sitting.end("finished")
    click.echo()
    _print_report(house, sitting.number, ended)


def _open(house: House, sitting: Sitting, columns: int) -> None:
    now = sitting.interview
    head = f"Interview · {role_title(house, now)} · {now.minutes} minutes"
    show([Line(head, {"bold": True})])
    _say(rules(now), columns)
    _wait("  Enter begins  q quit ")


def _questions(sitting: Sitting, columns: int) -> None:
    click.echo("s pass over  q end the interview\n")
    while asked := sitting.ask():
        place = len(sitting.interview.asked) + 1
        show(map(Line, asked_lines(asked, f"question {place} · {sitting.seconds:g} s", columns)))
        try:
            _answer(sitting, asked, columns)
        except TimeOver:
            sitting.take(None)
            click.echo()
            _say("The time of this question is over.", columns)
            _wait("  Enter next  q end the interview ")
        click.echo()


def _answer(sitting: Sitting, asked: Shown, columns: int) -> None:
    """Take an answer that can be read. Raises TimeOver, and EOFError where the learner leaves."""
    while True:
        typed = line_within("> ", sitting.left)
        key = "" if sitting.is_name(typed) else key_of(typed)
        if key == "hint":
            _say("There are no hints in an interview. s passes it over.", columns)
            continue
        try:
            sitting.take(None if key == "skip" else typed)
        except Unread as error:
            _say(f"{error} Left: {max(sitting.left, 0):.0f} s.", columns)
            continue
        return


def _part(house: House, sitting: Sitting, columns: int) -> None:
    """The part, from its statement to its verdict."""
    _say("Those were the questions. The clock of the part begins when you see it.", columns)
    _wait("  Enter begins  q end the interview ")
    coding = sitting.begin_coding()
    if coding is None:
        _say(sitting.interview.no_coding, columns)
        return
    exercise = sitting.exercise
    click.echo()
    show([Line(f"{coding_title(house, coding)} · {minutes_said(coding.allowed)}", {"bold": True})])
    place = f"{from_here(exercise.attempt)}{f':{coding.line}' if coding.line else ''}"
    click.echo(f"  edit   {place}\n  read   {from_here(exercise.own_statement)}")
    again = f" You have earned it before; its stub back: grader reset {exercise.number} {coding.part}"
    said = (
        "Its docstring is the task. Only this part is judged, once: as your file is saved when you press Enter, or "
        f"when the time is over.{again if coding.was_earned else ''}"
    )
    _say(said, columns)
    _write(sitting, columns)
    click.echo("\nJudging ...")
    _judge(house, sitting)


def _write(sitting: Sitting, columns: int) -> None:
    """Wait until the part is handed in, or its time is over."""
    before, asked_again = sitting.saved(), False
    while sitting.left > 0:
        following = next((one for one in _REMINDERS if one < sitting.left), 0)
        try:
            typed = line_within("  Enter hands in  q end the interview ", sitting.left - following)
        except TimeOver:
            said = f"{following // 60} minutes are left." if following > 60 else "One minute is left: save your file."
            click.echo()
            _say(said if following else "The time is over.", columns)
            continue
        key_of(typed)
        if sitting.saved() != before or asked_again:
            return
        asked_again = True
        _say("Your file is as it was: save it first. Enter once more hands it in all the same.", columns)


def _judge(house: House, sitting: Sitting) -> None:
    from grader.learner.once import judge_once  # brings asyncio, for which every other command would pay

    text = sitting.hand_in()
    if text is None:
        return
    try:
        sitting.take_result(judge_once(house, sitting.exercise, text, sitting.to_judge), text)
    except RunError as error:
        sitting.grader_failed(str(error))
    except KeyboardInterrupt:
        sitting.not_judged("You left while it was judged.")
        raise


def _print_report(house: House, number: int, ended: Interview) -> None:
    show(report_lines(house, number, ended, width_for(terminal_columns())))
    click.echo()
    try:
        tell("Kept, with every question:", from_here(write_page(house, number, ended)))
    except HouseError as error:
        warn(str(error))
    tell("Once more:", f"grader interview --report {number}")


def _say(sentence: str, columns: int) -> None:
    show(map(Line, wrapped(sentence, columns)))


def _wait(prompt: str) -> None:
    """Wait for Enter. Raises EOFError where the learner leaves."""
    key_of(line_within(prompt, None))
