"""A judge as most collections have one: a process imports the submissions and runs the checks beside them.

It believes what happens in its own process: the results of calls, pytest's exit code, the files that pytest wrote. The
attacks are shown to win here before they are shown to fail in the engine. `python naive.py` reads jobs as lines of JSON
and runs each in a world of its own (world.py), forked from one process that has torch imported.
"""

import atexit
import contextlib
import gc
import io
import json
import os
import select
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FunctionType, ModuleType
from xml.etree import ElementTree

import pytest
import torch
import world
from shared import PATIENCE

import grader.answering.answer
import grader.answering.runner  # noqa: F401  # there, as in any judge whose framework shares the process

HOUSE, RESULTS = Path("/tmp/house"), Path("/tmp/results")
ID = "dl_901_running_mean"
POINTS = {"batch_mean": 30, "RunningMean": 70}
ORDER = ("attack", "right", "wrong")
TOLERANCE = 1e-6
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "-c", os.devnull]
TIMES_AS_LONG = 4.0
SHORTEST = 2.0
_SHORT_GRACE = 0.3  # to whom wins by leaving something behind
_MOST_TRIES = 3


def grade_class(house, texts):
    """The marks of each student, and files of the house that changed. Believes the exit code of the judge's process.

    house: path to text. texts: student to submission.
    """
    world.write_files(house, HOUSE)
    (HOUSE / "tests" / ID / "__init__.py").touch()
    RESULTS.mkdir()
    before = world.files(HOUSE)
    judge = os.fork()
    if judge == 0:
        os.closerange(3, 1 << 12)
        os.setpgid(0, 0)
        sink = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(sink, fd)
        _end(lambda: _judge(texts))
    code = os.waitstatus_to_exitcode(os.waitpid(judge, 0)[1])
    marks = _read_marks()
    running = next((name for name in texts if name not in marks), None)
    if running and code == 0:
        marks[running] = 100  # as a script sees it that asks for nothing but the exit code
    after = world.files(HOUSE)
    ours = f"exercises/{ID}/running_mean.py"
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return {"marks": marks, "changed": [name for name in changed if name != ours]}


def _end(work):
    """Do `work`, then end as Python ends: threads are waited for, `atexit` is asked."""
    code = 1
    try:
        try:
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        os._exit(code)


def _judge(texts):
    torch.set_num_threads(1)
    sys.modules["grader.checks"] = _checks()
    folder = HOUSE / "exercises" / ID
    sys.path[:0] = [str(HOUSE), str(folder)]
    os.chdir(HOUSE)
    for name, text in texts.items():
        (folder / "running_mean.py").write_text(text)
        marks = _read_marks()
        marks[name] = _grade(folder / "running_mean.py")
        (RESULTS / "results.json").write_text(json.dumps(marks))


def _read_marks():
    with contextlib.suppress(OSError, ValueError):
        return json.loads((RESULTS / "results.json").read_text())
    return {}


def _grade(path):
    """The marks of the submission that lies there."""
    module = ModuleType("running_mean")
    module.__file__ = str(path)
    sys.modules["running_mean"] = module
    try:
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    except Exception:
        return 0
    report = RESULTS / "report.xml"
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={HOUSE}",
        f"--confcutdir={HOUSE / 'tests'}",
    ]
    code = pytest.main([*options, f"--junitxml={report}", str(HOUSE / "tests" / ID)], plugins=[_Fixtures(module)])
    if code == 0:
        return 100
    failed = {"batch_mean": 0, "RunningMean": 0}
    for case in ElementTree.parse(report).iter("testcase"):
        part = "RunningMean" if "stream" in case.get("name") else "batch_mean"
        failed[part] += case.find("failure") is not None or case.find("error") is not None
    return sum(points for part, points in POINTS.items() if not failed[part])


class _Fixtures:
    """The checks talk to the submission itself."""

    def __init__(self, module):
        self.module = module

    @pytest.fixture
    def attempt(self):
        module = self.module

        class Attempt:
            run = staticmethod(lambda driver, *data: driver(module, *data))

            def __getattr__(self, name):
                return getattr(module, name)

        return Attempt()

    @pytest.fixture
    def draw(self):
        torch.manual_seed(0)

        class Draw:
            normal = staticmethod(lambda *shape: torch.randn(*shape, dtype=torch.float64))

        return Draw()


def agree(got, want, **_):
    """As it is written every day."""
    if isinstance(want, list):
        for one, other in zip(got, want, strict=False):
            agree(one, other)
    elif isinstance(got, torch.Tensor):
        if not torch.equal(got, want) and (got - want).abs().max() > TOLERANCE:
            raise AssertionError(f"{got} is not {want}")
    else:
        assert got == want


def _checks():
    """What stands in for grader.checks: the comparisons that are written every day."""
    checks = ModuleType("grader.checks")
    checks.agree = FunctionType(agree.__code__, globals(), "agree")  # a new one, which gc has not been told to ignore
    checks.part = pytest.mark.part
    checks.refusal = lambda kind, of: pytest.raises(kind)
    return checks


def main():
    """Jobs on stdin, all at once; what came of each on stdout, as they end. Two at a time.

    The first job attacks nobody: its seconds, times TIMES_AS_LONG, are what the others are given. Those that are marked
    `patient` get all the time that they want: what is fair must not look otherwise on a busy machine.
    """
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        # Imports what every run will need.
        pytest.main([*OPTIONS, f"--rootdir={empty}", f"--junitxml={empty}/report.xml", empty])
    gc.freeze()  # or each fork would copy what its collector looks at
    jobs = [json.loads(line) for line in sys.stdin]
    patience = 0.0
    while jobs:
        batch, jobs = (jobs, []) if patience else (jobs[:1], jobs[1:])
        for seen in _run_all(batch, patience):
            print(json.dumps(seen), flush=True)
            patience = patience or TIMES_AS_LONG * seen["seconds"]


def _run_all(jobs, patience):
    """What came of each job, as they end. patience: seconds for one; 0 for as long as it takes."""
    keep = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])]
    waiting, running = list(jobs), {}
    while waiting or running:
        while waiting and len(running) < 2:
            job = waiting.pop(0)
            read, write = os.pipe()
            try:
                child = os.fork()
            except BlockingIOError:  # the other run has taken all processes of the machine
                os.close(read)
                os.close(write)
                if not running:
                    raise
                waiting.insert(0, job)
                break
            if child == 0:
                began = time.monotonic()
                seconds, grace = (PATIENCE,) * 2 if job["patient"] else (max(patience, SHORTEST), _SHORT_GRACE)
                seen = world.run(lambda job=job: grade_class(job["house"], job["texts"]), keep, seconds, grace)
                line = {"name": job["name"], "seconds": time.monotonic() - began, **seen}
                os.write(write, json.dumps(line).encode())
                os._exit(0)
            os.close(write)
            running[read] = job
        for read in select.select(list(running), [], [])[0]:
            job = running.pop(read)
            with os.fdopen(read) as pipe:
                said = pipe.read()
            os.wait()
            if said:
                yield json.loads(said)
            elif job.setdefault("tries", 1) < _MOST_TRIES:  # the machine refused it a process or memory
                waiting.append(job | {"tries": job["tries"] + 1})
            else:
                yield {"name": job["name"], "seconds": 0.0, "said": None, "left": None}  # the judge never returned


if __name__ == "__main__":
    main()
