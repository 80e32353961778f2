"""Results as files for other systems: JUnit XML, CSV, a Canvas gradebook, Gradescope's results.json.

Each is a view: text made of a list of results, and nothing else. Names and messages in a result are strangers' text, so
each view takes care of what its reader would make of them: a formula, a tag, a command to the terminal.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from urllib.parse import quote
from xml.etree import ElementTree

from grader.base.files import digest
from grader.base.text import defused, plain
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import Verdict

_NOT_THE_CODE = (Verdict.GRADER_ERROR, Verdict.NOT_RUN)
"""Verdicts that say nothing about the submission."""
_LONGEST_NAME = 80
CANVAS_POINTS = "Points Possible"


def _table(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([defused(cell) for cell in row] for row in rows)
    return text.getvalue()


# ---- the views


def as_csv(results: Sequence[Result]) -> str:
    """One row a student, exercise and part."""
    head = "student exercise part points earned verdict message score max_score isolation seed seconds source"
    rows = [
        [one.student, one.exercise, part.name, part.points, part.earned, str(part.verdict), part.message,
         one.score, one.max_score, one.isolation, one.seed, one.seconds, one.source]
        for one in results for part in one.parts
    ]  # fmt: skip
    return _table([head.split(), *rows])


def as_summary(results: Sequence[Result]) -> str:
    """One row a student and exercise."""
    rows = [
        [one.student, one.exercise, one.score, one.max_score,
         "; ".join(f"{part.name}: {part.verdict}" for part in one.parts), one.isolation, one.seed, one.problem]
        for one in results
    ]  # fmt: skip
    return _table([["student", "exercise", "score", "max_score", "verdicts", "isolation", "seed", "problem"], *rows])


def as_canvas(results: Sequence[Result]) -> str:
    """What Canvas imports under Grades: one row a student, one column an exercise.

    A cell is empty where nothing was handed in, or where the grader failed, so that nobody is charged for that.
    Canvas looks for the student by ID, SIS User ID, SIS Login ID and at last by name; the folder's name stands as login
    and as name. It creates an assignment for a column that has no assignment's name.
    """
    worth = {one.exercise: one.max_score for one in results}
    exercises = sorted(worth)
    rows: list[list[object]] = []
    for student, mine in groupby(results, key=lambda one: one.student):
        score = {one.exercise: one.score for one in mine if not one.grader_failed}
        # Canvas takes any row whose first cell holds these words for the row of points, and would change them.
        name = student.replace(CANVAS_POINTS, CANVAS_POINTS.replace(" ", "_"))
        rows.append([name, "", "", student, "", *(score.get(id, "") for id in exercises)])
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *exercises]
    points = [f"    {CANVAS_POINTS}", "", "", "", "", *(worth[id] for id in exercises)]
    return _table([head, points, *rows])


def as_gradescope(result: Result) -> str:
    """Gradescope's results.json of one submission: a test for each part, since a part is what earns points."""
    tests = [
        {
            "name": plain(part.name),
            "score": part.earned,
            "max_score": part.points,
            "status": "passed" if part.verdict is Verdict.PASSED else "failed",
            "output": _output(part),
            "output_format": "text",
            "visibility": "visible",
        }
        for part in result.parts
    ]
    whole = {
        "score": result.score,
        "execution_time": round(result.seconds),
        "output": f"{plain(result.exercise)}: {result.score} of {result.max_score} points",
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {
            "student": plain(result.student), "exercise": plain(result.exercise),
            "max_score": result.max_score, "seed": result.seed, "isolation": plain(result.isolation),
            "source": plain(result.source),
        },
    }  # fmt: skip
    return json.dumps(whole, indent=1) + "\n"


def _output(part: PartResult) -> str:
    """What a student reads of a part: its verdict, and each check that failed."""
    right = sum(check.passed for check in part.checks)
    lines = [f"{part.verdict}: {right} of {len(part.checks)} checks pass"]
    for check in part.checks:
        if not check.passed:
            lines += ["", f"{check.id}: {check.verdict}", *filter(None, (check.property, check.message))]
    if not part.checks and part.message:
        lines.append(part.message)
    return plain("\n".join(lines), keep="\n\t")


def as_junit(results: Sequence[Result]) -> str:
    """JUnit XML: a test suite for each student and exercise, a test case for each check.

    A check that did not pass is a failure; where the grader failed or did not run all checks of a part, an error.
    """
    root = ElementTree.Element("testsuites", name="grader")
    for result in results:
        _suite(root, result)
    _count(root, sum(result.seconds for result in results))
    ElementTree.indent(root, " ")
    # What XML 1.0 has no way to write at all was escaped by `plain`.
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, result: Result) -> None:
    name = plain(f"{result.student}/{result.exercise}")
    suite = ElementTree.SubElement(root, "testsuite", name=name)
    facts = ElementTree.SubElement(suite, "properties")
    for key in ("score", "max_score", "seed", "isolation", "source"):
        ElementTree.SubElement(facts, "property", name=key, value=plain(str(getattr(result, key))))
    for part in result.parts:
        for check in part.checks:
            _case(suite, name, check)
        if part.verdict is Verdict.NOT_RUN or not part.checks:  # what did not run must not look green
            _case(suite, name, CheckResult("all checks", part.name, Verdict.NOT_RUN, part.message))
    _count(suite, result.seconds)


def _count(element: ElementTree.Element, seconds: float) -> None:
    for name, path in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(len(element.findall(f".//{path}"))))
    element.set("time", f"{seconds:.3f}")


def _case(suite: ElementTree.Element, name: str, check: CheckResult) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"{name}/{plain(check.part)}", name=plain(check.id), time=f"{check.seconds:.3f}"
    )
    if check.passed:
        return
    kind = "error" if check.verdict in _NOT_THE_CODE else "failure"
    first = (check.message.splitlines() or [""])[0]
    failure = ElementTree.SubElement(case, kind, message=plain(first), type=str(check.verdict))
    failure.text = plain("\n".join(filter(None, (check.property, check.message))), keep="\n\t")
    if check.printed:
        ElementTree.SubElement(case, "system-out").text = plain(check.printed, keep="\n\t")


# ---- files


def file_name(result: Result) -> str:
    """The name of one result's own file: no two results share one, and none leaves its folder."""
    return f"{_as_name(result.student)}--{_as_name(result.exercise)}.json"


def _as_name(text: str) -> str:
    """Letters, digits, `_`, `.` and `-` stay; all else is written as %XX, as in an address."""
    name = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    name = re.sub(r"^-|-$|-(?=-)|(?<=-)-", "%2D", name)  # two of them part the student from the exercise
    name = re.sub(r"^\.", "%2E", name)
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}%{digest(text)[:16]}"
