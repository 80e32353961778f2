"""The commands of a learner."""

import os
import sys
from pathlib import Path

import click

from grader.bank.catalog import Exercise, House, find_house
from grader.bank.tracks import along, find_track
from grader.base.errors import HouseError, RunError
from grader.base.text import plain_lines
from grader.cli.talk import print_json, say, stop, style, tell
from grader.learner import desk, drill
from grader.learner.examples import done_parts
from grader.learner.folder import is_behind
from grader.records.progress import Progress, ProgressError
from grader.verdicts.result import Result
from grader.views.columns import terminal_columns, width_for


def desk_() -> None:
    """Where one stands and what is next, in a few lines: what `grader` says without a command."""
    house = find_house()
    earned = earned_of(house)
    parts = [(part, part.name in earned.get(one.id, set())) for one in house.exercises.values() for part in one.parts]
    if house.is_whole:
        points = sum(part.points for part, counts in parts if counts)
        click.echo(f"{points} of {sum(part.points for part, _ in parts)} points")
    else:
        passed = sum(counts for _, counts in parts)
        tell(f"Student edition: the visible examples of {passed} of {len(parts)} parts pass.")
        tell("Points come from hidden checks, which run where your work is graded.")
    following = desk.following(house, earned, worked_on(house))
    if following is None:
        tell("You have earned every exercise of this collection." if house.is_whole else "All examples pass.")
    else:
        exercise, part = following.exercise, following.part
        tell(f"{'Continue' if following.begun else 'Begin'} with {part.name} · {exercise.title}")
        last = following.said and f" · last: {following.said}"
        tell(f"about {part.minutes} minutes, {part.points} points{last}", indent=2)
        click.echo(f"  edit   {from_here(exercise.attempt)}")
        click.echo(f"  read   {from_here(exercise.own_statement)}")
        click.echo(f"  check  pytest {from_here(exercise.attempt.parent)}")
        click.echo(f"  hint   grader hint {exercise.number} {part.name}")
    if is_behind(house):
        tell("Other exercises or revisions are installed than this folder holds. To bring them:", "grader update")
    if due := drill.for_today(house).due:
        click.echo(f"{due} drill{' is' if due == 1 else 's are'} due: grader drill --due")
    click.echo("More: grader drill · grader status · grader list · grader -h")


@click.command()
@click.argument("id", required=False)
@click.option("--topics", is_flag=True, help="Each topic, and the part that covers it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole table as JSON.")
def status(id: str | None, topics: bool, as_json: bool) -> None:
    """The coverage table: what is earned, what is covered, what is a gap. With an ID the parts of that exercise."""
    import msgspec

    from grader.bank.coverage import coverage_table
    from grader.learner.drill import drill_marks

    house = find_house()
    earned = earned_of(house)
    if id:
        from grader.views.tables import print_parts

        exercise = house.find(id)
        print_parts(house, exercise, earned.get(exercise.id, set()))
        return
    known = earned if house.is_whole or not as_json else {}  # examples earn no points
    table = coverage_table(house, known, drill_marks(house))
    if as_json:
        print_json(msgspec.to_builtins(table))
        return
    from grader.views.tables import print_coverage, print_topics

    if topics:
        print_topics(house, table)
        return
    print_coverage(house, table)
    desk_()


