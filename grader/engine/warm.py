"""The warm answering process, seen from the asker. Needs no torch, so that both may import it at the same time."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from grader.base.errors import EngineError
from grader.engine import cage
from grader.engine.messages import CONTROL_FD, HIDE, START_SECONDS


class Warm:
    """`python -m grader.engine.answerer`, for as long as a batch takes. It inherits nothing but its socket.

    ahead: modules that it imports besides what every answerer needs. hidden: what no cage may read wherever it lies.
    control: where answerers are asked for. pid: of the process.
    """

    def __init__(self, level: cage.Level, ahead: Iterable[str] = (), hidden: Iterable[Path] = ()) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}
        command = [sys.executable, "-I", "-m", "grader.engine.answerer", str(level), *ahead, HIDE, *map(str, hidden)]

        def place() -> None:
            os.dup2(theirs.fileno(), CONTROL_FD)

        self._process = subprocess.Popen(
            command, env={**environment, "OMP_NUM_THREADS": "1"}, cwd="/", stdin=subprocess.DEVNULL, preexec_fn=place,
            pass_fds=[CONTROL_FD] if theirs.fileno() == CONTROL_FD else [CONTROL_FD, theirs.fileno()],
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self.pid = self._process.pid
        self._is_ready = False

    def await_ready(self) -> None:
        """Wait until it can serve; a second call returns at once. Raises EngineError if it does not start."""
        if self._is_ready:
            return
        ready, _, _ = select.select([self.control], [], [], START_SECONDS)
        if not ready or self.control.recv(16) != b"ready":
            self._process.kill()
            raise EngineError("the answering process did not come up; what it printed stands above")
        self._is_ready = True

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self.control.close()
        self._process.kill()
        self._process.wait()
