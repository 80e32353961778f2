"""What a cage's own share of the machine rests on here: its processes, its memory, its processors.

Whatever else runs, in this batch or another, as this user or another, takes nothing of it:

processes   the kernel counts them in a user namespace of the cage's own, or by a uid that no living grader has; where
            it can do neither, the cage's keeper counts
memory      the keeper counts what is held; memory that nobody could count is not to be had
processors  each cage is a scheduling group of its own (a session), on the processors of its job

Where this user may make control groups (cgroup v2), each cage has one, and the kernel counts all three there.
"""

import contextlib
import fcntl
import functools
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from grader.base import fair, linux
from grader.engine.cgroup import Group, folder_for_cages

PROCESSES = 64
"""Processes and threads, together."""
_UIDS = 256
"""How many uids a grader claims: more than it has living answerers."""
_FIRST_UID = 200_000
_LAST_UID = 1 << 30
_BACKSTOP = 1024
"""Beyond what runs: how many processes a cage may start before its keeper, who counts them, has looked."""
_NOBODY = 65534
_ENTERED, _COUNTED = 1, 2


class Share(msgspec.Struct, frozen=True):
    """How a cage gets processes of its own."""

    first_uid: int = 0
    """The first of the uids that this grader has claimed; 0 where it has its own only."""
    namespace: bool = False
    """Whether each cage has a user namespace of its own."""
    counted: bool = False
    """Whether the kernel counts the processes of one cage alone. If not, the keeper counts."""
    groups: int = -1
    """A descriptor of the control group in which each cage has its own; -1 where there is none."""

    def uid(self, slot: int) -> int:
        return self.first_uid + slot % _UIDS if self.first_uid else 0

    def means(self, cores: int) -> dict[str, str]:
        """What the share rests on, for the record."""
        by = "user namespace" if self.namespace else "uid"
        group = "own session, " if _has_session_groups() else ""
        return {
            "processes": "control group" if self.groups >= 0 else by if self.counted else "keeper",
            "memory": "control group" if self.groups >= 0 else "keeper",
            "processors": f"{group}{cores} of {len(fair.processors())}",
        }


def _has_session_groups() -> bool:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    return False


def prepare(namespaces: bool) -> Share:
    """What this machine grants, tried in a child. namespaces: whether there are any. Claims uids for as long as this
    process lives.
    """
    if sys.platform != "linux":
        return Share()
    first = _claimed() if os.geteuid() == 0 else 0
    groups = folder_for_cages()
    for namespace in [True, False] if namespaces else [False]:
        share = Share(first, namespace, groups=groups)
        granted = _tried(share)
        if granted:
            return msgspec.structs.replace(share, counted=granted == _COUNTED)
    return Share(groups=groups)


def _claimed() -> int:
    """The first of some uids that no other living grader of this machine has, and hardly one of another container.

    0 where this user namespace has none to give.
    """
    wanted = [
        (start, min(start + count, _LAST_UID))
        for start, count in _mapped("uid")
        if any(start >= other and start + count <= other + many for other, many in _mapped("gid"))
    ]
    start, end = max(wanted, key=lambda one: one[1] - one[0], default=(0, 0))
    first, last = -(-max(start, min(_FIRST_UID, end - 16 * _UIDS)) // _UIDS), end // _UIDS - 1
    if first < 1 or last < first:
        return 0
    file = _claims()
    for _ in range(100):
        number = random.SystemRandom().randint(first, last)
        with contextlib.suppress(OSError):
            if file >= 0:  # a lock of this process, which its forks do not share; one byte of the file is one range
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            return number * _UIDS
    return 0


def _claims() -> int:
    """The file in which graders claim uids, kept open; -1 where there can be none, and luck has to do."""
    for folder in ("/run", tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(f"{folder}/dl-kata-uids.lock", flags, 0o600)
    return -1


def _mapped(kind: str) -> list[tuple[int, int]]:
    """The ids that this user namespace has: where each range of them begins, and how many it holds."""
    lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    return [(int(start), int(count)) for start, _, count in (line.split() for line in lines)]


def _tried(share: Share) -> int:
    """_COUNTED where a process with this share may start one child and not two when 2 is its limit.

    _ENTERED where the namespace can be had and its processes are not counted alone; 0 if it fails.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 0
        with contextlib.suppress(BaseException):
            ours.close()
            become(share, 1, theirs)
            code = _ENTERED
            linux.drop_capabilities()
            resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
            code = _COUNTED if _fork_and_wait() and not _fork_and_wait() else code
        os._exit(code)
    theirs.close()
    admit(share, 1, pid, ours)
    ours.close()
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status)


def _fork_and_wait() -> bool:
    """Whether a child can be had, which then stays until its parent ends."""
    try:
        pid = os.fork()
    except OSError:
        return False
    if pid == 0:
        linux.die_with_parent(signal.SIGKILL)
        time.sleep(5)  # no longer, were its parent gone already
        os._exit(0)
    return True


def group_for(share: Share, name: str, memory_mb: int) -> Group | None:
    """A control group for one cage, where there are any. With its first process, which is ours."""
    return Group(share.groups, name, memory_mb, PROCESSES + 1) if share.groups >= 0 else None


def become(share: Share, slot: int, link: socket.socket) -> None:
    """Become the user that a cage is; in its own user namespace, into which `admit` lets it, called by its parent."""
    root, uid = os.geteuid() == 0, share.uid(slot)
    if root:
        with contextlib.suppress(PermissionError):  # a user namespace whose root may not
            os.setgroups([])
    if share.namespace:
        uid = uid or (_NOBODY if root else 0)
        linux.unshare(linux.CLONE_NEWUSER)
        link.send(b"?")
        if link.recv(1) != b"!":
            raise OSError("a user namespace of its own could not be furnished")
    if uid:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def admit(share: Share, slot: int, pid: int, link: socket.socket) -> None:
    """The parent's half of `become`: say who the child is in its new user namespace."""
    if not share.namespace or link.recv(1) != b"?":
        return
    uid, gid = os.geteuid(), os.getegid()
    own = share.uid(slot)
    try:
        if uid:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/setgroups").write_text("deny")
        inside = {"uid": own or uid or _NOBODY, "gid": own or (_NOBODY if not uid else gid)}
        Path(f"/proc/{pid}/uid_map").write_text(f"{inside['uid']} {own or uid} 1")
        Path(f"/proc/{pid}/gid_map").write_text(f"{inside['gid']} {own or gid} 1")
        link.send(b"!")
    except OSError:
        link.send(b"-")


def limit_processes(share: Share) -> None:
    """Limit this process and its children to `PROCESSES`; where the keeper counts, to what it may meet at most."""
    most = PROCESSES if share.counted else _running_everywhere() + _BACKSTOP
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _running_everywhere() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    return 1 << 15


@functools.cache
def stay_countable() -> Any:
    """A filter of system calls, to be loaded beside the list in `calls`: no shared memory without a file.

    It is held although nobody maps it any more, so that nobody can count it without being root of the machine.
    """
    import errno

    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    shared_anonymous = 0x01 | 0x20
    rules.add_rule(seccomp.ERRNO(errno.ENOMEM), "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, shared_anonymous, 0x21))
    return rules
