"""The few system calls that Python 3.11 and the sandbox libraries do not offer. Linux only; errors are OSError."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_CHILD_SUBREAPER = 22, 2, 36
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_SCOPED, _REFER, _PATH_BENEATH = 0x1 | 0x2, 1 << 13, 1  # scoped: abstract sockets, signals
_LAST_CAPABILITY = 40
_HUGE_PAGE, _MADV_COLLAPSE = 2 << 20, 25
_INSTRUCTION_BYTES = 8
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522


def _call(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _call(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    arguments = [text.encode() or None for text in (source, target, kind)]
    _call(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def bind(source: str, target: str) -> None:
    """Show `source` at `target`, read-only, without devices and without set-user-id programs."""
    mount(source, target, flags=MS_BIND | MS_REC)
    # Flags that the mount has already may not be dropped by a user namespace, so all of them are asked for.
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


def pivot_root(new: str) -> None:
    """Make `new` the root of this mount namespace, and forget the old one."""
    os.chdir(new)
    _call(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _call(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    _call(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Make this process the parent of all below it whose own parent ends."""
    _call(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def set_dumpable(dumpable: bool) -> None:
    """Whether other processes of this user may look into this one (/proc/PID/mem, ptrace)."""
    _call(_libc.prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up every capability, for good. The process needs none of them to do so."""
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # EPERM where there is nothing to drop
    ctypes.set_errno(0)  # the landlock package takes a stale error for one of its own
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _call(_libc.syscall(_CAPSET[os.uname().machine], header, bytes(24)), "capset")


def keep_signals_inside() -> None:
    """Let signals, and connections to abstract sockets, reach only what starts from here on. Linux 6.12 or later does
    this; an older one does nothing. Needs `no_new_privileges`.

    Any ruleset forbids to move a file to another folder, unless it says otherwise, so this one allows it everywhere.
    """
    attributes = struct.pack("QQQ", _REFER, 0, _SCOPED)
    rules = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return
    root = os.open("/", os.O_PATH)
    try:
        moves = struct.pack("<Qi", _REFER, root)
        _call(_libc.syscall(_LANDLOCK_ADD_RULE, rules, _PATH_BENEATH, moves, 0), "landlock")
        _call(_libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    finally:
        os.close(root)
        os.close(rules)


class Program(ctypes.Structure):
    """A filter of system calls, as the kernel takes it."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    @classmethod
    def of(cls, instructions: bytes) -> "Program":
        return cls(len(instructions) // _INSTRUCTION_BYTES, instructions)


def load_filter(program: bytes) -> None:
    """Have every system call of this process looked at by a program; see seccomp(2)."""
    loaded = ctypes.byref(Program.of(program))
    _call(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), loaded, 0, 0), "seccomp")


def loopback_up() -> None:
    """Bring up `lo` in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        try:
            fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS
        except OSError as error:
            raise OSError(error.errno, f"loopback: {error.strerror}") from None


def use_huge_pages() -> None:
    """Move the private memory of this process to huge pages, as far as the kernel (6.1 or later) does that.

    A fork then copies one entry for 2 MiB in place of 512, and ends as much sooner.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, access, _, _, _, *name = line.split(maxsplit=5)
        if access != "rw-p" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        for address in range(-(-start // _HUGE_PAGE) * _HUGE_PAGE, end - _HUGE_PAGE + 1, _HUGE_PAGE):
            _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE_PAGE), _MADV_COLLAPSE)
