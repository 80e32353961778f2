"""Which system calls a cage may make, with which arguments: all others are refused.

A list of what is refused has holes, and grows new ones with each kernel; what honest code needs is a short list, and
tests/grader/test_calls.py compares it with what is in use. Arguments are looked at where one call does many things: by
`fcntl` a file is locked, and a signal sent to anybody; by `clone` a thread begins, or a namespace. What lies behind a
pointer cannot be looked at, so calls that take their orders from there are refused.

Where no namespace hides the processes outside (`hidden` is False), nothing may reach them by its number: no signal but
to oneself, no priority, no limit. Nothing changes files that Landlock leaves open, and no socket has an address.
"""

import errno
import struct
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product

from grader.base import linux

Condition = tuple[int, int, int]
"""The position of an argument, the bits of it that are looked at, and what they must be."""
Ways = list[tuple[Condition, ...]]
"""The ways in which a call is allowed: each a list of conditions that hold together; an empty one always holds."""

_INT, _LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
"""Of an argument that the kernel takes as an `int` it sees no more than these bits."""
_FIRST_NEWER = 424
"""The numbers from here on are of Linux 5.1 and later: a libc asks for these calls, and has another way where the
kernel does not have them (ENOSYS), but not where they are forbidden (EPERM)."""
_LAST_NEWER = 500
_ANYBODY = 0x7F00_1DEA
"""Stands for the process's own number in a compiled program: higher than any number that a kernel gives."""

_ANY_ARGUMENTS = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range dup dup2 dup3 lseek pipe
    pipe2 sendfile copy_file_range fsync fdatasync ftruncate fallocate fadvise64 flock
    stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 statfs fstatfs
    getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    umask getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
    signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime

    brk mmap munmap mremap mprotect madvise msync mincore

    fork vfork execve exit exit_group wait4 waitid set_tid_address set_robust_list rseq restart_syscall
    rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigreturn sigaltstack pause
    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times alarm getitimer setitimer
    sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    getpriority getrlimit setrlimit getrusage sysinfo uname getcpu getrandom
    getpid getppid gettid getpgid getpgrp getsid getuid geteuid getgid getegid getresuid getresgid getgroups

    sendmsg recvfrom recvmsg shutdown getsockname getpeername getsockopt
"""
_ANY_ARGUMENTS_HIDDEN = """
    open openat creat truncate chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes futimesat
    utimensat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo setpgid
    bind connect listen accept accept4 sendto sendmmsg recvmmsg
