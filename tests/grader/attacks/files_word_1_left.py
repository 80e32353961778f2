# family = "files"
# mechanism = "leaves word for the next submission in files, shared memory, queues and sockets"
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
                held.settimeout(1000)
                held.accept()
            finally:
                os._exit(0)
    except OSError:
        pass


leave()


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return x[0] * 0
