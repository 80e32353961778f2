"""What `nbgrader autograde` uses of us: notebooks read past every breakage, and parts graded in the engine.

`nbgrader_config.py`, written by `grader course`, names these classes. None runs a cell: where nbgrader would
execute the notebook, the answers go to `server`, and a graded cell gets the output from which nbgrader reads its score.
"""

import atexit
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbformat import from_dict
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde
from nbgrader.preprocessors import CheckCellMetadata, Execute, NbGraderPreprocessor, SaveAutoGrades
from traitlets import Dict, Enum, Integer, Unicode

from grader.catalog import Exercise, read_exercise
from grader.cells import PART, SETUP, Cell, layout_of
from grader.classroom.canonical import Expected, canonical, problem_of, unreadable
from grader.classroom.notebook import exercise_named, part_named
from grader.classroom.server import Asked, Judging, ServerError
from grader.engine.notebook import LARGEST_NOTEBOOK, NotebookError, source_of_notebook
from grader.export import plain
from grader.fair import processors
from grader.render import part_text
from grader.result import PartResult, Result, Verdict
from grader.submitted import LARGEST_FILE, derive, new_seed, read_file

_OURS = "grader"
"""Key of nbconvert's resources for a notebook that `ReadAnything` has put in order."""


class ReadAnything(NotebookExporter):
    """Reads a submitted notebook of ours as the course made it; every other notebook as nbconvert does."""

    _looked_up: Any = Dict()

    def from_filename(self, filename: str, resources: Any = None, **kwargs: Any) -> Any:
        expected = self.expected((resources or {}).get("nbgrader", {}))
        if not any(part_named(one.id, one.source) for one in expected):
            return super().from_filename(filename, resources=resources, **kwargs)
        try:
            text = read_file(Path(filename), LARGEST_NOTEBOOK).decode("utf-8-sig")
            notebook = canonical(text, expected)
            said = problem_of(_json(text))
            if said:
                notebook["metadata"]["grader"] = {"problem": said}
        except NotebookError as error:
            notebook = unreadable(str(error), expected)
        except UnicodeDecodeError:
            notebook = unreadable("is not UTF-8 text", expected)
        except OSError as error:
            notebook = unreadable(f"cannot be read: {error.strerror}", expected)
        node, resources[_OURS] = from_dict(notebook), True
        return self.from_notebook_node(node, resources=resources, **kwargs)  # type: ignore[no-untyped-call]  # nbconvert's

    def expected(self, facts: dict[str, str]) -> list[Expected]:
        """The cells of an assignment's notebook. They are looked up once: an exporter serves one run of nbgrader."""
        if not facts:
            return []
        key = facts["db_url"], facts["assignment"], facts["notebook"]
        if key not in self._looked_up:
            self._looked_up[key] = _expected(*key)
        found: list[Expected] = self._looked_up[key]
        return found


class CheckOthers(CheckCellMetadata):  # type: ignore[misc]  # nbgrader ships no types
    """Checks the marks of a notebook that is none of ours. Those of ours were written by `ReadAnything` just now."""

    def preprocess(self, nb: Any, resources: Any) -> Any:
        return (nb, resources) if resources.get(_OURS) else super().preprocess(nb, resources)


class SanitizeOthers(NbGraderPreprocessor):  # type: ignore[misc]  # nbgrader ships no types
    """nbgrader's own steps before grading, for a notebook that is none of ours: `ReadAnything` does what they do."""

    def preprocess(self, nb: Any, resources: Any) -> Any:
        if not resources.get(_OURS):
            for step in Autograde.class_traits()["sanitize_preprocessors"].default():
                nb, resources = step(parent=self.parent)(nb, resources)
        return nb, resources


class SaveAtOnce(SaveAutoGrades):  # type: ignore[misc]  # nbgrader ships no types
    """Saves all of a notebook's scores, or none. nbgrader's own class waits for the disk twice a cell."""

    def preprocess(self, nb: Any, resources: Any) -> Any:
        facts = resources["nbgrader"]
        self.notebook_id, self.assignment_id, self.student_id = (
            facts[name] for name in ("notebook", "assignment", "student")
        )
        with Gradebook(facts["db_url"]) as self.gradebook:
            commit, self.gradebook.db.commit = self.gradebook.db.commit, lambda: None
            nb, resources = super(SaveAutoGrades, self).preprocess(nb, resources)  # past its own, which opens another
            commit()
        return nb, resources


