"""The report of an interview, as text and as a page: its marks, its words, its widths."""

import html
import re

import pytest
from msgspec.structs import replace

from grader.drills.judge import Judged
from grader.drills.kinds import Bug
from grader.drills.question import Variant, question
from grader.drills.shown import shown, told
from grader.records.interviews import Asked, Coding, Interview
from grader.views.interview import report_lines
from grader.views.interview_page import body

BUG = Bug(
    ask="It should print 3. Which line is wrong?", why="One is added twice.", hints=("Count.", "a + 1"),
    code="a = 1\na += 2\na += 1\nprint(a)", answer="a += 1", mended="a += 0", prints="3", traps={"the sum": "a += 2"},
)  # fmt: skip


@pytest.fixture(scope="module")
def variant():
    @question(topic="mean.batch", level=1, source="Nobody 2026")
    def which(draw):
        return BUG

    return Variant(which, 1, BUG, "")


def interview(variant, outcome="wrong", typed="4", trap="", **coding):
    one = Asked(shown(variant), told(variant, Judged(outcome == "right", trap)), "1", 1, typed, outcome, 12.0)
    part = Coding("dl_901_running_mean", "batch_mean", 10, 600.0, seconds=60.0, is_handed_in=True, **coding)
    return Interview("ml", 20, "2026-11-30T12:00:00+00:00", 1, (one,), part, ended="finished")


def text_of(page):
    return html.unescape(re.sub("<[^>]+>", " ", page))


def printed(home, told, columns=60):
    return [line.text for line in report_lines(home.house, 1, told, columns)]


@pytest.mark.parametrize(
    ("outcome", "trap", "said"),
    [("right", "", "✓ right"), ("wrong", "", "✗ wrong"), ("wrong", "the sum", "✗ the sum"),
     ("passed", "", "✗ passed over"), ("late", "", "✗ out of time")],
)  # fmt: skip
def test_what_became_of_a_question_is_said_in_words(home, variant, outcome, trap, said):
    assert f"· {said} ·" in text_of(body(home.house, 1, interview(variant, outcome, trap=trap)))


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("passed", "✓ passed"), ("wrong", "✗ wrong"), ("not started", "○ not started"), ("waiting", "· waiting"),
     ("", "· not judged")],
)  # fmt: skip
def test_a_verdict_has_the_mark_that_it_has_everywhere(home, variant, verdict, said):
    one = interview(variant, verdict=verdict)
    assert said in text_of(body(home.house, 1, one))
    assert f"  {said}" in printed(home, one)


def test_code_whose_line_is_asked_for_has_numbers(home, variant):
    assert " 3  a += 1\n" in text_of(body(home.house, 1, interview(variant)))


def test_every_line_of_it_fits(home, variant):
    long = "the mean of the means of several batches of unlike sizes, taken for the mean of all of their rows at once"
    one = interview(
        variant, trap=long, typed="1 and 2 and 3 and 4 and 5 and 6 and 7 and 8 and 9", verdict="wrong",
        tally="1234 of 5678 checks pass in all of them", property=long, message=f"x is\n  {long}",
    )  # fmt: skip
    broken = replace(one, role="somebody who is asked about nearly everything", ended="broken off")
    for columns in (40, 60):
        for kept in (one, broken):
            assert max(map(len, printed(home, kept, columns))) <= columns


def test_a_long_message_is_cut_and_says_so(home, variant):
    lines = printed(home, interview(variant, verdict="wrong", message="\n".join(f"line {n}" for n in range(90))))
    assert "    line 23" in lines
    assert "    line 24" not in lines
    assert lines[lines.index("    line 23") + 1] == "    …"


def test_a_number_and_its_sign_stay_in_one_line(home, variant):
    one = interview(variant)
    asked = replace(one.asked[0], told=replace(one.asked[0].told, trap="x", why="1 % of a word 1 % " * 9))
    for columns in range(40, 60):
        whys = [line for line in printed(home, replace(one, asked=(asked,)), columns) if "word" in line]
        assert len(whys) > 1
        assert not any(line.endswith("1") for line in whys)
