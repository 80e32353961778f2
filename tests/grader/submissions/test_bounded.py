"""What reads text of strangers comes to an end, whatever the text is, and costs one submission at most."""

import faulthandler
import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.submissions import bounded
from grader.submissions.find import Handed, read_all

EXERCISE = House(HERE / "house").exercises[ID]
RIGHT = EXERCISE.solution.read_text(encoding="utf-8")


def answers(work, given, kind=int):
    return list(bounded.each(work, given, kind, lambda one, said: said))


def test_each_is_worked_through_in_order_in_one_process(monkeypatch):
    forks = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())
    assert answers(lambda n: n * n, list(range(200))) == [n * n for n in range(200)]
    assert len(forks) == 1


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 0.3)
    monkeypatch.setattr(bounded, "_WALL_SECONDS", 20.0)


def spin(n):
    while n == 3:
        pass
    return n


def spin_in_c(n):
    return sum(range(10**12)) if n == 3 else n


def die(n):
    if n == 3:
        faulthandler.disable()  # pytest's own would print where it was
        os.kill(os.getpid(), signal.SIGSEGV)
    return n


def leave(n):
    if n == 3:
        os._exit(0)
    return n


def fill(n):
    return len(bytearray(bounded.MEMORY_MB << 21)) if n == 3 else n


@pytest.mark.parametrize(
    ("work", "says"),
    [(spin, "cannot be read within 0.3 s"), (spin_in_c, "cannot be read within 0.3 s"),
     (die, "cannot be read: Python ended over it with SIGSEGV"),
     (leave, "cannot be read: Python ended over it with exit code 0"),
     (fill, "cannot be read: Python ended over it with exit code 1")],
)  # fmt: skip
def test_what_comes_to_no_end_costs_itself_alone(brief, work, says):
    assert answers(work, list(range(6))) == [0, 1, 2, says, 4, 5]


def test_a_process_that_was_killed_by_somebody_is_asked_again(tmp_path):
    def work(n):
        mark = tmp_path / "killed"
        if n == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    assert answers(work, list(range(6))) == list(range(6))


def test_a_disk_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(bounded, "_WALL_SECONDS", 0.3)

    def work(n):
        while n == 1:
            signal.pause()
        return n

    assert answers(work, [0, 1, 2])[1].startswith("cannot be read within 0.3 s: the disk")


def test_who_stops_asking_leaves_no_process():
    before = children()
    asked = bounded.each(lambda n: n, list(range(10**5)), int, lambda one, said: said)
    assert next(asked) == 0
    assert children() > before
    asked.close()
    assert children() == before


def children():
    """The processes that this one has, those of other tests with them."""
    folder = Path("/proc/self/task")
    return {pid for task in folder.iterdir() for pid in (task / "children").read_text().split()}


def test_a_machine_that_refuses_a_process(monkeypatch):
    def refused():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(HouseError, match="no process to read submissions could be started"):
        answers(lambda n: n, [1])


# ---- submissions

COLLIDING = ",".join(f"{k}*(2**61-1)" for k in range(1, 60_000))
LITERALS = ",".join(str(k * (2**61 - 1)) for k in range(1, 40_000))
CHAIN = "\n".join(f"def f{i}():\n    return f{i + 1}()\nx{i} = f{i}" for i in range(15_000))


def notebook(*sources):
    return json.dumps({"cells": [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]})


@pytest.mark.parametrize(
    "name", ["running_mean.py", f"{ID}.ipynb"], ids=["script", "notebook"]
)  # fmt: skip
@pytest.mark.parametrize(
    "hostile",
    [f"x = [{LITERALS}]", f"x = {{{LITERALS}}}", f"x = ({COLLIDING})", CHAIN, "x = " + "(" * 150_000,
     "x = " + "-" * 900_000 + "1", "x = " + "+".join(["1"] * 300_000), "x = " + "a." * 400_000 + "b",
     "x = " + "[" * 95 + "]" * 95, "if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 99)) + " " * 99 + "pass",
     "f'" + "{x:" * 100_000, "x" * 900_000, "x=1;" * 200_000, "\\\n" * 400_000, "@a\n" * 200_000, "\0" * 900_000,
     "lambda:" * 100_000 + "1", "\ufeff" * 1000, "9" * 900_000, "x = '" + "\\N{BULLET}" * 80_000 + "'"],
    ids=range(20),
)  # fmt: skip
def test_hostile_text_is_read_or_refused_and_the_next_one_is_read(name, hostile, tmp_path, monkeypatch):
    """In time that is bounded: processor time, of the reading process."""
    monkeypatch.setattr(bounded, "SECONDS", 1)
    for student, text in (("eve", hostile), ("zoe", RIGHT)):
        (tmp_path / student).mkdir()
        text = notebook(text) if name.endswith(".ipynb") else text
        (tmp_path / student / name).write_text(text, encoding="utf-8")
    before = os.times()
    eve, zoe = read_all([Handed(student, EXERCISE, tmp_path / student) for student in ("eve", "zoe")])
    after = os.times()
    assert zoe.problem == ""
    assert "def batch_mean" in zoe.text
    assert bool(eve.problem) != bool(eve.text)
    assert after.children_user - before.children_user < 10
    assert after.user - before.user < 3


@pytest.mark.parametrize("name", [b"k\xff.py", b"\xff\xfe.ipynb", b"\x1b[31m.py", "‮yp.x.py".encode(), b"a\nb.ipynb"])
def test_names_are_bytes_of_a_file_system(name, tmp_path):
    (tmp_path / os.fsdecode(name)).write_text("a = 1")
    (one,) = read_all([Handed("eve", EXERCISE, tmp_path)])
    assert one.problem.startswith("neither running_mean.py nor")
    assert one.problem.isprintable()
    assert one.source == one.source.encode().decode()


@settings(max_examples=25)
@given(st.binary(max_size=200), st.sampled_from(["running_mean.py", f"{ID}.ipynb", "KV_Cache.ipynb"]))
def test_any_bytes_are_text_or_a_sentence(tmp_path_factory, data, name):
    place = tmp_path_factory.mktemp("any")
    (place / name).write_bytes(data)
    (one,) = read_all([Handed("eve", EXERCISE, place)])
    assert one.problem or isinstance(one.text, str)
    one.text.encode()
    one.problem.encode()


def test_a_batch_of_forty_costs_one_process(tmp_path, monkeypatch):
    forks, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())
    (tmp_path / "running_mean.py").write_text(RIGHT, encoding="utf-8")
    began = time.process_time()
    assert not any(one.problem for one in read_all([Handed(str(i), EXERCISE, tmp_path) for i in range(40)]))
    assert len(forks) == 1
    assert time.process_time() - began < 5
