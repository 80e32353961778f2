"""What `nbgrader autograde` uses of us: notebooks read past every breakage, and parts graded in the engine.

`nbgrader_config.py`, written by `grader course`, names these classes. None runs a cell: where nbgrader would
execute the notebook, the answers go to the engine, and a graded cell gets the output from which nbgrader reads its
score.
"""

import atexit
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from nbconvert.exporters import NotebookExporter
from nbformat import from_dict
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde
from nbgrader.preprocessors import CheckCellMetadata, Execute, NbGraderPreprocessor, SaveAutoGrades
from nbgrader.utils import is_grade, is_solution
from traitlets import Dict, Enum, Integer, Unicode

from grader.bank.catalog import Exercise, House, read_exercise
from grader.bank.layout import PART, SETUP, exercise_named
from grader.base.fair import processors
from grader.base.files import read_file
from grader.base.seeds import new_seed, of_submission
from grader.base.text import plain
from grader.classroom.canonical import Expected, Texts, canonical, problem_of, texts_of, unreadable
from grader.classroom.copies import defuse, is_markup
from grader.classroom.notebook import part_named, shown
from grader.classroom.quizzed import answer_text
from grader.engine.judging import Judges, Judging, ServerError
from grader.engine.server import Asked, Batch
from grader.submissions.notebook import LARGEST_NOTEBOOK, NotebookError, cells_of_notebook, is_of
from grader.submissions.quiz import is_of_quiz, quiz_named
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import Verdict
from grader.views.render import part_text

_OURS = "grader"
"""Key of nbconvert's resources for a notebook that `ReadAnything` has put in order."""
_EYES = "grader_eyes"
"""Key for why a person should look at a notebook."""
_MOST_LOOKED_AT = 10
_QUIZ = "grader.classroom.quizzed"
"""What judges a quiz, in a process of its own."""


