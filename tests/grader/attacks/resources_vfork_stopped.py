# family = "resources"
# mechanism = "stops the child of a vfork, so that its parent cannot even be told"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["timeout", "error"]
import ctypes
import os


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        libc = ctypes.CDLL(None)
        for _ in range(20):
            if os.fork() == 0:
                break
        if libc.vfork() == 0:
            libc.kill(libc.getpid(), 19)
        while True:
            pass
