"""A seat judges one text after another, the newest first of all, and its keeper stays light."""

import asyncio
import os
import signal

import pytest
from shared import PATIENCE

from grader.learner.seat import Cancelled, Checked, Ended, Fault, Ready, Run, Seat
from grader.verdicts.verdict import Verdict

ENDLESS = "while True:\n    pass\n"


def talk(home, *asked, until=Ended, react=lambda seat, said: None):
    """What a seat says, up to the first word of a kind. asked: runs, or None for a stop. react: sees each word."""

    async def listen():
        heard = []
        seat = await Seat.open(home.house, home.exercise)
        try:
            for run in asked:
                seat.ask(run) if run else seat.stop()
            async with asyncio.timeout(PATIENCE):
                async for said in seat.said():
                    heard.append(said)
                    react(seat, said)
                    if isinstance(said, until):
                        break
        finally:
            await seat.close()
        return heard

    return asyncio.run(listen())


def test_a_text_is_judged_and_each_check_is_said_as_it_ends(home):
    ready, *checks, end = talk(home, Run(7, home.solution, seed=3))
    assert ready == Ready(4)
    assert [(one.run, one.total, one.check.verdict) for one in checks] == [(7, 4, Verdict.PASSED)] * 4
    assert (end.run, end.result.score, end.result.seed) == (7, 100, 3)
    assert [check.id for part in end.result.parts for check in part.checks] == [one.check.id for one in checks]


def test_the_text_that_is_given_is_judged_whatever_lies_in_the_file(home):
    home.attempt.write_text("not Python at all")
    *_, end = talk(home, Run(1, home.solution))
    assert end.result.score == 100


def test_a_part_can_come_first_and_a_part_can_run_alone(home):
    first = talk(home, Run(1, home.solution, first=("RunningMean",)))
    assert [said.check.part for said in first if isinstance(said, Checked)] == ["RunningMean"] + 3 * ["batch_mean"]
    alone = talk(home, Run(1, home.solution, only=("RunningMean",)))
    assert [(said.total, said.check.part) for said in alone if isinstance(said, Checked)] == [(1, "RunningMean")]
    assert [part.verdict for part in alone[-1].result.parts] == [Verdict.NOT_RUN, Verdict.PASSED]


def test_the_newest_run_ends_the_one_before_it(home):
    def again(seat, said):
        if isinstance(said, Checked) and said.run == 1:
            seat.ask(Run(2, home.solution))

    slow = home.solution.replace("return x.sum(0)", "\n    while len(x) == 5: pass\n    return x.sum(0)")
    heard = talk(home, Run(1, slow), react=again)
    assert Cancelled(1) in heard
    assert (heard[-1].run, heard[-1].result.score) == (2, 100)


def test_a_run_that_waits_behind_a_newer_one_is_never_begun(home):
    heard = talk(home, Run(1, ENDLESS), Run(2, home.solution))
    assert {said.run for said in heard if isinstance(said, Checked | Ended)} == {2}


def test_a_stop_ends_a_run_and_the_next_one_works(home):
    stopped = []

    def stop(seat, said):
        if isinstance(said, Checked) and not stopped:
            stopped.append(said.run)
            seat.stop()
        if isinstance(said, Cancelled):
            seat.ask(Run(2, home.solution))

    slow = home.solution.replace("return x.sum(0)", "\n    while len(x) == 5: pass\n    return x.sum(0)")
    heard = talk(home, Run(1, slow), react=stop)
    assert [said.run for said in heard if isinstance(said, Cancelled)] == [1]
    assert heard[-1].run == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [("def batch_mean(x:\n", "is not valid Python"), ("x = 1\x00\n", "null byte")],
)
def test_a_text_that_cannot_be_used_is_an_error_of_every_part(home, text, said):
    *_, end = talk(home, Run(1, text))
    assert {part.verdict for part in end.result.parts} == {Verdict.ERROR}
    assert said in end.result.problem


def test_checks_that_cannot_be_collected_are_the_graders_fault(home):
    home.checks.write_text("import no_such_package\n")
    (fault,) = talk(home, Run(1, home.solution), until=Fault)
    assert fault.run == 0
    assert "no_such_package" in fault.why


def test_a_seat_that_ends_by_itself_says_so(home):
    def kill(seat, said):
        if isinstance(said, Checked):
            os.kill(seat.pid, signal.SIGKILL)

    heard = talk(
        home, Run(5, home.solution.replace("return", "while len(x) == 1: pass\n    return", 1)), until=Fault, react=kill
    )
    assert heard[-1] == Fault(0, "the process that judges ended with code -9")


def test_who_keeps_a_seat_stays_light(home):
    heavy = "print([one for one in ('torch', 'numpy', 'pytest', 'nbgrader') if one in sys.modules])"
    done = home.cold("-c", f"import sys, grader.learner.seat\n{heavy}")
    assert done.out.strip() == "[]", done.err
