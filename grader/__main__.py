"""The command `grader`."""

import atexit
import os
import sys

from grader.cli.main import main


def run() -> None:
    """Run the command and end the process at once: to take a process with torch apart would take 0.15 s."""
    try:
        main()
    except SystemExit as ended:
        if "torch" not in sys.modules or not isinstance(ended.code, int):
            raise
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            raise ended from None  # nobody reads, or the disk is full: Python says so as it ends
        os._exit(ended.code)


if __name__ == "__main__":
    run()
