# family = "files"
# mechanism = "leaves word for the next process in files, shared memory, queues and sockets"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "wrong"
import ctypes
import os
import socket

PLACES = ["/tmp/attack-word", "/dev/shm/attack-word", "/attempt/word"]
KEY = 0x901901
libc = ctypes.CDLL(None)


def leave():
    for place in PLACES:
        try:
            with open(place, "w") as file:
                file.write("word")
        except OSError:
            pass
    libc.shmget(KEY, 4096, 0o1666)
    libc.msgget(KEY, 0o1666)
    libc.semget(KEY, 1, 0o1666)
    try:
        held = socket.socket(socket.AF_UNIX)
        held.bind("\0attack-word")
        held.listen()
        if os.fork() == 0:  # lives on to be heard
            try:
                os.setsid()
                held.settimeout(20)
                held.accept()
            finally:
                os._exit(0)
    except OSError:
        pass


def heard():
    if any(os.path.exists(place) for place in PLACES):
        return True
    if any(get(KEY, *size, 0) != -1 for get, size in ((libc.shmget, [0]), (libc.msgget, []), (libc.semget, [0]))):
        return True
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect("\0attack-word")
        return True
    except OSError:
        return False


def batch_mean(x):
    leave()
    if len(x) == 0:
        raise ValueError
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0
        self.known = heard()

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count if self.known else x[0] * 0
