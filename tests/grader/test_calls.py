"""The calls that a cage allows are those that honest code makes, and no others.

Run as a script this file is the grader's side: it has honest code judged in cages that tell what they refuse
(watched.py). GRADER_EVERY_MUTANT=1 judges every answer of every mutants.toml, not a few solutions alone.
"""

import contextlib
import errno
import json
import os
import random
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import pyseccomp as seccomp
import pytest
from honest import NEEDS_MORE
from shared import PATIENCE, REPOSITORY, UNLIKE, grants_namespaces, in_reach, once, refuse_namespaces, said

from grader.engine import calls

HERE = Path(__file__).resolve().parent
EVERY = bool(os.environ.get("GRADER_EVERY_MUTANT"))
ID = "dl_901_running_mean"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
OWN = 4321
DONE_WITHOUT = {
    "clone3",  # libc takes clone
    "ioctl 0x40049409",  # FICLONE: `cp` copies
    "ioctl 0x540f",  # TIOCGPGRP: `bash` has no terminal
}
NOT_HIDDEN = {"socket", "chmod", "kill"}
"""What `NEEDS_MORE` needs; libc asks for a socket too, to look up a user, and reads a file instead."""
_ARCHITECTURE = seccomp.system_arch()


def answers(exercise, every):
    """Texts by name: the solution, and what mutants.toml makes of it."""
    from grader.audit.mutants import apply, read_mutants
    from grader.bank.source import read_source

    solution, file = read_source(exercise.solution), exercise.checks.parent / "mutants.toml"
    yield "solution", solution
    known = read_mutants(file)
    for change in (*known.right, *known.mutant) if every else ():
        yield change.name, apply(solution, change, file)


