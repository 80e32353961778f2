"""Submissions on their way through a cluster, and their results on the way back.

They are sent in small batches, a few for each worker at a time, so that neither the scheduler nor this process holds a
class. What a worker or its engine ended with is under suspicion, and so is all that waited there: these are asked again
one by one, with nothing else in flight, and who then does it again is named.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError

import msgspec
from distributed import Client, Future, KilledWorker, as_completed

from grader.base.errors import EngineError, HouseError
from grader.cluster.address import need_safe
from grader.cluster.worker import Reply, judge_batch
from grader.engine.server import Asked, Batch
from grader.verdicts.result import Result

_MOST_IN_BATCH = 16
_BATCHES_A_WORKER = 3
"""In flight: one that is judged, one that waits, one on its way."""
_MOST_TRIES = 3
"""How often the engine may end at a submission that is judged alone, before that is its result."""
_LARGEST_BATCH = 4 << 20
"""Characters."""


class Failed(msgspec.Struct, frozen=True):
    """What is known of a submission at which the engine or the worker has ended each time."""

    why: str


Settled = tuple[str, Asked, Result | Failed]
"""An exercise, what was asked, and what came of it."""


class Flow:
    """Asks the workers. plugin: the name of theirs. wanted: of an exercise, the versions that count."""

    def __init__(self, client: Client, plugin: str, wanted: Callable[[str], dict[str, str]]) -> None:
        self._client, self._plugin, self._wanted = client, plugin, wanted
        self._waiting: deque[tuple[str, Asked]] = deque()
        self._suspects: deque[tuple[str, Asked]] = deque()
        self._flying: dict[str, Batch] = {}
        self._landing = as_completed(loop=client.loop)
        self._sent = 0

    def announce(self, exercise: str, asked: list[Asked]) -> None:
        """Have these judged, after what was announced before."""
        self._waiting.extend((exercise, one) for one in asked)
        self._fill()

    def some(self) -> list[Settled]:
        """What comes back next; nothing once all is there.

        Raises EngineError where the cluster is gone, and HouseError where a worker cannot judge.
        """
        while True:
            self._fill()
            if self._flying:
                if came := self._landed(next(self._landing)):
                    return came
            elif self._suspects:
                return [self._alone(*self._suspects.popleft())]
            else:
                return []

    def _fill(self) -> None:
        """Send as much as may be in flight."""
        threads = self._threads()
        # Of a worker with many threads twice what they judge at a time, and one more batch on its way.
        most = sum(max(_BATCHES_A_WORKER, 1 + 2 * count // _MOST_IN_BATCH) for count in threads)
        while self._waiting and len(self._flying) < max(most, _BATCHES_A_WORKER):
            size = len(self._waiting) // (4 * max(len(threads), 1))  # smaller at the end, so that all end together
            self._landing.add(self._send(self._cut(min(max(size, 1), _MOST_IN_BATCH))))

    def _threads(self) -> list[int]:
        """How many submissions each worker judges at a time. Raises HouseError where one could be listened to."""
        try:
            workers: dict[str, int] = self._client.nthreads()
        except OSError as error:  # its kinds of timeout and of closed connection, too
            raise gone() from error
        for address in workers:
            need_safe(address, "a worker")
        return list(workers.values())

    def _cut(self, size: int) -> Batch:
        """The next batch: of one exercise, so that each worker stays with it."""
        exercise, asked, room = self._waiting[0][0], list[Asked](), _LARGEST_BATCH
        while self._waiting and self._waiting[0][0] == exercise and len(asked) < size:
            room -= len(self._waiting[0][1].text) + len(self._waiting[0][1].notebook or "")
            if asked and room < 0:
                break
            asked.append(self._waiting.popleft()[1])
        return Batch(exercise, asked, self._wanted(exercise))

    def _send(self, batch: Batch) -> Future[bytes]:
        self._sent += 1
        key = f"{self._plugin}-{self._sent}"
        self._flying[key] = batch
        return self._client.submit(judge_batch, self._plugin, msgspec.json.encode(batch), key=key, pure=False)

    def _landed(self, future: Future[bytes]) -> list[Settled]:
        """What a batch came to; what has no result is a suspect."""
        batch = self._flying.pop(str(future.key))
        came = list(zip(batch.asked, self._reply(batch, future).results, strict=True))
        self._suspects.extend((batch.exercise, one) for one, result in came if not result)
        return [(batch.exercise, one, result) for one, result in came if result]

    def _alone(self, exercise: str, one: Asked) -> Settled:
        """What comes of a suspect, asked with nothing else in flight."""
        why = ""
        for _ in range(_MOST_TRIES):
            batch = Batch(exercise, [one], self._wanted(exercise))
            future = self._send(batch)
            del self._flying[str(future.key)]
            reply = self._reply(batch, future)
            (result,) = reply.results
            if result:
                return exercise, one, result
            why = f"the engine ended each time that this was judged, also alone; it printed last:\n{reply.ended}"
            if not reply.worker:
                why = "each worker ended that judged this, also alone"
                break  # Dask has tried that several times
        return exercise, one, Failed(why)

    def _reply(self, batch: Batch, future: Future[bytes]) -> Reply:
        """What a worker said of a batch; of one that ended, no word."""
        try:
            reply = msgspec.json.decode(future.result(), type=Reply)
        except KilledWorker:
            return Reply("", [None for _ in batch.asked])
        except (OSError, CancelledError) as error:
            raise gone() from error
        except Exception as error:
            raise unfit(error) from None
        if reply.refused:
            raise HouseError(f"The worker {reply.worker} cannot judge {batch.exercise}: {reply.refused}.")
        return reply


def unfit(error: Exception) -> HouseError:
    """Of what a worker raises that does not even get to judge."""
    return HouseError(
        f"A worker cannot judge: {type(error).__name__}: {error}. Install the same grader on all workers, and start "
        "them anew."
    )


def gone() -> EngineError:
    return EngineError("the scheduler does not answer any more")
