"""A process with torch and pytest imported, which runs each command it is told in a fork of itself.

Starting Python and importing torch takes 1.5 s; a fork takes 0.02 s. The commands arrive on stdin as lines of JSON, and
the exit codes leave on stdout. Modules of `grader` are not imported here: each command imports them afresh.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
from pathlib import Path

# Only imports: a process that ran a torch operation may deadlock its forks.
for name in ("click", "cosmic_ray.plugins", "msgspec", "numpy", "pytest", "rich.table", "torch._dynamo",
             "torch.utils.flop_counter", "torch.multiprocessing.reductions"):  # fmt: skip
    importlib.import_module(name)
gc.freeze()  # pytest collects garbage five times as it ends: a command has only its own to look through


def run(job):
    """The exit code of one command, or -9 where it had to be killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(job)
    os.close(write)
    # The pipe says nothing; it closes when the command and all that it left behind are gone.
    if not select.select([read], [], [], job["seconds"])[0]:
        os.killpg(pid, signal.SIGKILL)
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child(job):
    """Becomes `python -m MODULE ARGS`; never returns."""
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["env"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
        sys.argv = [job["module"], *job["args"]]
        sys.path[0] = job["cwd"]
        try:
            runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)
