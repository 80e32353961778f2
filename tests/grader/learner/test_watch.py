"""`grader watch` as a learner types it: on a terminal, and where there is none."""

import asyncio
import json
import signal
import sys
from subprocess import PIPE, Popen
from types import SimpleNamespace

import pexpect
import pyte
import pytest
from msgspec.structs import replace
from shared import PATIENCE

from conftest import environment
from grader.learner.screen import Screen

SUM = ("return x.sum(0) / len(x)", "return x.sum(0)")


class Tty:
    """`grader watch` on a terminal, and what stands on its screen."""

    def __init__(self, home, width=80, height=24, **env):
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self.screen)
        self.child = pexpect.spawn(
            sys.executable, ["-m", "grader", "watch", "901"], cwd=home.root, dimensions=(height, width),
            encoding="utf-8", env=environment(TERM="xterm", **env), timeout=PATIENCE,
        )  # fmt: skip

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, *words):
        """Wait until all of this stands on the screen."""
        while not all(word in self.text for word in words):
            try:
                self._stream.feed(self.child.read_nonblocking(1 << 16, timeout=PATIENCE))
            except (pexpect.TIMEOUT, pexpect.EOF):
                pytest.fail(f"{words} never stood on the screen:\n{self.text}")
        return self.text

    def press(self, *keys):
        for key in keys:
            self.child.send(key)

    def end(self):
        """What it says when it has ended, after the screen is given back."""
        self.press("q")
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.before


@pytest.fixture
def tty(home):
    opened = []

    def open(**more):
        opened.append(Tty(home, **more))
        return opened[-1]

    yield open
    for one in opened:
        one.child.close(force=True)


def test_each_save_is_judged_and_what_is_earned_is_told(home, tty):
    shown = tty()
    shown.until("dl_901 · Running mean", "0 of 100 points", "not started", "2 parts to go")
    home.solve(SUM)
    shown.until("70 of 100 points", "+70  RunningMean", "The mean runs over the first axis.", "1 part to go")
    home.solve()
    assert "+70" not in shown.until("100 of 100 points", "+30  batch_mean", "all parts earned")
    assert "Running mean: 100 of 100 points" in shown.end()
    assert shown.child.exitstatus == 0
    assert [(one.door, one.score) for one in home.progress.history("dl_901_running_mean")] == [
        ("watch", 0), ("watch", 70), ("watch", 100)
    ]  # fmt: skip


def test_a_watch_that_begins_again_records_nothing_twice(home, tty):
    home.solve()
    for _ in range(2):
        shown = tty()
        shown.until("all parts earned")
        shown.end()
    assert len(home.progress.history("dl_901_running_mean")) == 1


def test_a_run_that_does_not_end_is_stopped_and_is_no_attempt(home, tty):
    home.attempt.write_text("while True:\n    pass\n")
    shown = tty()
    shown.until("running")
    shown.press("s")
    shown.until("stopped; nothing was recorded")
    home.solve()
    shown.until("100 of 100 points")
    assert [one.score for one in home.progress.history("dl_901_running_mean")] == [100]


def test_a_save_ends_the_run_before_it(home, tty):
    home.attempt.write_text("while True:\n    pass\n")
    shown = tty()
    shown.until("running")
    home.solve()
    shown.until("100 of 100 points")
    assert len(home.progress.history("dl_901_running_mean")) == 1


def test_keys_show_a_hint_the_change_and_what_keys_there_are(home, tty):
    home.solve(SUM)
    shown = tty()
    shown.until("2 of 3 checks pass")
    shown.press("h")
    shown.until("batch_mean · hint 1 of")
    shown.press("h")
    shown.until("batch_mean · hint 2 of")
    shown.press("?")
    shown.until("the next part to mend or to write")
    shown.press("d")
    shown.until("No other attempt is kept yet.")
    home.solve()
    shown.until("100 of 100 points")
    shown.press("d")
    shown.until("-    return x.sum(0)", "+    return x.sum(0) / len(x)")


def test_a_part_runs_alone(home):
    asked = []

    class Fake:
        house, exercise, run = home.house, home.exercise, None

        def ask(self, only=()):
            asked.append(only)

    screen = Screen(Fake(), SimpleNamespace(size=(80, 24)))
    for key in ("p", "n", "p", "enter"):
        asyncio.run(screen._press(key)) if key != "n" else setattr(screen, "_focus", "RunningMean")
    assert asked == [("batch_mean",), ("RunningMean",), ()]


def test_the_stub_comes_back_only_after_a_yes(home, tty):
    stub = home.attempt.read_text()
    home.solve()
    shown = tty()
    shown.until("100 of 100 points")
    shown.press("x")
    shown.until("Put the stub of running_mean.py back?")
    shown.press("n")
    shown.until("passed")
    assert home.attempt.read_text() != stub
    shown.press("x")
    shown.until("Put the stub of running_mean.py back?")
    shown.press("y")
    shown.until("not started")
    assert home.attempt.read_text() == stub
    assert "reset" in [one.door for one in home.progress.history("dl_901_running_mean")]


def test_an_editor_opens_and_what_it_saved_is_judged(home, tty):
    home.solve(SUM)
    shown = tty(EDITOR="sed -i 's,return x.sum(0)$,return x.sum(0) / len(x),'")
    shown.until("2 of 3 checks pass")
    shown.press("o")
    shown.until("100 of 100 points")


