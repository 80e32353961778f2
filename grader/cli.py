"""The command `grader`. Each command is a page of talk around one call; torch and pytest load only where a check runs.

Exit codes: 0 all well, 1 something is not earned or not healthy, 2 wrong usage or bad input, 3 the grader's own fault.
"""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import click

from grader.catalog import Exercise, House, HouseError, find_house, nearest
from grader.cli_classroom import class_, course, release
from grader.cli_export import export
from grader.cli_grade import grade
from grader.progress import Progress, ProgressError, source_of
from grader.source import read_source


class Commands(click.Group):
    """Lists commands in the order of the file, and names the nearest one for a typo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            ctx.fail(f"no command '{args[0]}'.{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (HouseError, ProgressError) as error:
            _stop(str(error), 2)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dl-kata", prog_name="grader")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Deep-learning katas: check attempts, keep progress, show coverage.

    Without a command: grader status. An exercise may be typed as its number.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of few characters is no reason to fail
    if ctx.invoked_subcommand is None:
        ctx.invoke(status)


@main.command()
@click.option("--topics", is_flag=True, help="Each topic, and the part that covers it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole table as JSON.")
def status(topics: bool = False, as_json: bool = False) -> None:
    """The coverage table: what is earned, what is covered, what is a gap."""
    import msgspec

    from grader.coverage import coverage_table

    house = find_house()
    earned = _earned(house)
    table = coverage_table(house, earned)
    if as_json:
        _print_json(msgspec.to_builtins(table))
        return
    from grader.tables import print_coverage, print_topics

    if topics:
        print_topics(table)
        return
    print_coverage(house, table)
    tried = _tried(house)
    following = _next(house, earned, tried)
    if following:
        exercise, part = following
        verb = "go on" if exercise.id in tried else "begin"
        click.echo(f"Next: {verb} with {part} in {exercise.attempt.relative_to(house.root)}")
        click.echo(f"      then pytest exercises/{exercise.id}")
    else:
        click.echo("Every exercise that there is, is earned.")


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """The exercises, with what is earned of each."""
    house = find_house()
    earned = _earned(house)
    if as_json:
        _print_json([_listed(house, exercise, earned) for exercise in house.exercises.values()])
        return
    from grader.tables import print_exercises

    print_exercises(house, earned)


@main.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the checks' random inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def check(ids: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Run the hidden checks on your files; all of them without an ID. Exit code 0 if all is earned, else 1."""
    import msgspec

    from grader.render import result_lines
    from grader.run import RunError, graded, progress_line

    house = find_house()
    exercises = list(dict.fromkeys(house.find(id) for id in ids)) or list(house.exercises.values())
    for exercise in exercises:
        if not exercise.attempt.is_file():
            again = f"`grader reset {exercise.number}` writes it again"
            raise HouseError(f"{exercise.attempt.relative_to(house.root)} is missing: {again}.")
        _need(exercise.checks, f"hidden checks. The visible examples: pytest exercises/{exercise.id}")
    results = []

    def keep(exercise: Exercise, result: Any) -> None:
        results.append(result)
        _record(house, exercise, result)
        if not as_json:
            for line in result_lines(exercise, result, encoding=sys.stdout.encoding or "ascii"):
                click.secho(line.text, **_click_style(line.markup))
            click.echo()

    try:
        graded(house, exercises, keep, seed=seed, tick=lambda exercise: None if as_json else progress_line(exercise.id))
    except RunError as error:
        _stop(f"the checks could not run. This is not your fault; what went wrong:\n{error}", 3)
    if as_json:
        _print_json([msgspec.to_builtins(result) for result in results])
    sys.exit(0 if all(result.earned for result in results) else 1)


@main.command()
@click.argument("id")
@click.argument("part", required=False)
def hint(id: str, part: str | None) -> None:
    """The next of three hints for a part; without PART, for the first one not earned."""
    house = find_house()
    exercise = house.find(id)
    progress = Progress(house.root)
    earned = progress.earned().get(exercise.id, set())
    following = next((one for one in exercise.parts if one.name not in earned), exercise.parts[0])
    chosen = exercise.part(part) if part else following
    if not chosen.hints:
        raise HouseError(f"{exercise.id} has no hints for {chosen.name}.")
    seen = progress.events(exercise.id, "hint", chosen.name)
    step = min(seen, len(chosen.hints) - 1)
    click.echo(f"{exercise.id} · {chosen.name} · hint {step + 1} of {len(chosen.hints)}\n")
    click.echo(click.wrap_text(chosen.hints[step], width=78, initial_indent="  ", subsequent_indent="  "))
    if seen < len(chosen.hints):
        progress.note(exercise.id, "hint", part=chosen.name)
    if step + 1 < len(chosen.hints):
        click.echo(f"\nOnce more for the next: grader hint {exercise.number} {chosen.name}")
    else:
        click.echo(f"\nThat was the last. The reference: grader solution {exercise.number} {chosen.name} --give-up")


