"""What grading a class costs, side by side in one run: speed, CPU, start-up, memory.

    .venv/bin/python benchmarks/grading.py [EXERCISE_ID] [--students N] [--nbgrader PYTHON] [--many N] [--skip NAMES]

speed   submissions a second of `grader grade`, and of `nbgrader autograde` in a course of ours, over those of stock
        `nbgrader autograde`: the same answers and checks, whole commands from start to end. --nbgrader names the
        interpreter of an environment that has nbgrader, and this package, installed.
cpu     CPU a submission in the engine over the same checks bare: one warm process, no fork, no cage, no wire
start   seconds until the first result is on the disk, and memory: of the parents, and of one submission in flight
cluster two workers of a Dask cluster over one, each judging one submission at a time, scheduler and client on the same
        cores; from the first result to the last, and the memory of both
many    N cheap submissions: seconds and memory by the hundred
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grader.audit.mutants import apply, read_mutants
from grader.bank.catalog import Exercise, House
from grader.bank.derived import stub_of
from grader.bank.source import read_source

ROOT = Path(__file__).resolve().parent.parent
BANK = ROOT / "tests/grader/house"
CHEAP = "dl_901_running_mean"
TICKS = os.sysconf("SC_CLK_TCK")
CORES = 2


def answers(exercise: Exercise, count: int) -> dict[str, str]:
    """Student to text: one third each right, untouched, and wrong in the ways of mutants.toml."""
    solution = read_source(exercise.solution)
    file = exercise.checks.parent / "mutants.toml"
    wrong = [apply(solution, mutant, file) for mutant in read_mutants(file).mutant]
    kinds: list[Callable[[int], str]] = [
        lambda _: solution,
        lambda _: stub_of(exercise),
        lambda i: wrong[i // 3 % len(wrong)],
    ]
    return {f"student{i:04}": kinds[i % 3](i) for i in range(count)}


def hand_in(folder: Path, exercise: Exercise, texts: dict[str, str]) -> Path:
    for student, text in texts.items():
        place = folder / "submitted" / student / exercise.id
        place.mkdir(parents=True)
        (place / f"{exercise.stem}.py").write_text(text)
    return folder / "submitted"


# ------------------------------------------------------------------------------------------------------------- speed


def grade(house: Path, submitted: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "grader", "grade", str(submitted), "--out", str(out), "--seed", "7", *options]


def timed(command: list[str], folder: Path) -> float:
    """Wall-clock seconds of a command that succeeds."""
    # nbgrader calls alembic by its bare name.
    environment = {**os.environ, "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return time.monotonic() - began


def scores_of(out: Path) -> dict[str, float]:
    lines = (out / "results.jsonl").read_text().splitlines()
    return {result["student"]: result["score"] for result in map(json.loads, lines)}


def speed(exercise: Exercise, students: int, python: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = answers(exercise, students)
        submitted = hand_in(folder, exercise, texts)
        course = write_course(folder / "course", exercise, texts, python)
        through = write_our_course(folder / "ours", exercise, texts, python)
        ours = []

        def once() -> None:
            out = folder / f"out{len(ours)}"
            ours.append(timed(grade(ROOT, submitted, out, "--jobs", str(CORES)), ROOT))

        once()
        theirs = timed(nbgrader(python, "autograde", exercise.id), course)
        graded = timed(nbgrader(python, "autograde", exercise.id), through)
        once()
        once()
        mine, other = scores_of(folder / "out0"), nbgrader_scores(course, python)
        third = nbgrader_scores(through, python)
        differ = {
            student: (mine[student], other.get(student), third.get(student))
            for student in mine
            if not mine[student] == other.get(student) == third.get(student)
        }
        median = statistics.median(ours)
        print(f"{students} submissions of {exercise.id}, a third each right, untouched and wrong; {CORES} cores")
        print(f"  grader grade         {median:8.1f} s {students / median:8.2f} a second   (runs: {listed(ours)})")
        print(f"  nbgrader autograde   {theirs:8.1f} s {students / theirs:8.2f} a second")
        print(f"  the same, our course {graded:8.1f} s {students / graded:8.2f} a second")
        print(f"  ratios               {theirs / median:8.1f}, and through nbgrader {theirs / graded:.1f}")
        print(f"  the same score       {students - len(differ):8} of {students} {differ or ''}")


def listed(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def nbgrader(python: str, *arguments: str) -> list[str]:
    return [python, "-m", "nbgrader", *arguments]


HARNESS = """
import itertools, sys
from pathlib import Path
from grader.checks.attempt import Attempt
from grader.bank.catalog import House
from grader.checks.draw import Draw
from grader.judging.checks_file import load_checks
from grader.answering.runner import Runner, steady
from grader.base.seeds import derive

