"""A notebook to practise in: `check("prefill")` runs the hidden checks of a part in the cage, and counts.

The text that is judged is put together from the cells that were run, as from a notebook that was handed in.
"""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from grader.bank.catalog import Exercise, House, Part, find_house
from grader.bank.layout import Cell, layout_of
from grader.base.files import LARGEST_FILE
from grader.classroom.lab import NotYet
from grader.classroom.lab import exercise as examples
from grader.learner.desk import record
from grader.learner.seat import Drawn, Ended, Fault, Pictured, Ready, Run, Said, seat_command
from grader.records.progress import ProgressError
from grader.submissions.ipython import plain_python
from grader.submissions.notebook import NotebookError, source_of_notebook
from grader.submissions.statements import defined
from grader.verdicts.result import Result
from grader.verdicts.verdict import Verdict
from grader.views.picture import NotebookPicture, alt, where_it_differs
from grader.views.render import failure_lines, gained_lines, part_line


def practice(id: str, namespace: dict[str, Any]) -> Callable[[str], None]:
    """The `check` of one exercise. namespace: the notebook's, with the cells that were run in `In`.

    `check(part)` prints what the part gives, and shows the pictures that the part declares. If it is not earned, it
    shows where values differ, too, and raises NotYet, whose message stands there without a traceback. In a student
    edition it runs the visible examples, counts those, and shows the pictures.
    """
    house = find_house()
    exercise = house.find(id)
    judge = KernelSeat(house, exercise)
    if not house.is_whole:
        return _examples_and_pictures(exercise, examples(id, namespace), judge, namespace)

    def check(part: str) -> None:
        wanted = exercise.part(part)
        text = text_of_cells(exercise, namespace["In"])
        result = judge.result(text, wanted)
        said, passed = told(house, exercise, wanted, result, text)
        if passed:
            print(said)
        else:
            show_where(result, wanted)
        show_pictures(judge.pictures(wanted))
        if not passed:
            raise NotYet(said)

    return check


def _examples_and_pictures(
    exercise: Exercise, run: Callable[[str], None], judge: "KernelSeat", namespace: dict[str, Any]
) -> Callable[[str], None]:
    """The `check` of a student edition. run: what runs the examples of a part, and raises NotYet where one fails."""

    def check(part: str) -> None:
        wanted = exercise.part(part)
        try:
            run(part)
        finally:  # a picture shows most where something is wrong
            if any(one.part == part for one in exercise.pictures):
                judge.result(text_of_cells(exercise, namespace["In"]), wanted)
                show_pictures(judge.pictures(wanted))

    return check


def show_where(result: Result, part: Part) -> None:
    """Show a map of where values differ, in a notebook; nothing where that is no tensor."""
    from IPython.display import display  # there is one wherever a notebook runs

    failure = next(one for one in result.parts if one.name == part.name).first_failure
    differs = where_it_differs(failure.finding) if failure else None
    if differs:
        display(NotebookPicture(differs))


def show_pictures(pictures: Iterable[Pictured]) -> None:
    """Show what the learner's code makes, and what the reference makes once that comes along, each with its words."""
    from IPython.display import display

    for one in pictures:
        print(f"{one.title}. {one.caption}")
        for whose, made in (("Yours", one.own), ("The reference's", one.reference)):
            if made and made.picture:
                display(NotebookPicture(made.picture))
                print(f"{whose}: {alt(made.picture)}")
            elif made:
                print(f"{whose}: no picture. {made.problem}")


def text_of_cells(exercise: Exercise, cells: Sequence[str]) -> str:
    """The learner's file from the cells that were run, by number; of two that define the same part the later counts."""
    layout = layout_of(exercise)
    given = [cell for cell in layout if not cell.is_answer]
    made = [{"cell_type": "code", "source": text, "metadata": _named(_answer(text, layout))} for text in cells[1:]]
    made += [{"cell_type": "code", "source": cell.text, "metadata": _named(cell.id)} for cell in given]
    notebook = json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    try:
        return source_of_notebook(notebook, exercise.stem, LARGEST_FILE, layout)
    except NotebookError as error:
        raise NotYet(f"this notebook {error}") from None


def _answer(text: str, layout: Sequence[Cell]) -> str:
    """The answer that a cell gives, or nothing."""
    try:
        names = defined(plain_python(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return next((cell.id for cell in layout if names & set(cell.names)), "")


def _named(id: str) -> dict[str, Any]:
    return {"nbgrader": {"grade_id": id}} if id else {}


class KernelSeat:
    """A seat for a kernel, which has an event loop of its own: it asks, and waits. It ends with the kernel."""

    def __init__(self, house: House, exercise: Exercise) -> None:
        self._command = seat_command(house, exercise)
        self._exercise = exercise
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0

    def result(self, text: str, part: Part) -> Result:
        """The result of a text, of one part and what it builds on. Raises NotYet where the grader cannot judge."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        self._number += 1
        before = self._exercise.before(part)
        self._send(Run(self._number, text, first=(part.name,), only=(*before, part.name), draws=True))
        for said in self._heard():
            if isinstance(said, Ended):
                return said.result
        raise NotYet("The process that judges has ended. Run this cell again.")

    def pictures(self, part: Part) -> Iterator[Pictured]:
        """The pictures of the part in the text that was judged last, as they are made."""
        left = sum(one.part == part.name for one in self._exercise.pictures)
        for said in self._heard() if left else ():
            if isinstance(said, Pictured) and said.part == part.name:
                left -= 1
                yield said
            if isinstance(said, Drawn) or not left:  # those of other parts come last, and are not waited for
                return

    def _send(self, run: Run | None) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(run) + b"\n")
        self._process.stdin.flush()

    def _heard(self) -> Iterator[Said]:
        """What the seat says of the newest run. Raises NotYet where it cannot judge; an interrupt stops it, too."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                said = msgspec.json.decode(line, type=Said)
                if isinstance(said, Fault):
                    raise NotYet(f"The grader could not judge. This is not your fault; what went wrong:\n{said.why}")
                if not isinstance(said, Ready) and said.run == self._number:
                    yield said
        except KeyboardInterrupt:
            self._send(None)
            raise


def told(house: House, exercise: Exercise, part: Part, result: Result, text: str) -> tuple[str, bool]:
    """What a notebook shows of a part, and whether it is earned; the run is recorded."""
    mine = next(one for one in result.parts if one.name == part.name)
    lines = [part_line(mine)]
    if mine.first_failure and mine.verdict is not Verdict.PASSED:
        lines += failure_lines(mine.first_failure)
    try:
        lines += gained_lines(exercise, record(house, exercise, result, door="notebook", text=text))
    except ProgressError as error:
        lines += [type(lines[0])(str(error))]
    return "\n".join(line.text for line in lines), mine.verdict is Verdict.PASSED
