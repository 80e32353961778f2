"""`grader check` in a student edition: the visible examples, since the hidden checks are not there."""

import sys
from collections.abc import Mapping, Sequence

import click
import msgspec

from grader.bank.catalog import Exercise, House
from grader.bank.source import read_source
from grader.base.errors import RunError
from grader.cli.talk import print_json, stop, style, warn
from grader.learner import desk
from grader.learner.examples import count_passed, done_parts, passed_names
from grader.learner.once import judge_once
from grader.records.progress import ProgressError
from grader.verdicts.result import Result
from grader.views.columns import terminal_columns
from grader.views.examples import example_lines


def check_examples(
    house: House, exercises: Sequence[Exercise], parts: Mapping[str, Sequence[str]], as_json: bool
) -> None:
    """Run the examples of these exercises, print what they say, and end: with 0 where all that ran passed, else 1."""
    untouched = [] if parts or as_json else [one for one in exercises if desk.is_stub(one)]
    results = []
    for exercise in (one for one in exercises if one not in untouched):
        only = tuple(parts.get(exercise.id, ()))
        results.append(_tried(house, exercise, only))
        passed = counting(house, exercise, results[-1])
        if not as_json:
            encoding, columns = sys.stdout.encoding or "ascii", terminal_columns()
            for line in example_lines(exercise, results[-1], passed, only, encoding, columns):
                click.secho(line.text, **style(line.markup))
            click.echo()
    if as_json:
        print_json([msgspec.to_builtins(result) for result in results])
    if untouched:
        click.echo(f"Not begun: {len(untouched)} of {len(house.exercises)} exercises (grader list names them)")
    passed_all = all(check.passed for result in results for part in result.parts for check in part.checks)
    sys.exit(0 if passed_all and not untouched else 1)


def counting(house: House, exercise: Exercise, result: Result) -> set[str]:
    """Count the parts whose examples passed; all that count by now."""
    try:
        count_passed(house, exercise, passed_names(result))
        return set(done_parts(house).get(exercise.id, ()))
    except ProgressError as error:
        warn(str(error))
        return set()


def _tried(house: House, exercise: Exercise, parts: tuple[str, ...]) -> Result:
    """What the examples say of the file."""
    try:
        text = read_source(exercise.attempt)
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{exercise.attempt.relative_to(house.root)} cannot be read as UTF-8 text: {error}.", 2)
    try:
        return judge_once(house, exercise, text, parts)
    except RunError as error:
        stop(f"the examples could not run. This is not your fault; what went wrong:\n{error}", 3)