exercise = House(Path({root!r})).exercises[{id!r}]
checks, drivers = load_checks(exercise.checks)
attempt = Practice(exercise.attempt, drivers, "attempt", "")
attempt._module = sys.modules["__main__"]
reference = Practice(exercise.solution, drivers, "reference")


def cases(check):
    marks = [mark for mark in getattr(check, "pytestmark", []) if mark.name == "parametrize"]
    rows = []
    for mark in marks:
        names, values = mark.args[:2]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        rows.append([dict(zip(names, v if len(names) > 1 else [v])) for v in (getattr(v, "values", v) for v in values)])
    for row in itertools.product(*rows):
        yield {{name: value for one in row for name, value in one.items()}}


def run_part(name):
    part = exercise.part(name)
    for check in list(vars(checks).values()):
        marks = {{mark.name: mark.args for mark in getattr(check, "pytestmark", [])}}
        if not getattr(check, "__name__", "").startswith("test_") or marks.get("part") != (name,):
            continue
        for case in cases(check):
            seed = derive(7, str((check.__name__, case)))
            given = {{"attempt": attempt, "reference": reference, "draw": Draw(seed)}}
            for channel, of in ((attempt, part), (reference, None)):
                channel.begin(of, seed)
            given = {{"attempt": Attempt(attempt.ask), "reference": Attempt(reference.ask), "draw": Draw(seed)}}
            wanted = check.__code__.co_varnames[: check.__code__.co_argcount]
            with steady():
                check(**{{name: value for name, value in given.items() if name in wanted}}, **case)
"""


def write_course(course: Path, exercise: Exercise, texts: dict[str, str], python: str) -> Path:
    """A plain nbgrader course: the learner's file in one cell, and a test cell a part that loops over its checks."""
    solution = read_source(exercise.solution)
    cells = [
        cell("answer", solution, solution=True),
        cell("harness", HARNESS.format(root=str(ROOT), id=exercise.id), locked=True),
    ]
    cells += [cell(f"part{i}", f"run_part({p.name!r})", points=p.points) for i, p in enumerate(exercise.parts)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    source = course / "source" / exercise.id
    source.mkdir(parents=True)
    (source / f"{exercise.stem}.ipynb").write_text(json.dumps(notebook))
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'benchmark'\n")
    timed(nbgrader(python, "generate_assignment", exercise.id), course)
    released = json.loads((course / "release" / exercise.id / f"{exercise.stem}.ipynb").read_text())
    for student, text in texts.items():
        released["cells"][0]["source"] = text
        place = course / "submitted" / student / exercise.id
        place.mkdir(parents=True)
        (place / f"{exercise.stem}.ipynb").write_text(json.dumps(released))
    return course


def write_our_course(course: Path, exercise: Exercise, texts: dict[str, str], python: str) -> Path:
    """The same answers in a course of `grader course`."""
    sys.path.insert(0, str(ROOT / "tests/grader"))
    from notebooks import written  # type: ignore[import-not-found]  # of the tests

    timed([python, "-m", "grader", "course", str(course), "--only", exercise.id], ROOT)
    timed(nbgrader(python, "generate_assignment", exercise.id), course)
    released = json.loads((course / "release" / exercise.id / f"{exercise.stem}.ipynb").read_text())
    for student, text in texts.items():
        place = course / "submitted" / student / exercise.id
        place.mkdir(parents=True)
        (place / f"{exercise.stem}.ipynb").write_text(json.dumps(written(released, exercise, text)))
    return course


def cell(id: str, source: str, *, points: int = 0, solution: bool = False, locked: bool = False) -> dict[str, Any]:
    facts = {"grade": bool(points), "grade_id": id, "locked": locked or bool(points), "schema_version": 3}
    facts |= {"solution": solution, "task": False} | ({"points": points} if points else {})
    return {
        "cell_type": "code", "id": id, "source": source, "metadata": {"nbgrader": facts}, "outputs": [],
        "execution_count": None,
    }  # fmt: skip


def nbgrader_scores(course: Path, python: str) -> dict[str, float]:
    timed(nbgrader(python, "export", "--to", "grades.csv"), course)
    import csv

    with (course / "grades.csv").open() as file:
        return {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader(file)}


# --------------------------------------------------------------------------------------------------------------- cpu


def cpu_now(*pids: int) -> float:
    """CPU seconds of this process and of its children that have ended, and the same of `pids` and their children."""
    total = sum(os.times()[:4])
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):  # children that ended, and that their parent has not waited for
            with contextlib.suppress(OSError):  # it has been waited for in between, and counts with its parent
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15])) / TICKS
    return total


