"""A cage has its own share: what others do on the machine changes no verdict, and what the machine does is its own.

Run as a script this file is the graders' side: two of them beside each other, one with hostile submissions and one with
honest ones; or one whose processes are killed from outside.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from shared import NOBODY, PATIENCE, WAYS, grants_namespaces, in_reach, once, refuse_namespaces, said

from grader.base import fair
from grader.engine import doubt, share
from grader.verdicts.raised import Raised
from grader.verdicts.verdict import Verdict

HERE = Path(__file__).resolve().parents[1]
REPOSITORY = HERE.parents[1]
ID = "dl_901_running_mean"

# Right, in many processes and threads at once: each call is as hungry as ranks are.
BUSY = """
import os
import threading


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    pids, ends = [], []
    for _ in range(12):
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(told, b"here")
            os._exit(0)
        os.close(told)
        pids.append(pid)
        ends.append(heard)
    threads = [threading.Thread(target=len, args=((),)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pid, heard in zip(pids, ends):
        assert os.read(heard, 4) == b"here"
        os.close(heard)
        os.waitpid(pid, 0)
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.total, self.count = 0, 0

    def update(self, x):
        self.total, self.count = self.total + batch_mean(x) * len(x), self.count + len(x)
        return self.total / self.count
"""
WRONG = BUSY.replace("return self.total / self.count", "return self.total")
HONEST = {"right": BUSY, "wrong": WRONG}

HOSTILE = {
    "sleepers": "for _ in range(64):\n        if os.fork() == 0: time.sleep(300)",
    "sleeping threads": "while True: threading.Thread(target=time.sleep, args=(300,), daemon=True).start()",
    "daemons": "for _ in range(60):\n        if os.fork() == 0:\n            if os.fork() == 0: time.sleep(300)\n"
    "            os._exit(0)",
    "spinners": "for _ in range(57):\n        if os.fork() == 0:\n            while True: pass",
    "spinning threads": "def spin():\n        while True: pass\n"
    "    for _ in range(50): threading.Thread(target=spin, daemon=True).start()",
    "memory": "kept = []\n    for _ in range(14): kept.append(bytearray(os.urandom(1) * (64 << 20)))",
    "a fork bomb": "while True: os.fork()",
}


def hostile(code):
    """A submission that does something first, whatever comes of it, and then waits for its end."""
    return (
        "import os, threading, time\n\ndef batch_mean(x):\n    pass\n\nclass RunningMean:\n    pass\n\n"
        f"def _act():\n    {code}\n\ntry:\n    _act()\nexcept BaseException:\n    pass\ntime.sleep(60)\n"
    )


# The graders' side


def judged(house, texts, jobs):
    """One batch in an engine of its own: student to what became of it."""
    from grader.bank.catalog import House
    from grader.engine.batch import Engine
    from grader.submissions.find import Submission

    found, exercise = {}, House(house).exercises[ID]

    def keep(result):
        parts = {part.name: [part.verdict, part.message] for part in result.parts}
        found[result.student] = {"parts": parts, "isolation": result.isolation, "means": result.means}

    with Engine([exercise]) as engine:
        submissions = [Submission(name, ID, text) for name, text in texts.items()]
        engine.judge(House(house), exercise, submissions, seed_of=lambda one: 7, jobs=jobs, keep=keep)
    return found


def beside(folder, refuse):
    """What two graders say that run at the same time."""
    if refuse:
        refuse_namespaces()
    shutil.copytree(HERE / "house", folder / "house", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    heard, told = os.pipe()
    attacker = os.fork()
    if attacker == 0:
        try:
            os.close(heard)
            texts = {name: hostile(code) for name, code in HOSTILE.items()}
            texts |= {f"{name} among them": text for name, text in HONEST.items()}
            os.write(told, json.dumps(judged(folder / "house", texts, jobs=3)).encode())
        finally:
            os._exit(0)
    os.close(told)
    rounds = []
    while len(rounds) < 2 or not os.waitpid(attacker, os.WNOHANG)[0]:
        rounds.append(judged(folder / "house", HONEST, jobs=1))
    with os.fdopen(heard) as pipe:
        return {"honest": rounds, "hostile": json.loads(pipe.read()), "uid": os.getuid()}


OWN = f"victim{os.getpid()}"
"""The name of a process to kill: of this run alone, for another may go on beside it. It is 15 bytes at most."""
REST = f"left{os.getpid()}"
VICTIM = """
import ctypes, os, sys, time
from grader.ranks import on_ranks


def mark(name):
    ctypes.CDLL(None).prctl(15, name, 0, 0, 0)


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.total, self.count = 0, 0

    def update(self, x):
        ACT
        self.total, self.count = self.total + x.sum(0), self.count + len(x)
        return self.total / self.count
"""
RANK = (
    f"def work(rank):\n            mark(b'{OWN}-%d' % rank)\n            time.sleep(4)\n"
    "        self.count or on_ranks(sys.modules[__name__], 2, work, 60)"
)
# Each stays for so long that whoever looks for it finds it on a busy machine, too.
VICTIMS = {
    "a rank": (VICTIM.replace("ACT", RANK), f"{OWN}-1"),
    "the answerer": (VICTIM.replace("ACT", f"mark(b'{OWN}'); time.sleep(0 if self.count else 4)"), OWN),
}


def killed(folder, refuse):
    """What becomes of right submissions one of whose processes somebody kills, once."""
    shutil.copytree(HERE / "house", folder / "house", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    facts = folder / "house" / "exercises" / ID / "exercise.toml"
    facts.write_text(facts.read_text().replace("check_seconds = 2", "check_seconds = 60"))
    found = {}
    for name, (text, process) in VICTIMS.items():
        killer = os.fork()
        if killer == 0:
            _kill_one(process)
        found |= judged(folder / "house", {name: text}, jobs=1)
        os.kill(killer, signal.SIGKILL)
        found[name]["killed"] = os.waitstatus_to_exitcode(os.waitpid(killer, 0)[1]) == 0
    return {"found": found, "uid": os.getuid()}


LEFT = f"mark(b'{REST}' if os.fork() == 0 else b'{OWN}'); time.sleep(300)"


def widowed(folder, refuse):
    """Which processes of a submission that never ends live on, where somebody kills its keeper."""
    if refuse:
        refuse_namespaces()
    shutil.copytree(HERE / "house", folder / "house", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    killer = os.fork()
    if killer == 0:
        _kill_one(OWN, above=2)  # it is a child of the first process in the cage, and that one of the keeper
    judged(folder / "house", {"endless": VICTIM.replace("ACT", LEFT)}, jobs=1)
    os.kill(killer, signal.SIGKILL)
    killed = os.waitstatus_to_exitcode(os.waitpid(killer, 0)[1]) == 0
    ends = time.monotonic() + PATIENCE
    while (left := [*_named(REST), *_named(OWN)]) and time.monotonic() < ends:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return {"killed": killed, "left": len(left)}


def _kill_one(name, above=0):
    """Kill the first process of that name below this user's, or what is so far above it; ends with it."""
    while True:
        for pid in _named(name):
            with contextlib.suppress(OSError):
                for _ in range(above):
                    pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(pid, signal.SIGKILL)
                os._exit(0)


def _named(name):
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_bytes().strip() == name.encode():
                yield int(path.parent.name)


# The tests' side


@pytest.fixture(scope="module", params=WAYS)
def two(request, tmp_path_factory):
    """What two graders beside each other said, in one of four ways to run them."""
    who, level = request.param.split()
    if who == "root" and os.getuid() != 0:
        pytest.skip("not root here")
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become = as_nobody if who == "user" and os.getuid() == 0 else []
    if level == "full" and not grants_namespaces(*become):
        pytest.skip("this machine refuses namespaces")
    shown = once(tmp_path_factory, f"shares {request.param}", lambda: asked("beside", level, become))
    assert shown["uid"] == (0 if who == "root" else NOBODY if become else os.getuid())
    return {**shown, "level": level, "who": who}


def asked(what, level, become=()):
    """What this file says as a script. become: the command that makes another user run it."""
    folder = Path(tempfile.mkdtemp(prefix="shares-test-", dir="/var/tmp"))  # pytest's own are closed to other users
    try:
        (folder / "tmp").mkdir()
        folder.chmod(0o755)
        command = [sys.executable, str(Path(__file__)), str(folder), what, level]
        if become:
            for path in (folder, folder / "tmp"):
                os.chown(path, NOBODY, NOBODY)
            command = in_reach([*become, *command], folder)
            if command[0] == "unshare" and not grants_namespaces():
                pytest.skip("the interpreter lies in a closed home, and nothing may be mounted over it")
        return said(command, folder / "tmp")
    finally:
        subprocess.run(["rm", "-rf", folder], check=False)


def verdicts(one):
    return {name: verdict for name, (verdict, _) in one["parts"].items()}


PASSED = {"batch_mean": "passed", "RunningMean": "passed"}


def test_an_honest_verdict_is_as_when_alone_whoever_grades_beside_it(two):
    for one in two["honest"]:
        assert verdicts(one["right"]) == PASSED, one["right"]
        assert verdicts(one["wrong"]) == {**PASSED, "RunningMean": "wrong"}, one["wrong"]
        assert "values" in one["wrong"]["parts"]["RunningMean"][1], one["wrong"]


def test_an_honest_verdict_is_as_when_alone_among_hostile_ones(two):
    assert verdicts(two["hostile"]["right among them"]) == PASSED, two["hostile"]["right among them"]
    assert verdicts(two["hostile"]["wrong among them"]) == {**PASSED, "RunningMean": "wrong"}


def test_what_used_up_its_own_share_is_charged_for_it(two):
    charged = {name: one for name, one in two["hostile"].items() if not name.endswith("among them")}
    assert len(charged) == len(HOSTILE)
    for name, one in charged.items():
        for verdict, message in one["parts"].values():  # on a machine that is loaded from elsewhere it may have no time
            assert verdict in {"timeout", "crashed", "error", "memory"} or message == doubt.STARVED.said, (name, one)


def test_a_result_says_what_its_share_rested_on(two):
    means = two["honest"][0]["right"]["means"]
    assert set(means) == {"processes", "memory", "processors"}
    alone = {("root", "full"): "user namespace", ("user", "full"): "user namespace", ("root", "landlock"): "uid"}
    assert means["processes"] == alone.get((two["who"], two["level"]), "keeper")


@pytest.mark.skipif(not grants_namespaces(), reason="this machine refuses namespaces")
@pytest.mark.parametrize("name", VICTIMS)
def test_what_somebody_else_killed_is_judged_again(name, tmp_path_factory):
    shown = once(tmp_path_factory, "shares killed", lambda: asked("killed", "full"))
    one = shown["found"][name]
    assert one["killed"]
    assert verdicts(one) == PASSED, one


@pytest.mark.parametrize("level", ["full", "landlock"])
def test_a_cage_ends_with_its_keeper(level):
    if level == "full" and not grants_namespaces():
        pytest.skip("this machine refuses namespaces")
    assert asked("widowed", level) == {"killed": True, "left": 0}


# What speaks for the machine


def raised(base, said):
    return Raised(kind=base, base=base, said=said, lines=[], own=True)


REFUSED = raised("BlockingIOError", "[Errno 11] Resource temporarily unavailable")


def test_a_refused_process_is_in_doubt_and_proved_where_the_grader_is_refused_too(monkeypatch):
    assert doubt.of_exception(REFUSED, 5, 100).proved is False

    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert doubt.of_exception(REFUSED, 5, 100).proved is True


def test_who_has_used_up_its_share_is_not_in_doubt():
    assert doubt.of_exception(REFUSED, share.PROCESSES, 100) is None


def test_an_error_of_the_code_is_not_in_doubt():
    assert doubt.of_exception(raised("ValueError", "rank 1 of 3: no such shard"), 5, 100) is None
    assert doubt.of_exception(raised("MemoryError", ""), 5, 100) is None


def test_want_of_memory_is_the_machines_where_it_has_less_than_the_limit(monkeypatch):
    monkeypatch.setattr(doubt, "available_mb", lambda: 99)
    assert doubt.of_exception(raised("MemoryError", ""), 5, 100).proved


@pytest.mark.parametrize(("percent", "in_doubt"), [(0.0, False), (10.0, False), (90.0, True)])
def test_a_time_that_is_over_is_in_doubt_where_the_machine_is_busy(monkeypatch, percent, in_doubt):
    monkeypatch.setattr(fair, "pressure", lambda: percent)
    found = doubt.of_timeout()
    assert (found is not None and not found.proved) == in_doubt


ENDLESS = """
import json
from pathlib import Path
from grader.bank.catalog import House
from grader.base import fair
from grader.engine import batch
from grader.submissions.find import Submission

fair.pressure = lambda: {percent}
rounds, results, judge = [], [], batch.judge

def counted(checks, variants, **more):
    rounds.append(len(variants))
    return judge(checks, variants, **more)

batch.judge = counted
house = House(Path.cwd())
exercise = house.exercises["{id}"]
right = exercise.solution.read_text()
texts = {{"ann": right.replace("return self.mean", "while True: pass"), "bob": right}}
with batch.Engine([exercise]) as engine:
    submissions = [Submission(name, exercise.id, text) for name, text in texts.items()]
    engine.judge(house, exercise, submissions, seed_of=lambda one: 7, jobs=1, keep=results.append)
print(json.dumps([[count for count in rounds if count], {{one.student: one.score for one in results}}]))
"""


@pytest.mark.parametrize(("percent", "rounds"), [(90.0, [2, 1, 1]), (0.0, [2])])
def test_an_endless_answer_is_judged_again_on_a_busy_machine_and_charged_all_the_same(home, percent, rounds):
    done = home.script(ENDLESS.format(percent=percent, id=ID))
    assert done.code == 0, done.said
    assert json.loads(done.out.splitlines()[-1]) == [rounds, {"ann": 30, "bob": 100}]


def test_a_kill_is_proved_where_the_kernel_has_killed_for_memory(monkeypatch):
    before = doubt.oom_kills()
    assert not doubt.of_kill(before).proved
    monkeypatch.setattr(doubt, "oom_kills", lambda: before + 1)
    assert doubt.of_kill(before).proved


def test_two_graders_claim_other_uids(monkeypatch, tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root has uids to give")
    monkeypatch.setattr(share.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(share.random.SystemRandom, "randint", lambda self, first, last: next(wanted))
    wanted = iter([5000])
    mine = share._claimed()
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        wanted = iter([5000, 5000, 5001])
        os.write(told, str(share._claimed()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(heard, 20)) == mine + share._UIDS


def test_a_proved_doubt_charges_nobody(home):
    from grader.engine.batch import _result
    from grader.judging.pool import Outcome, Said, Variant
    from grader.submissions.find import Submission
    from grader.verdicts.doubt import Doubt
    from grader.verdicts.result import CheckResult

    planned = {"batch_mean": ["a"], "RunningMean": ["b", "c"]}
    checks = [
        CheckResult("a", "batch_mean", Verdict.PASSED), CheckResult("b", "RunningMean", Verdict.PASSED),
        CheckResult("c", "RunningMean", Verdict.ERROR, "BlockingIOError"),
    ]  # fmt: skip
    for proved in (True, False):
        doubts = {"RunningMean": Doubt("the machine refused a process", proved)}
        outcome = Outcome(Variant("0", ""), checks, said=Said("full", {}, doubts))
        result = _result(home.exercise, Submission("ann", ID, ""), outcome, planned, "full", {})
        assert doubt.in_doubt(outcome)
        verdicts = [part.verdict for part in doubt.excused(outcome, result).parts]
        assert verdicts == [Verdict.PASSED, Verdict.GRADER_ERROR if proved else Verdict.ERROR]


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    folder, what, level = sys.argv[1:]
    work = {"beside": beside, "killed": killed, "widowed": widowed}[what]
    print(json.dumps(work(Path(folder), level == "landlock")))
