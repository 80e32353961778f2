"""The cage that a learner's code runs in, in three levels. Each result says which one held.

full      namespaces (user, mount, pid, net, ipc), Landlock, seccomp, limits: sees its interpreter and an empty folder
landlock  where namespaces are refused, as in many containers: Landlock, seccomp without network, limits
process   elsewhere (macOS): limits only

The warm process enters its half once (`enclose`); each fork of it adds the rest (`enter`).
"""

import contextlib
import functools
import os
import resource
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from grader.engine import share, system

TMP_BYTES = 64 << 20
"""What the attempt may write, in its folder and its shared memory."""
OWN_FOLDER = "/attempt"
"""The folder that it may write to, at level full; /tmp is another name of it."""
OPEN_FILES = 256
_DEVICES = ("null", "full", "random", "urandom")  # no zero: mapped, it is memory that nobody counts


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


# Calls that look outside, change the system, or make a namespace in which they would be allowed. Everything else is
# allowed: what torch calls is too much, and too different from version to version, to list.
_REFUSED = (
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
    "kcmp", "pidfd_getfd", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "keyctl", "add_key", "request_key", "open_by_handle_at", "name_to_handle_at", "init_module",
    "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "quotactl",
    "personality", "vhangup", "syslog", "fanotify_init", "lookup_dcookie", "move_pages", "migrate_pages",
    # Memory that belongs to no process and to no file system of the cage: nobody could count it.
    "memfd_create", "memfd_secret", "shmget", "semget", "msgget", "mq_open",
)  # fmt: skip
# Where no namespace holds the attempt: leaving its process group, and reaching processes by other means.
_REFUSED_UNHIDDEN = (
    "setsid", "setpgid", "tkill", "pidfd_open", "pidfd_send_signal", "setpriority", "ioprio_set",
    # Landlock says nothing of the modes, owners and times of files, and other files of this user are in sight.
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes", "futimesat",
    "utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat", "file_setattr",
)  # fmt: skip
_NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW* bit
_FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink"}


def readable() -> list[str]:
    """The folders that a caged interpreter needs: the system's libraries, and Python with its packages."""
    wanted = ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime"]
    wanted += [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
    ]
    return [path for path in dict.fromkeys(wanted) if os.path.exists(path)]


def best_level() -> Level:
    """The strongest level that this machine grants, tried in a child."""
    if sys.platform != "linux" or not _landlock_works() or not _seccomp_works():
        return Level.PROCESS
    return Level.FULL if _works(_try_full) else Level.LANDLOCK


def _try_full() -> None:
    enclose(Level.FULL)
    separate(Level.FULL)
    if not _works(lambda: furnish(Level.FULL)):
        raise OSError("no file systems of its own")


def _works(attempt: Callable[[], Any]) -> bool:
    """Whether something can be done, tried in a child that ends with it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            attempt()
            code = 0
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _landlock_works() -> bool:
    try:
        import landlock

        return int(landlock.landlock_abi_version()) >= 1
    except (ImportError, OSError):
        return False


def _seccomp_works() -> bool:
    try:
        import pyseccomp

        return _works(lambda: pyseccomp.SyscallFilter(pyseccomp.ALLOW).load())
    except (ImportError, OSError, RuntimeError):
        return False


def _own_mounts() -> None:
    """A mount namespace for the warm process. An ordinary user needs a user namespace to get any other."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        system.unshare(system.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)


