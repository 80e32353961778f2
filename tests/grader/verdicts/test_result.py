from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from grader.bank.catalog import Exercise, Limits, Part
from grader.verdicts.result import CheckResult, Result, assemble
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict


def exercise(*parts):
    """An exercise of parts given as (name, points, after)."""
    made = tuple(Part(name, points, 1, (), (), after=tuple(after)) for name, points, after in parts)
    return Exercise("dl_900_x", Path(), Path(), "X", "", 1, Limits(), made)


def result(of, verdicts, planned):
    """verdicts: check id (`part/1`) to verdict, to (verdict, message), or to what is told."""
    checks = []
    for id, said in verdicts.items():
        told = said if isinstance(said, Told) else Told(*(said if isinstance(said, tuple) else (said,)))
        checks.append(CheckResult.of(id, id.split("/")[0], told))
    return assemble(of, checks, planned, seed=3, isolation="practice")


PLANNED = {"a": ["a/1", "a/2"], "b": ["b/1"]}
AB = exercise(("a", 40, ()), ("b", 60, ("a",)))


def verdicts(result):
    return {part.name: part.verdict for part in result.parts}


def test_all_passed_earns_all():
    full = result(AB, {"a/1": Verdict.PASSED, "a/2": Verdict.PASSED, "b/1": Verdict.PASSED}, PLANNED)
    assert (full.score, full.max_score, full.earned, full.complete) == (100, 100, True, True)


def test_a_check_that_did_not_report_earns_nothing():
    part = result(AB, {"a/1": Verdict.PASSED, "b/1": Verdict.PASSED}, PLANNED)
    assert verdicts(part) == {"a": Verdict.NOT_RUN, "b": Verdict.PASSED}
    assert (part.score, part.complete, part.earned) == (60, False, False)
    assert part.parts[0].message == "1 of 2 checks ran"


def test_a_part_without_checks_earns_nothing():
    assert verdicts(result(AB, {}, {})) == {"a": Verdict.NOT_RUN, "b": Verdict.NOT_RUN}
    assert result(AB, {}, {}).score == 0


def test_the_first_failure_decides():
    two = result(AB, {"a/1": (Verdict.WRONG, "this"), "a/2": (Verdict.ERROR, "that"), "b/1": Verdict.PASSED}, PLANNED)
    assert (two.parts[0].verdict, two.parts[0].message) == (Verdict.WRONG, "this")
    assert two.parts[0].first_failure.id == "a/1"


def test_a_failing_part_waits_for_a_failing_one_that_it_builds_on():
    both = result(AB, {"a/1": (Verdict.WRONG, "x"), "a/2": Verdict.PASSED, "b/1": (Verdict.WRONG, "y")}, PLANNED)
    assert verdicts(both) == {"a": Verdict.WRONG, "b": Verdict.WAITING}
    assert both.parts[1].message == "waits for a"


def test_a_failing_part_waits_for_none_that_passed_or_did_not_run():
    wrong = {"b/1": (Verdict.WRONG, "y")}
    passed = result(AB, {"a/1": Verdict.PASSED, "a/2": Verdict.PASSED, **wrong}, PLANNED)
    assert verdicts(passed)["b"] is Verdict.WRONG
    assert verdicts(result(AB, wrong, PLANNED))["b"] is Verdict.WRONG


def test_a_file_that_does_not_load_makes_no_part_wait():
    said = Told(Verdict.ERROR, "line 3 is not valid Python", of_file=True)
    assert verdicts(result(AB, {"a/1": said, "a/2": said, "b/1": said}, PLANNED)) == {
        "a": Verdict.ERROR,
        "b": Verdict.ERROR,
    }


def test_of_a_file_that_does_not_load_no_check_is_counted():
    said = Told(Verdict.ERROR, "line 3 is not valid Python", of_file=True)
    broken = result(AB, {"a/1": said, "a/2": said, "b/1": said}, PLANNED).parts[0]
    wrong = result(AB, {"a/1": (Verdict.WRONG, "x"), "a/2": Verdict.PASSED}, PLANNED).parts[0]
    assert (broken.said, wrong.said) == ("error", "wrong, 1 of 2 checks pass")


def test_what_is_no_consequence_of_another_part_does_not_wait():
    for verdict in (Verdict.TIMEOUT, Verdict.MEMORY, Verdict.GRADER_ERROR, Verdict.NOT_STARTED):
        both = result(AB, {"a/1": (Verdict.WRONG, "x"), "b/1": (verdict, "y")}, PLANNED)
        assert verdicts(both)["b"] is verdict


@st.composite
def runs(draw):
    """Any exercise, and any outcome of any of its checks, a check of no part among them."""
    count = draw(st.integers(1, 4))
    names = [f"p{i}" for i in range(count)]
    of = exercise(*((name, draw(st.integers(1, 50)), names[:i]) for i, name in enumerate(names)))
    planned = {name: [f"{name}/{i}" for i in range(draw(st.integers(0, 3)))] for name in names}
    ids = [id for ids in planned.values() for id in ids] + ["stray/1"]
    ran = {id: (draw(st.sampled_from(Verdict)), "said " + id) for id in ids if draw(st.booleans())}
    return of, ran, planned


@given(runs())
def test_a_part_is_earned_exactly_when_each_planned_check_passed(run):
    of, ran, planned = run
    made = result(of, ran, planned)
    for part in made.parts:
        ids = planned[part.name]
        earned = bool(ids) and all(ran.get(id, (None,))[0] is Verdict.PASSED for id in ids)
        assert part.earned == (part.points if earned else 0)
        assert (part.verdict is Verdict.PASSED) == earned
    assert [part.name for part in made.parts] == [part.name for part in of.parts]
    assert made.score == sum(part.earned for part in made.parts)
    assert made.earned == (made.score == of.points)
    assert not (made.earned and not made.complete)


@given(runs())
def test_a_result_survives_the_way_through_json(run):
    made = result(*run)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Result) == made
