"""A part whose own code is right keeps its points though one that it builds on is wrong, and learns nothing by it."""

import json

import pytest

from grader.bank.standins import excerpt, standins_for, without_definitions

WRONG = ("return x.sum(0) / len(x)", "return x.sum(0)")
OWN = "self.mean = self.mean + (batch_mean(x) - self.mean) * len(x) / self.count"
PROBE = """
import json, sys
from functools import partial
from pathlib import Path
from grader.bank.catalog import House
from grader.engine.batch import Engine
from grader.submissions.find import Submission

house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
texts = json.loads(Path("texts.json").read_text())
told = {}
with Engine([exercise]) as engine:
    engine.judge(
        house, exercise, [Submission(name, exercise.id, text) for name, text in texts.items()],
        seed_of=lambda one: 7, jobs=2, keep=lambda result: told.__setitem__(result.student, result),
    )
print(json.dumps({
    name: [result.score, *((part.verdict, part.message) for part in result.parts), *(
        (check.message, check.printed) for part in result.parts for check in part.checks
    )] for name, result in told.items()
}))
"""


MORE_CHECKS = '''

@part("RunningMean")
@pytest.mark.parametrize("sizes", [(3, 1), (1, 4)])
def test_streams_of_unequal_batches(attempt, draw, sizes):
    """Each row weighs as much as any other."""
    batches = [draw.normal(n, 3) for n in sizes]
    want = [torch.cat(batches[: i + 1]).mean(0) for i in range(2)]
    agree(attempt.run(drivers.stream, batches), want, axes="d", of=f"RunningMean over batches of {sizes}")
'''


def texts(solution):
    """Name to a submission."""
    slip = solution.replace(*WRONG)
    yield "a slip", slip
    yield "not written", solution.replace(solution[solution.index("    ### BEGIN"):solution.index("\n\nclass")],
                                          "    raise NotImplementedError  # TODO: your code\n")  # fmt: skip
    yield "both wrong", slip.replace(OWN, "self.mean = batch_mean(x)")
    yield "an own class is extended", slip.replace("class RunningMean:", "class RunningMean(object):")
    yield "never ends", solution.replace(WRONG[0], "while True:\n        pass")
    yield "looks for the reference", slip.replace(OWN, (
        "for module in list(__import__('sys').modules.values()):\n"
        "            found = getattr(module, 'RunningMean', None)\n"
        "            if found not in (None, RunningMean):\n"
        "                return found(3).update(x)\n"
        "        found = batch_mean.__globals__.get('RunningMean', RunningMean)\n"
        "        if found is not RunningMean:\n"
        "            return found(3).update(x)\n"
        "        self.mean = x.sum(0)"
    ))  # fmt: skip
    yield "tells of the reference", slip.replace("the mean of nothing", "no rows").replace(OWN, (
        "import inspect\n"
        "        print('LEAK', batch_mean.__code__.co_consts)\n"
        "        raise ValueError(f'LEAK {batch_mean.__code__.co_consts}')"
    ))  # fmt: skip


@pytest.fixture(scope="module")
def judged(homes):
    home = homes()
    with home.exercise.checks.open("a") as checks:
        checks.write(MORE_CHECKS)
    (home.root / "texts.json").write_text(json.dumps(dict(texts(home.solution))))
    done = home.script(PROBE)
    assert done.code == 0, done.said
    return json.loads(done.out.splitlines()[-1])


@pytest.mark.parametrize("name", ["a slip", "not written", "an own class is extended", "never ends"])
def test_a_right_part_keeps_its_points(judged, name):
    score, first, second, *_ = judged[name]
    assert score == 70
    assert first[0] != "passed"
    assert second == ["passed", "with the reference's batch_mean"]


def test_a_wrong_part_stays_wrong_and_waits(judged):
    score, _, second, *_ = judged["both wrong"]
    assert (score, second) == (0, ["waiting", "waits for batch_mean"])


def test_the_judged_part_of_the_reference_is_not_there(judged):
    assert judged["looks for the reference"][0] == 0


def test_what_is_said_beside_the_reference_is_heard_by_nobody(judged):
    score, *_ = said = judged["tells of the reference"]
    assert score == 0
    assert "the mean of nothing" not in json.dumps(said)
    assert "no rows" in json.dumps(said)  # of the learner's own, which is wrong: that message is shown


def test_only_what_the_predecessors_need_stands_in(home):
    standins = standins_for(home.exercise, home.exercise.part("RunningMean"), ["batch_mean"])
    assert standins.names == ("batch_mean",)
    assert "def batch_mean" in standins.text
    assert "RunningMean" not in standins.text


def test_an_excerpt_leaves_out_what_is_not_reached_and_what_must_not_be_there():
    text = (
        "import os\nLIMIT = 3\n\n\ndef a():\n    return b(LIMIT)\n\n\n@deco\ndef b(x):\n    return c()\n\n\n"
        "def c():\n    return 1\n\n\ndef d():\n    return a()\n\n\nTABLE = {'d': d}\nNAMES = [a]\n"
    )
    left = excerpt(text, {"a"}, {"c"})
    assert [name in left for name in ("import os", "LIMIT", "def a", "def b", "def c", "def d", "TABLE", "NAMES")] == [
        True, True, True, True, False, False, False, True,
    ]  # fmt: skip
    assert len(left.splitlines()) == len(text.splitlines())


def test_lines_stay_where_they_are_without_a_definition():
    text = "x = 1\n\n\n@deco\ndef f():\n    return 1\n\n\ny = 2\n"
    assert without_definitions(text, ["f"]) == "x = 1\n\n\n\n\n\n\n\ny = 2\n"


def test_in_practice_too(home):
    home.solve(WRONG)
    done = home.pytest(f"exercises/{home.exercise.id}")
    assert "70 of 100 points" in done.out
    assert "✓ RunningMean                 70  passed       with the reference's batch_mean" in done.out
    assert "✗ batch_mean" in done.out
    assert json.loads(home.grader("list", "--json").out)[0]["earned"] == 70
