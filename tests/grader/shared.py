"""What several tests look at and none changes, made once, also where pytest-xdist spreads the tests over processes."""

import fcntl
import json
import os
import subprocess
import sys

PATIENCE = 900.0
"""Seconds after which a test gives up: only what hangs takes so long, and nothing is right or wrong by it."""


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


def said(command, folder, seconds=PATIENCE):
    """The last line of what a command says, which is JSON. folder: its temporary files' own."""
    # No bytecode: a user that may not write it beside the sources would say so.
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


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
