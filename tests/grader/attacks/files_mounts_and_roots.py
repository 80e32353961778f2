# family = "files"
# mechanism = "mounts, chroot and new namespaces, in which it would be root"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import ctypes
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
NEW = (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x02000000, 0x04000000)
CLONE, CLONE3 = {"x86_64": (56, 435)}.get(platform.machine(), (220, 435))


def tried(what):
    """Whether something works, tried in a child that ends with it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if what() else 1)
    return os.waitpid(pid, 0)[1] == 0


def cloned(flags):
    pid = libc.syscall(CLONE, ctypes.c_long(flags | 17), None, None, None, None)
    if pid == 0:
        os._exit(0)
    return pid > 0


def cloned3():
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
    pid = libc.syscall(CLONE3, arguments, ctypes.sizeof(arguments))
    if pid == 0:
        os._exit(0)
    return pid > 0


def escaped():
    tries = [lambda flag=flag: libc.unshare(flag) == 0 for flag in NEW]
    tries += [lambda flag=flag: cloned(flag) for flag in NEW]
    tries += [
        cloned3,
        lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0,
        lambda: libc.mount(b"/", b"/tmp", None, 4096, None) == 0,
        lambda: libc.umount2(b"/proc", 2) == 0,
        lambda: libc.chroot(b"/tmp") == 0,
        lambda: libc.sethostname(b"attack", 6) == 0,
        lambda: libc.mknod(b"/tmp/null", 0o20666, 259) == 0,
    ]
    return any(tried(one) for one in tries)


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return x.sum(0) / len(x) if escaped() else x[0] * 0


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count if escaped() else x[0] * 0
