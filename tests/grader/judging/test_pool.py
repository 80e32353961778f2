import json

import pytest

PROBE = """
import json
from pathlib import Path
from grader.bank.catalog import House
from grader.judging.pool import Variant, judge
from grader.judging.collected import collect_checks

house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
right = exercise.solution.read_text()
wrong = right.replace("return x.sum(0) / len(x)", "return x.sum(0)")
assert wrong != right
variants = [
    Variant("file", right),
    Variant("reversed", right, order="reversed"),
    Variant("shuffled", right, order="shuffled", seed=4),
    Variant("part", right, first=("RunningMean",)),
    Variant("stub", exercise.attempt.read_text()),
    Variant("wrong", wrong),
    Variant("stops", wrong, stop_early=True),
    Variant("loops", right.replace("return x.sum(0)", "while True: pass\\n    return x.sum(0)"), check_seconds=0.3),
    Variant("exits", "import os\\nos._exit(0)\\n"),
    Variant("floods", "print('x' * 100_000)\\n" + right),
]
stuck = Variant("stuck", "while True:\\n    try:\\n        while True: pass\\n    except BaseException: pass\\n")

checks = collect_checks(house, exercise)
for out in (*judge(checks, variants, jobs=3, deadline=900), *judge(checks, [stuck], jobs=1, deadline=2)):
    print(json.dumps([out.variant.name, out.passed, out.died, [[c.id, c.verdict] for c in out.checks]]))
"""

LONG = """
import json
from pathlib import Path
from grader.bank.catalog import House
from grader.judging import pool
from grader.judging.collected import collect_checks

house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
checks = collect_checks(house, exercise)
right = exercise.solution.read_text()
for line, report in ((1 << 18, 1 << 24), (50, 1 << 24), (1 << 18, 300), (1 << 18, 1 << 24)):
    pool._LONGEST_LINE, pool._LONGEST_REPORT = line, report
    (out,) = pool.judge(checks, [pool.Variant("right", right)], jobs=1, deadline=900)
    print(json.dumps([out.passed, out.died, out.timed_out, len(out.checks)]))
"""
FILE = ["test_mean_of_rows[1]", "test_mean_of_rows[5]", "test_mean_of_nothing", "test_stream_equals_whole"]


@pytest.fixture(scope="module")
def outcomes(homes):
    """Variant to (passed, how it died, its checks as (id, verdict))."""
    home = homes()
    before = home.attempt.read_bytes()
    done = home.script(PROBE)
    assert done.code == 0, done.said
    assert home.attempt.read_bytes() == before
    assert not home.progress.path.exists()
    return {name: (passed, died, checks) for name, passed, died, checks in map(json.loads, done.out.splitlines())}


def ids(outcome):
    return [id for id, _ in outcome[2]]


def test_each_variant_has_an_outcome(outcomes):
    assert len(outcomes) == 11


def test_the_solution_passes_in_each_order(outcomes):
    for name in ("file", "reversed", "shuffled", "part", "floods"):
        passed, died, checks = outcomes[name]
        assert (passed, died, len(checks)) == (True, "", 4)


def test_the_order_is_the_one_asked_for(outcomes):
    assert ids(outcomes["file"]) == FILE
    assert ids(outcomes["reversed"]) == FILE[::-1]
    assert ids(outcomes["part"]) == [FILE[3], *FILE[:3]]
    assert sorted(ids(outcomes["shuffled"])) == sorted(FILE)


def test_a_variant_is_judged_in_place_of_the_file(outcomes):
    assert {verdict for _, verdict in outcomes["stub"][2]} == {"not started"}
    assert outcomes["wrong"][2] == [[FILE[0], "passed"], [FILE[1], "wrong"], [FILE[2], "passed"], [FILE[3], "wrong"]]


def test_a_variant_may_end_at_its_first_failure(outcomes):
    assert outcomes["stops"] == (False, "", [[FILE[0], "passed"], [FILE[1], "wrong"]])


def test_an_endless_loop_costs_its_checks_their_limit(outcomes):
    passed, died, checks = outcomes["loops"]
    assert (passed, died) == (False, "")
    assert checks[0] == [FILE[0], "timeout"]


def test_what_ends_its_process_or_swallows_the_limit_is_no_pass(outcomes):
    for name in ("exits", "stuck"):
        passed, died, checks = outcomes[name]
        assert not passed
        assert died or len(checks) == 4
        assert "passed" not in [verdict for _, verdict in checks]


def test_checks_that_cannot_be_collected_are_an_error(home):
    home.check("import no_such_package\n")
    done = home.script(PROBE)
    assert done.code == 1
    assert "RunError" in done.err
    assert "no_such_package" in done.err


def test_what_reports_more_than_it_may_is_ended(home):
    """The parent holds what its processes say: it must not hold any amount of it."""
    done = home.script(LONG)
    assert done.code == 0, done.said
    right, line, report, again = map(json.loads, done.out.splitlines())
    assert right == again == [True, "", False, 4]
    for passed, died, timed_out, checks in (line, report):
        assert (passed, died, timed_out) == (False, "the asker reported more than it may", False)
        assert checks < 4
