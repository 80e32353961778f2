"""How every command speaks: sentences on stderr, JSON, exit codes.

Exit codes: 0 all well, 1 something is not earned or not healthy, 2 wrong usage or bad input, 3 the grader's own fault.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from grader.base.text import nearest, plain, plain_lines
from grader.views.columns import terminal_columns, width_for
from grader.views.render import Line, with_command
from grader.views.signs import spoken
from grader.views.wrap import wrapped

_LONGEST_HELP = 1000


class Commands(click.Group):
    """Lists commands in the order of the file, each with its whole first sentence, and names the nearest for a typo."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [name for name, command in self.commands.items() if not command.hidden]
        rows = [(name, self.commands[name].get_short_help_str(_LONGEST_HELP)) for name in shown]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            ctx.fail(f"no command '{args[0]}'.{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def say(text: str, **style: Any) -> None:
    """A text that may hold strangers' words, as it may stand in a terminal. style: click's."""
    click.secho(plain_lines(text), **style)


def stop(message: str, code: int) -> NoReturn:
    """Say why, and end with this exit code."""
    say(_folded(f"grader: {message}"), err=True)
    sys.exit(code)


def warn(sentence: str) -> None:
    """Say what somebody should know; strangers' text in it is made harmless."""
    click.secho(_folded(f"grader: {plain(sentence)}"), fg="yellow", err=True)


def _folded(message: str) -> str:
    """The message in lines that the terminal of stderr does not break; as it is where there is no terminal."""
    if not sys.stderr.isatty():
        return message
    columns = shutil.get_terminal_size().columns
    return "\n".join(part for line in message.split("\n") for part in wrapped(line, columns, "", "") or [""])


def tell(sentences: str, command: str = "", indent: int = 0) -> None:
    """Say something in lines that fit the terminal, and behind it what one may type."""
    width, space = width_for(terminal_columns()), " " * indent
    lines = wrapped(sentences, width, space, f"{space}  ")
    for line in with_command(sentences, command, width, indent) if command else lines:
        click.echo(plain(line))


def print_json(value: Any) -> None:
    """Print data as JSON, in ASCII: some of it is strangers' text."""
    click.echo(json.dumps(value, indent=2))


def show(lines: Iterable[Line]) -> None:
    """Print lines as the terminal can show them."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    for line in lines:
        text = spoken(line.text, encoding)
        click.echo(click.style(text, **style(line.markup)) if line.markup else text)


def style(markup: dict[str, bool]) -> dict[str, Any]:
    """click's words for a line's style."""
    colour = next((name for name in ("red", "green", "yellow") if markup.get(name)), None)
    return {"fg": colour, "bold": markup.get("bold"), "dim": markup.get("light")}
