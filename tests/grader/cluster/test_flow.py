"""What is in flight, how it is cut, and who is asked alone: with a client and workers of the test's own."""

from collections import deque
from concurrent.futures import CancelledError

import msgspec
import pytest

pytest.importorskip("distributed")

from distributed import KilledWorker

from conftest import ID
from grader.base.errors import EngineError, HouseError
from grader.cluster import flow as module
from grader.cluster.flow import Failed, Flow
from grader.cluster.worker import Reply
from grader.engine.server import Asked, Batch
from grader.verdicts.result import Result

HERE, THERE = "tcp://127.0.0.1:1", "tls://10.0.0.2:2"


def result(one):
    return Result(ID, 1, 1, 1, [], one.seed, "full", 0.0, student=one.student)


class Sent:
    """A batch in flight."""

    def __init__(self, client, key, batch):
        self.client, self.key, self.batch = client, key, batch

    def result(self):
        self.client.flying.remove(self)
        return msgspec.json.encode(self.client.judge(self.batch))


class Client:
    """judge: what a worker says of a batch; by default that each is judged."""

    loop = None

    def __init__(self, workers=None, judge=lambda batch: Reply(HERE, [result(one) for one in batch.asked])):
        self.workers, self.judge = workers or {HERE: 1, THERE: 1}, judge
        self.flying, self.most, self.batches = [], 0, []

    def nthreads(self):
        return self.workers

    def submit(self, function, plugin, data, *, key, pure):
        batch = msgspec.json.decode(data, type=Batch)
        self.flying.append(Sent(self, key, batch))
        self.batches.append(batch)
        self.most = max(self.most, len(self.flying))
        return self.flying[-1]


class Landing(deque):
    """In the place of Dask's `as_completed`."""

    add, __next__ = deque.append, deque.popleft

    def __init__(self, loop):
        super().__init__()


@pytest.fixture(autouse=True)
def landing(monkeypatch):
    monkeypatch.setattr(module, "as_completed", Landing)


def answers(client, **asked):
    """Student to what came, of so many students for each exercise."""
    flow = Flow(client, "plugin", lambda id: {"checks": id})
    for id, number in asked.items():
        flow.announce(id, [Asked(f"{id}{i}", i) for i in range(number)])
    found = {}
    while came := flow.some():
        for id, one, answer in came:
            assert one.student.startswith(id)
            assert one.student not in found
            found[one.student] = answer
    return found


def test_few_batches_are_in_flight_and_each_is_of_one_exercise():
    client = Client()
    assert len(answers(client, a=500, b=3, c=40)) == 543
    assert client.most == 6
    sizes = [len(batch.asked) for batch in client.batches]
    assert max(sizes) == 16
    assert sizes[-3:] == [1, 1, 1], "all workers end together"
    assert [batch.exercise for batch in client.batches] == sorted(batch.exercise for batch in client.batches)
    assert all(batch.wanted == {"checks": batch.exercise} for batch in client.batches)


def test_a_worker_with_many_threads_has_more_in_flight():
    client = Client({HERE: 64})
    answers(client, a=2000)
    assert client.most == 9


def test_a_batch_is_no_larger_than_a_message_may_be():
    client = Client()
    flow = Flow(client, "plugin", lambda id: {})
    flow.announce("a", [Asked(str(i), i, "x" * (1 << 20)) for i in range(100)])
    while flow.some():
        pass
    assert max(len(batch.asked) for batch in client.batches) == 4


@pytest.mark.parametrize("worker", [True, False], ids=["the worker ends", "the engine ends"])
def test_who_ends_a_worker_is_asked_alone_and_named(worker):
    alone = []

    def judge(batch):
        if len(batch.asked) == 1 and not client.flying:
            alone.append(batch.asked[0].student)
        if any(one.student == "a7" for one in batch.asked):
            if worker:
                raise KilledWorker("key", None, 3)
            return Reply(HERE, [None for _ in batch.asked], ended="Segmentation fault")
        return Reply(HERE, [result(one) for one in batch.asked])

    client = Client(judge=judge)
    found = answers(client, a=100)
    assert {name for name, answer in found.items() if isinstance(answer, Failed)} == {"a7"}
    assert ("each worker ended" if worker else "the engine ended each time") in found["a7"].why
    assert ("Segmentation fault" in found["a7"].why) is not worker
    assert alone.count("a7") == (1 if worker else 3)
    first = next(batch for batch in client.batches if any(one.student == "a7" for one in batch.asked))
    assert {one.student for one in first.asked} <= {*alone}, "all that was there is asked again alone"
    assert len(found) == 100


def test_what_was_judged_before_the_engine_ended_counts():
    def judge(batch):
        ended = len(batch.asked) > 1 and batch.asked[0].student == "a0"
        each = [None if ended and one.student == "a1" else result(one) for one in batch.asked]
        return Reply(HERE, each, ended="gone" if ended else "")

    client = Client(judge=judge)
    assert len(answers(client, a=20)) == 20
    assert [one.student for batch in client.batches for one in batch.asked].count("a0") == 1
    assert [one.student for one in client.batches[-1].asked] == ["a1"]


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (CancelledError("lost"), EngineError, "the scheduler does not answer any more"),
        (OSError("lost"), EngineError, "the scheduler does not answer any more"),
        (ModuleNotFoundError("No module named 'grader'"), HouseError, "Install the same grader on all workers"),
        (None, HouseError, f"The worker {THERE} cannot judge a: 'torch' is 1 here"),
    ],
)
def test_what_ends_all(raised, kind, says):
    def judge(batch):
        if raised:
            raise raised
        return Reply(THERE, [None for _ in batch.asked], refused="'torch' is 1 here")

    with pytest.raises(kind, match=says):
        answers(Client(judge=judge), a=5)


def test_a_worker_that_others_can_listen_to_is_refused():
    with pytest.raises(HouseError, match=r"tcp://10\.0\.0\.9:1, the address of a worker, is not encrypted"):
        answers(Client({HERE: 1, "tcp://10.0.0.9:1": 1}), a=1)
