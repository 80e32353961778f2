"""A cluster in the place of this machine's engine, for nbgrader, which asks for one notebook after the other."""

import contextlib
from collections.abc import Iterator

from grader.bank.catalog import House
from grader.base.errors import EngineError, HouseError
from grader.cluster.client import connected
from grader.cluster.flow import Failed
from grader.engine.cage import Level
from grader.engine.judging import ServerError
from grader.engine.server import Asked, Batch, Key, all_versions, keys_of
from grader.verdicts.result import Result


class ClusterJudging:
    """As `engine.judging.Judging`. where: an address or a scheduler file. level: the least isolation.

    Raises ServerError where no scheduler answers.
    """

    def __init__(self, house: House, where: str, level: str) -> None:
        self._answers: dict[Key, Result | Failed] = {}
        self._asked: set[Key] = set()
        self._open = contextlib.ExitStack()
        self.has_ended = False

        def wanted(id: str) -> dict[str, str]:  # each time: who asks may live for days, and checks change meanwhile
            return all_versions(house.exercises[id])

        with self._told():
            self._flow, _ = self._open.enter_context(connected(where, Level(level), wanted))

    def announce(self, batch: Batch) -> None:
        """Begin to judge these; `result` waits for one of them."""
        new = [one for one in batch.asked if batch.key(one) not in self._asked]
        self._asked.update(keys_of(batch))
        with self._told():
            self._flow.announce(batch.exercise, new)

    def result(self, batch: Batch, one: Asked) -> Result:
        """The result of one of a batch. Raises ServerError."""
        key = batch.key(one)
        self.announce(batch)
        with self._told():
            while key not in self._answers and (came := self._flow.some()):
                for id, asked, answer in came:
                    other = Batch(id, []).key(asked)
                    if other in self._asked:
                        self._answers[other] = answer
        answer = self._answers[key]
        if isinstance(answer, Failed):
            self.forget(Batch(batch.exercise, [one]))  # who asks again has it tried again
            raise ServerError(f"the grader itself failed: {answer.why}")
        return answer

    def forget(self, batch: Batch | None = None) -> None:
        """Keep the results of these no longer; of all where none are named."""
        for key in keys_of(batch) if batch else list(self._asked):
            self._asked.discard(key)
            self._answers.pop(key, None)

    def close(self) -> None:
        """Leave the cluster."""
        self.has_ended = True
        self._open.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Around what may find the cluster gone, or unable to judge."""
        try:
            yield
        except (EngineError, HouseError) as error:
            self.close()
            raise ServerError(str(error)) from None