def measure_bare(exercise: Exercise, count: int) -> dict[str, float]:
    """The checks on the solution, again and again in the process that collected them."""
    from grader.judging.collected import collect_checks
    from grader.judging.pool import Variant, _run

    text, spent = read_source(exercise.solution), []
    collected = collect_checks(House(exercise.root), exercise)
    import torch

    torch.set_num_threads(1)
    for _ in range(count + 1):
        before = cpu_now()
        _run(collected, Variant("bare", text, seed=7), lambda check: None)
        spent.append(cpu_now() - before)
    return {"bare": statistics.mean(spent[1:])}


def measure_engine(exercise: Exercise, count: int) -> dict[str, float]:
    """The same in the engine, all processes together; the part of the askers; what one answerer costs without work."""
    from grader.answering import wire
    from grader.engine import cage, channel
    from grader.engine.batch import Engine
    from grader.engine.channel import drivers_beside
    from grader.engine.messages import Hello, Job
    from grader.submissions.find import Submission

    def close(self: Any) -> None:
        """Let the answerer end by itself: the kernel counts nobody's CPU whose whole namespace is killed."""
        with contextlib.suppress(OSError):
            self.data.close()
            select.select([self.status], [], [], 10)
        self.status.close()

    channel._Answerer.close = close  # type: ignore[method-assign]  # for the measurement only
    text, stamps = read_source(exercise.solution), []
    with Engine([exercise]) as engine:
        warm = engine.warm.pid

        def keep(result: Any) -> None:
            assert result.score == result.max_score, result
            stamps.append((cpu_now(warm), sum(os.times()[:4])))

        submissions = [Submission(str(i), exercise.id, text) for i in range(count + 1)]
        engine.judge(House(exercise.root), exercise, submissions, seed_of=lambda _: 7, jobs=1, keep=keep)
        whole, asker = ((stamps[-1][i] - stamps[0][i]) / count for i in (0, 1))
        before = cpu_now(warm)
        empty = 20
        for _ in range(empty):
            limits = cage.Limits(cpu_seconds=10, memory_mb=exercise.limits.memory_mb)
            one = channel._Answerer(engine.control, Job(limits))
            hello = Hello(f"{exercise.stem}.py", text, drivers_beside(exercise.checks))
            wire.send(one.data, wire.pack({name: getattr(hello, name) for name in hello.__struct_fields__}))
            one.close()
        time.sleep(0.1)
        return {"engine": whole, "asker": asker, "cages": (cpu_now(warm) - before) / empty}


