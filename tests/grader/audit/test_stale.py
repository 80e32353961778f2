"""A function that keeps results by size must be found where no check asks twice, and refused where one does."""

import json

from conftest import ID

CHECKS, MUTANTS = f"tests/{ID}/test_running_mean.py", f"tests/{ID}/mutants.toml"
SCRIPT = """
import json
from pathlib import Path

from grader.audit.bench import Bench
from grader.audit.mutants import read_mutants
from grader.audit.stale import stale
from grader.bank.catalog import House
from grader.judging.collected import collect_checks

house = House(Path.cwd())
exercise = house.find("901")
bench = Bench(exercise, collect_checks(house, exercise), 2)
print(json.dumps(stale(bench, read_mutants(exercise.checks.parent / "mutants.toml"), None)))
"""
ALLOWED = """
[[allowed]]
twin = "{}"
part = "{}"
reason = "the checks of this house are few"
"""
ALL = [(kind, name) for kind in ("first result", "one buffer") for name in ("batch_mean", "RunningMean.update")]
TWICE = '''@part("batch_mean")
def test_other_rows(attempt, reference, draw):
    """Each call takes its own rows."""
    rows = [(draw.normal(4, 3),) for _ in range(2)]
    hold_again(attempt, reference, "batch_mean", *rows, of="batch_mean of (4, 3)")
'''


def found(home):
    done = home.script(SCRIPT)
    assert done.code == 0, done.said
    return json.loads(done.out)


def test_what_is_allowed_is_no_finding(homes):
    assert found(homes()) == [[], "4 functions that keep results by size, each refused"]


def test_each_function_whose_sizes_come_once_is_found(homes):
    home = homes()
    for kind, name in ALL:
        home.edit(MUTANTS, (ALLOWED.format(kind, name), ""))
    sentences, _ = found(home)
    assert [one.split("'")[1] for one in sentences] == [name for _, name in ALL]
    assert sentences[0] == (
        "'batch_mean' gives its first result again where other numbers of the same sizes come, and no check of "
        "'batch_mean' fails."
    )


def test_what_a_check_refuses_need_not_be_allowed(homes):
    home = homes()
    home.edit(
        CHECKS, ("from grader.checks import", "from grader.checks.again import hold_again\nfrom grader.checks import")
    )
    home.check(TWICE)
    sentences, _ = found(home)
    assert sentences == [
        f"[[allowed]] twin = '{kind}' of 'batch_mean' is refused: remove it." for kind in ("first result", "one buffer")
    ]
    for kind in ("first result", "one buffer"):
        home.edit(MUTANTS, (ALLOWED.format(kind, "batch_mean"), ""))
    assert found(home)[0] == []


def test_an_allowance_for_no_function_is_named(homes):
    home = homes()
    with (home.root / MUTANTS).open("a") as file:
        file.write(ALLOWED.format("one buffer", "batch_meen"))
    assert found(home)[0] == ["[[allowed]] twin = 'one buffer': there is no function 'batch_meen'."]
