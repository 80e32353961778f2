import json

PROBE = """
import json
from pathlib import Path
from grader.catalog import House
from grader.run import RunError, practice

house = House(Path.cwd())
exercises = list(house.exercises.values())
ticks = []
(mine,) = practice(house, exercises, seed=7, tick=lambda done, total: ticks.append((done, total)))
(theirs,) = practice(house, exercises, tree="solutions")
(again,) = practice(house, exercises)
scores = [mine.score, theirs.score, again.score]
print(json.dumps({"scores": scores, "seeds": [mine.seed, theirs.seed], "ticks": ticks}))
exercises[0].checks.write_text("import no_such_package")
try:
    practice(house, exercises)
except RunError as error:
    print("RunError", "no_such_package" in str(error))
"""


def test_practice_judges_the_tree_asked_for_and_records_nothing(home):
    home.solve(("* len(x) / self.count", "/ 2"))
    done = home.script(PROBE)
    assert done.code == 0, done.said
    first, second = done.out.splitlines()  # and pytest printed nothing of its own
    assert json.loads(first) == {"scores": [30, 100, 30], "seeds": [7, 0], "ticks": [[i, 4] for i in range(1, 5)]}
    assert second == "RunError True"
    assert not home.progress.path.exists()