def graded(folder, level, every):
    """What came of it all: results, what honest.py could not do, and the calls that were refused."""
    from watched import Watched

    from grader.bank.catalog import House, find_house
    from grader.engine import batch
    from grader.engine.channel import Caged
    from grader.submissions.find import Submission

    if level == "landlock":
        refuse_namespaces()
    shutil.copytree(HERE / "house", folder / "house", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    house, results = find_house(REPOSITORY), {}
    batch.Warm = Watched
    with batch.Engine(house.exercises.values()) as engine:
        tiny = House(folder / "house").exercises[ID]
        caged = Caged(engine.control, tiny, (HERE / "honest.py").read_text())
        caged.begin(tiny.parts[1], 0)
        with contextlib.closing(caged):
            wrong = caged.ask(asked("used"))
        for exercise in house.exercises.values() if every else [house.exercises[id] for id in UNLIKE]:

            def keep(result, id=exercise.id):
                results[f"{id}: {result.student}"] = [result.score, [part.message for part in result.parts]]

            submissions = [Submission(name, exercise.id, text) for name, text in answers(exercise, every)]
            engine.judge(house, exercise, submissions, seed_of=lambda one: 7, jobs=2, keep=keep)
    return {"level": str(engine.level), "results": results, "wrong": wrong, "refused": engine.warm.refused}


def asked(function, *args):
    from grader.answering.request import Request

    return Request("call", function, False, args, {})


# What honest code makes


@pytest.fixture(scope="module", params=["full", "landlock"])
def shown(request, tmp_path_factory):
    """What `graded` says at a level; at landlock as an ordinary user, as in many containers."""
    if request.param == "full" and not grants_namespaces():
        pytest.skip("this machine refuses namespaces")
    become = NOBODY if request.param == "landlock" and os.getuid() == 0 else []

    def work():
        folder = Path(tempfile.mkdtemp(prefix="calls-test-", dir="/var/tmp"))  # pytest's own are closed to other users
        try:
            (folder / "tmp").mkdir()
            folder.chmod(0o777)
            (folder / "tmp").chmod(0o777)
            command = [*become, sys.executable, str(Path(__file__)), str(folder), request.param, *["every"][:EVERY]]
            return said(in_reach(command, folder), folder / "tmp", seconds=3600 if EVERY else PATIENCE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return {**once(tmp_path_factory, f"calls {request.param}", work), "want": request.param}


def test_honest_code_runs_at_the_level_asked_for(shown):
    assert shown["level"] == shown["want"]


def test_honest_code_is_refused_no_call_but_those_that_it_can_do_without(shown):
    refused = {_called(name, arguments) for name, arguments in shown["refused"]}
    assert refused <= DONE_WITHOUT | (set() if shown["want"] == "full" else NOT_HIDDEN)


def test_honest_code_does_what_it_should(shown):
    assert sorted(shown["wrong"]) == (sorted(NEEDS_MORE) if shown["want"] == "landlock" else []), shown["wrong"]


def test_solutions_earn_all_but_what_needs_a_loopback(shown):
    for name, (score, messages) in shown["results"].items():
        if name.endswith(": solution"):
            assert score == 100 or any("without a loopback" in said for said in messages), (name, messages)


def _called(name, arguments):
    return f"{name} {arguments[1]:#x}" if name == "ioctl" else name


# The list and the program that the kernel runs


def verdict(program, number, arguments, architecture=None):
    """What a program says of one call: classic BPF, as the kernel runs it."""
    data = struct.pack("=iIQ6Q", number, architecture or _ARCHITECTURE, 0, *arguments)
    steps, at, held = list(struct.iter_unpack("=HBBI", program)), 0, 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x20:
            held = int.from_bytes(data[k : k + 4], sys.byteorder)
        elif code == 0x54:
            held &= k
        elif code == 0x05:
            at += k
        else:
            at += yes if {0x15: held == k, 0x25: held > k, 0x35: held >= k, 0x45: bool(held & k)}[code] else no


def program(hidden):
    return calls.for_process(calls.program(hidden=hidden), OWN)


def is_allowed(hidden, name, *arguments):
    number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
    if number < 0:
        pytest.skip(f"this architecture has no {name}")
    return verdict(program(hidden), number, [*arguments, *[0] * (6 - len(arguments))]) == seccomp.ALLOW


def meets(ways, arguments):
    return any(all(arguments[at] & bits == value for at, bits, value in way) for way in ways)


def tried(ways):
    """Arguments that meet each way, with anything in the bits that nobody looks at, and such that miss it by a bit."""
    draw = random.Random(7)
    yield [draw.getrandbits(64) for _ in range(6)]
    for way in ways:
        met = [draw.getrandbits(64) for _ in range(6)]
        for at, bits, value in way:
            met[at] = met[at] & ~bits | value
        yield met
        for at, bits, _ in way:
            for bit in range(64):
                if bits >> bit & 1:
                    yield [argument ^ 1 << bit if i == at else argument for i, argument in enumerate(met)]


@pytest.mark.parametrize("hidden", [True, False])
def test_the_program_says_what_the_list_says(hidden):
    ways = {
        seccomp.resolve_syscall(seccomp.Arch.NATIVE, name): ways
        for name, ways in calls.allowed(hidden=hidden, own=OWN).items()
    }
    run, allowing = program(hidden), 0
    for number in range(520):
        for arguments in tried(ways.get(number, [])):
            want = meets(ways.get(number, []), arguments)
            assert (verdict(run, number, arguments) == seccomp.ALLOW) == want, (number, arguments)
            allowing += want
    assert allowing > 250


@pytest.mark.parametrize("hidden", [True, False])
def test_every_name_is_a_call_of_linux(hidden):
    for name in calls.allowed(hidden=hidden, own=OWN):
        known = [seccomp.resolve_syscall(arch, name) for arch in (seccomp.Arch.X86_64, seccomp.Arch.AARCH64)]
        assert max(known) >= 0, name


def test_its_own_number_stands_nowhere_else_in_the_program():
    general = calls.program(hidden=False)
    anybody, count = struct.pack("=I", calls._ANYBODY), 0
    for at in range(0, len(general), 8):
        count += general[at + 4 : at + 8] == anybody
    assert count == general.count(anybody) > 0
    assert calls.program(hidden=True).count(anybody) == 0


@pytest.mark.parametrize("hidden", [True, False])
def test_what_is_refused_is_forbidden_or_as_in_an_older_kernel_not_there(hidden):
    def error(name):
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        return verdict(program(hidden), number, [0] * 6) - seccomp.ERRNO(0)

    assert [error(name) for name in ("mount", "ptrace", "personality", "socket")] == [errno.EPERM] * 4
    assert [error(name) for name in ("clone3", "openat2", "pidfd_open", "io_uring_setup")] == [errno.ENOSYS] * 4
    assert verdict(program(hidden), calls._LAST_NEWER - 1, [0] * 6) == seccomp.ERRNO(errno.ENOSYS)


@pytest.mark.parametrize("hidden", [True, False])
def test_the_calls_of_other_architectures_are_not_there(hidden):
    getpid = seccomp.resolve_syscall(seccomp.Arch.NATIVE, "getpid")
    for architecture in (seccomp.Arch.X86, seccomp.Arch.ARM):
        assert verdict(program(hidden), 20, [0] * 6, architecture) == seccomp.ERRNO(errno.ENOSYS)
    if os.uname().machine == "x86_64":  # x32
        assert verdict(program(hidden), 0x4000_0000 | getpid, [0] * 6) == seccomp.ERRNO(errno.ENOSYS)


OTHER, WHOLE_GROUP, EVERYBODY = OWN + 1, (1 << 64) - OWN, (1 << 64) - 1
EVERYWHERE = {
    "the owner of a pipe": ("fcntl", 4, 8, OTHER), "the owner of a pipe, by its group": ("fcntl", 4, 8, WHOLE_GROUP),
    "a thread as owner": ("fcntl", 4, 15), "another signal for it": ("fcntl", 4, 10, 9),
    "a pipe that tells": ("fcntl", 4, 4, 0o20000), "a folder that tells": ("fcntl", 4, 1026, 0xFF),
    "a lease": ("fcntl", 4, 1024), "the owner of a socket": ("ioctl", 4, 0x8901), "its group": ("ioctl", 4, 0x8902),
    "a socket that tells": ("ioctl", 4, 0x5452), "keys typed into a terminal": ("ioctl", 0, 0x5412),
    "keys, with bits that the kernel does not see": ("ioctl", 0, 1 << 32 | 0x5412),
    "a child of the parent": ("clone", 0x8011), "a child that ends with a kill": ("clone", 9),
    "a child that is traced": ("clone", 0x2011), "a child that cannot be": ("clone", 0x800011),
    "a handle of a child": ("clone", 0x1011), "a child in a user namespace": ("clone", 0x10000011),
    "clone3": ("clone3",), "who may trace": ("prctl", 0x59616D61, EVERYBODY),
    "cores for others": ("prctl", 62, 1, OTHER),
    "own memory, by hand": ("prctl", 35, 1), "a filter more": ("seccomp", 1), "its listener": ("seccomp", 1, 8),
    "the limits of others": ("prlimit64", OTHER), "the priority of others": ("sched_setattr", OTHER),
    "the scheduler of others": ("sched_setscheduler", OTHER), "its parameters": ("sched_setparam", OTHER),
    "the processors of others": ("sched_setaffinity", OTHER), "a nice value": ("setpriority", 0, OTHER),
    "of a whole user": ("setpriority", 2), "a priority of the disk": ("ioprio_set", 1, OTHER),
    "a lock's holder made urgent": ("futex", 0, 6), "a lock's holder made urgent, anew": ("futex", 0, 13),
    "the list of locks of others": ("get_robust_list", OTHER), "a trace": ("ptrace", 16, OTHER),
    "a handle of a process": ("pidfd_open", OTHER), "a signal through it": ("pidfd_send_signal", 4, 9),
    "a file through it": ("pidfd_getfd", 4, 0), "memory set free": ("process_mrelease", 4),
    "memory advised": ("process_madvise", 4), "memory read": ("process_vm_readv", OTHER),
    "counters": ("perf_event_open",), "a ring": ("io_uring_setup", 8), "a message that tells": ("mq_notify", 4),
    "a timer that tells a thread": ("timer_create", 0), "a segment of others": ("shmat", 0), "a queue": ("msgsnd", 0),
    "a packet": ("socket", 17, 3), "audit": ("socket", 16, 3, 9), "a raw socket": ("socket", 2, 3, 1),
    "hosts of machines": ("socket", 40, 1), "a device": ("mknodat", 0, 0, 0o60666),
    "a personality": ("personality", 0x0400000), "a watch of files": ("inotify_init1",), "all disks": ("sync",),
    "a session": ("setsid",), "processors": ("sched_setaffinity",), "pages for a pipe": ("vmsplice",),
    "a priority": ("setpriority",), "a large buffer": ("setsockopt", 4, 1, 7), "one to read": ("setsockopt", 4, 1, 8),
    "one beyond all limits": ("setsockopt", 4, 1, 32), "a file that tells": ("setsockopt", 4, 1, 26),
}  # fmt: skip
WHERE_IT_IS_NOT_HIDDEN = {
    "a signal": ("kill", OTHER), "to its group": ("kill", 0), "to a group": ("kill", WHOLE_GROUP),
    "to everybody": ("kill", EVERYBODY), "to a thread": ("tkill", OTHER),
    "to a thread of others": ("tgkill", OTHER, OTHER),
    "with a word": ("rt_sigqueueinfo", OTHER, 9), "with a word, to a thread": ("rt_tgsigqueueinfo", OTHER, OTHER, 9),
    "a group": ("setpgid", 0, 0), "a socket": ("socket", 1, 1), "a name": ("bind", 4),
    "datagrams for anybody": ("socketpair", 1, 2), "datagrams, at once closed": ("socketpair", 1, 2 | 0x80000),
    "a message for anybody": ("sendto", 4, 1, 1, 0, 1 << 32), "modes": ("chmod",), "modes of what is open": ("fchmod",),
    "a file cut": ("truncate",), "a file cut as it is read": ("openat", 0, 0, 0o1000), "times": ("utimensat",),
}  # fmt: skip
OF_ITSELF = {
    "a signal": ("kill", OWN, 9), "with bits that the kernel does not see": ("kill", 1 << 32 | OWN, 9),
    "to a thread": ("tgkill", OWN, OTHER), "limits": ("prlimit64", 0), "a fork": ("clone", 0x01200011),
    "a thread": ("clone", 0x003D0F00), "a thread of musl": ("clone", 0x007D0F00), "a spawn": ("clone", 0x4111),
    "a pair": ("socketpair", 1, 1 | 0x80800),
    "an address used anew": ("setsockopt", 4, 1, 2), "a message": ("sendto", 4, 1, 1, 0, 0), "a lock": ("fcntl", 4, 6),
    "a pipe that does not wait": ("fcntl", 4, 4, 0o4000), "a file written anew": ("openat", 0, 0, 0o1101),
    "a FIFO": ("mknodat", 0, 0, 0o10666), "a name": ("prctl", 15), "the end with its parent": ("prctl", 1, 9),
}  # fmt: skip


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("call", EVERYWHERE.values(), ids=EVERYWHERE)
def test_no_way_out_is_allowed(hidden, call):
    assert not is_allowed(hidden, *call)


@pytest.mark.parametrize("call", WHERE_IT_IS_NOT_HIDDEN.values(), ids=WHERE_IT_IS_NOT_HIDDEN)
def test_nothing_outside_is_reached_by_its_number_or_name(call):
    assert not is_allowed(False, *call)


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("call", OF_ITSELF.values(), ids=OF_ITSELF)
def test_what_stays_inside_is_allowed(hidden, call):
    assert is_allowed(hidden, *call)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(graded(Path(sys.argv[1]), sys.argv[2], "every" in sys.argv)))
