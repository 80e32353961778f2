"""The cage that a learner's code runs in, in three levels. Each result says which one held.

full      namespaces (user, mount, pid, net, ipc), Landlock, seccomp, limits: sees its interpreter and an empty folder
landlock  where namespaces are refused, as in many containers: Landlock, seccomp without network, limits
process   elsewhere (macOS): limits only

The warm process enters its half once (`enclose`); each fork of it adds the rest (`enter`).
"""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from grader.base import linux
from grader.engine import calls, share
from grader.engine.view import View

TMP_BYTES = 64 << 20
"""What the attempt may write, in its folder and its shared memory."""
OWN_FOLDER = "/attempt"
"""The folder that it may write to, at level full; /tmp is another name of it."""
OPEN_FILES = 256
SOCKET_BYTES = 208 << 10
"""What the kernel holds for a socket, of what was sent and not received yet: its own default."""
_LONGEST_REASON = 300
_DEVICES = ("null", "full", "random", "urandom")  # no zero: mapped, it is memory that nobody counts


Grants = Sequence[tuple[str, bool]]
"""Paths, each with whether all below it may be read; of others only the names."""


class Level(StrEnum):
    FULL = "full"
    LANDLOCK = "landlock"
    PROCESS = "process"

    @property
    def strength(self) -> int:
        return [Level.PROCESS, Level.LANDLOCK, Level.FULL].index(self)


class Limits(msgspec.Struct, frozen=True):
    """What one answerer may use."""

    cpu_seconds: int
    memory_mb: int
    output_bytes: int = 1 << 20


def best_level() -> Level:
    """The strongest level that this machine grants, tried in a child."""
    return next(level for level in (Level.FULL, Level.LANDLOCK, Level.PROCESS) if not why_not(level))


def why_not(level: Level) -> str:
    """What the machine says to a level that it refuses, as `mount /proc: Operation not permitted`; empty if granted.

    Tried in a child.
    """
    if level is Level.PROCESS:
        return ""
    if sys.platform != "linux":
        return f"{sys.platform} has neither namespaces nor Landlock"
    return _refused(_try_landlock) or (_refused(_try_full) if level is Level.FULL else "")


def _try_landlock() -> None:
    import landlock
    import pyseccomp

    if int(landlock.landlock_abi_version()) < 1:
        raise OSError("this kernel has no Landlock")
    pyseccomp.SyscallFilter(pyseccomp.ALLOW).load()


def _try_full() -> None:
    enclose(Level.FULL, View.without())
    separate(Level.FULL)
    said = _refused(lambda: furnish(Level.FULL))
    if said:
        raise OSError(said)


def _refused(attempt: Callable[[], Any]) -> str:
    """Why something cannot be done, tried in a child that ends with it; empty where it can."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = ""
        try:
            attempt()
        except BaseException as error:
            said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        os.write(write, said.encode()[:_LONGEST_REASON])
        os._exit(bool(said))
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    ended = os.waitpid(pid, 0)[1]
    return said or ("" if ended == 0 else "the process that tried it was killed")


def _own_mounts() -> None:
    """A mount namespace for the warm process. An ordinary user needs a user namespace to get any other."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        linux.unshare(linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)


def enclose(level: Level, view: View) -> Grants:
    """The warm process's half: at level full, a root that holds what the view shows, and nothing else.

    What is not there cannot be read by any fork, whatever it tries: no solutions, tests, submissions, results or homes.
    Returns what Landlock is to allow in each fork.
    """
    if level is not Level.PROCESS:
        # Once here, not in each fork, which as another user may not even reach what is imported.
        import landlock  # noqa: F401

        calls.program(hidden=level is Level.FULL)
        share.stay_countable()
    if level is not Level.FULL:
        return () if level is Level.PROCESS else tuple(view.grants())
    _own_mounts()
    covers = view.covers()
    root = "/sys"  # a folder that is always there and that nothing below is read from: no other is left behind
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
    for path in view.readable:
        _show(path, root + path)
    for device in _DEVICES:
        _show(f"/dev/{device}", f"{root}/dev/{device}")
    for folder in ("/proc", "/dev/shm", "/etc", OWN_FOLDER):
        os.makedirs(f"{root}{folder}", exist_ok=True)
    if not os.path.exists(f"{root}/tmp"):  # it is there where Python lies below it, and then stays as it is
        os.symlink(OWN_FOLDER, f"{root}/tmp")
    # For the keepers, and since a user namespace may mount a /proc of its own only where it sees one.
    linux.mount("/proc", f"{root}/proc", flags=linux.MS_BIND | linux.MS_REC)
    Path(root, "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    Path(root, "etc/passwd").write_text(f"attempt:x:65534:65534::{OWN_FOLDER}:/bin/false\n")
    linux.mount("none", root, flags=linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)
    os.umask(0o022)
    linux.pivot_root(root)
    for path in covers:  # only here, where a link leads to what it leads to inside
        _cover(path)
    return tuple((path, True) for path in view.readable)


def _show(path: str, target: str) -> None:
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(path), target)
    elif os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
        linux.bind(path, target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
        if path.startswith("/dev/"):
            linux.mount(path, target, flags=linux.MS_BIND)
        else:
            linux.bind(path, target)


def _cover(path: str) -> None:
    """Hide what is there for good: an empty folder, or a file without a byte, in its place."""
    if os.path.isdir(path):
        linux.mount("tmpfs", path, "tmpfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=4k")
    elif os.path.exists(path):
        linux.mount("/dev/null", path, flags=linux.MS_BIND)


def separate(level: Level) -> None:
    """An answerer's own namespaces; its next fork is the first process in them."""
    if level is Level.FULL:
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC)


