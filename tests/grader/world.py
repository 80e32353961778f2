"""A throw-away world for hostile code: processes, mounts, network and shared memory of its own, gone when it ends.

Not the engine's cage: nothing here is hidden, so a runner without any protection can be attacked, and harms nobody.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from grader.base import linux
from grader.engine import cage

FRESH = ("/tmp", "/dev/shm")


def available():
    """Whether this machine grants namespaces; where it does not, nothing can be attacked without harm."""
    return sys.platform == "linux" and not cage._refused(lambda: _enter([]))


def run(work, keep, seconds, grace):
    """Run `work()`, which returns plain data, in a world of its own.

    keep: folders that stay visible also where they lie under /tmp. seconds: when everything is killed.
    grace: how long what `work` left behind may take to end, in seconds; only what stays takes so long.
    Returns a dict: `said`, what `work` returned, None if it did not; `left`, what was there after it, {} if nothing,
    None if the time was over.
    """
    read, write = os.pipe()
    outer = os.fork()
    if outer == 0:
        os.close(read)
        _outer(work, keep, write, grace)
    os.close(write)
    data, ends = b"", time.monotonic() + seconds
    while select.select([read], [], [], max(0.0, ends - time.monotonic()))[0]:
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        data += piece
    os.close(read)
    with contextlib.suppress(ProcessLookupError):
        os.kill(outer, signal.SIGKILL)  # the world dies with it
    os.waitpid(outer, 0)
    whole = data.split(b"\n")[:-1]  # what was being written when the time was over is no line
    lines = [json.loads(line) for line in whole]
    return {"said": None, "left": None} | {key: value for line in lines for key, value in line.items()}


def _enter(keep):
    cage._own_mounts()
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC)
    if (pid := os.fork()) == 0:
        code = 1
        with contextlib.suppress(BaseException):
            _furnish(keep)
            code = 0
        os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise OSError("no world of its own")


def _furnish(keep):
    """What the first process of the world mounts. keep: folders."""
    linux.mount("proc", "/proc", "proc")
    hidden = [Path(path).resolve() for path in keep if Path(path).resolve().is_relative_to("/tmp")]
    held = [(path, os.open(path, os.O_PATH)) for path in hidden]
    for folder in FRESH:
        linux.mount("tmpfs", folder, "tmpfs", 0, "mode=1777,size=1g")
    for path, descriptor in held:
        path.mkdir(parents=True, exist_ok=True)
        linux.mount(f"/proc/self/fd/{descriptor}", str(path), flags=linux.MS_BIND | linux.MS_REC)
        os.close(descriptor)
    linux.loopback_up()


def _outer(work, keep, write, grace):
    """Holds the world's first process; never returns."""
    try:
        linux.die_with_parent(signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        write = os.dup2(write, 3)
        os.closerange(4, 1 << 12)  # whatever is inherited could be written to
        cage._own_mounts()
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC)
        if (init := os.fork()) == 0:
            linux.die_with_parent(signal.SIGKILL)
            _init(work, keep, write, grace)
        os.close(write)
        os.waitpid(init, 0)
    finally:
        os._exit(0)


def _init(work, keep, write, grace):
    """The first process: no signal from inside reaches it. Says what is left when `work` has ended."""
    try:
        _furnish(keep)
        before = _things()
        if (worker := os.fork()) == 0:
            code = 1
            try:
                _say(write, {"said": work()})
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _collect(worker, grace)
        after = _things()
        _say(write, {"left": {kind: more for kind in after if (more := sorted(set(after[kind]) - set(before[kind])))}})
    finally:
        os._exit(0)


def _collect(worker, grace):
    """Wait for the worker, then a while for all that it left behind to end."""

    def over(number, frame):
        raise TimeoutError

    while os.wait()[0] != worker:
        pass
    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, grace)
    with contextlib.suppress(ChildProcessError, TimeoutError):
        while True:
            os.wait()
    signal.setitimer(signal.ITIMER_REAL, 0)


def _things():
    """What there is in this world, by kind."""
    sockets = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {
        "processes": [f"{path.name} {_command(path)}" for path in Path("/proc").iterdir() if path.name.isdigit()],
        "files": [str(path) for folder in FRESH for path in Path(folder).iterdir()],
        "abstract sockets": [line.split()[-1] for line in sockets if line.split()[-1].startswith("@")],
        "segments": [
            f"{kind} {line.split()[1]}"
            for kind in ("shm", "sem", "msg")
            for line in Path("/proc/sysvipc", kind).read_text().splitlines()[1:]
        ],
    }


def _command(process):
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text().replace("\0", " ")[:80]
    return ""


def _say(write, what):
    data = memoryview(json.dumps(what).encode() + b"\n")
    while data:
        data = data[os.write(write, data) :]


def files(folder):
    """The text of each file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="surrogateescape")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def write_files(texts, folder):
    """Put them there, in place of whatever lies there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
