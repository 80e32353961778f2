"""What a notebook of a course calls in the student's kernel: `check("KVCache")` runs a part's visible examples.

The hidden checks are not here, and are not needed: they run when the teacher grades. In a quiz `check` says how a
number will be read.
"""

import contextlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from grader.answering.typed import as_typed
from grader.bank.catalog import Exercise, Part, find_bank
from grader.bank.examples import examples_of
from grader.bank.places import INSTALLED
from grader.base.errors import HouseError
from grader.base.text import plain_lines
from grader.classroom.quiz import WRITE
from grader.drills.kinds import Number
from grader.drills.load import question_of
from grader.drills.question import Variant, variant
from grader.drills.shown import read_back
from grader.drills.value import Unread
from grader.learner.examples import count_passed, run_examples
from grader.records.progress import ProgressError


class NotYet(Exception):
    """Examples that do not pass. A notebook shows the message as it is, without a traceback."""

    def __init__(self, said: str) -> None:
        super().__init__(plain_lines(said))

    def _render_traceback_(self) -> list[str]:
        """What IPython asks for."""
        return str(self).splitlines()


def exercise(id: str, namespace: dict[str, Any]) -> Callable[[str], None]:
    """The `check` of one exercise. namespace: where the notebook's cells define their names.

    `check(part)` prints the examples of a part, each passed or not; raises NotYet if one did not pass. In a student
    edition that the notebook lies in, a part whose examples all pass counts.
    """
    house = find_bank()
    found = house.find(id)

    def check(part: str) -> None:
        if os.environ.get("NBGRADER_EXECUTION") == "autograde":
            raise RuntimeError("this notebook is graded by grader.classroom: see docs/classroom.md")
        passed = _check(found, found.part(part), namespace)
        if not house.is_whole and house.root.name not in INSTALLED:
            try:
                count_passed(house, found, passed)
            except ProgressError as error:
                print(error)

    return check


def _check(exercise: Exercise, part: Part, namespace: dict[str, Any]) -> list[str]:
    """The names of the examples, all of which passed."""
    missing = [name for name in part.names if name not in namespace]
    if missing:
        raise NotYet(f"{part.name}: run the cell that defines {' and '.join(missing)}, then this one again.")
    path = exercise.examples
    chosen = examples_of(path.read_text(encoding="utf-8"), exercise, part)
    if not chosen:
        print(f"{part.name}: it has no example to run here.")
        return []
    lines, failed = [], 0
    for ran in run_examples(path, chosen, _module(exercise.stem, namespace)):
        lines.append(f"  {'✗' if ran.problem else '✓'} {ran.name.removeprefix('test_').replace('_', ' ')}")
        lines += [f"      {line}" for line in ran.problem.splitlines()]
        failed += bool(ran.problem)
    picture = "\n".join([f"{part.name}: {len(chosen) - failed} of {len(chosen)} examples pass", *lines])
    if failed:
        raise NotYet(picture)
    print(picture)
    print("More checks run when it is graded.")
    return chosen


def read_as(question: str, value: Any) -> str:
    """How an answer of a quiz will be read, in a sentence; nothing where there is nothing to say.

    It is a number in the unit that is asked for, which is the same for all students. Nothing of the verdict.
    """
    match as_typed(value):
        case ["odd", said]:
            return f"It is {said}. {WRITE}"
        case ["typed", text]:
            with contextlib.suppress(HouseError):  # no drills here, or others
                return _read_as(variant(question_of(find_bank(), question), 0), text)
    return ""


def _read_as(one: Variant, typed: str) -> str:
    if not isinstance(one.asked, Number):
        return ""
    try:
        return f"It is read as {read_back(one, typed)}."
    except Unread as error:
        return f"It cannot be read. {error}"


class _Unwritten:
    """Stands for a name that no cell has defined so far."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"run the cell that defines {self._name} first")


def _unwritten(name: str) -> _Unwritten:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Unwritten(name)


def _module(stem: str, namespace: dict[str, Any]) -> ModuleType:
    """The notebook's names as the module that the examples import."""
    module = ModuleType(stem)
    module.__dict__.update({name: value for name, value in namespace.items() if not name.startswith("__")})
    module.__getattr__ = _unwritten  # type: ignore[method-assign]  # PEP 562
    return module
