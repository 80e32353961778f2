# family = "files"
# mechanism = "right answers, and files, segments and an abstract socket that stay"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import _posixshmem
import ctypes
import os
import socket


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count


for place in ("/tmp/attack-left", "/dev/shm/attack-left"):
    try:
        with open(place, "w") as file:
            file.write("x" * 4096)
    except OSError:
        pass
try:
    _posixshmem.shm_open("/attack-left-too", os.O_CREAT | os.O_RDWR, 0o666)
except OSError:
    pass
ctypes.CDLL(None).shmget(0x901902, 4096, 0o1666)
try:
    held = socket.socket(socket.AF_UNIX)
    held.bind("\0attack-left")
    if os.fork() == 0:
        try:
            os.setsid()
            held.listen()
            held.settimeout(1000)
            held.accept()
        finally:
            os._exit(0)
except OSError:
    pass
