import os
import signal
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.distributed as dist
from shared import PATIENCE

from grader.answering import leaving
from grader.answering.cost import Meter
from grader.answering.module import load_source
from grader.answering.ranks import on_ranks
from grader.bank.catalog import find_house
from grader.verdicts.explain import Explainer
from grader.verdicts.fault import NoLoopback
from grader.verdicts.verdict import Verdict

TEXT = """
import torch.distributed as dist

def total(x):
    dist.all_reduce(x)
    return x

def fails(rank, who):
    if rank == who:
        raise ValueError("no such shard")
    dist.barrier()

def not_written(rank):
    raise NotImplementedError
"""


@pytest.fixture
def module(tmp_path, leaves_none) -> ModuleType:
    return load_source(TEXT, tmp_path / "ranks.py", "ranks_attempt")


@pytest.fixture
def leaves_none():
    """Holds that a test leaves no process behind; others of this one, such as a warm helper, may be there."""
    before = children()
    yield
    assert children() <= before


def children():
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_ranks_form_one_group_and_answer_by_rank(module):
    torch.ones(3, 3) @ torch.ones(3, 3)  # a process that has run operations may fork ranks too

    def work(rank):
        return module.total(torch.tensor([1.0, 10.0]) * rank), dist.get_world_size(), torch.get_num_threads()

    answers = on_ranks(module, 3, work)
    assert [(x.tolist(), size, threads) for x, size, threads in answers] == [([3.0, 30.0], 3, 1)] * 3
    assert not dist.is_initialized()


def test_a_backward_pass_before_does_not_hinder_one_in_a_rank(module):
    torch.ones(2, requires_grad=True).sum().backward()

    def work(rank):
        x = torch.ones(2, requires_grad=True)
        (x * (rank + 2)).sum().backward()
        return x.grad

    assert [g.tolist() for g in on_ranks(module, 2, work)] == [[2.0, 2.0], [3.0, 3.0]]


def test_the_first_to_raise_is_told_with_the_learners_line(module):
    with pytest.raises(ValueError, match="rank 1 of 3: no such shard") as caught:
        on_ranks(module, 3, lambda rank: module.fails(rank, 1), seconds=PATIENCE)  # the others wait for as long
    assert caught.value.raised.lines == [10]  # `raise ValueError` of the learner's text


def test_what_is_not_written_yet_is_the_learners_own(module):
    with pytest.raises(NotImplementedError) as caught:
        on_ranks(module, 2, module.not_written)
    assert caught.value.raised.own


def test_a_rank_that_dies_is_named(module):
    def work(rank):
        if rank == 2:
            os._exit(3)
        dist.barrier()

    with pytest.raises(ChildProcessError, match="rank 2 of 3 ended without a result"):
        on_ranks(module, 3, work, seconds=PATIENCE)


def test_a_rank_that_is_killed_is_told_from_one_that_leaves(module):
    def work(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()

    with pytest.raises(ChildProcessError, match="rank 1 of 3 was killed by SIGKILL"):
        on_ranks(module, 3, work, seconds=PATIENCE)


def test_the_time_that_others_took_is_not_the_ranks(module, monkeypatch):
    """As where a neighbour has the processors: they sleep here, and the kernel's word on their waits is replaced."""
    begun = time.monotonic()
    monkeypatch.setattr("grader.base.fair._of_thread", lambda thread: (0, int((time.monotonic() - begun) * 2e9)))

    def work(rank):
        time.sleep(1.5)
        return rank

    assert on_ranks(module, 2, work, seconds=0.8) == [0, 1]


def test_ranks_that_wait_for_ever_are_ended_and_named(module):
    def work(rank):
        if rank != 1:
            dist.recv(torch.empty(2), src=1)

    with pytest.raises(TimeoutError, match=r"rank 0, 2 of 3 had not ended after 3 s"):
        on_ranks(module, 3, work, seconds=3)  # in which rank 1 ends


def test_two_calls_do_not_meet(module):
    for size in (2, 3, 2):
        assert on_ranks(module, size, lambda rank: module.total(torch.ones(1)).item()) == [float(size)] * size


def test_only_data_comes_back(module):
    with pytest.raises(Exception, match="rank 0 of 2: the result is an object"):
        on_ranks(module, 2, lambda rank: object())


def test_what_a_rank_sends_is_counted(module):
    def work(rank):
        with Meter() as meter:
            module.total(torch.zeros(5))
            if rank == 0:
                dist.send(torch.zeros(7, dtype=torch.float64), 1)
            else:
                dist.recv(torch.zeros(7, dtype=torch.float64), 0)
            out = [torch.zeros(3) for _ in range(2)]
            dist.all_gather(out, torch.zeros(3))
        return meter.cost.calls, meter.cost.sent

    (calls, sent), (_, received) = on_ranks(module, 2, work)
    assert {name: calls[name] for name in ("allreduce_", "send", "allgather_")} == dict.fromkeys(
        ("allreduce_", "send", "allgather_"), 1
    )
    assert sent == {"allreduce_": 20, "send": 56, "allgather_": 12}
    assert received == {"allreduce_": 20, "allgather_": 12}


def test_without_a_loopback_nobody_is_charged(module, monkeypatch, tmp_path):
    """At level landlock there are no sockets: ranks cannot be had, and that is the grader's affair."""

    def refused(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr("grader.answering.ranks.socket.socket", refused)
    with pytest.raises(NoLoopback) as caught:
        on_ranks(module, 2, lambda rank: rank)
    part = find_house().find("14").parts[0]
    told = Explainer(tmp_path / "ranks.py", TEXT).learner(caught.value, part)
    verdict, said = told.verdict, told.message
    assert verdict is Verdict.GRADER_ERROR
    assert "loopback" in said


def test_a_broadcast_is_charged_to_the_rank_that_gives(module):
    def work(rank):
        x = torch.ones(3)
        with Meter() as meter:
            torch.distributed.broadcast(x, 1)
        return meter.cost.sent

    assert on_ranks(module, 3, work) == [{}, {"broadcast_": 12}, {}]


def test_meters_come_and_go_while_gloos_threads_let_go_of_what_python_made(module):
    def work(rank):
        for _ in range(800):
            with Meter():
                sent = dist.all_reduce(torch.ones(4), async_op=True)
            sent.wait()
        return rank

    assert on_ranks(module, 2, work, PATIENCE) == [0, 1]


def test_what_a_rank_made_before_a_region_is_none_of_its_memory(module):
    def work(rank):
        leaving.lay()
        before = [float(i) for i in range(100_000)]
        with Meter() as meter:
            few = torch.arange(100.0).tolist()
        return meter.cost.peak, len(before) + len(few)

    ((most, _), _) = on_ranks(module, 2, work, PATIENCE)
    assert most < 100_000