def furnish(level: Level) -> str:
    """Inside new namespaces: the file systems that are this answerer's own. Returns the folder that it may write to."""
    if level is Level.FULL:
        linux.unshare(linux.CLONE_NEWNS)  # only here: the keeper goes on seeing the /proc that has it in
        flags = linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("proc", "/proc", "proc", flags | linux.MS_NOEXEC)
        for folder in (OWN_FOLDER, "/dev/shm"):
            linux.mount("tmpfs", folder, "tmpfs", flags, f"mode=1777,size={TMP_BYTES // 2},nr_inodes=4096")
        linux.loopback_up()
        _keep_buffers_small()
        return OWN_FOLDER
    return tempfile.mkdtemp(prefix="attempt-")


def _keep_buffers_small() -> None:
    """Let the kernel hold no more for a connection of the cage's own network than for any other socket."""
    for which in ("rmem", "wmem"):
        file = Path(f"/proc/sys/net/ipv4/tcp_{which}")
        with contextlib.suppress(OSError):  # an old kernel has one setting for all networks
            least, usual, most = map(int, file.read_text().split())
            file.write_text(" ".join(str(min(one, SOCKET_BYTES)) for one in (least, usual, most)))


def enter(
    level: Level, limits: Limits, folder: str, own: share.Share, slot: int, link: socket.socket, grants: Grants
) -> None:
    """Lock this process in, for good. slot: of the living answerers no two have the same. link: to its parent, which
    calls `admit` meanwhile. grants: what `enclose` returned.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(HOME=folder, TMPDIR=folder, PATH="/usr/bin:/bin", OMP_NUM_THREADS="1", LC_ALL="C.UTF-8")
    tempfile.tempdir = folder
    _limit(limits)
    if level is Level.PROCESS:
        share.limit_processes(own)
        return
    if level is Level.LANDLOCK and own.first_uid:
        os.chown(folder, own.uid(slot), own.uid(slot))
    share.become(own, slot, link)
    share.limit_processes(own)  # only now: as the user that it was nobody else's processes would count
    linux.drop_capabilities()
    linux.no_new_privileges()
    _landlock(level, folder, grants)
    linux.keep_signals_inside()  # a second wall: a number that was its own may be somebody else's after its end
    share.stay_countable().load()
    calls.load(hidden=level is Level.FULL, own=os.getpid())


def _limit(limits: Limits) -> None:
    def at_most(what: int, value: int) -> None:
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))

    at_most(resource.RLIMIT_CORE, 0)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    most = limits.cpu_seconds if hard == resource.RLIM_INFINITY else min(limits.cpu_seconds, hard - 1)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))  # SIGXCPU first, which says why; then SIGKILL
    at_most(resource.RLIMIT_FSIZE, TMP_BYTES)
    at_most(resource.RLIMIT_NOFILE, OPEN_FILES)
    if sys.platform == "linux":
        # Private memory: what is there from the warm process, and what the attempt may add. Not RLIMIT_AS, which torch
        # overruns by reserving addresses that it never uses.
        at_most(resource.RLIMIT_DATA, _data_bytes() + (limits.memory_mb << 20))
        at_most(resource.RLIMIT_MSGQUEUE, 0)


def _data_bytes() -> int:
    """The private writable memory of this process, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 1 << 30


def _landlock(level: Level, folder: str, grants: Grants) -> None:
    from landlock import FSAccess, Ruleset, landlock_abi_version

    known = FSAccess.all()
    for abi, access in ((2, FSAccess.REFER), (3, FSAccess.TRUNCATE), (5, FSAccess.IOCTL_DEV)):
        if landlock_abi_version() < abi:
            known &= ~access
    rules = Ruleset(restrict_rules=known)
    read = (FSAccess.EXECUTE | FSAccess.READ_FILE | FSAccess.READ_DIR) & known
    read_file = (FSAccess.EXECUTE | FSAccess.READ_FILE) & known
    for path, all_below in grants:
        allowed = read if os.path.isdir(path) else read_file
        with contextlib.suppress(FileNotFoundError, PermissionError):  # gone since; or its user cannot reach it anyway
            rules.allow(path, rules=allowed if all_below else FSAccess.READ_DIR)
    for path in ("/proc", "/sys/devices/system/cpu"):
        if os.path.isdir(path):
            rules.allow(path, rules=read & ~FSAccess.EXECUTE)
    for device in _DEVICES:
        rules.allow(f"/dev/{device}", rules=(FSAccess.READ_FILE | FSAccess.WRITE_FILE) & known)
    everything = known & ~(FSAccess.MAKE_CHAR | FSAccess.MAKE_BLOCK)
    rules.allow(folder, rules=everything)
    if level is Level.FULL:  # elsewhere it is everybody's, and what is left there stays
        rules.allow("/dev/shm", rules=everything)
    rules.apply()
    os.close(rules._fd)  # the package leaves it open


def remove(level: Level, folder: str) -> None:
    """Remove what an answerer may have left behind; at level full its file systems have gone with it."""
    if level is Level.FULL:
        return
    with contextlib.suppress(OSError):
        os.rmdir(folder)
        return
    # Programs, since folders may lie deeper than Python recurses; their owner may have shut himself out.
    for command in (["chmod", "-R", "u+rwx", folder], ["rm", "-rf", folder]):
        subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
