"""What a seat runs in a student edition: the visible examples of one exercise, on one text after another.

It is asked and answers as `grader.learner.judge` does. The process with the cage, which makes pictures and tries lines,
begins when one is asked for.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError, RunError
from grader.learner.judge import RunQueue, draw, spoken, try_below
from grader.learner.seat import Cancelled, Checked, Ended, Fault, Ready, Run, Said
from grader.learner.tried import Planned, examples_by_part, in_order, try_examples

if TYPE_CHECKING:
    from grader.engine.batch import Engine


def main() -> None:
    """Run the examples on what is asked for on stdin, until it closes."""
    root, id = sys.argv[1:]
    asked, say = RunQueue(os.dup(0)), spoken()
    with ExitStack() as kept:

        @cache
        def engine() -> "Engine":
            from grader.engine.batch import Engine

            return kept.enter_context(Engine([exercise]))

        try:
            exercise = House(Path(root)).exercises[id]
            planned = examples_by_part(exercise)
            import pytest  # noqa: F401  # for all forks at once
            import torch  # noqa: F401  # as above

            say(Ready(sum(map(len, planned.values()))))
            for run in asked:
                if run.lines:
                    try_below(engine(), exercise, run, asked, say)
                else:
                    _judge(engine, exercise, planned, run, asked, say)
        except (RunError, HouseError) as error:
            say(Fault(0, str(error)))
            sys.exit(1)
        except BrokenPipeError:  # nobody listens any more
            sys.exit(1)


def _judge(
    engine: Callable[[], "Engine"],
    exercise: Exercise,
    planned: Planned,
    run: Run,
    asked: RunQueue,
    say: Callable[[Said], None],
) -> None:
    run = replace(run, text=run.text.removeprefix("\ufeff"))
    chosen = in_order(planned, run.first, run.only)
    total = sum(map(len, chosen.values()))
    result = try_examples(
        exercise,
        run.text,
        chosen,
        on_check=lambda check: say(Checked(run.number, total, check)),
        is_cancelled=asked.is_newer,
    )
    if result is None:
        say(Cancelled(run.number))
        return
    say(Ended(run.number, result))
    if run.draws:
        draw(engine(), exercise, run, result, asked, say)


if __name__ == "__main__":
    main()