def test_without_an_editor_it_is_said_how_to_name_one(home, tty):
    shown = tty()
    shown.until("2 parts to go")
    shown.press("o")
    shown.until("Set VISUAL or EDITOR")


def test_another_exercise_is_chosen_from_the_list(home, tty):
    shown = tty()
    shown.until("2 parts to go")
    shown.press("l")
    shown.until("> dl_901  Running mean")
    shown.press("/", "z")
    shown.until("none")
    shown.press("\x7f", "r", "\r")
    shown.until("2 parts to go")


def test_what_is_chosen_of_a_long_list_stays_in_sight(home):
    exercise = home.exercise
    many = {str(i): replace(exercise, title=f"Title {i}") for i in range(60)}
    watch = SimpleNamespace(house=SimpleNamespace(exercises=many), exercise=exercise)
    screen = Screen(watch, SimpleNamespace(size=(60, 24)))
    for key in ("l", *["down"] * 40):
        asyncio.run(screen._press(key))
    lines = screen._listed()
    assert len(lines) <= 21
    assert any(line.startswith("> ") and "Title 40" in line for line in lines)


def test_a_terminal_that_draws_no_screen_gets_a_line_a_run(home):
    home.solve(SUM)
    child = pexpect.spawn(
        sys.executable, ["-m", "grader", "watch", "901"], cwd=home.root, encoding="utf-8",
        env=environment(TERM="dumb"), timeout=PATIENCE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    child.expect_exact("dl_901_running_mean  70 of 100 points")
    assert "\x1b" not in child.before
    child.sendintr()
    child.expect(pexpect.EOF)
    assert "\x1b" not in child.before
    assert "Abort" not in child.before
    child.close()


def test_a_file_that_is_gone_is_said_and_can_be_written_again(home, tty):
    home.solve()
    shown = tty()
    shown.until("100 of 100 points")
    home.attempt.unlink()
    shown.until("running_mean.py is gone")
    shown.press("x")
    shown.until("back?")
    shown.press("y")
    shown.until("not started")


def test_checks_that_cannot_be_read_are_said_and_cost_nothing(home, tty):
    right = home.checks.read_text()
    home.checks.write_text("import no_such_package\n")
    shown = tty()
    shown.until("This is not your fault", "no_such_package")
    assert home.progress.history("dl_901_running_mean") == []
    home.checks.write_text(right)
    shown.press("\r")  # a new seat
    shown.until("2 parts to go")


def test_ctrl_c_ends_it_like_q(home, tty):
    shown = tty()
    shown.until("2 parts to go")
    shown.press("\x03")
    shown.child.expect(pexpect.EOF)
    shown.child.close()
    assert shown.child.exitstatus == 0


def test_another_size_is_drawn_anew(home, tty):
    shown = tty()
    shown.until("2 parts to go")
    shown.screen.resize(16, 60)
    shown.child.setwinsize(16, 60)
    shown.until("o open ? keys q quit")  # of 60 columns
    assert len(shown.text.splitlines()) == 16


@pytest.mark.parametrize(
    ("edits", "code", "said"),
    [((), 0, "100 of 100 points"), ((SUM,), 1, "70 of 100 points · batch_mean wrong, 2 of 3 checks pass: ")],
)
def test_once_judges_the_file_and_ends(home, edits, code, said):
    home.solve(*edits)
    done = home.cold("-m", "grader", "watch", "901", "--once")
    assert done.code == code, done.err
    assert done.out.startswith(f"dl_901_running_mean  {said}")
    assert done.out.count("\n") == 1


def test_without_a_terminal_there_is_a_line_for_each_run(home):
    home.attempt.write_text("def x(:\n")
    command = [sys.executable, "-m", "grader", "watch", "901"]
    with Popen(command, cwd=home.root, env=environment(), stdout=PIPE, stderr=PIPE, text=True) as process:
        assert "0 of 100 points · running_mean.py:1 is not valid Python" in process.stdout.readline()
        home.solve()
        assert process.stdout.readline() == "dl_901_running_mean  100 of 100 points\n"
        home.attempt.unlink()
        assert process.stdout.readline() == "running_mean.py is gone: `grader reset 901` writes it again\n"
        process.kill()


def test_json_is_an_event_a_line(home):
    home.solve()
    done = home.cold("-m", "grader", "watch", "901", "--once", "--json")
    ready, *checks, end = map(json.loads, done.out.splitlines())
    assert ready == {"kind": "ready", "total": 4}
    assert [one["kind"] for one in checks] == ["check"] * 4
    assert (end["kind"], end["result"]["score"]) == ("end", 100)


def test_a_file_that_is_not_there_ends_once_with_a_sentence(home):
    home.attempt.unlink()
    done = home.cold("-m", "grader", "watch", "901", "--once")
    assert (done.code, done.out) == (1, "running_mean.py is gone: `grader reset 901` writes it again\n")


def test_the_judge_that_cannot_start_is_no_fault_of_the_learner(home):
    home.checks.write_text("import no_such_package\n")
    done = home.cold("-m", "grader", "watch", "901", "--once")
    assert done.code == 3
    assert "This is not your fault" in done.err
