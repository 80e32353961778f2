"""A Dask cluster as a site runs it: a scheduler and workers, each a process of its own, below one test."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shared import PATIENCE, until

from conftest import environment
from grader.base import linux


def end_with_test():
    """In a process that is about to begin: however the test ends, it does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
    linux.die_with_parent(signal.SIGKILL)


class Site:
    """root: where the workers are started. before: a prefix of each command. path: a folder from which workers import
    before all others. settings: variables of Dask.
    """

    def __init__(self, root, folder, before=(), path="", **settings):
        self.root, self.folder, self.before, self.settings = root, folder, before, settings
        self.path = path
        self.file = folder / "scheduler.json"
        self.cluster = str(self.file)
        self.processes = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start_scheduler(self, *options):
        self.file.unlink(missing_ok=True)
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", str(self.file), *options)
        until(lambda: self.scheduler.poll() is not None or self.is_written(), "the scheduler writes its file")
        assert self.scheduler.poll() is None, self.said()

    def is_written(self):
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def start_worker(self, *options, cwd=None, before=None):
        """A worker, whose nanny this is: where it is killed, it comes again."""
        number = str(len(self.processes))
        own = ["--local-directory", str(self.folder / number), "--name", number, "--death-timeout", str(int(PATIENCE))]
        where = ["--scheduler-file", str(self.file)]
        return self.start("worker", *where, "--nthreads", "1", *own, *options, cwd=cwd, before=before)

    def start(self, kind, *options, cwd=None, before=None):
        # As `dask` is written: its script may lie in another environment's folder.
        given = self.before if before is None else before
        command = [*given, sys.executable, "-m", "dask", kind, "--no-dashboard", *options]
        variables = environment(**self.settings)
        if kind == "worker" and self.path:
            variables["PYTHONPATH"] = f"{self.path}:{variables['PYTHONPATH']}"
        with (self.folder / f"{len(self.processes)}-{kind}.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=cwd or self.root, env=variables, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=end_with_test,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def said(self):
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    @contextlib.contextmanager
    def grading(self, *options, submitted="submitted", out="results"):
        """`grader grade` on this cluster, begun."""
        command = [
            *self.before,
            sys.executable,
            "-m",
            "grader",
            "grade",
            submitted,
            "--out",
            out,
            "--cluster",
            self.cluster,
        ]
        said = self.folder / "grade.log"
        with said.open("w") as file:
            process = subprocess.Popen(
                [*command, *options], cwd=self.root, env=environment(**self.settings), stdout=file, stderr=file,
                start_new_session=True,
                preexec_fn=end_with_test,
            )  # fmt: skip
        self.processes.append(process)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"it had not ended:\n{said.read_text()}\n{self.said()}")

    def graded(self, *options, **where):
        """The exit code of `grader grade` on this cluster, and what it said."""
        with self.grading(*options, **where) as process:
            code = process.wait(PATIENCE)
        return code, (self.folder / "grade.log").read_text()


def below(pid):
    """The processes below one: pid to command line."""
    found, waiting = {}, [pid]
    while waiting:
        one = waiting.pop()
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += map(int, task.read_text().split())
        with contextlib.suppress(OSError):
            found[one] = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def engines(*workers):
    """The engines of workers that run now, without the forks that look like them."""
    found = [pid for worker in workers for pid, line in below(worker.pid).items() if "grader.engine.server" in line]
    return [pid for pid in found if parent(pid) not in found]


def parent(pid):
    """0 where it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def worker_process(nanny):
    """The worker itself, which its nanny starts anew."""
    children = [pid for pid, line in below(nanny.pid).items() if "multiprocessing" in line and "spawn_main" in line]
    return children[0] if children else 0


def facts(folder):
    """What the results of a folder say, without how long it took: student to line."""

    def timeless(value):
        if isinstance(value, dict):
            return {name: timeless(inner) for name, inner in value.items() if name != "seconds"}
        return [timeless(inner) for inner in value] if isinstance(value, list) else value

    lines = [timeless(json.loads(line)) for line in (folder / "results.jsonl").read_text().splitlines()]
    by = {line["student"]: line for line in lines}
    assert len(by) == len(lines), "nobody is graded twice"
    return by


def count(folder):
    path = folder / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def memory_mb(pid):
    """Resident memory of a process; 0 where it has ended."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) >> 10
    return 0