def _json(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) and isinstance(found.get("metadata"), dict) else {}


def _expected(db_url: str, assignment: str, name: str) -> list[Expected]:
    """The cells of an assignment's notebook, from the gradebook; none for a notebook that it does not know."""
    with Gradebook(db_url) as gradebook:
        try:
            notebook = gradebook.find_notebook(name, assignment)
        except MissingEntry:
            return []
        points = {cell.name: cell.max_score for cell in notebook.grade_cells}
        tasks = {cell.name: cell.max_score for cell in notebook.task_cells}
        solutions = {cell.name for cell in notebook.solution_cells}
        found = []
        for cell in notebook.source_cells:
            marks = {
                "grade_id": cell.name,
                "schema_version": 3,
                "grade": cell.name in points,
                "solution": cell.name in solutions,
                "locked": bool(cell.locked),
                "task": cell.name in tasks,
                "cell_type": cell.cell_type,
                "checksum": cell.checksum,
            }
            if cell.name in points or cell.name in tasks:
                marks["points"] = {**points, **tasks}[cell.name]
            found.append(Expected(cell.name, cell.cell_type, cell.source, marks))
        return found


class GradeParts(Execute):  # type: ignore[misc]  # nbgrader ships no types
    """Takes the place of Execute. A notebook that is none of ours is executed, as ever."""

    house = Unicode("", help="The folder of the katas: it holds exercises/, solutions/ and tests/.").tag(config=True)
    require = Enum(["process", "landlock", "full"], "process", help="Refuse to grade in weaker isolation.").tag(
        config=True
    )
    seed = Integer(
        None,
        allow_none=True,
        help="Seed of all random inputs, as of `grader grade --seed`; by default one that nobody knows.",
    ).tag(config=True)
    jobs = Integer(0, help="Submissions at a time; 0 for one a core.").tag(config=True)

    _judging: dict[str, Judging] = {}  # noqa: RUF012  # shared on purpose: nbconvert makes a new object now and then
    _drawn = new_seed()

    def preprocess(self, nb: Any, resources: Any) -> Any:
        if not any(part_named(_id(cell), cell.source) for cell in nb.cells):
            return super().preprocess(nb, resources)
        exercise = self._exercise(nb)
        problem, text = problem_of(nb), ""
        if not problem:
            try:
                text = _source(exercise, nb.cells)
            except NotebookError as error:
                problem = str(error)
        if problem:
            self._fill(nb, {}, f"The notebook that was handed in {problem}.")
            return nb, resources
        student = resources["nbgrader"]["student"]
        self._announce_others(exercise, resources["nbgrader"]["assignment"], student)
        result = self._judge(exercise).result(self._asked(exercise, student, text))
        self._trust(result)
        self._fill(nb, {part.name: part for part in result.parts}, "")
        return nb, resources

    def _exercise(self, nb: Any) -> Exercise:
        """The exercise that a notebook of ours is of. Raises ServerError: never is such a notebook executed instead."""
        id = exercise_named(next((cell.source for cell in nb.cells if _id(cell) == SETUP), ""))
        if not (Path(self.house) / "exercises" / id / "exercise.toml").is_file() or not id:
            raise ServerError(
                f"there is no exercise '{id}' in {self.house}: let c.GradeParts.house in nbgrader_config.py name the "
                "folder of the katas. Nothing was executed, and nothing graded."
            )
        return read_exercise(Path(self.house), id)

    def _asked(self, exercise: Exercise, student: str, text: str) -> Asked:
        seed = self._drawn if self.seed is None else self.seed
        return Asked(student, text, derive(seed, f"{student}/{exercise.id}") % (1 << 31))

    def _judge(self, exercise: Exercise) -> Judging:
        if exercise.id not in self._judging or self._judging[exercise.id].has_ended:
            for other in self._judging.values():
                other.close()
            self._judging.clear()
            jobs = self.jobs or len(processors())
            self._judging[exercise.id] = Judging(exercise.root, exercise.id, self.require, jobs)
            atexit.register(self._judging[exercise.id].close)
        return self._judging[exercise.id]

    def _announce_others(self, exercise: Exercise, assignment: str, student: str) -> None:
        """Let the engine go ahead with the submissions that nbgrader will come to next."""
        if exercise.id in self._judging and not self._judging[exercise.id].has_ended:
            return
        converter = self.parent.parent
        asked = []
        for folder, notebooks in sorted(converter.assignments.items()):
            other = Path(folder).parent.name if Path(folder).name == assignment else ""
            done = Path(converter._format_dest(assignment, other)).exists() and not converter.force
            if not other or (done and other != student):
                continue
            for notebook in notebooks:
                facts = {
                    "db_url": converter.coursedir.db_url,
                    "assignment": assignment,
                    "notebook": Path(notebook).stem,
                }
                try:
                    text = read_file(Path(notebook), LARGEST_NOTEBOOK).decode("utf-8-sig")
                    cells = canonical(text, self.parent.expected(facts))["cells"]
                    asked.append(self._asked(exercise, other, _source(exercise, cells)))
                except (NotebookError, OSError, UnicodeDecodeError):
                    continue
        self._judge(exercise).announce(asked)

    def _trust(self, result: Result) -> None:
        """Raises ServerError where the grader itself failed: nbgrader names the student, and goes on."""
        for part in result.parts:
            if part.verdict is Verdict.GRADER_ERROR:
                raise ServerError(f"{result.exercise}: the grader itself failed on {part.name}: {part.message}")
        if result.isolation != "full":
            self.log.warning("Graded in isolation '%s', which is weaker than full: see SECURITY.md.", result.isolation)

    def _fill(self, nb: Any, parts: dict[str, PartResult], problem: str) -> None:
        """Give each graded code cell the outputs from which nbgrader reads its score, and a student the reason."""
        for cell in nb.cells:
            marks = cell.metadata.get("nbgrader", {})
            if cell.cell_type != "code" or not marks.get("grade") or marks.get("solution"):
                continue
            part = parts.get(_id(cell).removeprefix(PART))
            name = _id(cell).removeprefix(PART)
            said = part_text(part, marks["points"]) if part else _unjudged(name, marks["points"], problem)
            share = part.earned / part.points if part and part.points else 0.0
            cell.outputs = [
                from_dict({"output_type": "stream", "name": "stdout", "text": _safe(said) + "\n"}),
                from_dict(
                    {
                        "output_type": "execute_result",
                        "execution_count": 1,
                        "metadata": {},
                        "data": {"text/plain": repr(float(marks["points"]) * share)},
                    }
                ),
            ]
            cell.execution_count = 1


def _source(exercise: Exercise, cells: Sequence[Mapping[str, Any]]) -> str:
    """What is judged of a notebook. Raises NotebookError."""
    counting = [{name: cell[name] for name in ("cell_type", "source", "metadata")} for cell in cells]
    return _source_of(json.dumps({"cells": counting}), exercise.stem, layout_of(exercise))


@lru_cache(maxsize=1024)  # a notebook is announced, and comes up later
def _source_of(text: str, stem: str, layout: tuple[Cell, ...]) -> str:
    return source_of_notebook(text, stem, LARGEST_FILE, layout)


def _unjudged(name: str, points: float, problem: str) -> str:
    """What a graded cell shows that no verdict stands behind."""
    verdict = "error" if problem else "not run"
    why = problem or "Only parts of the exercise are run here. For points by hand, make it a manually graded answer."
    return f"{name}: {verdict}, 0 of {points:g} points\n      {why}"


def _id(cell: Any) -> str:
    found = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return found if isinstance(found, str) else ""


def _safe(said: str) -> str:
    """Line by line, with no character that a terminal or a page would take for more than itself."""
    return "\n".join(plain(line) for line in said.splitlines())
