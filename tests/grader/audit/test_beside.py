"""Several exercises are audited side by side, and said one after the other."""

import shutil

import pytest

from grader.audit.beside import audits
from grader.bank.catalog import House
from grader.base.errors import RunError

ID, OTHER = "dl_901_running_mean", "dl_902_running_mean"


def both(home, *edits):
    """The house with a second exercise, a copy of its one, with edits of the copy's solution."""
    for kind in ("exercises", "solutions", "tests"):
        shutil.copytree(home.root / kind / ID, home.root / kind / OTHER)
    facts = home.root / "exercises" / OTHER / "exercise.toml"
    facts.write_text(facts.read_text().replace(ID, OTHER))
    home.edit(f"solutions/{OTHER}/running_mean.py", *edits)
    return House(home.root)


def told(house):
    lines = []
    found = audits(house, list(house.exercises.values()), seeds=1, mutants=0, jobs=2, say=lines.append)
    return found, lines


def test_each_is_said_whole_and_in_order(home):
    reports, lines = told(both(home, ("return x.sum(0)", "return -x.sum(0)")))
    first, second = reports
    assert (first.exercise, second.exercise) == (ID, OTHER)
    middle = lines.index(OTHER)
    assert lines[0] == ID
    assert not any("✗ solution" in line for line in lines[:middle])
    assert any("✗ solution" in line for line in lines[middle:])
    assert not second.healthy


def test_what_cannot_be_collected_is_the_error_of_the_whole(home):
    house = both(home)
    home.edit(f"tests/{OTHER}/test_running_mean.py", ("import drivers", "import driver"))
    reports, _ = told(house)
    assert next(reports).exercise == ID
    with pytest.raises(RunError, match=f"the checks of {OTHER} cannot be collected:"):
        next(reports)
