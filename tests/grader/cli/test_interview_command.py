"""`grader interview` at a terminal whose lines and clock the test sets; and once at a real one, which is killed."""

import re
import signal
import sqlite3
import sys
from contextlib import closing
from functools import partial

import pexpect
import pytest
from click.testing import CliRunner
from interviews import DRILLS, Clock, right_of
from shared import PATIENCE

from conftest import ID, environment
from grader.base.errors import RunError
from grader.cli.main import main
from grader.cli.timed import TimeOver, line_within
from grader.learner.interviewing import Sitting
from grader.records.interviews import Interview, Interviews
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict


class Desk:
    """A learner at a terminal. lines: what is typed, one after the other; a number is the seconds that pass without."""

    def __init__(self, home):
        self.home, self.clock, self.lines, self.sitting = home, Clock(), [], None

    def within(self, prompt, seconds):
        print(prompt, end="")
        return self._within(seconds)

    def _within(self, seconds):
        """Instead of the terminal: the next line; a call is made, and gives it."""
        typed = self.lines.pop(0) if self.lines else "q"
        typed = typed(self) if callable(typed) else typed
        if isinstance(typed, int | float):
            passed = min(typed, seconds)
            self.clock.now += passed
            if typed > passed:
                self.lines.insert(0, typed - passed)
            raise TimeOver
        self.clock.now += 3
        print(typed)
        return typed


def right(desk):
    """Types the right answer to what is on the clock."""
    return right_of(desk.home.house, desk.sitting.ask())


def trap(desk):
    """Types the difference."""
    a, b = re.findall(r"\d+", desk.sitting.ask().ask)
    return str(int(b) - int(a))


@pytest.fixture
def desk(home, monkeypatch):
    home.attempt.with_name("drills.py").write_text(DRILLS)
    desk = Desk(home)

    def begin(*args):
        desk.sitting = Sitting(*args, clock=desk.clock, seed=1)
        return desk.sitting

    monkeypatch.chdir(home.root)
    monkeypatch.setattr("grader.cli.interview.Sitting", begin)
    monkeypatch.setattr("grader.cli.interview.line_within", desk.within)
    monkeypatch.setattr("grader.cli.interview._has_terminal", lambda: True)
    monkeypatch.setattr("grader.cli.interview.terminal_columns", lambda: 60)
    monkeypatch.setattr("grader.cli.talk.terminal_columns", lambda: 60)
    return desk


def interview(*args):
    return CliRunner().invoke(main, ["interview", *args], catch_exceptions=False)


def hold(desk, *lines, role="ml"):
    desk.lines = list(lines)
    done = interview("--role", role, "--minutes", "20")
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 60
    return done.output


def judging(monkeypatch, verdict):
    """Instead of the engine: each part that is asked for ends so."""

    def once(house, exercise, text, parts):
        checks = [CheckResult(f"test_{one}", one, verdict, "x is\n  4, not 5", "It adds up.") for one in parts]
        planned = {one.part: [one.id] for one in checks}
        return assemble(exercise, checks, planned, seed=0, isolation="full")

    monkeypatch.setattr("grader.learner.once.judge_once", once)


def written(desk):
    desk.home.solve()
    return ""


def test_a_whole_interview(desk, monkeypatch):
    judging(monkeypatch, Verdict.PASSED)
    said = hold(desk, "", right, right, trap, right, "7", right, "", written)
    assert "question 1 · 90 s" in said
    before, report = said.split("Judging ...")
    assert "right" not in before
    assert "✓" not in before
    assert "Interview 1 · ML engineer" in report
    assert "4 of 6 right, in 0:18 of 10:00." in report
    assert "✗ <the> difference" in report
    assert "A sum adds & does not subtract." in report
    assert re.search(r"\w+\.\w+: 7; right is \d+ = \d+ \+ \d+", report)
    assert "batch_mean of dl_901 · Running mean, in 0:03 of 10:00" in report
    assert "✓ passed, 1 of 1 checks pass" in report
    assert "Kept, with every question: .grader/interviews/1.html" in report
    assert Interviews(desk.home.root).interviews()[1].ended == "finished"


def test_everything_wrong(desk, monkeypatch):
    judging(monkeypatch, Verdict.WRONG)
    said = hold(desk, "", *[trap] * 6, "", written, role="llm")
    assert "0 of 6 right" in said
    assert said.count("✗ <the> difference") == 6
    assert "✗ wrong, 0 of 1 checks pass" in said
    assert "    x is\n      4, not 5\n    again: grader check 901 batch_mean" in said
    assert "To read\n  1  batch_mean\n     exercises/dl_901_running_mean/README.md: " in said
    assert len(re.findall(r"^  \d  ", said.split("To read")[1], re.M)) == 3