@click.command("list")
@click.option("--track", "track_id", metavar="TRACK", help="Only those of a track, in its order: core, ml or llm.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(track_id: str | None, as_json: bool) -> None:
    """The exercises, with what is earned of each."""
    house = find_house()
    track = find_track(house, track_id) if track_id is not None else None
    exercises = along(house, track) if track else list(house.exercises.values())
    earned = earned_of(house)
    if as_json:
        known = earned if house.is_whole else {}  # examples earn no points
        print_json([desk.listed(house, exercise, known) for exercise in exercises])
        return
    from grader.views.tables import print_exercises, print_track

    if track:
        print_track(house, track, earned)
    else:
        print_exercises(house, earned)


@click.command()
@click.argument("named", nargs=-1, metavar="[ID [PART]...]...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the checks' random inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def check(named: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Run the hidden checks on your files; in a student edition the visible examples. Exit code 0 if all pass, else 1.

    Without an ID: on every file that you have begun. With PARTs behind it: on these alone.
    """
    import msgspec

    from grader.base.bar import Bar
    from grader.views.render import result_lines

    house = find_house()
    parts = house.chosen_parts(named)
    chosen = [house.exercises[id] for id in parts] or list(house.exercises.values())
    exercises = [one for one in chosen if named or one.attempt.parent.is_dir()]  # some are to come by `grader update`
    for exercise in exercises:
        if not exercise.attempt.is_file():
            again = f"`grader reset {exercise.number}` writes it again"
            raise HouseError(f"{exercise.attempt.relative_to(house.root)} is missing: {again}.")
    if not house.is_whole:
        from grader.cli.examples import check_examples

        check_examples(house, exercises, parts, as_json)
    if not named and not as_json:
        exercises = [exercise for exercise in exercises if not desk.is_stub(exercise)]
    untouched = 0 if as_json else len(chosen) - len(exercises)
    from grader.engine.own import graded  # brings pytest

    results, bar = [], Bar("checks")

    def keep(exercise: Exercise, result: Result) -> None:
        results.append(result)
        bar.end()
        gained: tuple[str, ...] = ()
        try:
            gained = desk.record(house, exercise, result, door="check")
        except ProgressError as error:
            say(str(error), fg="yellow", err=True)
        if not as_json:
            encoding, columns = sys.stdout.encoding or "ascii", terminal_columns()
            for line in result_lines(exercise, result, gained=gained, encoding=encoding, columns=columns):
                click.secho(line.text, **style(line.markup))
            click.echo()

    def tick(exercise: Exercise, done: int, total: int) -> None:
        if not as_json:
            bar.show(done, total, exercise.id)

    try:
        graded(house, exercises, keep, parts=parts, seed=seed, tick=tick)
    except RunError as error:
        stop(f"the checks could not run. This is not your fault; what went wrong:\n{error}", 3)
    finally:
        bar.end()
    if as_json:
        print_json([msgspec.to_builtins(result) for result in results])
    if untouched:
        click.echo(f"Not begun: {untouched} of {len(house.exercises)} exercises (grader list names them)")
    earned = all(result.has_earned(parts.get(result.exercise, ())) for result in results)
    sys.exit(0 if earned and not untouched else 1)


@click.command()
@click.argument("id")
@click.argument("part", required=False)
def hint(id: str, part: str | None) -> None:
    """The next of three hints for a part; without PART, for the first one not earned."""
    house = find_house()
    exercise = house.find(id)
    given = desk.next_hint(house, exercise, part)
    click.echo(f"{exercise.id} · {given.part} · hint {given.number} of {given.of}\n")
    width = width_for(terminal_columns()) - 2
    click.echo(click.wrap_text(given.text, width=width, initial_indent="  ", subsequent_indent="  "))
    if given.number < given.of:
        click.echo(f"\nOnce more for the next: grader hint {exercise.number} {given.part}")
    else:
        click.echo("\nThat was the last.")
        if house.is_whole:
            click.echo(f"The reference: grader solution {exercise.number} {given.part} --give-up")


@click.command()
@click.argument("id")
@click.argument("part", required=False)
@click.option("--answers", is_flag=True, help="Show the answers to what you have not earned too.")
def questions(id: str, part: str | None, answers: bool) -> None:
    """What an interviewer asks about an exercise, or about one PART; the answers, once it is earned."""
    from grader.views.questions import question_lines

    house = find_house()
    exercise = house.find(id)
    chosen = exercise.part(part) if part else None
    known = {one.name for one in exercise.parts} if answers else earned_of(house).get(exercise.id, set())
    for line in question_lines(exercise, chosen, known, terminal_columns()):
        click.echo(line)


@click.command()
@click.argument("id")
@click.argument("part", required=False)
@click.option("--give-up", is_flag=True, help="Show it even if you have not earned it; this is recorded.")
def solution(id: str, part: str | None, give_up: bool) -> None:
    """The reference, of one part or of all, once earned."""
    house = find_house()
    exercise = house.find(id)
    need(exercise.solution, "solutions: ask your teacher")
    missing = desk.not_earned(house, exercise, part)
    if missing and not give_up:
        again = " ".join(["grader solution", exercise.number, *([part] if part else []), "--give-up"])
        left = ", ".join(missing)
        stop(
            f"not earned yet: {left}.\nA hint: grader hint {exercise.number} {missing[0]}\nTo see it anyway: {again}", 1
        )
    desk.give_up(house, exercise, missing)
    click.echo(desk.reference_text(exercise, part))


@click.command()
@click.argument("id")
@click.argument("part", required=False)
def reset(id: str, part: str | None) -> None:
    """Put the stub back, of all or of one PART. Your attempt is kept: grader history shows it."""
    house = find_house()
    exercise = house.find(id)
    shown = exercise.attempt.relative_to(house.root)
    if part and exercise.attempt.exists():
        desk.reset_part(house, exercise, exercise.part(part))
        click.echo(f"{part} in {shown} is the stub again. Your attempt is kept: grader history {exercise.number}")
        return
    if desk.is_stub(exercise):
        click.echo(f"{shown} is the stub already.")
        return
    kept = f" Your attempt is kept: grader history {exercise.number}" if desk.reset(house, exercise) else ""
    click.echo(f"{shown} is the stub again.{kept}")


@click.command()
@click.argument("id")
@click.option("--show", type=int, metavar="N", help="Print the file as it was at attempt N.")
def history(id: str, show: int | None) -> None:
    """Your attempts at an exercise, each with its source."""
    house = find_house()
    exercise = house.find(id)
    if show is not None:
        text = desk.attempt_text(house, exercise, show)
        click.echo(plain_lines(text) if sys.stdout.isatty() else text, nl=False)  # into a file as it was
        return
    kept = Progress(house.root).history(exercise.id)
    if not kept:
        if house.is_whole:
            click.echo(f"No attempt at {exercise.id} yet. Begin: pytest exercises/{exercise.id}")
        else:
            click.echo("Student edition: nothing is judged, so only what `grader reset` replaces is kept: nothing yet.")
        return
    from grader.views.tables import print_history

    print_history(exercise, kept)
    click.echo(f"The file at attempt N: grader history {exercise.number} --show N")


def earned_of(house: House) -> dict[str, set[str]]:
    """What is earned, in a student edition whose examples pass; a progress file that cannot be read is reported, and
    counts as empty.
    """
    try:
        return dict(done_parts(house))
    except ProgressError as error:
        say(f"Progress not shown: {error.why}", fg="yellow", err=True)
        return {}


def worked_on(house: House) -> dict[str, str]:
    try:
        return Progress(house.root).last_worked_on()
    except ProgressError:
        return {}


def from_here(path: Path) -> str:
    """A path as one types it in the current folder, if that lies in the house."""
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") and len(here) > len(str(path)) else here


def need(path: Path, what: str) -> None:
    """Raises HouseError where a student edition, which lacks more than this file, has no `path`."""
    if not path.is_file() and not path.parent.parent.is_dir():
        raise HouseError(f"This is a student edition, without {what}.")
