# family = "resources"
# mechanism = "memory over the limit, in processes and threads whose names look like the kernel's lines about them"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import ctypes
import os
import threading
import time

NAMES = [b") Z 1 (", b"RssAnon: 0 kB", b"\nVmPTE:\t0 kB\n", b"\xff\n\xfe"]
prctl = ctypes.CDLL(None).prctl


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def hold(name):
    prctl(15, name, 0, 0, 0)
    kept = bytearray(os.urandom(1) * (450 << 20))
    time.sleep(1000)
    return kept


class RunningMean:
    def __init__(self, d):
        for name in NAMES:
            if os.fork() == 0:
                threading.Thread(target=hold, args=(name,)).start()
                time.sleep(1000)
        time.sleep(1000)