@main.command()
@click.argument("id")
@click.argument("part", required=False)
@click.option("--give-up", is_flag=True, help="Show it although it is not earned; this is recorded.")
def solution(id: str, part: str | None, give_up: bool) -> None:
    """The reference, of one part or of all, once earned."""
    from grader.source import BEGIN, END, definitions

    house = find_house()
    exercise = house.find(id)
    _need(exercise.solution, "solutions: ask your teacher")
    chosen = [exercise.part(part)] if part else list(exercise.parts)
    progress = Progress(house.root)
    earned = progress.earned().get(exercise.id, set())
    missing = [one.name for one in chosen if one.name not in earned]
    if missing and not give_up:
        again = " ".join(["grader solution", exercise.number, *([part] if part else []), "--give-up"])
        left = ", ".join(missing)
        _stop(
            f"not earned yet: {left}.\nA hint: grader hint {exercise.number} {missing[0]}\nTo see it anyway: {again}", 1
        )
    if missing:
        for name in missing:
            progress.note(exercise.id, "give up", part=name)
    text = read_source(exercise.solution)
    if part:
        spans = definitions(text)
        lines = text.splitlines()
        text = "\n\n\n".join("\n".join(lines[spans[name][0] - 1 : spans[name][1]]) for name in chosen[0].names)
    click.echo("\n".join(line for line in text.splitlines() if line.strip() not in (BEGIN, END)))


@main.command()
@click.argument("id")
def reset(id: str) -> None:
    """Put the stub back. Your attempt is kept: grader history shows it."""
    from grader.build import stub_of

    house = find_house()
    exercise = house.find(id)
    fresh = stub_of(exercise)
    path = exercise.attempt
    shown = path.relative_to(house.root)
    kept = ""
    if path.exists():
        if path.read_bytes() == fresh.encode():
            click.echo(f"{shown} is the stub already.")
            return
        keep_attempt(house, exercise, "reset")
        kept = f" Your attempt is kept: grader history {exercise.number}"
    path.write_text(fresh, encoding="utf-8")
    click.echo(f"{shown} is the stub again.{kept}")


@main.command()
@click.argument("id")
@click.option("--show", type=int, metavar="N", help="Print the file as it was at attempt N.")
def history(id: str, show: int | None) -> None:
    """Your attempts at an exercise, each with its source."""
    house = find_house()
    exercise = house.find(id)
    kept = Progress(house.root).history(exercise.id)
    if show is not None:
        if not kept:
            raise HouseError(f"{exercise.id} has no attempt yet.")
        if not 1 <= show <= len(kept):
            raise HouseError(f"{exercise.id} has attempts 1 to {len(kept)}; there is no {show}.")
        text = Progress(house.root).source(kept[show - 1].source)
        if text is None:
            raise HouseError(f"the source of attempt {show} was not kept: it is no UTF-8 text, or changed meanwhile.")
        click.echo(text, nl=False)
        return
    if not kept:
        click.echo(f"No attempt at {exercise.id} yet. Begin: pytest exercises/{exercise.id}")
        return
    from grader.tables import print_history

    print_history(exercise, kept)
    click.echo(f"The file at attempt N: grader history {exercise.number} --show N")


@main.command()
@click.argument("id")
def new(id: str) -> None:
    """Write the files of a new exercise, with TODOs. ID is like dl_020_beam_search."""
    from grader.scaffold import scaffold

    house = find_house()
    for path in scaffold(house, id):
        click.echo(f"wrote {path.relative_to(house.root)}")
    click.echo(f"\nNext: write solutions/{id}, then grader build, then grader audit {id}")


@main.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 1 if a file is not current.")
def build(only_check: bool) -> None:
    """Write the stubs and the generated parts of the READMEs from solutions and exercise.toml."""
    from grader.build import build as build_all

    house = find_house()
    stale = [file for file in build_all(house) if not file.current]
    attempts = {exercise.attempt: exercise for exercise in house.exercises.values()}
    for file in stale:
        shown = file.path.relative_to(house.root)
        if only_check:
            why = "is no longer the stub" if file.path in attempts else "is not current"
            click.echo(f"{shown} {why}: run `grader build`.")
            continue
        if file.path in attempts and file.path.exists():
            keep_attempt(house, attempts[file.path], "build")
        file.path.write_text(file.text, encoding="utf-8")
        click.echo(f"wrote {shown}")
    if not stale:
        click.echo("All is current.")
    sys.exit(1 if stale and only_check else 0)


