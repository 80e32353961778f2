"""`grader regrade`: a contested mark, with the inputs that it had."""

import json

import pytest

from conftest import ID
from grader.records.results import results_of

SUM = ("* len(x) / self.count", "/ 2")


def test_a_mark_is_repeated_from_its_seed(home):
    """A wrong answer that differs by the seed: it is told with the same number, of six digits."""
    place = home.root / "submitted" / "ann" / ID
    place.mkdir(parents=True)
    (place / "running_mean.py").write_text(home.solution.replace(*SUM))
    assert home.grader("grade", "submitted", "--out", "results").code == 0
    (kept,) = results_of(home.root / "results")
    number = kept.parts[1].first_failure.finding.expected

    (home.root / "odd name.py").write_text(home.solution.replace(*SUM))
    done = home.grader("regrade", "odd name.py", "901", "--seed", str(kept.seed))
    assert done.code == 1
    assert "30 of 100 points" in done.out
    assert f"expected {number}," in done.out
    assert f"Judged with seed {kept.seed}, isolation {kept.isolation}: checks {kept.versions['checks']}" in done.out
    other = home.grader("regrade", "odd name.py", "901", "--seed", str(kept.seed + 1))
    assert "expected " in other.out
    assert f"expected {number}," not in other.out
    assert home.progress.earned() == {}, "nothing is recorded"


@pytest.mark.parametrize(
    ("name", "data", "points"),
    [
        ("a.ipynb", None, 100),
        ("latin.py", "# -*- coding: latin-1 -*-\n# é\n".encode("latin-1"), 100),
        ("broken.ipynb", b"{", 0),
    ],
)
def test_a_file_of_any_kind(home, name, data, points):
    if data is None:
        data = json.dumps({"cells": [{"cell_type": "code", "source": home.solution, "metadata": {}}]}).encode()
    elif name.endswith(".py"):
        data += home.solution.encode()
    (home.root / name).write_bytes(data)
    done = home.grader("regrade", name, ID, "--seed", "1")
    assert f"{points} of 100 points" in done.out
    assert done.code == (points != 100)


def test_bad_input_gets_a_sentence(home):
    done = home.grader("regrade", "nowhere.py", "901", "--seed", "1")
    assert (done.code, done.err) == (2, "grader: nowhere.py cannot be read: No such file or directory.\n")
    assert home.grader("regrade", "nowhere.py", "901").code == 2
