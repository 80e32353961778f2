"""Grade hostile submissions in the engine, a right one and a wrong one after each, in a world of their own (world.py).

`python gauntlet.py`: a job as JSON on stdin; on stdout what `world.run` says.
"""

import json
import sys
import time
from pathlib import Path

import world

HOUSE, RESULTS = Path("/tmp/house"), Path("/tmp/results")
ID = "dl_901_running_mean"
SEED = 7
_GRACE_SECONDS = 60.0


def grade_class(house, texts):
    """Judge every submission, one at a time; what came of it, and what the engine's process had below it after."""
    from grader.catalog import House
    from grader.engine import batch
    from grader.engine.batch import Engine, Results, Submission

    # Some attacks make torch import its compiler, 1 s: not on a clock of 2, on a machine that has other work.
    batch.needed_ahead = lambda _: ["torch._dynamo"]
    world.write_files(house, HOUSE)
    before = world.files(HOUSE)
    exercise = House(HOUSE).exercises[ID]
    results, kept = Results(RESULTS), []

    def keep(result):
        results.add(result)
        kept.append(result.student)

    with Engine([exercise]) as engine:
        submissions = [Submission(name, ID, text) for name, text in texts.items()]
        engine.judge(House(HOUSE), exercise, submissions, seed_of=lambda one: SEED, jobs=1, keep=keep)
        survivors = _survivors(engine.warm.pid)
    return {
        "kept": kept,
        "lines": [json.loads(line) for line in results.path.read_text().splitlines()],
        "beside": sorted(path.name for path in RESULTS.iterdir() if path != results.path),
        "survivors": survivors,
        "changed": world.files(HOUSE) != before,
        "level": str(engine.level),
    }


def _survivors(pid):
    """Living processes below `pid`, when the last keepers have had time to end."""
    ends = time.monotonic() + _GRACE_SECONDS
    while (alive := _below(pid)) and time.monotonic() < ends:
        time.sleep(0.02)
    return alive


def _below(pid):
    """Zombies aside: the warm process collects those with its next job."""
    parents = {}
    for name in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        try:
            state, parent = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        parents.setdefault(parent, []).append((name, state))
    found, waiting = [], [str(pid)]
    while waiting:
        children = parents.get(waiting.pop(), [])
        waiting += [name for name, _ in children]
        found += [name for name, state in children if state != "Z"]
    return found


if __name__ == "__main__":
    job = json.load(sys.stdin)
    kept = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])]
    print(json.dumps(world.run(lambda: grade_class(job["house"], job["texts"]), kept, job["seconds"])))
