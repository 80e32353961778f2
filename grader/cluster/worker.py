"""What runs in a worker of Dask: it starts the engine as a process of its own, and hands on questions and answers.

The worker itself holds no check, imports no torch and runs no learner's code.
"""

import contextlib
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from distributed import Worker, WorkerPlugin, get_worker

from grader.bank.catalog import find_bank
from grader.base.errors import HouseError
from grader.engine.judging import Judging, RefusedError, ServerError
from grader.engine.server import Batch
from grader.engine.view import readable
from grader.verdicts.result import Result


class Reply(msgspec.Struct, frozen=True):
    """What a worker says of a batch. results: one for each that was asked, in that order; None where there is none."""

    worker: str
    results: list[Result | None]
    refused: str = ""
    """Why this worker judges none of them; no submission is to blame."""
    ended: str = ""
    """What the engine printed last, where it has ended before all were judged."""


class EnginePlugin(WorkerPlugin):
    """Holds the engine of a worker: one for all exercises, with as many submissions at a time as the worker's threads.

    level: the least isolation.
    """

    def __init__(self, level: str) -> None:
        self._level = level

    def setup(self, worker: Worker) -> None:
        self._worker, self._lock = worker, Lock()
        self._judging: Judging | None = None
        with contextlib.suppress(HouseError):  # said to who asks
            self._engine()  # so that it is warm when the first batch comes

    def teardown(self, worker: Worker) -> None:
        if self._judging:
            self._judging.close()

    def judge(self, batch: Batch) -> Reply:
        """Have a batch judged, and wait for it."""
        name, results, ended = self._worker.address, list[Result | None](), ""
        try:
            engine = self._engine()
        except HouseError as error:
            return Reply(name, [None for _ in batch.asked], refused=str(error))
        engine.announce(batch)
        try:
            for one in batch.asked:
                try:
                    results.append(engine.result(batch, one))
                except RefusedError as error:
                    return Reply(name, [None for _ in batch.asked], refused=str(error))
                except ServerError as error:  # what has been judged before counts
                    results.append(None)
                    ended = str(error)
        finally:
            engine.forget(batch)
        return Reply(name, results, ended=ended)

    def _engine(self) -> Judging:
        """The engine, started anew where it has ended. Raises HouseError where there can be none."""
        _need_hidden(getattr(self._worker.security, "tls_worker_key", None))
        with self._lock:
            if self._judging is None or self._judging.has_ended:
                if self._judging:
                    self._judging.close()
                self._judging = Judging(find_bank().root, self._level, self._worker.state.nthreads)
            return self._judging


def _need_hidden(key: Any) -> None:
    """Raises HouseError where a submission could read the key with which a worker shows who it is."""
    if not isinstance(key, str) or "\n" in key:  # none, or the key itself, which is in memory only
        return
    path = Path(key).resolve()
    for folder in readable():
        if path.is_relative_to(Path(folder).resolve()):
            raise HouseError(
                f"its key {path} lies in {folder}, which the code of a submission can read: put it elsewhere, such as "
                "/etc/dl-kata"
            )


def judge_batch(plugin: str, batch: bytes) -> bytes:
    """The task that a client sends. plugin: its name. batch, and the answer: JSON."""
    held = get_worker().plugins[plugin]
    assert isinstance(held, EnginePlugin)
    return msgspec.json.encode(held.judge(msgspec.json.decode(batch, type=Batch)))
