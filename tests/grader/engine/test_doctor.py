"""What `grader doctor` says of a machine, and what it advises where a level is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from shared import PATIENCE

from conftest import environment
from grader.engine import cage, doctor
from grader.engine.cage import Level


def of(name, found):
    (fact,) = [fact for fact in found if fact.name == name]
    return fact


def test_it_says_what_this_machine_gives(home):
    done = home.grader("doctor", "--json")
    found = {fact["name"]: fact for fact in json.loads(done.out)}
    assert found["isolation"]["value"].split(";")[0] == cage.best_level()
    assert found["torch"]["value"].startswith("2.")
    assert done.code == int(any(fact["todo"] for fact in found.values()))
    assert {"processes of a submission", "memory of a submission", "processors of a submission"} <= found.keys()
    assert "session" not in done.out, "the word of the record, which says nothing to a teacher"


@pytest.mark.parametrize("columns", ["60", "80"])
def test_it_fits_the_terminal(home, columns):
    done = home.grader("doctor", COLUMNS=columns)
    assert done.out.startswith("Python ")
    assert max(map(len, done.out.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("level", "said", "todo"),
    [
        (Level.FULL, "", ""),
        (Level.LANDLOCK, "unshare: Operation not permitted", "Allow namespaces"),
        (Level.LANDLOCK, "mount /proc: Operation not permitted", "see all of /proc"),
        (Level.LANDLOCK, "loopback: Operation not permitted", "NET_ADMIN"),
        (Level.LANDLOCK, "no such device: Operation not permitted", "what each level needs"),
        (Level.PROCESS, "this kernel has no Landlock", "Linux 5.13 or newer"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one level")
def test_a_level_that_is_refused_comes_with_advice(monkeypatch, level, said, todo):
    monkeypatch.setattr(cage, "best_level", lambda: level)
    monkeypatch.setattr(cage, "why_not", lambda stronger: said)
    fact = of("isolation", doctor.facts())
    stronger = Level.FULL if level is Level.LANDLOCK else Level.LANDLOCK
    assert fact.value == (f"{level}; {stronger} is refused: {said}" if said else level)
    assert todo in fact.todo
    assert bool(fact.todo) == bool(said)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts")
def test_what_the_machine_says_is_handed_on():
    def refuse():
        raise OSError(1, "mount /proc: Operation not permitted")

    assert cage._refused(refuse) == "mount /proc: Operation not permitted"
    assert cage._refused(lambda: None) == ""
    assert cage._refused(lambda: sys.exit(3)) == "3"
    assert cage._refused(lambda: 1 / 0) == "division by zero"
    killed = cage._refused(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert killed == "the process that tried it was killed"


def test_little_memory_and_an_unknown_python_come_with_advice(monkeypatch):
    monkeypatch.setattr(doctor.doubt, "available_mb", lambda: 1500)
    monkeypatch.setattr(doctor, "_PYTHONS", ((3, 8), (3, 9)))
    found = list(doctor.facts())
    assert (of("memory", found).value, "--jobs" in of("memory", found).todo) == ("1.5 GiB free", True)
    assert of("Python", found).todo == "Take Python 3.8 to 3.9."


def isolation_in(home, *command):
    """What `grader doctor` says of isolation, under a command that takes something away."""
    done = subprocess.run(
        [*command, sys.executable, "-m", "grader", "doctor", "--json"], cwd=home.root, env=environment(),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    (fact,) = [fact for fact in json.loads(done.stdout) if fact["name"] == "isolation"]
    return fact["value"]


like_a_container = pytest.mark.skipif(
    not shutil.which("setpriv") or os.geteuid() != 0 or cage.best_level() is not Level.FULL,
    reason="takes away what only root has, from a level that not every machine grants",
)


@like_a_container
@pytest.mark.parametrize(("lost", "said"), [("sys_admin", "unshare: Oper"), ("net_admin", "loopback: Oper")])
def test_root_of_a_container_without_a_capability(home, lost, said):
    found = isolation_in(home, "setpriv", f"--bounding-set=-{lost}", f"--inh-caps=-{lost}")
    assert found.startswith(f"landlock; full is refused: {said}")


@like_a_container
def test_a_container_that_hides_a_part_of_proc(home):
    hidden = "mount --bind /dev/null /proc/timer_list || mount --bind /dev/null /proc/keys"
    user = "setpriv --reuid=12345 --regid=12345 --clear-groups"
    found = isolation_in(home, "unshare", "-m", "sh", "-c", f'{hidden}; exec {user} "$@"', "sh")
    assert found.startswith("landlock; full is refused: mount /proc: Oper")
    assert isolation_in(home, "unshare", "-m", "sh", "-c", f'{hidden}; exec "$@"', "sh") == "full", "as root"