def test_what_is_not_answered(desk, monkeypatch):
    judging(monkeypatch, Verdict.NOT_STARTED)
    said = hold(desk, "", "s", 90, "", "h", "1,5", "s", 90, "", "s", "s", "", 601)
    assert "There are no hints in an interview. s passes it over." in said
    assert "Left: 84 s." in said.replace("\n  ", " ")
    assert said.count("The time of this question is over.") == 2
    assert "0 of 6 right, in 3:18 of 10:00. 4 passed over, 2 out of" in said
    assert "5 minutes are left." in said
    assert "One minute is left: save your file." in said
    assert "The time is over." in said
    assert "○ not started\n" in said
    assert "in 10:00 of 10:00" in said


def test_a_file_that_did_not_change_is_asked_about_once(desk, monkeypatch):
    judging(monkeypatch, Verdict.WRONG)
    said = hold(desk, "", *["s"] * 6, "", "", "")
    assert said.count("Your file is as it was: save it first.") == 1
    assert "Judging ..." in said


@pytest.mark.parametrize(
    ("lines", "asked", "coding", "ended"),
    [
        (["q"], None, None, None),
        (["", "q"], 0, None, "left"),
        (["", right, "quit"], 1, None, "left"),
        (["", right, 90, "q"], 2, None, "left"),
        (["", *["s"] * 6, "q"], 6, None, "left"),
        (["", *["s"] * 6, "", "q"], 6, "not handed in", "left"),
        (["", *["s"] * 6, "", 500, "q"], 6, "not handed in", "left"),
    ],
)
def test_leaving_ends_it_at_each_stage(desk, lines, asked, coding, ended):
    said = hold(desk, *lines)
    kept = Interviews(desk.home.root).interviews()
    if ended is None:
        assert "Nothing has begun." in said
        assert not kept
        return
    assert "20 minutes, left before its end" in said
    assert (kept[1].ended, len(kept[1].asked)) == (ended, asked)
    assert (coding or "To read") in said
    assert ("Not asked" in said) is (asked < 6)
    assert ("The part" in said) is bool(coding)
    assert ("in 8:23 of 10:00" in said) is (500 in lines)
    assert (desk.home.root / ".grader/interviews/1.html").is_file()


@pytest.mark.parametrize("stage", [["", right], ["", *["s"] * 6, ""]])
def test_an_interrupt_leaves_it(desk, stage):
    def interrupt(desk):
        raise KeyboardInterrupt

    assert "left before its end" in hold(desk, *stage, interrupt)


def test_an_interrupt_while_it_is_judged(desk, monkeypatch):
    def once(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("grader.learner.once.judge_once", once)
    said = hold(desk, "", *["s"] * 6, "", written)
    assert "· not judged\n    You left while it was judged." in said
    assert "left before its end" in said


def test_the_graders_failure_is_none_of_the_learner(desk, monkeypatch):
    def once(*args):
        raise RunError("no memory")

    monkeypatch.setattr("grader.learner.once.judge_once", once)
    said = hold(desk, "", *["s"] * 6, "", written)
    assert "The grader could not judge it. This is not your fault;" in said
    assert Interviews(desk.home.root).interviews()[1].ended == "finished"


def test_no_part_fits(desk):
    desk.home.attempt.write_text("def x(:\n")
    said = hold(desk, "", *["s"] * 6, "")
    assert "No part of 10 minutes or less" in said
    assert Interviews(desk.home.root).interviews()[1].ended == "finished"


def test_the_real_judge_earns_the_part(desk):
    said = hold(desk, "", *["s"] * 6, "", written)
    assert "✓ passed, 3 of 3 checks pass" in said
    assert desk.home.progress.earned() == {ID: {"batch_mean"}}


def test_the_list_and_a_report_again(desk, monkeypatch):
    assert interview("--history").output == "No interview yet. The first: grader interview --role llm\n"
    judging(monkeypatch, Verdict.PASSED)
    first = hold(desk, "", *[trap] * 6, "", written)
    hold(desk, "", "q", role="llm")
    listed = interview("--history").output
    assert re.search(r"1 +\d{4}-\d\d-\d\d +ml +20 +0/6 +batch_mean: passed +finished", listed)
    assert re.search(r"2 +\d{4}-\d\d-\d\d +llm +20 +0/0 +left", listed)
    (desk.home.root / ".grader/interviews/1.html").unlink()
    again = interview("--report", "1").output
    assert again == first[first.index("Interview 1 ·") :]
    assert (desk.home.root / ".grader/interviews/1.html").is_file()


def test_the_page_needs_nothing_else_and_holds_no_tag_of_others(desk, monkeypatch):
    judging(monkeypatch, Verdict.WRONG)
    hold(desk, "", *[trap] * 6, "", written)
    page = (desk.home.root / ".grader/interviews/1.html").read_text()
    assert not re.search(r"( src=|href|url\(|https?:|<script|@import)", page)
    assert "default-src 'none'" in page
    assert "color-scheme:light dark" in page
    assert "&lt;the&gt; difference" in page
    assert "<the>" not in page
    assert "adds &amp; does not" in page
    assert page.count("<details open>") == 6
    for said in ("What do ", "Yours: ", "Right: ", "Nobody 2026, section ", "It adds up.", "To read"):
        assert said in page


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "For which role? grader interview --role ml or --role llm"),
        (("--role", "chef"), "There is no role 'chef'. Roles: ml, llm."),
        (("--role", "ml", "--minutes", "5"), "5 is not in the range 10<=x<=120"),
        (("--report", "3"), "There is no interview 3. There was none yet."),
    ],
)
def test_what_cannot_be_is_refused(desk, args, said):
    done = interview(*args)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize(
    ("report", "said", "listed"),
    [
        ('{"role": 7}', "Interview 1 was kept by a newer grader: update this one.", "kept by a"),
        (None, "Interview 1 goes on. Its report comes at its end.", "goes on"),
    ],
)
def test_what_has_no_report(desk, report, said, listed):
    kept = Interviews(desk.home.root)
    with kept.alone():  # as another window holds it
        kept.begin(Interview("ml", 20, "2026-11-30T12:00:00+00:00", 1))
        if report:
            with closing(sqlite3.connect(kept.path)) as db, db:
                db.execute("update interview set report = ?", (report,))
        done = interview("--report", "1")
        assert (done.exit_code, done.output) == (2, f"grader: {said}\n")
        assert listed in interview("--history").output


