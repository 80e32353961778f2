"""The report of a class that `grader grade` graded, and its figures, which are checked by hand."""

import csv
import html

import pytest
from msgspec.structs import replace

from conftest import ID
from grader.classroom.marks import Graded, Marks
from grader.classroom.spread import discrimination, points_of, spreads
from grader.records.results import Results
from grader.verdicts.finding import Finding
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import Verdict


def marks(*rows, penalties=None):
    """rows: (student, exercise, part, earned, points)."""
    return Marks("class", "a test", [Graded(*row, verdict="", mistake="") for row in rows], [], penalties or {})


def test_points_are_summed_and_lateness_is_taken_off():
    got = points_of(
        marks(
            ("ann", "a", "one", 30, 30), ("ann", "a", "two", 50, 70), ("ann", "b", "one", 10, 10),
            ("bob", "a", "one", 0, 30), ("bob", "a", "two", 70, 70),
            penalties={("ann", "a"): 16.0, ("bob", "a"): 100.0},
        )
    )  # fmt: skip
    assert got.got == {("ann", "a"): 64, ("ann", "b"): 10, ("bob", "a"): 0}
    assert got.worth == {"a": 100, "b": 10}
    assert (got.students, got.full) == (["ann", "bob"], 110)
    assert (got.total("ann"), got.total("bob")) == (74, 0), "what was not handed in gives nothing"


def test_how_the_shares_are_spread():
    got = points_of(
        marks(
            *[(f"s{i}", "a", "one", points, 20) for i, points in enumerate([0, 1.9, 2, 10, 20, 21])],
            ("s0", "b", "one", 20, 20),
        )
    )  # fmt: skip
    a, b, both = spreads(got, {"a": "A", "b": "B"})
    assert (a.of, a.students, a.bins) == ("A", 6, [2, 1, 0, 0, 0, 1, 0, 0, 0, 2])
    assert (a.lowest, a.median, a.highest) == (0.0, 0.3, 1.05)
    assert a.mean == pytest.approx(54.9 / 120)
    assert (b.students, b.mean) == (1, 1.0)
    assert (both.of, both.students) == ("All of them", 6)
    assert both.median == pytest.approx((10 + 20) / 2 / 40), "1.9, 2, 10, 20, 20 and 21 of 40: s0 has 20 of b"


def test_a_part_that_tells_apart_and_one_that_does_not():
    """Ten students: those who earn `sharp` have 10 points more elsewhere; `odd` is earned by the others."""
    rows = []
    for i in range(10):
        strong = i < 5
        rows += [
            (f"s{i}", "a", "sharp", 5 * strong, 5), (f"s{i}", "a", "odd", 5 * (not strong), 5),
            (f"s{i}", "a", "rest", 10 * strong, 20), (f"s{i}", "a", "same", 5, 5),
            (f"s{i}", "b", "other", 9 * (not strong), 9),
        ]  # fmt: skip
    graded = marks(*rows).graded
    assert discrimination(graded, "a", "sharp") == pytest.approx(1.0)
    assert discrimination(graded, "a", "odd") == pytest.approx(-1.0)
    assert discrimination(graded, "a", "same") is None, "all are alike"
    assert discrimination(graded, "b", "other") is None, "there is no other part"
    assert discrimination([one for one in graded if one.student != "s9"], "a", "sharp") is None, "too few students"


def result(student, *parts, source="x"):
    score = sum(part.earned for part in parts)
    more = {"source": source, "student": student, "versions": {"torch": "2.13"}}
    return Result(ID, 1, score, 100, list(parts), 7, "full", 1.0, **more)


def part(name, points, verdict, mistake="", message="", of_file=False):
    finding = Finding(kind="values", mistake=mistake) if mistake else None
    check = CheckResult("test_it", name, verdict, message, "It holds.", finding=finding, of_file=of_file)
    earned = points if verdict is Verdict.PASSED else 0
    return PartResult(name, points, earned, verdict, message, [check], 1)


def test_a_report_of_what_grader_grade_wrote(home):
    kept = Results(home.root / "results")
    passed = part("batch_mean", 30, Verdict.PASSED)
    unread = {"message": "no Python\n    x = (", "of_file": True}
    broken = [part(name, 1, Verdict.ERROR, **unread) for name in ("batch_mean", "RunningMean")]
    kept.add(result("ann", passed, part("RunningMean", 70, Verdict.PASSED), source="a"))
    kept.add(result("bob<b>", passed, part("RunningMean", 70, Verdict.WRONG, "a mean of means"), source="b"))
    kept.add(result("cyd", passed, part("RunningMean", 70, Verdict.WRONG, "a mean of means"), source="b"))
    kept.add(result("dan", *broken, source="d"))
    done = home.grader("class", "report", "results", "-o", "report.html")
    assert (done.code, "4 students in report.html" in done.out) == (0, True), done.said

    page = html.unescape((home.root / "report.html").read_text())
    assert "Points are those of `grader grade`, in results/results.jsonl" in page
    eyes = page.split("Needs your eyes")[1].split("Points</h2>")[0]
    assert "bob<b> and cyd handed in the same" in eyes
    assert ": no Python x = (." in eyes  # in one line, its end not shown as a sign
    assert f"dan/{ID}: no Python" in page
    assert "2 × a mean of means" in page
    assert "no Python" not in page.split('<h2 id="parts">')[1], "what cannot be read is no common mistake"
    assert "<b>" not in (home.root / "report.html").read_text()
    with (home.root / "report.csv").open() as file:
        rows = {(row["student"], row["part"]): row for row in csv.DictReader(file)}
    assert len(rows) == 8
    cyd = rows["cyd", "RunningMean"]
    assert (cyd["mistake"], cyd["seed"], cyd["isolation"]) == ("a mean of means", "7", "full")
    assert cyd["versions"] == "torch 2.13"


def test_results_of_an_exercise_that_this_house_does_not_have(home):
    kept = Results(home.root / "results")
    both = part("batch_mean", 30, Verdict.PASSED), part("RunningMean", 70, Verdict.PASSED)
    kept.add(result("ann", *both))
    kept.add(replace(result("ann", *both), exercise="dl_999_of_a_newer_release"))
    done = home.grader("class", "report", "results", "-o", "report.html")
    assert (done.code, "Traceback" in done.said) == (0, False), done.said
    assert "dl_999_of_a_newer_release</th>" in (home.root / "report.html").read_text()


def test_the_table_does_not_take_the_page_s_place(home):
    Results(home.root / "results").add(result("ann", part("batch_mean", 30, Verdict.PASSED)))
    done = home.grader("class", "report", "results", "-o", "report.csv")
    assert (done.code, "let --output name the page" in done.err) == (2, True), done.said
    assert not (home.root / "report.csv").exists()


def test_what_is_no_folder(home):
    (home.root / "roster.csv").touch()
    for name in ("roster.csv", "nowhere"):
        done = home.grader("class", "report", name, "-o", "report.html")
        assert (done.code, f"{name} is no folder: name a course of nbgrader, or" in done.err) == (2, True), done.said


def test_a_folder_that_holds_neither(home):
    (home.root / "submitted").mkdir(exist_ok=True)
    done = home.grader("class", "report", "submitted", "-o", "report.html")
    assert done.code == 2
    assert "submitted has no gradebook.db: run nbgrader autograde there first" in done.err
    assert "`grader grade`" in done.err
