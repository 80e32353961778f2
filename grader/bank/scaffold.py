"""The files of a new exercise, with TODOs: enough for `grader dev audit` to say what is missing."""

from pathlib import Path

from grader.bank.catalog import EXERCISE_ID, House, label_of
from grader.bank.source import BEGIN, END
from grader.base.errors import HouseError

_TOML = """title = "TODO"
summary = "TODO: one line for lists."
revision = 1

[[part]]
name = "first_part"
points = 100
minutes = 15
topics = []                       # TODO: ids of exercises/coverage.toml
hints = ["TODO: a nudge", "TODO: the idea", "TODO: nearly the answer"]
why = "TODO: two sentences: why the reference does it this way, and what goes wrong otherwise."
"""

_README = """# TODO

<!-- facts -->
<!-- /facts -->

TODO: why it matters, and a picture.

## What to write

<!-- parts -->
<!-- /parts -->

## The contract

## Where people trip

## Not in this one

## Questions this answers in an interview

<!-- questions -->
<!-- /questions -->

## References
"""

_QUESTIONS = """[[question]]
asks = "TODO: what an interviewer asks?"
part = "first_part"               # the part whose work answers it
answer = "TODO: two to six sentences."
"""

_SOLUTION = f'''"""TODO: one line.

Notation
    n  TODO: one letter an axis
"""

from torch import Tensor


def first_part(x: Tensor) -> Tensor:
    """TODO: what it computes; shapes, formula, errors, source.

    x: (n,). Returns (n,).

    Example:
        >>> import torch
        >>> first_part(torch.tensor([1.0, 2.0]))
        tensor([2., 4.])
    """
    {BEGIN}
    return 2 * x
    {END}
'''

_EXAMPLES = """import {stem}
import torch


def test_first_part():
    assert {stem}.first_part(torch.tensor([1.0])).tolist() == [2.0]
"""

_CHECKS = '''"""The hidden checks. docs/checks.md has the vocabulary."""

from grader.checks import agree, part


@part("first_part")
def test_doubles(attempt, draw):
    """TODO: the property, in one sentence."""
    x = draw.normal(7)
    agree(attempt.first_part(x), x + x, axes="n", of="first_part of x n=7", known={"the input": x})
'''

_DRIVERS = '''"""What runs beside the learner's code: takes their module and data, returns data."""
'''

_MUTANTS = """[[mutant]]
name = "TODO: a mistake that people make"
caught_by = "test_doubles"
find = "2 * x"
put = "x"

[[right]]
name = "TODO: a right answer written differently"
find = "2 * x"
put = "x + x"
"""


def scaffold(house: House, id: str) -> list[Path]:
    """Write the files of exercise `id`; raises HouseError for a bad id, or if any of them is there."""
    if not EXERCISE_ID.fullmatch(id):
        raise HouseError(f"'{id}' cannot name an exercise: dl_020_beam_search could.")
    stem = id.split("_", 2)[2]
    files = {
        f"exercises/{id}/exercise.toml": _TOML,
        f"exercises/{id}/questions.toml": _QUESTIONS,
        f"exercises/{id}/README.md": _README,
        f"exercises/{id}/test_examples.py": _EXAMPLES.format(stem=stem),
        f"solutions/{id}/{stem}.py": _SOLUTION,
        f"tests/{id}/test_{stem}.py": _CHECKS,
        f"tests/{id}/drivers.py": _DRIVERS,
        f"tests/{id}/mutants.toml": _MUTANTS,
    }
    for name in files:
        if (house.root / name).exists():
            raise HouseError(f"{name} is there already; nothing was written.")
    number = label_of(id)
    folders = [path.name for path in sorted((house.root / "exercises").glob(f"{number}_*"))]
    planned = [task.id for task in house.coverage.task if task.id.startswith(f"{number}_")]
    taken = next((name for name in (*folders, *planned) if name != id), None)
    if taken:
        raise HouseError(f"{number} is the number of {taken}: choose another.")
    for name, text in files.items():
        path = house.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [house.root / name for name in files]