def test_without_a_terminal_it_says_so(desk, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(desk.home.root)
    done = interview("--role", "ml")
    assert done.exit_code == 2
    assert "An interview is on a clock, and needs a terminal." in done.output
    assert not Interviews(desk.home.root).interviews()


def test_a_terminal_of_few_characters_reads_the_report(desk, monkeypatch):
    judging(monkeypatch, Verdict.WRONG)
    desk.lines = ["", *[trap] * 6, "", written]
    runner = CliRunner(charset="ascii")
    said = runner.invoke(main, ["interview", "--role", "ml", "--minutes", "20"], catch_exceptions=False).output
    assert "x <the> difference" in said
    assert "?" not in re.sub(r"add up to\?", "", said)


def tty(home, columns=60, **env):
    command = ["-m", "grader", "interview", "--role", "ml", "--minutes", "20"]
    settings = environment(TERM="dumb", NO_COLOR="1") | env
    start = partial(pexpect.spawn, sys.executable, command, cwd=str(home.root), env=settings, encoding="utf-8")
    return start(dimensions=(40, columns), timeout=PATIENCE)


def test_a_terminal_that_is_killed_loses_nothing(desk, monkeypatch):
    child = tty(desk.home)
    child.expect("q quit ")
    child.sendline("")
    child.expect("question 1")
    child.expect("\n> ")  # only then it listens
    child.sendline("7")
    child.expect("question 2")
    child.kill(signal.SIGKILL)
    child.wait()
    monkeypatch.setattr("grader.cli.interview.terminal_columns", lambda: 80)
    done = interview("--history")
    assert re.search(r"Interview 1 of .* broke off after 1 question\. Nothing of it is lost: grader", done.output)
    assert "broken off" in done.output
    said = interview("--report", "1").output
    assert "0 of 1 right" in said
    assert "20 minutes, broken off: its window or server was closed" in said


def test_a_terminal_shows_it_plainly(desk):
    child = tty(desk.home)
    child.expect("q quit ")
    child.sendline("")
    child.expect("question 1")
    child.expect("\n> ")  # only then it listens
    child.sendeof()
    child.expect(pexpect.EOF)
    said = child.before
    assert "left before its end" in said
    assert "\x1b" not in said


TYPED = """
from grader.cli.timed import TimeOver, line_within
try:
    print("typed", line_within("> ", 10_000))
except TimeOver:
    print("over")
print("typed", line_within("again> ", None))
"""


def test_a_time_that_is_over_forgets_what_was_typed(desk):
    settings = environment(TERM="dumb")
    child = pexpect.spawn(sys.executable, ["-c", TYPED], env=settings, encoding="utf-8", timeout=PATIENCE)
    child.expect("> ")
    child.send("12")
    child.expect("12")
    child.kill(signal.SIGALRM)  # as the clock does
    child.expect("over")
    child.expect("again> ")
    child.sendline("345")
    child.expect("typed 345\r\n")
    child.expect(pexpect.EOF)


def test_arrow_keys_edit_what_is_typed(desk):
    settings = environment(TERM="xterm")
    child = pexpect.spawn(sys.executable, ["-c", TYPED], env=settings, encoding="utf-8", timeout=PATIENCE)
    child.expect("> ")
    child.send("13\x1b[D2")
    child.sendline("")
    child.expect("typed 123\r\n")


def test_no_time_is_over_at_once():
    with pytest.raises(TimeOver):
        line_within("> ", 0.0)
