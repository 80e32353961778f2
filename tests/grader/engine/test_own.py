import json

PROBE = """
import json
from pathlib import Path
from grader.bank.catalog import House
from grader.base.errors import RunError
from grader.engine.own import graded

house = House(Path.cwd())
exercises = list(house.exercises.values())
ticks, results = [], []
follow = lambda exercise, done, total: ticks.append((done, total))
graded(house, exercises, lambda exercise, result: results.append(result), seed=7, tick=follow)
(mine,) = results
print(json.dumps({"score": mine.score, "seed": mine.seed, "ticks": ticks}))
exercises[0].checks.write_text("import no_such_package")
try:
    graded(house, exercises, lambda exercise, result: None)
except RunError as error:
    print("RunError", "no_such_package" in str(error))
"""


def test_ones_own_attempt_is_judged_in_the_engine_and_not_recorded(home):
    home.solve(("* len(x) / self.count", "/ 2"))
    done = home.script(PROBE)
    assert done.code == 0, done.said
    first, second = done.out.splitlines()  # and pytest printed nothing of its own
    assert json.loads(first) == {"score": 30, "seed": 7, "ticks": [[i, 4] for i in range(1, 5)]}
    assert second == "RunError True"
    assert not home.progress.path.exists()


PRINTS = """
from pathlib import Path
from grader.bank.catalog import House
from grader.engine.own import graded

house = House(Path.cwd())
results = []
graded(house, list(house.exercises.values()), lambda exercise, result: results.append(result))
for part in results[0].parts:
    for check in part.checks:
        print(repr((check.id, str(check.verdict), check.printed)))
"""


def test_what_code_prints_comes_back_with_its_check_and_once(home):
    home.solve(("return x.sum(0) / len(x)", "print('rows', len(x)); return x.sum(0)"))
    done = home.script(PRINTS)
    assert done.code == 0, done.said
    printed = {id: (verdict, text) for id, verdict, text in map(eval, done.out.splitlines())}
    assert printed["test_mean_of_rows[5]"] == ("wrong", "rows 5\n")
    assert printed["test_mean_of_rows[1]"] == ("passed", "rows 1\n")
    assert printed["test_mean_of_nothing"][1] == ""
