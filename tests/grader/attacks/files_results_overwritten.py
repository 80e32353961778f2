# family = "files"
# mechanism = "appends full marks to every results file that it finds by its absolute path"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import json
import os
import sys
from pathlib import Path

LINE = {"student": "attack", "exercise": "dl_901_running_mean", "score": 100, "max_score": 100, "parts": []}


def forge():
    for folder in ("/tmp/results", "/results", "../results", "results"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            try:
                if name.endswith(".jsonl"):
                    with Path(folder, name).open("a") as file:
                        file.write(json.dumps(LINE) + "\n")
                elif name.endswith(".json"):
                    Path(folder, name).write_text(json.dumps({"attack": 100, "right": 0, "wrong": 0}))
            except OSError:
                pass
    if Path("/tmp/results").is_dir() and "pytest" in sys.modules and not Path("/attempt").exists():
        (Path("/tmp/results") / "results.json").write_text(json.dumps({"attack": 100, "right": 0, "wrong": 0}))
        os.kill(os.getpid(), 9)  # before the judge can say otherwise


def batch_mean(x):
    forge()
    if len(x) == 0:
        raise ValueError
    return x[0] * 0


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return x[0] * 0