class ReadAnything(NotebookExporter):
    """Reads a submitted notebook of ours as the course made it; every other notebook as nbconvert does."""

    _looked_up: Any = Dict()
    _renamed: Any = Dict()
    """The name that a notebook should have, to the one that it has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # nbconvert's
        self._refuse_names()
        for folder, notebooks in getattr(self.parent, "assignments", {}).items():
            self._find_renamed(folder, notebooks)

    def _refuse_names(self) -> None:
        """Leave out each student whose name would be markup in formgrader, before the gradebook hears of it."""
        assignments: dict[str, list[str]] = getattr(self.parent, "assignments", {})
        for folder in list(assignments):
            name = Path(folder).parent.name
            if is_markup(name):
                del assignments[folder]
                self.log.error(
                    "Not graded: %s. formgrader cannot show the name of this student's folder as plain text. Rename it "
                    "(letters, digits, '-', '_', '.'), and run autograde again.", plain(folder),
                )  # fmt: skip

    def from_filename(self, filename: str, resources: Any = None, **kwargs: Any) -> Any:
        expected = self.expected((resources or {}).get("nbgrader", {}))
        if not any(part_named(one.id, one.source) for one in expected):
            return super().from_filename(filename, resources=resources, **kwargs)
        facts = resources["nbgrader"]
        own = self.own_texts(facts)
        self._files_as_text(facts)
        _as_collected(self._folder("autograded", facts["student"], facts), Path(filename).parent)
        try:
            text = read_file(self.path_of(filename), LARGEST_NOTEBOOK).decode("utf-8-sig")
            notebook = canonical(text, expected, own)
            said = problem_of(_json(text))
            if said and not getattr(self.parent, "_sanitizing", False):  # we wrote it; of a student it says nothing
                notebook["metadata"]["grader"] = {"problem": said}
        except NotebookError as error:
            notebook = unreadable(str(error), expected, own)
        except UnicodeDecodeError:
            notebook = unreadable("is not UTF-8 text", expected, own)
        except OSError as error:
            notebook = unreadable(f"cannot be read: {error.strerror}", expected, own)
        node, resources[_OURS] = from_dict(notebook), True
        return self.from_notebook_node(node, resources=resources, **kwargs)  # type: ignore[no-untyped-call]  # nbconvert's

    def path_of(self, notebook: str) -> Path:
        """Where a notebook lies, whose name nbgrader believes to be another."""
        return Path(self._renamed.get(notebook, notebook))

    def _find_renamed(self, folder: str, notebooks: list[str]) -> None:
        """Let the one notebook of a folder that holds our cells count, whatever it is called: `kv_cache (1).ipynb`."""
        names = self._names_of_ours(Path(folder).name)
        if len(names) != 1 or any(Path(path).stem in names for path in notebooks):
            return
        ((name, expected),) = names.items()
        ours = [path for path in sorted(notebooks)[:_MOST_LOOKED_AT] if _holds(Path(path), expected)]
        wanted = str(Path(folder) / f"{name}.ipynb")
        there = plain(" and ".join(Path(path).name for path in ours))
        if len(ours) == 1:
            notebooks[:], self._renamed[wanted] = [wanted], ours[0]
            self.log.warning(
                "Needs your eyes: %s has no %s.ipynb; %s counts, by its cells.", plain(folder), name, there
            )
        else:
            why = f"{there} are of this exercise: keep one" if ours else "no notebook there is of this exercise"
            self.log.warning("Needs your eyes: %s has no %s.ipynb, and %s.", plain(folder), name, why)

    def _names_of_ours(self, assignment: str) -> dict[str, list[Expected]]:
        """The notebooks of an assignment that `grader course` made, with their cells."""
        if assignment not in self._looked_up:
            converter: Any = self.parent
            db_url = converter.coursedir.db_url
            with Gradebook(db_url) as gradebook:
                try:
                    names = [notebook.name for notebook in gradebook.find_assignment(assignment).notebooks]
                except MissingEntry:
                    names = []
            facts = {"db_url": db_url, "assignment": assignment}
            found = {name: self.expected({**facts, "notebook": name}) for name in names}
            self._looked_up[assignment] = {
                name: cells for name, cells in found.items() if any(part_named(one.id, one.source) for one in cells)
            }
        ours: dict[str, list[Expected]] = self._looked_up[assignment]
        return ours

    def expected(self, facts: dict[str, str]) -> list[Expected]:
        """The cells of an assignment's notebook. They are looked up once: an exporter serves one run of nbgrader."""
        if not facts:
            return []
        key = facts["db_url"], facts["assignment"], facts["notebook"]
        if key not in self._looked_up:
            self._looked_up[key] = _expected(*key)
        found: list[Expected] = self._looked_up[key]
        return found

    def own_texts(self, facts: dict[str, str]) -> Texts:
        """The texts of an assignment's notebook, from the teacher's source; none where that is not there."""
        path = self._folder("source", ".", facts) / f"{facts['notebook']}.ipynb"
        if path not in self._looked_up:
            try:
                self._looked_up[path] = texts_of(read_file(path, LARGEST_NOTEBOOK).decode("utf-8-sig"))
            except (NotebookError, OSError, UnicodeDecodeError):
                self._looked_up[path] = {}
        found: Texts = self._looked_up[path]
        return found

    def _files_as_text(self, facts: dict[str, str]) -> None:
        """See to the other files of a submission, which nbgrader has copied to autograded/ before."""
        for name in defuse(self._folder("autograded", facts["student"], facts), self._folder("source", ".", facts)):
            self.log.warning("A browser or nbgrader might run %s: its copy ends in .txt now.", plain(name))

    def _folder(self, step: str, student: str, facts: dict[str, str]) -> Path:
        course: Any = self.parent and self.parent.coursedir
        return Path(course.format_path(getattr(course, f"{step}_directory"), student, facts["assignment"]))


def _as_collected(graded: Path, submitted: Path) -> None:
    """Write what `nbgrader collect` would have, for a submission that was put there by hand.

    Without these two files `nbgrader release_feedback` stops, for the whole class.
    """
    if not graded.is_dir():
        return
    handed_in = datetime.fromtimestamp(submitted.stat().st_mtime, UTC)
    texts = {"timestamp.txt": f"{handed_in:%Y-%m-%d %H:%M:%S.%f} UTC", "submission_secret.txt": token_hex(64)}
    for name, text in texts.items():
        with contextlib.suppress(FileExistsError), (graded / name).open("x", encoding="utf-8") as file:
            file.write(text)


class CheckOthers(CheckCellMetadata):  # type: ignore[misc]  # nbgrader ships no types
    """Checks the marks of notebooks that are not ours; in ours `ReadAnything` has just written them."""

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
            if resources.get(_EYES):
                self._flag(nb, resources[_EYES])
            commit()
        return nb, resources

    def _add_score(self, cell: Any, resources: Any) -> None:
        """As nbgrader's; what gives no points waits for nobody, such as a question that the teacher left at 0."""
        super()._add_score(cell, resources)
        grade = self.gradebook.find_grade(_id(cell), self.notebook_id, self.assignment_id, self.student_id)
        if resources.get(_OURS) and grade.manual_score is None and grade.max_score == 0:
            grade.needs_manual_grade = False

    def _flag(self, nb: Any, why: str) -> None:
        """Have formgrader list the notebook under what needs a person; the reason is the comment of its answers."""
        place = self.notebook_id, self.assignment_id, self.student_id
        for cell in nb.cells:
            if is_grade(cell):
                self.gradebook.find_grade(_id(cell), *place).needs_manual_grade = True
            if is_solution(cell):
                self.gradebook.find_comment(_id(cell), *place).auto_comment = why


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


