"""What ends an answerer costs its own part, under its own name and with the number that was passed. Nothing survives.

Run as a script this file is the grader's side: it judges the submissions below and prints the verdicts, and what
is left.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shared import grants_namespaces, once, refuse_namespaces, said

HERE = Path(__file__).resolve().parents[1]
ID = "dl_901_running_mean"
MARK = f"survivor-{os.getpid()}"
MEMORY_MB = 300
CHECK_SECONDS = 1.5

PRELUDE = """
import contextlib, ctypes, gc, mmap, os, signal, socket, struct, subprocess, sys, threading, time
MARK = {mark!r}

def frame(body):
    os.write(3, struct.pack(">I", len(body)) + body)

def reply(value):
    from grader.answering import wire
    caller = sys._getframe()
    while "number" not in caller.f_locals:  # the number of the question, where the honest reply takes it from
        caller = caller.f_back
    frame(wire.pack({"number": caller.f_locals["number"], **value} if isinstance(value, dict) else value))
"""

# Name: (what `batch_mean` does first, then verdict and message of its part). The other part does not use it.
LIMITS = {
    "a loop in Python": ("while True: pass", "timeout", "still running after 1.5 s"),
    "a loop that swallows interrupts": (
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout", "still running after 1.5 s",
    ),
    "a loop in C": ("sum(range(10**12))", "timeout", "still running after 1.5 s"),
    "a loop in torch": (
        "torch.matrix_power(torch.ones(1200, 1200).double(), (1 << 60) - 1)", "timeout", "still running after 1.5 s",
    ),
    "a stop": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", "still running after 1.5 s"),
    "memory in Python at once": ("bytearray(2 << 30)", "memory", "300 MB"),
    "memory in Python piece by piece": (
        "kept = []\n    while True: kept.append(bytearray(1 << 20))", "memory", "300 MB",
    ),
    "memory in torch at once": ("torch.empty(1 << 32)", "memory", "300 MB"),
    "memory in torch piece by piece": (
        "kept = []\n    while True: kept.append(torch.ones(1 << 20))", "memory", "300 MB",
    ),
    "memory that is shared": (
        "kept = []\n    for i in range(1000):\n        kept.append(mmap.mmap(-1, 1 << 23))\n"
        "        kept[-1].write(b'x' * (1 << 23))\n    time.sleep(60)",
        "memory", "more than 300 MB of memory",
    ),
    "memory in children": (
        "for _ in range(4):\n        if os.fork() == 0:\n            kept = bytearray(150 << 20)\n"
        "            time.sleep(60)\n    time.sleep(60)",
        "memory", "more than 300 MB of memory",
    ),
    "memory in orphans": (
        "for _ in range(2):\n        if os.fork() == 0:\n            if os.fork() == 0:\n"
        "                kept = bytearray(b'x') * (180 << 20)\n                time.sleep(60)\n"
        "            os._exit(0)\n"
        "    time.sleep(60)",
        "memory", "more than 300 MB of memory",
    ),
    "output from Python": ("while True: print('x' * 1000)", "output limit", "more than 1,048,576 bytes printed"),
    "output past Python": (
        "while True: os.write(2, b'x' * 1000)", "output limit", "more than 1,048,576 bytes printed",
    ),
    "output of a program": ("subprocess.run(['/usr/bin/yes'])", "output limit", "more than 1,048,576 bytes printed"),
}  # fmt: skip
ENDS = {
    "a segmentation fault": ("ctypes.string_at(0)", "crashed", "ended by SIGSEGV"),
    "an abort": ("os.abort()", "crashed", "ended by SIGABRT"),
    "a kill": ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", "ended by SIGKILL"),
    "a division by zero in C": ("os.kill(os.getpid(), signal.SIGFPE)", "crashed", "ended by SIGFPE"),
    "an exit": ("os._exit(3)", "crashed", "exit code 3"),
    "an exit that looks fine": ("os._exit(0)", "crashed", "exit code 0"),
    "an exit that Python sees": ("sys.exit(0)", "error", "the code called sys.exit(0)"),
    "an exit in a thread": (
        "threading.Thread(target=os._exit, args=(7,)).start()\n    time.sleep(60)", "crashed", "exit code 7",
    ),
    "an interrupt": ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    "the end of a generator": ("raise GeneratorExit", "error", "GeneratorExit"),
    "a recursion": ("f = lambda: f()\n    f()", "error", "RecursionError"),
    "a full disk": (
        "with open('large', 'wb') as file:\n        while True: file.write(bytes(1 << 20))", "error", "OSError",
    ),
    "descriptors": ("kept = [open('/dev/null') for _ in range(10000)]", "error", "Too many open files"),
}  # fmt: skip
FORGED = {
    "random bytes": ("frame(b'rubbish')\n    time.sleep(60)", "error", "cannot be read"),
    "no frame at all": (
        "os.write(3, b'GET / HTTP/1.1\\r\\n\\r\\n' * 9)\n    time.sleep(60)", "error", "cannot be read",
    ),
    "a frame of 4 GB announced": (
        "os.write(3, b'\\xff\\xff\\xff\\xff')\n    time.sleep(60)", "error", "4,294,967,295 bytes",
    ),
    "a frame that is cut short": ("os.write(3, b'\\0\\0\\1\\0half')\n    os._exit(0)", "error", "ended after 4"),
    "half a length": ("os.write(3, b'\\0\\0')\n    os._exit(0)", "error", "within its length"),
    "a verdict": ("reply({'passed': True})", "wrong", "forged"),
    "a verdict beside a value": ("reply({'value': 1.0, 'verdict': 'passed'})", "wrong", "forged"),
    "a list": ("reply([1, 2, 3])", "wrong", "forged"),
    "an exception that passes": (
        "reply({'raised': {'kind': 'Unusable', 'base': 'Unusable', 'said': '', 'lines': [], 'own': True,"
        " 'verdict': 'passed'}})",
        "error", "",
    ),
    "an exception that skips": (
        "reply({'raised': {'kind': 'Skipped', 'base': 'Skipped', 'said': 'skip', 'lines': [], 'own': True}})",
        "error", "skip",
    ),
    "an exception that ends the asker": (
        "reply({'raised': {'kind': 'SystemExit', 'base': 'SystemExit', 'said': '0', 'lines': [], 'own': True}})",
        "error", "",
    ),
    "an exception of many lines": (
        "reply({'raised': {'kind': 'A', 'base': 'ValueError', 'said': '', 'lines': [-5, 10**6], 'own': True}})",
        "error", "",
    ),
    "a line that no file has": (
        "reply({'raised': {'kind': 'A', 'base': 'ValueError', 'said': '', 'lines': [1 << 80], 'own': True}})",
        "wrong", "forged",
    ),
    "a value of another shape": ("reply({'value': torch.zeros(7)})", "wrong", "shape"),
    "a value of a broadcast": ("reply({'value': torch.zeros(())})", "wrong", "shape"),
    "a closed socket": ("os.close(3)\n    time.sleep(60)", "timeout", "still running after 1.5 s"),
    "a socket shut down": (
        "socket.socket(fileno=os.dup(3)).shutdown(socket.SHUT_RDWR)\n    time.sleep(60)",
        "timeout", "still running after 1.5 s",
    ),
    "a socket replaced": ("os.dup2(os.open('/dev/null', os.O_RDWR), 3)", "crashed", "exit code 1"),
}  # fmt: skip
# What goes on behind a right answer: it costs nothing, and ends with the part.
LEFT = {
    "a daemon": (
        "if os.fork() == 0:\n        with contextlib.suppress(OSError): os.setsid()\n"
        "        if os.fork(): os._exit(0)\n        os.closerange(0, 64)\n        while True: time.sleep(1000)"
    ),
    "a daemon of an ended process": (
        "if os.fork() == 0:\n        with contextlib.suppress(OSError): os.setsid()\n"
        "        os.closerange(0, 64)\n        while True: time.sleep(1000)\n    os._exit(0)"
    ),
    "a thread": "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "a program": "subprocess.Popen(['/usr/bin/sleep', '1000'], start_new_session=len(MARK) < 0)",
    "files": (
        "for folder in ('.', '/tmp', '/dev/shm', '/var/tmp'):\n        with contextlib.suppress(OSError):\n"
        "            os.makedirs(f'{folder}/{MARK}/deep/er', exist_ok=True)\n"
        "            open(f'{folder}/{MARK}/deep/file', 'w').write('left')\n"
        "            os.chmod(f'{folder}/{MARK}', 0)"
    ),
    "a link": "with contextlib.suppress(OSError): os.symlink('/', MARK)",
    "a shared segment": "ctypes.CDLL(None).shmget(0x5EC2E8, 4096, 0o1666)",
    "an abstract socket": (
        "with contextlib.suppress(OSError):\n        global server\n"
        "        server = socket.socket(socket.AF_UNIX)\n        server.bind('\\0' + MARK)\n        server.listen()"
    ),
    "a signal handler": "for number in (1, 2, 3, 15): signal.signal(number, signal.SIG_IGN)",
}
ENDED_BY_ITSELF = {"a daemon of an ended process"}


IMPORTING = "pass\n\n\nwhile True: pass\n\n\ndef unused(x):"


def submission(code, mark):
    """A right answer that does something else first. Its second part stands alone."""
    text = (HERE / "house" / "solutions" / ID / "running_mean.py").read_text(encoding="utf-8")
    for find, put in (
        ("import torch\n", "import torch\n" + PRELUDE.replace("{mark!r}", repr(mark))),
        ("    if len(x) == 0:", f"    {code}\n    if len(x) == 0:"),
        ("self.mean + (batch_mean(x) - self.mean) * len(x) / self.count", "self.total / self.count"),
        ("self.count += len(x)", "self.count += len(x); self.total = self.total + x.sum(0)"),
        ("self.count = 0", "self.count = self.total = 0"),
    ):
        assert text.count(find) == 1, find
        text = text.replace(find, put)
    return text


# The grader's side


def graded(folder, level, mark):
    """Every verdict, and what is left when all is over."""
    from grader.bank.catalog import House
    from grader.engine.batch import Engine
    from grader.submissions.find import Submission

    if level == "landlock":
        refuse_namespaces()
    # Whatever outlives its parents becomes a child of this process.
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    shutil.copytree(HERE / "house", folder / "house", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    facts = folder / "house" / "exercises" / ID / "exercise.toml"
    limits = re.compile(r"\[limits\]\n(\w.*\n)*")
    text = facts.read_text()
    assert limits.search(text)
    cases = {name: code for name, (code, *_) in (LIMITS | ENDS | FORGED).items()} | LEFT | {"nothing": "pass"}
    if level == "landlock":  # the clock is the same
        cases = {name: code for name, code in cases.items() if "loop" not in name}
    results = {}

    def keep(result):
        parts = [[part.verdict, part.message, [c.verdict for c in part.checks]] for part in result.parts]
        results[result.student] = {"score": result.score, "isolation": result.isolation, "parts": parts}

    with Engine([]) as engine:

        def judge(limited, cases):
            facts.write_text(limits.sub(f"[limits]\n{limited}\n", text))
            house = House(folder / "house")
            submissions = [Submission(name, ID, submission(code, mark)) for name, code in cases.items()]
            engine.judge(house, house.exercises[ID], submissions, seed_of=lambda one: 7, jobs=2, keep=keep)

        hang = {name for name, (_, verdict, _) in (LIMITS | FORGED).items() if verdict == "timeout"}
        clocked = {name: code for name, code in cases.items() if name in hang}
        clocked |= {"a loop at import": IMPORTING} if level == "full" else {}
        judge(f"check_seconds = {CHECK_SECONDS}", clocked)
        # For the others the clock of a busy machine should not come first.
        others = {name: code for name, code in cases.items() if name not in hang}
        judge(f"check_seconds = 30\nmemory_mb = {MEMORY_MB}", others)
        judge("check_seconds = 20\nexercise_seconds = 1", {"CPU time": "while True: pass"})
    return {"results": results, "left": left(folder, mark)}


def left(folder, mark):
    """What has survived the engine: processes, files, segments and sockets."""
    signal.alarm(300)  # ends this process where somebody never ends
    ended = 0
    try:
        while True:
            os.wait()
            ended += 1
    except ChildProcessError:
        signal.alarm(0)
    found = subprocess.run(
        ["find", "/tmp", "/dev/shm", "/var/tmp", "-name", f"{mark}*"], capture_output=True, text=True
    )
    return {
        "files": found.stdout.split(),
        # torch makes a folder for its compiler's cache as soon as that is imported, here in the grader's own process
        "temporary": sorted(path.name for path in (folder / "tmp").iterdir() if "torchinductor" not in path.name),
        "segments": [line for line in Path("/proc/sysvipc/shm").read_text().splitlines() if str(0x5EC2E8) in line],
        "sockets": [line for line in Path("/proc/net/unix").read_text().splitlines() if mark in line],
    }


# The tests' side


@pytest.fixture(scope="module", params=["full", "landlock"])
def level(request):
    if request.param == "full" and not grants_namespaces():
        pytest.skip("this machine refuses namespaces")
    return request.param


@pytest.fixture(scope="module")
def shown(level, tmp_path_factory):
    """What `graded` says at a level."""

    def work():
        folder = tmp_path_factory.mktemp("channel")
        (folder / "tmp").mkdir()
        return said([sys.executable, str(Path(__file__)), str(folder), level, MARK], folder / "tmp")

    return once(tmp_path_factory, f"channel {level}", work)


@pytest.fixture
def result(request, shown):
    """What became of one submission."""
    if request.param not in shown["results"]:
        pytest.skip("judged at level full only")
    return shown["results"][request.param]


def test_each_submission_has_a_result_at_its_level(shown, level):
    assert {one["isolation"] for one in shown["results"].values()} == {level}
    assert len(shown["results"]) > len(ENDS | FORGED | LEFT)


@pytest.mark.parametrize(
    ("result", "verdict", "message"),
    [pytest.param(name, *want, id=name) for name, (_, *want) in (LIMITS | ENDS | FORGED).items()],
    indirect=["result"],
)
def test_what_ends_a_part_is_named_and_costs_this_part_alone(result, verdict, message):
    first, second = result["parts"]
    assert first[0] == verdict, first
    assert message in first[1], first
    assert "passed" not in first[2] or verdict != "crashed"
    assert second[0] == "passed", second
    assert result["score"] == 70


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ("a loop in Python", "while True: pass"),
        ("a loop in C", "sum(range(10**12))"),
        ("a loop in torch", "torch.matrix_power(torch.ones(1200, 1200).double(), (1 << 60) - 1)"),
    ],
    indirect=["result"],
)
def test_a_timeout_says_where_the_code_stood(result, line):
    said = result["parts"][0][1].splitlines()
    assert re.fullmatch(r"  running_mean\.py:\d+ in batch_mean", said[1])
    assert said[2:] == [f"      {line}"]


@pytest.mark.parametrize("result", ["a loop at import"], indirect=True)
def test_a_file_whose_import_does_not_end_is_imported_once(result):
    assert [part[0] for part in result["parts"]] == ["timeout", "timeout"]
    for _, message, _ in result["parts"]:
        said = message.splitlines()
        assert said[0] == "importing running_mean.py did not end after 1.5 s"
        assert re.fullmatch(r"  running_mean\.py:\d+ in the module", said[1])
        assert said[2:] == ["      while True: pass"]


@pytest.mark.parametrize("result", ["CPU time"], indirect=True)
def test_cpu_time_beyond_the_limit_is_a_timeout_with_its_number(result):
    assert result["parts"][0][0] == "timeout"
    assert "more than 1 s of CPU" in result["parts"][0][1]
    assert result["score"] == 70


@pytest.mark.parametrize("result", [*sorted(LEFT.keys() - ENDED_BY_ITSELF), "nothing"], indirect=True)
def test_what_is_left_behind_costs_nothing(result):
    assert result["score"] == 100, result


@pytest.mark.parametrize("result", sorted(ENDED_BY_ITSELF), indirect=True)
def test_who_ends_and_leaves_a_daemon_has_ended(result):
    assert result["parts"][0][0] == "crashed"
    assert result["score"] == 70


@pytest.mark.parametrize("kind", ["files", "temporary", "segments", "sockets"])
def test_nothing_survives(shown, kind):
    assert shown["left"][kind] == []


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    print(json.dumps(graded(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
