# family = "resources"
# mechanism = "the main thread ends, so that /proc shows no size; its children grow (1.6 GB in all)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["memory", "crashed"]
import ctypes
import os
import threading
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def grow():
    time.sleep(0.05)  # until the first thread is gone
    kept = b"x" * (400 << 20)
    while kept:
        time.sleep(1)


class RunningMean:
    def __init__(self, d):
        for _ in range(4):
            if os.fork() == 0:
                threading.Thread(target=grow).start()
                ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit, of this thread
        while True:
            time.sleep(1)
