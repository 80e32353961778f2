"""How long a learner waits for a verdict, against the cost of `import torch`, side by side in one run.

    .venv/bin/python benchmarks/feedback.py [EXERCISE_ID] [--runs N]

Prints CPU seconds (user + system, of all processes) of `pytest exercises/<id>` on a solved file over those of
`python -c "import torch"`: medians of N alternating runs. Then, of a seat, with which `grader watch` and the practice
page judge: the wall clock from a save to the first check, the CPU of the checks, and the memory of its processes, each
over that of a process that imports torch. The repository is copied first: nobody's attempt is touched.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from grader.bank.catalog import Exercise, House
from grader.learner.saved import saves
from grader.learner.seat import Checked, Ended, Ready, Run, Seat

ROOT = Path(__file__).resolve().parent.parent
TORCH = 'python -c "import torch"'
TREES = ("exercises", "solutions", "tests", "grader")


def cpu(command: list[str], folder: Path) -> float:
    """CPU seconds of a command and its children; it must succeed."""
    before = os.times()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in below for one in tree(int(child)))]


def cpu_so_far(pid: int) -> float:
    """CPU seconds of a process, of those below it, and of those that it has waited for."""
    ticks = 0
    for one in tree(pid):
        with Path(f"/proc/{one}/stat").open() as file:
            ticks += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pids: list[int]) -> float:
    """Megabytes of processes, of what they share their part."""
    total = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a cage that has just ended
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def torch_alone() -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and megabytes of a process that imports torch."""
    began = time.perf_counter()
    command = [sys.executable, "-c", "import torch; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        wall, memory = time.perf_counter() - began, memory_mb([process.pid])
        spent = cpu_so_far(process.pid)
        process.communicate(b"\n")
    return wall, spent, memory


async def seat(house: House, exercise: Exercise, solved: str, runs: int) -> tuple[list[float], list[float], float]:
    """Seconds from saving to the first check, CPU seconds of all checks, of each run; megabytes when idle."""
    waits, spent, memory = [], [], 0.0
    judge = await Seat.open(house, exercise)
    began = before = 0.0
    saved = saves(exercise.attempt)
    await anext(saved)

    async def save(number: int) -> None:
        nonlocal began, before
        noticed = asyncio.ensure_future(anext(saved))
        await asyncio.sleep(0.2 + 0.03 * random.random())  # so that the save comes at any moment between two looks
        before = cpu_so_far(judge.pid)
        began = time.perf_counter()
        exercise.attempt.write_text(f"{solved}\n# {number}\n")
        judge.ask(Run(number, (await noticed).text))

    async for said in judge.said():
        if isinstance(said, Ready):
            await save(0)
        elif isinstance(said, Checked) and len(waits) == said.run:
            waits.append(time.perf_counter() - began)
        elif isinstance(said, Ended):
            assert said.result.earned
            spent.append((cpu_so_far(judge.pid) - before) / sum(len(part.checks) for part in said.result.parts) * 100)
            if said.run == runs:
                memory = memory_mb(tree(judge.pid))
                break
            await save(said.run + 1)
    await judge.close()
    return waits[1:], spent[1:], memory


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
        exercise = House(house).exercises[options.id]
        waits, spent_in_seat, memory = asyncio.run(seat(House(house), exercise, solved, options.runs))
        alone = [torch_alone() for _ in range(options.runs)]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(f"{name.replace('solved', f'pytest exercises/{options.id}, solved'):<46} {median:6.2f} s   {spread}")
    ratio = medians["solved"] / medians[TORCH]
    print(f"{'ratio to import torch':<46} {ratio:6.2f}\n")
    wall, spent, megabytes = (statistics.median(column) for column in zip(*alone, strict=True))
    for what, value, unit, bare in (
        ("a seat: save to first check", statistics.median(waits), "s wall", wall),
        ("a seat: 100 checks", statistics.median(spent_in_seat), "s CPU", spent),
        ("a seat: memory of its processes", memory, "MB", megabytes),
    ):
        print(f"{what:<46} {value:6.2f} {unit:<7} {value / bare:5.2f} of import torch")


if __name__ == "__main__":
    main()