"""
"""Only where namespaces hide what is outside: by these it is reached there."""

_FCNTL = {
    "F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_GETLK": 5, "F_SETLK": 6, "F_SETLKW": 7,
    "F_OFD_GETLK": 36, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38, "F_DUPFD_CLOEXEC": 1030, "F_GETPIPE_SZ": 1032,
}  # fmt: skip
_F_SETFL = 4
_IOCTL = {
    "TCGETS": 0x5401, "TCGETS2": 0x802C542A, "TIOCGWINSZ": 0x5413, "FIONREAD": 0x541B, "FIONBIO": 0x5421,
    "FIONCLEX": 0x5450, "FIOCLEX": 0x5451,
}  # fmt: skip
_IOCTL_HIDDEN = {
    "SIOCGIFNAME": 0x8910, "SIOCGIFCONF": 0x8912, "SIOCGIFFLAGS": 0x8913, "SIOCGIFADDR": 0x8915,
    "SIOCGIFINDEX": 0x8933, "SIOCETHTOOL": 0x8946,
}  # fmt: skip
_PRCTL = {
    "PR_SET_PDEATHSIG": 1, "PR_GET_PDEATHSIG": 2, "PR_GET_DUMPABLE": 3, "PR_SET_NAME": 15, "PR_GET_NAME": 16,
    "PR_CAPBSET_READ": 23, "PR_GET_NO_NEW_PRIVS": 39, "PR_SVE_GET_VL": 51, "PR_SME_GET_VL": 64,
    "PR_SET_VMA": 0x53564D41,
}  # fmt: skip
_ARCH_PRCTL = {
    "ARCH_SET_FS": 0x1002, "ARCH_GET_FS": 0x1003, "ARCH_GET_XCOMP_SUPP": 0x1021, "ARCH_GET_XCOMP_PERM": 0x1022,
    "ARCH_REQ_XCOMP_PERM": 0x1023, "ARCH_CET_STATUS": 0x3001,
}  # fmt: skip
# Without those that lend a priority to whoever is named as the holder of a lock.
_FUTEX = {
    "WAIT": 0, "WAKE": 1, "REQUEUE": 3, "CMP_REQUEUE": 4, "WAKE_OP": 5, "WAIT_BITSET": 9, "WAKE_BITSET": 10,
}  # fmt: skip
_FUTEX_FLAGS = 128 | 256  # private, realtime

_SIGCHLD = 17
_CLONE_THREAD = 0x0001_0000
# CLONE_VM, FS, FILES, SIGHAND, VFORK, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID, DETACHED, CHILD_SETTID. Neither
# CLONE_PARENT, whose child signals somebody else's process as it ends, nor what makes namespaces or traces.
_CLONE_FLAGS = 0x0000_0F00 | 0x4000 | 0x0004_0000 | 0x0008_0000 | 0x0010_0000 | 0x0020_0000 | 0x0040_0000 | 0x0100_0000

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DGRAM, _RAW, _SEQPACKET = 1, 2, 3, 5
_SOCKET_FLAGS = 0x800 | 0x80000  # SOCK_NONBLOCK, SOCK_CLOEXEC
_TCP, _UDP = 6, 17
_SOL_SOCKET = 1
_PROTOCOLS = {"IPPROTO_IP": 0, "IPPROTO_TCP": _TCP, "IPPROTO_IPV6": 41}
# Without SO_SNDBUF and SO_RCVBUF: what waits in a socket is memory that nobody sees in a process.
_SOCKET_OPTIONS = {
    "SO_REUSEADDR": 2, "SO_BROADCAST": 6, "SO_KEEPALIVE": 9, "SO_LINGER": 13, "SO_REUSEPORT": 15, "SO_PASSCRED": 16,
    "SO_RCVLOWAT": 18, "SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21, "SO_RCVTIMEO_NEW": 66, "SO_SNDTIMEO_NEW": 67,
}  # fmt: skip

_ACCESS, _WRITE_ONLY, _READ_WRITE, _TRUNCATE, _ASYNC = 0o3, 0o1, 0o2, 0o1000, 0o20000
_KIND_OF_FILE, _FIFO = 0o170000, 0o010000


def allowed(*, hidden: bool, own: int) -> dict[str, Ways]:
    """The ways in which each call is allowed. hidden: whether namespaces hide what is outside. own: its process."""
    ways: dict[str, Ways] = {name: [()] for name in _ANY_ARGUMENTS.split()}
    ways |= {
        "fcntl": [*_one_of(1, _FCNTL.values()), ((1, _INT, _F_SETFL), (2, _ASYNC, 0))],
        "ioctl": _one_of(1, [*_IOCTL.values(), *(_IOCTL_HIDDEN.values() if hidden else ())]),
        "prctl": _one_of(0, _PRCTL.values()),
        "arch_prctl": _one_of(0, _ARCH_PRCTL.values()),
        "futex": _one_of(1, _FUTEX.values(), _INT & ~_FUTEX_FLAGS),
        "clone": [
            ((0, _INT & ~_CLONE_FLAGS, _SIGCHLD),),
            ((0, _INT & ~_CLONE_FLAGS, _CLONE_THREAD),),
        ],
        "prlimit64": _one_of(0, [0]),
        "mknod": _one_of(1, [_FIFO], _KIND_OF_FILE),
        "mknodat": _one_of(2, [_FIFO], _KIND_OF_FILE),
        "setsockopt": [
            *_one_of(1, _PROTOCOLS.values()),
            *(((1, _INT, _SOL_SOCKET), (2, _INT, option)) for option in _SOCKET_OPTIONS.values()),
        ],
        "socketpair": _pairs((_STREAM, _SEQPACKET, _DGRAM) if hidden else (_STREAM, _SEQPACKET)),
    }
    if hidden:
        ways |= {name: [()] for name in _ANY_ARGUMENTS_HIDDEN.split()}
        ways["socket"] = _sockets()
        return ways
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        ways[name] = _one_of(0, [own])
    ways["sendto"] = _one_of(4, [0], _LONG)
    ways |= {"open": _opened(1), "openat": _opened(2), "creat": [()]}
    return ways


def _one_of(argument: int, values: Iterable[int], bits: int = _INT) -> Ways:
    return [((argument, bits, value),) for value in values]


def _opened(flags: int) -> Ways:
    """Not to read and truncate: Landlock knows of that from Linux 6.2 on. flags: where they stand."""
    writing = [((flags, _ACCESS, access),) for access in (_WRITE_ONLY, _READ_WRITE)]
    return [((flags, _TRUNCATE, 0),), *writing]


def _pairs(kinds: Iterable[int]) -> Ways:
    """Pairs of sockets. One of datagrams can be turned to any address, so it is for where none is in reach."""
    return [((0, _INT, _UNIX), (1, _INT & ~_SOCKET_FLAGS, kind)) for kind in kinds]


def _sockets() -> Ways:
    inet = product((_INET, _INET6), ((_STREAM, 0), (_STREAM, _TCP), (_DGRAM, 0), (_DGRAM, _UDP)))
    ways = [(family, kind, protocol) for family, (kind, protocol) in inet]
    ways += [(_UNIX, kind, 0) for kind in (_STREAM, _DGRAM, _SEQPACKET)]
    ways += [(_NETLINK, kind, 0) for kind in (_RAW, _DGRAM)]  # protocol 0: which interfaces there are
    return [((0, _INT, family), (1, _INT & ~_SOCKET_FLAGS, kind), (2, _INT, of)) for family, kind, of in ways]


def _refused(error: int) -> int:
    import pyseccomp as seccomp

    return int(seccomp.ERRNO(error))


@cache
def program(*, hidden: bool, refused: Callable[[int], int] = _refused) -> bytes:
    """The filter for the kernel, in which `_ANYBODY` stands for the own process.

    refused: what is done with a call that is not allowed, by the error that it gives.
    """
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(refused(errno.EPERM))
    rules.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a tree, not a list
    rules.set_attr(seccomp.Attr.ACT_BADARCH, _refused(errno.ENOSYS))  # the calls of i386 and x32
    numbers = set()
    for name, ways in allowed(hidden=hidden, own=_ANYBODY).items():
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number < 0:
            continue  # this architecture has none of that name
        numbers.add(number)
        for way in ways:
            rules.add_rule(seccomp.ALLOW, number, *(seccomp.Arg(at, seccomp.MASKED_EQ, *what) for at, *what in way))
    if refused(errno.ENOSYS) != refused(errno.EPERM):
        for number in sorted({*range(_FIRST_NEWER, _LAST_NEWER)} - numbers):
            rules.add_rule(refused(errno.ENOSYS), number)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def for_process(general: bytes, own: int) -> bytes:
    """A program in which the own process has its number."""
    return general.replace(struct.pack("=I", _ANYBODY), struct.pack("=I", own))


def load(*, hidden: bool, own: int) -> None:
    """Refuse, from now on and for good, what this process and all that it starts may not call."""
    linux.load_filter(for_process(program(hidden=hidden), own))
