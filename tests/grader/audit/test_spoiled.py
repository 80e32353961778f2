"""A check that does not see what a function gives back is planted, and the audit must say which."""

import json

import pytest

from conftest import ID

CHECKS = f"tests/{ID}/test_running_mean.py"
SCRIPT = """
import json
from pathlib import Path

from grader.audit.bench import Bench
from grader.audit.spoiled import spoiled
from grader.bank.catalog import House
from grader.judging.collected import collect_checks

house = House(Path.cwd())
exercise = house.find("901")
print(json.dumps(spoiled(Bench(exercise, collect_checks(house, exercise), 2), None)))
"""
BLIND = {
    "None": "agree(x.mean(0) if got is None else got,",
    "a list": "agree(torch.stack(list(got)),",
    "another dtype": "agree(got.double(),",
}
"""Way to spoil a mean to the check that does not see it."""


def found(home):
    done = home.script(SCRIPT)
    assert done.code == 0, done.said
    return json.loads(done.out)


def test_each_function_of_a_healthy_exercise_is_looked_at_and_named(homes):
    sentences, summary = found(homes())
    assert sentences == []
    assert summary.startswith("8 functions that give back something else")


@pytest.mark.parametrize("way", BLIND)
def test_what_no_check_sees_is_found(homes, way):
    home = homes()
    seen = "agree(attempt.batch_mean(x), x.mean(0),"
    home.edit(CHECKS, (seen, f"got = attempt.batch_mean(x)\n    {BLIND[way]} x.mean(0), tol=1e-2,"))
    sentences, _ = found(home)
    assert sentences == [f"'batch_mean' gives back {way}, and no check of 'batch_mean' fails."]
