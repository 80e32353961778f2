"""The command `grader doctor`: what this machine gives to grading."""

import shutil
import textwrap

import click
import msgspec

from grader.cli.talk import print_json

_NAME = 29
_NARROWEST = 40


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data, for a bug report or a script.")
def doctor(as_json: bool) -> None:
    """What this machine gives to grading: isolation, limits, cores, versions, and what would make it better.

    It grades nothing. Exit codes: 0 all is as it should be; 1 something could be better.
    """
    from grader.engine.doctor import facts

    found = list(facts())
    if as_json:
        print_json([msgspec.to_builtins(fact) for fact in found])
    else:
        columns = max(min(shutil.get_terminal_size((80, 24)).columns, 100), _NARROWEST)
        for fact in found:
            _show(fact.name, fact.value, columns)
            if fact.todo:
                _show("", fact.todo, columns, fg="yellow")
    raise SystemExit(1 if any(fact.todo for fact in found) else 0)


def _show(name: str, text: str, columns: int, **style: str) -> None:
    for number, line in enumerate(textwrap.wrap(text, columns - _NAME)):
        click.secho(f"{'' if number else name:{_NAME}}", nl=False)
        click.secho(line, fg=style.get("fg"))
