"""What the visible examples say of a text, in a student edition: it knows no points, and says so."""

from collections.abc import Collection

from grader.bank.catalog import Exercise
from grader.verdicts.result import Result
from grader.verdicts.verdict import NOT_BEGUN
from grader.views.columns import WIDTH, width_for
from grader.views.render import Line, failure_lines, part_line, spoken_lines, title_of

WORD = "examples"
"""What checks are called that a learner sees."""
LIMIT = "More checks run when your work is graded, and only they give points."
"""What this edition cannot know."""


def examples_said(exercise: Exercise, passed: Collection[str]) -> str:
    """How far one is. passed: the parts whose examples passed, now or before."""
    count = sum(part.name in passed for part in exercise.parts)
    return f"examples of {count} of {len(exercise.parts)} parts pass"


def example_lines(
    exercise: Exercise,
    result: Result,
    passed: Collection[str],
    only: Collection[str] = (),
    encoding: str = "utf-8",
    columns: int = WIDTH,
) -> list[Line]:
    """What a learner reads after their examples have run. passed: as in `examples_said`. only: the parts to show."""
    width = width_for(columns)
    head, tail = title_of(exercise), examples_said(exercise, passed)
    lines = [Line(f"{head}{tail:>{max(width - len(head), len(tail) + 2)}}", {"bold": True})]
    broken = result.problem
    for part in (one for one in result.parts if not only or one.name in only):
        lines.append(part_line(part, width, WORD))
        failure = part.first_failure
        if failure and not broken and part.verdict not in NOT_BEGUN:
            lines += failure_lines(failure, width)
            again = f"again: pytest exercises/{exercise.id}/test_examples.py::{failure.id}"
            lines.append(Line(f"      {again}", {"light": True}))
    if broken:
        shown = next(part.first_failure for part in result.parts if part.first_failure)
        lines += [Line(""), *failure_lines(shown, width)]
    lines += [Line(""), Line(f"  {LIMIT}")]
    open_part = next((part for part in result.parts if part.checks and part.first_failure), None)
    if open_part:
        lines.append(Line(f"  Stuck? grader hint {exercise.number} {open_part.name}"))
    return spoken_lines(lines, encoding)
