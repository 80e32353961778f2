"""The engine as a process of its own, for who must not run torch: nbgrader, and the workers of a cluster."""

import os
import signal

import msgspec
import pytest
from dask_site import below
from shared import until

from conftest import ID
from grader.engine.judging import Judging, RefusedError, ServerError
from grader.engine.server import Asked, Batch, Questions, all_versions

SUM = ("* len(x) / self.count", "/ 2")


def line(exercise, *students, **more):
    return msgspec.json.encode(Batch(exercise, [Asked(student, 7) for student in students], **more)) + b"\n"


def students(batch):
    return [one.student for one in batch.asked] if batch else None


def test_questions_are_drawn_while_others_are_judged():
    read, write = os.pipe()
    questions = Questions(read)
    os.write(write, line("a", "ann") + line("a", "bob")[:9])
    first = questions.next()
    assert students(first) == ["ann"]
    assert questions.more(first) is None, "it has not come in whole"
    os.write(write, line("a", "bob")[9:] + line("a", "cyd", wanted={"torch": "1"}) + line("b", "dan"))
    assert students(questions.more(first)) == ["bob"]
    assert questions.more(first) is None, "other versions are wanted"
    assert students(questions.next()) == ["cyd"]
    assert questions.more(first) is None, "another exercise: its checks come first"
    assert not questions.are_over()
    os.close(write)
    assert questions.are_over()
    assert students(questions.next()) == ["dan"], "what was said before is answered"
    assert questions.next() is None
    os.close(read)


def test_one_process_for_all_that_is_asked(home):
    """It refuses what it cannot judge as it is wanted, judges by the checks of now, and ends with what answers."""
    judging = Judging(home.root, "process", 1)
    try:
        right, wrong = Asked("ann", 7, home.solution), Asked("bob", 7, home.solution.replace(*SUM))
        batch = Batch(ID, [right, wrong, Asked("cyd", 7, problem="nothing was handed in")], all_versions(home.exercise))
        assert [judging.result(batch, one).score for one in batch.asked] == [100, 30, 0]
        assert [judging.result(batch, one).student for one in batch.asked] == ["ann", "bob", "cyd"]

        other = Batch(ID, [Asked("eve", 7, home.solution)], {**batch.wanted, "torch": "0.1"})
        with pytest.raises(
            RefusedError, match=r"'torch' is [0-9.]+\S* here, and 0\.1 where the submissions were handed"
        ):
            judging.result(other, other.asked[0])
        nowhere = Batch("dl_999_nothing", [right])
        with pytest.raises(RefusedError, match="there is no exercise 'dl_999_nothing' in"):
            judging.result(nowhere, right)

        home.check("@part('batch_mean')\ndef test_more(attempt):\n    assert False, 'a new check'\n")
        again = Batch(ID, [Asked("fay", 7, home.solution)], all_versions(home.exercise))
        assert judging.result(again, again.asked[0]).score == 70
        home.check("import nothing_of_the_kind\n")
        broken = Batch(ID, [Asked("gus", 7, home.solution)])
        with pytest.raises(RefusedError, match=r"the checks could not run(.|\n)*nothing_of_the_kind"):
            judging.result(broken, broken.asked[0])
        assert not judging.has_ended

        home.checks.write_text(home.checks.read_text().replace("import nothing_of_the_kind\n", ""))
        (warm,) = [pid for pid, said in below(judging._process.pid).items() if "grader.engine.answerer" in said]
        os.kill(warm, signal.SIGKILL)
        last = Batch(ID, [Asked("hal", 7, home.solution)])
        with pytest.raises(ServerError, match="the answering process has ended"):
            judging.result(last, last.asked[0])
        until(lambda: judging.has_ended, "it ends with it")
    finally:
        judging.close()


def test_what_is_to_be_hidden_is_not_there_where_a_cage_may_read(home, in_view):
    """A course below the environment: nobody reads what others handed in."""
    other = in_view / "submitted" / "bob.py"
    other.parent.mkdir()
    other.write_text("secret = 1\n")
    reads = f"try:\n    open({str(other)!r})\nexcept OSError:\n    pass\nelse:\n    raise RuntimeError('it is there')\n"
    scores = []
    for hidden in ([], [in_view]):
        judging = Judging(home.root, "process", 1, hidden)
        try:
            batch = Batch(ID, [Asked("ann", 7, home.solution + reads)])
            result = judging.result(batch, batch.asked[0])
        finally:
            judging.close()
        if result.isolation == "process":
            pytest.skip("this machine hides nothing")
        scores.append(result.score)
    assert scores == [0, 100]


def test_it_ends_with_who_asked(home):
    """Whatever it is at: here at a submission that takes for ever."""
    judging = Judging(home.root, "process", 1)
    try:
        batch = Batch(ID, [Asked("ann", 7, home.solution), Asked("bob", 7, "while True: pass\n")])
        judging.announce(batch)
        assert judging.result(batch, batch.asked[0]).score == 100
        judging._to_say.put(b"")  # its writer ends, and is the last who holds the pipe
        judging._process.stdin.close()
        until(lambda: judging.has_ended, "it has seen that nobody asks")
    finally:
        judging.close()
