"""The board of `grader watch` fits any terminal, and says what runs and what fails."""

import pytest
from msgspec.structs import replace

from grader.verdicts.finding import Finding
from grader.verdicts.result import CheckResult, PartResult
from grader.verdicts.verdict import Verdict
from grader.views.board import Board, body_lines, screen
from grader.views.render import Line, part_line

WRONG = CheckResult(
    "test_a", "batch_mean", Verdict.WRONG, "batch_mean of x: 3 of 3 values differ\n  worst at d=2", "It is so."
)


def passed(id, part):
    return CheckResult(id, part, Verdict.PASSED, "")


def parts():
    return (
        PartResult("batch_mean", 30, 0, Verdict.WRONG, WRONG.message, [WRONG, passed("b", "batch_mean")], 2),
        PartResult("RunningMean", 70, 70, Verdict.PASSED, "", [passed("c", "RunningMean")], 1),
    )


def board(home, **more):
    made = {"exercise": home.exercise, "earned": frozenset(["RunningMean"]), "parts": parts(), "focus": "batch_mean"}
    return Board(**{**made, "status": "judged 14:02:11", **more})


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (30, 8), (200, 60), (20, 4)])
def test_a_screen_is_exactly_as_large_as_the_terminal(home, width, height):
    lines = [line.text for line in screen(board(home), width, height)]
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("dl_901 · Running me"[:width])
    assert lines[-2] == "judged 14:02:11"
    assert "q quit" in lines[-1]
    assert "h hint" in lines[-1] or width < 60


def test_the_failure_in_focus_is_shown_and_the_points_are_those_ever_earned(home):
    text = "\n".join(line.text for line in screen(board(home), 80, 24))
    assert "70 of 100 points" in text
    assert "1 of 2 checks pass" in text
    assert "It is so." in text
    assert "worst at d=2" in text
    assert "It is so." not in "\n".join(line.text for line in screen(board(home, focus="RunningMean"), 80, 24))


def test_what_was_gained_stands_first_and_in_short_where_something_fails(home):
    gained = (Line("  +70  RunningMean", {"bold": True}), Line("      Why so."))
    lines = [line.text for line in body_lines(board(home, gained=gained))]
    assert lines[:2] == ["  +70 RunningMean", lines[1]]
    assert "batch_mean" in lines[1]
    assert lines[-2:] == ["  +70  RunningMean", "      Why so."]
    lines = [line.text for line in body_lines(board(home, gained=gained, focus="RunningMean"))]
    assert lines[:3] == ["  +70  RunningMean", "      Why so.", ""]


@pytest.mark.parametrize("name", ["a", "a" * 24, "a" * 40])
@pytest.mark.parametrize("verdict", Verdict)
def test_a_part_fits_sixty_columns_and_its_verdict_is_whole(name, verdict):
    checks = [CheckResult(str(i), name, verdict, "said") for i in range(21)]
    line = part_line(PartResult(name, 100, 0, verdict, "said", checks, 21), 60).text
    assert str(verdict) in line
    assert len(line) <= 60 or name == "a" * 40


def test_what_does_not_fit_is_counted_and_can_be_reached(home):
    long = board(home, extra=tuple(f"line {i}" for i in range(50)))
    first = [line.text for line in screen(long, 80, 13)]
    assert first[1] == "line 0"
    assert first[10] == "      … 41 more lines: space, b back"
    assert [line.text for line in screen(long, 80, 13, scroll=1000)][1:11] == [f"line {i}" for i in range(40, 50)]


def test_while_a_run_goes_on_a_failure_shows_and_the_rest_waits(home):
    heard = (passed("c", "RunningMean"), WRONG)
    text = "\n".join(line.text for line in screen(board(home, parts=(), heard=heard, total=4), 80, 24))
    assert "0 of 1 checks pass" in text
    assert "It is so." in text
    assert "1 pass so far" in text
    early = "\n".join(line.text for line in screen(board(home, parts=(), heard=(), total=4), 80, 24))
    assert early.count("to come") == 2


def test_a_terminal_of_few_characters_gets_others(home):
    lines = [line.text for line in screen(board(home), 80, 24, encoding="ascii")]
    assert "".join(lines).isascii()


def test_where_values_differ_is_a_map_below_the_failure(home):
    finding = Finding(
        kind="values", axes=("n", "d"), shape=(2, 3), cells=(2, 3), levels="000999", worst=(1, 2), expected="1", got="2"
    )
    wrong = replace(WRONG, finding=finding)
    part = PartResult("batch_mean", 30, 0, Verdict.WRONG, WRONG.message, [wrong], 1)
    text = "\n".join(line.text for line in screen(board(home, parts=(part, parts()[1])), 80, 30))
    assert "Where values differ" in text
    assert "n d" in text
    assert "█ █ █" in text
    assert "Heat map of" not in text
    narrow = [line.text for line in body_lines(board(home, parts=(part, parts()[1])), 60)]
    assert max(map(len, narrow)) <= 60
    assert "marked" in " ".join(narrow)  # the last word of what the signs mean
    ascii = [line.text for line in screen(board(home, parts=(part, parts()[1])), 80, 30, encoding="ascii")]
    assert "".join(ascii).isascii()