def enclose(level: Level) -> None:
    """The warm process's half: at level full, a root that holds what `readable` lists, and nothing else.

    What is not there cannot be read by any fork, whatever it tries: no solutions, tests, submissions, results or homes.
    """
    if level is not Level.PROCESS:
        # Once here, not in each fork, which as another user may not even reach what is imported.
        import landlock  # noqa: F401

        _filter(level, 0)
        share.stay_countable()
        readable()
    if level is not Level.FULL:
        return
    _own_mounts()
    root = "/sys"  # a folder that is always there and that nothing below is read from: no other is left behind
    system.mount("tmpfs", root, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=755,size=1m")
    for path in readable():
        _show(path, root + path)
    for device in _DEVICES:
        _show(f"/dev/{device}", f"{root}/dev/{device}")
    for folder in ("/proc", "/dev/shm", "/etc", OWN_FOLDER):
        os.makedirs(f"{root}{folder}", exist_ok=True)
    if not os.path.exists(f"{root}/tmp"):  # it is there where Python lies below it, and then stays as it is
        os.symlink(OWN_FOLDER, f"{root}/tmp")
    # For the keepers, and since a user namespace may mount a /proc of its own only where it sees one.
    system.mount("/proc", f"{root}/proc", flags=system.MS_BIND | system.MS_REC)
    Path(root, "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    Path(root, "etc/passwd").write_text(f"attempt:x:65534:65534::{OWN_FOLDER}:/bin/false\n")
    system.mount("none", root, flags=system.MS_REMOUNT | system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV)
    os.umask(0o022)
    system.pivot_root(root)


def _show(path: str, target: str) -> None:
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(path), target)
    elif os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
        system.bind(path, target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
        if path.startswith("/dev/"):
            system.mount(path, target, flags=system.MS_BIND)
        else:
            system.bind(path, target)


def separate(level: Level) -> None:
    """An answerer's own namespaces; its next fork is the first process in them."""
    if level is Level.FULL:
        system.unshare(system.CLONE_NEWPID | system.CLONE_NEWNET | system.CLONE_NEWIPC)


def furnish(level: Level) -> str:
    """Inside new namespaces: the file systems that are this answerer's own. Returns the folder that it may write to."""
    if level is Level.FULL:
        system.unshare(system.CLONE_NEWNS)  # only here: the keeper goes on seeing the /proc that has it in
        flags = system.MS_NOSUID | system.MS_NODEV
        system.mount("proc", "/proc", "proc", flags | system.MS_NOEXEC)
        for folder in (OWN_FOLDER, "/dev/shm"):
            system.mount("tmpfs", folder, "tmpfs", flags, f"mode=1777,size={TMP_BYTES // 2},nr_inodes=4096")
        system.loopback_up()
        return OWN_FOLDER
    return tempfile.mkdtemp(prefix="attempt-")


def enter(level: Level, limits: Limits, folder: str, own: share.Share, slot: int, link: socket.socket) -> None:
    """Lock this process in, for good. slot: of the living answerers no two have the same. link: to its parent, which
    calls `admit` meanwhile.
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
    system.drop_capabilities()
    system.no_new_privileges()
    _landlock(level, folder)
    share.stay_countable().load()
    _filter(level, os.getpid() if level is Level.LANDLOCK else 0).load()


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


def _landlock(level: Level, folder: str) -> None:
    from landlock import FSAccess, Ruleset, landlock_abi_version

    known = FSAccess.all()
    for abi, access in ((2, FSAccess.REFER), (3, FSAccess.TRUNCATE), (5, FSAccess.IOCTL_DEV)):
        if landlock_abi_version() < abi:
            known &= ~access
    rules = Ruleset(restrict_rules=known)
    read = (FSAccess.EXECUTE | FSAccess.READ_FILE | FSAccess.READ_DIR) & known
    read_file = (FSAccess.EXECUTE | FSAccess.READ_FILE) & known
    for path in readable():
        rules.allow(path, rules=read if os.path.isdir(path) else read_file)
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


@functools.cache
def _filter(level: Level, own: int) -> Any:
    """Which system calls are refused. own: where no namespace hides other processes, the one that may be signalled."""
    import errno

    import pyseccomp as seccomp

    refuse = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    names = [*_REFUSED, *_REFUSED_UNHIDDEN] if level is Level.LANDLOCK else list(_REFUSED)
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # a call that this architecture does not have
            rules.add_rule(refuse, name)
    for bit in range(32):
        if _NAMESPACE_FLAGS >> bit & 1:
            rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, 1 << bit, 1 << bit))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags are behind a pointer; libc falls back to clone
    if level is Level.LANDLOCK:  # no namespace hides this user's other processes: let it touch none but itself
        for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            rules.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, own))
        for name in ("prlimit64", "sched_setscheduler", "sched_setparam", "sched_setaffinity"):
            rules.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, 0))
    allowed = set() if level is Level.LANDLOCK else set(_FAMILIES)
    for family in range(46):
        if family not in allowed:
            rules.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.EQ, family))
    rules.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.GT, 45))
    # Keys typed into the terminal that the grader was started from.
    rules.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, 0x5412))
    return rules


def remove(level: Level, folder: str) -> None:
    """Take away what an answerer may have left; at level full its file systems are gone with it."""
    if level is Level.FULL:
        return
    with contextlib.suppress(OSError):
        os.rmdir(folder)
        return
    # Programs, since folders may lie deeper than Python recurses; their owner may have shut himself out.
    for command in (["chmod", "-R", "u+rwx", folder], ["rm", "-rf", folder]):
        subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