def cpu(exercise: Exercise, rounds: int, count: int) -> None:
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side in ("bare", "engine"):
            command = [sys.executable, __file__, exercise.id, "--measure", side, "--students", str(count)]
            said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for what, seconds in json.loads(said.splitlines()[-1]).items():
                found.setdefault(what, []).append(seconds)
    bare, engine, asker, cages = (statistics.median(found[what]) for what in ("bare", "engine", "asker", "cages"))
    ratio = statistics.median(a / b for a, b in zip(found["engine"], found["bare"], strict=True))
    print(f"CPU a submission of {exercise.id}, {len(exercise.parts)} parts; medians of {rounds} runs of {count}")
    print(f"  bare                 {bare:8.3f} s   one warm process ({listed(found['bare'])})")
    print(f"  engine               {engine:8.3f} s   ({listed(found['engine'])})")
    print(f"    asker              {asker:8.3f} s   its fork, pytest, the checks, its end of the wire")
    print(f"    answerers          {engine - asker - cages:8.3f} s   the learner's code, their end of the wire")
    print(f"    cages              {cages:8.3f} s   three forks, namespaces, Landlock, seccomp, limits, their end")
    print(f"  ratio                {ratio:8.2f}")


# ------------------------------------------------------------------------------------------------- start-up and memory


