"""Lines below a learner's file: they show values, run in the cage, and end when they must."""

import asyncio

import pytest

from grader.learner.seat import Run, Seat, TriedLines


@pytest.fixture
def tried(home):
    """What the seat says to several lines, each below a text; a text of None is the solution."""

    def ask(*asked):
        async def story():
            seat = await Seat.open(home.house, home.exercise)
            said, words = [], seat.said()
            try:
                for number, (lines, text) in enumerate(asked, 1):
                    seat.ask(Run(number, home.solution if text is None else text, lines=lines))
                    said.append(await anext(one async for one in words if isinstance(one, TriedLines)))
            finally:
                await seat.close()
            return [one.tried for one in said]

        return asyncio.run(story())

    return ask


def test_lines_show_values_and_prints_and_leave_nothing(tried):
    first, second = tried(
        ("x = torch.ones(2, 3)\nprint('rows', len(x))\nbatch_mean(x)\nNone\n1 + 1", None), ("x", None)
    )
    assert (first.printed, first.shown, first.problem) == ("rows 2\n", ("tensor([1., 1., 1.])", "2"), "")
    assert second.problem == "line 1: NameError: name 'x' is not defined"


def test_what_goes_wrong_is_said_with_its_place(tried):
    wrong, unready, broken, loop, gone, taken = tried(
        ("1\ndef f(:", None),
        ("batch_mean(torch.ones(0, 2))", None),
        ("1", "x = (\n"),
        ("2\nwhile True: pass", None),
        ("import os; os._exit(3)", None),
        ("1", "def repr(x): return 5\n"),
    )
    assert wrong.problem == "line 2: not valid Python: invalid syntax"
    assert "line 1, running_mean.py:" in unready.problem
    assert "ValueError: the mean of nothing" in unready.problem
    assert "running_mean.py:1 is not valid Python" in broken.problem
    assert loop.problem == "still running after 2 s"
    assert "exit code 3" in gone.problem
    assert taken.problem
    assert not taken.shown


def test_what_is_no_text_is_shown_in_other_words(tried):
    printed, shown, broken, ended, deep, named, null = tried(
        ("print('\\ud800 \\x1b[2J')\nbatch_mean(torch.ones(1, 1))", None),
        (
            "'\\ud800' + chr(0x202E)\nclass Odd:\n    def __repr__(self): return '\\x1b]0;owned\\x07\\ud800'\nOdd()",
            None,
        ),
        ("class Odd:\n    def __repr__(self): raise ValueError('\\x1b')\nOdd()", None),
        ("class Odd:\n    def __repr__(self):\n        while True: pass\nOdd()", None),
        ("(" * 100_000 + "\n" + "-" * 100_000, None),
        ("raise type('a\\x1b[2J', (Exception,), {})('b\\ud800')", None),
        ("1\0", None),
    )
    assert printed.printed == "\\ud800 \\x1b[2J\n"
    assert printed.shown
    assert shown.shown == ("'\\ud800\\u202e'", "\\x1b]0;owned\\x07\\ud800")
    assert broken.problem.endswith("ValueError: \\x1b")
    assert ended.problem.startswith("still running after 2 s")
    assert "not valid Python" in deep.problem
    assert named.problem.startswith("line 1: ")
    assert named.problem.endswith("a\\x1b[2J: b\\ud800")
    assert "not valid Python" in null.problem


def test_lines_run_in_the_cage(tried, home):
    (answer,) = tried((f"open({str(home.checks)!r}).read()", None))
    assert "FileNotFoundError" in answer.problem or "PermissionError" in answer.problem
    assert answer.shown == ()


def test_what_is_long_is_cut(tried):
    (answer,) = tried(("print('a' * 10**6)\n" + "'b' * 10**6\n" * 60, None))
    assert len(answer.printed) < 5000
    assert sum(map(len, answer.shown)) < 250_000


def test_something_newer_ends_them(home):
    async def story():
        seat = await Seat.open(home.house, home.exercise)
        try:
            seat.ask(Run(1, "", lines="1"))
            words = seat.said()
            await anext(one async for one in words if isinstance(one, TriedLines))
            seat.ask(Run(2, "", lines="import time; time.sleep(1000)"))
            seat.ask(Run(3, "", lines="3"))
            return await anext(one async for one in words if isinstance(one, TriedLines))
        finally:
            await seat.close()

    last = asyncio.run(story())
    assert (last.run, last.tried.shown) == (3, ("3",))
