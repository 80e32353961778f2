"""A check that is blind to one way to pay is planted, and the twin that pays so must be found."""

import json

import pytest

from conftest import ID

CHECKS, MUTANTS = f"tests/{ID}/test_running_mean.py", f"tests/{ID}/mutants.toml"
SCRIPT = """
import json
from pathlib import Path

from grader.audit.bench import Bench
from grader.audit.mutants import read_mutants
from grader.audit.twins import twins
from grader.bank.catalog import House
from grader.judging.collected import collect_checks

house = House(Path.cwd())
exercise = house.find("901")
bench = Bench(exercise, collect_checks(house, exercise), 2)
print(json.dumps(twins(bench, read_mutants(exercise.checks.parent / "mutants.toml"))))
"""
IMPORT = (
    "from grader.checks import agree, part, refusal",
    "from grader.checks import agree, at_most, in_torch, part, refusal",
)
COST = '''@part("batch_mean")
def test_mean_is_cheap(attempt, draw):
    """A mean takes few operations and little memory, and keeps nothing, with and without gradients."""
    x = draw.normal(40, 30)
    for upstream in (None, draw.normal(30)):
        got, cost = attempt.cost("batch_mean", x, upstream=upstream)
        agree(got[0] if upstream is not None else got, x.mean(0), axes="d", of="batch_mean")
        in_torch(cost, of="a mean")
        at_most(cost.work, 4 * x.numel(), of="elements written")
        at_most(cost.peak, 24 * x.numel(), of="bytes at once")
        at_most(cost.kept, 0, of="bytes that stay alive")
'''
ALL = {
    "thread", "hoarder", "numpy work", "numpy memory", "work with gradients", "work without gradients",
    "memory with gradients", "memory without gradients",
}  # fmt: skip
NO_WORK = ('        at_most(cost.work, 4 * x.numel(), of="elements written")\n', "")
"""What torch makes is written, too."""
BLIND = {
    "hoarder": [("at_most(cost.kept, 0,", "at_most(cost.kept, 10**9,")],
    "numpy work": [('        in_torch(cost, of="a mean")\n', "")],
    "work with gradients": [("(None, draw.normal(30))", "(None,)")],
    "work without gradients": [("(None, draw.normal(30))", "(draw.normal(30),)")],
    "memory with gradients": [NO_WORK, ("at_most(cost.peak,", "if upstream is None: at_most(cost.peak,")],
    "memory without gradients": [NO_WORK, ("at_most(cost.peak,", "if upstream is not None: at_most(cost.peak,")],
    "numpy memory": [("at_most(cost.peak, 24 * x.numel(),", "at_most(cost.peak % 2, 24 * x.numel(),")],
}
"""Kind to the change of the check that makes it blind. Others may get blind with it."""
ASKED = '''@part("batch_mean")
def test_gradients(attempt, draw):
    """The gradient of a mean is shared evenly."""
    x, g = draw.normal(4, 3), draw.normal(3)
    _, (got,) = attempt.gradients("batch_mean", x, upstream=g)
    agree(got, (g / 4).expand(4, 3), axes="n d", of="the gradient of x")
'''


def found(home, *edits, checks=COST):
    home.edit(CHECKS, IMPORT)
    for find, put in edits:
        assert checks.count(find) == 1, find
        checks = checks.replace(find, put)
    home.check(checks)
    home.check(ASKED)
    done = home.script(SCRIPT)
    assert done.code == 0, done.said
    return json.loads(done.out)


def passing(sentences):
    """The kinds of the twins that passed."""
    return {sentence.split("'")[1] for sentence in sentences if " passes test_" in sentence}


def test_a_check_that_sees_every_way_to_pay_refuses_all_twins(homes):
    assert found(homes()) == [[], f"{len(ALL)} twins, each refused where its cost is promised"]


@pytest.mark.parametrize("kind", BLIND)
def test_a_blind_check_is_found(homes, kind):
    sentences, _ = found(homes(), *BLIND[kind])
    assert kind in passing(sentences), sentences
    assert all(" passes test_mean_is_cheap: it " in one for one in sentences)


def test_a_check_that_measures_another_call_lets_the_thread_through(homes):
    checks = COST.replace('attempt.cost("batch_mean", x, upstream=upstream)', 'attempt.cost("other", x)')
    home = homes()
    for name in (f"solutions/{ID}/running_mean.py", f"exercises/{ID}/running_mean.py"):
        home.edit(
            name, ("\n\nclass RunningMean", "\n\ndef other(x):\n    return x.sum(0) / len(x)\n\n\nclass RunningMean")
        )
    sentences, _ = found(home, ("got[0] if upstream is not None else got", "got"), checks=checks)
    assert "thread" in passing(sentences)


def test_a_part_without_a_cost_has_no_twins(homes):
    done = homes().script(SCRIPT)
    assert json.loads(done.out) == [[], "0 twins, each refused where its cost is promised"]


def test_a_twin_that_passes_may_be_allowed_and_an_allowance_that_nobody_needs_is_named(homes):
    home = homes()
    allowed = '\n[[allowed]]\ntwin = "{}"\npart = "batch_mean"\nreason = "nothing is promised of it"\n'
    with (home.root / MUTANTS).open("a") as file:
        file.write(allowed.format("numpy work") + allowed.format("hoarder"))
    sentences, _ = found(home, *BLIND["numpy work"])
    assert sentences == ["[[allowed]] twin = 'hoarder' of 'batch_mean' passes no check any more: remove it."]