def memory(pid: int) -> tuple[float, float, float]:
    """Resident, proportional and private memory of a process in MiB; zeros once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0.0, 0.0, 0.0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return kib["Rss"] / 1024, kib["Pss"] / 1024, private / 1024


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


def warm_of(parent: int) -> int:
    """The answering process that a `grader grade` has started; 0 where there is none yet."""
    for child in children(parent):
        with contextlib.suppress(OSError):
            if b"grader.engine.answerer" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return 0


def total(pids: list[int]) -> tuple[float, float, float]:
    each = [memory(pid) for pid in pids]
    return tuple(sum(column) for column in zip(*each, strict=True)) if each else (0.0, 0.0, 0.0)  # type: ignore[return-value]


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start_and_memory(exercise: Exercise) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {f"student{i}": read_source(exercise.solution) for i in range(4)}
        submitted = hand_in(folder, exercise, texts)
        firsts = []
        for run in range(3):
            out = folder / f"first{run}"
            began = time.monotonic()
            process = subprocess.Popen(grade(ROOT, submitted, out, "--jobs", "1"), cwd=ROOT, stdout=subprocess.DEVNULL)
            while process.poll() is None and not lines_in(out / "results.jsonl"):
                time.sleep(0.01)
            firsts.append(time.monotonic() - began)
            most: dict[str, tuple[float, float, float]] = {}
            while process.poll() is None and run == 2:
                warm = warm_of(process.pid)
                flight = [one for one in descendants(process.pid) if one != warm]
                sample = {"asker parent": memory(process.pid), "warm process": memory(warm), "in flight": total(flight)}
                most = {
                    what: max(most.get(what, (0.0,) * 3), values, key=lambda v: v[1]) for what, values in sample.items()
                }
                time.sleep(0.05)
            process.wait()
        print(f"start-up to the first result of {exercise.id}: {statistics.median(firsts):.2f} s ({listed(firsts)})")
        print("memory, MiB              resident  proportional  private")
        for what, (resident, proportional, private) in most.items():
            print(f"  {what:<20}{resident:11.0f}{proportional:14.0f}{private:9.0f}")


def many(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        house = folder / "house"
        shutil.copytree(BANK, house, ignore=shutil.ignore_patterns("__pycache__"))
        exercise = House(house).exercises[CHEAP]
        texts = dict.fromkeys((f"student{i:05}" for i in range(count)), read_source(exercise.solution))
        submitted, out = hand_in(folder, exercise, texts), folder / "out"
        began = time.monotonic()
        process = subprocess.Popen(
            grade(house, submitted, out, "--jobs", str(CORES)), cwd=house, stdout=subprocess.DEVNULL
        )
        print(f"{count} submissions of {exercise.id}, {CORES} at a time")
        print("  done   seconds for these   resident memory of both parents, MiB")
        shown, last = 0, began
        while shown < count:
            ended = process.poll() is not None
            done = lines_in(out / "results.jsonl")
            while shown + 100 <= done or (done == count and shown < count):
                shown = min(shown + 100, count)
                now = time.monotonic()
                resident, _, _ = total([process.pid, warm_of(process.pid)])
                print(f"  {shown:5}{now - last:20.1f}{resident:35.0f}", flush=True)
                last = now
            if ended and done < count:
                sys.exit(f"ended with {process.returncode} after {done}")
            time.sleep(0.02)
        process.wait()
        print(f"  all in {time.monotonic() - began:.1f} s")


# ----------------------------------------------------------------------------------------------------------- cluster


def cluster(exercise: Exercise, rounds: int, count: int) -> None:
    seconds: dict[int, list[float]] = {1: [], 2: []}
    most: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        submitted = hand_in(folder, exercise, dict.fromkeys(answers(exercise, count), read_source(exercise.solution)))
        for number in range(2 * rounds):
            workers = 1 + number % 2
            spent, held = on_workers(workers, submitted, folder / str(number))
            seconds[workers].append(spent)
            most = {who: max(most.get(who, 0), mb) for who, mb in held.items()}
    one, two = (statistics.median(seconds[workers]) for workers in (1, 2))
    print(f"{count} submissions of {exercise.id} on a cluster; seconds a submission, medians of {rounds}")
    print(f"  one worker           {one:8.3f}   ({listed(seconds[1])})")
    print(f"  two workers          {two:8.3f}   ({listed(seconds[2])})")
    print(f"  ratio                {one / two:8.2f}")
    print(f"  most memory, MiB     {most}")


def on_workers(workers: int, submitted: Path, folder: Path) -> tuple[float, dict[str, int]]:
    """Seconds a submission between the first result and the last; the most memory of client and scheduler."""
    sys.path.insert(0, str(ROOT / "tests/grader"))
    from dask_site import Site, count, memory_mb  # type: ignore[import-not-found]  # of the tests

    with Site(ROOT, folder) as site:
        site.start_scheduler("--host", "127.0.0.1")
        for _ in range(workers):
            site.start_worker()
        with site.grading("--seed", "7", submitted=str(submitted), out=str(folder / "out")) as process:
            most = dict.fromkeys(("client", "scheduler"), 0)
            began, at, there = 0.0, 0, 0
            while process.poll() is None:
                for who, pid in (("client", process.pid), ("scheduler", site.scheduler.pid)):
                    most[who] = max(most[who], memory_mb(pid))
                now = count(folder / "out")
                if now > there:
                    there, last = now, time.monotonic()
                    began, at = (began, at) if began else (last, now)
                time.sleep(0.02)
        if process.returncode or not began:
            sys.exit(site.said())
    return (last - began) / (there - at), most


# -------------------------------------------------------------------------------------------------------------------


def has_nbgrader(python: str) -> bool:
    probe = [python, "-c", "import nbgrader, grader"]
    return subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id", nargs="?", default="dl_011_kv_cache")
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--nbgrader", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--many", type=int, default=0, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="of the CPU measurement")
    parser.add_argument("--skip", default="", help="of speed,cpu,start,cluster")
    parser.add_argument("--measure", choices=["bare", "engine"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.nbgrader = str(Path(options.nbgrader).absolute())  # commands run in other folders
    exercise = House(ROOT).find(options.id)
    if options.measure:
        measure = measure_bare if options.measure == "bare" else measure_engine
        found = measure(exercise, options.students)
        print(f"\n{json.dumps(found)}")
        return
    print(f"load average {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores")
    skipped = options.skip.split(",")
    if "speed" not in skipped:
        if has_nbgrader(options.nbgrader):
            speed(exercise, options.students, options.nbgrader)
        else:
            print(
                "speed: left out, nbgrader is not installed here. In an environment of its own:\n"
                "  python3 -m venv /tmp/nb && /tmp/nb/bin/pip install -c constraints.txt torch\n"
                "  /tmp/nb/bin/pip install -c constraints.txt nbgrader -e .\n"
                "  .venv/bin/python benchmarks/grading.py --nbgrader /tmp/nb/bin/python"
            )
    if "cpu" not in skipped:
        cpu(exercise, options.rounds, 5)
    if "start" not in skipped:
        start_and_memory(exercise)
    if "cluster" not in skipped:
        cluster(exercise, options.rounds, options.students)
    if options.many:
        many(options.many)
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