Tell = Callable[[PartResult, float], str]
"""What a graded cell shows of a part, and of the points that it is worth."""


class _Judge(NamedTuple):
    """Who judges an assignment. name: of the exercise or the quiz. root: of the house. quiz: the folder of one."""

    name: str
    root: Path
    tell: Tell
    quiz: str = ""


class GradeParts(Execute):  # type: ignore[misc]  # nbgrader ships no types
    """Takes the place of Execute. A notebook that `grader course` did not write is executed as usual."""

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
    cluster = Unicode(
        "",
        help="Judge on the workers of this Dask scheduler (tls://HOST:PORT, or its file), as `grader grade --cluster`.",
    ).tag(config=True)

    # Both are shared on purpose: nbconvert makes a new object now and then.
    _judging: dict[str, Judges] = {}  # noqa: RUF012
    """Who judges exercises, under "", and each quiz, under its folder."""
    _announced: dict[str, tuple[str, Judges]] = {}  # noqa: RUF012
    """The exercise or the quiz whose submissions each of these was told of last."""
    _drawn = new_seed()

    def preprocess(self, nb: Any, resources: Any) -> Any:
        if not any(part_named(_id(cell), cell.source) for cell in nb.cells):
            return super().preprocess(nb, resources)
        student, assignment = resources["nbgrader"]["student"], resources["nbgrader"]["assignment"]
        judge = self._judge_of(nb, assignment)
        problem, result = problem_of(nb), None
        if problem:
            problem = f"The notebook that was handed in {problem}."
        else:
            self._announce_others(judge, assignment, student)
            one = self._asked(judge, student, nb.cells)
            result = self._judging_by(judge).result(Batch(judge.name, [one]), one)
            self._trust(result)
            problem = result.problem
        if problem:
            resources[_EYES] = _safe(problem)
            self.log.warning("Needs your eyes: %s/%s: %s", plain(student), plain(assignment), _safe(problem))
        self._fill(nb, result, problem, judge.tell)
        return nb, resources

    def _judge_of(self, nb: Any, assignment: str) -> "_Judge":
        """Who judges a notebook of ours. Raises ServerError where there is none: it is never executed."""
        quiz = quiz_named(next((cell.source for cell in nb.cells if _id(cell) == SETUP), ""))
        if quiz:
            course = self.parent.parent.coursedir
            folder = course.format_path(course.source_directory, ".", assignment)
            return _Judge(Path(folder).name, Path(self.house), answer_text, folder)
        exercise = self._exercise(nb)
        return _Judge(exercise.id, exercise.root, part_text)

    def _exercise(self, nb: Any) -> Exercise:
        """The exercise of a notebook of ours. Raises ServerError if there is none: it is never executed."""
        id = exercise_named(next((cell.source for cell in nb.cells if _id(cell) == SETUP), ""))
        if not (Path(self.house) / "exercises" / id / "exercise.toml").is_file() or not id:
            raise ServerError(
                f"there is no exercise '{id}' in {self.house}: let c.GradeParts.house in nbgrader_config.py name the "
                "folder of the katas. Nothing was executed, and nothing graded."
            )
        return read_exercise(Path(self.house), id)

    def _asked(self, judge: "_Judge", student: str, cells: Sequence[Mapping[str, Any]]) -> Asked:
        seed = self._drawn if self.seed is None else self.seed
        return Asked(student, of_submission(seed, student, judge.name), notebook=_code_of(cells))

    def _judging_by(self, judge: "_Judge") -> Judges:
        """Who judges: one process, which goes from one exercise to the next; another one for a quiz."""
        if judge.quiz not in self._judging or self._judging[judge.quiz].has_ended:
            self._judging[judge.quiz] = self._started(judge)
        return self._judging[judge.quiz]

    def _started(self, judge: "_Judge") -> Judges:
        """A process of this machine, or the workers of a cluster. Raises ServerError."""
        judging: Judges
        if judge.quiz:
            command = (_QUIZ, self.house, judge.quiz, self.require)
            judging = Judging(judge.root, self.require, 1, module=command)
        elif self.cluster:
            try:
                from grader.cluster.judging import ClusterJudging
            except ImportError:
                raise ServerError("c.GradeParts.cluster needs Dask: install the extra `cluster`") from None
            judging = ClusterJudging(House(judge.root), self.cluster, self.require)
        else:
            judging = Judging(judge.root, self.require, self.jobs or len(processors()), self._others_work())
        atexit.register(judging.close)
        return judging

    def _others_work(self) -> list[Path]:
        """Where work and marks of others lie: the course, and the exchange where the configuration names one."""
        exchange = self.config.get("Exchange", {}).get("root")
        return [Path(self.parent.parent.coursedir.root), *([Path(exchange)] if isinstance(exchange, str) else [])]

    def _announce_others(self, judge: "_Judge", assignment: str, student: str) -> None:
        """Let the engine begin with the submissions that nbgrader will ask for next."""
        judging = self._judging_by(judge)
        if self._announced.get(judge.quiz) == (judge.name, judging):
            return
        self._announced[judge.quiz] = judge.name, judging
        judging.forget()  # nbgrader has gone on to another exercise
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
                    text = read_file(self.parent.path_of(notebook), LARGEST_NOTEBOOK).decode("utf-8-sig")
                    cells = canonical(text, self.parent.expected(facts), {})["cells"]
                    asked.append(self._asked(judge, other, cells))
                except (NotebookError, OSError, UnicodeError):  # names of folders are not always characters
                    continue
        judging.announce(Batch(judge.name, asked))

    def _trust(self, result: Result) -> None:
        """Raises ServerError where the grader itself failed: nbgrader names the student, and goes on."""
        for part in result.parts:
            if part.verdict is Verdict.GRADER_ERROR:
                raise ServerError(f"{result.exercise}: the grader itself failed on {part.name}: {part.message}")
        if result.isolation != "full":
            self.log.warning("Graded in isolation '%s', which is weaker than full: see SECURITY.md.", result.isolation)

    def _fill(self, nb: Any, result: Result | None, problem: str, tell: "Tell") -> None:
        """Give each graded code cell the outputs from which nbgrader reads its score, and a student the reason."""
        parts = {part.name: part for part in result.parts} if result else {}
        for cell in nb.cells:
            marks = cell.metadata.get("nbgrader", {})
            if cell.cell_type != "code" or not marks.get("grade") or marks.get("solution"):
                continue
            name = part_named(_id(cell), cell.source) or _id(cell).removeprefix(PART)
            part = parts.get(name)
            verdict = Verdict.ERROR if problem else Verdict.NOT_RUN
            said = tell(part, marks["points"]) if part else _unjudged(name, marks["points"], verdict, problem)
            share = part.earned / part.points if part and part.points else 0.0
            cell.outputs = [
                from_dict({"output_type": "stream", "name": "stdout", "text": _safe(said) + "\n"}),
                from_dict(
                    {
                        "output_type": "execute_result",
                        "execution_count": 1,
                        "metadata": shown(part, result, problem),
                        "data": {"text/plain": repr(float(marks["points"]) * share)},
                    }
                ),
            ]
            cell.execution_count = 1


