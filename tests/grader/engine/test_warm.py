"""What lies in the memory of a process that runs strangers' code: a linter sees no module named by a string."""

import json

PROBE = """
import json
from pathlib import Path
from grader.answering.request import Request
from grader.bank.catalog import House
from grader.engine.batch import Engine
from grader.engine.channel import Caged

house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
text = "import sys\\n\\n\\ndef batch_mean(x):\\n    return sorted(sys.modules)\\n"
with Engine([exercise]) as engine:
    engine.warm.await_ready()
    caged = Caged(engine.control, exercise, text)
    caged.begin(exercise.parts[0], 1)
    print(json.dumps(caged.ask(Request("call", "batch_mean", False, (0,), {}))))
    caged.close()
"""
ROOMS = ("audit", "checks", "classroom", "cli", "judging", "learner", "records", "submissions", "views")


def test_an_answerer_holds_nothing_of_the_askers(home):
    done = home.script(PROBE)
    assert done.code == 0, done.said
    held = json.loads(done.out.splitlines()[-1])
    assert "grader.answering.answer" in held
    unwanted = ("click", "cosmic_ray", "hypothesis", "nbgrader", "pytest", "_pytest", "rich", "sqlite3")
    mine = {name for name in held if name.split(".")[0] in unwanted}
    mine |= {name for name in held if name.startswith(tuple(f"grader.{room}" for room in ROOMS))}
    assert not mine
