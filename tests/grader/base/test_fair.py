"""A limit in seconds leaves out what others took of the processors, and nothing else."""

import json
import os
import signal
import time

import pytest
from shared import PATIENCE

from grader.base import fair


class Rung(Exception):
    pass


@pytest.fixture
def bell():
    """Somebody's clock: it raises Rung after the seconds that it is called with."""

    def rung(number, frame):
        raise Rung

    before = signal.signal(signal.SIGALRM, rung)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def wait(done=lambda: False):
    while not done():
        signal.sigtimedwait([], 0.01)


def test_a_clock_rings_where_nothing_is_lost(bell):
    bell(0.05)
    with pytest.raises(Rung), fair.check_clock(lambda: 0.0):
        wait()


def test_a_clock_waits_for_what_is_lost_and_rings_then(bell, monkeypatch):
    monkeypatch.setattr(fair, "MOST", PATIENCE)  # where this machine is busy too
    looks = []

    def lost():
        looks.append(time.monotonic())
        return looks[:4][-1] - looks[0]  # all the time until the third look after the first, and then no more

    bell(0.2)
    with pytest.raises(Rung), fair.check_clock(lost):
        wait()
    assert len(looks) > 4
    assert looks[-1] - looks[3] >= 0.15  # then the whole time is left


def test_a_clock_that_loses_all_ends_all_the_same_and_says_why(bell):
    bell(0.05)
    with pytest.raises(fair.Starved), fair.check_clock(time.monotonic, fair.Starved):
        wait()
    bell(0.05)
    with pytest.raises(Rung), fair.check_clock(time.monotonic):
        wait()


def test_a_clock_that_code_swallows_rings_again(bell):
    heard = []
    bell(0.05)
    with fair.check_clock(lambda: 0.0):
        while len(heard) < 2:
            try:
                wait()
            except Rung:
                heard.append(1)


def test_without_a_clock_nothing_is_set(bell):
    with fair.check_clock(lambda: 0.0):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_after_a_check_the_clock_is_as_it_was(bell):
    bell(50)
    before = signal.getsignal(signal.SIGALRM)
    with fair.check_clock(lambda: 0.0):
        assert signal.getsignal(signal.SIGALRM) is not before
    left, again = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left <= 50
    assert again == 0
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize(
    ("ran", "waited", "cores", "lost"),
    [
        (1.0, 0.0, 2, 0.0),  # alone
        (0.0, 0.0, 2, 0.0),  # asleep
        (0.25, 0.75, 2, 0.75),  # one thread beside three others
        (0.05, 0.05, 2, 0.05),  # mostly asleep
        (2.0, 56.0, 2, 0.0),  # many threads that have all processors: they took the time from one another
        (1.0, 57.0, 1, 0.0),  # the same on the one processor of its job
        (0.5, 57.5, 2, 0.75),  # many threads, and others as well
        (0.0, 1.0, 1, 1.0),  # never at work
    ],
)
def test_what_is_lost(ran, waited, cores, lost):
    assert fair._lost(ran, waited, 1.0, cores) == pytest.approx(lost)
    assert fair._lost(3 * ran, 3 * waited, 3.0, cores) == pytest.approx(3 * lost)


def test_what_is_lost_adds_up_over_looks(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(fair.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fair, "_of_thread", lambda thread: (int(clock[0] * 0.25e9), int(clock[0] * 0.75e9)))
    waits = fair.Waits(cores=2)
    for _ in range(100):
        clock[0] += 0.05
        waits.look([1])
    assert waits.lost == pytest.approx(0.75 * clock[0], rel=0.1)


def test_jobs_share_the_processors_out(monkeypatch):
    monkeypatch.setattr(fair, "processors", lambda: [2, 3, 5, 7])
    assert [fair.processors_of(slot, 2) for slot in range(2)] == [[2, 5], [3, 7]]
    assert [fair.processors_of(slot, 4) for slot in range(4)] == [[2], [3], [5], [7]]
    assert fair.processors_of(0, 1) == [2, 3, 5, 7]
    assert [fair.processors_of(slot, 6) for slot in range(6)] == [[2], [3], [5], [7], [2], [3]]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no such thing here")
def test_a_process_counts_the_processors_that_it_may_use():
    every = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(every)})
        assert fair.processors() == [min(every)]
    finally:
        os.sched_setaffinity(0, every)


PROBE = """
import json, time
from pathlib import Path
from grader.base import fair
from grader.bank.catalog import House
from grader.judging.collected import collect_checks
from grader.judging.pool import Variant, judge

fair.own_loss = time.monotonic  # as where others have had the processors all the time
fair.MOST = 1000  # where this machine is busy too
house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
right = exercise.solution.read_text()
slow = right.replace("return x.sum(0)", "__import__('time').sleep(1); return x.sum(0)")
assert slow != right

for out in judge(collect_checks(house, exercise), [Variant("slow", slow, check_seconds=0.4)], jobs=1, deadline=1):
    print(json.dumps([out.died, [check.verdict for check in out.checks]]))
"""


def test_checks_and_batches_have_such_clocks(home):
    """Each check takes 1 s where it has 0.4, and all of them 4 s where they have 1; none of it was theirs."""
    done = home.script(PROBE)
    assert done.code == 0, done.said
    died, verdicts = json.loads(done.out.splitlines()[-1])
    assert (died, set(verdicts)) == ("", {"passed"})
