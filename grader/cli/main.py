"""The command `grader`: a page of talk around one call each; torch and pytest load only where a check runs."""

import sys
from io import TextIOWrapper
from typing import Any

import click

from grader import __version__
from grader.base.errors import HouseError
from grader.base.terminal import wants_plain
from grader.cli import learner
from grader.cli.classroom import class_, course, notebook, release
from grader.cli.dev import dev, moved
from grader.cli.doctor import doctor
from grader.cli.drill import drill
from grader.cli.export import export
from grader.cli.folder import init, update
from grader.cli.grade import grade, merge_
from grader.cli.interview import interview
from grader.cli.picture import picture
from grader.cli.regrade import regrade
from grader.cli.serve import report, serve
from grader.cli.talk import Commands, stop
from grader.cli.watch import watch
from grader.records.progress import ProgressError


class Main(Commands):
    """What is raised with a sentence for a person ends here."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (HouseError, ProgressError) as error:
            stop(str(error), 2)
        except OSError as error:
            if not error.filename:  # of no file: a pipe that is closed, say, which click knows
                raise
            stop(f"{error.filename}: {error.strerror}.", 2)


@click.group(cls=Main, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="grader")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Deep-learning katas: check attempts, keep progress, show coverage.

    Without a command: what to do next. An exercise may be typed as its number.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of few characters is no reason to fail
    if wants_plain():
        ctx.color = False
    if ctx.invoked_subcommand is None:
        learner.desk_()


for command in (
    learner.status, learner.list_, learner.check, watch, serve, learner.hint, picture, learner.questions, drill,
    interview, learner.solution, learner.reset, learner.history, report, notebook, init, update, grade, merge_,
    regrade, doctor, export, course, release, class_, dev, *moved,
):  # fmt: skip
    main.add_command(command)