@main.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--seeds", default=3, show_default=True, help="How many seeds the solution must pass with.")
@click.option("--mutants", default="all", show_default=True, help="Generated mutants to try: all, none, or how many.")
@click.option("--jobs", type=int, default=None, help="Processes at a time; by default as many as there are cores.")
def audit(ids: tuple[str, ...], seeds: int, mutants: str, jobs: int | None) -> None:
    """Prove that exercises are healthy: stub, solution, wrong and right answers, generated mutants, facts."""
    from grader.audit import audit as audit_one
    from grader.run import RunError

    if mutants not in ("all", "none") and not mutants.isdecimal():
        _stop(f"--mutants takes all, none or a number, not '{mutants}'.", 2)
    limit = None if mutants == "all" else 0 if mutants == "none" else int(mutants)
    house = find_house()
    exercises = [house.find(id) for id in ids] or list(house.exercises.values())
    reports = []
    for exercise in exercises:
        try:
            reports.append(audit_one(house, exercise, seeds=seeds, mutants=limit, jobs=jobs, say=click.echo))
        except RunError as error:
            _stop(f"the checks of {exercise.id} cannot be collected:\n{error}", 3)
    if len(reports) > 1 and limit != 0:
        killed, tried = sum(one.killed for one in reports), sum(one.generated - one.equivalent for one in reports)
        click.echo(f"in all: {killed} of {tried} generated mutants killed ({killed / max(tried, 1):.1%})")
    sys.exit(0 if all(one.healthy for one in reports) else 1)


def keep_attempt(house: House, exercise: Exercise, why: str) -> None:
    """Keep a copy of a learner's file before it is overwritten; where that fails, nothing is overwritten."""
    path = exercise.attempt
    try:
        text = read_source(path)
    except UnicodeDecodeError:
        shown = path.relative_to(house.root)
        raise HouseError(f"{shown} is not UTF-8 text, and cannot be kept: move it away first.") from None
    try:
        Progress(house.root).note(exercise.id, why, text=text)
    except ProgressError as error:
        raise HouseError(
            f"{path.relative_to(house.root)} was left as it is, since it cannot be kept. {error}"
        ) from None


main.add_command(grade)
main.add_command(export)
main.add_command(course)
main.add_command(release)
main.add_command(class_)


def _earned(house: House) -> dict[str, set[str]]:
    """What is earned; a progress file that cannot be read is reported, and counts as empty."""
    try:
        return Progress(house.root).earned()
    except ProgressError as error:
        click.secho(str(error).replace("not recorded", "not shown"), fg="yellow", err=True)
        return {}


def _tried(house: House) -> set[str]:
    try:
        return Progress(house.root).tried()
    except ProgressError:
        return set()


def _next(house: House, earned: dict[str, set[str]], tried: set[str]) -> tuple[Exercise, str] | None:
    """The part to do next: of an exercise begun already, else of the one with the best priority."""

    def order(exercise: Exercise) -> tuple[bool, int, str]:
        task = house.task(exercise)
        return exercise.id not in tried, task.priority if task else 9, exercise.id

    for exercise in sorted(house.exercises.values(), key=order):
        for part in exercise.parts:
            if part.name not in earned.get(exercise.id, set()):
                return exercise, part.name
    return None


def _record(house: House, exercise: Exercise, result: Any) -> None:
    try:
        Progress(house.root).record(result, source_of(exercise.attempt, result.source), door="check")
    except ProgressError as error:
        click.secho(str(error), fg="yellow", err=True)


def _listed(house: House, exercise: Exercise, earned: dict[str, set[str]]) -> dict[str, Any]:
    task = house.task(exercise)
    mine = earned.get(exercise.id, set())
    return {
        "id": exercise.id,
        "title": exercise.title,
        "summary": exercise.summary,
        "priority": task.priority if task else None,
        "difficulty": task.difficulty if task else None,
        "minutes": exercise.minutes,
        "points": exercise.points,
        "earned": sum(part.points for part in exercise.parts if part.name in mine),
        "parts": [{"name": p.name, "points": p.points, "earned": p.name in mine} for p in exercise.parts],
    }


def _click_style(markup: dict[str, bool]) -> dict[str, Any]:
    colour = next((name for name in ("red", "green", "yellow") if markup.get(name)), None)
    return {"fg": colour, "bold": markup.get("bold"), "dim": markup.get("light")}


def _need(path: Path, what: str) -> None:
    """Raises HouseError where a student edition, which lacks more than this file, has no `path`."""
    if not path.is_file() and not path.parent.parent.is_dir():
        raise HouseError(f"This is a student edition, without {what}.")


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _stop(message: str, code: int) -> NoReturn:
    click.secho(f"grader: {message}", err=True)
    sys.exit(code)
