"""Grade hostile submissions in the engine, a right one and a wrong one after each, in a world of their own (world.py).

`python gauntlet.py`: a job as JSON on stdin; on stdout what `world.run` says.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import world
from shared import PATIENCE, refuse_namespaces

from grader.base import linux

HOUSE, RESULTS = Path("/tmp/house"), Path("/tmp/results")
ID = "dl_901_running_mean"
SEED = 7
NOBODY = 65534
IOPRIO_GET = {"x86_64": 252, "aarch64": 31}

libc = ctypes.CDLL(None)


def grade_class(house, texts, who="root", level="full"):
    """Judge every submission, one at a time; what came of it, and what the engine's process had below it after.

    who: `root`, or `user` for nobody special. level: the best that the engine is to find.
    """
    if who == "user":
        for become in (os.setresgid, os.setresuid):
            become(*[NOBODY] * 3)
        linux.set_dumpable(True)  # as after a login: its own /proc/self is its own
    if level == "landlock":
        refuse_namespaces()
    from grader.bank.catalog import House
    from grader.engine import batch
    from grader.engine.batch import Engine
    from grader.records.results import Results
    from grader.submissions.find import Submission

    # Some attacks make torch import its compiler, 1 s: not on a clock of 2, on a machine that has other work.
    batch.needed_ahead = lambda _: ["torch._dynamo"]
    world.write_files(house, HOUSE)
    before = world.files(HOUSE)
    exercise = House(HOUSE).exercises[ID]
    results, kept = Results(RESULTS), []

    def keep(result):
        results.add(result)
        kept.append(result.student)

    with bystander() as untouched, Engine([exercise]) as engine:
        own = [state(pid) for pid in (os.getpid(), engine.warm.pid)]
        submissions = [Submission(name, ID, text) for name, text in texts.items()]
        engine.judge(House(HOUSE), exercise, submissions, seed_of=lambda one: SEED, jobs=1, keep=keep)
        survivors = _survivors(engine.warm.pid)
        touched = untouched() + ["the grader"] * (own != [state(pid) for pid in (os.getpid(), engine.warm.pid)])
    return {
        "kept": kept,
        "lines": [json.loads(line) for line in results.path.read_text().splitlines()],
        "beside": sorted(path.name for path in RESULTS.iterdir() if path != results.path),
        "survivors": survivors,
        "touched": touched,
        "changed": world.files(HOUSE) != before,
        "level": str(engine.level),
    }


@contextlib.contextmanager
def bystander():
    """Things of the same user beside the grader's: a process, two sockets, a segment, a file. Gives what is no longer
    as it was.
    """
    process = subprocess.Popen(["sleep", "infinity"])
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for sock, name in zip(sockets, (b"\0heard", "/tmp/heard"), strict=True):
        sock.bind(name)
        sock.setblocking(False)
    segment = libc.shmget(0, 4096, 0o1600)
    libc.shmat.restype = ctypes.c_void_p
    memory = libc.shmat(segment, None, 0)
    file = Path("/tmp/mine")
    file.write_text("not yours")

    def seen():
        status = file.stat()
        return {
            "a process": (process.poll(), state(process.pid)),
            "sockets": [bool(select.select([sock], [], [], 0)[0]) for sock in sockets],
            "a segment": ctypes.string_at(memory, 16),
            "a file": (file.read_text(), status.st_mode, status.st_mtime, os.listxattr(file)),
        }

    before = seen()
    try:
        yield lambda: [name for name, now in seen().items() if now != before[name]]
    finally:
        process.kill()
        process.wait()
        for thing in ("/tmp/heard", file):
            Path(thing).unlink()
        libc.shmctl(segment, 0, None)


def state(pid):
    """What somebody else may do to a process short of a signal that is heard."""
    limits = [resource.prlimit(pid, what) for what in range(16)]
    nice = os.getpriority(os.PRIO_PROCESS, pid), libc.syscall(IOPRIO_GET[os.uname().machine], 1, pid)
    stopped = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()[0] in b"tT"
    return limits, nice, os.sched_getscheduler(pid), os.sched_getaffinity(pid), stopped


def _survivors(pid):
    """Living processes below `pid`, when the last keepers have had time to end."""
    ends = time.monotonic() + PATIENCE
    while (alive := _below(pid)) and time.monotonic() < ends:
        time.sleep(0.02)
    return alive


def _below(pid):
    """Zombies aside: the warm process collects those with its next job."""
    parents = {}
    for name in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        try:
            state, parent = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        parents.setdefault(parent.decode(), []).append((name, state))
    found, waiting = [], [str(pid)]
    while waiting:
        children = parents.get(waiting.pop(), [])
        waiting += [name for name, _ in children]
        found += [name for name, state in children if state != b"Z"]
    return found


if __name__ == "__main__":
    job = json.load(sys.stdin)
    kept = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])]
    said = world.run(lambda: grade_class(job["house"], job["texts"], *job["way"]), kept, job["seconds"], grace=PATIENCE)
    print(json.dumps(said))
