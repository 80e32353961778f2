"""How long a learner waits for a verdict, against the cost of `import torch`, side by side in one run.

    .venv/bin/python benchmarks/feedback.py [EXERCISE_ID] [--runs N]

Prints CPU seconds (user + system, of all processes) of `pytest exercises/<id>` on a solved file over those of
`python -c "import torch"`: medians of N alternating runs. The repository is copied first: nobody's attempt is touched.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = 'python -c "import torch"'
TREES = ("exercises", "solutions", "tests", "grader")


def cpu(command: list[str], folder: Path) -> float:
    """CPU seconds of a command and its children; it must succeed."""
    before = os.times()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("id", nargs="?", default="dl_011_kv_cache")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    stem = options.id.split("_", 2)[2]
    with tempfile.TemporaryDirectory() as name:
        house = Path(name)
        for tree in TREES:
            shutil.copytree(ROOT / tree, house / tree, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / file, house / file)
        stub = house / f"exercises/{options.id}/{stem}.py"
        solved = (house / f"solutions/{options.id}/{stem}.py").read_text()
        commands = {
            TORCH: [sys.executable, "-c", "import torch"],
            "python -m pytest --version": [sys.executable, "-m", "pytest", "--version"],
            "solved": [sys.executable, "-m", "pytest", f"exercises/{options.id}", "--no-progress"],
        }
        stub.write_text(solved)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(options.runs + 1):
            for name, command in commands.items():
                spent = cpu(command, house)
                if run:  # the first round fills the caches
                    seconds[name].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(f"{name.replace('solved', f'pytest exercises/{options.id}, solved'):<46} {median:6.2f} s   {spread}")
    ratio = medians["solved"] / medians[TORCH]
    print(f"{'ratio to import torch':<46} {ratio:6.2f}")


if __name__ == "__main__":
    main()