def _holds(path: Path, expected: Sequence[Expected]) -> bool:
    """Whether a notebook is of the exercise or the quiz whose cells are expected."""
    setup = next((one.source for one in expected if one.id == SETUP), "")
    id, quiz = exercise_named(setup), quiz_named(setup)
    answers = {one.id for one in expected if one.kind == "code" and one.marks.get("solution")}
    try:
        cells = cells_of_notebook(read_file(path, LARGEST_NOTEBOOK).decode("utf-8-sig"))
        return is_of_quiz(cells, quiz) if quiz else is_of(cells, id, answers)
    except (NotebookError, OSError, UnicodeDecodeError):
        return False


def _code_of(cells: Sequence[Mapping[str, Any]]) -> str:
    """A notebook with what counts of its cells: announced, and asked for later, it is the same text."""
    counting = []
    for cell in cells:
        id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        source = cell["source"] if cell["cell_type"] == "code" else ""
        counting.append({"cell_type": cell["cell_type"], "source": source, "metadata": {"nbgrader": {"grade_id": id}}})
    return json.dumps({"cells": counting})


def _unjudged(name: str, points: float, verdict: Verdict, problem: str) -> str:
    """What a graded cell shows that no judge has seen."""
    why = problem or "Only parts of the exercise are run here. For points by hand, make it a manually graded answer."
    return f"{name}: {verdict}, 0 of {points:g} points\n      {why}"


def _id(cell: Any) -> str:
    found = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return found if isinstance(found, str) else ""


def _safe(said: str) -> str:
    """Line by line, without characters that a terminal or a web page would read as a command."""
    return "\n".join(plain(line) for line in said.splitlines())
