"""What several tests look at and none changes, made once, also where pytest-xdist spreads the tests over processes."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

PATIENCE = 900.0
"""Seconds after which a test gives up: only what hangs takes so long, and nothing is right or wrong by it."""


UNLIKE = ["nn_001_backprop", "dl_004_optimizers", "dl_011_kv_cache", "dl_015_moe", "dl_017_amp"]
"""Exercises that have little in common: numpy, optimizers, caches, ranks, precision. The quick form of a sweep takes
these; its full form, which its module names, takes all.
"""


def once(tmp_path_factory, name, work):
    """`work()`, which returns plain data: run by whoever comes first, read by all others of this test run.

    Its failure is all others' too: what fails is not tried again and again.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    kept = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            try:
                kept.write_text(json.dumps({"made": work()}))
            except Exception as error:
                kept.write_text(json.dumps({"failed": f"{type(error).__name__}: {error}"}))
                raise
    made = json.loads(kept.read_text())
    assert "failed" not in made, made["failed"]
    return made["made"]


def until(true, what):
    """Wait for something that no descriptor tells of: what other processes and threads do."""
    ends = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < ends, f"it never came to this: {what}"
        time.sleep(0.02)
    return found


def held_port():
    """A free port, and a socket that holds it: nobody else is given it as long as that is open.

    The socket does not listen, so a server that says SO_REUSEADDR may have the port too; but for Linux it may not.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    if sys.platform != "linux":
        held.close()
    return held, port


def said(command, folder, seconds=PATIENCE):
    """The last line of what a command says, which is JSON. folder: its temporary files' own."""
    # No bytecode: a user that may not write it beside the sources would say so.
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)  # a test that is run as a program finds what it shares
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


NOBODY = 65534
WAYS = ["root full", "user full", "root landlock", "user landlock"]
"""Who runs a grader, and the level that it finds."""


def in_reach(command, folder):
    """`command`, with the interpreter in its reach even where that lies in a home that others may not enter."""
    needed = {Path(path).resolve() for path in (sys.prefix, sys.base_prefix, REPOSITORY)}
    closed = {way for path in needed for way in (path, *path.parents) if not way.stat().st_mode & 0o001}
    if not closed:
        return command
    # In a mount namespace of this command alone: the closed home is covered, and what is needed of it shown again.
    lines = ["set -e"]
    hidden = sorted(path for path in needed if any(path.is_relative_to(way) for way in closed))
    for i, path in enumerate(hidden):
        lines += [f"mkdir -p {folder}/shown{i}", f"mount --rbind {path} {folder}/shown{i}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {way}" for way in sorted(closed)]
    for i, path in enumerate(hidden):
        lines += [f"mkdir -p {path}", f"mount --rbind {folder}/shown{i} {path}"]
    lines += [f"umount -l {folder}/shown{i}; rmdir {folder}/shown{i}" for i in range(len(hidden))]
    script = "\n".join([*lines, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]


def refuse_namespaces():
    """What many containers do, for this process and all below: neither namespaces nor mounts can be had."""
    import errno

    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in ("unshare", "mount", "setns", "pivot_root", "umount2"):
        rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
    for bit in range(32):
        if 0x7E020080 >> bit & 1:
            rules.add_rule(seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, 1 << bit, 1 << bit))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()


def grants_namespaces(*before):
    """Whether this machine grants what level full needs: asked of util-linux, not of the engine. before: a prefix."""
    wanted = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork"]
    wanted += ["--user"] if before or os.getuid() else []
    return sys.platform == "linux" and not subprocess.run([*before, *wanted, "true"], capture_output=True).returncode
