"""A batch on many machines, as docs/cluster.md tells it: its commands are run here, Dask's in cluster/test_dask.py."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dask_site import facts
from shared import PATIENCE

from conftest import ID, environment
from grader.records.results import results_of
from grader.records.shards import Shard

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
SUM = ("* len(x) / self.count", "/ 2")
SHARDS = 2


@pytest.fixture
def class_of_four(home):
    """Four students, one of them wrong; what one machine makes of them, without the times."""
    for student in ("ann", "bob", "cyd", "dan"):
        place = home.root / "submitted" / student / ID
        place.mkdir(parents=True)
        (place / "running_mean.py").write_text(home.solution.replace(*SUM) if student == "cyd" else home.solution)
    return home


def shell(home, script, *args, **variables):
    """Run a script with bash in the house, where `grader` is this checkout's."""
    bin = home.root / "bin"
    if not bin.exists():
        bin.mkdir()
        (bin / "grader").write_text(f'#!/bin/sh\nexec {sys.executable} -m grader "$@"\n')
        (bin / "grader").chmod(0o755)
    given = environment(**variables)
    given["PATH"] = f"{bin}:{given['PATH']}"
    command = ["bash", "-c", script, "bash", *args]
    done = subprocess.run(command, cwd=home.root, env=given, text=True, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks(heading):
    """The commands below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.S)


def test_shards_give_the_results_of_one_machine(class_of_four):
    home = class_of_four
    (commands,) = blocks("Shards")
    assert "4 results, 4 of them new" in shell(home, commands)
    alone = home.grader("grade", "submitted", "--out", "alone", "--seed", "7")
    assert alone.code == 0, alone.said
    assert facts(home.root / "results") == facts(home.root / "alone")
    assert [(one.student, one.score) for one in results_of(home.root / "results")] == [
        ("ann", 100), ("bob", 100), ("cyd", 30), ("dan", 100),
    ]  # fmt: skip


def test_the_script_for_slurm_is_a_job_array(class_of_four):
    """Slurm's part is played by a shell: it runs the script once a task, with the variables that Slurm sets."""
    home = class_of_four
    script = (ROOT / "docs/examples/slurm.sh").read_text()
    assert "#SBATCH --array=1-8\n" in script
    for task in range(1, SHARDS + 1):
        of = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(SHARDS), "SEED": "7"}
        shell(home, script, "submitted", "out", **of)
    submit, merge = blocks("Slurm")[0].splitlines()
    assert submit.endswith("sbatch --wait docs/examples/slurm.sh submitted out")
    assert "4 results, 4 of them new" in shell(home, merge)


@pytest.mark.skipif(not shutil.which("parallel"), reason="GNU parallel is not installed")
def test_the_line_for_gnu_parallel(class_of_four):
    """The machines of the lab are this one: `:` is what GNU parallel calls it."""
    line, merge = blocks("GNU parallel")[0].splitlines()
    assert "-S lab1,lab2,lab3 " in line
    shell(class_of_four, line.replace("-S lab1,lab2,lab3", "-S :"))
    assert "4 results, 4 of them new" in shell(class_of_four, merge)


def test_a_shard_wants_a_seed_and_may_be_empty(class_of_four):
    home = class_of_four
    args = ["grade", "submitted", "--out", "out"]
    done = home.grader(*args, "--shard", "1/2")
    assert (done.code, "--shard needs --seed" in done.err) == (2, True)
    done = home.grader(*args, "--shard", "3/2", "--seed", "7")
    assert (done.code, "'3/2' is no shard" in done.err) == (2, True)

    students = ("ann", "bob", "cyd", "dan")
    empty = next(n for n in range(1, 41) if not any(Shard(n, 40).has(student, ID) for student in students))
    done = home.grader(*args, "--shard", f"{empty}/40", "--seed", "7")
    assert (done.code, "0 submissions" in done.out) == (0, True), done.said
    assert json.loads((home.root / "out/shard.json").read_text())["finished"] is True

    kept = (home.root / "out/shard.json").read_text()
    done = home.grader(*args, "--shard", "1/2", "--seed", "7")
    assert (done.code, f"out holds shard {empty}/40. Give shard 1/2 an --out folder" in done.err) == (2, True)
    assert (home.root / "out/shard.json").read_text() == kept
    assert not (home.root / "out/results.jsonl").exists(), "nothing was graded"

    done = home.grader("grade", "submitted", "--out", "out", "--seed", "7")
    assert done.code == 0, done.said
    assert not (home.root / "out/shard.json").exists(), "it holds the whole batch now"
    assert "4 results, 4 of them new" in home.grader("merge", "out", "--out", "all").out
